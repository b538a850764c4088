"""The Bitrix24 connector against a small portal that keeps state and speaks the wire format.

Which test holds which trap of the contract's summary:

 1  addresses_that_may_get_the_credential, the_token_goes_into_the_body_and_is_renewed_only_after_a_refusal
 2  only_the_fields_that_are_read_are_asked_for, a_deal_is_read_with_everything_it_holds
 3  a_walk_ends_right_around_the_page_and_batch_size, rows_that_appear_and_vanish_meanwhile_hide_no_others
 4  a_refusal_after_a_full_page_is_not_taken_for_the_end, a_chain_that_stops_without_a_word_goes_on_...
 5  a_rate_refusal_is_waited_out, the_work_limit_inside_a_batch_waits_for_its_reset_and_goes_on
 6  a_method_near_its_work_limit_is_left_alone_until_the_reset, batches_are_left_alone_too_...
 7  pipelines_come_with_their_own_stage_directories
 8  the_outcome_is_the_stages_semantics_and_the_close_its_last_move
 9  (moving a deal to another pipeline: writing)
10  a_shifted_bound_loses_nothing_when_the_shift_is_unknown, the_mark_is_the_servers_time_before_...
11  deletions_show_only_as_absence_from_a_complete_read
12  the_key_is_ours_only_with_our_prefix (finding and creating by it: writing)
13  errors_are_told_by_their_code_in_any_case (payloads), refused_credentials_are_told_by_code_not_by_status
14  no_company_and_no_contact_come_in_several_spellings, a_field_that_the_portal_left_out_is_not_taken_...,
    an_unknown_filter_field_is_not_taken_for_the_end
15  get_does_not_take_a_deal_out_of_reach_for_a_deleted_one, check_says_when_the_user_is_no_administrator
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
import responses

from crmkit.connectors.base import Context, Evidence, Page
from crmkit.connectors.bitrix24 import batch as batch_module
from crmkit.connectors.bitrix24 import walks as walks_module
from crmkit.connectors.bitrix24.connector import Bitrix24Connector
from crmkit.connectors.bitrix24.options import Bitrix24Options
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    ConfigError,
    CrmkitError,
    IncompleteRead,
    MissingScope,
    Rejected,
    ServerFault,
    Unsupported,
)
from crmkit.model import Deal, Kind, LostKind, Outcome, Ref, StageChange

HOST = "acme.bitrix24.com"
CODE = "s3cr3tc0de"
WEBHOOK = f"https://{HOST}/rest/7/{CODE}/"
PAGE = 50
REFERENCE = re.compile(r"\$result((?:\[[^\]]+\])+)")
OPERATOR = re.compile(r"^(>=|<=|!@|>|<|@|=|!)?(.*)$")


class Refused(Exception):
    def __init__(self, code: str | int, text: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.body = {"error": code, "error_description": text}
        self.status = status


class Portal:
    """Answers `batch` as the contract says; everything else is an unknown method.

    `shift` is how far date bounds are moved back; `faults` are called before each command
    with its key, method and parameters and may raise `Refused`; `fronts` answer whole requests.
    """

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.shift = timedelta(0)
        self.items: dict[int, dict[int, dict[str, Any]]] = {2: {}, 3: {}, 4: {}}
        self.fields: dict[int, dict[str, Any]] = {2: {}, 3: {}, 4: {}}
        self.history: list[dict[str, Any]] = []
        self.users: list[dict[str, Any]] = []
        self.comments: list[dict[str, Any]] = []
        self.categories: list[dict[str, Any]] = [{"id": 0, "name": "General", "sort": 300, "isDefault": "Y"}]
        self.statuses: dict[str, list[dict[str, Any]]] = {"DEAL_STAGE": [], "DEAL_STAGE_0": []}
        self.hidden: set[int] = set()
        self.scopes = {"crm", "user"}
        self.admin = True
        self.requests: list[dict[str, Any]] = []
        self.urls: list[str] = []
        self.faults: list[Callable[[str, str, Any], None]] = []
        self.fronts: list[Callable[[Any, dict[str, Any]], tuple[int, dict[str, str], str] | None]] = []
        self.operating: dict[str, float] = {}
        self.duration = 0.01
        self.lock = threading.Lock()

    def deal(self, native: int, **fields: Any) -> dict[str, Any]:
        stamp = fields.pop("at", self.now).isoformat()
        row = {
            "id": native,
            "title": f"Deal {native}",
            "stageId": "NEW",
            "stageSemanticId": "P",
            "categoryId": 0,
            "assignedById": 1,
            "companyId": 0,
            "contactIds": [],
            "contactId": None,
            "opportunity": 100,
            "currencyId": "EUR",
            "probability": None,
            "closed": "N",
            "closedate": "2026-12-01T03:00:00+03:00",
            "createdTime": stamp,
            "updatedTime": stamp,
            "movedTime": stamp,
            **fields,
        }
        self.items[2][native] = row
        return row

    def change(self, native: int, deal: int, stage: str, kind: int = 2, at: datetime | None = None) -> None:
        self.history.append(
            {
                "ID": native,
                "TYPE_ID": kind,
                "OWNER_ID": deal,
                "CREATED_TIME": (at or self.now).isoformat(),
                "CATEGORY_ID": 0,
                "STAGE_SEMANTIC_ID": "P",
                "STAGE_ID": stage,
            }
        )

    def connector(self, make_context: Callable[..., Context], **options: Any) -> Bitrix24Connector:
        return Bitrix24Connector(make_context("b24", webhook_url=WEBHOOK), Bitrix24Options(**options))

    # -- the wire

    def answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        with self.lock:
            body = json.loads(request.body)
            self.requests.append(body)
            self.urls.append(request.url)
            for front in self.fronts:
                answer = front(request, body)
                if answer is not None:
                    return answer
            return 200, {"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}, json.dumps(self.batch(body))

    def batch(self, body: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        totals: dict[str, Any] = {}
        nexts: dict[str, Any] = {}
        times: dict[str, Any] = {}
        assert len(body["cmd"]) <= 50
        started = self.now
        for key, text in body["cmd"].items():
            method, _, query = text.partition("?")
            try:
                params = php(query, values)
                for fault in self.faults:
                    fault(key, method, params)
                result = self.run(method, params)
            except Refused as refusal:
                errors[key] = refusal.body
                if body["halt"]:
                    break
                continue
            values[key] = result.get("result")
            times[key] = {
                "duration": 0.2,
                "operating": self.operating.get(method, 0),
                "operating_reset_at": started.timestamp() + 600,
            }
            if "total" in result:
                totals[key] = result["total"]
            if "next" in result:
                nexts[key] = result["next"]
        return {
            "result": {
                "result": values or [],
                "result_error": errors or [],
                "result_total": totals or [],
                "result_next": nexts or [],
                "result_time": times or [],
            },
            "time": {
                "start": started.timestamp(),
                "finish": started.timestamp(),
                "duration": self.duration,
                "operating": self.operating.get("batch", 0),
                "operating_reset_at": started.timestamp() + 600,
                "date_start": started.astimezone().isoformat(),
            },
        }

    def run(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method.startswith("crm.") and "crm" not in self.scopes:
            raise Refused("insufficient_scope")
        if method.startswith("user.") and "user" not in self.scopes:
            raise Refused("insufficient_scope")
        if method == "crm.item.list":
            rows = [
                row
                for row in self.items[int(params["entityTypeId"])].values()
                if row["id"] not in self.hidden
            ]
            return self.listed(rows, params, "id", wrap=True)
        if method == "crm.item.get":
            found = self.items[int(params["entityTypeId"])].get(int(params["id"]))
            if found is None:
                raise Refused("NOT_FOUND", "Element not found")
            if found["id"] in self.hidden:
                raise Refused("ACCESS_DENIED", "Access denied.")
            return {"result": {"item": found}}
        if method == "crm.item.fields":
            return {"result": {"fields": self.fields[int(params["entityTypeId"])] or []}}
        if method == "crm.stagehistory.list":
            return self.listed(self.history, params, "ID", wrap=True)
        if method == "user.get":
            params["filter"] = params.pop("FILTER", {})
            return self.listed(self.users, params, "ID")
        if method == "user.current":
            return {"result": {"ID": "7", "NAME": "Ada", "LAST_NAME": "Lovelace"}}
        if method == "profile":
            return {
                "result": {"ID": "7", "ADMIN": self.admin, "NAME": "Ada", "LAST_NAME": "L", "TIME_ZONE": ""}
            }
        if method == "crm.category.list":
            return {"result": {"categories": self.categories}, "total": len(self.categories)}
        if method == "crm.status.list":
            rows = self.statuses.get(params["filter"]["ENTITY_ID"], [])
            return {"result": rows, "total": len(rows)}
        if method == "crm.currency.base.get":
            return {"result": "EUR"}
        if method == "crm.currency.list":
            return {
                "result": [{"CURRENCY": "EUR", "BASE": "Y"}, {"CURRENCY": "USD", "BASE": "N"}],
                "total": 0,
            }
        if method == "crm.timeline.comment.list":
            return self.listed(self.comments, params, "ID")
        if method == "crm.timeline.comment.get":
            for row in self.comments:
                if row["ID"] == params["id"]:
                    return {"result": row}
            raise Refused("", "Not found.")
        raise Refused("ERROR_METHOD_NOT_FOUND", "Method not found!")

    def listed(self, rows: list[Any], params: Any, id_field: str, *, wrap: bool = False) -> dict[str, Any]:
        for name, bound in (params.get("filter") or {}).items():
            rows = [row for row in rows if self.matches(row, name, bound)]
        asked = params.get("order")
        order = list(asked.items()) if isinstance(asked, dict) else [(id_field, asked or "ASC")]
        for field, direction in reversed(order):
            rows = sorted(rows, key=lambda row: number(row[field]), reverse=direction == "DESC")
        start = int(params.get("start", 0))
        page = rows[max(0, start) : max(0, start) + PAGE]
        wanted = params.get("select")
        if wanted and "*" not in wanted:
            page = [{name: row[name] for name in wanted if name in row} for row in page]
        answer: dict[str, Any] = {"result": {"items": page} if wrap else page}
        if start >= 0:
            answer["total"] = len(rows)
            if start + PAGE < len(rows):
                answer["next"] = start + PAGE
        return answer

    def matches(self, row: dict[str, Any], name: str, bound: Any) -> bool:
        operator, field = OPERATOR.match(name).groups()  # type: ignore[union-attr]
        if bound == "ARRAY" or field not in row:
            raise Refused("INVALID_ARG_VALUE", f"Invalid filter: field '{field}' has invalid value")
        value = number(row[field])
        if operator == "@":
            return str(row[field]) in bound
        limit = number(bound)
        if isinstance(limit, datetime):
            limit -= self.shift
        return {
            None: value == limit,
            "=": value == limit,
            ">": value > limit,
            "<": value < limit,
            ">=": value >= limit,
            "<=": value <= limit,
        }[operator]


def number(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT.*", value):
        return datetime.fromisoformat(value)
    return int(value) if str(value).isdigit() else value


def php(query: str, values: dict[str, Any]) -> dict[str, Any]:
    """PHP's parse_str, with `$result[...]` replaced; a path that leads nowhere gives an array."""
    params: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True, strict_parsing=True):
        value: Any = text
        if match := REFERENCE.fullmatch(text):
            found: Any = values
            for part in re.findall(r"\[([^\]]+)\]", match[1]):
                try:
                    found = found[int(part)] if isinstance(found, list) else found[part]
                except (KeyError, IndexError):
                    found = "ARRAY"
                    break
            value = found
        head, *rest = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        target: Any = params
        keys = [head, *rest]
        for at, key in enumerate(keys):
            last = at == len(keys) - 1
            if key == "":
                target.append(value)
            elif last:
                target[key] = value
            else:
                target = target.setdefault(key, [] if keys[at + 1] == "" else {})
    return params


