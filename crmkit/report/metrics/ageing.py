"""How old and how idle open deals are (metrics.md 13)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from crmkit.report.facts import scale
from crmkit.report.facts.engine import Facts
from crmkit.report.figures import AgeBucket, Ageing, Idle
from crmkit.report.inputs import Settings
from crmkit.report.metrics.open_deals import deal_lines, open_table
from crmkit.report.metrics.sums import average, median, percentile, whole_seconds

BUCKETS: tuple[tuple[int, int | None], ...] = ((0, 30), (31, 60), (61, 90), (91, 180), (181, None))
"""Days of age, both ends included."""


def aged_table(facts: Facts, settings: Settings) -> str:
    """The table of open deals in scope with their ages.

    Beside the columns of `deals_at`: `age_days` (NULL if unknown), `stage_age_us`, `idle_us`,
    `idle_days`, `stale`, `warning`, `is_overdue`.

    Signs of life are the last activity, the last note, the last change by a person, the entry
    into the stage and the creation; what lies after the instant (planned activities) is none,
    and neither is what crmkit itself wrote (inferred).
    """
    signs = ("activity_us", "note_us", "human_us", "stage_entered_us", "created_us")
    latest = ", ".join(f"CASE WHEN {name} <= $at THEN {name} END AS past_{name}" for name in signs)
    # Engines disagree about NULLs in greatest().
    last = "greatest(" + ", ".join(f"coalesce(past_{name}, {_NEVER})" for name in signs) + ")"
    query = f"""
        WITH touched AS (
            SELECT connection, id, max(CASE WHEN NOT own THEN at_us END) AS human_change_us,
                max(CASE WHEN own THEN at_us END) AS own_change_us
            FROM changes WHERE at_us <= $at GROUP BY connection, id
        ),
        living AS (
            SELECT d.*, CASE WHEN t.human_change_us IS NOT NULL THEN t.human_change_us
                WHEN t.own_change_us IS NULL THEN d.modified_us END AS human_us
            FROM {open_table(facts, settings)} d
            LEFT JOIN touched t ON d.connection = t.connection AND d.id = t.id
        ),
        signs AS (SELECT *, {latest} FROM living),
        aged AS (
            SELECT *, nullif({last}, {_NEVER}) AS life_us,
                CASE WHEN created_day <= $today THEN $today - created_day END AS age_days,
                CASE WHEN stage_entered_us <= $at THEN $at - stage_entered_us END AS stage_age_us
            FROM signs
        )
        SELECT a.*, $at - life_us AS idle_us, ($at - life_us) // {scale.DAY} AS idle_days,
            coalesce($at - life_us >= coalesce(o.stale_days, $stale) * {scale.DAY}, FALSE) AS stale,
            coalesce(
                $at - life_us >= $warn * {scale.DAY}
                AND $at - life_us < coalesce(o.stale_days, $stale) * {scale.DAY}, FALSE
            ) AS warning,
            coalesce(a.close_day < $today, FALSE) AS is_overdue
        FROM aged a LEFT JOIN outline o ON a.stage = o.stage
    """
    return facts.keep(
        f"aged {settings.as_of.isoformat()}",
        query,
        at=scale.instant(settings.as_of),
        today=scale.day_number(settings.as_of_date),
        stale=settings.stale_days,
        warn=settings.stale_warning_days,
    )


_NEVER = -(2**62)


def overdue_or_stale(facts: Facts, settings: Settings) -> int:
    """Open deals that the strict win rate counts as lost."""
    row = facts.row(f"SELECT count(*) AS n FROM {aged_table(facts, settings)} WHERE stale OR is_overdue")
    return int(row["n"])


def ageing(facts: Facts, settings: Settings) -> Ageing:
    """The figures of metrics.md 13 over open deals."""
    table, least = aged_table(facts, settings), settings.min_sample
    buckets = ", ".join(
        f"count(*) FILTER (WHERE {where}) AS n{place}, sum(value) FILTER (WHERE {where}) AS amount{place}"
        for place, where in enumerate((*(_within(one) for one in BUCKETS), "age_days IS NULL"))
    )
    row = facts.row(
        f"""
        SELECT {buckets}, sum(age_days) AS days, count(age_days) AS aged,
            count(*) FILTER (WHERE stale) AS stale, sum(value) FILTER (WHERE stale) AS stale_amount,
            count(*) FILTER (WHERE warning) AS warning, sum(value) FILTER (WHERE warning) AS warning_amount,
            count(*) FILTER (WHERE idle_us IS NULL) AS idle_unknown,
            count(*) FILTER (WHERE activity_us IS NULL) AS activity_unknown
        FROM {table}
        """
    )
    in_stage = percentile(facts, table, "stage_age_us", Decimal("0.9"), min_sample=least, read=whole_seconds)
    return Ageing(
        deal_age_days=average(Decimal(int(row["days"] or 0)), int(row["aged"]), least),
        median_deal_age_days=median(facts, table, "age_days", min_sample=least, read=Decimal),
        median_stage_age_days=median(facts, table, "stage_age_us", min_sample=least, read=whole_seconds),
        p90_stage_age_days=in_stage,
        median_idle_days=median(facts, table, "idle_us", min_sample=least, read=whole_seconds),
        age_buckets=tuple(
            AgeBucket(
                first_day=bucket[0],
                last_day=bucket[1],
                count=int(row[f"n{place}"]),
                amount=scale.money(row[f"amount{place}"]),
            )
            for place, bucket in enumerate((*BUCKETS, (None, None)))
        ),
        stale=_idle(row, "stale"),
        warning=_idle(row, "warning"),
        idle_unknown_count=int(row["idle_unknown"]),
        activity_unknown_count=int(row["activity_unknown"]),
        stale_deals=deal_lines(facts, settings, f"{table} WHERE stale", settings.top),
    )


def _within(bucket: tuple[int, int | None]) -> str:
    first, last = bucket
    return f"age_days >= {first}" if last is None else f"age_days BETWEEN {first} AND {last}"


def _idle(row: Mapping[str, Any], name: str) -> Idle:
    return Idle(count=int(row[name]), amount=scale.money(row[f"{name}_amount"]))
