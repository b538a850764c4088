"""`POST /data/search/`: a tree of conditions over the search index.

Source: https://developer.close.com/api/resources/advanced-filtering/search
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from crmkit.sandbox.close.answers import only, refuse
from crmkit.sandbox.close.customs import native_value
from crmkit.sandbox.close.records import (
    STATUS_TYPES,
    Records,
    cents_of,
    confidence_of,
    custom_value,
    person_name,
    url_of,
)
from crmkit.sandbox.rows import Kind

Test = Callable[[Any], bool]
Read = Callable[[Any], Any]
CURSOR_SECONDS = 30
MOST_RESULTS = 10_000
_MOST_PER_PAGE = 200
_KINDS: dict[str, Kind] = {"opportunity": "deal", "lead": "company", "contact": "contact"}


@dataclass(slots=True)
class _Chain:
    """What a cursor stands for: what is still to come, and until when."""

    object_type: str
    rest: Sequence[Any]
    expires: float
    total: int


class Search:
    """Answers searches; the index trails the records by the world's lag."""

    def __init__(self, records: Records) -> None:
        self.records, self.world = records, records.world
        self._chains: dict[str, _Chain] = {}
        self._cursors = 0

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One page of ids, or of the fields asked for."""
        limit = body.get("_limit") or 100
        if not isinstance(limit, int) or not 0 < limit <= _MOST_PER_PAGE:
            raise refuse(f"_limit must be between 1 and {_MOST_PER_PAGE}.")
        now = self.world.clock.monotonic()
        self._chains = {token: chain for token, chain in self._chains.items() if chain.expires > now}
        cursor = body.get("cursor")
        if cursor:
            chain = self._chains.get(cursor)
            if chain is None:
                raise refuse("The cursor is invalid or has expired.")
        else:
            chain = self._begin(body, now)
        page, rest = chain.rest[:limit], chain.rest[limit:]
        shown: dict[str, Any] = {
            "data": [self._show(chain.object_type, row, body.get("_fields") or {}) for row in page],
            "cursor": self._keep(chain, rest, now) if rest else None,
        }
        if body.get("include_counts"):
            shown["count"] = {"limited": min(chain.total, MOST_RESULTS), "total": chain.total}
        return shown

    def _begin(self, body: Mapping[str, Any], now: float) -> _Chain:
        query = body.get("query")
        if not isinstance(query, Mapping):
            raise refuse("query is required.")
        object_type = _object_type(query)
        if object_type not in _KINDS:
            raise refuse(f"Unsupported object_type: {object_type}.")
        test = self._test(query, object_type)
        found = [row for row in self.world.search.tables[_KINDS[object_type]].values() if test(row)]
        for order in reversed(body.get("sort") or ()):
            read = self._reader(order["field"], object_type)
            found.sort(
                key=lambda row, read=read: _sortable(read(row)),  # type: ignore[misc]
                reverse=order.get("direction") == "desc",
            )
        most = min(body.get("results_limit") or MOST_RESULTS, MOST_RESULTS)
        return _Chain(object_type, found[:most], now, len(found))

    def _keep(self, chain: _Chain, rest: Sequence[Any], now: float) -> str:
        self._cursors += 1
        token = f"cursor_{self._cursors}_{len(rest)}"
        self._chains[token] = _Chain(chain.object_type, rest, now + CURSOR_SECONDS, chain.total)
        return token

    def _show(self, object_type: str, row: Any, fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        shown = {"__object_type": object_type, "id": row.id}
        wanted = fields.get(object_type)
        if wanted:
            if object_type == "opportunity":
                record = self.records.opportunity(row)
            elif object_type == "lead":
                record = self.records.lead(row)
            else:
                record = self.records.contact(row)
            shown |= only(record, tuple(wanted))
        return shown

    # Conditions

    def _test(self, query: Mapping[str, Any], object_type: str) -> Test:
        made = self._plain(query, object_type)
        return (lambda row: not made(row)) if query.get("negate") else made

    def _plain(self, query: Mapping[str, Any], object_type: str) -> Test:
        kind = query.get("type")
        if kind in {"and", "or"}:
            tests = [self._test(part, object_type) for part in query.get("queries", ())]
            combine = all if kind == "and" else any
            return lambda row: combine(test(row) for test in tests)
        if kind == "object_type":
            wanted = query.get("object_type")
            return lambda row: wanted == object_type
        if kind == "id":
            value = query.get("value")
            return lambda row: row.id == value
        if kind == "text":
            words = str(query.get("value", "")).casefold().split()
            read = self._reader({"type": "regular_field", "field_name": "name"}, object_type)
            return lambda row: all(word in str(read(row) or "").casefold() for word in words)
        if kind == "field_condition":
            read = self._reader(query["field"], object_type)
            holds = _condition(query.get("condition") or {})
            return lambda row: holds(read(row))
        if kind == "has_related":
            return self._related(query, object_type)
        raise refuse(f"Unsupported query type: {kind}.")

    def _related(self, query: Mapping[str, Any], object_type: str) -> Test:
        related = query.get("related_object_type", "")
        if related not in _KINDS or query.get("this_object_type", object_type) != object_type:
            raise refuse(f"Unsupported relation from {object_type} to {related}.")
        test = self._test(query.get("related_query") or {"type": "and"}, related)
        index = self.world.search

        def holds(row: Any) -> bool:
            lead_id = row.id if object_type == "lead" else row.company_id
            if related == "lead":
                lead = index.tables["company"].get(lead_id)
                return lead is not None and test(lead)
            rows = index.group(_KINDS[related], "company_id", lead_id)
            if object_type == "opportunity" and related == "contact":
                rows = [contact for contact in rows if contact.id in row.contact_ids]
            elif object_type == "contact" and related == "opportunity":
                rows = [deal for deal in rows if row.id in deal.contact_ids]
            return any(test(other) for other in rows)

        return holds

    def _reader(self, field: Mapping[str, Any], object_type: str) -> Read:
        if field.get("type") == "custom_field":
            return self._custom_reader(str(field.get("custom_field_id")), object_type)
        name = str(field.get("field_name"))
        readers: Mapping[str, Read] = {
            **_COMMON,
            **_READERS[object_type],
            **self._status_readers(object_type),
        }
        if name not in readers:
            raise refuse(f"Unknown field: {object_type}.{name}.")
        return readers[name]

    def _status_readers(self, object_type: str) -> Mapping[str, Read]:
        if object_type != "opportunity":
            return {}
        places, world = self.records.former, self.world
        return {
            "status_type": lambda deal: STATUS_TYPES[places[deal.stage_id][1].outcome],
            "status_label": lambda deal: places[deal.stage_id][1].name,
            "lead_name": lambda deal: getattr(world.companies.get(deal.company_id), "name", None),
        }

    def _custom_reader(self, field_id: str, object_type: str) -> Read:
        kind = _KINDS[object_type]
        field = self.records.fields_by_id[kind].get(field_id)
        if field is None:
            raise refuse(f"Unknown custom field: {field_id}.")
        return lambda row: custom_value(field, native_value(kind, row, field))


def _object_type(query: Mapping[str, Any]) -> str:
    if query.get("type") == "object_type":
        return str(query.get("object_type"))
    for part in query.get("queries", ()):
        if part.get("type") in {"object_type", "and"} and (found := _object_type(part)):
            return found
    return ""


def _condition(condition: Mapping[str, Any]) -> Test:
    kind = condition.get("type")
    if kind == "text":
        words = str(condition.get("value", "")).casefold()
        if condition.get("mode") == "phrase":
            return lambda value: words in str(value or "").casefold()
        wanted = set(words.split())
        return lambda value: wanted <= set(str(value or "").casefold().split())
    if kind == "term":
        values = set(condition.get("values") or ())
        return lambda value: bool(values.intersection(_several(value)))
    if kind == "reference":
        ids = set(condition.get("object_ids") or ())
        return lambda value: bool(ids.intersection(_several(value)))
    if kind == "number_range":
        return _range(condition, lambda bound: bound)
    if kind == "moment_range":
        renamed = {_MOMENT_BOUNDS[key]: value for key, value in condition.items() if key in _MOMENT_BOUNDS}
        return _range(renamed, _moment)
    if kind == "boolean":
        wanted_flag = condition.get("value")
        return lambda value: bool(value) == wanted_flag
    if kind == "exists":
        return lambda value: value not in (None, "", [])
    raise refuse(f"Unsupported condition type: {kind}.")


def _range(condition: Mapping[str, Any], read: Callable[[Any], Any]) -> Test:
    tests: list[Test] = []
    for name in ("gt", "gte", "lt", "lte"):
        if condition.get(name) is not None:
            bound = read(condition[name])
            compare = _COMPARE[name]
            tests.append(lambda value, bound=bound, compare=compare: compare(value, bound))  # type: ignore[misc]
    return lambda value: value is not None and all(test(value) for test in tests)


def _moment(bound: Any) -> datetime:
    """A moment of a range; public connectors send whole days only."""
    if not isinstance(bound, Mapping) or bound.get("type") != "fixed_local_date":
        raise refuse("Unsupported moment: only fixed_local_date is.")
    try:
        day = datetime.strptime(str(bound.get("value")), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise refuse("Invalid date.") from None
    return day + timedelta(days=1, microseconds=-1) if bound.get("which") == "end" else day


def _several(value: Any) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    return (value,)


def _sortable(value: Any) -> tuple[bool, Any]:
    return value is not None, 0 if value is None else value


def _day(value: Any) -> datetime | None:
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if value else None


_MOMENT_BOUNDS = {"after": "gt", "on_or_after": "gte", "before": "lt", "on_or_before": "lte"}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda left, right: left > right,
    "gte": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "lte": lambda left, right: left <= right,
}
_COMMON: Mapping[str, Read] = {
    "id": lambda row: row.id,
    "date_created": lambda row: row.created,
    "date_updated": lambda row: row.modified,
}


_READERS: Mapping[str, Mapping[str, Read]] = {
    "opportunity": {
        "confidence": confidence_of,
        "contact_id": lambda row: row.contact_ids[:1],
        "date_lost": lambda row: row.closed_at if row.status == "lost" else None,
        "date_won": lambda row: _day(row.expected_close),
        "lead_id": lambda row: row.company_id,
        "name": lambda row: row.custom.get("note"),
        "note": lambda row: row.custom.get("note"),
        "pipeline_id": lambda row: row.pipeline_id,
        "status_id": lambda row: row.stage_id,
        "user_id": lambda row: row.owner_id,
        "value": cents_of,
        "value_period": lambda row: row.value_period,
    },
    "lead": {
        "name": lambda row: row.name,
        "display_name": lambda row: row.name or "Untitled",
        "url": url_of,
    },
    "contact": {
        "name": person_name,
        "title": lambda row: row.custom.get("_title", ""),
        "lead_id": lambda row: row.company_id,
        "emails_count": lambda row: len(row.emails),
    },
}
