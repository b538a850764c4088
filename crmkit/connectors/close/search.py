"""Leads and contacts through Close's search, for those beyond the depth of the list.

A chain of cursors ends at 10,000 records and dies within half a minute, and the date
filter knows days only: a chain that ended is followed by another one from a day before
the last record that it gave.

Source: https://developer.close.com/api/resources/advanced-filtering/search
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from crmkit.connectors.close import walks
from crmkit.connectors.close.custom import Row
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.walk import Segment
from crmkit.errors import BadAnswer, IncompleteRead, Rejected

PER_PAGE = 100
DEPTH = 10_000
# How often a chain may break before the read is given up.
BREAKS_AT_MOST = 20


def start() -> Segment:
    """A search from the oldest record on.

    `a` is the day from which the chain reads, `day` the one from which the next would.
    """
    return {"t": "search", "a": None, "day": None, "c": None, "n": 0}


def page(http: Http, what: str, fields: tuple[str, ...], segment: Segment) -> tuple[list[Row], list[Segment]]:
    """The next page, and what remains of the search."""
    call = Call(
        "POST",
        "/data/search/",
        json=_query(what, fields, segment),
        buckets=("POST data",),
        label="POST /data/search/",
    )

    def read(answer: Answer) -> tuple[list[Row], str | None, str | None]:
        body = answer.mapping()
        rows, _, _ = walks.page_of(body)
        cursor = body.get("cursor")
        if cursor is not None and cursor == segment["c"]:
            raise BadAnswer("the search repeats its cursor")
        return rows, cursor, _day_before(rows) or segment["day"]

    try:
        rows, cursor, day = http.fetch(call, read)
    except Rejected:
        # The cursor has died; in a read that is resumed later it always has.
        breaks = segment.get("breaks", 0) + 1
        if segment["c"] is None or breaks > BREAKS_AT_MOST:
            raise
        return [], [{**start(), "a": segment["day"], "day": segment["day"], "breaks": breaks}]
    count = segment["n"] + len(rows)
    if cursor is None:
        return rows, []
    if count < DEPTH - PER_PAGE:
        return rows, [{**segment, "c": cursor, "n": count, "day": day}]
    if day is None or (segment["a"] and day <= segment["a"]):
        raise IncompleteRead(
            f"{http.context.connection}: more than {DEPTH} records of one kind were created "
            f"around {day}: neither the list nor the search of Close reaches all of them"
        )
    return rows, [{**start(), "a": day, "day": day}]


def _day_before(rows: list[Row]) -> str | None:
    # A day of margin, as days are days of the user's zone.
    readable = (walks.readable(row.get("date_created")) for row in reversed(rows))
    last = next(filter(None, readable), None)
    return (last - timedelta(days=1)).date().isoformat() if last else None


def _query(what: str, fields: tuple[str, ...], segment: Segment) -> dict[str, Any]:
    created = {"type": "regular_field", "object_type": what, "field_name": "date_created"}
    conditions: list[dict[str, Any]] = [{"type": "object_type", "object_type": what}]
    if segment["a"]:
        since = {"type": "fixed_local_date", "value": segment["a"], "which": "start"}
        condition = {"type": "moment_range", "on_or_after": since}
        conditions.append({"type": "field_condition", "field": created, "condition": condition})
    return {
        "query": {"type": "and", "queries": conditions},
        "_fields": {what: list(fields)},
        "_limit": PER_PAGE,
        "cursor": segment["c"],
        "sort": [{"direction": "asc", "field": created}],
    }
