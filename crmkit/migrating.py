"""Migrations of a configured workspace: from the settings to something that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from crmkit.connectors.base import Connector
from crmkit.errors import UsageError
from crmkit.migration.build import Builder, Built
from crmkit.migration.compile import Migration, compile_migration, name_of
from crmkit.migration_settings import MigrationSettings
from crmkit.model import Kind
from crmkit.session import Session, pull
from crmkit.sync import queries
from crmkit.sync.pull import Pull, PullResult
from crmkit.sync.run import SyncRun
from crmkit.sync.state import State
from crmkit.syncing import Watch, offset_of, raise_if_hopeless


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
        pulls: How refreshing the local copy went, if it was done.
    """

    session: Session
    state: State
    settings: MigrationSettings
    connectors: Mapping[str, Connector]
    migration: Migration
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

    def build(self) -> Built:
        """Make the pipelines, stages and fields that the target lacks, and look at it again."""
        run = self.run()
        with run.lease() as lease, run.numbered("migrate structure") as number:
            built = Builder(self.migration, self.state, lease, self.session.clock, number).run()
        if built.made:
            self.refresh()
        return built

    def refresh(self) -> None:
        """Read the target's pipelines again, and compile again."""
        target = self.connectors[self.settings.target]
        result = Pull(self.state, target, kinds=[Kind.PIPELINE]).run()
        if result.error is not None:
            raise result.error
        self.migration = compile_migration(self.settings, self.connectors, self.state)

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
        offsets = {name: offset_of(session, connector) for name, connector in connectors.items()}
        migration = compile_migration(settings, connectors, state)
        yield OpenMigration(session, state, settings, connectors, migration, offsets, list(pulls))
    finally:
        for connector in connectors.values():
            connector.close()


__all__ = ["OpenMigration", "name_of", "open_migration", "settings_of"]
