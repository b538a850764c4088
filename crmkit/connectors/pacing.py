"""Limits of a CRM, kept on this side so that the CRM never has to say no.

A connection has one `Pacer` with a limit per bucket, shared by all its threads. A call
names the buckets that it draws from and waits until each of them admits it. An answer
that says "too many" halves the bucket's rate, which then recovers by 5 % of the nominal
rate every 10 s (sync-semantics 8).

Where several machines work on one CRM, the limits are kept in the state store: `Shared`
lends this process a few permits at a time, and the limits here only do the arithmetic.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from crmkit.connectors.clock import Clock
from crmkit.connectors.usage import Usage
from crmkit.errors import Interrupted

HEADROOM = 0.9
_RECOVERY_PER_SECOND = 0.05 / 10
_SLOWEST = 0.1
HOLD_SECONDS = 0.5
"""The longest that permits may be kept before they are used."""
_HELD_SHARE = 0.05
_TOLD_BLOCK = 8.0

Memory = dict[str, Any]
"""What a limit has counted, for JSON; its times are seconds before the instant it was taken at."""


class Limit(Protocol):
    """One limit; `admit` and `slow_down` are called with the pacer's lock held."""

    def admit(self, now: float, cost: float) -> float:
        """Take `cost` and return 0, or take nothing and return the seconds to wait."""
        ...

    def slow_down(self, now: float, seconds: float) -> None:
        """The CRM refused: admit nothing for `seconds`, then less than before."""
        ...

    def remembered(self, now: float) -> Memory:
        """What was counted until now."""
        ...

    def recall(self, memory: Memory, at: float) -> None:
        """Go on from what was remembered at an instant of this process's clock."""
        ...

    def block(self) -> tuple[float, float]:
        """How many permits may be taken beforehand, and for how many seconds."""
        ...


class Shared(Protocol):
    """Limits that several processes draw from together."""

    def take(
        self, bucket: str, limit: Limit, monotonic: Callable[[], float], cost: float
    ) -> tuple[float, float]:
        """Permits, at least `cost` of them, and 0; or none, and the seconds to wait."""
        ...

    def slow_down(self, bucket: str, limit: Limit, monotonic: Callable[[], float], seconds: float) -> None:
        """The CRM refused one process: all become slower."""
        ...


class Allowance(Protocol):
    """How many calls may be made today."""

    def spend(self) -> None:
        """Count one call.

        Raises:
            QuotaExhausted: There is none left.
        """
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

    def _remembered(self, now: float) -> Memory:
        return {
            "factor": self._factor, "since": now - self._since, "blocked": now - self.blocked_until,
        }  # fmt: skip

    def _recall(self, memory: Memory, at: float) -> None:
        self._factor = float(memory.get("factor", 1.0))
        self._since = at - float(memory.get("since", 0.0))
        self.blocked_until = at - float(memory.get("blocked", 0.0))


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
        self._used += cost
        if self._log and self._log[-1][0] == now:  # of one block
            cost += self._log.pop()[1]
        self._log.append((now, cost))
        return 0.0

    def remembered(self, now: float) -> Memory:
        return {**self._remembered(now), "log": [[now - at, cost] for at, cost in self._log]}

    def recall(self, memory: Memory, at: float) -> None:
        self._recall(memory, at)
        self._log = deque((at - age, cost) for age, cost in memory.get("log", ()))
        self._used = sum(cost for _, cost in self._log)

    def block(self) -> tuple[float, float]:
        # A permit that is used later moves the window by so much: half of the headroom.
        hold = min(HOLD_SECONDS, self.seconds * _HELD_SHARE)
        return self.calls * HEADROOM / self.seconds * hold, hold


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

    def remembered(self, now: float) -> Memory:
        return {**self._remembered(now), "level": self._level, "at": now - self._at}

    def recall(self, memory: Memory, at: float) -> None:
        self._recall(memory, at)
        self._level = float(memory.get("level", 0.0))
        self._at = at - float(memory.get("at", 0.0))

    def block(self) -> tuple[float, float]:
        # Used later, they meet a bucket that has less room than was thought: half of the headroom.
        hold = min(HOLD_SECONDS, self.burst * _HELD_SHARE / self.per_second)
        return self.per_second * HEADROOM * hold, hold


class ToldLimit:
    """A limit that is known only from what the answers say.

    Until an answer has told something, and again after the told window has ended, calls
    are admitted; then as many as were said to be left, less the headroom.
    """

    def __init__(self) -> None:
        self._left = float("inf")
        self._until = 0.0
        # What this process was told last, which the others may not know yet.
        self._said: tuple[float, float, float] | None = None

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
        self._said = (now, usable, until)
        self._take_over(now, usable, until)

    def remembered(self, now: float) -> Memory:
        known = self._left != float("inf")
        return {"left": self._left if known else None, "until": now - self._until}

    def recall(self, memory: Memory, at: float) -> None:
        left = memory.get("left")
        self._left = float("inf") if left is None else float(left)
        self._until = at - float(memory.get("until", 0.0))
        said, self._said = self._said, None
        if said is not None and at < said[2]:
            self._take_over(*said)

    def block(self) -> tuple[float, float]:
        known = self._left != float("inf")
        return (min(_TOLD_BLOCK, self._left * _HELD_SHARE) if known else 0.0), HOLD_SECONDS

    def _take_over(self, now: float, usable: float, until: float) -> None:
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
        shared: Where limits are kept for several processes; `None` keeps them here.
    """

    def __init__(
        self,
        limits: Mapping[str, Limit],
        clock: Clock,
        usage: Usage,
        cancelled: threading.Event,
        shared: Shared | None = None,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._usage = usage
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._shared = shared
        # One thread fetches permits of a bucket, the others then find them here.
        self._fetching = {name: threading.Lock() for name in limits}
        self._permits: dict[str, tuple[float, float]] = {}

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
                pause = self._admit(bucket, limit, cost)
                if pause <= 0:
                    break
                self._pause(bucket, pause)

    def refused(self, bucket: str | None, seconds: float) -> None:
        """The CRM said "too many" for a bucket, or for all of them if `None`."""
        for name, limit in self._limits.items():
            if bucket not in (None, name):
                continue
            if self._shared is None:
                with self._lock:
                    limit.slow_down(self._clock.monotonic(), seconds)
                continue
            with self._fetching[name]:
                self._permits.pop(name, None)
                self._shared.slow_down(name, limit, self._clock.monotonic, seconds)

    def limit(self, bucket: str) -> Limit | None:
        """The limit behind a bucket, so that a connector can feed it from headers."""
        return self._limits.get(bucket)

    def _admit(self, bucket: str, limit: Limit, cost: float) -> float:
        if self._shared is None:
            with self._lock:
                return limit.admit(self._clock.monotonic(), cost)
        with self._fetching[bucket]:
            left, until = self._permits.get(bucket, (0.0, 0.0))
            if left >= cost and self._clock.monotonic() < until:
                self._permits[bucket] = (left - cost, until)
                return 0.0
            got, pause = self._shared.take(bucket, limit, self._clock.monotonic, cost)
            if pause <= 0:
                self._permits[bucket] = (got - cost, self._clock.monotonic() + limit.block()[1])
            return pause

    def _pause(self, bucket: str, seconds: float) -> None:
        self._usage.waits(bucket, seconds)
        self._clock.sleep(seconds, self._cancelled)
        self._usage.goes_on()
