"""Custom fields of every type on opportunities, leads and contacts of the Close sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.close_wire import Client, starting

LABELS = ["Grün, rot", 'Say "hi" 🎉', "𝔘𝔫𝔦", "<b>&"]
VALUES: dict[str, Any] = {
    "text": "One line – 🎯",
    "textarea": "Long 🎯\n" * 200 + "end",
    "url": "https://example.org/a?b=c",
    "number": -12.5,
    "date": "2019-02-28",
    "datetime": "2021-07-01T22:59:58+00:00",
}
TYPES = ["opportunity", "lead", "contact"]


@pytest.fixture
def close() -> Iterator[Client]:
    with starting() as start:
        yield start()


def a_record(close: Client, object_type: str) -> str:
    made: dict[str, Any] = close.deal() if object_type == "opportunity" else close.lead()
    if object_type == "contact":
        made = close.post("/contact/", {"lead_id": made["id"], "name": "Ada"})
    return f"/{object_type}/{made['id']}/"


def set_and_read(close: Client, path: str, key: str, value: Any) -> Any:
    answer = close.put(path, {key: value})
    shown = close.get(path)
    assert answer.get(key) == shown.get(key)
    return shown.get(key)


@pytest.mark.parametrize("object_type", TYPES)
def test_values_of_every_type_read_back(close: Client, object_type: str) -> None:
    path = a_record(close, object_type)
    for wire, value in VALUES.items():
        made = close.post(f"/custom_field/{object_type}/", {"name": f"New {wire} 🌍", "type": wire})
        assert (made["name"], made["type"], made["choices"]) == (f"New {wire} 🌍", wire, None)
        schema = close.get(f"/custom_field_schema/{object_type}/")["fields"]
        assert {**made, "is_shared": False} in schema
        assert set_and_read(close, path, f"custom.{made['id']}", value) == value
        assert set_and_read(close, path, f"custom.{made['id']}", None) is None


@pytest.mark.parametrize("object_type", TYPES)
def test_choices_are_held_by_their_text(close: Client, object_type: str) -> None:
    path = a_record(close, object_type)
    for several, value in ((False, LABELS[1]), (True, [LABELS[0], LABELS[2]])):
        said = {"name": "x", "type": "choices", "choices": LABELS, "accepts_multiple_values": several}
        made = close.post(f"/custom_field/{object_type}/", said)
        assert said.items() <= made.items()
        assert set_and_read(close, path, f"custom.{made['id']}", value) == value


@pytest.mark.parametrize("object_type", TYPES)
def test_choices_can_be_added_and_values_stay(close: Client, object_type: str) -> None:
    path = a_record(close, object_type)
    said = {"name": "x", "type": "choices", "choices": LABELS}
    made = close.post(f"/custom_field/{object_type}/", said)
    key = f"custom.{made['id']}"
    set_and_read(close, path, key, LABELS[1])
    more = [*LABELS, "Third 🌱"]
    changed = close.put(f"/custom_field/{object_type}/{made['id']}/", {"choices": more})
    assert (changed["id"], changed["choices"]) == (made["id"], more)
    assert close.get(path)[key] == LABELS[1]
    assert set_and_read(close, path, key, "Third 🌱") == "Third 🌱"


def test_two_fields_may_have_one_name(close: Client) -> None:
    said = {"name": "Same", "type": "text"}
    ids = {close.post("/custom_field/lead/", said)["id"] for _ in range(2)}
    listed = [row["id"] for row in close.get("/custom_field/lead/")["data"] if row["name"] == "Same"]
    assert set(listed) == ids
    assert len(ids) == 2


@pytest.mark.parametrize("choices", [None, [], ["a", ""]])
def test_a_field_of_choices_needs_some(close: Client, choices: object) -> None:
    said = {"name": "x", "type": "choices", "choices": choices}
    assert list(close.errors("POST", "/custom_field/contact/", said)) == ["choices"]
