"""Schedules as systemd units and cron lines, and what `crmkit schedule` does with them."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crmkit.scheduling.installs import (
    EVERY_MINUTE,
    cron_line,
    cron_timing,
    crontab_with,
    on_calendar,
    systemd_units,
)
from crmkit.scheduling.schedule import Schedule, next_due
from tests.scenarios.conftest import Crmkit
from tests.scheduling.test_ticks import made

CONFIG = Path("/srv/our crm/100%/crmkit.toml")
COMMAND = ["/opt/crm kit/bin/crmkit"]
LOOKS = "*-*-* *:*:00"


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (made(cron="30 2 * * *", zone="Europe/Berlin"), "*-*-* 2:30:00 Europe/Berlin"),
        (made(cron="*/10 8-17 * * 1-5"), "Mon,Tue,Wed,Thu,Fri *-*-* 8..17:0/10:00 UTC"),
        (made(cron="0 6 */2 1,7 *"), "*-1,7-1/2 6:0:00 UTC"),
        (made(cron="0 0 1 * 1"), LOOKS),
        (made(cron="0 0 L * *"), LOOKS),
        (made(cron="0 8-18/2 * * *"), LOOKS),
        (made(cron="0 0 * * */2"), LOOKS),
        (made("17m"), LOOKS),
        (made("15m", quiet=("22:00-06:00",)), LOOKS),
    ],
    ids=str,
)
def test_a_timer_says_what_the_schedule_says_or_looks_every_minute(schedule: Schedule, expected: str) -> None:
    timing = on_calendar(schedule)
    assert timing.when == expected
    assert bool(timing.note) == (expected == LOOKS)


def test_the_timer_of_an_interval_has_the_ticks_of_the_schedule() -> None:
    tick = next_due(made("15m"), datetime(2026, 6, 1, tzinfo=UTC))
    minutes = ",".join(f"{minute:02}" for minute in range(tick.minute % 15, 60, 15))
    assert on_calendar(made("15m")).when == f"*-*-* *:{minutes}:{tick.second:02} UTC"


def test_paths_are_quoted_for_systemd() -> None:
    units = systemd_units(made("15m"), COMMAND, CONFIG)
    service = next(text for name, text in units.items() if name.endswith(".service"))
    timer = next(text for name, text in units.items() if name.endswith(".timer"))
    assert (
        'ExecStart="/opt/crm kit/bin/crmkit" --config "/srv/our crm/100%%/crmkit.toml" run --due\n' in service
    )
    assert "NoNewPrivileges=yes" in service
    assert "Persistent=true" in timer


def test_paths_are_quoted_for_cron() -> None:
    line = cron_line(made(cron="5 4 * * *"), COMMAND, CONFIG, "UTC")
    assert line.startswith("5 4 * * * ")
    assert "%" not in line.replace("\\%", "")
    words = shlex.split(line.removeprefix("5 4 * * * ").replace("\\%", "%"))  # as cron hands it to the shell
    assert words == [*COMMAND, "--config", str(CONFIG), "-q", "run", "--due"]


@pytest.mark.parametrize("form", [systemd_units, lambda *given: cron_line(*given, "UTC")])
def test_a_path_with_a_line_break_is_refused(form: Any) -> None:
    with pytest.raises(ValueError, match="line break"):
        form(made("15m"), COMMAND, Path("/srv/a\n* * * * * rm/crmkit.toml"))


def test_cron_looks_every_minute_where_it_would_mean_another_time() -> None:
    assert cron_timing(made(cron="5 4 * * *", zone="Europe/Berlin"), "UTC").when == EVERY_MINUTE
    assert cron_timing(made(cron="5 4 * * *"), None).note
    assert cron_timing(made("15m"), "UTC").when == EVERY_MINUTE
    assert cron_timing(made(cron="5 4 * * *"), "UTC").note == ""


def test_a_crontab_keeps_every_line_of_others() -> None:
    table = "MAILTO=me\n1 2 * * * backup\n"
    once = crontab_with(table, "crmkit-a-1", "* * * * * x")
    assert crontab_with(once, "crmkit-a-1", "5 * * * * y").count("crmkit-a-1") == 1
    assert crontab_with(once, "crmkit-a-1", None) == table


TOML = """\
[connections.one]
crm = "memory"
daily_quota = 1000
daily_share = 0.5
[connections.two]
crm = "memory"
[syncs.main]
members = ["one", "two"]
[report]
time_zone = "Europe/Berlin"
"""
FAKE = """#!/bin/sh
echo "$0 $*" >> "{log}"
case "$(basename "$0") $1" in
  "crontab -l") cat "{table}" 2>/dev/null || {{ echo "no crontab for you" >&2; exit 1; }};;
  "crontab -") cat > "{table}";;
