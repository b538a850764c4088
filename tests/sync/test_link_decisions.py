"""A person's word about two records is checked, remembered, replaced, and seen by the next plan."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from crmkit.errors import UsageError
from crmkit.model import Kind, Ref
from crmkit.sync import tables
from crmkit.sync.decisions import Book, Verdict, decided, part, recorded
from crmkit.sync.hub import Entity, Hub, Link
from crmkit.sync.state import State
from tests.sync.engine import Bench

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def ref(text: str) -> Ref:
    """`a1` is company 1 of connection a."""
    return Ref(text[0], Kind.COMPANY, text[1:])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path).add("a", "b", "c")
    for name in "abc":
        for native in "12":
            bench[name].company(native, f"Company {name}{native}")
    return bench


@pytest.fixture
def state(bench: Bench) -> Iterator[State]:
    state = bench.state()
    bench.pull(state)
    yield state
    state.close()


def say(state: State, verdict: Verdict, one: str, other: str, at: datetime = NOW) -> None:
    with state.write() as db:
        book = Book(db, Kind.COMPANY, "abc")
        (book.same if verdict is Verdict.LINK else book.different)(ref(one), ref(other), at)


def said(state: State) -> list[tuple[str, str, str]]:
    with state.read() as db:
        return [
            (one.connection + one.id, other.connection + other.id, verdict.value)
            for one, other, verdict in recorded(db, Kind.COMPANY)
        ]


def keep_linked(state: State, *members: str, evidence: str = "domain") -> str:
    """Link records in a sync; the entity is named after the first."""
    hub = Hub("main")
    with state.write() as db:
        bench_accounts = {name: ["memory", f"account-{name}"] for name in "abc"}
        db.execute(tables.groups.delete())
        db.execute(
            tables.groups.insert().values(
                sync="main", digest="x", accounts=bench_accounts, generation=1, created_at=NOW
            )
        )
        entity = f"spoke:company:{members[0]}"
        hub.put_entities(db, [Entity(entity, Kind.COMPANY)])
        hub.put_links(
            db,
            [Link(entity, one[0], Kind.COMPANY, one[1:], evidence=evidence) for one in members],
        )
    return entity


def test_a_later_word_replaces_the_earlier_one(state: State) -> None:
    say(state, Verdict.LINK, "a1", "b1")
    say(state, Verdict.NEVER, "b1", "a1", NOW + timedelta(days=1))
    assert said(state) == [("a1", "b1", "never")]


def test_the_records_are_looked_at_by_the_next_plan(state: State) -> None:
    with state.read() as db:
        before = db.execute(sa.select(sa.func.count()).select_from(tables.changes)).scalar_one()
    say(state, Verdict.LINK, "a1", "b1")
    with state.read() as db:
        rows = db.execute(sa.select(tables.changes).order_by(tables.changes.c.number)).all()
    assert [(row.connection, row.kind, row.id) for row in rows[before:]] == [
        ("a", "company", "1"),
        ("b", "company", "1"),
    ]


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("a1", "a2", "same CRM"),
        ("a1", "b9", "not in the local copy"),
        ("a1", "x1", "no connection"),
    ],
)
def test_what_cannot_be_is_refused(state: State, one: str, other: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        say(state, Verdict.LINK, one, other)
    assert said(state) == []


def test_two_records_of_one_crm_cannot_become_one_through_a_third(state: State) -> None:
    say(state, Verdict.LINK, "a1", "b1")
    with pytest.raises(UsageError, match="two records of one CRM"):
        say(state, Verdict.LINK, "a2", "b1")


def test_a_chain_cannot_join_what_was_told_apart(state: State) -> None:
    say(state, Verdict.LINK, "a1", "b1")
    say(state, Verdict.NEVER, "a1", "c1")
    with pytest.raises(UsageError, match="said to be different"):
        say(state, Verdict.LINK, "b1", "c1")


def test_telling_apart_what_a_chain_joins_is_refused(state: State) -> None:
    say(state, Verdict.LINK, "a1", "b1")
    say(state, Verdict.LINK, "b1", "c1")
    with pytest.raises(UsageError, match="the same as a third"):
        say(state, Verdict.NEVER, "a1", "c1")
    assert ("a1", "c1", "never") not in said(state)


def test_a_refused_word_leaves_the_earlier_one(state: State) -> None:
    say(state, Verdict.NEVER, "a2", "b1")
    say(state, Verdict.LINK, "a1", "b1")
    with pytest.raises(UsageError):
        say(state, Verdict.LINK, "a2", "b1")
    assert ("a2", "b1", "never") in said(state)


def test_telling_apart_what_a_sync_linked_says_how_to_part_them(state: State) -> None:
    keep_linked(state, "a1", "b1")
    with pytest.raises(UsageError) as refused:
        say(state, Verdict.NEVER, "a1", "b1")
    assert "links part" in refused.value.hint


def test_stored_links_and_words_are_what_the_ladder_starts_from(state: State) -> None:
    keep_linked(state, "a1", "b1")
    say(state, Verdict.LINK, "a2", "c2")
    say(state, Verdict.NEVER, "b2", "c1")
    with state.read() as db:
        found = decided(db, Kind.COMPANY)
    assert [set(group) for group in found.together] == [{ref("a1"), ref("b1")}, {ref("a2"), ref("c2")}]
    assert found.apart == {frozenset({ref("b2"), ref("c1")})}


def take_out(state: State, one: str) -> list[str]:
    with state.write() as db:
        return [other.connection + other.id for other in part(db, "main", ref(one), NOW)]


def test_a_parted_record_is_free_and_remembered_as_another_one(state: State) -> None:
    entity = keep_linked(state, "a1", "b1", "c1")
    assert take_out(state, "b1") == ["a1", "c1"]
    assert said(state) == [("a1", "b1", "never"), ("b1", "c1", "never")]
    with state.read() as db:
        left = Hub("main").links_of(db, [entity])[entity]
        assert [link.connection for link in left] == ["a", "c"]
        assert Hub("main").pending(db) == {entity}


def test_copies_of_one_another_are_not_parted(state: State) -> None:
    keep_linked(state, "a1", "b1", evidence="created")
    with pytest.raises(UsageError, match="copies"):
        take_out(state, "b1")


def test_a_record_that_is_linked_to_nothing_cannot_be_parted(state: State) -> None:
    with pytest.raises(UsageError, match="not linked"):
        take_out(state, "a1")


def test_parting_the_record_that_names_the_group_keeps_the_others_together(bench: Bench) -> None:
    for name in "abc":
        bench[name].company("9", "Acme", domain="acme.com", city="Bonn")
        bench[name].deal("d", name="Renewal", companies=("9",))
    bench.sync()
    state = bench.state()
    try:
        with state.write() as db:
            partners = part(db, "main", Ref("a", Kind.DEAL, "d"), NOW)
        with state.read() as db:
            every = list(recorded(db, Kind.DEAL))
            links = Hub("main").links_to(db, "a", Kind.DEAL, ["d"])
    finally:
        state.close()
    assert {one.connection for one in partners} == {"b", "c"}
    assert {(one.connection, other.connection): verdict.value for one, other, verdict in every} == {
        ("a", "b"): "never",
        ("a", "c"): "never",
        ("b", "c"): "link",
    }
    assert set(links) == {"d"}


def test_parted_deals_are_two_for_the_next_sync(bench: Bench) -> None:
    bench.boxes.pop("c")
    for name in "ab":
        bench[name].company("9", "Acme", domain="acme.com", city="Bonn")
        bench[name].deal("d", name="Renewal", companies=("9",))
    bench.sync()
    assert {name: len(bench[name].deals()) for name in "ab"} == {"a": 1, "b": 1}
    state = bench.state()
    with state.write() as db:
        part(db, "main", Ref("b", Kind.DEAL, "d"), NOW)
    state.close()
    bench.sync()
    assert {name: len(bench[name].deals()) for name in "ab"} == {"a": 2, "b": 2}
