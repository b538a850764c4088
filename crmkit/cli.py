"""The command line: puts the commands together, and ends the process with the right code."""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
from rich.text import Text

from crmkit import __version__
from crmkit.commands.pull import pull, quarantine
from crmkit.commands.run import Run
from crmkit.errors import CrmkitError, Interrupted, UsageError
from crmkit.logs import LEVELS, LogOptions
from crmkit.terminal import Terminal, visible_lines

# Commands that need a web server, a template engine or the like are imported when called.
_LATE = {
    "apply": "crmkit.commands.sync:apply",
    "budget": "crmkit.commands.budget:budget",
    "conflicts": "crmkit.commands.decide:conflicts",
    "demo": "crmkit.commands.demo:demo",
    "diff": "crmkit.commands.report:diff",
    "doctor": "crmkit.commands.doctor:doctor",
    "export": "crmkit.commands.export:export",
    "init": "crmkit.commands.init:init",
    "links": "crmkit.commands.links:links",
    "listen": "crmkit.commands.listen:listen",
    "login": "crmkit.commands.login:login",
    "logout": "crmkit.commands.login:logout",
    "migrate": "crmkit.commands.migrate:migrate",
    "plan": "crmkit.commands.sync:plan",
    "refused": "crmkit.commands.decide:refused",
    "rehearse": "crmkit.commands.rehearse:rehearse",
    "report": "crmkit.commands.report:report",
    "resume": "crmkit.commands.sync:resume",
    "review": "crmkit.commands.review:review",
    "run": "crmkit.commands.work:run_command",
    "runs": "crmkit.commands.runs:runs",
    "sandbox": "crmkit.commands.sandbox:sandbox",
    "schedule": "crmkit.commands.schedule:schedule",
    "stages": "crmkit.commands.stages:stages",
    "sync": "crmkit.commands.sync:sync",
    "undo": "crmkit.commands.decide:undo",
    "why": "crmkit.commands.decide:why",
    "worker": "crmkit.commands.worker:worker",
}


class _Commands(click.Group):
    """A group that imports some of its commands only when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LATE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LATE:
            return super().get_command(ctx, cmd_name)
        module, name = _LATE[cmd_name].split(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file. Default: crmkit.toml here or in a folder above.",
)
@click.option("--json", "as_json", is_flag=True, help="Write results as JSON; its fields are a promise.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors.")
@click.option("-v", "--verbose", is_flag=True, help="Say more, for example what a pull read of each kind.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), help="Log what crmkit does, one event a line."
)
@click.option(
    "--log-level", type=click.Choice(list(LEVELS)), help="The least important events to log. Default: info."
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append the log to this file, instead of stderr; logrotate may move it away.",
)
@click.version_option(__version__, prog_name="crmkit")
@click.pass_context
def cli(
    context: click.Context,
    config: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log_format: Literal["text", "json"] | None,
    log_level: str | None,
    log_file: Path | None,
) -> None:
    """Five CRMs as one pipeline: pull, map stages, compare, report, keep in step, migrate.

    crmkit reads HubSpot, Zoho CRM, Copper, Bitrix24 and Close into a local copy and works
    on that. Only apply, sync, resume, undo and migrate change anything in a CRM, and
    `crmkit plan` or `crmkit migrate plan` shows first what that would be.

    \b
    New here?      crmkit demo
    Exit codes     0 done; 1 failed; 2 usage; 3 differences found; 4 done, but something
                   waits for a person; 5 partly done; 6 a guard stopped it, nothing
                   written; 7 credentials; 8 busy; 130 interrupted
    """
    log = None
    if log_format or log_level or log_file:
        log = LogOptions(log_format or "text", LEVELS[log_level or "info"], log_file)
    context.obj = run = Run(config, Terminal(as_json=as_json, quiet=quiet, verbose=verbose), log=log)
    context.call_on_close(run.close)


for _command in (pull, quarantine):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run crmkit; ends the process with one of the exit codes that the help lists."""
    os.umask(0o077)  # whatever is written may hold customers' data
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a customer's name is no reason to stop.
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    context: click.Context | None = None
    try:
        context = cli.make_context("crmkit", list(words))
        with context:
            cli.invoke(context)
        sys.exit(0)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.Abort:
        _fail(context, Interrupted("not confirmed; nothing was written", hint=""))
    except KeyboardInterrupt:
        _fail(context, Interrupted("stopped"))
    except click.ClickException as error:
        if "--json" not in words:
            error.show()
            sys.exit(error.exit_code)
        usage = UsageError(error.format_message(), hint=_help_of(error))
        Terminal(as_json=True).error(usage, str)
        sys.exit(error.exit_code)
    except CrmkitError as error:
        _fail(context, error)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; a second error at exit helps nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(context, CrmkitError(f"cannot go on: {error.strerror or error}"))
    except Exception as error:
        # A mistake in crmkit itself. Its text may quote anything, so it is shown masked.
        _fail(context, _mistake(context, error))


def _mistake(context: click.Context | None, error: Exception) -> CrmkitError:
    run = context.obj if context is not None else None
    if isinstance(run, Run) and run.terminal.verbose:
        for line in traceback.format_exception(error):
            run.terminal.err.print(Text(visible_lines(run.redact(line.rstrip()))), soft_wrap=True)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return CrmkitError(
        f"a mistake in crmkit: {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})",
        hint="Please report it with what `crmkit -v` prints; it is safe to run the command again.",
    )


def _help_of(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"Try `{context.command_path} --help`." if context is not None else ""


def _fail(context: click.Context | None, error: CrmkitError) -> None:
    run = context.obj if context is not None else None
    terminal = run.terminal if isinstance(run, Run) else Terminal()
    redact = run.redact if isinstance(run, Run) else str
    terminal.error(error, redact)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
