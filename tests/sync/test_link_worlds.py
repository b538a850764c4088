"""The first sync of two filled CRMs that overlap by 60 %: nothing that both hold is created again.

The worlds are the sandbox's. What is the same in truth is noted while they are filled, so that
the plan can be held against it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from crmkit.connectors.memory import MemoryConnector
from crmkit.connectors.writing import Act
from crmkit.model import Company, Contact, Deal, DealContact, Kind, Outcome, Ref
from crmkit.sandbox import seed
from crmkit.sandbox.rows import Deal as DealRow
from crmkit.sandbox.server import vendor_app
from crmkit.sandbox.world import World
from crmkit.sync.candidates import Examined
from crmkit.sync.computed import Computed
from crmkit.sync.group import digest8
from crmkit.sync.matching import Matcher
from tests.sync.engine import Bench

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KINDS = (Kind.COMPANY, Kind.CONTACT, Kind.DEAL)


class _Noting(seed._Filler):
    """Fills a world and notes what each record stands for."""

    truth: ClassVar[dict[Ref, int]] = {}

    def _company(self, company: Any, created: int) -> None:
        super()._company(company, created)
        self.truth[Ref(self.crm, Kind.COMPANY, self.company_ids[id(company)])] = id(company)

    def _contacts(self, people: list[Any], start: int) -> None:
        super()._contacts(people, start)
        for row, (_, person) in zip(self.world.contacts.values(), people, strict=False):
            self.truth[Ref(self.crm, Kind.CONTACT, row.id)] = id(person)

    def _deal(self, deal: Any, created: int, burst: bool) -> DealRow:
        row = super()._deal(deal, created, burst)
        self.truth[Ref(self.crm, Kind.DEAL, row.id)] = id(deal)
        return row


class _WidePages(MemoryConnector):
    records_per_page: ClassVar[int] = 1000


@dataclass
class Overlap:
    """Two filled CRMs, what is the same in truth, and what a plan makes of them."""

    bench: Bench
    truth: Mapping[Ref, int]
    plan: Computed = field(default_factory=Computed)
    examined: Mapping[Kind, Examined] = field(default_factory=dict)

    def twins(self, kind: Kind) -> set[frozenset[Ref]]:
        """Pairs that are the same in truth."""
        by_truth: dict[int, list[Ref]] = {}
        for ref, what in self.truth.items():
            if ref.kind is kind and self.bench[ref.connection].memory.live(ref) is not None:
                by_truth.setdefault(what, []).append(ref)
        return {frozenset(refs) for refs in by_truth.values() if len(refs) == 2}

    def linked(self, kind: Kind) -> set[frozenset[Ref]]:
        """Pairs that the plan links."""
        groups: dict[str, set[Ref]] = {}
        for link in self.plan.links.values():
            if link.kind is kind:
                groups.setdefault(link.entity, set()).add(Ref(link.connection, kind, link.native_id))
        return {frozenset(refs) for refs in groups.values() if len(refs) == 2}

    def created(self, kind: Kind) -> set[Ref]:
        """Records of which the plan creates a copy in the other CRM."""
        spokes = {digest8(f"memory:account-{name}"): name for name in self.bench.boxes}
        creates = [
            op.entity.split(":", 2) for op in self.plan.ops if op.act is Act.CREATE and op.kind is kind
        ]
        return {Ref(spokes[spoke], kind, native) for spoke, _, native in creates}


def copy(world: World, bench: Bench, name: str) -> None:
    """Put a world's records into a memory CRM."""
    box = bench[name]
    box.connector = _WidePages
    for company in world.companies.values():
        phones = (company.phone,) if company.phone else ()
        box.memory.put(
            Company(
                ref=box.ref(company.id, Kind.COMPANY), name=company.name, domain=company.domain,
                phones=phones, city=company.city, created_at=company.created, modified_at=company.modified,
            )
        )  # fmt: skip
    for contact in world.contacts.values():
        box.memory.put(
            Contact(
                ref=box.ref(contact.id, Kind.CONTACT), name=f"{contact.first} {contact.last}",
                emails=contact.emails, phones=contact.phones, created_at=contact.created,
                companies=(contact.company_id,) if contact.company_id else (),
            )
        )  # fmt: skip
    for deal in world.deals.values():
        stage = {"open": "s2", "won": "won"}.get(deal.status, "lost")
        box.memory.put(
            Deal(
                ref=box.ref(deal.id), name=deal.name, pipeline_id="p", stage_id=stage,
                outcome={"s2": Outcome.OPEN, "won": Outcome.WON}.get(stage, Outcome.LOST),
                amount=deal.amount, currency=deal.currency, expected_close=deal.expected_close,
                companies=(deal.company_id,) if deal.company_id else (),
                contacts=tuple(DealContact(id=one) for one in deal.contact_ids),
                created_at=deal.created, modified_at=deal.modified, key=deal.custom.get("crmkit_key"),
            )
        )  # fmt: skip


