"""How Bitrix24 is spoken to: address, credentials, errors and limits.

Everything goes through one method, `batch`, with `POST` and JSON. A webhook's credential
is the path of its URL, so that path never reaches a label, an error or a log.

Source: https://apidocs.bitrix24.com/settings/how-to-call-rest-api/general-principles.html
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from pydantic import SecretStr

from crmkit.connectors.base import Context
from crmkit.connectors.bitrix24.refusals import BATCH, EXPIRED, WorkLimited, error_for, problem
from crmkit.connectors.http import Answer, Call, Http, is_loopback
from crmkit.connectors.oauth import Grant, Tokens
from crmkit.connectors.pacing import HOLD_SECONDS, Bucket, Limit, Memory, Pacer
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    ConfigError,
    ConnectorError,
    CrmkitError,
    Rejected,
    ServerFault,
    Transient,
)

CLOUD_HOSTS = (
    r"[a-z0-9-]+\.bitrix24\."
    r"(?:com|com\.br|com\.tr|ru|by|kz|ua|uz|de|eu|es|fr|it|pl|in|cn|jp|vn|id|co|mx|tech)"
)
TOKEN_HOSTS = r"oauth\.bitrix\.info|oauth\.bitrix24\.tech"  # noqa: S105 - a pattern, not a secret
LOOPBACK_HOSTS = r"localhost|127\.0\.0\.1"
TOKEN_URL = "https://oauth.bitrix.info/oauth/token/"  # noqa: S105 - an address, not a secret

LABEL = "POST /rest/batch"
REFRESH_DAYS = 180.0
TOKEN_LABEL = "POST /oauth/token/"  # noqa: S105 - a label, not a secret
METHODS = (
    "crm.item.list",
    "crm.item.get",
    "crm.item.fields",
    "crm.category.list",
    "crm.status.list",
    "crm.stagehistory.list",
    "crm.timeline.comment.list",
    "crm.timeline.comment.get",
    "crm.currency.list",
    "crm.currency.base.get",
    "user.get",
    "user.current",
    "profile",
)
WRITE_METHODS = (
    "crm.item.add",
    "crm.item.import",
    "crm.item.update",
    "crm.item.delete",
    "crm.deal.update",
    "crm.company.update",
    "crm.contact.update",
    "crm.deal.contact.items.set",
    "crm.deal.contact.items.delete",
    "crm.contact.company.items.set",
    "crm.contact.company.items.delete",
    "crm.timeline.comment.add",
    "crm.category.add",
    "crm.category.update",
    "crm.category.delete",
    "crm.status.add",
    "crm.status.update",
    "crm.status.delete",
)
SHORT_BYTES = 4096
MAX_MOVES = 3
VENDOR_TEXT_CHARACTERS = 300

_WEBHOOK = re.compile(r"/rest/(?:api/)?(\d+)/([A-Za-z0-9]+)(?:/[A-Za-z0-9_.]*)?")
_REDIRECTS = (301, 302, 303, 307, 308)


class Moved(ConnectorError):
    """The portal answers under another address; nothing was executed."""

    def __init__(self, message: str, location: str) -> None:
        super().__init__(message)
        self.location = location


class Hold:
    """A limit that only ever closes for a while: the work limit of one method."""

    def __init__(self) -> None:
        self._until = 0.0

    def admit(self, now: float, cost: float) -> float:
        return max(0.0, self._until - now)

    def slow_down(self, now: float, seconds: float) -> None:
        self._until = max(self._until, now + seconds)

    def remembered(self, now: float) -> Memory:
        return {"until": now - self._until}

    def recall(self, memory: Memory, at: float) -> None:
        self._until = at - float(memory.get("until", 0.0))

    def block(self) -> tuple[float, float]:
        return 10.0, HOLD_SECONDS  # nothing is counted: this only saves looking


def limits(*, enterprise: bool) -> Mapping[str, Limit]:
    """The rate bucket of the portal and one work limit per method.

    Source: https://apidocs.bitrix24.com/limits.html
    """
    rate = Bucket(250, 5) if enterprise else Bucket(50, 2)
    return {"default": rate, **{method: Hold() for method in (BATCH, *METHODS, *WRITE_METHODS)}}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a portal's REST interface is; `path` of a webhook is its credential."""

    root: str
    path: SecretStr

    @property
    def host(self) -> str:
        return urlsplit(self.root).netloc.lower()


