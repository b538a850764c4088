"""What each CRM signs is believed; everything else is not. Vectors are the contracts' own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from crmkit.connectors.bitrix24.hooks import Bitrix24Hooks
from crmkit.connectors.close import hooks as close
from crmkit.connectors.copper.hooks import CopperHooks
from crmkit.connectors.hooks import TOKEN_SECRET, Delivery, Forged, Hint, Hooks, Late, Malformed, Op, Refused
from crmkit.connectors.hubspot import hooks as hubspot
from crmkit.connectors.zoho.hooks import ZohoHooks, channel_id
from crmkit.model import Kind

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
CLOSE_KEY = "058bfb6a3d8cfdc4da7c3be5901b16ae11da982b46a25fb2cd7016e97a140a1c"
URL = "https://www.example.com/webhook_uri"


def nobody(*_: Any) -> Any:
    raise AssertionError("checking a delivery calls nobody")


def millis(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))


def by_hubspot(said: Any, at: datetime = NOW) -> Delivery:
    body, stamp = json.dumps(said).encode(), millis(at)
    bare = Delivery("POST", URL, {}, body)
    signed = hubspot.signature(SECRET, bare, stamp)
    return replace(bare, headers={"x-hubspot-request-timestamp": stamp, "x-hubspot-signature-v3": signed})


def by_close(said: Any, at: datetime = NOW) -> Delivery:
    body, stamp = json.dumps(said).encode(), str(int(at.timestamp()))
    headers = {"close-sig-timestamp": stamp, "close-sig-hash": close.signature(CLOSE_KEY, stamp, body)}
    return Delivery("POST", URL, headers, body)


def by_zoho(said: Any, at: datetime = NOW) -> Delivery:
    own = {"token": "t0ken", "channel_id": channel_id("t0ken"), "server_time": int(millis(at))}
    return Delivery("POST", URL, {}, json.dumps({**own, **said}).encode())


def by_copper(said: Any, at: datetime = NOW) -> Delivery:
    own = {"crmkit_token": "t0ken", "timestamp": at.isoformat(), "subscription_id": 1}
    return Delivery("POST", URL, {}, json.dumps({**own, **said}).encode())


def by_bitrix24(said: Any, at: datetime = NOW) -> Delivery:
    own = {"ts": str(int(at.timestamp())), "auth[application_token]": "t0ken"}
    return Delivery("POST", URL, {}, urlencode({**own, **said}).encode())


CRMS: Mapping[str, tuple[Hooks, Mapping[str, str], Callable[..., Delivery], Any]] = {
    "hubspot": (
        hubspot.HubSpotHooks(),
        {"client_secret": SECRET},
        by_hubspot,
        [{"subscriptionType": "deal.propertyChange", "objectId": 7}],
    ),
    "zoho": (
        ZohoHooks(None, None, nobody),  # type: ignore[arg-type]
        {TOKEN_SECRET: "t0ken"},
        by_zoho,
        {"module": "Deals", "operation": "update", "ids": ["7"]},
    ),
    "copper": (
        CopperHooks(None, nobody),  # type: ignore[arg-type]
        {TOKEN_SECRET: "t0ken"},
        by_copper,
        {"ids": [7], "type": "opportunity", "event": "update"},
    ),
    "bitrix24": (
        Bitrix24Hooks(nobody, oauth=True),
        {"application_token": "t0ken"},
        by_bitrix24,
        {"event": "ONCRMDEALUPDATE", "data[FIELDS][ID]": "7"},
    ),
    "close": (
        close.CloseHooks(None, None),  # type: ignore[arg-type]
        {close.KEY_SECRET: CLOSE_KEY},
        by_close,
        {"event": {"object_type": "opportunity", "action": "updated", "object_id": "oppo_7"}},
    ),
}


def heard(crm: str, delivery: Delivery, now: datetime = NOW) -> tuple[Hint, ...]:
    hooks, keys, _, _ = CRMS[crm]
    return hooks.verify(delivery, keys, now).hints


def test_the_vector_of_hubspots_own_documentation_is_reproduced() -> None:
    body = (
        b'[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":'
        b'"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW",'
        b'"appId":54321}]'
    )
    signed = "+r3cQe2xhAmobOAMhJIrVNtvq0R4VE7rXpN8HitwqVo="
    headers = {"x-hubspot-request-timestamp": "1564113600500", "x-hubspot-signature-v3": signed}
    at = datetime.fromtimestamp(1564113601, tz=UTC)
    assert heard("hubspot", Delivery("POST", URL, headers, body), at) == (Hint(Kind.CONTACT, "123"),)


def test_the_contracts_vector_for_close_is_reproduced() -> None:
    body = (
        b'{"event":{"id":"ev_1","object_type":"opportunity","action":"updated"},"subscription_id":"whsub_1"}'
    )
    signed = "7ade3e999563dbe313e23a771213a4b98c2640221a654065c31c79fdf2356474"
    assert close.signature(CLOSE_KEY, "1790000000", body) == signed


def test_hubspots_signature_is_over_the_decoded_address() -> None:
    plain = Delivery("POST", "https://e.example/a:b@c", {}, b"x")
    encoded = replace(plain, url="https://e.example/a%3Ab%40c")
    assert hubspot.signature(SECRET, plain, "1") == hubspot.signature(SECRET, encoded, "1")


@pytest.mark.parametrize("crm", CRMS)
def test_a_good_delivery_names_the_record(crm: str) -> None:
    _, _, signed, said = CRMS[crm]
    expected = "oppo_7" if crm == "close" else "7"
    assert heard(crm, signed(said)) == (Hint(Kind.DEAL, expected),)


@pytest.mark.parametrize("crm", CRMS)
def test_a_delivery_of_somebody_without_the_secret_is_forged(crm: str) -> None:
    hooks, keys, signed, said = CRMS[crm]
    wrong = dict.fromkeys(keys, "ab" * 32)
    with pytest.raises(Forged):
        hooks.verify(signed(said), wrong, NOW)
    with pytest.raises(Refused):
        hooks.verify(replace(signed(said), headers={}, body=b"{}"), keys, NOW)
    with pytest.raises(Forged):  # an empty secret opens nothing
        hooks.verify(signed(said), dict.fromkeys(keys, ""), NOW)


@pytest.mark.parametrize("crm", ["hubspot", "close"])
def test_a_changed_body_is_forged(crm: str) -> None:
    _, _, signed, said = CRMS[crm]
    delivery = signed(said)
    with pytest.raises(Forged):
        heard(crm, replace(delivery, body=delivery.body.replace(b"7", b"8")))


def test_another_host_or_method_is_forged_for_hubspot() -> None:
    delivery = CRMS["hubspot"][2](CRMS["hubspot"][3])
    for other in (
        replace(delivery, url="https://evil.example.com/webhook_uri"),
        replace(delivery, method="PUT"),
    ):
        with pytest.raises(Forged):
            heard("hubspot", other)


@pytest.mark.parametrize("crm", CRMS)
@pytest.mark.parametrize("off", [timedelta(minutes=-5, seconds=-2), timedelta(minutes=5, seconds=2)])
def test_a_delivery_whose_time_is_far_off_is_late_both_ways(crm: str, off: timedelta) -> None:
    _, _, signed, said = CRMS[crm]
    with pytest.raises(Late):
        heard(crm, signed(said, NOW + off))
    assert heard(crm, signed(said, NOW + off * 0.9))


@pytest.mark.parametrize(
    ("crm", "said"),
    [
        ("hubspot", {"objectId": 7}),
        ("hubspot", [7]),
        ("hubspot", [{"subscriptionType": "deal.creation", "objectId": "7/../8"}]),
        ("hubspot", [{"subscriptionType": "deal.creation", "objectId": True}]),
        ("hubspot", [{"subscriptionType": "deal.creation"}]),
        ("zoho", {"module": "Deals", "operation": "update", "ids": "7"}),
        ("zoho", {"module": "Deals", "operation": "update", "ids": ["7' or 1=1"]}),
        ("zoho", {"module": "Deals", "ids": ["7"], "server_time": "soon"}),
        ("zoho", {"module": "Deals", "ids": ["7"], "server_time": 10**19}),
        ("copper", {"ids": [7] * 31, "type": "opportunity", "event": "update"}),
        ("copper", {"ids": [1.5], "type": "opportunity", "event": "update"}),
        ("copper", {"ids": [7], "type": "opportunity", "event": "update", "timestamp": "soon"}),
        ("bitrix24", {"event": "ONCRMDEALADD", "data[FIELDS][ID]": "7&x=1"}),
        ("bitrix24", {"event": "ONCRMDEALADD"}),
        ("bitrix24", {"event": "ONCRMDEALADD", "data[FIELDS][ID]": "7", "ts": "-1"}),
        ("close", {"event": {"object_type": "lead", "action": "updated", "object_id": "../me"}}),
        ("close", {"event": {"object_type": "lead", "action": "merged", "meta": {}}}),
        ("close", {"event": 7}),
        ("close", [1]),
    ],
)
def test_a_signed_delivery_of_another_shape_is_malformed(crm: str, said: Any) -> None:
    with pytest.raises(Malformed):
        heard(crm, CRMS[crm][2](said))


def test_deeply_nested_json_is_malformed_and_nothing_worse() -> None:
    with pytest.raises(Malformed):
        heard("zoho", Delivery("POST", URL, {}, b"[" * 200_000))


@pytest.mark.parametrize(
    ("crm", "said", "expected"),
    [
        (
            "hubspot",
            [
                {"eventType": "company.deletion", "objectId": 1},
                {"subscriptionType": "object.creation", "objectTypeId": "0-3", "objectId": 2},
                {"subscriptionType": "deal.associationChange", "associationType": "DEAL_TO_COMPANY",
                 "fromObjectId": 3, "toObjectId": 4},
                {"subscriptionType": "contact.merge", "primaryObjectId": 5, "mergedObjectIds": [6]},
                {"subscriptionType": "ticket.creation", "objectId": 9},
            ],
            [
                Hint(Kind.COMPANY, "1", Op.GONE), Hint(Kind.DEAL, "2"), Hint(Kind.DEAL, "3"),
                Hint(Kind.COMPANY, "4"), Hint(Kind.CONTACT, "6", Op.GONE), Hint(Kind.CONTACT, "5"),
            ],
        ),
        ("zoho", {"module": "Accounts", "operation": "delete", "ids": ["1"]},
         [Hint(Kind.COMPANY, "1", Op.GONE)]),
        ("zoho", {"module": "Leads", "operation": "update", "ids": ["1"]}, []),
        ("copper", {"ids": [1, 2], "type": "person", "event": "new"},
         [Hint(Kind.CONTACT, "1"), Hint(Kind.CONTACT, "2")]),
        ("bitrix24", {"event": "ONCRMDEALMOVETOCATEGORY", "data[FIELDS][ID]": "3"}, [Hint(Kind.DEAL, "3")]),
        ("bitrix24", {"event": "ONTASKADD"}, []),
        (
            "close",
            {"event": {"object_type": "lead", "action": "merged", "object_id": "lead_b", "meta": {
                "merge_source_lead_id": "lead_a", "merge_destination_lead_id": "lead_b"}}},
            [Hint(Kind.COMPANY, "lead_a", Op.GONE), Hint(Kind.COMPANY, "lead_b")],
        ),
    ],
)  # fmt: skip
def test_every_kind_of_event_becomes_hints(crm: str, said: Any, expected: list[Hint]) -> None:
    assert list(heard(crm, CRMS[crm][2](said))) == expected
