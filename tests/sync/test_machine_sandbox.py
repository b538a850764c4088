"""Random histories of two sandbox CRMs on real HTTP: users, faults on the wire, kills, lost state.

Every failure found here becomes a named test in `test_histories_sandbox.py`. More examples at
night: `CRMKIT_EXAMPLES=300 pytest tests/sync/test_machine_sandbox.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from crmkit.sandbox.faults import Fault, FaultPlan, Scripted
from crmkit.sync import apply
from tests.sync.base_lab import ram_folder
from tests.sync.machine import BOXES, DEALS, STAGE_IDS, HistoriesOf, Serial, live_through
from tests.sync.sandbox_lab import Port, SandboxFaults, SandboxLab, served, watch_requests
from tests.sync.stores import SqliteFiles, template

PAIRS = [("hubspot", "zoho"), ("copper", "close"), ("bitrix24", "hubspot")]
PROFILES = (
    "storm", "flaky", "flaky:write", "flaky:read+list", "truncated", "garbage", "5xx-before-commit",
    "5xx-after-commit", "timeout-after-commit", "commit-late",
)  # fmt: skip
STRUCK = (
    Fault.TIMEOUT_AFTER_COMMIT, Fault.COMMIT_LATE, Fault.SERVER_ERROR, Fault.SERVER_ERROR_AFTER_COMMIT,
    Fault.RATE_LIMITED, Fault.DROPPED, Fault.TRUNCATED,
)  # fmt: skip
NAMES = st.sampled_from(["name", "stage", "amount", "expected_close", "company", "planted"])
CALLS = st.sampled_from(["list", "get", "write"])
SECONDS = st.sampled_from([1.0, 50.0, 290.0])


@st.composite
def some_plan(draw: st.DrawFn) -> FaultPlan:
    """Faults of one CRM: a profile, or a few single ones."""
    late = draw(SECONDS)
    if draw(st.booleans()):
        profile, share = draw(st.sampled_from(PROFILES)), draw(st.sampled_from([0.1, 0.5]))
        return FaultPlan(profile, draw(st.integers(0, 1000)), share, slow_seconds=0.0, late_seconds=late)
    lines = st.builds(
        Scripted,
        st.sampled_from(STRUCK),
        st.sampled_from(["write", "write", "read", "list"]),
        st.integers(0, 2),
    )
    script = [one for one in draw(st.lists(lines, min_size=1, max_size=3)) if _sensible(one)]
    return FaultPlan(slow_seconds=0.0, late_seconds=late, script=script)


def _sensible(line: Scripted) -> bool:
    return line.kind == "write" or line.fault is not Fault.COMMIT_LATE


@st.composite
def some_faults(draw: st.DrawFn) -> dict[str, Any]:
    edit = (BOXES, DEALS, NAMES, STAGE_IDS)
    return {
        "plans": draw(st.dictionaries(st.integers(0, 1), some_plan(), max_size=2)),
        "kill": draw(st.one_of(st.none(), st.none(), st.integers(0, 300))),
        "edits": draw(st.lists(st.tuples(BOXES, CALLS, st.integers(0, 2), *edit), max_size=2)),
        "after_pull": draw(st.lists(st.tuples(*edit), max_size=1)),
    }


class Histories(HistoriesOf):
    """Histories of two sandbox CRMs."""

    lab: SandboxLab | None
    ports: ClassVar[Mapping[str, Port]]

    @initialize(
        backwards=st.booleans(),
        chosen=st.sampled_from(["hold", "priority", "newest"]),
        deletes=st.sampled_from(["none", "delete", "recreate"]),
        one_way=st.sampled_from([False, False, False, True]),
        lagging=st.booleans(),
        deals=st.integers(1, 2),
    )
    def begin(self, backwards, chosen, deletes, one_way, lagging, deals) -> None:
        names = list(self.ports)
        settings = {
            "order": list(reversed(names)) if backwards else names,
            "rule": chosen,
            "deletes": deletes,
            "member": {names[-1]: {"role": "target"}} if one_way else {},
        }
        store = SqliteFiles(self.mine, template(self.folder))
        self.lab = SandboxLab(self.ports, store, settings, lagging=lagging)
        self.lab.pull()
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

    # The operator and the network

    def faults(self, drawn: dict[str, Any]) -> SandboxFaults:
        def editing(*edit: Any) -> Callable[[], None]:
            return lambda: self.edit_in(*edit)

        def after_pull() -> None:
            for edit in drawn["after_pull"]:
                self.edit_in(*edit)

        plans = {self.box(box).name: plan for box, plan in drawn["plans"].items()}
        edits = {
            (self.box(where).name, call, requests): editing(*edit)
            for where, call, requests, *edit in drawn["edits"]
        }
        return SandboxFaults(plans, drawn["kill"], edits, after_pull)

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


@pytest.mark.parametrize("crms", PAIRS, ids="-".join)
def test_any_history_of_two_crms_converges_and_loses_nothing(
    crms: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(apply, "ThreadPoolExecutor", Serial)
    watch_requests(monkeypatch)
    with ram_folder(tmp_path) as folder, served(crms) as ports:
        monkeypatch.setattr(Histories, "folder", folder, raising=False)
        monkeypatch.setattr(Histories, "ports", ports, raising=False)
        live_through(Histories, 4)
