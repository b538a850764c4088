"""Syncs of a configured workspace: from the settings to a run, and to what people look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from crmkit.connectors.base import Connector
from crmkit.errors import ConfigError, CredentialsError, CrmkitError
from crmkit.mapping.stages import StageMap
from crmkit.report.load import outline, stage_map
from crmkit.session import RunningPull, Session, pull
from crmkit.sync import queries
from crmkit.sync.group import Group, compile_group
from crmkit.sync.pull import PullResult
from crmkit.sync.run import SyncRun
from crmkit.sync.state import State
from crmkit.sync_settings import SyncSettings

Watch = Callable[[Sequence[RunningPull], Callable[[], bool]], None]


@dataclass(frozen=True, slots=True)
class OpenSync:
    """A sync with its members connected.

    Attributes:
        run: Plans and writes.
        group: The compiled sync.
        pulls: How refreshing the local copy went, if it was done.
    """

    run: SyncRun
    group: Group
    pulls: Sequence[PullResult] = ()


def named(session: Session, name: str) -> SyncSettings:
    """The settings of a sync.

    Raises:
        ConfigError: There is none of that name.
    """
    found = session.config.settings.syncs.get(name)
    if found is None:
        known = ", ".join(sorted(session.config.settings.syncs)) or "none"
        raise ConfigError(
            f"there is no sync {name!r} in {session.config.path.name}",
            hint=f"Known: {known}. Add one as [syncs.{name}] with its `members`.",
        )
    return found


@contextmanager
def open_sync(
    session: Session, state: State, name: str, *, watch: Watch | None, read_only: bool
) -> Iterator[OpenSync]:
    """A sync that is ready to run.

    Args:
        session: The workspace.
        state: Its open state store.
        name: The sync.
        watch: Shows the pull of its members, which is done first; `None` works on the
            local copy as it is.
        read_only: Whether the transport refuses every call that would change something.

    Raises:
        ConfigError: The sync is not configured, or its settings do not fit the CRMs.
        CrmkitError: No member can be read.
    """
    settings = named(session, name)
    sweep = timedelta(hours=session.config.settings.sweep_hours)
    pulls = (
        pull(session, state, settings.members, sweep_after=sweep, watch=watch) if watch is not None else []
    )
    unavailable = {
        result.progress.connection: str(result.error) for result in pulls if result.error is not None
    }
    _raise_if_hopeless(pulls, unavailable)
    reachable = [member for member in settings.members if member not in unavailable]
    queries.pulled(state, reachable)
    connectors = {member: session.connect(member, read_only=read_only) for member in settings.members}
    try:
        offsets = {member: _offset(session, connectors[member]) for member in reachable}
        maps = stage_maps(session, state, settings.members)
        group = compile_group(name, settings, connectors, maps, state)
        run = SyncRun(group, state, session.clock, offsets=offsets, unavailable=unavailable)
        yield OpenSync(run, group, pulls)
    finally:
        for connector in connectors.values():
            connector.close()


def stage_maps(session: Session, state: State, members: Sequence[str]) -> Mapping[str, StageMap]:
    """The stage maps of connections, as configured."""
    settings = session.config.settings
    common = outline(settings)
    return {
        member: stage_map(state, member, settings.connections[member], common).stage_map for member in members
    }


def _offset(session: Session, connector: Connector) -> timedelta:
    """How far a CRM's clock is ahead of this machine's; also proves the credentials."""
    before = session.clock.now()
    workspace = connector.check()
    return workspace.server_time - before if workspace.server_time is not None else timedelta(0)


def _raise_if_hopeless(pulls: Sequence[PullResult], unavailable: Mapping[str, str]) -> None:
    """Refused credentials, or fewer than two members: there is nothing to keep in step."""
    errors: list[CrmkitError] = [result.error for result in pulls if result.error is not None]
    for error in errors:
        if isinstance(error, (CredentialsError, ConfigError)):
            raise error
    if errors and len(pulls) - len(unavailable) < 2:
        raise errors[0]


@contextmanager
def open_local(session: Session, state: State, name: str) -> Iterator[Group]:
    """A sync to look at and decide about; calls no CRM unless custom fields are kept in step."""
    settings = named(session, name)
    queries.pulled(state, settings.members)
    connectors = {member: session.connect(member, read_only=True) for member in settings.members}
    try:
        maps = stage_maps(session, state, settings.members)
        yield compile_group(name, settings, connectors, maps, state)
    finally:
        for connector in connectors.values():
            connector.close()
