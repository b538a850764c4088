"""What every deal was at one instant and what it is at a later one, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import RATE_DIGITS, WHOLE, day_number, instant
from crmkit.report.facts.snapshot import LIVE
from crmkit.report.inputs import Settings
from crmkit.report.metrics.flow_figures import DealState, FlowDeal, HistoryStart
from crmkit.report.metrics.periods import local_date
from crmkit.report.metrics.touched import touched, touched_at

REFS = 20_000
"""Refs in one list at most; the count beside it is complete."""
DETAILED = 1_000
"""Deals of one list that are told with all their values, unless a caller wants more."""

_SIDE = (
    "ref", "life", "status", "in_scope", "close_day", "closed_us", "native", "currency",
    "connection", "id", "pipeline_id", "stage_id", "stage", "place", "owner_key", "team",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Between:
    """Two instants, and the tables of the deals at both: of those that can have changed in between.

    `before` and `after` have the columns of `deals_at`. `table` has one
    row per logical deal that was open at one of the instants, was closed between them, or
    moved to another stage or pipeline: the columns of either side with `x_` (start) and `y_`
    (end) in front, `logical`, `created_us`, `merged_into`, and the amounts `x_start` (by the
    rates of the start), `x_end` (by those of the end), `y_end` and `y_frozen` (by those of
    the day it was closed); NULL without a rate, zero without an amount.
    """

    start: datetime
    end: datetime
    table: str
    before: str
    after: str


def between(
    facts: Facts, settings: Settings, start: datetime, end: datetime, *, since: datetime | None = None
) -> Between:
    """The deals at two instants, each by the rates of its own local day.

    Linked deals are one at both instants, by the links known today, so that a deal that
    was linked in between is not taken for one that went and one that came.

    Args:
        facts: The fact tables.
        settings: The zone and the currency.
        start: The earlier instant.
        end: The later one.
        since: An instant not after the start that is compared too: one set of deals serves both.

    Raises:
        ValueError: The start is not before the end.
    """
    if start >= end:
        raise ValueError(f"{start.isoformat()} is not before {end.isoformat()}")
    some = touched(facts, settings, min(start, since or start))
    before, after = (touched_at(facts, settings, some, at) for at in (start, end))
    sides = ", ".join(f"{side}.{name} AS {side}_{name}" for side in "xy" for name in _SIDE)
    query = f"""
        WITH day_rates AS (
            SELECT currency,
                min(CASE WHEN rate_day = $day0 THEN rate END) AS start_rate,
                min(CASE WHEN rate_day = $day1 THEN rate END) AS end_rate
            FROM rates WHERE rate_day IN ($day0, $day1) AND currency <> $own GROUP BY currency
            UNION ALL SELECT $own, CAST($one AS {WHOLE}), CAST($one AS {WHOLE})
        )
        SELECT y.logical, y.created_us, y.merged_into, {sides},
            {_valued("x.native", "xr.start_rate")} AS x_start,
            {_valued("x.native", "xr.end_rate")} AS x_end,
            {_valued("y.native", "yr.end_rate")} AS y_end,
            CASE WHEN y.native IS NULL THEN CAST(0 AS {WHOLE}) ELSE y.value END AS y_frozen
        FROM {after} y
        -- Nothing that was known at the start is unknown at the end: what is gone is there as gone.
        LEFT JOIN {before} x ON y.logical = x.logical
        LEFT JOIN day_rates xr ON x.currency = xr.currency
        LEFT JOIN day_rates yr ON y.currency = yr.currency
        WHERE (x.status = '{OPEN}' AND x.life = '{LIVE}') OR (y.status = '{OPEN}' AND y.life = '{LIVE}')
            OR (y.closed_us >= $t0 AND y.closed_us < $t1)
            OR x.stage_id <> y.stage_id OR x.pipeline_id <> y.pipeline_id
    """
    table = facts.keep(
        f"between {start.isoformat()} {end.isoformat()}",
        query,
        t0=instant(start),
        t1=instant(end),
        day0=day_number(local_date(start, settings)),
        day1=day_number(local_date(end, settings)),
        own=settings.report_currency.strip().upper(),
        one=10**RATE_DIGITS,
    )
    return Between(start, end, table, before, after)


def _valued(native: str, rate: str) -> str:
    return f"CASE WHEN {native} IS NULL THEN CAST(0 AS {WHOLE}) ELSE CAST({native} AS {WHOLE}) * {rate} END"


@dataclass(frozen=True, slots=True)
class States:
    """Some deals as they were at the start and as they are at the end, by their logical deal."""

    old: Mapping[str, DealState]
    new: Mapping[str, DealState]
    rows: Mapping[str, Mapping[str, Any]]

    def line(
        self,
        logical: str,
        value: Decimal,
        *,
        ref: str | None = None,
        gone: bool = False,
        reason: str | None = None,
        survivor: str | None = None,
    ) -> FlowDeal:
        """The deal as a line of a list.

        Args:
            logical: The deal.
            value: What it adds to the sum of the list.
            ref: The record, if it is not that of the end.
            gone: Whether the deal exists no more at the end.
            reason: Why it is in the list.
            survivor: The deal that it was merged into.
        """
        row = self.rows[logical]
        return FlowDeal(
            ref=ref or row["ref"],
            name=row["name"],
            connection=row["connection"],
            url=row["url"],
            value=value,
            old=self.old.get(logical),
            new=None if gone else self.new[logical],
            reason=reason,
            survivor=survivor,
        )


def states(facts: Facts, found: Between, logical: str) -> States:
    """What some deals were and are.

    Args:
        facts: The fact tables.
        found: The two instants.
        logical: A table with the deals in its column `logical`, once each.
    """
    old = _states(facts, found, logical, found.before, "x_start")
    new = _states(facts, found, logical, found.after, "y_end")
    return States(
        {row["logical"]: _state(row) for row in old},
        {row["logical"]: _state(row) for row in new},
        {row["logical"]: row for row in new},
    )


def _states(facts: Facts, found: Between, logical: str, source: str, value: str) -> list[dict[str, Any]]:
    return facts.rows(
        f"""
        SELECT d.logical, d.ref, d.connection, d.name, d.url, d.status, d.native, d.currency, d.stage,
            coalesce(d.native_stage, d.stage_id) AS native_stage,
            coalesce(d.pipeline, d.pipeline_id) AS pipeline,
            coalesce(d.owner_name, d.owner_email, d.owner_id) AS owner, d.close_day,
            CASE WHEN d.native IS NOT NULL THEN b.{value} END AS value
        FROM {source} d
        JOIN {found.table} b ON d.logical = b.logical
        SEMI JOIN {logical} l ON d.logical = l.logical
        """
    )


def _state(row: Mapping[str, Any]) -> DealState:
    native, value = row["native"], row["value"]
    return DealState(
        status=row["status"],
        amount=None if native is None else scale.number(native, scale.AMOUNT_DIGITS),
        currency=row["currency"],
        value=None if value is None else scale.money(value),
        stage=row["stage"],
        native_stage=row["native_stage"],
        pipeline=row["pipeline"],
        owner=row["owner"],
        close_date=scale.day(row["close_day"]),
    )


def history_starts(facts: Facts, settings: Settings, start: datetime) -> tuple[HistoryStart, ...]:
    """Since when the deals of each connection in scope are known, and whether that is after an instant."""
    wanted = settings.scope.connections
    rows = facts.rows("SELECT connection, first_us FROM pulls ORDER BY connection NULLS LAST")
    return tuple(
        HistoryStart(connection=row["connection"], at=at, late=at > start)
        for row in rows
        if not wanted or row["connection"] in wanted
        for at in _moments([row["first_us"]])
    )


def _moments(instants: Iterable[int | None]) -> Iterator[datetime]:
    for value in instants:
        at = scale.moment(value)
        if at is not None:
            yield at
