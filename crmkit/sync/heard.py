"""What webhooks said, kept from before they are answered until it is done.

Events name records to look at and nothing else. A repetition is known by its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from crmkit.sync.schema import Moment, metadata, text
from crmkit.sync.stored import IDS_AT_ONCE

REMEMBERED = timedelta(hours=1)
"""How long digests are kept: much longer than a delivery may be old (five minutes both ways)."""

KEPT = timedelta(days=7)
GIVEN_UP = timedelta(days=1)
"""After this the scheduled pulls have long seen what an event told of."""


class Stage(StrEnum):
    """How far an event has come."""

    WAITING = "waiting"
    PULLED = "pulled"  # its record is up to date here, the syncs have not run yet
    DONE = "done"


webhook_events = sa.Table(
    "webhook_events",
    metadata,
    sa.Column("number", sa.Integer, sa.Identity(), primary_key=True),
    text("connection", nullable=False),
    sa.Column("received_at", Moment, nullable=False),
    text("digest", nullable=False),
    text("kind", nullable=False),
    text("id", nullable=False),
    text("op", nullable=False),
    text("state", nullable=False),
)
sa.Index("webhook_events_open", webhook_events.c.state, webhook_events.c.number)

webhook_digests = sa.Table(
    "webhook_digests",
    metadata,
    text("digest", primary_key=True),
    sa.Column("seen_at", Moment, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Told:
    """One good delivery: its digest and the records it names."""

    connection: str
    digest: str
    hints: tuple[tuple[str, str, str], ...]  # kind, id, op
    at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event; see the table's columns."""

    number: int
    connection: str
    kind: str
    id: str
    op: str
    state: Stage
    received_at: datetime


def keep(db: sa.Connection, told: Sequence[Told]) -> list[bool]:
    """Store deliveries; for each whether it is new."""
    digests = webhook_digests.c
    wanted = list(dict.fromkeys(one.digest for one in told))
    known: set[str] = set()
    for at in range(0, len(wanted), IDS_AT_ONCE):
        query = sa.select(digests.digest).where(digests.digest.in_(wanted[at : at + IDS_AT_ONCE]))
        known |= set(db.execute(query).scalars())
    new: list[bool] = []
    events: list[dict[str, object]] = []
    seen: list[dict[str, object]] = []
    for one in told:
        new.append(one.digest not in known)
        if one.digest in known:
            continue
        known.add(one.digest)
        seen.append({"digest": one.digest, "seen_at": one.at})
        events += [
            {
                "connection": one.connection, "received_at": one.at, "digest": one.digest,
                "kind": kind, "id": native, "op": op, "state": Stage.WAITING.value,
            }
            for kind, native, op in one.hints
        ]  # fmt: skip
    if seen:
        db.execute(webhook_digests.insert(), seen)
    if events:
        db.execute(webhook_events.insert(), events)
    return new


def unfinished(db: sa.Connection, connections: Sequence[str]) -> list[Event]:
    """Events of connections that are not done, oldest first."""
    table = webhook_events.c
    query = (
        sa.select(
            table.number, table.connection, table.kind, table.id, table.op, table.state, table.received_at
        )
        .where(table.state != Stage.DONE.value, table.connection.in_(connections))
        .order_by(table.number)
    )
    return [
        Event(row.number, row.connection, row.kind, row.id, row.op, Stage(row.state), row.received_at)
        for row in db.execute(query)
    ]


def move(db: sa.Connection, numbers: Iterable[int], stage: Stage) -> None:
    """Note how far events have come."""
    wanted = sorted(numbers)
    for at in range(0, len(wanted), IDS_AT_ONCE):
        some = webhook_events.c.number.in_(wanted[at : at + IDS_AT_ONCE])
        db.execute(webhook_events.update().where(some).values(state=stage.value))


def prune(db: sa.Connection, now: datetime) -> None:
    """Forget digests and finished events that are old, and give up events that nobody could handle."""
    events = webhook_events.c
    db.execute(webhook_digests.delete().where(webhook_digests.c.seen_at < now - REMEMBERED))
    db.execute(
        webhook_events.delete().where(
            sa.or_(
                sa.and_(events.state == Stage.DONE.value, events.received_at < now - KEPT),
                events.received_at < now - KEPT - GIVEN_UP,
            )
        )
    )
    overdue = sa.and_(events.state != Stage.DONE.value, events.received_at < now - GIVEN_UP)
    db.execute(webhook_events.update().where(overdue).values(state=Stage.DONE.value))
