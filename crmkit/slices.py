"""One slice of scheduled work: a pull or a sync, carried on for some minutes and stopped at a border.

Whoever runs it (cron, a worker, another job runner) only decides when and where. The engine's
own leases say who works, its cursors and its journal say where to go on; so a slice may be
delivered twice, late, or not at all, and nothing is lost or done twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from crmkit.alerts import after_run
from crmkit.errors import Busy, CrmkitError, Interrupted
from crmkit.scheduling.task import Task
from crmkit.session import RunningPull, Session, StopHere, pull
from crmkit.sync.pull import PullOutcome, PullResult
from crmkit.sync.run import SyncResult
from crmkit.sync.state import State
from crmkit.syncing import OpenSync, RunningWrites, named, open_sync, watched

SHORTEST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.2
QUARANTINED = 4
PARTLY = 5


@dataclass(frozen=True, slots=True)
class Slice:
    """How a slice ended.

    Attributes:
        code: The exit code (DESIGN 7).
        more: Whether it was stopped with something left to do: deliver the task again.
        pulls: What was pulled.
        result: What a run of a sync did; `None` if it came to none.
        error: What ended it early.
        untold: Who could not be told about it by `[alerts]`, one line each.
    """

    code: int
    more: bool = False
    pulls: Sequence[PullResult] = ()
    result: SyncResult | None = None
    error: CrmkitError | None = None
    untold: Sequence[str] = ()

    @property
    def busy(self) -> bool:
        """Whether somebody else does it already."""
        return self.code == Busy.exit_code


class Stopper:
    """Says when a slice has to end: at a time, or when somebody asks for it.

    Args:
        now: The clock.
        stop_at: When; `None` lets it take as long as it takes.
        asked: Set by whoever wants everything to end at its next border.
    """

    def __init__(self, now: Callable[[], datetime], stop_at: datetime | None, asked: threading.Event) -> None:
        self._now = now
        self._stop_at = stop_at
        self._asked = asked
        self.stopped = False

    def pulls(self, running: Sequence[RunningPull], done: Callable[[], bool]) -> None:
        """Wait until the pulls have ended.

        Raises:
            StopHere: It is time.
        """
        del running
        self._wait(done)

    def writes(self, running: Callable[[], Sequence[RunningWrites]], done: Callable[[], bool]) -> None:
        """Wait until a run has ended.

        Raises:
            StopHere: It is time.
        """
        del running
        self._wait(done)

    def _wait(self, done: Callable[[], bool]) -> None:
        pause = SHORTEST_PAUSE_SECONDS
        while not done():
            late = self._stop_at is not None and self._now() >= self._stop_at
            if late or self._asked.wait(pause):
                self.stopped = True
                raise StopHere
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def run_slice(
    session: Session,
    state: State,
    task: Task,
    *,
    stop_at: datetime | None = None,
    asked: threading.Event | None = None,
) -> Slice:
    """Do a slice of a task; never raises for what goes wrong with it.

    Args:
        session: The workspace; one for each thread.
        state: Its open store.
        task: A pull or a sync.
        stop_at: When to stop at the next border.
        asked: Set to stop there earlier.

    Raises:
        ValueError: It is another kind of task.
    """
    stopper = Stopper(session.clock.now, stop_at, asked or threading.Event())
    if task.kind == "pull":
        return _pull(session, state, task, stopper)
    if task.kind != "sync":
        raise ValueError(f"{task} is not done in slices")
    return _sync(session, state, task.names[0], stopper)


def _pull(session: Session, state: State, task: Task, stopper: Stopper) -> Slice:
    try:
        pulls = pull(session, state, task.names, watch=stopper.pulls)
    except CrmkitError as error:
        return Slice(error.exit_code, error=error)
    codes = {code for code in map(_code, pulls) if code}
    if stopper.stopped and codes <= {Interrupted.exit_code}:
        return Slice(PARTLY, more=True, pulls=pulls)
    if stopper.stopped:
        codes.discard(Interrupted.exit_code)
    code = _code_of(codes)
    failed = next((one.error for one in pulls if one.error is not None and _code(one) == code), None)
    return Slice(code, more=stopper.stopped, pulls=pulls, error=failed)


def _code(result: PullResult) -> int:
    if result.error is not None:
        return result.error.exit_code
    return QUARANTINED if result.outcome is PullOutcome.HELD else 0


def _code_of(codes: set[int]) -> int:
    """One code for several pulls; one that somebody else does already is the least of it."""
    serious = sorted(codes - {Busy.exit_code, QUARANTINED}, reverse=True)
    return next(iter(serious), Busy.exit_code if Busy.exit_code in codes else max(codes, default=0))


def _sync(session: Session, state: State, name: str, stopper: Stopper) -> Slice:
    opened: OpenSync | None = None
    try:
        named(session, name)
        with open_sync(session, state, name, watch=stopper.pulls, read_only=False) as opened:
            result = watched(opened, state, opened.run.sync, stopper.writes)
    except Interrupted as error:
        if stopper.stopped:
            return Slice(PARTLY, more=True)
        return _told(session, state, name, Slice(error.exit_code, error=error))
    except CrmkitError as error:
        pulls = opened.pulls if opened is not None else ()
        return _told(session, state, name, Slice(error.exit_code, pulls=pulls, error=error))
    if stopper.stopped and result.exit_code == Interrupted.exit_code:
        # Not the end of the run, so nobody is told about it yet.
        return Slice(PARTLY, more=True, pulls=opened.pulls, result=result)
    code = result.exit_code
    if code == 0 and any(one.outcome is PullOutcome.HELD for one in opened.pulls):
        code = QUARANTINED
    return _told(session, state, name, Slice(code, pulls=opened.pulls, result=result))


def _told(session: Session, state: State, name: str, ended: Slice) -> Slice:
    """The slice, after whom `[alerts]` names was told about it."""
    held = ended.result.held if ended.result is not None else ()
    untold = after_run(session, state, name, ended.code, error=ended.error, held=held)
    return Slice(ended.code, ended.more, ended.pulls, ended.result, ended.error, untold)
