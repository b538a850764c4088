"""Make what the target lacks: pipelines, stages and custom fields; the rest goes on a checklist.

Each is looked up before it is made, and its intent is written down before the call: a
pipeline whose answer never came may still appear, so it is waited for and looked up, never
made again at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from crmkit.connectors.base import Connector
from crmkit.connectors.clock import Clock
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import CrmkitError, OutcomeUnknown, Rejected, Unsupported
from crmkit.migration.compile import Migration
from crmkit.migration.structure import FRESH, FieldPlace, PipelinePlace, StagePlace, Way
from crmkit.model import Kind, Pipeline, Ref
from crmkit.sync.hub import Hub, Intent, JournalEntry
from crmkit.sync.lease import Lease
from crmkit.sync.state import State

T = TypeVar("T")


@dataclass(slots=True)
class Built:
    """What was made, and what a person has to make.

    Attributes:
        made: In words, one line each.
        checklist: What to click, one line each.
    """

    made: list[str] = field(default_factory=list)
    checklist: list[str] = field(default_factory=list)


def checklist(migration: Migration) -> list[str]:
    """What a person has to make in the target, one line each, in the order of the clicks."""
    structure = migration.structure
    lines: list[str] = []
    for line in structure.pipelines:
        if line.way is Way.BY_HAND and line.target is not None:
            stages = ", ".join(repr(stage.name) for stage in line.target.stages)
            why = f" ({line.reason})" if line.reason else ""
            lines.append(f"make the pipeline {line.target.name!r} with the stages {stages}{why}")
    whole = {line.source.ref for line in structure.pipelines if line.way is Way.BY_HAND}
    lines += [
        f"add the stage {one.target.name!r} ({one.source.outcome}) to the pipeline that takes "
        f"{one.pipeline.name!r}"
        + (f" ({one.reason}; or name another stage under `stages`)" if one.reason else "")
        for one in structure.stages
        if one.way is Way.BY_HAND and one.pipeline.ref not in whole and one.target is not None
    ]
    lines += [
        f"make a {one.kind} field {one.source.label!r} ({one.source.type})"
        for one in structure.fields
        if one.way is Way.BY_HAND
    ]
    return lines


class Builder:
    """Makes what the target lacks.

    Args:
        migration: The migration.
        state: The open store.
        lease: The migration's lease.
        clock: Where time comes from.
        run: Number of the run.
        look: Reads what the target has now, and gives the migration that follows from it.
    """

    def __init__(
        self,
        migration: Migration,
        state: State,
        lease: Lease,
        clock: Clock,
        run: int,
        look: Callable[[], Migration],
    ) -> None:
        self._migration = migration
        self._look = look
        self._state = state
        self._lease = lease
        self._clock = clock
        self._run = run
        self._hub = Hub(f"{migration.group.name}/structure")
        self._connector: Connector = migration.group.members[migration.target].connector
        self.built = Built(checklist=checklist(migration))

    def run(self) -> Built:
        """Make everything that can be made.

        Raises:
            OutcomeUnknown: An earlier creation of a pipeline may still appear.
            Rejected: The target refuses a pipeline or field; the message says which.
        """
        self._look_back()
        structure = self._migration.structure
        for line in structure.pipelines:
            if line.way is Way.CREATE:
                self._make_pipeline(line)
        for line in {one.target.ref: one for one in structure.pipelines if one.target is not None}.values():
            # Several pipelines of the source may go to one: it gets the new stages of all of them.
            sources = {one.source.ref for one in structure.pipelines if one.target == line.target}
            added = [one for one in structure.stages if one.pipeline.ref in sources]
            if line.way is Way.SAME and any(one.way is Way.CREATE for one in added):
                self._add_stages(line, added)
        for one in (*structure.fields, *self._migration.stamp_fields):
            if one.way is Way.CREATE:
                self._make_field(one)
        return self.built

    def _look_back(self) -> None:
        """What an earlier run left open: everything that landed is in the target's lists by now."""
        with self._state.read() as db:
            entries = self._hub.intents(db)
        waits = [one for one in entries if self._may_land(one)]
        if waits:
            last = max(one.sent_at for one in waits) + self._wait
            minutes = max(1, round((last - self._clock.now()).total_seconds() / 60))
            raise OutcomeUnknown(
                f"{self._connector.context.connection}: whether {waits[0].kind} "
                f"{waits[0].rules.get('name', '')!r} was made is not known yet",
                hint=f"Run this again in {minutes} minutes; it looks before it makes anything.",
            )
        with self._state.write() as db:
            self._lease.guard(db)
            for one in entries:
                self._hub.journal_end(db, one.id, Intent.DROPPED, self._clock.now(), reason="looked up again")
        if any(one.kind is Kind.PIPELINE for one in entries):
            # It may have landed after this run read the target, which can take longer than the wait.
            self._migration = self._look()
            self.built.checklist = checklist(self._migration)

    @property
    def _wait(self) -> timedelta:
        return timedelta(seconds=self._migration.group.settings.in_flight_seconds)

    def _may_land(self, entry: JournalEntry) -> bool:
        # Making a field looks first each time; a pipeline has nothing to be known by but its name.
        return entry.kind is Kind.PIPELINE and self._clock.now() < entry.sent_at + self._wait

    def _make_pipeline(self, line: PipelinePlace) -> None:
        assert line.target is not None
        values = {"name": line.target.name, "stages": line.target.stages}
        change = Change("pipeline", Act.CREATE, Kind.PIPELINE, None, values)
        self._write(change, line.source.ref.id, line.target.name)
        self.built.made.append(f"pipeline {line.target.name!r} with {len(line.target.stages)} stages")

    def _add_stages(self, line: PipelinePlace, places: Sequence[StagePlace]) -> None:
        assert line.target is not None
        target: Pipeline = line.target
        ref = Ref(self._connector.context.connection, Kind.PIPELINE, target.ref.id)
        change = Change("stages", Act.UPDATE, Kind.PIPELINE, ref, {"stages": target.stages})
        self._write(change, line.source.ref.id, target.name)
        new = [one.target.name for one in places if one.way is Way.CREATE and one.target is not None]
        self.built.made.append(f"stages of {target.name!r}: {', '.join(map(repr, new))}")

    def _write(self, change: Change, native: str, name: str) -> None:
        def send() -> Written:
            return next(one for some in self._connector.write([change]) for one in some)

        outcome = self._journalled(Kind.PIPELINE, change.act, native, name, send)
        if outcome.result is Result.UNKNOWN:
            raise OutcomeUnknown(
                f"whether the pipeline {name!r} was made is not known: {outcome.reason}",
                hint="Run this again in some minutes; it looks before it makes anything.",
            )
        if outcome.result not in (Result.DONE, Result.EXISTS) or outcome.unwritten:
            reason = outcome.reason or "; ".join(outcome.unwritten.values()) or str(outcome.result)
            raise Rejected(
                f"the target does not take the pipeline {name!r}: {reason}",
                hint="Make it by hand, or name another one under `pipelines` of the migration.",
            )

    def _make_field(self, place: FieldPlace) -> None:
        assert place.target is not None
        wanted = place.target
        plain = type(wanted)(
            wanted.id.removeprefix(FRESH), wanted.label, wanted.type, custom=True,
            max_length=wanted.max_length, options=wanted.options,
        )  # fmt: skip
        try:
            made = self._journalled(
                place.kind, Act.CREATE, f"field:{place.source.id}", wanted.label,
                lambda: self._connector.create_field(place.kind, plain),
            )  # fmt: skip
        except (Rejected, Unsupported) as error:
            # One field keeps nothing else away: without it, the note about the past tells its values.
            self.built.checklist.append(
                f"make a {place.kind} field {wanted.label!r} ({wanted.type}), which the API refused: {error}"
            )
            return
        self.built.made.append(f"{place.kind} field {made.label!r} ({made.type})")

    def _journalled(self, kind: Kind, act: Act, native: str, name: str, send: Callable[[], T]) -> T:
        """Do one thing with its intent before it and its outcome after it."""
        now: datetime = self._clock.now()
        entity = self._migration.group.entity_id(self._migration.source, kind, native)
        entry = JournalEntry(
            f"{self._run}:{entity}", self._run, self._migration.target, kind, act.value, entity, None, None,
            None, {}, {}, {"name": name}, Intent.SENT, now,
        )  # fmt: skip
        with self._state.write() as db:
            self._lease.guard(db)
            self._hub.journal_add(db, [entry], self._lease.epoch)
        try:
            answer = send()
        except CrmkitError as error:
            unknown = isinstance(error, OutcomeUnknown)
            self._end(entry, Intent.UNKNOWN if unknown else Intent.FAILED, str(error)[:500])
            raise
        unknown = isinstance(answer, Written) and answer.result is Result.UNKNOWN
        self._end(entry, Intent.UNKNOWN if unknown else Intent.ACKED, None)
        return answer

    def _end(self, entry: JournalEntry, state: Intent, reason: str | None) -> None:
        with self._state.write() as db:
            self._lease.guard(db)
            self._hub.journal_end(db, entry.id, state, self._clock.now(), reason=reason)
