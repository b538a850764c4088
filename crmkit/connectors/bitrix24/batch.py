"""Batches: the one way in which this connector talks to a portal.

A batch runs up to 50 commands in one request and answers HTTP 200 whatever they did;
refusals of single commands, also by the work limit, are told in its body.

Source: https://apidocs.bitrix24.com/settings/how-to-call-rest-api/batch.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

from crmkit.connectors.base import Context
from crmkit.connectors.bitrix24.commands import COMMANDS, Command, as_map, result_of
from crmkit.connectors.bitrix24.dialect import LABEL, MAX_MOVES, Address, Bitrix24Dialect, Moved
from crmkit.connectors.bitrix24.refusals import BATCH, error_for, problem
from crmkit.connectors.bitrix24.work import Patience, WorkLimits, seconds_of
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.translate import FieldError, instant
from crmkit.errors import BadAnswer, ConfigError, CrmkitError, RateLimited, Transient

COMMANDS_AFTER_FAILURE = 10
WANTED_SECONDS = 40.0
T = TypeVar("T")


@dataclass(slots=True)
class Results:
    """What commands brought, by key.

    Attributes:
        commands: The commands that were sent.
        values: Results of those that went well, in the shape of their method.
        errors: Errors of those that did not.
        codes: The vendor's code of each error.
        nexts: Where the next page of a list begins, if the command is one and has more.
        totals: How many rows a list has, if it counts them.
        started: When the server began with the first batch, by its own clock.
        date: The `Date` header of the first answer.
        time: What the first answer says about its own times.
    """

    commands: Mapping[str, Command]
    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, CrmkitError] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    nexts: dict[str, Any] = field(default_factory=dict)
    totals: dict[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    date: datetime | None = None
    time: Mapping[str, Any] = field(default_factory=dict)

    def take(self, later: Results) -> None:
        """Add what a later batch brought; errors are the caller's to judge."""
        self.values.update(later.values)
        self.nexts.update(later.nexts)
        self.totals.update(later.totals)
        self.started = self.started or later.started
        self.date = self.date or later.date
        self.time = self.time or later.time


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
        self.host = dialect.address.host
        self._http = http
        self._dialect = dialect
        self._work = WorkLimits(context, http.pacer, work_limit_seconds)
        dialect.work_pause = self._work.until_reset

    @property
    def root(self) -> str:
        """The portal's address now, for links into its own UI."""
        return self._dialect.address.root

    def patience(self) -> Patience:
        """A new patience for one step."""
        return Patience(self.context, self._work)

    def run(self, commands: Mapping[str, Command], *, tolerated: Collection[str] = ()) -> Results:
        """Values of independent commands, in as few batches as they fit in.

        Commands that fail for a while are repeated, alone.

        Args:
            commands: By key; keys must not be numbers, or PHP makes a list of the map.
            tolerated: Keys whose lasting errors are given back instead of raised.

        Raises:
            CrmkitError: A command failed for good.
        """
        found = Results(commands)
        pending = dict(commands)
        patience = self.patience()
        while pending:
            results = self.batch(dict(islice(pending.items(), self.size)), halt=False, read=_as_it_is)
            found.take(results)
            waiting: tuple[Transient, str] | None = None
            for key, one in results.commands.items():
                if key in results.values:
                    del pending[key]
                    continue
                refused = results.errors.get(key) or self.missing(key)
                if isinstance(refused, Transient):
                    waiting = (refused, one.method)
                elif key in tolerated:
                    del pending[key]
                    found.errors[key] = refused
                else:
                    raise refused
            if waiting:
                patience.after(*waiting)
        return found

    def batch(self, commands: Mapping[str, Command], *, halt: bool, read: Callable[[Results], T]) -> T:
        """What `read` makes of one request with up to 50 commands.

        A batch that runs into the 60 s of one request, or grows too large, fails however
        often it is repeated; so only the first few commands of it are tried at last.

        Args:
            commands: By key, in the order in which they run.
            halt: Whether the first command that fails stops the others.
            read: May raise `BadAnswer` for results that contradict themselves; the request
                is then repeated.

        Raises:
            CrmkitError: The request as a whole failed.
        """
        try:
            return self._send(commands, halt, read)
        except Transient as error:
            may_be_size = not isinstance(error, RateLimited) and getattr(error, "sent", True)
            if not may_be_size or len(commands) <= COMMANDS_AFTER_FAILURE:
                raise
        self.size = min(self.size, COMMANDS_AFTER_FAILURE)
        return self._send(dict(islice(commands.items(), COMMANDS_AFTER_FAILURE)), halt, read)

    def write(self, commands: Mapping[str, Command]) -> Results:
        """What one request with up to 50 independent commands brought, which may change something.

        Raises:
            OutcomeUnknown: The answer never came, or cannot be read: any of them may have run.
            CrmkitError: The request as a whole was refused; none of them ran.
        """
        return self._send(commands, False, _as_it_is, writes=True)

    def single(self, method: str, params: Mapping[str, Any]) -> Any:
        """The result of one changing command outside of a batch, for what a batch's text cannot carry.

        Raises:
            OutcomeUnknown: The answer never came, or cannot be read.
            CrmkitError: It was refused.
        """
        call = Call(
            "POST",
            f"/{method}",
            json=dict(params),
            label=f"POST /rest/{method}",
            buckets=("default", BATCH, method),
            writes=True,
        )
        return self._following(call, _result)

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
            raise ConfigError(f"{self.context.connection}: {LABEL}: the portal moved without saying where to")
        root = f"{parts.scheme}://{parts.netloc}"
        self._http.allow(root)
        self._dialect.address = Address(root, self._dialect.address.path)

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()

    def _send(
        self,
        commands: Mapping[str, Command],
        halt: bool,
        read: Callable[[Results], T],
        *,
        writes: bool = False,
    ) -> T:
        methods = sorted({one.method for one in commands.values()})
        call = Call(
            "POST",
            f"/{BATCH}",
            json={"halt": int(halt), "cmd": {key: str(one) for key, one in commands.items()}},
            label=LABEL,
            buckets=("default", BATCH, *methods),
            writes=writes,
        )

        def results(answer: Answer) -> T:
            found = self._results(answer, commands)
            if not writes:
                self._adapt(found.time.get("duration"), len(found.values) + len(found.errors))
            return read(found)

        return self._following(call, results)

    def _following(self, call: Call, read: Callable[[Answer], T]) -> T:
        """What `read` makes of the answer, also from the new host of a renamed portal."""
        try:
            for _ in range(MAX_MOVES):
                try:
                    return self._http.fetch(call, read)
                except Moved as moved:
                    self.moved_to(moved.location)
            raise ConfigError(f"{self.context.connection}: the portal redirects in circles")
        except CrmkitError as error:
            # The transport's own errors quote the URL, and a webhook's URL is its credential.
            error.__cause__ = error.__context__ = None
            raise

    def _results(self, answer: Answer, commands: Mapping[str, Command]) -> Results:
        body, what = answer.mapping(), answer.what
        inner = body.get("result")
        if not isinstance(inner, dict) or "result" not in inner:
            raise BadAnswer(f"{what}: the answer is not a batch's ({answer.shape()})")
        values = {
            key: result_of(commands[key].method, value, what)
            for key, value in as_map(inner["result"], what, "result").items()
            if key in commands
        }
        refused = {
            key: told
            for key, told in as_map(inner.get("result_error"), what, "result_error").items()
            if key in commands
        }
        errors = {
            key: self._error(told, f"{what}: {commands[key].method}", commands[key].method)
            for key, told in refused.items()
        }
        told = body.get("time")
        time: dict[str, Any] = told if isinstance(told, dict) else {}
        try:
            started = instant(time.get("date_start"), "time.date_start")
        except FieldError as error:
            raise BadAnswer(f"{what}: {error}") from None
        times = as_map(inner.get("result_time"), what, "result_time")
        # It is not settled whether a portal charges the methods or `batch` itself, so both
        # are watched. Source: https://github.com/bitrix24/b24jssdk/pull/539
        by_method = [(commands[key].method, one) for key, one in times.items() if key in commands]
        self._work.learn(time.get("finish"), [*by_method, (BATCH, time)])
        return Results(
            commands,
            values,
            errors,
            {key: problem(told)[0] for key, told in refused.items()},
            nexts=as_map(inner.get("result_next"), what, "result_next"),
            totals=as_map(inner.get("result_total"), what, "result_total"),
            started=started or answer.date,
            date=answer.date,
            time=time,
        )

    def _error(self, told: Any, what: str, method: str) -> CrmkitError:
        code, said = problem(told)
        return error_for(code, self._dialect.mask(said), what, method=method)

    def _adapt(self, duration: Any, ran: int) -> None:
        """Choose how many commands fit well inside the 60 s of one request."""
        seconds = seconds_of(duration)
        if ran <= 0:
            return
        fits = int(WANTED_SECONDS * ran / seconds) if seconds > 0 else COMMANDS
        self.size = max(1, min(COMMANDS, fits, self.size * 2))


def _as_it_is(results: Results) -> Results:
    return results


def _result(answer: Answer) -> Any:
    body = answer.mapping()
    if "result" not in body:
        raise BadAnswer(f"{answer.what}: the answer holds no result ({answer.shape()})")
    return body["result"]
