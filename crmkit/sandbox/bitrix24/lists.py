"""Finds the rows that a list asks for, and gives one page of them.

A page is always 50 rows. `start` is an offset, or -1 for "do not count".
Source: https://apidocs.bitrix24.com/settings/how-to-call-rest-api/list-methods-pecularities.html
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from crmkit.sandbox.bitrix24.fields import Field, origin
from crmkit.sandbox.bitrix24.filters import Condition, Group, sort_value, test_of
from crmkit.sandbox.bitrix24.indexes import Index
from crmkit.sandbox.bitrix24.portal import UNSET, Portal, whole
from crmkit.sandbox.rows import Kind

PAGE = 50
_SLICED: Mapping[str, str] = {
    "id": "id",
    "updatedTime": "modified",
    "createdTime": "created",
    "movedTime": "stage_entered",
}
_RANGES = {">", ">=", "<", "<=", "="}


@dataclass(slots=True)
class Found:
    """The rows that match: those from `low` to `high` of a sorted list."""

    rows: Sequence[Any]
    low: int
    high: int
    descending: bool = False

    def __len__(self) -> int:
        return max(self.high - self.low, 0)

    def page(self, offset: int) -> Sequence[Any]:
        """Up to 50 rows from `offset` on."""
        if not self.descending:
            begin = self.low + offset
            return self.rows[begin : min(begin + PAGE, self.high)] if begin < self.high else []
        top = max(self.high - offset, self.low)
        return self.rows[max(top - PAGE, self.low) : top][::-1]


def find(portal: Portal, kind: Kind, wanted: Group, order: Sequence[tuple[Field, bool]]) -> Found:
    """The rows of a kind that match, sorted; without an order by id."""
    lead, descending = _lead(kind, order)
    if lead is None:
        rows = _sorted_rows(portal, kind, wanted, order)
        return Found(rows, 0, len(rows))
    ranges, rest = _split(wanted, lead)
    if rest.parts:
        rows = _matching(portal, kind, rest, lead)
    else:
        rows = portal.world.live.ordered(kind, _SLICED[lead]).rows
    low, high = _bounds(rows, lead, ranges)
    return Found(rows, low, high, descending)


def count_fields(found: Found, start: Any, *, no_count: Any) -> tuple[int, Any, Any]:
    """Where the page begins, and what stands in `total` and `next`.

    Args:
        found: The rows that match.
        start: What the call said.
        no_count: What both are with `start` -1: null in `crm.item.list`, 0 and nothing in the old lists.
    """
    offset = whole(start) or 0
    if offset < 0:
        return 0, no_count, None if no_count is None else UNSET
    offset -= offset % PAGE
    following = offset + PAGE
    return offset, len(found), following if following < len(found) else UNSET


def _lead(kind: Kind, order: Sequence[tuple[Field, bool]]) -> tuple[str | None, bool]:
    """The field whose sorted view has the rows in this order already, if there is one."""
    if not order:
        return "id", False
    (first, descending), *others = order
    usable = first.name in _SLICED and (kind == "deal" or first.name != "movedTime")
    ties = [(field.name, way) for field, way in others]
    if usable and (ties in ([], [("id", descending)]) or first.name == "id"):
        return first.name, descending
    return None, False


def _split(wanted: Group, lead: str) -> tuple[list[Condition], Group]:
    """The conditions that cut a range out of the view, and the others."""
    if wanted.either:
        return [], wanted
    ranges, rest = [], []
    for part in wanted.parts:
        simple = isinstance(part, Condition) and part.field.name == lead and part.op in _RANGES
        if simple and isinstance(part, Condition) and part.values[0] is not None:
            ranges.append(part)
        else:
            rest.append(part)
    return ranges, Group(tuple(rest))


def _bounds(rows: Sequence[Any], lead: str, ranges: Sequence[Condition]) -> tuple[int, int]:
    low, high = 0, len(rows)
    read: Any = _row_number if lead == "id" else attrgetter(_SLICED[lead])
    for condition in ranges:
        value = condition.values[0]
        if condition.op in {">", ">=", "="}:
            cut = bisect_right if condition.op == ">" else bisect_left
            low = max(low, cut(rows, value, key=read))
        if condition.op in {"<", "<=", "="}:
            cut = bisect_left if condition.op == "<" else bisect_right
            high = min(high, cut(rows, value, key=read))
    return low, max(low, high)


def _row_number(row: Any) -> int:
    return int(row.id)


def _matching(portal: Portal, kind: Kind, rest: Group, lead: str) -> Sequence[Any]:
    def compute() -> Sequence[Any]:
        test = test_of(rest)
        candidates, sorted_already = _candidates(portal, kind, rest, lead)
        rows = [row for row in candidates if test(row)]
        if not sorted_already:
            read: Any = _row_number if lead == "id" else attrgetter(_SLICED[lead])
            rows.sort(key=lambda row: (read(row), int(row.id)))
        return rows

    if _names_rows(rest) is not None:
        return compute()  # cheap, and each page asks for other ids: not worth remembering
    return portal.world.live.memo(("bitrix24", kind, lead, rest.mark), compute)


def _candidates(portal: Portal, kind: Kind, rest: Group, lead: str) -> tuple[Sequence[Any], bool]:
    """Few rows among which all that match are, and whether they are in order."""
    named = _names_rows(rest)
    if named is None:
        named = _of_origin(portal, kind, rest)
    if named is not None:
        table = portal.world.live.tables[kind]
        return [table[row_id] for row_id in named if row_id in table], False
    for name, view_name in _SLICED.items():
        if name in {lead, "id"} or rest.either or (name == "movedTime" and kind != "deal"):
            continue
        ranges, _ = _split(rest, name)
        if ranges:
            view = portal.world.live.ordered(kind, view_name).rows
            low, high = _bounds(view, name, ranges)
            if high - low < len(view) // 4:
                return view[low:high], False
    return portal.world.live.ordered(kind, _SLICED[lead]).rows, True


def _names_rows(rest: Group) -> list[str] | None:
    """The ids to which a filter restricts itself, if it does."""
    if not rest.either:
        for part in rest.parts:
            if isinstance(part, Condition) and part.field.name == "id" and part.op in {"@", "="}:
                return [str(value) for value in dict.fromkeys(part.values)]
    return None


def _of_origin(portal: Portal, kind: Kind, rest: Group) -> list[str] | None:
    """The ids that carry an origin id which the filter names: clients look 50 of them up after a crash."""
    for part in () if rest.either else rest.parts:
        if isinstance(part, Condition) and part.field.name == "originId" and part.op in {"@", "="}:
            index: Index = portal.once(
                ("origin ids", kind), lambda: Index(portal.world, kind, lambda row: _folded(origin(row)[1]))
            )
            if None not in part.values:
                return [row_id for value in dict.fromkeys(part.values) for row_id in index.ids(value)]
    return None


def _folded(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value.casefold(),)


def _sorted_rows(
    portal: Portal, kind: Kind, wanted: Group, order: Sequence[tuple[Field, bool]]
) -> Sequence[Any]:
    def compute() -> Sequence[Any]:
        rows = list(_matching(portal, kind, wanted, "id") if wanted.parts else _all(portal, kind))
        for field, descending in reversed(order):
            rows.sort(key=sort_value(field), reverse=descending)
        return rows

    mark = tuple((field.name or field.legacy, way) for field, way in order)
    return portal.world.live.memo(("bitrix24", kind, mark, wanted.mark), compute)


def _all(portal: Portal, kind: Kind) -> Sequence[Any]:
    return portal.world.live.ordered(kind).rows
