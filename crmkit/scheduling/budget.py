"""The daily budget: how much of a CRM's daily quota crmkit may take, and how long to wait.

Two kinds of day are known. One ends at midnight in the time zone of the account; the other
rolls: each call is given back 24 hours after it was made. A connector says which one its
CRM has; nothing here knows a vendor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from crmkit.scheduling.quiet import instant

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Use:
    """Calls that were counted together; `at` is when the last of them was made."""

    at: datetime
    count: int


def ours(quota: int, share: float) -> int:
    """How many calls of a daily quota are for crmkit; `share` is 0 to 1."""
    # The decimal that a person wrote, not the binary number next to it.
    return math.floor(quota * Fraction(str(share)))


def allowed(quota: int, share: float, used_by_us: int, used_by_all: int | None, cost: int) -> bool:
    """Whether calls may be made now.

    Args:
        quota: The CRM's calls a day.
        share: The part of it that crmkit may take, 0 to 1.
        used_by_us: What crmkit used of it.
        used_by_all: What everybody used, crmkit included; `None` if the CRM does not tell.
        cost: What is to be used now.
    """
    if used_by_us + cost > ours(quota, share):
        return False
    return used_by_all is None or used_by_all + cost <= quota


def day_of(now: datetime, time_zone: str) -> date:
    """The day whose quota a call uses."""
    return now.astimezone(ZoneInfo(time_zone)).date()


def resets_at(now: datetime, time_zone: str) -> datetime:
    """When the quota is whole again: the next midnight of the zone, in UTC."""
    zone = ZoneInfo(time_zone)
    return instant(datetime.combine(now.astimezone(zone).date() + _DAY, time.min), zone)


def wait_seconds(
    quota: int, share: float, used_by_us: int, used_by_all: int | None, cost: int,
    *, now: datetime, time_zone: str,
) -> float:  # fmt: skip
    """How long to wait where the day ends at midnight: 0 if not at all, infinite if no day is enough."""
    if allowed(quota, share, used_by_us, used_by_all, cost):
        return 0.0
    if not allowed(quota, share, 0, None, cost):
        return math.inf
    return (resets_at(now, time_zone) - now).total_seconds()


def rolling_wait_seconds(
    quota: int, share: float, uses: Sequence[Use], used_by_all: int | None, cost: int, *, now: datetime
) -> float:
    """How long to wait where the day rolls: 0 if not at all, infinite if no day is enough.

    What others used is given back at times that nobody tells; with them in the way it is
    worth looking again once the next of our own calls is given back, or in an hour.
    """
    now = now.astimezone(UTC)
    held = sorted((use for use in uses if use.at + _DAY > now), key=lambda use: use.at)
    used = sum(use.count for use in held)
    if allowed(quota, share, used, used_by_all, cost):
        return 0.0
    if not allowed(quota, share, 0, None, cost):
        return math.inf
    everybody = used_by_all
    for use in held:
        used -= use.count
        everybody = None if everybody is None else max(0, everybody - use.count)
        if allowed(quota, share, used, everybody, cost):
            return (use.at + _DAY - now).total_seconds()
    return 3600.0
