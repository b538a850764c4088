"""One page at a time: the call for a segment, its records, and what remains to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from crmkit.connectors import translate
from crmkit.connectors.base import Context
from crmkit.connectors.close import events, records, search, walks
from crmkit.connectors.close.custom import CustomFields, Row
from crmkit.connectors.close.dialect import TooDeep
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.walk import Found, Segment
from crmkit.connectors.windows import Room
from crmkit.errors import BadAnswer, IncompleteRead, NotFound, Rejected
from crmkit.model import Company, Contact, Deal, Kind, Note, Record, Ref, StageChange, Tombstone

LEAD_FIELDS = ("id", "name", "display_name", "url", "html_url", "addresses", "date_created", "date_updated")
CONTACT_FIELDS = ("id", "lead_id", "name", "display_name", "emails", "phones", "date_created", "date_updated")
OBJECTS = {
    Kind.COMPANY: "lead",
    Kind.CONTACT: "contact",
    Kind.DEAL: "opportunity",
    Kind.NOTE: "activity.note",
    Kind.STAGE_CHANGE: "activity.opportunity_status_change",
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


class Steps:
    """The steps of reading one kind.

    Args:
        context: The connection.
        http: Its HTTP side.
        kind: What is read.
        fields: Its custom fields.
        in_flight: How many steps run side by side.
        full: Whether everything is read, not only what changed.
        deals: Of stage changes, only those of these deals are wanted.
    """

    def __init__(
        self,
        context: Context,
        http: Http,
        kind: Kind,
        fields: CustomFields,
        in_flight: int,
        *,
        full: bool,
        deals: frozenset[str] | None = None,
    ) -> None:
        self.context = context
        self.http = http
        self.kind = kind
        self.full = full
        self.deals = deals
        self.log = events.EventLog(http)
        self.room = Room(in_flight)
        connection = context.connection
        self._translate: Callable[[Row], Row] = {
            Kind.COMPANY: lambda: records.company_translator(connection, fields),
            Kind.CONTACT: lambda: records.contact_translator(connection, fields),
            Kind.DEAL: lambda: records.deal_translator(connection, fields),
            Kind.NOTE: lambda: records.note_translator(connection),
            Kind.STAGE_CHANGE: lambda: records.stage_change_translator(connection),
        }[kind]()
        self._by_type = {
            "time": self._deal_page,
            "act": self._activity_page,
            "lead": self._lead_page,
            "search": self._search_page,
            "events": self._event_page,
            "one": self._single,
        }

    def step(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        """Read one page of a segment."""
        return self.room.counted(self._by_type[segment["t"]], segment)

    def translated(self, rows: Sequence[Row]) -> Found:
        """Records of the rows."""
        if self.deals is not None:
            rows = [row for row in rows if row.get("opportunity_id") in self.deals]
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
            rows, rest = self.http.fetch(call, read)
        except TooDeep as error:
            if not segment.get("skip"):
                raise
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
            rows, more, _ = self.http.fetch(call, lambda answer: walks.page_of(answer.json()))
        except TooDeep as error:
            parts = walks.split_activities(segment, 2)
            if not parts:
                raise IncompleteRead(
                    f"{self.context.connection}: more activities of one second ({segment['b']}) than "
                    f"Close lets anyone list ({error})"
                ) from error
            return Found(), parts
        return self.translated(rows), walks.after_activity_page(segment, rows, more, self.room)

    def history_page(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        """One page of the status changes of one deal."""
        path = PATHS[Kind.STAGE_CHANGE]
        params = {
            "opportunity_id": segment["id"],
            "_limit": str(walks.ACTIVITIES_PER_PAGE),
            "_skip": str(segment["skip"]),
        }
        call = Call("GET", path, params=params, buckets=("GET activity",), label=f"GET {path}")
        rows, more, _ = self.http.fetch(call, lambda answer: walks.page_of(answer.json()))
        rest = [{**segment, "skip": segment["skip"] + len(rows)}] if more else []
        return self.translated(rows), rest

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
            rows, rest = self.http.fetch(call, read)
        except TooDeep:
            # Beyond the depth of the list only the search goes on; it starts over, oldest first.
            return Found(), [] if segment.get("end") else [search.start()]
        return self._of_leads(rows), rest

    def _of_leads(self, rows: Sequence[Row]) -> Found:
        if self.kind is Kind.COMPANY:
            return self.translated(rows)
        return self.translated([contact for row in rows for contact in records.contacts_of(row)])

    def _search_page(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        what = OBJECTS[self.kind]
        fields = (*(LEAD_FIELDS if what == "lead" else CONTACT_FIELDS), "custom")
        rows, rest = search.page(self.http, what, fields, segment)
        return self.translated(rows), rest

    def _event_page(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        page, cursor = self.log.page(segment["o"], segment["x"], segment["c"])
        since = walks.moment(segment["since"])
        young = (event for event in page if events.event_time(event) >= since)
        gone = [stone for event in young for stone in self.tombstones(event)]
        rest = [] if events.ends(page, cursor, since) else [{**segment, "c": cursor}]
        return Found(tombstones=gone), rest

    def tombstones(self, event: Row) -> list[Tombstone]:
        """What an event tells about vanished records of this kind."""
        at, native, what = events.event_time(event), event.get("object_id"), event.get("object_type")
        source, into = events.merged(event)
        if what == "lead" and source:
            # Its children live on, also if the log calls this a deletion.
            return [self._gone(source, at, into)] if self.kind is Kind.COMPANY else []
        if what == OBJECTS[self.kind] or (self.kind is Kind.NOTE and what == "opportunity"):
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
            return self.http.fetch(call, Answer.mapping)
        except NotFound:
            return None
        except Rejected as error:
            if "does not exist" in str(error):
                return None
            raise


def server_time(answer: Answer) -> datetime:
    """The server's clock.

    Raises:
        BadAnswer: The answer does not tell it.
    """
    if answer.date is None:
        raise BadAnswer("the answer has no Date header")
    return answer.date.astimezone(UTC)
