"""HubSpot's own SDK, of which nothing but the address is changed, writes to the sandbox and reads it back."""

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
models = pytest.importorskip("hubspot.crm.deals")
link_models = pytest.importorskip("hubspot.crm.associations.v4")
pipeline_models = pytest.importorskip("hubspot.crm.pipelines")
property_models = pytest.importorskip("hubspot.crm.properties")
contact_models = pytest.importorskip("hubspot.crm.contacts")

NEW = {"dealname": "New deal", "pipeline": "default", "dealstage": "contractsent", "amount": "1500.00"}


@pytest.fixture
def app() -> Iterator[VendorApp]:
    with Sandbox.up(["hubspot"], deals=40, limits="off") as box:
        yield box["hubspot"]
        assert box["hubspot"].crashes == []


@pytest.fixture
def client(app: VendorApp) -> Any:
    def at_our_address(package: Any, name: str, config: dict[str, Any]) -> Any:
        api = discovery.DiscoveryBase._default_api_factory(package, name, config)
        api.api_client.configuration.host = app.base_url
        return api

    return hubspot.HubSpot(access_token=app.credentials["token"], api_factory=at_our_address)


def _created(client: Any, **properties: str) -> Any:
    said = models.SimplePublicObjectInputForCreate(properties={**NEW, **properties}, associations=[])
    return client.crm.deals.basic_api.create(said)


def test_a_deal_is_created_and_read_back(client: Any) -> None:
    made = _created(client, closedate="2026-12-07T16:50:06.678Z")
    read = client.crm.deals.basic_api.get_by_id(made.id, properties=[*NEW, "closedate"])
    assert NEW.items() <= read.properties.items()
    assert read.properties["closedate"] == "2026-12-07T16:50:06.678Z"
    assert read.created_at == made.created_at


def test_a_deal_is_updated_and_archived(app: VendorApp, client: Any) -> None:
    made, api = _created(client), client.crm.deals.basic_api
    changed = api.update(made.id, models.SimplePublicObjectInput(properties={"dealstage": "closedwon"}))
    assert (changed.id, changed.properties["hs_is_closed_won"]) == (made.id, "true")
    api.archive(made.id)
    assert made.id not in app.world.deals
    assert api.get_by_id(made.id, archived=True).archived is True


def test_deals_are_written_in_batches(app: VendorApp, client: Any) -> None:
    api = client.crm.deals.batch_api
    inputs = [
        models.SimplePublicObjectBatchInputForCreate(
            properties={**NEW, "crmkit_uid": f"src:{number}"}, associations=[]
        )
        for number in range(5)
    ]
    made = api.create(models.BatchInputSimplePublicObjectBatchInputForCreate(inputs=inputs)).results
    ids = {one.properties["crmkit_uid"]: one.id for one in made}
    changes = [
        models.SimplePublicObjectBatchInput(id=one, properties={"amount": "7"}) for one in ids.values()
    ]
    api.update(models.BatchInputSimplePublicObjectBatchInput(inputs=changes))
    assert {str(app.world.deals[one].amount) for one in ids.values()} == {"7"}
    keyed = [
        models.SimplePublicObjectBatchInputUpsert(
            id=f"src:{number}", id_property="crmkit_uid", properties={**NEW, "amount": "9"}
        )
        for number in (4, 5)
    ]
    told = api.upsert(models.BatchInputSimplePublicObjectBatchInputUpsert(inputs=keyed)).results
    assert {one.properties["crmkit_uid"]: one.new for one in told} == {"src:4": False, "src:5": True}
    gone = [models.SimplePublicObjectId(id=one) for one in ids.values()]
    api.archive(models.BatchInputSimplePublicObjectId(inputs=gone))
    assert not set(ids.values()) & set(app.world.deals)


