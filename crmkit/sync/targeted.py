"""A pull of named records only: read by id and stored as a page of a pull would be.

Cursors are not moved: the scheduled pull reads as if this had not happened, and finds
what no hint named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from crmkit.connectors.base import Connector, Support, Unreadable
from crmkit.errors import CrmkitError, UnreadableRecord
from crmkit.model import AnyRecord, Contact, Deal, Kind, Ref, Tombstone
from crmkit.sync import schema
from crmkit.sync.lease import Lease, hold
from crmkit.sync.pull import SHRINKAGE
from crmkit.sync.state import State
from crmkit.sync.store import Batch, Store
from crmkit.sync.stored import IDS_AT_ONCE, stored

ORDER = (Kind.DEAL, Kind.CONTACT, Kind.COMPANY)
"""The order of reading: a deal names people and companies, a person names companies."""

EVIDENCE = "named by the CRM as gone or changed, and absent by id"


@dataclass(slots=True)
class Targeted:
    """What a targeted pull did; `left_out` are kinds that were never pulled."""

    changed: int = 0
    gone: int = 0
    unreadable: int = 0
    warnings: list[str] = field(default_factory=list)
    left_out: set[Kind] = field(default_factory=set)

    @property
    def matters(self) -> bool:
        """Whether a sync has anything new to look at."""
        return self.changed > 0 or self.gone > 0


def pull_named(state: State, connector: Connector, refs: Iterable[Ref]) -> Targeted:
    """Bring records up to date here, and fetch the people and companies that they name and nobody knows.

    Args:
        state: The store.
        connector: The open connection.
        refs: Deals, contacts and companies of this connection; other kinds are left out.

    Raises:
        Busy: A pull of this connection is running.
        CrmkitError: The CRM cannot be read, or the credentials reach another workspace.
    """
    context = connector.context
    with hold(state, f"pull:{context.connection}", context.clock.now, context.observer) as lease:
        return _Pull(state, connector, lease).run(refs)


def refuse_other_workspace(state: State, connector: Connector) -> None:
    """Make sure that the credentials still reach the workspace whose records are stored here.

    Raises:
        CrmkitError: They reach another one, or none.
    """
    name, table = connector.context.connection, schema.workspaces
    reached = connector.check()
    with state.read() as db:
        query = sa.select(table.c.workspace_id, table.c.crm).where(table.c.connection == name)
        known = db.execute(query).one_or_none()
    if known is not None and (known.workspace_id, known.crm) != (reached.id, connector.name):
        raise CrmkitError(
            f"{name}: the credentials now reach another workspace ({connector.name} {reached.id})",
            hint="Put the old credentials back, or give the new workspace a name of its own.",
        )


@dataclass(slots=True)
class _Read:
    """What reading some records by id brought."""

    records: list[AnyRecord] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    absent: list[Ref] = field(default_factory=list)


class _Pull:
    def __init__(self, state: State, connector: Connector, lease: Lease) -> None:
        self.state, self.connector, self.lease = state, connector, lease
        self.name = connector.context.connection
        self.store = Store(state.engine.dialect, self.name)
        self.done = Targeted()

    def run(self, refs: Iterable[Ref]) -> Targeted:
        wanted: dict[Kind, set[str]] = {kind: set() for kind in ORDER}
        for ref in refs:
            if ref.kind in wanted and ref.connection == self.name:
                wanted[ref.kind].add(ref.id)
        walks = self._walks()
        found: dict[Kind, _Read] = {}
        for kind in ORDER:
            if kind not in walks:
                if wanted[kind]:
                    self.done.left_out.add(kind)
                continue
            found[kind] = read = self._read(kind, sorted(wanted[kind]))
            for party, ids in self._unknown(_named(read.records)).items():
                wanted[party] |= ids
        for kind in reversed(ORDER):  # parties first, as a pull stores them
            if kind in found:
                self._keep(kind, found[kind], walks[kind])
        return self.done

    def _walks(self) -> Mapping[Kind, int]:
        """The last walk of each kind that was pulled: without a copy there is nothing to keep fresh."""
        cursors = schema.cursors.c
        with self.state.read() as db:
            query = sa.select(cursors.kind, cursors.walk).where(cursors.connection == self.name)
            return {Kind(row.kind): row.walk for row in db.execute(query)}

    def _unknown(self, refs: Iterable[Ref]) -> dict[Kind, set[str]]:
        """Those of the named people and companies that are not stored."""
        asked = set(refs)
        with self.state.read() as db:
            known = stored(db, asked, ("gone_at",)).keys()
        missing: dict[Kind, set[str]] = {}
        for ref in asked - known:
            missing.setdefault(ref.kind, set()).add(ref.id)
        return missing

    def _read(self, kind: Kind, ids: Sequence[str]) -> _Read:
        read = _Read()
        for at in range(0, len(ids), IDS_AT_ONCE):
            self._ask([Ref(self.name, kind, native) for native in ids[at : at + IDS_AT_ONCE]], read)
        return read

    def _ask(self, refs: Sequence[Ref], read: _Read) -> None:
        """Read records by id; one that cannot be translated is set apart and keeps no other out."""
        if not refs:
            return
        try:
            records = list(self.connector.get(refs))
        except UnreadableRecord as error:
            if len(refs) == 1:
                read.unreadable.append(Unreadable(refs[0], error.field, error.reason))
                return
            bad = [ref for ref in refs if str(ref) == error.record]
            if bad:
                read.unreadable.append(Unreadable(bad[0], error.field, error.reason))
                self._ask([ref for ref in refs if ref not in bad], read)
                return
            middle = len(refs) // 2
            self._ask(refs[:middle], read)
            self._ask(refs[middle:], read)
            return
        read.records += records
        there = {record.ref for record in records}
        read.absent += [ref for ref in refs if ref not in there]

    def _keep(self, kind: Kind, read: _Read, walk: int) -> None:
        now = self.connector.context.clock.now()
        with self.state.read() as db:
            known = stored(db, read.absent, ("gone_at",))
            live = self.store.count(db, kind)
        absent = [ref for ref in read.absent if ref in known and known[ref]["gone_at"] is None]
        if len(absent) > max(5, SHRINKAGE * live):
            self.done.warnings.append(
                f"{self.name}: {len(absent)} of {live} {kind}s are out of reach all at once; "
                "none was marked as deleted. Check the rights of the login."
            )
            absent = []
        stones = [Tombstone(ref=ref, at=None, merged_into=self._survivor(ref, read)) for ref in absent]
        batch = Batch(records=read.records, unreadable=read.unreadable)
        if not (batch.size() or stones):
            return
        with self.state.write() as db:
            self.lease.guard(db)
            self.done.changed += self.store.put(db, kind, batch, walk=walk, now=now, first=False, proven=True)
            self.store.bury_named(db, kind, stones, now, EVIDENCE)
        self.done.gone += len(stones)
        self.done.unreadable += len(read.unreadable)

    def _survivor(self, ref: Ref, read: _Read) -> str | None:
        """What an absent record was merged into: a read by id then gives the survivor."""
        if self.connector.capabilities.merges is not Support.YES or not read.records:
            return None
        try:
            found = list(self.connector.get([ref]))
        except UnreadableRecord:
            return None
        return found[0].ref.id if len(found) == 1 and found[0].ref != ref else None


def _named(records: Iterable[AnyRecord]) -> Iterable[Ref]:
    """People and companies that records name."""
    for record in records:
        if isinstance(record, Deal):
            yield from (Ref(record.ref.connection, Kind.COMPANY, native) for native in record.companies)
            yield from (Ref(record.ref.connection, Kind.CONTACT, one.id) for one in record.contacts)
        elif isinstance(record, Contact):
            yield from (Ref(record.ref.connection, Kind.COMPANY, native) for native in record.companies)
