"""A running toy CRM."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
import requests

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.server import Sandbox

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def load_toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sandbox_toy", Path(__file__).with_name("toy.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_toy = load_toy()


@pytest.fixture
def toy_class() -> type[VendorApp]:
    return _toy.ToyApp


class Client:
    """A `requests` session on one app."""

    def __init__(self, app: VendorApp) -> None:
        self.app = app
        self.session = requests.Session()
        self.session.headers["authorization"] = app.credentials["token"]

    def get(self, path: str, **params: object) -> requests.Response:
        return self.session.get(self.app.base_url + path, params=params, timeout=5)

    def post(self, path: str, content: object) -> requests.Response:
        return self.session.post(self.app.base_url + path, json=content, timeout=5)


@pytest.fixture
def up(toy_class: type[VendorApp]) -> Iterator[Callable[..., Client]]:
    """Starts a toy CRM whose clock stands still; gives a client of it."""
    with ExitStack() as stack:

        def start(**options: object) -> Client:
            chosen: dict = {"deals": 250, "limits": "off", "now": NOW, **options}
            box = stack.enter_context(Sandbox.up({"toy": toy_class}, **chosen))
            client = Client(box["toy"])
            stack.callback(client.session.close)
            return client

        yield start
