"""A client of a sandboxed Zoho organisation, for its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import requests

from crmkit.sandbox.server import Sandbox
from crmkit.sandbox.zoho import ZohoApp

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LAYOUT = "7328395000000091023"
NEW = {"Deal_Name": "New deal", "Stage": "Qualification", "Pipeline": "Standard (Standard)"}


class Client:
    """A session with a fresh access token."""

    def __init__(self, app: ZohoApp) -> None:
        self.app, self.world = app, app.world
        self.session = requests.Session()
        said = {"grant_type": "refresh_token", **app.credentials}
        answer = self.session.post(f"{app.origin}/oauth/v2/token", params=said, timeout=5)
        self.session.headers["authorization"] = f"Zoho-oauthtoken {answer.json()['access_token']}"

    def call(self, method: str, path: str, content: Any = None, **options: Any) -> requests.Response:
        url = path if path.startswith("http") else f"{self.app.origin}/crm/v8/{path}"
        return self.session.request(method, url, json=content, timeout=10, **options)

    def get(self, path: str, **params: Any) -> requests.Response:
        return self.call("GET", path, params=params)

    def post(self, path: str, *rows: Any, **more: Any) -> requests.Response:
        return self.call("POST", path, {"data": list(rows), **more})

    def put(
        self, path: str, *rows: Any, headers: dict[str, str] | None = None, **more: Any
    ) -> requests.Response:
        return self.call("PUT", path, {"data": list(rows), **more}, headers=headers)

    def created(self, **fields: Any) -> str:
        """The id of a new deal that started no automation."""
        answer = self.post("Deals", {**NEW, **fields}, trigger=[])
        assert answer.status_code == 201, answer.text
        made: str = answer.json()["data"][0]["details"]["id"]
        return made

    def read(self, path: str) -> dict[str, Any]:
        """A record with all its fields."""
        row: dict[str, Any] = self.get(path).json()["data"][0]
        return row


@contextmanager
def starting() -> Iterator[Callable[..., Client]]:
    """Starts organisations whose clock stands still; none of them may have crashed at the end."""
    with ExitStack() as stack:

        def start(**options: Any) -> Client:
            chosen = {"deals": 40, "limits": "off", "now": NOW, **options}
            app = stack.enter_context(Sandbox.up(["zoho"], **chosen))["zoho"]
            assert isinstance(app, ZohoApp)
            client = Client(app)
            stack.callback(client.session.close)
            stack.callback(_check, app)
            return client

        yield start


def _check(app: ZohoApp) -> None:
    assert app.crashes == []


def rows(answer: requests.Response) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def codes(answer: requests.Response) -> list[str]:
    return [row["code"] for row in rows(answer)]
