"""Clients that nobody here wrote create, change and delete deals, and read back what they wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from crmkit.sandbox.bitrix24 import Bitrix24App
from crmkit.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def portal() -> Iterator[Bitrix24App]:
    with Sandbox.up(["bitrix24"], deals=60, limits="off") as box:
        app = box["bitrix24"]
        assert isinstance(app, Bitrix24App)
        yield app
        assert app.crashes == []


class TestFastBitrix24:
    """https://github.com/leshchenko1979/fast_bitrix24, unpatched."""

    @pytest.fixture
    def client(self, portal: Bitrix24App) -> Any:
        module = pytest.importorskip("fast_bitrix24", reason="fast-bitrix24 is not installed")
        return module.BitrixAsync(portal.credentials["webhook_url"], verbose=False)

    def test_a_deal_is_created_changed_and_deleted(self, portal: Bitrix24App, client: Any) -> None:
        async def run() -> tuple[Any, Any]:
            fields = {
                "TITLE": "Größe & Co. + 10%",
                "OPPORTUNITY": 12.5,
                "CATEGORY_ID": 7,
                "CONTACT_IDS": [25, 23],
            }
            deal = await client.call("crm.deal.add", {"fields": fields})
            await client.call("crm.deal.update", {"ID": deal, "fields": {"STAGE_ID": "C7:WON"}})
            told = await client.call("crm.deal.get", {"ID": deal})
            await client.call("crm.deal.delete", {"ID": deal})
            return deal, told

        deal, told = asyncio.run(run())
        row = next(iter(told.values()))  # the client wraps even one call into a batch
        assert (row["TITLE"], row["OPPORTUNITY"]) == ("Größe & Co. + 10%", "12.50")
        assert (row["STAGE_ID"], row["CONTACT_ID"]) == ("C7:WON", "25")
        assert str(deal) not in portal.world.deals

    def test_120_deals_are_created_in_batches_each_of_them_once(
        self, portal: Bitrix24App, client: Any
    ) -> None:
        calls = [{"fields": {"TITLE": f"Batch {number}", "ORIGIN_ID": str(number)}} for number in range(120)]
        before = portal.requests.total
        ids = asyncio.run(client.call("crm.deal.add", calls))
        # The client sends its batches side by side and gives their answers as they come.
        names = [portal.world.deals[str(one)].name for one in ids]
        assert sorted(names) == sorted(one["fields"]["TITLE"] for one in calls)
        assert portal.requests.total - before == 3

    def test_universal_calls_in_batches(self, portal: Bitrix24App, client: Any) -> None:
        calls = [
            {"entityTypeId": 2, "fields": {"title": f"Item {n}", "contactIds": [23, 25]}} for n in range(3)
        ]
        items = asyncio.run(client.call("crm.item.add", calls))
        told = [one.get("item", one) for one in items]
        assert [(one["title"], one["contactIds"]) for one in told] == [
            (f"Item {n}", [23, 25]) for n in range(3)
        ]


class TestB24PySdk:
    """https://github.com/bitrix24/b24pysdk, the vendor's own; patched only to say `http://`."""

    @pytest.fixture
    def client(self, portal: Bitrix24App, monkeypatch: pytest.MonkeyPatch) -> Any:
        sdk = pytest.importorskip("b24pysdk", reason="b24pysdk is not installed")
        from b24pysdk.api.callers import call_method  # noqa: PLC0415, F401 - loads the module below
        from b24pysdk.api.callers.call_method import _MethodCaller  # noqa: PLC0415

        monkeypatch.setattr(_MethodCaller, "_base_url", property(lambda self: f"http://{self._domain}/rest"))
        address = str(portal.connection["portal"])
        user_and_code = portal.credentials["webhook_url"].partition("/rest/")[2].strip("/")
        return sdk.Client(sdk.BitrixWebhook(domain=address, webhook_token=user_and_code))

    def test_a_deal_is_created_changed_and_deleted(self, portal: Bitrix24App, client: Any) -> None:
        deal = client.crm.deal.add(fields={"TITLE": "A", "CATEGORY_ID": 7, "OPPORTUNITY": 900}).result
        assert client.crm.deal.update(bitrix_id=deal, fields={"TITLE": "B"}).result is True
        assert client.crm.deal.get(bitrix_id=deal).result["TITLE"] == "B"
        assert client.crm.deal.delete(bitrix_id=deal).result is True
        assert str(deal) not in portal.world.deals

    def test_an_item_is_created_changed_and_deleted(self, portal: Bitrix24App, client: Any) -> None:
        fields = {"title": "A", "contactIds": [25, 23], "closedate": "2026-12-31", "originId": "9"}
        item = client.crm.item.add(entity_type_id=2, fields=fields).result["item"]
        assert (item["contactId"], item["closedate"]) == (25, "2026-12-31T03:00:00+03:00")
        moved = {"categoryId": 10, "stageId": "C10:NEW", "contactIds": []}
        after = client.crm.item.update(entity_type_id=2, bitrix_id=item["id"], fields=moved).result["item"]
        assert (after["categoryId"], after["contactIds"]) == (10, [])
        assert client.crm.item.delete(entity_type_id=2, bitrix_id=item["id"]).result == []
        assert str(item["id"]) not in portal.world.deals

    def test_a_batch_creates_and_deletes(self, portal: Bitrix24App, client: Any) -> None:
        requests = {
            f"c{number}": client.crm.item.add(entity_type_id=2, fields={"title": f"Ä {number} & more"})
            for number in range(12)
        }
        told = client.call_batch(requests).result.result
        assert [one["item"]["title"] for one in told.values()] == [
            f"Ä {number} & more" for number in range(12)
        ]
        gone = {
            key: client.crm.item.delete(entity_type_id=2, bitrix_id=one["item"]["id"])
            for key, one in told.items()
        }
        assert client.call_batch(gone).result.result_error == []
        assert not [one for one in told.values() if str(one["item"]["id"]) in portal.world.deals]

    def test_a_refusal_is_the_clients_own_exception(self, client: Any) -> None:
        from b24pysdk.errors import BitrixAPIError  # noqa: PLC0415

        with pytest.raises(BitrixAPIError, match="currencyId"):
            _ = client.crm.item.add(entity_type_id=2, fields={"currencyId": "XYZ"}).result

    def test_a_pipeline_with_a_stage_and_a_comment(self, client: Any) -> None:
        row = client.crm.category.add(entity_type_id=2, fields={"name": "SDK"}).result["category"]
        fields = {"ENTITY_ID": f"DEAL_STAGE_{row['id']}", "STATUS_ID": "PROOF", "NAME": "Proof", "SORT": 15}
        assert isinstance(client.crm.status.add(fields=fields).result, int)
        placed = {"categoryId": row["id"], "stageId": f"C{row['id']}:PROOF"}
        deal = client.crm.item.add(entity_type_id=2, fields=placed).result["item"]
        note = {"ENTITY_ID": deal["id"], "ENTITY_TYPE": "deal", "COMMENT": "from the SDK"}
        number = client.crm.timeline.comment.add(fields=note).result
        assert client.crm.timeline.comment.get(bitrix_id=number).result["COMMENT"] == "from the SDK"
