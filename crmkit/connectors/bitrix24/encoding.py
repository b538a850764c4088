"""Canonical values as Bitrix24's field values: one function per type, the inverse of reading.

Source: https://apidocs.bitrix24.com/api-reference/crm/data-types.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeAlias

from crmkit.connectors.bitrix24.values import KEY_PREFIX
from crmkit.connectors.translate import FieldError, number
from crmkit.model import CustomValue

Wire: TypeAlias = str | list[str]
KEY_CHARACTERS = 255
_CENT = Decimal("0.01")
_YES = (True, 1, "1", "Y", "y")
_DIGITS = frozenset("0123456789")


class Unwritable(ValueError):
    """A value that Bitrix24 cannot store, with the model's name of its field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def key_pair(key: str) -> dict[str, str]:
    """Our key as `originatorId` and `originId`; `values.key_of` puts it together again.

    Raises:
        Unwritable: It has no two parts, or one of them is too long (255 characters, inferred).
    """
    source, _, origin = key.rpartition(":")
    originator = KEY_PREFIX + source
    if not source or not origin or max(len(originator), len(origin)) > KEY_CHARACTERS:
        raise Unwritable("key", "is not SOURCE:ID of at most 255 characters each")
    return {"originatorId": originator, "originId": origin}


def id_text(value: Any, field: str) -> str:
    """An id of this CRM: digits."""
    text = str(value)
    if not text or not _DIGITS.issuperset(text):
        raise Unwritable(field, "is not an id of this portal")
    return text


def decimal_text(value: Any, field: str) -> str:
    """A number in plain digits, never in scientific notation."""
    try:
        amount = number(value, field)
    except FieldError as error:
        raise Unwritable(field, error.reason) from None
    if amount is None:
        raise Unwritable(field, "is not a number")
    return format(amount, "f")


def day_text(value: Any, field: str) -> str:
    """A day; the portal ignores a date that it cannot read, so only a real one is sent."""
    if not isinstance(value, date) or isinstance(value, datetime):
        raise Unwritable(field, "is not a day")
    return value.isoformat()