esac
"""


@pytest.fixture
def desk(crmkit: Crmkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crmkit:
    """A workspace, and a PATH whose systemctl and crontab only note what they are told."""
    (tmp_path / "crmkit.toml").write_text(TOML)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("systemctl", "crontab"):
        tool = tools / name
        tool.write_text(FAKE.format(log=tmp_path / "log", table=tmp_path / "table"))
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    return crmkit


def test_a_schedule_is_added_listed_paused_and_removed(desk: Crmkit) -> None:
    added = desk("schedule", "add", "main", "--every", "15m", "--quiet", "22:00-06:00")
    assert added.code == 0, added.err
    assert desk("schedule", "add", "--pull", "one", "--cron", "0 5 * * *").code == 0
    listed = desk("schedule", "list")
    assert "every 15m, not 22:00-06:00" in listed.out
    assert "pull-one" in listed.out
    assert desk("schedule", "pause", "main").code == 0
    told = {one["name"]: one for one in json.loads(desk("--json", "schedule", "list").out)}
    assert told["main"]["next_due"] is None
    assert told["pull-one"]["what"] == "pull:one"
    assert told["pull-one"]["time_zone"] == "Europe/Berlin"
    assert desk("schedule", "resume", "main").code == 0
    assert desk("schedule", "remove", "main").code == 0
    assert len(json.loads(desk("--json", "schedule", "list").out)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "mian", "--every", "1h"), ("add", "--every", "1h"), ("add", "main"),
        ("add", "--pull", "three", "--every", "1h"), ("add", "main", "--cron", "99 * * * *"),
        ("add", "--pull", "--report", "--every", "1h"), ("remove", "nothing"), ("pause", "nothing"),
        ("show", "nothing", "--as", "cron"), ("install", "nothing", "--as", "systemd"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_scheduled_is_refused(desk: Crmkit, arguments: tuple[str, ...]) -> None:
    result = desk("schedule", *arguments)
    assert result.code == 2
    assert result.err.startswith("Error: ")


def test_units_are_installed_after_a_look_and_taken_away(desk: Crmkit, tmp_path: Path) -> None:
    desk("schedule", "add", "main", "--every", "15m")
    asked = desk("schedule", "install", "main", "--as", "systemd")
    assert asked.code == 2  # nobody is here to agree
    assert "ExecStart=" in asked.err
    assert not (tmp_path / "xdg").exists()
    assert desk("schedule", "install", "main", "--as", "systemd", "--yes").code == 0
    folder = tmp_path / "xdg" / "systemd" / "user"
    assert sorted(path.suffix for path in folder.iterdir()) == [".service", ".timer"]
    assert "--user enable crmkit-main-" in (tmp_path / "log").read_text()
    shown = desk("schedule", "show", "main", "--as", "systemd").out
    assert all(path.read_text() in shown for path in folder.iterdir())
    assert desk("schedule", "uninstall", "main", "--yes").code == 0
    assert list(folder.iterdir()) == []


def test_a_cron_line_is_installed_once_and_taken_away(desk: Crmkit, tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.write_text("1 2 * * * backup\n")
    desk("schedule", "add", "main", "--every", "15m")
    for _ in range(2):
        assert desk("schedule", "install", "main", "--as", "cron", "--yes").code == 0
    assert table.read_text().count("run --due") == 1
    assert desk("schedule", "uninstall", "main", "--yes").code == 0
    assert table.read_text() == "1 2 * * * backup\n"


@pytest.mark.parametrize(("form", "text"), [("systemd", "OnCalendar="), ("cron", "run --due")])
def test_where_the_tool_is_missing_the_text_to_paste_is_told(
    desk: Crmkit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str, text: str
) -> None:
    desk("schedule", "add", "main", "--every", "15m")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    result = desk("schedule", "install", "main", "--as", form, "--yes")
    assert result.code == 1
    assert "nothing was changed" in result.err
    assert text in result.err
