"""The HTTP layer retries what is transient, waits for limits, and leaks nothing."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import requests
import responses

from crmkit.connectors.base import Context
from crmkit.connectors.http import Answer, Call, Http, retry_after
from crmkit.connectors.pacing import Pacer, Window
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    ConfigError,
    CrmkitError,
    Interrupted,
    NetworkFault,
    NotFound,
    OutcomeUnknown,
    Rejected,
    ServerFault,
)
from tests.connectors.conftest import FakeClock

BASE = "https://api.small.test"
MakeContext = Callable[..., Context]


class Plain:
    """A vendor without peculiarities."""

    def __init__(self) -> None:
        self.forced = 0

    def authorise(self, call: Call, *, force: bool) -> Call:
        self.forced += force
        return replace(
            call, headers={**call.headers, "Authorization": "Bearer new" if self.forced else "Bearer old"}
        )

    def can_renew(self, answer: Answer) -> bool:
        return answer.status == 401 or b"expired_token" in answer.body

    def error(self, call: Call, answer: Answer) -> CrmkitError | None:
        return None

    def observe(self, answer: Answer, pacer: Pacer) -> None:
        return None


@pytest.fixture
def context(make_context: MakeContext) -> Context:
    return make_context("small-eu", token="s3cret-token")


@pytest.fixture
def http(context: Context) -> Http:
    return Http(
        context, base_url=BASE, dialect=Plain(), limits={"default": Window(100, 10)}, hosts=r".*\.small\.test"
    )


READ = Call("GET", "/deals", label="GET /deals")
WRITE = Call("POST", "/deals", json={"name": "x"}, label="POST /deals", writes=True)


@responses.activate
def test_numbers_with_a_fraction_are_exact(http: Http) -> None:
    responses.get(f"{BASE}/deals", body=b'{"amount": 0.1000000000000000055, "count": 3}')
    assert http.send(READ).mapping() == {"amount": Decimal("0.1000000000000000055"), "count": 3}


@responses.activate
def test_a_server_fault_is_retried_and_counted(http: Http, context: Context) -> None:
    responses.get(f"{BASE}/deals", status=502, body="<html>Bad gateway</html>")
    responses.get(f"{BASE}/deals", json=[1])
    assert http.send(READ).rows() == [1]
    assert (context.usage.requests, context.usage.retries) == (2, 1)


@responses.activate
def test_a_read_gives_up_after_five_failures(http: Http, context: Context) -> None:
    responses.get(f"{BASE}/deals", status=500)
    with pytest.raises(ServerFault):
        http.send(READ)
    assert context.usage.requests == 5


@responses.activate
def test_a_refusal_by_a_limit_is_waited_for_however_often(
    http: Http, context: Context, clock: FakeClock
) -> None:
    for _ in range(12):
        responses.get(f"{BASE}/deals", status=429, headers={"Retry-After": "7"})
    responses.get(f"{BASE}/deals", json=[])
    assert http.send(READ).rows() == []
    assert context.usage.requests == 13
    assert sum(clock.slept) >= 12 * 7
    assert context.usage.waited_seconds + sum(clock.slept) > 0


@responses.activate
def test_a_refused_token_is_renewed_once(http: Http) -> None:
    responses.get(f"{BASE}/deals", status=401)
    responses.get(
        f"{BASE}/deals", json=[], match=[responses.matchers.header_matcher({"Authorization": "Bearer new"})]
    )
    assert http.send(READ).rows() == []


@responses.activate
def test_a_vendor_may_tell_an_expired_token_by_its_body(http: Http) -> None:
    responses.get(f"{BASE}/deals", status=403, json={"error": "expired_token"})
    responses.get(f"{BASE}/deals", json=[])
    assert http.fetch(READ, Answer.rows) == []


@responses.activate
def test_a_second_refusal_ends_it(http: Http, context: Context) -> None:
    responses.get(f"{BASE}/deals", status=401)
    with pytest.raises(AccessDenied):
        http.send(READ)
    assert context.usage.requests == 2


@responses.activate
@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (400, Rejected), (422, Rejected), (302, Rejected)]
)
def test_what_a_repeat_cannot_help_is_not_repeated(
    http: Http, context: Context, status: int, error: type[CrmkitError]
) -> None:
    responses.get(f"{BASE}/deals", status=status, headers={"Location": "https://elsewhere.test/"})
    if status == 302:
        assert http.send(READ).status == 302
    else:
        with pytest.raises(error):
            http.send(READ)
    assert context.usage.requests == 1


@responses.activate
def test_an_unreachable_host_is_named_without_its_secrets(http: Http) -> None:
    responses.get(f"{BASE}/deals", body=requests.ConnectionError("NewConnectionError to s3cret-token"))
    with pytest.raises(NetworkFault) as caught:
        http.send(READ)
    assert "api.small.test" in str(caught.value)
    assert "s3cret-token" not in str(caught.value)
    assert caught.value.hint


@responses.activate
@pytest.mark.parametrize(
    "failure",
    [
        {"status": 500},
        {"status": 504},
        {"body": requests.ReadTimeout()},
        {"body": requests.ConnectionError("reset")},
    ],
)
def test_a_write_without_an_answer_is_never_repeated(
    http: Http, context: Context, failure: dict[str, object]
) -> None:
    responses.post(f"{BASE}/deals", **failure)  # type: ignore[arg-type]
    with pytest.raises(OutcomeUnknown):
        http.send(WRITE)
    assert context.usage.requests == 1


@responses.activate
def test_a_write_refused_by_a_limit_is_repeated(http: Http) -> None:
    responses.post(f"{BASE}/deals", status=429, headers={"Retry-After": "1"})
    responses.post(f"{BASE}/deals", json={"id": 1})
    assert http.send(WRITE).mapping() == {"id": 1}


@responses.activate
def test_a_body_that_is_not_json_is_named_by_its_shape(http: Http) -> None:
    responses.get(f"{BASE}/deals", body="<html>private text</html>", content_type="text/html")
    with pytest.raises(BadAnswer) as caught:
        http.send(READ).json()
    assert "text/html" in str(caught.value)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://evil.test/x", "https://api.small.test.evil.test/", "http://api.small.test/"]
)
def test_credentials_go_only_to_hosts_of_the_crm(http: Http, url: str) -> None:
    with pytest.raises(ConfigError):
        http.send(replace(READ, path=url))


@responses.activate
def test_a_body_of_the_wrong_shape_is_asked_for_again(http: Http) -> None:
    responses.get(f"{BASE}/deals", body="<html>We will be back</html>", content_type="text/html")
    responses.get(f"{BASE}/deals", json={"not": "a list"})
    responses.get(f"{BASE}/deals", json=[7])
    assert http.fetch(READ, Answer.rows) == [7]


@responses.activate
def test_what_a_reader_says_of_an_answer_is_named_by_its_call(http: Http) -> None:
    def read(answer: Answer) -> None:
        raise BadAnswer("no rows")

    responses.get(f"{BASE}/deals", json=[])
    with pytest.raises(BadAnswer, match=r"GET .*deals: no rows$"):
        http.fetch(READ, read)


@responses.activate
def test_a_write_whose_answer_cannot_be_read_is_not_repeated(http: Http, context: Context) -> None:
    responses.post(f"{BASE}/deals", body='{"id": 1')
    with pytest.raises(OutcomeUnknown):
        http.fetch(WRITE, Answer.mapping)
    assert context.usage.requests == 1


@responses.activate
def test_a_secret_in_a_path_shows_in_no_error_and_no_log(
    http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    responses.get(
        f"{BASE}/rest/s3cret-token/deals", body=requests.ConnectionError("/rest/s3cret-token/deals")
    )
    with caplog.at_level("DEBUG"), pytest.raises(NetworkFault) as caught:
        http.send(replace(READ, path="/rest/s3cret-token/deals"))
    logging.getLogger("urllib3.connectionpool").warning("GET %s", "/rest/s3cret-token/deals")
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "GET /rest/" in shown
    assert "s3cret-token" not in shown.replace('path="/rest/s3cret-token/deals"', "")


def test_plain_http_is_for_this_machine_only(context: Context) -> None:
    Http(context, base_url="http://127.0.0.1:1", dialect=Plain(), limits={}, hosts="x", configured=True)
    with pytest.raises(ConfigError, match="not encrypted"):
        Http(context, base_url="http://10.0.0.1", dialect=Plain(), limits={}, hosts="x", configured=True)


def test_a_stopped_run_sends_nothing_more(http: Http, context: Context) -> None:
    context.cancelled.set()
    with pytest.raises(Interrupted):
        http.send(READ)
    assert context.usage.requests == 0


@responses.activate
def test_a_write_that_is_not_permitted_any_more_is_not_sent(http: Http, context: Context) -> None:
    def refuse() -> None:
        raise Interrupted("another run took over")

    responses.post(f"{BASE}/deals", json={})
    responses.get(f"{BASE}/deals", json={})
    context.permit.check = refuse
    with pytest.raises(Interrupted):
        http.send(WRITE)
    http.send(READ)
    assert [call.request.method for call in responses.calls] == ["GET"]


@responses.activate
def test_a_window_is_never_overfilled(context: Context, clock: FakeClock) -> None:
    sent: list[float] = []

    def answer(_request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        sent.append(clock.monotonic())
        return 200, {}, "[]"

    responses.add_callback(responses.GET, f"{BASE}/deals", callback=answer)
    http = Http(
        context, base_url=BASE, dialect=Plain(), limits={"default": Window(10, 1)}, hosts=r".*\.small\.test"
    )
    for _ in range(50):
        http.send(READ)
    for moment in sent:
        assert sum(moment - 1 < other <= moment for other in sent) <= 10
    assert context.usage.waited_seconds > 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("12", 12.0), ("0.5", 0.5), ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0), ("soon", None), ("", None)],
)
def test_retry_after_is_read_in_both_forms(header: str, seconds: float | None) -> None:
    answer = Answer(429, {"Retry-After": header, "Date": "Mon, 23 Nov 2026 12:00:00 GMT"}, b"", "x")
    assert retry_after(answer) == seconds


@responses.activate
def test_threads_share_one_limit(context: Context, clock: FakeClock) -> None:
    responses.get(f"{BASE}/deals", json=[])
    http = Http(
        context, base_url=BASE, dialect=Plain(), limits={"default": Window(5, 1)}, hosts=r".*\.small\.test"
    )
    threads = [threading.Thread(target=http.send, args=(READ,)) for _ in range(20)]
    started = clock.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.monotonic() - started >= 3
