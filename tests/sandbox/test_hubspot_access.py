"""Who may call HubSpot and how often: tokens, scopes, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.sandbox.hubspot_wire import Client, starting

DEALS = "/crm/v3/objects/deals"
SEARCH = f"{DEALS}/search"
LABELS = "/crm/v4/associations/deals/companies/labels"


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    with starting() as start:
        yield start


def _log_in(client: Client, version: str = "v3") -> dict[str, object]:
    secrets = client.app.credentials
    fields = {name: secrets[name] for name in ("client_id", "client_secret", "refresh_token")}
    answer = client.form(f"/oauth/{version}/token", grant_type="refresh_token", **fields)
    assert answer.status_code == 200, answer.text
    token: dict[str, object] = answer.json()
    client.session.headers["authorization"] = f"Bearer {token['access_token']}"
    return token


@pytest.mark.parametrize("header", ["", "Bearer guess", "Basic abc"])
def test_without_a_good_token_nothing_is_read(up: Callable[..., Client], header: str) -> None:
    client = up(deals=8)
    client.session.headers["authorization"] = header
    answer = client.get(DEALS)
    assert (answer.status_code, answer.json()["category"]) == (401, "INVALID_AUTHENTICATION")


@pytest.mark.parametrize("version", ["v1", "v3", "2026-03"])
def test_a_refresh_token_buys_half_an_hour(up: Callable[..., Client], version: str) -> None:
    client = up(deals=8)
    assert _log_in(client, version)["expires_in"] == 1800
    client.world.clock.advance(1799)
    assert client.get(DEALS).status_code == 200
    client.world.clock.advance(2)
    answer = client.get(DEALS)
    assert (answer.status_code, answer.json()["category"]) == (401, "EXPIRED_AUTHENTICATION")
    assert answer.json()["context"] == {"expire time": ["2026-06-01T12:30:00Z"]}
    assert answer.json()["message"].endswith("expired 1 second(s) ago.")


def test_the_static_token_has_no_end(up: Callable[..., Client]) -> None:
    client = up(deals=8)
    client.app.expire_tokens()
    client.world.clock.advance(400 * 86_400)
    assert client.get(DEALS).status_code == 200


def test_a_wrong_refresh_token_is_told_without_category(up: Callable[..., Client]) -> None:
    client = up(deals=8)
    answer = client.form(
        "/oauth/v3/token",
        **{**client.app.credentials, "grant_type": "refresh_token", "refresh_token": "na1-x"},
    )
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "invalid_grant",
            "error_description": "refresh token is invalid, expired or revoked",
            "status": "BAD_REFRESH_TOKEN",
            "message": "refresh token is invalid, expired or revoked",
        },
    )


@pytest.mark.parametrize("wrong", ["client_id", "client_secret"])
def test_a_wrong_client_gets_no_token(up: Callable[..., Client], wrong: str) -> None:
    client = up(deals=8)
    fields = {**client.app.credentials, "grant_type": "refresh_token", wrong: "guess"}
    answer = client.form("/oauth/v3/token", **fields)
    assert (answer.status_code, answer.json()["status"]) == (400, f"BAD_{wrong.upper()}")


def test_refresh_tokens_rotate_if_told_to(up: Callable[..., Client]) -> None:
    client = up(deals=8, extra={"rotate_refresh_tokens": True})
    before = client.app.credentials["refresh_token"]
    assert _log_in(client)["refresh_token"] == client.app.credentials["refresh_token"] != before
    fields = {**client.app.credentials, "grant_type": "refresh_token", "refresh_token": before}
    assert client.form("/oauth/v3/token", **fields).status_code == 400


def test_an_expired_fault_ends_the_token(up: Callable[..., Client]) -> None:
    client = up(deals=8)
    _log_in(client)
    client.post("/_sandbox/faults", {"script": [{"fault": "expired", "kind": "list"}]})
    assert [client.get(DEALS).status_code for _ in range(2)] == [401, 401]
    _log_in(client)
    assert client.get(DEALS).status_code == 200


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ("crm.objects.deals.read", DEALS),
        ("crm.objects.contacts.read", "/crm/v3/objects/notes"),
        ("crm.objects.companies.read", f"{DEALS}?associations=companies"),
        ("crm.objects.companies.read", LABELS),
        ("crm.objects.owners.read", "/crm/v3/owners"),
    ],
)
def test_a_missing_scope_is_named(up: Callable[..., Client], scope: str, path: str) -> None:
    answer = up(deals=8, extra={"missing_scopes": [scope]}).get(path)
    assert (answer.status_code, answer.json()["category"]) == (403, "MISSING_SCOPES")
    assert scope in answer.json()["errors"][0]["context"]["requiredGranularScopes"]


def test_any_scope_of_deals_reads_pipelines(up: Callable[..., Client]) -> None:
    client = up(deals=8, extra={"missing_scopes": ["crm.objects.deals.read"]})
    assert client.get("/crm/v3/pipelines/deals").status_code == 200


def test_ten_seconds_hold_so_many_calls_of_the_static_token(up: Callable[..., Client]) -> None:
    client = up(deals=8, limits="real", extra={"hubspot_tier": "free"})
    answers = [client.get("/crm/v3/owners") for _ in range(101)]
    assert [one.status_code for one in answers] == [200] * 100 + [429]
    assert answers[99].headers["X-HubSpot-RateLimit-Remaining"] == "0"
    assert answers[0].headers["X-HubSpot-RateLimit-Max"] == "100"
    assert answers[0].headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
    assert answers[0].headers["X-HubSpot-RateLimit-Daily-Remaining"] == "249999"
    told = answers[100].json()
    assert (told["errorType"], told["policyName"]) == ("RATE_LIMIT", "TEN_SECONDLY_ROLLING")
    assert "category" not in told
    assert "Retry-After" not in answers[100].headers
    client.world.clock.advance(10)
    assert client.get("/crm/v3/owners").status_code == 200


def test_an_oauth_install_has_its_own_window_and_no_day(up: Callable[..., Client]) -> None:
    client = up(deals=8, limits="real")
    _log_in(client)
    answers = [client.get("/crm/v3/owners") for _ in range(111)]
    assert [one.status_code for one in answers] == [200] * 110 + [429]
    assert "X-HubSpot-RateLimit-Daily" not in answers[0].headers


def test_search_has_five_a_second_outside_the_window_and_no_headers(up: Callable[..., Client]) -> None:
    client = up(deals=8, limits="real")
    answers = [client.post(SEARCH, {"limit": 1}) for _ in range(6)]
    assert [one.status_code for one in answers] == [200] * 5 + [429]
    assert answers[5].json()["policyName"] == "SECONDLY"
    assert answers[5].json()["groupName"].startswith("publicapi:crm:search:")
    assert not [name for one in answers for name in one.headers if "ratelimit" in name.lower()]
    assert client.get(DEALS).headers["X-HubSpot-RateLimit-Remaining"] == "189"
    client.world.clock.advance(1)
    assert client.post(SEARCH, {}).status_code == 200


def test_associations_have_a_limit_of_their_own(up: Callable[..., Client]) -> None:
    client = up(deals=8, limits="real")
    answers = [client.get(LABELS) for _ in range(151)]
    assert [one.status_code for one in answers] == [200] * 150 + [429]
    assert answers[0].headers["X-HubSpot-RateLimit-Max"] == "150"
    assert client.get("/crm/v3/owners").status_code == 200


def test_the_day_ends_at_midnight_of_the_account(up: Callable[..., Client]) -> None:
    client = up(deals=8, limits="real")
    client.app.quota.day.limit = 2  # type: ignore[attr-defined]
    answers = [client.get("/crm/v3/owners") for _ in range(3)]
    assert (answers[2].status_code, answers[2].json()["policyName"]) == (429, "DAILY")
    assert answers[2].json()["message"] == "You have reached your daily limit."
    client.world.clock.advance(12 * 3600)  # midnight in UTC is still the same day in New York
    assert client.get("/crm/v3/owners").status_code == 429
    client.world.clock.advance(4 * 3600)
    assert client.get("/crm/v3/owners").status_code == 200


def test_the_days_use_is_told(up: Callable[..., Client]) -> None:
    client = up(deals=8, limits="real")
    client.get(DEALS)
    told = client.get("/account-info/v3/api-usage/daily/private-apps").json()["results"][0]
    assert (told["usageLimit"], told["currentUsage"], told["resetsAt"]) == (
        625_000,
        2,
        "2026-06-02T04:00:00Z",
    )


def test_without_limits_calls_are_not_counted(up: Callable[..., Client]) -> None:
    client = up(deals=8)
    assert {client.post(SEARCH, {"limit": 1}).status_code for _ in range(20)} == {200}


@pytest.mark.parametrize(
    ("kind", "method", "path"),
    [
        ("list", "GET", DEALS),
        ("list", "POST", SEARCH),
        ("read", "POST", f"{DEALS}/batch/read"),
        ("read", "GET", f"{DEALS}/1"),
        ("list", "GET", "/crm/objects/2026-09/deals"),
        ("token", "POST", "/oauth/v3/token"),
        ("write", "POST", DEALS),
    ],
)
def test_faults_know_what_a_call_does(up: Callable[..., Client], kind: str, method: str, path: str) -> None:
    client = up(deals=8)
    client.session.request(method, client.app.base_url + path, timeout=5)
    assert dict(client.app.requests.kinds) == {kind: 1}


def test_a_storm_answers_like_the_window(up: Callable[..., Client]) -> None:
    client = up(deals=8)
    client.post("/_sandbox/faults", {"script": [{"fault": "rate_limited", "kind": "list"}]})
    answer = client.get(DEALS)
    assert (answer.status_code, answer.json()["policyName"]) == (429, "TEN_SECONDLY_ROLLING")


def test_a_connection_needs_the_address_only(up: Callable[..., Client]) -> None:
    app = up(deals=8).app
    assert app.connection == {"base_url": app.origin}  # type: ignore[attr-defined]
    assert set(app.credentials) == {"token", "client_id", "client_secret", "refresh_token"}
