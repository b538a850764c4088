"""Who may call: the webhook's code in the path, or an access token that lives for an hour.

Sources: https://apidocs.bitrix24.com/settings/oauth/index.html,
https://apidocs.bitrix24.com/settings/oauth/auto-renewal.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from crmkit.sandbox.bitrix24.portal import Caller, Failure, Portal
from crmkit.sandbox.consent import Consents

WEBHOOK_USER = "1"
WEBHOOK_CODE = "sandboxwebhook0k1"
CLIENT_ID = "local.6a0b1c2d3e4f50.12345678"
CLIENT_SECRET = "sandbox-client-secret"  # noqa: S105 - made up, and good for this sandbox only
ACCESS_SECONDS = 3600
CODE_SECONDS = 30.0


class Tokens:
    """The token pairs of one app: each refresh gives a new pair and ends the former refresh token."""

    def __init__(self, seed: int, clock: Callable[[], float]) -> None:
        self._seed, self._clock, self._number = seed, clock, 0
        self._access: dict[str, float] = {}
        self._expired: set[str] = set()
        self.refresh_token = self._make("refresh")
        self.consents = Consents(clock, "bitrix24", CODE_SECONDS)

    def _make(self, kind: str) -> str:
        self._number += 1
        return hashlib.sha256(f"{kind}-{self._seed}-{self._number}".encode()).hexdigest()[:32]

    def renew(self, refresh_token: str) -> str | None:
        """A new access token, or nothing if the refresh token is not the current one."""
        if refresh_token != self.refresh_token:
            return None
        self.refresh_token = self._make("refresh")
        access = self._make("access")
        self._access[access] = self._clock() + ACCESS_SECONDS
        return access

    def first(self, said: Mapping[str, str]) -> str | None:
        """A first access token, and a refresh token, for a code."""
        if not self.consents.take(said, knows_redirect=False):
            return None
        return self.renew(self.refresh_token)

    def expire(self) -> None:
        """End every access token given so far."""
        self._expired |= self._access.keys()
        self._access.clear()

    def check(self, token: str) -> None:
        """Let a living token pass.

        Raises:
            Failure: It expired, or was never given.
        """
        if token in self._access and self._clock() < self._access[token]:
            return
        if token in self._access or token in self._expired:
            raise expired_token()
        raise Failure("invalid_token", "Unable to get application by token", 401)


def expired_token() -> Failure:
    """The answer to an access token that is too old."""
    return Failure("expired_token", "The access token provided has expired.", 401)


def caller_of(tokens: Tokens, path: Mapping[str, str], params: Mapping[str, Any]) -> Caller:
    """Who calls.

    Raises:
        Failure: Nobody the portal knows.
    """
    if "code" in path:
        if (path["user_id"], path["code"]) != (WEBHOOK_USER, WEBHOOK_CODE):
            raise Failure("INVALID_CREDENTIALS", "Invalid request credentials", 401)
        return Caller(WEBHOOK_USER, oauth=False)
    token = params.get("auth")
    if not token:
        raise Failure("NO_AUTH_FOUND", "Wrong authorization data", 401)
    tokens.check(str(token))
    return Caller(WEBHOOK_USER, oauth=True)


def token_answer(tokens: Tokens, portal: Portal, origin: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What `/oauth/token/` answers to a refresh.

    Raises:
        Failure: The request is refused; an unknown client with HTTP 200.
    """
    refuse = portal.setting("refuse_token", None)
    if refuse is not None:
        raise Failure(str(refuse), "Payment required", 401)
    if said.get("client_id") != CLIENT_ID:
        raise Failure("wrong_client", "Wrong client", 200)
    if said.get("grant_type") not in {"refresh_token", "authorization_code"}:
        raise Failure("invalid_request", "An invalid grant_type was specified")
    if said.get("client_secret") != CLIENT_SECRET:
        raise Failure("invalid_client", "Invalid client credentials")
    refreshes = said["grant_type"] == "refresh_token"
    access = tokens.renew(str(said.get("refresh_token"))) if refreshes else tokens.first(said)
    if access is None:
        raise Failure("invalid_grant", "Invalid grant")
    return {
        "access_token": access,
        "client_endpoint": f"{origin}/rest/",
        # The host of the authorization server, not of the portal.
        "domain": "oauth.bitrix.info",
        "expires": int(portal.world.clock().timestamp()) + ACCESS_SECONDS,
        "expires_in": ACCESS_SECONDS,
        "member_id": portal.world.workspace_id,
        "refresh_token": tokens.refresh_token,
        "scope": ",".join(portal.scopes),
        "server_endpoint": f"{origin}/rest/",
        "status": "L",
        "user_id": int(WEBHOOK_USER),
    }
