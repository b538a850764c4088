"""Local days of a time zone, as arithmetic that every engine can do."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from crmkit.report.facts.scale import DAY, SECOND, instant

_FIRST_YEAR, _LAST_YEAR = 1990, 2050


@lru_cache(maxsize=16)
def offsets(zone: ZoneInfo) -> tuple[tuple[int, int], ...]:
    """From which instant on local time is how many microseconds ahead of UTC."""
    start = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
    days = (datetime(_LAST_YEAR, 1, 1, tzinfo=UTC) - start).days
    found = [(instant(start), _ahead(start, zone))]
    for left, right in pairwise(start + timedelta(days=number) for number in range(days)):
        if _ahead(left, zone) != _ahead(right, zone):
            found.append((instant(_change(left, right, zone)), _ahead(right, zone)))
    return tuple(found)


def _ahead(moment: datetime, zone: ZoneInfo) -> int:
    gap = moment.astimezone(zone).utcoffset() or timedelta()
    return int(gap.total_seconds()) * SECOND


def _change(left: datetime, right: datetime, zone: ZoneInfo) -> datetime:
    """The second at which the offset changes between two moments."""
    old = _ahead(left, zone)
    while right - left > timedelta(seconds=1):
        middle = left + timedelta(seconds=(right - left).total_seconds() // 2)
        if _ahead(middle, zone) == old:
            left = middle
        else:
            right = middle
    return right


def local_day(column: str, zone: ZoneInfo) -> str:
    """SQL for the day number that the instant in a column has in the zone; NULL for NULL."""
    steps = offsets(zone)
    branches = " ".join(
        f"WHEN {column} < {start} THEN {offset}"
        for (start, _), (_, offset) in zip(steps[1:], steps, strict=False)
    )
    ahead = f"CASE {branches} ELSE {steps[-1][1]} END" if branches else str(steps[-1][1])
    # The remainder of an instant before 1970 is negative, and a quotient would be cut towards zero.
    local = f"({column} + {ahead})"
    return f"({local} - ({local} % {DAY} + {DAY}) % {DAY}) // {DAY}"


def start_of(day: date, zone: ZoneInfo) -> int:
    """The instant at which a local day begins."""
    return instant(datetime.combine(day, time(), tzinfo=zone).astimezone(UTC))
