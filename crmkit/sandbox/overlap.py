"""Who and what really exists, and which CRMs know of it.

The same company, person or deal may be known to several CRMs; each writes it its
own way. This module draws up the truth, `seed` writes it into the worlds.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crmkit.sandbox.names import (
    FIRST,
    FORMS,
    HEADS,
    LAST,
    PLACES,
    PRODUCTS,
    STREETS,
    TAILS,
    TOPLEVEL,
    TRADES,
    pick,
    slug,
)
from crmkit.sandbox.vendor import VendorSeed

SHARED_COMPANIES = 0.6
SHARED_DEALS = 0.35
SHARED_USERS = 8
_DAY = 86_400_000_000  # microseconds
_AMOUNTS = [int(random.Random(step).lognormvariate(9, 1.2)) for step in range(2_000)]


@dataclass(slots=True)
class TruePerson:
    """Somebody who works for a company; `members` are the CRMs that know the person."""

    first: str
    last: str
    email: str | None
    number: int
    members: Sequence[str]


@dataclass(slots=True)
class TrueCompany:
    """A company; without `domain` it is told by its phone, or by name and city."""

    stem: str
    form: int
    domain: str | None
    number: int | None
    place: int
    street: str
    members: Sequence[str]
    people: list[TruePerson] = field(default_factory=list)


@dataclass(slots=True)
class TrueDeal:
    """A deal; times in microseconds since 1970, amount in minor units of a currency with two of them."""

    company: TrueCompany | None
    members: Sequence[str]
    product: str
    amount: int | None
    currency: str
    created: int
    close_days: int | None
    progress: float
    outcome: str
    owner: int
    key: str | None = None


@dataclass(slots=True)
class Truth:
    """Everything there is, in the order in which it was thought of."""

    companies: list[TrueCompany]
    deals: list[TrueDeal]


def draw_truth(crms: Mapping[str, VendorSeed], deals: Mapping[str, int], seed: int, now: int) -> Truth:
    """Draw up companies, people and deals so that each CRM knows as many as it shall hold.

    About 60 % of a CRM's companies and 35 % of its deals are known to another one, if there is another one. A
    CRM knows `deals` deals and, to be deleted or merged away later, `gone_deals` more.
    """
    rng = random.Random(f"{seed}-truth")
    stems: set[str] = set()
    companies = [_company(rng, stems, members) for members in _company_members(rng, deals)]
    for company in companies:
        _hire(rng, company)
    return Truth(companies, _deals(rng, crms, deals, companies, now))


def gone_deals(deals: int) -> int:
    """How many deals are deleted or merged away for as many live ones."""
    return max(3, deals // 75)


def _company_members(rng: random.Random, deals: Mapping[str, int]) -> list[list[str]]:
    wanted = {crm: max(count // 4, 1) for crm, count in deals.items()}
    open_places = {crm: round(count * SHARED_COMPANIES) for crm, count in wanted.items()}
    members = []
    while len(ready := [crm for crm, places in open_places.items() if places]) > 1:
        ready.sort(key=lambda crm: open_places[crm] * (0.5 + rng.random()), reverse=True)
        draw = rng.random()
        size = 2 if draw < 0.75 else 3 if draw < 0.95 else len(ready)
        members.append(ready[:size])
        for crm in members[-1]:
            open_places[crm] -= 1
            wanted[crm] -= 1
    members += [[crm] for crm, count in wanted.items() for _ in range(count)]
    rng.shuffle(members)
    return members


def _company(rng: random.Random, stems: set[str], members: Sequence[str]) -> TrueCompany:
    while (stem := f"{pick(rng, HEADS)}{pick(rng, TAILS)} {pick(rng, TRADES)}") in stems:
        pass
    stems.add(stem)
    if len(stems) > len(HEADS) * len(TAILS) * len(TRADES) * 0.9:
        stems.clear()  # beyond some 40,000 companies names repeat, as they do in life
    draw = rng.random()
    return TrueCompany(
        stem=stem,
        form=int(rng.random() * len(FORMS)),
        domain=f"{slug(stem)}.{pick(rng, TOPLEVEL)}" if draw < 0.8 else None,
        number=int(rng.random() * 9_000_000) + 1_000_000 if rng.random() < 0.8 or draw >= 0.9 else None,
        place=int(rng.random() * len(PLACES)),
        street=f"{pick(rng, STREETS)} {int(rng.random() * 200) + 1}",
        members=members,
    )


def _hire(rng: random.Random, company: TrueCompany) -> None:
    for _ in range((0, 1, 1, 1, 2, 3)[int(rng.random() * 6)]):
        first, last = pick(rng, FIRST), pick(rng, LAST)
        host = company.domain or f"{slug(company.stem)}-mail.example"
        email = (
            f"{slug(first)}.{slug(last)}{len(company.people) or ''}@{host}" if rng.random() < 0.95 else None
        )
        known = company.members if rng.random() < 0.85 else company.members[:1]
        company.people.append(TruePerson(first, last, email, int(rng.random() * 10**7), known))


def _deals(
    rng: random.Random,
    crms: Mapping[str, VendorSeed],
    counts: Mapping[str, int],
    companies: Sequence[TrueCompany],
    now: int,
) -> list[TrueDeal]:
    shared_places = {crm: round(count * SHARED_DEALS) for crm, count in counts.items()}
    left = {crm: count + gone_deals(count) for crm, count in counts.items()}
    currencies = {crm: list(seed.currencies) for crm, seed in crms.items()}
    known_to_several = [company for company in companies if len(company.members) > 1]
    deals: list[TrueDeal] = []
    placed = True
    while placed:
        placed = False
        for company in known_to_several:
            ready = [crm for crm in company.members if shared_places[crm] > 0]
            common = (
                [code for code in currencies[ready[0]] if all(code in currencies[crm] for crm in ready)]
                if len(ready) > 1
                else []
            )
            if not common:
                continue
            placed = True
            deals.append(_deal(rng, company, ready, pick(rng, common), now))
            if rng.random() < 0.15:
                deals[-1].key = f"ck-{len(deals):07}"
            for crm in ready:
                shared_places[crm] -= 1
                left[crm] -= 1
    by_crm: dict[str, list[TrueCompany]] = {crm: [] for crm in counts}
    for company in companies:
        for crm in company.members:
            by_crm[crm].append(company)
    for crm, count in left.items():
        need_company = crms[crm].deals_need_company
        for _ in range(count):
            at = by_crm[crm][int(rng.random() * len(by_crm[crm]))]
            linked = at if need_company or rng.random() < 0.92 else None
            deals.append(_deal(rng, linked, [crm], pick(rng, currencies[crm]), now))
    return deals


def _deal(
    rng: random.Random, company: TrueCompany | None, members: Sequence[str], currency: str, now: int
) -> TrueDeal:
    age_days = 1095 * rng.random() ** 1.4
    draw = rng.random()
    if age_days > 150:
        # Deals that old are decided, but for the few that everybody has forgotten.
        outcome = "won" if draw < 0.47 else "lost" if draw < 0.92 else "open"
    else:
        outcome = "won" if draw < 0.1 else "lost" if draw < 0.2 else "open"
    amount: int | None = _AMOUNTS[int(rng.random() * len(_AMOUNTS))] * 100
    draw = rng.random()
    if draw < 0.05:
        amount = None
    elif draw < 0.07:
        amount = 0
    elif draw < 0.08:
        amount = -(amount or 0)
    elif draw < 0.4:
        amount = (amount or 0) + int(rng.random() * 100)
    close: int | None = int(20 + rng.random() * 160)
    if outcome == "open" and rng.random() < 0.85:
        close = int(age_days - 12 + rng.random() * 160)  # somebody keeps the date up to date
    if rng.random() > 0.93:
        close = None
    return TrueDeal(
        company=company,
        members=members,
        product=pick(rng, PRODUCTS),
        amount=amount,
        currency=currency,
        created=now - int((age_days + 0.05) * _DAY),
        close_days=close,
        progress=rng.random(),
        outcome=outcome,
        owner=int(rng.random() * SHARED_USERS),
    )
