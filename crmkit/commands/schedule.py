"""The command `schedule`: what runs by itself, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from crmkit.commands import schedule_install as installing
from crmkit.commands.run import Run
from crmkit.errors import UsageError
from crmkit.scheduling.quiet import QuietHours
from crmkit.scheduling.schedule import Schedule, every_text, next_due, parse_every
from crmkit.scheduling.task import Task
from crmkit.scheduling.timeline import timeline
from crmkit.sync import schedules_table as table
from crmkit.syncing import named

_AS = click.option(
    "--as", "form", type=click.Choice(["systemd", "cron"]), required=True, help="A systemd timer, or cron."
)
_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_ENDINGS = {
    0: "done", 3: "differences found", 4: "done, something waits for a person", 5: "partly done",
    6: "stopped by a guard", 7: "credentials", 8: "busy", 130: "interrupted",
}  # fmt: skip


@click.group()
def schedule() -> None:
    """What runs by itself, and when. `crmkit run --due` or a worker runs it."""


@schedule.command()
@click.argument("names", nargs=-1, metavar="[SYNC]")
@click.option("--every", metavar="15m", help="The interval: 15m, 2h, 1d.")
@click.option("--cron", metavar="FIELDS", help="When, as five fields of cron in the schedule's time zone.")
@click.option("--pull", is_flag=True, help="Pull the named connections, or all, instead of a sync.")
@click.option("--report", is_flag=True, help="Make the report instead.")
@click.option("--quiet", multiple=True, metavar="22:00-06:00", help="Start nothing then. May be repeated.")
@click.option("--time-zone", metavar="ZONE", help="Like Europe/Berlin. Default: that of the report.")
@click.option("--name", help="Its name. Default: that of the sync, or what is done.")
@click.pass_obj
def add(
    run: Run,
    names: Sequence[str],
    every: str | None,
    cron: str | None,
    pull: bool,
    report: bool,
    quiet: Sequence[str],
    time_zone: str | None,
    name: str | None,
) -> None:
    """Add a schedule for a sync, a pull or the report. Changes the local state only."""
    session = run.open()
    if pull and report:
        raise UsageError("choose one of --pull and --report")
    kind = "pull" if pull else "report" if report else "sync"
    try:
        made = Schedule(
            name=name or (names[0] if kind == "sync" and names else "-".join([kind, *names])),
            what=Task(kind, tuple(names)),
            every=parse_every(every) if every is not None else None,
            cron=" ".join(cron.split()) if cron is not None else None,
            time_zone=time_zone or session.config.settings.report.time_zone,
            quiet=tuple(QuietHours.parse(text) for text in quiet),
        )
    except ValueError as error:
        raise UsageError(str(error), hint="Try `crmkit schedule add --help`.") from error
    if kind == "sync":
        named(session, names[0])
    elif kind == "pull":
        session.config.chosen(names)
    now = _now(run)
    with session.state() as state:
        table.add(state, made, now)
    if run.terminal.as_json:
        run.terminal.json(_told(table.Stored(made, now), now))
        return
    run.terminal.say(
        f"Added {made.name}: {made.what}, {_when(made)}; first at {_local(made, next_due(made, now))}.\n"
        f"Nothing runs it yet unless `crmkit run --due` or a worker does: "
        f"`crmkit schedule install {made.name} --as systemd` sees to it."
    )


@schedule.command("list")
@click.pass_obj
def list_(run: Run) -> None:
    """List schedules: when each runs next, how the last run ended, and the next 24 hours."""
    now = _now(run)
    with run.open().state() as state:
        found = table.load(state)
    if run.terminal.as_json:
        run.terminal.json([_told(one, now) for one in found])
        return
    if not found:
        run.terminal.say("There is no schedule. `crmkit schedule add SYNC --every 15m` makes one.")
        return
    run.terminal.table(
        ("name", "what", "when", "next", "last run", "ended", "next 24 hours"),
        [
            [
                one.schedule.name, one.schedule.what, _when(one.schedule),
                _local(one.schedule, next_due(one.schedule, now)) if one.schedule.enabled else "paused",
                _local(one.schedule, one.started_at) if one.started_at else "never",
                _ending(one), timeline(one.schedule, now),
            ]
            for one in found
        ],
    )  # fmt: skip
    run.terminal.say("Next 24 hours, a sign each half hour: . no run, | one, # several.")


@schedule.command()
@click.argument("name")
@click.pass_obj
def remove(run: Run, name: str) -> None:
    """Forget a schedule; a run that is under way goes on."""
    with run.open().state() as state:
        table.remove(state, name)
    _said(run, name, "removed", f"Removed {name}. `crmkit schedule uninstall {name}` takes its timer away.")


@schedule.command()
@click.argument("name")
@click.pass_obj
def pause(run: Run, name: str) -> None:
    """Run a schedule no more until it is resumed."""
    with run.open().state() as state:
        table.set_enabled(state, name, False, _now(run))
    _said(run, name, "paused", f"Paused {name}; `crmkit schedule resume {name}` goes on.")


@schedule.command()
@click.argument("name")
@click.pass_obj
def resume(run: Run, name: str) -> None:
    """Run a paused schedule again; what was left out is not caught up."""
    with run.open().state() as state:
        table.set_enabled(state, name, True, _now(run))
    _said(run, name, "resumed", f"Resumed {name}.")


@schedule.command()
@click.argument("name")
@_AS
@click.pass_obj
def show(run: Run, name: str, form: str) -> None:
    """Print the systemd units or the cron line of a schedule. Changes nothing."""
    made = _one(run, name)
    written, remark = installing.texts(run, made, form), installing.note(made, form)
    if run.terminal.as_json:
        run.terminal.json({"name": name, "as": form, "texts": written, "note": remark or None})
        return
    for file, text in written.items():
        run.terminal.result(f"# {file}\n{text}" if form == "systemd" else text)
    if remark:
        run.terminal.say(f"Note: {remark}.", "yellow")


@schedule.command()
@click.argument("name")
@_AS
@_YES
@click.pass_obj
def install(run: Run, name: str, form: str, yes: bool) -> None:
    """Let systemd or cron of this user run a schedule. Shows what is written and asks."""
    written = installing.install(run, _one(run, name), form, yes=yes)
    if run.terminal.as_json:
        run.terminal.json({"name": name, "as": form, "texts": written})
    else:
        run.terminal.say(f"Installed. `crmkit schedule uninstall {name}` takes it away again.")


@schedule.command()
@click.argument("name")
@_YES
@click.pass_obj
def uninstall(run: Run, name: str, yes: bool) -> None:
    """Take away what `install` wrote, from systemd and cron. Shows it and asks."""
    gone = installing.uninstall(run, name, yes=yes)
    if run.terminal.as_json:
        run.terminal.json({"name": name, "removed": gone})
    else:
        run.terminal.say("Removed." if gone else f"Nothing of {name} is installed for this user.")


def _now(run: Run) -> datetime:
    return run.open().clock.now().astimezone(UTC)


def _one(run: Run, name: str) -> Schedule:
    with run.open().state() as state:
        found = {one.schedule.name: one.schedule for one in table.load(state)}
    if name not in found:
        raise table.unknown(name)
    return found[name]


def _said(run: Run, name: str, did: str, text: str) -> None:
    if run.terminal.as_json:
        run.terminal.json({"name": name, did: True})
    else:
        run.terminal.say(text)


def _when(made: Schedule) -> str:
    when = f"every {every_text(made.every)}" if made.every is not None else f"cron {made.cron}"
    return when + (f", not {' or '.join(map(str, made.quiet))}" if made.quiet else "")


def _local(made: Schedule, at: datetime) -> str:
    return f"{at.astimezone(made.zone):%Y-%m-%d %H:%M} {made.time_zone}"


def _ending(one: table.Stored) -> str:
    if one.started_at is None:
        return ""
    return "not ended" if one.exit_code is None else _ENDINGS.get(one.exit_code, "failed")


def _told(one: table.Stored, now: datetime) -> dict[str, Any]:
    made = one.schedule
    return {
        "name": made.name,
        "what": str(made.what),
        "every_seconds": int(made.every.total_seconds()) if made.every is not None else None,
        "cron": made.cron,
        "time_zone": made.time_zone,
        "quiet": [str(span) for span in made.quiet],
        "enabled": made.enabled,
        "next_due": next_due(made, now).isoformat() if made.enabled else None,
        "last_started_at": one.started_at.isoformat() if one.started_at else None,
        "last_ended_at": one.ended_at.isoformat() if one.ended_at else None,
        "last_exit_code": one.exit_code,
    }
