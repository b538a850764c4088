"""Custom values as a write brings them, checked against their definitions.

Source: https://developer.copper.com/introduction/best_practices.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from crmkit.sandbox.copper.seed import data_type_of
from crmkit.sandbox.copper.validation import Form, decimal_of, id_of
from crmkit.sandbox.rows import CustomField

_LONGEST_STRING = 255


class _Unfit(Exception):
    """A value that the definition does not allow."""


def custom_values(form: Form, fields: Mapping[str, CustomField], zone: str) -> dict[str, Any]:
    """The values given, by `CustomField.key`; `None` clears one, and those not given stay (inferred)."""
    listed = form.body.get("custom_fields")
    if listed is None:
        return {}
    if not isinstance(listed, list):
        form.wrong("custom_fields")
        return {}
    by_id = {field.id: field for field in fields.values()}
    found: dict[str, Any] = {}
    for part in listed:
        said = part.get("custom_field_definition_id") if isinstance(part, dict) else None
        field = by_id.get(id_of(said) or "")
        if field is None:
            form.wrong("custom_fields", f"custom_field_definition_id {said} is invalid")
            continue
        if data_type_of(field) == "Connect":
            continue  # set by /related_links only
        try:
            found[field.key] = _value(field, part.get("value"), zone)
        except _Unfit as unfit:
            form.wrong("custom_fields", f"{field.label} {unfit}")
    return found


def _value(field: CustomField, value: Any, zone: str) -> Any:
    data_type = data_type_of(field)
    if data_type == "MultiSelect":
        return _options(field, value if isinstance(value, list) else [] if value is None else [value]) or None
    if value is None:
        return None
    if data_type == "Dropdown":
        return _options(field, [value])[0]
    if data_type in {"String", "Text", "URL"}:
        return _text(value, _LONGEST_STRING if data_type == "String" else None)
    if data_type == "Checkbox":
        if not isinstance(value, bool):
            raise _Unfit("is not true or false")
        return value
    if data_type == "Date":
        return _day(value, zone)
    number = decimal_of(value)
    if number is None:
        raise _Unfit("is not a number")
    if data_type == "Percentage" and number != int(number):
        raise _Unfit("must be an integer")
    return int(number) if number == int(number) else number


def _options(field: CustomField, values: list[Any]) -> tuple[str, ...]:
    known = {option.id for option in field.options}
    chosen = [id_of(value) for value in values]
    if any(option_id not in known for option_id in chosen):
        raise _Unfit("is not an option")
    return tuple(dict.fromkeys(option_id for option_id in chosen if option_id))


def _text(value: Any, most: int | None) -> str | None:
    if not isinstance(value, str):
        raise _Unfit("is not a text")
    if most is not None and len(value) > most:
        raise _Unfit(f"is too long (maximum is {most} characters)")
    return value or None  # an empty text reads back as null (inferred)


def _day(value: Any, zone: str) -> Any:
    number = decimal_of(value)
    if number is None:
        raise _Unfit("is not a valid timestamp")
    try:
        # Only the day is kept, as the account's zone has it: midnight UTC there is the day before.
        return datetime.fromtimestamp(int(number), ZoneInfo(zone)).date()
    except (OverflowError, OSError, ValueError):
        raise _Unfit("is not a valid timestamp") from None
