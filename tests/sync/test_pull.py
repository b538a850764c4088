"""A pull stores every page with its cursor, whatever stops it, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit.connectors.base import Context, Evidence, Page, Unreadable
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.connectors.usage import Usage
from crmkit.errors import AccessDenied, Busy, ClockSkew, CrmkitError, NetworkFault
from crmkit.model import Company, Deal, DealContact, Kind, Outcome, Pipeline, Ref, Stage, Tombstone, Workspace
from crmkit.sync import pull as pulling
from crmkit.sync import schema
from crmkit.sync.lease import hold
from crmkit.sync.pull import Pull, PullOutcome, PullResult
from crmkit.sync.queries import quarantined
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock, FakeSecrets

START = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
NAME = "memory-test"


def ref(native: str, kind: Kind = Kind.DEAL) -> Ref:
    return Ref(NAME, kind, native)


def deal(native: str, minute: int = 0, **values: Any) -> Deal:
    moment = START + timedelta(minutes=minute)
    fields: dict[str, Any] = {
        "ref": ref(native),
        "name": f"Deal {native}",
        "amount": Decimal("100.10"),
        "currency": "EUR",
        "pipeline_id": "p",
        "stage_id": "s1",
        "contacts": (DealContact(id="k", primary=True),),
        "custom": {"seats": 3, "since": moment.date(), "price": Decimal("1.5")},
        "probability": Decimal("0.2"),
        "modified_at": moment,
        "version": moment.isoformat(),
    }
    return Deal(**{**fields, **values})


@pytest.fixture
def memory() -> Memory:
    filled = Memory()
    filled.put(
        Pipeline(ref=ref("p", Kind.PIPELINE), name="Sales", stages=(Stage(id="s1", name="New", order=0),))
    )
    filled.put(Company(ref=ref("c", Kind.COMPANY), name="Acme", domain="acme.test"))
    for number in range(9):
        filled.put(deal(f"d{number}"))
    return filled


class Breaking(MemoryConnector):
    """Fails after some pages of deals."""

    pages_before_failure: int | None = None
    failure: Exception = NetworkFault("cut")

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        for number, page in enumerate(super().read(kind, since)):
            if kind is Kind.DEAL and number == self.pages_before_failure:
                raise self.failure
            yield page


def connect(memory: Memory, kind: type[MemoryConnector] = MemoryConnector) -> MemoryConnector:
    context = Context(NAME, FakeSecrets(), clock=FakeClock(), usage=Usage())
    return kind(context, None, memory)


def run(state: State, connector: MemoryConnector, **options: Any) -> PullResult:
    return Pull(state, connector, **options).run()


def stored(state: State, table: sa.Table = schema.deals) -> dict[str, Any]:
    with state.read() as db:
        return {row.id: row for row in db.execute(sa.select(table))}


def test_a_pull_stores_exact_values(state: State, memory: Memory) -> None:
    memory.put(deal("exact", amount=Decimal("0.10"), outcome=Outcome.WON, expected_close=START.date()))
    result = run(state, connect(memory))
    row = stored(state)["exact"]
    assert result.outcome is PullOutcome.DONE
    assert (row.amount, row.currency, row.outcome) == (Decimal("0.10"), "EUR", "won")
    assert (row.modified_at, row.expected_close) == (START, START.date())
    assert row.contacts == [{"id": "k", "primary": True, "role": None}]


def test_a_second_pull_reads_only_what_changed(state: State, memory: Memory) -> None:
    run(state, connect(memory))
    memory.put(deal("d3", minute=5, amount=Decimal("7.25")))
    result = run(state, connect(memory))
    assert (result.progress.records[Kind.DEAL], result.progress.changed) == (1, 1)
    assert stored(state)["d3"].amount == Decimal("7.25")


def test_a_change_is_kept_as_history_field_by_field(state: State, memory: Memory) -> None:
    run(state, connect(memory))
    memory.put(deal("d3", minute=5, amount=Decimal("7.25"), stage_id="s2"))
    run(state, connect(memory))
    with state.read() as db:
        rows = {
            row.field: (row.old, row.new) for row in db.execute(sa.select(schema.history)) if row.id == "d3"
        }
    assert rows["amount"] == ("100.10", "7.25")
    assert rows["stage_id"] == ("s1", "s2")
    assert set(rows) == {"amount", "stage_id", "modified_at", "version", "custom"} - (
        set() if "custom" in rows else {"custom"}
    )


def test_reading_the_same_again_changes_nothing(state: State, memory: Memory) -> None:
    run(state, connect(memory))
    result = run(state, connect(memory), full=True)
    assert (result.progress.records[Kind.DEAL], result.progress.changed) == (9, 0)
    with state.read() as db:
        assert db.execute(sa.select(schema.history)).all() == []


@pytest.mark.parametrize("pages", [0, 1, 3, 5])
def test_a_broken_pull_goes_on_where_it_stopped(
    state: State, memory: Memory, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "RECORDS_PER_TRANSACTION", 2)
    broken = connect(memory, Breaking)
    broken.pages_before_failure = pages  # type: ignore[attr-defined]
    first = run(state, broken)
    before = len(stored(state))
    second = run(state, connect(memory))
    assert (first.outcome, second.outcome) == (PullOutcome.FAILED, PullOutcome.DONE)
    assert isinstance(first.error, NetworkFault)
    assert len(stored(state)) == 9
    assert second.progress.records[Kind.DEAL] == 9 - before


def test_what_came_before_a_failure_is_kept(state: State, memory: Memory) -> None:
    broken = connect(memory, Breaking)
    broken.pages_before_failure = 4  # type: ignore[attr-defined]
    run(state, broken)
    assert len(stored(state)) > 0


def test_a_stopped_pull_says_so_and_keeps_its_place(state: State, memory: Memory) -> None:
    connector = connect(memory)
    connector.context.cancelled.set()
    first = run(state, connector)
    second = run(state, connect(memory))
    assert first.outcome is PullOutcome.INTERRUPTED
    assert second.outcome is PullOutcome.DONE
    assert len(stored(state)) == 9


def test_an_older_state_from_a_lagging_index_is_ignored(state: State, memory: Memory) -> None:
    memory.put(deal("d1", minute=10, amount=Decimal(2)))
    run(state, connect(memory))
    memory.log.append((ref("d1"), deal("d1", minute=5, amount=Decimal(1))))
    run(state, connect(memory))
    assert stored(state)["d1"].amount == Decimal(2)


def test_what_a_whole_read_shows_as_older_is_believed_if_its_own_address_says_so(
    state: State, memory: Memory
) -> None:
    memory.put(deal("d1", minute=10, amount=Decimal(2)))
    run(state, connect(memory))
    # Two servers of one CRM disagree about the time: the later edit got the earlier one.
    memory.log[:] = [entry for entry in memory.log if entry[0] != ref("d1")]
    memory.put(deal("d1", minute=5, amount=Decimal(1)))
    run(state, connect(memory), full=True)
    assert stored(state)["d1"].amount == Decimal(1)


def test_the_newer_of_two_states_on_one_page_wins(state: State, memory: Memory) -> None:
    memory.put(deal("twice", minute=9, amount=Decimal(9)))
    memory.put(deal("twice", minute=3, amount=Decimal(3)))
    run(state, connect(memory))
    assert stored(state)["twice"].amount == Decimal(9)


def test_a_tombstone_marks_the_record_and_keeps_it(state: State, memory: Memory) -> None:
    run(state, connect(memory))
    memory.remove(ref("d1"), merged_into="d2")
    result = run(state, connect(memory))
    row = stored(state)["d1"]
    assert row.gone_at is not None
    assert row.merged_into == "d2"
    assert result.progress.gone == 1


def test_a_deletion_older_than_the_last_change_is_stale_news(state: State, memory: Memory) -> None:
    memory.put(deal("d1", minute=30))
    run(state, connect(memory))
    memory.log.append((ref("d1"), Tombstone(ref=ref("d1"), at=START)))
    run(state, connect(memory))
    assert stored(state)["d1"].gone_at is None


def test_a_restored_record_is_live_again(state: State, memory: Memory) -> None:
    run(state, connect(memory))
    memory.remove(ref("d1"))
    run(state, connect(memory))
    first = stored(state)["d1"]
    memory.put(deal("d1", minute=60))
    run(state, connect(memory))
    again = stored(state)["d1"]
    assert again.gone_at is None
    assert again.first_seen_at == first.first_seen_at
    # What the time in between looked like stays known.
    with state.read() as db:
        fields = schema.history.c
        query = sa.select(fields.old, fields.new).where(fields.id == "d1", fields.field == "gone_at")
        assert db.execute(query).all() == [(first.gone_at.isoformat(), None)]


class Silent(MemoryConnector):
    """A CRM that never tells about deletions."""

    capabilities = replace(MemoryConnector.capabilities, deletions={Kind.DEAL: Evidence.ABSENT})

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        for page in super().read(kind, None):
            gone = {ref for ref, entry in self.memory.now().items() if isinstance(entry, Tombstone)}
            hidden = getattr(self, "hidden", set())
            kept = [
                record for record in page.records if record.ref not in gone and record.ref.id not in hidden
            ]
            yield replace(page, records=kept, tombstones=())


def test_absence_and_a_read_by_id_together_prove_a_deletion(state: State, memory: Memory) -> None:
    run(state, connect(memory, Silent))
    memory.remove(ref("d4"))
    result = run(state, connect(memory, Silent), full=True)
    assert stored(state)["d4"].gone_at is not None
    assert result.progress.gone == 1


def test_absence_alone_is_never_deletion(state: State, memory: Memory) -> None:
    run(state, connect(memory, Silent))
    connector = connect(memory, Silent)
    connector.hidden = {"d4"}  # type: ignore[attr-defined]
    run(state, connector, full=True)
    assert stored(state)["d4"].gone_at is None


@pytest.mark.parametrize("remaining", [0, 2])
def test_a_shrunken_list_buries_nothing_and_says_so(state: State, memory: Memory, remaining: int) -> None:
    run(state, connect(memory, Silent))
    for number in range(remaining, 9):
        memory.remove(ref(f"d{number}"))
    result = run(state, connect(memory, Silent), full=True)
    assert all(row.gone_at is None for row in stored(state).values())
    assert "were not listed" in result.progress.warnings[0]


class Odd(MemoryConnector):
    """Has a record that cannot be read, until it is mended."""

    mended = False

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        for page in super().read(kind, None):
            if kind is not Kind.DEAL:
                yield page
                continue
            kept = [record for record in page.records if self.mended or record.ref.id != "d5"]
            bad = len(page.records) - len(kept)
            yield replace(
                page, records=kept, unreadable=[Unreadable(ref("d5"), "amount", "is not a number")] * bad
            )


def test_an_unreadable_record_is_quarantined_and_the_pull_goes_on(state: State, memory: Memory) -> None:
    result = run(state, connect(memory, Odd))
    assert result.outcome is PullOutcome.HELD
    assert len(stored(state)) == 8
    assert [(row["id"], row["field"]) for row in quarantined(state, [NAME])] == [("d5", "amount")]


def test_a_record_leaves_the_quarantine_once_it_can_be_read(state: State, memory: Memory) -> None:
    run(state, connect(memory, Odd))
    mended = connect(memory, Odd)
    mended.mended = True  # type: ignore[attr-defined]
    result = run(state, mended, full=True)
    assert result.outcome is PullOutcome.DONE
    assert quarantined(state, [NAME]) == []


def test_the_only_record_leaves_the_quarantine_once_it_can_be_read(state: State) -> None:
    lonely = Memory()
    lonely.put(deal("d5"))
    assert run(state, connect(lonely, Odd)).outcome is PullOutcome.HELD
    mended = connect(lonely, Odd)
    mended.mended = True  # type: ignore[attr-defined]
    assert run(state, mended, full=True).outcome is PullOutcome.DONE


def test_a_deleted_record_leaves_the_quarantine(state: State, memory: Memory) -> None:
    assert run(state, connect(memory, Odd)).outcome is PullOutcome.HELD
    memory.log = [entry for entry in memory.log if entry[0].id != "d5"]
    memory.remove(ref("d5"))
    assert run(state, connect(memory), full=True).outcome is PullOutcome.DONE
    assert quarantined(state, [NAME]) == []


def test_a_record_that_became_unreadable_is_not_buried(state: State, memory: Memory) -> None:
    mended = connect(memory, Odd)
    mended.mended = True  # type: ignore[attr-defined]
    run(state, mended)
    run(state, connect(memory, Odd), full=True)
    assert stored(state)["d5"].gone_at is None


def test_two_pulls_of_one_connection_at_once_are_refused(state: State, memory: Memory) -> None:
    connector = connect(memory)
    with hold(state, f"pull:{NAME}", connector.context.clock.now):
        result = run(state, connector)
    assert isinstance(result.error, Busy)
    assert "process" in str(result.error)


def test_a_clock_that_is_wrong_is_named(state: State, memory: Memory) -> None:
    clock = FakeClock()
    memory.workspace = Workspace(id="m", name="M", server_time=clock.now() + timedelta(minutes=10))
    result = run(state, connect(memory), clock_margin_seconds=120)
    assert isinstance(result.error, ClockSkew)
    assert "behind" in str(result.error)


def test_another_workspace_under_the_same_name_is_refused(state: State, memory: Memory) -> None:
    run(state, connect(memory))
    memory.workspace = Workspace(id="another", name="Other")
    result = run(state, connect(memory))
    assert type(result.error) is CrmkitError
    assert "another workspace" in str(result.error)


def test_credentials_errors_end_only_their_own_pull(state: State, memory: Memory) -> None:
    broken = connect(memory, Breaking)
    broken.pages_before_failure = 0  # type: ignore[attr-defined]
    broken.failure = AccessDenied("no")  # type: ignore[attr-defined]
    result = run(state, broken)
    assert result.error is not None
    assert result.error.exit_code == 7


def test_every_pull_is_recorded_as_a_run(state: State, memory: Memory) -> None:
    run(state, connect(memory))
    with state.read() as db:
        row = db.execute(sa.select(schema.runs)).one()
    assert (row.command, row.connection, row.outcome, row.records) == ("pull", NAME, "done", 11)


def test_a_whole_read_is_repeated_once_it_is_too_old(state: State, memory: Memory) -> None:
    clock = FakeClock()
    context = Context(NAME, FakeSecrets(), clock=clock)

    def pulled() -> int:
        connector = MemoryConnector(context, memory=memory)
        return Pull(state, connector, sweep_after=timedelta(hours=24)).run().progress.total

    everything = pulled()
    assert pulled() == 0
    clock.sleep(25 * 3600, context.cancelled)
    assert pulled() == everything
    assert pulled() == 0
