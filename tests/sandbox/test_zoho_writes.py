"""The Zoho sandbox takes writes of records as the contract says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from crmkit.sandbox.zoho.seed import ORG_BASE
from tests.sandbox.zoho_wire import LAYOUT, NEW, NOW, Client, codes, rows, starting

UP = Callable[..., Client]


@pytest.fixture
def up() -> Iterator[UP]:
    with starting() as start:
        yield start


@pytest.fixture
def client(up: UP) -> Client:
    return up()


def key(client: Client) -> str:
    """The API name of the organisation's own unique field."""
    fields = client.get("settings/fields", module="Deals").json()["fields"]
    return next(str(one["api_name"]) for one in fields if one["unique"])


def inactive(client: Client) -> str:
    return next(user.id for user in client.world.users.values() if not user.active)


class TestCreate:
    def test_what_was_written_is_read_back(self, client: Client) -> None:
        company, contact = next(iter(client.world.companies)), next(iter(client.world.contacts))
        said = {
            **NEW,
            "Amount": 12500.5,
            "Currency": "EUR",
            "Closing_Date": "2026-12-31",
            "Next_Step": "Call",
            "Description": "Zeile 1\nZeile 2",
            "Type": "New Business",
            "Tag": [{"name": "Renewal"}],
            "Account_Name": {"id": company},
            "Contact_Name": {"id": contact},
        }
        read = client.read(f"Deals/{client.created(**said)}")
        for name in ("Account_Name", "Contact_Name"):
            assert read[name]["id"] == said.pop(name)["id"]  # type: ignore[index]
        assert [tag["name"] for tag in read.pop("Tag")] == ["Renewal"]
        said.pop("Tag")
        assert {name: read[name] for name in said} == said
        assert (read["Probability"], read["Expected_Revenue"]) == (10, 1250.05)

    def test_the_answer_tells_id_stamps_and_authors(self, client: Client) -> None:
        answer = client.post("Deals", NEW)
        me = {"name": client.app.org.me.name, "id": client.app.org.me.id}
        (row,) = rows(answer)
        details = row.pop("details")
        assert row == {"code": "SUCCESS", "message": "record added", "status": "success"}
        assert details.pop("id").isdecimal()
        stamp = "2026-06-01T15:00:00+03:00"
        assert details == {
            "Modified_Time": stamp,
            "Created_Time": stamp,
            "Created_By": me,
            "Modified_By": me,
            "$approval_state": "approved",
        }

    def test_the_api_user_owns_what_has_no_owner(self, client: Client) -> None:
        assert client.read(f"Deals/{client.created()}")["Owner"]["id"] == client.app.org.me.id

    @pytest.mark.parametrize("name", ["Deal_Name", "Stage", "Pipeline"])
    def test_a_required_field_that_is_missing_is_named(self, client: Client, name: str) -> None:
        answer = client.post("Deals", {one: value for one, value in NEW.items() if one != name})
        assert (answer.status_code, rows(answer)) == (
            400,
            [
                {
                    "code": "MANDATORY_NOT_FOUND",
                    "details": {"api_name": name, "json_path": f"$.data[0].{name}"},
                    "message": "required field not found",
                    "status": "error",
                }
            ],
        )

    def test_without_pipelines_the_recorded_create_needs_none(self, up: UP) -> None:
        said = {"Deal_Name": "Test Deal (API)", "Stage": "Qualification", "Amount": 10000}
        assert up(extra={"pipelines": False}).post("Deals", said).status_code == 201

    def test_unknown_and_read_only_names_are_ignored(self, client: Client) -> None:
        made = client.created(Nope=1, Expected_Revenue=80000, Created_Time="2001-01-01T00:00:00+00:00")
        read = client.read(f"Deals/{made}")
        assert "Nope" not in read
        assert (read["Expected_Revenue"], read["Created_Time"][:4]) == (None, "2026")

    @pytest.mark.parametrize(
        ("name", "value", "details"),
        [
            ("Amount", "12", {"expected_data_type": "double"}),
            ("Amount", True, {"expected_data_type": "double"}),
            ("Closing_Date", "31.12.2026", {"expected_data_type": "date"}),
            ("Closing_Date", "2026-12-31T00:00:00+00:00", {"expected_data_type": "date"}),
            ("Deal_Name", 7, {"expected_data_type": "text"}),
            ("Deal_Name", "x" * 256, {"maximum_length": 255}),
            ("Account_Name", "Acme", {"expected_data_type": "jsonobject"}),
            ("Account_Name", {"id": "1"}, {}),
            ("Owner", {"id": "1"}, {}),
            ("Owner", None, {"expected_data_type": "jsonobject"}),
            ("Currency", "XXX", {"supported_values": ["USD", "EUR", "GBP", "JPY", "CHF"]}),
            ("Probability", 101, {}),
            ("Probability", 1.5, {"expected_data_type": "integer"}),
        ],
    )
    def test_a_value_that_does_not_fit_is_refused(
        self, client: Client, name: str, value: Any, details: dict[str, Any]
    ) -> None:
        answer = client.post("Deals", {**NEW, name: value})
        (row,) = rows(answer)
        assert (answer.status_code, row["code"]) == (400, "INVALID_DATA")
        assert row["details"] == {**details, "api_name": name, "json_path": f"$.data[0].{name}"}

    def test_nobody_inactive_can_own_a_deal(self, client: Client) -> None:
        answer = client.post("Deals", {**NEW, "Owner": {"id": inactive(client)}})
        assert (codes(answer), rows(answer)[0]["details"]["api_name"]) == (["INVALID_DATA"], "Owner")

    def test_several_errors_of_a_row_come_as_one(self, client: Client) -> None:
        (row,) = rows(client.post("Deals", {"Deal_Name": 1, "Stage": "x", "Pipeline": None}))
        assert row["code"] == "MULTIPLE_OR_MULTI_ERRORS"
        assert [one["code"] for one in row["details"]["errors"]] == ["INVALID_DATA", "MANDATORY_NOT_FOUND"]

    def test_a_bad_row_does_not_stop_its_neighbours(self, client: Client) -> None:
        answer = client.post("Deals", {**NEW, "Deal_Name": "a"}, {"Stage": "x"}, {**NEW, "Deal_Name": "c"})
        assert answer.status_code == 207
        good, _, last = rows(answer)
        names = [client.world.deals[row["details"]["id"]].name for row in (good, last)]
        assert (codes(answer)[1], names) == ("MULTIPLE_OR_MULTI_ERRORS", ["a", "c"])

    def test_a_batch_of_101_is_refused_whole(self, client: Client) -> None:
        before = len(client.world.deals)
        answer = client.post("Deals", *[NEW] * 101)
        assert (answer.status_code, codes(answer)) == (400, ["LIMIT_EXCEEDED"])
        assert len(client.world.deals) == before

    @pytest.mark.parametrize(
        ("content", "code"),
        [({}, "MANDATORY_NOT_FOUND"), ({"data": []}, "INVALID_DATA"), ([], "INVALID_DATA")],
    )
    def test_a_body_without_rows_is_refused(self, client: Client, content: Any, code: str) -> None:
        answer = client.call("POST", "Deals", content)
        assert (answer.status_code, answer.json()["code"]) == (400, code)

    def test_a_body_that_is_no_json_is_refused(self, client: Client) -> None:
        answer = client.call("POST", "Deals", data=b"{")
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_DATA")

    def test_a_module_that_is_empty_here_takes_nothing(self, client: Client) -> None:
        assert client.post("Leads", {"Last_Name": "x"}).json()["code"] == "NOT_SUPPORTED"

    def test_another_layout_is_refused(self, client: Client) -> None:
        assert codes(client.post("Deals", {**NEW, "Layout": {"id": "1"}})) == ["INVALID_DATA"]
        assert codes(client.post("Deals", {**NEW, "Layout": {"id": LAYOUT}})) == ["SUCCESS"]

    @pytest.mark.parametrize(
        ("currency", "sent", "kept"), [("EUR", 10.125, 10.13), ("JPY", 10.5, 11), ("USD", 3, 3)]
    )
    def test_an_amount_is_rounded_to_its_currency(
        self, client: Client, currency: str, sent: float, kept: float
    ) -> None:
        made = client.created(Amount=sent, Currency=currency)
        assert client.read(f"Deals/{made}")["Amount"] == kept
        assert client.world.deals[made].amount == Decimal(str(kept))


