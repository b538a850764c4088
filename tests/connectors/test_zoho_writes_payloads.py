"""Writing Zoho against its official payloads and its OpenAPI file.

The payloads lie beside the repository in shared/specs/zoho/examples; `index.json` there
tells source and date of each.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.writing import Act, Change, Lookup, Result, Written
from crmkit.connectors.zoho.answers import outcomes
from crmkit.connectors.zoho.bodies import body
from crmkit.connectors.zoho.connector import ZohoConnector
from crmkit.connectors.zoho.notes import note_body
from crmkit.connectors.zoho.shape import Shape, WritablePipeline, WritableStage
from crmkit.connectors.zoho.structure import changed_pipeline, new_pipeline
from crmkit.errors import Unsupported
from crmkit.model import DealContact, Kind, Outcome, Ref, Stage
from tests.connectors.test_zoho_writes import (
    KEY,
    KEY_META,
    FakeZoho,
    connect,
    create,
    delete,
    meta,
    pipeline,
    ref,
    stage,
    update,
    written,
    zoho,
)

__all__ = ["connect", "zoho"]  # fixtures

EXAMPLES = Path(__file__).parents[3] / "shared/specs/zoho/examples"


def example(name: str) -> Any:
    if not EXAMPLES.exists():
        pytest.skip(f"{EXAMPLES} is not there: the specs lie beside the repository")
    return json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def without_names(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its lookups reduced to what has to be sent."""
    return {name: {"id": value["id"]} if isinstance(value, dict) else value for name, value in row.items()}


def judged(name: str, *changes: Change) -> list[Written]:
    return outcomes(changes, example(name)["data"], "zoho-eu", lambda text: text)


SHAPE = Shape(
    stages={"104": WritableStage("Negotiation/Review", Outcome.OPEN)},
    pipelines={"201": WritablePipeline("Standard (Standard)", frozenset({"104"}))},
)


def test_a_deal_is_sent_as_in_the_official_example() -> None:
    wanted = without_names(example("deal_create_request")["data"][0])
    values = {
        "name": wanted["Deal_Name"],
        "owner_id": wanted["Owner"]["id"],
        "amount": Decimal(85000),
        "expected_close": date(2026, 9, 30),
        "companies": (wanted["Account_Name"]["id"],),
        "contacts": (DealContact(id=wanted["Contact_Name"]["id"], primary=True),),
        "pipeline_id": "201",
        "stage_id": "104",
        "source": "Partner Referral",
        "tags": ("Renewal",),
    }
    row = body(Kind.DEAL, values, SHAPE, creating=True).row
    assert len(row) == len(values)
    assert {name: wanted[name] for name in row} == row


def test_an_account_is_sent_as_in_the_official_example() -> None:
    wanted = without_names(example("account_create_request")["data"][0])
    values = {
        "name": wanted["Account_Name"],
        "owner_id": wanted["Owner"]["id"],
        "phones": (wanted["Phone"],),
        "domain": wanted["Website"],
        "city": "Exton",
        "country": "USA",
        "postcode": "19341",
    }
    row = body(Kind.COMPANY, values, Shape(), creating=True).row
    assert len(row) == len(values)
    assert {name: wanted[name] for name in row} == row


def test_a_note_is_sent_as_in_the_official_example() -> None:
    wanted = example("note_create_request")["data"][0]
    values = {"text": wanted["Note_Content"], "company_id": wanted["Parent_Id"]["id"]}
    change = Change("n", Act.CREATE, Kind.NOTE, values=values, key=wanted["Note_Title"])
    # The example has the module's id beside its name; the name tells it as well.
    wanted["Parent_Id"]["module"] = {"api_name": "Accounts"}
    assert note_body(change).row == wanted


@pytest.mark.parametrize("name", ["pipeline_create_request", "pipeline_update_request"])
def test_a_pipeline_is_sent_as_in_the_official_example(name: str) -> None:
    wanted = example(name)["pipeline"][0]
    entries = sorted(wanted["maps"], key=lambda entry: entry["sequence_number"])
    stages = {one["id"]: WritableStage(one["id"], Outcome.OPEN) for one in entries}
    values = {
        "name": wanted["display_value"],
        "stages": tuple(Stage(id=one["id"], name=one["id"], order=0) for one in entries),
    }
    now = {
        "display_value": "Old",
        "maps": [{"id": entries[1]["id"], "display_value": entries[1]["id"], "sequence_number": 1}],
    }
    row = new_pipeline(values, stages).row
    if "update" in name:
        row = changed_pipeline(values, now, stages).row
    assert row == {"display_value": wanted["display_value"], "maps": entries}


