"""When somebody last worked on a deal, and what is planned next, over all records of a linked deal."""

from __future__ import annotations

from datetime import datetime

from crmkit.report.facts.deals import OPEN, live_at
from crmkit.report.facts.engine import Facts, Value
from crmkit.report.facts.scale import SECOND, instant
from crmkit.report.facts.snapshot import LIVE, NO_VALUE, records_at
from crmkit.report.inputs import Settings

# These follow from something else that is counted itself, or are nobody's work on the deal.
NO_WORK = "('activity_us', 'next_us', 'archived', 'gone_us')"
# A CRM's clock and the answer to a write are apart by so much at most.
_WRITING = 60 * SECOND


def signs(facts: Facts, settings: Settings, at: datetime | None = None) -> str:
    """The table with one row per open deal in scope at an instant.

    Columns: `logical`; `activity_us` and `note_us`, the last ones up to the instant;
    `human_us`, the last change that somebody else than crmkit made, as far as it is known;
    `next_us`, the first step planned after the instant, else the last one before it.

    Where a sync keeps two records in step, the person works in one of them and crmkit in
    the other: the latest sign of any of them counts.
    """
    at = at or settings.as_of
    values: dict[str, Value] = {"at": instant(at), "never": -(2**62)}
    where = f"r.life = '{LIVE}'"
    if settings.scope.connections:
        for place, name in enumerate(sorted(settings.scope.connections)):
            values[f"connection{place}"] = name
        bound = ", ".join(f"$connection{place}" for place in range(len(settings.scope.connections)))
        where += f" AND r.connection IN ({bound})"
    logical = "coalesce(r.logical, concat(r.connection, ':deal:', r.id))"
    query = f"""
        WITH members AS (
            SELECT r.* FROM {records_at(facts, instant(at))} r
            SEMI JOIN (SELECT logical FROM {live_at(facts, settings, at)} WHERE status = '{OPEN}') d
                ON {logical} = d.logical
            WHERE {where}
        ),
        seen AS (
            SELECT connection, id,
                max(at_us) FILTER (WHERE own) AS own_us,
                max(at_us) FILTER (WHERE NOT own AND field NOT IN {NO_WORK} AND field <> 'modified_us')
                    AS edit_us,
                max(CASE WHEN NOT own AND field = 'modified_us' AND new <> '{NO_VALUE}'
                    THEN CAST(nullif(substr(new, 2), '') AS BIGINT) END) AS modified_us,
                min_by(old, number) FILTER (WHERE own AND field = 'modified_us') AS modified_before
            FROM changes h SEMI JOIN members m ON h.connection = m.connection AND h.id = m.id
            WHERE at_us <= $at GROUP BY connection, id
        ),
        each_record AS (
            SELECT {logical} AS logical,
                CASE WHEN r.activity_us <= $at THEN r.activity_us END AS activity_us,
                CASE WHEN r.note_us <= $at THEN r.note_us END AS note_us,
                r.next_us, c.edit_us,
                {_not_ours("c.modified_us")} AS seen_us,
                -- Where nobody's change was seen, the last modification tells of one; before crmkit
                -- wrote for the first time it was somebody else's.
                CASE WHEN c.edit_us IS NULL AND c.modified_us IS NULL THEN coalesce(
                    CASE WHEN c.modified_before <> '{NO_VALUE}'
                        THEN CAST(nullif(substr(c.modified_before, 2), '') AS BIGINT) END,
                    {_not_ours("r.modified_us")}
                ) END AS earlier_us
            FROM members r LEFT JOIN seen c ON r.connection = c.connection AND r.id = c.id
        )
        SELECT logical, max(activity_us) AS activity_us, max(note_us) AS note_us,
            nullif(greatest(max(coalesce(edit_us, $never)), max(coalesce(seen_us, $never)),
                max(coalesce(earlier_us, $never))), $never) AS human_us,
            coalesce(min(next_us) FILTER (WHERE next_us > $at), max(next_us)) AS next_us
        FROM each_record GROUP BY logical
    """
    return facts.keep(f"signs {at.isoformat()}", query, **values)


def _not_ours(modified_us: str) -> str:
    """SQL for the time of a modification, NULL if it is that of the last one that crmkit made."""
    ours = f"{modified_us} BETWEEN c.own_us - {_WRITING} AND c.own_us + {_WRITING}"
    return f"CASE WHEN {modified_us} <= $at AND (c.own_us IS NULL OR NOT {ours}) THEN {modified_us} END"
