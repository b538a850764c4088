"""What the sync engine remembers of a group: entities, links, agreements, conflicts, intents."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from crmkit.mapping.custom import Plain
from crmkit.model import Kind, Ref
from crmkit.sync import tables
from crmkit.sync.reconcile import NOTHING, Base, Past
from crmkit.sync.reconcile import Hub as HubValue
from crmkit.sync.stored import chunks

_JSON = msgspec.json.Encoder(order="sorted")


class Status(StrEnum):
    """What became of an entity or a link."""

    LIVE = "live"
    DEAD = "dead"  # the record is gone
    MERGED = "merged"  # the entity went up in another one
    OUT_OF_SCOPE = "out_of_scope"
    CLONE = "clone"  # a second record of the same entity in one CRM: reported, never written


class Intent(StrEnum):
    """What became of a journalled write."""

    SENT = "sent"
    UNKNOWN = "unknown"
    ACKED = "acked"
    FAILED = "failed"
    DROPPED = "dropped"  # proven not to have happened


CREATED = "created"
"""The evidence of links to records that this engine made itself."""
RESTORED = "restored"
"""The evidence of links to records that were gone and came back."""
DELETED = "deleted by this sync"
"""The evidence of dead links to records that this engine deleted, after another member's delete."""
UNDONE = "undone"
"""The evidence of dead links to records whose creation was taken back; they stay away."""
OPEN_INTENTS = (Intent.SENT, Intent.UNKNOWN)


@dataclass(frozen=True, slots=True)
class HubField:
    """The group's value of a field, and the member that set it."""

    value: HubValue
    origin: str


