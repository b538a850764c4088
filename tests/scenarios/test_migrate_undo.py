"""A migration taken back: what it wrote goes, what people did in the target since stays, and is listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.writing import Act, Change, Result
from crmkit.model import Kind
from crmkit.sandbox.server import VENDORS, Sandbox
from tests.sandbox_bench import bench
from tests.scenarios.conftest import Crmkit
from tests.scenarios.migrating import Move, Open, open_move
from tests.scenarios.moved import Team, values

PAIRS = [("hubspot", "zoho"), ("bitrix24", "hubspot")]
RECORDS = ("deal", "company", "contact", "note")
# What a CRM counts by itself, and the names of our own keys.
NOT_COMPARED = frozenset({"modified", "last_activity"})


@pytest.fixture
def move_of(
    crmkit: Crmkit, up: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """Opens a migration: `move_of("hubspot", "zoho", deals=300)`."""
    return lambda *ends, **options: open_move(crmkit, up, tmp_path, monkeypatch, *ends, **options)


class Before:
    """What the target held before the migration."""

    def __init__(self, people: Team) -> None:
        self._tables = people.world("target").live.tables
        self._rows = {kind: dict(self._tables[kind]) for kind in RECORDS}

    def changed(self) -> list[tuple[Any, ...]]:
        """Records that do not hold what they held: kind, id, field, both values."""
        found: list[tuple[Any, ...]] = []
        for kind, rows in self._rows.items():
            for native, row in rows.items():
                now = self._tables[kind].get(native)
                found += [(kind, native, "gone")] if now is None else _differences(kind, row, now)
        return found

    def left(self) -> dict[str, set[str]]:
        """Ids of records that were not there before."""
        return {kind: self._tables[kind].keys() - rows.keys() for kind, rows in self._rows.items()}


def _differences(kind: str, row: Any, now: Any) -> list[tuple[Any, ...]]:
    return [
        (kind, row.id, one.name, was, is_)
        for one in fields(row)
        if one.name not in NOT_COMPARED
        for was, is_ in [(_plain(getattr(row, one.name)), _plain(getattr(now, one.name)))]
        if was != is_
    ]


def _plain(value: Any) -> Any:
    """Without what the sandbox notes about itself."""
    if isinstance(value, Mapping):
        return {name: one for name, one in value.items() if not name.startswith("$")}
    return value


def begin(move: Move, *names: str) -> tuple[Team, Before]:
    """A migration that was applied; the target had a company, a person and a deal of `known` before."""
    people = Team(move)
    move.decide(conflicts="hold")
    for name in names:
        people.hire(name)
    if "known" in names:
        _know(people)
    before = Before(people)
    move.box.clock.advance(60)
    assert move.run("plan").code in (0, 4, 6)
    move.click()
    move.apply()
    people.learn(*(name for name in names if name != "known"))
    return people, before


def _know(people: Team) -> None:
    """`known` is in the target already, with less about it."""
    world, owner = people.world("target"), people.user("target", 0)
    people.edit("known", "company", "source", {"domain": "known.example"})
    company = world.create_company(name="known Works", domain="known.example", owner_id=owner)
    contact = world.create_contact(
        first="Ann", last="Known", emails=("known@team.example",), company_id=company.id, owner_id=owner
    )
    deal = world.create_deal(
        name="The deal of known", currency="EUR", amount=Decimal(500), company_id=company.id,
        contact_ids=(contact.id,), owner_id=owner,
    )  # fmt: skip
    people.ids["known", "deal"]["target"] = deal.id
    people.ids["known", "company"]["target"] = company.id
    people.ids["known", "contact"]["target"] = contact.id


@pytest.mark.parametrize("pair", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_what_people_did_in_the_target_stays_and_is_listed_and_the_rest_is_gone(
    move_of: Open, pair: tuple[str, str]
) -> None:
    move = move_of(*pair, deals=2, there=2, awkward=False)
    people, before = begin(move, "plain", "edited", "noted", "used", "staffed", "kept", "known")
    known = people.ids["known", "deal"]["target"]
    assert people.world("target").deals[known].expected_close is not None  # filled by the migration
    for kind in ("deal", "company", "contact"):
        people.edit("edited", kind, "target", {"name": f"{kind} is mine".title()})
    people.edit("kept", "deal", "target", {"amount": Decimal(7)})
    mine = {"note": {people.say("target", people.ids["noted", "deal"]["target"], "My own note")}}
    world = people.world("target")
    mine["deal"] = {
        world.create_deal(
            name="My own deal", currency="EUR", company_id=people.ids["used", "company"]["target"],
            contact_ids=(people.ids["used", "contact"]["target"],),
        ).id
    }  # fmt: skip
    mine["contact"] = {
        world.create_contact(first="My", last="Own", company_id=people.ids["staffed", "company"]["target"]).id
    }
    own = {kind: {id: world.live.tables[kind][id] for id in ids} for kind, ids in mine.items()}
    move.box.clock.advance(60)

    code, told = move.shown("undo", "--yes")

    move.settle()
    stay = {
        "deal": {"edited", "kept", "noted"},
        "company": {"edited", "kept", "noted", "used", "staffed"},
        "contact": {"edited", "kept", "noted", "used"},
    }
    wanted = {kind: {people.ids[name, kind]["target"] for name in names} for kind, names in stay.items()}
    assert before.left() == {kind: wanted.get(kind, set()) | mine.get(kind, set()) for kind in RECORDS}
    assert before.changed() == []
    assert own == {kind: {id: world.live.tables[kind][id] for id in ids} for kind, ids in mine.items()}
    assert people.held("kept", "deal")["amount"] == 7
    listed = {tuple(line.split(" ")[:2]) for run in told for line in run["impossible"]}
    assert listed == {(kind, id) for kind, ids in wanted.items() for id in ids}
    assert code == 4

    # Once more: the same stays, and nothing is written.
    again, told = move.shown("undo", "--yes")
    assert (again, [run["writes"] for run in told]) == (4, [0] * len(told))
    # What was taken back stays away, and the proof says why.
    assert move.apply()["writes"] == 0
    _, proof = move.proof()
    assert _undone(proof, "deal") >= {"The deal of plain", "The deal of used", "The deal of staffed"}
    assert _undone(proof, "company") >= {"plain Works"}
    assert _undone(proof, "contact") >= {"Ann Plain", "Ann Staffed"}


def _undone(proof: Mapping[str, Any], kind: str) -> set[str]:
    """Records of which the proof says that their creation was taken back."""
    return {
        one["label"]
        for one in proof["records"]
        if one["kind"] == kind and [each["code"] for each in one["differences"]] == ["undone"]
    }


def test_an_untouched_migration_with_its_deltas_goes_without_a_trace_and_a_second_undo_finds_nothing(
    move_of: Open,
) -> None:
    people, before = begin(move_of("bitrix24", "hubspot", deals=2, there=2, awkward=False), "one", "known")
    for turn in (1, 2):
        for name, kind in (("one", "deal"), ("one", "company"), ("one", "contact"), ("known", "company")):
            people.edit(name, kind, "source", values(name, kind, "source", turn))
        people.hire(f"new {turn}")
        people.move.box.clock.advance(60)
        people.move.delta()
    code, told = people.move.shown("undo", "--yes")
    assert (code, [run["impossible"] for run in told]) == (0, [[]] * len(told))
    assert before.left() == {kind: set() for kind in RECORDS}
    assert before.changed() == []
    people.move.settle()
    second = people.move.run("undo", "--yes")
    assert second.code == 2
    assert "is left to take back" in second.err


def test_a_sample_that_was_taken_back_stays_away_when_the_rest_is_moved(move_of: Open) -> None:
    move = move_of("bitrix24", "hubspot", deals=2, there=2, awkward=False)
    people = Team(move)
    for name in ("one", "two", "three", "four"):
        people.hire(name)
    before = Before(people)
    move.box.clock.advance(60)
    code, sampled = move.shown("sample", "--size", "2", "--yes", "--confirm", "creates=1000")
    assert code in (0, 4, 5), sampled
    move.settle()
    deals = people.world("target").deals
    taken_back = {deals[id].name for id in before.left()["deal"]}
    assert taken_back
    assert move.run("undo", "--yes").code == 0
    assert before.left() == {kind: set() for kind in RECORDS}
    move.settle()
    move.apply()
    names = {deals[id].name for id in before.left()["deal"]}
    assert {f"The deal of {name}" for name in ("one", "two", "three", "four")} - taken_back <= names
    assert not names & taken_back
    assert _undone(move.proof()[1], "deal") == taken_back
    assert move.delta()["writes"] == 0


@pytest.mark.parametrize("crm", VENDORS)
def test_every_crm_takes_a_note_back(crm: str) -> None:
    with bench(crm, deals=2) as one, closing(one.connect()) as connector:
        deal = next(iter(one.app.world.deals.values()))
        where = {"company_id": deal.company_id} if crm == "close" else {"deal_id": deal.id}
        create = Change("c", Act.CREATE, Kind.NOTE, None, {"text": "Hello", **where}, "ck1:aa:bb:note:1")
        (made,) = [written for some in connector.write([create]) for written in some]
        assert made.ref is not None
        delete = Change("d", Act.DELETE, Kind.NOTE, made.ref, {}, None)
        (gone,) = [written for some in connector.write([delete]) for written in some]
        assert gone.result is Result.DONE
        assert made.ref.id not in one.app.world.notes
        # Once more: what is not there cannot be taken back, and is no error.
        (again,) = [written for some in connector.write([delete]) for written in some]
        assert again.result in (Result.DONE, Result.GONE)
