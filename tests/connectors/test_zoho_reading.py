"""Reading Zoho, against a small Zoho that keeps rows and answers COQL, lists and metadata.

Traps of the contract's summary that concern reading, and the test that fails without
their handling (a: test_zoho_access, r: here, t: test_zoho_trouble, c: test_zoho_records):

1   a: test_each_data_centre_and_environment_has_its_own_hosts,
       test_the_host_in_the_token_answer_is_used_only_if_it_is_zohos
2   a: test_the_prefix_is_zohos_own_and_secrets_go_into_the_form, test_many_threads_get_one_token,
       test_too_many_token_requests_are_waited_for
3   r: test_fields_beyond_fifty_come_from_further_queries, test_a_full_read_brings_every_deal_once,
       test_notes_of_deals_and_accounts_are_read_by_second_without_a_depth_limit,
       test_an_expired_page_token_is_replaced
4   a: test_an_empty_answer_is_never_decoded; r: test_a_quiet_org_costs_two_requests
8   r: test_an_unknown_stage_stays_as_text_and_the_deal_open,
       test_a_pipeline_renamed_during_the_read_is_still_found;
    t: test_a_rename_is_found_also_after_a_stage_that_never_was_one
10  r: test_a_full_read_takes_few_requests (nothing but COQL is asked for records)
11  r: test_more_changes_in_one_second_than_a_page_holds_are_all_read,
       test_an_increment_reads_the_server_clock_and_overlaps;
    t: test_a_burst_is_whole_even_if_zoho_keeps_parts_of_a_second;
    c: test_the_recorded_deals_are_read_without_loss (offsets, bare days)
12  r: test_a_deal_created_below_the_walk_with_a_low_id_is_read
13  a: test_too_many_requests_are_waited_for_with_fewer_calls_at_once,
       test_a_try_after_a_refusal_waits_for_its_place_again, test_no_credits_left_ends_the_run
14  r: test_an_increment_brings_what_changed_and_what_was_deleted,
       test_more_deletions_than_the_list_gives_lead_to_a_whole_read;
    t: test_a_whole_read_with_too_many_deletions_begins_again
15  r: test_a_full_read_takes_few_requests
5, 6, 7 and 9 concern writing.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses

from crmkit.connectors.base import Context, Page
from crmkit.connectors.zoho import coql
from crmkit.connectors.zoho.connector import ZohoConnector, ZohoOptions
from crmkit.errors import BadAnswer, IncompleteRead, MissingScope, Unsupported
from crmkit.model import Deal, Kind, Outcome, Ref

URL = "http://127.0.0.1:9"
# Far from the local clock of the tests: a cursor made from the wrong clock would show.
START = datetime(2031, 3, 1, 9, 0, 0, tzinfo=UTC)
NAIROBI = timezone(timedelta(hours=3))
STAGES = [
    ("101", "Qualification", "Qualification", 10, "Open"),
    ("102", "Id. Decision Makers", "Identify Decision Makers", 60, "Open"),
    ("103", "Closed Won", "Closed Won", 100, "Closed Won"),
    ("104", "Closed Lost to Competition", "Closed Lost to Competition", 0, "Closed Lost"),
]


def wire(moment: datetime) -> str:
    return moment.astimezone(NAIROBI).isoformat(timespec="seconds")


def field(name: str, data_type: str = "text", **more: Any) -> dict[str, Any]:
    return {"api_name": name, "field_label": name, "data_type": data_type, "json_type": "string", **more}


def standard_fields() -> list[dict[str, Any]]:
    names = "Deal_Name Pipeline Amount Probability Owner Account_Name Contact_Name Closing_Date"
    more = "Created_Time Modified_Time Last_Activity_Time Lead_Source Reason_For_Loss__s Tag Crmkit_Key"
    stage = field("Stage", "picklist")
    stage["pick_list_values"] = [
        {
            "id": native,
            "actual_value": actual,
            "display_value": display,
            "reference_value": actual,
            "sequence_number": order,
            "probability": chance,
            "forecast_type": kind,
            "forecast_category": {"name": "Pipeline", "id": "1"},
        }
        for order, (native, actual, display, chance, kind) in enumerate(STAGES, 1)
    ]
    return [stage, *(field(name) for name in f"{names} {more}".split())]


class FakeZoho:
    """Rows by module, a server clock, and the calls that were made."""

    def __init__(self) -> None:
        self.now = START
        self.rows: dict[str, dict[int, dict[str, Any]]] = {"Deals": {}, "Accounts": {}, "DealHistory": {}}
        self.fields = {"Deals": standard_fields(), "Accounts": [field("Account_Name"), field("Website")]}
        self.deleted: list[dict[str, Any]] = []
        self.users: dict[str, list[dict[str, Any]]] = {}
        self.pipelines: list[dict[str, Any]] = [self.pipeline("201", "Standard (Standard)")]
        self.org = {"id": "1", "zgid": "777", "company_name": "Zylker", "time_zone": "Africa/Nairobi"}
        self.org |= {"iso_code": "KES", "mc_status": False}
        self.calls: list[str] = []
        self.queries: list[str] = []
        self.most_rows = 2000
        self.deleted_pages = 10
        self.unknown_columns: set[str] = set()
        self.reserved: set[str] = set()
        self.hidden: set[str] = set()
        self.history_sorts = True
        self.dateless = 0
        self.ignores_order = False
        self.refuses: dict[str, tuple[int, dict[str, Any]]] = {}
        self.before_query: Callable[[str], None] = lambda query: None
        self.change_answer: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body
        self._lock = threading.RLock()

    @staticmethod
    def pipeline(native: str, name: str, stages: list[str] | None = None) -> dict[str, Any]:
        maps = [
            {"id": one, "display_value": display, "actual_value": actual, "sequence_number": order}
            for order, (one, actual, display, _, _) in enumerate(STAGES, 1)
            if stages is None or one in stages
        ]
        return {"id": native, "display_value": name, "actual_value": name, "default": True, "maps": maps}

    def put(self, native: int, module: str = "Deals", at: datetime | None = None, **values: Any) -> None:
        row = self.rows[module].setdefault(native, {"id": str(native), "Created_Time": wire(self.now)})
        if module == "Deals":
            row.setdefault("Deal_Name", f"Deal {native}")
            row.setdefault("Stage", "Qualification")
            row.setdefault("Pipeline", "Standard (Standard)")
        row.update(values)
        row["Modified_Time"] = wire(at or self.now)

    def delete(self, native: int) -> None:
        del self.rows["Deals"][native]
        self.deleted.append({"id": str(native), "type": "recycle", "deleted_time": wire(self.now)})

    def answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        with self._lock:
            status, body = self._route(request)
        if self.dateless:
            self.dateless -= 1
            return status, {}, json.dumps(body)
        headers = {"Date": format_datetime(self.now.astimezone(UTC), usegmt=True)}
        return status, headers, "" if body is None else json.dumps(body)

    def _route(self, request: Any) -> tuple[int, Any]:
        parts = urlsplit(request.url)
        params = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path
        if path == "/oauth/v2/token":
            self.calls.append("token")
            return 200, {"access_token": f"token-{len(self.calls)}", "expires_in": 3600}
        path = path.removeprefix("/crm/v8")
        self.calls.append(path)
        if path in self.refuses:
            return self.refuses[path]
        if path == "/coql":
            return self._coql(json.loads(request.body)["select_query"])
        if path == "/org":
            return 200, {"org": [self.org]}
        if path == "/settings/fields":
            return 200, {"fields": self.fields[params["module"]]}
        if path == "/settings/layouts":
            return 200, {"layouts": [{"id": "301", "name": "Standard"}]}
        if path == "/settings/pipeline":
            assert params["layout_id"] == "301"
            return (200, {"pipeline": self.pipelines}) if self.pipelines else (204, None)
        if path == "/users":
            found = self.users.get(params["type"], [])
            page = found[(int(params["page"]) - 1) * 200 :][:200]
            more = len(found) > int(params["page"]) * 200
            return (200, {"users": page, "info": {"more_records": more}}) if page else (204, None)
        if path.endswith("/deleted"):
            return self._deleted(request, params)
        return self._list(request, path.strip("/"), params)

    def _deleted(self, request: Any, params: dict[str, str]) -> tuple[int, Any]:
        page = int(params["page"])
        if page > self.deleted_pages:
            return 400, {"code": "DISCRETE_PAGINATION_LIMIT_EXCEEDED", "details": {}, "message": "no"}
        since = datetime.fromisoformat(request.headers["If-Modified-Since"])
        rows = [row for row in self.deleted if datetime.fromisoformat(row["deleted_time"]) >= since]
        some = rows[(page - 1) * 200 :][:200]
        if not some:
            return 304, None
        return 200, {"data": some, "info": {"count": len(some), "more_records": len(rows) > page * 200}}

    def _list(self, request: Any, path: str, params: dict[str, str]) -> tuple[int, Any]:
        if match := re.fullmatch(r"Deals/(\d+)/Stage_History", path):
            rows = [
                one for one in self.rows["DealHistory"].values() if one["Potential_Name"]["id"] == match[1]
            ]
        else:
            rows = list(self.rows[path].values())
        if path == "DealHistory" and not self.history_sorts:
            params = {name: value for name, value in params.items() if not name.startswith("sort")}
        elif since := request.headers.get("If-Modified-Since"):
            bound = datetime.fromisoformat(since)
            rows = [row for row in rows if datetime.fromisoformat(row["Modified_Time"]) >= bound]
            if not rows:
                return 304, None
        if "ids" in params:
            rows = [row for row in rows if row["id"] in params["ids"].split(",")]
        key = (lambda row: (row["Modified_Time"], int(row["id"]))) if "sort_by" in params else row_number
        rows.sort(key=key, reverse=params.get("sort_order") == "desc")
        start = int(params.get("page_token", "0"))
        size = int(params.get("per_page", "200"))
        some = rows[start : start + size]
        if not some:
            return 204, None
        more = start + size < len(rows)
        wanted = {"id", *params["fields"].split(",")} - self.hidden
        data = [{name: value for name, value in row.items() if name in wanted} for row in some]
        info = {
            "count": len(data),
            "more_records": more,
            "next_page_token": str(start + size) if more else None,
        }
        return 200, self.change_answer({"data": data, "info": info})

    def _coql(self, query: str) -> tuple[int, Any]:
        self.queries.append(query)
        self.before_query(query)
        match = re.fullmatch(r"select (.+?) from (\w+) where (.+?) order by (.+?) limit (\d+)", query)
        assert match, query
        columns, module, where, order, limit = match.groups()
        words = columns.split(", ")
        if self.reserved & set(words):
            return 400, {"code": "SYNTAX_ERROR", "details": {"clause": "select"}, "message": "no"}
        names = [word.strip("'") for word in words]
        assert len(names) <= 50
        assert int(limit) <= 2000
        for name in names:
            if name in self.unknown_columns:
                return 400, {"code": "INVALID_QUERY", "details": {"column_name": name}, "message": "no"}
        rows = [row for row in self.rows[module].values() if holds(where, row)]
        by_time = "Modified" in order and not self.ignores_order
        rows.sort(key=(lambda row: (moment(row), int(row["id"]))) if by_time else row_number)
        if order.endswith("desc"):
            rows.reverse()
        some = rows[: min(int(limit), self.most_rows)]
        if not some:
            return 204, None
        data = [{"id": row["id"], **{name: row.get(name) for name in names}} for row in some]
        info = {"count": len(some), "more_records": len(some) < len(rows)}
        return 200, self.change_answer({"data": data, "info": info})


def row_number(row: dict[str, Any]) -> int:
    return int(row["id"])


def moment(row: dict[str, Any]) -> datetime:
    """When a row changed, with the part of a second that answers do not show."""
    return datetime.fromisoformat(row["Modified_Time"]) + timedelta(milliseconds=row.get("hidden_ms", 0))


def holds(where: str, row: dict[str, Any]) -> bool:
    for condition in where.split(" and "):
        bare = condition if " in " in condition else condition.strip("()")
        name, operator, text = re.fullmatch(r"\(*(\w+) (>=|<=|<|>|in|is not null) ?(.*)", bare).groups()
        value: Any = row.get(name)
        value = value["id"] if isinstance(value, dict) else value
        if operator == "is not null":
            good = value is not None
        elif operator == "in":
            good = value in re.findall(r"'(\d+)'", text)
        else:
            left: Any = int(value) if name == "id" else moment(row)
            right: Any = int(text) if name == "id" else datetime.fromisoformat(text.strip("'"))
            good = {">": left > right, "<=": left <= right, ">=": left >= right, "<": left < right}[operator]
        if not good:
            return False
    return True


@pytest.fixture
def zoho() -> Iterator[FakeZoho]:
    fake = FakeZoho()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST"):
            mock.add_callback(method, re.compile(re.escape(URL)), fake.answer)
        yield fake


@pytest.fixture
def connect(zoho: FakeZoho, make_context: Callable[..., Context]) -> Callable[..., ZohoConnector]:
    """Builds a new connector, as a new process would."""

    def build(**options: Any) -> ZohoConnector:
        context = make_context("zoho-ke", client_id="c1", client_secret="s3cret", refresh_token="r3fresh")
        return ZohoConnector(context, ZohoOptions(base_url=URL, **options))

    return build


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits a hundred times smaller, so that a few rows pass them."""
    monkeypatch.setattr(coql, "ROWS_PER_QUERY", 20)
    monkeypatch.setattr(coql, "ROWS_PER_CHEAP_QUERY", 5)


