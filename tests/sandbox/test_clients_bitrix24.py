"""Clients that nobody here wrote read every deal from the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from crmkit.sandbox.bitrix24 import Bitrix24App
from crmkit.sandbox.server import Sandbox

DEALS = 2_730


@pytest.fixture(scope="module")
def portal() -> Iterator[Bitrix24App]:
    with Sandbox.up(["bitrix24"], deals=DEALS, limits="off") as box:
        app = box["bitrix24"]
        assert isinstance(app, Bitrix24App)
        yield app
        assert app.crashes == []


def ids_of(app: Bitrix24App) -> list[str]:
    return [deal["id"] for deal in app.expected_deals()]


def sorted_ids(rows: list[dict[str, Any]], name: str) -> list[str]:
    return sorted((str(row[name]) for row in rows), key=int)


class TestFastBitrix24:
    """https://github.com/leshchenko1979/fast_bitrix24, unpatched: it takes the webhook's whole address."""

    @pytest.fixture
    def client(self, portal: Bitrix24App) -> Any:
        module = pytest.importorskip("fast_bitrix24", reason="fast-bitrix24 is not installed")
        return module.BitrixAsync(portal.credentials["webhook_url"], verbose=False)

    def test_get_all_of_the_old_list_gives_every_deal(self, portal: Bitrix24App, client: Any) -> None:
        rows = asyncio.run(client.get_all("crm.deal.list", {"select": ["ID", "TITLE"]}))
        assert sorted_ids(rows, "ID") == ids_of(portal)

    def test_get_all_of_the_universal_list_gives_every_deal(self, portal: Bitrix24App, client: Any) -> None:
        wanted = {"entityTypeId": 2, "select": ["id", "title", "stageId"]}
        rows = asyncio.run(client.get_all("crm.item.list", wanted))
        assert sorted_ids(rows, "id") == ids_of(portal)

    def test_get_by_id_reads_deals_in_batches(self, portal: Bitrix24App, client: Any) -> None:
        wanted = ids_of(portal)[:120]
        rows = asyncio.run(client.get_by_ID("crm.deal.get", wanted))
        assert {row["ID"] for row in rows.values()} == set(wanted)


class TestB24PySdk:
    """https://github.com/bitrix24/b24pysdk, the vendor's own.

    It writes `https://` before every portal, with no way to say otherwise: that property is the one
    thing patched.
    """

    @pytest.fixture
    def client(self, portal: Bitrix24App, monkeypatch: pytest.MonkeyPatch) -> Any:
        sdk = pytest.importorskip("b24pysdk", reason="b24pysdk is not installed")
        from b24pysdk.api.callers import call_method  # noqa: PLC0415, F401 - loads the module below
        from b24pysdk.api.callers.call_method import _MethodCaller  # noqa: PLC0415

        monkeypatch.setattr(_MethodCaller, "_base_url", property(lambda self: f"http://{self._domain}/rest"))
        address = str(portal.connection["portal"])
        user_and_code = portal.credentials["webhook_url"].partition("/rest/")[2].strip("/")
        return sdk.Client(sdk.BitrixWebhook(domain=address, webhook_token=user_and_code))

    def test_pages_by_total_give_every_deal(self, portal: Bitrix24App, client: Any) -> None:
        rows = list(client.crm.deal.list(select=["ID", "TITLE"]).as_list().result)
        assert sorted_ids(rows, "ID") == ids_of(portal)

    def test_the_fast_walk_of_the_old_list_gives_every_deal_once(
        self, portal: Bitrix24App, client: Any
    ) -> None:
        rows = list(client.crm.deal.list(select=["ID", "TITLE"]).as_list_fast().result)
        assert [row["ID"] for row in rows] == ids_of(portal)

    def test_the_fast_walk_of_the_universal_list_gives_every_deal_once(
        self, portal: Bitrix24App, client: Any
    ) -> None:
        request = client.crm.item.list(entity_type_id=2, select=["id", "title", "contactIds"])
        rows = list(request.as_list_fast().result)
        assert [str(row["id"]) for row in rows] == ids_of(portal)
