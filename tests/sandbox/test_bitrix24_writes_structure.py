"""Pipelines, stages, custom fields, links, comments and to-dos are written over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from crmkit.sandbox.bitrix24 import Bitrix24App
from crmkit.sandbox.server import Sandbox
from tests.sandbox.bitrix24_wire import Webhook

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Portal(Webhook):
    """The portal, and what these tests ask of it."""

    def stages(self, pipeline: int) -> list[dict[str, Any]]:
        directory = f"DEAL_STAGE_{pipeline}" if pipeline else "DEAL_STAGE"
        return self.call("crm.status.list", filter={"ENTITY_ID": directory}, order={"SORT": "ASC"})

    def add_stage(self, pipeline: int, **fields: Any) -> Any:
        directory = f"DEAL_STAGE_{pipeline}" if pipeline else "DEAL_STAGE"
        return self.call("crm.status.add", fields={"ENTITY_ID": directory, **fields})

    def add_pipeline(self, name: str, **fields: Any) -> Any:
        return self.call("crm.category.add", entityTypeId=2, fields={"name": name, **fields})["category"]


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Sandbox.up(["bitrix24"], deals=40, limits="off", now=NOW) as box:
        app = box["bitrix24"]
        assert isinstance(app, Bitrix24App)
        fresh = Portal(app)
        yield fresh
        fresh.session.close()
        assert app.crashes == []


# Pipelines


def test_a_new_pipeline_has_the_eight_stages_and_ids_cut_at_21_characters(portal: Portal) -> None:
    row = portal.add_pipeline("Partners", sort=50, originId="p-1", originatorId="crmkit", isDefault="Y")
    expected = {"name": "Partners", "sort": 50, "isDefault": "N", "originId": "p-1", "originatorId": "crmkit"}
    assert {name: row[name] for name in expected} == expected
    stages = portal.stages(row["id"])
    names = "NEW PREPARATION PREPAYMENT_INVOIC EXECUTING FINAL_INVOICE WON LOSE APOLOGY".split()
    assert [stage["STATUS_ID"] for stage in stages] == [f"C{row['id']}:{name}" for name in names]
    assert [stage["SEMANTICS"] for stage in stages] == [None] * 5 + ["S", "F", "F"]
    deal = portal.call("crm.item.add", entityTypeId=2, fields={"categoryId": row["id"]})["item"]
    assert deal["stageId"] == f"C{row['id']}:NEW"


def test_a_pipeline_is_renamed_and_listed(portal: Portal) -> None:
    row = portal.add_pipeline("Partners")
    changed = portal.call(
        "crm.category.update", entityTypeId=2, id=row["id"], fields={"name": "Allies", "sort": 1}
    )["category"]
    assert portal.call("crm.category.list", entityTypeId=2)["categories"][0] == changed
    assert changed["name"] == "Allies"


def test_two_pipelines_may_have_one_name(portal: Portal) -> None:
    assert portal.add_pipeline("Twin", originId="1")["id"] != portal.add_pipeline("Twin", originId="1")["id"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "CRM_FIELD_ERROR_REQUIRED"),
        ({"name": " "}, "CRM_FIELD_ERROR_REQUIRED"),
        ({"name": "x" * 256}, "CRM_FIELD_ERROR_VALUE_NOT_VALID"),
    ],
)
def test_a_pipeline_needs_a_name_of_some_length(portal: Portal, fields: dict[str, Any], code: str) -> None:
    assert portal.refused("crm.category.add", entityTypeId=2, fields=fields)[:2] == (400, code)


def test_only_an_empty_pipeline_that_is_not_the_default_can_be_deleted(portal: Portal) -> None:
    fresh = portal.add_pipeline("Fresh")["id"]
    assert portal.call("crm.category.delete", entityTypeId=2, id=fresh) is None
    gone = (400, "NOT_FOUND", "Element not found")
    assert portal.refused("crm.category.get", entityTypeId=2, id=fresh) == gone
    assert portal.refused("crm.category.delete", entityTypeId=2, id=0)[:2] == (400, 0)
    used = next(deal.pipeline_id for deal in portal.app.world.live.deals() if deal.pipeline_id != "0")
    assert portal.refused("crm.category.delete", entityTypeId=2, id=int(used))[:2] == (400, 0)


def test_the_plan_limits_the_number_of_pipelines(portal: Portal) -> None:
    portal.app.settings.extra["max_categories"] = len(portal.app.world.pipelines)
    status, code, text = portal.refused("crm.category.add", entityTypeId=2, fields={"name": "More"})
    assert (status, code, "maximum" in text) == (400, "", True)


def test_other_kinds_have_no_pipelines(portal: Portal) -> None:
    told = portal.refused("crm.category.add", entityTypeId=1302, fields={"name": "x"})
    assert told == (400, "NOT_FOUND", "Smart process not found")


# Stages


def test_a_stage_gets_its_prefix_and_place(portal: Portal) -> None:
    number = portal.add_stage(7, STATUS_ID="PROOF", NAME="Proof", SORT=25, COLOR="#123456")
    row = portal.call("crm.status.get", id=number)
    expected = {"STATUS_ID": "C7:PROOF", "NAME": "Proof", "SORT": "25", "COLOR": "#123456", "SYSTEM": "N"}
    assert {name: row[name] for name in expected} == expected
    assert [stage["STATUS_ID"] for stage in portal.stages(7)][2] == "C7:PROOF"
    deal = portal.call("crm.item.add", entityTypeId=2, fields={"categoryId": 7, "stageId": "C7:PROOF"})[
        "item"
    ]
    assert deal["stageId"] == "C7:PROOF"


def test_a_long_stage_id_is_cut_and_has_to_be_read(portal: Portal) -> None:
    number = portal.add_stage(10, STATUS_ID="C10:A_VERY_LONG_STAGE_NAME", NAME="Long")
    assert portal.call("crm.status.get", id=number)["STATUS_ID"] == "C10:A_VERY_LONG_STAGE_NAME"[:21]


def test_a_lost_stage_stands_behind_the_won_one(portal: Portal) -> None:
    number = portal.add_stage(0, STATUS_ID="NO_BUDGET", NAME="No budget", SORT=90, SEMANTICS="F")
    row = portal.call("crm.status.get", id=number)
    assert (row["SEMANTICS"], portal.stages(0)[-1]["STATUS_ID"]) == ("F", "NO_BUDGET")


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"STATUS_ID": "NEW"}, "ERROR_CORE", "The specified status ID already exists."),
        ({"STATUS_ID": None}, "", "The field STATUS_ID is required."),
        ({"NAME": ""}, "", "The field NAME is required."),
        ({"ENTITY_ID": None}, "", "The field ENTITY_ID is required."),
        ({"ENTITY_ID": "DEAL_STAGE_0"}, "", "Specified entity type is not supported."),
        ({"SORT": 75}, "", "Stages must stand in this order: in progress, successful, failed."),
        (
            {"SEMANTICS": "F", "SORT": 5},
            "",
            "Stages must stand in this order: in progress, successful, failed.",
        ),
        ({"SEMANTICS": "S", "SORT": 60}, "", "A pipeline can have only one successful stage."),
    ],
)
def test_stages_that_cannot_be_are_refused(
    portal: Portal, fields: dict[str, Any], code: str, text: str
) -> None:
    asked = {"ENTITY_ID": "DEAL_STAGE", "STATUS_ID": "X", "NAME": "X", "SORT": 15} | fields
    assert portal.refused("crm.status.add", fields=asked) == (400, code, text)
    assert len(portal.stages(0)) == 8


def test_a_stage_changes_its_name_and_place_but_not_what_it_means(portal: Portal) -> None:
    row = portal.stages(7)[1]
    changes = {"NAME": "Renamed", "SORT": 45, "SEMANTICS": "F", "STATUS_ID": "C7:OTHER"}
    assert portal.call("crm.status.update", id=row["ID"], fields=changes) is True
    after = portal.call("crm.status.get", id=row["ID"])
    assert after == row | {"NAME": "Renamed", "SORT": "45"}
    assert portal.stages(7)[3]["ID"] == row["ID"]
    behind = portal.refused("crm.status.update", id=row["ID"], fields={"SORT": 500})
    assert behind[0] == 400
    assert portal.call("crm.status.get", id=row["ID"]) == after


def test_stages_are_deleted_only_empty_and_system_ones_only_by_force(portal: Portal) -> None:
    fresh = portal.add_pipeline("Fresh")["id"]
    rows = {row["STATUS_ID"].partition(":")[2]: row["ID"] for row in portal.stages(fresh)}
    deal = portal.call(
        "crm.item.add", entityTypeId=2, fields={"categoryId": fresh, "stageId": f"C{fresh}:APOLOGY"}
    )
    text = "There are active items in this status."
    assert portal.refused("crm.status.delete", id=rows["APOLOGY"]) == (400, "", text)
    portal.call("crm.item.delete", entityTypeId=2, id=deal["item"]["id"])
    assert portal.call("crm.status.delete", id=rows["APOLOGY"]) is True
    forced = 'CRM System Status can be deleted only if parameter FORCED is specified and equal to "Y".'
    assert portal.refused("crm.status.delete", id=rows["LOSE"]) == (400, "", forced)
    assert portal.call("crm.status.delete", id=rows["LOSE"], params={"FORCED": "Y"}) is True
    assert portal.refused("crm.status.delete", id=rows["WON"], params={"FORCED": "Y"})[0] == 400
    assert portal.refused("crm.status.delete", id=rows["LOSE"]) == (400, "", "Status is not found.")


# Custom fields


def test_a_custom_field_is_made_written_and_read(portal: Portal) -> None:
    fields = {"FIELD_NAME": "crmkit_key", "USER_TYPE_ID": "string", "LABEL": "Key", "XML_ID": "K"}
    number = portal.call("crm.deal.userfield.add", fields=fields)
    row = portal.call("crm.deal.userfield.get", id=number)
    assert (row["FIELD_NAME"], row["XML_ID"], row["EDIT_FORM_LABEL"]["en"]) == (
        "UF_CRM_CRMKIT_KEY",
        "K",
        "Key",
    )
    described = portal.call("crm.item.fields", entityTypeId=2)["fields"]["ufCrmCrmkitKey"]
    assert (described["upperName"], described["isDynamic"]) == ("UF_CRM_CRMKIT_KEY", True)
    item = portal.call("crm.item.add", entityTypeId=2, fields={"ufCrmCrmkitKey": "a/1"})["item"]
    found = portal.call("crm.item.list", entityTypeId=2, filter={"=ufCrmCrmkitKey": "a/1"})["items"]
    assert [one["id"] for one in found] == [item["id"]]
    old = portal.call("crm.deal.get", id=item["id"])
    assert old["UF_CRM_CRMKIT_KEY"] == "a/1"


@pytest.mark.parametrize(
    ("type_", "written", "read"),
    [
        ("integer", "5", 5),
        ("double", 1.5, 1.5),
        ("boolean", 1, "Y"),
        ("date", "2026-06-05", "2026-06-05T03:00:00+03:00"),
        ("datetime", "2026-06-05T10:00:00+02:00", "2026-06-05T11:00:00+03:00"),
        ("money", "300|USD", "300.00|USD"),
        ("url", "https://a.example", "https://a.example"),
        ("employee", "5", 5),
        ("crm", "D_1", "D_1"),
    ],
)
def test_custom_fields_of_every_type_read_back(portal: Portal, type_: str, written: Any, read: Any) -> None:
    portal.call("crm.company.userfield.add", fields={"FIELD_NAME": "NEW_ONE", "USER_TYPE_ID": type_})
    item = portal.call("crm.item.add", entityTypeId=4, fields={"title": "A", "ufCrmNewOne": written})["item"]
    assert item["ufCrmNewOne"] == read


def test_list_values_are_numbered_and_follow_updates(portal: Portal) -> None:
    values = [{"VALUE": name, "SORT": place} for place, name in enumerate(("A", "B", "C"))]
    fields = {"FIELD_NAME": "LIST", "USER_TYPE_ID": "enumeration", "MULTIPLE": "Y", "LIST": values}
    number = portal.call("crm.deal.userfield.add", fields=fields)
    a, b, c = (one["ID"] for one in portal.call("crm.deal.userfield.get", id=number)["LIST"])
    changes = [{"ID": a, "VALUE": "A2"}, {"ID": b, "DEL": "Y"}, {"VALUE": "D"}]
    portal.call("crm.deal.userfield.update", id=number, fields={"LIST": changes})
    after = portal.call("crm.item.fields", entityTypeId=2)["fields"]["ufCrmList"]["items"]
    assert [one["VALUE"] for one in after] == ["A2", "C", "D"]
    item = portal.call("crm.item.add", entityTypeId=2, fields={"ufCrmList": [int(a), c]})["item"]
    assert item["ufCrmList"] == [a, c]
    assert portal.refused("crm.item.add", entityTypeId=2, fields={"ufCrmList": [b]})[0] == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"FIELD_NAME": "SEATS", "USER_TYPE_ID": "string"},
        {"FIELD_NAME": "WITH SPACE", "USER_TYPE_ID": "string"},
        {"FIELD_NAME": "X" * 44, "USER_TYPE_ID": "string"},
        {"FIELD_NAME": "X"},
        {"FIELD_NAME": "X", "USER_TYPE_ID": "colour"},
    ],
)
def test_custom_fields_that_cannot_be_are_refused(portal: Portal, fields: dict[str, Any]) -> None:
    assert portal.refused("crm.deal.userfield.add", fields=fields)[:2] == (400, "")


def test_a_mandatory_field_is_demanded(portal: Portal) -> None:
    fields = {"FIELD_NAME": "MUST", "USER_TYPE_ID": "string", "MANDATORY": "Y", "LABEL": "Must"}
    portal.call("crm.deal.userfield.add", fields=fields)
    refusal = (400, "CRM_FIELD_ERROR_REQUIRED", 'The "Must" field is required')
    assert portal.refused("crm.item.add", entityTypeId=2, fields={}) == refusal
    item = portal.call("crm.item.add", entityTypeId=2, fields={"ufCrmMust": "x"})["item"]
    assert (
        portal.refused("crm.item.update", entityTypeId=2, id=item["id"], fields={"ufCrmMust": ""}) == refusal
    )


def test_a_deleted_field_takes_its_values_along(portal: Portal) -> None:
    fields = {"FIELD_NAME": "GONE", "USER_TYPE_ID": "string"}
    number = portal.call("crm.deal.userfield.add", fields=fields)
    item = portal.call("crm.item.add", entityTypeId=2, fields={"ufCrmGone": "x"})["item"]
    assert portal.call("crm.deal.userfield.delete", id=number) is True
    assert "ufCrmGone" not in portal.call("crm.item.get", entityTypeId=2, id=item["id"])["item"]
    again = portal.call("crm.deal.userfield.add", fields=fields)
    assert again != number
    assert portal.call("crm.item.get", entityTypeId=2, id=item["id"])["item"]["ufCrmGone"] is None


def test_field_ids_stay_when_another_field_goes(portal: Portal) -> None:
    first, *others = portal.call("crm.deal.userfield.list")
    portal.call("crm.deal.userfield.delete", id=first["ID"])
    left = portal.call("crm.deal.userfield.list")
    assert [row["ID"] for row in left] == [row["ID"] for row in others]


# Links


def test_contacts_of_a_deal_are_set_added_and_deleted(portal: Portal) -> None:
    deal = portal.call("crm.item.add", entityTypeId=2, fields={})["item"]["id"]
    items = [{"CONTACT_ID": 23}, {"CONTACT_ID": 25, "IS_PRIMARY": "Y", "SORT": 400}]
    assert portal.call("crm.deal.contact.items.set", id=deal, items=items) is True
    rows = portal.call("crm.deal.contact.items.get", id=deal)
    told = [(row["CONTACT_ID"], row["SORT"], row["IS_PRIMARY"]) for row in rows]
    assert told == [(25, 400, "Y"), (23, 20, "N")]
    assert portal.call("crm.deal.contact.add", id=deal, fields={"CONTACT_ID": 27}) is True
    assert portal.call("crm.deal.contact.add", id=deal, fields={"CONTACT_ID": 27}) is False
    assert portal.call("crm.deal.contact.delete", id=deal, fields={"CONTACT_ID": 25}) is True
    assert portal.call("crm.item.get", entityTypeId=2, id=deal)["item"]["contactIds"] == [23, 27]
    assert portal.call("crm.deal.contact.items.delete", id=deal) is True
    assert portal.call("crm.deal.contact.items.get", id=deal) == []


def test_a_contact_can_have_several_companies(portal: Portal) -> None:
    one, two, three = (
        portal.call("crm.item.add", entityTypeId=4, fields={"title": name})["item"]["id"] for name in "ABC"
    )
    person = portal.call("crm.item.add", entityTypeId=3, fields={"name": "P", "companyIds": [one, two]})[
        "item"
    ]
    assert (person["companyId"], person["companyIds"]) == (one, [one, two])
    portal.call("crm.contact.company.add", id=person["id"], fields={"COMPANY_ID": three, "IS_PRIMARY": "Y"})
    rows = portal.call("crm.contact.company.items.get", id=person["id"])
    assert [row["COMPANY_ID"] for row in rows] == [three, one, two]
    assert [row["CONTACT_ID"] for row in portal.call("crm.company.contact.items.get", id=two)] == [
        person["id"]
    ]
    portal.call("crm.item.delete", entityTypeId=4, id=three)
    after = portal.call("crm.item.get", entityTypeId=3, id=person["id"])["item"]
    assert (after["companyId"], after["companyIds"]) == (one, [one, two])


def test_a_company_is_given_its_contacts(portal: Portal) -> None:
    people = [
        portal.call("crm.item.add", entityTypeId=3, fields={"name": name})["item"]["id"] for name in "PQ"
    ]
    company = portal.call("crm.item.add", entityTypeId=4, fields={"title": "A", "contactIds": people})["item"]
    assert company["contactIds"] == people
    portal.call("crm.company.contact.items.set", id=company["id"], items=[{"CONTACT_ID": people[1]}])
    assert portal.call("crm.item.get", entityTypeId=3, id=people[0])["item"]["companyIds"] == []
    assert portal.call("crm.item.get", entityTypeId=3, id=people[1])["item"]["companyIds"] == [company["id"]]


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("crm.deal.contact.add", "Not found."),
        ("crm.deal.contact.items.set", "Not found."),
        ("crm.contact.company.items.delete", "The parameter ownerEntityID is invalid or not defined."),
    ],
)
def test_links_of_what_is_not_there_are_refused(portal: Portal, method: str, text: str) -> None:
    params = {"id": 999_999, "fields": {"CONTACT_ID": 23}, "items": []}
    assert portal.refused(method, **params) == (400, "", text)


# Comments and to-dos


def test_a_comment_is_the_callers_and_of_now(portal: Portal) -> None:
    deal = next(iter(portal.app.world.deals))
    fields = {
        "ENTITY_ID": deal,
        "ENTITY_TYPE": "deal",
        "COMMENT": "called",
        "AUTHOR_ID": 9,
        "CREATED": "2020-01-01",
    }
    number = portal.call("crm.timeline.comment.add", fields=fields)
    row = portal.call("crm.timeline.comment.get", id=number)
    expected = {
        "ENTITY_ID": deal,
        "COMMENT": "called",
        "AUTHOR_ID": "1",
        "CREATED": "2026-06-01T15:00:00+03:00",
    }
    assert {name: row[name] for name in expected} == expected
    assert portal.call("crm.timeline.comment.update", id=number, fields={"COMMENT": "again"}) == number
    told = portal.call("crm.timeline.comment.list", filter={"ENTITY_ID": deal, "ENTITY_TYPE": "deal"})
    assert "again" in [one["COMMENT"] for one in told]
    assert portal.call("crm.timeline.comment.delete", id=number) is None
    assert portal.refused("crm.timeline.comment.delete", id=number) == (400, "NOT_FOUND", "Not found.")


def test_a_comment_needs_a_record_a_text_and_small_letters(portal: Portal) -> None:
    deal = next(iter(portal.app.world.deals))
    fields = {"ENTITY_ID": deal, "ENTITY_TYPE": "deal", "COMMENT": "x"}
    nowhere = portal.refused("crm.timeline.comment.add", fields=fields | {"ENTITY_ID": 999_999})
    assert nowhere == (400, "NOT_FOUND", "Not found.")
    assert portal.refused("crm.timeline.comment.add", fields=fields | {"COMMENT": ""})[0] == 400
    assert portal.refused("crm.timeline.comment.add", FIELDS=fields)[0] == 400


def test_a_to_do_is_added_changed_and_deleted(portal: Portal) -> None:
    deal = int(next(iter(portal.app.world.deals)))
    owner = {"ownerTypeId": 2, "ownerId": deal}
    added = portal.call("crm.activity.todo.add", **owner, deadline="2026-06-09T12:00:00+03:00", title="Call")
    number = added["id"]
    changed = portal.call(
        "crm.activity.todo.updateDeadline", id=number, **owner, value="2026-06-10T12:00:00+03:00"
    )
    assert changed == {"id": number}
    portal.call("crm.activity.todo.updateDescription", id=number, **owner, value="at noon")
    portal.call("crm.activity.todo.updateResponsibleUser", id=number, **owner, responsibleId=5)
    wanted = {"OWNER_TYPE_ID": 2, "@OWNER_ID": [deal], "PROVIDER_ID": "CRM_TODO", "ID": number}
    (row,) = portal.call("crm.activity.list", filter=wanted, order={"ID": "ASC"})
    expected = {
        "SUBJECT": "Call",
        "DESCRIPTION": "at noon",
        "RESPONSIBLE_ID": "5",
        "DEADLINE": "2026-06-10T12:00:00+03:00",
        "COMPLETED": "N",
        "OWNER_ID": str(deal),
    }
    assert {name: row[name] for name in expected} == expected
    assert portal.call("crm.activity.delete", id=number) is True
    assert portal.refused("crm.activity.get", id=number) == (400, "", "Access denied.")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"ownerId": 999_999, "deadline": "2026-06-09"}, "OWNER_NOT_FOUND"),
        ({"deadline": "soon"}, "WRONG_DATETIME_FORMAT"),
        ({}, "100"),
    ],
)
def test_to_dos_that_cannot_be_are_refused(portal: Portal, params: dict[str, Any], code: str) -> None:
    asked = {"ownerTypeId": 2, "ownerId": int(next(iter(portal.app.world.deals)))} | params
    assert portal.refused("crm.activity.todo.add", **asked)[:2] == (400, code)


def test_a_completed_to_do_is_not_changed(portal: Portal) -> None:
    row = next(
        row
        for row in portal.call("crm.activity.list", filter={"OWNER_TYPE_ID": 2}, order={"ID": "ASC"})
        if row["COMPLETED"] == "Y"
    )
    asked = {"id": row["ID"], "ownerTypeId": 2, "ownerId": row["OWNER_ID"], "value": "x"}
    answer = portal.refused("crm.activity.todo.updateDescription", **asked)
    assert answer[:2] == (400, "CAN_NOT_UPDATE_COMPLETED_TODO")


# Currencies


def test_a_currency_is_added_and_can_be_used(portal: Portal) -> None:
    fields = {"CURRENCY": "CNY", "AMOUNT": 12.5, "AMOUNT_CNT": 100}
    assert portal.call("crm.currency.add", fields=fields) == "CNY"
    assert portal.app.world.rates["CNY"] == 0.125
    item = portal.call("crm.item.add", entityTypeId=2, fields={"currencyId": "CNY"})["item"]
    assert item["currencyId"] == "CNY"
    assert portal.call("crm.currency.update", id="CNY", fields={"AMOUNT": 13, "AMOUNT_CNT": 100}) is True
    assert portal.call("crm.currency.delete", id="CNY") is True
    assert portal.refused("crm.currency.get", id="CNY")[0] == 400
    assert portal.refused("crm.currency.delete", id="EUR")[0] == 400
