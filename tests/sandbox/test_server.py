"""The wire: routing, limits, latency, the control plane."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
import requests

from crmkit.errors import SandboxError
from crmkit.sandbox import server
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.server import Sandbox, vendor_app


def test_a_walk_over_pages_finds_every_deal(up: Callable[..., Any]) -> None:
    client = up(deals=250)
    seen: list[int] = []
    while page := client.get("/deals", after=seen[-1] if seen else 0).json()["deals"]:
        seen += [deal["id"] for deal in page]
    expected = client.get("/_sandbox/deals").json()
    assert [str(deal_id) for deal_id in seen] == [deal["id"] for deal in expected]


def test_amounts_are_numbers_with_their_digits(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    answer = client.post("/deals", {"name": "é", "amount": 1234567890123.45})
    assert answer.status_code == 201
    assert b'"amount":1234567890123.45' in answer.content


def test_a_refusal_is_the_answer(up: Callable[..., Any]) -> None:
    assert up(deals=5).get("/deals/999999").status_code == 404


def test_unknown_addresses_and_methods_get_the_vendors_words(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    assert client.get("/nowhere").status_code == 404
    assert client.post("/broken", {}).status_code == 405


def test_wrong_credentials_are_refused(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.session.headers["authorization"] = "guess"
    assert client.get("/deals").status_code == 401


def test_a_failing_handler_is_a_500_and_remembered(
    up: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    client = up(deals=5)
    with caplog.at_level(logging.CRITICAL):
        assert client.get("/broken").status_code == 500
    assert "ZeroDivisionError" in client.app.crashes[0]


def test_limits_hold_until_time_passes(up: Callable[..., Any]) -> None:
    client = up(deals=5, limits="real")
    statuses = [client.get("/deals").status_code for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    assert client.get("/deals").headers["x-remaining"] == "0"
    client.post("/_sandbox/clock", {"advance": 11})
    assert client.get("/deals").status_code == 200


def test_limits_can_be_off(up: Callable[..., Any]) -> None:
    client = up(deals=5, limits="off")
    assert {client.get("/deals").status_code for _ in range(8)} == {200}


def test_latency_delays_calls_but_not_the_control_plane(up: Callable[..., Any]) -> None:
    client = up(deals=5, latency_ms=30)
    begin = monotonic()
    client.get("/deals")
    assert monotonic() - begin >= 0.03
    client.post("/_sandbox/settings", {"latency_ms": 60_000})
    assert client.get("/_sandbox/stats").ok


def test_stats_count_by_family_and_by_kind(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.get("/deals")
    client.get("/deals/999999")
    client.post("/deals", {"name": "x"})
    client.get("/_sandbox/deals")
    stats = client.get("/_sandbox/stats").json()
    assert (stats["total"], stats["mutating"]) == (3, 1)
    assert stats["families"] == {"GET /deals": 1, "GET /deals/{id}": 1, "POST /deals": 1}
    assert stats["kinds"] == {"list": 1, "read": 1, "write": 1}
    assert stats["statuses"] == {"200": 1, "404": 1, "201": 1}
    assert client.get("/_sandbox/requests").json()[0] == ["GET", "/deals", 200]
    client.post("/_sandbox/clear", {})
    assert client.get("/_sandbox/stats").json()["total"] == 0


def test_the_control_plane_changes_records(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    fields = {"name": "made", "amount": "12.50", "stage_id": "demo", "expected_close": "2026-07-01"}
    made = client.post("/_sandbox/create", {"fields": fields}).json()["id"]
    other = client.post("/_sandbox/create", {"fields": {"name": "other"}}).json()["id"]
    assert client.get(f"/deals/{made}").json()["amount"] == 12.5
    client.post("/_sandbox/edit", {"id": made, "fields": {"name": "edited", "stage_id": "won"}})
    listed = {deal["id"]: deal for deal in client.get("/_sandbox/deals").json()}
    assert (listed[made]["name"], listed[made]["status"], listed[made]["amount"]) == (
        "edited",
        "won",
        "12.50",
    )
    client.post("/_sandbox/merge", {"loser": other, "winner": made})
    client.post("/_sandbox/delete", {"id": made})
    gone = client.get("/_sandbox/deleted").json()
    assert {"kind": "deal", "id": made} in [{"kind": row["kind"], "id": row["id"]} for row in gone]
    assert other in [row["id"] for row in gone if row.get("merged_into") == made]
    assert len(client.get("/_sandbox/deals").json()) == 5


def test_the_control_plane_says_what_is_wrong(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    assert client.get("/_sandbox/nothing").status_code == 404
    assert client.post("/_sandbox/edit", {"id": "0", "fields": {}}).status_code == 400
    assert client.post("/_sandbox/create", {"fields": {"colour": "red"}}).status_code == 400
    assert client.post("/_sandbox/faults", {"profile": "earthquake"}).status_code == 400


def test_lag_hides_a_new_deal_from_search_only(up: Callable[..., Any]) -> None:
    client = up(deals=5, lag_seconds=5)
    made = client.post("/_sandbox/create", {"fields": {"name": "new"}}).json()["id"]
    since = client.app.world.deals[made].modified.isoformat()
    assert client.get(f"/deals/{made}").ok
    assert client.get("/deals/changed", since=since).json()["deals"] == []
    client.post("/_sandbox/clock", {"advance": 5})
    assert [deal["name"] for deal in client.get("/deals/changed", since=since).json()["deals"]] == ["new"]


def test_several_crms_have_ports_of_their_own(toy_class: type[VendorApp]) -> None:
    with Sandbox.up({"one": toy_class, "two": toy_class}, deals={"one": 3, "two": 4}) as box:
        sizes = [
            len(requests.get(box[name].base_url + "/_sandbox/deals", timeout=5).json()) for name in box.apps
        ]
    assert sizes == [3, 4]
    with pytest.raises(requests.ConnectionError):
        requests.get(box["one"].base_url + "/_sandbox/stats", timeout=5)


def test_serving_ends_when_stopped(toy_class: type[VendorApp]) -> None:
    box = Sandbox.seeded({"toy": toy_class}, deals=3)
    box.start()
    serving = threading.Thread(target=box.serve_forever)
    serving.start()
    box.stop()
    serving.join(5)
    assert not serving.is_alive()


def test_an_unknown_or_missing_crm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SandboxError, match="no CRM called 'salesbird'"):
        vendor_app("salesbird")
    monkeypatch.setitem(server.VENDORS, "ghost", "crmkit.sandbox.ghost:GhostApp")
    with pytest.raises(SandboxError, match="module of ghost is missing"):
        vendor_app("ghost")


def test_a_taken_port_is_named(toy_class: type[VendorApp]) -> None:
    with Sandbox.up({"toy": toy_class}, deals=3) as box:
        taken = int(box["toy"].origin.rsplit(":", 1)[1])
        second = Sandbox.seeded({"toy": toy_class}, deals=3, port_base=taken)
        with pytest.raises(SandboxError, match=f"port {taken} for toy is taken"):
            second.start()
