"""Random histories of two or three faulty CRMs: users, lost answers, late commits, kills, lost state.

Every failure found here becomes a named test in `test_histories.py`. More examples at night:
`CRMKIT_EXAMPLES=2000 pytest tests/sync/test_machine.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from crmkit.sync import apply
from tests.sync.faulty import FATES, Behaviour
from tests.sync.lab import FIELDS, Faults, Lab, ram_folder, template
from tests.sync.machine import BOXES, DEALS, STAGE_IDS, HistoriesOf, Serial, live_through
from tests.sync.stores import PostgresDatabases, StoreFiles

NAMES = st.sampled_from(FIELDS)
CALLS = st.sampled_from(["list", "get", "write"])


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


class Histories(HistoriesOf):
    """Histories of CRMs in memory."""

    lab: Lab | None

    def store(self) -> StoreFiles | None:
        """Where the state store lives; a SQLite file unless this says otherwise."""
        return None

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
        self.lab = Lab(self.mine, template(self.folder), made, options, self.store())
        self.group8 = self.lab.group().group8
        for _ in range(deals):
            self.box(0).create()

    # Users

    @rule(box=BOXES, deal=DEALS, name=NAMES, stage=STAGE_IDS)
    def edit(self, box, deal, name, stage) -> None:
        self.edit_in(box, deal, name, stage)

    @rule(box=BOXES, deal=DEALS, name=NAMES, stage=STAGE_IDS)
    def edit_again(self, box, deal, name, stage) -> None:
        self.edit_in(box, deal, name, stage)

    @rule(box=BOXES, deal=DEALS)
    def archive(self, box, deal) -> None:
        found = self.box(box).pick(deal)
        if found is not None:
            self.box(box).archive(found, self.group8)

    # The operator and the network

    def faults(self, drawn: dict[str, Any]) -> Faults:
        def editing(box: int, deal: int, name: str, stage: str) -> Callable[[], None]:
            return lambda: self.edit_in(box, deal, name, stage)

        edits = {(self.box(where).name, call): editing(*rest) for where, call, *rest in drawn["edits"]}

        def after_pull() -> None:
            for each in drawn["after_pull"]:
                self.edit_in(*each)

        fates = {self.box(box).name: some for box, some in drawn["fates"].items()}
        return Faults(fates, drawn["late"], drawn["kill"], edits, after_pull)

    @rule(drawn=some_faults())
    def sync(self, drawn) -> None:
        self.faulty_sync(self.faults(drawn))

    @rule(drawn=some_faults(), seconds=st.sampled_from([1, 60, 400]))
    def sync_and_wait(self, drawn, seconds) -> None:
        self.faulty_sync(self.faults(drawn), seconds)

    @precondition(lambda self: self.saved is not None)
    @rule(drawn=some_faults())
    def apply(self, drawn) -> None:
        self.faulty_apply(self.faults(drawn))


class HistoriesOnPostgres(Histories):
    """The same with the state in a real PostgreSQL."""

    server: ClassVar[str]

    def store(self) -> StoreFiles:
        return PostgresDatabases(self.server)


def test_any_history_converges_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apply, "ThreadPoolExecutor", Serial)
    with ram_folder(tmp_path) as folder:
        monkeypatch.setattr(Histories, "folder", folder, raising=False)
        live_through(Histories, 50)


def test_any_history_converges_and_loses_nothing_on_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
):
    monkeypatch.setattr(apply, "ThreadPoolExecutor", Serial)
    monkeypatch.setattr(HistoriesOnPostgres, "folder", tmp_path, raising=False)
    monkeypatch.setattr(HistoriesOnPostgres, "server", postgres_url, raising=False)
    live_through(HistoriesOnPostgres, 3)
