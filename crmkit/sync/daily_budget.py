"""Requests of a day, counted in the state store for all processes, against a connection's share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from crmkit.errors import QuotaExhausted
from crmkit.scheduling.budget import day_of, ours, resets_at
from crmkit.sync.schema import metadata
from crmkit.sync.schema import text as _text

if TYPE_CHECKING:  # which imports this module for its table
    from crmkit.sync.state import State

BLOCK = 25
"""Requests are counted so many at a time; a process that ends leaves at most so many unused."""

daily_use = sa.Table(
    "daily_use",
    metadata,
    _text("connection", primary_key=True),
    _text("day", primary_key=True),
    sa.Column("requests", sa.Integer, nullable=False),
)
_ROW = daily_use.c


class DailyBudget:
    """What a connection may still ask of its CRM today.

    Args:
        state: The open store.
        connection: Whose budget.
        quota: The CRM's calls a day, for everybody.
        share: The part of them for crmkit, 0 to 1.
        now: The clock.
        time_zone: Where the CRM's day ends at midnight.
    """

    def __init__(
        self,
        state: State,
        connection: str,
        quota: int,
        share: float,
        now: Callable[[], datetime],
        time_zone: str = "UTC",
    ) -> None:
        self._state = state
        self._connection = connection
        self._most = ours(quota, share)
        self._now = now
        self._zone = time_zone
        self._day: date | None = None
        self._left = 0
        self._lock = threading.Lock()

    def spend(self) -> None:
        """Count one request.

        Raises:
            QuotaExhausted: The share of today is used up.
        """
        with self._lock:
            day = day_of(self._now(), self._zone)
            if day != self._day:
                self._day, self._left = day, 0
            if self._left == 0:
                self._left = self._reserve(day)
            if self._left == 0:
                again = resets_at(self._now(), self._zone)
                raise QuotaExhausted(
                    f"{self._connection}: crmkit's share of today's calls is used up "
                    f"({self._most:,}, see `daily_quota` and `daily_share`); there are more from "
                    f"{again:%Y-%m-%d %H:%M} UTC"
                )
            self._left -= 1

    def _reserve(self, day: date) -> int:
        insert = sqlite_insert if self._state.is_sqlite else postgres_insert
        mine = {"connection": self._connection, "day": day.isoformat()}
        here = (_ROW.connection == self._connection) & (_ROW.day == day.isoformat())
        with self._state.write() as db:
            db.execute(insert(daily_use).values(**mine, requests=0).on_conflict_do_nothing())
            used = int(db.execute(sa.select(_ROW.requests).where(here).with_for_update()).scalar_one())
            got = max(0, min(BLOCK, self._most - used))
            db.execute(daily_use.update().where(here).values(requests=used + got))
        return got
