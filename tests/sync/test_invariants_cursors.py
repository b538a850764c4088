"""I7 of sync-semantics 10: cursors only go forward, and no change stays unseen behind one.

The change log of a sandbox CRM, or of a memory CRM, says what a pull had to see: everything
that its index must have taken up before the pull began. Indexes take changes up in any order.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crmkit.connectors.base import Connector, Context, Evidence, Page
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.connectors.walk import unpack
from crmkit.errors import NetworkFault
from crmkit.model import Deal, Kind, Ref, Tombstone, Workspace
from crmkit.sandbox.rows import Change
from crmkit.sync import pull as pulling
from crmkit.sync import schema
from crmkit.sync.pull import Pull
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock, FakeSecrets
from tests.sandbox_bench import SandboxBench, bench
from tests.sync.faulty import Behaviour, FaultyConnector, FaultyMemory, Fuse, Ticking
from tests.sync.lab import ram_folder, template

EXAMPLES = int(os.environ.get("CRMKIT_EXAMPLES", "50"))
CRMS = ("hubspot", "zoho", "copper", "bitrix24", "close")
LAGGING = {"hubspot": 120.0, "copper": 60.0}  # whose lists come from an index (sync-semantics 12)
DEALS = 12
MOST_DELETED = 2  # a list that shrinks by more is not believed
HOUR = 3600.0
PLACES = ("at", "since", "mark", "next")  # how cursors name the place up to which everything was read


@dataclass(frozen=True, slots=True)
class Told:
    """One line of a CRM's change log; `number` is in the record's amount, `None` if it was deleted."""

    record: str
    at: datetime
    number: int | None
    touched: bool = True


class Shuffled(deque[Change]):
    """Changes that wait for the index: each within the lag, in any order but those of one record."""

    def __init__(self, lag_seconds: float, random: Random) -> None:
        super().__init__()
        self._lag, self._random = lag_seconds, random

    def append(self, change: Change) -> None:
        # The index takes a change up once its time is a whole lag ago: an earlier time is a shorter lag.
        early = change.at - timedelta(seconds=self._random.uniform(0, self._lag))
        mine = [one.at for one in self if (one.kind, one.id) == (change.kind, change.id)]
        early = max([early, *mine])
        place = sum(one.at <= early for one in self)
        self.insert(place, replace(change, at=early))


class Cut:
    """Ends a read after some pages."""

    def __init__(self, connector: Connector, pages: int) -> None:
        self._read, self._pages = connector.read, pages
        connector.read = self  # type: ignore[assignment]

    def __call__(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        for number, page in enumerate(self._read(kind, since)):
            if number == self._pages:
                raise NetworkFault("cut")
            yield page


@dataclass
class Crm:
    """A CRM with users, and what its change log says.

    Attributes:
        lag: How many seconds its index may trail behind.
        evidence: How deletions become known.
        now, advance: Its clock.
        connect: Opens a connection.
        change: Writes an amount into a record, without touching its version if the second is `False`.
        create: Makes a record with an amount.
        delete: Deletes a record.
    """

    lag: float
    evidence: Evidence
    now: Callable[[], datetime]
    advance: Callable[[float], None]
    connect: Callable[[], Connector]
    change: Callable[[str, int, bool], None]
    create: Callable[[int], str]
    delete: Callable[[str], None]
    records: list[str]
    log: list[Told] = field(default_factory=list)
    count: int = 1000
    deleted: int = 0

    def edit(self, pick: int, *, touch: bool = True) -> None:
        record = self.records[pick % len(self.records)]
        if any(one.record == record and one.at > self.now() for one in self.log):
            return  # see test_an_edit_with_an_earlier_stamp_than_the_one_before_is_seen
        self.count += 1
        self.change(record, self.count, touch)
        self.log.append(Told(record, self.now(), self.count, touch))

    def add(self) -> None:
        self.count += 1
        record = self.create(self.count)
        self.records.append(record)
        self.log.append(Told(record, self.now(), self.count))

    def remove(self, pick: int) -> None:
        if self.deleted == MOST_DELETED:
            return
        self.deleted += 1
        record = self.records.pop(pick % len(self.records))
        self.delete(record)
        self.log.append(Told(record, self.now(), None))


@dataclass(frozen=True, slots=True)
class Begun:
    """When a read of a CRM began: the time, how long its change log was, and whether it lists everything."""

    at: datetime
    told: int
    whole: bool


@dataclass
class Puller:
    """Pulls a CRM into a store and compares it with the change log."""

    crm: Crm
    state: State
    goes_on: Begun | None = None
    last: tuple[Any, ...] | None = None

    def pull(self, *, full: bool = False, pages: int | None = None) -> None:
        """Pull; without `pages` to the end."""
        connector = self.crm.connect()
        if pages is not None:
            Cut(connector, pages)
        before = self._cursor()
        begun = self.goes_on
        if full or begun is None:
            begun = Begun(self.crm.now(), len(self.crm.log), full or before is None)
        result = Pull(self.state, connector, full=full, clock_margin_seconds=1e9, kinds=(Kind.DEAL,)).run()
        if result.error is not None:
            assert pages is not None, result.error
            # What was read of it counts only if the next pull goes on from there.
            self.goes_on = begun if self._cursor() not in (None, before) else None
            return
        self.goes_on = None
        self.forward()
        self.compare(begun)

    def slip(self, seconds: int) -> None:
        """The server's clock goes back, and cursors may go with it."""
        self.crm.advance(-seconds)
        self.last = None

    def forward(self) -> None:
        """Since the last complete pull the cursor did not go back."""
        cursor = self._cursor()
        assert cursor is not None
        at = unpack(cursor)
        place = tuple(at[name] for name in PLACES if name in at)
        assert place, f"nothing in {at} says up to where everything was read"
        assert self.last is None or place >= self.last, f"the cursor went back from {self.last} to {place}"
        self.last = place

    def compare(self, begun: Begun) -> None:
        """Everything that a complete pull had to see was seen."""
        due = begun.at - timedelta(seconds=self.crm.lag)
        found = self._stored()
        for record in dict.fromkeys(one.record for one in self.crm.log):
            mine = [(number, one) for number, one in enumerate(self.crm.log) if one.record == record]
            must = [
                place
                for place, (number, one) in enumerate(mine)
                if number < begun.told and one.at <= due and (begun.whole or self._listed(one))
            ]
            if not must:
                continue
            right = [one.number for _, one in mine[must[-1] :]]
            shown = found.get(record)
            assert shown in right, (
                f"{record} shows {shown}, but held only {right} since {mine[must[-1]][1].at}"
            )

    def _listed(self, one: Told) -> bool:
        """Whether a list of changes has to show it, not only a list of everything."""
        return self.crm.evidence is Evidence.LISTED if one.number is None else one.touched

    def _cursor(self) -> str | None:
        with self.state.read() as db:
            return db.execute(sa.select(schema.cursors.c.cursor)).scalar()

    def _stored(self) -> dict[str, int | None]:
        """What is stored; amounts that no test wrote are too small to be confused with one."""
        table = schema.deals.c
        with self.state.read() as db:
            rows = db.execute(sa.select(table.id, table.amount, table.gone_at)).all()
        return {row.id: None if row.gone_at is not None else int(row.amount or 0) for row in rows}


