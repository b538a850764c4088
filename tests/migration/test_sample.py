"""The sample holds the strange deals and one of every sort, whatever order they come in."""

from __future__ import annotations

import random
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crmkit.migration.sample import Context, choose

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
SORTS = ("pipeline_id", "stage_id", "owner_id", "currency", "outcome")


def row(number: int, **values: Any) -> dict[str, Any]:
    """A deal without anything strange."""
    return {
        "id": f"d{number}", "name": f"Deal {number:03}", "pipeline_id": "p1", "stage_id": "s1",
        "outcome": "open", "amount": Decimal(100), "currency": "EUR", "value_period": "one_time",
        "owner_id": "o1",
        "companies": ["c1"], "contacts": [{"id": "k1", "role": None, "primary": True}],
        "expected_close": date(2027, 1, 1), "closed_at": None, "created_at": FIRST + timedelta(days=1),
        "lost_reason": None, "source": None, "tags": [], "custom": {}, **values,
    }  # fmt: skip


def plain(count: int) -> list[dict[str, Any]]:
    return [row(number) for number in range(count)]


VALUES: dict[str, list[Any]] = {
    "name": ["A", "B", "Deal 🚀", "صفقة", "tab\tbed", "long " * 9, ""],
    "pipeline_id": ["p1", "p2"],
    "stage_id": ["s1", "s2", "s3", None],
    "outcome": ["open", "won", "lost"],
    "amount": [None, Decimal(0), Decimal("1.25"), Decimal(-3), Decimal(900)],
    "currency": ["EUR", "USD", None],
    "owner_id": ["o1", "o2", None],
    "companies": [[], ["c1"], ["c1", "c2"]],
    "contacts": [[], [{"id": "k1"}], [{"id": "k1"}, {"id": "k2"}]],
    "created_at": [None, FIRST, FIRST + timedelta(days=9)],
    "tags": [[], ["a"]],
    "custom": [{}, {"x": "1"}, {"x": ["a", "b"]}],
}


@st.composite
def many_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Deals whose values are drawn by one number each, which is quicker than one by one."""
    numbers = draw(st.lists(st.integers(0, 2**30), max_size=40))
    lots = [random.Random(number) for number in numbers]
    return [
        row(at, **{name: lot.choice(values) for name, values in VALUES.items()})
        for at, lot in enumerate(lots)
    ]


def sorts_of(rows: list[dict[str, Any]]) -> set[tuple[str, Any]]:
    # A stage's id may occur in several pipelines.
    return {
        (name, (one["pipeline_id"], one[name]) if name == "stage_id" else one[name])
        for one in rows
        for name in SORTS
    }


quickly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


class TestProperties:
    @quickly
    @given(many_rows(), st.integers(0, 60), st.integers(0, 3), st.randoms())
    def test_the_order_of_the_rows_makes_no_difference(self, rows, size, seed, order: random.Random):
        shuffled = [*rows]
        order.shuffle(shuffled)
        assert choose(shuffled, size, seed=seed) == choose(rows, size, seed=seed)

    @quickly
    @given(many_rows(), st.integers(0, 60))
    def test_as_many_are_chosen_as_asked_for_or_all_there_are(self, rows, size):
        chosen = choose(rows, size, seed=1)
        assert len({one.id for one in chosen}) == len(chosen) == min(size, len(rows))

    @quickly
    @given(many_rows())
    def test_every_value_appears_if_the_size_allows(self, rows):
        # Each mark and each sort takes one deal at the most.
        size = min(len(rows), 33 + len(sorts_of(rows)))
        ids = {one.id for one in choose(rows, size, seed=1)}
        assert sorts_of([one for one in rows if one["id"] in ids]) == sorts_of(rows)

    @quickly
    @given(many_rows(), st.integers(1, 60))
    def test_everyone_has_a_reason(self, rows, size):
        assert all(one.reasons for one in choose(rows, size, seed=1))

    @quickly
    @given(many_rows(), st.integers(1, 60))
    def test_a_deal_that_comes_twice_counts_once(self, rows, size):
        assert choose([*rows, *rows], size, seed=1) == choose(rows, size, seed=1)


STRANGE = {
    "longest name": {"name": "x" * 300},
    "largest amount": {"amount": Decimal("1e9")},
    "most decimals in its amount": {"amount": Decimal("1.005")},
    "negative amount": {"amount": Decimal(-1)},
    "amount of zero": {"amount": Decimal("0.00")},
    "no amount": {"amount": None},
    "emoji in its name": {"name": "Deal 🚀"},
    "right-to-left name": {"name": "صفقة"},
    "control characters in its name": {"name": "Deal\x07"},
    "most people": {"contacts": [{"id": "k1"}, {"id": "k2"}]},
    "nobody on it": {"contacts": []},
    "no company": {"companies": []},
    "several companies": {"companies": ["c1", "c2"]},
    "no owner": {"owner_id": None},
    "an owner who left": {"owner_id": "gone"},
    "oldest": {"created_at": FIRST},
    "newest": {"created_at": FIRST + timedelta(days=99)},
    "closed longest ago": {"closed_at": FIRST},
    "most custom values": {"custom": {"a": "1", "b": True}},
    "multi-select with most options": {"custom": {"a": ["1", "2"]}},
    "most tags": {"tags": ["a", "b"]},
    "no day to close": {"expected_close": None},
    "an amount that recurs": {"value_period": "monthly"},
}


class TestStrange:
    @pytest.mark.parametrize("reason", STRANGE)
    def test_what_is_strange_is_in_and_says_why(self, reason: str):
        odd = row(999, **STRANGE[reason])
        chosen = choose([*plain(200), odd], 10, seed=1, context=Context(inactive={"gone"}))
        assert reason in next(one.reasons for one in chosen if one.id == "d999")

    def test_the_deal_with_most_notes_is_in(self):
        chosen = choose(plain(200), 10, seed=1, context=Context(notes={"d7": 30, "d8": 2}))
        assert "most notes" in next(one.reasons for one in chosen if one.id == "d7")

    def test_two_deals_of_one_name_are_in(self):
        rows = [*plain(200), row(901, name="Twin"), row(902, name=" twin ")]
        chosen = {one.id: one.reasons for one in choose(rows, 10, seed=1)}
        assert all("has the same name as another" in chosen[one] for one in ("d901", "d902"))

    def test_one_deal_may_show_several_strange_things(self):
        odd = row(
            999, name="صفقة 🚀" * 30, amount=Decimal("-0.001"), companies=[], contacts=[], owner_id=None
        )
        chosen = choose([*plain(200), odd], 10, seed=1)
        assert len(next(one.reasons for one in chosen if one.id == "d999")) >= 7


class TestLot:
    def test_another_seed_draws_others(self):
        one, other = ({each.id for each in choose(plain(500), 60, seed=seed)} for seed in (1, 2))
        assert one != other

    def test_a_size_of_nothing_chooses_nothing(self):
        assert choose(plain(5), 0, seed=1) == []

    def test_the_names_of_pipelines_are_told(self):
        rows = [*plain(50), row(99, pipeline_id="p2")]
        chosen = choose(rows, 20, seed=1, context=Context(pipelines={"p2": "Renewals"}))
        assert any("Renewals" in reason for one in chosen for reason in one.reasons)


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr("crmkit.migration.sample._NAMES_COMPARED", 50)

    def peak(count: int) -> int:
        tracemalloc.start()
        choose((row(number) for number in range(count)), 20, seed=1)
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    few = peak(500), peak(500)  # the first time includes what Python loads once
    assert peak(4_000) < few[1] * 1.5
