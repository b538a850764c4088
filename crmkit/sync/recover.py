"""Find out what became of writes whose answer never came, and of rows that may be stale.

A parked write is looked up once its wait is over: until then the request may still land
(sync-semantics 6.2). Nothing is kept in memory: being killed is a normal way to stop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from crmkit.connectors.clock import Clock
from crmkit.connectors.writing import Act, Lookup
from crmkit.model import AnyRecord, Kind, Ref
from crmkit.sync import tables
from crmkit.sync.group import Group, Member
from crmkit.sync.hub import CREATED, Intent, JournalEntry, Link, Status
from crmkit.sync.lease import Lease
from crmkit.sync.reconcile import Base
from crmkit.sync.rows import TABLES
from crmkit.sync.state import State
from crmkit.sync.store import Store

CONFIRM_AT_ONCE = 2000


@dataclass(slots=True)
class Recovery:
    """What was found out.

    Attributes:
        settling: Updates whose record was read again: the next merge settles them.
        landed: Per settling intent, whether the CRM holds what was sent.
        adopted: Created records that were found by their key.
        dropped: Writes that proved not to have happened.
        waiting: Writes that must still be waited for.
        notes: What a person should know.
    """

    settling: list[JournalEntry] = field(default_factory=list)
    landed: dict[str, bool] = field(default_factory=dict)
    adopted: int = 0
    dropped: int = 0
    waiting: int = 0
    notes: list[str] = field(default_factory=list)


class Recoverer:
    """Resolves parked writes of one group.

    Args:
        group: The sync group.
        state: The open store.
        lease: The group's lease.
        clock: Where time comes from.
        available: Members that can be reached in this run.
        ended_at: When the run before this one had ended at the latest.
    """

    def __init__(
        self,
        group: Group,
        state: State,
        lease: Lease,
        clock: Clock,
        available: Sequence[str],
        ended_at: datetime,
    ) -> None:
        self._group = group
        self._hub = group.hub
        self._state = state
        self._lease = lease
        self._clock = clock
        self._available = available
        self._ended_at = ended_at
        self.result = Recovery()

    def run(self) -> Recovery:
        """Look up every write whose wait is over, and read doubtful rows again."""
        entries = self._open_intents()
        ready: dict[tuple[str, Act, Kind], list[JournalEntry]] = defaultdict(list)
        for entry in entries:
            if entry.connection in self._available and self._due(entry):
                ready[entry.connection, Act(entry.act), entry.kind].append(entry)
            else:
                self.result.waiting += 1
        for (connection, act, kind), some in sorted(ready.items()):
            member = self._group.members[connection]
            if act is Act.CREATE:
                self._creates(member, kind, some)
            elif act is Act.UPDATE:
                self._updates(member, kind, some)
            else:
                self._deletes(member, kind, some)
        for connection in self._available:
            self._confirm(self._group.members[connection], entries)
        return self.result

    def _open_intents(self) -> list[JournalEntry]:
        """Writes whose outcome is not known; those of a run that was killed are dated to its end.

        An intent is written down before a whole batch; its request may have left much later.
        """
        with self._state.read() as db:
            entries = self._hub.intents(db)
        killed = [entry for entry in entries if entry.state is Intent.SENT]
        if not killed:
            return entries
        with self._state.write() as db:
            self._lease.guard(db)
            for entry in killed:
                at = max(entry.sent_at, self._ended_at)
                self._hub.journal_end(db, entry.id, Intent.UNKNOWN, at, reason="the run was stopped")
            return self._hub.intents(db)

    def _due(self, entry: JournalEntry) -> bool:
        """Whether the request can no longer be executed behind our back."""
        since = max(entry.sent_at, entry.ended_at or entry.sent_at)
        wait = self._group.settings.in_flight_seconds
        if entry.act == Act.CREATE:
            wait += self._group.members[entry.connection].connector.capabilities.find_lag_seconds
        return self._clock.now() >= since + timedelta(seconds=wait)

    def _creates(self, member: Member, kind: Kind, entries: Sequence[JournalEntry]) -> None:
        lookups = [
            Lookup(kind, entry.marker or "", Ref.parse(entry.parent) if entry.parent else None)
            for entry in entries
        ]
        found = member.connector.find(lookups)
        refs = [refs[0] for entry in entries if (refs := found.get(entry.marker or "", ()))]
        # A note is never compared, so that it need not be read.
        read = refs if kind is not Kind.NOTE else []
        records = {record.ref: record for record in member.connector.get(read)} if read else {}
        lagging = member.connector.capabilities.find_lag_seconds > 0
        with self._state.write() as db:
            self._lease.guard(db)
            for entry in entries:
                refs = list(found.get(entry.marker or "", ()))
                if refs:
                    self._adopt(db, entry, refs[0], records.get(refs[0]))
                    if len(refs) > 1:
                        others = ", ".join(ref.id for ref in refs[1:])
                        self.result.notes.append(
                            f"{member.connection}: {kind}s {others} carry the key of {refs[0].id} too; "
                            "nothing was deleted"
                        )
                elif lagging and entry.misses == 0:
                    self._hub.journal_miss(db, entry.id)
                    self.result.waiting += 1
                else:
                    self._end(db, entry, Intent.DROPPED, "no record carries its key")
                    self.result.dropped += 1

    def _adopt(self, db: sa.Connection, entry: JournalEntry, ref: Ref, record: AnyRecord | None) -> None:
        bases = {name: Base(native, stood) for name, (native, stood) in entry.sent.items()}
        known = self._hub.links_to(db, ref.connection, ref.kind, [ref.id]).get(ref.id)
        if known is None:
            taken = any(
                link.connection == ref.connection and link.status is Status.LIVE
                for link in self._hub.links_of(db, [entry.entity])[entry.entity]
            )
            status = Status.CLONE if taken else Status.LIVE
            link = Link(entry.entity, ref.connection, ref.kind, ref.id, status, bases, evidence=CREATED)
            self._hub.put_links(db, [link])
        self._end(db, entry, Intent.ACKED, "found by its key", ref.id)
        if record is not None:
            self._keep(db, record)
        self.result.adopted += 1

    def _updates(self, member: Member, kind: Kind, entries: Sequence[JournalEntry]) -> None:
        records = self._read(member, kind, entries)
        with self._state.write() as db:
            self._lease.guard(db)
            for entry in entries:
                record = records.get(entry.native_id or "")
                if record is None:
                    self._end(db, entry, Intent.DROPPED, "the record is gone")
                    continue
                self._keep(db, record)
                self._hub.set_pending(db, add=[entry.entity])
                self.result.settling.append(entry)
                self.result.landed[entry.id] = all(
                    member.codec_of(kind).native(name, vars(record)) == native
                    for name, (native, _) in entry.sent.items()
                )

    def _deletes(self, member: Member, kind: Kind, entries: Sequence[JournalEntry]) -> None:
        records = self._read(member, kind, entries)
        with self._state.write() as db:
            self._lease.guard(db)
            for entry in entries:
                record = records.get(entry.native_id or "")
                if record is not None:
                    self._end(db, entry, Intent.DROPPED, "the record is still there")
                    self.result.dropped += 1
                    self._keep(db, record)
                    continue
                self._end(db, entry, Intent.ACKED, "the record is gone")
                gone = Ref(entry.connection, entry.kind, entry.native_id or "")
                self._store(entry.connection).bury(db, entry.kind, [gone], self._clock.now())

    def _read(self, member: Member, kind: Kind, entries: Sequence[JournalEntry]) -> Mapping[str, AnyRecord]:
        refs = [Ref(member.connection, kind, entry.native_id or "") for entry in entries]
        return {record.ref.id: record for record in member.connector.get(refs)}

    def _end(
        self, db: sa.Connection, entry: JournalEntry, state: Intent, reason: str, native_id: str | None = None
    ) -> None:
        self._hub.journal_end(db, entry.id, state, self._clock.now(), native_id=native_id, reason=reason)
        again = entry.kind is Kind.DEAL or self._group.moving is not None
        self._hub.set_pending(db, add=[entry.entity] if again else [])

    def _confirm(self, member: Member, entries: Sequence[JournalEntry]) -> None:
        """Read by id what a list may show wrongly: rows no newer than our own last write.

        An index that trails behind shows a record as it was before that write; taken for an
        edit it would undo it (sync-semantics 5).
        """
        parked = {
            entry.native_id
            for entry in entries
            if entry.connection == member.connection and entry.kind is Kind.DEAL and entry.native_id
        }
        with self._state.read() as db:
            doubtful = self._doubtful(db, member, parked)
        refs = [Ref(member.connection, Kind.DEAL, native) for native in sorted(doubtful)]
        for at in range(0, len(refs), CONFIRM_AT_ONCE):
            records = member.connector.get(refs[at : at + CONFIRM_AT_ONCE])
            with self._state.write() as db:
                self._lease.guard(db)
                self._store(member.connection).keep(db, Kind.DEAL, list(records), self._clock.now())

    def _doubtful(self, db: sa.Connection, member: Member, parked: set[str]) -> set[str]:
        """Records with a change that nobody has merged yet and that the list may show wrongly."""
        changes, deals, links = tables.changes.c, TABLES[Kind.DEAL].c, tables.links.c
        position = self._hub.positions(db).get((member.connection, Kind.DEAL))
        if position is None:
            return set()
        query = (
            sa.select(deals.id, deals.version, deals.observed_at, links.version, links.written_at)
            .distinct()
            .select_from(
                tables.changes.join(
                    TABLES[Kind.DEAL], sa.and_(deals.connection == changes.connection, deals.id == changes.id)
                ).join(
                    tables.links,
                    sa.and_(
                        links.connection == deals.connection,
                        links.kind == Kind.DEAL.value,
                        links.native_id == deals.id,
                    ),
                )
            )
            .where(
                changes.connection == member.connection,
                changes.kind == Kind.DEAL.value,
                changes.number > position,
                links.sync == self._group.name,
                deals.gone_at.is_(None),
            )
        )
        capabilities = member.connector.capabilities
        lag = timedelta(seconds=capabilities.search_lag_seconds + capabilities.version_seconds)
        found: set[str] = set()
        for native, version, observed_at, ours, written_at in db.execute(query):
            listed = written_at is not None and observed_at > written_at
            # Our own write shows what it left behind; only what was listed after it is in doubt.
            older = ours is None or version is None or version <= ours
            if native in parked or (listed and (older or observed_at <= written_at + lag)):
                found.add(native)
        return found

    def _keep(self, db: sa.Connection, record: AnyRecord) -> None:
        self._store(record.ref.connection).keep(db, record.ref.kind, [record], self._clock.now())

    def _store(self, connection: str) -> Store:
        return Store(self._state.engine.dialect, connection)
