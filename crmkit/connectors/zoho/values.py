"""Single values: from the model to what Zoho stores, and as Zoho gives them back. No calls.

Each type has two functions: `encode` gives what is sent and raises `CannotHold`; `held`
gives the value as a read would bring it after that, for any value at all.

Source: https://www.zoho.com/crm/developer/docs/api/v8/field-meta.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeAlias

import msgspec

Meta: TypeAlias = Mapping[str, Any]
_BLANK = " \t\r\n"
_DECIMALS = 2
_MOST_DECIMALS = 9
# `bigint` and `autonumber` are texts on the wire although they hold digits.
_TEXTS = {"text", "textarea", "email", "phone", "website"}
_WHOLE = {"integer"}
_NUMBERS = {"double", "percent", "currency"}
_LINKS = {"lookup", "ownerlookup", "userlookup"}


class CannotHold(ValueError):
    """Zoho cannot store a value; the text says why, without quoting it."""


def encode(value: Any, meta: Meta) -> Any:
    """A value of a custom field as it is sent; `None` clears the field.

    Raises:
        CannotHold: The field cannot store it.
    """
    kind = meta.get("data_type")
    if value is None or value in ("", ()):
        if kind == "boolean":
            raise CannotHold("a check box of Zoho is never empty")
        return None
    encoder = _ENCODERS.get(str(kind))
    if encoder is None:
        raise CannotHold(f"a field of type {kind} cannot be written")
    return encoder(value, meta)


def held(value: Any, meta: Meta) -> Any:
    """A value of a custom field as a read would bring it."""
    kind = meta.get("data_type")
    if isinstance(value, str):
        return trimmed(value) if kind in _TEXTS else value or None
    if isinstance(value, Decimal) and kind in _NUMBERS | _WHOLE:
        return rounded(value, meta) if kind in _NUMBERS else _as_whole(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(microsecond=0)
    return None if value == () else value


def trimmed(value: str) -> str | None:
    """A text without blanks around it; `None` if nothing is left.

    Zoho does not say whether it trims: trimmed before it is sent, it is the same either way.
    """
    return value.strip(_BLANK) or None


def text(value: Any, meta: Meta) -> str | None:
    """A text as it is sent.

    Raises:
        CannotHold: It is longer than the field; Zoho would refuse it too.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise CannotHold("is not a text")
    short = trimmed(value)
    longest = meta.get("length")
    if short and isinstance(longest, int) and 0 < longest < len(short):
        raise CannotHold(f"is {len(short)} characters long, and the field takes {longest}")
    return short


def choice(value: Any, meta: Meta) -> str | None:
    """A choice as it is sent: its actual value.

    Raises:
        CannotHold: The picklist does not have it. Zoho would store some of them all the
            same (as it does with stages), which no filter or report there would find.
    """
    if value is None or value == "":
        return None
    options = _options(meta)
    if not isinstance(value, str) or (options and value not in options):
        raise CannotHold("is not one of the field's choices")
    return value


def rounded(value: Decimal, meta: Meta) -> Decimal:
    """A number with the field's decimals, half away from zero; whole ones stay short."""
    if not value.is_finite():
        return value
    places = meta.get("decimal_place")
    if not isinstance(places, int) or not 0 <= places <= _MOST_DECIMALS:
        places = _DECIMALS
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -places:
        return value
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def number(value: Any, meta: Meta) -> Any:
    """A number as it is sent: exactly, never through a float."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise CannotHold("is not a number")
    exact = rounded(Decimal(value), meta)
    if not exact.is_finite():
        raise CannotHold("is not a finite number")
    if exact == exact.to_integral_value():
        return int(exact)
    return msgspec.Raw(format(exact, "f").encode())


def percent(value: Any) -> int | None:
    """A probability from 0 to 1 as whole percent.

    Raises:
        CannotHold: It is not in that range.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= 1:
        raise CannotHold("is not between 0 and 1")
    return int((Decimal(value) * 100).to_integral_value(ROUND_HALF_UP))


def day(value: Any) -> str | None:
    """A bare day as it is sent."""
    if value is None:
        return None
    if not isinstance(value, date) or isinstance(value, datetime):
        raise CannotHold("is not a day")
    return value.isoformat()


def link(value: Any) -> Mapping[str, str] | None:
    """A lookup as it is sent: `{"id"}`."""
    if value is None:
        return None
    if not isinstance(value, str) or not (value.isascii() and value.isdigit()):
        raise CannotHold("is not an id of Zoho")
    return {"id": value}


def _moment(value: Any) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise CannotHold("is not a time with an offset")
    return value.astimezone(UTC).isoformat(timespec="seconds")


def _as_whole(value: Decimal) -> Decimal | int:
    return int(value) if value.is_finite() and value == value.to_integral_value() else value


def _whole(value: Any) -> int:
    whole = _as_whole(value) if isinstance(value, Decimal) else value
    if isinstance(whole, bool) or not isinstance(whole, int):
        raise CannotHold("is not a whole number")
    return whole


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CannotHold("is neither true nor false")
    return value


def _choices(value: Any, meta: Meta) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise CannotHold("is not a list of choices")
    options = _options(meta)
    wanted = list(value)
    if not all(isinstance(one, str) and (not options or one in options) for one in wanted):
        raise CannotHold("has a choice that the field does not have")
    return wanted


def _options(meta: Meta) -> set[str]:
    return {str(value["actual_value"]) for value in meta.get("pick_list_values") or ()}


_ENCODERS: Mapping[str, Callable[[Any, Meta], Any]] = {
    **dict.fromkeys(_TEXTS, text),
    **dict.fromkeys(_NUMBERS, number),
    **dict.fromkeys(_WHOLE, lambda value, _: _whole(value)),
    **dict.fromkeys(_LINKS, lambda value, _: link(value)),
    "bigint": lambda value, _: str(_whole(value)),
    "boolean": lambda value, _: _flag(value),
    "date": lambda value, _: day(value),
    "datetime": lambda value, _: _moment(value),
    "picklist": choice,
    "multiselectpicklist": _choices,
}
