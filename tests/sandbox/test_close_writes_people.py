"""The Close sandbox takes leads, contacts, notes and imported status changes as the contract says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.close_wire import NOW, Client, starting

EXAMPLES = Path(__file__).parents[3] / "shared/specs/close/examples"
NO_SUCH_OBJECT = "Object does not exist."


@pytest.fixture
def close() -> Iterator[Client]:
    with starting() as start:
        yield start()


def example(name: str) -> Any:
    path = EXAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no official examples at {EXAMPLES}")
    return json.loads(path.read_text())


def plain(payload: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in payload.items() if not key.startswith("custom.")}


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


class TestLeads:
    def test_the_official_create_is_answered_with_the_official_values(self, close: Client) -> None:
        official = example("lead_create_response_200")
        made = close.post("/lead/", plain(example("lead_create_request")))
        same = [
            "addresses",
            "description",
            "display_name",
            "name",
            "status_id",
            "status_label",
            "url",
            "tasks",
        ]
        assert {key: made[key] for key in same} == {key: official[key] for key in same}
        assert plain(official).keys() - made.keys() == set()
        contact, shown = made["contacts"][0], official["contacts"][0]
        for key in ("name", "emails", "display_name"):
            assert contact[key] == shown[key]
        assert contact["phones"][0].items() >= shown["phones"][0].items()
        assert ids(made["contacts"]) == made["contact_ids"]

    def test_what_was_answered_is_what_is_read(self, close: Client) -> None:
        made = close.lead(url="https://www.bluth.example/about", description="x", contacts=[{"name": "Gob"}])
        assert close.get(f"/lead/{made['id']}/") == made

    def test_an_unknown_status_is_the_recorded_error(self, close: Client) -> None:
        answer = close.send("POST", "/lead/", {"name": "x", "status": "foo"})
        assert (answer.status_code, answer.json()) == (400, example("error_lead_create_bad_status_400"))

    @pytest.mark.parametrize("name", ["opportunities", "tasks", "display_name", "id", "custom"])
    def test_what_cannot_be_nested_or_written_is_refused(self, close: Client, name: str) -> None:
        assert list(close.errors("POST", "/lead/", {name: []})) == [name]

    def test_a_bad_nested_contact_makes_nothing(self, close: Client) -> None:
        before = len(close.world.companies)
        told = close.errors("POST", "/lead/", {"name": "x", "contacts": [{"emails": [{"email": "no"}]}]})
        assert list(told) == ["contacts"]
        assert len(close.world.companies) == before

    def test_a_put_is_a_patch(self, close: Client) -> None:
        made = close.lead(description="keep", url="http://a.example/")
        close.box.clock.advance(1)
        changed = close.put(f"/lead/{made['id']}/", {"name": "Sitwell"})
        assert {key for key in made if made[key] != changed[key]} == {"name", "display_name", "date_updated"}

    def test_contacts_cannot_be_changed_through_their_lead(self, close: Client) -> None:
        made = close.lead()
        assert list(close.errors("PUT", f"/lead/{made['id']}/", {"contacts": []})) == ["contacts"]

    def test_a_new_name_shows_in_its_deals(self, close: Client) -> None:
        made = close.lead()
        deal = close.deal(lead_id=made["id"])
        close.put(f"/lead/{made['id']}/", {"name": "Sitwell"})
        assert close.get(f"/opportunity/{deal['id']}/")["lead_name"] == "Sitwell"

    def test_custom_values_read_back_and_are_found(self, close: Client) -> None:
        key = close.field("lead", name="crmkit_id")
        made = close.lead(**{key: "src:9"})
        assert made[key] == "src:9"
        field = {"type": "custom_field", "custom_field_id": key.removeprefix("custom.")}
        query = {"type": "and", "queries": [
            {"type": "object_type", "object_type": "lead"},
            {"type": "field_condition", "field": field, "condition": {"type": "term", "values": ["src:9"]}},
        ]}  # fmt: skip
        assert ids(close.post("/data/search/", {"query": query})["data"]) == [made["id"]]

    def test_deleting_takes_contacts_deals_and_notes_along(self, close: Client) -> None:
        made = close.lead(contacts=[{"name": "Gob"}])
        deal = close.deal(lead_id=made["id"])
        note = close.post("/activity/note/", {"lead_id": made["id"], "note": "x"})
        assert close.delete(f"/lead/{made['id']}/") == {}
        gone = [
            f"/lead/{made['id']}/",
            f"/contact/{made['contact_ids'][0]}/",
            f"/opportunity/{deal['id']}/",
            f"/activity/note/{note['id']}/",
        ]
        assert [close.send("GET", path).status_code for path in gone] == [404] * 4


class TestMerge:
    def test_children_change_their_lead_and_keep_their_ids(self, close: Client) -> None:
        source = close.lead(name="Old", description="from the source", contacts=[{"name": "Gob"}])
        destination = close.lead(name="New")
        deal = close.deal(lead_id=source["id"])
        said = {"source": source["id"], "destination": destination["id"]}
        assert close.post("/lead/merge/", said) == example("lead_merge_response_200")
        kept = close.get(f"/lead/{destination['id']}/")
        assert (kept["name"], kept["description"]) == ("New", "from the source")
        assert kept["contact_ids"] == source["contact_ids"]
        assert ids(kept["opportunities"]) == [deal["id"]]
        assert close.send("GET", f"/lead/{source['id']}/").status_code == 404
        event = close.get("/event/", object_type="lead", action="merged")["data"][0]
        assert event["meta"]["merge_source_lead_id"] == source["id"]

    def test_unknown_leads_are_404_with_a_list(self, close: Client) -> None:
        answer = close.send(
            "POST", "/lead/merge/", {"source": "lead_none", "destination": close.lead()["id"]}
        )
        assert answer.status_code == 404
        assert list(answer.json()) == ["errors"]

    def test_a_lead_cannot_be_merged_with_itself(self, close: Client) -> None:
        lead_id = close.lead()["id"]
        assert close.errors("POST", "/lead/merge/", {"source": lead_id, "destination": lead_id}) == {}


class TestContacts:
    def test_the_official_create_is_answered_as_documented(self, close: Client) -> None:
        said = plain(example("contact_create_request")) | {"lead_id": close.lead()["id"]}
        made = close.post("/contact/", said)
        assert plain(example("contact_get_200")).keys() - made.keys() == set()
        assert (made["name"], made["title"], made["urls"]) == (said["name"], said["title"], said["urls"])
        assert made["emails"] == [{**said["emails"][0], "is_unsubscribed": False}]
        assert made["phones"] == [
            {"country": "US", "phone": "+19045551234", "phone_formatted": "+1 904-555-1234", "type": "mobile"}
        ]

    @pytest.mark.parametrize(
        ("said", "kept"),
        [("+44 1234", "+441234"), ("0049 30 1234", "+49301234"), ("1 800 444 5555", "+18004445555")],
    )
    def test_phones_are_kept_in_e164(self, close: Client, said: str, kept: str) -> None:
        made = close.post("/contact/", {"name": "x", "phones": [{"phone": said, "type": "office"}]})
        assert [row["phone"] for row in made["phones"]] == [kept]

    def test_without_a_lead_one_is_made_and_named_after_it(self, close: Client) -> None:
        made = close.post("/contact/", {"name": "Big Bird"})
        assert close.get(f"/lead/{made['lead_id']}/")["name"] == "Big Bird"

    def test_an_unknown_lead_is_refused(self, close: Client) -> None:
        assert close.errors("POST", "/contact/", {"lead_id": "lead_x"}) == {"lead": NO_SUCH_OBJECT}

    def test_lists_are_replaced_as_a_whole(self, close: Client) -> None:
        emails = [{"email": f"{name}@example.com", "type": "office"} for name in "ab"]
        made = close.post(
            "/contact/", {"name": "x", "emails": emails, "phones": [{"phone": "+4912", "type": "x"}]}
        )
        changed = close.put(f"/contact/{made['id']}/", {"emails": emails[1:]})
        assert [row["email"] for row in changed["emails"]] == ["b@example.com"]
        assert changed["phones"] == made["phones"]

    def test_the_official_update_renames_it_in_its_deals(self, close: Client) -> None:
        made = close.post("/contact/", {"name": "John Smith"})
        deal = close.deal(lead_id=made["lead_id"], contact_id=made["id"])
        close.put(f"/contact/{made['id']}/", example("contact_update_request"))
        assert close.get(f"/opportunity/{deal['id']}/")["contact_name"] == "Johnny Smith"

    def test_a_contact_cannot_move_to_another_lead(self, close: Client) -> None:
        made = close.post("/contact/", {"name": "x"})
        assert list(close.errors("PUT", f"/contact/{made['id']}/", {"lead_id": made["lead_id"]})) == [
            "lead_id"
        ]

    @pytest.mark.parametrize(
        "said", [{"emails": [{"email": "no"}]}, {"phones": [{"phone": "none"}]}, {"emails": "a"}]
    )
    def test_unreadable_addresses_and_numbers_are_refused(self, close: Client, said: dict[str, Any]) -> None:
        assert close.errors("POST", "/contact/", said).keys() == said.keys()

    def test_nothing_is_unique(self, close: Client) -> None:
        said = {"name": "Twin", "emails": [{"email": "twin@example.com", "type": "office"}]}
        first, second = close.post("/contact/", said), close.post("/contact/", said)
        assert first["id"] != second["id"]
        assert first["lead_id"] != second["lead_id"]

    def test_deleting_leaves_its_deals_and_its_notes(self, close: Client) -> None:
        made = close.post("/contact/", {"name": "x"})
        deal = close.deal(lead_id=made["lead_id"], contact_id=made["id"])
        said = {"lead_id": made["lead_id"], "contact_id": made["id"], "note": "n"}
        note = close.post("/activity/note/", said)
        assert close.delete(f"/contact/{made['id']}/") == {}
        assert close.get(f"/opportunity/{deal['id']}/")["contact_id"] is None
        assert close.get(f"/activity/note/{note['id']}/")["contact_id"] is None


class TestNotes:
    def test_the_official_create_is_answered_with_the_official_keys(self, close: Client) -> None:
        official = example("note_create_response_200")
        made = close.post("/activity/note/", example("note_create_request") | {"lead_id": close.lead()["id"]})
        assert official.keys() - made.keys() == set()
        for key in ("note", "note_html", "source", "pinned", "title", "_type"):
            assert made[key] == official[key]
        assert official["attachments"][0].keys() == made["attachments"][0].keys()

    def test_the_lead_is_required_and_must_exist(self, close: Client) -> None:
        assert close.errors("POST", "/activity/note/", {"note": "x"}) == {"lead": "This field is required."}
        said = {"note": "x", "lead_id": "lead_none"}
        assert close.errors("POST", "/activity/note/", said) == {"lead": NO_SUCH_OBJECT}

    def test_it_can_be_dated_back_and_is_listed_with_its_lead(self, close: Client) -> None:
        lead_id = close.lead()["id"]
        said = {"lead_id": lead_id, "note": "x", "title": "Deal A", "date_created": "2020-01-02T03:04:05Z"}
        made = close.post("/activity/note/", said)
        assert made["date_created"] == "2020-01-02T03:04:05+00:00"
        assert close.get("/activity/note/", lead_id=lead_id)["data"] == [made]

    def test_the_official_update_replaces_the_text_and_pins(self, close: Client) -> None:
        made = close.post("/activity/note/", {"lead_id": close.lead()["id"], "note": "x", "title": "t"})
        changed = close.put(f"/activity/note/{made['id']}/", example("note_update_request"))
        assert changed["note"] == "this is an update to my existing note."
        assert (changed["pinned"], changed["pinned_at"], changed["title"]) == (True, NOW.isoformat(), "t")
        event = close.get("/event/", object_id=made["id"], action="updated")["data"][0]
        assert "note" in event["changed_fields"]

    def test_files_must_be_closes_own(self, close: Client) -> None:
        files = [{"filename": "a.pdf", "url": "https://example.com/a.pdf"}]
        said = {"lead_id": close.lead()["id"], "attachments": files}
        assert list(close.errors("POST", "/activity/note/", said)) == ["attachments"]

    def test_a_deleted_note_is_gone(self, close: Client) -> None:
        made = close.post("/activity/note/", {"lead_id": close.lead()["id"], "note": "x"})
        assert close.delete(f"/activity/note/{made['id']}/") == {}
        assert close.send("GET", f"/activity/note/{made['id']}/").status_code == 404


class TestImportedStatusChanges:
    def test_one_is_shown_in_the_feed_and_leaves_the_deal_as_it_is(self, close: Client) -> None:
        deal, status = close.deal(), close.statuses()
        said = {
            "opportunity_id": deal["id"],
            "lead_id": deal["lead_id"],
            "old_status_id": status["lost"],
            "new_status_id": status["active"],
            "date_created": "2021-05-06T07:08:09+00:00",
        }
        path = "/activity/status_change/opportunity/"
        made = close.post(path, said)
        assert {key: made[key] for key in said} == said
        assert close.get(path, opportunity_id=deal["id"])["data"] == [made]
        assert close.get(f"/opportunity/{deal['id']}/") == deal

    def test_one_can_be_taken_out_of_the_feed(self, close: Client) -> None:
        deal = close.deal()
        close.put(f"/opportunity/{deal['id']}/", {"status_id": close.statuses()["won"]})
        path = "/activity/status_change/opportunity/"
        [step] = close.get(path, opportunity_id=deal["id"])["data"]
        assert close.delete(f"{path}{step['id']}/") == {}
        assert close.get(path, opportunity_id=deal["id"])["data"] == []
        assert close.get(f"/opportunity/{deal['id']}/")["status_type"] == "won"

    def test_unknown_deals_and_statuses_are_refused(self, close: Client) -> None:
        said = {"opportunity_id": "oppo_x", "old_status_id": "stat_x", "new_status_id": "stat_y"}
        told = close.errors("POST", "/activity/status_change/opportunity/", said)
        assert told == dict.fromkeys(["opportunity", "old_status", "new_status"], NO_SUCH_OBJECT)


def test_new_leads_and_contacts_start_workflows(close: Client) -> None:
    made = close.lead(contacts=[{"name": "Gob"}])
    told = {(row["kind"], row["id"]) for row in close.control("side-effects")}
    assert told == {("company", made["id"]), ("contact", made["contact_ids"][0])}


def test_merging_leads_needs_a_permission() -> None:
    with starting() as start:
        close: Client = start(extra={"close_lacking": ["merge_leads"]})
        assert close.send("POST", "/lead/merge/", {}).status_code == 403
