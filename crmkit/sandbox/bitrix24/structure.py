"""Writes pipelines and stages.

Sources: https://apidocs.bitrix24.com/api-reference/crm/universal/category/index.html,
https://apidocs.bitrix24.com/api-reference/crm/status/crm-status-add.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.bitrix24.directory import category_row, deal_type, directory_of
from crmkit.sandbox.bitrix24.php import as_map, truth
from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal, need, whole
from crmkit.sandbox.bitrix24.seed import STATUS_ID_LENGTH, default_stages, status_id
from crmkit.sandbox.bitrix24.values import TITLE_LENGTH, refused, required
from crmkit.sandbox.bitrix24.writes import given_fields, old_fields_of
from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.rows import Outcome, Pipeline, Stage

_FIRST_NEW_STAGE = 5001
_OUTCOMES: Mapping[str, Outcome] = {"": "open", "S": "won", "F": "lost"}
_RANK: Mapping[str, int] = {"open": 0, "won": 1, "lost": 2}
_STATUS_ID = re.compile(r"[A-Za-z0-9_-]+")
_SYSTEM = 'CRM System Status can be deleted only if parameter FORCED is specified and equal to "Y".'


def category_add(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.category.add`: a pipeline with the eight stages that every new one is born with."""
    deal_type(params)
    said = given_fields(params)
    name = _name(said, None)
    world = portal.world
    limit = portal.setting("max_categories", None)
    if limit is not None and len(world.pipelines) >= int(limit):
        raise Failure("", "The maximum number of pipelines for your plan has been reached.")
    numbers = portal.once("category ids", lambda: counting_ids(max(int(one) for one in world.pipelines) + 1))
    pipeline_id = numbers()
    stages = default_stages(pipeline_id)
    for stage in stages:
        stage.extra["row_id"] = _new_row_id(portal)
    sort = whole(said.get("sort"))
    pipeline = Pipeline(pipeline_id, name, 500 if sort is None else sort, stages, extra=_origin(said))
    world.pipelines[pipeline_id] = pipeline
    return Answer({"category": category_row(pipeline)})


