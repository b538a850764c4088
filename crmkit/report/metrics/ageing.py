"""How old and how idle open deals are (metrics.md 13)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from crmkit.report.facts import scale
from crmkit.report.facts.engine import Facts
from crmkit.report.figures import AgeBucket, Ageing, Idle
from crmkit.report.inputs import Settings
from crmkit.report.metrics.idle import idle
from crmkit.report.metrics.open_deals import deal_lines, open_table
from crmkit.report.metrics.sums import average, median, percentile, whole_seconds

BUCKETS: tuple[tuple[int, int | None], ...] = ((0, 30), (31, 60), (61, 90), (91, 180), (181, None))
"""Days of age, both ends included."""


FLAGS = ", ".join(
    f"count(*) FILTER (WHERE {name}) AS {name}_n, sum(value) FILTER (WHERE {name}) AS {name}_amount"
    for name in ("stale", "warning", "stuck")
)
"""What `idleness` reads, over rows of `aged_table`."""


def aged_table(facts: Facts, settings: Settings) -> str:
    """The table of open deals in scope with their ages.

    Beside the columns of `deals_at` those of `idle`, `age_days` (NULL if unknown) and `is_overdue`.
    """
    query = f"""
        SELECT d.*, i.idle_us, i.idle_days, i.stale, i.warning, i.stuck, i.stage_age_us, i.activity_known,
            CASE WHEN d.created_day <= $today THEN $today - d.created_day END AS age_days,
            coalesce(d.close_day < $today, FALSE) AS is_overdue
        FROM {open_table(facts, settings)} d JOIN {idle(facts, settings)} i ON d.ref = i.ref
    """
    return facts.keep(
        f"aged {settings.as_of.isoformat()}", query, today=scale.day_number(settings.as_of_date)
    )


def overdue_or_stale(facts: Facts, settings: Settings) -> int:
    """Open deals that the strict win rate counts as lost."""
    row = facts.row(f"SELECT count(*) AS n FROM {aged_table(facts, settings)} WHERE stale OR is_overdue")
    return int(row["n"])


def ageing(facts: Facts, settings: Settings) -> Ageing:
    """The figures of metrics.md 13 over open deals."""
    table, least = aged_table(facts, settings), settings.min_sample
    buckets = ", ".join(
        f"count(*) FILTER (WHERE {where}) AS n{place}, sum(value) FILTER (WHERE {where}) AS amount{place}"
        for place, where in enumerate((*(within("age_days", one) for one in BUCKETS), "age_days IS NULL"))
    )
    row = facts.row(
        f"""
        SELECT {buckets}, sum(age_days) AS days, count(age_days) AS aged,
            {FLAGS},
            count(*) FILTER (WHERE idle_us IS NULL) AS idle_unknown,
            count(*) FILTER (WHERE NOT activity_known) AS activity_unknown
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
        stale=idleness(row, "stale"),
        warning=idleness(row, "warning"),
        idle_unknown_count=int(row["idle_unknown"]),
        activity_unknown_count=int(row["activity_unknown"]),
        stale_deals=deal_lines(facts, settings, f"{table} WHERE stale", settings.top),
    )


def within(column: str, bucket: tuple[int, int | None]) -> str:
    """SQL that asks whether a column is in a bucket."""
    first, last = bucket
    return f"{column} >= {first}" if last is None else f"{column} BETWEEN {first} AND {last}"


def idleness(row: Mapping[str, Any] | None, name: str) -> Idle:
    """How many deals have a flag, from a row of `FLAGS`; none without a row."""
    return Idle(
        count=int(row[f"{name}_n"]) if row else 0, amount=scale.money(row[f"{name}_amount"] if row else None)
    )
