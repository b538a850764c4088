"""What a stage of the source means in the target, with every outcome, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from crmkit.mapping.stages import StageKey, Unmapped
from crmkit.migration.stages import DirectStages, common_id, direct_maps
from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage

OPEN, WON, LOST = Outcome.OPEN, Outcome.WON, Outcome.LOST


def line(of: str, native: str, *stages: tuple[str, Outcome], archived: tuple[str, ...] = ()) -> Pipeline:
    held = tuple(
        Stage(id=id, name=id.title(), order=order, outcome=outcome, archived=id in archived)
        for order, (id, outcome) in enumerate(stages)
    )
    return Pipeline(ref=Ref(of, Kind.PIPELINE, native), name=native.upper(), stages=held)


OLD = line("old", "p", ("new", OPEN), ("offer", OPEN), ("won", WON), ("lost", LOST))
NEW = line("new", "q", ("n", OPEN), ("o", OPEN), ("w", WON), ("l", LOST))
PLACES: Mapping[StageKey, StageKey] = {
    ("p", "new"): ("q", "n"), ("p", "offer"): ("q", "o"),
    ("p", "won"): ("q", "w"), ("p", "lost"): ("q", "l"),
}  # fmt: skip
APART = line("apart", "q", ("n", OPEN), ("o", OPEN))


def maps(
    source: Sequence[Pipeline] = (OLD,),
    target: Sequence[Pipeline] = (NEW,),
    places: Mapping[StageKey, StageKey] = PLACES,
    *,
    apart: tuple[bool, bool] = (False, False),
) -> tuple[DirectStages, DirectStages]:
    return direct_maps("old", "new", source, target, places, apart=apart)


def carried(source: DirectStages, target: DirectStages, stage: str, outcome: Outcome) -> str | None:
    """The target's stage for a source deal; `None` if its stage means nothing there."""
    common = source.to_common("p", stage, outcome)
    if isinstance(common, Unmapped):
        return None
    assert source.outline[common].outcome is outcome
    native = target.to_native(common, "q")
    assert isinstance(native, str)
    assert target.to_common("q", native, outcome) == common
    return native


@pytest.mark.parametrize(
    ("stage", "outcome", "arrives"),
    [("new", OPEN, "n"), ("offer", OPEN, "o"), ("won", WON, "w"), ("lost", LOST, "l")],
)
def test_a_stage_goes_to_its_place_and_means_the_same_there(
    stage: str, outcome: Outcome, arrives: str
) -> None:
    assert carried(*maps(), stage, outcome) == arrives


def test_two_stages_that_go_to_one_mean_the_same() -> None:
    source, _ = maps(places={**PLACES, ("p", "offer"): ("q", "n")})
    assert source.to_common("p", "offer", OPEN) == source.to_common("p", "new", OPEN)


def test_a_stage_without_a_place_means_nothing_and_is_named() -> None:
    places = {key: place for key, place in PLACES.items() if key[1] != "offer"}
    found = maps(places=places)[0].to_common("p", "offer", OPEN)
    assert isinstance(found, Unmapped)
    assert found.reason == "the target has no stage for 'Offer' of 'P' yet"


def test_a_place_that_the_target_does_not_have_is_none() -> None:
    source, target = maps(places={**PLACES, ("p", "offer"): ("q", "nope")})
    assert carried(source, target, "offer", OPEN) is None


def test_a_stage_that_the_source_does_not_list_says_so() -> None:
    found = maps()[0].to_common("p", "ghost", OPEN)
    assert isinstance(found, Unmapped)
    assert found.reason == "the CRM does not list this stage"


def test_a_deal_without_a_stage_means_nothing() -> None:
    assert isinstance(maps()[0].to_common(None, None, OPEN), Unmapped)


def test_a_deal_that_is_closed_in_an_open_stage_goes_where_its_outcome_is_kept() -> None:
    assert carried(*maps(apart=(True, False)), "new", WON) == "w"
    assert carried(*maps(apart=(True, False)), "offer", LOST) == "l"


def test_closed_in_an_open_stage_goes_to_the_closing_stage_that_the_source_uses() -> None:
    two = line("new", "q", ("n", OPEN), ("o", OPEN), ("paid", WON), ("w", WON), ("l", LOST))
    assert carried(*maps(target=[two], apart=(True, False)), "new", WON) == "w"


def test_closed_in_an_open_stage_goes_to_the_first_closing_stage_if_the_source_uses_none() -> None:
    two = line("new", "q", ("n", OPEN), ("paid", WON), ("w", WON))
    places = {("p", "new"): ("q", "n")}
    assert carried(*maps(target=[two], places=places, apart=(True, False)), "new", WON) == "paid"


def test_no_deal_is_closed_in_an_archived_stage() -> None:
    gone = line("new", "q", ("n", OPEN), ("w", WON), archived=("w",))
    source, target = maps(target=[gone], places={("p", "new"): ("q", "n")}, apart=(True, False))
    assert carried(source, target, "new", WON) is None


def test_a_closed_deal_waits_where_the_target_cannot_close_it_so() -> None:
    open_only = line("new", "q", ("n", OPEN), ("w", WON))
    source, _ = maps(target=[open_only], places={("p", "new"): ("q", "n")}, apart=(True, False))
    found = source.to_common("p", "new", LOST)
    assert isinstance(found, Unmapped)
    assert found.reason == "the target has no stage for 'New', lost, of 'P' yet"


def test_an_open_deal_is_never_closed_by_being_moved() -> None:
    places = {**PLACES, ("p", "offer"): ("q", "w")}
    source, target = maps(places=places)
    assert carried(source, target, "offer", OPEN) is None


@pytest.mark.parametrize("outcome", Outcome)
def test_a_target_that_keeps_outcomes_apart_takes_every_outcome_in_every_stage(outcome: Outcome) -> None:
    places = {("p", "new"): ("q", "n"), ("p", "won"): ("q", "o"), ("p", "lost"): ("q", "n")}
    source, target = maps(target=[APART], places=places, apart=(False, True))
    assert carried(source, target, "new", outcome) == "n"


def test_a_won_deal_stays_won_beside_the_stage() -> None:
    places = {("p", "new"): ("q", "n"), ("p", "won"): ("q", "o")}
    source, target = maps(target=[APART], places=places, apart=(False, True))
    assert source.to_common("p", "won", WON) == target.to_common("q", "o", WON) == common_id("q", "o", WON)


def test_stages_of_one_id_in_two_pipelines_stay_apart() -> None:
    old = line("old", "r", ("new", OPEN), ("won", WON), ("lost", LOST))
    new = line("new", "s", ("n", OPEN), ("w", WON), ("l", LOST))
    places = {**PLACES, ("r", "new"): ("s", "n"), ("r", "won"): ("s", "w"), ("r", "lost"): ("s", "l")}
    source, target = maps([OLD, old], [NEW, new], places)
    common = source.to_common("r", "new", OPEN)
    assert common != source.to_common("p", "new", OPEN)
    assert target.to_native(str(common), "s") == "n"
    assert target.choices(str(common), "q") == ()


def test_what_was_read_is_written_back_where_it_was() -> None:
    _, target = maps()
    for stage in NEW.stages:
        common = target.to_common("q", stage.id, stage.outcome)
        assert isinstance(common, str)
        assert target.to_native(common, "q", stage.id) == stage.id


def test_a_target_without_closing_stages_still_has_an_outline() -> None:
    _, target = maps(target=[line("new", "q", ("n", OPEN))], places={("p", "new"): ("q", "n")})
    assert {stage.outcome for stage in target.outline.stages} == set(Outcome)
