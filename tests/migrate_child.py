"""One `crmkit` command in a process of its own, which kills itself at a chosen step as a power cut would."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

from crmkit import credentials
from crmkit.cli import main
from crmkit.commands import migrate
from crmkit.connectors.clock import SystemClock
from crmkit.migration.build import Builder, Built
from tests.crash_child import ChildClock, Fuse

KILLED = -9
assert migrate  # imported once, in the process that all children are copies of


@dataclass(frozen=True)
class Command:
    """What the child is to do.

    Attributes:
        folder: The workspace.
        arguments: Of `crmkit`.
        now: The time.
        kill_at: After how many steps to die; `None` for never.
    """

    folder: Path
    arguments: tuple[str, ...]
    now: datetime
    kill_at: int | None = None


class MigrationFuse(Fuse):
    """Is armed as soon as the structure of the target is looked at, before anything is written."""

    def lay(self) -> None:
        super().lay()
        run = Builder.run

        def armed_run(builder: Builder) -> Built:
            self._armed = True
            return run(builder)

        Builder.run = armed_run  # type: ignore[method-assign]


def carry_out(command: Command, report: Connection) -> None:
    """Carry out the command; reports (exit code, steps)."""
    fuse = MigrationFuse(command.kill_at)
    fuse.lay()
    clock = ChildClock(command.now)
    SystemClock.now = lambda _: clock.now()  # type: ignore[method-assign]
    SystemClock.monotonic = lambda _: clock.monotonic()  # type: ignore[method-assign]
    SystemClock.sleep = lambda _, seconds, event: clock.sleep(seconds, event)  # type: ignore[method-assign]
    credentials.system_keyring = lambda: None  # type: ignore[assignment]
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    os.environ |= {"NO_COLOR": "1", "COLUMNS": "200"}
    os.chdir(command.folder)
    code = 0
    with (
        (command.folder / "out.txt").open("w", encoding="utf-8") as out,
        (command.folder / "err.txt").open("w", encoding="utf-8") as err,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main(command.arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
    report.send((code, fuse.labels))
