"""The days and instants that figures are over, as the settings say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from crmkit.report.calendar import Span, quarter_of
from crmkit.report.inputs import Settings


def review_start(settings: Settings) -> datetime:
    """Since when changes are told: what the settings say, else seven local days before `as_of`."""
    if settings.since is not None:
        return settings.since
    local = settings.as_of.astimezone(settings.zone)
    # Local arithmetic: a week with a change of the clocks is still from Monday to Monday.
    return (local - timedelta(days=7)).astimezone(UTC)


def current_period(settings: Settings) -> Span:
    """The period that the settings name, else the fiscal quarter of `as_of`."""
    if settings.period is None:
        return quarter_of(settings.as_of_date, settings.fiscal_start_month)
    start, end = settings.period
    quarter = quarter_of(start, settings.fiscal_start_month)
    key = quarter.key if (quarter.start, quarter.end) == (start, end) else f"{start}/{end}"
    return Span(start, end, key)


def local_date(moment: datetime, settings: Settings) -> date:
    """The local day of an instant in the report's zone."""
    return moment.astimezone(settings.zone).date()


def trailing_window(settings: Settings) -> tuple[date, date]:
    """The local days of the trailing window, which ends with the day of the report."""
    tomorrow = settings.as_of_date + timedelta(days=1)
    return tomorrow - timedelta(days=settings.trailing_days), tomorrow
