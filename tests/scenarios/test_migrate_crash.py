"""`crmkit migrate apply` is killed, or loses the answer about a pipeline; the same command goes on.

A sample of a few points each time, 60 of them with CRMKIT_CAMPAIGN=all. In the end the target
must hold what it holds after a migration that nobody disturbed, and the proof must say the same.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crmkit import workspace
from crmkit.commands.sandbox import local_crms
from crmkit.sandbox.faults import Fault, FaultPlan, Scripted
from crmkit.sandbox.server import Sandbox
from tests.migrate_child import KILLED, Command, carry_out
from tests.scenarios.conftest import Crmkit, Result
from tests.scenarios.lab import open_intents
from tests.scenarios.migrating import DECIDED, NOW, PASS, Move, Open, open_move, plant
from tests.scenarios.syncing import markers_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
EVERYTHING = os.environ.get("CRMKIT_CAMPAIGN") == "all"
PAIRS = ["zoho-hubspot", "hubspot-close", "close-hubspot"] if EVERYTHING else ["zoho-hubspot"]
POINTS = 60 // len(PAIRS) if EVERYTHING else 6
KILLS = 3  # in each history: the run that goes on after a kill is killed in turn
SOON_SECONDS = 60.0
WAIT_SECONDS = 1200.0  # longer than a request may be under way and an index trails
MOST_RUNS = 6
PLACES = re.compile(r"https?://\S+|ck1:\S+|<[^>]*>")


@dataclass
class Patient:
    """A migration, each command of which runs in a process of its own."""

    box: Sandbox
    folder: Path
    kill_at: int | None = None
    labels: list[str] = field(default_factory=list)

    def __call__(self, *arguments: str) -> Result:
        processes = multiprocessing.get_context("forkserver")
        receiver, sender = processes.Pipe(duplex=False)
        command = Command(self.folder, arguments, self.box.clock(), self.kill_at)
        process = processes.Process(target=carry_out, args=(command, sender))
        process.start()
        sender.close()
        try:
            code, self.labels = receiver.recv()
        except EOFError:
            code = 0
        process.join()
        receiver.close()
        code = process.exitcode or code
        process.close()
        told = [(self.folder / name).read_text(encoding="utf-8") for name in ("out.txt", "err.txt")]
        return Result(code, *told)


@contextmanager
def patient(pair: str, folder: Path) -> Iterator[tuple[Move, Patient]]:
    """A workspace over two sandbox CRMs, with awkward records in the source."""
    source, target = pair.split("-")
    folder.mkdir()
    options: dict[str, Any] = {"deals": {source: 4, target: 1}, "seed": 5, "limits": "off", "now": NOW}
    with Sandbox.up([source, target], slow_seconds=0.01, **options) as box:
        workspace.write(folder, local_crms(box.apps))
        plant(box, source)
        crmkit = Patient(box, folder)
        move = Move(crmkit, box, folder, source, target)
        move.decide(**DECIDED)
        yield move, crmkit
        assert [app.crashes for app in box.apps.values()] == [[], []]


def settle(move: Move) -> None:
    """The same command again until nothing is left to do; earlier writes have come to an end before each."""
    told = ""
    for _ in range(MOST_RUNS):
        move.box.clock.advance(WAIT_SECONDS)
        done = apply(move)
        told = done.out + done.err
        assert done.code in (0, 4, 5), told
        if done.code != 5 and json.loads(done.out)["writes"] == 0:
            return
    raise AssertionError(f"not quiet after {MOST_RUNS} runs: {told}")


def apply(move: Move) -> Result:
    """`crmkit migrate apply`."""
    return move.crmkit("--json", "migrate", "apply", move.source, move.target, "--yes", *PASS)


def ended(move: Move) -> dict[str, Any]:
    """What a migration left behind, but for the ids that the target gives out."""
    proof = move.folder / "proof.json"
    done = move.crmkit("migrate", "verify", move.source, move.target, "--out", str(proof))
    assert done.code in (0, 3), done.err
    found = json.loads(proof.read_text(encoding="utf-8"))
    world = move.box[move.target].world
    with closing(move.state()) as state:
        still_open = open_intents(state)
    return {
        "verdict": found["verdict"],
        "hashes": {
            kind: sorted([source, one, other] for source, _, one, other in rows)
            for kind, rows in found["hashes"].items()
        },
        **{name: found[name] for name in ("counts", "sums", "links", "agreement")},
        "notes": Counter(" ".join(PLACES.sub(" ", note.text).split()) for note in world.notes.values()),
        "doubles": [key for key, count in Counter(markers_of(world.live)).items() if count > 1],
        # Close makes stages first and puts them in order afterwards: killed between, the new ones stay last.
        "pipelines": sorted(
            (one.name, sorted(each.name for each in one.stages)) for one in world.pipelines.values()
        ),
        "fields": {
            kind: sorted(one.label for one in fields.values()) for kind, fields in world.fields.items()
        },
        "sizes": {kind: len(rows) for kind, rows in world.live.tables.items()},
        "open": still_open,
    }  # fmt: skip


def different(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Parts that are not what they should be: both."""
    return {name: (found[name], one) for name, one in wanted.items() if found[name] != one}


