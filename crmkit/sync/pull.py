"""Refresh the local copy: pages of each connection into the state store, safe at any point.

A page's records and the cursor after it are stored in one transaction, several pages at a
time. Whatever stops the run, the next one goes on after the last transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from crmkit.connectors.base import Connector, Page, Support
from crmkit.errors import ClockSkew, CrmkitError, IncompleteRead, Interrupted, Unsupported
from crmkit.model import Kind, Workspace
from crmkit.sync import run_usage, schema
from crmkit.sync.lease import Lease, hold
from crmkit.sync.state import State
from crmkit.sync.store import Batch, Store
from crmkit.sync.stored import IDS_AT_ONCE

RECORDS_PER_TRANSACTION = 2000
SECONDS_PER_TRANSACTION = 5.0
SHRINKAGE = 0.2
KINDS = (Kind.PIPELINE, Kind.OWNER, Kind.COMPANY, Kind.CONTACT, Kind.DEAL)


class PullOutcome(StrEnum):
    """How the pull of one connection ended."""

    DONE = "done"
    HELD = "done, but some records could not be read"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(slots=True)
class Progress:
    """What a pull has done so far; read by the progress line while it runs.

    Attributes:
        connection: Whose pull.
        kind: What is being read now.
        records: Records received, per kind.
        changed: Records that were new or different.
        gone: Records proven deleted or merged.
        quarantined: Records that could not be read.
        resumed: Whether it goes on where an earlier pull stopped.
    """

    connection: str
    kind: Kind | None = None
    records: dict[Kind, int] = field(default_factory=dict)
    changed: int = 0
    gone: int = 0
    quarantined: int = 0
    resumed: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Records received of all kinds."""
        return sum(self.records.values())


@dataclass(frozen=True, slots=True)
class PullResult:
    """The end of one connection's pull."""

    progress: Progress
    outcome: PullOutcome
    requests: int
    waited_seconds: float
    seconds: float
    error: CrmkitError | None = None


