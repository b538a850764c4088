"""Who may come in, and how often: API keys, rotating OAuth tokens, rate limits.

Sources: https://developer.close.com/api/overview/api-key-authentication ,
/oauth-authentication , /rate-limits
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from crmkit.sandbox.consent import Consents
from crmkit.sandbox.limits import FixedWindow
from crmkit.sandbox.wire import json_reply

API_KEY = "api_sandbox0CloseKey.notASecret1"
CLIENT_ID = "oa2client_sandbox0Close"
CLIENT_SECRET = "sandbox-close-client-secret"  # noqa: S105 - made up, as all of them
TOKEN_SECONDS = 3600
_FIRST_REFRESH_TOKEN = "sandbox-close-refresh-0"  # noqa: S105
# No fixed numbers are promised; recorded headers said 320 per 8 s, the documentation's example 20 a second.
WINDOW_SECONDS, KEY_LIMIT, ORGANIZATION_LIMIT = 8.0, 160, 480


class Access:
    """Keys and tokens; each refresh gives a new refresh token and revokes the old one."""

    def __init__(self, clock: Callable[[], float], organization_id: str, caller: Callable[[], str]) -> None:
        self._clock, self._organization_id, self._caller = clock, organization_id, caller
        self._access: dict[str, float] = {}
        self._refresh = {_FIRST_REFRESH_TOKEN}
        self.refresh_token = _FIRST_REFRESH_TOKEN
        self._made = 0
        self.consents = Consents(clock, "close")

    def key_of(self, request: Request) -> str | None:
        """What a call is counted under, or `None` if it may not come in."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user = base64.b64decode(value, validate=True).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                return None
            return "key" if user == API_KEY else None
        if scheme.lower() == "bearer" and self._access.get(value, -1.0) > self._clock():
            return "token"
        return None

    def expire(self) -> None:
        """Make every access token worthless; refresh tokens stay good."""
        self._access.clear()

    def token(self, form: Mapping[str, Any]) -> Response:
        """Answer `POST /oauth2/token/`."""
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return json_reply({"error": "invalid_client"}, 401)
        grant = form.get("grant_type")
        if grant not in {"refresh_token", "authorization_code"}:
            return json_reply({"error": "unsupported_grant_type"}, 400)
        fresh = grant == "authorization_code"
        if not (
            self.consents.take(form, knows_redirect=False)
            if fresh
            else form.get("refresh_token") in self._refresh
        ):
            return json_reply({"error": "invalid_grant"}, 400)
        self._refresh.discard(str(form.get("refresh_token")))
        self._made += 1
        access_token = f"sandbox-close-access-{self._made}"
        self.refresh_token = f"sandbox-close-refresh-{self._made}"
        self._refresh.add(self.refresh_token)
        self._access[access_token] = self._clock() + TOKEN_SECONDS
        return json_reply(
            {
                "token_type": "Bearer",
                "access_token": access_token,
                "expires_in": TOKEN_SECONDS,
                "refresh_token": self.refresh_token,
                "scope": "all.full_access offline_access",
                "organization_id": self._organization_id,
                "user_id": self._caller(),
            }
        )

    def authorise(self, said: Mapping[str, str], target: str) -> Response:
        """The page where a person allows the app; that a state comes back is not documented: none does."""
        if said.get("client_id") != CLIENT_ID or said.get("response_type") != "code":
            return json_reply({"error": "invalid_request"}, 400)
        return self.consents.redirect(said, target, {})

    def revoke(self, form: Mapping[str, Any]) -> Response:
        """Answer `POST /oauth2/revoke/`."""
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return json_reply({"error": "invalid_client"}, 401)
        token = str(form.get("token"))
        self._access.pop(token, None)
        self._refresh.discard(token)
        return json_reply({})


class Limits:
    """Two windows for each group of endpoints: one per key, one for the organization."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], FixedWindow] = {}

    def take(self, group: str, key: str) -> tuple[float, str]:
        """Count a call: the seconds to wait (0 if it may pass), and the header that goes with it."""
        windows = [
            self._window(group, key, KEY_LIMIT),
            self._window(group, "organization", ORGANIZATION_LIMIT),
        ]
        # Take from none if one is exhausted.
        full = [window for window in windows if not window.remaining]
        wait = max((window.reset_seconds for window in full), default=0.0)
        if not full:
            for window in windows:
                window.take()
        # The header speaks of the limit nearest to exhaustion.
        nearest = min(windows, key=lambda window: (window.remaining / window.limit, -window.reset_seconds))
        return wait, rate_header(nearest.limit, nearest.remaining, nearest.reset_seconds)

    def _window(self, group: str, key: str, limit: int) -> FixedWindow:
        window = self._windows.get((group, key))
        if window is None:
            window = self._windows[group, key] = FixedWindow(limit, WINDOW_SECONDS, self._clock)
        return window


def rate_header(limit: int, remaining: int, reset_seconds: float) -> str:
    """The `RateLimit` header; its seconds have decimals."""
    return f"limit={limit}, remaining={remaining}, reset={reset_seconds:.3f}".rstrip("0").rstrip(".")


def too_many(header: str, wait_seconds: float) -> Response:
    """The answer to one call too many; its body is deprecated and not to be relied on."""
    headers = {"retry-after": str(max(math.ceil(wait_seconds), 1)), "ratelimit": header}
    return json_reply({"error": "API call count exceeded for this period"}, 429, headers)
