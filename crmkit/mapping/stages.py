"""Common stages and the stage map that ties each connection's native stages to them.

A stage map obeys two laws, whatever a person declares (see sync-semantics 2):
writing back what was read moves nothing (get-put), and what was written is what is
read next (put-get). Two native stages may share one common stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from crmkit.errors import ConfigError
from crmkit.model import Outcome, Pipeline, Stage

StageKey: TypeAlias = tuple[str, str]
"""(pipeline id, stage id): stage ids alone may repeat from pipeline to pipeline."""


@dataclass(frozen=True, slots=True)
class CommonStage:
    """A step that every pipeline of the workspace is compared by."""

    id: str
    name: str
    order: int
    outcome: Outcome = Outcome.OPEN


@dataclass(frozen=True)
class Outline:
    """The workspace's common stages, in order.

    Raises:
        ConfigError: Ids repeat, or there is no open, no won or no lost stage.
    """

    stages: tuple[CommonStage, ...]
    _by_id: Mapping[str, CommonStage] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.stages, key=lambda stage: stage.order))
        object.__setattr__(self, "stages", ordered)
        object.__setattr__(self, "_by_id", {stage.id: stage for stage in ordered})
        repeated = [id for id, times in Counter(stage.id for stage in ordered).items() if times > 1]
        if repeated:
            raise ConfigError(f"common stages declared twice: {', '.join(repeated)}")
        present = {stage.outcome for stage in ordered}
        missing = [outcome.value for outcome in Outcome if outcome not in present]
        if missing:
            raise ConfigError(
                f"the common stages lack a stage with outcome {' and '.join(missing)}",
                hint="Every deal is open, won or lost, so each outcome needs a common stage.",
            )

    def __contains__(self, common: object) -> bool:
        return common in self._by_id

    def __getitem__(self, common: str) -> CommonStage:
        return self._by_id[common]

    @property
    def open_stages(self) -> tuple[CommonStage, ...]:
        """The steps of a deal that is still running, in order."""
        return tuple(stage for stage in self.stages if stage.outcome is Outcome.OPEN)

    def closing(self, outcome: Outcome) -> str:
        """The common stage of a deal of which nothing but its outcome is known: the first of that outcome."""
        return next(stage.id for stage in self.stages if stage.outcome is outcome)

    def after_sale(self, common: str) -> bool:
        """Whether the stage comes after the sale: outcome won, later than the won stage itself."""
        return self._by_id[common].outcome is Outcome.WON and common != self.closing(Outcome.WON)

    def renamed(self, names: Mapping[str, str]) -> Outline:
        """The outline with other display names, by common stage id.

        Raises:
            ConfigError: A name is given for a stage that does not exist.
        """
        unknown = sorted(set(names) - set(self._by_id))
        if unknown:
            raise ConfigError(f"no such common stage to rename: {', '.join(unknown)}")
        return Outline(tuple(replace(stage, name=names.get(stage.id, stage.name)) for stage in self.stages))

    def extended(self, added: Iterable[CommonStage]) -> Outline:
        """The outline with the workspace's own stages among the others, by order."""
        return Outline((*self.stages, *added))