@pytest.fixture
def portal() -> Iterator[Portal]:
    fake = Portal()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(responses.POST, re.compile(r"https://[^/]+/rest/7/\w+/batch$"), fake.answer)
        fake.mock = mock  # type: ignore[attr-defined]
        yield fake


def everything(pages: Iterator[Page]) -> tuple[list[Any], Page]:
    taken = list(pages)
    assert [page.last for page in taken] == [False] * (len(taken) - 1) + [True]
    return [record for page in taken for record in page.records], taken[-1]


def ids(records: list[Any]) -> list[int]:
    return sorted(int(record.ref.id) for record in records)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 4 pages and ranges of 200 rows, so that a few hundred deals make a long walk."""
    monkeypatch.setattr(batch_module, "COMMANDS", 4)
    monkeypatch.setattr(walks_module, "ROWS_PER_RANGE", 200)


# -- walking


def test_a_full_walk_takes_one_request_per_batch_and_one_to_begin(portal, make_context, small_batches):
    for native in range(1, 1601):
        portal.deal(native)
    records, last = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == list(range(1, 1601))
    assert last.whole
    assert len(portal.requests) <= 1 + 1600 // 200 + 1


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 199, 200, 201, 2500])
def test_a_walk_ends_right_around_the_page_and_batch_size(portal, make_context, count):
    for native in range(3, 3 + count):
        portal.deal(native)
    records, last = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == list(range(3, 3 + count))
    assert last.whole
    assert len(portal.requests) <= 3


def test_sparse_ids_are_read_whole(portal, make_context, small_batches):
    wanted = [*range(1, 400), *range(50_000, 50_300), 900_000]
    for native in wanted:
        portal.deal(native)
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == wanted


def test_every_page_can_be_resumed_by_a_new_connector(portal, make_context, small_batches):
    for native in range(1, 1001):
        portal.deal(native)
    pages = list(portal.connector(make_context).read(Kind.DEAL))
    assert len(pages) > 4
    for stop in range(len(pages) - 1):
        seen = [record for page in pages[: stop + 1] for record in page.records]
        rest, last = everything(portal.connector(make_context).read(Kind.DEAL, pages[stop].cursor))
        assert set(ids(seen)) | set(ids(rest)) == set(range(1, 1001))
        assert last.whole


def test_rows_that_appear_and_vanish_meanwhile_hide_no_others(portal, make_context, small_batches):
    for native in range(10, 810):
        portal.deal(native)
    pages = portal.connector(make_context, in_flight=1).read(Kind.DEAL)
    records = list(next(pages).records)
    for native in (11, 12, 700):
        del portal.items[2][native]
    portal.deal(1)
    portal.deal(900)
    records += [record for page in pages for record in page.records]
    assert set(range(10, 810)) - {11, 12, 700} <= set(ids(records))
    assert len(ids(records)) == len(set(ids(records)))


def test_a_page_out_of_order_is_asked_for_again_and_then_refused(portal, make_context, clock):
    portal.deal(1)
    portal.deal(2)
    portal.items[2] = {1: portal.items[2][1], 2: {**portal.items[2][2], "id": 1}}
    with pytest.raises(BadAnswer, match="out of order"):
        everything(portal.connector(make_context).read(Kind.DEAL))
    assert len(portal.requests) == 1 + 5 + 5


def test_an_unknown_filter_field_is_not_taken_for_the_end(portal, make_context):
    portal.deal(1)

    def refuse(key: str, method: str, params: Any) -> None:
        if key == "p0":
            raise Refused("INVALID_ARG_VALUE", "Invalid filter: field 'updatedTime' is not allowed in filter")

    portal.faults.append(refuse)
    with pytest.raises(Rejected, match="INVALID_ARG_VALUE"):
        everything(portal.connector(make_context).read(Kind.DEAL))


def test_a_refusal_after_a_full_page_is_not_taken_for_the_end(portal, make_context):
    for native in range(1, 161):
        portal.deal(native)

    def refuse(key: str, method: str, params: Any) -> None:
        if key == "p2":
            raise Refused("invalid_arg_value", "Invalid select")

    portal.faults.append(refuse)
    with pytest.raises(Rejected):
        everything(portal.connector(make_context).read(Kind.DEAL))


def test_a_chain_that_stops_without_a_word_goes_on_where_it_stopped(portal, make_context):
    for native in range(1, 301):
        portal.deal(native)
    cut = iter([True])

    def front(request: Any, body: Any) -> Any:
        if "p3" in body["cmd"] and next(cut, False):
            answer = portal.batch(body)
            for page in range(3, 6):
                answer["result"]["result"].pop(f"p{page}")
            answer["result"]["result_error"] = []
            return 200, {}, json.dumps(answer)
        return None

    portal.fronts.append(front)
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == list(range(1, 301))


def test_only_the_fields_that_are_read_are_asked_for(portal, make_context):
    portal.deal(1)
    portal.fields[2] = {"ufCrm_17": {"type": "string", "isDynamic": True}}
    everything(portal.connector(make_context).read(Kind.DEAL))
    asked = php(portal.requests[-1]["cmd"]["p0"].partition("?")[2], {})["select"]
    assert "contactIds" in asked
    assert "ufCrm_17" in asked
    assert "*" not in asked


def test_many_custom_fields_are_asked_for_with_a_star(portal, make_context):
    portal.deal(1, ufCrm_0="x")
    portal.fields[2] = {f"ufCrm_{n}": {"type": "string", "isDynamic": True} for n in range(61)}
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL))
    asked = php(portal.requests[-1]["cmd"]["p0"].partition("?")[2], {})["select"]
    assert asked == ["*"]
    assert records[0].custom == {"ufCrm_0": "x"}


# -- increments


def test_an_increment_brings_what_changed_since_the_walk_began(portal, make_context):
    long_ago = portal.now - timedelta(days=9)
    for native in range(1, 31):
        portal.deal(native, at=long_ago)
    pages = portal.connector(make_context).read(Kind.DEAL)
    portal.deal(5, at=portal.now, title="while the walk ran")
    _, last = everything(pages)
    portal.now += timedelta(days=3)
    portal.deal(6, at=portal.now - timedelta(days=1), title="afterwards")
    records, second = everything(portal.connector(make_context).read(Kind.DEAL, last.cursor))
    assert ids(records) == [5, 6]
    assert not second.whole


def test_an_increment_that_finds_nothing_moves_the_mark_in_one_request(portal, make_context):
    portal.deal(1, at=portal.now - timedelta(days=9))
    _, last = everything(portal.connector(make_context).read(Kind.DEAL))
    portal.requests.clear()
    portal.now += timedelta(days=3)
    records, second = everything(portal.connector(make_context).read(Kind.DEAL, last.cursor))
    assert records == []
    assert len(portal.requests) == 1
    assert json.loads(second.cursor)["mark"] == portal.now.isoformat()


def test_the_mark_is_the_servers_time_before_the_first_page(portal, make_context, clock, small_batches):
    began = portal.now
    for native in range(1, 501):
        portal.deal(native)

    def later(key: str, method: str, params: Any) -> None:
        portal.now += timedelta(seconds=1)

    portal.faults.append(later)
    _, last = everything(portal.connector(make_context).read(Kind.DEAL))
    assert portal.now > began + timedelta(seconds=10)
    assert json.loads(last.cursor)["mark"] == began.isoformat()


def test_a_bulk_edit_in_one_second_is_read_whole_and_resumable(portal, make_context, small_batches):
    _, first = everything(portal.connector(make_context).read(Kind.DEAL))
    portal.now += timedelta(days=3)
    for native in range(1, 701):
        portal.deal(native)
    pages = list(portal.connector(make_context).read(Kind.DEAL, first.cursor))
    seen = ids(pages[0].records)
    rest, last = everything(portal.connector(make_context).read(Kind.DEAL, pages[0].cursor))
    assert set(seen) | set(ids(rest)) == set(range(1, 701))
    assert not last.whole


@pytest.mark.parametrize("hours", [-26, -9, 0, 9, 26])
def test_a_shifted_bound_loses_nothing_when_the_shift_is_unknown(portal, make_context, hours):
    portal.shift = timedelta(hours=hours)
    _, last = everything(portal.connector(make_context).read(Kind.DEAL))
    portal.deal(1, at=portal.now)
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL, last.cursor))
    assert ids(records) == [1]


def test_a_known_shift_keeps_the_overlap_small_and_right(portal, make_context):
    portal.shift = timedelta(hours=-9)
    _, last = everything(portal.connector(make_context, zone_shift_minutes=-540).read(Kind.DEAL))
    portal.deal(1, at=portal.now)
    portal.deal(2, at=portal.now - timedelta(hours=3))
    records, _ = everything(
        portal.connector(make_context, zone_shift_minutes=-540).read(Kind.DEAL, last.cursor)
    )
    assert ids(records) == [1]


@pytest.mark.parametrize("minutes", [-540, -15, 0, 330])
def test_the_shift_can_be_measured(portal, make_context, minutes):
    portal.shift = timedelta(minutes=minutes)
    portal.deal(1, at=portal.now - timedelta(days=1))
    portal.deal(2)
    assert portal.connector(make_context).measure_zone_shift() == minutes


def test_a_shift_beyond_the_measured_range_is_not_guessed(portal, make_context):
    portal.shift = timedelta(hours=20)
    portal.deal(1)
    assert portal.connector(make_context).measure_zone_shift() is None


def test_deletions_show_only_as_absence_from_a_complete_read(portal, make_context):
    portal.deal(1)
    portal.deal(2)
    everything(portal.connector(make_context).read(Kind.DEAL))
    del portal.items[2][1]
    records, last = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == [2]
    assert last.whole
    assert Bitrix24Connector.capabilities.deletions[Kind.DEAL] is Evidence.ABSENT


# -- limits and failures


def test_the_work_limit_inside_a_batch_waits_for_its_reset_and_goes_on(portal, make_context, clock):
    for native in range(1, 301):
        portal.deal(native)
    refusals = iter([True, True])

    def refuse(key: str, method: str, params: Any) -> None:
        if key in ("p2", "p0") and len(portal.requests) > 1 and next(refusals, False):
            raise Refused("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.")

    portal.faults.append(refuse)
    clock._now = portal.now
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == list(range(1, 301))
    assert sum(clock.slept) >= 600


def test_the_work_limit_of_a_whole_request_waits_a_minute_when_no_reset_is_known(portal, make_context, clock):
    portal.deal(1)
    refusals = iter([True])

    def front(request: Any, body: Any) -> Any:
        if next(refusals, False):
            body = {"error": "OPERATION_TIME_LIMIT", "error_description": "Method is blocked"}
            return 429, {}, json.dumps(body)
        return None

    portal.fronts.append(front)
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == [1]
    assert 60 <= sum(clock.slept) < 62


def test_a_method_near_its_work_limit_is_left_alone_until_the_reset(portal, make_context, clock):
    portal.operating["crm.item.list"] = 450.0
    clock._now = portal.now
    portal.deal(1)
    everything(portal.connector(make_context).read(Kind.DEAL))
    assert sum(clock.slept) == pytest.approx(600)


def test_batches_are_left_alone_too_where_they_are_what_the_portal_charges(portal, make_context, clock):
    portal.operating["batch"] = 450.0
    clock._now = portal.now
    portal.deal(1)
    everything(portal.connector(make_context).read(Kind.DEAL))
    assert sum(clock.slept) == pytest.approx(600)


def test_the_work_limit_is_waited_for_also_where_no_limits_are_kept(portal, make_context, clock):
    portal.mock.add_callback(responses.POST, re.compile(r"http://127.*/batch$"), portal.answer)
    portal.deal(1)
    refusals = iter([True, True])

    def refuse(key: str, method: str, params: Any) -> None:
        if key == "p0" and next(refusals, False):
            raise Refused("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.")

    portal.faults.append(refuse)
    clock._now = portal.now
    context = make_context("b24", webhook_url="http://127.0.0.1:8104/rest/7/abc/")
    unpaced = Context("b24", context.secrets, clock=clock, pace=False)
    records, _ = everything(Bitrix24Connector(unpaced, Bitrix24Options()).read(Kind.DEAL))
    assert ids(records) == [1]
    assert sum(clock.slept) >= 600


def test_a_portal_without_a_work_limit_is_not_waited_for(portal, make_context, clock):
    portal.operating["crm.item.list"] = 450.0
    portal.deal(1)
    everything(portal.connector(make_context, work_limit_seconds=0).read(Kind.DEAL))
    assert clock.slept == []


@pytest.mark.parametrize("code", ["QUERY_LIMIT_EXCEEDED", "overload_limit"])
def test_a_rate_refusal_is_waited_out(portal, make_context, clock, code):
    portal.deal(1)
    refusals = iter([True] * 7)

    def front(request: Any, body: Any) -> Any:
        if next(refusals, False):
            return 503, {}, json.dumps({"error": code, "error_description": "Too many requests"})
        return None

    portal.fronts.append(front)
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == [1]
    assert sum(clock.slept) >= 1 + 2 + 4 + 8 + 16 + 32 + 60


def test_the_rate_limit_of_the_plan_is_kept_on_this_side(portal, make_context, clock):
    connector = portal.connector(make_context)
    for _ in range(60):
        connector.check()
    assert sum(clock.slept) == pytest.approx((60 - 45) / 1.8, abs=1)


def test_enterprise_portals_may_be_asked_more_often(portal, make_context, clock):
    connector = portal.connector(make_context, enterprise=True)
    for _ in range(60):
        connector.check()
    assert clock.slept == []


def test_a_html_page_of_an_overloaded_front_end_is_retried(portal, make_context):
    portal.deal(1)
    answers = iter([(502, "<html>Bad gateway</html>"), (200, "<html>busy</html>")])

    def front(request: Any, body: Any) -> Any:
        status, text = next(answers, (0, ""))
        return (status, {"Content-Type": "text/html"}, text) if status else None

    portal.fronts.append(front)
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == [1]


@pytest.mark.parametrize("method", ["crm.item.list", "crm.item.fields"])
@pytest.mark.parametrize("odd", [None, "text", {"other": 1}])
def test_a_result_of_the_wrong_shape_is_asked_for_again(portal, make_context, method, odd):
    portal.deal(1)
    wrong = iter([True])

    def front(request: Any, body: Any) -> Any:
        answer = portal.batch(body)
        if next(wrong, False):
            for key, text in body["cmd"].items():
                if text.startswith(method):
                    answer["result"]["result"][key] = odd
        return 200, {}, json.dumps(answer)

    portal.fronts.append(front)
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL))
    assert ids(records) == [1]


def test_a_lasting_html_page_is_a_typed_error(portal, make_context):
    portal.fronts.append(lambda request, body: (200, {"Content-Type": "text/html"}, "<html>busy</html>"))
    with pytest.raises((BadAnswer, IncompleteRead)):
        portal.connector(make_context).check()


def test_batches_shrink_when_the_portal_is_slow_and_grow_again(portal, make_context):
    for native in range(1, 1501):
        portal.deal(native)
    portal.duration = 50.0
    records, _ = everything(portal.connector(make_context).read(Kind.DEAL))
    sizes = [len(body["cmd"]) for body in portal.requests]
    assert ids(records) == list(range(1, 1501))
    assert max(sizes[1:]) <= 3
    portal.requests.clear()
    connector = portal.connector(make_context, in_flight=1)
    pages = connector.read(Kind.DEAL)
    portal.duration = 30.0
    next(pages)
    portal.duration = 0.5
    list(pages)
    sizes = [len(body["cmd"]) for body in portal.requests]
    assert sizes[1] < sizes[2] < sizes[3]


def test_a_batch_that_times_out_is_tried_again_smaller(portal, make_context):
    for native in range(1, 1001):
        portal.deal(native)

    def front(request: Any, body: Any) -> Any:
        return (504, {}, "<html>gateway timeout</html>") if len(body["cmd"]) > 10 else None

    portal.fronts.append(front)
    records, _ = everything(portal.connector(make_context, in_flight=1).read(Kind.DEAL))
    assert ids(records) == list(range(1, 1001))


def test_a_portal_that_is_down_is_given_up(portal, make_context):
    portal.deal(1)
    portal.fronts.append(lambda request, body: (500, {}, '{"error":"INTERNAL_SERVER_ERROR"}'))
    with pytest.raises(ServerFault):
        everything(portal.connector(make_context).read(Kind.DEAL))
    assert len(portal.requests) <= 10


def test_a_command_that_fails_for_a_moment_is_repeated_alone(portal, make_context):
    portal.comments = []
    failures = iter([True])

    def fail(key: str, method: str, params: Any) -> None:
        if method == "crm.currency.base.get" and next(failures, False):
            raise Refused("INTERNAL_SERVER_ERROR", "", 500)

    portal.faults.append(fail)
    assert portal.connector(make_context).check().base_currency == "EUR"
    assert [len(body["cmd"]) for body in portal.requests] == [6, 1]


# -- credentials, addresses, secrets


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "INVALID_CREDENTIALS"),
        (403, "invalid_credentials"),
        (401, "NO_AUTH_FOUND"),
        (401, "expired_token"),
        (500, "PORTAL_DELETED"),
        (401, "PAYMENT_REQUIRED"),
    ],
)
def test_refused_credentials_are_told_by_code_not_by_status(portal, make_context, status, code):
    portal.fronts.append(lambda request, body: (status, {}, json.dumps({"error": code})))
    with pytest.raises(AccessDenied, match=f"(?i){code}"):
        portal.connector(make_context).check()
    assert len(portal.requests) == 1


def test_check_describes_the_portal_in_one_request(portal, make_context):
    workspace = portal.connector(make_context).check()
    assert workspace.id == HOST
    assert workspace.base_currency == "EUR"
    assert workspace.currencies == ("EUR", "USD")
    assert workspace.time_zone == "UTC"
    assert workspace.server_time == datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    assert workspace.limits["per_second"] == 2
    assert workspace.user == "Ada L (user 7), administrator"
    assert len(portal.requests) == 1


def test_check_says_when_the_user_is_no_administrator(portal, make_context):
    portal.admin = False
    assert "not an administrator" in str(portal.connector(make_context).check().user)


def test_all_missing_scopes_are_named_at_once(portal, make_context):
    portal.scopes = set()
    with pytest.raises(MissingScope, match=r"crm \(.*pipelines.*\), user_basic"):
        portal.connector(make_context).check()


def test_a_scope_that_is_missing_inside_a_batch_stops_a_read(portal, make_context):
    portal.scopes = {"crm"}
    with pytest.raises(MissingScope):
        everything(portal.connector(make_context).read(Kind.OWNER))


def test_a_renamed_portal_is_posted_to_again_at_its_new_host(portal, make_context):
    portal.deal(1)

    def front(request: Any, body: Any) -> Any:
        if HOST in request.url:
            return 302, {"Location": "https://renamed.bitrix24.com/rest/"}, ""
        return None

    portal.fronts.append(front)
    connector = portal.connector(make_context)
    records, _ = everything(connector.read(Kind.DEAL))
    assert ids(records) == [1]
    assert records[0].url == "https://renamed.bitrix24.com/crm/deal/details/1/"
    assert [HOST in url for url in portal.urls] == [True, False, False]
    assert portal.urls[1] == f"https://renamed.bitrix24.com/rest/7/{CODE}/batch"


@pytest.mark.parametrize(
    "location",
    ["https://evil.example/rest/", "http://acme2.bitrix24.com/rest/", "https://bitrix24.com.evil.example/"],
)
def test_a_redirect_never_carries_credentials_to_a_foreign_host(portal, make_context, location):
    portal.fronts.append(lambda request, body: (302, {"Location": location}, ""))
    with pytest.raises(ConfigError) as caught:
        portal.connector(make_context).check()
    assert CODE not in str(caught.value)
    assert len(portal.urls) == 1


def test_redirects_in_circles_end(portal, make_context):
    portal.fronts.append(lambda request, body: (302, {"Location": f"https://{HOST}/"}, ""))
    with pytest.raises(ConfigError, match="circles"):
        portal.connector(make_context).check()
    assert len(portal.urls) == 3


def chain_of(error: BaseException | None) -> str:
    texts = []
    while error is not None:
        texts += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_no_error_quotes_the_webhook(portal, make_context):
    def answers() -> Iterator[Any]:
        yield requests.ConnectionError(f"Max retries exceeded with url: /rest/7/{CODE}/batch")
        yield (400, {}, json.dumps({"error": "", "error_description": f"bad call /rest/7/{CODE}/batch"}))
        yield (401, {}, json.dumps({"error": "INVALID_CREDENTIALS", "error_description": CODE * 200}))
        yield (200, {}, f"<html>{CODE}")

    for answer in answers():
        portal.fronts[:] = [lambda request, body, answer=answer: raised(answer)]
        with pytest.raises(CrmkitError) as caught:
            portal.connector(make_context).check()
        assert CODE not in chain_of(caught.value)
        assert len(str(caught.value)) < 500


def raised(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_the_transport_log_holds_no_credentials(portal, make_context, caplog):
    connector = portal.connector(make_context)
    connector.check()
    with caplog.at_level("DEBUG", logger="urllib3.connectionpool"):
        logging.getLogger("urllib3.connectionpool").debug("POST /rest/7/%s/batch", CODE)
    connector.close()
    assert CODE not in caplog.text


def test_labels_hold_no_credentials(portal, make_context):
    context = make_context("b24", webhook_url=WEBHOOK)
    Bitrix24Connector(context, Bitrix24Options()).check()
    assert context.usage.by_path == {"POST /rest/batch": 1}


@pytest.mark.parametrize(
    "url",
    [
        "https://acme.bitrix24.com/",
        "acme.bitrix24.com/rest/7/abc/",
        "https://acme.bitrix24.com/rest/abc/",
        "https://user:pass@acme.bitrix24.com/rest/7/abc123/",
        "http://acme.bitrix24.com/rest/7/abc123/",
        "https://acme.example/rest/7/abc123/",
        "https://acme.bitrix24.com.evil.example/rest/7/abc123/",
        "https://acme.bitrix24.evil/rest/7/abc123/",
    ],
)
def test_an_address_that_may_not_get_the_credential_is_refused_unquoted(portal, make_context, url):
    connector = Bitrix24Connector(make_context("b24", webhook_url=url), Bitrix24Options())
    with pytest.raises(ConfigError) as caught:
        connector.check()
    assert "abc123" not in chain_of(caught.value)
    assert portal.requests == []


@pytest.mark.parametrize(
    ("url", "options", "root"),
    [
        (WEBHOOK + "profile.json", {}, f"https://{HOST}"),
        ("https://crm.acme.example/rest/7/abc/", {"portal": "crm.acme.example"}, "https://crm.acme.example"),
        ("http://127.0.0.1:8104/rest/7/abc/", {}, "http://127.0.0.1:8104"),
        (WEBHOOK, {"base_url": "http://127.0.0.1:8104"}, "http://127.0.0.1:8104"),
    ],
)
def test_addresses_that_may_get_the_credential(portal, make_context, url, options, root):
    portal.mock.add_callback(responses.POST, re.compile(r"http://127.*/batch$"), portal.answer)
    connector = Bitrix24Connector(make_context("b24", webhook_url=url), Bitrix24Options(**options))
    connector.check()
    assert portal.urls[0].startswith(root + "/rest/7/")


# -- OAuth


class TokenEndpoint:
    def __init__(self, portal: Portal) -> None:
        self.asked: list[dict[str, str]] = []
        self.answer: tuple[int, dict[str, Any]] | None = None
        self.valid = "token0"
        portal.mock.add_callback(responses.POST, "https://oauth.bitrix.info/oauth/token/", self.token)
        portal.mock.add_callback(responses.POST, f"https://{HOST}/rest/batch", portal.answer)
        portal.fronts.append(self.guard)

    def token(self, request: Any) -> tuple[int, dict[str, str], str]:
        self.asked.append(dict(parse_qsl(request.body)))
        if self.answer:
            return self.answer[0], {}, json.dumps(self.answer[1])
        self.valid = f"token{len(self.asked)}"
        body = {
            "access_token": self.valid,
            "refresh_token": f"refresh{len(self.asked)}",
            "expires_in": 3600,
            "domain": "oauth.bitrix.info",
        }
        return 200, {}, json.dumps(body)

    def guard(self, request: Any, body: dict[str, Any]) -> Any:
        if body.get("auth") != self.valid:
            return 401, {}, json.dumps({"error": "expired_token", "error_description": "expired"})
        return None


def oauth(make_context: Callable[..., Context], **secrets: str) -> Bitrix24Connector:
    context = make_context(
        "b24", client_id="id1", client_secret="cs3cret", refresh_token="refresh0", **secrets
    )
    return Bitrix24Connector(context, Bitrix24Options(auth="oauth", portal=HOST))


def test_the_token_goes_into_the_body_and_is_renewed_only_after_a_refusal(portal, make_context, clock):
    endpoint = TokenEndpoint(portal)
    connector = oauth(make_context, access_token="token0")
    connector.check()
    clock.sleep(10_000, connector.context.cancelled)
    connector.check()
    assert endpoint.asked == []
    endpoint.valid = "other"
    connector.check()
    assert [asked["refresh_token"] for asked in endpoint.asked] == ["refresh0"]
    assert all("token" not in url for url in portal.urls)


def test_a_rotated_refresh_token_is_stored_before_the_access_token(portal, make_context):
    TokenEndpoint(portal)
    connector = oauth(make_context)
    connector.check()
    stored = connector.context.secrets.stored
    assert stored[0] == ("refresh_token", "refresh1")
    assert [name for name, _ in stored] == ["refresh_token", "refresh_token_ends", "access_token"]


def test_one_thread_renews_an_expired_token_for_all(portal, make_context, small_batches):
    endpoint = TokenEndpoint(portal)
    for native in range(1, 1601):
        portal.deal(native)
    expired = iter([True])

    def expire(request: Any, body: dict[str, Any]) -> Any:
        if len(portal.requests) == 4 and next(expired, False):
            endpoint.valid = "gone"
        return None

    portal.fronts.insert(0, expire)
    records, _ = everything(oauth(make_context, access_token="token0").read(Kind.DEAL))
    assert ids(records) == list(range(1, 1601))
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"error": "wrong_client"}),
        (400, {"error": "invalid_grant"}),
        (401, {"error": "NOT_INSTALLED"}),
        (403, {"error": "invalid_scope"}),
        (200, {"error": "", "error_description": "something"}),
        (200, {}),
    ],
)
def test_a_refused_renewal_asks_for_a_new_login(portal, make_context, status, body):
    endpoint = TokenEndpoint(portal)
    endpoint.answer = (status, body)
    with pytest.raises(AccessDenied) as caught:
        oauth(make_context, access_token="old").check()
    assert "cs3cret" not in chain_of(caught.value)
    assert len(endpoint.asked) == 1


def test_a_token_endpoint_that_moved_is_asked_at_its_new_address(portal, make_context):
    endpoint = TokenEndpoint(portal)
    moved = "https://oauth.bitrix24.tech/oauth/token/"
    portal.mock.add_callback(responses.POST, moved, endpoint.token)
    portal.mock.replace(
        responses.CallbackResponse(
            responses.POST,
            "https://oauth.bitrix.info/oauth/token/",
            callback=lambda request: (302, {"Location": moved}, ""),
        )
    )
    oauth(make_context).check()
    assert [asked["refresh_token"] for asked in endpoint.asked] == ["refresh0"]
    assert {url.rpartition("/rest/")[0] for url in portal.urls} == {f"https://{HOST}"}


def test_a_token_endpoint_that_moved_elsewhere_gets_no_secrets(portal, make_context):
    endpoint = TokenEndpoint(portal)
    portal.mock.replace(
        responses.CallbackResponse(
            responses.POST,
            "https://oauth.bitrix.info/oauth/token/",
            callback=lambda request: (302, {"Location": "https://evil.example/oauth/token/"}, ""),
        )
    )
    with pytest.raises(ConfigError, match=r"evil\.example"):
        oauth(make_context).check()
    assert endpoint.asked == []


def test_other_refusals_do_not_renew_the_token(portal, make_context):
    endpoint = TokenEndpoint(portal)
    portal.fronts.insert(0, lambda request, body: (401, {}, '{"error":"invalid_token"}'))
    with pytest.raises(AccessDenied):
        oauth(make_context, access_token="token0").check()
    assert endpoint.asked == []


def test_oauth_needs_the_portal(make_context):
    context = make_context("b24", refresh_token="r")
    with pytest.raises(ConfigError, match="portal"):
        Bitrix24Connector(context, Bitrix24Options(auth="oauth")).check()


# -- what is read


def one_deal(portal: Portal, make_context: Callable[..., Context], **fields: Any) -> Deal:
    portal.deal(41, **fields)
    records, last = everything(portal.connector(make_context).read(Kind.DEAL))
    assert not last.unreadable
    return records[0]


def test_a_deal_is_read_with_everything_it_holds(portal, make_context):
    deal = one_deal(
        portal,
        make_context,
        title="Renewal",
        stageId="C7:EXECUTING",
        categoryId=7,
        companyId=88,
        contactId=301,
        contactIds=[305, 301],
        opportunity=12500.55,
        probability=60,
        closedate="2026-10-01T03:00:00+03:00",
        createdTime="2026-09-01T10:02:11+03:00",
        updatedTime="2026-09-20T08:00:00+03:00",
        movedTime="2026-09-19T17:31:05+03:00",
        lastActivityTime="2026-09-20T07:00:00+03:00",
        sourceId="WEB",
        originatorId="crmkit:hubspot:41",
        originId="9001",
    )
    assert deal == Deal(
        ref=Ref("b24", Kind.DEAL, "41"),
        name="Renewal",
        pipeline_id="7",
        stage_id="C7:EXECUTING",
        outcome=Outcome.OPEN,
        amount=Decimal("12500.55"),
        currency="EUR",
        probability=Decimal("0.6"),
        owner_id="1",
        companies=("88",),
        contacts=({"id": "301", "primary": True}, {"id": "305"}),
        expected_close=date(2026, 10, 1),
        created_at=datetime(2026, 9, 1, 7, 2, 11, tzinfo=UTC),
        modified_at=datetime(2026, 9, 20, 5, 0, tzinfo=UTC),
        stage_entered_at=datetime(2026, 9, 19, 14, 31, 5, tzinfo=UTC),
        last_activity_at=datetime(2026, 9, 20, 4, 0, tzinfo=UTC),
        source="WEB",
        url=f"https://{HOST}/crm/deal/details/41/",
        key="hubspot:41:9001",
        version="2026-09-20T05:00:00+00:00",
    )


@pytest.mark.parametrize(
    ("semantic", "outcome", "lost_kind"),
    [("P", Outcome.OPEN, None), ("S", Outcome.WON, None), ("F", Outcome.LOST, LostKind.LOST)],
)
def test_the_outcome_is_the_stages_semantics_and_the_close_its_last_move(
    portal, make_context, semantic, outcome, lost_kind
):
    closed = "N" if semantic == "P" else "Y"
    deal = one_deal(
        portal,
        make_context,
        stageId="NOWHERE",
        stageSemanticId=semantic,
        closed=closed,
        movedTime="2026-11-01T10:00:00+01:00",
    )
    assert (deal.outcome, deal.lost_kind, deal.stage_id) == (outcome, lost_kind, "NOWHERE")
    assert deal.closed_at == (None if closed == "N" else datetime(2026, 11, 1, 9, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("printed", "day"),
    [
        ("2026-10-01T03:00:00+03:00", date(2026, 10, 1)),
        ("2026-10-01T00:00:00+03:00", date(2026, 10, 1)),
        ("2026-09-30T19:00:00-05:00", date(2026, 10, 1)),
        ("2026-10-01", date(2026, 10, 1)),
        ("", None),
        (None, None),
    ],
)
def test_a_close_date_is_the_same_day_in_every_zone(portal, make_context, printed, day):
    assert one_deal(portal, make_context, closedate=printed).expected_close == day


@pytest.mark.parametrize("none", [0, None, "0"])
def test_no_company_and_no_contact_come_in_several_spellings(portal, make_context, none):
    deal = one_deal(portal, make_context, companyId=none, contactId=none, contactIds=[])
    assert (deal.companies, deal.contacts) == ((), ())


def test_an_unknown_amount_is_not_zero(portal, make_context):
    assert one_deal(portal, make_context, opportunity=None).amount is None
    assert one_deal(portal, make_context, opportunity=0).amount == Decimal(0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("opportunity", "abc"),
        ("probability", 250),
        ("closedate", "soon"),
        ("updatedTime", "yesterday"),
        ("stageSemanticId", "X"),
        ("title", 7),
        ("ufCrm_1", "many"),
    ],
)
def test_an_impossible_value_spoils_its_own_record_only(portal, make_context, field, value):
    portal.fields[2] = {"ufCrm_1": {"type": "integer", "isDynamic": True}}
    portal.deal(1)
    portal.deal(2, **{field: value})
    portal.deal(3)
    (page,) = portal.connector(make_context).read(Kind.DEAL)
    assert ids(list(page.records)) == [1, 3]
    assert [(one.ref.id, one.field) for one in page.unreadable] == [("2", field)]


@pytest.mark.parametrize(
    "name", ["title", "stageId", "categoryId", "opportunity", "currencyId", "assignedById", "updatedTime"]
)
def test_a_field_that_the_portal_left_out_is_not_taken_for_an_empty_one(portal, make_context, name):
    del portal.deal(1)[name]
    (page,) = portal.connector(make_context).read(Kind.DEAL)
    assert [(one.ref.id, one.field, one.reason) for one in page.unreadable] == [("1", name, "is missing")]


def test_a_deal_that_says_neither_its_stage_group_nor_whether_it_is_closed_is_not_taken_for_open(
    portal, make_context
):
    row = portal.deal(1)
    del row["stageSemanticId"], row["closed"]
    (page,) = portal.connector(make_context).read(Kind.DEAL)
    assert [one.field for one in page.unreadable] == ["closed"]


def test_a_closed_deal_that_does_not_say_how_it_ended_is_set_aside(portal, make_context):
    portal.deal(1, closed="Y", stageSemanticId=None)
    (page,) = portal.connector(make_context).read(Kind.DEAL)
    assert [one.field for one in page.unreadable] == ["stageSemanticId"]


@pytest.mark.parametrize(
    ("originator", "origin", "key"),
    [
        ("crmkit:close", "oppo_1", "close:oppo_1"),
        ("1C", "77", None),
        ("crmkit:x", None, None),
        (None, "5", None),
    ],
)
def test_the_key_is_ours_only_with_our_prefix(portal, make_context, originator, origin, key):
    assert one_deal(portal, make_context, originatorId=originator, originId=origin).key == key


def test_companies_and_contacts_come_with_phones_and_addresses(portal, make_context):
    fm = [
        {"id": 1, "typeId": "PHONE", "valueType": "WORK", "value": "+44 1"},
        {"id": 2, "typeId": "EMAIL", "valueType": "WORK", "value": "ada@example.org"},
        {"id": 3, "typeId": "WEB", "valueType": "WORK", "value": "https://www.Example.org/x"},
        {"id": 4, "typeId": "EMAIL", "valueType": "HOME", "value": "ada@example.org"},
    ]
    common = {"createdTime": portal.now.isoformat(), "updatedTime": portal.now.isoformat(), "assignedById": 5}
    portal.items[4][88] = {"id": 88, "title": "Acme", "fm": fm, **common}
    portal.items[3][301] = {
        "id": 301,
        "name": "Ada",
        "lastName": "Lovelace",
        "companyId": 88,
        "companyIds": [90, 88],
        "fm": {str(one["id"]): one for one in fm},
        **common,
    }
    connector = portal.connector(make_context)
    (company,), _ = everything(connector.read(Kind.COMPANY))
    (contact,), _ = everything(connector.read(Kind.CONTACT))
    assert (company.name, company.domain, company.phones) == ("Acme", "example.org", ("+44 1",))
    assert (contact.name, contact.emails, contact.phones) == (
        "Ada Lovelace",
        ("ada@example.org",),
        ("+44 1",),
    )
    assert contact.companies == ("88", "90")
    assert contact.owner_id == "5"


def test_pipelines_come_with_their_own_stage_directories(portal, make_context):
    portal.categories.append({"id": 12, "name": "Partners", "sort": 200})
    portal.statuses["DEAL_STAGE"] = [
        {"STATUS_ID": "WON", "NAME": "Signed", "SORT": "60", "SEMANTICS": "S"},
        {"STATUS_ID": "NEW", "NAME": "New", "SORT": "10", "SEMANTICS": None},
        {
            "STATUS_ID": "APOLOGY",
            "NAME": "?",
            "SORT": "80",
            "SEMANTICS": "F",
            "EXTRA": {"SEMANTICS": "apology"},
        },
    ]
    portal.statuses["DEAL_STAGE_12"] = [
        {"STATUS_ID": "C12:PREPAYMENT_INVOIC", "NAME": "Prepaid", "SORT": "30", "SEMANTICS": ""}
    ]
    records, last = everything(portal.connector(make_context).read(Kind.PIPELINE))
    assert [(one.ref.id, one.name, one.order) for one in records] == [
        ("0", "General", 300),
        ("12", "Partners", 200),
    ]
    assert [(stage.id, stage.outcome) for stage in records[0].stages] == [
        ("NEW", Outcome.OPEN),
        ("WON", Outcome.WON),
        ("APOLOGY", Outcome.LOST),
    ]
    assert [stage.id for stage in records[1].stages] == ["C12:PREPAYMENT_INVOIC"]
    assert last.whole
    assert len(portal.requests) == 2
    again, second = everything(portal.connector(make_context).read(Kind.PIPELINE, last.cursor))
    assert again == records
    assert second.whole


def user(native: int, **fields: Any) -> dict[str, Any]:
    return {"ID": str(native), "ACTIVE": True, "NAME": "N", "LAST_NAME": str(native), **fields}


def test_owners_include_dismissed_people_and_may_lack_addresses(portal, make_context):
    portal.users = [user(1, EMAIL="a@example.org"), user(2, ACTIVE=False)]
    records, last = everything(portal.connector(make_context).read(Kind.OWNER))
    assert [(one.ref.id, one.email, one.active) for one in records] == [
        ("1", "a@example.org", True),
        ("2", None, False),
    ]
    assert last.whole


def test_more_than_a_page_of_owners_takes_two_requests(portal, make_context):
    portal.users = [user(native) for native in range(1, 331)]
    records, _ = everything(portal.connector(make_context).read(Kind.OWNER))
    assert ids(records) == list(range(1, 331))
    assert len(portal.requests) == 2


def test_fewer_owners_than_promised_are_an_incomplete_read(portal, make_context):
    portal.users = [user(native) for native in range(1, 101)]

    def front(request: Any, body: Any) -> Any:
        answer = portal.batch(body)
        answer["result"]["result"] = {key: rows[:-1] for key, rows in answer["result"]["result"].items()}
        return 200, {}, json.dumps(answer)

    portal.fronts.append(front)
    with pytest.raises(IncompleteRead, match="of 100"):
        everything(portal.connector(make_context).read(Kind.OWNER))


@pytest.mark.parametrize("total", [0, 51])
def test_a_list_that_counts_wrongly_is_read_to_its_end(portal, make_context, total):
    portal.users = [user(native) for native in range(1, 161)]

    def front(request: Any, body: Any) -> Any:
        answer = portal.batch(body)
        answer["result"]["result_total"] = dict.fromkeys(answer["result"]["result"], total)
        return 200, {}, json.dumps(answer)

    portal.fronts.append(front)
    records, _ = everything(portal.connector(make_context).read(Kind.OWNER))
    assert ids(records) == list(range(1, 161))


def test_a_comment_that_vanishes_between_two_pages_hides_no_other(portal, make_context):
    portal.deal(1)
    portal.comments = [comment(native, 1) for native in range(1, 121)]
    vanishing = iter([True])

    def vanish(key: str, method: str, params: Any) -> None:
        if params.get("start") == "50" and next(vanishing, False):
            del portal.comments[:10]

    portal.faults.append(vanish)
    records, _ = everything(portal.connector(make_context).read(Kind.NOTE))
    assert set(ids(records)) >= set(range(11, 121))


def comment(native: int, deal: int) -> dict[str, Any]:
    return {
        "ID": str(native),
        "ENTITY_ID": str(deal),
        "ENTITY_TYPE": "deal",
        "CREATED": "2026-10-01T09:00:00+03:00",
        "COMMENT": f"text {native}",
        "AUTHOR_ID": "12",
    }


def test_notes_are_read_fifty_deals_a_batch(portal, make_context):
    for native in range(1, 131):
        portal.deal(native)
    portal.comments = [comment(native, 1 + native % 130) for native in range(1, 261)]
    portal.comments += [comment(native, 7) for native in range(1000, 1120)]
    records, last = everything(portal.connector(make_context).read(Kind.NOTE))
    assert ids(records) == [*range(1, 261), *range(1000, 1120)]
    first = min(records, key=lambda note: int(note.ref.id))
    assert (first.deal_id, first.text, first.author_id) == ("2", "text 1", "12")
    assert first.at == datetime(2026, 10, 1, 6, 0, tzinfo=UTC)
    assert last.whole
    assert len(portal.requests) == 1 + 1 + 3 + 1


def test_a_read_of_notes_can_be_resumed_after_every_page(portal, make_context):
    for native in range(1, 171):
        portal.deal(native)
    portal.comments = [comment(native, native) for native in range(1, 171)]
    pages = list(portal.connector(make_context).read(Kind.NOTE))
    for stop in range(len(pages) - 1):
        seen = ids([note for page in pages[: stop + 1] for note in page.records])
        rest, last = everything(portal.connector(make_context).read(Kind.NOTE, pages[stop].cursor))
        assert set(seen) | set(ids(rest)) == set(range(1, 171))
        assert last.whole


def stages_of(changes: list[StageChange], deal: int) -> list[tuple[str | None, str]]:
    mine = [one for one in changes if one.deal_id == str(deal)]
    return [(one.from_stage_id, one.to_stage_id) for one in sorted(mine, key=lambda one: int(one.ref.id))]


def many_changes(portal: Portal) -> None:
    """300 deals with four changes each, a deal's changes far apart from each other."""
    stages = ("NEW", "PREPARATION", "EXECUTING", "WON")
    for round_, stage in enumerate(stages):
        for deal in range(1, 301):
            portal.change(round_ * 300 + deal, deal, stage, kind=1 if stage == "NEW" else 2)


