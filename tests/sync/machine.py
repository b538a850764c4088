"""What users, CRMs, the network and the operator may do, in any order: rules for any `BaseLab`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from crmkit.errors import StalePlan
from crmkit.sync.plan import PlanFile
from tests.sync.base_lab import BaseLab

BOXES = st.integers(0, 2)
DEALS = st.integers(0, 5)
STAGE_IDS = st.sampled_from(["s1", "s2", "s3", "won"])


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


class HistoriesOf(RuleBasedStateMachine):
    """Rules that hold for any lab; a subclass begins the history, and brings faults.

    Attributes:
        folder: Where state stores live.
    """

    folder: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.lab: BaseLab[Any, Any] | None = None
        self.saved: PlanFile | None = None
        self.mine = Path(tempfile.mkdtemp(dir=self.folder))
        self.group8 = ""

    def box(self, number: int) -> Any:
        boxes = list(self.lab.boxes.values())
        return boxes[number % len(boxes)]

    def edit_in(self, box: int, deal: int, name: str, stage: str) -> None:
        found = self.box(box).pick(deal)
        if found is not None:
            self.box(box).edit(found, name, stage)

    # Users

    @rule(box=BOXES)
    def create(self, box) -> None:
        self.box(box).create()

    @rule(box=BOXES, deal=DEALS)
    def delete(self, box, deal) -> None:
        found = self.box(box).pick(deal)
        if found is not None:
            self.box(box).delete(found, self.group8)

    @rule(box=BOXES, one=DEALS, other=DEALS, third=st.booleans())
    def merge(self, box, one, other, third) -> None:
        loser, winner = self.box(box).pick(one), self.box(box).pick(other)
        if loser is not None and winner is not None and loser != winner:
            self.box(box).merge(loser, winner, third=third)

    @rule(box=BOXES, deal=DEALS)
    def clone(self, box, deal) -> None:
        found = self.box(box).pick(deal)
        if found is not None:
            self.box(box).clone(found)

    # The operator and the network

    def faulty_sync(self, faults: Any, seconds: float = 0) -> None:
        self.lab.sync(faults)
        self.bounded()
        self.lab.advance(seconds)

    def faulty_apply(self, faults: Any) -> None:
        file, self.saved = self.saved, None
        try:
            self.lab.apply(file, faults)
        except StalePlan:
            assert not self.lab.requests
        self.bounded()

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

    @rule(seconds=st.sampled_from([1, 40, 400, 90_000]))
    def wait(self, seconds) -> None:
        self.lab.advance(seconds)

    @rule()
    def back_up(self) -> None:
        self.lab.keep_backup()

    @precondition(lambda self: self.lab is not None and self.lab.kept)
    @rule()
    def restore(self) -> None:
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


def live_through(machine: type[HistoriesOf], examples: int, steps: int = 14) -> None:
    """Try that many histories; `CRMKIT_EXAMPLES` asks for more, and for others each time."""
    asked = os.environ.get("CRMKIT_EXAMPLES")
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(asked) if asked else examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=asked is None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
