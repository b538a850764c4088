"""Which deals to try first: the strange ones, and one of every sort; pure.

A deal is strange if it is the most or the least of something, or holds what CRMs stumble
over. Each sort (pipeline, stage, owner, currency, outcome) is then covered by as few further
deals as a greedy choice finds; what room is left goes to deals drawn by lot. The lot is a
hash of the seed and the id, so that the same deals are drawn whatever order they come in.

The rows are read once. What is kept of them grows with the sorts there are and with the size
of the sample, not with their number; so of very many names only some are compared.
"""

from __future__ import annotations

import hashlib
import heapq
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
"""A deal as `crmkit.sync.stored` gives it."""
_SORTS = ("pipeline", "stage", "owner", "currency", "outcome")
_NAMES_COMPARED = 20_000
_PER_SORT = 3  # of each value so many candidates are kept: one of them may cover another value too
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN", "RLE", "RLO", "RLI"})


@dataclass(frozen=True, slots=True)
class Chosen:
    """A deal of the sample.

    Attributes:
        id: Its native id.
        label: What a person knows it by.
        reasons: Why it is in, the first one decisive.
    """

    id: str
    label: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """What the rows themselves do not tell.

    Attributes:
        inactive: Ids of owners who left.
        notes: How many notes each deal has.
        pipelines: Names of pipelines by id, for the reasons.
    """

    inactive: Collection[str] = frozenset()
    notes: Mapping[str, int] = field(default_factory=dict)
    pipelines: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class _Seen:
    """What is kept of a row; it sorts by lot. `traits` are the marks of `_ANY` that it has."""

    lot: str
    id: str
    label: str = field(compare=False)
    sorts: tuple[str, ...] = field(compare=False)
    traits: frozenset[str] = field(compare=False)


Rank: TypeAlias = tuple[Any, ...]
Most: TypeAlias = Callable[[Row, Context], Rank | None]

# Of each the one with the highest rank is in; `None` does not compete.
_MOST: Mapping[str, Most] = {
    "longest name": lambda row, _: (len(row["name"]),),
    "largest amount": lambda row, _: _ranked(row["amount"]),
    "most decimals in its amount": lambda row, _: _decimals(row["amount"]),
    "negative amount": lambda row, _: (-row["amount"],) if _below_zero(row["amount"]) else None,
    "most people": lambda row, _: _several(len(row["contacts"])),
    "most companies": lambda row, _: _several(len(row["companies"])),
    "most notes": lambda row, context: _some(context.notes.get(row["id"], 0)),
    "most custom values": lambda row, _: _some(
        sum(one not in (None, "", []) for one in row["custom"].values())
    ),
    "multi-select with most options": lambda row, _: _some(_options(row)),
    "longest text in a custom field": lambda row, _: _some(
        max((len(one) for one in row["custom"].values() if isinstance(one, str)), default=0)
    ),
    "most tags": lambda row, _: _some(len(row["tags"])),
    "oldest": lambda row, _: _moment(row["created_at"], -1),
    "newest": lambda row, _: _moment(row["created_at"], 1),
    "closed longest ago": lambda row, _: _moment(row["closed_at"], -1),
    "expected to close latest": lambda row, _: _day(row["expected_close"]),
}

# Of each one is in.
_ANY: Mapping[str, Callable[[Row, Context], bool]] = {
    "emoji in its name": lambda row, _: _has(row["name"], _is_emoji),
    "right-to-left name": lambda row, _: _has(row["name"], _is_right_to_left),
    "control characters in its name": lambda row, _: any(
        unicodedata.category(one) in ("Cc", "Cf") for one in row["name"] if not one.isprintable()
    ),
    "no name": lambda row, _: not row["name"].strip(),
    "amount of zero": lambda row, _: row["amount"] is not None and row["amount"] == 0,
    "no amount": lambda row, _: row["amount"] is None,
    "several people": lambda row, _: len(row["contacts"]) > 1,
    "several companies": lambda row, _: len(row["companies"]) > 1,
    "nobody on it": lambda row, _: not row["contacts"],
    "no company": lambda row, _: not row["companies"],
    "neither company nor people": lambda row, _: not row["companies"] and not row["contacts"],
    "no owner": lambda row, _: row["owner_id"] is None,
    "an owner who left": lambda row, context: row["owner_id"] in context.inactive,
    "no day to close": lambda row, _: row["expected_close"] is None,
    "an amount that recurs": lambda row, _: str(row["value_period"]) != "one_time",
    "a reason for its loss": lambda row, _: bool(row["lost_reason"]),
}


