"""A memory CRM that misbehaves as real ones do, on a clock that only tests move.

Answers are lost before and after the commit, commits come late and over later edits, lists
and look-ups trail behind, values are normalised, users edit between any two calls, and the
process is killed at any statement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any

from crmkit.connectors.base import Page
from crmkit.connectors.memory import Memory, MemoryConnector, _updates
from crmkit.connectors.walk import pack, unpack
from crmkit.connectors.writing import Act, Change, Keys, Lookup, Result, Written
from crmkit.errors import NetworkFault
from crmkit.model import AnyRecord, Deal, Kind, Ref, Tombstone, Workspace
from tests.connectors.conftest import FakeClock

IN_FLIGHT_SECONDS = 300.0
FATES = ("done", "lost before", "lost after", "late", "unsent", "cut")


class Killed(BaseException):
    """The process is gone: nothing after this line runs."""


@dataclass
class Fuse:
    """Kills the process at its n-th step; steps are SQL statements, commits and calls to a CRM."""

    left: int | None = None
    blown: bool = False
    steps: int = 0

    def touch(self, *_event: Any) -> None:
        self.steps += 1
        if self.blown:
            raise Killed
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.blown = True
                raise Killed

    def reset(self) -> None:
        self.left, self.blown = None, False


@dataclass
class Ticking(FakeClock):
    """A clock on which every look takes a millisecond, so that no two things happen at once."""

    def __init__(self) -> None:
        super().__init__()

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Entry:
    """One line of a CRM's own log."""

    ref: Ref
    state: AnyRecord | Tombstone
    at: datetime


@dataclass
class Late:
    """A request whose client gave up, and which the server will carry out all the same."""

    change: Change
    at: datetime


@dataclass
class Behaviour:
    """How one CRM misbehaves.

    Attributes:
        list_lag: How many seconds its lists trail behind, at most.
        find_lag: How many seconds its look-up by key trails behind, at most.
        unique_keys: Whether it refuses a second record with the same key.
        answers: What a write's answer shows: record, version or nothing.
        whole_amounts: Whether it rounds amounts.
        fates: What becomes of the next writes; done, once they are used up.
        refused: Names that it refuses to store.
        late_seconds: How long a late commit takes.
        random: Where lags come from.
    """

    list_lag: float = 0.0
    find_lag: float = 0.0
    unique_keys: bool = True
    answers: str = "record"
    whole_amounts: bool = False
    fates: deque[str] = field(default_factory=deque)
    refused: set[str] = field(default_factory=set)
    late_seconds: deque[float] = field(default_factory=deque)
    random: Random = field(default_factory=lambda: Random(0))

    def heal(self) -> None:
        self.fates.clear()
        self.refused.clear()
        self.late_seconds.clear()


class FaultyMemory(Memory):
    """The records of one workspace, with the time of every change."""

    def __init__(self, workspace: Workspace, clock: FakeClock, behaviour: Behaviour) -> None:
        super().__init__(workspace, unique_keys=behaviour.unique_keys)
        self.clock = clock
        self.behaviour = behaviour
        self.entries: dict[Ref, list[Entry]] = {}
        self.late: list[Late] = []
        self.landed: Callable[[Change, AnyRecord | None], None] = lambda change, before: None
        self.name = workspace.name

    def _log(self, ref: Ref, entry: AnyRecord | Tombstone) -> None:
        super()._log(ref, entry)
        self.entries.setdefault(ref, []).append(Entry(ref, entry, self.clock.now()))

    def visible(self, ref: Ref, lag: float) -> AnyRecord | Tombstone | None:
        """What an index shows of a record: each change appears some time within the lag."""
        now = self.clock.now()
        for entry in reversed(self.entries[ref]):
            if entry.at + timedelta(seconds=self.behaviour.random.uniform(0, lag)) <= now:
                return entry.state
        return None

    def settle(self) -> None:
        """Carry out what was late and is due by now."""
        due = [one for one in self.late if one.at <= self.clock.now()]
        self.late = [one for one in self.late if one not in due]
        for one in sorted(due, key=lambda each: each.at):
            self.commit(one.change)

    def normal(self, record: Any) -> Any:
        """A record as this CRM stores it."""
        values = _normal(vars(record), self.behaviour)
        return record.model_copy(update=values) if values else record

    def commit(self, change: Change) -> Written:
        """Carry out one change."""
        if change.act is Act.CREATE:
            return self._create(change)
        current = self._now.get(change.ref) if change.ref else None
        if current is None or isinstance(current, Tombstone):
            return Written(change.id, Result.GONE)
        self.landed(change, current)
        if change.act is Act.DELETE:
            self.remove(current.ref)
            return Written(change.id, Result.DONE, current.ref)
        return self._store(change, current.model_copy(update=_updates(current, change.values)))

    def _create(self, change: Change) -> Written:
        there = self.carrying(change.kind, change.key) if change.key else []
        if self.unique_keys and there:
            return Written(change.id, Result.EXISTS, there[0], reason="the key is taken")
        self.landed(change, None)
        ref = self.new_ref(self.name, change.kind)
        values = {name: value for name, value in change.values.items() if not name.startswith("custom.")}
        return self._store(change, Deal(ref=ref, key=change.key, **values))

    def _store(self, change: Change, record: Any) -> Written:
        record = self.normal(record).model_copy(
            update={"version": self.version(), "modified_at": self.clock.now()}
        )
        self.put(record)
        answers = self.behaviour.answers
        return Written(
            change.id,
            Result.DONE,
            record.ref,
            record.version if answers != "nothing" else None,
            record if answers == "record" else None,
        )


