"""What was won, lost and created in a period, and the win rates (metrics.md 4, 8, 10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from crmkit.model import LostKind, Outcome
from crmkit.report.deals import Deal
from crmkit.report.figures import Closed, LostPart, PeriodResults, Velocity, WinRates
from crmkit.report.inputs import PipelineRow, Settings
from crmkit.report.money import ZERO, add, multiply, subtract
from crmkit.report.ratios import Average, divide, mean, median, share

_Pipeline = tuple[str, str]


@dataclass(slots=True)
class _Tally:
    """A running total over deals that ended or began."""

    count: int = 0
    amount: Decimal = ZERO
    amount_missing: int = 0
    fx_missing: int = 0

    def add(self, deal: Deal) -> None:
        self.count += 1
        self.amount_missing += not deal.priced
        self.fx_missing += deal.rate_missing
        if deal.amount is not None:
            self.amount = add(self.amount, deal.amount)

    def closed(self) -> Closed:
        return Closed(
            count=self.count,
            amount=self.amount,
            amount_missing_count=self.amount_missing,
            fx_missing_count=self.fx_missing,
        )


@dataclass(slots=True)
class _Cohort:
    """How deals created in the period stand now."""

    won: int = 0
    lost: int = 0
    open: int = 0


@dataclass(slots=True)
class _Won:
    """Won deals of one pipeline."""

    name: str | None = None
    amounts: list[Decimal] = field(default_factory=list)
    cycles: list[Decimal] = field(default_factory=list)
    won: int = 0
    lost: int = 0


class ResultsFold:
    """Adds up what happened in `[start, end)`, local days."""

    def __init__(self, start: date, end: date, settings: Settings) -> None:
        self._start, self._end = start, end
        self._least = settings.min_sample
        self._won, self._lost, self._created = _Tally(), _Tally(), _Tally()
        # Lost as duplicates: in the totals, but in no win rate.
        self._rated_lost, self._narrow_lost = _Tally(), _Tally()
        self._cohort = _Cohort()
        self._kinds: dict[str, _Tally] = {}
        self._reasons: dict[str, _Tally] = {}
        self._amounts: list[Decimal] = []
        self._cycles: list[Decimal] = []
        self._lost_cycles: list[Decimal] = []
        self._pipelines: dict[_Pipeline, _Won] = {}
        self._estimated = 0

    def add(self, deal: Deal) -> None:
        """Count the deal in where its creation or its end falls into the period."""
        if deal.created_on is not None and self._start <= deal.created_on < self._end:
            self._created.add(deal)
            if not _is_duplicate(deal.row):
                self._add_to_cohort(deal.row.outcome)
        if deal.closed_on is not None and self._start <= deal.closed_on < self._end:
            self._estimated += deal.row.closed_at_estimated or deal.row.closed_at is None
            if deal.row.outcome is Outcome.WON:
                self._add_won(deal)
            else:
                self._add_lost(deal)

    def _add_to_cohort(self, outcome: Outcome) -> None:
        self._cohort.won += outcome is Outcome.WON
        self._cohort.lost += outcome is Outcome.LOST
        self._cohort.open += outcome is Outcome.OPEN

    def _add_won(self, deal: Deal) -> None:
        self._won.add(deal)
        pipeline = self._pipeline(deal.row)
        pipeline.won += 1
        if deal.amount is not None:
            self._amounts.append(deal.amount)
            pipeline.amounts.append(deal.amount)
        days = cycle_days(deal)
        if days is not None and days >= 0:
            self._cycles.append(Decimal(days))
            pipeline.cycles.append(Decimal(days))

    def _add_lost(self, deal: Deal) -> None:
        row = deal.row
        self._lost.add(deal)
        kind = row.lost_kind or LostKind.LOST
        self._kinds.setdefault(kind.value, _Tally()).add(deal)
        self._reasons.setdefault((row.lost_reason or "").strip(), _Tally()).add(deal)
        if kind is LostKind.DUPLICATE:
            return
        self._rated_lost.add(deal)
        self._pipeline(row).lost += 1
        if kind is LostKind.LOST:
            self._narrow_lost.add(deal)
        days = cycle_days(deal)
        if days is not None and days >= 0:
            self._lost_cycles.append(Decimal(days))

    def _pipeline(self, row: PipelineRow) -> _Won:
        pipeline = self._pipelines.setdefault((row.ref.connection, row.pipeline_id or ""), _Won())
        if row.pipeline_name and (pipeline.name is None or row.pipeline_name < pipeline.name):
            pipeline.name = row.pipeline_name
        return pipeline

    def median_cycle(self) -> Average:
        """The median days from creation to won."""
        return median(self._cycles, min_sample=self._least)

    def results(self, *, overdue_or_stale: int, open_older_than_cycle: int | None) -> PeriodResults:
        """The period's figures.

        Args:
            overdue_or_stale: Open deals that the strict win rate counts as lost.
            open_older_than_cycle: Open deals older than twice the median won cycle.
        """
        return PeriodResults(
            start=self._start,
            end=self._end,
            won=self._won.closed(),
            lost=self._lost.closed(),
            created=self._created.closed(),
            lost_by_kind=_parts(self._kinds),
            lost_by_reason=_parts(self._reasons),
            net_new_pipeline=subtract(subtract(self._created.amount, self._won.amount), self._lost.amount),
            average_won_amount=mean(self._amounts, min_sample=self._least),
            median_won_amount=median(self._amounts, min_sample=self._least),
            win_rates=self._win_rates(overdue_or_stale),
            average_cycle_days=mean(self._cycles, min_sample=self._least),
            median_cycle_days=self.median_cycle(),
            average_lost_cycle_days=mean(self._lost_cycles, min_sample=self._least),
            open_older_than_cycle_count=open_older_than_cycle,
            closed_at_estimated_count=self._estimated,
        )

    def _win_rates(self, overdue_or_stale: int) -> WinRates:
        won, lost, cohort, least = self._won, self._rated_lost, self._cohort, self._least
        closed = won.count + lost.count
        narrow = won.count + self._narrow_lost.count
        created = cohort.won + cohort.lost + cohort.open
        resolved = cohort.won + cohort.lost
        strict = closed + overdue_or_stale
        return WinRates(
            count=share(won.count, closed, sample=closed, min_sample=least),
            amount=share(
                won.amount,
                add(won.amount, lost.amount),
                sample=closed,
                min_sample=least,
                # A share of negative sums says nothing (metrics.md 8).
                meaningful=won.amount >= 0 and lost.amount >= 0,
            ),
            competitive=share(won.count, narrow, sample=narrow, min_sample=least),
            created=share(cohort.won, created, sample=created, min_sample=least),
            created_resolved=share(cohort.won, resolved, sample=resolved, min_sample=least),
            created_open=share(cohort.open, created, sample=created, min_sample=least),
            strict=share(won.count, strict, sample=strict, min_sample=least),
        )

    def velocity(self, open_counts: dict[_Pipeline, tuple[str | None, int]]) -> tuple[Velocity, ...]:
        """Money per day of every pipeline with open or closed deals.

        Args:
            open_counts: Pipeline name and open qualified deals by (connection, pipeline id).
        """
        keys = sorted({*self._pipelines, *open_counts})
        return tuple(self._velocity(key, *open_counts.get(key, (None, 0))) for key in keys)

    def _velocity(self, key: _Pipeline, name: str | None, open_count: int) -> Velocity:
        pipeline = self._pipelines.get(key, _Won())
        average = mean(pipeline.amounts, min_sample=self._least)
        cycle = mean(pipeline.cycles, min_sample=self._least)
        closed = pipeline.won + pipeline.lost
        rate = share(pipeline.won, closed, sample=closed, min_sample=self._least)
        per_day = None
        if average.value is not None and cycle.value is not None and closed:
            # N x A x won / (closed x L), divided once, so that no rounded share is multiplied.
            gain = multiply(multiply(Decimal(open_count), average.value), Decimal(pipeline.won))
            per_day = divide(gain, multiply(Decimal(closed), max(cycle.value, Decimal(1))))
        return Velocity(
            connection=key[0],
            pipeline_id=key[1] or None,
            pipeline=name or pipeline.name,
            open_count=open_count,
            average_won_amount=average,
            win_rate=rate,
            average_cycle_days=cycle,
            per_day=per_day,
        )


def cycle_days(deal: Deal) -> int | None:
    """Local days from creation to the end; negative if the dates contradict each other."""
    if deal.created_on is None or deal.closed_on is None:
        return None
    return (deal.closed_on - deal.created_on).days


def _is_duplicate(row: PipelineRow) -> bool:
    return row.outcome is Outcome.LOST and row.lost_kind is LostKind.DUPLICATE


def _parts(tallies: dict[str, _Tally]) -> tuple[LostPart, ...]:
    ranked = sorted(tallies.items(), key=lambda pair: (not pair[0], -pair[1].count, pair[0]))
    return tuple(LostPart(name=name or None, count=t.count, amount=t.amount) for name, t in ranked)
