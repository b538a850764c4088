"""Deal rows valued in the report currency."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from crmkit.model import Outcome, ValuePeriod
from crmkit.report.inputs import AmountBasis, PipelineRow, Settings
from crmkit.report.money import ZERO, is_sane, multiply
from crmkit.report.rates import Rates

_MONTHS_A_YEAR = Decimal(12)


@dataclass(frozen=True, slots=True)
class Deal:
    """A logical deal as the metrics see it.

    `amount` is in the report currency and `None` if the deal has none or it cannot be
    converted; `priced` tells the two apart. `weighted` is the amount times the probability,
    zero without an amount, `None` without a probability.
    The days are local to the report.
    """

    row: PipelineRow
    stage: str | None
    amount: Decimal | None
    priced: bool
    native_amount: Decimal | None
    rate_day: date
    weighted: Decimal | None
    created_on: date | None
    closed_on: date | None
    problems: tuple[str, ...]

    @property
    def rate_missing(self) -> bool:
        """Whether there is an amount that no rate converts."""
        return self.priced and self.amount is None


class Appraiser:
    """Values rows by one set of rates and settings.

    Args:
        rates: To the report currency.
        settings: The day, the zone, the outline and the amount basis.
    """

    def __init__(self, rates: Rates, settings: Settings) -> None:
        self._rates = rates
        self._zone: ZoneInfo = settings.zone
        self._today = settings.as_of_date
        self._annual = settings.amount_basis is AmountBasis.ANNUALISED
        self._stages = {stage.id for stage in settings.stages}

    def local_day(self, moment: datetime | None) -> date | None:
        """The day that the moment has in the report's time zone."""
        return None if moment is None else moment.astimezone(self._zone).date()

    def value(self, row: PipelineRow) -> Deal:
        """The deal in the report currency, with what is wrong with it."""
        problems: list[str] = []
        closed_on = self._closed_on(row, problems)
        created_on = self.local_day(row.created_at)
        if created_on is not None and created_on > self._today:
            problems.append("created_after_as_of")
        native = self.native_amount(row)
        if row.amount is not None and native is None:
            problems.append("amount_unreadable")
        rate_day = closed_on or self._today
        stage = row.common_stage
        if stage is not None and stage not in self._stages:
            problems.append("unknown_common_stage")
            stage = None
        amount = self._convert(native, row.currency, rate_day)
        probability = _probability(row, problems)
        return Deal(
            row=row,
            stage=stage,
            amount=amount,
            priced=native is not None,
            native_amount=native,
            rate_day=rate_day,
            weighted=None if probability is None else multiply(amount or ZERO, probability),
            created_on=created_on,
            closed_on=closed_on,
            problems=tuple(problems),
        )

    def native_amount(self, row: PipelineRow) -> Decimal | None:
        """The amount in the deal's own currency on the report's basis; `None` if none or absurd."""
        if row.amount is None or not is_sane(row.amount):
            return None
        if self._annual and row.value_period is ValuePeriod.MONTHLY:
            # The one CRM with monthly values annualises them the same way (metrics.md 2.4).
            return multiply(row.amount, _MONTHS_A_YEAR)
        return row.amount

    def _convert(self, native: Decimal | None, currency: str | None, on: date) -> Decimal | None:
        if native is None:
            return None
        rate = self._rates.rate(currency, on)
        return None if rate is None else multiply(native, rate)

    def _closed_on(self, row: PipelineRow, problems: list[str]) -> date | None:
        # A reopened deal may keep its old close time; the outcome decides (metrics.md 2.3).
        if row.outcome is Outcome.OPEN:
            return None
        day = self.local_day(row.closed_at) or row.expected_close
        if day is None:
            problems.append("closed_without_date")
        elif day > self._today:
            problems.append("closed_after_as_of")
        return day


def _probability(row: PipelineRow, problems: list[str]) -> Decimal | None:
    if row.outcome is not Outcome.OPEN:
        return Decimal(1) if row.outcome is Outcome.WON else Decimal(0)
    value = row.probability
    if value is not None and not (is_sane(value) and 0 <= value <= 1):
        problems.append("probability_out_of_range")
        return None
    return value
