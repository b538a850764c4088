"""Each fault as a client of another make sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import requests

from crmkit.sandbox.faults import PROFILES, Fault, FaultPlan, fraction
from crmkit.sandbox.rows import SideEffect


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Any:
    """No fault may leave a warning in the server's log."""
    caplog.set_level(logging.WARNING)
    yield
    assert [record.getMessage() for record in caplog.records] == []


def test_a_storm_answers_429_but_never_three_times_in_a_row(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"profile": "storm", "share": 1.0})
    assert [client.get("/deals").status_code for _ in range(6)] == [429, 429, 200] * 2


def test_a_flaky_server_answers_5xx_in_html_or_hangs_up(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"profile": "flaky", "share": 0.4, "seed": 3})
    seen = set()
    for number in range(40):
        try:
            answer = client.get("/deals", after=number)
        except requests.ConnectionError:
            seen.add("cut")
        else:
            seen.add(str(answer.status_code))
            assert answer.ok or answer.headers["content-type"].startswith("text/html")
    assert seen >= {"200", "500", "502", "503", "cut"} - {"502"}


def test_a_truncated_body_is_an_incomplete_read(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"profile": "truncated", "share": 1.0})
    for _ in range(2):
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            client.get("/deals")
    assert len(client.get("/deals").json()["deals"]) == 5


def test_garbage_is_a_200_that_is_not_json(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"profile": "garbage", "share": 1.0})
    for _ in range(2):
        answer = client.get("/deals")
        assert answer.status_code == 200
        with pytest.raises(requests.exceptions.JSONDecodeError):
            answer.json()
    assert client.get("/deals").json()


def test_slow_answers_come_late(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"profile": "slow", "share": 1.0, "slow_seconds": 0.3})
    with pytest.raises(requests.ReadTimeout):
        client.session.get(client.app.base_url + "/deals", timeout=0.1)


def test_expired_tokens_get_the_vendors_401(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"script": [{"fault": "expired", "kind": "list"}]})
    assert [client.get("/deals").status_code for _ in range(2)] == [401, 200]


def test_edits_between_lists_change_the_world(up: Callable[..., Any]) -> None:
    client = up(deals=50)
    before = {deal["id"]: deal for deal in client.get("/_sandbox/deals").json()}
    client.post("/_sandbox/faults", {"profile": "edits", "share": 1.0})
    for number in range(12):
        assert client.get("/deals", after=number).ok
    after = {deal["id"]: deal for deal in client.get("/_sandbox/deals").json()}
    assert after.keys() - before.keys()
    assert before.keys() - after.keys()
    assert any(after[deal_id] != deal for deal_id, deal in before.items() if deal_id in after)


def test_a_timeout_after_commit_has_carried_the_write_out(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post(
        "/_sandbox/faults", {"script": [{"fault": "timeout_after_commit", "kind": "write", "skip": 1}]}
    )
    assert client.post("/deals", {"name": "first"}).ok
    with pytest.raises(requests.ConnectionError):
        client.post("/deals", {"name": "second"})
    assert [deal["name"] for deal in client.get("/_sandbox/deals").json()][-2:] == ["first", "second"]
    assert client.get("/_sandbox/stats").json()["faults"] == {"timeout_after_commit": 1}


def test_a_dropped_write_was_not_carried_out(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"script": [{"fault": "dropped", "kind": "write"}]})
    with pytest.raises(requests.ConnectionError):
        client.post("/deals", {"name": "lost"})
    assert len(client.get("/_sandbox/deals").json()) == 5


def test_a_server_error_after_commit_has_carried_the_write_out(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"profile": "5xx-after-commit", "share": 1.0})
    assert client.post("/deals", {"name": "done"}).status_code in {500, 502, 503}
    assert client.get("/_sandbox/deals").json()[-1]["name"] == "done"


