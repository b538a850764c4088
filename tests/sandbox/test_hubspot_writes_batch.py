"""HubSpot on the wire: records written up to 100 at a time, and the lock that bursts bring about."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.sandbox.hubspot_wire import Client, starting

DEALS, CONTACTS = "/crm/v3/objects/deals", "/crm/v3/objects/contacts"
NEW = {"dealname": "New deal", "dealstage": "contractsent"}


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    with starting() as start:
        yield start


@pytest.fixture
def client(up: Callable[..., Client]) -> Client:
    return up()


def batch(client: Client, what: str, inputs: list[dict[str, Any]], path: str = DEALS) -> requests.Response:
    return client.post(f"{path}/batch/{what}", {"inputs": inputs})


def new(number: int, **more: Any) -> dict[str, Any]:
    return {"properties": {**NEW, "crmkit_uid": f"src:{number}"}, **more}


def keyed(number: int, **properties: str) -> dict[str, Any]:
    return {"id": f"src:{number}", "idProperty": "crmkit_uid", "properties": properties}


def keys(answer: requests.Response) -> list[str]:
    return [one["properties"]["crmkit_uid"] for one in answer.json()["results"]]


class TestCreate:
    def test_results_are_not_in_the_order_of_the_inputs(self, client: Client) -> None:
        answer = batch(client, "create", [new(1), new(2), new(3)])
        assert answer.status_code == 201
        assert answer.json()["status"] == "COMPLETE"
        assert keys(answer) == ["src:3", "src:2", "src:1"]
        assert not {"numErrors", "errors"} & answer.json().keys()

    def test_links_come_with_the_records(self, client: Client) -> None:
        contact = next(iter(client.world.contacts))
        types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}]
        answer = batch(client, "create", [new(1, associations=[{"to": {"id": contact}, "types": types}])])
        assert client.world.deals[answer.json()["results"][0]["id"]].contact_ids == (contact,)

    def test_without_trace_ids_one_bad_input_fails_all(self, client: Client) -> None:
        before = len(client.world.deals)
        answer = batch(client, "create", [new(1), {"properties": {**NEW, "amount": "x"}}])
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["context"] == {"propertyName": ["amount"]}
        assert len(client.world.deals) == before

    def test_a_conflict_fails_all_with_its_own_status(self, client: Client) -> None:
        client.post(CONTACTS, {"properties": {"email": "ada@example.net"}})
        inputs = [{"properties": {"email": email}} for email in ("bob@example.net", "ada@example.net")]
        assert batch(client, "create", inputs, CONTACTS).status_code == 409
        assert client.get(f"{CONTACTS}/bob@example.net", idProperty="email").status_code == 404

    def test_with_trace_ids_each_input_stands_alone(self, client: Client) -> None:
        good, bad = (
            new(1, objectWriteTraceId="a"),
            {"properties": {"missing": "1"}, "objectWriteTraceId": "b"},
        )
        answer = batch(client, "create", [good, bad])
        assert answer.status_code == 207
        assert keys(answer) == ["src:1"]
        told = answer.json()
        assert told["numErrors"] == 1
        assert told["errors"][0]["context"] == {"objectWriteTraceId": ["b"]}
        assert told["errors"][0]["category"] == "VALIDATION_ERROR"
        assert "PROPERTY_DOESNT_EXIST" in told["errors"][0]["message"]

    def test_trace_ids_count_only_if_every_input_has_its_own(self, client: Client) -> None:
        bad = {"properties": {"missing": "1"}}
        inputs = [new(1, objectWriteTraceId="a"), {**bad, "objectWriteTraceId": "a"}]
        assert batch(client, "create", inputs).status_code == 400

    def test_two_inputs_with_one_unique_value_clash(self, client: Client) -> None:
        assert batch(client, "create", [new(1), new(1)]).status_code == 400
        inputs = [new(1, objectWriteTraceId="a"), new(1, objectWriteTraceId="b")]
        answer = batch(client, "create", inputs)
        assert (answer.status_code, keys(answer)) == (207, ["src:1"])

    def test_more_than_a_hundred_are_refused(self, client: Client) -> None:
        assert batch(client, "create", [new(number) for number in range(101)]).status_code == 400

    def test_a_body_without_inputs_is_refused(self, client: Client) -> None:
        answer = client.post(f"{DEALS}/batch/create", {})
        assert answer.status_code == 400
        assert "Some required fields were not set: [inputs]" in answer.json()["message"]


class TestUpdate:
    def test_records_are_named_by_id_or_by_a_unique_value(self, client: Client) -> None:
        first = batch(client, "create", [new(1), new(2)]).json()["results"][1]["id"]
        inputs = [{"id": first, "properties": {"amount": "1"}}, keyed(2, amount="2")]
        answer = batch(client, "update", inputs)
        assert answer.status_code == 200
        assert [one["properties"]["amount"] for one in answer.json()["results"]] == ["2", "1"]

    def test_ids_that_do_not_exist_are_told_beside_the_rest(self, client: Client) -> None:
        batch(client, "create", [new(1)])
        answer = batch(client, "update", [keyed(1, amount="1"), {"id": "99", "properties": {"amount": "1"}}])
        assert answer.status_code == 207
        assert answer.json()["errors"][0]["context"] == {"ids": ["99"]}
        assert len(answer.json()["results"]) == 1

    def test_the_id_of_a_merged_deal_is_passed_over_without_a_word(self, client: Client) -> None:
        winner, loser = (one["id"] for one in batch(client, "create", [new(1), new(2)]).json()["results"])
        client.world.merge_deals(loser, winner)
        answer = batch(client, "update", [{"id": loser, "properties": {"amount": "1"}}])
        assert (answer.status_code, answer.json()["results"]) == (200, [])

    def test_two_inputs_for_one_record_fail_all(self, client: Client) -> None:
        made = batch(client, "create", [new(1)]).json()["results"][0]["id"]
        inputs = [{"id": made, "properties": {"amount": "1"}}, keyed(1, amount="2")]
        assert batch(client, "update", inputs).status_code == 400
        assert client.world.deals[made].amount is None

    @pytest.mark.parametrize("name", ["hs_object_id", "email"])
    def test_contacts_are_not_updated_by_email(self, client: Client, name: str) -> None:
        inputs = [{"id": "x@example.net", "idProperty": name, "properties": {"firstname": "X"}}]
        answer = batch(client, "update", inputs, CONTACTS)
        assert answer.status_code == 400
        assert answer.json()["message"] == (
            f"Unable to perform update/upsert by non-unique 0-1 property {name} in portal ID 21939747"
        )


class TestUpsert:
    def test_new_tells_what_was_made(self, client: Client) -> None:
        batch(client, "create", [new(1)])
        answer = batch(client, "upsert", [keyed(1, amount="1"), keyed(2, **NEW)])
        assert answer.status_code == 200
        told = {one["properties"]["crmkit_uid"]: one["new"] for one in answer.json()["results"]}
        assert told == {"src:1": False, "src:2": True}

    def test_a_repeat_makes_nothing_new(self, client: Client) -> None:
        first = batch(client, "upsert", [keyed(1, **NEW)]).json()["results"][0]
        again = batch(client, "upsert", [keyed(1, **NEW)]).json()["results"][0]
        assert (first["id"], again["new"]) == (again["id"], False)

    def test_contacts_can_be_upserted_by_email(self, client: Client) -> None:
        inputs = [{"id": "luke@example.net", "idProperty": "email", "properties": {"phone": "5555555555"}}]
        told = batch(client, "upsert", inputs, CONTACTS).json()["results"][0]
        assert told["properties"]["email"] == "luke@example.net"

    def test_links_that_come_along_are_ignored(self, client: Client) -> None:
        contact = next(iter(client.world.contacts))
        types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}]
        said = {**keyed(1, **NEW), "associations": [{"to": {"id": contact}, "types": types}]}
        made = batch(client, "upsert", [said]).json()["results"][0]["id"]
        assert client.world.deals[made].contact_ids == ()

    def test_what_would_be_new_needs_what_is_required(self, client: Client) -> None:
        assert batch(client, "upsert", [keyed(1, amount="1")]).status_code == 400

    @pytest.mark.parametrize("name", [None, "hs_object_id", "dealname"])
    def test_only_a_unique_property_will_do(self, client: Client, name: str | None) -> None:
        said = {"id": "1", "properties": NEW} | ({"idProperty": name} if name else {})
        answer = batch(client, "upsert", [said])
        assert answer.status_code == 400
        assert "non-unique 0-3 property" in answer.json()["message"]

    def test_two_inputs_with_one_key_fail_all(self, client: Client) -> None:
        assert batch(client, "upsert", [keyed(1, **NEW), keyed(1, **NEW)]).status_code == 400


def test_a_batch_is_archived_and_unknown_ids_are_passed_over(client: Client) -> None:
    ids = [one["id"] for one in batch(client, "create", [new(1), new(2)]).json()["results"]]
    answer = batch(client, "archive", [{"id": one} for one in (*ids, "99")])
    assert (answer.status_code, answer.content) == (204, b"")
    assert not set(ids) & set(client.world.deals)


def test_the_archive_may_hold_a_value_twice_once_it_is_free_again(client: Client) -> None:
    for _ in range(2):
        made = batch(client, "create", [new(1)]).json()["results"][0]["id"]
        batch(client, "archive", [{"id": made}])
    archived = client.walk(DEALS, archived="true", properties="crmkit_uid", limit=100)
    assert [one["properties"]["crmkit_uid"] for one in archived].count("src:1") == 2


class TestLock:
    def test_a_burst_of_batches_locks_writes_for_two_seconds(self, up: Callable[..., Client]) -> None:
        client = up(limits="real")
        statuses = [batch(client, "archive", [{"id": "99"}]).status_code for _ in range(11)]
        assert statuses == [204] * 10 + [423]
        assert client.post(DEALS, {"properties": NEW}).status_code == 423
        assert client.get(DEALS).status_code == 200
        client.world.clock.advance(2)
        assert client.post(DEALS, {"properties": NEW}).status_code == 201

    def test_without_limits_there_is_no_lock(self, client: Client) -> None:
        assert {batch(client, "archive", [{"id": "99"}]).status_code for _ in range(30)} == {204}


def test_ten_thousand_deals_are_written_in_no_time(up: Callable[..., Client]) -> None:
    client = up(deals=5)
    start = time.process_time()
    for first in range(0, 10_000, 100):
        assert batch(client, "create", [new(number) for number in range(first, first + 100)]).ok
    # Server and client in one process; generous, so that a busy machine does not fail it.
    assert time.process_time() - start < 5
