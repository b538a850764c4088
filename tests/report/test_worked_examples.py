"""The worked examples of metrics.md 16.2, number by number."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from crmkit.model import LostKind, Outcome
from crmkit.report.money import rounded
from crmkit.report.ratios import median, percentile
from crmkit.report.whole import PipelineReport
from tests.report.report_of import report_from
from tests.report.rows import USD, day, row, settings


def closed(id: str, amount: str, created: str, outcome: Outcome, on: str, kind: LostKind | None = None):
    return row(
        id,
        amount=amount,
        created_at=day(created),
        outcome=outcome,
        closed_at=day(on),
        common_stage=outcome.value,
        lost_kind=kind,
    )


def opened(id: str, amount: str, created: str, close: str, probability: str):
    return row(
        id,
        amount=amount,
        created_at=day(created),
        expected_close=date.fromisoformat(close),
        probability=Decimal(probability),
    )


@pytest.fixture(scope="module")
def report() -> PipelineReport:
    # Deal k is deleted: it is in no snapshot at as_of, and in none of these figures.
    rows = [
        closed("a", "20000", "2026-05-01", Outcome.WON, "2026-07-20"),
        closed("b", "30000", "2026-05-15", Outcome.WON, "2026-09-10"),
        closed("c", "15000", "2026-06-10", Outcome.LOST, "2026-08-05"),
        closed("d", "4000", "2026-07-05", Outcome.WON, "2026-07-05"),
        opened("e", "25000", "2026-06-01", "2026-11-30", "0.5"),
        opened("f", "10000", "2026-06-20", "2026-08-15", "0.6"),
        opened("g", "40000", "2026-04-01", "2026-12-01", "0.2"),
        closed("h", "5000", "2026-06-25", Outcome.LOST, "2026-09-25", LostKind.ABANDONED),
        opened("i", "12000", "2026-08-01", "2026-10-20", "0.3"),
    ]
    quarter = (date(2026, 7, 1), date(2026, 10, 1))
    return report_from(rows, {}, USD, settings(period=quarter))


def test_won_amount_is_the_sum_of_deals_won_in_the_quarter(report):
    assert (report.period.won.count, report.period.won.amount) == (3, 54000)


@pytest.mark.parametrize(
    ("name", "numerator", "denominator", "value"),
    [
        ("count", 3, 5, "0.6000"),
        ("competitive", 3, 4, "0.7500"),
        ("amount", 54000, 74000, "0.7297"),
        ("created", 1, 2, "0.5000"),
        ("created_resolved", 1, 1, "1.0000"),
        ("created_open", 1, 2, "0.5000"),
    ],
)
def test_win_rate_has_the_documented_parts_and_value(report, name, numerator, denominator, value):
    ratio = getattr(report.period.win_rates, name)
    assert (ratio.numerator, ratio.denominator, str(round(ratio.value, 4))) == (numerator, denominator, value)


def test_cycle_of_won_deals_is_66_days_on_average_and_80_in_the_middle(report):
    results = report.period
    assert (results.average_cycle_days.value, results.median_cycle_days.value) == (66, 80)


def test_average_won_amount_is_18000(report):
    assert report.period.average_won_amount.value == 18000


def test_sales_velocity_is_654_55_a_day(report):
    (velocity,) = report.velocity
    assert (velocity.open_count, rounded(velocity.per_day, "USD")) == (4, Decimal("654.55"))


def test_next_quarter_holds_77000_due_and_24100_weighted(report):
    due = report.by_close_quarter[0]
    assert (due.key, due.amount, due.weighted_amount) == ("FY2026-Q4", 77000, 24100)


def test_overdue_deal_is_apart_from_the_quarter(report):
    assert (report.overdue.count, report.overdue.amount) == (1, 10000)


def test_strict_win_rate_counts_overdue_and_stale_deals_as_lost(report):
    # All four open deals have seen no change for more than 30 days.
    ratio = report.period.win_rates.strict
    assert (ratio.numerator, ratio.denominator) == (3, 9)


def test_lost_deals_are_split_by_kind(report):
    kinds = {part.name: (part.count, part.amount) for part in report.period.lost_by_kind}
    assert kinds == {"abandoned": (1, 5000), "lost": (1, 15000)}


def test_net_new_pipeline_is_created_less_won_and_lost(report):
    # Created in the quarter: d 4000 and i 12000.
    assert report.period.net_new_pipeline == 16000 - 54000 - 20000


def test_open_deals_older_than_twice_the_median_cycle_are_counted(report):
    # 2 x 80 days: only g (183 days).
    assert report.period.open_older_than_cycle_count == 1


def test_age_buckets_hold_every_open_deal_once(report):
    buckets = [(one.first_day, one.count) for one in report.ageing.age_buckets]
    assert buckets == [(0, 0), (31, 0), (61, 1), (91, 2), (181, 1), (None, 0)]


def test_median_of_an_even_count_is_the_mean_of_the_middle_two():
    values = [Decimal(value) for value in (4, 1, 3, 2)]
    assert median(values, min_sample=5).value == Decimal("2.5")


def test_percentile_interpolates_between_ranks():
    values = [Decimal(value) for value in (10, 20, 30, 40, 50)]
    assert percentile(values, Decimal("0.9"), min_sample=5).value == 46
