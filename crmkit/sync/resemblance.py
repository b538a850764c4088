"""How much two records resemble each other, and which records are worth comparing.

Of each kind: the keys under which records are compared, and a score from 0 to 100 with the
evidence in words. Each score needs two independent things that speak for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from functools import lru_cache

from rapidfuzz import fuzz

from crmkit.mapping import identity
from crmkit.sync.alike import NEAR_AMOUNT, NEAR_DAYS, RENEWAL_DAYS, title, title_score
from crmkit.sync.linkable import LinkableCompany, LinkableContact, LinkableDeal
from crmkit.sync.spelling import core_name, person_name, root

_LIKELY_AMOUNT = Decimal("0.11")
_LIKELY_DAYS = 30
_PRECISE_DIGITS = 4
_CREATED_DAYS = 2
_MAILBOXES = frozenset("info office sales contact mail admin hello support team kontakt".split())

# Companies


@lru_cache(maxsize=65536)
def _city(text: str | None) -> str:
    return core_name(text or "")


def company_keys(company: LinkableCompany) -> Iterator[str]:
    """Under what a company is compared with others."""
    name = core_name(company.name)
    if name:
        letters = name.replace(" ", "")
        yield f"n {' '.join(sorted(name.split()))}"
        city = _city(company.city)
        if city and len(letters) >= 4:
            # One typing error leaves the beginning or the end as it was.
            yield f"b {letters[:5]} {city}"
            yield f"e {letters[-5:]} {city}"
    domain = root(company.domain)
    if domain:
        yield f"d {domain}"
    for phone in company.phones:
        number = identity.phone(phone)
        if number:
            yield f"p {number}"


def score_companies(one: LinkableCompany, other: LinkableCompany) -> tuple[float, str]:
    """How likely two companies are one, 0 to 100, and why."""
    if not _same_or_unknown(identity.tax_id(one.tax_id), identity.tax_id(other.tax_id)):
        return 0.0, ""
    left, right = core_name(one.name), core_name(other.name)
    names = _name_score(left, right)
    roots = _agreement(root(one.domain), root(other.domain))
    cities = _agreement(_city(one.city) or None, _city(other.city) or None)
    lefts, rights = _phones(one.phones), _phones(other.phones)
    phones = bool(lefts & rights)
    if names < 60 or (names < 85 and roots != 1 and not phones):
        return 0.0, ""
    score = 0.55 * names + 28 * roots + 18 * cities + (18 if phones else 0)
    if lefts and rights and not phones and names < 100:
        score -= 15
    if names < 100 and not (roots == 1 or cities == 1 or phones):
        return 0.0, ""
    # A name alone: nothing speaks against it, and it is not one of a few letters.
    if names == 100 and roots == cities == 0 and not phones:
        score = 65.0 if len(left) >= 8 and " " in left else 0.0
    said = [f"names {names:.0f} % alike"]
    said += ["same domain name"] if roots == 1 else ["other domain"] if roots == -1 else []
    said += ["same city"] if cities == 1 else ["other city"] if cities == -1 else []
    said += ["same phone"] if phones else []
    return min(score, 99.0), ", ".join(said)


def _name_score(one: str, other: str) -> float:
    """How alike two names are, 0 to 100: each word must have a counterpart."""
    if not one or not other:
        return 0.0
    if one == other:
        return 100.0
    lefts, rights = one.split(), other.split()
    if len(lefts) == len(rights):
        # Companies of one trade or family share most letters and differ in a word.
        words = [max(fuzz.ratio(left, right) for right in rights) for left in lefts]
        if min(words) < 75:
            return min(*words, 70.0)
    joined = fuzz.ratio(one.replace(" ", ""), other.replace(" ", ""))
    return float(min(max(joined, fuzz.token_sort_ratio(one, other)), 99.0))


def _agreement(one: str | None, other: str | None) -> int:
    """1 the same, -1 different, 0 not known on one side."""
    if not one or not other:
        return 0
    return 1 if one == other else -1


def _same_or_unknown(one: str | None, other: str | None) -> bool:
    return _agreement(one, other) >= 0


def _phones(phones: Iterable[str]) -> set[str]:
    return {number for number in map(identity.phone, phones) if number}


# People


def contact_keys(contact: LinkableContact) -> Iterator[str]:
    """Under what a person is compared with others."""
    name = person_name(contact.name)
    if not name:
        return
    if contact.company:
        yield f"c {contact.company}"
        yield f"n {name} {contact.company}"
    for phone in _phones(contact.phones):
        yield f"p {phone}"


def score_contacts(one: LinkableContact, other: LinkableContact) -> tuple[float, str]:
    """How likely two people are one, 0 to 100, and why."""
    left, right = person_name(one.name), person_name(other.name)
    names = _name_score(left, right)
    if names < 85 or " " not in left or " " not in right:
        return 0.0, ""
    company = _agreement(one.company, other.company)
    phones = bool(_phones(one.phones) & _phones(other.phones))
    # An address is mostly made of the name: alone it says nothing new.
    if not (company == 1 or phones):
        return 0.0, ""
    mailboxes = bool(_locals(one.emails) & _locals(other.emails))
    score = 0.55 * names + (25 if company == 1 else -10 if company == -1 else 0)
    score += (20 if phones else 0) + (15 if mailboxes else 0)
    if one.emails and other.emails and not mailboxes:
        score -= 15
    said = [f"names {names:.0f} % alike"]
    said += ["same company"] if company == 1 else ["other company"] if company == -1 else []
    said += ["same phone"] if phones else []
    said += ["same name before the @"] if mailboxes else []
    return min(score, 99.0), ", ".join(said)


def _locals(emails: Iterable[str]) -> set[str]:
    """What stands before the @, unless it is a mailbox that everybody has."""
    found = {mail.split("@")[0] for mail in map(identity.email, emails) if mail}
    return {local for local in found if len(local) >= 4 and local not in _MAILBOXES}


# Deals


def deal_keys(deal: LinkableDeal) -> Iterator[str]:
    """Under what a deal is compared with others."""
    currency = deal.currency or ""
    if deal.company is not None:
        yield f"c {deal.company} {currency}"
        if deal.amount:
            # Where a company has very many deals, only those of one amount or month are compared.
            yield f"a {deal.company} {currency} {deal.amount.normalize():f}"
        if deal.expected_close is not None:
            yield f"m {deal.company} {currency} {deal.expected_close:%Y-%m}"
    if deal.amount:
        yield f"x {currency} {deal.amount.normalize():f}"


def score_deals(one: LinkableDeal, other: LinkableDeal) -> tuple[float, str]:
    """How likely two deals are one, 0 to 100, and why."""
    if one.currency and other.currency and one.currency != other.currency:
        return 0.0, ""
    names = title_score(title(one), title(other))
    if one.company is None or other.company is None:
        alike = one.amount == other.amount and one.amount and _full_names(one, other) >= 92
        return (80.0, "no common company, but same amount and name") if alike else (0.0, "")
    if one.company != other.company:
        return 0.0, ""
    amounts, amount_said = _amount_score(one.amount, other.amount)
    days, day_said = _day_score(one.expected_close, other.expected_close)
    score = 40 * names / 100 + 32 * amounts + 28 * days
    said = ["same company", f"names {max(names, 0):.0f} % alike", amount_said, day_said]
    if one.created and other.created and abs((one.created - other.created).days) <= _CREATED_DAYS:
        score += 20
        said.append("created at the same time")
    return min(score, 99.0), ", ".join(filter(None, said))


def _full_names(one: LinkableDeal, other: LinkableDeal) -> float:
    left, right = (" ".join(identity.words(deal.name)) for deal in (one, other))
    return float(fuzz.token_sort_ratio(left, right)) if len(left) >= 8 else 0.0


def _amount_score(one: Decimal | None, other: Decimal | None) -> tuple[float, str]:
    if one is None and other is None:
        return 0.7, "no amounts"
    if one is None or other is None:
        return 0.25, ""
    if one == other:
        if not one:
            return 0.7, "both zero"
        # Round amounts meet by chance, those to the cent do not.
        precise = len(one.normalize().as_tuple().digits) >= _PRECISE_DIGITS
        return (1.8 if precise else 1.2), "same amount"
    apart = abs(one - other) / max(abs(one), abs(other))
    if apart <= NEAR_AMOUNT:
        return 1.0, f"amounts {apart:.1%} apart"
    if apart <= _LIKELY_AMOUNT:
        return 0.7, f"amounts {apart:.0%} apart"
    return (0.0, f"amounts {apart:.0%} apart")


def _day_score(one: date | None, other: date | None) -> tuple[float, str]:
    if one is None and other is None:
        return 0.5, ""
    if one is None or other is None:
        return 0.25, ""
    days = abs((one - other).days)
    if days <= NEAR_DAYS:
        return 1.2, "same close date" if days == 0 else f"close dates {days} days apart"
    if days <= _LIKELY_DAYS:
        return 0.7, f"close dates {days} days apart"
    return 0.0 if days <= RENEWAL_DAYS else -0.5, f"close dates {days} days apart"
