"""The records of all deals as they were at an instant."""

from __future__ import annotations

from collections.abc import Collection

from crmkit.report.facts.engine import Facts
from crmkit.report.facts.tables import DEALS, Type

TRACKED = (
    "pipeline_id",
    "stage_id",
    "status",
    "lost_kind",
    "lost_reason",
    "amount",
    "currency",
    "value_period",
    "probability",
    "forecast_category",
    "owner_id",
    "company_id",
    "contacts",
    "close_day",
    "closed_us",
    "modified_us",
    "stage_entered_us",
    "activity_us",
    "next_us",
    "renewal_day",
    "upsell_day",
    "archived",
    "gone_us",
)
"""The columns of a deal of which earlier values are known."""

NO_VALUE = "-"
VALUE_MARK = "="

LIVE, ARCHIVED, GONE = "live", "archived", "gone"


def records_at(facts: Facts, at_us: int) -> str:
    """The table of every record known at the instant, with the values it had then.

    The columns of `deals`, and `life`: live, archived, or gone (deleted or merged away).
    A record that no pull had shown by then is left out, whatever its creation date says.
    """
    # Only what changed since is held: the rest is in `deals` already.
    tracked = changed_fields(facts, at_us)
    at = str(int(at_us))
    source = "deals d"
    if tracked:
        source = _joined("deals", facts.keep(f"before {at_us}", _before("changes", tracked), at=at_us))
    values = _values(tracked)
    return facts.view(
        f"records {at_us}",
        f"SELECT *, {_life(at)} FROM (SELECT {values} FROM {source} WHERE d.first_seen_us <= {at}) records",
    )


def changed_fields(facts: Facts, since_us: int) -> tuple[str, ...]:
    """The columns of `deals` of which a value changed after an instant: most of them never do."""
    last = facts.keep("last changes", "SELECT field, max(at_us) AS last_us FROM changes GROUP BY field")
    rows = facts.rows(f"SELECT field FROM {last} WHERE last_us > $at", at=since_us)
    found = {row["field"] for row in rows}
    return tuple(name for name in TRACKED if name in found)


def records_query(tracked: Collection[str], deals: str = "deals", changes: str = "changes") -> str:
    """The query behind `records_at`, with `$at` for the instant.

    Args:
        tracked: The columns whose earlier values are asked for; the others stay as they are now.
        deals: A table with the columns of `deals`: all of them, or those that are of interest.
        changes: A table with what changed of these deals after the instant.
    """
    before = f"before AS ({_before(changes, tracked)}), " if tracked else ""
    source = _joined(deals, "before") if tracked else f"{deals} d"
    return f"""
        WITH {before}known AS (SELECT {_values(tracked)} FROM {source} WHERE d.first_seen_us <= $at)
        SELECT *, {_life("$at")} FROM known
    """


def _before(changes: str, tracked: Collection[str]) -> str:
    """What the first change after the instant replaced is what was there at the instant."""
    fields = ", ".join(f"min_by(old, number) FILTER (WHERE field = '{name}') AS {name}" for name in tracked)
    return f"SELECT connection, id, {fields} FROM {changes} WHERE at_us > $at GROUP BY connection, id"


def _joined(deals: str, before: str) -> str:
    return f"{deals} d LEFT JOIN {before} b ON d.connection = b.connection AND d.id = b.id"


def _values(tracked: Collection[str]) -> str:
    return ", ".join(
        f"{_value(name, kind)} AS {name}" if name in tracked else f"d.{name}"
        for name, kind in DEALS.columns.items()
    )


def _life(at: str) -> str:
    return (
        f"CASE WHEN gone_us <= {at} THEN '{GONE}' WHEN archived THEN '{ARCHIVED}' ELSE '{LIVE}' END AS life"
    )


def _value(name: str, kind: Type) -> str:
    text = f"substr(b.{name}, 2)"
    decoded = {
        Type.TEXT: text,
        Type.INT: f"CAST(nullif({text}, '') AS BIGINT)",
        Type.BOOL: f"{text} = '1'",
    }[kind]
    return (
        f"CASE WHEN b.{name} IS NULL THEN d.{name} WHEN b.{name} = '{NO_VALUE}' THEN NULL ELSE {decoded} END"
    )
