"""Bulks, relations, notes, custom fields and subscriptions of a Copper account, over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from crmkit.sandbox.faults import read_script
from tests.sandbox.copper_wire import Account, custom, example, misses, set_custom, starting

NOTE = {"category": "user", "id": 0}


@pytest.fixture
def up() -> Iterator[Callable[..., Account]]:
    with starting() as start:
        yield start


@pytest.fixture
def copper(up: Callable[..., Account]) -> Account:
    return up()


def resource(kind: str, record_id: int) -> dict[str, Any]:
    return {"resource": {"id": record_id, "type": kind}}


def pairs(rows: list[dict[str, Any]]) -> set[tuple[str, int]]:
    return {(row["type"], row["id"]) for row in rows}


class TestBulks:
    def test_each_record_is_answered_in_order(self, copper: Account) -> None:
        person = copper.person()
        sent = [{"name": f"Bulk {n}", "primary_contact_id": person} for n in range(10)]
        made = copper.post("/opportunities/bulk_create", {"opportunities": sent})
        assert [row["name"] for row in made] == [one["name"] for one in sent]
        assert copper.get(f"/opportunities/{made[3]['id']}") == made[3]

    def test_a_failed_item_has_the_documented_form(self, copper: Account) -> None:
        person = copper.person()
        people = [{"id": person, "emails": ["x"]}, {"id": person, "name": "Grace Hopper"}]
        answer = copper.post("/people/bulk_update", {"people": people})
        official = example("bulk_update_failed_item_response_200")[0]
        failed = {**official, "id": person, "message": {"emails": [{"error": "invalid"}]}}
        assert answer[0] == failed
        assert answer[1]["name"] == "Grace Hopper"

    def test_a_failed_create_has_no_id(self, copper: Account) -> None:
        answer = copper.post("/companies/bulk_create", {"companies": [{}, {"name": "Good"}]})
        assert answer[0] == {"success": False, "message": {"name": [{"error": "blank"}]}}
        assert answer[1]["name"] == "Good"

    def test_the_second_of_two_equal_addresses_fails(self, copper: Account) -> None:
        emails = [{"email": "ada@engines.example", "category": "work"}]
        people = [{"name": "First", "emails": emails}, {"name": "Second", "emails": emails}]
        answer = copper.post("/people/bulk_create", {"people": people})
        assert answer[0]["name"] == "First"
        assert answer[1]["message"] == {"emails": [{"error": "taken"}]}

    def test_an_unknown_id_fails_alone(self, copper: Account) -> None:
        answer = copper.post("/opportunities/bulk_update", {"opportunities": [{"id": 1, "name": "x"}]})
        assert answer == [{"success": False, "message": {"base": [{"error": "not_found"}]}, "id": 1}]

    def test_more_than_ten_are_refused_as_a_whole(self, copper: Account) -> None:
        before = set(copper.world.companies)
        answer = copper.ask("POST", "/companies/bulk_create", {"companies": [{"name": "x"}] * 11})
        assert answer.status_code == 422
        assert answer.json().keys() == {"error"}
        assert "10" in answer.json()["error"]
        assert set(copper.world.companies) == before

    def test_none_is_a_way_to_probe(self, up: Callable[..., Account]) -> None:
        assert up().post("/opportunities/bulk_create", {"opportunities": []}) == []
        without = up(extra={"copper_no_bulk": ["opportunities"]})
        answer = without.ask("POST", "/opportunities/bulk_create", {"opportunities": []})
        assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})

    def test_a_body_without_the_records_is_refused(self, copper: Account) -> None:
        assert copper.refused("POST", "/people/bulk_create", {}) == "Base: people must be an array"

    def test_three_bulks_a_second(self, up: Callable[..., Account]) -> None:
        account = up(limits="real")

        def status() -> int:
            return int(account.ask("POST", "/people/bulk_create", {"people": []}).status_code)

        assert [status() for _ in range(4)] == [200, 200, 200, 429]
        assert account.ask("GET", "/account").status_code == 200
        account.box.clock.advance(1)
        assert status() == 200

    def test_notes_are_created_in_bulk(self, copper: Account) -> None:
        request = example("bulk_create_activities_request")
        request["activities"][0]["parent"]["id"] = copper.person()
        request["activities"].append({"parent": {"type": "person", "id": 1}, "type": NOTE, "details": "x"})
        answer = copper.post("/activities/bulk_create", request)
        assert answer[0]["details"] == request["activities"][0]["details"]
        assert answer[1]["message"] == {"parent": [{"error": "invalid"}]}

    def test_an_answer_cut_short_leaves_all_of_it_written(self, copper: Account) -> None:
        copper.app.faults.script = read_script([{"fault": "truncated", "kind": "write"}])
        with pytest.raises(requests.RequestException):
            copper.post("/companies/bulk_create", {"companies": [{"name": "Cut", "tags": ["cut"]}] * 10})
        assert len(copper.post("/companies/search", {"tags": ["cut"]})) == 10


class TestRelations:
    def test_a_person_is_related_to_a_deal_and_parted_again(self, copper: Account) -> None:
        deal, person = copper.deal(), copper.person()
        copper.box.clock.advance(60)
        path = f"/opportunities/{deal['id']}/related"
        added = copper.post(path, resource("person", person))
        assert added == {"added": True, **resource("person", person)}
        assert pairs(copper.get(f"/people/{person}/related")) == {("opportunity", deal["id"])}
        assert copper.get(f"/opportunities/{deal['id']}") == deal
        removed = copper.call("DELETE", path, resource("person", person))
        assert removed == {"removed": True, **resource("person", person)}
        assert person not in {row["id"] for row in copper.get(f"{path}/people")}

    def test_a_deal_has_more_than_one_company(self, copper: Account) -> None:
        deal = copper.deal(company_id=copper.company())
        second = copper.company(name="Second")
        copper.post(f"/companies/{second}/related", resource("opportunity", deal["id"]))
        path = f"/opportunities/{deal['id']}/related/companies"
        assert pairs(copper.get(path)) == {("company", deal["company_id"]), ("company", second)}
        assert pairs(copper.get(f"/companies/{second}/related")) == {("opportunity", deal["id"])}
        assert copper.get(f"/opportunities/{deal['id']}")["company_id"] == deal["company_id"]
        copper.call("DELETE", f"/opportunities/{deal['id']}/related", resource("company", second))
        assert pairs(copper.get(path)) == {("company", deal["company_id"])}

    def test_relating_sets_no_primary(self, up: Callable[..., Account]) -> None:
        account = up(extra={"copper_contact_optional": True})
        deal = account.post("/opportunities", {"name": "x"})
        person, company = account.person(), account.company()
        for kind, record_id in (("person", person), ("company", company)):
            account.post(f"/opportunities/{deal['id']}/related", resource(kind, record_id))
        assert account.get(f"/opportunities/{deal['id']}") == deal
        related = pairs(account.get(f"/opportunities/{deal['id']}/related"))
        assert related == {("person", person), ("company", company)}

    def test_a_primary_that_is_parted_leaves_its_field_empty(self, copper: Account) -> None:
        deal, person = copper.deal(company_id=copper.company()), copper.person()
        path = f"/opportunities/{deal['id']}/related"
        copper.post(path, resource("person", person))
        copper.call("DELETE", path, resource("person", deal["primary_contact_id"]))
        copper.call("DELETE", path, resource("company", deal["company_id"]))
        read = copper.get(f"/opportunities/{deal['id']}")
        assert (read["primary_contact_id"], read["company_id"]) == (None, None)
        assert pairs(copper.get(path)) == {("person", person)}

    def test_a_person_has_one_company(self, copper: Account) -> None:
        person, first, second = copper.person(), copper.company(), copper.company()
        copper.post(f"/people/{person}/related", resource("company", first))
        assert copper.get(f"/people/{person}")["company_id"] == first
        problem = copper.refused("POST", f"/companies/{second}/related", resource("person", person))
        assert problem == "Base: a person can be related to one company only"

    def test_relating_twice_is_once(self, copper: Account) -> None:
        deal = copper.deal()
        body = resource("person", deal["primary_contact_id"])
        assert copper.post(f"/opportunities/{deal['id']}/related", body)["added"] is True
        assert len(copper.get(f"/opportunities/{deal['id']}/related")) == 1

    @pytest.mark.parametrize(
        ("method", "kind", "problem"),
        [
            ("DELETE", "person", "Base: not related"),
            ("POST", "opportunity", "Resource: cannot be related"),
            ("POST", "project", "Resource: is invalid"),
        ],
    )
    def test_what_cannot_be_is_refused(self, copper: Account, method: str, kind: str, problem: str) -> None:
        deal = copper.deal()
        other = {"person": copper.person, "opportunity": lambda: copper.deal()["id"]}.get(kind, lambda: 1)()
        path = f"/opportunities/{deal['id']}/related"
        assert copper.refused(method, path, resource(kind, other)) == problem

    def test_a_record_that_is_not_there(self, copper: Account) -> None:
        path = f"/opportunities/{copper.any_deal()}/related"
        assert copper.refused("POST", path, resource("person", 1)) == "Resource: is invalid"
        assert copper.ask("POST", "/opportunities/1/related", resource("person", 1)).status_code == 404

    def test_a_deleted_company_is_related_to_nothing(self, copper: Account) -> None:
        deal, company = copper.deal(), copper.company()
        copper.post(f"/opportunities/{deal['id']}/related", resource("company", company))
        copper.call("DELETE", f"/companies/{company}")
        assert copper.get(f"/opportunities/{deal['id']}/related/companies") == []


class TestNotes:
    def note(self, copper: Account, deal: Any, **body: Any) -> Any:
        parent = {"type": "opportunity", "id": deal["id"]}
        return copper.post("/activities", {"parent": parent, "type": NOTE, "details": "Called", **body})

    def test_the_official_create_is_answered_as_documented(self, copper: Account) -> None:
        request = example("activity_create_note_request")
        request["parent"]["id"] = copper.person()
        answer = copper.post("/activities", request)
        official = {**example("activity_create_note_response_200"), "parent": answer["parent"]}
        official |= {"user_id": int(copper.app.account.user.id), "activity_date": answer["date_created"]}
        assert misses(official, answer) == {}
        assert answer["parent"] == request["parent"]

    def test_a_note_is_found_on_its_deal_after_the_lag(self, up: Callable[..., Account]) -> None:
        account = up(lag_seconds=2)
        deal = account.deal()
        account.box.clock.advance(2)
        note = self.note(account, deal)
        path, body = f"/opportunities/{deal['id']}/activities", {"activity_types": [NOTE]}
        assert account.post(path, body) == []
        assert account.get(f"/activities/{note['id']}") == note
        account.box.clock.advance(2)
        assert account.post(path, body) == [note]

    def test_it_can_be_dated_back_and_belongs_to_the_writer(self, copper: Account) -> None:
        note = self.note(copper, copper.deal(), activity_date=1_500_000_000, user_id=copper.owner())
        assert note["activity_date"] == 1_500_000_000
        assert note["date_created"] == copper.get(f"/activities/{note['id']}")["date_modified"]
        assert note["user_id"] == int(copper.app.account.user.id)

    def test_a_call_is_of_its_own_type(self, copper: Account) -> None:
        call = {"category": "user", "id": 190711}
        deal = copper.deal()
        made = self.note(copper, deal, type=call)
        assert made["type"] == call
        found = copper.post("/activities/search", {"activity_types": [call]})
        assert [row["id"] for row in found] == [made["id"]]
        read = copper.get(f"/opportunities/{deal['id']}")
        assert read["date_last_contacted"] == made["date_created"]

    def test_it_is_changed_and_deleted_down_to_a_stub(self, copper: Account) -> None:
        note = self.note(copper, copper.deal())
        changed = copper.put(f"/activities/{note['id']}", {"details": "Wrote"})
        assert {key for key in note if note[key] != changed[key]} == {"details"}
        stub = copper.call("DELETE", f"/activities/{note['id']}")
        assert stub == {**example("activity_delete_response_200"), "id": note["id"]}
        assert copper.get(f"/activities/{note['id']}") == stub
        assert copper.ask("PUT", f"/activities/{note['id']}", {"details": "x"}).status_code == 404

    def test_history_cannot_be_written(self, copper: Account) -> None:
        system = {"category": "system", "id": 3}
        body = {"parent": {"type": "opportunity", "id": int(copper.any_deal())}, "type": system}
        assert copper.refused("POST", "/activities", {**body, "details": "x"}) == "Type: is invalid"
        change = copper.post("/activities/search", {"activity_types": [system]})[0]
        problem = "Type: must be of category user"
        assert copper.refused("PUT", f"/activities/{change['id']}", {"details": "x"}) == problem

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ({}, "Type: can't be blank, Details: can't be blank"),
            ({"type": {"category": "user", "id": 3}, "details": "x"}, "Type: is invalid"),
            ({"type": NOTE, "details": " "}, "Details: can't be blank"),
            (
                {"type": NOTE, "details": "x", "activity_date": "now"},
                "Activity date: is not a valid timestamp",
            ),
        ],
    )
    def test_bad_values_are_refused(self, copper: Account, body: dict[str, Any], problem: str) -> None:
        parent = {"type": "opportunity", "id": int(copper.any_deal())}
        assert copper.refused("POST", "/activities", {"parent": parent, **body}) == problem

    def test_a_parent_must_exist(self, copper: Account) -> None:
        body = {"type": NOTE, "details": "x"}
        assert copper.refused("POST", "/activities", body) == "Parent: can't be blank"
        parent = {"type": "opportunity", "id": 1}
        assert copper.refused("POST", "/activities", {"parent": parent, **body}) == "Parent: is invalid"


class TestDefinitions:
    def test_the_official_create_is_answered_as_documented(self, copper: Account) -> None:
        request = example("custom_field_create_dropdown_request")
        made = copper.post("/custom_field_definitions", request)
        official = example("custom_field_create_dropdown_response_200")
        assert official.keys() <= made.keys()
        assert (made["name"], made["data_type"]) == (official["name"], official["data_type"])
        assert set(made["available_on"]) == set(request["available_on"])
        assert [(one["name"], one["rank"]) for one in made["options"]] == [("Option1", 0), ("Option2", 1)]
        assert copper.get(f"/custom_field_definitions/{made['id']}") == made
        assert made in copper.get("/custom_field_definitions")

    def test_a_key_field_holds_and_finds_a_key(self, copper: Account) -> None:
        body = {"name": "our_key", "data_type": "Float", "available_on": ["opportunity"]}
        field = copper.post("/custom_field_definitions", body)
        deal = copper.deal(**set_custom(field["id"], 4711))
        assert custom(deal, field["id"]) == 4711
        part = {"custom_field_definition_id": field["id"], "value": 4711}
        found = copper.post("/opportunities/search", {"custom_fields": [part]})
        assert [row["id"] for row in found] == [deal["id"]]
        assert custom(copper.get(f"/opportunities/{copper.any_deal()}"), field["id"]) is None

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ({}, "Name: can't be blank, Data type: can't be blank"),
            ({"name": "x", "data_type": "Email"}, "Data type: does not have a valid value"),
            ({"name": "x", "data_type": "Dropdown"}, "Options: must have at least 1"),
            (
                {"name": "x", "data_type": "MultiSelect", "options": [{"name": "one"}]},
                "Options: must have at least 2",
            ),
            (
                {"name": "x", "data_type": "Float", "available_on": ["deal"]},
                "Available on: is invalid",
            ),
        ],
    )
    def test_bad_definitions_are_refused(self, copper: Account, body: dict[str, Any], problem: str) -> None:
        assert copper.refused("POST", "/custom_field_definitions", body) == problem

    def test_options_sent_without_their_ids_break_the_values(self, copper: Account) -> None:
        field = copper.world.fields["deal"]["region"]
        deal = copper.deal(**set_custom(field.id, int(field.options[0].id)))
        path = f"/custom_field_definitions/{field.id}"
        kept = copper.put(path, {"options": copper.get(path)["options"]})
        assert custom(copper.get(f"/opportunities/{deal['id']}"), field.id) == kept["options"][0]["id"]
        renewed = copper.put(path, {"options": [{"name": one["name"]} for one in kept["options"]]})
        assert not {one["id"] for one in kept["options"]} & {one["id"] for one in renewed["options"]}
        assert custom(copper.get(f"/opportunities/{deal['id']}"), field.id) is None

    def test_the_type_stays(self, copper: Account) -> None:
        field = copper.world.fields["deal"]["seats"]
        body = {"data_type": "String"}
        problem = copper.refused("PUT", f"/custom_field_definitions/{field.id}", body)
        assert problem == "Data type: cannot be changed"

    def test_entities_come_and_go(self, copper: Account) -> None:
        field = copper.world.fields["deal"]["seats"]
        path = f"/custom_field_definitions/{field.id}"
        moved = copper.put(path, {"available_on": ["company", "lead"], "name": "Places"})
        assert (moved["available_on"], moved["name"]) == (["company", "lead"], "Places")
        shown = copper.get(f"/companies/{copper.company(**set_custom(field.id, 3))}")
        assert custom(shown, field.id) == 3
        deal = copper.get(f"/opportunities/{copper.any_deal()}")
        assert int(field.id) not in [one["custom_field_definition_id"] for one in deal["custom_fields"]]
        assert copper.put(path, {"available_on": ["lead"]})["available_on"] == ["lead"]
        assert copper.get(path)["available_on"] == ["lead"]

    def test_a_deleted_one_is_on_no_record(self, copper: Account) -> None:
        field = copper.world.fields["deal"]["seats"]
        answer = copper.call("DELETE", f"/custom_field_definitions/{field.id}")
        assert answer == {"id": int(field.id), "is_deleted": True}
        assert copper.ask("GET", f"/custom_field_definitions/{field.id}").status_code == 404
        deal = copper.get(f"/opportunities/{copper.any_deal()}")
        assert int(field.id) not in [one["custom_field_definition_id"] for one in deal["custom_fields"]]


class TestWebhooks:
    def test_a_subscription_comes_and_goes(self, copper: Account) -> None:
        made = copper.post("/webhooks", example("webhook_create_request"))
        assert {**made, "created_at": 0} == {**example("webhook_create_response_200"), "created_at": 0}
        assert copper.get("/webhooks") == [made]
        assert copper.get(f"/webhooks/{made['id']}") == made
        assert copper.call("DELETE", f"/webhooks/{made['id']}") == example("webhook_delete_response_200")
        assert copper.ask("DELETE", f"/webhooks/{made['id']}").status_code == 404

    @pytest.mark.parametrize(
        ("key", "value", "problem"),
        [
            ("target", "http://hooks.example", "Target: must be HTTPS"),
            ("type", "deal", "Type: does not have a valid value"),
            ("event", None, "Event: can't be blank"),
        ],
    )
    def test_bad_subscriptions_are_refused(self, copper: Account, key: str, value: Any, problem: str) -> None:
        body = {**example("webhook_create_request"), key: value}
        assert copper.refused("POST", "/webhooks", body) == problem

    def test_there_are_a_hundred_at_most(self, copper: Account) -> None:
        request = example("webhook_create_request")
        for _ in range(100):
            copper.post("/webhooks", request)
        problem = "Base: no more than 100 subscriptions are allowed"
        assert copper.refused("POST", "/webhooks", request) == problem
