"""Quiet hours: spans of local time in which nothing starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SHAPE = re.compile(r"(?:([a-z,-]+) )?([0-2]\d:[0-5]\d)-([0-2]\d:[0-5]\d)")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A span of local time; one that ends before it starts crosses midnight.

    Attributes:
        start: Its first minute.
        end: The first minute after it; `00:00` is the end of the day.
        days: On which days it begins, Monday is 0.
    """

    start: time
    end: time
    days: frozenset[int] = frozenset(range(7))

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """Read `22:00-06:00`, `sat,sun 00:00-24:00` or `mon-fri 08:00-12:00`.

        Raises:
            ValueError: It has another shape.
        """
        found = _SHAPE.fullmatch(text.strip().lower())
        if found is None:
            raise ValueError(f"{text!r} is no span: write 22:00-06:00, or sat,sun 00:00-24:00")
        days, start, end = found.groups()
        if start == end:
            raise ValueError(f"{text!r} is empty; the whole day is 00:00-24:00")
        try:
            return cls(
                time.fromisoformat(start),
                time.fromisoformat("00:00" if end == "24:00" else end),
                _days(days) if days else frozenset(range(7)),
            )
        except ValueError as error:
            raise ValueError(f"{text!r} is no span: {error}") from error

    def __str__(self) -> str:
        end = "24:00" if self.end == time.min else f"{self.end:%H:%M}"
        days = "" if len(self.days) == len(DAYS) else ",".join(DAYS[day] for day in sorted(self.days)) + " "
        return f"{days}{self.start:%H:%M}-{end}"

    def on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
        """The span that begins on a day, in UTC; `None` if there is none or the clock skips it."""
        if day.weekday() not in self.days:
            return None
        last = day if self.end > self.start else day + _DAY
        # Where an hour comes twice, the span is the longer one: it is about people who sleep.
        start = instant(datetime.combine(day, self.start), zone)
        end = instant(datetime.combine(last, self.end), zone, second=True)
        return (start, end) if start < end else None


def instant(local: datetime, zone: ZoneInfo, *, second: bool = False) -> datetime:
    """The UTC instant of a wall-clock time; one that the clock skips is the end of the gap.

    Args:
        local: The wall-clock time, without a zone.
        zone: Where the clock hangs.
        second: Whether the later one counts of a time that comes twice.
    """
    at = local.replace(tzinfo=zone, fold=int(second)).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None, fold=0) == local:
        return at
    # Read with the offset before the gap it lies after it, and with the one after the gap before it.
    low = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    high = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def block(hours: Sequence[QuietHours], at: datetime, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """The quiet span around an instant, joined with those that touch it; `None` if it is not quiet."""
    today = at.astimezone(zone).date()
    near = [today + _DAY * shift for shift in range(-9, 10)]
    spans = sorted(span for day in near for one in hours if (span := one.on(day, zone)) is not None)
    joined: list[tuple[datetime, datetime]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return next(((start, end) for start, end in joined if start <= at < end), None)


def always(hours: Sequence[QuietHours]) -> bool:
    """Whether the whole week is quiet."""
    week = 7 * 24 * 60
    covered: set[int] = set()
    for one in hours:
        start = one.start.hour * 60 + one.start.minute
        length = (one.end.hour * 60 + one.end.minute - start) % 1440 or 1440
        for day in one.days:
            covered.update((day * 1440 + start + minute) % week for minute in range(length))
    return len(covered) == week


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        for name in (first, last) if dash else (first,):
            if name not in DAYS:
                raise ValueError(f"{name!r} is no day: write {', '.join(DAYS)}")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found.update(day % 7 for day in range(start, end + 1 if end >= start else end + 8))
    return frozenset(found)
