"""When a schedule has a tick: intervals, cron, quiet hours, and days on which the clock is changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmkit.scheduling.quiet import QuietHours, block
from crmkit.scheduling.schedule import Schedule, due, every_text, next_due, offset, parse_every
from crmkit.scheduling.task import Task
from crmkit.scheduling.timeline import timeline

MINUTE = timedelta(minutes=1)
SYNC = Task("sync", ("main",))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")


def made(
    every: str | None = None, cron: str | None = None, zone: str = "UTC", quiet: tuple[str, ...] = (),
    name: str = "main", enabled: bool = True,
) -> Schedule:  # fmt: skip
    return Schedule(
        name, SYNC, parse_every(every) if every else None, cron, zone,
        tuple(map(QuietHours.parse, quiet)), enabled,
    )  # fmt: skip


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def ticks(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    found, tick = [], next_due(schedule, start)
    while tick < end:
        found.append(tick)
        tick = next_due(schedule, tick)
    return found


def local(schedule: Schedule, day: str, hours: int = 24) -> list[str]:
    """The ticks of a local day as that place's wall clock shows them, with the offset."""
    start = at(f"{day}T00:00", schedule.time_zone) - timedelta(seconds=1)
    end = start + timedelta(hours=hours, seconds=1)
    return [f"{tick.astimezone(schedule.zone):%H:%M%z}" for tick in ticks(schedule, start, end)]


@pytest.mark.parametrize(
    ("zone", "day", "cron", "expected"),
    [
        # Skipped: once, right after the gap.
        ("Europe/Berlin", "2026-03-29", "30 2 * * *", ["03:00+0200"]),
        ("Europe/Berlin", "2026-03-29", "*/10 2 * * *", ["03:00+0200"]),
        ("America/New_York", "2026-03-08", "15 2 * * *", ["03:00-0400"]),
        ("Australia/Lord_Howe", "2026-10-04", "15 2 * * *", ["02:30+1100"]),
        # Twice: once, the first time.
        ("Europe/Berlin", "2026-10-25", "30 2 * * *", ["02:30+0200"]),
        ("America/New_York", "2026-11-01", "30 1 * * *", ["01:30-0400"]),
        ("Australia/Lord_Howe", "2026-04-05", "45 1 * * *", ["01:45+1100"]),
        # Neither.
        ("Asia/Kathmandu", "2026-03-29", "45 5 * * *", ["05:45+0545"]),
        ("Australia/Lord_Howe", "2026-10-04", "0,10,40 5 * * *", ["05:00+1100", "05:10+1100", "05:40+1100"]),
    ],
)
def test_a_cron_time_comes_once_on_a_day_the_clock_is_changed(
    zone: str, day: str, cron: str, expected: list[str]
) -> None:
    assert local(made(cron=cron, zone=zone), day, 23) == expected


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_what_runs_every_hour_goes_on_through_a_change_of_the_clock(day: str, hours: int) -> None:
    assert len(local(made(cron="*/15 * * * *", zone="Europe/Berlin"), day, hours)) == 4 * hours


def test_every_minute_of_an_hour_after_a_shift_of_half_an_hour_comes() -> None:
    assert len(local(made(cron="* 5 * * *", zone="Australia/Lord_Howe"), "2026-10-04", 23)) == 60


def test_a_rare_cron_time_is_found_forwards_and_backwards() -> None:
    leap = made(cron="0 12 29 2 *")
    assert next_due(leap, at("2026-01-01")) == at("2028-02-29T12:00")
    assert due(leap, None, at("2026-01-01")) == at("2024-02-29T12:00")


def test_an_interval_does_not_drift() -> None:
    schedule = made("15m")
    found = ticks(schedule, at("2026-03-28"), at("2026-03-30"))
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=15)}
    assert next_due(schedule, found[5] + timedelta(seconds=400)) == found[6]


def test_fifty_portals_do_not_start_in_the_same_second() -> None:
    starts = [offset(f"portal-{number}", timedelta(minutes=15)) for number in range(50)]
    assert len(set(starts)) >= 45
    assert max(starts) < timedelta(minutes=10)


def test_a_tick_in_the_quiet_hours_comes_once_at_their_end() -> None:
    schedule = made(cron="0 * * * *", zone="Europe/Berlin", quiet=("22:00-06:30",))
    assert local(schedule, "2026-06-01")[:2] == ["06:30+0200", "07:00+0200"]
    assert local(schedule, "2026-06-01")[-1] == "21:00+0200"


def test_quiet_hours_that_touch_are_one_span() -> None:
    schedule = made(cron="0 12 * * *", quiet=("sat,sun 00:00-24:00", "mon 00:00-08:00"))
    assert next_due(schedule, at("2026-11-20T13:00")) == at("2026-11-23T08:00")  # Friday to Monday


