"""Alerts are sent once, repeated after a while, and taken back: the decision table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pydantic import ValidationError

from crmkit.alert_settings import AlertSettings
from crmkit.alerts.decide import Finding, Findings, decide
from crmkit.alerts.drift import Side, differs
from crmkit.alerts.findings import ended
from crmkit.alerts.message import message
from crmkit.errors import AccessDenied, CrmkitError
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import Kind, Pipeline, Ref, Stage
from crmkit.sync.told import Known

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(hours=24)
ALL = frozenset({"failed", "guard", "partly", "conflicts", "drift"})


def hours(count: float) -> datetime:
    return NOW - timedelta(hours=count)


FOUND = Finding("failed", "it failed.")
TWICE = Finding("partly", "in part only.", times=2)


@pytest.mark.parametrize(
    ("known", "found", "checked", "told", "kept"),
    [
        # Nothing known, nothing found.
        ([], [], ALL, {}, []),
        # Found for the first time: told.
        ([], [FOUND], ALL, {"failed": "new"}, [Known("failed", NOW, 1, NOW)]),
        # Still found, told lately: silent.
        (
            [Known("failed", hours(2), 1, hours(2))],
            [FOUND],
            ALL,
            {},
            [Known("failed", hours(2), 2, hours(2))],
        ),
        # Still found, told a day ago: told again.
        (
            [Known("failed", hours(25), 9, hours(24))],
            [FOUND],
            ALL,
            {"failed": "again"},
            [Known("failed", hours(25), 10, NOW)],
        ),
        # Over: told as resolved and forgotten.
        ([Known("failed", hours(2), 1, hours(2))], [], ALL, {"failed": "resolved"}, []),
        # Not looked at this time: neither over nor told.
        (
            [Known("drift", hours(30), 1, hours(30))],
            [],
            ALL - {"drift"},
            {},
            [Known("drift", hours(30), 1, hours(30))],
        ),
        # Must be found twice in a row: noticed, then told.
        ([], [TWICE], ALL, {}, [Known("partly", NOW, 1, None)]),
        (
            [Known("partly", hours(1), 1)],
            [TWICE],
            ALL,
            {"partly": "new"},
            [Known("partly", hours(1), 2, NOW)],
        ),
        # Noticed once and gone: nobody was told, so nobody hears that it is over.
        ([Known("partly", hours(1), 1)], [], ALL, {}, []),
        # Found, but nobody could be told the last time: told as new.
        (
            [Known("failed", hours(1), 1)],
            [FOUND],
            ALL,
            {"failed": "new"},
            [Known("failed", hours(1), 2, NOW)],
        ),
        # One over, another new: both in one message.
        (
            [Known("guard", hours(3), 1, hours(3))],
            [FOUND],
            ALL,
            {"failed": "new", "guard": "resolved"},
            [Known("failed", NOW, 1, NOW)],
        ),
    ],
)
def test_what_is_told_and_kept(
    known: list[Known],
    found: list[Finding],
    checked: frozenset[str],
    told: dict[str, str],
    kept: list[Known],
) -> None:
    decision = decide(known, NOW, Findings(found, checked), DAY)
    assert decision.statuses() == told
    assert decision.tell is bool(told)
    assert decision.kept(NOW, told=True) == kept


def test_what_nobody_could_be_told_is_told_by_the_next_run() -> None:
    known = [Known("guard", hours(3), 1, hours(3))]
    decision = decide(known, NOW, Findings([FOUND], ALL), DAY)
    kept = decision.kept(NOW, told=False)
    assert decide(kept, NOW, Findings([FOUND], ALL), DAY).statuses() == decision.statuses()


@pytest.mark.parametrize(
    ("code", "topic"),
    [(0, None), (4, None), (1, "failed"), (2, "failed"), (7, "failed"), (6, "guard"), (5, "partly")],
)
def test_the_exit_code_says_what_to_tell(code: int, topic: str | None) -> None:
    found = ended("main", code, None)
    assert [one.topic for one in found or []] == ([topic] if topic else [])


@pytest.mark.parametrize("code", [8, 130])
def test_a_busy_or_interrupted_run_shows_nothing_either_way(code: int) -> None:
    assert ended("main", code, CrmkitError("busy")) is None


def test_the_text_of_an_error_does_nothing_in_a_chat_and_holds_no_secret() -> None:
    error = AccessDenied("one: @channel <!here> s3cret-token [x](http://evil.example)\nsecond *line*")
    found = ended("my_sync", 7, error)
    decision = decide([], NOW, Findings(found or [], ALL), DAY)
    told = message("my_sync", decision, lambda text: text.replace("s3cret-token", "•••"))
    assert told.title == "crmkit: sync my_sync: needs somebody"
    quoted = told.markdown.partition("(")[2]
    assert not set("@<>[]*") & set(quoted)
    assert "://" not in quoted
    assert "s3cret" not in told.text
    assert len(told.text.splitlines()) == 1


def test_settings_are_checked() -> None:
    assert AlertSettings(to=("ops",), on=("guard",)).repeat_after == DAY
    for wrong in ({"on": ["gaurd"]}, {"to": ["a", "a"]}, {"repeat_hours": 0}, {"drift_deals": 0}):
        with pytest.raises(ValidationError):
            AlertSettings.model_validate(wrong)


def stage_map(connection: str, *commons: str) -> StageMap:
    """One pipeline `p` with a stage for each of these common stages."""
    stages = tuple(Stage(id=one, name=one, order=at) for at, one in enumerate(commons))
    pipeline = Pipeline(ref=Ref(connection, Kind.PIPELINE, "p"), name="Sales", stages=stages)
    return StageMap(connection, DEFAULT_OUTLINE, (pipeline,), {("p", one): one for one in commons})


MAPS = {"one": stage_map("one", "meeting", "proposal"), "two": stage_map("two", "meeting", "negotiation")}


def side(connection: str, stage: str | None, amount: str | None = "100", currency: str = "USD") -> Side:
    return Side(connection, "p", stage, Decimal(amount) if amount is not None else None, currency)


@pytest.mark.parametrize(
    ("one", "two", "drifts"),
    [
        (side("one", "meeting"), side("two", "meeting"), False),
        (side("one", "meeting"), side("two", "meeting", "250"), True),
        (side("one", "meeting"), side("two", "meeting", "100.40"), False),  # rounded by a CRM
        (side("one", "meeting"), side("two", "meeting", "250", "EUR"), False),
        (side("one", "meeting"), side("two", "meeting", None), False),
        (side("one", "meeting"), side("two", None), False),  # not mapped: the linter tells
        (side("one", "proposal"), side("two", "meeting"), False),  # two cannot hold it
        (side("one", "proposal"), side("two", "negotiation"), False),
    ],
)
def test_two_sides_differ_only_where_both_could_hold_the_same(one: Side, two: Side, drifts: bool) -> None:
    assert differs([one, two], {"stage", "amount"}, MAPS) is drifts


def test_sides_that_could_hold_each_others_stage_differ() -> None:
    maps = {name: stage_map(name, "meeting", "proposal") for name in ("one", "two", "three")}
    sides = [side("one", "meeting"), side("two", None), side("three", "proposal")]
    assert differs(sides, {"stage"}, maps)
    assert not differs(sides, {"amount"}, maps)
