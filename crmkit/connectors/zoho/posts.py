"""Calls that change something, and the rows that answer them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.zoho.calls import BASE, Gate, Raw
from crmkit.errors import BadAnswer


class Posts:
    """Sends writes through the gate that all calls of a connection share."""

    def __init__(self, http: Http, gate: Gate) -> None:
        self._http = http
        self._gate = gate

    def send(
        self,
        method: str,
        path: str,
        *,
        key: str = "data",
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        label: str | None = None,
    ) -> Sequence[Raw]:
        """The rows under `key` of a successful answer; not all of them need have succeeded.

        Raises:
            ZohoRefused: The request was refused; `rows` has the outcomes, if it tells them.
            OutcomeUnknown: No answer proves what happened.
        """
        call = Call(
            method,
            BASE + path,
            params=params,
            json=json,
            headers=headers or {},
            buckets=("calls",),
            writes=True,
            label=label or f"{method} {BASE}{path}",
        )

        def read(answer: Answer) -> Sequence[Raw]:
            rows = answer.mapping().get(key)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise BadAnswer(f"{answer.what}: the answer has no outcomes ({answer.shape()})")
            self._gate.succeeded()
            return rows

        try:
            return self._http.fetch(call, read)
        finally:
            self._gate.leave()
