"""What Zoho does to values: `holds` is what a read brings after a write. No calls."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmkit.connectors.zoho import columns
from crmkit.connectors.zoho.bodies import Refused, body, cannot_hold, person
from crmkit.connectors.zoho.holding import holds
from crmkit.connectors.zoho.records import Reading
from crmkit.connectors.zoho.shape import Shape, WritablePipeline, WritableStage
from crmkit.connectors.zoho.stages import names
from crmkit.model import Company, Contact, Deal, DealContact, Kind, Outcome, ValuePeriod
from tests.connectors.test_zoho_writes import FakeZoho, meta

ORG = FakeZoho()
CUSTOM = [
    meta("Region", "text", custom_field=True, length=30),
    meta("Seats", "integer", custom_field=True),
    meta("Rate", "double", custom_field=True, decimal_place=3),
    meta("Number_Long", "bigint", custom_field=True),
    meta("Agreed", "boolean", custom_field=True),
    meta("Signed", "date", custom_field=True),
    meta("Called", "datetime", custom_field=True),
    meta("Partner", "lookup", custom_field=True),
    meta("Regions", "multiselectpicklist", custom_field=True),
]
CUSTOM[-1]["pick_list_values"] = [{"actual_value": one, "display_value": one} for one in ("North", "South")]
LOST = meta("Reason_For_Loss__s", "picklist")
LOST["pick_list_values"] = [{"actual_value": "Price", "display_value": "Price"}]
STAGE = next(one for one in ORG.fields["Deals"] if one["api_name"] == "Stage")
PIPELINES = ORG.pipelines["301"]
ADDRESS = [meta(f"{where}_{what}") for where in ("Billing", "Mailing") for what in ("City", "Country")]
FIELDS = {
    Kind.DEAL: [one for one in ORG.fields["Deals"] if one["api_name"] != "Region"] + [LOST, *CUSTOM],
    Kind.COMPANY: [*ORG.fields["Accounts"], *ADDRESS, meta("Billing_Code"), *CUSTOM],
    Kind.CONTACT: [
        *ORG.fields["Contacts"],
        *ADDRESS,
        meta("Mailing_Zip"),
        meta("Account_Name", "lookup"),
        *CUSTOM,
    ],
}


def shape(kind: Kind, *, currencies: frozenset[str] | None = None) -> Shape:
    more = [meta("Currency", "picklist")] if currencies else []
    outcomes = {"Open": Outcome.OPEN, "Closed Won": Outcome.WON, "Closed Lost": Outcome.LOST}
    return Shape(
        fields={one["api_name"]: one for one in [*FIELDS[kind], *more]},
        stages={
            one["id"]: WritableStage(one["actual_value"], outcomes[one["forecast_type"]])
            for one in STAGE["pick_list_values"]
        },
        pipelines={"201": WritablePipeline("Standard (Standard)", frozenset({"101", "102", "103", "104"}))},
        currency="EUR",
        currencies=currencies,
    )


def read_back(kind: Kind, row: dict[str, Any]) -> Any:
    """The record that a read gives of a row that was sent."""
    decoder = msgspec.json.Decoder(float_hook=Decimal)
    exact = decoder.decode(msgspec.json.encode({**row, "id": "1"}))
    if kind is Kind.CONTACT:
        exact["Full_Name"] = " ".join(exact[one] for one in ("First_Name", "Last_Name") if exact.get(one))
    reading = Reading(
        "zoho-eu",
        custom=columns.plan(kind, FIELDS[kind]).custom,
        names=names(STAGE, PIPELINES),
        currency="EUR",
    )
    if kind is Kind.DEAL:
        return Deal.model_validate(reading.deal(exact))
    if kind is Kind.COMPANY:
        return Company.model_validate(reading.company(exact))
    return Contact.model_validate(reading.contact(exact))


def values_of(record: Any, asked: Any) -> dict[str, Any]:
    """The fields of a record that were asked for, as a change names them."""
    return {
        name: record.custom.get(name.removeprefix("custom."))
        if name.startswith("custom.")
        else getattr(record, name)
        for name in asked
    }


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30) | st.sampled_from(
    [" a ", "\tb\n", ""]
)
ids = st.integers(1, 10**18).map(str)
money = st.decimals(-(10**9), 10**9, places=4, allow_nan=False)
zones = st.sampled_from([UTC, timezone(timedelta(hours=3))])
moments = st.datetimes(
    datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2090-01-01"), timezones=zones
)
custom = {
    "custom.Region": texts | st.none(),
    "custom.Seats": st.integers(-(10**9), 10**9) | st.none(),
    "custom.Rate": money | st.none(),
    "custom.Number_Long": st.integers(0, 10**18) | st.none(),
    "custom.Agreed": st.booleans(),
    "custom.Signed": st.dates() | st.none(),
    "custom.Called": moments | st.none(),
    "custom.Partner": ids | st.none(),
    "custom.Regions": st.sampled_from([("North",), ("South", "North"), (), None]),
}
contacts = st.lists(st.builds(DealContact, id=ids, role=texts, primary=st.booleans()), max_size=3).map(tuple)
MAKERS: dict[Kind, dict[str, st.SearchStrategy[Any]]] = {
    Kind.DEAL: {
        "name": texts,
        "amount": money | st.none(),
        "currency": st.sampled_from(["EUR", None]),
        "value_period": st.just(ValuePeriod.ONE_TIME),
        "probability": st.decimals(0, 1, places=4) | st.none(),
        "owner_id": ids,
        "companies": st.lists(ids, max_size=3).map(tuple),
        "contacts": contacts,
        "expected_close": st.dates() | st.none(),
        "source": st.sampled_from(["Trade Show", None]),
        "lost_reason": st.sampled_from(["Price", None]),
        "tags": st.lists(texts, max_size=4).map(tuple),
        "outcome": st.sampled_from(list(Outcome)),
        **custom,
    },
    Kind.COMPANY: {
        "name": texts,
        "domain": st.sampled_from(["acme.com", "https://www.Acme.com/x", " acme.com ", None]),
        "phones": st.lists(texts, max_size=3).map(tuple),
        "owner_id": ids,
        "city": texts | st.none(),
        "postcode": texts | st.none(),
        **custom,
    },
    Kind.CONTACT: {
        "name": texts,
        "first_name": texts | st.none(),
        "last_name": texts | st.none(),
        "emails": st.lists(texts, max_size=4).map(tuple),
        "phones": st.lists(texts, max_size=4).map(tuple),
        "companies": st.lists(ids, max_size=2).map(tuple),
        "country": texts | st.none(),
        **custom,
    },
}


@st.composite
def changes(draw: st.DrawFn) -> tuple[Kind, dict[str, Any]]:
    kind = draw(st.sampled_from(list(MAKERS)))
    some = draw(st.fixed_dictionaries({}, optional=MAKERS[kind]))
    if kind is Kind.DEAL and draw(st.booleans()):
        some |= {"pipeline_id": "201", "stage_id": draw(st.sampled_from(["101", "102", "103", "104"]))}
    return kind, some


@given(changes())
def test_holding_twice_changes_nothing(change: tuple[Kind, dict[str, Any]]) -> None:
    kind, values = change
    for known in (shape(kind), Shape()):
        once = holds(kind, values, known)
        assert holds(kind, once, known) == once


@given(changes(), st.booleans())
def test_what_is_held_is_what_a_read_brings_after_the_write(
    change: tuple[Kind, dict[str, Any]], creating: bool
) -> None:
    kind, values = change
    known = shape(kind)
    bad = cannot_hold(kind, values, known)
    good = {name: value for name, value in values.items() if name not in bad}
    if "stage_id" not in good:
        good.pop("lost_reason", None)  # the deal's own stage decides whether it is read
    try:
        row = body(kind, good, known, creating=creating).row
    except Refused:
        return
    wanted = holds(kind, good, known)
    record = read_back(kind, row)
    assert values_of(record, wanted) == wanted
    assert holds(kind, values_of(record, wanted), known) == values_of(record, wanted)


def test_money_is_rounded_as_the_field_says_half_away_from_zero() -> None:
    held = [
        holds(Kind.DEAL, {"amount": Decimal(text)}, shape(Kind.DEAL))["amount"]
        for text in ("10.005", "-10.005", "10.004", "1E+3")
    ]
    assert held == [Decimal("10.01"), Decimal("-10.01"), Decimal("10.00"), Decimal(1000)]


def test_probability_is_kept_in_whole_percent() -> None:
    assert holds(Kind.DEAL, {"probability": Decimal("0.335")}, Shape())["probability"] == Decimal("0.34")


def test_every_amount_is_read_as_one_time() -> None:
    assert holds(Kind.DEAL, {"value_period": ValuePeriod.MONTHLY}, Shape()) == {
        "value_period": ValuePeriod.ONE_TIME
    }


def test_outcome_is_left_to_the_stage() -> None:
    assert holds(Kind.DEAL, {"outcome": Outcome.WON, "stage_id": "103"}, shape(Kind.DEAL)) == {
        "stage_id": "103"
    }


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (Kind.DEAL, {"name": "x" * 121}, "name"),
        (Kind.DEAL, {"name": " "}, "name"),
        (Kind.DEAL, {"amount": Decimal(1), "currency": "USD"}, "currency"),
        (Kind.DEAL, {"amount": Decimal(1), "currency": None}, "currency"),
        (Kind.DEAL, {"amount": Decimal("NaN")}, "amount"),
        (Kind.DEAL, {"value_period": ValuePeriod.MONTHLY}, "value_period"),
        (Kind.DEAL, {"probability": Decimal("1.2")}, "probability"),
        (Kind.DEAL, {"stage_id": "999"}, "stage_id"),
        (Kind.DEAL, {"stage_id": None}, "stage_id"),
        (Kind.DEAL, {"pipeline_id": "999", "stage_id": "101"}, "pipeline_id"),
        (Kind.DEAL, {"pipeline_id": "201"}, "pipeline_id"),
        (Kind.DEAL, {"source": "Billboard"}, "source"),
        (Kind.DEAL, {"owner_id": None}, "owner_id"),
        (Kind.DEAL, {"companies": ("abc",)}, "companies"),
        (Kind.DEAL, {"expected_close": datetime(2026, 1, 1, tzinfo=UTC)}, "expected_close"),
        (Kind.DEAL, {"created_at": datetime(2026, 1, 1, tzinfo=UTC)}, "created_at"),
        (Kind.DEAL, {"custom.Region": "x" * 31}, "custom.Region"),
        (Kind.DEAL, {"custom.Seats": Decimal("1.5")}, "custom.Seats"),
        (Kind.DEAL, {"custom.Agreed": None}, "custom.Agreed"),
        (Kind.DEAL, {"custom.Regions": ("West",)}, "custom.Regions"),
        (Kind.DEAL, {"custom.Called": datetime.fromisoformat("2026-01-01")}, "custom.Called"),
        (Kind.DEAL, {"custom.Crmkit_Key": "x"}, "custom.Crmkit_Key"),
        (Kind.DEAL, {"custom.Nowhere": "x"}, "custom.Nowhere"),
        (Kind.DEAL, {"closed_at": datetime(2026, 1, 1, tzinfo=UTC)}, "closed_at"),
        (Kind.DEAL, {"outcome": Outcome.WON, "stage_id": "101"}, "outcome"),
        (Kind.COMPANY, {"tax_id": "DE1"}, "tax_id"),
        (Kind.CONTACT, {"last_name": None, "name": ""}, "last_name"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_named(kind: Kind, values: dict[str, Any], field: str) -> None:
    assert list(cannot_hold(kind, values, shape(kind))) == [field]


def test_a_currency_that_is_not_in_use_cannot_be_held() -> None:
    known = shape(Kind.DEAL, currencies=frozenset({"EUR", "USD"}))
    assert cannot_hold(Kind.DEAL, {"amount": Decimal(1), "currency": "USD"}, known) == {}
    assert list(cannot_hold(Kind.DEAL, {"amount": Decimal(1), "currency": "JPY"}, known)) == ["currency"]


def test_before_anything_is_known_of_the_org_only_sure_things_are_refused() -> None:
    values = {
        "name": "A",
        "stage_id": "1",
        "currency": "USD",
        "source": "x",
        "custom.Any": "y",
        "owner_id": None,
    }
    assert list(cannot_hold(Kind.DEAL, values, Shape())) == ["owner_id"]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"name": "Ann van der Lee"}, {"first_name": "Ann van der", "last_name": "Lee"}),
        ({"name": "Ann"}, {"first_name": None, "last_name": "Ann"}),
        ({"first_name": "Ann", "last_name": None}, {"first_name": None, "last_name": "Ann"}),
        ({"first_name": "Bo", "name": "Bo van der Lee"}, {"first_name": "Bo"}),
        ({"first_name": "Bo", "last_name": "Lee", "name": "x"}, {"first_name": "Bo", "last_name": "Lee"}),
        ({"last_name": "Lee", "name": "Bo Lee"}, {"last_name": "Lee"}),
        ({"city": "Ulm"}, {}),
    ],
)
def test_a_contact_always_gets_a_last_name(values: dict[str, Any], parts: dict[str, str | None]) -> None:
    assert person(values) == parts


def test_a_create_leaves_unset_fields_out_and_an_update_clears_them() -> None:
    values = {"name": "A", "amount": None, "tags": (), "owner_id": "5", "expected_close": date(2026, 1, 2)}
    sent = {"Deal_Name": "A", "Owner": {"id": "5"}, "Closing_Date": "2026-01-02"}
    assert body(Kind.DEAL, values, shape(Kind.DEAL), creating=True).row == sent
    cleared = {**sent, "Amount": None, "Tag": []}
    assert body(Kind.DEAL, values, shape(Kind.DEAL), creating=False).row == cleared


def test_an_update_never_clears_an_owner_in_silence() -> None:
    made = body(Kind.DEAL, {"name": "A", "owner_id": None}, shape(Kind.DEAL), creating=False)
    assert (made.row, list(made.unwritten)) == ({"Deal_Name": "A"}, ["owner_id"])


def test_a_second_company_is_named_as_unwritten() -> None:
    made = body(Kind.DEAL, {"companies": ("5", "6")}, shape(Kind.DEAL), creating=False)
    assert (made.row, list(made.unwritten)) == ({"Account_Name": {"id": "5"}}, ["companies"])
