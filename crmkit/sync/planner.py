"""From what the members hold now to what has to be written: reads the state store, calls nothing.

The result is computed in memory and stored by `apply` only after its guards have passed.
The same state, settings and time give the same result, byte for byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa

from crmkit.connectors.writing import Act, Keys
from crmkit.errors import CrmkitError
from crmkit.mapping.fields import Plain, Unmapped
from crmkit.model import Kind, Outcome, Ref
from crmkit.sync import tables
from crmkit.sync.computed import Computed
from crmkit.sync.group import Group, Member
from crmkit.sync.guard import guard
from crmkit.sync.hub import CREATED, Entity, HeldConflict, HubField, JournalEntry, Link, Status
from crmkit.sync.matching import Matcher
from crmkit.sync.parties import Parties
from crmkit.sync.plan import FieldChange, Held, Op, TrippedGuard, op_id, payload_digest
from crmkit.sync.reconcile import (
    NOTHING,
    OSCILLATION_WINDOW,
    Base,
    Due,
    FieldContext,
    Merged,
    Row,
    Side,
    merge,
)
from crmkit.sync.rows import TABLES
from crmkit.sync.rules import Candidate
from crmkit.sync.shown import named_in, names, shown
from crmkit.sync.state import State
from crmkit.sync_settings import Deletes, Role

ENTITIES_AT_ONCE = 1000
TRIES = 2
KINDS = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)
_ROWS_AT_ONCE = 500
_NEED = ("name", "stage")


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
        self._out = Computed()
        self._intents: dict[tuple[str, str], JournalEntry] = {}
        self._refusals: Mapping[tuple[str, str, str], Any] = {}
        self._conflicts: dict[tuple[str, str], HeldConflict] = {}
        self._overlay: dict[str, list[tuple[str, Kind, str]]] = {}
        self._overlay_of: set[tuple[str, Kind, str]] = set()
        self._db: sa.Connection

    def compute(self) -> Computed:
        """The plan.

        Raises:
            CrmkitError: The accounts behind the members are not those of the last run.
        """
        with self._state.read() as db:
            self._db = db
            self._intents = {(entry.connection, entry.entity): entry for entry in self._hub.intents(db)}
            self._refusals = self._hub.refusals(db)
            self._check_group()
            examine = self._hub.pending(db) | self._find_changes()
            self._list_reviews()
            self._parties = Parties(self._group, db, self._out, self._held_party)
            for chunk in _chunks(examine, ENTITIES_AT_ONCE):
                self._reconcile(chunk)
            self._parties.finish()
            self._list_conflicts()
            self._finish()
        return self._out

    def _list_reviews(self) -> None:
        """Records that wait for a person: as found now, else as found by the last match."""
        found = self._hub.reviews(self._db) if self._out.reviews is None else self._out.reviews
        for ref, reason in sorted(found.items()):
            self._hold("review", ref.connection, "", ref.id, None, f"{ref.kind}: {reason}")

    def _list_conflicts(self) -> None:
        """Conflicts of deals in which nothing changed: they wait all the same."""
        waiting = [one for one in self._hub.conflicts(self._db) if one.entity not in self._out.examined]
        for chunk in _chunks({one.entity for one in waiting}, ENTITIES_AT_ONCE):
            entities = self._hub.entities(self._db, chunk)
            for one in waiting:
                entity = entities.get(one.entity)
                if entity is None:
                    continue
                name = entity.hub.get("name")
                label = str(name.value) if name is not None else one.entity
                values = self._both(one.field, one.candidates)
                kind = "frozen" if one.frozen else "conflict"
                self._hold(kind, "", one.entity, label, one.field, f"{one.reason}: {values}")

    def _both(self, name: str, candidates: Sequence[tuple[str, Plain]]) -> str:
        """Contradicting values in words."""
        spoken = names(self._group, self._db, named_in((name, value) for _, value in candidates))
        return "; ".join(
            f"{member}: {shown(name, value, lambda entity: spoken.get(entity, entity))}"
            for member, value in candidates
        )

    # What changed

    def _check_group(self) -> None:
        table = tables.groups
        row = self._db.execute(sa.select(table).where(table.c.sync == self._group.name)).one_or_none()
        self._out.first = row is None
        if row is None:
            return
        for connection, account in self._group.accounts.items():
            before = row.accounts.get(connection)
            if before is not None and list(before) != account:
                raise CrmkitError(
                    f"{connection} now reaches another account ({account[0]} {account[1]}) than when "
                    f"{self._group.name} ran last ({before[0]} {before[1]})",
                    hint="Put the old credentials back, or give the new account a connection of its own.",
                )
        if row.digest != self._group.digest:
            self._out.guards.append(
                TrippedGuard(
                    name="settings",
                    connection="",
                    count=1,
                    limit=0,
                    reason="the settings or stage maps of this sync changed since its last run; "
                    "look at the plan before it is applied",
                )
            )

    def _find_changes(self) -> set[str]:
        """Entities of deals to look at; companies and people are linked on the way."""
        examine: set[str] = set()
        unlinked = False
        fresh: set[Ref] = set()
        positions = self._hub.positions(self._db)
        for kind in KINDS:
            for connection in self._group.members:
                found, free = self._follow(kind, connection, positions.get((connection, kind)))
                fresh |= free
                unlinked = unlinked or bool(free)
                examine |= found
        if unlinked:
            examine |= self._match(fresh)
        return examine

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
                if link is None:
                    live = row["gone_at"] is None and not row["archived"]
                    if live and (kind is not Kind.DEAL or member.scope.holds(row, member.codec.owners)):
                        free.add(Ref(connection, kind, native))
                else:
                    self._lifecycle(member, link, row)
                    if kind is Kind.DEAL:
                        examine.add(link.entity)
        return examine, free

    def _lifecycle(self, member: Member, link: Link, row: Mapping[str, Any]) -> None:
        """Notice that a linked record is gone, merged, back, or out of scope."""
        gone = row["gone_at"] is not None or row["archived"]
        if gone:
            if link.status is Status.DEAD:
                return
            self._out.put_link(replace(link, status=Status.DEAD))
            if row["merged_into"] and link.status is not Status.CLONE:
                self._merged(link, row["merged_into"])
            return
        status = link.status
        if status is Status.DEAD:
            status = Status.LIVE
        if link.kind is Kind.DEAL and status is not Status.CLONE:
            inside = member.scope.holds(row, member.codec.owners)
            status = Status.LIVE if inside else Status.OUT_OF_SCOPE
        if status is not link.status:
            others = self._hub.links_of(self._db, [link.entity])[link.entity]
            taken = any(
                one.connection == link.connection
                and one.status is Status.LIVE
                and one.native_id != link.native_id
                for one in others
            )
            self._out.put_link(replace(link, status=Status.CLONE if taken else status))

    def _merged(self, link: Link, winner: str) -> None:
        """A record went up in another one (sync-semantics 7)."""
        there = self._hub.links_to(self._db, link.connection, link.kind, [winner]).get(winner)
        if there is None:
            self._out.put_link(replace(link, native_id=winner, status=Status.LIVE))
        elif there.entity != link.entity:
            entity = self._hub.entities(self._db, [link.entity]).get(link.entity)
            if entity is not None:
                self._out.entities[link.entity] = replace(entity, status=Status.MERGED)
            self._hold(
                "merged", link.connection, link.entity, link.native_id, None,
                f"merged into {winner}, which is linked itself; the counterparts elsewhere are left alone",
            )  # fmt: skip

    def _match(self, fresh: set[Ref]) -> set[str]:
        """Tie records without an entity to one; gives the entities of deals to look at."""
        matching = Matcher(self._group, self._db).run()
        self._out.entities |= matching.entities
        examine: set[str] = set()
        linked: set[Ref] = set()
        for link in matching.links:
            key = (link.connection, link.kind, link.native_id)
            if key not in self._out.links:
                self._out.put_link(self._seen_at_last(link))
            linked.add(Ref(*key))
            if link.kind is Kind.DEAL:
                examine.add(link.entity)
        self._out.reviews = matching.held
        for ref in matching.foreign:
            self._hold("foreign", ref.connection, "", ref.id, None, "made by another crmkit; left alone")
        for ref in matching.clones:
            self._hold(
                "clone", ref.connection, "", ref.id, None,
                "a second record with the same marker: a copy, or a duplicate",
            )  # fmt: skip
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

    def _seen_at_last(self, link: Link) -> Link:
        """The link of a record that a lost create of ours made, with what was sent as agreed."""
        entry = self._intents.get((link.connection, link.entity))
        if entry is None or entry.act != Act.CREATE or link.evidence != "marker":
            return link
        self._out.landed.append((entry.id, link.native_id))
        self._settling.add(entry.id)
        bases = {name: Base(native, stood) for name, (native, stood) in entry.sent.items()}
        return replace(link, bases=bases, evidence=CREATED, rebuilt=False)

    # Merging

    def _reconcile(self, ids: Sequence[str]) -> None:
        """Merge a chunk of deals and collect what has to be written."""
        entities = self._hub.entities(self._db, ids)
        entities |= {id: self._out.entities[id] for id in ids if id in self._out.entities}
        links = self._links_of(ids)
        rows = self._linked_rows(links)
        self._parties.learn(rows, entities.values())
        past = self._hub.past(self._db, ids, self._now - OSCILLATION_WINDOW)
        self._conflicts = {(one.entity, one.field): one for one in self._hub.conflicts(self._db, ids)}
        for id in ids:
            entity = entities.get(id)
            if entity is None or entity.kind is not Kind.DEAL:
                continue
            self._out.examined.add(id)
            if entity.status is Status.LIVE:
                self._one(entity, links[id], rows, past)

    def _links_of(self, ids: Collection[str]) -> dict[str, list[Link]]:
        """Links by entity, as stored and as this plan changes them."""
        found = self._hub.links_of(self._db, ids)
        if not self._out.links:
            return found
        if len(self._overlay_of) != len(self._out.links):
            self._overlay = defaultdict(list)
            for key, link in self._out.links.items():
                self._overlay[link.entity].append(key)
            self._overlay_of = set(self._out.links)
        result: dict[str, list[Link]] = {}
        for id in ids:
            mine = {(link.connection, link.kind, link.native_id): link for link in found[id]}
            mine |= {key: self._out.links[key] for key in self._overlay.get(id, ())}
            current = (self._out.links.get(key, link) for key, link in mine.items())
            result[id] = [link for link in current if link.entity == id]
        return result

    def _one(
        self,
        entity: Entity,
        links: Sequence[Link],
        rows: Mapping[tuple[str, str], Mapping[str, Any]],
        past: Mapping[tuple[str, str], Any],
    ) -> None:
        live = [
            (link, rows[link.connection, link.native_id])
            for link in links
            if link.status is Status.LIVE and (link.connection, link.native_id) in rows
        ]
        label = next((row["name"] for _, row in live if row["name"]), entity.id)
        hub = dict(entity.hub)
        due: dict[str, list[FieldChange]] = defaultdict(list)
        bases = {link.connection: dict(link.bases) for link, _ in live}
        busy = False
        for name in self._group.fields:
            known = hub.get(name, HubField(NOTHING, ""))
            self._fill_in(name, known, live, bases)
            sides = self._sides(name, entity.id, live, bases)
            if not sides:
                continue
            held = self._conflicts.get((entity.id, name))
            context = self._context(name, entity.id, held, past)
            merged = merge(known.value, known.origin, sides, context)
            busy |= self._keep(entity, name, merged, hub, bases, held, label)
            self._collect(entity, name, merged, sides, due, label)
            busy |= bool(merged.due) or bool(merged.unwritable)
        self._out.entities[entity.id] = replace(entity, hub=hub)
        for link, _ in live:
            if bases[link.connection] != dict(link.bases):
                self._out.put_link(replace(link, bases=bases[link.connection]))
        deleted = self._deletions(self._out.entities[entity.id], links, live, rows, label)
        if not deleted:
            self._updates(entity, live, due, label)
            busy |= self._creations(self._out.entities[entity.id], links, live, label)
        if busy or deleted:
            self._out.pending.add(entity.id)

    def _fill_in(
        self,
        name: str,
        known: HubField,
        live: Sequence[tuple[Link, Mapping[str, Any]]],
        bases: Mapping[str, dict[str, Base]],
    ) -> None:
        """What a CRM filled in by itself when we created the record is no edit of a user."""
        for link, row in live:
            codec = self._group.members[link.connection].codec
            if link.evidence != CREATED or name in bases[link.connection] or _lacks(self._group, link, name):
                continue
            native = codec.native(name, row)
            value = None if known.value is NOTHING else known.value
            projected = codec.project(name, value, native)
            stood = NOTHING if isinstance(projected, Unmapped) else projected
            bases[link.connection][name] = Base(native, stood)

    def _sides(
        self,
        name: str,
        entity: str,
        live: Sequence[tuple[Link, Mapping[str, Any]]],
        bases: Mapping[str, Mapping[str, Base]],
    ) -> list[Side]:
        sides = []
        for link, row in live:
            member = self._group.members[link.connection]
            codec = member.codec
            if _lacks(self._group, link, name):
                continue
            native = codec.native(name, row)
            base = bases[link.connection].get(name)
            entry = self._intents.get((link.connection, entity))
            sides.append(
                Side(
                    link.connection,
                    native,
                    codec.decode(name, native),
                    base,
                    codec.decode(name, base.native) if base is not None else None,
                    (entry.sent[name][1],) if entry is not None and name in entry.sent else (),
                    self._group.imports(link.connection, name),
                    member.writable,
                    row["modified_at"],
                    self._group.error_seconds(link.connection),
                )
            )
        return sides

    def _context(
        self, name: str, entity: str, held: HeldConflict | None, past: Mapping[tuple[str, str], Any]
    ) -> FieldContext:
        rule_name, rule = self._group.rules[name]
        if held is not None and held.winner is not None:
            rule_name, rule = f"decided: {held.winner}", _decided(held.winner)
        return FieldContext(
            name,
            rule,
            rule_name,
            self._group.setting,
            lambda connection, value, current: self._group.members[connection].codec.project(
                name, value, current
            ),
            self._group.is_set(name),
            self._now,
            () if held is not None and held.winner is not None else past.get((entity, name), ()),
            held is not None and held.frozen and held.winner is None,
        )

    def _keep(
        self,
        entity: Entity,
        name: str,
        merged: Merged,
        hub: dict[str, HubField],
        bases: Mapping[str, dict[str, Base]],
        held: HeldConflict | None,
        label: str,
    ) -> bool:
        """Note what a field's merge has to be remembered for; whether it must be looked at again."""
        for connection, base in merged.bases.items():
            bases[connection][name] = base
        if merged.changed:
            hub[name] = HubField(merged.hub, merged.origin)
            losers = [[one.connection, one.value] for one in merged.losers]
            self._out.values.append(
                {
                    "entity": entity.id, "field": name, "value": merged.hub, "origin": merged.origin,
                    "rule": merged.rule, "losers": losers, "at": self._now,
                }
            )  # fmt: skip
        if merged.conflict is not None:
            frozen = "back and forth" in merged.conflict.reason or (held is not None and held.frozen)
            self._out.conflicts.append(
                HeldConflict(
                    entity.id,
                    name,
                    held.reason if held is not None and held.frozen else merged.conflict.reason,
                    tuple((one.connection, one.value) for one in merged.conflict.candidates),
                    held.since if held is not None else self._now,
                    None,
                    frozen,
                )
            )
            values = self._both(name, [(one.connection, one.value) for one in merged.conflict.candidates])
            self._hold(
                "frozen" if frozen else "conflict", "", entity.id, label, name,
                f"{merged.conflict.reason}: {values}",
            )  # fmt: skip
            return held is not None and held.winner is not None
        if held is not None:
            if held.frozen and held.winner is None:
                self._hold("frozen", "", entity.id, label, name, held.reason)
            else:
                self._out.settled.append((entity.id, name))
        return False

    def _collect(
        self,
        entity: Entity,
        name: str,
        merged: Merged,
        sides: Sequence[Side],
        due: dict[str, list[FieldChange]],
        label: str,
    ) -> None:
        by_connection = {side.connection: side for side in sides}
        for one in merged.due:
            side = by_connection[one.connection]
            due[one.connection].append(self._change(name, one, side, merged))
        for connection, reason in merged.unwritable.items():
            self._hold("unwritable", connection, entity.id, label, name, reason)
        for connection, row in merged.rows.items():
            value = by_connection[connection].value
            if row is Row.UNMAPPED and isinstance(value, Unmapped):
                self._hold("unmapped", connection, entity.id, label, name, value.reason)

    def _change(self, name: str, due: Due, side: Side, merged: Merged) -> FieldChange:
        old = None if isinstance(side.value, Unmapped) else side.value
        rule = merged.rule or "still due"
        return FieldChange(name, due.expected, old, due.value, f"{rule} ({merged.origin})")

    # Writes

    def _updates(
        self,
        entity: Entity,
        live: Sequence[tuple[Link, Mapping[str, Any]]],
        due: Mapping[str, Sequence[FieldChange]],
        label: str,
    ) -> None:
        for link, row in live:
            fields = due.get(link.connection)
            if not fields:
                continue
            member = self._group.members[link.connection]
            if Act.UPDATE not in member.writing(Kind.DEAL).acts:
                self._hold(
                    "unwritable",
                    link.connection,
                    entity.id,
                    label,
                    None,
                    "this CRM's deals cannot be updated",
                )
                continue
            fields = [*fields, *self._kept(entity, link, row, fields)]
            parents = self._needs(link.connection, fields)
            self._plan(
                Op(
                    "", link.connection, Kind.DEAL, Act.UPDATE, entity.id, link.native_id, None, label,
                    row["url"], tuple(fields), parents=parents,
                )
            )  # fmt: skip

    def _kept(
        self, entity: Entity, link: Link, row: Mapping[str, Any], fields: Sequence[FieldChange]
    ) -> list[FieldChange]:
        """The close date again, where closing the deal would replace it."""
        name = "expected_close"
        member = self._group.members[link.connection]
        stage = next((one.new for one in fields if one.field == "stage"), None)
        if stage is None or not member.connector.capabilities.closing_sets_close_date:
            return []
        if member.codec.stages.outline[stage[1]].outcome is Outcome.OPEN:
            return []
        native = member.codec.native(name, row)
        if name not in self._group.fields or native is None or any(one.field == name for one in fields):
            return []
        return [FieldChange(name, native, native, native, "kept: closing would replace it", (native,))]

    def _creations(
        self,
        entity: Entity,
        links: Sequence[Link],
        live: Sequence[tuple[Link, Mapping[str, Any]]],
        label: str,
    ) -> bool:
        """Plan the record where it is missing; whether the entity must be looked at again."""
        again = False
        if not live:
            return False
        for connection, member in self._group.members.items():
            mine = [link for link in links if link.connection == connection]
            if any(link.status is not Status.DEAD for link in mine) or not member.creates:
                continue
            if mine and self._group.settings.deletes is not Deletes.RECREATE:
                continue  # it was deleted there, and stays so
            if connection in {one.connection for one, _ in live}:
                continue
            again = True
            self._create(entity, connection, member, label)
        return again

    def _create(self, entity: Entity, connection: str, member: Member, label: str) -> None:
        writing = member.writing(Kind.DEAL)
        if Act.CREATE not in writing.acts or writing.keys is Keys.NONE:
            reason = (
                "deals cannot be created here"
                if Act.CREATE not in writing.acts
                else ("this CRM cannot keep our key, so that a lost answer could double the deal")
            )
            self._hold("required", connection, entity.id, label, None, reason)
            return
        fields: list[FieldChange] = []
        for name in self._group.fields:
            if name in self._group.settings.custom and name not in member.codec.custom:
                continue
            known = entity.hub.get(name)
            if known is None or known.value is NOTHING:
                if name in _NEED:
                    self._hold("required", connection, entity.id, label, name, "not agreed yet")
                    return
                continue
            projected = member.codec.project(name, known.value)
            if isinstance(projected, Unmapped):
                if name in _NEED:
                    self._hold("required", connection, entity.id, label, name, projected.reason)
                    return
                self._hold("unwritable", connection, entity.id, label, name, projected.reason)
            elif projected not in (None, []):
                fields.append(FieldChange(name, None, None, projected, f"new ({known.origin})"))
        missing = _missing(writing.required, {one.field for one in fields})
        if missing:
            self._hold(
                "required", connection, entity.id, label, missing,
                f"this CRM takes no deal without {'an ' if missing[0] in 'aeiou' else 'a '}{missing}",
            )  # fmt: skip
            return
        self._plan(
            Op(
                "", connection, Kind.DEAL, Act.CREATE, entity.id, None, self._group.marker(entity.id),
                label, None, tuple(fields), parents=self._needs(connection, fields),
            )
        )  # fmt: skip

    def _needs(self, connection: str, fields: Sequence[FieldChange]) -> tuple[str, ...]:
        """Companies and people that a deal names and that must be created first."""
        wanted: list[tuple[Kind, str]] = []
        for one in fields:
            if one.field == "company" and one.new is not None:
                wanted.append((Kind.COMPANY, one.new))
            elif one.field == "contacts":
                wanted += [(Kind.CONTACT, each) for each in one.new or ()]
        company = next((entity for kind, entity in wanted if kind is Kind.COMPANY), None)
        return tuple(
            entity for kind, entity in wanted if self._parties.need(connection, kind, entity, company)
        )

    def _deletions(
        self,
        entity: Entity,
        links: Sequence[Link],
        live: Sequence[tuple[Link, Mapping[str, Any]]],
        rows: Mapping[tuple[str, str], Mapping[str, Any]],
        label: str,
    ) -> bool:
        """Plan deletes elsewhere after a delete, where the settings say so; whether the rest must wait."""
        dead = [link for link in links if link.status is Status.DEAD]
        if self._group.settings.deletes is not Deletes.DELETE or not dead:
            return False
        replaced = {link.connection for link, _ in live} | {
            link.connection for link in links if link.status in (Status.OUT_OF_SCOPE, Status.CLONE)
        }
        if all(link.connection in replaced for link in dead):
            return False
        why = self._unseen(entity, dead, live)
        if why:
            self._hold("delete_conflict", dead[0].connection, entity.id, label, None, why)
            return True
        for link, row in live:
            member = self._group.members[link.connection]
            if not member.writable or Act.DELETE not in member.writing(Kind.DEAL).acts:
                continue
            expected = tuple(
                FieldChange(name, base.native, None, None, f"deleted in {dead[0].connection}")
                for name, base in sorted(link.bases.items())
            )
            self._plan(
                Op(
                    "", link.connection, Kind.DEAL, Act.DELETE, entity.id, link.native_id, None, label,
                    row["url"], expected,
                )
            )  # fmt: skip
        return True

    def _unseen(
        self, entity: Entity, dead: Sequence[Link], live: Sequence[tuple[Link, Mapping[str, Any]]]
    ) -> str:
        """Why a delete must not be carried on; empty if the deleter had seen everything."""
        if any(link.rebuilt for link in (*dead, *(link for link, _ in live))):
            return "deleted in one CRM, but its history here was rebuilt after the state was lost"
        if any((entity.id, name) in self._conflicts for name in self._group.fields):
            return "deleted in one CRM while a conflict is held"
        for link in dead:
            codec = self._group.members[link.connection].codec
            for name, known in entity.hub.items():
                base = link.bases.get(name)
                projected = codec.project(name, known.value, base.native if base else None)
                if base is not None and not isinstance(projected, Unmapped) and projected != base.stood:
                    return f"deleted in {link.connection}, which had not seen the last change of {name}"
        for link, row in live:
            codec = self._group.members[link.connection].codec
            for name, base in link.bases.items():
                native = codec.native(name, row)
                if native != base.native and codec.decode(name, native) != codec.decode(name, base.native):
                    return f"deleted in one CRM, but {name} was changed in {link.connection}"
        return ""

    def _plan(self, op: Op) -> None:
        """Add a write, unless something stands against it."""
        op = replace(op, id=op_id(self._group.name, op))
        intent = self._intents.get(op.target)
        if intent is not None and intent.id not in self._settling:
            self._hold(
                "parked", op.connection, op.entity, op.label, None,
                "an earlier write's outcome is not known yet; it is looked up first",
            )  # fmt: skip
            return
        refusal = self._refusals.get((op.connection, op.entity, op.act.value))
        if refusal is not None and refusal.tries >= TRIES and refusal.digest == payload_digest(op):
            self._hold("refused", op.connection, op.entity, op.label, refusal.field, refusal.reason)
            return
        self._out.ops.append(op)

    def _held_party(self, op: Op | None, held: Held | None) -> None:
        """What the parties found: a write, or a reason why there is none."""
        if held is not None:
            self._out.held.append(held)
        if op is not None:
            self._plan(op)

    def _hold(
        self, kind: str, connection: str, entity: str, label: str, name: str | None, reason: str
    ) -> None:
        self._out.held.append(Held(kind, connection, entity, label, name, reason))

    def _finish(self) -> None:
        """Block children without parents, order everything, and ask the guards."""
        planned = {op.target for op in self._out.ops}
        ops: list[Op] = []
        for op in self._out.ops:
            lacking = [
                parent
                for parent in op.parents
                if (parent, op.connection) not in self._group.directory.native_of
                and (op.connection, parent) not in planned
            ]
            if lacking:
                self._hold(
                    "blocked", op.connection, op.entity, op.label, None,
                    "a company or person that it needs is not there yet",
                )  # fmt: skip
            else:
                ops.append(op)
        self._out.ops = sorted(ops, key=_order)
        self._out.held.sort(
            key=lambda one: (one.kind, one.connection, one.entity, one.field or "", one.label)
        )
        counts = {
            connection: self._hub.count_links(self._db, connection, Kind.DEAL)
            for connection in self._group.members
        }
        filled = sum(
            any(link.connection == name and link.kind is Kind.DEAL for link in self._out.links.values())
            for name in self._group.members
        )
        self._out.guards += guard(
            self._out.ops, counts, self._group.settings.guards, first=self._out.first and filled > 1
        )

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
                page = query.where(table.c.id > last).order_by(table.c.id).limit(_ROWS_AT_ONCE)
                found = self._db.execute(page).mappings()
                rows = {row["id"]: cast(Mapping[str, Any], dict(row)) for row in found}
                if not rows:
                    return
                last = max(rows)
                yield rows
        for chunk in _chunks(ids or (), _ROWS_AT_ONCE):
            some = self._db.execute(query.where(table.c.id.in_(chunk))).mappings()
            yield {row["id"]: cast(Mapping[str, Any], dict(row)) for row in some}

    def _linked_rows(self, links: Mapping[str, Sequence[Link]]) -> dict[tuple[str, str], Mapping[str, Any]]:
        """The stored deals of live links, by (connection, native id)."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for found in links.values():
            for link in found:
                if link.status is Status.LIVE:
                    wanted[link.connection].add(link.native_id)
        table = TABLES[Kind.DEAL]
        rows: dict[tuple[str, str], Mapping[str, Any]] = {}
        for connection, natives in wanted.items():
            query = sa.select(table).where(table.c.connection == connection, table.c.gone_at.is_(None))
            for chunk in _chunks(natives, _ROWS_AT_ONCE):
                for row in self._db.execute(query.where(table.c.id.in_(chunk))).mappings():
                    rows[connection, row["id"]] = dict(row)
        return rows


def _lacks(group: Group, link: Link, name: str) -> bool:
    """Whether a member has no such custom field."""
    return name in group.settings.custom and name not in group.members[link.connection].codec.custom


def _decided(winner: str) -> Any:
    """The rule of a person's word: that member's value wins."""

    def chosen(candidates: Sequence[Candidate], _setting: object) -> Candidate | None:
        return next((one for one in candidates if one.connection == winner), None)

    return chosen


_MODEL_FIELDS = {
    "companies": "company", "contacts": "contacts", "name": "name", "pipeline_id": "stage",
    "stage_id": "stage", "amount": "amount", "currency": "amount", "owner_id": "owner",
    "expected_close": "expected_close",
}  # fmt: skip


def _missing(required: Collection[str], given: Collection[str]) -> str:
    """The first required field that is not given, by the name a person knows; empty if none is."""
    return next(
        (
            _MODEL_FIELDS.get(name, name)
            for name in sorted(required)
            if _MODEL_FIELDS.get(name, name) not in given
        ),
        "",
    )


_ACTS = {Act.CREATE: 0, Act.UPDATE: 1, Act.DELETE: 2}


def _order(op: Op) -> tuple[bool, int, int, str, str]:
    """Parties first, deletes last."""
    return (op.act is Act.DELETE, KINDS.index(op.kind), _ACTS[op.act], op.connection, op.entity)


def _chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    ordered = sorted(ids)
    for at in range(0, len(ordered), size):
        yield ordered[at : at + size]
