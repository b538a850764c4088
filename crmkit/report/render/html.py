"""A report as one HTML file: no scripts, nothing loaded, every text of a CRM escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from crmkit.report.compared import Differences, PairDifferences
from crmkit.report.figures import PipelineReport
from crmkit.report.render import charts
from crmkit.report.render.cells import Days, Link, Money, Share, compact, grouped, percent, safe_url, shown
from crmkit.report.render.difference_tables import difference_tables, overview_table, pair_tables
from crmkit.report.render.pipeline_tables import pipeline_tables
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.render.tiles import difference_tiles, pipeline_tiles, trailing_window
from crmkit.report.render.visible import visible

ROW_LIMIT = 500
"""Rows of one table in a page; the page says how many it leaves out."""


def pipeline_html(
    report: PipelineReport,
    differences: Differences | None = None,
    texts: Texts = ENGLISH,
    *,
    limit: int = ROW_LIMIT,
) -> str:
    """The pipeline report as a page, with an overview of the differences if they are given."""
    tables = {table.id: table for table in pipeline_tables(report, texts)}
    return render_page(
        "pipeline.html.j2",
        texts,
        limit,
        {
            "title": texts["pipeline_title"],
            "report": report,
            "tiles": pipeline_tiles(report, texts),
            "window": trailing_window(report, texts),
            "tables": tables,
            "overview": overview_table(differences, texts) if differences else None,
            "items_count": sum(
                len(tables[name].rows) for name in ("unmapped_stages", "missing_rates", "errors")
            ),
            "stage_chart": charts.stage_chart(report, texts),
            "month_chart": charts.month_chart(report, texts),
            "age_chart": charts.age_chart(report, texts),
            "win_chart": charts.win_chart(report, texts),
        },
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
    environment = _environment()
    style = environment.get_template("style.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(
        t=texts,
        limit=limit,
        # The page's own style sheet is Markup: it is a file of this package, without any data in it.
        style=Markup(style),  # noqa: S704
        style_hash=digest,
        shown=lambda cell: shown(cell, texts),
        low=lambda cell: isinstance(cell, (Money, Share, Days)) and cell.low_sample,
        url=lambda cell: safe_url(cell.url) if isinstance(cell, Link) else None,
        is_day=lambda cell: isinstance(cell, date),
        count=lambda number: grouped(str(number), texts),
        compact=lambda amount: compact(amount, texts),
        **values,
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("crmkit.report.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment
