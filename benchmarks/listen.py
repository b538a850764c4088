"""How long a change takes from one CRM to the other through `crmkit listen`, and what a burst costs.

Run by hand: `python benchmarks/listen.py [--changes 20] [--burst 1000]`. Two sandbox CRMs (Zoho and
Close) in this process, the listener in a process of its own, everything on this machine and on real
HTTP. Prints seconds from the edit in one CRM until the other shows it: median, slowest; then the time
until a burst of edits is through, and the requests it took.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from crmkit import workspace
from crmkit.commands.sandbox import local_crms
from crmkit.sandbox.server import Sandbox

CRMS = ("zoho", "close")
PATIENCE_SECONDS = 40.0
BURST_DEALS = 15  # more of them, and the guard against mass changes would stop the sync
_SYNC = """
[syncs.main]
members = ["zoho", "close"]
order = ["zoho", "close"]
fields = ["name", "expected_close"]
member.zoho.create = "none"
member.close.create = "none"
"""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--changes", type=int, default=20, help="single edits, one after the other")
    options.add_argument("--burst", type=int, default=1000, help="edits at once")
    options.add_argument("--deals", type=int, default=300)
    chosen = options.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox.up(CRMS, deals=chosen.deals, seed=5, limits="off", lag_seconds=0) as box,
    ):
        measure(Path(folder), box, chosen.changes, chosen.burst)


def measure(folder: Path, box: Sandbox, changes: int, burst: int) -> None:
    """Set two CRMs up, listen, and time edits."""
    path = workspace.write(folder, local_crms(box.apps))
    head, _, _ = path.read_text(encoding="utf-8").partition("[syncs.main]")
    path.write_text(head + _SYNC, encoding="utf-8")
    confirm = ("--confirm", "field.name=99999", "--confirm", "field.expected_close=99999")
    crmkit(folder, "pull")
    crmkit(folder, "sync", "main", *confirm)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    listener = subprocess.Popen(
        [sys.executable, "-m", "crmkit.cli", "--json", "listen", "--port", str(port),
         "--public-url", f"http://127.0.0.1:{port}", "--subscribe", "--yes"],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert listener.stdout is not None
    for line in listener.stdout:
        if json.loads(line).get("event") == "listening":
            break
    try:
        pairs = [pair for pair in linked(folder) if pair[0] in box["zoho"].world.deals]
        seconds = [through(box, pairs[number % len(pairs)], f"Change {number}") for number in range(changes)]
        print(f"{len(pairs)} linked deals; {changes} single edits:")
        print(f"  median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s")
        time.sleep(3)
        for app in box.apps.values():
            app.requests.clear()
        began = time.perf_counter()
        some = pairs[:BURST_DEALS]
        for number in range(burst):
            box["zoho"].world.edit_deal(some[number % len(some)][0], name=f"Burst {number}")
        wait(lambda: box["zoho"].courier.idle() and all(same(box, pair) for pair in some))
        print(f"a burst of {burst} edits of {len(some)} deals: {time.perf_counter() - began:.2f} s")
        time.sleep(2)  # for the echoes of what was written
        for name, app in box.apps.items():
            print(f"  {name}: {app.requests.total} requests, {app.courier.sent} deliveries in all")
    finally:
        listener.send_signal(signal.SIGTERM)
        listener.wait()


def through(box: Sandbox, pair: tuple[str, str], name: str) -> float:
    """Seconds until an edit in Zoho is there in Close."""
    began = time.perf_counter()
    box["zoho"].world.edit_deal(pair[0], name=name)
    wait(lambda: same(box, pair))
    return time.perf_counter() - began


def same(box: Sandbox, pair: tuple[str, str]) -> bool:
    """Whether both CRMs hold the same name."""
    return str(box["zoho"].world.deals[pair[0]].name) in str(box["close"].world.deals[pair[1]])


def wait(done: object) -> None:
    """Poll every 5 ms."""
    assert callable(done)
    until = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > until:
            raise SystemExit("nothing arrived")
        time.sleep(0.005)


def linked(folder: Path) -> Sequence[tuple[str, str]]:
    """Ids of the deals that both CRMs hold."""
    db = sqlite3.connect(folder / ".crmkit/state.db")
    query = (
        "SELECT a.native_id, b.native_id FROM links a "
        "JOIN links b ON a.entity = b.entity AND a.kind = b.kind "
        "WHERE a.kind = 'deal' AND a.connection = 'zoho' AND b.connection = 'close' "
        "AND a.status = 'live' AND b.status = 'live' ORDER BY a.native_id"
    )
    found = db.execute(query).fetchall()
    db.close()
    return [(str(one), str(other)) for one, other in found]


def crmkit(folder: Path, *arguments: str) -> None:
    """Run a command."""
    subprocess.run(
        [sys.executable, "-m", "crmkit.cli", "-q", *arguments], cwd=folder, env=environment(), check=False
    )


def environment() -> dict[str, str]:
    """Without the keyring of whoever runs this."""
    return {**os.environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


if __name__ == "__main__":
    main()
