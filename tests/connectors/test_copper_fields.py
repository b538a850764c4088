"""Copper over HTTP against its sandbox: custom fields, old deals and notes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from crmkit.connectors.base import Field
from crmkit.connectors.copper.definitions import body_of
from crmkit.errors import Rejected
from crmkit.model import Kind
from tests.connectors.field_trials import FieldTrials, asked
from tests.connectors.structure_trials import HistoryTrials
from tests.sandbox_bench import SandboxBench, bench

EXAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "copper" / "examples"


@pytest.fixture(name="bench")
def a_bench() -> Iterator[SandboxBench]:
    with bench("copper", deals=12) as one:
        yield one


class TestCopper(FieldTrials):
    types = frozenset({"text", "number", "money", "boolean", "day", "choice", "choices"})
    options: ClassVar = {"time_zone": "America/Los_Angeles", "currency": "USD"}

    def test_choices_need_two_options(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        with pytest.raises(Rejected, match="at least 2"):
            connector.create_field(Kind.DEAL, Field("", "Alone", "choices", options={"1": "One"}))
        assert connector.context.usage.requests == 0

    def test_a_short_text_is_a_string_of_255(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        made = connector.create_field(Kind.COMPANY, Field("", "Code", "text", max_length=40))
        assert made.max_length == 255

    def test_a_definition_of_another_kind_is_left_alone(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        company = connector.create_field(Kind.COMPANY, asked("choice"))
        deal = connector.create_field(Kind.DEAL, asked("choice"))
        assert company.id != deal.id
        assert company in connector.fields(Kind.COMPANY)

    def test_the_closed_lists_of_a_deal_have_their_options(self, bench: SandboxBench) -> None:
        fields = {one.id: one for one in self.connect(bench).fields(Kind.DEAL)}
        assert list(fields["status"].options) == ["Open", "Won", "Lost", "Abandoned"]
        assert (
            "Price too high" in fields["loss_reason_id"].options.values() or fields["loss_reason_id"].options
        )
        assert fields["customer_source_id"].options
        assert fields["date_created"].read_only
        assert fields["name"].required


class TestCopperHistory(HistoryTrials):
    """Deals and notes that are older than their move."""

    options: ClassVar = {"time_zone": "America/Los_Angeles", "currency": "USD"}


@pytest.mark.skipif(not EXAMPLES.exists(), reason="the official examples are not here")
def test_the_body_is_that_of_the_official_example() -> None:
    official = json.loads((EXAMPLES / "custom_field_create_dropdown_request.json").read_text())
    labels = {str(place): one["name"] for place, one in enumerate(official["options"])}
    mine = body_of("lead", Field("", official["name"], "choice", options=labels), "USD")
    assert mine == {**official, "available_on": ["lead"]}
