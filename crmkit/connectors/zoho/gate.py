"""Keeps the number of calls at once below what Zoho allows, and lowers it when Zoho refuses.

Zoho limits calls at the same time per org and app (5 to 25 by edition, and 10 for COQL),
not calls per second. Other programs of the same app share the limit, so it is found out
by being refused: each refusal halves the number, and success raises it again step by step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from crmkit.connectors.clock import Clock
from crmkit.errors import Interrupted

_SUCCESSES_TO_WIDEN = 50
_SAME_REFUSAL_SECONDS = 1.0
_LOOK_SECONDS = 0.5


class Gate:
    """Admits at most `width` callers at once.

    Args:
        ceiling: The width at the start, and the most it ever gets.
        clock: Tells whether two refusals are the same event.
        cancelled: Ends a wait.
    """

    def __init__(self, ceiling: int, clock: Clock, cancelled: threading.Event) -> None:
        self.width = ceiling
        self._ceiling = ceiling
        self._clock = clock
        self._cancelled = cancelled
        self._inside = 0
        self._successes = 0
        self._narrowed_at = float("-inf")
        self._changed = threading.Condition()

    @contextmanager
    def pass_through(self) -> Iterator[None]:
        """Wait for a place, and give it back afterwards.

        Raises:
            Interrupted: The run was stopped meanwhile.
        """
        with self._changed:
            while self._inside >= self.width:
                if self._cancelled.is_set():
                    raise Interrupted("stopped while waiting for another call to end")
                self._changed.wait(_LOOK_SECONDS)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def refused(self) -> None:
        """Zoho said "too many": halve the width, once for all threads that heard it."""
        with self._changed:
            self._successes = 0
            now = self._clock.monotonic()
            if now - self._narrowed_at >= _SAME_REFUSAL_SECONDS:
                self._narrowed_at = now
                self.width = max(1, self.width // 2)

    def succeeded(self) -> None:
        """A call was executed."""
        if self.width == self._ceiling:
            return
        with self._changed:
            self._successes += 1
            if self._successes >= _SUCCESSES_TO_WIDEN:
                self._successes = 0
                self.width = min(self._ceiling, self.width + 1)
                self._changed.notify()
