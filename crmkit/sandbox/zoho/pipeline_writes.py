"""Pipelines: create, change, delete, transfer; stages are only referred to, by the ids of the Stage picklist.

Source: https://github.com/zoho/crm-oas/tree/main/v8.0/pipeline. No call makes or renames a stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.rows import Pipeline, Stage
from crmkit.sandbox.wire import Refusal, json_reply
from crmkit.sandbox.zoho.answers import refuse
from crmkit.sandbox.zoho.bodies import done, failed, read_body
from crmkit.sandbox.zoho.deals import LAYOUT_ID
from crmkit.sandbox.zoho.org import Org
from crmkit.sandbox.zoho.seed import ORG_BASE

_PIPELINES_MOST, _STAGES_MOST = 90, 200
_ROW = "$.pipeline[0]"


class PipelineWrites:
    """The calls that change pipelines."""

    def __init__(self, org: Org) -> None:
        self.org = org
        self._ids = map(str, count(ORG_BASE + 95_001, 8))
        self._jobs = map(str, count(ORG_BASE + 98_001, 4))

    def routes(self) -> list[Route]:
        """What is served."""
        start = "/crm/{version}/settings/pipeline"
        return [
            Route(f"{start}/actions/transfer", self.transfer, methods=["POST"]),
            Route(start, self.create, methods=["POST"]),
            Route(start, self.update, methods=["PUT", "PATCH"]),
            Route(start + "/{id}", self.update, methods=["PUT", "PATCH"]),
        ]

    async def create(self, request: Request) -> Response:
        """A new pipeline, the last one."""
        row = await self._row(request)
        pipelines = self.org.world.pipelines
        name = row.get("display_value")
        if not isinstance(name, str) or not name.strip():
            _refuse("MANDATORY_NOT_FOUND", "display_value", "required field not found")
        self._check_name(name, None)
        if not row.get("maps"):
            _refuse("MANDATORY_NOT_FOUND", "maps", "required field not found")
        if len(pipelines) >= _PIPELINES_MOST:
            _refuse("INVALID_DATA", "pipeline", "the limit of pipelines is reached")
        stages = self._stages([], row["maps"])
        made = Pipeline(
            next(one for one in self._ids if one not in pipelines),
            name,
            len(pipelines),
            stages,
            extra={"default": False},
        )
        pipelines[made.id] = made
        self._set_default(made, row)
        return json_reply({"pipeline": [done({"id": made.id}, "Pipeline created successfully")]}, 201)

    async def update(self, request: Request) -> Response:
        """Rename a pipeline, add, reorder or take out stages, or delete it.

        Stages that are not named stay as they are, with PUT too (inferred).
        """
        row = await self._row(request)
        pipelines = self.org.world.pipelines
        in_path = request.path_params.get("id")
        wanted = in_path or row.get("id")
        if wanted is None:
            _refuse("MANDATORY_NOT_FOUND", "id", "required field not found")
        pipeline = pipelines.get(str(wanted))
        if pipeline is None and in_path:
            refuse("INVALID_DATA", {"resource_path_index": 2}, "the related id given seems to be invalid")
        if pipeline is None:
            _refuse("INVALID_DATA", "id", "the id given seems to be invalid")
        if "_delete" in row:
            self._delete(pipeline)
            return json_reply({"pipeline": [done({"id": pipeline.id}, "Pipeline deleted")]})
        name = row.get("display_value", pipeline.name)
        self._check_name(name, pipeline)
        if "maps" in row:
            stages = self._stages(pipeline.stages, row["maps"])
            self._keep_values(pipeline.stages)
            pipeline.stages = stages
        pipeline.name = name
        self._set_default(pipeline, row)
        return json_reply({"pipeline": [done({"id": pipeline.id}, "Pipeline updated")]})

    async def transfer(self, request: Request) -> Response:
        """Move the deals of one pipeline to another and delete it; the job is done at once."""
        self._check_layout(request)
        rows = (await read_body(request)).get("transfer_pipeline")
        if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], Mapping):
            refuse("INVALID_DATA", {"api_name": "transfer_pipeline", "json_path": "$.transfer_pipeline"})
        pair, pipelines = rows[0].get("pipeline"), self.org.world.pipelines
        ends = pair if isinstance(pair, Mapping) else {}
        for end in ("from", "to"):
            if ends.get(end) not in pipelines:
                self._refuse_transfer(end, f"pipeline.{end}", ends.get(end))
        if ends["from"] == ends["to"]:
            self._refuse_transfer("to", "pipeline.to", ends["to"])
        source, target = pipelines[ends["from"]], pipelines[ends["to"]]
        moves = self._moves(rows[0].get("stages"), source, target)
        me = self.org.me.id
        for deal in self.org.world.live.group("deal", "pipeline_id", source.id):
            stage_id = moves.get(deal.stage_id, deal.stage_id)
            self.org.world.edit_deal(deal.id, by=me, pipeline_id=target.id, stage_id=stage_id)
        self._keep_values(source.stages)
        del pipelines[source.id]
        row = done({"job_id": next(self._jobs)}, "transfer scheduled successfully")
        return json_reply({"transfer_pipeline": [row]})

    # Parts

    async def _row(self, request: Request) -> Mapping[str, Any]:
        self._check_layout(request)
        rows = (await read_body(request)).get("pipeline")
        if not isinstance(rows, list) or not rows or not isinstance(rows[0], Mapping):
            where = {"api_name": "pipeline", "json_path": "$.pipeline"}
            refuse("MANDATORY_NOT_FOUND", where, "required field not found")
        if len(rows) > 1:
            refuse("INVALID_DATA", {"maximum_length": 1, "api_name": "pipeline", "json_path": "$.pipeline"})
        row: Mapping[str, Any] = rows[0]
        return row

    def _check_layout(self, request: Request) -> None:
        layout_id = request.query_params.get("layout_id")
        if not layout_id:
            refuse("REQUIRED_PARAM_MISSING", {"param_name": "layout_id"})
        if layout_id != LAYOUT_ID or not self.org.has_pipelines:
            refuse("INVALID_DATA", {"param_name": "layout_id"}, "Invalid layoutid")

    def _check_name(self, name: Any, own: Pipeline | None) -> None:
        if not isinstance(name, str) or not name.strip():
            _refuse("INVALID_DATA", "display_value", "invalid data")
        for other in self.org.world.pipelines.values():
            if other is not own and other.name.casefold() == name.casefold():
                _refuse("DUPLICATE_DATA", "display_value", "duplicate data")

    def _stages(self, before: Sequence[Stage], maps: Any) -> list[Stage]:
        """The stages as they will stand; what `maps` does not name keeps its place."""
        if not isinstance(maps, list) or not 1 <= len(maps) <= _STAGES_MOST:
            _refuse("INVALID_DATA", "maps", "invalid data")
        values = {stage.id: stage for stage in self.org.picklist()}
        places = {stage.id: place for place, stage in enumerate(sorted(before, key=lambda one: one.order), 1)}
        for place, one in enumerate(maps):
            stage_id = str(one.get("id")) if isinstance(one, Mapping) else ""
            if stage_id not in values:
                _refuse("INVALID_DATA", f"maps[{place}].id", "Invalid child option id")
            if "_delete" in one:
                places.pop(stage_id, None)
            else:
                places[stage_id] = int(one.get("sequence_number", places.get(stage_id, len(places) + 1)))
        if not places:
            _refuse("CANNOT_DELETE", "maps", "the last stage cannot be deleted")
        ranked = sorted(places, key=lambda one: places[one])
        return [
            replace(values[one], order=order, extra=dict(values[one].extra))
            for order, one in enumerate(ranked)
        ]

    def _delete(self, pipeline: Pipeline) -> None:
        """Neither the default pipeline nor one that holds deals can go (inferred): they are transferred."""
        used = bool(self.org.world.live.group("deal", "pipeline_id", pipeline.id))
        if used or pipeline.extra.get("default"):
            row = failed("CANNOT_DELETE", {"id": pipeline.id}, "the pipeline cannot be deleted")
            raise Refusal(json_reply({"pipeline": [row]}, 400))
        self._keep_values(pipeline.stages)
        del self.org.world.pipelines[pipeline.id]

    def _keep_values(self, stages: Sequence[Stage]) -> None:
        """A value stays in the Stage picklist although no pipeline has it any more."""
        known = {stage.id for stage in self.org.spare_stages}
        self.org.spare_stages += [stage for stage in stages if stage.id not in known]

    def _set_default(self, pipeline: Pipeline, row: Mapping[str, Any]) -> None:
        if row.get("default") is not True:
            return
        for other in self.org.world.pipelines.values():
            other.extra["default"] = other is pipeline

    def _moves(self, said: Any, source: Pipeline, target: Pipeline) -> dict[str, str]:
        rows = said if isinstance(said, list) else []
        sources, targets = {one.id for one in source.stages}, {one.id for one in target.stages}
        moves = {}
        for place, row in enumerate(rows):
            if row.get("from") not in sources:
                self._refuse_transfer("from", f"stages[{place}].from", row.get("from"))
            if row.get("to") not in targets:
                self._refuse_transfer("to", f"stages[{place}].to", row.get("to"))
            moves[row["from"]] = row["to"]
        held = {deal.stage_id for deal in self.org.world.live.group("deal", "pipeline_id", source.id)}
        if (held & sources) - moves.keys() - targets:
            self._refuse_transfer("stages", "stages", None, "MANDATORY_NOT_FOUND")
        return moves

    def _refuse_transfer(self, name: str, where: str, value: Any, code: str = "INVALID_DATA") -> NoReturn:
        details = {"api_name": name, "json_path": f"$.transfer_pipeline[0].{where}"}
        if value is not None:
            details["value"] = str(value)
        message = "required field not found" if code == "MANDATORY_NOT_FOUND" else "invalid data"
        raise Refusal(json_reply({"transfer_pipeline": [failed(code, details, message)]}, 400))


def _refuse(code: str, where: str, message: str) -> NoReturn:
    details = {"api_name": where.rpartition(".")[2], "json_path": f"{_ROW}.{where}"}
    raise Refusal(json_reply({"pipeline": [failed(code, details, message)]}, 400))
