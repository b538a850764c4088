"""Views, edits, deletes, merges and the search index of a world."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crmkit.sandbox.clock import Clock, counting_ids
from crmkit.sandbox.rows import Change, Pipeline, Stage
from crmkit.sandbox.world import World

NOW = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def world() -> World:
    ids = {kind: counting_ids(8) for kind in ("user", "company", "contact", "deal", "note")}
    made = World(crm="toy", workspace_id="1", workspace_name="Toy", ids=ids, clock=Clock(NOW))
    stages = [Stage("new", "New", 0, "open"), Stage("won", "Won", 1, "won"), Stage("lost", "Lost", 2, "lost")]
    made.pipelines["p"] = Pipeline("p", "Sales", 0, stages)
    return made


def test_views_agree_with_a_naive_sort_after_random_edits(world: World) -> None:
    rng = random.Random(7)
    for _ in range(30):
        world.create_deal(name="start", amount=Decimal(rng.randint(1, 5)))
    orders = {
        "id": lambda deal: int(deal.id),
        "modified": lambda deal: (deal.modified, int(deal.id)),
        "name": lambda deal: (deal.name, int(deal.id)),
    }
    for _ in range(300):
        world.clock.advance(rng.choice((0, 0.2, 1)))
        deal_id = rng.choice(list(world.deals))
        action = rng.random()
        if action < 0.3:
            world.create_deal(name=str(rng.randint(1, 9)))
        elif action < 0.8 or len(world.deals) < 5:
            world.edit_deal(deal_id, name=str(rng.randint(1, 9)))
        else:
            world.delete_deal(deal_id)
        for order, key in orders.items():
            naive = sorted(world.deals.values(), key=key)
            view = world.live.deals(order)
            assert view.rows == naive
            assert view.page(3, 7) == naive[3:10]
            assert view.page(3, 7, descending=True) == naive[::-1][3:10]


def test_a_range_of_a_view_holds_what_lies_between(world: World) -> None:
    for second in range(20):
        world.create_deal(name="x", created=NOW + timedelta(seconds=second // 3), modified=NOW)
    view = world.live.deals("created")
    low, high = view.start(NOW + timedelta(seconds=2)), view.stop(NOW + timedelta(seconds=3))
    inside = [deal for deal in view if 2 <= (deal.created - NOW).total_seconds() <= 3]
    assert view.page(0, 100, low=low, high=high) == inside
    assert view.page(1, 2, low=low, high=high, descending=True) == inside[::-1][1:3]


def test_numeric_ids_sort_as_numbers(world: World) -> None:
    for _ in range(4):
        world.create_deal(name="x")
    assert [deal.id for deal in world.live.deals()] == ["8", "9", "10", "11"]


def test_a_new_stage_extends_the_history_and_closes_the_deal(world: World) -> None:
    deal = world.create_deal(name="x")
    world.clock.advance(60)
    won = world.edit_deal(deal.id, stage_id="won", by="u1")
    assert [(step.stage_id, step.by_user_id) for step in won.history] == [("new", None), ("won", "u1")]
    assert (won.status, won.closed_at, won.stage_entered) == ("won", won.modified, won.modified)
    assert won.modified - deal.modified == timedelta(seconds=60)
    reopened = world.edit_deal(deal.id, stage_id="new")
    assert (reopened.status, reopened.closed_at) == ("open", None)


def test_stamps_are_as_coarse_as_the_crm(world: World) -> None:
    assert world.create_deal(name="x").created.microsecond == 0


def test_an_edit_keeps_the_former_version_intact(world: World) -> None:
    deal = world.create_deal(name="old", custom={"a": 1, "b": 2})
    edited = world.edit_deal(deal.id, name="new", custom={"a": None, "c": 3})
    assert (deal.name, deal.custom) == ("old", {"a": 1, "b": 2})
    assert (edited.name, edited.custom) == ("new", {"b": 2, "c": 3})


def test_groups_follow_edits_and_deletes(world: World) -> None:
    acme = world.create_company(name="Acme")
    ann = world.create_contact(first="Ann", last="B", company_id=acme.id)
    deal = world.create_deal(name="x", company_id=acme.id, contact_ids=(ann.id,))
    assert world.live.group("deal", "company_id", acme.id) == [deal]
    assert world.live.group("deal", "contact_ids", ann.id) == [deal]
    world.delete_contact(ann.id)
    world.delete_company(acme.id)
    assert world.deals[deal.id].company_id is None
    assert world.deals[deal.id].contact_ids == ()
    assert world.deals[deal.id].modified == deal.modified
    assert world.live.group("deal", "company_id", acme.id) == []


def test_a_merge_moves_links_and_remembers_the_loser(world: World) -> None:
    loser = world.create_deal(name="a", amount=Decimal(5), contact_ids=("1", "2"))
    winner = world.create_deal(name="b", contact_ids=("2", "3"))
    note = world.add_note(deal_id=loser.id, text="hello")
    merged = world.merge_deals(loser.id, winner.id)
    assert (merged.name, merged.amount, merged.contact_ids) == ("b", Decimal(5), ("2", "3", "1"))
    assert world.notes[note.id].deal_id == winner.id
    assert [(gone.loser, gone.winner) for gone in world.merged] == [(loser.id, winner.id)]
    assert loser.id not in world.deals


def test_every_change_is_told_and_counted(world: World) -> None:
    heard: list[Change] = []
    world.listeners.append(heard.append)
    before = world.generation
    deal = world.create_deal(name="x")
    world.edit_deal(deal.id, name="y")
    world.delete_deal(deal.id)
    assert [(change.before is None, change.after is None) for change in heard] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert world.generation > before + 2
    assert [(gone.kind, gone.id, gone.name) for gone in world.deleted] == [("deal", deal.id, "y")]


def test_the_search_index_trails_by_the_lag(world: World) -> None:
    old = world.create_deal(name="old")
    doomed = world.create_deal(name="doomed")
    world.lag_seconds = 5
    assert [deal.name for deal in world.search.deals()] == ["old", "doomed"]
    world.edit_deal(old.id, name="edited")
    world.clock.advance(3)
    world.create_deal(name="new")
    world.delete_deal(doomed.id)
    assert [deal.name for deal in world.search.deals()] == ["old", "doomed"]
    world.clock.advance(2)
    assert [deal.name for deal in world.search.deals()] == ["edited", "doomed"]
    world.clock.advance(3)
    assert [deal.name for deal in world.search.deals()] == ["edited", "new"]
    assert [deal.name for deal in world.search.deals("name")] == ["edited", "new"]


def test_without_lag_the_search_index_is_the_live_store(world: World) -> None:
    world.create_deal(name="x")
    assert world.search is world.live


def test_a_memo_holds_until_the_next_change(world: World) -> None:
    calls: list[int] = []

    def count() -> int:
        calls.append(1)
        return len(world.deals)

    assert (world.live.memo("q", count), world.live.memo("q", count)) == (0, 0)
    world.create_deal(name="x")
    assert world.live.memo("q", count) == 1
    assert len(calls) == 2
