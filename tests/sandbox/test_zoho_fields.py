"""Zoho on the wire: custom fields of every type, on deals, accounts and contacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.sandbox.zoho_wire import NEW, Client, starting

PICKS = [{"display_value": label, "actual_value": label} for label in ("🔥 Hot, very", 'The "best"')]
ROWS = {"Deals": NEW, "Accounts": {"Account_Name": "x"}, "Contacts": {"Last_Name": "x"}}
# what is sent beside the label, and a value
VALUES: list[tuple[dict[str, Any], Any]] = [
    ({"data_type": "text", "length": 50}, "a 🚀"),
    ({"data_type": "textarea", "textarea": {"type": "small"}}, "a\nb"),
    ({"data_type": "textarea", "textarea": {"type": "large"}}, "x" * 5000),
    ({"data_type": "double", "length": 16, "decimal_place": 4}, 1234.5678),
    ({"data_type": "percent"}, 12.5),
    ({"data_type": "integer", "length": 9}, 7),
    ({"data_type": "bigint"}, "123456789012"),
    ({"data_type": "currency", "length": 16, "decimal_place": 3}, 99.999),
    ({"data_type": "boolean"}, True),
    ({"data_type": "date"}, "2019-02-28"),
    ({"data_type": "datetime"}, "2019-03-31T04:30:15+03:00"),
    ({"data_type": "email"}, "a@b.example"),
    ({"data_type": "phone"}, "+1 555"),
    ({"data_type": "website"}, "https://a.example"),
    ({"data_type": "picklist", "pick_list_values": PICKS}, PICKS[0]["actual_value"]),
    ({"data_type": "multiselectpicklist", "pick_list_values": PICKS}, [PICKS[1]["actual_value"]]),
]


@pytest.fixture
def client() -> Iterator[Client]:
    with starting() as start:
        start_one: Callable[..., Client] = start
        yield start_one()


def send(client: Client, method: str, module: str, row: Any, native: str = "") -> requests.Response:
    path = f"settings/fields{native and '/' + native}"
    return client.call(method, path, {"fields": [row]}, params={"module": module})


def outcome(answer: requests.Response) -> dict[str, Any]:
    row: dict[str, Any] = answer.json()["fields"][0]
    return row


def shown(client: Client, module: str, native: str) -> dict[str, Any]:
    fields = client.get("settings/fields", module=module).json()["fields"]
    return next(one for one in fields if one["id"] == native)


def make(client: Client, module: str, label: str = "Extra", **said: Any) -> dict[str, Any]:
    answer = send(client, "POST", module, {"field_label": label, **said})
    assert answer.status_code == 201, answer.text
    return shown(client, module, outcome(answer)["details"]["id"])


@pytest.mark.parametrize("module", sorted(ROWS))
@pytest.mark.parametrize(("said", "value"), VALUES)
def test_field_of_each_type_holds_values(client, module: str, said: dict[str, Any], value: Any) -> None:
    field = make(client, module, **said)
    assert (field["data_type"], field["custom_field"]) == (said["data_type"], True)
    answer = client.post(module, {**ROWS[module], field["api_name"]: value}, trigger=[])
    assert answer.status_code == 201, answer.text
    native = answer.json()["data"][0]["details"]["id"]
    assert client.read(f"{module}/{native}")[field["api_name"]] == value
    query = f"select {field['api_name']} from {module} where id = {native}"
    found = client.call("POST", "coql", {"select_query": query}).json()["data"][0]
    assert found[field["api_name"]] == value


@pytest.mark.parametrize(("size", "length"), [("small", 2_000), ("large", 32_000), ("rich_text", 50_000)])
def test_size_of_a_text_area_is_told_and_kept_to(client, size: str, length: int) -> None:
    field = make(client, "Accounts", data_type="textarea", textarea={"type": size})
    assert (field["length"], field["textarea"]) == (length, {"type": size})
    answer = client.post("Accounts", {"Account_Name": "x", field["api_name"]: "x" * (length + 1)})
    assert answer.json()["data"][0]["details"]["maximum_length"] == length


def test_unknown_size_of_a_text_area_is_refused(client) -> None:
    row = {"field_label": "Extra", "data_type": "textarea", "textarea": {"type": "huge"}}
    answer = send(client, "POST", "Accounts", row)
    assert outcome(answer)["details"]["supported_values"] == ["small", "large", "rich_text"]


@pytest.mark.parametrize("places", [0, 4, 9])
def test_decimals_are_told(client, places: int) -> None:
    assert make(client, "Deals", data_type="double", decimal_place=places)["decimal_place"] == places


def test_more_than_nine_decimals_are_refused(client) -> None:
    answer = send(client, "POST", "Deals", {"field_label": "E", "data_type": "double", "decimal_place": 10})
    assert outcome(answer)["code"] == "INVALID_DATA"


def test_currency_tells_how_it_rounds(client) -> None:
    currency = {"rounding_option": "round_off", "precision": "2"}
    field = make(client, "Deals", data_type="currency", decimal_place=3, currency=currency)
    assert field["currency"] == {"rounding_option": "round_off", "precision": 2}


@pytest.mark.parametrize(
    ("values", "code", "name"),
    [
        ([{"display_value": "A"}], "MANDATORY_NOT_FOUND", "actual_value"),
        ([{"actual_value": "A", "display_value": " "}], "MANDATORY_NOT_FOUND", "display_value"),
        ([{"actual_value": "A", "display_value": "x" * 121}], "INVALID_DATA", "display_value"),
        ([PICKS[0], PICKS[0]], "DUPLICATE_DATA", "pick_list_values"),
    ],
)
def test_choice_without_proper_values_is_refused(client, values, code: str, name: str) -> None:
    row = {"field_label": "Extra", "data_type": "picklist", "pick_list_values": values}
    refused = outcome(send(client, "POST", "Contacts", row))
    assert (refused["code"], refused["details"]["api_name"]) == (code, name)


@pytest.mark.parametrize("in_path", [False, True])
def test_values_that_are_added_leave_the_others_their_ids(client, in_path: bool) -> None:
    field = make(client, "Contacts", data_type="picklist", pick_list_values=PICKS)
    native = field["id"]
    before = field["pick_list_values"]
    row = {"id": native, "pick_list_values": [*before, {"display_value": "New", "actual_value": "New"}]}
    answer = send(client, "PATCH", "Contacts", row, native if in_path else "")
    assert answer.status_code == 200
    after = shown(client, "Contacts", native)["pick_list_values"]
    assert [(one["id"], one["actual_value"]) for one in after[:2]] == [
        (one["id"], one["actual_value"]) for one in before
    ]
    assert after[2]["actual_value"] == "New"


@pytest.mark.parametrize("label", ["🔥", "热度", "2nd"])
def test_name_of_a_field_is_of_plain_letters_whatever_its_label(client, label: str) -> None:
    one, two = (
        make(client, "Deals", label, data_type="date"),
        make(client, "Deals", label + "!", data_type="date"),
    )
    assert one["field_label"] == label
    assert one["api_name"] != two["api_name"]
    assert one["api_name"].isascii()
    assert one["api_name"].isidentifier()
