"""Logging in to a connection: what was typed or brought back is tried first, and stored only if it works."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from crmkit.connectors import registry
from crmkit.connectors.base import Context
from crmkit.connectors.logins import Ask, Exchange, Login, Proof, Redirected, exchanged, redirected, revoked
from crmkit.connectors.oauth import ENDS
from crmkit.credentials import ConnectionSecrets
from crmkit.errors import AccessDenied, Interrupted, UsageError
from crmkit.model import Workspace
from crmkit.session import Session

_CACHED = ("access_token", ENDS)
_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>crmkit</title>"
    "<body style='font:16px system-ui;margin:3rem'><p>{}</p>"
)


class Trial:
    """A connection's secrets with new ones over them, in memory until `keep`."""

    def __init__(self, stored: ConnectionSecrets, new: Mapping[str, str]) -> None:
        self._stored = stored
        self._new = dict(new)
        # What was learnt with the old ones belongs to another login.
        self._hidden = set(_CACHED) - set(new)
        for value in new.values():
            stored.learn(value)

    def get(self, name: str) -> SecretStr:
        """The secret.

        Raises:
            MissingSecret: It is nowhere.
        """
        found = self.find(name)
        return found if found is not None else self._stored.get(name)

    def find(self, name: str) -> SecretStr | None:
        """The secret, or `None`."""
        if name in self._new:
            return SecretStr(self._new[name])
        return None if name in self._hidden else self._stored.find(name)

    def put(self, name: str, value: SecretStr) -> None:
        """Keep what a trial call brought, a rotated token for instance, until it is known to work."""
        self._stored.learn(value.get_secret_value())
        self._new[name] = value.get_secret_value()

    def learn(self, secret: str) -> None:
        """From now on mask this text too."""
        self._stored.learn(secret)

    def redact(self, text: str) -> str:
        """The text with every known secret masked."""
        return self._stored.redact(text)

    def keep(self) -> None:
        """Store all of them, or leave what was stored before.

        Raises:
            CredentialsError: One cannot be stored.
        """
        before = {name: self._stored.find(name) for name in [*self._new, *_CACHED]}
        try:
            for name in _CACHED:
                if name not in self._new:
                    self._stored.forget(name)
            for name, value in self._new.items():
                self._stored.put(name, SecretStr(value))
        except BaseException:
            for name, old in before.items():
                if old is None:
                    self._stored.forget(name)
                else:
                    self._stored.put(name, old)
            raise


def ways(session: Session, name: str) -> tuple[Login, ...]:
    """The ways to log in to a connection, the usual one first."""
    settings = session.config.settings.connections[name]
    return registry.connector(settings.crm).logins(session.config.options[name])


def chosen(session: Session, name: str, method: str | None) -> Login:
    """The way that a person asked for, else the usual one.

    Raises:
        UsageError: There is none of that name for this connection.
    """
    found = ways(session, name)
    if method is None:
        return found[0]
    for login in found:
        if login.name == method:
            return login
    raise UsageError(
        f"{name}: there is no way {method!r} to log in",
        hint=f"Here: {', '.join(login.name for login in found)}. `auth` in crmkit.toml decides.",
    )


def checked(ask: Ask, text: str) -> str:
    """What was typed, without the blanks around it.

    Raises:
        UsageError: It is not what was asked for; it is not quoted.
    """
    value = text.strip()
    if not value:
        raise UsageError(f"{ask.label}: nothing was typed", hint=ask.find)
    if not value.isprintable() or (ask.pattern and not re.fullmatch(ask.pattern, value)):
        raise UsageError(f"this does not look like a {ask.label}", hint=ask.find)
    return value


def needed(login: Login) -> list[str]:
    """The names under which something will be stored."""
    names = [ask.secret for ask in login.asks]
    return [*names, "refresh_token"] if login.exchange is not None else names


def exchange_code(
    session: Session,
    name: str,
    login: Login,
    given: Mapping[str, str],
    back: Redirected,
    redirect: str,
    proof: Proof,
) -> dict[str, str]:
    """What was typed, and the refresh token that a code gives."""
    assert login.exchange is not None  # only such logins have codes
    secrets = session.secrets(name)
    secrets.learn(back.code)
    context = Context(name, secrets, session.clock)
    return {**given, **exchanged(context, login.exchange, given, back, redirect, proof)}


