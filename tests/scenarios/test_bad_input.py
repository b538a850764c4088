"""Bad input gets a clear answer: what happened, where, what helps, and the right exit code."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.clock import SystemClock
from crmkit.sandbox.server import Sandbox
from crmkit.sync.lease import hold
from crmkit.sync.state import State
from tests.scenarios.conftest import Crmkit

Up = Callable[..., Sandbox]


def secret_file(folder: Path, name: str) -> Path:
    return folder / ".crmkit" / "secrets" / name


def test_wrong_credentials_are_named_and_end_with_7(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    up("hubspot")
    secret_file(tmp_path, "hubspot.token").write_text("pat-na1-wrong-secret")
    result = crmkit("pull")
    assert result.code == 7
    assert "hubspot" in result.err
    assert "Hint:" in result.err
    assert "pat-na1-wrong-secret" not in result.out + result.err


def test_a_missing_secret_says_how_to_store_it(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    up("hubspot")
    secret_file(tmp_path, "hubspot.token").unlink()
    result = crmkit("pull")
    assert result.code == 7
    assert "CRMKIT_HUBSPOT_TOKEN" in result.err


def test_an_unknown_connection_is_answered_with_the_nearest(crmkit: Crmkit, up: Up) -> None:
    up("hubspot")
    result = crmkit("pull", "hubspt")
    assert result.code == 2
    assert "Did you mean 'hubspot'?" in result.err


def test_an_unreachable_host_is_named(crmkit: Crmkit, up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    box = up("hubspot")
    monkeypatch.setattr("crmkit.connectors.clock.SystemClock.sleep", lambda *_: None)
    box.stop()
    result = crmkit("pull")
    assert result.code == 1
    assert "127.0.0.1" in result.err
    assert "Hint:" in result.err


def test_one_failing_connection_does_not_stop_the_others(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    up("hubspot", "close")
    secret_file(tmp_path, "hubspot.token").write_text("pat-wrong")
    result = crmkit("--json", "pull")
    outcomes = {row["connection"]: row["outcome"] for row in json.loads(result.out)}
    assert outcomes == {"hubspot": "failed", "close": "done"}
    assert result.code == 7


def test_a_record_that_cannot_be_read_is_quarantined_and_the_rest_is_pulled(
    crmkit: Crmkit, up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = up("hubspot")
    world = box["hubspot"].world
    bad = sorted(world.deals)[7]
    world.edit_deal(bad, amount="a lot")
    pulled = crmkit("--json", "pull")
    listed = crmkit("--json", "quarantine")
    row = json.loads(pulled.out)[0]
    assert (pulled.code, row["outcome"], row["quarantined"]) == (4, "held", 1)
    assert row["records"]["deal"] == 119
    assert (listed.code, [(item["id"], item["field"]) for item in json.loads(listed.out)]) == (
        4,
        [(bad, "amount")],
    )


def test_an_unmapped_stage_is_a_row_of_its_own_and_a_finding(crmkit: Crmkit, up: Up) -> None:
    up("hubspot")
    crmkit("pull")
    check = crmkit("--json", "stages", "check")
    report = crmkit("--json", "report")
    assert check.code == 4
    assert {"unmapped-stage"} <= {finding["code"] for finding in json.loads(check.out)}
    assert report.code == 4
    assert json.loads(report.out)["items"]["unmapped"]


def test_a_state_of_a_newer_version_is_refused(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    up("hubspot")
    crmkit("pull")
    with sqlite3.connect(tmp_path / ".crmkit" / "state.db") as db:
        db.execute("UPDATE meta SET value = '99'")
    db.close()
    result = crmkit("pull")
    assert result.code == 1
    assert "version 99" in result.err
    assert "Upgrade crmkit" in result.err


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_read_only_folder_is_named(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    up("hubspot")
    config = tmp_path / "crmkit.toml"
    config.write_text(config.read_text().replace('".crmkit/state.db"', '"/proc/crmkit/state.db"'))
    result = crmkit("pull")
    assert result.code == 1
    assert "permissions" in result.err


def test_a_clock_that_is_wrong_is_named(crmkit: Crmkit, up: Up) -> None:
    box = up("hubspot")
    box.clock.advance(900)
    result = crmkit("pull")
    assert result.code == 1
    assert "clock" in result.err
    assert "NTP" in result.err


def test_a_pull_that_is_being_done_is_told_apart(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    up("hubspot")
    crmkit("pull")
    state = State(f"sqlite:///{tmp_path / '.crmkit' / 'state.db'}")
    with hold(state, "pull:hubspot", SystemClock().now):
        result = crmkit("pull")
    state.close()
    assert result.code == 8
    assert f"process {os.getpid()}" in result.err


def test_nothing_pulled_yet_says_what_to_run(crmkit: Crmkit, up: Up) -> None:
    up("hubspot")
    result = crmkit("report")
    assert result.code == 1
    assert "crmkit pull hubspot" in result.err


@pytest.mark.parametrize("command", [["diff"], ["report", "--format", "docx"], ["nonsense"]])
def test_wrong_usage_ends_with_2(crmkit: Crmkit, up: Up, command: list[str]) -> None:
    up("hubspot")
    assert crmkit(*command).code == 2


def test_no_configuration_points_to_the_demo(crmkit: Crmkit) -> None:
    result = crmkit("pull")
    assert result.code == 2
    assert "crmkit demo" in result.err


def test_errors_are_json_where_json_was_asked_for(crmkit: Crmkit) -> None:
    result = crmkit("--json", "pull")
    error: dict[str, Any] = json.loads(result.out)["error"]
    assert (error["type"], error["exit_code"]) == ("ConfigError", 2)


def test_a_planted_secret_is_nowhere(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    box = up("hubspot")
    token = box["hubspot"].credentials["token"]
    written = ""
    for command in (["pull"], ["doctor"], ["report"], ["--json", "pull"], ["stages", "suggest"]):
        result = crmkit(*command)
        written += result.out + result.err
    crmkit("report", "--format", "html", "--out", "report.html")
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "secrets" not in path.parts]
    assert token not in written
    assert [path for path in files if token.encode() in path.read_bytes()] == []


def test_a_workspace_of_made_up_crms_finds_no_secrets_but_its_own(
    crmkit: Crmkit, up: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    up("hubspot", deals=5)
    monkeypatch.setenv("CRMKIT_HUBSPOT_TOKEN", "of-a-real-portal")
    assert crmkit("pull", "hubspot").code == 0
