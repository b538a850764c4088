"""Deal pipelines and their stages, written.

Source: https://developers.hubspot.com/docs/api-reference/latest/crm/pipelines/guide
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot.account import PIPELINES_MOST, pipeline_json, stage_json
from crmkit.sandbox.hubspot.answers import flag, invalid, missing_fields, read_body, refuse, reply, version_of
from crmkit.sandbox.hubspot.content import outcome_of
from crmkit.sandbox.hubspot.kinds import object_type
from crmkit.sandbox.hubspot.portal import Portal
from crmkit.sandbox.rows import Pipeline, Stage

_STAGES_MOST = 100
_TENTHS = {f"{tenth / 10:.1f}" for tenth in range(11)}


class PipelineWrites:
    """The calls that write pipelines and stages; this portal has them for deals only."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def routes(self) -> list[Route]:
        """What is served."""
        base = "/crm/v3/pipelines/{type}"
        one, stages = f"{base}/{{pipeline}}", f"{base}/{{pipeline}}/stages"
        return [
            Route(base, self.create, methods=["POST"]),
            Route(one, self.replace, methods=["PUT"]),
            Route(one, self.patch, methods=["PATCH"]),
            Route(one, self.archive, methods=["DELETE"]),
            Route(stages, self.create_stage, methods=["POST"]),
            Route(f"{stages}/{{stage}}", self.replace_stage, methods=["PUT"]),
            Route(f"{stages}/{{stage}}", self.patch_stage, methods=["PATCH"]),
            Route(f"{stages}/{{stage}}", self.archive_stage, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        """Make a pipeline with its stages; ids are made unless given."""
        self._check(request)
        body = await read_body(request)
        _need(body, "displayOrder", "label", "stages")
        known = self.portal.world.pipelines
        if sum(not one.archived for one in known.values()) >= PIPELINES_MOST:
            invalid(f"The account has reached its limit of {PIPELINES_MOST} pipelines")
        pipeline_id = str(body.get("pipelineId") or self.portal.made_ids())
        if pipeline_id in known:
            invalid(f"A pipeline with the id {pipeline_id} exists already")
        self._check_label(body["label"], None)
        made = Pipeline(pipeline_id, str(body["label"]), int(body["displayOrder"]), [])
        made.stages = self._stages(body["stages"], made)
        made.extra = {"created": self.portal.world.now()}
        known[pipeline_id] = made
        return reply(pipeline_json(made), 201)

    async def replace(self, request: Request) -> Response:
        """Overwrite a pipeline; stages that are left out go."""
        one = self._pipeline(request)
        body = await read_body(request)
        _need(body, "displayOrder", "label", "stages")
        self._check_label(body["label"], one)
        stages = self._stages(body["stages"], one)
        kept = {stage.id for stage in stages}
        self._check_unused(request, one, [stage.id for stage in one.stages if stage.id not in kept])
        one.name, one.order, one.stages = str(body["label"]), int(body["displayOrder"]), stages
        return self._changed(one)

    async def patch(self, request: Request) -> Response:
        """Change label or place; `archived` may only be false, which brings an archived pipeline back."""
        one = self._pipeline(request, archived=True)
        body = await read_body(request)
        if body.get("archived") or (one.archived and "archived" not in body):
            invalid("A pipeline can only be restored by PATCH, with archived false")
        if "label" in body:
            self._check_label(body["label"], one)
            one.name = str(body["label"])
        one.order = int(body.get("displayOrder", one.order))
        one.archived = False
        return self._changed(one)

    async def archive(self, request: Request) -> Response:
        """Archive a pipeline; deals stay in it unless the call asks to look."""
        one = self._pipeline(request)
        self._check_unused(request, one, [stage.id for stage in one.stages])
        one.archived = True
        return Response(status_code=204)

    async def create_stage(self, request: Request) -> Response:
        """Add a stage to a pipeline."""
        one = self._pipeline(request)
        body = await read_body(request)
        if len(one.stages) >= _STAGES_MOST:
            invalid(f"A pipeline has at most {_STAGES_MOST} stages")
        _check_labels([*(stage.name for stage in one.stages), str(body.get("label"))])
        made = self._stage(body, one)
        if self._stage_exists(made.id):
            invalid(f"A stage with the id {made.id} exists already")
        one.stages.append(made)
        return reply(stage_json(one, made), 201)

    async def replace_stage(self, request: Request) -> Response:
        """Overwrite a stage."""
        body = await read_body(request)
        _need(body, "displayOrder", "label", "metadata")
        return self._change_stage(request, body)

    async def patch_stage(self, request: Request) -> Response:
        """Change what is given of a stage; the spec wants `metadata` always, which is not enforced here."""
        body = await read_body(request)
        if body.get("archived"):
            invalid("A stage cannot be archived by PATCH")
        return self._change_stage(request, body)

    async def archive_stage(self, request: Request) -> Response:
        """Take a stage out; deals stay in it unless the call asks to look."""
        one = self._pipeline(request)
        stage = _find_stage(one, request)
        self._check_unused(request, one, [stage.id])
        one.stages.remove(stage)
        return Response(status_code=204)

    def _change_stage(self, request: Request, body: dict[str, Any]) -> Response:
        one = self._pipeline(request)
        stage = _find_stage(one, request)
        if "label" in body:
            others = [other.name for other in one.stages if other is not stage]
            _check_labels([*others, str(body["label"])])
        if "metadata" in body:
            stage.probability = _probability(body["metadata"])
            stage.outcome = outcome_of(stage.probability)
        stage.name = str(body.get("label", stage.name))
        stage.order = int(body.get("displayOrder", stage.order))
        stage.extra["modified"] = self.portal.world.now()
        return reply(stage_json(one, stage))

    def _check(self, request: Request) -> None:
        found = object_type(request.path_params["type"])
        self.portal.may_shape(found)
        if found.kind != "deal":
            invalid(f"{found.plural} have no pipelines")

    def _pipeline(self, request: Request, *, archived: bool = False) -> Pipeline:
        self._check(request)
        one = self.portal.world.pipelines.get(request.path_params["pipeline"])
        if one is None or (one.archived and not archived):
            refuse(404, "resource not found")
        return one

    def _changed(self, one: Pipeline) -> Response:
        one.extra["modified"] = self.portal.world.now()
        return reply(pipeline_json(one))

    def _check_label(self, label: Any, own: Pipeline | None) -> None:
        others = self.portal.world.pipelines.values()
        if any(one.name == label for one in others if one is not own and not one.archived):
            invalid(f"A pipeline with the label {label} exists already")

    def _stages(self, said: Any, one: Pipeline) -> list[Stage]:
        if not isinstance(said, list) or not said:
            missing_fields("stages")
        if len(said) > _STAGES_MOST:
            invalid(f"A pipeline has at most {_STAGES_MOST} stages")
        stages = [self._stage(stage, one) for stage in said]
        _check_labels(stage.name for stage in stages)
        own = {stage.id for stage in one.stages}
        ids = [stage.id for stage in stages]
        if len(set(ids)) < len(ids) or any(self._stage_exists(id_) for id_ in ids if id_ not in own):
            invalid("Stage ids must be unique")
        return stages

    def _stage(self, said: Any, one: Pipeline) -> Stage:
        if not isinstance(said, dict):
            missing_fields("label")
        _need(said, "displayOrder", "label", "metadata")
        probability = _probability(said["metadata"])
        stage_id = str(said.get("stageId") or self.portal.made_ids())
        extra = {"created": self.portal.world.now()}
        return Stage(
            stage_id,
            str(said["label"]),
            int(said["displayOrder"]),
            outcome_of(probability),
            probability,
            extra,
        )

    def _stage_exists(self, stage_id: str) -> bool:
        known = self.portal.world.pipelines.values()
        return any(stage.id == stage_id for one in known for stage in one.stages)

    def _check_unused(self, request: Request, one: Pipeline, stage_ids: list[str]) -> None:
        # 2026-09 looks unless told not to, the versions before look only when told to.
        default = version_of(request) == "2026-09"
        asked = flag(request, "validateReferencesBeforeDelete", default) or (
            flag(request, "validateDealStageUsagesBeforeDelete", default)
        )
        deals = self.portal.world.deals.values()
        users = [deal for deal in deals if deal.pipeline_id == one.id and deal.stage_id in stage_ids]
        if not asked or not users:
            return
        stages = ", ".join(dict.fromkeys(deal.stage_id for deal in users))
        ids = ", ".join(deal.id for deal in users)
        refuse(
            400,
            f"Stage IDs: [{stages}] are being referenced by object IDs: [{ids}]",
            "VALIDATION_ERROR",
            subCategory="PipelineError.STAGE_ID_IN_USE",
            context={"stageIds": [f"[{stages}]"], "objectIds": [f"[{ids}]"]},
        )


def _need(body: dict[str, Any], *names: str) -> None:
    absent = [name for name in names if body.get(name) in (None, "")]
    if absent:
        missing_fields(*absent)


def _probability(metadata: Any) -> float:
    said = metadata.get("probability") if isinstance(metadata, dict) else None
    text = f"{said}.0" if str(said) in {"0", "1"} else str(said)
    if text not in _TENTHS:
        invalid(f"Invalid stage metadata: probability must be 0.0 to 1.0 in steps of 0.1, was {said}")
    return float(text)


def _check_labels(labels: Iterable[str]) -> None:
    known = list(labels)
    if len(set(known)) < len(known):
        invalid("Stage labels must be unique in their pipeline")


def _find_stage(one: Pipeline, request: Request) -> Stage:
    for stage in one.stages:
        if stage.id == request.path_params["stage"]:
            return stage
    refuse(404, "resource not found")
