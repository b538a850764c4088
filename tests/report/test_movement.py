"""Pushes are decisions about open deals, moves are counted once, and cohorts are split without a rest."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from crmkit.model import LostKind, Outcome
from crmkit.report.calendar import Span
from crmkit.report.inputs import NativeStage
from crmkit.report.metrics.movement import date_moves, movement, pushes
from crmkit.report.metrics.slip import slip, slips
from tests.report.fact_rows import Book, Change, Step, facts_of
from tests.report.rows import USD, day, ref, row, settings

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


def on(text: str) -> date:
    return date.fromisoformat(text)


@contextmanager
def opened(book: Book, **changes: Any):
    chosen = settings(**changes)
    with facts_of(book, USD, chosen) as facts:
        yield facts, chosen


def dated(id: str, *path: str | None, at: tuple[str, ...], connection: str = "one", **more: Any):
    """A deal whose close date took these values, one change at each of these times."""
    dates = [None if text is None else on(text) for text in path]
    moments = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in at]
    key = ref(id, connection)
    changes = [
        Change(key, "close_day", moment, old, new)
        for moment, old, new in zip(moments, dates, dates[1:], strict=False)
    ]
    return row(id, connection, expected_close=dates[-1], **more), changes


def moved_days(book: Book) -> list[int]:
    with opened(book) as (facts, chosen):
        return [
            one["days"] for one in facts.rows(f"SELECT days FROM {date_moves(facts, chosen)} ORDER BY number")
        ]


def test_a_later_date_is_a_push_an_earlier_one_a_pull_and_setting_one_is_neither():
    deal, changes = dated(
        "a",
        None,
        "2026-09-10",
        "2026-09-20",
        "2026-09-15",
        None,
        at=("2026-09-01", "2026-09-02", "2026-09-03", "2026-09-04"),
    )
    assert moved_days(Book([deal], changes=changes)) == [10, -5]


@pytest.mark.parametrize(
    ("closed_at", "days"),
    [
        # In the same transaction, and within sixty seconds before and after.
        ("2026-09-10T12:00:00", []),
        ("2026-09-10T12:01:00", []),
        ("2026-09-10T11:59:00", []),
        ("2026-09-10T12:01:01", [-20]),
        # Closed before: nobody decides about an open deal.
        ("2026-09-10T11:58:59", []),
    ],
)
def test_a_date_that_the_crm_sets_on_closing_is_no_pull(closed_at, days):
    deal, changes = dated("a", "2026-09-30", "2026-09-10", at=("2026-09-10T12:00:00",), outcome=Outcome.WON)
    at = datetime.fromisoformat(closed_at).replace(tzinfo=UTC)
    assert moved_days(Book([deal], changes=[*changes, Change(deal.ref, "status", at, "open", "won")])) == days


def test_a_closing_that_only_the_stage_history_tells_counts_as_one():
    deal, changes = dated("a", "2026-09-30", "2026-09-10", at=("2026-09-10T12:00:30",))
    closing = NativeStage(
        connection="one",
        pipeline_id="p",
        pipeline_name="Sales",
        stage_id="s9",
        stage_name="Won",
        order=9,
        outcome=Outcome.WON,
    )
    book = Book([deal], changes=changes, steps=[Step(deal.ref, "s9", day("2026-09-10"))])
    with opened(book, native_stages=(closing,)) as (facts, chosen):
        assert facts.rows(f"SELECT * FROM {date_moves(facts, chosen)}") == []


def test_a_new_date_on_reopening_is_no_push():
    deal, changes = dated("a", "2026-09-01", "2026-09-30", at=("2026-09-10T12:00:00",))
    reopened = Change(deal.ref, "status", day("2026-09-10"), "lost", "open")
    assert moved_days(Book([deal], changes=[*changes, reopened])) == []


def test_pushes_of_a_record_are_added_up_to_an_instant():
    deal, changes = dated(
        "a",
        "2026-09-10",
        "2026-09-20",
        "2026-09-15",
        "2026-10-15",
        at=("2026-09-01", "2026-09-05", "2026-09-11"),
    )
    quiet = row("b")
    with opened(Book([deal, quiet], changes=changes)) as (facts, chosen):
        (now,) = facts.rows(f"SELECT * FROM {pushes(facts, chosen)}")
        (then,) = facts.rows(f"SELECT * FROM {pushes(facts, chosen, day('2026-09-10'))}")
    assert (now["id"], now["push_count"], now["push_days"]) == ("a", 2, 40)
    assert now["push_gap_us"] == timedelta(days=10) // timedelta(microseconds=1)
    assert (then["push_count"], then["push_days"], then["push_gap_us"]) == (1, 10, None)


def test_the_period_has_each_deal_once_with_its_first_and_last_date():
    deal, changes = dated(
        "a",
        "2026-09-01",
        "2026-09-25",
        "2026-10-05",
        "2026-11-05",
        at=("2026-09-01", "2026-09-25", "2026-09-28"),
    )
    pulled, more = dated("b", "2026-10-20", "2026-10-01", at=("2026-09-27",), amount="7")
    won, gone = dated(
        "c", "2026-09-20", "2026-10-02", at=("2026-09-26",), outcome=Outcome.LOST, closed_at=day("2026-09-29")
    )
    lost = Change(won.ref, "status", day("2026-09-29"), "open", "lost")
    with opened(Book([deal, pulled, won], changes=[*changes, *more, *gone, lost])) as (facts, chosen):
        found = movement(facts, chosen)
    assert (found.pushed.count, found.pushed.moves, found.pushed.days) == (2, 3, 41 + 12)
    first = found.pushed.deals[0]
    assert (first.ref, first.old_date, first.new_date, first.moves) == (
        "one:deal:a",
        on("2026-09-25"),
        on("2026-11-05"),
        2,
    )
    assert (first.push_count, first.push_days) == (3, 24 + 41)
    assert (found.pulled.refs, found.pulled.days, found.pulled.amount) == (("one:deal:b",), -19, 7)


def test_only_a_push_from_the_period_past_its_end_is_a_slip_of_the_period():
    inside, one = dated("inside", "2026-07-10", "2026-09-30", at=("2026-09-26",))
    out, two = dated("out", "2026-09-30", "2026-10-01", at=("2026-09-26",))
    later, three = dated("later", "2026-10-01", "2026-12-01", at=("2026-09-26",))
    quarter = (on("2026-07-01"), on("2026-10-01"))
    with opened(Book([inside, out, later], changes=[*one, *two, *three]), period=quarter) as (facts, chosen):
        found = movement(facts, chosen)
    assert found.pushed.count == 3
    assert found.cross_period.refs == ("one:deal:out",)


def native(stage: str, order: int, common: str | None, pipeline: str = "p", outcome: Outcome = Outcome.OPEN):
    return NativeStage(
        connection="one",
        pipeline_id=pipeline,
        pipeline_name={"p": "Sales", "q": "Renewals"}[pipeline],
        stage_id=stage,
        stage_name=stage.upper(),
        order=order,
        outcome=outcome,
        common_stage=common,
    )


STAGES = (
    native("s1", 1, "qualification"),
    native("s2", 2, "proposal"),
    native("s3", 3, None),
    native("s8", 8, "won", outcome=Outcome.WON),
    native("s9", 9, "lost", outcome=Outcome.LOST),
    # Some CRMs share stages between pipelines.
    native("s1", 1, "qualification", "q"),
    native("s2", 2, "proposal", "q"),
)


def walked(id: str, *path: tuple[str, str], **values: Any):
    """A deal that entered these stages at these times, by its CRM's own history."""
    steps = [Step(ref(id), stage, datetime.fromisoformat(at).replace(tzinfo=UTC)) for stage, at in path]
    changes = [
        Change(ref(id), "stage_id", step.at, earlier.stage_id, step.stage_id)
        for earlier, step in pairwise(steps)
    ]
    return row(id, stage_id=path[-1][0], **values), steps, changes


