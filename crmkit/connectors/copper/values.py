"""What Copper's ids and values stand for: days, options, custom fields.

Source: https://developer.copper.com/custom-fields/general/list-custom-field-definitions.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from crmkit.connectors.base import Field
from crmkit.connectors.translate import FieldError, number, text
from crmkit.model import CustomValue, Kind

Row = dict[str, Any]
Reader: TypeAlias = Callable[[Any, str], CustomValue]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STRING_LENGTH = 255
_TYPES = {
    "String": "text",
    "Text": "text",
    "URL": "text",
    "Dropdown": "choice",
    "MultiSelect": "choices",
    "Date": "day",
    "Checkbox": "boolean",
    "Float": "number",
    "Percentage": "number",
    "Currency": "money",
    "Connect": "link",
}
FIXED_FIELDS: dict[Kind, tuple[tuple[str, str, bool], ...]] = {
    Kind.DEAL: (
        ("name", "text", True),
        ("primary_contact_id", "link", True),
        ("company_id", "link", False),
        ("assignee_id", "owner", False),
        ("pipeline_id", "choice", False),
        ("pipeline_stage_id", "choice", False),
        ("status", "choice", False),
        ("loss_reason_id", "choice", False),
        ("customer_source_id", "choice", False),
        ("priority", "choice", False),
        ("win_probability", "number", False),
        ("monetary_value", "money", False),
        ("close_date", "day", False),
        ("details", "text", False),
        ("tags", "choices", False),
        ("date_created", "time", False),
        ("date_modified", "time", False),
    ),
    Kind.COMPANY: (
        ("name", "text", True),
        ("email_domain", "text", False),
        ("phone_numbers", "other", False),
        ("address", "other", False),
        ("assignee_id", "owner", False),
        ("tags", "choices", False),
        ("date_created", "time", False),
        ("date_modified", "time", False),
    ),
    Kind.CONTACT: (
        ("name", "text", True),
        ("emails", "other", False),
        ("phone_numbers", "other", False),
        ("address", "other", False),
        ("company_id", "link", False),
        ("assignee_id", "owner", False),
        ("tags", "choices", False),
        ("date_created", "time", False),
        ("date_modified", "time", False),
    ),
}


_STAMPS = frozenset({"date_created", "date_modified"})
# No two people have an e-mail address, no two companies a domain in common.
_UNIQUE = frozenset({"emails", "email_domain"})
_WORDS: dict[str, dict[str, str]] = {
    name: {word: word for word in words}
    for name, words in (
        ("status", ("Open", "Won", "Lost", "Abandoned")),
        ("priority", ("None", "Low", "Medium", "High")),
    )
}


class Days:
    """Reads the two spellings of a day that Copper has.

    Args:
        day_first: Whether the account writes `D/M/YYYY`; the API does not tell.
        zone: The account's zone, if known.
    """

    def __init__(self, *, day_first: bool, zone: ZoneInfo | None) -> None:
        self._day_first = day_first
        self._zone = zone
        self._written: dict[str, date] = {}
        self._counted: dict[int, date] = {}
        self._noons: dict[date, datetime] = {}

    def written(self, value: Any, name: str) -> date | None:
        """A `close_date`: `M/D/YYYY`, or `D/M/YYYY` in a day-first account.

        Raises:
            FieldError: It is not a day, or not in this order.
        """
        if value is None or value == "":
            return None
        known = self._written.get(value) if isinstance(value, str) else None
        if known is None:
            known = self._written[value] = self._read(value, name)
        return known

    def _read(self, value: Any, name: str) -> date:
        try:
            first, second, year = (int(part) for part in value.split("/"))
        except (AttributeError, ValueError):
            raise FieldError(name, "is not a day (M/D/YYYY)") from None
        day, month = (first, second) if self._day_first else (second, first)
        if month > 12 >= day:
            order, other = ("D/M", "false") if self._day_first else ("M/D", "true")
            raise FieldError(name, f"is not {order}/YYYY: set `day_first = {other}` for this connection")
        try:
            return date(year, month, day)
        except ValueError:
            raise FieldError(name, "is not a day that exists") from None

    def counted(self, value: Any, name: str) -> date | None:
        """A custom date: Unix seconds at the account's midnight.

        Without the zone it is guessed from the hour: right for all zones from -10 (Hawaii) to
        +13 hours (New Zealand in summer). With it, anything but a midnight (or the hour beside
        it, where summer time takes midnight away) shows that the zone is wrong.

        Raises:
            FieldError: It is no such number.
        """
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise FieldError(name, f"is a {type(value).__name__}, not Unix seconds")
        known = self._counted.get(int(value))
        if known is None:
            known = self._counted[int(value)] = self._count(int(value), name)
        return known

    def _count(self, seconds: int, name: str) -> date:
        try:
            moment = _EPOCH + timedelta(seconds=seconds)
            if self._zone is None:
                # 11:00Z and 12:00Z are midnight in New Zealand, where more accounts are than at
                # -11 and -12 hours: from 11:00Z on the next day has begun.
                return (moment + timedelta(hours=13)).date()
            local = moment.astimezone(self._zone)
        except OverflowError:
            raise FieldError(name, "is not a time that can be") from None
        if local.hour in (0, 23) or (local.hour, local.minute) == (1, 0):
            return (local + timedelta(hours=1)).date() if local.hour == 23 else local.date()
        raise FieldError(name, f"is not a midnight in {self._zone.key}: check `time_zone` of this connection")

    def noon(self, day: date) -> datetime:
        """The middle of a day in the account's zone, in UTC."""
        known = self._noons.get(day)
        if known is None:
            local = datetime.combine(day, time(12), self._zone or UTC)
            known = self._noons[day] = local.astimezone(UTC)
        return known


