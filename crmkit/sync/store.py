"""Write pages of records into the state store, and note what changed since the last pull."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.base import Page, Unreadable
from crmkit.model import AnyRecord, Kind, Pipeline, Ref, Tombstone, Workspace
from crmkit.sync import schema
from crmkit.sync.rows import Layout, Row, as_text, layout, plain

_LOOKUP_IDS = 500  # below SQLite's limit of bound parameters


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

    def layout(self, kind: Kind) -> Layout:
        """The kind's table layout, made once."""
        if kind not in self._layouts:
            self._layouts[kind] = layout(kind, self._dialect)
        return self._layouts[kind]

    def put(
        self, db: sa.Connection, kind: Kind, batch: Batch, *, walk: int, now: datetime, first: bool
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
        """
        rows = self._latest(kind, batch.records)
        changed = len(rows) if first else self._compare(db, kind, rows, walk, now)
        stamp = schema_time(now, self._dialect)
        if rows:
            db.exec_driver_sql(
                self.layout(kind).upsert,
                [(self.name, native, *values, walk, stamp) for native, values in rows.items()],
            )
        if kind == Kind.PIPELINE:
            self._put_stages(db, batch.records)
        self._leave_quarantine(db, kind, {*rows, *(stone.ref.id for stone in batch.tombstones)})
        self._put_tombstones(db, kind, batch.tombstones, now, "told by the CRM")
        self._quarantine(db, batch.unreadable, now, walk)
        return changed

    def _latest(self, kind: Kind, records: Sequence[AnyRecord]) -> dict[str, Row]:
        """One row per id: the newest where a record came twice."""
        newest: dict[str, AnyRecord] = {}
        for record in records:
            seen = newest.get(record.ref.id)
            if seen is None or not _older(record, seen):
                newest[record.ref.id] = record
        return dict(zip(newest, self.layout(kind).rows(list(newest.values())), strict=True))

    def _compare(self, db: sa.Connection, kind: Kind, rows: dict[str, Row], walk: int, now: datetime) -> int:
        """Note differences to what is stored as history; drops rows older than the stored ones."""
        table = self.layout(kind).table
        fields = self.layout(kind).fields
        columns = [table.c[name] for name in fields]
        known = self._stored(db, kind, list(rows))
        changes: list[dict[str, Any]] = []
        changed = len(rows.keys() - known.keys())
        stale: list[str] = []
        modified = fields.index("modified_at") if "modified_at" in fields else None
        for native, old in known.items():
            new = rows[native]
            if tuple(old) == new:
                continue
            if modified is not None and _before(new[modified], old[modified], columns[modified]):
                # A lagging index showed an older state than the one already stored.
                stale.append(native)
                del rows[native]
                continue
            before = len(changes)
            for column, was, becomes in zip(columns, old, new, strict=True):
                if was == becomes:
                    continue
                left, right = plain(was, column), plain(becomes, column)
                if left != right:
                    changes.append(
                        {
                            "connection": self.name,
                            "kind": kind.value,
                            "id": native,
                            "field": column.name,
                            "old": as_text(left),
                            "new": as_text(right),
                            "observed_at": now,
                        }
                    )
            changed += len(changes) > before
        if changes:
            db.execute(schema.history.insert(), changes)
        self._seen(db, table, stale, walk)
        return changed

    def _stored(self, db: sa.Connection, kind: Kind, ids: Sequence[str]) -> dict[str, Row]:
        table = self.layout(kind).table
        names = ("id", *self.layout(kind).fields)
        # Raw values: they are compared with rows that are ready for the driver.
        columns = [sa.type_coerce(table.c[name], sa.types.NullType()).label(name) for name in names]
        found: dict[str, Row] = {}
        for at in range(0, len(ids), _LOOKUP_IDS):
            chunk = ids[at : at + _LOOKUP_IDS]
            query = sa.select(*columns).where(table.c.connection == self.name, table.c.id.in_(chunk))
            for row in db.execute(query):
                found[str(row[0])] = tuple(row[1:])
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
        self, db: sa.Connection, kind: Kind, stones: Iterable[Tombstone], now: datetime, evidence: str
    ) -> None:
        table = self.layout(kind).table
        for stone in stones:
            key = {"connection": self.name, "kind": kind.value, "id": stone.ref.id}
            where = [schema.tombstones.c[name] == value for name, value in key.items()]
            values = {"merged_into": stone.merged_into, "at": stone.at, "evidence": evidence}
            known = db.execute(sa.select(schema.tombstones.c.merged_into).where(*where)).one_or_none()
            if known is None:
                db.execute(schema.tombstones.insert().values(**key, **values, observed_at=now))
            elif stone.merged_into and not known.merged_into:
                db.execute(schema.tombstones.update().where(*where).values(**values))
            gone: dict[str, Any] = {"gone_at": stone.at or now}
            if "merged_into" in table.c and stone.merged_into:
                gone["merged_into"] = stone.merged_into
            where = [table.c.connection == self.name, table.c.id == stone.ref.id, table.c.gone_at.is_(None)]
            if stone.at is not None and "modified_at" in table.c:
                # Changed after it was deleted: it was restored, and the feed is older news.
                where.append(sa.or_(table.c.modified_at.is_(None), table.c.modified_at <= stone.at))
            db.execute(table.update().where(*where).values(**gone))

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


def schema_time(moment: datetime, dialect: sa.Dialect) -> Any:
    """A time ready for the driver."""
    return moment.isoformat() if dialect.name == "sqlite" else moment


def _older(one: AnyRecord, other: AnyRecord) -> bool:
    left, right = getattr(one, "modified_at", None), getattr(other, "modified_at", None)
    return left is not None and right is not None and left < right


def _before(new: Any, old: Any, column: sa.Column[Any]) -> bool:
    left, right = plain(new, column), plain(old, column)
    return left is not None and right is not None and left < right
