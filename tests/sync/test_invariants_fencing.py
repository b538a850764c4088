"""I14 of sync-semantics 10: whoever lost the lease commits nothing any more, on both databases.

A holder pauses, another run takes the lease over, and the first goes on where it was. What it
had sent before, or sends as its last request, is recognised by later runs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from crmkit.connectors.writing import Change
from crmkit.errors import Busy
from crmkit.sync import apply, schema
from crmkit.sync.hub import Hub
from crmkit.sync.lease import TIME_TO_LIVE
from crmkit.sync.run import SyncRun
from crmkit.sync.run_usage import run_usage
from crmkit.sync.state import State
from tests import crash_child
from tests.crash_histories import Patient
from tests.sandbox_bench import NOW, bench
from tests.scenarios.lab import doubles
from tests.sync import paused_child
from tests.sync.base_lab import EVERYTHING, ram_folder
from tests.sync.faulty import IN_FLIGHT_SECONDS, Behaviour
from tests.sync.lab import Lab, LabBox
from tests.sync.machine import Serial
from tests.sync.stores import PostgresDatabases, SqliteFiles, StoreFiles, template

EXAMPLES = int(os.environ.get("CRMKIT_EXAMPLES", "50"))
PAUSE_SECONDS = TIME_TO_LIVE.total_seconds() + 20  # longer than the lease, shorter than a request lives


def everything_but_runs(state: State) -> dict[str, list[tuple[Any, ...]]]:
    """All that the store holds, apart from the lists of runs, to which every run adds its own lines."""
    tables = [table for table in schema.metadata.sorted_tables if table not in (schema.runs, run_usage)]
    with state.read() as db:
        return {table.name: sorted(map(tuple, db.execute(sa.select(table))), key=repr) for table in tables}


class Pausing(Lab):
    """A sync whose process pauses right before a transaction, or right before a request.

    Attributes:
        left: After how many transactions it pauses.
        at_request: Whether it pauses before a request instead.
        meanwhile: What users do during the pause.
        overtaken: What the store held once the other run was through; `None` until then.
        late: Requests that the first run has sent after that.
    """

    def begin(self, left: int, *, at_request: bool, meanwhile: Callable[[], None]) -> None:
        self.left, self.at_request, self.meanwhile = left, at_request, meanwhile
        self.overtaken: dict[str, Any] | None = None
        self.late = 0
        self.other = False

    def overtake(self) -> None:
        """Another run, on another machine or after somebody removed the lock file, does the whole sync."""
        for box in self.boxes.values():
            box.writing = self.at_request  # nobody can have read what is edited from now on
        self.meanwhile()
        for box in self.boxes.values():
            box.writing = False
        if self.state.path is not None:
            for lock in self.state.path.parent.glob("*.lock"):
                lock.unlink()
        self.advance(PAUSE_SECONDS)
        first, self.state, self.other = self.state, State(self.store.url), True
        try:
            self.pull()
            SyncRun(self.group(), self.state, self.clock).sync(EVERYTHING)
            self.overtaken = everything_but_runs(self.state)
        finally:
            self.state.close()
            self.state, self.other = first, False

    def run_overtaken(self) -> Exception | None:
        """One run that is overtaken; what ended it."""
        self.requests.clear()
        self.pull()
        write = self.state.write

        @contextmanager
        def slow_write() -> Iterator[sa.Connection]:
            if not self.at_request and self.overtaken is None and not self.other:
                self.left -= 1
                if self.left < 0:
                    self.overtake()
            with write() as db:
                yield db

        self.state.write = slow_write  # type: ignore[method-assign]
        try:
            result = SyncRun(self.group(), self.state, self.clock).sync(EVERYTHING)
        except Busy as error:
            return error
        finally:
            self.state.write = write  # type: ignore[method-assign]
        return next((one.error for one in result.tallies.values() if one.error is not None), None)

    def _asked(self, box: LabBox, change: Change) -> None:
        if self.other or (self.overtaken is None and not self.at_request):
            super()._asked(box, change)
            return
        if self.overtaken is None:
            super()._asked(box, change)
            self.left -= 1
            if self.left < 0:
                self.overtake()
                self.late += 1
            return
        self.late += 1


def the_store(kind: str, folder: Path, server: Callable[[], str]) -> StoreFiles:
    own = Path(tempfile.mkdtemp(dir=folder))
    return SqliteFiles(own, template(folder)) if kind == "sqlite" else PostgresDatabases(server())


@pytest.mark.parametrize(("kind", "share"), [("sqlite", 5), ("postgresql", 16)])
def test_a_run_that_was_overtaken_commits_nothing_and_its_last_request_is_recognised(
    kind: str, share: int, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "ThreadPoolExecutor", Serial)

    @settings(
        max_examples=max(1, EXAMPLES // share),
        phases=[Phase.explicit, Phase.generate],  # a history takes too long to look for a shorter one
        deadline=None,
        derandomize="CRMKIT_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(
        left=st.integers(0, 8),
        at_request=st.booleans(),
        unique=st.booleans(),
        answers=st.sampled_from(["record", "version", "nothing"]),
        synced=st.booleans(),
        edited=st.sampled_from(["name", "amount", "expected_close"]),
        meanwhile=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["name", "amount"])), max_size=2),
        seed=st.integers(0, 1000),
    )
    def whenever_it_pauses(left, at_request, unique, answers, synced, edited, meanwhile, seed) -> None:
        made = {
            name: Behaviour(unique_keys=unique, answers=answers, random=Random(f"{seed}{name}"))
            for name in "ab"
        }
        lab = Pausing(
            folder, template(folder), made, {"order": ["a", "b"]},
            the_store(kind, folder, lambda: request.getfixturevalue("postgres_url")),
        )  # fmt: skip

        def users() -> None:
            for name, field in meanwhile:
                deal = lab.boxes[name].pick(0)
                if deal is not None:
                    lab.boxes[name].edit(deal, field)

        try:
            # Its first transaction is the one that takes the lease.
            lab.begin(left if at_request else left + 1, at_request=at_request, meanwhile=users)
            lab.boxes["a"].create()
            lab.boxes["b"].create()
            if synced:
                lab.overtaken = {}
                super(Pausing, lab).sync()
                lab.overtaken = None
                lab.advance(60)
                lab.boxes["a"].edit(lab.boxes["a"].pick(0), edited)
                lab.boxes["b"].edit(lab.boxes["b"].pick(1), edited)
            lab.late = 0

            error = lab.run_overtaken()

            assume(lab.overtaken is not None)
            assert everything_but_runs(lab.state) == lab.overtaken
            assert lab.late == at_request, "whoever lost the lease sends nothing but what was on its way"
            assert isinstance(error, Busy) or not at_request
            lab.overtaken, lab.at_request = None, False
            lab.left = 10**9
            lab.check()
        finally:
            lab.close()

    with ram_folder(tmp_path) as folder:
        whenever_it_pauses()


def test_a_run_that_slept_longer_than_a_request_lives_does_not_send_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asleep between its intent and its request: by the time it wakes up the intent has been looked
    # up in vain and given up, and the record has been created by the other run (sync-semantics 9).
    monkeypatch.setattr(apply, "ThreadPoolExecutor", Serial)
    made = {name: Behaviour(unique_keys=False) for name in "ab"}
    lab = Pausing(tmp_path, template(tmp_path), made, {"order": ["a", "b"]})
    lab.begin(10**9, at_request=False, meanwhile=lambda: None)
    lab.boxes["a"].create()
    add = Hub.journal_add

    def sleep_after(hub: Hub, db: sa.Connection, entries: Any, epoch: int) -> None:
        add(hub, db, entries, epoch)
        if lab.overtaken is None and not lab.other:
            sa.event.listen(lab.state.engine, "checkin", lambda *_: fall_asleep(), once=True)

    def fall_asleep() -> None:
        lab.other = True
        lab.overtake()
        lab.advance(IN_FLIGHT_SECONDS)
        lab.overtake()

    monkeypatch.setattr(Hub, "journal_add", sleep_after)
    try:
        lab.run_overtaken()
        assert len(lab.boxes["b"].deals()) == 1
    finally:
        lab.close()


class Machine:
    """Processes that run a one-way sync into one sandbox CRM, and may be stopped."""

    def __init__(self, patient: Patient, url: str) -> None:
        self.patient, self.url = patient, url
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["tests.sync.paused_child"])

    def start(self, *, stops: bool = False) -> tuple[Any, Any]:
        target = self.patient.target
        order = crash_child.Order(
            target.crm, dict(target.app.connection), target.app.credentials, self.patient._currency,
            self.url, NOW, target.clock.now(), ("create",), 1 if stops else None,
        )  # fmt: skip
        receiver, sender = self._processes.Pipe(duplex=False)
        process = self._processes.Process(target=paused_child.main, args=(order, sender))
        process.start()
        sender.close()
        return process, receiver

    def end(self, started: tuple[Any, Any]) -> tuple[int, int]:
        process, receiver = started
        code, writes, _ = receiver.recv()
        process.join()
        process.close()
        receiver.close()
        return code, writes

    def run(self) -> tuple[int, int]:
        return self.end(self.start())


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_process_that_was_stopped_before_its_request_doubles_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with bench("bitrix24", deals=4) as target:  # keys are not unique there
        files = the_store(kind, tmp_path, lambda: request.getfixturevalue("postgres_url"))
        files.fresh()
        machine = Machine(Patient(target, tmp_path), files.url)
        stopped = machine.start(stops=True)
        assert stopped[1].recv() == paused_child.STOPS
        target.box.clock.advance(PAUSE_SECONDS)

        other, _ = machine.run()
        state = State(files.url)
        between = everything_but_runs(state)
        os.kill(stopped[0].pid, signal.SIGCONT)
        code, _ = machine.end(stopped)
        after = everything_but_runs(state)
        state.close()

        if kind == "sqlite":  # its file lock shows that it lives
            assert (other, code) == (paused_child.BUSY, 0)
        else:
            assert (other, code) == (5, 5)
            assert after == between
        target.settle()
        assert machine.run()[0] == 0
        target.settle()
        assert machine.run() == (0, 0)
        assert doubles(target) == []
        assert len(target.app.world.deals) == 4 + 12
        files.remove()
