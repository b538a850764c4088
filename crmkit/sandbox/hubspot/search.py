"""Search: offset pages over an index that trails behind, at most 10,000 deep.

Source: https://developers.hubspot.com/docs/api-reference/latest/crm/search-the-crm
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot.answers import invalid, read_body, reply, whole_number
from crmkit.sandbox.hubspot.catalogue import Property
from crmkit.sandbox.hubspot.filters import (
    RANGES,
    Filter,
    Test,
    comparable,
    make_test,
    read_filter,
    token_test,
)
from crmkit.sandbox.hubspot.kinds import ObjectType, object_type
from crmkit.sandbox.hubspot.portal import Facts, Portal
from crmkit.sandbox.hubspot.properties import find_property
from crmkit.sandbox.hubspot.rendering import Plan
from crmkit.sandbox.rows import Kind
from crmkit.sandbox.store import Ordered, Store

_DEPTH = 10_000
_PAGE_MOST = 200
_GROUPS_MOST, _FILTERS_MOST, _ALL_FILTERS_MOST = 5, 6, 18
_QUERY_MOST = 3_000
_SEARCHED: Mapping[str, tuple[str, ...]] = {
    "deals": ("dealname", "pipeline", "dealstage", "description", "dealtype"),
    "companies": ("website", "phone", "name", "domain"),
    "contacts": ("firstname", "lastname", "email", "phone", "mobilephone", "hs_additional_emails"),
    "notes": ("hs_note_body",),
    "tasks": ("hs_task_body", "hs_task_subject"),
}


@dataclass(frozen=True, slots=True)
class Query:
    """What a search asks for, checked."""

    groups: tuple[tuple[Filter, ...], ...]
    words: str
    sort: Property
    descending: bool
    offset: int
    limit: int
    names: list[str] | None
    key: bytes  # equal for all pages of one search


@dataclass(frozen=True, slots=True)
class Hits:
    """What was found: a stretch of a sorted view, or a list already in order."""

    total: int
    page: Callable[[int, int], Sequence[Any]]


class Search:
    """The search calls, one for each object type."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def routes(self) -> list[Route]:
        """What is served."""
        return [Route("/crm/v3/objects/{type}/search", self.search, methods=["POST"])]

    async def search(self, request: Request) -> Response:
        """A page of what matches, as the index knows it; archived records are never found."""
        one_type = object_type(request.path_params["type"])
        self.portal.may_read(one_type)
        query = read_query(self.portal, one_type, await read_body(request))
        if one_type.kind is None:
            return reply({"total": 0, "results": []})
        hits = find_hits(self.portal, one_type, one_type.kind, query)
        plan = Plan(self.portal, one_type, query.names)
        results = [plan.record(row) for row in hits.page(query.offset, query.limit)]
        answer: dict[str, Any] = {"total": hits.total, "results": results}
        following = query.offset + query.limit
        if following < hits.total:
            answer["paging"] = {"next": {"after": str(following)}}
        return reply(answer)


def read_query(portal: Portal, one_type: ObjectType, body: Mapping[str, Any]) -> Query:
    """Check the body of a search; 400 with HubSpot's limits. The texts are ours; its own are unknown."""
    limit = whole_number(body.get("limit") or 10, "limit")
    if limit > _PAGE_MOST:
        invalid(f"Invalid input: limit must be at most {_PAGE_MOST}, was {limit}")
    offset = whole_number(body.get("after") or 0, "after")
    if offset + limit > _DEPTH:
        invalid(f"Invalid input: after + limit must be at most {_DEPTH}, was {offset + limit}")
    words = str(body.get("query") or "")
    if len(words) > _QUERY_MOST:
        invalid(f"Invalid input: query has more than {_QUERY_MOST} characters")
    groups = _read_groups(portal, one_type, body)
    sort, descending = _read_sort(portal, one_type, body.get("sorts"))
    names = body.get("properties")
    said = [body.get("filterGroups"), body.get("filters"), words, sort.name, descending]
    return Query(
        groups,
        words,
        sort,
        descending,
        offset,
        limit,
        [str(one) for one in names] if names else None,
        _key(said),
    )


def find_hits(portal: Portal, one_type: ObjectType, kind: Kind, query: Query) -> Hits:
    """What matches, found by the narrowest stretch of a sorted view."""
    store = portal.world.search
    views = _views(store, one_type, kind)
    group = query.groups[0] if len(query.groups) == 1 else ()
    order = views.get(query.sort.name)
    stretch, rest = _narrow(views, group, prefer=query.sort.name)
    view, low, high = views[stretch[0]], stretch[1], stretch[2]
    filters = len(query.groups) > 1 or bool(rest) or bool(query.words)
    if not filters and view is order:
        return Hits(
            high - low,
            lambda offset, count: view.page(offset, count, low=low, high=high, descending=query.descending),
        )

    def compute() -> list[Any]:
        facts = portal.facts()
        rows = view.rows[low:high]
        if filters:
            groups = [rest] if len(query.groups) == 1 else query.groups
            test = _whole_test(portal, one_type, groups, query.words, facts)
            rows = [row for row in rows if test(row)]
        if view is order:
            return rows[::-1] if query.descending else rows
        return sorted(rows, key=_sort_key(query.sort, facts), reverse=query.descending)

    found = store.memo(("search", kind, query.key), compute)
    return Hits(len(found), lambda offset, count: found[offset : offset + count])


