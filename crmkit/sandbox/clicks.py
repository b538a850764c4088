"""What an administrator does by hand where an API cannot: in a rehearsal and in tests, done for them."""

from __future__ import annotations

from collections.abc import Sequence
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


def _stage(app: VendorApp, pipeline_id: str, order: int, wanted: Wanted) -> Stage:
    known = [stage.id for pipeline in app.world.pipelines.values() for stage in pipeline.stages]
    probability = wanted.probability
    return Stage(_free(known, salt=order), wanted.name, order, wanted.outcome, probability)


def _free(known: object, salt: int = 0) -> str:
    """A numeric id above all that are there."""
    numbers = [int(one) for one in known if str(one).isdecimal()]  # type: ignore[attr-defined]
    return str(max(numbers, default=0) + 1 + salt)
