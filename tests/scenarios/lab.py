"""One sandbox CRM as the target of a sync from a CRM in memory, run by the engine on a joined clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crmkit.sandbox.faults import FaultPlan
from crmkit.sync.run import SyncResult
from crmkit.sync.state import State
from tests.sandbox_bench import SandboxBench
from tests.sandbox_bench import bench as sandbox_bench
from tests.scenarios.one_way import DEALS, TARGET, Source, run_once
from tests.scenarios.syncing import keys_of, markers_of

WAIT_SECONDS = 1200.0  # longer than a request may be under way and an index trails
OAUTH = ("hubspot", "close", "bitrix24")
Held = Mapping[str, tuple[Any, ...]]
Ended = tuple[Held, tuple[int, int, int]]


@dataclass
class Lab:
    """The sync and what it leaves in the target."""

    target: SandboxBench
    source: Source
    state: State
    options: Mapping[str, Any]

    def cycle(self) -> SyncResult:
        """One scheduled run."""
        target = self.target.connect(name=TARGET, **self.options)
        try:
            return run_once(self.state, self.source, target)
        finally:
            target.close()

    def quiet(self, runs: int = 3) -> list[SyncResult]:
        """Heal the target, wait until nothing is under way, and run until nothing is left to do."""
        self.target.app.faults = FaultPlan()
        done: list[SyncResult] = []
        for _ in range(runs):
            self.target.box.clock.advance(WAIT_SECONDS)
            done.append(self.cycle())
            if done[-1].exit_code == 0 and done[-1].writes == 0:
                break
        return done

    def ended(self) -> Ended:
        """What a run left behind, to compare with another history's."""
        return held(self.target), size(self.target)


def held(target: SandboxBench) -> Held:
    """What a CRM holds of ours: per key, the values that are kept in step."""
    world = target.app.world
    names = {
        **{("company", row.id): row.name for row in world.companies.values()},
        **{("contact", row.id): f"{row.first} {row.last}".strip() for row in world.contacts.values()},
    }
    found: dict[str, tuple[Any, ...]] = {}
    for row in world.deals.values():
        people = tuple(sorted(names["contact", one] for one in row.contact_ids))
        company = names.get(("company", row.company_id or ""))
        values = (row.name, row.stage_id, row.status, row.amount, row.currency, row.expected_close)
        found |= dict.fromkeys(keys_of(row), (*values, company, people))
    for company_row in world.companies.values():
        found |= dict.fromkeys(keys_of(company_row), (company_row.name,))
    for contact in world.contacts.values():
        found |= dict.fromkeys(keys_of(contact), (names["contact", contact.id],))
    return found


def size(target: SandboxBench) -> tuple[int, int, int]:
    """How many companies, people and deals a CRM holds, ours or not."""
    world = target.app.world
    return len(world.companies), len(world.contacts), len(world.deals)


def doubles(target: SandboxBench) -> list[str]:
    """Our keys that more than one live record carries."""
    return [key for key, count in Counter(markers_of(target.app.world.live)).items() if count > 1]


def open_intents(state: State) -> int:
    """Writes whose outcome is not known."""
    with state.read() as db:
        query = "SELECT count(*) FROM journal WHERE state IN ('sent', 'unknown')"
        return int(db.exec_driver_sql(query).scalar_one())


@contextmanager
def lab(crm: str, folder: Path, *, expiring: bool = False) -> Iterator[Lab]:
    """A target with a few deals of its own, and a source with deals that it does not have."""
    with sandbox_bench(crm, deals=4, slow_seconds=0.01) as target:
        source = Source(target.clock, target.connect().check().base_currency or "USD")
        source.fill(DEALS)
        options: dict[str, Any] = {}
        if expiring and crm in OAUTH:
            options = {"auth": "oauth", "base_url": target.app.base_url}
        with closing(State(f"sqlite:///{folder / 'state.db'}")) as state:
            yield Lab(target, source, state, options)
