"""Credentials, hosts, limits and refusals of Zoho."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import responses

from crmkit.connectors.base import Context
from crmkit.connectors.clock import SystemClock
from crmkit.connectors.http import Answer, Call
from crmkit.connectors.zoho.calls import Gate
from crmkit.connectors.zoho.connector import ZohoConnector, ZohoOptions
from crmkit.connectors.zoho.dialect import MissingPermission, ZohoDialect, ZohoRefused
from crmkit.connectors.zoho.workspace import covers, missing_scopes
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    ConfigError,
    Interrupted,
    MissingScope,
    NotFound,
    QuotaExhausted,
    RateLimited,
    ServerFault,
)
from crmkit.model import Kind

EXAMPLES = Path(__file__).parents[3] / "shared/specs/zoho/examples"
TOKEN_URL = "https://accounts.zoho.eu/oauth/v2/token"
API = "https://www.zohoapis.eu"
DATE = {"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}
ORG = {"org": [{"id": "1", "zgid": "777", "company_name": "Zylker", "iso_code": "EUR"}]}


def payload(name: str) -> dict[str, Any]:
    path = EXAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} is not there: the specs lie beside the repository")
    return json.loads(path.read_text())


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def connect(make_context: Callable[..., Context]) -> Callable[..., ZohoConnector]:
    def build(**options: Any) -> ZohoConnector:
        context = make_context("zoho-eu", client_id="cl1ent", client_secret="s3cret", refresh_token="r3fresh")
        return ZohoConnector(context, ZohoOptions(data_centre="eu", **options))

    return build


def grant(web: responses.RequestsMock, **more: Any) -> None:
    web.post(TOKEN_URL, json={"access_token": "t0ken", "expires_in": 3600, "token_type": "Bearer", **more})


def org(connector: ZohoConnector) -> str:
    return str(connector._calls.listing("/org").rows[0]["zgid"])


def test_the_prefix_is_zohos_own_and_secrets_go_into_the_form(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    grant(web, api_domain=API)
    web.get(f"{API}/crm/v8/org", json=ORG, headers=DATE)
    assert org(connect()) == "777"
    token, call = (one.request for one in web.calls)
    assert call.headers["Authorization"] == "Zoho-oauthtoken t0ken"
    assert token.url == TOKEN_URL
    assert parse_qs(token.body)["client_secret"] == ["s3cret"]


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("https://www.zohoapis.in", "https://www.zohoapis.in"),
        ("https://evil.example", API),
        ("https://www.zohoapis.eu.evil.example", API),
        ("http://www.zohoapis.in", API),
        ("https://sandbox.zohoapis.eu", API),  # the token of another environment
        ("https://user@www.zohoapis.in", API),
    ],
)
def test_the_host_in_the_token_answer_is_used_only_if_it_is_zohos(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector], domain: str, host: str
) -> None:
    grant(web, api_domain=domain)
    web.get(re.compile(r".*/crm/v8/org"), json=ORG, headers=DATE)
    org(connect())
    assert web.calls[-1].request.url == f"{host}/crm/v8/org"


@pytest.mark.parametrize(
    ("centre", "environment", "api", "accounts"),
    [
        ("us", "production", "https://www.zohoapis.com", "https://accounts.zoho.com"),
        ("au", "sandbox", "https://sandbox.zohoapis.com.au", "https://accounts.zoho.com.au"),
        ("ca", "developer", "https://developer.zohoapis.ca", "https://accounts.zohocloud.ca"),
    ],
)
def test_each_data_centre_and_environment_has_its_own_hosts(
    web: responses.RequestsMock,
    make_context: Callable[..., Context],
    centre: Any,
    environment: Any,
    api: str,
    accounts: str,
) -> None:
    context = make_context("z", client_id="a1", client_secret="b1", refresh_token="c1")
    connector = ZohoConnector(context, ZohoOptions(data_centre=centre, environment=environment))
    web.post(f"{accounts}/oauth/v2/token", json={"access_token": "t", "expires_in": 3600})
    web.get(f"{api}/crm/v8/org", json=ORG, headers=DATE)
    assert org(connector) == "777"


def test_a_foreign_base_url_must_be_encrypted(connect: Callable[..., ZohoConnector]) -> None:
    with pytest.raises(ConfigError):
        connect(base_url="http://crm.example.com")


def test_the_accounts_host_of_a_sandbox_may_be_another_one(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    web.post("http://localhost:81/oauth/v2/token", json={"access_token": "t", "expires_in": 3600})
    web.get("http://127.0.0.1:80/crm/v8/org", json=ORG, headers=DATE)
    assert org(connect(base_url="http://127.0.0.1:80", accounts_url="http://localhost:81")) == "777"


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("invalid_code", "data centre"),
        ("invalid_client", "client_id"),
        ("invalid_client_secret", "client_secret"),
    ],
)
def test_a_token_endpoint_that_says_error_denies_access_whatever_the_status(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector], status: int, error: str, hint: str
) -> None:
    web.post(TOKEN_URL, json={"error": error}, status=status)
    with pytest.raises(AccessDenied, match=error) as caught:
        org(connect())
    assert hint in caught.value.hint


def test_the_recorded_refusal_of_a_dead_refresh_token_denies_access(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    web.post(TOKEN_URL, json=payload("oauth_invalid_code_200"))
    with pytest.raises(AccessDenied) as caught:
        org(connect())
    assert "log in again" in caught.value.hint


def test_no_secret_gets_into_an_error(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    web.post(TOKEN_URL, json={"error": "bad s3cret and r3fresh"})
    with pytest.raises(AccessDenied) as caught:
        org(connect())
    assert not {"s3cret", "r3fresh", "cl1ent"} & set(re.findall(r"\w+", str(caught.value)))


def test_too_many_token_requests_are_waited_for(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector], clock: Any
) -> None:
    web.post(TOKEN_URL, json=payload("oauth_refresh_rate_limited_400"), status=400)
    grant(web)
    web.get(f"{API}/crm/v8/org", json=ORG, headers=DATE)
    assert org(connect()) == "777"
    assert sum(clock.slept) >= 60


def test_a_token_answer_without_a_token_is_a_failure(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    web.post(TOKEN_URL, json={"status": "success"})
    with pytest.raises(AccessDenied, match="no access token"):
        org(connect())


def test_a_dead_token_is_renewed_once(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    web.post(TOKEN_URL, json={"access_token": "old", "expires_in": 3600})
    web.post(TOKEN_URL, json={"access_token": "new", "expires_in": 3600})
    web.get(f"{API}/crm/v8/org", json=payload("error_401_invalid_token"), status=401)
    web.get(f"{API}/crm/v8/org", json=ORG, headers=DATE)
    assert org(connect()) == "777"
    assert web.calls[-1].request.headers["Authorization"].endswith("new")


def test_many_threads_get_one_token(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    grant(web)
    web.get(f"{API}/crm/v8/org", json=ORG, headers=DATE)
    connector = connect()
    threads = [threading.Thread(target=org, args=(connector,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [call.request.url for call in web.calls].count(TOKEN_URL) == 1


def test_a_token_still_good_is_taken_from_the_store(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    grant(web)
    web.get(f"{API}/crm/v8/org", json=ORG, headers=DATE)
    first = connect()
    org(first)
    org(ZohoConnector(first.context, first.options))
    assert [call.request.url for call in web.calls].count(TOKEN_URL) == 1


def test_too_many_requests_are_waited_for_with_fewer_calls_at_once(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector], clock: Any
) -> None:
    grant(web)
    for _ in range(3):
        web.get(f"{API}/crm/v8/org", json=payload("error_429_too_many_requests"), status=429)
    web.get(f"{API}/crm/v8/org", json=ORG, headers=DATE)
    connector = connect()
    assert org(connector) == "777"
    assert sum(clock.slept) >= 1 + 2 + 4
    assert connector._calls._gate.width == 1


def test_every_call_passes_the_gate_and_leaves_it(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    inside: list[int] = []
    connector = connect()
    gate = connector._calls._gate

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        inside.append(len(gate._inside))
        return 200, DATE, json.dumps(ORG)

    grant(web)
    web.add_callback("GET", f"{API}/crm/v8/org", answer)
    org(connector)
    assert [*inside, len(gate._inside)] == [1, 0]


def test_no_credits_left_ends_the_run(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    grant(web)
    body = payload("error_429_too_many_requests")
    web.get(f"{API}/crm/v8/org", json=body, status=429, headers={"X-API-CREDITS-REMAINING": "0"})
    with pytest.raises(QuotaExhausted):
        org(connect())


def test_a_body_that_is_cut_is_asked_for_again(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    grant(web)
    web.get(f"{API}/crm/v8/org", body='{"org":[{"zgid":"777"}', headers=DATE)
    web.get(f"{API}/crm/v8/org", body="<html>busy</html>", headers=DATE)
    web.get(f"{API}/crm/v8/org", json={"org": None}, headers=DATE)
    web.get(f"{API}/crm/v8/org", json=ORG, headers=DATE)
    assert org(connect()) == "777"


@pytest.mark.parametrize("status", [204, 304])
def test_an_empty_answer_is_never_decoded(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector], status: int
) -> None:
    grant(web)
    web.get(f"{API}/crm/v8/Deals", status=status, headers=DATE)
    answer = connect()._calls.listing("/Deals")
    assert (answer.rows, answer.more) == ([], False)


def test_an_answer_without_a_date_cannot_start_an_increment(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    grant(web)
    web.get(f"{API}/crm/v8/Deals", json={"data": []})
    with pytest.raises(BadAnswer, match="Date"):
        connect()._calls.listing("/Deals")


@pytest.mark.parametrize(
    ("name", "status", "label", "error"),
    [
        ("error_401_invalid_token", 401, "/Deals", AccessDenied),
        ("error_401_authentication_failure", 401, "/Deals", AccessDenied),
        ("error_401_oauth_scope_mismatch", 401, "/Deals", MissingScope),
        ("error_403_no_permission", 403, "/Deals", MissingPermission),
        ("error_404_invalid_url_pattern", 404, "/Deals", NotFound),
        ("error_429_too_many_requests", 429, "/Deals", RateLimited),
        ("error_500_internal", 500, "/Deals", ServerFault),
        ("records_400_required_param_missing", 400, "/Deals", ZohoRefused),
        ("records_400_limit_exceeded_fields", 400, "/Deals", ZohoRefused),
        ("records_400_token_bound_data_mismatch", 400, "/Deals", ZohoRefused),
        ("records_400_discrete_pagination_limit", 400, "/Deals", ZohoRefused),
        ("records_400_invalid_module", 400, "/Deals", ZohoRefused),
        ("coql_400_invalid_operator", 400, "/coql", ZohoRefused),
        ("coql_400_mandatory_not_found", 400, "/coql", ZohoRefused),
        ("coql_400_syntax_missing_clause", 400, "/coql", ZohoRefused),
        ("pipelines_400_invalid_layout", 400, "/settings/pipeline", ZohoRefused),
        ("create_400_duplicate_data", 400, "/Deals", ZohoRefused),
    ],
)
def test_error_payloads_mean_the_error_that_says_what_to_do(
    make_context: Callable[..., Context], name: str, status: int, label: str, error: type[Exception]
) -> None:
    dialect = a_dialect(make_context)
    body = json.dumps(payload(name)).encode()
    call = Call("GET", "/x", label=f"GET /crm/v8{label}")
    assert type(dialect.error(call, Answer(status, {}, body, "z: GET"))) is error


def a_dialect(make_context: Callable[..., Context]) -> ZohoDialect:
    context = make_context("z")
    gate = Gate(10, context.clock, context.cancelled)
    return ZohoDialect(
        context,
        accounts_url="https://accounts.zoho.com",
        environment="production",
        fixed_host=False,
        gate=gate,
    )


def test_a_refusal_keeps_zohos_code_and_details(make_context: Callable[..., Context]) -> None:
    body = json.dumps(payload("coql_400_invalid_operator")).encode()
    error = a_dialect(make_context).error(Call("GET", "/x"), Answer(400, {}, body, "z: GET"))
    assert isinstance(error, ZohoRefused)
    assert (error.code, error.details["column_name"]) == ("INVALID_QUERY", "First_Name")


def test_a_missing_scope_is_named(make_context: Callable[..., Context]) -> None:
    body = json.dumps(payload("error_401_oauth_scope_mismatch")).encode()
    call = Call("GET", "/x", label="GET /crm/v8/users")
    error = a_dialect(make_context).error(call, Answer(401, {}, body, "z: GET"))
    assert "ZohoCRM.users.READ" in str(error)


def test_a_missing_permission_is_named(make_context: Callable[..., Context]) -> None:
    body = json.dumps(payload("error_403_no_permission")).encode()
    error = a_dialect(make_context).error(Call("GET", "/x"), Answer(403, {}, body, "z: GET"))
    assert "Crm_Implied_View_Leads" in str(error)


def test_a_refusal_inside_rows_is_read_too(make_context: Callable[..., Context]) -> None:
    body = b'{"data":[{"code":"INVALID_DATA","details":{"param_name":"ids"},"message":"m","status":"error"}]}'
    error = a_dialect(make_context).error(Call("GET", "/x"), Answer(400, {}, body, "z: GET"))
    assert isinstance(error, ZohoRefused)
    assert error.code == "INVALID_DATA"


@pytest.mark.parametrize(
    ("granted", "needed", "answer"),
    [
        ("ZohoCRM.modules.ALL", "ZohoCRM.modules.deals.READ", True),
        ("ZohoCRM.modules.deals.READ", "ZohoCRM.modules.deals.READ", True),
        ("ZohoCRM.modules.deals.CREATE", "ZohoCRM.modules.deals.READ", False),
        ("ZohoCRM.modules.READ", "ZohoCRM.modules.contacts.READ", True),
        ("ZohoCRM.settings.ALL", "ZohoCRM.modules.deals.READ", False),
        ("ZohoCRM.coql.READ", "ZohoCRM.coql.READ", True),
    ],
)
def test_a_scope_includes_the_narrower_ones(granted: str, needed: str, answer: bool) -> None:
    assert covers(granted, needed) is answer


def test_scopes_told_with_the_token_need_no_further_call(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    scopes = payload("oauth_refresh_200")["scope"]
    grant(web, scope=scopes)
    web.get(f"{API}/crm/v8/org", json=ORG, headers=DATE)
    with pytest.raises(
        MissingScope, match=r"lack ZohoCRM\.org\.READ, ZohoCRM\.users\.READ, ZohoCRM\.coql\.READ"
    ):
        connect().check()
    assert len(web.calls) == 2


def test_a_missing_permission_is_not_called_a_missing_scope(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    grant(web)
    web.get(f"{API}/crm/v8/org", json=ORG, headers=DATE)
    web.get(f"{API}/crm/v8/users", json=payload("error_403_no_permission"), status=403)
    empty = {"data": [], "info": {"more_records": False}}
    web.get(re.compile(f"{API}/crm/v8/settings/.*"), json={"layouts": [], "fields": []}, headers=DATE)
    web.get(re.compile(f"{API}/crm/v8/(Deals|Accounts|Contacts).*"), json=empty, headers=DATE)
    web.post(f"{API}/crm/v8/coql", status=204, headers=DATE)
    with pytest.raises(MissingScope) as caught:
        connect().check()
    assert "Crm_Implied_View_Leads" in str(caught.value)
    assert "profile" in caught.value.hint


def test_no_scope_is_missing_when_all_are_granted(connect: Callable[..., ZohoConnector]) -> None:
    granted = "ZohoCRM.modules.ALL,ZohoCRM.settings.ALL,ZohoCRM.users.READ,ZohoCRM.org.READ,ZohoCRM.coql.READ"
    assert missing_scopes(connect()._calls, granted) == []


def test_wrong_credentials_stop_before_anything_is_read(
    web: responses.RequestsMock, connect: Callable[..., ZohoConnector]
) -> None:
    grant(web)
    web.post(f"{API}/crm/v8/coql", json=payload("error_401_authentication_failure"), status=401)
    with pytest.raises(AccessDenied):
        next(iter(connect().read(Kind.DEAL)))


def test_the_gate_admits_no_more_than_its_width(clock: Any) -> None:
    gate = Gate(2, clock, threading.Event())
    inside = 0
    most = 0
    lock = threading.Lock()
    barrier = threading.Barrier(2, timeout=5)

    def work() -> None:
        nonlocal inside, most
        gate.enter()
        gate.enter()  # a second try of the same call takes no second place
        with lock:
            inside += 1
            most = max(most, inside)
        barrier.wait()
        with lock:
            inside -= 1
        gate.leave()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_the_gate_narrows_once_per_event_and_widens_again() -> None:
    gate = Gate(8, SystemClock(), threading.Event())
    for _ in range(5):
        gate.refused()
    narrowed = gate.width
    for _ in range(1000):
        gate.succeeded()
    assert (narrowed, gate.width) == (4, 8)


def in_another_thread(act: Callable[[], None]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def test_a_stopped_run_does_not_wait_at_the_gate(clock: Any) -> None:
    cancelled = threading.Event()
    gate = Gate(1, clock, cancelled)
    in_another_thread(gate.enter)
    cancelled.set()
    with pytest.raises(Interrupted):
        gate.enter()


def test_a_try_after_a_refusal_waits_for_its_place_again(clock: Any) -> None:
    cancelled = threading.Event()
    gate = Gate(2, clock, cancelled)
    in_another_thread(gate.enter)
    gate.enter()
    gate.refused()
    cancelled.set()  # so that waiting shows as an error
    with pytest.raises(Interrupted):
        gate.enter()
