"""What is ordered after a slice of work on the queue."""

from __future__ import annotations

import pytest

from crmkit.errors import Busy, CrmkitError
from crmkit.queueing import BUSY_PAUSE_SECONDS, PULL_PAUSE_SECONDS, Order, after
from crmkit.slices import Slice


def busy(lease: str) -> Slice:
    error = Busy("somebody does it")
    error.lease = lease
    return Slice(Busy.exit_code, error=error)


FRESH = Order("sync:main", "main", "2026-11-24T03:00:00+00:00")
BEGUN = Order(FRESH.task, FRESH.schedule, FRESH.tick, begun=True)
PULL = Order("pull:hubspot", begun=True)


@pytest.mark.parametrize(
    ("order", "ended", "expected"),
    [
        (FRESH, Slice(0), None),
        (FRESH, Slice(1, error=CrmkitError("no")), None),
        (FRESH, Slice(5, more=True), (BEGUN, 0.0)),
        (BEGUN, Slice(5, more=True), (BEGUN, 0.0)),
        (BEGUN, Slice(5), None),
        (FRESH, busy("sync:main"), None),
        (BEGUN, busy("sync:main"), (BEGUN, BUSY_PAUSE_SECONDS)),
        (FRESH, busy("pull:hubspot"), (BEGUN, PULL_PAUSE_SECONDS)),
        (Order("pull:hubspot"), busy("pull:hubspot"), None),
        (PULL, busy("pull:hubspot"), (PULL, BUSY_PAUSE_SECONDS)),
    ],
)  # fmt: skip
def test_what_comes_after_a_slice(order: Order, ended: Slice, expected: tuple[Order, float] | None) -> None:
    assert after(order, ended) == expected


def test_what_goes_on_does_not_keep_a_new_tick_out_of_the_queue() -> None:
    assert FRESH.lock != BEGUN.lock
    assert FRESH.lock == Order("sync:main").lock
