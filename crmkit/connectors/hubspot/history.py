"""Stage changes from the history of a deal's stage. Pure: no calls, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from crmkit.connectors.hubspot.schema import Schema
from crmkit.connectors.translate import instant, native_id
from crmkit.model import Kind, Ref

Row = dict[str, Any]


def spread_history(rows: Iterable[Row]) -> Iterator[Row]:
    """One row per stage change, oldest first within a deal.

    HubSpot lists values newest first and names no old one. An entry that repeats the
    value before it is no change; one without a value only ends the stage before it.
    """
    for row in rows:
        before: str | None = None
        try:
            entries = (row.get("propertiesWithHistory") or {}).get("dealstage") or ()
            oldest_first = list(reversed(entries))
            oldest_first.sort(key=_stamp)  # stable: equal times keep HubSpot's order
        except (TypeError, AttributeError):
            yield {"deal": str(row["id"])}  # `stage_change` will say that it cannot be read
            continue
        for entry in oldest_first:
            stage = entry.get("value") or None
            if stage is not None and stage != before:
                yield {"deal": str(row["id"]), "from": before, "to": stage, "entry": entry}
            before = stage


def _stamp(entry: Row) -> str:
    # Without the Z a time with a fraction sorts behind the same second without one.
    return str(entry.get("timestamp")).rstrip("Z")


def stage_change(row: Row, schema: Schema) -> dict[str, Any]:
    """The fields of a stage change that `spread_history` has found."""
    native, stage, entry = row["deal"], row["to"], row["entry"]
    user = native_id(entry.get("updatedByUserId"), "updatedByUserId")
    return {
        "ref": Ref(schema.connection, Kind.STAGE_CHANGE, f"{native}:{entry['timestamp']}:{stage}"),
        "deal_id": native,
        "from_stage_id": row["from"],
        "to_stage_id": stage,
        "at": instant(entry["timestamp"], "dealstage"),
        "by": schema.people.get(user, f"user:{user}") if user else None,
    }


def users(rows: Iterable[Row]) -> dict[str, str]:
    """User id to owner id: the history of a property names users."""
    found: dict[str, str] = {}
    for row in rows:
        for name in ("userIdIncludingInactive", "userId"):
            if row.get(name) is not None:
                found[str(row[name])] = str(row["id"])
    return found
