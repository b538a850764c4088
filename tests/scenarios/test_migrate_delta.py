"""Deltas of a migration while people work in both CRMs: no edit is lost, nothing comes twice or back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.sandbox.server import Sandbox
from tests.scenarios.conftest import Crmkit
from tests.scenarios.migrating import Open, open_move
from tests.scenarios.moved import COMPANY, CONTACT, DEAL, Team, values

PAIRS = ["hubspot-zoho", "bitrix24-hubspot"]
ROUNDS = (1, 2, 3)
FIELDS = {"deal": DEAL, "company": COMPANY, "contact": CONTACT}


@pytest.fixture
def move_of(
    crmkit: Crmkit, up: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """Opens a migration: `move_of("hubspot", "zoho", deals=300)`."""
    return lambda *ends, **options: open_move(crmkit, up, tmp_path, monkeypatch, *ends, **options)


@pytest.fixture(params=PAIRS)
def team(request: pytest.FixtureRequest, move_of: Open) -> Callable[..., Team]:
    """A migration that has been applied once, of deals by name; `conflicts` as decided."""

    def begin(*names: str, conflicts: str = "hold") -> Team:
        move = move_of(*request.param.split("-"), deals=2, there=2, awkward=False)
        move.decide(conflicts=conflicts)
        found = Team(move)
        for name in names:
            found.hire(name)
        assert move.run("plan").code in (0, 4, 6)
        move.click()
        move.apply()
        found.learn(*names)
        return found

    return begin


# Edits


@pytest.mark.parametrize(
    ("team", "conflicts"),
    [("hubspot-zoho", "hold"), ("bitrix24-hubspot", "hold"), ("bitrix24-hubspot", "target")],
    indirect=["team"],
)
def test_no_edit_is_lost_by_three_deltas(team: Callable[..., Team], conflicts: str) -> None:
    """Each name says where all fields of a deal, its company and its person are edited each time."""
    people = team("source", "target", "both", "crossed", "turns", conflicts=conflicts)
    wanted: dict[tuple[str, str], dict[str, Any]] = {}
    for turn in ROUNDS:
        for kind, fields in FIELDS.items():
            half = set(sorted(fields)[::2])
            ours = {name: values(name, kind, "source", turn) for name in people.names}
            theirs = {name: values(name, kind, "target", turn) for name in people.names}
            ours["crossed"] = _only(ours["crossed"], half)
            theirs["crossed"] = _only(theirs["crossed"], fields - half)
            for name in ("source", "both", "crossed", *(() if turn == 2 else ("turns",))):
                people.edit(name, kind, "source", ours[name])
            for name in ("target", "both", "crossed", *(("turns",) if turn == 2 else ())):
                people.edit(name, kind, "target", theirs[name])
            wanted |= {
                ("source", kind): ours["source"],
                ("target", kind): theirs["target"],
                ("both", kind): theirs["both"],
                ("crossed", kind): ours["crossed"] | theirs["crossed"],
            }
            # In the third delta the source has changed what somebody changed in the target since.
            if turn < 3:
                wanted["turns", kind] = theirs["turns"] if turn == 2 else ours["turns"]
        people.move.box.clock.advance(60)
        untouched = people.world("source").generation
        done = people.move.delta()
        assert people.world("source").generation == untouched
        assert _lost(people, wanted) == [], turn
        assert people.conflicts(done) == (_contradicting(turn) if conflicts == "hold" else {})
        assert people.move.delta()["writes"] == 0


def _contradicting(turn: int) -> dict[tuple[str, str], frozenset[str]]:
    """What has been edited on both sides since they agreed, after so many turns."""
    names = ("both", "turns") if turn == 3 else ("both",)
    return {(name, kind): fields for name in names for kind, fields in FIELDS.items()}


# Records that come and go


@pytest.mark.parametrize("team", ["bitrix24-hubspot"], indirect=True)
def test_new_records_of_the_source_arrive_once_and_those_of_the_target_are_left_alone(
    team: Callable[..., Team],
) -> None:
    people = team("old")
    world = people.world("target")
    for turn in ROUNDS:
        people.hire(f"new {turn}")
        people.say("source", people.ids["old", "deal"]["source"], f"Another word {turn}")
        people.say("target", people.ids["old", "deal"]["target"], f"Said here {turn}")
        own = world.edit_deal(
            world.create_deal(name=f"Own {turn}", amount=Decimal(turn)).id, name=f"Own deal {turn}"
        )
        people.move.box.clock.advance(60)
        people.move.delta()
        assert world.deals[own.id] == own
        assert people.move.delta()["writes"] == 0
    people.learn(*(f"new {turn}" for turn in ROUNDS))
    names = Counter(deal.name for deal in world.deals.values())
    assert [names[f"The deal of new {turn}"] for turn in ROUNDS] == [1, 1, 1]
    told = Counter(text for text in people.words("target"))
    wanted = [f"First word about new {turn}" for turn in ROUNDS] + [f"Another word {turn}" for turn in ROUNDS]
    assert [told[text] for text in (*wanted, *(f"Said here {turn}" for turn in ROUNDS))] == [1] * 9


def test_what_was_deleted_in_the_target_does_not_come_back(team: Callable[..., Team]) -> None:
    people = team("gone", "alone", "stays")
    world = people.world("target")
    for kind in ("deal", "contact", "company"):
        world.delete(kind, people.ids["gone", kind]["target"])
    # Their deal stays, and names them no more.
    world.delete("contact", people.ids["alone", "contact"]["target"])
    (note,) = [one.id for one in world.notes.values() if "First word about stays" in one.text]
    world.delete("note", note)
    left = people.sizes("target")
    for turn in (1, 2):
        for kind in FIELDS:
            people.edit("gone", kind, "source", values("gone", kind, "source", turn))
            people.edit("alone", kind, "source", values("alone", kind, "source", turn))
        people.move.box.clock.advance(60)
        people.move.delta()
        assert people.sizes("target") == left, turn
    assert people.held("alone", "deal")["name"] == values("alone", "deal", "source", 2)["name"]


@pytest.mark.parametrize("team", ["hubspot-zoho"], indirect=True)
def test_what_was_deleted_in_the_source_stays_in_the_target(team: Callable[..., Team]) -> None:
    people = team("left", "stays")
    left = people.sizes("target")
    before = {kind: people.held("left", kind) for kind in FIELDS}
    for kind in ("deal", "contact", "company"):
        people.world("source").delete(kind, people.ids["left", kind]["source"])
    people.edit("stays", "deal", "source", values("stays", "deal", "source", 1))
    people.move.box.clock.advance(60)
    people.move.delta()
    assert people.held("stays", "deal") == values("stays", "deal", "source", 1)
    assert people.sizes("target") == left
    assert {kind: people.held("left", kind) for kind in FIELDS} == before


@pytest.mark.parametrize("team", ["hubspot-zoho"], indirect=True)
def test_a_held_edit_is_written_when_a_person_decides_for_the_source(team: Callable[..., Team]) -> None:
    people = team("both")
    for side in ("source", "target"):
        people.edit("both", "deal", side, values("both", "deal", side, 1))
    people.move.box.clock.advance(60)
    people.move.delta()
    assert people.held("both", "deal") == values("both", "deal", "target", 1)
    assert people.decide("both", "deal", "source") == DEAL
    people.move.delta()
    assert people.held("both", "deal") == values("both", "deal", "source", 1)
    assert people.move.delta()["writes"] == 0


def _lost(people: Team, wanted: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Values of the target that are not what they should be: record, field, both values."""
    return [
        (*key, name, ("held", found[name]), ("wanted", value))
        for key, fields in wanted.items()
        for found in [people.held(*key)]
        for name, value in fields.items()
        if found[name] != value
    ]


def _only(found: Mapping[str, Any], names: set[str] | frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name in names}
