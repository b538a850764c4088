"""Every documented answer of Copper that reading meets is read without loss.

The payloads lie outside the repository, beside the contracts, with their sources.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import responses

from crmkit.connectors import translate
from crmkit.connectors.copper import records, values
from crmkit.connectors.copper.connector import CopperConnector
from crmkit.connectors.copper.dialect import BASE, CopperDialect
from crmkit.connectors.copper.steps import ACTIVITY_TYPES, Steps, rows_of
from crmkit.connectors.http import Answer, Call
from crmkit.errors import NotFound, Rejected
from crmkit.model import Company, Contact, Deal, Kind, LostKind, Note, Outcome, Owner, Pipeline

EXAMPLES = Path(__file__).parents[2].parent / "shared/specs/copper/examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the vendor's example payloads are not here")
PACIFIC = values.Days(day_first=False, zone=ZoneInfo("America/Los_Angeles"))


_WRITE = "answers a write"
_RELATED = "further people and companies would cost a call per deal"
LEFT_OUT = {
    "bulk_update_failed_item_response_200": _WRITE,
    "company_delete_response_200": _WRITE,
    "contact_types_list_response_200": "the model has no type of contact",
    "custom_field_create_dropdown_response_200": _WRITE,
    "lead_search_all_custom_field_types_response_200": "leads are not read",
    "oauth_token_response_200": "the token is stored by hand and cannot be renewed",
    "opportunity_delete_response_200": _WRITE,
    "pipeline_stages_list_response_200": "stages are read with their pipelines, in order",
    "related_add_response_200": _WRITE,
    "related_list_all_response_200": _RELATED,
    "related_remove_response_200": _WRITE,
    "task_create_response_200": "tasks are not read",
    "webhook_create_response_200": _WRITE,
    "webhook_delete_response_200": _WRITE,
}


def test_every_example_is_read_or_left_out_for_a_reason():
    read_here = Path(__file__).read_text(encoding="utf-8")
    answers = [path.stem for path in EXAMPLES.glob("*.json") if not path.stem.endswith("_request")]
    assert [name for name in answers if f'"{name}"' not in read_here] == []
    assert LEFT_OUT.keys() <= set(answers)


def connected(make_context) -> CopperConnector:
    return CopperConnector(
        make_context("us", api_key="k3y-secret"), CopperConnector.Options(user_email="a@x.test")
    )


def test_the_account(make_context):
    with responses.RequestsMock() as mock:
        mock.get(
            f"{BASE}/account",
            json=example("account_get_response_200"),
            headers={"Date": "Mon, 23 Nov 2026 12:00:00 GMT"},
        )
        workspace = connected(make_context).check()
    assert (workspace.id, workspace.name) == ("100624", "Dev API Sandbox")


def test_loss_reasons(make_context):
    with responses.RequestsMock() as mock:
        mock.get(
            f"{BASE}/loss_reasons",
            json=example("loss_reasons_list_response_200"),
            headers={"Date": "Mon, 23 Nov 2026 12:00:00 GMT"},
        )
        reasons = connected(make_context).wire.named("/loss_reasons")
    assert reasons == {308806: "Price", 308807: "Features", 308808: "Competitor"}


def test_the_types_of_activity_that_are_asked_for():
    types = example("activity_types_list_response_200")
    names = {(row["category"], row["id"]): row["name"] for rows in types.values() for row in rows}
    asked = {kind: names[wanted["category"], wanted["id"]] for kind, wanted in ACTIVITY_TYPES.items()}
    assert asked == {Kind.NOTE: "Note", Kind.STAGE_CHANGE: "Pipeline Stage Changed"}


def test_the_stub_of_a_deleted_activity_is_a_tombstone(make_context):
    steps = Steps(connected(make_context).wire, Kind.NOTE, records.note_translator("us"), 1)
    found = steps.translated([example("activity_delete_response_200")])
    assert ([stone.ref.id for stone in found.tombstones], found.records) == (["99999999"], [])


def answer(name: str, status: int = 200) -> Answer:
    return Answer(status, {}, (EXAMPLES / f"{name}.json").read_bytes(), "us: GET /x")


def example(name: str):
    """Decoded as in a read: fractions are exact decimals."""
    return answer(name).json()


def read(model, kind, rows, translator):
    good, bad = translate.records(model, "us", kind, rows, translator, records.identify)
    assert bad == []
    return good


SEARCHES = [
    "opportunity_search_by_company_ids_response_200",
    "opportunity_search_by_custom_multi_select_dropdown_response_200",
    "opportunity_search_by_date_stage_changed_response_200",
    "opportunity_search_by_name_response_200",
    "opportunity_search_by_value_response_200",
    "opportunity_search_newest_shape_response_200",
]


@pytest.mark.parametrize("name", SEARCHES)
def test_found_opportunities(name):
    rows = rows_of(answer(name))
    deals = read(Deal, Kind.DEAL, rows, records.deal_translator("us", values.Names()))
    assert [deal.ref.id for deal in deals] == [str(row["id"]) for row in rows]
    for deal, row in zip(deals, rows, strict=True):
        assert (deal.name, deal.stage_id) == (row["name"], str(row["pipeline_stage_id"]))
        assert deal.amount == row["monetary_value"]
        assert deal.probability == Decimal(row["win_probability"]) / 100
        assert (deal.outcome, deal.lost_kind) in {
            "Open": [(Outcome.OPEN, None)],
            "Won": [(Outcome.WON, None)],
            "Lost": [(Outcome.LOST, LostKind.LOST)],
            "Abandoned": [(Outcome.LOST, LostKind.ABANDONED)],
        }[row["status"]]
        assert int(deal.modified_at.timestamp()) == row["date_modified"]


def test_the_values_of_one_opportunity():
    names = values.Names(
        readers=values.readers(
            [
                {"id": 5, "data_type": "Dropdown", "options": [{"id": 6, "name": "option"}]},
                {"id": 6, "data_type": "Date"},
                {"id": 12, "data_type": "MultiSelect", "options": [{"id": 8, "name": "red"}]},
                {"id": 7, "data_type": "Checkbox"},
            ],
            PACIFIC,
        ),
        days=PACIFIC,
    )
    rows = example("opportunity_search_by_custom_multi_select_dropdown_response_200")
    [deal] = read(Deal, Kind.DEAL, rows, records.deal_translator("us", names))
    assert deal.custom == {"5": "option", "6": date(2018, 1, 12), "12": ("red",), "7": False}
    assert (deal.expected_close, deal.currency, deal.tags) == (date(2018, 1, 13), "USD", ("tag1",))
    assert deal.stage_entered_at == datetime(2018, 1, 8, 18, 7, 50, tzinfo=UTC)


def test_a_created_opportunity_without_value_or_close_date():
    row = example("opportunity_create_response_200")
    [deal] = read(Deal, Kind.DEAL, [row], records.deal_translator("us", values.Names()))
    assert (deal.amount, deal.currency, deal.expected_close) == (None, None, None)
    assert (deal.companies, deal.source) == (("13349319",), "331242")


def test_every_type_of_custom_field():
    definitions = example("custom_field_definitions_list_all_types_response_200")
    names = values.Names(readers=values.readers(definitions, PACIFIC), days=PACIFIC)
    rows = example("companies_search_with_custom_fields_response_200")
    [company] = read(Company, Kind.COMPANY, rows, records.company_translator("us", names))
    assert company.custom == {
        "705303": "Banana",
        "705396": Decimal("2.0"),
        "705399": date(2025, 8, 1),
        "705401": ("Option 1", "Option 2"),
        "705402": Decimal("3.0"),
        "705403": "The lore of the company creation.",
        "705404": "https://test.com",
        "705407": True,
        "705452": "Cake",
        "705453": 95,
    }


def test_a_company_with_an_address():
    row = example("company_create_response_200")
    [company] = read(Company, Kind.COMPANY, [row], records.company_translator("us", values.Names()))
    assert (company.name, company.domain) == ("Demo Company", "democompany.com")
    assert (company.city, company.postcode, company.country) == ("San Francisco", "94105", None)
    assert company.phones == ("415-123-45678",)


@pytest.mark.parametrize(
    ("name", "emails", "owner"),
    [
        ("person_create_response_200", ("mycontact_1233@noemail.com",), None),
        ("person_update_response_200", (), "137658"),
    ],
)
def test_people(name, emails, owner):
    row = example(name)
    [person] = read(Contact, Kind.CONTACT, [row], records.contact_translator("us", values.Names()))
    assert (person.name, person.emails, person.owner_id, person.city) == (row["name"], emails, owner, None)


@pytest.mark.parametrize("name", ["pipelines_list_response_200", "pipelines_list_newest_shape_response_200"])
def test_pipelines(name):
    rows = [row for row in example(name) if records.is_deal_pipeline(row)]
    pipelines = read(Pipeline, Kind.PIPELINE, list(enumerate(rows)), records.pipeline_translator("us"))
    assert (pipelines[0].ref.id, pipelines[0].name) == ("213214", "Sales")
    assert [stage.probability for stage in pipelines[0].stages][:3] == [
        Decimal("0.05"),
        Decimal("0.1"),
        Decimal("0.2"),
    ]


def test_users():
    owners = read(Owner, Kind.OWNER, example("users_search_response_200"), records.owner_translator("us"))
    assert [(owner.name, owner.email) for owner in owners] == [
        ("John Doe", "johndoe@copper.com"),
        ("Jane Smith", "janesmith@copper.com"),
    ]


def test_activities_are_sorted_newest_first_and_notes_on_companies_are_kept(make_context):
    rows = example("activities_search_response_200")
    assert [row["activity_date"] for row in rows] == sorted(
        (row["activity_date"] for row in rows), reverse=True
    )
    steps = Steps(connected(make_context).wire, Kind.NOTE, records.note_translator("us"), 1)
    found = steps.translated(rows)
    kept = [row for row in rows if row["parent"]["type"] == "company"]
    assert [record.text for record in found.records] == [row["details"] for row in kept]


def test_a_created_note():
    row = example("activity_create_note_response_200")
    [note] = read(Note, Kind.NOTE, [row], records.note_translator("us"))
    assert (note.text, note.author_id) == ("This is the description of this note", "137658")
    assert note.at == datetime(2017, 6, 6, 18, 5, 55, tzinfo=UTC)


def test_custom_field_definitions_are_described():
    rows = example("custom_field_definitions_list_response_200")
    fields = [values.describe(row) for row in rows]
    assert [(field.id, field.type) for field in fields] == [
        ("100764", "text"),
        ("103481", "text"),
        ("126240", "choice"),
    ]
    assert fields[2].options["167774"] == "Blue"


@pytest.mark.parametrize(
    ("status", "name", "error", "says"),
    [
        (404, "error_not_found_404", NotFound, "not_found"),
        (422, "error_validation_blank_name_422", Rejected, "Name: can't be blank"),
    ],
)
def test_both_families_of_errors(make_context, status, name, error, says):
    dialect = CopperDialect(make_context("us", api_key="k3y-secret"), "api_key", "a@x.test")
    found = dialect.error(Call("GET", "/x"), answer(name, status))
    assert type(found) is error
    assert says in str(found)
