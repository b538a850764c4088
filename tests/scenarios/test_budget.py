"""`budget`: what a sync or migration will cost, told before it runs and without changing anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crmkit.sandbox.server import Sandbox
from tests.scenarios.conftest import Crmkit
from tests.scenarios.migrating import open_move
from tests.scenarios.syncing import Desk, open_desk

Open = Callable[..., Desk]
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens there


@pytest.fixture
def desk_of(
    crmkit: Crmkit, up: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """Opens a desk: `desk_of("hubspot", "zoho")`."""
    return lambda *crms: open_desk(crmkit, up, tmp_path, monkeypatch, crms)


def test_the_budget_of_a_sync_is_what_its_plan_tells(desk_of: Open) -> None:
    desk = desk_of("hubspot", "bitrix24")
    before = desk.written()
    code, told = desk.shown("budget", "main", "--no-pull")
    _, plan = desk.shown("plan", "main", "--no-pull")
    assert (code, desk.written()) == (0, before)
    assert {one["connection"] for one in told} == set(desk.crms)
    requests = {one["connection"]: one["requests"] for one in told}
    assert requests == {one["connection"]: one["requests"] for one in plan["costs"]}


def test_the_budget_of_a_sync_asks_each_member_once_who_it_is(desk_of: Open) -> None:
    desk = desk_of("hubspot", "close")
    assert desk.shown("budget", "main", "--no-pull")[0] == 0
    assert desk.box["close"].requests.families["GET /api/v1/me/"] == 1


def test_the_budget_of_a_sync_is_told_for_those_that_can_be_reached(desk_of: Open) -> None:
    desk = desk_of("hubspot", "bitrix24", "zoho")
    path = desk.folder / "crmkit.toml"
    text = path.read_text(encoding="utf-8")
    assert desk.box["zoho"].origin in text
    path.write_text(text.replace(desk.box["zoho"].origin, NOWHERE), encoding="utf-8")
    result = desk.crmkit("budget", "main")
    assert result.code == 0, result.err
    assert "zoho" in result.err
    assert "hubspot" in result.out
    assert "bitrix24" in result.out


def test_the_budget_of_a_migration_is_told_before_anything_is_made(
    crmkit: Crmkit, up: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = open_move(crmkit, up, tmp_path, monkeypatch, "hubspot", "close", deals=40)
    assert crmkit("pull").code == 0
    pipelines = len(move.box["close"].world.pipelines)
    result = crmkit("budget", "hubspot", "close")
    assert result.code == 0, result.err
    assert "close" in result.out
    assert len(move.box["close"].world.pipelines) == pipelines


@pytest.mark.parametrize(
    "arguments",
    [("budget", "mian"), ("budget", "hubspot", "nowhere"), ("budget", "a", "b", "c")],
    ids=" ".join,
)
def test_a_budget_of_nothing_known_is_refused(desk_of: Open, arguments: tuple[str, ...]) -> None:
    desk = desk_of("hubspot", "close")
    result = desk.crmkit(*arguments)
    assert result.code == 2
    assert result.err.startswith("Error: ")
