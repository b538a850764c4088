"""Where each connection is listened to: a path that nobody can guess, and the secrets behind it."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

from crmkit.connectors.hooks import PATH_SECRET, Hooks
from crmkit.errors import MissingSecret, UsageError
from crmkit.session import Session

PREFIX = "/hooks/"
_RANDOM_BYTES = 32  # 43 characters: Zoho takes 50


@dataclass(frozen=True, slots=True)
class Door:
    """One connection's way in.

    Attributes:
        connection: Its name.
        path: The whole path with its secret part.
        hooks: The CRM's way to sign.
        keys: The secrets that a delivery is checked with.
    """

    connection: str
    path: str
    hooks: Hooks
    keys: dict[str, str]


def checked_url(text: str) -> str:
    """A public address without a slash at the end.

    Raises:
        UsageError: It is not https, or carries more than host and path.
    """
    parts = urlsplit(text)
    if not parts.hostname or parts.query or parts.fragment or parts.username:
        raise UsageError(
            f"--public-url {text}: not an address", hint="Write it like https://hooks.example.com"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise UsageError(
            f"--public-url {text}: webhooks are taken over https only",
            hint="Put a reverse proxy with a certificate in front; docs/listen.md shows one.",
        )
    return text.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def path_of(session: Session, connection: str, hooks: Hooks) -> str:
    """The secret path of a connection; it and the secrets that crmkit makes up are made and stored once.

    Raises:
        MissingSecret: There is no place to store them.
    """
    store = session.secrets(connection)
    for name in (PATH_SECRET, *hooks.made):
        if store.find(name) is None:
            store.put(name, SecretStr(randomness.token_urlsafe(_RANDOM_BYTES)))
    return f"{PREFIX}{connection}/{store.get(PATH_SECRET).get_secret_value()}"


def door(session: Session, connection: str, hooks: Hooks) -> Door:
    """A connection's way in.

    Raises:
        MissingSecret: What its deliveries are checked with is not stored: nothing is let in unchecked.
    """
    path = path_of(session, connection, hooks)
    store = session.secrets(connection)
    keys: dict[str, str] = {}
    for name in _names(hooks):
        if name == hooks.created and store.find(name) is None:
            raise MissingSecret(
                f"{connection}: there is no webhook of ours yet",
                hint=f"Run `crmkit listen subscriptions create {connection} --public-url https://...` first.",
            )
        keys[name] = store.get(name).get_secret_value()
    return Door(connection, path, hooks, keys)


def _names(hooks: Hooks) -> Iterable[str]:
    return dict.fromkeys((*hooks.needed, *hooks.made))
