"""Commands after a migration: `migrate verify` proves it, `migrate undo` takes it back."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from crmkit.commands.ran import exit_code, result_json, show_result
from crmkit.commands.report import save
from crmkit.commands.run import Run, worst
from crmkit.commands.sync import tell_unread
from crmkit.commands.words import plural
from crmkit.errors import UsageError
from crmkit.migrating import open_migration, proven, refuse_unbegun, runs_that_wrote, settings_of
from crmkit.migration.proof import Verdict, against, load_proof
from crmkit.migration.proof_html import proof_html
from crmkit.migration.proof_tables import proof_tables
from crmkit.report.render.cells import Table
from crmkit.report.render.table import terminal_tables
from crmkit.sync.undo import plan_undo
from crmkit.syncing import watched

_SHOWN_TABLES = 8
_ROWS = 20
_CODES = {Verdict.PROVEN: 0, Verdict.EXPLAINED: 0, Verdict.UNPROVEN: 3}
_STYLES = {Verdict.PROVEN: "bold green", Verdict.EXPLAINED: "green", Verdict.UNPROVEN: "bold red"}


@click.command()
@click.argument("source")
@click.argument("target")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False),
    help="Save the proof (JSON), to be checked against later.",
)  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Save it as a page, too.")
@click.option(
    "--against", "earlier", type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="An earlier proof: tells what changed since.",
)  # fmt: skip
@click.option("--full", is_flag=True, help="Read both CRMs whole again first, whatever was pulled before.")
@click.option("--no-pull", is_flag=True, help="Work on the local copy as it is.")
@click.pass_obj
def verify(
    run: Run,
    source: str,
    target: str,
    out: Path | None,
    html: Path | None,
    earlier: Path | None,
    full: bool,
    no_pull: bool,
) -> None:
    """Prove that everything has arrived; every difference is explained or listed.

    Changes nothing in a CRM. Compares counts, sums per pipeline, stage, owner and
    currency, links, and every field of every record, in terms of what the target can
    hold. Exits 0 if it is proven or every difference has an explanation, else 3.
    """
    session, terminal = run.open(), run.terminal
    settings_of(session, source, target)
    before = load_proof(earlier) if earlier is not None else None
    if before is not None and (before.source.connection, before.target.connection) != (source, target):
        raise UsageError(
            f"{earlier} proves {before.source.connection} → {before.target.connection}, "
            f"not {source} → {target}"
        )
    watch = None if no_pull else terminal.watch_pulls
    with (
        session.state() as state,
        open_migration(session, state, source, target, watch=watch, read_only=True, full=full) as opened,
    ):
        tell_unread(run, opened.pulls)
        refuse_unbegun(opened)
        proof = proven(opened)
    changes = against(proof, before) if before is not None else None
    if out is not None:
        proof.write(out)
    if html is not None:
        save(html, proof_html(proof, changes))
    if terminal.as_json:
        document: dict[str, Any] = proof.model_dump(mode="json", exclude={"hashes"})
        document["changes"] = [asdict(one) for one in changes] if changes is not None else None
        terminal.json(document)
    else:
        tables = [table for table in proof_tables(proof, changes) if table.rows]
        terminal.out.print(terminal_tables([_first(table) for table in tables[:_SHOWN_TABLES]]))
        if changes is not None:
            terminal.say(f"{plural(len(changes), 'change')} since {earlier}.")
        terminal.say(f"{source} → {target}: {proof.verdict.value}", _STYLES[proof.verdict])
        for path in (out, html):
            if path is not None:
                terminal.say(f"Saved as {path}.")
    raise SystemExit(_CODES[proof.verdict])


@click.command("undo")
@click.argument("source")
@click.argument("target")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before writing.")
@click.pass_obj
def migrate_undo(run: Run, source: str, target: str, yes: bool) -> None:
    """Take a migration back: remove or restore what it wrote and nobody edited since.

    Writes to the target. Takes back every run of the migration, the last one first. What
    somebody edited in the target meanwhile stays, and is listed; so do the pipelines and
    fields that were made. Asks before it writes unless --yes.
    """
    session, terminal = run.open(), run.terminal
    settings_of(session, source, target)
    if not yes and not terminal.can_ask:
        raise UsageError("nobody is there to confirm", hint="Add --yes to write without asking.")
    codes: list[int] = []
    documents: list[dict[str, Any]] = []
    with (
        session.state() as state,
        open_migration(session, state, source, target, watch=terminal.watch_pulls, read_only=False) as opened,
    ):
        tell_unread(run, opened.pulls)
        numbers = runs_that_wrote(opened)
        if not numbers:
            raise UsageError(f"nothing that was moved from {source} to {target} is left to take back")
        if not yes:
            click.confirm(
                f"Take back {plural(len(numbers), 'run')} in {target} (run {', '.join(map(str, numbers))})?",
                abort=True, err=True,
            )  # fmt: skip
        for number in numbers:
            undo = plan_undo(opened.migration.group, state, number)
            sync = opened.as_sync()
            result = watched(sync, state, partial(sync.run.undo, undo), terminal.watch_writes)
            code = worst([exit_code(result, sync), 4 if undo.impossible else 0])
            codes.append(code)
            documents.append(
                {**result_json(result, run, code), "undone": number, "impossible": undo.impossible}
            )
            if not terminal.as_json:
                show_result(run, result)
                for line in undo.impossible:
                    terminal.say(f"    stays: {run.redact(line)}", "yellow")
    if terminal.as_json:
        terminal.json(documents)
    raise SystemExit(worst(codes))


def _first(table: Table) -> Table:
    """A table's first rows; the page and the JSON have all of them."""
    if len(table.rows) <= _ROWS:
        return table
    return replace(table, rows=table.rows[:_ROWS])
