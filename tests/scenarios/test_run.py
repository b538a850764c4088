"""Scheduled work through the command line: what is due runs once, and what was left behind is taken up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crmkit.scheduling.schedule import Schedule
from crmkit.scheduling.task import Task
from crmkit.session import Session
from crmkit.slices import run_slice
from crmkit.sync import schedules_table
from crmkit.sync.lease import hold
from crmkit.sync.state import State
from tests.scenarios.conftest import Crmkit
from tests.scenarios.syncing import Desk, agreed_sync, open_desk

Up = Callable[..., Any]
HOUR = timedelta(hours=1)


@pytest.fixture
def desk(crmkit: Crmkit, up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Two CRMs in step, with the sync `main`."""
    desk = open_desk(crmkit, up, tmp_path, monkeypatch, ["hubspot", "bitrix24"], sync=agreed_sync)
    desk.part_doubtful()
    assert desk.confirmed("sync", "main").code == 0
    desk.settle()
    return desk


@contextmanager
def store(desk: Desk) -> Iterator[State]:
    state = State(f"sqlite:///{desk.folder / '.crmkit/state.db'}")
    yield state
    state.close()


def schedule(desk: Desk, what: str, *, name: str, since: timedelta = HOUR) -> None:
    """A schedule whose last tick was long ago."""
    with store(desk) as state:
        every = timedelta(minutes=5)
        schedules_table.add(state, Schedule(name, Task.parse(what), every), now(desk) - since)


def now(desk: Desk) -> datetime:
    return desk.box.clock()


def test_what_is_due_runs_once_however_often_it_was_missed(desk: Desk) -> None:
    schedule(desk, "sync:main", name="main", since=10 * HOUR)
    schedule(desk, "pull:hubspot", name="nightly")
    code, done = desk.shown("run", "--due")
    assert {(one["schedule"], one["task"], one["exit_code"]) for one in done} == {
        ("main", "sync:main", 0), ("nightly", "pull:hubspot", 0),
    }  # fmt: skip
    assert code == 0
    again = desk.crmkit("run", "--due")
    assert (again.code, again.out, again.err) == (0, "", "")
    with store(desk) as state:
        assert {(one.exit_code, one.ended_at is not None) for one in schedules_table.load(state)} == {
            (0, True)
        }


def test_a_change_is_carried_by_the_run_that_is_due(desk: Desk) -> None:
    ids = desk.linked("hubspot", "bitrix24")[0]
    desk.box["hubspot"].world.edit_deal(ids["hubspot"], name="Renamed at noon")
    desk.settle()
    schedule(desk, "sync:main", name="main")
    assert desk.crmkit("-q", "run", "--due").code == 0
    assert desk.deal("bitrix24", ids["bitrix24"]).name == "Renamed at noon"


def test_a_sync_that_somebody_else_does_is_left_to_him(desk: Desk) -> None:
    schedule(desk, "sync:main", name="main")
    with store(desk) as state, hold(state, "sync:main", lambda: now(desk)):
        code, done = desk.shown("run", "--due")
    assert (code, done[0]["exit_code"], done[0]["error"]["type"]) == (8, 8, "Busy")


def test_a_slice_stops_at_a_border_and_the_next_one_ends_the_work(desk: Desk) -> None:
    for ids in desk.linked("hubspot", "bitrix24"):
        world = desk.box["hubspot"].world
        world.edit_deal(ids["hubspot"], name=f"{world.deals[ids['hubspot']].name} again")
    desk.settle()
    asked = threading.Event()
    asked.set()
    session = Session.open(desk.folder / "crmkit.toml")
    with session.state() as state:
        first = run_slice(session, state, Task("sync", ("main",)), asked=asked)
        assert (first.more, first.result, first.error) == (True, None, None)
        second = run_slice(session, state, Task("sync", ("main",)))
    assert not second.more
    assert second.result is not None
    assert second.result.count("updated") > 0


def test_one_task_by_its_name(desk: Desk) -> None:
    code, (done,) = desk.shown("run", "main")
    assert (code, done["task"], done["schedule"], done["error"]) == (0, "sync:main", None, None)
    spoken = desk.crmkit("run", "pull:hubspot")
    assert spoken.code == 0
    assert "pull:hubspot: read" in spoken.out + spoken.err


def test_the_report_is_made_beside_the_configuration(desk: Desk) -> None:
    code, (done,) = desk.shown("run", "report")
    assert code == done["exit_code"]
    assert code in (0, 4)
    assert (desk.folder / "pipeline-report.html").read_text().startswith("<!doctype html>")


def test_wrong_input_is_told(crmkit: Crmkit, up: Up) -> None:
    up("hubspot", deals=1)
    for arguments in [("run",), ("run", "main", "--due"), ("run", "mian"), ("run", "pull:x")]:
        result = crmkit("--json", *arguments)
        assert (result.code, json.loads(result.out)["error"]["exit_code"]) == (2, 2), arguments


def test_a_schedule_of_a_sync_that_is_gone_fails_and_others_run(desk: Desk) -> None:
    schedule(desk, "sync:gone", name="gone")
    schedule(desk, "pull:hubspot", name="pull")
    code, done = desk.shown("run", "--due")
    assert code == 2
    assert {(one["schedule"], one["exit_code"]) for one in done} == {("gone", 2), ("pull", 0)}
