"""What crmkit tells about its own work while it works: events and spans, for whoever listens.

Engine and connectors speak to one `Observer`; logs, metrics and traces are sinks behind it.
Without a sink nothing is measured and nothing is imported. Every text passes the redactor
here, before any sink sees it, and only the fields that `EVENTS` names get through: names,
ids, counts and times, never what a record holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

Value = str | int | float | bool | None
LONGEST_TEXT = 300


class Level(IntEnum):
    """How much somebody has to care; the numbers are those of the standard library."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class Event:
    """A kind of event: how important it is, which fields it may have, and when it comes."""

    level: Level
    fields: tuple[str, ...]
    when: str


EVENTS: Mapping[str, Event] = {
    "request": Event(
        Level.DEBUG,
        ("connection", "label", "attempt", "status", "error", "seconds", "waited"),
        "a CRM was asked; `error` instead of `status` if no answer came",
    ),
    "retry": Event(
        Level.WARNING,
        ("connection", "label", "attempt", "error", "seconds"),
        "a call failed in a way that passes; it is sent again after `seconds`",
    ),
    "wait": Event(
        Level.INFO,
        ("connection", "label", "limit", "seconds"),
        "a call was held back for a second or more to keep within a limit of the CRM",
    ),
    "page": Event(
        Level.DEBUG,
        ("connection", "kind", "records", "gone", "unreadable"),
        "a page of records was received",
    ),
    "run_begin": Event(
        Level.INFO, ("run", "command", "sync", "connection"), "a pull or a run of a sync begins"
    ),
    "run_end": Event(
        Level.INFO,
        ("run", "command", "sync", "connection", "status", "read", "writes", "held", "requests", "waited",
         "seconds"),
        "a pull or a run of a sync ended; `status` as `crmkit runs` shows it",
    ),
    "run_failed": Event(
        Level.ERROR,
        ("run", "command", "sync", "connection", "status", "error", "requests", "waited", "seconds"),
        "a pull or a run of a sync could not go on",
    ),
    "written": Event(
        Level.INFO,
        ("run", "sync", "connection", "created", "updated", "deleted", "held", "refused", "unknown",
         "requests", "waited"),
        "what a run did in one CRM",
    ),
    "guard": Event(
        Level.WARNING,
        ("run", "sync", "connection", "guard", "records", "limit"),
        "a guard stopped a run before its first write",
    ),
    "recovered": Event(
        Level.INFO,
        ("run", "sync", "adopted", "dropped", "waiting", "settling"),
        "what became of earlier writes whose answer never came",
    ),
    "lease_taken_over": Event(
        Level.WARNING, ("lease", "epoch"), "the holder of a lease is gone without giving it back"
    ),
    "lease_lost": Event(
        Level.ERROR, ("lease", "epoch"), "another run took the lease over; this one stops"
    ),
    "alert": Event(Level.INFO, ("sync", "alert", "status"), "somebody was told: new, again or resolved"),
    "alert_failed": Event(
        Level.WARNING, ("sync", "alert", "target", "error"), "somebody could not be told"
    ),
    "observe_failed": Event(
        Level.WARNING, ("sink", "error"), "metrics or traces could not be made or written"
    ),
}  # fmt: skip

SPAN_FIELDS = frozenset(
    {"connection", "sync", "run", "command", "kind", "label", "status", "attempt", "records", "writes",
     "requests"}
)  # fmt: skip


class Span(Protocol):
    """A piece of work under way."""

    def add(self, **fields: Value) -> None:
        """Tell more about it."""
        ...


class Observer(Protocol):
    """Who is told."""

    @property
    def active(self) -> bool:
        """Whether anybody listens; where telling costs something, ask first."""
        ...

    def event(self, name: str, /, **fields: Value) -> None:
        """Something happened; its name and fields are those of `EVENTS`."""
        ...

    def span(self, name: str, /, **fields: Value) -> AbstractContextManager[Span]:
        """A piece of work, for as long as the block lasts: run, plan, pull, write or request."""
        ...


class _NoSpan:
    def add(self, **fields: Value) -> None:
        """Nobody listens."""


_NO_SPAN = nullcontext(_NoSpan())


class Silent:
    """An observer that nobody listens to."""

    active = False

    def event(self, name: str, /, **fields: Value) -> None:
        """Nothing is told."""

    def span(self, name: str, /, **fields: Value) -> AbstractContextManager[Span]:
        """A block that nothing is told of."""
        return _NO_SPAN


SILENT = Silent()


class Sink:
    """One place where events and spans go; the base of all, which drops both."""

    wants_spans = False

    def event(self, name: str, level: Level, fields: Mapping[str, Value]) -> None:
        """Take an event; its fields are clean."""

    def span(self, name: str, fields: Mapping[str, Value]) -> AbstractContextManager[Span]:
        """Take a span; its fields are clean."""
        return _NO_SPAN

    def close(self) -> None:
        """Write what is still held back."""


class Observers:
    """Tells several sinks, after the redactor.

    Args:
        redact: Masks every secret that was handed out.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._sinks: list[Sink] = []

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return bool(self._sinks)

    def add(self, sink: Sink) -> None:
        """From now on tell this sink too."""
        self._sinks = [*self._sinks, sink]

    def event(self, name: str, /, **fields: Value) -> None:
        """Tell every sink what happened."""
        if not self._sinks:
            return
        kind = EVENTS[name]
        clean = self._clean(fields, kind.fields)
        for sink in self._sinks:
            sink.event(name, kind.level, clean)

    def span(self, name: str, /, **fields: Value) -> AbstractContextManager[Span]:
        """Tell every sink that follows spans."""
        if not any(sink.wants_spans for sink in self._sinks):
            return _NO_SPAN
        return self._spans(name, fields)

    @contextmanager
    def _spans(self, name: str, fields: Mapping[str, Value]) -> Iterator[Span]:
        clean = self._clean(fields, SPAN_FIELDS)
        with ExitStack() as stack:
            open_spans = [
                stack.enter_context(sink.span(name, clean)) for sink in self._sinks if sink.wants_spans
            ]
            yield _CleanSpan(self, open_spans)

    def _clean(
        self, fields: Mapping[str, Value], known: frozenset[str] | tuple[str, ...]
    ) -> dict[str, Value]:
        return {
            name: self._redact(value)[:LONGEST_TEXT] if isinstance(value, str) else value
            for name, value in fields.items()
            if value is not None and name in known
        }

    def close(self) -> None:
        """Let every sink write what it still holds back; afterwards nobody listens."""
        sinks, self._sinks = self._sinks, []
        for sink in sinks:
            sink.close()


class _CleanSpan:
    def __init__(self, observers: Observers, spans: list[Span]) -> None:
        self._observers = observers
        self._spans = spans

    def add(self, **fields: Value) -> None:
        clean = self._observers._clean(fields, SPAN_FIELDS)
        for span in self._spans:
            span.add(**clean)


class Request:
    """A request under way: give it the status of the answer."""

    status: int | None = None


@contextmanager
def request(
    observer: Observer, monotonic: Callable[[], float], *, waited: float, **fields: Value
) -> Iterator[Request]:
    """One request, as an event and a span: how long it took, and how it ended."""
    seen, began = Request(), monotonic()
    error: str | None = None
    with observer.span("request", **fields) as span:
        try:
            yield seen
            span.add(status=seen.status)
        except BaseException as problem:
            error = type(problem).__name__
            raise
        finally:
            observer.event(
                "request", **fields, status=seen.status, error=error, waited=round(waited, 3),
                seconds=round(monotonic() - began, 4),
            )  # fmt: skip
