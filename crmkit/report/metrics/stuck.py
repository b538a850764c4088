"""Stale and stuck deals stage by stage, and from when on a deal is stuck (metrics.md 13)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from crmkit.model import Outcome
from crmkit.report.facts import scale
from crmkit.report.facts.engine import Facts
from crmkit.report.figures import AgeBucket
from crmkit.report.inputs import Settings
from crmkit.report.metrics.ageing import BUCKETS, FLAGS, aged_table, idleness, within
from crmkit.report.metrics.idle import stays
from crmkit.report.metrics.open_deals import deal_lines
from crmkit.report.metrics.pairs import REFS
from crmkit.report.metrics.stuck_figures import StageIdleness, StuckDeals, StuckLimit
from crmkit.report.money import multiply
from crmkit.report.ratios import Average, divide


def stuck(facts: Facts, settings: Settings) -> StuckDeals:
    """Open deals by how long they are where they are, stage by stage."""
    aged = aged_table(facts, settings)
    total = facts.row(
        f"""
        SELECT {FLAGS}, count(*) FILTER (WHERE stage_age_us IS NULL) AS unknown FROM {aged}
        """
    )
    return StuckDeals(
        stale=idleness(total, "stale"),
        warning=idleness(total, "warning"),
        stuck=idleness(total, "stuck"),
        stage_age_unknown_count=int(total["unknown"]),
        stages=_stages(facts, settings, aged),
        limits=_limits(facts, settings, aged),
        stale_refs=_refs(facts, aged, "stale"),
        stuck_refs=_refs(facts, aged, "stuck"),
        stuck_deals=deal_lines(facts, settings, f"{aged} WHERE stuck", settings.top),
    )


def _stages(facts: Facts, settings: Settings, aged: str) -> tuple[StageIdleness, ...]:
    """One row for each open common stage in order, any other with open deals, and the unmapped."""
    heat = ", ".join(
        f"count(*) FILTER (WHERE {where}) AS {name}{place}_n, "
        f"sum(value) FILTER (WHERE {where}) AS {name}{place}"
        for name, column in (("age", "age_days"), ("stay", f"stage_age_us // {scale.DAY}"))
        for place, where in enumerate((*(within(column, one) for one in BUCKETS), f"({column}) IS NULL"))
    )
    rows = facts.rows(
        f"SELECT stage, count(*) AS n, sum(value) AS amount, {FLAGS}, {heat} FROM {aged} GROUP BY stage"
    )
    found = {row["stage"]: row for row in rows}
    ordered = sorted(settings.stages, key=lambda stage: (stage.order, stage.id))
    listed = [one for one in ordered if one.outcome is Outcome.OPEN or one.id in found]
    return (
        *(
            _stage(
                found.get(one.id),
                one.id,
                one.name,
                settings.stale_days_by_stage.get(one.id, settings.stale_days),
            )
            for one in listed
        ),
        _stage(found.get(None), None, None, settings.stale_days),
    )


def _stage(
    row: Mapping[str, Any] | None, stage: str | None, name: str | None, stale_days: int
) -> StageIdleness:
    return StageIdleness(
        stage=stage,
        name=name,
        stale_days=stale_days,
        count=int(row["n"]) if row else 0,
        amount=scale.money(row["amount"] if row else None),
        stale=idleness(row, "stale"),
        warning=idleness(row, "warning"),
        stuck=idleness(row, "stuck"),
        by_age=_heat(row, "age"),
        by_stage_age=_heat(row, "stay"),
    )


def _heat(row: Mapping[str, Any] | None, name: str) -> tuple[AgeBucket, ...]:
    return tuple(
        AgeBucket(
            first_day=first,
            last_day=last,
            count=int(row[f"{name}{place}_n"]) if row else 0,
            amount=scale.money(row[f"{name}{place}"] if row else None),
        )
        for place, (first, last) in enumerate((*BUCKETS, (None, None)))
    )


def _limits(facts: Facts, settings: Settings, aged: str) -> tuple[StuckLimit, ...]:
    """Per native stage that holds open deals, from when on they are stuck."""
    rows = facts.rows(
        f"""
        SELECT a.connection, a.pipeline_id, a.pipeline, a.stage_id, a.native_stage, a.n, a.stuck,
            m.samples, m.middle_sum, coalesce(o.max_days, $most) AS max_days
        FROM (
            SELECT connection, pipeline_id, stage_id, min(pipeline) AS pipeline,
                min(native_stage) AS native_stage, min(stage) AS stage, count(*) AS n,
                count(*) FILTER (WHERE stuck) AS stuck
            FROM {aged} GROUP BY connection, pipeline_id, stage_id
        ) a
        LEFT JOIN {stays(facts, settings)} m
            ON a.connection = m.connection AND a.pipeline_id = m.pipeline_id AND a.stage_id = m.stage_id
        LEFT JOIN outline o ON a.stage = o.stage
        ORDER BY a.connection NULLS LAST, a.pipeline_id NULLS LAST, a.stage_id NULLS LAST
        """,
        most=settings.stage_max_days,
    )
    return tuple(_limit(row, settings) for row in rows)


def _limit(row: Mapping[str, Any], settings: Settings) -> StuckLimit:
    samples = int(row["samples"] or 0)
    median_days = divide(Decimal(row["middle_sum"]), Decimal(2 * scale.DAY)) if samples else None
    enough = samples >= settings.stuck_samples and median_days is not None
    return StuckLimit(
        connection=row["connection"],
        pipeline_id=row["pipeline_id"],
        pipeline=row["pipeline"],
        stage_id=row["stage_id"],
        stage=row["native_stage"],
        open_count=int(row["n"]),
        stuck_count=int(row["stuck"]),
        median_days=Average(value=median_days, sample=samples, low_sample=not enough),
        limit_days=multiply(median_days, settings.stuck_factor)
        if enough and median_days is not None
        else Decimal(int(row["max_days"])),
        from_history=enough,
    )


def _refs(facts: Facts, aged: str, flag: str) -> tuple[str, ...]:
    rows = facts.rows(
        f"""
        SELECT ref FROM {aged} WHERE {flag}
        ORDER BY abs(value) DESC NULLS LAST, ref NULLS LAST LIMIT {REFS}
        """
    )
    return tuple(row["ref"] for row in rows)