@dataclass(frozen=True, slots=True)
class Entity:
    """One record that several CRMs may hold; `id` ends in the address it came from."""

    id: str
    kind: Kind
    status: Status = Status.LIVE
    hub: Mapping[str, HubField] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """One member's record of an entity; `bases` are the last agreements by field."""

    entity: str
    connection: str
    kind: Kind
    native_id: str
    status: Status = Status.LIVE
    bases: Mapping[str, Base] = field(default_factory=dict)
    version: str | None = None
    written_at: datetime | None = None
    evidence: str = ""
    rebuilt: bool = False


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One write: what was sent, what it stood for, what was there before, what came of it."""

    id: str
    run: int
    connection: str
    kind: Kind
    act: str
    entity: str
    native_id: str | None
    marker: str | None
    parent: str | None
    sent: Mapping[str, tuple[Plain, Plain]]
    before: Mapping[str, Plain]
    rules: Mapping[str, str]
    state: Intent
    sent_at: datetime
    misses: int = 0
    ended_at: datetime | None = None
    reason: str | None = None
    undone_by: int | None = None


@dataclass(frozen=True, slots=True)
class HeldConflict:
    """A conflict that waits for a person, or has a person's word (`winner`)."""

    entity: str
    field: str
    reason: str
    candidates: tuple[tuple[str, Plain], ...]
    since: datetime
    winner: str | None = None
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A write that a CRM refuses."""

    connection: str
    entity: str
    act: str
    digest: str
    tries: int
    field: str | None
    reason: str
    since: datetime
    last_at: datetime


def encode(value: Any) -> str:
    """Canonical JSON: equal values give equal text."""
    return _JSON.encode(value).decode()


def decode(text: str) -> Any:
    """What `encode` wrote."""
    return msgspec.json.decode(text)


class Hub:
    """Reads and writes one group's memory inside transactions of the caller."""

    def __init__(self, sync: str) -> None:
        self.sync = sync

    # Entities and links

    def entities(self, db: sa.Connection, ids: Collection[str]) -> dict[str, Entity]:
        """Entities by id."""
        table = tables.entities
        query = sa.select(table.c.id, table.c.kind, table.c.status, table.c.hub).where(
            table.c.sync == self.sync
        )
        return {
            row.id: Entity(row.id, Kind(row.kind), Status(row.status), _hub(row.hub))
            for chunk in chunks(ids)
            for row in db.execute(query.where(table.c.id.in_(chunk)))
        }

    def everyone(self, db: sa.Connection, kind: Kind) -> set[str]:
        """Ids of all entities of a kind."""
        table = tables.entities
        query = sa.select(table.c.id).where(table.c.sync == self.sync, table.c.kind == kind.value)
        return set(db.execute(query).scalars())

    def links_of(self, db: sa.Connection, entities: Collection[str]) -> dict[str, list[Link]]:
        """All links of entities, by entity, in a fixed order."""
        found: dict[str, list[Link]] = {entity: [] for entity in entities}
        for chunk in chunks(entities):
            query = self._links().where(tables.links.c.entity.in_(chunk))
            for row in db.execute(query):
                found[row.entity].append(_link(row))
        for links in found.values():
            links.sort(key=lambda link: (link.connection, link.native_id))
        return found

    def links_to(
        self, db: sa.Connection, connection: str, kind: Kind, natives: Collection[str]
    ) -> dict[str, Link]:
        """Links by native id."""
        columns = tables.links.c
        query = self._links().where(columns.connection == connection, columns.kind == kind.value)
        return {
            row.native_id: _link(row)
            for chunk in chunks(natives)
            for row in db.execute(query.where(columns.native_id.in_(chunk)))
        }

    def addresses(self, db: sa.Connection, kind: Kind) -> Iterator[tuple[str, str, str, Status]]:
        """(connection, native id, entity, status) of every link of a kind."""
        columns = tables.links.c
        query = sa.select(columns.connection, columns.native_id, columns.entity, columns.status).where(
            columns.sync == self.sync, columns.kind == kind.value
        )
        for row in db.execution_options(yield_per=5000).execute(query):
            yield row.connection, row.native_id, row.entity, Status(row.status)

    def clones(self, db: sa.Connection) -> list[Link]:
        """Second records of one entity in one CRM."""
        columns = tables.links.c
        query = self._links().where(columns.status == Status.CLONE.value)
        return [_link(row) for row in db.execute(query.order_by(columns.connection, columns.native_id))]

    def merged_entities(self, db: sa.Connection) -> list[str]:
        """Entities that went up in another one."""
        table = tables.entities
        query = sa.select(table.c.id).where(table.c.sync == self.sync, table.c.status == Status.MERGED.value)
        return list(db.execute(query.order_by(table.c.id)).scalars())

    def count_links(self, db: sa.Connection, connection: str, kind: Kind) -> int:
        """Live links of a member."""
        columns = tables.links.c
        query = sa.select(sa.func.count()).where(
            columns.sync == self.sync,
            columns.connection == connection,
            columns.kind == kind.value,
            columns.status == Status.LIVE.value,
        )
        return int(db.execute(query).scalar_one())

    def _links(self) -> sa.Select[Any]:
        return sa.select(tables.links).where(tables.links.c.sync == self.sync)

    def put_entities(self, db: sa.Connection, entities: Sequence[Entity]) -> None:
        """Create or replace entities."""
        table = tables.entities
        self._replace(
            db,
            table,
            ("id",),
            [
                {
                    "sync": self.sync,
                    "id": entity.id,
                    "kind": entity.kind.value,
                    "status": entity.status.value,
                    "hub": encode(
                        {
                            name: [one.value, one.origin]
                            for name, one in entity.hub.items()
                            if one.value is not NOTHING
                        }
                    ),
                }
                for entity in entities
            ],
        )

    def put_links(self, db: sa.Connection, links: Sequence[Link]) -> None:
        """Create or replace links."""
        self._replace(
            db,
            tables.links,
            ("connection", "kind", "native_id"),
            [
                {
                    "sync": self.sync,
                    "connection": link.connection,
                    "kind": link.kind.value,
                    "native_id": link.native_id,
                    "entity": link.entity,
                    "status": link.status.value,
                    "base": encode({name: _base_row(base) for name, base in link.bases.items()}),
                    "version": link.version,
                    "written_at": link.written_at,
                    "evidence": link.evidence,
                    "rebuilt": link.rebuilt,
                }
                for link in links
            ],
        )

    def _replace(
        self, db: sa.Connection, table: sa.Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        if not rows:
            return
        where = [table.c.sync == self.sync, *(table.c[key] == sa.bindparam(f"k_{key}") for key in keys)]
        db.execute(table.delete().where(*where), [{f"k_{key}": row[key] for key in keys} for row in rows])
        db.execute(table.insert(), list(rows))

    # Positions and pending work

    def positions(self, db: sa.Connection) -> dict[tuple[str, Kind], int]:
        """Up to which change each member's records were merged."""
        table = tables.positions
        query = sa.select(table).where(table.c.sync == self.sync)
        return {(row.connection, Kind(row.kind)): row.number for row in db.execute(query)}

    def move(self, db: sa.Connection, positions: Mapping[tuple[str, Kind], int]) -> None:
        """Remember how far was merged."""
        table = tables.positions
        for (connection, kind), number in positions.items():
            where = (
                table.c.sync == self.sync,
                table.c.connection == connection,
                table.c.kind == kind.value,
            )
            if db.execute(table.update().where(*where).values(number=number)).rowcount == 0:
                db.execute(
                    table.insert().values(
                        sync=self.sync, connection=connection, kind=kind.value, number=number
                    )
                )

    def pending(self, db: sa.Connection) -> set[str]:
        """Entities that must be looked at again."""
        table = tables.pending
        return set(db.execute(sa.select(table.c.entity).where(table.c.sync == self.sync)).scalars())

    def set_pending(self, db: sa.Connection, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Change which entities must be looked at again."""
        table = tables.pending
        both = sorted({*add, *remove})
        if both:
            where = (table.c.sync == self.sync, table.c.entity == sa.bindparam("gone"))
            db.execute(table.delete().where(*where), [{"gone": entity} for entity in both])
        added = sorted({*add})
        if added:
            db.execute(table.insert(), [{"sync": self.sync, "entity": entity} for entity in added])

    # History of values

    def remember(self, db: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add hub values: `entity, field, value, origin, rule, losers, run, at`."""
        if rows:
            db.execute(
                tables.values.insert(),
                [
                    {**row, "sync": self.sync, "value": encode(row["value"]), "losers": encode(row["losers"])}
                    for row in rows
                ],
            )

    def past(
        self, db: sa.Connection, entities: Collection[str], since: datetime
    ) -> dict[tuple[str, str], list[Past]]:
        """The hub's last values by (entity, field), newest first."""
        table = tables.values
        query = (
            sa.select(table.c.entity, table.c.field, table.c.value, table.c.at)
            .where(table.c.sync == self.sync, table.c.at >= since)
            .order_by(table.c.number.desc())
        )
        found: dict[tuple[str, str], list[Past]] = {}
        for chunk in chunks(entities):
            for row in db.execute(query.where(table.c.entity.in_(chunk))):
                found.setdefault((row.entity, row.field), []).append(Past(decode(row.value), row.at))
        return found

    # Conflicts and refusals

    def conflicts(self, db: sa.Connection, entities: Collection[str] | None = None) -> list[HeldConflict]:
        """Held conflicts, of all entities or the named ones, oldest first."""
        table = tables.conflicts
        query = (
            sa.select(table)
            .where(table.c.sync == self.sync)
            .order_by(table.c.since, table.c.entity, table.c.field)
        )
        queries = (
            [query]
            if entities is None
            else [query.where(table.c.entity.in_(chunk)) for chunk in chunks(entities)]
        )
        return [
            HeldConflict(
                row.entity,
                row.field,
                row.reason,
                tuple((member, value) for member, value in decode(row.candidates)),
                row.since,
                row.winner,
                row.frozen,
            )
            for each in queries
            for row in db.execute(each)
        ]

    def put_conflict(self, db: sa.Connection, conflict: HeldConflict) -> None:
        """Hold a conflict, or replace what was held."""
        self._replace(
            db,
            tables.conflicts,
            ("entity", "field"),
            [
                {
                    "sync": self.sync,
                    "entity": conflict.entity,
                    "field": conflict.field,
                    "reason": conflict.reason,
                    "candidates": encode(conflict.candidates),
                    "since": conflict.since,
                    "winner": conflict.winner,
                    "frozen": conflict.frozen,
                }
            ],
        )

    def decide(self, db: sa.Connection, entity: str, name: str, winner: str) -> None:
        """Keep a person's word on a conflict; the next plan applies it."""
        table = tables.conflicts
        where = (table.c.sync == self.sync, table.c.entity == entity, table.c.field == name)
        db.execute(table.update().where(*where).values(winner=winner))
        self.set_pending(db, add=[entity])

    def drop_conflict(self, db: sa.Connection, entity: str, name: str) -> None:
        """Forget a conflict that is settled."""
        table = tables.conflicts
        db.execute(
            table.delete().where(table.c.sync == self.sync, table.c.entity == entity, table.c.field == name)
        )

    def refusals(self, db: sa.Connection) -> dict[tuple[str, str, str], Refusal]:
        """Refused writes by (connection, entity, act)."""
        table = tables.refusals
        return {
            (row.connection, row.entity, row.act): _refusal(row)
            for row in db.execute(sa.select(table).where(table.c.sync == self.sync))
        }

    def refused(self, db: sa.Connection, connection: str, entities: Collection[str]) -> set[tuple[str, str]]:
        """Entity and act of refused writes of one member."""
        columns = tables.refusals.c
        query = sa.select(columns.entity, columns.act).where(
            columns.sync == self.sync, columns.connection == connection
        )
        return {
            (row.entity, row.act)
            for chunk in chunks(entities)
            for row in db.execute(query.where(columns.entity.in_(chunk)))
        }

    def refusal(self, db: sa.Connection, connection: str, entity: str, act: str) -> Refusal | None:
        """One refused write."""
        table = tables.refusals
        row = db.execute(
            sa.select(table).where(
                table.c.sync == self.sync,
                table.c.connection == connection,
                table.c.entity == entity,
                table.c.act == act,
            )
        ).one_or_none()
        return _refusal(row) if row is not None else None

    def put_refusal(self, db: sa.Connection, refusal: Refusal) -> None:
        """Count a refused write."""
        row = {name: getattr(refusal, name) for name in refusal.__slots__}
        self._replace(db, tables.refusals, ("connection", "entity", "act"), [{**row, "sync": self.sync}])

    def drop_refusals(
        self,
        db: sa.Connection,
        connection: str | None = None,
        entity: str | None = None,
        act: str | None = None,
    ) -> int:
        """Forget refused writes, so that they are tried again; how many."""
        table = tables.refusals
        where = [table.c.sync == self.sync]
        for column, value in ((table.c.connection, connection), (table.c.entity, entity), (table.c.act, act)):
            if value is not None:
                where.append(column == value)
        return db.execute(table.delete().where(*where)).rowcount

    # Reviews

    def reviews(self, db: sa.Connection) -> dict[Ref, str]:
        """Records that wait for a person before they are linked, with the reason."""
        table = tables.reviews
        query = sa.select(table).where(table.c.sync == self.sync)
        return {Ref(row.connection, Kind(row.kind), row.id): row.reason for row in db.execute(query)}

    def put_reviews(self, db: sa.Connection, found: Mapping[Ref, str]) -> None:
        """Replace all records that wait."""
        table = tables.reviews
        db.execute(table.delete().where(table.c.sync == self.sync))
        if found:
            db.execute(
                table.insert(),
                [
                    {
                        "sync": self.sync, "connection": ref.connection, "kind": ref.kind.value,
                        "id": ref.id, "reason": reason,
                    }
                    for ref, reason in sorted(found.items())
                ],
            )  # fmt: skip

    # Journal

    def intents(self, db: sa.Connection, *, run: int | None = None) -> list[JournalEntry]:
        """Writes whose outcome is not known yet; of one run, all of its writes."""
        table = tables.journal
        query = sa.select(table).where(table.c.sync == self.sync).order_by(table.c.sent_at, table.c.id)
        if run is None:
            query = query.where(table.c.state.in_([state.value for state in OPEN_INTENTS]))
        else:
            query = query.where(table.c.run == run)
        return [_entry(row) for row in db.execute(query)]

    def journal_of(self, db: sa.Connection, entity: str) -> list[JournalEntry]:
        """Every write of an entity, oldest first."""
        table = tables.journal
        query = (
            sa.select(table)
            .where(table.c.sync == self.sync, table.c.entity == entity)
            .order_by(table.c.sent_at, table.c.id)
        )
        return [_entry(row) for row in db.execute(query)]

    def journal_add(self, db: sa.Connection, entries: Sequence[JournalEntry], epoch: int) -> None:
        """Write intents down, before anything is sent."""
        db.execute(
            tables.journal.insert(),
            [
                {
                    "id": entry.id, "run": entry.run, "epoch": epoch, "sync": self.sync,
                    "connection": entry.connection, "kind": entry.kind.value, "act": entry.act,
                    "entity": entry.entity, "native_id": entry.native_id, "marker": entry.marker,
                    "parent": entry.parent, "sent": encode(entry.sent), "before": encode(entry.before),
                    "rules": encode(entry.rules), "state": entry.state.value, "misses": entry.misses,
                    "sent_at": entry.sent_at, "ended_at": entry.ended_at, "reason": entry.reason,
                }
                for entry in entries
            ],
        )  # fmt: skip

    def journal_end(
        self, db: sa.Connection, id: str, state: Intent, at: datetime, *, native_id: str | None = None,
        reason: str | None = None,
    ) -> None:  # fmt: skip
        """Note the outcome of a write."""
        table = tables.journal
        values: dict[str, Any] = {"state": state.value, "ended_at": at, "reason": reason}
        if native_id is not None:
            values["native_id"] = native_id
        db.execute(table.update().where(table.c.id == id).values(**values))

    def journal_end_all(self, db: sa.Connection, ends: Sequence[Mapping[str, Any]]) -> None:
        """Note the outcomes of writes: `entry`, `to`, `at`, `why`, and `native` where it is new."""
        table = tables.journal
        native = sa.func.coalesce(sa.bindparam("native", type_=sa.Text), table.c.native_id)
        query = (
            table.update()
            .where(table.c.id == sa.bindparam("entry"))
            .values(
                state=sa.bindparam("to"),
                ended_at=sa.bindparam("at"),
                reason=sa.bindparam("why"),
                native_id=native,
            )
        )
        db.execute(query, list(ends))

    def journal_miss(self, db: sa.Connection, id: str) -> None:
        """Note that a look-up did not find what was to be created."""
        table = tables.journal
        db.execute(table.update().where(table.c.id == id).values(misses=table.c.misses + 1))

    def journal_undone(self, db: sa.Connection, id: str, by: int) -> None:
        """Note which run took a write back."""
        table = tables.journal
        db.execute(table.update().where(table.c.id == id).values(undone_by=by))


def _hub(text: str) -> dict[str, HubField]:
    return {name: HubField(value, origin) for name, (value, origin) in decode(text).items()}


def _base_row(base: Base) -> list[Plain]:
    return [base.native] if base.stood is NOTHING else [base.native, base.stood]


def _link(row: Any) -> Link:
    return Link(
        row.entity,
        row.connection,
        Kind(row.kind),
        row.native_id,
        Status(row.status),
        {name: Base(*pair) for name, pair in decode(row.base).items()},
        row.version,
        row.written_at,
        row.evidence,
        row.rebuilt,
    )


def _refusal(row: Any) -> Refusal:
    return Refusal(
        row.connection, row.entity, row.act, row.digest, row.tries, row.field, row.reason,
        row.since, row.last_at,
    )  # fmt: skip


def _entry(row: Any) -> JournalEntry:
    return JournalEntry(
        row.id,
        row.run,
        row.connection,
        Kind(row.kind),
        row.act,
        row.entity,
        row.native_id,
        row.marker,
        row.parent,
        {name: (native, stood) for name, (native, stood) in decode(row.sent).items()},
        decode(row.before),
        decode(row.rules),
        Intent(row.state),
        row.sent_at,
        row.misses,
        row.ended_at,
        row.reason,
        row.undone_by,
    )
