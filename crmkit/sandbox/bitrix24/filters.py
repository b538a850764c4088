"""Filters and orders: what they say, and which rows they let pass.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/crm-item-list.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from crmkit.sandbox.bitrix24.fields import Field
from crmkit.sandbox.bitrix24.php import as_map
from crmkit.sandbox.bitrix24.portal import ZONE, Failure, whole

Test = Callable[[Any], bool]

_PREFIX = re.compile(r"(!=%|!%=|!@|!%|!=|=%|%=|>=|<=|!|=|>|<|@|%)?(.*)", re.DOTALL)
_SAME = {"": "=", "!": "!=", "!%=": "!=%", "%=": "=%"}
_IDS = {"integer", "user", "crm_company", "crm_contact", "crm_category", "crm_lead", "crm_quote"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One field compared: `values` has one value unless `op` is `@` or `!@`; `None` is "empty"."""

    field: Field
    op: str
    values: tuple[Any, ...]

    @property
    def mark(self) -> tuple[Any, ...]:
        """What tells this condition from others."""
        return (self.field.name or self.field.legacy, self.op, self.values)


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions and groups of which all, or with `either` one, must hold."""

    parts: tuple[Condition | Group, ...]
    either: bool = False

    @property
    def mark(self) -> tuple[Any, ...]:
        """What tells this group from others."""
        return (self.either, *(part.mark for part in self.parts))


def read_filter(
    said: Any, names: Mapping[str, Field], shift: timedelta = timedelta(), *, groups: bool = True
) -> Group:
    """The filter a call asks for.

    Args:
        said: What stands in `filter`.
        names: The fields that may be filtered.
        shift: By how much bounds on times are moved back.
        groups: Whether nested groups with a `logic` are understood (only `crm.item.list`).

    Raises:
        Failure: An unknown field or a value that its type does not have.
    """
    said = as_map(said)
    logic = str(said.get("logic", "AND")).upper()
    parts: list[Condition | Group] = []
    for key, value in said.items():
        if key == "logic":
            continue
        if groups and key.isdigit():
            parts.append(read_filter(value, names, shift))
        else:
            parts.append(_condition(key, value, names, shift))
    return Group(tuple(parts), logic == "OR")


def _condition(key: str, value: Any, names: Mapping[str, Field], shift: timedelta) -> Condition:
    match = _PREFIX.fullmatch(key)
    op, name = (match[1] or "", match[2]) if match else ("", key)
    op = _SAME.get(op, op)
    field = names.get(name)
    if field is None:
        raise Failure("INVALID_ARG_VALUE", f"Invalid filter: field '{name}' is not allowed in filter")
    if isinstance(value, (list, Mapping)):
        if op not in {"=", "!=", "@", "!@"}:
            raise _invalid(name)
        op = "!@" if op.startswith("!") else "@"
        values = tuple(as_map(value).values())
        if any(isinstance(one, (list, Mapping)) for one in values):
            raise _invalid(name)
    else:
        values = (value,)
        op = {"@": "=", "!@": "!="}.get(op, op)
    return Condition(field, op, tuple(_bound(one, field, op, name, shift) for one in values))


def _bound(value: Any, field: Field, op: str, name: str, shift: timedelta) -> Any:
    if value is None or value == "":
        if op in {"=", "!=", "@", "!@"}:
            return None
        raise _invalid(name)
    if "%" in op:
        return str(value)
    if field.type in _IDS:
        number = whole(value)
        if number is None:
            raise _invalid(name)
        return number
    if field.type in {"double", "uf_double"}:
        try:
            return Decimal(str(value))
        except InvalidOperation:
            raise _invalid(name) from None
    if field.type == "datetime":
        return read_moment(value, name) - shift
    if field.type == "date":
        return read_moment(value, name).astimezone(ZONE).date()
    if field.type == "uf_boolean":
        return str(value).upper() in {"1", "Y", "TRUE"}
    if isinstance(value, bool):
        return "y" if value else "n"
    # MySQL's default collation: capitals and small letters are equal (inferred).
    return str(value).casefold()


def read_moment(value: Any, name: str) -> datetime:
    """A bound on a time; without an offset it is the server's wall clock."""
    try:
        moment = datetime.fromisoformat(str(value).strip().replace(" ", "T", 1) if value else "")
    except ValueError:
        raise _invalid(name) from None
    return moment.replace(tzinfo=ZONE) if moment.tzinfo is None else moment


