"""Records, written up to 100 at a time.

A batch is all or nothing, unless every input carries an `objectWriteTraceId` of its own: then each succeeds
or fails alone (documented for create; update and upsert were seen to behave alike). Results are not in the
order of the inputs. Source: https://developers.hubspot.com/docs/api-reference/error-handling
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot.answers import (
    Rejected,
    batch_answer,
    batch_inputs,
    invalid,
    missing_fields,
    read_body,
    version_of,
)
from crmkit.sandbox.hubspot.drafts import Draft
from crmkit.sandbox.hubspot.kinds import ObjectType
from crmkit.sandbox.hubspot.portal import Portal
from crmkit.sandbox.hubspot.records import not_found
from crmkit.sandbox.hubspot.values import Reader
from crmkit.sandbox.hubspot.writes import (
    Taken,
    archive_record,
    check_unique,
    commit_change,
    commit_new,
    prepare_change,
    prepare_new,
    writable_type,
    written,
)

_MOST = 100
_Prepared = tuple[str | None, Draft]  # the id of the record to change, or none for a new one


class BatchWrites:
    """The calls that write many records."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def routes(self) -> list[Route]:
        """What is served."""
        batch = "/crm/v3/objects/{type}/batch"
        return [
            Route(f"{batch}/create", self.create, methods=["POST"]),
            Route(f"{batch}/update", self.update, methods=["POST"]),
            Route(f"{batch}/upsert", self.upsert, methods=["POST"]),
            Route(f"{batch}/archive", self.archive, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Make records; 201, or 207 if some inputs with trace ids failed."""
        one_type, reader, inputs = await self._begin(request)
        taken: Taken = {}

        def prepare(said: dict[str, Any]) -> _Prepared:
            return None, prepare_new(self.portal, reader, said, taken)

        return self._run(one_type, inputs, prepare, [], 201, told=False)

    async def update(self, request: Request) -> Response:
        """Change records by id or unique property; the id of one that was merged away is passed over."""
        one_type, reader, inputs = await self._begin(request)
        for by in {str(said["idProperty"]) for said in inputs if said.get("idProperty")}:
            if by == "email":  # a contact's e-mail will do for upserts only
                _refuse_by_email(self.portal, one_type)
            check_unique(self.portal, one_type, by)
        rows = [(said, self._find(one_type, said)) for said in inputs]
        _refuse_twins([row.id for _, row in rows if row is not None])
        missing = [
            str(said["id"])
            for said, row in rows
            if row is None and not self.portal.merged_away(one_type, str(said["id"]))
        ]
        taken: Taken = {}
        found = {id(said): row for said, row in rows if row is not None}

        def prepare(said: dict[str, Any]) -> _Prepared:
            before = found[id(said)]
            return before.id, prepare_change(self.portal, reader, said.get("properties") or {}, before, taken)

        errors = [not_found(one_type, missing)] if missing else []
        live = [said for said in inputs if id(said) in found]
        return self._run(one_type, live, prepare, errors, 200, told=False)

    async def upsert(self, request: Request) -> Response:
        """Change what carries a unique value, make what is missing; links cannot come with it."""
        one_type, reader, inputs = await self._begin(request)
        for said in inputs:
            if "id" not in said:
                missing_fields("id")
            check_unique(self.portal, one_type, said.get("idProperty") or "hs_object_id")
        _refuse_twins([f"{said['idProperty']}={str(said['id']).casefold()}" for said in inputs])
        rows = [self.portal.find_by(one_type, said["idProperty"], str(said["id"])) for said in inputs]
        _refuse_twins([row.id for row in rows if row is not None])
        found = {id(said): row for said, row in zip(inputs, rows, strict=True)}
        taken: Taken = {}

        def prepare(said: dict[str, Any]) -> _Prepared:
            before = found[id(said)]
            properties = {said["idProperty"]: str(said["id"]), **(said.get("properties") or {})}
            if before is None:
                return None, prepare_new(self.portal, reader, {"properties": properties}, taken)
            return before.id, prepare_change(self.portal, reader, properties, before, taken)

        return self._run(one_type, inputs, prepare, [], 200, told=True)

    async def archive(self, request: Request) -> Response:
        """Archive records; ids that do not exist are passed over."""
        one_type, _, inputs = await self._begin(request)
        if not all("id" in said for said in inputs):
            missing_fields("id")
        for said in inputs:
            archive_record(self.portal, one_type, str(said["id"]))
        return Response(status_code=204)

    async def _begin(self, request: Request) -> tuple[ObjectType, Reader, list[dict[str, Any]]]:
        one_type = writable_type(self.portal, request.path_params["type"])
        inputs = batch_inputs(await read_body(request), _MOST)
        reader = Reader(self.portal, one_type, lenient=version_of(request) == "2026-09")
        return one_type, reader, inputs

    def _find(self, one_type: ObjectType, said: dict[str, Any]) -> Any | None:
        if "id" not in said:
            missing_fields("id")
        by = said.get("idProperty")
        if by:
            return self.portal.find_by(one_type, by, str(said["id"]))
        return self.portal.table(one_type).get(str(said["id"]))

    def _run(
        self,
        one_type: ObjectType,
        inputs: list[dict[str, Any]],
        prepare: Callable[[dict[str, Any]], _Prepared],
        errors: list[dict[str, Any]],
        status: int,
        *,
        told: bool,
    ) -> Response:
        started = self.portal.now()
        traced = _traced(inputs)
        ready: list[_Prepared] = []
        for said in inputs:
            try:
                ready.append(prepare(said))
            except Rejected as error:
                if not traced:
                    raise
                errors.append(error.beside(objectWriteTraceId=[str(said["objectWriteTraceId"])]))
        done = [
            (
                commit_new(self.portal, one_type, change)
                if record_id is None
                else commit_change(self.portal, one_type, record_id, change),
                change,
            )
            for record_id, change in ready
        ]
        results = written(self.portal, one_type, done)
        if told:
            for record, (record_id, _) in zip(results, ready, strict=True):
                record["new"] = record_id is None
        results.reverse()
        return batch_answer(results, errors, started, self.portal.now(), status)


def _traced(inputs: list[dict[str, Any]]) -> bool:
    marks = {said.get("objectWriteTraceId") for said in inputs} - {None, ""}
    return len(marks) == len(inputs) > 0


def _refuse_twins(ids: list[str]) -> None:
    """Two inputs for one record make the whole batch fail [seen; the text too, in public code]."""
    twins = sorted({one for one in ids if ids.count(one) > 1}) if len(set(ids)) < len(ids) else []
    if twins:
        invalid(f"Duplicate IDs found in batch input: [{', '.join(twins)}]. IDs must be unique")


def _refuse_by_email(portal: Portal, one_type: ObjectType) -> None:
    invalid(
        f"Unable to perform update/upsert by non-unique {one_type.type_id} property email "
        f"in portal ID {portal.portal_id}"
    )
