"""The fields of a deal's line in a list, from a row of `deals_at`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, TypedDict

from crmkit.report.facts import scale
from crmkit.report.inputs import Settings

LINE_COLUMNS = ", ".join(
    f"d.{name}"
    for name in (
        "ref name connection stage native_stage owner_name owner_email company value close_day url".split()
    )
)
"""What `line_fields` reads of a deal `d`, whose row has many more columns."""


class LineFields(TypedDict):
    """The fields of `DealLine`."""

    ref: str
    name: str
    connection: str
    stage: str | None
    owner: str | None
    company: str | None
    amount: Decimal | None
    expected_close: date | None
    idle_days: int | None
    url: str | None


def line_fields(row: Mapping[str, Any], settings: Settings) -> LineFields:
    """A deal as one line; an unmapped one shows its native stage, `idle_days` is there if the row has it."""
    names = {stage.id: stage.name for stage in settings.stages}
    return {
        "ref": row["ref"],
        "name": row["name"],
        "connection": row["connection"],
        "stage": names.get(row["stage"] or "", row["native_stage"]),
        "owner": row["owner_name"] or row["owner_email"],
        "company": row["company"],
        "amount": None if row["value"] is None else scale.money(row["value"]),
        "expected_close": scale.day(row["close_day"]),
        "idle_days": row.get("idle_days"),
        "url": row["url"],
    }