class TestStages:
    def test_an_unknown_stage_is_stored_and_the_probability_stays(self, client: Client) -> None:
        made = client.created()
        assert codes(client.put(f"Deals/{made}", {"Stage": "Negotiation", "Amount": 50000})) == ["SUCCESS"]
        read = client.read(f"Deals/{made}")
        assert (read["Stage"], read["Probability"], read["Expected_Revenue"]) == ("Negotiation", 10, 5000)

    def test_a_known_stage_sets_probability_history_and_status(self, client: Client) -> None:
        made = client.created(Probability=42)
        assert client.read(f"Deals/{made}")["Probability"] == 42
        client.put(f"Deals/{made}", {"Stage": "Closed Won"})
        deal = client.world.deals[made]
        assert (client.read(f"Deals/{made}")["Probability"], deal.status, deal.closed_at) == (100, "won", NOW)
        assert [visit.by_user_id for visit in deal.history] == [client.app.org.me.id] * 2

    def test_a_stage_is_known_by_its_actual_value_only(self, client: Client) -> None:
        assert client.read(f"Deals/{client.created(Stage='Id. Decision Makers')}")["Probability"] == 60
        assert client.read(f"Deals/{client.created(Stage='Identify Decision Makers')}")["Probability"] == 0

    def test_a_value_of_no_pipeline_is_known_all_the_same(self, client: Client) -> None:
        read = client.read(f"Deals/{client.created(Stage='Verbal OK')}")
        assert (read["Stage"], read["Probability"]) == ("Verbal OK", 95)

    def test_an_unknown_pipeline_is_stored(self, client: Client) -> None:
        made = client.created(Pipeline="Nope")
        assert client.read(f"Deals/{made}")["Pipeline"] == "Nope"

    def test_strict_stages_must_be_of_the_pipeline(self, up: UP) -> None:
        client = up(extra={"strict_stages": True})
        answer = client.post("Deals", {**NEW, "Stage": "Onboarding"})
        (row,) = rows(answer)
        assert (row["code"], row["details"]["dependee"]["api_name"]) == ("DEPENDENT_MISMATCH", "Pipeline")
        assert codes(client.post("Deals", {**NEW, "Stage": "Nope"})) == ["INVALID_DATA"]