def test_the_key_field_is_made_as_in_the_example(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    wanted = example("field_create_unique_external_request")["fields"][0]
    del wanted["external"]  # whether it goes together with `unique` is not documented
    zoho.fields["Deals"].remove(KEY_META)
    connect().prepare([Kind.DEAL])
    assert zoho.writes()[0][3] == {"fields": [wanted]}
    assert example("field_create_201")["fields"][0]["code"] == "SUCCESS"


def test_a_contact_role_is_sent_as_in_the_example(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    wanted = example("deal_contact_roles_upsert_request")["data"][0]
    zoho.before = lambda method, path, _: (
        (200, example("deal_contact_roles_upsert_200"))
        if method == "PUT"
        else (200, {"contact_roles": [wanted["Contact_Role"]]})
        if path == "/Contacts/roles"
        else None
    )
    people = (DealContact(id="1"), DealContact(id=wanted["id"], role=wanted["Contact_Role"]["name"]))
    one = written(connect(), create(contacts=people))["Acme"]
    del wanted["Contact_Role"]["name"]
    assert zoho.writes()[-1][3] == {"data": [wanted]}
    assert one.unwritten == {}


def test_a_mixed_batch_is_understood() -> None:
    values = {"last_name": "A"}
    changes = [Change(name, Act.CREATE, Kind.CONTACT, values=values) for name in ("a", "b")]
    good, bad = judged("create_207_mixed", *changes)
    version = "2023-05-10T08:10:47+00:00"
    assert good == Written("a", Result.DONE, ref("5725767000000524157", Kind.CONTACT), version)
    assert (bad.id, bad.result, bad.field) == ("b", Result.REJECTED, "last_name")


@pytest.mark.parametrize(
    ("name", "result", "field", "native"),
    [
        ("deal_create_201", Result.DONE, None, "7328395000000710002"),
        ("create_400_duplicate_data", Result.EXISTS, "custom.Unique_1", "2008662000006256222"),
        ("create_400_invalid_data_type", Result.REJECTED, "custom.Number_1", None),
        ("create_400_maximum_length", Result.REJECTED, "custom.Number_1", None),
        ("upsert_400_mandatory_on_update", Result.REJECTED, "custom.Single_Line_1", None),
    ],
)
def test_the_answer_to_a_create_is_understood(
    name: str, result: Result, field: str | None, native: str | None
) -> None:
    (one,) = judged(name, create())
    assert (one.result, one.field, one.ref and one.ref.id) == (result, field, native)


@pytest.mark.parametrize(
    ("name", "native", "result"),
    [
        ("deal_update_200", "7328395000000698002", Result.DONE),
        ("update_412_already_modified", "492070000199308229", Result.STALE),
        ("update_400_record_locked", "9", Result.UNSENT),
        ("update_400_over_100_records", "9", Result.REJECTED),
    ],
)
def test_the_answer_to_an_update_is_understood(name: str, native: str, result: Result) -> None:
    (one,) = judged(name, update(native, name="A"))
    assert (one.result, one.ref and one.ref.id) == (result, native)


def test_the_answer_to_a_delete_is_understood() -> None:
    (one,) = judged("deal_delete_200", delete("7328395000000701001"))
    assert (one.result, one.version) == (Result.DONE, None)


def test_the_answer_to_a_note_is_understood() -> None:
    (one,) = judged("note_create_201", Change("n", Act.CREATE, Kind.NOTE, values={}))
    assert (one.result, one.ref) == (Result.DONE, ref("4876876000006021002", Kind.NOTE))


def test_several_errors_of_one_row_are_all_told() -> None:
    rows = [
        {
            "code": "MULTIPLE_OR_MULTI_ERRORS",
            "errors": [
                {"code": "INVALID_DATA", "details": {"api_name": "Amount", "json_path": "$.data[0].Amount"}},
                {"code": "MANDATORY_NOT_FOUND", "details": {"api_name": "Region"}},
            ],
            "details": {},
            "message": "several",
            "status": "error",
        }
    ]
    (one,) = outcomes([create()], rows, "zoho-eu", lambda text: text)
    assert (one.result, one.field) == (Result.REJECTED, "amount")
    assert "Region" in one.reason


@pytest.mark.parametrize(
    ("name", "status", "result", "field"),
    [
        ("pipeline_create_201", 201, Result.DONE, None),
        ("pipeline_update_200", 200, Result.DONE, None),
        ("pipeline_400_invalid_stage_id", 400, Result.REJECTED, "stages"),
        ("pipeline_400_already_scheduled", 400, Result.REJECTED, None),
    ],
)
def test_the_answer_to_a_pipeline_is_understood(
    zoho: FakeZoho,
    connect: Callable[..., ZohoConnector],
    name: str,
    status: int,
    result: Result,
    field: str | None,
) -> None:
    zoho.before = lambda method, path, _: (
        (status, example(name)) if method == "POST" and path == "/settings/pipeline" else None
    )
    one = written(connect(), pipeline(Act.CREATE, name="Partners", stages=(stage("101", ""),)))["p"]
    assert (one.result, one.field) == (result, field)


def test_a_missing_permission_on_pipelines_is_raised(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.before = lambda method, path, _: (
        (403, example("error_403_no_permission")) if method == "PATCH" else None
    )
    found: list[Written] = []
    change = pipeline(Act.UPDATE, "201", name="Main")
    with pytest.raises(Exception, match="Crm_Implied_View_Leads"):
        found.extend(one for group in connect().write([change]) for one in group)
    assert [one.result for one in found] == [Result.UNSENT]


def test_every_write_is_one_that_the_spec_allows(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    pytest.importorskip("openapi_schema_validator", reason="openapi-schema-validator is not installed")
    from tests.connectors.test_spec_requests import EXCEPTIONS, SPECS, Sent, Spec  # noqa: PLC0415

    if not SPECS.exists():
        pytest.skip("the official specs (../shared/specs) are absent")
    send_every_write(zoho, connect(contact_role="User"))
    exceptions = dataclasses.replace(
        EXCEPTIONS["zoho"],
        parameters={("/crm/v8/{module}", "wf_trigger"): "not listed there; contract, section 2"},
    )
    spec = Spec(json.loads((SPECS / "zoho/openapi.json").read_text(encoding="utf-8")), exceptions)
    sent = [
        Sent(method, f"/crm/v8{path}", tuple(params.items()), content)
        for method, path, params, content, _ in zoho.sent
        if path != "token"
    ]
    kinds = {(one.method, one.path) for one in sent}
    assert {("POST", "/crm/v8/Deals"), ("PUT", "/crm/v8/Deals"), ("DELETE", "/crm/v8/Deals")} <= kinds
    assert {("POST", "/crm/v8/Notes"), ("PATCH", "/crm/v8/settings/pipeline")} <= kinds
    assert sorted({problem for one in sent for problem in spec.problems(one)}) == []


def send_every_write(zoho: FakeZoho, connector: ZohoConnector) -> None:
    """One write of each act and kind, with every field."""
    zoho.fields["Contacts"].remove(KEY_META)
    zoho.fields["Deals"].append(meta("Currency", "picklist"))
    connector.prepare([Kind.CONTACT])
    for native in ("1", "2"):
        zoho.put("Deals", native)
    people = (DealContact(id="5", primary=True), DealContact(id="6"))
    deal = create(
        key=KEY,
        amount=Decimal("1.5"),
        currency="USD",
        probability=Decimal("0.5"),
        owner_id="7",
        companies=("8",),
        contacts=people,
        expected_close=date(2026, 1, 1),
        source="Trade Show",
        tags=("a",),
        **{"custom.Region": "EMEA"},
    )
    contact = create(
        id="c", kind=Kind.CONTACT, key=KEY, last_name="Lee", phones=("1",), emails=("a@b.example",)
    )
    company = create(id="a", kind=Kind.COMPANY, key=KEY, **{"domain": "acme.example"})
    note = Change("n", Act.CREATE, Kind.NOTE, values={"text": "Call", "deal_id": "1"}, key=KEY)
    changes = [deal, contact, company, note, update("1", name="B", amount=None, tags=()), delete("2")]
    stages = (stage("102", ""), stage("101", ""))
    changes += [pipeline(Act.CREATE, name="P", stages=stages)]
    for change in changes:
        assert written(connector, change)[change.id].result is Result.DONE
    renamed = dataclasses.replace(pipeline(Act.UPDATE, "201", name="Q", stages=stages), id="q")
    assert written(connector, renamed)["q"].result is Result.DONE
    assert connector.find([Lookup(Kind.DEAL, KEY), Lookup(Kind.NOTE, KEY, Ref("zoho-eu", Kind.DEAL, "1"))])


def test_pipelines_carry_no_key(connect: Callable[..., ZohoConnector]) -> None:
    with pytest.raises(Unsupported):
        connect().find([Lookup(Kind.PIPELINE, KEY)])
