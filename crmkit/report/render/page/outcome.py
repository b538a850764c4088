"""Sections on what became of deals: win rates, results, losses, velocity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from crmkit.report.figures import Closed
from crmkit.report.metrics.result_figures import MonthResults
from crmkit.report.ratios import Ratio
from crmkit.report.render import fragments
from crmkit.report.render.cells import Table
from crmkit.report.render.charts.shapes import Bars, Lines, Mark, Picture, Point, Row, Series
from crmkit.report.render.page.scale import ticks
from crmkit.report.render.page.section import Page, Section, name
from crmkit.report.render.tables.building import closed_deals
from crmkit.report.render.tables.parts import month_deals
from crmkit.report.render.tables.results import RATES

NOTE = 18
"""Letters that fit beside a bar."""
REASONS = 8
"""Reasons with a bar; the table has all."""


def win_rates(page: Page) -> Section:
    """The win rates of the trailing window, out of a hundred percent."""
    texts, rates = page.texts, page.report.trailing.win_rates
    rows = []
    for rate in RATES:
        if rate == "created_open":
            continue
        ratio: Ratio = getattr(rates, rate)
        label, value = texts[f"rate_{rate}"], page.formats.percent(ratio.value)
        if rate == "amount":
            parts = (page.formats.compact(part) for part in (ratio.numerator, ratio.denominator))
            note = f" {texts['of']} ".join(parts)
        else:
            note = page.ratio(ratio)
        spoken = f"{label}: {value}, {note} ({texts[f'note_{rate}']})"
        end = float(ratio.value or 0)
        marks = (
            (Mark(0.0, end, "s0" if rate == "count" else "a2", spoken, _behind(page, rate)),) if end else ()
        )
        # Amounts in some languages are too long to stand beside a bar; they are read aloud and in the table.
        rows.append(Row(label, marks, value, note if len(note) <= NOTE else ""))
    title = f"{texts['chart_win']}, {page.window}"
    return Section(
        "win_rates",
        title,
        "results",
        "win_rates",
        pictures=(Picture("win_rates", title, Bars(tuple(rows), top=1.0)),),
        tables=(page.table("win_rates"),),
    )


def _behind(page: Page, rate: str) -> str | None:
    """The deals of the denominator, where a fragment can name them."""
    span = page.report.trailing
    counted: fragments.Test = ("lost_kind", "!=", "duplicate")
    closed = fragments.any_of("status", ("won", "lost"))
    match rate:
        case "count" | "amount":
            found = fragments.deals(*fragments.days("closed", span.start, span.end), *closed, counted)
        case "created_resolved":
            found = fragments.deals(*fragments.days("created", span.start, span.end), *closed, counted)
        case "created":
            found = fragments.deals(*fragments.days("created", span.start, span.end), counted)
        case _:
            return None
    return page.target(found)


def losses(page: Page) -> Section | None:
    """Why deals were lost in the trailing window."""
    report, texts = page.report, page.texts
    parts = report.trailing.lost_by_reason
    if not parts:
        return None
    rows = []
    for part in parts[:REASONS]:
        label = name(part.name, texts["no_reason"])
        deals = page.formats.deals(part.count)
        behind = page.target(closed_deals(report.trailing, "lost", ("lost_reason", "=", part.name)))
        spoken = f"{label}: {page.formats.exact(part.amount)}, {deals}"
        marks = (
            (Mark(0.0, float(part.amount), "mute" if part.name is None else "s5", spoken, behind),)
            if part.amount > 0
            else ()
        )
        rows.append(Row(label, marks, page.formats.compact(part.amount), deals))
    title = f"{texts['lost_reasons']}, {page.window}"
    return Section(
        "losses",
        title,
        "results",
        "lost",
        pictures=(Picture("losses", title, Bars(tuple(rows))),),
        tables=(page.table("lost_reasons"), page.table("lost_kinds")),
    )


def trend(page: Page) -> Section | None:
    """Won, lost and created by month of the trailing window, and every month in a table."""
    months = page.report.trailing.by_month
    if not any(part.count for month in months for part in (month.won, month.lost, month.created)):
        return None
    lines = (("won", "good", ("won",)), ("lost", "bad", ("lost",)), ("created", "s0", ()))
    series = tuple(
        Series(
            page.texts[kind],
            colour,
            tuple(_point(page, place, month, kind, status) for place, month in enumerate(months)),
            dashed=kind == "created",
        )
        for kind, colour, status in lines
    )
    amounts = [part.amount for month in months for part in (month.won, month.lost, month.created)]
    shape = Lines(
        tuple(page.formats.month_label(month.start) for month in months),
        series,
        ticks(amounts, page.formats.compact),
        tuple((one.colour, one.name) for one in series),
    )
    title = page.texts["chart_trend"]
    return Section(
        "trend",
        title,
        "results",
        "results_by_month",
        pictures=(Picture("trend", title, shape),),
        tables=(_named_months(page),),
    )


def _point(page: Page, place: int, month: MonthResults, kind: str, status: Sequence[str]) -> Point:
    part: Closed = getattr(month, kind)
    spoken = (
        f"{page.texts[kind]}, {page.formats.month(month.start)}: {page.formats.exact(part.amount)}, "
        f"{page.formats.deals(part.count)}"
    )
    behind = (
        month_deals(month, *status)
        if status
        else fragments.deals(*fragments.days("created", month.start, month.end))
    )
    return Point(place, float(part.amount), spoken, page.target(behind) if part.count else None)


def _named_months(page: Page) -> Table:
    """The table by month, with months as the language writes them."""
    table, report = page.table("results_by_month"), page.report
    months = (*report.trailing.by_month, *report.period.by_month)
    rows = tuple(
        (page.formats.month(month.start), *cells[1:]) for month, cells in zip(months, table.rows, strict=True)
    )
    return replace(table, rows=rows)


def parts(page: Page) -> Section | None:
    """Results by owner, team and CRM."""
    names = ("results_by_owner", "results_by_team", "results_by_connection")
    tables = tuple(page.table(name) for name in names if page.tables[name].rows)
    if not tables:
        return None
    title = page.texts["results_by_owner"]
    return Section("results_parts", title, "tables", "results_parts", tables=tables, wide=True)


def from_stage(page: Page) -> Section:
    """Win rates of the deals that ever entered each stage."""
    table = page.table("win_rate_from_stage")
    return Section(
        "win_rate_from_stage", table.title, "tables", "win_rate_from_stage", tables=(table,), wide=True
    )


def results(page: Page) -> Section:
    """Won, lost and created in the trailing window and in the period."""
    table, report = page.table("results"), page.report
    metric, *spans = table.columns
    titles = tuple(
        replace(column, title=f"{page.texts[f'col_{column.key}']}: {page.formats.span(span.start, span.end)}")
        for column, span in zip(spans, (report.trailing, report.period), strict=True)
    )
    table = replace(table, columns=(metric, *titles))
    return Section("results", page.texts["results"], "tables", "results", tables=(table,), wide=True)


def velocity(page: Page) -> Section | None:
    """Money per day through each pipeline, with what it is made of."""
    if not page.report.velocity:
        return None
    title = page.texts["velocity"]
    return Section("velocity", title, "tables", "velocity", tables=(page.table("velocity"),), wide=True)
