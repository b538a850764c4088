"""Stored records as what tells them apart, and what the ladder and the suggestions say of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import sqlalchemy as sa

from crmkit.model import Kind, Ref
from crmkit.sync.link import (
    Decided,
    LinkableCompany,
    LinkableContact,
    LinkableDeal,
    Links,
    link_companies,
    link_contacts,
    link_deals,
)
from crmkit.sync.rows import TABLES
from crmkit.sync.suggest import Suggested, maybe_same, suggest
from crmkit.sync.tables import LINKED_KINDS

AnyLinkable: TypeAlias = LinkableCompany | LinkableContact | LinkableDeal
CompanyOf = Callable[[str, str], str | None]
"""Connection and native id of a company to what stands for it in every CRM."""
_ROWS_AT_ONCE = 5000
_COLUMNS: dict[Kind, tuple[str, ...]] = {
    Kind.COMPANY: ("name", "domain", "tax_id", "phones", "city", "key"),
    Kind.CONTACT: ("name", "emails", "phones", "companies", "key"),
    Kind.DEAL: (
        "name", "amount", "currency", "companies", "expected_close", "key", "archived", "pipeline_id",
        "owner_id", "created_at", "custom",
    ),
}  # fmt: skip


def read_rows(db: sa.Connection, kind: Kind, connections: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """The live records of a kind, with the columns that tell them apart."""
    table = TABLES[kind]
    columns = (table.c[name] for name in ("connection", "id", *_COLUMNS[kind]))
    query = sa.select(*columns).where(
        table.c.gone_at.is_(None), table.c.archived.is_(False), table.c.connection.in_(list(connections))
    )
    found = db.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
    for row in found.mappings():
        yield dict(row)


def linkable(
    kind: Kind,
    row: Mapping[str, Any],
    company_of: CompanyOf,
    names: Mapping[Ref, str],
    *,
    key: str | None,
) -> AnyLinkable:
    """A stored record as the ladder takes it.

    Args:
        kind: What it is.
        row: As `read_rows` gives it.
        company_of: What stands for a company.
        names: The companies' own names.
        key: Its stored key, if that ties it to a record.
    """
    ref = Ref(row["connection"], kind, row["id"])
    if kind is Kind.COMPANY:
        return LinkableCompany(
            ref, row["name"], row["domain"], row["tax_id"], tuple(row["phones"]), row["city"], key
        )
    native = row["companies"][0] if row["companies"] else None
    company = company_of(ref.connection, native) if native is not None else None
    if kind is Kind.CONTACT:
        return LinkableContact(ref, row["name"], tuple(row["emails"]), tuple(row["phones"]), key, company)
    created = row["created_at"]
    return LinkableDeal(
        ref,
        row["name"],
        row["amount"],
        row["currency"],
        company,
        row["expected_close"],
        key,
        names.get(Ref(ref.connection, Kind.COMPANY, native), "") if native is not None else "",
        created.date() if created is not None else None,
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """Two records about which a person has to decide."""

    one: Ref
    other: Ref
    score: float | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found out about the records of one kind.

    Attributes:
        records: The records.
        found: What the ladder linked, and what is ambiguous.
        suggested: What may be the same.
    """

    records: Sequence[AnyLinkable]
    found: Links
    suggested: Suggested

    def maybe(self) -> dict[Ref, str]:
        """Per record the group it is in, or may be in."""
        return maybe_same(self.found, self.suggested)

    def waiting(self) -> dict[Ref, str]:
        """Records for which nothing may be created until a person decides, with the reason."""
        reasons: dict[Ref, str] = {}
        for one in self.found.ambiguous:
            for ref in one.waiting:
                reasons.setdefault(ref, f"several records share the key {one.rung!r}")
        for pair in self.suggested.pairs:
            for ref in (pair.one, pair.other):
                reasons.setdefault(ref, f"may be the same as {pair.partner(ref)}: {pair.evidence}")
        return reasons

    def pairs(self) -> list[Pair]:
        """What to ask a person: suggestions, best first, then what is ambiguous."""
        asked = [Pair(one.one, one.other, one.score, one.evidence) for one in self.suggested.pairs]
        known = {(pair.one, pair.other) for pair in asked}
        for one in self.found.ambiguous:
            for left, right in one.pairs:
                first, second = sorted((left, right))
                if (first, second) not in known:
                    known.add((first, second))
                    asked.append(Pair(first, second, None, f"several records share the key {one.rung!r}"))
        return asked

    @property
    def crowds(self) -> list[tuple[str, int]]:
        """Keys that so many records share that their pairs are not listed: (rung, records)."""
        return [(one.rung, len(one.waiting)) for one in self.found.ambiguous if not one.pairs]


def examine(
    kind: Kind,
    records: Sequence[AnyLinkable],
    decided: Decided,
    maybe_company: Mapping[Ref, str],
) -> Examined:
    """Climb the ladder and look for what may be the same.

    Args:
        kind: What the records are.
        records: All of them.
        decided: What is linked already, and what a person said.
        maybe_company: By record, what would stand for its company if every open question
            about companies were answered yes.
    """
    if kind is Kind.COMPANY:
        found = link_companies(cast(Sequence[LinkableCompany], records), decided)
    elif kind is Kind.CONTACT:
        found = link_contacts(cast(Sequence[LinkableContact], records), decided)
    else:
        found = link_deals(cast(Sequence[LinkableDeal], records), decided)
    if maybe_company and kind is not Kind.COMPANY:
        looser = [
            replace(one, company=maybe_company[one.ref])
            if one.ref in maybe_company and not isinstance(one, LinkableCompany)
            else one
            for one in records
        ]
    else:
        looser = list(records)
    return Examined(records, found, suggest(kind, looser, decided, found))


def survey(
    db: sa.Connection, connections: Collection[str], decided: Callable[[Kind], Decided]
) -> dict[Kind, Examined]:
    """What is the same, and what may be, among all records of some connections."""
    result: dict[Kind, Examined] = {}
    names: dict[Ref, str] = {}
    group_of: dict[Ref, str] = {}
    maybe: dict[Ref, str] = {}

    def company_of(connection: str, native: str) -> str | None:
        return group_of.get(Ref(connection, Kind.COMPANY, native))

    for kind in LINKED_KINDS:
        records: list[AnyLinkable] = []
        employers: dict[Ref, str] = {}
        for row in read_rows(db, kind, connections):
            one = linkable(kind, row, company_of, names, key=row["key"])
            records.append(one)
            if kind is not Kind.COMPANY and row["companies"]:
                possible = maybe.get(Ref(row["connection"], Kind.COMPANY, row["companies"][0]))
                if possible is not None:
                    employers[one.ref] = possible
        result[kind] = examine(kind, records, decided(kind), employers)
        if kind is Kind.COMPANY:
            names = {one.ref: one.name for one in records}
            group_of, maybe = result[kind].found.group_of, result[kind].maybe()
    return result
