"""Schedules in the store: one machine gets a tick; and a day of schedules in seconds."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from crmkit.errors import Busy, UsageError
from crmkit.sync import lease
from crmkit.sync import schedules_table as table
from crmkit.sync.state import State
from tests.scheduling.test_ticks import MINUTE, at, made

START = at("2026-06-01T08:01")
TICK = at("2026-06-01T08:15")
EVERY_QUARTER = made(cron="*/15 * * * *")


def test_of_all_that_ask_one_gets_a_tick(state: State) -> None:
    table.add(state, EVERY_QUARTER, START)
    other = State(state.url.render_as_string(hide_password=False))  # another machine
    try:
        for number in range(5):
            tick = TICK + number * 15 * MINUTE
            together, got = threading.Barrier(4), []

            def ask(store: State, tick: datetime = tick, together: threading.Barrier = together,
                    got: list[bool] = got) -> None:  # fmt: skip
                together.wait()
                got.append(table.claim(store, "main", tick, tick))

            threads = [threading.Thread(target=ask, args=(store,)) for store in (state, other) * 2]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(got) == [False, False, False, True]
    finally:
        other.close()


def test_a_schedule_comes_back_as_it_was_stored(state: State) -> None:
    whole = made("90m", zone="Asia/Kathmandu", quiet=("22:00-06:00", "sat,sun 00:00-24:00"), name="a")
    table.add(state, whole, START)
    table.add(state, EVERY_QUARTER, START)
    assert [one.schedule for one in table.load(state)] == [whole, EVERY_QUARTER]
    with pytest.raises(UsageError, match="already"):
        table.add(state, whole, START)


def test_how_a_run_ended_is_kept_unless_a_later_one_began(state: State) -> None:
    table.add(state, EVERY_QUARTER, START)
    assert table.claim(state, "main", TICK, TICK)
    table.ended(state, "main", TICK, 4, TICK + MINUTE)
    [one] = table.load(state)
    assert (one.exit_code, one.started_at, one.ended_at) == (4, TICK, TICK + MINUTE)
    later = TICK + 15 * MINUTE
    assert table.claim(state, "main", later, later)
    table.ended(state, "main", TICK, 0, later)
    assert table.load(state)[0].exit_code is None


def test_a_pause_is_not_caught_up(state: State) -> None:
    table.add(state, EVERY_QUARTER, START)
    table.set_enabled(state, "main", False, START)
    assert not table.claim(state, "main", TICK, TICK)
    table.set_enabled(state, "main", True, TICK + 2 * MINUTE)
    assert table.waiting(table.load(state), TICK + 3 * MINUTE) == []
    assert len(table.waiting(table.load(state), TICK + 15 * MINUTE)) == 1
    table.remove(state, "main")
    assert not table.claim(state, "main", TICK, TICK)
    for act in (lambda: table.remove(state, "main"), lambda: table.set_enabled(state, "main", True, TICK)):
        with pytest.raises(UsageError, match="no schedule"):
            act()


class Day:
    """A runner under an injected clock: looks every minute, runs what is due, for as long as it is told."""

    def __init__(self, state: State, start: datetime) -> None:
        self.state, self.now = state, start
        self.ran: list[tuple[str, datetime]] = []
        self.codes: Counter[tuple[str, int]] = Counter()
        self.last: dict[str, datetime] = {}

    def look(self) -> None:
        for one, tick in table.waiting(self._stored, self.now):
            name = one.schedule.name
            assert table.claim(self.state, name, tick, self.now)
            assert not table.claim(self.state, name, tick, self.now)  # the other machine, a moment later
            self.ran.append((name, tick))
            code = 0
            try:
                with lease.hold(self.state, f"sync:{one.schedule.what.names[0]}", lambda: self.now):
                    pass
            except Busy as busy:
                code = busy.exit_code
            self.codes[name, code] += 1
            table.ended(self.state, name, tick, code, self.now)
            self._stored = table.load(self.state)

    def until(self, end: datetime) -> None:
        self._stored = table.load(self.state)
        while self.now < end:
            self.look()
            self.now += MINUTE


def test_a_day_of_schedules(tmp_path: object) -> None:
    """The day on which Berlin's clocks go forward: 23 hours, five schedules, an outage, a long run."""
    zone = "Europe/Berlin"
    state = State(f"sqlite:///{tmp_path}/state.db")
    midnight = at("2026-03-29T00:00", zone)
    five = [
        made("30m", name="often"),
        made(cron="30 2 * * *", zone=zone, name="skipped-hour"),
        made(cron="0 * * * *", zone=zone, quiet=("22:00-06:30",), name="quiet-nights"),
        made(cron="0 12 * * *", zone=zone, name="noon"),
        made(cron="5 */2 * * *", zone="Asia/Kathmandu", name="far"),
    ]
    for schedule in five:
        own = replace(schedule, what=replace(schedule.what, names=(schedule.name,)))
        table.add(state, own, midnight - MINUTE)
    day = Day(state, midnight)

    day.until(at("2026-03-29T11:00", zone))
    # Somebody runs `often` by hand for an hour: its ticks are refused, the others go on.
    with lease.hold(state, "sync:often", lambda: day.now):
        day.until(at("2026-03-29T12:00", zone))
    day.until(at("2026-03-29T14:00", zone))
    before = Counter(name for name, _ in day.ran)
    day.now += timedelta(hours=5)  # the machine is off from 14:00 to 19:00
    day._stored = table.load(state)
    day.look()
    caught_up = Counter(name for name, _ in day.ran) - before
    day.now += MINUTE
    day.until(midnight + timedelta(hours=23))
    state.close()

    ran = Counter(name for name, _ in day.ran)
    assert caught_up == {"often": 1, "quiet-nights": 1, "far": 1}
    assert ran["noon"] == 1
    assert [tick for name, tick in day.ran if name == "skipped-hour"] == [at("2026-03-29T03:00", zone)]
    assert day.codes["often", 8] == 2
    assert ran["often"] == 2 * (23 - 5) + 1
    # 06:30, 07:00 to 14:00 but the last, which the outage took; 19:00 caught up, 20:00, 21:00.
    assert ran["quiet-nights"] == 1 + 7 + 1 + 2
    assert sum(count for (_, code), count in day.codes.items() if code == 8) == 2
    assert len(set(day.ran)) == len(day.ran)
