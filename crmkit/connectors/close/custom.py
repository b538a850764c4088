"""Close's custom fields: which there are, and how their values are read.

Source: https://developer.close.com/api/resources/custom-fields
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from crmkit.connectors.base import Field
from crmkit.connectors.translate import FieldError, day, instant, native_id, number, text
from crmkit.model import CustomValue, Kind, ValuePeriod

Row = dict[str, Any]
KEY_FIELD = "crmkit_id"
NAME_FIELDS = ("crmkit_name", "deal name")
_TYPES = {
    "text": "text",
    "textarea": "text",
    "url": "text",
    "hidden": "text",
    "number": "number",
    "date": "day",
    "datetime": "time",
    "choices": "choice",
    "user": "owner",
    "contact": "link",
    "custom_object": "link",
}
FIXED_FIELDS: dict[Kind, tuple[tuple[str, str], ...]] = {
    Kind.DEAL: (
        ("lead_id", "link"),
        ("contact_id", "link"),
        ("user_id", "owner"),
        ("status_id", "choice"),
        ("pipeline_id", "choice"),
        ("value", "money"),
        ("value_period", "choice"),
        ("confidence", "number"),
        ("note", "text"),
        ("date_won", "day"),
        ("date_lost", "time"),
        ("date_created", "time"),
        ("date_updated", "time"),
    ),
    Kind.COMPANY: (
        ("name", "text"),
        ("url", "text"),
        ("description", "text"),
        ("status_id", "choice"),
        ("addresses", "other"),
        ("date_created", "time"),
        ("date_updated", "time"),
    ),
    Kind.CONTACT: (
        ("name", "text"),
        ("title", "text"),
        ("emails", "other"),
        ("phones", "other"),
        ("lead_id", "link"),
        ("date_created", "time"),
        ("date_updated", "time"),
    ),
}
# An opportunity's `date_created` may be given on creation.
_READ_ONLY = frozenset({"date_created", "date_updated", "date_lost"})
_PERIODS = {period.value: period.value for period in ValuePeriod}


@dataclass(frozen=True, slots=True)
class CustomFields:
    """The custom fields of one kind, looked up once per read.

    Attributes:
        readers: Per key of a row (`custom.cf_…`): the field's id and how to read its value.
        by_name: Id per name, for answers that still carry the deprecated map by name.
        key: Row key of the field that holds our key, if there is one.
        name: Row key of the field that holds the deal's name, if there is one.
    """

    readers: Mapping[str, tuple[str, Callable[[Any, str], CustomValue]]] = field(default_factory=dict)
    by_name: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    name: str | None = None

    @classmethod
    def of(cls, definitions: Iterable[Row], *, name_field: str | None = None) -> CustomFields:
        """Prepare from the rows of `/custom_field_schema/…/`.

        Args:
            definitions: The custom field rows.
            name_field: Id or label of the field that holds the deal's name; without it one
                of the default labels is looked for.

        Raises:
            LookupError: `name_field` is not there, or its label is there more than once.
        """
        rows = [row for row in definitions if isinstance(row.get("id"), str)]
        labels = [(row["id"], str(row.get("name") or "")) for row in rows]
        # Labels may repeat in Close: the first one is ours, as `prepare` finds it too.
        key = next((native for native, label in labels if label == KEY_FIELD), None)
        if name_field:
            found = [native for native, label in labels if name_field in (native, label)]
            if len(found) != 1:
                raise LookupError(f"{len(found)} custom fields are called {name_field!r}")
            named: str | None = found[0]
        else:
            named = next(
                (native for wanted in NAME_FIELDS for native, label in labels if label.lower() == wanted),
                None,
            )
        return cls(
            readers={f"custom.{row['id']}": (row["id"], _reader(row)) for row in rows},
            by_name={label: native for native, label in reversed(labels)},
            key=f"custom.{key}" if key else None,
            name=f"custom.{named}" if named else None,
        )

    def read(self, row: Row) -> dict[str, CustomValue]:
        """The typed values of a row; unset ones are left out."""
        values: dict[str, CustomValue] = {}
        known = self.readers
        # Only custom fields have a dot; a third of the time that `startswith` takes.
        for name in [name for name in row if "." in name]:
            value = row[name]
            if not value and not isinstance(value, (int, Decimal)):
                continue
            # A field made after the schema was read is taken as it comes.
            native, reader = known.get(name) or (name.removeprefix("custom."), _untyped)
            values[native] = value if reader is _text and type(value) is str else reader(value, name)
        return values


def with_flat_custom(row: Row, fields: CustomFields) -> Row:
    """The row with `custom.cf_…` keys, also if it came with the deprecated `custom` map.

    What `_fields=custom` answers with was not seen: both shapes are read.
    """
    nested = row.get("custom")
    if not isinstance(nested, dict):
        return row
    flat = {f"custom.{fields.by_name.get(name, name)}": value for name, value in nested.items()}
    return {**flat, **row}


def fixed_fields(kind: Kind) -> list[Field]:
    """The fields that every organization has; Close does not describe them."""
    return [
        Field(
            id=name,
            label=name,
            type=type_,
            read_only=name in _READ_ONLY and not (kind is Kind.DEAL and name == "date_created"),
            options=_PERIODS if name == "value_period" else {},
        )
        for name, type_ in FIXED_FIELDS[kind]
    ]


def describe(row: Row) -> Field:
    """One custom field of a schema answer."""
    kind = _TYPES.get(str(row.get("type")), "other")
    many = bool(row.get("accepts_multiple_values"))
    choices = row.get("choices") or ()
    if many:
        kind = {"choice": "choices", "owner": "owner", "link": "link"}.get(kind, "other")
    return Field(
        id=row["id"],
        label=str(row.get("name") or row["id"]),
        type=kind,
        custom=True,
        # Choices have no ids: the text is what is stored.
        options={str(choice): str(choice) for choice in choices},
    )


def a_day(value: Any, name: str) -> date | None:
    """A day; a date-time is cut to its day."""
    # Documented as a day; a date-time is accepted on writing and is cut to its day.
    return day(value[:10] if isinstance(value, str) and "T" in value else value, name)


def _reader(definition: Row) -> Callable[[Any, str], CustomValue]:
    if definition.get("converting_to_type"):
        return _untyped  # the values change type while we read
    if definition.get("accepts_multiple_values"):
        return _many
    return _READERS.get(str(definition.get("type")), _untyped)


def _many(value: Any, name: str) -> CustomValue:
    return tuple(_word(item, name) for item in value) if isinstance(value, list) else (_word(value, name),)


def _word(value: Any, name: str) -> str:
    return value if isinstance(value, str) else native_id(value, name) or ""


def _untyped(value: Any, name: str) -> CustomValue:
    if isinstance(value, list):
        return tuple(str(item) for item in value)
    if isinstance(value, (bool, int, str, Decimal)):
        return value
    raise FieldError(name, f"is a {type(value).__name__}")


def _text(value: Any, name: str) -> CustomValue:
    return _many(value, name) if isinstance(value, list) else text(value, name)


def _number(value: Any, name: str) -> CustomValue:
    return number(value, name)


def _time(value: Any, name: str) -> CustomValue:
    return instant(value, name, naive_is_utc=True)


_READERS: dict[str, Callable[[Any, str], CustomValue]] = {
    "text": _text,
    "textarea": _text,
    "url": _text,
    "hidden": _text,
    "choices": _text,
    "user": _text,
    "contact": _text,
    "number": _number,
    "date": a_day,
    "datetime": _time,
}
