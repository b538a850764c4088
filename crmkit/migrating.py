"""Migrations of a configured workspace: from the settings to something that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import permutations
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.base import Connector
from crmkit.connectors.writing import Act
from crmkit.errors import UsageError
from crmkit.migration.build import Builder, Built
from crmkit.migration.compile import Migration, compile_migration, name_of
from crmkit.migration.findings import Finding, Severity
from crmkit.migration.preflight import preflight
from crmkit.migration.proof import Proof, prove
from crmkit.migration.sample import Chosen, Context, choose
from crmkit.migration.structure import Way
from crmkit.migration_settings import MigrationSettings
from crmkit.model import Kind, Workspace
from crmkit.session import Session, pull
from crmkit.sync import queries, schema, tables
from crmkit.sync.commit import young
from crmkit.sync.computed import Computed
from crmkit.sync.estimate import Cost, costs
from crmkit.sync.group import Group
from crmkit.sync.hub import Intent
from crmkit.sync.pull import Pull, PullResult
from crmkit.sync.rows import TABLES
from crmkit.sync.run import SyncRun
from crmkit.sync.state import State
from crmkit.syncing import OpenSync, Watch, meet, open_local, raise_if_hopeless


def settings_of(session: Session, source: str, target: str) -> MigrationSettings:
    """The settings of a migration: those of crmkit.toml, else the defaults.

    Raises:
        ConfigError: A connection is not configured.
        UsageError: Source and target are the same, or the file has two of this migration.
    """
    session.config.chosen([source, target])
    if source == target:
        raise UsageError("source and target are the same connection")
    found = {
        name: one
        for name, one in session.config.settings.migrations.items()
        if (one.source, one.target) == (source, target)
    }
    if len(found) > 1:
        names = " and ".join(f"migrations.{name}" for name in sorted(found))
        raise UsageError(f"{names} both go from {source} to {target}; keep one of them")
    return next(iter(found.values()), MigrationSettings(source=source, target=target))


@dataclass
class OpenMigration:
    """A migration with both CRMs connected.

    Attributes:
        session: The workspace.
        state: Its state store.
        settings: The decisions.
        connectors: By connection.
        migration: As compiled from the local copy; `refresh` compiles it again.
        workspaces: What the CRMs say about themselves, by connection.
        offsets: How far their clocks are ahead of this one's.
        pulls: How refreshing the local copy went, if it was done.
    """

    session: Session
    state: State
    settings: MigrationSettings
    connectors: Mapping[str, Connector]
    migration: Migration
    workspaces: Mapping[str, Workspace] = field(default_factory=dict)
    offsets: Mapping[str, timedelta] = field(default_factory=dict)
    pulls: list[PullResult] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the journal calls it."""
        return self.migration.group.name

    def run(self, migration: Migration | None = None) -> SyncRun:
        """Plans and writes the migration, or a part of it."""
        chosen = migration or self.migration
        return SyncRun(chosen.group, self.state, self.session.clock, offsets=self.offsets)

    def as_sync(self, migration: Migration | None = None) -> OpenSync:
        """The migration, or a part of it, as whoever watches and tells about runs takes it."""
        run = self.run(migration)
        return OpenSync(run, run.group, self.pulls, self.workspaces)

    def build(self) -> Built:
        """Make the pipelines, stages and fields that the target lacks, and look at it again."""
        run = self.run()
        with run.lease() as lease, run.numbered("migrate structure") as number:
            clock = self.session.clock
            built = Builder(self.migration, self.state, lease, clock, number, self.refresh).run()
        if built.made:
            self.refresh()
        return built

    def refresh(self) -> Migration:
        """Read the target's pipelines again, and compile again."""
        target = self.connectors[self.settings.target]
        result = Pull(self.state, target, kinds=[Kind.PIPELINE]).run()
        if result.error is not None:
            raise result.error
        self.migration = compile_migration(self.settings, self.connectors, self.state)
        return self.migration

    def as_planned(self) -> Migration:
        """The migration as it will be once pipelines, stages and fields are made; to look at."""
        return compile_migration(self.settings, self.connectors, self.state, as_planned=True)


