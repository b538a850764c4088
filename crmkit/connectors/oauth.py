"""Access tokens that expire: renewed by one thread of one process, stored before use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import msgspec
from pydantic import SecretStr

from crmkit.connectors.base import Context
from crmkit.errors import MissingSecret

MARGIN_SECONDS = 60.0
ENDS = "refresh_token_ends"
"""Under this name stands, beside the refresh token, when it ends; no secret."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token endpoint gave.

    Attributes:
        access_token: The new access token.
        expires_in: Its life in seconds.
        refresh_token: The next refresh token, if the vendor rotates it or sent it.
        extra: What else the vendor says and the connector needs (an API domain, ...).
        refresh_days: How long the refresh token works if it is not used; `None` if it has no end.
    """

    access_token: str
    expires_in: float
    refresh_token: str | None = None
    extra: dict[str, str] | None = None
    refresh_days: float | None = None


class _Stored(msgspec.Struct):
    token: str
    expires_at: float
    extra: dict[str, str] = {}


class Tokens:
    """The access token of one connection.

    Renewal is single-flight: the thread that finds the token dead renews it, the others
    wait and use the result. Another process may have renewed it meanwhile, so the store
    is read again first. A rotated refresh token is stored before the new access token is
    handed out: losing it would lock the connection out.

    Args:
        context: Name, secrets and clock of the connection.
        refresh: Calls the token endpoint with the current refresh token.
        rotates: Whether each refresh token works only once.
        proactive: Whether to renew shortly before expiry; Bitrix24 asks to renew only
            after a refusal.
    """

    def __init__(
        self,
        context: Context,
        refresh: Callable[[SecretStr], Grant],
        *,
        rotates: bool,
        proactive: bool = True,
    ) -> None:
        self._context = context
        self._refresh = refresh
        self._rotates = rotates
        self._proactive = proactive
        self._lock = threading.Lock()
        self._current: _Stored | None = None

    def current(self) -> tuple[str, dict[str, str]]:
        """A token that should work now, and the vendor's extras."""
        stored = self._current
        if stored is None or self._worn(stored):
            stored = self._renew(refused=None)
        return stored.token, stored.extra

    def after_refusal(self, refused: str) -> tuple[str, dict[str, str]]:
        """A token other than the one that the CRM just refused."""
        stored = self._renew(refused=refused)
        return stored.token, stored.extra

    def _worn(self, stored: _Stored) -> bool:
        return self._proactive and self._now() >= stored.expires_at - MARGIN_SECONDS

    def _now(self) -> float:
        return self._context.clock.now().timestamp()

    def _renew(self, refused: str | None) -> _Stored:
        with self._lock:
            for candidate in (self._current, self._from_store()):
                if candidate and candidate.token != refused and not self._worn(candidate):
                    self._current = candidate
                    return candidate
            secrets = self._context.secrets
            grant = self._refresh(secrets.get("refresh_token"))
            secrets.learn(grant.access_token)
            if self._rotates and grant.refresh_token:
                secrets.put("refresh_token", SecretStr(grant.refresh_token))
                self._note_end(grant)
            fresh = _Stored(grant.access_token, self._now() + grant.expires_in, grant.extra or {})
            self._keep(fresh)
            self._current = fresh
            return fresh

    def _note_end(self, grant: Grant) -> None:
        """Remember when the refresh token ends if nobody uses it, so that people are warned before."""
        if grant.refresh_days is not None:
            ends = self._context.clock.now() + timedelta(days=grant.refresh_days)
            with suppress(MissingSecret):
                self._context.secrets.put(ENDS, SecretStr(ends.isoformat(timespec="seconds")))

    def _from_store(self) -> _Stored | None:
        secret = self._context.secrets.find("access_token")
        if secret is None:
            return None
        try:
            stored = msgspec.json.decode(secret.get_secret_value(), type=_Stored)
            self._context.secrets.learn(stored.token)
            return stored
        except msgspec.DecodeError:
            # A bare token that a person put there: its age is not known.
            return _Stored(secret.get_secret_value(), float("inf"))

    def _keep(self, fresh: _Stored) -> None:
        try:
            self._context.secrets.put("access_token", SecretStr(msgspec.json.encode(fresh).decode()))
        except MissingSecret:
            # Only a convenience for the next process: without a store it renews by itself.
            return
