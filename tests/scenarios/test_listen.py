"""`crmkit listen` as a process of its own: a change in one CRM reaches the other within seconds."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from crmkit.connectors.clock import SystemClock
from crmkit.sandbox.server import Sandbox
from crmkit.sync.lease import hold
from crmkit.sync.state import State
from tests.scenarios.conftest import Crmkit
from tests.scenarios.syncing import Desk, agreed_sync, configure

Up = Callable[..., Sandbox]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
PATIENCE_SECONDS = 30.0
CRMS = ["zoho", "close"]


class Listener:
    """A running `crmkit listen`; its lines are read as they come."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "crmkit.cli", "--json", "listen", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.hello: dict[str, Any] = {}
        while self.hello.get("event") != "listening":
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            self.hello = json.loads(line)
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(json.loads(line) for line in self.process.stdout)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and stderr."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join()
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        with self.process.stderr as stderr, self.process.stdout:
            return code, stderr.read()


@contextmanager
def listening(folder: Path, *arguments: str) -> Iterator[Listener]:
    """A listener that is killed at the end unless it has ended."""
    listener = Listener(folder, *arguments)
    try:
        yield listener
    finally:
        if listener.process.poll() is None:
            listener.end(signal.SIGKILL)


def wait_for(condition: Callable[[], bool], listener: Listener) -> float:
    """The seconds until something had happened; fails after thirty."""
    pause, began = threading.Event(), monotonic()
    while monotonic() - began < PATIENCE_SECONDS:
        if condition():
            return monotonic() - began
        assert listener.process.poll() is None, listener.process.communicate()
        pause.wait(0.02)
    raise AssertionError(f"nothing happened; the listener said {listener.lines}")


def events(folder: Path) -> dict[str, int]:
    """How many stored events are in each state."""
    with closing(sqlite3.connect(folder / ".crmkit" / "state.db")) as db:
        return dict(db.execute("SELECT state, count(*) FROM webhook_events GROUP BY state").fetchall())


@pytest.fixture
def desk(crmkit: Crmkit, up: Up, tmp_path: Path) -> Desk:
    """Two CRMs in step, on the real clock."""
    box = up(*CRMS, deals=30, lag_seconds=0)
    assert crmkit("pull").code == 0
    configure(tmp_path, agreed_sync(CRMS))
    done = crmkit("sync", "main", "--confirm", "field.name=9999", "--confirm", "field.expected_close=9999")
    assert done.code in (0, 4), done.err
    return Desk(crmkit, box, tmp_path)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_webhooks_are_shown_made_listed_and_removed(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    box = up("hubspot", "copper", deals=2)
    public = ("--public-url", "https://hooks.example.com/")
    for wrong in ("http://hooks.example.com", "hooks.example.com", "https://user:x@hooks.example.com"):
        assert crmkit("listen", "subscriptions", "create", "--public-url", wrong, "--yes").code == 2
    assert crmkit("listen", "--subscribe").code == 2
    unasked = crmkit("listen", "subscriptions", "create", *public)
    assert unasked.code == 2
    assert "POST /webhooks: opportunity update" in unasked.err
    assert box["copper"].account.webhooks.by_id == {}  # type: ignore[attr-defined]
    made = crmkit("listen", "subscriptions", "create", *public, "--yes")
    assert made.code == 0, made.err
    secret = (tmp_path / ".crmkit/secrets/hubspot.webhook_path").read_text()
    assert f"Target URL: https://hooks.example.com/hooks/hubspot/{secret}" in made.err
    again = crmkit("listen", "subscriptions", "create", *public, "--yes")
    assert "copper: everything is there" in again.err
    listed = crmkit("--json", "listen", "subscriptions")
    assert [one["connection"] for one in json.loads(listed.out)] == ["copper"] * 9
    path = (tmp_path / ".crmkit/secrets/copper.webhook_path").read_text()
    for shown in (listed.out, crmkit("listen", "subscriptions", "list").out):
        assert path not in shown
    assert len(json.loads(crmkit("--json", "listen", "subscriptions", "remove", "--yes").out)) == 9
    assert json.loads(crmkit("--json", "listen", "subscriptions").out) == []


def test_only_one_listens_to_a_store_and_nothing_is_let_in_unchecked(
    crmkit: Crmkit, up: Up, tmp_path: Path
) -> None:
    up("close", deals=2)
    unchecked = crmkit("listen", "--port", "0")
    assert unchecked.code == 7
    assert "crmkit listen subscriptions create close" in unchecked.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert crmkit("listen", "--port", str(taken.getsockname()[1])).code == 2
    store = closing(State(f"sqlite:///{tmp_path / '.crmkit/state.db'}"))
    with store as state, hold(state, "listen", SystemClock().now):
        assert crmkit("listen", "--port", "0").code == 8


def test_a_change_reaches_the_other_crm_in_seconds_and_is_not_lost_by_a_kill(desk: Desk) -> None:
    port = free_port()
    where = ("--port", str(port), "--public-url", f"http://127.0.0.1:{port}")
    pair = desk.linked(*CRMS)[0]
    zoho, close = desk.box["zoho"], desk.box["close"]

    def arrived(name: str) -> bool:
        return name in str(close.world.deals[pair["close"]])

    with listening(desk.folder, *where, "--subscribe", "--yes") as listener:
        assert listener.hello["syncs"] == ["main"]
        zoho.world.edit_deal(pair["zoho"], name="Signed on Monday")
        assert wait_for(lambda: arrived("Signed on Monday"), listener) < 10  # see benchmarks/listen.py
        # The write comes back as a webhook of the other CRM; that is the end of it.
        wait_for(lambda: "waiting" not in events(desk.folder) and close.courier.idle(), listener)
        wait_for(lambda: events(desk.folder).keys() == {"done"}, listener)
        assert [one for one in listener.lines if one["event"] in ("failed", "refused")] == []
        runs = [one for one in listener.lines if one["event"] == "synced" and one["writes"]]
        assert len(runs) == 1

        # Somebody else pulls, so that the next event stays where it is; then the process is killed.
        answered = len(zoho.courier.answers)
        store = closing(State(f"sqlite:///{desk.folder / '.crmkit/state.db'}"))
        with store as state, hold(state, "pull:zoho", SystemClock().now):
            zoho.world.edit_deal(pair["zoho"], name="Signed on Tuesday")
            wait_for(lambda: len(zoho.courier.answers) > answered, listener)
            listener.end(signal.SIGKILL)
        assert set(zoho.courier.answers) == {200}
        assert events(desk.folder)["waiting"] == 1
        assert not arrived("Signed on Tuesday")

    with listening(desk.folder, *where) as listener:
        wait_for(lambda: arrived("Signed on Tuesday"), listener)
        assert listener.end() == (0, "")
