"""How long deals stay in stages, and stages that are gone (metrics.md 9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from crmkit.report.facts.deals import OPEN, live_at, period_us
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import DAY, instant
from crmkit.report.facts.visits import visits_at
from crmkit.report.inputs import Settings
from crmkit.report.metrics.conversion_figures import DeletedStage
from crmkit.report.metrics.spread import spreads
from crmkit.report.metrics.stays import WON_LEVEL, places, rungs, stays
from crmkit.report.ratios import Average

P90 = Decimal("0.9")
MEDIAN = Decimal("0.5")

Spread = Mapping[Decimal, Average]


def durations(facts: Facts, settings: Settings, period: tuple[date, date], *, common: bool) -> str:
    """Microseconds that each deal spent in a stage that it left in the period."""
    line, level = places(common=common)
    return facts.keep(
        f"durations {settings.as_of.isoformat()} {period} {common}",
        f"""
        SELECT nr AS tie, {line} AS line, {level} AS level, sum(left_us - entered_us) AS spent
        FROM {stays(facts, settings, period)} WHERE {level} > 0 AND {level} < {WON_LEVEL}
        GROUP BY nr, line, {level}
        HAVING count(*) = count(left_us) AND max(left_us) >= $start AND max(left_us) < $end
        """,
        **dict(zip(("start", "end"), period_us(period, settings), strict=True)),
    )


def ages(facts: Facts, settings: Settings, *, common: bool) -> str:
    """Open deals by the stage they are in, and since how many microseconds; NULL where unknown."""
    line, level = places(common=common)
    table = facts.keep(
        f"ages {settings.as_of.isoformat()}",
        f"""
        WITH standing AS (
            SELECT d.ref, d.connection, d.id, d.stage_id, d.stage_entered_us, r.line, r.level, r.common_level
            FROM {live_at(facts, settings)} d
            JOIN {rungs(facts)} r
                ON d.connection = r.connection AND d.pipeline_id = r.pipeline_id AND d.stage_id = r.stage_id
            WHERE d.status = '{OPEN}'
        )
        SELECT s.ref AS tie, s.line, s.level, s.common_level,
            $at - coalesce(max(v.entered_us), s.stage_entered_us) AS spent
        FROM standing s
        LEFT JOIN (
            SELECT connection, id, stage_id, entered_us
            FROM {visits_at(facts, instant(settings.as_of))} WHERE left_us IS NULL
        ) v ON s.connection = v.connection AND s.id = v.id AND s.stage_id = v.stage_id
        GROUP BY s.ref, s.line, s.level, s.common_level, s.stage_entered_us
        """,
        at=instant(settings.as_of),
    )
    return (
        f"SELECT tie, {line} AS line, {level} AS level, spent FROM {table} "
        f"WHERE {level} > 0 AND {level} < {WON_LEVEL}"
    )


def deleted(
    facts: Facts, settings: Settings, period: tuple[date, date]
) -> dict[int, tuple[DeletedStage, ...]]:
    """Stages that deals entered or left in the period and that are gone, by line."""
    start, end = period_us(period, settings)
    table = stays(facts, settings, period)
    rows = facts.rows(
        f"""
        SELECT line, stage_id, count(CASE WHEN first_us >= $start AND first_us < $end THEN 1 END) AS entered
        FROM (
            SELECT line, stage_id, nr, min(entered_us) AS first_us, max(left_us) AS last_left_us
            FROM {table} WHERE deleted GROUP BY line, stage_id, nr
        ) per_deal
        WHERE (first_us >= $start AND first_us < $end) OR (last_left_us >= $start AND last_left_us < $end)
        GROUP BY line, stage_id ORDER BY line NULLS LAST, stage_id NULLS LAST
        """,
        start=start,
        end=end,
    )
    spent = facts.keep(
        f"deleted {settings.as_of.isoformat()} {period}",
        f"""
        SELECT nr AS tie, line, stage_id, sum(left_us - entered_us) AS spent FROM {table} WHERE deleted
        GROUP BY nr, line, stage_id
        HAVING count(*) = count(left_us) AND max(left_us) >= $start AND max(left_us) < $end
        """,
        start=start,
        end=end,
    )
    spent_in = spreads(
        facts, spent, ("line", "stage_id"), (MEDIAN, P90), min_sample=settings.min_sample, unit=DAY
    )
    found: dict[int, tuple[DeletedStage, ...]] = {}
    for row in rows:
        spread = spent_in.get((row["line"], row["stage_id"]), nothing(settings))
        stage = DeletedStage(
            stage=row["stage_id"],
            name=row["stage_id"],
            entered=int(row["entered"]),
            stage_duration_median=spread[MEDIAN],
            stage_duration_p90=spread[P90],
        )
        found[row["line"]] = (*found.get(row["line"], ()), stage)
    return found


def nothing(settings: Settings) -> Spread:
    """The percentiles of no values."""
    none = Average(value=None, sample=0, low_sample=settings.min_sample > 0)
    return {MEDIAN: none, P90: none}
