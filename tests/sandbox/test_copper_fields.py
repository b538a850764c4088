"""Custom fields of every type on people, companies and opportunities of the Copper sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.copper_wire import Account, custom, example, set_custom, starting

# 2019-02-28 00:00 in the account's zone, US Pacific.
MIDNIGHT = 1551340800
LABELS = ["Grün, rot", 'Say "hi" 🎉', "𝔘𝔫𝔦", "<b>&"]
VALUES = {
    "String": "x" * 255,
    "Text": "Long 🎯\n" * 200 + "end",
    "URL": "https://example.org/a?b=c",
    "Date": MIDNIGHT,
    "Checkbox": True,
    "Float": -12.5,
    "Percentage": 45,
    "Currency": 1234.56,
}
PLACES = [("opportunity", "opportunities"), ("company", "companies"), ("person", "people")]


@pytest.fixture
def copper() -> Iterator[Account]:
    with starting() as start:
        yield start()


def a_record(copper: Account, entity: str) -> int:
    makers = {"opportunity": lambda: copper.deal()["id"], "company": copper.company, "person": copper.person}
    return int(makers[entity]())


@pytest.mark.parametrize(("entity", "path"), PLACES)
@pytest.mark.parametrize("data_type", VALUES)
def test_a_value_of_a_new_field_reads_back(copper: Account, entity: str, path: str, data_type: str) -> None:
    body = {"name": "New 🌍", "data_type": data_type, "available_on": [entity]}
    made = copper.post("/custom_field_definitions", body)
    assert body.items() <= made.items()
    assert made in copper.get("/custom_field_definitions")
    record = a_record(copper, entity)
    answer = copper.put(f"/{path}/{record}", set_custom(made["id"], VALUES[data_type]))
    assert custom(answer, made["id"]) == VALUES[data_type]
    assert custom(copper.get(f"/{path}/{record}"), made["id"]) == VALUES[data_type]
    [found] = copper.post(f"/{path}/search", {"ids": [record]})
    assert custom(found, made["id"]) == VALUES[data_type]


@pytest.mark.parametrize(("entity", "path"), PLACES)
def test_options_keep_their_labels_and_are_held_by_id(copper: Account, entity: str, path: str) -> None:
    record = a_record(copper, entity)
    for data_type in ("Dropdown", "MultiSelect"):
        body = {"name": data_type, "data_type": data_type, "available_on": [entity]}
        made = copper.post(
            "/custom_field_definitions", {**body, "options": [{"name": label} for label in LABELS]}
        )
        assert [option["name"] for option in made["options"]] == LABELS
        assert [option["rank"] for option in made["options"]] == list(range(len(LABELS)))
        ids = [option["id"] for option in made["options"]]
        value: Any = ids[1] if data_type == "Dropdown" else [ids[0], ids[2]]
        copper.put(f"/{path}/{record}", set_custom(made["id"], value))
        assert custom(copper.get(f"/{path}/{record}"), made["id"]) == value


@pytest.mark.parametrize(("entity", "path"), PLACES)
def test_an_unset_new_field_is_listed_with_the_empty_value_of_its_type(
    copper: Account, entity: str, path: str
) -> None:
    record = a_record(copper, entity)
    options = [{"name": "a"}, {"name": "b"}]
    for data_type, empty in (("String", None), ("MultiSelect", []), ("Checkbox", False)):
        body = {"name": "x", "data_type": data_type, "available_on": [entity], "options": options}
        made = copper.post("/custom_field_definitions", body)
        assert custom(copper.get(f"/{path}/{record}"), made["id"]) == empty


def test_options_named_with_their_ids_stay_and_one_without_is_added(copper: Account) -> None:
    made = copper.post("/custom_field_definitions", example("custom_field_create_dropdown_request"))
    kept = [{"id": option["id"], "name": option["name"]} for option in made["options"]]
    answer = copper.put(f"/custom_field_definitions/{made['id']}", {"options": [*kept, {"name": "Third 🌱"}]})
    assert [option["name"] for option in answer["options"]] == ["Option1", "Option2", "Third 🌱"]
    assert [option["id"] for option in answer["options"]][:2] == [option["id"] for option in kept]


@pytest.mark.parametrize(("data_type", "count"), [("Dropdown", 0), ("MultiSelect", 1)])
def test_too_few_options_are_refused(copper: Account, data_type: str, count: int) -> None:
    body = {"name": "x", "data_type": data_type, "options": [{"name": "a"}] * count}
    assert "Options" in copper.refused("POST", "/custom_field_definitions", body)


def test_a_string_of_more_than_255_characters_is_refused(copper: Account) -> None:
    body = {"name": "x", "data_type": "String", "available_on": ["company"]}
    made = copper.post("/custom_field_definitions", body)
    path = f"/companies/{copper.company()}"
    assert "255" in copper.refused("PUT", path, set_custom(made["id"], "x" * 256))
