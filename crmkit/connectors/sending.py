"""Send writes side by side, and turn what goes wrong into outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from crmkit.connectors.writing import Change, Result, Written
from crmkit.errors import (
    ConfigError,
    CredentialsError,
    CrmkitError,
    Interrupted,
    NetworkFault,
    NotFound,
    OutcomeUnknown,
    QuotaExhausted,
    RateLimited,
    Rejected,
    Transient,
    Unsupported,
)


@dataclass(frozen=True, slots=True)
class Job:
    """One request (or a few that belong together) and the changes it carries out.

    `run` gives one outcome per change; what it raises is the outcome of all of them.
    """

    changes: Sequence[Change]
    run: Callable[[], Sequence[Written]]


def outcomes(changes: Sequence[Change], error: CrmkitError) -> list[Written]:
    """What an error of a write call means for each change that the call carried."""
    return [Written(change.id, result_of(error), reason=str(error)) for change in changes]


def result_of(error: CrmkitError) -> Result:
    """What an error of one write call proves about it.

    Everything that does not prove that nothing was executed is `UNKNOWN`.
    """
    match error:
        case OutcomeUnknown():
            return Result.UNKNOWN
        case NotFound():
            return Result.GONE
        case Rejected():
            return Result.REJECTED
        case RateLimited() | QuotaExhausted() | Interrupted() | CredentialsError() | ConfigError():
            return Result.UNSENT
        case Unsupported():
            return Result.UNSENT  # refused on this side, before anything was sent
        case NetworkFault():
            return Result.UNKNOWN if error.sent else Result.UNSENT
        case Transient():
            return Result.UNKNOWN
        case _:
            return Result.UNKNOWN


def stops(error: CrmkitError) -> bool:
    """Whether it is pointless to send the next request after this one failed."""
    return isinstance(error, QuotaExhausted | Interrupted | CredentialsError | ConfigError)


def send(jobs: Sequence[Job], in_flight: int) -> Iterator[Sequence[Written]]:
    """Run jobs, several at a time, and give the outcomes of those that have ended.

    Requests go on while the caller stores outcomes: the slower it is, the more come at once.
    After an error that stops, no further job starts: its changes are `UNSENT`. Refused
    credentials are raised, after the outcomes of what was under way.
    """
    waiting = list(reversed(jobs))
    stopped: CrmkitError | None = None
    with ThreadPoolExecutor(max_workers=max(1, in_flight), thread_name_prefix="write") as pool:
        running: dict[Future[Sequence[Written]], Job] = {}

        def start() -> None:
            while waiting and len(running) < in_flight:
                job = waiting.pop()
                running[pool.submit(job.run)] = job

        start()
        while running:
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            found: list[Written] = []
            for future in ended:
                job = running.pop(future)
                try:
                    found += future.result()
                except CrmkitError as error:
                    found += outcomes(job.changes, error)
                    if stops(error):
                        stopped = stopped or error
            if stopped is None:
                start()
            if found:
                yield found
    if stopped is not None:
        for job in reversed(waiting):
            yield [Written(change.id, Result.UNSENT, reason=str(stopped)) for change in job.changes]
        if isinstance(stopped, CredentialsError | Interrupted):
            raise stopped


def unanswered(changes: Sequence[Change], answered: Sequence[Written]) -> list[Written]:
    """`UNKNOWN` for every change that a batch's answer does not mention."""
    known = {outcome.id for outcome in answered}
    return [
        Written(change.id, Result.UNKNOWN, reason="the answer does not mention this record")
        for change in changes
        if change.id not in known
    ]


def halves(changes: Sequence[Change]) -> tuple[Sequence[Change], Sequence[Change]]:
    """The two halves of a batch that was refused as a whole; it is sent again in parts."""
    middle = len(changes) // 2
    return changes[:middle], changes[middle:]
