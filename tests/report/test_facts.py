"""The deals at an instant are the right ones, once each, with the values they had, exactly valued."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from crmkit.model import Outcome, ValuePeriod
from crmkit.report.facts import scale
from crmkit.report.facts.deals import deals_at, live_at
from crmkit.report.facts.visits import visits_at
from crmkit.report.facts.zone import local_day
from crmkit.report.inputs import AmountBasis, Scope
from tests.report.fact_rows import Book, Change, Step, facts_of
from tests.report.rows import USD, day, ref, row, settings

AS_OF = datetime(2026, 10, 1, tzinfo=UTC)


def deals(book: Book, at: datetime | None = None, **changes: Any) -> dict[str, dict[str, Any]]:
    chosen = settings(**changes)
    with facts_of(book, USD, chosen) as facts:
        return {found["id"]: found for found in facts.rows(f"SELECT * FROM {deals_at(facts, chosen, at)}")}


def test_a_deal_without_changes_is_the_same_at_every_instant_since_it_was_seen():
    book = Book(
        [row("a", amount="12.5", owner_id="7", owner_name="Ada")], first_seen={ref("a"): day("2026-09-10")}
    )
    then, now = deals(book, day("2026-09-20"))["a"], deals(book)["a"]
    assert scale.money(then["value"]) == scale.money(now["value"]) == Decimal("12.5")
    assert then["owner_name"] == "Ada"
    assert deals(book, day("2026-09-09")) == {}


def test_earlier_values_come_back_the_oldest_change_after_the_instant_first():
    book = Book(
        [row("a", amount="30", stage_id="s3", outcome=Outcome.WON, expected_close=date(2026, 9, 25))],
        changes=[
            Change(ref("a"), "amount", day("2026-09-05"), None, Decimal(10)),
            Change(ref("a"), "amount", day("2026-09-10"), Decimal(10), Decimal("20.5")),
            Change(ref("a"), "amount", day("2026-09-20"), Decimal("20.5"), Decimal(30)),
            Change(ref("a"), "status", day("2026-09-20"), "open", "won"),
            Change(ref("a"), "close_day", day("2026-09-20"), None, date(2026, 9, 25)),
        ],
    )
    between = deals(book, day("2026-09-15"))["a"]
    assert (between["status"], between["close_day"]) == ("open", None)
    assert scale.money(between["value"]) == Decimal("20.5")
    first = deals(book, day("2026-09-01"))["a"]
    assert first["value"] is None
    assert not first["priced"]
    assert deals(book)["a"]["status"] == "won"


def test_what_is_deleted_or_archived_is_told_apart_from_what_lives():
    book = Book(
        [row("a"), row("b"), row("c")],
        gone={ref("a"): day("2026-09-20")},
        archived=frozenset({ref("b")}),
        changes=[Change(ref("b"), "archived", day("2026-09-22"), False, True)],
    )
    assert {key: one["life"] for key, one in deals(book).items()} == {
        "a": "gone",
        "b": "archived",
        "c": "live",
    }
    earlier = deals(book, day("2026-09-15"))
    assert {key: one["life"] for key, one in earlier.items()} == {"a": "live", "b": "live", "c": "live"}


def test_a_deal_that_came_back_was_gone_in_between():
    book = Book([row("a")], changes=[Change(ref("a"), "gone_us", day("2026-09-20"), day("2026-09-10"), None)])
    assert [deals(book, day(f"2026-09-{n}"))["a"]["life"] for n in ("05", "15", "25")] == [
        "live",
        "gone",
        "live",
    ]


def test_linked_deals_are_one_with_the_values_of_the_newest_and_the_creation_of_the_oldest():
    rows = [
        row("a", amount="1", modified_at=day("2026-09-03"), created_at=day("2026-08-01")),
        row("b", "two", amount="2", modified_at=day("2026-09-04"), created_at=day("2026-08-20")),
    ]
    book = Book(rows, {ref("a"): "L", ref("b", "two"): "L"})
    (found,) = deals(book).values()
    assert (found["id"], found["records"], found["created_day"]) == (
        "b",
        2,
        scale.day_number(date(2026, 8, 1)),
    )
    (found,) = deals(book, record_order=("one", "two")).values()
    assert found["id"] == "a"


def test_a_linked_deal_lives_as_long_as_one_member_does():
    rows = [row("a", modified_at=day("2026-09-03")), row("b", "two", modified_at=day("2026-09-04"))]
    links = {ref("a"): "L", ref("b", "two"): "L"}
    (found,) = deals(Book(rows, links, gone={ref("b", "two"): day("2026-09-10")})).values()
    assert (found["id"], found["life"], found["records"]) == ("a", "live", 1)


@pytest.mark.parametrize(
    ("values", "value"),
    [
        ({"amount": "0.0001", "currency": "EUR"}, "0.00012"),
        ({"amount": "-3", "currency": " eur "}, "-3.6"),
        ({"amount": "5", "currency": "GBP"}, None),
        ({"amount": "5", "currency": None}, None),
        ({"amount": "9999999999999.9999"}, "9999999999999.9999"),
        ({"amount": "1e13"}, None),
    ],
)
def test_values_are_exact_and_never_guessed(values, value):
    found = deals(Book([row("a", **values)]))["a"]
    assert (None if found["value"] is None else scale.money(found["value"])) == (value and Decimal(value))


def test_a_closed_deal_is_valued_on_its_day_of_closing_unless_a_day_is_given():
    book = Book([row("a", amount="100", currency="EUR", outcome=Outcome.WON, closed_at=day("2026-02-03"))])
    assert scale.money(deals(book)["a"]["value"]) == Decimal(110)
    chosen = settings()
    with facts_of(book, USD, chosen) as facts:
        (found,) = facts.rows(f"SELECT * FROM {deals_at(facts, chosen, rates_on=date(2026, 9, 2))}")
    assert scale.money(found["value"]) == Decimal(120)


def test_probabilities_are_shares_and_certain_once_closed():
    book = Book(
        [
            row("a", probability=Decimal("0.333333")),
            row("b", probability=Decimal("1.01")),
            row("c", probability=Decimal("0.5"), outcome=Outcome.LOST, closed_at=AS_OF),
            row("d"),
            row("e", amount=None, probability=Decimal("0.5")),
        ]
    )
    found = deals(book)
    assert {key: one["share"] for key, one in found.items()} == {
        "a": 333_333,
        "b": None,
        "c": 0,
        "d": None,
        "e": 500_000,
    }
    assert scale.weighted(found["a"]["weighted"]) == Decimal("33.3333")
    assert found["b"]["share_unreadable"]
    assert scale.weighted(found["e"]["weighted"]) == 0


def test_monthly_values_are_times_twelve_on_the_annual_basis():
    book = Book([row("a", amount="10", value_period=ValuePeriod.MONTHLY)])
    assert scale.money(deals(book, amount_basis=AmountBasis.ANNUALISED)["a"]["value"]) == 120


def test_a_closed_deal_without_a_time_was_closed_at_its_last_step_else_on_its_close_date():
    lost = {"outcome": Outcome.LOST, "expected_close": date(2026, 9, 9)}
    book = Book([row("a", **lost), row("b", **lost)], steps=[Step(ref("a"), "s9", day("2026-09-05"))])
    found = deals(book)
    assert [(found[key]["closed_day"], found[key]["closed_estimated"]) for key in "ab"] == [
        (scale.day_number(date(2026, 9, 5)), False),
        (scale.day_number(date(2026, 9, 9)), True),
    ]


def test_scope_asks_the_values_that_count_without_regard_to_case():
    rows = [
        row("a", owner_id="1", owner_email="Ada@Example.org"),
        row("b", owner_id="2", owner_name="Bob"),
        row("c", pipeline_id="q", pipeline_name="Renewals"),
    ]
    chosen = {"teams": {"North": ("bob",)}}

    def ids(scope: Scope) -> list[str]:
        made = settings(scope=scope, **chosen)
        with facts_of(Book(rows), USD, made) as facts:
            return sorted(found["id"] for found in facts.rows(f"SELECT id FROM {live_at(facts, made)}"))

    assert ids(Scope(owners=frozenset({"ada@example.org"}))) == ["a"]
    assert ids(Scope(teams=frozenset({"north"}))) == ["b"]
    assert ids(Scope(pipelines=frozenset({"RENEWALS"}))) == ["c"]
    assert ids(Scope()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]
)
def test_local_days_are_those_of_the_zone(zone):
    moments = [
        datetime(year, month, day, hour, 59, 59, 999_999, tzinfo=UTC)
        for year in (1995, 2024, 2026)
        for month, day in ((3, 29), (3, 8), (10, 25), (11, 1), (4, 5), (12, 31))
        for hour in (0, 3, 9, 13, 22, 23)
    ]
    chosen = settings()
    rows = [row(str(number), created_at=moment) for number, moment in enumerate(moments)]
    with facts_of(Book(rows), USD, chosen) as facts:
        found = facts.rows(f"SELECT id, {local_day('created_us', ZoneInfo(zone))} AS day FROM deals")
    assert {int(one["id"]): scale.day(one["day"]) for one in found} == {
        number: moment.astimezone(ZoneInfo(zone)).date() for number, moment in enumerate(moments)
    }


def test_visits_come_from_the_crm_else_from_what_pulls_saw_else_are_unknown():
    known = day("2026-08-15")
    book = Book(
        [
            row("told", stage_id="s2"),
            row("seen", stage_id="s2", created_at=day("2026-09-01")),
            row("old", stage_id="s2", created_at=day("2026-08-01")),
        ],
        steps=[Step(ref("told"), "s1", day("2026-09-02")), Step(ref("told"), "s2", day("2026-09-08"))],
        changes=[
            Change(ref("told"), "stage_id", day("2026-09-09"), "s1", "s2"),
            Change(ref("seen"), "stage_id", day("2026-09-10"), "s1", "s2"),
        ],
        first_seen=dict.fromkeys([ref("told"), ref("seen"), ref("old")], known),
    )
    with facts_of(book, USD, settings()) as facts:
        rows = facts.rows(f"SELECT * FROM {visits_at(facts, scale.instant(AS_OF))}")
    found = {
        (one["id"], one["stage_id"]): (scale.moment(one["entered_us"]), scale.moment(one["left_us"]))
        for one in rows
    }
    assert found == {
        ("told", "s1"): (day("2026-09-02"), day("2026-09-08")),
        ("told", "s2"): (day("2026-09-08"), None),
        ("seen", "s1"): (day("2026-09-01"), day("2026-09-10")),
        ("seen", "s2"): (day("2026-09-10"), None),
    }
