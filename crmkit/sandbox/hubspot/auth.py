"""Credentials: a static token, and OAuth access tokens that live half an hour.

Source: https://developers.hubspot.com/docs/api-reference/legacy/authentication/manage-oauth-tokens
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from crmkit.sandbox.consent import Consents
from crmkit.sandbox.hubspot.answers import failure, reply, stamp
from crmkit.sandbox.hubspot.portal import Portal

LIFE_SECONDS = 1_800
_APP_ID, _USER_ID, _USER = 1234444, 9586504, "admin@example.com"
_HUB_DOMAIN = "sandbox.example.com"


class Auth:
    """The tokens of one app in one account.

    Refresh tokens live until the app is removed and do not rotate. A client that stores the one in each
    answer is right either way, which `settings.extra["rotate_refresh_tokens"]` puts to the test.
    """

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        secret = str(portal.settings.seed)
        self.static = f"pat-na1-{_uuid('static', secret)}"
        self.client_id, self.client_secret = _uuid("client", secret), _uuid("secret", secret)
        self.refresh_token = f"na1-{_uuid('refresh', secret)}"
        self._expires: dict[str, datetime] = {}
        self._count = 0
        self.revoked = False
        self.consents = Consents(portal.world.clock.monotonic, f"hubspot-{secret}")

    def routes(self) -> list[Route]:
        """What is served; these calls carry their credentials in the form, not in a header."""
        return [
            Route("/oauth/authorize", self.authorise, methods=["GET"]),
            Route("/oauth/v3/token", self.token, methods=["POST"]),
            Route("/oauth/v3/token/revoke", self.revoke, methods=["POST"]),
            Route("/oauth/v1/token", self.token_v1, methods=["POST"]),
            Route("/oauth/v3/token/introspect", self.introspect, methods=["POST"]),
            Route("/oauth/v1/access-tokens/{token}", self.access_token, methods=["GET"]),
            Route("/oauth/v1/refresh-tokens/{token}", self.refresh_token_v1, methods=["GET"]),
        ]

    def check(self, request: Request) -> Response | None:
        """The 401, or `None` if the token is good."""
        token = bearer(request)
        if token == self.static:
            return None
        expires = self._expires.get(token)
        if expires is None:
            return failure(
                401,
                "Authentication credentials not found. This API supports OAuth 2.0 authentication and you "
                "can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
                "INVALID_AUTHENTICATION",
            )
        return self.expired(request) if expires <= self.portal.world.clock() else None

    def is_oauth(self, request: Request) -> bool:
        """Whether the call comes with an OAuth token, for which other limits hold."""
        return bearer(request) in self._expires

    def expired(self, request: Request) -> Response:
        """The 401 of a token whose time is over."""
        now = self.portal.world.clock()
        at = min(self._expires.get(bearer(request), now), now)
        ago = int((now - at).total_seconds())
        return failure(
            401,
            f"The OAuth token used to make this call expired {ago} second(s) ago.",
            "EXPIRED_AUTHENTICATION",
            context={"expire time": [stamp(at)]},
        )

    def expire_all(self) -> None:
        """End every access token now; the static one has no end."""
        now = self.portal.world.clock()
        self._expires = {token: min(at, now) for token, at in self._expires.items()}

    async def authorise(self, request: Request) -> Response:
        """The page where a person allows the app; this person does so at once."""
        said = dict(request.query_params)
        if said.get("client_id") != self.client_id or not said.get("redirect_uri") or not said.get("scope"):
            return PlainTextResponse("This app cannot be installed: a parameter is missing or wrong.", 400)
        return self.consents.redirect(said, said["redirect_uri"], {"state": said.get("state", "")})

    async def revoke(self, request: Request) -> Response:
        """End a refresh token and every access token that came of it."""
        form = await read_form(request)
        refusal = self._wrong_client(form)
        if refusal is not None:
            return refusal
        if (form.get("token") or form.get("refresh_token")) == self.refresh_token:
            self.revoked = True
            self._expires.clear()
        return Response(status_code=204)

    async def token(self, request: Request) -> Response:
        """A fresh access token for a refresh token."""
        refusal = await self._refusal(request)
        if refusal is not None:
            return refusal
        answer = self._issue()
        scopes = sorted(self._scopes())
        return reply(
            {**answer, "hub_id": self.portal.portal_id, "scopes": scopes, "expires_in": LIFE_SECONDS}
        )

    async def token_v1(self, request: Request) -> Response:
        """The same at the old address, which says less."""
        refusal = await self._refusal(request)
        return refusal or reply({**self._issue(), "expires_in": LIFE_SECONDS})

    async def introspect(self, request: Request) -> Response:
        """What a token is good for."""
        form = await read_form(request)
        refusal = self._wrong_client(form)
        if refusal is not None:
            return refusal
        # The spec calls the field `token`, the guide by what it holds.
        token = form.get("token") or form.get("access_token") or form.get("refresh_token") or ""
        base = {
            "token": token,
            "hub_id": self.portal.portal_id,
            "user_id": _USER_ID,
            "client_id": self.client_id,
            "app_id": _APP_ID,
            "user": _USER,
            "hub_domain": _HUB_DOMAIN,
            "scopes": sorted(self._scopes()),
            "token_type": "Bearer",
        }
        if token == self.refresh_token:
            return reply({"active": True, **base, "token_use": "refresh_token"})
        left = self._seconds_left(token)
        if left is None:
            return reply({"active": False})
        return reply({"active": left > 0, **base, "token_use": "access_token", "expires_in": left})

    async def access_token(self, request: Request) -> Response:
        """What an access token is good for, at the old address."""
        token = request.path_params["token"]
        left = self._seconds_left(token)
        if left is None:
            return failure(404, "No info available for token", "OBJECT_NOT_FOUND")
        return reply({**self._info(token), "expires_in": left, "token_type": "access"})

    async def refresh_token_v1(self, request: Request) -> Response:
        """What a refresh token is good for, at the old address."""
        token = request.path_params["token"]
        if token != self.refresh_token:
            return failure(404, "No info available for token", "OBJECT_NOT_FOUND")
        return reply({**self._info(token), "client_id": self.client_id, "token_type": "refresh"})

    def _info(self, token: str) -> dict[str, Any]:
        return {
            "token": token,
            "user": _USER,
            "hub_domain": _HUB_DOMAIN,
            "scopes": sorted(self._scopes()),
            "hub_id": self.portal.portal_id,
            "app_id": _APP_ID,
            "user_id": _USER_ID,
        }

    async def _refusal(self, request: Request) -> Response | None:
        form = await read_form(request)
        grant = form.get("grant_type")
        wrong = self._wrong_client(form)
        if grant == "refresh_token":
            if wrong is None and (self.revoked or form.get("refresh_token") != self.refresh_token):
                return _grant_error(
                    "invalid_grant", "BAD_REFRESH_TOKEN", "refresh token is invalid, expired or revoked"
                )
            return wrong
        if grant == "authorization_code":
            if wrong is None and not self.consents.take(form, knows_redirect=True):
                return _grant_error("invalid_grant", "BAD_AUTH_CODE", "missing or unknown auth code")
            self.revoked = self.revoked and wrong is not None
            return wrong
        return _grant_error("unsupported_grant_type", "BAD_GRANT_TYPE", "missing or unknown grant type")

    def _wrong_client(self, form: dict[str, str]) -> Response | None:
        if form.get("client_id") != self.client_id:
            return _grant_error("invalid_client", "BAD_CLIENT_ID", "missing or unknown client id")
        if form.get("client_secret") != self.client_secret:
            return _grant_error("invalid_client", "BAD_CLIENT_SECRET", "missing or invalid client secret")
        return None

    def _issue(self) -> dict[str, str]:
        self._count += 1
        secret = str(self.portal.settings.seed)
        token = hashlib.sha512(f"access {secret} {self._count}".encode()).hexdigest()
        self._expires[token] = self.portal.world.clock() + timedelta(seconds=LIFE_SECONDS)
        if self.portal.settings.extra.get("rotate_refresh_tokens"):
            self.refresh_token = f"na1-{_uuid(f'refresh {self._count}', secret)}"
        return {"token_type": "bearer", "refresh_token": self.refresh_token, "access_token": token}

    def _seconds_left(self, token: str) -> int | None:
        expires = self._expires.get(token)
        if expires is None:
            return None
        return max(int((expires - self.portal.world.clock()).total_seconds()), 0)

    def _scopes(self) -> frozenset[str]:
        return self.portal.granted()


def bearer(request: Request) -> str:
    """The token of a call's `Authorization` header; nothing if there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form."""
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))


def _grant_error(error: str, status: str, message: str) -> Response:
    # No category and no correlationId, unlike everywhere else.
    return reply({"error": error, "error_description": message, "status": status, "message": message}, 400)


def _uuid(purpose: str, seed: str) -> str:
    digits = hashlib.sha256(f"hubspot sandbox {purpose} {seed}".encode()).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))
