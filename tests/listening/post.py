"""Posts to the listening app without a network, and holds what it stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.hooks import Hooks
from crmkit.listening.addresses import Door
from crmkit.listening.app import Keeper, ListenApp
from crmkit.sync import heard
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock

BASE = "https://hooks.example.com"
PATH = "/hooks/crm/an-unguessable-part"


@dataclass
class Post:
    """A listening app for one connection called `crm`."""

    hooks: Hooks
    keys: dict[str, str]
    state: State
    clock: FakeClock = field(default_factory=FakeClock)
    refusals: list[str] = field(default_factory=list)
    woken: int = 0
    base: str = BASE

    def __post_init__(self) -> None:
        self.app = ListenApp(
            {"crm": Door("crm", PATH, self.hooks, self.keys)},
            Keeper(self.state, self._wake),
            base_url=self.base,
            clock=self.clock,
            refused=lambda _, reason: self.refusals.append(reason),
        )

    def _wake(self) -> None:
        self.woken += 1

    def send(
        self,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = PATH,
        method: str = "POST",
    ) -> int:
        """The status of the answer."""
        return self.send_all([body], headers, path=path, method=method)[0]

    def send_all(
        self,
        bodies: Sequence[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        path: str = PATH,
        method: str = "POST",
    ) -> list[int]:
        """The statuses of requests that come at the same time."""

        async def together() -> list[int]:
            return list(
                await asyncio.gather(*(self._one(body, headers or {}, path, method) for body in bodies))
            )

        return asyncio.run(together())

    async def _one(self, body: bytes, headers: Mapping[str, str], path: str, method: str) -> int:
        said: list[Any] = []
        parts = [body[at : at + 65_536] for at in range(0, len(body), 65_536)] or [b""]
        waiting = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, start=1)
        ]

        async def receive() -> Any:
            return waiting.pop(0)

        async def send(message: Any) -> None:
            said.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        await self.app(scope, receive, send)
        return int(said[0]["status"])

    def stored(self) -> list[tuple[str, str, str]]:
        """Kind, id and op of everything that was stored, oldest first."""
        table = heard.webhook_events.c
        with self.state.read() as db:
            rows = db.execute(sa.select(table.kind, table.id, table.op).order_by(table.number))
            return [(row.kind, row.id, row.op) for row in rows]
