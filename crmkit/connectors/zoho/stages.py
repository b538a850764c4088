"""What an org's pipelines and stages are called, and the pipelines themselves. No calls, no clock.

Ids: a pipeline is known by its id; a stage by the id of its value in the `Stage` picklist,
because that value is shared by all pipelines and survives renaming. Deals hold neither:
they name the pipeline by what is displayed and the stage by its `actual_value`, so both
are looked up. A name that is not known (Zoho stores any text) stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crmkit.connectors.translate import percent
from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage

# The id of the one pipeline of an org that has sales pipelines switched off.
ONLY_PIPELINE = "default"
_OUTCOMES = {"Open": Outcome.OPEN, "Closed Won": Outcome.WON, "Closed Lost": Outcome.LOST}


@dataclass(frozen=True, slots=True)
class StageValue:
    """One value of the Stage picklist."""

    id: str
    name: str
    order: int
    outcome: Outcome
    probability: Decimal | None
    forecast_category: str | None
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What the texts in deals mean.

    Attributes:
        stages: Stage by actual value, and by display value where nothing else has it.
        pipelines: Pipeline id by display value.
        only_pipeline: The pipeline of every deal, if sales pipelines are off.
        shared: Names that pipelines of several layouts have: id and stage ids of each.
    """

    stages: Mapping[str, StageValue]
    pipelines: Mapping[str, str]
    only_pipeline: str | None = None
    shared: Mapping[str, Sequence[tuple[str, frozenset[str]]]] = field(default_factory=dict)

    def stage_id(self, name: str) -> str:
        """The id of a stage, or the text itself if no stage is called that."""
        stage = self.stages.get(name)
        return stage.id if stage else name

    def unknown(self, rows: Iterable[Mapping[str, Any]]) -> set[str]:
        """The texts in these deals that name no stage or no pipeline."""
        stages = {row.get("Stage") for row in rows if isinstance(row.get("Stage"), str)}
        pipelines = {row.get("Pipeline") for row in rows if isinstance(row.get("Pipeline"), str)}
        return {name for name in stages - self.stages.keys() | pipelines - self.pipelines.keys() if name}

    def pipeline_id(self, name: str | None, stage: StageValue | None) -> str | None:
        """The id of a deal's pipeline, or the text itself if no pipeline is called that."""
        if self.only_pipeline is not None:
            return self.only_pipeline
        if name is not None and name in self.shared and stage is not None:
            # A deal does not tell its layout here, so its stage has to decide.
            having = [native for native, stages in self.shared[name] if stage.id in stages]
            if len(having) == 1:
                return having[0]
        return self.pipelines.get(name, name) if name else None


NO_NAMES = Names({}, {})


def stage_values(stage_field: Mapping[str, Any]) -> list[StageValue]:
    """The values of the Stage picklist; the only place that tells probabilities."""
    found: list[StageValue] = []
    for order, value in enumerate(stage_field.get("pick_list_values") or ()):
        category = value.get("forecast_category")
        found.append(
            StageValue(
                id=str(value["id"]),
                name=str(value["display_value"]),
                order=order if value.get("sequence_number") is None else int(value["sequence_number"]),
                # Probability 0 or 100 does not decide: only the forecast type does.
                outcome=_OUTCOMES.get(str(value.get("forecast_type")), Outcome.OPEN),
                probability=percent(value.get("probability"), "Stage.probability"),
                forecast_category=category.get("name") if isinstance(category, dict) else None,
                archived=value.get("type") == "unused",
            )
        )
    return found


def names(stage_field: Mapping[str, Any], pipelines: Sequence[Mapping[str, Any]]) -> Names:
    """The names that deals use, from the Stage field and the pipelines of all layouts."""
    values = stage_field.get("pick_list_values") or ()
    by_id = {stage.id: stage for stage in stage_values(stage_field)}
    stages: dict[str, StageValue] = {}
    for key in ("actual_value", "display_value", "reference_value"):
        for value in values:
            if isinstance(value.get(key), str):
                stages.setdefault(value[key], by_id[str(value["id"])])
    by_name: dict[str, str] = {}
    for key in ("display_value", "actual_value"):
        for row in pipelines:
            by_name.setdefault(str(row[key]), str(row["id"]))
    members: dict[str, dict[str, frozenset[str]]] = {}
    for row in pipelines:
        stage_ids = frozenset(str(entry["id"]) for entry in row.get("maps") or ())
        members.setdefault(str(row["display_value"]), {})[str(row["id"])] = stage_ids
    shared = {name: tuple(found.items()) for name, found in members.items() if len(found) > 1}
    return Names(stages, by_name, None if pipelines else ONLY_PIPELINE, shared)


def pipelines(
    connection: str, stage_field: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> list[Pipeline]:
    """All pipelines, or the Stage picklist as the one pipeline if there are none."""
    values = stage_values(stage_field)
    if not rows:
        stages = tuple(_stage(value, value.name, value.order) for value in values)
        ref = Ref(connection, Kind.PIPELINE, ONLY_PIPELINE)
        return [Pipeline(ref=ref, name="Deals", stages=_in_order(stages))]
    by_id = {value.id: value for value in values}
    found: dict[str, Pipeline] = {}
    for order, row in enumerate(rows):
        stages = tuple(_mapped(entry, by_id) for entry in row.get("maps") or ())
        ref = Ref(connection, Kind.PIPELINE, str(row["id"]))
        # The same pipeline may be listed for several layouts.
        found.setdefault(
            ref.id, Pipeline(ref=ref, name=str(row["display_value"]), order=order, stages=_in_order(stages))
        )
    return list(found.values())


def _mapped(entry: Mapping[str, Any], by_id: Mapping[str, StageValue]) -> Stage:
    value = by_id.get(str(entry["id"]))
    order = int(entry.get("sequence_number") or 0)
    if value is None:
        outcome = _OUTCOMES.get(str(entry.get("forecast_type")), Outcome.OPEN)
        return Stage(id=str(entry["id"]), name=str(entry["display_value"]), order=order, outcome=outcome)
    return _stage(value, str(entry["display_value"]), order)


def _stage(value: StageValue, name: str, order: int) -> Stage:
    return Stage(
        id=value.id,
        name=name,
        order=order,
        outcome=value.outcome,
        probability=value.probability,
        archived=value.archived,
    )


def _in_order(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    return tuple(sorted(stages, key=lambda stage: stage.order))