def test_quiet_hours_are_longer_on_the_night_that_has_an_hour_more() -> None:
    span = block((QuietHours.parse("22:00-02:30"),), at("2026-10-24T22:00"), ZoneInfo("Europe/Berlin"))
    assert span is not None
    assert span[1] - span[0] == timedelta(hours=5, minutes=30)


def test_ten_missed_ticks_are_one_run() -> None:
    schedule = made(cron="*/15 * * * *")
    first = due(schedule, at("2026-06-01T08:00"), at("2026-06-01T10:37"))
    assert first == at("2026-06-01T10:30")
    assert due(schedule, first, at("2026-06-01T10:44")) is None


def test_nothing_is_caught_up_before_the_quiet_hours_end() -> None:
    schedule = made(cron="0 21,23 * * *", quiet=("22:00-06:00",))
    last = at("2026-06-01T21:00")
    assert due(schedule, last, at("2026-06-02T05:59")) is None
    assert due(schedule, last, at("2026-06-02T09:00")) == at("2026-06-02T06:00")


def test_nothing_is_due_of_a_paused_schedule() -> None:
    assert due(made("15m", enabled=False), None, at("2026-06-01")) is None


CRONS = st.sampled_from(
    ["*/7 * * * *", "30 2 * * *", "0 */3 * * *", "15 1,2 * * 0", "0 9 1 * *", "* 2 * * *"]
)
QUIETS = st.sampled_from([(), ("22:00-06:00",), ("01:30-02:45", "sun 02:45-09:00"), ("mon-fri 08:00-17:00",)])
SCHEDULES = st.builds(
    lambda every, cron, zone, quiet: made(*((every, None) if every else (None, cron)), zone, quiet),
    st.sampled_from([None, "1m", "17m", "5h", "3d"]), CRONS, st.sampled_from(ZONES), QUIETS,
)  # fmt: skip
# Close to where the clocks change, where it is hard.
CHANGES = [
    at(day) for day in ("2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01")
]
MOMENTS = st.builds(
    lambda day, minutes: day + minutes * MINUTE, st.sampled_from(CHANGES), st.integers(-2000, 2000)
)


@settings(max_examples=60, deadline=None)
@given(SCHEDULES, MOMENTS)
def test_ticks_only_go_forward_and_never_into_quiet_hours(schedule: Schedule, start: datetime) -> None:
    tick = start
    for _ in range(6):
        later = next_due(schedule, tick)
        assert later > tick
        assert block(schedule.quiet, later, schedule.zone) is None
        assert next_due(schedule, tick + (later - tick) / 2) == later  # none is in between
        tick = later


@settings(max_examples=60, deadline=None)
@given(SCHEDULES, MOMENTS, st.integers(0, 5000))
def test_one_run_at_most_is_caught_up_and_it_is_a_tick(schedule: Schedule, last: datetime, away: int) -> None:
    now = last + away * MINUTE
    tick = due(schedule, last, now)
    if tick is None:
        assert next_due(schedule, last) > now
        return
    assert last < tick <= now
    assert next_due(schedule, tick - timedelta(microseconds=1)) == tick
    assert next_due(schedule, tick) > now
    assert due(schedule, tick, now) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"cron": "* * * *"}, {"cron": "61 * * * *"}, {"cron": "0 0 30 2 *"}, {"cron": "0 0 * * * *"},
        {"every": "30s"}, {"every": "1m", "cron": "* * * * *"}, {}, {"every": "1m", "zone": "Berlin"},
        {"every": "1m", "zone": "../etc"}, {"every": "1m", "quiet": ("00:00-24:00",)},
        {"every": "1m", "quiet": ("22:00",)}, {"every": "1m", "quiet": ("25:00-26:00",)},
        {"every": "1m", "name": "a b"}, {"every": "soon"},
    ],
    ids=str,
)  # fmt: skip
def test_a_schedule_that_could_not_be_carried_out_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        made(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["22:00-06:00", "sat,sun 00:00-24:00", "mon 08:00-12:15"])
def test_quiet_hours_are_written_as_they_are_read(text: str) -> None:
    assert str(QuietHours.parse(text)) == text


@pytest.mark.parametrize("text", ["sync:main", "pull", "pull:a,b", "report"])
def test_a_task_is_written_as_it_is_read(text: str) -> None:
    assert str(Task.parse(text)) == text


@pytest.mark.parametrize("text", ["", "sync", "sync:", "sync:a,b", "report:a", "rm:x", "pull:a,,b"])
def test_what_is_no_task_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Task.parse(text)


@pytest.mark.parametrize("text", ["90s", "15m", "36h", "1d", "2w"])
def test_an_interval_is_written_as_it_is_read(text: str) -> None:
    assert every_text(parse_every(text)) == text


def test_the_timeline_shows_each_half_hour() -> None:
    bar = timeline(made(cron="0 6,18 * * *"), at("2026-06-01T00:00"))
    assert bar == "." * 11 + "|" + "." * 23 + "|" + "." * 12
    assert timeline(made("1m"), at("2026-06-01")) == "#" * 48
