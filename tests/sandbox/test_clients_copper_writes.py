"""A public command-line client of Copper writes to the sandbox and reads back what it wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crmkit.sandbox.copper import CopperApp
from crmkit.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def app() -> Iterator[CopperApp]:
    with Sandbox.up(["copper"], deals=60, limits="off") as box:
        app = box["copper"]
        assert isinstance(app, CopperApp)
        yield app
        assert app.crashes == []


class CommandLine:
    """https://pypi.org/project/dc-copper-cli/; the address is a constant of its module."""

    def __init__(self, app: CopperApp, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.module = pytest.importorskip("dc_copper_cli", reason="dc-copper-cli is not installed")
        self.folder = folder
        monkeypatch.setattr(self.module, "API_BASE_URL", app.base_url)
        monkeypatch.setenv("COPPER_API_KEY", app.credentials["api_key"])
        monkeypatch.setenv("COPPER_EMAIL", str(app.connection["user_email"]))

    def __call__(self, *words: str, body: dict[str, Any] | None = None) -> Any:
        from click.testing import CliRunner  # noqa: PLC0415 - only where the client is installed

        if body is not None:
            path = self.folder / "body.json"
            path.write_text(json.dumps(body))
            words = (*words, "--from-json", str(path))
        result = CliRunner().invoke(self.module.cli, ["--json", "--quiet", *words])
        assert result.exit_code == 0, result.output
        return json.loads(result.output) if result.output.strip() else None


@pytest.fixture
def copper(app: CopperApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    return CommandLine(app, monkeypatch, tmp_path)


def test_an_opportunity_is_created_changed_and_deleted(app: CopperApp, copper: CommandLine) -> None:
    person = copper("person", "create", "--name", "Ada Byron", "--email", "ada@engines.example")
    body = {"name": "Größe & Co", "primary_contact_id": person["id"], "monetary_value": 12.5}
    deal = str(copper("opportunity", "create", body=body)["id"])
    assert copper("opportunity", "get", deal)["monetary_value"] == 12.5
    copper("opportunity", "update", deal, body={"status": "Won"})
    copper("opportunity", "update", deal, "--name", "Renamed")
    read = copper("opportunity", "get", deal)
    assert (read["name"], read["status"]) == ("Renamed", "Won")
    copper("opportunity", "delete", deal, "--force")
    assert deal not in app.world.deals


def test_a_company_and_its_person_are_written(app: CopperApp, copper: CommandLine) -> None:
    owner = app.account.user.id
    company = copper("company", "create", "--name", "Engines", "--owner", owner)
    assert company["assignee_id"] == int(owner)
    person = copper("person", "create", "--name", "Grace Hopper", "--company", str(company["id"]))
    copper("person", "update", str(person["id"]), "--email", "grace@engines.example")
    read = copper("person", "get", str(person["id"]))
    assert (read["company_name"], read["emails"][0]["email"]) == ("Engines", "grace@engines.example")
