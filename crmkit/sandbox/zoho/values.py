"""What a field takes: one JSON value checked against the type, the length and the picklist of its field.

What Zoho leaves open: the words of `expected_data_type` beyond `integer`, and which picklists are checked.
Here those the organisation added are, the standard ones are not (a Stage is recorded as unchecked).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from crmkit.sandbox.zoho.org import Org, read_day, read_time
from crmkit.sandbox.zoho.schema import Field

TABLES = {"Accounts": "company", "Contacts": "contact", "Deals": "deal", "users": "user"}
_EXPECTED = {
    "currency": "double",
    "percent": "double",
    "picklist": "text",
    "multiselectpicklist": "jsonarray",
}
_EXPECTED |= {"lookup": "jsonobject", "ownerlookup": "jsonobject", "phone": "text", "website": "text"}
_EXPECTED |= {"textarea": "text"}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_WHOLE_MOST, _NUMBER_MOST = 18, 16  # digits; Zoho gives no number for these types


class Wrong(Exception):
    """A value or a row that Zoho refuses: its code, what the details say besides the field, the message."""

    def __init__(self, code: str, message: str = "invalid data", **details: Any) -> None:
        super().__init__(code)
        self.code, self.message, self.details = code, message, details


def read_value(org: Org, field: Field, value: Any) -> Any:
    """What a row of our world holds for a value of JSON; `None` for null and for empty text.

    Raises:
        Wrong: The field does not take it.
    """
    if value is None or value == "":
        return None
    read = _READERS.get(field.type)
    return _text(org, field, value) if read is None else read(org, field, value)


def _text(org: Org, field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise _unexpected(field)
    if len(value) > field.length:
        raise Wrong("INVALID_DATA", maximum_length=field.length)
    return value


def _email(org: Org, field: Field, value: Any) -> str:
    text = _text(org, field, value)
    if not _EMAIL.fullmatch(text):
        raise _unexpected(field)
    return text


def _number(org: Org, field: Field, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _unexpected(field)
    amount = Decimal(value)
    if amount.adjusted() >= _NUMBER_MOST:
        raise Wrong("INVALID_DATA", maximum_length=_NUMBER_MOST)
    return amount


def _integer(org: Org, field: Field, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unexpected(field)
    most = field.limit or _WHOLE_MOST
    if len(str(abs(value))) > most:
        raise Wrong("INVALID_DATA", maximum_length=most)
    return value


def _bigint(org: Org, field: Field, value: Any) -> str:
    if not str(value).removeprefix("-").isdecimal():
        raise _unexpected(field)
    return str(value)


def _boolean(org: Org, field: Field, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _unexpected(field)
    return value


def _day(org: Org, field: Field, value: Any) -> Any:
    day = read_day(value) if isinstance(value, str) and _DAY.fullmatch(value) else None
    if day is None:
        raise _unexpected(field)
    return day


def _time(org: Org, field: Field, value: Any) -> Any:
    moment = read_time(value) if isinstance(value, str) else None
    if moment is None:
        raise _unexpected(field)
    return moment.replace(microsecond=0)


def _pick(org: Org, field: Field, value: Any) -> str:
    return _option(org, field, _text(org, field, value))


def _picks(org: Org, field: Field, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise _unexpected(field)
    return tuple(dict.fromkeys(_option(org, field, part) for part in value))


def _option(org: Org, field: Field, value: str) -> str:
    """What a row holds for a label: the option's id if the organisation added the field."""
    if field.custom is not None:
        for option in field.custom.options:
            if option.label == value:
                return option.id
    checked = field.custom is not None and org.settings.extra.get("strict_picklists", True)
    if (checked or field.name == "Currency") and value not in (field.picks or ()):
        raise Wrong("INVALID_DATA", supported_values=list(field.picks or ()))
    return value


def _lookup(org: Org, field: Field, value: Any) -> str:
    """The id; the name beside it is of no account. Nobody inactive can become an owner (inferred)."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str | int):
        raise _unexpected(field)
    record_id = str(value["id"])
    table: Mapping[str, Any] = org.world.live.tables.get(TABLES.get(field.lookup or ""), {})  # type: ignore[call-overload]
    row = table.get(record_id)
    if row is None or (field.lookup == "users" and not row.active):
        raise Wrong("INVALID_DATA", "the related id given seems to be invalid")
    return record_id


def _unexpected(field: Field) -> Wrong:
    return Wrong("INVALID_DATA", expected_data_type=_EXPECTED.get(field.type, field.type))


_READERS: Mapping[str, Callable[[Org, Field, Any], Any]] = {
    "email": _email,
    "currency": _number,
    "double": _number,
    "percent": _number,
    "integer": _integer,
    "bigint": _bigint,
    "boolean": _boolean,
    "date": _day,
    "datetime": _time,
    "picklist": _pick,
    "multiselectpicklist": _picks,
    "lookup": _lookup,
    "ownerlookup": _lookup,
}
