"""What creating custom fields does in every CRM: trials over real HTTP against its sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from crmkit.connectors.base import Connector, Field
from crmkit.connectors.writing import Act, Change, Result
from crmkit.errors import OutcomeUnknown, Rejected, Unsupported
from crmkit.model import DealContact, Kind, Ref
from crmkit.sandbox.faults import Fault, FaultPlan, Scripted
from tests.sandbox_bench import SETTLE_SECONDS, SandboxBench

KINDS = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
AWKWARD = {
    "1": "Grün, rot & 'blau'",
    "2": 'Say "hi" 🎉',
    "3": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "4": "a;b|c/d\\e",
    "5": "<b>5 > 4</b>",
    "6": "$result[x]",
    "7": "مرحبا",
}
VALUES: Mapping[str, Any] = {
    "text": "Line 1\n\"Line\" 2 – 🎯, 'x'",
    "number": Decimal("-12.5"),
    "money": Decimal("1234.56"),
    "boolean": True,
    "day": date(2019, 2, 28),
    "time": datetime(2021, 7, 1, 22, 59, 58, tzinfo=UTC),
}


def asked(kind_of_field: str, label: str = "Région 🌍") -> Field:
    options = AWKWARD if kind_of_field in ("choice", "choices") else {}
    return Field("hint", label, kind_of_field, options=options)


class FieldTrials:
    """Trials of one CRM; its test class has a fixture `bench` and says what differs."""

    types: ClassVar[frozenset[str]]
    choices_by_id: ClassVar[bool] = False
    options: ClassVar[Mapping[str, Any]] = {}

    def connect(self, bench: SandboxBench, **more: Any) -> Connector:
        return bench.connect(**{**self.options, **more})

    def value(self, field: Field) -> Any:
        """A value of the field, as the CRM gives it back."""
        if field.type not in ("choice", "choices"):
            return VALUES[field.type]
        held = list(field.options) if self.choices_by_id else list(field.options.values())
        return held[1] if field.type == "choice" else (held[0], held[2])

    def record(self, connector: Connector, kind: Kind) -> Ref:
        """Some record of a kind."""
        return next(record.ref for page in connector.read(kind) for record in page.records)

    def write(self, connector: Connector, kind: Kind, ref: Ref, values: Mapping[str, Any]) -> Any:
        [[done]] = connector.write([Change("1", Act.UPDATE, kind, ref, values)])
        assert (done.result, dict(done.unwritten)) == (Result.DONE, {}), done
        return self.current(connector, ref)

    def current(self, connector: Connector, ref: Ref) -> Any:
        """The record after every index has caught up."""
        connector.context.clock.sleep(SETTLE_SECONDS, connector.context.cancelled)
        [record] = connector.get([ref])
        return record

    def create(self, connector: Connector, kind: Kind, values: Mapping[str, Any]) -> Any:
        """A new record with these values besides what the CRM needs."""
        needed: dict[str, Any] = {"name": "New"}
        if kind is not Kind.COMPANY:
            needed["companies"] = (self.record(connector, Kind.COMPANY).id,)
        if kind is Kind.DEAL:
            person = self.record(connector, Kind.CONTACT)
            [contact] = connector.get([person])
            needed["contacts"] = (DealContact(id=person.id, primary=True),)
            needed["companies"] = contact.companies or needed["companies"]  # type: ignore[union-attr]
        [[done]] = connector.write([Change("1", Act.CREATE, kind, None, {**needed, **values})])
        assert (done.result, dict(done.unwritten)) == (Result.DONE, {}), done
        assert done.ref is not None
        [record] = connector.get([done.ref])
        return record

    def customs(self, connector: Connector, kind: Kind) -> list[Field]:
        return [one for one in connector.fields(kind) if one.custom]

    def test_the_capabilities_name_what_the_crm_has(self, bench: SandboxBench) -> None:
        creatable = self.connect(bench).capabilities.creatable_fields
        assert creatable == dict.fromkeys(KINDS, self.types)

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_type_is_created_listed_written_and_read_back(
        self, bench: SandboxBench, kind: Kind
    ) -> None:
        connector = self.connect(bench)
        ref = self.record(connector, kind)
        connector.get([ref])  # every cache of the connector is warm
        self.write(connector, kind, ref, {"name": "Warm"})
        for type_ in sorted(self.types):
            made = connector.create_field(kind, asked(type_, f"New {type_} 🌍"))
            assert (made.label, made.type, made.custom) == (f"New {type_} 🌍", type_, True)
            assert {one.id: one for one in connector.fields(kind)}[made.id] == made
            assert list(made.options.values()) == list(asked(type_).options.values())
            name, value = f"custom.{made.id}", self.value(made)
            assert connector.cannot_hold(kind, {name: value}) == {}
            assert connector.holds(kind, {name: value}) == {name: value}
            assert self.write(connector, kind, ref, {name: value}).custom[made.id] == value
            assert self.current(self.connect(bench), ref).custom[made.id] == value

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_new_record_has_the_new_fields(self, bench: SandboxBench, kind: Kind) -> None:
        connector = self.connect(bench)
        connector.prepare([kind])
        made = [connector.create_field(kind, asked(type_, f"With {type_}")) for type_ in sorted(self.types)]
        values = {f"custom.{one.id}": self.value(one) for one in made}
        record = self.create(connector, kind, values)
        assert {one.id: record.custom[one.id] for one in made} == {one.id: self.value(one) for one in made}

    def test_a_cleared_value_is_gone(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        ref = self.record(connector, Kind.DEAL)
        for type_ in sorted(self.types - {"boolean"}):
            made = connector.create_field(Kind.DEAL, asked(type_, f"Cleared {type_}"))
            self.write(connector, Kind.DEAL, ref, {f"custom.{made.id}": self.value(made)})
            left = self.write(connector, Kind.DEAL, ref, {f"custom.{made.id}": None})
            assert made.id not in left.custom

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_same_call_again_makes_nothing(self, bench: SandboxBench, kind: Kind) -> None:
        connector = self.connect(bench)
        for type_ in sorted(self.types):
            first = connector.create_field(kind, asked(type_, f"Twice {type_}"))
            written, count = bench.written(), len(self.customs(connector, kind))
            assert connector.create_field(kind, asked(type_, f"Twice {type_}")) == first
            assert self.connect(bench).create_field(kind, asked(type_, f"Twice {type_}")) == first
            assert (bench.written(), len(self.customs(connector, kind))) == (written, count)

    @pytest.mark.parametrize("type_", ["choice", "choices"])
    def test_missing_options_are_added_and_the_others_stay(self, bench: SandboxBench, type_: str) -> None:
        connector = self.connect(bench)
        first = connector.create_field(Kind.DEAL, asked(type_))
        ref = self.record(connector, Kind.DEAL)
        before = self.write(connector, Kind.DEAL, ref, {f"custom.{first.id}": self.value(first)})
        more = {"x": "Another, 🌱", "y": AWKWARD["2"], "z": "One \"more\" 'x'"}
        again = connector.create_field(Kind.DEAL, replace(asked(type_), options=more))
        assert again.id == first.id
        assert list(again.options.values()) == [*AWKWARD.values(), more["x"], more["z"]]
        assert {native: again.options[native] for native in first.options} == first.options
        assert self.current(connector, ref).custom[first.id] == before.custom[first.id]
        label = more["x"]
        value: Any = next(i for i, one in again.options.items() if one == label)
        value = value if self.choices_by_id else label
        value = value if type_ == "choice" else (value,)
        written = self.write(connector, Kind.DEAL, ref, {f"custom.{first.id}": value})
        assert written.custom[first.id] == value

    def test_each_kind_has_its_own_field_of_a_label(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        for kind in KINDS:
            before = len(self.customs(connector, kind))
            connector.create_field(kind, asked("number"))
            assert len(self.customs(connector, kind)) == before + 1

    def test_a_lost_answer_makes_no_second_field(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        before = len(self.customs(connector, Kind.DEAL))
        bench.lose_answer()
        made = connector.create_field(Kind.DEAL, asked("choice"))
        assert list(made.options.values()) == list(AWKWARD.values())
        assert connector.create_field(Kind.DEAL, asked("choice")) == made
        assert len(self.customs(connector, Kind.DEAL)) == before + 1

    def test_a_lost_answer_adds_no_option_twice(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        connector.create_field(Kind.DEAL, asked("choice"))
        more = replace(asked("choice"), options={"x": "Another"})
        bench.lose_answer()
        made = connector.create_field(Kind.DEAL, more)
        assert list(made.options.values()) == [*AWKWARD.values(), "Another"]
        assert connector.create_field(Kind.DEAL, more) == made

    def test_a_field_that_was_not_made_is_unknown_and_made_by_the_next_call(
        self, bench: SandboxBench
    ) -> None:
        connector = self.connect(bench)
        bench.app.faults = FaultPlan(script=[Scripted(Fault.SERVER_ERROR, "write")])
        with pytest.raises(OutcomeUnknown, match="cannot be told"):
            connector.create_field(Kind.DEAL, asked("text"))
        made = connector.create_field(Kind.DEAL, asked("text"))
        assert made in connector.fields(Kind.DEAL)

    def test_a_label_of_another_type_is_refused(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        connector.create_field(Kind.DEAL, asked("number", "Taken"))
        written = bench.written()
        with pytest.raises(Rejected, match="which cannot hold a day"):
            connector.create_field(Kind.DEAL, asked("day", "Taken"))
        assert bench.written() == written

    @pytest.mark.parametrize("type_", ["owner", "link", "other", "nonsense"])
    def test_other_types_are_unsupported_before_any_call(self, bench: SandboxBench, type_: str) -> None:
        connector = self.connect(bench)
        with pytest.raises(Unsupported):
            connector.create_field(Kind.DEAL, Field("", "x", type_))
        with pytest.raises(Unsupported):
            connector.create_field(Kind.NOTE, Field("", "x", "text"))
        assert connector.context.usage.requests == 0

    def test_a_list_without_options_is_refused_before_any_call(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        for options in ({}, {"1": " "}):
            with pytest.raises(Rejected, match=r"option|choice"):
                connector.create_field(Kind.DEAL, Field("", "Empty", "choice", options=options))
        with pytest.raises(Rejected, match="label"):
            connector.create_field(Kind.DEAL, Field("", " ", "text"))
        assert connector.context.usage.requests == 0

    def test_a_run_that_only_reads_creates_nothing(self, bench: SandboxBench) -> None:
        connector = self.connect(bench, read_only=True)
        with pytest.raises(Unsupported, match="only reads"):
            connector.create_field(Kind.DEAL, asked("text"))
        assert bench.written() == 0

    def test_a_long_text_fits_unless_a_short_one_was_wanted(self, bench: SandboxBench) -> None:
        connector = self.connect(bench)
        ref = self.record(connector, Kind.DEAL)
        long = "𝔏ong tеxt, " * 400 + "end"
        for length in (None, 4000):
            made = connector.create_field(Kind.DEAL, Field("", f"Long {length}", "text", max_length=length))
            assert made.max_length is None
            assert self.write(connector, Kind.DEAL, ref, {f"custom.{made.id}": long}).custom[made.id] == long

    @pytest.mark.parametrize("kind", KINDS)
    def test_fields_are_listed_once_with_their_options(self, bench: SandboxBench, kind: Kind) -> None:
        fields = self.connect(bench).fields(kind)
        assert len({one.id for one in fields}) == len(fields)
        assert {one.type for one in fields} <= {
            *("text", "number", "money", "boolean", "day", "time"),
            *("choice", "choices", "owner", "link", "other"),
        }
        lists = [one for one in fields if one.custom and one.type in ("choice", "choices")]
        assert all(one.options for one in lists)
