"""Histories of faulty CRMs that each went, or would go, wrong in one particular way."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from crmkit.sync import apply
from tests.sync.faulty import Behaviour
from tests.sync.lab import Faults, Lab, ram_folder, template
from tests.sync.machine import Serial


class Slow(Random):
    """Every index trails behind as far as it may."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Labs:
    """Makes labs in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Lab] = []

    def __call__(self, names: str = "ab", *, settings: dict[str, Any] | None = None, **habits: Any) -> Lab:
        own = self.folder / str(len(self.made))
        own.mkdir()
        made = {name: Behaviour(random=Slow(), **habits) for name in names}
        lab = Lab(own, template(self.folder), made, {"order": list(names), **(settings or {})})
        self.made.append(lab)
        return lab


@pytest.fixture
def lab_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apply, "ThreadPoolExecutor", Serial)
    with ram_folder(tmp_path) as folder:
        labs = Labs(folder)
        yield labs
        for lab in labs.made:
            lab.close()


def the_only(lab: Lab, name: str) -> Any:
    (deal,) = lab.boxes[name].deals().values()
    return deal


class TestCreates:
    @pytest.mark.parametrize("unique", [True, False])
    @pytest.mark.parametrize("fate", ["lost before", "lost after", "late", "cut"])
    def test_a_create_without_an_answer_makes_one_record(self, lab_of: Labs, fate: str, unique: bool):
        lab = lab_of(unique_keys=unique)
        lab.boxes["a"].create()
        lab.sync(Faults({"b": [fate]}, late_seconds=[200.0]))
        lab.sync()

        lab.check()

        assert len(lab.boxes["a"].deals()) == len(lab.boxes["b"].deals()) == 1

    def test_a_create_that_lands_late_is_not_sent_again_meanwhile(self, lab_of: Labs):
        lab = lab_of(unique_keys=False)
        lab.boxes["a"].create()
        lab.sync(Faults({"b": ["late"]}, late_seconds=[290.0]))
        lab.advance(100)

        result = lab.sync()

        assert (result.writes, result.exit_code) == (0, 5)
        lab.check()
        assert len(lab.boxes["b"].deals()) == 1

    def test_a_lost_create_is_looked_up_and_the_edit_made_since_is_taken_over(self, lab_of: Labs):
        lab = lab_of(settings={"rule": "hold"})
        lab.boxes["a"].create()
        lab.sync(Faults({"b": ["lost after"]}))
        edited = lab.boxes["b"].edit(the_only(lab, "b"), "amount")
        lab.advance(400)

        result = lab.resume()

        assert result.held == []
        assert the_only(lab, "a").amount == the_only(lab, "b").amount == edited.amount
        assert lab.requests.keys() == {("a", "update", "a:deal:a1")}

    @pytest.mark.parametrize("step", range(0, 260, 13))
    def test_a_kill_at_any_step_doubles_nothing(self, lab_of: Labs, step: int):
        lab = lab_of(unique_keys=False, answers="nothing")
        lab.boxes["a"].create()
        lab.sync(Faults(kill_after=step))

        lab.check()

        assert len(lab.boxes["a"].deals()) == len(lab.boxes["b"].deals()) == 1

    def test_a_look_up_that_trails_behind_is_asked_twice(self, lab_of: Labs):
        lab = lab_of(unique_keys=False, find_lag=40.0, list_lag=40.0)
        lab.boxes["a"].create()
        lab.sync(Faults({"b": ["late"]}, late_seconds=[299.0]))
        lab.advance(310)
        lab.sync()

        lab.check()

        assert len(lab.boxes["b"].deals()) == 1

    def test_after_the_state_was_lost_a_record_that_no_list_shows_yet_is_found_by_its_key(self, lab_of: Labs):
        lab = lab_of(unique_keys=False, list_lag=60.0)
        lab.boxes["a"].create()
        lab.advance(100)
        lab.sync()
        lab.state.close()
        lab._open(fresh=True)  # at once, although a person would wait

        lab.sync()

        assert len(lab.boxes["b"].deals()) == 1

    def test_the_intent_of_a_killed_run_waits_from_the_end_of_that_run(self, lab_of: Labs):
        # The batch was written down long before its request left.
        lab = lab_of(unique_keys=False)
        lab.boxes["a"].create()

        def wait() -> None:
            lab.clock.advance(170)
            lab.fuse.left = 3

        lab.sync(Faults({"b": ["late"]}, [295.0], edits={("b", "write"): wait}))
        lab.advance(200)
        lab.sync()
        lab.check()

        assert len(lab.boxes["b"].deals()) == 1


class TestUpdates:
    def started(self, lab: Lab) -> Lab:
        lab.boxes["a"].create()
        lab.advance(100)
        lab.sync()
        lab.advance(100)
        lab.sync()
        return lab

    @pytest.mark.parametrize("fate", ["lost before", "lost after", "late", "cut"])
    def test_an_update_without_an_answer_ends_alike_everywhere(self, lab_of: Labs, fate: str):
        lab = self.started(lab_of())
        lab.boxes["a"].edit(the_only(lab, "a"), "amount")
        lab.sync(Faults({"b": [fate]}, [100.0]))

        lab.check()

        assert the_only(lab, "a").amount == the_only(lab, "b").amount

    def test_a_late_write_over_an_edit_that_was_imported_is_corrected(self, lab_of: Labs):
        lab = self.started(lab_of())
        lab.boxes["a"].edit(the_only(lab, "a"), "amount")
        lab.sync(Faults({"b": ["late"]}, [250.0]))
        edited = lab.boxes["b"].edit(the_only(lab, "b"), "amount")
        lab.sync()

        lab.check()

        assert the_only(lab, "a").amount == the_only(lab, "b").amount == edited.amount

    def test_while_a_write_is_open_nothing_else_is_sent_to_that_record(self, lab_of: Labs):
        lab = self.started(lab_of())
        lab.boxes["a"].edit(the_only(lab, "a"), "amount")
        lab.sync(Faults({"b": ["late"]}, [250.0]))
        lab.boxes["a"].edit(the_only(lab, "a"), "name")

        result = lab.sync()

        assert (result.writes, [one.kind for one in result.held]) == (0, ["parked"])
        lab.check()

    def test_a_list_that_trails_behind_our_write_does_not_undo_it(self, lab_of: Labs):
        lab = self.started(lab_of(list_lag=30.0, answers="nothing"))
        edited = lab.boxes["a"].edit(the_only(lab, "a"), "amount")
        lab.advance(60)
        lab.sync()
        lab.sync()
        lab.sync()

        assert the_only(lab, "a").amount == the_only(lab, "b").amount == edited.amount
        lab.check()

    def test_what_a_list_shows_late_is_found_by_the_next_pull(self, lab_of: Labs):
        lab = self.started(lab_of(list_lag=30.0))
        edited = lab.boxes["a"].edit(the_only(lab, "a"), "amount")
        lab.sync()  # the list does not show it yet
        lab.advance(40)

        lab.sync()

        assert the_only(lab, "b").amount == edited.amount

    @pytest.mark.parametrize("answers", ["record", "version", "nothing"])
    def test_an_edit_right_after_our_create_is_not_taken_for_what_was_sent(self, lab_of: Labs, answers: str):
        lab = lab_of(answers=answers)
        lab.boxes["a"].create(expected_close=None)

        def edit() -> None:
            lab.boxes["b"].edit(the_only(lab, "b"), "amount")

        lab.sync(Faults(edits={("b", "get"): edit}))
        lab.check()

    @pytest.mark.parametrize("step", range(150, 330, 18))
    def test_a_kill_at_any_step_of_an_update_loses_nothing(self, lab_of: Labs, step: int):
        lab = self.started(lab_of(answers="version"))
        lab.boxes["a"].edit(the_only(lab, "a"), "amount")
        lab.boxes["b"].edit(the_only(lab, "b"), "name")
        lab.sync(Faults(kill_after=step))
        lab.boxes["b"].edit(the_only(lab, "b"), "amount")

        lab.check()

    def test_an_edit_between_plan_and_write_is_not_overwritten(self, lab_of: Labs):
        lab = self.started(lab_of(settings={"rule": "hold"}))
        lab.boxes["a"].edit(the_only(lab, "a"), "amount")

        def edit() -> None:
            lab.boxes["b"].edit(the_only(lab, "b"), "amount")

        result = lab.sync(Faults(after_pull=edit))

        assert [one.kind for one in result.held] == ["conflict"]
        lab.check()

    def test_the_same_write_may_be_planned_twice_in_one_run(self, lab_of: Labs):
        # The create is unsent; something else moved, so that a second round plans it again.
        lab = self.started(lab_of(settings={"order": ["b", "a"]}))
        lab.boxes["a"].create()
        lab.boxes["a"].edit(lab.boxes["a"].pick(0), "amount")

        def edit() -> None:
            lab.boxes["b"].edit(the_only(lab, "b"), "amount")

        result = lab.sync(Faults({"b": ["unsent"]}, after_pull=edit))

        assert result is not None
        lab.check()


class TestDeletes:
    def test_a_delete_that_had_not_seen_an_edit_deletes_nothing(self, lab_of: Labs):
        lab = lab_of(settings={"deletes": "delete"})
        lab.boxes["a"].create()
        lab.sync()
        lab.boxes["a"].edit(the_only(lab, "a"), "amount")
        lab.boxes["b"].delete(the_only(lab, "b"), lab.group().group8)

        result = lab.sync()

        assert [one.kind for one in result.held] == ["delete_conflict"]
        lab.check()
        assert len(lab.boxes["a"].deals()) == 1

    def test_an_edit_right_before_our_delete_saves_the_record(self, lab_of: Labs):
        lab = lab_of(settings={"deletes": "delete"})
        lab.boxes["a"].create()
        lab.sync()
        lab.boxes["b"].delete(the_only(lab, "b"), lab.group().group8)

        def edit() -> None:
            lab.boxes["a"].edit(the_only(lab, "a"), "amount")

        lab.sync(Faults(after_pull=edit))
        lab.check()

        assert len(lab.boxes["a"].deals()) == 1
