"""Bulk read: a job that writes up to 200,000 records into a zipped CSV.

Source: https://www.zoho.com/crm/developer/docs/api/v8/bulk-read/overview.html
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.limits import RollingWindow
from crmkit.sandbox.wire import json_reply, read_json
from crmkit.sandbox.zoho.answers import error, refuse
from crmkit.sandbox.zoho.conditions import (
    Column,
    Columns,
    Test,
    both,
    either,
    key_of,
    make_test,
    read_literal,
)
from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.schema import Get, Module
from crmkit.sandbox.zoho.seed import ORG_BASE

ROWS_MOST = 200_000
_STATES = ("ADDED", "QUEUED", "IN PROGRESS", "COMPLETED")
_NOT_SERVED = {"Notes", "DealHistory"}
_TESTS = {
    "equal": "eq",
    "not_equal": "ne",
    "in": "in",
    "not_in": "not_in",
    "less_than": "lt",
    "less_equal": "le",
    "greater_than": "gt",
    "greater_equal": "ge",
    "between": "between",
    "not_between": "not_between",
    "contains": "contains",
    "not_contains": "not_contains",
    "starts_with": "starts_with",
    "ends_with": "ends_with",
}


@dataclass(slots=True)
class _Job:
    """A job; each look at it moves it one state on, so that a stopped clock does not stop it."""

    id: str
    module: Module
    columns: list[Column]
    passes: Test | None
    page: int
    query: dict[str, Any]
    created: str
    state: int = 0
    result: bytes = b""
    count: int = 0
    more: bool = False


class Bulk:
    """The calls of bulk read."""

    def __init__(self, org: Org, modules: Callable[[], Mapping[str, Module]]) -> None:
        self.org, self._modules = org, modules
        self._jobs: dict[str, _Job] = {}
        self._numbers = count(ORG_BASE + 859_031, 6)
        self._downloads = RollingWindow(10, 60, org.world.clock.monotonic)

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            Route("/crm/bulk/{version}/read", self.create, methods=["POST"]),
            Route("/crm/bulk/{version}/read/{id}", self.look, methods=["GET"]),
            Route("/crm/bulk/{version}/read/{id}/result", self.result, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """Start a job."""
        try:
            said = read_json(await request.body())
            query = dict(said["query"])
        except (ValueError, KeyError, TypeError):
            refuse("INVALID_DATA", {}, "body")
        token = query.get("page_token")
        if token:
            before = self._jobs.get(str(token).rpartition("-")[0])
            if before is None:
                refuse("INVALID_DATA", {"api_name": "page_token"})
            query = {**before.query, "page": before.page + 1}
        job = self._job(query)
        self._jobs[job.id] = job
        me = self.org.me
        details = {
            "id": job.id,
            "operation": "read",
            "state": "ADDED",
            "created_by": {"id": me.id, "name": me.name},
            "created_time": job.created,
        }
        row = {
            "status": "success",
            "code": "ADDED_SUCCESSFULLY",
            "message": "Added successfully.",
            "details": details,
        }
        return json_reply({"data": [row], "info": {}}, 201)

    async def look(self, request: Request) -> Response:
        """How far a job is."""
        job = self._find(request)
        if job.state < len(_STATES) - 1:
            job.state += 1
            if _STATES[job.state] == "COMPLETED":
                self._run(job)
        me = self.org.me
        row: dict[str, Any] = {"id": job.id, "operation": "read", "state": _STATES[job.state]}
        if _STATES[job.state] == "COMPLETED":
            row["result"] = {
                "page": job.page,
                "per_page": ROWS_MOST,
                "count": job.count,
                "download_url": f"/crm/bulk/{request.path_params['version']}/read/{job.id}/result",
                "more_records": job.more,
            }
            if job.more:
                row["result"]["next_page_token"] = f"{job.id}-next"
        module = {"id": job.module.id, "api_name": job.module.name}
        row |= {
            "query": {**job.query, "module": module, "page": job.page},
            "created_by": {"id": me.id, "name": me.name},
            "created_time": job.created,
            "file_type": "csv",
        }
        return json_reply({"data": [row]})

    async def result(self, request: Request) -> Response:
        """The zipped CSV of a completed job; ten downloads a minute."""
        job = self._find(request)
        if self.org.settings.limits and self._downloads.take():
            return error(429, "TOO_MANY_REQUESTS", {}, "too many requests. please try again after some time")
        if not job.result:
            refuse("RESOURCE_NOT_FOUND", {}, "the job is not completed", status=404)
        headers = {"content-disposition": f"attachment; filename={job.id}.zip"}
        return Response(job.result, headers=headers, media_type="application/octet-stream")

    def _find(self, request: Request) -> _Job:
        job = self._jobs.get(request.path_params["id"])
        if job is None:
            refuse("RESOURCE_NOT_FOUND", {}, "the requested resource doesn't exist", status=404)
        return job

    def _job(self, query: dict[str, Any]) -> _Job:
        name = query.get("module", {}).get("api_name") if isinstance(query.get("module"), dict) else None
        module = self._modules().get(str(name))
        if module is None or module.name in _NOT_SERVED:
            refuse("INVALID_DATA", {"api_name": "module"}, "the module name given seems to be invalid")
        columns = Columns(self.org, self._modules())
        names = query.get("fields") or [
            field.name for field in module.fields.values() if not field.hidden and field.name != "id"
        ]
        chosen = []
        for field_name in names:
            column = columns.find(module, str(field_name))
            if column is None:
                refuse("INVALID_DATA", {"api_name": "fields", "value": field_name})
            if column.path != "id":
                chosen.append(column)
        criteria = query.get("criteria")
        passes = self._test(columns, module, criteria) if criteria else None
        page = query.get("page", 1)
        if not isinstance(page, int) or page < 1:
            refuse("INVALID_DATA", {"api_name": "page"})
        return _Job(str(next(self._numbers)), module, chosen, passes, page, query, self.org.now_stamp())

    def _test(self, columns: Columns, module: Module, said: Any) -> Test:
        if not isinstance(said, dict):
            refuse("INVALID_DATA", {"api_name": "criteria"})
        if "group" in said:
            tests = [self._test(columns, module, part) for part in said["group"]]
            join = either if said.get("group_operator", "and").lower() == "or" else both
            passes = tests[0]
            for test in tests[1:]:
                passes = join(passes, test)
            return passes
        name = said.get("field", {}).get("api_name") if "field" in said else said.get("api_name")
        column = columns.find(module, str(name))
        sign = _TESTS.get(str(said.get("comparator")))
        if column is None or sign is None:
            refuse("INVALID_DATA", {"api_name": "criteria"})
        value = said.get("value")
        if value == "${EMPTY}":
            return make_test(key_of(column), "null" if sign == "eq" else "not_null", ())
        try:
            texts = value if isinstance(value, list) else [value]
            values = [read_literal(column.field, str(text)) for text in texts]
        except ValueError:
            refuse("INVALID_DATA", {"api_name": "value"})
        return make_test(key_of(column), sign, values)

    def _run(self, job: _Job) -> None:
        rows: Sequence[Any] = ()
        if job.module.kind is not None:
            rows = self.org.world.live.ordered(job.module.kind).rows
        if job.passes is not None:
            rows = list(filter(job.passes, rows))
        start = (job.page - 1) * ROWS_MOST
        cut = rows[start : start + ROWS_MOST]
        job.count, job.more = len(cut), start + ROWS_MOST < len(rows)
        gets = [self._cell(column) for column in job.columns]
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["Id", *(column.path for column in job.columns)])
        writer.writerows([row.id, *(get(row) for get in gets)] for row in cut)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(f"{job.id}.csv", text.getvalue())
        job.result = packed.getvalue()

    def _cell(self, column: Column) -> Get:
        """How a value stands in the CSV: lookups as bare ids, several values with `;` between them."""
        if column.field.lookup is not None or column.field.type == "datetime":
            hop, raw, stamp = column.row, column.field.raw, self.org.stamp

            def cell(row: Any) -> Any:
                there = row if hop is None else hop(row)
                value = None if there is None else raw(there)
                return stamp(value) if isinstance(value, datetime) else value

            return cell
        show = column.value()
        if column.field.type == "multiselectpicklist":
            return lambda row: ";".join(show(row) or ())
        if column.field.type == "boolean":
            return lambda row: "true" if show(row) else "false"
        if column.field.name == "Tag":
            return lambda row: ",".join(tag["name"] for tag in show(row))
        return show
