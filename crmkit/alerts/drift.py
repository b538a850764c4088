"""How many linked deals of a sync differ although nothing is planned for them.

Looks at the local copy only. The database counts pairs by their stages first; deals are looked at one by one
only if those counts reach what is worth telling.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, groupby
from typing import Any

import sqlalchemy as sa

from crmkit.mapping.stages import StageMap, Unwritable
from crmkit.model import Kind, Outcome
from crmkit.session import Session
from crmkit.sync import schema, tables
from crmkit.sync.state import State
from crmkit.syncing import stage_maps

_ROWS_AT_ONCE = 2000
_ROUNDED = Decimal(1)  # some CRMs keep whole units only


@dataclass(frozen=True, slots=True)
class Side:
    """What one CRM holds of a deal; a common stage is `None` where the stage has none."""

    connection: str
    pipeline_id: str | None
    stage: str | None
    amount: Decimal | None
    currency: str | None


def drifting(session: Session, state: State, sync: str, held: Collection[str], *, least: int = 1) -> int:
    """How many linked deals differ in common stage or amount; those that wait for something left out.

    Args:
        session: The workspace.
        state: Its open store.
        sync: The sync.
        held: Entities that the last run held.
        least: Fewer than this are not worth counting exactly, and give 0.
    """
    settings = session.config.settings.syncs[sync]
    fields = {"stage", "amount"} & set(settings.fields)
    if not fields:
        return 0
    maps = stage_maps(session, state, settings.members)
    if _at_most(state, sync, fields, maps) < least:
        return 0
    links, deals = tables.links.c, schema.deals.c
    query = (
        sa.select(
            links.entity, links.connection, deals.pipeline_id, deals.stage_id, deals.outcome, deals.amount,
            deals.currency,
        )
        .select_from(
            tables.links.join(
                schema.deals, sa.and_(links.connection == deals.connection, links.native_id == deals.id)
            )
        )
        .where(
            links.sync == sync, links.kind == Kind.DEAL.value, links.status == "live",
            deals.gone_at.is_(None), *_nothing_is_due(sync),
        )
        .order_by(links.entity)
    )  # fmt: skip
    count = 0
    with state.read() as db:
        rows = db.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
        for entity, group in groupby(rows, key=lambda row: str(row.entity)):
            if entity not in held and differs(_sides(group, maps), fields, maps):
                count += 1
    return count


def _at_most(state: State, sync: str, fields: Collection[str], maps: Mapping[str, StageMap]) -> int:
    """A number that the drifting deals do not exceed, counted by the database."""
    links = [tables.links.alias(), tables.links.alias()]
    deals = [schema.deals.alias(), schema.deals.alias()]
    one, other = links[0].c, links[1].c
    amounts = [sa.cast(deal.c.amount, sa.Float) for deal in deals]
    apart = sa.func.abs(amounts[0] - amounts[1]) >= float(_ROUNDED) / 2  # a float is not exact
    same_currency = deals[0].c.currency == deals[1].c.currency
    amount_differs = sa.case((sa.and_(same_currency, apart), 1), else_=0)
    stages = [
        column
        for link, deal in zip(links, deals, strict=True)
        for column in (link.c.connection, deal.c.pipeline_id, deal.c.stage_id, deal.c.outcome)
    ]
    joined = links[0].join(
        links[1],
        sa.and_(one.sync == other.sync, one.entity == other.entity, one.connection < other.connection),
    )
    for link, deal in zip(links, deals, strict=True):
        joined = joined.join(
            deal, sa.and_(link.c.connection == deal.c.connection, link.c.native_id == deal.c.id)
        )
    query = (
        sa.select(*stages, amount_differs, sa.func.count())
        .select_from(joined)
        .where(one.sync == sync, one.kind == Kind.DEAL.value, one.status == "live", other.status == "live")
        .group_by(*stages, amount_differs)
    )
    count = 0
    with state.read() as db:
        for row in db.execute(query):
            sides = [
                Side(
                    connection,
                    pipeline_id,
                    _common(maps, connection, pipeline_id, stage_id, outcome),
                    None,
                    None,
                )
                for connection, pipeline_id, stage_id, outcome in (row[:4], row[4:8])
            ]
            if ("amount" in fields and row[8]) or differs(sides, fields, maps):
                count += row[9]
    return count


def _common(
    maps: Mapping[str, StageMap], connection: str, pipeline_id: str | None, stage_id: str | None, outcome: str
) -> str | None:
    common = maps[connection].to_common(pipeline_id, stage_id, Outcome(outcome))
    return common if isinstance(common, str) else None


def _sides(rows: Iterable[sa.Row[*tuple[Any, ...]]], maps: Mapping[str, StageMap]) -> list[Side]:
    return [
        Side(
            row.connection, row.pipeline_id,
            _common(maps, row.connection, row.pipeline_id, row.stage_id, row.outcome),
            row.amount, row.currency,
        )
        for row in rows
    ]  # fmt: skip


def differs(sides: Sequence[Side], fields: Collection[str], maps: Mapping[str, StageMap]) -> bool:
    """Whether two CRMs hold different values that both could hold."""
    for one, other in combinations(sides, 2):
        if "stage" in fields and one.stage != other.stage and one.stage and other.stage:
            able = _can_hold(one, other.stage, maps) and _can_hold(other, one.stage, maps)
            if able:
                return True
        comparable = one.currency == other.currency and one.amount is not None and other.amount is not None
        if "amount" in fields and comparable:
            assert one.amount is not None  # said above
            assert other.amount is not None
            if abs(one.amount - other.amount) >= _ROUNDED:
                return True
    return False


def _can_hold(side: Side, common: str, maps: Mapping[str, StageMap]) -> bool:
    return not isinstance(maps[side.connection].to_native(common, side.pipeline_id), Unwritable)


def _nothing_is_due(sync: str) -> list[sa.ColumnElement[bool]]:
    """Deals that no write, conflict or refusal of the sync waits for."""
    links, refusals = tables.links.c, tables.refusals.c
    return [
        *(
            ~sa.exists().where(table.c.sync == sync, table.c.entity == links.entity)
            for table in (tables.pending, tables.conflicts)
        ),
        # By connection too: so the key of the table finds it.
        ~sa.exists().where(
            refusals.sync == sync, refusals.connection == links.connection, refusals.entity == links.entity
        ),
    ]
