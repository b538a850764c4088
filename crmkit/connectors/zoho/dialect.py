"""What is special about HTTP with Zoho: hosts, tokens, and what its error codes mean."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from crmkit.connectors.base import Context
from crmkit.connectors.http import Answer, Call, Http, retry_after
from crmkit.connectors.oauth import Grant, Tokens
from crmkit.connectors.pacing import Bucket, Limit, Pacer, Window
from crmkit.connectors.zoho.calls import Gate
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    CrmkitError,
    MissingScope,
    NotFound,
    QuotaExhausted,
    RateLimited,
    Rejected,
    ServerFault,
    Unsupported,
)

TOKEN_LABEL = "POST /oauth/v2/token"  # noqa: S105 - a path
DOMAINS = {
    "us": "com",
    "eu": "eu",
    "in": "in",
    "au": "com.au",
    "cn": "com.cn",
    "jp": "jp",
    "ca": "ca",
    "sa": "sa",
}
_API_PREFIX = {"production": "www", "sandbox": "sandbox", "developer": "developer"}
_DOMAIN = r"(?:com|eu|in|com\.au|com\.cn|jp|ca|sa|uk)"
_API_HOST = rf"(?P<environment>www|sandbox|developer)\.zohoapis\.{_DOMAIN}"
HOSTS = rf"{_API_HOST}|accounts\.zoho\.{_DOMAIN}|accounts\.zohocloud\.ca"
# The token endpoint's "too many requests" lasts for the rest of a window of 10 minutes.
_TOKEN_PAUSE_SECONDS = 120.0
_TOKEN_LIFE_SECONDS = 3600.0
_MESSAGE_CHARS = 300
_CALL_AGAIN_CODES = {"TOO_MANY_REQUESTS", "RATE_LIMIT_EXCEEDED"}
_NO_RIGHT_CODES = {"NO_PERMISSION", "AUTHORIZATION_FAILED"}

SCOPES: Mapping[str, str] = {
    "GET /crm/v8/org": "ZohoCRM.org.READ",
    "GET /crm/v8/org/currencies": "ZohoCRM.settings.currencies.READ",
    "GET /crm/v8/users": "ZohoCRM.users.READ",
    "GET /crm/v8/settings/fields": "ZohoCRM.settings.fields.READ",
    "GET /crm/v8/settings/layouts": "ZohoCRM.settings.layouts.READ",
    "GET /crm/v8/settings/pipeline": "ZohoCRM.settings.pipeline.READ",
    "GET /crm/v8/Deals": "ZohoCRM.modules.deals.READ",
    "GET /crm/v8/Deals/deleted": "ZohoCRM.modules.deals.READ",
    "GET /crm/v8/Deals/Stage_History": "ZohoCRM.modules.deals.READ",
    "GET /crm/v8/Accounts": "ZohoCRM.modules.accounts.READ",
    "GET /crm/v8/Accounts/deleted": "ZohoCRM.modules.accounts.READ",
    "GET /crm/v8/Contacts": "ZohoCRM.modules.contacts.READ",
    "GET /crm/v8/Contacts/deleted": "ZohoCRM.modules.contacts.READ",
    "GET /crm/v8/Notes": "ZohoCRM.modules.notes.READ",
    "GET /crm/v8/DealHistory": "ZohoCRM.modules.ALL",
    **{
        f"{verb} /crm/v8/{module}": f"ZohoCRM.modules.{module.lower()}.{right}"
        for module in ("Deals", "Accounts", "Contacts", "Notes")
        for verb, right in (("POST", "CREATE"), ("PUT", "UPDATE"), ("DELETE", "DELETE"))
    },
    "PUT /crm/v8/Deals/Contact_Roles": "ZohoCRM.modules.deals.UPDATE",
    "GET /crm/v8/Contacts/roles": "ZohoCRM.modules.contacts.READ",
    "GET /crm/v8/Deals/Notes": "ZohoCRM.modules.notes.READ",
    "GET /crm/v8/Accounts/Notes": "ZohoCRM.modules.notes.READ",
    **{
        f"{verb} /crm/v8/actions/watch": "ZohoCRM.notifications.ALL"
        for verb in ("GET", "POST", "PUT", "DELETE")
    },
    "POST /crm/v8/settings/fields": "ZohoCRM.settings.fields.CREATE",
    "PATCH /crm/v8/settings/fields": "ZohoCRM.settings.fields.UPDATE",
    "POST /crm/v8/settings/pipeline": "ZohoCRM.settings.pipeline.CREATE",
    "PATCH /crm/v8/settings/pipeline": "ZohoCRM.settings.pipeline.UPDATE",
    # COQL needs its own scope and the one of the module; Zoho does not say which is missing.
    "POST /crm/v8/coql": "ZohoCRM.coql.READ or the READ scope of the module",
}


class ZohoRefused(Rejected):
    """Zoho understood the call and refused it; `code` and `details` are Zoho's own.

    `rows` are the outcomes of the rows of a write, where the refusal has them.
    """

    def __init__(
        self, message: str, *, code: str, details: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.rows = rows


class MissingPermission(MissingScope):
    """The profile of the Zoho user lacks a right; no scope would help."""

    hint = "Grant the permission to the profile of this Zoho user."


def limits() -> dict[str, Limit]:
    """The limits that count calls; the ones on calls at once are the gate's.

    Zoho has no limit per second. `calls` exists so that one refusal makes every thread
    pause. A refresh token gives at most 10 access tokens in 10 minutes.
    """
    return {"calls": Bucket(burst=1000, per_second=1000), "token": Window(10, 600)}


def api_host(data_centre: str, environment: str) -> str:
    """The base URL of the API."""
    return f"https://{_API_PREFIX[environment]}.zohoapis.{DOMAINS[data_centre]}"


def accounts_host(data_centre: str) -> str:
    """The base URL of the token endpoint."""
    if data_centre == "ca":
        return "https://accounts.zohocloud.ca"
    return f"https://accounts.zoho.{DOMAINS[data_centre]}"


def hosts_pattern(accounts_url: str | None) -> str:
    """Hosts that may get credentials: Zoho's, and the accounts host a person configured."""
    if accounts_url is None:
        return HOSTS
    return f"{HOSTS}|{re.escape(urlsplit(accounts_url).hostname or '')}"


