"""Schedules in the state store: who runs a tick is settled here, between all machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from crmkit.errors import StateError, UsageError
from crmkit.scheduling.quiet import QuietHours
from crmkit.scheduling.schedule import Schedule, due
from crmkit.scheduling.task import Task
from crmkit.sync import schema
from crmkit.sync.schema import Moment, metadata
from crmkit.sync.schema import text as _text

if TYPE_CHECKING:  # which imports this module for its table
    from crmkit.sync.state import State

schedules = sa.Table(
    "schedules",
    metadata,
    _text("name", primary_key=True),
    _text("what", nullable=False),
    # One of the two says when.
    sa.Column("every_seconds", sa.Integer),
    _text("cron"),
    _text("time_zone", nullable=False),
    # Spans as a person writes them, between semicolons.
    _text("quiet", nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    # The tick that was claimed last; before the first one, when the schedule was made or resumed.
    sa.Column("last_due", Moment, nullable=False),
    # Of the run of that tick; all empty before the first one.
    sa.Column("started_at", Moment),
    sa.Column("ended_at", Moment),
    sa.Column("exit_code", sa.Integer),
)
_ROW = schedules.c
ABANDONED_AFTER = timedelta(minutes=10)
"""So long a tick is left to whoever began it, although nobody seems to hold a lease for it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A schedule and how its last run went.

    Attributes:
        schedule: The schedule.
        last_due: The tick that was claimed last, or when it was made or resumed.
        started_at: When the last run started; `None` if there was none.
        ended_at: When it ended; `None` if it is under way, or its process is gone.
        exit_code: How it ended.
    """

    schedule: Schedule
    last_due: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None


def load(state: State) -> list[Stored]:
    """All schedules, by name.

    Raises:
        StateError: One cannot be read.
    """
    with state.read() as db:
        return [_stored(row) for row in db.execute(sa.select(schedules).order_by(_ROW.name))]


def waiting(stored: Sequence[Stored], now: datetime) -> list[tuple[Stored, datetime]]:
    """The schedules that have a tick to run now, each with the tick, the one that waits longest first."""
    found = [(one, due(one.schedule, one.last_due, now)) for one in stored]
    return sorted(((one, tick) for one, tick in found if tick is not None), key=lambda pair: pair[1])


def add(state: State, schedule: Schedule, now: datetime) -> None:
    """Store a new schedule; its first tick is the first one after now.

    Raises:
        UsageError: There is one of that name.
    """
    every = schedule.every
    with state.write() as db:
        if _locked(db, schedule.name) is not None:
            raise UsageError(
                f"there is a schedule {schedule.name!r} already",
                hint="Choose another name with --name, or `crmkit schedule remove` that one first.",
            )
        db.execute(
            schedules.insert().values(
                name=schedule.name,
                what=str(schedule.what),
                every_seconds=None if every is None else int(every.total_seconds()),
                cron=schedule.cron,
                time_zone=schedule.time_zone,
                quiet=";".join(map(str, schedule.quiet)),
                enabled=schedule.enabled,
                last_due=now.astimezone(UTC),
            )
        )


def remove(state: State, name: str) -> None:
    """Forget a schedule; a run that is under way goes on.

    Raises:
        UsageError: There is none of that name.
    """
    with state.write() as db:
        if db.execute(schedules.delete().where(_ROW.name == name)).rowcount != 1:
            raise unknown(name)


def set_enabled(state: State, name: str, enabled: bool, now: datetime) -> None:
    """Pause or resume a schedule; what a pause left out is not caught up.

    Raises:
        UsageError: There is none of that name.
    """
    with state.write() as db:
        row = _locked(db, name)
        if row is None:
            raise unknown(name)
        values: dict[str, Any] = {"enabled": enabled}
        if enabled and not row.enabled:
            values["last_due"] = max(row.last_due, now.astimezone(UTC))
        db.execute(schedules.update().where(_ROW.name == name).values(values))


def claim(state: State, name: str, due_at: datetime, now: datetime) -> bool:
    """Whether the caller is the one to run a tick: of all that ask, one gets it.

    A tick that is not newer than the last one, or of a schedule that was paused or removed
    in the meantime, is nobody's.
    """
    with state.write() as db:
        row = _locked(db, name)
        if row is None or not row.enabled or row.last_due >= due_at:
            return False
        db.execute(
            schedules.update()
            .where(_ROW.name == name)
            .values(
                last_due=due_at.astimezone(UTC),
                started_at=now.astimezone(UTC),
                ended_at=None,
                exit_code=None,
            )
        )
    return True


def ended(state: State, name: str, due_at: datetime, exit_code: int, at: datetime) -> None:
    """Note how the run of a tick ended, unless a later tick was claimed since."""
    with state.write() as db:
        db.execute(
            schedules.update()
            .where(_ROW.name == name, _ROW.last_due == due_at.astimezone(UTC))
            .values(ended_at=at.astimezone(UTC), exit_code=exit_code)
        )


def abandoned(state: State, stored: Sequence[Stored], now: datetime) -> list[Stored]:
    """Schedules whose last tick was begun and never ended, and that nobody works on any more.

    The process is gone: whoever runs `retake` with success goes on in its place.
    """
    found = [
        one
        for one in stored
        if one.schedule.enabled
        and one.started_at is not None
        and one.ended_at is None
        and now - one.started_at >= ABANDONED_AFTER
    ]
    if not found:
        return []
    row = schema.leases.c
    with state.read() as db:
        names = db.execute(sa.select(row.name).where(row.expires_at > now.astimezone(UTC))).scalars()
        working = set(names)
    # A sync pulls its members first, and holds only their leases meanwhile.
    pulling = any(name.startswith("pull:") for name in working)
    return [one for one in found if not pulling and str(one.schedule.what) not in working]


def retake(state: State, stored: Stored, now: datetime) -> bool:
    """Whether the caller is the one to take up an abandoned tick."""
    with state.write() as db:
        done = db.execute(
            schedules.update()
            .where(
                _ROW.name == stored.schedule.name,
                _ROW.last_due == stored.last_due,
                _ROW.started_at == stored.started_at,
                _ROW.ended_at.is_(None),
            )
            .values(started_at=now.astimezone(UTC))
        )
    return done.rowcount == 1


def unknown(name: str) -> UsageError:
    """There is no schedule of that name."""
    return UsageError(f"there is no schedule {name!r}", hint="`crmkit schedule list` names them.")


def _locked(db: sa.Connection, name: str) -> sa.Row[Any] | None:
    query = sa.select(schedules).where(_ROW.name == name).with_for_update()
    return db.execute(query).one_or_none()


def _stored(row: sa.Row[Any]) -> Stored:
    try:
        schedule = Schedule(
            name=row.name,
            what=Task.parse(row.what),
            every=None if row.every_seconds is None else timedelta(seconds=row.every_seconds),
            cron=row.cron,
            time_zone=row.time_zone,
            quiet=tuple(QuietHours.parse(part) for part in row.quiet.split(";") if part),
            enabled=row.enabled,
        )
    except ValueError as error:
        raise StateError(
            f"the schedule {row.name!r} in the state store cannot be used: {error}",
            hint=f"Remove it with `crmkit schedule remove {row.name}` and add it again.",
        ) from error
    return Stored(schedule, row.last_due, row.started_at, row.ended_at, row.exit_code)
