"""Which open deals nobody touches, and which stay in their stage for too long (metrics.md 13)."""

from __future__ import annotations

from datetime import datetime

from crmkit.report.facts.deals import OPEN, WON, deals_at, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import DAY, WHOLE, instant
from crmkit.report.facts.snapshot import LIVE
from crmkit.report.facts.visits import visits_at
from crmkit.report.inputs import Settings
from crmkit.report.metrics.signs import signs

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
