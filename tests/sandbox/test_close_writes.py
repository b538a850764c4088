"""The Close sandbox takes opportunities as the contract says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.close_wire import NOW, Client, Up, starting

EXAMPLES = Path(__file__).parents[3] / "shared/specs/close/examples"
NO_SUCH_OBJECT = "Object does not exist."


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


def inactive_user(close: Client) -> str:
    return next(user.id for user in close.world.users.values() if not user.active)


def contact_elsewhere(close: Client, lead_id: str) -> str:
    return next(row.id for row in close.world.contacts.values() if row.company_id != lead_id)


class TestCreate:
    def test_the_recorded_create_is_answered_with_the_recorded_values(self, close: Client) -> None:
        said, recorded = (
            example(f"opportunity_create_recorded_{part}") for part in ("request", "response_200")
        )
        said |= {"lead_id": close.lead()["id"], "status_id": close.statuses()["active"]}
        answer = close.send("POST", "/opportunity/", said)
        assert answer.status_code == 200
        made = answer.json()
        same = [
            "confidence",
            "note",
            "value",
            "value_period",
            "value_formatted",
            "value_currency",
            "status_type",
        ]
        assert {key: made[key] for key in same} == {key: recorded[key] for key in same}
        assert recorded.keys() - made.keys() == set()

    def test_the_documented_create_is_answered_with_the_documented_keys(self, close: Client) -> None:
        said, official = example("opportunity_create_request"), example("opportunity_create_response_200")
        plain = {key: value for key, value in said.items() if not key.startswith("custom.")}
        field = close.field(name="Contract Link")
        url = "https://www.example.com/contract.pdf"
        made = close.deal(
            **{**plain, "lead_id": close.lead()["id"], "status_id": close.statuses()["active"], field: url}
        )
        assert {key for key in official if not key.startswith("custom.")} - made.keys() == set()
        assert (made["note"], made["note_html"]) == (official["note"], official["note_html"])
        assert (made["value"], made["annualized_value"], made["expected_value"]) == (500, 6000, 450)
        assert made[field] == url

    def test_what_was_answered_is_what_is_read(self, close: Client) -> None:
        made = close.deal(value=1234, note="two\nlines", confidence=7, date_won="2026-09-30")
        assert close.get(f"/opportunity/{made['id']}/") == made

    def test_an_empty_body_makes_an_untitled_lead_and_the_callers_first_status(self, close: Client) -> None:
        made = close.post("/opportunity/", {})
        assert made["lead_name"] == "Untitled"
        assert made["user_id"] == made["created_by"] == made["updated_by"] == close.me()
        assert made["status_id"] == close.get("/pipeline/")["data"][0]["statuses"][0]["id"]
        assert (made["value"], made["note"], made["date_won"]) == (None, None, None)

    def test_a_pipeline_gives_its_first_status(self, close: Client) -> None:
        pipeline = close.get("/pipeline/")["data"][1]
        made = close.deal(pipeline_id=pipeline["id"])
        assert (made["pipeline_id"], made["status_id"]) == (pipeline["id"], pipeline["statuses"][0]["id"])

    def test_a_status_outside_the_pipeline_is_refused(self, close: Client) -> None:
        first, second = close.get("/pipeline/")["data"][:2]
        said = {"pipeline_id": first["id"], "status_id": second["statuses"][0]["id"]}
        assert list(close.errors("POST", "/opportunity/", said)) == ["status"]

    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("lead_id", "lead_none", "lead"),
            ("user_id", "user_none", "user"),
            ("status_id", "stat_none", "status"),
            ("pipeline_id", "pipe_none", "pipeline"),
            ("contact_id", "cont_none", "contact"),
        ],
    )
    def test_references_to_nothing_are_refused_by_their_name_without_id(
        self, close: Client, name: str, value: str, told: str
    ) -> None:
        before = len(close.world.deals)
        assert close.errors("POST", "/opportunity/", {name: value}) == {told: NO_SUCH_OBJECT}
        assert len(close.world.deals) == before

    def test_every_problem_of_a_body_is_told_at_once(self, close: Client) -> None:
        said = {"value": 12.5, "confidence": 101, "value_period": "weekly", "date_won": "soon", "note": 3}
        assert close.errors("POST", "/opportunity/", said).keys() == said.keys()

    @pytest.mark.parametrize("value", ["500", True, 500.5])
    def test_value_is_a_whole_number_of_cents(self, close: Client, value: Any) -> None:
        assert list(close.errors("POST", "/opportunity/", {"value": value})) == ["value"]

    @pytest.mark.parametrize("name", ["id", "status_label", "custom_fields", "custom", "status", "date_lost"])
    def test_create_bodies_are_closed(self, close: Client, name: str) -> None:
        assert list(close.errors("POST", "/opportunity/", {name: "x"})) == [name]

    def test_an_inactive_user_cannot_own_a_deal(self, close: Client) -> None:
        assert list(close.errors("POST", "/opportunity/", {"user_id": inactive_user(close)})) == ["user"]

    def test_a_contact_of_another_lead_is_refused(self, close: Client) -> None:
        lead_id = close.lead()["id"]
        said = {"lead_id": lead_id, "contact_id": contact_elsewhere(close, lead_id)}
        assert list(close.errors("POST", "/opportunity/", said)) == ["contact"]

    def test_the_past_can_be_imported_to_the_millisecond(self, close: Client) -> None:
        somebody = next(user.id for user in close.world.users.values() if user.id != close.me())
        made = close.deal(date_created="2020-03-04T05:06:07.123456+02:00", created_by=somebody)
        assert made["date_created"] == "2020-03-04T03:06:07.123000+00:00"
        assert made["date_updated"] == NOW.isoformat()
        assert (made["created_by"], made["updated_by"]) == (somebody, close.me())

    def test_a_list_shows_it_at_once_and_the_index_later(self, up: Up) -> None:
        close = up(lag_seconds=2)
        made = close.deal(value=1)
        wanted = {"type": "and", "queries": [
            {"type": "object_type", "object_type": "opportunity"}, {"type": "id", "value": made["id"]}
        ]}  # fmt: skip
        assert made["id"] in [row["id"] for row in close.get("/opportunity/")["data"]]
        assert close.post("/data/search/", {"query": wanted})["data"] == []
        close.box.clock.advance(2)
        assert [row["id"] for row in close.post("/data/search/", {"query": wanted})["data"]] == [made["id"]]


class TestUpdate:
    def test_a_put_changes_what_it_names_and_nothing_else(self, close: Client) -> None:
        made = close.deal(value=500, confidence=90, note="before")
        close.box.clock.advance(1)
        changed = close.put(f"/opportunity/{made['id']}/", example("opportunity_update_note_request"))
        assert changed["note"] == "my_note"
        assert {key for key in made if made[key] != changed[key]} == {"note", "note_html", "date_updated"}

    def test_a_put_that_changes_nothing_leaves_the_stamp_and_writes_no_event(self, close: Client) -> None:
        made = close.deal(value=500)
        close.box.clock.advance(1)
        assert close.put(f"/opportunity/{made['id']}/", {"value": 500}) == made
        assert len(close.get("/event/", object_type="opportunity", object_id=made["id"])["data"]) == 1

    @pytest.mark.parametrize("name", ["lead_id", "pipeline_id", "date_created", "created_by", "custom"])
    def test_update_bodies_are_closed(self, close: Client, name: str) -> None:
        made = close.deal()
        told = close.errors("PUT", f"/opportunity/{made['id']}/", {name: "x"})
        assert list(told) == [name]

    @pytest.mark.parametrize("name", ["value", "confidence", "value_period", "note", "status_id"])
    def test_the_update_schema_allows_no_null_here(self, close: Client, name: str) -> None:
        made = close.deal()
        assert len(close.errors("PUT", f"/opportunity/{made['id']}/", {name: None})) == 1

    def test_owner_contact_day_and_note_html_can_be_cleared(self, close: Client) -> None:
        lead = close.lead(contacts=[{"name": "Gob"}])
        made = close.deal(
            lead_id=lead["id"], contact_id=lead["contact_ids"][0], date_won="2026-07-01", note="x"
        )
        nulls = dict.fromkeys(["user_id", "contact_id", "date_won", "note_html"])
        changed = close.put(f"/opportunity/{made['id']}/", nulls)
        assert {key: changed[key] for key in [*nulls, "note"]} == {**nulls, "note": None}

    def test_an_owner_who_left_may_stay_but_not_be_put_in(self, close: Client) -> None:
        gone = inactive_user(close)
        made = close.deal()
        assert list(close.errors("PUT", f"/opportunity/{made['id']}/", {"user_id": gone})) == ["user"]
        close.world.edit_deal(made["id"], owner_id=gone)
        changed = close.put(f"/opportunity/{made['id']}/", {"user_id": gone, "value": 1})
        assert (changed["user_id"], changed["value"]) == (gone, 1)

    def test_a_status_of_another_pipeline_moves_it_there_and_is_remembered(self, close: Client) -> None:
        made = close.deal()
        target = close.get("/pipeline/")["data"][1]
        close.box.clock.advance(60)
        changed = close.put(f"/opportunity/{made['id']}/", {"status_id": target["statuses"][2]["id"]})
        assert changed["pipeline_id"] == target["id"]
        steps = close.get("/activity/status_change/opportunity/", opportunity_id=made["id"])["data"]
        assert [(step["old_status_id"], step["new_status_id"], step["user_id"]) for step in steps] == [
            (made["status_id"], target["statuses"][2]["id"], close.me())
        ]

    @pytest.mark.parametrize(
        ("offset", "day"), [("0", "2026-06-01"), ("5.5", "2026-06-02"), ("-4", "2026-06-01")]
    )
    def test_winning_fills_the_callers_day(self, close: Client, offset: str, day: str) -> None:
        made = close.deal()
        said = {"status_id": close.statuses()["won"]}
        won = close.put(f"/opportunity/{made['id']}/", said, **{"x-tz-offset": offset})
        assert (won["status_type"], won["date_won"]) == ("won", day)

    def test_reopening_leaves_the_day_and_a_given_day_is_kept(self, close: Client) -> None:
        made, status = close.deal(date_won="2026-12-24"), close.statuses()
        won = close.put(f"/opportunity/{made['id']}/", {"status_id": status["won"]})
        back = close.put(f"/opportunity/{made['id']}/", {"status_id": status["active"]})
        assert won["date_won"] == back["date_won"] == "2026-12-24"

    def test_losing_stamps_date_lost_and_reopening_clears_it(self, close: Client) -> None:
        made, status = close.deal(), close.statuses()
        lost = close.put(f"/opportunity/{made['id']}/", {"status_id": status["lost"]})
        back = close.put(f"/opportunity/{made['id']}/", {"status_id": status["active"]})
        assert (lost["date_lost"], back["date_lost"]) == (NOW.isoformat(), None)

    @pytest.mark.parametrize(
        ("said", "offset", "day"),
        [
            ("2026-06-01T23:30:00+00:00", "0", "2026-06-01"),
            ("2026-06-01T23:30:00+00:00", "2", "2026-06-02"),
            ("2026-06-02T00:30:00+02:00", "0", "2026-06-01"),
            ("2026-06-02", "-11", "2026-06-02"),
        ],
    )
    def test_a_date_time_is_cut_to_the_callers_day(
        self, close: Client, said: str, offset: str, day: str
    ) -> None:
        made = close.deal()
        changed = close.put(f"/opportunity/{made['id']}/", {"date_won": said}, **{"x-tz-offset": offset})
        assert changed["date_won"] == day

    def test_note_html_wins_over_note(self, close: Client) -> None:
        rich = "<body><p>a &lt; b</p><p>next</p></body>"
        made = close.deal(note="other", note_html=rich)
        assert (made["note"], made["note_html"]) == ("a < b\nnext", rich)

    def test_a_person_who_edits_afterwards_is_the_editor(self, close: Client) -> None:
        made = close.deal()
        owner = next(user.id for user in close.world.users.values() if user.id != close.me() and user.active)
        close.box.clock.advance(1)
        close.world.edit_deal(made["id"], owner_id=owner)
        assert close.get(f"/opportunity/{made['id']}/")["updated_by"] == owner

    def test_an_unknown_id_is_the_official_404(self, close: Client) -> None:
        answer = close.send("PUT", "/opportunity/oppo_none/", {"value": 1})
        assert answer.status_code == 404
        assert answer.json() == {"error": "Empty query: Opportunity matching query does not exist."}

    def test_the_deprecated_label_still_names_a_status(self, close: Client) -> None:
        made = close.deal()
        assert close.put(f"/opportunity/{made['id']}/", {"status": "Won"})["status_type"] == "won"


class TestDelete:
    def test_it_is_gone_from_everywhere_but_the_event_log(self, close: Client) -> None:
        made = close.deal(value=77)
        assert close.delete(f"/opportunity/{made['id']}/") == example("opportunity_delete_200")
        assert close.send("GET", f"/opportunity/{made['id']}/").status_code == 404
        assert close.send("DELETE", f"/opportunity/{made['id']}/").status_code == 404
        event = close.get("/event/", object_type="opportunity", action="deleted")["data"][0]
        assert (event["object_id"], event["previous_data"]["value"], event["user_id"]) == (
            made["id"],
            77,
            close.me(),
        )

    def test_the_leads_notes_survive_a_deleted_deal(self, close: Client) -> None:
        note = next(iter(close.world.notes.values()))
        assert note.deal_id is not None
        before = close.get(f"/activity/note/{note.id}/")
        close.delete(f"/opportunity/{note.deal_id}/")
        assert close.get(f"/activity/note/{note.id}/") == before


class TestCustomValues:
    def test_each_type_reads_back_what_was_written(self, close: Client) -> None:
        written = {
            close.field(type="text"): "Ünïcode 🚀",
            close.field(type="number"): 0.1,
            close.field(type="date"): "2026-02-28",
            close.field(type="datetime"): "2026-02-28T10:00:00+00:00",
            close.field(type="choices", choices=["A", "B"]): "B",
            close.field(type="choices", choices=["A", "B"], accepts_multiple_values=True): ["B", "A"],
            close.field(type="user"): close.me(),
            close.field(type="text", accepts_multiple_values=True): ["x", "y"],
        }
        made = close.deal(**written)
        assert {key: value for key, value in made.items() if key.startswith("custom.")} == written
        assert close.get(f"/opportunity/{made['id']}/", _fields="custom") == written

    @pytest.mark.parametrize(
        ("declared", "value"),
        [
            ({"type": "text"}, 5),
            ({"type": "text"}, ["a"]),
            ({"type": "number"}, "5"),
            ({"type": "number"}, True),
            ({"type": "date"}, "28.02.2026"),
            ({"type": "choices", "choices": ["A"]}, "B"),
            ({"type": "choices", "choices": ["A"], "accepts_multiple_values": True}, "A"),
            ({"type": "user"}, "user_none"),
        ],
    )
    def test_a_value_of_another_type_is_refused(
        self, close: Client, declared: dict[str, Any], value: Any
    ) -> None:
        key = close.field(**declared)
        assert list(close.errors("POST", "/opportunity/", {key: value})) == [key]

    def test_null_takes_the_key_away(self, close: Client) -> None:
        key = close.field()
        made = close.deal(**{key: "x"})
        assert key not in close.put(f"/opportunity/{made['id']}/", {key: None})

    def test_add_and_remove_change_one_value(self, close: Client) -> None:
        key = close.field(type="choices", choices=["Mon", "Wed", "Fri"], accepts_multiple_values=True)
        made = close.deal(**{key: ["Mon", "Fri"]})
        changed = close.put(f"/opportunity/{made['id']}/", {f"{key}.add": "Wed", f"{key}.remove": "Fri"})
        assert changed[key] == ["Mon", "Wed"]

    def test_an_unknown_field_and_the_name_of_a_field_are_refused(self, close: Client) -> None:
        close.field(name="Known")
        told = close.errors("POST", "/opportunity/", {"custom.cf_none": 1, "custom.Known": "x"})
        assert told.keys() == {"custom.cf_none", "custom.Known"}

    def test_the_seeded_fields_that_stand_for_names_and_tags_can_be_written(self, close: Client) -> None:
        fields = {
            row["name"]: f"custom.{row['id']}" for row in close.get("/custom_field/opportunity/")["data"]
        }
        tag = close.world.fields["deal"]["tags"].options[0].label
        made = close.deal(
            **{fields["Deal name"]: "Big one", fields["Tags"]: [tag], fields["crmkit_id"]: "a:1"}
        )
        row = close.world.deals[made["id"]]
        assert (row.name, row.tags, row.custom["crmkit_key"]) == ("Big one", (tag,), "a:1")


class TestRights:
    def test_a_role_that_may_only_read_writes_nothing(self, up: Up) -> None:
        close = up(extra={"close_read_only": True})
        answer = close.send("POST", "/opportunity/", {})
        assert answer.status_code == 403
        assert answer.json() == {"error": "You do not have permission to perform this action."}

    def test_others_deals_need_a_permission(self, up: Up) -> None:
        close = up(extra={"close_lacking": ["manage_others_opportunities"]})
        other = next(deal.id for deal in close.world.deals.values() if deal.owner_id != close.me())
        assert close.send("PUT", f"/opportunity/{other}/", {"value": 1}).status_code == 403
        made = close.deal()
        assert close.put(f"/opportunity/{made['id']}/", {"value": 1})["value"] == 1

    def test_own_deals_need_a_permission_to_be_deleted(self, up: Up) -> None:
        close = up(extra={"close_lacking": ["delete_own_opportunities"]})
        assert close.send("DELETE", f"/opportunity/{close.deal()['id']}/").status_code == 403

    def test_a_full_plan_is_402_for_what_would_be_new(self, up: Up) -> None:
        close = up(extra={"close_full": ["custom_field"]})
        answer = close.send("POST", "/custom_field/opportunity/", {"name": "x", "type": "text"})
        assert answer.status_code == 402

    def test_a_body_that_is_not_json_is_refused(self, close: Client) -> None:
        url, auth = close.app.base_url + "/opportunity/", close.session.auth
        assert requests.post(url, data={"value": "1"}, auth=auth, timeout=5).status_code == 415
        json_type = {"content-type": "application/json"}
        broken = requests.post(url, data=b'{"value": ', headers=json_type, auth=auth, timeout=5)
        assert (broken.status_code, broken.json()) == (400, {"error": "Invalid JSON."})

    def test_an_unreadable_time_zone_is_refused(self, close: Client) -> None:
        assert close.send("POST", "/opportunity/", {}, **{"x-tz-offset": "CET"}).status_code == 400

    def test_writes_have_a_bucket_of_their_own(self, up: Up) -> None:
        close = up(limits="real")
        made = [close.send("POST", "/opportunity/", {}).status_code for _ in range(161)]
        assert (set(made[:160]), made[160]) == ({200}, 429)
        assert close.send("GET", "/opportunity/").status_code == 200


class TestFaultsAndSideEffects:
    def test_new_deals_and_moves_start_workflows_and_plain_edits_do_not(self, close: Client) -> None:
        made = close.deal()
        close.put(f"/opportunity/{made['id']}/", {"value": 5})
        close.put(f"/opportunity/{made['id']}/", {"status_id": close.statuses()["won"]})
        told = [row for row in close.control("side-effects") if row["id"] == made["id"]]
        assert told == [{"kind": "deal", "id": made["id"], "what": "workflow", "by": close.me()}] * 2

    @pytest.mark.parametrize("profile", ["timeout_after_commit", "server_error_after_commit", "truncated"])
    def test_a_write_whose_answer_is_spoilt_was_carried_out_once(self, close: Client, profile: str) -> None:
        key = close.field()
        lead_id = close.lead()["id"]
        close.control("faults", {"script": [{"fault": profile, "kind": "write"}]})
        try:
            spoilt = close.send("POST", "/opportunity/", {"lead_id": lead_id, key: "src:1"}).status_code
        except requests.RequestException:
            spoilt = 0
        assert spoilt in {0, 500, 502, 503}
        rows = close.get("/opportunity/", lead_id=lead_id, _fields="id,custom")["data"]
        assert [row[key] for row in rows] == ["src:1"]

    def test_a_late_write_appears_when_the_clock_has_moved_on(self, close: Client) -> None:
        lead_id = close.lead()["id"]
        close.control("faults", {"script": [{"fault": "commit_late", "kind": "write"}], "late_seconds": 30})
        with pytest.raises(requests.RequestException):
            close.send("POST", "/opportunity/", {"lead_id": lead_id})
        assert close.get("/opportunity/", lead_id=lead_id)["data"] == []
        close.control("clock", {"advance": 30})
        assert len(close.get("/opportunity/", lead_id=lead_id)["data"]) == 1

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    def test_changes_and_deletions_count_as_writes(self, close: Client, method: str) -> None:
        made = close.deal()
        close.control("clear", {})
        close.send(method, f"/opportunity/{made['id']}/", {"value": 9})
        assert close.control("stats")["kinds"] == {"write": 1}


class TestEvents:
    def test_what_came_over_the_api_carries_the_key_and_what_people_did_does_not(self, close: Client) -> None:
        made = close.deal()
        owner = next(user.id for user in close.world.users.values() if user.id != close.me() and user.active)
        close.box.clock.advance(1)
        close.world.edit_deal(made["id"], owner_id=owner)
        rows = close.get("/event/", object_type="opportunity", object_id=made["id"])["data"]
        assert [(row["action"], bool(row["api_key_id"]), row["user_id"]) for row in rows] == [
            ("updated", False, owner),
            ("created", True, close.me()),
        ]

    def test_an_update_tells_the_values_before(self, close: Client) -> None:
        key = close.field()
        made = close.deal(value=1, **{key: "a"})
        close.put(f"/opportunity/{made['id']}/", {"value": 2, key: "b"})
        event = close.get("/event/", object_id=made["id"], action="updated")["data"][0]
        assert {"value", key} <= set(event["changed_fields"])
        assert (event["previous_data"]["value"], event["data"]["value"]) == (1, 2)
        assert (event["previous_data"][key], event["data"][key]) == ("a", "b")


def test_exports_hold_what_was_written(close: Client) -> None:
    key = close.field(type="number")
    made = close.deal(**{key: 0.25})
    job = close.post("/export/opportunity/", {"format": "json", "params": {}, "send_done_email": False})
    for _ in range(2):
        job = close.get(f"/export/{job['id']}/")
    rows = requests.get(job["download_url"], timeout=5).json()
    assert next(row for row in rows if row["id"] == made["id"])[key] == 0.25
