"""Carry out a plan: intent before, outcome after, nothing twice.

Per member: companies, people, deals; deletes when every member is through. Right before an
update the record is read again, and only what is still as the plan expected is written.
A write whose answer never came is parked, looked up later, and never repeated blindly
(sync-semantics 6).
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.clock import Clock
from crmkit.connectors.writing import Act, Change, Keys, Lookup, Result, Written
from crmkit.errors import CrmkitError, Interrupted, Unstable
from crmkit.mapping.fields import Plain, Unmapped
from crmkit.model import AnyRecord, Kind, Ref
from crmkit.sync import schema
from crmkit.sync.group import Group, Member
from crmkit.sync.hub import CREATED, Intent, JournalEntry, Link, Refusal, Status
from crmkit.sync.lease import Lease
from crmkit.sync.plan import Op, payload_digest
from crmkit.sync.reconcile import NOTHING, Base
from crmkit.sync.results import after_write, fresh_row
from crmkit.sync.state import State
from crmkit.sync.store import Batch, Store

UPDATES_AT_ONCE = 500
BREAKER_LOOKS_AT = 20
BREAKER_OPENS_AT = 10
_PHASES = (
    (Kind.COMPANY, Act.CREATE),
    (Kind.CONTACT, Act.CREATE),
    (Kind.DEAL, Act.CREATE),
    (Kind.DEAL, Act.UPDATE),
)


@dataclass(slots=True)
class Tally:
    """What became of one member's writes.

    Attributes:
        total: How many are planned.
        counts: By outcome: created, updated, deleted, adopted, agreed, stale, refused,
            unknown, unsent, blocked.
        notes: What a person should know, one line each.
        error: What ended this member's part early.
        recent: Whether the last writes failed without a verdict.
    """

    total: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    error: CrmkitError | None = None
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=BREAKER_LOOKS_AT))

    @property
    def done(self) -> int:
        """How many have an outcome."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class _Ready:
    """A write with everything that is needed to send it and to note its outcome."""

    op: Op
    change: Change
    entry: JournalEntry
    before: AnyRecord | None
    agreed: Mapping[str, Base]
    left: Mapping[str, Any] = field(default_factory=dict)


