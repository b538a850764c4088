"""What Bitrix24 does to values, as properties: nothing changes twice, and what is read is held."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crmkit.connectors.bitrix24.bodies import body_of, cannot_hold
from crmkit.connectors.bitrix24.customs import Customs
from crmkit.connectors.bitrix24.encoding import CustomFields, Unwritable, key_pair
from crmkit.connectors.bitrix24.holding import held
from crmkit.connectors.bitrix24.multifields import edits
from crmkit.connectors.bitrix24.records import Rows
from crmkit.connectors.bitrix24.values import key_of, reached_by
from crmkit.connectors.bitrix24.wire import Request
from crmkit.model import DealContact, Kind, ValuePeriod
from tests.connectors.bitrix24_writing_portal import ITEM_FIELDS, WritablePortal
from tests.connectors.test_bitrix24 import php

CUSTOMS = CustomFields(ITEM_FIELDS)
ROWS = Rows("b24", "https://acme.bitrix24.com", Customs(ITEM_FIELDS))
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
ids = st.integers(1, 10**9).map(str)
shares = st.decimals(0, 1, allow_nan=False, allow_infinity=False)
people = st.lists(
    st.builds(DealContact, id=ids, role=st.none() | texts, primary=st.booleans()), max_size=4
).map(tuple)
deals = st.fixed_dictionaries(
    {},
    optional={
        "name": texts,
        "amount": st.none() | st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False),
        "currency": st.sampled_from(["EUR", "USD"]),
        "probability": st.none() | shares,
        "owner_id": ids,
        "companies": st.lists(ids, max_size=3).map(tuple),
        "contacts": people,
        "expected_close": st.none() | st.dates(date(1990, 1, 1), date(2100, 1, 1)),
        "source": st.none() | texts,
        "custom.ufCrm_1": st.none() | texts,
        "custom.ufCrm_2": st.none() | st.just(()) | st.just(("11",)) | st.just(("14", "11")),
        "custom.ufCrm_3": st.none() | st.dates(date(1990, 1, 1), date(2100, 1, 1)),
        "custom.ufCrm_5": st.none() | st.integers(-(10**9), 10**9),
        "custom.ufCrm_6": st.none() | st.booleans(),
    },
)
contacts = st.fixed_dictionaries(
    {},
    optional={
        "name": texts,
        "first_name": st.none() | texts,
        "last_name": st.none() | texts,
        "emails": st.lists(texts, max_size=3).map(tuple),
        "phones": st.lists(texts, max_size=3).map(tuple),
        "companies": st.lists(ids, max_size=3).map(tuple),
    },
)
companies = st.fixed_dictionaries(
    {},
    optional={"name": texts, "domain": st.none() | texts, "phones": st.lists(texts, max_size=3).map(tuple)},
)


def stored(kind: Kind, fields: dict[str, Any]) -> Any:
    """A record that was created by a command of a batch, as it is read afterwards."""
    number = {Kind.DEAL: 2, Kind.CONTACT: 3, Kind.COMPANY: 4}[kind]
    request = Request("crm.item.add", {"entityTypeId": number, "fields": fields})
    params = php(request.command().query, {}) if request.batchable else request.params
    row = WritablePortal()._crm_item_add(params)["item"]
    read = {Kind.DEAL: ROWS.deals, Kind.CONTACT: ROWS.contacts, Kind.COMPANY: ROWS.companies}[kind]
    # As the connector decodes answers: numbers with a fraction are exact.
    if row.get("opportunity") is not None:
        row["opportunity"] = Decimal(str(row["opportunity"]))
    if row.get("ufCrm_6") in ("Y", "N"):
        row["ufCrm_6"] = row["ufCrm_6"] == "Y"
    (record,), unreadable = read([row])
    assert unreadable == []
    return record


def value_of(record: Any, name: str) -> Any:
    return record.custom.get(name.removeprefix("custom.")) if "." in name else getattr(record, name)


@pytest.mark.parametrize(
    ("kind", "values"), [(Kind.DEAL, deals), (Kind.CONTACT, contacts), (Kind.COMPANY, companies)]
)
def test_holding_twice_is_holding_once(kind, values):
    @QUICK
    @given(values)
    def holds(given_values: dict[str, Any]) -> None:
        once = held(kind, given_values, CUSTOMS)
        assert held(kind, once, CUSTOMS) == once

    holds()


@pytest.mark.parametrize(
    ("kind", "values"), [(Kind.DEAL, deals), (Kind.CONTACT, contacts), (Kind.COMPANY, companies)]
)
def test_what_is_written_is_read_back_as_it_is_held(kind, values):
    @QUICK
    @given(values)
    def comes_back(given_values: dict[str, Any]) -> None:
        wanted = held(kind, given_values, CUSTOMS)
        cannot = cannot_hold(kind, given_values, CUSTOMS, ())
        record = stored(kind, body_of(kind, given_values, CUSTOMS, creating=True).fields)
        names = [name for name in wanted if name not in cannot]
        if kind is Kind.COMPANY and "." not in str(wanted.get("domain") or "."):
            names = [name for name in names if name != "domain"]
        assert {name: value_of(record, name) for name in names} == {name: wanted[name] for name in names}

    comes_back()


@QUICK
@given(deals)
def test_a_deal_that_was_read_is_held_as_it_is(values):
    record = stored(Kind.DEAL, body_of(Kind.DEAL, values, CUSTOMS, creating=True).fields)
    names = ["name", "pipeline_id", "stage_id", "amount", "currency", "probability", "owner_id", "companies"]
    names += ["contacts", "expected_close", "source", *(f"custom.{one}" for one in record.custom)]
    read = {name: value_of(record, name) for name in names}
    assert held(Kind.DEAL, read, CUSTOMS) == read


@QUICK
@given(contacts)
def test_a_contact_that_was_read_is_held_as_it_is(values):
    record = stored(Kind.CONTACT, body_of(Kind.CONTACT, values, CUSTOMS, creating=True).fields)
    read = {
        name: getattr(record, name) for name in ("name", "first_name", "last_name", "emails", "companies")
    }
    assert held(Kind.CONTACT, read, CUSTOMS) == read


@QUICK
@given(st.lists(texts, max_size=5), st.lists(texts, max_size=5))
def test_edits_make_the_wanted_phones_of_whatever_was_there(before, wanted):
    rows = [
        {"id": n, "typeId": "PHONE", "valueType": "HOME", "value": text} for n, text in enumerate(before, 1)
    ]
    texts_wanted = held(Kind.CONTACT, {"phones": wanted}, CUSTOMS)["phones"]
    changed = edits(rows, {"PHONE": texts_wanted})
    after = WritablePortal().fm(rows, changed) if changed else rows
    assert reached_by(after, "PHONE") == texts_wanted


@given(st.from_regex(r"ck1:[0-9a-f]{8}:[0-9a-f]{8}:(deal|company):[0-9A-Za-z_-]{1,30}", fullmatch=True))
def test_a_key_comes_back_exactly(key):
    assert key_of(key_pair(key)) == key


def test_an_amount_is_held_with_two_decimals():
    assert held(Kind.DEAL, {"amount": Decimal("10.005")}, CUSTOMS) == {"amount": Decimal("10.01")}


def test_a_probability_is_held_in_whole_percent():
    assert held(Kind.DEAL, {"probability": Decimal("0.335")}, CUSTOMS) == {"probability": Decimal("0.34")}


def test_a_large_number_is_written_in_digits():
    body = body_of(Kind.DEAL, {"amount": Decimal("1E+6")}, CUSTOMS, creating=True)
    assert body.fields["opportunity"] == "1000000.00"


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (Kind.DEAL, {"currency": "CHF", "amount": Decimal(1)}, "currency"),
        (Kind.DEAL, {"name": "x" * 256}, "name"),
        (Kind.DEAL, {"name": ""}, "name"),
        (Kind.DEAL, {"amount": Decimal(10) ** 13}, "amount"),
        (Kind.DEAL, {"amount": Decimal("NaN")}, "amount"),
        (Kind.DEAL, {"probability": Decimal(2)}, "probability"),
        (Kind.DEAL, {"owner_id": "user_1"}, "owner_id"),
        (Kind.DEAL, {"owner_id": None}, "owner_id"),
        (Kind.DEAL, {"companies": ("lead_1",)}, "companies"),
        (Kind.DEAL, {"contacts": (DealContact(id="x"),)}, "contacts"),
        (Kind.DEAL, {"value_period": ValuePeriod.MONTHLY}, "value_period"),
        (Kind.DEAL, {"tags": ("a",)}, "tags"),
        (Kind.DEAL, {"expected_close": datetime(2026, 1, 1, tzinfo=UTC)}, "expected_close"),
        (Kind.DEAL, {"custom.ufCrm_4": "file"}, "custom.ufCrm_4"),
        (Kind.DEAL, {"custom.ufCrm_2": ("99",)}, "custom.ufCrm_2"),
        (Kind.DEAL, {"custom.ufCrm_1": ("a", "b")}, "custom.ufCrm_1"),
        (Kind.DEAL, {"custom.ufCrm_5": Decimal("1.5")}, "custom.ufCrm_5"),
        (Kind.DEAL, {"custom.ufCrm_6": "maybe"}, "custom.ufCrm_6"),
        (Kind.DEAL, {"custom.nothing": "x"}, "custom.nothing"),
        (Kind.COMPANY, {"city": "Riga"}, "city"),
        (Kind.CONTACT, {"name": "Ada L", "first_name": "Bob", "last_name": "B"}, "name"),
    ],
)
def test_what_cannot_be_held_is_named_with_a_reason(kind, values, field):
    assert field in cannot_hold(kind, values, CUSTOMS, ("EUR", "USD"))


def test_values_that_can_be_held_are_not_reported():
    values = {"name": "A", "amount": None, "currency": None, "companies": (), "contacts": (), "source": None}
    assert cannot_hold(Kind.DEAL, values, CUSTOMS, ("EUR",)) == {}


def test_a_closing_time_is_sent_only_with_the_time_of_creation():
    closed = datetime(2026, 1, 1, tzinfo=UTC)
    assert "movedTime" not in body_of(Kind.DEAL, {"closed_at": closed}, CUSTOMS, creating=True).fields


@pytest.mark.parametrize("value", ["$result[w0]", "a $result b", None])
def test_what_a_batch_cannot_carry_is_told(value):
    assert not Request("crm.item.add", {"fields": {"title": value}}).batchable
    assert not Request("crm.item.add", {"fields": {"contactIds": []}}).batchable
    assert Request("crm.item.add", {"fields": {"title": "$100"}}).batchable


def test_an_unreadable_custom_value_is_named():
    with pytest.raises(Unwritable) as caught:
        CUSTOMS.wire("ufCrm_3", "soon")
    assert caught.value.field == "custom.ufCrm_3"


def test_a_command_survives_phps_parser():
    params = {"fields": {"title": "a&b=c[d]+%", "ids": ["1", "2"], "fm": {"n0": {"value": "+49 1"}}}}
    sent = Request("crm.item.add", params).command().query
    assert php(sent, {}) == {
        "fields": {"title": "a&b=c[d]+%", "ids": {"0": "1", "1": "2"}, "fm": {"n0": {"value": "+49 1"}}}
    }