@contextmanager
def open_migration(
    session: Session,
    state: State,
    source: str,
    target: str,
    *,
    watch: Watch | None,
    read_only: bool,
    full: bool = False,
) -> Iterator[OpenMigration]:
    """A migration that is ready to run.

    Args:
        session: The workspace.
        state: Its open state store.
        source: The connection that is read.
        target: The connection that is written.
        watch: Shows the pull of both, which is done first; `None` works on the local copy.
        read_only: Whether the transport refuses every call that would change something.
        full: Whether the pull reads everything again.

    Raises:
        ConfigError: Something named in the settings does not exist.
        CrmkitError: A CRM cannot be read: a migration needs both.
    """
    settings = settings_of(session, source, target)
    names = (source, target)
    pulls = pull(session, state, names, whole_past=True, full=full, watch=watch) if watch is not None else []
    raise_if_hopeless(pulls, {one.progress.connection: "" for one in pulls if one.error is not None})
    queries.pulled(state, names)
    # The source is never written, whatever the engine would plan.
    connectors = {name: session.connect(name, read_only=read_only or name == source) for name in names}
    try:
        workspaces, offsets = meet(session, connectors)
        migration = compile_migration(settings, connectors, state)
        yield OpenMigration(session, state, settings, connectors, migration, workspaces, offsets, list(pulls))
    finally:
        for connector in connectors.values():
            connector.close()


@contextmanager
def open_group(session: Session, state: State, name: str) -> Iterator[Group]:
    """A sync or a migration, by name, to look at and decide about; nothing is pulled or written.

    A migration is called `SOURCE-to-TARGET`.

    Raises:
        ConfigError: There is none of that name.
    """
    ends = _ends(session, name)
    if ends is None:
        with open_local(session, state, name) as group:
            yield group
        return
    queries.pulled(state, ends)
    connectors = {each: session.connect(each, read_only=True) for each in ends}
    try:
        yield compile_migration(settings_of(session, *ends), connectors, state).group
    finally:
        for connector in connectors.values():
            connector.close()


def _ends(session: Session, name: str) -> tuple[str, str] | None:
    """Source and target of a migration of that name; `None` if it is a sync's, or nobody's."""
    settings = session.config.settings
    if name in settings.syncs:
        return None
    pairs = permutations(settings.connections, 2)
    return next((pair for pair in pairs if name_of(*pair) == name), None)


def refuse_unbegun(opened: OpenMigration) -> None:
    """Make sure that something was moved already.

    Raises:
        UsageError: Nothing was.
    """
    with opened.state.read() as db:
        begun = opened.migration.group.hub.positions(db)
    if not begun:
        source, target = opened.settings.source, opened.settings.target
        raise UsageError(
            f"nothing has been moved from {source} to {target} yet",
            hint=f"Begin with `crmkit migrate plan {source} {target}`.",
        )


def sample_of(opened: OpenMigration, size: int, seed: int) -> list[Chosen]:
    """The deals of a sample: those of the source that take part, the strange ones first."""
    migration = opened.migration
    member = migration.group.members[migration.source]
    deals, notes, owners = schema.deals.c, schema.notes.c, schema.owners.c
    mine = deals.connection == migration.source
    with opened.state.read() as db:
        counted = sa.select(notes.deal_id, sa.func.count()).where(notes.connection == migration.source)
        per_deal = {row[0]: row[1] for row in db.execute(counted.group_by(notes.deal_id)) if row[0]}
        gone = sa.select(owners.id).where(owners.connection == migration.source, owners.active.is_(False))
        context = Context(
            frozenset(db.execute(gone).scalars()),
            per_deal,
            {line.ref.id: line.name for line in member.codec.stages.pipelines},
        )
        rows = db.execution_options(yield_per=2000).execute(
            sa.select(schema.deals).where(mine, deals.gone_at.is_(None)).order_by(deals.id)
        )
        taking_part = (
            dict(row) for row in rows.mappings() if member.scope.holds(dict(row), member.codec.owners)
        )
        return choose(taking_part, size, seed=seed, context=context)


def looked_ahead(opened: OpenMigration, migration: Migration, found: Computed) -> list[Finding]:
    """What would fail, be cut or wait, before the first write."""
    target = migration.group.members[migration.target]
    workspace = opened.workspaces[migration.target]
    kinds = sorted({op.kind for op in found.ops if op.act is Act.CREATE}, key=list(Kind).index)
    coming = [one for one in migration.structure.fields if one.way is Way.CREATE]
    fields = {
        kind: [*known, *(one.target for one in coming if one.kind is kind and one.target is not None)]
        for kind, known in migration.fields.items()
    }
    return left_unread(migration) + preflight(
        target,
        found,
        fields,
        workspace.limits,
        _taken(opened.state, migration.target),
        needs=_needs(migration, opened.state),
        currencies=workspace.currencies,
        unprepared=target.connector.unprepared(kinds) if kinds else (),
    )


