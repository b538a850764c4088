"""HubSpot's endpoints: every path with its version, and answers checked for their shape.

An answer that is not the document that the endpoint promises is asked for again, like
any other passing fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from crmkit.connectors.http import MAX_TRIES, Answer, Call, Http
from crmkit.errors import BadAnswer, NotFound

# The versions, in one place. The dated twins (/crm/objects/2026-09/...) differ in paths only.
OBJECTS = "/crm/v3/objects"
PIPELINES = "/crm/v3/pipelines"
PROPERTIES = "/crm/v3/properties"
OWNERS = "/crm/v3/owners"
ASSOCIATIONS = "/crm/v4/associations"
ACCOUNT = "/account-info/v3/details"

LIST_LIMIT = 100
HISTORY_LIMIT = 50
BATCH_LIMIT = 100
HISTORY_BATCH_LIMIT = 50
SEARCH_LIMIT = 200
LINKS_LIMIT = 1000

T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of rows and the token of the next one, if there is one."""

    rows: list[Row]
    after: str | None
    total: int | None = None


class Api:
    """HubSpot's read endpoints over one `Http`."""

    def __init__(self, http: Http) -> None:
        self.http = http

    def account(self) -> tuple[Row, Answer]:
        """Portal id, time zone and currencies, and the answer with its headers."""
        call = Call("GET", ACCOUNT, label=f"GET {ACCOUNT}")
        return self._read(call, lambda answer: (_identified(answer, "portalId"), answer))

    def properties(self, of: str) -> tuple[list[Row], datetime]:
        """All fields of an object type, and the server's time."""
        call = Call("GET", f"{PROPERTIES}/{of}", label=f"GET {PROPERTIES}/{of}")
        return self._read(call, lambda answer: (_results(answer, "name"), _date(answer)))

    def pipelines(self) -> list[Row]:
        """All deal pipelines with their stages."""
        call = Call("GET", f"{PIPELINES}/deals", label=f"GET {PIPELINES}/deals")
        return self._read(call, lambda answer: _results(answer, "id"))

    def owners(self, *, archived: bool, after: str | None, limit: int = LIST_LIMIT) -> Listing:
        """A page of owners."""
        query = urlencode({"limit": limit, "archived": str(archived).lower()})
        return self._read(Call("GET", _paged(OWNERS, query, after), label=f"GET {OWNERS}"), _listing)

    def page(self, of: str, query: str, after: str | None) -> Listing:
        """A page of records; `query` is made once per walk by `list_query`."""
        path = f"{OBJECTS}/{of}"
        return self._read(Call("GET", _paged(path, query, after), label=f"GET {path}"), _listing)

    def search(self, of: str, body: Mapping[str, Any]) -> Listing:
        """A page of the search index, which trails behind writes."""
        path = f"{OBJECTS}/{of}/search"
        call = Call("POST", path, json=body, buckets=("search",), label=f"POST {path}")
        return self._read(call, _listing)

    def batch(
        self, of: str, ids: Sequence[str], properties: Sequence[str], history: Sequence[str] = ()
    ) -> list[Row]:
        """Records by id, fresh and unordered; ids that are gone are left out.

        All of them missing comes as 207 or, as one connector reports, as 404.
        """
        body: dict[str, Any] = {"inputs": [{"id": id_} for id_ in ids], "properties": list(properties)}
        if history:
            body["propertiesWithHistory"] = list(history)
        path = f"{OBJECTS}/{of}/batch/read"
        try:
            return self._read(Call("POST", path, json=body, label=f"POST {path}"), _batch_rows)
        except NotFound:
            return []

    def one(self, of: str, id_: str, properties: Sequence[str]) -> Row | None:
        """One record, found under the id of a merged one too; `None` if it is gone."""
        path = f"{OBJECTS}/{of}"
        query = urlencode({"properties": ",".join(properties)}, safe=",")
        call = Call("GET", f"{path}/{quote(id_, safe='')}?{query}", label=f"GET {path}/{{id}}")
        try:
            return self._read(call, lambda answer: _identified(answer, "id"))
        except NotFound:
            return None

    def links(self, of: str, to: str, ids: Sequence[str]) -> dict[str, list[Row]]:
        """All links of the given records, page after page where a record has many.

        A record without links comes as an error entry in a 207, not as an empty list.
        """
        path = f"{ASSOCIATIONS}/{of}/{to}/batch/read"
        found: dict[str, list[Row]] = {id_: [] for id_ in ids}
        asked: list[dict[str, str]] = [{"id": id_} for id_ in ids]
        tokens: set[tuple[str, str]] = set()
        while asked:
            now, asked = asked[:LINKS_LIMIT], asked[LINKS_LIMIT:]
            call = Call(
                "POST",
                path,
                json={"inputs": now},
                buckets=("default", "associations"),
                label=f"POST {path}",
            )
            for id_, rows, after in self._read(call, _link_rows):
                found.setdefault(id_, []).extend(rows)
                if after is None:
                    continue
                if (id_, after) in tokens:
                    raise BadAnswer(f"POST {path}: the page token of a record came twice")
                tokens.add((id_, after))
                asked.append({"id": id_, "after": after})
        return found

    def labels(self, of: str, to: str) -> list[Row]:
        """The kinds of link between two object types."""
        path = f"{ASSOCIATIONS}/{of}/{to}/labels"
        call = Call("GET", path, buckets=("default", "associations"), label=f"GET {path}")
        return self._read(call, lambda answer: _results(answer, "typeId"))

    def _read(self, call: Call, read: Callable[[Answer], T]) -> T:
        context = self.http.context
        tries = 1
        while True:
            try:
                return read(self.http.send(call))
            except BadAnswer:
                if tries == MAX_TRIES:
                    raise
                context.clock.sleep(0.25 * 2**tries, context.cancelled)
                tries += 1


