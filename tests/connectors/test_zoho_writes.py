"""Writing Zoho, against a small Zoho that keeps rows, checks keys and versions, and remembers calls.

Traps of the contract's summary that concern writing, and the test that fails without
their handling (w: here, v: test_zoho_writes_values, p: test_zoho_writes_payloads):

5   w: test_each_row_of_a_batch_is_judged_by_itself,
       test_rows_are_matched_by_what_they_say_if_their_number_differs
6   w: test_a_create_is_a_plain_create_with_the_key
7   w: test_automations_are_switched_off_in_every_write
8   w: test_a_stage_that_the_org_does_not_have_is_never_sent,
       test_a_create_is_a_plain_create_with_the_key
9   w: test_a_pipeline_with_a_stage_that_the_org_lacks_is_refused_by_name
10  w: test_keys_are_found_by_coql_fifty_at_a_time
13  w: test_a_refusal_by_a_limit_is_waited_for_and_sent_again, test_no_credits_left_leaves_the_rest_unsent
2, 3, 4, 11, 12, 14 and 15 concern reading.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses

from crmkit.connectors.base import Context, Support
from crmkit.connectors.writing import Act, Change, Keys, Lookup, Result, Written
from crmkit.connectors.zoho.connector import ZohoConnector, ZohoOptions
from crmkit.errors import AccessDenied, CrmkitError, MissingScope, Rejected, Unsupported
from crmkit.model import DealContact, Kind, Outcome, Ref, Stage

URL = "http://127.0.0.1:9"
START = datetime(2031, 3, 1, 9, 0, 0, tzinfo=UTC)
KEY = "ck1:ab12cd34:ef56ab78:deal:9001"
STAGES = [
    ("101", "Qualification", "Qualification", 10, "Open"),
    ("102", "Id. Decision Makers", "Identify Decision Makers", 60, "Open"),
    ("103", "Closed Won", "Closed Won", 100, "Closed Won"),
    ("104", "Closed Lost", "Closed Lost", 0, "Closed Lost"),
]
KEY_META = {
    "api_name": "Crmkit_Key",
    "field_label": "Crmkit Key",
    "data_type": "text",
    "custom_field": True,
    "length": 100,
    "unique": {"case_sensitive": True},
}


def meta(name: str, data_type: str = "text", **more: Any) -> dict[str, Any]:
    return {"api_name": name, "field_label": name, "data_type": data_type, "unique": {}, **more}


def deal_fields() -> list[dict[str, Any]]:
    stage = meta("Stage", "picklist")
    stage["pick_list_values"] = [
        {
            "id": native,
            "actual_value": actual,
            "display_value": display,
            "sequence_number": order,
            "probability": chance,
            "forecast_type": kind,
        }
        for order, (native, actual, display, chance, kind) in enumerate(STAGES, 1)
    ]
    source = meta("Lead_Source", "picklist")
    source["pick_list_values"] = [{"actual_value": "Trade Show", "display_value": "Trade Show"}]
    return [
        stage,
        source,
        meta("Deal_Name", length=120),
        meta("Pipeline", "picklist"),
        meta("Amount", "currency", decimal_place=2, length=16),
        meta("Probability", "integer"),
        meta("Owner", "ownerlookup"),
        meta("Account_Name", "lookup"),
        meta("Contact_Name", "lookup"),
        meta("Closing_Date", "date"),
        meta("Modified_Time", "datetime"),
        meta("Created_Time", "datetime"),
        meta("Tag"),
        meta("Region", "text", custom_field=True, length=30),
        meta("Score", "formula", custom_field=True, read_only=True),
    ]


class FakeZoho:
    """Rows by module, a server clock, and every request that was made."""

    def __init__(self) -> None:
        self.now = START
        self.rows: dict[str, dict[str, dict[str, Any]]] = {
            "Deals": {},
            "Accounts": {},
            "Contacts": {},
            "Notes": {},
        }
        self.fields = {
            "Deals": [*deal_fields(), KEY_META],
            "Accounts": [meta(name) for name in ("Account_Name", "Website", "Phone", "Owner")] + [KEY_META],
            "Contacts": [
                meta(name)
                for name in (
                    "First_Name",
                    "Last_Name",
                    "Email",
                    "Secondary_Email",
                    "Phone",
                    "Mobile",
                    "Owner",
                )
            ]
            + [KEY_META],
        }
        self.layouts = ["301"]
        self.pipelines: dict[str, list[dict[str, Any]]] = {
            "301": [self.pipeline("201", "Standard (Standard)")]
        }
        self.unique = {
            "Deals": ["Crmkit_Key"],
            "Accounts": ["Crmkit_Key"],
            "Contacts": ["Email", "Crmkit_Key"],
        }
        self.bare_clash = False
        self.locked: set[str] = set()
        self.poison: set[str] = set()
        self.new_field_name = "Crmkit_Key"
        self.bodies: list[bytes] = []
        self.sent: list[tuple[str, str, dict[str, str], Any, dict[str, str]]] = []
        self.before: Callable[[str, str, Any], Any] = lambda method, path, body: None
        self.change_answer: Callable[[int, Any], tuple[int, Any]] = lambda status, body: (status, body)
        self._made = 7328395000000710000
        self._lock = threading.RLock()

    @staticmethod
    def pipeline(
        native: str, name: str, stages: Sequence[str] = ("101", "102", "103", "104")
    ) -> dict[str, Any]:
        known = {one: (actual, display) for one, actual, display, _, _ in STAGES}
        maps = [
            {"id": one, "display_value": known[one][1], "actual_value": known[one][0], "sequence_number": at}
            for at, one in enumerate(stages, 1)
        ]
        return {"id": native, "display_value": name, "actual_value": name, "default": True, "maps": maps}

    def put(self, module: str, native: str, at: datetime | None = None, **row: Any) -> None:
        self.rows[module][native] = {"id": native, "at": at or self.now, **row}

    def writes(self, path: str | None = None) -> list[tuple[str, str, dict[str, str], Any, dict[str, str]]]:
        """Requests that change something."""
        mutating = [one for one in self.sent if one[0] != "GET" and one[1] not in ("/coql", "token")]
        return [one for one in mutating if path in (None, one[1])]

    def answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        parts = urlsplit(request.url)
        params = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix("/crm/v8")
        headers = {"Date": format_datetime(self.now, usegmt=True)}
        if path == "/oauth/v2/token":
            self.sent.append(("POST", "token", {}, None, {}))
            return 200, headers, json.dumps({"access_token": "acc3ss", "expires_in": 3600})
        body = json.loads(request.body) if request.body else None
        self.bodies.append(request.body or b"")
        with self._lock:
            self.sent.append((request.method, path, params, body, dict(request.headers)))
            special = self.before(request.method, path, body)
            if isinstance(special, Exception):
                raise special
            status, reply = special or self.change_answer(*self._route(request, path, params, body))
        more = reply.pop("headers", {}) if isinstance(reply, dict) else {}
        text = reply if isinstance(reply, str) else json.dumps(reply)
        return status, {**headers, **more}, text if reply is not None else ""

    def _route(self, request: Any, path: str, params: dict[str, str], body: Any) -> tuple[int, Any]:
        if path == "/org":
            return 200, {"org": [{"id": "1", "zgid": "777", "iso_code": "EUR", "mc_status": False}]}
        if path == "/org/currencies":
            rows = [{"iso_code": "EUR", "is_active": True}, {"iso_code": "USD", "is_active": True}]
            return 200, {"currencies": [*rows, {"iso_code": "JPY", "is_active": False}]}
        if path == "/settings/fields":
            return self._fields(request.method, params["module"], body)
        if path == "/settings/layouts":
            return 200, {"layouts": [{"id": native} for native in self.layouts]}
        if path == "/settings/pipeline":
            return self._pipeline(request.method, params["layout_id"], body)
        if path == "/coql":
            return self._coql(body["select_query"])
        if path == "/Contacts/roles":
            return 200, {
                "contact_roles": [{"id": "901", "name": "Decision Maker"}, {"id": "902", "name": "User"}]
            }
        if re.fullmatch(r"/Deals/\d+/Contact_Roles", path):
            rows = [
                {"code": "SUCCESS", "details": {"id": one["id"]}, "status": "success"} for one in body["data"]
            ]
            return 200, {"data": rows}
        if match := re.fullmatch(r"/(Deals|Accounts)/(\d+)/Notes", path):
            return self._notes_of(match[2], params)
        module = path.strip("/")
        if request.method == "DELETE":
            rows = [self._delete(module, native) for native in params["ids"].split(",")]
        else:
            assert len(body["data"]) <= 100
            bound = request.headers.get("If-Unmodified-Since")
            if any(str(row.get("Deal_Name")) in self.poison for row in body["data"]):
                return 400, {
                    "code": "INVALID_DATA",
                    "details": {},
                    "message": "bad request",
                    "status": "error",
                }
            rows = [self._store(module, row, at, bound) for at, row in enumerate(body["data"])]
        good = sum(row["code"] == "SUCCESS" for row in rows)
        status = (201 if request.method == "POST" else 200) if good == len(rows) else 207 if good else 400
        if all(row["code"] == "ALREADY_MODIFIED" for row in rows):
            status = 412
        return status, {"data": rows}

    def _store(self, module: str, row: dict[str, Any], at: int, bound: str | None) -> dict[str, Any]:
        native = row.get("id")
        table = self.rows[module]
        if native is not None and native not in table:
            return error("INVALID_DATA", at, "id")
        if native in self.locked:
            return error("RECORD_LOCKED", at, "id", action="record_locking")
        if native and bound and table[native]["at"] > datetime.fromisoformat(bound):
            details = {"id": native, "Modified_Time": table[native]["at"].isoformat()}
            return {"code": "ALREADY_MODIFIED", "details": details, "message": "passed", "status": "error"}
        for name in self.unique.get(module, ()):
            other = next(
                (one for one in table.values() if row.get(name) and one.get(name) == row[name]), None
            )
            if other and other["id"] != native:
                if self.bare_clash:
                    return error("INVALID_DATA", at, name)
                more = {"id": other["id"], "duplicate_record": {"id": other["id"]}, "more_records": False}
                return error("DUPLICATE_DATA", at, name, **more)
        if module == "Deals" and native is None and not row.get("Deal_Name"):
            return error("MANDATORY_NOT_FOUND", at, "Deal_Name")
        if row.get("Deal_Name") == "refused":
            return error("INVALID_DATA", at, "Amount", expected_data_type="double")
        if native is None:
            self._made += 1
            native = str(self._made)
            table[native] = {"id": native}
        table[native] |= {**row, "at": self.now}
        details = {"id": native, "Modified_Time": self.now.isoformat(), "Created_Time": self.now.isoformat()}
        return {"code": "SUCCESS", "details": details, "message": "record written", "status": "success"}

    def _delete(self, module: str, native: str) -> dict[str, Any]:
        if self.rows[module].pop(native, None) is None:
            details = {"id": native}
            return {
                "code": "INVALID_DATA",
                "details": details,
                "message": "the id is invalid",
                "status": "error",
            }
        return {
            "code": "SUCCESS",
            "details": {"id": native},
            "message": "record deleted",
            "status": "success",
        }

    def _fields(self, method: str, module: str, body: Any) -> tuple[int, Any]:
        if method == "GET":
            return 200, {"fields": self.fields[module]}
        made = {**KEY_META, **body["fields"][0], "api_name": self.new_field_name}
        self.fields[module] = [*self.fields[module], made]
        return 201, {
            "fields": [{"code": "SUCCESS", "details": {"id": "5"}, "message": "", "status": "success"}]
        }

    def _pipeline(self, method: str, layout: str, body: Any) -> tuple[int, Any]:
        rows = self.pipelines.get(layout, [])
        if method == "GET":
            return (200, {"pipeline": rows}) if rows else (204, None)
        one = body["pipeline"][0]
        clash = [
            row
            for row in rows
            if row["display_value"] == one.get("display_value") and row["id"] != one.get("id")
        ]
        if clash:
            details = {"api_name": "display_value", "json_path": "$.pipeline[0].display_value"}
            return 400, {
                "pipeline": [{"code": "DUPLICATE_DATA", "details": details, "message": "", "status": "error"}]
            }
        stages = [
            entry["id"] for entry in sorted(one.get("maps", ()), key=lambda entry: entry["sequence_number"])
        ]
        native = one.get("id") or str(210 + len(rows))
        old = next((row for row in rows if row["id"] == native), None)
        name = one.get("display_value") or (old or {}).get("display_value", "")
        made = self.pipeline(native, name, stages or [entry["id"] for entry in (old or {"maps": []})["maps"]])
        self.pipelines[layout] = [row for row in rows if row["id"] != native] + [made]
        status = 201 if method == "POST" else 200
        return status, {
            "pipeline": [{"code": "SUCCESS", "details": {"id": native}, "message": "", "status": "success"}]
        }

    def _coql(self, query: str) -> tuple[int, Any]:
        match = re.fullmatch(
            r"select id, Crmkit_Key from (\w+) where \(Crmkit_Key in \((.+)\) and id > (\d+)\) "
            r"order by id asc limit (\d+)",
            query,
        )
        assert match, query
        keys = re.findall(r"'([^']+)'", match[2])
        assert len(keys) <= 50
        folded = {key.casefold() for key in keys}
        rows = [
            {"id": one["id"], "Crmkit_Key": one["Crmkit_Key"]}
            for one in sorted(self.rows[match[1]].values(), key=lambda one: int(one["id"]))
            if str(one.get("Crmkit_Key")).casefold() in folded and int(one["id"]) > int(match[3])
        ]
        some = rows[: int(match[4])]
        return (
            (200, {"data": some, "info": {"count": len(some), "more_records": len(rows) > len(some)}})
            if some
            else (204, None)
        )

    def _notes_of(self, parent: str, params: dict[str, str]) -> tuple[int, Any]:
        rows = [
            {"id": one["id"], "Note_Title": one.get("Note_Title"), "Note_Content": one["Note_Content"]}
            for one in self.rows["Notes"].values()
            if one["Parent_Id"]["id"] == parent
        ]
        start = (int(params.get("page") or params["page_token"]) - 1) * 200
        some = rows[start : start + 200]
        more = len(rows) > start + len(some)
        token = str(start // 200 + 2) if more else None
        info = {"count": len(some), "more_records": more, "next_page_token": token}
        assert "page" not in params or start < 2000
        return (200, {"data": some, "info": info}) if some else (204, None)


def error(code: str, at: int, name: str, **more: Any) -> dict[str, Any]:
    details = {"api_name": name, "json_path": f"$.data[{at}].{name}", **more}
    return {"code": code, "details": details, "message": "no", "status": "error"}


@pytest.fixture
def zoho() -> Iterator[FakeZoho]:
    fake = FakeZoho()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            mock.add_callback(method, re.compile(re.escape(URL)), fake.answer)
        yield fake


@pytest.fixture
def connect(zoho: FakeZoho, make_context: Callable[..., Context]) -> Callable[..., ZohoConnector]:
    def build(*, read_only: bool = False, **options: Any) -> ZohoConnector:
        made = make_context("zoho-eu", client_id="c1", client_secret="s3cret", refresh_token="r3fresh")
        context = Context(made.connection, made.secrets, clock=made.clock, read_only=read_only)
        return ZohoConnector(context, ZohoOptions(base_url=URL, **options))

    return build


Connect = Callable[..., ZohoConnector]


def ref(native: str, kind: Kind = Kind.DEAL) -> Ref:
    return Ref("zoho-eu", kind, native)


def create(
    name: str = "Acme",
    *,
    id: str | None = None,
    key: str | None = None,
    kind: Kind = Kind.DEAL,
    **values: Any,
) -> Change:
    if kind is Kind.DEAL:
        values = {"name": name, "pipeline_id": "201", "stage_id": "101", **values}
    return Change(id or name, Act.CREATE, kind, values=values, key=key)


def update(native: str, kind: Kind = Kind.DEAL, read_at: datetime | None = None, **values: Any) -> Change:
    return Change(f"u{native}", Act.UPDATE, kind, ref(native, kind), values, read_at=read_at)


def delete(native: str) -> Change:
    return Change(f"d{native}", Act.DELETE, Kind.DEAL, ref(native))


def written(connector: ZohoConnector, *changes: Change) -> dict[str, Written]:
    """Outcomes by the change's id; fails if a change has none or two."""
    found = [one for group in connector.write(changes) for one in group]
    assert sorted(one.id for one in found) == sorted(change.id for change in changes)
    return {one.id: one for one in found}