@pytest.fixture(scope="module")
def moves():
    parts = [
        walked("on", ("s1", "2026-09-01"), ("s2", "2026-09-26"), amount="10"),
        walked("back", ("s2", "2026-09-01"), ("s1", "2026-09-26")),
        # Up, down and up again: one move net, three steps gross.
        walked("up", ("s1", "2026-09-01"), ("s2", "2026-09-25"), ("s1", "2026-09-26"), ("s3", "2026-09-27")),
        walked("none", ("s1", "2026-09-01"), ("s2", "2026-09-25"), ("s1", "2026-09-26")),
        walked("early", ("s1", "2026-09-01"), ("s2", "2026-09-02")),
        walked(
            "won",
            ("s2", "2026-09-01"),
            ("s8", "2026-09-26"),
            outcome=Outcome.WON,
            closed_at=day("2026-09-26"),
        ),
        walked("new", ("s1", "2026-09-25"), ("s2", "2026-09-26"), created_at=day("2026-09-25")),
        walked("other", ("s1", "2026-09-01"), ("s2", "2026-09-26"), pipeline_id="q"),
    ]
    changes = [change for _, _, found in parts for change in found]
    changes.append(Change(ref("other"), "pipeline_id", datetime(2026, 9, 26, tzinfo=UTC), "p", "q"))
    changes.append(Change(ref("won"), "status", day("2026-09-26"), "open", "won"))
    book = Book(
        [deal for deal, _, _ in parts],
        steps=[step for _, steps, _ in parts for step in steps],
        changes=changes,
        first_seen={ref("new"): day("2026-09-25")},
    )
    with opened(book, native_stages=STAGES) as (facts, chosen):
        yield movement(facts, chosen)


