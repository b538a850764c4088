"""Metrics are read by Prometheus' own parser, hold no secret, and never start again at zero."""

from __future__ import annotations

import socket
import stat
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from crmkit.errors import CrmkitError
from crmkit.observe_settings import ObserveSettings
from crmkit.observers import attach
from crmkit.observers.metrics import serve_metrics
from crmkit.sync import run_usage, schema, told
from crmkit.sync.run_usage import RunUsage
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock
from tests.observe.conftest import SECRET, MakeSession

Samples = dict[str, dict[tuple[str, ...], float]]


def parsed(text: str) -> Samples:
    """Per metric the samples, by the values of their labels in the order of the labels' names."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = (
                sample.value
            )
    return found


def ran(state: State, clock: FakeClock, command: str, of: str, outcome: str, *usages: RunUsage) -> None:
    """A run that took five seconds."""
    with state.write() as db:
        began = clock.now()
        values = {"command": command, "connection": of, "started_at": began, "outcome": outcome}
        done = db.execute(schema.runs.insert().values(**values, ended_at=began + timedelta(seconds=5)))
        run_usage.keep(db, done.inserted_primary_key[0], usages)


def test_the_text_file_sums_over_all_runs(
    make_session: MakeSession, state: State, clock: FakeClock, tmp_path: Path
) -> None:
    session = make_session(observe={"textfile": "crmkit.prom"})
    attach(session, None, {})
    ran(state, clock, "pull", "one", "done", RunUsage("one", read=40, changed=7, requests=5))
    ran(state, clock, "pull", "one", "failed", RunUsage("one", requests=2, waited_seconds=1.5))
    writes = (
        RunUsage("one", created=2, refused=1, requests=3),
        RunUsage("two", updated=4),
        RunUsage("", held=6),
    )
    ran(state, clock, "sync", "main", "exit 4", *writes)
    session.observer.event("run_end", run=3)
    for leave in session.leaving:
        leave(state)
    path = tmp_path / "crmkit.prom"
    found = parsed(path.read_text())
    assert found["crmkit_runs_total"] == {
        ("pull", "one", "done"): 1, ("pull", "one", "failed"): 1, ("sync", "main", "exit 4"): 1,
    }  # fmt: skip
    assert found["crmkit_requests_total"] == {("one",): 10, ("two",): 0}
    assert found["crmkit_waited_seconds_total"][("one",)] == 1.5
    assert found["crmkit_records_read_total"][("one",)] == 40
    assert found["crmkit_writes_total"][("one", "created", "main")] == 2
    assert found["crmkit_writes_total"][("two", "updated", "main")] == 4
    assert found["crmkit_last_run_held"] == {("main",): 6}
    assert found["crmkit_run_last_seconds"][("sync", "main")] == 5
    success = found["crmkit_run_last_success_timestamp_seconds"]
    assert success[("pull", "one")] == (clock.now() + timedelta(seconds=5)).timestamp()
    # node_exporter runs as another user; nothing half written is left beside it.
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in tmp_path.iterdir() if "prom" in one.name] == ["crmkit.prom"]


def test_no_secret_reaches_a_metric(
    make_session: MakeSession, state: State, clock: FakeClock, tmp_path: Path
) -> None:
    session = make_session(observe={"textfile": "crmkit.prom"})
    session.redactor.learn(SECRET)
    attach(session, None, {})
    ran(state, clock, "pull", SECRET, "failed", RunUsage(SECRET, requests=2))
    session.observer.event("run_end", run=1)
    for leave in session.leaving:
        leave(state)
    text = (tmp_path / "crmkit.prom").read_text()
    assert "ss\\\\w" not in text
    assert set(parsed(text)["crmkit_requests_total"]) == {("•••",)}


def test_the_file_is_not_touched_where_nothing_ran(
    make_session: MakeSession, state: State, tmp_path: Path
) -> None:
    session = make_session(observe={"textfile": "crmkit.prom"})
    attach(session, None, {})
    for leave in session.leaving:
        leave(state)
    assert not (tmp_path / "crmkit.prom").exists()


def test_a_file_that_cannot_be_written_is_a_warning(make_session: MakeSession, state: State) -> None:
    session = make_session(observe={"textfile": "nowhere/crmkit.prom"})
    attach(session, None, {})
    session.observer.event("run_end", run=1)
    for leave in session.leaving:
        leave(state)
    (warning,) = session.warnings
    assert warning.startswith("the metrics were not written to ")


def test_the_collector_reads_only_files_of_its_ending() -> None:
    with pytest.raises(ValidationError, match=r"must end with \.prom"):
        ObserveSettings(textfile=Path("crmkit.txt"))


def test_a_long_lived_command_serves_what_it_does_now(
    make_session: MakeSession, state: State, clock: FakeClock
) -> None:
    session = make_session()
    ran(state, clock, "pull", "one", "done", RunUsage("one", requests=5))
    with state.write() as db:
        told.replace(db, "main", [told.Known("failed", clock.now(), told_at=clock.now())])
    serving = serve_metrics(0, session, state)
    try:
        session.observer.event("request", connection="one", label="x", status=200, seconds=0.2, waited=1.0)
        session.observer.event("request", connection="one", label="x", error="NetworkFault", seconds=9.0)
        session.observer.event("retry", connection="one", label="x", error="NetworkFault", attempt=1)
        with urllib.request.urlopen(f"http://127.0.0.1:{serving.port}/metrics") as answer:
            found = parsed(answer.read().decode())
    finally:
        serving.stop()
    assert found["crmkit_http_requests_total"] == {("one", "200"): 1, ("one", "NetworkFault"): 1}
    assert found["crmkit_http_retries_total"] == {("one", "NetworkFault"): 1}
    assert found["crmkit_http_request_seconds_sum"][("one",)] == pytest.approx(9.2)
    assert found["crmkit_http_waited_seconds_total"][("one",)] == 1
    assert found["crmkit_requests_total"] == {("one",): 5}
    assert found["crmkit_alert"] == {("failed", "main"): 1}


def test_a_port_that_is_taken_is_said_plainly(make_session: MakeSession, state: State) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(CrmkitError, match="cannot be served"),
    ):
        serve_metrics(taken.getsockname()[1], make_session(), state)