def results(connector: ZohoConnector, *changes: Change) -> dict[str, Result]:
    return {native: one.result for native, one in written(connector, *changes).items()}


def test_a_create_is_a_plain_create_with_the_key(zoho: FakeZoho, connect: Connect) -> None:
    one = written(
        connect(),
        create(key=KEY, amount=Decimal("12500.50"), currency="EUR", expected_close=date(2026, 12, 31)),
    )["Acme"]
    method, path, _, body, _ = zoho.writes()[0]
    assert (method, path) == ("POST", "/Deals")
    assert body == {
        "data": [
            {
                "Deal_Name": "Acme",
                "Pipeline": "Standard (Standard)",
                "Stage": "Qualification",
                "Amount": 12500.5,
                "Closing_Date": "2026-12-31",
                "Crmkit_Key": KEY,
            }
        ],
        "trigger": [],
    }
    native = next(iter(zoho.rows["Deals"]))
    assert one == Written("Acme", Result.DONE, ref(native), START.isoformat(), unwritten={})


def test_money_goes_out_exactly(zoho: FakeZoho, connect: Connect) -> None:
    written(connect(), create(amount=Decimal("9007199254740993.07"), currency="EUR"))
    assert b'"Amount":9007199254740993.07' in zoho.bodies[-1]


