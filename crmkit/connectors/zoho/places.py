"""Where a deal stands, as Zoho is told: by the names of pipeline and stage, never by id.

Zoho stores any text as a stage or a pipeline, also one that does not exist, and then the
deal is in no report. So a place that the org does not have is refused on this side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmkit.connectors.zoho.shape import Shape
from crmkit.connectors.zoho.stages import ONLY_PIPELINE
from crmkit.connectors.zoho.values import CannotHold


def place(values: Mapping[str, Any], shape: Shape, name: str) -> dict[str, Any]:
    """The part of a row that `pipeline_id` or `stage_id` stands for.

    Raises:
        CannotHold: The org has no such place.
    """
    if name == "stage_id":
        return _stage(values["stage_id"], values.get("pipeline_id"), shape)
    return _pipeline(values["pipeline_id"], values, shape)


def _stage(stage_id: Any, pipeline_id: Any, shape: Shape) -> dict[str, Any]:
    if stage_id is None:
        raise CannotHold("a deal of Zoho always has a stage")
    if shape.stages is None:
        return {"Stage": stage_id}  # not looked up yet: nothing is sent before it is
    stage = shape.stages.get(stage_id)
    if stage is None:
        raise CannotHold("this org has no such stage")
    pipeline = (shape.pipelines or {}).get(pipeline_id)
    if pipeline is not None and stage_id not in pipeline.stages:
        raise CannotHold("the pipeline does not have this stage")
    return {"Stage": stage.actual}


def _pipeline(pipeline_id: Any, values: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    if pipeline_id is None:
        if values.get("stage_id") is None:
            raise CannotHold("a deal of Zoho always has a pipeline")
        return {}
    if shape.pipelines is None:
        return {"Pipeline": pipeline_id}
    if not shape.pipelines and pipeline_id == ONLY_PIPELINE:
        return {}  # where sales pipelines are off, deals have no such field
    pipeline = shape.pipelines.get(pipeline_id)
    if pipeline is None:
        raise CannotHold("this org has no such pipeline")
    if values.get("stage_id") is None:
        raise CannotHold("a deal changes its pipeline only together with its stage")
    cells: dict[str, Any] = {"Pipeline": pipeline.display}
    if pipeline.layout is not None:
        cells["Layout"] = {"id": pipeline.layout}
    return cells
