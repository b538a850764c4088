"""Walk many pages side by side, and be able to stop after any of them.

A walk is a list of segments: plain JSON-able dicts that say where to go on (an id range,
a time window, a page token). A step reads one page of one segment and returns what it
found and the segments that remain of it: none when it is exhausted, one to go on, two or
more when it was split. After each step the open segments, those in flight included, are
the whole position of the walk: a crash repeats at most the pages in flight.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeAlias, TypeVar

import msgspec

Segment: TypeAlias = dict[str, Any]
T = TypeVar("T")
Step: TypeAlias = Callable[[Segment], tuple[T, Sequence[Segment]]]


def walk(
    segments: Sequence[Segment],
    step: Step[T],
    *,
    in_flight: int,
    cancel: Callable[[], None] | None = None,
) -> Iterator[tuple[T, Sequence[Segment]]]:
    """Results of `step` as they come, each with the segments still open after it.

    Args:
        segments: Where to begin.
        step: Reads one page; runs in a worker thread.
        in_flight: How many steps may run at once.
        cancel: Called when the walk is given up. Steps in flight are waited for: what ends
            a sleep for good is the run's own `Context.cancelled`, which belongs to the
            person at the keyboard and is never set from here.

    Raises:
        Exception: What a step raised; results that were ready before it are given first.
    """
    waiting: deque[Segment] = deque(segments)
    if in_flight == 1 or (len(waiting) == 1 and waiting[0].get("serial")):
        yield from _walk_serially(waiting, step)
        return
    running: dict[Future[tuple[T, Sequence[Segment]]], Segment] = {}
    pool = ThreadPoolExecutor(max_workers=in_flight, thread_name_prefix="walk")
    finished = False
    try:
        while waiting or running:
            while waiting and len(running) < in_flight:
                segment = waiting.popleft()
                running[pool.submit(step, segment)] = segment
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            failure: BaseException | None = None
            for future in done:
                error = future.exception()
                if error is not None:
                    failure = failure or error
                    continue
                del running[future]
                result, rest = future.result()
                # The oldest segments first: a walk that is stopped leaves few of them open.
                waiting.extendleft(reversed(rest))
                yield result, [*running.values(), *waiting]
            if failure is not None:
                raise failure
        finished = True
    finally:
        if not finished:
            if cancel is not None:
                cancel()
            for future in running:
                future.cancel()
        pool.shutdown(wait=True)
        for future in running:
            with contextlib.suppress(BaseException):
                future.exception(timeout=0)


def _walk_serially(waiting: deque[Segment], step: Step[T]) -> Iterator[tuple[T, Sequence[Segment]]]:
    while waiting:
        result, rest = step(waiting.popleft())
        waiting.extendleft(reversed(rest))
        yield result, list(waiting)


def pack(cursor: dict[str, Any]) -> str:
    """A cursor as text."""
    return msgspec.json.encode(cursor, order="sorted").decode()


def unpack(cursor: str) -> dict[str, Any]:
    """A cursor back from its text."""
    return msgspec.json.decode(cursor, type=dict[str, Any])
