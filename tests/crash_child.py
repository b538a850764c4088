"""One run of a sync in a process of its own, which kills itself at a chosen step.

Steps are the moments around everything that lasts: before and after each commit to the
state store, and before and after each request that changes something in the CRM.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.base import Context
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.registry import connector as connector_class
from crmkit.sync.run import SyncResult, SyncRun
from crmkit.sync.state import State
from tests.connectors.conftest import FakeSecrets
from tests.scenarios.one_way import DEALS, STEPS, TARGET, Source, run_once

for _crm in ("hubspot", "zoho", "copper", "bitrix24", "close"):
    connector_class(_crm)  # imported once, in the process that all children are copies of


@dataclass(frozen=True)
class Order:
    """What the child is to do.

    Attributes:
        crm: The target.
        options, credentials: How to reach it.
        currency: Its currency.
        state: Address of the state store.
        begun: When the first run of all was.
        now: The time.
        steps: What users have done so far, in order.
        kill_at: After how many steps of the sync to die; `None` for never.
    """

    crm: str
    options: Mapping[str, Any]
    credentials: Mapping[str, str]
    currency: str
    state: str
    begun: datetime
    now: datetime
    steps: tuple[str, ...]
    kill_at: int | None = None


@dataclass
class ChildClock:
    """Time as the parent told it; a sleep only moves it."""

    at: datetime
    slept: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> datetime:
        return self.at + timedelta(seconds=self.slept)

    def monotonic(self) -> float:
        return self.slept

    def sleep(self, seconds: float, cancelled: threading.Event) -> None:
        with self.lock:
            self.slept += seconds


class Fuse:
    """Counts steps, and ends the process at the chosen one as a power cut would."""

    def __init__(self, kill_at: int | None) -> None:
        self.labels: list[str] = []
        self._kill_at = kill_at
        self._lock = threading.Lock()
        self._armed = False

    def burn(self, label: str) -> None:
        with self._lock:
            if not self._armed:
                return
            self.labels.append(label)
            if len(self.labels) == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def lay(self) -> None:
        """Put the fuse around everything that lasts; it is armed once the sync begins."""
        write, transfer, sync, burn = State.write, Http._transfer, SyncRun.sync, self.burn

        @contextmanager
        def slow_write(state: State) -> Iterator[sa.Connection]:
            with write(state) as connection:
                yield connection
                burn("before commit")
            burn("after commit")

        def slow_transfer(http: Http, call: Call, attempts: Any) -> Answer:
            if call.writes:
                burn("before request")
            answer = transfer(http, call, attempts)
            if call.writes:
                burn("after answer")
            return answer

        def armed_sync(run: SyncRun, confirmed: Mapping[str, int] | None = None) -> SyncResult:
            self._armed = True
            return sync(run, confirmed)

        for owner, name, slow in (
            (State, "write", slow_write),
            (Http, "_transfer", slow_transfer),
            (SyncRun, "sync", armed_sync),
        ):
            setattr(owner, name, slow)


def main(order: Order, report: Connection) -> None:
    """Carry out the order and report (exit code, writes, labels of the steps)."""
    fuse = Fuse(order.kill_at)
    fuse.lay()
    clock = ChildClock(order.begun)
    source = Source(clock, order.currency)
    source.fill(DEALS)
    for step in order.steps:
        STEPS[step](source)
    clock.at = order.now
    kind = connector_class(order.crm)
    target = kind(
        Context(TARGET, FakeSecrets(**order.credentials), clock=clock), kind.Options(**order.options)
    )
    with closing(State(order.state)) as state:
        result = run_once(state, source, target)
    target.close()
    report.send((result.exit_code, result.writes, fuse.labels))
