"""Which records of different CRMs are the same one: a ladder of exact keys.

A rung links records that share a key, if the key stands for one unlinked record on each
side. Where it stands for several it links none of them: ambiguity is a finding, never a
link (DESIGN 6). A group never holds two records of one connection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Generic, Protocol, TypeVar

from rapidfuzz import fuzz

from crmkit.mapping import identity
from crmkit.model import Ref

NAME_SCORE = 85.0


@dataclass(frozen=True, slots=True)
class LinkableCompany:
    """What tells companies apart."""

    ref: Ref
    name: str
    domain: str | None = None
    tax_id: str | None = None
    phones: tuple[str, ...] = ()
    city: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class LinkableContact:
    """What tells people apart."""

    ref: Ref
    name: str
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    key: str | None = None


@dataclass(frozen=True, slots=True)
class LinkableDeal:
    """What tells deals apart; `company` is the id of the linked company, the same in every CRM."""

    ref: Ref
    name: str
    amount: Decimal | None = None
    currency: str | None = None
    company: str | None = None
    expected_close: date | None = None
    key: str | None = None


class Linkable(Protocol):
    """A record that can be linked."""

    @property
    def ref(self) -> Ref: ...


L = TypeVar("L", bound=Linkable)
Keys = Callable[[L], Iterable[Hashable]]


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """Several records of one connection share a key: a person has to tell them apart."""

    rung: str
    refs: tuple[Ref, ...]


@dataclass(slots=True)
class Links:
    """Groups of records that are the same one.

    Attributes:
        group_of: Per record, the name of its group; the ref of its first member.
        evidence: Per record, the rung that brought it into its group.
        ambiguous: Keys that stand for several records of one connection.
    """

    group_of: dict[Ref, str] = field(default_factory=dict)
    evidence: dict[Ref, str] = field(default_factory=dict)
    ambiguous: list[Ambiguity] = field(default_factory=list)

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


_NOTHING = Decided()


class _Ladder(Generic[L]):
    """Groups under construction."""

    def __init__(self, records: Sequence[L], decided: Decided = _NOTHING) -> None:
        self._records = sorted(records, key=lambda record: record.ref)
        self._groups: dict[Ref, list[Ref]] = {}
        self._apart = decided.apart
        self.links = Links()
        known = {record.ref for record in self._records}
        for group in decided.together:
            refs = sorted(ref for ref in group if ref in known)
            for ref in refs[1:]:
                self._unite("decided", refs[0], ref)

    def climb(self, rung: str, keys: Keys[L]) -> None:
        """Link by one kind of key."""
        holders: dict[Hashable, list[Ref]] = defaultdict(list)
        for record in self._records:
            for key in {*keys(record)}:
                holders[key].append(record.ref)
        for refs in holders.values():
            if len(refs) > 1:
                self._join(rung, refs)

    def _join(self, rung: str, refs: Sequence[Ref]) -> None:
        by_connection: dict[str, list[Ref]] = defaultdict(list)
        for ref in refs:
            by_connection[ref.connection].append(ref)
        if len(by_connection) < 2:
            return
        unique = [found[0] for found in by_connection.values() if len(found) == 1]
        for found in by_connection.values():
            # Several holders, but linked to another group already: the key says nothing new.
            free = [ref for ref in found if ref not in self._groups]
            if len(found) > 1 and free:
                self.links.ambiguous.append(Ambiguity(rung, tuple(found)))
        for ref in unique[1:]:
            self._unite(rung, unique[0], ref)

    def _unite(self, rung: str, one: Ref, other: Ref) -> None:
        left = self._groups.setdefault(one, [one])
        right = self._groups.setdefault(other, [other])
        if left is right:
            return
        clash = {ref.connection for ref in left} & {ref.connection for ref in right}
        apart = self._apart and any(frozenset((a, b)) in self._apart for a in left for b in right)
        if clash or apart:
            if len(left) == 1:
                del self._groups[one]
            if len(right) == 1:
                del self._groups[other]
            return
        for ref in (one, other):
            self.links.evidence.setdefault(ref, rung)
        left.extend(right)
        for ref in right:
            self._groups[ref] = left

    def finish(self) -> Links:
        """The groups, named."""
        for ref, members in self._groups.items():
            if len(members) > 1:
                self.links.group_of[ref] = str(min(members))
        return self.links

    def free(self) -> list[L]:
        """Records that are in no group yet."""
        return [record for record in self._records if record.ref not in self._groups]

    def group(self, ref: Ref) -> Sequence[Ref]:
        """The members of a record's group so far."""
        return self._groups.get(ref, [ref])

    def unite(self, rung: str, one: Ref, other: Ref) -> None:
        """Link two records that a scored rung chose."""
        self._unite(rung, one, other)


