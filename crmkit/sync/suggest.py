"""Records of different CRMs that may be the same: suggested with evidence, never linked unasked.

Only records that the exact ladder left without a counterpart are looked at. Records are
compared inside blocks that share a key (a name's beginning in one city, a phone number, a
deal's company), so that the work grows with the records, not with their pairs. A block of
too many records is passed over and counted: what so many share tells nobody apart.

A suggestion holds both records until a person decides, so that each needs two independent
things that speak for it, and none that speaks against it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from crmkit.model import Kind, Ref
from crmkit.sync.ladder import Decided, Links
from crmkit.sync.linkable import Linkable, LinkableCompany, LinkableContact, LinkableDeal
from crmkit.sync.resemblance import (
    company_keys,
    contact_keys,
    deal_keys,
    score_companies,
    score_contacts,
    score_deals,
)

THRESHOLD = 55.0
BLOCK = 40
PARTNERS = 5


L = TypeVar("L", bound=Linkable)
Linkables = Sequence[LinkableCompany | LinkableContact | LinkableDeal]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Two records that may be the same.

    Attributes:
        one: The first record.
        other: The second, of another connection.
        score: How alike they are, 0 to 100.
        evidence: What speaks for it, for a person.
    """

    one: Ref
    other: Ref
    score: float
    evidence: str

    def partner(self, ref: Ref) -> Ref:
        """The other record of the pair."""
        return self.other if ref == self.one else self.one


@dataclass(slots=True)
class Suggested:
    """What was found.

    Attributes:
        pairs: Best first.
        compared: How many pairs of records were compared.
        skipped: How many keys were passed over because more than `BLOCK` records share them.
    """

    pairs: list[Suggestion] = field(default_factory=list)
    compared: int = 0
    skipped: int = 0


def suggest(kind: Kind, records: Linkables, decided: Decided, found: Links) -> Suggested:
    """Pairs of records without a counterpart that a person should look at, best first.

    Args:
        kind: What the records are.
        records: All of them.
        decided: What is linked already, and what a person said.
        found: What the exact ladder linked.
    """
    if kind is Kind.COMPANY:
        companies = cast(Sequence[LinkableCompany], records)
        return _Search(decided, found, company_keys, score_companies).run(companies)
    if kind is Kind.CONTACT:
        contacts = cast(Sequence[LinkableContact], records)
        return _Search(decided, found, contact_keys, score_contacts).run(contacts)
    deals = cast(Sequence[LinkableDeal], records)
    return _Search(decided, found, deal_keys, score_deals).run(deals)


def maybe_same(found: Links, suggested: Suggested) -> dict[Ref, str]:
    """Per record the group that it is in, or would be in if every open question were answered yes.

    What belongs to companies that may be the same has to be compared as if they were.
    """
    group_of: dict[Ref, str] = dict(found.group_of)
    parents: dict[str, str] = {}

    def top(name: str) -> str:
        while name in parents:
            name = parents[name]
        return name

    open_pairs = [(pair.one, pair.other) for pair in suggested.pairs]
    open_pairs += [pair for one in found.ambiguous for pair in one.pairs]
    open_pairs += [(one.refs[0], ref) for one in found.ambiguous if not one.pairs for ref in one.refs[1:]]
    for one, other in open_pairs:
        left, right = (top(group_of.setdefault(ref, str(ref))) for ref in (one, other))
        if left != right:
            parents[max(left, right)] = min(left, right)
    return {ref: top(group) for ref, group in group_of.items()}


class _Search(Generic[L]):
    """Compares records block by block."""

    def __init__(
        self,
        decided: Decided,
        found: Links,
        keys: Callable[[L], Iterable[str]],
        score: Callable[[L, L], tuple[float, str]],
    ) -> None:
        self._apart = decided.apart
        self._group_of = found.group_of
        self._keys = keys
        self._score = score
        self._sides: dict[str, set[str]] = defaultdict(set)
        self._grouped: dict[str, list[Ref]] = defaultdict(list)
        for ref, group in found.group_of.items():
            self._sides[group].add(ref.connection)
            if self._apart:
                self._grouped[group].append(ref)

    def run(self, records: Sequence[L]) -> Suggested:
        """All pairs above the threshold."""
        result = Suggested()
        everywhere = len({record.ref.connection for record in records})
        open_ones = [record for record in records if self._is_open(record.ref, everywhere)]
        blocks: dict[str, list[int]] = defaultdict(list)
        for at, record in enumerate(open_ones):
            for key in {*self._keys(record)}:
                blocks[key].append(at)
        partners: dict[int, set[int]] = defaultdict(set)
        for block in blocks.values():
            if len(block) > BLOCK:
                result.skipped += len({open_ones[at].ref.connection for at in block}) > 1
                continue
            for one, other in _pairs(block):
                if open_ones[one].ref.connection != open_ones[other].ref.connection:
                    partners[one].add(other)
        del blocks
        for one, others in partners.items():
            for other in others:
                suggestion = self._compare(open_ones[one], open_ones[other])
                result.compared += 1
                if suggestion is not None:
                    result.pairs.append(suggestion)
        result.pairs = _best(result.pairs)
        return result

    def _is_open(self, ref: Ref, everywhere: int) -> bool:
        """Whether a counterpart is missing anywhere."""
        group = self._group_of.get(ref)
        return group is None or len(self._sides[group]) < everywhere

    def _compare(self, one: L, other: L) -> Suggestion | None:
        left, right = self._group_of.get(one.ref), self._group_of.get(other.ref)
        if left is not None or right is not None:
            mine = self._sides[left] if left is not None else {one.ref.connection}
            theirs = self._sides[right] if right is not None else {other.ref.connection}
            if left == right or mine & theirs:
                return None
        score, evidence = self._score(one, other)
        if score < THRESHOLD or self._told_apart(one.ref, other.ref):
            return None
        first, second = sorted((one.ref, other.ref))
        return Suggestion(first, second, round(score, 1), evidence)

    def _told_apart(self, one: Ref, other: Ref) -> bool:
        if not self._apart:
            return False
        lefts = self._grouped.get(self._group_of.get(one, ""), [one])
        rights = self._grouped.get(self._group_of.get(other, ""), [other])
        return any(frozenset((left, right)) in self._apart for left in lefts for right in rights)


def _pairs(block: Sequence[int]) -> Iterator[tuple[int, int]]:
    for at, one in enumerate(block):
        for other in block[at + 1 :]:
            yield one, other


def _best(pairs: Iterable[Suggestion]) -> list[Suggestion]:
    """Best first, and of each record's only the few best."""
    kept: list[Suggestion] = []
    count: dict[Ref, int] = defaultdict(int)
    for pair in sorted(pairs, key=lambda pair: (-pair.score, pair.one, pair.other)):
        if count[pair.one] < PARTNERS or count[pair.other] < PARTNERS:
            kept.append(pair)
            count[pair.one] += 1
            count[pair.other] += 1
    return kept
