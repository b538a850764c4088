"""`GET /opportunity/`: filters, orders, pages, and the sums over all matches.

Source: https://developer.close.com/api/resources/opportunities/list
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import accumulate
from typing import Any

from crmkit.sandbox.close.answers import Params, field_list, page_of, read_day, read_moment, refuse
from crmkit.sandbox.close.records import (
    STATUS_TYPES,
    Records,
    cents_of,
    confidence_of,
    expected_of,
    formatted,
)
from crmkit.sandbox.rows import Change, Deal
from crmkit.sandbox.store import Ordered

PERIODS = ("one_time", "monthly", "annual")
_SLOT = 64  # bits of a packed sum
_DATES = {"date_created": "created", "date_updated": "modified"}
_MOMENT_STEP = timedelta(microseconds=1)


@dataclass(slots=True)
class Found:
    """Deals that match, in order: positions `low` to `high` of a view or of a list of its own."""

    rows: Sequence[Deal]
    low: int
    high: int
    descending: bool
    sums: int

    @property
    def total(self) -> int:
        """How many match."""
        return self.high - self.low

    def page(self, skip: int, limit: int) -> Sequence[Deal]:
        """The matches from `skip` on."""
        if not self.descending:
            return self.rows[min(self.low + skip, self.high) : min(self.low + skip + limit, self.high)]
        top = max(self.high - skip, self.low)
        return self.rows[max(top - limit, self.low) : top][::-1]


class Opportunities:
    """The list of opportunities of one organization."""

    page_size = 250

    def __init__(self, records: Records, max_skip: int) -> None:
        self.records, self.world, self.max_skip = records, records.world, max_skip
        self._packed: dict[str, int] = {}
        self.world.listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        self._packed.pop(change.id, None)

    def page(self, params: Params) -> dict[str, Any]:
        """One page with its sums."""
        skip, limit = page_of(params, self.page_size, max_skip=self.max_skip)
        if params.get("_group_by"):
            raise refuse("Grouping is not part of this sandbox.")
        fields = field_list(params)
        found = self.find(params)
        render = self.records.opportunity_json
        return {
            "data": [render(deal, fields) for deal in found.page(skip, limit)],
            "has_more": skip + limit < found.total,
            "total_results": found.total,
            **self._aggregates(found.sums),
        }

    def find(self, params: Params) -> Found:
        """Everything that matches, without paging."""
        name, descending = self._order(params)
        if params.get("lead_id"):
            rows = self.world.live.group("deal", "company_id", params["lead_id"])
            return self._scan(rows, self._tests(params, ""), self._sort_key(name), descending)
        window, low, high = self._narrowest(params, name)
        tests = self._tests(params, window)
        view = self._view(window)
        if window == name and not tests:
            sums = self._running(window)
            return Found(view.rows, low, high, descending, sums[high] - sums[low])
        sort_key = None if window == name else self._sort_key(name)
        asked = frozenset((key, value) for key, value in params.items() if key not in _NOT_A_FILTER)
        return self.world.live.memo(
            ("opportunities", asked, name, descending),
            lambda: self._scan(view.rows[low:high], tests, sort_key, descending),
        )

    def _scan(
        self,
        rows: Iterable[Deal],
        tests: Sequence[Callable[[Deal], bool]],
        sort_key: Callable[[Deal], Any] | None,
        descending: bool,
    ) -> Found:
        matching = [deal for deal in rows if all(test(deal) for test in tests)]
        if sort_key is not None:
            matching.sort(key=lambda deal: (sort_key(deal), deal.id))
        sums = sum(self._pack(deal) for deal in matching)
        return Found(matching, 0, len(matching), descending, sums)

    # Orders

    def _order(self, params: Params) -> tuple[str, bool]:
        # Unsorted lists were observed newest first.
        asked = params.get("_order_by") or "-date_created"
        name, descending = asked.removeprefix("-"), asked.startswith("-")
        if name not in _ORDERS:
            raise refuse(f"Invalid value for _order_by: {name}. Valid values: {', '.join(sorted(_ORDERS))}.")
        return name, descending

    def _sort_key(self, name: str) -> Callable[[Deal], Any]:
        if name == "user_name":  # not kept as a view: users change their names
            return lambda deal: self.records.user_name(deal.owner_id) or ""
        return _ORDERS[name]

    def _view(self, name: str) -> Ordered[Deal]:
        return self.world.live.deals(_DATES.get(name, name), _ORDERS[name])

    # Windows of time

    def _narrowest(self, params: Params, order: str) -> tuple[str, int, int]:
        """The date filter that leaves fewest, as a stretch of its view; without one all of the order's."""
        choices = []
        for name in _WINDOWS:
            low, high = self._bounds(params, name)
            if low is None and high is None:
                continue
            view = self._view(name)
            start = view.start(low) if low is not None else 0
            stop = view.start(high) if high is not None else len(view)
            choices.append((max(stop - start, 0), name != order, name, start, max(start, stop)))
        if choices:
            _, _, name, start, stop = min(choices)
            return name, start, stop
        name = "date_created" if order == "user_name" else order
        return name, 0, len(self._view(name))

    def _bounds(self, params: Params, name: str) -> tuple[Any, Any]:
        """From (inclusive) and to (exclusive) of a date filter; `None` where it is open."""
        read: Callable[[str, str], Any] = read_day if name == "date_won" else read_moment
        step = timedelta(days=1) if name == "date_won" else _MOMENT_STEP
        lows, highs = [], []
        for key, value in params.items():
            field, _, operator = key.partition("__")
            if field != name or value == "":
                continue
            at = read(value, key)
            if operator == "":
                lows.append(at)
                highs.append(at + (timedelta(days=1) if len(value) == 10 else step))
            elif operator == "gte":
                lows.append(at)
            elif operator == "gt":
                lows.append(at + step)
            elif operator == "lt":
                highs.append(at)
            elif operator == "lte":
                highs.append(at + step)
        if name == "date_won" and highs and not lows:
            lows.append(date.min + step)  # a deal without a date is not before any
        return max(lows, default=None), min(highs, default=None)

    # Other filters

    def _tests(self, params: Params, window_name: str) -> list[Callable[[Deal], bool]]:
        tests: list[Callable[[Deal], bool]] = []
        for name, key in _WINDOWS.items():
            low, high = (None, None) if name == window_name else self._bounds(params, name)
            if low is not None:
                tests.append(lambda deal, key=key, low=low: key(deal) >= low)  # type: ignore[misc]
            if high is not None:
                tests.append(lambda deal, key=key, high=high: key(deal) < high)  # type: ignore[misc]
        for name, attribute, meaning in (
            ("lead_id", "company_id", None),
            ("user_id", "owner_id", None),
            ("status_id", "stage_id", None),
            ("status_type", "stage_id", "type"),
            ("status_label", "stage_id", "label"),
            ("status", "stage_id", "label"),
            ("value_period", "value_period", None),
        ):
            wanted = _wanted(params, name)
            if wanted is None:
                continue
            allowed = wanted if meaning is None else self._statuses(meaning, wanted)
            tests.append(
                lambda deal, attribute=attribute, allowed=allowed: getattr(deal, attribute) in allowed  # type: ignore[misc]
            )
        organization = params.get("organization_id")
        if organization and organization != self.records.organization_id:
            tests.append(lambda deal: False)
        if params.get("is_stalled", "").lower() == "true":
            tests.append(lambda deal: False)
        if params.get("query"):
            tests.append(self._text(params["query"]))
        return tests

    def _statuses(self, meaning: str, wanted: frozenset[str]) -> frozenset[str]:
        return frozenset(
            stage_id
            for stage_id, (_, stage) in self.records.places.items()
            if (STATUS_TYPES[stage.outcome] if meaning == "type" else stage.name) in wanted
        )

    def _text(self, query: str) -> Callable[[Deal], bool]:
        word = query.removeprefix("note:").strip('"').casefold()
        index = self.world.search.tables["deal"]  # `query` asks the index, which may lag (inferred)
        return lambda deal: (
            (known := index.get(deal.id)) is not None
            and word in str(known.custom.get("note") or "").casefold()
        )

    # Sums

    def _running(self, name: str) -> list[int]:
        """The sums of the first 0, 1, 2, ... deals of a view."""
        view = self._view(name)
        return self.world.live.memo(
            ("opportunity sums", name),
            lambda: list(accumulate(map(self._pack, view.rows), initial=0)),
        )

    def _pack(self, deal: Deal) -> int:
        """Count, value and expected value of a deal in the slots of its period, as one whole number.

        One number instead of nine makes sums over 100,000 deals a matter of milliseconds.
        """
        known = self._packed.get(deal.id)
        if known is not None:
            return known
        cents = cents_of(deal)
        expected = expected_of(cents, confidence_of(deal))
        packed = 1 + ((cents or 0) << _SLOT) + ((expected or 0) << 2 * _SLOT)
        packed <<= 3 * _SLOT * PERIODS.index(deal.value_period)
        self._packed[deal.id] = packed
        return packed

    def _aggregates(self, packed: int) -> dict[str, Any]:
        counts: dict[str, int] = {}
        sums: dict[str, int] = {}
        for period in PERIODS:
            for slot in ("count", "total_value", "expected_value"):
                part = packed & ((1 << _SLOT) - 1)
                if part >> (_SLOT - 1):
                    part -= 1 << _SLOT
                packed = (packed - part) >> _SLOT
                if slot == "count":
                    counts[period] = part
                else:
                    sums[f"{slot}_{period}"] = part
        for slot in ("total_value", "expected_value"):
            monthly = sums[f"{slot}_monthly"]
            sums[f"{slot}_annualized"] = sums[f"{slot}_one_time"] + sums[f"{slot}_annual"] + 12 * monthly
        currency = self.world.base_currency
        texts = {f"{name}_formatted": formatted(cents, currency, "") for name, cents in sums.items()}
        present = {period: count for period, count in counts.items() if count}
        return {"count_by_value_period": present, **sums, **texts}


