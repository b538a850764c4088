"""`POST /{entity}/search`: closed bodies, page numbers, and an end at record 100,000.

Sources: https://developer.copper.com/opportunities/list-opportunities-search.html ,
https://developer.copper.com/introduction/pagination.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from crmkit.sandbox.copper.answers import Body, ids_of, invalid, midnight, moment_of, number_of
from crmkit.sandbox.copper.records import STATUSES, Records, custom_value, person_name, primary_of
from crmkit.sandbox.copper.seed import data_type_of
from crmkit.sandbox.rows import CustomField, Deal, Kind
from crmkit.sandbox.store import Store

Test = Callable[[Any], bool]
Read = Callable[[Any], Any]
LAST_RECORD = 100_000
_MOST_PER_PAGE = 200
_PAGING = frozenset({"page_number", "page_size", "sort_by", "sort_direction"})
_NONE_ID = "-2"


@dataclass(frozen=True, slots=True)
class Searchable:
    """What one kind can be searched by.

    Attributes:
        ids: Keys with lists of ids, and the row's value they speak of.
        ranges: `minimum_` and `maximum_` keys by their stem; all inclusive.
        texts: Keys with one text or a list of which any must match.
        sorts: Values of `sort_by`.
        quick: Those that are read off the row alone: views of them can be kept.
        grouped: Keys whose values are those of a field of the row, for which it keeps groups.
    """

    kind: Kind
    default_sort: str
    ids: dict[str, Read]
    ranges: dict[str, Read]
    texts: dict[str, Read]
    sorts: dict[str, Read]
    quick: frozenset[str]
    others: frozenset[str] = field(default_factory=frozenset)
    grouped: Mapping[str, str] = field(default_factory=dict)


class Search:
    """Answers searches from the index, which trails the records by the world's lag."""

    def __init__(self, records: Records, *, newer: bool) -> None:
        self.records, self.world = records, records.world
        self.deals = _deals(records, newer=newer)
        self.companies, self.people = _companies(), _people(records)

    def page(self, what: Searchable, body: Body) -> tuple[Sequence[Any], int]:
        """The rows of one page, and an upper bound of how many there are."""
        size = _whole(body, "page_size", 20, _MOST_PER_PAGE)
        number = _whole(body, "page_number", 1, None)
        sort_by, descending = _order(what, body)
        tests = self._tests(what, body)
        index = self.world.search
        skip = (number - 1) * size
        size = max(min(size, LAST_RECORD - skip), 0)
        if "ids" in body:
            wanted = ids_of(body["ids"], "ids")
            table = index.tables[what.kind]
            rows = [table[row_id] for row_id in wanted if row_id in table]
            found = self._sorted(what, [row for row in rows if _all(row, tests)], sort_by, descending)
            return found[skip : skip + size], len(found)
        narrow = _narrow(what, body, index)
        if narrow is not None:
            rows, presorted = narrow, False
        elif sort_by in what.quick:
            presorted = True
            view = index.ordered(what.kind, f"copper {sort_by}", what.sorts[sort_by])
            low, high = self._stretch(what, body, sort_by, index)
            tests = [test for test in tests if test.stretch_of != sort_by]
            if not tests:
                total = high - low
                return view.page(skip, size, low=low, high=high, descending=descending), self._bound(
                    what, total
                )
            rows = view.rows[low:high]
        else:
            rows, presorted = list(index.tables[what.kind].values()), False

        def scan() -> list[Any]:
            matching = [row for row in rows if _all(row, tests)]
            if not presorted:
                return self._sorted(what, matching, sort_by, descending)
            return matching[::-1] if descending else matching

        key = ("copper", what.kind, msgspec.json.encode({k: v for k, v in body.items() if k[:5] != "page_"}))
        found = index.memo(key, scan)
        return found[skip : skip + size], self._bound(what, len(found))

    def _sorted(self, what: Searchable, rows: list[Any], sort_by: str, descending: bool) -> list[Any]:
        read = what.sorts[sort_by]
        return sorted(rows, key=lambda row: (read(row), int(row.id)), reverse=descending)

    def _bound(self, what: Searchable, total: int) -> int:
        """The total is an upper bound: it still counts what was deleted."""
        world = self.world
        gone = sum(row.kind == what.kind for row in world.deleted)
        gone += sum(row.kind == what.kind for row in world.merged)
        return total + gone if total else 0

    def _stretch(self, what: Searchable, body: Body, sort_by: str, index: Store) -> tuple[int, int]:
        view = index.ordered(what.kind, f"copper {sort_by}", what.sorts[sort_by])
        low, high = 0, len(view)
        name = _RANGE_OF_SORT.get(sort_by)
        if name and body.get(f"minimum_{name}") is not None:
            low = view.start(moment_of(body[f"minimum_{name}"], f"minimum_{name}"))
        if name and body.get(f"maximum_{name}") is not None:
            high = view.stop(moment_of(body[f"maximum_{name}"], f"maximum_{name}"))
        return low, max(low, high)

    def _tests(self, what: Searchable, body: Body) -> list[_Test]:
        tests: list[_Test] = []
        for key, value in body.items():
            if key in _PAGING or key == "ids" or value is None:
                continue
            side, _, stem = key.partition("_")
            if key in what.ids:
                tests.append(_Test(_one_of(ids_of(value, key), what.ids[key])))
            elif side in {"minimum", "maximum"} and stem in what.ranges:
                test = _bounded(side, key, value, what.ranges[stem])
                tests.append(_Test(test, _SORT_OF_RANGE.get(stem)))
            elif key == "tags":
                tests.append(_Test(_one_of(frozenset(_listed(value)), what.texts[key])))
            elif key in what.texts:
                tests.append(_Test(_text(value, what.texts[key])))
            elif key == "custom_fields":
                tests += [_Test(self._custom(what.kind, part)) for part in value]
            elif key not in what.others:
                raise invalid("Base", f"Unknown parameter {key}")
        return tests

    def _custom(self, kind: Kind, part: Any) -> Test:
        """A condition on a custom field, in the spelling that is believed to be right (inferred)."""
        wanted_id = str(part.get("custom_field_definition_id")) if isinstance(part, dict) else ""
        for found in self.world.fields[kind].values():
            if found.id == wanted_id:
                break
        else:
            raise invalid("Custom fields", f"custom_field_definition_id {wanted_id} is invalid")
        data_type = data_type_of(found)
        if data_type in {"String", "Text", "URL", "Connect"}:
            raise invalid("Custom fields", f"{found.label} is not filterable")
        return _custom_test(found, data_type, part, self.world.time_zone)