class TestUpdate:
    def test_null_clears_and_what_is_absent_stays(self, client: Client) -> None:
        made = client.created(Amount=5, Next_Step="Call", Closing_Date="2026-12-31")
        client.put("Deals", {"id": made, "Amount": None, "Next_Step": None})
        read = client.read(f"Deals/{made}")
        assert (read["Amount"], read["Next_Step"], read["Closing_Date"]) == (None, None, "2026-12-31")
        assert client.world.deals[made].expected_close == date(2026, 12, 31)

    def test_every_update_moves_the_stamp_and_names_its_author(self, client: Client) -> None:
        deal = next(one for one in client.world.deals.values() if one.owner_id != client.app.org.me.id)
        answer = client.put(f"Deals/{deal.id}", {"Deal_Name": deal.name})
        assert rows(answer)[0]["message"] == "record updated"
        read = client.read(f"Deals/{deal.id}")
        assert read["Modified_Time"] == "2026-06-01T15:00:00+03:00"
        assert (read["Modified_By"]["id"], read["Created_By"]["id"]) == (client.app.org.me.id, deal.owner_id)

    def test_a_required_field_cannot_be_emptied(self, client: Client) -> None:
        answer = client.put(f"Deals/{client.created()}", {"Deal_Name": None})
        assert codes(answer) == ["MANDATORY_NOT_FOUND"]

    def test_an_unknown_id_is_told_by_where_it_stood(self, client: Client) -> None:
        in_path, in_body = client.put("Deals/123", {"Amount": 1}), client.put("Deals", {"id": "123"})
        assert [rows(one)[0]["details"] for one in (in_path, in_body)] == [
            {"resource_path_index": 1},
            {"api_name": "id", "json_path": "$.data[0].id"},
        ]
        assert in_path.status_code == in_body.status_code == 400

    def test_a_row_without_id_is_refused(self, client: Client) -> None:
        assert codes(client.put("Deals", {"Amount": 1})) == ["MANDATORY_NOT_FOUND"]

    def test_what_was_modified_since_is_not_overwritten(self, client: Client) -> None:
        made = client.created()
        client.world.clock.advance(10)
        client.put(f"Deals/{made}", {"Amount": 1})
        header = {"If-Unmodified-Since": "2026-06-01T12:00:09+00:00"}
        answer = client.put("Deals", {"id": made, "Amount": 2}, headers=header)
        (row,) = rows(answer)
        assert (answer.status_code, row["code"]) == (412, "ALREADY_MODIFIED")
        assert row["details"]["Modified_Time"] == "2026-06-01T15:00:10+03:00"
        assert client.world.deals[made].amount == 1
        header = {"If-Unmodified-Since": "2026-06-01T12:00:10+00:00"}
        assert client.put("Deals", {"id": made, "Amount": 2}, headers=header).status_code == 200

    def test_the_condition_is_judged_row_by_row(self, client: Client) -> None:
        old = next(one for one in client.world.deals.values() if one.modified < NOW - timedelta(days=1))
        header = {"If-Unmodified-Since": "2026-06-01T11:00:00+00:00"}
        answer = client.put(
            "Deals", {"id": client.created(), "Amount": 1}, {"id": old.id, "Amount": 1}, headers=header
        )
        assert (answer.status_code, codes(answer)) == (207, ["ALREADY_MODIFIED", "SUCCESS"])

    def test_a_condition_that_is_no_time_is_refused(self, client: Client) -> None:
        answer = client.put("Deals", {"id": client.created()}, headers={"If-Unmodified-Since": "yesterday"})
        assert (answer.status_code, answer.json()["details"]) == (400, {"param_name": "If-Unmodified-Since"})

    def test_a_locked_record_is_left_alone(self, client: Client) -> None:
        made = client.created()
        client.world.edit_deal(made, custom={"$Locked__s": True})
        assert client.read(f"Deals/{made}")["Locked__s"] is True
        (row,) = rows(client.put("Deals", {"id": made, "Amount": 1}))
        assert row["details"] == {"api_name": "id", "json_path": "$.data[0].id", "action": "record_locking"}
        assert codes(client.call("DELETE", f"Deals/{made}")) == ["RECORD_LOCKED"]

    def test_the_primary_contact_changes_and_goes(self, client: Client) -> None:
        first, second, *_ = client.world.contacts
        made = client.created(Contact_Name={"id": first})
        client.put(f"Deals/{made}", {"Contact_Name": {"id": second}})
        assert client.world.deals[made].contact_ids == (second,)
        client.put(f"Deals/{made}", {"Contact_Name": None})
        assert client.read(f"Deals/{made}")["Contact_Name"] is None


