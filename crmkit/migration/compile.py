"""From the settings of a migration and what both CRMs are made of to a group that the engine runs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

import sqlalchemy as sa

from crmkit.connectors.base import Connector, Field
from crmkit.connectors.writing import Act, Writing
from crmkit.mapping.custom import CustomField
from crmkit.mapping.parties import PARTY_FIELDS, PartyCodec
from crmkit.migration.imagined import imagined
from crmkit.migration.stages import common_id, direct_maps
from crmkit.migration.structure import (
    FRESH,
    Abilities,
    FieldPlace,
    PipelinePlace,
    StagePlace,
    Structure,
    Way,
    place_fields,
    place_owners,
    place_pipelines,
)
from crmkit.migration_settings import MigrationSettings
from crmkit.model import Kind, Outcome, Owner, Pipeline, Ref
from crmkit.sync import queries, schema
from crmkit.sync.group import Group, Member, compile_group
from crmkit.sync.moving import Moving, PartyField, Untold
from crmkit.sync.rows import TABLES
from crmkit.sync.state import State
from crmkit.sync_settings import (
    DEAL_FIELDS,
    CustomSettings,
    GuardSettings,
    MemberSettings,
    Role,
    ScopeSettings,
    SyncSettings,
)

FIELD_KINDS = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
_NO_LIMIT = 10**9
# A deal without one of these would not be the same deal.
_HELD = ("name", "stage", "amount", "owner", "company", "contacts")
_STAMPS = {"created_at": "Created in {crm}", "closed_at": "Closed in {crm}"}


@dataclass(frozen=True)
class Migration:
    """A migration that is ready to be planned.

    Attributes:
        group: What the engine runs.
        structure: Where pipelines, stages, fields and owners go.
        fields: The target's fields by kind, as they are.
        stamp_fields: Fields that keep when a deal was made and closed, where the target has none.
    """

    group: Group
    structure: Structure
    fields: Mapping[Kind, Sequence[Field]] = field(default_factory=dict)
    stamp_fields: Sequence[FieldPlace] = ()

    @property
    def source(self) -> str:
        """The connection that is read."""
        return self.moving.source

    @property
    def target(self) -> str:
        """The connection that is written."""
        return self.moving.target

    @property
    def moving(self) -> Moving:
        """What the engine is asked beyond keeping in step."""
        assert self.group.moving is not None
        return self.group.moving

    def sampled(self, deals: frozenset[str]) -> Migration:
        """The migration of some deals only, by their ids in the source."""
        moving = replace(self.moving, only=deals)
        return replace(self, group=replace(self.group, moving=moving))


def name_of(source: str, target: str) -> str:
    """What a migration is called where syncs have names: in the journal, in runs, in conflicts."""
    return f"{source}-to-{target}"


def compile_migration(
    settings: MigrationSettings,
    connectors: Mapping[str, Connector],
    state: State,
    *,
    as_planned: bool = False,
) -> Migration:
    """Make a migration ready; reads the local copy, and the lists of custom fields from both CRMs.

    Args:
        settings: The decisions.
        connectors: Both connections.
        state: The open store.
        as_planned: Whether pipelines, stages and fields that are still to be made count as
            made: to look at, not to be carried out.

    Raises:
        ConfigError: A decision names what a CRM does not have.
    """
    source, target = connectors[settings.source], connectors[settings.target]
    pipelines = {name: queries.pipelines(state, name) for name in (settings.source, settings.target)}
    able = _abilities(target, pipelines[settings.source], pipelines[settings.target])
    known = {
        (connection, kind): list(connector.fields(kind)) if _has_fields(connector, kind) else []
        for connection, connector in ((settings.source, source), (settings.target, target))
        for kind in FIELD_KINDS
    }
    with state.read() as db:
        used = _used_stages(db, settings.source)
        filled = {kind: _filled(db, settings.source, kind) for kind in FIELD_KINDS}
        owners = {name: _owners(db, name) for name in (settings.source, settings.target)}
        owning = _owning(db, settings.source)
    lines, stages = place_pipelines(
        pipelines[settings.source], pipelines[settings.target], settings, able, used
    )
    lines, stages = _refused(target, lines, stages)
    fields = [
        place
        for kind in FIELD_KINDS
        for place in place_fields(
            kind, known[settings.source, kind], known[settings.target, kind], settings, able, filled[kind]
        )
    ]
    structure = Structure(
        lines,
        stages,
        fields,
        place_owners(owners[settings.source], owners[settings.target], settings, owning),
    )
    wanted_stamps = _stamps(source, target, known[settings.target, Kind.DEAL], able)
    stamps = dict(wanted_stamps)
    shown = structure if as_planned else _real(structure)
    if not as_planned:
        stamps = {name: place for name, place in stamps.items() if place is None or place.way is Way.SAME}
    if as_planned:
        connectors = {**connectors, settings.target: imagined(target)}
    group = _group(settings, connectors, state, shown, pipelines, able, known, stamps)
    return Migration(
        group,
        structure,
        {kind: known[settings.target, kind] for kind in FIELD_KINDS},
        [place for place in wanted_stamps.values() if place is not None],
    )


def _real(structure: Structure) -> Structure:
    """What the target has already; what depends on anything else waits."""
    there = [one for one in structure.pipelines if one.way is Way.SAME and one.target is not None]
    fresh = {one.target.id for one in structure.stages if one.way in _TO_MAKE and one.target is not None}
    lines: list[PipelinePlace] = []
    for one in structure.pipelines:
        if one not in there or one.target is None:
            lines.append(replace(one, target=None) if one.way in _TO_MAKE else one)
            continue
        stages = tuple(stage for stage in one.target.stages if stage.id not in fresh)
        lines.append(replace(one, target=one.target.model_copy(update={"stages": stages})))
    kept = {one.source.ref for one in there}
    places = [
        one if one.way not in _TO_MAKE and one.pipeline.ref in kept else replace(one, target=None)
        for one in structure.stages
    ]
    fields = [replace(one, target=None) if one.way in _TO_MAKE else one for one in structure.fields]
    return Structure(lines, places, fields, structure.owners)


_TO_MAKE = (Way.CREATE, Way.BY_HAND)


def _refused(
    target: Connector, lines: Sequence[PipelinePlace], stages: Sequence[StagePlace]
) -> tuple[list[PipelinePlace], list[StagePlace]]:
    """What the target's API refuses to make, a person has to."""
    reasons: dict[Ref, str] = {}
    for line in lines:
        mine = [one for one in stages if one.pipeline.ref == line.source.ref]
        to_make = line.way is Way.CREATE or any(one.way is Way.CREATE for one in mine)
        if line.target is None or not to_make:
            continue
        values = {"name": line.target.name, "stages": line.target.stages}
        refused = target.cannot_hold(Kind.PIPELINE, values)
        if refused:
            reasons[line.source.ref] = "; ".join(sorted(set(refused.values())))
    return (
        [
            replace(one, way=Way.BY_HAND, reason=reasons[one.source.ref])
            if one.way is Way.CREATE and one.source.ref in reasons
            else one
            for one in lines
        ],
        [
            replace(one, way=Way.BY_HAND, reason=reasons[one.pipeline.ref])
            if one.way is Way.CREATE and one.pipeline.ref in reasons
            else one
            for one in stages
        ],
    )


