"""The stays of deals in stages, with the place of each stage in its pipeline and among the common ones."""

from __future__ import annotations

from datetime import date

from crmkit.report.facts.deals import LOST, OPEN, WON, live_at, period_us
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import DAY, instant
from crmkit.report.facts.visits import visits_at
from crmkit.report.inputs import Settings

WON_LEVEL = 1_000_000
"""Won comes after every stage of open deals, which are numbered from 1 in their pipeline."""
LOST_LEVEL = 0
COMMON = 0
"""What stands for the common stages where the number of a pipeline does."""


def lines(facts: Facts) -> str:
    """The table of pipelines: connection, pipeline_id and `line`, a number from 1."""
    return facts.keep(
        "lines",
        """
        SELECT connection, pipeline_id, row_number() OVER (
            ORDER BY connection NULLS LAST, pipeline_id NULLS LAST
        ) AS line
        FROM (SELECT DISTINCT connection, pipeline_id FROM stages) pipelines
        """,
    )


def rungs(facts: Facts) -> str:
    """The table of every native stage with its place.

    Columns: connection, pipeline_id, `line`, stage_id, `level` in the pipeline, and
    `common_level`: `NULL` if unmapped.
    """
    query = f"""
        SELECT s.connection, s.pipeline_id, l.line, s.stage_id,
            {_level("s.stage_status", "s.place_of_kind")} AS level, o.level AS common_level
        FROM (
            SELECT *, row_number() OVER (
                PARTITION BY connection, pipeline_id, stage_status
                ORDER BY place NULLS LAST, stage_id NULLS LAST
            ) AS place_of_kind
            FROM stages
        ) s
        JOIN {lines(facts)} l ON s.connection = l.connection AND s.pipeline_id = l.pipeline_id
        LEFT JOIN (
            SELECT stage, {_level("common_status", "place_of_kind")} AS level FROM (
                SELECT stage, common_status, row_number() OVER (
                    PARTITION BY common_status ORDER BY stage_order NULLS LAST, stage NULLS LAST
                ) AS place_of_kind
                FROM outline
            ) common_places
        ) o ON s.stage = o.stage
    """
    return facts.keep("rungs", query)


def _level(status: str, place: str) -> str:
    return (
        f"CASE WHEN {status} = '{WON}' THEN {WON_LEVEL} WHEN {status} = '{LOST}' THEN {LOST_LEVEL} "
        f"ELSE {place} END"
    )


def moved(facts: Facts, settings: Settings, period: tuple[date, date]) -> str:
    """The table of the deals in scope that entered or left a stage in the period, or were closed in it.

    Columns: `nr` (a number for the deal), connection, id, pipeline_id, `line` (of its pipeline), status,
    closed_us, created_us. Deals in a pipeline that the CRM does not list are left out.
    """
    start, end = period_us(period, settings)
    visits = visits_at(facts, instant(settings.as_of))
    query = f"""
        SELECT row_number() OVER (ORDER BY d.ref NULLS LAST) AS nr, d.connection, d.id, d.pipeline_id,
            l.line, d.status, d.closed_us, d.created_us
        FROM {live_at(facts, settings)} d
        JOIN {lines(facts)} l ON d.connection = l.connection AND d.pipeline_id = l.pipeline_id
        LEFT JOIN (
            SELECT DISTINCT connection, id FROM {visits}
            WHERE (entered_us >= $start AND entered_us < $end) OR (left_us >= $start AND left_us < $end)
        ) v ON d.connection = v.connection AND d.id = v.id
        WHERE v.id IS NOT NULL OR (d.closed_us >= $start AND d.closed_us < $end)
    """
    return facts.keep(f"moved {settings.as_of.isoformat()} {period}", query, start=start, end=end)


def stays(facts: Facts, settings: Settings, period: tuple[date, date]) -> str:
    """The table with every stay of the deals of `moved`.

    Columns: nr, line, status, stage_id, `level` (of the deal's pipeline; NULL if the stage belongs
    to another one), `common_level`, `deleted` (no pipeline of the CRM has the stage any more), entered_us,
    `left_us` (the closing ends a stay too; NULL while the deal is there, and where nobody
    knows). A won deal whose CRM keeps outcomes apart from stages enters won when it is closed.
    """
    deals = moved(facts, settings, period)
    query = f"""
        WITH elsewhere AS (
            SELECT connection, stage_id, min_by(common_level, pipeline_id) AS common_level
            FROM {rungs(facts)} GROUP BY connection, stage_id
        ),
        known AS (
            SELECT d.nr, d.line, d.status, d.closed_us, v.stage_id, r.level,
                coalesce(r.common_level, e.common_level) AS common_level,
                e.stage_id IS NULL AS deleted, v.entered_us,
                CASE WHEN v.left_us IS NOT NULL THEN v.left_us
                    WHEN d.status <> '{OPEN}' AND d.closed_us >= v.entered_us THEN d.closed_us END AS left_us
            FROM {visits_at(facts, instant(settings.as_of))} v
            JOIN {deals} d ON v.connection = d.connection AND v.id = d.id
            LEFT JOIN {rungs(facts)} r
                ON d.connection = r.connection AND d.pipeline_id = r.pipeline_id AND v.stage_id = r.stage_id
            LEFT JOIN elsewhere e ON d.connection = e.connection AND v.stage_id = e.stage_id
        )
        SELECT nr, line, status, stage_id, level, common_level, deleted, entered_us, left_us FROM known
        UNION ALL
        SELECT nr, line, status, NULL, {WON_LEVEL}, {WON_LEVEL}, FALSE, closed_us, NULL
        FROM (
            SELECT nr, line, status, closed_us FROM known WHERE status = '{WON}' AND closed_us IS NOT NULL
            GROUP BY nr, line, status, closed_us
            HAVING count(CASE WHEN level = {WON_LEVEL} OR common_level = {WON_LEVEL} THEN 1 END) = 0
        ) told_by_outcome
    """
    return facts.keep(f"stays {settings.as_of.isoformat()} {period}", query)


def beginnings(facts: Facts, settings: Settings, period: tuple[date, date]) -> str:
    """The table of the deals of `moved` whose first known stay is not their first.

    Columns: nr, line, `level` and `common_level` of that stay. A first stay begins within a day of
    the creation; anything later means that what was before is unknown, not that it was skipped.
    """
    query = f"""
        SELECT s.nr, s.line, max(coalesce(s.level, {WON_LEVEL})) AS level,
            max(coalesce(s.common_level, {WON_LEVEL})) AS common_level
        FROM {stays(facts, settings, period)} s
        JOIN (
            SELECT f.nr, f.first_us FROM (
                SELECT nr, min(entered_us) AS first_us FROM {stays(facts, settings, period)} GROUP BY nr
            ) f
            JOIN {moved(facts, settings, period)} d ON f.nr = d.nr
            WHERE f.first_us > d.created_us + {DAY}
        ) late ON s.nr = late.nr AND s.entered_us = late.first_us
        GROUP BY s.nr, s.line
    """
    return facts.keep(f"beginnings {settings.as_of.isoformat()} {period}", query)


def places(*, common: bool) -> tuple[str, str]:
    """The columns of a line and of a level in it: those of pipelines, or of the common stages."""
    return (str(COMMON), "common_level") if common else ("line", "level")
