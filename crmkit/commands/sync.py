"""Commands that keep CRMs in step: `plan`, `apply`, `sync`, `resume`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from crmkit.commands.pull import show_pull
from crmkit.commands.run import Run
from crmkit.errors import UsageError
from crmkit.report.render.visible import visible
from crmkit.sync.plan import PlanFile, PlannedWrite, load_plan
from crmkit.sync.run import SyncResult
from crmkit.syncing import OpenSync, named, open_sync
from crmkit.terminal import Terminal

_SHOWN = 40
_ACT_STYLES = {"create": "green", "update": "yellow", "delete": "bold red"}


def _confirmed(values: Iterable[str]) -> dict[str, int]:
    """`NAME=COUNT` options.

    Raises:
        UsageError: One has another shape.
    """
    found: dict[str, int] = {}
    for value in values:
        name, sign, count = value.partition("=")
        if not sign or not count.isdigit():
            raise UsageError(f"--confirm {value}: write it as NAME=COUNT, for example creates=120")
        found[name] = max(int(count), found.get(name, 0))
    return found


confirm_option = click.option(
    "--confirm", "confirm", multiple=True, metavar="GUARD=COUNT",
    help="Let a guard pass that found at most COUNT; the guard's message names it.",
)  # fmt: skip


@click.command()
@click.argument("sync")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Save the plan, to apply exactly that."
)
@click.option("--no-pull", is_flag=True, help="Work on the local copy as it is.")
@click.option("--all", "everything", is_flag=True, help="Show every record, not only the first ones.")
@click.pass_obj
def plan(run: Run, sync: str, out: Path | None, no_pull: bool, everything: bool) -> None:
    """Show what a sync would write, and why. Changes nothing in a CRM.

    Refreshes the local copy first. Shows per record the fields with their old and new
    values and the rule that decided, then what waits for a person, the guards that would
    stop it, and what it costs each CRM in requests and minutes. Exits 4 if something waits
    for a person, 6 if a guard would stop it.
    """
    session = run.open()
    watch = None if no_pull else run.terminal.watch_pulls
    with session.state() as state, open_sync(session, state, sync, watch=watch, read_only=True) as opened:
        _tell_unread(run, opened)
        _, file = opened.run.plan()
    if out is not None:
        _save(out, file)
    if run.terminal.as_json:
        run.terminal.result(file.model_dump_json(indent=2))
    else:
        show_plan(run.terminal, file, limit=None if everything else _SHOWN)
        if out is not None:
            run.terminal.say(f"Saved as {out}; carry it out with `crmkit apply {out}`.")
    waiting = any(one.kind not in ("parked", "blocked", "foreign") for one in file.held)
    raise SystemExit(6 if file.guards else 4 if waiting else 0)


@click.command()
@click.argument("what", metavar="FILE|SYNC")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@confirm_option
@click.pass_obj
def apply(run: Run, what: str, yes: bool, confirm: Sequence[str]) -> None:
    """Carry out a saved plan exactly, or plan a sync and carry that out.

    Writes to the CRMs. A saved plan is refused if anything was pulled, written or
    configured since it was made. Every record is read again right before it is changed;
    what moved on is left alone and named. Asks before it writes unless --yes.
    """
    session = run.open()
    path = Path(what)
    file = load_plan(path) if path.is_file() or path.suffix == ".json" else None
    name = file.sync if file is not None else what
    named(session, name)
    watch = None if file is not None else run.terminal.watch_pulls
    with session.state() as state, open_sync(session, state, name, watch=watch, read_only=False) as opened:
        _tell_unread(run, opened)
        if file is None:
            _, file = opened.run.plan()
        if not yes:
            show_plan(run.terminal, file, limit=_SHOWN)
            if not file.writes:
                raise SystemExit(4 if file.held else 0)
            _ask(run.terminal, file)
        result = opened.run.apply(file, _confirmed(confirm))
    show_result(run, result)
    raise SystemExit(result.exit_code)


@click.command()
@click.argument("sync")
@confirm_option
@click.option("--no-pull", is_flag=True, help="Work on the local copy as it is.")
@click.pass_obj
def sync(run: Run, sync: str, confirm: Sequence[str], no_pull: bool) -> None:
    """Pull, plan and apply in one go: for cron.

    Writes to the CRMs without asking; guards stop a run that looks like an accident.
    Says nothing when nothing happened, one line otherwise. Exits 0 done, 4 something waits
    for a person, 5 partly done, 6 a guard stopped it, 7 credentials, 8 busy.
    """
    session = run.open()
    watch = None if no_pull else run.terminal.watch_pulls
    with session.state() as state, open_sync(session, state, sync, watch=watch, read_only=False) as opened:
        _tell_unread(run, opened)
        result = opened.run.sync(_confirmed(confirm))
    show_result(run, result, brief=True)
    raise SystemExit(result.exit_code)


@click.command()
@click.argument("sync", required=False)
@confirm_option
@click.pass_obj
def resume(run: Run, sync: str | None, confirm: Sequence[str]) -> None:
    """Go on after a crash or a partial run.

    Looks up every write whose answer never came, waits for none of them, and carries out
    what is still due. Writes to the CRMs. Without a name: all syncs with open writes.
    """
    session = run.open()
    names = [sync] if sync else list(session.config.settings.syncs)
    codes: list[int] = []
    with session.state() as state:
        for name in names:
            named(session, name)
            watch = run.terminal.watch_pulls
            with open_sync(session, state, name, watch=watch, read_only=False) as opened:
                with state.read() as db:
                    unfinished = opened.group.hub.intents(db) or opened.group.hub.pending(db)
                if not unfinished and sync is None:
                    continue
                _tell_unread(run, opened)
                result = opened.run.sync(_confirmed(confirm))
            show_result(run, result)
            codes.append(result.exit_code)
    if not codes:
        run.terminal.say("Nothing to resume: no write is open and nothing is due.")
    raise SystemExit(max(codes, default=0))


def show_plan(terminal: Terminal, file: PlanFile, *, limit: int | None) -> None:
    """A plan as a person reads it, on stderr where a question follows, else as the result."""
    if not file.writes:
        terminal.say(f"{file.sync}: nothing to write; the CRMs agree.", "green")
    for write in file.writes[:limit]:
        for line in _lines(write):
            terminal.out.print(line, soft_wrap=True)
    if limit is not None and len(file.writes) > limit:
        terminal.say(f"… and {len(file.writes) - limit:,} more; --all or --json shows them all.")
    for connection, fields in file.prepares.items():
        terminal.say(visible(f"First, in {connection}: create {', '.join(fields)}"))
    _show_held(terminal, file)
    if file.writes:
        terminal.table(
            ("CRM", "creates", "updates", "deletes", "requests", "minutes"),
            [
                [one.connection, one.creates, one.updates, one.deletes, one.requests, f"{one.minutes:.1f}"]
                for one in file.costs
            ],
            right=(1, 2, 3, 4, 5),
        )
    for guard in file.guards:
        terminal.say(f"Guard {guard.name}: {guard.reason} (--confirm {guard.name}={guard.count})", "bold red")


def _lines(write: PlannedWrite) -> Iterable[Text]:
    record = f" {write.record}" if write.record else ""
    head = Text()
    head.append(f"{write.act} ", style=_ACT_STYLES.get(write.act, ""))
    head.append(visible(f"{write.kind}{record} in {write.connection}: "))
    head.append(visible(write.label), style="bold")
    yield head
    for field in write.fields:
        line = Text(f"    {field.field}: ")
        if write.act == "delete":
            line.append(visible(field.old_text or "as last agreed"), style="red")
        elif write.act == "update":
            line.append(visible(field.old_text), style="red")
            line.append(" → ")
            line.append(visible(field.new_text), style="green")
        else:
            line.append(visible(field.new_text), style="green")
        line.append(visible(f"   {field.rule}"), style="dim")
        yield line


def _show_held(terminal: Terminal, file: PlanFile) -> None:
    if not file.held:
        return
    counts = Counter(one.kind for one in file.held)
    summary = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    terminal.say(f"Not written: {summary}", "yellow")
    for one in file.held[:_SHOWN]:
        where = " ".join(filter(None, (one.connection, one.label, one.field)))
        terminal.say(visible(f"    {one.kind}: {where}: {one.reason}"), "yellow")
    if len(file.held) > _SHOWN:
        terminal.say(f"    … and {len(file.held) - _SHOWN:,} more; --json shows them all.", "yellow")


def show_result(run: Run, result: SyncResult, *, brief: bool = False) -> None:
    """Tell what a run did; with `brief`, nothing if nothing happened."""
    terminal = run.terminal
    if terminal.as_json:
        terminal.json(result_json(result, run))
        return
    happened = result.writes or result.held or result.recovery.adopted or result.recovery.waiting
    if brief and not happened and result.exit_code == 0:
        return
    terminal.say(summary(result), None if result.exit_code == 0 else "yellow")
    for connection, tally in result.tallies.items():
        for note in tally.notes[:_SHOWN]:
            terminal.say(visible(f"    {connection}: {run.redact(note)}"), "yellow")
        if tally.error is not None:
            terminal.error(tally.error, run.redact)
    if not brief or terminal.verbose:
        for one in result.held[:_SHOWN]:
            where = " ".join(filter(None, (one.connection, one.label, one.field)))
            terminal.say(visible(f"    {one.kind}: {where}: {run.redact(one.reason)}"), "yellow")


def summary(result: SyncResult) -> str:
    """One line for a log."""
    names = (
        "created", "updated", "deleted", "adopted", "stale", "refused", "unknown", "unsent", "blocked",
    )  # fmt: skip
    parts = [f"{result.count(name):,} {name}" for name in names if result.count(name)]
    kinds = Counter(one.kind for one in result.held)
    parts += [f"{count:,} {kind} waiting" for kind, count in sorted(kinds.items())]
    if result.recovery.waiting:
        parts.append(f"{result.recovery.waiting:,} earlier writes not known yet")
    parts += [f"{name} could not be read" for name in result.unavailable]
    return f"{result.sync}: run {result.run}: " + (", ".join(parts) or "nothing to do")


def result_json(result: SyncResult, run: Run) -> dict[str, Any]:
    """The documented JSON of `sync`, `apply`, `resume` and `undo`."""
    return {
        "sync": result.sync,
        "run": result.run,
        "exit_code": result.exit_code,
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
            "notes": result.recovery.notes,
        },
        "unavailable": {name: run.redact(text) for name, text in result.unavailable.items()},
    }  # fmt: skip


def _ask(terminal: Terminal, file: PlanFile) -> None:
    """Ask before writing; without a terminal there is nobody to ask."""
    if not terminal.can_ask:
        raise UsageError("nobody is there to confirm the plan", hint="Add --yes to write without asking.")
    acts = Counter(write.act for write in file.writes)
    words = ", ".join(f"{count:,} {act}s" for act, count in sorted(acts.items()))
    click.confirm(f"Write this to the CRMs ({words})?", abort=True, err=True)


def _tell_unread(run: Run, opened: OpenSync) -> None:
    failed = [result for result in opened.pulls if result.error is not None]
    if failed and not run.terminal.as_json:
        show_pull(run, failed)


def _save(path: Path, file: PlanFile) -> None:
    """Write a plan, readable by its owner only: it holds customers' data."""
    text = json.dumps(file.model_dump(mode="json"), indent=2, ensure_ascii=False)
    scratch = path.with_name(path.name + ".part")
    try:
        scratch.unlink(missing_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(scratch, flags, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
        scratch.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
