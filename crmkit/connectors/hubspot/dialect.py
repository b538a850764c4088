"""What HubSpot adds to HTTP: credentials, the meaning of its errors, and its limits.

Facts: contracts/hubspot.md sections 1, 8 and 9, from
https://developers.hubspot.com/docs/api-reference/error-handling and
https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import SecretStr

from crmkit.connectors.base import Context
from crmkit.connectors.http import Answer, Call, Http, bearer, default_error, retry_after
from crmkit.connectors.oauth import Grant, Tokens
from crmkit.connectors.pacing import Limit, Pacer, Window
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    ConnectorError,
    CrmkitError,
    MissingScope,
    NotFound,
    QuotaExhausted,
    RateLimited,
    Rejected,
    ServerFault,
)

BASE_URL = "https://api.hubapi.com"
HOSTS = r"api(-[a-z]{2}\d)?\.(hubapi|hubspot)\.com"
TOKEN_PATH = "/oauth/v3/token"  # noqa: S105 - a path
LOCK_SECONDS = 2.0
WRITES = "writes"
LONGEST_MOVE_SECONDS = 600.0
_MESSAGE_LENGTH = 300

Auth = Literal["token", "oauth"]


def limits() -> dict[str, Limit]:
    """The limits of the smallest plan; headers of the first answers raise them.

    Search has its own, per second and for the whole account, outside the rolling ten
    seconds; it sends no headers.
    """
    return {
        "default": Window(100, 10),
        "associations": Window(100, 10),
        "search": Window(5, 1),
        # Not a limit that HubSpot tells: bursts of batches are met with locks (423), and five
        # to ten batches a second are what it takes without them (contract, section 14).
        WRITES: Window(10, 1),
    }


class Refusal(Rejected):
    """A refused call with what the answer's body says about it."""

    def __init__(self, message: str, said: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.said = said


class ScopesMissing(MissingScope):
    """A 403 that names the scopes of which one would be enough."""

    def __init__(self, message: str, scopes: tuple[str, ...]) -> None:
        super().__init__(message)
        self.scopes = scopes


class HubSpotDialect:
    """Authorises calls and reads errors and limit headers.

    Args:
        context: The connection's name and the outside world.
        auth: A static token (private app, service key), or OAuth with a refresh token.
    """

    def __init__(self, context: Context, auth: Auth) -> None:
        self._context = context
        # HubSpot's refresh tokens live until the app is uninstalled (inferred); whether it
        # gave another one is seen from its answer, and then the new one is stored.
        self._tokens = Tokens(context, self._refresh, rotates=True) if auth == "oauth" else None
        self._static: str | None = None  # read once: a keyring can take longer than the call
        self._used = threading.local()
        self.http: Http | None = None

    def granted(self) -> str | None:
        """The scopes of the access token, as they were told when it was given; `None` if they were not."""
        return self._tokens.current()[1].get("scope") if self._tokens is not None else None

    def authorise(self, call: Call, *, force: bool) -> Call:
        if self._tokens is None:
            if self._static is None:
                self._static = self._context.secrets.get("token").get_secret_value()
            return bearer(call, self._static)
        refused = getattr(self._used, "token", None) if force else None
        token, _ = self._tokens.after_refusal(refused) if refused else self._tokens.current()
        self._used.token = token
        return bearer(call, token)

    def can_renew(self, answer: Answer) -> bool:
        return self._tokens is not None and answer.status == 401

    def error(self, call: Call, answer: Answer) -> CrmkitError | None:
        if answer.status < 400:
            return None
        body = answer.try_json()
        body = body if isinstance(body, dict) else {}
        text = self._text(answer, body)
        if call.path.endswith(TOKEN_PATH) and answer.status in (400, 401, 403):
            return AccessDenied(
                f"{text}: HubSpot gives no access token",
                hint=f"Log in again with `crmkit login {self._context.connection}`; was the app removed?",
            )
        if answer.status == 401:
            return AccessDenied(text)
        if answer.status == 403:
            return _forbidden(text, body)
        if answer.status == 404:
            return NotFound(text)
        if answer.status == 423:
            # A lock from heavy writing: it lasts two seconds, and nothing was executed.
            return RateLimited(text, bucket=call.buckets[-1], retry_after_seconds=LOCK_SECONDS)
        if answer.status == 429:
            return _too_many(text, body, call, answer)
        if answer.status == 477:
            return _moving(text, answer)
        if answer.status >= 500:
            return default_error(answer)
        return Refusal(text, body)

    def observe(self, answer: Answer, pacer: Pacer) -> None:
        most = answer.headers.get("X-HubSpot-RateLimit-Max", "")
        millis = answer.headers.get("X-HubSpot-RateLimit-Interval-Milliseconds", "")
        if not (most.isdigit() and millis.isdigit() and int(most) and int(millis)):
            return
        # The associations API counts by itself and tells its own maximum.
        limit = pacer.limit("associations" if "/associations/" in answer.what else "default")
        if isinstance(limit, Window):
            limit.resize(int(most), int(millis) / 1000)

    def _text(self, answer: Answer, body: Mapping[str, Any]) -> str:
        named = [body.get(name) for name in ("category", "subCategory", "policyName", "error")]
        parts = [f"HTTP {answer.status}", *(name for name in named if isinstance(name, str))]
        said = body.get("message") or body.get("error_description")
        text = f"{answer.what}: {' '.join(parts)}" + (f": {said}" if isinstance(said, str) else "")
        return self._context.secrets.redact(text)[:_MESSAGE_LENGTH]

    def _refresh(self, refresh_token: SecretStr) -> Grant:
        if self.http is None:  # pragma: no cover - the connector sets it when it is made
            raise ConnectorError(f"{self._context.connection}: not connected")
        secrets = self._context.secrets
        current = refresh_token.get_secret_value()
        return self.http.fetch(
            Call(
                "POST",
                TOKEN_PATH,
                form={
                    "grant_type": "refresh_token",
                    "refresh_token": current,
                    "client_id": secrets.get("client_id").get_secret_value(),
                    "client_secret": secrets.get("client_secret").get_secret_value(),
                },
                authorised=False,
                label=f"POST {TOKEN_PATH}",
            ),
            lambda answer: _grant(answer, current),
        )


def _grant(answer: Answer, current: str) -> Grant:
    body = answer.mapping()
    access, lifetime = body.get("access_token"), body.get("expires_in")
    if not isinstance(access, str) or not access or not isinstance(lifetime, int):
        raise BadAnswer(f"{answer.what}: no access token in the answer ({answer.shape()})")
    fresh = body.get("refresh_token")
    changed = isinstance(fresh, str) and fresh and fresh != current
    scopes = body.get("scopes")
    told = {"scope": " ".join(map(str, scopes))} if isinstance(scopes, list) else None
    return Grant(access, float(lifetime), fresh if changed else None, told)


def _forbidden(text: str, body: Mapping[str, Any]) -> CrmkitError:
    if body.get("category") != "MISSING_SCOPES":
        return AccessDenied(text)
    errors = body.get("errors")
    contexts = [error.get("context") for error in errors or () if isinstance(error, dict)]
    named = [
        scope
        for context in [*contexts, body.get("context")]
        if isinstance(context, dict)
        for scope in context.get("requiredGranularScopes") or ()
        if isinstance(scope, str)
    ]
    scopes = tuple(dict.fromkeys(named))
    return ScopesMissing(f"{text} Needs one of: {', '.join(scopes) or 'not told'}", scopes)


def _too_many(text: str, body: Mapping[str, Any], call: Call, answer: Answer) -> CrmkitError:
    policy = body.get("policyName")
    if policy == "DAILY" or (policy is None and "daily" in str(body.get("message", "")).lower()):
        return QuotaExhausted(
            text, hint="The day's budget comes back at midnight of the account's time zone."
        )
    said = retry_after(answer)
    if said is None and policy == "SECONDLY":
        said = 1.0
    # A refused write drew from a limit that reads draw from too; its own bucket is for locks.
    counted = [bucket for bucket in call.buckets if bucket != WRITES]
    return RateLimited(text, bucket=counted[-1], retry_after_seconds=said)


def _moving(text: str, answer: Answer) -> CrmkitError:
    wait = retry_after(answer)
    if wait is not None and wait > LONGEST_MOVE_SECONDS:
        return ConnectorError(
            f"{text}: the account is moving to another data centre",
            hint=f"Run again in {wait / 3600:.1f} hours: it goes on where it stopped.",
        )
    return ServerFault(text, retry_after_seconds=wait)
