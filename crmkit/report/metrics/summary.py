"""The five figures of the head, and what they were a week ago."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from crmkit.report.facts.engine import Facts
from crmkit.report.facts.scale import instant
from crmkit.report.figures import Figure
from crmkit.report.inputs import Settings
from crmkit.report.metrics import open_deals, results
from crmkit.report.metrics.periods import current_period, review_start, trailing_window
from crmkit.report.metrics.touched import prepare_earlier
from crmkit.report.money import Number, subtract


class Moved(Figure):
    """A figure at `as_of` and at `since`; `then` and `change` are `None` where nothing was known then."""

    now: Number | None
    then: Number | None
    change: Number | None


class Summary(Figure):
    """The five figures of the head; money in the report currency, `win_rate` from 0 to 1.

    `won_amount` is over the period of the report, `win_rate` over the trailing window that
    ends at each of the two instants, `overdue_amount` over deals whose close date was past then.
    """

    since: datetime
    known: bool
    open_amount: Moved
    weighted_amount: Moved
    won_amount: Moved
    win_rate: Moved
    overdue_amount: Moved

    @property
    def changes(self) -> dict[str, Decimal | None]:
        """What was added to each figure since then."""
        return {name: getattr(self, name).change for name in FIGURES}


FIGURES = ("open_amount", "weighted_amount", "won_amount", "win_rate", "overdue_amount")
"""The five, in the order in which they are read."""


def summary(facts: Facts, settings: Settings) -> Summary:
    """The figures now and at the start of the review, by the same functions."""
    since = review_start(settings)
    late = facts.row("SELECT count(*) AS n FROM pulls WHERE first_us > $at", at=instant(since))["n"]
    known = late == 0 and bool(facts.rows("SELECT connection FROM pulls ORDER BY connection NULLS LAST"))
    span = current_period(settings)
    period = span.start, span.end
    now = _figures(facts, replace(settings, period=period))
    then: Mapping[str, Decimal | None] = {}
    if known:
        prepare_earlier(facts, settings, since)
        then = _figures(facts, replace(settings, as_of=since, period=period))
    made = {name: _moved(value, then.get(name)) for name, value in now.items()}
    return Summary(since=since, known=known, **made)


def _figures(facts: Facts, settings: Settings) -> dict[str, Decimal | None]:
    opened = open_deals.summary(facts, settings)
    assert settings.period is not None
    trailing = results.results(facts, settings, trailing_window(settings), overdue_or_stale=0)
    return {
        "open_amount": opened.amount,
        "weighted_amount": opened.weighted_amount,
        "won_amount": results.results(facts, settings, settings.period, overdue_or_stale=0).won.amount,
        "win_rate": trailing.win_rates.count.value,
        "overdue_amount": open_deals.overdue(facts, settings).amount,
    }


def _moved(now: Decimal | None, then: Decimal | None) -> Moved:
    change = None if now is None or then is None else subtract(now, then)
    return Moved(now=now, then=then, change=change)