PICKS = st.integers(0, 30)
STEPS = (
    st.tuples(st.just("edit"), PICKS),
    st.tuples(st.just("edit"), PICKS),
    st.tuples(st.just("edit in silence"), PICKS),
    st.tuples(st.just("create"), PICKS),
    st.tuples(st.just("delete"), PICKS),
    st.tuples(st.just("wait"), st.sampled_from([1, 20, 45, 59, 61, 100, 130, 700, 90_000])),
    st.tuples(st.just("pull"), PICKS),
    st.tuples(st.just("pull"), PICKS),
    st.tuples(st.just("cut pull"), st.integers(0, 3)),
    st.tuples(st.just("sweep"), PICKS),
    st.tuples(st.just("cut sweep"), st.integers(0, 3)),
)
# Servers do not agree on the time to the second, nor does one with itself.
SLIPS = st.tuples(st.just("slip"), st.integers(1, 3))


def histories(*more: st.SearchStrategy[tuple[str, int]]) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.one_of(*STEPS, *more), min_size=4, max_size=24)


def live_through(crm: Crm, state: State, steps: Sequence[tuple[str, int]]) -> None:
    """Carry out the steps, pull once everything must be visible, and sweep."""
    puller = Puller(crm, state)
    acts: dict[str, Callable[[int], None]] = {
        "edit": crm.edit,
        "edit in silence": lambda pick: crm.edit(pick, touch=False),
        "create": lambda pick: crm.add(),
        "delete": crm.remove,
        "wait": crm.advance,
        "slip": puller.slip,
        "pull": lambda pick: puller.pull(),
        "cut pull": lambda pages: puller.pull(pages=pages),
        "sweep": lambda pick: puller.pull(full=True),
        "cut sweep": lambda pages: puller.pull(full=True, pages=pages),
    }
    for name, number in steps:
        acts[name](number)
    crm.advance(crm.lag)
    puller.pull()
    puller.pull()
    puller.pull(full=True)