def refs(pages: list[Page]) -> list[str]:
    return [record.ref.id for page in pages for record in page.records]


def fill(zoho: FakeZoho, count: int, first: int = 7328395000000710000, step: int = 7) -> None:
    for number in range(count):
        zoho.put(first + number * step)


def test_a_full_read_brings_every_deal_once(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 173)
    zoho.now = START
    pages = list(connect().read(Kind.DEAL))
    assert sorted(refs(pages)) == sorted(str(native) for native in zoho.rows["Deals"])
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert pages[-1].whole


def test_a_full_read_of_uneven_id_blocks_is_complete(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 90, first=1000, step=1)
    fill(zoho, 3, first=10**12, step=10**11)
    fill(zoho, 130, first=7328395000000000000, step=1)
    zoho.now = START
    pages = list(connect().read(Kind.DEAL))
    assert sorted(refs(pages), key=int) == [str(native) for native in sorted(zoho.rows["Deals"])]


def test_a_full_read_takes_few_requests(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector], monkeypatch: pytest.MonkeyPatch
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 1000)  # 50 pages of 20
    zoho.now = START
    list(connect().read(Kind.DEAL))
    # The highest id, 50 full pages with some ranges that end inside a page, and the changes.
    assert zoho.calls.count("/coql") <= 62
    assert sorted(set(zoho.calls) - {"/coql", "token"}) == [
        "/Deals/deleted",
        "/org",
        "/settings/fields",
        "/settings/layouts",
        "/settings/pipeline",
    ]


