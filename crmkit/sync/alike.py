"""Deals of one company that are alike: what their names say beyond the company, and how far the rest fits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations

from rapidfuzz import fuzz

from crmkit.mapping import identity
from crmkit.sync.ladder import Ladder, Rung, some
from crmkit.sync.linkable import LinkableDeal

NAME_SCORE = 85.0
NEAR_NAME_SCORE = 90.0
NEAR_AMOUNT = Decimal("0.02")
NEAR_DAYS = 3
# Deals of one name and amount that close further apart than this are last year's and this year's.
RENEWAL_DAYS = 200
# Deals of one company that share an amount or a date are compared name by name, up to so many.
_COMPARED = 400


def title(deal: LinkableDeal) -> str:
    """What a deal is about: the words of its name without those of its company's name."""
    every = identity.words(deal.name)
    company = {*identity.words(deal.company_name)} if deal.company_name else set()
    return " ".join([word for word in every if word not in company] or every)


def title_score(one: str, other: str) -> float:
    """How alike two titles are, 0 to 100; those of two years are not, one may leave the year out."""
    if not one or not other:
        return 0.0
    years, others = _years(one), _years(other)
    score = fuzz.token_sort_ratio(one, other)
    if not years or not others:
        # One of them leaves the year out.
        score = max(score, fuzz.ratio(_without(one, years), _without(other, others)) - 5)
    elif not years & others and fuzz.ratio(_without(one, years), _without(other, others)) >= NAME_SCORE:
        # Last year's renewal is not this year's.
        return -50.0
    return float(score) if score >= 60 else 0.0


def _years(text: str) -> set[str]:
    """The years that a title names, by their last two digits."""
    return {
        word[-2:]
        for word in text.split()
        if word.isdigit() and (len(word) == 2 or (len(word) == 4 and word[:2] in ("19", "20")))
    }


def _without(text: str, years: set[str]) -> str:
    return " ".join(word for word in text.split() if not (word.isdigit() and word[-2:] in years))


def at_company(deal: LinkableDeal, *values: Hashable | None) -> Hashable | None:
    """A key of a deal at a linked company; `None` if a part of it is not known."""
    if deal.company is None or deal.currency is None or any(value is None for value in values):
        return None
    return (deal.company, deal.currency, *values)


def _at_company_only(deal: LinkableDeal) -> Hashable | None:
    return at_company(deal)


@dataclass(frozen=True, slots=True)
class Named:
    """A rung of deals that share a key and are alike.

    Attributes:
        name: What people know it by.
        key: What they share.
        agrees: Whether the rest fits: the titles, and what the key leaves open.
    """

    name: str
    key: Callable[[LinkableDeal], Hashable | None]
    agrees: Callable[[LinkableDeal, LinkableDeal, float], bool]


def _amounts_fit(one: LinkableDeal, other: LinkableDeal) -> bool:
    if one.amount is None or other.amount is None:
        return one.amount is other.amount
    return abs(one.amount - other.amount) <= NEAR_AMOUNT * max(abs(one.amount), abs(other.amount))


def _days_apart(one: LinkableDeal, other: LinkableDeal) -> int | None:
    if one.expected_close is None or other.expected_close is None:
        return None
    return abs((one.expected_close - other.expected_close).days)


def _same_amount_agrees(one: LinkableDeal, other: LinkableDeal, names: float) -> bool:
    days = _days_apart(one, other)
    return names >= NAME_SCORE and (days is None or days <= RENEWAL_DAYS)


def _nearly_agrees(one: LinkableDeal, other: LinkableDeal, names: float) -> bool:
    days = _days_apart(one, other)
    return names >= NEAR_NAME_SCORE and days is not None and days <= NEAR_DAYS and _amounts_fit(one, other)


NAMED = (
    Named("company, amount and name", lambda deal: at_company(deal, deal.amount), _same_amount_agrees),
    Named(
        "company, close date and name",
        lambda deal: at_company(deal, deal.expected_close),
        lambda one, other, names: names >= NAME_SCORE,
    ),
    Named("company, name, amount and date within bounds", _at_company_only, _nearly_agrees),
)


def climb_named(ladder: Ladder[LinkableDeal], named: Named) -> None:
    """Link pairs that share a key and are each other's only partner that is alike."""
    rung: Rung[LinkableDeal] = Rung(named.name, lambda deal: some(named.key(deal)), identifies=False)
    holders: dict[Hashable, list[int]] = defaultdict(list)
    for at, deal in enumerate(ladder.records):
        value = named.key(deal) if not ladder.is_everywhere(at) else None
        if value is not None:
            holders[value].append(at)
    for found in holders.values():
        if len(found) < 2:
            continue
        if len(found) > _COMPARED:
            ladder.wear_out(rung.name)
            continue
        titles = {at: title(ladder.records[at]) for at in found}
        partners: dict[int, list[int]] = defaultdict(list)
        for one, other in combinations(found, 2):
            if not ladder.may_unite(one, other):
                continue
            score = title_score(titles[one], titles[other])
            if named.agrees(ladder.records[one], ladder.records[other], score):
                partners[one].append(other)
                partners[other].append(one)
        for one, others in sorted(partners.items()):
            for other in others:
                if _only(ladder, partners, one, other) and _only(ladder, partners, other, one):
                    ladder.unite(rung.name, one, other)
            doubtful = [other for other in others if not _only(ladder, partners, one, other)]
            if doubtful:
                ladder.contest(rung, sorted({one, *doubtful}))


def _only(ladder: Ladder[LinkableDeal], partners: Mapping[int, Sequence[int]], one: int, other: int) -> bool:
    """Whether `other` is the only partner of `one` in its connection."""
    return sum(ladder.connection[at] == ladder.connection[other] for at in partners[one]) == 1
