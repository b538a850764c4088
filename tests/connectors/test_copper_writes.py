"""Copper's writing side against a stand-in that keeps state and speaks Copper's wire format.

The traps of the contract that concern writing, and the test that each would fail:

 won and lost are the status       test_the_outcome_is_written_as_status_and_the_stage_stays
 lists are read only               test_pipelines_cannot_be_written
 a deal needs a person             test_a_deal_without_a_person_is_reported_and_the_refusal_names_the_field
 close dates by the account        test_close_dates_have_leading_zeros_in_the_accounts_order
 custom dates at local midnight    test_custom_values_are_ids_and_local_midnights
 money is exact                    test_money_is_sent_exactly_and_as_a_number
 the key is a tag                  test_a_created_deal_is_found_again_by_its_key
 PUT replaces tags and lists       test_an_update_of_tags_keeps_our_marker,
                                   test_an_update_of_a_city_keeps_the_street
 one clash fails one record        test_a_person_whose_address_is_taken_exists
 bulk is BETA: ten, three a second test_ten_records_go_in_one_request,
                                   test_bulk_calls_keep_below_three_a_second
 bulk may not exist                test_where_a_bulk_endpoint_is_missing_single_requests_take_its_place
 bulk answers 200 with failures    test_one_bad_record_of_a_bulk_request_does_not_fail_its_neighbours
 answers differ from requests      test_a_value_that_copper_does_not_keep_is_named
 further links cost a call each    test_further_people_and_companies_are_linked_one_by_one
 deletes are permanent             test_a_deal_is_deleted_and_a_second_delete_finds_it_gone
"""

from __future__ import annotations

import io
import json
import re
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from urllib.parse import urlsplit

import msgspec
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from crmkit.connectors.base import Context, Support
from crmkit.connectors.copper.connector import CopperConnector
from crmkit.connectors.writing import Act, Change, Keys, Lookup, Result
from crmkit.errors import AccessDenied, Unsupported
from crmkit.model import Company, Contact, Deal, DealContact, Kind, LostKind, Note, Outcome, Ref, Stage

NOW = int(datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).timestamp())
KEY = "ck1:ab12cd34:ef56ab78:deal:9001"
ENCODER = msgspec.json.Encoder(decimal_format="number")
SINGULAR = {"opportunities": "opportunity", "companies": "company", "people": "person"}
KINDS = {Kind.DEAL: "opportunities", Kind.COMPANY: "companies", Kind.CONTACT: "people"}
EVERY_BULK = {
    *(f"/{name}/bulk_create" for name in (*SINGULAR, "activities")),
    "/companies/bulk_update",
    "/people/bulk_update",
}
DEFINITIONS = [
    {
        "id": 501, "name": "Fruit", "data_type": "Dropdown", "available_on": ["opportunity"],
        "options": [{"id": 1, "name": "Banana"}, {"id": 2, "name": "Apple"}],
    },
    {
        "id": 502, "name": "Many", "data_type": "MultiSelect", "available_on": ["opportunity"],
        "options": [{"id": 3, "name": "One"}, {"id": 4, "name": "Two"}],
    },
    {"id": 503, "name": "Start", "data_type": "Date", "available_on": ["opportunity"]},
    {"id": 504, "name": "Score", "data_type": "Float", "available_on": ["opportunity", "person"]},
    {"id": 505, "name": "Only companies", "data_type": "String", "available_on": ["company"]},
]  # fmt: skip


class Refuse(Exception):
    def __init__(self, status: int, body: dict) -> None:
        self.status, self.body = status, body


