"""A ladder of keys: who shares one with exactly one record of another connection is linked.

A rung links records that share a key, if the key stands for one record on each side. Where
it stands for several it links none of them: ambiguity is a finding, never a link (DESIGN 6).
A group never holds two records of one connection.

Millions of records fit: inside, a record is its place in the list, a rung is one pass over
the list, and only keys that several records share are kept.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from operator import attrgetter
from typing import Generic, TypeVar

from crmkit.model import Ref
from crmkit.sync.linkable import Linkable

# A phone number or domain of more records than this in one CRM is a switchboard or a shared
# host: it tells nobody apart.
WORN_OUT = 20
# Of a key that more records than this share, no pairs are listed: all of them wait.
_PAIRED = 40
# Where more than the key has to fit, so many are looked at: most pairs do not fit.
_CHECKED = 200
_FREE = -1

L = TypeVar("L", bound=Linkable)
Keys = Callable[[L], Iterable[Hashable]]
Agrees = Callable[[L, L], bool]


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """Records that share a key and may be the same: a person has to tell them apart.

    Attributes:
        rung: The key they share.
        refs: The records that stand in each other's way: several of one connection, or one
            whose counterpart is linked to another record of its connection.
        pairs: Who may be who; empty if there are too many to list.
        waiting: For whom nothing may be created meanwhile; the counterparts too.
    """

    rung: str
    refs: tuple[Ref, ...]
    pairs: tuple[tuple[Ref, Ref], ...] = ()
    waiting: tuple[Ref, ...] = ()


@dataclass(slots=True)
class Links:
    """Groups of records that are the same one.

    Attributes:
        group_of: Per record, the name of its group; the ref of its first member.
        evidence: Per record, the rung that brought it into its group.
        ambiguous: Keys that stand for several records of one connection.
        worn_out: Per rung, how many keys so many records share that they were left aside.
    """

    group_of: dict[Ref, str] = field(default_factory=dict)
    evidence: dict[Ref, str] = field(default_factory=dict)
    ambiguous: list[Ambiguity] = field(default_factory=list)
    worn_out: dict[str, int] = field(default_factory=dict)

    def members(self) -> dict[str, list[Ref]]:
        """The records of each group, in order."""
        groups: dict[str, list[Ref]] = defaultdict(list)
        for ref, group in sorted(self.group_of.items()):
            groups[group].append(ref)
        return dict(groups)


@dataclass(frozen=True, slots=True)
class Decided:
    """What is settled before the ladder is climbed.

    Attributes:
        together: Groups of records that are the same one: linked before, or by a person.
        apart: Pairs that a person said are different.
    """

    together: Sequence[Sequence[Ref]] = ()
    apart: frozenset[frozenset[Ref]] = frozenset()


NOTHING_DECIDED = Decided()


@dataclass(frozen=True, slots=True)
class Rung(Generic[L]):
    """One kind of key.

    Attributes:
        name: What people know it by.
        keys: A record's keys of this kind.
        agrees: What else must fit before two records are linked; the key alone if absent.
        identifies: Whether a key belongs to one record in truth: who shares it with a linked
            one is probably a duplicate of it, and waits.
        wears_out: Whether a key that very many records share says nothing.
        elsewhere: Whether two records with the same key are known to be two all the same.
    """

    name: str
    keys: Keys[L]
    agrees: Agrees[L] | None = None
    identifies: bool = True
    wears_out: bool = False
    elsewhere: Agrees[L] | None = None


class Ladder(Generic[L]):
    """Groups under construction; records are known by their place in the list."""

    def __init__(self, records: Sequence[L], decided: Decided) -> None:
        # The order of refs, several times faster than by comparing them.
        sides: dict[str, list[L]] = defaultdict(list)
        for record in records:
            sides[record.ref.connection].append(record)
        self.records: list[L] = []
        self.connection = array("i")
        for number, name in enumerate(sorted(sides)):
            self.records += sorted(sides[name], key=attrgetter("ref.id"))
            self.connection.extend(array("i", [number]) * len(sides[name]))
        self._connections = len(sides)
        self._group = array("i", [_FREE]) * len(self.records)
        self._members: dict[int, list[int]] = {}
        self._evidence: dict[int, str] = {}
        self._contested: list[tuple[Rung[L], list[int]]] = []
        self._apart: dict[int, set[int]] = defaultdict(set)
        self._worn_out: dict[str, int] = defaultdict(int)
        self._settle(decided)

    def _settle(self, decided: Decided) -> None:
        named = {ref for pair in decided.apart for ref in pair}
        named.update(ref for group in decided.together for ref in group)
        if not named:
            return
        places = {one.ref: at for at, one in enumerate(self.records) if one.ref in named}
        for pair in decided.apart:
            known = [places[ref] for ref in pair if ref in places]
            for one, other in combinations(known, 2):
                self._apart[one].add(other)
                self._apart[other].add(one)
        for group in decided.together:
            known = sorted(places[ref] for ref in group if ref in places)
            for other in known[1:]:
                self.unite("decided", known[0], other)

    def climb(self, rung: Rung[L]) -> None:
        """Link by one kind of key."""
        first: dict[Hashable, int] = {}
        shared: dict[Hashable, list[int]] = {}
        hold = first.setdefault
        for at, keys in enumerate(map(rung.keys, self.records)):
            if keys:
                for key in keys:
                    before = hold(key, at)
                    if before != at:
                        found = shared.get(key)
                        if found is None:
                            shared[key] = [before, at]
                        elif found[-1] != at:
                            found.append(at)
        del first, hold
        for found in shared.values():
            self._join(rung, found)

    def _join(self, rung: Rung[L], found: list[int]) -> None:
        connection = self.connection
        if len(found) == 2 and not self._apart:  # nearly all: one on each of two sides
            one, other = found
            if connection[one] != connection[other]:
                self._try(rung, one, other)
            return
        sides: dict[int, list[int]] = defaultdict(list)
        for at in self._possible(found):
            sides[connection[at]].append(at)
        if len(sides) < 2:
            return
        if rung.wears_out and max(map(len, sides.values())) > WORN_OUT:
            self.wear_out(rung.name)
            return
        unique = [side[0] for side in sides.values() if len(side) == 1]
        for other in unique[1:]:
            self._try(rung, unique[0], other)
        if len(unique) < len(sides):
            self._contested.append((rung, found))

    def _possible(self, found: Sequence[int]) -> Iterable[int]:
        """Those that a person has not told apart from everybody on the other sides."""
        if not any(at in self._apart for at in found):
            return found
        return [
            at
            for at in found
            if any(
                self.connection[at] != self.connection[other] and not self.told_apart(at, other)
                for other in found
            )
        ]

    def _try(self, rung: Rung[L], one: int, other: int) -> None:
        left = self._group[one]
        if left != _FREE and left == self._group[other]:
            return
        if rung.agrees is not None and not rung.agrees(self.records[one], self.records[other]):
            return
        if not self.unite(rung.name, one, other) and rung.identifies:
            self._contested.append((rung, [one, other]))

    def unite(self, rung: str, one: int, other: int) -> bool:
        """Link two records; whether nothing stood against it."""
        group = self._group
        if group[one] == group[other] == _FREE and not self._apart:  # nearly always
            if self.connection[one] == self.connection[other]:
                return False
            group[one] = group[other] = one
            self._members[one] = [one, other]
            self._evidence[one] = self._evidence[other] = rung
            return True
        if self.same(one, other):
            return True
        if self.told_apart(one, other) or self._clash(one, other):
            return False
        kept, moved = self.group(one), self.group(other)
        name = self._group[one] if self._group[one] != _FREE else one
        self._members.pop(self._group[other], None)
        self._members[name] = [*kept, *moved]
        for at in self._members[name]:
            self._group[at] = name
        for at in (one, other):
            self._evidence.setdefault(at, rung)
        return True

    def same(self, one: int, other: int) -> bool:
        """Whether two records are in one group."""
        return self._group[one] != _FREE and self._group[one] == self._group[other]

    def told_apart(self, one: int, other: int) -> bool:
        """Whether a person said that they, or records linked to them, are different."""
        return bool(self._apart) and any(
            right in self._apart.get(left, ()) for left in self.group(one) for right in self.group(other)
        )

    def is_free(self, at: int) -> bool:
        """Whether a record is in no group."""
        return self._group[at] == _FREE

    def is_everywhere(self, at: int) -> bool:
        """Whether a record has a counterpart in every connection."""
        return len(self.group(at)) == self._connections

    def may_unite(self, one: int, other: int) -> bool:
        """Whether nothing stands against linking two records."""
        return not (self.same(one, other) or self._clash(one, other) or self.told_apart(one, other))

    def group(self, at: int) -> Sequence[int]:
        """The members of a record's group so far."""
        return (at,) if self._group[at] == _FREE else self._members[self._group[at]]

    def _clash(self, one: int, other: int) -> bool:
        sides = self.connection
        return not {sides[at] for at in self.group(one)}.isdisjoint(sides[at] for at in self.group(other))

    def wear_out(self, rung: str) -> None:
        """Count a key that too many records share."""
        self._worn_out[rung] += 1

    def contest(self, rung: Rung[L], found: list[int]) -> None:
        """Note records that nothing tells apart yet; a later rung may."""
        self._contested.append((rung, found))

    def finish(self) -> Links:
        """The groups, named, and what stays ambiguous."""
        links = Links(worn_out=dict(self._worn_out))
        for members in self._members.values():
            name = str(self.records[min(members)].ref)
            for at in members:
                links.group_of[self.records[at].ref] = name
        links.evidence = {self.records[at].ref: rung for at, rung in self._evidence.items()}
        told: set[tuple[int, ...]] = set()
        for rung, found in self._contested:
            waiting, one = self._ambiguity(rung, found)
            if one is not None and waiting not in told:
                told.add(waiting)
                links.ambiguous.append(one)
        return links

    def _ambiguity(self, rung: Rung[L], found: Sequence[int]) -> tuple[tuple[int, ...], Ambiguity | None]:
        """What is still open among the holders of a key, now that all rungs are climbed."""
        if len(found) > (_PAIRED if rung.agrees is None else _CHECKED):
            waiting = {at for at in found if self.is_free(at)}
            pairs: list[tuple[int, int]] = []
            blamed = waiting
        else:
            waiting, blamed, pairs = set(), set(), []
            for one, other in combinations(found, 2):
                if self.connection[one] == self.connection[other] or self.same(one, other):
                    continue
                if self.told_apart(one, other):
                    continue
                left, right = self.records[one], self.records[other]
                if rung.agrees is not None and not rung.agrees(left, right):
                    continue
                if not self._clash(one, other):
                    waiting |= {one, other}
                    pairs.append((one, other))
                elif rung.identifies and not (rung.elsewhere and rung.elsewhere(left, right)):
                    free = {at for at in (one, other) if self.is_free(at)}
                    waiting |= free
                    blamed |= free
                    if free:
                        pairs.append((one, other))
            sides: dict[int, list[int]] = defaultdict(list)
            for at in found:
                sides[self.connection[at]].append(at)
            blamed |= {at for at in waiting if len(sides[self.connection[at]]) > 1}
        if not waiting:
            return (), None
        ordered = tuple(sorted(waiting))
        return ordered, Ambiguity(
            rung.name,
            self._refs(blamed or waiting),
            tuple((self.records[one].ref, self.records[other].ref) for one, other in pairs),
            self._refs(waiting),
        )

    def _refs(self, places: Iterable[int]) -> tuple[Ref, ...]:
        return tuple(self.records[at].ref for at in sorted(places))


def climb_stored_keys(ladder: Ladder[L]) -> None:
    """Link by the key a record carries, which may be another record's address."""
    stored = {record.key for record in ladder.records if record.key}
    if not stored:
        return
    named = {key.rsplit(":", 1)[-1] for key in stored}

    def keys(record: L) -> Iterable[Hashable]:
        if record.key:
            yield record.key
        # An address is put together only where some key may name it.
        if record.ref.id.rsplit(":", 1)[-1] in named:
            address = str(record.ref)
            if address in stored:
                yield address

    ladder.climb(Rung("stored key", keys))


def some(value: Hashable | None) -> Iterable[Hashable]:
    """The value as the keys of a record: one, or none."""
    return () if value is None else (value,)
