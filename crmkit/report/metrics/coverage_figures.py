"""Quota, coverage and pace as data (metrics.md 11)."""

from __future__ import annotations

from datetime import date

from crmkit.report.figures import Figure
from crmkit.report.money import Number
from crmkit.report.ratios import Ratio


class Coverage(Figure):
    """What is won and due against what is to be won in a period.

    Money is in the report currency. `quota` and `remaining_quota` are `None` without a quota,
    and so is the value of every ratio to them. `due_in_period_amount` and its weighted amount
    are of open deals expected to close in the period that are not overdue; `overdue_amount`
    stands beside them. `weighted_excluded_count` of the due deals have no probability.

    `coverage` and `weighted_coverage` have no value where nothing remains: `quota_met` says so.
    `required_coverage` is one over `win_rate_amount`, `None` where that is zero or unknown;
    `coverage_gap_amount` is the pipeline that it asks for and that is not there. `pace` is 1
    on a straight line through the period, `None` before its first day is over.
    """

    quota: Number | None
    won_count: int
    won_amount: Number
    quota_attainment: Ratio
    remaining_quota: Number | None
    quota_met: bool
    due_in_period_count: int
    due_in_period_amount: Number
    weighted_amount: Number
    weighted_excluded_count: int
    overdue_count: int
    overdue_amount: Number
    coverage: Ratio
    coverage_total: Ratio
    weighted_coverage: Ratio
    win_rate_amount: Ratio
    required_coverage: Number | None
    coverage_gap_amount: Number | None
    pace: Number | None


class OwnerCoverage(Coverage):
    """The coverage of one owner over all connections; `owner` is `None` for deals without one."""

    owner_key: str | None
    owner: str | None
    team: str | None


class TeamCoverage(Coverage):
    """The coverage of one team; `team` is `None` for owners in none and deals without an owner."""

    team: str | None


class PeriodCoverage(Figure):
    """Coverage in `[start, end)`, local days.

    `days_elapsed` of its `days` were over at `as_of`.
    """

    key: str
    start: date
    end: date
    days: int
    days_elapsed: int
    whole: Coverage
    teams: tuple[TeamCoverage, ...]
    owners: tuple[OwnerCoverage, ...]


class CoverageReport(Figure):
    """Coverage in the current period and in the one after it.

    The win rates behind `required_coverage` are of deals closed in `[window_start, window_end)`,
    the last four fiscal quarters that were over. `partial_scope` says that a filter of
    pipelines or connections is compared with quotas that know no such filter.
    """

    window_start: date
    window_end: date
    partial_scope: bool
    periods: tuple[PeriodCoverage, ...]
