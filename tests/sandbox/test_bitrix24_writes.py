"""Creates, changes and deletes deals, companies and contacts of a Bitrix24 portal, over the wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from crmkit.sandbox.bitrix24 import Bitrix24App
from crmkit.sandbox.faults import read_script
from crmkit.sandbox.server import Sandbox
from tests.sandbox.bitrix24_wire import Webhook

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "bitrix24" / "examples"


class Portal(Webhook):
    """The portal, and what these tests ask of it."""

    def add(self, fields: dict[str, Any], kind: int = 2, **params: Any) -> Any:
        return self.call("crm.item.add", entityTypeId=kind, fields=fields, **params)["item"]

    def change(self, item_id: int, fields: dict[str, Any], kind: int = 2) -> Any:
        return self.call("crm.item.update", entityTypeId=kind, id=item_id, fields=fields)["item"]

    def get(self, item_id: int, kind: int = 2) -> Any:
        return self.call("crm.item.get", entityTypeId=kind, id=item_id)["item"]

    def batch(self, cmd: dict[str, str], halt: int = 0) -> Any:
        return self.call("batch", cmd=cmd, halt=halt)

    @property
    def effects(self) -> list[tuple[str, str, str]]:
        return [(one.kind, one.id, one.what) for one in self.app.world.side_effects]


@pytest.fixture
def up() -> Iterator[Callable[..., Portal]]:
    """Starts a portal whose clock stands still."""
    with ExitStack() as stack:

        def start(**options: Any) -> Portal:
            chosen: dict[str, Any] = {"deals": 40, "limits": "off", "now": NOW, **options}
            app = stack.enter_context(Sandbox.up(["bitrix24"], **chosen))["bitrix24"]
            assert isinstance(app, Bitrix24App)
            portal = Portal(app)
            stack.callback(lambda: _check(app))
            stack.callback(portal.session.close)
            return portal

        yield start


def _check(app: Bitrix24App) -> None:
    assert app.crashes == []


@pytest.fixture
def portal(up: Callable[..., Portal]) -> Portal:
    return up()


def example(name: str) -> Any:
    if not EXAMPLES.is_dir():
        pytest.skip("the official example payloads are not at hand")
    return json.loads((EXAMPLES / f"{name}.json").read_text())


def some_deal(portal: Portal, pipeline: str = "7") -> Any:
    return next(deal for deal in portal.app.world.live.deals() if deal.pipeline_id == pipeline)


# Universal methods: create


def test_an_added_deal_reads_back_as_it_was_written(portal: Portal) -> None:
    company, person = (next(iter(table)) for table in (portal.app.world.companies, portal.app.world.contacts))
    written = {
        "title": "Pilot",
        "categoryId": 7,
        "stageId": "C7:PREPARATION",
        "opportunity": 900,
        "currencyId": "USD",
        "isManualOpportunity": "Y",
        "assignedById": 5,
        "companyId": int(company),
        "contactIds": [int(person)],
        "closedate": "2026-12-31",
        "probability": 60,
        "comments": "[b]hot[/b]",
        "typeId": "SERVICE",
        "sourceId": "CALL",
        "opened": "N",
        "observers": [1, 5],
        "utmSource": "google",
        "originatorId": "crmkit:close",
        "originId": "oppo/1",
    }
    item = portal.add(written)
    expected = written | {"closedate": "2026-12-31T03:00:00+03:00"}
    assert {name: item[name] for name in expected} == expected
    assert portal.get(item["id"]) == item


def test_the_answer_to_an_add_has_the_keys_of_the_official_example(portal: Portal) -> None:
    theirs = example("crm.item.add.response")["result"]["item"]
    missing = [
        name for name in theirs if name not in portal.add({}) and not name.startswith(("uf", "parent"))
    ]
    assert missing == []


def test_an_empty_deal_is_born_with_the_portals_defaults(portal: Portal) -> None:
    item = portal.add({})
    expected = {
        "title": f"Deal #{item['id']}",
        "categoryId": 0,
        "stageId": "NEW",
        "typeId": "SALE",
        "sourceId": "WEB",
        "currencyId": "EUR",
        "assignedById": 1,
        "opened": "Y",
        "isManualOpportunity": "N",
        "probability": None,
        "opportunity": None,
        "begindate": "2026-06-01T03:00:00+03:00",
        "closedate": "2026-06-08T03:00:00+03:00",
        "createdTime": "2026-06-01T15:00:00+03:00",
        "createdBy": 1,
        "contactIds": [],
    }
    assert {name: item[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("currencyId", "XYZ"),
        ("assignedById", 99_999),
        ("categoryId", 99),
        ("stageId", "C7:NEW"),
        ("opportunity", "much"),
        ("probability", 101),
        ("title", "x" * 256),
        ("ufCrm_1700000001", 4_711),
        ("isManualOpportunity", "perhaps"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(portal: Portal, name: str, value: Any) -> None:
    refusal = (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID", f'Invalid value for field "{name}"')
    assert portal.refused("crm.item.add", entityTypeId=2, fields={name: value}) == refusal


@pytest.mark.parametrize(("value", "word"), [("11", "string"), (11, "integer"), (True, "boolean")])
def test_a_list_field_wants_a_list(portal: Portal, value: Any, word: str) -> None:
    refusal = (400, "100", f"Expected iterable value for multiple field, but got {word} instead")
    assert portal.refused("crm.item.add", entityTypeId=2, fields={"contactIds": value}) == refusal


@pytest.mark.parametrize(
    ("kind", "fields", "title"),
    [(2, {"title": ""}, "Name"), (4, {}, "Company name"), (4, {"title": ""}, "Company name")],
)
def test_an_empty_name_is_refused(portal: Portal, kind: int, fields: dict[str, Any], title: str) -> None:
    refusal = (400, "CRM_FIELD_ERROR_REQUIRED", f'The "{title}" field is required')
    assert portal.refused("crm.item.add", entityTypeId=kind, fields=fields) == refusal


def test_unknown_and_read_only_fields_are_dropped_in_silence(portal: Portal) -> None:
    item = portal.add(
        {"title": "A", "colour": "red", "createdTime": "2020-01-01", "closed": "Y", "id": 1, "TITLE": "B"}
    )
    assert (item["title"], item["createdTime"], item["closed"]) == ("A", "2026-06-01T15:00:00+03:00", "N")
    assert "colour" not in item


def test_an_unreadable_day_is_passed_over(portal: Portal) -> None:
    item = portal.add({"closedate": "soon"})
    assert item["closedate"] == "2026-06-08T03:00:00+03:00"


def test_amounts_are_kept_with_two_decimals(portal: Portal) -> None:
    deal_id = str(portal.add({"opportunity": "19.995"})["id"])
    assert portal.app.world.deals[deal_id].amount == Decimal("20.00")


def test_links_to_records_that_do_not_exist_are_dropped(portal: Portal) -> None:
    item = portal.add({"companyId": 999_999, "contactIds": [999_999]})
    assert (item["companyId"] or 0, item["contactIds"]) == (0, [])


def test_a_dismissed_user_can_be_given_a_deal(portal: Portal) -> None:
    dismissed = next(int(user.id) for user in portal.app.world.live.users() if not user.active)
    assert portal.add({"assignedById": dismissed})["assignedById"] == dismissed


def test_custom_fields_are_written_under_either_name_but_only_the_one_asked_for(portal: Portal) -> None:
    field = portal.app.world.fields["deal"]["region"]
    option = int(field.options[0].id)
    item = portal.add({field.id: option, "ufCrm_1700000001": option})
    original = portal.add({field.id: option}, useOriginalUfNames="Y")
    unasked = portal.add({field.id: option})
    assert (item["ufCrm_1700000001"], original[field.id], unasked["ufCrm_1700000001"]) == (
        option,
        option,
        None,
    )


def test_fields_are_demanded(portal: Portal) -> None:
    assert portal.refused("crm.item.add", entityTypeId=2)[:2] == (400, "100")
    assert portal.refused("crm.item.add", entityTypeId=2, fields="x")[:2] == (400, "100")


# Universal methods: change and delete


def test_an_update_changes_what_it_names_and_the_stamps(portal: Portal) -> None:
    item = portal.add({"title": "A", "opportunity": 5})
    portal.app.world.clock.advance(90)
    after = portal.change(item["id"], {"title": "B"})
    changed = {name for name in after if after[name] != item[name]}
    assert changed == {"title", "updatedTime"}
    assert after["updatedTime"] == "2026-06-01T15:01:30+03:00"


def test_equal_values_save_nothing(portal: Portal) -> None:
    item = portal.add({"title": "A", "opportunity": 5, "typeId": "SALE", "contactIds": []})
    effects, generation = len(portal.effects), portal.app.world.generation
    portal.app.world.clock.advance(90)
    same = {"title": "A", "opportunity": 5.00, "typeId": "SALE", "assignedById": 1, "contactIds": []}
    assert portal.change(item["id"], same) == item
    assert (len(portal.effects), portal.app.world.generation) == (effects, generation)


def test_nought_and_no_are_values_of_an_empty_custom_field(portal: Portal) -> None:
    deal = portal.add({})["id"]
    assert portal.get(deal)["ufCrmSeats"] is None
    assert portal.change(deal, {"ufCrmSeats": 0})["ufCrmSeats"] == 0
    assert portal.change(deal, {"ufCrmSeats": ""})["ufCrmSeats"] is None


def test_winning_a_deal_closes_it_and_is_history(portal: Portal) -> None:
    item = portal.add({"categoryId": 7})
    portal.app.world.clock.advance(60)
    won = portal.change(item["id"], {"stageId": "C7:WON"})
    assert (won["stageSemanticId"], won["closed"], won["movedTime"]) == (
        "S",
        "Y",
        "2026-06-01T15:01:00+03:00",
    )
    steps = portal.call("crm.stagehistory.list", entityTypeId=2, filter={"OWNER_ID": item["id"]})["items"]
    assert [(step["TYPE_ID"], step["STAGE_ID"]) for step in steps] == [(1, "C7:NEW"), (3, "C7:WON")]


def test_a_pipeline_changes_together_with_its_stage(portal: Portal) -> None:
    item = portal.add({"categoryId": 7})
    moved = portal.change(item["id"], {"categoryId": 10, "stageId": "C10:FINAL_INVOICE"})
    assert (moved["categoryId"], moved["stageId"]) == (10, "C10:FINAL_INVOICE")
    steps = portal.call("crm.stagehistory.list", entityTypeId=2, filter={"OWNER_ID": item["id"]})["items"]
    assert [step["TYPE_ID"] for step in steps] == [1, 5]


def test_a_foreign_stage_without_its_pipeline_is_refused(portal: Portal) -> None:
    item = portal.add({"categoryId": 7})
    answer = portal.refused("crm.item.update", entityTypeId=2, id=item["id"], fields={"stageId": "C10:NEW"})
    assert answer[:2] == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")
    assert portal.get(item["id"])["stageId"] == "C7:NEW"


@pytest.mark.parametrize(
    ("written", "emptied", "name", "left"),
    [
        ({"companyId": 13}, {"companyId": 0}, "companyId", 0),
        ({"companyId": 13}, {"companyId": ""}, "companyId", 0),
        ({"contactIds": [23, 25]}, {"contactIds": []}, "contactIds", []),
        ({"observers": [1, 5]}, {"observers": ""}, "observers", []),
        ({"probability": 50}, {"probability": ""}, "probability", None),
        ({"comments": "x"}, {"comments": ""}, "comments", ""),
        ({"closedate": "2026-07-01"}, {"closedate": ""}, "closedate", None),
        ({"originId": "9"}, {"originId": ""}, "originId", None),
    ],
)
def test_values_are_emptied(
    portal: Portal, written: dict[str, Any], emptied: dict[str, Any], name: str, left: Any
) -> None:
    item = portal.add(written)
    after = portal.change(item["id"], emptied)
    assert (item[name] != left, after[name] or left) == (True, left)


def test_a_portal_may_ignore_emptied_lists_while_the_old_call_empties_them(up: Callable[..., Portal]) -> None:
    portal = up(extra={"ignores_empty_lists": True})
    options = [option.id for option in portal.app.world.fields["deal"]["products"].options[:2]]
    item = portal.add({"ufCrm_1700000007": options})
    assert portal.change(item["id"], {"ufCrm_1700000007": []})["ufCrm_1700000007"] == options
    portal.call("crm.deal.update", id=item["id"], fields={"UF_CRM_1700000007": ""})
    assert portal.get(item["id"])["ufCrm_1700000007"] == []


def test_the_primary_contact_comes_first(portal: Portal) -> None:
    item = portal.add({"contactIds": [23, 25], "contactId": 25})
    assert (item["contactId"], item["contactIds"]) == (25, [25, 23])
    assert portal.change(item["id"], {"contactIds": [23, 25]})["contactId"] == 23


def test_a_deleted_deal_is_gone_with_its_comments_and_restored_under_a_new_id(portal: Portal) -> None:
    item = portal.add({"title": "A"})
    note = portal.call(
        "crm.timeline.comment.add", fields={"ENTITY_ID": item["id"], "ENTITY_TYPE": "deal", "COMMENT": "x"}
    )
    assert portal.call("crm.item.delete", entityTypeId=2, id=item["id"]) == []
    gone = (400, "NOT_FOUND", "Element not found")
    assert portal.refused("crm.item.get", entityTypeId=2, id=item["id"]) == gone
    assert portal.refused("crm.item.delete", entityTypeId=2, id=item["id"]) == gone
    assert portal.refused("crm.item.update", entityTypeId=2, id=item["id"], fields={}) == gone
    assert portal.refused("crm.timeline.comment.get", id=note)[0] == 400
    restored = portal.app.restore("deal", str(item["id"]))
    assert int(restored) > item["id"]
    assert portal.get(int(restored))["title"] == "A"


def test_what_was_created_is_found_by_its_origin_at_once(portal: Portal) -> None:
    first = portal.add({"originatorId": "crmkit:x", "originId": "9001"})["id"]
    wanted = {"=originatorId": "crmkit:x", "@originId": ["9001", "9002"]}
    select = {"entityTypeId": 2, "filter": wanted, "select": ["id"], "start": -1}
    assert [row["id"] for row in portal.call("crm.item.list", **select)["items"]] == [first]
    # Nothing is unique: the portal does not stop a second one.
    second = portal.add({"originatorId": "crmkit:x", "originId": "9002"})["id"]
    twin = portal.add({"originatorId": "crmkit:x", "originId": "9001"})["id"]
    assert [row["id"] for row in portal.call("crm.item.list", **select)["items"]] == [first, second, twin]
    portal.change(twin, {"originId": "9003"})
    assert [row["id"] for row in portal.call("crm.item.list", **select)["items"]] == [first, second]


# Companies and contacts


def test_phones_and_e_mails_are_added_changed_and_deleted_by_row(portal: Portal) -> None:
    mails = [{"typeId": "EMAIL", "valueType": "WORK", "value": "a@b.example"}]
    phone = [{"typeId": "PHONE", "valueType": "HOME", "value": "+49 30 1"}]
    person = portal.add({"name": "Ada", "lastName": "L", "fm": mails + phone}, 3)
    (mail_row, phone_row) = person["fm"]
    changes = {
        str(mail_row["id"]): {"typeId": "EMAIL", "value": ""},
        str(phone_row["id"]): {"value": "+49 30 2"},
        "n0": {"typeId": "EMAIL", "valueType": "HOME", "value": "c@d.example"},
    }
    after = portal.change(person["id"], {"fm": changes}, 3)["fm"]
    told = [(one["typeId"], one["valueType"], one["value"]) for one in after]
    assert told == [("PHONE", "HOME", "+49 30 2"), ("EMAIL", "HOME", "c@d.example")]
    assert after[0]["id"] == phone_row["id"]
    row = portal.app.world.contacts[str(person["id"])]
    assert (row.phones, row.emails) == (("+49 30 2",), ("c@d.example",))


def test_the_old_call_adds_a_phone_again_unless_its_row_is_named(portal: Portal) -> None:
    phone = {"VALUE": "555", "VALUE_TYPE": "WORK"}
    contact = portal.call("crm.contact.add", fields={"NAME": "Ada", "PHONE": [phone]})
    portal.call("crm.contact.update", id=contact, fields={"PHONE": [phone]})
    rows = portal.call("crm.contact.get", id=contact)["PHONE"]
    assert [row["VALUE"] for row in rows] == ["555", "555"]
    again = [{"ID": rows[0]["ID"], "DELETE": "Y"}, {"ID": rows[1]["ID"], "VALUE": "556"}]
    portal.call("crm.contact.update", id=contact, fields={"PHONE": again})
    assert [row["VALUE"] for row in portal.call("crm.contact.get", id=contact)["PHONE"]] == ["556"]


def test_a_company_is_found_by_the_e_mail_it_was_given(portal: Portal) -> None:
    mail = [{"typeId": "EMAIL", "valueType": "WORK", "value": "Info@New.Example"}]
    company = portal.add({"title": "New", "fm": mail, "revenue": 12.5, "currencyId": "USD"}, 4)
    assert (company["hasEmail"], company["revenue"], company["currencyId"]) == ("Y", 12.5, "USD")
    found = portal.call(
        "crm.duplicate.findbycomm", type="EMAIL", values=["info@new.example"], entity_type="COMPANY"
    )
    assert found == {"COMPANY": [company["id"]]}


def test_the_official_requests_create_a_company_and_a_contact(portal: Portal) -> None:
    company = portal.call("crm.company.add", **example("crm.company.add.request"))
    told = portal.call("crm.company.get", id=company)
    assert (told["TITLE"], told["REVENUE"], told["PHONE"][0]["VALUE"]) == (
        "John Doe LLC",
        "3000000.00",
        "555888",
    )
    contact = portal.call("crm.contact.add", **example("crm.contact.add.request"))
    told = portal.call("crm.contact.get", id=contact)
    assert (told["NAME"], told["LAST_NAME"], told["POST"]) == ("John", "Smith", "Administrator")
    assert told["BIRTHDATE"] == "2001-11-11T03:00:00+03:00"
    assert [row["VALUE"] for row in told["EMAIL"]] == [
        "john.smith@example.mailing",
        "john.smith@example.work",
    ]


def test_deleting_a_company_keeps_its_contacts_and_deals_without_it(portal: Portal) -> None:
    company = portal.add({"title": "New"}, 4)["id"]
    person, deal = portal.add({"companyId": company}, 3)["id"], portal.add({"companyId": company})["id"]
    portal.call("crm.company.delete", id=company)
    assert (portal.get(person, 3)["companyId"] or 0, portal.get(deal)["companyId"] or 0) == (0, 0)


# Old calls


def test_the_old_calls_create_change_and_delete_a_deal(portal: Portal) -> None:
    fields = {
        "TITLE": "Pilot",
        "CATEGORY_ID": 7,
        "STAGE_ID": "C7:NEW",
        "OPPORTUNITY": 900,
        "CONTACT_IDS": [25, 23],
    }
    deal = portal.call("crm.deal.add", fields=fields, params={"REGISTER_SONET_EVENT": "Y"})
    assert isinstance(deal, int)
    assert portal.call("crm.deal.update", id=deal, fields={"TITLE": "B", "STAGE_ID": "C7:WON"}) is True
    told = portal.call("crm.deal.get", id=deal)
    expected = {
        "TITLE": "B",
        "STAGE_ID": "C7:WON",
        "OPPORTUNITY": "900.00",
        "CLOSED": "Y",
        "CONTACT_ID": "25",
    }
    assert {name: told[name] for name in expected} == expected
    assert portal.get(deal)["contactIds"] == [25, 23]
    assert ("deal", str(deal), "feed") in portal.effects
    assert portal.call("crm.deal.delete", id=deal) is True
    assert portal.refused("crm.deal.delete", id=deal) == (400, "", "Not found")


def test_the_old_update_passes_over_a_foreign_stage_and_another_pipeline(portal: Portal) -> None:
    deal = portal.add({"categoryId": 7})["id"]
    assert portal.call("crm.deal.update", id=deal, fields={"STAGE_ID": "C10:NEW", "CATEGORY_ID": 10}) is True
    item = portal.get(deal)
    assert (item["categoryId"], item["stageId"]) == (7, "C7:NEW")


@pytest.mark.parametrize("method", ["crm.deal.add", "crm.company.add", "crm.contact.add", "crm.deal.update"])
def test_the_old_calls_want_an_array_of_fields(portal: Portal, method: str) -> None:
    deal = some_deal(portal).id
    assert portal.refused(method, id=deal, fields="x") == (400, "", "Parameter 'fields' must be array.")


# Batches


def test_a_batch_creates_in_order_and_tells_its_failures_apart(portal: Portal) -> None:
    told = portal.batch(
        {
            "a": "crm.item.add?entityTypeId=2&fields[title]=First%20%26%20only",
            "b": "crm.item.add?entityTypeId=2&fields[currencyId]=XYZ",
            "c": "crm.item.update?entityTypeId=2&id=$result[a][item][id]&fields[title]=Second",
            "d": "crm.item.delete?entityTypeId=2&id=999999",
        }
    )
    assert list(told["result"]) == ["a", "c"]
    assert told["result"]["a"]["item"]["title"] == "First & only"
    assert told["result"]["c"]["item"]["id"] == told["result"]["a"]["item"]["id"]
    assert {key: one["error"] for key, one in told["result_error"].items()} == {
        "b": "CRM_FIELD_ERROR_VALUE_NOT_VALID",
        "d": "NOT_FOUND",
    }


def test_halt_leaves_what_follows_the_first_failure_undone(portal: Portal) -> None:
    before = len(portal.app.world.deals)
    commands = {
        "a": "crm.item.add?entityTypeId=2&fields[title]=A",
        "b": "crm.item.delete?entityTypeId=2&id=9",
    }
    told = portal.batch(commands | {"c": "crm.item.add?entityTypeId=2&fields[title]=C"}, halt=1)
    assert (list(told["result"]), list(told["result_error"])) == (["a"], ["b"])
    assert len(portal.app.world.deals) == before + 1


def test_a_batch_carries_out_fifty_commands_and_no_more(portal: Portal) -> None:
    before = len(portal.app.world.deals)
    told = portal.batch({f"c{n}": f"crm.item.add?entityTypeId=2&fields[title]=D{n}" for n in range(52)})
    assert len(portal.app.world.deals) == before + 50
    assert [one["error"] for one in told["result_error"].values()] == ["ERROR_BATCH_LENGTH_EXCEEDED"] * 2


def test_texts_of_a_batch_empty_and_mean_yes(portal: Portal) -> None:
    told = portal.batch(
        {
            "a": "crm.item.add?entityTypeId=2&fields[companyId]=13&fields[opened]=0&fields[contactIds][]=23",
            "b": "crm.item.update?entityTypeId=2&id=$result[a][item][id]&fields[companyId]=",
        }
    )["result"]
    assert (told["a"]["item"]["companyId"], told["a"]["item"]["opened"]) == (13, "N")
    assert not told["b"]["item"]["companyId"]


# Imports


def test_a_batch_import_answers_row_by_row_and_starts_nothing(portal: Portal) -> None:
    rows = [{"title": "A", "categoryId": 0}, {"title": ""}, {"title": "C", "categoryId": 99}]
    told = portal.call("crm.item.batchImport", entityTypeId=2, data=rows)["items"]
    assert list(told[0]["item"]) == ["id"]
    official = example("crm.item.batchImport.response")["result"]["items"][1]
    assert told[1] == official
    assert told[2]["error"] == "CRM_FIELD_ERROR_VALUE_NOT_VALID"
    assert portal.effects == []


def test_more_than_twenty_rows_are_refused_whole(portal: Portal) -> None:
    before = len(portal.app.world.deals)
    refusal = portal.refused("crm.item.batchImport", entityTypeId=2, data=[{"title": "A"}] * 21)
    assert refusal == (400, "MAX_IMPORT_BATCH_SIZE_EXCEEDED", "You cannot import more than 20 items")
    assert len(portal.app.world.deals) == before


def test_an_import_keeps_the_times_and_people_it_is_given(portal: Portal) -> None:
    newest = max(deal.created for deal in portal.app.world.live.deals())
    created, moved, updated = (newest + timedelta(seconds=n) for n in (1, 2, 3))
    fields = {"stageId": "WON", "createdBy": 5, "movedBy": 5, "updatedBy": 5}
    times = {"createdTime": created, "movedTime": moved, "updatedTime": updated}
    fields |= {name: moment.isoformat() for name, moment in times.items()}
    item = portal.get(portal.call("crm.item.import", entityTypeId=2, fields=fields)["item"]["id"])
    assert {name: datetime.fromisoformat(item[name]) for name in times} == times
    assert (item["createdBy"], item["movedBy"], item["updatedBy"]) == (5, 5, 5)
    steps = portal.call("crm.stagehistory.list", entityTypeId=2, filter={"OWNER_ID": item["id"]})["items"]
    assert [step["CREATED_TIME"] for step in steps] == ["2026-06-01T15:00:00+03:00"]


@pytest.mark.parametrize(
    ("times", "name"),
    [
        ({"createdTime": "2026-06-02T00:00:00+03:00"}, "createdTime"),
        ({"createdTime": "2001-01-01T00:00:00+03:00"}, "createdTime"),
        ({"updatedTime": "2026-06-01T14:00:00+03:00"}, "updatedTime"),
        ({"movedTime": "2026-06-01T14:00:00+03:00"}, "movedTime"),
        ({"createdBy": 99_999}, "createdBy"),
    ],
)
def test_an_import_cannot_bend_the_order_of_times(portal: Portal, times: dict[str, Any], name: str) -> None:
    refusal = (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID", f'Invalid value for field "{name}"')
    assert portal.refused("crm.item.import", entityTypeId=2, fields=times) == refusal


# Rights


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("crm.item.add", {"entityTypeId": 2, "fields": {}}, "ACCESS_DENIED"),
        ("crm.item.batchImport", {"entityTypeId": 2, "data": [{}]}, "ACCESS_DENIED"),
        ("crm.deal.add", {"fields": {}}, ""),
        ("crm.category.add", {"entityTypeId": 2, "fields": {"name": "x"}}, "ACCESS_DENIED"),
        ("crm.status.add", {"fields": {}}, ""),
        ("crm.timeline.comment.add", {"fields": {}}, ""),
    ],
)
def test_a_login_that_may_only_read_is_denied_every_write(
    up: Callable[..., Portal], method: str, params: dict[str, Any], code: str
) -> None:
    portal = up(extra={"read_only": True})
    before = portal.app.world.generation
    assert portal.refused(method, **params) == (400, code, "Access denied.")
    assert portal.app.world.generation == before


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("crm.category.add", {"entityTypeId": 2, "fields": {"name": "x"}}),
        ("crm.status.update", {"id": 101, "fields": {"NAME": "x"}}),
        ("crm.deal.userfield.add", {"fields": {"FIELD_NAME": "X", "USER_TYPE_ID": "string"}}),
        ("crm.currency.add", {"fields": {"CURRENCY": "CNY"}}),
    ],
)
def test_the_structure_is_the_administrators(
    up: Callable[..., Portal], method: str, params: dict[str, Any]
) -> None:
    assert up(extra={"admin": False}).refused(method, **params)[2] == "Access denied."


def test_other_rights_are_asked_one_by_one(up: Callable[..., Portal]) -> None:
    portal = up(extra={"may_import": False, "stage_rights": False, "admin": False})
    deal = some_deal(portal, "0")
    denied = (400, "ACCESS_DENIED", "Access denied.")
    assert portal.refused("crm.item.import", entityTypeId=2, fields={}) == denied
    target = "WON" if deal.stage_id != "WON" else "LOSE"
    answer = portal.refused("crm.item.update", entityTypeId=2, id=deal.id, fields={"stageId": target})
    assert answer == (400, "", "Insufficient permissions to change the stage")
    portal.app.settings.extra["may_import"] = True
    answer = portal.refused("crm.item.import", entityTypeId=2, fields={"createdTime": "2026-06-01"})
    assert answer[1:] == ("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Invalid value for field "createdTime"')


def test_a_login_without_the_scope_writes_nothing(up: Callable[..., Portal]) -> None:
    portal = up(extra={"scopes": ["user"]})
    assert portal.refused("crm.item.add", entityTypeId=2, fields={})[:2] == (403, "insufficient_scope")


def test_others_deals_can_neither_be_changed_nor_deleted(up: Callable[..., Portal]) -> None:
    portal = up(extra={"sees_only_owner": 5})
    deal = next(one for one in portal.app.world.live.deals() if one.owner_id != "5")
    denied = (400, "ACCESS_DENIED", "Access denied.")
    assert portal.refused("crm.item.update", entityTypeId=2, id=deal.id, fields={"title": "x"}) == denied
    assert portal.refused("crm.item.delete", entityTypeId=2, id=deal.id) == denied


# Automation


def test_writes_set_off_workflows_robots_and_notifications(portal: Portal) -> None:
    deal = portal.add({"assignedById": 5})["id"]
    key = str(deal)
    assert portal.effects == [
        ("deal", key, "workflow"),
        ("deal", key, "notification"),
        ("deal", key, "robot"),
    ]
    portal.change(deal, {"title": "B"})
    assert portal.effects[3:] == [("deal", key, "workflow")]
    portal.change(deal, {"stageId": "WON"})
    assert portal.effects[4:] == [("deal", key, "workflow"), ("deal", key, "robot")]


def test_the_control_plane_tells_what_was_set_off(portal: Portal) -> None:
    deal = str(portal.add({})["id"])
    told = requests.get(f"{portal.app.origin}/_sandbox/side-effects", timeout=10).json()
    assert [(one["id"], one["what"], one["by"]) for one in told] == [
        (deal, "workflow", "1"),
        (deal, "robot", "1"),
    ]


def test_a_robot_changes_the_deal_behind_the_answer(up: Callable[..., Portal]) -> None:
    portal = up(extra={"robots": {"WON": {"owner_id": "9"}}})
    deal = portal.add({})["id"]
    portal.change(deal, {"stageId": "WON"})
    assert portal.get(deal)["assignedById"] == 9


def test_a_stage_can_demand_a_field(up: Callable[..., Portal]) -> None:
    portal = up(extra={"required_from_stage": {"WON": ["opportunity", "comments"]}})
    deal = portal.add({})["id"]
    refusal = (400, "CRM_FIELD_ERROR_REQUIRED", 'The "Amount" field is required')
    assert portal.refused("crm.item.update", entityTypeId=2, id=deal, fields={"stageId": "WON"}) == refusal
    filled = {"stageId": "WON", "opportunity": 5, "comments": "x"}
    assert portal.change(deal, filled)["stageId"] == "WON"


def test_amounts_that_are_not_manual_can_be_those_of_no_products(up: Callable[..., Portal]) -> None:
    portal = up(extra={"recalculates_amounts": True})
    assert portal.add({"opportunity": 50})["opportunity"] == 0
    assert portal.add({"opportunity": 50, "isManualOpportunity": "Y"})["opportunity"] == 50


# Merging


def test_a_merge_keeps_the_first_deal_and_forgets_the_others(portal: Portal) -> None:
    ids = [
        portal.add({"title": name, "contactIds": [person]})["id"] for name, person in (("A", 23), ("B", 25))
    ]
    told = portal.call("crm.entity.mergeBatch", params={"entityTypeId": 2, "entityIds": ids})
    assert told == {"STATUS": "SUCCESS", "ENTITY_IDS": ids}
    assert portal.get(ids[0])["contactIds"] == [23, 25]
    assert portal.refused("crm.item.get", entityTypeId=2, id=ids[1])[1] == "NOT_FOUND"


def test_a_merge_of_what_differs_is_a_conflict(portal: Portal) -> None:
    ids = [portal.add({"opportunity": amount})["id"] for amount in (1, 2)]
    told = portal.call("crm.entity.mergeBatch", params={"entityTypeId": 2, "entityIds": ids})
    assert told["STATUS"] == "CONFLICT"
    assert portal.get(ids[1])["opportunity"] == 2
    missing = portal.call("crm.entity.mergeBatch", params={"entityTypeId": 2, "entityIds": [ids[0], 999_999]})
    assert missing["STATUS"] == "ERROR"


# Faults and limits


def test_a_write_may_be_done_although_no_answer_came(up: Callable[..., Portal]) -> None:
    portal = up()
    portal.app.faults.script += read_script([{"fault": "timeout_after_commit", "kind": "write"}])
    before = len(portal.app.world.deals)
    cmd = {
        "a": "crm.item.add?entityTypeId=2&fields[originId]=1",
        "b": "crm.item.add?entityTypeId=2&fields[originId]=2",
    }
    with pytest.raises(requests.ConnectionError):
        portal.batch(cmd)
    assert len(portal.app.world.deals) == before + 2


@pytest.mark.parametrize(
    ("fault", "created"),
    [("server_error", 0), ("server_error_after_commit", 1), ("truncated", 1), ("dropped", 0)],
)
def test_a_failed_answer_does_not_tell_whether_the_write_was_done(
    portal: Portal, fault: str, created: int
) -> None:
    before = len(portal.app.world.deals)
    portal.app.faults.script += read_script([{"fault": fault, "kind": "write"}])
    with pytest.raises((requests.RequestException, AssertionError)):
        portal.batch({"a": "crm.item.add?entityTypeId=2&fields[title]=A"})
    assert len(portal.app.world.deals) == before + created


@pytest.mark.parametrize(
    ("method", "params", "kind"),
    [
        ("batch", {"cmd": {"a": "crm.item.list?entityTypeId=2"}}, "list"),
        ("batch", {"cmd": {"a": "crm.item.list?entityTypeId=2", "b": "crm.deal.update?id=1"}}, "write"),
        ("crm.activity.todo.updateDeadline", {}, "write"),
        ("crm.deal.contact.items.set", {}, "write"),
        ("crm.deal.contact.items.get", {}, "read"),
    ],
)
def test_faults_know_writes_from_reads(
    portal: Portal, method: str, params: dict[str, Any], kind: str
) -> None:
    portal.app.requests.clear()
    portal.post(method, **params)
    assert dict(portal.app.requests.kinds) == {kind: 1}


def test_a_write_may_come_late(portal: Portal) -> None:
    portal.app.faults.script += read_script([{"fault": "commit_late", "kind": "write"}])
    with pytest.raises(requests.ConnectionError):
        portal.add({"title": "late"})
    names = {deal.name for deal in portal.app.world.live.deals()}
    portal.app.world.clock.advance(60)
    portal.call("server.time")
    assert {deal.name for deal in portal.app.world.live.deals()} - names == {"late"}


def test_each_method_has_a_work_limit_and_an_import_counts_its_rows(up: Callable[..., Portal]) -> None:
    portal = up(limits="real", extra={"operating_seconds": {"crm.item.batchimport": 30, "crm.item.add": 481}})
    portal.add({})
    refusal = (429, "OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.")
    assert portal.refused("crm.item.add", entityTypeId=2, fields={}) == refusal
    portal.call("crm.item.batchImport", entityTypeId=2, data=[{}] * 16)
    assert portal.refused("crm.item.batchImport", entityTypeId=2, data=[{}]) == refusal
    told = portal.batch({"a": "crm.item.add?entityTypeId=2&fields[title]=x"})
    assert told["result_error"]["a"]["error"] == "OPERATION_TIME_LIMIT"
    portal.app.world.clock.advance(601)
    portal.add({})
