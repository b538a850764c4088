"""Suggestions as TOML: what is pasted means what was shown, whatever the names hold."""

from __future__ import annotations

import tomllib

from hypothesis import example, given
from hypothesis import strategies as st

from crmkit.mapping.render import suggestions_toml
from crmkit.mapping.resolve import resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE
from crmkit.mapping.suggest import Suggestion, suggest
from crmkit.model import Kind, Pipeline, Ref, Stage
from tests.mapping.stage_names import DEFAULTS, TUNED

NAMES = st.text(max_size=8) | st.sampled_from(
    ["Offer", "OFFER", "s0", "s1", 'a"b', "a\\b", "a\nb", "a # b", "営業", ""]
)


def line(stage: str, common: str | None = "proposal", **changes: str) -> Suggestion:
    return Suggestion(
        changes.get("pipeline_id", "1"),
        changes.get("pipeline", "Sales"),
        changes.get("stage_id", "10"),
        stage,
        common,
        0.9,
        changes.get("reason", "because"),
    )


def pasted(*lines: Suggestion, connection: str = "crm") -> str:
    """The TOML for a connection that has just the pipelines and stages of these lines."""
    pipelines = [
        Pipeline(
            ref=Ref(connection, Kind.PIPELINE, pipeline_id),
            name=name,
            stages=tuple(
                Stage(id=line.stage_id, name=line.stage, order=at)
                for at, line in enumerate(lines)
                if line.pipeline_id == pipeline_id
            ),
        )
        for pipeline_id, name in dict.fromkeys((line.pipeline_id, line.pipeline) for line in lines)
    ]
    return suggestions_toml(connection, lines, pipelines)


def test_a_suggestion_is_one_line_with_its_reason() -> None:
    assert pasted(line("Offer"), connection="crm-eu") == (
        '[connections.crm-eu.stages."Sales"]\n"Offer" = "proposal"  # 90%: because\n'
    )


def test_what_has_no_suggestion_is_commented_out() -> None:
    assert '# "Offer" = ""  # because\n' in pasted(line("Offer", None))


def test_two_stages_of_one_name_are_written_by_id_with_the_name_as_comment() -> None:
    text = pasted(line("Offer", stage_id="10"), line("Offer", stage_id="11"))

    assert '"10" = "proposal"  # 90%: Offer: because\n"11" = "proposal"' in text


def test_a_name_that_is_the_id_of_another_stage_is_written_by_id() -> None:
    text = pasted(line("11", stage_id="10"), line("Won", stage_id="11"))

    assert '"10" = "proposal"  # 90%: 11: because' in text


def test_two_pipelines_of_one_name_are_written_by_id() -> None:
    text = pasted(line("A", pipeline_id="1"), line("B", pipeline_id="2"))

    assert '[connections.crm.stages."1"]  # Sales\n' in text
    assert '[connections.crm.stages."2"]  # Sales\n' in text


def test_a_name_is_ambiguous_though_only_one_of_the_stages_is_shown() -> None:
    stages = (Stage(id="10", name="Offer", order=1), Stage(id="11", name="Offer", order=2))
    pipeline = Pipeline(ref=Ref("crm", Kind.PIPELINE, "1"), name="Sales", stages=stages)

    assert '"10" = "proposal"' in suggestions_toml("crm", [line("Offer")], [pipeline])


def test_nothing_in_a_name_can_end_its_comment() -> None:
    text = pasted(line("Offer", None, reason='x\n[credentials]\nleak = "y"\u2028'))

    assert tomllib.loads(text) == {"connections": {"crm": {"stages": {"Sales": {}}}}}


def test_every_suggestion_of_the_test_sets_can_be_pasted() -> None:
    pipelines = [one.as_pipeline() for one in (*DEFAULTS, *TUNED)]
    found = suggest(pipelines)

    config = tomllib.loads(suggestions_toml("test", found, pipelines))["connections"]["test"]["stages"]
    stage_map, problems = resolve(config, pipelines, DEFAULT_OUTLINE)

    assert problems == ()
    assert stage_map.entries == {(s.pipeline_id, s.stage_id): s.common for s in found if s.common is not None}


@given(st.lists(st.tuples(NAMES, st.lists(NAMES, max_size=4)), max_size=3), NAMES)
@example([("s0", ["s1", "s0"]), ("p0", [])], "crm")
@example([("Twin", []), ("Twin", ["Offer"])], "crm")
def test_what_is_pasted_resolves_to_what_was_shown(
    named: list[tuple[str, list[str]]], connection: str
) -> None:
    pipelines = [
        Pipeline(
            ref=Ref("crm", Kind.PIPELINE, f"p{index}"),
            name=name,
            stages=tuple(Stage(id=f"s{at}", name=stage, order=at) for at, stage in enumerate(stages)),
        )
        for index, (name, stages) in enumerate(named)
    ]
    shown = [
        Suggestion(one.ref.id, one.name, stage.id, stage.name, "proposal", 0.9, stage.name)
        for one in pipelines
        for stage in one.stages
    ]

    document = tomllib.loads(suggestions_toml(connection, shown, pipelines))
    config = document["connections"][connection]["stages"] if shown else {}
    stage_map, problems = resolve(config, pipelines, DEFAULT_OUTLINE)

    assert problems == ()
    assert set(stage_map.entries) == {(line.pipeline_id, line.stage_id) for line in shown}
