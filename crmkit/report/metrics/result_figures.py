"""What was won, lost and created in a period, part by part, as data (metrics.md 4 and 8)."""

from __future__ import annotations

from datetime import date

from crmkit.report.figures import Closed, Figure, PeriodResults
from crmkit.report.money import Number
from crmkit.report.ratios import Ratio


class ResultPart(Figure):
    """The part of a period's results that belongs to one group.

    `win_rate` is won / (won + lost) over the deals closed, those lost as duplicates left out.
    """

    won: Closed
    lost: Closed
    created: Closed
    net_new_pipeline: Number
    win_rate: Ratio


class OwnerResults(ResultPart):
    """Of one owner over all connections; `owner` is `None` for deals without one."""

    owner: str | None
    owner_key: str | None


class TeamResults(ResultPart):
    """Of one team; `team` is `None` for owners in no team."""

    team: str | None


class ConnectionResults(ResultPart):
    """Of the deals whose values come from this connection."""

    connection: str


class MonthResults(ResultPart):
    """Of the days `[start, end)` of one calendar month that are in the period."""

    key: str
    start: date
    end: date


class StageWinRate(Figure):
    """Won / (won + lost) over the deals closed in the period that ever entered a common stage.

    Duplicates are left out, and deals of which no stage is known; nothing is filled.
    """

    stage: str
    name: str
    win_rate: Ratio


class ResultsInParts(PeriodResults):
    """The results of a period, and what they are made of: each list adds up to the whole.

    Owners come with the most won first, teams and connections by name, months in order; a month
    without deals is there too. `by_team` is empty where there are no teams.

    `created_amount_at_creation` adds up the first known amounts of the `created_at_creation_count`
    deals that were created in the period when their connection was already read: at the rates
    that `created` takes, so that it differs by changed amounts alone. It is `None` if there are no
    such deals but others; `created_at_creation_now_amount` is what the same deals are worth now.
    """

    by_owner: tuple[OwnerResults, ...]
    by_team: tuple[TeamResults, ...]
    by_connection: tuple[ConnectionResults, ...]
    by_month: tuple[MonthResults, ...]
    win_rate_from_stage: tuple[StageWinRate, ...]
    created_amount_at_creation: Number | None
    created_at_creation_count: int
    created_at_creation_now_amount: Number | None
