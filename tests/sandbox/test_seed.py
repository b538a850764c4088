"""What the seed puts into the worlds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.names import AWKWARD
from crmkit.sandbox.seed import seed_worlds
from crmkit.sandbox.world import World

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def worlds(toy_class: type[VendorApp]) -> dict[str, World]:
    return seed(toy_class)


def seed(toy_class: type[VendorApp], seed: int = 1, deals: int | Mapping[str, int] = 900) -> dict[str, World]:
    crms = {crm: toy_class.vendor_seed() for crm in ("north", "south", "west")}
    return seed_worlds(crms, deals=deals, seed=seed, now=NOW)


def content(world: World) -> list[object]:
    return [*world.live.tables.values(), world.deleted, world.merged, world.fields]


def test_the_same_seed_makes_the_same_worlds(worlds: dict[str, World], toy_class: type[VendorApp]) -> None:
    again, other = seed(toy_class), seed(toy_class, seed=2)
    for crm, world in worlds.items():
        assert content(world) == content(again[crm])
        assert content(world) != content(other[crm])


def test_counts_are_as_asked(toy_class: type[VendorApp]) -> None:
    worlds = seed(toy_class, deals={"north": 400, "south": 40, "west": 1})
    assert {crm: len(world.deals) for crm, world in worlds.items()} == {"north": 400, "south": 40, "west": 1}
    north = worlds["north"]
    assert (len(north.companies), len(north.contacts), len(north.users)) == (100, 133, 12)


def test_most_companies_are_known_to_another_crm(worlds: dict[str, World]) -> None:
    def marks(world: World) -> list[set[str]]:
        found = []
        for company in world.companies.values():
            digits = "".join(sign for sign in company.phone or "" if sign.isdigit())
            found.append({mark for mark in (company.domain, digits.lstrip("0")) if mark})
        return found

    elsewhere = set().union(*marks(worlds["south"]), *marks(worlds["west"]))
    mine = marks(worlds["north"])
    share = sum(bool(known & elsewhere) for known in mine) / len(mine)
    assert 0.5 < share < 0.65


def test_shared_companies_are_spelled_differently(worlds: dict[str, World]) -> None:
    north = {row.domain: row.name for row in worlds["north"].companies.values() if row.domain}
    south = {row.domain: row.name for row in worlds["south"].companies.values() if row.domain}
    both = north.keys() & south.keys()
    assert len(both) > 30
    assert sum(north[domain] != south[domain] for domain in both) > len(both) * 0.9


def test_contacts_overlap_by_email(worlds: dict[str, World]) -> None:
    north, south = (
        {email.lower() for contact in worlds[crm].contacts.values() for email in contact.emails}
        for crm in ("north", "south")
    )
    assert len(north & south) > 30


def test_some_deals_carry_the_same_key_in_two_crms(worlds: dict[str, World]) -> None:
    keys = Counter(
        deal.custom["crmkit_key"]
        for world in worlds.values()
        for deal in world.deals.values()
        if "crmkit_key" in deal.custom
    )
    assert len(keys) > 20
    assert min(keys.values()) >= 2


def test_keyed_deals_share_company_and_currency(worlds: dict[str, World]) -> None:
    seen: dict[str, tuple[str, ...]] = {}
    for world in worlds.values():
        for deal in world.deals.values():
            key = deal.custom.get("crmkit_key")
            if key is None:
                continue
            assert deal.company_id is not None
            assert seen.setdefault(key, (deal.currency,)) == (deal.currency,)


def test_one_second_holds_a_burst_of_deals(worlds: dict[str, World]) -> None:
    for world in worlds.values():
        stamps = Counter(deal.modified for deal in world.deals.values())
        most = stamps.most_common(1)[0][1]
        assert 0.02 <= most / len(world.deals) <= 0.05


def test_ids_grow_with_the_time_of_creation(worlds: dict[str, World]) -> None:
    created = [deal.created for deal in worlds["north"].live.deals()]
    assert created == sorted(created)
    assert created[-1] <= NOW


def test_nothing_happened_before_its_creation_or_in_the_future(worlds: dict[str, World]) -> None:
    for deal in worlds["north"].deals.values():
        steps = [step.at for step in deal.history]
        assert deal.created == steps[0]
        assert steps == sorted(steps)
        assert deal.created <= deal.stage_entered <= deal.modified <= NOW


def test_links_lead_to_records(worlds: dict[str, World]) -> None:
    for world in worlds.values():
        for deal in world.deals.values():
            assert deal.owner_id is None or deal.owner_id in world.users
            assert deal.company_id is None or deal.company_id in world.companies
            assert world.contacts.keys() >= set(deal.contact_ids)
            assert world.stage(deal.pipeline_id, deal.stage_id) is not None
        assert all(note.deal_id in world.deals for note in world.notes.values())


def test_the_odd_cases_are_there(worlds: dict[str, World]) -> None:
    world = worlds["north"]
    deals = list(world.deals.values())
    amounts = [deal.amount for deal in deals]
    assert None in amounts
    assert 0 in amounts
    assert any(amount is not None and amount < 0 for amount in amounts)
    assert any(amount is not None and amount % 1 for amount in amounts)
    yen = [deal.amount for deal in deals if deal.currency == "JPY" and deal.amount is not None]
    assert all(amount.as_tuple().exponent == 0 for amount in yen)
    assert {deal.currency for deal in deals} == {"USD", "EUR", "GBP", "JPY"}
    assert {len(deal.contact_ids) for deal in deals} == {0, 1, 2, 3}
    assert any(deal.owner_id is None for deal in deals)
    assert any(deal.owner_id and not world.users[deal.owner_id].active for deal in deals)
    assert any(deal.company_id is None for deal in deals)
    assert any(deal.expected_close is None for deal in deals)
    assert {deal.pipeline_id for deal in deals} == {"sales", "region"}
    assert {len(deal.history) for deal in deals} >= {1, 2, 3}
    assert {deal.name for deal in deals} & set(AWKWARD)
    assert world.notes
    assert len(world.deleted) >= 3
    assert world.merged
    assert not {gone.id for gone in world.deleted} & world.deals.keys()


def test_a_hundred_thousand_deals_fit_into_memory(toy_class: type[VendorApp]) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    deals = 5_000
    tracemalloc.start()
    kept = seed_worlds({"toy": toy_class.vendor_seed()}, deals=deals, seed=1, now=NOW)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept["toy"].deals) == deals
    assert used / deals * 100_000 < 500_000_000
