"""From configuration to stage map: ids win, doubt is a problem, the rest still works."""

from __future__ import annotations

import pytest

from crmkit.mapping.resolve import resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE
from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage

SALES = Pipeline(
    ref=Ref("crm", Kind.PIPELINE, "1"),
    name="Sales",
    stages=(
        Stage(id="10", name="New", order=1),
        Stage(id="11", name="Offer", order=2),
        Stage(id="12", name="Offer", order=3),
        Stage(id="Closed", name="Done", order=4, outcome=Outcome.WON),
        Stage(id="14", name="Closed", order=5, outcome=Outcome.LOST),
    ),
)
PARTNERS = Pipeline(
    ref=Ref("crm", Kind.PIPELINE, "2"), name="Partners", stages=(Stage(id="10", name="New", order=1),)
)
TWIN = Pipeline(ref=Ref("crm", Kind.PIPELINE, "3"), name="Partners", stages=())


def test_names_and_ids_may_be_mixed() -> None:
    stage_map, problems = resolve(
        {"Sales": {"New": "prospecting", "11": "proposal"}}, [SALES], DEFAULT_OUTLINE
    )

    assert stage_map.entries == {("1", "10"): "prospecting", ("1", "11"): "proposal"}
    assert problems == ()


def test_a_stage_id_counts_only_in_its_own_pipeline() -> None:
    stage_map, _ = resolve(
        {"1": {"10": "prospecting"}, "Partners": {"10": "meeting"}}, [SALES, PARTNERS], DEFAULT_OUTLINE
    )

    assert stage_map.entries == {("1", "10"): "prospecting", ("2", "10"): "meeting"}


def test_case_and_spacing_of_names_do_not_matter() -> None:
    stage_map, problems = resolve({" sales ": {"NEW": "prospecting"}}, [SALES], DEFAULT_OUTLINE)

    assert (stage_map.entries, problems) == ({("1", "10"): "prospecting"}, ())


def test_an_id_wins_over_a_name() -> None:
    stage_map, _ = resolve({"Sales": {"Closed": "won"}}, [SALES], DEFAULT_OUTLINE)

    assert stage_map.entries == {("1", "Closed"): "won"}


def test_a_name_of_two_stages_is_a_problem_that_lists_both() -> None:
    stage_map, problems = resolve({"Sales": {"Offer": "proposal"}}, [SALES], DEFAULT_OUTLINE)

    assert stage_map.entries == {}
    assert [problem.code for problem in problems] == ["ambiguous-stage"]
    assert '"Offer" (11), "Offer" (12)' in problems[0].message


def test_a_name_of_two_pipelines_is_a_problem_that_lists_both() -> None:
    _, problems = resolve({"Partners": {"New": "prospecting"}}, [PARTNERS, TWIN], DEFAULT_OUTLINE)

    assert [problem.code for problem in problems] == ["ambiguous-pipeline"]
    assert '"Partners" (2), "Partners" (3)' in problems[0].message


def test_a_stage_that_does_not_exist_is_a_problem_that_names_what_is_close() -> None:
    _, problems = resolve({"Sales": {"Nwe": "prospecting"}}, [SALES], DEFAULT_OUTLINE)

    assert [problem.code for problem in problems] == ["no-such-stage"]
    assert '"New" (10)' in problems[0].hint


def test_a_pipeline_that_does_not_exist_is_a_problem() -> None:
    _, problems = resolve({"Zebra": {"New": "prospecting"}}, [SALES], DEFAULT_OUTLINE)

    assert [problem.code for problem in problems] == ["no-such-pipeline"]


def test_an_unknown_common_stage_is_a_problem_that_lists_the_known_ones() -> None:
    _, problems = resolve({"Sales": {"New": "prospect"}}, [SALES], DEFAULT_OUTLINE)

    assert [problem.code for problem in problems] == ["no-such-common-stage"]
    assert "prospecting" in problems[0].hint


def test_a_stage_mapped_twice_differently_is_a_problem() -> None:
    stage_map, problems = resolve(
        {"Sales": {"New": "prospecting", "10": "meeting"}}, [SALES], DEFAULT_OUTLINE
    )

    assert stage_map.entries == {("1", "10"): "prospecting"}
    assert [problem.code for problem in problems] == ["mapped-twice"]


def test_one_bad_line_does_not_hide_the_others() -> None:
    stage_map, problems = resolve(
        {"Zebra": {"New": "won"}, "Sales": {"Nope": "won", "New": "prospecting"}}, [SALES], DEFAULT_OUTLINE
    )

    assert stage_map.entries == {("1", "10"): "prospecting"}
    assert [problem.code for problem in problems] == ["no-such-pipeline", "no-such-stage"]


def test_a_default_is_declared_by_name_or_id() -> None:
    config = {"Sales": {"11": "proposal", "12": "proposal"}}

    stage_map, problems = resolve(config, [SALES], DEFAULT_OUTLINE, defaults={"Sales": {"proposal": "12"}})

    assert (stage_map.to_native("proposal", "1"), problems) == ("12", ())


def test_a_default_mapped_to_something_else_is_a_problem() -> None:
    stage_map, problems = resolve(
        {"Sales": {"New": "prospecting"}}, [SALES], DEFAULT_OUTLINE, defaults={"Sales": {"proposal": "New"}}
    )

    assert stage_map.defaults == {}
    assert [problem.code for problem in problems] == ["default-elsewhere"]


@pytest.mark.parametrize(("pipelines", "apart"), [([SALES, PARTNERS], False), ([PARTNERS], True)])
def test_outcomes_live_apart_where_no_stage_is_won_or_lost(pipelines: list[Pipeline], apart: bool) -> None:
    stage_map, _ = resolve({}, pipelines, DEFAULT_OUTLINE)

    assert stage_map.outcome_apart is apart


def test_the_connection_is_taken_from_the_pipelines() -> None:
    assert resolve({}, [SALES], DEFAULT_OUTLINE)[0].connection == "crm"


def test_a_connection_without_pipelines_gives_an_empty_map() -> None:
    stage_map, problems = resolve({"Sales": {}}, [], DEFAULT_OUTLINE, connection="crm")

    assert (stage_map.connection, stage_map.entries, stage_map.outcome_apart) == ("crm", {}, False)
    assert [problem.code for problem in problems] == ["no-such-pipeline"]
