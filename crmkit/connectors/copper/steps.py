"""One page at a time: the call for a segment, its records, and what remains to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.base import Context
from crmkit.connectors.copper import records, walks
from crmkit.connectors.copper.choices import chunks
from crmkit.connectors.copper.dialect import BUCKET
from crmkit.connectors.copper.values import Row
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.walk import Found, Segment, walk
from crmkit.connectors.windows import Room
from crmkit.errors import BadAnswer, IncompleteRead, NotFound
from crmkit.model import Company, Contact, Deal, Kind, Note, Record, Ref, StageChange, Tombstone

SEARCHES = {
    Kind.DEAL: "/opportunities/search",
    Kind.COMPANY: "/companies/search",
    Kind.CONTACT: "/people/search",
    Kind.NOTE: "/activities/search",
    Kind.STAGE_CHANGE: "/activities/search",
}
# Ids of activity types repeat across categories. Source:
# https://developer.copper.com/activities/list-activity-types.html
ACTIVITY_TYPES = {
    Kind.NOTE: {"id": 0, "category": "user"},
    Kind.STAGE_CHANGE: {"id": 3, "category": "system"},
}
# Notes on people, leads, projects and tasks have no place in the model.
PARENTS = {Kind.NOTE: ("opportunity", "company"), Kind.STAGE_CHANGE: ("opportunity",)}
_MODELS: dict[Kind, type[Record]] = {
    Kind.COMPANY: Company,
    Kind.CONTACT: Contact,
    Kind.DEAL: Deal,
    Kind.NOTE: Note,
    Kind.STAGE_CHANGE: StageChange,
}


def call(method: str, path: str, *, label: str | None = None, json: Any = None) -> Call:
    """A call on the account's one limit."""
    return Call(method, path, json=json, buckets=(BUCKET,), label=label or f"{method} {path}")


class Wire:
    """The calls that reads and writes share.

    Args:
        context: What the connection was opened with.
        http: Sends calls.
        in_flight: How many calls for single records run side by side.
        fresh_reads: Whether records are read by their own addresses and never by a search.
    """

    def __init__(self, context: Context, http: Http, *, in_flight: int, fresh_reads: bool) -> None:
        self.context = context
        self.http = http
        self.in_flight = in_flight
        self.fresh_reads = fresh_reads

    def listed(self, path: str) -> tuple[list[Row], datetime]:
        """A small list, which comes whole, and the server's time."""
        return self.http.fetch(call("GET", path), lambda answer: (rows_of(answer), server_time(answer)))

    def named(self, path: str) -> dict[int, str]:
        """Name per id of a small list."""
        return {row["id"]: str(row.get("name") or row["id"]) for row in self.listed(path)[0]}

    def users(self) -> list[Row]:
        """All users; the list has neither an order nor a total."""
        rows: dict[int, Row] = {}
        number = 1
        while True:
            body = {"page_number": number, "page_size": walks.PER_PAGE}
            came = self.http.fetch(call("POST", "/users/search", json=body), rows_of)
            known = len(rows)
            rows |= {row["id"]: row for row in came}
            if len(came) < walks.PER_PAGE:
                return list(rows.values())
            if len(rows) == known:
                raise IncompleteRead(f"{self.context.connection}: POST /users/search repeats its pages")
            number += 1

    def current(self, kind: Kind, natives: Iterable[int]) -> dict[int, Row]:
        """The rows of these records as they are now, by id; what does not exist is left out.

        What is read here decides what is overwritten, and the search may trail behind writes
        (inferred). Only without `fresh_reads` is it asked first, 200 records at a time.
        Activities cannot be searched by id.
        """
        wanted = list(dict.fromkeys(natives))
        found: dict[int, Row] = {}
        if not self.fresh_reads and kind not in ACTIVITY_TYPES:
            pages: list[Segment] = [{"ids": list(some)} for some in chunks(wanted, walks.PER_PAGE)]
            searched = walk(
                pages, lambda page: (self._searched(kind, page["ids"]), ()), in_flight=self.in_flight
            )
            found |= {row["id"]: row for rows, _ in searched for row in rows}
        # Gone, or so new that the search does not show it yet: only its own address tells.
        rest: list[Segment] = [{"id": native} for native in wanted if native not in found]
        singles = walk(rest, lambda one: (self._record(kind, one["id"]), ()), in_flight=self.in_flight)
        found |= {row["id"]: row for row, _ in singles if row is not None}
        return {native: found[native] for native in wanted if native in found}

    def _searched(self, kind: Kind, natives: Sequence[int]) -> list[Row]:
        """The rows with these ids that the search shows, at most 200."""
        body = {
            "ids": list(natives),
            "page_number": 1,
            "page_size": walks.PER_PAGE,
            "sort_by": "date_created",
            "sort_direction": "asc",
        }
        return self.http.fetch(call("POST", SEARCHES[kind], json=body), rows_of)

    def _record(self, kind: Kind, native: int) -> Row | None:
        """The row at a record's own address; `None` if there is none, or a deleted one's stub."""
        path = SEARCHES[kind].removesuffix("/search")
        request = call("GET", f"{path}/{native}", label=f"GET {path}/{{id}}")

        def read(answer: Answer) -> Row:
            row = answer.mapping()
            if row.get("id") != native:
                raise BadAnswer("the answer is not the record that was asked for")
            return row

        try:
            row = self.http.fetch(request, read)
        except NotFound:
            return None
        return None if row.get("is_deleted") else row


