"""Counters for the limits that CRMs set: each small, on an injected clock of seconds.

`take` counts the call and gives 0, or counts nothing and gives the seconds to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

Seconds = Callable[[], float]


class RollingWindow:
    """At most `limit` calls in any stretch of `seconds`."""

    def __init__(self, limit: int, seconds: float, clock: Seconds) -> None:
        self.limit, self.seconds, self._clock = limit, seconds, clock
        self._calls: deque[float] = deque()

    def take(self) -> float:
        """Count a call, or say how long until one is free."""
        now = self._tidy()
        if len(self._calls) >= self.limit:
            return self._calls[0] + self.seconds - now
        self._calls.append(now)
        return 0.0

    @property
    def remaining(self) -> int:
        """How many calls are free now."""
        self._tidy()
        return self.limit - len(self._calls)

    def _tidy(self) -> float:
        now = self._clock()
        while self._calls and self._calls[0] <= now - self.seconds:
            self._calls.popleft()
        return now


class FixedWindow:
    """At most `limit` calls from one reset to the next, `seconds` apart."""

    def __init__(self, limit: int, seconds: float, clock: Seconds) -> None:
        self.limit, self.seconds, self._clock = limit, seconds, clock
        self._used, self._ends = 0, clock() + seconds

    def take(self) -> float:
        """Count a call, or say how long until the reset."""
        self._tidy()
        if self._used >= self.limit:
            return self.reset_seconds
        self._used += 1
        return 0.0

    @property
    def remaining(self) -> int:
        """How many calls are free before the reset."""
        self._tidy()
        return self.limit - self._used

    @property
    def reset_seconds(self) -> float:
        """How long until the reset."""
        return max(self._ends - self._clock(), 0.0)

    def _tidy(self) -> None:
        now = self._clock()
        if now >= self._ends:
            self._used, self._ends = 0, now + self.seconds


class LeakyBucket:
    """A counter that each call raises by one and time lowers; full above `capacity`."""

    def __init__(self, capacity: float, leak_per_second: float, clock: Seconds) -> None:
        self.capacity, self.leak_per_second, self._clock = capacity, leak_per_second, clock
        self._level, self._at = 0.0, clock()

    @property
    def level(self) -> float:
        """What is in the bucket now."""
        now = self._clock()
        self._level = max(self._level - (now - self._at) * self.leak_per_second, 0.0)
        self._at = now
        return self._level

    def take(self) -> float:
        """Count a call, or say how long until one fits."""
        over = self.level + 1 - self.capacity
        if over > 0:
            return over / self.leak_per_second
        self._level += 1
        return 0.0


class Budget:
    """A sum over the last `seconds`, such as credits a day; counted in `slots` of equal length."""

    def __init__(self, limit: float, seconds: float, clock: Seconds, *, slots: int = 1440) -> None:
        self.limit, self.seconds, self._clock = limit, seconds, clock
        self._slot_seconds = seconds / slots
        self._slots: deque[list[float]] = deque()  # [start, sum], oldest first
        self._used = 0.0

    def take(self, cost: float = 1) -> float:
        """Spend `cost`, or say how long until the oldest spending is given back."""
        if self.used + cost > self.limit:
            return self.reset_seconds
        self.spend(cost)
        return 0.0

    def spend(self, cost: float) -> None:
        """Spend `cost` even beyond the limit, for costs known only afterwards."""
        start = self._tidy() // self._slot_seconds * self._slot_seconds
        if not self._slots or self._slots[-1][0] != start:
            self._slots.append([start, 0.0])
        self._slots[-1][1] += cost
        self._used += cost

    @property
    def used(self) -> float:
        """What was spent in the last `seconds`."""
        self._tidy()
        return self._used

    @property
    def remaining(self) -> float:
        """What can still be spent; never below zero."""
        return max(self.limit - self.used, 0.0)

    @property
    def reset_seconds(self) -> float:
        """How long until the oldest slot drops out; 0 if nothing was spent."""
        now = self._tidy()
        return self._slots[0][0] + self.seconds - now if self._slots else 0.0

    def _tidy(self) -> float:
        now = self._clock()
        while self._slots and self._slots[0][0] <= now - self.seconds:
            self._used -= self._slots.popleft()[1]
        if not self._slots:
            self._used = 0.0
        return now


class Concurrency(AbstractContextManager["Concurrency"]):
    """How many calls run at the same time; `with` counts one, whether or not it is `free`."""

    def __init__(self, limit: int) -> None:
        self.limit, self.running = limit, 0

    @property
    def free(self) -> bool:
        """Whether one more call may start."""
        return self.running < self.limit

    def __enter__(self) -> Concurrency:
        self.running += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running -= 1
