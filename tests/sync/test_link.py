"""Links come from exact keys that are unique on both sides; everything else is a finding."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crmkit.model import Kind, Ref
from crmkit.sync.ladder import WORN_OUT
from crmkit.sync.link import (
    Decided,
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


def waiting(links: Links) -> set[str]:
    return {f"{ref.connection}{ref.id}" for one in links.ambiguous for ref in one.waiting}


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


def test_who_may_be_one_of_several_waits_with_them() -> None:
    links = link_deals([deal("a", "1"), deal("a", "2"), deal("b", "3")])
    assert waiting(links) == {"a1", "a2", "b3"}
    assert {tuple(sorted(ref.id for ref in pair)) for one in links.ambiguous for pair in one.pairs} == {
        ("1", "3"),
        ("2", "3"),
    }


def test_a_duplicate_of_a_linked_company_waits_alone() -> None:
    links = link_companies(
        [
            company("a", "1", "Acme", domain="acme.com", city="Bonn"),
            company("a", "2", "Acme Shop", domain="acme.com", city="Bonn"),
            company("b", "3", "Acme", domain="acme.com", city="Bonn"),
        ]
    )
    assert waiting(links) == {"a2"}


def test_a_second_deal_like_a_linked_one_does_not_wait() -> None:
    links = link_deals([deal("a", "1", key="k"), deal("a", "2"), deal("b", "3", key="k")])
    assert groups(links) == {frozenset({"a1", "b3"})}
    assert waiting(links) == set()


def test_another_branch_of_a_linked_chain_does_not_wait() -> None:
    links = link_companies(
        [
            company("a", "1", "Cafe Uno", domain="uno.com", city="Bonn"),
            company("a", "2", "Cafe Uno", domain="uno.com", city="Rom"),
            company("b", "3", "Cafe Uno", domain="uno.com", city="Bonn"),
        ]
    )
    assert (groups(links), waiting(links)) == ({frozenset({"a1", "b3"})}, set())


def test_companies_that_share_a_switchboard_are_not_one() -> None:
    links = link_companies(
        [
            company("a", "1", "Acme Tools", phones=("022112345678",)),
            company("b", "2", "Bolt", phones=("022112345678",)),
        ]
    )
    assert (links.group_of, links.ambiguous) == ({}, [])


def test_two_domains_speak_against_a_shared_phone() -> None:
    links = link_companies(
        [
            company("a", "1", "Acme", domain="acme.com", phones=("022112345678",)),
            company("b", "2", "Acme", domain="acme.org", phones=("022112345678",)),
        ]
    )
    assert links.group_of == {}


def test_two_tax_ids_speak_against_a_shared_domain() -> None:
    links = link_companies(
        [
            company("a", "1", domain="acme.com", tax_id="DE111111"),
            company("b", "2", domain="acme.com", tax_id="DE222222"),
        ]
    )
    assert links.group_of == {}


def test_a_domain_of_very_many_companies_is_left_aside_and_counted() -> None:
    crowd = [company("a", str(at), domain="facebook.com") for at in range(WORN_OUT + 1)]
    links = link_companies([*crowd, company("b", "x", domain="facebook.com")])
    assert (links.group_of, links.ambiguous, links.worn_out) == ({}, [], {"domain": 1})


def test_a_persons_word_links_what_no_key_does() -> None:
    one, other = company("a", "1", "Acme"), company("b", "2", "Zeta")
    links = link_companies([one, other], Decided(together=[(one.ref, other.ref)]))
    assert (groups(links), set(links.evidence.values())) == ({frozenset({"a1", "b2"})}, {"decided"})


def test_who_was_told_apart_is_not_linked_by_any_key() -> None:
    one, other = company("a", "1", domain="acme.com"), company("b", "2", domain="acme.com")
    links = link_companies([one, other], Decided(apart=frozenset({frozenset({one.ref, other.ref})})))
    assert (links.group_of, links.ambiguous) == ({}, [])


def test_telling_one_of_two_apart_leaves_the_other_to_its_key() -> None:
    records = [
        company(side, side + str(at), domain="acme.com") for side, at in (("a", 1), ("a", 2), ("b", 3))
    ]
    links = link_companies(records, Decided(apart=frozenset({frozenset({records[1].ref, records[2].ref})})))
    assert (groups(links), waiting(links)) == ({frozenset({"aa1", "bb3"})}, set())


def test_telling_apart_holds_for_everything_linked_to_the_two() -> None:
    one, other, third = (company(side, side, domain=f"{side}.com") for side in "abc")
    links = link_companies(
        [one, other, LinkableCompany(third.ref, "", domain="b.com")],
        Decided(together=[(one.ref, other.ref)], apart=frozenset({frozenset({one.ref, third.ref})})),
    )
    assert groups(links) == {frozenset({"aa", "bb"})}


def test_deals_that_differ_a_little_in_amount_and_date_link_by_their_name() -> None:
    one = deal("a", "1", name="Acme GmbH – Renewal 2027", company_name="Acme GmbH")
    moved = {"amount": Decimal(1010), "expected_close": date(2027, 1, 2)}
    assert groups(link_deals([one, deal("b", "2", name="Renewal 2027 (ACME)", company_name="ACME", **moved)]))
    assert not groups(
        link_deals([one, deal("b", "2", name="Pilot 2027 (ACME)", company_name="ACME", **moved)])
    )


def test_last_years_renewal_is_not_this_years() -> None:
    links = link_deals(
        [
            deal("a", "1", name="Renewal 2026", expected_close=date(2025, 12, 31)),
            deal("b", "2", name="Renewal 2027"),
        ]
    )
    assert links.group_of == {}


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


pairs_apart = st.lists(
    st.tuples(st.sampled_from(range(9)), st.sampled_from(range(9))).filter(lambda pair: pair[0] != pair[1]),
    max_size=4,
)


@given(records, pairs_apart)
def test_a_group_never_holds_what_was_told_apart(
    companies: list[LinkableCompany], told: list[tuple[int, int]]
) -> None:
    apart = frozenset(
        frozenset((companies[one].ref, companies[other].ref))
        for one, other in told
        if max(one, other) < len(companies)
    )
    for refs in link_companies(companies, Decided(apart=apart)).members().values():
        assert not any(pair <= set(refs) for pair in apart)


@given(records)
def test_who_waits_could_be_linked_or_is_a_duplicate(companies: list[LinkableCompany]) -> None:
    links = link_companies(companies)
    for one in links.ambiguous:
        assert set(one.refs) <= set(one.waiting)
        for left, right in one.pairs:
            assert left.connection != right.connection
            assert links.group_of.get(left, left) != links.group_of.get(right, right)
