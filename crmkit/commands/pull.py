"""Commands that refresh and examine the local copy: `pull`, `quarantine`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from crmkit.commands.run import Run, worst
from crmkit.session import pull as pull_connections
from crmkit.sync.pull import PullOutcome, PullResult
from crmkit.sync.queries import quarantined
from crmkit.terminal import PULL_COLUMNS, Terminal, pull_json, pull_rows


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--full", is_flag=True, help="Read everything again instead of what changed.")
@click.pass_obj
def pull(run: Run, names: Sequence[str], full: bool) -> None:
    """Refresh the local copy from the CRMs.

    Reads all connections side by side, or the named ones. Changes nothing in a CRM.
    Ctrl-C stops at the next page; the next pull goes on there.
    """
    session = run.open()
    with session.state() as state:
        results = pull_connections(session, state, names, full=full, watch=run.terminal.watch_pulls)
    show_pull(run, results)
    raise SystemExit(pull_exit_code(results))


def show_pull(run: Run, results: Sequence[PullResult]) -> None:
    """Tell how a pull ended, per connection."""
    terminal = run.terminal
    if terminal.as_json:
        terminal.json(pull_json(results, run.redact))
        return
    if not terminal.quiet:
        numbers = range(2, len(PULL_COLUMNS))
        terminal.table(PULL_COLUMNS, pull_rows(results), right=list(numbers))
    for result in results:
        if terminal.verbose:
            kinds = ", ".join(f"{count:,} {kind}s" for kind, count in result.progress.records.items())
            terminal.say(f"{result.progress.connection}: read {kinds or 'nothing'}")
        for warning in result.progress.warnings:
            terminal.say(f"Note: {run.redact(warning)}", "yellow")
        if result.error is not None:
            terminal.error(result.error, run.redact)
        elif result.outcome is PullOutcome.HELD:
            show_quarantine(terminal, result.progress.connection)


def show_quarantine(terminal: Terminal, connection: str) -> None:
    """Tell that records could not be read, and where they are named."""
    terminal.say(
        f"{connection}: some records could not be read; `crmkit quarantine` names them and the field "
        "at fault.",
        "yellow",
    )


def pull_exit_code(results: Sequence[PullResult]) -> int:
    """One exit code for several connections: the one that needs a person first."""
    return worst(_exit_code(result) for result in results)


def _exit_code(result: PullResult) -> int:
    if result.error is not None:
        return result.error.exit_code
    return 4 if result.outcome is PullOutcome.HELD else 0


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def quarantine(run: Run, names: Sequence[str]) -> None:
    """List the records that could not be read, each with the field at fault.

    A record leaves the list by itself once a pull can read it.
    """
    session = run.open()
    chosen = session.config.chosen(names)
    with session.state() as state:
        rows = quarantined(state, list(chosen))
    if run.terminal.as_json:
        run.terminal.json(rows)
    elif rows:
        run.terminal.table(
            ("connection", "kind", "id", "field", "reason"),
            [[row["connection"], row["kind"], row["id"], row["field"], row["reason"]] for row in rows],
        )
    else:
        run.terminal.say("No record waits: everything that was pulled could be read.")
    raise SystemExit(4 if rows else 0)
