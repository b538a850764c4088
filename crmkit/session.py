"""One run of crmkit: configuration, secrets, state and open connections, wired together."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy.engine import make_url

from crmkit import config, credentials
from crmkit.config import ConnectionSettings
from crmkit.connectors import registry
from crmkit.connectors.base import Connector, Context, Secrets, Support
from crmkit.connectors.clock import Clock, SystemClock
from crmkit.connectors.usage import Usage
from crmkit.model import Kind
from crmkit.observing import Observers
from crmkit.sync.daily_budget import DailyBudget
from crmkit.sync.pull import KINDS, Progress, Pull, PullResult
from crmkit.sync.shared_limits import SharedLimits, account_key
from crmkit.sync.state import State
from crmkit.sync.upgrade import Upgrade

STATE = "state"
"""The name under which the password of a state store on a database server is kept as a secret."""


class StopHere(Exception):
    """Raised by who watches a pull or a run: it shall end at its next border, to be taken up later."""


@dataclass(slots=True)
class Session:
    """A configured workspace.

    Attributes:
        config: The checked configuration.
        redactor: Masks every secret that was handed out.
        clock: Where time comes from.
        on_upgrade: Told when opening the state store brought it forward.
        observer: Is told what happens; nobody listens until a sink is added.
        leaving: Called with the state store before it is closed.
        warnings: What a person should know at the end, although nothing failed.
    """

    config: config.Config
    redactor: credentials.Redactor = field(default_factory=credentials.Redactor)
    clock: Clock = field(default_factory=SystemClock)
    on_upgrade: Callable[[Upgrade], None] = field(default=lambda _: None)
    observer: Observers = field(init=False)
    leaving: list[Callable[[State], None]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _opened: State | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.observer = Observers(self.redactor.redact)

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

    def connect(
        self, connection: str, *, read_only: bool = False, secrets: Secrets | None = None
    ) -> Connector:
        """An open connection.

        Args:
            connection: Its name.
            read_only: Whether the transport refuses every write.
            secrets: Its secrets, if others than the stored ones are to be tried.
        """
        settings = self.config.settings.connections[connection]
        context = Context(
            connection,
            secrets or self.secrets(connection),
            self.clock,
            Usage(),
            pace=settings.limits == "real",
            read_only=read_only,
            observer=self.observer,
            shared=self._shared(connection, settings.crm),
            allowance=self._allowance(connection, settings),
        )
        return registry.connector(settings.crm)(context, self.config.options[connection])

    def _shared(self, connection: str, crm: str) -> SharedLimits | None:
        """Limits for all machines; a file has one, whose processes seldom meet at one CRM."""
        if self._opened is None or self._opened.is_sqlite:
            return None
        return SharedLimits(self._opened, account_key(self._opened, connection, crm))

    def _allowance(self, connection: str, settings: ConnectionSettings) -> DailyBudget | None:
        if self._opened is None or settings.daily_quota is None:
            return None
        return DailyBudget(
            self._opened, connection, settings.daily_quota, settings.daily_share, self.clock.now
        )

    def state_url(self) -> str:
        """The address of the state store with its password, which crmkit.toml does not hold."""
        url = make_url(self.config.state_url)
        if url.get_backend_name() != "sqlite":
            password = self.secrets(STATE).find("password")
            if password is not None:
                url = url.set(password=password.get_secret_value())
        return url.render_as_string(hide_password=False)

    @contextmanager
    def state(self) -> Iterator[State]:
        """The open state store."""
        state = State(self.state_url())
        if state.upgraded is not None:
            self.on_upgrade(state.upgraded)
        self._opened = state
        try:
            yield state
        finally:
            self._opened = None
            try:
                for leave in self.leaving:
                    leave(state)
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
        except (KeyboardInterrupt, StopHere):
            for connector in connectors:
                connector.context.cancelled.set()
        finally:
            results = [future.result() for future in futures]
    for connector in connectors:
        connector.close()
    return results


def _has_notes(connector: Connector) -> bool:
    return connector.capabilities.notes is Support.YES


class _Tuning:
    """What the interpreter is set to while anything pulls; several may at once."""

    lock = threading.Lock()
    pulls = 0
    before: tuple[tuple[int, int, int], float] | None = None


@contextmanager
def full_pipe() -> Iterator[None]:
    """Tune the interpreter for a pull: many threads that each handle one page after another.

    Records hold no cycles, and the search for some took a fifth of the time. Threads hand
    over whole pages, so that a shorter turn than a page takes only costs.
    """
    with _Tuning.lock:
        _Tuning.pulls += 1
        if _Tuning.pulls == 1:
            _Tuning.before = gc.get_threshold(), sys.getswitchinterval()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
            sys.setswitchinterval(0.05)
    try:
        yield
    finally:
        with _Tuning.lock:
            _Tuning.pulls -= 1
            if _Tuning.pulls == 0 and _Tuning.before is not None:
                thresholds, turn = _Tuning.before
                sys.setswitchinterval(turn)
                gc.set_threshold(*thresholds)
                gc.unfreeze()
