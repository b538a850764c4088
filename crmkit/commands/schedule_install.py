"""Schedules handed to systemd or cron of this user; what `schedule install` and `uninstall` do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from crmkit.commands.run import Run
from crmkit.errors import CrmkitError, Interrupted, UsageError
from crmkit.scheduling.installs import (
    cron_line,
    cron_timing,
    crontab_with,
    on_calendar,
    systemd_units,
    unit_name,
)
from crmkit.scheduling.schedule import Schedule

_SECONDS = 60


def command_here() -> list[str]:
    """How to start the crmkit that runs now, with absolute paths."""
    started = Path(sys.argv[0])
    if started.name == "crmkit" and started.is_file():
        return [str(started.absolute())]
    return [sys.executable, "-m", "crmkit.cli"]


def machine_zone() -> str | None:
    """The IANA name of this machine's time zone; `None` if nobody knows."""
    try:
        target = os.readlink("/etc/localtime")
    except OSError:
        return None
    return target.partition("zoneinfo/")[2] or None


def texts(run: Run, schedule: Schedule, form: str) -> dict[str, str]:
    """What would be installed: the unit files by name, or the cron line.

    Raises:
        UsageError: A path cannot be written into such a file.
    """
    config = run.open().config.path
    try:
        if form == "systemd":
            return systemd_units(schedule, command_here(), config)
        return {"crontab": cron_line(schedule, command_here(), config, machine_zone()) + "\n"}
    except ValueError as error:
        raise UsageError(str(error), hint="Move the workspace to another path.") from error


def note(schedule: Schedule, form: str) -> str:
    """Why it looks more often than the schedule says; empty if it does not."""
    timing = on_calendar(schedule) if form == "systemd" else cron_timing(schedule, machine_zone())
    return timing.note


def install(run: Run, schedule: Schedule, form: str, *, yes: bool) -> dict[str, str]:
    """Show what is written, ask, and install it for this user.

    Raises:
        CrmkitError: The tool is missing or fails; the message has the text to paste.
    """
    written = texts(run, schedule, form)
    _tool(form, written)
    remark = note(schedule, form)
    if form == "systemd":
        folder = _unit_folder()
        _agree(run, {str(folder / name): text for name, text in written.items()}, remark, yes=yes)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            (folder / name).write_text(text, encoding="utf-8")
        _call(["systemctl", "--user", "daemon-reload"])
        timer = f"{_unit(run, schedule.name)}.timer"
        _call(["systemctl", "--user", "enable", timer])
        _call(["systemctl", "--user", "restart", timer])  # a timer that runs keeps its old times otherwise
    else:
        _agree(run, written, remark, yes=yes)
        _write_crontab(crontab_with(_crontab(), _unit(run, schedule.name), written["crontab"].rstrip("\n")))
    return written


def uninstall(run: Run, name: str, *, yes: bool) -> list[str]:
    """Take away what `install` wrote, from systemd and cron; what was removed."""
    unit = _unit(run, name)
    files = [path for end in ("timer", "service") if (path := _unit_folder() / f"{unit}.{end}").exists()]
    table = _crontab() if shutil.which("crontab") else ""
    rest = crontab_with(table, unit, None)
    gone = [*map(str, files), *(["crontab"] if rest != table else [])]
    if not gone:
        return []
    _agree(run, dict.fromkeys(gone, "removed\n"), "", yes=yes)
    if files:
        if shutil.which("systemctl"):
            _call(["systemctl", "--user", "disable", "--now", f"{unit}.timer"])
        for path in files:
            path.unlink()
        if shutil.which("systemctl"):
            _call(["systemctl", "--user", "daemon-reload"])
    if rest != table:
        _write_crontab(rest)
    return gone


def _unit(run: Run, name: str) -> str:
    return unit_name(name, run.open().config.path)


def _unit_folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".config") / "systemd" / "user"


def _agree(run: Run, changes: dict[str, str], remark: str, *, yes: bool) -> None:
    for where, text in changes.items():
        run.terminal.say(f"{where}:\n{text}")
    if remark:
        run.terminal.say(f"Note: {remark}.", "yellow")
    if yes:
        return
    if not run.terminal.can_ask:
        raise UsageError("nobody is here to agree; nothing was changed", hint="Look, then add --yes.")
    if not click.confirm("Change this?", err=True):
        raise Interrupted("not confirmed; nothing was changed", hint="")


def _tool(form: str, written: dict[str, str]) -> None:
    tool = "systemctl" if form == "systemd" else "crontab"
    if shutil.which(tool):
        return
    paste = "\n".join(f"# {name}\n{text}" for name, text in written.items())
    raise CrmkitError(
        f"there is no {tool} here; nothing was changed",
        hint=f"Put this where it belongs on the machine that is to run it:\n{paste}",
    )


def _crontab() -> str:
    # Without a table it fails and says so; a table that cannot be read must not be overwritten.
    done = _run(["crontab", "-l"])
    if done.returncode and "no crontab" not in done.stderr.lower():
        raise CrmkitError(f"crontab -l failed: {done.stderr.strip()[:300]}", hint="Nothing was changed.")
    return done.stdout if not done.returncode else ""


def _write_crontab(table: str) -> None:
    _call(["crontab", "-"], table)


def _call(command: Sequence[str], text: str | None = None) -> None:
    done = _run(command, text)
    if done.returncode:
        raise CrmkitError(
            f"{' '.join(command)} failed: {done.stderr.strip()[:300]}",
            hint="Run it by hand to see why; without a session of yours, `loginctl enable-linger` may help.",
        )


def _run(command: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(  # noqa: S603 - fixed words, no shell
            command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False,
            env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CrmkitError(f"{command[0]} could not be run: {error}") from error
