"""Search filters: what they say, which records they let through.

Strings compare without regard to case, options exactly; `IN` and `NOT_IN` on strings find only what is
given in lower case. Source: https://developers.hubspot.com/docs/api-reference/latest/crm/search-the-crm
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from crmkit.sandbox.hubspot.answers import invalid
from crmkit.sandbox.hubspot.catalogue import Property, WireType, write_options
from crmkit.sandbox.hubspot.kinds import ObjectType, find_type
from crmkit.sandbox.hubspot.links import linked_ids
from crmkit.sandbox.hubspot.portal import Facts, Portal
from crmkit.sandbox.hubspot.properties import find_property

OPERATORS = frozenset(
    "EQ NEQ LT LTE GT GTE BETWEEN IN NOT_IN HAS_PROPERTY NOT_HAS_PROPERTY "
    "CONTAINS_TOKEN NOT_CONTAINS_TOKEN".split()
)
RANGES = frozenset({"EQ", "LT", "LTE", "GT", "GTE", "BETWEEN"})
_LINK_PREFIX = "associations."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition, checked and with its operands read."""

    name: str
    operator: str
    low: Any = None
    high: Any = None
    values: tuple[Any, ...] = ()
    property: Property | None = None
    target: ObjectType | None = None


def read_filter(portal: Portal, object_type: ObjectType, said: Any) -> Filter:
    """Check one filter; 400 if it makes no sense. The texts are ours."""
    if not isinstance(said, Mapping) or "propertyName" not in said or "operator" not in said:
        invalid("Invalid input: a filter needs propertyName and operator")
    name, operator = str(said["propertyName"]), str(said["operator"])
    if operator not in OPERATORS:
        invalid(f"Invalid input: {operator} is not a search operator")
    if name.startswith(_LINK_PREFIX):
        target = find_type(name.removeprefix(_LINK_PREFIX))
        if target is None or operator not in {"EQ", "IN"}:
            invalid(f"Invalid input: {name} cannot be searched with {operator}")
        wanted = _many(said) if operator == "IN" else [_one(said, "value", name)]
        return Filter(name, operator, values=tuple(str(one) for one in wanted), target=target)
    found = find_property(portal, object_type, name)
    if found is None:
        message = f'Property "{name}" does not exist'
        invalid(
            "There was a problem with the request.",
            errors=[
                {"message": message, "code": "PROPERTY_DOESNT_EXIST", "context": {"propertyName": [name]}}
            ],
        )
    if operator in {"HAS_PROPERTY", "NOT_HAS_PROPERTY"}:
        return Filter(name, operator, property=found)
    if operator in {"IN", "NOT_IN"}:
        # The index keeps strings in lower case and does not change what these two are given.
        values = [
            str(one) if found.type == "string" else operand(found.type, one, name) for one in _many(said)
        ]
        return Filter(name, operator, values=tuple(values), property=found)
    if operator in {"CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"}:
        return Filter(name, operator, str(_one(said, "value", name)).casefold(), property=found)
    low = operand(found.type, _one(said, "value", name), name)
    high = operand(found.type, _one(said, "highValue", name), name) if operator == "BETWEEN" else None
    return Filter(name, operator, low, high, property=found)


def make_test(portal: Portal, object_type: ObjectType, one: Filter, facts: Facts) -> Test:
    """What a record must pass to satisfy a filter."""
    if one.target is not None:
        read, wanted = linked_ids(portal, object_type, one.target), set(one.values)
        return lambda row: any(linked in wanted for linked in read(row))
    if one.property is None:
        raise ValueError(f"filter on {one.name} has no property")
    value = one.property.value
    if one.operator == "HAS_PROPERTY":
        return lambda row: value(row, facts) is not None
    if one.operator == "NOT_HAS_PROPERTY":
        return lambda row: value(row, facts) is None
    wire_type = one.property.type
    check = _check(one)
    # Records without a value pass the negations (inferred: a filter that is not met).
    unset = one.operator in {"NEQ", "NOT_IN", "NOT_CONTAINS_TOKEN"}

    def test(row: Any) -> bool:
        known = value(row, facts)
        return unset if known is None else check(comparable(wire_type, known))

    return test


def comparable(wire_type: WireType, value: Any) -> Any:
    """A property's value as search compares it."""
    if wire_type == "string":
        return str(value).casefold()
    if wire_type == "number":
        return value if isinstance(value, (int, Decimal)) else Decimal(str(value))
    if wire_type == "enumeration":
        return write_options(value)
    return value


def operand(wire_type: WireType, text: Any, name: str) -> Any:
    """An operand as search compares it; 400 if it does not fit the property."""
    said = str(text)
    try:
        if wire_type == "number":
            return Decimal(said)
        if wire_type == "datetime":
            return read_moment(said)
        if wire_type == "date":
            return _read_day(said)
    except (ValueError, OverflowError, InvalidOperation):
        invalid(f"Invalid input: {said} is not a {wire_type}, which {name} is")
    if wire_type == "bool":
        return said.lower() == "true"
    return said.casefold() if wire_type == "string" else said


def read_moment(text: str) -> datetime:
    """A time: milliseconds since 1970 as digits, or ISO 8601."""
    if text.lstrip("-").isdigit():
        return _EPOCH + timedelta(milliseconds=int(text))
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read_day(text: str) -> date:
    return read_moment(text).date()


def _check(one: Filter) -> Test:
    low, high, values = one.low, one.high, one.values
    tests: Mapping[str, Test] = {
        "EQ": lambda known: bool(known == low),
        "NEQ": lambda known: bool(known != low),
        "LT": lambda known: bool(known < low),
        "LTE": lambda known: bool(known <= low),
        "GT": lambda known: bool(known > low),
        "GTE": lambda known: bool(known >= low),
        "BETWEEN": lambda known: bool(low <= known <= high),
        "IN": lambda known: _is_in(known, values),
        "NOT_IN": lambda known: not _is_in(known, values),
    }
    if one.operator in tests:
        return tests[one.operator]
    contains = token_test(low)
    if one.operator == "CONTAINS_TOKEN":
        return lambda known: contains(str(known))
    return lambda known: not contains(str(known))


def token_test(wanted: str) -> Callable[[str], bool]:
    """Whether a text contains these words, of which each may hold `*` for anything."""
    patterns = [
        re.compile(".*".join(map(re.escape, word.split("*"))), re.DOTALL)
        for word in wanted.casefold().split()
    ]

    def contains(text: str) -> bool:
        folded = text.casefold()
        words = {*folded.split(), *re.findall(r"\w+", folded), folded}
        return all(any(pattern.fullmatch(word) for word in words) for pattern in patterns)

    return contains


def _is_in(known: Any, values: Sequence[Any]) -> bool:
    return known in values or (isinstance(known, str) and any(part in values for part in known.split(";")))


def _one(said: Mapping[str, Any], key: str, name: str) -> Any:
    value = said.get(key)
    if value is None or isinstance(value, (list, dict)):
        invalid(f"Invalid input: the filter on {name} needs a {key}")
    return value


def _many(said: Mapping[str, Any]) -> list[Any]:
    values = said.get("values")
    if not isinstance(values, list) or not values:
        invalid(f"Invalid input: the filter on {said['propertyName']} needs values")
    return values
