"""The time in a sandbox, which a test can stop and push forward."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Gives the time in UTC; runs with the real one until it is stopped."""

    def __init__(self, stopped_at: datetime | None = None) -> None:
        self._stopped_at = stopped_at
        self._ahead = 0.0

    def __call__(self) -> datetime:
        now = self._stopped_at or datetime.now(UTC)
        return now + timedelta(seconds=self._ahead) if self._ahead else now

    def monotonic(self) -> float:
        """Seconds for windows and buckets; pushed forward together with the time."""
        return (0.0 if self._stopped_at else time.monotonic()) + self._ahead

    def advance(self, seconds: float) -> None:
        """Push the time forward."""
        self._ahead += seconds

    def stop(self, at: datetime | None = None) -> None:
        """Let the time stand still, now or at the given moment; `advance` still moves it."""
        self._stopped_at, self._ahead = at or self(), 0.0


def counting_ids(start: int = 1, *, step: int = 1, prefix: str = "") -> Callable[[], str]:
    """Ids that count up: `prefix` and then `start`, `start + step`, ..."""
    following = start - step

    def following_id() -> str:
        nonlocal following
        following += step
        return f"{prefix}{following}"

    return following_id