@pytest.fixture(scope="module")
def overlap(tmp_path_factory: pytest.TempPathFactory) -> Overlap:
    """What the first plan makes of two CRMs with 800 deals each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seed, "_Filler", _Noting)
        _Noting.truth.clear()
        crms = {name: vendor_app(name).vendor_seed() for name in ("close", "hubspot")}
        worlds = seed.seed_worlds(crms, deals=800, seed=7, now=NOW)
    folder: Path = tmp_path_factory.mktemp("overlap")
    bench = Bench(folder).add(*worlds)
    for name, world in worlds.items():
        copy(world, bench, name)
    found = Overlap(bench, dict(_Noting.truth))
    state = bench.state()
    bench.pull(state)
    found.plan, _ = bench.run(state).plan()
    with state.read() as db:
        found.examined = Matcher(bench.group(state), db).run().examined
    state.close()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_record_that_both_crms_hold_is_created_again(overlap: Overlap, kind: Kind) -> None:
    both = {ref for pair in overlap.twins(kind) for ref in pair}
    assert len(both) > 80
    assert overlap.created(kind) & both == set()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_linked_is_the_same_in_truth(overlap: Overlap, kind: Kind) -> None:
    linked = overlap.linked(kind)
    assert linked - overlap.twins(kind) == set()
    assert len(linked) > 0.8 * len(overlap.twins(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_review_list_holds_every_pair_that_is_not_linked(overlap: Overlap, kind: Kind) -> None:
    assert overlap.plan.reviews is not None
    open_pairs = overlap.twins(kind) - overlap.linked(kind)
    asked = {frozenset((pair.one, pair.other)) for pair in overlap.examined[kind].pairs()}
    assert open_pairs <= asked
    assert {ref for pair in open_pairs for ref in pair} <= set(overlap.plan.reviews)


@pytest.mark.parametrize("kind", KINDS)
def test_nearly_everything_that_a_person_is_asked_is_worth_asking(overlap: Overlap, kind: Kind) -> None:
    asked = {frozenset((pair.one, pair.other)) for pair in overlap.examined[kind].pairs()}
    right = asked & overlap.twins(kind)
    assert len(right) >= 0.9 * len(asked)


def test_deals_are_among_what_is_asked(overlap: Overlap) -> None:
    assert len(overlap.examined[Kind.DEAL].pairs()) > 20


def test_deals_that_only_one_crm_holds_are_created_in_the_other(overlap: Overlap) -> None:
    asked = overlap.plan.reviews or {}
    only_here = {ref for ref in overlap.truth if ref.kind is Kind.DEAL} - {
        ref for pair in overlap.twins(Kind.DEAL) for ref in pair
    }
    live = {ref for ref in only_here if overlap.bench[ref.connection].memory.live(ref) is not None}
    assert live - overlap.created(Kind.DEAL) <= set(asked)
    assert len(overlap.created(Kind.DEAL)) > 0.9 * len(live)


def test_every_reason_to_wait_is_told(overlap: Overlap) -> None:
    kinds = Counter(held.kind for held in overlap.plan.held)
    assert kinds["review"] == len(overlap.plan.reviews or {}) > 0
