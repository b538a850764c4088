"""`crmkit doctor` in a workspace of CRMs on real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.copper.connector import CopperConnector
from crmkit.sandbox.server import Sandbox
from tests.scenarios.conftest import Crmkit

Up = Callable[..., Sandbox]


def findings(out: str) -> dict[str, dict[str, Any]]:
    """What was found, by subject and check."""
    return {
        f"{one['subject']} {one['check']}": one for record in json.loads(out) for one in record["findings"]
    }


def test_a_fresh_workspace_is_well_and_is_told_to_pull(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    box = up("hubspot", "zoho", deals=6, limits="real")
    result = crmkit("doctor")
    assert result.code == 0
    assert "$ crmkit pull" in result.out
    assert "can read" not in result.out  # what is well stays out of the way
    assert not (tmp_path / ".crmkit" / "state.db").exists()
    assert [app.requests.mutating for app in box.apps.values()] == [0, 0]
    assert "can read" in crmkit("-v", "doctor", "hubspot").out


def test_json_has_one_record_for_each_connection_and_one_for_the_rest(crmkit: Crmkit, up: Up) -> None:
    up("hubspot", "zoho", deals=6, limits="real")
    records = json.loads(crmkit("--json", "doctor").out)
    assert [one["connection"] for one in records] == ["hubspot", "zoho", None]
    hubspot = records[0]
    assert hubspot["ok"] is True
    assert hubspot["workspace"]["base_currency"] == "USD"
    assert abs(hubspot["clock_skew_seconds"]) < 60
    assert hubspot["quota"]["left"] < hubspot["quota"]["limit"]
    checked = {one["check"] for one in hubspot["findings"]}
    assert checked >= {"secrets", "access", "clock", "rights", "key-fields", "limits", "lag"}


def test_after_a_pull_missing_stage_maps_wait_for_a_person(crmkit: Crmkit, up: Up) -> None:
    up("hubspot", deals=6)
    crmkit("pull")
    result = crmkit("doctor")
    assert result.code == 4
    assert "$ crmkit stages suggest hubspot" in result.out
    assert crmkit("doctor", "--at-least", "error").code == 0


def test_offline_asks_no_crm(crmkit: Crmkit, up: Up) -> None:
    box = up("hubspot", "close", deals=6)
    result = crmkit("doctor", "--offline")
    assert result.code == 0
    assert "no CRM was asked" in result.out
    assert [app.requests.total for app in box.apps.values()] == [0, 0]


def test_wrong_and_missing_secrets_name_the_login_and_stop_no_other_check(
    crmkit: Crmkit, up: Up, tmp_path: Path
) -> None:
    up("hubspot", "close", "bitrix24", deals=6)
    secrets = tmp_path / ".crmkit" / "secrets"
    (secrets / "hubspot.token").write_text("pat-na1-wrong")
    for path in secrets.glob("close.*"):
        path.unlink()
    result = crmkit("--json", "doctor")
    found = findings(result.out)
    assert result.code == 7
    for name in ("hubspot access", "close secrets"):
        assert (found[name]["severity"], found[name]["command"]) == (
            "error", f"crmkit login {name.split()[0]}"
        )  # fmt: skip
    assert found["bitrix24 access"]["severity"] == "ok"
    assert "pat-na1-wrong" not in result.out


def test_a_secret_file_that_others_can_read_is_told(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    up("close", deals=6)
    (tmp_path / ".crmkit" / "secrets" / "close.api_key").chmod(0o644)
    result = crmkit("doctor", "--offline")
    assert result.code == 7
    assert "chmod 600" in result.out


def test_a_mistake_in_one_check_is_a_finding_and_the_others_go_on(
    crmkit: Crmkit, up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    up("hubspot", "copper", deals=6)

    def broken(_: CopperConnector) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(CopperConnector, "check", broken)
    result = crmkit("--json", "doctor")
    found = findings(result.out)
    assert result.code == 1
    assert "boom" in found["copper access"]["message"]
    assert found["hubspot limits"]["severity"] == "ok"


def test_a_clock_that_is_off_is_an_error(crmkit: Crmkit, up: Up, tmp_path: Path) -> None:
    up("hubspot", deals=6)
    path = tmp_path / "crmkit.toml"
    path.write_text("clock_margin_seconds = 0.0000001\n" + path.read_text())
    found = findings(crmkit("--json", "doctor").out)
    assert found["hubspot clock"]["severity"] == "error"


def test_a_workspace_without_connections_says_how_to_go_on(crmkit: Crmkit, tmp_path: Path) -> None:
    (tmp_path / "crmkit.toml").write_text('secrets = "secrets_dir"\n')
    result = crmkit("doctor")
    assert result.code == 0
    assert "Add a [connections.NAME]" in result.out
