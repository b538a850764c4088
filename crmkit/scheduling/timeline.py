"""The next hours of a schedule as a bar of text."""

from __future__ import annotations

from datetime import datetime, timedelta

from crmkit.scheduling.schedule import Schedule, next_due

HOURS = 24
_HALF_HOUR = timedelta(minutes=30)
_MARKS = ".|#"


def timeline(schedule: Schedule, now: datetime) -> str:
    """One sign per half hour of the next 24: `.` no run, `|` one, `#` several."""
    cells: list[int] = []
    end = now
    tick = next_due(schedule, now) if schedule.enabled else None
    for _ in range(2 * HOURS):
        end += _HALF_HOUR
        count = 0
        while tick is not None and tick <= end and count < len(_MARKS) - 1:
            count += 1
            tick = next_due(schedule, tick)
        if tick is not None and tick <= end:  # more than can be shown: go on after this cell
            tick = next_due(schedule, end)
        cells.append(count)
    return "".join(_MARKS[count] for count in cells)
