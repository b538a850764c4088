"""Which changes crmkit itself made: nobody's work on a deal (metrics.md 13)."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from crmkit.model import Kind
from crmkit.report.facts.arrays import column
from crmkit.report.facts.scale import SECOND
from crmkit.sync import tables
from crmkit.sync.state import State

# The engine stores what it wrote as soon as the answer is there.
_MARGIN = 2 * SECOND


class OwnWrites:
    """When crmkit wrote which deal."""

    def __init__(self, state: State, connections: Sequence[str]) -> None:
        journal = tables.journal
        query = sa.select(
            journal.c.connection, journal.c.native_id, journal.c.sent_at, journal.c.ended_at
        ).where(
            journal.c.state == "acked",
            journal.c.kind == Kind.DEAL.value,
            journal.c.connection.in_(connections),
            journal.c.native_id.is_not(None),
        )
        with state.read() as db:
            rows = db.execute(query).all()
        starts = column([row[2] for row in rows], "sent_us").to_pylist()
        ends = column([row[3] for row in rows], "ended_us").to_pylist()
        self._spans: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for row, start, end in zip(rows, starts, ends, strict=True):
            self._spans[row[0], row[1]].append((start, (end or start) + _MARGIN))
        for spans in self._spans.values():
            spans.sort()

    def flags(self, connections: Sequence[str], ids: Sequence[str], at: Any) -> list[bool]:
        """For each change, whether crmkit was writing that deal at that instant."""
        if not self._spans:
            return [False] * len(ids)
        return [
            self._wrote((connection, native), instant)
            for connection, native, instant in zip(connections, ids, at.to_pylist(), strict=True)
        ]

    def _wrote(self, key: tuple[str, str], instant: int) -> bool:
        spans = self._spans.get(key)
        if not spans:
            return False
        place = bisect_right(spans, (instant, 2**63)) - 1
        return place >= 0 and instant <= spans[place][1]
