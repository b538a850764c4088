"""The Zoho sandbox: roles, merges, owners, pipelines, fields and bulk write."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.sandbox.zoho_wire import LAYOUT, NEW, Client, codes, rows, starting

UP = Callable[..., Client]


@pytest.fixture
def up() -> Iterator[UP]:
    with starting() as start:
        yield start


@pytest.fixture
def client(up: UP) -> Client:
    return up()


class TestRoles:
    def roles(self, client: Client, deal_id: str) -> dict[str, str]:
        answer = client.get(f"Deals/{deal_id}/Contact_Roles", fields="Email")
        found = answer.json()["data"] if answer.status_code == 200 else []
        return {row["id"]: row["Contact_Role"]["name"] for row in found}

    def role(self, client: Client, name: str) -> dict[str, str]:
        known = client.get("Contacts/roles").json()["contact_roles"]
        return {"id": next(one["id"] for one in known if one["name"] == name)}

    def test_contacts_are_added_changed_and_removed(self, client: Client) -> None:
        first, second, *_ = client.world.contacts
        deal_id = client.created(Contact_Name={"id": first})
        path = f"Deals/{deal_id}/Contact_Roles"
        buyer, sponsor = self.role(client, "Purchasing"), self.role(client, "Executive Sponsor")
        added = client.put(path, {"id": second, "Contact_Role": buyer})
        changed = client.put(path, {"id": first, "Contact_Role": sponsor})
        assert [rows(one)[0]["message"] for one in (added, changed)] == ["relation added", "relation updated"]
        assert self.roles(client, deal_id) == {first: "Executive Sponsor", second: "Purchasing"}
        removed = client.call("DELETE", path, params={"ids": second})
        assert rows(removed)[0]["details"] == {"id": second}
        assert self.roles(client, deal_id) == {first: "Executive Sponsor"}

    def test_a_role_is_put_on_one_contact(self, client: Client) -> None:
        contact, deal_id = next(iter(client.world.contacts)), client.created()
        path = f"Deals/{deal_id}/Contact_Roles/{contact}"
        assert client.put(path, {"Contact_Role": {"name": "Purchasing"}}).status_code == 200
        assert self.roles(client, deal_id) == {contact: "Purchasing"}
        assert client.read(f"Deals/{deal_id}")["Contact_Name"] is None
        assert client.call("DELETE", path).status_code == 200
        assert client.call("DELETE", path).json()["details"] == {"resource_path_index": 3}

    def test_bad_rows_are_told_apart(self, client: Client) -> None:
        contact, role = next(iter(client.world.contacts)), self.role(client, "Purchasing")
        answer = client.put(
            f"Deals/{client.created()}/Contact_Roles",
            {"id": "1", "Contact_Role": role},
            {"id": contact},
            {"id": contact, "Contact_Role": {"id": "1"}},
            {"id": contact, "Contact_Role": role},
        )
        wanted = ["INVALID_DATA", "MANDATORY_NOT_FOUND", "INVALID_DATA", "SUCCESS"]
        assert (answer.status_code, codes(answer)) == (207, wanted)

    def test_a_deal_that_is_not_there_has_no_roles(self, client: Client) -> None:
        assert client.put("Deals/1/Contact_Roles", {"id": "1"}).json()["details"] == {
            "resource_path_index": 1
        }


class TestMerging:
    def merge(self, client: Client, master: str, *losers: dict[str, Any]) -> requests.Response:
        return client.call("POST", f"{master}/actions/merge", {"merge": [{"data": list(losers)}]})

    def test_links_and_chosen_fields_go_to_the_master(self, client: Client) -> None:
        deal = next(one for one in client.world.deals.values() if one.contact_ids)
        loser = client.world.contacts[deal.contact_ids[0]]
        master = next(one for one in client.world.contacts if one not in deal.contact_ids)
        answer = self.merge(
            client, f"Contacts/{master}", {"id": loser.id, "_fields": [{"api_name": "Last_Name"}]}
        )
        assert answer.json()["merge"][0]["details"] == {"id": master}
        assert client.world.contacts[master].last == loser.last
        after = client.world.deals[deal.id]
        assert (after.contact_ids[0], after.modified) == (master, deal.modified)
        assert client.get(f"Contacts/{loser.id}").status_code == 204
        assert client.get("Contacts/deleted").json()["data"][0]["id"] == loser.id

    def test_a_merged_key_is_free_again(self, client: Client) -> None:
        master, loser = client.created(Crmkit_Key="a"), client.created(Crmkit_Key="b")
        assert self.merge(client, f"Deals/{master}", {"id": loser}).status_code == 200
        assert client.post("Deals", {**NEW, "Crmkit_Key": "b"}).status_code == 201

    def test_what_cannot_be_merged_is_told(self, client: Client) -> None:
        one, two, three, four = (client.created() for _ in range(4))
        found = [
            self.merge(client, f"Deals/{one}", {"id": one}),
            self.merge(client, f"Deals/{one}", {"id": "1"}),
            self.merge(client, f"Deals/{one}"),
            self.merge(client, f"Deals/{one}", *({"id": loser} for loser in (two, three, four))),
        ]
        assert [answer.json()["merge"][0]["code"] for answer in found] == [
            "DUPLICATE_DATA",
            "INVALID_DATA",
            "MANDATORY_NOT_FOUND",
            "INVALID_DATA",
        ]
        assert self.merge(client, "Deals/1", {"id": one}).json()["details"] == {"resource_path_index": 1}


class TestOwners:
    def test_records_change_hands(self, client: Client) -> None:
        user = next(one for one in client.world.users.values() if one.active and one is not client.app.org.me)
        ids = [client.created(), client.created()]
        said = {"owner": {"id": user.id}}
        assert client.call("POST", "Deals/actions/change_owner", {"ids": ids, **said}).status_code == 200
        assert {client.world.deals[one].owner_id for one in ids} == {user.id}
        company = next(iter(client.world.companies))
        assert client.call("POST", f"Accounts/{company}/actions/change_owner", said).status_code == 200
        assert client.world.companies[company].owner_id == user.id

    def test_nobody_inactive_gets_them(self, client: Client) -> None:
        user = next(one for one in client.world.users.values() if not one.active)
        said = {"ids": [client.created()], "owner": {"id": user.id}}
        answer = client.call("POST", "Deals/actions/change_owner", said)
        assert (answer.status_code, answer.json()["details"]["json_path"]) == (400, "$.owner.id")


class TestPipelines:
    def send(self, client: Client, method: str, path: str = "", **row: Any) -> requests.Response:
        return client.call(method, f"settings/pipeline{path}?layout_id={LAYOUT}", {"pipeline": [row]})

    def shown(self, client: Client) -> dict[str, Any]:
        found = client.get("settings/pipeline", layout_id=LAYOUT).json()["pipeline"]
        return {one["display_value"]: one for one in found}

    def stages(self, client: Client, *names: str) -> list[str]:
        fields = client.get("settings/fields", module="Deals").json()["fields"]
        values = next(one for one in fields if one["api_name"] == "Stage")["pick_list_values"]
        return [next(one["id"] for one in values if one["display_value"] == name) for name in names]

    def made(self, client: Client, name: str = "Crmkit") -> str:
        won, verbal = self.stages(client, "Closed Won", "Verbal OK")
        maps = [{"id": won, "sequence_number": 2}, {"id": verbal, "sequence_number": 1}]
        answer = self.send(client, "POST", display_value=name, maps=maps)
        assert answer.status_code == 201, answer.text
        pipeline_id: str = answer.json()["pipeline"][0]["details"]["id"]
        return pipeline_id

    def test_a_new_pipeline_takes_deals(self, client: Client) -> None:
        self.made(client)
        maps = self.shown(client)["Crmkit"]["maps"]
        assert [one["display_value"] for one in maps] == ["Verbal OK", "Closed Won"]
        deal_id = client.created(Pipeline="Crmkit", Stage="Verbal OK")
        assert client.read(f"Deals/{deal_id}")["Probability"] == 95

    def test_renaming_changes_what_deals_say(self, client: Client) -> None:
        pipeline_id = self.made(client)
        deal_id = client.created(Pipeline="Crmkit")
        assert self.send(client, "PUT", id=pipeline_id, display_value="Other").status_code == 200
        assert client.read(f"Deals/{deal_id}")["Pipeline"] == "Other"

    def test_stages_are_reordered_added_and_taken_out(self, client: Client) -> None:
        pipeline_id = self.made(client)
        won, verbal, lost = self.stages(client, "Closed Won", "Verbal OK", "Closed Lost")
        maps: list[dict[str, Any]] = [
            {"id": verbal, "_delete": {"permanent": None}},
            {"id": lost, "sequence_number": 1},
            {"id": won, "sequence_number": 2},
        ]
        assert self.send(client, "PATCH", f"/{pipeline_id}", maps=maps).status_code == 200
        found = self.shown(client)["Crmkit"]["maps"]
        assert [one["id"] for one in found] == [lost, won]
        assert self.stages(client, "Verbal OK") == [verbal]
        rest = [{"id": one, "_delete": {"permanent": None}} for one in (lost, won)]
        answer = self.send(client, "PATCH", f"/{pipeline_id}", maps=rest)
        assert answer.json()["pipeline"][0]["code"] == "CANNOT_DELETE"

    def test_an_empty_pipeline_is_deleted_and_one_with_deals_is_not(self, client: Client) -> None:
        pipeline_id = self.made(client)
        deal_id = client.created(Pipeline="Crmkit")
        gone = {"id": pipeline_id, "_delete": {"permanent": None}}
        assert self.send(client, "PUT", **gone).json()["pipeline"][0]["code"] == "CANNOT_DELETE"
        client.call("DELETE", f"Deals/{deal_id}")
        assert self.send(client, "PUT", **gone).status_code == 200
        assert "Crmkit" not in self.shown(client)

    def test_a_transfer_moves_the_deals(self, client: Client) -> None:
        source = self.made(client)
        deal_id = client.created(Pipeline="Crmkit", Stage="Verbal OK")
        target = self.shown(client)["Standard (Standard)"]["id"]
        verbal, first = self.stages(client, "Verbal OK", "Qualification")
        said = {"pipeline": {"from": source, "to": target}, "stages": [{"from": verbal, "to": first}]}
        path = f"settings/pipeline/actions/transfer?layout_id={LAYOUT}"
        missing = client.call("POST", path, {"transfer_pipeline": [{**said, "stages": []}]})
        assert missing.json()["transfer_pipeline"][0]["code"] == "MANDATORY_NOT_FOUND"
        answer = client.call("POST", path, {"transfer_pipeline": [said]})
        assert answer.json()["transfer_pipeline"][0]["details"]["job_id"].isdecimal()
        read = client.read(f"Deals/{deal_id}")
        assert (read["Pipeline"], read["Stage"]) == ("Standard (Standard)", "Qualification")
        assert "Crmkit" not in self.shown(client)

    def test_what_is_wrong_is_told(self, client: Client) -> None:
        (won,) = self.stages(client, "Closed Won")
        maps = [{"id": won, "sequence_number": 1}]
        found = [
            self.send(client, "POST", maps=maps),
            self.send(client, "POST", display_value="x"),
            self.send(client, "POST", display_value="standard (standard)", maps=maps),
            self.send(client, "POST", display_value="x", maps=[{"id": "1"}]),
            self.send(client, "PUT", id="1", display_value="x"),
        ]
        assert [(one.status_code, one.json()["pipeline"][0]["code"]) for one in found] == [
            (400, "MANDATORY_NOT_FOUND"),
            (400, "MANDATORY_NOT_FOUND"),
            (400, "DUPLICATE_DATA"),
            (400, "INVALID_DATA"),
            (400, "INVALID_DATA"),
        ]
        two = {"pipeline": [{}, {}]}
        answer = client.call("POST", f"settings/pipeline?layout_id={LAYOUT}", two)
        assert answer.json()["details"]["maximum_length"] == 1

    def test_only_who_may_customize_changes_pipelines(self, up: UP) -> None:
        answer = self.send(up(extra={"admin": False}), "POST", display_value="x")
        assert (answer.status_code, answer.json()["details"]) == (
            403,
            {"permissions": "Crm_Implied_Customize_Zoho_CRM"},
        )


KEY_FIELD: dict[str, Any] = {
    "field_label": "Crmkit Key",
    "data_type": "text",
    "length": 10,
    "unique": {"case_sensitive": True},
    "external": {"type": "org", "show": False},
}


class TestFields:
    def send(self, client: Client, module: str, *said: Any) -> requests.Response:
        return client.call("POST", f"settings/fields?module={module}", {"fields": list(said)})

    def shown(self, client: Client, module: str) -> dict[str, Any]:
        fields = client.get("settings/fields", module=module).json()["fields"]
        return {one["field_label"]: one for one in fields}

    def test_a_key_field_is_made_and_holds(self, client: Client) -> None:
        answer = self.send(client, "Accounts", KEY_FIELD)
        assert answer.status_code == 201
        field = self.shown(client, "Accounts")["Crmkit Key"]
        assert field["id"] == answer.json()["fields"][0]["details"]["id"]
        assert (field["api_name"], field["length"], field["unique"]) == (
            "Crmkit_Key",
            10,
            {"case_sensitive": True},
        )
        assert field["external"] == {"type": "org", "show": False}
        said = {"Account_Name": "A", "Crmkit_Key": "k"}
        assert codes(client.post("Accounts", said, said, {**said, "Crmkit_Key": "x" * 11})) == [
            "SUCCESS",
            "DUPLICATE_DATA",
            "INVALID_DATA",
        ]
        upsert = client.post("Accounts/upsert", said, duplicate_check_fields=["Crmkit_Key"])
        assert rows(upsert)[0]["action"] == "update"

    def test_a_clashing_name_gets_a_digit(self, client: Client) -> None:
        self.send(client, "Deals", {"field_label": "Next-Step", "data_type": "text"})
        assert self.shown(client, "Deals")["Next-Step"]["api_name"] == "Next_Step1"

    @pytest.mark.parametrize(
        ("type_", "value"),
        [
            ("datetime", "2026-12-31T10:00:00+03:00"),
            ("bigint", "123456789012345678"),
            ("currency", 10.25),
            ("boolean", True),
            ("date", "2026-12-31"),
            ("email", "a@example.com"),
        ],
    )
    def test_each_type_is_read_back(self, client: Client, type_: str, value: Any) -> None:
        self.send(client, "Deals", {"field_label": "Extra", "data_type": type_})
        assert self.shown(client, "Deals")["Extra"]["data_type"] == type_
        assert client.read(f"Deals/{client.created(Extra=value)}")["Extra"] == value

    def test_what_is_wrong_is_told_field_by_field(self, client: Client) -> None:
        answer = self.send(
            client,
            "Deals",
            {"data_type": "text"},
            {"field_label": "a", "data_type": "nope"},
            {"field_label": "Amount", "data_type": "text"},
            {"field_label": "b", "data_type": "date", "unique": True},
            {"field_label": "c", "data_type": "text"},
        )
        assert answer.status_code == 207
        assert [one["code"] for one in answer.json()["fields"]] == [
            "MANDATORY_NOT_FOUND",
            "INVALID_DATA",
            "DUPLICATE_DATA",
            "DEPENDENT_MISMATCH",
            "SUCCESS",
        ]
        six = [{"field_label": str(place), "data_type": "text"} for place in range(6)]
        assert self.send(client, "Deals", *six).json()["details"]["maximum_length"] == 5

    def test_a_field_is_changed(self, client: Client) -> None:
        self.send(client, "Deals", {"field_label": "Level", "data_type": "picklist", "pick_list_values": []})
        field = self.shown(client, "Deals")["Level"]
        said = {
            "id": field["id"],
            "field_label": "Grade",
            "pick_list_values": [{"display_value": "A", "actual_value": "A"}],
        }
        assert client.call("PATCH", "settings/fields?module=Deals", {"fields": [said]}).status_code == 200
        assert self.shown(client, "Deals")["Grade"]["api_name"] == "Level"
        assert client.read(f"Deals/{client.created(Level='A')}")["Level"] == "A"

    def test_stage_values_cannot_be_made(self, client: Client) -> None:
        said = {"id": self.shown(client, "Deals")["Stage"]["id"], "pick_list_values": []}
        answer = client.call("PATCH", "settings/fields?module=Deals", {"fields": [said]})
        assert answer.json()["fields"][0]["code"] == "NOT_ALLOWED"


class TestBulkWrite:
    def upload(self, client: Client, text: str) -> requests.Response:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("data.csv", text)
        return client.session.post(
            f"{client.app.origin}/crm/v8/upload",
            files={"file": ("data.zip", packed.getvalue(), "application/zip")},
            headers={"feature": "bulk-write", "X-CRM-ORG": "700000002"},
            timeout=5,
        )

    def job(self, client: Client, text: str, operation: str, find_by: str = "id") -> dict[str, Any]:
        file_id = self.upload(client, text).json()["details"]["file_id"]
        resource = {"type": "data", "module": {"api_name": "Deals"}, "file_id": file_id, "find_by": find_by}
        url = f"{client.app.origin}/crm/bulk/v8/write"
        answer = client.call("POST", url, {"operation": operation, "resource": [resource]})
        assert answer.status_code == 201, answer.text
        states = []
        while not states or states[-1] != "COMPLETED":
            shown: dict[str, Any] = client.call("GET", f"{url}/{answer.json()['details']['id']}").json()
            states.append(shown["status"])
        assert states == ["INPROGRESS", "COMPLETED"]
        return shown

    def result(self, client: Client, shown: dict[str, Any]) -> list[dict[str, str]]:
        packed = client.call("GET", shown["result"]["download_url"]).content
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        return list(csv.DictReader(io.StringIO(text)))

    def test_rows_are_inserted_and_counted_without_automations(self, client: Client) -> None:
        company = next(iter(client.world.companies))
        text = "Deal_Name,Stage,Pipeline,Amount,Account_Name.id\n"
        text += f"One,Qualification,Standard (Standard),5.50,{company}\nTwo,Qualification,,x,\n"
        shown = self.job(client, text, "insert")
        file = shown["resource"][0]["file"]
        assert (file["added_count"], file["skipped_count"], file["total_count"]) == (1, 1, 2)
        good, bad = self.result(client, shown)
        deal = client.world.deals[good["RECORD_ID"]]
        assert (good["STATUS"], str(deal.amount), deal.company_id) == ("ADDED", "5.50", company)
        assert (bad["STATUS"], bad["RECORD_ID"]) == ("SKIPPED", "")
        assert client.world.side_effects == []

    def test_rows_are_upserted_by_a_unique_field(self, client: Client) -> None:
        made = client.created(Crmkit_Key="k")
        text = "Deal_Name,Stage,Pipeline,Crmkit_Key\n"
        text += "A,Qualification,Standard (Standard),k\nB,Qualification,Standard (Standard),l\n"
        shown = self.job(client, text, "upsert", "Crmkit_Key")
        first, second = self.result(client, shown)
        assert (first["STATUS"], first["RECORD_ID"], second["STATUS"]) == ("UPDATED", made, "ADDED")

    def test_rows_are_updated_by_id(self, client: Client) -> None:
        made = client.created()
        shown = self.job(client, f"id,Amount\n{made},7\n1,8\n", "update")
        assert [row["STATUS"] for row in self.result(client, shown)] == ["UPDATED", "SKIPPED"]
        assert client.world.deals[made].amount == 7

    def test_what_is_no_zip_is_refused(self, client: Client) -> None:
        answer = client.session.post(
            f"{client.app.origin}/crm/v8/upload",
            files={"file": ("data.zip", b"Deal_Name\nx\n", "application/zip")},
            headers={"feature": "bulk-write", "X-CRM-ORG": "1"},
            timeout=5,
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_FILE_FORMAT")

    def test_a_job_costs_five_hundred_credits(self, up: UP) -> None:
        client = up(limits="real")
        self.job(client, "Deal_Name\nx\n", "insert")
        assert client.app.credits.used >= 500
