"""Records in tables, with sorted views that stay cheap at any depth.

A view is sorted once, when it is first asked for, and then follows every change
by bisection: a page at depth 99,000 costs as much as the first one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator
from operator import attrgetter, itemgetter
from typing import Any, Generic, TypeVar, cast

from crmkit.sandbox.rows import Company, Contact, Deal, Kind, Note, Row, User

R = TypeVar("R", bound=Row)
T = TypeVar("T")
KINDS: tuple[Kind, ...] = ("user", "company", "contact", "deal", "note")
_first = itemgetter(0)
_MEMO_SIZE = 256


class Ordered(Generic[R]):
    """The records of one kind in ascending order of one value, ties in order of id."""

    __slots__ = ("_key", "_keys", "rows")

    def __init__(self, rows: Iterable[R], key: Callable[[R], tuple[Any, ...]]) -> None:
        self._key = key
        self.rows = sorted(rows, key=key)
        self._keys = [key(row) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[R]:
        return iter(self.rows)

    def start(self, value: Any) -> int:
        """Where the first record with at least this value stands."""
        return bisect_left(self._keys, value, key=_first)

    def stop(self, value: Any) -> int:
        """Where the first record with more than this value stands."""
        return bisect_right(self._keys, value, key=_first)

    def position(self, row: R) -> int:
        """Where this version of a record stands, or would stand."""
        return bisect_left(self._keys, self._key(row))

    def page(
        self, offset: int, count: int, *, low: int = 0, high: int | None = None, descending: bool = False
    ) -> list[R]:
        """The records from `offset` on within positions `low` to `high`; descending counts from the end."""
        high = len(self.rows) if high is None else high
        if not descending:
            return self.rows[min(low + offset, high) : min(low + offset + count, high)]
        top = max(high - offset, low)
        return self.rows[max(top - count, low) : top][::-1]

    def add(self, row: R) -> None:
        """Put a record where it belongs."""
        key = self._key(row)
        at = bisect_right(self._keys, key)
        self._keys.insert(at, key)
        self.rows.insert(at, row)

    def replace(self, before: R, after: R) -> None:
        """Put a new version in the place of the former one, or where it now belongs."""
        if self._key(before) == self._key(after):
            self.rows[self.position(before)] = after
        else:
            self.drop(before)
            self.add(after)

    def drop(self, row: R) -> None:
        """Take this version of a record out."""
        at = self.position(row)
        del self._keys[at], self.rows[at]


class Store:
    """Tables by id with their views: the live ones, or those of the search index.

    Attributes:
        generation: Grows with every change.
    """

    def __init__(self, id_key: Callable[[str], Any]) -> None:
        self.generation = 0
        self.tables: dict[Kind, dict[str, Any]] = {kind: {} for kind in KINDS}
        self._id_key = id_key
        self._ordered: dict[tuple[Kind, str], Ordered[Any]] = {}
        self._groups: dict[tuple[Kind, str], dict[Hashable, dict[str, Any]]] = {}
        self._memo: dict[Hashable, tuple[int, Any]] = {}

    def copy(self) -> Store:
        """A store with the same records that goes its own way."""
        twin = Store(self._id_key)
        twin.tables = {kind: dict(table) for kind, table in self.tables.items()}
        return twin

    def ordered(self, kind: Kind, order: str = "id", key: Callable[[Any], Any] | None = None) -> Ordered[Any]:
        """The records of a kind in order of id, of a field, or of what `key` makes of a record.

        With a `key`, `order` is only the name under which the view is kept.
        """
        view = self._ordered.get((kind, order))
        if view is None:
            view = Ordered(self.tables[kind].values(), self._sort_key(order, key))
            self._ordered[kind, order] = view
        return view

    def users(self, order: str = "id", key: Callable[[User], Any] | None = None) -> Ordered[User]:
        """`ordered` for users."""
        return self.ordered("user", order, key)

    def companies(self, order: str = "id", key: Callable[[Company], Any] | None = None) -> Ordered[Company]:
        """`ordered` for companies."""
        return self.ordered("company", order, key)

    def contacts(self, order: str = "id", key: Callable[[Contact], Any] | None = None) -> Ordered[Contact]:
        """`ordered` for contacts."""
        return self.ordered("contact", order, key)

    def deals(self, order: str = "id", key: Callable[[Deal], Any] | None = None) -> Ordered[Deal]:
        """`ordered` for deals."""
        return self.ordered("deal", order, key)

    def notes(self, order: str = "id", key: Callable[[Note], Any] | None = None) -> Ordered[Note]:
        """`ordered` for notes."""
        return self.ordered("note", order, key)

    def group(self, kind: Kind, field: str, value: Hashable) -> list[Any]:
        """The records whose field equals the value or, being a tuple, contains it; in order of id."""
        groups = self._groups.get((kind, field))
        if groups is None:
            groups = self._groups[kind, field] = {}
            for row in self.tables[kind].values():
                for member in _values(row, field):
                    groups.setdefault(member, {})[row.id] = row
        found = groups.get(value)
        return sorted(found.values(), key=lambda row: self._id_key(row.id)) if found else []

    def memo(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` gave since the last change, or gives now: makes deep pages of a filter cheap."""
        known = self._memo.get(key)
        if known is not None and known[0] == self.generation:
            return cast("T", known[1])
        if len(self._memo) >= _MEMO_SIZE:
            self._memo.clear()
        value = compute()
        self._memo[key] = (self.generation, value)
        return value

    def put(self, kind: Kind, row: Any) -> None:
        """Add a record or replace its former version."""
        before = self.tables[kind].get(row.id)
        self.generation += 1
        self.tables[kind][row.id] = row
        for view in self._views(kind):
            if before is None:
                view.add(row)
            else:
                view.replace(before, row)
        self._regroup(kind, before, row)

    def drop(self, kind: Kind, row_id: str) -> None:
        """Take a record out, if it is there."""
        before = self.tables[kind].pop(row_id, None)
        if before is None:
            return
        self.generation += 1
        for view in self._views(kind):
            view.drop(before)
        self._regroup(kind, before, None)

    def _views(self, kind: Kind) -> list[Ordered[Any]]:
        return [view for (viewed, _), view in self._ordered.items() if viewed == kind]

    def _regroup(self, kind: Kind, before: Any | None, after: Any | None) -> None:
        for (grouped, field), groups in self._groups.items():
            if grouped != kind:
                continue
            if before is not None:
                for value in _values(before, field):
                    groups[value].pop(before.id, None)
            if after is not None:
                for value in _values(after, field):
                    groups.setdefault(value, {})[after.id] = after

    def _sort_key(self, order: str, key: Callable[[Any], Any] | None) -> Callable[[Any], tuple[Any, ...]]:
        id_key = self._id_key
        if key is not None:
            by = key
        elif order == "id":
            return lambda row: (id_key(row.id),)
        else:
            by = attrgetter(order)
        return lambda row: (by(row), id_key(row.id))


def _values(row: Any, field: str) -> tuple[Hashable, ...]:
    value = getattr(row, field)
    return value if isinstance(value, tuple) else (value,)
