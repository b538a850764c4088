"""A public command-line client of Copper reads every record from the sandbox; only its address is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from crmkit.sandbox.copper import CopperApp
from crmkit.sandbox.server import Sandbox

DEALS = 650


@pytest.fixture(scope="module")
def app() -> Iterator[CopperApp]:
    with Sandbox.up(["copper"], deals=DEALS, limits="off") as box:
        app = box["copper"]
        assert isinstance(app, CopperApp)
        yield app
        assert app.crashes == []


class CommandLine:
    """https://pypi.org/project/dc-copper-cli/; the address is a constant of its module."""

    def __init__(self, app: CopperApp, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = pytest.importorskip("dc_copper_cli", reason="dc-copper-cli is not installed")
        monkeypatch.setattr(self.module, "API_BASE_URL", app.base_url)
        monkeypatch.setenv("COPPER_API_KEY", app.credentials["api_key"])
        monkeypatch.setenv("COPPER_EMAIL", str(app.connection["user_email"]))

    def __call__(self, *words: str) -> Any:
        from click.testing import CliRunner  # noqa: PLC0415 - only where the client is installed

        result = CliRunner().invoke(self.module.cli, ["--json", *words])
        assert result.exit_code == 0, result.output
        return json.loads(result.output)


@pytest.fixture
def copper(app: CopperApp, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(app, monkeypatch)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return sorted((str(row["id"]) for row in rows), key=int)


def test_it_lists_every_opportunity_once(app: CopperApp, copper: CommandLine) -> None:
    rows = copper("opportunity", "list", "--all", "--limit", "200", "--sort", "date_created")
    assert ids(rows) == [deal["id"] for deal in app.expected_deals()]


def test_it_lists_them_in_small_pages_and_the_default_order(app: CopperApp, copper: CommandLine) -> None:
    rows = copper("opportunity", "list", "--all")
    assert ids(rows) == [deal["id"] for deal in app.expected_deals()]


def test_it_lists_every_company_and_person(app: CopperApp, copper: CommandLine) -> None:
    assert ids(copper("company", "list", "--all")) == sorted(app.world.companies, key=int)
    assert ids(copper("person", "list", "--all")) == sorted(app.world.contacts, key=int)


def test_it_gets_one_opportunity(app: CopperApp, copper: CommandLine) -> None:
    deal = app.expected_deals()[0]
    assert copper("opportunity", "get", deal["id"])["name"] == deal["name"]


def test_it_lists_the_custom_fields(app: CopperApp, copper: CommandLine) -> None:
    names = {row["name"] for row in copper("field", "list")}
    assert names >= {field.label for field in app.world.fields["deal"].values()}