class WritableCopper:
    """Keeps records; `calls` holds (method, path, body) of each request."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, dict]] = {name: {} for name in (*SINGULAR, "activities")}
        self.related: dict[int, list[dict]] = {}
        self.bulk = set(EVERY_BULK)
        self.per_bulk = 10
        self.currencies = True
        self.last_id = 1000
        self.calls: list[tuple[str, str, object]] = []
        self.answers: list[tuple[int, bytes] | Exception] = []
        self.lists = {
            "/custom_field_definitions": DEFINITIONS,
            "/loss_reasons": [{"id": 9, "name": "Price"}],
            "/customer_sources": [{"id": 8, "name": "Fair"}],
        }
        self.hidden_from_search: set[int] = set()
        self.trailing: dict[int, dict] = {}  # what the search still shows of a record
        self.tags_wrapped = False
        self.reverse_bulk = False
        self.on_write = lambda entity, row: None
        self.lock = threading.Lock()

    # Requests.

    def send(self, request, **_):
        path = urlsplit(request.url).path.removeprefix("/developer_api/v1")
        body = json.loads(request.body, parse_float=Decimal) if request.body else None
        with self.lock:
            self.calls.append((request.method, path, body))
            planned = self.answers.pop(0) if self.answers and request.method != "GET" else None
            if isinstance(planned, Exception):
                raise planned
            if planned is not None:
                status, raw = planned
            else:
                try:
                    status, raw = 200, ENCODER.encode(self.route(request.method, path, body))
                except Refuse as error:
                    status, raw = error.status, ENCODER.encode(error.body)
        response = requests.Response()
        response.status_code = status
        response.headers.update({"Date": "Mon, 23 Nov 2026 12:00:00 GMT", "Content-Type": "application/json"})
        response.raw = HTTPResponse(io.BytesIO(raw), preload_content=False)
        response.request, response.url = request, request.url
        return response

    def route(self, method: str, path: str, body):
        if path in self.lists:
            return self.lists[path]
        parts = path.strip("/").split("/")
        if path == "/people/fetch_by_email":
            return self.holder("emails", body["email"], None) or self.missing()
        if parts[-1] == "search":
            return self.search(parts[0], body)
        if parts[-1] == "related":
            return self.relate(method, int(parts[1]), body)
        if parts[-1].startswith("bulk_"):
            return self.in_bulk(path, parts, body)
        if len(parts) == 1:
            return self.create(parts[0], body)
        row = self.rows[parts[0]].get(int(parts[1])) or self.missing()
        if method == "PUT":
            return self.update(parts[0], row, body)
        if method == "DELETE":
            del self.rows[parts[0]][row["id"]]
            return {"id": row["id"], "is_deleted": True}
        return row

    def missing(self):
        raise Refuse(404, {"error": "not_found"})

    def in_bulk(self, path: str, parts: list[str], body: dict):
        if path not in self.bulk:
            self.missing()
        entity, act = parts
        items = body[entity]
        if len(items) > self.per_bulk:
            raise Refuse(422, {"error": f"The limit is {self.per_bulk} records"})
        answer = []
        for item in items:
            try:
                if act == "bulk_create":
                    answer.append(self.create(entity, item))
                else:
                    row = self.rows[entity].get(item["id"])
                    if row is None:
                        raise Refuse(0, {"label": "base", "code": "not_found"})
                    answer.append(self.update(entity, row, {k: v for k, v in item.items() if k != "id"}))
            except Refuse as error:
                label = error.body.get("label", "base")
                failed = {
                    "success": False,
                    "message": {label: [{"error": error.body.get("code", "invalid")}]},
                }
                answer.append({**failed, "id": item["id"]} if "id" in item else failed)
        return answer[::-1] if self.reverse_bulk else answer

    # Records.

    def invalid(self, label: str, text: str, code: str = "invalid"):
        said = f"Invalid input: Validation errors: {label.capitalize().replace('_', ' ')}: {text}"
        raise Refuse(422, {"success": False, "status": 422, "message": said, "label": label, "code": code})

    def create(self, entity: str, body: dict) -> dict:
        if entity == "activities":
            defaults = {"user_id": 5, "activity_date": NOW, "old_value": None, "new_value": None}
        else:
            if not (body.get("name") or "").strip():
                self.invalid("name", "can't be blank")
            if entity == "opportunities" and not body.get("primary_contact_id"):
                self.invalid("primary_contact_id", "can't be blank")
            self.check_unique(entity, body, None)
            defaults = {"assignee_id": None, "tags": [], "details": None, **self.defaults(entity)}
        self.last_id += 1
        stamps = {"date_created": NOW, "date_modified": NOW}
        row = {"id": self.last_id, **defaults, **stamps}
        self.rows[entity][row["id"]] = row
        return self.store(entity, row, body)

    def defaults(self, entity: str) -> dict:
        if entity == "opportunities":
            return {
                "close_date": None, "company_id": 70, "customer_source_id": None, "loss_reason_id": None,
                "pipeline_id": 1, "pipeline_stage_id": 11, "status": "Open", "monetary_value": None,
                "monetary_unit": "USD" if self.currencies else None, "win_probability": 5,
                "custom_fields": [],
            }  # fmt: skip
        shared = {"address": None, "phone_numbers": [], "custom_fields": []}
        if entity == "companies":
            return {**shared, "email_domain": None}
        return {**shared, "emails": [], "company_id": None, "first_name": None, "last_name": None}

    def update(self, entity: str, row: dict, body: dict) -> dict:
        if "name" in body and not body["name"].strip():
            self.invalid("name", "can't be blank")
        self.check_unique(entity, body, row["id"])
        row["date_modified"] = NOW + 1
        return self.store(entity, row, body)

    def store(self, entity: str, row: dict, body: dict) -> dict:
        values = {entry["custom_field_definition_id"]: entry for entry in row.get("custom_fields", ())}
        values |= {entry["custom_field_definition_id"]: entry for entry in body.get("custom_fields", ())}
        row.update(body)
        if entity != "activities":
            row["custom_fields"] = list(values.values())
        if entity == "opportunities":
            row["close_date"] = re.sub(r"\b0", "", row["close_date"]) if row["close_date"] else None
            row["monetary_unit"] = row["monetary_unit"] if self.currencies else None
        self.on_write(entity, row)
        return dict(row)

    def check_unique(self, entity: str, body: dict, own: int | None) -> None:
        if entity == "people":
            for part in body.get("emails") or ():
                if self.holder("emails", part["email"], own):
                    self.invalid("emails", f"{part['email']} is taken", "taken")
        domain = body.get("email_domain")
        if entity == "companies" and domain and self.holder("email_domain", domain, own):
            self.invalid("email_domain", "is taken", "taken")

    def holder(self, field: str, value: str, own: int | None) -> dict | None:
        entity = "people" if field == "emails" else "companies"
        for row in self.rows[entity].values():
            held = [part["email"] for part in row["emails"]] if field == "emails" else [row[field]]
            if value in held and row["id"] != own:
                return row
        return None

    def relate(self, method: str, native: int, body):
        links = self.related.setdefault(native, [])
        if method == "GET":
            return links
        links.append(body["resource"])
        return {"added": True, "resource": body["resource"]}

    def search(self, entity: str, body: dict) -> list[dict]:
        rows = [row for row in self.rows[entity].values() if row["id"] not in self.hidden_from_search]
        rows = [{**row, **self.trailing.get(row["id"], {})} for row in rows]
        if "ids" in body:
            assert len(body["ids"]) <= 200
            rows = [row for row in rows if row["id"] in body["ids"]]
        if "tags" in body:
            wrapped = isinstance(body["tags"], dict)
            if wrapped != self.tags_wrapped:
                raise Refuse(422, {"success": False, "status": 422, "message": "Invalid input: tags"})
            wanted = set(body["tags"]["value"] if wrapped else body["tags"])
            rows = [row for row in rows if wanted & set(row["tags"])]
        if "emails" in body:
            rows = [row for row in rows if {part["email"] for part in row["emails"]} & set(body["emails"])]
        if "email_domains" in body:
            rows = [row for row in rows if row["email_domain"] in body["email_domains"]]
        if "parent" in body:
            rows = [row for row in rows if row["parent"] == body["parent"]]
        number, size = body.get("page_number", 1), body.get("page_size", 20)
        assert size <= 200
        return rows[(number - 1) * size : number * size]

    # For tests.

    def writes(self) -> list[tuple[str, str, object]]:
        reads = ("search", "fetch_by_email")
        return [call for call in self.calls if call[0] != "GET" and not call[1].endswith(reads)]


@pytest.fixture
def fake(monkeypatch) -> WritableCopper:
    copper = WritableCopper()
    monkeypatch.setattr(HTTPAdapter, "send", copper.send)
    return copper


@pytest.fixture
def connect(make_context, fake):
    made: list[CopperConnector] = []

    def build(context: Context | None = None, **options) -> CopperConnector:
        wanted = {"user_email": "admin@example.com", **options}
        made.append(
            CopperConnector(
                context or make_context("us", api_key="k3y-secret"), CopperConnector.Options(**wanted)
            )
        )
        return made[-1]

    yield build
    for connector in made:
        connector.close()


def outcomes_of(connector: CopperConnector, changes: list[Change]):
    """The outcome per change; fails if a change has none or two."""
    written = [one for group in connector.write(changes) for one in group]
    assert sorted(one.id for one in written) == sorted(change.id for change in changes)
    return {one.id: one for one in written}


def only(connector: CopperConnector, change: Change):
    return outcomes_of(connector, [change])[change.id]


PERSON = (DealContact(id="80", primary=True),)


def create(n: int = 1, kind: Kind = Kind.DEAL, key: str | None = None, **values) -> Change:
    needed = {"contacts": PERSON} if kind is Kind.DEAL else {}
    named = {} if kind is Kind.NOTE else {"name": f"Record {n}"}
    return Change(f"c{n}", Act.CREATE, kind, None, {**named, **needed, **values}, key=key)


def update(native: object, kind: Kind = Kind.DEAL, **values) -> Change:
    named = {name.replace("custom_", "custom."): value for name, value in values.items()}
    return Change(f"u{native}", Act.UPDATE, kind, Ref("us", kind, str(native)), named)


def delete(native: object, kind: Kind = Kind.DEAL) -> Change:
    return Change(f"d{native}", Act.DELETE, kind, Ref("us", kind, str(native)))


def stored(fake: WritableCopper, kind: Kind, **more) -> int:
    """A record that is there already."""
    name = KINDS[kind]
    needed = {"primary_contact_id": 80} if kind is Kind.DEAL else {}
    return fake.create(name, {"name": "There already", **needed, **more})["id"]


class TestDeals:
    def test_a_created_deal_reads_as_it_was_written(self, fake, connect):
        values = {
            "pipeline_id": "2", "stage_id": "21", "amount": Decimal("1234.50"), "currency": "EUR",
            "probability": Decimal("0.4"), "owner_id": "5", "companies": ("71",),
            "expected_close": date(2027, 1, 15), "source": "Fair", "tags": ("hot",),
        }  # fmt: skip
        connector = connect()
        done = only(connector, create(key=KEY, **values))
        read = connector.get([done.ref])[0]
        assert (done.result, done.unwritten) == (Result.DONE, {})
        assert isinstance(read, Deal)
        assert {name: getattr(read, name) for name in values} == values
        assert read.key == KEY
        assert done.record == read
        assert done.version == read.version

    def test_the_outcome_is_written_as_status_and_the_stage_stays(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        done = only(connect(), update(native, outcome=Outcome.LOST, lost_reason="price"))
        _, _, body = fake.writes()[-1]
        assert body == {"status": "Lost", "loss_reason_id": 9}
        assert done.record.outcome is Outcome.LOST
        assert done.record.stage_id == "11"

    def test_an_abandoned_deal_is_abandoned_and_not_lost(self, fake, connect):
        done = only(connect(), create(outcome=Outcome.LOST, lost_kind=LostKind.ABANDONED))
        assert fake.rows["opportunities"][int(done.ref.id)]["status"] == "Abandoned"
        assert done.record.lost_kind is LostKind.ABANDONED

    def test_won_does_not_touch_the_probability(self, fake, connect):
        native = stored(fake, Kind.DEAL, win_probability=40)
        only(connect(), update(native, outcome=Outcome.WON))
        assert fake.writes()[-1][2] == {"status": "Won"}

    @pytest.mark.parametrize(("day_first", "text"), [(False, "02/01/2027"), (True, "01/02/2027")])
    def test_close_dates_have_leading_zeros_in_the_accounts_order(self, fake, connect, day_first, text):
        done = only(connect(day_first=day_first), create(expected_close=date(2027, 2, 1)))
        assert fake.writes()[-1][2]["close_date"] == text
        assert done.record.expected_close == date(2027, 2, 1)

    @pytest.mark.parametrize(
        ("amount", "text"), [("1234.50", b"1234.50"), ("100", b"100"), ("0.1", b"0.1"), ("1E+3", b"1000")]
    )
    def test_money_is_sent_exactly_and_as_a_number(self, fake, connect, monkeypatch, amount, text):
        sent = []
        plain = fake.send

        def send(adapter, request, **more):
            sent.append(request.body)
            return plain(request, **more)

        monkeypatch.setattr(HTTPAdapter, "send", send)
        only(connect(), create(amount=Decimal(amount)))
        assert b'"monetary_value":' + text in sent[-1]

    def test_an_update_sends_only_what_it_names(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        only(connect(), update(native, name="New name"))
        assert fake.writes()[-1] == ("PUT", f"/opportunities/{native}", {"name": "New name"})

    def test_none_clears(self, fake, connect):
        native = stored(fake, Kind.DEAL, monetary_value=5, close_date="1/2/2027", assignee_id=5)
        done = only(connect(), update(native, amount=None, expected_close=None, owner_id=None))
        assert fake.writes()[-1][2] == {"monetary_value": None, "close_date": None, "assignee_id": None}
        assert done.unwritten == {}

    def test_a_create_leaves_what_is_empty_to_the_accounts_defaults(self, fake, connect):
        done = only(connect(), create(probability=None, owner_id=None, companies=(), tags=()))
        assert fake.writes()[-1][2] == {"name": "Record 1", "primary_contact_id": 80}
        assert done.unwritten == {}

    def test_pipeline_and_stage_go_together(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        only(connect(), update(native, pipeline_id="3", stage_id="31"))
        assert fake.writes()[-1][2] == {"pipeline_id": 3, "pipeline_stage_id": 31}

    def test_a_deal_without_a_person_is_reported_and_the_refusal_names_the_field(self, fake, connect):
        connector = connect()
        change = Change("c1", Act.CREATE, Kind.DEAL, None, {"name": "No person"})
        done = only(connector, change)
        assert (done.result, done.field) == (Result.REJECTED, "contacts")
        assert connector.cannot_hold(Kind.DEAL, {"contacts": ()}).keys() == {"contacts"}
        assert "contacts" in connector.capabilities.writing[Kind.DEAL].required

    def test_further_people_and_companies_are_linked_one_by_one(self, fake, connect):
        people = (DealContact(id="81"), DealContact(id="80", primary=True), DealContact(id="82"))
        done = only(connect(), create(contacts=people, companies=("70", "71")))
        assert fake.rows["opportunities"][int(done.ref.id)]["primary_contact_id"] == 80
        links = {(link["type"], link["id"]) for link in fake.related[int(done.ref.id)]}
        assert links == {("person", 81), ("person", 82), ("company", 71)}

    def test_a_failed_link_leaves_the_deal_done_and_names_the_field(self, fake, connect):
        def no_links(method, native, body):
            raise Refuse(422, {"success": False, "status": 422, "message": "no"})

        fake.relate = no_links
        done = only(connect(), create(companies=("70", "71")))
        assert done.result is Result.DONE
        assert done.unwritten.keys() == {"companies"}

    def test_an_update_does_not_link_again_what_is_linked(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        fake.related[native] = [{"id": 71, "type": "company"}]
        only(connect(), update(native, companies=("70", "71", "72")))
        assert fake.related[native] == [{"id": 71, "type": "company"}, {"id": 72, "type": "company"}]

    def test_a_deal_is_deleted_and_a_second_delete_finds_it_gone(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        connector = connect()
        results = [only(connector, delete(native)).result for _ in range(2)]
        assert results == [Result.DONE, Result.GONE]

    def test_an_update_of_a_missing_deal_finds_it_gone(self, fake, connect):
        assert only(connect(), update(4711, name="x")).result is Result.GONE

    def test_what_is_no_id_of_copper_is_gone_without_a_request(self, fake, connect):
        assert only(connect(), delete("m1")).result is Result.GONE
        assert fake.writes() == []

    def test_an_id_of_another_crm_is_refused_with_its_field_before_anything_is_sent(self, fake, connect):
        done = only(connect(), create(stage_id="appointmentscheduled"))
        assert (done.result, done.field) == (Result.REJECTED, "stage_id")
        assert fake.writes() == []


class TestTagsAndKeys:
    def test_a_created_deal_is_found_again_by_its_key(self, fake, connect):
        connector = connect()
        done = only(connector, create(key=KEY))
        assert connector.find([Lookup(Kind.DEAL, KEY), Lookup(Kind.DEAL, "ck1:other")]) == {KEY: [done.ref]}
        assert fake.rows["opportunities"][int(done.ref.id)]["tags"] == [f"crmkit:{KEY}"]

    @pytest.mark.parametrize("kind", [Kind.COMPANY, Kind.CONTACT])
    def test_companies_and_people_are_found_by_key(self, fake, connect, kind):
        connector = connect()
        done = only(connector, create(kind=kind, key="ck1:x"))
        assert connector.find([Lookup(kind, "ck1:x")]) == {"ck1:x": [done.ref]}
        assert connector.get([done.ref])[0].key == "ck1:x"

    def test_all_records_of_a_key_are_found_lowest_id_first(self, fake, connect):
        natives = [stored(fake, Kind.DEAL, tags=["crmkit:twice"]) for _ in range(2)]
        found = connect().find([Lookup(Kind.DEAL, "twice")])
        assert [ref.id for ref in found["twice"]] == [str(native) for native in natives]

    def test_four_hundred_keys_are_looked_for_in_two_requests(self, fake, connect):
        connect().find([Lookup(Kind.DEAL, f"ck1:{n}") for n in range(400)])
        assert [len(body["tags"]) for _, _, body in fake.calls] == [200, 200]

    def test_where_the_search_wants_tags_wrapped_they_are(self, fake, connect):
        fake.tags_wrapped = True
        native = stored(fake, Kind.DEAL, tags=["crmkit:k"])
        connector = connect()
        assert [ref.id for ref in connector.find([Lookup(Kind.DEAL, "k")])["k"]] == [str(native)]
        connector.find([Lookup(Kind.DEAL, "k")])
        assert fake.calls[-1][2]["tags"] == {"option": "ANY", "value": ["crmkit:k"]}
        assert len(fake.calls) == 3

    def test_an_update_of_tags_keeps_our_marker(self, fake, connect):
        connector = connect()
        ref = only(connector, create(key=KEY, tags=("old",))).ref
        done = only(connector, update(ref.id, tags=("new",)))
        assert fake.rows["opportunities"][int(ref.id)]["tags"] == ["new", f"crmkit:{KEY}"]
        assert (done.record.tags, done.record.key) == (("new",), KEY)

    @pytest.mark.parametrize("fresh_reads", [True, False])
    def test_a_record_that_the_search_does_not_show_yet_is_read_by_its_id(self, fake, connect, fresh_reads):
        native = stored(fake, Kind.DEAL, tags=["crmkit:new"])
        fake.hidden_from_search.add(native)
        only(connect(fresh_reads=fresh_reads), update(native, tags=("a",)))
        assert fake.rows["opportunities"][native]["tags"] == ["a", "crmkit:new"]

    def test_a_marker_that_the_search_does_not_show_yet_is_kept(self, fake, connect):
        native = stored(fake, Kind.DEAL, tags=["crmkit:new"])
        fake.trailing[native] = {"tags": []}
        only(connect(), update(native, tags=("a",)))
        assert fake.rows["opportunities"][native]["tags"] == ["a", "crmkit:new"]

    def test_tags_that_look_like_our_marker_are_reported(self, fake, connect):
        done = only(connect(), create(tags=("crmkit:forged",)))
        assert done.unwritten.keys() == {"tags"}
        assert fake.writes()[-1][2].get("tags") is None

    def test_a_dropped_marker_is_named(self, fake, connect):
        fake.on_write = lambda entity, row: row.update(tags=[])
        done = only(connect(), create(key=KEY))
        assert (done.result, set(done.unwritten)) == (Result.DONE, {"key"})

    def test_a_refused_create_that_is_there_already_exists(self, fake, connect):
        native = stored(fake, Kind.DEAL, tags=[f"crmkit:{KEY}"])
        done = only(connect(), create(key=KEY, name="x", contacts=()))
        assert (done.result, done.ref.id) == (Result.EXISTS, str(native))

    def test_without_the_lookup_a_refusal_is_not_final(self, fake, connect):
        fake.search = lambda entity, body: (_ for _ in ()).throw(Refuse(422, {"error": "no search"}))
        done = only(connect(), create(key=KEY, contacts=()))
        assert done.result is Result.UNSENT


class TestCompaniesAndPeople:
    def test_a_created_person_reads_as_it_was_written(self, fake, connect):
        values = {
            "name": "Ada Lovelace", "emails": ("ada@x.test", "al@x.test"), "phones": ("+1 555",),
            "city": "London", "country": "GB", "postcode": "W1", "owner_id": "5", "companies": ("70",),
        }  # fmt: skip
        connector = connect()
        done = only(connector, create(kind=Kind.CONTACT, **values))
        read = connector.get([done.ref])[0]
        assert isinstance(read, Contact)
        assert {name: getattr(read, name) for name in values} == values
        assert done.unwritten == {}

    def test_a_created_company_reads_as_it_was_written(self, fake, connect):
        values = {"name": "Acme", "domain": "acme.test", "phones": ("1",), "city": "Rome"}
        connector = connect()
        done = only(connector, create(kind=Kind.COMPANY, **values))
        read = connector.get([done.ref])[0]
        assert isinstance(read, Company)
        assert {name: getattr(read, name) for name in values} == values

    def test_an_update_of_a_city_keeps_the_street(self, fake, connect):
        address = {"street": "1 High St", "city": "Rome", "state": "RM", "postal_code": "1", "country": "IT"}
        native = stored(fake, Kind.COMPANY, address=address)
        only(connect(), update(native, Kind.COMPANY, city="Milan"))
        assert fake.rows["companies"][native]["address"] == {**address, "city": "Milan"}

    def test_an_update_of_phones_keeps_their_categories(self, fake, connect):
        native = stored(fake, Kind.CONTACT, phone_numbers=[{"number": "1", "category": "mobile"}])
        only(connect(), update(native, Kind.CONTACT, phones=("1", "2")))
        assert fake.rows["people"][native]["phone_numbers"] == [
            {"number": "1", "category": "mobile"}, {"number": "2", "category": "work"}
        ]  # fmt: skip

    def test_what_must_be_read_first_is_read_once_by_its_own_address(self, fake, connect):
        natives = [stored(fake, Kind.CONTACT) for _ in range(20)]
        outcomes_of(connect(), [update(native, Kind.CONTACT, city="Rome") for native in natives])
        read = [path for method, path, _ in fake.calls if method == "GET" and path.startswith("/people/")]
        assert sorted(read) == [f"/people/{native}" for native in natives]
        assert not any(path.endswith("search") for _, path, _ in fake.calls)

    def test_without_fresh_reads_what_must_be_read_first_is_read_two_hundred_at_a_time(self, fake, connect):
        natives = [stored(fake, Kind.CONTACT) for _ in range(400)]
        connector = connect(fresh_reads=False)
        outcomes_of(connector, [update(native, Kind.CONTACT, city="Rome") for native in natives])
        assert sum(path == "/people/search" for _, path, _ in fake.calls) == 2
        assert not any(method == "GET" and path.startswith("/people/") for method, path, _ in fake.calls)

    def test_a_phone_that_the_search_does_not_show_yet_keeps_its_category(self, fake, connect):
        native = stored(fake, Kind.CONTACT, phone_numbers=[{"number": "1", "category": "mobile"}])
        fake.trailing[native] = {"phone_numbers": []}
        only(connect(), update(native, Kind.CONTACT, phones=("1", "2")))
        assert fake.rows["people"][native]["phone_numbers"][0] == {"number": "1", "category": "mobile"}

    def test_a_street_that_the_search_does_not_show_yet_is_kept(self, fake, connect):
        native = stored(fake, Kind.COMPANY, address={"street": "1 High St", "city": "Rome"})
        fake.trailing[native] = {"address": None}
        only(connect(), update(native, Kind.COMPANY, city="Milan"))
        assert fake.rows["companies"][native]["address"] == {"street": "1 High St", "city": "Milan"}

    def test_a_person_whose_address_is_taken_exists(self, fake, connect):
        native = stored(fake, Kind.CONTACT, emails=[{"email": "a@x.test", "category": "work"}])
        changes = [
            create(1, Kind.CONTACT, emails=("a@x.test",)),
            create(2, Kind.CONTACT, emails=("b@x.test",)),
        ]
        done = outcomes_of(connect(), changes)
        assert (done["c1"].result, done["c1"].ref.id) == (Result.EXISTS, str(native))
        assert done["c2"].result is Result.DONE

    def test_a_taken_address_is_found_although_the_search_lags(self, fake, connect):
        native = stored(fake, Kind.CONTACT, emails=[{"email": "a@x.test", "category": "work"}])
        fake.hidden_from_search.add(native)
        done = only(connect(), create(1, Kind.CONTACT, emails=("a@x.test",)))
        assert (done.result, done.ref.id) == (Result.EXISTS, str(native))

    def test_a_company_whose_domain_is_taken_exists(self, fake, connect):
        native = stored(fake, Kind.COMPANY, email_domain="acme.test")
        done = only(connect(), create(1, Kind.COMPANY, domain="acme.test"))
        assert (done.result, done.ref.id) == (Result.EXISTS, str(native))

    def test_an_update_to_a_taken_address_names_its_holder(self, fake, connect):
        holder = stored(fake, Kind.CONTACT, emails=[{"email": "a@x.test", "category": "work"}])
        native = stored(fake, Kind.CONTACT)
        done = only(connect(), update(native, Kind.CONTACT, emails=("a@x.test",)))
        assert (done.result, done.ref.id) == (Result.EXISTS, str(holder))

    def test_addresses_of_people_stay_out_of_reasons(self, fake, connect):
        stored(fake, Kind.CONTACT, emails=[{"email": "ada@x.test", "category": "work"}])
        done = only(connect(), create(1, Kind.CONTACT, emails=("ada@x.test",)))
        assert "is taken" in done.reason
        assert "ada@" not in done.reason

    def test_a_second_company_of_a_person_is_named_as_not_written(self, fake, connect):
        done = only(connect(), create(1, Kind.CONTACT, companies=("70", "71")))
        assert done.record.companies == ("70",)
        assert done.unwritten.keys() == {"companies"}

    def test_people_are_changed_ten_a_request_and_companies_too(self, fake, connect):
        for kind, path in ((Kind.CONTACT, "/people/bulk_update"), (Kind.COMPANY, "/companies/bulk_update")):
            natives = [stored(fake, kind) for _ in range(20)]
            done = outcomes_of(connect(), [update(native, kind, name="New") for native in natives])
            assert {one.result for one in done.values()} == {Result.DONE}
            assert [called for _, called, _ in fake.writes()][-2:] == [path, path]

    def test_a_missing_person_in_a_bulk_update_is_gone(self, fake, connect):
        native = stored(fake, Kind.CONTACT)
        done = outcomes_of(connect(), [update(n, Kind.CONTACT, name="x") for n in (native, 4711)])
        assert [done[f"u{native}"].result, done["u4711"].result] == [Result.DONE, Result.GONE]


class TestCustomFields:
    def test_custom_values_are_ids_and_local_midnights(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        connector = connect(time_zone="America/Los_Angeles")
        values = {
            "custom_501": "banana", "custom_502": ("One", "Two"), "custom_503": date(2027, 1, 15),
            "custom_504": Decimal("2.5"),
        }  # fmt: skip
        done = only(connector, update(native, **values))
        sent = {e["custom_field_definition_id"]: e["value"] for e in fake.writes()[-1][2]["custom_fields"]}
        assert sent == {501: 1, 502: [3, 4], 503: 1800000000, 504: Decimal("2.5")}
        assert done.record.custom == {
            "501": "Banana", "502": ("One", "Two"), "503": date(2027, 1, 15), "504": Decimal("2.5")
        }  # fmt: skip
        assert done.unwritten == {}

    def test_only_named_custom_fields_are_sent_and_none_clears(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        only(connect(), update(native, custom_501=None))
        sent = fake.writes()[-1][2]["custom_fields"]
        assert sent == [{"custom_field_definition_id": 501, "value": None}]

    def test_what_the_account_does_not_list_is_named_and_the_rest_is_written(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        change = update(native, name="New", custom_501="Cherry", custom_505="x", source="Nowhere")
        done = only(connect(), change)
        assert done.result is Result.DONE
        assert done.unwritten.keys() == {"custom.501", "custom.505", "source"}
        assert fake.rows["opportunities"][native]["name"] == "New"

    def test_an_update_of_which_nothing_can_be_written_is_refused_without_a_request(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        done = only(connect(), update(native, custom_501="Cherry"))
        assert (done.result, done.field) == (Result.REJECTED, "custom.501")
        assert fake.writes() == []

    def test_an_option_that_is_new_in_copper_is_known(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        connector = connect()
        only(connector, update(native, name="x"))
        fake.lists["/customer_sources"] = [{"id": 7, "name": "Web"}]
        done = only(connector, update(native, source="Web"))
        assert (done.unwritten, done.record.source) == ({}, "Web")

    def test_a_custom_date_needs_the_accounts_zone(self, fake, connect):
        connector = connect()
        connector.fields(Kind.DEAL)
        assert "time_zone" in connector.cannot_hold(Kind.DEAL, {"custom.503": date(2027, 1, 1)})["custom.503"]

    def test_fields_that_copper_does_not_have_are_named(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        done = only(connect(), update(native, name="x", forecast_category="commit"))
        assert done.unwritten.keys() == {"forecast_category"}


class TestCurrencies:
    def test_the_accounts_own_currency_is_left_out_of_a_create(self, fake, connect):
        only(connect(currency="USD"), create(amount=Decimal(5), currency="USD"))
        assert "monetary_unit" not in fake.writes()[-1][2]

    def test_an_update_names_the_currency_always(self, fake, connect):
        native = stored(fake, Kind.DEAL, monetary_unit="EUR")
        only(connect(currency="USD"), update(native, amount=Decimal(5), currency="USD"))
        assert fake.rows["opportunities"][native]["monetary_unit"] == "USD"

    def test_a_currency_that_copper_drops_is_named_and_not_sent_again(self, fake, connect):
        fake.currencies = False
        connector = connect(currency="USD")
        first = only(connector, create(1, amount=Decimal(5), currency="EUR"))
        second = only(connector, create(2, amount=Decimal(5), currency="EUR"))
        assert first.unwritten.keys() == {"currency"}
        assert (second.result, second.field) == (Result.REJECTED, "currency")
        assert "currency" in connector.cannot_hold(Kind.DEAL, {"currency": "EUR"})
        assert connector.cannot_hold(Kind.DEAL, {"currency": "USD"}) == {}


class TestNotes:
    def test_a_note_is_written_under_its_deal_and_found_by_its_marker(self, fake, connect):
        connector = connect()
        at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        change = create(1, Kind.NOTE, key="ck1:n", text="Called", deal_id="7", at=at)
        done = only(connector, change)
        assert isinstance(done.record, Note)
        assert (done.record.deal_id, done.record.at, done.unwritten) == ("7", at, {})
        assert done.record.text.splitlines() == ["Called", "", "ck1:n"]
        parent = Ref("us", Kind.DEAL, "7")
        assert connector.find([Lookup(Kind.NOTE, "ck1:n", parent)]) == {"ck1:n": [done.ref]}
        assert connector.find([Lookup(Kind.NOTE, "ck1:n")]) == {"ck1:n": [done.ref]}

    def test_a_marker_that_begins_another_is_not_found(self, fake, connect):
        connector = connect()
        only(connector, create(1, Kind.NOTE, key="ck1:n10", text="x", deal_id="7"))
        assert connector.find([Lookup(Kind.NOTE, "ck1:n1", Ref("us", Kind.DEAL, "7"))]) == {}

    def test_notes_of_one_deal_are_looked_for_in_one_request(self, fake, connect):
        parent = Ref("us", Kind.DEAL, "7")
        connect().find([Lookup(Kind.NOTE, f"ck1:{n}", parent) for n in range(50)])
        assert len(fake.calls) == 1

    def test_ten_notes_go_in_one_request(self, fake, connect):
        outcomes_of(connect(), [create(n, Kind.NOTE, text=f"t{n}", company_id="7") for n in range(10)])
        assert [path for _, path, _ in fake.calls] == ["/activities/bulk_create"]
        assert fake.calls[0][2]["activities"][0] == {
            "parent": {"type": "company", "id": 7}, "type": {"category": "user", "id": 0}, "details": "t0"
        }  # fmt: skip

    def test_a_note_without_a_place_is_refused_without_a_request(self, fake, connect):
        assert only(connect(), create(1, Kind.NOTE, text="x")).result is Result.REJECTED
        assert fake.calls == []


class TestBulk:
    def test_ten_records_go_in_one_request(self, fake, connect):
        done = outcomes_of(connect(), [create(n, key=f"ck1:{n}") for n in range(25)])
        sizes = sorted(len(body["opportunities"]) for _, _, body in fake.writes())
        assert sizes == [5, 10, 10]
        assert all(one.record.key == f"ck1:{one.id[1:]}" for one in done.values())

    @pytest.mark.parametrize("kind", [Kind.DEAL, Kind.CONTACT])
    def test_where_a_bulk_endpoint_is_missing_single_requests_take_its_place(self, fake, connect, kind):
        fake.bulk.clear()
        connector = connect()
        done = outcomes_of(connector, [create(n, kind) for n in range(25)])
        outcomes_of(connector, [create(n, kind) for n in range(25)])
        paths = [path for _, path, _ in fake.writes()]
        assert {one.result for one in done.values()} == {Result.DONE}
        assert (paths.count(f"/{KINDS[kind]}/bulk_create"), paths.count(f"/{KINDS[kind]}")) == (1, 50)

    def test_a_bulk_endpoint_that_is_switched_off_is_not_needed(self, fake, connect):
        fake.answers = [(403, b'{"success":false,"status":403,"message":"beta"}')]
        done = outcomes_of(connect(), [create(n) for n in range(3)])
        assert {one.result for one in done.values()} == {Result.DONE}

    def test_deals_are_changed_in_bulk_only_if_the_endpoint_turns_out_to_exist(self, fake, connect):
        natives = [stored(fake, Kind.DEAL) for _ in range(20)]
        connector = connect()
        outcomes_of(connector, [update(native, name="a") for native in natives])
        first = len(fake.writes())
        fake.bulk.add("/opportunities/bulk_update")
        outcomes_of(connect(), [update(native, name="b") for native in natives])
        assert (first, len(fake.writes()) - first) == (21, 2)

    def test_one_bad_record_of_a_bulk_request_does_not_fail_its_neighbours(self, fake, connect):
        changes = [create(n) for n in range(9)] + [Change("bad", Act.CREATE, Kind.DEAL, None, {"name": "x"})]
        done = outcomes_of(connect(), changes)
        assert [one.id for one in done.values() if one.result is not Result.DONE] == ["bad"]
        assert (done["bad"].result, done["bad"].field) == (Result.REJECTED, "contacts")

    def test_answers_in_another_order_go_to_the_records_that_they_name(self, fake, connect):
        fake.reverse_bulk = True
        done = outcomes_of(connect(), [create(n, key=f"ck1:{n}") for n in range(5)])
        assert all(one.record.key == f"ck1:{one.id[1:]}" for one in done.values())

    def test_a_record_that_the_answer_leaves_out_is_unknown(self, fake, connect):
        plain = fake.in_bulk
        fake.in_bulk = lambda path, parts, body: plain(path, parts, body)[1:]
        done = outcomes_of(connect(), [create(n, key=f"ck1:{n}") for n in range(5)])
        assert {one.id: one.result for one in done.values() if one.result is not Result.DONE} == {
            "c0": Result.UNKNOWN
        }

    def test_a_smaller_limit_of_records_is_learned(self, fake, connect):
        fake.per_bulk = 5
        connector = connect()
        outcomes_of(connector, [create(n) for n in range(20)])
        before = len(fake.writes())
        done = outcomes_of(connector, [create(n) for n in range(20)])
        assert {one.result for one in done.values()} == {Result.DONE}
        assert len(fake.writes()) - before == 4

    def test_a_batch_refused_whole_is_halved_until_the_bad_record_stands_alone(self, fake, connect):
        plain = fake.in_bulk

        def strict(path, parts, body):
            if any(item["name"] == "Record 6" for item in body[parts[0]]):
                raise Refuse(422, {"success": False, "status": 422, "message": "Invalid input: Validation"})
            return plain(path, parts, body)

        fake.in_bulk = strict
        fake.on_write = lambda entity, row: row["name"] == "Record 6" and fake.invalid("name", "is bad")
        done = outcomes_of(connect(), [create(n) for n in range(10)])
        assert [one.id for one in done.values() if one.result is not Result.DONE] == ["c6"]
        assert done["c6"].field == "name"
        assert len(fake.writes()) <= 9

    def test_bulk_calls_keep_below_three_a_second(self, fake, connect, clock):
        times = []
        plain = fake.in_bulk
        fake.in_bulk = lambda *args: (times.append(clock.monotonic()), plain(*args))[1]
        outcomes_of(connect(in_flight=1), [create(n, Kind.CONTACT) for n in range(120)])
        assert all(later - earlier >= 1 for earlier, later in zip(times, times[3:], strict=False))


class TestTrouble:
    @pytest.mark.parametrize(
        "answer", [(500, b"oops"), (200, b'{"id": 1'), (200, b"{}"), requests.ReadTimeout("timed out")]
    )
    def test_a_write_without_a_readable_answer_is_unknown_and_sent_once(self, fake, connect, answer):
        fake.answers = [answer]
        assert only(connect(), create()).result is Result.UNKNOWN
        assert len(fake.writes()) == 1

    def test_a_lost_bulk_answer_leaves_ten_unknown(self, fake, connect):
        fake.answers = [(502, b"")]
        done = outcomes_of(connect(), [create(n) for n in range(12)])
        results = [one.result for one in done.values()]
        assert (results.count(Result.UNKNOWN), results.count(Result.DONE)) == (10, 2)

    def test_a_refusal_by_the_limit_waits_and_goes_on(self, fake, connect):
        fake.answers = [(429, b'{"success":false,"status":429,"message":"Too many requests"}')]
        done = outcomes_of(connect(), [create(n) for n in range(10)])
        assert {one.result for one in done.values()} == {Result.DONE}

    def test_refused_credentials_leave_everything_unsent(self, fake, connect):
        fake.answers = [(401, b'{"success":false,"status":401,"message":"no"}')]
        written = []
        changes = connect().write([create(n) for n in range(30)])
        with pytest.raises(AccessDenied):
            written.extend(one for group in changes for one in group)
        assert {one.result for one in written} == {Result.UNSENT}
        assert len(written) == 30

    def test_what_was_done_before_credentials_are_refused_stays_done(self, fake, connect):
        fake.answers = [(404, b'{"error":"not_found"}'), None, (401, b"{}")]
        written = []
        changes = connect().write([create(n) for n in range(12)])
        with pytest.raises(AccessDenied):
            written.extend(one for group in changes for one in group)
        results = {one.id: one.result for one in written}
        assert results.pop("c0") is Result.DONE
        assert list(results.values()) == [Result.UNSENT] * 11
        assert len(fake.writes()) == 3

    def test_a_close_date_that_comes_back_in_the_other_order_is_named(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        fake.on_write = lambda entity, row: row.update(close_date="15/1/2027")
        done = only(connect(), update(native, expected_close=date(2027, 1, 15)))
        assert (done.result, done.record) == (Result.DONE, None)
        assert "day_first" in done.unwritten["expected_close"]

    def test_an_answer_that_is_not_whole_gives_no_record(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        fake.answers = [(200, json.dumps({"id": native, "name": "x"}).encode())]
        done = only(connect(), update(native, name="x"))
        assert (done.result, done.record, done.version) == (Result.DONE, None, None)

    def test_an_answer_about_another_record_is_unknown(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        fake.answers = [(200, b'{"id": 5, "is_deleted": true}')]
        assert only(connect(), delete(native)).result is Result.UNKNOWN

    def test_when_the_lists_cannot_be_read_nothing_is_sent(self, fake, connect):
        fake.lists["/loss_reasons"] = {"not": "a list"}
        assert only(connect(), create()).result is Result.UNSENT
        assert fake.writes() == []

    def test_a_secret_in_an_error_is_masked(self, fake, connect):
        body = {"success": False, "status": 422, "message": "key k3y-secret is odd"}
        fake.answers = [(422, json.dumps(body).encode())]
        reason = only(connect(), create()).reason
        assert "odd" in reason
        assert "k3y-secret" not in reason

    def test_a_value_that_copper_does_not_keep_is_named(self, fake, connect):
        native = stored(fake, Kind.DEAL)
        fake.on_write = lambda entity, row: row.update(win_probability=99)
        done = only(connect(), update(native, probability=Decimal("0.5"), name="x"))
        assert done.result is Result.DONE
        assert done.unwritten.keys() == {"probability"}

    def test_a_run_that_only_reads_sends_nothing(self, fake, connect, make_context):
        context = make_context("us", api_key="k3y-secret")
        reading = Context("us", context.secrets, clock=context.clock, read_only=True)
        with pytest.raises(Unsupported):
            connect(reading).write([create()])
        assert fake.calls == []

    def test_pipelines_cannot_be_written(self, fake, connect):
        stages = (Stage(id="", name="One", order=0),)
        change = Change("p", Act.CREATE, Kind.PIPELINE, None, {"name": "Sales", "stages": stages})
        with pytest.raises(Unsupported, match="pipeline"):
            connect().write([change])
        assert fake.calls == []

    def test_nothing_to_write_needs_no_request(self, fake, connect):
        assert list(connect().write([])) == []
        assert fake.calls == []

    def test_every_write_is_marked_so_that_a_reading_run_cannot_send_it(self, fake, connect, make_context):
        context = make_context("us", api_key="k3y-secret")
        connector = connect(Context("us", context.secrets, clock=context.clock, read_only=True))
        native = stored(fake, Kind.DEAL)
        changes = [create(1), create(2), update(native, companies=("70", "71")), delete(native)]
        for some in (changes[:2], changes[2:3], changes[3:]):
            list(connector.writer.write(some))
        assert fake.writes() == []


class TestPromises:
    def test_the_connector_says_what_it_can_write(self, connect):
        capabilities = connect().capabilities
        assert capabilities.writing.keys() == {Kind.DEAL, Kind.COMPANY, Kind.CONTACT, Kind.NOTE}
        assert {writing.keys for writing in capabilities.writing.values()} == {Keys.SEARCHABLE}
        assert capabilities.side_effects_off is Support.CANNOT
        assert capabilities.find_lag_seconds == capabilities.search_lag_seconds == 60  # sync-semantics 12

    def test_no_key_field_has_to_be_prepared(self, fake, connect):
        connector = connect()
        assert (connector.unprepared([Kind.DEAL]), connector.prepare([Kind.DEAL])) == ((), ())
        assert fake.calls == []

    @pytest.mark.parametrize(
        ("kind", "act", "requests_", "seconds"),
        [
            (Kind.DEAL, Act.CREATE, 1003, 334),  # contract, section 14: 1,000 requests, 5 min 34 s
            (Kind.CONTACT, Act.CREATE, 1001, 334),
            (Kind.CONTACT, Act.UPDATE, 1001, 334),
            (Kind.NOTE, Act.CREATE, 1000, 334),
            (Kind.DEAL, Act.UPDATE, 10004, 3335),  # section 14: 10,000 single calls, 55 min 34 s
            (Kind.COMPANY, Act.DELETE, 10000, 3334),
        ],
    )
    def test_ten_thousand_changes_cost_what_the_budget_says(
        self, fake, connect, kind, act, requests_, seconds
    ):
        connector = connect()
        if act is Act.CREATE:
            more = {"text": "x", "deal_id": "7"} if kind is Kind.NOTE else {}
            changes = [create(n, kind, **more) for n in range(10_000)]
        else:
            name = KINDS[kind]
            row = {
                **fake.defaults(name),
                "name": "x",
                "primary_contact_id": 80,
                "tags": [],
                "date_created": NOW,
            }
            fake.rows[name] = {n: {"id": n, **row} for n in range(1, 10_001)}
            made = delete if act is Act.DELETE else lambda n, kind: update(n, kind, name=f"New {n}")
            changes = [made(n, kind) for n in range(1, 10_001)]
        budget = connector.budget(changes)
        assert budget.requests == requests_
        assert budget.seconds == pytest.approx(seconds, abs=1)
        sent = changes[:1000]  # what is promised for some is what sending them takes
        promised = connector.budget(sent)
        done = outcomes_of(connector, sent)
        assert {one.result for one in done.values()} == {Result.DONE}
        assert promised.requests == connector.context.usage.requests

    @pytest.mark.parametrize(("fresh_reads", "reads"), [(True, 3), (False, 1)])
    def test_the_budget_counts_what_is_read_first_and_what_is_linked(self, fake, connect, fresh_reads, reads):
        natives = [stored(fake, Kind.DEAL) for _ in range(3)]
        connector = connect(fresh_reads=fresh_reads)
        changes = [update(native, tags=("a",), companies=("70", "71")) for native in natives]
        budget = connector.budget(changes)
        outcomes_of(connector, changes)
        assert budget.requests == connector.context.usage.requests == 3 + reads + 3 + 3 + 3