def test_a_server_error_before_commit_has_not(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"profile": "5xx-before-commit", "share": 1.0})
    assert client.post("/deals", {"name": "lost"}).status_code in {500, 502, 503}
    assert len(client.get("/_sandbox/deals").json()) == 5


def test_a_late_write_is_carried_out_when_the_clock_has_moved_on(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"script": [{"fault": "commit_late"}], "late_seconds": 20})
    with pytest.raises(requests.ConnectionError):
        client.post("/deals", {"name": "late"})
    client.post("/_sandbox/clock", {"advance": 19})
    assert len(client.get("/deals").json()["deals"]) == 5
    client.app.world.clock.advance(1)
    assert client.get("/deals").json()["deals"][-1]["name"] == "late"
    assert client.get("/_sandbox/stats").json()["late"] == 0


def test_late_writes_can_be_called_for(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"profile": "commit-late", "share": 1.0})
    with pytest.raises(requests.ConnectionError):
        client.post("/deals", {"name": "late"})
    assert client.get("/_sandbox/stats").json()["late"] == 1
    assert client.post("/_sandbox/commit-late", {}).json() == {"calls": 1}
    assert client.app.world.live.deals().rows[-1].name == "late"


def test_a_late_write_that_was_refused_is_never_carried_out(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.session.headers["authorization"] = "wrong"
    client.post("/_sandbox/faults", {"script": [{"fault": "commit_late"}]})
    with pytest.raises(requests.ConnectionError):
        client.post("/deals", {"name": "late"})
    assert client.get("/_sandbox/stats").json()["late"] == 0


def test_a_profile_can_be_narrowed_to_writes(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.post("/_sandbox/faults", {"profile": "truncated:write", "share": 1.0})
    assert client.get("/deals").ok
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.post("/deals", {"name": "done"})
    assert client.get("/_sandbox/deals").json()[-1]["name"] == "done"


@pytest.mark.parametrize("profile", ["flaky:wrote", "edits:write"])
def test_a_profile_that_could_never_hit_is_refused(profile: str) -> None:
    with pytest.raises(ValueError, match=r"no such kind of call: wrote|edits never hits write calls"):
        FaultPlan(profile)


def test_side_effects_are_shown(up: Callable[..., Any]) -> None:
    client = up(deals=5)
    client.app.world.side_effects.append(SideEffect("deal", "7", "workflow", "api"))
    told = client.get("/_sandbox/side-effects").json()
    assert told == [{"kind": "deal", "id": "7", "what": "workflow", "by": "api"}]


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_same_seed_strikes_the_same_calls(profile: str) -> None:
    def strikes(seed: int) -> list[Fault | None]:
        plan = FaultPlan(profile, seed)
        return [plan.choose(("list", "write")[call % 2], call) for call in range(400)]

    assert strikes(1) == strikes(1)
    assert profile == "none" or strikes(1) != strikes(2)


@pytest.mark.parametrize("profile", sorted(set(PROFILES) - {"none"}))
def test_a_client_that_retries_gets_through(profile: str) -> None:
    plan = FaultPlan(profile, 5, share=1.0)
    for call in range(50):
        assert None in [plan.choose("write", call) for _ in range(3)]


def test_profiles_combine() -> None:
    plan = FaultPlan("flaky, timeout-after-commit", 1, share=0.3)
    struck = {plan.choose("write", call) for call in range(200)}
    assert struck == {None, Fault.SERVER_ERROR, Fault.DROPPED, Fault.TIMEOUT_AFTER_COMMIT}


def test_token_calls_are_left_alone() -> None:
    plan = FaultPlan(",".join(PROFILES), 1, share=1.0)
    assert {plan.choose("token", call) for call in range(50)} == {None}


def test_fractions_spread_evenly() -> None:
    numbers = [fraction(1, 0, step) for step in range(2_000)]
    assert 0.47 < sum(numbers) / len(numbers) < 0.53
    assert len(set(numbers)) == len(numbers)
