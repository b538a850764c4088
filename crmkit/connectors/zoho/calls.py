"""Calls to Zoho as the other modules mean them: one page of rows, and the server's time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypeAlias

from crmkit.connectors.clock import Clock
from crmkit.connectors.http import Answer, Call, Http
from crmkit.errors import BadAnswer, Interrupted

BASE = "/crm/v8"
Raw: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[Sequence[Raw]], None]
"""Raises `BadAnswer` for rows that cannot be what was asked for; they are asked for again."""

# Where the rows of an answer are, by call; everything else is under `data`.
_ROWS_KEY: Mapping[str, str] = {
    "GET /crm/v8/org": "org",
    "GET /crm/v8/org/currencies": "currencies",
    "GET /crm/v8/users": "users",
    "GET /crm/v8/settings/fields": "fields",
    "GET /crm/v8/settings/layouts": "layouts",
    "GET /crm/v8/settings/pipeline": "pipeline",
    "GET /crm/v8/Contacts/roles": "contact_roles",
    "GET /crm/v8/actions/watch": "watch",
}
_SUCCESSES_TO_WIDEN = 50
_SAME_REFUSAL_SECONDS = 1.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Rows:
    """One page.

    Attributes:
        rows: What came; empty for 204 (nothing there) and 304 (nothing new).
        more: Whether Zoho says that there are more.
        token: The token of the next page, where the call has one.
        date: The server's clock when it answered.
    """

    rows: list[Raw]
    more: bool
    token: str | None
    date: datetime


class Gate:
    """Keeps the number of calls at once below what Zoho allows.

    Zoho limits calls at the same time per org and app (5 to 25 by edition, and 10 for COQL),
    not calls per second. Other programs of the same app share the limit, so it is found out
    by being refused: each refusal halves the width, and success raises it again step by step.

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
        self._inside: set[int] = set()
        self._successes = 0
        self._narrowed_at = float("-inf")
        self._changed = threading.Condition()

    def enter(self) -> None:
        """Wait for a place for this thread, which keeps the one it has already.

        Raises:
            Interrupted: The run was stopped meanwhile.
        """
        me = threading.get_ident()
        with self._changed:
            while me not in self._inside and len(self._inside) >= self.width:
                if self._cancelled.is_set():
                    raise Interrupted("stopped while waiting for another call to end")
                self._changed.wait(_LOOK_SECONDS)
            self._inside.add(me)

    def leave(self) -> None:
        """Give this thread's place back, if it has one."""
        with self._changed:
            self._inside.discard(threading.get_ident())
            self._changed.notify()

    def refused(self) -> None:
        """Zoho said "too many": halve the width, once for all threads that heard it.

        The thread loses its place: what it tries again has to pass the narrower gate.
        """
        with self._changed:
            self._successes = 0
            now = self._clock.monotonic()
            if now - self._narrowed_at >= _SAME_REFUSAL_SECONDS:
                self._narrowed_at = now
                self.width = max(1, self.width // 2)
        self.leave()

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


class Calls:
    """Sends calls, and asks again for answers that cannot be right.

    The gate is entered by the dialect before each try, so that a try after a refusal
    waits for its place again.
    """

    def __init__(self, http: Http, gate: Gate) -> None:
        self.http = http
        self._gate = gate

    def query(self, coql: str, check: Check | None = None) -> Rows:
        """One COQL call.

        Raises:
            BadAnswer: The rows are still not what was asked for after the last try.
        """
        call = Call(
            "POST",
            f"{BASE}/coql",
            json={"select_query": coql},
            buckets=("calls",),
            label=f"POST {BASE}/coql",
        )
        return self._rows(call, check, paged=True)

    def listing(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        since: datetime | None = None,
        label: str | None = None,
        check: Check | None = None,
    ) -> Rows:
        """One page of a GET; `since` asks for what changed at or after that second.

        Raises:
            BadAnswer: As for `query`.
        """
        call = Call(
            "GET",
            BASE + path,
            params=params,
            headers={"If-Modified-Since": since.isoformat(timespec="seconds")} if since else {},
            buckets=("calls",),
            label=label or f"GET {BASE}{path}",
        )
        return self._rows(call, check, paged=bool(params and "per_page" in params))

    def _rows(self, call: Call, check: Check | None, *, paged: bool) -> Rows:
        def read(answer: Answer) -> Rows:
            found = rows_of(call, answer, paged=paged)
            if check is not None and found.rows:
                check(found.rows)
            self._gate.succeeded()
            return found

        try:
            return self.http.fetch(call, read)
        finally:
            self._gate.leave()


def rows_of(call: Call, answer: Answer, *, paged: bool) -> Rows:
    """The rows of a successful answer.

    Args:
        call: What was asked.
        answer: What came.
        paged: Whether the answer has to say if there are more.

    Raises:
        BadAnswer: It has another shape, contradicts itself, or tells no time.
    """
    if answer.date is None:
        raise BadAnswer(f"{answer.what}: the answer has no Date header")
    if answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        return Rows([], more=False, token=None, date=answer.date)
    body = answer.mapping()
    rows = body.get(_ROWS_KEY.get(call.label, "data"))
    if not isinstance(rows, list) or not all(type(row) is dict for row in rows):
        raise BadAnswer(f"{answer.what}: the answer has no list of rows ({answer.shape()})")
    info = body.get("info")
    if not isinstance(info, dict):
        if paged:
            raise BadAnswer(f"{answer.what}: the answer does not say whether there is more")
        return Rows(rows, more=False, token=None, date=answer.date)
    count, more, token = info.get("count"), info.get("more_records"), info.get("next_page_token")
    if isinstance(count, int) and count > len(rows):
        raise BadAnswer(f"{answer.what}: {count} rows are promised, {len(rows)} came")
    if paged and not isinstance(more, bool):
        raise BadAnswer(f"{answer.what}: the answer does not say whether there is more")
    if more and not rows:
        raise BadAnswer(f"{answer.what}: there is said to be more, but nothing came")
    return Rows(rows, more is True, token if isinstance(token, str) else None, answer.date)


def has_ids(rows: Sequence[Raw]) -> None:
    """A check that every row tells its id."""
    ids_of(rows)


def ids_of(rows: Sequence[Raw]) -> list[int]:
    """The ids as numbers.

    Raises:
        BadAnswer: A row has none.
    """
    try:
        return [int(row["id"]) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise BadAnswer("a row of Zoho has no usable id") from None
