"""How Close's lists are cut and walked: pure decisions on segments and pages.

Offset paging (`_skip`) loses records when earlier ones change and ends at a depth that is
not published, so lists with a time order are walked by the last time seen (keyset), and
`_skip` serves only where there is no other way, with rows overlapping as a proof.

Source: https://developer.close.com/api/overview/pagination
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from crmkit.connectors import windows
from crmkit.connectors.translate import FieldError, instant
from crmkit.connectors.walk import Segment
from crmkit.connectors.windows import Room
from crmkit.errors import BadAnswer, IncompleteRead

Row = dict[str, Any]
DEALS_PER_PAGE = 250
LEADS_PER_PAGE = 200
ACTIVITIES_PER_PAGE = 100
# Rows that two neighbouring lead pages share: so many leads may vanish during the walk
# without a later page having slid past a lead that was not read.
LEAD_OVERLAP = 10
# How often a stretch that can only be paged by number is begun again after rows shifted.
SHIFTS_AT_MOST = 5
_SMALLEST_CUT = timedelta(seconds=2)
# Times are shown with three or six decimals; what is stored may be finer than shown.
_TICK = timedelta(milliseconds=1)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_OTHER = {"date_created": "date_updated", "date_updated": "date_created"}


def moment(value: Any) -> datetime:
    """A time of a row or a cursor.

    Raises:
        BadAnswer: It cannot be read, so the walk cannot go on after it.
    """
    found = readable(value)
    if found is None:
        raise BadAnswer("a row has no readable time to go on from")
    return found


def readable(value: Any) -> datetime | None:
    """A time, or `None` if it cannot be read."""
    try:
        return instant(value, "time", naive_is_utc=True)
    except FieldError:
        return None


def wire(value: datetime) -> str:
    """A time as filters take it."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def time_params(segment: Segment) -> dict[str, str]:
    """The query of the next page of a time window."""
    by = segment["by"]
    params = {"_order_by": by, "_limit": str(DEALS_PER_PAGE)}
    if segment.get("a"):
        params[f"{by}__gte"] = segment["a"]
    if segment.get("b"):
        params[f"{by}__lt"] = segment["b"]
    if segment.get("eq"):
        field, value = segment["eq"]
        params[f"{field}__gte"] = value
        params[f"{field}__lt"] = wire(moment(value) + _TICK)
    if segment.get("lead"):
        params["lead_id"] = segment["lead"]
    if segment.get("skip"):
        params["_skip"] = str(segment["skip"])
    return params


def page_of(body: Any) -> tuple[list[Row], bool, int | None]:
    """Rows, whether more follow, and how many match in all (if told).

    Raises:
        BadAnswer: The answer is no list, or contradicts itself.
    """
    if not isinstance(body, dict):
        raise BadAnswer("the answer is not a JSON object")
    rows, more, total = body.get("data"), body.get("has_more"), body.get("total_results")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadAnswer("the answer holds no list of records")
    if more and not rows:
        raise BadAnswer("the answer is empty but says that more follows")
    return rows, bool(more), total if isinstance(total, int) else None


def after_time_page(
    segment: Segment, rows: list[Row], more: bool, total: int | None, room: Room
) -> tuple[list[Row], list[Segment]]:
    """The new rows of a page, and what remains of its window.

    Raises:
        BadAnswer: Rows are missing or out of order.
        IncompleteRead: Deals that share both times change faster than they can be read.
    """
    skip = segment.get("skip", 0)
    if not more and total is not None and skip + len(rows) < total:
        raise BadAnswer(f"{skip + len(rows)} of {total} records came, and no more are announced")
    fresh = windows.unseen(segment, rows)
    if skip and total != segment.get("total"):
        # One left the burst, so those behind it have slid past the border of a page.
        return fresh, [_again(segment, "deals that share both times change")]
    if not more:
        return fresh, []
    by = segment["by"]
    first, last = windows.span(rows, by, readable)
    if last < first or (segment.get("a") and first < moment(segment["a"]) - _TICK):
        raise BadAnswer(f"the page is not sorted by {by}")
    if last > first or (segment.get("a") and last > moment(segment["a"])):
        seen = [row["id"] for row in rows if readable(row.get(by)) == last]
        rest: Segment = {**segment, "a": wire(last), "skip": 0, "seen": seen}
        return fresh, _cut(rest, None if total is None else total - skip - len(rows), room)
    return fresh, _after_burst(segment, len(rows), total, last)


def _after_burst(segment: Segment, read: int, total: int | None, at: datetime) -> list[Segment]:
    """Go on after a page whose rows share one time, however many more do.

    The burst is walked by the other time, which its rows share only if they were also
    created together; only then `_skip` has to serve.
    """
    if segment.get("eq"):
        skip = segment.get("skip", 0) + read
        return [{**segment, "a": wire(at), "skip": skip, "seen": [], "total": total}]
    by = segment["by"]
    burst = {**segment, "by": _OTHER[by], "eq": [by, wire(at)], "a": None, "b": None, "seen": [], "skip": 0}
    return [burst, {**segment, "a": wire(at + _TICK), "seen": [], "skip": 0}]


