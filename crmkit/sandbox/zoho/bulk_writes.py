"""Bulk write: a zipped CSV is uploaded, a job reads it row by row, the result says what became of each.

Source: https://github.com/zoho/crm-oas/tree/main/v8.0/bulk_write. The columns of the result and that no
automation runs are inferred.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from email import message_from_bytes
from itertools import count
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.wire import json_reply
from crmkit.sandbox.zoho.answers import refuse
from crmkit.sandbox.zoho.bodies import done, read_body
from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.schema import Field, Module
from crmkit.sandbox.zoho.seed import ORG_BASE
from crmkit.sandbox.zoho.writes import WRITABLE, Call, Writes, unique_fields

ROWS_MOST, COLUMNS_MOST, ZIP_MOST = 25_000, 200, 25 * 1024 * 1024
_STATES = ("ADDED", "INPROGRESS", "COMPLETED")
_NUMBERS = {"currency", "double", "percent"}


@dataclass(slots=True)
class _Job:
    """A job; each look at it moves it one state on, as for bulk read."""

    id: str
    said: Mapping[str, Any]
    module: Module
    rows: list[list[str]]
    created: str
    state: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("added", "updated", "skipped"), 0))
    result: bytes = b""


class BulkWrites:
    """The calls of bulk write."""

    def __init__(self, org: Org, writes: Writes) -> None:
        self.org, self._writes = org, writes
        self._files: dict[str, list[list[str]]] = {}
        self._jobs: dict[str, _Job] = {}
        self._numbers = count(ORG_BASE + 869_031, 6)

    def routes(self) -> list[Route]:
        """What is served; the upload is on another host in earnest."""
        return [
            Route("/crm/{version}/upload", self.upload, methods=["POST"]),
            Route("/crm/bulk/{version}/write", self.create, methods=["POST"]),
            Route("/crm/bulk/{version}/write/{id}", self.look, methods=["GET"]),
            Route("/crm/bulk/{version}/write/{id}/result", self.result, methods=["GET"]),
        ]

    async def upload(self, request: Request) -> Response:
        """Take a zipped CSV."""
        if request.headers.get("feature") != "bulk-write":
            refuse("NOT_SUPPORTED_FEATURE", {}, "the feature given is not supported")
        if not request.headers.get("x-crm-org"):
            refuse("MANDATORY_NOT_FOUND", {"header": "X-CRM-ORG"}, "required header not found")
        packed = _form_file(request.headers.get("content-type", ""), await request.body())
        if not packed or len(packed) > ZIP_MOST:
            refuse("INVALID_DATA", {"api_name": "file"})
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                text = archive.read(archive.namelist()[0]).decode("utf-8-sig")
        except (zipfile.BadZipFile, IndexError, UnicodeDecodeError):
            refuse("INVALID_FILE_FORMAT", {}, "the file must be a zipped CSV")
        file_id = str(next(self._numbers))
        self._files[file_id] = list(csv.reader(io.StringIO(text, newline="")))
        details = {"file_id": file_id, "created_time": self.org.now_stamp()}
        shown = {"status": "success", "code": "FILE_UPLOAD_SUCCESS", "message": "file uploaded."}
        return json_reply({**shown, "details": details})

    async def create(self, request: Request) -> Response:
        """Start a job over an uploaded file."""
        said = await read_body(request)
        if said.get("operation") not in {"insert", "update", "upsert"}:
            refuse("INVALID_DATA", {"api_name": "operation"})
        resources = said.get("resource")
        one = resources[0] if isinstance(resources, list) and len(resources) == 1 else None
        if not isinstance(one, Mapping):
            refuse("MISSING_REQUIRED_KEY", {"json_path": "$.resource"}, "required key is missing")
        name = one.get("module", {}).get("api_name") if isinstance(one.get("module"), Mapping) else None
        module = self._writes.modules().get(str(name))
        if module is None or WRITABLE.get(module.name, "note") == "note":
            refuse("MODULE_NOT_AVAILABLE", {}, "the module is not available")
        rows = self._files.get(str(one.get("file_id")))
        if rows is None:
            refuse("FILE_NOT_FOUND", {}, "the file given is not found")
        if len(rows) - 1 > ROWS_MOST or any(len(row) > COLUMNS_MOST for row in rows[:1]):
            refuse("INVALID_DATA", {"maximum_length": ROWS_MOST}, "the file has too many rows or columns")
        if said["operation"] != "insert" and one.get("find_by") not in module.fields:
            refuse("MANDATORY_NOT_FOUND", {}, "Required key find_by is not available")
        job = _Job(str(next(self._numbers)), said, module, rows, self.org.now_stamp())
        self._jobs[job.id] = job
        me = self.org.me
        return json_reply(done({"id": job.id, "created_by": {"id": me.id, "name": me.name}}, "success"), 201)

    async def look(self, request: Request) -> Response:
        """How far a job is."""
        job = self._find(request)
        if job.state < len(_STATES) - 1:
            job.state += 1
            if _STATES[job.state] == "COMPLETED":
                self._run(job)
        state, me, one = _STATES[job.state], self.org.me, job.said["resource"][0]
        file: dict[str, Any] = {"status": state, "name": (one.get("file_names") or ["data.csv"])[0]}
        file |= {f"{what}_count": number for what, number in job.counts.items()}
        file["total_count"] = sum(job.counts.values())
        shown: dict[str, Any] = {
            "status": state,
            "character_encoding": job.said.get("character_encoding") or "UTF-8",
            "resource": [
                {
                    "status": state,
                    "type": "data",
                    "module": {"api_name": job.module.name, "id": job.module.id},
                    "ignore_empty": bool(one.get("ignore_empty")),
                    "field_mappings": one.get("field_mappings", []),
                    "file": file,
                }
            ],
            "id": job.id,
            "created_by": {"name": me.name, "id": me.id},
            "operation": job.said["operation"],
            "created_time": job.created,
        }
        if state == "COMPLETED":
            # A whole address here, on a host of its own in earnest; a path in bulk read.
            shown["result"] = {"download_url": str(request.url).split("?", 1)[0] + "/result"}
        return json_reply(shown)

    async def result(self, request: Request) -> Response:
        """The rows with `STATUS`, `RECORD_ID` and `ERRORS` behind them, zipped."""
        job = self._find(request)
        if not job.result:
            refuse("RESOURCE_NOT_FOUND", {}, "the job is not completed", status=404)
        return Response(job.result, media_type="application/octet-stream")

    def _find(self, request: Request) -> _Job:
        job = self._jobs.get(request.path_params["id"])
        if job is None:
            refuse("RESOURCE_NOT_FOUND", {}, "the requested resource doesn't exist", status=404)
        return job

    def _run(self, job: _Job) -> None:
        one, operation = job.said["resource"][0], job.said["operation"]
        header, *rows = job.rows or [[]]
        mappings = one.get("field_mappings") or [
            {"api_name": name, "index": place} for place, name in enumerate(header)
        ]
        uniques = unique_fields(job.module)
        call = Call(job.module, WRITABLE[job.module.name], (), None, uniques=uniques)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*header, "STATUS", "RECORD_ID", "ERRORS"])
        for cells in rows:
            row = self._row(job.module, cells, mappings, ignore_empty=bool(one.get("ignore_empty")))
            result = self._write(call, operation, row, str(one.get("find_by")))
            code = result["code"]
            added = result["message"] == "record added"
            status = "SKIPPED" if code != "SUCCESS" else "ADDED" if added else "UPDATED"
            job.counts[status.lower()] += 1
            name = result["details"].get("api_name", "")
            error = "" if code == "SUCCESS" else f"{code}:{name}"
            record_id = result["details"].get("id", "") if code == "SUCCESS" else ""
            writer.writerow([*cells, status, record_id, error])
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{job.id}.csv", text.getvalue())
        job.result = packed.getvalue()

    def _write(self, call: Call, operation: str, row: dict[str, Any], find_by: str) -> dict[str, Any]:
        writes = self._writes
        if operation == "insert":
            return writes.create_row(call, row, "$")
        if find_by == "id":
            return writes.update_row(call, row, "$") if row.get("id") else writes.create_row(call, row, "$")
        check = [call.module.fields[find_by]]
        return writes.upsert_row(call, row, "$", check, insert=operation == "upsert")

    def _row(self, module: Module, cells: list[str], mappings: Any, *, ignore_empty: bool) -> dict[str, Any]:
        """One line of the CSV as the row of a body; `Account_Name.id` fills a lookup."""
        row: dict[str, Any] = {}
        for mapping in mappings:
            name, place = str(mapping.get("api_name")).removesuffix(".id"), mapping.get("index", 0)
            cell = cells[place] if place < len(cells) else ""
            if cell == "" and isinstance(mapping.get("default_value"), Mapping):
                cell = str(mapping["default_value"].get("value", ""))
            if cell == "" and ignore_empty:
                continue
            one = module.fields.get(name)
            row[name] = cell if one is None or name == "id" else _cell(one, cell)
        return row


def _form_file(content_type: str, body: bytes) -> bytes:
    """The part called `file` of a form; empty if there is none."""
    form = message_from_bytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + body)
    for part in form.walk():
        if part.get_param("name", header="content-disposition") == "file":
            found = part.get_payload(decode=True)
            return found if isinstance(found, bytes) else b""
    return b""


def _cell(one: Field, cell: str) -> Any:
    """What JSON would have for the text of a cell; text that is no number stays text, and is refused."""
    if cell == "":
        return None
    if one.lookup is not None:
        return {"id": cell}
    if one.type == "boolean":
        return {"true": True, "false": False}.get(cell.lower(), cell)
    if one.type == "multiselectpicklist":
        return cell.split(";")
    if one.type == "integer":
        return int(cell) if cell.removeprefix("-").isdecimal() else cell
    if one.type in _NUMBERS:
        try:
            return Decimal(cell)
        except InvalidOperation:
            return cell
    return cell
