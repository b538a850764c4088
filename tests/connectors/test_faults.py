"""Under every fault profile a pull ends with exactly the world's records, or can be resumed until it does."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from crmkit.errors import AccessDenied, Transient
from crmkit.model import Kind
from crmkit.sandbox.faults import Fault, FaultPlan, Scripted
from crmkit.sync import schema
from crmkit.sync.pull import Pull, PullOutcome, PullResult
from crmkit.sync.state import State
from tests.sandbox_bench import SandboxBench, bench

CRMS = ("hubspot", "zoho", "copper", "bitrix24", "close")
PROFILES = ("storm", "flaky", "truncated", "garbage", "slow", "expired", "edits", "storm,flaky,truncated")
OAUTH = ("hubspot", "close", "bitrix24")  # Zoho knows nothing else; a Copper key does not expire
MOST_RUNS = 8


def run(state: State, crm: SandboxBench, profile: str, *, full: bool = False) -> PullResult:
    options: dict[str, str] = {}
    if profile == "expired" and crm.crm in OAUTH:
        options = {"auth": "oauth", "base_url": crm.app.base_url}
    return Pull(state, crm.connect(**options), full=full, clock_margin_seconds=1e9).run()


def run_until_done(state: State, crm: SandboxBench, profile: str) -> PullResult:
    """Pull again and again, as cron would; what a run could not finish the next one resumes."""
    for _ in range(MOST_RUNS):
        result = run(state, crm, profile)
        if result.error is None:
            return result
        assert isinstance(result.error, Transient), result.error
        assert result.error.hint
    raise AssertionError(f"not done after {MOST_RUNS} runs: {result.error}")


def stored(state: State) -> dict[str, object]:
    table = schema.deals
    query = sa.select(table.c.id, table.c.amount).where(
        table.c.gone_at.is_(None), table.c.archived.is_(False)
    )
    with state.read() as db:
        return {row.id: row.amount for row in db.execute(query)}


def expected(crm: SandboxBench) -> dict[str, object]:
    return {deal.id: deal.amount for deal in crm.deals()}


@pytest.mark.parametrize(
    ("crm", "profile"),
    [(crm, profile) for crm in CRMS for profile in PROFILES if (crm, profile) != ("copper", "expired")],
)
def test_a_pull_under_faults_ends_with_the_records_of_the_world(
    crm: str, profile: str, tmp_path: Path
) -> None:
    with bench(crm, faults=profile, slow_seconds=0.01) as running:
        state = State(f"sqlite:///{tmp_path / 'state.db'}")
        result = run_until_done(state, running, profile)
        assert result.outcome is PullOutcome.DONE
        if "edits" in profile:
            # The world kept changing while it was read: once it is quiet, an increment and
            # a sweep catch up.
            running.app.faults = FaultPlan()
            running.settle()
            run_until_done(state, running, "none")
            run(state, running, "none", full=True)
        found = stored(state)
        state.close()
        assert found == expected(running)


def test_a_key_that_is_refused_midway_is_a_clear_error_and_the_next_pull_goes_on(tmp_path: Path) -> None:
    with bench("copper", deals=2000) as running:  # its keys do not expire, but may be revoked
        state = State(f"sqlite:///{tmp_path / 'state.db'}")
        running.app.faults = FaultPlan(script=[Scripted(Fault.EXPIRED, "list", skip=19)])
        refused = run(state, running, "none")
        assert isinstance(refused.error, AccessDenied)
        assert refused.error.hint
        resumed = run(state, running, "none")
        found = stored(state)
        state.close()
        assert (resumed.error, resumed.progress.resumed) == (None, True)
        assert found == expected(running)


@pytest.mark.parametrize("crm", CRMS)
def test_an_increment_under_faults_catches_up_with_edits(crm: str, tmp_path: Path) -> None:
    with bench(crm) as running:
        state = State(f"sqlite:///{tmp_path / 'state.db'}")
        assert run(state, running, "none").error is None
        running.settle()
        for number, deal_id in enumerate(sorted(running.ids(Kind.DEAL))[:40]):
            running.app.world.edit_deal(deal_id, amount=Decimal(number))
        running.settle()
        running.app.faults = FaultPlan("storm,flaky,truncated")
        run_until_done(state, running, "storm")
        found = stored(state)
        state.close()
        assert found == expected(running)


@pytest.mark.parametrize("crm", CRMS)
def test_with_the_real_limits_a_pull_waits_and_never_fails(crm: str, tmp_path: Path) -> None:
    with bench(crm, deals=3000, limits="real") as running:
        state = State(f"sqlite:///{tmp_path / 'state.db'}")
        result = run(state, running, "none")
        refused = sum(running.app.requests.statuses[status] for status in (429, 503))
        found = stored(state)
        state.close()
    assert result.error is None
    assert refused == 0
    assert len(found) == len(running.ids(Kind.DEAL))
