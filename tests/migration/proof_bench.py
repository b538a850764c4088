"""A migration between two memory CRMs, and proofs of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from crmkit.migration.proof import Proof, prove
from crmkit.model import DealContact, Kind, Note, Outcome
from crmkit.sync.group import Group
from crmkit.sync.moving import Moving
from crmkit.sync.plan import Held
from crmkit.sync.pull import KINDS, Pull, PullOutcome
from crmkit.sync.run import SyncResult
from crmkit.sync.state import State
from tests.sync.engine import Bench, Box

SETTINGS: dict[str, Any] = {
    "rule": "hold",
    "fields": [
        "name", "stage", "amount", "expected_close", "owner", "company", "contacts", "tags", "source",
    ],
    "member": {"old": {"role": "source"}, "new": {"role": "target"}},
}  # fmt: skip


@dataclass
class MovingBench(Bench):
    """A bench whose group may move notes and everybody."""

    moving: Moving | None = None

    def group(self, state: State) -> Group:
        return replace(super().group(state), moving=self.moving)

    def pull(self, state: State, *, full: bool = False) -> None:
        for box in self.boxes.values():
            result = Pull(state, box.connect(), full=full, kinds=(*KINDS, Kind.NOTE)).run()
            assert result.outcome is PullOutcome.DONE, result.error


class Migration:
    """Deals of `old` go to `new`."""

    def __init__(self, folder: Path, moving: Moving | None = None, **settings: Any) -> None:
        self.bench = MovingBench(folder, moving=moving)
        self.bench.add("old", "new")
        self.bench.settings = {**SETTINGS, **settings}

    @property
    def old(self) -> Box:
        return self.bench["old"]

    @property
    def new(self) -> Box:
        return self.bench["new"]

    def fill(self) -> Migration:
        """Three deals, two companies, two people."""
        self.old.company("c1", "Acme", domain="acme.test", phones=("+49 30 1234567",), city="Berlin")
        self.old.company("c2", "Umbrella", domain="umbrella.test")
        self.old.contact("k1", "Ann Lee", emails=("ann@acme.test",), companies=("c1",))
        self.old.contact("k2", "Bob Ray", emails=("bob@umbrella.test",), companies=("c2",))
        people = (DealContact(id="k1", primary=True),)
        self.old.deal("d1", companies=("c1",), contacts=people, amount=Decimal("100.50"))
        self.old.deal("d2", companies=("c2",), stage_id="s2", amount=Decimal(200), currency="USD")
        self.old.deal(
            "d3", companies=("c1",), stage_id="won", outcome=Outcome.WON, amount=None, currency=None
        )
        return self

    def run(self) -> SyncResult:
        """Carry everything over; afterwards time passes."""
        result = self.bench.sync()
        self.bench.wait()
        return result

    def moved(self, native: str) -> str:
        """The id of a deal's counterpart."""
        name = self.old.get(native).name
        (found,) = [id for id, deal in self.new.deals().items() if deal.name == name]
        return found

    def note(self, box: Box, native: str, deal: str, text: str) -> None:
        box.memory.put(
            Note(ref=box.ref(native, Kind.NOTE), deal_id=deal, text=text, at=self.bench.clock.now())
        )

    def prove(self, left_out: Mapping[str, str] | None = None, **options: Any) -> Proof:
        """Pull both, plan afresh, compare."""
        state = self.bench.state()
        try:
            self.bench.pull(state)
            return self.compare(state, left_out, **options)
        finally:
            state.close()

    def compare(self, state: State, left_out: Mapping[str, str] | None = None, **options: Any) -> Proof:
        held = self.bench.run(state).plan()[0].held
        return self.compare_with(state, held, left_out, **options)

    def compare_with(
        self, state: State, held: Sequence[Held], left_out: Mapping[str, str] | None = None, **options: Any
    ) -> Proof:
        return prove(
            self.bench.group(state),
            state,
            source="old",
            target="new",
            held=held,
            left_out=left_out or {},
            now=self.bench.clock.now(),
            **options,
        )


def found(proof: Proof) -> set[tuple[str, str, str]]:
    """(record, field, explanation) of every difference."""
    return {
        (record.source or f"+{record.target}", one.field, one.code)
        for record in proof.records
        for one in record.differences
    }
