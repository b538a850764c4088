"""The page as one HTML file: offline, every text of a CRM escaped, scripts by their hash only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from markupsafe import Markup

from crmkit.report.compared import Differences
from crmkit.report.listed import ListedDeal
from crmkit.report.render.cells import Link, raw, safe_url
from crmkit.report.render.charts import drawing, tokens
from crmkit.report.render.charts.shapes import Picture
from crmkit.report.render.difference_tables import overview_table
from crmkit.report.render.formats import Formats
from crmkit.report.render.page.embedded import Json, embedded, explored
from crmkit.report.render.page.section import Page, Section, row_count
from crmkit.report.render.page.sections import GROUPS, pictures, sections
from crmkit.report.render.page.summary import headlines
from crmkit.report.render.pipeline_tables import pipeline_tables
from crmkit.report.render.templating import environment, source_hash
from crmkit.report.render.visible import visible
from crmkit.report.whole import PipelineReport

NARROW, HALF, FULL = 330, 520, 1100
"""Widths of charts in pixels: on a telephone, beside another chart, over the whole page."""


def pipeline_page(
    report: PipelineReport,
    deals: Sequence[ListedDeal],
    left_out: int,
    language: str,
    *,
    refs: Mapping[str, Sequence[str]],
    differences: Differences | None,
    limit: int,
) -> str:
    """The page; see `html.pipeline_html`."""
    page = _page(report, language, linked=bool(deals))
    found = sections(page)
    if differences is not None:
        found.append(_differences(page, differences))
    jinja = environment()
    # The style sheet and the script are Markup: they are files of this package without any data in them.
    style = jinja.get_template("style.css").render() + jinja.get_template("page.css").render()
    style += tokens.style_rules()
    script = jinja.get_template("page.js").render()
    return jinja.get_template("page.html.j2").render(
        t=page.texts,
        f=page.formats,
        report=report,
        title=page.texts["pipeline_title"],
        groups=[
            (group, [one for one in found if one.group == group])
            for group in GROUPS
            if any(one.group == group for one in found)
        ],
        headlines=headlines(page),
        waiting=sum(len(table.rows) for one in found if one.id == "waiting" for table in one.tables),
        left_out=left_out,
        linked=page.linked,
        limit=limit,
        style=Markup(style),  # noqa: S704
        style_hash=source_hash(style),
        script=Markup(script),  # noqa: S704
        script_hash=source_hash(script),
        # `embedded` leaves nothing that markup could start or end with.
        listed=Markup(embedded(_listed(page, deals, left_out, refs))),  # noqa: S704
        charts={one.id: _drawings(one) for section in found for one in section.pictures},
        raw=raw,
        visible=visible,
        address=lambda cell: safe_url(cell.url) if isinstance(cell, Link) else None,
        row_count=row_count,
    )


def chart_files(report: PipelineReport, language: str = "en") -> dict[str, bytes]:
    """File name -> bytes of every chart for slides: SVG and PNG, on white, with a title.

    Raises:
        CrmkitError: What draws them is not installed.
    """
    page = _page(report, language, linked=False)
    subtitle = f"{page.texts['as_of']} {page.formats.day(report.as_of_date)} · {report.report_currency}"
    files: dict[str, bytes] = {}
    for picture in pictures(page):
        files[f"{picture.id}.svg"] = drawing.slide_svg(picture, subtitle).encode()
        files[f"{picture.id}.png"] = drawing.slide_png(picture, subtitle)
    return files


def _page(report: PipelineReport, language: str, *, linked: bool) -> Page:
    formats = Formats(language, report.report_currency)
    tables = {table.id: table for table in pipeline_tables(report, formats.texts)}
    return Page(report, formats, tables, linked)


def _differences(page: Page, found: Differences) -> Section:
    table = replace(overview_table(found, page.texts), id="differences")
    title = page.texts["differences_summary"]
    return Section("differences", title, "tables", "overview", tables=(table,), wide=True)


def _drawings(picture: Picture) -> tuple[Markup, Markup]:
    """The chart for a wide and for a narrow page; `drawing` writes every element of it itself."""
    wide = drawing.page_svg(picture, FULL if picture.full else HALF)
    return Markup(wide), Markup(drawing.page_svg(picture, NARROW))  # noqa: S704


def _listed(
    page: Page, deals: Sequence[ListedDeal], left_out: int, refs: Mapping[str, Sequence[str]]
) -> dict[str, Json]:
    names = {row.stage: row.name or "" for row in page.report.by_stage if row.stage}
    return explored(page.formats, names, deals, left_out, refs)
