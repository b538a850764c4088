"""Suggestions need two things that speak for them, and hold nothing that is settled."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from crmkit.model import Kind, Ref
from crmkit.sync.link import (
    Decided,
    LinkableCompany,
    LinkableContact,
    LinkableDeal,
    link_companies,
    link_contacts,
    link_deals,
)
from crmkit.sync.spelling import core_name, person_name, root
from crmkit.sync.suggest import BLOCK, Suggested, maybe_same, suggest


def company(connection: str, native: str, name: str, **values: Any) -> LinkableCompany:
    return LinkableCompany(Ref(connection, Kind.COMPANY, native), name, **values)


def contact(connection: str, native: str, name: str, **values: Any) -> LinkableContact:
    return LinkableContact(Ref(connection, Kind.CONTACT, native), name, **values)


def deal(connection: str, native: str, **values: Any) -> LinkableDeal:
    fields: dict[str, Any] = {
        "name": "Renewal 2027",
        "amount": Decimal("1234.50"),
        "currency": "EUR",
        "company": "acme",
        "expected_close": date(2026, 12, 31),
    }
    return LinkableDeal(Ref(connection, Kind.DEAL, native), **{**fields, **values})


def companies(*records: LinkableCompany, decided: Decided | None = None) -> Suggested:
    settled = decided or Decided()
    return suggest(Kind.COMPANY, records, settled, link_companies(records, settled))


def contacts(*records: LinkableContact) -> Suggested:
    return suggest(Kind.CONTACT, records, Decided(), link_contacts(records))


def deals(*records: LinkableDeal) -> Suggested:
    return suggest(Kind.DEAL, records, Decided(), link_deals(records))


def pairs(found: Suggested) -> set[frozenset[str]]:
    return {frozenset(f"{ref.connection}{ref.id}" for ref in (one.one, one.other)) for one in found.pairs}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme Logistik GmbH", "ACME Logistik G.m.b.H."),
        ("Müller Maschinen Gesellschaft mbH", "Mueller Maschinen GmbH"),
        ("Nordwind 株式会社", "Nordwind K.K."),
        ("Société Générale S.A.", "Societe Generale Société Anonyme"),
    ],
)
def test_a_core_name_is_free_of_legal_form_and_accents(one: str, other: str) -> None:
    assert core_name(one) == core_name(other) != ""


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("https://www.acme.co.uk/x", "acme"),
        ("acme.de", "acme"),
        ("shop.acme.com", "acme"),
        ("gmail.com", None),
        ("abc.com", None),
        (None, None),
    ],
)
def test_the_root_of_a_domain_stands_for_its_owner(domain: str | None, expected: str | None) -> None:
    assert root(domain) == expected


def test_the_order_of_a_persons_names_says_nothing() -> None:
    assert person_name("Müller, Jan") == person_name("Jan Mueller")


def test_a_typing_error_in_one_city_is_suggested() -> None:
    found = companies(
        company("a", "1", "Nordwind Logistik", city="Köln"),
        company("b", "2", "Nordwnd Logistik", city="Koln"),
    )
    assert pairs(found) == {frozenset({"a1", "b2"})}
    assert "same city" in found.pairs[0].evidence


def test_the_same_name_under_another_ending_of_its_domain_is_suggested() -> None:
    found = companies(
        company("a", "1", "Acme Tools Inc", domain="acmetools.com"),
        company("b", "2", "Acme Tools Ltd", domain="acmetools.co.uk"),
    )
    assert pairs(found) == {frozenset({"a1", "b2"})}


def test_branches_in_two_cities_with_domains_of_their_own_are_not_suggested() -> None:
    found = companies(
        company("a", "1", "Hotel Post", domain="post-bonn.de", city="Bonn"),
        company("b", "2", "Hotel Post", domain="posthotel-rom.it", city="Rom"),
    )
    assert found.pairs == []


def test_companies_that_differ_in_one_word_are_not_suggested() -> None:
    found = companies(
        company("a", "1", "Nordwind Foods", city="Bonn"), company("b", "2", "Nordwind Hotels", city="Bonn")
    )
    assert found.pairs == []


def test_two_tax_ids_are_two_companies() -> None:
    found = companies(
        company("a", "1", "Acme Tools", city="Bonn", tax_id="DE111111"),
        company("b", "2", "Acme Tool", city="Bonn", tax_id="DE222222"),
    )
    assert found.pairs == []


def test_linked_records_are_not_suggested() -> None:
    found = companies(
        company("a", "1", "Acme Tools", domain="acme.com", city="Bonn"),
        company("b", "2", "Acme Tools", domain="acme.com", city="Bonn"),
        company("b", "3", "Acme Tool", city="Bonn"),
    )
    assert found.pairs == []


def test_what_a_person_told_apart_is_not_suggested_again() -> None:
    one, other = company("a", "1", "Acme Tools", city="Bonn"), company("b", "2", "Acme Tols", city="Bonn")
    decided = Decided(apart=frozenset({frozenset({one.ref, other.ref})}))
    assert companies(one, other).pairs
    assert companies(one, other, decided=decided).pairs == []


def test_a_record_of_a_third_crm_is_suggested_to_a_linked_pair() -> None:
    found = companies(
        company("a", "1", "Acme Tools", domain="acme.com", city="Bonn"),
        company("b", "2", "Acme Tools", domain="acme.com", city="Bonn"),
        company("c", "3", "Acme Tool", city="Bonn"),
    )
    assert {"c3"} < set().union(*pairs(found))


def test_several_candidates_are_all_named() -> None:
    found = companies(
        company("a", "1", "Acme Tools", city="Bonn"),
        company("b", "2", "Acme Tols", city="Bonn"),
        company("b", "3", "Acme Toolz", city="Bonn"),
    )
    assert pairs(found) == {frozenset({"a1", "b2"}), frozenset({"a1", "b3"})}


def test_a_block_of_too_many_is_passed_over_and_counted() -> None:
    crowd = [company("ab"[at % 2], str(at), f"Acme {at}", domain="wordpress.com") for at in range(BLOCK + 2)]
    found = companies(*crowd)
    assert (found.pairs, found.skipped) == ([], 1)


def test_people_of_one_company_with_one_name_are_suggested() -> None:
    found = contacts(
        contact("a", "1", "Jan Müller", company="x"), contact("b", "2", "MUELLER Jan", company="x")
    )
    assert pairs(found) == {frozenset({"a1", "b2"})}


def test_namesakes_at_two_companies_are_not_suggested() -> None:
    found = contacts(
        contact("a", "1", "Jan Müller", company="x", emails=("jan.mueller@x.de",)),
        contact("b", "2", "Jan Müller", company="y", emails=("jan.mueller@y.de",)),
    )
    assert found.pairs == []


@pytest.mark.parametrize(
    "other",
    [
        {"amount": Decimal("1250.00"), "expected_close": date(2027, 1, 10), "name": "Renewal"},
        {"amount": None, "expected_close": date(2026, 12, 31), "name": "renewal 2027 (Acme)"},
        {"expected_close": date(2027, 1, 20), "name": "Something else"},
        {"amount": Decimal("1300"), "expected_close": date(2026, 12, 29), "name": "Renewal '27"},
    ],
    ids=["amount and date differ a little", "no amount", "another name", "rounded amount"],
)
def test_deals_of_one_company_that_agree_in_most_are_suggested(other: dict[str, Any]) -> None:
    found = deals(deal("a", "1", amount=Decimal("1234.50")), deal("b", "2", **other))
    assert pairs(found) == {frozenset({"a1", "b2"})}


@pytest.mark.parametrize(
    "other",
    [
        {"name": "Renewal 2026", "expected_close": date(2025, 12, 31)},
        {"amount": Decimal(9000), "name": "Pilot", "expected_close": date(2027, 3, 1)},
        {"currency": "USD"},
        {"company": "other"},
    ],
    ids=["last year's renewal", "another deal", "another currency", "another company"],
)
def test_other_deals_are_not(other: dict[str, Any]) -> None:
    assert deals(deal("a", "1"), deal("b", "2", **other)).pairs == []


def test_without_a_company_amount_and_name_must_both_be_the_same() -> None:
    same = deals(deal("a", "1", company=None), deal("b", "2", company=None))
    renamed = deals(deal("a", "1", company=None), deal("b", "2", company=None, name="Pilot"))
    repriced = deals(deal("a", "1", company=None), deal("b", "2", company=None, amount=Decimal(1235)))
    assert (len(same.pairs), renamed.pairs, repriced.pairs) == (1, [], [])


def test_open_questions_join_groups_for_what_belongs_to_them() -> None:
    one, other = company("a", "1", "Acme Tools", city="Bonn"), company("b", "2", "Acme Tols", city="Bonn")
    found = link_companies([one, other])
    maybe = maybe_same(found, suggest(Kind.COMPANY, [one, other], Decided(), found))
    assert maybe[one.ref] == maybe[other.ref]
