"""A sync over CRMs with users and faults, and what must hold in the end.

What the CRMs are is left to a subclass: `lab` has CRMs in memory, `sandbox_lab` sandbox CRMs.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy as sa

from crmkit.connectors.base import Connector
from crmkit.connectors.clock import Clock
from crmkit.mapping.custom import Unmapped
from crmkit.mapping.stages import StageMap
from crmkit.model import Deal, Kind, Ref
from crmkit.sync import tables
from crmkit.sync.group import Group, compile_group
from crmkit.sync.hub import Status
from crmkit.sync.lease import TIME_TO_LIVE
from crmkit.sync.plan import PlanFile
from crmkit.sync.run import SyncResult, SyncRun
from crmkit.sync.state import State
from crmkit.sync_settings import Role, SyncSettings
from tests.sync.faulty import IN_FLIGHT_SECONDS, Fuse, Killed
from tests.sync.ledger import Ledger
from tests.sync.stores import StoreFiles

FIELDS = ("name", "stage", "amount", "expected_close")
EVERYTHING = {
    "creates": 10**9,
    "deletes": 10**9,
    "settings": 1,
    **{f"field.{name}": 10**9 for name in (*FIELDS, "company", "contacts")},
}
RAM = Path("/dev/shm")
Journalled = Callable[[str, str, str | None, str | None], int]


class Crm(Protocol):
    """One CRM and its users.

    Attributes:
        name: Of the connection.
        dead_keys: Our keys of records that were deleted while they were linked.
    """

    name: str
    dead_keys: set[str]

    def deals(self) -> Mapping[str, Deal]:
        """The deals that take part, as the model has them."""

    def live_keys(self, doubtful: set[str]) -> Counter[str]:
        """How many live deals carry each of our keys, those in doubt left out."""


B = TypeVar("B", bound=Crm)
F = TypeVar("F")


class BaseLab(ABC, Generic[B, F]):
    """CRMs, their users, and a sync.

    Args:
        store: Where the state store lives.
        boxes: The CRMs.
        ledger: Who edited what.
        clock: The one clock of all.
        settings: Of the sync.
    """

    fields: tuple[str, ...] = FIELDS
    needs_a_whole_read = False  # to notice every deletion

    def __init__(
        self,
        store: StoreFiles,
        boxes: Mapping[str, B],
        ledger: Ledger,
        clock: Clock,
        settings: Mapping[str, Any],
    ) -> None:
        self.store = store
        self.boxes = dict(boxes)
        self.ledger = ledger
        self.clock = clock
        self.fuse = Fuse()
        guards = {"creates": 10**6, "deletes": 10**6}
        self.settings = SyncSettings.model_validate(
            {"members": list(boxes), "fields": self.fields, "guards": guards,
             "in_flight_seconds": IN_FLIGHT_SECONDS, **settings}
        )  # fmt: skip
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.quiet = False
        self.kept = False
        self._open(fresh=True)

    # What the CRMs are

    @property
    @abstractmethod
    def maps(self) -> Mapping[str, StageMap]:
        """The stage map of each CRM."""

    @property
    @abstractmethod
    def lag(self) -> float:
        """How many seconds any index may trail behind."""

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Let time pass, and what was under way arrive."""

    @abstractmethod
    def connect(self, name: str) -> Connector:
        """A new connection to a CRM."""

    @abstractmethod
    def pull(self, *, full: bool = False) -> Mapping[str, str]:
        """Refresh the local copy; the members that could not be read, with the reason."""

    @contextmanager
    def failing(self, faults: F | None) -> Iterator[None]:
        """Let go wrong what is to go wrong, for one run."""
        raise NotImplementedError

    def between_pull_and_plan(self) -> None:
        """What users do then."""

    # The state store

    def _open(self, *, fresh: bool = False) -> None:
        if fresh:
            self.store.fresh()
        self.state = State(self.store.url)
        sa.event.listen(self.state.engine, "before_cursor_execute", self._touch)
        sa.event.listen(self.state.engine, "commit", self._touch)
        self.fresh = fresh

    def _touch(self, *_event: Any) -> None:
        if not self.quiet:
            self.fuse.touch()

    @contextmanager
    def looking(self) -> Iterator[sa.Connection]:
        """The state store, for a look that is no step of the engine."""
        quiet, self.quiet = self.quiet, True
        try:
            with self.state.read() as db:
                yield db
        finally:
            self.quiet = quiet

    def close(self) -> None:
        self.state.close()
        self.store.remove()

    def lose_state(self) -> None:
        self.state.close()
        self._open(fresh=True)
        self._nothing_is_known()

    def keep_backup(self) -> None:
        fresh = self.fresh
        self.store.keep(self.state)
        self.kept, self._kept_fresh = True, fresh

    def restore_backup(self) -> None:
        self.state.close()
        assert self.store.bring_back()
        self._open()
        self.fresh = self._kept_fresh
        self._nothing_is_known()

    def is_linked(self, ref: Ref) -> bool:
        """Whether the sync knows a record."""
        links = tables.links.c
        query = sa.select(links.entity).where(links.connection == ref.connection, links.native_id == ref.id)
        with self.looking() as db:
            return db.execute(query).first() is not None

    def intents(self, connection: str, act: str, native: str | None, key: str | None) -> int:
        """How many stored intents, not ended yet, speak of a write that is about to be sent."""
        journal = tables.journal.c
        target = journal.marker == key if native is None else journal.native_id == native
        query = sa.select(sa.func.count()).where(
            journal.connection == connection, journal.state == "sent", journal.act == act, target
        )
        with self.looking() as db:
            return int(db.execute(query).scalar_one())

    def open_intents(self) -> int:
        """Writes whose outcome is not known."""
        query = sa.select(sa.func.count()).where(tables.journal.c.state.in_(["sent", "unknown"]))
        with self.looking() as db:
            return int(db.execute(query).scalar_one())

    def _nothing_is_known(self) -> None:
        """What a person does before the next run after the state was lost: wait; bases are unknown now."""
        self.advance(IN_FLIGHT_SECONDS + self.lag + 60)
        self.ledger.excused |= set(self.ledger.parent)
        for box in self.boxes.values():
            box.dead_keys.clear()

    # Running

    def group(self) -> Group:
        connectors = {name: self.connect(name) for name in self.boxes}
        return compile_group("main", self.settings, connectors, self.maps, self.state)

    def sync(self, faults: F | None = None, *, full: bool = False) -> SyncResult | None:
        """Pull, plan, write; `None` if the process was killed."""
        return self.run(faults, lambda run: run.sync(EVERYTHING), full=full)

    def plan(self) -> PlanFile | None:
        """Pull and plan; nothing may be written."""
        file = self.run(None, lambda run: run.plan()[1])
        assert not self.requests
        return file

    def apply(self, file: PlanFile, faults: F | None = None) -> SyncResult | None:
        """Carry out a saved plan."""
        return self.run(faults, lambda run: run.apply(file, EVERYTHING), pull=False)

    def resume(self) -> SyncResult | None:
        """Plan and write from the local copy as it is."""
        return self.run(None, lambda run: run.sync(EVERYTHING), pull=False)

    def run(
        self, faults: F | None, act: Callable[[SyncRun], Any], *, pull: bool = True, full: bool = False
    ) -> Any:
        """One process from its begin to its end, or until it is killed."""
        self.requests.clear()
        with self.failing(faults):
            try:
                unavailable = self.pull(full=full) if pull else {}
                self.between_pull_and_plan()
                return act(SyncRun(self.group(), self.state, self.clock, unavailable=unavailable))
            except Killed:
                self.fuse.reset()
                self.state.close()
                fresh = self.fresh
                self._open()
                self.fresh = fresh
                if not self.store.shows_the_dead:
                    self.advance(TIME_TO_LIVE.total_seconds())
                return None
            finally:
                self.fuse.reset()

    # What must hold in the end

    def settle(self) -> list[SyncResult]:
        """Faults have stopped: three runs far enough apart."""
        results = []
        for turn in range(3):
            self.advance(IN_FLIGHT_SECONDS + self.lag + 60)
            result = self.sync(full=turn == 0 and self.needs_a_whole_read)
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
        assert self.open_intents() == 0
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
            keys = box.live_keys(doubtful)
            assert all(count == 1 for count in keys.values()), f"{name} holds two records with one key"
            if not recreate:
                risen = box.dead_keys & set(keys)
                assert not risen, f"{name} holds {risen} again, which was deleted there"


@contextmanager
def ram_folder(otherwise: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: the store waits for the disk at every commit."""
    if not RAM.is_dir():
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=RAM, prefix="crmkit-") as folder:
        yield Path(folder)
