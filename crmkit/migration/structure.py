"""Pipelines, stages, custom fields and owners of the source, each with its place in the target. Pure.

What the target lacks is planned: created where its API can, else it goes on a checklist of
what a person has to click. Nothing is bent to fit: what has no place and no decision is
told, and whatever depends on it waits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import count

from crmkit.connectors.base import Field
from crmkit.errors import ConfigError
from crmkit.mapping.identity import email
from crmkit.mapping.stages import live_stages
from crmkit.migration_settings import NOBODY, NOTE, SKIP, MigrationSettings
from crmkit.model import Kind, Outcome, Owner, Pipeline, Ref, Stage

FRESH = "new:"
"""What ids start with that the target has not given out yet."""


class Way(StrEnum):
    """How something of the source gets into the target."""

    SAME = "there already"
    CREATE = "will be created"
    BY_HAND = "to be made by hand"
    NOTE = "told in a note"
    SKIP = "left out"
    OPEN = "needs a decision"


@dataclass(frozen=True, slots=True)
class PipelinePlace:
    """A source pipeline, its way, and the target's pipeline: real, or as it will be."""

    source: Pipeline
    way: Way
    target: Pipeline | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StagePlace:
    """A source stage, its way, and its stage in the target's pipeline."""

    pipeline: Pipeline
    source: Stage
    way: Way
    target: Stage | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FieldPlace:
    """A custom field of the source, its way, and the target's field: real, or as it will be."""

    kind: Kind
    source: Field
    way: Way
    target: Field | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OwnerPlace:
    """An owner of the source, their way, and the e-mail address of their counterpart."""

    source: Owner
    way: Way
    address: str | None = None
    reason: str = ""


Place = PipelinePlace | StagePlace | FieldPlace | OwnerPlace


