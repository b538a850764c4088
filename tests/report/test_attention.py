"""Next steps, the deals to focus on, and what comes after the purchase."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from crmkit.model import Outcome, ValuePeriod
from crmkit.report.facts.scale import day_number, instant
from crmkit.report.inputs import CommonStage, NativeStage
from crmkit.report.metrics.focus import WEIGHTS, Focus, focus
from crmkit.report.metrics.followups import FollowUps, follow_ups
from crmkit.report.metrics.renewals import Renewals, renewals
from tests.report.fact_rows import Book, Change, Step, facts_of
from tests.report.rows import STAGES, USD, day, ref, row, settings

AS_OF = datetime(2026, 10, 1, 9, tzinfo=UTC)
TODAY = date(2026, 10, 1)


def ids(refs: tuple[str, ...]) -> list[str]:
    return [one.split(":")[2] for one in refs]


def follow_ups_of(steps: dict[str, datetime | None], *more: Any, **changes: Any) -> FollowUps:
    chosen = settings(**{"as_of": AS_OF} | changes)
    rows = [row(id, owner_id="1", owner_name="Ada") for id in steps]
    extra = {ref(id): {"next_us": None if at is None else instant(at)} for id, at in steps.items()}
    with facts_of(Book([*rows, *more], extra=extra), USD, chosen) as facts:
        return follow_ups(facts, chosen)


def test_every_deal_waits_for_one_thing_at_most():
    hour = timedelta(hours=1)
    made = follow_ups_of(
        {
            "none": None,
            "long ago": AS_OF - timedelta(days=9),
            "an hour ago": AS_OF - hour,
            "now": AS_OF,
            "in a week": datetime(2026, 10, 8, 23, 59, tzinfo=UTC),
            "later": datetime(2026, 10, 9, tzinfo=UTC),
        },
        row("silent", "two"),
    )
    assert ids(made.without.refs) == ["none"]
    assert ids(made.overdue.refs) == ["long ago", "an hour ago"]
    assert ids(made.due.refs) == ["now", "in a week"]
    assert (made.until, made.not_readable) == (date(2026, 10, 8), ("two",))
    (owner,) = made.by_owner
    assert (owner.owner, owner.without, owner.overdue, owner.due) == ("Ada", 1, 2, 2)
    assert [deal.days for deal in made.overdue.deals] == [-9, 0]
    assert made.overdue.amount == 200


def test_the_days_of_a_next_step_are_those_of_the_zone():
    late = {"a": datetime(2026, 10, 8, 23, 59, tzinfo=UTC)}
    made = follow_ups_of(late, time_zone="Asia/Tokyo")
    assert made.due.count == 0


def test_the_next_step_of_any_record_of_a_linked_deal_counts():
    rows = [row("a", modified_at=AS_OF), row("b", "two")]
    links = {ref("a"): "L", ref("b", "two"): "L"}
    planned = {"next_us": instant(AS_OF + timedelta(days=1))}
    chosen = settings(as_of=AS_OF)
    book = Book([*rows, row("c")], links, extra={ref("b", "two"): planned, ref("c"): planned})
    with facts_of(book, USD, chosen) as facts:
        assert ids(follow_ups(facts, chosen).due.refs) == ["a", "c"]


def focus_of(book: Book, **changes: Any) -> Focus:
    stages = tuple(
        NativeStage(
            connection="one",
            pipeline_id="p",
            pipeline_name="Sales",
            stage_id=id,
            stage_name=id,
            order=order,
            common_stage="qualification",
        )
        for order, id in enumerate(["s1", "s2", "s3"], 1)
    )
    chosen = settings(as_of=AS_OF, native_stages=stages, **changes)
    with facts_of(book, USD, chosen) as facts:
        return focus(facts, chosen)


def test_points_add_up_and_say_what_they_are_for():
    fresh = {"created_at": AS_OF, "last_activity_at": AS_OF, "stage_name": "s2", "stage_id": "s2"}
    best = row("best", amount="300", probability=Decimal(1), **fresh)
    worst = row("worst", amount="1", created_at=AS_OF - timedelta(days=400))
    middle = row("middle", amount="2", probability=Decimal("0.5"), created_at=AS_OF - timedelta(days=90))
    before, much_before = AS_OF - timedelta(days=29), AS_OF - timedelta(days=31)
    changes = [
        *(Change(ref("best"), "amount", before, "1", "2") for _ in range(6)),
        Change(ref("middle"), "amount", before, "1", "2"),
        Change(ref("middle"), "amount", before, "1", "2", own=True),
        Change(ref("middle"), "amount", much_before, "1", "2"),
        *(
            Change(ref("middle"), "close_day", much_before, date(2026, 10, n), date(2026, 10, n + 1))
            for n in (1, 2)
        ),
    ]
    steps = [
        Step(ref("best"), "s1", much_before),
        Step(ref("best"), "s2", before),
        Step(ref("middle"), "s2", much_before - timedelta(days=1)),
        Step(ref("middle"), "s1", much_before),
    ]
    made = focus_of(Book([worst, best, middle], changes=changes, steps=steps), top=2)
    assert (made.count, [deal.name for deal in made.deals]) == (3, ["Deal best", "Deal middle"])
    first, second = made.deals
    assert first.points == {
        "value": 30,
        "probability": 25,
        "changes": 10,
        "advance": 10,
        "pushes": 0,
        "freshness": 15,
        "age": 10,
    }
    assert first.score == 100
    assert second.points == {
        "value": 15,
        "probability": 12,
        "changes": 2,
        "advance": 0,
        "pushes": -10,
        "freshness": 0,
        "age": 5,
    }
    assert second.score == sum(second.points.values())
    assert (second.push_count, second.recent_changes, second.advanced, second.age_days) == (2, 1, False, 90)


def test_no_score_is_below_zero_and_the_weights_make_a_hundred():
    pushes = [
        Change(ref("a"), "close_day", day(f"2026-06-{n:02}"), date(2026, 7, n), date(2026, 7, n + 1))
        for n in range(1, 9)
    ]
    (deal,) = focus_of(Book([row("a", created_at=day("2026-01-01"))], changes=pushes)).deals
    assert (deal.points["pushes"], deal.score) == (WEIGHTS["pushes"], 0)
    assert sum(most for most in WEIGHTS.values() if most > 0) == 100


def renewals_of(*days: tuple[str, date | None, date | None], **changes: Any) -> Renewals:
    won = {"outcome": Outcome.WON, "closed_at": day("2025-10-01"), "stage_id": "s9", "common_stage": "won"}
    rows = [row(id, value_period=ValuePeriod.ANNUAL, **won) for id, _, _ in days]
    rows.append(row("open", value_period=ValuePeriod.ANNUAL))
    rows.append(row("care", **won | {"stage_id": "s10", "common_stage": "care"}))
    extra = {
        ref(id): {
            "renewal_day": None if renewal is None else day_number(renewal),
            "upsell_day": None if upsell is None else day_number(upsell),
        }
        for id, renewal, upsell in days
    }
    extra[ref("open")] = {"renewal_day": day_number(TODAY)}
    stages = (*STAGES, CommonStage("care", "Customer care", 5, Outcome.WON))
    chosen = settings(as_of=AS_OF, stages=stages, **changes)
    with facts_of(Book(rows, extra=extra), USD, chosen) as facts:
        return renewals(facts, chosen)


def test_renewals_are_due_in_the_next_days_or_overdue_and_never_guessed():
    made = renewals_of(
        ("past", date(2026, 9, 30), None),
        ("today", TODAY, date(2026, 9, 1)),
        ("last", date(2026, 12, 30), None),
        ("beyond", date(2026, 12, 31), date(2026, 10, 31)),
        ("far", date(2028, 2, 1), None),
        ("undated", None, None),
    )
    assert made.renewals.until == date(2026, 12, 30)
    assert ids(made.renewals.upcoming.refs) == ["today", "last"]
    assert ids(made.renewals.overdue.refs) == ["past"]
    assert [deal.days for deal in made.renewals.upcoming.deals] == [0, 90]
    assert (ids(made.upsells.upcoming.refs), ids(made.upsells.overdue.refs)) == (["beyond"], ["today"])
    months = {month.key: (month.count, month.amount) for month in made.renewals.by_month if month.count}
    assert months == {"2026-10": (1, 100), "2026-12": (2, 200), "2028-02": (1, 100)}
    assert len(made.renewals.by_month) == 13
    assert (made.undated_recurring_count, made.undated_recurring_amount) == (1, 100)
    assert [(stage.stage, stage.count, stage.amount) for stage in made.after_sale] == [("care", 1, 100)]
