"""The memory connector passes what every connector passes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crmkit.connectors.base import Connector, ConnectorOptions, Context, Page
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.errors import AccessDenied, Interrupted
from crmkit.model import (
    Company,
    Contact,
    Deal,
    DealContact,
    Kind,
    Owner,
    Pipeline,
    Ref,
    Stage,
    StageChange,
    Workspace,
)
from crmkit.testing import Bench, ConnectorContract, ExpectedDeal
from tests.connectors.conftest import FakeClock, FakeSecrets

START = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)


class PickyMemoryConnector(MemoryConnector):
    """Asks for a secret, as real connectors do."""

    def check(self) -> Workspace:
        if self.context.secrets.get("token").get_secret_value() != "right":
            raise AccessDenied(f"{self.context.connection}: wrong token")
        return super().check()

    def read(self, kind: Kind, since: str | None = None):  # type: ignore[no-untyped-def]
        if self.context.cancelled.is_set():
            raise Interrupted("stopped")
        yield from super().read(kind, since)


class MemoryBench:
    """A handful of records."""

    def __init__(self) -> None:
        self.memory = Memory()
        self._minutes = 0
        put = self.memory.put
        put(
            Pipeline(
                ref=self.ref(Kind.PIPELINE, "p"),
                name="Sales",
                stages=(Stage(id="s1", name="New", order=0), Stage(id="s2", name="Offer", order=1)),
            )
        )
        put(Owner(ref=self.ref(Kind.OWNER, "o"), name="Ada"))
        put(Company(ref=self.ref(Kind.COMPANY, "c"), name="Acme"))
        put(Contact(ref=self.ref(Kind.CONTACT, "k"), name="Bo"))
        for number in range(7):
            self._deal(f"d{number}", f"Deal {number}", Decimal(number))
        put(
            StageChange(
                ref=self.ref(Kind.STAGE_CHANGE, "1"),
                deal_id="d1",
                from_stage_id="s1",
                to_stage_id="s2",
                at=START,
            )
        )

    def ref(self, kind: Kind, native: str) -> Ref:
        return Ref("memory-test", kind, native)

    def _deal(self, native: str, name: str, amount: Decimal) -> None:
        self._minutes += 1
        moment = START + timedelta(minutes=self._minutes)
        self.memory.put(
            Deal(
                ref=self.ref(Kind.DEAL, native),
                name=name,
                amount=amount,
                currency="EUR",
                pipeline_id="p",
                stage_id="s1",
                owner_id="o",
                companies=("c",),
                contacts=(DealContact(id="k", primary=True),),
                modified_at=moment,
                version=moment.isoformat(),
            )
        )

    def connect(self, *, bad_credentials: bool = False) -> Connector:
        secrets = FakeSecrets(token="wrong" if bad_credentials else "right")
        context = Context("memory-test", secrets, clock=FakeClock())
        return PickyMemoryConnector(context, ConnectorOptions(), self.memory)

    def ids(self, kind: Kind) -> set[str]:
        now = self.memory.now()
        return {
            ref.id for ref, entry in now.items() if ref.kind == kind and type(entry).__name__ != "Tombstone"
        }

    def deals(self) -> Sequence[ExpectedDeal]:
        return [
            ExpectedDeal(
                id=entry.ref.id,
                name=entry.name,
                amount=entry.amount,
                currency=entry.currency,
                outcome=entry.outcome,
                owner_id=entry.owner_id,
                company_id="c",
                contact_ids=("k",),
                expected_close=None,
            )
            for entry in self.memory.now().values()
            if isinstance(entry, Deal)
        ]

    def create_deal(self, name: str) -> str:
        self._deal("new", name, Decimal(1))
        return "new"

    def edit_deal(self, deal_id: str, amount: Decimal) -> None:
        self._deal(deal_id, "Edited", amount)

    def delete_deal(self, deal_id: str) -> None:
        self.memory.remove(self.ref(Kind.DEAL, deal_id))

    def settle(self) -> None:
        self._minutes += 1


class TestMemory(ConnectorContract):
    """The smallest connector proves the contract itself."""

    @pytest.fixture
    def bench(self) -> Bench:
        return MemoryBench()


def test_a_merged_record_is_answered_by_its_survivor() -> None:
    bench = MemoryBench()
    bench.memory.remove(bench.ref(Kind.DEAL, "d1"), merged_into="d2")
    found = bench.connect().get([bench.ref(Kind.DEAL, "d1")])
    assert [record.ref.id for record in found] == ["d2"]


def test_pages_hold_no_more_than_the_connector_says() -> None:
    pages: list[Page] = list(MemoryBench().connect().read(Kind.DEAL))
    assert max(len(page.records) for page in pages) <= MemoryConnector.records_per_page
