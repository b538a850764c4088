"""Which columns to ask for, and how to read the custom ones, from Zoho's field metadata.

Source: https://www.zoho.com/crm/developer/docs/api/v8/field-meta.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crmkit.connectors.base import Field
from crmkit.connectors.translate import FieldError, day, instant, number, text
from crmkit.model import CustomValue, Kind

Reader = Callable[[Any, str], CustomValue]

COLUMNS_PER_QUERY = 50
KEY_FIELD = "Crmkit_Key"

MODULES: Mapping[Kind, str] = {
    Kind.DEAL: "Deals",
    Kind.COMPANY: "Accounts",
    Kind.CONTACT: "Contacts",
    Kind.STAGE_CHANGE: "DealHistory",
    Kind.NOTE: "Notes",
}
# The columns that records.py reads, where the module has them.
_STANDARD: Mapping[Kind, tuple[str, ...]] = {
    Kind.DEAL: (
        "Deal_Name",
        "Stage",
        "Pipeline",
        "Amount",
        "Currency",
        "Probability",
        "Owner",
        "Account_Name",
        "Contact_Name",
        "Closing_Date",
        "Created_Time",
        "Modified_Time",
        "Last_Activity_Time",
        "Stage_Modified_Time",
        "Lead_Source",
        "Reason_For_Loss__s",
        "Tag",
        KEY_FIELD,
    ),
    Kind.COMPANY: (
        "Account_Name",
        "Website",
        "Phone",
        "Owner",
        "Billing_City",
        "Billing_Country",
        "Billing_Code",
        "Created_Time",
        "Modified_Time",
        KEY_FIELD,
    ),
    Kind.CONTACT: (
        "Full_Name",
        "First_Name",
        "Last_Name",
        "Email",
        "Secondary_Email",
        "Phone",
        "Mobile",
        "Home_Phone",
        "Other_Phone",
        "Account_Name",
        "Owner",
        "Mailing_City",
        "Mailing_Country",
        "Mailing_Zip",
        "Created_Time",
        "Modified_Time",
        KEY_FIELD,
    ),
}
STANDARD_NAMES = frozenset(name for names in _STANDARD.values() for name in names)
# Asked for even where the metadata does not list them: every record has them.
_ALWAYS: Mapping[Kind, frozenset[str]] = {
    Kind.DEAL: frozenset({"Deal_Name", "Stage", "Modified_Time"}),
    Kind.COMPANY: frozenset({"Account_Name", "Modified_Time"}),
    Kind.CONTACT: frozenset({"Last_Name", "Modified_Time"}),
}
# Neither lists nor COQL give these; only a GET of one record does.
_ONLY_BY_ID = {
    "subform",
    "multiselectlookup",
    "multiuserlookup",
    "multi_module_lookup",
    "fileupload",
    "imageupload",
}
_FIELD_TYPES: Mapping[str, str] = {
    "text": "text",
    "textarea": "text",
    "email": "text",
    "phone": "text",
    "website": "text",
    "autonumber": "text",
    "bigint": "number",
    "integer": "number",
    "double": "number",
    "percent": "number",
    "currency": "money",
    "boolean": "boolean",
    "date": "day",
    "datetime": "time",
    "picklist": "choice",
    "multiselectpicklist": "choices",
    "ownerlookup": "owner",
    "userlookup": "owner",
    "lookup": "link",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """What to select for one kind.

    Attributes:
        passes: Columns per query; more than one when the module has too many fields. The
            first pass holds all that is not custom.
        custom: Name and reader of each custom field.
    """

    passes: tuple[tuple[str, ...], ...]
    custom: tuple[tuple[str, Reader], ...]


def plan(kind: Kind, metadata: Sequence[Mapping[str, Any]]) -> Columns:
    """The columns of a kind, given the metadata of its fields."""
    listed = {field["api_name"] for field in metadata}
    always = _ALWAYS[kind]
    standard = [name for name in _STANDARD[kind] if name in listed or name in always]
    custom = [
        (field["api_name"], custom_reader(field))
        for field in metadata
        if field.get("custom_field") is True
        and field.get("visible") is not False
        and field["api_name"] != KEY_FIELD
        and field.get("data_type") not in _ONLY_BY_ID
    ]
    names = standard + [name for name, _ in custom]
    passes = tuple(
        tuple(names[start : start + COLUMNS_PER_QUERY]) for start in range(0, len(names), COLUMNS_PER_QUERY)
    )
    return Columns(passes, tuple(custom))


def to_field(meta: Mapping[str, Any], required: Collection[str] = ()) -> Field:
    """A field as callers see it; `required` are those that a layout demands."""
    kind = _FIELD_TYPES.get(str(meta.get("data_type")), "other")
    values = meta.get("pick_list_values") or ()
    length = meta.get("length")
    return Field(
        id=meta["api_name"],
        label=str(meta.get("field_label") or meta["api_name"]),
        type=kind,
        custom=meta.get("custom_field") is True,
        required=meta.get("system_mandatory") is True or meta["api_name"] in required,
        read_only=meta.get("read_only") is True or meta.get("field_read_only") is True,
        unique=bool(meta.get("unique")),
        max_length=length if isinstance(length, int) and kind == "text" else None,
        # A record holds the actual value; people see the display value.
        options={str(value["actual_value"]): str(value["display_value"]) for value in values},
    )


def custom_reader(meta: Mapping[str, Any]) -> Reader:
    """How to read the values of a custom field."""
    data_type = meta.get("data_type")
    if data_type in _READERS:
        return _READERS[str(data_type)]
    # Formulas and roll-ups say what they hold in json_type only.
    return _READERS_BY_JSON.get(str(meta.get("json_type")), _anything)


def lookup_id(value: Any, field: str) -> str | None:
    """The id of a lookup: `{"id", "name"}`, or `None`."""
    if value is None:
        return None
    if type(value) is dict:
        native = value.get("id")
        if type(native) is str:
            return native or None
    raise FieldError(field, "is not a lookup")


def _whole(value: Any, field: str) -> CustomValue:
    if type(value) is int:
        return value
    amount = number(value, field)
    if amount is None:
        return None
    if amount != int(amount):
        raise FieldError(field, "is not a whole number")
    return int(amount)


def _number(value: Any, field: str) -> CustomValue:
    return value if type(value) is Decimal else number(value, field)


def _flag(value: Any, field: str) -> CustomValue:
    if value is None or isinstance(value, bool):
        return value
    raise FieldError(field, "is neither true nor false")


def _choices(value: Any, field: str) -> CustomValue:
    if value is None or value in ("", []):
        return None
    if not isinstance(value, list):
        raise FieldError(field, "is not a list of choices")
    return tuple(_name_or_text(choice, field) for choice in value) or None


def _name_or_text(value: Any, field: str) -> str:
    if isinstance(value, dict):
        value = value.get("id") or value.get("name")
    if not isinstance(value, str):
        raise FieldError(field, "holds something that is not a text")
    return value


def _link(value: Any, field: str) -> CustomValue:
    return value or None if isinstance(value, str) else lookup_id(value, field)


def _anything(value: Any, field: str) -> CustomValue:
    if isinstance(value, dict):
        return lookup_id(value, field)
    if isinstance(value, list):
        return _choices(value, field)
    if value is None or isinstance(value, bool):
        return value
    return text(value, field) if isinstance(value, str) else number(value, field)


_READERS: Mapping[str, Reader] = {
    "text": text,
    "textarea": text,
    "email": text,
    "phone": text,
    "website": text,
    "picklist": text,
    "autonumber": text,
    "bigint": _whole,
    "integer": _whole,
    "double": _number,
    "percent": _number,
    "currency": _number,
    "boolean": _flag,
    "date": day,
    "datetime": instant,
    "multiselectpicklist": _choices,
    "lookup": _link,
    "ownerlookup": _link,
    "userlookup": _link,
}
_READERS_BY_JSON: Mapping[str, Reader] = {
    "string": text,
    "integer": number,
    "double": _number,
    "long": number,
    "boolean": _flag,
    "jsonarray": _choices,
    "jsonobject": _link,
}