def time_text(value: Any, field: str) -> str:
    """An instant with its offset."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise Unwritable(field, "is not an instant with a time zone")
    return value.astimezone(UTC).isoformat(timespec="seconds")


class CustomFields:
    """How custom fields are written, from `crm.item.fields`; without it, by each value's own type.

    Args:
        described: `fields` of `crm.item.fields`, or `None` if it was not read yet.
        currency: The portal's base currency: what money without a currency is in.
    """

    def __init__(self, described: Mapping[str, Any] | None = None, currency: str | None = None) -> None:
        self.described: Mapping[str, Any] = described or {}
        self.known = described is not None
        self._currency = currency

    def multiple(self, name: str) -> bool:
        """Whether a field holds several values."""
        return self._of(name).get("isMultiple") in _YES

    def legacy(self, name: str) -> str | None:
        """The name of any field in the older methods."""
        upper = self._of(name).get("upperName")
        return str(upper) if upper else None

    def wire(self, name: str, value: CustomValue) -> Wire:
        """The value as it is sent; nothing is an empty text.

        Raises:
            Unwritable: There is no such field, or it cannot hold the value.
        """
        field = f"custom.{name}"
        one = self._of(name)
        if self.known and one.get("isDynamic") not in _YES:
            raise Unwritable(field, "Bitrix24 has no such custom field")
        if one.get("isReadOnly") in _YES:
            raise Unwritable(field, "the field is read-only")
        kind = str(one.get("type") or "")
        if kind == "file":
            raise Unwritable(field, "files are not copied")
        if value is None:
            return ""
        if self.known and self.multiple(name):
            several = value if isinstance(value, (tuple, list)) else (value,)
            return [self._single(one, kind, each, field) for each in several]
        if isinstance(value, (tuple, list)):
            if self.known:
                if len(value) != 1:
                    raise Unwritable(field, "the field takes one value")
                return self._single(one, kind, value[0], field)
            return [_plain_text(each, field) for each in value]
        return self._single(one, kind, value, field)

    def holds(self, name: str, value: CustomValue) -> CustomValue:
        """The value as it would be read back."""
        if value in (None, "", ()):
            return None
        one = self._of(name)
        kind = str(one.get("type") or "")
        if isinstance(value, (tuple, list)):
            if self.known and not self.multiple(name) and len(value) == 1:
                return self.holds(name, value[0])
            return tuple(str(each) for each in value if str(each)) or None
        if self.known and self.multiple(name):
            return (_as_read(value),)
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(microsecond=0) if value.tzinfo else value
        if kind == "money" and isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return self._money(value) or value
        if kind == "double" and isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return _rounded(Decimal(value), one.get("settings"))
        return value

    def _money(self, amount: int | Decimal) -> str | None:
        """An amount in the base currency, in the form that a portal gives it back."""
        exact = Decimal(amount)
        if self._currency is None or not exact.is_finite() or abs(exact) >= Decimal(10) ** 20:
            return None
        return f"{exact.quantize(_CENT, ROUND_HALF_UP)}|{self._currency}"

    def _of(self, name: str) -> Mapping[str, Any]:
        one = self.described.get(name)
        return one if isinstance(one, Mapping) else {}

    def _single(self, one: Mapping[str, Any], kind: str, value: Any, field: str) -> str:
        if kind in ("enumeration", "employee", "user"):
            text = id_text(value, field)
            options = _option_ids(one.get("items"))
            if kind == "enumeration" and options and text not in options:
                raise Unwritable(field, "is not an option of this field")
            return text
        if kind == "money" and isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            value = self._money(value) or value
        writer = _WRITERS.get(kind, _plain_text)
        return writer(value, field)


def _option_ids(items: Any) -> set[str]:
    rows = items.values() if isinstance(items, Mapping) else items or ()
    return {str(row["ID"]) for row in rows if isinstance(row, Mapping) and "ID" in row}


def _rounded(amount: Decimal, settings: Any) -> Decimal:
    """A fraction with as many decimals as the field keeps, if it says how many."""
    places = settings.get("PRECISION") if isinstance(settings, Mapping) else None
    if not isinstance(places, (int, str)) or not str(places).isdecimal() or abs(amount) > Decimal(10) ** 15:
        return amount
    return amount.quantize(Decimal(1).scaleb(-min(int(places), 10)), ROUND_HALF_UP)


def _plain_text(value: Any, field: str) -> str:
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, datetime):
        return time_text(value, field)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (str, int)):
        return str(value)
    raise Unwritable(field, f"a {type(value).__name__} cannot be written")


def _as_read(value: Any) -> str:
    return _plain_text(value, "") if isinstance(value, (bool, date, Decimal)) else str(value)


def _whole(value: Any, field: str) -> str:
    text = decimal_text(value, field)
    if Decimal(text) != Decimal(text).to_integral_value():
        raise Unwritable(field, "is not a whole number")
    return format(Decimal(text).to_integral_value(), "f")


def _boolean(value: Any, field: str) -> str:
    if not isinstance(value, bool) and value not in ("Y", "N"):
        raise Unwritable(field, "is neither yes nor no")
    return "Y" if value in (True, "Y") else "N"


def _money(value: Any, field: str) -> str:
    """Amount and currency as `300.00|USD`, which is also how they are read."""
    amount, _, currency = str(value).partition("|")
    decimal_text(amount.strip(), field)
    if len(currency) != 3 or not currency.isalpha():
        raise Unwritable(field, "has no currency code behind the amount")
    return str(value)


def _day(value: Any, field: str) -> str:
    return value if isinstance(value, str) and _is(date.fromisoformat, value) else day_text(value, field)


def _time(value: Any, field: str) -> str:
    return value if isinstance(value, str) and _is(datetime.fromisoformat, value) else time_text(value, field)


def _is(read: Callable[[str], object], text: str) -> bool:
    # The values of a multiple field are texts in the model.
    try:
        read(text)
    except ValueError:
        return False
    return True


_WRITERS: Mapping[str, Callable[[Any, str], str]] = {
    "integer": _whole,
    "double": decimal_text,
    "money": _money,
    "boolean": _boolean,
    "date": _day,
    "datetime": _time,
}


def once(values: Sequence[str]) -> tuple[str, ...]:
    """Texts without the space around them, each once, in order."""
    return tuple(dict.fromkeys(text for one in values if (text := str(one).strip())))
