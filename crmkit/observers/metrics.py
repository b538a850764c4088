"""Prometheus metrics: totals from the state store, and what a long-lived command does right now.

The totals are sums over all runs in the store, whichever process made them: so they never
start again at zero, and a text file written by one cron run tells of all others too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crmkit import __version__
from crmkit.errors import CrmkitError
from crmkit.observers import totals
from crmkit.observing import Level, Sink, Value
from crmkit.session import Session
from crmkit.sync.state import State

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_Amount = float | int


class StoreMetrics(Collector):
    """What the state store tells, read anew at every scrape.

    Args:
        state: The open store.
        redact: Masks every secret that was handed out.
    """

    def __init__(self, state: State, redact: Callable[[str], str]) -> None:
        self._state = state
        self._redact = redact

    def collect(self) -> Iterator[Metric]:
        """Every metric with its samples."""
        yield self._family(GaugeMetricFamily, totals.BUILD, {(__version__,): 1})
        with self._state.read() as db:
            found = totals.read(db)
        for family in totals.FAMILIES:
            kind = CounterMetricFamily if family.counts else GaugeMetricFamily
            yield self._family(kind, family, found[family.name])

    def _family(
        self,
        kind: type[CounterMetricFamily | GaugeMetricFamily],
        family: totals.Family,
        samples: Mapping[tuple[str, ...], _Amount],
    ) -> Metric:
        metric = kind(family.name, family.help, labels=family.labels)
        for labels, amount in samples.items():
            metric.add_metric([self._redact(one) for one in labels], amount)
        return metric


class LiveMetrics(Sink):
    """What this process does, for the HTTP endpoint of a long-lived command."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"crmkit_http_{name}", text, labels, registry=registry)

        self._requests = counter("requests", "Requests of this process.", "connection", "status")
        self._retries = counter("retries", "Requests sent again, by error.", "connection", "error")
        self._waited = counter("waited_seconds", "Waiting for limits of the CRMs.", "connection")
        self._seconds = Histogram(
            "crmkit_http_request_seconds", "How long a CRM took to answer.", ["connection"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip

    def event(self, name: str, level: Level, fields: Mapping[str, Value]) -> None:
        """Count requests, retries and waits."""
        del level
        connection = str(fields.get("connection", ""))
        if name == "request":
            status = str(fields.get("status") or fields.get("error") or "")
            self._requests.labels(connection, status).inc()
            self._seconds.labels(connection).observe(_number(fields.get("seconds")))
            self._waited.labels(connection).inc(_number(fields.get("waited")))
        elif name == "retry":
            self._retries.labels(connection, str(fields.get("error", ""))).inc()


class Textfile(Sink):
    """Writes the totals for node_exporter's textfile collector once a run has ended.

    Args:
        path: The file, which another user reads: it holds names and counts only.
        session: Its redactor masks labels; its warnings tell what went wrong.
    """

    def __init__(self, path: Path, session: Session) -> None:
        self._path = path
        self._session = session
        self._due = False

    def event(self, name: str, level: Level, fields: Mapping[str, Value]) -> None:
        """Notice that a run has ended."""
        del level, fields
        self._due = self._due or name in ("run_end", "run_failed", "alert")

    def leave(self, state: State) -> None:
        """Write the file if a run has ended since; what goes wrong is a warning, never an error."""
        if not self._due:
            return
        self._due = False
        try:
            write_textfile(self._path, state, self._session.redactor.redact)
        except (OSError, CrmkitError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._session.observer.event("observe_failed", sink="textfile", error=type(error).__name__)
            self._session.warnings.append(f"the metrics were not written to {self._path}: {reason}")


def write_textfile(path: Path, state: State, redact: Callable[[str], str]) -> None:
    """Put the totals in place of an earlier file at once: no reader ever sees a half.

    Raises:
        OSError: The file cannot be written; what was there stays.
    """
    registry = CollectorRegistry()
    registry.register(StoreMetrics(state, redact))
    # Another ending than .prom: the collector must not read it before it is whole.
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    try:
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, flags, 0o600), "wb") as stream:
            stream.write(generate_latest(registry))
            if hasattr(os, "fchmod"):
                os.fchmod(stream.fileno(), 0o644)  # node_exporter is another user
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def serve_metrics(port: int, session: Session, state: State, *, address: str = "127.0.0.1") -> Serving:
    """Serve metrics over HTTP from now on, for a long-lived command such as `worker` or `listen`.

    Args:
        port: Where; 0 takes a free one.
        session: Whose requests are counted.
        state: Its open store; must stay open as long as metrics are served.
        address: Which interface; others than this machine can read it if it is not loopback.

    Returns:
        What stops it, and says which port was taken.

    Raises:
        CrmkitError: The port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(StoreMetrics(state, session.redactor.redact))
    session.observer.add(LiveMetrics(registry))
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        raise CrmkitError(
            f"metrics cannot be served on {address}:{port}: {error.strerror or error}",
            hint="Choose another port.",
        ) from error
    return Serving(server, thread)


class Serving:
    """Metrics that are being served on `port`."""

    def __init__(self, server: Any, thread: Any) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def stop(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _number(value: Value) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
