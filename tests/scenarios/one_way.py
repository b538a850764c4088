"""A CRM in memory with a few deals, and one scheduled run that brings them to a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from crmkit.connectors.base import Connector, Context
from crmkit.connectors.clock import Clock
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.mapping.resolve import resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import (
    Company,
    Contact,
    Deal,
    DealContact,
    Kind,
    Outcome,
    Pipeline,
    Ref,
    Stage,
    Workspace,
)
from crmkit.sync import queries
from crmkit.sync.group import compile_group
from crmkit.sync.pull import Pull
from crmkit.sync.run import SyncResult, SyncRun
from crmkit.sync.state import State
from crmkit.sync_settings import SyncSettings
from tests.connectors.conftest import FakeSecrets

SOURCE, TARGET = "source", "target"
DEALS = 12
COMMON = {
    "s1": ("New", "qualification", Outcome.OPEN),
    "s2": ("Offer", "proposal", Outcome.OPEN),
    "won": ("Won", "won", Outcome.WON),
    "lost": ("Lost", "lost", Outcome.LOST),
}
EVERYTHING = {"creates": 10**6, "deletes": 10**6, "settings": 1}
FIELDS = ("name", "stage", "amount", "expected_close", "company", "contacts")


@dataclass
class Source:
    """The CRM in memory, as its users change it.

    Every deal has a company and one person of it: some CRMs take no deal without.
    """

    clock: Clock
    currency: str
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        self.memory = Memory(Workspace(id="account-source", name="Source", time_zone="UTC"))
        stages = tuple(
            Stage(id=id, name=name, order=order, outcome=outcome)
            for order, (id, (name, _, outcome)) in enumerate(COMMON.items())
        )
        self.memory.put(Pipeline(ref=self.ref("p", Kind.PIPELINE), name="Sales", stages=stages))

    def ref(self, native: str, kind: Kind = Kind.DEAL) -> Ref:
        return Ref(SOURCE, kind, native)

    def fill(self, deals: int, companies: int = 3) -> None:
        for number in range(companies):
            self.memory.put(
                Company(ref=self.ref(f"c{number}", Kind.COMPANY), name=f"Öl & Gas {number}", **self._stamp())
            )
            self.memory.put(
                Contact(
                    ref=self.ref(f"k{number}", Kind.CONTACT),
                    name=f"Ana{number} Núñez",
                    first_name=f"Ana{number}",
                    last_name="Núñez",
                    emails=(f"ana{number}@oel.example",),
                    companies=(f"c{number}",),
                    **self._stamp(),
                )
            )
        for number in range(deals):
            party = number % companies
            self.memory.put(
                Deal(
                    ref=self.ref(f"d{number}"),
                    name=f"Vorhaben {number} <&>",
                    pipeline_id="p",
                    stage_id="s1",
                    amount=Decimal(1000 + number),
                    currency=self.currency,
                    companies=(f"c{party}",),
                    contacts=(DealContact(id=f"k{party}", primary=True),),
                    expected_close=date(2027, 1, 1) + timedelta(days=number),
                    **self._stamp(),
                )
            )

    def edit(self, native: str, **values: Any) -> None:
        now = self.memory.live(self.ref(native))
        assert now is not None
        self.memory.put(now.model_copy(update={**values, **self._stamp()}))

    def delete(self, native: str) -> None:
        self.memory.remove(self.ref(native))

    def connect(self) -> Connector:
        return MemoryConnector(Context(SOURCE, FakeSecrets(), clock=self.clock), memory=self.memory)

    def _stamp(self) -> dict[str, Any]:
        return {"modified_at": self.clock.now(), "version": self.memory.version()}


def edit(source: Source) -> None:
    """Users change most of the deals: values, stages, and one field to nothing."""
    for number in range(0, DEALS, 2):
        source.edit(f"d{number}", name=f"Anders {number}", amount=Decimal(5000 + number))
    source.edit("d1", stage_id="s2")
    source.edit("d3", stage_id="s2", expected_close=date(2027, 6, 30))
    source.edit("d5", expected_close=None)


def delete(source: Source) -> None:
    """Users delete a third of the deals."""
    for number in range(0, DEALS, 3):
        source.delete(f"d{number}")


# What users do before each run, in order; at first there is everything to create.
STEPS: Mapping[str, Callable[[Source], None]] = {"create": lambda _: None, "update": edit, "delete": delete}


def run_once(state: State, source: Source, target: Connector) -> SyncResult:
    """One scheduled run: pull both, then plan and write."""
    connectors = {SOURCE: source.connect(), TARGET: target}
    pulls = [Pull(state, one, clock_margin_seconds=1e9).run() for one in connectors.values()]
    unavailable = {one.progress.connection: str(one.error) for one in pulls if one.error is not None}
    target.check()
    group = compile_group("main", _settings(state), connectors, _maps(state), state)
    return SyncRun(group, state, source.clock, unavailable=unavailable).sync(EVERYTHING)


def _settings(state: State) -> SyncSettings:
    return SyncSettings.model_validate(
        {
            "members": [SOURCE, TARGET],
            "fields": FIELDS,
            "rule": "priority",
            "order": [SOURCE, TARGET],
            "deletes": "delete",
            "member": {SOURCE: {"role": "source"}, TARGET: {"role": "target", "pipeline": _pipeline(state)}},
            "guards": {"creates": 10**6, "deletes": 10**6},
        }
    )


def _pipeline(state: State) -> str:
    """A pipeline of the target in which deals can move on."""
    for pipeline in queries.pipelines(state, TARGET):
        if {"qualification", "proposal"} <= set(_stages([pipeline])[pipeline.ref.id].values()):
            return pipeline.ref.id
    raise AssertionError("the target has no such pipeline")


def _maps(state: State) -> Mapping[str, StageMap]:
    own = {"Sales": {name: common for name, common, _ in COMMON.values()}}
    found = {name: queries.pipelines(state, name) for name in (SOURCE, TARGET)}
    return {
        name: resolve(
            own if name == SOURCE else _stages(pipelines), pipelines, DEFAULT_OUTLINE, connection=name
        )[0]
        for name, pipelines in found.items()
    }


def _stages(pipelines: Sequence[Pipeline]) -> dict[str, dict[str, str]]:
    """The first open stage of each pipeline is a new deal, the second an offer."""
    found: dict[str, dict[str, str]] = {}
    for pipeline in pipelines:
        stages = [stage for stage in pipeline.stages if not stage.archived]
        still_open = [stage.id for stage in stages if stage.outcome is Outcome.OPEN]
        named = dict(zip(still_open, ("qualification", "proposal"), strict=False))
        for outcome in (Outcome.WON, Outcome.LOST):
            ended = [stage.id for stage in stages if stage.outcome is outcome]
            named |= dict.fromkeys(ended[:1], outcome.value)
        found[pipeline.ref.id] = named
    return found