@pytest.mark.parametrize("in_flight", [1, 8])
def test_a_read_goes_on_after_any_page(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector], in_flight: int
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 120)
    zoho.now = START
    fill(zoho, 8, first=50)
    zoho.deleted.append({"id": "9", "type": "permanent", "deleted_time": wire(START)})
    everything = {str(native) for native in zoho.rows["Deals"]}
    count = len(list(connect(in_flight=in_flight).read(Kind.DEAL)))
    for stop in range(1, count):
        walk = connect(in_flight=in_flight).read(Kind.DEAL)
        before = [next(walk) for _ in range(stop)]
        walk.close()
        after = list(connect(in_flight=in_flight).read(Kind.DEAL, before[-1].cursor))
        assert set(refs(before + after)) == everything, f"stopped after page {stop}"
        assert [page.last for page in after].count(True) == 1
        assert after[-1].whole
        assert "9" in {stone.ref.id for page in before + after for stone in page.tombstones}


def test_a_deal_created_below_the_walk_with_a_low_id_is_read(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 60, first=1000)
    zoho.now = START
    walk = connect(in_flight=1).read(Kind.DEAL)
    first = next(walk)
    zoho.now = START + timedelta(seconds=3)
    zoho.put(10, Deal_Name="low id")
    zoho.put(int(refs([first])[0]), Deal_Name="renamed behind the walk")
    rest = list(walk)
    names = {record.ref.id: record.name for page in rest for record in page.records}  # type: ignore[union-attr]
    assert names["10"] == "low id"
    assert names[refs([first])[0]] == "renamed behind the walk"