def test_first_and_last_stage_decide_which_way_a_deal_moved(moves):
    assert {kind: set(one.refs) for kind, one in moves.by_kind.items() if one.refs} == {
        "advance": {"one:deal:on", "one:deal:up", "one:deal:new"},
        "regress": {"one:deal:back"},
        "pipeline_move": {"one:deal:other"},
        "won": {"one:deal:won"},
    }
    (line,) = [one for one in moves.by_kind["advance"].deals if one.ref == "one:deal:on"]
    assert (line.old.native_stage, line.new.native_stage, line.value) == ("S1", "S2", 10)


def test_single_steps_are_counted_beside(moves):
    assert {kind: one.steps for kind, one in moves.by_kind.items() if one.steps} == {
        "advance": 5,
        "regress": 3,
        "pipeline_move": 1,
        "won": 1,
    }


def test_the_matrix_of_common_stages_is_net_or_gross(moves):
    net = {(one.from_stage, one.to_stage): one.count for one in moves.net}
    assert net == {
        ("qualification", "proposal"): 3,
        ("proposal", "qualification"): 1,
        ("qualification", None): 1,
        ("proposal", "won"): 1,
    }
    gross = {(one.from_stage, one.to_stage): one.count for one in moves.gross}
    assert gross == {
        ("qualification", "proposal"): 5,
        ("proposal", "qualification"): 3,
        ("qualification", None): 1,
        ("proposal", "won"): 1,
    }


def test_native_moves_name_pipelines_and_stages(moves):
    assert {
        (one.from_pipeline, one.from_stage, one.to_pipeline, one.to_stage): one.count for one in moves.native
    } == {
        ("Sales", "S1", "Sales", "S2"): 2,
        ("Sales", "S2", "Sales", "S1"): 1,
        ("Sales", "S1", "Sales", "S3"): 1,
        ("Sales", "S2", "Sales", "S8"): 1,
        ("Sales", "S1", "Renewals", "S2"): 1,
    }


