"""A server that takes whatever is posted to it, and a workspace with one sync and no CRM behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crmkit.config import Config, Settings
from crmkit.session import Session
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock, clock, make_context
from tests.scenarios.conftest import crmkit, up

__all__ = ["clock", "crmkit", "make_context", "up"]

SECRET = 'pa"ss\\wörd-s3cret'


class Listener(ThreadingHTTPServer):
    """Takes posts and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posts: list[tuple[str, bytes]] = []
        self.status = 200

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def bodies(self, path: str) -> list[bytes]:
        """What was posted to a path."""
        return [body for at, body in self.posts if at == path]


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def _server() -> Iterator[Listener]:
    with Listener() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def listener(_server: Listener) -> Listener:
    """The server, with nothing posted to it yet."""
    _server.posts.clear()
    _server.status = 200
    return _server


MakeSession = Callable[..., Session]


@pytest.fixture
def make_session(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> MakeSession:
    """A session of a workspace with the sync `main`: `make_session(alerts={"to": ["hook"]})`."""
    monkeypatch.setattr("crmkit.credentials.system_keyring", lambda: None)

    def build(**settings: object) -> Session:
        whole = {
            "connections": {"one": {"crm": "memory"}, "two": {"crm": "memory"}},
            "syncs": {"main": {"members": ["one", "two"]}},
            **settings,
        }
        config = Config(tmp_path / "crmkit.toml", Settings.model_validate(whole), {})
        return Session(config, clock=clock)

    return build


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    store = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()