@dataclass(frozen=True, slots=True)
class _Test:
    """A condition, and the sort order in which it is a stretch of the view."""

    holds: Test
    stretch_of: str | None = None


def _all(row: Any, tests: Sequence[_Test]) -> bool:
    return all(test.holds(row) for test in tests)


def _narrow(what: Searchable, body: Body, index: Store) -> list[Any] | None:
    """The few rows that a search for a tag, a person, a company or a domain can find, or `None`."""
    for key, grouped_by in what.grouped.items():
        wanted = _listed(body[key]) if body.get(key) is not None else [_NONE_ID]
        if _NONE_ID not in wanted:
            found = {row.id: row for value in wanted for row in index.group(what.kind, grouped_by, value)}
            return list(found.values())
    return None


def _listed(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value])]


def _whole(body: Body, name: str, default: int, most: int | None) -> int:
    value = body.get(name)
    if value is None:
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise invalid(name.replace("_", " ").capitalize(), "is not a number") from None
    if number < 1 or (most is not None and number > most):
        bound = f"must be between 1 and {most}" if most else "must be at least 1"
        raise invalid(name.replace("_", " ").capitalize(), bound)
    return number


def _order(what: Searchable, body: Body) -> tuple[str, bool]:
    sort_by = body.get("sort_by") or what.default_sort
    direction = body.get("sort_direction") or "asc"
    if sort_by not in what.sorts:
        raise invalid("Sort by", f"does not have a valid value: {sort_by}")
    if direction not in {"asc", "desc"}:
        raise invalid("Sort direction", "must be asc or desc")
    return sort_by, direction == "desc"


