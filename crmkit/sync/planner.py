"""From what the members hold now to what has to be written: reads the state store, calls nothing.

The result is computed in memory and stored by `apply` only after its guards have passed.
The same state, settings and time give the same result, byte for byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from crmkit.connectors.writing import Act
from crmkit.errors import CrmkitError
from crmkit.model import Kind, Ref
from crmkit.sync import tables
from crmkit.sync.basis import Basis, StoredRows
from crmkit.sync.computed import Computed
from crmkit.sync.everybody import bring_everybody
from crmkit.sync.group import Group
from crmkit.sync.guard import guard
from crmkit.sync.hub import Entity, JournalEntry, Link, Status
from crmkit.sync.merging import Merging, contradiction
from crmkit.sync.notes import Notes
from crmkit.sync.observe import Observer
from crmkit.sync.plan import Op, TrippedGuard
from crmkit.sync.reconcile import OSCILLATION_WINDOW, Past
from crmkit.sync.state import State
from crmkit.sync.stored import chunks
from crmkit.sync.tables import LINKED_KINDS
from crmkit.sync.writes import Writes

ENTITIES_AT_ONCE = 1000


class Planner:
    """Computes one plan.

    Args:
        group: The sync group.
        state: The open store.
        now: The time.
        settling: Intents whose wait is over and whose record has been read again: the
            merge knows about them, and they are over with it.
    """

    def __init__(
        self, group: Group, state: State, now: datetime, settling: Sequence[JournalEntry] = ()
    ) -> None:
        self._group = group
        self._hub = group.hub
        self._state = state
        self._now = now
        self._settling = {entry.id for entry in settling}

    def compute(self) -> Computed:
        """The plan.

        Raises:
            CrmkitError: The accounts behind the members are not those of the last run.
        """
        with self._state.read() as db:
            basis = Basis(
                self._group,
                db,
                self._now,
                self._settling,
                intents={(entry.connection, entry.entity): entry for entry in self._hub.intents(db)},
                refusals=self._hub.refusals(db),
            )
            changed = self._check_group(basis)
            waiting = self._hub.pending(db)
            observer = Observer(basis)
            examine = waiting | observer.run()
            if changed:
                # Another rule, map or member may make a write due where no record changed.
                examine |= self._hub.everyone(db, Kind.DEAL)
            examine = self._chosen(basis, examine)
            self._list_reviews(basis)
            writes, merging = Writes(basis), Merging(basis)
            for chunk in chunks(examine, ENTITIES_AT_ONCE):
                self._reconcile(basis, writes, merging, chunk)
            self._move(basis, writes, observer.fresh, waiting)
            writes.forget_refusals()
            self._list_conflicts(basis)
            self._list_doubles(basis)
            self._block(basis)
            self._guard(basis)
            basis.out.held.sort(
                key=lambda one: (one.kind, one.connection, one.entity, one.field or "", one.label)
            )
        return basis.out

    def _chosen(self, basis: Basis, examine: set[str]) -> set[str]:
        """What this plan looks at: a sample looks at its deals, and leaves the rest to a later plan."""
        moving = self._group.moving
        if moving is None or moving.only is None:
            return examine
        chosen = {self._group.entity_id(moving.source, Kind.DEAL, native) for native in moving.only}
        basis.out.pending |= examine - chosen
        return examine & chosen

    def _move(self, basis: Basis, writes: Writes, fresh: Collection[Ref], waiting: Collection[str]) -> None:
        """Companies and people first, then what hangs on them and on deals."""
        moving = self._group.moving
        if moving is not None and moving.everybody:
            bring_everybody(basis, moving, writes.parties, fresh, waiting)
        writes.parties.finish()
        if moving is not None:
            notes = {entity for entity in waiting if entity.split(":", 2)[1] == Kind.NOTE.value}
            Notes(basis, moving, writes).plan(notes)

    def _check_group(self, basis: Basis) -> bool:
        """Whether the settings or maps are others than in the last run."""
        table = tables.groups
        row = basis.db.execute(sa.select(table).where(table.c.sync == self._group.name)).one_or_none()
        basis.out.first = row is None
        if row is None:
            return False
        for connection, account in self._group.accounts.items():
            before = row.accounts.get(connection)
            if before is not None and list(before) != account:
                raise CrmkitError(
                    f"{connection} now reaches another account ({account[0]} {account[1]}) than when "
                    f"{self._group.name} ran last ({before[0]} {before[1]})",
                    hint="Put the old credentials back, or give the new account a connection of its own.",
                )
        if row.digest == self._group.digest:
            return False
        basis.out.guards.append(
            TrippedGuard(
                name="settings",
                connection="",
                count=1,
                limit=0,
                reason="the settings or stage maps of this sync changed since its last run; "
                "look at the plan before it is applied",
            )
        )
        return True

    def _reconcile(self, basis: Basis, writes: Writes, merging: Merging, ids: Sequence[str]) -> None:
        """Merge a chunk of deals and collect what has to be written."""
        entities = self._hub.entities(basis.db, ids)
        entities |= {id: basis.out.entities[id] for id in ids if id in basis.out.entities}
        links = basis.links_of(ids)
        rows = basis.linked_rows(link for found in links.values() for link in found)
        writes.parties.learn(rows, entities.values())
        past = self._hub.past(basis.db, ids, self._now - OSCILLATION_WINDOW)
        basis.conflicts = {(one.entity, one.field): one for one in self._hub.conflicts(basis.db, ids)}
        rows_of = {Kind.DEAL: rows}
        for id in ids:
            entity = entities.get(id)
            if entity is None or not self._group.fields_of(entity.kind):
                continue
            basis.out.examined.add(id)
            if entity.status is not Status.LIVE:
                continue
            if entity.kind not in rows_of:
                known = (link for found in links.values() for link in found)
                rows_of[entity.kind] = basis.linked_rows(known, entity.kind)
            self._one(basis, writes, merging, entity, links[id], rows_of[entity.kind], past)

    def _one(
        self,
        basis: Basis,
        writes: Writes,
        merging: Merging,
        entity: Entity,
        links: Sequence[Link],
        rows: StoredRows,
        past: Mapping[tuple[str, str], Sequence[Past]],
    ) -> None:
        """Merge one record. Companies and people are created by whoever needs them."""
        is_deal = entity.kind is Kind.DEAL
        live = [
            (link, rows[link.connection, link.native_id])
            for link in links
            if link.status is Status.LIVE and (link.connection, link.native_id) in rows
        ]
        if not is_deal and len(live) < 2:
            return  # nothing to agree on yet
        label = next((row["name"] for _, row in live if row["name"]), entity.id)
        merged = merging.merge(entity, live, label, past)
        if is_deal and writes.delete(merged.entity, links, live, label):
            basis.out.pending.add(entity.id)
            return
        writes.update(merged.entity, live, merged.due, label)
        missing = is_deal and writes.create(merged.entity, links, live, label)
        if merged.again or missing:
            basis.out.pending.add(entity.id)

    # What waits although nothing changed

    def _list_reviews(self, basis: Basis) -> None:
        """Records that wait for a person: as found now, else as found by the last match."""
        basis.reviews = self._hub.reviews(basis.db) if basis.out.reviews is None else basis.out.reviews
        for ref, reason in sorted(basis.reviews.items()):
            basis.hold("review", ref.connection, "", ref.id, None, f"{ref.kind}: {reason}")

    def _list_conflicts(self, basis: Basis) -> None:
        """Conflicts of deals that were not looked at: they wait all the same."""
        waiting = [one for one in self._hub.conflicts(basis.db) if one.entity not in basis.out.examined]
        labels = self._labels(basis, {one.entity for one in waiting})
        for one in waiting:
            if one.entity not in labels:
                continue
            values = contradiction(basis, one.field, one.candidates)
            kind = "frozen" if one.frozen else "conflict"
            basis.hold(kind, "", one.entity, labels[one.entity], one.field, f"{one.reason}: {values}")

    def _list_doubles(self, basis: Basis) -> None:
        """Copies of deals, and counterparts of deals that went up in another one."""
        clones = {(one.connection, one.kind, one.native_id): one for one in self._hub.clones(basis.db)}
        for link in {**clones, **basis.out.links}.values():
            if link.status is Status.CLONE:
                basis.hold(
                    "clone", link.connection, link.entity, link.native_id, None,
                    "a second record with the same marker: a copy, or a duplicate",
                )  # fmt: skip
        planned = [id for id, entity in basis.out.entities.items() if entity.status is Status.MERGED]
        merged = {*self._hub.merged_entities(basis.db), *planned}
        labels = self._labels(basis, merged)
        for entity, links in sorted(basis.links_of(merged).items()):
            for link in links:
                if link.status is Status.LIVE and link.kind is Kind.DEAL:
                    basis.hold(
                        "merged", link.connection, entity, labels.get(entity, link.native_id), None,
                        f"{link.native_id}: its counterpart was merged into a deal that is linked itself; "
                        "left alone",
                    )  # fmt: skip

    def _labels(self, basis: Basis, ids: Iterable[str]) -> dict[str, str]:
        """What people know entities by."""
        found: dict[str, str] = {}
        for chunk in chunks(ids, ENTITIES_AT_ONCE):
            for entity in self._hub.entities(basis.db, chunk).values():
                name = entity.hub.get("name")
                found[entity.id] = str(name.value) if name is not None else entity.id
        return found

    # The plan as a whole

    def _block(self, basis: Basis) -> None:
        """Hold children without parents, and put the writes in order."""
        planned = {op.target for op in basis.out.ops}
        parked = {(one.connection, one.entity) for one in basis.out.held if one.kind == "parked"}
        ops: list[Op] = []
        for op in sorted(basis.out.ops, key=_order):
            lacking = [
                (op.connection, parent)
                for parent in op.parents
                if (parent, op.connection) not in self._group.directory.native_of
                and (op.connection, parent) not in planned
            ]
            if not lacking:
                ops.append(op)
                continue
            # What is only looked up comes by itself; anything else waits for a person.
            kind = "parked" if parked.issuperset(lacking) else "blocked"
            reason = "a company or person that it needs is not there yet"
            basis.hold(kind, op.connection, op.entity, op.label, None, reason)
            planned.discard(op.target)
            if kind == "parked":
                parked.add(op.target)
        basis.out.ops = sorted(ops, key=_order)

    def _guard(self, basis: Basis) -> None:
        counts = {
            connection: self._hub.count_links(basis.db, connection, Kind.DEAL)
            for connection in self._group.members
        }
        filled = sum(
            any(link.connection == name and link.kind is Kind.DEAL for link in basis.out.links.values())
            for name in self._group.members
        )
        first = basis.out.first and filled > 1
        basis.out.guards += guard(basis.out.ops, counts, self._group.settings.guards, first=first)


_KINDS = (*LINKED_KINDS, Kind.NOTE)
_ACTS = {Act.CREATE: 0, Act.UPDATE: 1, Act.DELETE: 2}


def _order(op: Op) -> tuple[bool, int, int, str, str]:
    """Parties first, deletes last."""
    return (op.act is Act.DELETE, _KINDS.index(op.kind), _ACTS[op.act], op.connection, op.entity)
