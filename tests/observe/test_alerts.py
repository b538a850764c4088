"""People are told over HTTP; what goes wrong with that never changes how a run ended."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from crmkit.alerts import after_run
from crmkit.errors import AccessDenied
from crmkit.session import Session
from crmkit.sync import schema, tables, told
from crmkit.sync.plan import Held
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock
from tests.observe.conftest import Listener, MakeSession
from tests.observe.test_events import Notebook


@pytest.fixture
def session(make_session: MakeSession, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("CRMKIT_NOTIFY_HOOK_URL", f"json://{listener.place}/tok3nT0k3n?format=text")
    stages = {"stages": {"Sales": {"a": "meeting", "b": "proposal"}}}
    return make_session(
        alerts={"to": ["hook"], "drift_deals": 2},
        connections={"one": {"crm": "memory", **stages}, "two": {"crm": "memory", **stages}},
    )


def heard(listener: Listener) -> list[str]:
    return [json.loads(body)["message"] for _, body in listener.posts]


def later(clock: FakeClock, hours: float) -> None:
    clock._now += timedelta(hours=hours)


def deal(state: State, entity: str, stages: tuple[str, str], status: str = "live") -> None:
    """A deal that both CRMs hold, in these stages."""
    with state.write() as db:
        for connection, stage in zip(("one", "two"), stages, strict=True):
            known = {"connection": connection, "id": entity, "observed_at": "2026-11-23T00:00:00+00:00"}
            columns = ", ".join([*known, "name", "pipeline_id", "stage_id", "outcome", "value_period",
                                 "companies", "contacts", "tags", "custom", "archived"])  # fmt: skip
            values = [*known.values(), "x", "p", stage, "open", "one_time", "[]", "[]", "[]", "{}", 0]
            places = ", ".join("?" * len(values))
            db.exec_driver_sql(f"INSERT INTO deals ({columns}) VALUES ({places})", tuple(values))
            db.execute(
                tables.links.insert().values(
                    sync="main", connection=connection, kind="deal", native_id=entity, entity=entity,
                    status=status, base="{}", evidence="test", rebuilt=False,
                )
            )  # fmt: skip


def with_pipelines(state: State, clock: FakeClock) -> None:
    with state.write() as db:
        for name in ("one", "two"):
            db.execute(
                schema.pipelines.insert().values(
                    connection=name, id="p", name="Sales", order=0, archived=False, observed_at=clock.now()
                )
            )
            for order, stage in enumerate("ab"):
                db.execute(
                    schema.stages.insert().values(
                        connection=name, pipeline_id="p", id=stage, name=stage, order=order, outcome="open",
                        archived=False,
                    )
                )  # fmt: skip


def test_a_failure_is_told_once_then_again_after_a_day_then_as_resolved(
    session: Session, state: State, listener: Listener, clock: FakeClock
) -> None:
    error = AccessDenied("one: the credentials are refused")
    for _ in range(3):
        assert after_run(session, state, "main", 7, error=error) == []
        later(clock, 1)
    assert len(listener.posts) == 1
    assert heard(listener)[0].startswith("failed: the credentials are refused. Run `crmkit doctor`.")
    later(clock, 24)
    after_run(session, state, "main", 7, error=error)
    after_run(session, state, "main", 0)
    after_run(session, state, "main", 0)
    assert [line.partition(":")[0] for line in heard(listener)] == ["failed", "failed, still", "failed"]
    assert "resolved; it lasted since 2026-11-23 12:00 UTC" in heard(listener)[2]


def test_who_cannot_be_told_is_a_warning_and_is_told_by_the_next_run(
    session: Session, state: State, listener: Listener
) -> None:
    notebook = Notebook()
    session.observer.add(notebook)
    listener.status = 403
    (warning,) = after_run(session, state, "main", 6)
    assert warning.startswith("main: hook was not told: the service answered 403.")
    assert "tok3n" not in warning
    assert notebook.named("alert_failed") == [{"sync": "main", "alert": "guard", "target": "hook"}]
    listener.status = 200
    assert after_run(session, state, "main", 6) == []
    assert len(listener.posts) == 2
    assert notebook.named("alert") == [{"sync": "main", "alert": "guard", "status": "new"}]


def test_without_apprise_it_is_a_warning_too(
    session: Session, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    (warning,) = after_run(session, state, "main", 6)
    assert "pip install 'crmkit[notify]'" in warning


def test_a_mistake_in_looking_is_a_warning_too(
    session: Session, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("s3cret")

    monkeypatch.setattr("crmkit.alerts.findings", broken)
    (warning,) = after_run(session, state, "main", 6)
    assert warning == "main: nobody was told about it: a mistake in crmkit (KeyError)"


def test_nobody_is_told_where_nobody_is_named(make_session: MakeSession, state: State) -> None:
    assert after_run(make_session(), state, "main", 1) == []


def test_a_topic_that_is_not_asked_for_is_forgotten_silently(
    make_session: MakeSession, state: State, clock: FakeClock, listener: Listener
) -> None:
    with state.write() as db:
        told.replace(db, "main", [told.Known("drift", clock.now(), 1, clock.now())])
    session = make_session(alerts={"to": ["hook"], "on": ["guard"]})
    assert after_run(session, state, "main", 1) == []
    with state.read() as db:
        assert told.known(db, "main") == []
    assert listener.posts == []


def test_conflicts_are_told_once_they_have_waited_long_enough(
    session: Session, state: State, listener: Listener, clock: FakeClock
) -> None:
    with state.write() as db:
        for entity, winner in (("a", None), ("b", None), ("c", "one")):
            db.execute(
                tables.conflicts.insert().values(
                    sync="main", entity=entity, field="amount", reason="both edited: Acme", candidates="[]",
                    since=clock.now(), winner=winner, frozen=False,
                )
            )  # fmt: skip
    after_run(session, state, "main", 4)
    assert listener.posts == []
    later(clock, 73)
    after_run(session, state, "main", 4)
    (line,) = heard(listener)
    assert line.startswith("conflicts: 2 conflicts wait for a person, the oldest for 3.0 days.")
    assert "Acme" not in line


def test_deals_that_differ_without_a_write_in_sight_are_told(
    session: Session, state: State, listener: Listener, clock: FakeClock
) -> None:
    with_pipelines(state, clock)
    for name, stages in (("d1", "aa"), ("d2", "ab"), ("d3", "ab"), ("d4", "ab"), ("d5", "ba")):
        deal(state, name, (stages[0], stages[1]))
    deal(state, "dead", ("a", "b"), status="dead")
    with state.write() as db:
        db.execute(tables.pending.insert().values(sync="main", entity="d4"))
    held = Held("unwritable", "one", "d5", "Deal", "stage", "cannot be")
    after_run(session, state, "main", 0, held=[held])
    (line,) = heard(listener)
    assert line.startswith("drift: 2 linked deals differ in stage or amount, and no write is planned.")
    # A run that left writes undone says nothing about drift, so it is not over either.
    after_run(session, state, "main", 5)
    assert len(listener.posts) == 1
