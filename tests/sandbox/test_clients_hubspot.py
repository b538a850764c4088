"""HubSpot's own SDK, of which nothing but the address is changed, reads everything from the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.server import Sandbox

hubspot = pytest.importorskip(
    "hubspot", reason="hubspot-api-client is not installed: pip install crmkit[clients]"
)
discovery = pytest.importorskip("hubspot.discovery.discovery_base")
deals_models = pytest.importorskip("hubspot.crm.deals")
link_models = pytest.importorskip("hubspot.crm.associations.v4")
sdk_objects = pytest.importorskip("hubspot.utils.objects")


@pytest.fixture(scope="module")
def app() -> Iterator[VendorApp]:
    with Sandbox.up(["hubspot"], deals=730, limits="off") as box:
        yield box["hubspot"]
        assert box["hubspot"].crashes == []


@pytest.fixture
def client(app: VendorApp) -> Any:
    return _client(app, app.credentials["token"])


def _client(app: VendorApp, token: str | None) -> Any:
    def at_our_address(package: Any, name: str, config: dict[str, Any]) -> Any:
        api = discovery.DiscoveryBase._default_api_factory(package, name, config)
        api.api_client.configuration.host = app.base_url
        return api

    return hubspot.HubSpot(access_token=token, api_factory=at_our_address)


def test_get_all_finds_every_deal(app: VendorApp, client: Any) -> None:
    deals = client.crm.deals.get_all(properties=["dealname", "amount"])
    assert [deal.id for deal in deals] == list(app.world.deals)


def test_values_are_what_the_world_holds(app: VendorApp, client: Any) -> None:
    deals = client.crm.deals.get_all(properties=["dealname", "amount", "dealstage", "crmkit_uid"])
    read = [
        (deal.properties["dealname"], deal.properties["amount"], deal.properties["dealstage"])
        for deal in deals
    ]
    amounts = [None if deal.amount is None else str(deal.amount) for deal in app.world.deals.values()]
    assert read == [
        (deal.name, amount, deal.stage_id)
        for deal, amount in zip(app.world.deals.values(), amounts, strict=True)
    ]


def test_search_pages_find_every_deal(app: VendorApp, client: Any) -> None:
    found: list[str] = []
    after = "0"
    while after is not None:
        said = deals_models.PublicObjectSearchRequest(
            filter_groups=[], sorts=["createdate"], properties=["dealname"], limit=200, after=after
        )
        page = client.crm.deals.search_api.do_search(said)
        found += [deal.id for deal in page.results]
        after = page.paging.next.after if page.paging else None
    assert sorted(found) == sorted(app.world.deals)
    assert page.total == len(app.world.deals)


def test_stage_history_comes_newest_first(app: VendorApp, client: Any) -> None:
    deals = client.crm.deals.get_all(properties_with_history=["dealstage"])
    read = [[step.value for step in deal.properties_with_history["dealstage"]] for deal in deals]
    assert read == [[visit.stage_id for visit in reversed(deal.history)] for deal in app.world.deals.values()]


def test_archived_deals_are_those_that_were_deleted(app: VendorApp, client: Any) -> None:
    deals = client.crm.deals.get_all(archived=True)
    assert {deal.id for deal in deals} == {gone.id for gone in app.world.deleted if gone.kind == "deal"}
    assert all(deal.archived and deal.archived_at for deal in deals)


def test_pipelines_come_with_their_stages(app: VendorApp, client: Any) -> None:
    pipelines = client.crm.pipelines.pipelines_api.get_all("deals").results
    assert {pipeline.id: [stage.id for stage in pipeline.stages] for pipeline in pipelines} == {
        pipeline.id: [stage.id for stage in pipeline.stages] for pipeline in app.world.pipelines.values()
    }


def test_owners_of_both_lists_are_all_users(app: VendorApp, client: Any) -> None:
    owners = [
        owner.id
        for archived in (False, True)
        for owner in client.crm.owners.owners_api.get_page(archived=archived).results
    ]
    assert sorted(owners) == sorted(app.world.users)


def test_associations_of_all_deals_are_the_worlds_links(app: VendorApp, client: Any) -> None:
    inputs = link_models.BatchInputPublicFetchAssociationsBatchRequest(
        inputs=[link_models.PublicFetchAssociationsBatchRequest(id=deal_id) for deal_id in app.world.deals]
    )
    answer = client.crm.associations.v4.batch_api.get_page("deals", "contacts", inputs)
    # The SDK's model says `_from`; a link's id is a number on the wire, which the model turns into text.
    read = {one._from.id: tuple(str(link.to_object_id) for link in one.to) for one in answer.results}
    assert read == {deal.id: deal.contact_ids for deal in app.world.deals.values() if deal.contact_ids}


def test_inline_associations_name_the_primary_company(app: VendorApp, client: Any) -> None:
    deals = client.crm.deals.get_all(associations=["companies"])
    read = {
        deal.id: [
            link.id for link in deal.associations["companies"].results if link.type == "deal_to_company"
        ]
        for deal in deals
        if deal.associations
    }
    assert read == {deal.id: [deal.company_id] for deal in app.world.deals.values() if deal.company_id}


def test_companies_contacts_and_notes_are_read_whole(app: VendorApp, client: Any) -> None:
    crm = client.crm
    assert [one.id for one in crm.companies.get_all()] == list(app.world.companies)
    assert [one.id for one in crm.contacts.get_all()] == list(app.world.contacts)
    notes = sdk_objects.fetch_all(crm.objects.notes.basic_api)
    assert [one.id for one in notes] == list(app.world.notes)


def test_properties_hold_the_workspaces_own(client: Any) -> None:
    names = {one.name for one in client.crm.properties.core_api.get_all("deals").results}
    assert {"region", "products", "seats", "contract_end", "po_number", "is_strategic", "crmkit_uid"} <= names


def test_a_refreshed_token_reads_a_deal(app: VendorApp) -> None:
    secrets = app.credentials
    fresh = _client(app, None).oauth.tokens_api.create(
        grant_type="refresh_token",
        refresh_token=secrets["refresh_token"],
        client_id=secrets["client_id"],
        client_secret=secrets["client_secret"],
    )
    first = next(iter(app.world.deals))
    deal = _client(app, fresh.access_token).crm.deals.basic_api.get_by_id(first)
    assert (deal.id, fresh.expires_in) == (first, 1800)
