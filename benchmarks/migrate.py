"""Measure a migration of many deals: requests, seconds, memory, and minutes at the CRMs' real limits.

    python benchmarks/migrate.py [--deals 20000] [SOURCE-TARGET ...]

The sandbox runs in this process without limits, the migration in one of its own: pull,
plan, structure, apply, a delta with nothing to do, and the proof. Minutes are computed from
the requests and the CRMs' own limits, as `crmkit budget` tells them. Seconds of one run are
to be compared with each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from crmkit import workspace
from crmkit.commands.sandbox import local_crms
from crmkit.migrating import OpenMigration, costs_of, open_migration, proven
from crmkit.migration.structure import PipelinePlace, StagePlace, Way
from crmkit.sandbox.clicks import Wanted, click_pipeline, click_stages
from crmkit.sandbox.server import Sandbox
from crmkit.session import Session

PAIRS = ("hubspot-zoho", "bitrix24-hubspot")
THERE = 100
DECIDED = """
[migrations.move]
source = "{source}"
target = "{target}"
conflicts = "target"
missing = {{ owner = "without", amount = "without", company = "leave_out", contacts = "leave_out" }}
"""


def main() -> None:
    """Measure, and print one Markdown table for each pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="*", metavar="SOURCE-TARGET", default=[])
    parser.add_argument("--deals", type=int, default=20_000)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        _client(Path(options.client), *options.pairs[0].split("-"))
        return
    for pair in options.pairs or PAIRS:
        _measure(pair, options.deals)


def _measure(pair: str, deals: int) -> None:
    source, target = pair.split("-")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        box = Sandbox.seeded((source, target), deals={source: deals, target: THERE}, limits="off")
        box.start()
        try:
            path = workspace.write(folder, local_crms(box.apps))
            with path.open("a", encoding="utf-8") as stream:
                stream.write(DECIDED.format(source=source, target=target))
            command = [sys.executable, __file__, pair, "--client", name]
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as client:
                assert client.stdin is not None
                assert client.stdout is not None
                for line in client.stdout:
                    if line.startswith("CLICK "):
                        _click(box, target, json.loads(line[6:]))
                        client.stdin.write("done\n")
                        client.stdin.flush()
                    else:
                        print(line, end="", flush=True)
        finally:
            box.stop()


def _click(box: Sandbox, target: str, wanted: list[tuple[str, str | None, list[list[object]]]]) -> None:
    for name, to, stages in wanted:
        made = [Wanted(*one) for one in stages]  # type: ignore[arg-type]
        if to is None:
            click_pipeline(box[target], name, made)
        else:
            click_stages(box[target], to, made)


def _client(folder: Path, source: str, target: str) -> None:
    session = Session.open(folder / "crmkit.toml")

    def quiet(_running: object, done: object) -> None:
        while not done():  # type: ignore[operator]
            time.sleep(0.05)

    clock = _Steps()
    with session.state() as state:
        with open_migration(session, state, source, target, watch=quiet, read_only=True) as opened:
            clock.step("pull of both", sum(one.requests for one in opened.pulls))
            planned = opened.as_planned()
            would_be = opened.as_sync(planned)
            found, _ = would_be.run.plan()
            clock.step("plan", 0, f"{len(found.ops):,} writes")
            costs = costs_of(session, state, would_be, found)
            wanted = _to_click(planned.structure)
        if wanted:
            print("CLICK " + json.dumps(wanted), flush=True)
            sys.stdin.readline()
        with open_migration(session, state, source, target, watch=None, read_only=False) as opened:
            made = opened.build()
            clock.step("structure", _used(opened), f"{len(made.made)} made")
            before = _used(opened)
            result = opened.run().sync({"creates": 10**9})
            counts: Counter[str] = Counter()
            for tally in result.tallies.values():
                counts.update(tally.counts)
            told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
            clock.step("apply", _used(opened) - before, told)
        with open_migration(session, state, source, target, watch=quiet, read_only=False) as opened:
            again = opened.run().sync()
            pulled = sum(one.requests for one in opened.pulls)
            clock.step("pull and delta", pulled + _used(opened), f"{again.writes:,} writes")
            proof = proven(opened)
            clock.step("verify", 0, f"{proof.verdict.value}, {proof.findings.unexplained} unexplained")
    clock.show(source, target)
    for cost in costs:
        if cost.requests:
            print(
                f"\n{cost.connection}: {cost.requests:,} requests, {cost.minutes:.1f} minutes at its limits"
            )


def _used(opened: OpenMigration) -> int:
    return sum(one.context.usage.requests for one in opened.connectors.values())


def _to_click(structure: object) -> list[tuple[str, str | None, list[list[object]]]]:
    lines = {one.source.ref: one.target for one in structure.pipelines}  # type: ignore[attr-defined]
    found: list[tuple[str, str | None, list[list[object]]]] = []
    whole = set()
    for one in structure.of_way(Way.BY_HAND):  # type: ignore[attr-defined]
        if isinstance(one, PipelinePlace) and one.target is not None:
            whole.add(one.source.ref)
            found.append((one.target.name, None, [_wanted(stage) for stage in one.target.stages]))
        elif isinstance(one, StagePlace) and one.pipeline.ref not in whole:
            found.append(("", lines[one.pipeline.ref].ref.id, [_wanted(one.target)]))
    return found


def _wanted(stage: object) -> list[object]:
    share = stage.probability  # type: ignore[attr-defined]
    return [stage.name, str(stage.outcome), None if share is None else float(share)]  # type: ignore[attr-defined]


class _Steps:
    def __init__(self) -> None:
        self._rows: list[tuple[str, float, float, int, str, int]] = []
        self._at, self._cpu = time.monotonic(), time.process_time()

    def step(self, name: str, requests: int, told: str = "") -> None:
        at, cpu = time.monotonic(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        self._rows.append((name, at - self._at, cpu - self._cpu, requests, told, peak))
        self._at, self._cpu = at, cpu

    def show(self, source: str, target: str) -> None:
        print(f"\n| {source} → {target} | seconds | CPU | requests | peak memory | |")
        print("| --- | ---: | ---: | ---: | ---: | --- |")
        for name, seconds, cpu, requests, told, peak in self._rows:
            print(f"| {name} | {seconds:.1f} | {cpu:.1f} | {requests:,} | {peak} MB | {told} |")


if __name__ == "__main__":
    main()