DEFAULT_OUTLINE = Outline(
    (
        CommonStage("prospecting", "Prospecting", 10),
        CommonStage("qualification", "Qualification", 20),
        CommonStage("meeting", "Demo or meeting", 30),
        CommonStage("proposal", "Proposal", 40),
        CommonStage("negotiation", "Negotiation and commitment", 50),
        CommonStage("won", "Won", 60, Outcome.WON),
        CommonStage("lost", "Lost", 70, Outcome.LOST),
        CommonStage("post_purchase", "Post-purchase", 80, Outcome.WON),
    )
)
"""The outline every sales team shares; orders leave room for a workspace's own stages."""


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A native stage that has no common stage for this deal; never merged, never written."""

    pipeline_id: str | None
    stage_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Unwritable:
    """A common stage that this pipeline cannot hold."""

    common: str
    pipeline_id: str | None
    reason: str


@dataclass(frozen=True)
class StageMap:
    """What each native stage of one connection means, and where each common stage is written.

    Build it with `crmkit.mapping.resolve.resolve`.

    Attributes:
        connection: Name of the connection.
        outline: The workspace's common stages.
        pipelines: The connection's pipelines at the time the map was made.
        entries: Common stage id by native stage.
        defaults: The stage that a common stage is written to, by (pipeline id, common
            stage id), where a person declared one.
        outcome_apart: Whether the CRM keeps a deal's outcome outside its stage, so that
            a won or lost deal stays in an open stage.
    """

    connection: str
    outline: Outline
    pipelines: tuple[Pipeline, ...]
    entries: Mapping[StageKey, str]
    defaults: Mapping[tuple[str, str], str] = field(default_factory=dict)
    outcome_apart: bool = False
    _native: Mapping[StageKey, Stage] = field(init=False, repr=False, compare=False)
    _table: Mapping[tuple[str, str, Outcome], str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        native = {
            (pipeline.ref.id, stage.id): stage for pipeline in self.pipelines for stage in pipeline.stages
        }
        object.__setattr__(self, "_native", native)
        # One look-up per deal: a pull may hold millions of them.
        table = {
            (*key, outcome): common
            for key in native.keys() | self.entries.keys()
            for outcome in Outcome
            if (common := self._meaning(key, outcome)) is not None
        }
        object.__setattr__(self, "_table", table)

    def to_common(self, pipeline_id: str | None, stage_id: str | None, outcome: Outcome) -> str | Unmapped:
        """The common stage of a deal.

        The deal's outcome outweighs its stage: a won deal in a stage mapped to
        `proposal` is `won`. The reverse is refused: an open deal is never `won` or
        `lost` because somebody mapped its stage so.
        """
        if pipeline_id is None or stage_id is None:
            return Unmapped(pipeline_id, stage_id, "the deal has no stage")
        common = self._table.get((pipeline_id, stage_id, outcome))
        if common is not None:
            return common
        key = (pipeline_id, stage_id)
        if key not in self.entries:
            known = key in self._native
            return Unmapped(
                *key, "no common stage is declared" if known else "the CRM does not list this stage"
            )
        return Unmapped(*key, f"the deal is open, but its stage is mapped to {self.entries[key]!r}")

    def to_native(
        self, common: str, pipeline_id: str | None, current_stage_id: str | None = None
    ) -> str | Unwritable:
        """The native stage that holds a common stage in one pipeline.

        Args:
            common: The common stage id to write.
            pipeline_id: The pipeline that the deal is in, or shall be in.
            current_stage_id: The stage the deal is in now; kept if it already means
                `common`. `None` for a deal that is to be created.

        Returns:
            The stage id: the current one, else the declared default, else the first by
            order. Where outcomes live apart, a won deal without a stage gets the last
            one and a lost deal the first. Archived stages are never moved to.
        """
        if common not in self.outline:
            return Unwritable(common, pipeline_id, "no such common stage is declared")
        if pipeline_id is None:
            return Unwritable(common, pipeline_id, "the deal has no pipeline")
        if current_stage_id is not None and self._holds((pipeline_id, current_stage_id), common):
            return current_stage_id
        choices = self.choices(common, pipeline_id)
        if not choices:
            return Unwritable(common, pipeline_id, "no live stage of the pipeline means it")
        declared = self.defaults.get((pipeline_id, common))
        if declared in choices:
            return declared
        exact = [stage_id for stage_id in choices if self.entries.get((pipeline_id, stage_id)) == common]
        if exact:
            return exact[0]
        return choices[-1] if self.outline[common].outcome is Outcome.WON else choices[0]

    def choices(self, common: str, pipeline_id: str) -> tuple[str, ...]:
        """Ids of the live native stages of a pipeline that can hold a common stage, in order."""
        stages = sorted(
            (stage.order, position, stage.id)
            for position, ((pipeline, _), stage) in enumerate(self._native.items())
            if pipeline == pipeline_id and not stage.archived and self._holds((pipeline, stage.id), common)
        )
        return tuple(stage_id for _, _, stage_id in stages)

    def rows(self) -> list[tuple[str, str, Outcome, str]]:
        """Every (pipeline id, stage id, outcome, common stage id): the map as a table to join with."""
        return sorted((*key, common) for key, common in self._table.items())

    def _meaning(self, key: StageKey, outcome: Outcome) -> str | None:
        common = self.entries.get(key)
        if common is None:
            # A closed deal's open stage need not be mapped where the outcome lives apart.
            apart = self.outcome_apart and outcome is not Outcome.OPEN
            return self.outline.closing(outcome) if apart else None
        if self.outline[common].outcome is outcome:
            return common
        if outcome is not Outcome.OPEN:
            return self.outline.closing(outcome)
        # Onboarding or renewal deals are often open in the CRM although the sale is made.
        return common if self.outline.after_sale(common) else None

    def _holds(self, key: StageKey, common: str) -> bool:
        """Whether a deal in this native stage can mean `common`."""
        stage = self._native.get(key)
        if stage is None:
            return False
        outcome = self.outline[common].outcome if self.outcome_apart else stage.outcome
        return self._table.get((*key, outcome)) == common


def live_stages(pipeline: Pipeline) -> Sequence[Stage]:
    """The stages of a pipeline that are not archived, in order."""
    return sorted((stage for stage in pipeline.stages if not stage.archived), key=lambda stage: stage.order)
