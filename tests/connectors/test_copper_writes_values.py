"""What Copper does to values, and the official examples of writing; no wire needed for most."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.connectors.copper import answers, records, values
from crmkit.connectors.copper.bodies import FIELDS, Ready, ready
from crmkit.connectors.copper.choices import Account, Book, Unfit, midnight, wire_number
from crmkit.connectors.copper.holding import cannot_hold, holds
from crmkit.connectors.writing import Act, Change
from crmkit.errors import BadAnswer
from crmkit.model import Contact, Deal, DealContact, Kind, LostKind, Outcome, Ref, ValuePeriod

EXAMPLES = Path(__file__).parents[2].parent / "shared/specs/copper/examples"
needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="the vendor's example payloads are not here"
)
DEFINITIONS = {
    "1": {
        "id": 1, "name": "One of", "data_type": "Dropdown", "available_on": ["opportunity"],
        "options": [{"id": 11, "name": "Banana"}, {"id": 12, "name": "Apple"}],
    },
    "2": {
        "id": 2, "name": "Some of", "data_type": "MultiSelect", "available_on": ["opportunity"],
        "options": [{"id": 21, "name": "x"}, {"id": 22, "name": "y"}],
    },
    "3": {"id": 3, "name": "Day", "data_type": "Date", "available_on": ["opportunity"]},
    "4": {"id": 4, "name": "Yes", "data_type": "Checkbox", "available_on": ["opportunity"]},
    "5": {"id": 5, "name": "Number", "data_type": "Float", "available_on": ["opportunity"]},
    "6": {"id": 6, "name": "Percent", "data_type": "Percentage", "available_on": ["opportunity"]},
    "7": {"id": 7, "name": "Money", "data_type": "Currency", "available_on": ["opportunity"]},
    "8": {"id": 8, "name": "Short", "data_type": "String", "available_on": ["opportunity"]},
    "9": {"id": 9, "name": "Long", "data_type": "Text", "available_on": ["opportunity"]},
    "10": {"id": 10, "name": "Links", "data_type": "Connect", "available_on": ["opportunity"]},
}  # fmt: skip
BOOK = Book(definitions=DEFINITIONS, loss_reasons={9: "Price"}, sources={8: "Fair"})
VIENNA = ZoneInfo("Europe/Vienna")
ACCOUNT = Account(zone=VIENNA, currency="EUR", book=BOOK)
NAMES = values.Names(
    readers=values.readers(DEFINITIONS.values(), values.Days(day_first=False, zone=VIENNA)),
    loss_reasons=BOOK.loss_reasons or {},
    sources=BOOK.sources or {},
    days=values.Days(day_first=False, zone=VIENNA),
    currency="EUR",
)

ids = st.integers(1, 10**9).map(str)
texts = st.text(max_size=20)
money = st.decimals(-(10**10), 10**10, places=2) | st.none()
days = st.dates(date(1990, 1, 1), date(2090, 1, 1))
shares = st.decimals(0, 1, places=4) | st.none()
contacts = st.lists(st.builds(DealContact, id=ids, role=texts | st.none(), primary=st.booleans())).map(tuple)
deal_values = st.fixed_dictionaries(
    {},
    optional={
        "name": texts,
        "pipeline_id": ids,
        "stage_id": ids,
        "outcome": st.sampled_from(Outcome),
        "lost_kind": st.sampled_from(LostKind) | st.none(),
        "lost_reason": st.sampled_from(["Price", "price", "9", "Other", ""]) | st.none(),
        "amount": money,
        "currency": st.sampled_from(["EUR", "USD"]) | st.none(),
        "value_period": st.sampled_from(ValuePeriod),
        "probability": shares,
        "owner_id": ids | st.none(),
        "companies": st.lists(ids).map(tuple),
        "contacts": contacts,
        "expected_close": days | st.none(),
        "closed_at": st.none(),
        "source": st.sampled_from(["Fair", "FAIR", "8"]) | st.none(),
        "tags": st.lists(texts | st.just("crmkit:x")).map(tuple),
        "custom.1": st.sampled_from(["Banana", "apple", "11", "none of them"]) | st.none(),
        "custom.2": st.lists(st.sampled_from(["x", "Y", "22"])).map(tuple) | st.none(),
        "custom.3": days | st.none(),
        "custom.4": st.booleans() | st.none(),
        "custom.5": money,
        "custom.6": money,
        "custom.8": st.text(max_size=300) | st.none(),
        "custom.99": texts,
    },
)
rows = st.fixed_dictionaries(
    {
        "id": st.integers(1, 10**9),
        "name": texts,
        "assignee_id": st.integers(1, 99) | st.none(),
        "close_date": days.map(lambda day: f"{day.month}/{day.day}/{day.year}") | st.none(),
        "company_id": st.integers(1, 99) | st.none(),
        "customer_source_id": st.sampled_from([8, 77, None]),
        "loss_reason_id": st.sampled_from([9, 78, None]),
        "pipeline_id": st.integers(1, 99),
        "pipeline_stage_id": st.integers(1, 99),
        "primary_contact_id": st.integers(1, 99) | st.none(),
        "status": st.sampled_from(["Open", "Won", "Lost", "Abandoned"]),
        "tags": st.lists(texts | st.just("crmkit:ck1:k"), unique=True),
        "monetary_value": st.decimals(0, 10**9, places=2) | st.none(),
        "monetary_unit": st.sampled_from(["EUR", "USD", None]),
        "win_probability": st.integers(0, 100) | st.none(),
        "date_created": st.just(1_700_000_000),
        "date_modified": st.just(1_700_000_001),
        "custom_fields": st.tuples(
            st.sampled_from([11, 12, None]),
            st.lists(st.sampled_from([21, 22]), unique=True),
            days.map(lambda day: midnight(day, VIENNA)) | st.none(),
            st.booleans(),
            st.decimals(0, 100, places=3) | st.none(),
            st.integers(0, 100) | st.none(),
        ).map(
            lambda found: [
                {"custom_field_definition_id": n, "value": v} for n, v in enumerate(found, start=1)
            ]
        ),
    }
)
WRITTEN = sorted(FIELDS[Kind.DEAL] - {"custom"})


def deal_of(row: dict) -> Deal:
    return Deal.model_validate(records.deal_translator("us", NAMES)(row))


@given(deal_values)
def test_holding_twice_is_holding_once(given_values):
    once = holds(Kind.DEAL, given_values, ACCOUNT)
    assert holds(Kind.DEAL, once, ACCOUNT) == once


@given(rows)
def test_what_was_read_is_held_unchanged(row):
    deal = deal_of(row)
    read = {name: getattr(deal, name) for name in [*WRITTEN, "custom", "value_period", "created_at"]}
    assert holds(Kind.DEAL, read, ACCOUNT) == read


@given(rows)
def test_what_was_read_can_be_written_and_reads_the_same(row):
    deal = deal_of({**row, "name": row["name"] or "x", "primary_contact_id": row["primary_contact_id"] or 1})
    wanted = {name: getattr(deal, name) for name in WRITTEN}
    wanted |= {f"custom.{native}": value for native, value in deal.custom.items()}
    if not deal.name.strip() or deal.lost_reason == "78" or deal.source == "77":
        return  # a blank name is refused; ids that no list names cannot be written
    change = Change("u", Act.UPDATE, Kind.DEAL, Ref("us", Kind.DEAL, str(row["id"])), wanted)
    body = ready(change, ACCOUNT, row)
    assert (body.refused, body.unwritten) == ({}, {})
    back = msgspec.json.Decoder(float_hook=Decimal).decode(
        msgspec.json.encode({**row_base(row), **body.body})
    )
    assert {name: getattr(deal_of(back), name) for name in WRITTEN} == {
        name: getattr(deal, name) for name in WRITTEN
    }
    assert deal_of(back).key == deal.key


def row_base(row: dict) -> dict:
    """The row without what the body replaces."""
    return {name: row[name] for name in ("id", "date_created", "date_modified")}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": texts,
            "first_name": texts,
            "emails": st.lists(texts).map(tuple),
            "phones": st.lists(texts).map(tuple),
            "companies": st.lists(ids).map(tuple),
            "city": texts | st.none(),
        },
    )
)
def test_holding_people_twice_is_holding_once(given_values):
    once = holds(Kind.CONTACT, given_values, ACCOUNT)
    assert holds(Kind.CONTACT, once, ACCOUNT) == once


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("probability", Decimal("0.333"), Decimal("0.33")),
        ("companies", ("1", "2"), ("1",)),
        ("contacts", (DealContact(id="1"), DealContact(id="2", role="boss", primary=True)),
         (DealContact(id="2", primary=True),)),
        ("value_period", ValuePeriod.ANNUAL, ValuePeriod.ONE_TIME),
        ("currency", None, "EUR"),
        ("tags", ("a", "a", "b"), ("a", "b")),
        ("lost_reason", "price", "Price"),
        ("amount", Decimal("10.005"), Decimal("10.005")),
        ("custom.6", Decimal("49.5"), Decimal(50)),
        ("custom.4", None, False),
        ("custom.2", (), None),
    ],
)  # fmt: skip
def test_values_are_held_as_copper_gives_them_back(name, value, held):
    assert holds(Kind.DEAL, {name: value}, ACCOUNT) == {name: held}


@pytest.mark.parametrize(
    ("outcome", "lost_kind", "held"),
    [
        (Outcome.LOST, LostKind.DUPLICATE, LostKind.LOST),
        (Outcome.LOST, LostKind.ABANDONED, LostKind.ABANDONED),
        (Outcome.WON, LostKind.ABANDONED, None),
    ],
)
def test_the_kind_of_loss_belongs_to_lost_deals(outcome, lost_kind, held):
    found = holds(Kind.DEAL, {"outcome": outcome, "lost_kind": lost_kind}, ACCOUNT)
    assert found == {"outcome": outcome, "lost_kind": held}


def test_what_copper_derives_is_left_out():
    assert holds(Kind.DEAL, {"closed_at": datetime(2026, 1, 1, tzinfo=UTC)}, ACCOUNT) == {}
    assert holds(Kind.CONTACT, {"name": "A B", "first_name": "A", "last_name": "B"}, ACCOUNT) == {
        "name": "A B"
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("contacts", ()),
        ("name", " "),
        ("value_period", ValuePeriod.MONTHLY),
        ("probability", Decimal("1.2")),
        ("amount", Decimal("12345678901234.567")),
        ("amount", Decimal("NaN")),
        ("lost_reason", "Weather"),
        ("source", "Nowhere"),
        ("tags", ("crmkit:x",)),
        ("stage_id", "closedwon"),
        ("custom.1", "Cherry"),
        ("custom.3", "tomorrow"),
        ("custom.8", "x" * 256),
        ("custom.10", ("1",)),
        ("custom.99", "x"),
        ("forecast_category", "commit"),
    ],
)
def test_what_copper_cannot_hold_is_reported(name, value):
    assert cannot_hold(Kind.DEAL, {name: value, "owner_id": "5"}, ACCOUNT).keys() == {name}


@given(deal_values)
def test_reasons_are_given_for_given_fields_only(given_values):
    assert cannot_hold(Kind.DEAL, given_values, ACCOUNT).keys() <= given_values.keys()


def test_lists_that_were_not_read_forbid_nothing():
    unread = Account()
    assert cannot_hold(Kind.DEAL, {"lost_reason": "x", "source": "x", "custom.1": "x"}, unread) == {}


def test_a_note_needs_a_text():
    assert cannot_hold(Kind.NOTE, {"text": " ", "deal_id": "1"}, ACCOUNT).keys() == {"text"}


def test_several_companies_of_a_person_do_not_keep_the_first_from_being_written():
    assert cannot_hold(Kind.CONTACT, {"companies": ("1", "2")}, ACCOUNT) == {}


@pytest.mark.parametrize("amount", [True, 1.5, "12", Decimal("Infinity"), Decimal("1E+40")])
def test_what_is_no_exact_number_is_not_sent(amount):
    with pytest.raises(Unfit):
        wire_number(amount)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ("HTTP 422: Invalid input: Validation errors: Name: can't be blank", "name"),
        ("Invalid input: Validation errors: Primary contact: is missing, Name: no", "contacts"),
        ("Invalid input: Validation errors: Base: unknown key", None),
        ("something else", None),
    ],
)
def test_the_field_of_a_refusal_is_the_models(said, field):
    assert answers.refused_text(said).field == field


@pytest.mark.parametrize("body", [{}, {"success": False, "id": 1}, {"id": "1"}, {"id": True}])
def test_what_is_no_record_is_not_taken_for_one(body):
    with pytest.raises(BadAnswer):
        answers.a_record(body, None)


def example(name: str):
    return json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"), parse_float=Decimal)


def written(kind: Kind, **wanted) -> dict:
    body = ready(Change("c", Act.CREATE, kind, values=wanted), Account(book=Book(sources={331242: "Fair"})))
    assert (body.refused, body.unwritten) == ({}, {})
    return body.body


@needs_examples
class TestExamples:
    """Source: the official documentation, as copied beside the contract."""

    def test_creating_an_opportunity(self):
        body = written(
            Kind.DEAL, name="New Demo Opportunity", contacts=(DealContact(id="27140359"),), source="Fair"
        )
        assert body == example("opportunity_create_request")

    def test_creating_a_company(self):
        wanted = example("company_create_request")
        body = written(
            Kind.COMPANY, name="Demo Company", domain="democompany.com", phones=("415-123-45678",),
            city="Savannah", postcode="31410", country="United States",
        )  # fmt: skip
        del wanted["details"], wanted["address"]["street"], wanted["address"]["state"]
        assert body == wanted

    def test_creating_a_person(self):
        wanted = example("person_create_request")
        body = written(Kind.CONTACT, name="My Contact", emails=("mycontact_1233@noemail.com",))
        assert body == {name: wanted[name] for name in ("name", "emails")}

    def test_creating_a_note(self):
        wanted = example("activity_create_note_request")
        body = written(Kind.NOTE, text=wanted["details"], deal_id="27140359")
        assert body == {**wanted, "parent": {"type": "opportunity", "id": 27140359}}

    @pytest.mark.parametrize(
        "name",
        ["opportunity_create_response_200", "company_create_response_200", "person_update_response_200",
         "activity_create_note_response_200", "opportunity_delete_response_200",
         "company_delete_response_200"],
    )  # fmt: skip
    def test_answers_to_single_writes_are_records(self, name):
        body = example(name)
        assert answers.a_record(body, body["id"]) is body

    def test_a_failed_item_of_a_bulk_update_belongs_to_its_record(self):
        items = example("bulk_update_failed_item_response_200")
        change = Change("u", Act.UPDATE, Kind.CONTACT, Ref("us", Kind.CONTACT, "12345"), {"name": ""})
        found = answers.paired([Ready(change)], items)
        refusal = answers.refused_item(found["u"])
        assert (refusal.field, refusal.gone) == ("name", False)

    def test_a_blank_name_is_a_refusal_of_the_name(self):
        assert answers.refused_text(example("error_validation_blank_name_422")["message"]).field == "name"

    def test_an_updated_person_reads_as_one(self):
        row = example("person_update_response_200")
        contact = Contact.model_validate(records.contact_translator("us", values.Names())(row))
        assert contact.name == "Person Default"
