"""Custom fields of every type on deals, companies and contacts of the Bitrix24 sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crmkit.sandbox.bitrix24 import Bitrix24App
from crmkit.sandbox.server import Sandbox
from tests.sandbox.bitrix24_wire import Webhook

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "bitrix24" / "examples"
TYPES = {"deal": 2, "contact": 3, "company": 4}
LABELS = ["Grün, rot", 'Say "hi" 🎉', "𝔘𝔫𝔦", "<b>&"]
# What is written, and how `crm.item.*` shows it.
VALUES: dict[str, tuple[Any, Any]] = {
    "string": ("Long 🎯\n" * 200 + "end", "Long 🎯\n" * 200 + "end"),
    "url": ("https://example.org/a?b=c", "https://example.org/a?b=c"),
    "integer": ("-7", -7),
    "double": ("12.5", 12.5),
    "boolean": ("Y", "Y"),
    "money": ("300.00|USD", "300.00|USD"),
}


@pytest.fixture
def portal() -> Iterator[Webhook]:
    with Sandbox.up(["bitrix24"], deals=20, limits="off", now=NOW) as box:
        app = box["bitrix24"]
        assert isinstance(app, Bitrix24App)
        webhook = Webhook(app)
        yield webhook
        webhook.session.close()
        assert app.crashes == []


def described(portal: Webhook, kind: str, upper_name: str) -> tuple[str, dict[str, Any]]:
    fields = portal.call("crm.item.fields", entityTypeId=TYPES[kind])["fields"]
    return next((name, one) for name, one in fields.items() if one["upperName"] == upper_name)


def some_id(portal: Webhook, kind: str) -> int:
    items = portal.call("crm.item.list", entityTypeId=TYPES[kind], select=["id"])["items"]
    return int(items[0]["id"])


def written(portal: Webhook, kind: str, native: int, name: str, value: Any) -> Any:
    item = portal.call("crm.item.update", entityTypeId=TYPES[kind], id=native, fields={name: value})["item"]
    shown = portal.call("crm.item.get", entityTypeId=TYPES[kind], id=native)["item"]
    assert item[name] == shown[name]
    return shown[name]


@pytest.mark.parametrize("kind", TYPES)
def test_values_of_every_type_read_back(portal: Webhook, kind: str) -> None:
    native = some_id(portal, kind)
    for type_, (value, shown) in VALUES.items():
        name = f"NEW_{type_.upper()}"
        said = {"FIELD_NAME": name, "USER_TYPE_ID": type_, "LABEL": f"New {type_} 🌍"}
        assert isinstance(portal.call(f"crm.{kind}.userfield.add", fields=said), int)
        wire, one = described(portal, kind, f"UF_CRM_{name}")
        assert (one["type"], one["title"], one["isDynamic"], one["isMultiple"]) == (
            *(type_, f"New {type_} 🌍", True, False),
        )
        assert written(portal, kind, native, wire, value) == shown


@pytest.mark.parametrize("kind", TYPES)
def test_days_and_times_read_back_with_the_servers_offset(portal: Webhook, kind: str) -> None:
    native = some_id(portal, kind)
    for type_, value, begins in (
        ("date", "2019-02-28", "2019-02-28T"),
        ("datetime", "2021-07-01T22:59:58+00:00", None),
    ):
        said = {"FIELD_NAME": type_.upper(), "USER_TYPE_ID": type_, "LABEL": type_}
        portal.call(f"crm.{kind}.userfield.add", fields=said)
        wire, _ = described(portal, kind, f"UF_CRM_{type_.upper()}")
        shown = written(portal, kind, native, wire, value)
        if begins:
            assert shown.startswith(begins)
        else:
            assert datetime.fromisoformat(shown) == datetime.fromisoformat(value)


@pytest.mark.parametrize("kind", TYPES)
def test_options_keep_their_labels_and_are_held_by_id(portal: Webhook, kind: str) -> None:
    native = some_id(portal, kind)
    for multiple in "NY":
        name = f"LIST_{multiple}"
        said = {
            "FIELD_NAME": name,
            "USER_TYPE_ID": "enumeration",
            "LABEL": name,
            "MULTIPLE": multiple,
            "LIST": [{"VALUE": label} for label in LABELS],
        }
        portal.call(f"crm.{kind}.userfield.add", fields=said)
        wire, one = described(portal, kind, f"UF_CRM_{name}")
        assert [item["VALUE"] for item in one["items"]] == LABELS
        ids = [str(item["ID"]) for item in one["items"]]
        value: Any = [ids[0], ids[2]] if multiple == "Y" else ids[1]
        shown = written(portal, kind, native, wire, value)
        assert ([str(each) for each in shown] if multiple == "Y" else str(shown)) == value


@pytest.mark.parametrize("kind", TYPES)
def test_settings_are_kept_and_told(portal: Webhook, kind: str) -> None:
    said = {"FIELD_NAME": "N", "USER_TYPE_ID": "double", "LABEL": "N", "SETTINGS": {"PRECISION": 6}}
    native = portal.call(f"crm.{kind}.userfield.add", fields=said)
    assert portal.call(f"crm.{kind}.userfield.get", id=native)["SETTINGS"] == {"PRECISION": 6}
    assert described(portal, kind, "UF_CRM_N")[1]["settings"] == {"PRECISION": 6}
    portal.call(f"crm.{kind}.userfield.update", id=native, fields={"SETTINGS": {"PRECISION": 2}})
    assert portal.call(f"crm.{kind}.userfield.get", id=native)["SETTINGS"] == {"PRECISION": 2}


@pytest.mark.parametrize("kind", TYPES)
def test_a_name_is_taken_once_per_kind(portal: Webhook, kind: str) -> None:
    said = {"FIELD_NAME": "ONCE", "USER_TYPE_ID": "string", "LABEL": "Once"}
    portal.call(f"crm.{kind}.userfield.add", fields=said)
    status, code, text = portal.refused(f"crm.{kind}.userfield.add", fields=said)
    assert (status, code) == (400, "")
    assert "already exists" in text


def test_the_official_create_is_understood(portal: Webhook) -> None:
    path = EXAMPLES / "crm.deal.userfield.add.request.2.json"
    if not path.exists():
        pytest.skip("the official examples are not here")
    said = json.loads(path.read_text())
    portal.call("crm.deal.userfield.add", **said)
    _, one = described(portal, "deal", "UF_CRM_ENUMERATION_EXAMPLE")
    assert one["title"] == said["fields"]["LABEL"]
    assert [item["VALUE"] for item in one["items"]] == [item["VALUE"] for item in said["fields"]["LIST"]]