def _group(
    settings: MigrationSettings,
    connectors: Mapping[str, Connector],
    state: State,
    structure: Structure,
    pipelines: Mapping[str, Sequence[Pipeline]],
    able: Abilities,
    known: Mapping[tuple[str, Kind], Sequence[Field]],
    stamps: Mapping[str, FieldPlace | None],
) -> Group:
    goes = {one.source.ref.id: one.target for one in structure.pipelines if one.target is not None}
    planned = {line.ref.id: line for line in goes.values()}
    # The target as it will be: with the stages and pipelines that are still to be made.
    target_lines = [planned.pop(line.ref.id, line) for line in pipelines[settings.target]]
    target_lines += list(planned.values())
    places = {
        (one.pipeline.ref.id, one.source.id): (goes[one.pipeline.ref.id].ref.id, one.target.id)
        for one in structure.stages
        if one.target is not None
    }
    maps = direct_maps(
        settings.source,
        settings.target,
        pipelines[settings.source],
        target_lines,
        places,
        apart=(able.source_apart, able.target_apart),
    )
    custom, fields = _custom(settings, structure, known)
    sync = SyncSettings(
        members=(settings.source, settings.target),
        fields=DEAL_FIELDS,
        rule="hold" if settings.conflicts == "hold" else "priority",
        order=(settings.target, settings.source),
        member={
            settings.source: MemberSettings(role=Role.SOURCE, create="none"),
            settings.target: MemberSettings(role=Role.TARGET),
        },
        scope={settings.source: _scope(settings, structure)},
        custom=custom,
        guards=GuardSettings(creates=_NO_LIMIT, field_share=1.0, emptied_share=1.0),
        in_flight_seconds=settings.in_flight_seconds,
        plan_minutes=settings.plan_minutes,
    )
    group = compile_group(
        name_of(settings.source, settings.target),
        sync,
        connectors,
        dict(zip((settings.source, settings.target), maps, strict=True)),
        state,
        fields=fields,
        pipelines={
            settings.source: {source: line.ref.id for source, line in goes.items()},
            settings.target: {line.ref.id: line.ref.id for line in target_lines},
        },
    )
    return _with_moving(group, settings, structure, target_lines, stamps)


