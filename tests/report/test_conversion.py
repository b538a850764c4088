"""Stage conversion and duration: metrics.md 9, and its example 16.3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crmkit.model import Outcome
from crmkit.report.inputs import NativeStage, PipelineRow, SkipPolicy
from crmkit.report.metrics.conversion import conversion
from crmkit.report.metrics.conversion_figures import Conversion, LineConversion, StageConversion
from crmkit.report.metrics.funnel import Funnel, funnel
from tests.report.fact_rows import Book, Change, Step, facts_of
from tests.report.rows import USD, CommonStage, day, ref, row, settings

STEPS = ("1", "2", "3", "4")
COMMON = (
    CommonStage("early", "Early", 1),
    CommonStage("late", "Late", 2),
    CommonStage("won", "Won", 3, Outcome.WON),
    CommonStage("lost", "Lost", 4, Outcome.LOST),
)
MAPPED = {"1": "early", "2": "early", "3": "late", "4": "late", "won": "won", "lost": "lost"}
OUTCOMES = {"won": Outcome.WON, "lost": Outcome.LOST}
NATIVE = tuple(
    NativeStage(
        connection="one",
        pipeline_id="p",
        pipeline_name="Sales",
        stage_id=stage,
        stage_name=f"Stage {stage}",
        order=place,
        outcome=OUTCOMES.get(stage, Outcome.OPEN),
        common_stage=common,
    )
    for place, (stage, common) in enumerate(MAPPED.items(), 1)
)
START = day("2026-09-01")


def deal(id: str, *path: str, pipeline: str = "p", **values: object) -> tuple[PipelineRow, list[Step]]:
    """A deal that was in each stage for a day, from its creation on."""
    last = path[-1]
    steps = [Step(ref(id), stage, START + timedelta(days=place)) for place, stage in enumerate(path)]
    outcome = OUTCOMES.get(last, Outcome.OPEN)
    known: dict[str, object] = {
        "pipeline_id": pipeline,
        "stage_id": last,
        "stage_name": None,
        "common_stage": MAPPED.get(last),
        "outcome": outcome,
        "closed_at": steps[-1].at if outcome is not Outcome.OPEN else None,
    }
    return row(id, **(known | values)), steps


def book(*deals: tuple[PipelineRow, list[Step]]) -> Book:
    return Book([one for one, _ in deals], steps=[step for _, steps in deals for step in steps])


def found(made: Book, *, pipelines: tuple[str, ...] = ("p",), **changes: object) -> Conversion:
    chosen = settings(stages=COMMON, native_stages=in_pipelines(pipelines), **changes)
    with facts_of(made, USD, chosen) as facts:
        return conversion(facts, chosen)


def in_pipelines(names: tuple[str, ...]) -> tuple[NativeStage, ...]:
    """The same stages, with the same ids, in several pipelines."""
    return tuple(replace(stage, pipeline_id=name) for name in names for stage in NATIVE)


def sales(made: Book, **changes: object) -> LineConversion:
    (line,) = found(made, **changes).by_pipeline
    return line


def counts(stage: StageConversion) -> tuple[int, int, int, int]:
    return stage.cohort, stage.converted, stage.lost_from, stage.still_open


KEPT = {"stage_id": "1", "common_stage": "early", "closed_at": START + timedelta(days=3)}
CASES: Mapping[str, tuple[tuple[str, tuple[str, ...], Mapping[str, object]], ...]] = {
    "example": (
        ("p", ("1", "2", "3", "won"), {}),
        ("q", ("2", "lost"), {}),
        ("r", ("2",), {}),
        ("s", ("1", "3"), {}),
        ("t", ("2", "1", "2", "3"), {}),
    ),
    "starts late": (("a", ("3", "4"), {}),),
    "unknown beginning": (("a", ("3", "4"), {"created_at": day("2026-05-01")}),),
    "backward": (("a", ("2", "1", "2", "3"), {}),),
    "only back": (("a", ("3", "2"), {}),),
    "closed": (("a", ("1", "2", "lost"), {}), ("b", ("1", "won"), {})),
    "outcome apart": (
        ("a", ("1",), KEPT | {"outcome": Outcome.WON}),
        ("b", ("1",), KEPT | {"outcome": Outcome.LOST}),
    ),
    "reopened": (("a", ("1", "won", "1"), {}),),
    "one stays": (("a", ("1",), {}), ("b", ("1", "2"), {})),
    "one of three stays": (("a", ("1",), {}), ("b", ("1", "2"), {}), ("c", ("1", "2"), {})),
    "one of four stays": tuple((id, ("1", "2") if id > "a" else ("1",), {}) for id in "abcd"),
    "back again": (("a", ("1", "2", "1"), {}),),
    "deleted stage": (("a", ("1", "old", "3"), {}),),
    "gone": (("a", ("1", "2"), {}),),
}
"""Deals by id, path and values; every case in a pipeline of its own, all computed at once."""


def all_cases() -> Book:
    deals = [
        deal(f"{name} {id}", *path, pipeline=name, **values)
        for name, made in CASES.items()
        for id, path, values in made
    ]
    made = book(*deals)
    made.gone = {ref("gone a"): day("2026-09-20")}
    return made


@pytest.fixture(scope="module")
def whole() -> Conversion:
    return found(all_cases(), pipelines=tuple(CASES))


@pytest.fixture(scope="module")
def cases(whole: Conversion) -> Mapping[str | None, LineConversion]:
    return {line.pipeline_id: line for line in whole.by_pipeline}


def ratios(stage: StageConversion) -> tuple[Decimal | None, ...]:
    return tuple(
        None if ratio.value is None else round(ratio.value, 4)
        for ratio in (stage.conversion_raw, stage.conversion_resolved)
    )


def test_the_worked_example_of_stage_two_with_filled_stages(cases):
    second = cases["example"].stages[1]
    assert counts(second) == (5, 3, 1, 1)
    assert ratios(second) == (Decimal("0.6"), Decimal("0.75"))


def test_the_worked_example_of_stage_two_without():
    line = {
        one.pipeline_id: one
        for one in found(all_cases(), pipelines=tuple(CASES), skip_policy=SkipPolicy.EXCLUDE).by_pipeline
    }["example"]
    assert counts(line.stages[1]) == (4, 2, 1, 1)
    assert ratios(line.stages[1]) == (Decimal("0.5"), Decimal("0.6667"))


def test_the_funnel_counts_touched_stages_and_never_filled_ones(cases):
    stages = cases["example"].stages
    assert [stage.funnel_any for stage in stages] == [3, 4, 3, 0]
    # p and t were in 1 and 2; of those in 3, s never was in 2.
    assert [stage.funnel_all for stage in stages] == [3, 2, 2, 0]
    assert cases["example"].won == 1


def test_a_deal_that_starts_later_is_filled_at_its_creation_without_a_duration(cases):
    stages = cases["starts late"].stages
    assert [counts(stage) for stage in stages] == [(1, 1, 0, 0)] * 3 + [(1, 0, 0, 1)]
    assert [stage.stage_duration_median.sample for stage in stages] == [0, 0, 1, 0]
    assert [stage.funnel_any for stage in stages] == [0, 0, 1, 1]
    assert stages[2].stage_duration_median.value == 1


def test_nothing_is_filled_before_stages_whose_beginning_is_unknown(cases):
    line = cases["unknown beginning"]
    assert [stage.cohort for stage in line.stages] == [0, 0, 1, 1]
    assert line.beginning_unknown == 1


def test_a_backward_move_counts_once_and_its_durations_add_up(cases):
    stages = cases["backward"].stages
    assert [counts(stage) for stage in stages] == [(1, 1, 0, 0)] * 2 + [(1, 0, 0, 1), (0, 0, 0, 0)]
    assert stages[1].stage_duration_median.value == 2


def test_a_stage_reached_before_but_not_after_is_no_conversion(cases):
    assert counts(cases["only back"].stages[1]) == (1, 0, 0, 1)


def test_lost_from_the_stage_it_was_lost_in_and_won_from_all(cases):
    line = cases["closed"]
    assert [counts(stage) for stage in line.stages] == [
        (2, 2, 0, 0),
        (2, 1, 1, 0),
        (1, 1, 0, 0),
        (1, 1, 0, 0),
    ]
    assert line.won == 1


def test_an_outcome_beside_the_stage_ends_the_stay_and_wins(cases):
    line = cases["outcome apart"]
    assert [counts(line.stages[place]) for place in (0, 3)] == [(2, 1, 1, 0), (1, 1, 0, 0)]
    assert (line.won, line.stages[0].stage_duration_median.value, line.stages[0].current_count) == (1, 3, 0)


def test_won_and_reopened_has_still_gone_on_from_the_stages_before(cases):
    assert counts(cases["reopened"].stages[0]) == (1, 1, 0, 0)


def test_deals_still_in_the_stage_have_an_age_and_no_duration(cases):
    first = cases["one stays"].stages[0]
    assert (first.stage_duration_median.sample, first.current_count) == (1, 1)
    assert first.current_age_median.value == Decimal("29.5")


def test_back_in_the_stage_is_still_in_it(cases):
    first = cases["back again"].stages[0]
    assert (first.stage_duration_median.sample, first.current_count) == (0, 1)


def test_immature_says_that_too_many_are_open(cases):
    assert cases["one of three stays"].stages[0].immature
    assert not cases["one of four stays"].stages[0].immature
    assert not cases["gone"].stages[0].immature


def test_a_deleted_stage_keeps_its_id_as_label_and_flags_the_pipeline(cases, whole):
    line = cases["deleted stage"]
    (gone,) = line.deleted
    assert (gone.stage, gone.name, gone.entered, gone.stage_duration_median.value) == ("old", "old", 1, 1)
    assert counts(line.stages[0]) == (1, 1, 0, 0)
    assert (line.pipeline_changed, cases["closed"].pipeline_changed) == (True, False)
    assert whole.common.pipeline_changed


def test_gone_deals_are_in_no_cohort(cases):
    assert [stage.cohort for stage in cases["gone"].stages] == [0, 0, 0, 0]


def test_the_period_is_the_trailing_window_unless_settings_name_one(whole):
    assert (whole.start, whole.end) == (date(2025, 10, 2), date(2026, 10, 2))


def test_only_entries_in_the_period_are_in_the_cohort_but_what_came_later_counts():
    line = sales(book(deal("a", "1", "2", "3")), period=(date(2026, 9, 2), date(2026, 9, 3)))
    assert [counts(stage) for stage in line.stages] == [
        (0, 0, 0, 0),
        (1, 1, 0, 0),
        (0, 0, 0, 0),
        (0, 0, 0, 0),
    ]
    assert [stage.stage_duration_median.sample for stage in line.stages] == [1, 0, 0, 0]


def test_durations_are_exact_and_percentiles_interpolate():
    rows = [deal(str(number), "1")[0] for number in range(1, 5)]
    steps = [Step(one.ref, "1", START) for one in rows]
    steps += [Step(one.ref, "2", START + timedelta(days=n, seconds=1)) for n, one in enumerate(rows, 1)]
    first = sales(Book(rows, steps=steps)).stages[0]
    second = Decimal(1) / 86_400
    found_days = [first.stage_duration_median.value, first.stage_duration_p90.value]
    assert [round((days or 0) - second, 20) for days in found_days] == [Decimal("2.5"), Decimal("3.7")]
    assert first.stage_duration_median.low_sample


def test_common_stages_hold_several_native_ones_and_a_linked_deal_counts_once():
    newer = row("z", "two", modified_at=day("2026-09-20"), created_at=START, stage_id="x")
    made = book(
        deal("a", "1", "2", "3", "4", "won"), deal("b", "1", "2", modified_at=day("2026-09-21")), (newer, [])
    )
    made.links = {ref("b"): "L", ref("z", "two"): "L"}
    common = found(made).common
    early, late = common.stages
    assert (counts(early), counts(late), common.won) == ((2, 1, 0, 1), (1, 1, 0, 0), 1)
    assert early.stage_duration_median.value == 2
    assert (early.stage, late.name, early.position) == ("early", "Late", 1)


def test_what_pulls_saw_counts_where_the_crm_tells_nothing_and_no_more():
    seen = row("a", stage_id="2", common_stage="early", created_at=START)
    silent = row("b", stage_id="2", common_stage="early", created_at=START - timedelta(days=5))
    made = Book(
        [seen, silent],
        changes=[Change(ref("a"), "stage_id", START + timedelta(days=4), "1", "2")],
        first_seen={ref("a"): START, ref("b"): START},
    )
    line = sales(made)
    assert [stage.cohort for stage in line.stages] == [1, 1, 0, 0]
    assert line.stages[0].stage_duration_median.value == 4
    assert (line.without_history, line.stages[1].current_count) == (1, 2)


def shown(made: Book) -> Funnel:
    chosen = settings(stages=COMMON, native_stages=NATIVE)
    with facts_of(made, USD, chosen) as facts:
        return funnel(facts, chosen, conversion(facts, chosen))


def test_pipeline_versus_funnel():
    deals = [
        deal("a", "1", "3", amount="70"),
        deal("b", "1", "2"),
        deal("c", "2", "4", "won"),
        deal("d", "1"),
    ]
    result = shown(book(*deals, (row("u", stage_id="odd", common_stage=None, amount="5"), [])))
    assert [(one.stage, one.now_count, one.now_amount, one.reached_count) for one in result.stages] == [
        ("early", 2, Decimal(200), 4),
        ("late", 1, Decimal(70), 2),
        ("won", 0, Decimal(0), 1),
    ]
    first, _, last = result.stages
    assert first.step is not None
    assert (first.step.numerator, first.step.denominator, last.step) == (2, 4, None)
    assert last.from_start.value == Decimal("0.25")
    assert (result.unmapped_count, result.unmapped_amount) == (1, Decimal(5))


# Where a deal is now exists; where it was may be gone.
PATHS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([*STEPS, "old"]), max_size=4),
        st.sampled_from([*STEPS, "won", "lost"]),
    ).map(lambda parts: (*parts[0], parts[1])),
    min_size=5,
    max_size=25,
)


@hypothesis_settings(max_examples=6, deadline=None)
@given(PATHS, st.sampled_from(SkipPolicy))
def test_every_cohort_is_converted_lost_or_still_open(paths, policy):
    deals = (deal(str(number), *path) for number, path in enumerate(paths))
    result = found(book(*deals), skip_policy=policy)
    for line in (*result.by_pipeline, result.common):
        assert [counts(stage) for stage in line.stages] == read(paths, policy, common=line.connection is None)
        for stage in line.stages:
            assert stage.cohort == stage.converted + stage.lost_from + stage.still_open
            assert stage.funnel_all <= stage.funnel_any <= stage.cohort


def read(paths, policy, *, common):
    """The counts by reading each path as a person would."""
    order = ["early", "late"] if common else list(STEPS)
    rows = [[0, 0, 0, 0] for _ in order]
    for path in paths:
        end = path[-1]
        known = [(place, stage) for place, stage in enumerate(path) if stage in STEPS]
        places = [(place, order.index(MAPPED[stage] if common else stage)) for place, stage in known]
        if end == "won":
            places.append((len(path) - 1, len(order)))
        for level, counted in enumerate(rows):
            own = [place for place, at in places if at == level]
            higher = [place for place, at in places if at > level]
            if not own and not (policy is SkipPolicy.FILL and higher):
                continue
            entered = (own or higher)[0]
            went_on = end == "won" or any(place >= entered for place in higher)
            counted[0] += 1
            counted[1 if went_on else 2 if end == "lost" else 3] += 1
    return [tuple(counted) for counted in rows]
