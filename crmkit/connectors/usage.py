"""Counters of one connection, for the progress line, the budget and the run report."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Usage:
    """What a connection has done so far; written by many threads, read by the progress line.

    Attributes:
        requests: HTTP requests sent, repeated ones too.
        retries: Requests that repeated an earlier one.
        waited_seconds: Time that threads spent waiting for a limit, added up.
        waiting_for: The limit that a thread waits for right now, if any.
        by_path: Requests per label, for request-count checks.
    """

    requests: int = 0
    retries: int = 0
    waited_seconds: float = 0.0
    waiting_for: str | None = None
    by_path: dict[str, int] = field(default_factory=dict)
    _told: tuple[int, int, float] = field(default=(0, 0, 0.0), repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def sent(self, label: str, *, again: bool) -> None:
        """Count one request."""
        with self._lock:
            self.requests += 1
            self.retries += again
            self.by_path[label] = self.by_path.get(label, 0) + 1

    def waits(self, reason: str, seconds: float) -> None:
        """Count time that is about to be spent waiting for a limit."""
        with self._lock:
            self.waited_seconds += seconds
            self.waiting_for = reason

    def take(self) -> tuple[int, int, float]:
        """Requests, retries and waited seconds since this was asked last: one connection serves many runs."""
        with self._lock:
            before, self._told = self._told, (self.requests, self.retries, self.waited_seconds)
            return self.requests - before[0], self.retries - before[1], self.waited_seconds - before[2]

    def goes_on(self) -> None:
        """The wait is over."""
        self.waiting_for = None