@dataclass(frozen=True, slots=True)
class Structure:
    """Everything that deals are made of, besides themselves.

    Attributes:
        pipelines: Of the source.
        stages: Of the source's pipelines that take part.
        fields: Custom fields of deals, companies and people.
        owners: Of the source, as far as they own something.
    """

    pipelines: Sequence[PipelinePlace] = ()
    stages: Sequence[StagePlace] = ()
    fields: Sequence[FieldPlace] = ()
    owners: Sequence[OwnerPlace] = ()

    @property
    def everything(self) -> list[Place]:
        """All places, in the order in which they are made."""
        return [*self.pipelines, *self.stages, *self.fields, *self.owners]

    def of_way(self, way: Way) -> list[Place]:
        """All places of one way."""
        return [one for one in self.everything if one.way is way]

    @property
    def complete(self) -> bool:
        """Whether the target has everything already."""
        return not any(one.way in (Way.CREATE, Way.BY_HAND) for one in self.everything)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the target lets us create, and how both CRMs keep outcomes.

    Attributes:
        pipelines: Whether pipelines can be created.
        stages: Whether stages can be added to a pipeline.
        fields: Per kind, the types of custom fields that can be created.
        source_apart: Whether the source keeps won and lost beside the stage.
        target_apart: The same for the target.
        label_length: The longest label of a field that can be created; `None` for any.
    """

    pipelines: bool = False
    stages: bool = False
    fields: Mapping[Kind, frozenset[str]] = field(default_factory=dict)
    source_apart: bool = False
    target_apart: bool = False
    label_length: int | None = None


# Pipelines and stages


def place_pipelines(
    source: Sequence[Pipeline],
    target: Sequence[Pipeline],
    settings: MigrationSettings,
    able: Abilities,
    used: Collection[tuple[str, str]],
) -> tuple[list[PipelinePlace], list[StagePlace]]:
    """Where pipelines and stages go: as decided, else to the one of the same name, else to a new one.

    Args:
        source: The source's pipelines; archived ones take part if deals are in them.
        target: The target's pipelines.
        settings: Decisions.
        able: What can be created.
        used: (pipeline id, stage id) of every source stage that holds deals.

    Raises:
        ConfigError: A decision names a pipeline or stage that does not exist.
    """
    _check_names(settings.pipelines, [(one.ref.id, one.name) for one in source], "pipelines", "source")
    _check_names(settings.stages, [(one.ref.id, one.name) for one in source], "stages", "source")
    pipelines: list[PipelinePlace] = []
    stages: list[StagePlace] = []
    taken: set[str] = set()
    grown: dict[str, Pipeline] = {}  # of the target, with the stages that are new in them
    in_use = {pipeline for pipeline, _ in used}
    for pipeline in source:
        if pipeline.archived and pipeline.ref.id not in in_use:
            pipelines.append(PipelinePlace(pipeline, Way.SKIP, None, "archived, and without deals"))
            continue
        wanted = _decided(settings.pipelines, pipeline.ref.id, pipeline.name)
        if wanted == SKIP:
            pipelines.append(PipelinePlace(pipeline, Way.SKIP, None, "by decision"))
            continue
        kept = [
            stage for stage in pipeline.stages if not stage.archived or (pipeline.ref.id, stage.id) in used
        ]
        found = _pipeline(wanted, pipeline, target, taken)
        decided = _stage_decisions(settings, pipeline)
        if found is None:
            way = Way.CREATE if able.pipelines else Way.BY_HAND
            own = [stage for stage in kept if _other(decided, stage) is None]
            # Every pipeline that closes deals needs a stage for each outcome.
            planned = Pipeline(
                ref=_fresh(pipeline), name=pipeline.name, order=pipeline.order, stages=_planned(own, able)
            )  # fmt: skip
            pipelines.append(PipelinePlace(pipeline, way, planned))
            stages += [_in_planned(pipeline, stage, planned, way, decided, able) for stage in kept]
            continue
        if wanted is None or _same(found.name, pipeline.name):
            taken.add(found.ref.id)
        found = grown.get(found.ref.id, found)
        places = [_stage(pipeline, stage, found, decided, able) for stage in kept]
        grown[found.ref.id] = _extended(found, places)
        pipelines.append(PipelinePlace(pipeline, Way.SAME, found))
        stages += places
    # Several may go to one, each with new stages: all of them see the whole of it.
    return [
        replace(one, target=grown.get(one.target.ref.id, one.target)) if one.target is not None else one
        for one in pipelines
    ], stages


def _stage_decisions(settings: MigrationSettings, pipeline: Pipeline) -> Mapping[str, str]:
    decided = next(
        (stages for name, stages in settings.stages.items() if name in (pipeline.ref.id, pipeline.name)), {}
    )
    known = [(stage.id, stage.name) for stage in pipeline.stages]
    _check_names(decided, known, f"stages.{pipeline.name}", "source")
    return decided


def _other(decided: Mapping[str, str], stage: Stage) -> str | None:
    """The stage that a stage goes to by decision, if that is not one of its own name."""
    wanted = _decided(decided, stage.id, stage.name)
    return None if wanted == stage.name else wanted


def _planned(kept: Sequence[Stage], able: Abilities) -> tuple[Stage, ...]:
    """The stages of a new pipeline."""
    stages = [_new_stage(stage) for stage in kept if stage.outcome is Outcome.OPEN or not able.target_apart]
    if able.source_apart and not able.target_apart:
        for name, outcome, probability in (("Won", Outcome.WON, 1), ("Lost", Outcome.LOST, 0)):
            stages.append(
                Stage(
                    id=f"{FRESH}{outcome}", name=name, order=len(stages), outcome=outcome,
                    probability=Decimal(probability),
                )
            )  # fmt: skip
    return tuple(stage.model_copy(update={"order": order}) for order, stage in enumerate(stages))


def _in_planned(
    pipeline: Pipeline,
    stage: Stage,
    planned: Pipeline,
    way: Way,
    decided: Mapping[str, str],
    able: Abilities,
) -> StagePlace:
    wanted = _other(decided, stage)
    if wanted is not None:
        found = _suits(pipeline, stage, _named_stage(stage, wanted, planned), able)
        return replace(found, way=way) if found.target is not None else found
    own = next((one for one in planned.stages if one.id == f"{FRESH}{stage.id}"), None)
    return StagePlace(pipeline, stage, way, own) if own is not None else _beside(pipeline, stage, planned)


def _named_stage(stage: Stage, wanted: str, target: Pipeline) -> Stage:
    live = live_stages(target)
    for one in live:
        if wanted in (one.id, one.name):
            return one
    raise ConfigError(
        f"{stage.name!r} shall go to {wanted!r}, which the pipeline {target.name!r} does not have",
        hint=f"It has {', '.join(repr(one.name) for one in live)}.",
    )


def _beside(pipeline: Pipeline, stage: Stage, target: Pipeline) -> StagePlace:
    """The place of a closed stage in a CRM where deals are won and lost in any stage."""
    live = live_stages(target)
    if not live:
        return StagePlace(pipeline, stage, Way.OPEN, None, "the target's pipeline has no stage")
    chosen = live[-1] if stage.outcome is Outcome.WON else live[0]
    reason = f"{stage.outcome} is kept beside the stage there"
    return StagePlace(pipeline, stage, Way.SAME, chosen, reason)


def _pipeline(
    wanted: str | None, pipeline: Pipeline, target: Sequence[Pipeline], taken: Collection[str]
) -> Pipeline | None:
    live = [one for one in target if not one.archived]
    if wanted is not None:
        for one in live:
            if wanted in (one.ref.id, one.name):
                return one
        raise ConfigError(
            f"the target has no pipeline {wanted!r}, which {pipeline.name!r} shall go to",
            hint=f"It has {', '.join(repr(one.name) for one in live)}.",
        )
    named = [one for one in live if _same(one.name, pipeline.name) and one.ref.id not in taken]
    return named[0] if len(named) == 1 else None


def _stage(
    pipeline: Pipeline, stage: Stage, target: Pipeline, decided: Mapping[str, str], able: Abilities
) -> StagePlace:
    wanted = _decided(decided, stage.id, stage.name)
    if wanted is not None:
        return _suits(pipeline, stage, _named_stage(stage, wanted, target), able)
    live = live_stages(target)
    if able.target_apart and stage.outcome is not Outcome.OPEN:
        return _beside(pipeline, stage, target)
    # A stage that was made under `told_apart` by an earlier run is the one that was meant.
    told_apart = f"{stage.name.strip()} ({stage.outcome})"
    named = [
        one
        for name in (stage.name, told_apart)
        for one in live
        if _same(one.name, name) and one.outcome is stage.outcome
    ]
    if named:
        reason = "made for another pipeline" if named[0].id.startswith(FRESH) else ""
        return StagePlace(pipeline, stage, Way.SAME, named[0], reason)
    closing = [one for one in live if one.outcome is stage.outcome]
    if stage.outcome is not Outcome.OPEN and len(closing) == 1 and _only(pipeline, stage):
        # One won stage on either side is the same one, whatever it is called.
        return StagePlace(pipeline, stage, Way.SAME, closing[0], "the only stage of this outcome")
    way = Way.CREATE if able.stages else Way.BY_HAND
    new = _new_stage(stage)
    if any(_same(one.name, stage.name) for one in live):
        # The same name with another outcome: two stages that nobody could tell apart.
        new = new.model_copy(update={"name": told_apart})
    return StagePlace(pipeline, stage, way, new)


def _extended(target: Pipeline, places: Sequence[StagePlace]) -> Pipeline:
    """The target's pipeline with new stages, each right after the stage that it follows in the source."""
    stages = list(target.stages)
    at = 0
    for one in sorted(places, key=lambda place: place.source.order):
        if one.target is None:
            continue
        ids = [stage.id for stage in stages]
        if one.target.id in ids:
            at = ids.index(one.target.id) + 1
            continue
        if one.source.outcome is Outcome.OPEN:
            # An open stage never comes after one that closes the deal.
            first_closed = next(
                (place for place, stage in enumerate(stages) if stage.outcome is not Outcome.OPEN),
                len(stages),
            )
            at = min(at, first_closed)
        stages.insert(at, one.target)
        at += 1
    ordered = tuple(stage.model_copy(update={"order": order}) for order, stage in enumerate(stages))
    return target.model_copy(update={"stages": ordered})