def _one_of(wanted: frozenset[str], read: Read) -> Test:
    def holds(row: Any) -> bool:
        value = read(row)
        if isinstance(value, tuple):
            return not wanted.isdisjoint(value)
        return (_NONE_ID if value is None else value) in wanted

    return holds


def _bounded(side: str, key: str, value: Any, read: Read) -> Test:
    stem = key.partition("_")[2]
    bound: Any = moment_of(value, key) if stem.endswith("date") else number_of(value, key)
    if stem == "close_date":
        bound = bound.timestamp()
    if side == "minimum":
        return lambda row: (found := read(row)) is not None and found >= bound
    return lambda row: (found := read(row)) is not None and found <= bound


def _text(value: Any, read: Read) -> Test:
    wanted = {str(item).casefold() for item in (value if isinstance(value, list) else [value])}

    def holds(row: Any) -> bool:
        found = read(row)
        several = found if isinstance(found, tuple) else (found,)
        return any(str(item).casefold() in wanted for item in several if item is not None)

    return holds


def _custom_test(found: CustomField, data_type: str, part: Body, zone: str) -> Test:
    def read(row: Any) -> Any:
        value = row.custom.get(found.key)
        return None if value is None else custom_value(found, value, zone)

    allow_empty = bool(part.get("allow_empty"))
    if data_type in {"Dropdown", "MultiSelect"}:
        value = part.get("value", [])
        wanted = {
            int(number_of(item, "Custom fields")) for item in (value if isinstance(value, list) else [value])
        }
        option = str(part.get("option", "ANY")).upper()

        def chosen(row: Any) -> bool:
            shown = read(row)
            have = set(shown) if isinstance(shown, list) else set() if shown is None else {shown}
            if not have:
                return allow_empty
            if option == "ALL":
                return wanted <= have
            return wanted.isdisjoint(have) if option == "NONE" else not wanted.isdisjoint(have)

        return chosen
    if data_type == "Checkbox":
        flag = bool(part.get("value"))
        return lambda row: bool(read(row)) == flag
    low, high, exact = (part.get(name) for name in ("minimum_value", "maximum_value", "value"))

    def within(row: Any) -> bool:
        shown = read(row)
        if shown is None:
            return allow_empty
        return (
            (exact is None or shown == number_of(exact, "Custom fields"))
            and (low is None or shown >= number_of(low, "Custom fields"))
            and (high is None or shown <= number_of(high, "Custom fields"))
        )

    return within


# The range that a view in this order answers, and back.
_RANGE_OF_SORT = {"date_created": "created_date", "date_modified": "modified_date"}
_SORT_OF_RANGE = {name: sort for sort, name in _RANGE_OF_SORT.items()}
_STAMPS: dict[str, Read] = {
    "created_date": lambda row: row.created,
    "modified_date": lambda row: row.modified,
}
_COMMON_SORTS: dict[str, Read] = {
    "name": lambda row: row.name.casefold(),
    "date_created": lambda row: row.created,
    "date_modified": lambda row: row.modified,
}


def _last(value: Any) -> tuple[bool, Any]:
    """For sorting: what is not set comes last (inferred)."""
    return value is None, 0 if value is None else value


