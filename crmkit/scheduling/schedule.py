"""A schedule, and the ticks it has: when is the next one, and is one due."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from crmkit.scheduling.quiet import QuietHours, always, block, instant
from crmkit.scheduling.task import Task

SPREAD = timedelta(minutes=10)
"""Schedules of the same interval begin spread over this time, so that not all portals start at once."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_EVERY = re.compile(r"(\d{1,5})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is done when.

    Attributes:
        name: Its name; also decides at which second of an interval it begins.
        what: What is done.
        every: The interval, from one minute up; `None` if `cron` says when.
        cron: Five fields as in crontab(5), in local time; `None` if `every` says when.
        time_zone: An IANA name; `cron` and `quiet` are read in it.
        quiet: When nothing starts: a tick in these hours is moved to their end.
        enabled: Whether it runs at all.

    Raises:
        ValueError: It could never be carried out as it stands.
    """

    name: str
    what: Task
    every: timedelta | None = None
    cron: str | None = None
    time_zone: str = "UTC"
    quiet: tuple[QuietHours, ...] = ()
    enabled: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r}: use lower-case letters, digits, hyphens and _")
        if (self.every is None) == (self.cron is None):
            raise ValueError("say either every how long, or when as a cron expression")
        if self.every is not None and not timedelta(minutes=1) <= self.every <= timedelta(days=366):
            raise ValueError("an interval is between one minute and 366 days")
        if self.every is not None and self.every.microseconds:
            raise ValueError("an interval is of whole seconds")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{self.time_zone!r} is no time zone: write one like Europe/Berlin") from error
        if self.cron is not None:
            _check_cron(self.cron)
        if always(self.quiet):
            raise ValueError("the quiet hours leave no time to run")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.time_zone)


def parse_every(text: str) -> timedelta:
    """Read an interval: `90s`, `15m`, `2h`, `1d`, `1w`.

    Raises:
        ValueError: It has another shape.
    """
    found = _EVERY.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is no interval: write 15m, 2h or 1d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def every_text(every: timedelta) -> str:
    """An interval as `parse_every` reads it."""
    seconds = int(every.total_seconds())
    unit = next(unit for unit in "wdhms" if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def offset(name: str, every: timedelta) -> timedelta:
    """How long after each round interval a schedule of that name begins, in whole seconds."""
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return timedelta(seconds=digest % int(min(every, SPREAD).total_seconds()))


def next_due(schedule: Schedule, after: datetime) -> datetime:
    """The first tick after an instant, in UTC; whether the schedule is enabled or not.

    A tick in the quiet hours comes at their end, and several of them come there as one. A
    cron time that the clock skips comes right after the gap. One that comes twice counts
    the first time, unless the expression says every hour: those go on through the change.
    """
    quiet = block(schedule.quiet, after, schedule.zone) if schedule.quiet else None
    # A tick that was moved may be older than `after`, and still come.
    return _moved(schedule, _raw_after(schedule, quiet[0] - _INSTANT if quiet else after))


def due(schedule: Schedule, last_due: datetime | None, now: datetime) -> datetime | None:
    """The tick that is to be run now, in UTC; `None` if there is none.

    However many ticks were missed, one is due: the last one.

    Args:
        schedule: The schedule; nothing is due of one that is not enabled.
        last_due: The tick that was run last, or when the schedule was made; `None` counts
            every tick as missed.
        now: The clock.
    """
    if not schedule.enabled:
        return None
    quiet = block(schedule.quiet, now, schedule.zone) if schedule.quiet else None
    tick = _moved(schedule, _raw_until(schedule, quiet[0] - _INSTANT if quiet else now))
    return tick if last_due is None or tick > last_due else None


def _moved(schedule: Schedule, tick: datetime) -> datetime:
    quiet = block(schedule.quiet, tick, schedule.zone) if schedule.quiet else None
    return quiet[1] if quiet else tick


def _raw_after(schedule: Schedule, at: datetime) -> datetime:
    if schedule.every is not None:
        begin = _EPOCH + offset(schedule.name, schedule.every)
        return begin + ((at - begin) // schedule.every + 1) * schedule.every
    assert schedule.cron is not None
    return _cron_after(schedule.cron, schedule.zone, at)


def _raw_until(schedule: Schedule, at: datetime) -> datetime:
    if schedule.every is not None:
        begin = _EPOCH + offset(schedule.name, schedule.every)
        return begin + ((at - begin) // schedule.every) * schedule.every
    assert schedule.cron is not None
    return _cron_until(schedule.cron, schedule.zone, at)


def _cron_after(cron: str, zone: ZoneInfo, at: datetime) -> datetime:
    day = at.astimezone(zone).date()
    while True:
        ticks = _around(cron, zone, day)
        place = bisect_right(ticks, at.astimezone(UTC))
        if place < len(ticks):
            return ticks[place]
        day = next(CronSim(cron, datetime.combine(day + 2 * _DAY, time.min) - _INSTANT * 10**6)).date()


def _cron_until(cron: str, zone: ZoneInfo, at: datetime) -> datetime:
    day = at.astimezone(zone).date()
    while True:
        ticks = _around(cron, zone, day)
        place = bisect_right(ticks, at.astimezone(UTC))
        if place:
            return ticks[place - 1]
        day = next(CronSim(cron, datetime.combine(day - _DAY, time.min), reverse=True)).date()


@lru_cache(maxsize=512)
def _around(cron: str, zone: ZoneInfo, day: date) -> tuple[datetime, ...]:
    """The ticks of a local day and its neighbours, in order: a change of the clock may mix days."""
    return tuple(sorted({tick for shift in (-1, 0, 1) for tick in _on(cron, zone, day + shift * _DAY)}))


@lru_cache(maxsize=1024)
def _on(cron: str, zone: ZoneInfo, day: date) -> frozenset[datetime]:
    """The ticks of a local day.

    The library only walks the wall clock here. Told the zone, it steps by whole hours, and
    loses the first half of one after Lord Howe's shift of 30 minutes.
    """
    midnight = datetime.combine(day, time.min)
    walk = CronSim(cron, midnight - timedelta(seconds=1))
    hourly = len(walk.hours) == 24
    found: set[datetime] = set()
    for local in walk:
        if local.date() != day:
            break
        found.add(instant(local, zone))
        if hourly:
            found.add(instant(local, zone, second=True))
    return frozenset(found)


def _check_cron(cron: str) -> None:
    if len(cron.split()) != 5 or cron != " ".join(cron.split()):
        raise ValueError(f"{cron!r} is no cron expression: five fields, minute hour day month weekday")
    try:
        next(CronSim(cron, datetime(2024, 1, 1)))  # noqa: DTZ001 - a wall clock without a place
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{cron!r} is no cron expression: {error or 'it never comes'}") from error