def _wanted(params: Params, name: str) -> frozenset[str] | None:
    """The values a filter allows, from its plain and its `__in` form; `None` without a filter."""
    sets = []
    if params.get(name):
        sets.append(frozenset({params[name]}))
    if params.get(f"{name}__in"):
        sets.append(frozenset(params[f"{name}__in"].split(",")))
    if not sets:
        return None
    return frozenset.intersection(*sets)


def _won_key(deal: Deal) -> date:
    return deal.expected_close or date.min


def _created_key(deal: Deal) -> datetime:
    return deal.created


def _updated_key(deal: Deal) -> datetime:
    return deal.modified


def _value_key(deal: Deal) -> int:
    return cents_of(deal) or 0


def _yearly_key(deal: Deal) -> int:
    return _value_key(deal) * (12 if deal.value_period == "monthly" else 1)


def _yearly_expected_key(deal: Deal) -> int:
    return expected_of(_yearly_key(deal), confidence_of(deal)) or 0


_WINDOWS: dict[str, Callable[[Deal], Any]] = {
    "date_created": _created_key,
    "date_updated": _updated_key,
    "date_won": _won_key,
}
_ORDERS: dict[str, Callable[[Deal], Any]] = {
    **_WINDOWS,
    "confidence": confidence_of,
    "value": _value_key,
    "annualized_value": _yearly_key,
    "annualized_expected_value": _yearly_expected_key,
    "user_name": _created_key,  # no view of its own, see `_sort_key`
}
_NOT_A_FILTER = {"_skip", "_limit", "_fields", "_order_by", "_params"}
