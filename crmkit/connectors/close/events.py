"""Close's event log: the only place that tells of deletions, merges and edits without a filter.

Source: https://developer.close.com/api/resources/events/list
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from crmkit.connectors.close import walks
from crmkit.connectors.close.custom import Row
from crmkit.connectors.http import Answer, Call, Http
from crmkit.errors import BadAnswer

EVENTS_PER_PAGE = 50


class EventLog:
    """Reads the events of the last 30 days, newest first."""

    def __init__(self, http: Http) -> None:
        self.http = http

    def since(self, what: str, action: str, since: datetime) -> Iterator[Row]:
        """Events since a time, newest first.

        Events of one change may be put together and appear late, so a caller re-reads some
        minutes each time. The time is compared here: the filter may not go with a cursor.
        """
        cursor: str | None = None
        while True:
            events, cursor = self.page(what, action, cursor)
            yield from (event for event in events if event_time(event) >= since)
            if ends(events, cursor, since):
                return

    def page(self, what: str, action: str, cursor: str | None) -> tuple[list[Row], str | None]:
        """One page of events, and the cursor to older ones."""
        params = {"object_type": what, "action": action, "_limit": str(EVENTS_PER_PAGE)}
        if cursor:
            params["_cursor"] = cursor
        call = Call("GET", "/event/", params=params, buckets=("GET event",), label="GET /event/")

        def read(answer: Answer) -> tuple[list[Row], str | None]:
            body = answer.mapping()
            rows, _, _ = walks.page_of(body)
            following = body.get("cursor_next")
            if following is not None and following == cursor:
                raise BadAnswer("the event log repeats its cursor")
            for row in rows:
                event_time(row)
            return rows, following

        return self.http.fetch(call, read)


def ends(events: list[Row], cursor: str | None, since: datetime) -> bool:
    """Whether a page is the last one that can hold events since a time."""
    return not events or cursor is None or event_time(events[-1]) < since


def event_time(event: Row) -> datetime:
    """When an event was last changed; its times carry no offset and are UTC.

    Raises:
        BadAnswer: It tells no time.
    """
    return walks.moment(event.get("date_updated") or event.get("date_created"))


def merged(event: Row) -> tuple[str | None, str | None]:
    """The lead that vanished in a merge, and the one that took its place."""
    meta = event.get("meta") or {}
    return meta.get("merge_source_lead_id"), meta.get("merge_destination_lead_id")


def renamed(event: Row) -> bool:
    """Whether a lead got another name."""
    return not {"name", "display_name"}.isdisjoint(event.get("changed_fields") or ())


def back_dated(event: Row, since: datetime) -> bool:
    """Whether an activity was entered with a time before `since`, or may have been.

    Who is no admin is told the content of young events only.
    """
    stamp = (event.get("data") or {}).get("date_created")
    return stamp is None or walks.moment(stamp) < since


def few(natives: Iterable[str | None], at_most: int) -> set[str] | None:
    """The different ids, or `None` as soon as there are more than `at_most`."""
    found: set[str] = set()
    for native in natives:
        if native:
            found.add(native)
        if len(found) > at_most:
            return None
    return found