class Stores:
    """Makes empty state stores, in memory if there is a folder for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def __call__(self) -> Iterator[State]:
        with tempfile.TemporaryDirectory(dir=self._folder) as own:
            path = Path(own) / "state.db"
            shutil.copy(template(self._folder), path)
            state = State(f"sqlite:///{path}")
            try:
                yield state
            finally:
                state.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with ram_folder(tmp_path_factory.mktemp("stores")) as folder:
        yield Stores(folder)


def sandboxed(box: SandboxBench, lag: float, random: Random) -> Crm:
    """A sandbox CRM whose index takes changes up in any order."""
    world = box.app.world
    world._unindexed = Shuffled(lag, random)
    some = next(iter(world.deals.values()))

    def change(record: str, number: int, touch: bool) -> None:
        world.edit_deal(record, touch=touch, amount=Decimal(number))

    def create(number: int) -> str:
        made = world.create_deal(
            name=f"Made {number}", amount=Decimal(number), currency=some.currency,
            company_id=some.company_id, owner_id=some.owner_id,
        )  # fmt: skip
        return made.id

    return Crm(
        lag, box.connect().capabilities.deletions[Kind.DEAL], box.clock.now, box.box.clock.advance,
        box.connect, change, create, lambda record: world.delete_deal(record) and None, sorted(world.deals),
    )  # fmt: skip


def remembered(clock: FakeClock, memory: Memory, connect: Callable[[], Connector], lag: float) -> Crm:
    """A CRM in memory."""
    made = iter(range(10_000))

    def ref(native: str) -> Ref:
        return Ref("m", Kind.DEAL, native)

    def stamp() -> dict[str, Any]:
        return {"modified_at": clock.now(), "version": memory.version()}

    def change(record: str, number: int, touch: bool) -> None:
        current = memory.now()[ref(record)]
        assert isinstance(current, Deal)
        memory.put(current.model_copy(update={"amount": Decimal(number), **(stamp() if touch else {})}))

    def create(number: int) -> str:
        native = f"d{next(made)}"
        memory.put(Deal(ref=ref(native), name=native, amount=Decimal(number), currency="EUR", **stamp()))
        return native

    def delete(record: str) -> None:
        memory._log(ref(record), Tombstone(ref=ref(record), at=clock.now()))

    def advance(seconds: float) -> None:
        clock._now += timedelta(seconds=seconds)

    records = [create(1) for _ in range(DEALS)]
    log = [Told(record, clock.now(), 1) for record in records]
    return Crm(lag, Evidence.LISTED, clock.now, advance, connect, change, create, delete, records, log)


def checked(examples: int, *phases: Phase) -> settings:
    return settings(
        max_examples=max(1, examples),
        deadline=None,
        phases=phases or list(Phase),
        derandomize="CRMKIT_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@pytest.mark.parametrize("crm", CRMS)
def test_no_pull_of_a_crm_leaves_a_change_behind_its_cursor(crm: str, store: Stores) -> None:
    lag = LAGGING.get(crm, 0.0)

    # A server for each history: too slow to look for a shorter one.
    @checked(EXAMPLES // (10 if lag else 16), Phase.explicit, Phase.generate)
    @given(steps=histories(SLIPS), seed=st.integers(0, 10_000))
    def every_history(steps: Sequence[tuple[str, int]], seed: int) -> None:
        with store() as state, bench(crm, deals=DEALS, lag_seconds=lag) as box:
            live_through(sandboxed(box, lag, Random(seed)), state, steps)

    every_history()


@checked(EXAMPLES // 3)
@given(steps=histories(), lag=st.sampled_from([0.0, 30.0, 60.0]), seed=st.integers(0, 10_000))
def test_no_pull_of_a_lagging_memory_crm_leaves_a_change_behind_its_cursor(store, steps, lag, seed) -> None:
    clock = Ticking()
    memory = FaultyMemory(Workspace(id="m", name="m"), clock, Behaviour(list_lag=lag, random=Random(seed)))

    def connect() -> Connector:
        connector = FaultyConnector(Context("m", FakeSecrets(), clock=clock), memory=memory)
        connector.equip(Fuse(), lambda what: None, lambda change: None, lambda record: None)
        return connector

    with store() as state:
        live_through(remembered(clock, memory, connect, lag), state, steps)


@checked(EXAMPLES // 3)
@given(steps=histories(), per_transaction=st.integers(1, 6))
def test_no_pull_of_a_memory_crm_that_is_cut_anywhere_leaves_a_change_behind(
    store, steps, per_transaction
) -> None:
    clock = FakeClock()
    memory = Memory(Workspace(id="m", name="m"))

    def connect() -> Connector:
        return MemoryConnector(Context("m", FakeSecrets(), clock=clock), memory=memory)

    with store() as state, pytest.MonkeyPatch.context() as patched:
        patched.setattr(pulling, "RECORDS_PER_TRANSACTION", per_transaction)
        live_through(remembered(clock, memory, connect, 0.0), state, steps)


def test_an_edit_with_an_earlier_stamp_than_the_one_before_is_seen(store: Stores) -> None:
    # Two servers of one CRM disagree by a second, and the later edit of a record got the earlier time.
    with store() as state, bench("hubspot", deals=DEALS) as box:
        record = min(box.ids(Kind.DEAL))
        box.edit_deal(record, Decimal(1))
        connector = box.connect()
        Pull(state, connector, kinds=(Kind.DEAL,)).run()
        box.box.clock.advance(-1)
        box.edit_deal(record, Decimal(2))
        box.settle()

        Pull(state, connector, kinds=(Kind.DEAL,), full=True).run()

        with state.read() as db:
            amount = db.execute(sa.select(schema.deals.c.amount).where(schema.deals.c.id == record)).scalar()
        assert amount == 2