def _views(store: Store, one_type: ObjectType, kind: Kind) -> dict[str, Ordered[Any]]:
    return {
        "hs_object_id": store.ordered(kind),
        one_type.created: store.ordered(kind, "created"),
        one_type.modified: store.ordered(kind, "modified"),
    }


def _narrow(
    views: Mapping[str, Ordered[Any]], group: Sequence[Filter], *, prefer: str
) -> tuple[tuple[str, int, int], tuple[Filter, ...]]:
    """The shortest stretch of a view that holds all that a group can match, and the filters left to test."""
    best = (prefer if prefer in views else next(iter(views)), 0, 0)
    best = (best[0], 0, len(views[best[0]]))
    for name, view in views.items():
        low, high = 0, len(view)
        for one in group:
            if one.name == name and one.operator in RANGES:
                low, high = max(low, _low(view, one)), min(high, _high(view, one))
        high = max(low, high)
        if high - low < best[2] - best[1]:
            best = (name, low, high)
    rest = tuple(one for one in group if one.name != best[0] or one.operator not in RANGES)
    return best, rest


def _low(view: Ordered[Any], one: Filter) -> int:
    if one.operator in {"EQ", "GTE", "BETWEEN"}:
        return view.start(one.low)
    return view.stop(one.low) if one.operator == "GT" else 0


def _high(view: Ordered[Any], one: Filter) -> int:
    if one.operator in {"EQ", "LTE"}:
        return view.stop(one.low)
    if one.operator == "BETWEEN":
        return view.stop(one.high)
    return view.start(one.low) if one.operator == "LT" else len(view)


def _whole_test(
    portal: Portal, one_type: ObjectType, groups: Sequence[Sequence[Filter]], words: str, facts: Facts
) -> Test:
    tests = [[make_test(portal, one_type, one, facts) for one in group] for group in groups]
    searched = [find_property(portal, one_type, name) for name in _SEARCHED[one_type.plural]] if words else []
    values = [one.value for one in searched if one is not None]
    contains = token_test(" ".join(f"{word}*" for word in words.split()))

    def test(row: Any) -> bool:
        if tests and not any(all(one(row) for one in group) for group in tests):
            return False
        if not words:
            return True
        return contains(" ".join(str(known) for value in values if (known := value(row, facts))))

    return test


def _sort_key(sort: Property, facts: Facts) -> Callable[[Any], tuple[Any, ...]]:
    def key(row: Any) -> tuple[Any, ...]:
        known = sort.value(row, facts)
        # Where records without a value come is not documented: here they come after all others, or before.
        return (1, "", int(row.id)) if known is None else (0, comparable(sort.type, known), int(row.id))

    return key


def _read_groups(
    portal: Portal, one_type: ObjectType, body: Mapping[str, Any]
) -> tuple[tuple[Filter, ...], ...]:
    said = body.get("filterGroups") or []
    if not isinstance(said, list):
        invalid("Invalid input JSON: filterGroups must be a list")
    groups = [one.get("filters") or [] if isinstance(one, Mapping) else [] for one in said]
    if body.get("filters"):  # a bare list of filters works too
        groups.append(body["filters"])
    if len(groups) > _GROUPS_MOST:
        invalid(f"Invalid input: at most {_GROUPS_MOST} filterGroups, not {len(groups)}")
    if any(len(group) > _FILTERS_MOST for group in groups):
        invalid(f"Invalid input: at most {_FILTERS_MOST} filters in a group")
    if sum(len(group) for group in groups) > _ALL_FILTERS_MOST:
        invalid(f"Invalid input: at most {_ALL_FILTERS_MOST} filters in all")
    read = tuple(tuple(read_filter(portal, one_type, one) for one in group) for group in groups)
    return () if any(not group for group in read) else read


def _read_sort(portal: Portal, one_type: ObjectType, said: Any) -> tuple[Property, bool]:
    """One sort: an object or a string (`-createdate`), in a list or bare."""
    sorts = said if isinstance(said, list) else [said] if said else []
    if len(sorts) > 1:
        invalid(f"Invalid input: only one sort, not {len(sorts)}")
    name, descending = one_type.created, False
    if sorts and isinstance(sorts[0], Mapping):
        name = str(sorts[0].get("propertyName"))
        descending = str(sorts[0].get("direction", "ASCENDING")).upper().startswith("DESC")
    elif sorts:
        text = str(sorts[0])
        name, descending = text.removeprefix("-"), text.startswith("-")
    found = find_property(portal, one_type, name)
    if found is None:
        invalid(f'Invalid input: cannot sort by "{name}", which does not exist')
    return found, descending


def _key(said: Any) -> bytes:
    return msgspec.json.encode(said, order="sorted")
