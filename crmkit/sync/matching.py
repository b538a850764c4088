"""Tie records that no entity knows yet to entities: by marker, by decision, by the ladder.

Nothing is guessed: what is ambiguous, or only similar, is held until a person decides, and
nothing is created for it meanwhile (sync-semantics 6.1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from crmkit.model import Kind, Ref
from crmkit.sync import tables
from crmkit.sync.group import MARKER, Group
from crmkit.sync.hub import Entity, Link, Status
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
from crmkit.sync.suggest import suggest

_ROWS_AT_ONCE = 5000


@dataclass(slots=True)
class Matching:
    """What was found out about records without an entity.

    Attributes:
        entities: New entities, by id.
        links: New links.
        held: Records that wait for a person, with the reason.
        foreign: Records that another installation of crmkit made; left alone.
        clones: Records that carry the marker of an entity that has another record there.
    """

    entities: dict[str, Entity] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    held: dict[Ref, str] = field(default_factory=dict)
    foreign: list[Ref] = field(default_factory=list)
    clones: list[Ref] = field(default_factory=list)


class Matcher:
    """Matches all kinds, parties first: deals are told apart by their company."""

    def __init__(self, group: Group, db: sa.Connection) -> None:
        self._group = group
        self._db = db
        self.result = Matching()
        # Entity and status of every linked record, and (entity, connection) of what is taken.
        self._of: dict[Ref, tuple[str, Status]] = {}
        self._entities: set[str] = set()
        self._taken: set[tuple[str, str]] = set()

    def run(self) -> Matching:
        """Match everything that has no entity."""
        for kind in (Kind.COMPANY, Kind.CONTACT, Kind.DEAL):
            for connection, native, entity, status in self._group.hub.addresses(self._db, kind):
                self._note(Ref(connection, kind, native), entity, status)
            self._match(kind)
        return self.result

    def _match(self, kind: Kind) -> None:
        rows = {Ref(row["connection"], kind, row["id"]): row for row in self._rows(kind)}
        free = {ref for ref in rows if ref not in self._of}
        if not free:
            return
        free -= self._by_marker(kind, rows, free)
        found = self._ladder(kind, rows)
        for members in found.members().values():
            self._tie(kind, members, found, free)
        doubtful = {
            ref: f"several records share the key {one.rung!r}" for one in found.ambiguous for ref in one.refs
        }
        self.result.held |= {
            ref: reason for ref, reason in doubtful.items() if ref in free and ref not in self._of
        }
        for one in suggest(
            kind, [self._linkable(kind, row) for row in rows.values()], self._decided(kind), found
        ):
            for ref in (one.one, one.other):
                if ref in free and ref not in self._of:
                    self.result.held.setdefault(ref, f"may be the same as {one.partner(ref)}: {one.evidence}")

    def _by_marker(self, kind: Kind, rows: Mapping[Ref, Mapping[str, Any]], free: set[Ref]) -> set[Ref]:
        """Adopt records that carry a marker; gives those that the ladder must leave alone."""
        spokes = {member.spoke: member for member in self._group.members.values()}
        settled: set[Ref] = set()
        for ref in sorted(free):
            key = rows[ref]["key"] or ""
            if not key.startswith(f"{MARKER}:"):
                continue
            settled.add(ref)
            parts = key.split(":", 4)
            mine = len(parts) == 5 and parts[1] == self._group.group8 and parts[2] in spokes
            if not mine or parts[3] != kind:
                self.result.foreign.append(ref)
                continue
            entity = ":".join(parts[2:])
            if (entity, ref.connection) in self._taken:
                self.result.clones.append(ref)
                self._link(entity, ref, "marker", status=Status.CLONE)
                continue
            origin = Ref(spokes[parts[2]].connection, kind, parts[4])
            self._adopt(entity, ref, origin, known=origin in rows)
        return settled

    def _adopt(self, entity: str, ref: Ref, origin: Ref, *, known: bool) -> None:
        if entity not in self._entities:
            self.result.entities[entity] = Entity(entity, ref.kind)
            if known and origin not in self._of:
                self._link(entity, origin, "origin of a marker", rebuilt=True)
        self._link(entity, ref, "marker", rebuilt=True)

    def _tie(self, kind: Kind, members: Sequence[Ref], found: Links, free: set[Ref]) -> None:
        """Make one entity of a group of the ladder, or add its free records to the known one."""
        fresh = [ref for ref in members if ref in free and ref not in self._of]
        if not fresh:
            return
        entities = {self._of[ref][0] for ref in members if ref in self._of}
        if len(entities) > 1:
            for ref in fresh:
                self.result.held[ref] = "belongs to several records that are linked apart"
            return
        order = list(self._group.members)
        first = min(members, key=lambda ref: (order.index(ref.connection), ref.id))
        entity = entities.pop() if entities else self._group.entity_id(first.connection, kind, first.id)
        if entity not in self._entities:
            self.result.entities[entity] = Entity(entity, kind)
        for ref in fresh:
            if (entity, ref.connection) in self._taken:
                self.result.held[ref] = "the linked record has another counterpart in this CRM"
            else:
                self._link(entity, ref, found.evidence.get(ref, "decided"))

    def _note(self, ref: Ref, entity: str, status: Status) -> None:
        self._of[ref] = (entity, status)
        self._entities.add(entity)
        if status in (Status.LIVE, Status.OUT_OF_SCOPE):
            self._taken.add((entity, ref.connection))

    def _link(
        self, entity: str, ref: Ref, evidence: str, *, status: Status = Status.LIVE, rebuilt: bool = False
    ) -> None:
        self.result.links.append(
            Link(entity, ref.connection, ref.kind, ref.id, status, evidence=evidence, rebuilt=rebuilt)
        )
        self._note(ref, entity, status)

    def _ladder(self, kind: Kind, rows: Mapping[Ref, Mapping[str, Any]]) -> Links:
        decided = self._decided(kind)
        records = [
            self._linkable(kind, row)
            for ref, row in rows.items()
            if ref not in self.result.foreign and ref not in self.result.clones
        ]
        if kind is Kind.COMPANY:
            return link_companies(records, decided)  # type: ignore[arg-type]
        if kind is Kind.CONTACT:
            return link_contacts(records, decided)  # type: ignore[arg-type]
        return link_deals(records, decided)  # type: ignore[arg-type]

    def _decided(self, kind: Kind) -> Decided:
        groups: dict[str, list[Ref]] = defaultdict(list)
        for ref, (entity, status) in self._of.items():
            if ref.kind is kind and status is Status.LIVE:
                groups[entity].append(ref)
        said = list(decisions(self._db, kind))
        together = [pair for *pair, verdict in said if verdict == "link"]
        apart = frozenset(frozenset(pair) for *pair, verdict in said if verdict == "never")
        return Decided([*(refs for refs in groups.values() if len(refs) > 1), *together], apart)

    def _rows(self, kind: Kind) -> Iterator[Mapping[str, Any]]:
        table = TABLES[kind]
        names = _COLUMNS[kind]
        query = sa.select(table.c.connection, table.c.id, *(table.c[name] for name in names)).where(
            table.c.gone_at.is_(None),
            table.c.archived.is_(False),
            table.c.connection.in_(list(self._group.members)),
        )
        found = self._db.execution_options(yield_per=_ROWS_AT_ONCE).execute(query).mappings()
        for row in map(dict, found):
            member = self._group.members[row["connection"]]
            if kind is not Kind.DEAL or member.scope.holds(row, member.codec.owners):
                yield row

    def _linkable(
        self, kind: Kind, row: Mapping[str, Any]
    ) -> LinkableCompany | LinkableContact | LinkableDeal:
        ref = Ref(row["connection"], kind, row["id"])
        # Our own markers are followed before; to the ladder they would look like shared keys.
        key = None if (row["key"] or "").startswith(f"{MARKER}:") else row["key"]
        if kind is Kind.COMPANY:
            return LinkableCompany(
                ref, row["name"], row["domain"], row["tax_id"], tuple(row["phones"]), row["city"], key
            )
        if kind is Kind.CONTACT:
            return LinkableContact(ref, row["name"], tuple(row["emails"]), tuple(row["phones"]), key)
        return LinkableDeal(
            ref,
            row["name"],
            row["amount"],
            row["currency"],
            self._company(ref.connection, row["companies"]),
            row["expected_close"],
            key,
        )

    def _company(self, connection: str, companies: Sequence[str]) -> str | None:
        if not companies:
            return None
        found = self._of.get(Ref(connection, Kind.COMPANY, companies[0]))
        return found[0] if found is not None else None


def decisions(db: sa.Connection, kind: Kind) -> Iterator[tuple[Ref, Ref, str]]:
    """What people decided about pairs of records: (one, other, `link` or `never`)."""
    table = tables.decisions
    for row in db.execute(sa.select(table).where(table.c.kind == kind.value).order_by(table.c.at)):
        yield (
            Ref(row.one_connection, kind, row.one),
            Ref(row.other_connection, kind, row.other),
            row.verdict,
        )


_COLUMNS: dict[Kind, tuple[str, ...]] = {
    Kind.COMPANY: ("name", "domain", "tax_id", "phones", "city", "key"),
    Kind.CONTACT: ("name", "emails", "phones", "key"),
    Kind.DEAL: (
        "name", "amount", "currency", "companies", "expected_close", "key", "archived", "pipeline_id",
        "owner_id", "created_at", "custom",
    ),
}  # fmt: skip
