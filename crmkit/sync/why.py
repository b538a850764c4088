"""Where a value came from: the hub's history of a field, and the writes that followed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from crmkit.errors import UsageError
from crmkit.mapping.custom import Plain
from crmkit.model import Ref
from crmkit.sync import schema, tables
from crmkit.sync.group import Group
from crmkit.sync.hub import decode
from crmkit.sync.state import State


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to a field.

    `what` is `seen` (a pull found a new value in a CRM), `decided` (the hub took a value)
    or `written` (a CRM was written).
    """

    at: datetime
    what: str
    connection: str
    field: str
    old: Plain
    new: Plain
    reason: str
    run: int | None = None


def why(group: Group, state: State, ref: Ref, field: str | None = None) -> list[Step]:
    """What happened to a record's fields, oldest first.

    Raises:
        UsageError: The record does not take part in the sync.
    """
    with state.read() as db:
        link = group.hub.links_to(db, ref.connection, ref.kind, [ref.id]).get(ref.id)
        if link is None:
            raise UsageError(
                f"{ref} does not take part in {group.name}",
                hint="Name a record as connection:deal:id, for example hubspot-us:deal:4711.",
            )
        steps = [*_decided(db, group, link.entity), *_written(db, group, link.entity)]
        for one in group.hub.links_of(db, [link.entity])[link.entity]:
            steps += _seen(db, group, one.connection, one.kind.value, one.native_id)
    chosen = [step for step in steps if field is None or step.field == field]
    return sorted(chosen, key=lambda step: (step.at, _ORDER[step.what]))


_ORDER = {"seen": 0, "decided": 1, "written": 2}
_COLUMNS = {
    "pipeline_id": "stage", "stage_id": "stage", "outcome": "stage", "currency": "amount",
    "value_period": "amount", "owner_id": "owner", "companies": "company",
}  # fmt: skip


def _decided(db: sa.Connection, group: Group, entity: str) -> list[Step]:
    table = tables.values
    query = (
        sa.select(table).where(table.c.sync == group.name, table.c.entity == entity).order_by(table.c.number)
    )
    steps: list[Step] = []
    last: dict[str, Plain] = {}
    for row in db.execute(query):
        value = decode(row.value)
        losers = "; ".join(f"{member} had {lost}" for member, lost in decode(row.losers))
        reason = f"{row.rule}; overruled: {losers}" if losers else row.rule
        steps.append(
            Step(row.at, "decided", row.origin, row.field, last.get(row.field), value, reason, row.run)
        )
        last[row.field] = value
    return steps


def _written(db: sa.Connection, group: Group, entity: str) -> list[Step]:
    return [
        Step(
            entry.ended_at or entry.sent_at,
            "written",
            entry.connection,
            name,
            entry.before.get(name),
            native,
            f"{entry.act}, {entry.state}{': ' + entry.reason if entry.reason else ''}; "
            f"{entry.rules.get(name, '')}",
            entry.run,
        )
        for entry in group.hub.journal_of(db, entity)
        for name, (native, _) in entry.sent.items()
    ]


def _seen(db: sa.Connection, group: Group, connection: str, kind: str, native: str) -> list[Step]:
    table = schema.history
    query = (
        sa.select(table)
        .where(table.c.connection == connection, table.c.kind == kind, table.c.id == native)
        .order_by(table.c.number)
    )
    return [
        Step(
            row.observed_at, "seen", connection, _COLUMNS.get(row.field, row.field), row.old, row.new,
            f"found in {connection} ({row.field})",
        )
        for row in db.execute(query)
        if _COLUMNS.get(row.field, row.field) in group.fields
    ]  # fmt: skip
