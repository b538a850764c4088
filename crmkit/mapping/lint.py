"""What is wrong, missing or doubtful in a stage map, with the money that hangs on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import TypeAlias

from crmkit.mapping.resolve import Problem
from crmkit.mapping.stages import StageKey, StageMap, live_stages
from crmkit.mapping.suggest import name_clash
from crmkit.model import Outcome, Pipeline, Stage

StageDeals: TypeAlias = Mapping[StageKey, tuple[int, Mapping[str, Decimal]]]
"""Per (pipeline id, stage id): the number of deals in it and their value per currency."""


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """Deals are read or written wrongly, or not at all."""
    WARNING = "warning"
    """It works by an assumption that a person should confirm."""
    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the linter found; names are for people, ids for programs."""

    severity: Severity
    code: str
    message: str
    hint: str
    connection: str
    pipeline_id: str | None = None
    pipeline: str | None = None
    stage_id: str | None = None
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many deals sit in mapped native stages (metrics.md 15, `stage_map_coverage`)."""

    mapped: int
    total: int

    @property
    def ratio(self) -> Decimal | None:
        """From 0 to 1; `None` if there are no deals."""
        return Decimal(self.mapped) / Decimal(self.total) if self.total else None


def coverage(stage_map: StageMap, deals_by_stage: StageDeals) -> Coverage:
    """The deals in mapped native stages, of all deals."""
    mapped = sum(count for key, (count, _) in deals_by_stage.items() if key in stage_map.entries)
    return Coverage(mapped, sum(count for count, _ in deals_by_stage.values()))


def check(
    stage_map: StageMap,
    pipelines: Sequence[Pipeline],
    deals_by_stage: StageDeals,
    *,
    problems: Iterable[Problem] = (),
    needed: Collection[str] | None = None,
) -> list[Finding]:
    """Everything worth saying about one connection's stage map, errors first.

    Args:
        stage_map: The map as resolved.
        pipelines: The connection's pipelines as they are now.
        deals_by_stage: What sits where.
        problems: What `resolve` could not use; each becomes an error.
        needed: The common stages that others write to this connection. `None`: unknown,
            so that a missing one is only a note.
    """
    findings = [
        Finding(
            Severity.ERROR,
            problem.code,
            problem.message,
            problem.hint,
            stage_map.connection,
            pipeline=problem.pipeline,
            stage=problem.stage,
        )
        for problem in problems
    ]
    findings += _stale(stage_map, pipelines, deals_by_stage)
    for pipeline in pipelines:
        findings += _unmapped(stage_map, pipeline, deals_by_stage)
        findings += _clashes(stage_map, pipeline)
        findings += _defaults(stage_map, pipeline)
        findings += _inexpressible(stage_map, pipeline, needed)
        findings += _disorder(stage_map, pipeline)
    rank = list(Severity)
    return sorted(findings, key=lambda finding: rank.index(finding.severity))


def _stale(stage_map: StageMap, pipelines: Sequence[Pipeline], deals: StageDeals) -> Iterator[Finding]:
    names = {pipeline.ref.id: pipeline.name for pipeline in pipelines}
    present = {(pipeline.ref.id, stage.id) for pipeline in pipelines for stage in pipeline.stages}
    for pipeline_id, stage_id in sorted(set(stage_map.entries) - present):
        yield Finding(
            Severity.ERROR,
            "no-such-stage",
            f"the map names stage {stage_id!r} of pipeline {names.get(pipeline_id, pipeline_id)!r}, "
            "which no longer exists in the CRM",
            "Remove the line, or map the stage that took its place.",
            stage_map.connection,
            pipeline_id,
            names.get(pipeline_id),
            stage_id,
        )
    for key in sorted(set(deals) - present):
        count, values = deals[key]
        if count:
            yield Finding(
                Severity.ERROR,
                "unlisted-stage",
                f"{_amounts(count, values)} in stage {key[1]!r} of pipeline {names.get(key[0], key[0])!r}, "
                "which the CRM does not list",
                "Read the pipelines again (`crmkit pull --full`); if it stays, move these deals in the CRM.",
                stage_map.connection,
                key[0],
                names.get(key[0]),
                key[1],
            )


def _unmapped(stage_map: StageMap, pipeline: Pipeline, deals: StageDeals) -> Iterator[Finding]:
    for stage in pipeline.stages:
        key = (pipeline.ref.id, stage.id)
        count, values = deals.get(key, (0, {}))
        if key in stage_map.entries or (stage.archived and not count):
            continue
        yield _finding(
            Severity.ERROR if count else Severity.WARNING,
            "unmapped-stage",
            f'the stage "{stage.name}" of pipeline "{pipeline.name}" has no common stage: '
            f"{_amounts(count, values)} in it",
            f"Add it under [connections.{stage_map.connection}.stages] in crmkit.toml; "
            "`crmkit stages suggest` proposes a line.",
            stage_map,
            pipeline,
            stage,
        )


def _clashes(stage_map: StageMap, pipeline: Pipeline) -> Iterator[Finding]:
    outline = stage_map.outline
    for stage in pipeline.stages:
        common = stage_map.entries.get((pipeline.ref.id, stage.id))
        meant = name_clash(stage)
        if meant is not None and not stage.archived:
            yield _finding(
                Severity.WARNING,
                "name-clash",
                f'the stage "{stage.name}" of pipeline "{pipeline.name}" is named like {meant}, '
                "but its deals count as open",
                "Correct the stage's category in the CRM, or rename it.",
                stage_map,
                pipeline,
                stage,
            )
        if common is None or outline[common].outcome is stage.outcome:
            continue
        text = (
            f'the stage "{stage.name}" of pipeline "{pipeline.name}" is {stage.outcome} in the CRM, '
            f"but its common stage {common!r} is {outline[common].outcome}"
        )
        if stage.outcome is Outcome.OPEN and outline.after_sale(common):
            yield _finding(
                Severity.NOTE,
                "open-after-sale",
                text,
                "Fine for onboarding or renewal deals; reports count them by their own outcome.",
                stage_map,
                pipeline,
                stage,
            )
        else:
            effect = (
                "open deals in it stay unmapped"
                if stage.outcome is Outcome.OPEN
                else "the CRM's outcome is used"
            )
            yield _finding(
                Severity.ERROR,
                "outcome-clash",
                f"{text}; {effect}",
                f"Map it to a common stage with outcome {stage.outcome}, or correct the stage in the CRM.",
                stage_map,
                pipeline,
                stage,
            )


def _defaults(stage_map: StageMap, pipeline: Pipeline) -> Iterator[Finding]:
    sharing: dict[str, list[Stage]] = {}
    for stage in sorted(pipeline.stages, key=lambda stage: stage.order):
        common = stage_map.entries.get((pipeline.ref.id, stage.id))
        if common is None:
            continue
        if not stage.archived:
            sharing.setdefault(common, []).append(stage)
            continue
        declared = stage_map.defaults.get((pipeline.ref.id, common)) == stage.id
        yield _finding(
            Severity.WARNING if declared else Severity.NOTE,
            "archived-stage",
            f'the archived stage "{stage.name}" of pipeline "{pipeline.name}" is still mapped'
            + (f" and declared as the default of {common!r}" if declared else ""),
            "It is read, but never written to." + (" Declare another default." if declared else ""),
            stage_map,
            pipeline,
            stage,
        )
    for common, stages in sharing.items():
        declared_id = stage_map.defaults.get((pipeline.ref.id, common))
        written = stage_map.to_native(common, pipeline.ref.id)
        if len(stages) == 1 or (declared_id is not None and declared_id == written):
            continue
        names = ", ".join(f'"{stage.name}"' for stage in stages)
        chosen = next((stage.name for stage in stages if stage.id == written), None)
        yield Finding(
            Severity.WARNING,
            "no-default",
            f'{len(stages)} stages of pipeline "{pipeline.name}" mean {common!r} ({names}) '
            "and none is declared as the one to write" + (f'; "{chosen}" is used' if chosen else ""),
            "Declare it under stage_defaults; deals that already sit in one of them are never moved.",
            stage_map.connection,
            pipeline.ref.id,
            pipeline.name,
        )


def _inexpressible(
    stage_map: StageMap, pipeline: Pipeline, needed: Collection[str] | None
) -> Iterator[Finding]:
    if not any((pipeline.ref.id, stage.id) in stage_map.entries for stage in pipeline.stages):
        return
    wanted = [stage.id for stage in stage_map.outline.stages if needed is None or stage.id in needed]
    missing = [common for common in wanted if not stage_map.choices(common, pipeline.ref.id)]
    if missing:
        yield Finding(
            Severity.NOTE if needed is None else Severity.WARNING,
            "inexpressible",
            f'no live stage of pipeline "{pipeline.name}" means {", ".join(missing)}',
            "Deals at these common stages cannot be written here: map a stage to each, or add one.",
            stage_map.connection,
            pipeline.ref.id,
            pipeline.name,
        )


def _disorder(stage_map: StageMap, pipeline: Pipeline) -> Iterator[Finding]:
    running = [stage for stage in live_stages(pipeline) if stage.outcome is Outcome.OPEN]
    for earlier, later in pairwise([stage for stage in running if stage.probability is not None]):
        if earlier.probability is not None and later.probability is not None:
            if later.probability >= earlier.probability:
                continue
            yield _finding(
                Severity.WARNING,
                "probability-falls",
                f'in pipeline "{pipeline.name}" the probability falls from {earlier.probability:.0%} '
                f'("{earlier.name}") to {later.probability:.0%} ("{later.name}")',
                "Weighted forecasts drop as deals move forward: check the stages in the CRM.",
                stage_map,
                pipeline,
                later,
            )
    outline = stage_map.outline
    placed = [
        (stage, outline[common])
        for stage in running
        if (common := stage_map.entries.get((pipeline.ref.id, stage.id))) is not None
    ]
    for (before, reached), (after, next_reached) in pairwise(placed):
        if next_reached.order < reached.order:
            yield _finding(
                Severity.NOTE,
                "order-falls",
                f'in pipeline "{pipeline.name}" the stage "{after.name}" ({next_reached.id}) comes after '
                f'"{before.name}" ({reached.id}), against the order of the common stages',
                "Deals that move forward in the CRM will seem to move back.",
                stage_map,
                pipeline,
                after,
            )


def _finding(
    severity: Severity,
    code: str,
    message: str,
    hint: str,
    stage_map: StageMap,
    pipeline: Pipeline,
    stage: Stage,
) -> Finding:
    return Finding(
        severity,
        code,
        message,
        hint,
        stage_map.connection,
        pipeline.ref.id,
        pipeline.name,
        stage.id,
        stage.name,
    )


def _amounts(count: int, values: Mapping[str, Decimal]) -> str:
    if not count:
        return "no deals"
    deals = f"{count:,} deal{'s' if count > 1 else ''}"
    money = ", ".join(f"{value:,} {currency}" for currency, value in sorted(values.items()))
    return f"{deals} ({money})" if money else deals