def _with_moving(
    group: Group,
    settings: MigrationSettings,
    structure: Structure,
    target_lines: Sequence[Pipeline],
    stamps: Mapping[str, FieldPlace | None],
) -> Group:
    brought: dict[tuple[Kind, str], CustomField] = {
        (place.kind, place.target.id): _custom_field(place.target, place)
        for place in structure.fields
        if place.kind is not Kind.DEAL and place.target is not None and place.way in _PLACED
    }
    brought |= {
        (Kind.DEAL, place.target.id): _custom_field(place.target, place)
        for place in stamps.values()
        if place is not None and place.target is not None
    }
    nobody = {one.source.ref.id for one in structure.owners if one.way is Way.SKIP}
    members = dict(group.members)
    addresses = {one.source.ref.id: one.address for one in structure.owners if one.address is not None}
    source, target = members[settings.source], members[settings.target]
    owners = {**source.codec.owners, **addresses}
    members[settings.source] = replace(
        source, codec=replace(source.codec, owners=owners, nobody=frozenset(nobody))
    )
    members[settings.target] = replace(target, codec=replace(target.codec, brought=brought))
    places = [
        one for one in structure.fields
        if one.kind is not Kind.DEAL and one.target is not None and one.way in _PLACED
    ]  # fmt: skip
    names: dict[tuple[Kind, str], str] = {}
    for one in places:
        taken = [*PARTY_FIELDS[one.kind], *(name for (kind, _), name in names.items() if kind is one.kind)]
        names[one.kind, one.source.id] = _field_name(one.source, taken)
    for connection, member in list(members.items()):
        members[connection] = replace(member, parties=_party_codecs(member, settings, places, names))
    words = {line.ref.id: line.name for line in target_lines}
    for line in target_lines:
        for stage in line.stages:
            for outcome in Outcome:
                beside = "" if outcome is stage.outcome else f" ({outcome})"
                words[common_id(line.ref.id, stage.id, outcome)] = f"{stage.name}{beside}"
    moving = Moving(
        settings.source,
        settings.target,
        missing={**dict.fromkeys(_HELD, "hold"), **settings.missing},
        stamps={
            name: name if place is None or place.target is None else f"custom.{place.target.id}"
            for name, place in stamps.items()
        },
        party_fields={
            kind: tuple(
                PartyField(_custom_field(place.source, place, settings), _custom_field(place.target, place))
                for place in structure.fields
                if place.kind is kind and place.target is not None and place.way in _PLACED
            )
            for kind in (Kind.COMPANY, Kind.CONTACT)
        },
        party_names={
            kind: (*fixed, *(name for (of, _), name in names.items() if of is kind))
            for kind, fixed in PARTY_FIELDS.items()
        },
        everybody=settings.parties == "all",
        notes=settings.notes,
        letters=settings.history,
        untold={
            place.source.id: Untold(place.source.label, place.source.options)
            for place in structure.fields
            if place.kind is Kind.DEAL and place.way is not Way.SKIP and place.target is None
        },
    )
    return replace(group, members=members, words=words, moving=moving)