class TestOwnFields:
    def test_own_fields_are_read_back(self, client: Client) -> None:
        fields = client.world.fields["deal"]
        region = fields["region"].options[0].label
        products = [option.label for option in fields["products"].options[:2]]
        said = self.named(client, region=region, products=products, seats=7)
        read = client.read(f"Deals/{client.created(**said)}")
        assert {name: read[name] for name in said} == said

    def named(self, client: Client, **values: Any) -> dict[str, Any]:
        labels = {one.label: one.key for one in client.world.fields["deal"].values()}
        fields = client.get("settings/fields", module="Deals").json()["fields"]
        names = {labels[one["field_label"]]: one["api_name"] for one in fields if one["custom_field"]}
        return {names[key]: value for key, value in values.items()}

    def test_a_value_that_a_picklist_lacks_is_refused(self, client: Client) -> None:
        (row,) = rows(client.post("Deals", {**NEW, **self.named(client, region="Atlantis")}))
        labels = [option.label for option in client.world.fields["deal"]["region"].options]
        assert (row["code"], row["details"]["supported_values"]) == ("INVALID_DATA", labels)

    def test_values_are_appended_if_asked(self, client: Client) -> None:
        one, two, *_ = (option.label for option in client.world.fields["deal"]["products"].options)
        ((name, _),) = self.named(client, products=0).items()
        made = client.created(**{name: [one]})
        client.put(f"Deals/{made}", {name: [two], "$append_values": {name: True}})
        assert client.read(f"Deals/{made}")[name] == [one, two]
        client.put(f"Deals/{made}", {name: [two]})
        assert client.read(f"Deals/{made}")[name] == [two]


class TestUnique:
    def test_a_second_holder_is_refused_with_the_id_of_the_first(self, client: Client) -> None:
        name = key(client)
        first = client.created(**{name: "hubspot:deal:1"})
        answer = client.post("Deals", {**NEW, name: "hubspot:deal:1"})
        (row,) = rows(answer)
        assert (answer.status_code, row["code"], row["message"]) == (400, "DUPLICATE_DATA", "duplicate data")
        details = row["details"]
        assert (details["api_name"], details["id"], details["duplicate_record"]["id"]) == (name, first, first)
        assert (details["json_path"], details["more_records"]) == (f"$.data[0].{name}", False)

    def test_two_of_a_kind_in_one_batch_clash(self, client: Client) -> None:
        row = {**NEW, key(client): "k"}
        assert codes(client.post("Deals", row, row)) == ["SUCCESS", "DUPLICATE_DATA"]

    def test_an_update_may_keep_its_own_value_and_take_a_free_one(self, client: Client) -> None:
        name = key(client)
        first, second = client.created(**{name: "a"}), client.created(**{name: "b"})
        assert codes(client.put("Deals", {"id": first, name: "a"}, {"id": second, name: "a"})) == [
            "SUCCESS",
            "DUPLICATE_DATA",
        ]
        client.call("DELETE", f"Deals/{first}")
        assert codes(client.put("Deals", {"id": second, name: "a"})) == ["SUCCESS"]

    def test_values_that_came_another_way_count(self, client: Client) -> None:
        for value in ("before the first look", "after it"):
            client.world.create_deal(name="x", custom={"crmkit_key": value})
            assert codes(client.post("Deals", {**NEW, key(client): value})) == ["DUPLICATE_DATA"]


