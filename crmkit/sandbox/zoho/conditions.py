"""Conditions on records: columns over lookups, literals of a field's type, and the tests themselves."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from crmkit.sandbox.rows import User
from crmkit.sandbox.zoho.org import Org, read_day, read_time, split_name
from crmkit.sandbox.zoho.schema import NUMBERS, Field, FieldMaker, Get, Module, comparable

Test = Callable[[Any], bool]
_ORDERED = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
_TABLES = {"Accounts": "company", "Contacts": "contact", "Deals": "deal", "users": "user"}


@dataclass(frozen=True, slots=True)
class Column:
    """A field of the module, or one reached over a lookup.

    Attributes:
        path: As it was written, such as `Account_Name.Website`.
        row: From a record of the module to the one that has the field; `None`: it has it itself.
    """

    path: str
    field: Field
    row: Get | None = None

    def key(self) -> Get:
        """What conditions and sorting compare."""
        return self._over(self.field.key)

    def value(self) -> Get:
        """What a query shows; a lookup over a lookup is shown by its id alone."""
        if self.row is not None and self.field.lookup is not None:
            raw = self._over(self.field.raw)
            return lambda row: {"id": found} if (found := raw(row)) else None
        return self._over(self.field.coql)

    def _over(self, get: Get) -> Get:
        hop = self.row
        if hop is None:
            return get
        return lambda row: None if (there := hop(row)) is None else get(there)


class Columns:
    """Finds columns by name: two lookups far at most."""

    def __init__(self, org: Org, modules: Mapping[str, Module]) -> None:
        self.org = org
        self._fields: dict[str, Mapping[str, Field]] = {name: one.fields for name, one in modules.items()}
        self._fields["users"] = _user_fields(org)

    def find(self, module: Module, path: str) -> Column | None:
        """The column, or `None` if there is none of that name."""
        *hops, last = path.split(".")
        if len(hops) > 2:
            return None
        fields, way = module.fields, None
        for hop in hops:
            field = fields.get(hop)
            if field is None or field.lookup not in _TABLES:
                return None
            way = self._hop(way, field)
            fields = self._fields[field.lookup]
        found = fields.get(last)
        return None if found is None or found.hidden else Column(path, found, way)

    def _hop(self, before: Get | None, field: Field) -> Get:
        table: Mapping[str, Any] = self.org.world.live.tables[_TABLES[field.lookup or ""]]  # type: ignore[index]
        raw = field.raw
        if before is None:
            return lambda row: table.get(raw(row))
        return lambda row: None if (there := before(row)) is None else table.get(raw(there))


def _user_fields(org: Org) -> Mapping[str, Field]:
    make = FieldMaker(org).make

    def part(place: int) -> Callable[[User], str]:
        return lambda user: split_name(user.name)[place]

    fields = [
        make("id", "bigint", "id", key=lambda user: int(user.id)),
        make("first_name", "text", part(0)),
        make("last_name", "text", part(1)),
        make("full_name", "text", "name"),
        make("email", "email", "email"),
    ]
    return {field.name: field for field in fields}


def read_literal(field: Field, text: str) -> Any:
    """A literal as this field compares it.

    Raises:
        ValueError: It is not one of the field's type.
    """
    if field.type == "bigint":
        return int(text)
    if field.type in NUMBERS:
        try:
            return Decimal(text)
        except InvalidOperation as error:
            raise ValueError(text) from error
    if field.type == "boolean":
        if text.lower() not in {"true", "false"}:
            raise ValueError(text)
        return text.lower() == "true"
    if field.type in {"date", "datetime"}:
        moment = read_day(text) if field.type == "date" else read_time(text)
        if moment is None:
            raise ValueError(text)
        return moment
    if field.lookup is not None:
        if not text.isdecimal():
            raise ValueError(text)
        return text
    if field.type == "multiselectpicklist":
        return frozenset(part.casefold() for part in text.split(";"))
    return text.casefold()


def key_of(column: Column) -> Get:
    """What a column compares, in the form of `read_literal`."""
    key = column.key()
    type_ = column.field.type
    if type_ == "multiselectpicklist":
        return lambda row: frozenset(part.casefold() for part in key(row)) or None
    if type_ in {"bigint", "date", "datetime", "boolean"} or column.field.lookup is not None:
        return key
    return lambda row: comparable(key(row))


def make_test(key: Get, test: str, values: Sequence[Any]) -> Test:
    """Whether a record passes; an empty value passes only `null` (as in SQL; Zoho does not say)."""
    if test == "null":
        return lambda row: (found := key(row)) is None or found == ""
    if test == "not_null":
        return lambda row: (found := key(row)) is not None and found != ""
    first = values[0]
    if test == "eq":
        return lambda row: key(row) == first
    if test in _ORDERED:
        compare = _ORDERED[test]
        return lambda row: (found := key(row)) is not None and compare(found, first)
    if test == "in":
        known = frozenset(values)
        return lambda row: key(row) in known
    if test == "between":
        last = values[1]
        return lambda row: (found := key(row)) is not None and first <= found <= last
    if test == "starts_with":
        return lambda row: (found := key(row)) is not None and found.startswith(first)
    if test == "ends_with":
        return lambda row: (found := key(row)) is not None and found.endswith(first)
    if test == "contains":
        return lambda row: (found := key(row)) is not None and first in found
    if test == "like":
        pattern = re.compile(".*".join(re.escape(part) for part in first.split("%")), re.DOTALL)
        return lambda row: (found := key(row)) is not None and pattern.fullmatch(found) is not None
    positive = make_test(key, _NEGATED[test], values)
    return lambda row: key(row) is not None and not positive(row)


_NEGATED = {
    "ne": "eq",
    "not_in": "in",
    "not_between": "between",
    "not_like": "like",
    "not_contains": "contains",
}


def both(left: Test, right: Test) -> Test:
    """Passes if both pass."""
    return lambda row: left(row) and right(row)


def either(left: Test, right: Test) -> Test:
    """Passes if one passes."""
    return lambda row: left(row) or right(row)
