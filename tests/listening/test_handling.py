"""Stored events become few reads and one run of each sync, also after a failure or a crash."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit import workspace
from crmkit.commands import listen as listen_command
from crmkit.commands.sandbox import local_crms
from crmkit.errors import GuardTripped, NetworkFault
from crmkit.listening import handling as handlings
from crmkit.listening.handling import Handling, News, Pulled, Synced, Trouble
from crmkit.sandbox.server import Sandbox
from crmkit.session import Session, pull
from crmkit.sync import heard
from crmkit.sync.heard import Told
from crmkit.sync.lease import hold
from crmkit.sync.state import State

SYNC = {"main": ("zoho", "close")}


@dataclass
class Desk:
    """A listener's back room over a sandbox Zoho."""

    box: Sandbox
    session: Session
    state: State
    handling: Handling
    news: list[News] = field(default_factory=list)
    sent: int = 0

    @property
    def world(self) -> Any:
        return self.box["zoho"].world

    def tell(self, ids: Sequence[str], kind: str = "deal", op: str = "saved") -> None:
        """Events as the web side stores them."""
        told = []
        for native in ids:
            self.sent += 1
            told.append(Told("zoho", f"digest {self.sent}", ((kind, native, op),), self.session.clock.now()))
        with self.state.write() as db:
            heard.keep(db, told)

    def states(self) -> dict[str, int]:
        column = heard.webhook_events.c.state
        with self.state.read() as db:
            query = sa.select(column, sa.func.count()).group_by(column)
            return {row[0]: row[1] for row in db.execute(query)}

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.news if isinstance(one, kind)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Path]]:
    folder = tmp_path_factory.mktemp("listen")
    with Sandbox.up(["zoho"], deals=250, seed=3, limits="off") as box:
        path = workspace.write(folder, local_crms(box.apps))
        session = Session.open(path)
        with session.state() as state:
            pull(session, state, ["zoho"], watch=lambda _, done: _wait(done))
        yield box, path


def _wait(done: Any) -> None:
    pause = threading.Event()
    while not done():
        pause.wait(0.01)


