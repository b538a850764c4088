"""Cut a window of times or ids into several while workers of a walk are idle.

A walk starts with few windows, as nobody knows where the records lie. After a page, what
remains of its window may be cut, if it is long enough and somebody could read a part.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from crmkit.connectors.walk import Segment, Step
from crmkit.errors import BadAnswer

T = TypeVar("T")
Row = Mapping[str, Any]
# A cut costs about half a page: the last page of each part is only half full.
PAGES_WORTH_A_CUT = 8


class Room:
    """How many more segments of one walk could be read side by side.

    Args:
        in_flight: How many steps the walk runs at once.
    """

    def __init__(self, in_flight: int) -> None:
        self._in_flight = in_flight
        self._lock = threading.Lock()
        self._open = 0
        self._mine = threading.local()

    def begin(self, segments: Sequence[Segment]) -> None:
        """The walk starts from these segments."""
        with self._lock:
            self._open = len(segments)

    def counted(self, step: Step[T], segment: Segment) -> tuple[T, Sequence[Segment]]:
        """What a step gives, which may `take` places for the segments that remain after it."""
        self._mine.taken = 0
        result, rest = step(segment)
        with self._lock:
            self._open += len(rest) - 1 - self._mine.taken
        return result, rest

    def take(self, at_most: int) -> int:
        """Reserve places for segments beyond the one that is being read; gives how many."""
        with self._lock:
            taken = max(0, min(at_most, self._in_flight - self._open))
            self._open += taken
        self._mine.taken = getattr(self._mine, "taken", 0) + taken
        return taken

    def parts(self, rows_left: int, per_page: int) -> int:
        """Into how many parts to cut a window that holds about so many rows more; 1 means not at all."""
        return 1 + self.take(rows_left // (PAGES_WORTH_A_CUT * per_page))


def split(window: Segment, ends: Sequence[Any], starts: Sequence[Any], *, edge: int = 0) -> list[Segment]:
    """A window (`a` to `b`) cut in parts.

    Args:
        window: What is cut; `seen` holds the ids that were read at its edge.
        ends: Where the parts but the last end.
        starts: Where the parts but the first begin.
        edge: The part that begins where the read stopped: only it needs `seen`.
    """
    places = zip([window["a"], *starts], [*ends, window["b"]], strict=True)
    return [
        {**window, "a": a, "b": b, "seen": window.get("seen", []) if part == edge else []}
        for part, (a, b) in enumerate(places)
    ]


def unseen(segment: Segment, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a page without those that the page before it held at its edge."""
    seen = frozenset(segment.get("seen", ()))
    return [row for row in rows if row.get("id") not in seen] if seen else rows


def span(rows: Sequence[Row], by: str, read: Callable[[Any], T | None]) -> tuple[T, T]:
    """First and last value of the column that a page is sorted by.

    A value that cannot be read concerns its own row only, so the nearest readable one counts.

    Raises:
        BadAnswer: No row has one.
    """
    first = next((found for row in rows if (found := read(row.get(by))) is not None), None)
    last = next((found for row in reversed(rows) if (found := read(row.get(by))) is not None), None)
    if first is None or last is None:
        raise BadAnswer(f"no row has a readable {by} to go on from")
    return first, last
