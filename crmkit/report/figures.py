"""The pipeline report as data: every field is a promise to readers of the JSON.

Money is in the report currency and exact; decimals are strings of digits in JSON.
"""

from __future__ import annotations

from datetime import date

from pydantic import BaseModel, ConfigDict

from crmkit.model import Outcome
from crmkit.report.money import Number
from crmkit.report.ratios import Average, Ratio


class Figure(BaseModel):
    """What all results share: frozen, closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenFigures(Figure):
    """Open deals of one group (metrics.md 3).

    `amount_missing_count` deals hold no amount and add 0; `fx_missing_count` deals have
    one that no rate converts and are left out of all money. `weighted_excluded_count`
    deals, worth `weighted_excluded_amount`, have no probability.
    """

    count: int
    amount: Number
    amount_missing_count: int
    fx_missing_count: int
    weighted_amount: Number
    weighted_excluded_count: int
    weighted_excluded_amount: Number


class OpenSummary(OpenFigures):
    """All open deals in scope, with the spread of their amounts."""

    average_amount: Average
    median_amount: Average
    top_deal_share: Ratio


class ConnectionPart(Figure):
    """One connection's part of a stage."""

    connection: str
    count: int
    amount: Number


class StageFigures(OpenFigures):
    """Open deals in a common stage; `stage` is `None` for those in unmapped stages."""

    stage: str | None
    name: str | None
    outcome: Outcome | None
    by_connection: tuple[ConnectionPart, ...]


class NativeStageFigures(OpenFigures):
    """Open deals in one stage of one pipeline of one connection."""

    connection: str
    pipeline_id: str | None
    pipeline: str | None
    stage_id: str | None
    stage: str | None
    common_stage: str | None


class ConnectionFigures(OpenFigures):
    """Open deals whose values come from this connection; `records` counts what was read there."""

    connection: str
    records: int


class OwnerFigures(OpenFigures):
    """Open deals of one owner over all connections; `owner` is `None` for those without one."""

    owner: str | None
    active: bool


class CloseFigures(OpenFigures):
    """Open deals expected to close in `[start, end)`, days; none of them is overdue."""

    key: str
    start: date
    end: date


class DueFigures(OpenFigures):
    """Open deals expected to close in `[start, end)`, days: what the waterfall of the period ends with.

    `overdue_count` of them, worth `overdue_amount`, should have closed before `as_of`; coverage and
    forecast leave those out (metrics.md 11).
    """

    key: str
    start: date
    end: date
    overdue_count: int
    overdue_amount: Number


class LostPart(Figure):
    """Lost deals of one kind or one reason; `name` is `None` where none was given."""

    name: str | None
    count: int
    amount: Number


class Closed(Figure):
    """Deals won or lost in a period."""

    count: int
    amount: Number
    amount_missing_count: int
    fx_missing_count: int


class WinRates(Figure):
    """Win rates by name (metrics.md 8); deals lost as duplicates are in none of them.

    `count`, `amount` and `competitive` are over deals closed in the period; `created`
    and `created_resolved` over deals created in it, `created_open` being the share of
    those that is still open. `strict` counts open deals that are overdue or stale
    at `as_of` as lost.
    """

    count: Ratio
    amount: Ratio
    competitive: Ratio
    created: Ratio
    created_resolved: Ratio
    created_open: Ratio
    strict: Ratio


class PeriodResults(Figure):
    """What happened in `[start, end)`, local days (metrics.md 4, 8, 10)."""

    start: date
    end: date
    won: Closed
    lost: Closed
    created: Closed
    lost_by_kind: tuple[LostPart, ...]
    lost_by_reason: tuple[LostPart, ...]
    net_new_pipeline: Number
    average_won_amount: Average
    median_won_amount: Average
    win_rates: WinRates
    average_cycle_days: Average
    median_cycle_days: Average
    average_lost_cycle_days: Average
    open_older_than_cycle_count: int | None
    closed_at_estimated_count: int


class AgeBucket(Figure):
    """Open deals by age in local days, both ends included; an end of `None` is open."""

    first_day: int | None
    last_day: int | None
    count: int
    amount: Number


class DealLine(Figure):
    """One deal in a list; `amount` is in the report currency."""

    ref: str
    name: str
    connection: str
    stage: str | None
    owner: str | None
    company: str | None
    amount: Number | None
    expected_close: date | None
    idle_days: int | None
    url: str | None


class Idle(Figure):
    """Open deals idle for longer than a threshold."""

    count: int
    amount: Number


class Ageing(Figure):
    """How old and how idle the open deals are (metrics.md 13).

    `age_buckets` ends with a bucket from `None` to `None` for deals of unknown age.
    `stale` reaches the threshold of its stage, `warning` only the warning threshold.
    `activity_unknown_count` deals are judged by their changes alone, because no
    activity is known. `stale_deals` holds the biggest ones, not all.
    """

    deal_age_days: Average
    median_deal_age_days: Average
    median_stage_age_days: Average
    p90_stage_age_days: Average
    median_idle_days: Average
    age_buckets: tuple[AgeBucket, ...]
    stale: Idle
    warning: Idle
    idle_unknown_count: int
    activity_unknown_count: int
    stale_deals: tuple[DealLine, ...]


class Velocity(Figure):
    """Money per day through one pipeline over the trailing window (metrics.md 10); never added up."""

    connection: str
    pipeline_id: str | None
    pipeline: str | None
    open_count: int
    average_won_amount: Average
    win_rate: Ratio
    average_cycle_days: Average
    per_day: Number | None


class MissingRate(Figure):
    """A deal in scope that is left out of all money: no rate for its currency on its day."""

    ref: str
    name: str
    connection: str
    outcome: Outcome
    amount: Number
    currency: str | None
    day: date
    url: str | None


class UnmappedStage(Figure):
    """A native stage without a common stage, and the deals in it."""

    connection: str
    pipeline_id: str | None
    pipeline: str | None
    stage_id: str | None
    stage: str | None
    deals: int
    open_deals: int
    open_amount: Number


class Problem(Figure):
    """A deal whose values cannot be right; `code` says what is wrong."""

    code: str
    ref: str
    name: str
    connection: str
    url: str | None


class Items(Figure):
    """What waits for a person: complete lists, nothing left out."""

    fx_missing: tuple[MissingRate, ...]
    unmapped: tuple[UnmappedStage, ...]
    errors: tuple[Problem, ...]
