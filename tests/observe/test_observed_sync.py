"""A sync over two sandbox CRMs with everything on: logs, history, metrics, traces and alerts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from crmkit.observing import EVENTS
from crmkit.sandbox.server import Sandbox
from tests.observe.conftest import Listener
from tests.observe.test_metrics import parsed
from tests.scenarios.conftest import Crmkit
from tests.scenarios.syncing import Desk, open_desk

Up = Callable[..., Sandbox]
LOG = ("--log-format", "json", "--log-level", "debug", "--log-file", "crmkit.log")


@pytest.fixture
def desk(crmkit: Crmkit, up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: Listener) -> Desk:
    desk = open_desk(crmkit, up, tmp_path, monkeypatch, ["hubspot", "bitrix24"], deals=10)
    path = tmp_path / "crmkit.toml"
    extra = '\n[observe]\ntextfile = "crmkit.prom"\n[alerts]\nto = ["hook"]\n'
    path.write_text(path.read_text("utf-8") + extra, "utf-8")
    (secrets,) = {one.parent for one in tmp_path.rglob("hubspot.*") if one.is_file()}
    secret = secrets / "notify.hook_url"
    secret.touch(0o600)
    secret.write_text(f"json://{listener.place}/tok3nT0k3n?format=text")
    return desk


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "crmkit.log").read_text("utf-8").splitlines()]


def spans(listener: Listener) -> list[tuple[str, str, set[str]]]:
    """Every span that was exported: its name, the name of the one around it, its attributes."""
    found = []
    for body in listener.bodies("/v1/traces"):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                found += list(scope.spans)
    names = {span.span_id: span.name for span in found}
    return [
        (span.name, names.get(span.parent_span_id, ""), {one.key for one in span.attributes})
        for span in found
    ]


def test_what_a_sync_does_can_be_seen_everywhere_and_no_secret_anywhere(
    desk: Desk, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = desk.folder
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{listener.place}")

    # The first sync of two filled CRMs stops at a guard, and somebody is told.
    assert desk.crmkit(*LOG, "sync", "main").code == 6
    (told,) = listener.bodies("/tok3nT0k3n")
    assert json.loads(told)["message"].startswith("guard: a guard stopped it before its first write.")
    guards = [one for one in lines(folder) if one["event"] == "guard"]
    assert {one["guard"] for one in guards} >= {"creates"}
    assert parsed((folder / "crmkit.prom").read_text())["crmkit_alert"] == {("guard", "main"): 1}

    # Confirmed, it writes; whoever was told hears that it is over.
    done = desk.confirmed(*LOG, "sync", "main")
    assert done.code in (0, 4), done.err
    assert "guard: resolved" in json.loads(listener.bodies("/tok3nT0k3n")[-1])["message"]

    code, listed = desk.shown("runs", "main")
    number = listed[0]["run"]
    code, run = desk.shown("runs", str(number))
    crms = {one["connection"]: one for one in run["crms"]}
    assert code == 0
    assert {"hubspot", "bitrix24"} <= set(crms)
    assert sum(one["created"] + one["updated"] for one in crms.values()) == run["writes"] > 0
    assert sum(one["requests"] for one in crms.values()) == run["requests"] > 0
    assert run["created"] == sum(one["created"] for one in crms.values())
    shown = desk.crmkit("runs", str(number))
    assert shown.code == 0
    assert shown.out.startswith(f"Run {number}: sync main, started ")
    assert "hubspot" in shown.out
    assert desk.crmkit("runs", "999").code == 2

    metrics = parsed((folder / "crmkit.prom").read_text())
    assert metrics["crmkit_writes_total"][("hubspot", "created", "main")] == crms["hubspot"]["created"]
    assert "crmkit_alert" not in metrics

    logged = lines(folder)
    for one in logged:
        assert set(one) <= {"time", "level", "event", *EVENTS[one["event"]].fields}, one
    assert {one["event"] for one in logged} >= {"request", "page", "run_begin", "run_end", "written", "alert"}
    requests = [one for one in logged if one["event"] == "request" and one["connection"] == "hubspot"]
    assert all(one["status"] < 400 and one["seconds"] >= 0 for one in requests)

    found = spans(listener)
    inside = {(name, parent) for name, parent, _ in found}
    assert inside >= {("run", ""), ("pull", "run"), ("plan", "run"), ("write", "run"), ("request", "pull")}
    assert {("request", "write"), ("request", "run")} & inside
    known = {"http.response.status_code", "http.request.resend_count", "error.type"}
    assert {name for *_, names in found for name in names if not name.startswith("crmkit.")} <= known

    texts = [(folder / "crmkit.log").read_text(), (folder / "crmkit.prom").read_text()]
    texts += [body.decode("utf-8", "replace") for body in listener.bodies("/v1/traces")]
    for path in (folder / "crmkit.toml").parent.rglob("*"):
        if path.is_file() and path.name.partition(".")[0] in ("hubspot", "bitrix24", "notify"):
            secret = path.read_text().strip()
            assert secret
            assert not any(secret in text for text in texts), path.name
    names = {row.name for app in desk.box.apps.values() for row in app.world.deals.values()}
    assert names
    assert not any(name in text for name in names for text in texts)


def test_a_collector_that_is_away_and_a_lost_text_file_change_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    path = desk.folder / "crmkit.toml"
    path.write_text(path.read_text().replace('"crmkit.prom"', '"nowhere/crmkit.prom"'))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    listener.status = 403
    done = desk.crmkit("sync", "main")
    assert done.code == 6
    warnings = [line for line in done.err.splitlines() if line.startswith("Warning: ")]
    assert len(warnings) == 2
    assert "hook was not told" in done.err
    assert "the metrics were not written to" in done.err
    written = json.loads(desk.confirmed("--json", "sync", "main").out)
    assert written["exit_code"] in (0, 4)
    (warning,) = written["warnings"]  # nobody heard of the guard, so nobody hears that it is over
    assert "the metrics were not written to" in warning


def test_a_log_goes_to_stderr_if_no_file_is_named_and_nowhere_if_not_asked_for(
    crmkit: Crmkit, up: Up
) -> None:
    up("close", deals=3)
    logged = crmkit("--log-format", "text", "-q", "pull")
    assert [line.split()[2] for line in logged.err.splitlines()] == ["run_begin", "run_end"]
    silent = crmkit("-q", "pull")
    assert silent.err == ""
    refused = crmkit("--log-file", "nowhere/crmkit.log", "pull")
    assert (refused.code, refused.out) == (2, "")
