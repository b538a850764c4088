"""The web side: a delivery is checked, stored, and only then answered.

What is refused leaves nothing behind. The sender is told no reason: whoever is not the CRM
should not learn what was wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from crmkit.connectors.clock import Clock
from crmkit.connectors.hooks import Delivery, Heard, Refused
from crmkit.errors import StateError
from crmkit.listening.addresses import PREFIX, Door
from crmkit.sync import heard
from crmkit.sync.heard import Told
from crmkit.sync.state import State

MOST_BYTES = 1024 * 1024
READ_SECONDS = 10.0
STORE_SECONDS = 4.0  # HubSpot wants an answer within five
HEALTH = "/health"


class Keeper:
    """Stores deliveries; those that come while a transaction is under way share the next one.

    Args:
        state: The store.
        stored: Called after something new was stored.
    """

    def __init__(self, state: State, stored: Callable[[], None]) -> None:
        self._state, self._stored = state, stored
        self._waiting: list[tuple[Told, asyncio.Future[bool | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def keep(self, told: Told) -> bool | None:
        """Whether the delivery is new, once it is safe on disk; `None` if it could not be stored in time."""
        future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((told, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._store())
        try:
            return await asyncio.wait_for(asyncio.shield(future), STORE_SECONDS)
        except TimeoutError:
            return None

    async def _store(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            new: list[bool | None]
            try:
                new = [*await asyncio.to_thread(self._write, [told for told, _ in waiting])]
            except StateError:
                new = [None] * len(waiting)
            for (_, future), answer in zip(waiting, new, strict=True):
                future.set_result(answer)
            if any(new):
                self._stored()

    def _write(self, told: list[Told]) -> list[bool]:
        with self._state.write() as db:
            return heard.keep(db, told)


class ListenApp:
    """The ASGI app.

    Args:
        doors: The connections to listen to.
        keeper: Stores what is believed.
        base_url: The public address: signatures are over it, so it is configured and never
            taken from `Host` or `X-Forwarded-*`, which anybody can send.
        clock: Where time comes from.
        refused: Told the connection and the reason of each delivery that was refused.
    """

    def __init__(
        self,
        doors: Mapping[str, Door],
        keeper: Keeper,
        *,
        base_url: str,
        clock: Clock,
        refused: Callable[[str, str], None],
    ) -> None:
        self._doors, self._keeper = doors, keeper
        self._base_url, self._clock, self._refused = base_url, clock, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.scope["path"] == HEALTH:
            return _said(200, "listening")
        door = self._door(request.scope["path"])
        if door is None:
            return _said(404, "not found")
        if request.method != "POST":
            return _said(405, "method not allowed")
        body = await _body(request)
        if isinstance(body, Response):
            return body
        raw = request.scope.get("raw_path") or request.scope["path"].encode()
        query = request.scope["query_string"]
        url = self._base_url + raw.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw}
        now = self._clock.now()
        try:
            said = door.hooks.verify(Delivery("POST", url, headers, body), door.keys, now)
        except Refused as problem:
            self._refused(door.connection, str(problem))
            return _said(problem.status, "refused")
        hints = tuple((hint.kind.value, hint.id, hint.op.value) for hint in said.hints)
        if not hints:
            return _said(200, "nothing to do")
        new = await self._keeper.keep(Told(door.connection, _digest(door, said, body, now), hints, now))
        if new is None:
            return _said(503, "try again")
        # A repetition is answered like the first one, whose answer may have been lost.
        return _said(200, "stored" if new else "known")

    def _door(self, path: str) -> Door | None:
        connection = path.removeprefix(PREFIX).partition("/")[0]
        door = self._doors.get(connection)
        if door is None or not hmac.compare_digest(door.path.encode(), path.encode("utf-8", "replace")):
            return None
        return door


async def _body(request: Request) -> bytes | Response:
    """The body, or the answer to one that is too long or too slow."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > MOST_BYTES:
        return _said(413, "too large")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    return _said(413, "too large")
                parts.append(part)
    except TimeoutError:
        return _said(408, "too slow")
    return b"".join(parts)


def _digest(door: Door, said: Heard, body: bytes, now: datetime) -> str:
    """What tells a repetition. Once all changes with the sender's time have happened, one look is enough."""
    alone = now.isoformat() if said.distinct_until is not None and now < said.distinct_until else ""
    text = f"{door.connection}\n{said.stamp}\n{alone}\n".encode()
    return hashlib.sha256(text + body).hexdigest()


def _said(status: int, text: str) -> Response:
    closing = {"connection": "close"} if status in (408, HTTPStatus.REQUEST_ENTITY_TOO_LARGE) else None
    return JSONResponse({"said": text}, status, headers=closing)
