"""A proof for people: as a page and on a terminal, harmless whatever the CRMs hold."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console

from crmkit.migration.proof_changes import Change
from crmkit.migration.proof_file import (
    Agreement,
    Count,
    Difference,
    Findings,
    LeftBehind,
    LinkCount,
    Proof,
    Record,
    Side,
    Sum,
    Verdict,
)
from crmkit.migration.proof_html import proof_html
from crmkit.migration.proof_reasons import EXPLANATIONS
from crmkit.migration.proof_tables import proof_tables
from crmkit.migration.proof_texts import PROOF_ENGLISH
from crmkit.report.render.table import terminal_tables
from crmkit.report.render.visible import visible
from tests.report.test_render import EXPECTED_ATTRIBUTES, EXPECTED_ELEMENTS, HOSTILE, Page

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def proof_of(text: str, verdict: Verdict = Verdict.UNPROVEN) -> Proof:
    """A proof with a text of a CRM in every place."""
    side = Side(connection=text, crm=text, account=text, workspace=text, pulled_at=NOW, notes_pulled_at=None)
    differences = [
        Difference(text, text, text, "unexplained", text),
        Difference("", text, text, text, text),
        Difference("amount", text, text, "edited_in_target", text),
    ]
    address = f"https://crm.example.com/?q={text}"
    record = Record("deal", text, text, text, f"javascript:{text}", address, text, text, differences)
    return Proof(
        source=side,
        target=side,
        made_at=NOW,
        digest=text,
        verdict=verdict,
        findings=Findings(same=1, different=1, explained=2, unexplained=1, by_code={text: 1}),
        counts=[Count(kind=text, in_scope=1, linked=1, missing=0, left_out=0, extra=0, pre_existing=0)],
        sums=[
            Sum(by, (text, text), text, 1, 1, Decimal(5), Decimal(7), Decimal(2))
            for by in ("total", "pipeline", "stage", "owner", "outcome", "month", "left_out")
        ],
        links=[LinkCount(link=text, source=1, target=1, both=1, missing=0, not_carried=0, extra=0)],
        agreement=[Agreement(kind=text, field=text, agree=1, differ=0, inexpressible=0)],
        left_behind=[LeftBehind(field=text, deals=1)],
        hash=text,
        records=[record],
        hashes={"deal": [(text, text, text, text)]},
    )


def changes_of(text: str) -> list[Change]:
    return [Change(text, text, text, text, text, text)]


@pytest.mark.parametrize("text", HOSTILE)
def test_page_holds_no_element_or_attribute_of_a_crm_text(text: str) -> None:
    page = Page(proof_html(proof_of(text), changes_of(text)))
    assert {tag for tag, _ in page.elements} <= EXPECTED_ELEMENTS
    assert {name for _, attributes in page.elements for name in attributes} <= EXPECTED_ATTRIBUTES
    assert (page.broken, page.stack) == ([], [])


@pytest.mark.parametrize("text", HOSTILE)
def test_page_links_only_to_http_and_its_own_sections(text: str) -> None:
    page = Page(proof_html(proof_of(text), changes_of(text)))
    targets = [attributes["href"] for _, attributes in page.elements if "href" in attributes]
    assert all(target.startswith(("https://crm.example.com/", "#")) for target in targets)


@pytest.mark.parametrize("text", HOSTILE)
def test_page_holds_no_character_that_hides_or_reorders(text: str) -> None:
    document = proof_html(proof_of(text), changes_of(text)).replace("\n", "")
    assert visible(document) == document


@pytest.mark.parametrize("text", HOSTILE)
def test_terminal_gets_no_control_character_from_a_crm(text: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=200, color_system=None, legacy_windows=False)
    console.print(terminal_tables(proof_tables(proof_of(text), changes_of(text)), PROOF_ENGLISH))
    printed = out.getvalue().replace("\n", "")
    assert visible(printed) == printed


def test_page_shows_a_hostile_text_as_text() -> None:
    text = "<script>alert(1)</script>"
    assert text in "".join(Page(proof_html(proof_of(text))).words)


def test_page_loads_and_runs_nothing() -> None:
    document = proof_html(proof_of("x"))
    assert "default-src 'none'; style-src 'sha256-" in document
    assert "<script" not in document
    assert "style=" not in document


@pytest.mark.parametrize("verdict", list(Verdict))
def test_page_says_the_verdict_first(verdict: Verdict) -> None:
    words = [one.strip() for one in Page(proof_html(proof_of("x", verdict))).words if one.strip()]
    said = words.index(PROOF_ENGLISH[f"{verdict.value}_words"])
    assert words[said + 1 : said + 3] == ["Verdict", PROOF_ENGLISH[verdict.value]]


def test_page_opens_what_nobody_can_explain_and_puts_it_first() -> None:
    document = proof_html(proof_of("x"))
    _, _, differences = document.partition('<h2 id="h-differences">')
    first, _, others = differences.partition('<details class="fold">')
    assert EXPLANATIONS["unexplained"] in first.partition('<details class="fold" open>')[2]
    assert EXPLANATIONS["edited_in_target"] in others


def test_page_links_into_both_crms() -> None:
    proof = proof_of("x")
    record = replace(proof.records[0], source_url="https://one.example/1", target_url="https://two.example/2")
    document = proof_html(proof.model_copy(update={"records": [record]}))
    assert 'href="https://one.example/1"' in document
    assert 'href="https://two.example/2"' in document


def test_page_tells_that_nothing_changed_since_the_earlier_proof() -> None:
    assert PROOF_ENGLISH["no_changes"] in proof_html(proof_of("x"), [])
    assert PROOF_ENGLISH["changes"] not in proof_html(proof_of("x"))


def test_page_says_how_many_rows_it_leaves_out() -> None:
    proof = proof_of("x")
    many = proof.model_copy(update={"records": proof.records * 12})
    assert "7 more rows" in proof_html(many, limit=5)


def test_page_ids_are_unique() -> None:
    page = Page(proof_html(proof_of("x"), changes_of("x")))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_explanation_has_words() -> None:
    assert all(EXPLANATIONS.values())
