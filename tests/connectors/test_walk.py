"""A walk gives every page, and can go on from what was open after any of them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmkit.connectors.base import Page
from crmkit.connectors.walk import Found, Segment, pages, walk
from crmkit.model import Kind, Ref, Tombstone


def numbers(segment: Segment) -> tuple[list[int], list[Segment]]:
    """Reads three numbers of a range at a time."""
    at, end = segment["at"], segment["end"]
    page = list(range(at, min(at + 3, end)))
    rest = [{"at": at + 3, "end": end}] if at + 3 < end else []
    return page, rest


RANGES = [{"at": 0, "end": 10}, {"at": 10, "end": 11}, {"at": 11, "end": 30}]


@pytest.mark.parametrize("in_flight", [1, 2, 8])
def test_every_number_comes_once(in_flight: int) -> None:
    pages = walk(RANGES, numbers, in_flight=in_flight)
    assert sorted(number for page, _ in pages for number in page) == list(range(30))


@given(stop=st.integers(0, 10), in_flight=st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_the_open_segments_hold_everything_that_is_missing(stop: int, in_flight: int) -> None:
    seen: set[int] = set()
    left: list[Any] = list(RANGES)
    for count, (page, rest) in enumerate(walk(RANGES, numbers, in_flight=in_flight)):
        seen |= set(page)
        left = list(rest)
        if count == stop:
            break
    for page, _ in walk(left, numbers, in_flight=1):
        seen |= set(page)
    assert seen == set(range(30))


def test_a_failing_step_ends_the_walk_after_what_was_in_flight() -> None:
    failed = threading.Event()
    finished: list[int] = []

    def step(segment: Segment) -> tuple[int, list[Segment]]:
        if segment["n"] == 1:
            failed.set()
            raise ValueError("broken")
        failed.wait(5)
        finished.append(segment["n"])
        return segment["n"], []

    with pytest.raises(ValueError, match="broken"):
        list(walk([{"n": 0}, {"n": 1}, {"n": 2}], step, in_flight=2))
    assert 0 in finished


def test_workers_go_on_while_the_caller_is_busy_with_a_result() -> None:
    started = {n: threading.Event() for n in range(6)}

    def step(segment: Segment) -> tuple[int, list[Segment]]:
        started[segment["n"]].set()
        return segment["n"], []

    walked = walk([{"n": n} for n in range(6)], step, in_flight=2)
    next(walked)
    assert started[2].wait(5)
    assert len(list(walked)) == 5


def test_nothing_is_begun_after_a_failure() -> None:
    begun: list[int] = []

    def step(segment: Segment) -> tuple[int, list[Segment]]:
        begun.append(segment["n"])
        if segment["n"] == 0:
            raise ValueError("broken")
        raise AssertionError("must not be reached")

    with pytest.raises(ValueError, match="broken"):
        list(walk([{"n": 0}, {"n": 0}, {"n": 1}], step, in_flight=2))
    assert 1 not in begun


def test_a_segment_may_be_split() -> None:
    def halves(segment: Segment) -> tuple[list[int], list[Segment]]:
        low, high = segment["low"], segment["high"]
        if high - low == 1:
            return [low], []
        middle = (low + high) // 2
        return [], [{"low": low, "high": middle}, {"low": middle, "high": high}]

    found = walk([{"low": 0, "high": 16}], halves, in_flight=4)
    assert sorted(number for page, _ in found for number in page) == list(range(16))


def test_pages_carry_the_cursor_of_what_is_open_and_the_last_is_returned() -> None:
    stones = {n: Tombstone(ref=Ref("x", Kind.DEAL, str(n))) for n in range(3)}

    def step(segment: Segment) -> tuple[Found, list[Segment]]:
        n = segment["n"]
        return Found(tombstones=[stones[n]]), [{"n": n + 1}] if n < 2 else []

    walked = pages([{"n": 0}], step, in_flight=1, cursor=lambda still_open: str(still_open[0]["n"]))
    given: list[Page] = []
    while True:
        try:
            given.append(next(walked))
        except StopIteration as end:
            last = end.value
            break
    assert [(page.tombstones, page.cursor, page.last) for page in given] == [
        ([stones[0]], "1", False),
        ([stones[1]], "2", False),
    ]
    assert last.tombstones == [stones[2]]
