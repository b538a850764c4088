"""The stage map: what a deal's stage means, where it is written, and the two laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.errors import ConfigError
from crmkit.mapping.stages import DEFAULT_OUTLINE, CommonStage, Outline, StageMap, Unmapped, Unwritable
from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage

OUTLINE = DEFAULT_OUTLINE.extended([CommonStage("disqualified", "Disqualified", 75, Outcome.LOST)])
COMMON = [stage.id for stage in OUTLINE.stages]


def pipeline(*stages: Stage, id: str = "p") -> Pipeline:
    return Pipeline(ref=Ref("crm", Kind.PIPELINE, id), name="Sales", stages=stages)


SALES = pipeline(
    Stage(id="new", name="New", order=1),
    Stage(id="offer", name="Offer", order=2),
    Stage(id="offer2", name="Second offer", order=3),
    Stage(id="old", name="Old offer", order=0, archived=True),
    Stage(id="won", name="Won", order=4, outcome=Outcome.WON),
    Stage(id="lost", name="Lost", order=5, outcome=Outcome.LOST),
)
ENTRIES = {
    ("p", "new"): "prospecting",
    ("p", "offer"): "proposal",
    ("p", "offer2"): "proposal",
    ("p", "old"): "proposal",
    ("p", "won"): "won",
    ("p", "lost"): "lost",
}
APART = pipeline(
    Stage(id="a", name="A", order=1), Stage(id="b", name="B", order=2), Stage(id="c", name="C", order=3)
)
APART_ENTRIES = {("p", "a"): "qualification", ("p", "b"): "proposal", ("p", "c"): "negotiation"}


def sales_map(**changes: object) -> StageMap:
    return StageMap("crm", OUTLINE, (SALES,), ENTRIES, **changes)  # type: ignore[arg-type]


def apart_map() -> StageMap:
    return StageMap("crm", OUTLINE, (APART,), APART_ENTRIES, outcome_apart=True)


@st.composite
def stage_maps(draw: st.DrawFn) -> StageMap:
    """Any map a person could declare, clashes, archived stages and odd defaults included."""
    apart = draw(st.booleans())
    pipelines = []
    for pipeline_id in draw(st.lists(st.sampled_from("pqr"), min_size=1, max_size=2, unique=True)):
        stages = [
            Stage(
                id=stage_id,
                name=draw(st.sampled_from(["New", "Offer", "Won"])),
                order=draw(st.integers(0, 3)),
                outcome=Outcome.OPEN if apart else draw(st.sampled_from(Outcome)),
                archived=draw(st.booleans()),
            )
            for stage_id in draw(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True))
        ]
        pipelines.append(pipeline(*stages, id=pipeline_id))
    keys = [(one.ref.id, stage.id) for one in pipelines for stage in one.stages]
    entries = draw(st.dictionaries(st.sampled_from(keys), st.sampled_from(COMMON)))
    defaults = draw(
        st.dictionaries(st.tuples(st.sampled_from("pqr"), st.sampled_from(COMMON)), st.sampled_from("abcdef"))
    )
    return StageMap("crm", OUTLINE, tuple(pipelines), entries, defaults, apart)


def deals_of(stage_map: StageMap) -> list[tuple[str, str, Outcome]]:
    """Every deal the CRM can hold: where the stage carries the outcome, the two agree."""
    return [
        (one.ref.id, stage.id, outcome)
        for one in stage_map.pipelines
        for stage in one.stages
        for outcome in (Outcome if stage_map.outcome_apart else [stage.outcome])
    ]


@given(stage_maps())
def test_writing_back_what_was_read_moves_no_deal(stage_map: StageMap) -> None:
    for pipeline_id, stage_id, outcome in deals_of(stage_map):
        common = stage_map.to_common(pipeline_id, stage_id, outcome)
        if isinstance(common, str):
            assert stage_map.to_native(common, pipeline_id, stage_id) == stage_id


@given(stage_maps(), st.sampled_from(COMMON), st.sampled_from("abcdef") | st.none())
def test_what_was_written_is_what_is_read_next(stage_map: StageMap, common: str, current: str | None) -> None:
    for one in stage_map.pipelines:
        native = stage_map.to_native(common, one.ref.id, current)
        if isinstance(native, str):
            stage = next(stage for stage in one.stages if stage.id == native)
            outcome = OUTLINE[common].outcome if stage_map.outcome_apart else stage.outcome
            assert stage_map.to_common(one.ref.id, native, outcome) == common


@given(stage_maps(), st.sampled_from(COMMON))
def test_writing_twice_changes_nothing_more(stage_map: StageMap, common: str) -> None:
    for one in stage_map.pipelines:
        native = stage_map.to_native(common, one.ref.id)
        if isinstance(native, str):
            assert stage_map.to_native(common, one.ref.id, native) == native


@given(stage_maps())
def test_a_deal_is_never_read_with_another_outcome_than_its_own(stage_map: StageMap) -> None:
    for pipeline_id, stage_id, outcome in deals_of(stage_map):
        common = stage_map.to_common(pipeline_id, stage_id, outcome)
        if isinstance(common, str) and not OUTLINE.after_sale(common):
            assert OUTLINE[common].outcome is outcome


@given(stage_maps())
def test_the_table_says_what_the_look_up_says(stage_map: StageMap) -> None:
    listed = {(p, s, o): common for p, s, o, common in stage_map.rows()}
    for deal in deals_of(stage_map):
        common = stage_map.to_common(*deal)
        assert listed.get(deal) == (common if isinstance(common, str) else None)


@given(stage_maps(), st.sampled_from(COMMON))
def test_no_deal_is_moved_to_an_archived_stage(stage_map: StageMap, common: str) -> None:
    for one in stage_map.pipelines:
        native = stage_map.to_native(common, one.ref.id)
        assert not any(stage.archived for stage in one.stages if stage.id == native)


def test_a_deal_in_the_second_of_two_stages_stays_there() -> None:
    assert sales_map().to_native("proposal", "p", "offer2") == "offer2"


def test_a_deal_in_an_archived_stage_of_the_same_meaning_stays_there() -> None:
    assert sales_map().to_native("proposal", "p", "old") == "old"


def test_the_first_live_stage_is_written_unless_another_is_declared() -> None:
    assert sales_map().to_native("proposal", "p", "new") == "offer"
    assert sales_map(defaults={("p", "proposal"): "offer2"}).to_native("proposal", "p", "new") == "offer2"


def test_a_declared_default_that_is_archived_is_not_used() -> None:
    assert sales_map(defaults={("p", "proposal"): "old"}).to_native("proposal", "p", "new") == "offer"


def test_a_common_stage_without_a_native_one_cannot_be_written() -> None:
    problem = sales_map().to_native("negotiation", "p", "offer")

    assert isinstance(problem, Unwritable)
    assert problem.common == "negotiation"


@pytest.mark.parametrize(("common", "pipeline_id"), [("nonsense", "p"), ("won", None), ("won", "elsewhere")])
def test_an_unknown_target_cannot_be_written(common: str, pipeline_id: str | None) -> None:
    assert isinstance(sales_map().to_native(common, pipeline_id), Unwritable)


def test_a_stage_without_an_entry_is_unmapped() -> None:
    entries = {key: common for key, common in ENTRIES.items() if key != ("p", "new")}
    found = StageMap("crm", OUTLINE, (SALES,), entries).to_common("p", "new", Outcome.OPEN)

    assert found == Unmapped("p", "new", "no common stage is declared")


def test_a_stage_that_the_crm_does_not_list_is_unmapped() -> None:
    assert sales_map().to_common("p", "ghost", Outcome.OPEN) == Unmapped(
        "p", "ghost", "the CRM does not list this stage"
    )


def test_a_deal_without_a_stage_is_unmapped() -> None:
    assert isinstance(sales_map().to_common("p", None, Outcome.WON), Unmapped)


def test_an_open_deal_in_a_stage_mapped_to_won_is_unmapped() -> None:
    found = StageMap("crm", OUTLINE, (SALES,), {("p", "new"): "won"}).to_common("p", "new", Outcome.OPEN)

    assert isinstance(found, Unmapped)
    assert "open" in found.reason


def test_a_won_stage_mapped_to_lost_reads_as_won() -> None:
    stage_map = StageMap("crm", OUTLINE, (SALES,), {("p", "won"): "lost"})

    assert stage_map.to_common("p", "won", Outcome.WON) == "won"


def test_an_open_deal_in_a_post_purchase_stage_is_post_purchase() -> None:
    stage_map = StageMap("crm", OUTLINE, (SALES,), {("p", "new"): "post_purchase"})

    assert stage_map.to_common("p", "new", Outcome.OPEN) == "post_purchase"


def test_a_lost_stage_may_have_a_common_stage_of_its_own() -> None:
    stage_map = StageMap("crm", OUTLINE, (SALES,), {("p", "lost"): "disqualified"})

    assert stage_map.to_common("p", "lost", Outcome.LOST) == "disqualified"


@pytest.mark.parametrize(
    ("outcome", "common"), [(Outcome.OPEN, "proposal"), (Outcome.WON, "won"), (Outcome.LOST, "lost")]
)
def test_where_outcomes_live_apart_the_outcome_outweighs_the_stage(outcome: Outcome, common: str) -> None:
    assert apart_map().to_common("p", "b", outcome) == common


def test_where_outcomes_live_apart_a_lost_deal_keeps_its_stage() -> None:
    assert apart_map().to_native("lost", "p", "b") == "b"


def test_where_outcomes_live_apart_a_new_won_deal_gets_the_last_stage_and_a_lost_one_the_first() -> None:
    assert (apart_map().to_native("won", "p"), apart_map().to_native("lost", "p")) == ("c", "a")


def test_where_outcomes_live_apart_the_place_of_new_won_deals_can_be_declared() -> None:
    stage_map = StageMap("crm", OUTLINE, (APART,), APART_ENTRIES, {("p", "won"): "b"}, outcome_apart=True)

    assert stage_map.to_native("won", "p") == "b"


def test_an_outline_keeps_its_stages_in_order() -> None:
    assert [stage.id for stage in OUTLINE.stages][-3:] == ["lost", "disqualified", "post_purchase"]


def test_only_won_stages_later_than_won_are_after_the_sale() -> None:
    assert [stage.id for stage in OUTLINE.stages if OUTLINE.after_sale(stage.id)] == ["post_purchase"]


def test_a_common_stage_can_be_renamed() -> None:
    assert DEFAULT_OUTLINE.renamed({"meeting": "Vor-Ort-Termin"})["meeting"].name == "Vor-Ort-Termin"


def test_renaming_an_unknown_common_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match="demo"):
        DEFAULT_OUTLINE.renamed({"demo": "Demo"})


def test_a_common_stage_declared_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="won"):
        DEFAULT_OUTLINE.extended([CommonStage("won", "Won again", 61, Outcome.WON)])


def test_an_outline_without_a_lost_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match="lost"):
        Outline((CommonStage("open", "Open", 1), CommonStage("won", "Won", 2, Outcome.WON)))