def left_unread(migration: Migration) -> list[Finding]:
    """What of the source is not read, and so does not come along."""
    source = migration.group.members[migration.source].connector
    if not source.capabilities.reads_one_contact:
        return []
    reason = (
        f"of a deal's people only the main one is read from {source.title}; further ones do not come along"
    )
    advice = "Add them to the deals in the target by hand, or keep the source until you have looked."
    return [Finding("contacts_unread", Severity.LOSES, Kind.DEAL, "contacts", 1, (), reason, advice)]


def _taken(state: State, target: str) -> Callable[[Kind, str, Any], str | None]:
    """Who in the target has a value already that a CRM may want to be unique."""
    contacts, companies = schema.contacts.c, schema.companies.c
    found: dict[tuple[Kind, str, str], str] = {}
    with state.read() as db:
        here = (contacts.connection == target, contacts.gone_at.is_(None))
        for row in db.execute(sa.select(contacts.id, contacts.emails).where(*here)):
            found |= {(Kind.CONTACT, "emails", str(one).casefold()): row.id for one in row.emails}
        there = (companies.connection == target, companies.gone_at.is_(None))
        for row in db.execute(sa.select(companies.id, companies.domain).where(*there)):
            if row.domain:
                found[Kind.COMPANY, "domain", row.domain.casefold()] = row.id
    return lambda kind, name, value: found.get((kind, name, str(value).casefold()))


def _needs(migration: Migration, state: State) -> dict[str, int]:
    """What the migration needs of what a plan may limit, with what is there already."""
    structure = migration.structure
    new = [one for one in structure.pipelines if one.way in (Way.CREATE, Way.BY_HAND)]
    found = {"pipelines": len(queries.pipelines(state, migration.target)) + len(new)}
    for kind, known in migration.fields.items():
        made = [one for one in structure.fields if one.kind is kind and one.way is Way.CREATE]
        if made:
            found[f"custom_fields.{kind}"] = sum(one.custom for one in known) + len(made)
    return found


def costs_of(session: Session, state: State, opened: OpenSync, found: Computed) -> list[Cost]:
    """Requests and minutes per CRM, the reads that come with the writes included."""
    group = opened.group
    with state.read() as db:
        existing = _counts(db, list(group.members))
        is_young = young(group, db, session.clock.now(), group.settings.in_flight_seconds)
    limits = {name: one.limits for name, one in opened.workspaces.items()}
    return costs(group, found.ops, young=is_young, existing=existing, limits=limits)


def proven(opened: OpenMigration) -> Proof:
    """The proof of a migration, from the local copy of both CRMs."""
    migration = opened.migration
    found, _ = opened.run().plan()
    # The entities of deals only: a company may have the same id in its CRM.
    left_out = {
        one.entity.split(":", 2)[2]: one.reason
        for one in found.held
        if one.kind == "left_out" and one.entity.split(":", 2)[1] == Kind.DEAL.value
    }
    return prove(
        migration.group,
        opened.state,
        source=migration.source,
        target=migration.target,
        held=found.held,
        left_out=left_out,
        now=opened.session.clock.now(),
        notes=migration.moving.notes,
    )


def runs_that_wrote(opened: OpenMigration) -> list[int]:
    """Runs of a migration of which something is left to take back, the last one first."""
    journal, runs = tables.journal.c, schema.runs.c
    query = (
        sa.select(journal.run)
        .select_from(tables.journal.join(schema.runs, journal.run == runs.number))
        .where(
            journal.sync == opened.name,
            runs.command != "undo",
            journal.state == Intent.ACKED.value,
            journal.undone_by.is_(None),
        )
        .distinct()
    )
    with opened.state.read() as db:
        return sorted(db.execute(query).scalars(), reverse=True)


def _counts(db: sa.Connection, connections: Sequence[str]) -> dict[tuple[str, Kind], int]:
    found: dict[tuple[str, Kind], int] = {}
    for kind in (Kind.COMPANY, Kind.CONTACT, Kind.DEAL, Kind.NOTE):
        table = TABLES[kind].c
        query = (
            sa.select(table.connection, sa.func.count())
            .where(table.connection.in_(connections), table.gone_at.is_(None))
            .group_by(table.connection)
        )
        found |= {(row[0], kind): row[1] for row in db.execute(query)}
    return found