def _suits(pipeline: Pipeline, stage: Stage, target: Stage, able: Abilities) -> StagePlace:
    if stage.outcome is not target.outcome and not able.target_apart:
        reason = f"it is {stage.outcome}, and {target.name!r} is {target.outcome}"
        return StagePlace(pipeline, stage, Way.OPEN, None, reason)
    return StagePlace(pipeline, stage, Way.SAME, target, "by decision")


def _only(pipeline: Pipeline, stage: Stage) -> bool:
    return sum(one.outcome is stage.outcome and not one.archived for one in pipeline.stages) == 1


def _new_stage(stage: Stage) -> Stage:
    return stage.model_copy(update={"id": f"{FRESH}{stage.id}", "archived": False})


def _fresh(pipeline: Pipeline) -> Ref:
    return Ref(pipeline.ref.connection, Kind.PIPELINE, f"{FRESH}{pipeline.ref.id}")


# Custom fields

_STAND_INS: Mapping[str, tuple[str, ...]] = {
    # What else can hold a type's values, best first.
    "text": ("text",),
    "number": ("number", "money", "text"),
    "money": ("money", "number", "text"),
    "boolean": ("boolean", "choice", "text"),
    "day": ("day", "text"),
    "time": ("time", "text"),
    "choice": ("choice", "text"),
    "choices": ("choices", "text"),
    "owner": ("text",),
    "link": ("text",),
    "other": ("text",),
}


