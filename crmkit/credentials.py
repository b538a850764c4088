"""Secrets: from the system's keyring, the environment, or a file that a person names.

Looked up in this order, for connection `hubspot-us` and secret `token`:

1. the keyring entry `crmkit` / `hubspot-us:token`,
2. the environment variable `CRMKIT_HUBSPOT_US_TOKEN`,
3. the file named by `CRMKIT_HUBSPOT_US_TOKEN_FILE`,
4. the file `hubspot-us.token` in `secrets_dir` of crmkit.toml, if that is set.

Never in crmkit.toml, the state store, logs, errors, plans or reports.
"""

from __future__ import annotations

import base64
import os
import re
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

from crmkit.errors import CredentialsError, MissingSecret

SERVICE = "crmkit"
MASK = "•••"
_SHORTEST_BASE64 = 12


class Keyring(Protocol):
    """The part of the keyring library that is used."""

    def get_password(self, service_name: str, username: str) -> str | None: ...
    def set_password(self, service_name: str, username: str, password: str) -> None: ...
    def delete_password(self, service_name: str, username: str) -> None: ...


class Redactor:
    """Knows every secret that was handed out, and masks them in any text."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def learn(self, secret: str) -> None:
        """From now on mask this text; shorter than four characters would mask half of every text."""
        if len(secret) >= 4:
            with self._lock:
                self._known |= {secret, *_other_forms(secret)}

    def redact(self, text: str) -> str:
        """The text with every known secret masked, the longest first."""
        with self._lock:
            known = sorted(self._known, key=len, reverse=True)
        for secret in known:
            text = text.replace(secret, MASK)
        return text


def _other_forms(secret: str) -> Iterator[str]:
    """How a secret looks in an address and in the header of basic authentication."""
    yield quote(secret)
    yield quote(secret, safe="")
    yield quote_plus(secret)
    for pair in (secret, f"{secret}:", f":{secret}"):
        text = base64.b64encode(pair.encode()).decode().rstrip("=")
        if len(text) >= _SHORTEST_BASE64:
            yield text


class ConnectionSecrets:
    """The secrets of one connection.

    Args:
        connection: Its name in crmkit.toml.
        keyring: The system's keyring, or `None` where there is no usable one.
        environ: The environment.
        directory: `secrets_dir` of crmkit.toml.
        redactor: Learns every secret that is handed out.
    """

    def __init__(
        self,
        connection: str,
        *,
        keyring: Keyring | None,
        environ: Mapping[str, str],
        directory: Path | None,
        redactor: Redactor,
    ) -> None:
        self.connection = connection
        self._keyring = keyring
        self._environ = environ
        self._directory = directory
        self._redactor = redactor

    def get(self, name: str) -> SecretStr:
        """The secret.

        Raises:
            MissingSecret: It is nowhere; the hint says how to store it on this machine.
        """
        secret = self.find(name)
        if secret is None:
            raise MissingSecret(
                f"{self.connection}: no secret {name!r} is stored", hint=self._how_to_store(name)
            )
        return secret

    def find(self, name: str) -> SecretStr | None:
        """The secret, or `None`."""
        text = self._from_keyring(name) or self._environ.get(self.variable(name))
        if not text:
            path = self._path(name)
            text = _read_owner_only(path) if path and path.exists() else None
        if not text:
            return None
        self._redactor.learn(text)
        return SecretStr(text)

    def put(self, name: str, value: SecretStr) -> None:
        """Store a secret durably: keyring if there is one, else the file that is named for it.

        Raises:
            MissingSecret: There is neither; an environment variable cannot be rewritten.
        """
        text = value.get_secret_value()
        self._redactor.learn(text)
        if self._keyring is not None:
            with _understood(self.connection):
                self._keyring.set_password(SERVICE, f"{self.connection}:{name}", text)
            return
        path = self._path(name)
        if path is None:
            raise MissingSecret(
                f"{self.connection}: the secret {name!r} changes over time and there is no place to keep it",
                hint=f"Set {self.variable(name)}_FILE to a file that crmkit may rewrite, "
                "or `secrets_dir` in crmkit.toml, or install a keyring backend.",
            )
        _write_owner_only(path, text)

    def forget(self, name: str) -> bool:
        """Remove a secret from the keyring or its file; whether there was one."""
        if self._keyring is not None and self._from_keyring(name) is not None:
            with _understood(self.connection):
                self._keyring.delete_password(SERVICE, f"{self.connection}:{name}")
            return True
        path = self._path(name)
        if path is not None and path.exists():
            path.unlink()
            return True
        return False

    def storable(self, name: str) -> None:
        """Make sure, before anybody is asked for it, that a secret can be stored and is then used.

        Raises:
            MissingSecret: There is no place for it, or the environment comes before that place.
        """
        variable = self.variable(name)
        if self._keyring is not None:
            return
        if self._environ.get(variable):
            raise MissingSecret(
                f"{self.connection}: {variable} is set, and comes before any file",
                hint=f"Put the new secret there, or unset {variable} and log in again.",
            )
        if self._path(name) is None:
            raise MissingSecret(
                f"{self.connection}: there is no place to keep the secret {name!r}",
                hint=f"Install a keyring backend, or set `secrets_dir` in crmkit.toml, or {variable}_FILE.",
            )

    def from_environment(self, names: Iterable[str]) -> list[str]:
        """The environment variables that hold one of these secrets."""
        return [variable for variable in map(self.variable, names) if self._environ.get(variable)]

    def learn(self, secret: str) -> None:
        """From now on mask this text too."""
        self._redactor.learn(secret)

    def redact(self, text: str) -> str:
        """The text with every known secret masked."""
        return self._redactor.redact(text)

    def variable(self, name: str) -> str:
        """The environment variable for a secret."""
        return "CRMKIT_" + re.sub(r"[^A-Z0-9]", "_", f"{self.connection}_{name}".upper())

    def _from_keyring(self, name: str) -> str | None:
        if self._keyring is None:
            return None
        with _understood(self.connection):
            return self._keyring.get_password(SERVICE, f"{self.connection}:{name}")

    def _path(self, name: str) -> Path | None:
        named = self._environ.get(self.variable(name) + "_FILE")
        if named:
            return Path(named)
        return self._directory / f"{self.connection}.{name}" if self._directory else None

    def _how_to_store(self, name: str) -> str:
        variable = self.variable(name)
        if self._keyring is not None:
            return f"Store it with `crmkit login {self.connection}`, or set {variable}."
        return (
            f"This machine has no keyring backend: set {variable}, or {variable}_FILE to a file with "
            f"mode 0600, or `secrets_dir` in crmkit.toml and then `crmkit login {self.connection}`."
        )


@contextmanager
def _understood(connection: str) -> Iterator[None]:
    """Turn whatever a keyring backend raises into one clear error; its text may quote a secret."""
    try:
        yield
    except Exception as error:
        raise CredentialsError(
            f"{connection}: the keyring cannot be used ({type(error).__name__})",
            hint="Unlock it, choose another backend (`keyring diagnose`), or use the environment or files.",
        ) from None


def system_keyring() -> Keyring | None:
    """The system's keyring, or `None` if only a refusing, null or plain-text one is there."""
    import keyring  # noqa: PLC0415 - looks for backends when imported, which takes a while

    backend = keyring.get_keyring()
    names = [
        f"{type(one).__module__}.{type(one).__name__}" for one in getattr(backend, "backends", [backend])
    ]
    weak = ("keyring.backends.fail", "keyring.backends.null", "PlaintextKeyring")
    if not names or all(any(bad in name for bad in weak) for name in names):
        return None
    return backend


def _read_owner_only(path: Path) -> str:
    mode = path.stat().st_mode
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise MissingSecret(
            f"the secret file {path.name} can be read by other users",
            hint=f"Run `chmod 600 {path}`, then try again.",
        )
    return path.read_text(encoding="utf-8").strip()


def _write_owner_only(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secret-")  # created 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
