"""Quotas are met, covered and paced as metrics.md 11 says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from crmkit.model import LostKind, Outcome
from crmkit.report.inputs import Quota, Scope
from crmkit.report.metrics.coverage import coverage
from crmkit.report.metrics.coverage_figures import CoverageReport
from crmkit.report.money import total_of
from tests.report.fact_rows import Book, facts_of
from tests.report.rows import USD, day, ref, row, settings

Q3 = (date(2026, 7, 1), date(2026, 10, 1))
Q4 = (date(2026, 10, 1), date(2027, 1, 1))
ADA = {"owner_id": "1", "owner_name": "Ada", "owner_email": "ada@example.org"}
BOB = {"owner_id": "2", "owner_name": "Bob"}
EVE = {"owner_id": "3", "owner_name": "Eve"}
TEAMS = {"North": ("ada@example.org", "Bob"), "South": ("eve",)}


def coverage_of(*rows: Any, book: Book | None = None, **changes: Any) -> CoverageReport:
    chosen = settings(**changes)
    with facts_of(book or Book(rows), USD, chosen) as facts:
        return coverage(facts, chosen)


def won(id: str, amount: str = "100", at: str = "2026-10-02", **values: Any) -> Any:
    return row(id, amount=amount, outcome=Outcome.WON, closed_at=day(at), **values)


def quota(amount: int, period: tuple[date, date] = Q4, **whose: Any) -> Quota:
    return Quota(start=period[0], end=period[1], amount=Decimal(amount), **whose)


def worked_example() -> Book:
    lost = {"outcome": Outcome.LOST}
    rows = [
        won("a", "20000", "2026-07-20", created_at=day("2026-05-01")),
        won("b", "30000", "2026-09-10", created_at=day("2026-05-15")),
        row("c", amount="15000", created_at=day("2026-06-10"), closed_at=day("2026-08-05"), **lost),
        won("d", "4000", "2026-07-05", created_at=day("2026-07-05")),
        row("e", amount="25000", expected_close=date(2026, 11, 30), probability=Decimal("0.5")),
        row("f", amount="10000", expected_close=date(2026, 8, 15), probability=Decimal("0.6")),
        row("g", amount="40000", expected_close=date(2026, 12, 1), probability=Decimal("0.2")),
        row("h", amount="5000", closed_at=day("2026-09-25"), lost_kind=LostKind.ABANDONED, **lost),
        row("i", amount="12000", expected_close=date(2026, 10, 20), probability=Decimal("0.3")),
        row("k", amount="9000", expected_close=date(2026, 9, 1)),
    ]
    return Book(rows, gone={ref("k"): day("2026-09-15")})


def test_worked_example_16_2():
    made = coverage_of(book=worked_example(), period=Q3, quotas=(quota(100_000, Q3), quota(120_000)))
    third, fourth = made.periods
    assert (third.key, fourth.key) == ("FY2026-Q3", "FY2026-Q4")
    assert (third.whole.won_amount, third.whole.quota_attainment.value) == (54_000, Decimal("0.54"))
    assert third.whole.pace == Decimal("0.54")
    whole = fourth.whole
    assert (whole.due_in_period_amount, whole.weighted_amount, whole.overdue_amount) == (
        77_000,
        24_100,
        10_000,
    )
    assert round(whole.coverage.value, 4) == round(whole.coverage_total.value, 4) == Decimal("0.6417")
    assert round(whole.weighted_coverage.value, 4) == Decimal("0.2008")
    assert round(whole.win_rate_amount.value, 4) == Decimal("0.7297")
    assert round(whole.required_coverage, 4) == Decimal("1.3704")
    assert whole.coverage_gap_amount == pytest.approx(Decimal(120_000) * 74 / 54 - 77_000)
    assert (whole.pace, fourth.days_elapsed) == (None, 0)
    assert (made.window_start, made.window_end) == (date(2025, 10, 1), date(2026, 10, 1))


def test_without_a_quota_money_is_told_and_nothing_is_compared():
    whole = coverage_of(won("1"), row("2", expected_close=date(2026, 12, 1))).periods[0].whole
    assert (whole.won_amount, whole.due_in_period_amount) == (100, 100)
    assert (whole.quota, whole.remaining_quota, whole.quota_met, whole.coverage_gap_amount) == (
        None,
        None,
        False,
        None,
    )
    ratios = (whole.quota_attainment, whole.coverage, whole.coverage_total, whole.weighted_coverage)
    assert [one.value for one in ratios] == [None] * 4


@pytest.mark.parametrize(
    ("amount", "remaining", "met"), [(100, 0, True), (99, 0, True), (101, 1, False), (0, 0, False)]
)
def test_a_quota_that_is_met_needs_no_coverage(amount, remaining, met):
    whole = coverage_of(won("1"), quotas=(quota(amount),)).periods[0].whole
    assert (whole.remaining_quota, whole.quota_met) == (remaining, met)
    assert (whole.coverage.value is None) is (remaining == 0)
    assert (whole.quota_attainment.value is None) is (amount == 0)


def test_what_is_due_today_is_due_and_what_was_due_yesterday_is_overdue():
    rows = [row("1", expected_close=date(2026, 11, 10)), row("2", expected_close=date(2026, 11, 9)), row("3")]
    rows += [row("4", expected_close=date(2026, 12, 31)), row("5", expected_close=date(2027, 1, 1))]
    made = coverage_of(*rows, as_of=datetime(2026, 11, 10, 12, tzinfo=UTC))
    assert [one.whole.due_in_period_count for one in made.periods] == [2, 1]
    assert {one.whole.overdue_count for one in made.periods} == {1}


@pytest.mark.parametrize(
    ("as_of", "pace"),
    [
        (datetime(2026, 10, 1, 23, 59, tzinfo=UTC), None),
        (datetime(2026, 10, 2, tzinfo=UTC), Decimal(92) / 2),
        (datetime(2026, 11, 16, 12, tzinfo=UTC), Decimal(1)),
        (datetime(2027, 2, 1, tzinfo=UTC), Decimal("0.5")),
    ],
)
def test_pace_is_one_on_a_straight_line_and_unknown_on_the_first_day(as_of, pace):
    made = coverage_of(won("1", at="2026-10-01"), period=Q4, quotas=(quota(200),), as_of=as_of)
    assert made.periods[0].whole.pace == pace


def test_a_team_is_to_win_what_is_set_for_it_else_what_its_members_are():
    quotas = (
        quota(10, owner="ADA@example.org"),
        quota(20, owner="bob"),
        quota(40, owner="Eve"),
        quota(70, team="South"),
    )
    made = coverage_of(won("1", "5", **ADA), won("2", "6", **EVE), row("3"), teams=TEAMS, quotas=quotas)
    period = made.periods[0]
    assert {team.team: (team.quota, team.won_amount) for team in period.teams} == {
        "North": (30, 5),
        "South": (70, 6),
        None: (None, 0),
    }
    # Bob is known to no CRM and is to win his part all the same.
    assert {one.owner: (one.team, one.quota, one.won_amount) for one in period.owners} == {
        "Ada": ("North", 10, 5),
        "bob": ("North", 20, 0),
        "Eve": ("South", 40, 6),
        None: (None, None, 0),
    }
    assert period.whole.quota == 100


def test_one_owner_in_two_crms_is_one():
    rows = [won("1", **ADA), won("2", connection="two", **ADA | {"owner_id": "77"})]
    (only,) = coverage_of(*rows, quotas=(quota(400, owner="Ada"),)).periods[0].owners
    assert (only.owner, only.won_amount, only.quota_attainment.value) == ("Ada", 200, Decimal("0.5"))


def test_a_filter_by_owner_or_team_leaves_the_quotas_of_the_others_out():
    quotas = (
        quota(10, owner="Ada"),
        quota(20, owner="Bob"),
        quota(40, owner="Eve"),
        quota(1000),
        quota(60, team="North"),
    )
    rows = [won("1", **ADA), won("2", **BOB), won("3", **EVE)]

    def whole(**scope: frozenset[str]) -> Decimal | None:
        made = coverage_of(*rows, teams=TEAMS, quotas=quotas, scope=Scope(**scope))
        return made.periods[0].whole.quota

    assert whole() == 1000
    assert whole(owners=frozenset({"BOB"})) == 20
    assert whole(teams=frozenset({"north"})) == 60
    assert coverage_of(*rows, scope=Scope(pipelines=frozenset({"Sales"}))).partial_scope


def test_required_coverage_is_unknown_where_nothing_was_won_and_counts_no_duplicates():
    lost = {"outcome": Outcome.LOST, "closed_at": day("2026-09-01")}
    rows = [row("1", **lost)]
    assert coverage_of(*rows, quotas=(quota(10),)).periods[0].whole.required_coverage is None
    rows += [won("2", at="2026-09-02"), row("3", lost_kind=LostKind.DUPLICATE, amount="999", **lost)]
    whole = coverage_of(*rows, quotas=(quota(10),)).periods[0].whole
    assert (whole.required_coverage, whole.coverage_gap_amount) == (2, 20)
    negative = coverage_of(row("4", **lost | {"amount": "-1"}), *rows[1:2]).periods[0].whole
    assert negative.required_coverage is None


owners = st.sampled_from([{}, ADA, BOB, EVE, ADA | {"connection": "two", "owner_id": "9"}])


@given(
    st.lists(
        st.tuples(
            owners, st.sampled_from(["open", "won", "lost"]), st.integers(-9, 10**9), st.integers(-200, 200)
        ),
        max_size=12,
    )
)
@budget(max_examples=4, deadline=None)
def test_owners_and_teams_add_up_to_the_whole(cases):
    rows = []
    for number, (owner, status, amount, offset) in enumerate(cases):
        when = date.fromordinal(date(2026, 10, 1).toordinal() + offset)
        closing = {} if status == "open" else {"closed_at": day(when.isoformat())}
        connection = owner.get("connection", "one")
        known = {key: value for key, value in owner.items() if key != "connection"}
        rows.append(
            row(
                str(number),
                connection,
                amount=str(amount),
                outcome=Outcome(status),
                expected_close=when,
                probability=Decimal("0.25"),
                **known,
                **closing,
            )
        )
    for period in coverage_of(*rows, teams=TEAMS).periods:
        for parts in (period.owners, period.teams):
            for name in ("won_amount", "due_in_period_amount", "weighted_amount", "overdue_amount"):
                assert total_of(getattr(part, name) for part in parts) == getattr(period.whole, name)
            for name in ("won_count", "due_in_period_count", "overdue_count"):
                assert sum(getattr(part, name) for part in parts) == getattr(period.whole, name)
