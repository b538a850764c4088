"""What a run of a sync did, in words and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from crmkit.commands.planned import SHOWN, held_lines
from crmkit.commands.run import Run, worst
from crmkit.commands.words import counted, plural
from crmkit.report.render.visible import visible
from crmkit.sync.pull import PullOutcome
from crmkit.sync.run import SyncResult
from crmkit.syncing import OpenSync

_OUTCOMES = (
    "created", "updated", "deleted", "adopted", "stale", "refused", "unknown", "unsent", "blocked",
)  # fmt: skip


def exit_code(result: SyncResult, opened: OpenSync) -> int:
    """One exit code for a run and the pulls before it: a record that nobody could read waits too."""
    quarantined = any(one.outcome is PullOutcome.HELD for one in opened.pulls)
    return worst([result.exit_code, 4 if quarantined else 0])


def show_result(run: Run, result: SyncResult, *, brief: bool = False) -> None:
    """Tell a person what a run did; with `brief`, nothing if nothing happened."""
    terminal = run.terminal
    happened = result.writes or result.held or result.recovery.adopted or result.recovery.waiting
    if brief and not happened and result.exit_code == 0:
        return
    terminal.tell(summary(result), result=True, style=None if result.exit_code == 0 else "yellow")
    for connection, tally in result.tallies.items():
        for note in tally.notes[:SHOWN]:
            terminal.say(visible(f"    {connection}: {run.redact(note)}"), "yellow")
        if len(tally.notes) > SHOWN:
            terminal.say(f"    {connection}: … and {len(tally.notes) - SHOWN:,} more; --json shows them all")
        if tally.error is not None:
            terminal.error(tally.error, run.redact)
    for note in result.recovery.notes[:SHOWN]:
        terminal.say(visible(f"    {run.redact(note)}"))
    for connection, reason in result.unavailable.items():
        terminal.alert(visible(f"{connection} could not be read: {run.redact(reason)}"))
    if terminal.verbose or not brief:
        for line in held_lines(result.sync, result.held, limit=SHOWN):
            terminal.tell(line)


def summary(result: SyncResult) -> str:
    """One line for a log."""
    parts = [f"{result.count(name):,} {name}" for name in _OUTCOMES if result.count(name)]
    kinds = Counter(one.kind for one in result.held)
    parts += [f"waiting: {counted(kinds)}"] if kinds else []
    if result.recovery.waiting:
        parts.append(f"{plural(result.recovery.waiting, 'earlier write')} not known yet")
    parts += [f"{name} could not be read" for name in result.unavailable]
    return f"{result.sync}: run {result.run}: " + (", ".join(parts) or "nothing to do")


def result_json(result: SyncResult, run: Run, code: int) -> dict[str, Any]:
    """The documented JSON of `sync`, `apply`, `resume` and `undo`."""
    return {
        "sync": result.sync,
        "run": result.run,
        "exit_code": code,
        "writes": result.writes,
        "members": {
            connection: {
                "planned": tally.total,
                **{name: tally.counts[name] for name in sorted(tally.counts)},
                "notes": [run.redact(note) for note in tally.notes],
                "error": run.redact(str(tally.error)) if tally.error else None,
            }
            for connection, tally in result.tallies.items()
        },
        "held": [
            {
                "kind": one.kind, "connection": one.connection, "entity": one.entity,
                "label": one.label, "field": one.field, "reason": run.redact(one.reason),
            }
            for one in result.held
        ],
        "recovered": {
            "adopted": result.recovery.adopted,
            "dropped": result.recovery.dropped,
            "waiting": result.recovery.waiting,
            "notes": [run.redact(note) for note in result.recovery.notes],
        },
        "unavailable": {name: run.redact(text) for name, text in result.unavailable.items()},
        # What else a person should know, for example that nobody could be told about the run.
        "warnings": [run.redact(text) for text in run.session.warnings] if run.session is not None else [],
    }  # fmt: skip
