"""A session that writes to one Close sandbox, for the tests of its writing side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import requests

from crmkit.sandbox.close import CloseApp
from crmkit.sandbox.server import Sandbox

NOW = datetime(2026, 6, 1, 23, 30, tzinfo=UTC)
Up = Callable[..., "Client"]


class Client:
    """A session with the API key on one Close sandbox."""

    def __init__(self, app: CloseApp, box: Sandbox) -> None:
        self.app, self.box, self.world = app, box, app.world
        self.session = requests.Session()
        self.session.auth = (app.credentials["api_key"], "")

    def send(
        self, method: str, path: str, content: object = None, *, _fields: str | None = None, **headers: str
    ) -> requests.Response:
        return self.session.request(
            method,
            self.app.base_url + path,
            json=content,
            params={"_fields": _fields} if _fields else None,
            headers=headers,
            timeout=5,
        )

    def get(self, path: str, **params: str | int) -> Any:
        answer = self.session.get(self.app.base_url + path, params=params, timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, content: object, **headers: str) -> Any:
        return self._good(self.send("POST", path, content, **headers))

    def put(self, path: str, content: object, **headers: str) -> Any:
        return self._good(self.send("PUT", path, content, **headers))

    def delete(self, path: str) -> Any:
        return self._good(self.send("DELETE", path))

    def errors(self, method: str, path: str, content: object) -> dict[str, str]:
        """The `field-errors` of a body that is refused."""
        answer = self.send(method, path, content)
        assert answer.status_code == 400, answer.text
        found: dict[str, str] = answer.json()["field-errors"]
        return found

    def control(self, path: str, content: object = None) -> Any:
        url = f"{self.app.origin}/_sandbox/{path}"
        method = "GET" if content is None else "POST"
        return self.session.request(method, url, json=content, timeout=5).json()

    def lead(self, **said: object) -> Any:
        return self.post("/lead/", {"name": "Bluth Company", **said})

    def deal(self, **said: object) -> Any:
        said.setdefault("lead_id", next(iter(self.world.companies)))
        return self.post("/opportunity/", said)

    def field(self, object_type: str = "opportunity", **said: object) -> str:
        made = self.post(f"/custom_field/{object_type}/", {"name": "Field", "type": "text", **said})
        return f"custom.{made['id']}"

    def statuses(self, place: int = 0) -> dict[str, str]:
        """The first status of each type of a pipeline."""
        rows = self.get("/pipeline/")["data"][place]["statuses"]
        return {row["type"]: row["id"] for row in reversed(rows)}

    def me(self) -> str:
        return str(self.get("/me/")["id"])

    def _good(self, answer: requests.Response) -> Any:
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()


@contextmanager
def starting() -> Iterator[Up]:
    """Starts Closes whose clocks stand still; afterwards none may have crashed."""
    with ExitStack() as stack:

        def start(**options: object) -> Client:
            chosen: dict[str, Any] = {"deals": 60, "limits": "off", "now": NOW, "lag_seconds": 0, **options}
            box = stack.enter_context(Sandbox.up(["close"], **chosen))
            app = box["close"]
            assert isinstance(app, CloseApp)
            client = Client(app, box)
            stack.callback(client.session.close)
            stack.callback(_no_crash, app)
            return client

        yield start


def _no_crash(app: CloseApp) -> None:
    assert app.crashes == []
