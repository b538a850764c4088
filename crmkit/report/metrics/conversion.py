"""How many deals go on from each stage, and how long they stay in it (metrics.md 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from crmkit.report.facts.deals import LOST, OPEN, WON, live_at, period_us
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import DAY, instant
from crmkit.report.facts.visits import visits_at
from crmkit.report.inputs import Settings, SkipPolicy
from crmkit.report.metrics.conversion_figures import (
    Conversion,
    DeletedStage,
    LineConversion,
    StageConversion,
)
from crmkit.report.metrics.periods import trailing_window
from crmkit.report.metrics.spread import spreads
from crmkit.report.metrics.stays import COMMON, WON_LEVEL, beginnings, lines, rungs, stays
from crmkit.report.ratios import Average, share

P90 = Decimal("0.9")
MEDIAN = Decimal("0.5")

_Key = tuple[int, int]
"""A line and a level in it."""
_Spread = Mapping[Decimal, Average]


@dataclass(frozen=True, slots=True)
class _Found:
    """Everything that was counted, by line and level, or by line and stage for deleted ones."""

    counts: Mapping[_Key, dict[str, Any]]
    durations: Mapping[tuple[Any, ...], _Spread]
    ages: Mapping[tuple[Any, ...], _Spread]
    current: Mapping[_Key, int]


def conversion(facts: Facts, settings: Settings) -> Conversion:
    """Conversion and duration per stage, for every pipeline and over the common stages.

    The period is that of the settings, else the trailing window.
    """
    period = settings.period or trailing_window(settings)
    native = _found(facts, settings, period, common=False)
    shared = _found(facts, settings, period, common=True)
    gone = _deleted(facts, settings, period)
    unknown = _counted(facts, f"SELECT line, count(*) AS n FROM {beginnings(facts, settings, period)} b")
    missing = _without_history(facts, settings, period)
    pipelines = _pipelines(facts, settings)
    by_pipeline = tuple(
        _line(settings, native, line, steps, gone.get(line, ()), unknown, missing)
        for line, steps in pipelines.items()
    )
    levels = [
        {"stage_id": stage.id, "native_stage": stage.name, "connection": None, "pipeline_id": None}
        for stage in sorted(settings.stages, key=lambda stage: (stage.order, stage.id))
        if stage.outcome.value == OPEN
    ]
    common = _line(
        settings,
        shared,
        COMMON,
        [dict(level, pipeline=None) for level in levels],
        (),
        {COMMON: sum(unknown.values())},
        {COMMON: sum(missing.values())},
    ).model_copy(update={"pipeline_changed": bool(gone)})
    return Conversion(
        start=period[0],
        end=period[1],
        skip_policy=settings.skip_policy.value,
        by_pipeline=by_pipeline,
        common=common,
    )


def _found(facts: Facts, settings: Settings, period: tuple[date, date], *, common: bool) -> _Found:
    counts = {(row["line"], row["level"]): row for row in _counts(facts, settings, period, common=common)}
    durations = spreads(
        facts,
        _durations(facts, settings, period, common=common),
        ("line", "level"),
        (MEDIAN, P90),
        min_sample=settings.min_sample,
        unit=DAY,
    )
    ages = _ages(facts, settings, common=common)
    current = facts.rows(f"SELECT line, level, count(*) AS n FROM ({ages}) ages GROUP BY line, level")
    return _Found(
        counts,
        durations,
        spreads(
            facts,
            f"{ages} AND spent IS NOT NULL",
            ("line", "level"),
            (MEDIAN, P90),
            min_sample=settings.min_sample,
            unit=DAY,
        ),
        {(row["line"], row["level"]): int(row["n"]) for row in current},
    )


def _counts(
    facts: Facts, settings: Settings, period: tuple[date, date], *, common: bool
) -> list[dict[str, Any]]:
    """Cohort, converted and lost per line and level; `won` is a level of its own."""
    line, level = _columns(common)
    start, end = period_us(period, settings)
    filled = "TRUE" if settings.skip_policy is SkipPolicy.FILL else "FALSE"
    levels = f"SELECT DISTINCT {line} AS line, {level} AS level FROM {rungs(facts)} WHERE {level} > 0"
    return facts.rows(
        f"""
        WITH touched AS (
            SELECT nr, {line} AS line, {level} AS level, status,
                min(entered_us) AS first_us, max(entered_us) AS last_us
            FROM {stays(facts, settings, period)} WHERE {level} > 0 GROUP BY nr, line, {level}, status
        ),
        levels AS (
            {levels} UNION SELECT DISTINCT {line} AS line, {WON_LEVEL} AS level FROM {rungs(facts)}
        ),
        -- Whatever is filled is filled at the time of another entry: no other deal is in a cohort.
        grid AS (
            SELECT d.nr, l.level, l.line FROM (
                SELECT DISTINCT nr, line FROM touched WHERE first_us >= $start AND first_us < $end
            ) d JOIN levels l ON d.line = l.line
        ),
        above AS (
            SELECT g.nr, g.line, g.level, t.status,
                min(CASE WHEN t.level = g.level THEN t.first_us END) AS first_us,
                min(CASE WHEN t.level > g.level THEN t.first_us END) AS above_first_us,
                max(CASE WHEN t.level > g.level THEN t.last_us END) AS above_last_us,
                count(CASE WHEN t.level <= g.level THEN 1 END) AS touched_levels
            FROM grid g JOIN touched t ON g.nr = t.nr
            GROUP BY g.nr, g.line, g.level, t.status
        ),
        entered AS (
            SELECT a.*, coalesce(
                a.first_us, CASE WHEN {filled} AND a.level > coalesce(b.{level}, 0) THEN a.above_first_us END
            ) AS entered_us
            FROM above a LEFT JOIN {beginnings(facts, settings, period)} b ON a.nr = b.nr
        ),
        judged AS (
            SELECT *, entered_us >= $start AND entered_us < $end AS counts,
                first_us >= $start AND first_us < $end AS counts_itself,
                status = '{WON}' OR coalesce(above_last_us >= entered_us, FALSE) AS converted
            FROM entered
        )
        SELECT line, level,
            count(CASE WHEN counts THEN 1 END) AS cohort,
            count(CASE WHEN counts AND converted THEN 1 END) AS converted,
            count(CASE WHEN counts AND NOT converted AND status = '{LOST}' THEN 1 END) AS lost_from,
            count(CASE WHEN counts_itself THEN 1 END) AS funnel_any,
            count(CASE WHEN counts_itself AND touched_levels = level THEN 1 END) AS funnel_all
        FROM judged GROUP BY line, level
        """,
        start=start,
        end=end,
    )


def _durations(facts: Facts, settings: Settings, period: tuple[date, date], *, common: bool) -> str:
    """Microseconds that each deal spent in a stage that it left in the period."""
    line, level = _columns(common)
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


def _ages(facts: Facts, settings: Settings, *, common: bool) -> str:
    """Open deals by the stage they are in, and since how many microseconds; NULL where unknown."""
    line, level = _columns(common)
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


def _deleted(
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
    durations = spreads(
        facts, spent, ("line", "stage_id"), (MEDIAN, P90), min_sample=settings.min_sample, unit=DAY
    )
    found: dict[int, tuple[DeletedStage, ...]] = {}
    for row in rows:
        spread = durations.get((row["line"], row["stage_id"]), _nothing(settings))
        stage = DeletedStage(
            stage=row["stage_id"],
            name=row["stage_id"],
            entered=int(row["entered"]),
            stage_duration_median=spread[MEDIAN],
            stage_duration_p90=spread[P90],
        )
        found[row["line"]] = (*found.get(row["line"], ()), stage)
    return found


def _without_history(facts: Facts, settings: Settings, period: tuple[date, date]) -> dict[int, int]:
    start, end = period_us(period, settings)
    return _counted(
        facts,
        f"""
        SELECT line, count(*) AS n FROM (
            SELECT l.line FROM {live_at(facts, settings)} d
            JOIN {lines(facts)} l ON d.connection = l.connection AND d.pipeline_id = l.pipeline_id
            ANTI JOIN {visits_at(facts, instant(settings.as_of))} v
                ON d.connection = v.connection AND d.id = v.id
            WHERE d.created_us >= $start AND d.created_us < $end
        ) unknown_deals
        """,
        start=start,
        end=end,
    )


def _counted(facts: Facts, query: str, **values: int) -> dict[int, int]:
    return {row["line"]: int(row["n"]) for row in facts.rows(f"{query} GROUP BY line", **values)}


def _pipelines(facts: Facts, settings: Settings) -> dict[int, list[dict[str, Any]]]:
    """The stages of open deals of every pipeline in reach, in order."""
    wanted = settings.scope.connections
    found: dict[int, list[dict[str, Any]]] = {}
    for row in facts.rows(
        f"""
        SELECT r.line, s.connection, s.pipeline_id, s.pipeline, s.stage_id, s.native_stage
        FROM stages s JOIN {rungs(facts)} r
            ON s.connection = r.connection AND s.pipeline_id = r.pipeline_id AND s.stage_id = r.stage_id
        WHERE r.level > 0 AND r.level < {WON_LEVEL}
        ORDER BY s.connection NULLS LAST, s.pipeline_id NULLS LAST, r.level NULLS LAST
        """
    ):
        if not wanted or row["connection"] in wanted:
            found.setdefault(row["line"], []).append(row)
    return found


def _line(
    settings: Settings,
    found: _Found,
    line: int,
    stages: list[dict[str, Any]],
    deleted: tuple[DeletedStage, ...],
    unknown: Mapping[int, int],
    missing: Mapping[int, int],
) -> LineConversion:
    won = found.counts.get((line, WON_LEVEL))
    first = stages[0] if stages else {"connection": None, "pipeline_id": None, "pipeline": None}
    return LineConversion(
        connection=first["connection"],
        pipeline_id=first["pipeline_id"],
        pipeline=first["pipeline"],
        stages=tuple(
            _stage(settings, found, line, level, row["stage_id"], row["native_stage"] or row["stage_id"])
            for level, row in enumerate(stages, 1)
        ),
        won=int(won["funnel_any"]) if won else 0,
        deleted=deleted,
        pipeline_changed=bool(deleted),
        beginning_unknown=unknown.get(line, 0),
        without_history=missing.get(line, 0),
    )


def _stage(
    settings: Settings, found: _Found, line: int, level: int, stage: str, name: str
) -> StageConversion:
    row = found.counts.get((line, level), {})
    cohort, converted, lost = (int(row.get(key, 0)) for key in ("cohort", "converted", "lost_from"))
    resolved, still_open, least = converted + lost, cohort - converted - lost, settings.min_sample
    duration = found.durations.get((line, level), _nothing(settings))
    age = found.ages.get((line, level), _nothing(settings))
    return StageConversion(
        stage=stage,
        name=name,
        position=level,
        cohort=cohort,
        converted=converted,
        lost_from=lost,
        still_open=still_open,
        conversion_raw=share(converted, cohort, sample=cohort, min_sample=least),
        conversion_resolved=share(converted, resolved, sample=resolved, min_sample=least),
        immature=still_open > settings.immature_share * cohort,
        funnel_all=int(row.get("funnel_all", 0)),
        funnel_any=int(row.get("funnel_any", 0)),
        stage_duration_median=duration[MEDIAN],
        stage_duration_p90=duration[P90],
        current_count=found.current.get((line, level), 0),
        current_age_median=age[MEDIAN],
        current_age_p90=age[P90],
    )


def _nothing(settings: Settings) -> _Spread:
    none = Average(value=None, sample=0, low_sample=settings.min_sample > 0)
    return {MEDIAN: none, P90: none}


def _columns(common: bool) -> tuple[str, str]:
    return (str(COMMON), "common_level") if common else ("line", "level")