@dataclass(frozen=True, slots=True)
class Names:
    """What ids in rows stand for, looked up once per read.

    Attributes:
        readers: Per custom field definition: its id as text and how to read a value.
        loss_reasons: Name per id.
        sources: Name per id.
        days: How days are read.
        currency: The account's currency, for deals that name none.
    """

    readers: Mapping[int, tuple[str, Reader]] = field(default_factory=dict)
    loss_reasons: Mapping[int, str] = field(default_factory=dict)
    sources: Mapping[int, str] = field(default_factory=dict)
    days: Days = field(default_factory=lambda: Days(day_first=False, zone=None))
    currency: str | None = None


def readers(definitions: Iterable[Row], days: Days) -> dict[int, tuple[str, Reader]]:
    """How to read the value of each custom field."""
    return {int(row["id"]): (str(row["id"]), _reader(row, days)) for row in definitions}


def _reader(definition: Row, days: Days) -> Reader:
    options = {int(option["id"]): str(option["name"]) for option in definition.get("options") or ()}

    def choice(value: Any, name: str) -> CustomValue:
        return _option(value, name, options)

    def choices(value: Any, name: str) -> CustomValue:
        if not isinstance(value, list):
            raise FieldError(name, f"is a {type(value).__name__}, not a list of options")
        return tuple(_option(item, name, options) for item in value)

    return {
        "Dropdown": choice,
        "MultiSelect": choices,
        "Date": days.counted,
        "Checkbox": _checkbox,
        "Float": number,
        "Percentage": number,
        "Currency": number,
        "String": text,
        "Text": text,
        "URL": text,
    }.get(str(definition.get("data_type")), _untyped)


def _option(value: Any, name: str, options: Mapping[int, str]) -> str:
    try:
        return options.get(int(value)) or str(value)
    except (TypeError, ValueError):
        # With computed values the name itself stands there.
        return text(value, name) or ""


def _checkbox(value: Any, name: str) -> CustomValue:
    if not isinstance(value, bool):
        raise FieldError(name, f"is a {type(value).__name__}, not true or false")
    return value


def _untyped(value: Any, name: str) -> CustomValue:
    if isinstance(value, list):
        return tuple(str(item.get("id") if isinstance(item, dict) else item) for item in value)
    if isinstance(value, (bool, int, str, Decimal)):
        return value
    raise FieldError(name, f"is a {type(value).__name__}")


def custom_values(row: Row, names: Names) -> dict[str, CustomValue]:
    """The typed custom values of a row; unset ones are left out."""
    values: dict[str, CustomValue] = {}
    known = names.readers
    for entry in row.get("custom_fields") or ():
        value = entry["value"]
        # Every definition is listed; unset is null, [] or "".
        if value is None or value in ([], ""):
            continue
        native = entry["custom_field_definition_id"]
        # A field made after the definitions were read is taken as it comes.
        name, reader = known.get(native) or (str(native), _untyped)
        values[name] = reader(value, name)
    return values


def on(entity: str, rows: Iterable[Row]) -> list[Row]:
    """The definitions that are available on an entity."""
    return [row for row in rows if entity in (row.get("available_on") or ())]


def describe(row: Row) -> Field:
    """One custom field definition."""
    data_type = str(row.get("data_type"))
    return Field(
        id=str(row["id"]),
        label=str(row["name"]),
        type=_TYPES.get(data_type, "other"),
        custom=True,
        read_only=data_type == "Connect",  # written as a relation only
        max_length=STRING_LENGTH if data_type == "String" else None,
        options={str(option["id"]): str(option["name"]) for option in row.get("options") or ()},
    )


def fixed_fields(kind: Kind, options: Mapping[str, Mapping[str, str]]) -> list[Field]:
    """The fields that every account has; Copper does not describe them.

    Args:
        kind: What has them.
        options: Options of closed lists, by field.
    """
    return [
        Field(
            id=name,
            label=name,
            type=type_,
            required=required,
            read_only=name in _STAMPS,
            unique=name in _UNIQUE,
            options=options.get(name) or _WORDS.get(name) or {},
        )
        for name, type_, required in FIXED_FIELDS[kind]
    ]