def test_a_linked_deal_that_changes_its_record_moves_only_if_its_common_stage_does():
    rows = [
        row("a", modified_at=day("2026-09-01")),
        row("b", "two", stage_id="x", common_stage="proposal", modified_at=day("2026-09-28")),
    ]
    book = Book(rows, {ref("a"): "L", ref("b", "two"): "L"}, first_seen={ref("b", "two"): day("2026-09-28")})
    with opened(book) as (facts, chosen):
        found = movement(facts, chosen)
    assert [(one.from_stage, one.to_stage) for one in found.net] == [("qualification", "proposal")]
    assert found.native == ()
    assert not any(one.count for one in found.by_kind.values())


# metrics.md 16.2, the cohort of the third quarter.
QUARTER = Span(on("2026-07-01"), on("2026-10-01"), "FY2026-Q3")


def closed(id: str, amount: str, due: str, closed_on: str, outcome: Outcome, kind: LostKind | None = None):
    deal = row(
        id,
        amount=amount,
        outcome=outcome,
        closed_at=day(closed_on),
        expected_close=on(closed_on),
        lost_kind=kind,
    )
    return deal, [
        Change(deal.ref, "status", day(closed_on), "open", outcome.value),
        Change(deal.ref, "close_day", day(closed_on), on(due), on(closed_on)),
    ]


@pytest.fixture(scope="module")
def cohort() -> Book:
    e = row("e", amount="25000", expected_close=on("2026-11-30"), probability=Decimal("0.5"))
    parts = [
        closed("a", "20000", "2026-07-31", "2026-07-20", Outcome.WON),
        closed("b", "30000", "2026-08-31", "2026-09-10", Outcome.WON),
        closed("c", "15000", "2026-09-15", "2026-08-05", Outcome.LOST),
        closed("d", "4000", "2026-07-05", "2026-07-05", Outcome.WON),
        (e, [Change(e.ref, "close_day", day("2026-09-01"), on("2026-09-20"), on("2026-11-30"))]),
        (row("f", amount="10000", expected_close=on("2026-08-15"), probability=Decimal("0.6")), []),
        (row("g", amount="40000", expected_close=on("2026-12-01"), probability=Decimal("0.2")), []),
        closed("h", "5000", "2026-09-30", "2026-09-25", Outcome.LOST, LostKind.ABANDONED),
        (row("i", amount="12000", expected_close=on("2026-10-20"), created_at=day("2026-08-01")), []),
        (row("k", amount="9000", expected_close=on("2026-09-01")), []),
    ]
    return Book(
        [deal for deal, _ in parts],
        changes=[change for _, changes in parts for change in changes],
        first_seen={ref("d"): day("2026-07-05"), ref("i"): day("2026-08-01")},
        gone={ref("k"): day("2026-08-20")},
    )


def test_the_cohort_of_the_quarter_has_the_documented_outcomes(cohort):
    with opened(cohort) as (facts, chosen):
        found = slip(facts, chosen, QUARTER)
    assert (found.count, found.amount, found.complete) == (7, 114000, True)
    assert {name: (one.count, one.amount) for name, one in found.outcomes.items()} == {
        "won": (2, 50000),
        "lost": (2, 20000),
        "pushed": (1, 25000),
        "overdue": (1, 10000),
        "removed": (1, 9000),
        "pending": (0, 0),
    }
    assert (found.slip_rate_count.numerator, found.slip_rate_count.denominator) == (2, 7)
    assert str(round(found.slip_rate_amount.value, 4)) == "0.3070"
    assert (found.close_on_time_rate.numerator, found.miss_rate.numerator) == (2, 5)
    # Nobody put a deal into commit, and none is at 0.9.
    assert found.commit_slip_rate.value is None
    (pushed,) = found.outcomes["pushed"].deals
    assert (pushed.ref, pushed.old.close_date, pushed.new.close_date) == (
        "one:deal:e",
        on("2026-09-20"),
        on("2026-11-30"),
    )


