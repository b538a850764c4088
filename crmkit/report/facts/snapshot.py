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
    return facts.keep(f"records {at_us}", records_query(), at=at_us)


def records_query(deals: str = "deals", changes: str = "changes", tracked: Collection[str] = TRACKED) -> str:
    """The query behind `records_at`, with `$at` for the instant.

    Args:
        deals: A table with the columns of `deals`: all of them, or those that are of interest.
        changes: A table with what changed of these deals after the instant.
        tracked: The columns whose earlier values are asked for; the others stay as they are now.
    """
    # What the first change after the instant replaced is what was there at the instant.
    before = ", ".join(f"min_by(old, number) FILTER (WHERE field = '{name}') AS {name}" for name in tracked)
    values = ", ".join(
        f"{_value(name, kind)} AS {name}" if name in tracked else f"d.{name}"
        for name, kind in DEALS.columns.items()
    )
    return f"""
        WITH before AS (
            SELECT connection, id, {before} FROM {changes} WHERE at_us > $at GROUP BY connection, id
        ),
        records AS (
            SELECT {values}
            FROM {deals} d LEFT JOIN before b ON d.connection = b.connection AND d.id = b.id
            WHERE d.first_seen_us <= $at
        )
        SELECT *,
            CASE WHEN gone_us <= $at THEN '{GONE}' WHEN archived THEN '{ARCHIVED}' ELSE '{LIVE}' END AS life
        FROM records
    """


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
