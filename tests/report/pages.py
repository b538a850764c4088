"""Pages that several tests read: drawn once in a process, because charts take a second."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from crmkit.mapping.stages import CommonStage
from crmkit.model import LostKind, Outcome
from crmkit.report.inputs import PipelineRow
from crmkit.report.listed import ListedDeal
from crmkit.report.render.html import pipeline_html
from crmkit.report.whole import PipelineReport
from tests.report.report_of import page_of
from tests.report.rows import STAGES, USD, day, row, settings
from tests.report.sample import rates, sample
from tests.report.sample import settings as sample_settings

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></svg><script>alert(1)</script>",
    "--><!--<script>",
    "{{ 7*7 }}{% raw %}",
    '=HYPERLINK("http://evil.example";"x")',
    "＝1+1",
    "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\0=1",
    "a\nb\r\nc|d`e`*f*_g_[h](javascript:alert(1))<i>j</i>",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egnp.exe\u2066",
    "שלום مرحبا",
    "x" * 300,
    "👩‍👩‍👧 é\u0301",
    "\u2028\u2029\ufeff",
    "[bold red]markup[/]",
    "__proto__",
    "a&b=c#d?e%f",
]  # fmt: skip

_TEXTS = ("name", "pipeline_name", "stage_name", "lost_reason", "owner_id", "owner_name", "company_name")


def hostile_rows(text: str, number: int = 0) -> list[PipelineRow]:
    """Deals whose every text is the same hostile one: open, closed, unmapped, without a rate."""
    words = dict.fromkeys(_TEXTS, text)
    ids = iter(range(number * 10, number * 10 + 10))

    def deal(connection: str = "one", **changes: object) -> PipelineRow:
        return row(str(next(ids)), connection, **(words | changes))

    lost = replace(deal(), outcome=Outcome.LOST, lost_kind=LostKind.LOST, closed_at=day("2026-09-05"))
    return [
        deal(url=f"javascript:{text}"),
        deal("two", url=f"https://crm.example.com/?q={text}", amount="7"),
        deal(common_stage=None, pipeline_id=text, stage_id=text),
        deal(currency=text),
        deal(common_stage=text),
        lost,
    ]


@lru_cache(maxsize=1)
def hostile_report() -> tuple[PipelineReport, tuple[ListedDeal, ...]]:
    """A report and deals of all hostile texts together; each is a common stage and a connection too."""
    config = settings(
        stages=(*STAGES, *(CommonStage(text, text, 20 + place) for place, text in enumerate(HOSTILE))),
        top=500,
    )
    rows = [one for number, text in enumerate(HOSTILE) for one in hostile_rows(text, number)]
    rows += [row(str(9_000 + place), text) for place, text in enumerate(HOSTILE)]
    return page_of(rows, {}, USD, config)[:2]


@lru_cache(maxsize=1)
def hostile_page() -> str:
    """The page of `hostile_report`."""
    return pipeline_html(*hostile_report())


@lru_cache(maxsize=4)
def sample_report(count: int = 300) -> tuple[PipelineReport, tuple[ListedDeal, ...], int]:
    """The report over the sample, its deals, and how many are left out."""
    made, links = sample(count)
    # The sample's copies in a second CRM change the name of the owner, and keep the id.
    rows = [replace(one, owner_id=(one.owner_name or "").split()[0].lower()) for one in made]
    return page_of(rows, links, rates(), sample_settings())


@lru_cache(maxsize=4)
def sample_page(language: str = "en") -> str:
    """The page of `sample_report`."""
    return pipeline_html(*sample_report(), language)
