"""HubSpot's endpoints: every path with its version, and answers checked for their shape.

An answer that is not the document that the endpoint promises, or that contradicts itself,
is asked for again, like any other passing fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from crmkit.connectors.http import Answer, Call, Http
from crmkit.connectors.hubspot import answers
from crmkit.connectors.hubspot.answers import Listing, Row
from crmkit.errors import BadAnswer, IncompleteRead, NotFound

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


class Api:
    """HubSpot's read endpoints over one `Http`."""

    def __init__(self, http: Http) -> None:
        self.http = http

    def account(self) -> tuple[Row, Answer]:
        """Portal id, time zone and currencies, and the answer with its headers."""
        call = Call("GET", ACCOUNT, label=f"GET {ACCOUNT}")
        return self.http.fetch(call, lambda answer: (answers.identified(answer, "portalId"), answer))

    def properties(self, of: str, *, archived: bool = False) -> tuple[list[Row], datetime]:
        """All fields of an object type, or all archived ones, and the server's time."""
        query = "?archived=true" if archived else ""
        call = Call("GET", f"{PROPERTIES}/{of}{query}", label=f"GET {PROPERTIES}/{of}")
        return self.http.fetch(call, lambda answer: (answers.results(answer, "name"), answers.date(answer)))

    def pipelines(self) -> list[Row]:
        """All deal pipelines with their stages."""
        call = Call("GET", f"{PIPELINES}/deals", label=f"GET {PIPELINES}/deals")
        return self.http.fetch(call, lambda answer: answers.results(answer, "id"))

    def owners(self, *, archived: bool, after: str | None, limit: int = LIST_LIMIT) -> Listing:
        """A page of owners."""
        query = urlencode({"limit": limit, "archived": str(archived).lower()})
        call = Call("GET", _paged(OWNERS, query, after), label=f"GET {OWNERS}")
        return self.http.fetch(call, answers.listing)

    def page(self, of: str, query: str, after: str | None) -> Listing:
        """A page of records; `query` is made once per walk by `list_query`."""
        path = f"{OBJECTS}/{of}"
        return self.http.fetch(Call("GET", _paged(path, query, after), label=f"GET {path}"), answers.listing)

    def search(
        self, of: str, body: Mapping[str, Any], check: Callable[[Listing], str | None] | None = None
    ) -> Listing:
        """A page of the search index, which trails behind writes.

        Args:
            of: The object type.
            body: What to search for.
            check: Says what is wrong with a page, if anything is: it is asked for again.
        """
        path = f"{OBJECTS}/{of}/search"
        call = Call("POST", path, json=body, buckets=("search",), label=f"POST {path}")

        def read(answer: Answer) -> Listing:
            page = answers.listing(answer)
            wrong = check(page) if check else None
            if wrong:
                raise BadAnswer(f"{answer.what}: {wrong}")
            return page

        return self.http.fetch(call, read)

    def batch(
        self, of: str, ids: Sequence[str], properties: Sequence[str], history: Sequence[str] = ()
    ) -> list[Row]:
        """Records by id, fresh and unordered; ids that are gone are left out.

        All of them missing comes as 207 or, as one connector reports, as 404.
        """
        rows, unexplained = self._batch(of, ids, properties, history)
        if unexplained:
            # Neither given nor named as missing: so it may be for the id of a merged record
            # (seen with updates), or the answer was short. A second silence is believed.
            rows += self._batch(of, unexplained, properties, history)[0]
        return rows

    def _batch(
        self, of: str, ids: Sequence[str], properties: Sequence[str], history: Sequence[str]
    ) -> tuple[list[Row], list[str]]:
        body: dict[str, Any] = {"inputs": [{"id": id_} for id_ in ids], "properties": list(properties)}
        if history:
            body["propertiesWithHistory"] = list(history)
        path = f"{OBJECTS}/{of}/batch/read"
        call = Call("POST", path, json=body, label=f"POST {path}")
        try:
            rows, absent = self.http.fetch(call, answers.batch_rows)
        except NotFound:
            return [], []
        told = absent.union(str(row["id"]) for row in rows)
        return [row for row in rows if not row.get("archived")], [id_ for id_ in ids if id_ not in told]

    def archived(self, of: str, ids: Sequence[str]) -> set[str]:
        """Which of the given ids are archived records."""
        path = f"{OBJECTS}/{of}/batch/read"
        body = {"inputs": [{"id": id_} for id_ in ids], "properties": ["hs_object_id"]}
        call = Call("POST", f"{path}?archived=true", json=body, label=f"POST {path}")
        try:
            return {str(row["id"]) for row in self.http.fetch(call, answers.batch_rows)[0]}
        except NotFound:
            return set()

    def one(self, of: str, id_: str, properties: Sequence[str]) -> Row | None:
        """One record, found under the id of a merged one too; `None` if it is gone."""
        path = f"{OBJECTS}/{of}"
        query = urlencode({"properties": ",".join(properties)}, safe=",")
        call = Call("GET", f"{path}/{quote(id_, safe='')}?{query}", label=f"GET {path}/{{id}}")
        try:
            row = self.http.fetch(call, lambda answer: answers.identified(answer, "id"))
        except NotFound:
            return None
        # That an archived one is answered with 404 is inferred, so look at the flag too.
        return None if row.get("archived") else row

    def links(self, of: str, to: str, ids: Sequence[str]) -> dict[str, list[Row]]:
        """All links of the given records, page after page where a record has many.

        A record without links comes as an error entry in a 207, not as an empty list. One
        that is not mentioned at all is asked for once more.
        """
        path = f"{ASSOCIATIONS}/{of}/{to}/batch/read"
        found: dict[str, list[Row]] = {id_: [] for id_ in ids}
        asked: list[dict[str, str]] = [{"id": id_} for id_ in ids]
        seen: dict[str, set[str]] = {}
        repeated: set[tuple[str, str | None]] = set()
        while asked:
            now, asked = asked[:LINKS_LIMIT], asked[LINKS_LIMIT:]
            call = Call(
                "POST",
                path,
                json={"inputs": now},
                buckets=("default", "associations"),
                label=f"POST {path}",
            )
            results, told = self.http.fetch(call, lambda answer: answers.link_rows(answer, seen))
            for id_, rows, after in results:
                told.add(id_)
                found.setdefault(id_, []).extend(rows)
                if after is not None:
                    seen.setdefault(id_, set()).add(after)
                    asked.append({"id": id_, "after": after})
            for one in now:
                key = one["id"], one.get("after")
                if one["id"] in told:
                    continue
                if key not in repeated:
                    repeated.add(key)
                    asked.append(one)
                elif "after" in one:
                    raise IncompleteRead(f"{call.label}: further links were promised and not given")
        return found

    def labels(self, of: str, to: str) -> list[Row]:
        """The kinds of link between two object types."""
        path = f"{ASSOCIATIONS}/{of}/{to}/labels"
        call = Call("GET", path, buckets=("default", "associations"), label=f"GET {path}")
        return self.http.fetch(call, lambda answer: answers.results(answer, "typeId"))


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