def _party_codecs(
    member: Member,
    settings: MigrationSettings,
    places: Sequence[FieldPlace],
    names: Mapping[tuple[Kind, str], str],
) -> dict[Kind, PartyCodec]:
    """The fields of one member's companies and people."""
    mine = member.connection == settings.source
    found: dict[Kind, PartyCodec] = {}
    for kind in PARTY_FIELDS:
        custom = {
            names[kind, one.source.id]: _custom_field(one.source, one, settings)
            if mine
            else _custom_field(one.target, one)
            for one in places
            if one.kind is kind and one.target is not None
        }
        writing = member.writing(kind)
        found[kind] = PartyCodec(
            kind, member.codec, partial(member.connector.holds, kind),
            partial(member.connector.cannot_hold, kind), writing.fields, custom,
        )  # fmt: skip
    return found


_PLACED = (Way.SAME, Way.CREATE)


def _custom(
    settings: MigrationSettings, structure: Structure, known: Mapping[tuple[str, Kind], Sequence[Field]]
) -> tuple[dict[str, CustomSettings], dict[str, Sequence[Field]]]:
    """The custom fields of deals that are kept in step, and each CRM's fields as they will be."""
    custom: dict[str, CustomSettings] = {}
    coming: list[Field] = []
    for place in structure.fields:
        if place.kind is not Kind.DEAL or place.way not in _PLACED or place.target is None:
            continue
        if place.way is Way.CREATE:
            coming.append(place.target)
        choice = place.target.type in ("choice", "choices")
        custom[_field_name(place.source, custom)] = CustomSettings.model_validate(
            {
                "in": {settings.source: place.source.id, settings.target: place.target.id},
                "values": {
                    settings.source: _labels(place.source, settings),
                    settings.target: _labels(place.target) if choice else {},
                },
                "options_only": choice,
            }
        )
    fields = {
        settings.source: known[settings.source, Kind.DEAL],
        settings.target: [*known[settings.target, Kind.DEAL], *coming],
    }
    return custom, fields


def _field_name(one: Field, taken: Collection[str]) -> str:
    """What a custom field is called in plans and conflicts: its label, as far as a name can say it."""
    plain = unicodedata.normalize("NFKD", one.label).encode("ascii", "ignore").decode().casefold()
    word = _NOT_A_NAME.sub("_", plain).strip("_") or "field"
    names = (word if at == 1 else f"{word}_{at}" for at in count(1))
    return next(name for name in names if name not in taken and name not in DEAL_FIELDS)


_NOT_A_NAME = re.compile(r"[^a-z0-9]+")


def _custom_field(one: Field, place: FieldPlace, settings: MigrationSettings | None = None) -> CustomField:
    choice = place.target is not None and place.target.type in ("choice", "choices")
    return CustomField(one.id, one.type, _labels(one, settings), choice and one is place.target)


def _labels(one: Field, settings: MigrationSettings | None = None) -> dict[str, str]:
    """What records hold of a choice to the label of the option; the source's as decided."""
    if one.type not in ("choice", "choices"):
        return {}
    decided = settings.options_of(one.id, one.label) if settings is not None else {}
    # Some CRMs hold an option's id, some its label.
    both = {label: label for label in one.options.values()} | dict(one.options)
    return {held: decided.get(label, label) for held, label in both.items()}


def _scope(settings: MigrationSettings, structure: Structure) -> ScopeSettings:
    moving = [one.source.ref.id for one in structure.pipelines if one.way is not Way.SKIP]
    chosen = settings.scope.pipelines
    names = {one.source.ref.id: one.source.name for one in structure.pipelines}
    kept = [one for one in moving if not chosen or one in chosen or names[one] in chosen]
    everything = len(kept) == len(structure.pipelines)
    return settings.scope.model_copy(update={"pipelines": () if everything else tuple(kept)})


