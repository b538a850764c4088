"""When a connection was pulled and a sync run last, and how that ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from crmkit.health.findings import Finding, age, note, ok, warning
from crmkit.report.render.visible import shortened

OLD, VERY_OLD = timedelta(days=1), timedelta(days=7)
_ERROR_LENGTH = 160
_WAITS, _PARTLY = "exit 4", "exit 5"


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run of a pull or a sync.

    Attributes:
        number: Its number.
        command: What was run.
        started_at: When it began.
        ended_at: When it ended; `None` if it did not.
        outcome: How; `None` if it did not end.
        error: What ended it early.
        under_way: Whether it still runs.
    """

    number: int
    command: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: str | None
    under_way: bool = False


def check_pull(
    connection: str, whole: datetime | None, last: LastRun | None, now: datetime, *, wanted_within: timedelta
) -> Finding:
    """Whether the local copy is fresh.

    Args:
        connection: Whose copy.
        whole: When the last pull that ended well began.
        last: The last pull, however it ended.
        now: The clock.
        wanted_within: How old a copy may be without a word: what a sync sweeps after.
    """
    command = f"crmkit pull {connection}"
    if last is None:
        return note(connection, "pull", "was never pulled", command=command)
    if last.under_way:
        return ok(connection, "pull", f"a pull is under way for {_since(last.started_at, now)}")
    if last.outcome is None:
        return warning(connection, "pull", f"the last pull, {_since(last.started_at, now)} ago, did not end",
                       hint="The next one goes on where it stopped.", command=command)  # fmt: skip
    if last.outcome in ("failed", "interrupted"):
        said = f": {shortened(last.error, _ERROR_LENGTH)}" if last.error else ""
        how = "failed" if last.outcome == "failed" else "was interrupted"
        return warning(connection, "pull", f"the last pull, {_since(last.started_at, now)} ago, {how}{said}",
                       command=command)  # fmt: skip
    at = whole or last.started_at
    text = f"the local copy is {_since(at, now)} old"
    if now - at > max(VERY_OLD, wanted_within):
        return warning(connection, "pull", text, command=command)
    if now - at > max(OLD, wanted_within):
        return note(connection, "pull", text, command=command)
    return ok(connection, "pull", text)


def check_sync(sync: str, last: LastRun | None, now: datetime) -> Finding:
    """How the last run of a sync ended."""
    if last is None:
        return note(sync, "last-run", "was never run", command=f"crmkit plan {sync}")
    when = f"run {last.number} ({last.command}), {_since(last.started_at, now)} ago,"
    if last.under_way:
        return ok(sync, "last-run", f"run {last.number} ({last.command}) is under way")
    if last.outcome is None:
        return warning(sync, "last-run", f"{when} did not end", command=f"crmkit resume {sync}")
    if last.outcome in ("done", _WAITS):
        # What waits is told by the checks for it.
        return ok(sync, "last-run", f"{when} was done")
    if last.outcome == _PARTLY:
        return warning(sync, "last-run", f"{when} was done in part only", command=f"crmkit resume {sync}")
    said = f": {shortened(last.error, _ERROR_LENGTH)}" if last.error else f" ({last.outcome})"
    return warning(sync, "last-run", f"{when} failed{said}", command=f"crmkit plan {sync}")


def _since(at: datetime, now: datetime) -> str:
    return age((now - at).total_seconds())
