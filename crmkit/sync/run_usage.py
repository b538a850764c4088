"""What each run did and used in each CRM, kept for `crmkit runs` and for metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.usage import Usage
from crmkit.sync.schema import metadata, text


@dataclass(slots=True)
class RunUsage:
    """One run in one CRM; `connection` is empty for what waits between several CRMs.

    Attributes:
        read: Records received.
        changed: Of these, new or different ones.
        gone: Records proven deleted or merged.
        unreadable: Records that could not be read.
        held: What is not written and waits for a person or another write.
        requests: Requests sent, repeated ones too.
        retries: Requests that repeated an earlier one.
        waited_seconds: Time that threads spent waiting for a limit, added up.
    """

    connection: str
    read: int = 0
    changed: int = 0
    gone: int = 0
    unreadable: int = 0
    created: int = 0
    updated: int = 0
    deleted: int = 0
    adopted: int = 0
    stale: int = 0
    held: int = 0
    refused: int = 0
    unknown: int = 0
    unsent: int = 0
    blocked: int = 0
    requests: int = 0
    retries: int = 0
    waited_seconds: float = 0.0

    def used(self, usage: Usage) -> RunUsage:
        """Itself, with what its connection used since the run before."""
        self.requests, self.retries, self.waited_seconds = usage.take()
        return self


COUNTS = tuple(one.name for one in fields(RunUsage) if one.name not in ("connection", "waited_seconds"))
OUTCOMES = (
    "created", "updated", "deleted", "adopted", "stale", "refused", "unknown", "unsent", "blocked",
)  # fmt: skip

run_usage = sa.Table(
    "run_usage",
    metadata,
    sa.Column("run", sa.Integer, primary_key=True),
    text("connection", primary_key=True),
    *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in COUNTS),
    sa.Column("waited_seconds", sa.Float, nullable=False, server_default="0"),
)


def keep(db: sa.Connection, run: int, usages: Iterable[RunUsage]) -> None:
    """Store what a run did, in the transaction that ends it."""
    rows = [{"run": run, **asdict(one)} for one in usages]
    if rows:
        db.execute(run_usage.insert(), rows)


def of_runs(db: sa.Connection, runs: Iterable[int]) -> Mapping[int, list[RunUsage]]:
    """What runs did per CRM, in the order of the connections' names; older runs tell nothing."""
    found: dict[int, list[RunUsage]] = {}
    columns = run_usage.c
    query = sa.select(run_usage).where(columns.run.in_(list(runs))).order_by(columns.run, columns.connection)
    for row in db.execute(query):
        values: dict[str, Any] = dict(row._mapping)
        found.setdefault(values.pop("run"), []).append(RunUsage(**values))
    return found