WHOLE_PATH = [(None, "NEW"), ("NEW", "PREPARATION"), ("PREPARATION", "EXECUTING"), ("EXECUTING", "WON")]


@pytest.mark.parametrize("in_flight", [1, 4])
def test_stage_changes_know_where_a_deal_came_from(portal, make_context, small_batches, in_flight):
    many_changes(portal)
    connector = portal.connector(make_context, in_flight=in_flight)
    changes, last = everything(connector.read(Kind.STAGE_CHANGE))
    assert len(changes) == 1200
    assert all(stages_of(changes, deal) == WHOLE_PATH for deal in range(1, 301))
    assert last.whole


def test_a_read_of_stage_changes_can_be_resumed_after_every_page(portal, make_context, small_batches):
    many_changes(portal)
    pages = list(portal.connector(make_context).read(Kind.STAGE_CHANGE))
    for stop in range(len(pages) - 1):
        seen = [one for page in pages[: stop + 1] for one in page.records]
        rest, _ = everything(portal.connector(make_context).read(Kind.STAGE_CHANGE, pages[stop].cursor))
        unique = list({one.ref: one for one in [*seen, *rest]}.values())
        assert all(stages_of(unique, deal) == WHOLE_PATH for deal in range(1, 301))


def test_an_increment_of_stage_changes_goes_back_over_what_was_not_settled(portal, make_context):
    portal.change(1, 5, "NEW", kind=1, at=portal.now - timedelta(hours=2))
    portal.change(2, 5, "PREPARATION", at=portal.now - timedelta(hours=1))
    portal.change(5, 5, "WON", at=portal.now - timedelta(seconds=5))
    _, last = everything(portal.connector(make_context).read(Kind.STAGE_CHANGE))
    # Number 4 was taken before number 5 and committed after the first read.
    portal.change(4, 6, "NEW", kind=1, at=portal.now - timedelta(seconds=6))
    portal.now += timedelta(hours=1)
    changes, second = everything(portal.connector(make_context).read(Kind.STAGE_CHANGE, last.cursor))
    assert ids(changes) == [4, 5]
    assert stages_of(changes, 5) == [("PREPARATION", "WON")]
    assert not second.whole
    none, _ = everything(portal.connector(make_context).read(Kind.STAGE_CHANGE, second.cursor))
    assert none == []


