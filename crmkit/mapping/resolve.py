"""From what a person wrote in crmkit.toml to a stage map by ids, with every problem found."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rapidfuzz import process

from crmkit.mapping.stages import Outline, StageKey, StageMap
from crmkit.model import Outcome, Pipeline

StageConfig: TypeAlias = Mapping[str, Mapping[str, str]]
"""{pipeline id or name: {stage id or name: common stage id}}."""

DefaultConfig: TypeAlias = Mapping[str, Mapping[str, str]]
"""{pipeline id or name: {common stage id: id or name of the stage it is written to}}."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of the configured stage map that cannot be used; the others still are."""

    code: str
    message: str
    hint: str
    pipeline: str
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class _Choice:
    id: str
    name: str

    def __str__(self) -> str:
        return f'"{self.name}" ({self.id})'


def resolve(
    config: StageConfig,
    pipelines: Sequence[Pipeline],
    outline: Outline,
    *,
    defaults: DefaultConfig | None = None,
    connection: str | None = None,
    outcome_apart: bool | None = None,
) -> tuple[StageMap, tuple[Problem, ...]]:
    """The stage map that a configuration declares, and what in it cannot be used.

    Ids win over names; names are compared without regard to case and spacing. A name
    that two stages share is a problem, never a guess.

    Args:
        config: The common stage of each native stage.
        pipelines: The connection's pipelines as last read.
        outline: The workspace's common stages.
        defaults: Which stage a common stage is written to, where several mean it.
        connection: Name of the connection; taken from the pipelines if absent.
        outcome_apart: See `StageMap`. `None`: yes if no stage of the connection is won or lost.

    Returns:
        The map of all usable lines, and the problems in the order of the configuration.
    """
    if connection is None:
        connection = pipelines[0].ref.connection if pipelines else ""
    if outcome_apart is None:
        outcomes = {stage.outcome for pipeline in pipelines for stage in pipeline.stages}
        outcome_apart = outcomes == {Outcome.OPEN}
    problems: list[Problem] = []
    entries: dict[StageKey, str] = {}
    for pipeline_key, lines in config.items():
        pipeline = _pipeline(pipeline_key, pipelines, problems)
        if pipeline is None:
            continue
        for stage_key, common in lines.items():
            stage_id = _stage(stage_key, pipeline, problems)
            if stage_id is None or not _declared(common, outline, pipeline, stage_key, problems):
                continue
            earlier = entries.setdefault((pipeline.ref.id, stage_id), common)
            if earlier != common:
                problems.append(
                    Problem(
                        "mapped-twice",
                        f'stage "{stage_key}" of pipeline "{pipeline.name}" is mapped '
                        f"to {earlier!r} and to {common!r}",
                        "Keep one of the two lines; the first one is in use.",
                        pipeline.name,
                        stage_key,
                    )
                )
    chosen = _defaults(defaults or {}, pipelines, outline, entries, problems)
    stage_map = StageMap(connection, outline, tuple(pipelines), entries, chosen, outcome_apart)
    return stage_map, tuple(problems)


def _defaults(
    config: DefaultConfig,
    pipelines: Sequence[Pipeline],
    outline: Outline,
    entries: Mapping[StageKey, str],
    problems: list[Problem],
) -> dict[tuple[str, str], str]:
    chosen: dict[tuple[str, str], str] = {}
    for pipeline_key, lines in config.items():
        pipeline = _pipeline(pipeline_key, pipelines, problems)
        if pipeline is None:
            continue
        for common, stage_key in lines.items():
            stage_id = _stage(stage_key, pipeline, problems)
            if stage_id is None or not _declared(common, outline, pipeline, stage_key, problems):
                continue
            mapped = entries.get((pipeline.ref.id, stage_id))
            # Where outcomes live apart an open stage may well be the place for won deals.
            if mapped != common and outline[common].outcome is Outcome.OPEN:
                problems.append(
                    Problem(
                        "default-elsewhere",
                        f'stage "{stage_key}" of pipeline "{pipeline.name}" cannot be the default '
                        f"of {common!r}: "
                        + (f"it is mapped to {mapped!r}" if mapped else "it is not mapped"),
                        f"Map the stage to {common!r} first, or name another stage.",
                        pipeline.name,
                        stage_key,
                    )
                )
                continue
            chosen[pipeline.ref.id, common] = stage_id
    return chosen


def _pipeline(key: str, pipelines: Sequence[Pipeline], problems: list[Problem]) -> Pipeline | None:
    found = _find(key, [_Choice(pipeline.ref.id, pipeline.name) for pipeline in pipelines])
    if isinstance(found, str):
        return next(pipeline for pipeline in pipelines if pipeline.ref.id == found)
    problems.append(_unresolved("pipeline", f'pipeline "{key}"', key, None, found))
    return None


def _stage(key: str, pipeline: Pipeline, problems: list[Problem]) -> str | None:
    found = _find(key, [_Choice(stage.id, stage.name) for stage in pipeline.stages])
    if isinstance(found, str):
        return found
    problems.append(
        _unresolved("stage", f'stage "{key}" of pipeline "{pipeline.name}"', pipeline.name, key, found)
    )
    return None


def _declared(
    common: str, outline: Outline, pipeline: Pipeline, stage_key: str, problems: list[Problem]
) -> bool:
    if common in outline:
        return True
    problems.append(
        Problem(
            "no-such-common-stage",
            f'stage "{stage_key}" of pipeline "{pipeline.name}": there is no common stage {common!r}',
            "Common stages: " + ", ".join(stage.id for stage in outline.stages) + ".",
            pipeline.name,
            stage_key,
        )
    )
    return False


def _find(key: str, choices: Sequence[_Choice]) -> str | tuple[bool, list[_Choice]]:
    """The id that a key stands for, or whether it is ambiguous, with the candidates."""
    if any(choice.id == key for choice in choices):
        return key
    named = [choice for choice in choices if choice.name == key]
    named = named or [choice for choice in choices if _fold(choice.name) == _fold(key)]
    if len(named) == 1:
        return named[0].id
    if named:
        return True, named
    near = process.extract(
        _fold(key),
        {index: _fold(choice.name) for index, choice in enumerate(choices)},
        limit=3,
        score_cutoff=60,
    )
    return False, [choices[index] for _, _, index in near]


def _unresolved(
    what: str, where: str, pipeline: str, stage: str | None, found: tuple[bool, Iterable[_Choice]]
) -> Problem:
    ambiguous, candidates = found
    listed = ", ".join(str(choice) for choice in candidates)
    if ambiguous:
        message = f"{where} stands for more than one {what}: {listed}"
        return Problem(f"ambiguous-{what}", message, "Use the id in parentheses as the key.", pipeline, stage)
    hint = f"Close to it: {listed}." if listed else f"Remove the line, or check that the {what} still exists."
    return Problem(f"no-such-{what}", f"{where} does not exist in the CRM", hint, pipeline, stage)


def _fold(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
