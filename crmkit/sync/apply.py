"""Carry out a plan: intent before, outcome after, nothing twice.

Per member: companies, people, deals; deletes when every member is through. Right before an
update the record is read again, and only what is still as the plan expected is written.
A write whose answer never came is parked, looked up later, and never repeated blindly
(sync-semantics 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from crmkit.connectors.clock import Clock
from crmkit.connectors.writing import Act, Keys, Lookup, Result, Written
from crmkit.errors import Busy, CrmkitError, Interrupted, Unstable
from crmkit.model import AnyRecord, Kind, Ref
from crmkit.sync.group import Group, Member
from crmkit.sync.hub import CREATED
from crmkit.sync.lease import Lease
from crmkit.sync.outcomes import Outcomes, Tally
from crmkit.sync.plan import Op
from crmkit.sync.ready import Ready, Run, parent_of, ready_create, ready_delete, ready_update
from crmkit.sync.state import State

BREAKER_OPENS_AT = 10
LEFT_ALONE = "since the plan was made; left alone"
_PHASES = (
    (Kind.COMPANY, Act.CREATE),
    (Kind.CONTACT, Act.CREATE),
    (Kind.COMPANY, Act.UPDATE),
    (Kind.CONTACT, Act.UPDATE),
    (Kind.DEAL, Act.CREATE),
    (Kind.DEAL, Act.UPDATE),
    (Kind.NOTE, Act.CREATE),
)


class Applier:
    """Carries out the writes of one plan.

    Args:
        group: The sync group.
        state: The open store.
        lease: The group's lease; every transaction is guarded by it.
        clock: Where time comes from.
        run: Number of the run.
        turn: Which round of it.
        offsets: Per member, how far the CRM's clock is ahead of this one's.
        young: Whether the state store may have been lost or restored a moment ago: then
            everything is looked up by its key before it is created.
        undoing: Whether the writes take an earlier run back.
    """

    def __init__(
        self,
        group: Group,
        state: State,
        lease: Lease,
        clock: Clock,
        run: int,
        *,
        turn: int = 0,
        offsets: Mapping[str, timedelta] | None = None,
        young: bool = True,
        undoing: bool = False,
    ) -> None:
        self._group = group
        self._state = state
        self._lease = lease
        self._clock = clock
        self._run = Run(run, turn, clock.now)
        self._offsets = offsets or {}
        self._young = young
        self._outcomes = Outcomes(group, state, lease, clock, undoing=undoing)

    @property
    def tallies(self) -> dict[str, Tally]:
        """What happened so far, per member."""
        return self._outcomes.tallies

    def _still_ours(self) -> None:
        """Before each request that writes: this machine may have slept, and another run gone on."""
        try:
            self._lease.ensure()
        except Busy as error:
            raise Interrupted(str(error)) from error

    def execute(self, ops: Sequence[Op]) -> dict[str, Tally]:
        """Carry out writes; what happened, per member. Never raises for one member's failure."""
        by_member: dict[str, list[Op]] = {connection: [] for connection in self._group.members}
        for member in self._group.members.values():
            member.connector.context.permit.check = self._still_ours
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
        # Deals first: whoever deletes a company may take its deals along.
        for kind in (Kind.NOTE, Kind.DEAL, Kind.CONTACT, Kind.COMPANY):
            self._phase(connection, [op for op in ops if (op.kind, op.act) == (kind, Act.DELETE)])

    def _phase(self, connection: str, ops: Sequence[Op]) -> None:
        tally = self.tallies[connection]
        member = self._group.members[connection]
        if not ops or tally.error is not None:
            return
        try:
            kind = ops[0].kind
            size = max(1, member.writing(kind).chunk)
            if ops[0].act is not Act.CREATE:
                size = member.connector.changes_at_once(kind)
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
            self._group.hub.journal_add(db, [one.entry for one in ready], self._lease.epoch)
        self._lease.ensure()
        waiting = {one.change.id: one for one in ready}
        try:
            for outcomes in member.connector.write([one.change for one in ready]):
                known = [(waiting.pop(outcome.id), outcome) for outcome in outcomes if outcome.id in waiting]
                self._outcomes.note(member, known)
        except CrmkitError as error:
            self._unknown(member, waiting, str(error))
            raise
        self._unknown(member, waiting, "the connector gave no outcome")

    def _unknown(self, member: Member, waiting: Mapping[str, Ready], reason: str) -> None:
        outcomes = [(one, Written(id, Result.UNKNOWN, reason=reason)) for id, one in waiting.items()]
        if outcomes:
            self._outcomes.note(member, outcomes)

    # Creating

    def _ready_creates(self, member: Member, ops: Sequence[Op]) -> list[Ready]:
        tally = self.tallies[member.connection]
        natives = self._group.directory.native_of
        ready: list[Ready] = []
        for op in self._probe(member, ops):
            if all((parent, member.connection) in natives for parent in op.parents):
                ready.append(ready_create(member.codec, op, self._run, tally.notes.append))
            else:
                tally.counts["blocked"] += 1
        return ready

    def _probe(self, member: Member, ops: Sequence[Op]) -> Sequence[Op]:
        """Adopt what is there already; gives what is not.

        Without a CRM that refuses a second record with the same key, and after the state
        was lost, a record may be there that no list has shown yet.
        """
        if not self._young and member.writing(ops[0].kind).keys is Keys.UNIQUE:
            return ops
        doubtful = self._notes_to_find(member, ops) if ops[0].kind is Kind.NOTE else ops
        if not doubtful:
            return ops
        directory = self._group.directory
        found = member.connector.find(
            [Lookup(op.kind, op.marker or "", parent_of(op, directory)) for op in doubtful]
        )
        rest: list[Op] = []
        for op in ops:
            refs = found.get(op.marker or "", ())
            if refs:
                self._outcomes.found(op, refs[0])
            else:
                rest.append(op)
        return rest

    def _notes_to_find(self, member: Member, ops: Sequence[Op]) -> list[Op]:
        """Notes that may be there already: not those of records that this store saw being made.

        What the journal knows to be under way is looked up by its recovery.
        """
        with self._state.read() as db:
            links = self._group.hub.links_of(db, {parent for op in ops for parent in op.parents})
        made = {
            entity
            for entity, found in links.items()
            if any(
                link.connection == member.connection and link.evidence == CREATED and not link.rebuilt
                for link in found
            )
        }
        return [op for op in ops if not made.issuperset(op.parents)]

    # Updating and deleting

    def _ready_existing(self, member: Member, ops: Sequence[Op]) -> list[Ready]:
        """Read the records again, and keep what is still as the plan expected."""
        read_at = self._clock.now() + self._offsets.get(member.connection, timedelta(0))
        refs = [Ref(member.connection, op.kind, op.native_id or "") for op in ops]
        found = {record.ref: record for record in member.connector.get(refs)}
        tally = self.tallies[member.connection]
        ready: list[Ready] = []
        changed: list[AnyRecord] = []
        for op, ref in zip(ops, refs, strict=True):
            record = found.get(ref)
            if record is None and op.act is Act.DELETE:
                self._outcomes.gone(member, op)
                continue
            one = None
            if record is not None and op.act is Act.DELETE:
                one = ready_delete(member.codec_of(op.kind), op, record, read_at, self._run)
            elif record is not None:
                one = ready_update(
                    member.codec_of(op.kind), op, record, read_at, self._run, tally.notes.append
                )
            if one is None or one.moved:
                tally.moved.add(op.entity)
                changed += [record] if record is not None else []
            if one is None:
                tally.counts["stale"] += 1
                tally.notes.append(f"{op.label}: changed in {member.connection} {LEFT_ALONE}")
            elif one.change.values or op.act is Act.DELETE:
                ready.append(one)
            else:
                self._outcomes.agree(member, one)
        if changed:
            self._outcomes.keep(member, ops[0].kind, changed)
        return ready
