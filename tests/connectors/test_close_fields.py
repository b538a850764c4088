"""Close over HTTP against its sandbox: custom fields, new pipelines, old deals and notes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crmkit.connectors.base import Field
from crmkit.connectors.close.making import body_of
from crmkit.errors import AccessDenied, Rejected
from crmkit.model import Kind
from tests.connectors.field_trials import FieldTrials, asked
from tests.connectors.structure_trials import HistoryTrials, PipelineTrials
from tests.sandbox_bench import SandboxBench, bench

EXAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "close" / "examples"


@pytest.fixture(name="bench")
def a_bench() -> Iterator[SandboxBench]:
    with bench("close", deals=12) as one:
        yield one


class TestClose(FieldTrials):
    types = frozenset({"text", "number", "day", "time", "choice", "choices"})

    def test_our_own_key_is_no_field_to_ask_for(self, bench: SandboxBench) -> None:
        with pytest.raises(Rejected, match="crmkit's own"):
            self.connect(bench).create_field(Kind.DEAL, Field("", "crmkit_id", "text"))

    def test_space_around_labels_is_dropped_as_it_is_around_values(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        wanted = Field("", " Spaced ", "choice", options={"1": " a", "2": "b "})
        made = connector.create_field(Kind.DEAL, wanted)
        assert (made.label, list(made.options)) == ("Spaced", ["a", "b"])
        assert connector.create_field(Kind.DEAL, wanted) == made

    def test_a_field_of_several_texts_is_no_text(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        made = connector.create_field(Kind.DEAL, asked("text", "Several"))
        bench.app.world.fields["deal"][made.id].extra["multiple"] = True
        assert {one.id: one for one in connector.fields(Kind.DEAL)}[made.id].type == "other"
        with pytest.raises(Rejected, match="which cannot hold a text"):
            connector.create_field(Kind.DEAL, asked("text", "Several"))

    def test_a_role_without_the_right_is_told_what_to_click(self) -> None:
        with bench("close", deals=3, extra={"close_lacking": ["manage_customizations"]}) as one:
            with pytest.raises(AccessDenied) as caught:
                self.connect(one).create_field(Kind.DEAL, asked("text", "Mine"))
            assert "Custom Fields" in caught.value.hint


class TestClosePipelines(PipelineTrials):
    """Pipelines with their stages."""


class TestCloseHistory(HistoryTrials):
    """Deals and notes that are older than their move."""


@pytest.mark.skipif(not EXAMPLES.exists(), reason="the official examples are not here")
def test_the_body_is_that_of_the_official_example() -> None:
    official = json.loads((EXAMPLES / "custom_field_opportunity_create_request.json").read_text())
    mine = body_of(Field("", official["name"], "text", max_length=100))
    assert mine == {name: official[name] for name in ("name", "type")}
