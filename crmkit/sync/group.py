"""One sync group, ready to run: its members with their codecs, its fields with their rules."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.base import Connector, Field
from crmkit.connectors.writing import Writing
from crmkit.errors import ConfigError
from crmkit.mapping import identity
from crmkit.mapping.custom import CustomField
from crmkit.mapping.fields import SET_FIELDS, Codec, Directory
from crmkit.mapping.parties import PARTY_FIELDS, PartyCodec
from crmkit.mapping.stages import StageMap
from crmkit.model import Kind
from crmkit.sync import schema
from crmkit.sync.hub import Hub, encode
from crmkit.sync.moving import Missing, Moving
from crmkit.sync.rules import Rule, Setting, rule
from crmkit.sync.state import State
from crmkit.sync_settings import MemberSettings, Role, ScopeSettings, SyncSettings

MARKER = "ck1"
_CLOCK_ERROR_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Scope:
    """Which deals of one connection take part."""

    pipelines: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    created_from: date | None = None
    where: tuple[tuple[str, frozenset[str]], ...] = ()

    def holds(self, row: Mapping[str, Any], addresses: Mapping[str, str | None]) -> bool:
        """Whether a stored deal takes part; archived ones do not."""
        if row["archived"]:
            return False
        if self.pipelines and row["pipeline_id"] not in self.pipelines:
            return False
        if self.owners and identity.email(addresses.get(row["owner_id"])) not in self.owners:
            return False
        created = row["created_at"]
        if self.created_from and (created is None or created.date() < self.created_from):
            return False
        return all(_meets(row["custom"].get(name), allowed) for name, allowed in self.where)


@dataclass(frozen=True)
class Member:
    """One connection of a group."""

    connection: str
    connector: Connector
    settings: MemberSettings
    scope: Scope
    codec: Codec
    crm: str
    account: str
    parties: Mapping[Kind, PartyCodec] = field(default_factory=dict)

    def codec_of(self, kind: Kind) -> Codec | PartyCodec:
        """The fields of a kind: of deals, or of companies and people where they are kept in step."""
        return self.parties.get(kind, self.codec)

    @property
    def spoke(self) -> str:
        """What identifies the member in markers: its CRM and account, never its name."""
        return digest8(f"{self.crm}:{self.account}")

    @property
    def writable(self) -> bool:
        """Whether anything may be written here."""
        return self.settings.role is not Role.SOURCE

    @property
    def creates(self) -> bool:
        """Whether deals that exist elsewhere are created here."""
        return self.writable and self.settings.create == "all"

    def writing(self, kind: Kind) -> Writing:
        """What the connector can write of a kind."""
        return self.connector.capabilities.writing.get(kind, Writing())


@dataclass(frozen=True)
class Group:
    """A compiled `[syncs.NAME]`.

    Attributes:
        name: The sync's name.
        settings: Its settings.
        members: By connection, in the order of the settings.
        rules: Per field, the rule's name and the rule.
        setting: What rules know.
        directory: Companies and people of the members; filled while planning.
        hub: The group's memory.
        digest: Changes when settings or maps change.
        words: Names of pipelines and stages whose common values are ids.
        moving: What a migration asks for; `None` for a sync.
    """

    name: str
    settings: SyncSettings
    members: Mapping[str, Member]
    rules: Mapping[str, tuple[str, Rule]]
    setting: Setting
    directory: Directory
    hub: Hub
    digest: str
    words: Mapping[str, str] = field(default_factory=dict)
    moving: Moving | None = None

    @property
    def plan_command(self) -> str:
        """What shows a person the plan."""
        if self.moving is not None:
            return f"crmkit migrate plan {self.moving.source} {self.moving.target}"
        return f"crmkit plan {self.name}"

    @property
    def group8(self) -> str:
        """What identifies the group in markers."""
        return digest8(self.name)

    @property
    def fields(self) -> Sequence[str]:
        """The deal fields that are kept in step."""
        return self.settings.all_fields

    def fields_of(self, kind: Kind) -> Sequence[str]:
        """The fields of a kind that are kept in step; of companies and people only a migration does."""
        if kind is Kind.DEAL:
            return self.fields
        return self.moving.party_names.get(kind, ()) if self.moving is not None else ()

    def rule_of(self, kind: Kind, name: str) -> tuple[str, Rule]:
        """How contradictions about a field are decided: the rule's name and the rule."""
        return self.rules[name] if kind is Kind.DEAL else next(iter(self.rules.values()))

    @property
    def accounts(self) -> dict[str, list[str]]:
        """CRM and account id per member."""
        return {name: [member.crm, member.account] for name, member in self.members.items()}

    def entity_id(self, connection: str, kind: Kind, native_id: str) -> str:
        """The entity that starts with a record."""
        return f"{self.members[connection].spoke}:{kind}:{native_id}"

    def marker(self, entity: str) -> str:
        """What a record that is created for an entity carries in its key field."""
        return f"{MARKER}:{self.group8}:{entity}"

    def imports(self, connection: str, name: str) -> bool:
        """Whether a member's edits of a field go to the hub."""
        if self.members[connection].settings.role is Role.TARGET:
            return False
        sources = self.settings.sources.get(name)
        return sources is None or connection in sources

    def lacks(self, connection: str, name: str, kind: Kind = Kind.DEAL) -> bool:
        """Whether a member has no such custom field."""
        if kind is not Kind.DEAL:
            custom = self.members[connection].parties[kind].custom
            return name not in PARTY_FIELDS[kind] and name not in custom
        return name in self.settings.custom and name not in self.members[connection].codec.custom

    def error_seconds(self, connection: str) -> float:
        """How far a member's times may be off another's."""
        capabilities = self.members[connection].connector.capabilities
        return capabilities.version_seconds + _CLOCK_ERROR_SECONDS

    def if_missing(self, name: str) -> Missing:
        """What becomes of a new deal whose value of a field cannot be written."""
        default: Missing = "hold" if name in ("name", "stage") else "without"
        return self.moving.missing.get(name, default) if self.moving is not None else default

    def is_set(self, name: str, kind: Kind = Kind.DEAL) -> bool:
        """Whether a field's elements are merged one by one."""
        if kind is not Kind.DEAL:
            return False
        if name in SET_FIELDS:
            return True
        found = [
            member.codec.custom[name].type for member in self.members.values() if name in member.codec.custom
        ]
        return bool(found) and all(one == "choices" for one in found)


