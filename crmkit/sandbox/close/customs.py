"""Custom values as they are written: `custom.<cf_id>`, and `.add` / `.remove` for one of several values.

What Close says to a value that its field does not take is not published: 400 with the key (inferred).
Values by the name of a field, and the `custom` map, are deprecated and refused here.
Source: https://developer.close.com/api/resources/custom-fields
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from crmkit.sandbox.close.bodies import NO_SUCH_OBJECT, Body, read_stored_moment
from crmkit.sandbox.close.seed import DEAL_NAME, ROLE_ID
from crmkit.sandbox.rows import CustomField, FieldType, Kind
from crmkit.sandbox.world import World

# The custom fields in which a kind shows what our rows hold as fields of their own.
NATIVE: Mapping[Kind, Mapping[str, str]] = {
    "deal": {DEAL_NAME: "name", "source": "source", "tags": "tags", "lost_reason": "lost_reason"},
    "company": {"phone": "phone", "owner": "owner_id"},
    "contact": {},
}
WIRE_TYPES: Mapping[FieldType, str] = {
    "text": "text",
    "number": "number",
    "date": "date",
    "picklist": "choices",
    "multiselect": "choices",
    "checkbox": "choices",
}
_EMPTY: Mapping[str, Any] = {"name": "", "tags": ()}


def wire_type(field: CustomField) -> str:
    """A field's type as Close calls it."""
    return str(field.extra.get("type", WIRE_TYPES[field.type]))


def takes_several(field: CustomField) -> bool:
    """Whether a field `accepts_multiple_values`."""
    return field.type == "multiselect" or bool(field.extra.get("multiple"))


def native_value(kind: Kind, row: Any, field: CustomField) -> Any:
    """What a record holds for a custom field."""
    native = NATIVE[kind].get(field.key)
    return row.custom.get(field.key) if native is None else getattr(row, native)


def put_value(kind: Kind, fields: dict[str, Any], field: CustomField, value: Any) -> None:
    """Add a custom value to what is written into a record; `None` clears it."""
    native = NATIVE[kind].get(field.key)
    if native is None:
        fields.setdefault("custom", {})[field.key] = value
    else:
        fields[native] = _EMPTY.get(native) if value is None else value


def read_customs(
    world: World,
    by_id: Mapping[str, CustomField],
    kind: Kind,
    body: Body,
    fields: dict[str, Any],
    row: Any | None,
) -> None:
    """Add the custom values of a body to the fields of a row; `row` is the record as it is, if it exists."""
    current: dict[str, Any] = {}
    for key, said in body.said.items():
        if not key.startswith("custom."):
            continue
        field_id, _, way = key.removeprefix("custom.").partition(".")
        field = by_id.get(field_id)
        if field is None or way not in {"", "add", "remove"}:
            body.wrong(key, "Unknown custom field.")
            continue
        roles = field.extra.get("editable_with_roles")
        if roles and ROLE_ID not in roles:
            body.wrong(key, "Your role may not edit this field.")
            continue
        try:
            if way:
                if row is None or not takes_several(field):
                    raise ValueError("Only a list of values can be added to or removed from.")
                held = current.get(field.id, native_value(kind, row, field) or ())
                value = _with_or_without(world, field, held, said, way)
            else:
                value = _read(world, field, said)
        except ValueError as error:
            body.wrong(key, str(error))
            continue
        current[field.id] = value or ()
        put_value(kind, fields, field, value)


def _with_or_without(world: World, field: CustomField, held: tuple[Any, ...], said: Any, way: str) -> Any:
    one = _read_one(world, field, said)
    others = tuple(value for value in held if value != one)
    if way == "add":
        return held if one in held else (*held, one)
    return others or None


def _read(world: World, field: CustomField, said: Any) -> Any:
    if said is None or said in ("", []):
        return None
    if takes_several(field):
        if not isinstance(said, list):
            raise ValueError("Expected a list of values.")
        return tuple(dict.fromkeys(_read_one(world, field, one) for one in said))
    return _read_one(world, field, said)


def _read_one(world: World, field: CustomField, said: Any) -> Any:
    kind = wire_type(field)
    if kind == "number":
        if isinstance(said, bool) or not isinstance(said, int | Decimal):
            raise ValueError("Expected a number.")
        return said
    if not isinstance(said, str):
        raise ValueError("Expected a string.")
    if kind == "date":
        return _day(said)
    if kind == "datetime":
        return _moment(said)
    if kind == "choices":
        if said not in {option.label for option in field.options}:
            raise ValueError(f"Not a valid choice: {said}.")
        return said == "Yes" if field.type == "checkbox" else said
    if (kind == "user" and said not in world.users) or (kind == "contact" and said not in world.contacts):
        raise ValueError(NO_SUCH_OBJECT)
    return said


def _day(said: str) -> date:
    try:
        return datetime.strptime(said, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise ValueError("Expected a date: YYYY-MM-DD.") from None


def _moment(said: str) -> datetime:
    try:
        return read_stored_moment(said)
    except ValueError:
        raise ValueError("Expected an ISO 8601 date-time.") from None
