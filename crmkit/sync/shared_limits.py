"""Rate limits of a CRM account in the state store, for all processes that call it.

A row holds what a limit has counted, with the database's clock beside it: no process's own
clock counts. Permits are taken in blocks of up to half a second, so that the store is asked
some times a second and not once for each request; what is not used of a block is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from crmkit.connectors.pacing import Limit
from crmkit.sync import schema
from crmkit.sync.schema import metadata
from crmkit.sync.schema import text as _text

if TYPE_CHECKING:  # which imports this module for its table
    from crmkit.sync.state import State

shared_limits = sa.Table(
    "shared_limits",
    metadata,
    _text("account", primary_key=True),
    _text("bucket", primary_key=True),
    sa.Column("memory", sa.JSON, nullable=False),
    # Seconds since 1970 by the database's clock.
    sa.Column("at", sa.Float(53), nullable=False),
)
_ROW = shared_limits.c


def account_key(state: State, connection: str, crm: str) -> str:
    """Whose limits a connection draws from: the workspace's it reaches, once a pull has named it."""
    table = schema.workspaces.c
    query = sa.select(table.workspace_id).where(table.connection == connection, table.crm == crm)
    with state.read() as db:
        known = db.execute(query).scalar()
    return f"{crm}:{known}" if known is not None else f"{crm}::{connection}"


@dataclass(slots=True)
class SharedLimits:
    """The limits of one account.

    Attributes:
        state: The open store.
        account: The key of the account, see `account_key`.
    """

    state: State
    account: str

    def take(
        self, bucket: str, limit: Limit, monotonic: Callable[[], float], cost: float
    ) -> tuple[float, float]:
        """Permits, at least `cost` of them, and 0; or none, and the seconds to wait."""
        with self._shared(bucket, limit, monotonic) as now:
            pause = limit.admit(now, cost)
            if pause > 0:
                return 0.0, pause
            got, most = cost, limit.block()[0]
            while got + 1 <= most and limit.admit(now, 1.0) <= 0:
                got += 1
        return got, 0.0

    def slow_down(self, bucket: str, limit: Limit, monotonic: Callable[[], float], seconds: float) -> None:
        """The CRM refused one process: all become slower."""
        with self._shared(bucket, limit, monotonic) as now:
            limit.slow_down(now, seconds)

    @contextmanager
    def _shared(self, bucket: str, limit: Limit, monotonic: Callable[[], float]) -> Iterator[float]:
        """Let the limit go on from what all have counted, and keep what it counts in the block."""
        mine = (_ROW.account == self.account) & (_ROW.bucket == bucket)
        row_now = sa.literal(time.time()) if self.state.is_sqlite else _CLOCK
        query = sa.select(_ROW.memory, _ROW.at, row_now).where(mine).with_for_update()
        with self.state.write() as db:
            row = db.execute(query).one_or_none()
            if row is None:
                self._begin(db, bucket, limit, monotonic())
                row = db.execute(query).one()
            # The lock may have been waited for, and this process's clock is read only now: what
            # passed meanwhile counts as not passed, which is the safe side.
            now, passed = monotonic(), max(0.0, row[2] - row[1])
            limit.recall(row[0], now - passed)
            yield now
            db.execute(
                shared_limits.update()
                .where(mine)
                .values(memory=limit.remembered(now), at=max(row[1], row[2]))
            )

    def _begin(self, db: sa.Connection, bucket: str, limit: Limit, now: float) -> None:
        insert = sqlite_insert if self.state.is_sqlite else postgres_insert
        values = {
            "account": self.account, "bucket": bucket, "memory": limit.remembered(now), "at": 0.0,
        }  # fmt: skip
        db.execute(insert(shared_limits).values(**values).on_conflict_do_nothing())


_CLOCK = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float(53))
