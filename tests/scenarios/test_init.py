"""`crmkit init` writes a configuration that works as it is."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from crmkit.config import load
from crmkit.connectors import registry
from crmkit.terminal import Terminal
from tests.scenarios.conftest import Crmkit

CRMS = ("hubspot", "zoho", "copper", "bitrix24", "close")


def test_a_file_for_all_five_loads_without_problems(crmkit: Crmkit, tmp_path: Path) -> None:
    given = [f"--connection={crm}-us={crm}" for crm in CRMS]
    result = crmkit("init", *given, "--currency", "eur", "--time-zone", "Europe/Berlin")
    config = load(tmp_path / "crmkit.toml", registry.OptionModels())
    assert result.code == 0
    assert {name: one.crm for name, one in config.settings.connections.items()} == {
        f"{crm}-us": crm for crm in CRMS
    }
    assert (config.settings.report.currency, config.settings.report.time_zone) == ("EUR", "Europe/Berlin")
    assert config.warnings == ()
    assert [f"crmkit login {crm}-us" in result.out for crm in CRMS] == [True] * 5
    for command in ("crmkit doctor", "crmkit pull", "crmkit stages suggest"):
        assert command in result.out


def test_options_that_are_commented_out_are_right_too(crmkit: Crmkit, tmp_path: Path) -> None:
    """Whoever removes a `#` gets a setting that exists."""
    crmkit("init", *(f"--connection={crm}" for crm in CRMS))
    path = tmp_path / "crmkit.toml"
    settings = [
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(settings))
    config = load(path, registry.OptionModels())
    assert config.settings.syncs["main"].members == CRMS
    assert config.settings.connections["hubspot"].history is True


def test_a_file_that_is_there_is_never_overwritten(crmkit: Crmkit, tmp_path: Path) -> None:
    path = tmp_path / "crmkit.toml"
    path.write_text("# mine\n")
    assert crmkit("init", "--connection", "hubspot").code == 2
    assert path.read_text() == "# mine\n"


def test_without_a_terminal_nothing_is_asked(crmkit: Crmkit, tmp_path: Path) -> None:
    result = crmkit("--json", "init")
    assert result.code == 0
    assert json.loads(result.out)["connections"] == {}
    assert load(tmp_path / "crmkit.toml", registry.OptionModels()).settings.report.currency == "USD"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--connection", "eu=hubsopt"], "hubspot"),
        (["--connection", "EU=hubspot"], "lower-case"),
        (["--connection", "a=hubspot", "--connection", "a=zoho"], "two connections"),
        (["--currency", "euros"], "ISO code"),
        (["--time-zone", "Berlin"], "Europe/Vienna"),
    ],
)
def test_a_wrong_option_writes_nothing(
    crmkit: Crmkit, tmp_path: Path, arguments: list[str], said: str
) -> None:
    result = crmkit("init", *arguments)
    assert result.code == 2
    assert said in result.err
    assert not (tmp_path / "crmkit.toml").exists()


def test_at_a_terminal_it_asks_again_until_an_answer_is_right(
    crmkit: Crmkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = "eu=hubsopt\neu=hubspot\neu=zoho\nclose\n\neuros\nEUR\nEurope/Berlin\n"
    monkeypatch.setattr(Terminal, "can_ask", property(lambda _: True))
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    assert crmkit("init").code == 0
    settings = load(tmp_path / "crmkit.toml", registry.OptionModels()).settings
    assert {name: one.crm for name, one in settings.connections.items()} == {
        "eu": "hubspot",
        "close": "close",
    }
    assert (settings.report.currency, settings.report.time_zone) == ("EUR", "Europe/Berlin")


def test_the_next_command_takes_it_from_there(crmkit: Crmkit, tmp_path: Path) -> None:
    crmkit("init", "--connection", "hubspot-us=hubspot")
    result = crmkit("doctor", "--offline")
    assert result.code == 7
    assert "$ crmkit login hubspot-us" in result.out
