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
_EVER = 10**18
"""An instant later than any; with a minus earlier."""


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
        WITH turns AS (
            SELECT connection, id, at_us, old, new,
                lead(at_us) OVER (PARTITION BY connection, id ORDER BY number NULLS LAST) AS next_us,
                row_number() OVER (PARTITION BY connection, id ORDER BY number NULLS LAST) AS turn
            FROM changes WHERE field = 'status'
        ),
        -- When a record was closed, from a minute before.
        closed AS (
            SELECT connection, id, at_us - {CLOSING} AS from_us,
                CASE WHEN next_us IS NULL THEN {_EVER} WHEN next_us > at_us + {CLOSING} THEN next_us
                    ELSE at_us + {CLOSING} END AS to_us
            FROM turns WHERE new <> '{is_open}'
            UNION ALL
            SELECT connection, id, -{_EVER}, at_us FROM turns WHERE turn = 1 AND old <> '{is_open}'
            UNION ALL
            SELECT d.connection, d.id, -{_EVER}, {_EVER} FROM deals d
            ANTI JOIN turns t ON d.connection = t.connection AND d.id = t.id
            WHERE d.status <> '{OPEN}'
            UNION ALL
            SELECT connection, id, closed_us - {CLOSING}, closed_us + {CLOSING} FROM deals
            WHERE status <> '{OPEN}' AND closed_us IS NOT NULL
            UNION ALL
            SELECT t.connection, t.id, t.at_us - {CLOSING}, t.at_us + {CLOSING} FROM stage_steps t
            SEMI JOIN (SELECT connection, stage_id FROM stages WHERE stage_status <> '{OPEN}') s
                ON t.connection = s.connection AND t.stage_id = s.stage_id
        ),
        moves AS (
            SELECT connection, id, at_us, number,
                CAST(substr(old, 2) AS BIGINT) AS old_day, CAST(substr(new, 2) AS BIGINT) AS new_day
            FROM changes
            WHERE field = 'close_day' AND old <> '{NO_VALUE}' AND new <> '{NO_VALUE}' AND old <> new
                AND at_us <= $at
        )
        SELECT m.*, m.new_day - m.old_day AS days
        FROM moves m
        ANTI JOIN closed c ON m.connection = c.connection AND m.id = c.id
            AND m.at_us >= c.from_us AND m.at_us <= c.to_us
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
