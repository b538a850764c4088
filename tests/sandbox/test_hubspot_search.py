"""HubSpot's search: filters, order, depth, and an index that trails behind."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.sandbox.hubspot_wire import NOW, Client, starting

SEARCH = "/crm/v3/objects/deals/search"


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    with starting() as start:
        yield start


def _filter(name: str, operator: str, value: Any = None, **more: Any) -> dict[str, Any]:
    said = {"propertyName": name, "operator": operator, **more}
    return said if value is None else said | {"value": value}


def _one(*filters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"filterGroups": [{"filters": list(filters)}], "limit": 200, **more}


def _ids(client: Client, said: dict[str, Any]) -> list[str]:
    answer = client.post(SEARCH, said)
    assert answer.status_code == 200, answer.text
    return [deal["id"] for deal in answer.json()["results"]]


def _all_pages(client: Client, said: dict[str, Any]) -> list[str]:
    found: list[str] = []
    after: str | None = "0"
    while after is not None:
        answer = client.post(SEARCH, {**said, "after": after}).json()
        found += [deal["id"] for deal in answer["results"]]
        after = answer.get("paging", {}).get("next", {}).get("after")
    return found


def test_everything_is_found_in_order_of_creation(up: Callable[..., Client]) -> None:
    client = up(deals=450)
    deals = sorted(client.world.deals.values(), key=lambda deal: (deal.created, int(deal.id)))
    assert _all_pages(client, {"limit": 200}) == [deal.id for deal in deals]


def test_a_page_is_ten_long_unless_asked(up: Callable[..., Client]) -> None:
    answer = up().post(SEARCH, {}).json()
    assert (len(answer["results"]), answer["total"], answer["paging"]) == (10, 60, {"next": {"after": "10"}})


@pytest.mark.parametrize(
    ("sorts", "descending"),
    [
        ([{"propertyName": "hs_lastmodifieddate", "direction": "DESCENDING"}], True),
        ([{"propertyName": "hs_lastmodifieddate"}], False),
        (["-hs_lastmodifieddate"], True),
        (["hs_lastmodifieddate"], False),
        ("-hs_lastmodifieddate", True),
        ({"propertyName": "hs_lastmodifieddate", "direction": "ASCENDING"}, False),
    ],
)
def test_a_sort_may_be_written_in_four_ways(up: Callable[..., Client], sorts: Any, descending: bool) -> None:
    client = up()
    deals = sorted(
        client.world.deals.values(), key=lambda deal: (deal.modified, int(deal.id)), reverse=descending
    )
    assert _ids(client, {"sorts": sorts, "limit": 200}) == [deal.id for deal in deals]


def test_any_property_sorts_as_what_it_is(up: Callable[..., Client]) -> None:
    client = up()
    said = _one(_filter("amount", "HAS_PROPERTY"), sorts=["-amount"], properties=["amount"])
    amounts = [Decimal(deal["properties"]["amount"]) for deal in client.post(SEARCH, said).json()["results"]]
    assert amounts == sorted(amounts, reverse=True)
    assert len(amounts) == sum(deal.amount is not None for deal in client.world.deals.values())


def test_a_window_of_changes_is_exact_to_the_millisecond(up: Callable[..., Client]) -> None:
    client = up(deals=8)
    at = NOW - timedelta(minutes=1)
    millis = int(at.timestamp() * 1000)
    inside = [
        client.world.create_deal(name=f"{step}", modified=at + timedelta(milliseconds=step)).id
        for step in range(5)
    ]
    window = _one(
        _filter("hs_lastmodifieddate", "GTE", str(millis + 1)),
        _filter("hs_lastmodifieddate", "LT", str(millis + 4)),
    )
    between = _one(_filter("hs_lastmodifieddate", "BETWEEN", str(millis + 1), highValue=str(millis + 3)))
    client.world.lag_seconds = 0
    assert _ids(client, window) == inside[1:4]
    assert _ids(client, between) == inside[1:4]
    assert _ids(client, _one(_filter("hs_lastmodifieddate", "GT", (at).isoformat()))) == inside[1:]


def test_a_walk_by_id_with_restarts_finds_all(up: Callable[..., Client]) -> None:
    client = up(deals=300)
    found: list[str] = []
    while page := _ids(
        client,
        _one(
            _filter("hs_object_id", "GT", found[-1] if found else "0"),
            _filter("hs_lastmodifieddate", "LTE", str(int(NOW.timestamp() * 1000))),
            sorts=["hs_object_id"],
            limit=70,
        ),
    ):
        found += page
    assert found == sorted(client.world.deals, key=int)


def test_the_depth_ends_at_ten_thousand(up: Callable[..., Client]) -> None:
    client = up()
    last, beyond = (
        client.post(SEARCH, {"after": "9800", "limit": 200}),
        client.post(SEARCH, {"after": "9801", "limit": 200}),
    )
    assert (last.status_code, beyond.status_code) == (200, 400)
    assert beyond.json()["category"] == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    "said",
    [
        {"limit": 201},
        {"after": "x"},
        {"sorts": ["createdate", "amount"]},
        {"sorts": ["nonesuch"]},
        {"query": "x" * 3001},
        {"filterGroups": [{"filters": []}] * 6},
        _one(*[_filter("amount", "GT", "1")] * 7),
        {"filterGroups": [{"filters": [_filter("amount", "GT", "1")] * 5}] * 4},
        _one(_filter("nonesuch", "EQ", "1")),
        _one(_filter("amount", "EQ", "many")),
        _one(_filter("amount", "LIKE", "1")),
        _one(_filter("amount", "EQ")),
        _one(_filter("amount", "IN")),
        _one(_filter("createdate", "GT", "yesterday")),
        _one(_filter("associations.unicorn", "EQ", "1")),
    ],
)
def test_what_makes_no_sense_is_a_validation_error(up: Callable[..., Client], said: dict[str, Any]) -> None:
    answer = up(deals=8).post(SEARCH, said)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_strings_compare_without_case_and_options_with_it(up: Callable[..., Client]) -> None:
    client = up(lag_seconds=0)
    deal = client.world.create_deal(name="Größe XL Ünique")
    assert _ids(client, _one(_filter("dealname", "EQ", "GRÖßE xl ünique"))) == [deal.id]
    assert _ids(client, _one(_filter("dealname", "IN", values=["größe xl ünique".casefold()]))) == [deal.id]
    assert _ids(client, _one(_filter("dealname", "IN", values=["Größe XL Ünique"]))) == []
    assert _ids(client, _one(_filter("dealstage", "EQ", "ClosedWon"))) == []


def test_words_are_found_with_wildcards(up: Callable[..., Client]) -> None:
    client = up(lag_seconds=0)
    deal = client.world.create_deal(name="Quantumflux renewal 2026")
    assert _ids(client, _one(_filter("dealname", "CONTAINS_TOKEN", "quantum*"))) == [deal.id]
    assert _ids(client, _one(_filter("dealname", "CONTAINS_TOKEN", "quantum"))) == []
    assert _ids(client, {"query": "quantumfl"}) == [deal.id]
    assert deal.id not in _ids(client, _one(_filter("dealname", "NOT_CONTAINS_TOKEN", "quantumflux")))


def test_groups_are_alternatives(up: Callable[..., Client]) -> None:
    client = up()
    won = {"filters": [_filter("hs_is_closed_won", "EQ", "true"), _filter("amount", "HAS_PROPERTY")]}
    unowned = {"filters": [_filter("hubspot_owner_id", "NOT_HAS_PROPERTY")]}
    found = _ids(client, {"filterGroups": [won, unowned], "limit": 200})
    assert set(found) == {
        deal.id
        for deal in client.world.deals.values()
        if (deal.status == "won" and deal.amount is not None) or deal.owner_id is None
    }


def test_links_are_searched_by_a_pseudo_property(up: Callable[..., Client]) -> None:
    client = up()
    company = next(deal.company_id for deal in client.world.deals.values() if deal.company_id)
    bare = {"filters": [_filter("associations.company", "EQ", company)], "limit": 200}
    assert set(_ids(client, bare)) == {
        deal.id for deal in client.world.deals.values() if deal.company_id == company
    }


def test_no_filter_plan_changes_what_is_found(up: Callable[..., Client]) -> None:
    """Whatever stretch of whatever view is taken: the same as testing each deal alone."""
    client, rng = up(deals=200), random.Random(5)
    deals = list(client.world.deals.values())
    tests = {
        "EQ": lambda known, low: known == low,
        "GT": lambda known, low: known > low,
        "GTE": lambda known, low: known >= low,
        "LT": lambda known, low: known < low,
        "LTE": lambda known, low: known <= low,
    }
    values = {
        "hs_object_id": lambda deal: int(deal.id),
        "hs_lastmodifieddate": lambda deal: int(deal.modified.timestamp() * 1000),
        "createdate": lambda deal: int(deal.created.timestamp() * 1000),
    }
    for _ in range(40):
        chosen = [
            (rng.choice(list(values)), rng.choice(list(tests)), rng.choice(deals))
            for _ in range(rng.randint(1, 3))
        ]
        filters = [_filter(name, operator, str(values[name](deal))) for name, operator, deal in chosen]
        expected = {
            deal.id
            for deal in deals
            if all(
                tests[operator](values[name](deal), values[name](model)) for name, operator, model in chosen
            )
        }
        assert set(_ids(client, _one(*filters, sorts=[rng.choice(list(values))]))) == expected


def test_the_index_trails_behind_writes(up: Callable[..., Client]) -> None:
    client = up()
    made = client.world.create_deal(name="fresh").id
    gone = next(iter(client.world.deals))
    client.world.delete_deal(gone)
    before = _ids(client, {"limit": 200})
    client.world.clock.advance(3)
    after = _ids(client, {"limit": 200})
    assert (made in before, gone in before) == (False, True)
    assert (made in after, gone in after) == (True, False)


def test_results_have_neither_links_nor_address(up: Callable[..., Client]) -> None:
    deal = up().post(SEARCH, {"limit": 1, "properties": ["dealname", "nonesuch"]}).json()["results"][0]
    assert set(deal) == {"id", "properties", "createdAt", "updatedAt", "archived"}
    assert set(deal["properties"]) == {"createdate", "dealname", "hs_lastmodifieddate", "hs_object_id"}


def test_other_types_are_searched_by_their_own_stamp(up: Callable[..., Client]) -> None:
    client = up()
    said = _one(_filter("lastmodifieddate", "GTE", "0"))
    assert client.post("/crm/v3/objects/contacts/search", said).json()["total"] == len(client.world.contacts)
    note = next(iter(client.world.notes.values()))
    said = _one(_filter("associations.deal", "EQ", note.deal_id))
    found = client.post("/crm/v3/objects/notes/search", said).json()["results"]
    assert note.id in {one["id"] for one in found}
    assert set(found[0]["properties"]) == {"hs_createdate", "hs_lastmodifieddate", "hs_object_id"}
