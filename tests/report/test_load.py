"""From stored records to report rows: stages mapped, deals linked, closings dated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.config import ConnectionSettings
from crmkit.connectors.base import Context
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.mapping.stages import DEFAULT_OUTLINE
from crmkit.model import Company, Deal, Kind, Outcome, Owner, Pipeline, Ref, Stage, StageChange
from crmkit.report import load
from crmkit.report.inputs import PipelineRow
from crmkit.sync.pull import Pull
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock, FakeSecrets

MODIFIED = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
STAGES = {"Sales": {"New": "prospecting", "Offer": "proposal", "Won": "won"}}


def ref(connection: str, kind: Kind, native: str) -> Ref:
    return Ref(connection, kind, native)


def deal(connection: str, native: str, **values: Any) -> Deal:
    fields: dict[str, Any] = {
        "ref": ref(connection, Kind.DEAL, native),
        "name": "Renewal",
        "amount": Decimal(1000),
        "currency": "EUR",
        "pipeline_id": "p",
        "stage_id": "s1",
        "owner_id": "o",
        "companies": ("c",),
        "expected_close": date(2026, 12, 31),
        "modified_at": MODIFIED,
    }
    return Deal(**{**fields, **values})


def filled(connection: str, *deals: Deal, domain: str = "acme.com") -> Memory:
    memory = Memory()
    memory.put(
        Pipeline(
            ref=ref(connection, Kind.PIPELINE, "p"),
            name="Sales",
            stages=(
                Stage(id="s1", name="New", order=0, probability=Decimal("0.1")),
                Stage(id="s2", name="Offer", order=1, probability=Decimal("0.6")),
                Stage(id="s3", name="Won", order=2, outcome=Outcome.WON),
                Stage(id="s4", name="Odd", order=3),
            ),
        )
    )
    memory.put(Owner(ref=ref(connection, Kind.OWNER, "o"), name="Ada", email="Ada@Example.org"))
    memory.put(Company(ref=ref(connection, Kind.COMPANY, "c"), name=f"Acme {connection}", domain=domain))
    for one in deals:
        memory.put(one)
    return memory


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    store = State(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


def rows(state: State, **memories: Memory) -> tuple[load.Rows, dict[str, PipelineRow]]:
    for connection, memory in memories.items():
        context = Context(connection, FakeSecrets(), clock=FakeClock())
        result = Pull(state, MemoryConnector(context, None, memory), history=True).run()
        assert result.error is None
    maps = [
        load.stage_map(state, connection, ConnectionSettings(crm="memory", stages=STAGES), DEFAULT_OUTLINE)
        for connection in memories
    ]
    found = load.Rows(state, load.Linked(state, maps), "Europe/Berlin")
    return found, {f"{row.ref.connection}{row.ref.id}": row for row in found}


def test_a_row_holds_names_and_the_common_stage(state: State) -> None:
    _, found = rows(state, a=filled("a", deal("a", "1", stage_id="s2")))
    row = found["a1"]
    assert (row.pipeline_name, row.stage_name, row.common_stage) == ("Sales", "Offer", "proposal")
    assert (row.owner_name, row.owner_key, row.company_name) == ("Ada", "ada@example.org", "Acme a")


def test_an_unmapped_stage_has_no_common_stage(state: State) -> None:
    _, found = rows(state, a=filled("a", deal("a", "1", stage_id="s4")))
    assert found["a1"].common_stage is None


@pytest.mark.parametrize(
    ("values", "probability"),
    [
        ({"probability": Decimal("0.3")}, Decimal("0.3")),
        ({"stage_id": "s2"}, Decimal("0.6")),
        ({"stage_id": "s4"}, None),
        ({"stage_id": "s3", "outcome": Outcome.WON, "probability": Decimal("0.3")}, Decimal(1)),
        ({"outcome": Outcome.LOST, "probability": Decimal("0.3")}, Decimal(0)),
    ],
)
def test_probability_is_the_deals_own_then_its_stages(
    state: State, values: dict[str, Any], probability: Decimal | None
) -> None:
    _, found = rows(state, a=filled("a", deal("a", "1", **values)))
    assert found["a1"].probability == probability


def test_deals_of_one_company_in_two_crms_are_linked(state: State) -> None:
    loaded, found = rows(state, a=filled("a", deal("a", "1")), b=filled("b", deal("b", "9")))
    assert loaded.deals.group_of[found["a1"].ref] == loaded.deals.group_of[found["b9"].ref]
    assert found["a1"].company_key == found["b9"].company_key is not None


def test_deals_of_different_companies_are_not(state: State) -> None:
    loaded, _ = rows(state, a=filled("a", deal("a", "1")), b=filled("b", deal("b", "9"), domain="bolt.io"))
    assert loaded.deals.group_of == {}


def test_deleted_and_archived_deals_are_left_out(state: State) -> None:
    memory = filled("a", deal("a", "1"), deal("a", "2", archived=True), deal("a", "3"))
    memory.remove(ref("a", Kind.DEAL, "3"))
    _, found = rows(state, a=memory)
    assert set(found) == {"a1"}


def test_a_closing_without_a_date_is_dated_by_the_last_stage_change(state: State) -> None:
    memory = filled("a", deal("a", "1", stage_id="s3", outcome=Outcome.WON))
    for number, day in enumerate((1, 9)):
        memory.put(
            StageChange(
                ref=ref("a", Kind.STAGE_CHANGE, str(number)),
                deal_id="1",
                to_stage_id="s3",
                at=datetime(2026, 11, day, tzinfo=UTC),
            )
        )
    _, found = rows(state, a=memory)
    assert (found["a1"].closed_at, found["a1"].closed_at_estimated) == (
        datetime(2026, 11, 9, tzinfo=UTC),
        False,
    )


def test_without_history_it_is_noon_of_the_close_date_and_marked_as_estimated(state: State) -> None:
    _, found = rows(state, a=filled("a", deal("a", "1", stage_id="s3", outcome=Outcome.WON)))
    noon_in_berlin = datetime(2026, 12, 31, 11, 0, tzinfo=UTC)
    assert (found["a1"].closed_at, found["a1"].closed_at_estimated) == (noon_in_berlin, True)


def test_coverage_counts_deals_in_mapped_stages(state: State) -> None:
    rows(state, a=filled("a", deal("a", "1"), deal("a", "2", stage_id="s4"), deal("a", "3", stage_id="s2")))
    settings = ConnectionSettings(crm="memory", stages={"Sales": {**STAGES["Sales"], "Offer": "won"}})
    mapped = load.stage_map(state, "a", settings, DEFAULT_OUTLINE)
    found = load.coverage(mapped, load.deals_by_stage(state, "a"))
    assert (found.deals, found.mapped_deals) == (3, 2)
    assert [(stage.stage, stage.deals) for stage in found.unmapped] == [("Odd", 1)]
    assert [(clash.stage, clash.common_stage) for clash in found.clashes] == [("Offer", "won")]
    assert [shared.stages for shared in found.many_to_one] == [("Offer", "Won")]


def test_deals_by_stage_adds_up_per_currency(state: State) -> None:
    memory = filled(
        "a",
        deal("a", "1", amount=Decimal("0.10")),
        deal("a", "2", amount=Decimal("0.20")),
        deal("a", "3", amount=Decimal(5), currency="USD"),
        deal("a", "4", amount=None, currency=None),
    )
    rows(state, a=memory)
    assert load.deals_by_stage(state, "a") == {("p", "s1"): (4, {"EUR": Decimal("0.30"), "USD": Decimal(5)})}
