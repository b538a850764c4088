"""How many deals go on from each stage, and how long they stay in it (metrics.md 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from crmkit.report.facts.deals import OPEN, live_at, period_us
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import DAY, instant
from crmkit.report.facts.visits import visits_at
from crmkit.report.inputs import Settings
from crmkit.report.metrics.conversion_counts import cohorts, counts
from crmkit.report.metrics.conversion_figures import (
    Conversion,
    DeletedStage,
    LineConversion,
    StageConversion,
)
from crmkit.report.metrics.conversion_times import MEDIAN, P90, Spread, ages, deleted, durations, nothing
from crmkit.report.metrics.periods import trailing_window
from crmkit.report.metrics.spread import spreads
from crmkit.report.metrics.stays import COMMON, WON_LEVEL, beginnings, lines, rungs
from crmkit.report.ratios import share

_Key = tuple[int, int]
"""A line and a level in it."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Everything that was counted, by line and level, or by line and stage for deleted ones."""

    by_level: Mapping[_Key, dict[str, Any]]
    refs: Mapping[_Key, tuple[str, ...]]
    durations: Mapping[tuple[Any, ...], Spread]
    ages: Mapping[tuple[Any, ...], Spread]
    current: Mapping[_Key, int]


def conversion(facts: Facts, settings: Settings) -> Conversion:
    """Conversion and duration per stage, for every pipeline and over the common stages.

    The period is that of the settings, else the trailing window.
    """
    period = settings.period or trailing_window(settings)
    native = _found(facts, settings, period, common=False)
    shared = _found(facts, settings, period, common=True)
    gone = deleted(facts, settings, period)
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
    by_level = {(row["line"], row["level"]): row for row in counts(facts, settings, period, common=common)}
    spent = spreads(
        facts,
        durations(facts, settings, period, common=common),
        ("line", "level"),
        (MEDIAN, P90),
        min_sample=settings.min_sample,
        unit=DAY,
    )
    standing = ages(facts, settings, common=common)
    current = facts.rows(f"SELECT line, level, count(*) AS n FROM ({standing}) ages GROUP BY line, level")
    return _Found(
        by_level,
        cohorts(facts, settings, period, common=common),
        spent,
        spreads(
            facts,
            f"{standing} AND spent IS NOT NULL",
            ("line", "level"),
            (MEDIAN, P90),
            min_sample=settings.min_sample,
            unit=DAY,
        ),
        {(row["line"], row["level"]): int(row["n"]) for row in current},
    )


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
    lost_stages: tuple[DeletedStage, ...],
    unknown: Mapping[int, int],
    missing: Mapping[int, int],
) -> LineConversion:
    won = found.by_level.get((line, WON_LEVEL))
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
        deleted=lost_stages,
        pipeline_changed=bool(lost_stages),
        beginning_unknown=unknown.get(line, 0),
        without_history=missing.get(line, 0),
    )


def _stage(
    settings: Settings, found: _Found, line: int, level: int, stage: str, name: str
) -> StageConversion:
    row = found.by_level.get((line, level), {})
    cohort, converted, lost = (int(row.get(key, 0)) for key in ("cohort", "converted", "lost_from"))
    resolved, still_open, least = converted + lost, cohort - converted - lost, settings.min_sample
    duration = found.durations.get((line, level), nothing(settings))
    age = found.ages.get((line, level), nothing(settings))
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
        refs=found.refs.get((line, level), ()),
    )
