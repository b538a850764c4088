"""The whole pipeline report as data."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from crmkit.report.figures import (
    Ageing,
    CloseFigures,
    ConnectionFigures,
    DealLine,
    DueFigures,
    Figure,
    Items,
    NativeStageFigures,
    OpenFigures,
    OpenSummary,
    OwnerFigures,
    StageFigures,
    Velocity,
)
from crmkit.report.metrics.conversion_figures import Conversion
from crmkit.report.metrics.coverage_figures import CoverageReport
from crmkit.report.metrics.flow_figures import Waterfalls
from crmkit.report.metrics.focus import Focus
from crmkit.report.metrics.followups import FollowUps
from crmkit.report.metrics.forecast_figures import Forecast
from crmkit.report.metrics.funnel import Funnel
from crmkit.report.metrics.hygiene.figures import Hygiene
from crmkit.report.metrics.movement_figures import Movement
from crmkit.report.metrics.renewals import Renewals
from crmkit.report.metrics.result_figures import ResultsInParts
from crmkit.report.metrics.slip_figures import Slips
from crmkit.report.metrics.stuck_figures import StuckDeals
from crmkit.report.metrics.summary import Summary


class PipelineReport(Figure):
    """The pipeline over all connections at `as_of`.

    `records` were read, `deals` are left once linked ones count once and the scope is
    applied. `value_periods` counts open deals by what their amount stands for;
    `mixed_value_periods` says that sums add different ones. `waterfalls` and `movement` begin
    at `since`.
    """

    kind: Literal["pipeline_report"] = "pipeline_report"
    version: Literal[1] = 1
    as_of: datetime
    as_of_date: date
    since: datetime
    time_zone: str
    report_currency: str
    amount_basis: str
    fiscal_start_month: int
    stale_days: int
    stale_warning_days: int
    scope: dict[str, tuple[str, ...]]
    record_order: tuple[str, ...]
    records: int
    deals: int
    value_periods: dict[str, int]
    mixed_value_periods: bool
    open: OpenSummary
    by_stage: tuple[StageFigures, ...]
    by_native_stage: tuple[NativeStageFigures, ...]
    by_connection: tuple[ConnectionFigures, ...]
    by_owner: tuple[OwnerFigures, ...]
    by_close_month: tuple[CloseFigures, ...]
    by_close_quarter: tuple[CloseFigures, ...]
    overdue: OpenFigures
    no_close_date: OpenFigures
    due_in_period: DueFigures
    ageing: Ageing
    trailing: ResultsInParts
    period: ResultsInParts
    velocity: tuple[Velocity, ...]
    top_deals: tuple[DealLine, ...]
    items: Items
    summary: Summary
    waterfalls: Waterfalls
    movement: Movement
    slips: Slips
    conversion: Conversion
    funnel: Funnel
    forecast: Forecast
    coverage: CoverageReport
    stuck: StuckDeals
    hygiene: Hygiene
    follow_ups: FollowUps
    focus: Focus
    renewals: Renewals

    @property
    def since_date(self) -> date:
        """The local day of `since`."""
        return self.since.astimezone(ZoneInfo(self.time_zone)).date()
