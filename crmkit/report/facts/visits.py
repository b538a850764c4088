"""Which deal was in which stage when."""

from __future__ import annotations

from crmkit.report.facts.engine import Facts
from crmkit.report.facts.snapshot import NO_VALUE, VALUE_MARK


def visits_at(facts: Facts, at_us: int) -> str:
    """The table with one row per stay of a record in a stage, as known at an instant.

    Columns: connection, id, stage_id, `entered_us`, `left_us` (NULL while it is there), and
    `estimated`: a pull saw the move some time after it was made.

    A CRM's own history comes first. For deals it tells nothing about, what pulls saw counts:
    a move between two pulls at the later one, and the first stage of a deal that was created
    while its connection was already read. What lies before is unknown and is not invented
    (metrics.md 2.9).
    """
    query = f"""
        WITH told AS (
            SELECT connection, id, stage_id, at_us AS entered_us, 0 AS number, FALSE AS estimated
            FROM stage_steps WHERE at_us <= $at
        ),
        moves AS (SELECT * FROM changes WHERE field = 'stage_id'),
        began AS (
            SELECT d.connection, d.id, d.created_us,
                coalesce(m.was, concat('{VALUE_MARK}', d.stage_id)) AS stage
            FROM deals d JOIN pulls p ON d.connection = p.connection
            LEFT JOIN (
                SELECT connection, id, min_by(old, number) AS was FROM moves GROUP BY connection, id
            ) m ON d.connection = m.connection AND d.id = m.id
            WHERE d.created_us >= p.first_us AND d.created_us <= $at
        ),
        seen AS (
            SELECT connection, id, substr(new, 2) AS stage_id, at_us AS entered_us, number, TRUE AS estimated
            FROM moves WHERE at_us <= $at AND new <> '{NO_VALUE}'
            UNION ALL
            SELECT connection, id, substr(stage, 2), created_us, -1, FALSE
            FROM began WHERE stage <> '{NO_VALUE}'
        ),
        steps AS (
            SELECT * FROM told
            UNION ALL
            SELECT s.* FROM seen s ANTI JOIN (SELECT DISTINCT connection, id FROM told) t
                ON s.connection = t.connection AND s.id = t.id
        )
        SELECT connection, id, stage_id, entered_us, estimated,
            lead(entered_us) OVER (
                PARTITION BY connection, id ORDER BY entered_us NULLS LAST, number NULLS LAST
            ) AS left_us
        FROM steps
    """
    return facts.keep(f"visits {at_us}", query, at=at_us)
