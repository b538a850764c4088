"""Histories of one CRM in which runs are killed, against the history that nobody disturbed."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from crmkit.sandbox.faults import FaultPlan
from crmkit.sync.state import State
from tests.crash_child import Order, main
from tests.sandbox_bench import NOW, SandboxBench, bench
from tests.scenarios.lab import WAIT_SECONDS, Ended, doubles, held, open_intents, size
from tests.scenarios.one_way import STEPS

CRMS = ("hubspot", "zoho", "copper", "bitrix24", "close")
KILLED = -9
SOON_SECONDS = 60.0  # a run that comes too early to know what became of open writes
MOST_RUNS = 5


@dataclass(frozen=True, slots=True)
class Point:
    """Where a run dies: in which CRM's run, after what users did, at which step of it."""

    crm: str
    step: str
    at: int
    label: str


@dataclass
class Campaign:
    """What was tried and what came of it."""

    killed: list[Point] = field(default_factory=list)
    missed: list[Point] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def fail(self, point: Point | None, what: str) -> None:
        self.failures.append(f"{point}: {what}")


class Patient:
    """One CRM through all steps, with the state store that belongs to it."""

    def __init__(self, target: SandboxBench, folder: Path) -> None:
        self.target = target
        self.state = f"sqlite:///{folder / 'state.db'}"
        self.steps: tuple[str, ...] = ()
        self._currency = target.connect().check().base_currency or "USD"
        self._processes = multiprocessing.get_context("forkserver")

    def run(self, kill_at: int | None = None) -> tuple[int, int, list[str]]:
        """One run in a new process: its exit code, how much it planned, and its steps."""
        app = self.target.app
        order = Order(
            self.target.crm, dict(app.connection), app.credentials, self._currency, self.state,
            NOW, self.target.clock.now(), self.steps, kill_at,
        )  # fmt: skip
        receiver, sender = self._processes.Pipe(duplex=False)
        process = self._processes.Process(target=main, args=(order, sender))
        process.start()
        sender.close()
        try:
            told: tuple[int, int, list[str]] = receiver.recv()
        except EOFError:
            told = (0, 0, [])
        process.join()
        receiver.close()
        code = process.exitcode or 0
        process.close()
        return (code, 0, []) if code else told

    def wait(self, seconds: float) -> None:
        self.target.box.clock.advance(seconds)

    def ended(self) -> Ended:
        return held(self.target), size(self.target)

    def open_writes(self) -> int:
        with closing(State(self.state)) as state:
            return open_intents(state)


def undisturbed(crm: str) -> tuple[dict[str, Ended], dict[str, list[str]]]:
    """What a CRM holds after each step, and the steps of each run."""
    ends: dict[str, Ended] = {}
    labels: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder, bench(crm, deals=4) as target:
        patient = Patient(target, Path(folder))
        for step in STEPS:
            patient.steps += (step,)
            code, _, labels[step] = patient.run()
            patient.wait(WAIT_SECONDS)
            again = patient.run()
            if code or again[:2] != (0, 0):
                raise SystemExit(f"{crm}: {step} does not end by itself: {code}, {again[:2]}")
            ends[step] = patient.ended()
            patient.wait(WAIT_SECONDS)
    return ends, labels


def choose(points: int, labels: Mapping[str, Mapping[str, Sequence[str]]]) -> list[Point]:
    """Points spread evenly over all runs, and over the length of each."""
    runs = [(crm, step) for crm in labels for step in labels[crm]]
    share, extra = divmod(points, len(runs))
    chosen = []
    for number, (crm, step) in enumerate(runs):
        found = labels[crm][step]
        wanted = min(share + (number < extra), len(found))
        begin = number * 0.382 % 1  # so that few points still meet different kinds of steps
        places = {1 + int((at + begin) * len(found) / wanted) for at in range(wanted)}
        chosen += [Point(crm, step, at, found[at - 1]) for at in sorted(places)]
    return chosen


def histories(points: Iterable[Point]) -> Iterator[tuple[str, dict[str, Point]]]:
    """The points of one CRM, in rows of at most one per step."""
    by_crm: dict[str, dict[str, list[Point]]] = {}
    for point in points:
        by_crm.setdefault(point.crm, {}).setdefault(point.step, []).append(point)
    for crm, by_step in by_crm.items():
        for row in zip_longest(*by_step.values()):
            yield crm, {point.step: point for point in row if point is not None}


def live_through(
    number: int, crm: str, points: Mapping[str, Point], calm: Mapping[str, Ended], campaign: Campaign
) -> None:
    """One CRM through all steps, with a run killed in each step that has a point."""
    with tempfile.TemporaryDirectory() as folder, bench(crm, deals=4) as target:
        patient = Patient(target, Path(folder))
        for step in STEPS:
            patient.steps += (step,)
            point = points.get(step)
            if point is not None:
                if number % 3 == 2:  # what it has sent is carried out when nobody listens any more
                    target.app.faults = FaultPlan("commit-late", number, 0.5)
                code, _, _ = patient.run(point.at)
                target.app.faults = FaultPlan()
                (campaign.killed if code == KILLED else campaign.missed).append(point)
                patient.wait(SOON_SECONDS)
            if not _settle(patient, point, campaign):
                return
            found, ids = patient.ended(), doubles(target)
            if ids:
                campaign.fail(point, f"twice: {ids}")
            if found != calm[step]:
                campaign.fail(point, f"another end: {_difference(found, calm[step])}")
            if patient.open_writes():
                campaign.fail(point, "open writes in the journal")


def _settle(patient: Patient, point: Point | None, campaign: Campaign) -> bool:
    for _ in range(MOST_RUNS):
        code, writes, _ = patient.run()
        if code not in (0, 4, 5):
            campaign.fail(point, f"a later run ended with {code}")
            return False
        patient.wait(WAIT_SECONDS)
        if (code, writes) == (0, 0):
            return True
    campaign.fail(point, f"not quiet after {MOST_RUNS} runs: {code}, {writes} writes")
    return False


def _difference(found: Ended, wanted: Ended) -> str:
    keys = sorted(
        key for key in found[0].keys() | wanted[0].keys() if found[0].get(key) != wanted[0].get(key)
    )
    return f"{found[1]} for {wanted[1]} records; {keys[:3]}"


def run(points: int) -> Campaign:
    """A campaign of about so many points."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.crash_child"])
    calm, labels = {}, {}
    for crm in CRMS:
        calm[crm], labels[crm] = undisturbed(crm)
    campaign = Campaign()
    for number, (crm, row) in enumerate(histories(choose(points, labels))):
        live_through(number, crm, row, calm[crm], campaign)
    return campaign


def summary(campaign: Campaign, seconds: float) -> str:
    """What was tried, in lines."""
    lines = [
        f"{len(campaign.killed)} runs killed in {seconds:.0f} s, {len(campaign.missed)} points not reached"
    ]
    for title, counts in (
        ("by CRM", Counter(point.crm for point in campaign.killed)),
        ("by what users did", Counter(point.step for point in campaign.killed)),
        ("by step", Counter(point.label for point in campaign.killed)),
    ):
        lines.append(f"  {title}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    lines += [f"FAILED {failure}" for failure in campaign.failures]
    return "\n".join(lines) + "\n"