def place_fields(
    kind: Kind,
    source: Sequence[Field],
    target: Sequence[Field],
    settings: MigrationSettings,
    able: Abilities,
    filled: Collection[str],
) -> list[FieldPlace]:
    """Where custom fields go: as decided, else to one of the same label and type, else to a new one.

    Args:
        kind: Whose fields.
        source: The source's fields of the kind.
        target: The target's fields of the kind.
        settings: Decisions.
        able: What can be created.
        filled: Ids of source fields that any record of the source fills; others are left out.

    Raises:
        ConfigError: A decision names a field that does not exist.
    """
    decided: Mapping[str, str] = getattr(settings.fields, kind.value)
    own = [one for one in source if one.custom]
    _check_names(decided, [(one.id, one.label) for one in own], f"fields.{kind}", "source")
    named = _named_fields(kind, own, target, decided)
    free = [one for one in target if one.custom and not one.read_only and one not in named.values()]
    labels = {_plain(one.label) for one in target}
    found: list[FieldPlace] = []
    for one in own:
        wanted = _decided(decided, one.id, one.label)
        if wanted is None and _is_ours(one):
            found.append(FieldPlace(kind, one, Way.SKIP, None, "crmkit's own key"))
        elif wanted == SKIP:
            found.append(FieldPlace(kind, one, Way.SKIP, None, "by decision"))
        elif one.id not in filled and wanted is None:
            found.append(FieldPlace(kind, one, Way.SKIP, None, "no record fills it"))
        elif wanted == NOTE:
            found.append(FieldPlace(kind, one, Way.NOTE, None, "by decision"))
        elif one.id in named:
            found.append(FieldPlace(kind, one, Way.SAME, named[one.id]))
        else:
            place = _place_field(kind, one, free, able, settings.options_of(one.id, one.label))
            if place.way is Way.SAME and place.target is not None:
                free.remove(place.target)
            elif place.way is Way.CREATE and place.target is not None:
                label = _new_label(one.label, labels, able.label_length)
                labels.add(_plain(label))
                cut = "" if _is_made(label, one.label, None) else f"as {label!r}: the label is too long there"
                reason = "; ".join(filter(None, (place.reason, cut)))
                place = replace(place, target=replace(place.target, label=label), reason=reason)
            found.append(place)
    return found


def _named_fields(
    kind: Kind, own: Sequence[Field], target: Sequence[Field], decided: Mapping[str, str]
) -> dict[str, Field]:
    """The target's field by source id, as far as that is decided."""
    found: dict[str, Field] = {}
    labels: dict[str, str] = {}
    for one in own:
        wanted = _decided(decided, one.id, one.label)
        if wanted == NOTE and kind is not Kind.DEAL:
            raise ConfigError(
                f"fields.{kind}: {one.label!r} cannot be told in a note: only deals get one",
                hint=f"Name a {kind} field of the target, or `{SKIP}`.",
            )
        if wanted in (None, SKIP, NOTE):
            continue
        field = _named_field(kind, wanted, target)
        if field.id in labels:
            raise ConfigError(
                f"fields.{kind}: {labels[field.id]!r} and {one.label!r} both go to {field.label!r}"
            )
        found[one.id], labels[field.id] = field, one.label
    return found


def _new_label(label: str, taken: Collection[str], most: int | None) -> str:
    """The label as far as the target takes it, numbered if the target or another field has it already."""
    numbered = (_cut(label, "" if at == 1 else f" ({at})", most) for at in count(1))
    return next(one for one in numbered if _plain(one) not in taken)


def _cut(label: str, number: str, most: int | None) -> str:
    label = label.strip()
    return (label if most is None else label[: most - len(number)].rstrip()) + number


def _is_made(one: str, label: str, most: int | None) -> bool:
    """Whether a label is what `_new_label` makes of another one."""
    found = re.search(r" \(\d+\)$", one.strip())
    numbers = ["", found[0]] if found is not None else [""]
    return any(_same(one, _cut(label, number, most)) for number in numbers)


def _is_ours(one: Field) -> bool:
    """Whether a field holds the key of some sync: it means nothing in another CRM."""
    return one.label.casefold().startswith("crmkit") or one.id.casefold().startswith("crmkit")


