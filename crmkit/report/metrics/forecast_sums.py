"""Forecasts put together from the sums of each category."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypedDict

from crmkit.mapping.forecast import Category
from crmkit.report.facts import scale
from crmkit.report.metrics.categories import STRENGTH, UNKNOWN
from crmkit.report.metrics.forecast_figures import CategoryAmount
from crmkit.report.money import ZERO, add, subtract
from crmkit.report.ratios import Ratio, share

_DUE = (*(category for category in STRENGTH if category is not Category.CLOSED), UNKNOWN)


class Amounts(TypedDict):
    """The fields of `ForecastAmounts`."""

    won_count: int
    won_amount: Decimal
    due_count: int
    due_amount: Decimal
    forecast_weighted: Decimal
    forecast_commit: Decimal
    forecast_best: Decimal
    weighted_excluded_count: int
    omitted_count: int
    omitted_amount: Decimal
    overdue_count: int
    overdue_amount: Decimal
    quota: Decimal | None
    weighted_attainment: Ratio
    commit_attainment: Ratio
    best_attainment: Ratio
    commit_gap: Decimal | None


@dataclass(slots=True)
class Sums:
    """Deals of one kind added up; `amount` and `weighted` in the report currency."""

    count: int = 0
    amount: Decimal = ZERO
    weighted: Decimal = ZERO
    unpriced: int = 0
    unrated: int = 0
    unlikely: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row of `OPEN_SUMS` in."""
        self.count += int(row["n"])
        self.amount = add(self.amount, scale.money(row["amount"]))
        self.weighted = add(self.weighted, scale.weighted(row["weighted"]))
        self.unpriced += int(row["unpriced"] or 0)
        self.unrated += int(row["unrated"] or 0)
        self.unlikely += int(row["unlikely"] or 0)


@dataclass(slots=True)
class Parts:
    """Everything that the forecast of a group is made of.

    `due` holds open deals due in the period and not overdue by category, and under `closed`
    what was won in it; `overdue` is every open deal whose expected close is past.
    """

    due: dict[str, Sums] = field(default_factory=dict)
    overdue: Sums = field(default_factory=Sums)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row with `place` and `category` in."""
        if row["place"] == "overdue":
            self.overdue.add(row)
        else:
            self.of(row["category"]).add(row)

    def of(self, category: str) -> Sums:
        """The sums of one category."""
        return self.due.setdefault(category, Sums())

    def total(self, categories: Iterable[str]) -> Decimal:
        """The amount of several categories."""
        result = ZERO
        for category in categories:
            result = add(result, self.of(category).amount)
        return result

    @property
    def won(self) -> Sums:
        """What was won in the period."""
        return self.of(Category.CLOSED)

    @property
    def weighted(self) -> Decimal:
        """What is won, and every other deal of the period by its probability."""
        result = self.won.amount
        for category in _DUE:
            if category != Category.OMITTED:
                result = add(result, self.of(category).weighted)
        return result

    @property
    def commit(self) -> Decimal:
        """What is won, and what is committed."""
        return self.total((Category.CLOSED, Category.COMMIT))

    @property
    def best(self) -> Decimal:
        """What is won and committed, and what is likely or may be."""
        return add(self.commit, self.total((Category.MOST_LIKELY, Category.BEST_CASE)))

    def amounts(self, quota: Decimal | None, min_sample: int) -> Amounts:
        """The forecasts, and how far they reach."""
        count = sum(self.of(category).count for category in _DUE)
        sample = count + self.won.count

        def attained(forecast: Decimal) -> Ratio:
            return share(forecast, quota or ZERO, sample=sample, min_sample=min_sample)

        return {
            "won_count": self.won.count,
            "won_amount": self.won.amount,
            "due_count": count,
            "due_amount": self.total(_DUE),
            "forecast_weighted": self.weighted,
            "forecast_commit": self.commit,
            "forecast_best": self.best,
            "weighted_excluded_count": sum(self.of(category).unlikely for category in _DUE),
            "omitted_count": self.of(Category.OMITTED).count,
            "omitted_amount": self.of(Category.OMITTED).amount,
            "overdue_count": self.overdue.count,
            "overdue_amount": self.overdue.amount,
            "quota": quota,
            "weighted_attainment": attained(self.weighted),
            "commit_attainment": attained(self.commit),
            "best_attainment": attained(self.best),
            "commit_gap": None if quota is None else max(subtract(quota, self.commit), ZERO),
        }

    def categories(self) -> tuple[CategoryAmount, ...]:
        """Every category, strongest first; the unknown one last, and only if there are any."""
        rows: list[CategoryAmount] = []
        count, amount = 0, ZERO
        for category in reversed(STRENGTH):
            sums = self.of(category)
            count, amount = count + sums.count, add(amount, sums.amount)
            rows.append(_row(category, sums, count, amount))
        if self.of(UNKNOWN).count:
            rows.append(_row(None, self.of(UNKNOWN), None, None))
        return tuple(rows)


def _row(category: str | None, sums: Sums, count: int | None, amount: Decimal | None) -> CategoryAmount:
    return CategoryAmount(
        category=None if category is None else str(category),
        count=sums.count,
        amount=sums.amount,
        amount_missing_count=sums.unpriced,
        fx_missing_count=sums.unrated,
        weighted_amount=sums.weighted,
        cumulative_count=count,
        cumulative_amount=amount,
    )