class TestUpsert:
    def test_the_same_call_twice_writes_one_deal(self, client: Client) -> None:
        name = key(client)
        said = {**NEW, name: "src:deal:1"}
        first = client.post("Deals/upsert", said, duplicate_check_fields=[name], trigger=[])
        second = client.post("Deals/upsert", {**said, "Amount": 5}, duplicate_check_fields=[name], trigger=[])
        (made,), (changed,) = rows(first), rows(second)
        assert (first.status_code, made["action"], made["duplicate_field"]) == (200, "insert", None)
        assert (second.status_code, changed["action"], changed["duplicate_field"]) == (200, "update", name)
        assert made["details"]["id"] == changed["details"]["id"]
        assert client.world.deals[made["details"]["id"]].amount == 5

    def test_without_a_list_a_namesake_is_overwritten(self, client: Client) -> None:
        made = client.created(Deal_Name="Renewal", Amount=1)
        (row,) = rows(
            client.post("Deals/upsert", {**NEW, "Deal_Name": "renewal", "Amount": 2, key(client): "k"})
        )
        assert (row["action"], row["duplicate_field"], row["details"]["id"]) == ("update", "Deal_Name", made)
        assert client.world.deals[made].amount == 2

    def test_with_a_list_a_namesake_is_left_alone(self, client: Client) -> None:
        made = client.created(Deal_Name="Renewal", Amount=1)
        said = {**NEW, "Deal_Name": "Renewal", "Amount": 2, key(client): "k"}
        (row,) = rows(client.post("Deals/upsert", said, duplicate_check_fields=[key(client)]))
        assert (row["action"], client.world.deals[made].amount) == ("insert", 1)

    def test_a_list_in_a_header_is_ignored(self, client: Client) -> None:
        made = client.created(Deal_Name="Renewal")
        said = {"data": [{**NEW, "Deal_Name": "Renewal", key(client): "k"}]}
        header = {"duplicate_check_fields": key(client)}
        (row,) = rows(client.call("POST", "Deals/upsert", said, headers=header))
        assert row["details"]["id"] == made

    def test_a_match_needs_its_required_fields_too(self, client: Client) -> None:
        name = key(client)
        made = client.created(**{name: "k"})
        (row,) = rows(
            client.post("Deals/upsert", {**NEW, name: "k", "Stage": None}, duplicate_check_fields=[name])
        )
        details = {"api_name": "Stage", "json_path": "$.data[0].Stage", "id": made}
        assert (row["code"], row["details"]) == ("MANDATORY_NOT_FOUND", details)

    def test_one_key_twice_in_a_batch_writes_one_deal(self, client: Client) -> None:
        said = {**NEW, key(client): "k"}
        answer = client.post("Deals/upsert", said, said, duplicate_check_fields=[key(client)])
        assert [row["action"] for row in rows(answer)] == ["insert", "update"]

    def test_a_condition_holds_for_matches(self, client: Client) -> None:
        said = {**NEW, key(client): "k"}
        client.post("Deals", said)
        body = {"data": [said], "duplicate_check_fields": [key(client)]}
        header = {"If-Unmodified-Since": "2026-05-01T00:00:00+00:00"}
        answer = client.call("POST", "Deals/upsert", body, headers=header)
        assert (answer.status_code, codes(answer)) == (412, ["ALREADY_MODIFIED"])

    def test_a_field_that_is_not_unique_cannot_be_matched_by(self, client: Client) -> None:
        answer = client.post("Deals/upsert", NEW, duplicate_check_fields=["Next_Step"])
        assert answer.json()["details"]["json_path"] == "$.duplicate_check_fields[0]"

    def test_contacts_match_by_e_mail(self, client: Client) -> None:
        contact = next(one for one in client.world.contacts.values() if one.emails)
        said = {"Last_Name": "Changed", "Email": contact.emails[0].upper()}
        (row,) = rows(client.post("Contacts/upsert", said))
        assert (row["details"]["id"], row["duplicate_field"]) == (contact.id, "Email")


