"""What changed since a moment, found by search, and what was archived, listed each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from crmkit.connectors.hubspot import rows as rows_
from crmkit.connectors.hubspot.answers import Listing, ascending
from crmkit.connectors.hubspot.calls import LINKS_LIMIT, SEARCH_LIMIT, Api, list_query
from crmkit.connectors.hubspot.rows import Found
from crmkit.connectors.hubspot.schema import Schema
from crmkit.connectors.walk import Segment
from crmkit.errors import IncompleteRead


@dataclass(slots=True)
class ChangeWalk:
    """Finds by search what changed since a moment, and reads it fresh.

    Every page of the search begins behind the last id of the one before, never at an
    offset: an edit meanwhile moves no other row, and neither the limit of 10,000 results
    nor thousands of records of one millisecond matter. There is no upper bound: newer
    rows are welcome, only the cursor stays behind the index's lag.

    Segments: `gt` is the id to search behind, `ids` are found and wait to be read.
    """

    api: Api
    schema: Schema
    since: datetime

    def step(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        """Search for up to a thousand ids, or read those found."""
        if "ids" in segment:
            return rows_.translated(self.schema, rows_.fetch(self.api, self.schema, segment["ids"])), []
        ids: list[str] = []
        last, more = int(segment["gt"]), True
        while more and len(ids) < LINKS_LIMIT:
            last, more = self._search(last, ids)
        # Reading comes first: searching runs ahead only where a worker is free for it, so that
        # few ids wait in the cursor however many records one bulk edit changed.
        todo: list[Segment] = [{"ids": ids}] if ids else []
        if more:
            todo.append({"gt": last})
        return Found(), todo

    def _search(self, behind: int, ids: list[str]) -> tuple[int, bool]:
        wire = self.schema.wire
        # One connector was answered 500 to epoch 0 (contract, section 3).
        since = max(1, millis(self.since))
        filters = [{"propertyName": wire.modified, "operator": "GTE", "value": str(since)}]
        if behind:
            filters.append({"propertyName": "hs_object_id", "operator": "GT", "value": str(behind)})
        body = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": ["hs_object_id"],
            "limit": SEARCH_LIMIT,
        }

        def wrong(page: Listing) -> str | None:
            found = ascending(page.rows)
            if found is None or (found and found[0] <= behind):
                return "ids are not in order"
            if not found and (page.after is not None or page.total):
                return f"{page.total} results promised, none given"
            return None

        page = self.api.search(wire.of, body, wrong)
        found = [int(row["id"]) for row in page.rows]
        more = page.after is not None or (page.total or 0) > len(found)
        ids += map(str, found)
        return (found[-1] if found else behind), more


@dataclass(slots=True)
class ArchivedWalk:
    """Lists archived records, one page after the other: archiving moves nothing else.

    Args:
        api: HubSpot.
        schema: What to read.
        since: Tombstones older than this were told before; `None` tells all.
    """

    api: Api
    schema: Schema
    since: datetime | None
    _tokens: set[str] = field(default_factory=set)

    def step(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        """Read a page."""
        wire = self.schema.wire
        page = self.api.page(wire.of, list_query(["hs_object_id"], archived=True), segment["after"])
        found = rows_.archived(self.schema, page.rows, self.since)
        if page.after is None:
            return found, []
        if page.after in self._tokens:
            raise IncompleteRead(
                f"{self.schema.connection}: listing archived {wire.of}: a page token came twice"
            )
        self._tokens.add(page.after)
        return found, [{"archived": True, "after": page.after, "serial": True}]


def moment(millis: int) -> datetime:
    """A cursor's time."""
    return datetime.fromtimestamp(millis / 1000, tz=UTC)


def millis(at: datetime) -> int:
    """A time for a cursor."""
    return int(at.timestamp() * 1000)
