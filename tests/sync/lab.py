"""Faulty CRMs with users, a sync over them, and a ledger of who was shown what.

The ledger is how a lost update is found: every edit writes a value that nobody wrote before,
and remembers which value its editor saw.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.base import Context
from crmkit.connectors.writing import Act, Change
from crmkit.mapping.fields import Unmapped
from crmkit.mapping.resolve import resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import AnyRecord, Deal, Kind, Owner, Pipeline, Ref, Stage, Tombstone, Workspace
from crmkit.sync import tables
from crmkit.sync.group import Group, compile_group, digest8
from crmkit.sync.hub import Status
from crmkit.sync.plan import PlanFile
from crmkit.sync.pull import Pull
from crmkit.sync.run import SyncResult, SyncRun
from crmkit.sync.state import State
from crmkit.sync_settings import Role, SyncSettings
from tests.connectors.conftest import FakeSecrets
from tests.sync.engine import STAGES
from tests.sync.faulty import (
    IN_FLIGHT_SECONDS,
    Behaviour,
    FaultyConnector,
    FaultyMemory,
    Fuse,
    Killed,
    Ticking,
)

FIELDS = ("name", "stage", "amount", "expected_close")
TOLD = ("name", "amount", "expected_close")  # every edit of these writes a value of its own
EVERYTHING = {
    "creates": 10**9,
    "deletes": 10**9,
    "settings": 1,
    **{f"field.{name}": 10**9 for name in FIELDS},
}
RAM = Path("/dev/shm")
Token = tuple[str, int]
_FIRST_DAY = date(2000, 1, 1)
_STAGE = {id: outcome for id, (_, _, outcome) in STAGES.items()}


def named(number: int) -> str:
    """A deal name that is like no other."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:14]


@dataclass
class Ledger:
    """Edits, what their editors saw, and what the sync was shown."""

    last: int = 0
    parent: dict[Token, Token | None] = field(default_factory=dict)
    at: dict[Token, str] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    seen: set[Token] = field(default_factory=set)
    gap: set[Token] = field(default_factory=set)
    excused: set[Token] = field(default_factory=set)
    deleted: set[Token] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def value(self, name: str, *, cents: bool) -> Any:
        """A new value of a field."""
        self.last += 1
        if name == "name":
            self.names[named(self.last)] = self.last
            return f"{named(self.last)} " if self.last % 3 == 0 else named(self.last)
        if name == "amount":
            return Decimal(f"{self.last}.25") if cents else Decimal(self.last)
        return _FIRST_DAY + timedelta(days=self.last)

    def token(self, name: str, value: Any) -> Token | None:
        """The edit that wrote a value."""
        if value is None:
            return None
        if name == "name":
            return (name, self.names[value.strip()])
        return (name, int(value) if name == "amount" else (value - _FIRST_DAY).days)

    def tokens(self, record: AnyRecord) -> dict[str, Token]:
        """The edits that a record shows, by field."""
        if not isinstance(record, Deal):
            return {}
        found = {name: self.token(name, getattr(record, name)) for name in TOLD}
        return {name: token for name, token in found.items() if token is not None}

    def history(self, token: Token | None) -> set[Token]:
        """An edit and everything that its editor had been shown, and so on."""
        found: set[Token] = set()
        while token is not None and token not in found:
            found.add(token)
            token = self.parent.get(token)
        return found

    def excuse(self, token: Token | None) -> None:
        """An edit that nobody could have read before it was overwritten."""
        while token is not None and token not in self.seen:
            self.excused.add(token)
            token = self.parent.get(token)

    def dominated(self) -> set[Token]:
        """Edits that somebody replaced after seeing them."""
        found: set[Token] = set()
        for token, shown in self.parent.items():
            if token not in self.excused:
                found |= self.history(shown)
        return found


