"""The weekly review tells every deal that moved, in every form, and what it cannot know."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from rich.console import Console

from crmkit.model import Outcome
from crmkit.report.render.cells import raw
from crmkit.report.render.review_page import review_html
from crmkit.report.render.review_tables import review_notes, review_tables
from crmkit.report.render.review_terminal import terminal_review
from crmkit.report.render.texts import ENGLISH, LANGUAGES, texts_of
from crmkit.report.review import WeeklyReview, weekly_review
from tests.report.fact_rows import Book, Change, facts_of
from tests.report.rows import USD, day, ref, row, settings

UNTIL = datetime(2026, 11, 23, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\x1b[31m"


def book() -> Book:
    rows = [
        row("stays", amount="1000.25", expected_close=date(2026, 12, 1)),
        row("won", amount="500", outcome=Outcome.WON, closed_at=day("2026-11-20"), common_stage="won"),
        row("slipped", amount="70", expected_close=date(2027, 1, 15), url="https://crm.example/slipped"),
        row("new", amount="9", created_at=day("2026-11-18"), name=HOSTILE),
        row("gone", amount="3"),
        row("late", "two", amount="40"),
    ]
    changes = [
        Change(ref("won"), "status", day("2026-11-20"), "open", "won"),
        Change(ref("slipped"), "close_day", day("2026-11-19"), date(2026, 12, 20), date(2027, 1, 15)),
    ]
    seen = {ref("new"): day("2026-11-18"), ref("late", "two"): day("2026-11-19")}
    return Book(rows, changes=changes, first_seen=seen, gone={ref("gone"): day("2026-11-21")})


@pytest.fixture(scope="module")
def review() -> WeeklyReview:
    chosen = settings(as_of=UNTIL)
    with facts_of(book(), USD, chosen) as facts:
        return weekly_review(facts, chosen)


def test_the_review_is_of_seven_days_and_of_this_quarter(review):
    assert review.until - review.since == timedelta(days=7)
    assert (review.period_key, review.period_start) == ("FY2026-Q4", date(2026, 10, 1))
    ends = {name: review.waterfalls.all_open.buckets[name].value for name in ("start", "end")}
    assert {name: str(value) for name, value in ends.items()} == {"start": "1573.25", "end": "1119.25"}


def test_every_deal_that_moved_is_in_its_list(review):
    tables = {table.id: table for table in review_tables(review, ENGLISH) if table.rows}
    lists = {name: [raw(row[-1]) for row in table.rows] for name, table in tables.items()}
    assert lists["review_created"] == ["one:deal:new"]
    assert lists["review_won"] == ["one:deal:won"]
    assert lists["review_pushed_out"] == lists["review_pushed"] == ["one:deal:slipped"]
    assert lists["review_removed"] == ["one:deal:gone"]
    assert lists["review_backfilled"] == ["two:deal:late"]
    assert tables["review_pushed_out"].title == "Slipped out of FY2026-Q4"
    assert [raw(cell) for cell in tables["waterfall"].rows[-1]] == ["At the end", "4", "1119.25"]


def test_a_review_that_begins_before_the_first_pull_says_since_when_history_is_kept(review):
    assert [one.connection for one in review.late] == ["two"]
    (note,) = [note for note in review_notes(review, ENGLISH) if "two" in note]
    assert "since 2026-11-19 12:00 UTC: two" in note


def test_the_json_of_the_review_is_a_promise(review):
    found = json.loads(review.model_dump_json())
    assert (found["kind"], found["version"]) == ("weekly_review", 1)
    won = found["waterfalls"]["all_open"]["buckets"]["won"]
    assert (won["count"], won["value"], won["deals"][0]["new"]["status"]) == (1, "-500", "won")
    assert WeeklyReview.model_validate(found) == review


def test_a_terminal_shows_the_waterfall_with_bars_and_nothing_hidden(review):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal_review(review, review_tables(review, ENGLISH)))
    text = console.export_text()
    assert "1,573.25 USD at the start, 1,119.25 USD at the end" in text
    assert "█" in text
    assert "\x1b" not in text
    assert "<script>" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_has_charts_lists_and_links_and_runs_nothing_foreign(review, language):
    page = review_html(review, language=language)
    assert "<script>alert" not in page
    assert len(re.findall(r"<script", page)) == 2
    assert 'href="https://crm.example/slipped"' in page
    assert texts_of(language)["review_title"] in page
    # The bar leads to the list of its deals, which is there.
    assert 'href="#s-review_won"' in page
    assert 'id="s-review_won"' in page
    targets = set(re.findall(r'href="#(s-[\w-]+)"', page))
    assert targets <= set(re.findall(r'id="(s-[\w-]+)"', page))


def test_nothing_happened_is_a_review_too():
    chosen = replace(settings(as_of=UNTIL), since=datetime(2026, 11, 22, tzinfo=UTC))
    with facts_of(Book([row("a")]), USD, chosen) as facts:
        found = weekly_review(facts, chosen)
    assert [table.id for table in review_tables(found, ENGLISH) if table.rows] == [
        "waterfall",
        "waterfall_period",
    ]
    assert found.movement.pushed.count == 0
