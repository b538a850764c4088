"""The limits of an account: by ten seconds and by day, with search and associations apart.

Source: https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from crmkit.sandbox.limits import RollingWindow

Policy = Literal["TEN_SECONDLY_ROLLING", "DAILY", "SECONDLY"]


@dataclass(frozen=True, slots=True)
class Tier:
    """What a subscription allows: per ten seconds and app, per day and account, and both for associations."""

    burst: int
    daily: int
    link_burst: int
    link_daily: int


TIERS = {
    "free": Tier(100, 250_000, 100, 500_000),
    "professional": Tier(190, 625_000, 150, 500_000),
    "enterprise": Tier(190, 1_000_000, 150, 500_000),
    "increase": Tier(250, 2_000_000, 200, 1_000_000),
}
MARKETPLACE_BURST = 110
# Not documented: from about this many write batches in a second on, HubSpot locks the objects (inferred).
WRITE_BATCHES_PER_SECOND, LOCK_SECONDS = 10, 2.0
SEARCHES_PER_SECOND = 5


class Day:
    """A budget that ends at midnight of the account's time zone."""

    def __init__(self, limit: int, zone: ZoneInfo, clock: Callable[[], datetime]) -> None:
        self.limit, self._zone, self._clock = limit, zone, clock
        self._used, self._day = 0, self._today()

    @property
    def used(self) -> int:
        """What was spent today."""
        today = self._today()
        if today != self._day:
            self._used, self._day = 0, today
        return self._used

    def take(self) -> bool:
        """Count a call, or say that none is left."""
        if self.used >= self.limit:
            return False
        self._used += 1
        return True

    def _today(self) -> int:
        return self._clock().astimezone(self._zone).toordinal()


class Quota:
    """Every counter of one account and one app.

    Attributes:
        burst: Calls of the app with its static token; an OAuth install has its own, without a day's budget.
    """

    def __init__(
        self, tier: Tier, zone: ZoneInfo, clock: Callable[[], datetime], seconds: Callable[[], float]
    ) -> None:
        self.tier = tier
        self.burst = RollingWindow(tier.burst, 10, seconds)
        self.install = RollingWindow(MARKETPLACE_BURST, 10, seconds)
        self.links = RollingWindow(tier.link_burst, 10, seconds)
        self.searches = RollingWindow(SEARCHES_PER_SECOND, 1, seconds)
        self._batches = RollingWindow(WRITE_BATCHES_PER_SECOND, 1, seconds)
        self._locked_until, self._seconds = float("-inf"), seconds
        self.day = Day(tier.daily, zone, clock)
        self.link_day = Day(tier.link_daily, zone, clock)

    def take(self, *, search: bool, links: bool, oauth: bool) -> Policy | None:
        """Count a call, or give the policy that refuses it.

        Search stands outside the ten seconds. Calls of the associations API count twice, for themselves
        and among all (not documented; a client that assumes so is right either way).
        """
        if not oauth and self.day.used >= self.day.limit:
            return "DAILY"
        if links and not oauth and self.link_day.used >= self.link_day.limit:
            return "DAILY"
        if search:
            if self.searches.take():
                return "SECONDLY"
        else:
            window = self.install if oauth else self.burst
            if links and not self.links.remaining:
                return "TEN_SECONDLY_ROLLING"
            if window.take():
                return "TEN_SECONDLY_ROLLING"
            if links:
                self.links.take()
                self.link_day.take()
        if not oauth:
            self.day.take()
        return None

    def locked(self, *, batch: bool) -> bool:
        """Whether a write meets a lock; too many batches in a second bring one about."""
        if self._seconds() < self._locked_until:
            return True
        if batch and self._batches.take():
            self._locked_until = self._seconds() + LOCK_SECONDS
            return True
        return False

    def headers(self, *, links: bool, oauth: bool) -> dict[str, str]:
        """What an answer says about the limits; search says nothing."""
        window = self.links if links else self.install if oauth else self.burst
        told = {
            "X-HubSpot-RateLimit-Max": str(window.limit),
            "X-HubSpot-RateLimit-Remaining": str(window.remaining),
            "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
            "X-HubSpot-RateLimit-Secondly": str(window.limit // 10),
            "X-HubSpot-RateLimit-Secondly-Remaining": str(max(window.limit // 10 - 1, 0)),
        }
        if not oauth:
            day = self.link_day if links else self.day
            told |= {
                "X-HubSpot-RateLimit-Daily": str(day.limit),
                "X-HubSpot-RateLimit-Daily-Remaining": str(max(day.limit - day.used, 0)),
            }
        return told