@pytest.mark.parametrize("pair", PAIRS)
def test_a_killed_migration_goes_on_and_ends_as_if_nothing_had_happened(pair: str, tmp_path: Path) -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.migrate_child"])
    with patient(pair, tmp_path / "calm") as (move, crmkit):
        assert apply(move).code in (0, 4, 5)
        steps = crmkit.labels
        settle(move)
        calm = ended(move)
    assert (calm["doubles"], calm["open"]) == ([], 0)
    killed = 0
    for number, points in enumerate(histories(len(steps))):
        with patient(pair, tmp_path / str(number)) as (move, crmkit):
            if number % 3 == 1:  # what was sent is carried out when nobody listens any more
                move.box[move.target].faults = FaultPlan("commit-late", number, 0.5)
            for at in points:
                crmkit.kill_at = at
                done = apply(move)
                killed += done.code == KILLED
                assert done.code in (KILLED, 0, 4, 5), done.err
                # Some run again at once, when nobody can know yet what became of the last writes.
                move.box.clock.advance(SOON_SECONDS if number % 2 else WAIT_SECONDS)
            crmkit.kill_at = None
            move.box[move.target].faults = FaultPlan()
            settle(move)
            assert different(ended(move), calm) == {}, points
    assert killed >= POINTS // 2


def histories(steps: int) -> list[Sequence[int]]:
    """Steps at which runs are killed: the first ones spread over a whole run, the next ones over its rest."""
    chance, many = random.Random(steps), POINTS // KILLS
    found: list[Sequence[int]] = []
    for number in range(many):
        points = [1 + int((number + chance.random()) * steps / many)]
        while len(points) < KILLS:
            points.append(chance.randint(1, max(2, (steps - sum(points)) // 3)))
        found.append(points)
    return found


# Structure


@pytest.fixture
def move_of(
    crmkit: Crmkit, up: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """Opens a migration: `move_of("hubspot", "zoho", deals=300)`."""
    return lambda *ends, **options: open_move(crmkit, up, tmp_path, monkeypatch, *ends, **options)


@pytest.mark.parametrize("fault", [Fault.TIMEOUT_AFTER_COMMIT, Fault.COMMIT_LATE, Fault.DROPPED])
def test_a_pipeline_whose_answer_is_lost_is_waited_for_and_never_made_twice(
    move_of: Open, fault: Fault
) -> None:
    move = move_of("zoho", "hubspot", deals=2, there=1, awkward=False)
    app = move.box["hubspot"]
    app.faults = FaultPlan(script=[Scripted(fault, "write")])
    first = move.run("apply", "--yes", *PASS)
    assert first.code == 5, first.err
    assert "is not known" in first.err
    app.faults = FaultPlan()
    writes = app.requests.mutating
    move.box.clock.advance(SOON_SECONDS)
    # Too early: the request may still be under way.
    too_early = move.run("apply", "--yes", *PASS)
    landed = fault is Fault.COMMIT_LATE
    assert (too_early.code, app.requests.mutating) == (5, writes + landed), too_early.err
    move.settle()
    move.apply()
    move.until_quiet()
    names = Counter(one.name for one in app.world.pipelines.values())
    assert set(names.values()) == {1}
    assert {one.name for one in move.box["zoho"].world.pipelines.values()} - {"Standard (Standard)"} <= set(
        names
    )
    assert move.proof()[1]["verdict"] in ("proven", "explained")
