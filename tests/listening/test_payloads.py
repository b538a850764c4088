"""The vendors' own example deliveries are understood; they lie beside the contracts, not in here."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from crmkit.connectors.bitrix24.hooks import Bitrix24Hooks
from crmkit.connectors.close import hooks as close
from crmkit.connectors.hooks import Delivery, Hint, Op
from crmkit.connectors.hubspot import hooks as hubspot
from crmkit.connectors.zoho import hooks as zoho
from crmkit.model import Kind

SPECS = Path(__file__).parents[2].parent / "shared/specs"
pytestmark = pytest.mark.skipif(not SPECS.is_dir(), reason="the vendors' example payloads are not here")


def example(path: str) -> bytes:
    return (SPECS / path).read_bytes()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("webhook_delivery_request", [Hint(Kind.CONTACT, "1246965"), Hint(Kind.CONTACT, "1246978")]),
        ("webhook_delivery_subscription_type_request", [Hint(Kind.CONTACT, "123")]),
    ],
)
def test_hubspots_deliveries_of_either_wording(name: str, expected: list[Hint]) -> None:
    now = datetime.now(UTC)
    stamp = str(int(now.timestamp() * 1000))
    bare = Delivery(
        "POST", "https://www.example.com/hubspot/target", {}, example(f"hubspot/examples/{name}.json")
    )
    signed = hubspot.signature("secret", bare, stamp)
    headers = {"x-hubspot-request-timestamp": stamp, "x-hubspot-signature-v3": signed}
    said = hubspot.HubSpotHooks().verify(replace(bare, headers=headers), {"client_secret": "secret"}, now)
    assert list(said.hints) == expected


def test_closes_delivery() -> None:
    key = json.loads(example("close/examples/webhook_create_response_201.json"))["signature_key"]
    body, now = example("close/examples/webhook_delivery_opportunity_won.json"), datetime.now(UTC)
    stamp = str(int(now.timestamp()))
    headers = {"close-sig-timestamp": stamp, "close-sig-hash": close.signature(key, stamp, body)}
    hooks = close.CloseHooks(None, None)  # type: ignore[arg-type]
    said = hooks.verify(Delivery("POST", "", headers, body), {close.KEY_SECRET: key}, now)
    assert said.hints == (Hint(Kind.DEAL, "oppo_7H4sjNso7FyBFaeR3RXi5PMJbilfo0c6UPCxsJtEhCO"),)


@pytest.mark.parametrize(
    ("module", "hints"), [("Leads", []), ("Contacts", [Hint(Kind.CONTACT, "6756839000000575405")])]
)
def test_zohos_callback(monkeypatch: pytest.MonkeyPatch, module: str, hints: list[Hint]) -> None:
    told: dict[str, Any] = {**json.loads(example("zoho/examples/watch_callback.json")), "module": module}
    monkeypatch.setattr(zoho, "channel_id", lambda _: told["channel_id"])
    hooks = zoho.ZohoHooks(None, None, lambda: told["token"])  # type: ignore[arg-type]
    now = datetime.fromtimestamp(told["server_time"] / 1000, tz=UTC)
    for channel in (told["channel_id"], int(told["channel_id"])):  # text in one place, a number in another
        body = json.dumps({**told, "channel_id": channel}).encode()
        said = hooks.verify(Delivery("POST", "", {}, body), {zoho.TOKEN_SECRET: told["token"]}, now)
        assert list(said.hints) == hints


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ONCRMDEALADD.request", Hint(Kind.DEAL, "6641")),
        ("ONCRMDEALADD.request.3", Hint(Kind.DEAL, "7405")),
        ("ONCRMDEALMOVETOCATEGORY.request", Hint(Kind.DEAL, "6675")),
        ("ONCRMCONTACTDELETE.request", Hint(Kind.CONTACT, "89", Op.GONE)),
    ],
)
def test_bitrix24s_events_of_apps_and_outgoing_webhooks(name: str, expected: Hint) -> None:
    told = json.loads(example(f"bitrix24/examples/event.{name}.json"))
    form = {"event": told["event"], "event_handler_id": told["event_handler_id"], "ts": told["ts"]}
    form |= {f"data[FIELDS][{key}]": value for key, value in told["data"]["FIELDS"].items()}
    form |= {f"auth[{key}]": value for key, value in told["auth"].items()}
    keys = {"application_token": told["auth"]["application_token"]}
    hooks = Bitrix24Hooks(lambda *_: None, oauth=True)
    now = datetime.fromtimestamp(int(told["ts"]), tz=UTC)
    assert hooks.verify(Delivery("POST", "", {}, urlencode(form).encode()), keys, now).hints == (expected,)


def test_bitrix24s_list_of_handlers() -> None:
    rows = json.loads(example("bitrix24/examples/event.get.response.json"))["result"]
    hooks = Bitrix24Hooks(lambda *_: rows, oauth=True)
    assert {one.target for one in hooks.subscriptions()} == {"https://www.my-domain.com/handler/"}
