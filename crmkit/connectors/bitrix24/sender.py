"""Sends changing requests in batches of the right size and tells what became of each.

A request may run 60 s; beyond that it is cut off and nobody knows which of its commands
ran. So the first batch of each method is a small one, and its duration tells how many fit.

Source: https://apidocs.bitrix24.com/limits.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from crmkit.connectors.bitrix24.batch import Portal
from crmkit.connectors.bitrix24.commands import COMMANDS
from crmkit.connectors.bitrix24.wire import Request
from crmkit.connectors.bitrix24.work import seconds_of
from crmkit.errors import (
    CredentialsError,
    CrmkitError,
    MissingScope,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)

PILOT = 25
WANTED_SECONDS = 30.0
# Codes that concern one record; any other lack of a right concerns the login.
_ABOUT_ONE_RECORD = ("", "0", "ACCESS_DENIED")
Take: TypeAlias = Callable[[str, object, CrmkitError | None], None]


class Sender:
    """Changing requests of one portal; safe for several threads."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self._sizes: dict[str, int] = {}

    def size(self, method: str) -> int:
        """How many commands of a method fit in one request, as far as is known."""
        return self._sizes.get(method, PILOT)

    def proven(self, method: str) -> bool:
        """Whether a request has shown how long the method takes."""
        return method in self._sizes

    def send(self, requests: Mapping[str, Request], take: Take) -> None:
        """Carry out independent requests, at most one batch of them, and tell each one's end.

        What a limit refused was not executed and is sent again. A batch that is refused as
        a whole is halved until the request at fault stands alone.

        Args:
            requests: By key, which must not be a number.
            take: Told key, result and `None`, or key, `None` and the error, as soon as known.

        Raises:
            CrmkitError: What was not told yet shares this fate.
        """
        lost: CredentialsError | None = None

        def told(key: str, value: object, error: CrmkitError | None) -> None:
            nonlocal lost
            if isinstance(error, CredentialsError):
                lost = lost or error  # the others of the batch are told first
            else:
                take(key, value, error)

        for key, request in requests.items():
            if not request.batchable:
                self._alone(key, request, told)
        pending = {key: request for key, request in requests.items() if request.batchable}
        patience = self.portal.patience()
        while pending:
            waiting = self._batch(pending, told)
            if not waiting:
                break
            pending = {key: pending[key] for key in waiting}
            error = next(iter(waiting.values()))
            patience.after(error, pending[next(iter(waiting))].method)
        if lost is not None:
            raise lost

    def _alone(self, key: str, request: Request, take: Take) -> None:
        try:
            value = self.portal.single(request.method, request.params)
        except (Rejected, MissingScope) as error:
            take(key, None, error if isinstance(error, Rejected) else Rejected(str(error)))
        else:
            take(key, value, None)

    def _batch(self, requests: Mapping[str, Request], take: Take) -> dict[str, RateLimited]:
        """Tell the ends of one batch; what a limit held back is given back."""
        commands = {key: request.command() for key, request in requests.items()}
        try:
            results = self.portal.write(commands)
        except OutcomeUnknown:
            self._learn(requests, len(requests), 2 * WANTED_SECONDS)
            raise
        except NotFound as error:
            # The address is not there, which says nothing about any record.
            raise OutcomeUnknown(str(error)) from None
        except Rejected as error:
            if len(requests) == 1:
                take(next(iter(requests)), None, error)
                return {}
            keys = list(requests)
            waiting: dict[str, RateLimited] = {}
            for part in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                waiting |= self._batch({key: requests[key] for key in part}, take)
            return waiting
        waiting = {}
        for key in requests:
            if key in results.values:
                take(key, results.values[key], None)
                continue
            refusal = results.errors.get(key)
            if isinstance(refusal, RateLimited):
                waiting[key] = refusal
            elif refusal is None:
                take(key, None, OutcomeUnknown(str(self.portal.missing(key))))
            elif (
                isinstance(refusal, MissingScope) and results.codes.get(key, "").upper() in _ABOUT_ONE_RECORD
            ):
                take(key, None, Rejected(str(refusal)))
            else:
                take(key, None, refusal)
        self._learn(requests, len(requests) - len(waiting), seconds_of(results.time.get("duration")))
        return waiting

    def _learn(self, requests: Mapping[str, Request], ran: int, seconds: float) -> None:
        if ran <= 0:
            return
        fits = int(WANTED_SECONDS * ran / seconds) if seconds > 0 else COMMANDS
        for method in {request.method for request in requests.values()}:
            self._sizes[method] = max(1, min(COMMANDS, fits))
