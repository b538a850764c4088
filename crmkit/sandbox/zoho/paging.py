"""Pages of a list: by number to record 2,000, by token to record 100,000.

Source: https://www.zoho.com/crm/developer/docs/api/v8/get-records.html
"""

from __future__ import annotations

import base64
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
from starlette.requests import Request

from crmkit.sandbox.zoho.answers import refuse, whole_number
from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.views import SORTS, sort_key

PAGE_MOST = 200
BY_NUMBER_MOST = 2_000
BY_TOKEN_MOST = 100_000
_TOKEN_HOURS = 24


class _Token(msgspec.Struct, array_like=True):
    """Where a walk stands: after which record, how many were given, what it is bound to, until when."""

    after: list[Any]
    given: int
    page: int
    bound: str
    ends: float


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its records and what `info` says of it."""

    rows: Sequence[Any]
    info: dict[str, Any]


def ordering(request: Request) -> tuple[str, bool]:
    """What a list is sorted by, and whether descending."""
    sort_by = request.query_params.get("sort_by") or "id"
    if sort_by not in SORTS:
        refuse("INVALID_DATA", {"param_name": "sort_by"}, "the sort_by given seems to be invalid")
    order = (request.query_params.get("sort_order") or "desc").lower()
    if order not in {"asc", "desc"}:
        refuse("INVALID_DATA", {"param_name": "sort_order"}, "the sort_order given seems to be invalid")
    return sort_by, order == "desc"


def take_page(
    org: Org, request: Request, rows: Sequence[Any], *, size_most: int = PAGE_MOST, walk: bool = True
) -> Page:
    """Cut the page a request asks for out of rows in ascending order.

    A token goes on behind the last record given, so that what is deleted in between shifts nothing.

    Args:
        walk: Whether this list has tokens.
    """
    sort_by, descending = ordering(request)
    size = whole_number(request, "per_page", size_most, size_most)
    text = request.query_params.get("page_token") if walk else None
    if text:
        if "page" in request.query_params:
            both = {"ambiguity_due_to": [{"param_name": "page"}, {"param_name": "page_token"}]}
            refuse("AMBIGUITY_DURING_PROCESSING", both)
        token = _read(org, request, text)
        given, page = token.given, token.page
        if given >= BY_TOKEN_MOST:
            refuse("PAGINATION_LIMIT_EXCEEDED", {"limit": BY_TOKEN_MOST})
        start = _start(rows, token.after, sort_by, descending)
    else:
        page = whole_number(request, "page", 1, 10**9)
        if page * size > BY_NUMBER_MOST and walk:
            refuse("DISCRETE_PAGINATION_LIMIT_EXCEEDED", {"limit": BY_NUMBER_MOST})
        start = given = (page - 1) * size
    cut = _cut(rows, start, size, descending)
    more = start + size < len(rows)
    info: dict[str, Any] = {"per_page": size, "count": len(cut), "page": page, "more_records": more}
    if walk:
        following = None
        if more and cut:
            following = _write(org, request, _position(cut[-1], sort_by), given + len(cut), page + 1)
        info |= {
            "next_page_token": following,
            "previous_page_token": None,
            "page_token_expiry": org.now_stamp(hours_ahead=_TOKEN_HOURS) if following else None,
        }
    return Page(cut, info)


def _cut(rows: Sequence[Any], start: int, size: int, descending: bool) -> Sequence[Any]:
    if not descending:
        return rows[start : start + size]
    top = max(len(rows) - start, 0)
    return rows[max(top - size, 0) : top][::-1]


def _start(rows: Sequence[Any], after: list[Any], sort_by: str, descending: bool) -> int:
    key: tuple[Any, ...] = (int(after[-1]),)
    if sort_by != "id":
        key = (datetime.fromisoformat(after[0]), *key)
    if descending:
        return len(rows) - bisect_left(rows, key, key=lambda row: sort_key(row, sort_by))
    return bisect_right(rows, key, key=lambda row: sort_key(row, sort_by))


def _position(row: Any, sort_by: str) -> list[Any]:
    return [row.id] if sort_by == "id" else [sort_key(row, sort_by)[0].isoformat(), row.id]


def _bound(request: Request) -> str:
    """What a token is tied to: the address, every other parameter, the header that filters."""
    others = sorted(
        (name, value)
        for name, value in request.query_params.multi_items()
        if name not in {"page", "page_token"}
    )
    since = request.headers.get("if-modified-since", "")
    return sha256(repr((request.url.path, others, since)).encode()).hexdigest()[:16]


def _write(org: Org, request: Request, after: list[Any], given: int, page: int) -> str:
    seconds = float(org.settings.extra.get("page_token_seconds", _TOKEN_HOURS * 3600))
    ends = (org.world.clock() + timedelta(seconds=seconds)).timestamp()
    body = msgspec.json.encode(_Token(after, given, page, _bound(request), ends))
    return base64.urlsafe_b64encode(_seal(body) + body).decode().rstrip("=")


def _read(org: Org, request: Request, text: str) -> _Token:
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        body = sealed[8:]
        token = msgspec.json.decode(body, type=_Token)
        good = sealed[:8] == _seal(body) and token.bound == _bound(request)
    except ValueError:
        good = False
    if not good:
        refuse("TOKEN_BOUND_DATA_MISMATCH", {"param_name": "page_token"})
    if datetime.fromtimestamp(token.ends, UTC) <= org.world.clock():
        refuse("EXPIRED_VALUE", {"param_name": "page_token"})
    return token


def _seal(body: bytes) -> bytes:
    return sha256(b"sandbox" + body).digest()[:8]
