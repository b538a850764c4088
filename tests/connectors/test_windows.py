"""Windows are cut only for workers that are idle, and the parts cover the whole."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.connectors import windows
from crmkit.connectors.walk import Segment, walk
from crmkit.connectors.windows import Room
from crmkit.errors import BadAnswer

BIG = {"a": 0, "b": None, "seen": [7]}


def room(in_flight: int, open_segments: int) -> Room:
    made = Room(in_flight)
    made.begin([{}] * open_segments)
    return made


def test_idle_workers_are_given_a_part_each() -> None:
    assert room(8, 1).parts(rows_left=100_000, per_page=250) == 8


@pytest.mark.parametrize(("rows_left", "parts"), [(1999, 1), (2000, 2), (4000, 3)])
def test_a_part_is_worth_eight_pages(rows_left: int, parts: int) -> None:
    assert room(8, 1).parts(rows_left, per_page=250) == parts


def test_nothing_is_cut_while_all_workers_are_busy() -> None:
    assert room(4, 4).parts(rows_left=100_000, per_page=250) == 1


def test_two_steps_share_the_idle_workers() -> None:
    shared = room(8, 2)
    assert [shared.take(100), shared.take(100)] == [6, 0]


def test_places_taken_in_vain_are_free_again_after_the_step() -> None:
    shared = room(4, 1)

    def step(segment: Segment) -> tuple[int, Sequence[Segment]]:
        return shared.take(10), [segment]

    assert [shared.counted(step, {})[0] for _ in range(3)] == [3, 3, 3]


def test_a_segment_that_ends_makes_room_for_another() -> None:
    shared = room(2, 2)
    shared.counted(lambda segment: (None, []), {})
    assert shared.take(10) == 1


def test_threads_are_counted_apart() -> None:
    shared = room(5, 2)

    def step(segment: Segment) -> tuple[None, Sequence[Segment]]:
        taken = shared.take(segment["wanted"])
        return None, [segment] * (1 + taken)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda wanted: shared.counted(step, {"wanted": wanted}), [1, 2]))
    assert shared.take(10) == 0


def test_only_the_part_where_the_read_goes_on_keeps_the_ids_at_its_edge() -> None:
    assert windows.split(BIG, [4, 8], [5, 9]) == [
        {"a": 0, "b": 4, "seen": [7]},
        {"a": 5, "b": 8, "seen": []},
        {"a": 9, "b": None, "seen": []},
    ]
    assert [part["seen"] for part in windows.split(BIG, [4], [5], edge=1)] == [[], [7]]


def test_a_window_without_borders_stays_whole() -> None:
    assert windows.split(BIG, [], []) == [BIG]


def test_rows_at_the_edge_of_the_page_before_are_left_out() -> None:
    assert windows.unseen({"seen": ["a"]}, [{"id": "a"}, {"id": "b"}]) == [{"id": "b"}]


def test_an_unreadable_value_at_a_border_leaves_the_next_one_to_count() -> None:
    rows = [{"at": None}, {"at": 3}, {"at": 9}, {"at": "soon"}]
    assert windows.span(rows, "at", lambda value: value if isinstance(value, int) else None) == (3, 9)


def test_a_page_without_a_readable_value_is_a_bad_answer() -> None:
    with pytest.raises(BadAnswer, match="no row has a readable at"):
        windows.span([{"at": None}], "at", lambda value: value)


@given(places=st.lists(st.integers(0, 400), max_size=300), in_flight=st.integers(1, 6))
def test_a_walk_that_is_cut_reads_everything(places: list[int], in_flight: int) -> None:
    rows = [{"id": n, "at": at} for n, at in enumerate(sorted(places))]
    shared = Room(in_flight)

    def page(segment: Segment) -> tuple[list[int], Sequence[Segment]]:
        low, high = segment["a"], segment["b"]
        found = [row for row in rows if low <= row["at"] < high and row["id"] not in segment["seen"]]
        came = found[:2]
        if len(found) <= 2:
            return [row["id"] for row in came], []
        rest = {**segment, "a": came[-1]["at"], "seen": [*segment["seen"], *(row["id"] for row in came)]}
        parts = shared.parts(len(found) - 2, 2) if high - rest["a"] > 10 else 1
        borders = [rest["a"] + (high - rest["a"]) * part // parts for part in range(1, parts)]
        return [row["id"] for row in came], windows.split(rest, borders, borders)

    start: list[Segment] = [{"a": 0, "b": 401, "seen": []}]
    shared.begin(start)
    found = walk(start, lambda segment: shared.counted(page, segment), in_flight=in_flight)
    assert sorted(number for page_ids, _ in found for number in page_ids) == list(range(len(rows)))
