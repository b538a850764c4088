"""Local days of a time zone, as arithmetic that every engine can do."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from crmkit.report.facts.scale import DAY, SECOND, instant

_FIRST_YEAR, _LAST_YEAR = 1990, 2050
_LONG_AGO = 1_000_000
"""Days before 1970."""


@lru_cache(maxsize=16)
def offsets(zone: ZoneInfo) -> tuple[tuple[int, int], ...]:
    """From which instant on local time is how many microseconds ahead of UTC."""
    start = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
    weeks = (datetime(_LAST_YEAR, 1, 1, tzinfo=UTC) - start).days // 7
    # No zone changes its clocks twice in a week.
    marks = [(moment, ahead(moment, zone)) for moment in (start + timedelta(weeks=n) for n in range(weeks))]
    found = [(instant(start), marks[0][1])]
    for (left, old), (right, new) in pairwise(marks):
        if old != new:
            found.append((instant(_change(left, right, zone)), new))
    return tuple(found)


def ahead(moment: datetime, zone: ZoneInfo) -> int:
    """How many microseconds local time is ahead of UTC at an instant."""
    gap = moment.astimezone(zone).utcoffset() or timedelta()
    return int(gap.total_seconds()) * SECOND


def _change(left: datetime, right: datetime, zone: ZoneInfo) -> datetime:
    """The second at which the offset changes between two moments."""
    old = ahead(left, zone)
    while right - left > timedelta(seconds=1):
        middle = left + timedelta(seconds=(right - left).total_seconds() // 2)
        if ahead(middle, zone) == old:
            left = middle
        else:
            right = middle
    return right


def local_day(column: str, zone: ZoneInfo) -> str:
    """SQL for the day number that the instant in a column has in the zone; NULL for NULL."""
    # A quotient is cut towards zero: counted from long before 1970 nothing is negative.
    return f"(({column} + {_ahead_of(column, offsets(zone))} + {_LONG_AGO * DAY}) // {DAY} - {_LONG_AGO})"


def _ahead_of(column: str, steps: tuple[tuple[int, int], ...]) -> str:
    """SQL for the offset that counts at an instant: halved again and again, not asked step by step."""
    if len(steps) == 1:
        return str(steps[0][1])
    middle = len(steps) // 2
    left, right = _ahead_of(column, steps[:middle]), _ahead_of(column, steps[middle:])
    return f"CASE WHEN {column} < {steps[middle][0]} THEN {left} ELSE {right} END"


def start_of(day: date, zone: ZoneInfo) -> int:
    """The instant at which a local day begins."""
    return instant(moment_of(day, zone))


def moment_of(day: date, zone: ZoneInfo) -> datetime:
    """The moment at which a local day begins, in UTC."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
