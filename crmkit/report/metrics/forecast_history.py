"""Forecasts as they were at earlier instants, and how near they came (metrics.md 12).

Nothing is stored for this: the deals at any instant are put together again from what changed since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from crmkit.report.calendar import Span, quarter_of
from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN, WON, deals_query
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.facts.scale import DAY, day_number, instant
from crmkit.report.facts.snapshot import LIVE, changed_fields, records_query
from crmkit.report.facts.tables import DEALS, Type
from crmkit.report.facts.zone import moment_of, start_of
from crmkit.report.inputs import Settings
from crmkit.report.metrics.categories import category_sql
from crmkit.report.metrics.forecast_figures import (
    Accuracy,
    AccuracyPoint,
    ForecastPoint,
    QuarterAccuracy,
)
from crmkit.report.metrics.forecast_sums import Parts
from crmkit.report.metrics.sums import OPEN_SUMS
from crmkit.report.money import subtract
from crmkit.report.ratios import divide

QUARTERS = 4
"""Past quarters that are judged, at most."""

Age = Literal["first_day", "day_30", "day_60", "last_day"]

_FIXED = ("connection", "id", "logical", "amount_unreadable", "created_us", "first_seen_us")
_TRACKED = (
    "pipeline_id", "stage_id", "status", "amount", "currency", "value_period", "probability",
    "forecast_category", "owner_id", "close_day", "closed_us", "modified_us", "archived", "gone_us",
)  # fmt: skip
"""The columns of a deal that a forecast depends on."""


@dataclass(frozen=True, slots=True)
class History:
    """Earlier forecasts for the current period, and for past quarters with what came of them."""

    since: datetime | None
    snapshots: tuple[ForecastPoint, ...]
    accuracy: tuple[QuarterAccuracy, ...]


@dataclass(frozen=True, slots=True)
class _Tables:
    """The part of the fact tables that matters for some periods."""

    deals: str
    changes: str
    steps: str
    fields: tuple[str, ...]
    empty: bool = False


def history(facts: Facts, settings: Settings, span: Span) -> History:
    """The forecasts for a period and for past fiscal quarters, since all connections are read."""
    since_us = _known_since(facts, settings)
    if since_us is None:
        return History(None, (), ())
    quarters = list(_past_quarters(settings, since_us))
    current = [
        (age, day)
        for age, day in ages(span)
        if since_us <= start_of(day, settings.zone) < instant(settings.as_of)
    ]
    wanted = [*quarters, *([span] if current else [])]
    if not wanted:
        return History(scale.moment(since_us), (), ())
    whole = _within(
        facts,
        settings,
        min(one.start for one in wanted),
        max(one.end for one in wanted),
        _Tables("deals", "changes", "stage_steps", _TRACKED),
    )
    accuracy = tuple(_accuracy(facts, settings, quarter, whole) for quarter in quarters)
    snapshots: tuple[ForecastPoint, ...] = ()
    if current:
        part = _within(facts, settings, span.start, span.end, whole)
        snapshots = tuple(_snapshot(facts, settings, span, part, age, day) for age, day in current)
    return History(scale.moment(since_us), snapshots, accuracy)


def ages(span: Span) -> tuple[tuple[Age, date], ...]:
    """The days of a period at whose beginning its forecast is looked at, each once."""
    last = span.end - timedelta(days=1)
    marks: tuple[tuple[Age, date], ...] = (
        ("first_day", span.start),
        ("day_30", span.start + timedelta(days=30)),
        ("day_60", span.start + timedelta(days=60)),
    )
    return (*(mark for mark in marks if mark[1] < last), ("last_day", last))


def _known_since(facts: Facts, settings: Settings) -> int | None:
    """Since when every connection in reach is read: a forecast without one of them would be too low."""
    wanted = settings.scope.connections
    rows = facts.rows("SELECT connection, first_us FROM pulls")
    return max(
        (int(row["first_us"]) for row in rows if not wanted or row["connection"] in wanted), default=None
    )


def _past_quarters(settings: Settings, since_us: int) -> Iterator[Span]:
    start = settings.fiscal_start_month
    quarter = quarter_of(settings.as_of_date, start)
    for _ in range(QUARTERS):
        quarter = quarter_of(quarter.start - timedelta(days=1), start)
        if start_of(quarter.start, settings.zone) < since_us:
            return
        yield quarter


def _accuracy(facts: Facts, settings: Settings, quarter: Span, whole: _Tables) -> QuarterAccuracy:
    part = _within(facts, settings, quarter.start, quarter.end, whole)
    # Put together once at the end of the quarter, from which its earlier days are near.
    part = _rolled_back(facts, part, start_of(quarter.end, settings.zone))
    actual = _parts_on(facts, settings, quarter, part, quarter.end).won.amount
    return QuarterAccuracy(
        key=quarter.key,
        start=quarter.start,
        end=quarter.end,
        actual=actual,
        points=tuple(
            _judged(_snapshot(facts, settings, quarter, part, age, day), actual) for age, day in ages(quarter)
        ),
    )


def _judged(point: ForecastPoint, actual: Decimal) -> AccuracyPoint:
    kinds: tuple[tuple[Literal["weighted", "commit", "best"], Decimal], ...] = (
        ("weighted", point.forecast_weighted),
        ("commit", point.forecast_commit),
        ("best", point.forecast_best),
    )
    return AccuracyPoint(
        age=point.age,
        day=point.day,
        at=point.at,
        kinds=tuple(_accuracy_of(kind, value, actual) for kind, value in kinds),
    )


def _accuracy_of(kind: Literal["weighted", "commit", "best"], value: Decimal, actual: Decimal) -> Accuracy:
    """1 - |forecast - actual| / actual, and (forecast - actual) / actual; one division each."""
    off = subtract(value, actual)
    return Accuracy(
        kind=kind,
        forecast=value,
        forecast_accuracy=divide(subtract(actual, abs(off)), actual),
        forecast_bias=divide(off, actual),
    )


def _snapshot(
    facts: Facts, settings: Settings, span: Span, tables: _Tables, age: Age, day: date
) -> ForecastPoint:
    parts = _parts_on(facts, settings, span, tables, day)
    return ForecastPoint(
        age=age,
        day=day,
        at=moment_of(day, settings.zone),
        forecast_weighted=parts.weighted,
        forecast_commit=parts.commit,
        forecast_best=parts.best,
    )


def _parts_on(facts: Facts, settings: Settings, span: Span, tables: _Tables, day: date) -> Parts:
    """What the forecast for a period was made of at the beginning of a local day."""
    parts = Parts()
    if tables.empty:
        return parts
    records = f"({records_query(tables.fields, tables.deals, tables.changes)})"
    scope = settings.scope
    deals, values = deals_query(
        records,
        settings,
        moment_of(day, settings.zone),
        steps=tables.steps,
        companies="(SELECT * FROM companies WHERE FALSE)",
        # A join that is not made is much of the time of twenty instants.
        owners="owners" if scope.owners or scope.teams else "(SELECT * FROM owners WHERE FALSE)",
    )
    category = category_sql(settings, values, deal="d", outline="o")
    rows = facts.rows(
        f"""
        SELECT 'due' AS place, {category} AS category, {OPEN_SUMS}
        FROM ({deals}) d LEFT JOIN outline o ON d.stage = o.stage
        WHERE d.life = '{LIVE}' AND d.in_scope AND (
            (d.status = '{OPEN}' AND d.close_day >= $due AND d.close_day < $end)
            OR (d.status = '{WON}' AND d.closed_day >= $first AND d.closed_day < $end)
        )
        GROUP BY {category}
        """,
        **values,
        due=day_number(day),
        first=day_number(span.start),
        end=day_number(span.end),
    )
    for row in rows:
        parts.add(row)
    return parts


def _within(facts: Facts, settings: Settings, start: date, end: date, source: _Tables) -> _Tables:
    """The deals that were ever expected or closed in some days, and what changed of them since.

    A few percent of all deals make a quarter: so many instants are looked at that this pays.
    """
    # The days of closing are told as instants here and are local ones there: a day to spare at both ends.
    touched = facts.keep(
        f"touched {start} {end}",
        f"""
        WITH found AS (
            SELECT connection, id FROM {source.deals}
            WHERE (close_day >= $first AND close_day <= $last)
                OR (closed_us // {DAY} >= $first AND closed_us // {DAY} <= $last)
            UNION
            SELECT connection, id FROM (
                SELECT connection, id, {_day_of("old")} AS old_day, {_day_of("new")} AS new_day
                FROM {source.changes} WHERE field IN ('close_day', 'closed_us')
            ) days
            WHERE (old_day >= $first AND old_day <= $last) OR (new_day >= $first AND new_day <= $last)
            UNION
            SELECT s.connection, s.id
            FROM (
                SELECT * FROM {source.steps} WHERE at_us // {DAY} >= $first AND at_us // {DAY} <= $last
            ) s
            SEMI JOIN (SELECT connection, id FROM {source.deals} WHERE closed_us IS NULL) unknown_closing
                ON s.connection = unknown_closing.connection AND s.id = unknown_closing.id
        )
        SELECT connection, id FROM found
        UNION
        SELECT m.connection, m.id
        FROM (SELECT * FROM {source.deals} WHERE logical IS NOT NULL) m
        SEMI JOIN (
            SELECT d.logical FROM {source.deals} d
            JOIN found f ON d.connection = f.connection AND d.id = f.id WHERE d.logical IS NOT NULL
        ) linked ON m.logical = linked.logical
        """,
        first=day_number(start) - 1,
        last=day_number(end),
    )

    def part(table: str, columns: str, where: str, **values: Value) -> str:
        return facts.keep(
            f"{table} touched {start} {end}",
            f"""
            SELECT {columns} FROM (SELECT * FROM {table} WHERE {where}) f
            SEMI JOIN {touched} t ON f.connection = t.connection AND f.id = t.id
            """,
            **values,
        )

    since = start_of(start, settings.zone)
    tracked = tuple(name for name in changed_fields(facts, since) if name in _TRACKED)
    # Without any, no row equals NULL.
    fields = ", ".join(f"'{name}'" for name in tracked) or "NULL"
    return _Tables(
        part(source.deals, _COLUMNS, "TRUE"),
        part(
            source.changes,
            "f.*",
            f"at_us > $since AND field IN ({fields})",
            since=since,
        ),
        part(source.steps, "f.*", "TRUE"),
        tracked,
        empty=facts.row(f"SELECT count(*) AS n FROM {touched}")["n"] == 0,
    )


def _rolled_back(facts: Facts, tables: _Tables, at_us: int) -> _Tables:
    """The same deals with the values that they had at an instant, and what had changed by then."""
    if tables.empty:
        return tables
    deals = facts.keep(
        f"{tables.deals} at {at_us}", records_query(tables.fields, tables.deals, tables.changes), at=at_us
    )
    changes = facts.keep(
        f"{tables.changes} until {at_us}",
        f"SELECT * FROM {tables.changes} WHERE at_us <= $at",
        at=at_us,
    )
    return replace(tables, deals=deals, changes=changes)


def _day_of(text: str) -> str:
    """SQL for the day that a text of `changes` stands for."""
    number = f"CAST(nullif(substr({text}, 2), '') AS BIGINT)"
    return f"CASE WHEN field = 'close_day' THEN {number} WHEN field = 'closed_us' THEN {number} // {DAY} END"


_SQL = {Type.TEXT: "VARCHAR", Type.INT: "BIGINT", Type.BOOL: "BOOLEAN"}
# What no forecast asks for is not carried along.
_COLUMNS = ", ".join(
    f"f.{name}" if name in {*_FIXED, *_TRACKED} else f"CAST(NULL AS {_SQL[kind]}) AS {name}"
    for name, kind in DEALS.columns.items()
)
