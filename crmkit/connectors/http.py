"""One HTTP layer for all vendors: paces, sends, retries, and turns failures into errors.

What differs between CRMs is given by a `Dialect`: how a call is authorised, which error
an answer means, and what its headers tell about limits.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
import requests
import tenacity
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from crmkit.connectors.base import Context
from crmkit.connectors.pacing import Limit, Pacer
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    ConfigError,
    CrmkitError,
    Interrupted,
    NetworkFault,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    ServerFault,
    Transient,
    Unsupported,
)
from crmkit.observing import request as observed

T = TypeVar("T")
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_TRIES = 5
TOLD_WAIT_SECONDS = 1.0
MAX_LIMIT_WAIT_SECONDS = 2 * 3600.0
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a connector means it.

    Attributes:
        method: The HTTP verb.
        path: Path below the dialect's base, or a whole URL on an allowed host.
        params: Query parameters; a list repeats its name.
        json: JSON body.
        form: Form body, instead of `json`.
        headers: Extra headers.
        buckets: Limits the call draws from.
        cost: What it costs in them.
        writes: Whether it changes anything: then only a failure that proves that nothing
            happened is retried.
        label: A name for the request counters; no ids in it.
        authorised: Whether it carries credentials.
    """

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: Any = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    buckets: tuple[str, ...] = ("default",)
    cost: float = 1.0
    writes: bool = False
    label: str = ""
    authorised: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: status, headers (case-insensitive) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    what: str

    def json(self) -> Any:
        """The body decoded, numbers with a fraction as `Decimal`; `None` if it is empty.

        Raises:
            BadAnswer: The body is not JSON.
        """
        if not self.body:
            return None
        try:
            return _DECODER.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, ArithmeticError) as error:
            raise BadAnswer(f"{self.what}: the answer is not JSON ({self.shape()})") from error

    def mapping(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            BadAnswer: It is something else.
        """
        body = self.json()
        if not isinstance(body, dict):
            raise BadAnswer(f"{self.what}: the answer is not a JSON object ({self.shape()})")
        return body

    def rows(self) -> list[Any]:
        """The body as a JSON array.

        Raises:
            BadAnswer: It is something else.
        """
        body = self.json()
        if not isinstance(body, list):
            raise BadAnswer(f"{self.what}: the answer is not a JSON array ({self.shape()})")
        return body

    def shape(self) -> str:
        """Status, media type and size: enough to tell what came, without its content."""
        media = self.headers.get("Content-Type", "no content type")
        return f"HTTP {self.status}, {media}, {len(self.body)} bytes"

    def try_json(self) -> Any:
        """The body decoded, or `None` if it is not JSON; for error bodies."""
        try:
            return self.json()
        except BadAnswer:
            return None

    @property
    def date(self) -> datetime | None:
        """The server's clock when it answered."""
        text = self.headers.get("Date")
        if not text:
            return None
        try:
            return parsedate_to_datetime(text).astimezone(UTC)
        except ValueError:
            return None


class Dialect(Protocol):
    """What a vendor adds to HTTP."""

    def authorise(self, call: Call, *, force: bool) -> Call:
        """The call with credentials; `force` asks for fresh ones after a refusal."""
        ...

    def can_renew(self, answer: Answer) -> bool:
        """Whether this refusal is worth one try with renewed credentials; asked for any status from 400."""
        ...

    def error(self, call: Call, answer: Answer) -> CrmkitError | None:
        """The error that an answer means, or `None`; called for every answer."""
        ...

    def observe(self, answer: Answer, pacer: Pacer) -> None:
        """Learn from the headers, for example what is left of a limit."""
        ...


class Http:
    """The HTTP side of one connection, shared by its threads.

    Args:
        context: The connection's name and the outside world.
        base_url: Where paths begin.
        dialect: What is special about this vendor.
        limits: Limit per bucket.
        hosts: Pattern that a host must match whole; the configured base host always may.
        configured: Whether a person wrote `base_url` in the configuration.
        in_flight: Size of the connection pool.
        timeouts: Seconds to connect and to wait for the next byte.
    """

    def __init__(
        self,
        context: Context,
        *,
        base_url: str,
        dialect: Dialect,
        limits: Mapping[str, Limit],
        hosts: str,
        configured: bool = False,
        in_flight: int = 8,
        timeouts: tuple[float, float] = (10.0, 50.0),
    ) -> None:
        self.context = context
        self.base_url = base_url.rstrip("/")
        self.dialect = dialect
        kept = limits if context.pace else {}
        self.pacer = Pacer(kept, context.clock, context.usage, context.cancelled, context.shared)
        self._hosts = re.compile(hosts)
        self._own_host = urlsplit(base_url).netloc if configured else None
        self._timeouts = timeouts
        self._renewing = threading.Lock()
        self.allow(self.base_url)
        if not context.pace and not is_loopback(urlsplit(self.base_url).hostname or ""):
            raise ConfigError(
                f"{context.connection}: limits can only be switched off for a CRM on this machine",
                hint="Remove `limits` from the connection in crmkit.toml.",
            )
        self._session = _session(self.base_url, in_flight)
        self._headers = dict(self._session.headers)
        self._verify = True if self._session.verify is None else self._session.verify
        self._log_filter = _MaskedLog(context.secrets.redact)
        _TRANSPORT_LOG.addFilter(self._log_filter)

    def allow(self, url: str) -> str:
        """The URL, if credentials may be sent there.

        Raises:
            ConfigError: It is neither https (nor loopback), nor a host of this CRM.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise ConfigError(
                f"{self.context.connection}: {parts.scheme or 'no'}://{host} is not encrypted",
                hint="Use an https address; plain http is allowed to this machine only.",
            )
        if parts.netloc != self._own_host and not self._hosts.fullmatch(host):
            raise ConfigError(
                f"{self.context.connection}: {host} is not a host of this CRM",
                hint="If it is yours, name it as `base_url` of the connection in crmkit.toml.",
            )
        return url

    def send(self, call: Call) -> Answer:
        """The answer to a call; see `fetch`."""
        return self.fetch(call, lambda answer: answer)

    def fetch(self, call: Call, read: Callable[[Answer], T]) -> T:
        """What `read` makes of the answer, after waiting for limits and retrying what is transient.

        Args:
            call: What to ask.
            read: Gives the value of a successful answer; may raise `BadAnswer` for one that
                is cut or of the wrong shape, which is then asked for again.

        Raises:
            AccessDenied: The credentials are refused, also after a renewal.
            Transient: Still failing after the last try.
            OutcomeUnknown: A write whose answer never came.
            Rejected: The CRM refused the call.
            Interrupted: The run was stopped.
        """
        if call.writes and self.context.read_only:
            raise Unsupported(
                f"{self.context.connection}: {call.label or call.method} would change something, "
                "and this run only reads"
            )
        attempts = _Attempts(self.context, call)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            stop=attempts.stop,
            wait=attempts.wait,
            sleep=attempts.sleep,
            reraise=True,
        )
        result: T = retrying(self._fetch_once, call, read, attempts)
        return result

    def _fetch_once(self, call: Call, read: Callable[[Answer], T], attempts: _Attempts) -> T:
        answer = self._send_once(call, attempts)
        try:
            return read(answer)
        except BadAnswer as error:
            named = str(error).startswith(answer.what)
            text = str(error) if named else f"{answer.what}: {error}"
            if call.writes:
                raise OutcomeUnknown(text) from error
            if named:
                raise
            raise BadAnswer(text) from error

    def _send_once(self, call: Call, attempts: _Attempts) -> Answer:
        if call.writes:
            self.context.permit()
        answer = self._authorised(call, attempts, force=False)
        refused = call.authorised and answer.status >= HTTPStatus.BAD_REQUEST
        if refused and self.dialect.can_renew(answer):
            answer = self._authorised(call, attempts, force=True)
        error = self.dialect.error(call, answer)
        if error is None and answer.status >= HTTPStatus.BAD_REQUEST:
            error = default_error(answer)
        if error is None:
            return answer
        if isinstance(error, RateLimited):
            self.pacer.refused(error.bucket, error.retry_after_seconds or attempts.limit_pause())
        elif call.writes and isinstance(error, Transient):
            raise OutcomeUnknown(f"{answer.what}: {error}") from error
        raise error

    def _authorised(self, call: Call, attempts: _Attempts, *, force: bool) -> Answer:
        ready = self.dialect.authorise(call, force=force) if call.authorised else call
        began = self.context.clock.monotonic()
        self.pacer.wait(call.buckets, call.cost)
        if self.context.cancelled.is_set():
            raise Interrupted(f"{self.context.connection}: stopped")
        if self.context.allowance is not None:
            self.context.allowance.spend()
        if self.context.observer.active:
            answer = self._observed(ready, attempts, self.context.clock.monotonic() - began)
        else:
            answer = self._transfer(ready, attempts)
        self.dialect.observe(answer, self.pacer)
        return answer

    def _observed(self, call: Call, attempts: _Attempts, waited: float) -> Answer:
        context, label = self.context, attempts.label
        if waited >= TOLD_WAIT_SECONDS:
            limits = ",".join(call.buckets)
            context.observer.event(
                "wait", connection=context.connection, label=label, limit=limits, seconds=round(waited, 3)
            )
        with observed(
            context.observer, context.clock.monotonic, waited=waited, connection=context.connection,
            label=label, attempt=attempts.sent + 1,
        ) as seen:  # fmt: skip
            answer = self._transfer(call, attempts)
            seen.status = answer.status
        return answer

    def _transfer(self, call: Call, attempts: _Attempts) -> Answer:
        url = call.path if "://" in call.path else self.base_url + call.path
        self.allow(url)
        label = _label(call)
        what = f"{self.context.connection}: {label}"
        self.context.usage.sent(label, again=attempts.started())
        headers = {**self._headers, **call.headers}
        body: bytes | Mapping[str, str] | None = call.form
        if call.json is not None:
            body = msgspec.json.encode(call.json)
            headers["Content-Type"] = "application/json"
        # Prepared here: what a session would merge in (its cookies, the environment) is not
        # wanted, and looking for it takes a fifth of a call's time.
        request = requests.PreparedRequest()
        try:
            request.prepare(call.method, url, headers, data=body, params=call.params)
            response = self._session.send(
                request,
                stream=True,
                allow_redirects=False,
                timeout=self._timeouts,
                verify=self._verify,
                proxies=self._session.proxies,
            )
            try:
                content = response.raw.read(MAX_BODY_BYTES + 1, decode_content=True)
            finally:
                # A body read whole has given its connection back to the pool already.
                response.close()
        except (requests.RequestException, HTTPError, OSError) as error:
            # Not `from error`: its text quotes the URL, which for some CRMs is the credential.
            raise self._network_error(what, call, error) from None
        if len(content) > MAX_BODY_BYTES:
            raise BadAnswer(f"{what}: the answer is larger than {MAX_BODY_BYTES} bytes")
        return Answer(response.status_code, response.headers, content, what)

    def _network_error(self, what: str, call: Call, error: Exception) -> CrmkitError:
        sent = not isinstance(error, requests.ConnectTimeout) and "NewConnectionError" not in repr(error)
        host = urlsplit(call.path if "://" in call.path else self.base_url).netloc
        text = f"{what}: {_network_reason(error)} ({host})"
        if isinstance(error, requests.exceptions.SSLError):
            return ConfigError(
                f"{what}: the certificate of {host} cannot be verified",
                hint="Set REQUESTS_CA_BUNDLE to your organisation's CA file; verification stays on.",
            )
        if call.writes and sent:
            return OutcomeUnknown(text)
        return NetworkFault(text, sent=sent)

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()
        _TRANSPORT_LOG.removeFilter(self._log_filter)


def default_error(answer: Answer) -> CrmkitError:
    """The error for a status that the dialect had nothing to say about."""
    text = f"{answer.what}: HTTP {answer.status}"
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return AccessDenied(f"{text}: the credentials are refused")
    if answer.status == HTTPStatus.NOT_FOUND:
        return NotFound(text)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(text, retry_after_seconds=retry_after(answer))
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerFault(text, retry_after_seconds=retry_after(answer))
    return Rejected(text)


def retry_after(answer: Answer) -> float | None:
    """`Retry-After` in seconds, whichever of its two forms came; `None` without it."""
    text = answer.headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    now = answer.date
    return max(0.0, (until - now).total_seconds()) if now else None


def is_loopback(host: str) -> bool:
    """Whether a host name is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_TRANSPORT_LOG = logging.getLogger("urllib3.connectionpool")


class _MaskedLog(logging.Filter):
    """Masks secrets in what the transport logs: at DEBUG it prints paths, which may hold them."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redact(record.getMessage()), ()
        return True


class _Attempts:
    """Counts the tries of one call and decides how long to pause between them.

    A refusal by a limit is not a failed try: it waits, however often, up to two hours in
    all. Other failures get five tries with full jitter (base 0.5 s, cap 60 s).
    """

    def __init__(self, context: Context, call: Call) -> None:
        self._context = context
        self.label = _label(call)
        self.sent = 0
        self._failures = 0
        self._refusals = 0
        self._limit_wait = 0.0
        self._jitter = tenacity.wait_random_exponential(multiplier=0.5, max=60)

    def started(self) -> bool:
        self.sent += 1
        return self.sent > 1

    def limit_pause(self) -> float:
        return float(min(60.0, 2.0**self._refusals))

    def stop(self, state: tenacity.RetryCallState) -> bool:
        error = _error_of(state)
        if isinstance(error, RateLimited):
            self._refusals += 1
            return self._limit_wait > MAX_LIMIT_WAIT_SECONDS
        self._failures += 1
        return self._failures >= MAX_TRIES

    def wait(self, state: tenacity.RetryCallState) -> float:
        pause = self._pause(state)
        self._context.observer.event(
            "retry", connection=self._context.connection, label=self.label, attempt=self.sent,
            error=type(_error_of(state)).__name__, seconds=round(pause, 3),
        )  # fmt: skip
        return pause

    def _pause(self, state: tenacity.RetryCallState) -> float:
        error = _error_of(state)
        said = error.retry_after_seconds if isinstance(error, Transient) else None
        if isinstance(error, RateLimited):
            # The pacer holds the call back; a pause of its own would wait twice.
            self._limit_wait += said or self.limit_pause()
            held_back = error.bucket is not None and self._context.pace
            return 0.0 if held_back else (said or self.limit_pause())
        return said if said is not None else self._jitter(state)

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._context.clock.sleep(seconds, self._context.cancelled)
        if self._context.cancelled.is_set():
            raise Interrupted(f"{self._context.connection}: stopped")


def _label(call: Call) -> str:
    """What a call is called in counters, logs and traces."""
    return call.label or f"{call.method} {urlsplit(call.path).path}"


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _session(base_url: str, in_flight: int) -> requests.Session:
    session = requests.Session()
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=in_flight, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # Read the environment once: with trust_env every request parses proxies again, and a
    # .netrc entry would silently replace the connection's own credentials.
    session.proxies.update(get_environ_proxies(base_url))
    settings = session.merge_environment_settings(base_url, {}, None, None, None)
    session.verify = settings["verify"]
    session.trust_env = False
    session.headers["Accept"] = "application/json"
    session.headers["User-Agent"] = "crmkit"
    return session


def _network_reason(error: Exception) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if "IncompleteRead" in repr(error) or isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the answer was cut off"
    if "NameResolutionError" in repr(error):
        return "the host name is not known"
    return "the host cannot be reached or closed the connection"


def bearer(call: Call, token: str, *, prefix: str = "Bearer") -> Call:
    """The call with an `Authorization` header."""
    return replace(call, headers={**call.headers, "Authorization": f"{prefix} {token}"})