def _invalid(name: str) -> Failure:
    return Failure("INVALID_ARG_VALUE", f"Invalid filter: field '{name}' has invalid value")


def test_of(part: Condition | Group) -> Test:
    """What says whether a row passes."""
    if isinstance(part, Condition):
        return _compare(part)
    tests = [test_of(inner) for inner in part.parts]
    if len(tests) == 1:
        return tests[0]
    if part.either:
        return lambda row: any(test(row) for test in tests)
    return lambda row: all(test(row) for test in tests)


def _compare(condition: Condition) -> Test:
    read, op = _comparable(condition.field), condition.op
    value = condition.values[0] if condition.values else None
    if op in {"@", "!@"} or (op in {"=", "!="} and condition.field.multi):
        wanted = set(condition.values)
        hit = _any_of(read, wanted) if condition.field.multi else (lambda row: _plain(read(row)) in wanted)
        return hit if not op.startswith("!") else (lambda row: not hit(row))
    if op == "=":
        return (
            (lambda row: read(row) == value) if value is not None else (lambda row: _plain(read(row)) is None)
        )
    if op == "!=":
        return lambda row: _plain(read(row)) != value
    if "%" in op:
        pattern = _pattern(str(value), like="=" in op)
        negated = op.startswith("!")
        return lambda row: bool(pattern.fullmatch(str(read(row) or ""))) != negated
    return _ordered(read, op, value)


def _ordered(read: Callable[[Any], Any], op: str, value: Any) -> Test:
    if op == ">":
        return lambda row: (found := read(row)) is not None and found > value
    if op == ">=":
        return lambda row: (found := read(row)) is not None and found >= value
    if op == "<":
        return lambda row: (found := read(row)) is not None and found < value
    return lambda row: (found := read(row)) is not None and found <= value


def _any_of(read: Callable[[Any], Any], wanted: set[Any]) -> Test:
    texts = {None if value is None else str(value) for value in wanted}

    def hit(row: Any) -> bool:
        held = read(row) or ()
        return any(str(value) in texts for value in held) if held else None in texts

    return hit


def _plain(value: Any) -> Any:
    """The value, with every way of being empty as `None`."""
    return None if value in ("", 0, (), None) and not isinstance(value, (bool, Decimal)) else value


def _pattern(text: str, *, like: bool) -> re.Pattern[str]:
    parts = text.split("%") if like else ["", text, ""]
    return re.compile(".*".join(re.escape(part) for part in parts), re.IGNORECASE | re.DOTALL)


def _comparable(field: Field) -> Callable[[Any], Any]:
    raw = field.raw
    if (
        field.multi
        or field.type in _IDS
        or field.type in {"datetime", "date", "double", "uf_double", "uf_boolean"}
    ):
        return raw

    def folded(row: Any) -> Any:
        value = raw(row)
        return None if value is None else str(value).casefold()

    return folded


def read_order(said: Any, names: Mapping[str, Field]) -> tuple[tuple[Field, bool], ...]:
    """The order a call asks for: fields, and whether they descend.

    Raises:
        Failure: An unknown field or direction.
    """
    order = []
    for name, direction in as_map(said).items():
        field = names.get(name)
        if field is None or field.multi:
            raise Failure("INVALID_ARG_VALUE", f"Invalid order: field '{name}' is not allowed in order")
        way = str(direction).upper()
        if way not in {"ASC", "DESC"}:
            raise Failure(
                "INVALID_ARG_VALUE",
                "Invalid order: allowed sort directions are ASC, DESC. "
                f"But got '{direction}' for field '{name}'",
            )
        order.append((field, way == "DESC"))
    return tuple(order)


def sort_value(field: Field) -> Callable[[Any], tuple[bool, Any]]:
    """What rows are sorted by: empty values first, as in MySQL."""
    read = _comparable(field)

    def key(row: Any) -> tuple[bool, Any]:
        value = read(row)
        return (value is not None, 0 if value is None else value)

    return key
