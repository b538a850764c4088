"""Syncs of a configured workspace: from the settings to a run, and to what people look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import sqlalchemy as sa

from crmkit.config import suggestion
from crmkit.connectors.base import Connector
from crmkit.connectors.usage import Usage
from crmkit.errors import ConfigError, CredentialsError, CrmkitError, Interrupted
from crmkit.mapping.stages import StageMap
from crmkit.model import Workspace
from crmkit.report.load import outline, stage_map
from crmkit.session import RunningPull, Session, StopHere, pull
from crmkit.sync import queries, schema, tables
from crmkit.sync.group import Group, compile_group
from crmkit.sync.hub import Intent
from crmkit.sync.pull import PullOutcome, PullResult
from crmkit.sync.rules import rule
from crmkit.sync.run import SyncResult, SyncRun
from crmkit.sync.state import State
from crmkit.sync_settings import SyncSettings

Watch = Callable[[Sequence[RunningPull], Callable[[], bool]], None]


@dataclass(frozen=True, slots=True)
class RunningWrites:
    """What the progress display may look at while a run writes to one CRM.

    `total`: how many writes the run has in all; `None` if that is not known beforehand.
    """

    connection: str
    done: int
    total: int | None
    usage: Usage


WatchWrites = Callable[[Callable[[], Sequence[RunningWrites]], Callable[[], bool]], None]


@dataclass(frozen=True, slots=True)
class OpenSync:
    """A sync with its members connected.

    Attributes:
        run: Plans and writes.
        group: The compiled sync.
        pulls: How refreshing the local copy went, if it was done.
        workspaces: What the members that could be reached say about themselves.
    """

    run: SyncRun
    group: Group
    pulls: Sequence[PullResult] = ()
    workspaces: Mapping[str, Workspace] = field(default_factory=dict)


def named(session: Session, name: str) -> SyncSettings:
    """The settings of a sync.

    Raises:
        ConfigError: There is none of that name.
    """
    known = session.config.settings.syncs
    found = known.get(name)
    if found is None:
        raise ConfigError(
            f"there is no sync {name!r} in {session.config.path.name}",
            hint=suggestion(name, known) or "Add one as [syncs.NAME] with its `members` (docs/sync.md).",
        )
    # A wrong name is told before anything is pulled.
    for where, chosen in {
        "rule": found.rule,
        **{f"rules.{key}": one for key, one in found.rules.items()},
    }.items():
        try:
            rule(chosen or "hold")
        except ConfigError as error:
            raise ConfigError(f"syncs.{name}.{where}: {error}", hint=error.hint) from error
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
    with session.observer.span("run", sync=name):
        yield from _opened(session, state, name, settings, watch=watch, read_only=read_only)


def _opened(
    session: Session,
    state: State,
    name: str,
    settings: SyncSettings,
    *,
    watch: Watch | None,
    read_only: bool,
) -> Iterator[OpenSync]:
    sweep = timedelta(hours=session.config.settings.sweep_hours)
    pulls = (
        pull(session, state, settings.members, sweep_after=sweep, watch=watch) if watch is not None else []
    )
    unavailable = {
        result.progress.connection: str(result.error) for result in pulls if result.error is not None
    }
    raise_if_hopeless(pulls, unavailable)
    reachable = [member for member in settings.members if member not in unavailable]
    queries.pulled(state, reachable)
    connectors = {member: session.connect(member, read_only=read_only) for member in settings.members}
    try:
        workspaces, offsets = meet(session, {member: connectors[member] for member in reachable})
        maps = stage_maps(session, state, settings.members)
        group = compile_group(name, settings, connectors, maps, state)
        run = SyncRun(group, state, session.clock, offsets=offsets, unavailable=unavailable)
        yield OpenSync(run, group, pulls, workspaces)
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


def meet(
    session: Session, connectors: Mapping[str, Connector]
) -> tuple[dict[str, Workspace], dict[str, timedelta]]:
    """What CRMs say about themselves, and how far their clocks are ahead of this one's.

    Also proves the credentials.
    """
    workspaces: dict[str, Workspace] = {}
    offsets: dict[str, timedelta] = {}
    for name, connector in connectors.items():
        before = session.clock.now()
        workspaces[name] = told = connector.check()
        offsets[name] = told.server_time - before if told.server_time is not None else timedelta(0)
    return workspaces, offsets


def raise_if_hopeless(pulls: Sequence[PullResult], unavailable: Mapping[str, str]) -> None:
    """Refused credentials, or fewer than two members: there is nothing to keep in step."""
    errors: list[CrmkitError] = [result.error for result in pulls if result.error is not None]
    if any(result.outcome is PullOutcome.INTERRUPTED for result in pulls):
        # Whoever stopped the pull of one member does not want the others to be written.
        raise Interrupted("stopped while pulling; nothing was written")
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


def watched(
    opened: OpenSync,
    state: State,
    work: Callable[[], SyncResult],
    watch: WatchWrites,
    totals: Mapping[str, int] | None = None,
) -> SyncResult:
    """Carry out a run and show how it goes; Ctrl-C stops it at the end of the batch at hand.

    Args:
        opened: The sync.
        state: Its state store.
        work: The run.
        watch: Called in this thread with a function that gives the progress, and one that
            tells whether the run has ended; returns when it has.
        totals: Writes per member, where they are known beforehand.
    """
    before = _last_number(state)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="run") as pool:
        future = pool.submit(work)
        try:
            watch(lambda: _progress(opened, state, before, totals or {}), future.done)
        except (KeyboardInterrupt, StopHere):
            for member in opened.group.members.values():
                member.connector.context.cancelled.set()
        return future.result()


def _last_number(state: State) -> int:
    with state.read() as db:
        return int(db.execute(sa.select(sa.func.max(schema.runs.c.number))).scalar() or 0)


def _progress(
    opened: OpenSync, state: State, before: int, totals: Mapping[str, int]
) -> Sequence[RunningWrites]:
    """How many writes of the run after `before` have an outcome; the journal knows."""
    journal = tables.journal.c
    query = (
        sa.select(journal.connection, sa.func.count())
        .where(journal.sync == opened.group.name, journal.run > before, journal.state != Intent.SENT.value)
        .group_by(journal.connection)
    )
    with state.read() as db:
        done: dict[str, int] = {row[0]: row[1] for row in db.execute(query)}
    return [
        RunningWrites(name, done.get(name, 0), totals.get(name), member.connector.context.usage)
        for name, member in opened.group.members.items()
    ]


def last_that_wrote(state: State, sync: str) -> int | None:
    """The number of a sync's last run that wrote anything and was no undo, or `None`."""
    journal, runs = tables.journal.c, schema.runs.c
    query = (
        sa.select(sa.func.max(journal.run))
        .select_from(tables.journal.join(schema.runs, journal.run == runs.number))
        .where(journal.sync == sync, runs.command != "undo")
    )
    with state.read() as db:
        found = db.execute(query).scalar()
    return int(found) if found is not None else None
