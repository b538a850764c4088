"""Schedules as systemd units and as cron lines: texts only.

Whatever wakes crmkit up, it runs `crmkit run --due`: the state store knows what is due, so
that a tick is run once, is caught up once, and is listed, whoever asks first.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from crmkit.scheduling.schedule import Schedule, every_text, offset

_PLAIN = re.compile(r"[0-9*,/-]+")
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
EVERY_MINUTE = "* * * * *"


@dataclass(frozen=True, slots=True)
class Timing:
    """When something outside wakes crmkit up.

    Attributes:
        when: An OnCalendar expression, or five fields of cron.
        note: Why it looks more often than the schedule says; empty if it says the same.
    """

    when: str
    note: str = ""


def unit_name(name: str, config: Path) -> str:
    """The name of a schedule's units, apart from those of other workspaces."""
    return f"crmkit-{name}-{hashlib.sha256(str(config).encode()).hexdigest()[:8]}"


def on_calendar(schedule: Schedule) -> Timing:
    """When a systemd timer elapses; every minute where OnCalendar cannot say what the schedule does."""
    if schedule.quiet:
        return _looking("OnCalendar cannot move a run to the end of the quiet hours")
    if schedule.every is not None:
        return _calendar_every(schedule.name, schedule.every)
    assert schedule.cron is not None
    fields = schedule.cron.split()
    if not all(_PLAIN.fullmatch(part) for part in fields):
        return _looking("OnCalendar cannot say names, L, W or # as cron does")
    minute, hour, day, month, weekday = fields
    if not day.startswith("*") and not weekday.startswith("*"):
        return _looking("OnCalendar cannot say one day or the other, as cron does with both days given")
    try:
        parts = [_component(part, first) for part, first in ((month, 1), (day, 1), (hour, 0), (minute, 0))]
        days = "" if weekday == "*" else _weekdays(weekday) + " "
    except ValueError:
        return _looking("OnCalendar cannot say these steps as cron does")
    return Timing(f"{days}*-{parts[0]}-{parts[1]} {parts[2]}:{parts[3]}:00 {schedule.time_zone}")


def _looking(reason: str) -> Timing:
    return Timing("*-*-* *:*:00", f"{reason}; so crmkit looks every minute what is due")


def _calendar_every(name: str, every: timedelta) -> Timing:
    start = int(offset(name, every).total_seconds())
    minute, second = divmod(start, 60)
    if _HOUR % every == timedelta() and every.total_seconds() % 60 == 0:
        step = int(every.total_seconds()) // 60
        minutes = ",".join(f"{at:02}" for at in range(minute, 60, step))
        return Timing(f"*-*-* *:{minutes}:{second:02} UTC")
    if _DAY % every == timedelta() and every % _HOUR == timedelta():
        step = int(every / _HOUR)
        hours = ",".join(f"{at:02}" for at in range(0, 24, step))
        return Timing(f"*-*-* {hours}:{minute:02}:{second:02} UTC")
    return _looking(f"OnCalendar cannot say every {every_text(every)}, which does not divide an hour or day")


def _component(part: str, first: int) -> str:
    def one(term: str) -> str:
        span, slash, step = term.partition("/")
        span = span.replace("-", "..")
        if not slash:
            return span
        if ".." in span:
            raise ValueError("a range with steps")
        return f"{first if span == '*' else span}/{step}"

    return ",".join(one(term) for term in part.split(","))


def _weekdays(part: str) -> str:
    found: set[int] = set()
    for term in part.split(","):
        if not re.fullmatch(r"[0-7](-[0-7])?", term):
            raise ValueError("steps of weekdays")
        first, _, last = term.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return ",".join(dict.fromkeys(_DAYS[day] for day in sorted(found)))


def cron_timing(schedule: Schedule, machine_zone: str | None) -> Timing:
    """When a cron line runs; every minute where cron would not mean what the schedule says.

    Args:
        schedule: The schedule.
        machine_zone: The zone that cron reads its table in; `None` if nobody knows.
    """
    if schedule.quiet:
        reason = "cron cannot move a run to the end of the quiet hours"
    elif schedule.every is not None:
        reason = "cron knows no intervals, only times of the clock"
    elif schedule.time_zone != machine_zone:
        # CRON_TZ is known to cronie only, holds for every line below it, and Debian's cron reads over it.
        reason = f"cron reads times in the machine's own zone, not in {schedule.time_zone}"
    else:
        assert schedule.cron is not None
        if all(_PLAIN.fullmatch(part) for part in schedule.cron.split()):
            return Timing(schedule.cron)
        reason = "not every cron knows these names and signs"
    return Timing(EVERY_MINUTE, f"{reason}; so crmkit looks every minute what is due")


def systemd_units(schedule: Schedule, command: Sequence[str], config: Path) -> dict[str, str]:
    """The unit files of a schedule, by name.

    Args:
        schedule: The schedule.
        command: How crmkit is started, with absolute paths.
        config: The configuration file, absolute.
    """
    unit = unit_name(schedule.name, config)
    words = " ".join(_systemd_word(word) for word in (*command, "--config", str(config), "run", "--due"))
    service = f"""\
# Written by `crmkit schedule`; `crmkit schedule uninstall {schedule.name}` removes it.
[Unit]
Description=crmkit: {schedule.what} ({schedule.name})

[Service]
Type=oneshot
ExecStart={words}
# Something waits for a person, some is left for the next run, another run is under way: no failures.
SuccessExitStatus=4 5 8
TimeoutStartSec=infinity
Nice=10
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""
    timer = f"""\
# Written by `crmkit schedule`; `crmkit schedule uninstall {schedule.name}` removes it.
[Unit]
Description=crmkit: when {schedule.what} runs ({schedule.name})

[Timer]
OnCalendar={on_calendar(schedule).when}
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
    return {f"{unit}.service": service, f"{unit}.timer": timer}


def _systemd_word(word: str) -> str:
    _printable(word)
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[\s\"';\\]", word) else escaped


def cron_line(schedule: Schedule, command: Sequence[str], config: Path, machine_zone: str | None) -> str:
    """The line of a crontab; no lock goes with it, since leases refuse what overlaps."""
    words = (*command, "--config", str(config), "-q", "run", "--due")
    for word in words:
        _printable(word)
    # cron ends the command at a bare % and takes the rest as its input.
    return f"{cron_timing(schedule, machine_zone).when} {shlex.join(words).replace('%', chr(92) + '%')}"


def _printable(word: str) -> None:
    if _CONTROL.search(word):
        raise ValueError(f"the path {word!r} has a line break or another control character in it")


def crontab_with(table: str, unit: str, line: str | None) -> str:
    """A crontab with our line in it, in place of a former one; `None` takes it out."""
    marker = f"# {unit} (crmkit schedule)"
    kept: list[str] = []
    lines = iter(table.splitlines())
    for one in lines:
        if one == marker:
            next(lines, None)  # the line it stands above
        else:
            kept.append(one)
    if line is not None:
        kept += [marker, line]
    return "".join(f"{one}\n" for one in kept)
