"""The counters behind the rate limits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crmkit.sandbox.clock import Clock
from crmkit.sandbox.limits import Budget, Concurrency, FixedWindow, LeakyBucket, RollingWindow

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


def test_a_rolling_window_frees_calls_one_by_one(clock: Clock) -> None:
    window = RollingWindow(2, 10, clock.monotonic)
    assert window.take() == 0
    clock.advance(4)
    assert window.take() == 0
    assert (window.take(), window.remaining) == (6, 0)
    clock.advance(6)
    assert window.remaining == 1
    assert window.take() == 0
    assert window.take() == 4


def test_a_fixed_window_frees_all_calls_at_the_reset(clock: Clock) -> None:
    window = FixedWindow(2, 8, clock.monotonic)
    assert [window.take(), window.take(), window.take()] == [0, 0, 8]
    clock.advance(8)
    assert (window.remaining, window.reset_seconds) == (2, 8)


def test_a_leaky_bucket_drains_steadily(clock: Clock) -> None:
    bucket = LeakyBucket(3, 2, clock.monotonic)
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    clock.advance(0.5)
    assert bucket.take() == 0
    clock.advance(100)
    assert bucket.level == 0


def test_a_budget_gives_back_what_was_spent_a_day_ago(clock: Clock) -> None:
    budget = Budget(10, 86_400, clock.monotonic)
    assert budget.take(6) == 0
    clock.advance(3_600)
    assert budget.take(5) == pytest.approx(82_800)
    assert (budget.take(4), budget.remaining) == (0, 0)
    clock.advance(82_800)
    assert budget.remaining == 6


def test_a_budget_can_be_overspent(clock: Clock) -> None:
    budget = Budget(480, 600, clock.monotonic, slots=10)
    budget.spend(500)
    assert budget.remaining == 0
    assert budget.take(1) == 600
    clock.advance(600)
    assert budget.take(1) == 0


def test_concurrency_counts_what_runs() -> None:
    lane = Concurrency(1)
    with lane:
        assert not lane.free
    assert lane.free
