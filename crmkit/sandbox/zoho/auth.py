"""The accounts server: access tokens from a refresh token, their life, and which scope a call needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from crmkit.sandbox.consent import Consents
from crmkit.sandbox.limits import RollingWindow
from crmkit.sandbox.wire import json_reply
from crmkit.sandbox.world import World

# Made up for this sandbox; worth nothing anywhere else.
CLIENT_ID = "1000.SANDBOXCLIENT0000000000000000"
CLIENT_SECRET = "sandbox-client-secret-0000000000000000"  # noqa: S105
REFRESH_TOKEN = "1000.sandboxrefresh000000000000000000.00000000000000000000000000000000"  # noqa: S105
GRANT_CODE = "1000.sandboxgrant00000000000000000000.00000000000000000000000000000000"
TOKEN_SECONDS = 3600
_MOST_ACTIVE = 15  # "10, 15 or 30 depending on the page"; the oldest is dropped
_THROTTLED = {
    "error": "Access Denied",
    "error_description": "You have made too many requests continuously. Please try again after some time.",
    "status": "failure",
}


class Tokens:
    """The access tokens of one refresh token.

    `POST /oauth/v2/token` answers bad credentials with HTTP 200 and a body without `access_token`.
    Source: https://www.zoho.com/accounts/protocol/oauth/token-limits.html
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._active: dict[str, datetime] = {}
        self._made = 0
        self._throttle = RollingWindow(10, 600, world.clock.monotonic)
        self.consents = Consents(world.clock.monotonic, "zoho")
        self.revoked = False

    def expiry(self, token: str) -> datetime | None:
        """When a token expires; `None` if it is none, or not any more."""
        ends = self._active.get(token)
        return ends if ends is not None and ends > self._world.clock() else None

    def clear(self) -> None:
        """Make every token worthless."""
        self._active.clear()

    def answer(self, said: Mapping[str, str], origin: str, *, limited: bool) -> Response:
        """Answer the token endpoint."""
        grant = said.get("grant_type")
        if said.get("client_id") != CLIENT_ID:
            return json_reply({"error": "invalid_client"})
        if said.get("client_secret") != CLIENT_SECRET:
            return json_reply({"error": "invalid_client_secret"})
        if grant == "refresh_token":
            good = said.get("refresh_token") == REFRESH_TOKEN and not self.revoked
        elif grant == "authorization_code":
            # A self client's code knows no redirect address.
            good = said.get("code") == GRANT_CODE or self.consents.take(said, knows_redirect=True)
            self.revoked = self.revoked and not good
        else:
            return json_reply({"error": "invalid_request"})
        if not good:
            return json_reply({"error": "invalid_code"})
        if limited and self._throttle.take():
            return json_reply(_THROTTLED, 400)
        made = {"access_token": self._make(limited=limited)}
        if grant == "authorization_code":
            made["refresh_token"] = REFRESH_TOKEN
        rest = {"api_domain": origin, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}
        return json_reply({**made, **rest})

    def authorise(self, said: Mapping[str, str], origin: str) -> Response:
        """The consent page; without `access_type=offline` Zoho gives no refresh token, so that is wanted."""
        known = said.get("client_id") == CLIENT_ID and said.get("response_type") == "code"
        if not known or not said.get("redirect_uri") or said.get("access_type") != "offline":
            return json_reply({"error": "invalid_request"}, 400)
        rest = {"location": "us", "accounts-server": origin, "state": said.get("state", "")}
        return self.consents.redirect(said, said["redirect_uri"], rest)

    def revoke(self, said: Mapping[str, str]) -> Response:
        """End the refresh token and what came of it."""
        if said.get("token") != REFRESH_TOKEN:
            return json_reply({"error": "invalid_token"}, 400)
        self.revoked = True
        self.clear()
        return json_reply({"status": "success"})

    def _make(self, *, limited: bool) -> str:
        self._made += 1
        text = sha256(f"{self._world.workspace_id}-{self._made}".encode()).hexdigest()
        token = f"1000.{text[:32]}.{text[32:]}"
        self._active[token] = self._world.clock() + timedelta(seconds=TOKEN_SECONDS)
        if limited and len(self._active) > _MOST_ACTIVE:
            del self._active[next(iter(self._active))]
        return token


def token_parameters(request: Request, body: bytes) -> dict[str, str]:
    """What a call of the token endpoint says, in its address or its form."""
    form = dict(parse_qsl(body.decode("utf-8", "replace")))
    return {**form, **request.query_params}


def sent_token(request: Request) -> str | None:
    """The access token of a call; both words before it are accepted, as recorded clients send either."""
    word, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if word.lower() in {"zoho-oauthtoken", "bearer"} and token else None


def needed_scope(method: str, path: str) -> str | None:
    """The scope that a call needs, as it is written in a consent; `None`: any token will do."""
    parts = path.strip("/").split("/")[1:]
    if parts[:1] == ["bulk"]:
        return f"ZohoCRM.bulk.{'READ' if method == 'GET' else 'CREATE'}"
    parts = parts[1:]
    if not parts or parts[0].startswith("__"):
        return None
    action = {"GET": "READ", "POST": "CREATE", "PUT": "UPDATE", "PATCH": "UPDATE", "DELETE": "DELETE"}
    verb = action.get(method, "READ")
    first = parts[0].lower()
    if first == "coql":
        return "ZohoCRM.coql.READ"
    if first == "upload":
        return "ZohoFiles.files.ALL"
    if first == "users":
        return f"ZohoCRM.users.{verb}"
    if first == "org":
        return "ZohoCRM.settings.currencies.READ" if parts[1:] == ["currencies"] else "ZohoCRM.org.READ"
    if first == "settings":
        return f"ZohoCRM.settings.{parts[1] if len(parts) > 1 else 'ALL'}.{verb}"
    if parts[1:] in (["search"], ["actions", "count"]):
        return "ZohoSearch.securesearch.READ"
    if parts[-2:] == ["actions", "change_owner"]:
        return "ZohoCRM.change_owner.CREATE"
    if first == "dealhistory":
        first = "deals"
    return f"ZohoCRM.modules.{first}.{verb}"


def has_scope(granted: Collection[str], needed: str | None) -> bool:
    """Whether the granted scopes cover the needed one.

    `ALL` stands for every last part, or the last two; `WRITE` for creating and updating; a module can be
    left out.
    """
    if needed is None:
        return True
    service, group, *rest = needed.split(".")
    covers = {needed, f"{service}.{group}.ALL"}
    if len(rest) == 2:
        covers |= {f"{service}.{group}.{rest[0]}.ALL", f"{service}.{group}.{rest[1]}"}
        if rest[1] in {"CREATE", "UPDATE"}:
            covers |= {f"{service}.{group}.{rest[0]}.WRITE", f"{service}.{group}.WRITE"}
    return not covers.isdisjoint(granted)
