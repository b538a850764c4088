"""The pipeline report: every section, from the fact tables."""

from __future__ import annotations

from crmkit.report.facts.engine import Facts
from crmkit.report.inputs import AmountBasis, Settings
from crmkit.report.metrics import ageing, items, open_deals, results
from crmkit.report.metrics.conversion import conversion
from crmkit.report.metrics.coverage import coverage
from crmkit.report.metrics.focus import focus
from crmkit.report.metrics.followups import follow_ups
from crmkit.report.metrics.forecast import forecast
from crmkit.report.metrics.funnel import funnel
from crmkit.report.metrics.hygiene import hygiene
from crmkit.report.metrics.movement import movement
from crmkit.report.metrics.periods import current_period, review_start, trailing_window
from crmkit.report.metrics.renewals import renewals
from crmkit.report.metrics.result_parts import results_in_parts
from crmkit.report.metrics.slip import slips
from crmkit.report.metrics.stuck import stuck
from crmkit.report.metrics.summary import summary
from crmkit.report.metrics.waterfall import waterfalls
from crmkit.report.whole import PipelineReport


def pipeline_report(facts: Facts, settings: Settings) -> PipelineReport:
    """The figures of all deals in scope at `settings.as_of` (metrics.md 3 to 15).

    Args:
        facts: The fact tables of the connections.
        settings: The day, the zone, the outline and the thresholds.
    """
    counted = open_deals.records(facts, settings)
    periods = open_deals.value_periods(facts, settings)
    months, quarters = open_deals.by_close(facts, settings)
    lingering = ageing.overdue_or_stale(facts, settings)
    span = current_period(settings)
    trailing, period = (
        results_in_parts(facts, settings, window, overdue_or_stale=lingering)
        for window in (trailing_window(settings), (span.start, span.end))
    )
    converted = conversion(facts, settings)
    return PipelineReport(
        as_of=settings.as_of,
        as_of_date=settings.as_of_date,
        since=review_start(settings),
        time_zone=settings.time_zone,
        report_currency=settings.report_currency.strip().upper(),
        amount_basis=settings.amount_basis.value,
        fiscal_start_month=settings.fiscal_start_month,
        stale_days=settings.stale_days,
        stale_warning_days=settings.stale_warning_days,
        scope=settings.scope.words,
        record_order=settings.record_order,
        records=sum(counted.values()),
        deals=open_deals.deal_count(facts, settings),
        value_periods=periods,
        mixed_value_periods=settings.amount_basis is AmountBasis.AS_ENTERED and len(periods) > 1,
        open=open_deals.summary(facts, settings),
        by_stage=open_deals.by_stage(facts, settings),
        by_native_stage=open_deals.by_native_stage(facts, settings),
        by_connection=open_deals.by_connection(facts, settings, counted),
        by_owner=open_deals.by_owner(facts, settings),
        by_close_month=months,
        by_close_quarter=quarters,
        overdue=open_deals.overdue(facts, settings),
        no_close_date=open_deals.no_close_date(facts, settings),
        due_in_period=open_deals.due_in(facts, settings, span),
        ageing=ageing.ageing(facts, settings),
        trailing=trailing,
        period=period,
        velocity=results.velocity(facts, settings),
        top_deals=open_deals.top_deals(facts, settings),
        items=items.items(facts, settings),
        summary=summary(facts, settings),
        waterfalls=waterfalls(facts, settings),
        movement=movement(facts, settings),
        slips=slips(facts, settings),
        conversion=converted,
        funnel=funnel(facts, settings, converted),
        forecast=forecast(facts, settings),
        coverage=coverage(facts, settings),
        stuck=stuck(facts, settings),
        hygiene=hygiene(facts, settings),
        follow_ups=follow_ups(facts, settings),
        focus=focus(facts, settings),
        renewals=renewals(facts, settings),
    )
