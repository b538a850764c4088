"""What became of writes: journal, links, agreements and the local copy, in one transaction."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from crmkit.connectors.clock import Clock
from crmkit.connectors.writing import Act, Result, Written
from crmkit.errors import CrmkitError
from crmkit.mapping.custom import Unmapped
from crmkit.model import AnyRecord, Kind, Ref
from crmkit.sync.group import Group, Member
from crmkit.sync.hub import CREATED, DELETED, UNDONE, Entity, Intent, Link, Refusal, Status
from crmkit.sync.lease import Lease
from crmkit.sync.model_fields import deal_field
from crmkit.sync.plan import Op, payload_digest
from crmkit.sync.ready import Ready
from crmkit.sync.reconcile import NOTHING, Base
from crmkit.sync.results import after_write
from crmkit.sync.sheet import Sheet
from crmkit.sync.state import State
from crmkit.sync.store import Store

BREAKER_LOOKS_AT = 20
_NOWHERE = Ref("", Kind.COMPANY, "")
_KEPT_ITS_OWN = "the CRM took the write, but kept its own value"


@dataclass(slots=True)
class Tally:
    """What became of one member's writes.

    Attributes:
        total: How many are planned.
        counts: By outcome: created, updated, deleted, adopted, agreed, stale, refused,
            unknown, unsent, blocked. Beside these, kept: how many of the created and updated were
            written but for some fields, which the CRM left as they were.
        moved: Entities whose record changed between plan and write, so that something is still due.
        notes: What a person should know, one line each.
        error: What ended this member's part early.
        recent: Whether the last writes failed without a verdict.
    """

    total: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    moved: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    error: CrmkitError | None = None
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=BREAKER_LOOKS_AT))

    @property
    def done(self) -> int:
        """How many have an outcome."""
        return sum(self.counts.values()) - self.counts["kept"]


class Outcomes:
    """Stores what became of writes.

    Args:
        group: The sync group.
        state: The open store.
        lease: The group's lease; every transaction is guarded by it.
        clock: Where time comes from.
        undoing: Whether the writes take an earlier run back.
    """

    def __init__(self, group: Group, state: State, lease: Lease, clock: Clock, *, undoing: bool) -> None:
        self._group = group
        self._hub = group.hub
        self._state = state
        self._lease = lease
        self._clock = clock
        self._undoing = undoing
        self._directory_lock = threading.Lock()
        self._stores = {connection: Store(state.engine.dialect, connection) for connection in group.members}
        self.tallies = {connection: Tally() for connection in group.members}

    def note(self, member: Member, outcomes: Sequence[tuple[Ready, Written]]) -> None:
        """Store what became of writes, in one transaction."""
        read = self._read_back(member, outcomes)
        tally = self.tallies[member.connection]
        names: list[str] = []
        kept: list[tuple[Op, Mapping[str, str]]] = []
        if not outcomes:
            return
        with self._state.write() as db:
            self._lease.guard(db)
            sheet = self._sheet(db, member, [ready.op for ready, _ in outcomes])
            for ready, outcome in outcomes:
                names.append(self._store(sheet, member, ready, outcome, read.get(outcome.id), kept))
            sheet.flush(self._clock.now())
        for op, reasons in kept:
            tally.counts["kept"] += 1
            tally.notes += [f"{op.label}: {name} was not written: {why}" for name, why in reasons.items()]
        for (ready, _), name in zip(outcomes, names, strict=True):
            tally.counts[name] += 1
            tally.recent.append(name in ("unknown", "unsent"))
            if name in ("stale", "adopted"):
                tally.moved.add(ready.op.entity)

    def _sheet(self, db: sa.Connection, member: Member, ops: Sequence[Op]) -> Sheet:
        sheet = Sheet(db, self._hub, self._stores[member.connection], ops[0].kind)
        created = {op.entity for op in ops if op.act is Act.CREATE and op.kind is Kind.DEAL}
        sheet.prepare((op.native_id for op in ops if op.native_id), [op.entity for op in ops], created)
        return sheet

    def agree(self, member: Member, one: Ready) -> None:
        """Nothing to write: the CRM holds the wanted values already."""
        with self._state.write() as db:
            self._lease.guard(db)
            sheet = self._sheet(db, member, [one.op])
            sheet.change_link(one.op.native_id or "", bases=one.agreed)
            if one.before is not None:
                sheet.keep(one.before, self._clock.now())
            sheet.flush(self._clock.now())
        self.tallies[member.connection].counts["agreed"] += 1

    def keep(self, member: Member, kind: Kind, records: Sequence[AnyRecord]) -> None:
        """Put records that were read again into the local copy, as a pull would."""
        with self._state.write() as db:
            self._lease.guard(db)
            self._stores[member.connection].keep(db, kind, records, self._clock.now())

    def found(self, op: Op, ref: Ref) -> None:
        """Link a record that was there already."""
        with self._state.write() as db:
            self._lease.guard(db)
            self._adopt(db, op, ref)
        tally = self.tallies[op.connection]
        tally.counts["adopted"] += 1
        tally.moved.add(op.entity)

    def gone(self, member: Member, op: Op) -> None:
        """A record that was to be deleted is not there any more."""
        with self._state.write() as db:
            self._lease.guard(db)
            sheet = self._sheet(db, member, [op])
            sheet.bury(op.native_id or "", self._evidence)
            sheet.flush(self._clock.now())
        self.tallies[op.connection].counts["deleted"] += 1

    def _read_back(self, member: Member, outcomes: Sequence[tuple[Ready, Written]]) -> dict[str, AnyRecord]:
        """Created deals as they are now, where the answer did not show them.

        Fields that were not sent have got values of the CRM's own; those that were sent are
        never taken from here, as a user may have edited them by now.
        """
        unseen = {
            outcome.ref: outcome.id
            for ready, outcome in outcomes
            if outcome.result is Result.DONE
            and outcome.record is None
            and outcome.ref is not None
            and ready.op.act is Act.CREATE
            and ready.op.kind is Kind.DEAL
            and len(ready.entry.sent) < len(self._group.fields)
        }
        if not unseen:
            return {}
        try:
            records = member.connector.get(list(unseen))
        except CrmkitError as error:
            self.tallies[member.connection].notes.append(f"could not be read after it was created: {error}")
            return {}
        return {unseen[record.ref]: record for record in records if record.ref in unseen}

    def _store(
        self,
        sheet: Sheet,
        member: Member,
        ready: Ready,
        outcome: Written,
        read: AnyRecord | None,
        kept: list[tuple[Op, Mapping[str, str]]],
    ) -> str:
        """Store one outcome; its name. Fields that were not written although the rest was go to `kept`."""
        op = ready.op

        def end(state: Intent, reason: str | None = None, native_id: str | None = None) -> None:
            sheet.end(ready.entry.id, state, self._clock.now(), native_id=native_id, reason=reason)

        match outcome.result:
            case Result.DONE:
                return self._done(sheet, member, ready, outcome, read, kept)
            case Result.EXISTS if outcome.ref is not None:
                end(Intent.FAILED, "it was there already", outcome.ref.id)
                # The record may be one that this very group of writes has made.
                sheet.flush(self._clock.now())
                return "adopted" if self._adopt(sheet.db, op, outcome.ref) else "refused"
            case Result.UNKNOWN:
                end(Intent.UNKNOWN, outcome.reason)
                return "unknown"
            case Result.UNSENT:
                end(Intent.DROPPED, outcome.reason)
                return "unsent"
            case Result.GONE if op.act is Act.DELETE:
                end(Intent.ACKED)
                sheet.bury(op.native_id or "", self._evidence)
                return "deleted"
            case Result.STALE | Result.GONE:
                end(Intent.FAILED, outcome.reason or "stale")
                return "stale"
            case _:
                end(Intent.FAILED, outcome.reason)
                name = outcome.field
                if name is not None and op.kind is Kind.DEAL:
                    name = deal_field(name, member.codec.custom)
                self._refuse(sheet.db, op, name, outcome.reason)
                return "refused"

    def _done(
        self,
        sheet: Sheet,
        member: Member,
        ready: Ready,
        outcome: Written,
        read: AnyRecord | None,
        not_written: list[tuple[Op, Mapping[str, str]]],
    ) -> str:
        op, now = ready.op, self._clock.now()
        assert outcome.ref is not None
        sheet.end(ready.entry.id, Intent.ACKED, now, native_id=outcome.ref.id)
        if op.act is Act.DELETE:
            sheet.taken(op.entity, op.act.value)
            sheet.bury(op.native_id or "", self._evidence)
            return "deleted"
        shown = outcome.record
        after = after_write(op, outcome, ready.change, ready.left, ready.before, shown or read)
        bases, kept = self._bases(member, ready, outcome, shown or read)
        if op.act is Act.CREATE:
            bases = {**self._filled_in(sheet.entity(op.entity), member, op, shown or read), **bases}
            bases |= self._of_party(member, op, ready, shown or read)
            sheet.link(
                Link(
                    op.entity, op.connection, op.kind, outcome.ref.id, Status.LIVE, bases,
                    outcome.version or getattr(after, "version", None), now, CREATED,
                )
            )  # fmt: skip
            with self._directory_lock:
                self._group.directory.add(op.connection, op.kind, outcome.ref.id, op.entity)
        else:
            sheet.change_link(
                op.native_id or "", bases={**ready.agreed, **bases}, version=outcome.version, written_at=now
            )
        sheet.keep(after, now)
        if kept:
            not_written.append((op, kept))
            self._refuse_fields(sheet.db, op, kept)
        else:
            sheet.taken(op.entity, op.act.value)
        return "created" if op.act is Act.CREATE else "updated"

    def _bases(
        self, member: Member, ready: Ready, outcome: Written, record: AnyRecord | None
    ) -> tuple[dict[str, Base], dict[str, str]]:
        """The new agreements, and the fields that the CRM did not take, with the reason."""
        op, shown = ready.op, outcome.record
        codec = member.codec_of(op.kind)
        bases: dict[str, Base] = {}
        kept: dict[str, str] = {}
        unwritten = {name.split(".")[0]: reason for name, reason in outcome.unwritten.items()}
        for one in op.fields:
            if one.field not in ready.entry.sent:
                continue
            native = ready.entry.sent[one.field][0]
            if shown is not None:
                native = codec.native(one.field, vars(shown))
            before = ready.entry.before.get(one.field)
            values = codec.write_values(one.field, one.new, before)
            names = [] if isinstance(values, Unmapped) else [name.split(".")[0] for name in values]
            lost = next((unwritten[name] for name in names if name in unwritten), None)
            wanted = one.exact is not None or codec.decode(one.field, native) == one.new
            ignored = shown is not None and op.act is Act.UPDATE and native == before and not wanted
            if lost is None and not ignored:
                bases[one.field] = Base(native, one.new)
                continue
            kept[one.field] = lost or _KEPT_ITS_OWN
            # Due whatever the hub says; without a record nobody knows what a new deal holds.
            if record is not None:
                bases[one.field] = Base(codec.native(one.field, vars(record)), NOTHING)
            elif op.act is Act.UPDATE:
                bases[one.field] = Base(before, NOTHING)
        return bases, kept

    def _filled_in(
        self, entity: Entity | None, member: Member, op: Op, record: AnyRecord | None
    ) -> dict[str, Base]:
        """What the CRM filled in by itself when it created a deal is no edit of a user."""
        if op.kind is not Kind.DEAL or record is None:
            return {}
        found: dict[str, Base] = {}
        for name in self._group.fields:
            if self._group.lacks(member.connection, name):
                continue
            known = entity.hub.get(name) if entity is not None else None
            projected = member.codec.project(name, known.value) if known is not None else None
            stood = NOTHING if isinstance(projected, Unmapped) else projected
            found[name] = Base(member.codec.native(name, vars(record)), stood)
        return found

    def _of_party(self, member: Member, op: Op, ready: Ready, record: AnyRecord | None) -> dict[str, Base]:
        """What a new company or person holds, where its fields are kept in step from now on."""
        codec = member.parties.get(op.kind)
        if codec is None:
            return {}
        values = ready.change.values
        sent = vars(after_write(op, Written(op.id, Result.DONE, _NOWHERE), ready.change, {}, None, None))
        held = {**values, **codec.holds(values)}
        custom = {
            name.removeprefix("custom."): one for name, one in held.items() if name.startswith("custom.")
        }
        left = {name: one for name, one in held.items() if not name.startswith("custom.")}
        row = vars(record) if record is not None else {**sent, **left, "custom": custom}
        found: dict[str, Base] = {}
        for name in self._group.fields_of(op.kind):
            if self._group.lacks(op.connection, name, op.kind):
                continue
            value = codec.decode(name, codec.native(name, sent))
            stood = codec.project(name, value) if value is not None else None
            found[name] = Base(codec.native(name, row), None if isinstance(stood, Unmapped) else stood)
        return found

    def _adopt(self, db: sa.Connection, op: Op, ref: Ref) -> bool:
        """Link a record that is there already; what it holds is found out by the next plan."""
        known = self._hub.links_to(db, op.connection, op.kind, [ref.id]).get(ref.id)
        if known is not None and known.entity != op.entity:
            self._refuse(
                db, op, None, f"record {ref.id} has the same unique value, and is linked to another one"
            )
            return False
        fresh = Link(op.entity, op.connection, op.kind, ref.id, evidence="found by its key", rebuilt=True)
        self._hub.put_links(db, [replace(known, status=Status.LIVE) if known is not None else fresh])
        with self._directory_lock:
            self._group.directory.add(op.connection, op.kind, ref.id, op.entity)
        self._hub.set_pending(db, add=[op.entity] if op.kind is Kind.DEAL else [])
        return True

    @property
    def _evidence(self) -> str:
        """What dead links tell about why they are dead."""
        return UNDONE if self._undoing else DELETED

    def _refuse(self, db: sa.Connection, op: Op, name: str | None, reason: str) -> None:
        """Count a refused write; the same values again are the same refusal."""
        before = self._hub.refusal(db, op.connection, op.entity, op.act.value)
        now = self._clock.now()
        digest = payload_digest(op)
        again = before if before is not None and before.digest == digest else None
        if again is not None and again.field and name:
            # What was taken out before stays out.
            name = ",".join(dict.fromkeys([*again.field.split(","), name]))
        self._hub.put_refusal(
            db,
            Refusal(
                op.connection, op.entity, op.act.value, digest, again.tries + 1 if again else 1, name,
                reason[:500], again.since if again else now, now,
            ),
        )  # fmt: skip

    def _refuse_fields(self, db: sa.Connection, op: Op, kept: Mapping[str, str]) -> None:
        """Count fields that were not taken although the rest was: what would be sent again is refused."""
        fields = tuple(one for one in op.fields if one.field in kept)
        again = replace(op, act=Act.UPDATE, fields=fields)
        self._refuse(db, again, fields[0].field, kept[fields[0].field])
