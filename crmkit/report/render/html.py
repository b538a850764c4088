"""A report as one HTML file: nothing loaded, every text of a CRM escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from markupsafe import Markup

from crmkit.report.compared import Differences, PairDifferences
from crmkit.report.listed import ListedDeal
from crmkit.report.render.cells import Days, Link, Money, Share, compact, grouped, percent, safe_url, shown
from crmkit.report.render.charts import plain as charts
from crmkit.report.render.difference_tables import difference_tables, pair_tables
from crmkit.report.render.flow_tables import ref_lists
from crmkit.report.render.page.document import pipeline_page
from crmkit.report.render.templating import environment, source_hash
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.render.tiles import difference_tiles
from crmkit.report.whole import PipelineReport

ROW_LIMIT = 500
"""Rows of one table in a page; the page says how many it leaves out."""


def pipeline_html(
    report: PipelineReport,
    deals: Sequence[ListedDeal] = (),
    left_out: int = 0,
    language: str = "en",
    *,
    refs: Mapping[str, Sequence[str]] | None = None,
    differences: Differences | None = None,
    limit: int = ROW_LIMIT,
) -> str:
    """The pipeline report as a page.

    Args:
        report: The figures.
        deals: The deals that the page carries, so that every figure opens the list behind it;
            without any, figures lead nowhere.
        left_out: How many deals in scope are not among them; the page says so.
        language: Of the texts, and how numbers and days are written: `de`, `de-CH`.
        refs: Lists of refs by name, for figures whose deals no condition describes (`#deals?refs=name`).
        differences: Adds an overview of what differs between the CRMs.
        limit: Rows of one table; the page says how many it leaves out.

    Raises:
        UsageError: The language is not there.
        CrmkitError: What the page is made with is not installed.
    """
    return pipeline_page(
        report,
        deals,
        left_out,
        language,
        refs={**ref_lists(report), **(refs or {})},
        differences=differences,
        limit=limit,
    )


def differences_html(found: Differences, texts: Texts = ENGLISH, *, limit: int = ROW_LIMIT) -> str:
    """The differences as a page, pair by pair."""
    tables = {table.id: table for table in difference_tables(found, texts)}
    return render_page(
        "differences.html.j2",
        texts,
        limit,
        {
            "title": texts["differences_title"],
            "report": found,
            "tiles": difference_tiles(found, texts),
            "tables": tables,
            "pairs": [
                (
                    pair,
                    pair_tables(found, pair, texts),
                    _agreement(pair, texts),
                )
                for pair in found.pairs
            ],
        },
    )


def _agreement(pair: PairDifferences, texts: Texts) -> charts.Chart:
    bars = []
    for one in pair.field_agreement:
        label, value = texts[one.field.value], percent(one.agreement.value, texts)
        equal, of = (
            grouped(str(part), texts) for part in (one.agreement.numerator, one.agreement.denominator)
        )
        note = f"{equal} {texts['of']} {of}"
        spoken = f"{label}: {value}, {note}"
        bars.append(
            charts.Bar(
                label,
                value,
                note,
                spoken,
                charts.share_bar(one.agreement.value, spoken),
                one.agreement.low_sample,
            )
        )
    return charts.Chart(tuple(bars))


def render_page(template: str, texts: Texts, limit: int, values: Mapping[str, object]) -> str:
    jinja = environment()
    style = jinja.get_template("style.css").render()
    return jinja.get_template(template).render(
        t=texts,
        limit=limit,
        # The page's own style sheet is Markup: it is a file of this package, without any data in it.
        style=Markup(style),  # noqa: S704
        style_hash=source_hash(style),
        shown=lambda cell: shown(cell, texts),
        low=lambda cell: isinstance(cell, (Money, Share, Days)) and cell.low_sample,
        url=lambda cell: safe_url(cell.url) if isinstance(cell, Link) else None,
        is_day=lambda cell: isinstance(cell, date),
        count=lambda number: grouped(str(number), texts),
        compact=lambda amount: compact(amount, texts),
        **values,
    )
