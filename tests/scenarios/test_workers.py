"""Worker processes on a real PostgreSQL: each tick runs once, and what a killed worker left is taken up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from crmkit import workspace
from crmkit.sandbox.server import Sandbox
from crmkit.scheduling.schedule import Schedule
from crmkit.scheduling.task import Task
from crmkit.sync import schedules_table
from crmkit.sync.state import State
from tests.postgres import execute
from tests.scenarios.conftest import Crmkit
from tests.scenarios.lab import open_intents
from tests.scenarios.syncing import agreed_sync, configure, markers_of

Up = Callable[..., Sandbox]
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Office:
    """A workspace on PostgreSQL, and worker processes in it."""

    crmkit: Crmkit
    box: Sandbox
    folder: Path
    url: str

    def schedule(self, what: str, name: str) -> None:
        """A schedule that was missed for an hour."""
        state = State(self.url)
        now = datetime.now(UTC)
        every = timedelta(minutes=30)
        schedules_table.add(state, Schedule(name, Task.parse(what), every), now - timedelta(hours=1))
        state.close()

    def worker(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "crmkit.cli", "-q", "worker", *options],
            cwd=self.folder,
            env={**os.environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, err

    def rows(self, query: str) -> list[tuple[object, ...]]:
        engine = sa.create_engine(self.url)
        with engine.connect() as db:
            found = [tuple(row) for row in db.execute(sa.text(query))]
        engine.dispose()
        return found

    def time_passes(self) -> None:
        """As if it was an hour ago that a worker was killed: its signs of life and its leases are old."""
        queue = make_url(self.url).query["options"].removeprefix("-c search_path=") + "_queue"
        execute(
            self.url,
            f"UPDATE {queue}.procrastinate_workers SET last_heartbeat = last_heartbeat - interval '1 hour'",
            "UPDATE leases SET expires_at = expires_at - interval '1 hour'",
            "UPDATE journal SET sent_at = sent_at - interval '1 hour'",
        )

    def pairs(self) -> list[dict[str, str]]:
        """Linked deals: the id in each CRM."""
        query = "SELECT entity, connection, native_id FROM links WHERE kind = 'deal' AND status = 'live'"
        found: dict[object, dict[str, str]] = {}
        for entity, connection, native in self.rows(query):
            found.setdefault(entity, {})[str(connection)] = str(native)
        return [ids for ids in found.values() if len(ids) == 2]


@pytest.fixture
def office(crmkit: Crmkit, up: Up, tmp_path: Path, postgres_url: str) -> Iterator[Office]:
    """Two CRMs in step, with the sync `main`."""
    name = f"office_{abs(hash(str(tmp_path)))}"
    execute(postgres_url, f"CREATE SCHEMA {name}")
    options = {"options": f"-c search_path={name}"}
    url = make_url(postgres_url).update_query_dict(options).render_as_string(hide_password=False)
    box = up("hubspot", "bitrix24", deals=16)
    path = tmp_path / "crmkit.toml"
    path.write_text(re.sub(r"(?m)^state = .*$", f'state = "{url}"', path.read_text(), count=1))
    assert crmkit("pull").code == 0
    workspace.add_stage_maps(path, [crmkit("stages", "suggest").out])
    configure(tmp_path, agreed_sync(["hubspot", "bitrix24"]))
    confirm = ("--confirm", "creates=1000", "--confirm", "field.name=1000", "--confirm", "settings=1")
    assert crmkit("sync", "main", *confirm).code in (0, 4, 5)
    yield Office(crmkit, box, tmp_path, url)
    execute(postgres_url, f"DROP SCHEMA {name} CASCADE", f"DROP SCHEMA IF EXISTS {name}_queue CASCADE")


def rename(office: Office, text: str) -> dict[str, str]:
    """Rename linked deals in one CRM; the id in the other one and the name it shall have."""
    expected = {}
    for number, ids in enumerate(office.pairs()[:2]):
        office.box["bitrix24"].world.edit_deal(ids["bitrix24"], name=f"{text} {number}")
        expected[ids["hubspot"]] = f"{text} {number}"
    assert expected
    return expected


def names(office: Office, ids: dict[str, str]) -> dict[str, str]:
    return {one: office.box["hubspot"].world.deals[one].name for one in ids}


def test_two_workers_run_each_tick_once(office: Office) -> None:
    expected = rename(office, "Renamed")
    before = office.rows("SELECT count(*) FROM runs WHERE command = 'sync'")[0][0]
    office.schedule("sync:main", "main")
    office.schedule("pull:hubspot", "nightly")
    workers = [office.worker("--burst") for _ in range(2)]
    assert [office.ended(process)[0] for process in workers] == [0, 0]
    assert names(office, expected) == expected
    after = office.rows("SELECT count(*) FROM runs WHERE command = 'sync'")[0][0]
    assert int(str(after)) - int(str(before)) == 1
    (main,), (nightly,) = office.rows("SELECT exit_code FROM schedules ORDER BY name")
    assert main in (0, 4)  # it may leave records for a person
    assert nightly in (0, 8)  # 8 where it came while the sync was pulling the same connection


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_what_a_killed_worker_left_is_taken_up_and_nothing_is_lost_or_doubled(office: Office) -> None:
    expected = rename(office, "Taken up")
    office.schedule("sync:main", "main")
    sizes = {crm: len(app.world.deals) for crm, app in office.box.apps.items()}
    target = office.box["hubspot"]
    target.settings = replace(target.settings, latency_ms=400)  # long enough to be killed in
    first = office.worker("--role", "all")
    pause = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.02)):
        if office.rows("SELECT 1 FROM journal WHERE state = 'sent'") or first.poll() is not None:
            break
        pause.wait(0.02)
    first.send_signal(signal.SIGKILL)
    office.ended(first)
    assert office.rows("SELECT count(*) FROM journal WHERE state = 'sent'") != [(0,)]
    target.settings = replace(target.settings, latency_ms=0)
    office.time_passes()
    assert office.ended(office.worker("--burst")) == (0, "")
    assert names(office, expected) == expected
    assert {crm: len(app.world.deals) for crm, app in office.box.apps.items()} == sizes
    for app in office.box.apps.values():
        markers = markers_of(app.world.live)
        assert len(markers) == len(set(markers))
    state = State(office.url)
    assert open_intents(state) == 0
    state.close()
    assert office.rows("SELECT ended_at IS NOT NULL FROM schedules") == [(True,)]


def test_a_worker_that_is_asked_to_end_ends_well(office: Office) -> None:
    process = office.worker("--role", "scheduler")
    pause = threading.Event()
    queue = make_url(office.url).query["options"].removeprefix("-c search_path=") + "_queue"
    for _ in range(int(PATIENCE_SECONDS / 0.05)):
        found = office.rows(f"SELECT to_regclass('{queue}.procrastinate_workers')")
        if found != [(None,)] and office.rows(f"SELECT 1 FROM {queue}.procrastinate_workers"):
            break
        pause.wait(0.05)
    process.send_signal(signal.SIGTERM)
    assert office.ended(process) == (0, "")
    assert office.rows(f"SELECT count(*) FROM {queue}.procrastinate_workers") == [(0,)]


def test_workers_on_a_local_file_are_refused_with_what_helps(crmkit: Crmkit, up: Up) -> None:
    up("hubspot", deals=1)
    result = crmkit("worker", "--burst")
    assert (result.code, "run --due" in result.err) == (2, True)
