"""Links come from exact keys that are unique on both sides; everything else is a finding."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crmkit.model import Kind, Ref
from crmkit.sync.link import (
    LinkableCompany,
    LinkableContact,
    LinkableDeal,
    Links,
    link_companies,
    link_contacts,
    link_deals,
)


def company(connection: str, native: str, name: str = "", **values: Any) -> LinkableCompany:
    return LinkableCompany(Ref(connection, Kind.COMPANY, native), name, **values)


def deal(connection: str, native: str, **values: Any) -> LinkableDeal:
    fields: dict[str, Any] = {
        "name": "Renewal 2027",
        "amount": Decimal(1000),
        "currency": "EUR",
        "company": "acme",
        "expected_close": date(2026, 12, 31),
    }
    return LinkableDeal(Ref(connection, Kind.DEAL, native), **{**fields, **values})


def groups(links: Links) -> set[frozenset[str]]:
    return {frozenset(f"{ref.connection}{ref.id}" for ref in refs) for refs in links.members().values()}


def test_spellings_of_one_domain_are_one_company() -> None:
    links = link_companies(
        [company("a", "1", domain="https://www.Acme.com/de"), company("b", "2", domain="acme.com")]
    )
    assert groups(links) == {frozenset({"a1", "b2"})}
    assert set(links.evidence.values()) == {"domain"}


def test_a_free_mail_domain_links_nobody() -> None:
    links = link_companies([company("a", "1", domain="gmail.com"), company("b", "2", domain="gmail.com")])
    assert links.group_of == {}


def test_name_and_city_link_where_legal_forms_differ() -> None:
    links = link_companies(
        [company("a", "1", "ACME, Incorporated", city="Köln"), company("b", "2", "Acme Inc.", city="KOLN")]
    )
    assert groups(links) == {frozenset({"a1", "b2"})}


def test_a_name_without_a_city_is_not_enough() -> None:
    assert link_companies([company("a", "1", "Acme"), company("b", "2", "Acme")]).group_of == {}


def test_an_ambiguous_key_is_a_finding_and_never_a_link() -> None:
    links = link_companies(
        [
            company("a", "1", domain="acme.com"),
            company("a", "2", domain="acme.com"),
            company("b", "3", domain="acme.com"),
        ]
    )
    assert links.group_of == {}
    assert [{ref.id for ref in found.refs} for found in links.ambiguous] == [{"1", "2"}]


def test_ambiguity_in_one_crm_does_not_part_the_others() -> None:
    links = link_companies(
        [
            company("a", "1", domain="acme.com"),
            company("a", "2", domain="acme.com"),
            company("b", "3", domain="acme.com"),
            company("c", "4", domain="acme.com"),
        ]
    )
    assert groups(links) == {frozenset({"b3", "c4"})}


def test_a_later_rung_resolves_what_an_earlier_one_left_open() -> None:
    links = link_companies(
        [
            company("a", "1", "Acme", domain="acme.com", city="Bonn"),
            company("a", "2", "Acme Shop", domain="acme.com", city="Bonn"),
            company("b", "3", "Acme", domain="acme.com", city="Bonn"),
        ]
    )
    assert groups(links) == {frozenset({"a1", "b3"})}


def test_phones_are_compared_without_prefixes() -> None:
    links = link_companies(
        [company("a", "1", phones=("+49 221 1234567",)), company("b", "2", phones=("0221/1234567",))]
    )
    assert groups(links) == {frozenset({"a1", "b2"})}


def test_contacts_link_by_e_mail_whatever_its_case() -> None:
    links = link_contacts(
        [
            LinkableContact(Ref("a", Kind.CONTACT, "1"), "Ada", emails=("Ada@Example.org",)),
            LinkableContact(Ref("b", Kind.CONTACT, "2"), "A. Lovelace", emails=("ada@example.org",)),
        ]
    )
    assert groups(links) == {frozenset({"a1", "b2"})}


def test_one_shared_phone_does_not_make_two_people_one() -> None:
    links = link_contacts(
        [
            LinkableContact(Ref("a", Kind.CONTACT, "1"), "Ada", phones=("+4922112345678",)),
            LinkableContact(Ref("b", Kind.CONTACT, "2"), "Bob", phones=("+4922112345678",)),
        ]
    )
    assert links.group_of == {}


def test_a_stored_key_wins_over_everything() -> None:
    links = link_deals(
        [deal("a", "1", key="k1", amount=Decimal(1)), deal("b", "2", key="k1", amount=Decimal(2))]
    )
    assert groups(links) == {frozenset({"a1", "b2"})}


def test_a_key_that_names_the_other_record_links_to_it() -> None:
    links = link_deals([deal("a", "1", company=None), deal("b", "2", company=None, key="a:deal:1")])
    assert groups(links) == {frozenset({"a1", "b2"})}


def test_deals_of_one_company_link_by_amount_and_close_date() -> None:
    assert groups(link_deals([deal("a", "1"), deal("b", "2", name="Quite another name")])) == {
        frozenset({"a1", "b2"})
    }


def test_the_same_amount_in_another_currency_is_another_deal() -> None:
    assert link_deals([deal("a", "1"), deal("b", "2", currency="USD")]).group_of == {}


def test_deals_without_a_common_company_stay_apart() -> None:
    assert link_deals([deal("a", "1", company=None), deal("b", "2", company=None)]).group_of == {}


def test_a_moved_close_date_needs_a_like_name() -> None:
    moved = date(2027, 1, 31)
    assert groups(link_deals([deal("a", "1"), deal("b", "2", expected_close=moved, name="Renewal 2027!")]))
    assert not groups(link_deals([deal("a", "1"), deal("b", "2", expected_close=moved, name="Pilot")]))


def test_two_equal_deals_on_one_side_are_left_to_a_person() -> None:
    links = link_deals([deal("a", "1"), deal("a", "2"), deal("b", "3")])
    assert links.group_of == {}
    assert links.ambiguous


records = st.lists(
    st.builds(
        company,
        connection=st.sampled_from(["a", "b", "c"]),
        native=st.sampled_from([str(number) for number in range(6)]),
        name=st.sampled_from(["Acme", "Bolt", "Crux"]),
        domain=st.sampled_from([None, "acme.com", "bolt.io", "crux.de"]),
        city=st.sampled_from([None, "Bonn", "Rome"]),
        key=st.sampled_from([None, "k1", "k2"]),
    ),
    max_size=9,
    unique_by=lambda record: record.ref,
)


@given(records)
def test_a_group_never_holds_two_records_of_one_crm(companies: list[LinkableCompany]) -> None:
    for refs in link_companies(companies).members().values():
        assert len({ref.connection for ref in refs}) == len(refs) > 1


@given(records.filter(lambda found: len(found) < 5))
@settings(max_examples=40)
def test_the_order_of_records_changes_nothing(companies: list[LinkableCompany]) -> None:
    results = [link_companies(list(order)).group_of for order in permutations(companies)]
    assert all(result == results[0] for result in results)
