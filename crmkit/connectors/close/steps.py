"""One page at a time: the call for a segment, its records, and what remains to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from crmkit.connectors import translate
from crmkit.connectors.base import Context, Unreadable
from crmkit.connectors.close import records, walks
from crmkit.connectors.close.custom import CustomFields, Row
from crmkit.connectors.close.dialect import TooDeep
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.walk import Segment
from crmkit.errors import BadAnswer, IncompleteRead, NotFound, Rejected
from crmkit.model import (
    AnyRecord,
    Company,
    Contact,
    Deal,
    Kind,
    Note,
    Record,
    Ref,
    StageChange,
    Tombstone,
)

T = TypeVar("T")
BAD_ANSWER_TRIES = 3
SEARCH_PER_PAGE = 100
SEARCH_DEPTH = 10_000
LEAD_FIELDS = ("id", "name", "display_name", "url", "html_url", "addresses", "date_created", "date_updated")
CONTACT_FIELDS = ("id", "lead_id", "name", "display_name", "emails", "phones", "date_created", "date_updated")
OBJECTS = {
    Kind.COMPANY: "lead",
    Kind.CONTACT: "contact",
    Kind.DEAL: "opportunity",
    Kind.NOTE: "activity.note",
}
PATHS = {
    Kind.COMPANY: "/lead/",
    Kind.CONTACT: "/contact/",
    Kind.DEAL: "/opportunity/",
    Kind.NOTE: "/activity/note/",
    Kind.STAGE_CHANGE: "/activity/status_change/opportunity/",
}
_MODELS: dict[Kind, type[Record]] = {
    Kind.COMPANY: Company,
    Kind.CONTACT: Contact,
    Kind.DEAL: Deal,
    Kind.NOTE: Note,
    Kind.STAGE_CHANGE: StageChange,
}


@dataclass(frozen=True, slots=True)
class Found:
    """What one step brought."""

    records: Sequence[AnyRecord] = ()
    unreadable: Sequence[Unreadable] = ()
    tombstones: Sequence[Tombstone] = field(default_factory=list)


class Steps:
    """The steps of reading one kind.

    Args:
        context: The connection.
        http: Its HTTP side.
        kind: What is read.
        fields: Its custom fields.
        in_flight: How many steps run side by side.
        full: Whether everything is read, not only what changed.
    """

    def __init__(
        self, context: Context, http: Http, kind: Kind, fields: CustomFields, in_flight: int, *, full: bool
    ) -> None:
        self.context = context
        self.http = http
        self.kind = kind
        self.fields = fields
        self.full = full
        self.room = walks.Room(0, in_flight)
        self._in_flight = in_flight
        connection = context.connection
        self._translate: Callable[[Row], Row] = {
            Kind.COMPANY: lambda: records.company_translator(connection, fields),
            Kind.CONTACT: lambda: records.contact_translator(connection, fields),
            Kind.DEAL: lambda: records.deal_translator(connection, fields),
            Kind.NOTE: lambda: records.note_translator(connection),
            Kind.STAGE_CHANGE: lambda: records.stage_change_translator(connection),
        }[kind]()

    def begin(self, segments: Sequence[Segment]) -> None:
        """A walk starts from these segments."""
        self.room = walks.Room(len(segments), self._in_flight)

    def step(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        """Read one page of a segment."""
        return {
            "time": self._deal_page,
            "act": self._activity_page,
            "lead": self._lead_page,
            "search": self._search_page,
            "events": self._event_page,
            "one": self._single,
        }[segment["t"]](segment)

    def ask(self, call: Call, read: Callable[[Answer], T]) -> T:
        """Send a call and read its answer; an answer that contradicts itself is asked again."""
        for attempt in range(BAD_ANSWER_TRIES):
            answer = self.http.send(call)
            try:
                return read(answer)
            except BadAnswer as error:
                named = str(error).startswith(answer.what)
                failure = error if named else BadAnswer(f"{answer.what}: {error}")
                if attempt + 1 < BAD_ANSWER_TRIES:
                    self.context.clock.sleep(2.0**attempt, self.context.cancelled)
        raise failure

    def translated(self, rows: Sequence[Row]) -> Found:
        """Records of the rows."""
        good, bad = translate.records(
            _MODELS[self.kind],
            self.context.connection,
            self.kind,
            rows,
            self._translate,
            records.identify,
        )
        return Found(good, bad)  # type: ignore[arg-type]

    def _deal_page(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        call = Call(
            "GET",
            "/opportunity/",
            params=walks.time_params(segment),
            buckets=("GET opportunity",),
            label="GET /opportunity/",
        )

        def read(answer: Answer) -> tuple[list[Row], list[Segment]]:
            rows, more, total = walks.page_of(answer.json())
            return walks.after_time_page(segment, rows, more, total, self.room)

        try:
            rows, rest = self.ask(call, read)
        except TooDeep as error:
            raise IncompleteRead(
                f"{self.context.connection}: more deals share both times of {segment['eq'][1]} than "
                f"Close lets anyone list ({error})"
            ) from error
        if self.kind is Kind.NOTE:
            return self._deal_notes(rows), rest
        return self.translated(rows), rest

    def _deal_notes(self, rows: Sequence[Row]) -> Found:
        written = self.translated([row for row in rows if row.get("note")])
        # The deal may never have had a note: then nobody misses it.
        gone = [] if self.full else [self._gone(row["id"], None) for row in rows if not row.get("note")]
        return Found(written.records, written.unreadable, gone)

    def _activity_page(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        path = PATHS[self.kind]
        call = Call(
            "GET",
            path,
            params=walks.activity_params(segment),
            buckets=("GET activity",),
            label=f"GET {path}",
        )
        try:
            rows, more, _ = self.ask(call, lambda answer: walks.page_of(answer.json()))
        except TooDeep:
            parts = walks.split_activities(segment, 2)
            if not parts:
                raise
            self.room.done(len(parts))
            return Found(), parts
        return self.translated(rows), walks.after_activity_page(segment, rows, more, self.room)

    def _lead_page(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        wanted = (*LEAD_FIELDS, "custom") if self.kind is Kind.COMPANY else ("id", "contacts")
        call = Call(
            "GET",
            "/lead/",
            params=walks.lead_params(segment, ",".join(wanted)),
            buckets=("GET lead",),
            label="GET /lead/",
        )

        def read(answer: Answer) -> tuple[list[Row], list[Segment]]:
            rows, more, total = walks.page_of(answer.json())
            return rows, walks.after_lead_page(segment, rows, more, total, self.room)

        try:
            rows, rest = self.ask(call, read)
        except TooDeep:
            # Beyond the depth of the list only the search goes on; it starts over, oldest first.
            self.room.done(1)
            return Found(), [] if segment.get("end") else [{"t": "search", "a": None, "c": None, "n": 0}]
        return self._of_leads(rows), rest

    def _of_leads(self, rows: Sequence[Row]) -> Found:
        if self.kind is Kind.COMPANY:
            return self.translated(rows)
        return self.translated([contact for row in rows for contact in records.contacts_of(row)])

    def _search_page(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        """Leads or contacts through the search, whose date filter knows days only.

        Source: https://developer.close.com/api/resources/advanced-filtering/search
        """
        found = OBJECTS[self.kind]
        call = Call(
            "POST",
            "/data/search/",
            json=_search(found, segment),
            buckets=("POST data",),
            label="POST /data/search/",
        )
        body = self.ask(call, Answer.mapping)
        rows, cursor = body.get("data"), body.get("cursor")
        if not isinstance(rows, list):
            raise BadAnswer(f"{self.context.connection}: POST /data/search/: no list of records")
        if cursor is not None and cursor == segment["c"]:
            raise IncompleteRead(f"{self.context.connection}: POST /data/search/ repeats its cursor")
        read = segment["n"] + len(rows)
        self.room.done(1)
        if read < SEARCH_DEPTH - SEARCH_PER_PAGE:
            return self.translated(rows), [{**segment, "c": cursor, "n": read}] if cursor else []
        # The chain ends here. A day of margin, as days are days of the user's zone.
        day = (walks.moment(rows[-1].get("date_created")) - timedelta(days=1)).date().isoformat()
        if segment["a"] and day <= segment["a"]:
            raise IncompleteRead(
                f"{self.context.connection}: more than {SEARCH_DEPTH} records of one kind were created "
                f"around {day}: neither the list nor the search of Close reaches all of them"
            )
        return self.translated(rows), [{"t": "search", "a": day, "c": None, "n": 0}]

    def _event_page(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        events, cursor = self._events(segment["o"], segment["x"], segment["c"])
        since = walks.moment(segment["since"])
        gone = [stone for event in events if event_time(event) >= since for stone in self.tombstones(event)]
        if not events or cursor is None or event_time(events[-1]) < since:
            self.room.done(0)
            return Found(tombstones=gone), []
        self.room.done(1)
        return Found(tombstones=gone), [{**segment, "c": cursor}]

    def events(self, what: str, action: str, since: datetime) -> Iterator[Row]:
        """Events since a time, newest first.

        Events of one change may be put together and appear late, so a caller re-reads some
        minutes each time. The time is compared here: the filter may not go with a cursor.

        Source: https://developer.close.com/api/resources/events/list
        """
        cursor: str | None = None
        while True:
            events, cursor = self._events(what, action, cursor)
            yield from (event for event in events if event_time(event) >= since)
            if not events or cursor is None or event_time(events[-1]) < since:
                return

    def _events(self, what: str, action: str, cursor: str | None) -> tuple[list[Row], str | None]:
        params = {"object_type": what, "action": action, "_limit": str(walks.EVENTS_PER_PAGE)}
        if cursor:
            params["_cursor"] = cursor
        call = Call("GET", "/event/", params=params, buckets=("GET event",), label="GET /event/")

        def read(answer: Answer) -> tuple[list[Row], str | None]:
            rows, _, _ = walks.page_of(answer.json())
            following = answer.mapping().get("cursor_next")
            if following is not None and following == cursor:
                raise BadAnswer("the event log repeats its cursor")
            return rows, following

        return self.ask(call, read)

    def tombstones(self, event: Row) -> list[Tombstone]:
        """What an event tells about vanished records of this kind."""
        at, native = event_time(event), event.get("object_id")
        if event.get("action") == "merged":
            source, into = merged(event)
            return [self._gone(source, at, into)] if source and self.kind is Kind.COMPANY else []
        if event.get("object_type") == OBJECTS.get(self.kind):
            return [self._gone(native, at)] if native else []
        # A deleted lead takes its children along. Whether they have events of their own is
        # not documented; the deleted lead itself names those it had.
        children = {Kind.DEAL: "opportunities", Kind.CONTACT: "contacts"}.get(self.kind)
        before = event.get("previous_data") or {}
        rows = (before.get(children) or []) if children else []
        return [self._gone(row["id"], at) for row in rows if isinstance(row, dict) and row.get("id")]

    def _gone(self, native: str, at: datetime | None, into: str | None = None) -> Tombstone:
        return Tombstone(ref=Ref(self.context.connection, self.kind, native), merged_into=into, at=at)

    def _single(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        self.room.done(0)
        row = self.row(segment["path"], segment["id"])
        if row is None:
            return Found(), []  # deleted since: its tombstone comes from the event log
        if segment["path"] == "/lead/":
            return self._of_leads([row]), []
        return self.translated([row]), []

    def row(self, path: str, native: str) -> Row | None:
        """One record, or `None` if it does not exist."""
        group = path.strip("/").partition("/")[0]
        call = Call(
            "GET",
            f"{path}{quote(native, safe='')}/",
            buckets=(f"GET {group}",),
            label=f"GET {path}{{id}}/",
        )
        try:
            return self.ask(call, Answer.mapping)
        except NotFound:
            return None
        except Rejected as error:
            if "does not exist" in str(error):
                return None
            raise


def event_time(event: Row) -> datetime:
    """When an event was last changed; its times carry no offset and are UTC."""
    return walks.moment(event.get("date_updated") or event.get("date_created"))


def merged(event: Row) -> tuple[str | None, str | None]:
    """The lead that vanished in a merge, and the one that took its place."""
    meta = event.get("meta") or {}
    return meta.get("merge_source_lead_id"), meta.get("merge_destination_lead_id")


def _search(what: str, segment: Segment) -> dict[str, Any]:
    created = {"type": "regular_field", "object_type": what, "field_name": "date_created"}
    conditions: list[dict[str, Any]] = [{"type": "object_type", "object_type": what}]
    if segment["a"]:
        start = {"type": "fixed_local_date", "value": segment["a"], "which": "start"}
        conditions.append(
            {
                "type": "field_condition",
                "field": created,
                "condition": {"type": "moment_range", "on_or_after": start},
            }
        )
    fields = (*(LEAD_FIELDS if what == "lead" else CONTACT_FIELDS), "custom")
    return {
        "query": {"type": "and", "queries": conditions},
        "_fields": {what: list(fields)},
        "_limit": SEARCH_PER_PAGE,
        "cursor": segment["c"],
        "sort": [{"direction": "asc", "field": created}],
    }


def server_time(answer: Answer) -> datetime:
    """The server's clock.

    Raises:
        BadAnswer: The answer does not tell it.
    """
    if answer.date is None:
        raise BadAnswer(f"{answer.what}: the answer has no Date header")
    return answer.date.astimezone(UTC)