def test_a_partial_batch_is_read_as_such(client: Any) -> None:
    inputs = [
        models.SimplePublicObjectBatchInputForCreate(
            properties=properties, associations=[], object_write_trace_id=mark
        )
        for mark, properties in (("a", NEW), ("b", {"missing": "1"}))
    ]
    told = client.crm.deals.batch_api.create(
        models.BatchInputSimplePublicObjectBatchInputForCreate(inputs=inputs)
    )
    assert (len(told.results), told.num_errors) == (1, 1)
    assert told.errors[0].context == {"objectWriteTraceId": ["b"]}


def test_a_deal_is_linked_to_company_and_contact(app: VendorApp, client: Any) -> None:
    made = _created(client)
    company, contact = next(iter(app.world.companies)), next(iter(app.world.contacts))
    api = client.crm.associations.v4.basic_api
    primary = link_models.AssociationSpec(association_category="HUBSPOT_DEFINED", association_type_id=5)
    api.create("deals", made.id, "companies", company, [primary])
    api.create_default("deals", made.id, "contacts", contact)
    deal = app.world.deals[made.id]
    assert (deal.company_id, deal.contact_ids) == (company, (contact,))
    read = api.get_page("deals", made.id, "companies").results[0]
    assert [one.type_id for one in read.association_types] == [341, 5]
    api.archive("deals", made.id, "contacts", contact)
    assert app.world.deals[made.id].contact_ids == ()


def test_links_are_made_in_batches(app: VendorApp, client: Any) -> None:
    made, company = _created(client), next(iter(app.world.companies))
    pair = link_models.PublicAssociationMultiPost(
        _from=link_models.PublicObjectId(id=made.id),
        to=link_models.PublicObjectId(id=company),
        types=[link_models.AssociationSpec(association_category="HUBSPOT_DEFINED", association_type_id=5)],
    )
    client.crm.associations.v4.batch_api.create(
        "deals", "companies", link_models.BatchInputPublicAssociationMultiPost(inputs=[pair])
    )
    assert app.world.deals[made.id].company_id == company


def test_a_pipeline_is_made_and_archived(app: VendorApp, client: Any) -> None:
    stages = [
        pipeline_models.PipelineStageInput(label=label, display_order=place, metadata={"probability": chance})
        for place, (label, chance) in enumerate([("Open", "0.2"), ("Won", "1.0")])
    ]
    api = client.crm.pipelines.pipelines_api
    made = api.create("deals", pipeline_models.PipelineInput(label="Fresh", display_order=9, stages=stages))
    assert [stage.outcome for stage in app.world.pipelines[made.id].stages] == ["open", "won"]
    changed = api.update("deals", made.id, pipeline_models.PipelinePatchInput(label="Fresher"))
    assert changed.label == "Fresher"
    api.archive("deals", made.id)
    assert made.id not in [one.id for one in api.get_all("deals").results]


def test_a_key_property_is_made(client: Any) -> None:
    said = property_models.PropertyCreate(
        name="system_a_unique",
        label="Unique ID for System A",
        type="string",
        field_type="text",
        group_name="dealinformation",
        has_unique_value=True,
    )
    client.crm.properties.core_api.create("deals", said)
    assert client.crm.properties.core_api.get_by_name("deals", "system_a_unique").has_unique_value is True


def test_a_conflict_is_the_sdks_exception(client: Any) -> None:
    said = contact_models.SimplePublicObjectInputForCreate(
        properties={"email": "ada@example.net"}, associations=[]
    )
    made = client.crm.contacts.basic_api.create(said)
    with pytest.raises(contact_models.ApiException, match=f"Existing ID: {made.id}") as caught:
        client.crm.contacts.basic_api.create(said)
    assert caught.value.status == 409


def test_deals_are_merged(app: VendorApp, client: Any) -> None:
    winner, loser = _created(client).id, _created(client).id
    said = models.PublicMergeInput(primary_object_id=winner, object_id_to_merge=loser)
    assert client.crm.deals.basic_api.merge(said).id == winner
    assert loser not in app.world.deals
