"""How deals moved between stages: by their first and last stage, and step by step (metrics.md 5)."""

from __future__ import annotations

from crmkit.report.facts.deals import LOST, OPEN, WON
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import instant
from crmkit.report.facts.snapshot import LIVE, NO_VALUE
from crmkit.report.facts.visits import visits_at
from crmkit.report.metrics.pairs import Between

NATIVE = ("pipeline_id", "stage_id", "pipeline", "native_stage", "stage", "place", "status")
"""What is told of either end of a step."""

# Lost stages stand last in a pipeline, but going there is no advance; won is what pipelines are for.
_KIND = f"""
    CASE WHEN from_pipeline_id <> to_pipeline_id THEN 'pipeline_move'
        WHEN to_status = '{WON}' AND from_status <> '{WON}' THEN 'won'
        WHEN to_status = '{LOST}' AND from_status <> '{LOST}' THEN 'lost'
        WHEN to_status = '{OPEN}' AND from_status <> '{OPEN}' THEN 'reopened'
        WHEN to_place > from_place THEN 'advance'
        WHEN to_place < from_place THEN 'regress' END
"""


def steps_between(facts: Facts, found: Between) -> str:
    """The table with one row per step of a deal in scope from one stage to another between two instants.

    Columns: logical, ref, connection, `value` (at the end), `step_number`, `step_from_last`, and with
    `from_` and `to_` in front pipeline_id, stage_id, pipeline, native_stage, stage, place, status; `kind`
    is NULL where a stage is not known any more.

    A stage that several pipelines share is that of the pipeline in which the deal was then.
    """
    visits = visits_at(facts, instant(found.end))
    sides = ", ".join(
        f"{side}.{name} AS {end}_{name}" for side, end in (("f", "from"), ("t", "to")) for name in NATIVE
    )
    query = f"""
        WITH chosen AS (
            SELECT logical, ref, connection, id, pipeline_id, value FROM {found.after}
            WHERE life = '{LIVE}' AND in_scope
        ),
        active AS (
            SELECT DISTINCT connection, id FROM {visits} WHERE entered_us >= $t0 AND entered_us < $t1
        ),
        entries AS (
            SELECT v.connection, v.id, v.stage_id, v.entered_us,
                row_number() OVER (
                    PARTITION BY v.connection, v.id
                    ORDER BY v.entered_us NULLS LAST, v.left_us NULLS LAST, v.stage_id NULLS LAST
                ) AS entry_place
            FROM {visits} v SEMI JOIN active a ON v.connection = a.connection AND v.id = a.id
        ),
        ways AS (
            SELECT w.connection, w.id, w.at_us, w.number, w.old FROM changes w
            SEMI JOIN active a ON w.connection = a.connection AND w.id = a.id
            WHERE w.field = 'pipeline_id' AND w.old <> '{NO_VALUE}'
        ),
        homes AS (
            SELECT connection, stage_id, min(pipeline_id) AS only_pipeline, count(*) AS pipelines
            FROM stages GROUP BY connection, stage_id
        ),
        housed AS (
            SELECT e.connection, e.id, e.entry_place, min(e.stage_id) AS stage_id,
                min(e.entered_us) AS entered_us, min(c.logical) AS logical, min(c.ref) AS ref,
                min(c.value) AS value,
                CASE WHEN min(h.pipelines) = 1 THEN min(h.only_pipeline)
                    ELSE coalesce(
                        substr(min_by(w.old, w.number) FILTER (WHERE w.at_us > e.entered_us), 2),
                        min(c.pipeline_id)
                    ) END AS pipeline_id
            FROM entries e
            JOIN chosen c ON e.connection = c.connection AND e.id = c.id
            LEFT JOIN homes h ON e.connection = h.connection AND e.stage_id = h.stage_id
            LEFT JOIN ways w ON e.connection = w.connection AND e.id = w.id
            GROUP BY e.connection, e.id, e.entry_place
        ),
        placed AS (
            SELECT h.*, s.pipeline, s.native_stage, o.stage, s.place, s.stage_status AS status
            FROM housed h
            LEFT JOIN stages s
                ON h.connection = s.connection AND h.pipeline_id = s.pipeline_id AND h.stage_id = s.stage_id
            LEFT JOIN outline o ON s.stage = o.stage
        ),
        steps AS (
            SELECT t.logical, t.ref, t.connection, t.value, t.entry_place, {sides}
            FROM placed t
            JOIN placed f
                ON t.connection = f.connection AND t.id = f.id AND t.entry_place = f.entry_place + 1
            WHERE t.entered_us >= $t0 AND t.entered_us < $t1
        )
        SELECT *, {_KIND} AS kind,
            row_number() OVER (PARTITION BY logical ORDER BY entry_place NULLS LAST) AS step_number,
            row_number() OVER (PARTITION BY logical ORDER BY entry_place DESC NULLS LAST) AS step_from_last
        FROM steps
    """
    name = f"steps {found.start.isoformat()} {found.end.isoformat()}"
    return facts.keep(name, query, t0=instant(found.start), t1=instant(found.end))