class TestDelete:
    def test_what_is_deleted_goes_to_the_recycle_bin(self, client: Client) -> None:
        made = client.created()
        answer = client.call("DELETE", f"Deals/{made}")
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "data": [
                    {
                        "code": "SUCCESS",
                        "details": {"id": made},
                        "message": "record deleted",
                        "status": "success",
                    }
                ]
            },
        )
        assert client.get(f"Deals/{made}").status_code == 204
        row = client.get("Deals/deleted").json()["data"][0]
        assert (row["id"], row["type"], row["deleted_by"]["id"]) == (made, "recycle", client.app.org.me.id)

    def test_several_are_deleted_as_far_as_they_exist(self, client: Client) -> None:
        made = client.created()
        answer = client.call("DELETE", "Deals", params={"ids": f"{made},1"})
        assert (answer.status_code, codes(answer)) == (207, ["SUCCESS", "INVALID_DATA"])
        assert client.call("DELETE", "Deals", params={"ids": "1,2"}).status_code == 400

    def test_an_unknown_id_in_the_address_is_told(self, client: Client) -> None:
        answer = client.call("DELETE", "Deals/1")
        assert (answer.status_code, answer.json()["details"]) == (400, {"resource_path_index": 1})

    def test_ids_are_needed_and_at_most_a_hundred(self, client: Client) -> None:
        assert client.call("DELETE", "Deals").json()["code"] == "REQUIRED_PARAM_MISSING"
        many = ",".join(map(str, range(101)))
        assert client.call("DELETE", "Deals", params={"ids": many}).json()["code"] == "LIMIT_EXCEEDED"


class TestPeople:
    def test_a_company_is_read_back(self, client: Client) -> None:
        said = {
            "Account_Name": "Bentley Systems",
            "Phone": "555-2233445",
            "Website": "www.bentleysystems.com",
            "Billing_City": "Exton",
            "Billing_Country": "USA",
            "Industry": "Engineering",
            "Employees": 1200,
            "Annual_Revenue": 25000000,
            "Account_Number": "10023",
            "Shipping_State": "Pennsylvania",
            "Ownership": "Private",
        }
        made = rows(client.post("Accounts", said))[0]["details"]["id"]
        read = client.read(f"Accounts/{made}")
        assert {name: read[name] for name in said} == said
        assert client.world.companies[made].domain == "www.bentleysystems.com"

    def test_a_contact_is_read_back(self, client: Client) -> None:
        company = next(iter(client.world.companies))
        said = {
            "First_Name": "Ana",
            "Last_Name": "Núñez",
            "Email": "Ana@Example.com",
            "Mobile": "1",
            "Title": "CFO",
        }
        made = rows(client.post("Contacts", {**said, "Account_Name": {"id": company}}))[0]["details"]["id"]
        read = client.read(f"Contacts/{made}")
        assert {name: read[name] for name in said} == said
        assert (read["Account_Name"]["id"], read["Phone"], read["Full_Name"]) == (company, None, "Ana Núñez")
        client.put(f"Contacts/{made}", {"Email": None, "Secondary_Email": "b@example.com"})
        read = client.read(f"Contacts/{made}")
        assert (read["Email"], read["Secondary_Email"]) == (None, "b@example.com")

    def test_a_last_name_is_enough_for_a_contact(self, client: Client) -> None:
        made = rows(client.post("Contacts", {"Last_Name": "Núñez"}))[0]["details"]["id"]
        read = client.read(f"Contacts/{made}")
        assert (read["First_Name"], read["Full_Name"]) == (None, "Núñez")

    def test_a_contact_needs_a_last_name_and_a_good_e_mail(self, client: Client) -> None:
        answer = client.post("Contacts", {"First_Name": "Ana"}, {"Last_Name": "N", "Email": "nope"})
        assert (answer.status_code, codes(answer)) == (400, ["MANDATORY_NOT_FOUND", "INVALID_DATA"])