def _stamps(
    source: Connector, target: Connector, fields: Sequence[Field], able: Abilities
) -> dict[str, FieldPlace | None]:
    """Where a new deal keeps when it was made and closed: `None` for the target's own field."""
    writing = target.capabilities.writing.get(Kind.DEAL, Writing())
    found: dict[str, FieldPlace | None] = {}
    for name, label in _STAMPS.items():
        # Where both are one field, the day that was expected is the one that is kept in step.
        own = name != "closed_at" or not target.capabilities.one_close_date
        if own and name in writing.create_fields | writing.fields:
            found[name] = None
            continue
        wanted = Field(name, label.format(crm=source.title), "time", custom=True)
        there = next(
            (one for one in fields if one.custom and one.label == wanted.label and one.type in _TIME_TYPES),
            None,
        )
        if there is not None:
            found[name] = FieldPlace(Kind.DEAL, wanted, Way.SAME, there)
            continue
        creatable = able.fields.get(Kind.DEAL, frozenset())
        type_ = next((one for one in _TIME_TYPES if one in creatable), None)
        if type_ is not None:
            new = replace(wanted, id=f"{FRESH}{name}", type=type_)
            found[name] = FieldPlace(Kind.DEAL, wanted, Way.CREATE, new)
    return found


_TIME_TYPES = ("time", "text")


def _abilities(target: Connector, source: Sequence[Pipeline], there: Sequence[Pipeline]) -> Abilities:
    writing = target.capabilities.writing.get(Kind.PIPELINE, Writing())
    return Abilities(
        Act.CREATE in writing.acts,
        Act.UPDATE in writing.acts,
        target.capabilities.creatable_fields,
        _apart(source),
        _apart(there),
        target.capabilities.field_label_length,
    )


def _apart(pipelines: Sequence[Pipeline]) -> bool:
    """Whether a CRM keeps won and lost beside the stage: none of its stages closes a deal."""
    outcomes = {stage.outcome for pipeline in pipelines for stage in pipeline.stages}
    return outcomes == {Outcome.OPEN}


def _has_fields(connector: Connector, kind: Kind) -> bool:
    return kind in connector.capabilities.writing or bool(connector.capabilities.creatable_fields.get(kind))


# What the local copy knows


def _used_stages(db: sa.Connection, connection: str) -> set[tuple[str, str]]:
    deals = schema.deals.c
    query = (
        sa.select(deals.pipeline_id, deals.stage_id)
        .where(deals.connection == connection, deals.gone_at.is_(None))
        .distinct()
    )
    return {(row[0], row[1]) for row in db.execute(query) if row[0] is not None}


def _owning(db: sa.Connection, connection: str) -> set[str]:
    """Who owns a deal, company or person."""
    found: set[str] = set()
    for kind in FIELD_KINDS:
        table = TABLES[kind].c
        query = sa.select(table.owner_id).where(table.connection == connection, table.gone_at.is_(None))
        found.update(owner for owner in db.execute(query.distinct()).scalars() if owner is not None)
    return found


def _filled(db: sa.Connection, connection: str, kind: Kind) -> set[str]:
    """Custom fields that any record fills."""
    table = TABLES[kind]
    query = sa.select(table.c.custom).where(table.c.connection == connection, table.c.gone_at.is_(None))
    found: set[str] = set()
    for custom in db.execution_options(yield_per=5000).execute(query).scalars():
        found.update(name for name, value in custom.items() if value not in (None, "", []))
    return found


def _owners(db: sa.Connection, connection: str) -> list[Owner]:
    table = schema.owners
    query = sa.select(table).where(table.c.connection == connection, table.c.gone_at.is_(None))
    return [
        Owner(ref=Ref(connection, Kind.OWNER, row.id), name=row.name, email=row.email, active=row.active)
        for row in db.execute(query.order_by(table.c.id))
    ]
