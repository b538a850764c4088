"""Idle time counts from the last work of a person; a stage is left too late by what won deals took."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from crmkit.model import Outcome, Ref
from crmkit.report.facts.scale import instant
from crmkit.report.inputs import Scope
from crmkit.report.metrics.idle import idle
from crmkit.report.metrics.stuck import stuck
from crmkit.report.metrics.stuck_figures import StuckDeals
from tests.report.fact_rows import Book, Change, Step, facts_of
from tests.report.rows import USD, day, ref, row, settings

AS_OF = datetime(2026, 10, 1, tzinfo=UTC)
OLD = {"created_at": day("2026-01-10")}


def ago(days: float) -> datetime:
    return AS_OF - timedelta(days=days)


def idle_rows(book: Book, **changes: Any) -> dict[str, dict[str, Any]]:
    chosen = settings(**changes)
    with facts_of(book, USD, chosen) as facts:
        rows = facts.rows(f"SELECT * FROM {idle(facts, chosen)}")
    return {one["ref"].split(":")[2]: one for one in rows}


def edit(
    one: Ref, days: float, name: str = "amount", *, own: bool = False, old: Any = "1", new: Any = "2"
) -> Change:
    return Change(one, name, ago(days), old, new, own)


def test_the_latest_sign_of_a_person_counts_and_nothing_that_is_planned_or_written_by_crmkit():
    ids = "created activity planned note entered human own own-after-human own-modified".split()
    ids += "modified cleared seen-modified seen-own".split()
    rows = {id: row(id, **OLD) for id in ids}
    rows["activity"] = row("activity", last_activity_at=ago(3), **OLD)
    rows["planned"] = row("planned", last_activity_at=ago(-3), modified_at=ago(4), **OLD)
    rows["entered"] = row("entered", stage_entered_at=ago(6), **OLD)
    rows["modified"] = row("modified", modified_at=ago(9), **OLD)
    rows["own-modified"] = row("own-modified", modified_at=ago(1), **OLD)
    changes = [
        edit(ref("human"), 7),
        edit(ref("human"), 20),
        edit(ref("own"), 2, own=True),
        edit(ref("own-after-human"), 8),
        edit(ref("own-after-human"), 2, own=True),
        # crmkit wrote it yesterday; ten days before a person had.
        edit(ref("own-modified"), 1, "modified_us", own=True, old=ago(11), new=ago(1)),
        edit(ref("seen-modified"), 12, "modified_us", old=ago(30), new=ago(13)),
        # A later pull sees when crmkit wrote.
        edit(ref("seen-own"), 4, own=True),
        edit(ref("seen-own"), 3, "modified_us", old=ago(30), new=ago(4)),
        # The CRM takes a planned step off the deal by itself.
        edit(ref("cleared"), 1, "next_us", old=ago(1), new=None),
    ]
    book = Book(rows.values(), changes=changes, extra={ref("note"): {"note_us": instant(ago(5))}})
    found = {key: one["idle_days"] for key, one in idle_rows(book).items()}
    ever = (AS_OF - OLD["created_at"]).days
    assert found == {
        "created": ever,
        "activity": 3,
        "planned": 4,
        "note": 5,
        "entered": 6,
        "human": 7,
        "own": ever,
        "own-after-human": 8,
        "own-modified": 11,
        "modified": 9,
        "cleared": ever,
        "seen-modified": 13,
        "seen-own": ever,
    }


def test_work_on_any_record_of_a_linked_deal_is_work_on_the_deal():
    rows = [
        row("a", modified_at=ago(1), **OLD),
        row("b", "two", modified_at=ago(2), last_activity_at=ago(3), **OLD),
    ]
    # The copy was written by crmkit, after a person had edited the other record.
    changes = [edit(ref("a"), 1, own=True), edit(ref("b", "two"), 2)]
    links = {ref("a"): "L", ref("b", "two"): "L"}
    found = idle_rows(Book(rows, links, changes=changes))
    assert {key: one["idle_days"] for key, one in found.items()} == {"a": 2}
    (only,) = idle_rows(
        Book(rows, links, changes=changes), scope=Scope(connections=frozenset({"two"}))
    ).values()
    assert only["idle_days"] == 2


def test_no_known_date_is_no_sign_and_makes_nothing_stale():
    (found,) = idle_rows(Book([row("a", created_at=None)])).values()
    assert (found["idle_days"], found["stale"], found["warning"], found["stage_age_us"], found["stuck"]) == (
        None,
        False,
        False,
        None,
        False,
    )


@pytest.mark.parametrize(
    ("days", "stale", "warning"),
    [(13.999, False, False), (14, False, True), (19.999, False, True), (20, True, False)],
)
def test_thresholds_are_those_of_the_stage(days, stale, warning):
    book = Book([row("a", last_activity_at=ago(days), **OLD)])
    (found,) = idle_rows(book, stale_days_by_stage={"qualification": 20}).values()
    assert (found["stale"], found["warning"]) == (stale, warning)


def won_after(days: list[float]) -> tuple[list[Any], list[Step]]:
    """Won deals that stayed so many days in the stage s1, half of the time of each in a second visit."""
    rows, steps = [], []
    for number, stay in enumerate(days):
        one = ref(f"won {number}")
        rows.append(row(one.id, outcome=Outcome.WON, closed_at=ago(50), stage_id="s9", common_stage="won"))
        start = ago(200)
        half = timedelta(days=stay / 2)
        steps += [
            Step(one, "s1", start),
            Step(one, "s2", start + half),
            Step(one, "s1", ago(150)),
            Step(one, "s9", ago(150) + half),
        ]
    return rows, steps


def stuck_of(stays: list[float], **ages: float) -> StuckDeals:
    rows, steps = won_after(stays)
    rows += [row(id, stage_entered_at=ago(days)) for id, days in ages.items()]
    chosen = settings()
    with facts_of(Book(rows, steps=steps), USD, chosen) as facts:
        return stuck(facts, chosen)


def test_stuck_is_longer_than_one_and_a_half_times_the_median_of_won_deals():
    # 20 samples with 8 and 10 days in the middle: 13.5 days are allowed.
    made = stuck_of([1.0] * 9 + [8, 10] + [40.0] * 9, edge=13.5, over=13.5001)
    assert made.stuck_refs == ("one:deal:over",)
    (limit,) = made.limits
    assert (limit.median_days.value, limit.limit_days, limit.from_history) == (9, Decimal("13.5"), True)
    assert (limit.median_days.sample, limit.open_count, limit.stuck_count) == (20, 2, 1)


def test_too_few_samples_leave_it_to_the_setting_of_the_stage():
    made = stuck_of([1.0] * 19, edge=60, over=60.0001)
    assert made.stuck_refs == ("one:deal:over",)
    (limit,) = made.limits
    assert (limit.limit_days, limit.from_history, limit.median_days.sample) == (60, False, 19)


def test_the_entry_comes_from_history_where_the_crm_does_not_tell_it():
    book = Book([row("a", **OLD)], steps=[Step(ref("a"), "s0", ago(70)), Step(ref("a"), "s1", ago(61))])
    (found,) = idle_rows(book).values()
    assert (found["stage_age_us"], found["stuck"]) == (61 * 86_400_000_000, True)


def test_every_open_deal_is_once_in_each_heat_of_its_stage():
    rows = [
        row("1", created_at=ago(30), stage_entered_at=ago(3)),
        row("2", created_at=ago(31), stage_entered_at=ago(31), amount=None),
        row("3", created_at=ago(181), stage_entered_at=ago(91), common_stage="proposal", stage_id="s2"),
        row("4", created_at=None, common_stage=None, stage_id="s3"),
    ]
    with facts_of(Book(rows), USD, settings()) as facts:
        made = stuck(facts, settings())
    ages = {stage.stage: [bucket.count for bucket in stage.by_age] for stage in made.stages}
    stays = {stage.stage: [bucket.count for bucket in stage.by_stage_age] for stage in made.stages}
    assert ages == {
        "qualification": [1, 1, 0, 0, 0, 0],
        "proposal": [0, 0, 0, 0, 1, 0],
        None: [0, 0, 0, 0, 0, 1],
    }
    assert stays == {
        "qualification": [1, 1, 0, 0, 0, 0],
        "proposal": [0, 0, 0, 1, 0, 0],
        None: [0, 0, 0, 0, 0, 1],
    }
    assert sum(bucket.amount for stage in made.stages for bucket in stage.by_age) == 300
    assert made.stage_age_unknown_count == 1
    assert (made.stale.count, made.stuck.count) == (2, 1)
