"""Bitrix24's writing side against a small portal that keeps what is written to it.

Which test holds which trap of the contract on writing:

 7  stage ids are cut at 21 characters: test_bitrix24_writes_pipelines, ids_are_read_and_never_built
 8  a_stage_of_another_pipeline_is_reported_as_not_written
 9  a_deal_moves_to_another_pipeline_in_one_update
12  a_create_carries_the_origin_pair_that_is_read_back_as_the_key, find_*
13  a_refusal_names_the_models_field_in_any_language
14  no_company_is_zero, unknown custom fields: a_field_that_the_portal_does_not_have_is_refused
 -  batch answers 200 (result_error), nulls and [] cannot travel, `$result` in a text, 60 s a request,
    work limit inside a batch, isManualOpportunity, unreadable dates, default close date, fm by row id
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import requests
import responses

from crmkit.connectors.base import Context
from crmkit.connectors.bitrix24.commands import command
from crmkit.connectors.bitrix24.connector import Bitrix24Connector
from crmkit.connectors.writing import Act, Change, Keys, Lookup, Result, Written
from crmkit.errors import AccessDenied, MissingScope, Unsupported
from crmkit.model import Deal, DealContact, Kind, Note, Ref
from tests.connectors.bitrix24_writing_portal import WritablePortal
from tests.connectors.test_bitrix24 import CODE, WEBHOOK, Refused

KEY = "ck1:ab12cd34:ef56ab78:deal:9001"
NAMES = {Kind.DEAL: 2, Kind.CONTACT: 3, Kind.COMPANY: 4}


@pytest.fixture
def portal() -> Iterator[WritablePortal]:
    fake = WritablePortal()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(responses.POST, re.compile(r"https://[^/]+/rest/7/\w+/[a-z.A-Z]+$"), fake.answer)
        yield fake


@pytest.fixture
def connector(portal: WritablePortal, make_context: Callable[..., Context]) -> Bitrix24Connector:
    return Bitrix24Connector(make_context("b24", webhook_url=WEBHOOK))


def ref(kind: Kind, native: Any) -> Ref:
    return Ref("b24", kind, str(native))


def create(kind: Kind = Kind.DEAL, *, ident: str = "c1", key: str | None = None, **values: Any) -> Change:
    return Change(ident, Act.CREATE, kind, values=values, key=key)


def update(native: Any, kind: Kind = Kind.DEAL, *, ident: str = "c1", **values: Any) -> Change:
    return Change(ident, Act.UPDATE, kind, ref(kind, native), values)


def delete(native: Any, kind: Kind = Kind.DEAL, *, ident: str = "c1") -> Change:
    return Change(ident, Act.DELETE, kind, ref(kind, native))


def written(connector: Bitrix24Connector, *changes: Change) -> list[Written]:
    found = {one.id: one for group in connector.write(changes) for one in group}
    assert sorted(found) == sorted(one.id for one in changes)
    return [found[one.id] for one in changes]


def one(connector: Bitrix24Connector, change: Change) -> Written:
    return written(connector, change)[0]


def collect(outcomes: list[Written], groups: Iterator[Sequence[Written]]) -> None:
    for group in groups:
        outcomes += group


def sent(portal: WritablePortal, method: str) -> list[str]:
    commands = [text for body in portal.requests for text in body.get("cmd", {}).values()]
    return [text.partition("?")[2] for text in commands if text.partition("?")[0] == method]


WHOLE_DEAL: dict[str, Any] = {
    "name": "Pilot & Söhne = 100 % 🚀",
    "pipeline_id": "7",
    "stage_id": "C7:EXECUTING",
    "amount": Decimal("12500.50"),
    "currency": "EUR",
    "probability": Decimal("0.6"),
    "owner_id": "12",
    "companies": ("88",),
    "contacts": (DealContact(id="301", primary=True), DealContact(id="305")),
    "expected_close": date(2026, 12, 31),
    "source": "WEB",
    "custom.ufCrm_1": "Nord\nSüd",
    "custom.ufCrm_2": ("11", "14"),
    "custom.ufCrm_3": date(2026, 1, 2),
}


# -- creating


def test_a_created_deal_is_read_back_as_it_was_written(portal, connector):
    outcome = one(connector, create(key=KEY, **WHOLE_DEAL))
    assert (outcome.result, outcome.unwritten) == (Result.DONE, {})
    (deal,) = connector.get([outcome.ref])
    shown = {
        name: deal.custom[name.removeprefix("custom.")] if "." in name else getattr(deal, name)
        for name in WHOLE_DEAL
    }
    assert shown == WHOLE_DEAL
    assert deal.key == KEY


def test_the_record_and_version_of_an_add_are_those_that_get_gives(portal, connector):
    outcome = one(connector, create(key=KEY, **WHOLE_DEAL))
    assert [outcome.record] == list(connector.get([outcome.ref]))
    assert outcome.version == outcome.record.version != None  # noqa: E711


def test_a_create_carries_the_origin_pair_that_is_read_back_as_the_key(portal, connector):
    outcome = one(connector, create(name="A", key=KEY))
    row = portal.items[2][int(outcome.ref.id)]
    assert (row["originatorId"], row["originId"]) == ("crmkit:ck1:ab12cd34:ef56ab78:deal", "9001")
    assert outcome.record.key == KEY


@pytest.mark.parametrize("key", ["plain", ":9001", "ck1:", "ck1:" + "9" * 256, "x" * 250 + ":1"])
def test_a_key_that_would_not_come_back_is_refused_before_it_is_sent(portal, connector, key):
    outcome = one(connector, create(name="A", key=key))
    assert (outcome.result, outcome.field) == (Result.REJECTED, "key")
    assert portal.items[2] == {}


def test_an_amount_is_kept_against_the_sum_of_products(portal, connector):
    outcome = one(connector, create(name="A", amount=Decimal("9.99")))
    assert portal.items[2][int(outcome.ref.id)]["isManualOpportunity"] == "Y"
    one(connector, update(outcome.ref.id, amount=Decimal(10)))
    assert "isManualOpportunity%5D=Y" in sent(portal, "crm.item.update")[0].replace("[", "%5B").replace(
        "]", "%5D"
    )


def test_a_new_deal_gets_no_close_date_and_source_of_the_portals_own(portal, connector):
    record = one(connector, create(name="A")).record
    assert (record.expected_close, record.source) == (None, None)


def test_a_new_deal_whose_close_date_the_portal_makes_up_is_cleared_by_the_older_method(portal, connector):
    portal.stubborn = set()
    portal.rules.append(
        lambda method, params: params["fields"].pop("closedate", None) if method == "crm.item.add" else None
    )
    outcome = one(connector, create(name="A", expected_close=None))
    assert (outcome.result, outcome.unwritten, outcome.record) == (Result.DONE, {}, None)
    assert portal.items[2][int(outcome.ref.id)]["closedate"] is None


def test_a_text_that_looks_like_a_reference_is_sent_by_itself(portal, connector):
    name = "Save $result[w1][item][id]"
    outcomes = written(
        connector,
        create(ident="c1", name=name),
        create(ident="c2", name="B"),
    )
    assert [one.record.name for one in outcomes] == [name, "B"]
    assert [body["single"] for body in portal.requests if "single" in body] == ["crm.item.add"]


def test_a_deal_without_custom_fields_takes_one_request_after_the_description(portal, connector):
    one(connector, create(name="A"))
    one(connector, create(name="B"))
    assert len(portal.requests) == 3


def test_companies_and_contacts_are_read_back_as_they_were_written(portal, connector):
    company = one(
        connector,
        create(
            Kind.COMPANY,
            key="ck1:a:b:company:1",
            name="Ada GmbH",
            domain="WWW.Ada.example",
            phones=("+49 1", "+49 2"),
        ),
    )
    contact = one(
        connector,
        create(
            Kind.CONTACT,
            first_name="Ada",
            last_name="Lovelace",
            emails=("a@b.example", "c@d.example"),
            phones=("1",),
            companies=(company.ref.id, "5"),
            key="ck1:a:b:contact:2",
        ),
    )
    firm, person = connector.get([company.ref, contact.ref])
    assert (firm.name, firm.domain, firm.phones, firm.key) == (
        "Ada GmbH",
        "ada.example",
        ("+49 1", "+49 2"),
        "ck1:a:b:company:1",
    )
    assert (person.name, person.emails, person.phones) == (
        "Ada Lovelace",
        ("a@b.example", "c@d.example"),
        ("1",),
    )
    assert (person.companies, person.key) == ((company.ref.id, "5"), "ck1:a:b:contact:2")
    assert (company.record, contact.record) == (firm, person)


def test_a_record_whose_phones_the_answer_does_not_show_is_not_given_as_whole(portal, connector):
    portal.hides_fm = True
    outcome = one(connector, create(Kind.COMPANY, name="Ada", phones=("1",)))
    assert (outcome.result, outcome.record, outcome.unwritten) == (Result.DONE, None, {})
    assert outcome.version is not None


def test_a_contact_with_one_name_is_split_and_read_back_as_one(portal, connector):
    assert one(connector, create(Kind.CONTACT, name="Ada King Lovelace")).record.name == "Ada King Lovelace"


# -- times of a migration


def test_a_create_with_a_time_of_creation_is_imported_and_checked(portal, connector):
    created = datetime(2024, 3, 1, 9, 30, tzinfo=UTC)
    closed = datetime(2024, 5, 1, 9, 30, tzinfo=UTC)
    outcome = one(
        connector,
        create(name="A", created_at=created, closed_at=closed, pipeline_id="7", stage_id="C7:WON"),
    )
    (deal,) = connector.get([outcome.ref])
    assert (outcome.unwritten, deal.created_at, deal.closed_at) == ({}, created, closed)
    assert portal.done == ["crm.item.import"]


def test_imports_go_in_the_order_of_their_times(portal, connector):
    times = [datetime(2024, month, 1, tzinfo=UTC) for month in (5, 2, 9, 1)]
    written(
        connector,
        *(create(ident=f"c{n}", name="A", created_at=at) for n, at in enumerate(times)),
    )
    rows = [portal.items[2][native]["createdTime"] for native in sorted(portal.items[2])]
    assert rows == sorted(rows)


def test_times_that_only_an_administrator_may_set_are_left_out_and_reported(portal, connector):
    def rule(method: str, params: Any) -> None:
        if "createdTime" in (params.get("fields") or {}):
            raise Refused("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Invalid value for field "Created at"')

    portal.rules.append(rule)
    outcome = one(connector, create(name="A", created_at=datetime(2024, 3, 1, tzinfo=UTC)))
    assert outcome.result is Result.DONE
    assert "Created at" in outcome.unwritten["created_at"]
    assert len(portal.items[2]) == 1


def test_times_that_the_portal_drops_in_silence_are_reported(portal, connector):
    portal.rules.append(
        lambda method, params: params["fields"].pop("createdTime") if method == "crm.item.import" else None
    )
    outcome = one(connector, create(name="A", created_at=datetime(2024, 3, 1, tzinfo=UTC)))
    assert set(outcome.unwritten) == {"created_at"}


# -- updating


def test_an_update_touches_only_what_it_names(portal, connector):
    portal.deal(5, title="Old", opportunity=10, probability=30)
    outcome = one(
        connector,
        update(5, name="New"),
    )
    assert (outcome.result, outcome.record.name, outcome.record.amount) == (Result.DONE, "New", Decimal(10))
    (query,) = sent(portal, "crm.item.update")
    assert query == "entityTypeId=2&id=5&fields[title]=New"


def test_a_deal_moves_to_another_pipeline_in_one_update(portal, connector):
    portal.deal(5)
    outcome = one(connector, update(5, pipeline_id="7", stage_id="C7:WON"))
    assert (outcome.record.pipeline_id, outcome.record.stage_id, outcome.record.outcome) == (
        "7",
        "C7:WON",
        "won",
    )
    assert len(sent(portal, "crm.item.update")) == 1


def test_a_stage_of_another_pipeline_is_reported_as_not_written(portal, connector):
    portal.deal(5)
    outcome = one(connector, update(5, stage_id="C7:WON", amount=Decimal(7)))
    assert (outcome.result, set(outcome.unwritten)) == (Result.DONE, {"stage_id"})
    assert portal.items[2][5]["opportunity"] == 7


def test_a_field_that_the_portal_drops_in_silence_is_reported(portal, connector):
    portal.deal(5)
    portal.ignores = {"closedate"}
    outcome = one(connector, update(5, expected_close=date(2027, 1, 1), amount=Decimal(3)))
    assert set(outcome.unwritten) == {"expected_close"}


def test_no_company_is_zero(portal, connector):
    portal.deal(5, companyId=88)
    outcome = one(connector, update(5, companies=()))
    assert (outcome.unwritten, outcome.record.companies) == ({}, ())
    assert "fields[companyId]=0" in sent(portal, "crm.item.update")[0]


@pytest.mark.parametrize(
    ("field", "wire", "before"),
    [
        ("companies", "companyId", 88),
        ("expected_close", "closedate", "2026-12-01T03:00:00+03:00"),
        ("probability", "probability", 30),
        ("custom.ufCrm_1", "ufCrm_1", "Nord"),
    ],
)
def test_what_an_update_does_not_clear_the_older_method_does(portal, connector, field, wire, before):
    portal.deal(5, **{wire: before})
    portal.stubborn = {wire}
    outcome = one(connector, update(5, **{field: () if field == "companies" else None, "amount": Decimal(1)}))
    assert (outcome.result, outcome.unwritten) == (Result.DONE, {})
    assert portal.items[2][5][wire] is None
    assert portal.done == ["crm.item.update", "crm.deal.update"]


def test_what_cannot_be_cleared_at_all_is_reported(portal, connector):
    portal.deal(5, probability=30)
    portal.stubborn = {"probability"}
    portal._legacy_update = lambda method, params: True  # takes the call and changes nothing
    assert set(one(connector, update(5, probability=None)).unwritten) == {"probability"}


def test_several_choices_are_cleared_by_the_older_method_as_a_batch_has_no_empty_list(portal, connector):
    portal.deal(5, ufCrm_2=[11, 14])
    outcome = one(connector, update(5, **{"custom.ufCrm_2": None}))
    assert (outcome.result, outcome.unwritten) == (Result.DONE, {})
    assert portal.items[2][5]["ufCrm_2"] is None


def test_the_people_on_a_deal_are_replaced_as_a_whole(portal, connector):
    portal.deal(5, contactIds=[301, 305], contactId=301)
    people = (DealContact(id="400"), DealContact(id="305", role="buyer", primary=True))
    outcome = one(connector, update(5, contacts=people))
    assert portal.items[2][5]["contactIds"] == [305, 400]
    assert outcome.unwritten == {}


def test_the_people_on_a_deal_are_removed_by_a_call_of_their_own(portal, connector):
    portal.deal(5, contactIds=[301], contactId=301)
    outcome = one(connector, update(5, contacts=()))
    assert (outcome.result, outcome.unwritten) == (Result.DONE, {})
    assert portal.items[2][5]["contactIds"] == []


def test_links_that_cannot_be_removed_leave_the_rest_done(portal, connector):
    portal.deal(5, contactIds=[301], contactId=301)
    portal.faults.append(lambda key, method, params: refuse(method, "crm.deal.contact.items.delete"))
    outcome = one(connector, update(5, contacts=(), amount=Decimal(5)))
    assert (outcome.result, set(outcome.unwritten)) == (Result.DONE, {"contacts"})


def test_links_that_cannot_be_removed_are_a_refusal_if_nothing_else_was_asked(portal, connector):
    portal.deal(5, contactIds=[301], contactId=301)
    portal.faults.append(lambda key, method, params: refuse(method, "crm.deal.contact.items.delete"))
    outcome = one(connector, update(5, contacts=()))
    assert (outcome.result, outcome.field) == (Result.REJECTED, "contacts")


def refuse(method: str, unwanted: str) -> None:
    if method == unwanted:
        raise Refused("ERROR_CORE", "no")


def test_links_whose_removal_is_never_answered_are_unknown(portal, connector):
    portal.deal(5, contactIds=[301], contactId=301)

    def front(request: Any, body: dict[str, Any]) -> Any:
        if "contact.items.delete" in str(body):
            raise requests.ReadTimeout("too late")
        return None

    portal.fronts.append(front)
    outcome = one(connector, update(5, contacts=(), amount=Decimal(5)))
    assert (outcome.result, outcome.ref) == (Result.UNKNOWN, ref(Kind.DEAL, 5))


def test_links_that_an_update_leaves_as_they_were_are_set_by_their_own_call(portal, connector):
    portal.party(3, 9, companyIds=[1])
    portal.ignores = {"companyIds"}
    outcome = one(connector, update(9, Kind.CONTACT, companies=("4", "1")))
    assert portal.items[3][9]["companyIds"] == [4, 1]
    assert outcome.unwritten == {}


def test_phones_are_edited_row_by_row(portal, connector):
    rows = [
        {"id": 15, "typeId": "PHONE", "valueType": "HOME", "value": "1"},
        {"id": 16, "typeId": "PHONE", "valueType": "WORK", "value": "2"},
        {"id": 17, "typeId": "EMAIL", "valueType": "WORK", "value": "a@b.example"},
    ]
    portal.party(3, 9, fm=rows)
    outcome = one(connector, update(9, Kind.CONTACT, phones=("1", "3")))
    fm = portal.items[3][9]["fm"]
    assert [(row["typeId"], row["value"], row["valueType"]) for row in fm] == [
        ("PHONE", "1", "HOME"),
        ("EMAIL", "a@b.example", "WORK"),
        ("PHONE", "3", "WORK"),
    ]
    assert outcome.record.phones == ("1", "3")


def test_phones_that_are_there_already_are_not_sent_again(portal, connector):
    portal.party(3, 9, fm=[{"id": 15, "typeId": "PHONE", "valueType": "HOME", "value": "1"}])
    outcome = one(connector, update(9, Kind.CONTACT, phones=("1",)))
    assert (outcome.result, portal.done) == (Result.DONE, [])


def test_phones_of_a_contact_that_is_gone_are_gone(portal, connector):
    assert one(connector, update(9, Kind.CONTACT, phones=("1",))).result is Result.GONE


def test_a_cleared_domain_leaves_other_web_addresses_and_says_so(portal, connector):
    rows = [
        {"id": 1, "typeId": "WEB", "valueType": "WORK", "value": "https://www.ada.example/x"},
        {"id": 2, "typeId": "WEB", "valueType": "OTHER", "value": "https://social.example/ada"},
    ]
    portal.party(4, 9, fm=rows)
    outcome = one(connector, update(9, Kind.COMPANY, domain=None))
    assert [row["id"] for row in portal.items[4][9]["fm"]] == [2]
    assert set(outcome.unwritten) == {"domain"}


def test_a_new_domain_takes_the_place_of_the_old_one(portal, connector):
    portal.party(4, 9, fm=[{"id": 1, "typeId": "WEB", "valueType": "WORK", "value": "https://ada.example/x"}])
    assert one(connector, update(9, Kind.COMPANY, domain="ada.example")).result is Result.DONE
    assert portal.done == []
    assert one(connector, update(9, Kind.COMPANY, domain="bob.example")).record.domain == "bob.example"


def test_an_owner_cannot_be_taken_away_and_the_rest_is_written(portal, connector):
    portal.deal(5)
    outcome = one(connector, update(5, owner_id=None, amount=Decimal(5)))
    assert (outcome.result, set(outcome.unwritten), portal.items[2][5]["opportunity"]) == (
        Result.DONE,
        {"owner_id"},
        5,
    )


def test_a_field_that_the_portal_does_not_have_is_refused(portal, connector):
    portal.deal(5)
    outcome = one(connector, update(5, **{"custom.ufCrm_99": "x"}))
    assert (outcome.result, outcome.field, portal.done) == (Result.REJECTED, "custom.ufCrm_99", [])


def test_an_update_of_a_deal_that_is_gone_says_so(portal, connector):
    assert one(connector, update(5, amount=Decimal(1))).result is Result.GONE


# -- deleting


def test_deals_are_deleted_fifty_a_request(portal, connector):
    for native in range(1, 201):
        portal.deal(native)
    outcomes = written(connector, *(delete(n, ident=f"c{n}") for n in range(1, 201)))
    assert {one.result for one in outcomes} == {Result.DONE}
    assert portal.items[2] == {}
    assert len(portal.requests) == 1 + 1 + 4


def test_a_deal_that_is_gone_already_is_gone(portal, connector):
    portal.deal(1)
    outcomes = written(connector, delete(1, ident="a"), delete(2, ident="b"))
    assert [one.result for one in outcomes] == [Result.DONE, Result.GONE]


# -- notes


def test_a_note_is_a_comment_with_its_key_on_the_last_line(portal, connector):
    portal.deal(5)
    key = "ck1:a:b:note:77"
    outcome = one(connector, create(Kind.NOTE, key=key, text="called", deal_id="5"))
    (note,) = connector.get([outcome.ref])
    assert isinstance(note, Note)
    assert (note.deal_id, note.text) == ("5", f"called\n{key}")
    lookup = Lookup(Kind.NOTE, key, parent=ref(Kind.DEAL, 5))
    assert connector.find([lookup]) == {key: [outcome.ref]}


def test_a_note_that_holds_its_key_already_is_not_marked_twice(portal, connector):
    portal.deal(5)
    one(connector, create(Kind.NOTE, key="ck1:a:1", text="called\nck1:a:1", deal_id="5"))
    assert portal.comments[0]["COMMENT"] == "called\nck1:a:1"


def test_a_note_on_a_deal_that_is_gone_is_rejected_by_the_deal(portal, connector):
    outcome = one(connector, create(Kind.NOTE, text="called", deal_id="5"))
    assert (outcome.result, outcome.field) == (Result.REJECTED, "deal_id")


def test_find_does_not_take_a_longer_key_for_a_notes_own(portal, connector):
    portal.deal(5)
    portal.comments.append({"ID": "1", "ENTITY_ID": "5", "ENTITY_TYPE": "deal", "COMMENT": "x<br>ck1:a:12"})
    parent = ref(Kind.DEAL, 5)
    assert connector.find([Lookup(Kind.NOTE, "ck1:a:1", parent)]) == {}
    assert connector.find([Lookup(Kind.NOTE, "ck1:a:12", parent)]) == {"ck1:a:12": [ref(Kind.NOTE, 1)]}


def test_find_does_not_say_that_a_note_is_missing_when_it_cannot_look(portal, connector):
    with pytest.raises(Unsupported):
        connector.find([Lookup(Kind.NOTE, "ck1:a:1")])
    assert portal.requests == []


# -- finding by key


def keyed(portal: WritablePortal, native: int, key: str) -> None:
    source, _, origin = key.rpartition(":")
    portal.deal(native, originatorId=f"crmkit:{source}", originId=origin)


def test_find_gives_all_records_with_a_key_lowest_id_first(portal, connector):
    for native in (101, 9, 40):
        keyed(portal, native, KEY)
    found = connector.find([Lookup(Kind.DEAL, KEY), Lookup(Kind.DEAL, "ck1:other:1")])
    assert found == {KEY: [ref(Kind.DEAL, n) for n in (9, 40, 101)]}


def test_find_checks_what_the_portal_compares_without_case(portal, connector):
    keyed(portal, 1, KEY.upper())
    portal.matches = lambda row, name, bound: True
    assert connector.find([Lookup(Kind.DEAL, KEY)]) == {}


def test_find_asks_for_2500_keys_a_request(portal, connector):
    keys = [f"ck1:a:b:deal:{n}" for n in range(5000)]
    keyed(portal, 77, keys[4999])
    assert connector.find([Lookup(Kind.DEAL, key) for key in keys]) == {keys[4999]: [ref(Kind.DEAL, 77)]}
    assert len(portal.requests) == 2


def test_find_goes_on_behind_a_full_page_of_duplicates(portal, connector):
    for native in range(1, 121):
        keyed(portal, native, KEY)
    assert len(connector.find([Lookup(Kind.DEAL, KEY)])[KEY]) == 120


# -- what goes wrong


def test_a_refused_change_leaves_its_neighbours_alone(portal, connector):
    portal.faults.append(lambda key, method, params: refuse_title(method, params, "bad"))
    outcomes = written(
        connector,
        *(create(ident=f"c{n}", name="bad" if n == 7 else "ok") for n in range(20)),
    )
    assert [one.id for one in outcomes if one.result is Result.REJECTED] == ["c7"]
    assert len(portal.items[2]) == 19


def refuse_title(method: str, params: Any, title: str) -> None:
    if method == "crm.item.add" and params["fields"].get("title") == title:
        raise Refused("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Invalid value for field "Stage"')


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('Invalid value for field "Stage"', "stage_id"),
        ("Недопустимое значение поля «Сумма»", "amount"),
        ('Invalid value for field "UF_CRM_1"', "custom.ufCrm_1"),
        ('The "Region" field is required', "custom.ufCrm_1"),
        ("Something else", None),
    ],
)
def test_a_refusal_names_the_models_field_in_any_language(portal, connector, text, field):
    def fault(key: str, method: str, params: Any) -> None:
        if method == "crm.item.add":
            raise Refused("CRM_FIELD_ERROR_VALUE_NOT_VALID", text)

    portal.faults.append(fault)
    outcome = one(connector, create(name="A"))
    assert (outcome.result, outcome.field) == (Result.REJECTED, field)
    assert text in outcome.reason


def test_a_secret_in_a_refusal_is_masked_and_the_reason_is_cut(portal, connector):
    def fault(key: str, method: str, params: Any) -> None:
        if method == "crm.item.add":
            raise Refused("ERROR_CORE", f"/rest/7/{CODE}/crm.item.add failed " + "x" * 5000)

    portal.faults.append(fault)
    outcome = one(connector, create(name="A"))
    assert CODE not in outcome.reason
    assert len(outcome.reason) <= 500


def test_a_refused_create_whose_record_is_there_exists(portal, connector):
    keyed(portal, 9, KEY)
    portal.faults.append(lambda key, method, params: refuse(method, "crm.item.add"))
    outcome = one(connector, create(name="A", key=KEY))
    assert (outcome.result, outcome.ref) == (Result.EXISTS, ref(Kind.DEAL, 9))


def test_a_record_that_the_login_may_not_change_is_rejected_alone(portal, connector):
    portal.deal(1)
    portal.deal(2)

    def rule(method: str, params: Any) -> None:
        if method == "crm.item.update" and params["id"] == "1":
            raise Refused("ACCESS_DENIED", "Access denied.")

    portal.rules.append(rule)
    outcomes = written(
        connector, update(1, ident="a", amount=Decimal(1)), update(2, ident="b", amount=Decimal(1))
    )
    assert [one.result for one in outcomes] == [Result.REJECTED, Result.DONE]


def test_a_missing_scope_is_raised_and_nothing_is_taken_for_rejected(portal, connector):
    def rule(method: str, params: Any) -> None:
        if method == "crm.item.add":
            raise Refused("insufficient_scope", "")

    portal.rules.append(rule)
    outcomes: list[Written] = []
    with pytest.raises(MissingScope):
        collect(outcomes, connector.write([create(ident=f"c{n}", name="A") for n in range(300)]))
    assert {one.result for one in outcomes} == {Result.UNSENT}
    assert len(outcomes) == 300
    assert len(portal.requests) <= 2 + 4


@pytest.mark.parametrize(
    "failure",
    [
        requests.ReadTimeout("too late"),
        requests.ConnectionError("reset"),
        (500, {}, "<html>"),
        (502, {}, "Bad gateway"),
        (200, {}, '{"result": {"result": {"w0": {"item": {"id": 1'),
        (200, {}, "<html>ok</html>"),
        (500, {}, '{"error":"INTERNAL_SERVER_ERROR","error_description":""}'),
        (404, {}, "<html>"),
    ],
)
def test_a_write_without_a_readable_answer_is_unknown_and_sent_once(portal, connector, failure):
    connector.fields(Kind.DEAL)

    def front(request: Any, body: dict[str, Any]) -> Any:
        if isinstance(failure, Exception):
            raise failure
        return failure

    portal.fronts.append(front)
    outcomes = written(connector, *(create(ident=f"c{n}", name="A") for n in range(5)))
    assert [one.result for one in outcomes] == [Result.UNKNOWN] * 5
    assert len(portal.requests) == 2


def test_a_change_that_the_answer_does_not_mention_is_unknown(portal, connector):
    connector.fields(Kind.DEAL)
    whole = portal.batch

    def batch(body: dict[str, Any]) -> dict[str, Any]:
        answer = whole(body)
        del answer["result"]["result"]["w1"]
        return answer

    portal.batch = batch
    outcomes = written(connector, *(create(ident=f"c{n}", name="A") for n in range(3)))
    assert [one.result for one in outcomes] == [Result.DONE, Result.UNKNOWN, Result.DONE]


def test_an_internal_error_of_one_command_is_unknown(portal, connector):
    portal.faults.append(lambda key, method, params: broken(key, method))
    outcomes = written(connector, *(create(ident=f"c{n}", name="A") for n in range(3)))
    assert [one.result for one in outcomes] == [Result.DONE, Result.UNKNOWN, Result.DONE]


def broken(key: str, method: str) -> None:
    if method == "crm.item.add" and key == "w1":
        raise Refused("INTERNAL_SERVER_ERROR", "")


def test_an_answer_without_the_new_id_is_unknown(portal, connector):
    portal._crm_item_add = lambda params: {"item": {}}
    assert one(connector, create(name="A")).result is Result.UNKNOWN


def test_the_work_limit_inside_a_batch_waits_and_sends_only_what_was_refused(portal, connector, clock):
    refusals = iter([True] * 3)

    def fault(key: str, method: str, params: Any) -> None:
        if method == "crm.item.add" and key in ("w3", "w4", "w5") and next(refusals, False):
            raise Refused("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.")

    portal.faults.append(fault)
    outcomes = written(connector, *(create(ident=f"c{n}", name="A") for n in range(6)))
    assert {one.result for one in outcomes} == {Result.DONE}
    assert len(portal.items[2]) == 6
    assert sum(clock.slept) > 30


def test_a_rate_refusal_of_a_whole_request_is_waited_out(portal, connector, clock):
    connector.fields(Kind.DEAL)
    answers = iter([(503, {}, '{"error":"QUERY_LIMIT_EXCEEDED","error_description":"Too many requests"}')])
    portal.fronts.append(lambda request, body: next(answers, None))
    assert one(connector, create(name="A")).result is Result.DONE
    assert len(portal.items[2]) == 1


def test_a_batch_that_is_refused_as_a_whole_is_halved_until_the_bad_one_stands_alone(portal, connector):
    connector.fields(Kind.DEAL)

    def front(request: Any, body: dict[str, Any]) -> Any:
        bad = "poison" in str(body)
        return (400, {}, '{"error":"ERROR_ARGUMENT","error_description":"bad"}') if bad else None

    portal.fronts.append(front)
    names = ["poison" if n == 11 else "ok" for n in range(25)]
    outcomes = written(
        connector,
        *(create(ident=f"c{n}", name=name) for n, name in enumerate(names)),
    )
    assert [one.id for one in outcomes if one.result is Result.REJECTED] == ["c11"]
    assert len(portal.items[2]) == 24
    assert len(portal.requests) - 1 <= 2 * 5 + 1


def test_a_slow_portal_gets_batches_that_end_in_time(portal, connector):
    portal.duration = 50.0  # what 25 adds took
    changes = [create(ident=f"c{n}", name="A") for n in range(100)]
    written(connector, *changes)
    sizes = [len(body["cmd"]) for body in portal.requests[1:]]
    assert sizes == [25] + [15] * 5


def test_nothing_is_sent_when_the_run_only_reads(portal, make_context):
    context = make_context("b24", webhook_url=WEBHOOK)
    reader = Bitrix24Connector(Context("b24", context.secrets, clock=context.clock, read_only=True))
    for change in (create(name="A"), delete(1), create(Kind.PIPELINE, name="P")):
        with pytest.raises(Unsupported):
            list(reader.write([change]))
    assert portal.requests == []


def test_the_transport_itself_refuses_to_write_when_the_run_only_reads(portal, make_context):
    context = make_context("b24", webhook_url=WEBHOOK)
    reader = Bitrix24Connector(Context("b24", context.secrets, clock=context.clock, read_only=True))
    with pytest.raises(Unsupported):
        reader._portal.write({"w0": command("crm.item.add")})
    with pytest.raises(Unsupported):
        reader._portal.single("crm.item.add", {})
    assert portal.requests == []


def test_an_unsupported_act_is_refused_before_any_call(portal, connector):
    with pytest.raises(Unsupported):
        connector.write([Change("c1", Act.UPDATE, Kind.NOTE, ref(Kind.NOTE, 1), {"text": "x"})])
    with pytest.raises(Unsupported):
        connector.write([Change("c1", Act.CREATE, Kind.OWNER)])
    assert portal.requests == []


def test_refused_credentials_are_raised_after_what_is_known(portal, connector):
    connector.fields(Kind.DEAL)
    answers = iter([None])
    refusal = (401, {}, '{"error":"INVALID_CREDENTIALS","error_description":"Invalid"}')
    portal.fronts.append(lambda request, body: next(answers, refusal))
    outcomes: list[Written] = []
    with pytest.raises(AccessDenied):
        collect(outcomes, connector.write([create(ident=f"c{n}", name="A") for n in range(100)]))
    assert [one.result for one in outcomes].count(Result.DONE) == 25
    assert [one.result for one in outcomes].count(Result.UNSENT) == 75


# -- what it costs


def changes_of(act: Act, kind: Kind, count: int) -> Sequence[Change]:
    values: dict[str, Any] = {} if act is Act.DELETE else {"name": "A", "amount": Decimal(3)}
    if kind is Kind.CONTACT:
        values = {"first_name": "A", "phones": ("1",)}
    if kind is Kind.NOTE:
        values = {"text": "called", "deal_id": "1"}
    return [
        Change(f"c{n}", act, kind, None if act is Act.CREATE else ref(kind, n), values)
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("act", "kind", "expected"),
    [
        (Act.CREATE, Kind.DEAL, 202),
        (Act.UPDATE, Kind.DEAL, 202),
        (Act.DELETE, Kind.DEAL, 202),
        (Act.CREATE, Kind.NOTE, 201),
        (Act.UPDATE, Kind.CONTACT, 403),
    ],
)
def test_ten_thousand_changes_take_the_requests_of_the_budget(portal, connector, act, kind, expected):
    for native in range(1, 10_001):
        portal.deal(native) if kind is not Kind.CONTACT else portal.party(3, native)
    changes = changes_of(act, kind, 10_000)
    assert connector.budget(changes).requests == expected
    chunk = connector.capabilities.writing[kind].chunk
    sent = changes[: 2 * chunk]  # what is promised for some is what sending them takes
    promised = connector.budget(sent).requests
    for begin in range(0, len(sent), chunk):
        written(connector, *sent[begin : begin + chunk])
    assert connector.context.usage.requests == promised


def test_the_budget_counts_the_rounds_of_imports_and_emptied_links(portal, connector):
    portal.deal(1, contactIds=[5], contactId=5)
    imports = [
        Change(
            "i", Act.CREATE, Kind.DEAL, values={"name": "A", "created_at": datetime(2024, 1, 1, tzinfo=UTC)}
        )
    ]
    emptied = [update(1, contacts=(), amount=Decimal(2))]
    planned = connector.budget(imports).requests
    list(connector.write(imports))
    assert connector.context.usage.requests == planned == 3
    assert connector.budget(emptied).requests == 3
    list(connector.write(emptied))
    assert connector.context.usage.requests == 6


def test_the_budget_is_governed_by_the_work_limit(connector):
    budget = connector.budget(changes_of(Act.CREATE, Kind.DEAL, 10_000))
    assert budget.seconds == pytest.approx(3150)
    assert budget.units == 3000


def test_every_kind_that_can_be_written_can_be_found_by_key(connector):
    assert {one.keys for one in connector.capabilities.writing.values()} == {Keys.SEARCHABLE}
    assert connector.unprepared(list(Kind)) == ()
    assert isinstance(json.dumps(sorted(connector.capabilities.writing)), str)
    assert Deal.model_fields.keys() >= connector.capabilities.writing[Kind.DEAL].create_fields