def choose(rows: Iterable[Row], size: int, *, seed: int, context: Context | None = None) -> list[Chosen]:
    """The sample: the strange deals, then one of every sort, then some by lot.

    Args:
        rows: Deals, in any order; read once. A deal that comes again counts once.
        size: How many to choose; all of them if there are no more.
        seed: Another seed draws other deals where it makes no difference which.
        context: What else is known.

    Returns:
        At most `size` deals, the strangest first. If they are too few for all, the strange
        ones come before the sorts.
    """
    gathered = _Gathered(size, seed, context or Context())
    for row in rows:
        gathered.add(row)
    return gathered.chosen()


class _Gathered:
    """What is kept of the rows so far."""

    def __init__(self, size: int, seed: int, context: Context) -> None:
        self._size = max(0, size)
        self._seed = seed
        self._context = context
        self._most: dict[str, tuple[Rank, _Seen]] = {}
        self._any: dict[str, _Seen] = {}
        self._sorts: dict[str, list[_Seen]] = {}
        self._twins = _Twins()
        self._lot = _Lowest(self._size)

    def add(self, row: Row) -> None:
        seen = self._seen(row)
        for reason, rank_of in _MOST.items():
            rank = rank_of(row, self._context)
            if rank is not None:
                best = self._most.get(reason)
                if best is None or rank > best[0] or (rank == best[0] and seen < best[1]):
                    self._most[reason] = (rank, seen)
        for reason in seen.traits:
            if reason not in self._any or seen < self._any[reason]:
                self._any[reason] = seen
        for one in seen.sorts:
            kept = self._sorts.setdefault(one, [])
            if (len(kept) < _PER_SORT or seen < kept[-1]) and seen not in kept:
                kept.append(seen)
                kept.sort()
                del kept[_PER_SORT:]
        self._twins.add(row["name"], seen)
        self._lot.add(seen)

    def chosen(self) -> list[Chosen]:
        """The sample, from what was kept."""
        reasons: dict[str, list[str]] = {}
        known: dict[str, _Seen] = {}

        def take(seen: _Seen, reason: str) -> None:
            if seen.id in reasons or len(reasons) < self._size:
                known[seen.id] = seen
                reasons.setdefault(seen.id, []).append(reason)

        for reason in _MOST:
            if reason in self._most:
                take(self._most[reason][1], reason)
        for reason in _ANY:
            there = [seen for seen in known.values() if reason in seen.traits]
            if there or reason in self._any:
                take(min(there) if there else self._any[reason], reason)
        for twin in self._twins.found():
            take(twin, "has the same name as another")
        for seen, covered in self._cover(known.values()):
            take(seen, f"stands for {', '.join(covered)}")
        for seen in self._lot.found():
            if seen.id not in reasons:
                take(seen, "drawn by lot")
        return [Chosen(id, known[id].label, tuple(why)) for id, why in reasons.items()]

    def _cover(self, taken: Collection[_Seen]) -> Iterator[tuple[_Seen, list[str]]]:
        """Deals that cover the sorts that are missing, each time the one that covers most of them."""
        missing = set(self._sorts) - {one for seen in taken for one in seen.sorts}
        while missing:
            candidates = {seen for one in missing for seen in self._sorts[one]}
            best = min(candidates, key=lambda seen: (-len(missing.intersection(seen.sorts)), seen))
            covered = [one for one in best.sorts if one in missing]
            missing.difference_update(covered)
            yield best, covered

    def _seen(self, row: Row) -> _Seen:
        lot = hashlib.blake2b(f"{self._seed}:{row['id']}".encode(), digest_size=12).hexdigest()
        pipeline = row["pipeline_id"]
        called = self._context.pipelines.get(pipeline)
        # Two pipelines may share a name.
        named = f"{called} ({pipeline})" if called else str(pipeline or "none")
        values = {
            "pipeline": named,
            "stage": f"{row['stage_id'] or 'none'} of {named}",
            "owner": row["owner_id"] or "none",
            "currency": row["currency"] or "none",
            "outcome": str(row["outcome"]),
        }
        sorts = tuple(f"{one} {values[one]}" for one in _SORTS)
        traits = frozenset(reason for reason, holds in _ANY.items() if holds(row, self._context))
        return _Seen(lot, str(row["id"]), str(row["name"]), sorts, traits)


