"""HubSpot on the wire: custom properties of every type, on deals, companies and contacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.hubspot_wire import Client, starting

EXAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "hubspot" / "examples"
GROUPS = {"deals": "dealinformation", "companies": "companyinformation", "contacts": "contactinformation"}
OPTIONS = [
    {"label": "🔥 Hot, very", "value": "hot", "displayOrder": 5, "hidden": False, "description": "a"},
    {"label": 'The "best"', "value": "the best", "displayOrder": 7, "hidden": True, "description": ""},
]
# type, fieldType, what is written, what is read
VALUES: list[tuple[str, str, Any, str]] = [
    ("string", "text", "a\nb 🚀", "a\nb 🚀"),
    ("string", "textarea", "x" * 5000, "x" * 5000),
    ("number", "number", "1234.5678", "1234.5678"),
    ("bool", "booleancheckbox", False, "false"),
    ("date", "date", "2019-02-28", "2019-02-28"),
    ("datetime", "date", "2019-03-31T01:30:15.123Z", "2019-03-31T01:30:15.123Z"),
    ("enumeration", "select", "hot", "hot"),
    ("enumeration", "radio", "the best", "the best"),
    ("enumeration", "checkbox", "the best;hot", "the best;hot"),
]
NEW = {
    "deals": {"dealname": "x", "dealstage": "appointmentscheduled", "pipeline": "default"},
    "companies": {"name": "x"},
    "contacts": {"lastname": "x"},
}


@pytest.fixture
def client() -> Iterator[Client]:
    with starting() as start:
        start_one: Callable[..., Client] = start
        yield start_one()


def make(client: Client, of: str, type_: str, field_type: str, **more: Any) -> requests.Response:
    said = {
        "groupName": GROUPS[of],
        "name": "extra",
        "label": "Extra",
        "type": type_,
        "fieldType": field_type,
    }
    if type_ == "enumeration":
        said["options"] = OPTIONS  # type: ignore[assignment]
    return client.post(f"/crm/v3/properties/{of}", {**said, **more})


def patch(client: Client, of: str, content: Any) -> requests.Response:
    url = f"{client.app.base_url}/crm/v3/properties/{of}/extra"
    return client.session.patch(url, json=content, timeout=5)


@pytest.mark.parametrize("of", sorted(GROUPS))
@pytest.mark.parametrize(("type_", "field_type", "value", "read"), VALUES)
def test_property_of_each_type_holds_values(client, of: str, type_, field_type, value, read) -> None:
    assert make(client, of, type_, field_type).status_code == 201
    stage = client.get("/crm/v3/pipelines/deals").json()["results"][0]
    new = {
        **NEW[of],
        **({"pipeline": stage["id"], "dealstage": stage["stages"][0]["id"]} if of == "deals" else {}),
    }
    made = client.post(f"/crm/v3/objects/{of}", {"properties": {**new, "extra": value}})
    assert made.status_code == 201, made.text
    path = f"/crm/v3/objects/{of}/{made.json()['id']}"
    assert client.get(path, properties="extra").json()["properties"]["extra"] == read
    url = client.app.base_url + path
    client.session.patch(url, json={"properties": {"extra": ""}}, timeout=5).raise_for_status()
    assert client.get(path, properties="extra").json()["properties"]["extra"] is None


def test_definition_says_what_was_sent(client) -> None:
    money = {"showCurrencySymbol": True, "numberDisplayHint": "currency", "description": "d"}
    made = make(client, "deals", "number", "number", **money).json()
    assert {name: made[name] for name in money} == money
    assert client.get("/crm/v3/properties/deals/extra").json() == made
    assert made["hubspotDefined"] is False


def test_options_keep_their_order_and_whether_they_are_hidden(client) -> None:
    assert make(client, "contacts", "enumeration", "select").json()["options"] == OPTIONS


def test_patched_options_replace_the_list_and_their_details(client) -> None:
    make(client, "contacts", "enumeration", "select")
    new = {"label": "New", "value": "new", "displayOrder": 1, "hidden": False, "description": ""}
    assert patch(client, "contacts", {"options": [OPTIONS[0], new]}).json()["options"] == [OPTIONS[0], new]


@pytest.mark.parametrize(
    "options",
    [
        [],
        [{"label": "A"}],
        [{"value": "a"}],
        [{"label": "A", "value": "a"}, {"label": "B", "value": "a"}],
        [{"label": "A", "value": "a"}, {"label": "A", "value": "b"}],
    ],
)
def test_choice_without_proper_options_is_refused(client, options: list[dict[str, str]]) -> None:
    assert make(client, "companies", "enumeration", "select", options=options).status_code == 400
    assert client.get("/crm/v3/properties/companies/extra").status_code == 404


def test_value_that_is_no_option_is_refused(client) -> None:
    make(client, "companies", "enumeration", "checkbox")
    answer = client.post("/crm/v3/objects/companies", {"properties": {"name": "x", "extra": "hot;cold"}})
    assert answer.json()["errors"][0]["code"] == "INVALID_OPTION"


def test_definition_has_the_keys_of_the_official_example(client) -> None:
    if not EXAMPLES.exists():
        pytest.skip("needs the official examples")
    official = json.loads((EXAMPLES / "properties_read_enumeration_response.json").read_text())
    made = make(client, "contacts", "enumeration", "select").json()
    assert official.keys() <= made.keys()
    assert official["options"][0].keys() == made["options"][0].keys()