class LabBox:
    """One CRM and its users."""

    def __init__(self, name: str, clock: Ticking, behaviour: Behaviour, ledger: Ledger) -> None:
        self.name, self.clock, self.behaviour, self.ledger = name, clock, behaviour, ledger
        workspace = Workspace(id=f"account-{name}", name=name, time_zone="UTC")
        self.memory = FaultyMemory(workspace, clock, behaviour)
        self.memory.landed = self._landed
        stages = tuple(
            Stage(id=id, name=label, order=order, outcome=outcome)
            for order, (id, (label, _, outcome)) in enumerate(STAGES.items())
        )
        self.memory.put(Pipeline(ref=Ref(name, Kind.PIPELINE, "p"), name="Sales", stages=stages))
        self.memory.put(Owner(ref=Ref(name, Kind.OWNER, "ann"), name="Ann", email="ann@x.test"))
        self.writing = False
        self.is_linked: Callable[[Ref], bool] = lambda ref: False
        self.made = 0
        self.clones: set[str] = set()
        self.dead_keys: set[str] = set()

    # What is there

    def deals(self) -> dict[str, Deal]:
        return {
            ref.id: entry
            for ref, entry in self.memory.now().items()
            if isinstance(entry, Deal) and not entry.archived
        }

    def pick(self, number: int) -> Deal | None:
        deals = sorted(self.deals().items())
        return deals[number % len(deals)][1] if deals else None

    # What users do

    def create(self, **values: Any) -> Deal:
        self.made += 1
        ref = Ref(self.name, Kind.DEAL, f"{self.name}{self.made}")
        fields = {name: self.ledger.value(name, cents=not self.behaviour.whole_amounts) for name in TOLD}
        record = Deal(
            **{"ref": ref, "pipeline_id": "p", "stage_id": "s1", "currency": "EUR", **fields, **values}
        )
        return self._save(record, None)

    def edit(self, deal: Deal, name: str, stage: str = "s2") -> Deal | None:
        current = self.memory.now().get(deal.ref)
        if not isinstance(current, Deal):
            return None
        if name == "stage":
            values: dict[str, Any] = {"stage_id": stage, "outcome": _STAGE[stage]}
        else:
            values = {name: self.ledger.value(name, cents=not self.behaviour.whole_amounts)}
        return self._save(current.model_copy(update=values), current)

    def _save(self, record: Deal, before: Deal | None) -> Deal:
        record = self.memory.normal(record)
        record = record.model_copy(update={"version": self.memory.version(), "modified_at": self.clock.now()})
        old = self.ledger.tokens(before) if before is not None else {}
        open_late = any(late.change.ref == record.ref for late in self.memory.late)
        for name, token in self.ledger.tokens(record).items():
            if token == old.get(name):
                continue
            self.ledger.parent[token] = old.get(name)
            self.ledger.at[token] = self.name
            if self.writing or open_late:
                self.ledger.gap.add(token)
        self.memory.put(record)
        return record

    def delete(self, deal: Deal, group8: str) -> None:
        self._forget(deal, group8)
        self.memory.remove(deal.ref)

    def archive(self, deal: Deal, group8: str) -> None:
        self._forget(deal, group8)
        stamp = {"archived": True, "version": self.memory.version(), "modified_at": self.clock.now()}
        self.memory.put(deal.model_copy(update=stamp))

    def _forget(self, deal: Deal, group8: str) -> None:
        for token in self.ledger.tokens(deal).values():
            self.ledger.deleted |= self.ledger.history(token)
        # What the sync never linked it cannot know to be gone.
        if deal.ref.id not in self.clones and self.is_linked(deal.ref):
            self.dead_keys.add(deal.key or f"ck1:{group8}:{self.spoke}:deal:{deal.ref.id}")

    def merge(self, loser: Deal, winner: Deal, *, third: bool) -> None:
        if third:
            self.made += 1
            ref = Ref(self.name, Kind.DEAL, f"{self.name}{self.made}")
            stamp = {"ref": ref, "version": self.memory.version(), "modified_at": self.clock.now()}
            self.memory.put(winner.model_copy(update=stamp))
            self.memory.remove(winner.ref, merged_into=ref.id)
            self.memory.remove(loser.ref, merged_into=ref.id)
        else:
            self.memory.remove(loser.ref, merged_into=winner.ref.id)

    def clone(self, deal: Deal) -> None:
        copy = self.create(key=None if self.behaviour.unique_keys else deal.key)
        if copy.key is not None:
            self.clones.add(copy.ref.id)

    @property
    def spoke(self) -> str:
        return digest8(f"memory:account-{self.name}")

    # What the sync does here

    def _landed(self, change: Change, before: AnyRecord | None) -> None:
        if before is None:
            return
        for name, token in self.ledger.tokens(before).items():
            if change.act is Act.UPDATE:
                if name not in change.values or self.ledger.token(name, change.values[name]) == token:
                    continue
                if token in self.ledger.seen:
                    continue
                if token in self.ledger.gap:
                    self.ledger.excuse(token)
                else:
                    self.ledger.problems.append(f"overwrote {token} in {self.name} without looking")
            elif token not in self.ledger.deleted and token not in self.ledger.gap:
                self.ledger.problems.append(f"deleted {token} in {self.name}, which no deleter had seen")


