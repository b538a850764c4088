"""The weekly review as one HTML file: offline, every text of a CRM escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from zoneinfo import ZoneInfo

from markupsafe import Markup

from crmkit.report.render.cells import Link, Table, raw, safe_url
from crmkit.report.render.charts import drawing, tokens
from crmkit.report.render.charts.shapes import Picture
from crmkit.report.render.formats import Formats
from crmkit.report.render.page.embedded import Json, columns, embedded
from crmkit.report.render.page.flow import waterfall_picture
from crmkit.report.render.page.section import Section
from crmkit.report.render.review_tables import review_notes, review_tables
from crmkit.report.render.templating import environment, source_hash
from crmkit.report.render.visible import visible
from crmkit.report.review import WeeklyReview

ROW_LIMIT = 500
"""Rows of one table in a page; the page says how many it leaves out."""
_HALF, _NARROW = 520, 330
_WATERFALLS = ("waterfall", "waterfall_period")


def review_html(review: WeeklyReview, language: str = "en", *, limit: int = ROW_LIMIT) -> str:
    """The review as a page, with a chart of each waterfall and the lists of deals below.

    Args:
        review: The figures.
        language: Of the texts, and how numbers and days are written.
        limit: Rows of one table; the page says how many it leaves out.

    Raises:
        UsageError: The language is not there.
        CrmkitError: What the page is made with is not installed.
    """
    formats = Formats(language, review.report_currency)
    texts = formats.texts
    tables = [table for table in review_tables(review, texts) if table.rows]
    flows = dict(zip(_WATERFALLS, (review.waterfalls.all_open, review.waterfalls.period), strict=True))
    pictures = {
        table.id: waterfall_picture(table.id, table.title, flows[table.id], formats, _lists(tables))
        for table in tables
        if table.id in flows
    }
    found = [_section(table, pictures.get(table.id)) for table in tables]
    zone = ZoneInfo(review.time_zone)
    jinja = environment()
    style = jinja.get_template("style.css").render() + jinja.get_template("page.css").render()
    style += tokens.style_rules()
    script = jinja.get_template("page.js").render()
    return jinja.get_template("review.html.j2").render(
        t=texts,
        f=formats,
        review=review,
        since=review.since.astimezone(zone),
        until=review.until.astimezone(zone),
        title=texts["review_title"],
        notes=review_notes(review, texts),
        sections=found,
        linked=False,
        limit=limit,
        # The style sheet and the script are Markup: they are files of this package without any data in them.
        style=Markup(style),  # noqa: S704
        style_hash=source_hash(style),
        script=Markup(script),  # noqa: S704
        script_hash=source_hash(script),
        # `embedded` leaves nothing that markup could start or end with.
        listed=Markup(embedded(_nothing_listed(formats, review))),  # noqa: S704
        # `drawing` writes every element of a chart itself.
        charts={name: _drawings(picture) for name, picture in pictures.items()},
        raw=raw,
        visible=visible,
        address=lambda cell: safe_url(cell.url) if isinstance(cell, Link) else None,
        row_count=lambda table, place: None,
    )


def _lists(tables: Iterable[Table]) -> Callable[[str], str | None]:
    """Bars lead to the lists further down, where there is one."""
    there = {table.id for table in tables}

    def place(name: str) -> str | None:
        bucket = name.removeprefix("waterfall_period_").removeprefix("waterfall_")
        return f"#s-review_{bucket}" if f"review_{bucket}" in there else None

    return place


def _section(table: Table, picture: Picture | None) -> Section:
    hidden = ("ref",)
    pictures = () if picture is None else (picture,)
    wide = picture is None and len(table.columns) > 3
    return Section(
        table.id, table.title, "changes", pictures=pictures, tables=(table,), wide=wide, hidden_columns=hidden
    )


def _nothing_listed(formats: Formats, review: WeeklyReview) -> dict[str, Json]:
    return {
        "language": formats.tag,
        "currency": review.report_currency,
        "left_out": 0,
        # All that the script says on a page without deals of its own.
        "texts": {"save_csv": formats.texts["save_csv"]},
        "titles": {},
        "labels": {"stage": {}, "status": {}, "lost_kind": {}},
        "unmapped": "",
        "refs": {},
        "columns": columns(()),
    }


def _drawings(picture: Picture) -> tuple[Markup, Markup]:
    wide, narrow = (drawing.page_svg(picture, width) for width in (_HALF, _NARROW))
    return Markup(wide), Markup(narrow)  # noqa: S704
