"""What a run does in the situations that a revenue-operations engineer meets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.base import Capabilities
from crmkit.connectors.memory import MemoryConnector
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import CrmkitError, GuardTripped, StalePlan
from crmkit.model import Deal, DealContact, Kind, Outcome, Tombstone
from crmkit.sync.pull import Pull
from crmkit.sync.run import SyncResult, SyncRun
from crmkit.sync.undo import Undo, plan_undo
from tests.sync.engine import Bench, Box
from tests.sync.lab import ram_folder


class Picky(MemoryConnector):
    """Refuses some names, keeps its own tags, and cannot write one field."""

    refused = frozenset({"Forbidden"})
    asked: list[Change]

    def _write(self, change: Change) -> Written:
        self.memory.asked = [*getattr(self.memory, "asked", []), change]  # type: ignore[attr-defined]
        if change.values.get("name") in self.refused:
            return Written(change.id, Result.REJECTED, field="name", reason="this name is not allowed")
        if change.values.get("name") == "Stubborn" and change.ref is not None:
            kept = {**change.values, "name": self.memory.live(change.ref).name}  # type: ignore[union-attr]
            return super()._write(Change(change.id, change.act, change.kind, change.ref, kept, change.key))
        return super()._write(change)


class Ownerless(Picky):
    """Creates deals, but gives them no owner."""

    def _write(self, change: Change) -> Written:
        if change.act is not Act.CREATE or change.kind is not Kind.DEAL:
            return super()._write(change)
        values = {name: one for name, one in change.values.items() if name != "owner_id"}
        done = super()._write(replace(change, values=values))
        return replace(done, unwritten={"owner_id": "may not own"})


class Choosy(Picky):
    """Refuses new deals that have an owner."""

    def _write(self, change: Change) -> Written:
        if change.act is Act.CREATE and change.values.get("owner_id") is not None:
            return Written(change.id, Result.REJECTED, field="owner_id", reason="may not own")
        return super()._write(change)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    with ram_folder(tmp_path) as folder:
        yield folder


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path).add("a", "b")


def other(box: Box, name: str) -> str:
    """The id of the one deal with a name."""
    (native,) = [id for id, deal in box.deals().items() if deal.name == name]
    return native


def writes_to(box: Box) -> list[Change]:
    return list(getattr(box.memory, "asked", []))


def undo(bench: Bench, result: SyncResult, *, pull: bool = True) -> tuple[SyncResult, Undo]:
    state = bench.state()
    try:
        if pull:
            bench.pull(state)
        run = bench.run(state)
        found = plan_undo(run.group, state, result.run)
        return run.undo(found), found
    finally:
        state.close()


class TestRestored:
    def test_a_deal_that_comes_back_under_a_new_id_with_our_key_goes_on(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        native = other(bench["b"], "Deal d1")
        restored = bench["b"].get(native)
        bench["b"].delete(native)
        bench["b"].memory.put(restored.model_copy(update={"ref": bench["b"].ref("back")}))
        bench["a"].edit("d1", amount=Decimal(7))

        result = bench.sync(full=True)

        assert (result.exit_code, result.held) == (0, [])
        assert bench["b"].get("back").amount == 7
        assert len(bench["b"].deals()) == 1

    def test_a_copy_of_our_deal_is_told_every_time_and_never_written(self, tmp_path: Path):
        bench = Bench(tmp_path).add("a", "b", unique_keys=False)
        bench["a"].deal("d1")
        bench.sync()
        made = bench["b"].get(other(bench["b"], "Deal d1"))
        bench["b"].memory.put(made.model_copy(update={"ref": bench["b"].ref("copy"), "name": "Copy"}))

        results = [bench.sync(), bench.sync()]

        assert [[one.kind for one in result.held] for result in results] == [["clone"], ["clone"]]
        assert [result.exit_code for result in results] == [4, 4]
        assert len(bench["a"].deals()) == 1

    def test_an_archived_deal_that_is_restored_gets_what_it_missed(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        native = other(bench["b"], "Deal d1")
        bench["b"].edit(native, archived=True)
        bench["a"].edit("d1", amount=Decimal(7))
        bench.sync()
        bench["b"].edit(native, archived=False)

        bench.sync()

        assert bench["b"].get(native).amount == 7


class TestMerges:
    def test_a_merge_into_a_third_id_moves_the_link(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        native = other(bench["b"], "Deal d1")
        bench["b"].deal("third", name="Deal d1", key=None)
        bench["b"].memory.remove(bench["b"].ref(native), merged_into="third")

        bench.sync()
        bench["a"].edit("d1", amount=Decimal(7))
        bench.sync()

        assert bench["b"].get("third").amount == 7
        assert (len(bench["a"].deals()), len(bench["b"].deals())) == (1, 1)

    def test_a_chain_of_merges_ends_at_the_last_record(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        native = other(bench["b"], "Deal d1")
        bench["b"].deal("x", name="Deal d1")
        bench["b"].deal("y", name="Deal d1")
        bench["b"].memory.remove(bench["b"].ref(native), merged_into="x")
        bench["b"].memory.remove(bench["b"].ref("x"), merged_into="y")

        bench.sync()
        bench["a"].edit("d1", amount=Decimal(7))
        bench.sync()

        assert bench["b"].get("y").amount == 7
        assert len(bench["a"].deals()) == 1

    def test_the_counterpart_of_a_deal_that_went_up_in_another_is_told_every_time(self, bench: Bench):
        bench["a"].deal("d1")
        bench["a"].deal("d2")
        bench.sync()
        loser, winner = (other(bench["b"], name) for name in ("Deal d1", "Deal d2"))
        bench["b"].memory.remove(bench["b"].ref(loser), merged_into=winner)

        results = [bench.sync(), bench.sync()]

        assert [[one.kind for one in result.held] for result in results] == [["merged"], ["merged"]]
        assert (len(bench["a"].deals()), len(bench["b"].deals())) == (2, 1)


class TestDeletes:
    @pytest.fixture
    def deleting(self, bench: Bench) -> Bench:
        bench.settings = {"deletes": "delete"}
        bench["a"].deal("d1")
        bench["a"].deal("d2")
        bench.sync()
        return bench

    def test_by_default_a_delete_stays_where_it_was_made(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        bench["b"].delete(other(bench["b"], "Deal d1"))

        results = [bench.sync(), bench.sync()]

        assert [result.writes for result in results] == [0, 0]
        assert (len(bench["a"].deals()), len(bench["b"].deals())) == (1, 0)

    def test_a_delete_is_carried_on_where_the_settings_say_so(self, deleting: Bench):
        deleting["b"].delete(other(deleting["b"], "Deal d1"))

        result = deleting.sync()

        assert result.count("deleted") == 1
        assert [deal.name for deal in deleting["a"].deals().values()] == ["Deal d2"]

    def test_an_edit_that_the_deleter_had_not_seen_is_not_deleted(self, deleting: Bench):
        deleting["a"].edit("d1", amount=Decimal(7))
        deleting["b"].delete(other(deleting["b"], "Deal d1"))

        results = [deleting.sync(), deleting.sync()]

        assert [[one.kind for one in result.held] for result in results] == [["delete_conflict"]] * 2
        assert deleting["a"].get("d1").amount == 7

    def test_a_deal_restored_after_our_delete_is_not_deleted_again(self, deleting: Bench):
        kept = deleting["a"].get("d1")
        deleting["b"].delete(other(deleting["b"], "Deal d1"))
        deleting.sync()
        deleting.sync()
        deleting["a"].memory.put(kept.model_copy(update={"version": deleting["a"].memory.version()}))

        deleting.sync()
        deleting.sync()

        assert "d1" in deleting["a"].deals()
        assert other(deleting["b"], "Deal d1")

    def test_a_target_that_deletes_its_copy_deletes_nothing_elsewhere(self, bench: Bench):
        bench.settings = {"deletes": "delete", "member": {"b": {"role": "target"}}}
        bench["a"].deal("d1")
        bench.sync()
        bench["b"].delete(other(bench["b"], "Deal d1"))

        bench.sync()

        assert "d1" in bench["a"].deals()

    def test_recreate_brings_a_deleted_deal_back(self, bench: Bench):
        bench.settings = {"deletes": "recreate"}
        bench["a"].deal("d1")
        bench.sync()
        bench["b"].delete(other(bench["b"], "Deal d1"))

        bench.sync()

        assert other(bench["b"], "Deal d1")


class TestScope:
    @pytest.fixture
    def scoped(self, bench: Bench) -> Bench:
        bench.settings = {"scope": {"a": {"owners": ["ann@x.test"]}}, "deletes": "delete"}
        bench["a"].deal("d1")
        bench.sync()
        return bench

    def test_leaving_the_scope_deletes_nothing_and_stops_the_sync(self, scoped: Bench):
        scoped["a"].edit("d1", owner_id="a-bob")
        scoped.sync()
        scoped["a"].edit("d1", amount=Decimal(7))

        result = scoped.sync()

        assert result.writes == 0
        assert scoped["b"].get(other(scoped["b"], "Deal d1")).amount == 100

    def test_coming_back_into_the_scope_goes_on_where_it_stopped(self, scoped: Bench):
        scoped["a"].edit("d1", owner_id="a-bob")
        scoped.sync()
        scoped["a"].edit("d1", amount=Decimal(7))
        scoped.sync()
        scoped["a"].edit("d1", owner_id="a-ann")

        scoped.sync()

        assert scoped["b"].get(other(scoped["b"], "Deal d1")).amount == 7
        assert (len(scoped["a"].deals()), len(scoped["b"].deals())) == (1, 1)


class TestUnavailable:
    def test_a_member_that_could_not_be_read_is_not_written_and_nothing_is_deleted(self, tmp_path: Path):
        bench = Bench(tmp_path, settings={"deletes": "delete"}).add("a", "b", "c")
        bench["a"].deal("d1")
        bench["a"].deal("d2")
        bench.sync()
        bench["a"].edit("d1", amount=Decimal(7))
        bench["a"].delete("d2")
        state = bench.state()
        bench.pull(state)
        run = SyncRun(bench.group(state), state, bench.clock, unavailable={"b": "timed out"})

        result = run.sync({})
        state.close()

        assert result.exit_code == 5
        assert bench["c"].get(other(bench["c"], "Deal d1")).amount == 7
        assert bench["b"].get(other(bench["b"], "Deal d1")).amount == 100
        assert other(bench["b"], "Deal d2")
        assert other(bench["c"], "Deal d2")

    def test_the_next_run_catches_up(self, tmp_path: Path):
        bench = Bench(tmp_path).add("a", "b")
        bench["a"].deal("d1")
        bench.sync()
        bench["a"].edit("d1", amount=Decimal(7))
        state = bench.state()
        bench.pull(state)
        SyncRun(bench.group(state), state, bench.clock, unavailable={"b": "timed out"}).sync({})
        state.close()

        result = bench.sync()

        assert result.exit_code == 0
        assert bench["b"].get(other(bench["b"], "Deal d1")).amount == 7


class TestStale:
    def test_what_moved_between_plan_and_write_is_settled_by_the_second_round(self, bench: Bench):
        bench.settings = {"order": ["b", "a"]}
        bench["a"].deal("d1")
        bench.sync()
        native = other(bench["b"], "Deal d1")
        bench["a"].edit("d1", amount=Decimal(7))
        state = bench.state()
        bench.pull(state)
        bench["b"].edit(native, amount=Decimal(8))

        result = bench.run(state).sync({})
        state.close()

        assert (result.exit_code, result.count("stale")) == (0, 0)
        assert bench["a"].get("d1").amount == 8

    def test_a_saved_plan_leaves_alone_what_moved_and_says_so(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        native = other(bench["b"], "Deal d1")
        bench["a"].edit("d1", amount=Decimal(7))
        state = bench.state()
        bench.pull(state)
        run = bench.run(state)
        _, file = run.plan()
        bench["b"].edit(native, amount=Decimal(8))

        result = run.apply(file)
        state.close()

        assert (result.exit_code, result.count("stale")) == (5, 1)
        assert bench["b"].get(native).amount == 8

    def test_a_plan_is_refused_once_something_was_pulled(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        bench["a"].edit("d1", amount=Decimal(7))
        state = bench.state()
        bench.pull(state)
        run = bench.run(state)
        _, file = run.plan()
        bench["a"].edit("d1", amount=Decimal(9))
        bench.pull(state)

        with pytest.raises(StalePlan):
            run.apply(file)
        state.close()

    def test_a_plan_is_refused_when_it_is_old(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        state = bench.state()
        run = bench.run(state)
        _, file = run.plan()
        bench.wait(3601)

        with pytest.raises(StalePlan, match="minutes old"):
            run.apply(file)
        state.close()

    def test_an_edited_plan_file_cannot_change_what_is_written(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        bench["a"].edit("d1", amount=Decimal(7))
        state = bench.state()
        bench.pull(state)
        run = bench.run(state)
        _, file = run.plan()

        with pytest.raises(StalePlan):
            run.apply(file.model_copy(update={"content": "0" * 16}))
        state.close()


class TestRefusals:
    @pytest.fixture
    def picky(self, tmp_path: Path) -> Bench:
        bench = Bench(tmp_path).add("a", "b")
        bench["b"].connector = Picky
        bench["a"].deal("d1")
        bench.sync()
        bench["a"].edit("d1", name="Forbidden")
        return bench

    def test_a_refused_write_is_tried_twice_and_then_waits(self, picky: Bench):
        before = len(writes_to(picky["b"]))

        codes = [picky.sync().exit_code for _ in range(4)]

        assert codes == [4, 4, 4, 4]
        assert len(writes_to(picky["b"])) == before + 2
        assert [one.kind for one in picky.sync().held] == ["refused"]

    def test_another_value_is_sent_at_once(self, picky: Bench):
        for _ in range(3):
            picky.sync()
        picky["a"].edit("d1", name="Allowed")

        result = picky.sync()

        assert result.exit_code == 0
        assert other(picky["b"], "Allowed")

    def test_a_retry_sends_it_again(self, picky: Bench):
        for _ in range(3):
            picky.sync()
        before = len(writes_to(picky["b"]))
        state = picky.state()
        group = picky.group(state)
        with state.write() as db:
            group.hub.drop_refusals(db)
        state.close()

        picky.sync()

        assert len(writes_to(picky["b"])) == before + 1

    def test_a_refusal_that_needs_nothing_any_more_is_forgotten(self, picky: Bench):
        for _ in range(3):
            picky.sync()
        picky["a"].edit("d1", name="Deal d1")
        picky.sync()
        state = picky.state()
        with state.read() as db:
            left = picky.group(state).hub.refusals(db)
        state.close()

        assert left == {}

    def test_one_refused_deal_does_not_stop_the_others(self, picky: Bench):
        picky["a"].deal("d2")

        picky.sync()

        assert other(picky["b"], "Deal d2")

    def test_a_crm_that_keeps_its_own_value_is_not_asked_for_ever(self, picky: Bench):
        picky["a"].edit("d1", name="Stubborn")
        before = len(writes_to(picky["b"]))

        codes = [picky.sync().exit_code for _ in range(5)]

        assert len(writes_to(picky["b"])) == before + 2
        assert codes == [4, 4, 4, 4, 4]

    def test_a_field_that_the_crm_kept_as_it_was_is_told_with_its_record(self, picky: Bench):
        picky["a"].edit("d1", name="Stubborn", amount=Decimal("7"))

        result = picky.sync()

        tally = result.tallies["b"]
        assert (result.count("updated"), result.count("kept"), tally.done, tally.total) == (1, 1, 1, 1)
        assert tally.notes == [
            "Stubborn: name was not written: the CRM took the write, but kept its own value"
        ]
        assert [deal.amount for deal in picky["b"].deals().values()] == [Decimal("7")]

    def test_a_field_that_a_new_record_could_not_take_is_told_and_waits_for_a_person(self, picky: Bench):
        picky["b"].connector = Ownerless
        picky["a"].deal("d2")

        result = picky.sync()

        assert (result.count("created"), result.count("kept"), result.exit_code) == (1, 1, 4)
        assert "Deal d2: owner was not written: may not own" in result.tallies["b"].notes

    def test_a_refusal_names_the_field_as_the_sync_does(self, picky: Bench):
        picky["b"].connector = Choosy
        picky["a"].deal("d2")
        picky.sync()
        state = picky.state()
        with state.read() as db:
            refusals = picky.group(state).hub.refusals(db)
        state.close()

        assert [one.field for one in refusals.values() if one.act == "create"] == ["owner"]

    def test_a_new_record_goes_without_a_field_that_is_refused_by_the_models_name(self, picky: Bench):
        picky["b"].connector = Choosy
        picky["a"].deal("d2")
        picky.sync()

        result = picky.sync()

        assert picky["b"].get(other(picky["b"], "Deal d2")).owner_id is None
        assert ("refused", "owner") in [(one.kind, one.field) for one in result.held]


class TestConflicts:
    @pytest.fixture
    def contradicting(self, bench: Bench) -> Bench:
        bench["a"].deal("d1")
        bench.sync()
        bench["a"].edit("d1", amount=Decimal(300))
        bench["b"].edit(other(bench["b"], "Deal d1"), amount=Decimal(400))
        bench.sync()
        return bench

    def decide(self, bench: Bench, winner: str) -> None:
        state = bench.state()
        hub = bench.group(state).hub
        with state.write() as db:
            (held,) = hub.conflicts(db)
            hub.decide(db, held.entity, held.field, winner)
        state.close()

    @pytest.mark.parametrize(("winner", "amount"), [("a", 300), ("b", 400)])
    def test_a_persons_word_is_written_to_the_others(self, contradicting: Bench, winner: str, amount: int):
        self.decide(contradicting, winner)

        result = contradicting.sync()

        assert result.exit_code == 0
        assert contradicting["a"].get("d1").amount == amount
        assert contradicting["b"].get(other(contradicting["b"], "Deal d1")).amount == amount
        assert contradicting.sync().writes == 0

    def test_a_held_field_does_not_stop_the_other_fields(self, contradicting: Bench):
        contradicting["a"].edit("d1", stage_id="s3")

        contradicting.sync()

        assert contradicting["b"].get(other(contradicting["b"], "Deal d1")).stage_id == "s3"

    def test_a_word_on_values_that_changed_since_is_asked_again(self, contradicting: Bench):
        self.decide(contradicting, "a")
        contradicting["b"].edit(other(contradicting["b"], "Deal d1"), amount=Decimal(300))

        assert contradicting.sync().exit_code == 0


class TestUndo:
    def test_what_was_created_goes_and_what_was_there_stays(self, bench: Bench):
        bench["a"].deal("d1")
        first = bench.sync()

        undo(bench, first)

        assert (len(bench["a"].deals()), len(bench["b"].deals())) == (1, 0)

    def test_a_second_undo_does_nothing(self, bench: Bench):
        bench["a"].deal("d1")
        first = bench.sync()
        undo(bench, first)

        result, found = undo(bench, first)

        assert (result.writes, found.ops) == (0, [])

    @pytest.mark.parametrize("deletes", ["none", "delete", "recreate"])
    def test_the_next_sync_after_an_undo_writes_nothing_by_itself(self, bench: Bench, deletes: str):
        bench.settings = {"deletes": deletes}
        bench["a"].deal("d1")
        first = bench.sync()
        undo(bench, first)

        results = [bench.sync(), bench.sync(full=True)]

        assert [result.writes for result in results] == [0, 0]
        assert "d1" in bench["a"].deals()

    def test_an_undone_update_is_put_back_and_not_done_again(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        bench["a"].edit("d1", amount=Decimal(7), stage_id="s3")
        second = bench.sync()
        undo(bench, second)
        deal = bench["b"].get(other(bench["b"], "Deal d1"))

        assert (deal.amount, deal.stage_id) == (100, "s1")
        assert bench.sync().writes == 0

    def test_a_field_that_somebody_edited_since_stays(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        bench["a"].edit("d1", amount=Decimal(7), stage_id="s3")
        second = bench.sync()
        bench["b"].edit(other(bench["b"], "Deal d1"), stage_id="s2")

        undo(bench, second)

        deal = bench["b"].get(other(bench["b"], "Deal d1"))
        assert (deal.amount, deal.stage_id) == (100, "s2")

    def test_a_created_deal_with_an_edit_that_was_already_shared_stays(self, bench: Bench):
        bench["a"].deal("d1", expected_close=None)
        first = bench.sync()
        bench["b"].edit(other(bench["b"], "Deal d1"), amount=Decimal(9))
        bench.sync()

        _, found = undo(bench, first)

        assert len(bench["b"].deals()) == 1
        assert any("edited there since" in one for one in found.impossible)

    def test_a_created_deal_with_a_new_edit_in_a_field_that_was_not_sent_stays(self, bench: Bench):
        bench["a"].deal("d1", amount=None, currency=None)
        first = bench.sync()
        bench["b"].edit(other(bench["b"], "Deal d1"), amount=Decimal(9), currency="EUR")

        undo(bench, first, pull=False)

        assert len(bench["b"].deals()) == 1

    def test_companies_and_people_that_only_the_run_needed_go_too(self, bench: Bench):
        bench["a"].company("c1", "Acme", domain="acme.test")
        bench["a"].contact("k1", "Ann Lee", emails=("ann@acme.test",), companies=("c1",))
        bench["a"].deal("d1", companies=("c1",), contacts=(DealContact(id="k1", primary=True),))
        first = bench.sync()

        undo(bench, first)

        left = [one for one in bench["b"].memory.now().values() if not isinstance(one, Tombstone)]
        assert not [one for one in left if one.ref.kind in (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)]


class TestGuards:
    def guarded(self, tmp_path: Path, **guards: Any) -> Bench:
        return Bench(tmp_path, settings={"deletes": "delete", "guards": guards}).add("a", "b")

    def run(self, bench: Bench, confirm: dict[str, int]) -> SyncResult:
        state = bench.state()
        try:
            bench.pull(state)
            return bench.run(state).sync(confirm)
        finally:
            state.close()

    def test_a_first_sync_of_two_filled_crms_creates_nothing_unconfirmed(self, tmp_path: Path):
        bench = self.guarded(tmp_path)
        bench["a"].deal("d1")
        bench["b"].deal("x1", name="Another")

        with pytest.raises(GuardTripped, match="first sync"):
            self.run(bench, {})

        assert (len(bench["a"].deals()), len(bench["b"].deals())) == (1, 1)

    def test_the_count_that_is_confirmed_must_cover_what_was_found(self, tmp_path: Path):
        bench = self.guarded(tmp_path)
        bench["a"].deal("d1")
        bench["a"].deal("d2")
        bench["b"].deal("x1", name="Another")

        with pytest.raises(GuardTripped):
            self.run(bench, {"creates": 1})

        assert self.run(bench, {"creates": 2}).count("created") == 3

    def test_many_deletes_stop_the_run_before_any_write(self, tmp_path: Path):
        bench = self.guarded(tmp_path, deletes=2, creates=100)
        for number in range(4):
            bench["a"].deal(f"d{number}", amount=Decimal(number + 1))
        self.run(bench, {})
        for number in range(3):
            bench["a"].delete(f"d{number}")
        bench["a"].edit("d3", amount=Decimal(70))

        with pytest.raises(GuardTripped, match="deleted"):
            self.run(bench, {})

        assert len(bench["b"].deals()) == 4
        assert bench["b"].get(other(bench["b"], "Deal d3")).amount == 4
        assert self.run(bench, {"deletes": 3}).count("deleted") == 3

    def test_a_field_that_changes_in_many_deals_stops_the_run(self, tmp_path: Path):
        bench = self.guarded(tmp_path, creates=4, field_share=0.3)
        for number in range(4):
            bench["a"].deal(f"d{number}")
        self.run(bench, {"creates": 100})
        bench.settings["guards"] = {"creates": 1, "field_share": 0.3}
        for number in range(4):
            bench["a"].edit(f"d{number}", stage_id="s2")

        with pytest.raises(GuardTripped, match="stage"):
            self.run(bench, {"settings": 1})

    def test_a_field_that_is_emptied_in_many_deals_stops_the_run(self, tmp_path: Path):
        bench = self.guarded(tmp_path, deletes=1, creates=100)
        for number in range(3):
            bench["a"].deal(f"d{number}")
        self.run(bench, {})
        for number in range(3):
            bench["a"].edit(f"d{number}", amount=None)

        with pytest.raises(GuardTripped, match="amount"):
            self.run(bench, {})

    def test_changed_settings_are_looked_at_before_anything_is_written(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        bench.settings = {"rule": "priority"}
        bench["a"].edit("d1", amount=Decimal(7))
        state = bench.state()
        bench.pull(state)

        with pytest.raises(GuardTripped, match="settings"):
            bench.run(state).sync({})
        state.close()

    def test_another_account_behind_a_name_stops_the_run(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        workspace = bench["b"].memory.workspace.model_copy(update={"id": "another"})
        bench["b"].memory.workspace = workspace
        state = bench.state()
        pulled = Pull(state, bench["b"].connect()).run()
        state.close()

        assert isinstance(pulled.error, CrmkitError)

    def test_a_plan_writes_nothing(self, bench: Bench):
        bench["a"].deal("d1")
        state = bench.state()
        bench.pull(state)

        _, file = bench.run(state).plan()
        state.close()

        assert [write.act for write in file.writes] == ["create"]
        assert bench["b"].deals() == {}


class TestUntouched:
    def test_fields_that_are_not_kept_in_step_are_never_written(self, bench: Bench):
        bench.settings = {"fields": ["name", "stage"]}
        bench["a"].deal("d1", source="web", tags=("x",), amount=Decimal(5))
        bench.sync()
        native = other(bench["b"], "Deal d1")
        bench["b"].edit(native, source="phone", tags=("y",), amount=Decimal(6))
        bench["a"].edit("d1", name="Renamed")

        bench.sync()

        deal = bench["b"].get(native)
        assert (deal.name, deal.source, deal.tags, deal.amount) == ("Renamed", "phone", ("y",), 6)
        assert bench["a"].get("d1").source == "web"

    def test_an_unmapped_stage_is_told_every_time_and_never_overwritten(self, bench: Bench):
        bench["a"].deal("d1")
        bench.sync()
        native = other(bench["b"], "Deal d1")
        record = bench["b"].get(native).model_copy(update={"stage_id": "odd"})
        bench["b"].memory.put(record)
        bench["a"].edit("d1", stage_id="s3")

        results = [bench.sync(), bench.sync()]

        assert [[one.kind for one in result.held] for result in results] == [["unmapped"]] * 2
        assert bench["b"].get(native).stage_id == "odd"

    def test_a_deal_in_two_stages_of_one_meaning_stays_where_it_is(self, bench: Bench):
        bench["a"].deal("d1", stage_id="s2")
        bench.sync()

        assert isinstance(bench["b"].get(other(bench["b"], "Deal d1")), Deal)
        assert bench.sync().writes == 0


def test_a_crm_without_keys_gets_no_deals_and_a_person_is_told(bench: Bench):
    class Keyless(MemoryConnector):
        capabilities = Capabilities(
            **{
                **{
                    name: getattr(MemoryConnector.capabilities, name) for name in ("incremental", "deletions")
                },
                "writing": {},
            }
        )

    bench["b"].connector = Keyless
    bench["a"].deal("d1")

    result = bench.sync()

    assert (result.exit_code, [one.kind for one in result.held]) == (4, ["required"])
    assert bench["b"].deals() == {}


def test_why_a_deal_was_lost_is_written_only_to_deals_that_are_lost(bench: Bench) -> None:
    bench.add("a", "b").settings |= {
        "fields": ["name", "stage", "lost_reason"],
        "order": ["a", "b"],
        "sources": {"stage": ["b"]},
    }
    bench["a"].deal("1", key="k", lost_reason="Price", stage_id="lost", outcome=Outcome.LOST)
    bench["b"].deal("9", key="k", lost_reason=None)
    bench.sync()
    assert bench["b"].get("9").lost_reason is None  # open there: no CRM keeps a reason for that
    bench.wait()
    bench["b"].edit("9", stage_id="lost")
    bench.sync()
    bench.wait()
    bench.sync()
    assert bench["b"].get("9").lost_reason == "Price"
