"""Walk many pages side by side, and be able to stop after any of them.

A walk is a list of segments: plain JSON-able dicts that say where to go on (an id range,
a time window, a page token). A step reads one page of one segment and returns what it
found and the segments that remain of it: none when it is exhausted, one to go on, two or
more when it was split. After each step the open segments, those in flight included, are
the whole position of the walk: a crash repeats at most the pages in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import msgspec

from crmkit.connectors.base import Page, Unreadable
from crmkit.model import AnyRecord, Tombstone

Segment: TypeAlias = dict[str, Any]
T = TypeVar("T")
Step: TypeAlias = Callable[[Segment], tuple[T, Sequence[Segment]]]


@dataclass(frozen=True, slots=True)
class Found:
    """What one step brought of the records that a read is about."""

    records: Sequence[AnyRecord] = ()
    unreadable: Sequence[Unreadable] = ()
    tombstones: Sequence[Tombstone] = ()

    def page(self, cursor: str, *, last: bool = False, whole: bool = False) -> Page:
        """The same as a page of a read."""
        return Page(self.records, self.tombstones, self.unreadable, cursor, last, whole)


def walk(
    segments: Sequence[Segment],
    step: Step[T],
    *,
    in_flight: int,
) -> Iterator[tuple[T, Sequence[Segment]]]:
    """Results of `step` as they come, each with the segments still open after it.

    Workers go on while the caller is busy with a result. A walk that is given up waits for
    the steps in flight: what ends a sleep for good is the run's own `Context.cancelled`,
    which belongs to the person at the keyboard.

    Args:
        segments: Where to begin.
        step: Reads one page; runs in a worker thread.
        in_flight: How many steps may run at once.

    Raises:
        Exception: What a step raised; results that were ready before it are given first.
    """
    waiting: deque[Segment] = deque(segments)
    if in_flight == 1 or (len(waiting) == 1 and waiting[0].get("serial")):
        yield from _walk_serially(waiting, step)
        return
    running: dict[Future[tuple[T, Sequence[Segment]]], Segment] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(max_workers=in_flight, thread_name_prefix="walk") as pool:

        def fill() -> None:
            while waiting and len(running) < in_flight and failure is None:
                segment = waiting.popleft()
                running[pool.submit(step, segment)] = segment

        try:
            fill()
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                failure = next((error for future in done if (error := future.exception())), None)
                for future in done:
                    if future.exception() is not None:
                        continue
                    del running[future]
                    result, rest = future.result()
                    # The oldest segments first: a walk that is stopped leaves few of them open.
                    waiting.extendleft(reversed(rest))
                    fill()
                    yield result, [*running.values(), *waiting]
                if failure is not None:
                    raise failure
        finally:
            for future in running:
                future.cancel()


def _walk_serially(waiting: deque[Segment], step: Step[T]) -> Iterator[tuple[T, Sequence[Segment]]]:
    while waiting:
        result, rest = step(waiting.popleft())
        waiting.extendleft(reversed(rest))
        yield result, list(waiting)


def pages(
    segments: Sequence[Segment],
    step: Step[Found],
    *,
    in_flight: int,
    cursor: Callable[[Sequence[Segment]], str],
) -> Generator[Page, None, Found]:
    """Pages of a walk but the last, whose cursor depends on more than the walk: it is returned.

    Args:
        segments: Where to begin.
        step: Reads one page; runs in a worker thread.
        in_flight: How many steps may run at once.
        cursor: The cursor for the segments that are still open.
    """
    last = Found()
    for found, still_open in walk(segments, step, in_flight=in_flight):
        if still_open:
            yield found.page(cursor(still_open))
        else:
            last = found
    return last


def pack(cursor: dict[str, Any]) -> str:
    """A cursor as text."""
    return msgspec.json.encode(cursor, order="sorted").decode()


def unpack(cursor: str) -> dict[str, Any]:
    """A cursor back from its text."""
    return msgspec.json.decode(cursor, type=dict[str, Any])
