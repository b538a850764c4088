"""Which open deals nobody touches, and which stay in their stage for too long (metrics.md 13)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from crmkit.model import Outcome
from crmkit.report.facts import scale
from crmkit.report.facts.deals import OPEN, WON, deals_at, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import DAY, WHOLE, instant
from crmkit.report.facts.snapshot import LIVE
from crmkit.report.facts.visits import visits_at
from crmkit.report.figures import AgeBucket, Idle
from crmkit.report.inputs import Settings
from crmkit.report.metrics.ageing import BUCKETS
from crmkit.report.metrics.open_deals import deal_lines, open_table
from crmkit.report.metrics.pairs import REFS
from crmkit.report.metrics.signs import signs
from crmkit.report.metrics.stuck_figures import StageIdleness, StuckDeals, StuckLimit
from crmkit.report.money import multiply
from crmkit.report.ratios import Average, divide

_NEVER = -(2**62)
_SIGNS = ("s.activity_us", "s.note_us", "s.human_us", "d.stage_entered_us", "d.created_us")


def idle(facts: Facts, settings: Settings, at: datetime | None = None) -> str:
    """The table with one row per open deal in scope at an instant.

    Columns: `ref`; `idle_us` since the last sign of life and `idle_days`, whole ones of 24
    hours (NULL where no sign is known); `stale` at the threshold of its stage, `warning`
    only at that of the warning; `stage_age_us` since it entered its stage, NULL where
    unknown; `stuck`; `activity_known`.
    """
    at = at or settings.as_of
    factor, whole = settings.stuck_factor.as_integer_ratio()
    # The limit is factor x (two middle values) / 2, compared without a division.
    query = f"""
        WITH signed AS (
            SELECT d.ref, d.connection, d.pipeline_id, d.stage_id, d.stage,
                {_latest(*_SIGNS)} AS life_us,
                s.activity_us IS NOT NULL AS activity_known,
                CASE WHEN d.stage_entered_us IS NULL THEN v.entered_us
                    WHEN d.stage_entered_us <= $at THEN d.stage_entered_us END AS entered_us
            FROM (SELECT * FROM {live_at(facts, settings, at)} WHERE status = '{OPEN}') d
            LEFT JOIN {signs(facts, settings, at)} s ON d.logical = s.logical
            LEFT JOIN (
                SELECT n.connection, n.id, n.stage_id, max(n.entered_us) AS entered_us
                FROM {visits_at(facts, instant(at))} n
                SEMI JOIN (
                    SELECT connection, id FROM {live_at(facts, settings, at)}
                    WHERE status = '{OPEN}' AND stage_entered_us IS NULL
                ) u ON n.connection = u.connection AND n.id = u.id
                WHERE n.left_us IS NULL GROUP BY n.connection, n.id, n.stage_id
            ) v ON d.connection = v.connection AND d.id = v.id AND d.stage_id = v.stage_id
        )
        SELECT ref, activity_known, idle_us, idle_us // {DAY} AS idle_days,
            coalesce(idle_us >= stale_us, FALSE) AS stale,
            coalesce(idle_us >= $warning AND idle_us < stale_us, FALSE) AS warning,
            stage_age_us,
            coalesce(CASE WHEN samples >= $samples
                THEN CAST(stage_age_us AS {WHOLE}) * CAST($whole AS {WHOLE}) * CAST(2 AS {WHOLE})
                    > CAST(middle_sum AS {WHOLE}) * CAST($factor AS {WHOLE})
                ELSE stage_age_us > max_us END, FALSE) AS stuck
        FROM (
            SELECT n.ref, n.activity_known, $at - n.life_us AS idle_us, $at - n.entered_us AS stage_age_us,
                m.samples, m.middle_sum,
                coalesce(o.stale_days, $stale) * {DAY} AS stale_us,
                coalesce(o.max_days, $most) * {DAY} AS max_us
            FROM signed n
            LEFT JOIN outline o ON n.stage = o.stage
            LEFT JOIN {stays(facts, settings, at)} m
                ON n.connection = m.connection AND n.pipeline_id = m.pipeline_id AND n.stage_id = m.stage_id
        ) aged
    """
    return facts.keep(
        f"idle {at.isoformat()}",
        query,
        at=instant(at),
        warning=settings.stale_warning_days * DAY,
        stale=settings.stale_days,
        most=settings.stage_max_days,
        samples=settings.stuck_samples,
        factor=factor,
        whole=whole,
    )


def _latest(*columns: str) -> str:
    """SQL for the latest of some instants that is not after `$at`; NULL without any."""
    # Engines disagree about NULLs in greatest().
    parts = (f"CASE WHEN {column} <= $at THEN {column} ELSE {_NEVER} END" for column in columns)
    return f"nullif(greatest({', '.join(parts)}), {_NEVER})"


def stays(facts: Facts, settings: Settings, at: datetime | None = None) -> str:
    """The table of how long won deals stayed in each native stage, as known at an instant.

    Columns: connection, pipeline_id, stage_id; `samples`, the won deals that left the stage;
    `middle_sum`, the two middle durations in microseconds together (twice the median). The
    stays of one deal in one stage are added up (metrics.md 9). All won deals count, in
    scope or not: whether a deal is stuck must not depend on what a report shows.
    """
    at = at or settings.as_of
    query = f"""
        WITH spent AS (
            SELECT d.connection, d.pipeline_id, v.stage_id, d.ref, sum(v.left_us - v.entered_us) AS spent_us
            FROM {visits_at(facts, instant(at))} v
            JOIN (
                SELECT connection, id, ref, pipeline_id FROM {deals_at(facts, settings, at)}
                WHERE life = '{LIVE}' AND status = '{WON}'
            ) d ON v.connection = d.connection AND v.id = d.id
            WHERE v.left_us IS NOT NULL
            GROUP BY d.connection, d.pipeline_id, v.stage_id, d.ref
        ),
        ranked AS (
            SELECT connection, pipeline_id, stage_id, spent_us,
                row_number() OVER (
                    PARTITION BY connection, pipeline_id, stage_id
                    ORDER BY spent_us NULLS LAST, ref NULLS LAST
                ) AS stay_place,
                count(*) OVER (PARTITION BY connection, pipeline_id, stage_id) AS samples
            FROM spent
        )
        SELECT connection, pipeline_id, stage_id, max(samples) AS samples,
            CAST(sum(CASE WHEN stay_place = (samples + 1) // 2 THEN spent_us ELSE 0 END)
                + sum(CASE WHEN stay_place = samples // 2 + 1 THEN spent_us ELSE 0 END) AS BIGINT)
                AS middle_sum
        FROM ranked GROUP BY connection, pipeline_id, stage_id
    """
    return facts.keep(f"stays {at.isoformat()}", query)


def stuck(facts: Facts, settings: Settings) -> StuckDeals:
    """Open deals by how long they are where they are, stage by stage."""
    aged = _aged(facts, settings)
    total = facts.row(
        f"""
        SELECT {_FLAGS}, count(*) FILTER (WHERE stage_age_us IS NULL) AS unknown FROM {aged}
        """
    )
    return StuckDeals(
        stale=_idle(total, "stale"),
        warning=_idle(total, "warning"),
        stuck=_idle(total, "stuck"),
        stage_age_unknown_count=int(total["unknown"]),
        stages=_stages(facts, settings, aged),
        limits=_limits(facts, settings, aged),
        stale_refs=_refs(facts, aged, "stale"),
        stuck_refs=_refs(facts, aged, "stuck"),
        stuck_deals=deal_lines(facts, settings, f"{aged} WHERE stuck", settings.top),
    )


def _aged(facts: Facts, settings: Settings) -> str:
    query = f"""
        SELECT d.ref, d.name, d.connection, d.pipeline_id, d.pipeline, d.stage_id, d.stage, d.native_stage,
            d.owner_name, d.owner_email, d.company, d.value, d.close_day, d.url,
            i.idle_days, i.stage_age_us, i.stale, i.warning, i.stuck,
            CASE WHEN d.created_day <= $today THEN $today - d.created_day END AS age_days
        FROM {open_table(facts, settings)} d JOIN {idle(facts, settings)} i ON d.ref = i.ref
    """
    return facts.keep("stages aged", query, today=scale.day_number(settings.as_of_date))


def _stages(facts: Facts, settings: Settings, aged: str) -> tuple[StageIdleness, ...]:
    """One row for each open common stage in order, any other with open deals, and the unmapped."""
    heat = ", ".join(
        f"count(*) FILTER (WHERE {where}) AS {name}{place}_n, "
        f"sum(value) FILTER (WHERE {where}) AS {name}{place}"
        for name, column in (("age", "age_days"), ("stay", f"stage_age_us // {scale.DAY}"))
        for place, where in enumerate((*(_within(column, one) for one in BUCKETS), f"({column}) IS NULL"))
    )
    rows = facts.rows(
        f"SELECT stage, count(*) AS n, sum(value) AS amount, {_FLAGS}, {heat} FROM {aged} GROUP BY stage"
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
        stale=_idle(row, "stale"),
        warning=_idle(row, "warning"),
        stuck=_idle(row, "stuck"),
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


def _idle(row: Mapping[str, Any] | None, name: str) -> Idle:
    return Idle(
        count=int(row[f"{name}_n"]) if row else 0, amount=scale.money(row[f"{name}_amount"] if row else None)
    )


def _within(column: str, bucket: tuple[int, int | None]) -> str:
    first, last = bucket
    return f"{column} >= {first}" if last is None else f"{column} BETWEEN {first} AND {last}"


_FLAGS = ", ".join(
    f"count(*) FILTER (WHERE {name}) AS {name}_n, sum(value) FILTER (WHERE {name}) AS {name}_amount"
    for name in ("stale", "warning", "stuck")
)