class Applier:
    """Carries out the writes of one plan.

    Args:
        group: The sync group.
        state: The open store.
        lease: The group's lease; every transaction is guarded by it.
        clock: Where time comes from.
        run: Number of the run.
        offsets: Per member, how far the CRM's clock is ahead of this one's.
        young: Whether the state store may have been lost or restored a moment ago: then
            everything is looked up by its key before it is created.
    """

    def __init__(
        self,
        group: Group,
        state: State,
        lease: Lease,
        clock: Clock,
        run: int,
        *,
        offsets: Mapping[str, timedelta] | None = None,
        young: bool = True,
    ) -> None:
        self._group = group
        self._hub = group.hub
        self._state = state
        self._lease = lease
        self._clock = clock
        self._run = run
        self._offsets = offsets or {}
        self._young = young
        self._directory_lock = threading.Lock()
        self.tallies = {connection: Tally() for connection in group.members}
        self._stores = {connection: Store(state.engine.dialect, connection) for connection in group.members}

    def execute(self, ops: Sequence[Op]) -> dict[str, Tally]:
        """Carry out writes; what happened, per member. Never raises for one member's failure."""
        by_member: dict[str, list[Op]] = {connection: [] for connection in self._group.members}
        for op in ops:
            by_member[op.connection].append(op)
            self.tallies[op.connection].total += 1
        with ThreadPoolExecutor(max_workers=len(by_member), thread_name_prefix="apply") as pool:
            list(pool.map(self._member, by_member, by_member.values()))
            if not any(tally.error for tally in self.tallies.values()):
                list(pool.map(self._deletes, by_member, by_member.values()))
        return self.tallies

    def _member(self, connection: str, ops: Sequence[Op]) -> None:
        created = sorted({op.kind for op in ops if op.act is Act.CREATE}, key=list(Kind).index)
        if created:
            try:
                # Without its key field a created record could not be found again.
                made = self._group.members[connection].connector.prepare(created)
            except CrmkitError as error:
                self.tallies[connection].error = error
                return
            self.tallies[connection].notes += [f"created {one}" for one in made]
        for kind, act in _PHASES:
            self._phase(connection, [op for op in ops if (op.kind, op.act) == (kind, act)])

    def _deletes(self, connection: str, ops: Sequence[Op]) -> None:
        self._phase(connection, [op for op in ops if op.act is Act.DELETE])

    def _phase(self, connection: str, ops: Sequence[Op]) -> None:
        tally = self.tallies[connection]
        member = self._group.members[connection]
        if not ops or tally.error is not None:
            return
        try:
            size = max(1, member.writing(ops[0].kind).chunk)
            if ops[0].act is not Act.CREATE:
                size = min(size, UPDATES_AT_ONCE)
            for at in range(0, len(ops), size):
                if member.connector.context.cancelled.is_set():
                    raise Interrupted(f"{connection}: stopped")
                self._chunk(member, ops[at : at + size])
                if sum(tally.recent) >= BREAKER_OPENS_AT:
                    raise Unstable(
                        f"{connection}: {sum(tally.recent)} of the last {len(tally.recent)} writes failed "
                        "without a verdict"
                    )
        except CrmkitError as error:
            tally.error = error

    def _chunk(self, member: Member, ops: Sequence[Op]) -> None:
        if ops[0].act is Act.CREATE:
            ready = self._ready_creates(member, ops)
        else:
            ready = self._ready_existing(member, ops)
        if not ready:
            return
        with self._state.write() as db:
            self._lease.guard(db)
            self._hub.journal_add(db, [one.entry for one in ready], self._lease.epoch)
        waiting = {one.change.id: one for one in ready}
        try:
            for outcomes in member.connector.write([one.change for one in ready]):
                known = [(waiting.pop(outcome.id), outcome) for outcome in outcomes if outcome.id in waiting]
                self._note(member, known)
        except CrmkitError as error:
            self._unknown(member, waiting, str(error))
            raise
        self._unknown(member, waiting, "the connector gave no outcome")

    def _unknown(self, member: Member, waiting: Mapping[str, _Ready], reason: str) -> None:
        outcomes = [(one, Written(id, Result.UNKNOWN, reason=reason)) for id, one in waiting.items()]
        if outcomes:
            self._note(member, outcomes)

    # Creating

    def _ready_creates(self, member: Member, ops: Sequence[Op]) -> list[_Ready]:
        ops = self._probe(member, ops)
        ready: list[_Ready] = []
        tally = self.tallies[member.connection]
        for op in ops:
            lacking = [one for one in op.parents if not self._there(one, member.connection)]
            if lacking:
                tally.counts["blocked"] += 1
                continue
            values, sent, left = self._create_values(member, op)
            change = Change(op.id, op.act, op.kind, None, values, op.marker)
            parent = next(
                (str(Ref(member.connection, Kind.COMPANY, each)) for each in values.get("companies", ())),
                None,
            )
            ready.append(_Ready(op, change, self._entry(op, sent, {}, parent), None, {}, left))
        return ready

    def _there(self, entity: str, connection: str) -> bool:
        return (entity, connection) in self._group.directory.native_of

    def _probe(self, member: Member, ops: Sequence[Op]) -> Sequence[Op]:
        """Adopt what is there already; gives what is not.

        Without a CRM that refuses a second record with the same key, and after the state
        was lost, a record may be there that no list has shown yet.
        """
        if not self._young and member.writing(ops[0].kind).keys is Keys.UNIQUE:
            return ops
        lookups = [Lookup(op.kind, op.marker or "", self._parent(member, op)) for op in ops]
        found = member.connector.find(lookups)
        rest: list[Op] = []
        for op in ops:
            refs = found.get(op.marker or "", ())
            if not refs:
                rest.append(op)
                continue
            with self._state.write() as db:
                self._lease.guard(db)
                self._adopt(db, op, refs[0])
            self.tallies[member.connection].counts["adopted"] += 1
        return rest

    def _parent(self, member: Member, op: Op) -> Ref | None:
        for one in op.fields:
            if one.field == "company" and one.new:
                native = self._group.directory.native_of.get((one.new, member.connection))
                return Ref(member.connection, Kind.COMPANY, native) if native else None
        return None

    def _create_values(
        self, member: Member, op: Op
    ) -> tuple[dict[str, Any], dict[str, tuple[Plain, Plain]], dict[str, Any]]:
        """Values of a new record, what each field is sent as and stands for, and what follows from it."""
        if op.kind is not Kind.DEAL:
            values = {name: tuple(one) if isinstance(one, list) else one for name, one in op.payload.items()}
            if "companies" in values:
                natives = self._group.directory.native_of
                values["companies"] = tuple(natives[each, member.connection] for each in values["companies"])
            return values, {}, {}
        values = {}
        left: dict[str, Any] = {}
        new: dict[str, Plain] = {}
        for one in op.fields:
            written = member.codec.write_values(one.field, one.new)
            if isinstance(written, Unmapped):
                self.tallies[member.connection].notes.append(f"{op.label}: {one.field}: {written.reason}")
                continue
            values |= written
            left |= member.codec.left_values(one.field, one.new)
            new[one.field] = one.new
        row = fresh_row({**values, **left})
        return values, {name: (member.codec.native(name, row), new[name]) for name in new}, left

    # Updating and deleting

    def _ready_existing(self, member: Member, ops: Sequence[Op]) -> list[_Ready]:
        """Read the records again, and keep what is still as the plan expected."""
        read_at = self._clock.now() + self._offsets.get(member.connection, timedelta(0))
        refs = [Ref(member.connection, op.kind, op.native_id or "") for op in ops]
        found = {record.ref: record for record in member.connector.get(refs)}
        ready: list[_Ready] = []
        changed: list[AnyRecord] = []
        tally = self.tallies[member.connection]
        for op, ref in zip(ops, refs, strict=True):
            record = found.get(ref)
            if record is None and op.act is Act.DELETE:
                self._finish_delete(op)
                tally.counts["deleted"] += 1
                continue
            one = self._recheck(member, op, ref, record, read_at) if record is not None else None
            if one is None:
                tally.counts["stale"] += 1
                tally.notes.append(
                    f"{op.label}: changed in {member.connection} since the plan was made; left alone"
                )
                if record is not None:
                    changed.append(record)
                continue
            if record is not None and len(one.entry.sent) < len(op.fields) and op.act is Act.UPDATE:
                changed.append(record)
            if one.change.values or op.act is Act.DELETE:
                ready.append(one)
            else:
                self._agree(member, one, record)
                tally.counts["agreed"] += 1
        if changed:
            with self._state.write() as db:
                self._lease.guard(db)
                self._keep_records(db, member.connection, changed[0].ref.kind, changed)
        return ready

    def _recheck(self, member: Member, op: Op, ref: Ref, record: AnyRecord, read_at: Any) -> _Ready | None:
        """The write that is still due; `None` if the record is not what the plan expected."""
        row = vars(record)
        if op.act is Act.DELETE and op.payload and getattr(record, "version", None) != op.payload["version"]:
            return None
        values: dict[str, Any] = {}
        sent: dict[str, tuple[Plain, Plain]] = {}
        before: dict[str, Plain] = {}
        agreed: dict[str, Base] = {}
        left: dict[str, Any] = {}
        for one in op.fields:
            native = member.codec.native(one.field, row)
            value = member.codec.decode(one.field, native)
            expected = member.codec.decode(one.field, one.expected)
            as_planned = native == one.expected or (value == expected and not isinstance(value, Unmapped))
            if op.act is Act.DELETE:
                if not as_planned:
                    return None
                before[one.field] = native
            elif one.exact is None and value == one.new:
                agreed[one.field] = Base(native, one.new)
            elif as_planned:
                written = (
                    member.codec.restore_values(one.field, one.exact[0])
                    if one.exact is not None
                    else member.codec.write_values(one.field, one.new, native)
                )
                if isinstance(written, Unmapped):
                    self.tallies[member.connection].notes.append(f"{op.label}: {one.field}: {written.reason}")
                    continue
                values |= written
                before[one.field] = native
                if one.exact is None:
                    left |= member.codec.left_values(one.field, one.new, native)
                after = member.codec.native(one.field, {**row, **_merged_custom(row, {**written, **left})})
                sent[one.field] = (after, one.new)
        if op.act is Act.UPDATE and not sent and not agreed:
            return None
        change = Change(op.id, op.act, op.kind, ref, values, None, getattr(record, "version", None), read_at)
        return _Ready(op, change, self._entry(op, sent, before, None), record, agreed, left)

    def _agree(self, member: Member, one: _Ready, record: AnyRecord | None) -> None:
        """Nothing to write: the CRM holds the wanted values already."""
        with self._state.write() as db:
            self._lease.guard(db)
            self._settle(db, one.op, one.agreed, None, self._clock.now())
            if record is not None:
                self._keep_records(db, member.connection, one.op.kind, [record])

    # Outcomes

    def _note(self, member: Member, outcomes: Sequence[tuple[_Ready, Written]]) -> None:
        """Store what became of writes, in one transaction."""
        records = self._read_back(member, outcomes)
        tally = self.tallies[member.connection]
        with self._state.write() as db:
            self._lease.guard(db)
            for ready, outcome in outcomes:
                name = self._store_outcome(db, member, ready, outcome, records.get(outcome.id))
                tally.counts[name] += 1
                tally.recent.append(name in ("unknown", "unsent"))

    def _read_back(self, member: Member, outcomes: Sequence[tuple[_Ready, Written]]) -> dict[str, AnyRecord]:
        """Records as they are after the write, where its answer did not show them.

        Only for created deals: fields that were not sent have got values of the CRM's own.
        """
        found = {outcome.id: outcome.record for _, outcome in outcomes if outcome.record is not None}
        unseen = [
            outcome
            for ready, outcome in outcomes
            if outcome.result is Result.DONE
            and outcome.record is None
            and outcome.ref is not None
            and ready.op.act is Act.CREATE
            and ready.op.kind is Kind.DEAL
            and len(ready.entry.sent) < len(self._group.fields)
        ]
        if unseen:
            try:
                read = {
                    record.ref: record
                    for record in member.connector.get([one.ref for one in unseen if one.ref])
                }
            except CrmkitError as error:
                self.tallies[member.connection].notes.append(
                    f"could not be read after it was created: {error}"
                )
                return found
            found |= {one.id: read[one.ref] for one in unseen if one.ref in read}
        return found

    def _store_outcome(
        self, db: sa.Connection, member: Member, ready: _Ready, outcome: Written, record: AnyRecord | None
    ) -> str:
        op, now = ready.op, self._clock.now()
        match outcome.result:
            case Result.DONE:
                return self._done(db, member, ready, outcome, record)
            case Result.EXISTS if outcome.ref is not None:
                self._hub.journal_end(
                    db,
                    ready.entry.id,
                    Intent.FAILED,
                    now,
                    native_id=outcome.ref.id,
                    reason="it was there already",
                )
                self._adopt(db, op, outcome.ref)
                return "adopted"
            case Result.UNKNOWN:
                self._hub.journal_end(db, ready.entry.id, Intent.UNKNOWN, now, reason=outcome.reason)
                return "unknown"
            case Result.UNSENT:
                self._hub.journal_end(db, ready.entry.id, Intent.DROPPED, now, reason=outcome.reason)
                return "unsent"
            case Result.GONE if op.act is Act.DELETE:
                self._hub.journal_end(db, ready.entry.id, Intent.ACKED, now)
                self._bury(db, op)
                return "deleted"
            case Result.STALE | Result.GONE:
                self._hub.journal_end(
                    db, ready.entry.id, Intent.FAILED, now, reason=outcome.reason or "stale"
                )
                return "stale"
            case _:
                self._hub.journal_end(db, ready.entry.id, Intent.FAILED, now, reason=outcome.reason)
                self._refuse(db, op, outcome.field, outcome.reason)
                return "refused"

    def _done(
        self, db: sa.Connection, member: Member, ready: _Ready, outcome: Written, record: AnyRecord | None
    ) -> str:
        op, now = ready.op, self._clock.now()
        assert outcome.ref is not None
        self._hub.journal_end(db, ready.entry.id, Intent.ACKED, now, native_id=outcome.ref.id)
        self._hub.drop_refusals(db, op.connection, op.entity, op.act.value)
        if op.act is Act.DELETE:
            self._bury(db, op)
            return "deleted"
        after = after_write(op, outcome, ready.change, ready.left, ready.before, record)
        bases = self._bases(db, member, ready, outcome, after, shown=record is not None)
        if op.act is Act.CREATE:
            link = Link(
                op.entity, op.connection, op.kind, outcome.ref.id, Status.LIVE, bases,
                outcome.version or getattr(after, "version", None), now, CREATED,
            )  # fmt: skip
            self._hub.put_links(db, [link])
            with self._directory_lock:
                self._group.directory.add(op.connection, op.kind, outcome.ref.id, op.entity)
        else:
            self._settle(db, op, {**ready.agreed, **bases}, outcome.version, now)
        self._keep_records(db, op.connection, op.kind, [after], now)
        for name, reason in outcome.unwritten.items():
            self._refuse(db, op, name, reason)
        return "created" if op.act is Act.CREATE else "updated"

    def _bases(
        self,
        db: sa.Connection,
        member: Member,
        ready: _Ready,
        outcome: Written,
        after: AnyRecord,
        *,
        shown: bool,
    ) -> dict[str, Base]:
        """The new agreements: what the CRM holds now, and what that stands for."""
        op = ready.op
        if op.kind is not Kind.DEAL:
            return {}
        row = vars(after)
        bases: dict[str, Base] = {}
        unwritten = {name.split(".")[0] for name in outcome.unwritten}
        for one in op.fields:
            if one.field not in ready.entry.sent:
                continue
            native = member.codec.native(one.field, row) if shown else ready.entry.sent[one.field][0]
            values = member.codec.write_values(one.field, one.new, ready.entry.before.get(one.field))
            lost = not isinstance(values, Unmapped) and unwritten & {name.split(".")[0] for name in values}
            ignored = (
                shown
                and op.act is Act.UPDATE
                and one.exact is None
                and native == ready.entry.before.get(one.field)
                and member.codec.decode(one.field, native) != one.new
            )
            if ignored:
                self.tallies[member.connection].notes.append(
                    f"{op.label}: {member.connection} took the write, but kept its own {one.field}"
                )
            stood = NOTHING if lost or ignored else one.new
            bases[one.field] = Base(native, stood)
        if op.act is Act.CREATE and shown:
            for name in self._group.fields:
                if name not in bases and (
                    name not in self._group.settings.custom or name in member.codec.custom
                ):
                    # What the CRM filled in by itself is no edit of a user.
                    bases[name] = Base(member.codec.native(name, row), self._stood(db, member, op, name))
        return bases

    def _stood(self, db: sa.Connection, member: Member, op: Op, name: str) -> Any:
        entity = self._hub.entities(db, [op.entity]).get(op.entity)
        known = entity.hub.get(name) if entity is not None else None
        if known is None:
            return None
        projected = member.codec.project(name, known.value)
        return NOTHING if isinstance(projected, Unmapped) else projected

    def _settle(
        self, db: sa.Connection, op: Op, bases: Mapping[str, Base], version: str | None, now: datetime
    ) -> None:
        links = self._hub.links_to(db, op.connection, op.kind, [op.native_id or ""])
        for link in links.values():
            self._hub.put_links(
                db,
                [
                    replace(
                        link,
                        bases={**link.bases, **bases},
                        version=version or link.version,
                        written_at=now if version else link.written_at,
                    )
                ],
            )

    def _adopt(self, db: sa.Connection, op: Op, ref: Ref) -> None:
        """Link a record that is there already; what it holds is found out by the next plan."""
        known = self._hub.links_to(db, op.connection, op.kind, [ref.id]).get(ref.id)
        if known is not None and known.entity != op.entity:
            self._refuse(
                db, op, None, f"record {ref.id} has the same unique value, and is linked to another one"
            )
            return
        evidence = "found by its key"
        self._hub.put_links(
            db,
            [Link(op.entity, op.connection, op.kind, ref.id, evidence=evidence, rebuilt=True)],
        )
        with self._directory_lock:
            self._group.directory.add(op.connection, op.kind, ref.id, op.entity)
        self._hub.set_pending(db, add=[op.entity] if op.kind is Kind.DEAL else [])

    def _finish_delete(self, op: Op) -> None:
        with self._state.write() as db:
            self._lease.guard(db)
            self._bury(db, op)

    def _bury(self, db: sa.Connection, op: Op) -> None:
        for link in self._hub.links_to(db, op.connection, op.kind, [op.native_id or ""]).values():
            self._hub.put_links(db, [replace(link, status=Status.DEAD)])
        self._stores[op.connection].bury(
            db, op.kind, [Ref(op.connection, op.kind, op.native_id or "")], self._clock.now()
        )

    def _refuse(self, db: sa.Connection, op: Op, name: str | None, reason: str) -> None:
        before = self._hub.refusals(db).get((op.connection, op.entity, op.act.value))
        now = self._clock.now()
        digest = payload_digest(op)
        again = before is not None and before.digest == digest
        self._hub.put_refusal(
            db,
            Refusal(
                op.connection, op.entity, op.act.value, digest,
                before.tries + 1 if before is not None and again else 1, name, reason[:500],
                before.since if before is not None and again else now, now,
            ),
        )  # fmt: skip

    def _keep_records(
        self,
        db: sa.Connection,
        connection: str,
        kind: Kind,
        records: Sequence[AnyRecord],
        now: datetime | None = None,
    ) -> None:
        """Put records into the local copy, as a pull would."""
        cursors = schema.cursors
        walk = db.execute(
            sa.select(cursors.c.walk).where(cursors.c.connection == connection, cursors.c.kind == kind.value)
        ).scalar()
        batch = Batch(records=list(records))
        self._stores[connection].put(
            db, kind, batch, walk=walk or 0, now=now or self._clock.now(), first=False
        )

    def _entry(
        self, op: Op, sent: Mapping[str, tuple[Plain, Plain]], before: Mapping[str, Plain], parent: str | None
    ) -> JournalEntry:
        return JournalEntry(
            f"{self._run}:{op.id}", self._run, op.connection, op.kind, op.act.value, op.entity,
            op.native_id, op.marker, parent, sent, before, {one.field: one.rule for one in op.fields},
            Intent.SENT, self._clock.now(),
        )  # fmt: skip


def _merged_custom(row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Model values with custom fields put into the record's own."""
    plain = {name: one for name, one in written.items() if not name.startswith("custom.")}
    custom = {name.removeprefix("custom."): one for name, one in written.items() if name not in plain}
    return {**plain, "custom": {**row["custom"], **custom}} if custom else plain
