"""Every connector passes the writing contract: the five over real HTTP against their sandbox CRMs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from crmkit.connectors.base import Connector, ConnectorOptions, Context
from crmkit.connectors.memory import MemoryConnector
from crmkit.connectors.writing import Change, Result, Written
from crmkit.model import Company, Contact, Kind, Owner
from crmkit.testing import WritingBench, WritingContract
from tests.connectors.conftest import FakeClock, FakeSecrets
from tests.connectors.test_memory import MemoryBench
from tests.sandbox_bench import SandboxBench, bench


class LossyMemoryConnector(MemoryConnector):
    """Forgets to answer when its bench says so."""

    lost: list[bool]  # for each answer that gets lost, whether its call was carried out

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        lost = self.lost.pop() if self.lost else None
        outcomes = super().write(changes)
        if lost is None:
            return outcomes
        if lost:
            list(outcomes)
        return iter([[Written(one.id, Result.UNKNOWN, reason="no answer") for one in changes]])


class WritableMemoryBench(MemoryBench):
    """A few more records, and answers that get lost."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[bool] = []
        self.memory.put(Owner(ref=self.ref(Kind.OWNER, "o2"), name="Bea"))
        for native in ("c2", "c3"):
            self.memory.put(Company(ref=self.ref(Kind.COMPANY, native), name=f"Acme {native}"))
        for native in ("k2", "k3", "k4"):
            self.memory.put(Contact(ref=self.ref(Kind.CONTACT, native), name=native, companies=("c",)))

    def connect(self, *, bad_credentials: bool = False, read_only: bool = False) -> Connector:
        context = Context("memory-test", FakeSecrets(), clock=FakeClock(), read_only=read_only)
        connection = LossyMemoryConnector(context, ConnectorOptions(), self.memory)
        connection.lost = self.lost
        return connection

    def lose_answer(self) -> None:
        self.lost.append(True)

    def garble_answer(self) -> None:
        self.lost.append(False)

    def written(self) -> int:
        return len(self.memory.log)


class TestMemory(WritingContract):
    """The smallest connector proves the contract itself."""

    @pytest.fixture
    def bench(self) -> WritingBench:
        return WritableMemoryBench()


class TestHubSpot(WritingContract):
    """HubSpot against its sandbox."""

    @pytest.fixture
    def bench(self) -> Iterator[SandboxBench]:
        with bench("hubspot", deals=60) as running:
            yield running


class TestBitrix24(WritingContract):
    """Bitrix24 against its sandbox."""

    @pytest.fixture
    def bench(self) -> Iterator[SandboxBench]:
        with bench("bitrix24", deals=60) as running:
            yield running


class TestZoho(WritingContract):
    """Zoho CRM against its sandbox."""

    @pytest.fixture
    def bench(self) -> Iterator[SandboxBench]:
        with bench("zoho", deals=60) as running:
            yield running


class TestCopper(WritingContract):
    """Copper against its sandbox."""

    @pytest.fixture
    def bench(self) -> Iterator[SandboxBench]:
        with bench("copper", deals=60) as running:
            yield running


class TestClose(WritingContract):
    """Close against its sandbox."""

    @pytest.fixture
    def bench(self) -> Iterator[SandboxBench]:
        with bench("close", deals=60) as running:
            yield running
