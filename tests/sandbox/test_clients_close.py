"""Close's own Python client reads every opportunity from the sandbox; only its address is changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crmkit.sandbox.close import CloseApp
from crmkit.sandbox.server import Sandbox

DEALS = 640


@pytest.fixture(scope="module")
def app() -> Iterator[CloseApp]:
    with Sandbox.up(["close"], deals=DEALS, limits="off") as box:
        app = box["close"]
        assert isinstance(app, CloseApp)
        yield app
        assert app.crashes == []


@pytest.fixture
def client(app: CloseApp) -> Iterator[Any]:
    """https://github.com/closeio/closeio-api"""
    module = pytest.importorskip("closeio_api", reason="closeio is not installed")
    api = module.Client(app.credentials["api_key"])
    api.base_url = f"{app.base_url}/"
    yield api
    api.session.close()


def read_all(client: Any, path: str, **params: Any) -> list[dict[str, Any]]:
    """The paging of the client's own examples."""
    rows: list[dict[str, Any]] = []
    has_more = True
    while has_more:
        page = client.get(path, params={"_skip": len(rows), **params})
        rows += page["data"]
        has_more = page["has_more"]
    return rows


def test_it_reads_every_opportunity_once(app: CloseApp, client: Any) -> None:
    rows = read_all(client, "opportunity", _limit=250)
    assert sorted(row["id"] for row in rows) == [deal["id"] for deal in app.expected_deals()]


def test_it_reads_them_in_the_default_page_size(app: CloseApp, client: Any) -> None:
    rows = read_all(client, "opportunity", _fields="id,lead_id")
    assert sorted(row["id"] for row in rows) == [deal["id"] for deal in app.expected_deals()]


def test_it_reads_every_opportunity_inside_its_lead(app: CloseApp, client: Any) -> None:
    leads = read_all(client, "lead")
    found = [deal["id"] for lead in leads for deal in lead["opportunities"]]
    assert sorted(found) == [deal["id"] for deal in app.expected_deals()]


def test_it_finds_the_organization_as_its_scripts_do(app: CloseApp, client: Any) -> None:
    organization_id = client.get("me")["organizations"][0]["id"]
    shown = client.get(f"organization/{organization_id}")
    assert len(shown["memberships"]) == sum(user.active for user in app.world.users.values())
