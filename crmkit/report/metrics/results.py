"""What was won, lost and created in a period, and the win rates (metrics.md 4, 8, 10)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from crmkit.model import LostKind
from crmkit.report.facts import scale
from crmkit.report.facts.deals import LOST, OPEN, WON, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.figures import Closed, LostPart, PeriodResults, Velocity, WinRates
from crmkit.report.inputs import Settings
from crmkit.report.metrics.open_deals import open_table
from crmkit.report.metrics.periods import trailing_window
from crmkit.report.metrics.sums import average, median
from crmkit.report.money import add, multiply, subtract
from crmkit.report.ratios import Average, divide, share

DUPLICATE = LostKind.DUPLICATE.value
_NARROW = LostKind.LOST.value


def results(
    facts: Facts, settings: Settings, period: tuple[date, date], *, overdue_or_stale: int
) -> PeriodResults:
    """What happened in a period of local days.

    Args:
        facts: The fact tables.
        settings: The scope and the zone.
        period: Half-open.
        overdue_or_stale: Open deals that the strict win rate counts as lost.
    """
    table, least = live_at(facts, settings), settings.min_sample
    days = {"start": scale.day_number(period[0]), "end": scale.day_number(period[1])}
    row = facts.row(_sums(table), **days)
    won_in = f"{table} WHERE status = '{WON}' AND {_CLOSED}"
    cycles = f"{won_in} AND closed_day >= created_day"
    median_cycle = median(facts, cycles, "closed_day - created_day", min_sample=least, read=Decimal, **days)
    won, lost, created = (_closed(row, name) for name in ("won", "lost", "created"))
    return PeriodResults(
        start=period[0],
        end=period[1],
        won=won,
        lost=lost,
        created=created,
        lost_by_kind=_parts(facts, table, "lost_kind", days),
        lost_by_reason=_parts(facts, table, "nullif(trim(lost_reason), '')", days),
        net_new_pipeline=subtract(subtract(created.amount, won.amount), lost.amount),
        average_won_amount=average(won.amount, int(row["won_valued"]), least),
        median_won_amount=median(facts, won_in, "value", min_sample=least, read=scale.money, **days),
        win_rates=_win_rates(row, overdue_or_stale, least),
        average_cycle_days=average(Decimal(int(row["won_days"] or 0)), int(row["won_cycles"]), least),
        median_cycle_days=median_cycle,
        average_lost_cycle_days=average(Decimal(int(row["lost_days"] or 0)), int(row["lost_cycles"]), least),
        open_older_than_cycle_count=_older_than(facts, settings, median_cycle),
        closed_at_estimated_count=int(row["estimated"] or 0),
    )


_CLOSED = "closed_day >= $start AND closed_day < $end"
_CREATED = "created_day >= $start AND created_day < $end"


def _sums(table: str) -> str:
    groups = {
        "won": f"status = '{WON}' AND {_CLOSED}",
        "lost": f"status = '{LOST}' AND {_CLOSED}",
        "created": _CREATED,
        # Lost as duplicates: in the totals, but in no win rate.
        "rated_lost": f"status = '{LOST}' AND lost_kind <> '{DUPLICATE}' AND {_CLOSED}",
        "narrow_lost": f"status = '{LOST}' AND lost_kind = '{_NARROW}' AND {_CLOSED}",
    }
    cohort = f"{_CREATED} AND coalesce(lost_kind, '') <> '{DUPLICATE}'"
    sums = [
        part
        for name, where in groups.items()
        for part in (
            f"count(*) FILTER (WHERE {where}) AS {name}",
            f"sum(value) FILTER (WHERE {where}) AS {name}_amount",
            f"count(value) FILTER (WHERE {where}) AS {name}_valued",
            f"count(*) FILTER (WHERE {where} AND NOT priced) AS {name}_unpriced",
            f"count(*) FILTER (WHERE {where} AND fx_missing) AS {name}_unrated",
        )
    ]
    sums += [
        f"count(*) FILTER (WHERE {cohort} AND status = '{one}') AS cohort_{one}" for one in (WON, LOST, OPEN)
    ]
    for name, group in (("won", "won"), ("lost", "rated_lost")):
        where = f"{groups[group]} AND closed_day >= created_day"
        sums.append(f"count(*) FILTER (WHERE {where}) AS {name}_cycles")
        sums.append(f"sum(closed_day - created_day) FILTER (WHERE {where}) AS {name}_days")
    sums.append(f"count(*) FILTER (WHERE {_CLOSED} AND closed_estimated) AS estimated")
    return f"SELECT {', '.join(sums)} FROM {table}"


def _closed(row: Mapping[str, Any], name: str) -> Closed:
    return Closed(
        count=int(row[name]),
        amount=scale.money(row[f"{name}_amount"]),
        amount_missing_count=int(row[f"{name}_unpriced"]),
        fx_missing_count=int(row[f"{name}_unrated"]),
    )


def _win_rates(row: Mapping[str, Any], overdue_or_stale: int, least: int) -> WinRates:
    won, rated, narrow = (int(row[name]) for name in ("won", "rated_lost", "narrow_lost"))
    won_amount, lost_amount = scale.money(row["won_amount"]), scale.money(row["rated_lost_amount"])
    cohort = {status: int(row[f"cohort_{status}"]) for status in (WON, LOST, OPEN)}
    closed, created, resolved = won + rated, sum(cohort.values()), cohort[WON] + cohort[LOST]
    strict = closed + overdue_or_stale
    return WinRates(
        count=share(won, closed, sample=closed, min_sample=least),
        amount=share(
            won_amount,
            add(won_amount, lost_amount),
            sample=closed,
            min_sample=least,
            # A share of negative sums says nothing (metrics.md 8).
            meaningful=won_amount >= 0 and lost_amount >= 0,
        ),
        competitive=share(won, won + narrow, sample=won + narrow, min_sample=least),
        created=share(cohort[WON], created, sample=created, min_sample=least),
        created_resolved=share(cohort[WON], resolved, sample=resolved, min_sample=least),
        created_open=share(cohort[OPEN], created, sample=created, min_sample=least),
        strict=share(won, strict, sample=strict, min_sample=least),
    )


def _parts(facts: Facts, table: str, column: str, days: Mapping[str, int]) -> tuple[LostPart, ...]:
    rows = facts.rows(
        f"""
        SELECT {column} AS name, count(*) AS n, sum(value) AS amount
        FROM {table} WHERE status = '{LOST}' AND {_CLOSED} GROUP BY {column}
        """,
        **days,
    )
    found = [
        LostPart(name=row["name"], count=int(row["n"]), amount=scale.money(row["amount"])) for row in rows
    ]
    return tuple(sorted(found, key=lambda part: (part.name is None, -part.count, part.name or "")))


def _older_than(facts: Facts, settings: Settings, cycle: Average) -> int | None:
    """Open deals older than twice the median cycle, or `None` without a cycle."""
    if cycle.value is None:
        return None
    today = scale.day_number(settings.as_of_date)
    row = facts.row(
        f"""
        SELECT count(*) AS n FROM {open_table(facts, settings)}
        WHERE created_day <= $today AND $today - created_day > $limit
        """,
        today=today,
        # Whole days: more than 7.5 is more than 7.
        limit=int(cycle.value * 2),
    )
    return int(row["n"])


def velocity(facts: Facts, settings: Settings) -> tuple[Velocity, ...]:
    """Money per day of every pipeline with open deals, or with closed ones in the trailing window."""
    start, end = trailing_window(settings)
    closed = facts.rows(
        f"""
        SELECT connection, coalesce(pipeline_id, '') AS pipeline_id, min(pipeline) AS pipeline,
            count(*) FILTER (WHERE status = '{WON}') AS won,
            count(*) FILTER (WHERE status = '{LOST}' AND lost_kind <> '{DUPLICATE}') AS lost,
            sum(value) FILTER (WHERE status = '{WON}') AS amount,
            count(value) FILTER (WHERE status = '{WON}') AS valued,
            count(*) FILTER (WHERE status = '{WON}' AND closed_day >= created_day) AS cycles,
            sum(closed_day - created_day)
                FILTER (WHERE status = '{WON}' AND closed_day >= created_day) AS days
        FROM {live_at(facts, settings)}
        WHERE {_CLOSED} AND (status = '{WON}' OR lost_kind <> '{DUPLICATE}')
        GROUP BY connection, coalesce(pipeline_id, '')
        """,
        start=scale.day_number(start),
        end=scale.day_number(end),
    )
    qualified = "TRUE" if settings.qualified_stage is None else "stage_order >= $least"
    opened = facts.rows(
        f"""
        SELECT connection, coalesce(pipeline_id, '') AS pipeline_id, min(pipeline) AS pipeline,
            count(*) FILTER (WHERE {qualified}) AS n
        FROM {open_table(facts, settings)} GROUP BY connection, coalesce(pipeline_id, '')
        """,
        **({} if settings.qualified_stage is None else {"least": _order(settings, settings.qualified_stage)}),
    )
    ended = {(row["connection"], row["pipeline_id"]): row for row in closed}
    begun = {(row["connection"], row["pipeline_id"]): row for row in opened}
    return tuple(
        _velocity(key, ended.get(key), begun.get(key), settings.min_sample)
        for key in sorted({*ended, *begun})
    )


def _order(settings: Settings, stage: str) -> int:
    return next(one.order for one in settings.stages if one.id == stage)


def _velocity(
    key: tuple[str, str], ended: Mapping[str, Any] | None, begun: Mapping[str, Any] | None, least: int
) -> Velocity:
    row = ended or {
        "won": 0,
        "lost": 0,
        "amount": None,
        "valued": 0,
        "cycles": 0,
        "days": None,
        "pipeline": None,
    }
    won, closed = int(row["won"]), int(row["won"]) + int(row["lost"])
    amount = average(scale.money(row["amount"]), int(row["valued"]), least)
    cycle = average(Decimal(int(row["days"] or 0)), int(row["cycles"]), least)
    open_count = int(begun["n"]) if begun else 0
    per_day = None
    if amount.value is not None and cycle.value is not None and closed:
        # N x A x won / (closed x L), divided once, so that no rounded share is multiplied.
        gain = multiply(multiply(Decimal(open_count), amount.value), Decimal(won))
        per_day = divide(gain, multiply(Decimal(closed), max(cycle.value, Decimal(1))))
    return Velocity(
        connection=key[0],
        pipeline_id=key[1] or None,
        pipeline=(begun and begun["pipeline"]) or row["pipeline"],
        open_count=open_count,
        average_won_amount=amount,
        win_rate=share(won, closed, sample=closed, min_sample=least),
        average_cycle_days=cycle,
        per_day=per_day,
    )
