"""Spans: what is inside what, and nothing secret in any of them."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import responses
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from crmkit.connectors.base import Context
from crmkit.connectors.http import Call, Http
from crmkit.credentials import Redactor
from crmkit.errors import ServerFault
from crmkit.observers import traces_wanted
from crmkit.observers.traces import Traces
from crmkit.observing import Observers
from tests.connectors.conftest import FakeClock, FakeSecrets
from tests.connectors.test_http import BASE, Plain
from tests.observe.conftest import SECRET


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def observers(exporter: InMemorySpanExporter) -> Observers:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    redactor = Redactor()
    redactor.learn(SECRET)
    found = Observers(redactor.redact)
    found.add(Traces(provider))
    return found


def parents(spans: tuple[ReadableSpan, ...]) -> dict[str, str | None]:
    """Per span, named with its connection, the one around it."""
    names = {
        span.context.span_id: f"{span.name} {(span.attributes or {}).get('crmkit.connection', '')}".strip()
        for span in spans
    }
    return {
        names[span.context.span_id]: names[span.parent.span_id] if span.parent is not None else None
        for span in spans
    }


def test_requests_are_inside_the_work_that_they_are_for(
    observers: Observers, exporter: InMemorySpanExporter
) -> None:
    def request(connection: str) -> None:
        with observers.span("request", connection=connection, label="GET /deals", attempt=1):
            pass

    with observers.span("run", sync="main"):
        with (
            observers.span("pull", connection="one"),
            observers.span("pull", connection="two"),
            ThreadPoolExecutor() as pool,
        ):
            list(pool.map(request, ["one", "two"]))
        with observers.span("write", sync="main"):
            request("three")
    assert parents(exporter.get_finished_spans()) == {
        "request one": "pull one",
        "request two": "pull two",
        "request three": "write",
        "pull one": "run",
        "pull two": "run",
        "write": "run",
        "run": None,
    }


@responses.activate
def test_no_secret_and_no_text_of_an_error_is_in_a_span(
    observers: Observers, exporter: InMemorySpanExporter, clock: FakeClock
) -> None:
    context = Context("small", FakeSecrets(), clock=clock, observer=observers)
    http = Http(context, base_url=BASE, dialect=Plain(), limits={}, hosts=r".*\.small\.test")
    responses.get(f"{BASE}/deals", status=503, body=SECRET)
    with pytest.raises(ServerFault), observers.span("pull", connection="small", name=SECRET):
        http.send(Call("GET", "/deals", label=f"GET /{SECRET}"))
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["request"] * 5 + ["pull"]
    assert [span.status.description for span in spans] == [None] * 5 + ["ServerFault"]
    assert (spans[1].attributes or {})["http.response.status_code"] == 503
    assert (spans[1].attributes or {})["http.request.resend_count"] == 2
    assert all(
        "ss\\" not in json.loads(span.to_json())["attributes"].get("crmkit.label", "") for span in spans
    )
    assert not any("s3cret" in span.to_json() for span in spans)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
    ],
)
def test_the_standard_variables_decide(environ: dict[str, str], wanted: bool) -> None:
    assert traces_wanted(environ) is wanted


def test_nothing_is_imported_while_it_is_off() -> None:
    code = (
        "import sys, crmkit.cli, crmkit.commands.sync, crmkit.observers as o; "
        "from crmkit.session import Session; from crmkit.config import Config, Settings; "
        "o.attach(Session(Config(None, Settings(), {})), None, {}); "
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'prometheus_client', 'apprise'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
