"""HubSpot's own example payloads are read without loss, and its traps do not catch us."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import responses

from crmkit.connectors.base import Context
from crmkit.connectors.hubspot import fields, history, records, rows, schema
from crmkit.connectors.hubspot.calls import Api
from crmkit.connectors.hubspot.connector import HubSpotConnector
from crmkit.connectors.hubspot.links import inline
from crmkit.connectors.hubspot.schema import WIRES, Account, Schema
from crmkit.connectors.translate import FieldError
from crmkit.model import Kind, Outcome, Ref, StageChange

EXAMPLES = Path(__file__).parents[2] / ".." / "shared" / "specs" / "hubspot" / "examples"
BASE = "https://api.hubapi.com"


@pytest.fixture
def example() -> Callable[[str], Any]:
    """Reads an official example payload."""
    if not EXAMPLES.is_dir():
        pytest.skip("the folder with HubSpot's example payloads is not beside this repository")
    return lambda name: json.loads((EXAMPLES / f"{name}.json").read_text())


@pytest.fixture
def connector(make_context: Callable[..., Context]) -> HubSpotConnector:
    return HubSpotConnector(make_context("hub", token="pat-na1-secret"))


def made(kind: Kind, **changes: Any) -> Schema:
    plain = Schema("hub", WIRES[kind], WIRES[kind].properties, (), ZoneInfo("UTC"), "USD", "https://ui/")
    return replace(plain, **changes)


def deal(properties: dict[str, Any], **changes: Any) -> dict[str, Any]:
    row = {"id": "1", "properties": properties, "createdAt": None, "updatedAt": None, "archived": False}
    return records.deal(row, made(Kind.DEAL, **changes))


# payloads


def test_example_deal_is_read(example) -> None:
    found = rows.translated(made(Kind.DEAL), [example("deals_read_response")])
    (read,) = found.records
    assert read.model_dump(exclude_defaults=True, exclude={"ref", "url", "currency"}) == {
        "name": "Custom data integrations",
        "pipeline_id": "default",
        "stage_id": "presentationscheduled",
        "amount": Decimal("1500.00"),
        "owner_id": "910901",
        "expected_close": date(2019, 12, 7),
        "created_at": datetime(2019, 10, 30, 3, 30, 17, 883_000, tzinfo=UTC),
        "modified_at": datetime(2019, 12, 7, 16, 50, 6, 678_000, tzinfo=UTC),
        "version": "2019-12-07T16:50:06.678Z",
    }


def test_example_company_is_read(example) -> None:
    (read,) = rows.translated(made(Kind.COMPANY), [example("companies_read_response")]).records
    assert (read.name, read.domain, read.city) == ("Biglytics", "biglytics.net", "Cambridge")
    assert read.phones == ("(877) 929-0687",)
    assert read.url == "https://ui/512"


def test_example_account_is_read(example) -> None:
    account = Account.of("hub", example("account_details_response"))
    assert (account.portal_id, account.zone.key, account.currency) == ("123456", "US/Eastern", "USD")


@responses.activate
def test_example_owners_are_read(example, connector) -> None:
    responses.get(f"{BASE}/crm/v3/owners", json=example("owners_list_archived_response"))
    responses.get(f"{BASE}/crm/v3/owners", json=example("owners_list_response"))
    owners = {owner.ref.id: owner for page in connector.read(Kind.OWNER) for owner in page.records}
    assert (owners["42103462"].name, owners["42103462"].active) == ("useremail@hubspot.com", False)
    assert (owners["41629779"].name, owners["41629779"].email) == (
        "HubSpot Test Owner",
        "email@hubspot.com",
    )
    assert len(owners) == 4


def test_example_users_lead_to_owners_also_when_archived(example) -> None:
    listed = example("owners_list_response")["results"] + example("owners_list_archived_response")["results"]
    assert history.users(listed)["9586504"] == "41629779"
    assert history.users(listed)["9685555"] == "42103462"


def test_example_pipeline_audit_stages_have_the_right_outcomes(example) -> None:
    raw = json.loads(example("pipelines_audit_response")["results"][0]["rawObject"])
    outcomes = {
        stage["label"]: records.stage_outcome(stage["metadata"])
        for stage in raw["stages"]
    }  # fmt: skip
    assert outcomes["Closed won"] is Outcome.WON
    assert outcomes["Contract signed"] is Outcome.OPEN


@responses.activate
def test_example_search_page_gives_rows_total_and_token(example, connector) -> None:
    responses.post(
        f"{BASE}/crm/v3/objects/companies/search", json=example("search_companies_first_page_response")
    )
    page = Api(connector._http).search("companies", {})
    assert (len(page.rows), page.total, page.after) == (10, 38, "10")
    found = rows.translated(made(Kind.COMPANY), page.rows)
    assert [company.name for company in found.records][:3] == ["Google", "Pepsi", "CORKCICLE"]


@responses.activate
def test_example_list_page_gives_its_token(example, connector) -> None:
    responses.get(f"{BASE}/crm/v3/objects/0-420", json=example("objects_list_page_response"))
    page = Api(connector._http).page("0-420", "limit=1", None)
    assert ([row["id"] for row in page.rows], page.after) == (["513881705057"], "513881705058")


@responses.activate
def test_example_batch_read_with_a_missing_record_is_empty(example, connector) -> None:
    body = example("batch_read_missing_207_response")
    responses.post(f"{BASE}/crm/v3/objects/contacts/batch/read", status=207, json=body)
    assert Api(connector._http).batch("contacts", ["1"], ["email"]) == []


@responses.activate
def test_batch_read_answered_404_is_empty_too(connector) -> None:
    responses.post(f"{BASE}/crm/v3/objects/deals/batch/read", status=404, json={"status": "error"})
    assert Api(connector._http).batch("deals", ["1"], ["dealname"]) == []


@responses.activate
def test_example_record_without_links_has_an_empty_list(example, connector) -> None:
    body = example("associations_batch_read_none_207_response")
    responses.post(f"{BASE}/crm/v4/associations/deals/companies/batch/read", status=207, json=body)
    assert Api(connector._http).links("deals", "companies", ["515690208449"]) == {"515690208449": []}


def test_example_primary_company_comes_first(example) -> None:
    links = example("associations_batch_read_primary_result")["to"]
    block = inline(list(reversed(links)), ("deal_to_company", 5))
    row = {"id": "1", "properties": {}, "associations": {"companies": block}}
    assert records.deal(row, made(Kind.DEAL))["companies"] == ("442222359747", "442488735948")


@responses.activate
def test_example_links_carry_labels_as_roles(example, connector) -> None:
    body = example("associations_batch_read_response")
    responses.post(f"{BASE}/crm/v4/associations/contacts/companies/batch/read", json=body)
    links = Api(connector._http).links("contacts", "companies", ["33451", "29851"])
    block = inline(links["29851"], ("contact_to_company", 1))
    assert [(link["id"], link["type"], link["role"]) for link in block["results"]] == [
        ("5790939450", "contact_to_company", "Chef"),
        ("6675245424", "other", None),
        ("17705714757", "other", "Decision maker"),
    ]


@responses.activate
def test_example_page_token_inside_a_result_is_followed(example, connector) -> None:
    url = f"{BASE}/crm/v4/associations/companies/contacts/batch/read"
    token = example("associations_v3_batch_read_paging_response")["results"][0]["paging"]
    one = {
        "from": {"id": "6465999056"},
        "to": [{"toObjectId": 6101, "associationTypes": []}],
        "paging": token,
    }
    two = {"from": {"id": "6465999056"}, "to": [{"toObjectId": 6102, "associationTypes": []}]}
    responses.post(url, json={"results": [one]})
    responses.post(url, json={"results": [two]})
    links = Api(connector._http).links("companies", "contacts", ["6465999056"])
    assert [link["toObjectId"] for link in links["6465999056"]] == [6101, 6102]
    asked = json.loads(responses.calls[1].request.body)
    assert asked == {"inputs": [{"id": "6465999056", "after": "MC0yLTc1MDI%3D"}]}


def test_example_property_becomes_a_field(example) -> None:
    (described,) = fields.describe(Kind.CONTACT, [example("properties_read_enumeration_response")])
    assert (described.id, described.type) == ("my_contact_property", "choice")
    assert described.options == {"A": "Option A", "B": "Option B"}


def test_example_labels_tell_own_ones_from_hubspots(example) -> None:
    labels = example("association_labels_list_response")["results"]
    assert any(label["category"] != "HUBSPOT_DEFINED" for label in labels)


# traps


@pytest.mark.parametrize(
    ("flags", "outcome"),
    [
        ({"hs_is_closed_won": "true"}, Outcome.WON),
        ({"hs_is_closed_lost": "true"}, Outcome.LOST),
        ({"hs_is_closed": "false", "dealstage": "closedwon"}, Outcome.OPEN),
        ({"dealstage": "closedwon"}, Outcome.WON),
        ({"dealstage": "Closed lost"}, Outcome.OPEN),
        ({"hs_is_closed": "true", "hs_deal_stage_probability": "1.0"}, Outcome.WON),
        ({"hs_is_closed": "true", "hs_deal_stage_probability": "0.0"}, Outcome.LOST),
        ({"hs_is_closed": "true", "dealstage": "half", "hs_deal_stage_probability": "0.8"}, Outcome.LOST),
        ({"hs_is_closed": "true", "dealstage": "half", "hs_deal_stage_probability": "1.0"}, Outcome.WON),
        ({"pipeline": "other", "dealstage": "closedwon"}, Outcome.LOST),
    ],
)
def test_outcome_comes_from_flags_or_stage_and_never_from_a_label(flags, outcome) -> None:
    known = {
        ("default", "closedwon"): Outcome.WON,
        ("default", "half"): Outcome.OPEN,
        ("other", "closedwon"): Outcome.LOST,
        ("other", "Closed lost"): Outcome.LOST,
    }
    assert deal({"pipeline": "default", **flags}, outcomes=known)["outcome"] is outcome


@pytest.mark.parametrize(
    ("metadata", "outcome"),
    [
        ({"isClosed": "true", "probability": "1.0"}, Outcome.WON),
        ({"isClosed": "true", "probability": "0.0"}, Outcome.LOST),
        ({"isClosed": "false", "probability": "0.8"}, Outcome.OPEN),
        ({"probability": "1.0"}, Outcome.WON),
        ({"probability": "0.5"}, Outcome.OPEN),
        ({}, Outcome.OPEN),
    ],
)
def test_stage_outcome_comes_from_metadata(metadata, outcome) -> None:
    assert records.stage_outcome(metadata) is outcome


def test_closed_deal_has_the_instant_and_the_portals_day() -> None:
    read = deal(
        {"closedate": "2026-11-30T13:30:00Z", "hs_is_closed_won": "true"}, zone=ZoneInfo("Australia/Sydney")
    )
    assert read["closed_at"] == datetime(2026, 11, 30, 13, 30, tzinfo=UTC)
    assert read["expected_close"] == date(2026, 12, 1)


def test_versions_sort_although_a_zero_fraction_is_left_out() -> None:
    stamps = ["2026-11-02T09:00:00Z", "2026-11-02T09:00:00.120Z", "2026-11-02T09:00:01Z"]
    versions = [deal({"hs_lastmodifieddate": stamp})["version"] for stamp in stamps]
    assert versions == sorted(versions)


def test_empty_texts_are_unset() -> None:
    read = deal({"amount": "", "closedate": "", "hubspot_owner_id": "", "deal_currency_code": ""})
    unset = [read.get(name) for name in ("amount", "expected_close", "owner_id")]
    assert unset == [None, None, None]
    assert read["currency"] == "USD"


@pytest.mark.parametrize(
    ("name", "value"),
    [("amount", "1,500"), ("hs_deal_stage_probability", "20"), ("closedate", "07/12/2026")],
)
def test_impossible_value_names_its_field(name, value) -> None:
    with pytest.raises(FieldError) as caught:
        deal({name: value})
    assert caught.value.field == name


def test_merged_ids_are_split_and_name_the_survivor() -> None:
    row = {"id": "9", "properties": {"hs_merged_object_ids": "7;8; 7;9"}}
    told = records.merged_away([row], made(Kind.DEAL))
    assert [(t.ref, t.merged_into) for t in told] == [
        (Ref("hub", Kind.DEAL, "7"), "9"),
        (Ref("hub", Kind.DEAL, "8"), "9"),
    ]


def test_contact_has_all_its_addresses_once() -> None:
    row = {
        "id": "3",
        "properties": {
            "firstname": "Eva",
            "lastname": "Öz",
            "email": "eva@example.com",
            "hs_additional_emails": "e.oz@example.com;eva@example.com",
            "phone": "+49 1",
            "mobilephone": "+49 1",
            "lastmodifieddate": "2026-11-02T09:00:00.120Z",
        },
        "associations": {
            "companies": {
                "results": [
                    {"id": "20", "type": "contact_to_company_unlabeled"},
                    {"id": "31", "type": "contact_to_company"},
                    {"id": "31", "type": "contact_to_company_unlabeled"},
                ]
            }
        },
    }
    read = records.contact(row, made(Kind.CONTACT))
    assert read["name"] == "Eva Öz"
    assert read["emails"] == ("eva@example.com", "e.oz@example.com")
    assert read["phones"] == ("+49 1",)
    assert read["companies"] == ("31", "20")
    assert read["version"] == "2026-11-02T09:00:00.120Z"


def test_stage_times_are_left_out_when_a_portal_has_too_many_stages() -> None:
    def stages(count: int) -> list[dict[str, Any]]:
        return [{"id": "p", "stages": [{"id": str(n)} for n in range(count)]}]

    assert schema.entered_properties(stages(3), [])["2"] == "hs_v2_date_entered_2"
    assert schema.entered_properties(stages(schema.MOST_STAGE_TIMES + 1), []) == {}


def test_one_stage_time_for_all_stages_is_asked_for_where_the_portal_has_it() -> None:
    pipelines = [{"id": "p", "stages": [{"id": str(n)} for n in range(300)]}]
    names = schema.entered_properties(pipelines, [{"name": "hs_v2_date_entered_current_stage"}])
    assert len(names) == 300
    assert set(names.values()) == {"hs_v2_date_entered_current_stage"}


def test_ids_are_text_whatever_type_is_declared() -> None:
    assert schema.reader({"name": "erp_id", "type": "number"})("007", "erp_id") == "007"
    row = {"name": "buddy", "type": "enumeration", "referencedObjectType": "OWNER"}
    assert schema.reader(row)("910", "buddy") == "910"


def test_equal_times_in_a_history_keep_hubspots_order() -> None:
    at = "2026-03-01T10:00:00Z"
    row = {
        "id": "1",
        "propertiesWithHistory": {
            "dealstage": [{"value": "b", "timestamp": at}, {"value": "a", "timestamp": at}]
        },
    }
    assert [(c["from"], c["to"]) for c in history.spread_history([row])] == [(None, "a"), ("a", "b")]


def test_history_in_another_order_is_sorted_by_time_also_without_fractions() -> None:
    entries = [
        {"value": "a", "timestamp": "2026-03-01T10:00:00Z"},
        {"value": "c", "timestamp": "2026-03-01T10:00:01Z"},
        {"value": "b", "timestamp": "2026-03-01T10:00:00.120Z"},
    ]
    row = {"id": "1", "propertiesWithHistory": {"dealstage": entries}}
    assert [change["to"] for change in history.spread_history([row])] == ["a", "b", "c"]


def test_pipeline_without_an_order_is_read() -> None:
    stages = [
        {"id": "2", "label": "b", "displayOrder": None},
        {"id": "1", "label": None, "displayOrder": None},
    ]
    row = {"id": "p", "label": "Sales", "displayOrder": None, "stages": stages}
    read = records.pipeline(row, "hub")
    assert (read["order"], [stage.id for stage in read["stages"]]) == (0, ["1", "2"])


def test_example_list_with_history_is_read(example) -> None:
    row = example("objects_list_with_history_response")["results"][0]
    row["propertiesWithHistory"]["dealstage"] = row["propertiesWithHistory"].pop("is_verified")
    (change,) = rows.translated(made(Kind.STAGE_CHANGE, people={"28604240": "910"}), [row]).records
    assert isinstance(change, StageChange)
    assert (change.to_stage_id, change.by) == ("true", "910")
    assert change.at == datetime(2022, 11, 7, 21, 54, 3, 930_000, tzinfo=UTC)


def test_every_example_that_reading_receives_is_read_in_a_test(example) -> None:
    answers = {
        path.stem
        for path in EXAMPLES.glob("*.json")
        if not path.stem.endswith("_request") and path.stem not in LEFT_OUT
    }
    here = Path(__file__)
    tests = here.read_text() + here.with_name("test_hubspot_dialect.py").read_text()
    assert {name for name in answers if f'"{name}"' not in tests} == set()


# Examples that no read receives, and why.
LEFT_OUT = {
    "association_label_create_paired_response": "answers a write",
    "associations_put_label_response": "answers a write",
    "batch_create_multi_status_207_response": "answers a write",
    "pipelines_delete_stage_in_use_400_response": "answers a write",
    "warning_property_normalized_2026_09": "answers a write",
    "exports_read_response": "exports are not used: lists show newer data",
    "oauth_introspect_refresh_token_response": "tokens are not introspected",
    "property_groups_read_response": "groups of fields are not read",
    "webhook_signature_vectors": "webhooks are not used",
    "webhook_subscription_create_response": "webhooks are not used",
    "webhook_subscriptions_batch_update_response": "webhooks are not used",
    "webhook_subscriptions_list_response": "webhooks are not used",
}
