"""Stage maps of a migration: each native stage goes to one stage, and what it means keeps its outcome.

A sync compares stages by the workspace's common ones, where several native stages may mean
the same. A migration copies a pipeline stage by stage, so its common stages are those of
the target, one for each outcome that a deal may have there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crmkit.mapping.stages import CommonStage, Outline, StageKey, StageMap, Unmapped
from crmkit.model import Outcome, Pipeline, Stage

Meaning = tuple[str, str, Outcome]
"""(pipeline id, stage id, outcome)."""


@dataclass(frozen=True)
class DirectStages(StageMap):
    """A stage map that is told what every stage means with every outcome."""

    meanings: Mapping[Meaning, str] = field(default_factory=dict)

    def to_common(self, pipeline_id: str | None, stage_id: str | None, outcome: Outcome) -> str | Unmapped:
        """The common stage of a deal; see `StageMap`."""
        found = super().to_common(pipeline_id, stage_id, outcome)
        if isinstance(found, str) or pipeline_id is None or stage_id is None:
            return found
        stage = self._native.get((pipeline_id, stage_id))
        if stage is None:
            return found
        line = next(one.name for one in self.pipelines if one.ref.id == pipeline_id)
        how = "" if outcome is stage.outcome else f", {outcome},"
        reason = f"the target has no stage for {stage.name!r}{how} of {line!r} yet"
        return Unmapped(pipeline_id, stage_id, reason)

    def _meaning(self, key: StageKey, outcome: Outcome) -> str | None:
        return self.meanings.get((*key, outcome))


def common_id(pipeline: str, stage: str, outcome: Outcome) -> str:
    """The common stage that stands for one stage of the target with one outcome."""
    return f"{pipeline}/{stage}/{outcome}"


def direct_maps(
    source: str,
    target: str,
    source_pipelines: Sequence[Pipeline],
    target_pipelines: Sequence[Pipeline],
    places: Mapping[StageKey, StageKey],
    *,
    apart: tuple[bool, bool],
) -> tuple[DirectStages, DirectStages]:
    """The stage maps of source and target.

    Args:
        source: Name of the connection that is read.
        target: Name of the connection that is written.
        source_pipelines: The source's pipelines.
        target_pipelines: The target's, as they are or will be.
        places: Source (pipeline id, stage id) to the target's.
        apart: For source and target, whether a deal's outcome is kept apart from its stage.
    """
    native = {(line.ref.id, stage.id): (line, stage) for line in target_pipelines for stage in line.stages}
    common: dict[str, CommonStage] = {}
    of_target: dict[Meaning, str] = {}
    for order, ((pipeline, stage_id), (_, stage)) in enumerate(native.items()):
        for outcome in Outcome if apart[1] else (stage.outcome,):
            id = common_id(pipeline, stage_id, outcome)
            common[id] = CommonStage(id, stage.name, order, outcome)
            of_target[pipeline, stage_id, outcome] = id
    of_source: dict[Meaning, str] = {}
    for key, place in places.items():
        if place not in native:
            continue
        line, stage = native[place]
        for outcome in Outcome:
            wanted = _with_outcome(line, stage, outcome, places, key, apart=apart[1])
            if wanted is not None:
                of_source[*key, outcome] = common_id(line.ref.id, wanted.id, outcome)
    outline = _outline(common)
    entries = {(pipeline, stage): id for (pipeline, stage, _), id in of_source.items()}
    own = {(pipeline, stage): id for (pipeline, stage, _), id in of_target.items()}
    return (
        DirectStages(source, outline, tuple(source_pipelines), entries, {}, apart[0], meanings=of_source),
        DirectStages(target, outline, tuple(target_pipelines), own, {}, apart[1], meanings=of_target),
    )


def _with_outcome(
    line: Pipeline,
    stage: Stage,
    outcome: Outcome,
    places: Mapping[StageKey, StageKey],
    key: StageKey,
    *,
    apart: bool,
) -> Stage | None:
    """The stage of the target's pipeline for a deal of this stage and outcome; `None` if there is none."""
    if apart or stage.outcome is outcome:
        return stage
    if outcome is Outcome.OPEN:
        return None  # an open deal must not close by being moved
    # Closed in an open stage: it goes to where the pipeline closes deals so, best where the source does.
    closing = [one for one in line.stages if one.outcome is outcome and not one.archived]
    own = {
        target_stage
        for (pipeline, _), (target_pipeline, target_stage) in places.items()
        if pipeline == key[0] and target_pipeline == line.ref.id
    }
    return next((one for one in closing if one.id in own), closing[0] if closing else None)


def _outline(common: Mapping[str, CommonStage]) -> Outline:
    """The outline; every outcome is in it, though the target may have no stage for one."""
    stages = list(common.values())
    present = {stage.outcome for stage in stages}
    stages += [
        CommonStage(f"none/{outcome}", str(outcome), len(stages) + at, outcome)
        for at, outcome in enumerate(Outcome)
        if outcome not in present
    ]
    return Outline(tuple(stages))
