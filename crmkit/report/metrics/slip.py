"""The slip rate: of what was due in a period, how much was not closed in it (metrics.md 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from crmkit.mapping.forecast import Category
from crmkit.report.calendar import Span, quarter_of
from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.facts.scale import day_number, instant
from crmkit.report.facts.snapshot import LIVE
from crmkit.report.facts.zone import moment_of
from crmkit.report.inputs import Settings
from crmkit.report.metrics.categories import category_sql
from crmkit.report.metrics.pairs import DETAILED, REFS, Between, States, between, history_starts, states
from crmkit.report.metrics.periods import current_period, local_date
from crmkit.report.metrics.slip_figures import OUTCOMES, Slip, SlipOutcome, SlipPart, Slips
from crmkit.report.money import ZERO, total_of
from crmkit.report.ratios import Ratio, share

PREVIOUS = 1


def slips(facts: Facts, settings: Settings, *, previous: int = PREVIOUS, detailed: int = DETAILED) -> Slips:
    """The cohort of the current period, and those of the fiscal quarters before that are known.

    Args:
        facts: The fact tables.
        settings: The period, else the fiscal quarter of `as_of`, and the scope.
        previous: How many complete quarters to look back; each one costs two more snapshots.
        detailed: How many deals of a list are told with all their values.
    """
    period = current_period(settings)
    earlier: list[Slip] = []
    day = period.start
    since: datetime | None = None
    while len(earlier) < previous:
        span = quarter_of(day - timedelta(days=1), settings.fiscal_start_month)
        since = since or moment_of(span.start, settings.zone)
        found = slip(facts, settings, span, detailed=detailed)
        if found is None or all(one.late for one in found.history_starts):
            break
        earlier.append(found)
        day = span.start
    current = slip(facts, settings, period, since=since, detailed=detailed)
    return Slips(period=current, previous=tuple(earlier))


def slip(
    facts: Facts,
    settings: Settings,
    period: Span | None = None,
    *,
    since: datetime | None = None,
    detailed: int = DETAILED,
) -> Slip | None:
    """What became of the deals that were open in scope when a period began and due in it.

    Args:
        facts: The fact tables.
        settings: The zone, the currency and the scope.
        period: Local days; the period of the settings if none is given.
        since: As for `between`.
        detailed: How many deals of a list are told with all their values.

    Returns:
        The cohort, or `None` if the period has not begun at `as_of`.
    """
    span = period or current_period(settings)
    begins, ends = moment_of(span.start, settings.zone), moment_of(span.end, settings.zone)
    if begins >= settings.as_of:
        return None
    found = between(facts, settings, begins, min(ends, settings.as_of), since=since)
    complete = ends <= settings.as_of
    cohort = _cohort(facts, settings, found, span, instant(ends))
    parts = _parts(facts, found, cohort, detailed)
    row = facts.row(
        f"""
        SELECT count(*) AS n, count(*) FILTER (WHERE value IS NULL) AS missing,
            count(*) FILTER (WHERE committed) AS commits,
            count(*) FILTER (WHERE committed AND outcome IN ('pushed', 'overdue')) AS commits_slipped
        FROM {cohort}
        """
    )
    count = int(row["n"])
    amount = total_of(part.amount for part in parts.values())
    late = [parts["pushed"], parts["overdue"]]

    def rate(part: int | Decimal, of: int | Decimal, sample: int = count) -> Ratio:
        return share(part, of, sample=sample, min_sample=settings.min_sample)

    return Slip(
        key=span.key,
        start=span.start,
        end=span.end,
        judged_at=found.end,
        complete=complete,
        count=count,
        amount=amount,
        outcomes=parts,
        slip_rate_count=rate(sum(part.count for part in late), count),
        slip_rate_amount=share(
            total_of(part.amount for part in late),
            amount,
            sample=count,
            min_sample=settings.min_sample,
            meaningful=amount > 0,
        ),
        close_on_time_rate=rate(parts["won"].count, count),
        miss_rate=rate(count - parts["won"].count, count),
        commit_slip_rate=rate(row["commits_slipped"], row["commits"], row["commits"]),
        fx_missing_count=row["missing"],
        history_starts=history_starts(facts, settings, found.start),
    )


def _cohort(facts: Facts, settings: Settings, found: Between, span: Span, ends_us: int) -> str:
    """The table of the cohort: logical, ref, `value` (at the start; NULL without a rate), outcome, reason."""
    values: dict[str, Value] = {
        "w0": day_number(span.start),
        "w1": day_number(span.end),
        "p1": ends_us,
        # Whatever is due from this day on may still close in time; nothing is once the period is over.
        "today": min(day_number(local_date(found.end, settings)), day_number(span.end)),
    }
    category = category_sql(settings, values, deal="d", outline="o")
    query = f"""
        SELECT b.logical, b.x_ref AS ref, b.x_start AS value,
            CASE WHEN b.y_life <> '{LIVE}' THEN 'removed'
                WHEN b.y_status <> '{OPEN}' AND (b.y_closed_us IS NULL OR b.y_closed_us < $p1)
                    THEN b.y_status
                WHEN b.y_close_day >= $w1 THEN 'pushed'
                WHEN b.y_close_day >= $today THEN 'pending'
                ELSE 'overdue' END AS outcome,
            CASE WHEN b.y_close_day IS NULL THEN 'date_cleared' END AS reason,
            {category} = '{Category.COMMIT}' AS committed
        FROM {found.table} b
        JOIN {found.before} d ON b.logical = d.logical
        LEFT JOIN outline o ON d.stage = o.stage
        WHERE b.x_status = '{OPEN}' AND b.x_life = '{LIVE}' AND b.x_in_scope
            AND b.x_close_day >= $w0 AND b.x_close_day < $w1
    """
    return facts.keep(f"slip {span.start} {span.end} {found.end.isoformat()}", query, **values)


def _parts(facts: Facts, found: Between, cohort: str, detailed: int) -> dict[SlipOutcome, SlipPart]:
    ranked = facts.keep(
        f"ranked {cohort}",
        f"""
        SELECT * FROM (
            SELECT *, count(*) OVER (PARTITION BY outcome) AS n,
                sum(value) OVER (PARTITION BY outcome) AS amount,
                row_number() OVER (
                    PARTITION BY outcome ORDER BY abs(value) DESC NULLS LAST, ref NULLS LAST
                ) AS place
            FROM {cohort}
        ) r WHERE place <= {REFS}
        """,
    )
    shown = facts.keep(
        f"shown {cohort} {detailed}", f"SELECT logical FROM {ranked} WHERE place <= $n", n=detailed
    )
    told = states(facts, found, shown)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in facts.rows(f"SELECT * FROM {ranked} ORDER BY outcome NULLS LAST, place NULLS LAST"):
        rows.setdefault(row["outcome"], []).append(row)
    return {name: _part(name, rows.get(name, ()), told, detailed) for name in OUTCOMES}


def _part(name: str, rows: Sequence[Mapping[str, Any]], told: States, detailed: int) -> SlipPart:
    return SlipPart(
        count=rows[0]["n"] if rows else 0,
        amount=scale.money(rows[0]["amount"]) if rows else ZERO,
        refs=tuple(row["ref"] for row in rows),
        deals=tuple(
            told.line(
                row["logical"],
                scale.money(row["value"]),
                ref=row["ref"],
                gone=name == "removed",
                reason=row["reason"] if name == "overdue" else None,
            )
            for row in rows[:detailed]
        ),
    )
