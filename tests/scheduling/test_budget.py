"""The daily budget: what may be used now, and how long to wait."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.scheduling.budget import (
    Use,
    allowed,
    day_of,
    ours,
    resets_at,
    rolling_wait_seconds,
    wait_seconds,
)

NOW = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("used_by_us", "used_by_all", "cost", "answer"),
    [
        (0, None, 500, True), (0, None, 501, False), (499, None, 1, True), (500, None, 1, False),
        (0, 999, 1, True), (0, 1000, 1, False), (500, 500, 0, True),
    ],
)  # fmt: skip
def test_half_of_the_quota_is_ours_and_what_others_took_is_gone(
    used_by_us: int, used_by_all: int | None, cost: int, answer: bool
) -> None:
    assert allowed(1000, 0.5, used_by_us, used_by_all, cost) is answer


def test_a_share_is_the_decimal_that_was_written() -> None:
    assert ours(100, 0.29) == 29


def test_the_day_ends_at_midnight_of_the_account() -> None:
    assert day_of(NOW, "Europe/Berlin") == date(2026, 11, 24)
    assert resets_at(NOW, "Europe/Berlin") == NOW + timedelta(days=1)
    assert resets_at(NOW, "America/New_York") == NOW + timedelta(hours=6)
    wait = wait_seconds(1000, 0.5, 500, None, 1, now=NOW, time_zone="America/New_York")
    assert wait == 6 * 3600
    assert resets_at(datetime(2026, 10, 24, 22, 0, tzinfo=UTC), "Europe/Berlin") - datetime(
        2026, 10, 24, 22, 0, tzinfo=UTC
    ) == timedelta(hours=25)


def test_what_no_day_has_room_for_is_never_waited_for() -> None:
    assert wait_seconds(1000, 0.5, 0, None, 501, now=NOW, time_zone="UTC") == math.inf
    assert rolling_wait_seconds(1000, 0.5, [], None, 501, now=NOW) == math.inf


def test_on_a_rolling_day_one_waits_until_enough_is_given_back() -> None:
    uses = [Use(NOW - timedelta(hours=hours), 200) for hours in (30, 20, 10)]
    assert rolling_wait_seconds(1000, 0.5, uses, None, 100, now=NOW) == 0
    assert rolling_wait_seconds(1000, 0.5, uses, None, 200, now=NOW) == 4 * 3600
    assert rolling_wait_seconds(1000, 0.5, uses, None, 400, now=NOW) == 14 * 3600
    assert rolling_wait_seconds(1000, 0.5, [], 1000, 1, now=NOW) == 3600


@given(st.integers(1, 10**6), st.floats(0.01, 1), st.lists(st.integers(1, 500), max_size=50))
def test_whatever_is_asked_for_the_share_is_never_passed(quota: int, share: float, costs: list[int]) -> None:
    used = 0
    for cost in costs:
        used += cost if allowed(quota, share, used, None, cost) else 0
    assert used <= quota * share
