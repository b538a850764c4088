"""The sandbox's answers to writes against HubSpot's own OpenAPI file and its published example payloads."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.server import Sandbox
from tests.sandbox import test_spec_hubspot as reads

pytest.importorskip(
    "openapi_schema_validator", reason="openapi-schema-validator is not installed: pip install crmkit[dev]"
)
pytestmark = reads.pytestmark
DEALS, V4 = "/crm/v3/objects/deals", "/crm/v4/associations/{fromObjectType}/{toObjectType}"
OBJECTS = "/crm/v3/objects/{objectType}"
NEW = {"dealname": "New deal", "dealstage": "contractsent", "amount": "1500.00"}
PLAIN = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 341}
KEY = {"groupName": "dealinformation", "label": "x", "type": "string", "fieldType": "text"}
STAGE = {"label": "Fresh", "displayOrder": 0, "metadata": {"probability": "0.2"}}
NOTE = {"hs_timestamp": "2021-11-12T15:48:22Z", "hs_note_body": "Spoke with Carla."}
# Numbers in the example, texts in the spec (examples/associations_put_label_response).
_NUMBERS = {("LabelsBetweenObjectPair", "fromObjectId"), ("LabelsBetweenObjectPair", "toObjectId")}

CALLS: list[tuple[str, str, str, Any, int]] = [
    ("post", OBJECTS, DEALS, {"properties": NEW}, 201),
    ("post", OBJECTS, "/crm/v3/objects/contacts", {"properties": {"email": "jane@example.net"}}, 201),
    ("post", OBJECTS, "/crm/v3/objects/companies", {"properties": {"name": "HubSpot"}}, 201),
    ("post", OBJECTS, "/crm/v3/objects/notes", {"properties": NOTE}, 201),
    ("patch", OBJECTS + "/{objectId}", DEALS + "/{deal}", {"properties": {"amount": ""}}, 200),
    ("post", OBJECTS + "/batch/create", DEALS + "/batch/create", {"inputs": [{"properties": NEW}]}, 201),
    (
        "post",
        OBJECTS + "/batch/create",
        DEALS + "/batch/create",
        {"inputs": [{"properties": {"missing": "1"}, "objectWriteTraceId": "549b1c2a9351"}]},
        207,
    ),
    (
        "post",
        OBJECTS + "/batch/update",
        DEALS + "/batch/update",
        {"inputs": [{"id": "{deal}", "properties": {"amount": "20"}}]},
        200,
    ),
    (
        "post",
        OBJECTS + "/batch/update",
        DEALS + "/batch/update",
        {"inputs": [{"id": "99", "properties": {"amount": "20"}}]},
        207,
    ),
    (
        "post",
        OBJECTS + "/batch/upsert",
        DEALS + "/batch/upsert",
        {"inputs": [{"id": "src:42", "idProperty": "crmkit_uid", "properties": NEW}]},
        200,
    ),
    (
        "post",
        "/crm/v3/objects/0-3/merge",
        "/crm/v3/objects/0-3/merge",
        {"primaryObjectId": "{deal}", "objectIdToMerge": "{other}"},
        200,
    ),
    (
        "post",
        V4 + "/batch/associate/default",
        "/crm/v4/associations/deals/companies/batch/associate/default",
        {"inputs": [{"from": {"id": "{deal}"}, "to": {"id": "{company}"}}]},
        200,
    ),
    (
        "post",
        V4 + "/batch/create",
        "/crm/v4/associations/deals/companies/batch/create",
        {"inputs": [{"from": {"id": "{deal}"}, "to": {"id": "{company}"}, "types": [PLAIN]}]},
        201,
    ),
    (
        "post",
        V4 + "/batch/create",
        "/crm/v4/associations/deals/companies/batch/create",
        {"inputs": [{"from": {"id": "{deal}"}, "to": {"id": "7"}, "types": [PLAIN]}]},
        207,
    ),
    (
        "put",
        "/crm/v4/objects/{fromObjectType}/{fromObjectId}/associations/default/{toObjectType}/{toObjectId}",
        "/crm/v4/objects/deals/{deal}/associations/default/companies/{company}",
        None,
        200,
    ),
    (
        "put",
        "/crm/v4/objects/{objectType}/{objectId}/associations/{toObjectType}/{toObjectId}",
        "/crm/v4/objects/deals/{deal}/associations/companies/{company}",
        [PLAIN],
        201,
    ),
    ("post", V4 + "/labels", "/crm/v4/associations/deals/companies/labels", {"name": "a", "label": "A"}, 200),
    (
        "post",
        "/crm/v3/pipelines/{objectType}",
        "/crm/v3/pipelines/deals",
        {"label": "Fresh", "displayOrder": 9, "stages": [STAGE]},
        201,
    ),
    (
        "patch",
        "/crm/v3/pipelines/{objectType}/{pipelineId}",
        "/crm/v3/pipelines/deals/default",
        {"displayOrder": 0, "label": "My updated pipeline"},
        200,
    ),
    (
        "post",
        "/crm/v3/pipelines/{objectType}/{pipelineId}/stages",
        "/crm/v3/pipelines/deals/default/stages",
        STAGE,
        201,
    ),
    (
        "patch",
        "/crm/v3/pipelines/{objectType}/{pipelineId}/stages/{stageId}",
        "/crm/v3/pipelines/deals/default/stages/contractsent",
        {"metadata": {"probability": "0.5"}},
        200,
    ),
    ("post", "/crm/v3/properties/{objectType}", "/crm/v3/properties/deals", {**KEY, "name": "one"}, 201),
    (
        "post",
        "/crm/v3/properties/{objectType}/batch/create",
        "/crm/v3/properties/deals/batch/create",
        {"inputs": [{**KEY, "name": "two"}]},
        201,
    ),
    (
        "post",
        "/crm/v3/properties/{objectType}/batch/create",
        "/crm/v3/properties/deals/batch/create",
        {"inputs": [{**KEY, "name": "dealname"}]},
        207,
    ),
    (
        "patch",
        "/crm/v3/properties/{objectType}/{propertyName}",
        "/crm/v3/properties/deals/po_number",
        {"label": "PO"},
        200,
    ),
    (
        "post",
        "/crm/v3/properties/{objectType}/groups",
        "/crm/v3/properties/deals/groups",
        {"name": "mine", "label": "Mine"},
        201,
    ),
]
EMPTY: list[tuple[str, str, Any]] = [
    ("delete", DEALS + "/{deal}", None),
    ("post", DEALS + "/batch/archive", {"inputs": [{"id": "{deal}"}]}),
    ("delete", "/crm/v4/objects/deals/{deal}/associations/companies/{company}", None),
    (
        "post",
        "/crm/v4/associations/deals/companies/batch/archive",
        {"inputs": [{"from": {"id": "{deal}"}, "to": [{"id": "{company}"}]}]},
    ),
    (
        "post",
        "/crm/v4/associations/deals/companies/batch/labels/archive",
        {"inputs": [{"from": {"id": "{deal}"}, "to": {"id": "{company}"}, "types": [PLAIN]}]},
    ),
    ("delete", "/crm/v3/pipelines/deals/75500120", None),
    ("delete", "/crm/v3/properties/deals/po_number", None),
]
ERRORS: list[tuple[str, str, Any, int, str | None]] = [
    (
        "post",
        DEALS,
        {"properties": {**NEW, "testproperty": "1"}},
        400,
        "error_400_property_doesnt_exist_response",
    ),
    (
        "post",
        "/crm/v3/objects/contacts",
        {"properties": {"email": "{email}"}},
        409,
        "error_409_contact_exists_response",
    ),
    (
        "delete",
        "/crm/v3/pipelines/deals/default?validateReferencesBeforeDelete=true",
        None,
        400,
        "pipelines_delete_stage_in_use_400_response",
    ),
    (
        "post",
        DEALS + "/batch/update",
        {"inputs": [{"id": "1", "idProperty": "hs_object_id", "properties": {}}]},
        400,
        "error_400_id_property_not_unique_response",
    ),
    ("post", DEALS, {"properties": {}}, 400, None),
    ("post", DEALS + "/batch/create", {}, 400, None),
    ("patch", DEALS + "/99", {"properties": NEW}, 404, None),
    ("post", "/crm/v3/properties/deals", {**KEY, "name": "dealname"}, 409, None),
    ("put", "/crm/v4/objects/deals/{deal}/associations/companies/7", [PLAIN], 404, None),
]


read_spec = reads.spec  # the file as the tests of reads have put it right


@pytest.fixture(scope="module")
def spec(read_spec: Any) -> Any:
    document = copy.deepcopy(read_spec)
    schemas = document["components"]["schemas"]
    for name in ("SimplePublicUpsertObject", "DealsSimplePublicObject"):
        schemas[name]["properties"]["properties"]["additionalProperties"]["nullable"] = True
    for name, field in _NUMBERS:
        schemas[name]["properties"][field] = {"type": "integer"}
    return document


@pytest.fixture
def app() -> Iterator[VendorApp]:
    with Sandbox.up(["hubspot"], deals=40, limits="off") as box:
        yield box["hubspot"]
        assert box["hubspot"].crashes == []


def _send(app: VendorApp, method: str, path: str, body: Any) -> requests.Response:
    deals = list(app.world.deals)
    email = next(one.emails[0] for one in app.world.contacts.values() if one.emails)
    names = {"deal": deals[0], "other": deals[1], "company": next(iter(app.world.companies)), "email": email}
    text = json.dumps(body)
    for name, value in names.items():
        text, path = text.replace(f"{{{name}}}", value), path.replace(f"{{{name}}}", value)
    headers = {"authorization": f"Bearer {app.credentials['token']}"}
    return requests.request(method, app.base_url + path, json=json.loads(text), headers=headers, timeout=5)


@pytest.mark.parametrize(("method", "path", "call", "body", "status"), CALLS)
def test_the_answer_to_a_write_fits_the_spec(
    app: VendorApp, spec: Any, method: str, path: str, call: str, body: Any, status: int
) -> None:
    reads._check(spec, path, method, _send(app, method, call, body), status)


@pytest.mark.parametrize(("method", "call", "body"), EMPTY)
def test_what_goes_away_is_answered_with_nothing(app: VendorApp, method: str, call: str, body: Any) -> None:
    answer = _send(app, method, call, body)
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(("method", "call", "body", "status", "example"), ERRORS)
def test_a_refused_write_fits_the_spec_and_the_official_example(
    app: VendorApp, spec: Any, method: str, call: str, body: Any, status: int, example: str | None
) -> None:
    answer = _send(app, method, call, body)
    assert answer.status_code == status, answer.text
    reads._validate(spec, {"$ref": "#/components/schemas/Error"}, answer.json())
    if example is not None:
        text = (reads.SPECS / "examples" / f"{example}.json").read_text().replace("{HubId}", "1")
        reads._compare(json.loads(text), answer.json(), set())


def test_a_partial_batch_has_the_keys_and_types_of_the_official_example(app: VendorApp) -> None:
    text = (reads.SPECS / "examples" / "batch_create_trace_id_request.json").read_text()
    said = json.loads(text)
    said["inputs"][0]["properties"] = NEW
    answer = _send(app, "post", DEALS + "/batch/create", said)
    assert answer.status_code == 207
    official = json.loads(
        (reads.SPECS / "examples" / "batch_create_multi_status_207_response.json").read_text()
    )
    ours = copy.deepcopy(answer.json())
    for record in (official["results"][0], ours["results"][0]):
        del record["properties"]  # of a ticket there, of a deal here
    reads._compare(official, ours, set())
    assert ours["errors"][0]["context"] == official["errors"][0]["context"]


def test_a_labelled_link_has_the_keys_and_types_of_the_official_example(app: VendorApp) -> None:
    said = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5}]
    answer = _send(app, "put", "/crm/v4/objects/deals/{deal}/associations/companies/{company}", said)
    official = json.loads((reads.SPECS / "examples" / "associations_put_label_response.json").read_text())
    assert answer.status_code == 201
    reads._compare(official, answer.json(), set())


@pytest.mark.parametrize(
    ("example", "method", "call", "status"),
    [
        (
            "association_label_create_paired_request",
            "post",
            "/crm/v4/associations/contacts/companies/labels",
            200,
        ),
        ("contacts_create_request", "post", "/crm/v3/objects/contacts", 201),
        ("contacts_batch_upsert_by_email_request", "post", "/crm/v3/objects/contacts/batch/upsert", 200),
        ("deals_batch_archive_request", "post", DEALS + "/batch/archive", 204),
        ("pipelines_create_request", "post", "/crm/v3/pipelines/deals", 201),
        ("pipelines_patch_request", "patch", "/crm/v3/pipelines/deals/default", 200),
        ("properties_create_unique_request", "post", "/crm/v3/properties/deals", 201),
        ("property_groups_create_request", "post", "/crm/v3/properties/deals/groups", 201),
    ],
)
def test_an_official_request_is_taken(
    app: VendorApp, example: str, method: str, call: str, status: int
) -> None:
    said = json.loads((reads.SPECS / "examples" / f"{example}.json").read_text())
    answer = _send(app, method, call, said)
    assert answer.status_code == status, answer.text
