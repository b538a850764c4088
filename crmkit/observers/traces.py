"""OpenTelemetry spans over HTTP: run > plan, pull, write > request.

Configured by the standard `OTEL_*` variables. Parents are found by what a span is about,
not by its thread: requests of a connection leave from a pool of threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from crmkit import __version__
from crmkit.observing import Sink, Span, Value

PATIENCE_SECONDS = 3.0
"""How long a collector that is away may hold up the end of a command, unless a variable says else."""

# As OpenTelemetry calls what has a name there; the rest begins with `crmkit.`.
_NAMES = {"status": "http.response.status_code", "attempt": "http.request.resend_count"}


def from_environment(environ: Mapping[str, str]) -> Traces:
    """Spans for the collector that the standard variables name."""
    attributes = {"service.version": __version__}
    if "OTEL_SERVICE_NAME" not in environ and "service.name" not in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        attributes["service.name"] = "crmkit"
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    told = any(
        name in environ for name in ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
    )
    exporter = OTLPSpanExporter() if told else OTLPSpanExporter(timeout=PATIENCE_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    # A collector that is away is nobody's concern on stderr: a cron run stays silent.
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    return Traces(provider)


class Traces(Sink):
    """Makes a span of each piece of work.

    Args:
        provider: Where spans go; shut down when this is closed.
    """

    wants_spans = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("crmkit", __version__)
        # Open spans that may have others inside, each with the connection that it is about.
        self._open: list[tuple[Value, trace.Span]] = []
        self._lock = threading.Lock()

    @contextmanager
    def span(self, name: str, fields: Mapping[str, Value]) -> Iterator[Span]:
        """A span inside the innermost one that is about the same connection, else about the whole run."""
        about, is_request = fields.get("connection"), name == "request"
        parent = self._parent(about)
        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(parent) if parent is not None else None,
            kind=SpanKind.CLIENT if is_request else SpanKind.INTERNAL,
            attributes=_attributes(fields),
        )
        mine = (about, span)
        if not is_request:
            with self._lock:
                self._open.append(mine)
        try:
            yield _Open(span)
        except BaseException as error:
            # Its name only: the text of an error may quote what a CRM said.
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            if not is_request:
                with self._lock:
                    self._open.remove(mine)
            span.end()

    def _parent(self, about: Value) -> trace.Span | None:
        with self._lock:
            for known in (about, None):
                for connection, span in reversed(self._open):
                    if connection == known:
                        return span
        return None

    def close(self) -> None:
        """Send what is not sent yet."""
        self._provider.shutdown()


class _Open:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def add(self, **fields: Value) -> None:
        self._span.set_attributes(_attributes(fields))


def _attributes(fields: Mapping[str, Value]) -> dict[str, str | int | float | bool]:
    return {
        _NAMES.get(name, f"crmkit.{name}"): value
        for name, value in fields.items()
        if value is not None and (name != "attempt" or value != 1)
    }