class FaultyConnector(MemoryConnector):
    """Reaches a faulty CRM.

    Attributes:
        fuse: Kills the process.
        between: Called before each call with what is about to happen; users edit there.
        asked: Called with every change right before it is sent.
        shown: Called with every record that is handed out.
    """

    memory: FaultyMemory
    fuse: Fuse
    between: Callable[[str], None]
    asked: Callable[[Change], None]
    shown: Callable[[AnyRecord], None]

    def equip(
        self,
        fuse: Fuse,
        between: Callable[[str], None],
        asked: Callable[[Change], None],
        shown: Callable[[AnyRecord], None],
    ) -> None:
        """Take over everything that this connector does not bring along by itself."""
        self.fuse, self.between, self.asked, self.shown = fuse, between, asked, shown
        behaviour = self.memory.behaviour
        keys = Keys.UNIQUE if behaviour.unique_keys else Keys.SEARCHABLE
        writing = {
            kind: replace(one, keys=keys, answers_record=behaviour.answers == "record")
            for kind, one in type(self).capabilities.writing.items()
        }
        self.capabilities = replace(  # type: ignore[misc]  # per CRM, not per class
            type(self).capabilities,
            writing=writing,
            find_lag_seconds=behaviour.find_lag,
            search_lag_seconds=behaviour.list_lag,
        )

    def _enter(self, what: str) -> None:
        self.fuse.touch()
        self.memory.settle()
        self.between(what)

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        self._enter("list")
        behaviour = self.memory.behaviour
        lo = datetime.fromisoformat(unpack(since)["at"]) if since else None
        at = self.memory.clock.now()
        overlap = timedelta(seconds=behaviour.list_lag + self.overlap_seconds)
        records: list[AnyRecord] = []
        stones: list[Tombstone] = []
        for ref, entries in list(self.memory.entries.items()):
            if ref.kind is not kind or (lo is not None and entries[-1].at < lo - overlap):
                continue
            state = self.memory.visible(ref, behaviour.list_lag)
            if isinstance(state, Tombstone):
                stones.append(state)
            elif state is not None:
                records.append(state)
                self.shown(state)
        behaviour.random.shuffle(records)
        yield Page(records, stones, cursor=pack({"at": at.isoformat()}), last=True, whole=since is None)

    overlap_seconds = 5.0

    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        self._enter("get")
        found = super().get(refs)
        for record in found:
            self.shown(record)
        return found

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        self._enter("find")
        lag = self.memory.behaviour.find_lag
        now, random = self.memory.clock.now(), self.memory.behaviour.random
        return {
            key: seen
            for key, refs in super().find(lookups).items()
            if (
                seen := [
                    ref
                    for ref in refs
                    if self.memory.entries[ref][0].at + timedelta(seconds=random.uniform(0, lag)) <= now
                ]
            )
        }

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        self._enter("write")
        for change in changes:
            self.asked(change)
            self.fuse.touch()
            yield [self._carry_out(change)]
            self.fuse.touch()

    def _carry_out(self, change: Change) -> Written:
        behaviour, memory = self.memory.behaviour, self.memory
        if change.values.get("name") in behaviour.refused:
            return Written(change.id, Result.REJECTED, field="name", reason="refused")
        fate = behaviour.fates.popleft() if behaviour.fates else "done"
        if fate == "unsent":
            return Written(change.id, Result.UNSENT, reason="rate limit")
        if fate == "lost before":
            return Written(change.id, Result.UNKNOWN, reason="timed out")
        if fate == "late":
            wait = behaviour.late_seconds.popleft() if behaviour.late_seconds else 60.0
            memory.late.append(Late(change, memory.clock.now() + timedelta(seconds=wait)))
            return Written(change.id, Result.UNKNOWN, reason="timed out")
        done = memory.commit(change)
        self.fuse.touch()
        if fate == "cut":
            raise NetworkFault(f"{self.context.connection}: connection reset")
        if fate == "lost after":
            return Written(change.id, Result.UNKNOWN, reason="timed out")
        if done.record is not None:
            self.shown(done.record)
        return done

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**values, **_normal(values, self.memory.behaviour)}


def _normal(values: Mapping[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    """What the CRM changes by itself: blanks around names, cents."""
    changed: dict[str, Any] = {}
    if isinstance(values.get("name"), str):
        changed["name"] = values["name"].strip()
    if behaviour.whole_amounts and values.get("amount") is not None:
        changed["amount"] = values["amount"].quantize(Decimal(1), ROUND_HALF_UP)
    return changed
