"""The people of a deal, in CRMs that hold fewer of them than others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from crmkit.mapping.custom import Unmapped
from crmkit.mapping.fields import Codec, Directory
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import Kind

PEOPLE = ("e1", "e2", "e3")


def only_one(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A CRM whose deals have one person: the primary one."""
    people = values.get("contacts", ())
    return {**values, "contacts": tuple(one for one in people if one.primary)[:1]}


def never_none(values: Mapping[str, Any]) -> Mapping[str, str]:
    """A CRM that takes no deal without a person."""
    return {} if values.get("contacts", True) else {"contacts": "a deal needs a person"}


@pytest.fixture
def codec() -> Codec:
    directory = Directory()
    for entity in PEOPLE:
        directory.add("crm", Kind.CONTACT, f"n{entity}", entity)
    stages = StageMap("crm", DEFAULT_OUTLINE, (), {})
    writable = frozenset({"contacts"})
    return Codec("crm", stages, {}, {}, directory, only_one, never_none, writable)


def on_deal(*entities: str) -> list[list[Any]]:
    return [[f"n{entity}", None, place == 0] for place, entity in enumerate(entities)]


def test_of_several_people_only_one_is_expressed(codec: Codec) -> None:
    assert codec.project("contacts", list(PEOPLE)) == ["e1"]


def test_whoever_is_on_the_deal_already_is_the_one(codec: Codec) -> None:
    assert codec.project("contacts", list(PEOPLE), on_deal("e2")) == ["e2"]


def test_somebody_who_is_not_wanted_any_more_makes_room(codec: Codec) -> None:
    assert codec.project("contacts", ["e1", "e3"], on_deal("e2")) == ["e1"]


def test_somebody_whom_no_other_crm_knows_stays(codec: Codec) -> None:
    assert codec.project("contacts", ["e1"], [["stranger", None, True]]) == []


def test_somebody_who_is_still_to_be_created_is_expressed(codec: Codec) -> None:
    codec.directory.creatable.add(("crm", Kind.CONTACT))
    assert codec.project("contacts", ["new"]) == ["new"]


def test_an_empty_deal_is_not_written_where_a_person_is_needed(codec: Codec) -> None:
    assert isinstance(codec.project("contacts", [], on_deal("e1")), Unmapped)


@pytest.mark.parametrize("current", [None, on_deal("e1"), on_deal("e3")])
def test_what_is_expressed_is_what_is_read_back(codec: Codec, current: Any) -> None:
    expressed = codec.project("contacts", list(PEOPLE), current)
    written = codec.write_values("contacts", expressed, current)
    assert not isinstance(written, Unmapped)
    held = codec.native("contacts", only_one(written))
    assert codec.decode("contacts", held) == expressed
