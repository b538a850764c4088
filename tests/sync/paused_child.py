"""A process of its own that runs a sync and stops before its first request, as if its machine fell asleep."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from typing import ClassVar

from crmkit.errors import Busy
from tests import crash_child

BUSY = Busy.exit_code
STOPS = (-1, 0, [])


class Pause(crash_child.Fuse):
    """Stops the process until somebody lets it go on, if it is to stop at all; says so right before."""

    report: ClassVar[Connection]

    def burn(self, label: str) -> None:
        with self._lock:
            if not self._armed:
                return
            self.labels.append(label)
            if label == "before request" and self._kill_at is not None:
                self._kill_at = None
                self.report.send(STOPS)
                os.kill(os.getpid(), signal.SIGSTOP)


def main(order: crash_child.Order, report: Connection) -> None:
    """Carry out the order and report as `crash_child.main` does; that somebody else holds the lease, too."""
    Pause.report = report
    crash_child.Fuse = Pause  # type: ignore[misc]  # this process is the test's own
    try:
        crash_child.main(order, report)
    except Busy:
        report.send((BUSY, 0, []))
