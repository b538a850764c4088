"""What is written is what Bitrix24's own pages show, and their answers are understood.

The payloads are the official ones in the folder of specs beside the repository; `index.json`
there names the page of each, `method-schemas.json` lists parameters, `entity-fields.json`
the fields of deals, contacts and companies.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.bitrix24.bodies import body_of
from crmkit.connectors.bitrix24.customs import Customs
from crmkit.connectors.bitrix24.dialect import WRITE_METHODS
from crmkit.connectors.bitrix24.encoding import CustomFields, key_pair
from crmkit.connectors.bitrix24.records import Rows
from crmkit.connectors.bitrix24.refusals import error_for, problem
from crmkit.connectors.bitrix24.settling import item_of, not_taken, record_of, refused, whole
from crmkit.connectors.bitrix24.steps import comment_of, linking
from crmkit.connectors.bitrix24.structure import amend
from crmkit.connectors.http import Answer
from crmkit.connectors.writing import Act, Change, Result
from crmkit.model import DealContact, Kind, Outcome, Ref, Stage

SPECS = Path(__file__).parents[2].parent / "shared" / "specs" / "bitrix24"
EXAMPLES = SPECS / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"the official examples are not in {EXAMPLES}")
CUSTOMS = CustomFields(
    {"ufCrm_1721244707107": {"type": "double", "isDynamic": True, "upperName": "UF_CRM_1721244707107"}}
)
DEAL = Ref("b24", Kind.DEAL, "351")


def example(name: str) -> Any:
    return Answer(200, {}, (EXAMPLES / name).read_bytes(), name).json()


def schemas() -> dict[str, Any]:
    return {one["method"]: one for one in json.loads((SPECS / "method-schemas.json").read_text())["methods"]}


def test_every_official_answer_to_a_writing_method_is_understood_here():
    answers = {path.name for path in EXAMPLES.glob("*.json") if ".request" not in path.name}
    received = {name for name in answers if name.split(".response")[0].split(".error")[0] in WRITE_METHODS}
    source = Path(__file__).read_text()
    assert len(received) > 15
    assert {name for name in received if f'"{name}"' not in source} == set()


def test_the_example_of_a_new_deal_is_what_its_values_become():
    wanted = example("crm.item.add.request.json")["fields"]
    values = {
        "name": wanted["title"],
        "pipeline_id": "9",
        "stage_id": "C9:UC_KN8KFI",
        "probability": Decimal("0.5"),
        "currency": "EUR",
        "amount": Decimal("999.99"),
        "companies": ("5",),
        "contacts": (DealContact(id="4", primary=True), DealContact(id="5")),
        "expected_close": date(2024, 7, 30),
        "owner_id": "6",
        "source": "WEB",
        "custom.ufCrm_1721244707107": Decimal("1111.1"),
    }
    fields = body_of(Kind.DEAL, values, CUSTOMS, creating=True).fields
    # In a batch every value travels as text.
    assert fields == {name: _text(wanted[name]) for name in fields}
    assert len(fields) == len(values) + 1


def test_the_example_of_an_update_is_what_its_values_become():
    wanted = example("crm.item.update.request.json")["fields"]
    values = {
        "name": "REST Deal #1",
        "stage_id": "C9:UC_NYL06U",
        "owner_id": "6",
        "currency": "USD",
        "custom.ufCrm_1721244707107": Decimal("200.05"),
    }
    fields = body_of(Kind.DEAL, values, CUSTOMS, creating=False).fields
    assert fields == {name: _text(wanted[name]) for name in fields}


def _text(value: Any) -> Any:
    return [_text(one) for one in value] if isinstance(value, list) else str(value)


def test_the_example_of_links_is_what_a_set_of_people_becomes():
    wanted = example("crm.deal.contact.items.set.request.json")
    request = linking("1875", "contacts", ["55", "54", "56"])
    assert request.params["id"] == str(wanted["id"])
    made = [(one["CONTACT_ID"], one["IS_PRIMARY"]) for one in request.params["items"]]
    assert made == [(str(one["CONTACT_ID"]), one.get("IS_PRIMARY", "N")) for one in wanted["items"]]


def test_the_example_of_a_renamed_stage_is_what_a_new_name_becomes():
    wanted = example("crm.status.update.request.json")
    row = {"ID": "123", "STATUS_ID": "NEW", "NAME": "Old name", "SORT": "10"}
    stage = Stage(id="NEW", name=wanted["fields"]["NAME"], order=0, outcome=Outcome.OPEN)
    (request,) = amend("0", [row], [stage]).requests
    assert request.params == {"id": str(wanted["id"]), "fields": {"NAME": wanted["fields"]["NAME"]}}


def test_only_fields_that_the_official_tables_call_writable_are_sent():
    entities = json.loads((SPECS / "entity-fields.json").read_text())["entities"]
    everything = {
        Kind.DEAL: {
            "name": "A", "pipeline_id": "1", "stage_id": "C1:NEW", "amount": Decimal(1), "currency": "EUR",
            "probability": Decimal(1), "owner_id": "1", "companies": ("1",), "source": "WEB",
            "contacts": (DealContact(id="1"),), "expected_close": date(2026, 1, 1),
        },
        Kind.CONTACT: {
            "first_name": "A", "last_name": "B", "owner_id": "1", "companies": ("1",), "phones": ("1",),
        },
        Kind.COMPANY: {"name": "A", "owner_id": "1", "domain": "a.example", "phones": ("1",)},
    }  # fmt: skip
    for kind, values in everything.items():
        writable = {one["name"] for one in entities[kind]["fields"] if one["in_add"] and one["in_update"]}
        body = body_of(kind, values, CustomFields(), creating=True)
        assert body.unwritten == {}
        assert (body.fields | key_pair("a:1")).keys() <= writable


def test_every_request_has_the_parameters_of_its_method():
    # What the pages of these methods name; the tables for `crm.item.*` are in `entity-fields.json`.
    sent = {
        "crm.item.add": {"entityTypeId", "fields"},
        "crm.item.import": {"entityTypeId", "fields"},
        "crm.item.update": {"entityTypeId", "id", "fields"},
        "crm.item.delete": {"entityTypeId", "id"},
        "crm.deal.update": {"id", "fields"},
        "crm.company.update": {"id", "fields"},
        "crm.contact.update": {"id", "fields"},
        "crm.deal.contact.items.set": {"id", "items"},
        "crm.deal.contact.items.delete": {"id"},
        "crm.contact.company.items.set": {"id", "items"},
        "crm.contact.company.items.delete": {"id"},
        "crm.timeline.comment.add": {"fields"},
        "crm.category.add": {"entityTypeId", "fields"},
        "crm.category.update": {"entityTypeId", "id", "fields"},
        "crm.category.delete": {"entityTypeId", "id"},
        "crm.status.add": {"fields"},
        "crm.status.update": {"id", "fields"},
        "crm.status.delete": {"id"},
    }
    assert sent.keys() == set(WRITE_METHODS)
    known = schemas()
    for method, names in sent.items():
        if method not in known:
            continue
        params = {one["name"].lower(): one for one in known[method]["params"]}
        assert {name.lower() for name in names} <= params.keys(), method
        assert {name for name, one in params.items() if one["required"]} <= {
            name.lower() for name in names
        }, method


def test_a_comment_has_the_fields_of_its_method():
    change = Change("c", Act.CREATE, Kind.NOTE, values={"text": "x", "deal_id": "5"})
    (fields,) = schemas()["crm.timeline.comment.add"]["defs"].values()
    names = {one["name"] for one in fields["fields"]}
    assert {one["name"] for one in fields["fields"] if one["required"]} <= comment_of(change).keys() <= names


def test_the_example_of_a_new_deals_row_is_the_whole_record():
    row = item_of(example("crm.item.add.response.json")["result"])
    assert row is not None
    assert whole(Kind.DEAL, row)
    record = record_of(Rows("b24", "https://acme.bitrix24.com", Customs({})), Kind.DEAL, row)
    values = {
        "pipeline_id": "9",
        "amount": Decimal("999.99"),
        "contacts": (DealContact(id="4", primary=True), DealContact(id="5")),
        "expected_close": date(2024, 7, 30),
    }
    assert not_taken(Kind.DEAL, row, record, values, CUSTOMS) == []
    assert not_taken(Kind.DEAL, row, record, {"probability": Decimal("0.6")}, CUSTOMS) == ["probability"]


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("crm.item.delete.response.json", []),
        ("crm.status.add.response.json", 773),
        ("crm.status.update.response.json", True),
        ("crm.status.delete.response.json", True),
        ("crm.timeline.comment.add.response.json", 999),
        ("crm.deal.update.response.json", True),
        ("crm.company.update.response.json", True),
        ("crm.contact.update.response.json", True),
        ("crm.deal.contact.items.set.response.json", True),
        ("crm.deal.contact.items.delete.response.json", True),
        ("crm.contact.company.items.set.response.json", True),
        ("crm.contact.company.items.delete.response.json", True),
    ],
)
def test_example_answers_without_a_row_hold_what_is_taken_for_done(name, result):
    assert example(name)["result"] == result


@pytest.mark.parametrize(
    ("name", "act", "expected"),
    [
        ("crm.item.add.error.json", Act.CREATE, Result.REJECTED),
        ("crm.item.import.error.json", Act.CREATE, Result.REJECTED),
        ("crm.item.update.error.json", Act.UPDATE, Result.GONE),
        ("crm.category.add.error.json", Act.CREATE, Result.REJECTED),
        ("crm.category.update.error.json", Act.UPDATE, Result.GONE),
        ("crm.category.delete.error.json", Act.DELETE, Result.GONE),
        ("crm.timeline.comment.add.error.json", Act.CREATE, Result.REJECTED),
        ("crm.deal.contact.items.set.error.json", Act.UPDATE, Result.GONE),
        ("crm.deal.contact.items.delete.error.json", Act.UPDATE, Result.GONE),
        ("crm.contact.company.items.delete.error.json", Act.UPDATE, Result.REJECTED),
        ("crm.deal.update.error.json", Act.UPDATE, Result.REJECTED),
    ],
)
def test_example_refusals_have_the_right_outcome(name, act, expected):
    code, said = problem(example(name))
    change = Change("c", act, Kind.DEAL, None if act is Act.CREATE else DEAL)
    assert refused(change, error_for(code, said, "b24: POST /rest/batch"), {}).result is expected


def test_the_example_of_an_import_row_answers_no_more_than_the_id():
    good, bad = example("crm.item.batchImport.response.json")["result"]["items"]
    row = item_of(good)
    assert row == {"id": 15}
    assert not whole(Kind.DEAL, row)
    code, said = problem(bad)
    change = Change("c", Act.CREATE, Kind.DEAL, values={"created_at": datetime(2024, 1, 1, tzinfo=UTC)})
    outcome = refused(change, error_for(code, said, "b24"), {"name": "name"})
    assert (outcome.result, outcome.field) == (Result.REJECTED, "name")
