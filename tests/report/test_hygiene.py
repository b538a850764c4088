"""Every hygiene rule finds what it names, and not what lies just beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from crmkit.model import Outcome, Ref
from crmkit.report.facts.scale import day_number, instant
from crmkit.report.inputs import NativeStage, Settings
from crmkit.report.metrics.hygiene import Hygiene, findings, hygiene
from crmkit.report.metrics.hygiene.look_alikes import likeness
from tests.report.fact_rows import Book, Change, facts_of
from tests.report.rows import USD, day, ref, row, settings

AS_OF = datetime(2026, 9, 28, tzinfo=UTC)
NEXT = {"next_us": instant(day("2026-10-03"))}
WON = {"outcome": Outcome.WON, "stage_id": "s9", "stage_name": "Won", "common_stage": "won"}
LOST = {"outcome": Outcome.LOST, "stage_id": "s8", "stage_name": "Lost", "common_stage": "lost"}
CLOSED = {**WON, "closed_at": day("2026-09-15"), "amount": "100"}
TWIN = {"company_id": "twin", "company_name": "Acme", "name": "Acme: new warehouse", "amount": "777"}


def chosen(**changes: Any) -> Settings:
    stages = tuple(
        NativeStage(
            connection=connection,
            pipeline_id="p",
            pipeline_name="Sales",
            stage_id=id,
            stage_name=name,
            order=order,
            outcome=outcome,
            common_stage=common,
        )
        for connection in ("one", "preset", "silent")
        for order, (id, name, outcome, common) in enumerate(
            [
                ("s1", "First", Outcome.OPEN, "qualification"),
                ("s2", "Second", Outcome.OPEN, "proposal"),
                ("s7", "Odd", Outcome.OPEN, None),
                ("s8", "Lost", Outcome.LOST, "lost"),
                ("s9", "Won", Outcome.WON, "won"),
            ],
            1,
        )
    )
    return settings(
        as_of=AS_OF,
        native_stages=stages,
        month_end_close=frozenset({"preset"}),
        stages=settings().stages,
        **changes,
    )


@dataclass
class Story:
    """Deals that break nothing but what is said about them."""

    rows: list[Any] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    extra: dict[Ref, dict[str, Any]] = field(default_factory=dict)
    links: dict[Ref, str] = field(default_factory=dict)
    broken: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def deal(
        self,
        id: str,
        *broken: str,
        connection: str = "one",
        extra: dict[str, Any] | None = None,
        changes: tuple[tuple[str, str, Any, Any], ...] = (),
        own: bool = False,
        link: str | None = None,
        **values: Any,
    ) -> None:
        clean = {
            "name": f"Deal {id}",
            "amount": "100",
            "owner_id": "1",
            "owner_name": "Ada",
            "company_id": f"company of {id}",
            "created_at": day("2026-09-10"),
            "last_activity_at": day("2026-09-25"),
            "expected_close": date(2026, 11, 15),
        }
        one = ref(id, connection)
        self.rows.append(row(id, connection, **(clean | values)))
        self.extra[one] = ({} if connection == "silent" else NEXT) | (extra or {})
        self.changes += [Change(one, name, day(at), old, new, own) for name, at, old, new in changes]
        if link:
            self.links[one] = link
        if broken:
            self.broken[str(one)] = broken

    def book(self) -> Book:
        return Book(self.rows, self.links, changes=self.changes, extra=self.extra)


def pushed(*days: str) -> tuple[tuple[str, str, Any, Any], ...]:
    """A push of one day on each of some days, so that the close date ends up as that of a clean deal."""
    first = date(2026, 11, 15) - timedelta(days=len(days))
    return tuple(
        ("close_day", at, first + timedelta(days=number), first + timedelta(days=number + 1))
        for number, at in enumerate(days)
    )


def told() -> Story:
    deals = Story()
    deals.deal("clean")
    deals.deal("overdue", "H01", expected_close=date(2026, 9, 27))
    deals.deal("due today", expected_close=date(2026, 9, 28))
    deals.deal("no close date", "H02", expected_close=None)
    deals.deal("no amount", "H03", amount=None)
    deals.deal("amount of nothing", "H03", amount="0")
    deals.deal("negative", "H04", amount="-0.01")
    for number in range(5):
        deals.deal(f"sample {number}", **CLOSED)
    deals.deal("ten times what is won", amount="1000")
    deals.deal("beyond it", "H04", amount="1000.0001")
    deals.deal("beyond it by its rate", "H04", amount="950", currency="EUR")
    deals.deal("absurd", "H04", amount="1e13")
    deals.deal("no owner", "H05", owner_id=None)
    deals.deal("owner who left", "H05", owner_id="2", owner_name="Bob", owner_active=False)
    deals.deal("owner nobody knows", "H05", extra={"owner_id": "999"})
    deals.deal("no company", "H06", company_id=None)
    deals.deal("no contact", "H07", extra={"contacts": 0})
    deals.deal("no next step", "H08", extra={"next_us": None})
    deals.deal("next step past", "H08", extra={"next_us": instant(AS_OF)})
    deals.deal("next steps not told", connection="silent")
    quiet = {"created_at": day("2026-08-10"), "last_activity_at": datetime(2026, 8, 29, tzinfo=UTC)}
    deals.deal("stale", "H09", **quiet)
    quiet["last_activity_at"] += timedelta(microseconds=1)
    deals.deal("not quite stale", **quiet)
    deals.deal("stuck", "H10", created_at=day("2026-07-01"))
    edge = datetime(2026, 7, 30, tzinfo=UTC)
    deals.deal("not quite stuck", created_at=day("2026-07-01"), stage_entered_at=edge)
    deals.deal("pushed three times", "H11", changes=pushed("2026-09-01", "2026-09-02", "2026-09-20"))
    deals.deal("pushed twice in two weeks", "H11", changes=pushed("2026-09-01", "2026-09-15"))
    deals.deal("pushed twice", changes=pushed("2026-09-01", "2026-09-16"))
    deals.deal("won before it began", "H12", **CLOSED | {"closed_at": day("2026-09-09")})
    deals.deal("won on its first day", **CLOSED | {"closed_at": datetime(2026, 9, 10, tzinfo=UTC)})
    deals.deal("won tomorrow", "H12", **CLOSED | {"closed_at": day("2026-09-29")})
    deals.deal("in its stage before it began", "H12", stage_entered_at=day("2026-09-09"))
    deals.deal("stamped first", stage_entered_at=day("2026-09-10") - timedelta(seconds=59))
    deals.deal("open in a won stage", "H13", **WON | {"outcome": Outcome.OPEN})
    deals.deal("open and certain", "H13", probability=Decimal(1))
    deals.deal("open and hopeless", "H13", probability=Decimal(0))
    deals.deal("all but certain", probability=Decimal("0.999999"))
    deals.deal("unmapped", "H13", stage_id="s7", stage_name="Odd", common_stage=None)
    deals.deal("nowhere", "H13", extra={"stage_id": "gone"})
    deals.deal("twin", "H14", **TWIN)
    deals.deal("twin, typed again", "H14", **TWIN | {"name": "ACME New Warehouse!"})
    deals.deal("twin, 30 days on", "H14", **TWIN | {"expected_close": date(2026, 12, 15)})
    deals.deal("twin, of another amount", **TWIN | {"amount": "778"})
    deals.deal("twin, in another currency", **TWIN | {"currency": "EUR"})
    deals.deal("twin, about something else", **TWIN | {"name": "Acme: forklift leasing"})
    deals.deal("twin, much later", **TWIN | {"expected_close": date(2027, 1, 15)})
    deals.deal(
        "twin, lost", **TWIN | LOST | {"created_at": day("2026-06-01"), "closed_at": day("2026-06-15")}
    )
    pair = {**TWIN, "company_id": "linked", "link": "L"}
    deals.deal("linked twin", **pair)
    deals.deal("linked twin", connection="preset", **pair)
    deals.deal("lost, nobody knows why", "H15", **LOST, closed_at=day("2026-09-20"))
    deals.deal("lost, blank", "H15", **LOST, closed_at=day("2026-09-20"), lost_reason=" ")
    deals.deal("lost, reason given", **LOST, closed_at=day("2026-09-20"), lost_reason="price")
    early = {"created_at": day("2026-06-01"), "closed_at": day("2026-06-30")}
    deals.deal("lost before the period", **LOST, **early)
    deals.deal("beyond a year", "H16", expected_close=date(2027, 9, 29))
    deals.deal("in a year", expected_close=date(2027, 9, 28))
    month_end = {"connection": "preset", "expected_close": date(2026, 9, 30)}
    deals.deal("date never chosen", "H16", **month_end)
    moved = ("close_day", "2026-09-11", date(2026, 9, 20), date(2026, 9, 30))
    deals.deal("date chosen", **month_end, changes=(moved,))
    deals.deal("end of another month", **month_end | {"created_at": day("2026-08-31")})
    deals.deal("not the end", **month_end | {"expected_close": date(2026, 9, 29)})
    deals.deal("end of a month where nothing is preset", expected_close=date(2026, 9, 30))
    deals.deal("no rate", "H17", currency="CHF")
    deals.deal("no currency", "H17", currency=None)
    deals.deal("neither amount nor currency", "H03", amount=None, currency=None)
    for name, old, new in (
        ("amount", "90", "100"),
        ("close_day", None, date(2026, 11, 15)),
        ("owner_id", "3", "1"),
    ):
        deals.deal(f"{name} changed later", "H18", **CLOSED, changes=((name, "2026-09-16", old, new),))
    deals.deal("changed by crmkit", **CLOSED, changes=(("amount", "2026-09-16", "90", "100"),), own=True)
    deals.deal("renamed stage later", **CLOSED, changes=(("lost_reason", "2026-09-16", "x", None),))
    together = (("status", "2026-09-16", "open", "won"), ("amount", "2026-09-16", "90", "100"))
    deals.deal("changed before the closing was seen", **CLOSED, changes=together)
    return deals


@pytest.fixture(scope="module")
def result() -> Iterator[tuple[Story, Hygiene, dict[str, tuple[str, ...]]]]:
    story, config = told(), chosen()
    with facts_of(story.book(), USD, config) as facts:
        made = hygiene(facts, config)
        found: dict[str, list[str]] = {}
        for one in facts.rows(f"SELECT ref, rule FROM {findings(facts, config)} ORDER BY rule NULLS LAST"):
            found.setdefault(one["ref"], []).append(one["rule"])
        yield story, made, {key: tuple(rules) for key, rules in found.items()}


def test_each_deal_breaks_the_rules_that_it_breaks_and_no_other(result):
    story, _, found = result
    assert found == story.broken


def test_every_rule_tells_its_deals_their_number_and_their_owners(result):
    story, made, _ = result
    assert [rule.rule for rule in made.rules] == [f"H{number:02}" for number in range(1, 19)]
    for rule in made.rules:
        expected = {key for key, broken in story.broken.items() if rule.rule in broken}
        assert expected, rule.rule
        assert set(rule.refs) == expected
        assert rule.count == len(expected) == sum(owner.count for owner in rule.by_owner)
        assert rule.amount == sum(owner.amount for owner in rule.by_owner)


def test_the_largest_deals_come_first(result):
    _, made, _ = result
    (rule,) = [rule for rule in made.rules if rule.rule == "H04"]
    assert [key.split(":")[2] for key in rule.refs] == [
        "beyond it by its rate",
        "beyond it",
        "negative",
        "absurd",
    ]
    assert rule.amount == Decimal("1140") + Decimal("1000.0001") - Decimal("0.01")


def test_the_score_counts_open_deals_without_a_finding_of_high_severity(result):
    story, made, _ = result
    high = {rule.rule for rule in made.rules if rule.severity == "high"}
    closed = {str(one.ref) for one in story.rows if one.outcome is not Outcome.OPEN}
    spoiled = {key for key, broken in story.broken.items() if high & set(broken)} - closed
    total = len(story.rows) - len(closed) - 1
    assert (made.open_count, made.high_count) == (total, len(spoiled))
    assert made.hygiene_score.value == pytest.approx(Decimal(total - len(spoiled)) / total)
    for parts in (made.by_owner, made.by_connection):
        assert sum(part.open_count for part in parts) == made.open_count
        assert sum(part.high_count for part in parts) == made.high_count
    names = {part.name: part.high_count for part in made.by_owner}
    assert (names["Bob"], names[None]) == (1, 1)


def test_a_connection_that_tells_no_next_step_is_not_judged_by_it(result):
    _, made, _ = result
    assert {rule.rule: rule.not_readable for rule in made.rules if rule.not_readable} == {"H08": ("silent",)}


def test_look_alikes_are_told_as_pairs(result):
    _, made, _ = result
    found = {
        tuple(sorted((pair.ref.split(":")[2], pair.other_ref.split(":")[2]))) for pair in made.look_alikes
    }
    assert found == {
        ("twin", "twin, typed again"),
        ("twin", "twin, 30 days on"),
        ("twin, 30 days on", "twin, typed again"),
    }
    assert made.look_alike_count == 3
    assert all(pair.likeness >= 80 for pair in made.look_alikes)
    assert (made.crowded_count, made.uncompared_pairs) == (0, 0)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Acme - Website relaunch", "website relaunch (Acme)", True),
        ("Website relaunch", "Website re-launch", True),
        ("Support 2025", "Support 2026", False),
        ("Licences", "Training", False),
        ("", "", False),
    ],
)
def test_names_are_compared_without_their_company_and_by_year(one, other, alike):
    assert (likeness(one, other, "Acme") >= 80) is alike


def test_a_crowd_of_equal_deals_is_counted_and_not_compared():
    rows = [row(str(n), company_id="c", expected_close=date(2026, 11, 1)) for n in range(201)]
    with facts_of(Book(rows), USD, chosen()) as facts:
        made = hygiene(facts, chosen())
    assert (made.crowded_count, made.look_alike_count) == (201, 0)


def test_amounts_are_asked_for_from_the_required_stage_on_and_no_outlier_without_a_sample():
    early = row("early", amount=None)
    late = row("late", amount=None, stage_id="s2", stage_name="Second", common_stage="proposal")
    huge = row("huge", amount="9999999999999")
    won = row("won", amount="1", outcome=Outcome.WON, closed_at=day("2026-09-15"), **{"stage_id": "s9"})
    config = chosen(amount_required_stage="proposal")
    with facts_of(Book([early, late, huge, won]), USD, config) as facts:
        made = hygiene(facts, config)
    refs = {rule.rule: rule.refs for rule in made.rules}
    assert refs["H03"] == ("one:deal:late",)
    assert (refs["H04"], made.outlier_limit) == ((), None)


def test_nothing_open_gives_no_score():
    with facts_of(Book([]), USD, chosen()) as facts:
        made = hygiene(facts, chosen())
    assert made.hygiene_score.value is None
    assert {rule.count for rule in made.rules} == {0}


@pytest.mark.parametrize("month", range(1, 13))
def test_the_last_day_of_each_month_is_known(month, last_days):
    first = date(2028, month, 1)
    following = date(2028 + month // 12, month % 12 + 1, 1)
    assert last_days[day_number(first)] == day_number(following) - 1


@pytest.fixture(scope="module")
def last_days() -> dict[int, int]:
    """Per month of 2028, the only day that counts as preset for a deal of its first day."""
    rows, firsts = [], [date(2028, month, 1) for month in range(1, 13)]
    for first in firsts:
        for offset in range(27, 32):
            created = datetime(first.year, first.month, 1, 12, tzinfo=UTC)
            close = first + timedelta(days=offset)
            rows.append(row(f"{first}/{offset}", "preset", created_at=created, expected_close=close))
    config = settings(
        as_of=datetime(2029, 1, 1, tzinfo=UTC), month_end_close=frozenset({"preset"}), far_days=9999
    )
    with facts_of(Book(rows), USD, config) as facts:
        made = hygiene(facts, config)
    (rule,) = [rule for rule in made.rules if rule.rule == "H16"]
    assert rule.count == 12
    found = {}
    for key in rule.refs:
        first, offset = key.split(":")[2].split("/")
        number = day_number(date.fromisoformat(first))
        found[number] = number + int(offset)
    return found
