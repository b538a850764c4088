"""A few memory CRMs, a state store and a sync group over them: what engine tests work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from crmkit.connectors.base import Context
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.mapping.resolve import resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import Company, Contact, Deal, Kind, Outcome, Owner, Pipeline, Ref, Stage, Workspace
from crmkit.sync.group import Group, compile_group
from crmkit.sync.pull import Pull, PullOutcome
from crmkit.sync.run import SyncResult, SyncRun
from crmkit.sync.state import State
from crmkit.sync_settings import SyncSettings
from tests.connectors.conftest import FakeClock, FakeSecrets

STAGES = {
    "s1": ("New", "qualification", Outcome.OPEN),
    "s2": ("Offer", "proposal", Outcome.OPEN),
    "s3": ("Haggling", "negotiation", Outcome.OPEN),
    "won": ("Won", "won", Outcome.WON),
    "lost": ("Lost", "lost", Outcome.LOST),
}


@dataclass
class Box:
    """One memory CRM as its users see it."""

    name: str
    memory: Memory
    clock: FakeClock
    connector: type[MemoryConnector] = MemoryConnector

    @classmethod
    def fresh(cls, name: str, clock: FakeClock, *, unique_keys: bool = True) -> Box:
        memory = Memory(Workspace(id=f"account-{name}", name=name, time_zone="UTC"), unique_keys=unique_keys)
        box = cls(name, memory, clock)
        stages = tuple(
            Stage(id=id, name=label, order=order, outcome=outcome)
            for order, (id, (label, _, outcome)) in enumerate(STAGES.items())
        )
        memory.put(Pipeline(ref=box.ref("p", Kind.PIPELINE), name="Sales", stages=stages))
        memory.put(Owner(ref=box.ref(f"{name}-ann", Kind.OWNER), name="Ann", email="ann@x.test"))
        memory.put(Owner(ref=box.ref(f"{name}-bob", Kind.OWNER), name="Bob", email="bob@x.test"))
        return box

    def ref(self, native: str, kind: Kind = Kind.DEAL) -> Ref:
        return Ref(self.name, kind, native)

    def company(self, native: str, name: str, **values: Any) -> Company:
        record = Company(
            ref=self.ref(native, Kind.COMPANY), name=name, version=self.memory.version(), **values
        )
        self.memory.put(record)
        return record

    def contact(self, native: str, name: str, **values: Any) -> Contact:
        record = Contact(
            ref=self.ref(native, Kind.CONTACT), name=name, version=self.memory.version(), **values
        )
        self.memory.put(record)
        return record

    def deal(self, native: str, **values: Any) -> Deal:
        fields: dict[str, Any] = {
            "name": f"Deal {native}",
            "pipeline_id": "p",
            "stage_id": "s1",
            "amount": Decimal("100"),
            "currency": "EUR",
            "owner_id": f"{self.name}-ann",
        }
        record = Deal(
            **{
                **fields,
                "ref": self.ref(native),
                "modified_at": self.clock.now(),
                "version": self.memory.version(),
                **values,
            }
        )
        self.memory.put(record)
        return record

    def edit(self, native: str, **values: Any) -> Deal:
        """Change a deal as a user would."""
        if "stage_id" in values:
            values["outcome"] = STAGES[values["stage_id"]][2]
        stamp = {"modified_at": self.clock.now(), "version": self.memory.version()}
        record = self.get(native).model_copy(update={**values, **stamp})
        self.memory.put(record)
        return record

    def get(self, native: str) -> Deal:
        record = self.memory.live(self.ref(native))
        assert isinstance(record, Deal)
        return record

    def deals(self) -> dict[str, Deal]:
        return {ref.id: entry for ref, entry in self.memory.now().items() if isinstance(entry, Deal)}

    def delete(self, native: str) -> None:
        self.memory.remove(self.ref(native))

    def connect(self, *, read_only: bool = False) -> MemoryConnector:
        context = Context(self.name, FakeSecrets(), clock=self.clock, read_only=read_only)
        return self.connector(context, memory=self.memory)


@dataclass
class Bench:
    """Memory CRMs that are kept in step by one group."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    boxes: dict[str, Box] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    url: str = ""

    def add(self, *names: str, **options: Any) -> Bench:
        for name in names:
            self.boxes[name] = Box.fresh(name, self.clock, **options)
        return self

    def __getitem__(self, name: str) -> Box:
        return self.boxes[name]

    def state(self) -> State:
        return State(self.url or f"sqlite:///{self.folder / 'state.db'}")

    def sync_settings(self) -> SyncSettings:
        guards = {"creates": 10_000, "deletes": 10_000}
        return SyncSettings.model_validate({"members": list(self.boxes), "guards": guards, **self.settings})

    def maps(self, state: State) -> Mapping[str, StageMap]:
        config = {"Sales": {label: common for label, common, _ in STAGES.values()}}
        return {
            name: resolve(
                config,
                [entry for entry in box.memory.now().values() if isinstance(entry, Pipeline)],
                DEFAULT_OUTLINE,
                connection=name,
            )[0]
            for name, box in self.boxes.items()
        }

    def pull(self, state: State, *, full: bool = False) -> None:
        for box in self.boxes.values():
            result = Pull(state, box.connect(), full=full).run()
            assert result.outcome is PullOutcome.DONE, result.error

    def group(self, state: State) -> Group:
        connectors = {name: box.connect() for name, box in self.boxes.items()}
        return compile_group("main", self.sync_settings(), connectors, self.maps(state), state)

    def run(self, state: State) -> SyncRun:
        return SyncRun(self.group(state), state, self.clock)

    def sync(self, *, confirm: Mapping[str, int] | None = None, full: bool = False) -> SyncResult:
        """Pull, plan, write."""
        state = self.state()
        try:
            self.pull(state, full=full)
            everything = {"creates": 1_000_000, "settings": 1, **(confirm or {})}
            return self.run(state).sync(everything)
        finally:
            state.close()

    def wait(self, seconds: float = 3600) -> None:
        self.clock._now += timedelta(seconds=seconds)
