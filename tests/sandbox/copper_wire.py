"""A client of a sandboxed Copper account, for its tests, and the official payloads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from crmkit.sandbox.copper import CopperApp
from crmkit.sandbox.server import Sandbox

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "copper" / "examples"
VALIDATION = "Invalid input: Validation errors: "


class Account:
    """Calls one Copper account with its API key."""

    def __init__(self, app: CopperApp, box: Sandbox) -> None:
        self.app, self.box, self.world = app, box, app.world
        self.session = requests.Session()
        self.session.headers.update(
            {
                "X-PW-AccessToken": app.credentials["api_key"],
                "X-PW-Application": "developer_api",
                "X-PW-UserEmail": str(app.connection["user_email"]),
            }
        )

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> requests.Response:
        url = self.app.base_url + path
        return self.session.request(method, url, json=body, params=params, timeout=5)

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        answer = self.ask(method, path, body, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path: str, **params: Any) -> Any:
        return self.call("GET", path, **params)

    def post(self, path: str, body: Any) -> Any:
        return self.call("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        return self.call("PUT", path, body)

    def refused(self, method: str, path: str, body: Any) -> str:
        """The problems that a 422 tells."""
        answer = self.ask(method, path, body)
        assert answer.status_code == 422, answer.text
        told = answer.json()
        assert (told["success"], told["status"]) == (False, 422)
        assert told["message"].startswith(VALIDATION)
        return str(told["message"].removeprefix(VALIDATION))

    def person(self, **body: Any) -> int:
        return int(self.post("/people", {"name": "Ada Byron", **body})["id"])

    def company(self, **body: Any) -> int:
        return int(self.post("/companies", {"name": "Analytical Engines", **body})["id"])

    def deal(self, **body: Any) -> Any:
        if "primary_contact_id" not in body:
            body["primary_contact_id"] = self.person()
        return self.post("/opportunities", {"name": "A deal", **body})

    @property
    def effects(self) -> list[tuple[str, str, str]]:
        return [(one.kind, one.id, one.what) for one in self.world.side_effects]

    def any_deal(self) -> str:
        return next(iter(self.world.deals))

    def left_user(self) -> int:
        return int(next(user.id for user in self.world.users.values() if not user.active))

    def owner(self) -> int:
        """Somebody other than the key's owner."""
        active = [user.id for user in self.world.users.values() if user.active]
        return int(active[1])


@contextmanager
def starting() -> Iterator[Callable[..., Account]]:
    """Gives what starts a Copper whose clock stands still, as an account of it."""
    with ExitStack() as stack:

        def start(**options: Any) -> Account:
            chosen: dict[str, Any] = {"deals": 40, "limits": "off", "now": NOW, "lag_seconds": 0, **options}
            box = stack.enter_context(Sandbox.up(["copper"], **chosen))
            app = box["copper"]
            assert isinstance(app, CopperApp)
            account = Account(app, box)
            stack.callback(account.session.close)
            stack.callback(_no_crash, app)
            return account

        yield start


def _no_crash(app: CopperApp) -> None:
    assert app.crashes == []


def example(name: str) -> Any:
    path = EXAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no official examples at {EXAMPLES}")
    return json.loads(path.read_text())


def misses(official: Any, ours: Any) -> dict[str, Any]:
    """What differs from an official payload, other than ids, stamps and the account's own fields."""
    loose = {"id", "date_created", "date_modified", "custom_fields", "company_id", "company_name", "address"}
    assert official.keys() <= ours.keys()
    return {key: ours[key] for key in official if key not in loose and ours[key] != official[key]}


def custom(record: Any, field_id: str | int) -> Any:
    found = [one for one in record["custom_fields"] if one["custom_field_definition_id"] == int(field_id)]
    return found[0]["value"]


def set_custom(field_id: str | int, value: Any) -> dict[str, Any]:
    return {"custom_fields": [{"custom_field_definition_id": int(field_id), "value": value}]}
