"""A bench for the connector contract: one sandbox CRM on real HTTP, on a clock that stands still."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from crmkit.connectors.base import Connector, Context
from crmkit.connectors.registry import connector as connector_class
from crmkit.model import Kind, Outcome
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.clock import Clock
from crmkit.sandbox.faults import Fault, FaultPlan, Scripted
from crmkit.sandbox.server import Sandbox
from crmkit.testing import ExpectedDeal
from tests.connectors.conftest import FakeSecrets

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SETTLE_SECONDS = 3600.0


class BoxClock:
    """The sandbox's clock on the client's side; sleeping pushes it forward for both."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._clock()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float, cancelled: threading.Event) -> None:
        with self._lock:
            self.slept.append(seconds)
            self._clock.advance(seconds)


class SandboxBench:
    """One sandbox CRM and connections to it."""

    def __init__(self, box: Sandbox, crm: str) -> None:
        self.box = box
        self.crm = crm
        self.app: VendorApp = box[crm]
        self.clock = BoxClock(box.clock)

    def connect(
        self,
        *,
        bad_credentials: bool = False,
        read_only: bool = False,
        secrets: Mapping[str, str] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Connector:
        values = dict(secrets if secrets is not None else self.app.credentials)
        if bad_credentials:
            values = {name: _spoil(value) for name, value in values.items()}
        kind = connector_class(self.crm)
        context = Context(
            name or f"{self.crm}-test", FakeSecrets(**values), clock=self.clock, read_only=read_only
        )
        return kind(context, kind.Options(**{**self.app.connection, **options}))

    def ids(self, kind: Kind) -> set[str]:
        world = self.app.world
        tables = {
            Kind.PIPELINE: world.pipelines,
            Kind.OWNER: world.users,
            Kind.COMPANY: world.companies,
            Kind.CONTACT: world.contacts,
            Kind.DEAL: world.deals,
        }
        return set(tables[kind])

    def deals(self) -> list[ExpectedDeal]:
        return [
            ExpectedDeal(
                id=deal.id,
                name=deal.name or None,
                amount=deal.amount,
                currency=deal.currency,
                outcome=Outcome("lost" if deal.status == "abandoned" else deal.status),
                owner_id=deal.owner_id,
                company_id=deal.company_id,
                contact_ids=deal.contact_ids,
                expected_close=deal.expected_close,
            )
            for deal in self.app.world.deals.values()
        ]

    def create_deal(self, name: str) -> str:
        some = next(iter(self.app.world.deals.values()))
        return self.app.world.create_deal(
            name=name, amount=Decimal(100), currency=some.currency, company_id=some.company_id
        ).id

    def edit_deal(self, deal_id: str, amount: Decimal) -> None:
        self.app.world.edit_deal(deal_id, amount=amount)

    def delete_deal(self, deal_id: str) -> None:
        self.app.world.delete_deal(deal_id)

    def lose_answer(self) -> None:
        self.app.faults = FaultPlan(script=[Scripted(Fault.TIMEOUT_AFTER_COMMIT, "write")])

    def garble_answer(self) -> None:
        self.app.faults = FaultPlan(script=[Scripted(Fault.GARBAGE, "write")])

    def written(self) -> int:
        return self.app.requests.mutating

    def settle(self) -> None:
        self.box.clock.advance(SETTLE_SECONDS)


def _spoil(value: str) -> str:
    """A secret of the same shape that is wrong; an address keeps its host."""
    head, slash, tail = value.rstrip("/").rpartition("/")
    wrong = "x" + tail[::-1]
    return f"{head}{slash}{wrong}" + ("/" if value.endswith("/") else "")


@contextmanager
def bench(crm: str, *, deals: int = 450, **options: Any) -> Iterator[SandboxBench]:
    """A running sandbox CRM; fails if its server crashed meanwhile."""
    options = {"limits": "off", "now": NOW, "seed": 7, **options}
    with Sandbox.up([crm], deals=deals, **options) as box:
        yield SandboxBench(box, crm)
        assert box[crm].crashes == []
