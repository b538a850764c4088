"""Tie records that no entity knows yet to entities: by marker, by decision, by the ladder.

Nothing is guessed: what is ambiguous, or only similar, is held until a person decides, and
nothing is created for it meanwhile (sync-semantics 6.1). What belongs to a company that waits
waits with it: a deal cannot be told apart from others before its company is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from crmkit.model import Kind, Ref
from crmkit.sync import schema, tables
from crmkit.sync.candidates import AnyLinkable, Examined, examine, linkable, read_rows
from crmkit.sync.decisions import combined, recorded
from crmkit.sync.group import MARKER, Group
from crmkit.sync.hub import Entity, Link, Status
from crmkit.sync.link import Decided, Links
from crmkit.sync.tables import LINKED_KINDS

# What a kind is told apart by, besides itself: its records are matched again when these change.
_TOLD_BY: dict[Kind, tuple[Kind, ...]] = {
    Kind.COMPANY: (Kind.COMPANY,),
    Kind.CONTACT: (Kind.COMPANY, Kind.CONTACT),
    Kind.DEAL: (Kind.COMPANY, Kind.DEAL),
}


@dataclass(slots=True)
class Matching:
    """What was found out about records without an entity.

    Attributes:
        entities: New entities, by id.
        links: New links.
        held: Records that wait for a person, with the reason. A linked one among them may be
            the same as an unlinked record of another connection: its entity must not be
            created there meanwhile.
        foreign: Records that another installation of crmkit made; left alone.
        clones: Records that carry the marker of an entity that has another record there.
        examined: What the ladder and the suggestions said, by kind; of the kinds looked at.
    """

    entities: dict[str, Entity] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    held: dict[Ref, str] = field(default_factory=dict)
    foreign: list[Ref] = field(default_factory=list)
    clones: list[Ref] = field(default_factory=list)
    examined: dict[Kind, Examined] = field(default_factory=dict)


class Matcher:
    """Matches all kinds, parties first: deals are told apart by their company.

    Args:
        group: The sync group.
        db: The open state store.
        everything: Whether to look at kinds of which nothing changed since the last merge,
            too; without, what was held of them stays held.
    """

    def __init__(self, group: Group, db: sa.Connection, *, everything: bool = False) -> None:
        self._group = group
        self._db = db
        self._everything = everything or self._is_new()
        self.result = Matching()
        # Entity and status of every linked record, and (entity, connection) of what is taken.
        self._of: dict[Ref, tuple[str, Status]] = {}
        self._entities: set[str] = set()
        self._taken: set[tuple[str, str]] = set()
        self._names: dict[Ref, str] = {}
        self._maybe: dict[Ref, str] = {}

    def run(self) -> Matching:
        """Match everything that has no entity."""
        moved = self._moved()
        before = self._group.hub.reviews(self._db)
        for kind in LINKED_KINDS:
            for connection, native, entity, status in self._group.hub.addresses(self._db, kind):
                self._note(Ref(connection, kind, native), entity, status)
            if moved.isdisjoint(_TOLD_BY[kind]):
                self.result.held |= {ref: reason for ref, reason in before.items() if ref.kind is kind}
            else:
                self._match(kind)
        return self.result

    def _is_new(self) -> bool:
        """Whether the group has never been merged with these settings: its scope may have changed."""
        table = tables.groups
        query = sa.select(table.c.digest).where(table.c.sync == self._group.name)
        return self._db.execute(query).scalar() != self._group.digest

    def _moved(self) -> set[Kind]:
        """Kinds of which a member's records changed since the last merge."""
        if self._everything:
            return set(LINKED_KINDS)
        changes = tables.changes.c
        query = (
            sa.select(changes.connection, changes.kind, sa.func.max(changes.number).label("latest"))
            .where(changes.connection.in_(list(self._group.members)))
            .group_by(changes.connection, changes.kind)
        )
        positions = self._group.hub.positions(self._db)
        return {
            Kind(row.kind)
            for row in self._db.execute(query)
            if row.latest > positions.get((row.connection, Kind(row.kind)), -1)
        }

    def _match(self, kind: Kind) -> None:
        rows = {Ref(row["connection"], kind, row["id"]): row for row in self._rows(kind)}
        free = {ref for ref in rows if ref not in self._of}
        if kind is Kind.COMPANY:
            self._names = {ref: row["name"] for ref, row in rows.items()}
        if not free:
            return
        self._by_marker(kind, rows, free)
        left_alone = {*self.result.foreign, *self.result.clones}
        if kind is Kind.DEAL and not self._names:
            self._names = self._company_names()
        examined = self._examine(kind, {ref: row for ref, row in rows.items() if ref not in left_alone})
        self.result.examined[kind] = examined
        waiting = examined.waiting()
        for members in examined.found.members().values():
            self._tie(kind, members, examined.found, free - left_alone, waiting)
        self.result.held |= {ref: reason for ref, reason in waiting.items() if ref not in left_alone}
        if kind is Kind.COMPANY:
            self._maybe = examined.maybe()
        if kind is Kind.DEAL:
            self._hold_with_companies(rows, free - left_alone)

    def _hold_with_companies(self, rows: Mapping[Ref, Mapping[str, Any]], free: Collection[Ref]) -> None:
        """Hold deals of companies that wait."""
        for ref in free:
            company = _company(ref.connection, rows[ref])
            if ref not in self._of and company is not None and company in self.result.held:
                self.result.held.setdefault(ref, f"its company {company} waits for a decision")

    def _examine(self, kind: Kind, rows: Mapping[Ref, Mapping[str, Any]]) -> Examined:
        records: list[AnyLinkable] = []
        employers: dict[Ref, str] = {}
        for ref, row in rows.items():
            # Our own markers are followed before; to the ladder they would look like shared keys.
            key = None if (row["key"] or "").startswith(f"{MARKER}:") else row["key"]
            records.append(linkable(kind, row, self._company_of, self._names, key=key))
            company = _company(ref.connection, row) if kind is not Kind.COMPANY else None
            possible = self._maybe.get(company) if company is not None else None
            if possible is not None:
                employers[ref] = possible
        return examine(kind, records, self._decided(kind), employers)

    def _by_marker(self, kind: Kind, rows: Mapping[Ref, Mapping[str, Any]], free: set[Ref]) -> None:
        """Adopt records that carry a marker."""
        spokes = {member.spoke: member for member in self._group.members.values()}
        for ref in sorted(free):
            key = rows[ref]["key"] or ""
            if not key.startswith(f"{MARKER}:"):
                continue
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

    def _adopt(self, entity: str, ref: Ref, origin: Ref, *, known: bool) -> None:
        if entity not in self._entities:
            self.result.entities[entity] = Entity(entity, ref.kind)
            if known and origin not in self._of:
                self._link(entity, origin, "origin of a marker", rebuilt=True)
        self._link(entity, ref, "marker", rebuilt=True)

    def _tie(
        self,
        kind: Kind,
        members: Sequence[Ref],
        found: Links,
        free: Collection[Ref],
        waiting: Mapping[Ref, str],
    ) -> None:
        """Make one entity of a group of the ladder, or add its free records to the known one."""
        fresh = [ref for ref in members if ref in free and ref not in self._of]
        if not fresh:
            return
        doubt = next((waiting[ref] for ref in members if ref in waiting), None)
        if doubt is not None:
            # A record of a further CRM may belong here: linked without it, it would be created there.
            for ref in fresh:
                self.result.held.setdefault(ref, doubt)
            return
        entities = {self._of[ref][0] for ref in members if ref in self._of}
        if len(entities) > 1:
            for ref in fresh:
                self.result.held[ref] = "belongs to several records that are linked apart"
            return
        first = min(members, key=lambda ref: (self._group.setting.rank(ref.connection), ref.id))
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

    def _decided(self, kind: Kind) -> Decided:
        groups: dict[str, list[Ref]] = defaultdict(list)
        for ref, (entity, status) in self._of.items():
            if ref.kind is kind and status is Status.LIVE:
                groups[entity].append(ref)
        return combined([refs for refs in groups.values() if len(refs) > 1], recorded(self._db, kind))

    def _rows(self, kind: Kind) -> Iterator[Mapping[str, Any]]:
        for row in read_rows(self._db, kind, self._group.members):
            member = self._group.members[row["connection"]]
            if kind is not Kind.DEAL or member.scope.holds(row, member.codec.owners):
                yield row

    def _company_of(self, connection: str, native: str) -> str | None:
        found = self._of.get(Ref(connection, Kind.COMPANY, native))
        return found[0] if found is not None else None

    def _company_names(self) -> dict[Ref, str]:
        table = schema.companies
        query = sa.select(table.c.connection, table.c.id, table.c.name).where(
            table.c.connection.in_(list(self._group.members))
        )
        found = self._db.execution_options(yield_per=5000).execute(query)
        return {Ref(row.connection, Kind.COMPANY, row.id): row.name for row in found}


def _company(connection: str, row: Mapping[str, Any]) -> Ref | None:
    """The primary company of a stored contact or deal."""
    return Ref(connection, Kind.COMPANY, row["companies"][0]) if row["companies"] else None
