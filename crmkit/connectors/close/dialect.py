"""How Close authorises, refuses and limits.

Source: https://developer.close.com/api/overview/api-key-authentication
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from crmkit.connectors.base import Context
from crmkit.connectors.http import Answer, Call, Http, retry_after
from crmkit.connectors.oauth import Grant, Tokens
from crmkit.connectors.pacing import Limit, Pacer, ToldLimit
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

BASE = "https://api.close.com/api/v1"
HOSTS = r"api\.close\.com"
GROUPS = (
    "opportunity",
    "lead",
    "contact",
    "activity",
    "event",
    "pipeline",
    "status",
    "user",
    "me",
    "organization",
    "custom_field",
    "custom_field_schema",
    "data",
)
VERBS = ("GET", "POST", "PUT", "DELETE")
_SLACK_SECONDS = 0.05
_LIMIT = re.compile(r"limit=([0-9.]+)")
_REMAINING = re.compile(r"remaining=([0-9.]+)")
# The official client matches whole digits only and so loses the decimals of `reset=0.59`.
_RESET = re.compile(r"reset=([0-9.]+)")
_TEXT_LENGTH = 300


class TooDeep(Rejected):
    """`_skip` or `_limit` is beyond the maximum of the resource; read in smaller parts."""


class Refused(Rejected):
    """Close refuses a record's values.

    Args:
        message: What it says.
        fields: What it says about single fields, by its own names, which lack a final `_id`.
    """

    def __init__(self, message: str, fields: Mapping[str, str]) -> None:
        super().__init__(message)
        self.fields = fields


class CloseDialect:
    """Authorises with an API key or OAuth, and reads errors and limits from answers."""

    def __init__(self, context: Context, auth: Literal["api_key", "oauth"], base_url: str) -> None:
        self._context = context
        self._basic: str | None = None
        parts = urlsplit(base_url)
        self._token_url = f"{parts.scheme}://{parts.netloc}/oauth2/token/"
        self.http: Http | None = None
        # The refresh token works once: each answer holds the next one.
        self._tokens = Tokens(context, self._refresh, rotates=True) if auth == "oauth" else None

    def authorise(self, call: Call, *, force: bool) -> Call:
        if self._tokens is None:
            return _with(call, f"Basic {self._basic or self._read_key()}")
        token, _ = self._tokens.current()
        if force:
            token, _ = self._tokens.after_refusal(token)
        return _with(call, f"Bearer {token}")

    def _read_key(self) -> str:
        # The key is the user name, the password is empty.
        key = self._context.secrets.get("api_key").get_secret_value()
        self._basic = base64.b64encode(f"{key}:".encode()).decode()
        return self._basic

    def can_renew(self, answer: Answer) -> bool:
        return self._tokens is not None and answer.status == 401

    def error(self, call: Call, answer: Answer) -> CrmkitError | None:
        status = answer.status
        if status < 300:
            return None
        if status < 400:
            return BadAnswer(f"{answer.what}: HTTP {status}, a redirect, which is not followed")
        if status == 429:
            # The body is deprecated since 2024-04; `reset` is finer than `retry-after`.
            reset = _number(_RESET, answer.headers.get("RateLimit", ""))
            seconds = reset if reset is not None else retry_after(answer)
            pause = None if seconds is None else seconds + _SLACK_SECONDS
            return RateLimited(
                f"{answer.what}: too many calls", bucket=bucket_of(call.label), retry_after_seconds=pause
            )
        text = f"{answer.what}: HTTP {status}{self._said(answer)}"
        if status == 401:
            return AccessDenied(text)
        if status == 402:
            return Rejected(text, hint="The organization's plan does not include this, or is used up.")
        if status == 403:
            return MissingScope(text, hint="The user's role in Close lacks the permission for this call.")
        if status == 404:
            return NotFound(text)
        if status >= 500:
            return ServerFault(text, retry_after_seconds=retry_after(answer))
        if b"max_skip" in answer.body or b"max_limit" in answer.body:
            return TooDeep(text)
        fields = _field_errors(answer.try_json()) if call.writes else {}
        return Refused(text, fields) if fields else Rejected(text)

    def observe(self, answer: Answer, pacer: Pacer) -> None:
        header = answer.headers.get("RateLimit")
        if not header or answer.status == 429:
            return
        limit, remaining = _number(_LIMIT, header), _number(_REMAINING, header)
        reset = _number(_RESET, header)
        bucket = pacer.limit(bucket_of(answer.what.rpartition(": ")[2]))
        if isinstance(bucket, ToldLimit) and None not in (limit, remaining, reset):
            now = self._context.clock.monotonic()
            bucket.told(now, limit or 0.0, remaining or 0.0, (reset or 0.0) + _SLACK_SECONDS)

    def _said(self, answer: Answer) -> str:
        """The vendor's own words, short and without secrets; two shapes exist."""
        body = answer.try_json()
        if not isinstance(body, dict):
            return ""
        parts: list[str] = []
        for key in ("error", "errors", "field-errors", "field_errors"):
            said = body.get(key)
            if isinstance(said, str):
                parts.append(said)
            elif isinstance(said, list):
                parts += [str(item) for item in said]
            elif isinstance(said, dict):
                parts += [f"{name}: {item}" for name, item in said.items()]
        text = " ".join("; ".join(parts).split())
        return f": {self._context.secrets.redact(text)[:_TEXT_LENGTH]}" if text else ""

    def _refresh(self, refresh_token: SecretStr) -> Grant:
        if self.http is None:
            raise RuntimeError("the dialect is not connected yet")
        secrets = self._context.secrets
        try:
            body = self.http.send(
                Call(
                    "POST",
                    self._token_url,
                    form={
                        "client_id": secrets.get("client_id").get_secret_value(),
                        "client_secret": secrets.get("client_secret").get_secret_value(),
                        "grant_type": "refresh_token",
                        "refresh_token": refresh_token.get_secret_value(),
                    },
                    buckets=(),
                    label="POST /oauth2/token/",
                    authorised=False,
                )
            ).mapping()
        except (AccessDenied, MissingScope, Rejected) as error:
            raise AccessDenied(
                f"{self._context.connection}: Close refuses to renew the access token ({error})",
                hint=f"Log in again with `crmkit login {self._context.connection}`.",
            ) from error
        return grant(body, self._context.connection)


