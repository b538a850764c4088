"""The command line. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from crmkit import __version__
from crmkit.errors import CrmkitError, Interrupted
from crmkit.session import Session, examine
from crmkit.session import pull as pull_connections
from crmkit.sync.pull import PullOutcome, PullResult
from crmkit.terminal import PULL_COLUMNS, Terminal, pull_json, pull_rows

# The exit code that wins when connections end differently: what needs a person first.
_SEVERITY = (130, 7, 8, 2, 1, 6, 5, 4)


@dataclass(slots=True)
class Run:
    """What every command shares."""

    config: Path | None
    terminal: Terminal
    session: Session | None = field(default=None)

    def open(self) -> Session:
        """The workspace of this run."""
        if self.session is None:
            self.session = Session.open(self.config)
        return self.session

    def redact(self, text: str) -> str:
        """The text with every known secret masked."""
        return self.session.redactor.redact(text) if self.session else text


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file. Default: crmkit.toml here or in a folder above.",
)
@click.option("--json", "as_json", is_flag=True, help="Write results as JSON; its fields are a promise.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say more while working.")
@click.version_option(__version__, prog_name="crmkit")
@click.pass_context
def cli(context: click.Context, config: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Five CRMs as one pipeline: pull, map stages, compare, report.

    crmkit reads HubSpot, Zoho CRM, Copper, Bitrix24 and Close into a local copy and works
    on that. No command of this version changes anything in a CRM.

    \b
    New here?      crmkit demo
    Exit codes     0 done; 1 failed; 2 usage; 3 differences found; 4 done, but something
                   waits for a person; 5 partly done; 7 credentials; 8 busy; 130 interrupted
    """
    context.obj = Run(config, Terminal(as_json=as_json, quiet=quiet, verbose=verbose))


@cli.command()
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
        for warning in result.progress.warnings:
            terminal.say(f"Note: {run.redact(warning)}", "yellow")
        if result.error is not None:
            terminal.error(result.error, run.redact)
        elif result.outcome is PullOutcome.HELD:
            terminal.say(
                f"{result.progress.connection}: some records could not be read; "
                "`crmkit quarantine` names them and the field at fault.",
                "yellow",
            )


def pull_exit_code(results: Sequence[PullResult]) -> int:
    """One exit code for several connections: the one that needs a person first."""
    codes = {_exit_code(result) for result in results}
    return next((code for code in _SEVERITY if code in codes), 0)


def _exit_code(result: PullResult) -> int:
    if result.error is not None:
        return result.error.exit_code
    return 4 if result.outcome is PullOutcome.HELD else 0


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def quarantine(run: Run, names: Sequence[str]) -> None:
    """List the records that could not be read, each with the field at fault.

    A record leaves the list by itself once a pull can read it.
    """
    from crmkit.sync.queries import quarantined  # noqa: PLC0415 - only this command needs it

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


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def doctor(run: Run, names: Sequence[str]) -> None:
    """Check access, scopes and clocks of every connection, and say what to do.

    Makes one or two cheap calls per connection. Changes nothing.
    """
    session = run.open()
    found = examine(session, names)
    margin = session.config.settings.clock_margin_seconds
    rows: list[list[object]] = []
    records: list[dict[str, Any]] = []
    codes: set[int] = set()
    for health in found:
        problem = run.redact(str(health.error)) if health.error else ""
        advice = run.redact(health.error.hint) if health.error else ""
        skew = health.skew_seconds
        if skew is not None and abs(skew) > margin:
            problem, advice = f"the clock is off by {skew:.0f} s", "Set this machine's clock (NTP)."
            codes.add(1)
        if health.error:
            codes.add(health.error.exit_code)
        workspace = health.workspace
        name = f"{workspace.name} ({workspace.id})" if workspace else ""
        rows.append([health.connection, "failed" if problem else "ok", name, problem, advice])
        records.append(
            {
                "connection": health.connection,
                "ok": not problem,
                "workspace": workspace.model_dump(mode="json") if workspace else None,
                "clock_skew_seconds": skew,
                "problem": problem or None,
                "hint": advice or None,
            }
        )
    if run.terminal.as_json:
        run.terminal.json(records)
    else:
        run.terminal.table(("connection", "state", "workspace", "problem", "what to do"), rows)
    raise SystemExit(next((code for code in _SEVERITY if code in codes), 0))


