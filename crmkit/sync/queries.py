"""What commands ask the state store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from crmkit.errors import StateError
from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage
from crmkit.sync import schema
from crmkit.sync.state import State


def quarantined(state: State, connections: Sequence[str]) -> list[dict[str, Any]]:
    """Records that could not be read, in a fixed order."""
    table = schema.quarantine
    query = (
        sa.select(table)
        .where(table.c.connection.in_(connections))
        .order_by(table.c.connection, table.c.kind, table.c.id)
    )
    with state.read() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def pulled(state: State, connections: Sequence[str]) -> None:
    """Make sure that there is something to work on.

    Raises:
        StateError: A connection has not been pulled yet.
    """
    table = schema.cursors
    query = sa.select(table.c.connection).where(
        table.c.kind == Kind.DEAL.value, sa.or_(table.c.finished, table.c.records > 0, table.c.walk > 1)
    )
    with state.read() as db:
        known = set(db.execute(query).scalars())
    missing = [name for name in connections if name not in known]
    if missing:
        raise StateError(
            f"{missing[0]}: nothing has been pulled yet", hint=f"Run `crmkit pull {' '.join(missing)}` first."
        )


def pipelines(state: State, connection: str) -> list[Pipeline]:
    """The pipelines of a connection with their stages, in order."""
    stages = schema.stages
    table = schema.pipelines
    with state.read() as db:
        by_pipeline: dict[str, list[Stage]] = {}
        for row in db.execute(
            sa.select(stages)
            .where(stages.c.connection == connection)
            .order_by(stages.c.pipeline_id, stages.c.order, stages.c.id)
        ).mappings():
            by_pipeline.setdefault(row["pipeline_id"], []).append(
                Stage(
                    id=row["id"],
                    name=row["name"],
                    order=row["order"],
                    outcome=Outcome(row["outcome"]),
                    probability=row["probability"],
                    archived=row["archived"],
                )
            )
        query = (
            sa.select(table)
            .where(table.c.connection == connection, table.c.gone_at.is_(None))
            .order_by(table.c.order, table.c.id)
        )
        return [
            Pipeline(
                ref=Ref(connection, Kind.PIPELINE, row["id"]),
                name=row["name"],
                order=row["order"],
                archived=row["archived"],
                stages=tuple(by_pipeline.get(row["id"], ())),
            )
            for row in db.execute(query).mappings()
        ]
