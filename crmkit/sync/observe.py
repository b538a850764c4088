"""What changed since the last plan: which deals to look at, and what became of their records."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import sqlalchemy as sa

from crmkit.connectors.writing import Act
from crmkit.model import Kind, Ref
from crmkit.sync import tables
from crmkit.sync.basis import Basis, as_planned
from crmkit.sync.group import Member
from crmkit.sync.hub import CREATED, DELETED, RESTORED, UNDONE, Entity, Link, Status
from crmkit.sync.matching import Matcher
from crmkit.sync.reconcile import Base
from crmkit.sync.rows import TABLES
from crmkit.sync.stored import IDS_AT_ONCE, chunks
from crmkit.sync.tables import LINKED_KINDS
from crmkit.sync_settings import Deletes, Role

_BY_MARKER = "marker"


class Observer:
    """Finds the deals that a plan has to look at."""

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self._group = basis.group
        self._hub = basis.hub
        self._db = basis.db
        self._out = basis.out
        self.fresh: set[Ref] = set()

    def run(self) -> set[str]:
        """Entities of deals to look at; companies and people are linked on the way.

        Records that no entity knew are in `fresh` afterwards.
        """
        examine: set[str] = set()
        moved = False
        fresh = self.fresh
        positions = self._hub.positions(self._db)
        for kind in LINKED_KINDS:
            for connection in self._group.members:
                before = positions.get((connection, kind))
                found, free = self._follow(kind, connection, before)
                moved = moved or self._out.positions[connection, kind] != before
                fresh |= free
                examine |= found
        # What waited for a person may be free now: decided, or its look-alike is gone.
        waiting = set(self._hub.reviews(self._db)) if moved else set()
        if fresh or waiting:
            examine |= self._match(fresh | self._still_free(waiting))
        return examine

    def _still_free(self, refs: set[Ref]) -> set[Ref]:
        """Those of the records that are there and belong to no entity."""
        found: set[Ref] = set()
        for connection, kind in {(ref.connection, ref.kind) for ref in refs}:
            if connection not in self._group.members:
                continue
            member = self._group.members[connection]
            mine = {ref.id for ref in refs if (ref.connection, ref.kind) == (connection, kind)}
            for rows in self._rows(kind, connection, mine):
                linked = self._hub.links_to(self._db, connection, kind, list(rows))
                found |= {
                    Ref(connection, kind, native)
                    for native, row in rows.items()
                    if native not in linked and self._takes_part(member, kind, row)
                }
        return found

    def _takes_part(self, member: Member, kind: Kind, row: Mapping[str, Any]) -> bool:
        if row["gone_at"] is not None or row["archived"]:
            return False
        return kind is not Kind.DEAL or member.scope.holds(row, member.codec.owners)

    def _follow(self, kind: Kind, connection: str, position: int | None) -> tuple[set[str], set[Ref]]:
        """What became of one member's records: entities to look at, and records without one."""
        changes = tables.changes.c
        where = (changes.connection == connection, changes.kind == kind.value)
        latest = self._db.execute(sa.select(sa.func.max(changes.number)).where(*where)).scalar() or 0
        self._out.positions[connection, kind] = latest
        if position is not None and latest <= position:
            return set(), set()
        ids: set[str] | None = None
        if position is not None:
            ids = set(
                self._db.execute(
                    sa.select(changes.id).where(*where, changes.number > position).distinct()
                ).scalars()
            )
            if "*" in ids:
                ids = None
        member = self._group.members[connection]
        examine: set[str] = set()
        free: set[Ref] = set()
        for rows in self._rows(kind, connection, ids):
            links = self._hub.links_to(self._db, connection, kind, list(rows))
            for native, row in rows.items():
                link = links.get(native)
                if link is not None:
                    self._lifecycle(member, link, row)
                    if kind is Kind.DEAL or self._group.fields_of(kind):
                        examine.add(link.entity)
                elif self._takes_part(member, kind, row):
                    free.add(Ref(connection, kind, native))
        return examine, free

    # Gone, merged, back, out of scope

    def _lifecycle(self, member: Member, link: Link, row: Mapping[str, Any]) -> None:
        """Notice that a linked record is gone, merged, back, or out of scope."""
        key = (link.connection, link.kind, link.native_id)
        if key in self._out.links:
            return  # it took over from a record that went up in it
        if row["gone_at"] is not None or row["archived"]:
            if link.status is Status.DEAD:
                return
            self._out.put_link(replace(link, status=Status.DEAD))
            if row["merged_into"] and link.status is not Status.CLONE:
                self._merged(link, row["merged_into"])
            return
        status, evidence = link.status, link.evidence
        if status is Status.DEAD:
            status, evidence = Status.LIVE, RESTORED
            self._take_back_delete(link)
        if link.kind is Kind.DEAL and status is not Status.CLONE:
            inside = member.scope.holds(row, member.codec.owners)
            status = Status.LIVE if inside else Status.OUT_OF_SCOPE
        if status is not link.status:
            taken = any(
                one.connection == link.connection
                and one.status is Status.LIVE
                and one.native_id != link.native_id
                for one in self._basis.links_of([link.entity])[link.entity]
            )
            self._out.put_link(replace(link, status=Status.CLONE if taken else status, evidence=evidence))

    def _take_back_delete(self, back: Link) -> None:
        """Who restores a deal takes its delete back: it is not carried on again, and made good elsewhere."""
        if back.kind is not Kind.DEAL or self._group.settings.deletes is not Deletes.DELETE:
            return
        for link in self._basis.links_of([back.entity])[back.entity]:
            if link.status is Status.DEAD and link.native_id != back.native_id and link.evidence != UNDONE:
                self._out.put_link(replace(link, evidence=DELETED))

    def _merged(self, link: Link, winner: str) -> None:
        """A record went up in another one (sync-semantics 7)."""
        survivor = self._survivor(link.connection, link.kind, winner)
        if survivor is None:
            return  # what it went up in is gone too
        there = self._hub.links_to(self._db, link.connection, link.kind, [survivor]).get(survivor)
        there = self._out.links.get((link.connection, link.kind, survivor), there)
        if there is None or there.entity == link.entity:
            self._out.put_link(replace(link, native_id=survivor, status=Status.LIVE))
            return
        entity = self._hub.entities(self._db, [link.entity]).get(link.entity)
        if entity is not None:
            self._out.entities[link.entity] = replace(entity, status=Status.MERGED)

    def _survivor(self, connection: str, kind: Kind, native: str) -> str | None:
        """The record at the end of a chain of merges; `None` if it is gone."""
        table = TABLES[kind]
        seen: set[str] = set()
        while native not in seen:
            seen.add(native)
            row = self._db.execute(
                sa.select(table.c.gone_at, table.c.merged_into).where(
                    table.c.connection == connection, table.c.id == native
                )
            ).one_or_none()
            # A third id that a merge made may not have been listed yet.
            if row is None or row.gone_at is None:
                return native
            if not row.merged_into:
                return None
            native = row.merged_into
        return None

    # Records without an entity

    def _match(self, fresh: set[Ref]) -> set[str]:
        """Tie records without an entity to one; gives the entities of deals to look at."""
        matching = Matcher(as_planned(self._basis), self._db).run()
        self._out.entities |= matching.entities
        examine: set[str] = set()
        linked: set[Ref] = set()
        for link in matching.links:
            key = (link.connection, link.kind, link.native_id)
            if key not in self._out.links:
                self._out.put_link(self._known_before(link))
            linked.add(Ref(*key))
            if link.kind is Kind.DEAL:
                examine.add(link.entity)
        self._out.reviews = matching.held
        for ref in matching.foreign:
            self._basis.hold(
                "foreign", ref.connection, "", ref.id, None, "made by another crmkit; left alone"
            )
        skipped = {*matching.foreign, *matching.clones, *matching.held, *linked}
        for ref in sorted(fresh - skipped):
            member = self._group.members[ref.connection]
            known = (ref.connection, ref.kind, ref.id) in self._out.links
            if ref.kind is not Kind.DEAL or known or member.settings.role is Role.TARGET:
                continue
            entity = self._group.entity_id(ref.connection, ref.kind, ref.id)
            self._out.entities.setdefault(entity, Entity(entity, Kind.DEAL))
            self._out.put_link(Link(entity, ref.connection, ref.kind, ref.id, evidence="first seen here"))
            examine.add(entity)
        return examine

    def _known_before(self, link: Link) -> Link:
        """A new link with the agreements that are known of it all the same."""
        if link.evidence != _BY_MARKER or link.status is not Status.LIVE:
            return link
        entry = self._basis.intents.get((link.connection, link.entity))
        if entry is not None and entry.act == Act.CREATE:
            # A lost create of ours made it: what was sent is what was agreed.
            self._out.landed.append((entry.id, link.native_id))
            self._basis.settling.add(entry.id)
            bases = {name: Base(native, stood) for name, (native, stood) in entry.sent.items()}
            return replace(link, bases=bases, evidence=CREATED, rebuilt=False)
        dead = [
            one
            for one in self._basis.links_of([link.entity])[link.entity]
            if one.connection == link.connection and one.status is Status.DEAD
        ]
        if not dead:
            return link
        # It was deleted and came back under another id: it still holds what it held.
        last = max(dead, key=lambda one: (one.written_at is not None, one.written_at, one.native_id))
        return replace(link, bases=last.bases, evidence=RESTORED, rebuilt=last.rebuilt)

    # Rows

    def _rows(
        self, kind: Kind, connection: str, ids: Collection[str] | None
    ) -> Iterator[dict[str, Mapping[str, Any]]]:
        """Stored records in chunks by native id: the named ones, or all."""
        table = TABLES[kind]
        names = ["id", "gone_at", "archived", "merged_into"]
        if kind is Kind.DEAL:
            names += ["pipeline_id", "owner_id", "created_at", "custom"]
        query = sa.select(*(table.c[name] for name in names)).where(table.c.connection == connection)
        if ids is None:
            last = ""
            while True:
                page = query.where(table.c.id > last).order_by(table.c.id).limit(IDS_AT_ONCE)
                found = self._db.execute(page).mappings()
                rows = {row["id"]: cast(Mapping[str, Any], dict(row)) for row in found}
                if not rows:
                    return
                last = max(rows)
                yield rows
        for chunk in chunks(ids or ()):
            some = self._db.execute(query.where(table.c.id.in_(chunk))).mappings()
            yield {row["id"]: cast(Mapping[str, Any], dict(row)) for row in some}