class TestNotes:
    def note(self, deal_id: str, **fields: Any) -> dict[str, Any]:
        return {**fields, "Parent_Id": {"module": {"api_name": "Deals"}, "id": deal_id}}

    def test_a_note_is_read_back_on_its_deal(self, client: Client) -> None:
        deal_id = client.created()
        client.world.clock.advance(60)
        answer = client.post("Notes", self.note(deal_id, Note_Title="Call", Note_Content="Line 1"))
        assert answer.status_code == 201
        (read,) = client.get(
            f"Deals/{deal_id}/Notes", fields="Note_Title,Note_Content,Owner,Parent_Id"
        ).json()["data"]
        assert (read["Note_Title"], read["Note_Content"], read["Parent_Id"]["id"]) == (
            "Call",
            "Line 1",
            deal_id,
        )
        deal = client.read(f"Deals/{deal_id}")
        assert (deal["Last_Activity_Time"][11:19], deal["Modified_Time"][11:19]) == ("15:01:00", "15:00:00")

    def test_a_note_is_added_under_its_record(self, client: Client) -> None:
        company = next(iter(client.world.companies))
        made = rows(client.post(f"Accounts/{company}/Notes", {"Note_Title": "T"}))[0]["details"]["id"]
        assert client.world.notes[made].company_id == company

    def test_a_note_needs_title_or_content(self, client: Client) -> None:
        (row,) = rows(client.post("Notes", self.note(client.created())))
        assert row["code"] == "EXPECTED_FIELD_MISSING"
        assert len(row["details"]["expected_fields"]) == 2

    @pytest.mark.parametrize("parent", [None, "1", {"id": "1"}, {"module": {"api_name": "Deals"}, "id": "1"}])
    def test_a_note_needs_a_parent_as_an_object(self, client: Client, parent: Any) -> None:
        answer = client.post("Notes", {"Note_Title": "x", "Parent_Id": parent})
        assert (answer.status_code, rows(answer)[0]["details"]["api_name"]) == (400, "Parent_Id")

    def test_lengths_are_those_of_notes(self, client: Client) -> None:
        deal_id = client.created()
        long, longer = self.note(deal_id, Note_Title="x" * 121), self.note(deal_id, Note_Content="x" * 65_536)
        details = [row["details"]["maximum_length"] for row in rows(client.post("Notes", long, longer))]
        assert details == [120, 65_535]

    def test_a_note_is_changed_and_deleted(self, client: Client) -> None:
        made = rows(client.post("Notes", self.note(client.created(), Note_Title="a", Note_Content="b")))
        note_id = made[0]["details"]["id"]
        assert codes(client.put("Notes", {"id": note_id, "Note_Content": "c"})) == ["SUCCESS"]
        read = client.read(f"Notes/{note_id}")
        assert (read["Note_Title"], read["Note_Content"]) == ("a", "c")
        assert codes(client.call("DELETE", "Notes", params={"ids": note_id})) == ["SUCCESS"]
        assert client.get(f"Notes/{note_id}").status_code == 204


class TestSideEffects:
    @pytest.mark.parametrize(
        ("more", "what"),
        [
            ({}, ["workflow", "approval", "blueprint"]),
            ({"trigger": []}, []),
            ({"trigger": ["workflow"]}, ["workflow"]),
        ],
    )
    def test_automations_run_unless_told_otherwise(self, client: Client, more: Any, what: list[str]) -> None:
        (row,) = rows(client.post("Deals", NEW, **more))
        shown = requests.get(f"{client.app.origin}/_sandbox/side-effects", timeout=5).json()
        assert [(one["kind"], one["id"], one["what"]) for one in shown] == [
            ("deal", row["details"]["id"], one) for one in what
        ]

    def test_a_row_that_failed_starts_nothing(self, client: Client) -> None:
        client.post("Deals", {})
        assert client.world.side_effects == []

    def test_a_trigger_that_does_not_exist_is_refused(self, client: Client) -> None:
        assert client.post("Deals", NEW, trigger=["all"]).json()["details"]["json_path"] == "$.trigger[0]"

    def test_updates_upserts_and_deletes_start_automations_too(self, client: Client) -> None:
        made = client.created()
        client.put("Deals", {"id": made, "Amount": 1}, trigger=["approval"])
        client.post("Deals/upsert", {**NEW, "id": made}, trigger=["blueprint"])
        client.call("DELETE", f"Deals/{made}")
        assert [one.what for one in client.world.side_effects] == ["approval", "blueprint", "workflow"]
        other = client.created()
        client.call("DELETE", "Deals", params={"ids": other, "wf_trigger": "false"})
        assert len(client.world.side_effects) == 3