def test_a_running_quarter_shows_what_may_still_close_in_time(cohort):
    with opened(cohort, as_of=day("2026-08-10")) as (facts, chosen):
        found = slip(facts, chosen, QUARTER)
    assert not found.complete
    assert {name: set(one.refs) for name, one in found.outcomes.items() if one.refs} == {
        "won": {"one:deal:a"},
        "lost": {"one:deal:c"},
        "pending": {f"one:deal:{id}" for id in "befhk"},
    }


def test_a_cleared_date_is_overdue_and_says_so():
    deal, changes = dated("a", "2026-09-01", None, at=("2026-08-01",))
    with opened(Book([deal], changes=changes)) as (facts, chosen):
        (line,) = slip(facts, chosen, QUARTER).outcomes["overdue"].deals
    assert line.reason == "date_cleared"


def test_committed_deals_are_those_of_the_category_else_of_a_high_probability():
    said = row("said", expected_close=on("2026-09-01"), probability=Decimal("0.1"))
    sure = row("sure", expected_close=on("2026-12-01"), probability=Decimal("0.9"))
    best = row("best", expected_close=on("2026-09-01"), probability=Decimal(1))
    book = Book(
        [said, sure, best],
        changes=[Change(sure.ref, "close_day", day("2026-08-01"), on("2026-09-01"), on("2026-12-01"))],
        extra={said.ref: {"forecast_category": "Committed"}, best.ref: {"forecast_category": "BEST_CASE"}},
    )
    with opened(book) as (facts, chosen):
        found = slip(facts, chosen, QUARTER)
    assert (found.commit_slip_rate.numerator, found.commit_slip_rate.denominator) == (2, 2)


def test_an_empty_cohort_has_no_rate_and_a_coming_period_no_cohort():
    with opened(Book([row("a")])) as (facts, chosen):
        found = slip(facts, chosen, QUARTER)
        assert (found.count, found.slip_rate_count.value, found.slip_rate_amount.value) == (0, None, None)
        assert slip(facts, chosen, Span(on("2027-01-01"), on("2027-04-01"), "x")) is None


def test_quarters_before_the_first_pull_are_not_made_up():
    book = Book([row("a", expected_close=on("2026-09-01"))], first_seen={ref("a"): day("2026-06-20")})
    with opened(book, as_of=day("2026-10-05")) as (facts, chosen):
        found = slips(facts, chosen, previous=4)
    assert found.period.key == "FY2026-Q4"
    assert [one.key for one in found.previous] == ["FY2026-Q3"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["open", "won", "lost"]),
            st.one_of(st.none(), st.dates(on("2026-06-15"), on("2026-10-15"))),
            st.one_of(st.none(), st.dates(on("2026-06-15"), on("2026-10-15"))),
            st.booleans(),
            st.integers(-5, 100),
        ),
        min_size=1,
        max_size=20,
    )
)
@budget(max_examples=5, deadline=None)
def test_every_deal_of_a_cohort_has_one_outcome(deals):
    rows, changes, gone = [], [], {}
    due = count = 0
    for number, (status, now, then, deleted, amount) in enumerate(deals):
        deal = row(str(number), amount=str(amount), outcome=Outcome(status), expected_close=now)
        rows.append(deal)
        changes.append(Change(deal.ref, "close_day", day("2026-08-01"), then, now))
        if status != "open":
            changes.append(Change(deal.ref, "status", day("2026-08-01"), "open", status))
        if deleted:
            gone[deal.ref] = day("2026-08-01")
        if then is not None and QUARTER.start <= then < QUARTER.end:
            count, due = count + 1, due + amount
    with opened(Book(rows, changes=changes, gone=gone)) as (facts, chosen):
        found = slip(facts, chosen, QUARTER)
    assert (found.count, found.amount) == (count, due)
    assert sum(one.count for one in found.outcomes.values()) == count
    assert found.outcomes["pending"].count == 0
