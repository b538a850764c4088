"""Write pages of records into the state store, and note what changed since the last pull."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.base import Page, Unreadable
from crmkit.model import AnyRecord, Kind, Pipeline, Ref, Tombstone, Workspace
from crmkit.sync import schema, tables
from crmkit.sync.rows import Layout, Row, as_text, layout, plain
from crmkit.sync.stored import chunks

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class Batch:
    """What one transaction stores: pages of one kind and the cursor after them."""

    records: list[AnyRecord] = field(default_factory=list)
    tombstones: list[Tombstone] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    cursor: str | None = None

    def add(self, page: Page) -> None:
        """Take over a page and the cursor after it."""
        self.records.extend(page.records)
        self.tombstones.extend(page.tombstones)
        self.unreadable.extend(page.unreadable)
        self.cursor = page.cursor

    def size(self) -> int:
        """How many rows the batch will touch."""
        return len(self.records) + len(self.tombstones) + len(self.unreadable)


class Store:
    """Writes one connection's records; use inside a transaction of the caller.

    Args:
        dialect: The database's dialect.
        connection: Name of the CRM connection.
    """

    def __init__(self, dialect: sa.Dialect, connection: str) -> None:
        self.name = connection
        self._dialect = dialect
        self._layouts: dict[Kind, Layout] = {}
        self._doubtful: dict[Kind, set[str]] = {}

    def layout(self, kind: Kind) -> Layout:
        """The kind's table layout, made once."""
        if kind not in self._layouts:
            self._layouts[kind] = layout(kind, self._dialect)
        return self._layouts[kind]

    def put(
        self,
        db: sa.Connection,
        kind: Kind,
        batch: Batch,
        *,
        walk: int,
        now: datetime,
        first: bool,
        proven: bool = False,
    ) -> int:
        """Store a batch; how many records are new or changed.

        Args:
            db: The open transaction.
            kind: What the records are.
            batch: What to store.
            walk: Number of the walk under way.
            now: When it was observed.
            first: Whether the table has no records of this connection and kind yet, so
                that there is nothing to compare with.
            proven: Whether the records are the truth even where they look older than what is
                stored: they were read by id.
        """
        ids, changed = self._put_records(db, kind, batch.records, walk, now, first=first, proven=proven)
        # A first fill is one change of everything, so that it costs nothing.
        self._announce(db, kind, {"*"} if first and ids else changed)
        if kind == Kind.PIPELINE:
            self._put_stages(db, batch.records)
        self._leave_quarantine(db, kind, {*ids, *(stone.ref.id for stone in batch.tombstones)})
        self._put_tombstones(db, kind, batch.tombstones, now, "told by the CRM")
        self._quarantine(db, batch.unreadable, now, walk)
        return len(changed)

    def _put_records(
        self,
        db: sa.Connection,
        kind: Kind,
        records: Sequence[AnyRecord],
        walk: int,
        now: datetime,
        *,
        first: bool,
        proven: bool,
    ) -> tuple[Sequence[str], set[str]]:
        """Store records; the ids that were written, and those that are new or changed."""
        if not records:
            return [], set()
        layout = self.layout(kind)
        newest = _newest(records)
        ids, columns, changed = list(newest), layout.columns(list(newest.values())), set(newest)
        if not first:
            rows: dict[str, Row] = dict(zip(ids, zip(*columns, strict=True), strict=True))
            changed = self._compare(db, kind, rows, walk, now, proven=proven)
            if len(rows) < len(ids):
                ids, columns = list(rows), list(zip(*rows.values(), strict=True))
        if ids:
            values = {
                "connection": [self.name] * len(ids),
                "id": ids,
                **dict(zip(layout.fields, columns, strict=True)),
                "seen_walk": [walk] * len(ids),
                "observed_at": [schema_time(now, self._dialect)] * len(ids),
                "first_seen_at": [schema_time(now, self._dialect)] * len(ids),
            }
            db.exec_driver_sql(*layout.upsert(values))
        return ids, changed

    def _announce(self, db: sa.Connection, kind: Kind, ids: Iterable[str]) -> None:
        """Tell syncs that records are new, different or gone."""
        rows = [{"connection": self.name, "kind": kind.value, "id": native} for native in sorted(ids)]
        if rows and kind in tables.FOLLOWED_KINDS:
            db.execute(tables.changes.insert(), rows)

    def _compare(
        self,
        db: sa.Connection,
        kind: Kind,
        rows: dict[str, Row],
        walk: int,
        now: datetime,
        *,
        proven: bool,
    ) -> set[str]:
        """Note differences to what is stored as history; drops rows older than the stored ones.

        Gives the ids that are new or different.
        """
        table = self.layout(kind).table
        fields = self.layout(kind).fields
        columns = [table.c[name] for name in fields]
        known = self._stored(db, kind, list(rows))
        restored = self._gone(db, table, list(known))
        changes: list[dict[str, Any]] = []
        changed = (rows.keys() - known.keys()) | restored.keys()
        stale: list[str] = []
        modified = fields.index("modified_at") if "modified_at" in fields else None
        for native, old in known.items():
            new = rows[native]
            if tuple(old) == new:
                continue
            older = modified is not None and _before(new[modified], old[modified], columns[modified])
            if older and not proven:
                # A lagging index showed an older state than the one already stored; or two
                # servers of the CRM disagree about the time, which only a read by id can tell.
                stale.append(native)
                self._doubtful.setdefault(kind, set()).add(native)
                del rows[native]
                continue
            before = len(changes)
            for column, was, becomes in zip(columns, old, new, strict=True):
                if was == becomes:
                    continue
                left, right = plain(was, column), plain(becomes, column)
                if left != right:
                    changes.append(self._change(kind, native, column.name, left, right, now))
            if len(changes) > before:
                changed.add(native)
        changes += [
            self._change(kind, native, "gone_at", gone, None, now)
            for native, gone in restored.items()
            if native in rows
        ]
        if changes:
            db.execute(schema.history.insert(), changes)
        self._seen(db, table, stale, walk)
        return changed

    def _change(
        self, kind: Kind, native: str, field: str, old: object, new: object, now: datetime
    ) -> dict[str, Any]:
        return {
            "connection": self.name,
            "kind": kind.value,
            "id": native,
            "field": field,
            "old": as_text(old),
            "new": as_text(new),
            "observed_at": now,
        }

    def _stored(self, db: sa.Connection, kind: Kind, ids: Sequence[str]) -> dict[str, Row]:
        table = self.layout(kind).table
        names = ("id", *self.layout(kind).fields)
        # Raw values: they are compared with rows that are ready for the driver.
        columns = [sa.type_coerce(table.c[name], sa.types.NullType()).label(name) for name in names]
        found: dict[str, Row] = {}
        for chunk in chunks(ids):
            query = sa.select(*columns).where(table.c.connection == self.name, table.c.id.in_(chunk))
            for row in db.execute(query):
                found[str(row[0])] = tuple(row[1:])
        return found

    def _gone(self, db: sa.Connection, table: sa.Table, ids: Sequence[str]) -> dict[str, datetime]:
        """Which of the stored records are marked as gone, and since when."""
        found: dict[str, datetime] = {}
        for chunk in chunks(ids):
            where = (
                table.c.connection == self.name,
                table.c.gone_at.is_not(None),
                table.c.id.in_(chunk),
            )
            query = sa.select(table.c.id, table.c.gone_at).where(*where)
            found.update((row.id, row.gone_at) for row in db.execute(query))
        return found

    def _put_stages(self, db: sa.Connection, records: Iterable[AnyRecord]) -> None:
        stages = schema.stages
        for record in records:
            if not isinstance(record, Pipeline):
                continue
            db.execute(
                stages.delete().where(stages.c.connection == self.name, stages.c.pipeline_id == record.ref.id)
            )
            if record.stages:
                db.execute(
                    stages.insert(),
                    [
                        {
                            "connection": self.name,
                            "pipeline_id": record.ref.id,
                            "id": stage.id,
                            "name": stage.name,
                            "order": stage.order,
                            "outcome": stage.outcome.value,
                            "probability": stage.probability,
                            "archived": stage.archived,
                        }
                        for stage in record.stages
                    ],
                )

    def _leave_quarantine(self, db: sa.Connection, kind: Kind, ids: set[str]) -> None:
        """Records that can be read now, or are gone, wait for nobody any more."""
        table = schema.quarantine
        where = (table.c.connection == self.name, table.c.kind == kind.value)
        held = set(db.execute(sa.select(table.c.id).where(*where)).scalars())
        for native in held & ids:
            db.execute(table.delete().where(*where, table.c.id == native))

    def _put_tombstones(
        self, db: sa.Connection, kind: Kind, stones: Sequence[Tombstone], now: datetime, evidence: str
    ) -> None:
        if not stones:
            return
        known = self._merged(db, kind, [stone.ref.id for stone in stones])
        new: dict[str, dict[str, Any]] = {}
        for stone in stones:
            native = stone.ref.id
            key = {"connection": self.name, "kind": kind.value, "id": native}
            told = {"merged_into": stone.merged_into, "at": stone.at, "evidence": evidence}
            if native not in known:
                if native not in new or (stone.merged_into and not new[native]["merged_into"]):
                    new[native] = {**key, **told, "observed_at": now}
            elif stone.merged_into and not known[native]:
                where = (schema.tombstones.c[name] == value for name, value in key.items())
                db.execute(schema.tombstones.update().where(*where).values(**told))
        if new:
            db.execute(schema.tombstones.insert(), list(new.values()))
        self._announce(db, kind, {stone.ref.id for stone in stones})
        db.execute(
            _burial(self.layout(kind).table),
            [
                {
                    "of": self.name,
                    "native": stone.ref.id,
                    "gone": stone.at or now,
                    "until": stone.at or _NEVER,
                    "into": stone.merged_into,
                }
                for stone in stones
            ],
        )

    def _merged(self, db: sa.Connection, kind: Kind, ids: Sequence[str]) -> dict[str, str | None]:
        """Those of the ids that have a tombstone, and what each was merged into."""
        table = schema.tombstones
        found: dict[str, str | None] = {}
        for chunk in chunks(ids):
            query = sa.select(table.c.id, table.c.merged_into).where(
                table.c.connection == self.name,
                table.c.kind == kind.value,
                table.c.id.in_(chunk),
            )
            found.update((row.id, row.merged_into) for row in db.execute(query))
        return found

    def _quarantine(self, db: sa.Connection, items: Iterable[Unreadable], now: datetime, walk: int) -> None:
        for item in items:
            table = schema.quarantine
            key = {"connection": self.name, "kind": item.ref.kind.value, "id": item.ref.id}
            db.execute(table.delete().where(*(table.c[name] == value for name, value in key.items())))
            db.execute(
                table.insert().values(**key, field=item.field, reason=item.reason[:500], observed_at=now)
            )
            # It is there, only unreadable: a sweep must not take it for deleted.
            self._seen(db, self.layout(item.ref.kind).table, [item.ref.id], walk)

    def _seen(self, db: sa.Connection, table: sa.Table, ids: Iterable[str], walk: int) -> None:
        for native in ids:
            db.execute(
                table.update()
                .where(table.c.connection == self.name, table.c.id == native)
                .values(seen_walk=walk)
            )

    def keep(self, db: sa.Connection, kind: Kind, records: Sequence[AnyRecord], now: datetime) -> None:
        """Store records that were read or written by id, as the last walk would have."""
        cursors = schema.cursors
        where = (cursors.c.connection == self.name, cursors.c.kind == kind.value)
        walk = db.execute(sa.select(cursors.c.walk).where(*where)).scalar()
        self.put(db, kind, Batch(records=list(records)), walk=walk or 0, now=now, first=False)

    def doubtful(self, kind: Kind) -> list[Ref]:
        """Records that were listed as older than they are stored, since this was asked last."""
        return [Ref(self.name, kind, native) for native in sorted(self._doubtful.pop(kind, ()))]

    def unseen(self, db: sa.Connection, kind: Kind, walk: int) -> list[Ref]:
        """Live records that a whole walk did not show."""
        table = self.layout(kind).table
        query = (
            sa.select(table.c.id)
            .where(table.c.connection == self.name, table.c.gone_at.is_(None), table.c.seen_walk != walk)
            .order_by(table.c.id)
        )
        return [Ref(self.name, kind, native) for native in db.execute(query).scalars()]

    def count(self, db: sa.Connection, kind: Kind) -> int:
        """Live records of a kind."""
        table = self.layout(kind).table
        query = sa.select(sa.func.count()).where(table.c.connection == self.name, table.c.gone_at.is_(None))
        return int(db.execute(query).scalar_one())

    def bury(self, db: sa.Connection, kind: Kind, refs: Iterable[Ref], now: datetime) -> None:
        """Mark records as gone that are absent from a whole walk and from a read by id."""
        stones = [Tombstone(ref=ref, at=None) for ref in refs]
        self._put_tombstones(db, kind, stones, now, "absent from a whole read and by id")

    def bury_named(
        self, db: sa.Connection, kind: Kind, stones: Sequence[Tombstone], now: datetime, evidence: str
    ) -> None:
        """Mark records as gone that were asked for by id and are not there."""
        self._put_tombstones(db, kind, stones, now, evidence)

    def keep_workspace(self, db: sa.Connection, crm: str, workspace: Workspace, now: datetime) -> None:
        """Remember which workspace the connection reached."""
        table = schema.workspaces
        db.execute(table.delete().where(table.c.connection == self.name))
        db.execute(
            table.insert().values(
                connection=self.name,
                crm=crm,
                workspace_id=workspace.id,
                name=workspace.name,
                time_zone=workspace.time_zone,
                base_currency=workspace.base_currency,
                checked_at=now,
            )
        )


