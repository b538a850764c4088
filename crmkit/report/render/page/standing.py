"""Sections on the open pipeline as it stands: stages, expected close, age, and who has it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from crmkit.report.figures import CloseFigures, ConnectionPart, OpenFigures, StageFigures
from crmkit.report.money import ZERO, total_of
from crmkit.report.render import fragments
from crmkit.report.render.cells import Table
from crmkit.report.render.charts.shapes import Bars, Columns, Mark, Picture, Row
from crmkit.report.render.charts.tokens import series
from crmkit.report.render.page.scale import ticks
from crmkit.report.render.page.section import Page, Section, name
from crmkit.report.render.tables.standing import (
    age_label,
    aged_deals,
    closing_deals,
    overdue_deals,
    shown_ages,
)

MONTHS = 12
"""Months with a column of their own; what closes later shares one."""
OWNERS = 12
"""Owners with a bar; the table has all."""


def stages(page: Page) -> Section:
    """Open money by common stage, in the colours of the CRMs."""
    report, texts = page.report, page.texts
    connections = [row.connection for row in report.by_connection]
    colours = {connection: series(place) for place, connection in enumerate(connections)}

    def mark(row: StageFigures, part: ConnectionPart, start: Decimal, end: Decimal) -> Mark:
        spoken = f"{name(row.name, texts['unmapped'])}, {name(part.connection, '')}: " + _said(page, part)
        behind = fragments.open_deals(stage=row.stage, connection=part.connection)
        return Mark(float(start), float(end), colours[part.connection], spoken, page.target(behind))

    rows = []
    for row in report.by_stage:
        if row.stage is None and not row.count:
            continue
        marks, start = [], ZERO
        # Negative parts (credits) have no length; the value beside the bar includes them.
        for part in (one for one in row.by_connection if one.amount > 0):
            marks.append(mark(row, part, start, start + part.amount))
            start += part.amount
        rows.append(_row(page, name(row.name, texts["unmapped"]), row, tuple(marks)))
    legend = tuple((colours[one], name(one, "")) for one in connections)
    picture = Picture("stages", texts["chart_stage"], Bars(tuple(rows), legend))
    return Section(
        "stages",
        texts["chart_stage"],
        "pipeline",
        "by_stage",
        pictures=(picture,),
        tables=(page.table("by_stage"),),
    )


def expected_close(page: Page) -> Section:
    """Open money by month of expected close: overdue, the next months, later, without a day."""
    report, texts = page.report, page.texts
    near, far = report.by_close_month[:MONTHS], report.by_close_month[MONTHS:]
    columns = [_column(page, texts["overdue"], report.overdue, "bad", overdue_deals(report))]
    columns += [
        _column(page, page.formats.month_label(row.start), row, "s0", closing_deals(report, row))
        for row in near
    ]
    if far:
        columns.append(_later(page, far))
    no_date = fragments.open_deals(close=None)
    columns.append(_column(page, texts["no_close_date_short"], report.no_close_date, "mute", no_date))
    amounts = [report.overdue.amount, report.no_close_date.amount, *(row.amount for row in near)]
    amounts.append(total_of(row.amount for row in far))
    picture = Picture(
        "expected_close",
        texts["chart_month"],
        Columns(tuple(columns), ticks(amounts, page.formats.compact)),
    )
    return Section(
        "expected_close",
        texts["chart_month"],
        "pipeline",
        "by_close_month",
        pictures=(picture,),
        tables=(_with_months(page), page.table("by_close_quarter")),
    )


def _with_months(page: Page) -> Table:
    """The table by month, with months as the language writes them."""
    table = page.table("by_close_month")
    first, *months, last = table.rows
    named = [
        (page.formats.month(row.start), *cells[1:])
        for row, cells in zip(page.report.by_close_month, months, strict=True)
    ]
    return replace(table, rows=(first, *named, last))


def _later(page: Page, rows: tuple[CloseFigures, ...]) -> Row:
    amount, count = total_of(row.amount for row in rows), sum(row.count for row in rows)
    text = page.texts["later"]
    spoken = f"{text}: {page.formats.exact(amount)}, {page.formats.deals(count)}"
    behind = fragments.open_deals(("close", ">=", rows[0].start))
    mark = Mark(0.0, float(amount), "s0", spoken, page.target(behind))
    return Row(text, (mark,), page.formats.compact(amount) if amount else "")


def _column(page: Page, label: str, figures: OpenFigures, colour: str, behind: str) -> Row:
    spoken = f"{label}: {_said(page, figures)}"
    mark = Mark(0.0, float(figures.amount), colour, spoken, page.target(behind))
    value = page.formats.compact(figures.amount) if figures.amount else ""
    return Row(label, (mark,) if figures.count else (), value)


def ageing(page: Page) -> Section:
    """Open money by age, darker the older."""
    report, texts = page.report, page.texts
    rows = []
    for place, bucket in enumerate(shown_ages(report)):
        label = age_label(bucket, texts)
        colour = "mute" if bucket.first_day is None else f"a{min(place, 4)}"
        spoken = f"{label}: {page.formats.exact(bucket.amount)}, {page.formats.deals(bucket.count)}"
        behind = page.target(aged_deals(report, bucket))
        marks = (Mark(0.0, float(bucket.amount), colour, spoken, behind),) if bucket.count else ()
        value, note = page.formats.compact(bucket.amount), page.formats.deals(bucket.count)
        rows.append(Row(label, marks, value, note))
    stale = report.ageing.stale
    lead = texts["stale_lead"].format(
        amount=page.formats.compact(stale.amount),
        deals=page.formats.deals(stale.count),
        days=page.formats.count(report.stale_days),
    )
    unknown = report.ageing.activity_unknown_count
    note = texts["activity_unknown"].format(count=page.formats.count(unknown)) if unknown else ""
    return Section(
        "ageing",
        texts["chart_age"],
        "pipeline",
        "ageing",
        lead=lead if stale.count else "",
        pictures=(Picture("ageing", texts["chart_age"], Bars(tuple(rows))),),
        tables=(page.table("ageing"),),
        note=note,
    )


def owners(page: Page) -> Section | None:
    """Open money by owner, the largest first."""
    report, texts = page.report, page.texts
    if not report.by_owner:
        return None
    table = page.table("by_owner")
    behind = table.behind or (None,) * len(report.by_owner)
    rows = []
    for row, target in zip(report.by_owner[:OWNERS], behind, strict=False):
        label = name(row.owner, texts["no_owner"])
        spoken = f"{label}: {_said(page, row)}"
        colour = "mute" if row.owner is None or not row.active else "s0"
        marks = (Mark(0.0, float(row.amount), colour, spoken, target),) if row.amount > 0 else ()
        rows.append(_row(page, label, row, marks))
    picture = Picture("owners", texts["by_owner"], Bars(tuple(rows)))
    return Section("owners", texts["by_owner"], "pipeline", "by_owner", pictures=(picture,), tables=(table,))


def connections(page: Page) -> Section:
    """Open money and records by CRM."""
    return Section(
        "connections",
        page.texts["by_connection"],
        "tables",
        "by_connection",
        tables=(page.table("by_connection"),),
        wide=True,
    )


def native_stages(page: Page) -> Section:
    """Open deals by the stages of each CRM."""
    return Section(
        "native_stages",
        page.texts["by_native_stage"],
        "tables",
        "by_native_stage",
        tables=(page.table("by_native_stage"),),
        wide=True,
    )


def _row(page: Page, label: str, figures: OpenFigures, marks: tuple[Mark, ...]) -> Row:
    return Row(label, marks, page.formats.compact(figures.amount), page.formats.deals(figures.count))


def _said(page: Page, figures: OpenFigures | ConnectionPart) -> str:
    return f"{page.formats.exact(figures.amount)}, {page.formats.deals(figures.count)}"
