"""What is told: only documented fields, never a secret, and at the right moments."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import responses

import crmkit
from crmkit.connectors.base import Context
from crmkit.connectors.http import Call, Http
from crmkit.connectors.pacing import Window
from crmkit.credentials import Redactor
from crmkit.errors import Busy, NetworkFault
from crmkit.observing import EVENTS, LONGEST_TEXT, SPAN_FIELDS, Level, Observers, Sink, Value
from crmkit.sync import run, schema
from crmkit.sync.lease import hold
from crmkit.sync.recover import Recovery
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock, FakeSecrets
from tests.connectors.test_http import BASE, Plain
from tests.observe.conftest import SECRET

DOCS = Path(crmkit.__file__).parents[1] / "docs" / "observe.md"
READ = Call("GET", "/deals", label="GET /deals")


class Notebook(Sink):
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Value]]] = []

    def event(self, name: str, level: Level, fields: Mapping[str, Value]) -> None:
        self.events.append((name, dict(fields)))

    def named(self, name: str) -> list[dict[str, Value]]:
        return [fields for one, fields in self.events if one == name]


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def observers(notebook: Notebook) -> Observers:
    redactor = Redactor()
    redactor.learn(SECRET)
    found = Observers(redactor.redact)
    found.add(notebook)
    return found


@pytest.fixture
def http(make_context: Callable[..., Context], clock: FakeClock, observers: Observers) -> Http:
    context = make_context("small-eu")
    context = Context("small-eu", context.secrets, clock=clock, observer=observers)
    limits = {"default": Window(2, 10)}
    return Http(context, base_url=BASE, dialect=Plain(), limits=limits, hosts=r".*\.small\.test")


def calls(method: str) -> list[tuple[str, str, set[str]]]:
    """Every call of `.event(...)` or `.span(...)` in crmkit: where, the names and the fields."""
    found = []
    for path in Path(crmkit.__file__).parent.rglob("*.py"):
        text = path.read_text("utf-8")
        if f".{method}(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == method and node.args:
                names = [one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)]
                fields = {word.arg for word in node.keywords if word.arg}
                found += [(path.name, name, fields) for name in names if isinstance(name, str)]
    return found


def test_every_event_of_the_code_is_documented_with_its_fields() -> None:
    told = [(where, name, fields) for where, name, fields in calls("event") if name in EVENTS]
    assert {name for _, name, _ in told} == set(EVENTS)
    for where, name, fields in told:
        allowed = set(EVENTS[name].fields) | ({"error"} if name == "run_end" else set())
        allowed |= {"read", "writes", "held"} if name == "run_failed" else set()
        assert fields <= allowed, (where, name)


def test_every_span_of_the_code_has_known_fields() -> None:
    assert {name for _, name, _ in calls("span")} >= {"run", "plan", "pull", "write", "request"}
    assert all(fields <= SPAN_FIELDS for where, _, fields in calls("span") if where != "observing.py")


def test_the_page_lists_every_event_and_field() -> None:
    page = DOCS.read_text("utf-8")
    for name, event in EVENTS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| {event.level.name.lower()} |" in row
        assert all(f"`{field}`" in row for field in event.fields), name


def test_a_field_that_is_not_documented_gets_nowhere(observers: Observers, notebook: Notebook) -> None:
    observers.event("page", connection="one", kind="deal", name="Acme: 500 seats", records=3)
    assert notebook.events == [("page", {"connection": "one", "kind": "deal", "records": 3})]


def test_texts_are_masked_and_cut(observers: Observers, notebook: Notebook) -> None:
    observers.event("retry", label=f"GET /{SECRET}/x", error="e" * 5000)
    ((_, fields),) = notebook.events
    assert SECRET not in str(fields["label"])
    assert len(str(fields["error"])) == LONGEST_TEXT


@responses.activate
def test_a_request_that_is_sent_again_tells_each_try(http: Http, notebook: Notebook) -> None:
    responses.get(f"{BASE}/deals", status=502)
    responses.get(f"{BASE}/deals", json=[1])
    http.send(READ)
    tries = [(one["attempt"], one["status"], one["label"]) for one in notebook.named("request")]
    assert tries == [(1, 502, "GET /deals"), (2, 200, "GET /deals")]
    (again,) = notebook.named("retry")
    assert (again["error"], again["attempt"], again["connection"]) == ("ServerFault", 1, "small-eu")


@responses.activate
def test_waiting_for_a_limit_is_told_once_it_takes_a_second(http: Http, notebook: Notebook) -> None:
    responses.get(f"{BASE}/deals", json=[1])
    http.send(READ)
    assert notebook.named("wait") == []
    http.send(READ)
    (wait,) = notebook.named("wait")
    assert (wait["limit"], wait["seconds"]) == ("default", 10.0)
    assert notebook.named("request")[1]["waited"] == 10.0


@responses.activate
def test_a_request_without_an_answer_tells_the_kind_of_error_only(http: Http, notebook: Notebook) -> None:
    responses.get(f"{BASE}/deals", body=OSError(f"https://{SECRET}@host"))
    with pytest.raises(NetworkFault):
        http.send(READ)
    assert [one["error"] for one in notebook.named("request")] == ["NetworkFault"] * 5
    assert all("status" not in one for one in notebook.named("request"))
    assert SECRET not in repr(notebook.events)


def test_a_lease_that_is_taken_over_and_one_that_is_lost_are_told(
    state: State, clock: FakeClock, observers: Observers, notebook: Notebook
) -> None:
    with hold(state, "sync:main", clock.now, observers):
        pass
    assert notebook.events == []  # it was given back
    with state.write() as db:  # its holder was killed
        until = clock.now() + timedelta(minutes=2)
        db.execute(schema.leases.update().values(expires_at=until))
    with hold(state, "sync:main", clock.now, observers) as lease:
        assert notebook.events == [("lease_taken_over", {"lease": "sync:main", "epoch": 2})]
        with state.write() as db:
            db.execute(schema.leases.update().values(epoch=3))
        with pytest.raises(Busy), state.write() as db:
            lease.guard(db)
    assert notebook.events[1:] == [("lease_lost", {"lease": "sync:main", "epoch": 2})]


def test_what_became_of_earlier_writes_is_told(
    state: State, clock: FakeClock, observers: Observers, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Recovery(adopted=1, dropped=2, waiting=3)
    monkeypatch.setattr(run, "Recoverer", lambda *_: SimpleNamespace(run=lambda: found))
    context = Context("one", FakeSecrets(), clock=clock, observer=observers)
    member = SimpleNamespace(connector=SimpleNamespace(context=context))
    group = SimpleNamespace(name="main", members={"one": member})
    sync = run.SyncRun(group, state, clock)  # type: ignore[arg-type]
    with sync.lease() as lease, sync.numbered("sync"):
        sync._recover(lease)
    assert [name for name, _ in notebook.events] == ["run_begin", "recovered", "written", "run_end"]
    assert notebook.events[1][1] == {
        "run": 1, "sync": "main", "adopted": 1, "dropped": 2, "waiting": 3, "settling": 0,
    }  # fmt: skip


@responses.activate
def test_nothing_is_measured_where_nobody_listens(make_context: Callable[..., Context]) -> None:
    context = make_context("small-eu")
    assert not context.observer.active
    responses.get(f"{BASE}/deals", json=[1])
    http = Http(context, base_url=BASE, dialect=Plain(), limits={}, hosts=r".*\.small\.test")
    assert http.send(READ).rows() == [1]
