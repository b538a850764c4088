"""What the pipeline report does at its edges."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from crmkit.errors import ConfigError
from crmkit.model import LostKind, Outcome, ValuePeriod
from crmkit.report.calendar import quarter_of
from crmkit.report.inputs import AmountBasis, NativeStage, Scope
from tests.report.report_of import report_of
from tests.report.rows import day, ref, row, settings


def test_nothing_read_gives_zeros_and_no_ratio():
    report = report_of()
    assert (report.open.count, report.open.amount, report.open.top_deal_share.value) == (0, 0, None)
    assert report.trailing.win_rates.count.value is None


def test_missing_amount_counts_as_a_deal_and_adds_nothing():
    report = report_of(row("1", amount=None), row("2"))
    assert (report.open.count, report.open.amount, report.open.amount_missing_count) == (2, 100, 1)


def test_average_leaves_out_deals_without_an_amount():
    report = report_of(row("1", amount=None), row("2", amount="10"), row("3", amount="30"))
    assert (report.open.average_amount.value, report.open.average_amount.sample) == (20, 2)


def test_amount_without_a_rate_is_listed_and_never_counted_as_one_to_one():
    report = report_of(row("1", amount="7000", currency="CHF"), row("2"))
    assert (report.open.count, report.open.amount, report.open.fx_missing_count) == (2, 100, 1)
    assert [(item.ref, item.currency, item.amount) for item in report.items.fx_missing] == [
        ("one:deal:1", "CHF", 7000)
    ]


def test_amount_without_a_currency_is_listed():
    report = report_of(row("1", currency=None))
    assert (report.open.amount, report.items.fx_missing[0].currency) == (0, None)


def test_rate_that_starts_after_the_day_is_missing():
    won = row("1", currency="EUR", outcome=Outcome.WON, closed_at=day("2025-12-31"))
    report = report_of(won)
    assert (report.trailing.won.amount, report.items.fx_missing[0].day) == (0, date(2025, 12, 31))


def test_open_deal_converts_at_as_of_and_closed_deal_at_its_close_day():
    won = row("1", currency="EUR", outcome=Outcome.WON, closed_at=day("2026-08-31"))
    report = report_of(won, row("2", currency="EUR"))
    assert (report.trailing.won.amount, report.open.amount) == (110, 120)


def test_rates_to_another_currency_are_refused():
    with pytest.raises(ValueError, match="rates to USD, report in EUR"):
        report_of(report_currency="EUR")


def test_linked_deals_count_once_with_the_member_modified_last():
    old = row("1", amount="100", modified_at=day("2026-09-01"))
    new = row("2", "two", amount="150", modified_at=day("2026-09-02"))
    report = report_of(new, old, links={old.ref: "L", new.ref: "L"})
    assert (report.records, report.deals, report.open.count, report.open.amount) == (2, 1, 1, 150)


def test_connection_of_record_wins_over_the_newer_member():
    old = row("1", amount="100", modified_at=day("2026-09-01"))
    new = row("2", "two", amount="150", modified_at=day("2026-09-02"))
    links = {old.ref: "L", new.ref: "L"}
    assert report_of(old, new, links=links, record_order=("one",)).open.amount == 100


def test_linked_deal_was_created_when_its_first_member_was():
    old = row("1", created_at=day("2026-01-01"), modified_at=day("2026-01-01"))
    copy = row("2", "two", created_at=day("2026-09-30"), modified_at=day("2026-09-30"))
    report = report_of(old, copy, links={old.ref: "L", copy.ref: "L"})
    assert report.ageing.deal_age_days.value == 273


def test_unmapped_deals_have_their_own_row_and_are_listed():
    report = report_of(row("1", common_stage=None, stage_name="Odd"), row("2"))
    unmapped = report.by_stage[-1]
    assert (unmapped.stage, unmapped.count, unmapped.amount) == (None, 1, 100)
    assert [(item.stage, item.deals) for item in report.items.unmapped] == [("Odd", 1)]


def test_stage_outside_the_outline_is_an_error_and_counts_as_unmapped():
    report = report_of(row("1", common_stage="dreaming"))
    assert (report.by_stage[-1].count, report.items.errors[0].code) == (1, "unknown_common_stage")


def test_stages_without_deals_have_zero_rows():
    stage = NativeStage(
        connection="one", pipeline_id="p", pipeline_name="Sales", stage_id="s9", stage_name="Ninth", order=9
    )
    report = report_of(row("1"), native_stages=(stage,))
    assert [(one.stage, one.count) for one in report.by_stage] == [
        ("qualification", 1),
        ("proposal", 0),
        (None, 0),
    ]
    assert [(one.stage, one.count) for one in report.by_native_stage] == [("Ninth", 0), ("First", 1)]


def test_open_deal_in_a_won_stage_still_has_a_row():
    report = report_of(row("1", common_stage="won"))
    assert ("won", 1) in [(one.stage, one.count) for one in report.by_stage]


def test_probability_without_value_is_excluded_from_weighted_and_counted():
    report = report_of(row("1"), row("2", probability=Decimal("0.5")))
    opened = report.open
    assert (opened.weighted_amount, opened.weighted_excluded_count, opened.weighted_excluded_amount) == (
        50,
        1,
        100,
    )


def test_probability_above_one_is_an_error_and_not_clamped():
    report = report_of(row("1", probability=Decimal(60)))
    assert (report.open.weighted_amount, report.items.errors[0].code) == (0, "probability_out_of_range")


def test_top_deal_share_is_none_if_the_sum_is_not_positive():
    assert report_of(row("1", amount="100"), row("2", amount="-100")).open.top_deal_share.value is None


def test_win_rate_by_amount_is_none_with_a_negative_sum():
    won = row("1", amount="-5", outcome=Outcome.WON, closed_at=day("2026-09-01"))
    ratio = report_of(won).trailing.win_rates.amount
    assert (ratio.value, ratio.numerator) == (None, -5)


def test_deals_lost_as_duplicates_are_in_no_win_rate_but_in_the_lost_figures():
    won = row("1", outcome=Outcome.WON, closed_at=day("2026-09-02"))
    twin = row("2", outcome=Outcome.LOST, lost_kind=LostKind.DUPLICATE, closed_at=day("2026-09-02"))
    trailing = report_of(won, twin).trailing
    rates = trailing.win_rates
    assert trailing.lost.count == 1
    assert {rates.count.denominator, rates.competitive.denominator, rates.created.denominator} == {1}


def test_reopened_deal_with_an_old_close_time_is_open():
    report = report_of(row("1", closed_at=day("2026-09-01")))
    assert (report.open.count, report.trailing.won.count) == (1, 0)


def test_small_samples_are_flagged():
    won = row("1", outcome=Outcome.WON, closed_at=day("2026-09-02"))
    assert report_of(won).trailing.win_rates.count.low_sample is True


def test_closed_deal_without_any_date_is_listed():
    assert report_of(row("1", outcome=Outcome.WON)).items.errors[0].code == "closed_without_date"


def test_closed_before_created_is_listed_and_left_out_of_the_cycle():
    won = row("1", outcome=Outcome.WON, closed_at=day("2026-08-01"))
    report = report_of(won)
    assert (report.trailing.average_cycle_days.value, report.items.errors[0].code) == (
        None,
        "closed_before_created",
    )


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1E+999999", "1E-999999"])
def test_absurd_amount_is_an_error_item(amount):
    report = report_of(row("1", amount=amount), row("2"))
    assert (report.open.amount, report.items.errors[0].code) == (100, "amount_unreadable")


def test_local_day_decides_what_is_overdue():
    # 2026-10-01 03:00 UTC is still September 30 in Los Angeles.
    late = row("1", expected_close=date(2026, 9, 30))
    as_of = datetime(2026, 10, 1, 3, tzinfo=UTC)
    assert report_of(late, as_of=as_of).overdue.count == 1
    assert report_of(late, as_of=as_of, time_zone="America/Los_Angeles").overdue.count == 0


def test_deal_age_counts_local_days_over_a_change_of_the_clock():
    # Berlin left summer time on 2026-10-25: 49 hours lie between these two local noons.
    created = datetime(2026, 10, 24, 10, tzinfo=UTC)
    as_of = datetime(2026, 10, 26, 11, tzinfo=UTC)
    report = report_of(row("1", created_at=created), as_of=as_of, time_zone="Europe/Berlin")
    assert report.ageing.deal_age_days.value == 2


@pytest.mark.parametrize(("days", "first_day"), [(30, 0), (31, 31), (90, 61), (180, 91), (181, 181)])
def test_age_bucket_includes_both_ends(days, first_day):
    created = datetime(2026, 10, 1, tzinfo=UTC) - timedelta(days=days)
    buckets = report_of(row("1", created_at=created)).ageing.age_buckets
    assert [one.first_day for one in buckets if one.count] == [first_day]


@pytest.mark.parametrize(("days", "stale", "warning"), [(13, 0, 0), (14, 0, 1), (29, 0, 1), (30, 1, 0)])
def test_idle_deals_warn_at_14_days_and_are_stale_at_30(days, stale, warning):
    seen = datetime(2026, 10, 1, tzinfo=UTC) - timedelta(days=days)
    ageing = report_of(row("1", created_at=seen, last_activity_at=seen)).ageing
    assert (ageing.stale.count, ageing.warning.count) == (stale, warning)


def test_stage_has_its_own_stale_threshold():
    seen = datetime(2026, 9, 20, tzinfo=UTC)
    deal = row("1", created_at=seen)
    assert report_of(deal, stale_days_by_stage={"qualification": 7}).ageing.stale.count == 1


def test_changes_by_the_sync_itself_are_no_sign_of_life():
    deal = row("1", created_at=day("2026-01-01"), last_human_change_at=day("2026-02-01"))
    deal = replace(deal, modified_at=day("2026-09-30"))
    assert report_of(deal).ageing.stale.count == 1


def test_planned_activity_is_no_sign_of_life():
    deal = row("1", created_at=day("2026-01-01"), last_activity_at=day("2026-12-01"))
    assert report_of(deal).ageing.stale.count == 1


def test_monthly_amounts_are_times_twelve_on_the_annual_basis():
    deal = row("1", value_period=ValuePeriod.MONTHLY)
    assert report_of(deal).open.amount == 100
    assert report_of(deal, amount_basis=AmountBasis.ANNUALISED).open.amount == 1200


def test_sums_over_different_value_periods_say_so():
    rows = (row("1", value_period=ValuePeriod.MONTHLY), row("2"))
    assert report_of(*rows).mixed_value_periods is True
    assert report_of(*rows, amount_basis=AmountBasis.ANNUALISED).mixed_value_periods is False


def test_months_ahead_are_listed_without_deals_and_far_ones_only_with():
    report = report_of(
        row("1", expected_close=date(2030, 1, 31)), row("2", expected_close=date(9999, 12, 31))
    )
    assert [one.key for one in report.by_close_month][-3:] == ["2027-09", "2030-01", "9999-12"]
    assert len(report.by_close_month) == 14


@pytest.mark.parametrize(
    ("on", "start_month", "key", "start"),
    [
        (date(2026, 11, 23), 1, "FY2026-Q4", date(2026, 10, 1)),
        (date(2026, 11, 23), 2, "FY2027-Q4", date(2026, 11, 1)),
        (date(2026, 1, 15), 2, "FY2026-Q4", date(2025, 11, 1)),
        (date(2026, 4, 1), 4, "FY2027-Q1", date(2026, 4, 1)),
    ],
)
def test_fiscal_quarter_is_named_after_the_year_it_ends_in(on, start_month, key, start):
    quarter = quarter_of(on, start_month)
    assert (quarter.key, quarter.start) == (key, start)


def test_scope_reads_only_the_named_connections():
    report = report_of(row("1"), row("2", "two"), scope=Scope(connections=frozenset({"two"})))
    assert (report.records, report.open.count) == (1, 1)


def test_scope_by_owner_and_pipeline_ignores_case():
    mine = row("1", owner_id="7", owner_name="Ada", owner_email="ada@example.com")
    scope = Scope(pipelines=frozenset({"SALES"}), owners=frozenset({"ADA@example.com"}))
    assert report_of(mine, row("2"), scope=scope).open.count == 1


def test_owner_with_one_address_in_two_crms_is_one_owner():
    rows = (
        row("1", owner_id="7", owner_name="Ada", owner_email="ada@example.com"),
        row("2", "two", owner_id="9", owner_name="Ada O.", owner_email="Ada@Example.com"),
    )
    assert [(one.owner, one.count) for one in report_of(*rows).by_owner] == [("Ada", 2)]


def test_velocity_counts_only_deals_from_the_qualified_stage_on():
    rows = (row("1"), row("2", common_stage="proposal"), row("3", common_stage=None))
    assert report_of(*rows, qualified_stage="proposal").velocity[0].open_count == 1


def test_top_deals_are_the_largest_and_cut_at_the_limit():
    report = report_of(*(row(str(n), amount=str(n)) for n in range(1, 6)), top=2)
    assert [deal.amount for deal in report.top_deals] == [5, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"as_of": datetime(2026, 10, 1)},  # noqa: DTZ001
        {"time_zone": "Mars/Olympus"},
        {"fiscal_start_month": 13},
        {"period": (date(2026, 1, 1), date(2026, 1, 1))},
        {"qualified_stage": "dreaming"},
    ],
)
def test_unusable_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        settings(**wrong)


def test_json_holds_decimals_as_plain_digits():
    report = report_of(row(ref("1").id, amount="1E+3"))
    assert '"amount":"1000"' in report.model_dump_json()
