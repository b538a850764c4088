"""What people type wrong, and what CRMs hold that is meant to harm: the command line of a sync."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.clock import SystemClock
from crmkit.errors import Interrupted
from crmkit.sandbox.server import Sandbox
from crmkit.session import pull
from crmkit.sync.lease import hold
from crmkit.sync.pull import PullOutcome, PullResult
from crmkit.sync.state import State
from tests.scenarios.conftest import Crmkit, Result
from tests.scenarios.syncing import Desk, agreed_sync, configure, open_desk

Up = Callable[..., Sandbox]
HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "\u202egnp.exe\u202c \u2066isolated",
    "two\nlines\r\nError: all is well",
    '=HYPERLINK("http://127.0.0.1/","click")',
    "\x9b31m one byte is enough",
    "long " * 2000,
)
PATIENCE_SECONDS = 60.0


@pytest.fixture
def desk(crmkit: Crmkit, up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Two CRMs that were never synced."""
    return open_desk(crmkit, up, tmp_path, monkeypatch, ["hubspot", "bitrix24"])


def one_document(result: Result) -> object:
    """The JSON on stdout; there is nothing else, there and on stderr."""
    assert result.err == ""
    return json.loads(result.out)


# Wrong input


def test_wrong_input_gets_one_error_with_what_helps(desk: Desk) -> None:
    (desk.folder / "noise.json").write_bytes(bytes(range(256)))
    (desk.folder / "empty.json").write_text("{}")
    wrong = [
        ("plan", "mian"),
        ("sync", "mian"),
        ("resume", "mian"),
        ("undo", "--sync", "mian", "--yes"),
        ("undo", "--sync", "main", "--yes"),
        ("undo", "999", "--sync", "main", "--yes"),
        ("conflicts", "list", "mian"),
        ("conflicts", "resolve", "main", "nobody", "amount", "--take", "hubspot"),
        ("conflicts", "resolve", "main", "hubspot:deel:1", "amount", "--take", "hubspot"),
        ("conflicts", "resolve", "main", "hubspot", "amount", "--take", "hubspot"),
        ("refused", "mian"),
        ("why", "nothing"),
        ("why", "hubspt:deal:1"),
        ("why", "hubspot:deal:1"),
        ("why", "hubspot:deal:1", "colour"),
        ("runs", "mian"),
        ("apply", "mian", "--yes"),
        ("apply", "missing.json", "--yes"),
        ("apply", "noise.json", "--yes"),
        ("apply", "empty.json", "--yes"),
        ("apply", str(desk.folder), "--yes"),
        ("sync", "main", "--confirm", "nonsense"),
        ("sync", "main", "--confirm", "creates=²"),
        ("sync", "main", "--confirm", "creates=-1"),
        ("sync", "main", "--confirm", "creates=" + "9" * 5000),
        ("sync", "main", "--confirm", "creats=5"),
        ("plan", "main", "--out", "nowhere/plan.json"),
    ]
    for arguments in wrong:
        spoken = desk.crmkit(*arguments)
        assert (spoken.code, spoken.out) == (2, ""), arguments
        assert spoken.err.startswith("Error: "), arguments
        told = desk.crmkit("--json", *arguments)
        error = one_document(told)["error"]  # type: ignore[index]
        assert (told.code, error["exit_code"]) == (2, 2), arguments


@pytest.mark.parametrize(
    "arguments", [("plan",), ("sync", "main", "--nonsense"), ("nonsense",), ("undo", "x", "--sync", "main")]
)
def test_a_command_that_cannot_be_read_is_one_json_document_too(
    crmkit: Crmkit, arguments: tuple[str, ...]
) -> None:
    result = crmkit("--json", *arguments)
    error = one_document(result)["error"]  # type: ignore[index]
    assert (result.code, error["exit_code"]) == (2, 2)