class _Twins:
    """Two deals of one name; compared are the names with the lowest hashes."""

    def __init__(self) -> None:
        self._named: dict[int, tuple[_Seen, ...]] = {}
        self._highest: list[int] = []

    def add(self, name: str, seen: _Seen) -> None:
        text = " ".join(name.casefold().split())
        key = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")
        before = self._named.get(key)
        if before is not None:
            if seen not in before:
                self._named[key] = tuple(sorted((*before, seen))[:2])
        elif len(self._named) < _NAMES_COMPARED:
            self._named[key] = (seen,)
            heapq.heappush(self._highest, -key)
        elif key < -self._highest[0]:
            del self._named[-heapq.heapreplace(self._highest, -key)]
            self._named[key] = (seen,)

    def found(self) -> tuple[_Seen, ...]:
        """The pair that comes first by lot; nothing if all names differ."""
        return min((pair for pair in self._named.values() if len(pair) == 2), default=())


class _Lowest:
    """The so many lowest of what was added, each once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[tuple[_Reversed, str]] = []
        self._ids: set[str] = set()

    def add(self, seen: _Seen) -> None:
        if not self._size or seen.id in self._ids:
            return
        if len(self._kept) < self._size:
            heapq.heappush(self._kept, (_Reversed(seen), seen.id))
            self._ids.add(seen.id)
        elif seen < self._kept[0][0].seen:
            _, gone = heapq.heapreplace(self._kept, (_Reversed(seen), seen.id))
            self._ids.discard(gone)
            self._ids.add(seen.id)

    def found(self) -> list[_Seen]:
        return sorted(one.seen for one, _ in self._kept)


@dataclass(frozen=True, slots=True)
class _Reversed:
    seen: _Seen

    def __lt__(self, other: _Reversed) -> bool:
        return other.seen < self.seen


def _has(text: str, what: Callable[[str], bool]) -> bool:
    return not text.isascii() and any(map(what, text))


def _is_emoji(sign: str) -> bool:
    return unicodedata.category(sign) == "So"


def _is_right_to_left(sign: str) -> bool:
    return unicodedata.bidirectional(sign) in _RIGHT_TO_LEFT


def _ranked(value: Any) -> Rank | None:
    return None if value is None or not value.is_finite() else (value,)


def _below_zero(value: Any) -> bool:
    return value is not None and value.is_finite() and value < 0


def _decimals(value: Any) -> Rank | None:
    if value is None or not value.is_finite():
        return None
    places = -value.normalize().as_tuple().exponent
    return (places,) if places > 0 else None


def _several(count: int) -> Rank | None:
    return (count,) if count > 1 else None


def _some(count: int) -> Rank | None:
    return (count,) if count > 0 else None


def _options(row: Row) -> int:
    return max((len(one) for one in row["custom"].values() if isinstance(one, (list, tuple))), default=0)


def _moment(value: Any, sign: int) -> Rank | None:
    return None if value is None else (sign * value.timestamp(),)


def _day(value: Any) -> Rank | None:
    return None if value is None else (value.toordinal(),)
