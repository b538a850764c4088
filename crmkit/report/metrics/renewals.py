"""After the purchase: which customers are due for a renewal or an upsell, and where won deals are now."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Literal

from crmkit.mapping.stages import CommonStage
from crmkit.model import Outcome, ValuePeriod
from crmkit.report.calendar import month_of, next_spans
from crmkit.report.facts import scale
from crmkit.report.facts.deals import WON, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.figures import DealLine, Figure
from crmkit.report.inputs import Settings
from crmkit.report.metrics.lines import LINE_COLUMNS, line_fields
from crmkit.report.metrics.pairs import REFS
from crmkit.report.money import ZERO, Number, add

MONTHS = 12
"""Months ahead that are shown even if nothing is due."""


class DueDeal(DealLine):
    """A won deal and the day on which it is to be renewed or extended; `days` until then."""

    due_on: date
    days: int


class DueDeals(Figure):
    """Won deals that are due, the first ones first: `refs` of 20,000 at most, the first as `deals`."""

    count: int
    amount: Number
    refs: tuple[str, ...]
    deals: tuple[DueDeal, ...]


class DueMonth(Figure):
    """What is due in the days `[start, end)`, from the day of the report on."""

    key: str
    start: date
    end: date
    count: int
    amount: Number


class DueDates(Figure):
    """Renewals or upsells of won deals by their day.

    `upcoming` ones lie in the next days up to `until`, that day included; `overdue` ones are
    past, for the CRM keeps the day that was agreed. `by_month` are the next twelve months and
    every later one that holds any.
    """

    until: date
    upcoming: DueDeals
    overdue: DueDeals
    by_month: tuple[DueMonth, ...]


class AfterSaleStage(Figure):
    """Won deals that are in a common stage after the sale."""

    stage: str
    name: str
    count: int
    amount: Number


class Renewals(Figure):
    """What comes after the purchase.

    `amount` is what the won deal was worth. `undated_recurring_count` won deals of a monthly or
    annual value, worth `undated_recurring_amount`, have no day of renewal: none is guessed.
    `after_sale` counts won deals in the common stages that follow the won one, in order.
    """

    renewals: DueDates
    upsells: DueDates
    undated_recurring_count: int
    undated_recurring_amount: Number
    after_sale: tuple[AfterSaleStage, ...]


def renewals(facts: Facts, settings: Settings) -> Renewals:
    """Renewals and upsells of won deals, due and overdue, and the won deals after the sale."""
    won = facts.keep(
        f"customers {settings.as_of.isoformat()}",
        f"""
        SELECT ref, value, value_period, stage, renewal_day, upsell_day
        FROM {live_at(facts, settings)} WHERE status = '{WON}'
        """,
    )
    recurring = f"'{ValuePeriod.MONTHLY.value}', '{ValuePeriod.ANNUAL.value}'"
    undated = facts.row(
        f"""
        SELECT count(*) AS n, sum(value) AS amount FROM {won}
        WHERE value_period IN ({recurring}) AND renewal_day IS NULL
        """
    )
    return Renewals(
        renewals=_dates(facts, settings, won, "renewal_day"),
        upsells=_dates(facts, settings, won, "upsell_day"),
        undated_recurring_count=int(undated["n"]),
        undated_recurring_amount=scale.money(undated["amount"]),
        after_sale=_after_sale(facts, settings, won),
    )


def after_sale_stages(settings: Settings) -> list[CommonStage]:
    """The common stages that follow the won one and are won themselves, in order."""
    ordered = sorted(settings.stages, key=lambda stage: (stage.order, stage.id))
    return [stage for stage in ordered if stage.outcome is Outcome.WON][1:]


def _after_sale(facts: Facts, settings: Settings, won: str) -> tuple[AfterSaleStage, ...]:
    rows = facts.rows(f"SELECT stage, count(*) AS n, sum(value) AS amount FROM {won} GROUP BY stage")
    found = {row["stage"]: row for row in rows}
    return tuple(
        AfterSaleStage(
            stage=stage.id,
            name=stage.name,
            count=int(found[stage.id]["n"]) if stage.id in found else 0,
            amount=scale.money(found[stage.id]["amount"]) if stage.id in found else ZERO,
        )
        for stage in after_sale_stages(settings)
    )


def _dates(
    facts: Facts, settings: Settings, won: str, column: Literal["renewal_day", "upsell_day"]
) -> DueDates:
    today = settings.as_of_date
    until = today + timedelta(days=settings.renewal_days)
    first, last = scale.day_number(today), scale.day_number(until)
    return DueDates(
        until=until,
        upcoming=_deals(facts, settings, won, column, first, last),
        overdue=_deals(facts, settings, won, column, _LONG_AGO, first - 1),
        by_month=_months(facts, settings, won, column),
    )


_LONG_AGO = -(10**6)


def _deals(facts: Facts, settings: Settings, won: str, column: str, first: int, last: int) -> DueDeals:
    source = f"FROM {won} WHERE {column} BETWEEN $first AND $last"
    ranked = f"{source} ORDER BY {column} NULLS LAST, ref NULLS LAST"
    total = facts.row(f"SELECT count(*) AS n, sum(value) AS amount {source}", first=first, last=last)
    refs = facts.rows(f"SELECT ref {ranked} LIMIT {REFS}", first=first, last=last)
    shown = facts.rows(
        f"""
        SELECT {LINE_COLUMNS}, w.due_day FROM (SELECT ref, {column} AS due_day {ranked} LIMIT $top) w
        JOIN {live_at(facts, settings)} d ON w.ref = d.ref
        ORDER BY w.due_day NULLS LAST, d.ref NULLS LAST
        """,
        first=first,
        last=last,
        top=settings.top,
    )
    return DueDeals(
        count=int(total["n"]),
        amount=scale.money(total["amount"]),
        refs=tuple(row["ref"] for row in refs),
        deals=tuple(_line(row, settings) for row in shown),
    )


def _line(row: dict[str, Any], settings: Settings) -> DueDeal:
    due = scale.day(row["due_day"])
    assert due is not None
    return DueDeal(**line_fields(row, settings), due_on=due, days=(due - settings.as_of_date).days)


def _months(facts: Facts, settings: Settings, won: str, column: str) -> tuple[DueMonth, ...]:
    today = settings.as_of_date
    rows = facts.rows(
        f"""
        SELECT {column} AS due_day, count(*) AS n, sum(value) AS amount
        FROM {won} WHERE {column} >= $today GROUP BY {column}
        """,
        today=scale.day_number(today),
    )
    found = dict.fromkeys(next_spans(month_of(today), MONTHS), (0, ZERO))
    for row in rows:
        due = scale.day(row["due_day"])
        assert due is not None
        count, amount = found.get(month_of(due), (0, ZERO))
        found[month_of(due)] = (count + int(row["n"]), add(amount, scale.money(row["amount"])))
    return tuple(
        DueMonth(key=span.key, start=span.start, end=span.end, count=count, amount=amount)
        for span, (count, amount) in sorted(found.items())
    )