def _deals(records: Records, *, newer: bool) -> Searchable:
    world = records.world
    status_number = {status: number for number, status in enumerate(STATUSES)}

    def stage_place(deal: Deal) -> tuple[int, int]:
        pipeline, stage = records.places[deal.stage_id]
        return pipeline.order, stage.order

    def name_of(kind: Kind, row_id: str | None) -> tuple[bool, Any]:
        row = world.live.tables[kind].get(row_id or "")
        return _last(getattr(row, "name", None) or getattr(row, "first", None))

    ranges: dict[str, Read] = {
        **_STAMPS,
        "monetary_value": lambda deal: deal.amount,
        "interaction_count": lambda deal: len(deal.history) if deal.last_activity else 0,
        "close_date": lambda deal: (
            midnight(deal.expected_close, world.time_zone) if deal.expected_close else None
        ),
        "interaction_date": lambda deal: deal.last_activity,
        "stage_change_date": lambda deal: deal.stage_entered,
    }
    texts: dict[str, Read] = {"name": lambda deal: deal.name, "tags": lambda deal: deal.tags}
    if newer:
        ranges["win_probability"] = records.win_probability
        texts["statuses"] = lambda deal: STATUSES[deal.status]
        texts["priorities"] = lambda deal: deal.custom.get("priority", "None")
        texts["company_name"] = lambda deal: getattr(world.companies.get(deal.company_id), "name", None)
    sorts: dict[str, Read] = {
        **_COMMON_SORTS,
        "account": lambda deal: name_of("company", deal.company_id),
        "company_name": lambda deal: name_of("company", deal.company_id),
        "value": lambda deal: _last(deal.amount),
        "assignee": lambda deal: name_of("user", deal.owner_id),
        "customer_source_id": lambda deal: _last(records.sources.id_of(deal.source)),
        "contact": lambda deal: name_of("contact", primary_of(deal)),
        "stage": stage_place,
        "status": lambda deal: status_number[deal.status],
        "close_date": lambda deal: _last(deal.expected_close and deal.expected_close.toordinal()),
        "source": lambda deal: _last(deal.source),
        "priority": lambda deal: str(deal.custom.get("priority", "None")),
        "last_interaction": lambda deal: _last(deal.last_activity and deal.last_activity.timestamp()),
        "interaction_count": lambda deal: len(deal.history) if deal.last_activity else 0,
        "deal_last_stage": stage_place,
        "win_probability": records.win_probability,
    }
    return Searchable(
        "deal",
        "name",
        {
            "assignee_ids": lambda deal: deal.owner_id,
            "pipeline_ids": lambda deal: deal.pipeline_id,
            "pipeline_stage_ids": lambda deal: deal.stage_id,
            "company_ids": lambda deal: deal.company_id,
            "primary_contact_ids": primary_of,
            "customer_source_ids": lambda deal: _id(records.sources.id_of(deal.source)),
            "loss_reason_ids": lambda deal: _id(records.loss_reasons.id_of(deal.lost_reason)),
            "priority_ids": lambda deal: None,
            "status_ids": lambda deal: str(status_number[deal.status]),
        },
        ranges,
        texts,
        sorts,
        frozenset({"name", "date_created", "date_modified", "value", "status", "close_date"}),
        frozenset({"followed"} | ({"fields", "age"} if newer else set())),
        {"tags": "tags", "primary_contact_ids": "contact_ids", "company_ids": "company_id"},
    )


def _companies() -> Searchable:
    return Searchable(
        "company",
        "date_modified",
        {"assignee_ids": lambda row: row.owner_id, "contact_type_ids": lambda row: None},
        {**_STAMPS, "interaction_date": lambda row: None, "interaction_count": lambda row: 0},
        {
            "name": lambda row: row.name,
            "tags": lambda row: row.tags,
            "email_domains": lambda row: row.domain,
            "phone_number": lambda row: row.phone,
            "city": lambda row: row.city,
            "postal_code": lambda row: row.postcode,
            "country": lambda row: row.country,
        },
        _COMMON_SORTS,
        frozenset(_COMMON_SORTS),
        frozenset({"followed"}),
        {"tags": "tags"},
    )


def _people(records: Records) -> Searchable:
    def deal_ids(row: Any) -> tuple[str, ...]:
        return tuple(deal.id for deal in records.world.live.group("deal", "contact_ids", row.id))

    sorts: dict[str, Read] = {
        "name": lambda row: person_name(row).casefold(),
        "first_name": lambda row: row.first.casefold(),
        "last_name": lambda row: row.last.casefold(),
        "date_created": lambda row: row.created,
        "date_modified": lambda row: row.modified,
    }
    return Searchable(
        "contact",
        "first_name",
        {
            "assignee_ids": lambda row: row.owner_id,
            "company_ids": lambda row: row.company_id,
            "opportunity_ids": deal_ids,
            "contact_type_ids": lambda row: None,
        },
        {**_STAMPS, "interaction_date": lambda row: None, "interaction_count": lambda row: 0},
        {
            "name": person_name,
            "emails": lambda row: row.emails,
            "phone_number": lambda row: row.phones,
            "tags": lambda row: row.tags,
        },
        sorts,
        frozenset(sorts),
        frozenset({"followed"}),
        {"tags": "tags", "company_ids": "company_id"},
    )


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)
