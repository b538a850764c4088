"""What HubSpot's answers hold, checked for their shape. Pure: no calls, no clock.

Each function raises `BadAnswer` for a document that is not what its endpoint promises, or
that contradicts itself: the call is then repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from crmkit.connectors.http import Answer
from crmkit.errors import BadAnswer

NO_LINKS = "crm.associations.NO_ASSOCIATIONS_FOUND"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of rows and the token of the next one, if there is one."""

    rows: list[Row]
    after: str | None
    total: int | None = None


def ascending(rows: Sequence[Row]) -> list[int] | None:
    """The ids of rows, or `None` unless they are numbers in ascending order."""
    try:
        ids = [int(row["id"]) for row in rows]
    except (TypeError, ValueError):
        return None
    return ids if all(low < high for low, high in pairwise(ids)) else None


def date(answer: Answer) -> datetime:
    """The server's clock when it answered."""
    if answer.date is None:
        # Cursors are made from the server's clock only; this machine's may be wrong.
        raise BadAnswer(f"{answer.what}: the answer has no Date header")
    return answer.date


def identified(answer: Answer, key: str) -> Row:
    """One document, which must have `key`."""
    body = answer.mapping()
    if body.get(key) in (None, ""):
        raise BadAnswer(f"{answer.what}: the answer has no {key} ({answer.shape()})")
    return body


def results(answer: Answer, key: str) -> list[Row]:
    """The rows of a list without pages, each of which must have `key`."""
    return _rows(answer, answer.mapping(), key)


def _rows(answer: Answer, body: Row, key: str) -> list[Row]:
    rows = body.get("results")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and key in row for row in rows):
        raise BadAnswer(f"{answer.what}: the answer has no list of results ({answer.shape()})")
    return rows


def _after(answer: Answer, body: Row) -> str | None:
    paging = body.get("paging")
    if not paging:
        return None
    follows = paging.get("next") if isinstance(paging, dict) else paging
    if not follows:
        return None
    after = follows.get("after") if isinstance(follows, dict) else None
    if after in (None, "") or isinstance(after, (dict, list, bool)):
        raise BadAnswer(f"{answer.what}: the token of the next page cannot be read")
    return str(after)


def listing(answer: Answer) -> Listing:
    """A page of rows."""
    body = answer.mapping()
    rows = _rows(answer, body, "id")
    total = body.get("total")
    return Listing(rows, _after(answer, body), total if isinstance(total, int) else None)


def batch_rows(answer: Answer) -> tuple[list[Row], set[str]]:
    """The rows of a batch, and the ids that it says are missing."""
    body = answer.mapping()
    return _rows(answer, body, "id"), _absent(answer, body)


def link_rows(
    answer: Answer, seen: Mapping[str, set[str]]
) -> tuple[list[tuple[str, list[Row], str | None]], set[str]]:
    """Links and next page token per record, and the records that it says have none.

    Args:
        answer: The answer.
        seen: The tokens followed so far, per record.
    """
    body = answer.mapping()
    found = []
    for row in _rows(answer, body, "from"):
        origin, links = row["from"], row.get("to")
        if not isinstance(origin, dict) or "id" not in origin or not isinstance(links, list):
            raise BadAnswer(f"{answer.what}: a result is not a list of links ({answer.shape()})")
        if not all(map(_is_link, links)):
            raise BadAnswer(f"{answer.what}: a link cannot be read ({answer.shape()})")
        id_, after = str(origin["id"]), _after(answer, row)
        if after is not None and after in seen.get(id_, ()):
            raise BadAnswer(f"{answer.what}: the page token of a record came twice")
        found.append((id_, links, after))
    return found, _absent(answer, body)


def _is_link(link: Any) -> bool:
    if not isinstance(link, dict) or link.get("toObjectId") is None:
        return False
    types = link.get("associationTypes") or []
    return isinstance(types, list) and all(isinstance(type_, dict) for type_ in types)


def _absent(answer: Answer, body: Row) -> set[str]:
    """The ids of which a 207 says that they, or links of them, are not there.

    Any other error means that a part of the batch was not answered.
    """
    absent: set[str] = set()
    for error in body.get("errors") or ():
        said = error if isinstance(error, dict) else {}
        if said.get("category") != "OBJECT_NOT_FOUND" and said.get("subCategory") != NO_LINKS:
            raise BadAnswer(
                f"{answer.what}: a part of the batch failed ({said.get('category') or 'no category'})"
            )
        context = said.get("context")
        for name in ("ids", "fromObjectId"):
            ids = context.get(name) if isinstance(context, dict) else None
            absent.update(map(str, ids if isinstance(ids, list) else ()))
    return absent