def net_moved(facts: Facts, found: Between) -> str:
    """The table of the deals whose first and last stage differ; columns as `steps_between`.

    The first stage is that of the start, and of a deal that was not known then the first
    one that it was seen in. A linked deal whose values come from another record than before
    (`same_record` is false) did not move in any pipeline: only its common stage is told.
    """
    steps = steps_between(facts, found)
    ends = {"from": "a", "to": "z"}
    known = ", ".join(
        f"{column} AS {end}_{name}"
        for side, source, end in (("x", "xs", "from"), ("y", "ys", "to"))
        for name, column in _native(side, source).items()
    )
    walked = ", ".join(f"{ends[end]}.{end}_{name}" for end in ends for name in NATIVE)
    query = f"""
        WITH moved AS (
            SELECT b.logical, b.y_ref AS ref, b.y_connection AS connection, b.y_frozen AS value,
                b.x_connection = b.y_connection AND b.x_id = b.y_id AS same_record, {known}
            FROM {found.table} b
            LEFT JOIN stages xs ON b.x_connection = xs.connection AND b.x_pipeline_id = xs.pipeline_id
                AND b.x_stage_id = xs.stage_id
            LEFT JOIN stages ys ON b.y_connection = ys.connection AND b.y_pipeline_id = ys.pipeline_id
                AND b.y_stage_id = ys.stage_id
            WHERE y_life = '{LIVE}' AND y_in_scope AND b.x_ref IS NOT NULL
                AND (b.x_stage_id <> b.y_stage_id OR b.x_pipeline_id <> b.y_pipeline_id)
            UNION ALL
            SELECT a.logical, a.ref, a.connection, a.value, TRUE, {walked}
            FROM (SELECT * FROM {steps} WHERE step_number = 1) a
            JOIN (SELECT * FROM {steps} WHERE step_from_last = 1) z ON a.logical = z.logical
            JOIN {found.table} b ON a.logical = b.logical AND b.x_ref IS NULL
            WHERE a.from_stage_id <> z.to_stage_id OR a.from_pipeline_id <> z.to_pipeline_id
        )
        SELECT *, CASE WHEN same_record THEN {_KIND} END AS kind FROM moved
    """
    return facts.keep(f"net moves {found.start.isoformat()} {found.end.isoformat()}", query)


def _native(side: str, source: str) -> dict[str, str]:
    return {
        "pipeline_id": f"b.{side}_pipeline_id",
        "stage_id": f"b.{side}_stage_id",
        "pipeline": f"{source}.pipeline",
        "native_stage": f"{source}.native_stage",
        "stage": f"b.{side}_stage",
        "place": f"{source}.place",
        "status": f"{source}.stage_status",
    }
