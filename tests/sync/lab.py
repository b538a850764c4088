"""Faulty CRMs in memory with users, and a sync over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from crmkit.connectors.base import Context
from crmkit.connectors.writing import Act, Change
from crmkit.mapping.resolve import resolve
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import AnyRecord, Deal, Kind, Owner, Pipeline, Ref, Stage, Tombstone, Workspace
from crmkit.sync.group import digest8
from crmkit.sync.pull import Pull
from tests.connectors.conftest import FakeSecrets
from tests.sync.base_lab import EVERYTHING, FIELDS, BaseLab, ram_folder
from tests.sync.engine import STAGES
from tests.sync.faulty import Behaviour, FaultyConnector, FaultyMemory, Ticking
from tests.sync.ledger import TOLD, Ledger
from tests.sync.stores import SqliteFiles, StoreFiles, template

__all__ = ["EVERYTHING", "FIELDS", "Faults", "Lab", "LabBox", "behaviours", "ram_folder", "template"]

_STAGE = {id: outcome for id, (_, _, outcome) in STAGES.items()}


class LabBox:
    """One CRM and its users."""

    def __init__(self, name: str, clock: Ticking, behaviour: Behaviour, ledger: Ledger) -> None:
        self.name, self.clock, self.behaviour, self.ledger = name, clock, behaviour, ledger
        workspace = Workspace(id=f"account-{name}", name=name, time_zone="UTC")
        self.memory = FaultyMemory(workspace, clock, behaviour)
        self.memory.landed = self._landed
        stages = tuple(
            Stage(id=id, name=label, order=order, outcome=outcome)
            for order, (id, (label, _, outcome)) in enumerate(STAGES.items())
        )
        self.memory.put(Pipeline(ref=Ref(name, Kind.PIPELINE, "p"), name="Sales", stages=stages))
        self.memory.put(Owner(ref=Ref(name, Kind.OWNER, "ann"), name="Ann", email="ann@x.test"))
        self.writing = False
        self.is_linked: Callable[[Ref], bool] = lambda ref: False
        self.made = 0
        self.clones: set[str] = set()
        self.dead_keys: set[str] = set()

    # What is there

    def deals(self) -> dict[str, Deal]:
        return {
            ref.id: entry
            for ref, entry in self.memory.now().items()
            if isinstance(entry, Deal) and not entry.archived
        }

    def pick(self, number: int) -> Deal | None:
        deals = sorted(self.deals().items())
        return deals[number % len(deals)][1] if deals else None

    def live_keys(self, doubtful: set[str]) -> Counter[str]:
        deals = self.deals().items()
        return Counter(deal.key for native, deal in deals if native not in doubtful and deal.key)

    # What users do

    def create(self, **values: Any) -> Deal:
        self.made += 1
        ref = Ref(self.name, Kind.DEAL, f"{self.name}{self.made}")
        fields = {name: self.ledger.value(name, cents=not self.behaviour.whole_amounts) for name in TOLD}
        record = Deal(
            **{"ref": ref, "pipeline_id": "p", "stage_id": "s1", "currency": "EUR", **fields, **values}
        )
        return self._save(record, None)

    def edit(self, deal: Deal, name: str, stage: str = "s2") -> Deal | None:
        current = self.memory.now().get(deal.ref)
        if not isinstance(current, Deal):
            return None
        if name == "stage":
            values: dict[str, Any] = {"stage_id": stage, "outcome": _STAGE[stage]}
        else:
            values = {name: self.ledger.value(name, cents=not self.behaviour.whole_amounts)}
        return self._save(current.model_copy(update=values), current)

    def _save(self, record: Deal, before: Deal | None) -> Deal:
        record = self.memory.normal(record)
        record = record.model_copy(update={"version": self.memory.version(), "modified_at": self.clock.now()})
        old = self.ledger.tokens(before) if before is not None else {}
        open_late = any(late.change.ref == record.ref for late in self.memory.late)
        for name, token in self.ledger.tokens(record).items():
            if token == old.get(name):
                continue
            self.ledger.parent[token] = old.get(name)
            self.ledger.at[token] = self.name
            if self.writing or open_late:
                self.ledger.gap.add(token)
        self.memory.put(record)
        return record

    def delete(self, deal: Deal, group8: str) -> None:
        self._forget(deal, group8)
        self.memory.remove(deal.ref)

    def archive(self, deal: Deal, group8: str) -> None:
        self._forget(deal, group8)
        stamp = {"archived": True, "version": self.memory.version(), "modified_at": self.clock.now()}
        self.memory.put(deal.model_copy(update=stamp))

    def _forget(self, deal: Deal, group8: str) -> None:
        for token in self.ledger.tokens(deal).values():
            self.ledger.deleted |= self.ledger.history(token)
        # What the sync never linked it cannot know to be gone.
        if deal.ref.id not in self.clones and self.is_linked(deal.ref):
            self.dead_keys.add(deal.key or f"ck1:{group8}:{self.spoke}:deal:{deal.ref.id}")

    def merge(self, loser: Deal, winner: Deal, *, third: bool) -> None:
        if third:
            self.made += 1
            ref = Ref(self.name, Kind.DEAL, f"{self.name}{self.made}")
            stamp = {"ref": ref, "version": self.memory.version(), "modified_at": self.clock.now()}
            self.memory.put(winner.model_copy(update=stamp))
            self.memory.remove(winner.ref, merged_into=ref.id)
            self.memory.remove(loser.ref, merged_into=ref.id)
        else:
            self.memory.remove(loser.ref, merged_into=winner.ref.id)

    def clone(self, deal: Deal) -> None:
        copy = self.create(key=None if self.behaviour.unique_keys else deal.key)
        if copy.key is not None:
            self.clones.add(copy.ref.id)

    @property
    def spoke(self) -> str:
        return digest8(f"memory:account-{self.name}")

    # What the sync does here

    def _landed(self, change: Change, before: AnyRecord | None) -> None:
        if before is None:
            return
        for name, token in self.ledger.tokens(before).items():
            if change.act is Act.UPDATE:
                if name not in change.values or self.ledger.token(name, change.values[name]) == token:
                    continue
                if token in self.ledger.seen:
                    continue
                if token in self.ledger.gap:
                    self.ledger.excuse(token)
                else:
                    self.ledger.problems.append(f"overwrote {token} in {self.name} without looking")
            elif token not in self.ledger.deleted and token not in self.ledger.gap:
                self.ledger.problems.append(f"deleted {token} in {self.name}, which no deleter had seen")


@dataclass
class Faults:
    """What goes wrong in one run.

    Attributes:
        fates: Per CRM, what becomes of its next writes.
        late_seconds: How long late commits take.
        kill_after: After how many steps the process dies.
        edits: What users do right before a call: (CRM, call) to an action.
        after_pull: What users do between pull and plan.
    """

    fates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    late_seconds: Sequence[float] = ()
    kill_after: int | None = None
    edits: dict[tuple[str, str], Callable[[], None]] = field(default_factory=dict)
    after_pull: Callable[[], None] = lambda: None


class Lab(BaseLab[LabBox, Faults]):
    """Faulty CRMs in memory, their users, and a sync.

    Args:
        folder: Where the state store lives; a RAM disk is fine, nothing is ever lost in these tests.
        template: An empty state store to start from.
        behaviours: Per CRM.
        settings: Of the sync.
        store: Where the state store lives instead.
    """

    clock: Ticking

    def __init__(
        self,
        folder: Path,
        template: Path,
        behaviours: Mapping[str, Behaviour],
        settings: Mapping[str, Any],
        store: StoreFiles | None = None,
    ) -> None:
        clock, ledger = Ticking(), Ledger()
        boxes = {name: LabBox(name, clock, behaviour, ledger) for name, behaviour in behaviours.items()}
        config = {"Sales": {label: common for label, common, _ in STAGES.values()}}
        self._maps = {
            name: resolve(
                config,
                [one for one in box.memory.now().values() if isinstance(one, Pipeline)],
                DEFAULT_OUTLINE,
                connection=name,
            )[0]
            for name, box in boxes.items()
        }
        for box in boxes.values():
            box.is_linked = self.is_linked
        self.faults = Faults()
        super().__init__(store or SqliteFiles(folder, template), boxes, ledger, clock, settings)

    @property
    def maps(self) -> Mapping[str, StageMap]:
        return self._maps

    @property
    def lag(self) -> float:
        return max(max(box.behaviour.list_lag, box.behaviour.find_lag) for box in self.boxes.values())

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for box in self.boxes.values():
            box.memory.settle()

    def connect(self, name: str) -> FaultyConnector:
        box = self.boxes[name]
        connector = FaultyConnector(Context(name, FakeSecrets(), clock=self.clock), memory=box.memory)
        connector.equip(
            self.fuse,
            lambda what: self._between(box, what),
            lambda change: self._asked(box, change),
            lambda record: self.ledger.seen.update(self.ledger.tokens(record).values()),
        )
        return connector

    def _between(self, box: LabBox, what: str) -> None:
        action = self.faults.edits.pop((box.name, what), None)
        if action is not None:
            box.writing = what == "write"
            action()
            box.writing = False

    def _asked(self, box: LabBox, change: Change) -> None:
        """Every request has an older intent that is stored, and no other request of its record is open."""
        found = self.intents(box.name, change.act.value, change.ref.id if change.ref else None, change.key)
        if found != 1:
            self.ledger.problems.append(f"{change.act} in {box.name} with {found} stored intents")
        for late in box.memory.late:
            if late.change.ref == change.ref and late.change.key == change.key:
                self.ledger.problems.append(f"{change.act} in {box.name} while another one is under way")
        self.requests[box.name, change.act.value, change.key or str(change.ref)] += 1

    def pull(self, *, full: bool = False) -> Mapping[str, str]:
        kinds = (Kind.PIPELINE, Kind.OWNER, Kind.DEAL) if self.fresh else (Kind.DEAL,)
        for name in self.boxes:
            result = Pull(self.state, self.connect(name), kinds=kinds, full=full).run()
            assert result.error is None, result.error
        self.fresh = False
        return {}

    @contextmanager
    def failing(self, faults: Faults | None) -> Iterator[None]:
        self.faults = faults or Faults()
        for name, fates in self.faults.fates.items():
            self.boxes[name].behaviour.fates.extend(fates)
            self.boxes[name].behaviour.late_seconds.extend(self.faults.late_seconds)
        self.fuse.left = self.faults.kill_after
        try:
            yield
        finally:
            self.faults = Faults()
            for box in self.boxes.values():
                box.behaviour.heal()

    def between_pull_and_plan(self) -> None:
        self.faults.after_pull()

    def tombstoned(self) -> int:
        """How many records are gone."""
        return sum(
            isinstance(one, Tombstone) for box in self.boxes.values() for one in box.memory.now().values()
        )


def behaviours(names: Sequence[str], seed: int = 0, **options: Any) -> dict[str, Behaviour]:
    """Well-behaved CRMs, or all with the same bad habits."""
    return {name: Behaviour(random=Random(f"{seed}{name}"), **options) for name in names}