def try_out(session: Session, name: str, new: Mapping[str, str]) -> tuple[Workspace, Trial]:
    """The workspace that new secrets reach, and the secrets, not stored yet.

    Raises:
        CredentialsError: They do not work, or lack a right.
    """
    trial = Trial(session.secrets(name), new)
    connector = session.connect(name, read_only=True, secrets=trial)
    try:
        return connector.check(), trial
    finally:
        connector.close()


def forget(session: Session, name: str) -> list[str]:
    """Forget every stored secret of a connection; the names of those that were there."""
    secrets = session.secrets(name)
    connector = registry.connector(session.config.settings.connections[name].crm)
    return [one for one in dict.fromkeys((*connector.secret_names, *_CACHED)) if secrets.forget(one)]


def revoke(session: Session, name: str) -> bool:
    """Give the refresh token back to the CRM; whether it has a place for that and there was a token.

    Raises:
        CrmkitError: The CRM did not take it back.
    """
    secrets = session.secrets(name)
    token = secrets.find("refresh_token")
    exchange = next(
        (one.exchange for one in ways(session, name) if one.exchange and one.exchange.revoke), None
    )
    if token is None or exchange is None:
        return False
    given = {}
    for one in ("client_id", "client_secret"):
        found = secrets.find(one)
        if found is not None:
            given[one] = found.get_secret_value()
    revoked(Context(name, secrets, session.clock), exchange, given, token.get_secret_value())
    return True


def pasted(exchange: Exchange, text: str, proof: Proof) -> Redirected:
    """Read the address that a browser ended at, as a person copied it.

    Raises:
        UsageError: It is no address.
        AccessDenied: It does not answer what was asked.
    """
    parts = urlsplit(text.strip())
    if not parts.query:
        raise UsageError(
            "this is not the address that the browser ended at",
            hint="Copy all of the browser's address bar, even if the page says that it cannot be reached.",
        )
    return redirected(exchange, dict(parse_qsl(parts.query)), proof)


class Loopback:
    """Waits on this machine for the browser to come back.

    Only loopback; only the right answer ends the wait, so that nobody else can end it.
    """

    def __init__(self, exchange: Exchange, proof: Proof, port: int) -> None:
        self._exchange, self._proof = exchange, proof
        self._back: Redirected | None = None
        self._refused: AccessDenied | None = None
        self._done = threading.Event()
        try:
            self._server = HTTPServer(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise UsageError(
                f"the port {port} cannot be used: {error.strerror or error}",
                hint="Choose another one with --port (and register it in the app), or use --no-browser.",
            ) from error
        self.redirect = f"http://localhost:{self._server.server_port}/"

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer browsers for as long as the block lasts."""
        thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def wait(self, seconds: float) -> Redirected:
        """What came back.

        Raises:
            AccessDenied: The person refused it.
            Interrupted: Nothing came in time.
        """
        self._done.wait(seconds)
        if self._refused is not None:
            raise self._refused
        if self._back is None:
            raise Interrupted(
                f"the browser did not come back within {seconds / 60:.0f} minutes",
                hint="Start again, or use --no-browser and paste the address.",
            )
        return self._back

    def _answer(self, query: str) -> tuple[int, str]:
        if self._done.is_set():
            return 410, "This was answered already. You can close this window."
        said = dict(parse_qsl(query))
        try:
            self._back = redirected(self._exchange, said, self._proof)
        except AccessDenied as refused:
            if "state" in said and said["state"] != self._proof.state:
                return 400, "This is the answer to another question. crmkit still waits for its own."
            if "error" not in said:
                return 400, "Something is missing in this address. crmkit still waits."
            self._refused = refused
        self._done.set()
        if self._refused is not None:
            return 200, "No access was given. You can close this window."
        return 200, "crmkit has what it needs. You can close this window."

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                status, text = answer(parts.query) if parts.path == "/" else (404, "Nothing is here.")
                page = _PAGE.format(text).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, format: str, *args: object) -> None:
                """The address holds a code: it is not logged."""

        return Handler
