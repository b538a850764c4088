"""What is won and due against the quotas: attainment, coverage and pace (metrics.md 11)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypedDict

from crmkit.model import LostKind
from crmkit.report.calendar import Span, quarter_of
from crmkit.report.facts import scale
from crmkit.report.facts.deals import LOST, OPEN, WON, live_at
from crmkit.report.facts.engine import Facts
from crmkit.report.inputs import Settings
from crmkit.report.metrics.coverage_figures import (
    Coverage,
    CoverageReport,
    OwnerCoverage,
    PeriodCoverage,
    TeamCoverage,
)
from crmkit.report.metrics.periods import current_period
from crmkit.report.metrics.quotas import owner_quota, team_quota, whole_quota
from crmkit.report.money import ZERO, add, multiply, subtract, total_of
from crmkit.report.ratios import Ratio, divide, share

QUARTERS = 4
"""The win rate behind the required coverage is that of so many quarters."""


def coverage(facts: Facts, settings: Settings) -> CoverageReport:
    """Coverage of everybody, each team and each owner, in the current and the next period."""
    current = current_period(settings)
    window = trailing_quarters(settings)
    scope = settings.scope
    return CoverageReport(
        window_start=window[0],
        window_end=window[1],
        partial_scope=bool(scope.pipelines or scope.connections),
        periods=tuple(
            _period(facts, settings, span, window)
            for span in (current, quarter_of(current.end, settings.fiscal_start_month))
        ),
    )


def trailing_quarters(settings: Settings) -> tuple[date, date]:
    """The days of the last four fiscal quarters that were over at `as_of`."""
    end = quarter_of(settings.as_of_date, settings.fiscal_start_month).start
    return end.replace(year=end.year - 1), end


@dataclass(slots=True)
class _Tally:
    """What is added up for one owner, and for everybody who includes them."""

    won_count: int = 0
    won: Decimal = ZERO
    due_count: int = 0
    due: Decimal = ZERO
    weighted: Decimal = ZERO
    unlikely_count: int = 0
    overdue_count: int = 0
    overdue: Decimal = ZERO
    rated_count: int = 0
    rated_won: Decimal = ZERO
    rated_lost: Decimal = ZERO

    def plus(self, other: _Tally) -> _Tally:
        return _Tally(
            won_count=self.won_count + other.won_count,
            won=add(self.won, other.won),
            due_count=self.due_count + other.due_count,
            due=add(self.due, other.due),
            weighted=add(self.weighted, other.weighted),
            unlikely_count=self.unlikely_count + other.unlikely_count,
            overdue_count=self.overdue_count + other.overdue_count,
            overdue=add(self.overdue, other.overdue),
            rated_count=self.rated_count + other.rated_count,
            rated_won=add(self.rated_won, other.rated_won),
            rated_lost=add(self.rated_lost, other.rated_lost),
        )


@dataclass(frozen=True, slots=True)
class _Person:
    """An owner, with everything that a quota may call them."""

    key: str | None
    name: str | None
    team: str | None
    words: tuple[str, ...] = ()


def _period(facts: Facts, settings: Settings, span: Span, window: tuple[date, date]) -> PeriodCoverage:
    tallies = _tallies(facts, settings, span, window)
    people = _people(facts, settings, tallies)
    days = (span.end - span.start).days
    elapsed = min(max((settings.as_of_date - span.start).days, 0), days)

    def figures(tally: _Tally, quota: Decimal | None) -> _Fields:
        return _figures(tally, quota, Decimal(elapsed), Decimal(days), settings.min_sample)

    quotas = {person: owner_quota(settings, span, *person.words) for person in people}
    teams: dict[str | None, list[_Person]] = defaultdict(list)
    for person in people:
        teams[person.team].append(person)
    for name in settings.teams:
        if _team_in_scope(settings, name):
            teams.setdefault(name, [])
    return PeriodCoverage(
        key=span.key,
        start=span.start,
        end=span.end,
        days=days,
        days_elapsed=elapsed,
        whole=Coverage(**figures(_sum_of(tallies.values()), _whole_quota(settings, span, quotas))),
        teams=tuple(
            TeamCoverage(
                **figures(
                    _sum_of(tallies.get((one.key, one.team), _Tally()) for one in teams[name]),
                    _team_quota(settings, span, name, [quotas[one] for one in teams[name]]),
                ),
                team=name,
            )
            for name in sorted(teams, key=lambda name: (name is None, name or ""))
        ),
        owners=tuple(
            OwnerCoverage(
                **figures(tallies.get((person.key, person.team), _Tally()), quotas[person]),
                owner_key=person.key,
                owner=person.name,
                team=person.team,
            )
            for person in people
        ),
    )


def _tallies(
    facts: Facts, settings: Settings, span: Span, window: tuple[date, date]
) -> dict[tuple[str | None, str | None], _Tally]:
    """By owner and team."""
    won = f"status = '{WON}' AND closed_day >= $p0 AND closed_day < $p1"
    due = f"status = '{OPEN}' AND close_day >= $p0 AND close_day < $p1 AND close_day >= $today"
    overdue = f"status = '{OPEN}' AND close_day < $today"
    rated = (
        f"(status = '{WON}' OR (status = '{LOST}' AND lost_kind <> '{LostKind.DUPLICATE.value}')) "
        "AND closed_day >= $w0 AND closed_day < $w1"
    )
    rows = facts.rows(
        f"""
        SELECT owner_key, team,
            count(*) FILTER (WHERE {won}) AS won_count, sum(value) FILTER (WHERE {won}) AS won,
            count(*) FILTER (WHERE {due}) AS due_count, sum(value) FILTER (WHERE {due}) AS due,
            sum(weighted) FILTER (WHERE {due}) AS weighted,
            count(*) FILTER (WHERE {due} AND share IS NULL) AS unlikely_count,
            count(*) FILTER (WHERE {overdue}) AS overdue_count,
            sum(value) FILTER (WHERE {overdue}) AS overdue,
            count(*) FILTER (WHERE {rated}) AS rated_count,
            sum(value) FILTER (WHERE {rated} AND status = '{WON}') AS rated_won,
            sum(value) FILTER (WHERE {rated} AND status = '{LOST}') AS rated_lost
        FROM {live_at(facts, settings)}
        WHERE status = '{OPEN}' OR closed_day >= $p0 OR closed_day >= $w0
        GROUP BY owner_key, team
        """,
        p0=scale.day_number(span.start),
        p1=scale.day_number(span.end),
        w0=scale.day_number(window[0]),
        w1=scale.day_number(window[1]),
        today=scale.day_number(settings.as_of_date),
    )
    return {(row["owner_key"], row["team"]): _tally(row) for row in rows}


def _tally(row: Mapping[str, Any]) -> _Tally:
    return _Tally(
        won_count=int(row["won_count"]),
        won=scale.money(row["won"]),
        due_count=int(row["due_count"]),
        due=scale.money(row["due"]),
        weighted=scale.weighted(row["weighted"]),
        unlikely_count=int(row["unlikely_count"]),
        overdue_count=int(row["overdue_count"]),
        overdue=scale.money(row["overdue"]),
        rated_count=int(row["rated_count"]),
        rated_won=scale.money(row["rated_won"]),
        rated_lost=scale.money(row["rated_lost"]),
    )


def _sum_of(tallies: Iterable[_Tally]) -> _Tally:
    total = _Tally()
    for one in tallies:
        total = total.plus(one)
    return total


def _people(
    facts: Facts, settings: Settings, tallies: Mapping[tuple[str | None, str | None], _Tally]
) -> list[_Person]:
    """Owners with money in the period or a quota, by name; deals without an owner come last."""
    listed: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in facts.rows(
        """
        SELECT owner_key, owner_name, owner_email, owner_id, team FROM owners
        ORDER BY connection NULLS LAST, owner_id NULLS LAST
        """
    ):
        listed[row["owner_key"]].append(row)
    wanted = {one.owner.strip().casefold() for one in settings.quotas if one.owner is not None}
    people = {pair: _person(*pair, listed.get(pair[0] or "", [])) for pair in tallies}
    seen = {key for key, _ in people}
    known: set[str] = set()
    for key, rows in listed.items():
        person = _person(key, rows[0]["team"], rows)
        known |= {word.strip().casefold() for word in person.words}
        has_quota = not wanted.isdisjoint(word.strip().casefold() for word in person.words)
        if key not in seen and has_quota and _owner_in_scope(settings, person, rows):
            people[key, person.team] = person
    # A quota of somebody whom no CRM knows counts, with nothing won.
    teams = {word.strip().casefold(): team for team, words in settings.teams.items() for word in words}
    for word in sorted(wanted - known):
        person = _Person(word, word, teams.get(word), (word,))
        if _owner_in_scope(settings, person, ()):
            people[word, person.team] = person
    return sorted(
        people.values(), key=lambda one: (one.key is None, one.name or "", one.key or "", one.team or "")
    )


def _person(key: str | None, team: str | None, rows: Iterable[Mapping[str, Any]]) -> _Person:
    found = list(rows)
    words = dict.fromkeys(
        word for row in found for word in (row["owner_email"], row["owner_name"]) if word and word.strip()
    )
    names = sorted(row["owner_name"] or row["owner_email"] or row["owner_id"] for row in found)
    return _Person(key, names[0] if names else key, team, (*((key,) if key else ()), *words))


def _owner_in_scope(settings: Settings, person: _Person, rows: Iterable[Mapping[str, Any]]) -> bool:
    wanted = {word.strip().casefold() for word in settings.scope.owners}
    words = {word.strip().casefold() for word in (*person.words, *(row["owner_id"] for row in rows))}
    return (not wanted or not wanted.isdisjoint(words)) and _team_in_scope(settings, person.team)


def _team_in_scope(settings: Settings, team: str | None) -> bool:
    wanted = {word.casefold() for word in settings.scope.teams}
    return not wanted or (team is not None and team.casefold() in wanted)


def _team_quota(
    settings: Settings, span: Span, team: str | None, members: Iterable[Decimal | None]
) -> Decimal | None:
    # What a team is to win together says nothing about those of its members that are in scope.
    own = None if settings.scope.owners else team_quota(settings, span, team)
    return own if own is not None else _total(members)


def _whole_quota(settings: Settings, span: Span, quotas: Mapping[_Person, Decimal | None]) -> Decimal | None:
    if settings.scope.owners:
        return _total(quotas.values())
    if settings.scope.teams:
        return _total(
            team_quota(settings, span, team) for team in settings.teams if _team_in_scope(settings, team)
        )
    return whole_quota(settings, span)


def _total(parts: Iterable[Decimal | None]) -> Decimal | None:
    known = [part for part in parts if part is not None]
    return total_of(known) if known else None


class _Fields(TypedDict):
    """The fields of `Coverage`."""

    quota: Decimal | None
    won_count: int
    won_amount: Decimal
    quota_attainment: Ratio
    remaining_quota: Decimal | None
    quota_met: bool
    due_in_period_count: int
    due_in_period_amount: Decimal
    weighted_amount: Decimal
    weighted_excluded_count: int
    overdue_count: int
    overdue_amount: Decimal
    coverage: Ratio
    coverage_total: Ratio
    weighted_coverage: Ratio
    win_rate_amount: Ratio
    required_coverage: Decimal | None
    coverage_gap_amount: Decimal | None
    pace: Decimal | None


def _figures(tally: _Tally, quota: Decimal | None, elapsed: Decimal, days: Decimal, least: int) -> _Fields:
    remaining = None if quota is None else max(subtract(quota, tally.won), ZERO)

    def to(amount: Decimal, target: Decimal | None, sample: int) -> Ratio:
        return share(amount, target or ZERO, sample=sample, min_sample=least)

    closed = add(tally.rated_won, tally.rated_lost)
    # A share of negative sums says nothing (metrics.md 8).
    sound = tally.rated_won >= 0 and tally.rated_lost >= 0
    rate = share(tally.rated_won, closed, sample=tally.rated_count, min_sample=least, meaningful=sound)
    gap = None
    if rate.value and remaining is not None:
        # remaining / rate, divided once, so that no rounded rate is divided by.
        needed = divide(multiply(remaining, closed), tally.rated_won) or ZERO
        gap = max(subtract(needed, tally.due), ZERO)
    return _Fields(
        quota=quota,
        won_count=tally.won_count,
        won_amount=tally.won,
        quota_attainment=to(tally.won, quota, tally.won_count),
        remaining_quota=remaining,
        quota_met=bool(quota) and remaining == 0,
        due_in_period_count=tally.due_count,
        due_in_period_amount=tally.due,
        weighted_amount=tally.weighted,
        weighted_excluded_count=tally.unlikely_count,
        overdue_count=tally.overdue_count,
        overdue_amount=tally.overdue,
        coverage=to(tally.due, remaining, tally.due_count),
        coverage_total=to(tally.due, quota, tally.due_count),
        weighted_coverage=to(tally.weighted, remaining, tally.due_count),
        win_rate_amount=rate,
        required_coverage=divide(closed, tally.rated_won) if rate.value else None,
        coverage_gap_amount=gap,
        pace=divide(multiply(tally.won, days), multiply(quota, elapsed)) if quota else None,
    )