def list_query(
    properties: Sequence[str],
    *,
    links: Sequence[str] = (),
    history: Sequence[str] = (),
    archived: bool = False,
    limit: int | None = None,
) -> str:
    """The query of a list call without its page token."""
    query: dict[str, Any] = {"limit": limit or (HISTORY_LIMIT if history else LIST_LIMIT)}
    query["properties"] = ",".join(properties)
    if history:
        query["propertiesWithHistory"] = ",".join(history)
    if links:
        query["associations"] = ",".join(links)
    if archived:
        query["archived"] = "true"
    return urlencode(query, safe=",")


def _paged(path: str, query: str, after: str | None) -> str:
    return f"{path}?{query}" if after is None else f"{path}?{query}&after={quote(after, safe='')}"


def _date(answer: Answer) -> datetime:
    if answer.date is None:
        # Cursors are made from the server's clock only; this machine's may be wrong.
        raise BadAnswer(f"{answer.what}: the answer has no Date header")
    return answer.date


def _identified(answer: Answer, key: str) -> Row:
    body = answer.mapping()
    if body.get(key) in (None, ""):
        raise BadAnswer(f"{answer.what}: the answer has no {key} ({answer.shape()})")
    return body


def _results(answer: Answer, key: str) -> list[Row]:
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


def _listing(answer: Answer) -> Listing:
    body = answer.mapping()
    rows = _rows(answer, body, "id")
    total = body.get("total")
    return Listing(rows, _after(answer, body), total if isinstance(total, int) else None)


def _batch_rows(answer: Answer) -> list[Row]:
    body = answer.mapping()
    _only_absent(answer, body)
    return _rows(answer, body, "id")


def _link_rows(answer: Answer) -> list[tuple[str, list[Row], str | None]]:
    body = answer.mapping()
    _only_absent(answer, body)
    found = []
    for row in _rows(answer, body, "from"):
        origin, links = row["from"], row.get("to")
        if not isinstance(origin, dict) or "id" not in origin or not isinstance(links, list):
            raise BadAnswer(f"{answer.what}: a result is not a list of links ({answer.shape()})")
        found.append((str(origin["id"]), links, _after(answer, row)))
    return found


def _only_absent(answer: Answer, body: Row) -> None:
    """A 207 may say that records or links are not there; any other error is no answer."""
    for error in body.get("errors") or ():
        if not isinstance(error, dict) or error.get("category") != "OBJECT_NOT_FOUND":
            category = error.get("category") if isinstance(error, dict) else None
            raise BadAnswer(f"{answer.what}: a part of the batch failed ({category or 'no category'})")
