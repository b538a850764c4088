"""Modules that are read from their list: notes, and stage history where COQL refuses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crmkit.connectors.base import Page
from crmkit.connectors.walk import pack, unpack
from crmkit.connectors.zoho import queries
from crmkit.connectors.zoho.client import Client
from crmkit.connectors.zoho.dialect import ZohoRefused
from crmkit.connectors.zoho.source import Raw
from crmkit.connectors.zoho.walks import (
    DELETED_OVERLAP,
    DEPTH_CODES,
    changed_at,
    to_moment,
    to_text,
    with_cursor,
)
from crmkit.errors import IncompleteRead


def read_list(
    client: Client,
    module: str,
    connection: str,
    since: str | None,
    *,
    fields: Sequence[str],
    in_order: bool,
    translate: Callable[[Sequence[Raw]], Page],
) -> Iterator[Page]:
    """Pages of a module that COQL does not read, from its list.

    In order of the last change the list is walked by second, which has no depth limit:
    only inside one full second are page tokens needed, and they reach 100,000 rows.

    Args:
        client: Sends the calls.
        module: Zoho's API name of the module.
        connection: Name of the connection.
        since: Where to go on.
        fields: What to ask for.
        in_order: Whether the list can be sorted by time of last change; otherwise it is
            read whole every time, with tokens only.
        translate: Gives a page for rows.
    """
    at = unpack(since) if since else {}
    if not at or (at["phase"] == "done" and not in_order):
        at = {"phase": "list", "since": None, "token": None, "t0": None, "whole": True}
    elif at["phase"] == "done":
        start = to_moment(at["mark"]) - DELETED_OVERLAP  # lists may lag by up to a minute
        at = {"phase": "list", "since": to_text(start), "token": None, "t0": None, "whole": False}
    base: dict[str, Any] = {"fields": ",".join(fields), "per_page": queries.ROWS_PER_LIST}
    if in_order:
        base |= {"sort_by": "Modified_Time", "sort_order": "asc"}
    while True:
        params = {**base, "page_token": at["token"]} if at["token"] else base
        try:
            answer = client.listing(
                f"/{module}", params, since=to_moment(at["since"]) if at["since"] else None
            )
        except ZohoRefused as error:
            if error.code == "EXPIRED_VALUE" and at["token"]:
                at = {**at, "token": None}  # a token lives one day: read this stretch again
                continue
            if error.code in DEPTH_CODES:
                raise IncompleteRead(f"{connection}: Zoho lists no more than 100,000 {module}") from error
            raise
        at = {**at, "t0": at["t0"] or to_text(answer.date)}
        page = translate(answer.rows)
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


def _next_in_list(
    module: str, at: dict[str, Any], rows: Sequence[Raw], token: str | None, *, in_order: bool
) -> dict[str, Any]:
    if in_order and rows:
        seconds = [changed_at(module, row) for row in rows]
        last = seconds[-1]
        if any(one > last for one in seconds):
            raise IncompleteRead(f"the list of {module} is not in the order that was asked for")
        if to_text(last) != at["since"]:
            return {**at, "since": to_text(last), "token": None}
    if token is None or token == at["token"]:
        raise IncompleteRead(f"the list of {module} says that there is more, but not where")
    return {**at, "token": token}
