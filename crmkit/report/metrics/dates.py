"""Every change of a close date that was somebody's decision: pushes and pulls (metrics.md 5)."""

from __future__ import annotations

from datetime import datetime

from crmkit.report.facts.deals import OPEN
from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import SECOND, instant
from crmkit.report.facts.snapshot import NO_VALUE, VALUE_MARK
from crmkit.report.inputs import Settings

CLOSING = 60 * SECOND
"""A date changed this near to a closing was changed by the CRM itself."""


def date_moves(facts: Facts, settings: Settings, at: datetime | None = None) -> str:
    """The table with one row per push and per pull of a record, up to an instant.

    Columns: connection, id, at_us, number, old_day, new_day, `days` (positive: pushed).
    A date set from nothing or cleared is neither; nor is a change while the deal was
    closed, or within a minute of its closing.

    What crmkit wrote itself counts too: on that record it is the only trace of the push
    that somebody made in another CRM.
    """
    at = at or settings.as_of
    is_open = f"{VALUE_MARK}{OPEN}"
    query = f"""
        WITH moves AS (
            SELECT connection, id, at_us, number,
                CAST(substr(old, 2) AS BIGINT) AS old_day, CAST(substr(new, 2) AS BIGINT) AS new_day
            FROM changes
            WHERE field = 'close_day' AND old <> '{NO_VALUE}' AND new <> '{NO_VALUE}' AND old <> new
                AND at_us <= $at
        ),
        turns AS (
            SELECT c.connection, c.id, c.at_us, c.number, c.old, c.new FROM changes c
            SEMI JOIN moves m ON c.connection = m.connection AND c.id = m.id
            WHERE c.field = 'status'
        ),
        closings AS (
            SELECT connection, id, at_us FROM turns WHERE new <> '{is_open}'
            UNION ALL
            SELECT t.connection, t.id, t.at_us FROM stage_steps t
            SEMI JOIN moves m ON t.connection = m.connection AND t.id = m.id
            SEMI JOIN (SELECT connection, stage_id FROM stages WHERE stage_status <> '{OPEN}') s
                ON t.connection = s.connection AND t.stage_id = s.stage_id
            UNION ALL
            SELECT d.connection, d.id, d.closed_us FROM deals d
            SEMI JOIN moves m ON d.connection = m.connection AND d.id = m.id
            WHERE d.status <> '{OPEN}' AND d.closed_us IS NOT NULL
        ),
        judged AS (
            SELECT m.connection, m.id, m.number, m.at_us, m.old_day, m.new_day,
                coalesce(min_by(t.old, t.number) FILTER (WHERE t.at_us >= m.at_us),
                    concat('{VALUE_MARK}', min(d.status))) AS status_before,
                coalesce(min_by(t.old, t.number) FILTER (WHERE t.at_us > m.at_us),
                    concat('{VALUE_MARK}', min(d.status))) AS status_after
            FROM moves m
            JOIN deals d ON m.connection = d.connection AND m.id = d.id
            LEFT JOIN turns t ON m.connection = t.connection AND m.id = t.id
            GROUP BY m.connection, m.id, m.number, m.at_us, m.old_day, m.new_day
        ),
        near_closing AS (
            SELECT DISTINCT m.connection, m.id, m.number FROM moves m
            JOIN closings c ON m.connection = c.connection AND m.id = c.id
            WHERE c.at_us BETWEEN m.at_us - {CLOSING} AND m.at_us + {CLOSING}
        )
        SELECT j.connection, j.id, j.at_us, j.number, j.old_day, j.new_day, j.new_day - j.old_day AS days
        FROM judged j
        ANTI JOIN near_closing n ON j.connection = n.connection AND j.id = n.id AND j.number = n.number
        WHERE j.status_before = '{is_open}' AND j.status_after = '{is_open}'
    """
    return facts.keep(f"date moves {at.isoformat()}", query, at=instant(at))


def pushes(facts: Facts, settings: Settings, at: datetime | None = None) -> str:
    """The table with one row per record that was ever pushed, up to an instant; the others are left out.

    Columns: connection, id, `push_count`, `push_days` (all pushes added up), `last_push_us`,
    `push_gap_us` (the shortest time between two pushes, NULL after a single one), and of
    the last push `pushed_from_day` and `pushed_to_day`. Of a linked deal, ask for the
    record whose values count (connection and id in `deals_at`).
    """
    at = at or settings.as_of
    moves = date_moves(facts, settings, at)
    query = f"""
        SELECT connection, id, count(*) AS push_count, sum(days) AS push_days,
            max(at_us) AS last_push_us, min(at_us - earlier_us) AS push_gap_us,
            max_by(old_day, number) AS pushed_from_day, max_by(new_day, number) AS pushed_to_day
        FROM (
            SELECT *, lag(at_us) OVER (
                PARTITION BY connection, id ORDER BY at_us NULLS LAST, number NULLS LAST
            ) AS earlier_us
            FROM {moves} WHERE days > 0
        ) p
        GROUP BY connection, id
    """
    return facts.keep(f"pushes {at.isoformat()}", query)