class TestSeeing:
    def test_a_write_is_in_the_query_at_once_and_in_the_search_later(self, client: Client) -> None:
        made = client.created(**{key(client): "k-1"})
        found = client.call(
            "POST", "coql", {"select_query": f"select id from Deals where {key(client)} = 'k-1'"}
        )
        assert found.json()["data"][0]["id"] == made
        criteria = f"({key(client)}:equals:k-1)"
        assert client.get("Deals/search", criteria=criteria).status_code == 204
        client.world.clock.advance(6)
        assert client.get("Deals/search", criteria=criteria).json()["data"][0]["id"] == made


class TestRights:
    def test_a_read_only_user_writes_nothing(self, up: UP) -> None:
        client = up(extra={"read_only": True})
        answer = client.post("Deals", NEW)
        assert (answer.status_code, rows(answer)[0]["details"]) == (
            403,
            {"permissions": ["Crm_Implied_Create_Deals"]},
        )
        assert client.call("DELETE", "Deals/1").json()["code"] == "NO_PERMISSION"
        assert client.get("Deals", fields="id").status_code == 200

    def test_some_modules_can_be_closed(self, up: UP) -> None:
        client = up(extra={"read_only": ["Accounts"]})
        assert client.post("Accounts", {"Account_Name": "x"}).status_code == 403
        assert client.post("Deals", NEW).status_code == 201

    @pytest.mark.parametrize(
        ("scopes", "create", "update", "delete"),
        [
            (["ZohoCRM.modules.deals.READ"], 401, 401, 401),
            (["ZohoCRM.modules.deals.CREATE"], 201, 401, 401),
            (["ZohoCRM.modules.deals.WRITE"], 201, 200, 401),
            (["ZohoCRM.modules.ALL"], 201, 200, 200),
        ],
    )
    def test_each_action_needs_its_scope(
        self, up: UP, scopes: list[str], create: int, update: int, delete: int
    ) -> None:
        client = up(extra={"scopes": scopes})
        deal_id = next(iter(client.world.deals))
        found = [client.post("Deals", NEW), client.put(f"Deals/{deal_id}", {"Amount": 1})]
        found.append(client.call("DELETE", f"Deals/{deal_id}"))
        assert [answer.status_code for answer in found] == [create, update, delete]


class TestLimits:
    def test_ten_records_cost_a_credit(self, up: UP) -> None:
        client = up(limits="real")
        for count, cost in ((1, 1), (10, 1), (11, 2), (100, 10)):
            before = client.app.credits.used
            client.post("Deals", *[NEW] * count)
            assert client.app.credits.used - before == cost

    def test_more_than_ten_records_share_the_pool(self, up: UP) -> None:
        client = up(limits="real")
        client.app.pool.running = 10
        assert client.post("Deals", *[NEW] * 11).status_code == 429
        assert client.post("Deals", *[NEW] * 10).status_code == 201

    def test_with_limits_off_nothing_counts(self, up: UP) -> None:
        client = up(extra={"credits": 1})
        assert [client.post("Deals", *[NEW] * 100).status_code for _ in range(2)] == [201, 201]


class TestFaults:
    def faults(self, client: Client, fault: str) -> None:
        script = {"script": [{"fault": fault, "kind": "write"}]}
        requests.post(f"{client.app.origin}/_sandbox/faults", json=script, timeout=5)

    def test_a_write_can_be_carried_out_and_its_answer_lost(self, client: Client) -> None:
        self.faults(client, "timeout_after_commit")
        before = len(client.world.deals)
        with pytest.raises(requests.ConnectionError):
            client.post("Deals", NEW)
        assert len(client.world.deals) == before + 1

    def test_a_write_can_be_carried_out_late(self, client: Client) -> None:
        self.faults(client, "commit_late")
        before = len(client.world.deals)
        with pytest.raises(requests.ConnectionError):
            client.post("Deals", *[{**NEW, "Amount": place} for place in range(11)])
        assert len(client.world.deals) == before
        requests.post(f"{client.app.origin}/_sandbox/commit-late", timeout=5)
        assert len(client.world.deals) == before + 11

    def test_a_server_error_can_hide_a_write(self, client: Client) -> None:
        self.faults(client, "server_error_after_commit")
        before = len(client.world.deals)
        assert client.post("Deals", NEW).status_code >= 500
        assert len(client.world.deals) == before + 1

    def test_new_ids_are_of_the_organisation(self, client: Client) -> None:
        assert int(client.created()) // 10**12 == ORG_BASE // 10**12
