"""A targeted pull stores named records as a pull would, and believes nothing but the CRM's own answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit.connectors.base import Context
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.connectors.usage import Usage
from crmkit.errors import Busy, CrmkitError, UnreadableRecord
from crmkit.model import AnyRecord, Company, Contact, Deal, DealContact, Kind, Pipeline, Ref, Stage, Workspace
from crmkit.sync import schema, tables
from crmkit.sync.lease import hold
from crmkit.sync.pull import Pull
from crmkit.sync.state import State
from crmkit.sync.targeted import pull_named, refuse_other_workspace
from tests.connectors.conftest import FakeClock, FakeSecrets

START = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
NAME = "crm"
CLOCK = FakeClock()


class Counting(MemoryConnector):
    """Counts reads by id; some records cannot be translated."""

    bad: Sequence[Ref] = ()
    names_the_bad_one = True
    asked: list[int]

    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        self.asked = [*getattr(self, "asked", ()), len(refs)]
        for ref in refs:
            if ref in self.bad:
                raise UnreadableRecord(str(ref) if self.names_the_bad_one else "?", "amount", "not a number")
        return super().get(refs)


def ref(native: str, kind: Kind = Kind.DEAL) -> Ref:
    return Ref(NAME, kind, native)


def deal(native: str, minute: int = 0, **values: Any) -> Deal:
    moment = START + timedelta(minutes=minute)
    fields: dict[str, Any] = {
        "ref": ref(native), "name": f"Deal {native}", "amount": Decimal("100.10"), "currency": "EUR",
        "pipeline_id": "p", "stage_id": "s1", "modified_at": moment, "version": moment.isoformat(),
    }  # fmt: skip
    return Deal(**{**fields, **values})


@pytest.fixture
def memory() -> Memory:
    filled = Memory()
    stages = (Stage(id="s1", name="New", order=0),)
    filled.put(Pipeline(ref=ref("p", Kind.PIPELINE), name="Sales", stages=stages))
    filled.put(Company(ref=ref("c", Kind.COMPANY), name="Acme", domain="acme.test"))
    filled.put(Contact(ref=ref("bob", Kind.CONTACT), name="Bob"))
    for number in range(9):
        filled.put(deal(f"d{number}"))
    return filled


def connect(memory: Memory) -> Counting:
    return Counting(Context(NAME, FakeSecrets(), clock=CLOCK, usage=Usage()), None, memory)


@pytest.fixture
def state(tmp_path: Path, memory: Memory) -> Iterator[State]:
    """A store in which everything was pulled once."""
    with closing(State(f"sqlite:///{tmp_path / 'state.db'}")) as opened:
        Pull(opened, connect(memory)).run()
        yield opened


def rows(state: State, table: sa.Table, *without: str) -> list[dict[str, Any]]:
    with state.read() as db:
        found = [dict(row) for row in db.execute(sa.select(table)).mappings()]
    left = [{key: value for key, value in row.items() if key not in without} for row in found]
    return sorted(left, key=str)


def test_it_stores_what_a_pull_would_have_stored(state: State, memory: Memory, tmp_path: Path) -> None:
    with closing(State(f"sqlite:///{tmp_path / 'pulled.db'}")) as other:
        Pull(other, connect(memory)).run()
        memory.put(Company(ref=ref("new", Kind.COMPANY), name="Newcomer"))
        memory.put(Contact(ref=ref("ann", Kind.CONTACT), name="Ann", companies=("new",)))
        memory.put(deal("d1", 5, amount=Decimal(7), contacts=(DealContact(id="ann", primary=True),)))
        memory.put(deal("d9", 6, companies=("new",)))
        memory.remove(ref("d2"))
        Pull(other, connect(memory)).run()
        result = pull_named(state, connect(memory), [ref("d1"), ref("d9"), ref("d2")])
        assert (result.changed, result.gone) == (4, 1)  # the company and Ann came along
        for table in (schema.deals, schema.companies, schema.contacts):
            ours, theirs = (rows(one, table, "seen_walk") for one in (state, other))
            assert ours == theirs, table.name
        assert rows(state, schema.history, "number") == rows(other, schema.history, "number")
        followed = [{row["id"] for row in rows(one, tables.changes)} for one in (state, other)]
        assert followed[0] == followed[1]


def test_cursors_do_not_move_and_the_next_pull_brings_the_rest(state: State, memory: Memory) -> None:
    before = rows(state, schema.cursors)
    memory.put(deal("d1", 5, amount=Decimal(7)))
    memory.put(deal("d3", 5, amount=Decimal(8)))
    assert pull_named(state, connect(memory), [ref("d1")]).changed == 1
    assert rows(state, schema.cursors) == before
    assert Pull(state, connect(memory)).run().progress.changed == 1


def test_what_is_named_again_without_a_change_is_nothing_new(state: State, memory: Memory) -> None:
    result = pull_named(state, connect(memory), [ref("d1"), ref("c", Kind.COMPANY)])
    assert not result.matters
    assert rows(state, schema.history) == []


def test_a_record_that_is_there_is_not_gone_whatever_was_said(state: State, memory: Memory) -> None:
    # The hint's word is not even passed on: only `get` says what is gone.
    assert pull_named(state, connect(memory), [ref("d1"), ref("nobody")]).gone == 0
    assert rows(state, schema.tombstones) == []


def test_a_merged_record_names_its_survivor(state: State, memory: Memory) -> None:
    memory.remove(ref("d1"), merged_into="d2")
    assert pull_named(state, connect(memory), [ref("d1"), ref("d2")]).gone == 1
    (stone,) = rows(state, schema.tombstones)
    assert (stone["id"], stone["merged_into"]) == ("d1", "d2")


def test_many_that_are_gone_at_once_look_like_lost_rights(state: State, memory: Memory) -> None:
    for number in range(7):
        memory.remove(ref(f"d{number}"))
    result = pull_named(state, connect(memory), [ref(f"d{number}") for number in range(9)])
    assert result.gone == 0
    assert "Check the rights" in result.warnings[0]
    assert rows(state, schema.tombstones) == []


@pytest.mark.parametrize("named", [True, False])
def test_one_record_that_cannot_be_read_is_quarantined_and_keeps_no_other_out(
    state: State, memory: Memory, named: bool
) -> None:
    for number in range(9):
        memory.put(deal(f"d{number}", 5, amount=Decimal(number)))
    connector = connect(memory)
    connector.bad, connector.names_the_bad_one = [ref("d4")], named
    result = pull_named(state, connector, [ref(f"d{number}") for number in range(9)])
    assert (result.changed, result.unreadable, result.gone) == (8, 1, 0)
    assert [row["id"] for row in rows(state, schema.quarantine)] == ["d4"]
    connector.bad = []
    pull_named(state, connector, [ref("d4")])
    assert rows(state, schema.quarantine) == []


def test_many_are_read_in_few_calls(state: State, memory: Memory) -> None:
    connector = connect(memory)
    for number in range(1000):
        memory.put(deal(f"x{number}"))
    result = pull_named(state, connector, [ref(f"x{number}") for number in range(1000)] * 3)
    assert result.changed == 1000
    assert connector.asked == [500, 500]


def test_what_was_never_pulled_is_left_to_the_first_pull(tmp_path: Path, memory: Memory) -> None:
    with closing(State(f"sqlite:///{tmp_path / 'empty.db'}")) as empty:
        connector = connect(memory)
        result = pull_named(empty, connector, [ref("d1"), ref("c", Kind.COMPANY)])
        assert result.left_out == {Kind.DEAL, Kind.COMPANY}
        assert rows(empty, schema.deals) == []


def test_it_waits_for_nobody_who_pulls(state: State, memory: Memory) -> None:
    with hold(state, f"pull:{NAME}", CLOCK.now), pytest.raises(Busy):
        pull_named(state, connect(memory), [ref("d1")])


def test_another_workspace_under_the_same_name_is_refused(state: State, memory: Memory) -> None:
    refuse_other_workspace(state, connect(memory))
    other = Memory(Workspace(id="another", name="Another", time_zone="UTC"))
    with pytest.raises(CrmkitError, match="another workspace"):
        refuse_other_workspace(state, connect(other))