def test_a_deal_deleted_during_the_walk_gets_a_tombstone(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 60, first=1000)
    zoho.now = START
    walk = connect(in_flight=1).read(Kind.DEAL)
    next(walk)
    zoho.now = START + timedelta(seconds=3)
    zoho.delete(1000)
    stones = [stone for page in walk for stone in page.tombstones]
    assert [(stone.ref, stone.at) for stone in stones] == [(Ref("zoho-ke", Kind.DEAL, "1000"), zoho.now)]


def test_a_quiet_org_costs_two_requests(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 5)
    zoho.now = START
    done = list(connect().read(Kind.DEAL))[-1].cursor
    zoho.now = START + timedelta(hours=1)
    zoho.calls.clear()
    pages = list(connect().read(Kind.DEAL, done))
    assert zoho.calls == ["token", "/coql", "/Deals/deleted"]
    assert (refs(pages), pages[-1].last, pages[-1].whole) == ([], True, False)


def test_an_increment_brings_what_changed_and_what_was_deleted(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 30, first=1000)
    zoho.now = START
    done = list(connect().read(Kind.DEAL))[-1].cursor
    zoho.now = START + timedelta(hours=1)
    zoho.put(1014, Deal_Name="changed")
    zoho.delete(1021)
    pages = list(connect().read(Kind.DEAL, done))
    assert refs(pages) == ["1014"]
    assert [stone.ref.id for page in pages for stone in page.tombstones] == ["1021"]
    assert not pages[-1].whole