@dataclass
class Faults:
    """What goes wrong in one run.

    Attributes:
        fates: Per CRM, what becomes of its next writes.
        late_seconds: How long late commits take.
        kill_after: After how many steps the process dies.
        edits: What users do right before a call: (CRM, call) to an action.
        after_pull: What users do between pull and plan.
    """

    fates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    late_seconds: Sequence[float] = ()
    kill_after: int | None = None
    edits: dict[tuple[str, str], Callable[[], None]] = field(default_factory=dict)
    after_pull: Callable[[], None] = lambda: None


class Lab:
    """Faulty CRMs, their users, and a sync.

    Args:
        folder: Where the state store lives; a RAM disk is fine, nothing is ever lost in these tests.
        template: An empty state store to start from.
        behaviours: Per CRM.
        settings: Of the sync.
    """

    def __init__(
        self, folder: Path, template: Path, behaviours: Mapping[str, Behaviour], settings: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self.template = template
        self.clock = Ticking()
        self.fuse = Fuse()
        self.ledger = Ledger()
        self.boxes = {
            name: LabBox(name, self.clock, behaviour, self.ledger) for name, behaviour in behaviours.items()
        }
        guards = {"creates": 10**6, "deletes": 10**6}
        self.settings = SyncSettings.model_validate(
            {"members": list(behaviours), "fields": FIELDS, "guards": guards,
             "in_flight_seconds": IN_FLIGHT_SECONDS, **settings}
        )  # fmt: skip
        config = {"Sales": {label: common for label, common, _ in STAGES.values()}}
        self.maps: dict[str, StageMap] = {
            name: resolve(
                config,
                [one for one in box.memory.now().values() if isinstance(one, Pipeline)],
                DEFAULT_OUTLINE,
                connection=name,
            )[0]
            for name, box in self.boxes.items()
        }
        for box in self.boxes.values():
            box.is_linked = self.is_linked
        self.faults = Faults()
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.quiet = False
        self.backup: Path | None = None
        self.path = folder / "state.db"
        self._open(fresh=True)

    # The state store

    def _open(self, *, fresh: bool = False, copy: Path | None = None) -> None:
        if fresh or copy is not None:
            for old in self.folder.glob("state.db*"):
                old.unlink()
            shutil.copy(copy or self.template, self.path)
        self.state = State(f"sqlite:///{self.path}")
        sa.event.listen(self.state.engine, "before_cursor_execute", self._touch)
        sa.event.listen(self.state.engine, "commit", self._touch)
        self.fresh = fresh

    def _touch(self, *_event: Any) -> None:
        if not self.quiet:
            self.fuse.touch()

    def close(self) -> None:
        self.state.close()

    def lose_state(self) -> None:
        self.state.close()
        self._open(fresh=True)
        self._nothing_is_known()

    def keep_backup(self) -> None:
        with self.state.engine.connect() as db:
            db.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.backup = self.folder / "backup.db"
        shutil.copy(self.path, self.backup)

    def restore_backup(self) -> None:
        if self.backup is None:
            return
        self.state.close()
        self._open(copy=self.backup)
        self._nothing_is_known()

    def is_linked(self, ref: Ref) -> bool:
        """Whether the sync knows a record."""
        links = tables.links.c
        query = sa.select(links.entity).where(links.connection == ref.connection, links.native_id == ref.id)
        quiet, self.quiet = self.quiet, True
        with self.state.read() as db:
            found = db.execute(query).first()
        self.quiet = quiet
        return found is not None

    def _nothing_is_known(self) -> None:
        """What a person does before the next run after the state was lost: wait; bases are unknown now."""
        self.advance(IN_FLIGHT_SECONDS + self.lag + 60)
        self.ledger.excused |= set(self.ledger.parent)
        for box in self.boxes.values():
            box.dead_keys.clear()

    # Running

    @property
    def lag(self) -> float:
        return max(max(box.behaviour.list_lag, box.behaviour.find_lag) for box in self.boxes.values())

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for box in self.boxes.values():
            box.memory.settle()

    def connect(self, name: str) -> FaultyConnector:
        box = self.boxes[name]
        connector = FaultyConnector(Context(name, FakeSecrets(), clock=self.clock), memory=box.memory)
        connector.equip(
            self.fuse,
            lambda what: self._between(box, what),
            lambda change: self._asked(box, change),
            lambda record: self.ledger.seen.update(self.ledger.tokens(record).values()),
        )
        return connector

    def _between(self, box: LabBox, what: str) -> None:
        action = self.faults.edits.pop((box.name, what), None)
        if action is not None:
            box.writing = what == "write"
            action()
            box.writing = False

    def _asked(self, box: LabBox, change: Change) -> None:
        """Every request has an older intent that is stored, and no other request of its record is open."""
        journal = tables.journal.c
        target = journal.marker == change.key if change.ref is None else journal.native_id == change.ref.id
        query = sa.select(sa.func.count()).where(
            journal.connection == box.name, journal.state == "sent", journal.act == change.act.value, target
        )
        self.quiet = True
        with self.state.read() as db:
            intents = db.execute(query).scalar()
        self.quiet = False
        if intents != 1:
            self.ledger.problems.append(f"{change.act} in {box.name} with {intents} stored intents")
        for late in box.memory.late:
            if late.change.ref == change.ref and late.change.key == change.key:
                self.ledger.problems.append(f"{change.act} in {box.name} while another one is under way")
        self.requests[box.name, change.act.value, change.key or str(change.ref)] += 1

    def group(self) -> Group:
        connectors = {name: self.connect(name) for name in self.boxes}
        return compile_group("main", self.settings, connectors, self.maps, self.state)

    def pull(self) -> None:
        kinds = (Kind.PIPELINE, Kind.OWNER, Kind.DEAL) if self.fresh else (Kind.DEAL,)
        for name in self.boxes:
            result = Pull(self.state, self.connect(name), kinds=kinds).run()
            assert result.error is None, result.error
        self.fresh = False

    def sync(self, faults: Faults | None = None) -> SyncResult | None:
        """Pull, plan, write; `None` if the process was killed."""
        return self._run(faults, lambda run: run.sync(EVERYTHING))

    def plan(self) -> PlanFile | None:
        """Pull and plan; nothing may be written."""
        file = self._run(None, lambda run: run.plan()[1])
        assert not self.requests
        return file

    def apply(self, file: PlanFile, faults: Faults | None = None) -> SyncResult | None:
        """Carry out a saved plan."""
        return self._run(faults, lambda run: run.apply(file, EVERYTHING), pull=False)

    def resume(self) -> SyncResult | None:
        """Plan and write from the local copy as it is."""
        return self._run(None, lambda run: run.sync(EVERYTHING), pull=False)

    def _run(self, faults: Faults | None, act: Callable[[SyncRun], Any], *, pull: bool = True) -> Any:
        self.faults = faults or Faults()
        for name, fates in self.faults.fates.items():
            self.boxes[name].behaviour.fates.extend(fates)
            self.boxes[name].behaviour.late_seconds.extend(self.faults.late_seconds)
        self.fuse.left = self.faults.kill_after
        self.requests.clear()
        try:
            if pull:
                self.pull()
            self.faults.after_pull()
            return act(SyncRun(self.group(), self.state, self.clock))
        except Killed:
            self.fuse.reset()
            self.state.close()
            fresh = self.fresh
            self._open()
            self.fresh = fresh
            return None
        finally:
            self.fuse.reset()
            self.faults = Faults()
            for box in self.boxes.values():
                box.behaviour.heal()

    # What must hold in the end

    def settle(self) -> list[SyncResult]:
        """Faults have stopped: three runs far enough apart."""
        results = []
        for _ in range(3):
            self.advance(IN_FLIGHT_SECONDS + self.lag + 60)
            result = self.sync()
            assert result is not None
            results.append(result)
        return results

    def check(self) -> None:
        """The invariants of sync-semantics 10, once everything is quiet."""
        assert not self.ledger.problems, self.ledger.problems
        self.settle()
        self.advance(IN_FLIGHT_SECONDS + self.lag + 60)
        file = self.plan()
        assert file is not None
        assert file.writes == [], "the CRMs are not in step after three quiet runs"
        held = file.held
        group = self.group()
        with self.state.read() as db:
            addresses = [*group.hub.addresses(db, Kind.DEAL)]
            entities = group.hub.entities(db, {entity for _, _, entity, _ in addresses})
            links = group.hub.links_of(db, set(entities))
        excused = {(one.entity, one.field) for one in held}
        doubtful = {one.label for one in held if one.kind in ("review", "foreign", "clone")}
        live = {(connection, native) for connection, native, _, status in addresses if status is Status.LIVE}
        for name, box in self.boxes.items():
            target = group.members[name].settings.role is Role.TARGET
            for native in box.deals():
                waits = native in doubtful or (target and (name, native) not in live)
                assert (name, native) in live or waits, f"{name}:{native} takes no part, and nobody was told"
        for id, entity in entities.items():
            there = {link.connection: link for link in links[id] if link.status is Status.LIVE}
            there = {name: link for name, link in there.items() if link.native_id in self.boxes[name].deals()}
            if entity.status is not Status.LIVE or not there:
                continue
            for name, box in self.boxes.items():
                self._check_member(group, entity, there, links[id], box, name, excused)
        if not any(group.members[name].settings.role is Role.TARGET for name in self.boxes):
            owner = {(connection, native): entity for connection, native, entity, _ in addresses}
            self._check_updates(doubtful, owner, excused)
        self._check_doubles(doubtful)
        assert not self.ledger.problems, self.ledger.problems

    def _check_member(self, group, entity, there, links, box, name, excused) -> None:
        if name not in there:
            gone = any(link.connection == name for link in links)
            reported = any(one == entity.id for one, _ in excused)
            assert gone or reported or not group.members[name].creates, f"{entity.id} is missing in {name}"
            return
        record = box.deals()[there[name].native_id]
        codec = group.members[name].codec
        for field_name in FIELDS:
            known = entity.hub.get(field_name)
            if (entity.id, field_name) in excused or (entity.id, None) in excused or known is None:
                continue
            native = codec.native(field_name, vars(record))
            value = codec.decode(field_name, native)
            projected = codec.project(field_name, known.value, native)
            local = group.members[name].settings.role is Role.TARGET and value != projected
            token = self.ledger.tokens(record).get(field_name)
            # After the state was lost nobody knows whose edit it was, and the rule decided.
            own = local and (
                field_name == "stage" or self.ledger.at.get(token) == name or there[name].rebuilt
            )
            assert own or isinstance(projected, Unmapped) or value == projected, (
                f"{field_name} of {entity.id} is {value} in {name}, but the group says {known.value}"
            )

    def _check_updates(self, doubtful: set[str], owner, excused) -> None:
        """No final value is one that somebody replaced after seeing it, unless it is held."""
        dominated = self.ledger.dominated() - self.ledger.excused
        for name, box in self.boxes.items():
            for native, record in box.deals().items():
                entity = owner.get((name, native))
                if native in doubtful or (entity, None) in excused:
                    continue
                for field_name, token in self.ledger.tokens(record).items():
                    held = (entity, field_name) in excused
                    assert held or token not in dominated, (
                        f"{name}:{native} shows {token}, which was replaced"
                    )

    def _check_doubles(self, doubtful: set[str]) -> None:
        recreate = self.settings.deletes.value == "recreate"
        for name, box in self.boxes.items():
            keys = Counter(
                deal.key for native, deal in box.deals().items() if native not in doubtful and deal.key
            )
            assert all(count == 1 for count in keys.values()), f"{name} holds two records with one key"
            if not recreate:
                risen = box.dead_keys & set(keys)
                assert not risen, f"{name} holds {risen} again, which was deleted there"

    def tombstoned(self) -> int:
        """How many records are gone."""
        return sum(
            isinstance(one, Tombstone) for box in self.boxes.values() for one in box.memory.now().values()
        )


@contextmanager
def ram_folder(otherwise: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: the store waits for the disk at every commit."""
    if not RAM.is_dir():
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=RAM, prefix="crmkit-") as folder:
        yield Path(folder)


def template(folder: Path) -> Path:
    """An empty state store to copy."""
    path = folder / "template.db"
    if not path.exists():
        state = State(f"sqlite:///{path}")
        with state.engine.connect() as db:
            db.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        state.close()
    return path


def behaviours(names: Sequence[str], seed: int = 0, **options: Any) -> dict[str, Behaviour]:
    """Well-behaved CRMs, or all with the same bad habits."""
    return {name: Behaviour(random=Random(f"{seed}{name}"), **options) for name in names}
