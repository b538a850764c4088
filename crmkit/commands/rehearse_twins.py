"""What `rehearse` does once the twins are up: the same steps as the commands, told one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crmkit.commands.moved import finding_json, place_json, show_findings, show_structure
from crmkit.commands.planned import SHOWN, held_lines, show_plan
from crmkit.commands.ran import exit_code, result_json, summary
from crmkit.commands.run import Run, worst
from crmkit.commands.words import records
from crmkit.errors import CrmkitError
from crmkit.migrating import looked_ahead, open_migration, proven
from crmkit.migration.build import checklist
from crmkit.migration.findings import Severity
from crmkit.migration.proof import Proof, Verdict
from crmkit.migration.proof_tables import proof_tables
from crmkit.migration.structure import Way
from crmkit.rehearsing import Rehearsal, click_checklist, unclick_impossible
from crmkit.report.render.table import terminal_tables
from crmkit.sync.guard import flags
from crmkit.sync.plan import PlanFile
from crmkit.sync.run import SyncResult
from crmkit.sync.state import State
from crmkit.syncing import OpenSync, open_sync, watched

Step = Callable[[int, str], None]
_ROUNDS = 6
_CONFIRMED = 10**9
_CODES = {Verdict.PROVEN: 0, Verdict.EXPLAINED: 0, Verdict.UNPROVEN: 3}
_STYLES = {Verdict.PROVEN: "bold green", Verdict.EXPLAINED: "green", Verdict.UNPROVEN: "bold red"}
_SHOWN_TABLES = ("verdict", "counts", "explanations")


@dataclass(slots=True)
class Played:
    """How a rehearsal went.

    Attributes:
        document: As JSON.
        planned: What the first plan would write, by act and kind.
        requests: What each twin answered.
        proof: Of a migration.
        code: The exit code.
    """

    document: dict[str, Any]
    planned: Counter[tuple[str, str]] = field(default_factory=Counter)
    requests: Mapping[str, int] = field(default_factory=dict)
    proof: Proof | None = None
    code: int = 0


def play_migration(run: Run, twins: Rehearsal, state: State, source: str, target: str, step: Step) -> Played:
    """The whole migration between two twins: plan, clicks, apply, deltas, proof.

    Args:
        run: The command.
        twins: The rehearsal.
        state: Its open state store.
        source: The connection that is read.
        target: The connection that is written.
        step: Announces a step.
    """
    terminal, session = run.terminal, twins.session
    step(3, f"Planning: what goes where from {source} to {target}, and what would fail")
    with open_migration(session, state, source, target, watch=terminal.watch_pulls, read_only=True) as opened:
        planned = opened.as_planned()
        found, file = opened.run(planned).plan()
        findings = looked_ahead(opened, planned, found)
        clicks = checklist(opened.migration)
        if not terminal.as_json:
            show_structure(terminal, planned, clicks, everything=False)
            show_findings(terminal, findings)
            _show_plan(run, file)
        before = {
            stage.id for pipeline in twins.box[target].world.pipelines.values() for stage in pipeline.stages
        }
        click_checklist(opened, twins.box)
    impossible: list[str] = []
    if clicks:
        with open_migration(
            session, state, source, target, watch=terminal.watch_pulls, read_only=True
        ) as opened:
            impossible = unclick_impossible(opened, twins.box, before)
        terminal.say("   Done in the twin. In production, you click this first.", "yellow")
        for line in impossible:
            terminal.say(
                f"   Nobody can make {line}. Name another stage under `stages` of the migration.", "bold red"
            )

    step(4, f"Writing to {target}, and again what changed, until nothing is left")
    made: list[str] = []

    def turn() -> tuple[SyncResult, int, float]:
        with open_migration(
            session, state, source, target, watch=terminal.watch_pulls, read_only=False
        ) as opened:
            built = opened.build()
            made.extend(built.made)
            for line in built.made:
                terminal.say(f"   Made in {target}: {line}")
            sync = opened.as_sync()
            result = _written(run, state, sync)
            return result, exit_code(result, sync), opened.settings.in_flight_seconds

    runs, code, quiet = _until_quiet(run, twins, turn)

    step(5, "Proving that it is all there")
    with open_migration(
        session, state, source, target, watch=terminal.watch_pulls, read_only=True, full=True
    ) as opened:
        proof = proven(opened)
    if not terminal.as_json:
        tables = [one for one in proof_tables(proof, None) if one.id in _SHOWN_TABLES and one.rows]
        terminal.out.print(terminal_tables(tables))
        terminal.tell(
            f"{source} → {target}: {proof.verdict.value}", result=True, style=_STYLES[proof.verdict]
        )
    waits = planned.structure.of_way(Way.OPEN) or clicks
    stops = any(one.severity in (Severity.STOPS, Severity.HELD) for one in findings)
    document = {
        "places": [place_json(one) for one in planned.structure.everything],
        "checklist": clicks,
        "impossible": impossible,
        "findings": [finding_json(one) for one in findings],
        "guards": [one.model_dump(mode="json") for one in file.guards],
        "made": made,
        "runs": runs,
        "quiet": quiet,
        "proof": proof.model_dump(mode="json", exclude={"hashes"}),
    }
    codes = [code, _CODES[proof.verdict], 4 if waits or stops else 0]
    return Played(document, _planned(file), twins.requests, proof, worst(codes))


def play_sync(run: Run, twins: Rehearsal, state: State, name: str, step: Step) -> Played:
    """A sync between twins: plan, apply, and again until a plan is empty; arguments as above."""
    terminal, session = run.terminal, twins.session
    step(3, f"Planning the sync {name}")
    with open_sync(session, state, name, watch=terminal.watch_pulls, read_only=True) as opened:
        _, file = opened.run.plan()
        if not terminal.as_json:
            show_plan(terminal, file, limit=SHOWN, asking=True)

    step(4, "Writing, and again what changed, until nothing is left")

    def turn() -> tuple[SyncResult, int, float]:
        with open_sync(session, state, name, watch=terminal.watch_pulls, read_only=False) as opened:
            result = _written(run, state, opened)
            return result, exit_code(result, opened), opened.group.settings.in_flight_seconds

    runs, code, quiet = _until_quiet(run, twins, turn)

    step(5, "Planning again: is there anything left to write?")
    with open_sync(session, state, name, watch=terminal.watch_pulls, read_only=True) as opened:
        _, left = opened.run.plan()
    if not terminal.as_json:
        said = "in step" if not left.writes else f"{len(left.writes):,} writes are left"
        style = "bold green" if not left.writes else "bold red"
        terminal.tell(f"{name}: {said}, {len(left.held):,} held", result=True, style=style)
    document = {
        "plan": file.model_dump(mode="json"),
        "runs": runs,
        "quiet": quiet,
        "left": left.model_dump(mode="json"),
    }
    return Played(document, _planned(file), twins.requests, None, code)


def _written(run: Run, state: State, sync: OpenSync) -> SyncResult:
    """One run that every guard lets pass: nothing can be lost here, and the plan named them."""
    fields = sync.group.fields
    guards = ["creates", "deletes", "settings"]
    guards += [f"{sort}.{name}" for sort in ("field", "emptied") for name in fields]
    confirmed = dict.fromkeys(guards, _CONFIRMED)
    return watched(sync, state, lambda: sync.run.sync(confirmed), run.terminal.watch_writes)


def _until_quiet(
    run: Run, twins: Rehearsal, turn: Callable[[], tuple[SyncResult, int, float]]
) -> tuple[list[dict[str, Any]], int, bool]:
    """Runs until one has nothing to write: their JSON, the exit code, and whether that was so."""
    terminal = run.terminal
    runs: list[dict[str, Any]] = []
    for _ in range(_ROUNDS):
        result, code, in_flight_seconds = turn()
        runs.append(result_json(result, run, code))
        if not terminal.as_json:
            _show(run, result)
        broken = next((one.error for one in result.tallies.values() if one.error is not None), None)
        if isinstance(broken, CrmkitError) and code not in (0, 4, 5):
            return runs, code, False
        twins.settle(in_flight_seconds)
        if not result.writes:
            if not terminal.as_json:
                for line in held_lines(result.sync, result.held, limit=SHOWN):
                    terminal.tell(line)
            return runs, code, True
    terminal.say(f"   Every one of {_ROUNDS} runs found something to write again.", "bold red")
    return runs, worst([code, 5]), False


def _show(run: Run, result: SyncResult) -> None:
    """One run in a line or two."""
    terminal = run.terminal
    terminal.say(f"   {summary(result)}")
    for connection, tally in result.tallies.items():
        for note in tally.notes[:SHOWN]:
            terminal.say(f"      {connection}: {run.redact(note)}", "yellow")
        if tally.error is not None:
            terminal.error(tally.error, run.redact)


def _show_plan(run: Run, file: PlanFile) -> None:
    terminal = run.terminal
    terminal.say(f"\n   {act_words(_planned(file))}")
    for line in held_lines(file.sync, file.held, limit=SHOWN):
        terminal.tell(line)
    if file.guards:
        terminal.say("   In production, guards would ask for a look first:", "yellow")
        for guard in file.guards:
            terminal.say(f"      {guard.reason}", "yellow")
        terminal.say(f"      then add {flags(file.guards)}", "yellow")


def _planned(file: PlanFile) -> Counter[tuple[str, str]]:
    return Counter((write.act, write.kind) for write in file.writes)


def act_words(counts: Mapping[tuple[str, str], int]) -> str:
    """What a plan would write, in words."""
    told = ", ".join(f"{records(count, kind)} to {act}" for (act, kind), count in counts.items())
    return told or "nothing to write"
