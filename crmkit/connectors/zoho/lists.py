"""Modules that are read from their list: notes, and stage history where COQL refuses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.base import Page
from crmkit.connectors.walk import pack, unpack
from crmkit.connectors.zoho import coql
from crmkit.connectors.zoho.calls import Calls, Raw, has_ids
from crmkit.connectors.zoho.dialect import ZohoRefused
from crmkit.connectors.zoho.records import Reading, note_parent, row_id
from crmkit.connectors.zoho.walks import (
    DELETED_OVERLAP,
    DEPTH_CODES,
    changed_at,
    later_and_later,
    to_moment,
    to_text,
    with_cursor,
)
from crmkit.errors import IncompleteRead
from crmkit.model import Kind, Note

_NOTE_FIELDS = (
    "Note_Title",
    "Note_Content",
    "Owner",
    "Created_By",
    "Created_Time",
    "Modified_Time",
    "Parent_Id",
    "$se_module",
)
_NOTED = {"Deals", "Accounts"}
"""Notes on anything else have no place in the model."""
BY_CHANGE = {"sort_by": "Modified_Time", "sort_order": "asc"}


def read_list(
    calls: Calls,
    module: str,
    connection: str,
    since: str | None,
    *,
    fields: Sequence[str],
    in_order: bool,
    translated: Callable[[Sequence[Raw]], Page],
) -> Iterator[Page]:
    """Pages of a module that COQL does not read, from its list.

    In order of the last change the list is walked by second, which has no depth limit:
    only inside one full second are page tokens needed, and they reach 100,000 rows.

    Args:
        calls: Sends the calls.
        module: Zoho's API name of the module.
        connection: Name of the connection.
        since: Where to go on.
        fields: What to ask for.
        in_order: Whether the list can be sorted by time of last change; otherwise it is
            read whole every time, with tokens only.
        translated: Gives a page for rows.

    Raises:
        IncompleteRead: The list does not reach as far as is needed, or its pages do not
            add up.
    """
    at = _begin(since, in_order=in_order)
    base: dict[str, Any] = {"fields": ",".join(fields), "per_page": coql.ROWS_PER_LIST}
    if in_order:
        base |= BY_CHANGE
    while True:
        start = to_moment(at["since"]) if at["since"] else None
        try:
            answer = calls.listing(
                f"/{module}",
                {**base, "page_token": at["token"]} if at["token"] else base,
                since=start,
                check=later_and_later(module, start) if in_order else has_ids,
            )
        except ZohoRefused as error:
            if error.code == "EXPIRED_VALUE" and at["token"]:
                at = {**at, "token": None}  # a token lives one day: read this stretch again
                continue
            if error.code in DEPTH_CODES:
                raise IncompleteRead(f"{connection}: Zoho lists no more than 100,000 {module}") from error
            raise
        at = {**at, "t0": at["t0"] or to_text(answer.date)}
        page = translated(answer.rows)
        if not answer.more:
            yield Page(
                records=page.records,
                unreadable=page.unreadable,
                cursor=pack({"phase": "done", "mark": at["t0"]}),
                last=True,
                whole=at["whole"],
            )
            return
        at = _next_in_list(module, at, answer.rows, answer.token, in_order=in_order)
        yield with_cursor(page, at)


def _begin(since: str | None, *, in_order: bool) -> dict[str, Any]:
    at = unpack(since) if since else {"phase": "none"}
    if at["phase"] == "list" and at["in_order"] is in_order:
        return at
    fresh = {"phase": "list", "in_order": in_order, "since": None, "token": None, "t0": None, "whole": True}
    if at["phase"] != "done" or not in_order:
        return fresh
    start = to_moment(at["mark"]) - DELETED_OVERLAP  # lists may lag by up to a minute
    return {**fresh, "since": to_text(start), "whole": False}


def _next_in_list(
    module: str, at: dict[str, Any], rows: Sequence[Raw], token: str | None, *, in_order: bool
) -> dict[str, Any]:
    if in_order:
        last = to_text(changed_at(module, rows[-1]))
        if last != at["since"]:
            return {**at, "since": last, "token": None}
    if token is None or token == at["token"]:
        raise IncompleteRead(f"the list of {module} says that there is more, but not where")
    return {**at, "token": token}


class Notes:
    """The notes of deals and accounts; the list of all notes is for administrators only."""

    def __init__(self, calls: Calls, connection: str) -> None:
        self._calls = calls
        self._connection = connection
        self._reading = Reading(connection)

    def read(self, since: str | None) -> Iterator[Page]:
        """Pages of notes; see `Connector.read`."""
        return read_list(
            self._calls,
            "Notes",
            self._connection,
            since,
            fields=_NOTE_FIELDS,
            in_order=True,
            translated=self._page,
        )

    def get(self, ids: Sequence[str]) -> Page:
        """The notes with these ids, at most 50."""
        params = {"ids": ",".join(ids), "fields": ",".join(_NOTE_FIELDS)}
        return self._page(self._calls.listing("/Notes", params, check=has_ids).rows)

    def _page(self, rows: Sequence[Raw]) -> Page:
        mine = [row for row in rows if _is_noted(row)]
        found, unreadable = translate.records(
            Note, self._connection, Kind.NOTE, mine, self._reading.note, row_id
        )
        return Page(records=found, unreadable=unreadable)


def _is_noted(row: Raw) -> bool:
    try:
        return note_parent(row) in _NOTED
    except translate.FieldError:
        return True  # so that it is reported as unreadable and not left out in silence