def test_automations_are_switched_off_in_every_write(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1")
    zoho.put("Deals", "2")
    connector = connect()
    assert connector.capabilities.side_effects_off is Support.YES
    written(connector, create())
    written(connector, update("1", name="New"))
    written(connector, delete("2"))
    posted, put, deleted = zoho.writes()
    assert (posted[3]["trigger"], put[3]["trigger"], deleted[2]["wf_trigger"]) == ([], [], "false")


def test_an_update_names_only_what_changes_and_none_clears(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1")
    one = written(connect(), update("1", amount=None, owner_id="55", **{"custom.Region": "EMEA"}))["u1"]
    assert zoho.writes()[0][:2] == ("PUT", "/Deals")
    assert zoho.writes()[0][3]["data"] == [
        {"id": "1", "Amount": None, "Owner": {"id": "55"}, "Region": "EMEA"}
    ]
    assert (one.result, one.version) == (Result.DONE, START.isoformat())


def test_a_record_that_changed_after_it_was_read_is_stale(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1", at=START - timedelta(hours=2))
    zoho.put("Deals", "2", at=START)
    read_at = START - timedelta(minutes=1)
    assert results(
        connect(), update("1", read_at=read_at, name="A"), update("2", read_at=read_at, name="B")
    ) == {
        "u1": Result.DONE,
        "u2": Result.STALE,
    }


def test_a_change_in_the_second_of_the_read_is_stale_too(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1", at=START)
    read_at = START + timedelta(milliseconds=400)
    assert results(connect(), update("1", read_at=read_at, name="A")) == {"u1": Result.STALE}
    assert zoho.writes()[0][4]["If-Unmodified-Since"] == "2031-03-01T08:59:59+00:00"


def test_updates_read_at_different_times_are_checked_against_the_earliest(
    zoho: FakeZoho, connect: Connect
) -> None:
    zoho.put("Deals", "1", at=START - timedelta(days=1))
    zoho.put("Deals", "2", at=START - timedelta(days=1))
    zoho.put("Deals", "3", at=START)
    changes = [
        update("1", read_at=START - timedelta(minutes=1), name="A"),
        update("2", read_at=START - timedelta(minutes=9), name="B"),
        update("3", name="C"),
    ]
    assert set(results(connect(), *changes).values()) == {Result.DONE}
    assert [
        one[4].get("If-Unmodified-Since")
        for one in sorted(zoho.writes(), key=lambda one: len(one[3]["data"]))
    ] == [
        None,
        (START - timedelta(minutes=9, seconds=1)).isoformat(),
    ]


def test_each_row_of_a_batch_is_judged_by_itself(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1")
    zoho.put("Deals", "2")
    zoho.locked.add("2")
    found = written(
        connect(),
        update("1", name="A"),
        update("2", name="B"),
        update("3", name="C"),
        update("4", name="refused"),
    )
    assert {native: one.result for native, one in found.items()} == {
        "u1": Result.DONE,
        "u2": Result.UNSENT,
        "u3": Result.GONE,
        "u4": Result.GONE,
    }
    assert len(zoho.writes()) == 1


def test_a_refused_value_names_the_field_of_the_model(zoho: FakeZoho, connect: Connect) -> None:
    one = written(connect(), create("refused"))["refused"]
    assert (one.result, one.field) == (Result.REJECTED, "amount")
    assert "INVALID_DATA" in one.reason


def test_a_link_to_a_missing_record_is_refused_and_the_deal_is_not_gone(
    zoho: FakeZoho, connect: Connect
) -> None:
    zoho.put("Deals", "1")
    details = {"api_name": "id", "json_path": "$.data[0].Account_Name.id"}
    row = {
        "code": "INVALID_DATA",
        "details": details,
        "message": "the id given seems to be invalid",
        "status": "error",
    }
    zoho.before = lambda method, path, body: (400, {"data": [row]}) if method == "PUT" else None
    one = written(connect(), update("1", companies=("77",)))["u1"]
    assert (one.result, one.field) == (Result.REJECTED, "companies")


def test_a_taken_key_leads_to_the_existing_record(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "8", Crmkit_Key=KEY)
    one = written(connect(), create(key=KEY))["Acme"]
    assert (one.result, one.ref) == (Result.EXISTS, ref("8"))
    assert len(zoho.rows["Deals"]) == 1


def test_a_refused_create_is_looked_up_before_it_is_called_rejected(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "8", Crmkit_Key=KEY)
    zoho.bare_clash = True  # a clash that does not say that it is one
    found = written(connect(), create(key=KEY), create("refused", key=KEY + "2"))
    assert (found["Acme"].result, found["Acme"].ref) == (Result.EXISTS, ref("8"))
    assert found["refused"].result is Result.REJECTED


def test_a_refused_create_that_cannot_be_looked_up_is_unknown(zoho: FakeZoho, connect: Connect) -> None:
    body = {"code": "SYNTAX_ERROR", "details": {}, "message": "no", "status": "error"}
    zoho.before = lambda method, path, _: (400, body) if path == "/coql" else None
    assert results(connect(), create("refused", key=KEY)) == {"refused": Result.UNKNOWN}


def test_another_unique_value_that_is_taken_leads_to_its_record(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Contacts", "5", Email="ann@example.com")
    values = {"first_name": "Ann", "last_name": "Lee", "emails": ("ann@example.com",)}
    one = written(connect(), create(id="c", kind=Kind.CONTACT, key=KEY, **values))["c"]
    assert (one.result, one.ref, one.field) == (Result.EXISTS, ref("5", Kind.CONTACT), "emails")


def test_two_creates_with_one_key_are_not_sent_together(zoho: FakeZoho, connect: Connect) -> None:
    assert results(connect(), create("a", key=KEY), create("b", key=KEY)) == {
        "a": Result.DONE,
        "b": Result.UNSENT,
    }
    assert [row["Deal_Name"] for row in zoho.rows["Deals"].values()] == ["a"]


def test_a_key_is_never_sent_to_an_org_without_the_key_field(zoho: FakeZoho, connect: Connect) -> None:
    zoho.fields["Deals"].remove(KEY_META)
    one = written(connect(), create(key=KEY))["Acme"]
    assert (one.result, zoho.writes()) == (Result.UNSENT, [])
    assert "prepare" in one.reason


def test_a_stage_that_the_org_does_not_have_is_never_sent(zoho: FakeZoho, connect: Connect) -> None:
    one = written(connect(), create(stage_id="Negotiation"))["Acme"]
    assert (one.result, one.field, zoho.writes()) == (Result.REJECTED, "stage_id", [])


def test_a_stage_of_another_pipeline_is_never_sent(zoho: FakeZoho, connect: Connect) -> None:
    zoho.pipelines["301"].append(zoho.pipeline("202", "Renewals", ["101", "103"]))
    one = written(connect(), create(pipeline_id="202", stage_id="102"))["Acme"]
    assert (one.result, one.field, zoho.writes()) == (Result.REJECTED, "stage_id", [])


def test_a_stage_added_after_the_metadata_was_read_is_found(zoho: FakeZoho, connect: Connect) -> None:
    connector = connect()
    written(connector, create("first"))
    zoho.pipelines["301"].append(zoho.pipeline("202", "Renewals"))
    assert results(connector, create("second", pipeline_id="202")) == {"second": Result.DONE}


def test_a_deal_of_another_layout_names_its_layout(zoho: FakeZoho, connect: Connect) -> None:
    zoho.layouts = ["301", "302"]
    zoho.pipelines["302"] = [zoho.pipeline("205", "Standard (Partners)")]
    written(connect(), create(pipeline_id="205"))
    row = zoho.writes()[0][3]["data"][0]
    assert (row["Pipeline"], row["Layout"]) == ("Standard (Partners)", {"id": "302"})


def test_where_pipelines_are_off_none_is_named(zoho: FakeZoho, connect: Connect) -> None:
    zoho.pipelines = {}
    assert results(connect(), create(pipeline_id="default")) == {"Acme": Result.DONE}
    assert "Pipeline" not in zoho.writes()[0][3]["data"][0]


def test_an_amount_in_a_foreign_currency_is_refused(zoho: FakeZoho, connect: Connect) -> None:
    one = written(connect(), create(amount=Decimal(5), currency="USD"))["Acme"]
    assert (one.result, one.field, zoho.writes()) == (Result.REJECTED, "currency", [])


def test_an_org_with_several_currencies_gets_the_currency(zoho: FakeZoho, connect: Connect) -> None:
    zoho.fields["Deals"].append(meta("Currency", "picklist"))
    found = written(
        connect(),
        create("a", amount=Decimal(5), currency="USD"),
        create("b", amount=Decimal(5), currency="JPY"),  # not active
    )
    assert [row["Currency"] for row in zoho.writes()[0][3]["data"]] == ["USD"]
    assert found["b"].field == "currency"


def test_what_the_org_has_no_field_for_is_named_and_not_sent(zoho: FakeZoho, connect: Connect) -> None:
    change = create(
        lost_reason="Price", source="Billboard", **{"custom.Nowhere": "x", "custom.Score": Decimal(3)}
    )
    one = written(connect(), change)["Acme"]
    assert one.result is Result.DONE
    assert set(one.unwritten) == {"lost_reason", "source", "custom.Nowhere", "custom.Score"}
    assert set(zoho.writes()[0][3]["data"][0]) == {"Deal_Name", "Pipeline", "Stage"}


def test_an_update_of_nothing_writable_sends_nothing(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1")
    one = written(connect(), update("1", **{"custom.Nowhere": "x"}))["u1"]
    assert (one.result, one.field, zoho.writes()) == (Result.REJECTED, "custom.Nowhere", [])


def test_deletes_go_a_hundred_at_a_time_and_missing_ones_are_gone(zoho: FakeZoho, connect: Connect) -> None:
    for native in range(1, 151):
        zoho.put("Deals", str(native))
    found = results(connect(), *(delete(str(native)) for native in range(1, 202)))
    assert {native for native, result in found.items() if result is Result.GONE} == {
        f"d{n}" for n in range(151, 202)
    }
    assert (len(zoho.writes()), zoho.rows["Deals"]) == (3, {})


def test_an_id_that_zoho_cannot_have_is_gone_without_a_call(zoho: FakeZoho, connect: Connect) -> None:
    assert results(connect(), delete("1,2")) == {"d1,2": Result.GONE}
    assert zoho.writes() == []


def test_a_batch_refused_whole_is_halved_until_the_bad_row_stands_alone(
    zoho: FakeZoho, connect: Connect
) -> None:
    zoho.poison.add("n37")
    found = results(connect(), *(create(f"n{number}") for number in range(100)))
    assert [native for native, result in found.items() if result is not Result.DONE] == ["n37"]
    assert found["n37"] is Result.REJECTED
    assert len(zoho.writes()) <= 2 * 7 + 1


def test_a_request_that_is_wrong_in_itself_is_not_halved(zoho: FakeZoho, connect: Connect) -> None:
    body = {
        "code": "INVALID_MODULE",
        "details": {"resource_path_index": 0},
        "message": "no",
        "status": "error",
    }
    zoho.before = lambda method, path, _: (400, body) if path == "/Deals" else None
    assert set(results(connect(), create("a"), create("b")).values()) == {Result.UNSENT}
    assert len(zoho.writes()) == 1


def test_an_id_that_the_request_as_a_whole_is_refused_for_is_gone(zoho: FakeZoho, connect: Connect) -> None:
    body = {"code": "INVALID_DATA", "details": {"resource_path_index": 1}, "message": "no", "status": "error"}
    zoho.before = lambda method, path, _: (400, body) if method == "DELETE" else None
    assert results(connect(), delete("1"), delete("2")) == {"d1": Result.GONE, "d2": Result.GONE}


def test_an_unknown_address_is_not_a_missing_record(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1")
    body = {"code": "INVALID_URL_PATTERN", "details": {}, "message": "no", "status": "error"}
    zoho.before = lambda method, path, _: (404, body) if method == "PUT" else None
    assert results(connect(), update("1", name="A")) == {"u1": Result.UNSENT}


@pytest.mark.parametrize(
    "trouble",
    [
        (500, {"code": "INTERNAL_ERROR", "details": {}, "message": "no", "status": "error"}),
        (503, "<html>busy</html>"),
        (201, '{"data":[{"code":"SUCC'),
        (201, {"unexpected": []}),
        (204, None),
        requests.ConnectionError("reset"),
        requests.ReadTimeout("late"),
    ],
    ids=["500", "503", "cut body", "other body", "empty", "reset", "timeout"],
)
def test_a_write_without_a_proving_answer_is_unknown_and_not_repeated(
    zoho: FakeZoho, connect: Connect, trouble: Any
) -> None:
    zoho.before = lambda method, path, _: trouble if path == "/Deals" else None
    assert results(connect(), create("a", key=KEY), create("b")) == {"a": Result.UNKNOWN, "b": Result.UNKNOWN}
    assert len(zoho.writes()) == 1


def test_a_refusal_by_a_limit_is_waited_for_and_sent_again(zoho: FakeZoho, connect: Connect) -> None:
    left = [3]

    def busy(method: str, path: str, body: Any) -> Any:
        if path == "/Deals" and left[0]:
            left[0] -= 1
            return 429, {"code": "TOO_MANY_REQUESTS", "details": {}, "message": "no", "status": "error"}
        return None

    zoho.before = busy
    assert results(connect(), create()) == {"Acme": Result.DONE}
    assert (len(zoho.writes()), len(zoho.rows["Deals"])) == (4, 1)


def test_no_credits_left_leaves_the_rest_unsent(zoho: FakeZoho, connect: Connect) -> None:
    body = {
        "code": "TOO_MANY_REQUESTS",
        "details": {},
        "message": "no",
        "headers": {"X-API-CREDITS-REMAINING": "0"},
    }
    zoho.before = lambda method, path, _: (429, dict(body)) if path == "/Deals" else None
    found = results(connect(in_flight=1), *(create(f"n{number}") for number in range(250)))
    assert set(found.values()) == {Result.UNSENT}
    assert len(zoho.writes()) == 1


def test_a_missing_right_stops_and_is_raised_after_the_outcomes(zoho: FakeZoho, connect: Connect) -> None:
    body = {
        "code": "NO_PERMISSION",
        "details": {"permissions": ["Crm_Implied_Create_Deals"]},
        "message": "no",
    }
    zoho.before = lambda method, path, _: (403, body) if path == "/Deals" else None
    found: list[Written] = []
    changes = [create(f"n{number}") for number in range(150)]
    with pytest.raises(MissingScope, match="Crm_Implied_Create_Deals"):
        found.extend(one for group in connect(in_flight=1).write(changes) for one in group)
    assert {one.result for one in found} == {Result.UNSENT}
    assert len(found) == 150


def test_metadata_that_cannot_be_read_leaves_everything_unsent(zoho: FakeZoho, connect: Connect) -> None:
    zoho.before = lambda method, path, _: (500, {}) if path == "/settings/fields" else None
    assert results(connect(), create()) == {"Acme": Result.UNSENT}
    assert zoho.writes() == []


def test_rows_are_matched_by_what_they_say_if_their_number_differs(zoho: FakeZoho, connect: Connect) -> None:
    for native in ("1", "2", "3"):
        zoho.put("Deals", native)
    zoho.change_answer = lambda status, body: (
        status,
        {"data": body["data"][2:0:-1]} if body and "data" in body else body,
    )
    found = written(connect(), update("1", name="A"), update("2", name="B"), update("3", name="C"))
    assert {native: one.result for native, one in found.items()} == {
        "u1": Result.UNKNOWN,
        "u2": Result.DONE,
        "u3": Result.DONE,
    }
    assert found["u2"].ref == ref("2")


def test_swapped_rows_are_matched_by_id(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1")
    zoho.put("Deals", "2")
    zoho.locked.add("2")
    zoho.change_answer = lambda status, body: (
        status,
        {"data": body["data"][::-1]} if body and "data" in body else body,
    )
    assert results(connect(), update("1", name="A"), update("2", name="B")) == {
        "u1": Result.DONE,
        "u2": Result.UNSENT,
    }


def test_swapped_successes_are_matched_by_id(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1")
    zoho.put("Deals", "2")
    zoho.change_answer = lambda status, body: (
        status,
        {"data": body["data"][::-1]} if body and "data" in body else body,
    )
    found = written(connect(), update("1", name="A"), update("2", name="B"))
    assert (found["u1"].ref, found["u2"].ref) == (ref("1"), ref("2"))


def test_swapped_refusals_are_matched_by_the_place_that_they_name(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Contacts", "5", Email="ann@example.com")
    zoho.change_answer = lambda status, body: (
        status,
        {"data": body["data"][::-1]} if body and "data" in body else body,
    )
    taken = create(id="taken", kind=Kind.CONTACT, last_name="Lee", emails=("ann@example.com",))
    free = create(id="free", kind=Kind.CONTACT, last_name="Lee")
    found = results(connect(), taken, free)
    assert found["taken"] is Result.EXISTS
    assert found["free"] is Result.UNKNOWN  # its row does not say that it is the other one


def test_a_batch_in_which_every_row_failed_is_one_request(zoho: FakeZoho, connect: Connect) -> None:
    for native in ("1", "2", "3"):
        zoho.put("Deals", native, at=START)
    stale = [update(native, read_at=START, name="A") for native in ("1", "2", "3")]
    assert set(results(connect(), *stale).values()) == {Result.STALE}
    assert len(zoho.writes()) == 1


def test_a_secret_in_an_error_is_masked(zoho: FakeZoho, connect: Connect) -> None:
    row = {"code": "INVALID_DATA", "details": {}, "message": "bad s3cret and acc3ss", "status": "error"}
    zoho.before = lambda method, path, _: (400, {"data": [row]}) if path == "/Deals" else None
    reason = written(connect(), create())["Acme"].reason
    assert "bad" in reason
    assert "s3cret" not in reason
    assert "acc3ss" not in reason


def test_a_read_only_run_sends_nothing(zoho: FakeZoho, connect: Connect) -> None:
    with pytest.raises(Unsupported):
        list(connect(read_only=True).write([create()]))
    assert zoho.sent == []


def test_a_read_only_run_prepares_nothing(zoho: FakeZoho, connect: Connect) -> None:
    zoho.fields["Deals"].remove(KEY_META)
    with pytest.raises(CrmkitError):
        connect(read_only=True).prepare([Kind.DEAL])
    assert zoho.writes() == []


@pytest.mark.parametrize(
    ("act", "kind"), [(Act.DELETE, Kind.PIPELINE), (Act.UPDATE, Kind.NOTE), (Act.CREATE, Kind.OWNER)]
)
def test_what_cannot_be_written_says_so_before_any_call(
    zoho: FakeZoho, connect: Connect, act: Act, kind: Kind
) -> None:
    with pytest.raises(Unsupported):
        connect().write([Change("x", act, kind, ref("1", kind))])
    assert zoho.sent == []


def test_keys_are_found_by_coql_fifty_at_a_time(zoho: FakeZoho, connect: Connect) -> None:
    for number in range(1, 121):
        zoho.put("Deals", str(number), Crmkit_Key=f"ck1:a:b:deal:{number}")
    lookups = [Lookup(Kind.DEAL, f"ck1:a:b:deal:{number}") for number in range(1, 131)]
    found = connect().find(lookups)
    assert len(found) == 120
    assert found["ck1:a:b:deal:7"] == [ref("7")]
    assert [one[1] for one in zoho.sent] == ["token", "/settings/fields", "/coql", "/coql", "/coql"]


def test_a_key_that_differs_in_case_only_is_another_key(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Deals", "1", Crmkit_Key="ck1:a:b:deal:oppo_X")
    assert connect().find([Lookup(Kind.DEAL, "ck1:a:b:deal:oppo_x")]) == {}


def test_several_records_with_one_key_are_all_found_lowest_id_first(zoho: FakeZoho, connect: Connect) -> None:
    for native in ("90", "100", "11"):
        zoho.put("Deals", native, Crmkit_Key=KEY)
    assert connect().find([Lookup(Kind.DEAL, KEY)]) == {KEY: [ref("11"), ref("90"), ref("100")]}


def test_without_a_key_field_nothing_carries_a_key(zoho: FakeZoho, connect: Connect) -> None:
    zoho.fields["Deals"].remove(KEY_META)
    assert connect().find([Lookup(Kind.DEAL, KEY)]) == {}
    assert "/coql" not in [one[1] for one in zoho.sent]


def test_notes_are_found_by_their_marker_under_their_deal(zoho: FakeZoho, connect: Connect) -> None:
    connector = connect()
    changes = [
        Change(
            f"n{n}",
            Act.CREATE,
            Kind.NOTE,
            values={"text": f"Call {n}", "deal_id": "7"},
            key=f"ck1:a:b:note:{n}",
        )
        for n in range(2250)
    ]
    assert set(results(connector, *changes).values()) == {Result.DONE}
    row = zoho.rows["Notes"][next(iter(zoho.rows["Notes"]))]
    assert (row["Note_Title"], row["Note_Content"]) == ("ck1:a:b:note:0", "Call 0")
    assert row["Parent_Id"] == {"module": {"api_name": "Deals"}, "id": "7"}
    found = connector.find(
        [Lookup(Kind.NOTE, "ck1:a:b:note:240", ref("7")), Lookup(Kind.NOTE, "no", ref("7"))]
    )
    assert {key: len(refs) for key, refs in found.items()} == {"ck1:a:b:note:240": 1}
    assert connector.capabilities.find_lag_seconds > 0


def test_a_marker_that_is_in_the_text_already_is_not_doubled(zoho: FakeZoho, connect: Connect) -> None:
    values = {"text": f"Call\n{KEY}", "company_id": "7"}
    written(connect(), Change("n", Act.CREATE, Kind.NOTE, values=values, key=KEY))
    row = zoho.writes()[0][3]["data"][0]
    assert row == {
        "Note_Content": f"Call\n{KEY}",
        "Parent_Id": {"module": {"api_name": "Accounts"}, "id": "7"},
    }


def test_what_a_note_cannot_keep_is_named(zoho: FakeZoho, connect: Connect) -> None:
    values = {"text": "Call", "deal_id": "7", "company_id": "8", "author_id": "9", "at": START}
    one = written(connect(), Change("n", Act.CREATE, Kind.NOTE, values=values))["n"]
    assert (one.result, set(one.unwritten)) == (Result.DONE, {"company_id", "author_id", "at"})


def test_prepare_makes_the_key_field_once_also_if_metadata_was_read_before(
    zoho: FakeZoho, connect: Connect
) -> None:
    zoho.fields["Deals"].remove(KEY_META)
    connector = connect()
    connector.fields(Kind.DEAL)
    assert len(connector.unprepared([Kind.DEAL, Kind.NOTE])) == 1
    assert len(connector.prepare([Kind.DEAL])) == 1
    assert connector.prepare([Kind.DEAL]) == []
    assert [one[3]["fields"][0] for one in zoho.writes("/settings/fields")] == [
        {"field_label": "Crmkit Key", "data_type": "text", "length": 100, "unique": {"case_sensitive": True}}
    ]
    assert results(connector, create(key=KEY)) == {"Acme": Result.DONE}
    assert connector.find([Lookup(Kind.DEAL, KEY)])[KEY]


@pytest.mark.parametrize(
    "odd", [{"unique": {}}, {"data_type": "textarea"}, {"length": 20}, {"read_only": True}]
)
def test_a_field_that_cannot_hold_the_key_is_refused(
    zoho: FakeZoho, connect: Connect, odd: dict[str, Any]
) -> None:
    zoho.fields["Deals"][-1] = {**KEY_META, **odd}
    with pytest.raises(Rejected, match="cannot hold our key"):
        connect().prepare([Kind.DEAL])
    assert zoho.writes() == []


def test_a_key_field_that_somebody_else_just_made_is_used(zoho: FakeZoho, connect: Connect) -> None:
    zoho.fields["Accounts"].remove(KEY_META)

    def clash(method: str, path: str, body: Any) -> Any:
        if method == "POST" and path == "/settings/fields":
            zoho.fields["Accounts"].append(KEY_META)
            details = {"api_name": "field_label", "json_path": "$.fields[0].field_label"}
            return 400, {
                "fields": [{"code": "DUPLICATE_DATA", "details": details, "message": "", "status": "error"}]
            }
        return None

    zoho.before = clash
    assert len(connect().prepare([Kind.COMPANY])) == 1


def test_a_key_field_under_another_name_is_refused(zoho: FakeZoho, connect: Connect) -> None:
    zoho.fields["Deals"].remove(KEY_META)
    zoho.new_field_name = "Crmkit_Key1"
    with pytest.raises(Rejected, match="another name"):
        connect().prepare([Kind.DEAL])


@pytest.mark.parametrize("code", ["NO_PERMISSION", "OAUTH_SCOPE_MISMATCH"])
def test_a_login_that_may_not_make_fields_is_told_what_to_click(
    zoho: FakeZoho, connect: Connect, code: str
) -> None:
    zoho.fields["Deals"].remove(KEY_META)
    body = {"code": code, "details": {}, "message": "no", "status": "error"}
    zoho.before = lambda method, path, _: (
        (403, body) if (method, path) == ("POST", "/settings/fields") else None
    )
    with pytest.raises(AccessDenied) as caught:
        connect().prepare([Kind.DEAL])
    assert "Do not allow duplicate values" in caught.value.hint


def test_further_contacts_become_contact_roles(zoho: FakeZoho, connect: Connect) -> None:
    people = (
        DealContact(id="5", primary=True),
        DealContact(id="6", role="decision maker"),
        DealContact(id="7"),
    )
    one = written(connect(contact_role="User"), create(contacts=people))["Acme"]
    deal, roles = zoho.writes()
    assert deal[3]["data"][0]["Contact_Name"] == {"id": "5"}
    assert roles[0] == "PUT"
    assert roles[3]["data"] == [
        {"id": "6", "Contact_Role": {"id": "901"}},
        {"id": "7", "Contact_Role": {"id": "902"}},
    ]
    assert (one.result, one.unwritten) == (Result.DONE, {})


def test_a_further_contact_without_a_role_is_named(zoho: FakeZoho, connect: Connect) -> None:
    people = (DealContact(id="5", primary=True), DealContact(id="7"))
    one = written(connect(), create(contacts=people))["Acme"]
    assert (one.result, set(one.unwritten), len(zoho.writes())) == (Result.DONE, {"contacts"}, 1)


def test_a_failure_after_the_record_leaves_it_done(zoho: FakeZoho, connect: Connect) -> None:
    zoho.before = lambda method, path, _: (500, {}) if path.endswith("Contact_Roles") else None
    people = (DealContact(id="5", primary=True), DealContact(id="6", role="User"))
    one = written(connect(), create(contacts=people))["Acme"]
    assert (one.result, set(one.unwritten)) == (Result.DONE, {"contacts"})


def stage(native: str, name: str) -> Stage:
    return Stage(id=native, name=name, order=0)


def pipeline(act: Act, native: str | None = None, **values: Any) -> Change:
    return Change("p", act, Kind.PIPELINE, ref(native, Kind.PIPELINE) if native else None, values)


def test_a_pipeline_is_made_from_existing_stages(zoho: FakeZoho, connect: Connect) -> None:
    stages = (stage("x", "qualification"), stage("103", "Closed Won"))
    one = written(connect(), pipeline(Act.CREATE, name="Partners", stages=stages))["p"]
    method, path, params, body, _ = zoho.writes()[0]
    assert (method, path, params) == ("POST", "/settings/pipeline", {"layout_id": "301"})
    maps = [{"id": "101", "sequence_number": 1}, {"id": "103", "sequence_number": 2}]
    assert body == {"pipeline": [{"display_value": "Partners", "maps": maps}]}
    assert (one.result, one.ref) == (Result.DONE, ref("211", Kind.PIPELINE))


def test_a_pipeline_with_a_stage_that_the_org_lacks_is_refused_by_name(
    zoho: FakeZoho, connect: Connect
) -> None:
    stages = (stage("101", "Qualification"), stage("x", "Verbal OK"))
    one = written(connect(), pipeline(Act.CREATE, name="Partners", stages=stages))["p"]
    assert (one.result, one.field, zoho.writes()) == (Result.REJECTED, "stages", [])
    assert "Verbal OK" in one.reason


def test_a_stage_of_the_same_name_and_another_outcome_is_not_taken_for_it(
    zoho: FakeZoho, connect: Connect
) -> None:
    stages = (Stage(id="x", name="Closed Won", order=0, outcome=Outcome.OPEN),)
    one = written(connect(), pipeline(Act.CREATE, name="Partners", stages=stages))["p"]
    assert (one.result, one.field, zoho.writes()) == (Result.REJECTED, "stages", [])


def test_what_a_pipeline_cannot_hold_is_known_once_the_fields_were_read(connect: Connect) -> None:
    connector = connect()
    values = {"name": "P", "stages": (stage("x", "Verbal OK"), stage("y", "Qualification"))}
    assert connector.cannot_hold(Kind.PIPELINE, values) == {}
    connector.fields(Kind.DEAL)
    assert "Verbal OK" in connector.cannot_hold(Kind.PIPELINE, values)["stages"]


def test_a_pipeline_name_that_is_taken_leads_to_the_pipeline(zoho: FakeZoho, connect: Connect) -> None:
    change = pipeline(Act.CREATE, name="Standard (Standard)", stages=(stage("101", ""),))
    one = written(connect(), change)["p"]
    assert (one.result, one.ref) == (Result.EXISTS, ref("201", Kind.PIPELINE))


def test_a_pipeline_is_renamed_and_gets_stages_but_loses_none(zoho: FakeZoho, connect: Connect) -> None:
    zoho.pipelines["301"] = [zoho.pipeline("201", "Standard (Standard)", ["101", "103"])]
    stages = (stage("102", "Deciders"), stage("103", "Closed Won"))
    one = written(connect(), pipeline(Act.UPDATE, "201", name="Main", stages=stages))["p"]
    body = zoho.writes()[0][3]["pipeline"][0]
    assert (body["id"], body["display_value"]) == ("201", "Main")
    assert [entry["id"] for entry in body["maps"]] == ["102", "103", "101"]
    assert (one.result, set(one.unwritten)) == (Result.DONE, {"stages"})


def test_deals_name_a_pipeline_as_it_is_called_after_it_was_renamed(zoho: FakeZoho, connect: Connect) -> None:
    connector = connect()
    written(connector, create("before"))
    written(connector, pipeline(Act.UPDATE, "201", name="Main"))
    written(connector, create("after"))
    assert [one[3]["data"][0]["Pipeline"] for one in zoho.writes("/Deals")] == ["Standard (Standard)", "Main"]


def test_a_pipeline_that_is_not_there_is_gone(zoho: FakeZoho, connect: Connect) -> None:
    assert results(connect(), pipeline(Act.UPDATE, "999", name="Main")) == {"p": Result.GONE}


def test_a_contact_gets_its_phones_and_addresses_in_order(zoho: FakeZoho, connect: Connect) -> None:
    zoho.put("Contacts", "5")
    one = written(connect(), update("5", Kind.CONTACT, phones=("1", "2", "3"), emails=("a@example.com",)))[
        "u5"
    ]
    assert zoho.writes()[0][3]["data"] == [
        {"id": "5", "Phone": "1", "Mobile": "2", "Email": "a@example.com", "Secondary_Email": None}
    ]
    assert set(one.unwritten) == {"phones"}


@pytest.mark.parametrize("act", list(Act))
def test_ten_thousand_changes_take_the_requests_of_the_budget(
    zoho: FakeZoho, connect: Connect, act: Act
) -> None:
    connector = connect()
    if act is not Act.CREATE:
        for number in range(1, 10001):
            zoho.put("Deals", str(number))
    makers: dict[Act, Callable[[int], Change]] = {
        Act.CREATE: lambda number: create(f"n{number}", key=f"ck1:a:b:deal:{number}"),
        Act.UPDATE: lambda number: update(str(number), name="New", read_at=START + timedelta(seconds=5)),
        Act.DELETE: lambda number: delete(str(number)),
    }
    zoho.unique["Deals"] = []  # ten thousand comparisons with ten thousand rows say nothing here
    changes = [makers[act](number) for number in range(1, 10001)]
    budget = connector.budget(changes)
    chunk = connector.capabilities.writing[Kind.DEAL].chunk
    done = 0
    for start in range(0, len(changes), chunk):
        found = [one for group in connector.write(changes[start : start + chunk]) for one in group]
        done += sum(one.result is Result.DONE for one in found)
    assert done == 10000
    # Contract, section 14: 100 requests and 1,000 credits; deletes cost a credit per hundred.
    assert (budget.requests, budget.units) == (100, 100 if act is Act.DELETE else 1000)
    assert len(zoho.writes()) == budget.requests
    metadata = connector.context.usage.requests - budget.requests
    assert metadata <= 5  # token, org, fields, layouts, pipelines


def test_a_short_refusal_is_sent_again_in_halves_but_a_short_success_is_not(
    zoho: FakeZoho, connect: Connect
) -> None:
    def first_row_only(status: int, reply: Any) -> tuple[int, Any]:
        rows = reply.get("data") if reply else None
        return status, {"data": rows[:1]} if rows else reply

    zoho.change_answer = first_row_only
    assert results(connect(), create("a"), create("b")) == {"a": Result.UNKNOWN, "b": Result.UNKNOWN}
    assert len(zoho.writes()) == 1
    zoho.put("Deals", "1", at=START)
    zoho.put("Deals", "2", at=START)
    stale = [update(native, read_at=START, name="A") for native in ("1", "2")]
    assert results(connect(), *stale) == {"u1": Result.STALE, "u2": Result.STALE}


def test_the_budget_counts_checked_and_unchecked_updates_apart(connect: Connect) -> None:
    changes = [update("1", name="A"), update("2", name="A", read_at=START)]
    assert connect().budget(changes).requests == 2


def test_the_budget_counts_calls_for_further_contacts(connect: Connect) -> None:
    people = (DealContact(id="5", primary=True), DealContact(id="6", role="User"))
    plain = connect().budget([create(f"n{n}") for n in range(10)])
    more = connect().budget([create(f"n{n}", contacts=people) for n in range(10)])
    assert (plain.requests, more.requests) == (1, 12)


def test_capabilities_name_what_can_be_written(connect: Connect) -> None:
    writing = connect().capabilities.writing
    assert writing[Kind.DEAL].keys is Keys.UNIQUE
    assert writing[Kind.DEAL].update_if_unchanged
    assert {"name", "stage_id", "amount", "custom", "tags"} <= writing[Kind.DEAL].fields
    assert "outcome" not in writing[Kind.DEAL].fields  # the stage tells it
    assert writing[Kind.PIPELINE].acts == {Act.CREATE, Act.UPDATE}