def test_history_gives_whole_paths_of_the_deals_asked_for(portal, make_context):
    many_changes(portal)
    refs = [Ref("b24", Kind.DEAL, str(deal)) for deal in range(1, 101)]
    blocks = list(portal.connector(make_context).history(refs))
    assert len(blocks) == 100
    assert all([(one.from_stage_id, one.to_stage_id) for one in block] == WHOLE_PATH for block in blocks)
    assert len(portal.requests) == 1


def test_a_long_history_is_read_past_the_page_size(portal, make_context):
    for native in range(1, 176):
        portal.change(native, 9, f"S{native % 2}", kind=2 if native > 1 else 1)
    (changes,) = portal.connector(make_context).history([Ref("b24", Kind.DEAL, "9")])
    assert ids(list(changes)) == list(range(1, 176))


def test_get_takes_one_request_for_many_records_and_leaves_out_missing_ones(portal, make_context):
    for native in range(1, 131):
        portal.deal(native)
    refs = [Ref("b24", Kind.DEAL, str(native)) for native in (*range(130, 0, -1), 999, 130)]
    refs.append(Ref("b24", Kind.DEAL, "not-a-number"))
    records = portal.connector(make_context).get(refs)
    assert [int(one.ref.id) for one in records] == list(range(130, 0, -1))
    assert [len(body["cmd"]) for body in portal.requests] == [1 + 3, 1]


