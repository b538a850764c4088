"""crmkit.toml is checked whole: every problem in one message, with file, line and advice."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from crmkit import config
from crmkit.errors import ConfigError


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    base_url: str | None = None
    seats: int = 1


CONNECTORS = {"small": Options}


def load(folder: Path, text: str) -> config.Config:
    path = folder / "crmkit.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, CONNECTORS)


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return str(caught.value)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        """
state = "data/state.db"
[connections.small-eu]
crm = "small"
seats = 3
[connections.small-eu.stages."Sales Pipeline"]
"Angebot" = "proposal"
[report]
currency = "EUR"
record_order = ["small-eu"]
[report.rates.USD]
2026-01-01 = 0.92
""",
    )
    assert found.options["small-eu"].seats == 3  # type: ignore[attr-defined]
    assert found.settings.connections["small-eu"].stages["Sales Pipeline"]["Angebot"] == "proposal"
    assert found.settings.report.rates["USD"][date(2026, 1, 1)] == Decimal("0.92")
    assert found.state_url == f"sqlite:///{tmp_path / 'data/state.db'}"


def test_all_problems_come_at_once_with_their_lines(tmp_path: Path) -> None:
    text = problems(
        tmp_path,
        """colour = 1
[connections.a]
crm = "smal"
[connections.b]
crm = "small"
seets = 2
[connections.B]
crm = "small"
[report]
currency = "euro"
""",
    )
    assert "crmkit.toml:1: colour: unknown key" in text
    assert "crmkit.toml:3: there is no connector 'smal'. Did you mean 'small'?" in text
    assert "crmkit.toml:6: connections.b.seets: unknown key. Did you mean 'seats'?" in text
    assert "crmkit.toml:7: 'B': use lower-case letters" in text
    assert "crmkit.toml:10: report.currency" in text


def test_a_wrong_type_is_named_at_its_line(tmp_path: Path) -> None:
    text = problems(tmp_path, '[connections.a]\ncrm = "small"\nseats = "many"\n')
    assert "crmkit.toml:3: connections.a.seats" in text


def test_a_rate_of_zero_is_refused(tmp_path: Path) -> None:
    assert "must be above zero" in problems(tmp_path, "[report.rates.USD]\n2026-01-01 = 0\n")


def test_a_record_order_of_strangers_is_refused(tmp_path: Path) -> None:
    assert "'x' is not a connection" in problems(tmp_path, '[report]\nrecord_order = ["x"]\n')


def test_broken_toml_is_named_with_its_place(tmp_path: Path) -> None:
    assert "line 1" in problems(tmp_path, "state = \n")


def test_a_secret_in_the_file_is_refused_as_unknown_key(tmp_path: Path) -> None:
    text = problems(tmp_path, '[connections.a]\ncrm = "small"\ntoken = "pat-123-secret"\n')
    assert "connections.a.token: unknown key" in text
    assert "pat-123-secret" not in text


def test_an_unknown_connection_is_answered_with_the_nearest(tmp_path: Path) -> None:
    found = load(tmp_path, '[connections.small-eu]\ncrm = "small"\n')
    with pytest.raises(ConfigError, match="no connection 'smal-eu'") as caught:
        found.chosen(["smal-eu"])
    assert "small-eu" in caught.value.hint


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    (tmp_path / "crmkit.toml").write_text("")
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert config.find(tmp_path / "a" / "b") == tmp_path / "crmkit.toml"


def test_what_the_report_names_must_be_declared(tmp_path: Path) -> None:
    text = '[connections.a]\ncrm = "small"\n[report]\n'
    assert "there is no team 'North'" in problems(
        tmp_path, text + '[[report.quotas]]\nperiod = "2026-Q4"\namount = 5\nteam = "North"\n'
    )
    assert "'propsal' is not a common stage. Did you mean 'proposal'?" in problems(
        tmp_path, text + 'qualified_stage = "propsal"\n'
    )
    assert "'b' is not a connection" in problems(tmp_path, text + 'renewal_fields = { b = "renews" }\n')
    twice = '[report.teams]\nNorth = ["ada"]\nSouth = ["Ada "]\n'
    assert "is in 'North' and in 'South'" in problems(tmp_path, text + twice)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://crm:s3cret@db/crm",
        "postgresql+psycopg://crm@db/crm?sslmode=require&password=s3cret",
    ],
)
def test_a_password_of_the_state_store_is_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    found = problems(tmp_path, f'# shared\nstate = "{address}"\n')
    assert "crmkit.toml:2: state: a password does not belong in this file" in found
    assert "s3cret" not in found