def test_an_increment_reads_the_server_clock_and_overlaps(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.now = START
    fill(zoho, 1)
    done = list(connect().read(Kind.DEAL))[-1].cursor
    # Written within the second of the first read, visible only after it.
    zoho.put(5, at=START - timedelta(seconds=1))
    assert "5" in refs(list(connect().read(Kind.DEAL, done)))


def test_more_changes_in_one_second_than_a_page_holds_are_all_read(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 3, first=10)
    zoho.now = START
    done = list(connect().read(Kind.DEAL))[-1].cursor
    zoho.now = START + timedelta(hours=1)
    fill(zoho, 95, first=1000)
    fill(zoho, 4, first=90000)
    for offset in range(1, 30):
        zoho.put(5000 + offset, at=START + timedelta(hours=1, seconds=offset // 3))
    zoho.now += timedelta(minutes=1)
    pages = list(connect().read(Kind.DEAL, done))
    assert set(refs(pages)) == {str(native) for native in zoho.rows["Deals"]} - {"10", "17", "24"}


def test_an_increment_goes_on_after_any_page(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 3, first=10)
    zoho.now = START
    done = list(connect().read(Kind.DEAL))[-1].cursor
    zoho.now = START + timedelta(hours=1)
    fill(zoho, 95, first=1000)
    for offset in range(1, 60):
        zoho.put(5000 + offset, at=START + timedelta(hours=1, seconds=offset // 3))
    changed = {str(native) for native in zoho.rows["Deals"]} - {"10", "17", "24"}
    count = len(list(connect().read(Kind.DEAL, done)))
    assert count > 6
    for stop in range(1, count):
        walk = connect().read(Kind.DEAL, done)
        before = [next(walk) for _ in range(stop)]
        walk.close()
        after = list(connect().read(Kind.DEAL, before[-1].cursor))
        assert set(refs(before + after)) == changed, f"stopped after page {stop}"


def test_more_deletions_than_the_list_gives_lead_to_a_whole_read(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 450, first=1000, step=1)
    zoho.now = START
    done = list(connect().read(Kind.DEAL))[-1].cursor
    zoho.deleted_pages = 1
    zoho.now = START + timedelta(hours=1)
    for native in range(1000, 1440):
        zoho.delete(native)
    zoho.now = START + timedelta(hours=2)
    pages = list(connect().read(Kind.DEAL, done))
    assert pages[-1].whole
    assert {"1440", "1449"} <= set(refs(pages))
    assert [page.last for page in pages].count(True) == 1


def test_fields_beyond_fifty_come_from_further_queries(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    names = [f"Custom_{number}" for number in range(120)]
    zoho.fields["Deals"] += [field(name, custom_field=True) for name in names]
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 45, first=1000)
    zoho.put(1000, **{name: name.lower() for name in names})
    zoho.now = START
    records = {one.ref.id: one for page in connect().read(Kind.DEAL) for one in page.records}
    assert records["1000"].custom == {name: name.lower() for name in names}  # type: ignore[union-attr]
    assert len(records) == 45


def test_a_column_that_coql_refuses_is_read_from_the_list(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.unknown_columns = {"Tag"}
    zoho.put(1000, Tag=[{"name": "vip", "id": "1", "color_code": None}])
    records = [one for page in connect().read(Kind.DEAL) for one in page.records]
    assert records[0].tags == ("vip",)  # type: ignore[union-attr]


def test_a_deal_is_read_with_all_its_values(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    zoho.fields["Deals"] += [
        field("Currency", "picklist"),
        field("Budget", "currency", custom_field=True),
        field("Seats", "integer", custom_field=True),
        field("Renews", "boolean", custom_field=True),
        field("Go_Live", "date", custom_field=True),
        field("Called_At", "datetime", custom_field=True),
        field("Langs", "multiselectpicklist", custom_field=True),
        field("Partner", "lookup", custom_field=True),
        field("Empty", "text", custom_field=True),
    ]
    zoho.put(
        1000,
        Deal_Name="Größe & 商談",
        Stage="Id. Decision Makers",
        Amount=1234.56,
        Currency="EUR",
        Probability=60,
        Owner={"name": "Developer", "id": "9"},
        Account_Name={"name": "Acme", "id": "8"},
        Contact_Name={"name": "Ann", "id": "7"},
        Closing_Date="2031-12-31",
        Lead_Source="Web",
        Crmkit_Key="crmkit:hubspot:deal:981",
        Budget=10.10,
        Seats=3,
        Renews=False,
        Go_Live="2031-05-01",
        Called_At="2031-01-01T01:30:00+03:00",
        Langs=["English", "German"],
        Partner={"id": "55", "name": "P"},
        Empty="",
        Tag=[],
    )
    (deal,) = (one for page in [*connect().read(Kind.DEAL)][:1] for one in page.records)
    assert isinstance(deal, Deal)
    assert deal == Deal(
        ref=Ref("zoho-ke", Kind.DEAL, "1000"),
        name="Größe & 商談",
        pipeline_id="201",
        stage_id="102",
        outcome=Outcome.OPEN,
        amount=Decimal("1234.56"),
        currency="EUR",
        probability=Decimal("0.6"),
        forecast_category="Pipeline",
        owner_id="9",
        companies=("8",),
        contacts=({"id": "7", "primary": True},),  # type: ignore[arg-type]
        expected_close=date(2031, 12, 31),
        created_at=START,
        modified_at=START,
        source="Web",
        custom={
            "Budget": Decimal("10.1"),
            "Seats": 3,
            "Renews": False,
            "Go_Live": date(2031, 5, 1),
            "Called_At": datetime(2030, 12, 31, 22, 30, tzinfo=UTC),
            "Langs": ("English", "German"),
            "Partner": "55",
        },
        key="hubspot:deal:981",
        version="2031-03-01T09:00:00+00:00",
    )


def test_a_broken_value_hides_only_its_own_deal(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.put(1, Amount="abc")
    zoho.put(2, Probability=250)
    zoho.put(3, Closing_Date="2031-02-30")
    zoho.put(4)
    page = next(iter(connect().read(Kind.DEAL)))
    assert refs([page]) == ["4"]
    assert {(odd.ref.id, odd.field) for odd in page.unreadable} == {
        ("1", "Amount"),
        ("2", "Probability"),
        ("3", "Closing_Date"),
    }


def test_an_unknown_stage_stays_as_text_and_the_deal_open(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.put(1, Stage="Negotiation", Probability=10)
    (deal,) = next(iter(connect().read(Kind.DEAL))).records
    assert isinstance(deal, Deal)
    assert (deal.stage_id, deal.outcome) == ("Negotiation", Outcome.OPEN)


def test_a_pipeline_renamed_during_the_read_is_still_found(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 60, first=1000)
    zoho.now = START
    walk = connect(in_flight=1).read(Kind.DEAL)
    pages = [next(walk)]
    zoho.pipelines = [FakeZoho.pipeline("201", "Renamed")]
    for native in zoho.rows["Deals"]:
        zoho.rows["Deals"][native]["Pipeline"] = "Renamed"
    pages += walk
    deals = [record for page in pages for record in page.records if isinstance(record, Deal)]
    assert {deal.pipeline_id for deal in deals} == {"201"}


def test_namesake_pipelines_of_two_layouts_are_told_apart_by_the_stage(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.pipelines = [FakeZoho.pipeline("201", "Sales", ["101"]), FakeZoho.pipeline("202", "Sales", ["103"])]
    zoho.put(1, Pipeline="Sales", Stage="Closed Won")
    (deal,) = next(iter(connect().read(Kind.DEAL))).records
    assert deal.pipeline_id == "202"  # type: ignore[union-attr]


def test_without_pipelines_the_stage_picklist_is_the_only_one(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.pipelines = []
    zoho.fields["Deals"] = [one for one in zoho.fields["Deals"] if one["api_name"] != "Pipeline"]
    zoho.put(1, Stage="Closed Lost to Competition")
    (pipeline,) = next(iter(connect().read(Kind.PIPELINE))).records
    (deal,) = next(iter(connect().read(Kind.DEAL))).records
    assert (deal.pipeline_id, deal.stage_id) == (pipeline.ref.id, "104")  # type: ignore[union-attr]
    assert deal.outcome is Outcome.LOST  # type: ignore[union-attr]
    stages = [(one.id, one.name, one.outcome, one.probability) for one in pipeline.stages]  # type: ignore[union-attr]
    assert stages[1] == ("102", "Identify Decision Makers", Outcome.OPEN, Decimal("0.6"))
    assert all("Pipeline" not in query for query in zoho.queries)


def test_pipelines_carry_probability_and_outcome_of_the_shared_stages(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.pipelines.append(FakeZoho.pipeline("202", "Renewals", ["101", "103"]))
    page = next(iter(connect().read(Kind.PIPELINE)))
    found = {one.name: [(s.id, s.outcome, s.probability) for s in one.stages] for one in page.records}  # type: ignore[union-attr]
    assert found["Renewals"] == [
        ("101", Outcome.OPEN, Decimal("0.1")),
        ("103", Outcome.WON, Decimal(1)),
    ]
    assert (page.last, page.whole) == (True, True)


def test_inactive_and_deleted_users_are_read(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    zoho.users = {
        "AllUsers": [{"id": str(n), "full_name": f"U{n}", "status": "active"} for n in range(201)],
        "DeletedUsers": [{"id": "900", "first_name": "Gone", "last_name": "User", "status": "deleted"}],
    }
    zoho.users["AllUsers"][3]["status"] = "disabled"
    pages = list(connect().read(Kind.OWNER))
    owners = {one.ref.id: one for page in pages for one in page.records}
    assert len(owners) == 202
    assert (owners["900"].name, owners["900"].active) == ("Gone User", False)  # type: ignore[union-attr]
    assert not owners["3"].active  # type: ignore[union-attr]
    resumed = list(connect().read(Kind.OWNER, pages[0].cursor))
    assert set(refs(pages[:1] + resumed)) == set(owners)
    assert refs(list(connect().read(Kind.OWNER, pages[-1].cursor))) == refs(pages)


def test_companies_are_read_and_deleted(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    zoho.put(5, "Accounts", Account_Name="Acme", Website="https://www.Acme.com/about")
    page = next(iter(connect().read(Kind.COMPANY)))
    (company,) = page.records
    assert (company.name, company.domain) == ("Acme", "acme.com")  # type: ignore[union-attr]


def test_notes_of_deals_and_accounts_are_read_by_second_without_a_depth_limit(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coql, "ROWS_PER_LIST", 10)
    zoho.rows["Notes"] = {}
    for number in range(75):
        zoho.rows["Notes"][number + 1] = {
            "id": str(number + 1),
            "Note_Title": "T",
            "Note_Content": f"text {number}",
            "Parent_Id": {"id": "77", "name": "x"},
            "$se_module": "Leads" if number % 5 == 0 else "Deals",
            # 30 of them in one second
            "Modified_Time": wire(START + timedelta(seconds=max(0, number - 30))),
        }
    pages = list(connect().read(Kind.NOTE))
    expected = {str(number + 1) for number in range(75) if number % 5}
    assert set(refs(pages)) == expected
    assert pages[-1].whole
    note = next(one for page in pages for one in page.records if one.ref.id == "2")
    assert (note.text, note.deal_id) == ("T\ntext 1", "77")  # type: ignore[union-attr]
    for stop in range(1, len(pages)):
        resumed = list(connect().read(Kind.NOTE, pages[stop - 1].cursor))
        assert set(refs(pages[:stop] + resumed)) == expected
    zoho.now = START + timedelta(hours=3)
    zoho.rows["Notes"][3]["Modified_Time"] = wire(START + timedelta(hours=2))
    changed = list(connect().read(Kind.NOTE, pages[-1].cursor))
    assert "3" in refs(changed)
    assert not changed[-1].whole


def test_a_note_that_does_not_tell_its_parent_is_unreadable(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    row = {"id": "1", "Note_Content": "x", "Parent_Id": {"id": "7"}, "Modified_Time": wire(START)}
    zoho.rows["Notes"] = {1: row}
    (page,) = connect().read(Kind.NOTE)
    assert [odd.field for odd in page.unreadable] == ["$se_module"]


def test_notes_for_administrators_only_are_said_to_be_unsupported(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.refuses["/Notes"] = (
        403,
        {"code": "NOT_SUPPORTED", "details": {}, "message": "m", "status": "error"},
    )
    with pytest.raises(Unsupported, match="administrators only"):
        list(connect().read(Kind.NOTE))


def history_rows(deal: int, *periods: tuple[str, int], left: bool = False) -> Iterator[dict[str, Any]]:
    """Rows of one deal: stage and the hour at which it was entered."""
    for number, (stage, hour) in enumerate(periods):
        following = periods[number + 1] if number + 1 < len(periods) else None
        stamp = following[1] if left and following else hour
        yield {
            "id": str(deal * 10 + number),
            "Potential_Name": {"id": str(deal), "name": "x"},
            "Stage": stage,
            "Moved_To__s": following[0] if following else None,
            "Modified_Time": wire(START - timedelta(days=30) + timedelta(hours=stamp)),
            "Modified_By": {"id": "9", "name": "D"},
        }


@pytest.mark.parametrize("left", [False, True])
def test_stage_changes_tell_from_to_and_when_however_rows_are_stamped(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector], left: bool
) -> None:
    for deal in (5, 6):
        for row in history_rows(
            deal, ("Qualification", 0), ("Id. Decision Makers", 7), ("Closed Won", 9), left=left
        ):
            zoho.rows["DealHistory"][int(row["id"])] = row
    pages = list(connect().read(Kind.STAGE_CHANGE))
    steps = {
        (one.from_stage_id, one.to_stage_id, one.at - START + timedelta(days=30))  # type: ignore[union-attr]
        for page in pages
        for one in page.records
        if one.deal_id == "5"  # type: ignore[union-attr]
    }
    assert {("101", "102", timedelta(hours=7)), ("102", "103", timedelta(hours=9))} <= steps
    assert pages[-1].whole


def test_stage_changes_fall_back_to_the_list_where_coql_refuses(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    for deal in range(1, 150):
        for row in history_rows(deal, ("Qualification", 0), ("Closed Won", 7)):
            zoho.rows["DealHistory"][int(row["id"])] = row
    zoho.refuses["/coql"] = (
        400,
        {"code": "INVALID_MODULE", "details": {}, "message": "m", "status": "error"},
    )
    pages = list(connect().read(Kind.STAGE_CHANGE))
    assert len(set(refs(pages))) == 298
    assert pages[-1].whole
    resumed = list(connect().read(Kind.STAGE_CHANGE, pages[0].cursor))
    assert set(refs(pages[:1] + resumed)) == set(refs(pages))


def test_history_of_few_deals_asks_each_and_of_many_asks_for_fifty_at_once(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    for deal in range(1, 121):
        for row in history_rows(deal, ("Qualification", 0), ("Closed Won", 7)):
            zoho.rows["DealHistory"][int(row["id"])] = row
            zoho.rows.setdefault(f"Deals/{deal}/Stage_History", {})[int(row["id"])] = row
    few = [one for group in connect().history([Ref("zoho-ke", Kind.DEAL, "3")]) for one in group]
    assert [(one.from_stage_id, one.to_stage_id) for one in few] == [(None, "101"), ("101", "103")]
    zoho.queries.clear()
    many = connect().history([Ref("zoho-ke", Kind.DEAL, str(deal)) for deal in range(1, 121)])
    assert len({one.ref.id for group in many for one in group}) == 240
    assert len([query for query in zoho.queries if "Potential_Name in" in query]) <= 20


def test_get_reads_fifty_deals_a_call_and_leaves_out_missing_ones(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    fill(zoho, 120, first=1000)
    wanted = [Ref("zoho-ke", Kind.DEAL, str(native)) for native in [*zoho.rows["Deals"], 4]]
    wanted.append(Ref("zoho-ke", Kind.DEAL, "1') or (id > '0"))
    found = connect().get(wanted)
    assert {one.ref.id for one in found} == {str(native) for native in zoho.rows["Deals"]}
    assert zoho.calls.count("/coql") == 3


def test_get_gives_the_same_deal_as_read(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    zoho.put(1000, Amount=5)
    (read,) = next(iter(connect().read(Kind.DEAL))).records
    assert connect().get([read.ref]) == [read]


def test_get_finds_pipelines_and_owners(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    zoho.users = {"AllUsers": [{"id": "1", "full_name": "U", "status": "active"}]}
    found = connect().get([Ref("zoho-ke", Kind.PIPELINE, "201"), Ref("zoho-ke", Kind.OWNER, "1")])
    assert [one.ref.id for one in found] == ["201", "1"]


def test_check_names_the_workspace_and_the_server_time(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    zoho.users = {"CurrentUser": []}
    zoho.rows |= {"Contacts": {}}
    zoho.refuses["/users"] = (200, {"users": [], "info": {}})
    workspace = connect().check()
    assert (workspace.id, workspace.name, workspace.time_zone) == ("777", "Zylker", "Africa/Nairobi")
    assert (workspace.base_currency, workspace.server_time) == ("KES", START)


def test_check_names_every_missing_scope(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    lacking = (401, {"code": "OAUTH_SCOPE_MISMATCH", "message": "Unauthorized", "details": {}})
    zoho.rows |= {"Contacts": {}}
    zoho.refuses["/users"] = lacking
    zoho.refuses["/coql"] = lacking
    with pytest.raises(MissingScope) as caught:
        connect().check()
    assert "ZohoCRM.users.READ, ZohoCRM.coql.READ" in str(caught.value)
    assert "deals" not in str(caught.value)


def test_fields_tell_type_and_choices(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    found = {one.id: one for one in connect().fields(Kind.DEAL)}
    assert found["Stage"].type == "choice"
    assert found["Stage"].options["Id. Decision Makers"] == "Identify Decision Makers"
    with pytest.raises(Unsupported):
        connect().fields(Kind.OWNER)


def test_fewer_rows_than_counted_are_never_taken_for_the_end(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    fill(zoho, 5)

    def drop(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "data": body["data"][:-1]} if len(body["data"]) > 1 else body

    zoho.change_answer = drop
    with pytest.raises(BadAnswer, match="5 rows are promised, 4 came"):
        list(connect().read(Kind.DEAL))


def test_rows_out_of_order_stop_the_walk(zoho: FakeZoho, connect: Callable[..., ZohoConnector]) -> None:
    fill(zoho, 5)
    zoho.change_answer = lambda body: {**body, "data": body["data"][::-1]}
    with pytest.raises(BadAnswer, match="not in the order"):
        list(connect().read(Kind.DEAL))


def test_a_repeated_page_token_stops_the_list(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coql, "ROWS_PER_LIST", 2)
    row = {"Note_Content": "x", "Parent_Id": {"id": "7"}, "$se_module": "Deals", "Modified_Time": wire(START)}
    zoho.rows["Notes"] = {number: {**row, "id": str(number)} for number in range(1, 8)}
    zoho.change_answer = lambda body: {**body, "info": {**body["info"], "next_page_token": "2"}}
    with pytest.raises(IncompleteRead):
        list(connect().read(Kind.NOTE))


def test_an_expired_page_token_is_replaced(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coql, "ROWS_PER_LIST", 2)
    row = {"Note_Content": "x", "Parent_Id": {"id": "7"}, "$se_module": "Deals", "Modified_Time": wire(START)}
    zoho.rows["Notes"] = {number: {**row, "id": str(number)} for number in range(1, 8)}
    walk = connect().read(Kind.NOTE)
    pages = [next(walk), next(walk)]
    zoho.refuses["/Notes"] = (400, {"code": "EXPIRED_VALUE", "details": {"param_name": "page_token"}})
    resumed = connect().read(Kind.NOTE, pages[-1].cursor)
    original = zoho._list

    def expire_once(request: Any, path: str, params: dict[str, str]) -> tuple[int, Any]:
        zoho._list = original  # type: ignore[method-assign]
        return 400, {"code": "EXPIRED_VALUE", "details": {"param_name": "page_token"}}

    del zoho.refuses["/Notes"]
    zoho._list = expire_once  # type: ignore[method-assign]
    pages += resumed
    assert set(refs(pages)) == {str(number) for number in range(1, 8)}


def test_a_reader_that_stops_early_leaves_the_connection_usable(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector]
) -> None:
    fill(zoho, 120)
    connector = connect()
    walk = connector.read(Kind.DEAL)
    next(walk)
    walk.close()
    assert len(list(connector.read(Kind.PIPELINE))) == 1


def test_a_deletion_without_a_readable_time_is_still_told(
    zoho: FakeZoho, connect: Callable[..., ZohoConnector], monkeypatch: pytest.MonkeyPatch
) -> None:
    zoho.refuses["/Deals/deleted"] = (
        200,
        {"data": [{"id": "5", "deleted_time": "?"}], "info": {"more_records": False}},
    )
    pages = list(connect().read(Kind.DEAL))
    assert [(stone.ref.id, stone.at) for stone in pages[-1].tombstones] == [("5", None)]
