"""Acts on stored events: pulls the records they name, then runs the syncs that have the connection.

One thread does it all, so that events which come while a sync runs make one more run and not
one each. What a crash leaves half done is in the store, and done at the next start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from crmkit.connectors.base import Connector
from crmkit.errors import Busy, ConnectorError, CrmkitError, StateError
from crmkit.model import Kind, Ref
from crmkit.session import Session
from crmkit.sync import heard
from crmkit.sync.heard import Event, Stage
from crmkit.sync.plan import Held
from crmkit.sync.state import State
from crmkit.sync.targeted import Targeted, pull_named, refuse_other_workspace
from crmkit.syncing import open_sync

WINDOW_SECONDS = 0.3
"""How long after an event others may join it: CRMs tell of one save several times."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 300.0
LOOK_EVERY_SECONDS = 60.0
PRUNE_EVERY = timedelta(minutes=10)


class Ending(Protocol):
    """Takes down how a sync run ended."""

    code: int | None
    held: Sequence[Held]


@dataclass(frozen=True, slots=True)
class Pulled:
    """A targeted pull that ended: what of, how it went, and when its first event had come."""

    connection: str
    records: int
    result: Targeted
    since: datetime


@dataclass(frozen=True, slots=True)
class Synced:
    """A sync run that ended."""

    sync: str
    writes: int
    exit_code: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that failed; `again_seconds` tells when it is tried again, if it is."""

    what: str
    error: CrmkitError
    again_seconds: float | None = None


News = Pulled | Synced | Trouble


@dataclass(slots=True)
class Pause:
    """How long to leave something alone that failed: longer each time."""

    seconds: float = 0.0
    until: float = 0.0

    def failed(self, now: float) -> float:
        """Note a failure; the seconds until it may be tried again."""
        self.seconds = min(max(FIRST_PAUSE_SECONDS, self.seconds * 2), LONGEST_PAUSE_SECONDS)
        self.until = now + self.seconds
        return self.seconds


@dataclass(slots=True)
class Handling:
    """Handles the events of some connections.

    Attributes:
        session: The workspace.
        state: Its open store.
        connections: Whose events are handled.
        syncs: The syncs to run, each with its members.
        around: Entered around each sync run; takes down how it ended.
        tell: Told what happened.
        upkeep: Called now and then between events.
    """

    session: Session
    state: State
    connections: Sequence[str]
    syncs: Mapping[str, Sequence[str]]
    around: Callable[[str], AbstractContextManager[Ending]]
    tell: Callable[[News], None]
    upkeep: Callable[[], None] = field(default=lambda: None)
    _woken: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _open: dict[str, Connector] = field(default_factory=dict)
    _busy: list[Connector] = field(default_factory=list)
    _pauses: dict[str, Pause] = field(default_factory=dict)
    _pruned_at: datetime | None = None

    def wake(self) -> None:
        """Something was stored."""
        self._woken.set()

    def stop(self) -> None:
        """End after the batch at hand; what is left stays in the store."""
        self._stopped.set()
        for connector in (*self._open.values(), *self._busy):
            connector.context.cancelled.set()
        self._woken.set()

    def run(self) -> None:
        """Handle events until `stop`."""
        try:
            while not self._stopped.is_set():
                self._woken.clear()
                looked_at = self.session.clock.monotonic()
                try:
                    self.once()
                    self._keep_up()
                except StateError as error:
                    self._fail("state", "the state store", error)
                if self._woken.wait(self._rest(looked_at)) and not self._stopped.is_set():
                    self._stopped.wait(WINDOW_SECONDS)
        finally:
            for connector in self._open.values():
                connector.close()

    def once(self) -> None:
        """Handle everything that is stored and not paused."""
        with self.state.read() as db:
            events = heard.unfinished(db, self.connections)
        by_connection: dict[str, list[Event]] = {}
        for event in events:
            by_connection.setdefault(event.connection, []).append(event)
        due: dict[str, list[Event]] = {}
        for connection, told in by_connection.items():
            if self._stopped.is_set():
                return
            pulled = [event for event in told if event.state is Stage.PULLED]
            waiting = [event for event in told if event.state is Stage.WAITING]
            matters = bool(pulled)
            if waiting and self._may(f"pull {connection}"):
                result = self._pull(connection, waiting)
                if result is not None and result.matters:
                    matters = True
                    pulled += waiting
            if matters and pulled:
                due[connection] = pulled
        self._sync(due)

    def _pull(self, connection: str, events: Sequence[Event]) -> Targeted | None:
        """Bring the named records up to date; `None` if that failed and is tried again."""
        refs = list(dict.fromkeys(Ref(connection, Kind(event.kind), event.id) for event in events))
        numbers = [event.number for event in events]
        try:
            result = pull_named(self.state, self._connected(connection), refs)
        except CrmkitError as error:
            self._drop(connection)
            self._fail(f"pull {connection}", connection, error)
            return None
        self._pauses.pop(f"pull {connection}", None)
        with self.state.write() as db:
            heard.move(db, numbers, Stage.PULLED if result.matters else Stage.DONE)
        self.tell(Pulled(connection, len(refs), result, min(event.received_at for event in events)))
        return result

    def _sync(self, due: Mapping[str, Sequence[Event]]) -> None:
        """Run the syncs of connections once each; their events are done when all of these have ended."""
        if not due:
            return
        again: set[str] = set()
        for name, members in self.syncs.items():
            touched = due.keys() & set(members)
            if touched and not (self._may(f"sync {name}") and self._run(name)):
                again |= touched
        done = [event.number for connection, told in due.items() if connection not in again for event in told]
        with self.state.write() as db:
            heard.move(db, done, Stage.DONE)

    def _run(self, name: str) -> bool:
        """Run one sync; `False` if it is to be tried again."""
        if self._stopped.is_set():
            return False
        began = self.session.clock.monotonic()
        try:
            with (
                self.around(name) as ending,
                open_sync(self.session, self.state, name, watch=None, read_only=False) as opened,
            ):
                self._busy = [member.connector for member in opened.group.members.values()]
                result = opened.run.sync({})
                ending.code, ending.held = result.exit_code, result.held
        except (Busy, ConnectorError) as error:
            self._fail(f"sync {name}", name, error)
            return False
        except CrmkitError as error:
            # A guard, the settings, credentials: a person is needed, and trying again helps nobody.
            self.tell(Trouble(name, error))
            return not self._stopped.is_set()
        finally:
            self._busy = []
        self._pauses.pop(f"sync {name}", None)
        seconds = self.session.clock.monotonic() - began
        self.tell(Synced(name, result.writes, result.exit_code, seconds))
        return True

    def _connected(self, connection: str) -> Connector:
        if connection not in self._open:
            connector = self.session.connect(connection, read_only=True)
            try:
                refuse_other_workspace(self.state, connector)
            except CrmkitError:
                connector.close()
                raise
            self._open[connection] = connector
        return self._open[connection]

    def _drop(self, connection: str) -> None:
        connector = self._open.pop(connection, None)
        if connector is not None:
            connector.close()

    def _fail(self, key: str, what: str, error: CrmkitError) -> None:
        if self._stopped.is_set():
            return
        pause = self._pauses.setdefault(key, Pause())
        self.tell(Trouble(what, error, pause.failed(self.session.clock.monotonic())))

    def _may(self, key: str) -> bool:
        pause = self._pauses.get(key)
        return pause is None or self.session.clock.monotonic() >= pause.until

    def _rest(self, looked_at: float) -> float:
        """Seconds until there is something to try again; what was over at the last look is forgotten."""
        now = self.session.clock.monotonic()
        self._pauses = {key: pause for key, pause in self._pauses.items() if pause.until > looked_at}
        waits = [max(0.05, pause.until - now) for pause in self._pauses.values()]
        return min([LOOK_EVERY_SECONDS, *waits])

    def _keep_up(self) -> None:
        now = self.session.clock.now()
        if self._pruned_at is None or now - self._pruned_at >= PRUNE_EVERY:
            self._pruned_at = now
            with self.state.write() as db:
                heard.prune(db, now)
            self.upkeep()
