"""One run of crmkit: configuration, secrets, state and open connections, wired together."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from crmkit import config, credentials
from crmkit.connectors import registry
from crmkit.connectors.base import Connector, Context, Support
from crmkit.connectors.clock import Clock, SystemClock
from crmkit.connectors.usage import Usage
from crmkit.errors import CrmkitError
from crmkit.model import Kind, Workspace
from crmkit.sync.pull import KINDS, Progress, Pull, PullResult
from crmkit.sync.state import State


@dataclass(slots=True)
class Session:
    """A configured workspace.

    Attributes:
        config: The checked configuration.
        redactor: Masks every secret that was handed out.
        clock: Where time comes from.
    """

    config: config.Config
    redactor: credentials.Redactor = field(default_factory=credentials.Redactor)
    clock: Clock = field(default_factory=SystemClock)

    @classmethod
    def open(cls, path: Path | None) -> Session:
        """Load the configuration: the named file, or the nearest crmkit.toml.

        Raises:
            ConfigError: There is none, or something in it is wrong.
        """
        chosen = path or config.find(Path.cwd())
        return cls(config.load(chosen, registry.OptionModels()))

    def secrets(self, connection: str) -> credentials.ConnectionSecrets:
        """The secrets of one connection."""
        own = self.config.settings.secrets == "secrets_dir"
        return credentials.ConnectionSecrets(
            connection,
            keyring=None if own else credentials.system_keyring(),
            environ={} if own else os.environ,
            directory=self.config.secrets_dir,
            redactor=self.redactor,
        )

    def connect(self, connection: str, *, read_only: bool = False) -> Connector:
        """An open connection; `read_only` lets the transport refuse every write."""
        settings = self.config.settings.connections[connection]
        context = Context(
            connection,
            self.secrets(connection),
            self.clock,
            Usage(),
            pace=settings.limits == "real",
            read_only=read_only,
        )
        return registry.connector(settings.crm)(context, self.config.options[connection])

    @contextmanager
    def state(self) -> Iterator[State]:
        """The open state store."""
        state = State(self.config.state_url)
        try:
            yield state
        finally:
            state.close()


@dataclass(frozen=True, slots=True)
class RunningPull:
    """What the progress display may look at while a pull runs."""

    connection: str
    progress: Progress
    usage: Usage


def pull(
    session: Session,
    state: State,
    names: Iterable[str],
    *,
    full: bool = False,
    sweep_after: timedelta | None = None,
    whole_past: bool = False,
    watch: Callable[[Sequence[RunningPull], Callable[[], bool]], None],
) -> list[PullResult]:
    """Refresh the local copy of several connections side by side.

    Args:
        session: The workspace.
        state: Its open state store.
        names: Connections; all if none is named.
        full: Read everything again.
        sweep_after: Read everything again where the last whole read is older.
        whole_past: Read notes and stage changes too, whatever the settings say.
        watch: Called once in the calling thread with the running pulls and a function
            that tells whether all have ended; returns when they have. Ctrl-C in it stops
            the pulls at the next page.

    Returns:
        One result per connection, in order.
    """
    chosen = session.config.chosen(names)
    connectors = [session.connect(name) for name in chosen]
    pulls = [
        Pull(
            state,
            connector,
            clock_margin_seconds=session.config.settings.clock_margin_seconds,
            history=settings.history or whole_past,
            full=full,
            sweep_after=sweep_after,
            kinds=[*KINDS, Kind.NOTE] if whole_past and _has_notes(connector) else KINDS,
        )
        for connector, settings in zip(connectors, chosen.values(), strict=True)
    ]
    running = [RunningPull(one.name, one.progress, one.connector.context.usage) for one in pulls]
    with full_pipe(), ThreadPoolExecutor(max_workers=len(pulls), thread_name_prefix="pull") as pool:
        futures = [pool.submit(one.run) for one in pulls]
        try:
            watch(running, lambda: all(future.done() for future in futures))
        except KeyboardInterrupt:
            for connector in connectors:
                connector.context.cancelled.set()
        finally:
            results = [future.result() for future in futures]
    for connector in connectors:
        connector.close()
    return results


def _has_notes(connector: Connector) -> bool:
    return connector.capabilities.notes is Support.YES


@contextmanager
def full_pipe() -> Iterator[None]:
    """Tune the interpreter for a pull: many threads that each handle one page after another.

    Records hold no cycles, and the search for some took a fifth of the time. Threads hand
    over whole pages, so that a shorter turn than a page takes only costs.
    """
    thresholds, turn = gc.get_threshold(), sys.getswitchinterval()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.05)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Health:
    """What `doctor` found out about one connection."""

    connection: str
    workspace: Workspace | None = None
    skew_seconds: float | None = None
    error: CrmkitError | None = None


def examine(session: Session, names: Iterable[str]) -> list[Health]:
    """Prove the credentials of each connection and compare the clocks."""
    found: list[Health] = []
    for name in session.config.chosen(names):
        try:
            connector = session.connect(name)
            workspace = connector.check()
            connector.close()
        except CrmkitError as error:
            found.append(Health(name, error=error))
            continue
        skew = None
        if workspace.server_time is not None:
            skew = (session.clock.now() - workspace.server_time).total_seconds()
        found.append(Health(name, workspace, skew))
    return found
