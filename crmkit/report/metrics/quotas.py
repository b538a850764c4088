"""What is to be won in a period: the quotas of the settings, put together (metrics.md 11)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal

from crmkit.report.calendar import Span
from crmkit.report.inputs import Quota, Settings
from crmkit.report.money import total_of


def owner_quota(settings: Settings, period: Span, *words: str | None) -> Decimal | None:
    """What one owner is to win; `None` without a quota.

    Args:
        settings: With the quotas.
        period: The days.
        words: What the owner is known by: key, e-mail address, name.
    """
    known = {word.strip().casefold() for word in words if word}
    return _amount(
        (one for one in settings.quotas if one.owner is not None and one.owner.strip().casefold() in known),
        period,
    )


def team_quota(settings: Settings, period: Span, team: str | None) -> Decimal | None:
    """What one team is to win: its own quota, else the sum of its members'; `None` without any."""
    if team is None:
        return None
    own = _amount((one for one in settings.quotas if one.team == team), period)
    return own if own is not None else _sum_of(settings, period, settings.teams.get(team, ()))


def whole_quota(settings: Settings, period: Span) -> Decimal | None:
    """What everybody is to win: the quota of nobody in particular, else all teams and those in none."""
    own = _amount((one for one in settings.quotas if one.owner is None and one.team is None), period)
    if own is not None:
        return own
    members = {word.strip().casefold() for team in settings.teams.values() for word in team}
    apart = {
        one.owner.strip().casefold()
        for one in settings.quotas
        if one.owner is not None and one.owner.strip().casefold() not in members
    }
    teams = {*settings.teams, *(one.team for one in settings.quotas if one.team is not None)}
    parts = [team_quota(settings, period, team) for team in sorted(teams)]
    return _total([*parts, _sum_of(settings, period, apart)])


def _sum_of(settings: Settings, period: Span, owners: Collection[str]) -> Decimal | None:
    folded = {owner.strip().casefold() for owner in owners}
    return _total(owner_quota(settings, period, owner) for owner in sorted(folded))


def _total(parts: Iterable[Decimal | None]) -> Decimal | None:
    known = [part for part in parts if part is not None]
    return total_of(known) if known else None


def _amount(quotas: Iterable[Quota], period: Span) -> Decimal | None:
    """The quota of just this period, else the sum of shorter ones that fill it without a gap."""
    inside = sorted(
        (one for one in quotas if period.start <= one.start and one.end <= period.end),
        key=lambda one: (one.start, one.end),
    )
    exact = [one.amount for one in inside if (one.start, one.end) == (period.start, period.end)]
    if exact:
        return total_of(exact)
    day, parts = period.start, []
    for one in inside:
        if one.start != day:
            return None
        parts.append(one.amount)
        day = one.end
    return total_of(parts) if day == period.end else None