@cli.group()
def sandbox() -> None:
    """Five CRMs on this machine, to rehearse with."""


@sandbox.command("up")
@click.argument("crms", nargs=-1, metavar="[CRM]...")
@click.option("--deals", default=300, show_default=True, help="Deals in each CRM.")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same world again.")
@click.option("--port-base", default=0, help="First port; the others follow. Default: free ports.")
@click.option("--latency-ms", default=0.0, show_default=True, help="Delay of every answer.")
@click.option(
    "--limits", type=click.Choice(["real", "off"]), default="real", show_default=True,
    help="Whether the CRMs' own rate limits apply.",
)  # fmt: skip
@click.option(
    "--faults", default="none", show_default=True, metavar="PROFILE",
    help="Misbehave: storm, flaky, truncated, garbage, slow, expired, edits, timeout-after-commit.",
)  # fmt: skip
@click.option(
    "--workspace", type=click.Path(path_type=Path, file_okay=False),
    help="Write a ready crmkit.toml and its secrets into this folder.",
)  # fmt: skip
@click.pass_obj
def sandbox_up(run: Run, /, crms: Sequence[str], workspace: Path | None, **options: Any) -> None:
    """Start the sandbox and serve until Ctrl-C.

    Prints the address and the (made-up) credentials of each CRM. Everything stays on this
    machine and in memory; nothing is sent anywhere.
    """
    from crmkit import workspace as workspaces  # noqa: PLC0415 - the sandbox is imported late
    from crmkit.sandbox.server import VENDORS, Sandbox  # noqa: PLC0415

    box = Sandbox.seeded(list(crms) or list(VENDORS), **options)
    box.start()
    local = local_crms(box.apps)
    if workspace is not None:
        workspaces.write(workspace, local)
    if run.terminal.as_json:
        # One object per CRM and line, so that a program can read them as they come.
        for name, app in box.apps.items():
            described = {
                "crm": name,
                "base_url": app.base_url,
                "credentials": app.credentials,
                "connection": local[name].connection,
                "deals": len(app.world.deals),
            }
            run.terminal.line(described)
    else:
        rows = [
            [name, app.base_url, f"{len(app.world.deals):,}", _short(app.credentials)]
            for name, app in box.apps.items()
        ]
        run.terminal.table(("crm", "address", "deals", "credentials"), rows, right=[2])
    if workspace is not None:
        run.terminal.say(f"Workspace: {workspace}. Try `crmkit pull` there. Ctrl-C stops the sandbox.")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        while not stop.wait(0.5):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        box.stop()


def local_crms(apps: Any) -> dict[str, Any]:
    """What a workspace needs to know of running sandbox CRMs."""
    from crmkit.workspace import LocalCrm  # noqa: PLC0415

    return {name: LocalCrm(name, app.connection, app.credentials) for name, app in apps.items()}


def _short(credentials: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in credentials.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run crmkit; ends the process with one of the exit codes that the help lists."""
    os.umask(0o077)  # whatever is written may hold customers' data
    context: click.Context | None = None
    try:
        context = cli.make_context("crmkit", list(sys.argv[1:] if arguments is None else arguments))
        with context:
            cli.invoke(context)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.Abort:
        sys.exit(Interrupted.exit_code)
    except KeyboardInterrupt:
        _fail(context, Interrupted("stopped"))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except CrmkitError as error:
        _fail(context, error)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; a second error at exit helps nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(context: click.Context | None, error: CrmkitError) -> None:
    run = context.obj if context is not None else None
    terminal = run.terminal if isinstance(run, Run) else Terminal()
    redact = run.redact if isinstance(run, Run) else str
    terminal.error(error, redact)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
