"""The work limit: how long each method ran in the last ten minutes, and the `time` of every answer.

Source: https://apidocs.bitrix24.com/limits.html, https://apidocs.bitrix24.com/api-reference/data-types.html
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from crmkit.sandbox.bitrix24.portal import Failure, Portal, stamp
from crmkit.sandbox.limits import Budget

WORK_SECONDS, WINDOW_SECONDS, BASKETS = 480.0, 600.0, 10
DEFAULT_COST_SECONDS = 0.01
# These reported 0 throughout on a live portal (2026-09-15), whatever the documentation says.
_FREE = {"batch", "crm.deal.list", "crm.stagehistory.list"}


class Work:
    """Charges each call to its method's ten one-minute baskets.

    A call costs `extra["operating_seconds"]`, a number or one per method.
    """

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._budgets: dict[str, Budget] = {}

    def check(self, method: str) -> None:
        """Let a call begin; one that crosses the limit still completes.

        Raises:
            Failure: The method used up its time.
        """
        if self._portal.settings.limits and self._budget(method).used >= WORK_SECONDS:
            raise Failure("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.", 429)

    def charge(self, method: str, units: int = 1) -> None:
        """Count a call that ran; an import of many rows is so many units of work."""
        cost = self._cost(method) * units
        if cost:
            self._budget(method).spend(cost)

    def time(self, method: str, began: float) -> dict[str, Any]:
        """The `time` object of an answer; `operating` is the method's sum, not the cost of this call."""
        budget = self._budget(method)
        moment = self._portal.world.clock()
        finish = moment.timestamp()
        took = perf_counter() - began
        written = stamp(moment)
        return {
            "start": finish - took,
            "finish": finish,
            "duration": took,
            "processing": took,
            "date_start": written,
            "date_finish": written,
            "operating_reset_at": int(finish + (budget.reset_seconds or WINDOW_SECONDS)),
            "operating": round(budget.used, 6),
        }

    def _cost(self, method: str) -> float:
        said = self._portal.setting("operating_seconds", DEFAULT_COST_SECONDS)
        if isinstance(said, Mapping):
            return float(said.get(method, 0.0 if method in _FREE else DEFAULT_COST_SECONDS))
        return 0.0 if method in _FREE else float(said)

    def _budget(self, method: str) -> Budget:
        budget = self._budgets.get(method)
        if budget is None:
            clock = self._portal.world.clock.monotonic
            budget = self._budgets[method] = Budget(WORK_SECONDS, WINDOW_SECONDS, clock, slots=BASKETS)
        return budget
