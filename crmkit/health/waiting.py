"""What was left behind: for a person, for the next run, or by a process that is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from crmkit.health.findings import STORE, Finding, age, counted, note, ok, waits, warning

LONG = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Left:
    """What waits in one sync.

    Attributes:
        conflicts: Conflicts without a decision.
        oldest: Since when the oldest waits.
        refused: Writes that a CRM refuses.
        reviews: Records that wait before they are linked.
        unknown: Writes whose outcome is not known.
        under_way: Whether a run holds the sync right now.
        resume: What goes on with it.
    """

    conflicts: int = 0
    oldest: datetime | None = None
    refused: int = 0
    reviews: int = 0
    unknown: int = 0
    under_way: bool = False
    resume: str = ""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that has not run out.

    Attributes:
        name: What is leased, for example `pull:hubspot-us`.
        owner: The holder, as host and process.
        since: When it was taken.
        gone: Whether its holder is known to be gone.
    """

    name: str
    owner: str
    since: datetime
    gone: bool


def check_quarantine(connection: str, count: int, oldest: datetime | None, now: datetime) -> Finding:
    """Records of a connection that could not be read."""
    if not count:
        return ok(connection, "quarantine", "every record could be read")
    since = f", the oldest for {age((now - oldest).total_seconds())}" if oldest else ""
    return waits(connection, "quarantine", f"{counted(count, 'record')} could not be read{since}",
                 command=f"crmkit quarantine {connection}")  # fmt: skip


def check_left(sync: str, left: Left, now: datetime) -> Iterator[Finding]:
    """What waits in one sync or migration."""
    if left.conflicts:
        since = f", the oldest for {age((now - left.oldest).total_seconds())}" if left.oldest else ""
        many = f"{counted(left.conflicts, 'conflict')} wait{'s' if left.conflicts == 1 else ''}"
        yield waits(
            sync, "conflicts", f"{many} for a decision{since}", command=f"crmkit conflicts list {sync}"
        )
    else:
        yield ok(sync, "conflicts", "no conflict waits")
    if left.reviews:
        many = f"{counted(left.reviews, 'record')} wait{'s' if left.reviews == 1 else ''}"
        yield waits(sync, "links", f"{many} to be linked, or to be told apart", command="crmkit links review")
    else:
        yield ok(sync, "links", "no record waits to be linked")
    if left.refused:
        yield waits(sync, "refused", f"a CRM refuses {counted(left.refused, 'write')}",
                    command=f"crmkit refused {sync}")  # fmt: skip
    else:
        yield ok(sync, "refused", "no write is refused")
    if left.unknown and not left.under_way:
        are = "write whose outcome is" if left.unknown == 1 else "writes whose outcome is"
        yield warning(sync, "unknown", f"{left.unknown:,} {are} not known",
                      hint="Every run looks first what became of them.",
                      command=left.resume)  # fmt: skip
    else:
        yield ok(sync, "unknown", "every write has an outcome")


def check_lease(lease: HeldLease, now: datetime) -> Finding:
    """Whether a lease is held by somebody who works."""
    host, _, process = lease.owner.partition(":")
    since = age((now - lease.since).total_seconds())
    if lease.gone:
        return note(STORE, "leases", f"{lease.name} is still leased to process {process}, which is gone",
                    hint="Nothing to do: a run takes it over, at the latest in 3 minutes.")  # fmt: skip
    if now - lease.since > LONG:
        return note(STORE, "leases", f"{lease.name} is held for {since} by process {process} on {host}",
                    hint="Look whether it still works.", command="crmkit runs")  # fmt: skip
    return ok(STORE, "leases", f"{lease.name} is under way for {since}")
