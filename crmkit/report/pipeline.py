"""The pipeline report: every section, from the fact tables."""

from __future__ import annotations

from crmkit.report.facts.engine import Facts
from crmkit.report.figures import PipelineReport
from crmkit.report.inputs import AmountBasis, Settings
from crmkit.report.metrics import ageing, items, open_deals, results


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
    trailing, period = (
        results.results(facts, settings, window, overdue_or_stale=lingering)
        for window in (results.trailing_window(settings), results.report_period(settings))
    )
    scope = settings.scope
    return PipelineReport(
        as_of=settings.as_of,
        as_of_date=settings.as_of_date,
        time_zone=settings.time_zone,
        report_currency=settings.report_currency.strip().upper(),
        amount_basis=settings.amount_basis.value,
        fiscal_start_month=settings.fiscal_start_month,
        stale_days=settings.stale_days,
        stale_warning_days=settings.stale_warning_days,
        scope={
            "connections": tuple(sorted(scope.connections)),
            "pipelines": tuple(sorted(scope.pipelines)),
            "owners": tuple(sorted(scope.owners)),
            "teams": tuple(sorted(scope.teams)),
        },
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
        ageing=ageing.ageing(facts, settings),
        trailing=trailing,
        period=period,
        velocity=results.velocity(facts, settings),
        top_deals=open_deals.top_deals(facts, settings),
        items=items.items(facts, settings),
    )
