"""How Copper's searches are cut and walked: pure decisions on segments and pages.

A search reaches its first 100,000 records only, and pages shift when records vanish. So
page 1 is asked again and again from the last second seen (keyset); page numbers serve
only inside one second. Nothing can then slide past a page border, and no depth is met.

Source: https://developer.copper.com/introduction/pagination.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crmkit.connectors import windows
from crmkit.connectors.walk import Segment
from crmkit.connectors.windows import Room
from crmkit.errors import BadAnswer, IncompleteRead

Row = dict[str, Any]
PER_PAGE = 200
REACH = 100_000
BURST_TRIES = 5
_FILTERS = {
    "date_created": "created_date",
    "date_modified": "modified_date",
    "activity_date": "activity_date",
}
_OTHER = {"date_created": "date_modified", "date_modified": "date_created"}


def window(by: str, start: int | None, end: int | None, *, hint: int) -> Segment:
    """A window of time, both ends inclusive; `hint` stands for an open end when it is cut."""
    return {"t": "time", "by": by, "a": start, "b": end, "h": hint}


def body_of(segment: Segment) -> dict[str, Any]:
    """The search body for the next page of a window."""
    by = segment["by"]
    name = _FILTERS[by]
    body: dict[str, Any] = {"page_number": segment.get("page", 1), "page_size": PER_PAGE}
    if by != "activity_date":  # that search takes no sort and answers newest first
        body |= {"sort_by": by, "sort_direction": "asc"}
    if segment["a"] is not None:
        body[f"minimum_{name}"] = segment["a"]
    if segment["b"] is not None:
        body[f"maximum_{name}"] = segment["b"]
    if segment.get("eq"):
        fixed, second = segment["eq"]
        body[f"minimum_{_FILTERS[fixed]}"] = body[f"maximum_{_FILTERS[fixed]}"] = second
    return body


def after_page(
    segment: Segment, rows: list[Row], total: int | None, room: Room
) -> tuple[list[Row], Sequence[Segment]]:
    """The new rows of a page, and what remains of its window.

    Args:
        segment: The window.
        rows: What came.
        total: `X-PW-TOTAL`, an upper bound that serves only to decide about cutting.
        room: Whether threads are idle.

    Raises:
        BadAnswer: Rows are out of order or have no time.
        IncompleteRead: More records share one second than a search reaches.
    """
    if segment.get("page"):
        return rows, _after_burst_page(segment, rows, total)
    fresh = windows.unseen(segment, rows)
    # A page shorter than asked for is the last; the total would not tell reliably.
    if len(rows) < PER_PAGE:
        return fresh, []
    by = segment["by"]
    newest_first = by == "activity_date"
    first, last = windows.span(rows, by, _second)
    if (last > first) if newest_first else (last < first):
        raise BadAnswer(f"the page is not sorted by {by}")
    if first == last:
        return fresh, _burst(segment, last, newest_first=newest_first)
    rest = {**segment, "b" if newest_first else "a": last}
    rest["seen"] = [row["id"] for row in rows if row.get(by) == last]
    left = 0 if total is None else total - len(rows)
    return fresh, _cut(rest, left, room, newest_first=newest_first, first=first)


def _second(value: Any) -> int | None:
    return value if type(value) is int else None


def _burst(segment: Segment, second: int, *, newest_first: bool) -> list[Segment]:
    """Go on after a page whose rows share one second, however many more do.

    The second is walked by the other time if there is one; records that share both are
    paged through by number.
    """
    by = segment["by"]
    after = {**segment, "seen": [], "b" if newest_first else "a": second + (-1 if newest_first else 1)}
    if segment.get("eq") or newest_first:
        within = {**segment, "seen": [], "a": second, "b": second, "page": 1, "total": None}
    else:
        within = {**segment, "seen": [], "by": _OTHER[by], "eq": [by, second], "a": None, "b": None}
    start, end = after["a"], after["b"]
    exhausted = start is not None and end is not None and start > end
    return [within] if exhausted else [within, after]


def _after_burst_page(segment: Segment, rows: list[Row], total: int | None) -> list[Segment]:
    """The next page inside one second; from its first again if records came or went."""
    page, before = segment["page"], segment.get("total")
    if page * PER_PAGE >= REACH and len(rows) == PER_PAGE:
        raise IncompleteRead(f"more than {REACH} records share one second ({segment['a']})")
    if before is not None and total is not None and total != before:
        tries = segment.get("tries", 0) + 1
        if tries >= BURST_TRIES:
            raise IncompleteRead(
                f"records of one second ({segment['a']}) change faster than they can be read"
            )
        return [{**segment, "page": 1, "total": None, "tries": tries}]
    if len(rows) < PER_PAGE:
        return []
    return [{**segment, "page": page + 1, "total": total if before is None else before}]


def _cut(rest: Segment, left: int, room: Room, *, newest_first: bool, first: int) -> list[Segment]:
    """The rest of a window, in several parts if threads are idle and it is long enough."""
    if newest_first:
        # The far end is open: go back as far as rows at the density of this page would reach.
        start, end = rest["a"], rest["b"]
        if start is None:
            start = end - max(1, (first - end) * (left // PER_PAGE))
    else:
        start, end = rest["a"], rest["b"] if rest["b"] is not None else rest["h"]
    if end - start <= 2 * (left // PER_PAGE + 1):
        return [rest]
    parts = room.parts(left, PER_PAGE)
    borders = [start + (end - start) * place // parts for place in range(1, parts)]
    # The ids at the edge matter to the part that begins there.
    edge = parts - 1 if newest_first else 0
    return windows.split(rest, borders, [border + 1 for border in borders], edge=edge)
