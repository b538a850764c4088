"""HubSpot on the wire: pipelines, stages, properties and groups that are made, changed and archived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.sandbox.hubspot_wire import Client, starting

PIPELINES, PROPERTIES = "/crm/v3/pipelines/deals", "/crm/v3/properties/deals"
DEALS = "/crm/v3/objects/deals"
STAGES = [
    {"label": "In Progress", "metadata": {"probability": "0.2"}, "displayOrder": 0},
    {"label": "Closed Won", "metadata": {"probability": "1.0"}, "displayOrder": 1},
    {"label": "Closed Lost", "metadata": {"probability": "0.0"}, "displayOrder": 2},
]
NEW = {"displayOrder": 9, "label": "New deal pipeline", "stages": STAGES}
KEY = {
    "groupName": "dealinformation",
    "name": "system_a_unique",
    "label": "Unique ID for System A",
    "hasUniqueValue": True,
    "type": "string",
    "fieldType": "text",
}


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    with starting() as start:
        yield start


@pytest.fixture
def client(up: Callable[..., Client]) -> Client:
    return up()


def call(client: Client, method: str, path: str, content: Any = None, **params: str) -> requests.Response:
    return client.session.request(method, client.app.base_url + path, json=content, params=params, timeout=5)


class TestPipelines:
    def test_a_new_pipeline_takes_deals(self, client: Client) -> None:
        answer = client.post(PIPELINES, NEW)
        assert answer.status_code == 201
        made = answer.json()
        assert [(one["label"], one["metadata"]) for one in made["stages"]] == [
            ("In Progress", {"isClosed": "false", "probability": "0.2"}),
            ("Closed Won", {"isClosed": "true", "probability": "1.0"}),
            ("Closed Lost", {"isClosed": "true", "probability": "0.0"}),
        ]
        assert client.get(f"{PIPELINES}/{made['id']}").json() == made
        said = {"dealname": "x", "pipeline": made["id"], "dealstage": made["stages"][1]["id"]}
        deal = client.post(DEALS, {"properties": said}).json()
        assert deal["properties"]["hs_is_closed_won"] == "true"

    def test_ids_can_be_chosen(self, client: Client) -> None:
        stages = [{**STAGES[0], "stageId": "first"}]
        made = client.post(PIPELINES, {**NEW, "pipelineId": "mine", "stages": stages}).json()
        assert (made["id"], made["stages"][0]["id"]) == ("mine", "first")

    @pytest.mark.parametrize(
        "change",
        [
            {"label": "Sales Pipeline"},
            {"label": ""},
            {"stages": []},
            {"stages": [STAGES[0], STAGES[0]]},
            {"stages": [{"label": "x", "displayOrder": 0, "metadata": {}}]},
            {"stages": [{"label": "x", "displayOrder": 0, "metadata": {"probability": "0.25"}}]},
            {"stages": [{**STAGES[0], "stageId": "closedwon"}]},
            {"pipelineId": "default"},
        ],
    )
    def test_what_does_not_fit_is_refused(self, client: Client, change: dict[str, Any]) -> None:
        before = len(client.world.pipelines)
        assert client.post(PIPELINES, {**NEW, **change}).status_code == 400
        assert len(client.world.pipelines) == before

    def test_an_account_has_at_most_fifteen(self, client: Client) -> None:
        statuses = [client.post(PIPELINES, {**NEW, "label": str(one)}).status_code for one in range(12)]
        assert statuses == [201] * 11 + [400]

    def test_label_and_place_are_patched(self, client: Client) -> None:
        client.world.clock.advance(60)
        answer = call(client, "PATCH", f"{PIPELINES}/default", {"label": "Renamed", "displayOrder": 7})
        told = answer.json()
        assert (told["label"], told["displayOrder"], told["updatedAt"]) == (
            "Renamed",
            7,
            "2026-06-01T12:01:00Z",
        )

    def test_replacing_drops_the_stages_that_are_left_out(self, client: Client) -> None:
        stages = [{**STAGES[0], "stageId": "contractsent"}, STAGES[1]]
        said = {"label": "Sales Pipeline", "displayOrder": 0, "stages": stages}
        told = call(client, "PUT", f"{PIPELINES}/default", said).json()
        assert [one["label"] for one in told["stages"]] == ["In Progress", "Closed Won"]
        assert told["stages"][0]["id"] == "contractsent"

    def test_an_archived_pipeline_can_be_restored(self, client: Client) -> None:
        path = f"{PIPELINES}/{client.post(PIPELINES, NEW).json()['id']}"
        assert call(client, "DELETE", path).status_code == 204
        assert client.get(path).status_code == 404
        assert call(client, "PATCH", path, {"archived": True}).status_code == 400
        assert call(client, "PATCH", path, {"archived": False}).status_code == 200
        assert client.get(path).status_code == 200

    def test_use_is_looked_at_when_asked_for(self, client: Client) -> None:
        deal = client.world.create_deal(name="x", pipeline_id="default", stage_id="contractsent")
        path = f"{PIPELINES}/default/stages/contractsent"
        refused = call(client, "DELETE", path, validateReferencesBeforeDelete="true")
        assert refused.status_code == 400
        told = refused.json()
        assert told["subCategory"] == "PipelineError.STAGE_ID_IN_USE"
        assert told["context"]["stageIds"] == ["[contractsent]"]
        assert deal.id in told["context"]["objectIds"][0]
        assert call(client, "DELETE", path).status_code == 204

    def test_2026_09_looks_at_use_unless_told_not_to(self, client: Client) -> None:
        client.world.create_deal(name="x", pipeline_id="default", stage_id="contractsent")
        path = "/crm/pipelines/2026-09/deals/default"
        assert call(client, "DELETE", path).status_code == 400
        off = {
            "validateReferencesBeforeDelete": "false",
            "validateDealStageUsagesBeforeDelete": "false",
        }
        assert call(client, "DELETE", path, **off).status_code == 204

    def test_a_deal_in_a_stage_that_is_gone_can_still_be_read_and_moved(self, client: Client) -> None:
        deal = client.world.create_deal(name="x", pipeline_id="default", stage_id="contractsent")
        call(client, "DELETE", f"{PIPELINES}/default/stages/contractsent")
        assert client.get(f"{DEALS}/{deal.id}").json()["properties"]["dealstage"] == "contractsent"
        said = {"properties": {"dealstage": "qualifiedtobuy"}}
        assert call(client, "PATCH", f"{DEALS}/{deal.id}", said).status_code == 200

    def test_a_stage_is_added_changed_and_renamed(self, client: Client) -> None:
        said = {"label": "Verbal OK", "displayOrder": 5, "metadata": {"probability": 0.9}}
        answer = client.post(f"{PIPELINES}/default/stages", said)
        assert answer.status_code == 201
        path = f"{PIPELINES}/default/stages/{answer.json()['id']}"
        told = call(client, "PATCH", path, {"label": "Signed", "metadata": {"probability": "1.0"}}).json()
        assert (told["label"], told["metadata"]["isClosed"]) == ("Signed", "true")
        assert client.post(f"{PIPELINES}/default/stages", {**said, "label": "Signed"}).status_code == 400
        assert call(client, "PUT", path, {"label": "x"}).status_code == 400

    def test_the_scope_of_schemas_is_needed(self, up: Callable[..., Client]) -> None:
        client = up(extra={"missing_scopes": ["crm.schemas.deals.write"]})
        assert client.post(PIPELINES, NEW).status_code == 403
        assert client.post(PROPERTIES, KEY).status_code == 403


class TestProperties:
    def test_the_key_property_is_made_and_used(self, up: Callable[..., Client]) -> None:
        client = up(extra={"no_key_field": True})
        said = {**KEY, "name": "crmkit_uid"}
        answer = client.post(PROPERTIES, said)
        assert answer.status_code == 201
        assert said.items() <= answer.json().items()
        assert client.get(f"{PROPERTIES}/crmkit_uid").json()["hasUniqueValue"] is True
        upsert = {
            "id": "src:1",
            "idProperty": "crmkit_uid",
            "properties": {"dealname": "x", "dealstage": "closedwon"},
        }
        told = client.post(f"{DEALS}/batch/upsert", {"inputs": [upsert]}).json()["results"][0]
        assert (told["new"], told["properties"]["crmkit_uid"]) == (True, "src:1")

    def test_a_name_that_exists_is_a_conflict(self, client: Client) -> None:
        answer = client.post(PROPERTIES, {**KEY, "name": "dealname"})
        assert answer.status_code == 409
        assert answer.json()["category"] == "OBJECT_ALREADY_EXISTS"
        assert answer.json()["subCategory"] == "Properties.PROPERTY_WITH_NAME_EXISTS"

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "Upper"},
            {"name": ""},
            {"fieldType": "number"},
            {"groupName": "nonesuch"},
            {"type": "bool", "fieldType": "booleancheckbox"},
        ],
    )
    def test_what_does_not_fit_is_refused(self, client: Client, change: dict[str, str]) -> None:
        assert client.post(PROPERTIES, {**KEY, **change}).status_code == 400

    def test_an_object_has_at_most_ten_unique_properties(self, client: Client) -> None:
        statuses = [client.post(PROPERTIES, {**KEY, "name": f"key_{one}"}).status_code for one in range(10)]
        assert statuses == [201] * 9 + [400]  # one is there from the start

    def test_an_archived_property_is_unseen_until_its_name_is_made_again(self, client: Client) -> None:
        client.post(PROPERTIES, KEY)
        said = {"dealname": "x", "dealstage": "closedwon", "system_a_unique": "1"}
        deal = client.post(DEALS, {"properties": said}).json()["id"]
        assert call(client, "DELETE", f"{PROPERTIES}/system_a_unique").status_code == 204
        assert client.get(f"{PROPERTIES}/system_a_unique").status_code == 404
        archived = client.get(PROPERTIES, archived="true").json()["results"]
        assert [(one["name"], one["archived"]) for one in archived] == [("system_a_unique", True)]
        assert client.post(PROPERTIES, KEY).status_code == 201
        read = client.get(f"{DEALS}/{deal}", properties="system_a_unique").json()["properties"]
        assert read["system_a_unique"] == "1"

    def test_options_are_replaced_whole_and_kept_if_absent(self, client: Client) -> None:
        two = [{"label": label, "value": label.lower(), "hidden": False} for label in ("One", "Two")]
        said = {
            **KEY,
            "hasUniqueValue": False,
            "name": "choice",
            "type": "enumeration",
            "fieldType": "select",
        }
        client.post(PROPERTIES, {**said, "options": two})
        path = f"{PROPERTIES}/choice"
        kept = call(client, "PATCH", path, {"label": "Choice"}).json()
        assert [one["value"] for one in kept["options"]] == ["one", "two"]
        left = call(client, "PATCH", path, {"options": two[:1]}).json()
        assert (left["label"], [one["value"] for one in left["options"]]) == ("Choice", ["one"])

    def test_a_moment_can_be_a_property(self, client: Client) -> None:
        said = {**KEY, "hasUniqueValue": False, "name": "signed_at", "type": "datetime", "fieldType": "date"}
        client.post(PROPERTIES, said)
        deal = {"dealname": "x", "dealstage": "closedwon", "signed_at": "2026-05-01T10:00:00.250Z"}
        told = client.post(DEALS, {"properties": deal}).json()["properties"]
        assert told["signed_at"] == "2026-05-01T10:00:00.250Z"

    def test_hubspots_own_properties_stay(self, client: Client) -> None:
        assert call(client, "DELETE", f"{PROPERTIES}/dealname").status_code == 400
        assert call(client, "PATCH", f"{PROPERTIES}/nonesuch", {"label": "x"}).status_code == 404

    def test_a_batch_tells_what_failed(self, client: Client) -> None:
        answer = client.post(f"{PROPERTIES}/batch/create", {"inputs": [KEY, {**KEY, "name": "dealname"}]})
        assert answer.status_code == 207
        assert [one["name"] for one in answer.json()["results"]] == ["system_a_unique"]
        assert answer.json()["errors"][0]["context"] == {"name": ["dealname"]}
        gone = client.post(f"{PROPERTIES}/batch/archive", {"inputs": [{"name": "system_a_unique"}]})
        assert gone.status_code == 204

    def test_a_group_is_made_filled_and_taken_away(self, client: Client) -> None:
        said = {"name": "mypropertygroup", "label": "My Property Group", "displayOrder": -1}
        answer = client.post(f"{PROPERTIES}/groups", said)
        assert answer.status_code == 201
        assert said.items() <= answer.json().items()
        assert client.post(PROPERTIES, {**KEY, "groupName": "mypropertygroup"}).status_code == 201
        path = f"{PROPERTIES}/groups/mypropertygroup"
        assert call(client, "PATCH", path, {"label": "Other"}).json()["label"] == "Other"
        assert client.get(path).json()["label"] == "Other"
        assert client.post(f"{PROPERTIES}/groups", said).status_code == 409
        assert call(client, "DELETE", path).status_code == 204
        assert client.get(path).status_code == 404
