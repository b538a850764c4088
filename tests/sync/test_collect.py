"""What pulls stored becomes fact tables: the same deals, with their past, on either database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from crmkit.config import ConnectionSettings
from crmkit.connectors.base import Context
from crmkit.connectors.memory import Memory, MemoryConnector
from crmkit.mapping.stages import DEFAULT_OUTLINE
from crmkit.model import DealContact, Kind, Note, Outcome, Ref
from crmkit.report import load
from crmkit.report.facts import scale
from crmkit.report.facts.collect import Collector
from crmkit.report.facts.deals import deals_at
from crmkit.report.facts.engine import Facts, duckdb
from crmkit.report.facts.visits import visits_at
from crmkit.report.inputs import Settings
from crmkit.report.rates import rates_from_mapping
from crmkit.sync.pull import Pull
from crmkit.sync.state import State
from tests.connectors.conftest import FakeClock, FakeSecrets
from tests.report.test_load import STAGES, deal, filled

FIRST = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)


def pull(state: State, connection: str, memory: Memory, at: datetime) -> None:
    context = Context(connection, FakeSecrets(), clock=FakeClock(at))
    result = Pull(state, MemoryConnector(context, None, memory)).run()
    assert result.error is None


@contextmanager
def facts_of(
    state: State, folder: Path, *connections: str, **changes: object
) -> Iterator[tuple[Facts, Settings]]:
    maps = [
        load.stage_map(state, name, ConnectionSettings(crm="memory", stages=STAGES), DEFAULT_OUTLINE)
        for name in connections
    ]
    values: dict[str, object] = {
        "report_currency": "EUR",
        "time_zone": "Europe/Berlin",
        "as_of": FIRST + timedelta(days=20),
        "stages": DEFAULT_OUTLINE.stages,
        "native_stages": load.native_stages(maps),
        "teams": {"North": ("ada@example.org",)},
    }
    settings = Settings(**(values | changes))  # type: ignore[arg-type]
    rates = rates_from_mapping("EUR", {"USD": {"2026-01-01": "0.9"}})
    custom = {"one": {"renewal": "renews"}}
    Collector(state, load.Linked(state, maps), rates, settings, custom_days=custom).write(folder)
    with duckdb(folder) as facts:
        yield facts, settings


def test_everything_a_deal_holds_is_there(state: State, tmp_path: Path) -> None:
    memory = filled(
        "one",
        deal(
            "one", "a", amount=Decimal("1234.5678"), currency="USD", stage_id="s2",
            probability=Decimal("0.25"),
            next_activity_at=FIRST, contacts=(DealContact(id="k"), DealContact(id="l")),
            custom={"renews": date(2027, 3, 1)}, forecast_category="commit", created_at=FIRST,
        ),
    )  # fmt: skip
    note = Ref("one", Kind.NOTE, "n")
    memory.put(Note(ref=note, deal_id="a", text="Called", at=FIRST + timedelta(hours=5)))
    pull(state, "one", memory, FIRST)
    with facts_of(state, tmp_path, "one") as (facts, settings):
        (found,) = facts.rows(f"SELECT * FROM {deals_at(facts, settings)}")
    assert {
        "ref": "one:deal:a", "native": 12_345_678, "currency": "USD", "stage": "proposal", "place": 1,
        "share": 250_000, "owner_key": "ada@example.org", "owner_name": "Ada", "team": "North",
        "company": "Acme one", "contacts": 2, "forecast_category": "commit",
        "close_day": scale.day_number(date(2026, 12, 31)), "next_us": scale.instant(FIRST),
        "renewal_day": scale.day_number(date(2027, 3, 1)), "life": "live", "status": "open",
        "first_seen_us": scale.instant(FIRST),
    }.items() <= found.items()  # fmt: skip
    assert scale.money(found["value"]) == Decimal("1111.11102")
    assert scale.day(found["created_day"]) == date(2026, 11, 2)


def test_each_pull_is_an_instant_to_go_back_to(state: State, tmp_path: Path) -> None:
    later = [FIRST + timedelta(days=days) for days in (0, 5, 10, 15)]
    memory = filled(
        "one", deal("one", "a", created_at=FIRST, modified_at=FIRST), deal("one", "b", amount=None)
    )
    pull(state, "one", memory, later[0])
    memory.put(
        deal("one", "a", created_at=FIRST, amount=Decimal("2500.5"), stage_id="s2", expected_close=None,
             modified_at=later[1], contacts=(DealContact(id="k"),), probability=Decimal("0.125"))
    )  # fmt: skip
    pull(state, "one", memory, later[1])
    memory.put(
        deal(
            "one",
            "a",
            created_at=FIRST,
            outcome=Outcome.WON,
            stage_id="s3",
            closed_at=later[2],
            modified_at=later[2],
        )
    )
    memory.put(deal("one", "c", created_at=later[2]))
    memory.remove(Ref("one", Kind.DEAL, "b"))
    pull(state, "one", memory, later[2])
    shown = []
    with facts_of(state, tmp_path, "one") as (facts, settings):
        for at in later[:3]:
            table = deals_at(facts, settings, at)
            shown.append(
                {
                    row["id"]: (
                        row["life"],
                        row["status"],
                        row["native"],
                        row["stage"],
                        row["close_day"],
                        row["contacts"],
                    )
                    for row in facts.rows(f"SELECT * FROM {table}")
                }
            )
        visits = facts.rows(
            f"SELECT * FROM {visits_at(facts, scale.instant(later[3]))} ORDER BY id, entered_us"
        )
    close = scale.day_number(date(2026, 12, 31))
    a0, a1 = (
        ("live", "open", 10_000_000, "prospecting", close, 0),
        ("live", "open", 25_005_000, "proposal", None, 1),
    )
    b = ("live", "open", None, "prospecting", close, 0)
    assert shown == [
        {"a": a0, "b": b},
        {"a": a1, "b": b},
        {
            "a": ("live", "won", 10_000_000, "won", close, 0),
            "b": ("gone", *b[1:]),
            "c": ("live", "open", 10_000_000, "prospecting", close, 0),
        },
    ]
    assert [(row["id"], row["stage_id"], scale.moment(row["entered_us"])) for row in visits] == [
        ("a", "s1", later[0]), ("a", "s2", later[1]), ("a", "s3", later[2]), ("c", "s1", later[2]),
    ]  # fmt: skip


def test_the_same_deal_in_two_crms_is_one(state: State, tmp_path: Path) -> None:
    for name in ("one", "two"):
        pull(state, name, filled(name, deal(name, "a", name="Big renewal")), FIRST)
    with facts_of(state, tmp_path, "one", "two", record_order=("two", "one")) as (facts, settings):
        (found,) = facts.rows(f"SELECT connection, records FROM {deals_at(facts, settings)}")
    assert found == {"connection": "two", "records": 2}


@pytest.mark.parametrize("amount", ["1E+13", "-99999999999999"])
def test_an_absurd_amount_is_marked_and_not_added(state: State, tmp_path: Path, amount: str) -> None:
    pull(state, "one", filled("one", deal("one", "a", amount=Decimal(amount))), FIRST)
    with facts_of(state, tmp_path, "one") as (facts, settings):
        (found,) = facts.rows(f"SELECT value, amount_unreadable FROM {deals_at(facts, settings)}")
    assert found == {"value": None, "amount_unreadable": True}


def test_a_deal_closed_years_ago_has_the_rate_of_its_day(state: State, tmp_path: Path) -> None:
    closed = datetime(2026, 1, 5, tzinfo=UTC)
    won = deal(
        "one", "a", amount=Decimal(100), currency="USD", outcome=Outcome.WON, stage_id="s3", closed_at=closed
    )
    pull(state, "one", filled("one", won), FIRST)
    later = {"as_of": closed + timedelta(days=3000)}
    with facts_of(state, tmp_path, "one", **later) as (facts, settings):
        (found,) = facts.rows(f"SELECT value FROM {deals_at(facts, settings)}")
    assert scale.money(found["value"]) == 90
