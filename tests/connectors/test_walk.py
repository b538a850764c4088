"""A walk gives every page, and can go on from what was open after any of them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmkit.connectors.walk import Segment, walk


def numbers(segment: Segment) -> tuple[list[int], list[Segment]]:
    """Reads three numbers of a range at a time."""
    at, end = segment["at"], segment["end"]
    page = list(range(at, min(at + 3, end)))
    rest = [{"at": at + 3, "end": end}] if at + 3 < end else []
    return page, rest


RANGES = [{"at": 0, "end": 10}, {"at": 10, "end": 11}, {"at": 11, "end": 30}]


@pytest.mark.parametrize("in_flight", [1, 2, 8])
def test_every_number_comes_once(in_flight: int) -> None:
    pages = walk(RANGES, numbers, in_flight=in_flight, cancel=lambda: None)
    assert sorted(number for page, _ in pages for number in page) == list(range(30))


@given(stop=st.integers(0, 10), in_flight=st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_the_open_segments_hold_everything_that_is_missing(stop: int, in_flight: int) -> None:
    seen: set[int] = set()
    left: list[Any] = list(RANGES)
    for count, (page, rest) in enumerate(walk(RANGES, numbers, in_flight=in_flight, cancel=lambda: None)):
        seen |= set(page)
        left = list(rest)
        if count == stop:
            break
    for page, _ in walk(left, numbers, in_flight=1, cancel=lambda: None):
        seen |= set(page)
    assert seen == set(range(30))


def test_a_failing_step_ends_the_walk_and_wakes_the_others() -> None:
    woken = threading.Event()

    def step(segment: Segment) -> tuple[int, list[Segment]]:
        if segment["n"] == 1:
            raise ValueError("broken")
        woken.wait(5)
        return segment["n"], []

    with pytest.raises(ValueError, match="broken"):
        list(walk([{"n": 0}, {"n": 1}], step, in_flight=2, cancel=woken.set))
    assert woken.is_set()


def test_a_segment_may_be_split() -> None:
    def halves(segment: Segment) -> tuple[list[int], list[Segment]]:
        low, high = segment["low"], segment["high"]
        if high - low == 1:
            return [low], []
        middle = (low + high) // 2
        return [], [{"low": low, "high": middle}, {"low": middle, "high": high}]

    found = walk([{"low": 0, "high": 16}], halves, in_flight=4, cancel=lambda: None)
    assert sorted(number for page, _ in found for number in page) == list(range(16))
