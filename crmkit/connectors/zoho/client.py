"""Calls to Zoho as a connector means them: one page of rows, and the server's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crmkit.connectors.http import Call, Http
from crmkit.connectors.zoho.dialect import ZohoDialect
from crmkit.connectors.zoho.gate import Gate
from crmkit.errors import BadAnswer

BASE = "/crm/v8"


@dataclass(frozen=True, slots=True)
class Rows:
    """One page.

    Attributes:
        rows: What came; empty for 204 (nothing there) and 304 (nothing new).
        more: Whether Zoho says that there are more.
        token: The token of the next page, where the call has one.
        date: The server's clock when it answered.
    """

    rows: list[dict[str, Any]]
    more: bool
    token: str | None
    date: datetime


class Client:
    """Sends calls, never more at once than the gate admits."""

    def __init__(self, http: Http, dialect: ZohoDialect, gate: Gate) -> None:
        self.http = http
        self._dialect = dialect
        self._gate = gate

    def query(self, coql: str) -> Rows:
        """One COQL call."""
        return self._rows(
            Call(
                "POST",
                f"{BASE}/coql",
                json={"select_query": coql},
                buckets=("calls",),
                label=f"POST {BASE}/coql",
            )
        )

    def listing(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        since: datetime | None = None,
        label: str | None = None,
    ) -> Rows:
        """One page of a GET; `since` asks for what changed at or after that second."""
        headers = {"If-Modified-Since": since.isoformat(timespec="seconds")} if since else {}
        return self._rows(
            Call(
                "GET",
                BASE + path,
                params=params,
                headers=headers,
                buckets=("calls",),
                label=label or f"GET {BASE}{path}",
            )
        )

    def _rows(self, call: Call) -> Rows:
        with self._gate.pass_through():
            answer = self.http.send(call)
        body, rows = self._dialect.decoded(answer)
        date = answer.date
        if date is None:
            raise BadAnswer(f"{answer.what}: the answer has no Date header")
        info = body.get("info") or {}
        token = info.get("next_page_token")
        return Rows(rows, info.get("more_records") is True, token if isinstance(token, str) else None, date)
