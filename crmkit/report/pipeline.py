"""The pipeline report: one pass over the rows of all connections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from crmkit.model import Outcome
from crmkit.report.ageing import AgeingFold
from crmkit.report.calendar import quarter_of
from crmkit.report.deals import Appraiser, Deal, logical_rows
from crmkit.report.figures import Items, MissingRate, PipelineReport, Problem, UnmappedStage
from crmkit.report.inputs import AmountBasis, Links, PipelineRow, Settings
from crmkit.report.largest import Largest, deal_line
from crmkit.report.money import ZERO, add
from crmkit.report.open_deals import OpenFold
from crmkit.report.rates import Rates
from crmkit.report.results import ResultsFold, cycle_days


def pipeline_report(
    rows: Iterable[PipelineRow], links: Links, rates: Rates, settings: Settings
) -> PipelineReport:
    """The figures of all deals in scope at `settings.as_of` (metrics.md 3, 4, 8, 10 and 13).

    The order of the rows changes nothing. Memory grows with linked deals, open amounts
    and findings, not with the rows.

    Args:
        rows: Deals of every connection, open and closed; read once.
        links: Which of them are the same deal.
        rates: To `settings.report_currency`.
        settings: The day, the zone, the outline and the thresholds.

    Raises:
        ValueError: The rates lead to another currency than the report's.
    """
    if rates.report_currency != settings.report_currency.strip().upper():
        raise ValueError(f"rates to {rates.report_currency}, report in {settings.report_currency}")
    fold = _ReportFold(rates, settings)
    for row in logical_rows(fold.reading(rows), links, settings):
        fold.add(row)
    return fold.report()


class _ReportFold:
    def __init__(self, rates: Rates, settings: Settings) -> None:
        self._settings = settings
        self._appraiser = Appraiser(rates, settings)
        self._records: Counter[str] = Counter()
        self._deals = 0
        self._open = OpenFold(settings)
        self._ageing = AgeingFold(settings)
        self._trailing = ResultsFold(*_trailing(settings), settings)
        self._period = ResultsFold(*_period(settings), settings)
        self._top = Largest(settings.top)
        self._qualified = _qualified_stages(settings)
        self._open_pipelines: dict[tuple[str, str], tuple[str | None, int]] = {}
        self._items = _ItemsFold()

    def reading(self, rows: Iterable[PipelineRow]) -> Iterator[PipelineRow]:
        for row in rows:
            if self._settings.scope.reads(row):
                self._records[row.ref.connection] += 1
                yield row

    def add(self, row: PipelineRow) -> None:
        if not self._settings.scope.holds(row):
            return
        deal = self._appraiser.value(row)
        self._deals += 1
        self._items.add(deal)
        self._trailing.add(deal)
        self._period.add(deal)
        if row.outcome is Outcome.OPEN:
            self._open.add(deal)
            self._ageing.add(deal)
            self._top.offer(deal)
            self._add_to_pipeline(deal)

    def _add_to_pipeline(self, deal: Deal) -> None:
        row = deal.row
        key = (row.ref.connection, row.pipeline_id or "")
        name, count = self._open_pipelines.get(key, (None, 0))
        if row.pipeline_name and (name is None or row.pipeline_name < name):
            name = row.pipeline_name
        qualified = self._qualified is None or deal.stage in self._qualified
        self._open_pipelines[key] = (name, count + qualified)

    def report(self) -> PipelineReport:
        settings = self._settings
        names = {stage.id: stage.name for stage in settings.stages}
        periods = dict(sorted(self._open.value_periods.items()))
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
            },
            record_order=settings.record_order,
            records=self._records.total(),
            deals=self._deals,
            value_periods=periods,
            mixed_value_periods=settings.amount_basis is AmountBasis.AS_ENTERED and len(periods) > 1,
            open=self._open.summary(),
            by_stage=self._open.by_stage(),
            by_native_stage=self._open.by_native_stage(),
            by_connection=self._open.by_connection(self._records),
            by_owner=self._open.by_owner(),
            by_close_month=self._open.by_close_month(),
            by_close_quarter=self._open.by_close_quarter(),
            overdue=self._open.overdue.figures(),
            no_close_date=self._open.no_close_date.figures(),
            ageing=self._ageing.ageing(names),
            trailing=self._trailing.results(
                overdue_or_stale=self._ageing.overdue_or_stale,
                open_older_than_cycle=self._ageing.older_than(self._trailing.median_cycle()),
            ),
            period=self._period.results(
                overdue_or_stale=self._ageing.overdue_or_stale,
                open_older_than_cycle=self._ageing.older_than(self._period.median_cycle()),
            ),
            velocity=self._trailing.velocity(self._open_pipelines),
            top_deals=tuple(deal_line(deal, names) for deal, _ in self._top.ranked()),
            items=self._items.items(),
        )


class _ItemsFold:
    """Collects what waits for a person."""

    def __init__(self) -> None:
        self._missing: list[MissingRate] = []
        self._unmapped: dict[tuple[str, str, str], UnmappedStage] = {}
        self._problems: list[Problem] = []

    def add(self, deal: Deal) -> None:
        row = deal.row
        codes = list(deal.problems)
        days = cycle_days(deal)
        if days is not None and days < 0:
            codes.append("closed_before_created")
        self._problems.extend(
            Problem(code=code, ref=str(row.ref), name=row.name, connection=row.ref.connection, url=row.url)
            for code in codes
        )
        if deal.rate_missing:
            self._missing.append(
                MissingRate(
                    ref=str(row.ref),
                    name=row.name,
                    connection=row.ref.connection,
                    outcome=row.outcome,
                    amount=deal.native_amount or ZERO,
                    currency=row.currency,
                    day=deal.rate_day,
                    url=row.url,
                )
            )
        if row.common_stage is None:
            self._add_unmapped(deal)

    def _add_unmapped(self, deal: Deal) -> None:
        row = deal.row
        key = (row.ref.connection, row.pipeline_id or "", row.stage_id or "")
        known = self._unmapped.get(key)
        is_open = row.outcome is Outcome.OPEN
        amount = (deal.amount or ZERO) if is_open else ZERO
        self._unmapped[key] = UnmappedStage(
            connection=row.ref.connection,
            pipeline_id=row.pipeline_id,
            pipeline=_first(known.pipeline if known else None, row.pipeline_name),
            stage_id=row.stage_id,
            stage=_first(known.stage if known else None, row.stage_name),
            deals=(known.deals if known else 0) + 1,
            open_deals=(known.open_deals if known else 0) + is_open,
            open_amount=add(known.open_amount if known else ZERO, amount),
        )

    def items(self) -> Items:
        return Items(
            fx_missing=tuple(sorted(self._missing, key=lambda item: item.ref)),
            unmapped=tuple(self._unmapped[key] for key in sorted(self._unmapped)),
            errors=tuple(sorted(self._problems, key=lambda item: (item.code, item.ref))),
        )


def _first(left: str | None, right: str | None) -> str | None:
    return min((name for name in (left, right) if name), default=None)


def _trailing(settings: Settings) -> tuple[date, date]:
    tomorrow = settings.as_of_date + timedelta(days=1)
    return tomorrow - timedelta(days=settings.trailing_days), tomorrow


def _period(settings: Settings) -> tuple[date, date]:
    if settings.period is not None:
        return settings.period
    quarter = quarter_of(settings.as_of_date, settings.fiscal_start_month)
    return quarter.start, quarter.end


def _qualified_stages(settings: Settings) -> frozenset[str] | None:
    if settings.qualified_stage is None:
        return None
    order = {stage.id: stage.order for stage in settings.stages}
    return frozenset(stage for stage, place in order.items() if place >= order[settings.qualified_stage])
