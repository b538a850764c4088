"""Fixtures for connector tests: fake secrets and a clock that never waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from crmkit.connectors.base import Context
from crmkit.errors import MissingSecret


class FakeSecrets:
    """Secrets in a dictionary; remembers what was stored, in order."""

    def __init__(self, **values: str) -> None:
        self.values = dict(values)
        self.stored: list[tuple[str, str]] = []
        self.learnt: list[str] = []

    def get(self, name: str) -> SecretStr:
        secret = self.find(name)
        if secret is None:
            raise MissingSecret(f"no secret {name!r}")
        return secret

    def find(self, name: str) -> SecretStr | None:
        return SecretStr(self.values[name]) if name in self.values else None

    def put(self, name: str, value: SecretStr) -> None:
        self.stored.append((name, value.get_secret_value()))
        self.values[name] = value.get_secret_value()

    def learn(self, secret: str) -> None:
        self.learnt.append(secret)

    def redact(self, text: str) -> str:
        for value in [*self.values.values(), *self.learnt]:
            text = text.replace(value, "•••")
        return text


class FakeClock:
    """A clock that jumps over every sleep and remembers it."""

    def __init__(self, now: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._lock = threading.Lock()
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def sleep(self, seconds: float, cancelled: threading.Event) -> None:
        with self._lock:
            self.slept.append(seconds)
            self._monotonic += seconds
            self._now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_context(clock: FakeClock) -> Callable[..., Context]:
    """Builds a context: `make_context("hubspot-us", token="t0ken")`."""

    def build(connection: str, **secrets: str) -> Context:
        return Context(connection, FakeSecrets(**secrets), clock=clock)

    return build
