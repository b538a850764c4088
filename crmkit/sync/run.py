"""One run of a sync: recover, plan, guard, remember, write; at most two rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import sqlalchemy as sa

from crmkit.connectors.clock import Clock
from crmkit.connectors.writing import Act
from crmkit.errors import CredentialsError, Interrupted, StalePlan
from crmkit.mapping.custom import Plain
from crmkit.model import Kind
from crmkit.observing import Observer
from crmkit.sync import run_usage, schema
from crmkit.sync.apply import LEFT_ALONE, Applier
from crmkit.sync.commit import commit, generation, young
from crmkit.sync.computed import Computed
from crmkit.sync.estimate import costs
from crmkit.sync.group import Group
from crmkit.sync.guard import stop, unconfirmed
from crmkit.sync.hub import Intent
from crmkit.sync.lease import Lease, hold
from crmkit.sync.outcomes import Tally
from crmkit.sync.plan import (
    PASSING,
    QUIET,
    Held,
    Op,
    PlanFile,
    PlannedCost,
    PlannedHold,
    content_hash,
    planned,
    waits_for_a_person,
)
from crmkit.sync.planner import Planner
from crmkit.sync.recover import Recoverer, Recovery
from crmkit.sync.shown import named_in, names, shown
from crmkit.sync.state import State
from crmkit.sync.undo import Undo

ROUNDS = 2
# A migration only makes records: a company that goes without its refused owner, then its people,
# then their deals, then the notes on them.
ROUNDS_OF_A_MIGRATION = 6


@dataclass(slots=True)
class SyncResult:
    """What a run did.

    Attributes:
        sync: The sync's name.
        run: Its number.
        writes: What was planned, over all rounds.
        tallies: Per member, what became of it.
        held: What waits, after the last round.
        recovery: What became of earlier writes.
        unavailable: Members that could not be read, with the reason.
    """

    sync: str
    run: int = 0
    writes: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    recovery: Recovery = field(default_factory=Recovery)
    unavailable: Mapping[str, str] = field(default_factory=dict)

    def count(self, name: str) -> int:
        """How many writes had an outcome, over all members."""
        return sum(tally.counts[name] for tally in self.tallies.values())

    @property
    def waiting(self) -> list[Held]:
        """What waits for a person."""
        return [one for one in self.held if waits_for_a_person(one.kind)]

    @property
    def exit_code(self) -> int:
        """As DESIGN 7 says, the one that needs a person first."""
        errors = [tally.error for tally in self.tallies.values() if tally.error is not None]
        if any(isinstance(error, Interrupted) for error in errors):
            return Interrupted.exit_code
        if any(isinstance(error, CredentialsError) for error in errors):
            return CredentialsError.exit_code
        passing = any(one.kind in PASSING for one in self.held)
        partly = any(self.count(name) for name in ("unknown", "unsent", "blocked"))
        partly = partly or any(tally.moved for tally in self.tallies.values())
        if errors or passing or partly or self.unavailable or self.recovery.waiting:
            return 5
        return 4 if self.waiting or self.count("refused") or self.count("kept") else 0


class SyncRun:
    """Runs of one group.

    Args:
        group: The sync group.
        state: The open store.
        clock: Where time comes from.
        offsets: Per member, how far the CRM's clock is ahead of this one's.
        unavailable: Members whose pull failed, with the reason: nothing is written there.
    """

    def __init__(
        self,
        group: Group,
        state: State,
        clock: Clock,
        *,
        offsets: Mapping[str, timedelta] | None = None,
        unavailable: Mapping[str, str] | None = None,
    ) -> None:
        self.group = group
        self.state = state
        self.clock = clock
        self._offsets = offsets or {}
        self._unavailable = unavailable or {}
        self._last_ended_at = clock.now()
        self._run: int | None = None

    @property
    def _observer(self) -> Observer:
        return next(iter(self.group.members.values())).connector.context.observer

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Hold the group's lease: one run at a time."""
        name = f"sync:{self.group.name}"
        table = schema.leases
        with self.state.read() as db:
            expired = db.execute(sa.select(table.c.expires_at).where(table.c.name == name)).scalar()
        # A run that was killed had not outlived its lease, nor this moment.
        now = self.clock.now()
        self._last_ended_at = min(expired, now) if expired is not None else now
        with hold(self.state, name, self.clock.now, self._observer) as lease:
            yield lease

    def plan(self) -> tuple[Computed, PlanFile]:
        """What a run would write now. Changes nothing in a CRM and merges nothing."""
        with self.lease() as lease:
            recovery = self._recover(lease)
            found = self._compute(recovery)
        return found, self.describe(found)

    def describe(self, found: Computed) -> PlanFile:
        """A plan as it is shown and saved."""
        spoken = named_in(
            (one.field, value) for op in found.ops for one in op.fields for value in (one.old, one.new)
        )
        with self.state.read() as db:
            made_from = generation(self.group, db)
            known = {**self.group.words, **names(self.group, db, spoken)}

        def text(field: str, value: Plain) -> str:
            return shown(field, value, lambda entity: known.get(entity, entity))

        return PlanFile(
            sync=self.group.name,
            made_at=self.clock.now(),
            generation=made_from,
            digest=self.group.digest,
            content=content_hash(found.ops),
            writes=[planned(op, text) for op in found.ops],
            held=[
                PlannedHold(
                    kind=one.kind, connection=one.connection, entity=one.entity, label=one.label,
                    field=one.field, reason=one.reason,
                )
                for one in found.held
            ],
            guards=found.guards,
            prepares=self._prepares(found.ops),
            costs=self._costs(found.ops),
        )  # fmt: skip

    def _costs(self, ops: Sequence[Op]) -> list[PlannedCost]:
        """What the plan costs each member, the reads that come with the writes included."""
        with self.state.read() as db:
            is_young = young(self.group, db, self.clock.now(), self._young_seconds())
        return [
            PlannedCost(
                connection=one.connection,
                creates=one.creates,
                updates=one.updates,
                deletes=one.deletes,
                requests=one.requests,
                reads=one.reads,
                minutes=round(one.minutes, 2),
                units=one.units,
            )
            for one in costs(self.group, ops, young=is_young)
        ]

    def _prepares(self, ops: Sequence[Op]) -> dict[str, list[str]]:
        """The key fields that are missing where something is to be created."""
        found: dict[str, list[str]] = {}
        for connection, member in self.group.members.items():
            kinds = {op.kind for op in ops if op.connection == connection and op.act is Act.CREATE}
            missing = member.connector.unprepared(sorted(kinds, key=list(Kind).index)) if kinds else ()
            if missing:
                found[connection] = list(missing)
        return found

    def sync(self, confirmed: Mapping[str, int] | None = None) -> SyncResult:
        """Plan and write, in one go.

        Raises:
            GuardTripped: The plan looks like an accident and nobody confirmed it.
            Busy: Another run holds the lease.
        """
        result = SyncResult(self.group.name, unavailable=self._unavailable)
        with self.lease() as lease, self._numbered("sync", result):
            result.recovery = self._recover(lease)
            rounds = ROUNDS if self.group.moving is None else ROUNDS_OF_A_MIGRATION
            for turn in range(rounds):
                found = self._compute(result.recovery)
                self._stop(found, confirmed or {})
                again = self._carry_out(found, lease, result, turn)
                result.recovery.settling.clear()
                if not again or turn == rounds - 1:
                    break
                _look_again(result)
            result.held = found.held
        return result

    def apply(self, file: PlanFile, confirmed: Mapping[str, int] | None = None) -> SyncResult:
        """Carry out a saved plan exactly.

        Raises:
            StalePlan: The state, the settings or the time moved on since it was made.
            GuardTripped: A guard of the plan is not confirmed.
        """
        result = SyncResult(self.group.name, unavailable=self._unavailable)
        with self.lease() as lease, self._numbered("apply", result):
            self._check_plan(file)
            result.recovery = self._recover(lease)
            found = self._compute(result.recovery)
            if content_hash(found.ops) != file.content:
                raise StalePlan(f"{self.group.name} would write something else now than the plan says")
            self._stop(found, confirmed or {})
            self._carry_out(found, lease, result)
            result.held = found.held
        return result

    def undo(self, planned_undo: Undo) -> SyncResult:
        """Take a run back, as `plan_undo` found it can be."""
        result = SyncResult(self.group.name)
        with self.lease() as lease, self._numbered("undo", result):
            self._execute(planned_undo.ops, lease, result, undoing=True)
            with self.state.write() as db:
                lease.guard(db)
                for entry in self.group.hub.intents(db, run=result.run):
                    op = entry.id.partition(":")[2]
                    if entry.state is Intent.ACKED and op in planned_undo.entries:
                        self.group.hub.journal_undone(db, planned_undo.entries[op], result.run)
                for id in planned_undo.over:
                    self.group.hub.journal_undone(db, id, result.run)
        return result

    def _stop(self, found: Computed, confirmed: Mapping[str, int]) -> None:
        for one in unconfirmed(found.guards, confirmed):
            self._observer.event(
                "guard", run=self._run, sync=self.group.name, connection=one.connection, guard=one.name,
                records=one.count, limit=one.limit,
            )  # fmt: skip
        stop(self.group.name, found.guards, confirmed, self.group.plan_command)

    def _check_plan(self, file: PlanFile) -> None:
        if file.sync != self.group.name:
            raise StalePlan(f"the plan is for {file.sync!r}, not for {self.group.name!r}")
        age = self.clock.now() - file.made_at
        if age < -timedelta(minutes=5):
            raise StalePlan("the plan says that it was made in the future")
        if age > timedelta(minutes=self.group.settings.plan_minutes):
            minutes = age.total_seconds() / 60
            allowed = self.group.settings.plan_minutes
            raise StalePlan(f"the plan is {minutes:.0f} minutes old; allowed are {allowed:.0f}")
        if file.digest != self.group.digest:
            raise StalePlan("the settings or stage maps changed after the plan was made")
        with self.state.read() as db:
            if generation(self.group, db) != file.generation:
                raise StalePlan("something was pulled or written after the plan was made")

    def _recover(self, lease: Lease) -> Recovery:
        available = [name for name in self.group.members if name not in self._unavailable]
        found = Recoverer(self.group, self.state, lease, self.clock, available, self._last_ended_at).run()
        if found.adopted or found.dropped or found.waiting or found.settling:
            self._observer.event(
                "recovered", run=self._run, sync=self.group.name, adopted=found.adopted,
                dropped=found.dropped, waiting=found.waiting, settling=len(found.settling),
            )  # fmt: skip
        return found

    def _compute(self, recovery: Recovery) -> Computed:
        with self._observer.span("plan", sync=self.group.name, run=self._run) as span:
            found = Planner(self.group, self.state, self.clock.now(), recovery.settling).compute()
            span.add(writes=len(found.ops))
        if not self._unavailable:
            return found
        for op in found.ops:
            if op.connection in self._unavailable:
                reason = f"{op.connection} could not be read: {self._unavailable[op.connection]}"
                found.held.append(Held("blocked", op.connection, op.entity, op.label, None, reason))
                found.pending.add(op.entity)
        # An open breaker anywhere: no deletes at all (sync-semantics 8).
        found.ops = [
            op for op in found.ops if op.connection not in self._unavailable and op.act is not Act.DELETE
        ]
        return found

    def _carry_out(self, found: Computed, lease: Lease, result: SyncResult, turn: int = 0) -> bool:
        """Remember and write; whether another round may find more to do."""
        with self.state.read() as db:
            is_young = young(self.group, db, self.clock.now(), self._young_seconds())
        commit(self.group, self.state, lease, found, result.run, self.clock.now(), result.recovery.landed)
        result.recovery.landed.clear()
        refused = result.count("refused")
        self._execute(found.ops, lease, result, turn=turn, is_young=is_young)
        if self.group.moving is not None and any(tally.error for tally in result.tallies.values()):
            return False
        waits = result.count("refused") > refused or result.count("blocked") > 0
        moved = any(tally.moved for tally in result.tallies.values())
        return moved or (self.group.moving is not None and waits)

    def _execute(
        self,
        ops: Sequence[Op],
        lease: Lease,
        result: SyncResult,
        *,
        turn: int = 0,
        is_young: bool = True,
        undoing: bool = False,
    ) -> None:
        applier = Applier(
            self.group, self.state, lease, self.clock, result.run, turn=turn, offsets=self._offsets,
            young=is_young, undoing=undoing,
        )  # fmt: skip
        result.writes += len(ops)
        with self._observer.span("write", sync=self.group.name, run=result.run, writes=len(ops)):
            done = applier.execute(ops)
        for connection, tally in done.items():
            known = result.tallies.setdefault(connection, Tally())
            known.total += tally.total
            known.counts.update(tally.counts)
            known.moved |= tally.moved
            known.notes += tally.notes
            known.error = known.error or tally.error

    def _young_seconds(self) -> float:
        lag = max(member.connector.capabilities.find_lag_seconds for member in self.group.members.values())
        return self.group.settings.in_flight_seconds + lag

    @contextmanager
    def _numbered(self, command: str, result: SyncResult) -> Iterator[None]:
        """Note the run's begin and end."""
        with self.numbered(command, result) as number:
            result.run = number
            yield

    @contextmanager
    def numbered(self, command: str, result: SyncResult | None = None) -> Iterator[int]:
        """Note a run's begin and end; gives its number."""
        with self.state.write() as db:
            done = db.execute(
                schema.runs.insert().values(
                    command=command, connection=self.group.name, started_at=self.clock.now()
                )
            )
            number = int(done.inserted_primary_key[0]) if done.inserted_primary_key else 0
        outcome, error = "failed", None
        failure: str | None = None
        began, self._run = self.clock.monotonic(), number
        self._observer.event("run_begin", run=number, command=command, sync=self.group.name)
        used = [member.connector.context.usage for member in self.group.members.values()]
        try:
            yield number
            outcome = "done" if result is None or result.exit_code == 0 else f"exit {result.exit_code}"
        except Exception as problem:
            error, failure = str(problem), type(problem).__name__
            raise
        finally:
            usages = _usages(self.group, result)
            with self.state.write() as db:
                run_usage.keep(db, number, usages)
                db.execute(
                    schema.runs.update()
                    .where(schema.runs.c.number == number)
                    .values(
                        ended_at=self.clock.now(),
                        outcome=outcome,
                        records=result.writes if result is not None else 0,
                        error=error,
                        requests=sum(one.requests for one in used),
                        waited_seconds=sum(one.waited_seconds for one in used),
                    )
                )
            seconds = self.clock.monotonic() - began
            self._tell(number, command, outcome, failure, usages, result, seconds)

    def _tell(
        self,
        number: int,
        command: str,
        outcome: str,
        failure: str | None,
        usages: Sequence[run_usage.RunUsage],
        result: SyncResult | None,
        seconds: float,
    ) -> None:
        """Tell the observer how a run ended."""
        name = self.group.name
        for one in usages:
            self._observer.event(
                "written", run=number, sync=name, connection=one.connection, created=one.created,
                updated=one.updated, deleted=one.deleted, held=one.held, refused=one.refused,
                unknown=one.unknown, requests=one.requests, waited=round(one.waited_seconds, 3),
            )  # fmt: skip
        self._observer.event(
            "run_end" if failure is None else "run_failed", run=number, command=command, sync=name,
            status=outcome, error=failure, writes=result.writes if result is not None else None,
            held=sum(one.held for one in usages), requests=sum(one.requests for one in usages),
            waited=round(sum(one.waited_seconds for one in usages), 3), seconds=round(seconds, 3),
        )  # fmt: skip


def _usages(group: Group, result: SyncResult | None) -> list[run_usage.RunUsage]:
    """What a run did and used in each CRM; what waits between several of them has no name."""
    held = Counter(one.connection for one in result.held if one.kind not in QUIET) if result else Counter()
    found: list[run_usage.RunUsage] = []
    for connection, member in group.members.items():
        tally = result.tallies.get(connection) if result is not None else None
        usage = run_usage.RunUsage(connection, held=held.pop(connection, 0))
        for name in run_usage.OUTCOMES:
            setattr(usage, name, tally.counts[name] if tally is not None else 0)
        found.append(usage.used(member.connector.context.usage))
    rest = sum(held.values())
    return [*found, run_usage.RunUsage("", held=rest)] if rest else found


def _look_again(result: SyncResult) -> None:
    """What moved under the first round is planned again by the second, which tells what became of it."""
    for tally in result.tallies.values():
        stale = tally.counts.pop("stale", 0) + tally.counts.pop("blocked", 0)
        tally.total -= stale
        result.writes -= stale
        tally.moved.clear()
        tally.notes = [note for note in tally.notes if not note.endswith(LEFT_ALONE)]
