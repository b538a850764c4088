"""Close's own Python client writes to the sandbox and reads it back; only its address is changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crmkit.sandbox.close import CloseApp
from crmkit.sandbox.server import Sandbox

closeio_api = pytest.importorskip(
    "closeio_api", reason="closeio is not installed: pip install crmkit[clients]"
)


@pytest.fixture(scope="module")
def app() -> Iterator[CloseApp]:
    with Sandbox.up(["close"], deals=40, limits="off") as box:
        app = box["close"]
        assert isinstance(app, CloseApp)
        yield app
        assert app.crashes == []


@pytest.fixture
def client(app: CloseApp) -> Iterator[Any]:
    """https://github.com/closeio/closeio-api"""
    api = closeio_api.Client(app.credentials["api_key"], tz_offset="-4")
    api.base_url = f"{app.base_url}/"
    yield api
    api.session.close()


@pytest.fixture
def lead(client: Any) -> Any:
    return client.post("lead", {"name": "Brand New Lead", "contacts": [{"name": "Gob"}]})


def test_a_deal_is_created_changed_and_deleted(client: Any, lead: Any) -> None:
    said = {"lead_id": lead["id"], "value": 50000, "value_period": "annual", "note": "hope", "confidence": 20}
    made = client.post("opportunity", said)
    assert client.get(f"opportunity/{made['id']}").items() >= said.items()
    changed = client.put(f"opportunity/{made['id']}", {"value": 60000, "contact_id": lead["contact_ids"][0]})
    assert (changed["value"], changed["contact_name"]) == (60000, "Gob")
    assert client.delete(f"opportunity/{made['id']}") == {}
    with pytest.raises(closeio_api.APIError):
        client.get(f"opportunity/{made['id']}")


def test_a_key_field_is_made_and_finds_the_deal(client: Any, lead: Any) -> None:
    field = client.post("custom_field/opportunity", {"name": "key", "type": "text"})
    key = f"custom.{field['id']}"
    made = client.post("opportunity", {"lead_id": lead["id"], key: "src:1"})
    rows = client.get("opportunity", params={"lead_id": lead["id"], "_fields": "id,custom"})["data"]
    assert rows == [{"id": made["id"], key: "src:1"}]


def test_a_refused_value_is_a_validation_error_with_its_field(client: Any, lead: Any) -> None:
    with pytest.raises(closeio_api.ValidationError) as caught:
        client.post("opportunity", {"lead_id": lead["id"], "confidence": 101})
    assert list(caught.value.field_errors) == ["confidence"]


def test_leads_are_changed_merged_and_deleted(app: CloseApp, client: Any, lead: Any) -> None:
    other = client.post("lead", {"name": "Twin"})
    assert client.put(f"lead/{other['id']}", {"name": "Other"})["name"] == "Other"
    merged = client.post("lead/merge", {"source": other["id"], "destination": lead["id"]})
    assert merged == {"status": "ok"}
    assert client.delete(f"lead/{lead['id']}") == {}
    assert {lead["id"], other["id"]}.isdisjoint(app.world.companies)


def test_notes_are_written(client: Any, lead: Any) -> None:
    made = client.post("activity/note", {"lead_id": lead["id"], "note": "hello"})
    assert client.get("activity/note", params={"lead_id": lead["id"]})["data"] == [made]


def test_pipelines_are_cloned_as_its_scripts_do(client: Any) -> None:
    source = client.get("pipeline")["data"][1]
    made = client.post("pipeline", {"name": "Clone", "statuses": source["statuses"]})
    assert [row["label"] for row in made["statuses"]] == [row["label"] for row in source["statuses"]]
    for row in made["statuses"]:
        client.delete(f"status/opportunity/{row['id']}")
    assert client.delete(f"pipeline/{made['id']}") == ""