def _again(segment: Segment, what: str) -> Segment:
    """The same stretch from its first page.

    Raises:
        IncompleteRead: That has been done too often.
    """
    again = segment.get("again", 0) + 1
    if again > SHIFTS_AT_MOST:
        raise IncompleteRead(f"{what} faster than they can be read")
    return {**segment, "skip": 0, "again": again}


def _cut(rest: Segment, left: int | None, room: Room) -> list[Segment]:
    """The rest of a window, in several parts if threads are idle and it is long enough."""
    start, end = moment(rest["a"]), moment(rest["b"] or rest["h"])
    if left is None or end - start <= _SMALLEST_CUT:
        return [rest]
    parts = room.parts(left, DEALS_PER_PAGE)
    borders = [wire(start + (end - start) * place / parts) for place in range(1, parts)]
    return windows.split(rest, borders, borders)


def activity_params(segment: Segment) -> dict[str, str]:
    """The query of the next page of an activity window; these lists have no order."""
    params = {"_limit": str(ACTIVITIES_PER_PAGE)}
    if segment.get("a"):
        params["date_created__gte"] = segment["a"]
    params["date_created__lt"] = segment["b"]
    if segment.get("skip"):
        params["_skip"] = str(segment["skip"])
    return params


def activity_windows(start: datetime | None, end: datetime) -> list[Segment]:
    """Windows that get longer with age, as most activities are recent."""
    if start is not None:
        return [{"a": wire(start), "b": wire(end), "skip": 0}]
    borders = [end - timedelta(days=days) for days in (30, 90, 180, 365, 730, 1460)]
    ends = [end, *borders]
    starts: list[datetime | None] = [*borders, None]
    return [{"a": a and wire(a), "b": wire(b), "skip": 0} for a, b in zip(starts, ends, strict=True)]


def after_activity_page(segment: Segment, rows: list[Row], more: bool, room: Room) -> list[Segment]:
    """What remains of an activity window.

    Each page begins with the last row of the page before: if it does not, rows have
    shifted (something was deleted) and the window is read again.

    Raises:
        IncompleteRead: The window keeps shifting.
    """
    proof = segment.get("proof")
    if proof and (not rows or rows[0].get("id") != proof):
        return [{**_again(segment, "the activities of a window change"), "proof": None}]
    if not more:
        return []
    # These answers do not tell how many there are: a first full page is reason enough to cut.
    parts = 1 if segment["skip"] else 1 + room.take(3)
    cut = split_activities(segment, parts) if parts > 1 else []
    return cut or [_next_activities(segment, rows)]


def _next_activities(segment: Segment, rows: list[Row]) -> Segment:
    step = max(1, len(rows) - 1)
    return {**segment, "skip": segment["skip"] + step, "proof": rows[-1]["id"] if len(rows) > 1 else None}


def split_activities(segment: Segment, parts: int) -> list[Segment]:
    """An activity window cut into parts of whole seconds; nothing if it is too short."""
    start, end = moment(segment["a"]) if segment.get("a") else _EARLIEST, moment(segment["b"])
    if end - start < parts * _SMALLEST_CUT:
        return []
    # Activity filters have a granularity of one second.
    borders = [
        wire((start + (end - start) * place / parts).replace(microsecond=0)) for place in range(1, parts)
    ]
    return windows.split({**segment, "skip": 0, "proof": None}, borders, borders)


def lead_params(segment: Segment, fields: str) -> dict[str, str]:
    """The query of the next page of leads, which can neither be filtered nor sorted."""
    return {"_limit": str(LEADS_PER_PAGE), "_skip": str(segment["skip"]), "_fields": fields}


def after_lead_page(
    segment: Segment, rows: list[Row], more: bool, total: int | None, room: Room
) -> list[Segment]:
    """What remains of a run of lead pages, in several runs if threads are idle.

    Raises:
        BadAnswer: Rows are missing.
    """
    step = LEADS_PER_PAGE - LEAD_OVERLAP
    if not more and total is not None and segment["skip"] + len(rows) < total:
        raise BadAnswer(f"{segment['skip'] + len(rows)} of {total} leads came, and no more are announced")
    following = segment["skip"] + (step if len(rows) == LEADS_PER_PAGE else max(1, len(rows) - LEAD_OVERLAP))
    end = segment.get("end")
    if not more or (end is not None and following >= end):
        return []
    rest: Segment = {**segment, "skip": following}
    if segment["skip"] or total is None or len(rows) != LEADS_PER_PAGE:
        return [rest]
    pages = -(-(total - following) // step)
    parts = 1 + room.take(pages - 1)
    # The last run is open at its end: leads may be added meanwhile.
    starts = [following + step * (pages * place // parts) for place in range(parts)]
    return [
        {**rest, "skip": start, "end": end} for start, end in zip(starts, [*starts[1:], None], strict=True)
    ]
