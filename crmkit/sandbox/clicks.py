"""What an administrator does by hand where an API cannot: in a rehearsal and in tests, done for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from crmkit.sandbox.rows import Outcome, Pipeline, Stage

if TYPE_CHECKING:
    from crmkit.sandbox.app import VendorApp


class Wanted(NamedTuple):
    """A stage to make: its probability is a fraction from 0 to 1."""

    name: str
    outcome: Outcome
    probability: float | None


def click_pipeline(app: VendorApp, name: str, stages: Sequence[Wanted]) -> None:
    """Make a pipeline; in a CRM whose API makes pipelines of stages that are there, the stages."""
    if app.click_stages(stages):
        return
    pipelines = app.world.pipelines
    native = _free(pipelines)
    made = [_stage(app, native, at, one) for at, one in enumerate(stages)]
    pipelines[native] = Pipeline(native, name, len(pipelines), made)


def click_stages(app: VendorApp, pipeline_id: str, stages: Sequence[Wanted]) -> None:
    """Add stages to a pipeline, before the first one that closes deals."""
    if app.click_stages(stages):
        return
    pipeline = app.world.pipelines[pipeline_id]
    for one in stages:
        new = _stage(app, pipeline_id, len(pipeline.stages), one)
        closed = (at for at, stage in enumerate(pipeline.stages) if stage.outcome != "open")
        at = len(pipeline.stages) if one.outcome != "open" else next(closed, len(pipeline.stages))
        pipeline.stages.insert(at, new)
    for order, stage in enumerate(pipeline.stages):
        stage.order = order


def unclick_stage(app: VendorApp, pipeline_id: str, stage_id: str) -> None:
    """Take a stage back that nobody could have made."""
    pipeline = app.world.pipelines[pipeline_id]
    pipeline.stages = [one for one in pipeline.stages if one.id != stage_id]


def _stage(app: VendorApp, pipeline_id: str, order: int, wanted: Wanted) -> Stage:
    pipelines = app.world.pipelines
    stages = [stage for pipeline in pipelines.values() for stage in pipeline.stages]
    number = _free([stage.id.rpartition(":")[2] for stage in stages], salt=order)
    made = Stage(_prefix(app, pipeline_id) + number, wanted.name, order, wanted.outcome, wanted.probability)
    # Where stages are rows of a directory, a row has a number besides.
    rows = [int(stage.extra["row_id"]) for stage in stages if "row_id" in stage.extra]
    if rows:
        made.extra = {"row_id": max(rows) + 1 + order}
    return made


def _prefix(app: VendorApp, pipeline_id: str) -> str:
    """What the ids of a pipeline's stages begin with, where they tell the pipeline; else nothing."""
    pipelines = app.world.pipelines
    mine = pipelines.get(pipeline_id)
    if mine is not None and mine.stages and not any(":" in one.id for one in mine.stages):
        return ""  # also beside pipelines that do it: the first one's stages tell nothing
    for pipeline in pipelines.values():
        for stage in pipeline.stages:
            head, colon, _ = stage.id.partition(":")
            if colon and head.endswith(pipeline.id):
                return f"{head.removesuffix(pipeline.id)}{pipeline_id}:"
    return ""


def _free(known: Iterable[str], salt: int = 0) -> str:
    """A numeric id above all that are there."""
    numbers = [int(one) for one in known if one.isdecimal()]
    return str(max(numbers, default=0) + 1 + salt)
