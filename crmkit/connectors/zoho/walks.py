"""How modules are read: everything, then what changed meanwhile; or only what changed.

A whole read walks the id space with COQL, which reads the database and not an index, so a
record that exists throughout cannot be missed. Ids are not in order of creation, so what
was created during the walk is found by the time of its last change afterwards. All times
are the server's.

The cursor names the phase it is in: `walk` (ranges still open), `changed` (by time of last
change), `deleted` (pages of the deleted list), `done`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from crmkit.connectors.base import Page
from crmkit.connectors.translate import FieldError, instant
from crmkit.connectors.walk import Segment, pack, unpack, walk
from crmkit.connectors.zoho import coql
from crmkit.connectors.zoho.calls import Check, Raw, has_ids, ids_of
from crmkit.connectors.zoho.coql import Source, Text
from crmkit.connectors.zoho.dialect import ZohoRefused
from crmkit.errors import BadAnswer, IncompleteRead
from crmkit.model import Kind, Ref, Tombstone

# COQL does not lag; this covers writes under way at the time and the whole seconds of times.
OVERLAP = timedelta(seconds=60)
# The deleted list is not said to be free of lag, and reading a deletion twice costs nothing.
DELETED_OVERLAP = timedelta(minutes=5)
DEPTH_CODES = {"DISCRETE_PAGINATION_LIMIT_EXCEEDED", "PAGINATION_LIMIT_EXCEEDED", "LIMIT_REACHED"}


def read_module(
    source: Source,
    connection: str,
    kind: Kind,
    since: str | None,
    *,
    in_flight: int,
    prepare: Callable[[], None] = lambda: None,
) -> Iterator[Page]:
    """Pages of one module; see `Connector.read`.

    Args:
        source: The module.
        connection: Name of the connection.
        kind: What its rows are.
        since: Where to go on.
        in_flight: How many calls may run at once.
        prepare: Loads what translating needs; called only when rows are about to come.

    Raises:
        IncompleteRead: More records were deleted during a whole read than Zoho lists.
    """
    try:
        yield from _read(source, connection, kind, since, in_flight=in_flight, prepare=prepare)
    except _TooDeep:
        # So many deletions are told only by the absence from a whole read, begun afterwards.
        yield from _read(source, connection, kind, None, in_flight=in_flight, prepare=prepare)


class _TooDeep(IncompleteRead):
    """The deleted list does not reach as far back as is needed."""


def _read(
    source: Source,
    connection: str,
    kind: Kind,
    since: str | None,
    *,
    in_flight: int,
    prepare: Callable[[], None],
) -> Iterator[Page]:
    at = unpack(since) if since else _start(source)
    if at["phase"] == "done":
        at = _again(at)
    if at["phase"] == "walk":
        prepare()
        for page, after in _ranges(source, at, in_flight):
            yield page
            at = after
        at = _changes_from(at["t0"], whole=True)
    if at["phase"] == "changed" and at["to"] is None and not at["whole"]:
        at = _probe(source, at)
    if at["phase"] == "changed":
        prepare()
        for page, after in _changed(source, at):
            yield page
            at = after
    yield from _deleted(source, at, connection, kind)


def _start(source: Source) -> dict[str, Any]:
    answer = source.calls.query(coql.highest_id(source.module), has_ids)
    highest = ids_of(answer.rows)
    ranges = [{"after": "0", "upto": str(highest[0])}] if highest else []
    return {"phase": "walk", "t0": to_text(answer.date), "open": ranges}


def _again(done: dict[str, Any]) -> dict[str, Any]:
    return _changes_from(done["mark"], whole=False)


def _changes_from(moment: str, *, whole: bool) -> dict[str, Any]:
    return {"phase": "changed", "from": moment, "to": None, "at": None, "id": None, "whole": whole}


def _ranges(source: Source, at: dict[str, Any], in_flight: int) -> Iterator[tuple[Page, dict[str, Any]]]:
    lock = threading.Lock()
    open_ranges = len(at["open"])

    def step(segment: Segment) -> tuple[Page, Sequence[Segment]]:
        nonlocal open_ranges
        after, upto = int(segment["after"]), int(segment["upto"])
        batch = source.read(
            partial(coql.id_range, source.module, after, upto),
            coql.ROWS_PER_QUERY,
            check=rising(source.module, after, upto),
            dense=True,
        )
        rest: list[tuple[int, int]] = []
        with lock:
            if batch.more:
                first, last = int(batch.read[0]["id"]), int(batch.read[-1]["id"])
                idle = in_flight - open_ranges
                width = max(1, last - first)
                rest = coql.cut(last, upto, width, idle + 1) if last < upto else []
            open_ranges += len(rest) - 1
        return _page(source, batch.rows), [{"after": str(a), "upto": str(b)} for a, b in rest]

    for page, still_open in walk(at["open"], step, in_flight=in_flight):
        after = {**at, "open": list(still_open)}
        yield with_cursor(page, after), after


def rising(module: str, after: int, upto: int | None = None) -> Check:
    """A check that ids rise, above `after` and up to `upto`."""

    def check(rows: Sequence[Raw]) -> None:
        numbers = [after, *ids_of(rows), *([] if upto is None else [upto + 1])]
        if any(one >= following for one, following in pairwise(numbers)):
            raise BadAnswer(f"rows of {module} are not in the order or the range that was asked for")

    return check


def later_and_later(module: str, start: datetime | None) -> Check:
    """A check that times of change never go back, nor before `start`."""

    def check(rows: Sequence[Raw]) -> None:
        has_ids(rows)
        times = [changed_at(module, row) for row in rows]
        if any(one > following for one, following in pairwise(times)):
            raise BadAnswer(f"rows of {module} are not in the order that was asked for")
        if start is not None and times[0] < start:
            raise BadAnswer(f"rows of {module} are older than what was asked for")

    return check


def _probe(source: Source, at: dict[str, Any]) -> dict[str, Any]:
    """Whether anything changed: a quiet org needs this one cheap call and no field list."""
    since = to_moment(at["from"]) - OVERLAP
    answer = source.calls.query(coql.changed_since(source.module, since, 1, ("id",)))
    at = {**at, "to": to_text(answer.date)}
    return at if answer.rows else _to_deleted(at)


def _to_deleted(at: dict[str, Any]) -> dict[str, Any]:
    return {"phase": "deleted", "from": at["from"], "to": at["to"], "whole": at["whole"], "page": 1}


def _changed(source: Source, at: dict[str, Any]) -> Iterator[tuple[Page, dict[str, Any]]]:
    """What changed since `from`: by second, and by id inside a second too full for one page."""
    module = source.module
    limit = coql.ROWS_PER_CHEAP_QUERY if at["at"] is None else coql.ROWS_PER_QUERY
    while True:
        text, check = _changes_query(module, at, limit)
        batch = source.read(text, limit, check=check, dense=False)
        at = {**at, "to": at["to"] or to_text(batch.date)}
        more = _advance(module, at, batch.read[-1] if batch.more else None)
        limit = coql.ROWS_PER_QUERY
        at = more or _to_deleted(at)
        yield with_cursor(_page(source, batch.rows), at), at
        if more is None:
            return


def _changes_query(module: str, at: dict[str, Any], limit: int) -> tuple[Text, Check]:
    if at["id"] is not None:
        second, after = to_moment(at["at"]), int(at["id"])
        return partial(coql.changed_in, module, second, after), rising(module, after)
    start = to_moment(at["at"]) if at["at"] else to_moment(at["from"]) - OVERLAP
    return partial(coql.changed_since, module, start, limit), later_and_later(module, start)


def _advance(module: str, at: dict[str, Any], last: Raw | None) -> dict[str, Any] | None:
    """Where to go on after a page of changes, or `None` at the end.

    `at` and `id` say: from the second `at` on (no `id`), or inside it above `id`.

    Args:
        module: Which module.
        at: Where the page was.
        last: Its last row if there is more.
    """
    inside = at["id"] is not None
    if last is None:
        # A second that was read to its end is followed by the next one.
        return {**at, "at": to_text(to_moment(at["at"]) + coql.SECOND), "id": None} if inside else None
    if inside:
        return {**at, "id": last["id"]}
    second = to_text(changed_at(module, last))
    # A whole page of one second (an import, a mass update): go on by id, from the beginning,
    # because in which order the page came inside that second is not certain.
    return {**at, "id": "0"} if second == at["at"] else {**at, "at": second}


def _deleted(source: Source, at: dict[str, Any], connection: str, kind: Kind) -> Iterator[Page]:
    done = pack({"phase": "done", "mark": at["to"]})
    if not source.deleted:
        yield Page(cursor=done, last=True, whole=at["whole"])
        return
    since = to_moment(at["from"]) - DELETED_OVERLAP
    while True:
        params = {"type": "all", "page": at["page"], "per_page": coql.ROWS_PER_LIST}
        try:
            answer = source.calls.listing(f"/{source.module}/deleted", params, since=since, check=has_ids)
        except ZohoRefused as error:
            if error.code in DEPTH_CODES:
                raise _TooDeep(
                    f"{connection}: more {source.module} were deleted during the read than Zoho lists"
                ) from error
            raise
        at = {**at, "page": at["page"] + 1}
        last = not answer.more
        yield Page(
            tombstones=tombstones(connection, kind, answer.rows),
            cursor=done if last else pack(at),
            last=last,
            whole=last and at["whole"],
        )
        if last:
            return


def tombstones(connection: str, kind: Kind, rows: Sequence[Raw]) -> list[Tombstone]:
    """Deletions, as the deleted list tells them; rows gone for good hold nothing but id and time."""
    return [Tombstone(ref=Ref(connection, kind, row["id"]), at=_deleted_at(row)) for row in rows]


def _deleted_at(row: Raw) -> datetime | None:
    try:
        return instant(row.get("deleted_time"), "deleted_time")
    except FieldError:
        return None  # that it is gone matters more than when


def changed_at(module: str, row: Raw) -> datetime:
    """When a row was last modified.

    Raises:
        BadAnswer: It does not say: a walk by time cannot go on.
    """
    try:
        moment = instant(row.get("Modified_Time"), "Modified_Time")
    except FieldError as error:
        raise BadAnswer(f"a row of {module}: {error}") from error
    if moment is None:
        raise BadAnswer(f"a row of {module} has no Modified_Time")
    return moment


def _page(source: Source, rows: Sequence[Raw]) -> Page:
    records, unreadable = source.translate(rows)
    return Page(records=records, unreadable=unreadable)


def with_cursor(page: Page, at: dict[str, Any]) -> Page:
    """The page, to be followed by a read from `at` on."""
    return Page(records=page.records, tombstones=page.tombstones, unreadable=page.unreadable, cursor=pack(at))


def to_text(moment: datetime) -> str:
    """A time for a cursor, in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def to_moment(text: str) -> datetime:
    """A time back from a cursor."""
    return datetime.fromisoformat(text)
