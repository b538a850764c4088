"""HubSpot on the wire: records created, updated, archived and merged one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.sandbox.hubspot_wire import NOW, Client, starting

DEALS, CONTACTS = "/crm/v3/objects/deals", "/crm/v3/objects/contacts"
COMPANIES, NOTES = "/crm/v3/objects/companies", "/crm/v3/objects/notes"
NEW = {"dealname": "New deal", "dealstage": "contractsent"}


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    with starting() as start:
        yield start


@pytest.fixture
def client(up: Callable[..., Client]) -> Client:
    return up()


def patch(client: Client, path: str, content: Any, **params: str) -> requests.Response:
    return client.session.patch(client.app.base_url + path, json=content, params=params, timeout=5)


def delete(client: Client, path: str) -> requests.Response:
    return client.session.delete(client.app.base_url + path, timeout=5)


def create(client: Client, path: str = DEALS, **properties: Any) -> dict[str, Any]:
    answer = client.post(path, {"properties": {**(NEW if path == DEALS else {}), **properties}})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def read(client: Client, path: str, record_id: str, *names: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{path}/{record_id}", properties=",".join(names)).json()["properties"]
    return {name: found[name] for name in names}


def codes(answer: requests.Response) -> dict[str, str]:
    """By property, the code of what is wrong with it."""
    assert answer.status_code == 400, answer.text
    return {one["context"]["propertyName"][0]: one["code"] for one in answer.json()["errors"]}


def owner(client: Client, *, active: bool = True) -> str:
    return next(user.id for user in client.world.users.values() if user.active is active)


class TestCreate:
    def test_the_official_example_is_created_with_its_links(self, client: Client) -> None:
        company, contact = next(iter(client.world.companies)), next(iter(client.world.contacts))
        said = {
            "properties": {
                "amount": "1500.00",
                "closedate": "2019-12-07T16:50:06.678Z",
                "dealname": "New deal",
                "pipeline": "default",
                "dealstage": "contractsent",
                "hubspot_owner_id": owner(client),
            },
            "associations": [
                {
                    "to": {"id": int(company)},
                    "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5}],
                },
                {
                    "to": {"id": int(contact)},
                    "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}],
                },
            ],
        }
        answer = client.post(DEALS, said)
        assert answer.status_code == 201
        made = answer.json()
        assert "associations" not in made
        assert answer.headers["Location"].endswith(f"/crm/v3/objects/deals/{made['id']}")
        assert said["properties"].items() <= made["properties"].items()
        deal = client.world.deals[made["id"]]
        assert (deal.company_id, deal.contact_ids) == (company, (contact,))

    def test_it_is_read_back_as_it_was_written(self, client: Client) -> None:
        said = {
            "amount": "1500.00",
            "closedate": "2026-12-08T02:50:06.678Z",
            "deal_currency_code": "EUR",
            "dealtype": "newbusiness",
            "description": "Line one\nline two",
            "contract_end": "2027-01-31",
            "seats": "12",
            "is_strategic": "true",
            "crmkit_uid": "src:42",
        }
        made = create(client, **said)
        assert read(client, DEALS, made["id"], *said) == said

    def test_numbers_and_booleans_may_come_as_such(self, client: Client) -> None:
        made = create(client, amount=20.5, is_strategic=True)
        assert read(client, DEALS, made["id"], "amount", "is_strategic") == {
            "amount": "20.5",
            "is_strategic": "true",
        }

    def test_without_a_pipeline_it_is_in_the_default_one(self, client: Client) -> None:
        assert create(client)["properties"]["pipeline"] == "default"

    def test_its_history_begins_with_no_user(self, client: Client) -> None:
        made = create(client)
        told = client.get(f"{DEALS}/{made['id']}", propertiesWithHistory="dealstage").json()
        steps = told["propertiesWithHistory"]["dealstage"]
        assert [(step["value"], step["sourceType"]) for step in steps] == [("contractsent", "INTEGRATION")]
        assert "updatedByUserId" not in steps[0]

    def test_a_create_date_is_written_but_the_true_one_stays(self, client: Client) -> None:
        made = create(client, createdate="2020-01-02T03:04:05Z")
        told = read(client, DEALS, made["id"], "createdate", "hs_createdate")
        assert told == {"createdate": "2020-01-02T03:04:05Z", "hs_createdate": "2026-06-01T12:00:00Z"}
        assert client.world.deals[made["id"]].stage_entered == NOW

    @pytest.mark.parametrize(
        ("path", "properties", "missing"),
        [
            (DEALS, {}, ["dealname", "dealstage"]),
            (DEALS, {"dealname": "x", "dealstage": ""}, ["dealstage"]),
            (COMPANIES, {"city": "Berlin"}, ["name", "domain"]),
            (CONTACTS, {"phone": "1"}, ["email", "firstname", "lastname"]),
            (NOTES, {"hs_note_body": "x"}, ["hs_timestamp"]),
        ],
    )
    def test_required_properties_are_required(
        self, client: Client, path: str, properties: dict[str, str], missing: list[str]
    ) -> None:
        answer = client.post(path, {"properties": properties})
        assert answer.status_code == 400
        assert answer.json()["context"] == {"properties": missing}

    def test_the_portals_own_rules_hold_from_2026_09_on(self, up: Callable[..., Client]) -> None:
        client = up(extra={"required_on_create": {"deals": ["amount"]}})
        assert client.post(DEALS, {"properties": NEW}).status_code == 201
        assert client.post("/crm/objects/2026-09/deals", {"properties": NEW}).status_code == 400

    def test_a_rule_that_depends_on_another_property_holds_from_2026_09_on(
        self, up: Callable[..., Client]
    ) -> None:
        client = up(extra={"conditional_required": {"deals": {"description": "amount"}}})
        said = {"properties": {**NEW, "amount": "1"}}
        assert client.post(DEALS, said).status_code == 201
        refused = client.post("/crm/objects/2026-09/deals", said)
        assert codes(refused) == {"description": "MISSING_CONDITIONAL_REQUIRED_PROPERTY"}
        assert client.post("/crm/objects/2026-09/deals", {"properties": NEW}).status_code == 201

    def test_a_rule_of_the_portal_refuses_what_fits_the_type(self, up: Callable[..., Client]) -> None:
        client = up(extra={"validation_rules": {"deals": {"dealname": "[A-Z].*"}}})
        assert list(codes(client.post(DEALS, {"properties": {**NEW, "dealname": "x"}}))) == ["dealname"]
        assert client.post(DEALS, {"properties": NEW}).status_code == 201

    def test_search_finds_it_only_after_the_lag(self, client: Client) -> None:
        client.world.lag_seconds = 3
        create(client, crmkit_uid="src:1")
        said = {
            "filterGroups": [
                {"filters": [{"propertyName": "crmkit_uid", "operator": "EQ", "value": "src:1"}]}
            ]
        }
        assert client.post(f"{DEALS}/search", said).json()["total"] == 0
        assert client.get(f"{DEALS}/src:1", idProperty="crmkit_uid").ok
        client.world.clock.advance(3)
        assert client.post(f"{DEALS}/search", said).json()["total"] == 1

    def test_a_link_to_nothing_makes_no_record(self, client: Client) -> None:
        types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5}]
        before = len(client.world.deals)
        said = {"properties": NEW, "associations": [{"to": {"id": 7}, "types": types}]}
        assert client.post(DEALS, said).status_code == 400
        assert len(client.world.deals) == before

    def test_a_type_of_the_other_direction_is_refused(self, client: Client) -> None:
        company = next(iter(client.world.companies))
        types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 6}]
        said = {"properties": NEW, "associations": [{"to": {"id": company}, "types": types}]}
        assert client.post(DEALS, said).status_code == 400


class TestValues:
    @pytest.mark.parametrize(
        ("name", "value", "code"),
        [
            ("nonesuch", "1", "PROPERTY_DOESNT_EXIST"),
            ("hs_lastmodifieddate", "0", "READ_ONLY_VALUE"),
            ("hs_deal_stage_probability", "0.5", "READ_ONLY_VALUE"),
            ("hs_createdate", "0", "READ_ONLY_VALUE"),
            ("amount", "1,500.00", "INVALID_LONG"),
            ("amount", "NaN", "INVALID_LONG"),
            ("closedate", "yesterday", "INVALID_DATE"),
            ("contract_end", "1772323200001", "INVALID_DATE"),
            ("contract_end", "2027-02-30", "INVALID_DATE"),
            ("deal_currency_code", "XXX", "INVALID_OPTION"),
            ("dealstage", "Contract Sent", "INVALID_OPTION"),
            ("pipeline", "nonesuch", "INVALID_OPTION"),
            ("region", "EMEA", "INVALID_OPTION"),
            ("is_strategic", "yes", "INVALID_OPTION"),
            ("hubspot_owner_id", "1", "INVALID_OWNER_ID"),
            ("description", "x" * 65_537, "VALUE_TOO_LONG"),
        ],
    )
    def test_a_bad_value_is_named(self, client: Client, name: str, value: str, code: str) -> None:
        answer = client.post(DEALS, {"properties": {**NEW, name: value}})
        assert codes(answer) == {name: code}

    def test_all_bad_values_are_named_at_once(self, client: Client) -> None:
        answer = client.post(DEALS, {"properties": {**NEW, "amount": "x", "nonesuch": "1"}})
        assert set(codes(answer)) == {"amount", "nonesuch"}
        told = json.loads(answer.json()["message"].removeprefix("Property values were not valid: "))
        assert {one["name"]: one["portalId"] for one in told} == {"amount": 21939747, "nonesuch": 21939747}

    def test_an_archived_owner_is_refused(self, client: Client) -> None:
        answer = client.post(DEALS, {"properties": {**NEW, "hubspot_owner_id": owner(client, active=False)}})
        assert codes(answer) == {"hubspot_owner_id": "INVALID_OWNER_ID"}

    def test_a_day_may_be_the_milliseconds_at_which_it_begins(self, client: Client) -> None:
        made = create(client, contract_end="1772323200000")
        assert made["properties"]["contract_end"] == "2026-03-01"

    def test_a_moment_with_an_offset_is_read_in_utc(self, client: Client) -> None:
        assert create(client, closedate="2026-12-07T18:00:00+02:00")["properties"]["closedate"] == (
            "2026-12-07T16:00:00Z"
        )

    @pytest.mark.parametrize("value", ["631152060", "1990-01-01T00:01:00Z", "631152060000"])
    def test_2026_09_puts_a_sloppy_day_right_and_says_so(self, client: Client, value: str) -> None:
        said = {"properties": {**NEW, "contract_end": value}}
        made = client.post("/crm/objects/2026-09/deals", said).json()
        assert made["properties"]["contract_end"] == "1990-01-01"
        assert made["warnings"] == [
            {
                "category": "PROPERTY_VALUE_NORMALIZED",
                "message": "contract_end was normalized",
                "context": {
                    "propertyName": "contract_end",
                    "rawValue": value,
                    "normalizedValue": "631152000000",
                },
            }
        ]

    def test_a_semicolon_in_front_appends_options(self, client: Client) -> None:
        field = client.world.fields["deal"]["products"]
        first, second, third = (option.id for option in field.options[:3])
        made = create(client, products=f"{second};{first}")
        patch(client, f"{DEALS}/{made['id']}", {"properties": {"products": f";{third};{first}"}})
        assert read(client, DEALS, made["id"], "products") == {"products": f"{second};{first};{third}"}

    @pytest.mark.parametrize("nothing", ["", None])
    def test_nothing_clears(self, client: Client, nothing: str | None) -> None:
        names = ("amount", "closedate", "description", "crmkit_uid", "hubspot_owner_id")
        made = create(
            client,
            amount="1",
            closedate="2026-12-01T00:00:00Z",
            description="x",
            crmkit_uid="k",
            hubspot_owner_id=owner(client),
        )
        answer = patch(client, f"{DEALS}/{made['id']}", {"properties": dict.fromkeys(names, nothing)})
        assert answer.status_code == 200
        assert read(client, DEALS, made["id"], *names) == dict.fromkeys(names)

    def test_an_email_is_kept_in_lower_case(self, client: Client) -> None:
        made = create(client, CONTACTS, email=" Ada.Lovelace@Example.COM ")
        assert made["properties"]["email"] == "ada.lovelace@example.com"

    def test_an_email_must_be_one(self, client: Client) -> None:
        assert codes(client.post(CONTACTS, {"properties": {"email": "nobody"}})) == {"email": "INVALID_EMAIL"}

    def test_the_lifecycle_moves_forward_only(self, client: Client) -> None:
        made = create(client, CONTACTS, firstname="Ada", lifecyclestage="customer")
        path = f"{CONTACTS}/{made['id']}"
        assert patch(client, path, {"properties": {"lifecyclestage": "lead"}}).ok
        assert read(client, CONTACTS, made["id"], "lifecyclestage") == {"lifecyclestage": "customer"}
        patch(client, path, {"properties": {"lifecyclestage": ""}})
        patch(client, path, {"properties": {"lifecyclestage": "lead"}})
        assert read(client, CONTACTS, made["id"], "lifecyclestage") == {"lifecyclestage": "lead"}

    def test_a_note_keeps_its_html_and_its_place_on_the_timeline(self, client: Client) -> None:
        said = {"hs_note_body": "<p>Größe &amp; mehr</p>", "hs_timestamp": "2021-11-12T15:48:22Z"}
        made = create(client, NOTES, **said)
        assert read(client, NOTES, made["id"], *said) == said
        assert made["createdAt"] == "2026-06-01T12:00:00Z"
        assert client.world.notes[made["id"]].text == "Größe & mehr"

    def test_what_cannot_be_written_to_a_note_is_ignored(self, client: Client) -> None:
        made = create(client, NOTES, hs_timestamp="0", hs_lastmodifieddate="0")
        assert made["properties"]["hs_lastmodifieddate"] == "2026-06-01T12:00:00Z"


class TestUpdate:
    def test_a_change_moves_the_stamp_and_answers_with_what_was_sent(self, client: Client) -> None:
        deal = next(iter(client.world.deals.values()))
        client.world.clock.advance(60)
        answer = patch(client, f"{DEALS}/{deal.id}", {"properties": {"dealname": "Renamed"}})
        assert answer.status_code == 200
        told = answer.json()
        assert (told["id"], told["properties"]["dealname"]) == (deal.id, "Renamed")
        assert told["updatedAt"] == told["properties"]["hs_lastmodifieddate"] == "2026-06-01T12:01:00Z"
        assert client.world.deals[deal.id].modified == NOW + timedelta(seconds=60)

    def test_a_new_stage_sets_what_follows_from_it(self, client: Client) -> None:
        made = create(client, closedate="2026-12-01T00:00:00Z")
        client.world.clock.advance(60)
        patch(client, f"{DEALS}/{made['id']}", {"properties": {"dealstage": "closedwon"}})
        names = ("hs_is_closed", "hs_is_closed_won", "hs_deal_stage_probability", "closedate")
        assert read(client, DEALS, made["id"], *names) == {
            "hs_is_closed": "true",
            "hs_is_closed_won": "true",
            "hs_deal_stage_probability": "1.0",
            "closedate": "2026-06-01T12:01:00Z",
        }

    def test_a_close_date_that_is_sent_along_stands(self, client: Client) -> None:
        made = create(client)
        said = {"dealstage": "closedlost", "closedate": "2026-05-01T08:00:00Z"}
        patch(client, f"{DEALS}/{made['id']}", {"properties": said})
        assert read(client, DEALS, made["id"], *said) == said

    def test_a_deal_that_is_opened_again_keeps_its_close_date(self, client: Client) -> None:
        made = create(client, dealstage="closedwon", closedate="2026-05-01T08:00:00Z")
        patch(client, f"{DEALS}/{made['id']}", {"properties": {"dealstage": "contractsent"}})
        assert read(client, DEALS, made["id"], "closedate", "hs_is_closed") == {
            "closedate": "2026-05-01T08:00:00Z",
            "hs_is_closed": "false",
        }

    def test_a_portal_may_leave_the_close_date_alone(self, up: Callable[..., Client]) -> None:
        client = up(extra={"auto_close_date": False})
        made = create(client, closedate="2026-12-01T00:00:00Z")
        patch(client, f"{DEALS}/{made['id']}", {"properties": {"dealstage": "closedwon"}})
        assert read(client, DEALS, made["id"], "closedate") == {"closedate": "2026-12-01T00:00:00Z"}

    def test_a_stage_of_another_pipeline_needs_the_pipeline(self, client: Client) -> None:
        made = create(client)
        other = client.world.pipelines["11348541"].stages[0].id
        path = f"{DEALS}/{made['id']}"
        assert codes(patch(client, path, {"properties": {"dealstage": other}})) == {
            "dealstage": "INVALID_OPTION"
        }
        assert codes(patch(client, path, {"properties": {"pipeline": "11348541"}})) == {
            "dealstage": "INVALID_OPTION"
        }
        moved = patch(client, path, {"properties": {"pipeline": "11348541", "dealstage": other}})
        assert moved.json()["properties"]["pipeline"] == "11348541"

    def test_a_record_is_found_by_its_unique_value(self, client: Client) -> None:
        made = create(client, crmkit_uid="src:9")
        answer = patch(client, f"{DEALS}/src:9", {"properties": {"amount": "7"}}, idProperty="crmkit_uid")
        assert answer.json()["id"] == made["id"]

    def test_a_property_that_is_not_unique_finds_nothing(self, client: Client) -> None:
        answer = patch(client, f"{DEALS}/x", {"properties": {"amount": "7"}}, idProperty="dealname")
        assert answer.status_code == 400
        assert answer.json()["message"] == (
            "Unable to perform update/upsert by non-unique 0-3 property dealname in portal ID 21939747"
        )

    def test_the_id_of_a_merged_deal_leads_to_the_winner(self, client: Client) -> None:
        loser, winner = create(client)["id"], create(client)["id"]
        client.world.merge_deals(loser, winner)
        assert patch(client, f"{DEALS}/{loser}", {"properties": {"amount": "7"}}).json()["id"] == winner

    def test_an_archived_record_cannot_be_changed(self, client: Client) -> None:
        made = create(client)
        assert delete(client, f"{DEALS}/{made['id']}").status_code == 204
        assert patch(client, f"{DEALS}/{made['id']}", {"properties": {"amount": "7"}}).status_code == 404

    def test_nothing_to_change_is_an_error(self, client: Client) -> None:
        assert patch(client, f"{DEALS}/{create(client)['id']}", {"properties": {}}).status_code == 400


class TestUnique:
    def test_a_second_contact_with_an_email_is_a_conflict(self, client: Client) -> None:
        made = create(client, CONTACTS, email="ada@example.net", hs_additional_emails="a@example.net")
        for email in ("ADA@example.net", "a@example.net"):
            answer = client.post(CONTACTS, {"properties": {"email": email}})
            assert answer.status_code == 409
            assert answer.json()["message"] == f"Contact already exists. Existing ID: {made['id']}"
            assert answer.json()["category"] == "CONFLICT"

    def test_an_email_cannot_be_taken_from_another_contact(self, client: Client) -> None:
        create(client, CONTACTS, email="ada@example.net")
        other = create(client, CONTACTS, email="bob@example.net")
        path = f"{CONTACTS}/{other['id']}"
        assert patch(client, path, {"properties": {"email": "ada@example.net"}}).status_code == 409
        assert patch(client, path, {"properties": {"email": "bob@example.net"}}).status_code == 200

    def test_a_unique_value_that_is_taken_is_told(self, client: Client) -> None:
        made = create(client, crmkit_uid="src:1")
        answer = client.post(DEALS, {"properties": {**NEW, "crmkit_uid": "SRC:1"}})
        assert codes(answer) == {"crmkit_uid": "CONFLICTING_UNIQUE_VALUE"}
        assert f"{made['id']} already has that value" in answer.json()["message"]

    @pytest.mark.parametrize(("keeps", "status"), [(False, 201), (True, 400)])
    def test_an_archived_record_may_or_may_not_keep_its_value(
        self, up: Callable[..., Client], keeps: bool, status: int
    ) -> None:
        client = up(extra={"archived_keeps_unique": keeps})
        delete(client, f"{DEALS}/{create(client, crmkit_uid='src:1')['id']}")
        assert client.post(DEALS, {"properties": {**NEW, "crmkit_uid": "src:1"}}).status_code == status

    def test_companies_may_share_a_domain(self, client: Client) -> None:
        first, second = (create(client, COMPANIES, domain="example.net")["id"] for _ in range(2))
        assert first != second


class TestArchiveAndMerge:
    def test_an_archived_deal_is_in_the_archive_only(self, client: Client) -> None:
        made = create(client)
        assert delete(client, f"{DEALS}/{made['id']}").status_code == 204
        assert client.get(f"{DEALS}/{made['id']}").status_code == 404
        assert client.get(f"{DEALS}/{made['id']}", archived="true").json()["archived"] is True

    def test_an_id_that_does_not_exist_is_archived_alike(self, client: Client) -> None:
        assert delete(client, f"{DEALS}/99").status_code == 204

    def test_the_primary_takes_over_what_it_lacks(self, client: Client) -> None:
        winner = create(client, dealname="A")["id"]
        loser = create(client, dealname="B", amount="5", description="of B")["id"]
        answer = client.post(
            "/crm/v3/objects/0-3/merge", {"primaryObjectId": winner, "objectIdToMerge": loser}
        )
        assert answer.status_code == 200
        assert answer.json()["id"] == winner
        names = ("dealname", "amount", "description", "hs_merged_object_ids")
        assert list(read(client, DEALS, winner, *names).values()) == ["A", "5", "of B", loser]

    def test_a_merge_may_make_a_third_id(self, up: Callable[..., Client]) -> None:
        client = up(extra={"merge_makes_new_id": True})
        winner, loser = create(client, crmkit_uid="src:1")["id"], create(client)["id"]
        said = {"primaryObjectId": winner, "objectIdToMerge": loser}
        third = client.post("/crm/v3/objects/deals/merge", said).json()["id"]
        assert third not in {winner, loser}
        for known in (winner, loser):
            assert client.get(f"{DEALS}/{known}").json()["id"] == third
        assert client.get(f"{DEALS}/src:1", idProperty="crmkit_uid").json()["id"] == third

    def test_a_merge_needs_both_ids(self, client: Client) -> None:
        answer = client.post("/crm/v3/objects/deals/merge", {"primaryObjectId": "1"})
        assert answer.status_code == 400
        assert "[objectIdToMerge]" in answer.json()["message"]


class TestRightsAndEffects:
    @pytest.mark.parametrize("extra", [{"read_only": True}, {"missing_scopes": ["crm.objects.deals.write"]}])
    def test_without_the_scope_nothing_is_written(
        self, up: Callable[..., Client], extra: dict[str, Any]
    ) -> None:
        client = up(extra=extra)
        deal = next(iter(client.world.deals))
        for answer in (
            client.post(DEALS, {"properties": NEW}),
            patch(client, f"{DEALS}/{deal}", {"properties": {"amount": "1"}}),
            delete(client, f"{DEALS}/{deal}"),
            client.post(f"{DEALS}/batch/archive", {"inputs": [{"id": deal}]}),
        ):
            assert answer.status_code == 403
            assert answer.json()["category"] == "MISSING_SCOPES"
            scopes = answer.json()["errors"][0]["context"]["requiredGranularScopes"]
            assert scopes == ["crm.objects.deals.write"]
        assert client.get(f"{DEALS}/{deal}").ok

    def test_every_write_starts_workflows(self, client: Client) -> None:
        made = create(client, hubspot_owner_id=owner(client))["id"]
        patch(client, f"{DEALS}/{made}", {"properties": {"amount": "1"}})
        told = client.get("/_sandbox/side-effects").json()
        assert [(one["id"], one["what"]) for one in told] == [
            (made, "workflow"),
            (made, "notification"),
            (made, "workflow"),
        ]

    def test_an_answer_that_never_comes_leaves_the_deal_behind(self, client: Client) -> None:
        client.post("/_sandbox/faults", {"script": [{"fault": "timeout_after_commit"}]})
        with pytest.raises(requests.ConnectionError):
            client.post(DEALS, {"properties": {**NEW, "crmkit_uid": "src:1"}})
        assert client.get(f"{DEALS}/src:1", idProperty="crmkit_uid").ok

    def test_a_late_write_comes_after_a_look(self, client: Client) -> None:
        client.post("/_sandbox/faults", {"script": [{"fault": "commit_late"}], "late_seconds": 30})
        with pytest.raises(requests.ConnectionError):
            client.post(DEALS, {"properties": {**NEW, "crmkit_uid": "src:1"}})
        assert client.get(f"{DEALS}/src:1", idProperty="crmkit_uid").status_code == 404
        client.post("/_sandbox/clock", {"advance": 30})
        assert client.get(f"{DEALS}/src:1", idProperty="crmkit_uid").ok

    def test_the_world_holds_exact_amounts(self, client: Client) -> None:
        made = create(client, amount="1500.10")
        assert client.world.deals[made["id"]].amount == Decimal("1500.10")

    def test_a_close_date_late_in_new_york_is_the_day_that_people_see(self, client: Client) -> None:
        made = create(client, closedate="2026-12-08T02:00:00Z")
        line = next(one for one in client.app.expected_deals() if one["id"] == made["id"])
        assert line["expected_close"] == datetime(2026, 12, 7, tzinfo=UTC).date()
