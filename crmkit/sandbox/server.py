"""Starts the vendor apps on localhost, in a thread of their own."""

from __future__ import annotations

import asyncio
import gc
import importlib
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from crmkit.errors import SandboxError
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.clock import Clock
from crmkit.sandbox.seed import seed_worlds
from crmkit.sandbox.wire import Settings

VENDORS: dict[str, str] = {
    "hubspot": "crmkit.sandbox.hubspot:HubSpotApp",
    "zoho": "crmkit.sandbox.zoho:ZohoApp",
    "copper": "crmkit.sandbox.copper:CopperApp",
    "bitrix24": "crmkit.sandbox.bitrix24:Bitrix24App",
    "close": "crmkit.sandbox.close:CloseApp",
}
_START_SECONDS = 30
_LARGE_WORLD = 5_000
_PORT_HINT = "Choose another --port-base, or stop the sandbox that uses it."


def vendor_app(name: str) -> type[VendorApp]:
    """The app class of a CRM.

    Raises:
        SandboxError: No such CRM, or its module is missing.
    """
    if name not in VENDORS:
        raise SandboxError(f"the sandbox has no CRM called {name!r}; it has {', '.join(VENDORS)}")
    module_name, class_name = VENDORS[name].split(":")
    try:
        found: type[VendorApp] = getattr(importlib.import_module(module_name), class_name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise SandboxError(f"the sandbox module of {name} is missing: {VENDORS[name]}") from error
    return found


class _Protocol(HttpToolsProtocol):
    """Lets the app cut the connection, which ASGI has no word for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"crmkit.transport": self.transport}  # type: ignore[dict-item]


class _Server(uvicorn.Server):
    """Ends as soon as it is told to; uvicorn's own looks ten times a second, and then waits as long again."""

    def __init__(self, config: uvicorn.Config, told: asyncio.Event) -> None:
        super().__init__(config)
        self._told = told

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)  # connections without a call under way are gone after one turn of the loop
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)


class Sandbox:
    """Several CRMs on localhost.

    `box["zoho"]` is the app of one: its `base_url`, `credentials`, `world`, `requests`, `faults`.
    """

    def __init__(
        self, apps: Mapping[str, VendorApp], *, clock: Clock | None = None, port_base: int = 0
    ) -> None:
        self.apps = dict(apps)
        self.clock = clock or Clock()
        self._port_base = port_base
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()
        self._thread: threading.Thread | None = None

    def __getitem__(self, name: str) -> VendorApp:
        return self.apps[name]

    @classmethod
    def seeded(
        cls,
        crms: Sequence[str] | Mapping[str, type[VendorApp]] = tuple(VENDORS),
        *,
        deals: int | Mapping[str, int] = 300,
        seed: int = 1,
        limits: str = "real",
        latency_ms: float = 0.0,
        faults: str = "none",
        slow_seconds: float = 2.0,
        lag_seconds: float | None = None,
        now: datetime | None = None,
        clock: Clock | None = None,
        port_base: int = 0,
        extra: Mapping[str, Any] | None = None,
    ) -> Sandbox:
        """A sandbox that is filled but not started.

        Args:
            crms: Names from the registry, or app classes by name.
            deals: How many in each CRM.
            limits: `real` or `off`.
            now: Where the clock begins, and then stands still; `None` lets it run with the real one.
            clock: A clock in place of that one.
            port_base: The first port, the others follow; 0 takes free ones.
        """
        if limits not in {"real", "off"}:
            raise ValueError(f"limits are real or off, not {limits!r}")
        classes = dict(crms) if isinstance(crms, Mapping) else {name: vendor_app(name) for name in crms}
        clock = clock or Clock(now)
        seeds = {name: app.vendor_seed() for name, app in classes.items()}
        worlds = seed_worlds(seeds, deals=deals, seed=seed, now=clock(), clock=clock)
        apps = {}
        for name, app in classes.items():
            settings = Settings(
                latency_ms, limits == "real", faults, slow_seconds, lag_seconds, seed, dict(extra or {})
            )
            apps[name] = app(worlds[name], settings)
        return cls.of(apps, port_base=port_base)

    @classmethod
    def of(cls, apps: Mapping[str, VendorApp], *, port_base: int = 0) -> Sandbox:
        """A sandbox of finished apps, such as twins, under names of the caller's; not started.

        Its clock is that of the first app; all of them should go by the same one.
        """
        if any(len(app.world.deals) >= _LARGE_WORLD for app in apps.values()):
            # It lives as long as the process: looking through it for garbage finds none.
            gc.collect()
            gc.freeze()
        clock = next((app.world.clock for app in apps.values()), None)
        return cls(apps, clock=clock, port_base=port_base)

    @classmethod
    @contextmanager
    def up(
        cls, crms: Sequence[str] | Mapping[str, type[VendorApp]] = tuple(VENDORS), **options: Any
    ) -> Iterator[Sandbox]:
        """A sandbox that listens while the block runs; options as for `seeded`."""
        box = cls.seeded(crms, **options)
        box.start()
        try:
            yield box
        finally:
            box.stop()

    def start(self) -> None:
        """Listen; returns once every port answers."""
        sockets: list[socket.socket] = []
        for number, app in enumerate(self.apps.values()):
            # Without the protocol by name asyncio leaves Nagle's algorithm on, and each answer takes 40 ms.
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port = self._port_base + number if self._port_base else 0
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                for opened in (listener, *sockets):
                    opened.close()
                raise SandboxError(f"port {port} for {app.name} is taken", hint=_PORT_HINT) from error
            app.origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
            sockets.append(listener)
        ready = threading.Event()
        self._told = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(sockets, ready), daemon=True, name="sandbox")
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise SandboxError(f"the sandbox did not start within {_START_SECONDS} seconds")

    def stop(self) -> None:
        """Stop listening and wait for the thread to end."""
        thread = self._thread
        if thread is None:
            return
        with suppress(RuntimeError):  # the loop has ended meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._told.set)
        thread.join()
        self._thread = None

    def serve_forever(self) -> None:
        """Serve until Ctrl-C, or until `stop` is called from another thread."""
        if self._thread is None:
            self.start()
        thread = self._thread
        try:
            while thread is not None and thread.is_alive():
                thread.join(1)
        finally:
            self.stop()

    def _run(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        asyncio.run(self._serve(sockets, ready))

    async def _serve(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        servers = [_Server(_config(app), self._told) for app in self.apps.values()]
        serving = [
            asyncio.create_task(server.serve([listener]))
            for server, listener in zip(servers, sockets, strict=True)
        ]
        while not all(server.started for server in servers):
            await asyncio.sleep(0.001)
        ready.set()
        await asyncio.gather(*serving)


def _config(app: VendorApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,
    )