def _named_field(kind: Kind, wanted: str, target: Sequence[Field]) -> Field:
    for one in target:
        if wanted in (one.id, one.label):
            return one
    raise ConfigError(
        f"the target has no {kind} field {wanted!r}",
        hint=f"It has {', '.join(repr(one.label) for one in target if one.custom)}.",
    )


def _place_field(
    kind: Kind, one: Field, free: Sequence[Field], able: Abilities, decided: Mapping[str, str]
) -> FieldPlace:
    stand_ins = _STAND_INS.get(one.type, ("text",))
    options = _options(one, decided)
    # One whose label an earlier run had to change comes last.
    for is_its in (_same, partial(_is_made, most=able.label_length)):
        for type_ in stand_ins:
            for each in free:
                if each.type == type_ and is_its(each.label, one.label) and _has_options(each, one, options):
                    return FieldPlace(kind, one, Way.SAME, each)
    creatable = able.fields.get(kind, frozenset())
    for type_ in stand_ins:
        if type_ in creatable:
            if type_ == "choice" and one.type == "boolean":
                options = {"Yes": "Yes", "No": "No"}
            wanted = Field(
                f"{FRESH}{one.id}", one.label, type_, custom=True, max_length=one.max_length,
                options=options if type_ in ("choice", "choices") else {},
            )  # fmt: skip
            reason = "" if type_ == one.type else f"as {type_}: the target has no {one.type} field"
            return FieldPlace(kind, one, Way.CREATE, wanted, reason)
    if kind is Kind.DEAL:
        return FieldPlace(kind, one, Way.NOTE, None, "the target lets nobody create such a field")
    return FieldPlace(kind, one, Way.BY_HAND, None, f"create a {one.type} field {one.label!r}")


def _options(one: Field, decided: Mapping[str, str]) -> dict[str, str]:
    """The options that the target needs, each label once: those of the source, as decided."""
    native_of: dict[str, str] = {}
    for native, label in one.options.items():
        native_of.setdefault(decided.get(label, label), native)
    return {native: label for label, native in native_of.items()}


def _has_options(target: Field, source: Field, options: Mapping[str, str]) -> bool:
    """Whether a choice of the target offers every option of the source's."""
    if target.type not in ("choice", "choices") or source.type not in ("choice", "choices"):
        return True
    offered = {label.casefold() for label in target.options.values()}
    return all(label.casefold() in offered for label in options.values())


# Owners


def place_owners(
    source: Sequence[Owner], target: Sequence[Owner], settings: MigrationSettings, owning: Collection[str]
) -> list[OwnerPlace]:
    """Who of the target stands for each owner of the source: by e-mail address, else by decision."""
    active = {email(one.email) for one in target if one.active} - {None}
    gone = {email(one.email) for one in target if not one.active} - {None} - active
    found: list[OwnerPlace] = []
    for one in source:
        if one.ref.id not in owning:
            continue
        address = email(one.email)
        wanted = _decided(
            {name.casefold(): said for name, said in settings.owners.items()},
            one.ref.id.casefold(), (one.email or one.name).casefold(),
        )  # fmt: skip
        if wanted == NOBODY:
            found.append(OwnerPlace(one, Way.SKIP, None, "by decision: the deal goes without an owner"))
        elif wanted is not None:
            other = email(wanted)
            if other not in active:
                raise ConfigError(f"the target has no active user with the e-mail address {wanted!r}")
            found.append(OwnerPlace(one, Way.SAME, other, "by decision"))
        elif address in active:
            found.append(OwnerPlace(one, Way.SAME, address))
        else:
            reason = (
                "has no e-mail address"
                if address is None
                else "is inactive in the target"
                if address in gone
                else "is no user of the target"
            )
            found.append(OwnerPlace(one, Way.OPEN, None, reason))
    return found


def _decided(decisions: Mapping[str, str], native: str, name: str) -> str | None:
    return decisions.get(native, decisions.get(name))


def _check_names(decided: Collection[str], known: Sequence[tuple[str, str]], where: str, whose: str) -> None:
    names = {one for pair in known for one in pair}
    for name in decided:
        if name not in names:
            listed = ", ".join(repr(label) for _, label in known)
            raise ConfigError(f"{where}: the {whose} has no {name!r}", hint=f"It has {listed}.")


def _same(one: str, other: str) -> bool:
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    """A name as names are compared: CRMs put blanks and accents in order by themselves."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()
