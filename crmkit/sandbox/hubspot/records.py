"""Records: list, read, batch read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot.answers import (
    flag,
    invalid,
    missing_record,
    names_in,
    page_size,
    read_body,
    refuse,
    reply,
    stamp,
    whole_number,
)
from crmkit.sandbox.hubspot.kinds import ObjectType, object_type
from crmkit.sandbox.hubspot.links import inline_links, read_inputs
from crmkit.sandbox.hubspot.portal import Portal
from crmkit.sandbox.hubspot.rendering import Plan, history_of
from crmkit.sandbox.rows import Deleted

_PAGE_MOST, _PAGE_MOST_WITH_HISTORY = 100, 50
_BATCH_MOST, _BATCH_MOST_WITH_HISTORY = 100, 50
Writer = Callable[[Any], dict[str, Any]]


class Records:
    """The calls that read records by id."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            Route("/crm/v3/objects/{type}", self.page, methods=["GET"]),
            Route("/crm/v3/objects/{type}/batch/read", self.batch_read, methods=["POST"]),
            Route("/crm/v3/objects/{type}/{id}", self.read, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """A page of all records in order of id; `after` is the least id that it may begin with."""
        one_type = self._type(request)
        history = bool(names_in(request, "propertiesWithHistory"))
        size = page_size(request, 10, _PAGE_MOST_WITH_HISTORY if history else _PAGE_MOST)
        after = whole_number(request.query_params.get("after", 0), "after")
        write = self._writer(request, one_type)
        if flag(request, "archived"):
            gone = self.portal.archive(one_type)
            start = bisect_left(gone, after, key=lambda one: int(one.id))
            left, last = len(gone) - start - size, start + size - 1
            results = [_archived(write, one) for one in gone[start : start + size]]
            last_id = gone[last].id if left > 0 else ""
        elif one_type.kind is None:
            results, left, last_id = [], 0, ""
        else:
            view = self.portal.world.live.ordered(one_type.kind)
            start = view.start(after)
            left = len(view) - start - size
            rows = view.rows[start : start + size]
            results = [write(row) for row in rows]
            last_id = rows[-1].id if left > 0 else ""
        answer: dict[str, Any] = {"results": results}
        if left > 0:
            following = str(int(last_id) + 1)
            link = self._link(request, following)
            answer["paging"] = {"next": {"after": following, "link": link}}
        return reply(answer)

    async def read(self, request: Request) -> Response:
        """One record, by its id, by the id of one that was merged into it, or by a unique property."""
        one_type = self._type(request)
        record_id = request.path_params["id"]
        write = self._writer(request, one_type)
        by = request.query_params.get("idProperty")
        if by and by != "hs_object_id":
            self._check_unique(one_type, by)
            row = self.portal.find_by(one_type, by, record_id)
            if row is None:
                # Whatever the value looks like, it is not a record id.
                refuse(
                    404, f"Object not found.  objectId are usually numeric: {record_id}", "OBJECT_NOT_FOUND"
                )
            return reply(write(row))
        if flag(request, "archived"):
            gone = self.portal.find_archived(one_type, record_id)
            if gone is None:
                missing_record(record_id)
            return reply(_archived(write, gone))
        row = self.portal.find(one_type, record_id)
        if row is None:
            missing_record(record_id)
        return reply(write(row))

    async def batch_read(self, request: Request) -> Response:
        """Up to 100 records; those that are missing are told together in one error.

        The id of a record that was merged away counts as missing (not documented for batch read; for
        batch update it was seen to be left out).
        """
        one_type = self._type(request)
        body = await read_body(request)
        history = _names(body, "propertiesWithHistory")
        inputs = read_inputs(body, _BATCH_MOST_WITH_HISTORY if history else _BATCH_MOST)
        started = self.portal.now()
        by = body.get("idProperty")
        if by and by != "hs_object_id":
            self._check_unique(one_type, by)
            find: Callable[[str], Any] = lambda value: self.portal.find_by(one_type, by, value)  # noqa: E731
        elif flag(request, "archived"):
            find = lambda record_id: self.portal.find_archived(one_type, record_id)  # noqa: E731
        else:
            find = self.portal.table(one_type).get
        names = _names(body, "properties")
        plan = Plan(self.portal, one_type, [*names, *history] if names or history else None)
        past = history_of(self.portal, one_type, history) if history else None
        found, missing = {}, []
        for record_id in inputs:
            row = find(record_id)
            if row is None:
                missing.append(record_id)
            else:
                found[row.id] = row
        results = []
        for row in reversed(found.values()):  # results are not in the order of the inputs
            write: Writer = plan.record_with_url
            record = _archived(write, row) if isinstance(row, Deleted) else write(row)
            if past:
                record["propertiesWithHistory"] = past(row.row if isinstance(row, Deleted) else row)
            results.append(record)
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results}
        if missing:
            answer |= {"numErrors": 1, "errors": [not_found(one_type, missing)]}
        answer |= {"startedAt": started, "completedAt": self.portal.now()}
        return reply(answer, 207 if missing else 200)

    def _type(self, request: Request) -> ObjectType:
        found = object_type(request.path_params["type"])
        self.portal.may_read(found)
        return found

    def _writer(self, request: Request, one_type: ObjectType) -> Writer:
        names, history = names_in(request, "properties"), names_in(request, "propertiesWithHistory")
        targets = []
        for name in names_in(request, "associations"):
            target = object_type(name)
            self.portal.may_read(target)
            targets.append(target)
        plan = Plan(self.portal, one_type, [*names, *history] if names or history else None)
        past = history_of(self.portal, one_type, history) if history else None
        links = inline_links(self.portal, one_type, targets) if targets else None
        if past is None and links is None:
            return plan.record_with_url
        whole = plan.record_with_url

        def write(row: Any) -> dict[str, Any]:
            record = whole(row)
            if past is not None:
                record["propertiesWithHistory"] = past(row)
            if links is not None and (found := links(row)) is not None:
                record["associations"] = found
            return record

        return write

    def _check_unique(self, one_type: ObjectType, name: str) -> None:
        if name not in self.portal.unique_properties(one_type.kind):
            invalid(
                f"Unable to perform read by non-unique {one_type.type_id} property {name} "
                f"in portal ID {self.portal.portal_id}"
            )

    def _link(self, request: Request, after: str) -> str:
        said = [
            (name, value)
            for name, value in parse_qsl(request.url.query, keep_blank_values=True)
            if name != "after"
        ]
        return f"{self.portal.origin}{request.url.path}?{urlencode([*said, ('after', after)])}"


def _archived(write: Writer, gone: Deleted) -> dict[str, Any]:
    """An archived record; its links went with it (inferred: no page shows one with links)."""
    record = write(gone.row)
    record.pop("associations", None)
    return record | {"archived": True, "archivedAt": stamp(gone.at)}


def not_found(one_type: ObjectType, ids: list[str]) -> dict[str, Any]:
    """The error of a batch for ids that are not there."""
    return {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": f"Could not get some {one_type.singular.upper()} objects, they may be deleted or not "
        "exist. Check that ids are valid.",
        "context": {"ids": ids},
    }


def _names(body: Mapping[str, Any], name: str) -> list[str]:
    said = body.get(name) or []
    if not isinstance(said, list):
        invalid(f"Invalid input JSON: {name} must be a list")
    return [str(one) for one in said]
