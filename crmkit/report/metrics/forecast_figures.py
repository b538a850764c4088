"""What the period will bring, and how good earlier forecasts were, as data (metrics.md 12).

Money is in the report currency and exact.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from crmkit.report.figures import DealLine, Figure, Problem
from crmkit.report.money import Number
from crmkit.report.ratios import Ratio


class CategoryAmount(Figure):
    """Deals of one forecast category that are due in the period, `closed` being those won in it.

    `category` is `None` for open deals whose CRM names a category that nobody knows (see
    `Forecast.problems`). `amount` is of that category alone, `cumulative_amount` with
    every stronger one and with what is won: `None` for the unknown, which are in no cumulative sum.
    """

    category: str | None
    count: int
    amount: Number
    amount_missing_count: int
    fx_missing_count: int
    weighted_amount: Number
    cumulative_count: int | None
    cumulative_amount: Number | None


class CategoryFigures(CategoryAmount):
    """The same with the refs of its deals, the largest first; at most 20,000 of them."""

    refs: tuple[str, ...]


class ForecastAmounts(Figure):
    """The three forecasts for the period, each with what is won already in it.

    `due_count` and `due_amount` are over open deals due in the period, whatever their category,
    those overdue left out; `weighted_excluded_count` of them have no probability. `quota` is
    `None` where none is set; `*_attainment` is forecast / quota, and `commit_gap` what the
    commit forecast lacks, never below zero.
    """

    won_count: int
    won_amount: Number
    due_count: int
    due_amount: Number
    forecast_weighted: Number
    forecast_commit: Number
    forecast_best: Number
    weighted_excluded_count: int
    omitted_count: int
    omitted_amount: Number
    overdue_count: int
    overdue_amount: Number
    quota: Number | None
    weighted_attainment: Ratio
    commit_attainment: Ratio
    best_attainment: Ratio
    commit_gap: Number | None


class OwnerForecast(ForecastAmounts):
    """One owner's forecast; `owner` is `None` for deals without one."""

    owner: str | None
    owner_key: str | None
    categories: tuple[CategoryAmount, ...]


class TeamForecast(ForecastAmounts):
    """One team's forecast; `team` is `None` for deals of owners in no team."""

    team: str | None
    categories: tuple[CategoryAmount, ...]


class LeftOut(Figure):
    """Deals that no forecast counts; `refs` holds at most 20,000, `deals` the largest."""

    count: int
    amount: Number
    refs: tuple[str, ...]
    deals: tuple[DealLine, ...]


class CategoryProblem(Problem):
    """An open deal whose CRM names a category that does not fit.

    `forecast_category_unknown`: nobody knows it. `forecast_category_closed`: it says closed,
    but the deal is open; its stage or its probability decides instead.
    """

    said: str


class ForecastPoint(Figure):
    """The forecast for a period as it was at the beginning of a local day."""

    age: Literal["first_day", "day_30", "day_60", "last_day"]
    day: date
    at: datetime
    forecast_weighted: Number
    forecast_commit: Number
    forecast_best: Number


class Accuracy(Figure):
    """How near a forecast came: `forecast_accuracy` may be negative; both `None` where nothing was won.

    `forecast_bias` above zero means that too much was forecast.
    """

    kind: Literal["weighted", "commit", "best"]
    forecast: Number
    forecast_accuracy: Number | None
    forecast_bias: Number | None


class AccuracyPoint(Figure):
    """The three forecasts at one age of the quarter against what was won in the end."""

    age: Literal["first_day", "day_30", "day_60", "last_day"]
    day: date
    at: datetime
    kinds: tuple[Accuracy, ...]


class QuarterAccuracy(Figure):
    """A past fiscal quarter `[start, end)`; `actual` is the amount won in it."""

    key: str
    start: date
    end: date
    actual: Number
    points: tuple[AccuracyPoint, ...]


class Forecast(ForecastAmounts):
    """The forecast for `[start, end)`, local days, at `as_of`.

    Overdue and omitted deals are in no forecast: they are listed. `snapshots` are earlier
    forecasts for this period, `accuracy` past quarters, the latest first; both only since
    `history_since`, before which not every connection had been read (`None`: never).
    """

    key: str
    start: date
    end: date
    categories: tuple[CategoryFigures, ...]
    by_owner: tuple[OwnerForecast, ...]
    by_team: tuple[TeamForecast, ...]
    overdue: LeftOut
    omitted: LeftOut
    problem_count: int
    problems: tuple[CategoryProblem, ...]
    history_since: datetime | None
    snapshots: tuple[ForecastPoint, ...]
    accuracy: tuple[QuarterAccuracy, ...]
