"""What moved, in detail: the deals of the waterfall, slip rates, close dates and stages."""

from __future__ import annotations

from crmkit.report.metrics.flow_figures import BUCKETS, Waterfall
from crmkit.report.metrics.movement_figures import DateMoves, Movement
from crmkit.report.metrics.slip_figures import OUTCOMES, Slip, Slips
from crmkit.report.render.cells import Cell, Column, Link, Table
from crmkit.report.render.tables.making import Making

_LEVELS = ("start", "end")


def moved_deals(making: Making, found: Waterfall) -> Table:
    """The deals behind the bars."""
    texts = making.texts
    rows: list[tuple[Cell, ...]] = []
    for key in BUCKETS:
        if key in _LEVELS:
            continue
        for deal in found.buckets[key].deals:
            state = deal.new or deal.old
            rows.append(
                (
                    texts[f"bucket_{key}"],
                    Link(deal.name, deal.url),
                    deal.connection,
                    state.owner if state else None,
                    making.stage(deal.old.stage) if deal.old else None,
                    making.stage(deal.new.stage) if deal.new else None,
                    deal.old.close_date if deal.old else None,
                    deal.new.close_date if deal.new else None,
                    making.money(deal.value),
                    texts.get(f"flow_reason_{deal.reason}", deal.reason) if deal.reason else None,
                    deal.ref,
                )
            )
    columns = (
        *making.words("bucket", "deal", "connection", "owner", "old_stage", "new_stage"),
        *making.words("old_close", "new_close"),
        *making.numbers("value"),
        *making.words("reason", "ref"),
    )
    return making.table("moved_deals", columns, tuple(rows))


def slip_table(making: Making, found: Slips) -> Table:
    """One row for each period: what became of the deals that were due in it."""
    spans = [*([found.period] if found.period else []), *found.previous]
    columns = (
        Column("quarter", making.texts["col_period"]),
        *making.numbers("deals", "amount"),
        *(Column(one, making.texts[f"slip_{one}"], numeric=True) for one in OUTCOMES),
        *making.numbers("slip_rate", "slip_rate_amount", "close_on_time", "commit_slip_rate"),
    )
    return making.table("slips", columns, tuple(_slip(making, span) for span in spans))


def _slip(making: Making, span: Slip) -> tuple[Cell, ...]:
    return (
        span.key if span.complete else f"{span.key} ({making.texts['so_far']})",
        span.count,
        making.money(span.amount),
        *(span.outcomes[one].count if one in span.outcomes else 0 for one in OUTCOMES),
        making.share(span.slip_rate_count),
        making.share(span.slip_rate_amount),
        making.share(span.close_on_time_rate),
        making.share(span.commit_slip_rate),
    )


def movement_tables(making: Making, found: Movement) -> list[Table]:
    """The deals whose close dates were pushed, and between which common stages deals went."""
    stages = tuple(
        (making.stage(move.from_stage), making.stage(move.to_stage), move.count, making.money(move.amount))
        for move in found.net
    )
    columns = (*making.words("old_stage", "new_stage"), *making.numbers("deals", "amount"))
    return [date_moves(making, "pushed_deals", found.pushed), making.table("stage_moves", columns, stages)]


def date_moves(making: Making, name: str, found: DateMoves) -> Table:
    """Deals whose expected close was moved, with the old and the new day."""
    rows = tuple(
        (
            Link(deal.name, deal.url),
            deal.connection,
            deal.owner,
            making.stage(deal.stage),
            making.texts[deal.status],
            deal.old_date,
            deal.new_date,
            deal.days,
            deal.push_count,
            making.money(deal.amount),
            deal.ref,
        )
        for deal in found.deals
    )
    columns = (
        *making.words("deal", "connection", "owner", "stage", "outcome_now", "old_close", "new_close"),
        *making.numbers("days", "pushes", "amount"),
        *making.words("ref"),
    )
    total = (making.texts["all"], *[None] * 8, making.money(found.amount), None)
    return Table(name, making.texts[name], columns, rows, total)
