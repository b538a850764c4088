"""The fact tables and their columns.

Names end in what they count: `_us` is an instant (microseconds since 1970 in UTC), `_day` a day
(days since 1970); amounts, rates and shares are whole numbers (see `scale`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class Type(StrEnum):
    """The types that every engine has."""

    TEXT = "string"
    INT = "int64"
    BOOL = "bool"
    WHOLE = "decimal"


@dataclass(frozen=True, slots=True)
class Layout:
    """A fact table: its columns by name, in order."""

    name: str
    columns: dict[str, Type]

    def arrow(self) -> pa.Schema:
        """The table's schema in Arrow and Parquet."""
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only reports need it

        kinds = {
            Type.TEXT: pa.string(),
            Type.INT: pa.int64(),
            Type.BOOL: pa.bool_(),
            Type.WHOLE: pa.decimal128(38, 0),
        }
        return pa.schema([(name, kinds[kind]) for name, kind in self.columns.items()])


_TEXT, _INT, _BOOL = Type.TEXT, Type.INT, Type.BOOL

DEALS = Layout(
    "deals",
    {
        "connection": _TEXT,
        "id": _TEXT,
        # What the record is part of: the linked deal, or the record itself.
        "logical": _TEXT,
        "name": _TEXT,
        "pipeline_id": _TEXT,
        "stage_id": _TEXT,
        "status": _TEXT,
        "lost_kind": _TEXT,
        "lost_reason": _TEXT,
        "amount": _INT,
        # There is an amount, but it is absurd.
        "amount_unreadable": _BOOL,
        "currency": _TEXT,
        "value_period": _TEXT,
        # The deal's own.
        "probability": _INT,
        "forecast_category": _TEXT,
        "owner_id": _TEXT,
        "company_id": _TEXT,
        "contacts": _INT,
        "close_day": _INT,
        "closed_us": _INT,
        "created_us": _INT,
        "modified_us": _INT,
        "stage_entered_us": _INT,
        "activity_us": _INT,
        "next_us": _INT,
        "note_us": _INT,
        "renewal_day": _INT,
        "upsell_day": _INT,
        "url": _TEXT,
        "archived": _BOOL,
        "merged_into": _TEXT,
        "first_seen_us": _INT,
        "gone_us": _INT,
    },
)
"""Every record of a deal as it is now, with what is gone and archived."""

CHANGES = Layout(
    "changes",
    {
        "connection": _TEXT,
        "id": _TEXT,
        # A column of `deals`.
        "field": _TEXT,
        # Instant of the pull that saw it, or of the change itself where the CRM tells.
        "at_us": _INT,
        "number": _INT,
        # `-` is no value, `=` and the value's text anything else (engines skip NULL in minima).
        "old": _TEXT,
        "new": _TEXT,
        # Whether crmkit itself wrote the new value: nobody's work on the deal.
        "own": _BOOL,
    },
)
"""What changed between two pulls, field by field."""

STAGE_STEPS = Layout(
    "stage_steps",
    {
        "connection": _TEXT,
        "id": _TEXT,
        "stage_id": _TEXT,
        "at_us": _INT,
        "from_stage_id": _TEXT,
    },
)
"""Entries of deals into stages, where the CRM keeps them; see `visits` for the others."""

STAGES = Layout(
    "stages",
    {
        "connection": _TEXT,
        "pipeline_id": _TEXT,
        "pipeline": _TEXT,
        "stage_id": _TEXT,
        "native_stage": _TEXT,
        # Place in the pipeline.
        "place": _INT,
        "stage_status": _TEXT,
        "stage_probability": _INT,
        # The common stage, NULL if unmapped.
        "stage": _TEXT,
    },
)
"""Every native stage, and the common stage it is mapped to."""

OUTLINE = Layout(
    "outline",
    {
        "stage": _TEXT,
        "stage_name": _TEXT,
        "stage_order": _INT,
        "common_status": _TEXT,
        # The forecast category of its deals where the CRM tells none; NULL: by probability.
        "stage_category": _TEXT,
        # After how many idle days its deals are stale, and after how many days in it stuck where
        # too few deals tell.
        "stale_days": _INT,
        "max_days": _INT,
    },
)
"""The common stages of the workspace, with what its settings say about them."""

OWNERS = Layout(
    "owners",
    {
        "connection": _TEXT,
        "owner_id": _TEXT,
        "owner_name": _TEXT,
        "owner_email": _TEXT,
        "owner_active": _BOOL,
        # Equal in two CRMs for the same person.
        "owner_key": _TEXT,
        "team": _TEXT,
    },
)

COMPANIES = Layout(
    "companies", {"connection": _TEXT, "company_id": _TEXT, "company": _TEXT, "company_key": _TEXT}
)

RATES = Layout("rates", {"currency": _TEXT, "rate_day": _INT, "rate": Type.WHOLE})
"""One row per currency and day that has a rate."""

PULLS = Layout("pulls", {"connection": _TEXT, "first_us": _INT})
"""Since when the deals of a connection are known."""

LAYOUTS = (DEALS, CHANGES, STAGE_STEPS, STAGES, OUTLINE, OWNERS, COMPANIES, RATES, PULLS)
