"""The Close sandbox lets pipelines, statuses and custom fields be changed as the contract says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.close_wire import Client, Up, starting

EXAMPLES = Path(__file__).parents[3] / "shared/specs/close/examples"


@pytest.fixture
def up() -> Iterator[Up]:
    with starting() as start:
        yield start


@pytest.fixture
def close(up: Up) -> Client:
    return up()


def example(name: str) -> Any:
    path = EXAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no official examples at {EXAMPLES}")
    return json.loads(path.read_text())


class TestPipelines:
    def test_the_official_create_is_201_with_a_location(self, close: Client) -> None:
        answer = close.send("POST", "/pipeline/", example("pipeline_create_request"))
        made = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1/pipeline/{made['id']}/")
        assert made.keys() == example("pipeline_create_response_201").keys()
        assert (made["name"], made["statuses"]) == ("Success", [])
        assert made["date_created"] == "2026-06-01T23:30:00.000000"

    def test_statuses_come_along_and_foreign_ids_are_dropped(self, close: Client) -> None:
        rows = [{"id": "stat_foreign", "label": "New", "type": "active"}, {"label": "Yes", "type": "won"}]
        made = close.post("/pipeline/", {"name": "Clone", "statuses": rows})
        assert [(row["label"], row["type"]) for row in made["statuses"]] == [
            ("New", "active"),
            ("Yes", "won"),
        ]
        assert "stat_foreign" not in [row["id"] for row in made["statuses"]]
        assert close.deal(pipeline_id=made["id"])["status_label"] == "New"

    def test_a_put_renames_and_reorders(self, close: Client) -> None:
        before = close.get("/pipeline/")["data"][0]
        wanted = [{"id": row["id"]} for row in reversed(before["statuses"])]
        after = close.put(f"/pipeline/{before['id']}/", {"name": "Updated Name", "statuses": wanted})
        assert after["name"] == "Updated Name"
        assert after["statuses"] == before["statuses"][::-1]
        assert close.get(f"/pipeline/{before['id']}/") == after

    def test_a_status_of_another_pipeline_moves_here_with_its_deals(self, close: Client) -> None:
        first, second = close.get("/pipeline/")["data"][:2]
        deal = close.deal(pipeline_id=first["id"])
        events = len(close.get("/event/", object_type="opportunity", object_id=deal["id"])["data"])
        after = close.put(f"/pipeline/{second['id']}/", {"statuses": [{"id": deal["status_id"]}]})
        assert after["statuses"][0]["id"] == deal["status_id"]
        moved = close.get(f"/opportunity/{deal['id']}/")
        assert (moved["pipeline_id"], moved["status_id"]) == (second["id"], deal["status_id"])
        assert close.get("/activity/status_change/opportunity/", opportunity_id=deal["id"])["data"] == []
        assert len(close.get("/event/", object_type="opportunity", object_id=deal["id"])["data"]) == events

    def test_an_unknown_status_changes_nothing(self, close: Client) -> None:
        before = close.get("/pipeline/")["data"]
        said = {"name": "x", "statuses": [{"id": "stat_none"}]}
        assert list(close.errors("PUT", f"/pipeline/{before[0]['id']}/", said)) == ["statuses"]
        assert close.get("/pipeline/")["data"] == before

    def test_only_an_empty_one_can_be_deleted_and_that_is_204(self, close: Client) -> None:
        full, empty = close.get("/pipeline/")["data"][0]["id"], close.post("/pipeline/", {"name": "x"})["id"]
        assert close.errors("DELETE", f"/pipeline/{full}/", None) == {}
        answer = close.send("DELETE", f"/pipeline/{empty}/")
        assert (answer.status_code, answer.text) == (204, "")
        assert close.send("GET", f"/pipeline/{empty}/").status_code == 404

    @pytest.mark.parametrize("said", [{}, {"name": ""}, {"name": 5}])
    def test_it_needs_a_name(self, close: Client, said: dict[str, Any]) -> None:
        assert list(close.errors("POST", "/pipeline/", said)) == ["name"]

    def test_a_pipeline_without_statuses_takes_no_deals(self, close: Client) -> None:
        empty = close.post("/pipeline/", {"name": "x"})["id"]
        assert list(close.errors("POST", "/opportunity/", {"pipeline_id": empty})) == ["pipeline"]


class TestStatuses:
    def test_the_official_create_adds_one_at_the_end(self, close: Client) -> None:
        pipeline = close.get("/pipeline/")["data"][0]["id"]
        said = example("status_opportunity_create_request") | {"pipeline_id": pipeline}
        answer = close.send("POST", "/status/opportunity/", said)
        assert answer.status_code == 200
        assert answer.json().items() >= said.items()
        assert close.get(f"/pipeline/{pipeline}/")["statuses"][-1]["id"] == answer.json()["id"]

    def test_everything_is_required(self, close: Client) -> None:
        assert close.errors("POST", "/status/opportunity/", {}).keys() == {"label", "type", "pipeline"}

    def test_renaming_shows_in_its_deals(self, close: Client) -> None:
        deal = close.deal()
        close.put(f"/status/opportunity/{deal['status_id']}/", {"label": "Renamed"})
        assert close.get(f"/opportunity/{deal['id']}/")["status_label"] == "Renamed"

    def test_the_type_is_fixed(self, close: Client) -> None:
        path = f"/status/opportunity/{close.statuses()['won']}/"
        assert list(close.errors("PUT", path, {"label": "x", "type": "lost"})) == ["type"]

    def test_one_in_use_cannot_be_deleted_and_a_former_one_stays_in_histories(self, close: Client) -> None:
        pipeline = close.get("/pipeline/")["data"][0]["id"]
        said = {"label": "Brief", "type": "active", "pipeline_id": pipeline}
        status_id = close.post("/status/opportunity/", said)["id"]
        deal = close.deal(status_id=status_id)
        assert close.errors("DELETE", f"/status/opportunity/{status_id}/", None) == {}
        close.put(f"/opportunity/{deal['id']}/", {"status_id": close.statuses()["won"]})
        assert close.delete(f"/status/opportunity/{status_id}/") == {}
        [step] = close.get("/activity/status_change/opportunity/", opportunity_id=deal["id"])["data"]
        assert step["old_status_label"] == "Brief"
        assert list(close.errors("POST", "/opportunity/", {"status_id": status_id})) == ["status"]


class TestCustomFields:
    def test_the_official_create_is_listed_as_documented(self, close: Client) -> None:
        said = example("custom_field_opportunity_create_request")
        answer = close.send("POST", "/custom_field/opportunity/", said)
        official = example("custom_field_opportunity_list_200")["data"][0]
        assert answer.status_code == 200
        assert official.keys() - answer.json().keys() == set()
        assert answer.json().items() >= said.items()
        assert answer.json() in close.get("/custom_field/opportunity/")["data"]
        assert answer.json()["id"] in [
            row["id"] for row in close.get("/custom_field_schema/opportunity/")["fields"]
        ]

    def test_two_may_have_one_name(self, close: Client) -> None:
        assert close.field(name="Twin") != close.field(name="Twin")

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ({"type": "text"}, "name"),
            ({"name": "x"}, "type"),
            ({"name": "x", "type": "json"}, "type"),
            ({"name": "x", "type": "choices"}, "choices"),
        ],
    )
    def test_what_is_missing_is_told(self, close: Client, said: dict[str, str], told: str) -> None:
        assert list(close.errors("POST", "/custom_field/lead/", said)) == [told]

    def test_new_choices_can_be_written_at_once(self, close: Client) -> None:
        key = close.field("contact", type="choices", choices=["A"])
        path = f"/custom_field/contact/{key.removeprefix('custom.')}/"
        changed = close.put(path, {"name": "Kind", "choices": ["A", "B"]})
        assert (changed["name"], changed["choices"]) == ("Kind", ["A", "B"])
        assert close.post("/contact/", {"name": "x", key: "B"})[key] == "B"

    def test_deleting_erases_its_values(self, close: Client) -> None:
        key = close.field()
        deal = close.deal(**{key: "x"})
        path = f"/custom_field/opportunity/{key.removeprefix('custom.')}/"
        assert close.delete(path) == {}
        assert key not in close.get(f"/opportunity/{deal['id']}/")
        assert list(close.errors("PUT", f"/opportunity/{deal['id']}/", {key: "x"})) == [key]
        assert close.send("DELETE", path).status_code == 404

    def test_only_some_roles_may_edit_a_restricted_one(self, close: Client) -> None:
        key = close.field(editable_with_roles=["role_other"])
        assert list(close.errors("POST", "/opportunity/", {key: "x"})) == [key]


@pytest.mark.parametrize("path", ["/pipeline/", "/status/opportunity/", "/custom_field/opportunity/"])
def test_customizing_needs_a_permission(up: Up, path: str) -> None:
    close = up(extra={"close_lacking": ["manage_customizations"]})
    assert close.send("POST", path, {}).status_code == 403


def test_no_body_of_whatever_shape_makes_the_server_fail(close: Client) -> None:
    lead = close.lead(contacts=[{"name": "x"}])
    deal = close.deal(lead_id=lead["id"])
    several = close.field(type="choices", choices=["A"], accepts_multiple_values=True)
    names = (
        "name type label value confidence note note_html date_won date_created lead_id status status_id "
        "user_id contact_id pipeline_id statuses addresses contacts emails phones urls attachments choices "
        "source destination pinned opportunity_id old_status_id description value_period url title"
    ).split()
    values: list[Any] = [None, "", "x", -1, 1.5, True, [], {}, [1], ["x"], [{}], [{"id": 1}], 10**30]
    values += [[{"url": 5, "phone": 5, "address_1": 5}], "9999-12-31T23:59:59-05:00", "http://[", deal["id"]]
    keys = [*names, several, f"{several}.add", f"{several}.remove", "custom.", "custom.x.y.z"]
    paths = ["opportunity", "lead", "contact", "activity/note", "pipeline", "status/opportunity"]
    paths += ["custom_field/lead", "lead/merge", "activity/status_change/opportunity"]
    singles = [f"opportunity/{deal['id']}", f"lead/{lead['id']}", f"contact/{lead['contact_ids'][0]}"]
    calls = [("POST", path) for path in paths] + [("PUT", path) for path in singles]
    bodies = [dict.fromkeys(keys, value) for value in values]
    sent = [(*call, body) for call in calls for body in bodies]
    sent += [("PUT", singles[0], {key: value}) for key in keys for value in values]
    ahead = {"x-tz-offset": "14"}
    statuses = {close.send(method, f"/{path}/", body, **ahead).status_code for method, path, body in sent}
    assert statuses <= {200, 201, 400, 404}
