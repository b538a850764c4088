"""Bitrix24 over HTTP against its sandbox: custom fields, new pipelines, old deals and notes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.base import Field
from crmkit.connectors.bitrix24.userfields import body_of, name_of
from crmkit.connectors.writing import Act, Change, Result
from crmkit.errors import OutcomeUnknown, Rejected
from crmkit.model import Kind
from crmkit.sandbox.faults import Fault, FaultPlan, Scripted
from tests.connectors.field_trials import FieldTrials, asked
from tests.connectors.structure_trials import HistoryTrials, PipelineTrials, every
from tests.sandbox_bench import SandboxBench, bench

EXAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "bitrix24" / "examples"


def newest(bench: SandboxBench) -> datetime:
    """When the newest deal was made."""
    return max(deal.created for deal in bench.app.world.deals.values()).replace(microsecond=0)


@pytest.fixture(name="bench")
def a_bench() -> Iterator[SandboxBench]:
    with bench("bitrix24", deals=12) as one:
        yield one


class TestBitrix24(FieldTrials):
    types = frozenset({"text", "number", "money", "boolean", "day", "time", "choice", "choices"})
    choices_by_id = True

    def value(self, field: Field) -> Any:
        # Money is one value with its currency.
        return "1234.56|EUR" if field.type == "money" else super().value(field)

    def test_an_amount_without_a_currency_is_in_the_base_currency(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        base = connector.check().base_currency
        made = connector.create_field(Kind.DEAL, asked("money"))
        name = f"custom.{made.id}"
        deal = self.write(connector, Kind.DEAL, self.record(connector, Kind.DEAL), {name: Decimal("7.5")})
        assert deal.custom[made.id] == f"7.50|{base}"
        assert connector.holds(Kind.DEAL, {name: Decimal("7.5")}) == {name: deal.custom[made.id]}

    def test_a_field_that_got_another_label_is_found_by_its_name(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        made = connector.create_field(Kind.DEAL, asked("choice"))
        field = next(one for one in bench.app.world.fields["deal"].values() if one.label == made.label)
        field.label, field.extra["revision"] = "Renamed by hand", 1
        again = connector.create_field(Kind.DEAL, asked("choice"))
        assert (again.id, again.label) == (made.id, "Renamed by hand")

    def test_a_create_that_arrives_late_makes_no_second_field(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        before = len(self.customs(connector, Kind.DEAL))
        bench.app.faults = FaultPlan(script=[Scripted(Fault.COMMIT_LATE, "write")])
        with pytest.raises(OutcomeUnknown):
            connector.create_field(Kind.DEAL, asked("choice"))
        made = connector.create_field(Kind.DEAL, asked("choice"))
        bench.settle()
        assert connector.create_field(Kind.DEAL, asked("choice")) == made
        assert len(self.customs(connector, Kind.DEAL)) == before + 1

    def test_a_number_keeps_its_decimals(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        made = connector.create_field(Kind.DEAL, asked("number"))
        ref, value = self.record(connector, Kind.DEAL), Decimal("0.12345678")
        assert self.write(connector, Kind.DEAL, ref, {f"custom.{made.id}": value}).custom[made.id] == value

    def test_a_label_that_would_be_cut_is_refused_before_any_call(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        with pytest.raises(Rejected, match="longer than 255"):
            connector.create_field(Kind.DEAL, Field("", "List", "choice", options={"1": "x" * 256}))
        assert connector.context.usage.requests == 0


class TestBitrix24Pipelines(PipelineTrials):
    """Pipelines with their stages."""


class TestBitrix24History(HistoryTrials):
    """Deals and notes that are older than their move."""

    def long_ago(self, bench: SandboxBench) -> datetime:
        # An import may not be older than the newest record that the portal has.
        return newest(bench) + timedelta(seconds=1)

    def test_the_oldest_are_imported_first_whatever_the_order(self, bench: SandboxBench) -> None:
        connector, start = bench.connect(), newest(bench)
        place = every(connector, Kind.PIPELINE)[0]
        times = [start + timedelta(seconds=(7 * number) % 120 + 1) for number in range(120)]
        changes = [
            Change(
                str(number),
                Act.CREATE,
                Kind.DEAL,
                None,
                {
                    "name": str(number),
                    "pipeline_id": place.ref.id,
                    "stage_id": place.stages[0].id,
                    "created_at": moment,
                },
                f"ck1:ab12cd34:ef56ab78:deal:{number}",
            )
            for number, moment in enumerate(times)
        ]
        done = {one.id: one for group in connector.write(changes) for one in group}
        assert {one.id: dict(one.unwritten) for one in done.values() if one.unwritten} == {}
        refs = [done[str(number)].ref for number in range(len(times))]
        read = {deal.ref: deal for deal in connector.get([ref for ref in refs if ref])}
        assert [read[ref].created_at for ref in refs if ref] == times  # type: ignore[union-attr]

    def test_a_time_before_the_newest_record_is_told_and_the_rest_is_written(
        self, bench: SandboxBench
    ) -> None:
        connector = bench.connect()
        values = {"name": "Old", "created_at": newest(bench) - timedelta(days=1), "amount": Decimal(5)}
        [[done]] = connector.write([Change("1", Act.CREATE, Kind.DEAL, None, values)])
        assert (done.result, list(done.unwritten)) == (Result.DONE, ["created_at"])


def test_names_are_short_and_differ_by_label_and_type() -> None:
    names = {name_of(Field("", label, type_)) for label in ("Größe 🎈", "Size") for type_ in ("text", "day")}
    assert len(names) == 4
    assert all(re.fullmatch(r"UF_CRM_[A-Z0-9]{1,13}", name) for name in names)


@pytest.mark.skipif(not EXAMPLES.exists(), reason="the official examples are not here")
def test_the_body_has_only_keys_of_the_official_example() -> None:
    official = json.loads((EXAMPLES / "crm.deal.userfield.add.request.2.json").read_text())["fields"]
    labels = {str(place): one["VALUE"] for place, one in enumerate(official["LIST"])}
    mine = body_of(Field("", official["LABEL"], "choice", options=labels))
    assert mine.keys() <= official.keys()
    assert [one["VALUE"] for one in mine["LIST"]] == [one["VALUE"] for one in official["LIST"]]
    assert [one["SORT"] for one in mine["LIST"]] == [one["SORT"] for one in official["LIST"]]
    assert mine["USER_TYPE_ID"] == official["USER_TYPE_ID"]