class Pull:
    """The pull of one connection.

    Args:
        state: The store.
        connector: The open connection.
        clock_margin_seconds: How far this machine's clock may be off the CRM's.
        history: Whether to read stage changes too.
        full: Read everything again, instead of what changed.
        sweep_after: Read everything again if the last whole read is older: it finds what no
            list of changes shows.
        kinds: What to read, in order.
    """

    def __init__(
        self,
        state: State,
        connector: Connector,
        *,
        clock_margin_seconds: float = 120.0,
        history: bool = False,
        full: bool = False,
        sweep_after: timedelta | None = None,
        kinds: Sequence[Kind] = KINDS,
    ) -> None:
        self.state = state
        self.connector = connector
        self.name = connector.context.connection
        self.progress = Progress(self.name)
        self._margin = clock_margin_seconds
        self._full = full
        self._sweep_after = sweep_after
        self._kinds = [*kinds]
        if history and connector.capabilities.stage_history is Support.YES:
            self._kinds.append(Kind.STAGE_CHANGE)
        self._store = Store(state.engine.dialect, self.name)
        self._clock = connector.context.clock
        self._observer = connector.context.observer

    def run(self) -> PullResult:
        """Read everything that is due; never raises for what goes wrong with one connection."""
        started = self._clock.monotonic()
        error: CrmkitError | None = None
        number = self._begin_run()
        try:
            with self._observer.span("pull", connection=self.name, run=number):
                self._read_all()
            outcome = PullOutcome.HELD if self._quarantined() else PullOutcome.DONE
        except CrmkitError as problem:
            error = problem
            outcome = PullOutcome.INTERRUPTED if isinstance(problem, Interrupted) else PullOutcome.FAILED
        usage = self.connector.context.usage
        result = PullResult(
            self.progress,
            outcome,
            usage.requests,
            usage.waited_seconds,
            self._clock.monotonic() - started,
            error,
        )
        self._end_run(number, result)
        return result

    def _read_all(self) -> None:
        with hold(self.state, f"pull:{self.name}", self._clock.now, self._observer) as lease:
            workspace = self.connector.check()
            self._check_clock(workspace)
            self._check_workspace(workspace, lease)
            for kind in self._kinds:
                self._read(kind, lease)

    def _read(self, kind: Kind, lease: Lease) -> None:
        self.progress.kind = kind
        cursor, walk, first = self._position(kind, lease)
        batch = Batch()
        stored_at = time.monotonic()
        last: Page | None = None
        try:
            for page in self.connector.read(kind, since=cursor):
                batch.add(page)
                self._count(kind, page)
                last = page
                if page.last:
                    continue
                if self.connector.context.cancelled.is_set():
                    raise Interrupted(f"{self.name}: stopped while reading {kind}s")
                waited = time.monotonic() - stored_at > SECONDS_PER_TRANSACTION
                if waited or batch.size() >= RECORDS_PER_TRANSACTION:
                    self._keep(kind, batch, walk, lease, first=first)
                    batch, stored_at = Batch(), time.monotonic()
            if last is None or not last.last:
                raise IncompleteRead(f"{self.name}: the list of {kind}s ended without a last page")
        except Unsupported as problem:
            self.progress.warnings.append(str(problem))
            return
        except CrmkitError:
            if batch.cursor is not None:
                self._keep(kind, batch, walk, lease, first=first)
            raise
        self._keep(kind, batch, walk, lease, first=first, finished=True, whole=last.whole)
        if last.whole:
            self._confirm(kind, walk, lease)
            self._sweep(kind, walk, lease)

    def _position(self, kind: Kind, lease: Lease) -> tuple[str | None, int, bool]:
        """Where to go on: cursor, number of the walk, and whether nothing is stored yet."""
        table = schema.cursors
        where = (table.c.connection == self.name, table.c.kind == kind.value)
        with self.state.write() as db:
            lease.guard(db)
            row = db.execute(sa.select(table).where(*where)).one_or_none()
            first = not self._holds(db, self._store.layout(kind).table)
            if row is None:
                db.execute(
                    table.insert().values(
                        connection=self.name,
                        kind=kind.value,
                        cursor=None,
                        walk=1,
                        finished=False,
                        records=0,
                        moved_at=self._clock.now(),
                    )
                )
                return None, 1, first
            full = self._full or (row.finished and self._sweep_is_due(row.whole_at))
            if not row.finished and row.cursor is not None and not full:
                self.progress.resumed = True
                return row.cursor, row.walk, first
            walk = row.walk + 1
            cursor = None if full or not row.finished else row.cursor
            db.execute(
                table.update()
                .where(*where)
                .values(walk=walk, finished=False, cursor=cursor, records=0, moved_at=self._clock.now())
            )
            return cursor, walk, first

    def _sweep_is_due(self, last: datetime | None) -> bool:
        if self._sweep_after is None:
            return False
        return last is None or self._clock.now() - last >= self._sweep_after

    def _keep(
        self,
        kind: Kind,
        batch: Batch,
        walk: int,
        lease: Lease,
        *,
        first: bool,
        finished: bool = False,
        whole: bool = False,
    ) -> None:
        table = schema.cursors
        now = self._clock.now()
        with self.state.write() as db:
            lease.guard(db)
            changed = self._store.put(db, kind, batch, walk=walk, now=now, first=first)
            db.execute(
                table.update()
                .where(table.c.connection == self.name, table.c.kind == kind.value)
                .values(
                    cursor=batch.cursor,
                    finished=finished,
                    moved_at=now,
                    records=table.c.records + len(batch.records),
                    **({"whole_at": now} if whole else {}),
                )
            )
        self.progress.changed += changed

    def _confirm(self, kind: Kind, walk: int, lease: Lease) -> None:
        """After a whole walk: what it showed as older than it is stored is read by id, and believed."""
        doubtful = self._store.doubtful(kind)
        for at in range(0, len(doubtful), IDS_AT_ONCE):
            records = list(self.connector.get(doubtful[at : at + IDS_AT_ONCE]))
            with self.state.write() as db:
                lease.guard(db)
                now = self._clock.now()
                self.progress.changed += self._store.put(
                    db, kind, Batch(records=records), walk=walk, now=now, first=False, proven=True
                )

    def _sweep(self, kind: Kind, walk: int, lease: Lease) -> None:
        """After a whole walk: what it did not show is looked up by id, and buried if it is gone.

        Absence alone is never deletion (sync-semantics 7).
        """
        if kind not in self.connector.capabilities.deletions:
            return
        with self.state.read() as db:
            unseen = self._store.unseen(db, kind, walk)
            live = self._store.count(db, kind)
        if not unseen:
            return
        if len(unseen) >= live or len(unseen) > max(5, SHRINKAGE * live):
            self.progress.warnings.append(
                f"{self.name}: {len(unseen)} of {live} {kind}s were not listed this time; "
                "nothing was marked as deleted. Check the rights of the login."
            )
            return
        found = {record.ref for record in self.connector.get(unseen)}
        gone = [ref for ref in unseen if ref not in found]
        with self.state.write() as db:
            lease.guard(db)
            self._store.bury(db, kind, gone, self._clock.now())
        self.progress.gone += len(gone)

    def _count(self, kind: Kind, page: Page) -> None:
        progress = self.progress
        progress.records[kind] = progress.records.get(kind, 0) + len(page.records)
        progress.gone += len(page.tombstones)
        progress.quarantined += len(page.unreadable)
        self._observer.event(
            "page", connection=self.name, kind=kind.value, records=len(page.records),
            gone=len(page.tombstones), unreadable=len(page.unreadable),
        )  # fmt: skip

    def _check_clock(self, workspace: Workspace) -> None:
        if workspace.server_time is None:
            return
        skew = (self._clock.now() - workspace.server_time).total_seconds()
        if abs(skew) > self._margin:
            raise ClockSkew(
                f"{self.name}: this machine's clock is {abs(skew):.0f} s "
                f"{'ahead of' if skew > 0 else 'behind'} the CRM's"
            )

    def _check_workspace(self, workspace: Workspace, lease: Lease) -> None:
        """Refuse to mix two tenants under one name."""
        table = schema.workspaces
        now = self._clock.now()
        with self.state.write() as db:
            lease.guard(db)
            known = db.execute(
                sa.select(table.c.workspace_id, table.c.crm).where(table.c.connection == self.name)
            ).one_or_none()
            crm = self.connector.name
            if known is not None and (known.workspace_id, known.crm) != (workspace.id, crm):
                raise CrmkitError(
                    f"{self.name}: the credentials now reach another workspace "
                    f"({crm} {workspace.id}) than before ({known.crm} {known.workspace_id})",
                    hint="Put the old credentials back, or give the new workspace a name of its own.",
                )
            self._store.keep_workspace(db, crm, workspace, now)

    def _quarantined(self) -> bool:
        with self.state.read() as db:
            return self._holds(db, schema.quarantine)

    def _holds(self, db: sa.Connection, table: sa.Table) -> bool:
        """Whether a table has any row of this connection."""
        query = sa.select(table.c.id).where(table.c.connection == self.name).limit(1)
        return db.execute(query).first() is not None

    def _begin_run(self) -> int:
        with self.state.write() as db:
            done = db.execute(
                schema.runs.insert().values(
                    command="pull", connection=self.name, started_at=self._clock.now()
                )
            )
            number = int(done.inserted_primary_key[0]) if done.inserted_primary_key else 0
        self._observer.event("run_begin", run=number, command="pull", connection=self.name)
        return number

    def _end_run(self, number: int, result: PullResult) -> None:
        progress = result.progress
        usage = run_usage.RunUsage(
            self.name, read=progress.total, changed=progress.changed, gone=progress.gone,
            unreadable=progress.quarantined,
        ).used(self.connector.context.usage)  # fmt: skip
        with self.state.write() as db:
            run_usage.keep(db, number, [usage])
            db.execute(
                schema.runs.update()
                .where(schema.runs.c.number == number)
                .values(
                    ended_at=self._clock.now(),
                    outcome=result.outcome.name.lower(),
                    records=result.progress.total,
                    requests=result.requests,
                    waited_seconds=result.waited_seconds,
                    error=str(result.error) if result.error else None,
                )
            )
        error = type(result.error).__name__ if result.error else None
        self._observer.event(
            "run_failed" if result.outcome is PullOutcome.FAILED else "run_end", run=number, command="pull",
            connection=self.name, status=result.outcome.name.lower(), error=error, read=progress.total,
            requests=usage.requests, waited=round(usage.waited_seconds, 3), seconds=round(result.seconds, 3),
        )  # fmt: skip