def category_update(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.category.update`; which pipeline is the default one cannot be changed."""
    pipeline = _category(portal, params)
    said = given_fields(params)
    pipeline.name = _name(said, pipeline.name)
    sort = whole(said.get("sort"))
    if sort is not None:
        pipeline.order = sort
    pipeline.extra |= _origin(said)
    return Answer({"category": category_row(pipeline)})


def category_delete(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.category.delete`: null."""
    pipeline = _category(portal, params)
    if pipeline.id == "0":
        raise Failure(0, "The default pipeline cannot be deleted.")
    if portal.world.live.group("deal", "pipeline_id", pipeline.id):
        raise Failure(0, "The pipeline cannot be deleted because it contains items.")
    del portal.world.pipelines[pipeline.id]
    return Answer(None)


def _category(portal: Portal, params: Mapping[str, Any]) -> Pipeline:
    deal_type(params)
    pipeline = portal.world.pipelines.get(str(whole(need(params, "id"))))
    if pipeline is None:
        raise Failure("NOT_FOUND", "Element not found")
    return pipeline


def _name(said: Mapping[str, Any], before: str | None) -> str:
    if "name" not in said and before is not None:
        return before
    name = str(said.get("name") or "").strip()
    if not name:
        raise required("Name")
    if len(name) > TITLE_LENGTH:
        raise refused("name")
    return name


def _origin(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(said[name] or "") for name in ("originId", "originatorId") if name in said}


def status_add(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.status.add`: the row's id; what deals will carry has to be read."""
    said = old_fields_of(params)
    for name in ("ENTITY_ID", "STATUS_ID", "NAME"):
        if not said.get(name):
            raise Failure("", f"The field {name} is required.")
    pipeline = next(
        (one for one in portal.world.pipelines.values() if directory_of(one.id) == said["ENTITY_ID"]), None
    )
    if pipeline is None:
        raise Failure("", "Specified entity type is not supported.")
    outcome = _OUTCOMES.get(str(said.get("SEMANTICS") or ""))
    code = str(said["STATUS_ID"]).removeprefix(f"C{pipeline.id}:")
    if outcome is None or not _STATUS_ID.fullmatch(code):
        raise Failure("", f"The field {'STATUS_ID' if outcome else 'SEMANTICS'} is invalid.")
    stage_id = status_id(pipeline.id, code)[:STATUS_ID_LENGTH]
    if any(stage.id == stage_id for stage in pipeline.stages):
        raise Failure("ERROR_CORE", "The specified status ID already exists.")
    if outcome == "won":
        raise Failure("", "A pipeline can have only one successful stage.")
    sort = whole(said.get("SORT"))
    extra = {
        "row_id": _new_row_id(portal),
        "color": str(said.get("COLOR") or ("#39A8EF" if outcome == "open" else "#FF5752")),
        "system": False,
        "apology": outcome == "lost",
        "sort": 10 if sort is None else sort,
    }
    stage = Stage(stage_id, str(said["NAME"]), 0, outcome, extra=extra)
    _keep_sorts(pipeline)
    _arrange(pipeline, [*pipeline.stages, stage])
    return Answer(extra["row_id"])


def status_update(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.status.update`: name, sort and colour; the rest is passed over."""
    pipeline, stage = _stage(portal, params)
    said = old_fields_of(params)
    sort = whole(said.get("SORT"))
    _keep_sorts(pipeline)
    if sort is not None and sort != stage.extra["sort"]:
        before = stage.extra["sort"]
        stage.extra["sort"] = sort
        try:
            _arrange(pipeline, pipeline.stages)
        except Failure:
            stage.extra["sort"] = before
            raise
    if said.get("NAME"):
        stage.name = str(said["NAME"])
    if said.get("COLOR"):
        stage.extra["color"] = str(said["COLOR"])
    return Answer(True)


def status_delete(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.status.delete`: not while deals are there, and system stages only if forced to."""
    pipeline, stage = _stage(portal, params)
    forced = truth(as_map(params.get("params")).get("FORCED", "N"))
    if stage.extra.get("system") and not forced:
        raise Failure("", _SYSTEM)
    if stage.outcome == "won":
        raise Failure("", "The successful stage of a pipeline cannot be deleted.")
    if any(deal.pipeline_id == pipeline.id for deal in portal.world.live.group("deal", "stage_id", stage.id)):
        raise Failure("", "There are active items in this status.")
    _keep_sorts(pipeline)
    _arrange(pipeline, [one for one in pipeline.stages if one is not stage])
    return Answer(True)


def _stage(portal: Portal, params: Mapping[str, Any]) -> tuple[Pipeline, Stage]:
    wanted = whole(params.get("id"))
    for pipeline in portal.world.pipelines.values():
        for place, stage in enumerate(pipeline.stages):
            if wanted == stage.extra.get("row_id", 10_000 + int(pipeline.id) * 100 + place):
                return pipeline, stage
    raise Failure("", "Status is not found.")


def _keep_sorts(pipeline: Pipeline) -> None:
    """Write down the sorts that so far followed from the places, and the row ids likewise."""
    for place, stage in enumerate(pipeline.stages):
        stage.extra.setdefault("sort", (place + 1) * 10)
        stage.extra.setdefault("row_id", 10_000 + int(pipeline.id) * 100 + place)


def _arrange(pipeline: Pipeline, stages: list[Stage]) -> None:
    """Put the stages in order of their sorts.

    Raises:
        Failure: An open stage would stand behind a final one, or a lost one before the won one.
    """
    arranged = sorted(stages, key=lambda stage: (stage.extra["sort"], stage.extra["row_id"]))
    ranks = [_RANK[stage.outcome] for stage in arranged]
    if ranks != sorted(ranks):
        raise Failure("", "Stages must stand in this order: in progress, successful, failed.")
    for place, stage in enumerate(arranged):
        stage.order = place
    pipeline.stages = arranged


def _new_row_id(portal: Portal) -> int:
    return int(portal.once("stage row ids", lambda: counting_ids(_FIRST_NEW_STAGE, step=2))())
