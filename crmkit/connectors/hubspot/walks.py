"""Every live record of a kind, by ranges of ids that are listed side by side.

A full walk asks for the first page, then for the highest id (one search), and cuts the
ids between them into ranges that are listed side by side; a range is cut again whenever a
worker would be idle. That works because the token of a list is a record id (inferred).
Each page proves it anew; the first that does not makes the walk start over, one page
after the other, as the token then leads.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crmkit.connectors.hubspot import rows as rows_
from crmkit.connectors.hubspot.answers import Listing, Row, ascending
from crmkit.connectors.hubspot.calls import LINKS_LIMIT, Api, list_query
from crmkit.connectors.hubspot.rows import Found
from crmkit.connectors.hubspot.schema import Schema
from crmkit.connectors.walk import Segment
from crmkit.errors import IncompleteRead, Rejected

FEWEST_PAGES_TO_SPLIT = 4
PAGES_PER_LABEL_CALL = LINKS_LIMIT // 100


class NotById(Exception):
    """The token of a list is not what this walk takes it for."""


@dataclass(slots=True)
class FullWalk:
    """Lists every live record of a kind.

    Segments: `{}` is the beginning; `from`, `to`, `top`, `after` an id range, of which
    `to` is open at the end and `top` the highest id known; `serial` follows tokens only.

    Args:
        api: HubSpot.
        schema: What to read.
        in_flight: How many ranges are wanted at once.
        open: How many segments the walk begins with.
    """

    api: Api
    schema: Schema
    in_flight: int
    open: int = 1
    _query: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tokens: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        schema = self.schema
        names = ("hs_object_id",) if schema.oversize else schema.names
        self._query = list_query(names, links=schema.wire.links, history=schema.wire.history)

    def step(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        """Read a page of a segment; ten of them where labels are read by the thousand."""
        kept: list[Row] = []
        todo: Sequence[Segment] = [segment]
        for _ in range(PAGES_PER_LABEL_CALL if self.schema.labelled else 1):
            page, todo = self._page(todo[0])
            kept += page
            if len(todo) != 1:
                break
        with self._lock:
            if len(todo) == 1 and self.open < self.in_flight:
                todo = _halved(todo[0], len(kept), segment)
            self.open += len(todo) - 1
        found = rows_.translated(self.schema, rows_.complete(self.api, self.schema, kept))
        return found, todo

    def _page(self, segment: Segment) -> tuple[list[Row], Sequence[Segment]]:
        after = segment.get("after")
        if after is None and "from" in segment:
            # One below, and that one is dropped: right whether a token means "from" or "after".
            try:
                page = self.api.page(self.schema.wire.of, self._query, str(segment["from"] - 1))
            except Rejected as error:
                raise NotById from error
        else:
            page = self.api.page(self.schema.wire.of, self._query, after)
        if segment.get("serial"):
            return page.rows, self._next_serial(page)
        if "from" not in segment:
            return page.rows, self._first(page)
        return self._in_range(segment, page)

    def _next_serial(self, page: Listing) -> Sequence[Segment]:
        if page.after is None:
            return []
        with self._lock:
            if page.after in self._tokens:
                raise IncompleteRead(
                    f"{self.schema.connection}: listing {self.schema.wire.of}: a page token came twice"
                )
            self._tokens.add(page.after)
        return [{"serial": True, "after": page.after}]

    def _first(self, page: Listing) -> Sequence[Segment]:
        if page.after is None:
            return []
        ids = ascending(page.rows)
        token = _number(page.after)
        if not ids or token is None or token < ids[-1]:
            return self._next_serial(page)
        top, total = self._highest()
        begin = ids[-1] + 1
        rest: Segment = {"from": begin, "to": None, "top": top, "after": page.after}
        pages = (total - len(ids)) / len(ids)
        parts = min(self.in_flight, int(pages / FEWEST_PAGES_TO_SPLIT))
        if top <= begin or parts < 2:
            return [rest]
        return _cut(rest, parts, ids[-1] - ids[0] + 1)

    def _highest(self) -> tuple[int, int]:
        """The highest id and the number of records, as far as the search index knows them."""
        body = {
            "sorts": [{"propertyName": "hs_object_id", "direction": "DESCENDING"}],
            "properties": ["hs_object_id"],
            "limit": 1,
        }
        page = self.api.search(self.schema.wire.of, body)
        ids = ascending(page.rows)
        return (ids[0], page.total or 0) if ids else (0, 0)

    def _in_range(self, segment: Segment, page: Listing) -> tuple[list[Row], Sequence[Segment]]:
        begin, end = segment["from"], segment["to"]
        ids = ascending(page.rows)
        if ids is None or (ids and ids[0] < begin - 1):
            raise NotById
        if page.after is None and (ids[-1] if ids else 0) < segment["top"] and self._is_there(segment["top"]):
            if segment.get("after") is None and not ids:
                raise NotById
            raise IncompleteRead(
                f"{self.schema.connection}: listing {self.schema.wire.of}: it ended before the last record"
            )
        kept = [row for id_, row in zip(ids, page.rows, strict=True) if id_ >= begin]
        if end is not None and ids and ids[-1] >= end:
            return [row for id_, row in zip(ids, page.rows, strict=True) if begin <= id_ < end], []
        if page.after is None:
            return kept, []
        token = _number(page.after)
        last = ids[-1] if ids else begin
        if token is None or token < last:
            raise NotById
        if segment.get("after") == page.after:
            raise IncompleteRead(
                f"{self.schema.connection}: listing {self.schema.wire.of}: a page token came twice"
            )
        following = max(last + 1, begin)
        if end is not None and (following >= end or token >= end):
            return kept, []
        return kept, [{"from": following, "to": end, "top": segment["top"], "after": page.after}]

    def _is_there(self, id_: int) -> bool:
        """Whether a record that a list should reach is live: it may have been archived meanwhile."""
        row = self.api.one(self.schema.wire.of, str(id_), ["hs_object_id"])
        return row is not None and str(row["id"]) == str(id_)


def _halved(rest: Segment, read: int, before: Segment) -> Sequence[Segment]:
    """The rest of a range in two, if it is long enough."""
    if "from" not in rest or "from" not in before or not read:
        return [rest]
    width = max(1, (rest["from"] - before["from"]) * 100 // read)
    ahead = (rest["to"] or rest["top"]) - rest["from"]
    return [rest] if ahead < FEWEST_PAGES_TO_SPLIT * width else _cut(rest, 2, width)


def _cut(rest: Segment, parts: int, width: int) -> list[Segment]:
    """A range in parts, each a whole number of pages wide where ids leave no gaps.

    A range that begins at a made-up id spends one place of its first page on the id below.
    """
    begin, end, top = rest["from"], rest["to"], rest["top"]
    share = -(-((end or top + 1) - begin) // parts)
    share = max(1, -(-share // width)) * width
    bounds = [begin]
    while len(bounds) < parts and bounds[-1] + share < (end or top):
        bounds.append(bounds[-1] + share - (len(bounds) > 1))
    ends = [*bounds[1:], end]
    cut: list[Segment] = [
        {"from": low, "to": high, "top": top, "after": None} for low, high in zip(bounds, ends, strict=True)
    ]
    cut[0]["after"] = rest["after"]
    return cut


def _number(token: Any) -> int | None:
    return int(token) if isinstance(token, str) and token.isdigit() else None
