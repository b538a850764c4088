"""Secrets: from the system's keyring, the environment, or a file that a person names.

Looked up in this order, for connection `hubspot-us` and secret `token`:

1. the keyring entry `crmkit` / `hubspot-us:token`,
2. the environment variable `CRMKIT_HUBSPOT_US_TOKEN`,
3. the file named by `CRMKIT_HUBSPOT_US_TOKEN_FILE`,
4. the file `hubspot-us.token` in `secrets_dir` of crmkit.toml, if that is set.

Never in crmkit.toml, the state store, logs, errors, plans or reports.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from crmkit.errors import MissingSecret

SERVICE = "crmkit"
MASK = "•••"


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
                self._known.add(secret)

    def redact(self, text: str) -> str:
        """The text with every known secret masked, the longest first."""
        with self._lock:
            known = sorted(self._known, key=len, reverse=True)
        for secret in known:
            text = text.replace(secret, MASK)
        return text


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
            self._keyring.delete_password(SERVICE, f"{self.connection}:{name}")
            return True
        path = self._path(name)
        if path is not None and path.exists():
            path.unlink()
            return True
        return False

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
        return self._keyring.get_password(SERVICE, f"{self.connection}:{name}")

    def _path(self, name: str) -> Path | None:
        named = self._environ.get(self.variable(name) + "_FILE")
        if named:
            return Path(named)
        return self._directory / f"{self.connection}.{name}" if self._directory else None

    def _how_to_store(self, name: str) -> str:
        variable = self.variable(name)
        if self._keyring is not None:
            return f"Store it with `keyring set {SERVICE} {self.connection}:{name}`, or set {variable}."
        return (
            f"This machine has no keyring backend: set {variable}, "
            f"or {variable}_FILE to a file with mode 0600."
        )


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
