"""A limit that only the answers tell is kept as soon as it is known."""

from __future__ import annotations

import pytest

from crmkit.connectors.pacing import ToldLimit


@pytest.fixture
def limit() -> ToldLimit:
    return ToldLimit()


def admitted(limit: ToldLimit, now: float) -> int:
    count = 0
    while count < 1000 and limit.admit(now, 1) == 0:
        count += 1
    return count


def test_nothing_told_admits_everything(limit: ToldLimit) -> None:
    assert admitted(limit, 0) == 1000


def test_what_is_left_less_the_headroom_is_admitted(limit: ToldLimit) -> None:
    limit.told(0, limit=100, remaining=50, reset_seconds=5)
    assert admitted(limit, 1) == 40


def test_the_wait_ends_with_the_window(limit: ToldLimit) -> None:
    limit.told(0, limit=100, remaining=10, reset_seconds=2.5)
    assert limit.admit(1, 1) == 1.5
    assert limit.admit(2.5, 1) == 0


def test_answers_that_overtake_each_other_never_raise_what_is_left(limit: ToldLimit) -> None:
    limit.told(0, limit=100, remaining=20, reset_seconds=5)
    limit.told(0, limit=100, remaining=60, reset_seconds=5)
    assert admitted(limit, 1) == 10


def test_the_next_window_starts_afresh(limit: ToldLimit) -> None:
    limit.told(0, limit=100, remaining=10, reset_seconds=2)
    limit.told(3, limit=100, remaining=99, reset_seconds=2)
    assert admitted(limit, 3) == 89


def test_a_refusal_closes_the_window_for_as_long_as_it_says(limit: ToldLimit) -> None:
    limit.told(0, limit=100, remaining=90, reset_seconds=2)
    limit.slow_down(1, 4)
    assert limit.admit(2, 1) == 3
    assert limit.admit(5, 1) == 0
