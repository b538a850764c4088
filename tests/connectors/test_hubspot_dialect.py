"""HubSpot's refusals mean the right error, its limits are kept, its tokens are renewed once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import responses

from crmkit.connectors.base import Context
from crmkit.connectors.hubspot.calls import Api
from crmkit.connectors.hubspot.connector import HubSpotConnector, HubSpotOptions
from crmkit.connectors.pacing import Window
from crmkit.errors import (
    AccessDenied,
    ConfigError,
    ConnectorError,
    MissingScope,
    NotFound,
    QuotaExhausted,
    Rejected,
    ServerFault,
)
from crmkit.model import Kind

EXAMPLES = Path(__file__).parents[2] / ".." / "shared" / "specs" / "hubspot" / "examples"
BASE = "https://api.hubapi.com"
PIPELINES = f"{BASE}/crm/v3/pipelines/deals"
TOKEN = f"{BASE}/oauth/v3/token"
EMPTY: dict[str, Any] = {"results": []}


@pytest.fixture
def example() -> Callable[[str], Any]:
    if not EXAMPLES.is_dir():
        pytest.skip("the folder with HubSpot's example payloads is not beside this repository")
    return lambda name: json.loads((EXAMPLES / f"{name}.json").read_text())


@pytest.fixture
def connector(make_context: Callable[..., Context]) -> HubSpotConnector:
    return HubSpotConnector(make_context("hub", token="pat-na1-secret"))


@pytest.fixture
def with_oauth(make_context: Callable[..., Context]) -> HubSpotConnector:
    context = make_context("hub", client_id="id-1", client_secret="s3cret", refresh_token="na1-old")
    return HubSpotConnector(context, HubSpotOptions(auth="oauth"))


def pipelines(connector: HubSpotConnector) -> list[Any]:
    return list(connector.read(Kind.PIPELINE))


@responses.activate
def test_token_goes_into_the_authorization_header(connector) -> None:
    responses.get(PIPELINES, json=EMPTY)
    pipelines(connector)
    assert responses.calls[0].request.headers["Authorization"] == "Bearer pat-na1-secret"


@responses.activate
@pytest.mark.parametrize(
    ("status", "name", "error"),
    [
        (401, "error_401_expired_token_response", AccessDenied),
        (403, "error_403_missing_scopes_response", MissingScope),
        (429, "error_429_daily_response", QuotaExhausted),
        (400, "error_400_spec_response", Rejected),
        (400, "error_400_property_doesnt_exist_response", Rejected),
        (400, "error_400_id_property_not_unique_response", Rejected),
        (409, "error_409_contact_exists_response", Rejected),
        (400, "error_400_conditional_required_2026_09_response", Rejected),
    ],
)
def test_example_error_means(example, connector, status, name, error) -> None:
    responses.get(PIPELINES, status=status, json=example(name))
    with pytest.raises(error, match=r"hub: GET /crm/v3/pipelines/deals: HTTP") as caught:
        pipelines(connector)
    assert len(str(caught.value)) < 600
    assert len(responses.calls) == 1


@responses.activate
def test_missing_scope_names_the_scopes_that_would_do(example, connector) -> None:
    responses.get(PIPELINES, status=403, json=example("error_403_missing_scopes_response"))
    with pytest.raises(MissingScope, match=r"crm\.schemas\.deals\.read.*crm\.objects\.deals\.read"):
        pipelines(connector)


@responses.activate
def test_404_without_a_category_is_not_found(connector) -> None:
    responses.get(PIPELINES, status=404, json={"status": "error", "message": "resource not found"})
    with pytest.raises(NotFound):
        pipelines(connector)


@responses.activate
def test_secret_in_an_error_is_masked(connector) -> None:
    body = {"status": "error", "category": "INVALID_AUTHENTICATION", "message": "bad token pat-na1-secret"}
    responses.get(PIPELINES, status=401, json=body)
    with pytest.raises(AccessDenied) as caught:
        pipelines(connector)
    assert "pat-na1-secret" not in str(caught.value)


@responses.activate
def test_search_refusal_waits_on_its_own_bucket(example, connector, clock) -> None:
    url = f"{BASE}/crm/v3/objects/deals/search"
    responses.post(url, status=429, json=example("error_429_search_secondly_response"))
    responses.post(url, json={"total": 0, "results": []})
    responses.get(PIPELINES, json=EMPTY)
    Api(connector._http).search("deals", {})
    assert clock.slept == [pytest.approx(1.0)]
    pipelines(connector)
    assert len(clock.slept) == 1  # other calls were not slowed down


@responses.activate
def test_rolling_refusal_waits_and_goes_on(connector, clock) -> None:
    body = {"status": "error", "errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}
    for _ in range(3):
        responses.get(PIPELINES, status=429, json=body)
    responses.get(PIPELINES, json=EMPTY)
    assert pipelines(connector)[0].last
    assert sum(clock.slept) >= 1 + 2 + 4


@responses.activate
def test_lock_423_waits_two_seconds(connector, clock) -> None:
    responses.get(PIPELINES, status=423, body="locked")
    responses.get(PIPELINES, json=EMPTY)
    pipelines(connector)
    assert clock.slept == [pytest.approx(2.0)]


@responses.activate
def test_short_move_477_waits_as_told(connector, clock) -> None:
    responses.get(PIPELINES, status=477, headers={"Retry-After": "30"})
    responses.get(PIPELINES, json=EMPTY)
    pipelines(connector)
    assert clock.slept == [30.0]


@responses.activate
def test_long_move_477_ends_the_run_instead_of_sleeping_a_day(connector, clock) -> None:
    responses.get(PIPELINES, status=477, headers={"Retry-After": "86400"})
    with pytest.raises(ConnectorError, match="data centre"):
        pipelines(connector)
    assert clock.slept == []


@responses.activate
@pytest.mark.parametrize("status", [500, 502, 503, 504, 521, 523, 524])
def test_server_faults_are_tried_again(connector, status) -> None:
    responses.get(PIPELINES, status=status, body="<html>oops</html>")
    responses.get(PIPELINES, json=EMPTY)
    assert pipelines(connector)[0].last


@responses.activate
def test_server_fault_that_stays_is_told(connector) -> None:
    responses.get(PIPELINES, status=500, body="oops")
    with pytest.raises(ServerFault):
        pipelines(connector)


@responses.activate
def test_headers_raise_the_limit_of_the_right_bucket(example, connector) -> None:
    headers = {k: v for k, v in example("headers_rate_limit_response").items() if k.startswith("X-")}
    url = f"{BASE}/crm/v4/associations/deals/contacts/labels"
    responses.get(url, json=EMPTY, headers=headers)
    responses.get(PIPELINES, json=EMPTY, headers={**headers, "X-HubSpot-RateLimit-Max": "190"})
    Api(connector._http).labels("deals", "contacts")
    pipelines(connector)
    found = [connector._http.pacer.limit(bucket) for bucket in ("default", "associations", "search")]
    assert [(limit.calls, limit.seconds) for limit in found if isinstance(limit, Window)] == [
        (190, 10.0),
        (150, 10.0),
        (5, 1),
    ]


@responses.activate
def test_real_limits_make_a_long_walk_wait_and_not_fail(connector, clock) -> None:
    responses.get(PIPELINES, json=EMPTY)
    for _ in range(250):
        connector._api.pipelines()
    # Ninety in any ten seconds: the 250th waits for the third window.
    assert sum(clock.slept) == pytest.approx(20.0, abs=0.5)


@pytest.mark.parametrize("url", ["http://api.hubapi.com", "https://api.hubapi.com.evil.example"])
def test_secrets_go_to_hubspots_hosts_only(make_context, url) -> None:
    connector = HubSpotConnector(make_context("hub", token="pat-na1-secret"))
    with pytest.raises(ConfigError):
        connector._http.allow(url)


@responses.activate
def test_renewal_happens_once_for_many_threads(with_oauth, example) -> None:
    responses.post(TOKEN, json={**example("oauth_token_response"), "refresh_token": "na1-old"})
    responses.get(PIPELINES, json=EMPTY)
    threads = [threading.Thread(target=with_oauth._api.pipelines) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked = [call.request for call in responses.calls if call.request.url == TOKEN]
    assert len(asked) == 1
    assert "grant_type=refresh_token" in asked[0].body
    assert "Authorization" not in asked[0].headers


@responses.activate
def test_another_refresh_token_is_stored_before_use(with_oauth, example) -> None:
    responses.post(TOKEN, json=example("oauth_token_response"))
    responses.get(PIPELINES, json=EMPTY)
    pipelines(with_oauth)
    assert with_oauth.context.secrets.stored[0] == ("refresh_token", "na1-aaaa-bbbb-cccc-dddd-eeeeeeeeeeee")


@responses.activate
def test_same_refresh_token_is_not_stored_again(with_oauth) -> None:
    body = {"access_token": "at-1", "refresh_token": "na1-old", "expires_in": 1800}
    responses.post(TOKEN, json=body)
    responses.get(PIPELINES, json=EMPTY)
    pipelines(with_oauth)
    assert [name for name, _ in with_oauth.context.secrets.stored] == ["access_token"]


@responses.activate
def test_expired_access_token_is_renewed_and_the_call_repeated(with_oauth, example) -> None:
    for token in ("at-1", "at-2"):
        responses.post(TOKEN, json={"access_token": token, "refresh_token": "na1-old", "expires_in": 1800})
    responses.get(PIPELINES, status=401, json=example("error_401_expired_token_response"))
    responses.get(PIPELINES, json=EMPTY)
    pipelines(with_oauth)
    sent = [c.request.headers["Authorization"] for c in responses.calls if c.request.url == PIPELINES]
    assert sent == ["Bearer at-1", "Bearer at-2"]


@responses.activate
def test_dead_refresh_token_is_access_denied_with_a_hint(with_oauth, example) -> None:
    responses.post(TOKEN, status=400, json=example("oauth_invalid_grant_400_response"))
    with pytest.raises(AccessDenied, match="invalid_grant") as caught:
        pipelines(with_oauth)
    assert "log in again" in caught.value.hint.lower()
    assert "na1-old" not in str(caught.value)


@responses.activate
def test_access_token_in_an_error_is_masked(with_oauth) -> None:
    responses.post(TOKEN, json={"access_token": "at-1-secret", "expires_in": 1800})
    body = {"status": "error", "category": "VALIDATION_ERROR", "message": "bad header Bearer at-1-secret"}
    responses.get(PIPELINES, status=400, json=body)
    with pytest.raises(Rejected) as caught:
        pipelines(with_oauth)
    assert "at-1-secret" not in str(caught.value)


@responses.activate
def test_token_endpoint_that_answers_something_else_is_asked_again(with_oauth) -> None:
    responses.post(TOKEN, body="<html>busy</html>")
    responses.post(TOKEN, json={"access_token": "at-1"})
    responses.post(TOKEN, json={"access_token": "at-1", "expires_in": 1800})
    responses.get(PIPELINES, json=EMPTY)
    assert pipelines(with_oauth)[0].last


@responses.activate
@pytest.mark.parametrize(
    ("body", "waits"),
    [
        ({"policyName": "SECONDLY"}, 1.0),
        ({"groupName": "publicapi:crm:search:1", "message": "You have reached your secondly limit."}, 1.0),
        ({"policyName": "TEN_SECONDLY_ROLLING"}, 1.0),
    ],
)
def test_refusal_without_retry_after_waits(connector, clock, body, waits) -> None:
    responses.get(PIPELINES, status=429, json={"status": "error", "errorType": "RATE_LIMIT", **body})
    responses.get(PIPELINES, json=EMPTY)
    pipelines(connector)
    assert sum(clock.slept) >= waits


@responses.activate
@pytest.mark.parametrize("body", [{"policyName": "DAILY"}, {"message": "You have reached your daily limit."}])
def test_end_of_the_days_budget_is_not_waited_for(connector, clock, body) -> None:
    responses.get(PIPELINES, status=429, json={"status": "error", "errorType": "RATE_LIMIT", **body})
    with pytest.raises(QuotaExhausted):
        pipelines(connector)
    assert clock.slept == []
