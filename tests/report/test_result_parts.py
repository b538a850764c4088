"""Results by owner, team, connection and month, by stage entered, and as they were at creation."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from crmkit.model import LostKind, Outcome
from crmkit.report.metrics.open_deals import due_in
from crmkit.report.metrics.periods import current_period
from crmkit.report.metrics.result_figures import ResultsInParts
from crmkit.report.metrics.result_parts import results_in_parts
from crmkit.report.metrics.slip import slip
from crmkit.report.metrics.waterfall import waterfalls
from crmkit.report.money import total_of
from tests.report.fact_rows import Book, Change, Step, facts_of
from tests.report.rows import USD, day, ref, row, settings

QUARTER = (date(2026, 7, 1), date(2026, 10, 1))


def closed(id: str, outcome: Outcome, on: str, amount: str, **values: object):
    known = {"created_at": day("2026-06-01"), "common_stage": outcome.value, "stage_id": outcome.value}
    return row(id, amount=amount, outcome=outcome, closed_at=day(on), **(known | values))


def parts_of(book: Book, **changes: object) -> ResultsInParts:
    chosen = settings(**changes)
    with facts_of(book, USD, chosen) as facts:
        return results_in_parts(facts, chosen, QUARTER, overdue_or_stale=0)


ADA = {"owner_id": "7", "owner_name": "Ada", "owner_email": "ada@example.org", "owner_key": "ada@example.org"}
BO = {"owner_id": "8", "owner_name": "Bo", "owner_email": "bo@example.org", "owner_key": "bo@example.org"}


@pytest.fixture(scope="module")
def found() -> ResultsInParts:
    """The deals of metrics.md 16.2 that were closed or created in the quarter, with owners and stages."""
    rows = [
        closed("a", Outcome.WON, "2026-07-20", "20000", **ADA),
        closed("b", Outcome.WON, "2026-09-10", "30000", **BO),
        closed("c", Outcome.LOST, "2026-08-05", "15000", **ADA),
        closed("d", Outcome.WON, "2026-07-05", "4000", created_at=day("2026-07-05")),
        closed("h", Outcome.LOST, "2026-09-25", "5000", lost_kind=LostKind.ABANDONED, **BO),
        closed("x", Outcome.LOST, "2026-09-26", "7", lost_kind=LostKind.DUPLICATE, **BO),
        row("i", amount="12000", created_at=day("2026-08-01"), **ADA),
        # Only so that the stages are known.
        row("s", stage_id="s2", common_stage="proposal", created_at=day("2026-01-01"), amount=None),
    ]
    steps = [
        *(Step(ref(id), "s1", day("2026-06-02")) for id in "abch"),
        *(Step(ref(id), "s2", day("2026-06-03")) for id in "ac"),
        Step(ref("x"), "s2", day("2026-06-03")),
    ]
    return parts_of(Book(rows, steps=steps), teams={"North": ("ada@example.org",), "South": ()})


def test_owners_come_with_what_they_won_and_deals_without_one_last(found):
    told = [(one.owner, one.won.amount, one.lost.amount, one.created.amount) for one in found.by_owner]
    assert told == [("Bo", 30000, 5007, 0), ("Ada", 20000, 15000, 12000), (None, 4000, 0, 4000)]


def test_win_rate_of_an_owner_leaves_duplicates_out(found):
    rate = found.by_owner[0].win_rate
    assert (rate.numerator, rate.denominator) == (1, 2)


def test_every_team_is_there_and_owners_without_one_are_the_last_row(found):
    told = [(one.team, one.won.count, one.lost.count, one.created.count) for one in found.by_team]
    assert told == [("North", 1, 1, 1), ("South", 0, 0, 0), (None, 2, 2, 1)]


def test_without_teams_there_is_no_list_of_them():
    assert parts_of(Book([row("a")])).by_team == ()


def test_months_are_whole_and_in_order(found):
    told = [(one.key, one.won.amount, one.lost.amount, one.net_new_pipeline) for one in found.by_month]
    assert told == [
        ("2026-07", 24000, 0, 4000 - 24000),
        ("2026-08", 0, 15000, 12000 - 15000),
        ("2026-09", 30000, 5007, -35007),
    ]


def test_first_and_last_month_end_with_the_period():
    chosen = settings()
    with facts_of(Book([row("a")]), USD, chosen) as facts:
        cut = (date(2026, 8, 15), date(2026, 9, 10))
        months = results_in_parts(facts, chosen, cut, overdue_or_stale=0).by_month
    assert [(one.start, one.end) for one in months] == [
        (date(2026, 8, 15), date(2026, 9, 1)),
        (date(2026, 9, 1), date(2026, 9, 10)),
    ]


def test_win_rate_from_a_stage_is_over_deals_that_ever_entered_it(found):
    told = {
        one.stage: (one.win_rate.numerator, one.win_rate.denominator) for one in found.win_rate_from_stage
    }
    # d is in no history, x is a duplicate.
    assert told == {"qualification": (2, 4), "proposal": (1, 2)}


def test_amount_at_creation_is_the_first_one_known():
    rows = [row("grew", amount="50"), row("same", amount="7"), row("filled", amount="9")]
    changes = [
        Change(ref("grew"), "amount", day("2026-09-03"), Decimal(20), Decimal(30)),
        Change(ref("grew"), "amount", day("2026-09-05"), Decimal(30), Decimal(50)),
        Change(ref("filled"), "amount", day("2026-09-05"), None, Decimal(9)),
    ]
    found = parts_of(Book(rows, changes=changes))
    assert (found.created.amount, found.created_amount_at_creation) == (66, 27)
    assert (found.created_at_creation_count, found.created_at_creation_now_amount) == (3, 66)


def test_amount_at_creation_takes_the_first_currency():
    changes = [Change(ref("a"), "currency", day("2026-09-03"), "EUR", "USD")]
    found = parts_of(Book([row("a", amount="100")], changes=changes))
    # EUR is 1.20 since September.
    assert found.created_amount_at_creation == 120


def test_amount_at_creation_is_unknown_where_no_pull_had_begun():
    found = parts_of(Book([row("a")], first_seen={ref("a"): day("2026-09-20")}))
    assert (found.created.count, found.created_amount_at_creation, found.created_at_creation_count) == (
        1,
        None,
        0,
    )
    assert found.created_at_creation_now_amount is None


def test_nothing_created_was_worth_nothing_at_creation():
    assert parts_of(Book([row("a", created_at=day("2025-01-01"))])).created_amount_at_creation == 0


def test_due_in_the_period_is_what_its_waterfall_ends_with():
    rows = [
        row("due", amount="25000", expected_close=date(2026, 11, 30)),
        row("late", amount="10000", expected_close=date(2026, 10, 5)),
        row("next", amount="40000", expected_close=date(2027, 1, 1)),
        row("none", amount="1"),
    ]
    chosen = settings(as_of=day("2026-10-20"))
    with facts_of(Book(rows), USD, chosen) as facts:
        found = due_in(facts, chosen, current_period(chosen))
        end = waterfalls(facts, chosen).period.buckets["end"]
    assert (
        (found.key, found.count, found.amount)
        == ("FY2026-Q4", end.count, end.value)
        == ("FY2026-Q4", 2, 35000)
    )
    assert (found.overdue_count, found.overdue_amount) == (1, 10000)


@st.composite
def deals(draw):
    rows = []
    for number in range(draw(st.integers(0, 10))):
        moments = st.integers(-100, 10).map(lambda days: settings().as_of + timedelta(days=days, hours=5))
        outcome = draw(st.sampled_from(list(Outcome)))
        rows.append(
            row(
                str(number),
                draw(st.sampled_from(["one", "two"])),
                amount=draw(st.none() | st.integers(-50, 10**9).map(str)),
                currency=draw(st.sampled_from(["USD", "EUR", "CHF"])),
                outcome=outcome,
                lost_kind=draw(st.sampled_from(list(LostKind))) if outcome is Outcome.LOST else None,
                created_at=draw(moments),
                closed_at=draw(moments) if outcome is not Outcome.OPEN else None,
                **draw(st.sampled_from([ADA, BO, {}])),
            )
        )
    return rows


@how(max_examples=12, deadline=None)
@given(deals())
def test_every_list_of_parts_adds_up_to_the_whole(rows):
    found = parts_of(Book(rows), teams={"North": ("ada@example.org",)})
    rate = found.win_rates.count
    for parts in (found.by_owner, found.by_team, found.by_connection, found.by_month):
        for name in ("won", "lost", "created"):
            whole = getattr(found, name)
            for field in ("count", "amount_missing_count", "fx_missing_count"):
                assert sum(getattr(getattr(part, name), field) for part in parts) == getattr(whole, field)
            assert total_of(getattr(part, name).amount for part in parts) == whole.amount
        assert total_of(part.net_new_pipeline for part in parts) == found.net_new_pipeline
        assert sum(part.win_rate.numerator for part in parts) == rate.numerator
        assert sum(part.win_rate.denominator for part in parts) == rate.denominator


def test_commits_of_the_slip_rate_follow_the_settings():
    rows = [
        row("named", expected_close=date(2026, 8, 1)),
        row("likely", expected_close=date(2026, 8, 1), probability=Decimal("0.8")),
        row("unlikely", expected_close=date(2026, 8, 1), probability=Decimal("0.7")),
    ]
    extra = {ref("named"): {"forecast_category": "Sure"}}
    chosen = settings(period=QUARTER, forecast_names={"Sure": "commit"}, commit_share=Decimal("0.8"))
    early = [replace(one, created_at=day("2026-05-01")) for one in rows]
    with facts_of(Book(early, extra=extra), USD, chosen) as facts:
        found = slip(facts, chosen)
    assert found is not None
    assert found.commit_slip_rate.denominator == 2
