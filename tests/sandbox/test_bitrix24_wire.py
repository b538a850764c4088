"""Transport, batches, credentials and limits of a Bitrix24 portal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from crmkit.sandbox.bitrix24 import Bitrix24App
from crmkit.sandbox.server import Sandbox

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SELECT = "&select[]=id&select[]=title"


@pytest.fixture
def up() -> Iterator[Callable[..., Bitrix24App]]:
    """Starts a portal whose clock stands still."""
    with ExitStack() as stack:

        def start(**options: Any) -> Bitrix24App:
            chosen: dict[str, Any] = {"deals": 230, "limits": "off", "now": NOW, **options}
            app = stack.enter_context(Sandbox.up(["bitrix24"], **chosen))["bitrix24"]
            assert isinstance(app, Bitrix24App)
            return app

        yield start


def post(app: Bitrix24App, method: str, **params: Any) -> requests.Response:
    return requests.post(app.credentials["webhook_url"] + method, json=params, timeout=10)


def batch(app: Bitrix24App, cmd: Any, halt: Any = 0) -> Any:
    answer = post(app, "batch", halt=halt, cmd=cmd)
    assert answer.status_code == 200
    return answer.json()["result"]


def code_of(answer: requests.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["error"]


def page_after(bound: Any) -> str:
    return f"crm.item.list?entityTypeId=2&order[id]=ASC&filter[>id]={bound}&start=-1{SELECT}"


def chain(last: int = 0, pages: int = 50) -> dict[str, str]:
    first = {"p0": page_after(last)}
    return first | {f"p{n}": page_after(f"$result[p{n - 1}][items][49][id]") for n in range(1, pages)}


# Transport


def test_json_form_and_query_say_the_same(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=60)
    url = app.credentials["webhook_url"] + "crm.item.list"
    query = "entityTypeId=2&filter[%3E%3Dopportunity]=5&filter[@id][]=103&filter[@id][]=104&select[]=id"
    said = {
        "entityTypeId": 2,
        "filter": {">=opportunity": 5, "@id": [103, 104]},
        "select": ["id"],
    }
    form = {"content-type": "application/x-www-form-urlencoded"}
    answers = [
        requests.post(url, json=said, timeout=5),
        requests.post(url, data=query, headers=form, timeout=5),
        requests.get(f"{url}?{query}", timeout=5),
        requests.post(f"{url}.json?{query}", timeout=5),
        requests.get(f"{url.lower()}/?{query}", timeout=5),
    ]
    items = [answer.json()["result"]["items"] for answer in answers]
    assert items[0]
    assert all(rows == items[0] for rows in items)


def test_exact_names_matter_to_universal_methods_only(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=60)
    ignored = post(app, "crm.item.list", entityTypeId=2, FILTER={"id": 103}).json()
    assert ignored["total"] == 60
    assert post(app, "crm.deal.list", FILTER={"ID": 103}).json()["total"] == 1


def test_every_answer_tells_its_time(up: Callable[..., Bitrix24App]) -> None:
    time = post(up(deals=5), "crm.category.list", entityTypeId=2).json()["time"]
    assert time["date_start"] == "2026-06-01T15:00:00+03:00"
    assert time["finish"] == NOW.timestamp()
    assert time["operating"] == 0.01
    assert time["operating_reset_at"] == NOW.timestamp() + 600


def test_a_body_that_is_not_json_counts_as_nothing(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5)
    url = app.credentials["webhook_url"] + "crm.item.list"
    answer = requests.post(url, data="{", headers={"content-type": "application/json"}, timeout=5)
    assert code_of(answer) == (400, "100")


def test_a_name_ends_at_the_first_equals_sign(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=60)
    url = app.credentials["webhook_url"] + "crm.item.list?entityTypeId=2&filter[>=id]=100000"
    assert requests.get(url, timeout=5).json()["total"] == 60


# Batches


def test_a_batch_of_chained_pages_reads_every_deal(up: Callable[..., Bitrix24App]) -> None:
    app = up()
    told = batch(app, chain(pages=5), halt=1)
    ids = [str(item["id"]) for page in told["result"].values() for item in page["items"]]
    assert ids == [deal["id"] for deal in app.expected_deals()]
    assert told["result_error"] == []
    assert told["result_total"] == []
    assert told["result_time"].keys() == told["result"].keys()


def test_a_chain_ends_with_an_error_behind_the_last_page(up: Callable[..., Bitrix24App]) -> None:
    told = batch(up(), chain(pages=10), halt=1)
    assert list(told["result"]) == ["p0", "p1", "p2", "p3", "p4"]
    assert told["result_error"].keys() == {"p5"}
    assert told["result_error"]["p5"]["error"] == "INVALID_ARG_VALUE"


def test_an_old_chain_begins_again_behind_the_last_page(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=60)
    first = "crm.deal.list?order[ID]=ASC&start=-1&select[]=ID"
    cmd = {"p0": first} | {f"p{n}": f"{first}&filter[>ID]=$result[p{n - 1}][49][ID]" for n in range(1, 3)}
    told = batch(app, cmd)["result"]
    assert (len(told["p0"]), len(told["p1"])) == (50, 10)
    assert told["p2"] == told["p0"]


def test_errors_in_a_batch_leave_the_others_alone_unless_told_to_halt(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5)
    cmd = {
        "a": "scope",
        "b": "crm.item.get?entityTypeId=2&id=1",
        "c": "nope",
        "d": "batch",
        "e": "user.current",
    }
    going_on = batch(app, cmd)
    assert list(going_on["result"]) == ["a", "e"]
    codes = {key: error["error"] for key, error in going_on["result_error"].items()}
    assert codes == {
        "b": "NOT_FOUND",
        "c": "ERROR_METHOD_NOT_FOUND",
        "d": "ERROR_BATCH_METHOD_NOT_ALLOWED",
    }
    halted = batch(app, cmd, halt=1)
    assert (list(halted["result"]), list(halted["result_error"])) == (["a"], ["b"])


def test_references_keep_their_type_or_become_text(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=60)
    cmd = {
        "list": "crm.item.list?entityTypeId=2&select[]=id&select[]=title&start=-1",
        "one": "crm.item.get?entityTypeId=2&id=$result[list][items][1][id]",
        "like": "crm.item.list?entityTypeId=2&select[]=id"
        "&filter[%3D%25title]=$result[list][items][1][title]%25",
    }
    told = batch(app, cmd)["result"]
    second = told["list"]["items"][1]["id"]
    assert told["one"]["item"]["id"] == second
    assert second in [item["id"] for item in told["like"]["items"]]


def test_the_fifty_first_command_is_refused(up: Callable[..., Bitrix24App]) -> None:
    told = batch(up(deals=5), {f"k{n}": "scope" for n in range(52)})
    assert len(told["result"]) == 50
    assert {key: error["error"] for key, error in told["result_error"].items()} == {
        "k50": "ERROR_BATCH_LENGTH_EXCEEDED",
        "k51": "ERROR_BATCH_LENGTH_EXCEEDED",
    }


def test_numeric_keys_from_zero_come_back_as_a_list(up: Callable[..., Bitrix24App]) -> None:
    told = batch(up(deals=5), ["scope", "server.time"])
    assert told["result"] == [["crm", "user"], "2026-06-01T15:00:00+03:00"]


def test_totals_of_a_batch_are_those_of_its_lists(up: Callable[..., Bitrix24App]) -> None:
    told = batch(up(), {"a": "crm.deal.list?select[]=ID", "b": "scope"})
    assert (told["result_total"], told["result_next"]) == ({"a": 230}, {"a": 50})


# Credentials


def test_a_wrong_webhook_is_refused(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5)
    answer = requests.post(f"{app.origin}/rest/1/guess/scope", timeout=5)
    assert code_of(answer) == (401, "INVALID_CREDENTIALS")
    assert code_of(requests.post(f"{app.origin}/rest/scope", timeout=5)) == (401, "NO_AUTH_FOUND")
    bad = requests.post(f"{app.origin}/rest/scope", json={"auth": "x"}, timeout=5)
    assert code_of(bad) == (401, "invalid_token")


def refresh(app: Bitrix24App, **changed: str) -> requests.Response:
    said = {"grant_type": "refresh_token", **app.credentials, **changed}
    del said["webhook_url"]
    return requests.get(f"{app.origin}/oauth/token/", params=said, timeout=5)


def test_a_refresh_rotates_both_tokens(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5)
    old = app.credentials["refresh_token"]
    pair = refresh(app).json()
    assert pair["refresh_token"] == app.credentials["refresh_token"] != old
    assert pair["client_endpoint"] == f"{app.origin}/rest/"
    assert pair["expires_in"] == 3600
    url = pair["client_endpoint"] + "app.info"
    assert requests.post(url, json={"auth": pair["access_token"]}, timeout=5).ok
    assert requests.get(url, params={"auth": pair["access_token"]}, timeout=5).ok
    assert code_of(refresh(app, refresh_token=old)) == (400, "invalid_grant")
    form = {"grant_type": "refresh_token", **app.credentials}
    assert requests.post(f"{app.origin}/oauth/token/", data=form, timeout=5).json()["user_id"] == 1


def test_an_access_token_expires_after_an_hour(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5)
    said = {"auth": refresh(app).json()["access_token"]}
    app.world.clock.advance(3599)
    assert requests.post(f"{app.origin}/rest/profile", json=said, timeout=5).ok
    app.world.clock.advance(1)
    answer = requests.post(f"{app.origin}/rest/profile", json=said, timeout=5)
    assert code_of(answer) == (401, "expired_token")


def test_an_unknown_client_is_refused_with_status_200(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5)
    assert code_of(refresh(app, client_id="app.1")) == (200, "wrong_client")
    assert code_of(refresh(app, client_secret="guess")) == (400, "invalid_client")
    assert code_of(refresh(app, grant_type="password")) == (400, "invalid_request")
    app.settings.extra["refuse_token"] = "PAYMENT_REQUIRED"
    assert code_of(refresh(app)) == (401, "PAYMENT_REQUIRED")


def test_missing_scopes_are_named(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5, extra={"scopes": ["user_brief"]})
    assert code_of(post(app, "crm.item.list", entityTypeId=2)) == (403, "insufficient_scope")
    assert "EMAIL" not in post(app, "user.get").json()["result"][0]
    assert post(app, "profile").ok


def test_rights_cut_lists_in_silence(up: Callable[..., Bitrix24App]) -> None:
    app = up(extra={"sees_only_owner": "5"})
    mine = [int(deal["id"]) for deal in app.expected_deals() if deal["owner_id"] == "5"]
    other = next(deal["id"] for deal in app.expected_deals() if deal["owner_id"] != "5")
    told = post(app, "crm.item.list", entityTypeId=2, filter={">id": 0}, select=["id"]).json()
    assert told["total"] == len(mine) > 0
    assert [row["id"] for row in told["result"]["items"]] == mine[:50]
    assert code_of(post(app, "crm.item.get", entityTypeId=2, id=other)) == (400, "ACCESS_DENIED")
    app.settings.extra["crm_access"] = False
    assert code_of(post(app, "crm.deal.list")) == (400, "")


@pytest.mark.parametrize(
    ("code", "status"), [("PAYMENT_REQUIRED", 401), ("ACCESS_DENIED", 403), ("OVERLOAD_LIMIT", 503)]
)
def test_a_portal_can_refuse_everything(up: Callable[..., Bitrix24App], code: str, status: int) -> None:
    assert code_of(post(up(deals=5, extra={"refuse": code}), "scope")) == (status, code)


def test_a_renamed_portal_redirects(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5, extra={"moved_to": "localhost"})
    url = app.credentials["webhook_url"] + "scope"
    answer = requests.post(url, json={}, allow_redirects=False, timeout=5)
    assert answer.status_code == 302
    assert answer.headers["location"] == url.replace("127.0.0.1", "localhost")


# Limits


def test_the_leaky_bucket_lets_fifty_through_and_two_a_second(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5, limits="real")
    with requests.Session() as session:

        def call() -> requests.Response:
            return session.post(app.credentials["webhook_url"] + "scope", timeout=5)

        assert {call().status_code for _ in range(50)} == {200}
        refused = call()
        assert code_of(refused) == (503, "QUERY_LIMIT_EXCEEDED")
        assert not [name for name in refused.headers if name.lower() in {"retry-after", "x-ratelimit-limit"}]
        app.world.clock.advance(1)
        assert [call().status_code for _ in range(3)] == [200, 200, 503]


def test_the_work_limit_blocks_one_method_until_its_baskets_empty(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5, limits="real", extra={"operating_seconds": {"crm.item.list": 250}})
    first = post(app, "crm.item.list", entityTypeId=2).json()["time"]
    second = post(app, "crm.item.list", entityTypeId=2).json()["time"]
    assert (first["operating"], second["operating"]) == (250, 500)
    assert code_of(post(app, "crm.item.list", entityTypeId=2)) == (429, "OPERATION_TIME_LIMIT")
    told = batch(app, {"a": "crm.item.list?entityTypeId=2", "b": "crm.deal.list?select[]=ID"})
    assert told["result_error"]["a"]["error"] == "OPERATION_TIME_LIMIT"
    assert told["result_time"]["b"]["operating"] == 0
    app.world.clock.advance(600)
    assert post(app, "crm.item.list", entityTypeId=2).ok


def test_a_batch_counts_once_for_the_bucket_and_each_command_for_its_method(
    up: Callable[..., Bitrix24App],
) -> None:
    app = up(limits="real")
    told = batch(app, chain(pages=4))
    assert told["result_time"]["p3"]["operating"] == 0.04
    assert app.bucket.level == 1
    assert app.requests.families["crm.item.list"] == 4


def test_faults_speak_the_portals_language(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5)
    script = {"script": [{"fault": "expired", "kind": "read"}, {"fault": "rate_limited", "kind": "list"}]}
    assert requests.post(f"{app.origin}/_sandbox/faults", json=script, timeout=5).ok
    # A webhook cannot expire.
    assert code_of(post(app, "scope")) == (503, "QUERY_LIMIT_EXCEEDED")
    assert code_of(post(app, "crm.deal.list")) == (503, "QUERY_LIMIT_EXCEEDED")
    token = {"auth": refresh(app).json()["access_token"]}
    script = {"script": [{"fault": "expired", "kind": "read"}]}
    assert requests.post(f"{app.origin}/_sandbox/faults", json=script, timeout=5).ok
    url = f"{app.origin}/rest/profile"
    answers = [code_of(requests.post(url, json=token, timeout=5)) for _ in range(2)]
    assert answers == [(401, "expired_token")] * 2


def test_calls_are_told_apart_for_the_faults(up: Callable[..., Bitrix24App]) -> None:
    app = up(deals=5)
    post(app, "crm.deal.list")
    post(app, "crm.deal.get", id=1)
    post(app, "crm.deal.add")
    batch(app, {"a": "crm.deal.list?select[]=ID"})
    batch(app, {"a": "crm.item.update?entityTypeId=2&id=1"})
    refresh(app)
    assert app.requests.kinds == {"list": 2, "read": 1, "write": 2, "token": 1}
