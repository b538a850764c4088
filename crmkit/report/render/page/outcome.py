"""Sections on what became of deals: win rates, results, losses, velocity."""

from __future__ import annotations

from dataclasses import replace

from crmkit.report.ratios import Ratio
from crmkit.report.render import fragments
from crmkit.report.render.charts.shapes import Bars, Mark, Picture, Row
from crmkit.report.render.page.section import Page, Section, name
from crmkit.report.render.pipeline_tables import RATES, closed_deals

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
