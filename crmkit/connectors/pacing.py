"""Limits of a CRM, kept on this side so that the CRM never has to say no.

A connection has one `Pacer` with a limit per bucket, shared by all its threads. A call
names the buckets that it draws from and waits until each of them admits it. An answer
that says "too many" halves the bucket's rate, which then recovers by 5 % of the nominal
rate every 10 s (sync-semantics 8).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol

from crmkit.connectors.clock import Clock
from crmkit.connectors.usage import Usage
from crmkit.errors import Interrupted

HEADROOM = 0.9
_RECOVERY_PER_SECOND = 0.05 / 10
_SLOWEST = 0.1


class Limit(Protocol):
    """One limit; `admit` and `slow_down` are called with the pacer's lock held."""

    def admit(self, now: float, cost: float) -> float:
        """Take `cost` and return 0, or take nothing and return the seconds to wait."""
        ...

    def slow_down(self, now: float, seconds: float) -> None:
        """The CRM refused: admit nothing for `seconds`, then less than before."""
        ...


class _Adaptive:
    """The factor by which a limit was lowered, and when it may admit again."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._since = 0.0
        self.blocked_until = 0.0

    def factor(self, now: float) -> float:
        return min(1.0, self._factor + (now - self._since) * _RECOVERY_PER_SECOND)

    def slow_down(self, now: float, seconds: float) -> None:
        if now < self.blocked_until:  # several threads hit the same refusal: it counts once
            self.blocked_until = max(self.blocked_until, now + seconds)
            return
        self._factor = max(_SLOWEST, self.factor(now) / 2)
        self._since = now + seconds
        self.blocked_until = now + seconds


class Window(_Adaptive):
    """At most `calls` in any `seconds`: the log of a rolling window."""

    def __init__(self, calls: float, seconds: float) -> None:
        super().__init__()
        self.calls = calls
        self.seconds = seconds
        self._log: deque[tuple[float, float]] = deque()
        self._used = 0.0

    def resize(self, calls: float, seconds: float) -> None:
        """Take over what the CRM's headers say about the limit."""
        self.calls, self.seconds = calls, seconds

    def admit(self, now: float, cost: float) -> float:
        if now < self.blocked_until:
            return self.blocked_until - now
        while self._log and self._log[0][0] <= now - self.seconds:
            self._used -= self._log.popleft()[1]
        allowed = max(1.0, self.calls * HEADROOM * self.factor(now))
        if self._used + cost > allowed and self._log:
            return self._log[0][0] + self.seconds - now
        self._log.append((now, cost))
        self._used += cost
        return 0.0


class Bucket(_Adaptive):
    """A leaky bucket: `burst` at once, then `per_second`."""

    def __init__(self, burst: float, per_second: float) -> None:
        super().__init__()
        self.burst = burst
        self.per_second = per_second
        self._level = 0.0
        self._at = 0.0

    def admit(self, now: float, cost: float) -> float:
        if now < self.blocked_until:
            return self.blocked_until - now
        rate = self.per_second * HEADROOM * self.factor(now)
        self._level = max(0.0, self._level - (now - self._at) * rate)
        self._at = now
        room = max(cost, self.burst * HEADROOM)
        if self._level + cost > room + 1e-9:  # rounding must not leave a wait too short for any clock
            return (self._level + cost - room) / rate
        self._level += cost
        return 0.0

    def slow_down(self, now: float, seconds: float) -> None:
        super().slow_down(now, seconds)
        self._level = self.burst  # the CRM's bucket is full, whatever this side believed


class ToldLimit:
    """A limit that is known only from what the answers say.

    Until an answer has told something, and again after the told window has ended, calls
    are admitted; then as many as were said to be left, less the headroom.
    """

    def __init__(self) -> None:
        self._left = float("inf")
        self._until = 0.0

    def admit(self, now: float, cost: float) -> float:
        if now >= self._until:
            self._left = float("inf")
            return 0.0
        if self._left < cost:
            return self._until - now
        self._left -= cost
        return 0.0

    def slow_down(self, now: float, seconds: float) -> None:
        self._left = 0.0
        self._until = max(self._until, now + seconds)

    def told(self, now: float, limit: float, remaining: float, reset_seconds: float) -> None:
        """Take over what an answer says; answers of parallel calls come in any order."""
        usable = remaining - limit * (1 - HEADROOM)
        until = now + reset_seconds
        if now >= self._until or self._left == float("inf"):
            self._left, self._until = usable, until
        else:
            self._left = min(self._left, usable)
            self._until = max(self._until, until) if usable <= 0 else self._until


class Pacer:
    """All limits of one connection.

    Args:
        limits: Limit per bucket name.
        clock: Where time comes from.
        usage: Told about every wait.
        cancelled: Ends a wait.
    """

    def __init__(
        self, limits: Mapping[str, Limit], clock: Clock, usage: Usage, cancelled: threading.Event
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._usage = usage
        self._cancelled = cancelled
        self._lock = threading.Lock()

    def wait(self, buckets: Iterable[str], cost: float = 1.0) -> None:
        """Return once every named bucket has admitted the call.

        Raises:
            Interrupted: The run was stopped meanwhile.
        """
        for bucket in buckets:
            limit = self._limits.get(bucket)
            if limit is None:
                continue
            while True:
                if self._cancelled.is_set():
                    raise Interrupted("stopped while waiting for a limit")
                with self._lock:
                    pause = limit.admit(self._clock.monotonic(), cost)
                if pause <= 0:
                    break
                self._pause(bucket, pause)

    def refused(self, bucket: str | None, seconds: float) -> None:
        """The CRM said "too many" for a bucket, or for all of them if `None`."""
        with self._lock:
            now = self._clock.monotonic()
            for name, limit in self._limits.items():
                if bucket in (None, name):
                    limit.slow_down(now, seconds)

    def limit(self, bucket: str) -> Limit | None:
        """The limit behind a bucket, so that a connector can feed it from headers."""
        return self._limits.get(bucket)

    def _pause(self, bucket: str, seconds: float) -> None:
        self._usage.waits(bucket, seconds)
        self._clock.sleep(seconds, self._cancelled)
        self._usage.goes_on()