class ZohoDialect:
    """Authorises calls and reads refusals; shared by all threads of a connection.

    Args:
        context: Name, secrets and clock of the connection.
        accounts_url: Base URL of the token endpoint.
        environment: production, sandbox or developer: a token that names an API host of
            another environment does not move the connection there.
        fixed_host: Whether a person configured `base_url`, so that the host named in the
            token answer is ignored.
        gate: Told about refusals.
    """

    def __init__(
        self, context: Context, *, accounts_url: str, environment: str, fixed_host: bool, gate: Gate
    ) -> None:
        self._context = context
        self._accounts_url = accounts_url.rstrip("/")
        self._api_prefix = _API_PREFIX[environment]
        self._fixed_host = fixed_host
        self._gate = gate
        self._http: Http | None = None
        self._thread = threading.local()
        self.tokens = Tokens(context, self._refresh, rotates=False)
        self.credits_remaining: int | None = None

    def use(self, http: Http) -> None:
        """The HTTP layer that token requests go through."""
        self._http = http

    def authorise(self, call: Call, *, force: bool) -> Call:
        if force:
            token, extra = self.tokens.after_refusal(self._thread.token)
        else:
            token, extra = self.tokens.current()
        self._thread.token = token
        self._gate.enter()
        # The prefix is Zoho's own, whatever `token_type` says.
        headers = {**call.headers, "Authorization": f"Zoho-oauthtoken {token}"}
        return replace(call, path=self._api_base(extra) + call.path, headers=headers)

    def _api_base(self, extra: Mapping[str, str]) -> str:
        domain = extra.get("api_domain", "")
        if self._fixed_host or not domain:
            return ""
        parts = urlsplit(domain)
        host = re.fullmatch(_API_HOST, parts.netloc)
        if parts.scheme != "https" or host is None or host["environment"] != self._api_prefix:
            return ""
        return domain.rstrip("/")

    def can_renew(self, answer: Answer) -> bool:
        code, _, _ = _envelope(answer.try_json())
        return code in {"INVALID_TOKEN", "AUTHENTICATION_FAILURE"}

    def observe(self, answer: Answer, pacer: Pacer) -> None:
        # Sent only once half of the day's credits are used.
        remaining = answer.headers.get("X-API-CREDITS-REMAINING", "")
        if remaining.isdigit():
            self.credits_remaining = int(remaining)

    def error(self, call: Call, answer: Answer) -> CrmkitError | None:
        if call.label == TOKEN_LABEL:
            return self._token_error(answer)
        if answer.status < HTTPStatus.BAD_REQUEST:
            return None  # whether it holds what was asked for is seen where its rows are read
        return self._refusal(call, answer)

    def _refresh(self, refresh_token: SecretStr) -> Grant:
        assert self._http is not None  # `use` is called when the connector is built
        secrets = self._context.secrets
        # As a form, as Zoho's own SDK sends it: query strings end up in proxies' logs.
        form = {
            "grant_type": "refresh_token",
            "client_id": secrets.get("client_id").get_secret_value(),
            "client_secret": secrets.get("client_secret").get_secret_value(),
            "refresh_token": refresh_token.get_secret_value(),
        }
        url = f"{self._accounts_url}/oauth/v2/token"
        call = Call("POST", url, form=form, buckets=("token",), label=TOKEN_LABEL, authorised=False)
        body = self._http.send(call).mapping()
        extra = {name: body[name] for name in ("api_domain", "scope") if isinstance(body.get(name), str)}
        try:
            life = min(float(body["expires_in"]), _TOKEN_LIFE_SECONDS)
        except (KeyError, TypeError, ValueError):
            life = _TOKEN_LIFE_SECONDS
        return Grant(body["access_token"], life, extra=extra)

    def _token_error(self, answer: Answer) -> CrmkitError | None:
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return None
        body = answer.try_json()
        if not isinstance(body, dict):
            return (
                None
                if answer.status >= HTTPStatus.BAD_REQUEST
                else BadAnswer(f"{answer.what}: the answer is not a JSON object ({answer.shape()})")
            )
        # Zoho Accounts says 200 for dead tokens and wrong clients too.
        if "error" not in body and isinstance(body.get("access_token"), str):
            return None
        reason = str(body.get("error", "no access token came"))
        if "too many requests" in str(body.get("error_description", "")).lower():
            return RateLimited(
                f"{answer.what}: too many access tokens were asked for",
                bucket=self._bucket("token"),
                retry_after_seconds=retry_after(answer) or _TOKEN_PAUSE_SECONDS,
            )
        text = f"{answer.what}: {self.short(reason)}"
        if reason in {"invalid_code", "invalid_grant"}:
            hint = (
                "The refresh token is revoked or belongs to another data centre: "
                "check `data_centre`, or log in again."
            )
        elif reason in {"invalid_client", "invalid_client_secret"}:
            hint = "Check client_id, client_secret and `data_centre` in Zoho's API console."
        else:
            hint = None
        return AccessDenied(text, hint=hint)

    def _refusal(self, call: Call, answer: Answer) -> CrmkitError | None:
        code, message, details = _envelope(answer.try_json())
        status = answer.status
        text = (
            f"{answer.what}: HTTP {status} {code}: {self.short(message)}"
            if code
            else f"{answer.what}: HTTP {status}"
        )
        if status == HTTPStatus.TOO_MANY_REQUESTS or code in _CALL_AGAIN_CODES:
            if answer.headers.get("X-API-CREDITS-REMAINING", "").strip() == "0":
                return QuotaExhausted(f"{text} (the org has no API credits left)")
            self._gate.refused()
            return RateLimited(text, bucket=self._bucket("calls"), retry_after_seconds=retry_after(answer))
        if not code:
            return None
        if call.writes and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            rows = _row_outcomes(answer.try_json())
            if rows and status != HTTPStatus.UNAUTHORIZED:
                return ZohoRefused(text + self._place(details), code=code, details=details, rows=rows)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ServerFault(text, retry_after_seconds=retry_after(answer))
        if code == "OAUTH_SCOPE_MISMATCH":
            scope = SCOPES.get(call.label, "a scope")
            return MissingScope(
                f"{answer.what}: the credentials lack {scope}",
                hint="Log in again with this scope; Zoho scopes cannot be added to an existing token.",
            )
        if status == HTTPStatus.UNAUTHORIZED:
            return AccessDenied(text)
        if code in _NO_RIGHT_CODES:
            rights = details.get("permissions")
            named = ", ".join(map(str, rights)) if isinstance(rights, list) else str(rights or "a permission")
            return MissingPermission(f"{text} ({self.short(named)})")
        if code == "NOT_SUPPORTED" and call.label == "GET /crm/v8/Notes":
            return Unsupported(
                f"{text}: Zoho lists all notes to administrators only",
                hint="Connect with a user whose profile is Administrator, or leave notes out.",
            )
        if status == HTTPStatus.NOT_FOUND:
            return NotFound(text)
        return ZohoRefused(text + self._place(details), code=code, details=details)

    def _bucket(self, name: str) -> str | None:
        # Without limits on this side no bucket holds the thread back: the call itself has to wait.
        return name if self._context.pace else None

    def _place(self, details: Mapping[str, Any]) -> str:
        named = [
            f"{key}={details[key]}"
            for key in ("param_name", "api_name", "column_name", "reason")
            if key in details
        ]
        return f" ({self.short(', '.join(named))})" if named else ""

    def short(self, text: str) -> str:
        """What Zoho says, fit for messages: secrets masked, and cut."""
        return self._context.secrets.redact(text)[:_MESSAGE_CHARS]


def _envelope(body: Any) -> tuple[str, str, Mapping[str, Any]]:
    """Code, message and details of an error, from either of Zoho's two envelopes."""
    if not isinstance(body, dict):
        return "", "", {}
    if not isinstance(body.get("code"), str):
        for rows in body.values():
            if isinstance(rows, list) and rows and isinstance(rows[0], dict) and "code" in rows[0]:
                return _envelope(rows[0])
        return "", "", {}
    details = body.get("details")
    return body["code"], str(body.get("message", "")), details if isinstance(details, dict) else {}


def _row_outcomes(body: Any) -> Sequence[Mapping[str, Any]]:
    """The outcomes of rows in an error body; none if the request was refused as a whole."""
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "code" in row for row in rows):
        return ()
    return rows
