"""What a written value becomes: parsed by the type of its field, refused, or dropped in silence.

`crm.item.*` refuses what it cannot read; the old calls drop it or bend it, like the PHP casts behind them.
Sources: https://apidocs.bitrix24.com/api-reference/crm/universal/crm-item-add.html,
https://apidocs.bitrix24.com/api-reference/crm/data-types.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final

from crmkit.sandbox.bitrix24.fields import Field
from crmkit.sandbox.bitrix24.php import as_list
from crmkit.sandbox.bitrix24.portal import ZONE, Failure, whole

TITLE_LENGTH = 255
DROPPED: Final = object()
_CENT = Decimal("0.01")
_GERMAN_DAY = re.compile(r"(\d{2})\.(\d{2})\.(\d{4})(?: (\d{2}:\d{2}(?::\d{2})?))?")
_YES, _NO = {"y", "1", "true"}, {"n", "0", "false"}


def refused(name: str) -> Failure:
    """A value that its field cannot have."""
    return Failure("CRM_FIELD_ERROR_VALUE_NOT_VALID", f'Invalid value for field "{name}"')


def required(title: str) -> Failure:
    """A field that may not be empty."""
    return Failure("CRM_FIELD_ERROR_REQUIRED", f'The "{title}" field is required')


def read_value(field: Field, name: str, value: Any, *, strict: bool) -> Any:
    """What a row keeps of a written value: `None` if emptied, `DROPPED` if the value is passed over.

    Args:
        field: Where it goes.
        name: How the call named the field.
        value: As it came: JSON, or text from a query.
        strict: Whether what cannot be read is refused (`crm.item.*`) or passed over.

    Raises:
        Failure: Strict, and the value cannot be read.
    """
    if field.multi:
        return _read_several(field, name, value, strict=strict)
    if isinstance(value, (list, dict)):
        return _bad(name, strict=strict)
    if value is None or value == "":
        return None
    found = _READERS.get(field.type, _text)(value, field)
    return _bad(name, strict=strict) if found is _UNREADABLE else _fitted(found, field, name, strict=strict)


def _read_several(field: Field, name: str, value: Any, *, strict: bool) -> Any:
    if value == "" and (not strict or field.name == "observers"):
        return None
    if not isinstance(value, (list, dict)):
        if strict:
            kind = "null" if value is None else _PHP_TYPES.get(type(value), "string")
            raise Failure("100", f"Expected iterable value for multiple field, but got {kind} instead")
        value = [] if value is None else [value]
    read = _READERS.get(field.type) or _text
    found = [read(one, field) for one in as_list(value) if one not in (None, "")]
    if any(one is _UNREADABLE for one in found):
        if strict:
            raise refused(name)
        found = [one for one in found if one is not _UNREADABLE]
    kept = [one for one in found if one is not DROPPED]
    return tuple(dict.fromkeys(kept)) or None


def _fitted(found: Any, field: Field, name: str, *, strict: bool) -> Any:
    """A value within what its column holds; how a longer one ends is nowhere documented (inferred)."""
    if field.type == "string" and isinstance(found, str) and not field.dynamic and len(found) > TITLE_LENGTH:
        if strict:
            raise refused(name)
        return found[:TITLE_LENGTH]
    if field.name == "probability" and not 0 <= found <= 100:
        if strict:
            raise refused(name)
        return min(max(found, 0), 100)
    return found


def _bad(name: str, *, strict: bool) -> Any:
    if strict:
        raise refused(name)
    return DROPPED


def _text(value: Any, field: Field) -> Any:
    if isinstance(value, (list, dict)):
        return _UNREADABLE
    if isinstance(value, bool):
        return "1" if value else ""
    return str(value)


def _integer(value: Any, field: Field) -> Any:
    number = whole(value)
    return _UNREADABLE if number is None else number


def _decimal(value: Any, field: Field) -> Any:
    if isinstance(value, (bool, list, dict)):
        return _UNREADABLE
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return _UNREADABLE
    if not number.is_finite():
        return _UNREADABLE
    return number if field.dynamic else number.quantize(_CENT, ROUND_HALF_UP)


def _yes_no(value: Any, field: Field) -> Any:
    said = str(value).lower()
    if said not in _YES | _NO:
        return _UNREADABLE
    return (said in _YES) if field.dynamic else ("Y" if said in _YES else "N")


def _moment(value: Any, field: Field) -> Any:
    """A time; one that cannot be read is passed over in every dialect (self-hosted product source)."""
    return read_time(value) or DROPPED


def read_time(value: Any) -> datetime | None:
    """A moment in UTC from ISO text or the portal's own format; without an offset by the server's clock."""
    text = str(value).strip()
    german = _GERMAN_DAY.fullmatch(text)
    if german:
        day, month, year, clock = german.groups()
        text = f"{year}-{month}-{day}T{clock or '00:00'}"
    try:
        moment = datetime.fromisoformat(text.replace(" ", "T", 1))
    except ValueError:
        return None
    return (moment.replace(tzinfo=ZONE) if moment.tzinfo is None else moment).astimezone(UTC)


def _day(value: Any, field: Field) -> Any:
    moment = read_time(value)
    if moment is None:
        return DROPPED
    return _date_of(moment)


def _date_of(moment: datetime) -> date:
    return moment.astimezone(ZONE).date()


def _option(value: Any, field: Field) -> Any:
    known = {option.id for option in field.dynamic.options} if field.dynamic else set()
    return str(value) if str(value) in known else _UNREADABLE


def _money(value: Any, field: Field) -> Any:
    amount, _, currency = str(value).partition("|")
    number = _decimal(amount, field)
    if number is _UNREADABLE:
        return _UNREADABLE
    return f"{number.quantize(_CENT, ROUND_HALF_UP)}|{currency}"


_UNREADABLE: Final = object()
_PHP_TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", Decimal: "double", float: "double"}
_READERS: Mapping[str, Callable[[Any, Field], Any]] = {
    "integer": _integer,
    "user": _integer,
    "employee": _integer,
    "crm_company": _integer,
    "crm_contact": _integer,
    "crm_category": _integer,
    "crm_lead": _integer,
    "crm_quote": _integer,
    "double": _decimal,
    "uf_double": _decimal,
    "boolean": _yes_no,
    "uf_boolean": _yes_no,
    "datetime": _moment,
    "date": _day,
    "enumeration": _option,
    "money": _money,
}
