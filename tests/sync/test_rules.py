"""Every conflict rule is a join: in any order, in any grouping, twice or once, the same winner."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.errors import ConfigError
from crmkit.sync.rules import Candidate, Setting, rule

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SETTING = Setting(("a", "b", "c", "d"), ("qualification", "proposal", "won"))
SCALARS = st.sampled_from([None, "1", "2", "10"])
AMOUNTS = st.sampled_from(
    [None, ["5", "EUR", "one_time"], ["7", "EUR", "one_time"], ["40", "EUR", "one_time"]]
)
STAGES = st.sampled_from([[None, "qualification"], [None, "proposal"], [None, "won"]])
SETS = st.lists(st.sampled_from("xyz"), unique=True).map(sorted)
KINDS = {
    "priority": SCALARS, "newest": SCALARS, "max": AMOUNTS, "min": AMOUNTS, "furthest_stage": STAGES,
    "union": SETS,
}  # fmt: skip


@st.composite
def conflicts(draw: st.DrawFn) -> tuple[str, list[Candidate]]:
    name = draw(st.sampled_from(sorted(KINDS)))
    connections = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True))
    candidates = [
        Candidate(one, draw(KINDS[name]), NOW + timedelta(minutes=draw(st.integers(0, 5))), 1.0)
        for one in connections
    ]
    return name, candidates


@given(conflicts(), st.randoms())
def test_the_order_of_the_candidates_does_not_matter(conflict, random):
    name, candidates = conflict
    shuffled = list(candidates)
    random.shuffle(shuffled)

    assert rule(name)(candidates, SETTING) == rule(name)(shuffled, SETTING)


@given(conflicts())
def test_deciding_between_some_first_changes_nothing(conflict):
    name, candidates = conflict
    whole = rule(name)(candidates, SETTING)
    for size in range(1, len(candidates)):
        for some in itertools.combinations(candidates, size):
            first = rule(name)(some, SETTING)
            rest = [one for one in candidates if one not in some]
            again = rule(name)([first, *rest], SETTING)
            assert again.value == whole.value


@given(conflicts())
def test_a_candidate_that_comes_twice_counts_once(conflict):
    name, candidates = conflict

    assert rule(name)(candidates, SETTING) == rule(name)([*candidates, *candidates], SETTING)


@given(conflicts())
def test_the_winner_is_one_of_the_values(conflict):
    name, candidates = conflict
    winner = rule(name)(candidates, SETTING)

    if name == "union":
        assert set(winner.value) == {element for one in candidates for element in one.value}
    else:
        assert winner.value in [one.value for one in candidates]


def test_hold_leaves_it_to_a_person():
    assert rule("hold")([Candidate("a", "x"), Candidate("b", "y")], SETTING) is None


def test_newest_within_the_error_of_the_clocks_is_a_tie_that_priority_breaks():
    one = Candidate("a", "x", NOW, 5.0)
    other = Candidate("b", "y", NOW + timedelta(seconds=8), 5.0)

    assert rule("newest")([one, other], SETTING) == one


def test_newest_beyond_the_error_of_the_clocks_wins():
    one = Candidate("a", "x", NOW, 5.0)
    other = Candidate("b", "y", NOW + timedelta(seconds=11), 5.0)

    assert rule("newest")([one, other], SETTING) == other


@pytest.mark.parametrize("name", ["max", "min"])
def test_amounts_in_different_currencies_are_not_compared(name: str):
    candidates = [Candidate("a", ["1", "EUR", "one_time"]), Candidate("b", ["2", "USD", "one_time"])]

    assert rule(name)(candidates, SETTING) is None


def test_an_empty_value_is_neither_largest_nor_smallest():
    candidates = [Candidate("a", None), Candidate("b", ["2", "USD", "one_time"])]

    assert rule("max")(candidates, SETTING).connection == "b"
    assert rule("min")(candidates, SETTING).connection == "b"


def test_stages_of_different_pipelines_are_not_compared():
    candidates = [Candidate("a", ["new", "won"]), Candidate("b", ["old", "proposal"])]

    assert rule("furthest_stage")(candidates, SETTING) is None


def test_a_rule_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match="latest"):
        rule("latest")
