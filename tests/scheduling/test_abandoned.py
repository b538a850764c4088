"""A tick whose process died is taken up by one of those that come after it; one that is worked on is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crmkit.scheduling.schedule import Schedule
from crmkit.scheduling.task import Task
from crmkit.sync import schedules_table
from crmkit.sync.lease import hold
from crmkit.sync.schedules_table import Stored
from crmkit.sync.state import State

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
LATER = NOW + schedules_table.ABANDONED_AFTER


@pytest.fixture
def begun(state: State) -> Stored:
    """A tick that was claimed and never ended."""
    schedule = Schedule("main", Task.parse("sync:main"), every=timedelta(days=1))
    schedules_table.add(state, schedule, NOW - timedelta(days=2))
    ((_, tick),) = schedules_table.waiting(schedules_table.load(state), NOW)
    assert schedules_table.claim(state, "main", tick, NOW)
    (stored,) = schedules_table.load(state)
    return stored


def test_a_tick_that_never_ended_is_taken_up_once(state: State, begun: Stored) -> None:
    assert schedules_table.abandoned(state, [begun], LATER - timedelta(seconds=1)) == []
    assert schedules_table.abandoned(state, [begun], LATER) == [begun]
    assert schedules_table.retake(state, begun, LATER)
    assert not schedules_table.retake(state, begun, LATER)
    assert schedules_table.abandoned(state, schedules_table.load(state), LATER) == []


@pytest.mark.parametrize("lease", ["sync:main", "pull:hubspot"])
def test_a_tick_that_somebody_works_on_is_his(state: State, begun: Stored, lease: str) -> None:
    with hold(state, lease, lambda: LATER):
        assert schedules_table.abandoned(state, [begun], LATER) == []


def test_a_tick_of_a_schedule_that_is_paused_is_not_taken_up(state: State, begun: Stored) -> None:
    schedules_table.set_enabled(state, begun.schedule.name, False, LATER)
    assert schedules_table.abandoned(state, schedules_table.load(state), LATER) == []


def test_a_tick_that_has_ended_is_not_taken_up(state: State, begun: Stored) -> None:
    schedules_table.ended(state, "main", begun.last_due, 0, LATER)
    assert schedules_table.abandoned(state, schedules_table.load(state), LATER) == []
    assert not schedules_table.retake(state, begun, LATER)
