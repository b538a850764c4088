"""Histories of sandbox CRMs that each went, or would go, wrong in one particular way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from crmkit.sandbox.faults import Fault, FaultPlan, Scripted
from crmkit.sync import apply
from tests.sync.base_lab import ram_folder
from tests.sync.machine import Serial
from tests.sync.sandbox_lab import SandboxFaults, SandboxLab, served, watch_requests
from tests.sync.stores import SqliteFiles, template

CRMS = ("hubspot", "zoho", "copper", "bitrix24", "close")
PARTNER = {"hubspot": "zoho", "zoho": "hubspot", "copper": "close", "bitrix24": "hubspot", "close": "copper"}


class Labs:
    """Makes labs over sandbox CRMs: the named one is second, and a partner writes to it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack

    def __call__(self, crm: str, *, lagging: bool = False, **settings: Any) -> SandboxLab:
        names = (PARTNER[crm], crm)
        own = self._folder / crm
        own.mkdir()
        ports = self._stack.enter_context(served(names))
        store = SqliteFiles(own, template(self._folder))
        lab = SandboxLab(ports, store, {"order": names, **settings}, lagging=lagging)
        self._stack.callback(lab.close)
        lab.pull()
        return lab


@pytest.fixture
def lab_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Labs]:
    monkeypatch.setattr(apply, "ThreadPoolExecutor", Serial)
    watch_requests(monkeypatch)
    with ram_folder(tmp_path) as folder, ExitStack() as stack:
        yield Labs(folder, stack)


def one_fault(fault: Fault, kind: Any = "write", skip: int = 0) -> FaultPlan:
    return FaultPlan(slow_seconds=0.0, late_seconds=250.0, script=[Scripted(fault, kind, skip)])


def in_step(lab: SandboxLab) -> None:
    """One deal, alike in both CRMs."""
    first = next(iter(lab.boxes.values()))
    first.create()
    lab.advance(400)
    lab.sync()
    lab.advance(400)


@pytest.mark.parametrize("crm", CRMS)
@pytest.mark.parametrize("fault", [Fault.TIMEOUT_AFTER_COMMIT, Fault.COMMIT_LATE], ids=str)
def test_a_create_without_an_answer_makes_one_record(lab_of: Labs, crm: str, fault: Fault):
    lab = lab_of(crm)
    first, second = lab.boxes.values()
    first.create()
    lab.advance(400)
    lab.sync(SandboxFaults({crm: one_fault(fault)}))
    lab.sync()

    lab.check()

    assert len(first.rows()) == len(second.rows()) == 1


@pytest.mark.parametrize("crm", CRMS)
def test_a_late_write_over_an_edit_that_was_imported_is_corrected(lab_of: Labs, crm: str):
    lab = lab_of(crm, rule="hold")
    in_step(lab)
    first, second = lab.boxes.values()
    first.edit(first.pick(0), "amount")
    lab.advance(130)  # no list trails behind that far
    lab.sync(SandboxFaults({crm: one_fault(Fault.COMMIT_LATE)}))
    assert second.app.late
    second.edit(second.pick(0), "amount")
    edited = second.pick(0).amount
    lab.advance(100)  # now lists show it, and the write has not landed yet
    lab.sync()

    lab.check()

    assert first.pick(0).amount == second.pick(0).amount == edited


@pytest.mark.parametrize(("crm", "step"), [*zip(CRMS, (190, 220, 250, 280, 310), strict=True)])
def test_a_kill_doubles_nothing(lab_of: Labs, crm: str, step: int):
    lab = lab_of(crm, lagging=True)
    first, second = lab.boxes.values()
    first.create()
    lab.advance(400)
    assert lab.sync(SandboxFaults(kill_after=step)) is None

    lab.check()

    assert len(first.rows()) == len(second.rows()) == 1


def test_a_company_that_close_cannot_change_is_told_and_holds_nothing_else_up(lab_of: Labs):
    lab = lab_of("close", rule="priority")
    in_step(lab)
    copper, close = lab.boxes.values()
    copper.edit(copper.pick(0), "company")
    copper.edit(copper.pick(0), "amount")
    for _ in range(3):
        lab.advance(400)
        result = lab.sync()

    assert [(one.kind, one.connection) for one in result.held] == [("refused", "close")]
    assert close.pick(0).amount == copper.pick(0).amount


@pytest.mark.parametrize("crm", CRMS)
def test_an_edit_that_no_index_shows_yet_is_not_overwritten(lab_of: Labs, crm: str):
    lab = lab_of(crm, lagging=True, rule="hold")
    in_step(lab)
    first, second = lab.boxes.values()
    first.edit(first.pick(0), "amount")
    lab.advance(130)
    second.edit(second.pick(0), "amount")
    edited = second.pick(0).amount
    lab.advance(1)

    result = lab.sync()

    assert [one.kind for one in result.held] == ["conflict"]
    assert second.pick(0).amount == edited
    lab.check()


def test_a_late_write_that_no_index_shows_when_its_wait_is_over_is_still_corrected(lab_of: Labs):
    lab = lab_of("copper", lagging=True, rule="hold")
    in_step(lab)
    first, second = lab.boxes.values()
    first.edit(first.pick(0), "amount")
    lab.advance(130)
    late = FaultPlan(late_seconds=298.0, script=[Scripted(Fault.COMMIT_LATE, "write")])
    lab.sync(SandboxFaults({"copper": late}))
    second.edit(second.pick(0), "amount")
    edited = second.pick(0).amount
    lab.advance(100)
    lab.sync()  # takes the edit over
    lab.advance(201.5)
    lab.sync()  # the write has landed over it

    lab.check()

    assert first.pick(0).amount == second.pick(0).amount == edited
