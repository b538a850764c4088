"""How long to hold back: the work limit of each method, and the patience of one step.

A method may run 480 s in ten minutes. `time.operating` tells the running sum and
`operating_reset_at` when its oldest minute drops out; a refusal tells neither.

Source: https://apidocs.bitrix24.com/limits.html
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crmkit.connectors.base import Context
from crmkit.connectors.bitrix24.refusals import WorkLimited
from crmkit.connectors.http import MAX_LIMIT_WAIT_SECONDS, MAX_TRIES
from crmkit.connectors.pacing import Pacer
from crmkit.errors import RateLimited, Transient

HEADROOM = 0.9
PAUSE_SECONDS = 60.0


class WorkLimits:
    """What the portal said about each method's work limit; safe for several threads.

    Args:
        context: The outside world of the connection.
        pacer: Holds methods back.
        limit_seconds: Execution time a method may use in ten minutes; 0 for none.
    """

    def __init__(self, context: Context, pacer: Pacer, limit_seconds: float) -> None:
        self._context = context
        self._pacer = pacer
        self._limit = limit_seconds
        self._resets: dict[str, float] = {}
        self._ahead = 0.0
        self._lock = threading.Lock()

    def learn(self, finish: Any, times: Iterable[tuple[str, Any]]) -> None:
        """Note when each method's limit resets; close a method that is near its end.

        Args:
            finish: When the answer was ready, in Unix seconds of the server's clock.
            times: Method and `time` of its call, for all calls of a batch.
        """
        now = seconds_of(finish)
        local = self._context.clock.now().timestamp()
        charged: dict[str, tuple[float, float]] = {}
        for method, time in times:
            if isinstance(time, Mapping) and (reset := seconds_of(time.get("operating_reset_at"))):
                used, latest = charged.get(method, (0.0, 0.0))
                charged[method] = (max(used, seconds_of(time.get("operating"))), max(latest, reset))
        with self._lock:
            if now:
                self._ahead = now - local
            self._resets.update({method: reset for method, (_, reset) in charged.items()})
        for method, (used, reset) in charged.items():
            pause = reset - (now or local)
            if self._limit and used >= self._limit * HEADROOM and pause > 0:
                self._pacer.refused(method, pause)

    def until_reset(self, method: str) -> float:
        """Seconds until a method's limit frees its oldest minute, as last told; else 60."""
        with self._lock:
            reset = self._resets.get(method, 0.0)
            now = self._context.clock.now().timestamp() + self._ahead
        return reset - now if reset > now else PAUSE_SECONDS

    def hold(self, error: RateLimited, method: str) -> float:
        """Let nothing pass that the refusal concerns; the seconds until it may."""
        limited = isinstance(error, WorkLimited)
        seconds = (self.until_reset(method) if limited else error.retry_after_seconds) or PAUSE_SECONDS
        self._pacer.refused(method if limited else error.bucket, seconds)
        if not self._context.pace:  # then the pacer keeps no limits, and nothing would wait
            self._context.clock.sleep(seconds, self._context.cancelled)
        return seconds


@dataclass(slots=True)
class Patience:
    """How long one step may go on although commands of its batches fail.

    Refusals by a limit wait up to two hours in all, other failures get five tries.
    """

    context: Context
    limits: WorkLimits
    failures: int = 0
    waited: float = 0.0

    def after(self, error: Transient, method: str) -> None:
        """Wait as the error asks, or raise it when patience has run out."""
        if isinstance(error, RateLimited):
            self.waited += self.limits.hold(error, method)
            if self.waited > MAX_LIMIT_WAIT_SECONDS:
                raise error
            return
        self.failures += 1
        if self.failures >= MAX_TRIES:
            raise error
        self.context.clock.sleep(0.5 * 2**self.failures, self.context.cancelled)


def seconds_of(value: Any) -> float:
    """A number of seconds, or 0 if it is none."""
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return float(value)
    return 0.0
