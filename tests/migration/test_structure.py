"""Where pipelines, stages, custom fields and owners go: as decided, else to their like, else to new ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from crmkit.connectors.base import Field
from crmkit.errors import ConfigError
from crmkit.migration.structure import (
    FRESH,
    Abilities,
    FieldPlace,
    PipelinePlace,
    StagePlace,
    Structure,
    Way,
    place_fields,
    place_owners,
    place_pipelines,
)
from crmkit.migration_settings import MigrationSettings
from crmkit.model import Kind, Outcome, Owner, Pipeline, Ref, Stage

OPEN, WON, LOST = Outcome.OPEN, Outcome.WON, Outcome.LOST
EVERY_TYPE = frozenset({"text", "number", "money", "boolean", "day", "time", "choice", "choices"})
KINDS = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
ABLE = Abilities(pipelines=True, stages=True, fields=dict.fromkeys(KINDS, EVERY_TYPE))


def decisions(**decided: Any) -> MigrationSettings:
    return MigrationSettings(source="old", target="new", **decided)


def stages(*wanted: str | tuple[str, Outcome], prefix: str = "") -> tuple[Stage, ...]:
    named = [(one, OPEN) if isinstance(one, str) else one for one in wanted]
    return tuple(
        Stage(id=f"{prefix}{name.strip().lower()}", name=name, order=order, outcome=outcome)
        for order, (name, outcome) in enumerate(named)
    )


def line(
    native: str, name: str, *wanted: str | tuple[str, Outcome], of: str = "old", archived: bool = False
) -> Pipeline:
    held = stages(*wanted, prefix="" if of == "old" else "t-")
    return Pipeline(ref=Ref(of, Kind.PIPELINE, native), name=name, archived=archived, stages=held)


CLOSING: tuple[tuple[str, Outcome], ...] = (("Won", WON), ("Lost", LOST))
SALES = line("s", "Sales", "New", "Offer", *CLOSING)
THERE = line("t", "sales ", "New", "Offer", *CLOSING, of="new")


def placed(
    source: list[Pipeline],
    target: list[Pipeline],
    *,
    able: Abilities = ABLE,
    used: Collection[tuple[str, str]] = (),
    **decided: Any,
) -> tuple[list[PipelinePlace], list[StagePlace]]:
    return place_pipelines(source, target, decisions(**decided), able, used)


def goes(places: list[StagePlace]) -> dict[str, str | None]:
    return {one.source.name: one.target.id if one.target is not None else None for one in places}


class TestPipelines:
    """Pipelines."""

    def test_one_of_the_same_name_is_taken_however_it_is_spelt(self) -> None:
        (found,), _ = placed([SALES], [THERE])
        assert found.way is Way.SAME
        assert found.target is not None
        assert found.target.ref.id == "t"

    def test_one_that_is_missing_is_created_with_its_stages(self) -> None:
        (found,), places = placed([SALES], [])
        assert found.way is Way.CREATE
        assert found.target is not None
        assert found.target.ref.id == f"{FRESH}s"
        assert [one.name for one in found.target.stages] == ["New", "Offer", "Won", "Lost"]
        assert {one.way for one in places} == {Way.CREATE}

    def test_one_that_cannot_be_created_is_to_be_made_by_hand(self) -> None:
        (found,), places = placed([SALES], [], able=Abilities())
        assert found.way is Way.BY_HAND
        assert {one.way for one in places} == {Way.BY_HAND}

    @pytest.mark.parametrize("name", ["s", "Sales"])
    @pytest.mark.parametrize("wanted", ["x", "Deals"])
    def test_a_decision_names_both_by_id_or_by_name(self, name: str, wanted: str) -> None:
        (found,), _ = placed([SALES], [THERE, line("x", "Deals", of="new")], pipelines={name: wanted})
        assert found.target is not None
        assert found.target.ref.id == "x"

    def test_one_is_left_out_by_decision_with_its_stages(self) -> None:
        (found,), places = placed([SALES], [THERE], pipelines={"Sales": "skip"})
        assert (found.way, found.target, places) == (Way.SKIP, None, [])

    def test_an_archived_one_without_deals_is_left_out(self) -> None:
        (found,), places = placed([line("s", "Sales", "New", archived=True)], [THERE])
        assert (found.way, places) == (Way.SKIP, [])

    def test_an_archived_one_with_deals_takes_part(self) -> None:
        (found,), _ = placed([line("s", "Sales", "New", archived=True)], [THERE], used={("s", "new")})
        assert found.way is Way.SAME

    def test_an_archived_one_of_the_target_is_not_taken(self) -> None:
        (found,), _ = placed([SALES], [line("t", "Sales", "New", of="new", archived=True)])
        assert found.way is Way.CREATE

    def test_an_archived_one_of_the_target_cannot_be_decided_for(self) -> None:
        gone = line("x", "Deals", "New", of="new", archived=True)
        with pytest.raises(ConfigError, match="no pipeline 'Deals', which 'Sales' shall go to"):
            placed([SALES], [THERE, gone], pipelines={"Sales": "Deals"})

    def test_two_of_a_name_in_the_target_are_no_ones_counterpart(self) -> None:
        (found,), _ = placed([SALES], [THERE, line("u", "Sales", "New", of="new")])
        assert found.way is Way.CREATE

    def test_two_of_a_name_in_the_source_stay_two(self) -> None:
        (one, other), _ = placed([SALES, line("r", "Sales", "New")], [THERE])
        assert (one.way, other.way) == (Way.SAME, Way.CREATE)

    @pytest.mark.parametrize("first", [True, False])
    def test_one_that_goes_elsewhere_by_decision_does_not_drive_out_the_one_of_the_same_name(
        self, first: bool
    ) -> None:
        other = line("r", "Renewals", "New")
        lines, _ = placed(
            [other, SALES] if first else [SALES, other], [THERE], pipelines={"Renewals": "sales "}
        )
        assert [(one.way, one.target and one.target.ref.id) for one in lines] == [(Way.SAME, "t")] * 2

    def test_a_decision_about_a_pipeline_that_the_source_lacks_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="pipelines: the source has no 'Slaes'") as caught:
            placed([SALES], [THERE], pipelines={"Slaes": "skip"})
        assert caught.value.hint == "It has 'Sales'."

    def test_a_decision_for_a_pipeline_that_the_target_lacks_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="the target has no pipeline 'Nope'") as caught:
            placed([SALES], [THERE], pipelines={"Sales": "Nope"})
        assert caught.value.hint == "It has 'sales '."


class TestStages:
    """Stages of a pipeline that the target has."""

    def test_same_name_and_outcome_are_the_same_stage(self) -> None:
        _, places = placed([SALES], [THERE])
        assert goes(places) == {"New": "t-new", "Offer": "t-offer", "Won": "t-won", "Lost": "t-lost"}
        assert {one.way for one in places} == {Way.SAME}

    def test_stages_of_one_name_in_two_pipelines_keep_to_their_own(self) -> None:
        source = [SALES, line("r", "Renewals", "New", *CLOSING)]
        target = [THERE, line("u", "Renewals", "New", *CLOSING, of="new")]
        lines, places = placed(source, target)
        assert [one.target and one.target.ref.id for one in lines] == ["t", "u"]
        assert len([one for one in places if one.source.name == "New"]) == 2
        assert {one.way for one in places} == {Way.SAME}

    def test_one_that_is_missing_is_created_right_after_the_stage_before_it(self) -> None:
        (found,), places = placed(
            [line("s", "Sales", "New", "Demo", "Offer", *CLOSING)],
            [THERE],
        )
        assert found.target is not None
        assert [one.name for one in found.target.stages] == ["New", "Demo", "Offer", "Won", "Lost"]
        assert [one.order for one in found.target.stages] == [0, 1, 2, 3, 4]
        assert [one.way for one in places if one.source.name == "Demo"] == [Way.CREATE]

    def test_a_new_open_stage_comes_before_those_that_close(self) -> None:
        (found,), _ = placed([line("s", "Sales", "New", ("Won", WON), "Late", ("Lost", LOST))], [THERE])
        assert found.target is not None
        assert [one.name for one in found.target.stages] == ["New", "Offer", "Late", "Won", "Lost"]

    def test_one_that_cannot_be_added_is_to_be_made_by_hand(self) -> None:
        _, places = placed([line("s", "Sales", "Demo")], [THERE], able=Abilities(pipelines=True))
        assert [one.way for one in places] == [Way.BY_HAND]

    def test_the_same_name_with_another_outcome_gets_a_name_of_its_own(self) -> None:
        _, places = placed([line("s", "Sales", ("Offer", WON), ("Paid", WON), *CLOSING)], [THERE])
        new = next(one for one in places if one.source.name == "Offer")
        assert new.way is Way.CREATE
        assert new.target is not None
        assert new.target.name == "Offer (won)"

    def test_the_only_stage_of_an_outcome_is_the_same_whatever_it_is_called(self) -> None:
        _, places = placed([line("s", "Sales", "New", ("Hooray", WON), ("Lost", LOST))], [THERE])
        assert goes(places)["Hooray"] == "t-won"

    def test_one_of_two_stages_of_an_outcome_is_not_taken_for_the_targets_only_one(self) -> None:
        _, places = placed([line("s", "Sales", "New", ("Hooray", WON), ("Yes", WON))], [THERE])
        assert [one.way for one in places if one.source.outcome is WON] == [Way.CREATE, Way.CREATE]

    def test_an_archived_stage_without_deals_takes_no_part(self) -> None:
        old = SALES.stages[1].model_copy(update={"archived": True})
        _, places = placed([SALES.model_copy(update={"stages": (SALES.stages[0], old)})], [THERE])
        assert goes(places) == {"New": "t-new"}

    def test_an_archived_stage_with_deals_is_made_anew(self) -> None:
        old = Stage(id="old", name="Old", order=1, archived=True)
        _, places = placed(
            [SALES.model_copy(update={"stages": (SALES.stages[0], old)})], [THERE], used={("s", "old")}
        )
        assert places[1].way is Way.CREATE
        assert places[1].target is not None
        assert not places[1].target.archived

    @pytest.mark.parametrize("pipeline", ["s", "Sales"])
    @pytest.mark.parametrize("stage", ["offer", "Offer"])
    @pytest.mark.parametrize("wanted", ["t-new", "New"])
    def test_a_decision_names_everything_by_id_or_by_name(
        self, pipeline: str, stage: str, wanted: str
    ) -> None:
        _, places = placed([SALES], [THERE], stages={pipeline: {stage: wanted}})
        found = next(one for one in places if one.source.name == "Offer")
        assert (found.way, found.target and found.target.id) == (Way.SAME, "t-new")

    def test_no_decision_makes_an_open_deal_a_won_one(self) -> None:
        _, places = placed([SALES], [THERE], stages={"Sales": {"Offer": "Won"}})
        found = next(one for one in places if one.source.name == "Offer")
        assert (found.way, found.target) == (Way.OPEN, None)
        assert found.reason == "it is open, and 'Won' is won"

    def test_a_decision_for_a_stage_that_the_target_lacks_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="'Offer' shall go to 'Nope', which the pipeline 'sales ' does"):
            placed([SALES], [THERE], stages={"Sales": {"Offer": "Nope"}})

    def test_a_decision_about_a_pipeline_that_the_source_lacks_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="stages: the source has no 'Nope'"):
            placed([SALES], [THERE], stages={"Nope": {"Offer": "New"}})

    def test_a_decision_about_a_stage_that_the_source_lacks_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"stages\.Sales: the source has no 'Ofer'"):
            placed([SALES], [THERE], stages={"Sales": {"Ofer": "New"}})

    def test_a_decision_holds_in_a_pipeline_that_is_still_to_be_made(self) -> None:
        (found,), places = placed([SALES], [], stages={"Sales": {"Offer": "New"}})
        assert found.target is not None
        assert [one.name for one in found.target.stages] == ["New", "Won", "Lost"]
        assert goes(places)["Offer"] == f"{FRESH}new"

    def test_a_decision_for_a_stage_that_a_new_pipeline_will_lack_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="'Offer' shall go to 'Nope', which the pipeline 'Sales' does"):
            placed([SALES], [], stages={"Sales": {"Offer": "Nope"}})


class TestTwoIntoOne:
    """Two pipelines of the source that go to one of the target."""

    source = (
        line("a", "Sales", "New", "Demo", *CLOSING),
        Pipeline(
            ref=Ref("old", Kind.PIPELINE, "b"), name="Partners",
            stages=stages("New", "Demo", "Pilot", *CLOSING, prefix="b-"),
        ),
    )  # fmt: skip
    decided: Mapping[str, str] = {"Partners": "t"}

    def test_each_new_stage_is_made_once(self) -> None:
        _, places = placed([*self.source], [THERE], pipelines=self.decided)
        new = {one.target.id for one in places if one.way is Way.CREATE and one.target is not None}
        assert {one.target.name for one in places if one.target is not None and one.target.id in new} == {
            "Demo", "Pilot",
        }  # fmt: skip
        assert len(new) == 2

    def test_the_pipeline_has_the_new_stages_of_both(self) -> None:
        lines, _ = placed([*self.source], [THERE], pipelines=self.decided)
        held = [[stage.name for stage in one.target.stages] for one in lines if one.target is not None]
        assert held == [["New", "Demo", "Pilot", "Offer", "Won", "Lost"]] * 2


class TestOutcomesApart:
    """CRMs that keep won and lost beside the stage."""

    into = Abilities(target_apart=True)
    out_of = Abilities(pipelines=True, stages=True, source_apart=True)

    def test_closed_stages_become_the_last_and_the_first_stage(self) -> None:
        _, places = placed([SALES], [line("t", "Sales", "New", "Offer", of="new")], able=self.into)
        assert goes(places) == {"New": "t-new", "Offer": "t-offer", "Won": "t-offer", "Lost": "t-new"}
        assert places[2].reason == "won is kept beside the stage there"

    def test_a_closed_stage_may_be_decided_for_any_stage(self) -> None:
        _, places = placed(
            [SALES], [line("t", "Sales", "New", "Offer", of="new")], able=self.into,
            stages={"Sales": {"Won": "New"}},
        )  # fmt: skip
        assert goes(places)["Won"] == "t-new"

    def test_a_pipeline_to_be_made_there_has_open_stages_only(self) -> None:
        (found,), places = placed([SALES], [], able=self.into)
        assert found.way is Way.BY_HAND
        assert found.target is not None
        assert [one.name for one in found.target.stages] == ["New", "Offer"]
        assert goes(places)["Won"] == f"{FRESH}offer"

    def test_a_pipeline_without_a_stage_there_needs_a_decision(self) -> None:
        _, places = placed([line("s", "Sales", *CLOSING)], [line("t", "Sales", of="new")], able=self.into)
        assert [(one.way, one.target) for one in places] == [(Way.OPEN, None)] * 2

    def test_a_new_pipeline_gets_stages_to_close_deals_in(self) -> None:
        (found,), _ = placed([line("s", "Sales", "New", "Offer")], [], able=self.out_of)
        assert found.target is not None
        assert [(one.name, one.outcome, one.probability, one.order) for one in found.target.stages] == [
            ("New", OPEN, None, 0),
            ("Offer", OPEN, None, 1),
            ("Won", WON, Decimal(1), 2),
            ("Lost", LOST, Decimal(0), 3),
        ]

    def test_apart_on_both_sides_stages_stay_stages(self) -> None:
        able = Abilities(pipelines=True, source_apart=True, target_apart=True)
        (found,), _ = placed([line("s", "Sales", "New", "Offer")], [], able=able)
        assert found.target is not None
        assert [one.name for one in found.target.stages] == ["New", "Offer"]


def custom(native: str, label: str, kind: str = "text", **more: Any) -> Field:
    return Field(native, label, kind, custom=True, **more)


def fields(
    source: list[Field],
    target: list[Field],
    *,
    kind: Kind = Kind.DEAL,
    able: Abilities = ABLE,
    filled: Collection[str] | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
    said: Mapping[str, str] | None = None,
    **decided: str,
) -> list[FieldPlace]:
    settings = decisions(fields={kind.value: {**(said or {}), **decided}}, options=options or {})
    known = {one.id for one in source} if filled is None else filled
    return place_fields(kind, source, target, settings, able, known)


def ways(places: list[FieldPlace]) -> list[tuple[Way, str | None]]:
    return [(one.way, one.target.id if one.target is not None else None) for one in places]


class TestFields:
    """Custom fields."""

    def test_one_of_the_same_label_and_type_is_taken(self) -> None:
        assert ways(fields([custom("a", "Region")], [custom("x", " region")])) == [(Way.SAME, "x")]

    def test_each_is_taken_once(self) -> None:
        found = fields([custom("a", "Region"), custom("b", "Region")], [custom("x", "Region")])
        assert ways(found) == [(Way.SAME, "x"), (Way.CREATE, f"{FRESH}b")]

    def test_one_that_is_missing_is_created_with_its_options(self) -> None:
        (found,) = fields([custom("a", "Region", "choice", options={"1": "EMEA"})], [])
        assert found.target == custom(f"{FRESH}a", "Region", "choice", options={"1": "EMEA"})

    def test_a_crms_own_fields_are_not_placed(self) -> None:
        assert fields([Field("amount", "Amount", "money")], []) == []

    def test_the_crms_own_field_of_that_label_is_not_taken(self) -> None:
        (found,) = fields([custom("a", "Source")], [Field("source", "Source", "text")])
        assert found.way is Way.CREATE
        assert found.target is not None
        assert found.target.label == "Source (2)"

    def test_a_field_that_is_read_only_there_is_not_taken(self) -> None:
        (found,) = fields([custom("a", "Region")], [custom("x", "Region", read_only=True)])
        assert found.way is Way.CREATE

    def test_crmkits_own_key_is_left_out(self) -> None:
        found = fields([custom("crmkit_key", "Key"), custom("f9", "crmkit id")], [])
        assert ways(found) == [(Way.SKIP, None)] * 2

    def test_a_field_that_nobody_fills_is_left_out(self) -> None:
        assert ways(fields([custom("a", "Region")], [], filled=())) == [(Way.SKIP, None)]

    def test_a_field_that_nobody_fills_goes_where_it_is_decided(self) -> None:
        found = fields([custom("a", "Region")], [custom("x", "Area")], filled=(), Region="Area")
        assert ways(found) == [(Way.SAME, "x")]

    @pytest.mark.parametrize("name", ["a", "Region"])
    @pytest.mark.parametrize("wanted", ["x", "Area"])
    def test_a_decision_names_both_by_id_or_by_label(self, name: str, wanted: str) -> None:
        found = fields([custom("a", "Region")], [custom("x", "Area")], said={name: wanted})
        assert ways(found) == [(Way.SAME, "x")]

    def test_one_is_left_out_or_told_by_decision(self) -> None:
        found = fields([custom("a", "A"), custom("b", "B")], [custom("x", "A")], A="skip", B="note")
        assert ways(found) == [(Way.SKIP, None), (Way.NOTE, None)]

    @pytest.mark.parametrize("kind", [Kind.COMPANY, Kind.CONTACT])
    def test_only_deals_have_a_note_that_could_tell_a_value(self, kind: Kind) -> None:
        with pytest.raises(ConfigError, match=f"fields.{kind}: 'A' cannot be told in a note"):
            fields([custom("a", "A")], [], kind=kind, A="note")

    def test_a_decision_about_a_field_that_the_source_lacks_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"fields\.deal: the source has no 'Rejion'"):
            fields([custom("a", "Region")], [], Rejion="skip")

    def test_a_decision_for_a_field_that_the_target_lacks_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="the target has no deal field 'Area'"):
            fields([custom("a", "Region")], [], Region="Area")

    @pytest.mark.parametrize("order", [1, -1])
    def test_what_is_decided_for_is_taken_for_nothing_else(self, order: int) -> None:
        source = [custom("a", "Region"), custom("b", "Area")][::order]
        found = {one.source.id: one for one in fields(source, [custom("x", "Area")], Region="Area")}
        assert found["a"].target == custom("x", "Area")
        assert found["b"].way is Way.CREATE

    def test_two_fields_cannot_be_decided_for_the_same_one(self) -> None:
        source = [custom("a", "Region"), custom("b", "District")]
        with pytest.raises(ConfigError, match="'Region' and 'District' both go to 'Area'"):
            fields(source, [custom("x", "Area")], Region="Area", District="Area")

    @pytest.mark.parametrize(
        ("kind", "stands_in"),
        [
            ("number", "money"), ("number", "text"), ("money", "number"), ("money", "text"),
            ("boolean", "choice"), ("boolean", "text"), ("day", "text"), ("time", "text"),
            ("choice", "text"), ("choices", "text"), ("owner", "text"), ("link", "text"),
            ("other", "text"), ("unheard-of", "text"),
        ],
    )  # fmt: skip
    def test_what_has_no_field_of_its_type_gets_one_that_can_hold_it(self, kind: str, stands_in: str) -> None:
        able = Abilities(fields={Kind.DEAL: frozenset({stands_in})})
        (found,) = fields([custom("a", "Field", kind)], [], able=able)
        assert (found.way, found.target and found.target.type) == (Way.CREATE, stands_in)
        assert found.reason == f"as {stands_in}: the target has no {kind} field"

    def test_a_choice_that_stands_for_yes_and_no_has_these_options(self) -> None:
        able = Abilities(fields={Kind.DEAL: frozenset({"choice"})})
        (found,) = fields([custom("a", "Field", "boolean")], [], able=able)
        assert found.target is not None
        assert set(found.target.options.values()) == {"Yes", "No"}

    def test_a_text_takes_no_options_along(self) -> None:
        able = Abilities(fields={Kind.DEAL: frozenset({"text"})})
        (found,) = fields([custom("a", "Field", "choice", options={"1": "EMEA"})], [], able=able)
        assert found.target is not None
        assert found.target.options == {}

    def test_a_field_of_its_own_type_is_taken_before_a_stand_in(self) -> None:
        target = [custom("x", "Seats", "text"), custom("y", "Seats", "number")]
        assert ways(fields([custom("a", "Seats", "number")], target)) == [(Way.SAME, "y")]

    def test_a_field_that_cannot_hold_its_values_is_not_taken(self) -> None:
        (found,) = fields([custom("a", "Seats", "text")], [custom("x", "Seats", "number")])
        assert found.way is Way.CREATE

    def test_several_values_are_not_put_in_a_field_of_one(self) -> None:
        (found,) = fields([custom("a", "Tags", "choices")], [custom("x", "Tags", "choice")])
        assert found.way is Way.CREATE

    @pytest.mark.parametrize(("options", "way"), [(("emea", "APAC"), Way.SAME), (("EMEA",), Way.CREATE)])
    def test_a_choice_is_taken_if_it_has_every_option(self, options: tuple[str, ...], way: Way) -> None:
        source = custom("a", "Region", "choice", options={"1": "EMEA", "2": "APAC"})
        target = custom("x", "Region", "choice", options={name: name for name in options})
        assert fields([source], [target])[0].way is way

    def test_options_count_by_what_they_are_decided_for(self) -> None:
        source = custom("a", "Region", "choice", options={"1": "EMEA"})
        target = custom("x", "Region", "choice", options={"9": "Europe"})
        found = fields([source], [target], options={"Region": {"EMEA": "Europe"}})
        assert ways(found) == [(Way.SAME, "x")]

    def test_a_new_label_is_numbered_if_another_field_has_it(self) -> None:
        source = [custom("a", "Seats"), custom("b", "Seats")]
        found = fields(source, [custom("x", "Seats", "number"), custom("y", "Seats (2)", "number")])
        assert [one.target and one.target.label for one in found] == ["Seats (3)", "Seats (4)"]

    def test_a_field_that_was_made_under_a_numbered_label_is_found_again(self) -> None:
        source = [custom("a", "Seats"), custom("b", "Seats", "choice", options={"1": "S"})]
        there = [custom("x", "Seats", "number")]
        first = fields(source, there)
        made = [one.target for one in first if one.target is not None]
        assert [one.way for one in first] == [Way.CREATE] * 2
        again = fields(source, [*there, *made])
        assert ways(again) == [(Way.SAME, one.id) for one in made]

    def test_a_label_that_is_too_long_there_is_cut_and_told(self) -> None:
        able = replace(ABLE, label_length=12)
        source = [custom("a", "Reason for the loss"), custom("b", "Reason for the win")]
        found = fields(source, [], able=able)
        assert [one.target and one.target.label for one in found] == ["Reason for t", "Reason f (2)"]
        assert found[0].reason == "as 'Reason for t': the label is too long there"

    def test_a_field_that_was_made_under_a_cut_label_is_found_again(self) -> None:
        able = replace(ABLE, label_length=12)
        source = [custom("a", "Reason for the loss"), custom("b", "Reason for the win")]
        made = [one.target for one in fields(source, [], able=able) if one.target is not None]
        assert ways(fields(source, made, able=able)) == [(Way.SAME, one.id) for one in made]

    def test_blanks_and_accents_that_a_crm_puts_in_order_make_no_other_label(self) -> None:
        source = custom("a", " Gro\u0308\u00dfe   in cm")
        assert ways(fields([source], [custom("x", "Gr\u00f6\u00dfe in cm")])) == [(Way.SAME, "x")]

    def test_a_deals_value_that_no_field_can_take_is_told_in_its_note(self) -> None:
        assert ways(fields([custom("a", "A")], [], able=Abilities())) == [(Way.NOTE, None)]

    @pytest.mark.parametrize("kind", [Kind.COMPANY, Kind.CONTACT])
    def test_a_field_of_a_company_or_person_that_cannot_be_made_is_to_be_clicked(self, kind: Kind) -> None:
        (found,) = fields([custom("a", "A", "day")], [], kind=kind, able=Abilities())
        assert (found.way, found.reason) == (Way.BY_HAND, "create a day field 'A'")


def owner(native: str, address: str | None, *, active: bool = True, of: str = "old") -> Owner:
    return Owner(ref=Ref(of, Kind.OWNER, native), name=f"User {native}", email=address, active=active)


class TestOwners:
    """Owners."""

    target = (owner("9", "Ann@X.test", of="new"), owner("8", "gone@x.test", active=False, of="new"))

    def placed(self, one: Owner, **owners: str) -> tuple[Way, str | None, str]:
        (found,) = place_owners([one], self.target, decisions(owners=owners), {one.ref.id})
        return found.way, found.address, found.reason

    def test_the_user_of_the_same_address_is_taken(self) -> None:
        assert self.placed(owner("1", "ann@x.test"))[:2] == (Way.SAME, "ann@x.test")

    def test_who_left_the_source_may_still_be_a_user_of_the_target(self) -> None:
        assert self.placed(owner("1", "ann@x.test", active=False))[0] is Way.SAME

    def test_who_owns_nothing_needs_no_place(self) -> None:
        assert place_owners([owner("1", "ann@x.test")], self.target, decisions(), ()) == []

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("bob@x.test", "is no user of the target"),
            ("gone@x.test", "is inactive in the target"),
            (None, "has no e-mail address"),
        ],
    )
    def test_who_has_no_counterpart_needs_a_decision(self, address: str | None, reason: str) -> None:
        assert self.placed(owner("1", address)) == (Way.OPEN, None, reason)

    def test_an_address_with_an_active_user_beside_an_inactive_one_is_taken(self) -> None:
        target = [owner("7", "ann@x.test", active=False, of="new"), owner("9", "ann@x.test", of="new")]
        (found,) = place_owners([owner("1", "ann@x.test")], target, decisions(), {"1"})
        assert found.way is Way.SAME

    @pytest.mark.parametrize("name", ["1", "BOB@x.test"])
    def test_a_decision_names_the_owner_by_id_or_address(self, name: str) -> None:
        assert self.placed(owner("1", "bob@x.test"), **{name: "ANN@x.test"})[:2] == (Way.SAME, "ann@x.test")

    def test_a_decision_names_who_has_no_address_by_name(self) -> None:
        assert self.placed(owner("1", None), **{"user 1": "ann@x.test"})[0] is Way.SAME

    def test_a_decision_outweighs_the_same_address(self) -> None:
        found = self.placed(owner("1", "ann@x.test"), **{"ann@x.test": "nobody"})
        assert found[:2] == (Way.SKIP, None)

    @pytest.mark.parametrize("wanted", ["nope@x.test", "gone@x.test"])
    def test_a_decision_for_who_is_no_active_user_is_refused(self, wanted: str) -> None:
        with pytest.raises(ConfigError, match="the target has no active user"):
            self.placed(owner("1", "bob@x.test"), **{"bob@x.test": wanted})


def test_a_structure_is_complete_when_nothing_is_left_to_make() -> None:
    lines, places = placed([SALES], [THERE])
    assert Structure(lines, places).complete


@pytest.mark.parametrize("able", [ABLE, Abilities()])
def test_a_structure_with_something_to_make_is_not_complete(able: Abilities) -> None:
    lines, places = placed([SALES], [], able=able)
    structure = Structure(lines, places)
    assert not structure.complete
    assert structure.of_way(lines[0].way) == structure.everything
