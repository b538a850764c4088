"""Every documented answer of Close that reading meets is read without loss.

The payloads lie outside the repository, beside the contracts, with their sources.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import responses

from crmkit.connectors import translate
from crmkit.connectors.close import custom, records, walks
from crmkit.connectors.close.connector import CloseConnector
from crmkit.connectors.close.custom import CustomFields
from crmkit.connectors.close.dialect import CloseDialect, TooDeep, grant
from crmkit.connectors.close.events import EventLog
from crmkit.connectors.http import Answer, Call
from crmkit.errors import AccessDenied, NotFound, RateLimited, Rejected
from crmkit.model import (
    Company,
    Contact,
    Deal,
    Kind,
    Note,
    Outcome,
    Owner,
    Pipeline,
    StageChange,
    ValuePeriod,
)

EXAMPLES = Path(__file__).parents[2].parent / "shared/specs/close/examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the vendor's example payloads are not here")


LEFT_OUT = {
    "export_opportunity_create_response_200": "exports are not used: their time and snapshot are unknown",
    "export_opportunity_get_done_200": "as above",
    "lead_merge_response_200": "answers a write",
    "opportunity_delete_200": "answers a write",
    "status_opportunity_list_200": "statuses are read with their pipelines, in order",
    "webhook_create_response_201": "answers a write",
}


def test_every_example_is_read_or_left_out_for_a_reason():
    read_here = Path(__file__).read_text(encoding="utf-8")
    answers = [path.stem for path in EXAMPLES.glob("*.json") if "_request" not in path.stem]
    assert [name for name in answers if f'"{name}"' not in read_here] == []
    assert LEFT_OUT.keys() <= set(answers)


def example(name: str):
    return json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def read(model, kind, rows, translator):
    good, bad = translate.records(model, "eu", kind, rows, translator, records.identify)
    assert bad == []
    return good


def answer(status: int, name: str, **headers: str) -> Answer:
    return Answer(status, headers, (EXAMPLES / f"{name}.json").read_bytes(), "eu: GET /opportunity/")


def test_listed_opportunities():
    rows, more, total = walks.page_of(example("opportunity_list_200"))
    deals = read(Deal, Kind.DEAL, rows, records.deal_translator("eu", CustomFields()))
    assert (more, total) == (False, 3)
    first, second, third = deals
    assert (first.name, first.amount, first.currency) == ("Bluth Company (Sample Lead)", Decimal(3000), "USD")
    assert (first.probability, first.outcome, first.owner_id) == (
        Decimal("0.75"),
        Outcome.OPEN,
        "user_N6KhMpzHRCYQHdn4gRNIFNN5JExnsrprKA6ekxM63XA",
    )
    assert first.companies == ("lead_s6vHFTK1TSRoH6otXOexWDO9jM4xyb1kELHDoU7Fdsp",)
    assert first.created_at == datetime(2013, 2, 1, 0, 54, 51, 321000, tzinfo=UTC)
    assert (second.value_period, third.value_period) == (ValuePeriod.ANNUAL, ValuePeriod.MONTHLY)
    assert third.amount == 50
    assert third.custom == {
        "cf_j0P7kHmgFTZZnYBFtyPSZ3uQw4dpW8xKcW7Krps8atj": "https://www.example.com/contract.pdf"
    }


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("opportunity_create_recorded_response_200", "5"),
        ("opportunity_update_note_response_200", "5"),
        ("opportunity_create_response_200", "500"),
    ],
)
def test_single_opportunities_of_older_shapes(name, amount):
    [deal] = read(Deal, Kind.DEAL, [example(name)], records.deal_translator("eu", CustomFields()))
    assert deal.amount == Decimal(amount)
    assert deal.value_period is ValuePeriod.MONTHLY


def test_the_opportunity_of_a_webhook_delivery():
    row = example("webhook_delivery_opportunity_won")["event"]["data"]
    [deal] = read(Deal, Kind.DEAL, [row], records.deal_translator("eu", CustomFields()))
    assert (deal.outcome, deal.expected_close, deal.amount) == (Outcome.WON, date(2019, 1, 15), 1000)
    assert [(contact.id, contact.primary) for contact in deal.contacts] == [
        ("cont_BwlwYQkIP6AooiXP1CMvc6Zbb5gGh2gPu4dqIDlDrII", True)
    ]


@pytest.mark.parametrize("name", ["lead_list_200", "lead_create_response_200"])
def test_leads_and_their_contacts(name):
    body = example(name)
    rows = body.get("data", [body])
    companies = read(Company, Kind.COMPANY, rows, records.company_translator("eu", CustomFields()))
    people = [contact for row in rows for contact in records.contacts_of(row)]
    contacts = read(Contact, Kind.CONTACT, people, records.contact_translator("eu", CustomFields()))
    assert companies[0].name == rows[0]["display_name"]
    assert companies[0].url == rows[0]["html_url"]
    assert contacts[0].companies == (rows[0]["id"],)
    assert contacts[0].emails == (people[0]["emails"][0]["email"],)
    assert contacts[0].phones == (people[0]["phones"][0]["phone"],)


def test_a_lead_with_an_address_and_a_multiple_choice():
    row = example("lead_create_response_200")
    [lead] = read(Company, Kind.COMPANY, [row], records.company_translator("eu", CustomFields()))
    assert (lead.city, lead.country, lead.postcode) == ("San Francisco", "US", "94103")
    assert lead.domain == "thebluthcompany.tumblr.com"
    assert lead.custom["cf_nenE344jkwrjyRRezwsf8b4V1MCoXWIDHIStmFavZks"] == ("Choice 1", "Choice 2")


def test_listed_contacts():
    rows = example("contact_list_200")["data"]
    contacts = read(Contact, Kind.CONTACT, rows, records.contact_translator("eu", CustomFields()))
    assert [contact.name for contact in contacts] == ["Tobias Fünke", "Bruce Wayne", "Gob Bluth"]
    assert contacts[1].phones == ("+16503334444",)


def test_contacts_found_by_the_search():
    rows = example("data_search_response_contacts_200")["data"]
    contacts = read(Contact, Kind.CONTACT, rows, records.contact_translator("eu", CustomFields()))
    assert [(contact.name, contact.companies) for contact in contacts] == [
        ("Bruce Wayne", ()),
        ("Steli Efti", ()),
    ]


@pytest.mark.parametrize("name", ["contact_get_200", "contact_create_recorded_response_200"])
def test_single_contacts(name):
    row = example(name)
    [contact] = read(Contact, Kind.CONTACT, [row], records.contact_translator("eu", CustomFields()))
    assert contact.companies == (row["lead_id"],)


def test_an_empty_list():
    assert walks.page_of(example("lead_list_empty_200")) == ([], False, 0)


@pytest.mark.parametrize("name", ["pipeline_list_200", "pipeline_create_response_201"])
def test_pipelines(name):
    body = example(name)
    rows = body.get("data") or [body]
    pipelines = read(Pipeline, Kind.PIPELINE, list(enumerate(rows)), records.pipeline_translator("eu"))
    assert pipelines[0].name == rows[0]["name"]
    assert [stage.name for stage in pipelines[0].stages] == [row["label"] for row in rows[0]["statuses"]]


def test_stage_changes():
    rows, _, total = walks.page_of(example("opportunity_status_change_list_200"))
    [change] = read(StageChange, Kind.STAGE_CHANGE, rows, records.stage_change_translator("eu"))
    assert total is None
    assert change.from_stage_id == "stat_ue534UFRaocoMJJA9CYCwnMsRJP2qt6YGnpZOAx7ckK"
    assert change.to_stage_id == "stat_DetsqwxFOOHx2JnhqtovutN3zeuARGfzB21x5t1W88G"
    assert change.at == datetime(2013, 8, 23, 21, 21, 11, 862000, tzinfo=UTC)


@pytest.mark.parametrize("name", ["note_list_200", "note_create_response_200"])
def test_notes(name):
    body = example(name)
    row = body["data"][0] if "data" in body else body
    [note] = read(Note, Kind.NOTE, [row], records.note_translator("eu"))
    assert (note.company_id, note.text, note.deal_id) == (row["lead_id"], row["note"], None)


def test_users():
    rows = example("user_list_200")["data"]
    [owner] = read(Owner, Kind.OWNER, rows, records.owner_translator("eu", frozenset()))
    assert (owner.name, owner.email, owner.active) == ("Jane Doe", "jane@example.com", True)


def test_memberships_of_an_organization():
    rows = example("organization_get_200")["memberships"]
    owners = read(Owner, Kind.OWNER, rows, records.owner_translator("eu", frozenset()))
    assert [owner.name for owner in owners] == ["P F", "Phil Freo", "Anthony Nemitz"]


def test_custom_fields_are_described():
    [row] = example("custom_field_opportunity_list_200")["data"]
    field = custom.describe(row)
    assert (field.id, field.label, field.type) == (row["id"], "Contract Link", "text")


def test_the_cursor_of_an_empty_event_page_ends_the_log(make_context):
    connector = CloseConnector(make_context("eu", api_key="k3y-secret"))
    with responses.RequestsMock() as mock:
        mock.get("https://api.close.com/api/v1/event/", json=example("event_list_cursors_200"))
        log = EventLog(connector.http)
        assert list(log.since("opportunity", "deleted", datetime(2020, 1, 1, tzinfo=UTC))) == []


def test_tokens():
    found = grant(example("oauth_token_response_200"), "eu")
    assert (found.access_token, found.refresh_token, found.expires_in) == (
        "ACCESS_TOKEN",
        "REFRESH_TOKEN",
        3600,
    )


@pytest.mark.parametrize(
    ("status", "name", "error", "says"),
    [
        (401, "error_invalid_api_key_401", AccessDenied, "could not verify"),
        (404, "error_lead_unknown_404", NotFound, "does not exist"),
        (404, "error_url_unknown_404", NotFound, "not found"),
        (400, "error_skip_too_large_400", TooDeep, "max_skip = 250000"),
        (400, "error_lead_create_bad_status_400", Rejected, "status: Not a valid choice"),
        (400, "error_task_create_unknown_lead_400", Rejected, "lead: Object does not exist."),
    ],
)
def test_errors(make_context, status, name, error, says):
    dialect = CloseDialect(
        make_context("eu", api_key="k3y-secret"), "api_key", "https://api.close.com/api/v1"
    )
    found = dialect.error(Call("GET", "/opportunity/", label="GET /opportunity/"), answer(status, name))
    assert type(found) is error
    assert says in str(found)


def test_the_deprecated_body_of_a_429_is_not_read(make_context):
    dialect = CloseDialect(
        make_context("eu", api_key="k3y-secret"), "api_key", "https://api.close.com/api/v1"
    )
    refused = answer(429, "error_rate_limit_429_legacy_body", RateLimit="reset=2.5")
    found = dialect.error(Call("GET", "/opportunity/", label="GET /opportunity/"), refused)
    assert isinstance(found, RateLimited)
    assert (found.bucket, found.retry_after_seconds) == ("GET opportunity", pytest.approx(2.55))
