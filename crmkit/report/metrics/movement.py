"""How close dates and stages moved between two instants (metrics.md 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from crmkit.report.calendar import Span
from crmkit.report.facts import scale
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.facts.scale import day_number, instant
from crmkit.report.facts.snapshot import LIVE
from crmkit.report.inputs import Settings
from crmkit.report.metrics.dates import date_moves, pushes
from crmkit.report.metrics.movement_figures import DateMove, DateMoves, Movement
from crmkit.report.metrics.pairs import DETAILED, REFS, Between, between
from crmkit.report.metrics.periods import current_period, review_start
from crmkit.report.metrics.stage_moves import gross_moves, kinds, native_moves, net_moves

__all__ = ["date_moves", "movement", "pushes"]


def movement(
    facts: Facts,
    settings: Settings,
    start: datetime | None = None,
    *,
    end: datetime | None = None,
    period: Span | None = None,
    detailed: int = DETAILED,
) -> Movement:
    """What was pushed, pulled in and moved between two instants, of the deals that are in scope at the end.

    Args:
        facts: The fact tables.
        settings: The zone, the currency and the scope.
        start: Since when; `settings.since`, or seven days before `as_of`, if none is given.
        end: Until when; `as_of` if none is given.
        period: What a push out of counts as a slip; the period of the settings if none is given.
        detailed: How many deals of a list are told with all their values.
    """
    found = between(facts, settings, start or review_start(settings), end or settings.as_of)
    span = period or current_period(settings)
    moved = _moved(facts, settings, found)
    window = {"p0": day_number(span.start), "p1": day_number(span.end)}
    return Movement(
        start_at=found.start,
        end_at=found.end,
        period_start=span.start,
        period_end=span.end,
        pushed=_moves(facts, moved, "days > 0", detailed),
        pulled=_moves(facts, moved, "days < 0", detailed),
        cross_period=_moves(
            facts, moved, "days > 0 AND old_day >= $p0 AND old_day < $p1 AND new_day >= $p1", detailed, window
        ),
        by_kind=kinds(facts, found, detailed),
        net=net_moves(facts, found),
        gross=gross_moves(facts, found),
        native=native_moves(facts, found),
    )


def _moved(facts: Facts, settings: Settings, found: Between) -> str:
    """The table of the pushes and pulls in between, each with the deal that it is of."""
    table = date_moves(facts, settings, found.end)
    query = f"""
        SELECT d.ref, d.connection, d.id, m.at_us, m.number, m.old_day, m.new_day, m.days,
            d.name, d.url, coalesce(d.owner_name, d.owner_email, d.owner_id) AS owner, d.stage, d.status,
            d.value, p.push_count, p.push_days
        FROM {table} m
        JOIN {found.after} d ON m.connection = d.connection AND m.id = d.id
        LEFT JOIN {pushes(facts, settings, found.end)} p
            ON m.connection = p.connection AND m.id = p.id
        WHERE m.at_us >= $t0 AND m.at_us < $t1 AND d.life = '{LIVE}' AND d.in_scope
    """
    name = f"moved {found.start.isoformat()} {found.end.isoformat()}"
    return facts.keep(name, query, t0=instant(found.start), t1=instant(found.end))


def _moves(
    facts: Facts, moved: str, where: str, detailed: int, values: Mapping[str, Value] | None = None
) -> DateMoves:
    rows = facts.rows(
        f"""
        WITH deals_moved AS (
            SELECT ref, count(*) AS moves, sum(days) AS days, max(at_us) AS last_us,
                min_by(old_day, number) AS old_day, max_by(new_day, number) AS new_day,
                min(connection) AS connection, min(id) AS id, min(value) AS value
            FROM {moved} WHERE {where} GROUP BY ref
        )
        SELECT *, count(*) OVER () AS all_count, sum(moves) OVER () AS all_moves,
            sum(days) OVER () AS all_days, sum(value) OVER () AS all_value
        FROM deals_moved
        ORDER BY abs(value) DESC NULLS LAST, ref NULLS LAST LIMIT {REFS}
        """,
        **(values or {}),
    )
    first: Mapping[str, Any] = (
        rows[0] if rows else {"all_count": 0, "all_moves": 0, "all_days": 0, "all_value": None}
    )
    return DateMoves(
        count=first["all_count"],
        moves=int(first["all_moves"]),
        days=int(first["all_days"]),
        amount=scale.money(first["all_value"]),
        refs=tuple(row["ref"] for row in rows),
        deals=_lines(facts, moved, rows[:detailed]),
    )


def _lines(facts: Facts, moved: str, rows: Sequence[Mapping[str, Any]]) -> tuple[DateMove, ...]:
    if not rows:
        return ()
    told = {
        row["ref"]: row
        for row in facts.rows(
            f"SELECT DISTINCT ref, name, connection, url, owner, stage, status, value, push_count, push_days "
            f"FROM {moved}"
        )
    }
    return tuple(_line(row, told[row["ref"]]) for row in rows)


def _line(row: Mapping[str, Any], deal: Mapping[str, Any]) -> DateMove:
    old_date, new_date, last_at = (
        scale.day(row["old_day"]),
        scale.day(row["new_day"]),
        scale.moment(row["last_us"]),
    )
    assert old_date is not None
    assert new_date is not None
    assert last_at is not None
    return DateMove(
        ref=deal["ref"],
        name=deal["name"],
        connection=deal["connection"],
        url=deal["url"],
        owner=deal["owner"],
        stage=deal["stage"],
        status=deal["status"],
        amount=None if deal["value"] is None else scale.money(deal["value"]),
        old_date=old_date,
        new_date=new_date,
        moves=int(row["moves"]),
        days=int(row["days"]),
        last_at=last_at,
        push_count=int(deal["push_count"] or 0),
        push_days=int(deal["push_days"] or 0),
    )
