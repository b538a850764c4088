"""Ctrl-C, a kill and a second process: what was read stays, and the next pull goes on there."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from crmkit.sandbox.server import Sandbox
from tests.scenarios.conftest import Crmkit

Up = Callable[..., Sandbox]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
PATIENCE_SECONDS = 60.0


def start_pull(folder: Path) -> subprocess.Popen[str]:
    """A pull in a process of its own."""
    environment = {**os.environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    return subprocess.Popen(
        [sys.executable, "-m", "crmkit.cli", "--json", "pull"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return once something has happened; fail if the process ends before it does."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.01)):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        pause.wait(0.01)
    raise AssertionError("nothing happened")


def stored_deals(folder: Path) -> int:
    with sqlite3.connect(folder / ".crmkit" / "state.db") as db:
        count = db.execute("SELECT count(*) FROM deals").fetchone()[0]
    db.close()
    return int(count)


def deal_requests(box: Sandbox) -> int:
    return sum(count for family, count in box["close"].requests.families.items() if "/opportunity/" in family)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_stopped_pull_goes_on_where_it_stopped(
    crmkit: Crmkit, up: Up, tmp_path: Path, how: signal.Signals
) -> None:
    box = up("close", deals=6000, latency_ms=30)
    process = start_pull(tmp_path)
    wait_until(lambda: deal_requests(box) >= 12, process)
    process.send_signal(how)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in err
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert json.loads(out)[0]["outcome"] == "interrupted"
        assert stored_deals(tmp_path) > 0
    before = stored_deals(tmp_path)
    box["close"].requests.clear()
    result = crmkit("--json", "pull")
    row = json.loads(result.out)[0]
    assert (result.code, row["outcome"]) == (0, "done")
    assert stored_deals(tmp_path) == len(box["close"].world.deals)
    assert before == 0 or row["resumed"]
    assert row["records"]["deal"] <= 6000 * 1.05 - before + 8 * 250


def test_the_second_of_two_pulls_says_who_holds_the_lease(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    box = up("close", deals=6000, latency_ms=30)
    process = start_pull(tmp_path)
    wait_until(lambda: deal_requests(box) >= 3, process)
    second = crmkit("pull")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert second.code == 8
    assert f"process {process.pid}" in second.err