def _burial(table: sa.Table) -> sa.Update:
    """Mark one record as gone, unless it changed after it was deleted.

    Then it was restored, and the tombstone is older news.
    """
    record = table.c
    gone: dict[str, Any] = {"gone_at": sa.bindparam("gone")}
    where = [
        record.connection == sa.bindparam("of"),
        record.id == sa.bindparam("native"),
        record.gone_at.is_(None),
    ]
    if "merged_into" in record:
        into = sa.bindparam("into", type_=sa.Text)
        gone["merged_into"] = sa.func.coalesce(into, record.merged_into)
    if "modified_at" in record:
        where.append(sa.or_(record.modified_at.is_(None), record.modified_at <= sa.bindparam("until")))
    return table.update().where(*where).values(gone)


def schema_time(moment: datetime, dialect: sa.Dialect) -> Any:
    """A time ready for the driver."""
    return moment.isoformat() if dialect.name == "sqlite" else moment


def _newest(records: Iterable[AnyRecord]) -> dict[str, AnyRecord]:
    """One record per id: the newest where it came twice."""
    newest: dict[str, AnyRecord] = {}
    for record in records:
        seen = newest.setdefault(record.ref.id, record)
        if seen is not record and not _older(record, seen):
            newest[record.ref.id] = record
    return newest


def _older(one: AnyRecord, other: AnyRecord) -> bool:
    left, right = getattr(one, "modified_at", None), getattr(other, "modified_at", None)
    return left is not None and right is not None and left < right


def _before(new: Any, old: Any, column: sa.Column[Any]) -> bool:
    left, right = plain(new, column), plain(old, column)
    return left is not None and right is not None and left < right
