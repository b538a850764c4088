"""Commands in batches: the one way in which this connector talks to a portal.

A batch runs up to 50 commands in one request and answers HTTP 200 whatever they did; the
work limit (480 s of execution per method in ten minutes) is told in its body.

Source: https://apidocs.bitrix24.com/settings/how-to-call-rest-api/batch.html
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

from crmkit.connectors.base import Context
from crmkit.connectors.bitrix24.dialect import LABEL, Address, Bitrix24Dialect, Moved
from crmkit.connectors.bitrix24.refusals import BATCH, WorkLimited, error_for, problem
from crmkit.connectors.http import MAX_LIMIT_WAIT_SECONDS, MAX_TRIES, Answer, Call, Http
from crmkit.connectors.translate import FieldError, instant
from crmkit.errors import (
    BadAnswer,
    ConfigError,
    CrmkitError,
    IncompleteRead,
    NetworkFault,
    RateLimited,
    ServerFault,
    Transient,
)

COMMANDS = 50
COMMANDS_AFTER_TIMEOUT = 10
PAGE_ROWS = 50
WANTED_SECONDS = 40.0
WORK_HEADROOM = 0.9
WORK_PAUSE_SECONDS = 60.0
MAX_MOVES = 3


@dataclass(frozen=True, slots=True)
class Command:
    """One method call inside a batch; `query` is URL-encoded in PHP's style."""

    method: str
    query: str = ""

    def __str__(self) -> str:
        return f"{self.method}?{self.query}" if self.query else self.method


def command(method: str, *pairs: tuple[str, object]) -> Command:
    """A command from names and values; both are encoded, brackets stay as they are.

    An operator belongs to the name and holds `=` and `>`, so the name is encoded too.
    """
    return Command(method, "&".join(f"{encoded(name)}={quote(str(value), safe='')}" for name, value in pairs))


def encoded(name: str) -> str:
    """A parameter's name, with its operator encoded."""
    return quote(name, safe="[]")


