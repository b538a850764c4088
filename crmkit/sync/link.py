"""Which records of different CRMs are the same one, by a ladder of exact keys for each kind."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence

from rapidfuzz import fuzz

from crmkit.mapping import identity
from crmkit.sync.alike import NAMED, at_company, climb_named
from crmkit.sync.ladder import (
    NOTHING_DECIDED,
    Ambiguity,
    Decided,
    Keys,
    Ladder,
    Links,
    Rung,
    climb_stored_keys,
    some,
)
from crmkit.sync.linkable import LinkableCompany, LinkableContact, LinkableDeal

__all__ = [
    "Ambiguity",
    "Decided",
    "LinkableCompany",
    "LinkableContact",
    "LinkableDeal",
    "Links",
    "link_companies",
    "link_contacts",
    "link_deals",
]

SAME_PHONE_NAME_SCORE = 60.0
# A bare host, or a web address of one: what stands in its group is `identity.domain` of it.
_PLAIN_DOMAIN = re.compile(r"(?:[a-z]+://)?(?:www\.)?((?!www\.)[a-z0-9.-]*\.[a-z0-9-]+)(?:/[^@]*)?")
_NOT_DIGITS = bytes({*range(128)} - {*b"0123456789"})


def link_companies(companies: Sequence[LinkableCompany], decided: Decided = NOTHING_DECIDED) -> Links:
    """The same company in different CRMs: stored key, domain, tax id, phone, name and city."""
    ladder = Ladder(companies, decided)
    climb_stored_keys(ladder)
    ladder.climb(Rung("domain", _domain, _tax_ids_agree, wears_out=True, elsewhere=_in_two_cities))
    ladder.climb(Rung("tax id", _tax_id))
    ladder.climb(Rung("phone", _company_phones, _phone_agrees, identifies=False, wears_out=True))
    ladder.climb(Rung("name and city", _names_and_cities(), _domains_agree))
    return ladder.finish()


def link_contacts(contacts: Sequence[LinkableContact], decided: Decided = NOTHING_DECIDED) -> Links:
    """The same person in different CRMs: stored key, e-mail, phone and name."""
    ladder = Ladder(contacts, decided)
    climb_stored_keys(ladder)
    ladder.climb(Rung("e-mail", lambda contact: filter(None, map(identity.email, contact.emails))))
    ladder.climb(Rung("phone and name", _phones_and_name))
    return ladder.finish()


def link_deals(deals: Sequence[LinkableDeal], decided: Decided = NOTHING_DECIDED) -> Links:
    """The same deal in different CRMs.

    Stored key first; then deals of the same linked company in the same currency: by
    amount and close date; then, only where the names are alike too, by amount, by close
    date, and by an amount and a close date that differ a little.
    """
    ladder = Ladder(deals, decided)
    climb_stored_keys(ladder)
    ladder.climb(
        Rung(
            "company, amount and close date",
            lambda deal: some(at_company(deal, deal.amount, deal.expected_close)),
            identifies=False,
        )
    )
    for named in NAMED:
        climb_named(ladder, named)
    return ladder.finish()


def _domain(company: LinkableCompany) -> Iterable[Hashable]:
    host = _own_domain(company.domain) if company.domain else None
    return (host,) if host else ()


def _own_domain(text: str | None) -> str | None:
    """As `identity.domain`, and quicker where it is plain, as most are."""
    plain = _PLAIN_DOMAIN.fullmatch(text) if text else None
    if plain is None:
        return identity.domain(text)
    host = plain[1]
    return None if host in identity.FREE_MAIL else host


def _tax_id(company: LinkableCompany) -> Iterable[Hashable]:
    return some(identity.tax_id(company.tax_id)) if company.tax_id else ()


def _company_phones(company: LinkableCompany) -> Iterable[Hashable]:
    return [key for key in map(_phone, company.phones) if key] if company.phones else ()


def _phone(text: str) -> bytes | None:
    """As `identity.phone`, in bytes: the digits of an ASCII text are found quickest there."""
    if text.isascii():
        digits = text.encode().translate(None, _NOT_DIGITS)
        return digits[-9:] if len(digits) >= 7 else None
    number = identity.phone(text)
    return number.encode() if number else None


def _phones_and_name(contact: LinkableContact) -> Iterable[Hashable]:
    if not contact.name or not contact.phones:
        return ()
    name = " ".join(identity.words(contact.name))
    return [(name, number) for number in filter(None, map(identity.phone, contact.phones))]


def _names_and_cities() -> Keys[LinkableCompany]:
    cities: dict[str, str] = {}

    def keys(company: LinkableCompany) -> Iterable[Hashable]:
        if not company.city or not company.name:
            return ()
        city = cities.get(company.city)
        if city is None:
            city = cities[company.city] = " ".join(identity.words(company.city))
        name = identity.company_name(company.name) if city else None
        return (f"{name}\n{city}",) if name else ()

    return keys


def _tax_ids_agree(one: LinkableCompany, other: LinkableCompany) -> bool:
    """Two tax ids are two legal persons, whatever domain their group uses."""
    if one.tax_id is None or other.tax_id is None:
        return True
    left, right = identity.tax_id(one.tax_id), identity.tax_id(other.tax_id)
    return left is None or right is None or left == right


def _domains_agree(one: LinkableCompany, other: LinkableCompany) -> bool:
    left, right = _own_domain(one.domain), _own_domain(other.domain)
    return (left is None or right is None or left == right) and _tax_ids_agree(one, other)


def _phone_agrees(one: LinkableCompany, other: LinkableCompany) -> bool:
    """Companies in one house share a switchboard: what else is known must not speak against it."""
    if not _domains_agree(one, other):
        return False
    left, right = identity.company_name(one.name), identity.company_name(other.name)
    return not left or not right or fuzz.token_set_ratio(left, right) >= SAME_PHONE_NAME_SCORE


def _in_two_cities(one: LinkableCompany, other: LinkableCompany) -> bool:
    """Branches of a chain share its domain."""
    left, right = identity.words(one.city or ""), identity.words(other.city or "")
    return bool(left and right) and left != right
