"""Limits and daily budgets in the store hold over all processes; each test plays two of them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from crmkit.connectors.clock import SystemClock
from crmkit.connectors.pacing import Bucket, Limit, Pacer, ToldLimit, Window
from crmkit.connectors.usage import Usage
from crmkit.errors import QuotaExhausted
from crmkit.sync.daily_budget import BLOCK, DailyBudget
from crmkit.sync.shared_limits import SharedLimits
from crmkit.sync.state import State


class Machine:
    """A process with its own limits, and a clock that began when the machine did."""

    def __init__(self, state: State, limit: Limit, booted: float) -> None:
        self.limit = limit
        self.booted = booted
        self.shared = SharedLimits(state, "crm:1")

    def now(self) -> float:
        return SystemClock().monotonic() + self.booted

    def take(self) -> tuple[float, float]:
        return self.shared.take("default", self.limit, self.now, 1.0)


def drained(machines: list[Machine]) -> float:
    """Permits that machines get in turn until one has to wait."""
    total = 0.0
    while True:
        for machine in machines:
            got, pause = machine.take()
            if pause > 0:
                return total
            total += got


@pytest.mark.parametrize(
    ("make", "least", "most"),
    [(lambda: Window(100, 60), 89, 90), (lambda: Bucket(50, 0.1), 44, 46), (lambda: Window(5, 60), 4, 5)],
    ids=["window", "bucket", "small window"],
)  # fmt: skip
def test_two_machines_together_get_what_one_would(state: State, make, least: int, most: int) -> None:
    machines = [Machine(state, make(), 0.0), Machine(state, make(), 1e6)]
    assert least <= drained(machines) <= most


def test_a_refusal_to_one_machine_stops_the_other(state: State) -> None:
    one, other = Machine(state, Window(100, 10), 0.0), Machine(state, Window(100, 10), -1e4)
    assert other.take()[1] == 0
    one.shared.slow_down("default", one.limit, one.now, 30)
    assert 29 < other.take()[1] <= 30


def test_what_one_machine_is_told_holds_for_the_other(state: State) -> None:
    mine, theirs = ToldLimit(), ToldLimit()
    one, other = Machine(state, mine, 0.0), Machine(state, theirs, 1e6)
    assert other.take() == (1.0, 0.0)
    mine.told(one.now(), limit=100, remaining=30, reset_seconds=60)
    assert 19 <= drained([one, other]) <= 20


def test_accounts_do_not_share(state: State) -> None:
    one, other = Machine(state, Window(5, 60), 0.0), Machine(state, Window(5, 60), 0.0)
    other.shared = SharedLimits(state, "crm:2")
    drained([one])
    assert other.take()[1] == 0


def test_a_pacer_asks_the_store_once_for_a_block(state: State) -> None:
    asked: list[str] = []

    class Counted(SharedLimits):
        def take(self, bucket, limit, monotonic, cost):
            asked.append(bucket)
            return super().take(bucket, limit, monotonic, cost)

    # 450 permits in half a second: more than a test can use in that time.
    limits = {"default": Window(54_000, 60)}
    pacer = Pacer(limits, SystemClock(), Usage(), threading.Event(), Counted(state, "crm:1"))
    for _ in range(100):
        pacer.wait(["default"])
    assert len(asked) < 10


def test_threads_of_two_pacers_never_pass_the_limit(state: State) -> None:
    pacers = []
    for _ in range(2):
        stop = threading.Event()
        limits = {"default": Window(60, 600)}
        pacers.append((Pacer(limits, SystemClock(), Usage(), stop, SharedLimits(state, "crm:1")), stop))
    admitted: list[int] = []
    full = threading.Event()

    def work(pacer: Pacer) -> None:
        while not full.is_set():
            pause = pacer._admit("default", pacer.limit("default"), 1.0)
            if pause > 0:
                full.set()
            else:
                admitted.append(1)

    threads = [threading.Thread(target=work, args=(pacer,)) for pacer, _ in pacers for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 40 <= len(admitted) <= 54


def test_the_share_of_a_day_ends_for_all_machines_and_comes_back(state: State) -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    one = DailyBudget(state, "hubspot", 200, 0.5, lambda: at)
    other = DailyBudget(state, "hubspot", 200, 0.5, lambda: at)
    for _ in range(100):
        one.spend()
    with pytest.raises(QuotaExhausted, match="2026-03-02 00:00"):
        one.spend()
    with pytest.raises(QuotaExhausted):
        other.spend()
    at += timedelta(days=1)
    for _ in range(BLOCK + 1):
        other.spend()
    one.spend()
