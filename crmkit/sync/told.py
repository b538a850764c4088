"""What people were told about syncs that need somebody, so that nobody is told twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from crmkit.sync.schema import Moment, metadata, text

alerts = sa.Table(
    "alerts",
    metadata,
    text("sync", primary_key=True),
    text("topic", primary_key=True),
    sa.Column("since", Moment, nullable=False),
    # In how many runs in a row it was found.
    sa.Column("times", sa.Integer, nullable=False),
    # When somebody was told last; unset if nobody was yet.
    sa.Column("told_at", Moment),
)


@dataclass(frozen=True, slots=True)
class Known:
    """Something that was found in earlier runs of a sync; see the table's columns."""

    topic: str
    since: datetime
    times: int = 1
    told_at: datetime | None = None


def known(db: sa.Connection, sync: str) -> list[Known]:
    """What is known of a sync."""
    columns = alerts.c
    query = sa.select(columns.topic, columns.since, columns.times, columns.told_at)
    rows = db.execute(query.where(columns.sync == sync).order_by(columns.topic))
    return [Known(row.topic, row.since, row.times, row.told_at) for row in rows]


def replace(db: sa.Connection, sync: str, current: Iterable[Known]) -> None:
    """Keep what is known of a sync now."""
    db.execute(alerts.delete().where(alerts.c.sync == sync))
    rows = [
        {"sync": sync, "topic": one.topic, "since": one.since, "times": one.times, "told_at": one.told_at}
        for one in current
    ]
    if rows:
        db.execute(alerts.insert(), rows)
