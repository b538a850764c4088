"""What the state store and a migration's memory say about both sides, as plain rows.

Everything comes in pages, so that memory stays flat however many deals there are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from crmkit.connectors.writing import Act
from crmkit.mapping.fields import Directory
from crmkit.model import Kind
from crmkit.sync import schema, tables
from crmkit.sync.group import MARKER, Group
from crmkit.sync.hub import CREATED, Entity, Intent, Link, Status, decode
from crmkit.sync.rows import TABLES
from crmkit.sync.shown import named_in, names
from crmkit.sync.stored import chunks

PAGE = 1000
Row = Mapping[str, Any]
_STATUS = {status.value: status for status in Status}
_HERE = frozenset({Status.LIVE, Status.OUT_OF_SCOPE})
_PARTY = ("name", "phones", "city", "country", "postcode", "key", "url", "version", "modified_at")
COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    Kind.DEAL: (
        "name", "pipeline_id", "stage_id", "outcome", "lost_reason", "amount", "currency", "value_period",
        "probability", "owner_id", "companies", "contacts", "expected_close", "created_at", "modified_at",
        "source", "tags", "custom", "url", "key", "version", "archived",
    ),
    Kind.COMPANY: (*_PARTY, "domain", "tax_id"),
    Kind.CONTACT: (*_PARTY, "first_name", "last_name", "emails", "companies"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Partner:
    """What the migration knows of a source record.

    Attributes:
        entity: What it is in every CRM.
        status: Of its own link.
        target: Its counterpart, if a link leads to one.
        target_status: Of that link.
        target_evidence: How that one was found.
    """

    entity: str
    status: Status
    target: str | None = None
    target_status: Status | None = None
    target_evidence: str = ""

    @property
    def is_linked(self) -> bool:
        """Whether both links stand; whether the records are still there is another question."""
        return self.status is not Status.CLONE and self.target is not None and self.target_status in _HERE


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of writes of one entity to the target.

    Attributes:
        created: Whether a create arrived.
        last: Fields of the last write that arrived; `None` if none did.
        refused: Fields that were sent, were refused, and never arrived, with the reason.
    """

    created: bool = False
    last: frozenset[str] | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Background:
    """What explains how a pair of records came to differ.

    Attributes:
        entity: The hub's values.
        source: The source's link with its agreements.
        target: The target's.
        sent: What became of writes to the target.
        source_edits: Model fields that pulls saw change in the source after that write.
    """

    entity: Entity
    source: Link | None
    target: Link | None
    sent: Sent = Sent()
    source_edits: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MissingNote:
    """A note of the source that the target does not hold."""

    entity: str
    at: datetime | None
    deleted: bool


@dataclass(slots=True)
class Notes:
    """Notes of the source by deal: how many there are, and those that the target does not hold."""

    on: Counter[str] = field(default_factory=Counter)
    missing: dict[str, list[MissingNote]] = field(default_factory=dict)