def compile_group(
    name: str,
    settings: SyncSettings,
    connectors: Mapping[str, Connector],
    maps: Mapping[str, StageMap],
    state: State,
    *,
    fields: Mapping[str, Sequence[Field]] | None = None,
    pipelines: Mapping[str, Mapping[str, str]] | None = None,
) -> Group:
    """Make a group ready to run.

    Reads owners and workspaces from the state store, and the list of custom fields from
    the CRMs if any is kept in step.

    Args:
        name: The sync's name.
        settings: Its settings.
        connectors: Its members' connections.
        maps: Their stage maps.
        state: The open store.
        fields: Their deal fields, if these are known already.
        pipelines: Per member, pipeline id to its common name, in place of what the settings say.

    Raises:
        ConfigError: Something named in the settings does not exist in a CRM.
    """
    directory = Directory()
    with state.read() as db:
        owners = {connection: _owners(db, connection, settings.owners) for connection in settings.members}
        workspaces = {
            row.connection: (row.crm, row.workspace_id) for row in db.execute(sa.select(schema.workspaces))
        }
    members: dict[str, Member] = {}
    for connection in settings.members:
        connector = connectors[connection]
        stages = maps[connection]
        writing = connector.capabilities.writing.get(Kind.DEAL, Writing())
        for kind in (Kind.COMPANY, Kind.CONTACT):
            wanted = settings.parties == "create" and settings.of(connection).role is not Role.SOURCE
            if wanted and connector.capabilities.writing.get(kind, Writing()).acts:
                directory.creatable.add((connection, kind))
        crm, account = workspaces.get(connection, (connector.name, ""))
        members[connection] = Member(
            connection,
            connector,
            settings.of(connection),
            _scope(settings.scope.get(connection, ScopeSettings()), stages, f"syncs.{name}"),
            Codec(
                connection,
                stages,
                {owner: address for owner, (address, _) in owners[connection].items()},
                _assignable(owners[connection]),
                directory,
                partial(connector.holds, Kind.DEAL),
                partial(connector.cannot_hold, Kind.DEAL),
                writing.fields | writing.create_fields,
                _pipelines(settings, connection, stages, f"syncs.{name}")
                if pipelines is None
                else pipelines[connection],
                _new_pipeline(settings.of(connection).pipeline, stages, f"syncs.{name}"),
                _custom(settings, connection, connector, f"syncs.{name}", fields),
            ),
            crm,
            account,
        )
    default = settings.rule or ("priority" if settings.order else "hold")
    named = {field: settings.rules.get(field, default) for field in settings.all_fields}
    outline = next(iter(maps.values())).outline
    return Group(
        name,
        settings,
        members,
        {field: (chosen, rule(chosen)) for field, chosen in named.items()},
        Setting(settings.order or settings.members, [stage.id for stage in outline.stages]),
        directory,
        Hub(name),
        _digest(settings, maps),
    )


