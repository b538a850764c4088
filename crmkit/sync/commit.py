"""Store what a plan found out, in one transaction, before anything is written to a CRM."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from crmkit.sync import tables
from crmkit.sync.computed import Computed
from crmkit.sync.group import Group
from crmkit.sync.hub import Intent, encode
from crmkit.sync.lease import Lease
from crmkit.sync.state import State


def commit(
    group: Group,
    state: State,
    lease: Lease,
    found: Computed,
    run: int,
    now: datetime,
    settled: Mapping[str, bool] | None = None,
) -> None:
    """Make the merge lasting: hub values, agreements, links, conflicts, positions.

    Args:
        group: The sync group.
        state: The open store.
        lease: The group's lease.
        found: What the planner found.
        run: Number of the run.
        now: The time.
        settled: Intents that the merge has taken into account, and whether they had landed.
    """
    hub = group.hub
    with state.write() as db:
        lease.guard(db)
        _keep_group(db, group, now)
        hub.put_entities(db, list(found.entities.values()))
        hub.put_links(db, list(found.links.values()))
        hub.remember(db, [{**row, "run": run} for row in found.values])
        for entity, name in found.settled:
            hub.drop_conflict(db, entity, name)
        for conflict in found.conflicts:
            hub.put_conflict(db, conflict)
        for id, native in found.landed:
            hub.journal_end(db, id, Intent.ACKED, now, native_id=native, reason="seen under its key")
        for id, landed in (settled or {}).items():
            state_now = Intent.ACKED if landed else Intent.DROPPED
            hub.journal_end(db, id, state_now, now, reason="settled by reading the record again")
        for connection, entity, act in found.allowed:
            hub.drop_refusals(db, connection, entity, act)
        if found.reviews is not None:
            hub.put_reviews(db, found.reviews)
        hub.set_pending(db, add=found.pending, remove=found.examined - found.pending)
        hub.move(db, found.positions)


def generation(group: Group, db: sa.Connection) -> str:
    """A name for the state that a plan was made from: another pull or run gives another one."""
    table = tables.changes
    latest = db.execute(
        sa.select(table.c.connection, table.c.kind, sa.func.max(table.c.number))
        .where(table.c.connection.in_(list(group.members)))
        .group_by(table.c.connection, table.c.kind)
        .order_by(table.c.connection, table.c.kind)
    ).all()
    row = db.execute(
        sa.select(tables.groups.c.generation).where(tables.groups.c.sync == group.name)
    ).one_or_none()
    written = db.execute(
        sa.select(sa.func.count(), sa.func.max(tables.journal.c.ended_at)).where(
            tables.journal.c.sync == group.name
        )
    ).one()
    content = [[list(one) for one in latest], row.generation if row else 0, written[0], str(written[1])]
    return hashlib.sha256(encode(content).encode()).hexdigest()[:16]


def young(group: Group, db: sa.Connection, now: datetime, wait_seconds: float) -> bool:
    """Whether the group's memory is so new that writes of a lost one may still land."""
    created = db.execute(
        sa.select(tables.groups.c.created_at).where(tables.groups.c.sync == group.name)
    ).scalar()
    return created is None or (now - created).total_seconds() < wait_seconds


def _keep_group(db: sa.Connection, group: Group, now: datetime) -> None:
    table = tables.groups
    where = table.c.sync == group.name
    row = db.execute(sa.select(table).where(where)).one_or_none()
    if row is None:
        db.execute(
            table.insert().values(
                sync=group.name, digest=group.digest, accounts=group.accounts, generation=1, created_at=now
            )
        )
        return
    accounts = {**row.accounts, **group.accounts}
    db.execute(
        table.update()
        .where(where)
        .values(digest=group.digest, accounts=accounts, generation=row.generation + 1)
    )