@dataclass(slots=True)
class Results:
    """What commands brought, by key.

    Attributes:
        values: Results of the commands that went well.
        errors: Errors of those that did not.
        nexts: Where the next page of a list begins, if the command is one and has more.
        started: When the server began with the first batch, by its own clock.
        date: The `Date` header of the first answer.
        time: What the first answer says about its own times.
    """

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, CrmkitError] = field(default_factory=dict)
    nexts: dict[str, Any] = field(default_factory=dict)
    totals: dict[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    date: datetime | None = None
    time: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Patience:
    """How long one step may go on without progress.

    Refusals by a limit wait up to two hours in all, other failures get five tries.
    """

    portal: Portal
    failures: int = 0
    waited: float = 0.0

    def after(self, error: Transient, method: str) -> None:
        """Wait as the error asks, or raise it when patience has run out."""
        if isinstance(error, RateLimited):
            seconds = self.portal.hold(error, method)
            self.waited += seconds
            if self.waited > MAX_LIMIT_WAIT_SECONDS:
                raise error
            return
        self.failures += 1
        if self.failures >= MAX_TRIES:
            if isinstance(error, BadAnswer):
                raise IncompleteRead(str(error)) from error
            raise error
        context = self.portal.context
        context.clock.sleep(0.5 * 2**self.failures, context.cancelled)

    def after_request(self, error: Transient, tried: int) -> None:
        """Go on after a whole request failed: once more if batches were made smaller, or raise.

        Args:
            error: What is left after the transport's own tries.
            tried: How many commands a batch could hold when it was sent.
        """
        if isinstance(error, BadAnswer):
            self.after(error, BATCH)
        elif self.portal.size >= tried:
            raise error


class Portal:
    """Runs batches on one portal; safe for several threads.

    Args:
        context: Name and outside world of the connection.
        http: The transport.
        dialect: Its dialect.
        work_limit_seconds: Execution time a method may use in ten minutes; 0 for none.
    """

    def __init__(
        self, context: Context, http: Http, dialect: Bitrix24Dialect, *, work_limit_seconds: float
    ) -> None:
        self.context = context
        self.size = COMMANDS
        self._http = http
        self._dialect = dialect
        self._work_limit = work_limit_seconds
        self._resets: dict[str, float] = {}
        self._ahead = 0.0
        self._lock = threading.Lock()
        dialect.work_pause = self.until_reset
        self.host = dialect.address.host

    @property
    def root(self) -> str:
        """The portal's address now, for links into its own UI."""
        return self._dialect.address.root

    def run(self, commands: Mapping[str, Command], *, tolerated: Collection[str] = ()) -> Results:
        """Values of independent commands, in as few batches as they fit in.

        Commands that fail for a while are repeated, alone.

        Args:
            commands: By key; keys must not be numbers, or PHP makes a list of the map.
            tolerated: Keys whose lasting errors are given back instead of raised.

        Raises:
            CrmkitError: A command failed for good.
        """
        all_results = Results()
        pending = dict(commands)
        patience = Patience(self)
        while pending:
            size = self.size
            chunk = dict(list(pending.items())[:size])
            try:
                results = self.batch(chunk, halt=False)
            except Transient as error:
                patience.after_request(error, size)
                continue
            all_results.values.update(results.values)
            all_results.nexts.update(results.nexts)
            all_results.totals.update(results.totals)
            all_results.started = all_results.started or results.started
            all_results.date = all_results.date or results.date
            all_results.time = all_results.time or results.time
            waiting: tuple[Transient, str] | None = None
            for key, one in chunk.items():
                if key in results.values:
                    del pending[key]
                    continue
                refused = results.errors.get(key) or self.missing(key)
                if isinstance(refused, Transient):
                    waiting = (refused, one.method)
                elif key in tolerated:
                    del pending[key]
                    all_results.errors[key] = refused
                else:
                    raise refused
            if waiting:
                patience.after(*waiting)
        return all_results

    def batch(self, commands: Mapping[str, Command], *, halt: bool) -> Results:
        """One request with up to 50 commands; `halt` stops at the first that fails.

        Raises:
            BadAnswer: The body is not a batch's.
            CrmkitError: The request as a whole failed.
        """
        methods = sorted({one.method for one in commands.values()})
        call = Call(
            "POST",
            f"/{BATCH}",
            json={"halt": int(halt), "cmd": {key: str(one) for key, one in commands.items()}},
            label=LABEL,
            buckets=("default", BATCH, *methods),
        )
        try:
            answer = self._send(call)
        except (ServerFault, NetworkFault) as error:
            if not isinstance(error, NetworkFault) or error.sent:
                # A batch that runs into the 60 s cap fails however often it is repeated.
                self.size = min(self.size, COMMANDS_AFTER_TIMEOUT)
            raise
        return self._results(answer, commands)

    def hold(self, error: RateLimited, method: str) -> float:
        """Let nothing pass that the error concerns; the seconds until it may."""
        seconds = error.retry_after_seconds
        if isinstance(error, WorkLimited):
            seconds = self.until_reset(method)
        seconds = seconds or WORK_PAUSE_SECONDS
        self._http.pacer.refused(method if isinstance(error, WorkLimited) else error.bucket, seconds)
        return seconds

    def missing(self, key: str) -> BadAnswer:
        """The error for a command that a batch says nothing about."""
        return BadAnswer(f"{self.context.connection}: {LABEL}: the answer says nothing about {key!r}")

    def moved_to(self, location: str) -> None:
        """Go on at a renamed portal's new host, with the path that is known.

        Raises:
            ConfigError: The new host is not one that may receive the credentials.
        """
        parts = urlsplit(location)
        if not parts.netloc:
            raise BadAnswer(f"{self.context.connection}: {LABEL}: the portal moved without saying where to")
        root = f"{parts.scheme}://{parts.netloc}"
        self._http.allow(root)
        self._dialect.address = Address(root, self._dialect.address.path)

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()

    def _send(self, call: Call) -> Answer:
        try:
            for _ in range(MAX_MOVES):
                try:
                    return self._http.send(call)
                except Moved as moved:
                    self.moved_to(moved.location)
            raise ConfigError(f"{self.context.connection}: the portal redirects in circles")
        except CrmkitError as error:
            # The transport's own errors quote the URL, and a webhook's URL is its credential.
            error.__cause__ = error.__context__ = None
            raise

    def _results(self, answer: Answer, commands: Mapping[str, Command]) -> Results:
        body = answer.mapping()
        inner = body.get("result")
        if not isinstance(inner, dict) or "result" not in inner:
            raise BadAnswer(f"{answer.what}: the answer is not a batch's ({answer.shape()})")
        what = answer.what
        errors = {
            key: self._error(told, f"{what}: {commands[key].method}", commands[key].method)
            for key, told in as_map(inner.get("result_error"), what, "result_error").items()
            if key in commands
        }
        values = as_map(inner.get("result"), what, "result")
        told = body.get("time")
        time: dict[str, Any] = told if isinstance(told, dict) else {}
        self._learn(time, as_map(inner.get("result_time"), what, "result_time"), commands)
        self._adapt(time.get("duration"), len(values) + len(errors))
        try:
            started = instant(time.get("date_start"), "time.date_start")
        except FieldError as error:
            raise BadAnswer(f"{what}: {error}") from None
        return Results(
            values=values,
            errors=errors,
            nexts=as_map(inner.get("result_next"), what, "result_next"),
            totals=as_map(inner.get("result_total"), what, "result_total"),
            started=started or answer.date,
            date=answer.date,
            time=time,
        )

    def _error(self, told: Any, what: str, method: str) -> CrmkitError:
        code, said = problem(told)
        return error_for(code, self._dialect.mask(said), what, method=method)

    def _learn(
        self, outer: Mapping[str, Any], inner: Mapping[str, Any], commands: Mapping[str, Command]
    ) -> None:
        """Note when each method's work limit resets; close a method that is near its end.

        It is not settled whether a portal charges the methods or `batch` itself, so both
        are watched. Source: https://github.com/bitrix24/b24jssdk/pull/539
        """
        now = _seconds(outer.get("finish"))
        local = self.context.clock.now().timestamp()
        charged: dict[str, tuple[float, float]] = {}
        pairs: Iterable[tuple[str, Any]] = [
            (commands[key].method, one) for key, one in inner.items() if key in commands
        ]
        for method, time in (*pairs, (BATCH, outer)):
            if isinstance(time, dict) and (reset := _seconds(time.get("operating_reset_at"))):
                used = _seconds(time.get("operating"))
                before = charged.get(method, (0.0, 0.0))
                charged[method] = (max(before[0], used), max(before[1], reset))
        with self._lock:
            if now:
                self._ahead = now - local
            self._resets.update({method: reset for method, (_, reset) in charged.items()})
        for method, (used, reset) in charged.items():
            pause = reset - (now or local)
            if self._work_limit and used >= self._work_limit * WORK_HEADROOM and pause > 0:
                self._http.pacer.refused(method, pause)

    def until_reset(self, method: str) -> float:
        """Seconds until a method's work limit frees the oldest minute, as last told; else 60."""
        with self._lock:
            reset = self._resets.get(method, 0.0)
            now = self.context.clock.now().timestamp() + self._ahead
        return reset - now if reset > now else WORK_PAUSE_SECONDS

    def _adapt(self, duration: Any, ran: int) -> None:
        """Choose how many commands fit well inside the 60 s of one request."""
        seconds = _seconds(duration)
        if ran <= 0:
            return
        fits = int(WANTED_SECONDS * ran / seconds) if seconds > 0 else COMMANDS
        self.size = max(1, min(COMMANDS, fits, self.size * 2))


def as_map(value: Any, what: str, field: str) -> dict[str, Any]:
    """A PHP map: an empty one comes as `[]`, one with the keys 0..n as a list.

    Raises:
        BadAnswer: It is neither.
    """
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    if isinstance(value, list):
        return {str(index): one for index, one in enumerate(value)}
    raise BadAnswer(f"{what}: {field} is a {type(value).__name__}, not a map")


def _seconds(value: Any) -> float:
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return float(value)
    return 0.0
