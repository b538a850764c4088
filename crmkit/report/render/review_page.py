"""The weekly review as one HTML file: offline, every text of a CRM escaped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

from markupsafe import Markup

from crmkit.report.listed import ListedDeal
from crmkit.report.metrics.flow_figures import Waterfall
from crmkit.report.render.cells import Link, Table, raw, safe_url
from crmkit.report.render.charts import drawing, tokens
from crmkit.report.render.charts.shapes import Picture
from crmkit.report.render.flow_tables import listed, shown_buckets
from crmkit.report.render.formats import Formats
from crmkit.report.render.page.embedded import embedded, explored
from crmkit.report.render.page.flow import waterfall_picture
from crmkit.report.render.page.section import Section, row_count
from crmkit.report.render.review_tables import STEPS, review_notes, review_tables
from crmkit.report.render.templating import environment, source_hash
from crmkit.report.render.visible import visible
from crmkit.report.review import WeeklyReview

ROW_LIMIT = 500
"""Rows of one table in a page; the page says how many it leaves out."""
_HALF, _NARROW = 520, 330
_WATERFALLS = ("waterfall", "waterfall_period")
_MOVES = ("pushed", "pulled", *STEPS)


def review_html(
    review: WeeklyReview,
    deals: Sequence[ListedDeal] = (),
    left_out: int = 0,
    language: str = "en",
    *,
    limit: int = ROW_LIMIT,
) -> str:
    """The review as a page, with a chart of each waterfall and the lists of deals below.

    Args:
        review: The figures.
        deals: The deals that the page carries: figures whose deals are all among them open a list
            of them. The other figures lead to the tables further down.
        left_out: How many deals in scope are not among them; the page says so.
        language: Of the texts, and how numbers and days are written.
        limit: Rows of one table; the page says how many it leaves out.

    Raises:
        UsageError: The language is not there.
        CrmkitError: What the page is made with is not installed.
    """
    formats = Formats(language, review.report_currency)
    texts = formats.texts
    tables = [table for table in review_tables(review, texts) if table.rows]
    lists = _lists_of(review, {deal.ref for deal in deals})
    behind = _behind(tables, lists)
    flows = dict(zip(_WATERFALLS, (review.waterfalls.all_open, review.waterfalls.period), strict=True))
    pictures = {
        table.id: waterfall_picture(table.id, table.title, flows[table.id], formats, behind)
        for table in tables
        if table.id in flows
    }
    found = [
        _section(_linked(table, flows.get(table.id), behind), pictures.get(table.id)) for table in tables
    ]
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
        linked=bool(deals),
        left_out=left_out if deals else 0,
        limit=limit,
        # The style sheet and the script are Markup: they are files of this package without any data in them.
        style=Markup(style),  # noqa: S704
        style_hash=source_hash(style),
        script=Markup(script),  # noqa: S704
        script_hash=source_hash(script),
        # `embedded` leaves nothing that markup could start or end with.
        listed=Markup(embedded(explored(formats, review.stages, deals, left_out, lists))),  # noqa: S704
        # `drawing` writes every element of a chart itself.
        charts={name: _drawings(picture) for name, picture in pictures.items()},
        raw=raw,
        visible=visible,
        address=lambda cell: safe_url(cell.url) if isinstance(cell, Link) else None,
        row_count=row_count,
    )


def _lists_of(review: WeeklyReview, carried: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The deals of each bar by its name, where the page carries all of them."""
    flows = dict(zip(_WATERFALLS, (review.waterfalls.all_open, review.waterfalls.period), strict=True))
    return {
        f"{name}_{bucket}": part.refs
        for name, flow in flows.items()
        for bucket, part in flow.buckets.items()
        if part.refs and len(part.refs) == part.count and all(ref in carried for ref in part.refs)
    }


def _behind(tables: Iterable[Table], lists: Collection[str]) -> Callable[[str], str | None]:
    """Figures open the list of their deals, else they lead to the table further down, where there is one."""
    there = {table.id for table in tables}

    def place(name: str) -> str | None:
        if name in lists:
            return listed(name)
        bucket = name.removeprefix("waterfall_period_").removeprefix("waterfall_")
        return f"#s-review_{bucket}" if f"review_{bucket}" in there else None

    return place


def _linked(table: Table, flow: Waterfall | None, behind: Callable[[str], str | None]) -> Table:
    """A waterfall's table, whose rows lead where its bars do."""
    if flow is None:
        return table
    return replace(table, behind=tuple(behind(f"{table.id}_{bucket}") for bucket in shown_buckets(flow)))


def _definition(table: str) -> str:
    """The key of the texts that say how a table is counted."""
    if table in _WATERFALLS:
        return "waterfall"
    name = table.removeprefix("review_")
    return "review_slip" if name == "slip" else "moves" if name in _MOVES else "review_bucket"


def _section(table: Table, picture: Picture | None) -> Section:
    hidden = ("ref",)
    pictures = () if picture is None else (picture,)
    wide = picture is None and len(table.columns) > 3
    return Section(
        table.id,
        table.title,
        "changes",
        _definition(table.id),
        pictures=pictures,
        tables=(table,),
        wide=wide,
        hidden_columns=hidden,
    )


def _drawings(picture: Picture) -> tuple[Markup, Markup]:
    wide, narrow = (drawing.page_svg(picture, width) for width in (_HALF, _NARROW))
    return Markup(wide), Markup(narrow)  # noqa: S704
