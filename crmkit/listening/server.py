"""Serves the app from a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from crmkit.errors import UsageError

MOST_AT_ONCE = 256  # more are answered 503: senders try again, and memory stays small
_START_SECONDS = 30


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: The port is taken, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="Choose another --host or --port."
        ) from error
    return listener


class Server:
    """A web server in a thread."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._listener = listener
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,  # paths are secrets
                server_header=False,
                proxy_headers=False,  # who sends is proven by the signature, not by a header
                limit_concurrency=MOST_AT_ONCE,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=5,
            )
        )
        self._thread = threading.Thread(target=self._run, name="listen", daemon=True)

    def start(self) -> None:
        """Serve; returns once requests are answered.

        Raises:
            UsageError: It did not start.
        """
        self._thread.start()
        waited = threading.Event()
        for _ in range(_START_SECONDS * 100):
            if self._server.started:
                return
            waited.wait(0.01)
        raise UsageError(f"the server did not start within {_START_SECONDS} seconds")

    def stop(self) -> None:
        """Answer what is under way and stop."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._server.serve([self._listener]))