def digest8(text: str) -> str:
    """Eight characters that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _digest(settings: SyncSettings, maps: Mapping[str, StageMap]) -> str:
    content = {
        "settings": settings.model_dump(mode="json", by_alias=True),
        "maps": {
            connection: [[*row[:2], row[2].value, row[3]] for row in maps[connection].rows()]
            for connection in settings.members
        },
        "defaults": {
            connection: sorted([*key, stage] for key, stage in maps[connection].defaults.items())
            for connection in settings.members
        },
    }
    return hashlib.sha256(encode(content).encode()).hexdigest()[:16]


def _owners(
    db: sa.Connection, connection: str, same: Mapping[str, str]
) -> dict[str, tuple[str | None, bool]]:
    """Address and activity of owners; `same` gives the one address of a person who has several."""
    table = schema.owners
    query = sa.select(table.c.id, table.c.email, table.c.active).where(table.c.connection == connection)
    canonical = {identity.email(address): identity.email(one) for address, one in same.items()}
    found = ((row.id, identity.email(row.email), row.active) for row in db.execute(query))
    return {owner: (canonical.get(address, address), active) for owner, address, active in found}


def _assignable(owners: Mapping[str, tuple[str | None, bool]]) -> dict[str, str]:
    """Active owners by e-mail address; an address of several active owners is nobody's."""
    found: dict[str, list[str]] = {}
    for owner, (address, active) in owners.items():
        key = identity.email(address)
        if active and key:
            found.setdefault(key, []).append(owner)
    return {address: ids[0] for address, ids in found.items() if len(ids) == 1}


def _pipeline_id(wanted: str, stages: StageMap, where: str) -> str:
    for pipeline in stages.pipelines:
        if wanted in (pipeline.ref.id, pipeline.name):
            return pipeline.ref.id
    known = ", ".join(repr(pipeline.name) for pipeline in stages.pipelines)
    raise ConfigError(f"{where}: {stages.connection} has no pipeline {wanted!r}", hint=f"It has {known}.")


def _new_pipeline(wanted: str | None, stages: StageMap, where: str) -> str | None:
    if wanted is not None:
        return _pipeline_id(wanted, stages, where)
    live = [pipeline for pipeline in stages.pipelines if not pipeline.archived]
    return live[0].ref.id if live else None


def _pipelines(settings: SyncSettings, connection: str, stages: StageMap, where: str) -> dict[str, str]:
    return {
        _pipeline_id(names[connection], stages, f"{where}.pipelines.{common}"): common
        for common, names in settings.pipelines.items()
        if connection in names
    }


def _scope(settings: ScopeSettings, stages: StageMap, where: str) -> Scope:
    return Scope(
        frozenset(_pipeline_id(name, stages, f"{where}.scope") for name in settings.pipelines),
        frozenset(filter(None, map(identity.email, settings.owners))),
        settings.created_from,
        tuple((name, frozenset(allowed)) for name, allowed in settings.where.items()),
    )


def _custom(
    settings: SyncSettings,
    connection: str,
    connector: Connector,
    where: str,
    fields: Mapping[str, Sequence[Field]] | None,
) -> dict[str, CustomField]:
    wanted = {name: one.in_[connection] for name, one in settings.custom.items() if connection in one.in_}
    if not wanted:
        return {}
    listed = connector.fields(Kind.DEAL) if fields is None else fields[connection]
    known = {one.id: one for one in listed}
    found: dict[str, CustomField] = {}
    for name, native in wanted.items():
        if native not in known:
            raise ConfigError(
                f"{where}.custom.{name}: {connection} has no deal field {native!r}",
                hint="Name the CRM's own id of the field.",
            )
        own = settings.custom[name]
        found[name] = CustomField(
            native, known[native].type, own.values.get(connection, {}), own.options_only
        )
    return found


def _meets(value: Any, allowed: frozenset[str]) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return any(str(one) in allowed for one in values if one is not None)
