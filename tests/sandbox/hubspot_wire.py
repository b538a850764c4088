"""A client of a sandboxed HubSpot account, for its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import requests

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.server import Sandbox

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Client:
    """A `requests` session on a HubSpot account."""

    def __init__(self, app: VendorApp) -> None:
        self.app, self.world = app, app.world
        self.session = requests.Session()
        self.session.headers["authorization"] = f"Bearer {app.credentials['token']}"

    def get(self, path: str, **params: Any) -> requests.Response:
        return self.session.get(self.app.base_url + path, params=params, timeout=5)

    def post(self, path: str, content: Any) -> requests.Response:
        return self.session.post(self.app.base_url + path, json=content, timeout=5)

    def form(self, path: str, **fields: str) -> requests.Response:
        return self.session.post(self.app.base_url + path, data=fields, timeout=5)

    def walk(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """All results of a list, page after page."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.get(path, **params).json()
            found += answer["results"]
            if "paging" not in answer:
                return found
            params["after"] = answer["paging"]["next"]["after"]


@contextmanager
def starting() -> Iterator[Callable[..., Client]]:
    """Starts HubSpot accounts whose clock stands still; none of them may have crashed at the end."""
    with ExitStack() as stack:

        def start(**options: Any) -> Client:
            chosen = {"deals": 60, "limits": "off", "now": NOW, **options}
            app = stack.enter_context(Sandbox.up(["hubspot"], **chosen))["hubspot"]
            client = Client(app)
            stack.callback(client.session.close)
            stack.callback(_check, app)
            return client

        yield start


def _check(app: VendorApp) -> None:
    assert app.crashes == []
