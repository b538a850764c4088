"""The biggest deals of a stream, kept without keeping the stream."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from decimal import Decimal

from crmkit.report.deals import Deal
from crmkit.report.figures import DealLine

_NO_AMOUNT = Decimal("-Infinity")


class Largest:
    """Keeps the `size` deals with the largest amount; ties go by ref, whatever came first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[Decimal, _Backwards, Deal, int | None]] = []

    def offer(self, deal: Deal, idle_days: int | None = None) -> None:
        """Keep the deal if it is among the largest."""
        if self._size < 1:
            return
        amount = _NO_AMOUNT if deal.amount is None else deal.amount
        entry = (amount, _Backwards(str(deal.row.ref)), deal, idle_days)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def ranked(self) -> list[tuple[Deal, int | None]]:
        """The deals kept, largest first."""
        ordered = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        return [(deal, idle_days) for _, _, deal, idle_days in ordered]


class _Backwards(str):
    """A text that sorts from Z to A, so that the smallest ref wins a tie for the largest amount."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


def deal_line(deal: Deal, stage_names: Mapping[str, str], idle_days: int | None = None) -> DealLine:
    """The deal as one line of a list; an unmapped deal shows its native stage."""
    row = deal.row
    return DealLine(
        ref=str(row.ref),
        name=row.name,
        connection=row.ref.connection,
        stage=stage_names.get(deal.stage or "", row.stage_name),
        owner=row.owner_name or row.owner_email,
        company=row.company_name,
        amount=deal.amount,
        expected_close=row.expected_close,
        idle_days=idle_days,
        url=row.url,
    )