def link_companies(companies: Sequence[LinkableCompany], decided: Decided = _NOTHING) -> Links:
    """The same company in different CRMs: stored key, domain, tax id, phone, name and city."""
    ladder = _Ladder(companies, decided)
    ladder.climb("stored key", _stored_key)
    ladder.climb("domain", lambda company: _some(identity.domain(company.domain)))
    ladder.climb("tax id", lambda company: _some(identity.tax_id(company.tax_id)))
    ladder.climb("phone", lambda company: filter(None, map(identity.phone, company.phones)))
    ladder.climb("name and city", _name_and_city)
    return ladder.finish()


def link_contacts(contacts: Sequence[LinkableContact], decided: Decided = _NOTHING) -> Links:
    """The same person in different CRMs: stored key, e-mail, phone and name."""
    ladder = _Ladder(contacts, decided)
    ladder.climb("stored key", _stored_key)
    ladder.climb("e-mail", lambda contact: filter(None, map(identity.email, contact.emails)))
    ladder.climb(
        "phone and name",
        lambda contact: [
            (" ".join(identity.words(contact.name)), number)
            for number in filter(None, map(identity.phone, contact.phones))
            if contact.name
        ],
    )
    return ladder.finish()


def link_deals(deals: Sequence[LinkableDeal], decided: Decided = _NOTHING) -> Links:
    """The same deal in different CRMs.

    Stored key first; then deals of the same linked company in the same currency: by
    amount and close date, then by amount, then by close date, the last two only where
    the names are alike too.
    """
    ladder = _Ladder(deals, decided)
    ladder.climb("stored key", _stored_key)
    ladder.climb(
        "company, amount and close date",
        lambda deal: _some(_at_company(deal, deal.amount, deal.expected_close)),
    )
    names = {deal.ref: " ".join(identity.words(deal.name)) for deal in deals}
    _climb_named(ladder, "company, amount and name", lambda deal: _at_company(deal, deal.amount), names)
    _climb_named(
        ladder, "company, close date and name", lambda deal: _at_company(deal, deal.expected_close), names
    )
    return ladder.finish()


def _climb_named(
    ladder: _Ladder[LinkableDeal],
    rung: str,
    key: Callable[[LinkableDeal], Hashable | None],
    names: Mapping[Ref, str],
) -> None:
    """Link pairs that share a key and are each other's only partner with a like name."""
    holders: dict[Hashable, list[Ref]] = defaultdict(list)
    for deal in ladder.free():
        value = key(deal)
        if value is not None:
            holders[value].append(deal.ref)
    for refs in holders.values():
        partners: dict[Ref, list[Ref]] = defaultdict(list)
        for at, one in enumerate(refs):
            for other in refs[at + 1 :]:
                alike = one.connection != other.connection and _alike(names[one], names[other])
                if alike:
                    partners[one].append(other)
                    partners[other].append(one)
        for one, others in sorted(partners.items()):
            for other in others:
                if _only(partners, one, other) and _only(partners, other, one):
                    ladder.unite(rung, one, other)
            doubtful = [ref for ref in others if not _only(partners, one, ref)]
            if doubtful:
                ladder.links.ambiguous.append(Ambiguity(rung, tuple(sorted({one, *doubtful}))))


def _only(partners: Mapping[Ref, Sequence[Ref]], one: Ref, other: Ref) -> bool:
    """Whether `other` is the only partner of `one` in its connection."""
    return sum(ref.connection == other.connection for ref in partners[one]) == 1


def _alike(one: str, other: str) -> bool:
    return bool(one and other) and fuzz.token_sort_ratio(one, other) >= NAME_SCORE


def _at_company(deal: LinkableDeal, *values: Hashable | None) -> Hashable | None:
    if deal.company is None or deal.currency is None or any(value is None for value in values):
        return None
    return (deal.company, deal.currency, *values)


def _stored_key(record: LinkableCompany | LinkableContact | LinkableDeal) -> Iterable[Hashable]:
    """The key it carries, and its own address, which another record may carry as its key."""
    own = f"{record.ref.connection}:{record.ref.kind}:{record.ref.id}"
    return (record.key, own) if record.key else (own,)


def _name_and_city(company: LinkableCompany) -> Iterable[Hashable]:
    name, city = identity.company_name(company.name), " ".join(identity.words(company.city or ""))
    return [(name, city)] if name and city else []


def _some(value: Hashable | None) -> Iterable[Hashable]:
    return () if value is None else (value,)
