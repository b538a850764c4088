"""Leases: one holder at a time, told apart by an epoch, freed when the holder is gone.

The row in the state store is what other machines see. On one machine an operating-system
file lock goes with it: it disappears with its process, so that a killed run never blocks
the next one until the lease expires (sync-semantics 9).
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from crmkit.errors import Busy, StateError
from crmkit.observing import SILENT, Observer
from crmkit.sync import schema
from crmkit.sync.state import State

TIME_TO_LIVE = timedelta(seconds=180)
RENEW_EVERY_SECONDS = 60.0
REQUEST_TAKES = timedelta(seconds=90)
"""The longest that a request may take, and a margin: who has less of the lease left looks first."""

_ROW = schema.leases.c
# Made once: every transaction of a run begins with it.
_EXTEND = (
    schema.leases.update()
    .where(
        _ROW.name == sa.bindparam("held"),
        _ROW.epoch == sa.bindparam("held_epoch"),
        _ROW.owner == sa.bindparam("holder"),
    )
    .values(expires_at=sa.bindparam("until"))
)


class Lease:
    """A lease that is held; `guard` every transaction with it."""

    def __init__(
        self, state: State, name: str, owner: str, epoch: int, now: Callable[[], datetime],
        observer: Observer = SILENT,
    ) -> None:  # fmt: skip
        self.name = name
        self.owner = owner
        self.epoch = epoch
        self._state = state
        self._now = now
        self._observer = observer
        self._until = now() + TIME_TO_LIVE

    def guard(self, connection: sa.Connection) -> None:
        """Extend the lease inside a transaction, which must fail if it was lost.

        Raises:
            Busy: Somebody else took the lease over; the transaction is rolled back.
        """
        until = self._now() + TIME_TO_LIVE
        mine = {"held": self.name, "held_epoch": self.epoch, "holder": self.owner, "until": until}
        changed = connection.execute(_EXTEND, mine)
        if changed.rowcount != 1:
            self._observer.event("lease_lost", lease=self.name, epoch=self.epoch)
            raise Busy(f"the lease {self.name} was taken over by another run; this one stops")
        self._until = until

    def ensure(self) -> None:
        """Make sure, right before a request, that the lease outlives it: this machine may have slept.

        Raises:
            Busy: Somebody else took the lease over.
        """
        if self._until - self._now() < REQUEST_TAKES:
            self.renew()

    def renew(self) -> None:
        """Extend the lease while nothing is being written."""
        with self._state.write() as connection:
            self.guard(connection)

    def release(self) -> None:
        """Free the lease for the next run."""
        row = schema.leases.c
        with self._state.write() as connection:
            connection.execute(
                schema.leases.update()
                .where(row.name == self.name, row.epoch == self.epoch)
                .values(expires_at=self._now())
            )


@contextmanager
def hold(
    state: State, name: str, now: Callable[[], datetime], observer: Observer = SILENT
) -> Iterator[Lease]:
    """Hold a lease for the duration of a block.

    Args:
        state: The store.
        name: What is leased, for example `pull:hubspot-us`.
        now: The clock.
        observer: Is told when it is taken over from a holder that is gone, and when it is lost.

    Raises:
        Busy: Somebody else holds it; the message says who and since when.
    """
    lock = _lock_file(state, name)
    try:
        lease = _take(state, name, now, observer, holder_is_gone=lock is not None)
        stop = threading.Event()
        renewal = threading.Thread(target=_keep, args=(lease, stop), name=f"lease-{name}", daemon=True)
        renewal.start()
        try:
            yield lease
        finally:
            stop.set()
            renewal.join()
            with contextlib.suppress(StateError):  # it expires by itself
                lease.release()
    finally:
        if lock is not None:
            lock.close()


def _keep(lease: Lease, stop: threading.Event) -> None:
    while not stop.wait(RENEW_EVERY_SECONDS):
        try:
            lease.renew()
        except StateError:
            return  # the next guarded transaction says so


def _take(
    state: State, name: str, now: Callable[[], datetime], observer: Observer, *, holder_is_gone: bool
) -> Lease:
    owner = f"{socket.gethostname()}:{os.getpid()}"
    at = now()
    with state.write() as connection:
        row = connection.execute(
            sa.select(schema.leases).where(schema.leases.c.name == name).with_for_update()
        ).one_or_none()
        if row is not None and row.expires_at > at and not holder_is_gone:
            raise _busy(name, row.owner, row.since)
        epoch = 1 if row is None else row.epoch + 1
        values = {"owner": owner, "epoch": epoch, "since": at, "expires_at": at + TIME_TO_LIVE}
        if row is None:
            connection.execute(schema.leases.insert().values(name=name, **values))
        else:
            connection.execute(schema.leases.update().where(schema.leases.c.name == name).values(**values))
    if row is not None and row.expires_at > at:
        observer.event("lease_taken_over", lease=name, epoch=epoch)
    return Lease(state, name, owner, epoch, now, observer)


def _busy(name: str, owner: str, since: datetime) -> Busy:
    host, _, pid = owner.partition(":")
    busy = Busy(f"{name} is being done by process {pid} on {host} since {since:%Y-%m-%d %H:%M:%S} UTC")
    busy.lease = name
    return busy


def _lock_file(state: State, name: str) -> IO[str] | None:
    """An exclusive file lock beside a SQLite store; `None` where the store is shared.

    Raises:
        Busy: A living process on this machine holds it.
    """
    if state.path is None or os.name != "posix":
        return None
    import fcntl  # noqa: PLC0415 - POSIX only

    path = Path(f"{state.path}-{re.sub(r'[^a-z0-9-]', '-', name)}.lock")
    stream = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        with state.read() as connection:
            row = connection.execute(
                sa.select(schema.leases).where(schema.leases.c.name == name)
            ).one_or_none()
        if row is None:
            raise Busy(f"{name} is being done by another process on this machine") from None
        raise _busy(name, row.owner, row.since) from None
    return stream
