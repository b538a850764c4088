"""One page at a time: the call for a segment, its records, and what remains to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from crmkit.connectors import translate
from crmkit.connectors.base import Context, Unreadable
from crmkit.connectors.copper import records, walks
from crmkit.connectors.copper.dialect import BUCKET
from crmkit.connectors.copper.values import Row
from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.walk import Segment
from crmkit.errors import BadAnswer, NotFound
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


@dataclass(frozen=True, slots=True)
class Found:
    """What one step brought."""

    records: Sequence[AnyRecord] = ()
    unreadable: Sequence[Unreadable] = ()
    tombstones: Sequence[Tombstone] = ()


def call(method: str, path: str, *, label: str | None = None, json: Any = None) -> Call:
    """A call on the account's one limit."""
    return Call(method, path, json=json, buckets=(BUCKET,), label=label or f"{method} {path}")


class Wire:
    """Calls whose answers are checked, and asked for again if they make no sense."""

    def __init__(self, context: Context, http: Http) -> None:
        self.context = context
        self.http = http

    def ask(self, request: Call, read: Callable[[Answer], T]) -> T:
        """Send a call and read its answer.

        Raises:
            BadAnswer: It made no sense several times.
        """
        for attempt in range(BAD_ANSWER_TRIES):
            answer = self.http.send(request)
            try:
                return read(answer)
            except BadAnswer as error:
                named = str(error).startswith(answer.what)
                failure = error if named else BadAnswer(f"{answer.what}: {error}")
                if attempt + 1 < BAD_ANSWER_TRIES:
                    self.context.clock.sleep(2.0**attempt, self.context.cancelled)
        raise failure

    def listed(self, path: str) -> tuple[list[Row], datetime]:
        """A small list, which comes whole, and the server's time."""
        return self.ask(call("GET", path), lambda answer: (rows_of(answer), server_time(answer)))

    def named(self, path: str) -> dict[int, str]:
        """Name per id of a small list."""
        return {int(row["id"]): str(row["name"]) for row in self.listed(path)[0]}


class Steps:
    """The steps of reading one kind.

    Args:
        wire: Sends calls.
        kind: What is read.
        translate_row: Gives the model's fields of a row.
        in_flight: How many steps run side by side.
    """

    def __init__(self, wire: Wire, kind: Kind, translate_row: Callable[[Row], Row], in_flight: int) -> None:
        self.wire = wire
        self.kind = kind
        self.room = walks.Room(0, in_flight)
        self._translate = translate_row
        self._in_flight = in_flight

    def begin(self, segments: Sequence[Segment]) -> None:
        """A walk starts from these segments."""
        self.room = walks.Room(len(segments), self._in_flight)

    def step(self, segment: Segment) -> tuple[Found, Sequence[Segment]]:
        """Read one page of a segment."""
        body = walks.body_of(segment)
        if self.kind in ACTIVITY_TYPES:
            body["activity_types"] = [ACTIVITY_TYPES[self.kind]]
            if segment.get("deal"):
                body["parent"] = {"type": "opportunity", "id": segment["deal"]}

        def read(answer: Answer) -> tuple[list[Row], Sequence[Segment]]:
            return walks.after_page(segment, rows_of(answer), _total(answer), self.room)

        rows, rest = self.wire.ask(call("POST", SEARCHES[self.kind], json=body), read)
        return self.translated(rows), rest

    def translated(self, rows: Sequence[Row]) -> Found:
        """Records of the rows, and tombstones of those that are only stubs."""
        connection = self.wire.context.connection
        gone = [
            Tombstone(ref=Ref(connection, self.kind, str(row["id"]))) for row in rows if row.get("is_deleted")
        ]
        live = [row for row in rows if not row.get("is_deleted")] if gone else rows
        if self.kind in PARENTS:
            live = [row for row in live if (row.get("parent") or {}).get("type") in PARENTS[self.kind]]
        good, bad = translate.records(
            _MODELS[self.kind], connection, self.kind, live, self._translate, records.identify
        )
        return Found(good, bad, gone)  # type: ignore[arg-type]

    def by_ids(self, natives: Sequence[int]) -> list[Row]:
        """The rows with these ids, at most 200; those that are gone are left out."""
        body = {
            "ids": list(natives),
            "page_number": 1,
            "page_size": walks.PER_PAGE,
            "sort_by": "date_created",
            "sort_direction": "asc",
        }
        return self.wire.ask(call("POST", SEARCHES[self.kind], json=body), rows_of)

    def activity(self, native: str) -> Row | None:
        """One activity, or `None` if it does not exist."""
        request = call("GET", f"/activities/{native}", label="GET /activities/{id}")
        try:
            return self.wire.ask(request, Answer.mapping)
        except NotFound:
            return None


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