def test_get_does_not_take_a_deal_out_of_reach_for_a_deleted_one(portal, make_context):
    portal.deal(1)
    portal.deal(2)
    portal.hidden = {2}
    refs = [Ref("b24", Kind.DEAL, str(native)) for native in (1, 2, 3)]
    with pytest.raises(MissingScope, match="deal: 1 no longer listed") as caught:
        portal.connector(make_context).get(refs)
    assert "administrator" in caught.value.hint


def test_get_finds_a_deal_that_a_list_leaves_out_but_that_may_be_read(portal, make_context):
    portal.deal(1)

    def show(key: str, method: str, params: Any) -> None:
        portal.hidden = {1} if method == "crm.item.list" else set()

    portal.faults.append(show)
    assert ids(list(portal.connector(make_context).get([Ref("b24", Kind.DEAL, "1")]))) == [1]


def test_get_reads_every_kind(portal, make_context):
    portal.users = [user(1), user(2)]
    portal.comments = [comment(71, 5)]
    portal.change(8, 5, "NEW", kind=1)
    portal.change(9, 5, "WON")
    wanted = [
        Ref("b24", Kind.OWNER, "2"),
        Ref("b24", Kind.PIPELINE, "0"),
        Ref("b24", Kind.NOTE, "71"),
        Ref("b24", Kind.STAGE_CHANGE, "9"),
    ]
    missing = [Ref("b24", kind, "4711") for kind in (Kind.OWNER, Kind.PIPELINE, Kind.NOTE, Kind.STAGE_CHANGE)]
    records = portal.connector(make_context).get([*wanted, *missing])
    assert [one.ref for one in records] == wanted
    assert records[-1].from_stage_id == "NEW"  # type: ignore[union-attr]


def test_fields_are_described_with_types_and_options(portal, make_context):
    portal.fields[2] = {
        "id": {"type": "integer", "isReadOnly": True, "title": "ID"},
        "ufCrm_1": {
            "type": "enumeration",
            "isDynamic": True,
            "isMultiple": True,
            "title": "Region",
            "items": [{"ID": "11", "VALUE": "North"}],
        },
        "ufCrm_2": {"type": "money", "isDynamic": True, "isRequired": True, "title": "Budget"},
    }
    fields = {one.id: one for one in portal.connector(make_context).fields(Kind.DEAL)}
    assert (fields["id"].type, fields["id"].custom, fields["id"].read_only) == ("number", False, True)
    assert (fields["ufCrm_1"].type, dict(fields["ufCrm_1"].options)) == ("choices", {"11": "North"})
    assert (fields["ufCrm_2"].type, fields["ufCrm_2"].required) == ("money", True)


def test_fields_of_other_kinds_are_refused_before_any_call(portal, make_context):
    with pytest.raises(Unsupported):
        portal.connector(make_context).fields(Kind.OWNER)
    assert portal.requests == []