def webhook_address(connection: str, url: SecretStr, base_url: str | None) -> Address:
    """The parts of an inbound webhook's URL, `https://{portal}/rest/{user}/{code}/`.

    Args:
        connection: Its name, for the error.
        url: The whole URL; a method name at its end is ignored.
        base_url: Another host to send to, if the configuration names one.

    Raises:
        ConfigError: It has another shape; the message does not quote it.
    """
    parts = urlsplit(url.get_secret_value().strip())
    match = _WEBHOOK.fullmatch(parts.path)
    if match is None or not parts.netloc or parts.username is not None:
        raise ConfigError(
            f"{connection}: the secret 'webhook_url' is not the URL of an inbound webhook",
            hint="Copy it from the webhook's card in Bitrix24: https://PORTAL/rest/USER/CODE/",
        )
    path = SecretStr(f"/rest/{match[1]}/{match[2]}")
    return Address(_root(base_url) if base_url else f"{parts.scheme}://{parts.netloc}", path)


def portal_address(connection: str, portal: str | None, base_url: str | None) -> Address:
    """The address of a portal that an app reaches with a token.

    Raises:
        ConfigError: Neither `portal` nor `base_url` is configured.
    """
    if not portal and not base_url:
        raise ConfigError(
            f"{connection}: OAuth needs the option `portal`",
            hint='For example portal = "acme.bitrix24.com".',
        )
    return Address(_root(base_url) if base_url else f"https://{portal}", SecretStr("/rest"))


def _root(base_url: str) -> str:
    return base_url.rstrip("/").removesuffix("/rest")


class Bitrix24Dialect:
    """Authorises calls and tells what answers mean.

    Args:
        context: Name, secrets and clock of the connection.
        address: Where the portal is.
    """

    def __init__(self, context: Context, address: Address) -> None:
        self.address = address
        self.tokens: Tokens | None = None
        self.work_pause: Callable[[str], float] = lambda method: 60.0
        self._context = context
        self._used = threading.local()
        code = address.path.get_secret_value().rpartition("/")[2]
        if code != "rest":
            # Alone too it opens the portal: the vendor quotes paths, and the transport logs them.
            context.secrets.learn(code)

    def authorise(self, call: Call, *, force: bool) -> Call:
        path = self.address.root + self.address.path.get_secret_value() + call.path
        if self.tokens is None:
            return replace(call, path=path)
        token, _ = self.tokens.after_refusal(self._used.token) if force else self.tokens.current()
        self._used.token = token
        return replace(call, path=path, json={**call.json, "auth": token})

    def can_renew(self, answer: Answer) -> bool:
        """Only an expired token: refreshing for other reasons may get an app blocked."""
        code, _ = problem(answer.try_json())
        return self.tokens is not None and code.upper() == EXPIRED

    def error(self, call: Call, answer: Answer) -> CrmkitError | None:
        if answer.status in _REDIRECTS:
            return Moved(f"{answer.what}: the portal has moved", answer.headers.get("Location", ""))
        if answer.status < HTTPStatus.BAD_REQUEST:
            if answer.body.rstrip()[-1:] != b"}":
                return BadAnswer(f"{answer.what}: the answer is not a JSON object ({answer.shape()})")
            if len(answer.body) > SHORT_BYTES:
                # Errors are short; decoding a page of records twice would cost as much as reading it.
                return None
            body = answer.mapping()
        else:
            body = answer.try_json()
        if not isinstance(body, dict) or "error" not in body:
            return None
        code, said = problem(body)
        error = error_for(code, self.mask(said), answer.what)
        if isinstance(error, WorkLimited):
            error.retry_after_seconds = self.work_pause(BATCH)
        if not call.authorised and not isinstance(error, Transient):
            return AccessDenied(
                str(error),
                hint=f"Log in again with `crmkit login {self._context.connection}`; check client_id.",
            )
        if type(error) is Rejected and answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ServerFault(str(error))
        return error

    def observe(self, answer: Answer, pacer: Pacer) -> None:
        """Bitrix24 tells its limits in the body, see `batch.py`."""

    def mask(self, said: str) -> str:
        """A vendor's text, short and without this connection's credentials."""
        return self._context.secrets.redact(said)[:VENDOR_TEXT_CHARACTERS]


