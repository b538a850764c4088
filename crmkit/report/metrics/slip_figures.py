"""What became of the deals that were due in a period, as data (metrics.md 7)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from crmkit.report.figures import Figure
from crmkit.report.metrics.flow_figures import FlowDeal, HistoryStart
from crmkit.report.money import Number
from crmkit.report.ratios import Ratio

SlipOutcome = Literal["won", "lost", "pushed", "overdue", "removed", "pending"]
OUTCOMES: tuple[SlipOutcome, ...] = ("won", "lost", "pushed", "overdue", "removed", "pending")


class SlipPart(Figure):
    """The deals of one outcome, by what they were worth when the period began.

    Lines of `overdue` have the reason `date_cleared` where there is no close date any more.
    """

    count: int
    amount: Number
    refs: tuple[str, ...]
    deals: tuple[FlowDeal, ...]


class Slip(Figure):
    """The cohort of a period: open at its start and due in it, and what each deal was at its end.

    While the period runs (`complete` is false) outcomes are those of `judged_at`, the rates
    are those so far, and `pending` holds what may still close in time; afterwards it is empty.
    `slip_rate_count` and `slip_rate_amount` count pushed and overdue deals; `close_on_time_rate` won
    ones, `miss_rate` all others. `commit_slip_rate` is the slip rate by count of deals in the
    forecast category commit when the period began. Ratios over an empty cohort are `None`.
    `fx_missing_count` deals have no exchange rate and are left out of the amounts.
    """

    key: str
    start: date
    end: date
    judged_at: datetime
    complete: bool
    count: int
    amount: Number
    outcomes: dict[SlipOutcome, SlipPart]
    slip_rate_count: Ratio
    slip_rate_amount: Ratio
    close_on_time_rate: Ratio
    miss_rate: Ratio
    commit_slip_rate: Ratio
    fx_missing_count: int
    history_starts: tuple[HistoryStart, ...]


class Slips(Figure):
    """The current period and complete ones before it, the latest first, as far as history reaches."""

    period: Slip | None
    previous: tuple[Slip, ...]