def grant(body: dict[str, Any], connection: str) -> Grant:
    """What the token endpoint gave.

    Raises:
        BadAnswer: There is no token in it.
    """
    token = body.get("access_token")
    if not isinstance(token, str) or not token:
        raise BadAnswer(f"{connection}: the token endpoint gave no access token")
    return Grant(token, float(body.get("expires_in") or 3600), body.get("refresh_token"))


def bucket_of(label: str) -> str:
    """The endpoint group of a label like `GET /opportunity/`: verb and first part of the path.

    How Close cuts its groups is not published; "path family and method" is what it says.
    """
    verb, _, path = label.partition(" ")
    return f"{verb} {path.strip('/').partition('/')[0]}"


def limits() -> dict[str, Limit]:
    """One limit per endpoint group in use; no numbers are published.

    Source: https://developer.close.com/api/overview/rate-limits
    """
    return {f"{verb} {group}": ToldLimit() for group in GROUPS for verb in VERBS}


def _field_errors(body: Any) -> dict[str, str]:
    """What an error body says about single fields."""
    said = body.get("field-errors") or body.get("field_errors") if isinstance(body, dict) else None
    if not isinstance(said, dict):
        return {}
    return {str(name): " ".join(str(item).split()) for name, item in said.items()}


def _with(call: Call, authorization: str) -> Call:
    return replace(call, headers={**call.headers, "Authorization": authorization})


def _number(pattern: re.Pattern[str], text: str) -> float | None:
    found = pattern.search(text)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None