@pytest.fixture
def desk(running: tuple[Sandbox, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    box, path = running
    session = Session.open(path)
    monkeypatch.setattr(handlings, "open_sync", idle_sync)
    with session.state() as state:
        news: list[News] = []
        ending = SimpleNamespace(code=None, held=())
        made = Handling(
            session, state, ["zoho"], SYNC, around=lambda _: nullcontext(ending), tell=news.append
        )
        box["zoho"].requests.clear()
        yield Desk(box, session, state, made, news)
        with state.write() as db:
            db.execute(heard.webhook_events.delete())
            db.execute(heard.webhook_digests.delete())


def sync_that(run: Any) -> Any:
    """An `open_sync` whose run does what is given."""

    @contextmanager
    def opened(*_: Any, **__: Any) -> Iterator[Any]:
        yield SimpleNamespace(group=SimpleNamespace(members={}), run=SimpleNamespace(sync=run))

    return opened


def done(*_: Any) -> Any:
    return SimpleNamespace(writes=1, exit_code=0, held=())


idle_sync = sync_that(done)


def test_a_burst_of_a_thousand_events_takes_few_requests_and_one_run(desk: Desk) -> None:
    ids = sorted(desk.world.deals)[:250]
    for native in ids:
        desk.world.edit_deal(native, name=f"Edited {native}")
    desk.tell(ids * 4)
    desk.handling.once()
    (pulled,) = desk.of(Pulled)
    assert (pulled.records, pulled.result.changed) == (250, 250)
    requests = desk.box["zoho"].requests
    assert requests.families["POST /crm/{version}/coql"] <= 6
    assert requests.total < 25  # the others prove once that the workspace is still the same
    assert len(desk.of(Synced)) == 1
    assert desk.states() == {"done": 1000}


def test_events_that_come_while_a_sync_runs_make_one_more_run(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = sorted(desk.world.deals)[:20]
    runs = 0

    def run(_: Any) -> Any:
        nonlocal runs
        runs += 1
        if runs == 1:
            for native in others:
                desk.world.edit_deal(native, name="Edited meanwhile")
                desk.tell([native])
                desk.handling.wake()
        else:
            desk.handling.stop()
        return done()

    monkeypatch.setattr(handlings, "open_sync", sync_that(run))
    desk.world.edit_deal(first, name="Edited first")
    desk.tell([first])
    desk.handling.run()
    assert runs == 2
    assert desk.states() == {"done": 20}


def test_an_echo_of_what_is_known_already_runs_nothing(desk: Desk) -> None:
    desk.tell(sorted(desk.world.deals)[:3])
    desk.handling.once()
    assert (len(desk.of(Pulled)), desk.of(Synced), desk.states()) == (1, [], {"done": 3})


def test_a_deletion_is_believed_only_once_the_record_is_not_there(desk: Desk) -> None:
    kept, gone = sorted(desk.world.deals)[30:32]
    desk.world.delete_deal(gone)
    desk.tell([kept, gone], op="gone")
    desk.handling.once()
    assert desk.of(Pulled)[0].result.gone == 1
    with desk.state.read() as db:
        query = "SELECT id FROM deals WHERE gone_at IS NOT NULL AND connection = 'zoho'"
        assert gone in set(db.exec_driver_sql(query).scalars())
        assert kept not in set(db.exec_driver_sql(query).scalars())


def test_while_somebody_else_pulls_events_wait_and_are_tried_again(desk: Desk) -> None:
    native = sorted(desk.world.deals)[40]
    desk.world.edit_deal(native, name="Edited under a pull")
    desk.tell([native])
    with hold(desk.state, "pull:zoho", desk.session.clock.now):
        desk.handling.once()
        desk.handling.once()  # paused: it is not asked again at once
    (trouble,) = desk.of(Trouble)
    assert trouble.again_seconds == 1.0
    assert desk.states() == {"waiting": 1}
    desk.handling._pauses.clear()
    desk.handling.once()
    assert desk.states() == {"done": 1}


def test_a_sync_that_fails_for_now_runs_again_and_reads_nothing_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = sorted(desk.world.deals)[41]
    desk.world.edit_deal(native, name="Edited before a failure")
    desk.tell([native])

    def cut(_: Any) -> Any:
        raise NetworkFault("cut")

    monkeypatch.setattr(handlings, "open_sync", sync_that(cut))
    desk.handling.once()
    assert desk.states() == {"pulled": 1}
    # A new process finds it so, for example after a crash.
    again = Handling(
        desk.session, desk.state, ["zoho"], SYNC, around=desk.handling.around, tell=desk.news.append
    )
    monkeypatch.setattr(handlings, "open_sync", idle_sync)
    again.once()
    assert desk.states() == {"done": 1}
    assert (len(desk.of(Pulled)), len(desk.of(Synced))) == (1, 1)


def test_a_mistake_in_crmkit_ends_the_process_and_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = sorted(desk.world.deals)[43]
    desk.world.edit_deal(native, name="Edited before a mistake")
    desk.tell([native])

    def wrong(_: Any) -> Any:
        raise KeyError("a mistake")

    monkeypatch.setattr(handlings, "open_sync", sync_that(wrong))
    stopped, mistakes = threading.Event(), list[Exception]()
    listen_command._until_stopped(desk.handling, stopped, mistakes)
    assert stopped.is_set()
    assert [type(one) for one in mistakes] == [KeyError]
    assert desk.states() == {"pulled": 1}


def test_a_guard_ends_it_until_a_person_looked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    native = sorted(desk.world.deals)[42]
    desk.world.edit_deal(native, name="Edited before a guard")
    desk.tell([native])

    def tripped(_: Any) -> Any:
        raise GuardTripped("too many creates")

    monkeypatch.setattr(handlings, "open_sync", sync_that(tripped))
    desk.handling.once()
    assert [one.again_seconds for one in desk.of(Trouble)] == [None]
    assert desk.states() == {"done": 1}


def test_a_pause_that_is_over_and_for_nothing_does_not_keep_anybody_awake(desk: Desk) -> None:
    now = desk.session.clock.monotonic()
    desk.handling._pauses = {
        "pull gone": handlings.Pause(1.0, now - 1),
        "pull zoho": handlings.Pause(8.0, now + 8),
    }
    assert 7 < desk.handling._rest(now) <= 8
    desk.handling._pauses.pop("pull zoho")
    assert desk.handling._rest(now) == handlings.LOOK_EVERY_SECONDS


def test_pauses_grow_and_stay_below_five_minutes() -> None:
    pause = handlings.Pause()
    assert [pause.failed(0.0) for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
    for _ in range(20):
        longest = pause.failed(0.0)
    assert longest == handlings.LONGEST_PAUSE_SECONDS
