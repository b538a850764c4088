"""The account's closed lists and custom fields, as writing needs them: from names back to ids.

Source: https://developer.copper.com/custom-fields/general/list-custom-field-definitions.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from crmkit.connectors.copper.values import STRING_LENGTH, Row
from crmkit.model import CustomValue

# What a JSON number keeps exactly, whoever reads it.
_DIGITS = 15
_WHOLE = Decimal(1)
# How a reason begins where a newer list might have what is missing.
UNLISTED = "Copper has no"


class Unfit(ValueError):
    """A value that Copper cannot hold; the text says why, without quoting the value."""


@dataclass(slots=True)
class Book:
    """What was read of the account's lists so far; `None` is not read yet.

    Attributes:
        definitions: Custom field definitions by id, with the kinds that they are available on.
        loss_reasons: Name per id.
        sources: Name per id.
        one_currency: Whether an answer showed that the account does not keep a deal's currency.
    """

    definitions: Mapping[str, Row] | None = None
    loss_reasons: Mapping[int, str] | None = None
    sources: Mapping[int, str] | None = None
    one_currency: bool = False

    def learn_definitions(self, rows: Iterable[Row]) -> None:
        """Take over the answer of `GET /custom_field_definitions`."""
        self.definitions = {str(row["id"]): row for row in rows}


@dataclass(frozen=True, slots=True)
class Account:
    """What a person said about the account, and what was read of it.

    Attributes:
        day_first: Whether close dates are written `DD/MM/YYYY`.
        zone: The account's zone, if known.
        currency: The account's currency, if known.
        book: The lists read so far.
    """

    day_first: bool = False
    zone: ZoneInfo | None = None
    currency: str | None = None
    book: Book = field(default_factory=Book)


def choice_id(names: Mapping[int, str], wanted: str, what: str) -> int:
    """The id behind a name of a closed list, or behind an id as text.

    Raises:
        Unfit: Nothing has that name, or several have.
    """
    exact = [native for native, name in names.items() if name == wanted]
    found = exact or [native for native, name in names.items() if name.casefold() == wanted.casefold()]
    if len(found) == 1:
        return found[0]
    if found:
        raise Unfit(f"{len(found)} {what}s have this name in Copper")
    if wanted.isdecimal() and int(wanted) in names:
        return int(wanted)
    raise Unfit(f"{UNLISTED} {what} of this name; add it in Copper's settings")


def wire_number(value: Any) -> int | msgspec.Raw:
    """A number as exact JSON, never through a float.

    Raises:
        Unfit: It is no number, or has more digits than a JSON number keeps.
    """
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise Unfit("is not a number")
    exact = Decimal(value)
    if not exact.is_finite():
        raise Unfit("is not a finite number")
    digits, exponent = exact.normalize().as_tuple()[1:]
    if len(digits) > _DIGITS or not isinstance(exponent, int) or abs(exponent) > _DIGITS:
        raise Unfit(f"has more than {_DIGITS} digits")
    if exact == exact.to_integral_value():
        return int(exact)
    return msgspec.Raw(format(exact, "f").encode())


def held_custom(definition: Row, value: Any) -> CustomValue:
    """The value of a custom field as reading it back gives it.

    Raises:
        Unfit: The field cannot hold it.
    """
    kind = definition.get("data_type")
    if kind == "Connect":
        raise Unfit("is a Connect field, which is not written")
    if kind == "Checkbox":
        # Copper knows no unset checkbox.
        return _boolean(False if value is None else value)
    if value is None or value in ((), "", []):
        return None
    if kind == "Dropdown":
        return _options(definition)[choice_id(_options(definition), _text(value), "option")]
    if kind == "MultiSelect":
        options = _options(definition)
        parts = value if isinstance(value, (tuple, list)) else (value,)
        return tuple(dict.fromkeys(options[choice_id(options, _text(part), "option")] for part in parts))
    if kind == "Date":
        return _day(value)
    if kind in ("Float", "Currency", "Percentage"):
        wire_number(value)
        exact = Decimal(value)
        return exact.quantize(_WHOLE, ROUND_HALF_UP) if kind == "Percentage" else exact
    text = _text(value)
    if kind == "String" and len(text) > STRING_LENGTH:
        raise Unfit(f"is longer than {STRING_LENGTH} characters")
    return text


def wire_custom(definition: Row, value: Any, zone: ZoneInfo | None) -> Any:
    """The value of a custom field as Copper wants it; `None` clears.

    Raises:
        Unfit: The field cannot hold it.
    """
    held = held_custom(definition, value)
    kind = definition.get("data_type")
    if held is None or isinstance(held, bool):
        return held
    if kind == "Dropdown":
        return choice_id(_options(definition), str(held), "option")
    if kind == "MultiSelect":
        assert isinstance(held, tuple)
        return [choice_id(_options(definition), part, "option") for part in held]
    if kind == "Date":
        assert isinstance(held, date)
        return midnight(held, zone)
    if isinstance(held, Decimal):
        return wire_number(held)
    return held


def midnight(day: date, zone: ZoneInfo | None) -> int:
    """Unix seconds of a day's beginning in the account's zone, as Copper holds custom dates.

    Raises:
        Unfit: The zone is not known: any other midnight would show as the day before or after.
    """
    if zone is None:
        raise Unfit("is a date, and the account's zone is not known: set `time_zone` of this connection")
    return int(datetime.combine(day, time.min, zone).timestamp())


def available(book: Book, entity: str, native: str) -> Row:
    """The definition of a custom field of an entity.

    Raises:
        Unfit: There is none.
    """
    definition = (book.definitions or {}).get(native)
    if definition is None or entity not in (definition.get("available_on") or ()):
        raise Unfit(f"{UNLISTED} such custom field here")
    return definition


def _options(definition: Row) -> dict[int, str]:
    return {int(option["id"]): str(option["name"]) for option in definition.get("options") or ()}


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unfit("is neither true nor false")
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return format(value, "f") if isinstance(value, Decimal) else str(value)
    raise Unfit("is not a text")


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        return value.astimezone(UTC).date()
    if not isinstance(value, date):
        raise Unfit("is not a date")
    return value


def chunks(things: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """The things in groups of at most `size`."""
    return [things[start : start + size] for start in range(0, len(things), size)]