@pytest.mark.parametrize(
    ("settings", "line", "said"),
    [
        ('members = ["hubspot", "zohoo"]', "members", "'zohoo' is not a connection. Did you mean 'zoho'?"),
        ('members = ["hubspot"]', "members", "two different connections"),
        ('members = "hubspot"', "members", "write a list"),
        ('members = ["hubspot", "zoho"]\nordr = []', "ordr", "Did you mean 'order'?"),
        ('members = ["hubspot", "zoho"]\norder = ["zohoo"]', "order", "Did you mean 'zoho'?"),
        ('members = ["hubspot", "zoho"]\nfields = ["stagee"]', "fields", "Did you mean 'stage'?"),
        ('members = ["hubspot", "zoho"]\nguards = { creates = -1 }', "guards", "greater than or equal to 0"),
        ('members = ["hubspot", "zoho"]\nguards = { creates_share = 7 }', "guards", "less than or equal"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_its_line_and_what_was_meant(
    crmkit: Crmkit, tmp_path: Path, settings: str, line: str, said: str
) -> None:
    text = '[connections.hubspot]\ncrm = "hubspot"\n[connections.zoho]\ncrm = "zoho"\n[syncs.main]\n'
    (tmp_path / "crmkit.toml").write_text(text + settings + "\n")
    number = next(at for at, one in enumerate((text + settings).split("\n"), 1) if one.startswith(line))
    result = crmkit("plan", "main")
    assert result.code == 2
    assert f"crmkit.toml:{number}: syncs.main.{line}" in result.err
    assert said in result.err


def test_an_unknown_rule_is_named_before_anything_is_pulled(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    box = up("hubspot", "bitrix24")
    configure(tmp_path, 'members = ["hubspot", "bitrix24"]\nrules = { amount = "newst" }')
    result = crmkit("plan", "main")
    assert (result.code, sum(app.requests.total for app in box.apps.values())) == (2, 0)
    assert "syncs.main.rules.amount" in result.err


def test_a_name_that_would_act_on_a_terminal_is_no_name_of_a_sync(crmkit: Crmkit, tmp_path: Path) -> None:
    text = '[connections.a]\ncrm = "close"\n[connections.b]\ncrm = "close"\n'
    (tmp_path / "crmkit.toml").write_text(text + '[syncs."\\u001b[2J"]\nmembers = ["a", "b"]\n')
    result = crmkit("plan", "main")
    assert result.code == 2
    assert "\x1b" not in result.err


# Plans as files


def test_a_plan_replaces_a_link_and_never_follows_it(desk: Desk) -> None:
    treasure = desk.folder / "treasure.txt"
    treasure.write_text("untouched")
    (desk.folder / "plan.json").symlink_to(treasure)
    desk.crmkit("plan", "main", "--no-pull", "--out", "plan.json")
    plan = desk.folder / "plan.json"
    assert (treasure.read_text(), plan.is_symlink(), plan.stat().st_mode & 0o777) == (
        "untouched", False, 0o600,
    )  # fmt: skip
    assert list(desk.folder.glob(".plan*")) == []


def test_a_plan_whose_time_has_no_zone_is_no_plan(desk: Desk) -> None:
    desk.crmkit("plan", "main", "--no-pull", "--out", "plan.json")
    path = desk.folder / "plan.json"
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "made_at": "2026-11-23T12:00:00"}))
    result = desk.crmkit("apply", "plan.json", "--yes")
    assert result.code == 2
    assert result.err.startswith("Error: ")


def test_without_a_person_apply_and_undo_ask_for_yes_before_they_call_anything(desk: Desk) -> None:
    for arguments in (("apply", "main"), ("undo", "--sync", "main")):
        result = desk.crmkit(*arguments)
        assert (result.code, "--yes" in result.err) == (2, True)
    assert sum(app.requests.total for app in desk.box.apps.values()) == 0


# One JSON document, whatever happens


def test_every_ending_is_one_json_document(desk: Desk) -> None:
    assert one_document(desk.crmkit("--json", "plan", "main"))
    assert one_document(desk.crmkit("--json", "sync", "main"))  # stopped by a guard
    assert one_document(desk.crmkit("--json", "apply", "main", "--yes"))
    assert one_document(desk.crmkit("--json", "resume")) == []
    assert one_document(desk.crmkit("--json", "refused", "main", "--retry")) == {"retried": 0}
    assert one_document(desk.confirmed("--json", "sync", "main"))
    desk.settle()
    run = one_document(desk.crmkit("--json", "runs", "main", "--last", "1"))[0]  # type: ignore[index]
    assert (run["command"], run["of"], run["writes"] > 0) == ("sync", "main", True)
    undone = one_document(desk.crmkit("--json", "undo", "--sync", "main", "--yes"))
    assert undone["undone"] == run["run"]  # type: ignore[index]
    assert one_document(desk.crmkit("--json", "undo", str(run["run"]), "--sync", "main", "--yes"))


def test_a_run_that_was_stopped_is_not_the_one_that_undo_takes_back(desk: Desk) -> None:
    desk.first_sync()
    wrote = json.loads(desk.crmkit("--json", "runs", "main", "--last", "1").out)[0]["run"]
    desk.crmkit("apply", "main", "--yes", "--confirm", "creates=0")
    undone = json.loads(desk.crmkit("--json", "undo", "--sync", "main", "--yes").out)
    assert undone["undone"] == wrote


def test_runs_tells_what_a_sync_asked_of_the_crms(desk: Desk) -> None:
    desk.first_sync()
    run = json.loads(desk.crmkit("--json", "runs", "main", "--last", "1").out)[0]
    assert run["requests"] > 0
    assert run["waited_seconds"] >= 0


def test_a_mistake_in_crmkit_is_an_error_and_shows_no_secret(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = desk.box["hubspot"].credentials["token"]

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(f"while sending {token}")

    monkeypatch.setattr("crmkit.sync.run.SyncRun.plan", fail)
    spoken, told = desk.crmkit("-v", "plan", "main"), desk.crmkit("--json", "plan", "main")
    assert (spoken.code, told.code) == (1, 1)
    assert "ZeroDivisionError" in spoken.err
    assert "ZeroDivisionError" in one_document(told)["error"]["message"]  # type: ignore[index]
    assert token not in spoken.out + spoken.err + told.out


# Others at work


def test_a_sync_that_is_being_done_is_told_apart(desk: Desk) -> None:
    state = State(f"sqlite:///{desk.folder / '.crmkit/state.db'}")
    with hold(state, "sync:main", SystemClock().now):
        results = [desk.crmkit("--json", *words) for words in (("sync", "main"), ("plan", "main"))]
    state.close()
    assert [(one.code, one_document(one)["error"]["type"]) for one in results] == [  # type: ignore[index]
        (8, "Busy"), (8, "Busy"),
    ]  # fmt: skip


@pytest.mark.parametrize("command", [("plan", "main"), ("sync", "main"), ("sync", "main", "--no-pull")])
def test_wrong_credentials_of_one_member_end_with_7_and_write_nothing(
    desk: Desk, command: tuple[str, ...]
) -> None:
    (desk.folder / ".crmkit/secrets/hubspot.token").write_text("pat-wrong-secret")
    before = desk.written()
    result = desk.crmkit(*command)
    assert (result.code, desk.written()) == (7, before)
    assert "hubspot" in result.err
    assert "pat-wrong-secret" not in result.err


def test_whoever_stops_the_pull_of_one_member_stops_the_sync_of_all(
    crmkit: Crmkit, up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk(crmkit, up, tmp_path, monkeypatch, ["hubspot", "bitrix24", "close"], deals=10)

    def stopped(*arguments: Any, **options: Any) -> list[PullResult]:
        *others, last = pull(*arguments, **options)
        return [*others, replace(last, outcome=PullOutcome.INTERRUPTED, error=Interrupted("stopped"))]

    monkeypatch.setattr("crmkit.syncing.pull", stopped)
    before = desk.written()
    result = desk.confirmed("sync", "main")
    assert (result.code, desk.written()) == (130, before)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_ctrl_c_while_writing_ends_with_130_and_the_rest_is_written_by_resume(
    crmkit: Crmkit, up: Up, tmp_path: Path
) -> None:
    box = up("hubspot", "bitrix24", deals=30, latency_ms=80)
    assert crmkit("pull").code == 0
    configure(tmp_path, agreed_sync(["hubspot", "bitrix24"]).replace('create = "none"', 'create = "all"'))
    confirm = ("--confirm", "creates=9999", "--confirm", "field.name=9999")
    process = subprocess.Popen(
        [sys.executable, "-m", "crmkit.cli", "--json", "sync", "main", "--no-pull", *confirm],
        cwd=tmp_path,
        env={**os.environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pause = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.02)):
        if any(app.requests.mutating for app in box.apps.values()) or process.poll() is not None:
            break
        pause.wait(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (130, "")
    stopped = json.loads(out)
    assert stopped["exit_code"] == 130
    resumed = json.loads(crmkit("--json", "resume", "main", *confirm).out)[0]
    assert resumed["exit_code"] in (0, 4, 5)
    assert resumed["writes"] > 0


# What a CRM holds


@pytest.fixture
def hostile(desk: Desk) -> Desk:
    """A desk whose HubSpot holds deals with names that are meant to harm."""
    world = desk.box["hubspot"].world
    for name, native in zip(HOSTILE, sorted(world.deals), strict=False):
        world.edit_deal(native, name=name)
    desk.settle()
    return desk


def test_names_that_are_meant_to_harm_reach_neither_terminal_nor_json_nor_plan(hostile: Desk) -> None:
    results = [hostile.crmkit("plan", "main", "--all", "--out", "plan.json")]
    assert "owned" in results[0].out
    results.append(hostile.crmkit("--json", "plan", "main"))
    results.append(hostile.confirmed("sync", "main"))
    hostile.settle()
    native = sorted(hostile.box["hubspot"].world.deals)[0]
    results.append(hostile.crmkit("why", f"hubspot:deal:{native}"))
    results.append(hostile.crmkit("--json", "why", f"hubspot:deal:{native}"))
    results.append(hostile.crmkit("links", "review", "main", "--csv", "review.csv"))
    results.append(hostile.crmkit("links", "show", f"hubspot:deal:{native}"))
    results.append(hostile.crmkit("conflicts", "list", "main"))
    assert [HARMFUL.findall(text) for one in results for text in (one.out, one.err)] == [[]] * 16
    assert HARMFUL.search((hostile.folder / "plan.json").read_text(encoding="utf-8")) is None


def test_a_long_name_does_not_flood_the_terminal(hostile: Desk) -> None:
    result = hostile.crmkit("plan", "main", "--all")
    assert max(map(len, result.out.splitlines())) < 2000


def test_json_tells_a_hostile_name_as_it_is(hostile: Desk) -> None:
    _, plan = hostile.shown("plan", "main")
    labels = {one["label"] for one in plan["writes"]}
    assert HOSTILE[0] in labels or HOSTILE[4] in labels


def test_a_damaged_state_is_named(desk: Desk) -> None:
    path = desk.folder / ".crmkit/state.db"
    for one in path.parent.glob("state.db*"):
        one.unlink()
    path.write_bytes(b"this is no database " * 200)
    result = desk.crmkit("sync", "main")
    assert result.code == 1
    assert "restore a backup" in result.err


def test_a_state_of_a_newer_crmkit_is_refused_by_a_sync(desk: Desk) -> None:
    with sqlite3.connect(desk.folder / ".crmkit/state.db") as db:
        db.execute("UPDATE meta SET value = '99'")
    db.close()
    result = desk.crmkit("--json", "sync", "main")
    assert (result.code, one_document(result)["error"]["type"]) == (1, "NewerState")  # type: ignore[index]
