"""Creates, changes and deletes opportunities, companies and people of a Copper account, over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from crmkit.sandbox.faults import read_script
from tests.sandbox.copper_wire import Account, custom, example, misses, set_custom, starting


@pytest.fixture
def up() -> Iterator[Callable[..., Account]]:
    with starting() as start:
        yield start


@pytest.fixture
def copper(up: Callable[..., Account]) -> Account:
    return up()


class TestOpportunities:
    def test_the_official_create_is_answered_as_documented(self, copper: Account) -> None:
        company = copper.company()
        request = {
            **example("opportunity_create_request"),
            "primary_contact_id": copper.person(company_id=company),
        }
        answer = copper.post("/opportunities", request)
        official = example("opportunity_create_response_200")
        official["primary_contact_id"] = request["primary_contact_id"]
        assert misses(official, answer) == {}
        assert (answer["company_id"], answer["company_name"]) == (company, "Analytical Engines")

    def test_what_was_written_reads_back(self, copper: Account) -> None:
        pipeline = list(copper.world.pipelines.values())[2]
        sent = {
            "name": "Größe & Co 🚀",
            "primary_contact_id": copper.person(),
            "company_id": copper.company(),
            "assignee_id": copper.owner(),
            "pipeline_id": int(pipeline.id),
            "pipeline_stage_id": int(pipeline.stages[3].id),
            "status": "Lost",
            "loss_reason_id": copper.get("/loss_reasons")[1]["id"],
            "customer_source_id": copper.get("/customer_sources")[0]["id"],
            "priority": "High",
            "win_probability": 35,
            "monetary_value": 1234.5,
            "monetary_unit": "EUR",
            "details": "Wants it by June",
            "tags": ["big", "crmkit:hub:1"],
        }
        made = copper.post("/opportunities", sent)
        read = copper.get(f"/opportunities/{made['id']}")
        assert {key: read[key] for key in sent} == sent
        assert read == made

    @pytest.mark.parametrize("sent", ["06/09/2026", "6/9/2026"])
    def test_a_close_date_comes_back_unpadded(self, copper: Account, sent: str) -> None:
        deal = copper.deal(close_date=sent)
        assert deal["close_date"] == "6/9/2026"
        assert copper.world.deals[str(deal["id"])].expected_close == date(2026, 6, 9)

    def test_a_day_first_account_reads_and_writes_the_day_first(self, up: Callable[..., Account]) -> None:
        account = up(extra={"copper_day_first": True})
        deal = account.deal(close_date="09/06/2026")
        assert deal["close_date"] == "9/6/2026"
        assert account.world.deals[str(deal["id"])].expected_close == date(2026, 6, 9)

    def test_money_is_kept_to_the_cent(self, copper: Account) -> None:
        deal = copper.deal()
        url = f"{copper.app.base_url}/opportunities/{deal['id']}"
        exact = b'{"monetary_value": 12345678901234.57}'
        assert b'"monetary_value":12345678901234.57' in copper.session.put(url, data=exact, timeout=5).content
        assert copper.world.deals[str(deal["id"])].amount == Decimal("12345678901234.57")

    def test_an_update_changes_only_what_was_sent(self, copper: Account) -> None:
        deal = copper.deal(monetary_value=7, tags=["a"])
        copper.box.clock.advance(60)
        answer = copper.put(f"/opportunities/{deal['id']}", example("opportunity_update_request"))
        changed = {key for key in deal if answer[key] != deal[key]}
        assert changed == {"details", "date_modified"}
        assert answer["date_modified"] == deal["date_modified"] + 60

    def test_null_clears(self, copper: Account) -> None:
        sent = {
            "monetary_value": 7,
            "close_date": "6/9/2026",
            "assignee_id": copper.owner(),
            "company_id": copper.company(),
            "details": "x",
            "customer_source_id": copper.get("/customer_sources")[0]["id"],
        }
        deal = copper.deal(**sent)
        answer = copper.put(f"/opportunities/{deal['id']}", dict.fromkeys([*sent, "primary_contact_id"]))
        assert {key: answer[key] for key in [*sent, "primary_contact_id"]} == dict.fromkeys(
            [*sent, "primary_contact_id"]
        )

    def test_a_record_can_be_sent_back_whole_and_nothing_happens(self, copper: Account) -> None:
        deal = copper.get(f"/opportunities/{copper.any_deal()}")
        copper.box.clock.advance(60)
        assert copper.put(f"/opportunities/{deal['id']}", deal) == deal
        assert copper.effects == []

    def test_an_update_replaces_the_tags(self, copper: Account) -> None:
        deal = copper.deal(tags=["a", "b"])
        assert copper.put(f"/opportunities/{deal['id']}", {"tags": ["c", " c "]})["tags"] == ["c"]

    def test_a_new_stage_joins_the_history(self, copper: Account) -> None:
        deal = copper.deal()
        stages = next(iter(copper.world.pipelines.values())).stages
        copper.box.clock.advance(60)
        answer = copper.put(f"/opportunities/{deal['id']}", {"pipeline_stage_id": int(stages[2].id)})
        assert answer["date_stage_changed"] == deal["date_created"] + 60
        assert answer["win_probability"] == 20
        told = copper.post(
            f"/opportunities/{deal['id']}/activities", {"activity_types": [{"id": 3, "category": "system"}]}
        )
        assert told[0]["new_value"]["id"] == int(stages[2].id)
        assert told[0]["user_id"] == int(copper.app.account.user.id)

    def test_another_pipeline_alone_starts_at_its_first_stage(self, copper: Account) -> None:
        deal = copper.deal()
        pipeline = list(copper.world.pipelines.values())[1]
        answer = copper.put(f"/opportunities/{deal['id']}", {"pipeline_id": int(pipeline.id)})
        assert answer["pipeline_stage_id"] == int(pipeline.stages[0].id)

    def test_winning_moves_neither_stage_nor_probability(self, copper: Account) -> None:
        deal = copper.deal()
        answer = copper.put(f"/opportunities/{deal['id']}", {"status": "Won"})
        assert (answer["status"], answer["win_probability"]) == ("Won", deal["win_probability"])
        assert answer["pipeline_stage_id"] == deal["pipeline_stage_id"]

    def test_a_deleted_one_is_gone_for_good(self, copper: Account) -> None:
        deal = copper.deal()
        answer = copper.call("DELETE", f"/opportunities/{deal['id']}")
        assert answer == {"id": deal["id"], "is_deleted": True}
        assert copper.ask("GET", f"/opportunities/{deal['id']}").status_code == 404
        assert copper.ask("DELETE", f"/opportunities/{deal['id']}").json() == example("error_not_found_404")
        assert copper.ask("PUT", f"/opportunities/{deal['id']}", {"name": "x"}).status_code == 404

    def test_the_record_trails_in_the_search_and_not_on_its_own(self, up: Callable[..., Account]) -> None:
        account = up(lag_seconds=2)
        deal = account.deal(tags=["crmkit:hub:1"])
        assert account.get(f"/opportunities/{deal['id']}") == deal
        assert account.post("/opportunities/search", {"tags": ["crmkit:hub:1"]}) == []
        account.box.clock.advance(2)
        assert account.post("/opportunities/search", {"tags": ["crmkit:hub:1"]}) == [deal]

    def test_a_tag_is_searched_exactly(self, copper: Account) -> None:
        deal = copper.deal(tags=["crmkit:hub:1"])
        found = copper.post("/opportunities/search", {"tags": ["crmkit:hub:1", "nothing"]})
        assert [row["id"] for row in found] == [deal["id"]]
        assert copper.post("/opportunities/search", {"tags": ["CRMKIT:hub:1"]}) == []

    def test_a_search_by_primary_contact_and_time_finds_it(self, copper: Account) -> None:
        deal = copper.deal()
        body = {
            "primary_contact_ids": [deal["primary_contact_id"]],
            "minimum_created_date": deal["date_created"],
        }
        assert [row["id"] for row in copper.post("/opportunities/search", body)] == [deal["id"]]
        later = {**body, "minimum_created_date": deal["date_created"] + 1}
        assert copper.post("/opportunities/search", later) == []

    def test_a_replaced_primary_contact_leaves(self, up: Callable[..., Account]) -> None:
        for stays in (False, True):
            account = up(extra={"copper_former_primary_stays": stays})
            deal = account.deal()
            new = account.person(name="Charles Babbage")
            answer = account.put(f"/opportunities/{deal['id']}", {"primary_contact_id": new})
            assert answer["primary_contact_id"] == new
            related = account.get(f"/opportunities/{deal['id']}/related/people")
            assert (deal["primary_contact_id"] in [row["id"] for row in related]) is stays

    def test_computed_values_are_shown_on_request(self, copper: Account) -> None:
        field = copper.world.fields["deal"]["region"]
        body = {
            "name": "x",
            "primary_contact_id": copper.person(),
            **set_custom(field.id, int(field.options[1].id)),
        }
        made = copper.call("POST", "/opportunities", body, custom_field_computed_values="true")
        assert custom(made, field.id) == field.options[1].label


class TestOpportunityRefusals:
    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ({"name": " "}, "Name: can't be blank"),
            ({"name": None}, "Name: can't be blank"),
            ({"name": 5}, "Name: is invalid"),
            ({"primary_contact_id": 1}, "Primary contact: is invalid"),
            ({"company_id": 1}, "Company: is invalid"),
            ({"assignee_id": 1}, "Assignee: is invalid"),
            ({"pipeline_id": 1}, "Pipeline: is invalid"),
            ({"pipeline_stage_id": 1}, "Pipeline stage: is invalid"),
            ({"pipeline_stage_id": None}, "Pipeline stage: can't be blank"),
            ({"status": "won"}, "Status: does not have a valid value"),
            ({"status": 1}, "Status: does not have a valid value"),
            ({"status": None}, "Status: can't be blank"),
            ({"loss_reason_id": 1}, "Loss reason: is invalid"),
            ({"customer_source_id": 1}, "Customer source: is invalid"),
            ({"priority": "Urgent"}, "Priority: does not have a valid value"),
            ({"win_probability": 101}, "Win probability: must be an integer between 0 and 100"),
            ({"win_probability": 0.5}, "Win probability: must be an integer between 0 and 100"),
            ({"monetary_value": "much"}, "Monetary value: is not a number"),
            ({"monetary_unit": "XXX"}, "Monetary unit: does not have a valid value"),
            ({"close_date": "31/12/2026"}, "Close date: is invalid"),
            ({"close_date": "2026-12-31"}, "Close date: is invalid"),
            ({"close_date": 1_780_000_000}, "Close date: is invalid"),
            ({"tags": "a,b"}, "Tags: is invalid"),
            ({"stage": 1}, "Base: Unknown parameter stage"),
        ],
    )
    def test_a_bad_value_is_refused_and_nothing_is_written(
        self, copper: Account, body: dict[str, Any], problem: str
    ) -> None:
        deal = copper.deal(name="Before")
        assert copper.refused("PUT", f"/opportunities/{deal['id']}", {"details": "x", **body}) == problem
        assert copper.get(f"/opportunities/{deal['id']}") == deal

    def test_name_and_primary_contact_are_required(self, copper: Account) -> None:
        problems = copper.refused("POST", "/opportunities", {})
        assert problems == "Name: can't be blank, Primary contact: can't be blank"

    def test_an_account_may_not_need_the_primary_contact(self, up: Callable[..., Account]) -> None:
        account = up(extra={"copper_contact_optional": True})
        assert account.post("/opportunities", {"name": "x"})["primary_contact_id"] is None

    def test_the_refusal_has_the_recorded_form(self, copper: Account) -> None:
        answer = copper.ask("POST", "/companies", {})
        assert (answer.status_code, answer.json()) == (422, example("error_validation_blank_name_422"))

    def test_a_stage_of_another_pipeline_is_refused(self, copper: Account) -> None:
        other = list(copper.world.pipelines.values())[1]
        deal = copper.deal()
        body = {"pipeline_stage_id": int(other.stages[0].id)}
        problem = "Pipeline stage: does not belong to the pipeline"
        assert copper.refused("PUT", f"/opportunities/{deal['id']}", body) == problem

    def test_a_user_who_left_gets_nothing_new(self, up: Callable[..., Account]) -> None:
        account = up()
        deal = account.deal()
        body = {"assignee_id": account.left_user()}
        assert account.refused("PUT", f"/opportunities/{deal['id']}", body) == "Assignee: is invalid"
        lenient = up(extra={"copper_left_assignees": True})
        assert lenient.deal(**body)["assignee_id"] == lenient.left_user()

    def test_malformed_json_is_refused(self, copper: Account) -> None:
        url = f"{copper.app.base_url}/opportunities"
        assert copper.session.post(url, data=b'{"name": ', timeout=5).status_code == 400

    @pytest.mark.parametrize(
        "path", ["/pipelines", "/pipeline_stages", "/users", "/loss_reasons", "/customer_sources", "/leads"]
    )
    def test_lists_of_the_account_cannot_be_written(self, copper: Account, path: str) -> None:
        answer = copper.ask("POST", path, {"name": "New"})
        assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})


class TestCustomValues:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("po_number", "PO-1"),
            ("seats", 12.25),
            ("crmkit_id", 2**53),
            ("is_strategic", True),
            ("discount", 15),
            ("proposal", "https://example.com/p"),
            ("hardware", 99.5),
            ("remarks", "x" * 400),
        ],
    )
    def test_a_value_reads_back_and_null_clears_it(self, copper: Account, key: str, value: Any) -> None:
        field = copper.world.fields["deal"][key]
        deal = copper.deal(**set_custom(field.id, value))
        assert custom(deal, field.id) == value
        cleared = copper.put(f"/opportunities/{deal['id']}", set_custom(field.id, None))
        assert custom(cleared, field.id) == (False if key == "is_strategic" else None)

    def test_those_not_sent_stay(self, copper: Account) -> None:
        fields = copper.world.fields["deal"]
        deal = copper.deal(**set_custom(fields["seats"].id, 3))
        answer = copper.put(f"/opportunities/{deal['id']}", set_custom(fields["po_number"].id, "PO-2"))
        assert custom(answer, fields["seats"].id) == 3

    def test_a_date_is_the_day_in_the_zone_of_the_account(self, copper: Account) -> None:
        field = copper.world.fields["deal"]["contract_end"]
        utc_midnight = int(datetime(2027, 3, 5, tzinfo=UTC).timestamp())
        deal = copper.deal(**set_custom(field.id, utc_midnight))
        there = datetime(2027, 3, 4, tzinfo=ZoneInfo("America/Los_Angeles"))
        assert custom(deal, field.id) == int(there.timestamp())

    def test_options_are_written_by_id(self, copper: Account) -> None:
        fields = copper.world.fields["deal"]
        region, products = fields["region"], fields["products"]
        chosen = [int(option.id) for option in products.options[1:3]]
        deal = copper.deal(**set_custom(region.id, int(region.options[0].id)))
        answer = copper.put(f"/opportunities/{deal['id']}", set_custom(products.id, chosen))
        assert custom(answer, region.id) == int(region.options[0].id)
        assert custom(answer, products.id) == chosen
        emptied = copper.put(f"/opportunities/{deal['id']}", set_custom(products.id, []))
        assert custom(emptied, products.id) == []

    @pytest.mark.parametrize(
        ("key", "value", "problem"),
        [
            ("region", "EMEA", "Region is not an option"),
            ("region", 1, "Region is not an option"),
            ("products", [1], "Products is not an option"),
            ("seats", "many", "Seats is not a number"),
            ("contract_end", "2027-01-01", "Contract end is not a valid timestamp"),
            ("is_strategic", "yes", "Strategic? is not true or false"),
            ("po_number", 5, "PO number is not a text"),
            ("po_number", "x" * 256, "PO number is too long (maximum is 255 characters)"),
            ("discount", 1.5, "Discount must be an integer"),
        ],
    )
    def test_a_value_that_does_not_fit_is_refused(
        self, copper: Account, key: str, value: Any, problem: str
    ) -> None:
        field = copper.world.fields["deal"][key]
        path = f"/opportunities/{copper.any_deal()}"
        assert copper.refused("PUT", path, set_custom(field.id, value)) == f"Custom fields: {problem}"

    def test_a_definition_of_other_records_is_refused(self, copper: Account) -> None:
        field = copper.world.fields["deal"]["seats"]
        problem = f"Custom fields: custom_field_definition_id {field.id} is invalid"
        assert copper.refused("POST", "/people", {"name": "x", **set_custom(field.id, 1)}) == problem


class TestCompanies:
    def test_the_official_create_is_answered_as_documented(self, copper: Account) -> None:
        request = example("company_create_request")
        answer = copper.post("/companies", request)
        assert misses(example("company_create_response_200"), answer) == {}
        assert answer["address"] == request["address"]
        assert copper.get(f"/companies/{answer['id']}") == answer

    def test_the_official_update_changes_nothing_else(self, copper: Account) -> None:
        company = copper.post("/companies", example("company_create_request"))
        answer = copper.put(f"/companies/{company['id']}", example("company_update_request"))
        assert {key for key in company if company[key] != answer[key]} == {"details"}

    def test_a_domain_belongs_to_one_company(self, copper: Account) -> None:
        first = copper.company(email_domain="Engines.Example")
        assert copper.get(f"/companies/{first}")["email_domain"] == "engines.example"
        body = {"name": "Another", "email_domain": "engines.example"}
        assert copper.refused("POST", "/companies", body) == "Email domain: has already been taken"
        copper.call("DELETE", f"/companies/{first}")
        assert copper.post("/companies", body)["email_domain"] == "engines.example"

    def test_it_is_found_by_its_domain(self, copper: Account) -> None:
        company = copper.company(email_domain="engines.example")
        found = copper.post("/companies/search", {"email_domains": ["engines.example"]})
        assert [row["id"] for row in found] == [company]

    def test_lists_read_back_as_written(self, copper: Account) -> None:
        sent = {
            "phone_numbers": [{"number": "1", "category": "work"}, {"number": "2", "category": "home"}],
            "websites": [{"url": "https://engines.example", "category": "other"}],
            "socials": [{"url": "https://twitter.com/engines", "category": "twitter"}],
            "contact_type_id": 451491,
            "tags": ["x"],
        }
        company = copper.company(**sent)
        read = copper.get(f"/companies/{company}")
        assert {key: read[key] for key in sent} == sent

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ({"address": {"zip": "1"}}, "Address: is invalid"),
            ({"phone_numbers": [{"number": "1", "category": "fax"}]}, "Phone numbers: is invalid"),
            ({"websites": "https://x.example"}, "Websites: is invalid"),
            ({"contact_type_id": 7}, "Contact type: is invalid"),
            ({"primary_contact_id": 7}, "Primary contact: is invalid"),
            ({"phone": "1"}, "Base: Unknown parameter phone"),
        ],
    )
    def test_bad_values_are_refused(self, copper: Account, body: dict[str, Any], problem: str) -> None:
        assert copper.refused("POST", "/companies", {"name": "x", **body}) == problem

    def test_its_primary_contact_is_one_of_its_people(self, copper: Account) -> None:
        company = copper.company()
        copper.person(company_id=company)
        second = copper.person(company_id=company)
        answer = copper.put(f"/companies/{company}", {"primary_contact_id": second})
        assert answer["primary_contact_id"] == second

    def test_the_notes_of_its_deals_outlive_it(self, copper: Account) -> None:
        note = next(note for note in copper.world.notes.values() if note.deal_id and note.company_id)
        copper.call("DELETE", f"/companies/{note.company_id}")
        told = copper.get(f"/activities/{note.id}")
        assert (told["parent"]["type"], str(told["parent"]["id"])) == ("opportunity", note.deal_id)

    def test_a_deleted_one_leaves_its_deals(self, copper: Account) -> None:
        deal = copper.deal(company_id=copper.company())
        copper.call("DELETE", f"/companies/{deal['company_id']}")
        assert copper.get(f"/opportunities/{deal['id']}")["company_id"] is None


class TestPeople:
    def test_the_official_create_is_answered_as_documented(self, copper: Account) -> None:
        answer = copper.post("/people", example("person_create_request"))
        assert misses(example("person_create_response_200"), answer) == {}
        assert copper.post("/people/fetch_by_email", {"email": "MyContact_1233@noemail.com"}) == answer

    @pytest.mark.parametrize(
        ("name", "parts", "shown"),
        [
            ("Ada", (None, "Ada", None, None, None), "Ada"),
            ("  Ada   Byron ", (None, "Ada", None, "Byron", None), "Ada Byron"),
            (
                "Dr. Ada M. King Byron, Jr.",
                ("Dr.", "Ada", "M. King", "Byron", "Jr."),
                "Dr. Ada M. King Byron Jr.",
            ),
        ],
    )
    def test_a_name_is_split(self, copper: Account, name: str, parts: tuple[Any, ...], shown: str) -> None:
        person = copper.post("/people", {"name": name})
        keys = ("prefix", "first_name", "middle_name", "last_name", "suffix")
        assert tuple(person[key] for key in keys) == parts
        assert person["name"] == shown

    def test_an_address_belongs_to_one_person(self, copper: Account) -> None:
        copper.person(emails=[{"email": "Ada@engines.example", "category": "work"}])
        body = {"name": "Other", "emails": [{"email": "ada@ENGINES.example", "category": "personal"}]}
        assert copper.refused("POST", "/people", body) == "Emails: has already been taken"
        other = copper.person(name="Other")
        taken = {"emails": body["emails"]}
        assert copper.refused("PUT", f"/people/{other}", taken) == "Emails: has already been taken"

    def test_an_address_is_free_again_when_its_person_lets_it_go(self, copper: Account) -> None:
        emails = [{"email": "ada@engines.example", "category": "work"}]
        person = copper.person(emails=emails)
        assert copper.put(f"/people/{person}", {"emails": []})["emails"] == []
        assert copper.ask("POST", "/people/fetch_by_email", {"email": emails[0]["email"]}).status_code == 404
        assert copper.person(emails=emails) != person

    def test_what_was_written_reads_back(self, copper: Account) -> None:
        sent = {
            "emails": [
                {"email": "ada@engines.example", "category": "personal"},
                {"email": "a.b@engines.example", "category": "other"},
            ],
            "phone_numbers": [{"number": "1", "category": "home"}],
            "title": "Countess",
            "company_id": copper.company(),
            "assignee_id": copper.owner(),
            "address": {
                "street": "1 Square",
                "city": "London",
                "state": None,
                "postal_code": "SW1",
                "country": "GB",
            },
            "socials": [{"url": "https://linkedin.com/in/ada", "category": "linkedin"}],
            "details": "First",
        }
        person = copper.person(**sent)
        read = copper.get(f"/people/{person}")
        assert {key: read[key] for key in sent} == sent

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ({"name": ""}, "Name: can't be blank"),
            ({"emails": [{"email": "nobody", "category": "work"}]}, "Emails: is invalid"),
            ({"emails": ["a@b.example"]}, "Emails: is invalid"),
            ({"company_id": 1}, "Company: is invalid"),
        ],
    )
    def test_bad_values_are_refused(self, copper: Account, body: dict[str, Any], problem: str) -> None:
        assert copper.refused("POST", "/people", {"name": "x", **body}) == problem

    def test_a_deal_outlives_its_primary_contact(self, copper: Account) -> None:
        deal = copper.deal()
        second = copper.person()
        copper.post(f"/opportunities/{deal['id']}/related", {"resource": {"id": second, "type": "person"}})
        copper.call("DELETE", f"/people/{deal['primary_contact_id']}")
        assert copper.get(f"/opportunities/{deal['id']}")["primary_contact_id"] is None
        assert copper.get(f"/opportunities/{deal['id']}/related") == [{"id": second, "type": "person"}]


class TestAccessAndFaults:
    def test_a_login_may_be_allowed_to_read_only(self, up: Callable[..., Account]) -> None:
        account = up(extra={"copper_read_only": True})
        answer = account.ask("PUT", f"/opportunities/{account.any_deal()}", {"name": "x"})
        assert (answer.status_code, answer.json()["success"]) == (403, False)
        assert len(account.post("/opportunities/search", {})) == 20

    def test_a_forbidden_kind_cannot_be_written(self, up: Callable[..., Account]) -> None:
        account = up(extra={"copper_forbidden": ["people"]})
        assert account.ask("POST", "/people", {"name": "x"}).status_code == 403
        assert account.ask("POST", "/companies", {"name": "x"}).status_code == 200

    def test_writes_are_counted_against_the_minute(self, up: Callable[..., Account]) -> None:
        account = up(limits="real")
        statuses = [account.ask("POST", "/companies", {"name": str(n)}).status_code for n in range(181)]
        assert statuses == [200] * 180 + [429]

    def test_an_answer_that_never_comes_may_belong_to_a_deal(self, copper: Account) -> None:
        person = copper.person()
        copper.app.faults.script = read_script([{"fault": "timeout_after_commit", "kind": "write"}])
        with pytest.raises(requests.ConnectionError):
            copper.deal(primary_contact_id=person, tags=["crmkit:hub:1"])
        assert len(copper.post("/opportunities/search", {"tags": ["crmkit:hub:1"]})) == 1

    def test_an_error_may_hide_an_update_that_was_made(self, copper: Account) -> None:
        deal = copper.deal()
        copper.app.faults.script = read_script([{"fault": "server_error_after_commit", "kind": "write"}])
        assert copper.ask("PUT", f"/opportunities/{deal['id']}", {"name": "Made"}).status_code >= 500
        assert copper.get(f"/opportunities/{deal['id']}")["name"] == "Made"

    def test_a_create_may_come_late(self, copper: Account) -> None:
        copper.app.faults.script = read_script([{"fault": "commit_late", "kind": "write"}])
        with pytest.raises(requests.ConnectionError):
            copper.company(tags=["late"])
        assert copper.post("/companies/search", {"tags": ["late"]}) == []
        copper.box.clock.advance(30)
        assert len(copper.post("/companies/search", {"tags": ["late"]})) == 1

    @pytest.mark.parametrize("fault", ["server_error", "dropped"])
    def test_what_fails_before_is_not_written(self, copper: Account, fault: str) -> None:
        copper.app.faults.script = read_script([{"fault": fault, "kind": "write"}])
        before = set(copper.world.companies)
        try:
            status = copper.ask("POST", "/companies", {"name": "x"}).status_code
        except requests.ConnectionError:
            status = 0
        assert status in {0, 500, 502, 503}
        assert set(copper.world.companies) == before

    def test_puts_and_deletes_are_writes_and_a_search_is_not(self, copper: Account) -> None:
        copper.app.requests.clear()
        deal = copper.deal()
        copper.put(f"/opportunities/{deal['id']}", {"name": "x"})
        copper.call("DELETE", f"/opportunities/{deal['id']}")
        copper.post("/opportunities/search", {})
        copper.post(f"/companies/{next(iter(copper.world.companies))}/activities", {})
        assert copper.app.requests.kinds == {"write": 4, "list": 2}
        assert copper.app.requests.mutating == 4


class TestSideEffects:
    def test_writes_start_automations(self, copper: Account) -> None:
        deal = copper.deal(primary_contact_id=int(next(iter(copper.world.contacts))))
        row_id = str(deal["id"])
        copper.put(f"/opportunities/{row_id}", {"name": "x"})
        copper.call("DELETE", f"/opportunities/{row_id}")
        assert copper.effects == [("deal", row_id, "workflow")] * 3

    def test_a_new_owner_is_told_and_the_writer_is_not(self, copper: Account) -> None:
        company = str(copper.company(assignee_id=copper.owner()))
        copper.put(f"/companies/{company}", {"assignee_id": int(copper.app.account.user.id)})
        assert [what for _, _, what in copper.effects] == ["workflow", "notification", "workflow"]

    def test_a_refused_write_starts_nothing(self, copper: Account) -> None:
        copper.refused("POST", "/opportunities", {})
        assert copper.effects == []

    def test_the_control_plane_shows_them(self, copper: Account) -> None:
        company = str(copper.company())
        shown = requests.get(copper.app.origin + "/_sandbox/side-effects", timeout=5).json()
        by = copper.app.account.user.id
        assert shown == [{"kind": "company", "id": company, "what": "workflow", "by": by}]

    def test_a_subscription_is_served_its_event_only(self, copper: Account) -> None:
        hook = {"target": "https://hooks.example", "type": "opportunity", "event": "update"}
        copper.post("/webhooks", hook)
        deal = copper.deal(primary_contact_id=int(next(iter(copper.world.contacts))))
        copper.put(f"/opportunities/{deal['id']}", {"name": "x"})
        assert [what for _, _, what in copper.effects] == ["workflow", "workflow", "webhook"]
