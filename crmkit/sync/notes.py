"""The notes that come along with a migration: those of the source, and one about each deal's past.

Notes are only ever added: each carries a key, so that none comes twice, and none is
changed afterwards (sync-semantics 2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.writing import Act
from crmkit.mapping.custom import Unmapped
from crmkit.mapping.richtext import html_text, plain_text
from crmkit.model import Kind, LostKind, Ref
from crmkit.sync import schema, tables
from crmkit.sync.basis import Basis
from crmkit.sync.group import Member
from crmkit.sync.hub import HubField, Status
from crmkit.sync.letters import Past, letter, plain_words, signature
from crmkit.sync.moving import Moving
from crmkit.sync.plan import Op
from crmkit.sync.shown import shown
from crmkit.sync.stored import IDS_AT_ONCE, chunks, stored
from crmkit.sync.writes import Writes

LETTER = "letter-"
"""What the native part of a letter's entity starts with; the deal's id follows."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a note goes: the entity that it hangs on, and whether that is a deal."""

    entity: str
    deal: bool


class Notes:
    """Plans notes.

    Args:
        basis: What the plan is made from.
        moving: How the migration moves.
        writes: The plan's writes; deals that are created in the same plan get their notes at once.
    """

    def __init__(self, basis: Basis, moving: Moving, writes: Writes) -> None:
        self._basis = basis
        self._group = basis.group
        self._hub = basis.hub
        self._db = basis.db
        self._out = basis.out
        self._moving = moving
        self._writes = writes
        self._target = self._group.members[moving.target]
        self._names: Mapping[str, str] | None = None
        self._stage_names: Mapping[str, str] | None = None
        self._agreed: Mapping[str, Mapping[str, HubField]] = {}
        self._coming = {op.entity for op in basis.out.ops if op.act is Act.CREATE}

    def plan(self, waiting: Collection[str]) -> None:
        """Add a write for each note that is missing in the target.

        Args:
            waiting: Notes that waited for this plan.
        """
        if self._moving.letters:
            self._letters({one for one in waiting if _native(one).startswith(LETTER)})
        if self._moving.notes:
            mine = (_native(one) for one in waiting)
            self._copies({native for native in mine if not native.startswith(LETTER)})

    # Notes of the source

    def _copies(self, waiting: Collection[str]) -> None:
        for rows in self._rows(waiting):
            entities = {self._group.entity_id(self._moving.source, Kind.NOTE, row["id"]): row for row in rows}
            missing = self._missing(entities)
            places = self._places([entities[one] for one in sorted(missing)])
            for entity in sorted(missing):
                row = entities[entity]
                place = places.get(row["id"])
                if place is None:
                    continue
                if not self._reachable(place.entity):
                    self._out.pending.add(entity)
                    continue
                self._add(entity, place, *self._told(row))

    def _rows(self, waiting: Collection[str]) -> Iterator[list[Mapping[str, Any]]]:
        """Notes that are new since the last plan, and those that waited."""
        source, changes = self._moving.source, tables.changes.c
        where = (changes.connection == source, changes.kind == Kind.NOTE.value)
        latest = self._db.execute(sa.select(sa.func.max(changes.number)).where(*where)).scalar() or 0
        position = self._hub.positions(self._db).get((source, Kind.NOTE))
        self._out.positions[source, Kind.NOTE] = latest
        ids: set[str] | None = set(waiting)
        if position is None:
            ids = None
        elif latest > position:
            fresh = sa.select(changes.id).where(*where, changes.number > position).distinct()
            found = set(self._db.execute(fresh).scalars())
            ids = None if "*" in found else {*waiting, *found}
        notes = schema.notes
        query = sa.select(notes).where(notes.c.connection == source, notes.c.gone_at.is_(None))
        if ids is not None:
            for chunk in chunks(ids):
                some = self._db.execute(query.where(notes.c.id.in_(chunk)).order_by(notes.c.id)).mappings()
                yield [dict(row) for row in some]
            return
        last = ""
        while True:
            page = query.where(notes.c.id > last).order_by(notes.c.id).limit(IDS_AT_ONCE)
            rows: list[Mapping[str, Any]] = [dict(row) for row in self._db.execute(page).mappings()]
            if not rows:
                return
            last = rows[-1]["id"]
            yield rows

    def _places(self, rows: Collection[Mapping[str, Any]]) -> dict[str, _Place]:
        """Where notes go, by id: to the deal, else to the company; nowhere if neither takes part."""
        source = self._moving.source
        found: dict[str, _Place] = {}
        for kind, column in ((Kind.DEAL, "deal_id"), (Kind.COMPANY, "company_id")):
            wanted = {row[column] for row in rows if row[column] and row["id"] not in found}
            links = self._hub.links_to(self._db, source, kind, wanted)
            planned = {
                native: self._out.links[source, kind, native]
                for native in wanted
                if (source, kind, native) in self._out.links
            }
            links |= planned
            for row in rows:
                link = links.get(row[column] or "")
                if row["id"] in found or link is None or link.status is not Status.LIVE:
                    continue
                found[row["id"]] = _Place(link.entity, kind is Kind.DEAL)
        return found

    def _told(self, row: Mapping[str, Any]) -> tuple[str, Any, str | None]:
        """Text, time and author of a note, as the target can keep them."""
        able = self._target.writing(Kind.NOTE)
        fields = able.fields | able.create_fields
        author = self._author(row["author_id"]) if "author_id" in fields else None
        at = row["at"] if "at" in fields else None
        name = self._owner_name(row["author_id"]) if author is None else None
        return self._put(row["text"], signature(name, row["at"] if at is None else None)), at, author

    def _put(self, text: str, head: str) -> str:
        """A note's text as the target keeps notes, under a line about who wrote it and when."""
        is_html = self._group.members[self._moving.source].connector.capabilities.notes_are_html
        if not self._is_html:
            return head + (plain_text(text) if is_html else text)
        if is_html:
            return (html_text(head.strip()) if head else "") + text
        return html_text(head + text)

    @property
    def _is_html(self) -> bool:
        return self._target.connector.capabilities.notes_are_html

    def _author(self, native: str | None) -> str | None:
        """The target's user of the same address."""
        address = self._group.members[self._moving.source].codec.decode("owner", native)
        if address is None or isinstance(address, Unmapped):
            return None
        return self._target.codec.assignable.get(address)

    # Letters

    def _letters(self, waiting: Collection[str]) -> None:
        source = self._moving.source
        deals = {self._deal_of(one) for one in waiting}
        deals |= {one for one in self._out.examined if one.split(":")[1] == Kind.DEAL.value}
        for chunk in chunks(deals):
            self._learn(chunk)
            natives = {
                link.entity: link.native_id
                for links in self._basis.links_of(chunk).values()
                for link in links
                if link.connection == source and link.status is Status.LIVE
            }
            letters = {self._letter_of(native): entity for entity, native in natives.items()}
            missing = self._missing(letters)
            wanted = {letters[one]: one for one in sorted(missing) if self._reachable(letters[one])}
            self._out.pending |= {one for one in missing if letters[one] not in wanted}
            rows = stored(self._db, [Ref(source, Kind.DEAL, natives[deal]) for deal in wanted], live=True)
            past = self._pasts([ref.id for ref in rows])
            ties = self._ties(
                {deal: rows[ref] for deal in wanted if (ref := Ref(source, Kind.DEAL, natives[deal])) in rows}
            )
            for deal, entity in wanted.items():
                row = rows.get(Ref(source, Kind.DEAL, natives[deal]))
                if row is not None:
                    text = self._letter(deal, row, past.get(row["id"], []), ties.get(deal, []))
                    able = self._target.writing(Kind.NOTE)
                    at = row["created_at"] if "at" in able.fields | able.create_fields else None
                    self._add(entity, _Place(deal, deal=True), text, at, None)

    def _learn(self, deals: Collection[str]) -> None:
        """What the group has agreed on: of deals of an earlier plan, too, whose letters wait since."""
        known = self._hub.entities(self._db, deals)
        known |= {deal: self._out.entities[deal] for deal in deals if deal in self._out.entities}
        self._writes.parties.learn({}, known.values())
        self._agreed = {deal: one.hub for deal, one in known.items()}

    def _letter_of(self, native: str) -> str:
        return self._group.entity_id(self._moving.source, Kind.NOTE, LETTER + native)

    def _deal_of(self, letter_entity: str) -> str:
        native = _native(letter_entity).removeprefix(LETTER)
        return self._group.entity_id(self._moving.source, Kind.DEAL, native)

    def _letter(
        self, entity: str, row: Mapping[str, Any], past: list[Past], ties: list[tuple[str, str]]
    ) -> str:
        source = self._group.members[self._moving.source]
        address = source.codec.decode("owner", row["owner_id"])
        known = isinstance(address, str) and address in self._target.codec.assignable
        owner = None if known else self._owner_name(row["owner_id"])
        untold = [*ties, *self._untold(entity, row)]
        text = letter(source.connector.title or source.crm, row, past, untold, owner)
        return html_text(text) if self._is_html else text

    def _untold(self, entity: str, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        """What the target has no place for: fields that it cannot express, and custom fields without one."""
        found: list[tuple[str, str]] = []
        for name in self._group.fields:
            known = self._agreed.get(entity, {}).get(name)
            if (
                known is None
                or known.value in (None, [])
                or name in ("stage", "owner", "company", "contacts")
            ):
                continue
            lacks = self._group.lacks(self._moving.target, name)
            if lacks or isinstance(self._target.codec.project(name, known.value), Unmapped):
                found.append((name.replace("_", " ").capitalize(), shown(name, known.value)))
        if row["lost_kind"] not in (None, LostKind.LOST):
            found.append(("Lost as", str(row["lost_kind"])))
        source = self._group.members[self._moving.source]
        # Where nobody can set it, it follows from the stage.
        if row["forecast_category"] and "forecast_category" in source.writing(Kind.DEAL).fields:
            found.append(("Forecast category", row["forecast_category"]))
        for native, one in self._moving.untold.items():
            value = row["custom"].get(native)
            if value is not None and value not in ("", []):
                found.append((one.label, plain_words(value, one.options)))
        return found

    def _ties(self, deals: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[str, str]]]:
        """Companies and people that the target does not tie to a deal, or not with their part in it."""
        source = self._moving.source
        lost = {
            (entity, kind): [(Ref(source, kind, native), role) for native, role in ties]
            for entity, row in deals.items()
            for kind, name, ties in (
                (Kind.COMPANY, "company", [(one, None) for one in row["companies"]]),
                (Kind.CONTACT, "contacts", [(one["id"], one["role"]) for one in row["contacts"]]),
            )
            if self._loses(entity, name, ties)
        }
        rows = stored(self._db, {ref for ties in lost.values() for ref, _ in ties}, ("name",))
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for (entity, kind), ties in lost.items():
            words = [
                (rows[ref]["name"] if ref in rows else ref.id) + (f" ({role})" if role else "")
                for ref, role in ties
            ]
            found[entity].append(("Companies" if kind is Kind.COMPANY else "Contacts", ", ".join(words)))
        return found

    def _loses(self, entity: str, name: str, ties: Sequence[tuple[str, str | None]]) -> bool:
        """Whether the target keeps less than a deal's companies or people: of companies the first."""
        if not ties:
            return False
        if any(role for _, role in ties) or (name == "company" and len(ties) > 1):
            return True
        known = self._agreed.get(entity, {}).get(name)
        if known is None or known.value in (None, []):
            return False
        return bool(self._target.codec.project(name, known.value) != known.value)

    def _pasts(self, natives: Collection[str]) -> dict[str, list[Past]]:
        table = schema.stage_changes
        query = sa.select(table).where(table.c.connection == self._moving.source, table.c.gone_at.is_(None))
        found: dict[str, list[Past]] = defaultdict(list)
        for chunk in chunks(natives):
            some = query.where(table.c.deal_id.in_(chunk)).order_by(table.c.deal_id, table.c.at, table.c.id)
            for row in self._db.execute(some):
                found[row.deal_id].append(
                    Past(
                        row.at, self._stage_name(row.from_stage_id), self._stage_name(row.to_stage_id) or "",
                        self._owner_name(row.by),
                    )
                )  # fmt: skip
        return found

    def _stage_name(self, native: str | None) -> str | None:
        if self._stage_names is None:
            table = schema.stages
            query = sa.select(table.c.id, table.c.name).where(table.c.connection == self._moving.source)
            self._stage_names = {row.id: row.name for row in self._db.execute(query)}
        return self._stage_names.get(native, native) if native is not None else None

    def _owner_name(self, native: str | None) -> str | None:
        if self._names is None:
            table = schema.owners
            query = sa.select(table.c.id, table.c.name, table.c.email).where(
                table.c.connection == self._moving.source
            )
            self._names = {row.id: row.name or row.email or row.id for row in self._db.execute(query)}
        return self._names.get(native, native) if native is not None else None

    # Both

    def _missing(self, entities: Collection[str]) -> set[str]:
        """Those notes that the target has never had."""
        links = self._hub.links_of(self._db, entities)
        done = {
            entity
            for entity, found in links.items()
            if any(link.connection == self._moving.target for link in found)
        }
        self._out.examined |= done
        return {*entities} - done

    def _reachable(self, entity: str) -> bool:
        """Whether what a note hangs on is in the target, or comes with this plan."""
        if entity in self._coming:
            return True
        directory = self._group.directory.native_of
        target = self._moving.target
        if (entity, target) not in directory:
            for link in self._basis.links_of([entity])[entity]:
                if link.connection == target and link.status is Status.LIVE:
                    self._group.directory.add(target, link.kind, link.native_id, entity)
        return (entity, target) in directory

    def _add(self, entity: str, place: _Place, text: str, at: Any, author: str | None) -> None:
        # It is looked at again until the target has it.
        self._out.pending.add(entity)
        able = self._target.writing(Kind.NOTE)
        where = "deal_id" if place.deal else "company_id"
        label = (plain_text(text[:400]) if self._is_html else text).partition("\n")[0][:80]
        if Act.CREATE not in able.acts or where not in able.fields | able.create_fields:
            reason = "this CRM takes no notes" if Act.CREATE not in able.acts else "takes notes of deals only"
            self._basis.hold("unwritable", self._target.connection, entity, label, None, reason)
            return
        payload: dict[str, Any] = {"text": text, where: place.entity}
        if at is not None:
            payload["at"] = at.isoformat()
        if author is not None:
            payload["author_id"] = author
        refused = _refused(self._target, payload, at)
        if refused:
            name, reason = next(iter(sorted(refused.items())))
            self._basis.hold("unwritable", self._target.connection, entity, label, name, reason)
            return
        self._writes.add(
            Op(
                "", self._target.connection, Kind.NOTE, Act.CREATE, entity, None, self._group.marker(entity),
                label, None, payload=payload, parents=(place.entity,),
            )
        )  # fmt: skip


def _refused(target: Member, payload: Mapping[str, Any], at: Any) -> Mapping[str, str]:
    plain = {name: value for name, value in payload.items() if name in ("text", "author_id")}
    return target.connector.cannot_hold(Kind.NOTE, plain | ({"at": at} if at is not None else {}))


def _native(entity: str) -> str:
    return entity.split(":", 2)[2]
