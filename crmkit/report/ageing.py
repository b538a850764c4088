"""How old and how idle open deals are (metrics.md 13)."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from crmkit.report.deals import Deal
from crmkit.report.figures import AgeBucket, Ageing, DealLine, Idle
from crmkit.report.inputs import PipelineRow, Settings
from crmkit.report.largest import Largest, deal_line
from crmkit.report.money import ZERO, add
from crmkit.report.ratios import Average, divide, mean, median, percentile

_BUCKETS: tuple[tuple[int, int | None], ...] = ((0, 30), (31, 60), (61, 90), (91, 180), (181, None))
_DAY_SECONDS = Decimal(86_400)


@dataclass(slots=True)
class _Sum:
    count: int = 0
    amount: Decimal = ZERO

    def add(self, amount: Decimal | None) -> None:
        self.count += 1
        if amount is not None:
            self.amount = add(self.amount, amount)

    def idle(self) -> Idle:
        return Idle(count=self.count, amount=self.amount)


class AgeingFold:
    """Adds up the ages of open deals."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._today = settings.as_of_date
        self._buckets = {bucket: _Sum() for bucket in _BUCKETS}
        self._unknown_age = _Sum()
        self._stale, self._warning = _Sum(), _Sum()
        self._ages: Counter[int] = Counter()
        self._stage_seconds, self._idle_seconds = array("q"), array("q")
        self._idle_unknown = 0
        self._activity_unknown = 0
        self._stale_deals = Largest(settings.top)
        self.overdue_or_stale = 0

    def add(self, deal: Deal) -> None:
        """Count an open deal in."""
        self._add_age(deal)
        row = deal.row
        if row.stage_entered_at is not None and row.stage_entered_at <= self._settings.as_of:
            self._stage_seconds.append(_seconds(self._settings.as_of - row.stage_entered_at))
        self._activity_unknown += row.last_activity_at is None
        stale = self._add_idle(deal)
        overdue = row.expected_close is not None and row.expected_close < self._today
        self.overdue_or_stale += stale or overdue

    def _add_age(self, deal: Deal) -> None:
        if deal.created_on is None or deal.created_on > self._today:
            self._unknown_age.add(deal.amount)
            return
        age = (self._today - deal.created_on).days
        self._ages[age] += 1
        for (first, last), bucket in self._buckets.items():
            if first <= age and (last is None or age <= last):
                bucket.add(deal.amount)
                return

    def _add_idle(self, deal: Deal) -> bool:
        seconds = idle_seconds(deal.row, self._settings.as_of)
        if seconds is None:
            self._idle_unknown += 1
            return False
        self._idle_seconds.append(seconds)
        threshold = self._settings.stale_days_by_stage.get(deal.stage or "", self._settings.stale_days)
        if seconds >= threshold * 86_400:
            self._stale.add(deal.amount)
            self._stale_deals.offer(deal, seconds // 86_400)
            return True
        if seconds >= self._settings.stale_warning_days * 86_400:
            self._warning.add(deal.amount)
        return False

    def older_than(self, cycle: Average) -> int | None:
        """Open deals older than twice the median cycle, or `None` without a cycle."""
        if cycle.value is None:
            return None
        limit = cycle.value * 2
        return sum(count for age, count in self._ages.items() if age > limit)

    def ageing(self, stage_names: dict[str, str]) -> Ageing:
        """The figures so far."""
        least = self._settings.min_sample
        ages = [Decimal(age) for age in self._ages.elements()]
        stage_days, idle_days = _days(self._stage_seconds), _days(self._idle_seconds)
        return Ageing(
            deal_age_days=mean(ages, min_sample=least),
            median_deal_age_days=median(ages, min_sample=least),
            median_stage_age_days=median(stage_days, min_sample=least),
            p90_stage_age_days=percentile(stage_days, Decimal("0.9"), min_sample=least),
            median_idle_days=median(idle_days, min_sample=least),
            age_buckets=(
                *(_bucket(first, last, total) for (first, last), total in self._buckets.items()),
                _bucket(None, None, self._unknown_age),
            ),
            stale=self._stale.idle(),
            warning=self._warning.idle(),
            idle_unknown_count=self._idle_unknown,
            activity_unknown_count=self._activity_unknown,
            stale_deals=self._lines(stage_names),
        )

    def _lines(self, stage_names: dict[str, str]) -> tuple[DealLine, ...]:
        return tuple(deal_line(deal, stage_names, days) for deal, days in self._stale_deals.ranked())


def idle_seconds(row: PipelineRow, as_of: datetime) -> int | None:
    """Seconds since the last sign of life, or `None` if none is known.

    Planned activities lie after `as_of` and are no sign of life. Creation and entry into
    the stage are changes, so they count where nothing later is known (inferred).
    """
    signs = (
        row.last_activity_at,
        row.last_human_change_at or row.modified_at,
        row.stage_entered_at,
        row.created_at,
    )
    past = [sign for sign in signs if sign is not None and sign <= as_of]
    return _seconds(as_of - max(past)) if past else None


def _seconds(gap: timedelta) -> int:
    return gap // timedelta(seconds=1)


def _days(seconds: array[int]) -> list[Decimal]:
    return [divide(Decimal(value), _DAY_SECONDS) or ZERO for value in seconds]


def _bucket(first: int | None, last: int | None, total: _Sum) -> AgeBucket:
    return AgeBucket(first_day=first, last_day=last, count=total.count, amount=total.amount)
