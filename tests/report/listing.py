"""Lines of deals for pages, made from the rows of the other report tests."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal

from crmkit.model import LostKind, Outcome
from crmkit.report.deals import Appraiser, Deal, logical_rows
from crmkit.report.inputs import Links, PipelineRow, Settings
from crmkit.report.listed import LISTED, ListedDeal
from crmkit.report.rates import Rates

_DAY_SECONDS = 86_400


def listed_deals(
    rows: Iterable[PipelineRow], links: Links, rates: Rates, settings: Settings, *, limit: int = LISTED
) -> tuple[tuple[ListedDeal, ...], int]:
    """The deals in scope and how many more there are than `limit`.

    Open deals come first, the largest first; then closed ones, the latest first. Keeps
    no more than `limit` deals in memory.
    """
    appraiser = Appraiser(rates, settings)
    names = _OwnerNames()
    count = 0

    def in_scope() -> Iterator[Deal]:
        nonlocal count
        read = (row for row in rows if settings.scope.reads(row))
        for row in logical_rows(read, links, settings):
            if settings.scope.holds(row):
                count += 1
                names.add(row)
                yield appraiser.value(row)

    stages = {
        (one.connection, one.pipeline_id, one.stage_id): one.stage_name for one in settings.native_stages
    }
    kept = heapq.nsmallest(limit, in_scope(), key=_order)
    found = tuple(_listed(deal, settings.as_of, names.of(deal.row), stages) for deal in kept)
    return found, count - len(found)


class _OwnerNames:
    """One name for each owner, the one that the figures by owner show."""

    def __init__(self) -> None:
        self._names: dict[tuple[str | None, bool], str] = {}

    def add(self, row: PipelineRow) -> None:
        name = _own_name(row)
        if name is not None:
            key = (_owner_key(row), row.outcome is Outcome.OPEN)
            self._names[key] = min(name, self._names.get(key, name))

    def of(self, row: PipelineRow) -> str | None:
        key = _owner_key(row)
        if key is None:
            return None
        return self._names.get((key, True)) or self._names.get((key, False))


def _own_name(row: PipelineRow) -> str | None:
    return row.owner_name or row.owner_email or row.owner_id


def _order(deal: Deal) -> tuple[bool, Decimal, int, str]:
    is_open = deal.row.outcome is Outcome.OPEN
    amount = -(deal.amount or Decimal(0)) if is_open else Decimal(0)
    closed = 0 if is_open or deal.closed_on is None else -deal.closed_on.toordinal()
    return (not is_open, amount, closed, str(deal.row.ref))


def _listed(
    deal: Deal, as_of: datetime, owner: str | None, stages: Mapping[tuple[str, str, str], str]
) -> ListedDeal:
    row = deal.row
    is_open = row.outcome is Outcome.OPEN
    idle = _idle_seconds(row, as_of) if is_open else None
    return ListedDeal(
        ref=str(row.ref),
        name=row.name,
        connection=row.ref.connection,
        pipeline=row.pipeline_name or None,
        native_stage=stages.get((row.ref.connection, row.pipeline_id or "", row.stage_id or ""))
        or row.stage_name
        or row.stage_id
        or None,
        stage=deal.stage,
        status=row.outcome.value,
        lost_kind=(row.lost_kind or LostKind.LOST).value if row.outcome is Outcome.LOST else None,
        lost_reason=row.lost_reason,
        owner=owner,
        company=row.company_name,
        amount=deal.amount,
        native_amount=deal.native_amount,
        currency=row.currency,
        # A probability that cannot be right counts as none, as it does in the figures.
        probability=None if deal.weighted is None else row.probability,
        weighted=deal.weighted if is_open and deal.amount is not None else None,
        expected_close=row.expected_close,
        created_on=deal.created_on,
        closed_on=deal.closed_on,
        stage_age_days=_stage_age(row, as_of) if is_open else None,
        idle_days=None if idle is None else idle // _DAY_SECONDS,
        url=row.url,
    )


def _stage_age(row: PipelineRow, as_of: datetime) -> int | None:
    if row.stage_entered_at is None or row.stage_entered_at > as_of:
        return None
    return (as_of - row.stage_entered_at).days


def _idle_seconds(row: PipelineRow, as_of: datetime) -> int | None:
    signs = (
        row.last_activity_at,
        row.last_human_change_at or row.modified_at,
        row.stage_entered_at,
        row.created_at,
    )
    past = [sign for sign in signs if sign is not None and sign <= as_of]
    return int((as_of - max(past)).total_seconds()) if past else None


def _owner_key(row: PipelineRow) -> str | None:
    if row.owner_key or row.owner_email:
        return row.owner_key or row.owner_email
    return f"{row.ref.connection}:{row.owner_id}" if row.owner_id else None
