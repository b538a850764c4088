"""The sandbox's answers against HubSpot's own OpenAPI file and its published example payloads."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.server import Sandbox

validator = pytest.importorskip(
    "openapi_schema_validator", reason="openapi-schema-validator is not installed: pip install crmkit[dev]"
)

SPECS = Path(__file__).parents[2].parent / "shared" / "specs" / "hubspot"
pytestmark = pytest.mark.skipif(not SPECS.exists(), reason="the official specs (../shared/specs) are absent")

# Where the spec is wrong about its own API: schema, what is changed, and why. Contract, section 13.
NULLABLE = {
    # Properties that are asked for and unset come back as null; the spec knows no null at all.
    ("SimplePublicObject", "properties", "*"),
    ("SimplePublicObjectWithAssociations", "properties", "*"),
    # The unlabelled type of a link has the label null (examples/associations_batch_read_response).
    ("AssociationSpecWithLabel", "label"),
    ("AssociationLabelsAssociationSpecWithLabel", "label"),
    # Archived owners have no user any more (examples/owners_list_archived_response).
    ("PublicOwner", "userId"),
}
RETYPED = {
    # A JSON number in every answer (examples/associations_batch_read_response).
    ("MultiAssociatedObjectWithLabel", "toObjectId"): {"type": "integer"},
    # A text in every answer (examples/associations_batch_read_none_207_response); the spec says object.
    ("StandardError", "subCategory"): {"type": "string"},
    ("AssociationsStandardError", "subCategory"): {"type": "string"},
    # A text that holds JSON (examples/pipelines_audit_response); the spec says object.
    ("PublicAuditInfo", "rawObject"): {"type": "string"},
}
NOT_REQUIRED = {
    # Errors in a 207 have neither (examples/batch_read_missing_207_response).
    "StandardError": {"errors", "links"},
    "AssociationsStandardError": {"errors", "links"},
    "PropertiesStandardError": {"errors", "links"},
    # Not in the guide's answer (examples/oauth_token_response).
    "AccessTokenResponse": {"token_use"},
    # Not in the guide's answer (examples/property_groups_read_response).
    "PropertyGroup": {"archived"},
    # 404 of a record whose id is a number, and 429, come without category (contract, sections 8 and 9).
    "Error": {"category"},
    # Not in the guide's answer (contract, section 1); the sandbox has no signed tokens.
    "PublicAccessTokenInfoResponse": {"is_private_distribution", "signed_access_token"},
}

GET_CALLS = [
    ("/crm/v3/objects/{objectType}", "/crm/v3/objects/deals?limit=100&associations=companies,contacts,notes"),
    ("/crm/v3/objects/{objectType}", "/crm/v3/objects/deals?limit=50&propertiesWithHistory=dealstage,amount"),
    ("/crm/v3/objects/{objectType}", "/crm/v3/objects/deals?archived=true&properties=dealname,description"),
    ("/crm/v3/objects/{objectType}", "/crm/v3/objects/companies?associations=deals,contacts"),
    ("/crm/v3/objects/{objectType}", "/crm/v3/objects/contacts?properties=email,jobtitle"),
    ("/crm/v3/objects/{objectType}", "/crm/v3/objects/notes?properties=hs_note_body,hs_timestamp"),
    ("/crm/v3/objects/{objectType}/{objectId}", "/crm/v3/objects/0-3/{deal}?properties=dealname,amount"),
    (
        "/crm/v4/objects/{objectType}/{objectId}/associations/{toObjectType}",
        "/crm/v4/objects/deals/{deal}/associations/companies",
    ),
    (
        "/crm/v4/associations/{fromObjectType}/{toObjectType}/labels",
        "/crm/v4/associations/deals/companies/labels",
    ),
    ("/crm/v3/pipelines/{objectType}", "/crm/v3/pipelines/deals"),
    ("/crm/v3/pipelines/{objectType}/{pipelineId}", "/crm/v3/pipelines/deals/default"),
    ("/crm/v3/pipelines/{objectType}/{pipelineId}/audit", "/crm/v3/pipelines/deals/default/audit"),
    ("/crm/v3/pipelines/{objectType}/{pipelineId}/stages", "/crm/v3/pipelines/deals/default/stages"),
    (
        "/crm/v3/pipelines/{objectType}/{pipelineId}/stages/{stageId}",
        "/crm/v3/pipelines/deals/default/stages/closedwon",
    ),
    ("/crm/v3/owners", "/crm/v3/owners?limit=2"),
    ("/crm/v3/owners", "/crm/v3/owners?archived=true"),
    ("/crm/v3/owners/{ownerId}", "/crm/v3/owners/{owner}"),
    ("/crm/v3/properties/{objectType}", "/crm/v3/properties/deals"),
    ("/crm/v3/properties/{objectType}", "/crm/v3/properties/contacts"),
    ("/crm/v3/properties/{objectType}/{propertyName}", "/crm/v3/properties/deals/dealstage"),
    ("/crm/v3/properties/{objectType}/groups", "/crm/v3/properties/deals/groups"),
    (
        "/crm/v3/properties/{objectType}/groups/{groupName}",
        "/crm/v3/properties/deals/groups/dealinformation",
    ),
    ("/crm/v3/limits/pipelines", "/crm/v3/limits/pipelines"),
    ("/crm/v3/limits/records", "/crm/v3/limits/records"),
    ("/crm/v3/limits/custom-properties", "/crm/v3/limits/custom-properties"),
    ("/account-info/v3/details", "/account-info/v3/details"),
    ("/account-info/v3/api-usage/daily/private-apps", "/account-info/v3/api-usage/daily/private-apps"),
]
BOTH = {"inputs": [{"id": "{deal}"}, {"id": "99"}]}
ONE = {"inputs": [{"id": "{deal}"}]}
POST_CALLS: list[tuple[str, str, Any, int]] = [
    ("/crm/v3/objects/{objectType}/search", "/crm/v3/objects/deals/search", {"limit": 5}, 200),
    ("/crm/v3/objects/{objectType}/batch/read", "/crm/v3/objects/deals/batch/read", ONE, 200),
    ("/crm/v3/objects/{objectType}/batch/read", "/crm/v3/objects/deals/batch/read", BOTH, 207),
    (
        "/crm/v4/associations/{fromObjectType}/{toObjectType}/batch/read",
        "/crm/v4/associations/deals/companies/batch/read",
        ONE,
        200,
    ),
    (
        "/crm/v4/associations/{fromObjectType}/{toObjectType}/batch/read",
        "/crm/v4/associations/deals/companies/batch/read",
        BOTH,
        207,
    ),
    (
        "/crm/v3/properties/{objectType}/batch/read",
        "/crm/v3/properties/deals/batch/read",
        {"inputs": [{"name": "dealname"}, {"name": "nonesuch"}]},
        207,
    ),
]


@pytest.fixture(scope="module")
def app() -> Iterator[VendorApp]:
    with Sandbox.up(["hubspot"], deals=300, limits="off") as box:
        yield box["hubspot"]
        assert box["hubspot"].crashes == []


@pytest.fixture
def session(app: VendorApp) -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.headers["authorization"] = f"Bearer {app.credentials['token']}"
        yield opened


@pytest.fixture(scope="module")
def spec() -> Any:
    document = json.loads((SPECS / "openapi.json").read_text())
    schemas = document["components"]["schemas"]
    for name, field, *inside in NULLABLE:
        place = schemas[name]["properties"]
        if inside:
            place[field]["additionalProperties"]["nullable"] = True
        else:
            place[field]["nullable"] = True
    for (name, field), said in RETYPED.items():
        schemas[name]["properties"][field] = said
    for name, fields in NOT_REQUIRED.items():
        schemas[name]["required"] = [one for one in schemas[name]["required"] if one not in fields]
    return document


def _check(spec: Any, path: str, method: str, answer: requests.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    found = spec["paths"][path][method]["responses"][str(status)]["content"]
    schema = copy.copy(next(iter(found.values()))["schema"])
    _validate(spec, schema, answer.json())


def _validate(spec: Any, schema: Any, content: Any) -> None:
    whole = {**schema, "components": spec["components"]}
    checker = validator.OAS30Validator(whole, format_checker=validator.oas30_format_checker)
    assert [f"{list(one.path)}: {one.message}" for one in checker.iter_errors(content)] == []


def _names(app: VendorApp) -> dict[str, str]:
    deal = next(one for one in app.world.deals.values() if one.company_id and one.contact_ids)
    owner = next(one for one in app.world.users.values() if one.active)
    return {"deal": deal.id, "owner": owner.id}


@pytest.mark.parametrize(("path", "call"), GET_CALLS)
def test_what_is_got_fits_the_spec(
    app: VendorApp, session: requests.Session, spec: Any, path: str, call: str
) -> None:
    answer = session.get(app.base_url + call.format(**_names(app)), timeout=5)
    _check(spec, path, "get", answer, 200)


@pytest.mark.parametrize(("path", "call", "body", "status"), POST_CALLS)
def test_what_is_posted_for_fits_the_spec(
    app: VendorApp, session: requests.Session, spec: Any, path: str, call: str, body: Any, status: int
) -> None:
    said = json.loads(json.dumps(body).replace("{deal}", _names(app)["deal"]))
    _check(spec, path, "post", session.post(app.base_url + call, json=said, timeout=5), status)


def test_a_token_answer_fits_the_spec(app: VendorApp, spec: Any) -> None:
    form = {"grant_type": "refresh_token", **app.credentials}
    answer = requests.post(f"{app.base_url}/oauth/v3/token", data=form, timeout=5)
    _check(spec, "/oauth/v3/token", "post", answer, 200)


@pytest.mark.parametrize("use", ["refresh_token", "access_token"])
def test_an_introspected_token_fits_the_spec(app: VendorApp, spec: Any, use: str) -> None:
    form = {"grant_type": "refresh_token", **app.credentials}
    tokens = requests.post(f"{app.base_url}/oauth/v3/token", data=form, timeout=5).json()
    told = requests.post(
        f"{app.base_url}/oauth/v3/token/introspect", data={**app.credentials, "token": tokens[use]}, timeout=5
    )
    assert told.json()["token_use"] == use
    _check(spec, "/oauth/v3/token/introspect", "post", told, 200)


@pytest.mark.parametrize(
    "call",
    [
        "/crm/v3/objects/deals/99",
        "/crm/v3/objects/deals/none",
        "/crm/v3/objects/deals?limit=101",
        "/crm/v3/objects/unicorns",
        "/crm/v3/properties/deals/nonesuch",
    ],
)
def test_an_error_fits_the_spec(app: VendorApp, session: requests.Session, spec: Any, call: str) -> None:
    answer = session.get(app.base_url + call, timeout=5)
    assert answer.status_code in {400, 404}
    _validate(spec, {"$ref": "#/components/schemas/Error"}, answer.json())


# Example, the call it answers, and keys it has that the sandbox rightly lacks.
EXAMPLES = [
    ("objects_list_page_response", "/crm/v3/objects/notes?limit=1", set()),
    (
        "objects_list_with_history_response",
        "/crm/v3/objects/deals?limit=50&propertiesWithHistory=dealstage",
        {"properties.lastmodifieddate"},  # the example is of a contact
    ),
    (
        "deals_read_response",
        "/crm/v3/objects/deals/{deal}?properties=amount,closedate,dealname,dealstage,pipeline,hubspot_owner_id",
        set(),
    ),
    ("owners_list_response", "/crm/v3/owners", set()),
    ("owners_list_archived_response", "/crm/v3/owners?archived=true", set()),
    ("account_details_response", "/account-info/v3/details", set()),
    ("properties_read_enumeration_response", "/crm/v3/properties/deals/region", set()),
    ("property_groups_read_response", "/crm/v3/properties/deals/groups/dealinformation", set()),
    ("association_labels_list_response", "/crm/v4/associations/contacts/companies/labels", set()),
    ("pipelines_audit_response", "/crm/v3/pipelines/deals/default/audit", set()),
]


@pytest.mark.parametrize(("example", "call", "but"), EXAMPLES)
def test_an_answer_has_the_keys_and_types_of_the_official_example(
    app: VendorApp, session: requests.Session, example: str, call: str, but: set[str]
) -> None:
    answer = session.get(app.base_url + call.format(**_names(app)), timeout=5).json()
    text = (SPECS / "examples" / f"{example}.json").read_text()
    # The property of the one portal stands for the one of ours.
    _compare(json.loads(text.replace("is_verified", "dealstage")), answer, but)


@pytest.mark.parametrize(
    ("example", "call"),
    [
        ("batch_read_missing_207_response", "/crm/v3/objects/contacts/batch/read"),
        ("associations_batch_read_none_207_response", "/crm/v4/associations/deals/companies/batch/read"),
    ],
)
def test_a_partial_answer_has_the_keys_and_types_of_the_official_example(
    app: VendorApp, session: requests.Session, example: str, call: str
) -> None:
    answer = session.post(app.base_url + call, json={"inputs": [{"id": "99"}]}, timeout=5)
    official = json.loads((SPECS / "examples" / f"{example}.json").read_text())
    assert answer.status_code == 207
    _compare(official, answer.json(), set())


def test_linked_records_have_the_keys_and_types_of_the_official_example(
    app: VendorApp, session: requests.Session
) -> None:
    said = {"inputs": [{"id": _names(app)["deal"]}]}
    answer = session.post(
        f"{app.base_url}/crm/v4/associations/deals/companies/batch/read", json=said, timeout=5
    ).json()
    official = json.loads((SPECS / "examples" / "associations_batch_read_primary_result.json").read_text())
    official["to"] = official["to"][:1]
    _compare(official, answer["results"][0], set())
    assert answer["results"][0]["to"][0]["associationTypes"] == official["to"][0]["associationTypes"]


def test_a_page_of_search_has_the_keys_and_types_of_the_official_example(
    app: VendorApp, session: requests.Session
) -> None:
    said = {"properties": ["name", "annualrevenue"], "limit": 10}
    answer = session.post(f"{app.base_url}/crm/v3/objects/companies/search", json=said, timeout=5).json()
    official = json.loads((SPECS / "examples" / "search_companies_first_page_response.json").read_text())
    _compare(official, answer, {"properties.annualrevenue"})  # a property that is not in this portal


def _compare(official: Any, ours: Any, but: set[str]) -> None:
    found = _shape(ours)
    unlike = {
        path: (kinds, found.get(path))
        for path, kinds in _shape(official).items()
        if path not in but and not kinds & found.get(path, set())
    }
    assert unlike == {}


def _shape(content: Any, path: str = "") -> dict[str, set[str]]:
    """The types that stand at every path of a document; the items of a list share one."""
    found: dict[str, set[str]] = {}
    inside: list[tuple[str, Any]] = []
    if isinstance(content, dict):
        inside = [(f"{path}.{key}".lstrip("."), value) for key, value in content.items()]
    elif isinstance(content, list):
        inside = [(path.removesuffix("results"), value) for value in content]
    if path:
        found[path] = {type(content).__name__}
    for below, value in inside:
        for key, kinds in _shape(value, below).items():
            found.setdefault(key.lstrip("."), set()).update(kinds)
    return found
