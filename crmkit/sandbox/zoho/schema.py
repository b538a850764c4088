"""What a module and a field are, and how a record is written with a choice of fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any

from crmkit.sandbox.rows import CustomField, Kind
from crmkit.sandbox.zoho.org import Org, number

Get = Callable[[Any], Any]
Plan = Sequence[tuple[str, Get]]
NUMBERS = frozenset({"currency", "double", "integer", "percent"})
MULTI_LINE = frozenset({"textarea"})
_CUSTOM_TYPES = {
    "text": "text",
    "number": "integer",
    "date": "date",
    "picklist": "picklist",
    "multiselect": "multiselectpicklist",
    "checkbox": "boolean",
}
_JSON_TYPES = {
    "currency": "double",
    "double": "double",
    "integer": "integer",
    "percent": "double",
    "boolean": "boolean",
    "multiselectpicklist": "jsonarray",
    "lookup": "jsonobject",
    "ownerlookup": "jsonobject",
}
_LENGTHS = {"text": 255, "textarea": 32_000, "email": 100, "phone": 30, "website": 450, "picklist": 120}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a module.

    Attributes:
        raw: What a record holds: text, number, day, time, truth, or the id of what it refers to.
        value: What lists and gets show; made from `raw` by type if absent.
        coql: What a query shows where that differs.
        key: What conditions and sorting compare, where that is not `raw`.
        lookup: The module that a lookup refers to; `users` for people.
        picks: The values of a picklist.
        hidden: A `$` key: shown, but in no list of fields and in no condition.
        limit: How long a value can be, where that is not what its type allows.
    """

    name: str
    label: str
    type: str
    raw: Get
    value: Get
    coql: Get
    key: Get
    lookup: str | None = None
    picks: Sequence[str] | None = None
    custom: CustomField | None = None
    read_only: bool = False
    mandatory: bool = False
    unique: bool = False
    hidden: bool = False
    limit: int | None = None

    @property
    def json_type(self) -> str:
        """The type of its JSON value, in Zoho's words."""
        return _JSON_TYPES.get(self.type, "string")

    @property
    def length(self) -> int:
        """How long a value can be."""
        return self.limit or _LENGTHS.get(self.type, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module.

    Attributes:
        kind: Its rows in the world; `None` for modules that this organisation has, but left empty, and
            for the stage history, which is made from deals.
        display: The name of a record, as lookups and the deleted list show it.
        related: The names of its related lists.
    """

    name: str
    singular: str
    plural: str
    id: str
    kind: Kind | None
    fields: Mapping[str, Field]
    display: Get = str
    related: Sequence[str] = ()
    generated_type: str = "default"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def plan(self, names: Iterable[str] | None) -> Plan:
        """How to write a record: the id and the named fields, all if `None`; names unknown are left out."""
        fields = self.fields
        chosen = fields if names is None else dict.fromkeys(name for name in names if name in fields)
        return [*((name, fields[name].value) for name in chosen if name != "id"), ("id", fields["id"].value)]


def write(row: Any, plan: Plan) -> dict[str, Any]:
    """One record with the fields of a plan."""
    return {name: get(row) for name, get in plan}


class FieldMaker:
    """Makes fields for one organisation; the label follows from the API name unless given."""

    def __init__(self, org: Org) -> None:
        self.org = org

    def make(self, name: str, type_: str, raw: str | Get, **options: Any) -> Field:
        """A field whose values are written as its type demands."""
        get: Get = attrgetter(raw) if isinstance(raw, str) else raw
        label = options.pop("label", name.removesuffix("__s").replace("_", " ").strip())
        value = options.pop("value", None) or self._value(type_, get, options.get("lookup"))
        coql = options.pop("coql", None) or self._coql(get, options.get("lookup"), value)
        key = options.pop("key", get)
        return Field(name=name, label=label, type=type_, raw=get, value=value, coql=coql, key=key, **options)

    def hidden(self, name: str, value: Any) -> Field:
        """A `$` key that is the same in every record."""
        return self.make(name, "text", lambda _: value, hidden=True, read_only=True)

    def kept(self, name: str, type_: str, default: Any = None, **options: Any) -> Field:
        """A field that our rows have no column for: what was written stands in `custom` under `$name`."""
        key = f"${name}"
        return self.make(name, type_, lambda row: row.custom.get(key, default), **options)

    def author(self, name: str, otherwise: str) -> Field:
        """Who wrote a record over the API; of seeded records its owner."""
        key, owner = f"${name}", attrgetter(otherwise)
        return self.person(name, lambda row: row.custom.get(key) or owner(row), read_only=True)

    def person(self, name: str, raw: str | Get, **options: Any) -> Field:
        """A field that refers to a user."""
        return self.make(name, "ownerlookup", raw, lookup="users", **options)

    def custom(self, one: CustomField) -> Field:
        """A field the organisation added."""
        key, type_ = one.key, str(one.extra.get("data_type", _CUSTOM_TYPES[one.type]))
        labels = {option.id: option.label for option in one.options}
        get: Get = lambda row: row.custom.get(key)  # noqa: E731
        if one.type == "picklist":
            get = lambda row: labels.get(row.custom.get(key), row.custom.get(key))  # noqa: E731
        elif one.type == "multiselect":
            get = lambda row: [labels.get(part, part) for part in row.custom.get(key, ())]  # noqa: E731
        elif one.type == "checkbox":
            get = lambda row: bool(row.custom.get(key))  # noqa: E731
        return self.make(
            custom_name(one),
            type_,
            get,
            label=one.label,
            custom=one,
            picks=list(labels.values()) if one.options else None,
            unique=key == "crmkit_key" or bool(one.extra.get("unique")),
            mandatory=bool(one.extra.get("mandatory")),
            read_only=bool(one.extra.get("read_only")),
            limit=one.extra.get("length"),
        )

    def _value(self, type_: str, get: Get, lookup: str | None) -> Get:
        org = self.org
        if type_ == "datetime":
            stamp = org.stamp
            return lambda row: stamp(get(row))
        if type_ in {"currency", "double", "percent"}:
            return lambda row: number(get(row))
        if lookup is not None:
            ref = _REFERENCES[lookup](org)
            return lambda row: ref(get(row))
        return get

    def _coql(self, get: Get, lookup: str | None, value: Get) -> Get:
        if lookup == "users":
            last = self.org.user_last
            return lambda row: last(get(row))
        return value


_REFERENCES: Mapping[str, Callable[[Org], Callable[[str | None], Any]]] = {
    "users": lambda org: org.user_ref,
    "Accounts": lambda org: org.company_ref,
    "Contacts": lambda org: org.contact_ref,
    "Deals": lambda org: org.deal_ref,
    "Campaigns": lambda org: lambda _: None,
}


def custom_name(one: CustomField) -> str:
    """The API name that follows from a field's label."""
    given = one.extra.get("api_name")
    if given:
        return str(given)
    words = "".join(letter if letter.isalnum() else " " for letter in one.label).split()
    return "_".join(word[0].upper() + word[1:] for word in words)


def comparable(value: Any) -> Any:
    """A value as conditions compare it: text without regard to case, numbers exactly, times in UTC."""
    if isinstance(value, str):
        return value.casefold()
    if isinstance(value, float):
        return Decimal(str(value))
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value
