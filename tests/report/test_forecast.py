"""The forecast and how good it was: metrics.md 12, and the quotas of 11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crmkit.mapping.forecast import Category, category_of
from crmkit.model import Outcome
from crmkit.report.calendar import Span
from crmkit.report.inputs import PipelineRow, Quota, Scope, Settings
from crmkit.report.metrics.forecast import forecast
from crmkit.report.metrics.forecast_figures import Forecast, ForecastAmounts
from crmkit.report.metrics.forecast_history import ages
from crmkit.report.metrics.quotas import owner_quota, team_quota, whole_quota
from tests.report.fact_rows import Book, Change, facts_of
from tests.report.rows import USD, day, ref, row, settings

AS_OF = datetime(2026, 11, 10, tzinfo=UTC)
Q4 = Span(date(2026, 10, 1), date(2027, 1, 1), "FY2026-Q4")
NEW = day("2026-11-09")
DUE = date(2026, 12, 1)

SAID = {
    "omit": ("OMIT", Category.OMITTED),
    "zoho omitted": ("Omitted", Category.OMITTED),
    "pipeline": (" Pipeline ", Category.PIPELINE),
    "best": ("BEST_CASE", Category.BEST_CASE),
    "zoho best": ("Best Case", Category.BEST_CASE),
    "likely": ("MOST_LIKELY", Category.MOST_LIKELY),
    "commit": ("commit", Category.COMMIT),
    "zoho commit": ("Committed", Category.COMMIT),
    "own name": ("Handshake", Category.COMMIT),
}
PROBABLE = {
    "0.9": Category.COMMIT,
    "0.89": Category.BEST_CASE,
    "0.5": Category.BEST_CASE,
    "0.49": Category.PIPELINE,
    None: Category.PIPELINE,
}


def chosen(**changes: object) -> Settings:
    known: dict[str, object] = {
        "as_of": AS_OF,
        "forecast_names": {"handshake": "commit"},
        "forecast_categories": {"proposal": "most_likely"},
    }
    return settings(**(known | changes))


def found(book: Book, **changes: object) -> Forecast:
    made = chosen(**changes)
    with facts_of(book, USD, made) as facts:
        return forecast(facts, made)


def due(id: str, **values: object) -> PipelineRow:
    return row(id, **({"expected_close": DUE} | values))


def recent(rows: list[PipelineRow], said: Mapping[str, str | None] | None = None, **more: Any) -> Book:
    """Deals that were first read yesterday: no past quarter is known."""
    return Book(
        rows,
        first_seen={one.ref: NEW for one in rows},
        extra={ref(id): {"forecast_category": text} for id, text in (said or {}).items()},
        **more,
    )


@pytest.fixture(scope="module")
def result() -> Forecast:
    rows = [due(id) for id in SAID]
    rows += [due(f"at {share}", probability=None if share is None else Decimal(share)) for share in PROBABLE]
    rows += [
        due("staged", common_stage="proposal", stage_id="s2", probability=Decimal("0.95")),
        due("odd", amount="1000", probability=Decimal("0.5")),
        due("closed but open", probability=Decimal("0.95")),
        due("no amount", amount=None, probability=Decimal("0.95")),
        due("no rate", currency="GBP", probability=Decimal("0.95")),
        due("today", expected_close=date(2026, 11, 10), probability=Decimal("0.95")),
        due("overdue", expected_close=date(2026, 11, 9), amount="7", probability=Decimal("0.95")),
        due("long overdue", expected_close=date(2026, 1, 9), amount="8"),
        due("next quarter", expected_close=date(2027, 1, 1)),
        due("no date", expected_close=None),
        due("won", outcome=Outcome.WON, closed_at=day("2026-10-20"), amount="5000"),
        due("won before", outcome=Outcome.WON, closed_at=day("2026-09-20")),
        due("lost", outcome=Outcome.LOST, closed_at=day("2026-10-20")),
    ]
    said = {id: text for id, (text, _) in SAID.items()}
    said |= {"odd": "Moonshot", "closed but open": "CLOSED", "won": "OMIT", "next quarter": "Odd too"}
    said |= {"at None": "", "staged": None}
    return found(recent(rows, said))


def members(result: Forecast) -> dict[str, str | None]:
    return {one.split(":")[-1]: row.category for row in result.categories for one in row.refs}


def test_the_crms_own_category_comes_first_in_any_spelling(result):
    assert {id: members(result)[id] for id in SAID} == {id: category for id, (_, category) in SAID.items()}


def test_then_the_stage_then_the_probability(result):
    assert members(result)["staged"] == Category.MOST_LIKELY
    assert {share: members(result)[f"at {share}"] for share in PROBABLE} == PROBABLE


def test_an_unknown_category_is_an_error_item_that_names_the_deal(result):
    problems = [(one.code, one.ref, one.said) for one in result.problems]
    assert problems == [
        ("forecast_category_unknown", "one:deal:odd", "Moonshot"),
        ("forecast_category_unknown", "one:deal:next quarter", "Odd too"),
        ("forecast_category_closed", "one:deal:closed but open", "CLOSED"),
    ]
    assert result.problem_count == 3
    last = result.categories[-1]
    assert (last.category, last.count, last.amount, last.cumulative_amount) == (None, 1, Decimal(1000), None)


def test_the_status_decides_what_is_closed(result):
    first = result.categories[0]
    assert (first.category, first.count, first.amount) == ("closed", 1, Decimal(5000))
    assert members(result)["closed but open"] == Category.COMMIT
    assert (result.won_count, result.won_amount) == (1, Decimal(5000))


def test_overdue_deals_and_those_of_other_days_are_in_no_category(result):
    counted = members(result)
    assert "today" in counted
    assert not {"overdue", "long overdue", "next quarter", "no date", "won before", "lost"} & set(counted)
    assert (result.overdue.count, result.overdue.amount) == (result.overdue_count, result.overdue_amount)
    assert (result.overdue.amount, result.overdue.refs) == (
        Decimal(15),
        ("one:deal:long overdue", "one:deal:overdue"),
    )
    assert [one.ref for one in result.overdue.deals] == list(result.overdue.refs)
    assert (result.omitted.count, len(result.omitted.deals), result.omitted_amount) == (2, 2, Decimal(200))


def test_the_forecasts_add_up(result):
    amounts = {one.category: one.amount for one in result.categories}
    assert sum(amounts.values()) - amounts["closed"] == result.due_amount
    assert sum(one.count for one in result.categories) - 1 == result.due_count
    assert result.forecast_commit == 5000 + amounts["commit"]
    assert result.forecast_best == result.forecast_commit + amounts["most_likely"] + amounts["best_case"]
    # 1000 x 0.5, and 100 each by 0.9, 0.89, 0.5, 0.49, and three times 0.95 (staged, closed, today).
    assert result.forecast_weighted == 5000 + 500 + Decimal(278) + 285
    assert result.weighted_excluded_count == len(SAID) + 1


def test_cumulative_is_every_stronger_category_and_what_is_won(result):
    running, total = [], Decimal(0)
    for one in result.categories[:-1]:
        total += one.amount
        running.append(total)
    assert [one.cumulative_amount for one in result.categories[:-1]] == running
    assert [one.category for one in result.categories[:-1]] == [str(one) for one in reversed(Category)]
    assert result.categories[1].cumulative_amount == result.forecast_commit


def test_missing_amounts_and_rates_are_counted_and_add_nothing(result):
    commit = result.categories[1]
    assert (commit.amount_missing_count, commit.fx_missing_count) == (1, 1)
    assert commit.amount == 100 * (commit.count - 2)


def test_without_history_no_past_quarter_is_judged(result):
    assert (result.accuracy, result.snapshots, result.history_since) == ((), (), NEW)
    assert (result.quota, result.commit_attainment.value, result.commit_gap) == (None, None, None)


TEAMS = {"North": ("ada@example.org",), "South": ("Bob",), "West": ("Nobody",)}
OWNERS = (
    {"owner_id": "1", "owner_email": "Ada@Example.org", "owner_name": "Ada"},
    {"owner_id": "2", "owner_name": "Bob"},
    {"owner_id": "3", "owner_name": "Cy"},
    {},
)


def quota(amount: int, **whose: object) -> Quota:
    known: dict[str, Any] = {"start": Q4.start, "end": Q4.end, "amount": Decimal(amount)}
    return Quota(**(known | whose))


def test_owners_and_teams_have_their_own_forecast_and_quota():
    rows = [
        due(str(n), amount=str(100 * (n + 1)), probability=Decimal("0.95"), **OWNERS[n]) for n in range(4)
    ]
    rows.append(due("4", amount="50", outcome=Outcome.WON, closed_at=day("2026-10-20"), **OWNERS[0]))
    result = found(
        recent(rows), teams=TEAMS, quotas=(quota(1000, owner="ada@example.org"), quota(400, team="South"))
    )
    assert [(one.owner, one.forecast_commit, one.quota, one.commit_gap) for one in result.by_owner] == [
        ("Cy", Decimal(300), None, None),
        ("Bob", Decimal(200), None, None),
        ("Ada", Decimal(150), Decimal(1000), Decimal(850)),
        (None, Decimal(400), None, None),
    ]
    assert [(one.team, one.forecast_commit, one.quota) for one in result.by_team] == [
        ("North", Decimal(150), Decimal(1000)),
        ("South", Decimal(200), Decimal(400)),
        ("West", Decimal(0), None),
        (None, Decimal(700), None),
    ]
    assert (result.quota, result.commit_attainment.value) == (Decimal(1400), Decimal("0.75"))


@pytest.mark.parametrize(
    ("scope", "expected"),
    [(Scope(owners=frozenset({"Ada@example.org"})), 1000), (Scope(teams=frozenset({"south"})), 400)],
)
def test_a_forecast_of_some_is_held_against_their_quota(scope, expected):
    quotas = (quota(1000, owner="ada@example.org"), quota(400, team="South"), quota(9000))
    result = found(recent([due("a", **OWNERS[0])]), scope=scope, teams=TEAMS, quotas=quotas)
    assert result.quota == expected


def test_a_quota_of_parts_counts_only_if_they_fill_the_period():
    months = [date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)]
    parts = tuple(quota(10, start=months[n], end=months[n + 1]) for n in range(3))
    assert whole_quota(chosen(quotas=parts), Q4) == 30
    assert whole_quota(chosen(quotas=parts[1:]), Q4) is None
    assert whole_quota(chosen(quotas=(*parts, quota(99))), Q4) == 99
    assert whole_quota(chosen(), Q4) is None


def test_everybodys_quota_is_that_of_the_teams_and_of_owners_in_none():
    made = chosen(
        teams=TEAMS,
        quotas=(
            quota(5, owner="Bob"),
            quota(7, owner="ADA@example.org"),
            quota(3, owner="Cy"),
            quota(11, team="South"),
        ),
    )
    assert [team_quota(made, Q4, team) for team in ("North", "South", "West", None)] == [7, 11, None, None]
    assert owner_quota(made, Q4, "one:3", None, "cy") == 3
    assert whole_quota(made, Q4) == 7 + 11 + 3


QUARTER = (date(2026, 7, 1), date(2026, 10, 1))


def lived(id: str, amount: str, steps: list[tuple[str, str, object, object]], **values: object) -> Any:
    """A deal and what changed of it: (day, column, old, new)."""
    return row(id, amount=amount, **values), [
        Change(ref(id), column, day(when), old, new) for when, column, old, new in steps
    ]


def test_past_quarters_are_judged_by_what_was_known_then():
    won = {"outcome": Outcome.WON, "probability": Decimal("0.9")}
    closing = ("2026-08-15", "status", "open", "won")
    parts = [
        # Committed for the quarter all along, and won in it.
        lived(
            "a",
            "100",
            [closing, ("2026-08-15", "closed_us", None, day("2026-08-15"))],
            expected_close=date(2026, 8, 20),
            closed_at=day("2026-08-15"),
            **won,
        ),
        # Committed, then pushed out on 10 September.
        lived(
            "b",
            "60",
            [("2026-09-10", "close_day", date(2026, 9, 30), date(2026, 12, 1))],
            expected_close=date(2026, 12, 1),
            probability=Decimal("0.9"),
        ),
        # Due on 10 August and overdue from then on.
        lived("c", "40", [], expected_close=date(2026, 8, 10), probability=Decimal("0.5")),
        # Lost in the end.
        lived(
            "d",
            "20",
            [
                ("2026-09-20", "status", "open", "lost"),
                ("2026-09-20", "closed_us", None, day("2026-09-20")),
            ],
            expected_close=date(2026, 9, 25),
            probability=Decimal("0.5"),
            outcome=Outcome.LOST,
            closed_at=day("2026-09-20"),
        ),
        # Only linked: the other member's values count.
        (row("e", "two", amount="5", modified_at=day("2026-01-01")), []),
    ]
    book = Book(
        [one for one, _ in parts],
        {ref("a"): "L", ref("e", "two"): "L"},
        changes=[change for _, changes in parts for change in changes],
        first_seen={one.ref: day("2026-06-01") for one, _ in parts},
    )
    book.rows = [replace(one, modified_at=one.modified_at or day("2026-05-01")) for one in book.rows]
    result = found(book)
    (quarter,) = result.accuracy
    assert (quarter.key, quarter.actual) == ("FY2026-Q3", Decimal(100))
    assert [(point.age, point.day) for point in quarter.points] == [
        ("first_day", date(2026, 7, 1)),
        ("day_30", date(2026, 7, 31)),
        ("day_60", date(2026, 8, 30)),
        ("last_day", date(2026, 9, 30)),
    ]
    forecasts = [[kind.forecast for kind in point.kinds] for point in quarter.points]
    start = [Decimal(90 + 54 + 20 + 10), Decimal(160), Decimal(220)]
    assert forecasts == [
        start,
        start,
        [Decimal(100 + 54 + 10), Decimal(160), Decimal(180)],
        [Decimal(100)] * 3,
    ]
    (weighted, commit, best) = quarter.points[0].kinds
    assert (commit.forecast_accuracy, commit.forecast_bias) == (Decimal("0.4"), Decimal("0.6"))
    # Not clamped.
    assert best.forecast_accuracy == Decimal("-0.2")
    assert quarter.points[3].kinds[0].forecast_accuracy == 1
    # The quarter that runs: what was forecast for it on its first and on its thirtieth day.
    assert [(point.age, point.forecast_commit) for point in result.snapshots] == [
        ("first_day", Decimal(60)),
        ("day_30", Decimal(60)),
    ]
    assert weighted.kind == "weighted"


def test_nothing_won_has_no_accuracy_and_quarters_go_back_to_the_first_pull_of_all():
    known = row("a", expected_close=date(2026, 8, 1), probability=Decimal("0.9"))
    late = row("b", "two", expected_close=None)
    first_seen = {known.ref: day("2026-02-01"), late.ref: day("2026-06-01")}
    result = found(Book([known, late], first_seen=first_seen))
    (quarter,) = result.accuracy
    (commit,) = (kind for kind in quarter.points[0].kinds if kind.kind == "commit")
    assert (quarter.key, quarter.actual) == ("FY2026-Q3", 0)
    assert (commit.forecast, commit.forecast_accuracy, commit.forecast_bias) == (100, None, None)
    alone = found(Book([known, late], first_seen=first_seen), scope=Scope(connections=frozenset({"one"})))
    assert [one.key for one in alone.accuracy] == ["FY2026-Q3", "FY2026-Q2"]


def test_a_short_period_is_looked_at_on_its_first_and_last_day():
    span = Span(date(2026, 10, 1), date(2026, 10, 31), "x")
    assert ages(span) == (("first_day", date(2026, 10, 1)), ("last_day", date(2026, 10, 30)))
    one_day = Span(date(2026, 10, 1), date(2026, 10, 2), "x")
    assert ages(one_day) == (("last_day", date(2026, 10, 1)),)


@pytest.mark.parametrize(
    ("said", "category"),
    [
        ("not-forecasted", Category.OMITTED),
        ("Closed Won", Category.CLOSED),
        ("BESTCASE", Category.BEST_CASE),
        (" most  likely ", Category.MOST_LIKELY),
        ("Moonshot", None),
        ("", None),
        (None, None),
    ],
)
def test_spellings(said, category):
    assert category_of(said) is category


def test_a_workspaces_own_names_outweigh_the_crms_and_must_be_categories():
    assert category_of("PIPELINE", {"Pipeline": "commit"}) is Category.COMMIT
    with pytest.raises(ValueError, match="moonshot"):
        category_of("x", {"x": "moonshot"})


DEALS = st.lists(
    st.fixed_dictionaries(
        {
            "amount": st.sampled_from([None, "0.01", "100", "-5.5"]),
            "currency": st.sampled_from(["USD", "EUR", "GBP"]),
            "probability": st.sampled_from([None, Decimal("0.333333"), Decimal("0.9")]),
            "expected_close": st.sampled_from([None, date(2026, 11, 1), DUE, date(2027, 2, 1)]),
            "outcome": st.sampled_from(Outcome),
            "closed_at": st.sampled_from([day("2026-10-05"), day("2026-08-05")]),
            "owner": st.integers(0, 3),
            "said": st.sampled_from([None, "OMIT", "Best Case", "Commit", "Odd"]),
        }
    ),
    min_size=5,
    max_size=30,
)


@hypothesis_settings(max_examples=6, deadline=None)
@given(DEALS)
def test_categories_owners_and_teams_each_add_up_to_the_whole(made):
    rows, said = [], {}
    for number, values in enumerate(made):
        owner = OWNERS[values.pop("owner")]
        said[str(number)] = values.pop("said")
        rows.append(row(str(number), **values, **owner))
    result = found(recent(rows, said), teams=TEAMS)
    total = result.due_amount + result.won_amount
    assert sum((one.amount for one in result.categories), Decimal(0)) == total
    assert sum(one.count for one in result.categories) == result.due_count + result.won_count
    assert sum(len(one.refs) for one in result.categories) == result.due_count + result.won_count
    for groups in (result.by_owner, result.by_team):
        for name in ("due_amount", "won_amount", "overdue_count", "forecast_weighted", "forecast_best"):
            assert sum((getattr(one, name) for one in groups), Decimal(0)) == getattr(result, name)
    assert isinstance(result, ForecastAmounts)