def refresher(http: Http, context: Context, token_url: str) -> Callable[[SecretStr], Grant]:
    """Renews the tokens of an app; the token endpoint takes a form, which no URL log shows.

    Source: https://apidocs.bitrix24.com/settings/oauth/auto-renewal.html
    """

    def refresh(refresh_token: SecretStr) -> Grant:
        form = {
            "grant_type": "refresh_token",
            "client_id": context.secrets.get("client_id").get_secret_value(),
            "client_secret": context.secrets.get("client_secret").get_secret_value(),
            "refresh_token": refresh_token.get_secret_value(),
        }
        # A refresh token works once. If its answer is lost the connection is locked out anyway, so
        # trying again can only help.
        url = token_url
        for _ in range(MAX_MOVES):
            call = Call("POST", url, form=form, label=TOKEN_LABEL, authorised=False, buckets=())
            try:
                return http.fetch(call, lambda answer: _grant(context.connection, answer))
            except Moved as moved:
                # The token endpoint has moved once already, from bitrix.info to bitrix24.tech.
                url = http.allow(urljoin(url, moved.location))
        raise ConfigError(f"{context.connection}: {TOKEN_LABEL}: the token endpoint redirects in circles")

    return refresh


def _grant(connection: str, answer: Answer) -> Grant:
    """The new tokens; `expires_in` decides nothing, as tokens are renewed after a refusal only."""
    told = answer.mapping()
    token, rotated, life = told.get("access_token"), told.get("refresh_token"), told.get("expires_in")
    if not isinstance(token, str) or not token:
        raise AccessDenied(f"{connection}: {TOKEN_LABEL}: the answer holds no access token")
    return Grant(
        access_token=token,
        expires_in=float(life) if isinstance(life, (int, Decimal)) else 3600.0,
        refresh_token=rotated if isinstance(rotated, str) else None,
        refresh_days=REFRESH_DAYS,
    )


def allowed_hosts(portal: str | None, token_url: str, *, loopback: bool) -> str:
    """The pattern of hosts that may receive this connection's credentials."""
    named = [urlsplit(f"//{portal}").hostname if portal else None, urlsplit(token_url).hostname]
    patterns = [CLOUD_HOSTS, TOKEN_HOSTS, *(re.escape(host) for host in named if host)]
    return "|".join([*patterns, LOOPBACK_HOSTS] if loopback else patterns)


def connect(
    context: Context,
    address: Address,
    *,
    portal: str | None,
    token_url: str | None,
    configured: bool,
    enterprise: bool,
    in_flight: int,
) -> tuple[Http, Bitrix24Dialect]:
    """The HTTP side of one portal; `token_url` is given for an app, `None` for a webhook."""
    dialect = Bitrix24Dialect(context, address)
    loopback = is_loopback(urlsplit(address.root).hostname or "")
    http = Http(
        context,
        base_url=address.root,
        dialect=dialect,
        limits=limits(enterprise=enterprise),
        hosts=allowed_hosts(portal, token_url or TOKEN_URL, loopback=loopback),
        configured=configured,
        in_flight=in_flight,
        # A request may run for 60 s before the portal cuts it off.
        timeouts=(10.0, 65.0),
    )
    if token_url:
        dialect.tokens = Tokens(context, refresher(http, context, token_url), rotates=True, proactive=False)
    return http, dialect
