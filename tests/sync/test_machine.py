"""Random histories of two or three faulty CRMs: users, lost answers, late commits, kills, lost state.

Every failure found here becomes a named test in `test_histories.py`. More examples at night:
`CRMKIT_EXAMPLES=2000 pytest tests/sync/test_machine.py`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crmkit.errors import StalePlan
from crmkit.sync import apply
from crmkit.sync.plan import PlanFile
from tests.sync.faulty import FATES, Behaviour
from tests.sync.lab import FIELDS, Faults, Lab, LabBox, ram_folder, template

EXAMPLES = int(os.environ.get("CRMKIT_EXAMPLES", "50"))
BOXES = st.integers(0, 2)
DEALS = st.integers(0, 5)
NAMES = st.sampled_from(FIELDS)
STAGE_IDS = st.sampled_from(["s1", "s2", "s3", "won"])
CALLS = st.sampled_from(["list", "get", "write"])


class Serial:
    """Runs what the engine would run in threads one after the other, so that a history can be repeated."""

    def __init__(self, **_options: Any) -> None:
        pass

    def __enter__(self) -> Serial:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def map(self, act: Callable[..., Any], *columns: Iterable[Any]) -> list[Any]:
        return [act(*row) for row in zip(*columns, strict=True)]


@st.composite
def some_behaviour(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "list_lag": draw(st.sampled_from([0.0, 0.0, 30.0])),
        "find_lag": draw(st.sampled_from([0.0, 0.0, 20.0])),
        "unique_keys": draw(st.booleans()),
        "answers": draw(st.sampled_from(["record", "version", "nothing"])),
        "whole_amounts": draw(st.sampled_from([False, False, True])),
    }


@st.composite
def some_faults(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "fates": draw(st.dictionaries(st.integers(0, 2), st.lists(st.sampled_from(FATES), max_size=3))),
        "late": draw(st.lists(st.sampled_from([1.0, 50.0, 290.0]), max_size=2)),
        "kill": draw(st.one_of(st.none(), st.none(), st.integers(0, 260))),
        "edits": draw(st.lists(st.tuples(BOXES, CALLS, BOXES, DEALS, NAMES, STAGE_IDS), max_size=2)),
        "after_pull": draw(st.lists(st.tuples(BOXES, DEALS, NAMES, STAGE_IDS), max_size=1)),
    }


class Histories(RuleBasedStateMachine):
    """What users, CRMs, the network and the operator may do, in any order."""

    folder: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.lab: Lab | None = None
        self.saved: PlanFile | None = None
        self.mine = Path(tempfile.mkdtemp(dir=self.folder))

    @initialize(
        count=st.sampled_from([2, 2, 3]),
        habits=st.lists(some_behaviour(), min_size=3, max_size=3),
        seed=st.integers(0, 1000),
        chosen=st.sampled_from(["hold", "priority", "newest"]),
        deletes=st.sampled_from(["none", "delete", "recreate"]),
        one_way=st.sampled_from([False, False, False, True]),
        backwards=st.booleans(),
        deals=st.integers(1, 2),
    )
    def begin(self, count, habits, seed, chosen, deletes, one_way, backwards, deals) -> None:
        names = "abc"[:count]
        options = {
            "order": list(reversed(names)) if backwards else list(names),
            "rule": chosen,
            "deletes": deletes,
            "member": {names[-1]: {"role": "target"}} if one_way else {},
        }
        made = {
            name: Behaviour(random=Random(f"{seed}{name}"), **habit)
            for name, habit in zip(names, habits, strict=False)
        }
        self.lab = Lab(self.mine, template(self.folder), made, options)
        self.group8 = self.lab.group().group8
        for _ in range(deals):
            self.box(0).create()

    def box(self, number: int) -> LabBox:
        boxes = list(self.lab.boxes.values())
        return boxes[number % len(boxes)]

    # Users

    @rule(box=BOXES)
    def create(self, box) -> None:
        self.box(box).create()

    @rule(box=BOXES, deal=DEALS, name=NAMES, stage=STAGE_IDS)
    def edit(self, box, deal, name, stage) -> None:
        found = self.box(box).pick(deal)
        if found is not None:
            self.box(box).edit(found, name, stage)

    @rule(box=BOXES, deal=DEALS, name=NAMES, stage=STAGE_IDS)
    def edit_again(self, box, deal, name, stage) -> None:
        self.edit(box, deal, name, stage)

    @rule(box=BOXES, deal=DEALS)
    def delete(self, box, deal) -> None:
        found = self.box(box).pick(deal)
        if found is not None:
            self.box(box).delete(found, self.group8)

    @rule(box=BOXES, deal=DEALS)
    def archive(self, box, deal) -> None:
        found = self.box(box).pick(deal)
        if found is not None:
            self.box(box).archive(found, self.group8)

    @rule(box=BOXES, one=DEALS, other=DEALS, third=st.booleans())
    def merge(self, box, one, other, third) -> None:
        loser, winner = self.box(box).pick(one), self.box(box).pick(other)
        if loser is not None and winner is not None and loser.ref != winner.ref:
            self.box(box).merge(loser, winner, third=third)

    @rule(box=BOXES, deal=DEALS)
    def clone(self, box, deal) -> None:
        found = self.box(box).pick(deal)
        if found is not None:
            self.box(box).clone(found)

    # The operator and the network

    def faults(self, drawn: dict[str, Any]) -> Faults:
        def editing(box: int, deal: int, name: str, stage: str) -> Callable[[], None]:
            return lambda: self.edit(box, deal, name, stage)

        edits = {(self.box(where).name, call): editing(*rest) for where, call, *rest in drawn["edits"]}

        def after_pull() -> None:
            for each in drawn["after_pull"]:
                self.edit(*each)

        fates = {self.box(box).name: some for box, some in drawn["fates"].items()}
        return Faults(fates, drawn["late"], drawn["kill"], edits, after_pull)

    @rule(drawn=some_faults())
    def sync(self, drawn) -> None:
        self.lab.sync(self.faults(drawn))
        self.bounded()

    @rule(drawn=some_faults(), seconds=st.sampled_from([1, 60, 400]))
    def sync_and_wait(self, drawn, seconds) -> None:
        self.sync(drawn)
        self.lab.advance(seconds)

    @rule()
    def calm_sync(self) -> None:
        self.lab.sync()
        self.bounded()

    def bounded(self) -> None:
        """I12: per run and record at most one create, two updates and one delete."""
        for (_, act, _), count in self.lab.requests.items():
            assert count <= (2 if act == "update" else 1)

    @rule()
    def pull_only(self) -> None:
        self.lab.pull()

    @rule()
    def plan(self) -> None:
        self.saved = self.lab.plan()

    @precondition(lambda self: self.saved is not None)
    @rule(drawn=some_faults())
    def apply(self, drawn) -> None:
        file, self.saved = self.saved, None
        try:
            self.lab.apply(file, self.faults(drawn))
        except StalePlan:
            assert not self.lab.requests
        self.bounded()

    @rule(seconds=st.sampled_from([1, 40, 400, 90_000]))
    def wait(self, seconds) -> None:
        self.lab.advance(seconds)

    @rule()
    def back_up(self) -> None:
        self.lab.keep_backup()

    @rule()
    def restore(self) -> None:
        if self.lab.backup is not None:
            self.lab.restore_backup()
            self.saved = None

    @rule()
    def lose_the_state(self) -> None:
        self.lab.lose_state()
        self.saved = None

    def teardown(self) -> None:
        try:
            if self.lab is not None:
                self.lab.check()
        finally:
            if self.lab is not None:
                self.lab.close()
            shutil.rmtree(self.mine, ignore_errors=True)


def test_any_history_converges_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apply, "ThreadPoolExecutor", Serial)
    with ram_folder(tmp_path) as folder:
        monkeypatch.setattr(Histories, "folder", folder, raising=False)
        run_state_machine_as_test(
            Histories,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=14,
                deadline=None,
                derandomize="CRMKIT_EXAMPLES" not in os.environ,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