class Evidence:
    """Reads one migration.

    Args:
        group: The migration as a sync group.
        db: The open state store.
        source: The member that deals come from.
        target: The member that they go to.
    """

    def __init__(self, group: Group, db: sa.Connection, source: str, target: str) -> None:
        self._group = group
        self._db = db
        self.source = source
        self.target = target
        self._pending: set[str] | None = None

    # Records

    def deals(self) -> Iterator[dict[str, Row]]:
        """The source's deals in scope, by id, in pages."""
        table = schema.deals.c
        query = (
            _select(Kind.DEAL, self.source, COLUMNS[Kind.DEAL])
            .where(table.gone_at.is_(None))
            .order_by(table.id)
            .limit(PAGE)
        )
        last: str | None = None
        while True:
            rows = self._read(Kind.DEAL, query if last is None else query.where(table.id > last))
            if not rows:
                return
            last = rows[-1]["id"]
            yield {row["id"]: row for row in rows if self._takes_part(row)}

    def _takes_part(self, row: Row) -> bool:
        member, moving = self._group.members[self.source], self._group.moving
        chosen = moving is None or moving.only is None or row["id"] in moving.only
        return chosen and member.scope.holds(row, member.codec.owners)

    def rows(self, kind: Kind, connection: str, natives: Collection[str]) -> dict[str, Row]:
        """Live records by id."""
        table = TABLES[kind].c
        query = _select(kind, connection, COLUMNS[kind]).where(
            table.gone_at.is_(None), table.archived.is_(False)
        )
        return {
            row["id"]: row
            for chunk in chunks(natives)
            for row in self._read(kind, query.where(table.id.in_(chunk)))
        }

    def origins(self, kind: Kind, natives: Collection[str]) -> tuple[dict[str, Row], set[str]]:
        """Source records as they are stored, gone ones too, and which of them take part."""
        names = (*(COLUMNS[Kind.DEAL] if kind is Kind.DEAL else ("name", "archived")), "gone_at")
        table = TABLES[kind].c
        query = _select(kind, self.source, names)
        rows = {
            row["id"]: row
            for chunk in chunks(natives)
            for row in self._read(kind, query.where(table.id.in_(chunk)))
        }
        inside = {
            native
            for native, row in rows.items()
            if row["gone_at"] is None
            and (self._takes_part(row) if kind is Kind.DEAL else not row["archived"])
        }
        return rows, inside

    def _read(self, kind: Kind, query: sa.Select[Any]) -> list[Row]:
        """Rows of a kind; lists and custom fields are decoded here, several times faster."""
        found = self._db.execute(query)
        names = list(found.keys())
        packed = [name for name in names if isinstance(TABLES[kind].c[name].type, sa.JSON)]
        rows: list[Row] = []
        for values in found.all():
            row = dict(zip(names, values, strict=True))
            for name in packed:
                value = row[name]
                row[name] = msgspec.json.decode(value) if isinstance(value, str) else value
            rows.append(row)
        return rows

    # Links

    def is_made_here(self, entity: str, evidence: str, row: Row) -> bool:
        """Whether the migration made a target record, and did not find it there."""
        return evidence == CREATED or row["key"] == self._group.marker(entity)

    def is_due(self, entity: str) -> bool:
        """Whether the next run will create something that no run has created yet.

        What was created once and is not linked now is lost, whatever the next run will do.
        """
        if self._pending is None:
            self._pending = self._group.hub.pending(self._db)
        return entity in self._pending and not self.sent([entity]).get(entity, Sent()).created

    def spoken(self, values: Iterable[tuple[str, Any]]) -> dict[str, str]:
        """Names of what (field, value) pairs speak of: companies, people, pipelines and stages."""
        return {**self._group.words, **names(self._group, self._db, named_in(values))}

    def partners(self, kind: Kind, natives: Collection[str]) -> dict[str, Partner]:
        """The counterparts of source records; records that no run has seen are left out."""
        mine = {
            native: (entity, status)
            for native, entity, status, _ in self._links(kind, self.source, "native_id", natives)
        }
        theirs: dict[str, list[tuple[str, Status, str]]] = defaultdict(list)
        wanted = {entity for entity, _ in mine.values()}
        for native, entity, status, evidence in self._links(kind, self.target, "entity", wanted):
            theirs[entity].append((native, status, evidence))
        found: dict[str, Partner] = {}
        for native, (entity, status) in mine.items():
            # A link that stands before one to a record that is gone or double.
            links = sorted(theirs.get(entity, ()), key=lambda one: (one[1] not in _HERE, one[0]))
            found[native] = Partner(entity, status, *links[0]) if links else Partner(entity, status)
        return found

    def linked(self, kind: Kind) -> Iterator[list[tuple[str, str, Status, str]]]:
        """Linked target records: (id, entity, status of the link, how it was found), in pages."""
        columns = tables.links.c
        query = (
            sa.select(columns.native_id, columns.entity, columns.status, columns.evidence)
            .where(
                columns.sync == self._group.name,
                columns.connection == self.target,
                columns.kind == kind.value,
                columns.status != Status.DEAD.value,
            )
            .order_by(columns.native_id)
            .limit(PAGE)
        )
        last: str | None = None
        while True:
            page = query if last is None else query.where(columns.native_id > last)
            found = [
                (row.native_id, row.entity, _STATUS[row.status], row.evidence)
                for row in self._db.execute(page)
            ]
            if not found:
                return
            last = found[-1][0]
            yield found

    def sources_of(self, kind: Kind, entities: Collection[str]) -> dict[str, list[str]]:
        """Source records of entities."""
        found: dict[str, list[str]] = defaultdict(list)
        for native, entity, status, _ in self._links(kind, self.source, "entity", entities):
            if status is not Status.CLONE:
                found[entity].append(native)
        return found

    def strays(self, kind: Kind) -> list[str]:
        """Live target records that carry this migration's marker although no link leads to them."""
        table, links = TABLES[kind], tables.links
        linked = (
            sa.select(links.c.native_id)
            .where(
                links.c.sync == self._group.name,
                links.c.connection == self.target,
                links.c.kind == kind.value,
                links.c.native_id == table.c.id,
            )
            .exists()
        )
        query = sa.select(table.c.id).where(
            table.c.connection == self.target,
            table.c.gone_at.is_(None),
            table.c.archived.is_(False),
            table.c.key.startswith(f"{MARKER}:{self._group.group8}:", autoescape=True),
            ~linked,
        )
        return list(self._db.execute(query.order_by(table.c.id)).scalars())

    def directory(
        self, source: Mapping[Kind, Collection[str]], target: Mapping[Kind, Collection[str]]
    ) -> Directory:
        """Who the named companies and people are, and where in the target."""
        found = Directory()
        found.creatable = set(self._group.directory.creatable)
        for kind in (Kind.COMPANY, Kind.CONTACT):
            entities: set[str] = set()
            for connection, named in ((self.source, source), (self.target, target)):
                for native, entity, status, _ in self._links(
                    kind, connection, "native_id", named.get(kind, ())
                ):
                    if status is Status.LIVE:
                        found.add(connection, kind, native, entity)
                        entities.add(entity)
            missing = {entity for entity in entities if (entity, self.target) not in found.native_of}
            for native, entity, status, _ in self._links(kind, self.target, "entity", missing):
                if status is Status.LIVE:
                    found.add(self.target, kind, native, entity)
        return found

    def _links(
        self, kind: Kind, connection: str, column: str, values: Collection[str]
    ) -> Iterator[tuple[str, str, Status, str]]:
        columns = tables.links.c
        query = sa.select(columns.native_id, columns.entity, columns.status, columns.evidence).where(
            columns.sync == self._group.name, columns.connection == connection, columns.kind == kind.value
        )
        for chunk in chunks(values):
            rows = self._db.execute(query.where(columns[column].in_(chunk))).all()
            for native, entity, status, evidence in rows:
                yield native, entity, _STATUS[status], evidence

    # What explains differences

    def background(self, kind: Kind, pairs: Mapping[str, str]) -> dict[str, Background]:
        """What is remembered of pairs that differ, by entity.

        Args:
            kind: Of the records.
            pairs: The source's id by entity.
        """
        entities = self._group.hub.entities(self._db, pairs)
        links = self._group.hub.links_of(self._db, pairs)
        sent = self.sent(pairs)
        found: dict[str, Background] = {}
        for entity, native in pairs.items():
            mine = [link for link in links[entity] if link.status is not Status.CLONE]
            source = next(
                (one for one in mine if one.connection == self.source and one.native_id == native), None
            )
            target = next(
                (one for one in mine if one.connection == self.target and one.status in _HERE), None
            )
            known = entities.get(entity, Entity(entity, kind))
            found[entity] = Background(known, source, target, sent.get(entity, Sent()))
        return found

    def sent(self, entities: Collection[str]) -> dict[str, Sent]:
        """What the journal tells about writes to the target, by entity."""
        journal = tables.journal.c
        query = (
            sa.select(journal.entity, journal.act, journal.sent, journal.state, journal.reason)
            .where(
                journal.sync == self._group.name,
                journal.connection == self.target,
                journal.state.in_([Intent.ACKED.value, Intent.FAILED.value]),
            )
            .order_by(journal.sent_at, journal.id)
        )
        found: dict[str, Sent] = {}
        for chunk in chunks(entities):
            for row in self._db.execute(query.where(journal.entity.in_(chunk))).all():
                before = found.get(row.entity, Sent())
                fields = frozenset(decode(row.sent))
                if row.state == Intent.FAILED.value:
                    refused = {**before.refused, **dict.fromkeys(fields, row.reason or "")}
                    found[row.entity] = replace(before, refused=refused)
                else:
                    left = {name: one for name, one in before.refused.items() if name not in fields}
                    created = before.created or row.act == Act.CREATE.value
                    found[row.entity] = Sent(created, fields, left)
        return found

    def source_edits(self, kind: Kind, since: Mapping[str, datetime]) -> dict[str, frozenset[str]]:
        """Model fields of source records that pulls saw change at or after a moment."""
        table = schema.history.c
        query = sa.select(table.id, table.field, table.observed_at).where(
            table.connection == self.source, table.kind == kind.value
        )
        found: dict[str, set[str]] = defaultdict(set)
        for chunk in chunks(since):
            for row in self._db.execute(query.where(table.id.in_(chunk))):
                if row.observed_at >= since[row.id]:
                    found[row.id].add(row.field)
        return {native: frozenset(fields) for native, fields in found.items()}

    # Notes, names and times

    def notes(self) -> Notes:
        """The notes on the source's deals, and which of them are missing in the target."""
        table = schema.notes.c
        query = (
            sa.select(table.id, table.deal_id, table.at)
            .where(table.connection == self.source, table.gone_at.is_(None), table.deal_id.is_not(None))
            .order_by(table.id)
            .limit(PAGE)
        )
        found = Notes()
        last: str | None = None
        while True:
            rows = self._db.execute(query if last is None else query.where(table.id > last)).all()
            if not rows:
                return found
            last = rows[-1].id
            entities = {row.id: self._group.entity_id(self.source, Kind.NOTE, row.id) for row in rows}
            there = {
                entity: native
                for native, entity, _, _ in self._links(
                    Kind.NOTE, self.target, "entity", set(entities.values())
                )
            }
            live = self._live_notes(there.values())
            for row in rows:
                found.on[row.deal_id] += 1
                native = there.get(entities[row.id])
                if native not in live:
                    lost = MissingNote(entities[row.id], row.at, native is not None)
                    found.missing.setdefault(row.deal_id, []).append(lost)

    def _live_notes(self, natives: Iterable[str]) -> set[str]:
        table = schema.notes.c
        query = sa.select(table.id).where(table.connection == self.target, table.gone_at.is_(None))
        return {
            native
            for chunk in chunks(natives)
            for native in self._db.execute(query.where(table.id.in_(chunk))).scalars()
        }

    def everybody(self, kind: Kind) -> Iterator[list[str]]:
        """Ids of all live companies or people of the source, in pages."""
        table = TABLES[kind].c
        query = (
            sa.select(table.id)
            .where(table.connection == self.source, table.gone_at.is_(None), table.archived.is_(False))
            .order_by(table.id)
            .limit(PAGE)
        )
        last: str | None = None
        while True:
            ids = list(self._db.execute(query if last is None else query.where(table.id > last)).scalars())
            if not ids:
                return
            last = ids[-1]
            yield ids

    def workspace(self, connection: str) -> str:
        """What the CRM calls the workspace."""
        table = schema.workspaces.c
        query = sa.select(table.name).where(table.connection == connection)
        return str(self._db.execute(query).scalar() or "")

    def pulled_at(self, connection: str, kinds: Collection[Kind]) -> datetime | None:
        """When the oldest of some kinds was read last; `None` if one never was."""
        table = schema.cursors.c
        query = sa.select(table.kind, table.moved_at).where(
            table.connection == connection, table.kind.in_([kind.value for kind in kinds])
        )
        found = {row.kind: row.moved_at for row in self._db.execute(query)}
        return min(found.values()) if len(found) == len(kinds) else None


def _select(kind: Kind, connection: str, names: Sequence[str]) -> sa.Select[Any]:
    table = TABLES[kind].c
    columns = (table[name] for name in ("id", *names))
    raw = (
        # A driver that decodes JSON by itself does so all the same.
        sa.type_coerce(one, sa.Text).label(one.name) if isinstance(one.type, sa.JSON) else one
        for one in columns
    )
    return sa.select(*raw).where(table.connection == connection)


def party_ids(rows: Iterable[Row], also: Iterable[Link] = ()) -> dict[Kind, set[str]]:
    """Companies and people that deals name, now or in what they last agreed on."""
    found: dict[Kind, set[str]] = {Kind.COMPANY: set(), Kind.CONTACT: set()}
    for row in rows:
        found[Kind.COMPANY].update(row["companies"])
        found[Kind.CONTACT].update(one["id"] for one in row.get("contacts", ()))
    for link in also:
        for name, kind in (("company", Kind.COMPANY), ("contacts", Kind.CONTACT)):
            base = link.bases.get(name)
            natives: Sequence[Any] = base.native if base is not None and base.native else ()
            found[kind].update(one[0] if isinstance(one, list) else one for one in natives)
    return found
