"""Custom fields of the memory connector: created once, found again, shared by all its connections."""

from __future__ import annotations

import pytest

from crmkit.connectors.base import Context, Field
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.connectors.writing import Act, Change
from crmkit.errors import Rejected, Unsupported
from crmkit.model import Kind
from tests.connectors.conftest import FakeClock, FakeSecrets

KINDS = [Kind.DEAL, Kind.COMPANY, Kind.CONTACT]
TYPES = ["text", "number", "money", "boolean", "day", "time", "choice", "choices"]


def connect(memory: Memory | None = None, *, read_only: bool = False) -> MemoryConnector:
    context = Context("memory-test", FakeSecrets(), clock=FakeClock(), read_only=read_only)
    return MemoryConnector(context, memory=memory)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("type_", TYPES)
def test_a_created_field_is_listed(kind: Kind, type_: str) -> None:
    connector = connect()
    made = connector.create_field(kind, Field("hint", "Region 🌍", type_, options={"a": 'No, "none"'}))
    assert (made.label, made.type, made.custom) == ("Region 🌍", type_, True)
    assert list(made.options.values()) == ['No, "none"']
    assert list(connector.fields(kind)) == [made]


def test_a_second_connection_sees_the_field() -> None:
    memory = Memory()
    made = connect(memory).create_field(Kind.DEAL, Field("", "Region", "text"))
    assert list(connect(memory).fields(Kind.DEAL)) == [made]


def test_creating_again_adds_only_the_options_that_are_missing() -> None:
    connector = connect()
    first = connector.create_field(Kind.DEAL, Field("", "Region", "choice", options={"1": "EU", "2": "US"}))
    again = connector.create_field(Kind.DEAL, Field("", "Region", "choice", options={"x": "US", "y": "UK"}))
    assert again.id == first.id
    assert dict(first.options).items() < dict(again.options).items()
    assert list(again.options.values()) == ["EU", "US", "UK"]
    assert len(connector.fields(Kind.DEAL)) == 1


def test_a_label_of_another_type_is_refused() -> None:
    connector = connect()
    connector.create_field(Kind.DEAL, Field("", "Region", "text"))
    with pytest.raises(Rejected, match="has the type text, not number"):
        connector.create_field(Kind.DEAL, Field("", "Region", "number"))


@pytest.mark.parametrize(("kind", "type_"), [(Kind.DEAL, "owner"), (Kind.NOTE, "text")])
def test_what_the_capabilities_do_not_name_is_not_created(kind: Kind, type_: str) -> None:
    with pytest.raises(Unsupported):
        connect().create_field(kind, Field("", "Region", type_))


def test_a_run_that_only_reads_creates_nothing() -> None:
    connector = connect(read_only=True)
    with pytest.raises(Unsupported, match="only reads"):
        connector.create_field(Kind.DEAL, Field("", "Region", "text"))
    assert list(connector.fields(Kind.DEAL)) == []


def test_a_value_of_a_created_field_is_read_back() -> None:
    connector = connect()
    made = connector.create_field(Kind.DEAL, Field("", "Region", "text"))
    values = {"name": "Pilot", f"custom.{made.id}": "North"}
    [[written]] = connector.write([Change("1", Act.CREATE, Kind.DEAL, values=values)])
    assert written.ref is not None
    [deal] = connector.get([written.ref])
    assert deal.custom == {made.id: "North"}  # type: ignore[union-attr]
