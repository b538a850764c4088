"""How Copper authorises, refuses and limits.

Source: https://developer.copper.com/introduction/authentication.html
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from crmkit.connectors.base import Context
from crmkit.connectors.http import Answer, Call, bearer, retry_after
from crmkit.connectors.pacing import Bucket, Limit, Pacer, Window
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    CrmkitError,
    MissingScope,
    NotFound,
    RateLimited,
    Rejected,
    ServerFault,
)

BASE = "https://api.copper.com/developer_api/v1"
HOSTS = r"api\.copper\.com"
BUCKET = "account"
CALLS_PER_MINUTE = 180
BULK = "bulk"
PER_BULK = 10
BULK_PER_SECOND = 3
# Copper does not document `Retry-After`; without it the first pause is this long.
_PAUSE_SECONDS = 5.0
_TEXT_LENGTH = 300
_WRONG_KEY = "Check the API key, and that `user_email` is the address of the key's owner."
_WRONG_LOGIN = "Copper's tokens cannot be renewed: authorise crmkit again and store the new access token."


class CopperDialect:
    """Authorises with an API key and its owner's address, or with an OAuth token."""

    def __init__(self, context: Context, auth: Literal["api_key", "oauth"], user_email: str | None) -> None:
        self._context = context
        self._auth = auth
        self._user_email = user_email or ""
        self._secret: str | None = None

    def authorise(self, call: Call, *, force: bool) -> Call:
        if self._secret is None:  # a keyring takes longer than many a call
            name = "access_token" if self._auth == "oauth" else "api_key"
            self._secret = self._context.secrets.get(name).get_secret_value()
        if self._auth == "oauth":
            return bearer(call, self._secret)
        own = {
            "X-PW-AccessToken": self._secret,
            "X-PW-Application": "developer_api",
            "X-PW-UserEmail": self._user_email,
        }
        return replace(call, headers={**call.headers, **own})

    def can_renew(self, answer: Answer) -> bool:
        # Neither an expiry nor a refresh token is documented.
        return False

    def error(self, call: Call, answer: Answer) -> CrmkitError | None:
        status = answer.status
        if status < 300:
            return None
        if status < 400:
            return BadAnswer(f"{answer.what}: HTTP {status}, a redirect, which is not followed")
        text = f"{answer.what}: HTTP {status}{self._said(answer)}"
        if status == 429:
            pause = retry_after(answer)
            # The answer does not tell which of a bulk call's two limits it hit: slow down both.
            bucket = None if BULK in call.buckets else BUCKET
            return RateLimited(
                text, bucket=bucket, retry_after_seconds=_PAUSE_SECONDS if pause is None else pause
            )
        # The shapes of 401 and 403 are not documented: the status alone decides. Which of the
        # two a wrong key or address gives is not known either, but the account itself may be
        # read by every user.
        if status == 401 or (status == 403 and call.path == "/account"):
            return AccessDenied(text, hint=_WRONG_LOGIN if self._auth == "oauth" else _WRONG_KEY)
        if status == 403:
            return MissingScope(text, hint="Use the API key of an admin: keys act with their owner's rights.")
        if status == 404:
            return NotFound(text)
        if status >= 500:
            return ServerFault(text, retry_after_seconds=retry_after(answer))
        return Rejected(text)

    def observe(self, answer: Answer, pacer: Pacer) -> None:
        """Copper's answers tell nothing about limits."""

    def _said(self, answer: Answer) -> str:
        """The vendor's own words, short and without secrets; two families of bodies exist."""
        body = answer.try_json()
        if not isinstance(body, dict):
            return ""
        said = body.get("message") or body.get("error")
        text = " ".join(str(said).split()) if said else ""
        return f": {self._context.secrets.redact(text)[:_TEXT_LENGTH]}" if text else ""


def limits(calls_per_minute: int) -> dict[str, Limit]:
    """One rolling minute for all calls (whether per user or account is not stated), and for
    bulk calls three a second besides.

    Source: https://developer.copper.com/introduction/requests.html
    """
    # One at a time, evenly: a burst and its rate together would pass the limit of a second.
    return {BUCKET: Window(calls_per_minute, 60), BULK: Bucket(1, BULK_PER_SECOND)}
