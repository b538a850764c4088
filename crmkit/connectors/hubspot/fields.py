"""A portal's fields in crmkit's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crmkit.connectors.base import Field
from crmkit.connectors.hubspot.schema import by_hubspot
from crmkit.model import Kind

_FIELD_TYPES = {
    "string": "text",
    "phone_number": "text",
    "bool": "boolean",
    "date": "day",
    "datetime": "time",
}
_REQUIRED = {Kind.DEAL: ("dealname", "dealstage", "pipeline"), Kind.NOTE: ("hs_timestamp",)}


def describe(kind: Kind, rows: Sequence[Mapping[str, Any]]) -> list[Field]:
    """The fields of a kind in crmkit's words."""
    return [_describe(kind, row) for row in rows if not row.get("archived")]


def _describe(kind: Kind, row: Mapping[str, Any]) -> Field:
    modification = row.get("modificationMetadata") or {}
    # A boolean lists its two values in the portal's words, which say nothing more.
    options = () if row.get("type") == "bool" else row.get("options") or ()
    return Field(
        id=row["name"],
        label=row.get("label") or row["name"],
        type=_field_type(row),
        custom=not by_hubspot(row),
        required=row["name"] in _REQUIRED.get(kind, ()),
        read_only=bool(row.get("calculated") or modification.get("readOnlyValue")),
        unique=bool(row.get("hasUniqueValue")),
        max_length=65_536 if row.get("type") == "string" else None,
        options={
            str(option["value"]): str(option.get("label", ""))
            for option in options
            if isinstance(option, dict) and "value" in option
        },
    )


def _field_type(row: Mapping[str, Any]) -> str:
    if row.get("referencedObjectType") == "OWNER":
        return "owner"
    if row.get("referencedObjectType"):
        return "link"
    kind = row.get("type")
    if kind == "number":
        if row["name"].endswith("_id"):
            return "text"
        return "money" if _is_money(row) else "number"
    if kind == "enumeration":
        return "choices" if row.get("fieldType") == "checkbox" else "choice"
    return _FIELD_TYPES.get(kind or "", "other")


def _is_money(row: Mapping[str, Any]) -> bool:
    shown = row.get("showCurrencySymbol") or row.get("numberDisplayHint") == "currency"
    return bool(shown or row.get("currencyPropertyName"))
