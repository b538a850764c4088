"""An earlier instant put together from what can have changed since is the same as all deals put together."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from crmkit.model import Outcome
from crmkit.report.facts.deals import deals_at, deals_name
from crmkit.report.metrics.touched import prepare_earlier, touched
from tests.report import sample
from tests.report.fact_rows import Book, Change, Step, facts_of

SETTINGS = sample.settings()
SUMMER_TIME = SETTINGS.as_of - timedelta(days=35)


def book(at: datetime) -> Book:
    """Linked, moved, reopened, revalued, gone and new deals, and closed ones that nobody touched."""
    rows, links = sample.sample(300)
    closed = [row for row in rows if row.outcome is not Outcome.OPEN]
    untold = {
        row.ref: replace(row, closed_at=None, expected_close=None if place % 2 else row.expected_close)
        for place, row in enumerate(closed[::5])
    }
    after = at + timedelta(hours=5)
    changes = [
        change
        for row in rows[::7]
        for change in (
            Change(row.ref, "amount", after, Decimal(900), row.amount),
            Change(row.ref, "status", after, Outcome.OPEN.value, row.outcome.value),
            Change(row.ref, "close_day", after, date(2026, 11, 20), row.expected_close),
        )
    ]
    return Book(
        [untold.get(row.ref, row) for row in rows],
        links,
        changes=changes,
        steps=[Step(row.ref, row.stage_id, after) for row in closed[::10] if row.stage_id],
        first_seen={row.ref: after for row in rows[3::11]},
        gone={row.ref: at + timedelta(days=place % 3 - 1) for place, row in enumerate(rows[5::13])},
        archived=frozenset(row.ref for row in rows[6::17]),
    )


@pytest.mark.parametrize("at", [SETTINGS.as_of - timedelta(days=7), SUMMER_TIME])
def test_an_earlier_instant_is_the_same_prepared_and_not(at):
    with facts_of(book(at), sample.rates(), SETTINGS) as facts:
        query = "SELECT * FROM {} ORDER BY ref"
        full = facts.rows(query.format(deals_at(facts, SETTINGS, at)))
    with facts_of(book(at), sample.rates(), SETTINGS) as facts:
        prepare_earlier(facts, SETTINGS, at)
        assert (facts.kept(deals_name(at)) is None) == (at == SUMMER_TIME)
        assert facts.rows(query.format(deals_at(facts, SETTINGS, at))) == full


def test_closed_deals_that_nobody_touched_are_left_out():
    at = SETTINGS.as_of - timedelta(days=7)
    with facts_of(book(at), sample.rates(), SETTINGS) as facts:
        some = facts.row(f"SELECT count(*) AS n FROM {touched(facts, SETTINGS, at).deals}")["n"]
        assert 0 < some < facts.row("SELECT count(*) AS n FROM deals")["n"]
