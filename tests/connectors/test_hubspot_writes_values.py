"""What HubSpot makes of values is known beforehand: written and read back, they are as `holds` says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.connectors.base import Field
from crmkit.connectors.hubspot import records
from crmkit.connectors.hubspot.abilities import WRITING
from crmkit.connectors.hubspot.bodies import (
    LINKS,
    PROPERTIES,
    carries,
    instant_of,
    note_body,
    properties,
    wire_text,
)
from crmkit.connectors.hubspot.holding import LONGEST_TEXT, Known, cannot_hold, holds
from crmkit.connectors.hubspot.refusals import Fault
from crmkit.connectors.hubspot.schema import WIRES, Account, Schema, custom_readers
from crmkit.connectors.writing import Act, Change
from crmkit.model import Company, Contact, Deal, DealContact, Kind, Outcome, Stage, ValuePeriod

SYDNEY = Account("77", ZoneInfo("Australia/Sydney"), "USD", "app.hubspot.com", ("USD", "EUR"))
CUSTOM = [
    {"name": "segment", "type": "enumeration", "fieldType": "checkbox", "hubspotDefined": False},
    {"name": "score", "type": "number", "fieldType": "number", "hubspotDefined": False},
    {"name": "vip", "type": "bool", "fieldType": "booleancheckbox", "hubspotDefined": False},
    {"name": "since", "type": "date", "fieldType": "date", "hubspotDefined": False},
    {"name": "seen", "type": "datetime", "fieldType": "date", "hubspotDefined": False},
    {"name": "memo", "type": "string", "fieldType": "text", "hubspotDefined": False},
]
FIELDS = {
    "segment": Field("segment", "Segment", "choices", custom=True, options={"a": "A", "b": "B", "c": "C"}),
    "score": Field("score", "Score", "number", custom=True),
    "vip": Field("vip", "VIP", "boolean", custom=True),
    "since": Field("since", "Since", "day", custom=True),
    "seen": Field("seen", "Seen", "time", custom=True),
    "memo": Field("memo", "Memo", "text", custom=True),
    "sum": Field("sum", "Sum", "number", custom=True, read_only=True),
}
LABELS = {"Champion": {"category": "USER_DEFINED", "typeId": 38}}
KNOWN = Known(SYDNEY, FIELDS, {("p", "won"): Outcome.WON, ("p", "new"): Outcome.OPEN}, LABELS)


def schema(kind: Kind) -> Schema:
    wire = WIRES[kind]
    return Schema(
        "hub", wire, wire.properties, custom_readers(wire, CUSTOM), SYDNEY.zone, "USD", "https://u/"
    )


def read_back(kind: Kind, values: dict[str, Any], outcome: Outcome | None = None) -> dict[str, Any]:
    """The fields that were written, as reading gives them after HubSpot stored the texts."""
    held = {name: text or None for name, text in properties(kind, values, SYDNEY, outcome).items()}
    flags = {
        "hs_is_closed_won": str(outcome is Outcome.WON).lower(),
        "hs_is_closed_lost": str(outcome is Outcome.LOST).lower(),
        "hs_is_closed": str(outcome in (Outcome.WON, Outcome.LOST)).lower(),
    }
    row = {"id": "1", "properties": {**held, **flags}}
    model, read = {Kind.DEAL: (Deal, records.deal), Kind.COMPANY: (Company, records.company),
                   Kind.CONTACT: (Contact, records.contact)}[kind]  # fmt: skip
    record: Any = model.model_validate(read(row, schema(kind)))
    found = {}
    for name in values:
        custom = name.startswith("custom.")
        found[name] = record.custom.get(name[7:]) if custom else getattr(record, name)
    return found


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
money = st.none() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-1_000_000_000, places=4)
days = st.none() | st.dates(date(1970, 1, 2), date(9998, 1, 1))
times = st.none() | st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(9998, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
options = st.lists(st.sampled_from("abc"), max_size=4).map(tuple)
customs = {
    "custom.segment": options | st.none(),
    "custom.score": st.integers() | money,
    "custom.vip": st.booleans() | st.none(),
    "custom.since": days,
    "custom.seen": times,
    "custom.memo": texts | st.none(),
}
ids = st.integers(1, 999).map(str)
people = st.builds(
    DealContact, id=ids, role=st.sampled_from([None, "Champion", "Buyer"]), primary=st.booleans()
)
deals = st.fixed_dictionaries(
    {},
    optional={
        "name": texts,
        "amount": money,
        "currency": st.sampled_from(["USD", "EUR"]),
        "owner_id": ids | st.none(),
        "lost_reason": texts | st.none(),
        "forecast_category": st.sampled_from(["COMMIT", None]),
        "expected_close": days,
        "closed_at": times,
        **customs,
    },
)
outcomes = st.sampled_from(Outcome)
parties = {
    "owner_id": ids | st.none(),
    "city": texts | st.none(),
    "country": texts | st.none(),
    "postcode": texts | st.none(),
}
companies = st.fixed_dictionaries(
    {},
    optional={"name": texts, "domain": texts, "phones": st.lists(texts, max_size=1).map(tuple), **parties},
)
addresses = st.lists(
    st.sampled_from(["Ann@Example.com", " b@x.org", "ann@example.com", "c@y.net"]), max_size=4
)
contacts = st.fixed_dictionaries(
    {},
    optional={
        "first_name": texts | st.none(),
        "last_name": texts | st.none(),
        "emails": addresses.map(tuple),
        "phones": st.lists(texts, max_size=2).map(tuple),
        **parties,
    },
)
anything = deals.flatmap(
    lambda values: st.fixed_dictionaries(
        {},
        optional={
            "outcome": outcomes,
            "probability": st.just(Decimal("0.5")),
            "value_period": st.sampled_from(ValuePeriod),
            "tags": st.just(("x",)),
            "source": texts,
            "contacts": st.lists(people, max_size=4).map(tuple),
            "companies": st.lists(ids, max_size=4).map(tuple),
            "pipeline_id": st.just("p"),
            "stage_id": st.sampled_from(["won", "new", "odd"]),
        },
    ).map(lambda more: {**values, **more})
)


@given(deals, outcomes)
def test_deal_reads_back_as_holds_says(values: dict[str, Any], outcome: Outcome) -> None:
    if "expected_close" not in values and values.get("closed_at") is None:
        values.pop("closed_at", None)  # then nothing is sent about dates
    held = holds(Kind.DEAL, {**values, "outcome": outcome}, KNOWN)
    assert read_back(Kind.DEAL, values, outcome) == held


@given(companies)
def test_company_reads_back_as_holds_says(values: dict[str, Any]) -> None:
    assert read_back(Kind.COMPANY, values) == holds(Kind.COMPANY, values, KNOWN)


@given(contacts)
def test_contact_reads_back_as_holds_says(values: dict[str, Any]) -> None:
    assert read_back(Kind.CONTACT, values) == holds(Kind.CONTACT, values, KNOWN)


@given(st.text("ab \t", max_size=9))
def test_full_name_reads_back_as_holds_says(name: str) -> None:
    assert read_back(Kind.CONTACT, {"name": name}) == holds(Kind.CONTACT, {"name": name}, KNOWN)


@given(anything, st.sampled_from([KNOWN, Known()]))
def test_holding_twice_is_holding_once(values: dict[str, Any], known: Known) -> None:
    once = holds(Kind.DEAL, values, known)
    assert holds(Kind.DEAL, once, known) == once


@given(contacts, companies, texts, st.sampled_from([KNOWN, Known()]))
def test_holding_people_firms_and_notes_twice_is_holding_once(
    contact: dict[str, Any], company: dict[str, Any], text: str, known: Known
) -> None:
    for kind, values in ((Kind.CONTACT, contact), (Kind.COMPANY, company), (Kind.NOTE, {"text": text})):
        once = holds(kind, values, known)
        assert holds(kind, once, known) == once


@given(anything)
def test_what_can_be_held_is_told_for_any_values(values: dict[str, Any]) -> None:
    assert cannot_hold(Kind.DEAL, values, KNOWN).keys() <= values.keys()


@given(
    st.dates(date(1970, 1, 2), date(2200, 1, 1)),
    st.sampled_from(["Pacific/Kiritimati", "Pacific/Auckland", "Etc/GMT+12", "Asia/Kolkata", "UTC"]),
)
def test_close_date_is_the_same_day_in_the_portal_and_in_utc(day: date, zone: str) -> None:
    at = instant_of(day, Account("1", ZoneInfo(zone), None, ""))
    assert (at.astimezone(ZoneInfo(zone)).date(), at.date()) == (day, day)


def test_stages_are_held_in_order_and_in_tenths() -> None:
    stages = (
        Stage(id="a", name="A", order=7, probability=Decimal("0.26")),
        Stage(id="b", name="B", order=9, outcome=Outcome.LOST),
    )
    held = holds(Kind.PIPELINE, {"name": "P", "stages": stages}, KNOWN)
    assert [(stage.order, stage.probability) for stage in held["stages"]] == [
        (0, Decimal("0.3")),
        (1, Decimal(0)),
    ]
    assert holds(Kind.PIPELINE, held, KNOWN) == held


def test_stage_says_whether_a_deal_is_over_better_than_the_caller() -> None:
    values = {"pipeline_id": "p", "stage_id": "won", "outcome": Outcome.LOST, "lost_reason": "price"}
    assert holds(Kind.DEAL, values, KNOWN)["lost_reason"] is None


def test_links_are_held_in_hubspots_order_with_the_roles_it_has() -> None:
    values = {
        "companies": ("30", "200", "4", "30"),
        "contacts": (
            DealContact(id="20", role="Buyer", primary=True),
            DealContact(id="3", role="Champion; Buyer"),
        ),
    }
    assert holds(Kind.DEAL, values, KNOWN) == {
        "companies": ("30", "4", "200"),
        "contacts": (DealContact(id="3", role="Champion"), DealContact(id="20")),
    }


def test_currency_that_is_cleared_is_the_portals() -> None:
    assert holds(Kind.DEAL, {"currency": None}, KNOWN) == {"currency": "USD"}


@pytest.mark.parametrize(
    ("kind", "values", "fields"),
    [
        (Kind.DEAL, {"amount": Decimal(5), "currency": "CHF"}, {"amount", "currency"}),
        (Kind.DEAL, {"amount": Decimal(5), "value_period": ValuePeriod.MONTHLY}, {"amount", "value_period"}),
        (Kind.DEAL, {"amount": Decimal("NaN")}, {"amount"}),
        (Kind.DEAL, {"name": "x" * (LONGEST_TEXT + 1)}, {"name"}),
        (Kind.DEAL, {"probability": Decimal("0.5"), "source": "Web", "tags": ("a",)},
         {"probability", "source", "tags"}),
        (Kind.DEAL, {"expected_close": date(1, 1, 1)}, {"expected_close"}),
        (Kind.DEAL, {"custom.segment": ("a", "z")}, {"custom.segment"}),
        (Kind.DEAL, {"custom.memo": "x", "custom.nope": "x", "custom.sum": Decimal(1)},
         {"custom.nope", "custom.sum"}),
        (Kind.COMPANY, {"tax_id": "DE1", "phones": ("1", "2")}, {"tax_id", "phones"}),
        (Kind.CONTACT, {"phones": ("1", "2", "3")}, {"phones"}),
        (Kind.CONTACT, {"emails": ("a@x.org;b@x.org",)}, {"emails"}),
        (Kind.NOTE, {"text": "<" * 20_000}, {"text"}),
        (Kind.PIPELINE, {"stages": (Stage(id="", name="A", order=0),) * 2}, {"stages"}),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_named(kind: Kind, values: dict[str, Any], fields: set[str]) -> None:
    found = cannot_hold(kind, values, KNOWN)
    assert found.keys() == fields
    assert all(found.values())


def test_values_that_fit_are_not_named() -> None:
    values = {
        "name": "A", "amount": Decimal("1.5"), "currency": "EUR", "value_period": ValuePeriod.ONE_TIME,
        "tags": (), "source": None, "outcome": Outcome.WON, "companies": ("1",), "custom.segment": ("a", "b"),
    }  # fmt: skip
    assert cannot_hold(Kind.DEAL, values, KNOWN) == {}


def test_every_field_that_is_declared_can_be_sent_or_linked() -> None:
    for kind, writing in WRITING.items():
        if kind is Kind.PIPELINE:
            continue
        custom = set() if kind is Kind.NOTE else {"custom"}
        known = PROPERTIES[kind].keys() | LINKS.get(kind, {}).keys() | custom
        assert writing.fields | writing.create_fields == known


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1500.00"), "1500.00"),
        (date(2026, 12, 7), "2026-12-07"),
        (datetime(2019, 12, 7, 16, 50, 6, 678999, tzinfo=UTC), "2019-12-07T16:50:06.678Z"),
        (("a", "b"), "a;b"),
        (("", "a"), "a"),  # ";a" would add to what is there
    ],
)
def test_every_value_is_a_text_on_the_wire(value: Any, text: str) -> None:
    assert wire_text(value) == text


def test_marker_of_another_note_that_begins_alike_is_not_mine() -> None:
    assert carries("Hello<br>ck1:a:b:note:70</p>", "ck1:a:b:note:70")
    assert not carries("Hello<br>ck1:a:b:note:70", "ck1:a:b:note:7")


@given(texts)
def test_text_of_a_note_cannot_smuggle_in_markup(text: str) -> None:
    body = note_body(text)
    assert body == text or "<" not in body.replace("<br>", "")


def test_message_of_a_207_names_the_property_inside_its_json() -> None:
    message = 'Property values were not valid: [{"error":"INVALID_LONG","name":"amount"}]'
    fault = Fault.of({"category": "VALIDATION_ERROR", "message": message})
    change = Change("1", Act.CREATE, Kind.DEAL, values={"amount": Decimal(5)})
    assert fault.field(change) == "amount"
    assert fault.reason(change, str) == "VALIDATION_ERROR: INVALID_LONG (amount)"
