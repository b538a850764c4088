"""Before anything is created, what exists on both sides is linked or held."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from crmkit.model import Kind, Ref
from crmkit.sync.decisions import Book
from crmkit.sync.matching import Matcher, Matching
from crmkit.sync.state import State
from tests.sync.engine import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).add("a", "b")


@pytest.fixture
def state(bench: Bench) -> Iterator[State]:
    state = bench.state()
    yield state
    state.close()


def match(bench: Bench, state: State) -> Matching:
    bench.pull(state)
    with state.read() as db:
        return Matcher(bench.group(state), db).run()


def linked(found: Matching, kind: Kind = Kind.DEAL) -> set[frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for link in found.links:
        if link.kind is kind:
            groups.setdefault(link.entity, set()).add(f"{link.connection}{link.native_id}")
    return {frozenset(group) for group in groups.values()}


def held(found: Matching) -> set[str]:
    return {f"{ref.connection}{ref.id}" for ref in found.held}


def say(state: State, one: Ref, other: Ref, *, same: bool, bench: Bench) -> None:
    with state.write() as db:
        book = Book(db, one.kind, list(bench.boxes))
        (book.same if same else book.different)(one, other, bench.clock.now())


def test_the_same_deal_of_the_same_company_is_one(bench: Bench, state: State) -> None:
    for name in "ab":
        bench[name].company("c", "Acme", domain="acme.com")
        bench[name].deal("d", companies=("c",), expected_close=date(2026, 12, 31))
    assert linked(match(bench, state)) == {frozenset({"ad", "bd"})}


def test_both_sides_of_an_ambiguity_are_held(bench: Bench, state: State) -> None:
    for name, natives in (("a", "12"), ("b", "3")):
        bench[name].company("c", "Acme", domain="acme.com")
        for native in natives:
            bench[name].deal(native, name="Same", companies=("c",), expected_close=date(2026, 12, 31))
    found = match(bench, state)
    assert (linked(found), held(found)) == (set(), {"a1", "a2", "b3"})


def test_both_sides_of_a_suggestion_are_held(bench: Bench, state: State) -> None:
    bench["a"].company("c", "Nordwind Logistik", city="Bonn")
    bench["b"].company("k", "Nordwnd Logistik", city="Bonn")
    found = match(bench, state)
    assert held(found) == {"ac", "bk"}
    assert "b:company:k" in found.held[Ref("a", Kind.COMPANY, "c")]


def test_deals_of_a_company_that_waits_wait_with_it(bench: Bench, state: State) -> None:
    bench["a"].company("c", "Nordwind Logistik", city="Bonn")
    bench["b"].company("k", "Nordwnd Logistik", city="Bonn")
    bench["a"].deal("d", companies=("c",))
    bench["a"].deal("free")
    assert held(match(bench, state)) == {"ac", "bk", "ad"}


def test_a_group_waits_while_a_third_crm_may_have_its_record_too(bench: Bench, state: State) -> None:
    bench.add("c")
    for name in "abc":
        bench[name].company("x", "Acme Tools", domain="acme.com", city="Bonn")
    bench["c"].company("y", "Acme Tools", domain="acme.com", city="Bonn")
    found = match(bench, state)
    assert (linked(found, Kind.COMPANY), held(found)) == (set(), {"ax", "bx", "cx", "cy"})


def test_a_persons_yes_links(bench: Bench, state: State) -> None:
    one, other = bench["a"].company("c", "Acme").ref, bench["b"].company("k", "Zeta").ref
    bench.pull(state)
    say(state, one, other, same=True, bench=bench)
    found = match(bench, state)
    assert linked(found, Kind.COMPANY) == {frozenset({"ac", "bk"})}
    assert {link.evidence for link in found.links} == {"decided"}


def test_a_persons_no_frees_both(bench: Bench, state: State) -> None:
    one = bench["a"].company("c", "Nordwind Logistik", city="Bonn").ref
    other = bench["b"].company("k", "Nordwnd Logistik", city="Bonn").ref
    bench["a"].deal("d", companies=("c",))
    bench.pull(state)
    say(state, one, other, same=False, bench=bench)
    assert held(match(bench, state)) == set()


def test_what_is_held_is_created_nowhere_and_after_a_no_everywhere(bench: Bench, state: State) -> None:
    for name, price in (("a", "1234.50"), ("b", "1300")):
        bench[name].company("c", "Acme", domain="acme.com")
        bench[name].deal(
            name, name="Renewal", amount=Decimal(price), companies=("c",), expected_close=date(2026, 12, 31)
        )
    bench["b"].edit("b", name="Something else")
    first = bench.sync()
    assert (first.writes, first.exit_code) == (0, 4)
    say(state, Ref("a", Kind.DEAL, "a"), Ref("b", Kind.DEAL, "b"), same=False, bench=bench)
    second = bench.sync()
    assert second.count("created") == 2
    assert bench.sync().writes == 0


def test_what_is_held_is_linked_and_not_created_after_a_yes(bench: Bench, state: State) -> None:
    for name, price in (("a", "1234.50"), ("b", "1300")):
        bench[name].company("c", "Acme", domain="acme.com")
        bench[name].deal(
            name,
            name=f"{name} thing",
            amount=Decimal(price),
            companies=("c",),
            expected_close=date(2026, 12, 31),
        )
    assert bench.sync().count("created") == 0
    say(state, Ref("a", Kind.DEAL, "a"), Ref("b", Kind.DEAL, "b"), same=True, bench=bench)
    bench.sync()
    assert {name: len(bench[name].deals()) for name in "ab"} == {"a": 1, "b": 1}


def test_kinds_of_which_nothing_changed_are_not_looked_at_again(bench: Bench, state: State) -> None:
    bench["a"].company("c", "Nordwind Logistik", city="Bonn")
    bench["b"].company("k", "Nordwnd Logistik", city="Bonn")
    bench.sync()
    bench["a"].deal("d", companies=("c",))
    found = match(bench, state)
    assert Kind.COMPANY not in found.examined
    assert held(found) == {"ac", "bk", "ad"}