class Steps:
    """The steps of reading one kind.

    Args:
        wire: Sends calls.
        kind: What is read.
        translate_row: Gives the model's fields of a row.
        in_flight: How many steps run side by side.
        deals: Of activities, only those of these deals are wanted.
    """

    def __init__(
        self,
        wire: Wire,
        kind: Kind,
        translate_row: Callable[[Row], Row],
        in_flight: int,
        deals: frozenset[str] | None = None,
    ) -> None:
        self.wire = wire
        self.kind = kind
        self.deals = deals
        self.room = Room(in_flight)
        self._translate = translate_row

    def step(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        """Read one page of a segment."""
        return self.room.counted(self._page, segment)

    def _page(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        body = walks.body_of(segment)
        if self.kind in ACTIVITY_TYPES:
            body["activity_types"] = [ACTIVITY_TYPES[self.kind]]
            if segment.get("deal"):
                body["parent"] = {"type": "opportunity", "id": segment["deal"]}

        def read(answer: Answer) -> tuple[list[Row], Sequence[Segment]]:
            return walks.after_page(segment, rows_of(answer), _total(answer), self.room)

        rows, rest = self.wire.http.fetch(call("POST", SEARCHES[self.kind], json=body), read)
        return self.translated(rows), rest

    def translated(self, rows: Sequence[Row]) -> Found:
        """Records of the rows, and tombstones of those that are only stubs."""
        connection = self.wire.context.connection
        gone = [
            Tombstone(ref=Ref(connection, self.kind, str(row["id"]))) for row in rows if row.get("is_deleted")
        ]
        live = [row for row in rows if not row.get("is_deleted")] if gone else rows
        if self.kind in PARENTS:
            live = [row for row in live if self._wanted(row.get("parent") or {})]
        good, bad = translate.records(
            _MODELS[self.kind], connection, self.kind, live, self._translate, records.identify
        )
        return Found(good, bad, gone)  # type: ignore[arg-type]

    def _wanted(self, parent: Row) -> bool:
        return parent.get("type") in PARENTS[self.kind] and (
            self.deals is None or str(parent.get("id")) in self.deals
        )


def rows_of(answer: Answer) -> list[Row]:
    """The records of an answer.

    Raises:
        BadAnswer: It is no list of records.
    """
    rows = answer.rows()
    if not all(isinstance(row, dict) and "id" in row for row in rows):
        raise BadAnswer("the answer is no list of records with ids")
    return rows


def server_time(answer: Answer) -> datetime:
    """The server's clock.

    Raises:
        BadAnswer: The answer does not tell it.
    """
    if answer.date is None:
        raise BadAnswer("the answer has no Date header")
    return answer.date.astimezone(UTC)


def _total(answer: Answer) -> int | None:
    text = answer.headers.get("X-PW-TOTAL", "")
    return int(text) if text.isdecimal() else None
