"""A sync from first sight to undo, on both databases."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from crmkit.model import DealContact
from crmkit.sync.undo import plan_undo
from tests.sync.engine import Bench, Box


@pytest.fixture
def bench(tmp_path: Path, state_url: str) -> Bench:
    """Two CRMs with deals of their own, one of which is in both."""
    made = Bench(tmp_path, url=state_url).add("a", "b")
    made["a"].company("c1", "Acme", domain="acme.test")
    made["b"].company("c9", "ACME Inc.", domain="acme.test")
    made["a"].contact("k1", "Ann Lee", emails=("ann@acme.test",), companies=("c1",))
    made["a"].deal("d1", companies=("c1",), contacts=(DealContact(id="k1", primary=True),))
    made["a"].deal("d2", stage_id="s2", amount=None)
    made["a"].deal("both", companies=("c1",), amount=Decimal(500), name="Big one")
    made["b"].deal("x1", name="Only in b")
    made["b"].deal("x2", companies=("c9",), amount=Decimal(500), name="Big one")
    return made


def named(box: Box, name: str) -> str:
    """The id of the one deal with a name."""
    (native,) = [id for id, deal in box.deals().items() if deal.name == name]
    return native


def test_a_first_sync_creates_what_is_missing_and_doubles_nothing(bench: Bench) -> None:
    result = bench.sync()
    assert result.exit_code == 0, result.held
    names = sorted(deal.name for deal in bench["a"].deals().values())
    assert names == sorted(deal.name for deal in bench["b"].deals().values())
    assert names == ["Big one", "Deal d1", "Deal d2", "Only in b"]


def test_a_created_deal_has_its_company_and_people(bench: Bench) -> None:
    bench.sync()
    deal = bench["b"].get(named(bench["b"], "Deal d1"))
    assert deal.companies == ("c9",)
    assert len(deal.contacts) == 1


def test_the_second_sync_writes_nothing(bench: Bench) -> None:
    bench.sync()
    assert bench.sync().writes == 0
    assert bench.sync(full=True).writes == 0


def test_edits_of_different_fields_meet(bench: Bench) -> None:
    bench.sync()
    other = named(bench["b"], "Deal d1")
    bench["a"].edit("d1", amount=Decimal(200))
    bench["b"].edit(other, stage_id="s3")
    assert bench.sync().exit_code == 0
    assert bench["b"].get(other).amount == 200
    assert bench["a"].get("d1").stage_id == "s3"


def test_a_contradiction_is_held_until_both_agree(bench: Bench) -> None:
    bench.sync()
    other = named(bench["b"], "Deal d1")
    bench["a"].edit("d1", amount=Decimal(300))
    bench["b"].edit(other, amount=Decimal(400))
    assert (bench.sync().exit_code, bench.sync().exit_code) == (4, 4)
    assert bench["a"].get("d1").amount == 300
    assert bench["b"].get(other).amount == 400
    bench["b"].edit(other, amount=Decimal(300))
    assert bench.sync().exit_code == 0


def test_undo_takes_back_what_nobody_touched_since(bench: Bench) -> None:
    first = bench.sync()
    other = named(bench["b"], "Deal d1")
    bench["b"].edit(other, name="Renamed since")
    state = bench.state()
    bench.pull(state)
    run = bench.run(state)
    result = run.undo(plan_undo(run.group, state, first.run))
    state.close()
    assert result.count("deleted") >= 2
    assert [deal.name for deal in bench["a"].deals().values()].count("Only in b") == 0
    assert sorted(deal.name for deal in bench["b"].deals().values()) == [
        "Big one",
        "Only in b",
        "Renamed since",
    ]


def test_what_was_undone_is_not_done_again_by_itself(bench: Bench) -> None:
    bench.sync()
    bench["a"].edit("d2", amount=Decimal(77))
    second = bench.sync()
    state = bench.state()
    run = bench.run(state)
    run.undo(plan_undo(run.group, state, second.run))
    state.close()
    other = named(bench["b"], "Deal d2")
    assert bench["b"].get(other).amount is None
    assert bench.sync().writes == 0


def test_what_may_be_there_already_is_not_created_in_a_member_that_joins_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path).add("a", "b", "c")
    for name in ("a", "b", "c"):
        bench[name].company("c1", "Acme", domain="acme.test")
    for name, native in (("a", "d1"), ("b", "d1"), ("c", "d1"), ("c", "d2")):
        bench[name].deal(native, companies=("c1",), amount=Decimal(500), name="Big one")
    bench.settings = {"members": ["a", "b"]}
    assert bench.sync().exit_code == 0
    bench.settings = {"members": ["a", "b", "c"]}
    result = bench.sync()
    assert len(bench["c"].deals()) == 2
    assert {held.kind for held in result.held} >= {"review", "blocked"}
    assert result.exit_code == 4
