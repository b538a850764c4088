"""Close against a small stand-in that keeps state and speaks Close's wire format.

The traps of the contract's summary that concern reading, and the test that each would fail:

 1  address, key          test_the_key_is_the_user_of_basic_authentication,
                          test_the_rotated_refresh_token_is_stored_before_use
 2  no name               test_the_name_comes_from_the_custom_field_and_else_from_the_lead
 3  cents, periods        test_cents_become_major_units, test_listed_opportunities (payloads)
 4  status and its type   test_pipelines_keep_the_order_and_take_outcomes_from_the_type
 5  stages vanish         test_a_stage_of_no_known_pipeline_is_kept
 6  lead is the company   test_contacts_of_a_merged_lead_come_with_their_new_company
 7  ids come inline       test_every_deal_comes_in_few_requests
 8  no batch read         test_very_many_changes_are_read_as_a_full_read
 9  offsets, max skip     test_skip_is_never_used_for_deals_with_different_times,
                          test_a_bulk_edit_beyond_the_page_size_and_the_depth_limit_comes_whole,
                          test_a_deletion_inside_a_burst_in_both_times_hides_no_neighbour
10  search cursors        test_a_search_goes_on_after_its_cursor_has_died,
                          test_more_leads_of_one_day_than_the_search_reaches_is_an_incomplete_read
11  date_won              test_the_won_day_is_an_estimate_until_the_deal_is_won
12  naive times           test_times_without_microseconds_or_offset_are_read
13  deletions, merges     test_edits_and_deletions_since_the_start_of_the_read_come,
                          test_a_cursor_older_than_the_event_log_reads_everything,
                          test_changed_merged_and_deleted_leads_come_from_the_event_log
14  limits                test_429_waits_for_the_decimal_reset_and_goes_on,
                          test_a_limit_told_as_nearly_used_up_holds_the_next_call_back
15  concerns writing only
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
import responses

from crmkit.connectors.close import search as close_search
from crmkit.connectors.close import walks
from crmkit.connectors.close.connector import CloseConnector
from crmkit.connectors.walk import pack
from crmkit.errors import (
    AccessDenied,
    BadAnswer,
    ConfigError,
    IncompleteRead,
    MissingScope,
    Rejected,
    UnreadableRecord,
)
from crmkit.model import Kind, Outcome, Ref

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
TEXT_FIELD = {"id": "cf_name", "name": "Deal name", "type": "text", "accepts_multiple_values": False}
KEY_FIELD = {"id": "cf_key", "name": "crmkit_id", "type": "text", "accepts_multiple_values": False}


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


class FakeClose:
    """Answers like Close; `calls` holds (method, path, parameters) of each request."""

    def __init__(self) -> None:
        self.now = NOW
        self.deals: dict[str, dict] = {}
        self.leads: dict[str, dict] = {}
        self.activities: dict[str, list[dict]] = {"note": [], "status_change/opportunity": []}
        self.events: list[dict] = []
        self.schema: list[dict] = []
        self.users: list[dict] = []
        self.organization = {"id": "orga_1", "name": "Acme", "currency": "USD"}
        self.max_skip = 10**9
        self.dead_cursors: set[str] = set()
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.answers: list[tuple[int, dict, str]] = []
        self.headers: dict[str, str] = {}
        self.before = lambda path, params: None
        self.lock = threading.Lock()

    # Filling it.

    def add_deal(self, n: int, created: datetime, updated: datetime | None = None, **more) -> dict:
        native = f"oppo_{n}"
        self.deals[native] = {
            "id": native,
            "lead_id": f"lead_{n % 7}",
            "lead_name": f"Lead {n % 7}",
            "status_id": "stat_1",
            "status_type": "active",
            "pipeline_id": "pipe_1",
            "value": n * 100,
            "value_currency": "USD",
            "value_formatted": f"${n}",
            "value_period": "one_time",
            "confidence": 50,
            "date_won": None,
            "date_lost": None,
            "note": "",
            "date_created": iso(created),
            "date_updated": iso(updated or created),
            **more,
        }
        return self.deals[native]

    def add_lead(self, n: int, contacts: int = 1) -> None:
        self.leads[f"lead_{n}"] = {
            "id": f"lead_{n}",
            "name": f"Lead {n}",
            "url": "https://www.example.com/x",
            "addresses": [{"city": "Wien", "country": "AT", "zipcode": "1010"}],
            "date_created": iso(NOW - timedelta(days=30)),
            "date_updated": iso(NOW - timedelta(days=3)),
            "opportunities": [],
            "contacts": [
                {
                    "id": f"cont_{n}_{c}",
                    "name": f"Person {c}",
                    "emails": [{"email": f"p{n}.{c}@example.com", "type": "office"}],
                    "phones": [{"phone": "+431234", "type": "office"}],
                    "date_created": iso(NOW),
                    "date_updated": iso(NOW),
                }
                for c in range(contacts)
            ],
        }

    def edit(self, native: str, **changes) -> None:
        self.deals[native].update(changes, date_updated=iso(self.now))

    def log(self, what: str, action: str, native: str, at: datetime | None = None, **more) -> None:
        stamp = (at or self.now).replace(tzinfo=None).isoformat()
        event = {"id": f"ev_{len(self.events)}", "object_type": what, "action": action, "object_id": native}
        self.events.insert(0, {**event, "date_created": stamp, "date_updated": stamp, **more})

    def delete_deal(self, native: str) -> None:
        self.log("opportunity", "deleted", native, previous_data=self.deals.pop(native))

    # Answering.

    def __call__(self, request):
        url = urlsplit(request.url)
        path = url.path.removeprefix("/api/v1")
        params = {name: values[-1] for name, values in parse_qs(url.query).items()}
        with self.lock:
            self.calls.append((request.method, path, params))
            self.before(path, params)
            if self.answers:
                status, headers, body = self.answers.pop(0)
            else:
                status, body = self.route(path, params, request)
                body, headers = json.dumps(body), {}
            date = self.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
            return status, {"Date": date, **self.headers, **headers}, body

    def route(self, path: str, params: dict[str, str], request):
        if path == "/opportunity/":
            return self.listed(self.filtered(params), params)
        if path == "/lead/":
            return self.listed(list(self.leads.values()), params)
        if (
            path.startswith("/activity/")
            and path.count("/") in (3, 4)
            and path.strip("/")[9:] in self.activities
        ):
            return self.activity(path.strip("/")[9:], params)
        if path == "/event/":
            return self.event_page(params)
        if path.startswith("/custom_field_schema/"):
            return 200, {"fields": self.schema}
        if path == "/me/":
            return 200, {"id": "user_me", "email": "me@example.com", "organizations": [{"id": "orga_1"}]}
        if path == "/organization/orga_1/":
            return 200, self.organization
        if path == "/user/":
            return 200, {"data": self.users, "has_more": False}
        if path == "/data/search/":
            return self.search(json.loads(request.body))
        kind, native = path.strip("/").split("/")[-2:]
        contacts = {
            c["id"]: {**c, "lead_id": lead["id"]} for lead in self.leads.values() for c in lead["contacts"]
        }
        changes = {row["id"]: row for row in self.activities["status_change/opportunity"]}
        if path.startswith("/activity/status_change/opportunity/"):
            kind = "change"
        found = {
            "change": changes,
            "opportunity": self.deals,
            "lead": self.leads,
            "contact": contacts,
            "note": {row["id"]: row for row in self.activities["note"]},
        }[kind].get(native)
        return (200, found) if found else (404, {"error": "Empty query: matching query does not exist."})

    def filtered(self, params: dict[str, str]) -> list[dict]:
        rows = list(self.deals.values())
        for name, wanted in params.items():
            field, _, test = name.partition("__")
            if name == "lead_id":
                rows = [row for row in rows if row["lead_id"] == wanted]
            elif test:
                edge = datetime.fromisoformat(wanted)
                keep = {"gte": lambda value, e=edge: value >= e, "lt": lambda value, e=edge: value < e}[test]
                rows = [row for row in rows if keep(datetime.fromisoformat(row[field]))]
        order = params.get("_order_by", "-date_created")
        rows.sort(key=lambda row: row[order.lstrip("-")], reverse=order.startswith("-"))
        return rows

    def listed(self, rows: list[dict], params: dict[str, str]):
        skip, limit = int(params.get("_skip", 0)), int(params.get("_limit", 100))
        if skip > self.max_skip:
            return 400, {
                "error": f"The skip you set is larger than the maximum (max_skip = {self.max_skip})."
            }
        data = rows[skip : skip + limit]
        return 200, {"data": data, "has_more": skip + limit < len(rows), "total_results": len(rows)}

    def activity(self, name: str, params: dict[str, str]):
        rows = sorted(self.activities[name], key=lambda row: row["date_created"], reverse=True)
        for test, keep in (("gte", lambda a, b: a >= b), ("lt", lambda a, b: a < b)):
            edge = params.get(f"date_created__{test}")
            if edge:
                moment = datetime.fromisoformat(edge)
                rows = [row for row in rows if keep(datetime.fromisoformat(row["date_created"]), moment)]
        if "opportunity_id" in params:
            rows = [row for row in rows if row["opportunity_id"] == params["opportunity_id"]]
        status, body = self.listed(rows, params)
        body.pop("total_results", None)
        return status, body

    def event_page(self, params: dict[str, str]):
        rows = [e for e in self.events if e["object_type"] == params["object_type"]]
        rows = [e for e in rows if e["action"] == params["action"]]
        at, limit = int(params.get("_cursor", 0)), int(params["_limit"])
        following = str(at + limit) if at + limit < len(rows) else None
        return 200, {"data": rows[at : at + limit], "cursor_next": following, "cursor_previous": None}

    def search(self, body):
        if body["cursor"] in self.dead_cursors:
            return 400, {"error": "The cursor is invalid or has expired."}
        day = "".join(
            test["condition"]["on_or_after"]["value"]
            for test in body["query"]["queries"]
            if test["type"] == "field_condition"
        )
        rows = sorted(self.leads.values(), key=lambda row: row["date_created"])
        rows = [row for row in rows if row["date_created"] >= day]
        at = int(body["cursor"] or 0)
        following = str(at + body["_limit"]) if at + body["_limit"] < len(rows) else None
        data = [{**row, "__object_type": "lead"} for row in rows[at : at + body["_limit"]]]
        return 200, {"data": data, "cursor": following}

    def count(self, path: str) -> int:
        return sum(called == path for _, called, _ in self.calls)


@pytest.fixture
def fake():
    close = FakeClose()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST"):
            mock.add_callback(method, re.compile(r"https://api\.close\.com/.*"), callback=close)
        yield close


@pytest.fixture
def connect(make_context):
    made = []

    def build(**options) -> CloseConnector:
        connector = CloseConnector(
            make_context("eu", api_key="k3y-secret"), CloseConnector.Options(**options)
        )
        made.append(connector)
        return connector

    yield build
    for connector in made:
        connector.close()


def everything(connector, kind, since=None):
    pages = list(connector.read(kind, since))
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    return pages


def ids(pages) -> set[str]:
    return {record.ref.id for page in pages for record in page.records}


def gone(pages) -> dict[str, str | None]:
    return {stone.ref.id: stone.merged_into for page in pages for stone in page.tombstones}


def fill(fake: FakeClose, count: int, *, days: int = 300) -> None:
    for n in range(count):
        fake.add_deal(n, NOW - timedelta(days=days) + timedelta(days=days - 1) * n / max(1, count))


class TestFullRead:
    def test_every_deal_comes_in_few_requests(self, fake, connect):
        fill(fake, 10_000)
        pages = everything(connect(in_flight=8), Kind.DEAL)
        assert len(ids(pages)) == 10_000
        assert pages[-1].whole
        assert len(fake.calls) <= 40 + 1 + 10

    def test_uneven_times_are_cut_as_they_come(self, fake, connect):
        fake.add_deal(0, NOW - timedelta(days=3000))
        for n in range(1, 8000):
            fake.add_deal(n, NOW - timedelta(hours=2) + timedelta(milliseconds=n * 10))
        pages = everything(connect(in_flight=8), Kind.DEAL)
        assert len(ids(pages)) == 8000
        assert len(fake.calls) <= 32 + 40

    def test_skip_is_never_used_for_deals_with_different_times(self, fake, connect):
        fill(fake, 1000)
        everything(connect(), Kind.DEAL)
        assert not any("_skip" in params for _, _, params in fake.calls)

    def test_an_empty_organization_is_one_last_page(self, fake, connect):
        pages = everything(connect(), Kind.DEAL)
        assert (len(pages), pages[0].records, pages[0].whole) == (1, [], True)

    @pytest.mark.parametrize("serial", [1, 4])
    def test_every_cursor_resumes_without_loss(self, fake, connect, serial):
        fill(fake, 3000)
        seen: set[str] = set()
        cursor, page, steps = None, None, 0
        while page is None or not page.last:
            pages = connect(in_flight=serial).read(Kind.DEAL, cursor)
            page = next(pages)
            pages.close()
            seen |= {record.ref.id for record in page.records}
            cursor, steps = page.cursor, steps + 1
            assert steps < 100
        assert len(seen) == 3000
        assert page.whole

    def test_deals_created_in_the_same_moment_beyond_a_page_all_come(self, fake, connect):
        for n in range(900):
            fake.add_deal(n, NOW - timedelta(days=5), NOW - timedelta(days=4) + timedelta(seconds=n))
        fill_from = NOW - timedelta(days=2)
        for n in range(900, 1300):
            fake.add_deal(n, fill_from + timedelta(minutes=n))
        assert len(ids(everything(connect(), Kind.DEAL))) == 1300

    def test_a_burst_in_both_times_is_walked_by_skip(self, fake, connect):
        for n in range(700):
            fake.add_deal(n, NOW - timedelta(days=5))
        fake.add_deal(700, NOW - timedelta(days=1))
        assert len(ids(everything(connect(), Kind.DEAL))) == 701

    def test_a_burst_in_both_times_beyond_max_skip_is_an_incomplete_read(self, fake, connect):
        for n in range(700):
            fake.add_deal(n, NOW - timedelta(days=5))
        fake.max_skip = 200
        with pytest.raises(IncompleteRead, match="max_skip"):
            everything(connect(), Kind.DEAL)

    def test_a_deletion_inside_a_burst_in_both_times_hides_no_neighbour(self, fake, connect):
        for n in range(700):
            fake.add_deal(n, NOW - timedelta(days=5))

        def delete_one(path, params):
            if params.get("_skip") == "250":
                fake.deals.pop("oppo_0", None)

        fake.before = delete_one
        assert ids(everything(connect(in_flight=1), Kind.DEAL)) >= set(fake.deals)

    def test_a_burst_that_never_rests_is_an_incomplete_read(self, fake, connect):
        for n in range(700):
            fake.add_deal(n, NOW - timedelta(days=5))

        def delete_one(path, params):
            if params.get("_skip") == "250":
                fake.deals.popitem()

        fake.before = delete_one
        with pytest.raises(IncompleteRead, match="faster"):
            everything(connect(in_flight=1), Kind.DEAL)

    def test_a_broken_time_at_the_border_of_a_page_concerns_that_deal_only(self, fake, connect):
        fill(fake, 600)
        listed = fake.listed
        broken = {"date_created": "soon"}
        fake.listed = lambda rows, params: listed(
            [row | broken if row["id"] == "oppo_249" else row for row in rows], params
        )
        pages = everything(connect(in_flight=1), Kind.DEAL)
        assert len(ids(pages)) == 599
        assert {bad.ref.id for page in pages for bad in page.unreadable} == {"oppo_249"}

    def test_a_page_size_beyond_the_maximum_is_told_in_the_words_of_close(self, fake, connect):
        fake.listed = lambda rows, params: (400, {"error": "The limit you set is larger (max_limit = 200)."})
        with pytest.raises(Rejected, match="max_limit = 200"):
            everything(connect(), Kind.DEAL)

    def test_a_page_that_ends_too_early_is_asked_again(self, fake, connect):
        fill(fake, 10)
        fake.answers = [
            (200, {}, json.dumps({"fields": []})),
            (200, {}, json.dumps({"data": [], "has_more": False, "total_results": 10})),
        ]
        assert len(ids(everything(connect(), Kind.DEAL))) == 10

    def test_a_list_that_ignores_the_order_is_refused(self, fake, connect):
        fill(fake, 600)
        shuffled = list(fake.deals.values())[::-1]
        fake.filtered = lambda params: shuffled
        with pytest.raises(BadAnswer, match="sorted"):
            everything(connect(), Kind.DEAL)

    def test_data_that_is_no_list_is_a_bad_answer(self, fake, connect):
        fake.route = lambda *args: (200, {"data": {"user": []}, "fields": [], "has_more": False})
        with pytest.raises(BadAnswer):
            everything(connect(), Kind.DEAL)


class TestIncrement:
    def start(self, fake, connect, count=20) -> str:
        fill(fake, count)
        return everything(connect(), Kind.DEAL)[-1].cursor

    def test_nothing_changed_is_one_page_without_records(self, fake, connect):
        cursor = self.start(fake, connect)
        fake.now += timedelta(hours=1)
        pages = everything(connect(), Kind.DEAL, cursor)
        assert (ids(pages), pages[-1].whole) == (set(), False)

    def test_edits_and_deletions_since_the_start_of_the_read_come(self, fake, connect):
        cursor = self.start(fake, connect)
        fake.now += timedelta(hours=1)
        fake.edit("oppo_3", value=1)
        fake.delete_deal("oppo_4")
        pages = everything(connect(), Kind.DEAL, cursor)
        assert ids(pages) == {"oppo_3"}
        assert gone(pages) == {"oppo_4": None}

    def test_an_edit_during_the_full_read_comes_in_the_next_increment(self, fake, connect):
        fill(fake, 600)
        edited = []

        def edit_once(path, params):
            if path == "/opportunity/" and "date_created__gte" in params and not edited:
                edited.append(fake.edit("oppo_0", confidence=99))

        fake.before = edit_once
        cursor = everything(connect(), Kind.DEAL)[-1].cursor
        assert "oppo_0" in ids(everything(connect(), Kind.DEAL, cursor))

    def test_a_bulk_edit_beyond_the_page_size_and_the_depth_limit_comes_whole(self, fake, connect):
        cursor = self.start(fake, connect, 900)
        fake.now += timedelta(hours=1)
        for native in fake.deals:
            fake.edit(native, confidence=1)
        fake.max_skip = 100
        assert len(ids(everything(connect(), Kind.DEAL, cursor))) == 900

    def test_an_edit_during_the_increment_is_not_lost(self, fake, connect):
        cursor = self.start(fake, connect, 900)
        fake.now += timedelta(hours=1)
        for place, native in enumerate(fake.deals):
            fake.edit(native)
            fake.deals[native]["date_updated"] = iso(fake.now + timedelta(milliseconds=10 * place))
        fake.now += timedelta(minutes=1)
        edited = []

        def edit_once(path, params):
            if "date_updated__gte" in params and len(fake.calls) > 5 and not edited:
                edited.append(fake.edit("oppo_899", confidence=7))

        fake.before = edit_once
        first = everything(connect(), Kind.DEAL, cursor)
        second = everything(connect(), Kind.DEAL, first[-1].cursor)
        found = [r for page in first + second for r in page.records if r.ref.id == "oppo_899"]
        assert found[-1].probability == Decimal("0.07")

    def test_a_cursor_older_than_the_event_log_reads_everything(self, fake, connect):
        cursor = self.start(fake, connect)
        fake.now += timedelta(days=31)
        pages = everything(connect(), Kind.DEAL, cursor)
        assert len(ids(pages)) == 20
        assert pages[-1].whole

    def test_the_servers_clock_counts_and_the_event_log_is_read_back_five_minutes(self, fake, connect):
        cursor = self.start(fake, connect)
        assert json.loads(cursor)["since"] == iso(NOW - timedelta(minutes=5))

    def test_deleted_deals_beyond_one_event_page_all_come(self, fake, connect):
        cursor = self.start(fake, connect, 180)
        fake.log("opportunity", "deleted", "oppo_old", NOW - timedelta(days=2))
        fake.now += timedelta(hours=1)
        for n in range(120):
            fake.delete_deal(f"oppo_{n}")
        assert gone(everything(connect(), Kind.DEAL, cursor)).keys() == {f"oppo_{n}" for n in range(120)}

    def test_deals_that_went_with_their_lead_are_tombstones(self, fake, connect):
        cursor = self.start(fake, connect)
        fake.now += timedelta(hours=1)
        before = {"id": "lead_1", "opportunities": [{"id": "oppo_1"}, {"id": "oppo_8"}]}
        fake.log("lead", "deleted", "lead_1", previous_data=before)
        assert gone(everything(connect(), Kind.DEAL, cursor)).keys() == {"oppo_1", "oppo_8"}

    def test_deals_of_merged_and_renamed_leads_are_read_again(self, fake, connect):
        cursor = self.start(fake, connect, 14)
        fake.now += timedelta(hours=1)
        meta = {"merge_source_lead_id": "lead_6", "merge_destination_lead_id": "lead_2"}
        fake.log("lead", "merged", "lead_2", meta=meta)
        fake.log("lead", "updated", "lead_3", changed_fields=["name", "display_name"])
        fake.log("lead", "updated", "lead_4", changed_fields=["description"])
        pages = everything(connect(), Kind.DEAL, cursor)
        assert ids(pages) == {"oppo_2", "oppo_9", "oppo_3", "oppo_10"}

    def test_the_deals_of_a_merged_lead_are_not_taken_for_deleted(self, fake, connect):
        cursor = self.start(fake, connect, 14)
        fake.now += timedelta(hours=1)
        meta = {"merge_source_lead_id": "lead_6", "merge_destination_lead_id": "lead_2"}
        before = {"id": "lead_6", "opportunities": [{"id": "oppo_6"}]}
        fake.log("lead", "deleted", "lead_6", meta=meta, previous_data=before)
        assert gone(everything(connect(), Kind.DEAL, cursor)) == {}

    def test_very_many_renamed_leads_are_read_as_a_full_read(self, fake, connect, monkeypatch):
        monkeypatch.setattr("crmkit.connectors.close.plans.SINGLE_READS_AT_MOST", 3)
        cursor = self.start(fake, connect, 14)
        fake.now += timedelta(hours=1)
        fake.delete_deal("oppo_13")
        for n in range(7):
            fake.log("lead", "updated", f"lead_{n}", changed_fields=["name"])
        pages = everything(connect(), Kind.DEAL, cursor)
        assert (len(ids(pages)), pages[-1].whole, list(gone(pages))) == (13, True, ["oppo_13"])
        assert not any("lead_id" in params for _, _, params in fake.calls)

    def test_an_event_page_of_the_wrong_shape_is_asked_for_again(self, fake, connect):
        cursor = self.start(fake, connect)
        fake.now += timedelta(hours=1)
        fake.delete_deal("oppo_4")
        page = fake.event_page
        odd = iter([{"data": [{"object_id": "oppo_4"}]}, {"data": {}}])
        fake.event_page = lambda params: (200, body) if (body := next(odd, None)) else page(params)
        assert gone(everything(connect(), Kind.DEAL, cursor)).keys() == {"oppo_4"}

    def test_a_cursor_of_another_kind_is_refused(self, fake, connect):
        with pytest.raises(IncompleteRead, match="another kind"):
            next(connect().read(Kind.DEAL, pack({"k": "note", "since": iso(NOW)})))


class TestLeads:
    def test_companies_and_contacts_come_with_the_leads(self, fake, connect):
        for n in range(900):
            fake.add_lead(n)
        companies = everything(connect(), Kind.COMPANY)
        contacts = everything(connect(), Kind.CONTACT)
        assert len(ids(companies)) == 900
        assert len(ids(contacts)) == 900
        assert companies[-1].whole
        assert fake.count("/contact/") == 0
        assert fake.count("/lead/") <= 2 * 6
        contact = next(r for page in contacts for r in page.records if r.ref.id == "cont_5_0")
        assert (contact.companies, contact.emails) == (("lead_5",), ("p5.0@example.com",))
        company = next(r for page in companies for r in page.records if r.ref.id == "lead_5")
        assert (company.domain, company.city, company.postcode) == ("example.com", "Wien", "1010")

    def test_a_few_leads_deleted_during_the_walk_hide_no_other(self, fake, connect):
        for n in range(600):
            fake.add_lead(n)

        def delete_some(path, params):
            if path == "/lead/" and params.get("_skip") == "190" and "lead_0" in fake.leads:
                for n in range(5):
                    del fake.leads[f"lead_{n}"]
                    fake.log("lead", "deleted", f"lead_{n}")

        fake.before = delete_some
        assert ids(everything(connect(in_flight=1), Kind.COMPANY)) >= set(fake.leads)
        assert fake.count("/lead/") == 4  # one round: the overlap of the pages has room for them

    def test_many_deletions_during_the_walk_start_it_again(self, fake, connect):
        for n in range(600):
            fake.add_lead(n)

        def delete_many(path, params):
            if path == "/lead/" and params.get("_skip") == "190" and "lead_0" in fake.leads:
                for n in range(50):
                    del fake.leads[f"lead_{n}"]
                    fake.log("lead", "deleted", f"lead_{n}")
                fake.now += timedelta(minutes=5)

        fake.before = delete_many
        pages = everything(connect(in_flight=1), Kind.COMPANY)
        assert ids(pages) >= set(fake.leads)
        assert pages[-1].whole

    def test_beyond_the_depth_of_the_list_the_search_goes_on(self, fake, connect):
        for n in range(700):
            fake.add_lead(n)
        fake.max_skip = 400
        assert len(ids(everything(connect(), Kind.COMPANY))) == 700
        assert fake.count("/data/search/") == 7

    def test_a_search_goes_on_after_its_cursor_has_died(self, fake, connect):
        for n in range(700):
            fake.add_lead(n)
            fake.leads[f"lead_{n}"]["date_created"] = iso(NOW - timedelta(days=900 - n))
        fake.max_skip = 100
        seen: set[str] = set()
        cursor, page, steps = None, None, 0
        while page is None or not page.last:
            pages = connect(in_flight=1).read(Kind.COMPANY, cursor)
            page = next(pages)
            pages.close()
            seen |= {record.ref.id for record in page.records}
            cursor, steps = page.cursor, steps + 1
            fake.dead_cursors = {str(at) for at in range(0, 700, 100)}
            assert steps < 100
        assert len(seen) == 700

    def test_more_leads_of_one_day_than_the_search_reaches_is_an_incomplete_read(
        self, fake, connect, monkeypatch
    ):
        monkeypatch.setattr(close_search, "DEPTH", 300)
        for n in range(700):
            fake.add_lead(n)
        fake.max_skip = 100
        with pytest.raises(IncompleteRead, match="neither the list nor the search"):
            everything(connect(), Kind.COMPANY)

    def test_changed_merged_and_deleted_leads_come_from_the_event_log(self, fake, connect):
        for n in range(20):
            fake.add_lead(n)
        cursor = everything(connect(), Kind.COMPANY)[-1].cursor
        fake.now += timedelta(hours=1)
        fake.calls.clear()
        fake.log("lead", "updated", "lead_3")
        fake.log("lead", "updated", "lead_3")
        fake.log("lead", "deleted", "lead_4")
        meta = {"merge_source_lead_id": "lead_6", "merge_destination_lead_id": "lead_7"}
        fake.log("lead", "merged", "lead_7", meta=meta)
        pages = everything(connect(), Kind.COMPANY, cursor)
        assert ids(pages) == {"lead_3", "lead_7"}
        assert gone(pages) == {"lead_4": None, "lead_6": "lead_7"}
        assert fake.count("/lead/lead_3/") == 1

    def test_contacts_of_a_merged_lead_come_with_their_new_company(self, fake, connect):
        for n in range(5):
            fake.add_lead(n)
        cursor = everything(connect(), Kind.CONTACT)[-1].cursor
        fake.now += timedelta(hours=1)
        moved = fake.leads.pop("lead_1")["contacts"]
        fake.leads["lead_2"]["contacts"] += moved
        meta = {"merge_source_lead_id": "lead_1", "merge_destination_lead_id": "lead_2"}
        fake.log("lead", "merged", "lead_2", meta=meta)
        pages = everything(connect(), Kind.CONTACT, cursor)
        assert [r.companies for p in pages for r in p.records if r.ref.id == "cont_1_0"] == [("lead_2",)]

    def test_very_many_changes_are_read_as_a_full_read(self, fake, connect, monkeypatch):
        monkeypatch.setattr("crmkit.connectors.close.plans.SINGLE_READS_AT_MOST", 5)
        for n in range(20):
            fake.add_lead(n)
        cursor = everything(connect(), Kind.COMPANY)[-1].cursor
        fake.now += timedelta(hours=1)
        for n in range(20):
            fake.log("lead", "updated", f"lead_{n}")
        pages = everything(connect(), Kind.COMPANY, cursor)
        assert pages[-1].whole
        assert fake.count("/lead/lead_1/") == 0


class TestActivities:
    def change(self, n: int, at: datetime) -> dict:
        return {
            "id": f"acti_{n}",
            "opportunity_id": f"oppo_{n % 3}",
            "old_status_id": "stat_1",
            "new_status_id": "stat_2",
            "user_id": "user_1",
            "date_created": iso(at),
        }

    def test_stage_changes_are_read_in_bulk(self, fake, connect):
        rows = [self.change(n, NOW - timedelta(hours=n)) for n in range(1500)]
        fake.activities["status_change/opportunity"] = rows
        pages = everything(connect(in_flight=8), Kind.STAGE_CHANGE)
        assert len(ids(pages)) == 1500
        assert pages[-1].whole
        assert len(fake.calls) < 15 + 30

    def test_deletions_inside_a_window_hide_no_neighbour(self, fake, connect):
        rows = [self.change(n, NOW - timedelta(minutes=n)) for n in range(400)]
        fake.activities["status_change/opportunity"] = rows

        def delete_some(path, params):
            if params.get("_skip") == "99" and len(rows) == 400:
                del rows[3:8]

        fake.before = delete_some
        assert ids(everything(connect(in_flight=1), Kind.STAGE_CHANGE)) >= {row["id"] for row in rows}

    def test_a_window_beyond_max_skip_is_cut(self, fake, connect):
        fake.activities["status_change/opportunity"] = [
            self.change(n, NOW - timedelta(minutes=n)) for n in range(1000)
        ]
        fake.max_skip = 200
        assert len(ids(everything(connect(in_flight=1), Kind.STAGE_CHANGE))) == 1000

    def test_history_of_few_deals_comes_in_order(self, fake, connect):
        fake.activities["status_change/opportunity"] = [
            self.change(n, NOW - timedelta(hours=n)) for n in range(9)
        ]
        [changes] = connect().history([Ref("eu", Kind.DEAL, "oppo_1")])
        assert [change.ref.id for change in changes] == ["acti_7", "acti_4", "acti_1"]

    def test_history_of_many_deals_is_read_in_bulk(self, fake, connect, monkeypatch):
        monkeypatch.setattr("crmkit.connectors.close.connector.BULK_HISTORY_ABOVE", 1)
        fake.activities["status_change/opportunity"] = [
            self.change(n, NOW - timedelta(hours=n)) for n in range(9)
        ]
        found = list(connect().history([Ref("eu", Kind.DEAL, "oppo_1"), Ref("eu", Kind.DEAL, "oppo_2")]))
        assert sorted(len(changes) for changes in found) == [3, 3]
        assert not any("opportunity_id" in params for _, _, params in fake.calls)

    @pytest.mark.parametrize("bulk_above", [200, 0])
    def test_history_names_an_unreadable_change_of_a_wanted_deal_only(
        self, fake, connect, monkeypatch, bulk_above
    ):
        monkeypatch.setattr("crmkit.connectors.close.connector.BULK_HISTORY_ABOVE", bulk_above)
        rows = [self.change(n, NOW - timedelta(hours=n)) for n in range(6)]
        del rows[1]["new_status_id"]
        fake.activities["status_change/opportunity"] = rows
        [changes] = connect().history([Ref("eu", Kind.DEAL, "oppo_2")])
        assert len(changes) == 2
        with pytest.raises(UnreadableRecord, match="new_status_id"):
            list(connect().history([Ref("eu", Kind.DEAL, "oppo_1")]))

    def test_changes_put_together_or_entered_late_come_in_the_increment(self, fake, connect):
        rows = [self.change(n, NOW - timedelta(days=n + 1)) for n in range(4)]
        fake.activities["status_change/opportunity"] = rows[:3]
        cursor = everything(connect(), Kind.STAGE_CHANGE)[-1].cursor
        fake.now += timedelta(hours=1)
        rows[1]["new_status_id"] = "stat_9"
        fake.log("activity.opportunity_status_change", "updated", "acti_1")
        fake.activities["status_change/opportunity"] = rows
        fake.log("activity.opportunity_status_change", "created", "acti_3", data=rows[3])
        fresh = {"date_created": iso(fake.now)}
        fake.log("activity.opportunity_status_change", "created", "acti_8", data=fresh)
        pages = everything(connect(), Kind.STAGE_CHANGE, cursor)
        assert ids(pages) == {"acti_1", "acti_3"}
        assert fake.count("/activity/status_change/opportunity/acti_8/") == 0

    def test_the_note_of_a_deleted_deal_is_gone(self, fake, connect):
        fake.add_deal(1, NOW - timedelta(days=1), note="on the deal")
        cursor = everything(connect(), Kind.NOTE)[-1].cursor
        fake.now += timedelta(hours=1)
        fake.delete_deal("oppo_1")
        assert gone(everything(connect(), Kind.NOTE, cursor)) == {"oppo_1": None}

    def test_notes_of_deals_and_of_leads_come(self, fake, connect):
        fake.add_deal(1, NOW - timedelta(days=1), note="on the deal")
        fake.add_deal(2, NOW - timedelta(days=1))
        fake.activities["note"] = [
            {"id": "acti_n", "lead_id": "lead_1", "note": "on the lead", "user_id": "user_1"}
            | {"date_created": iso(NOW - timedelta(days=2)), "date_updated": iso(NOW)}
        ]
        notes = {r.ref.id: r for page in everything(connect(), Kind.NOTE) for r in page.records}
        assert (notes["oppo_1"].deal_id, notes["oppo_1"].text) == ("oppo_1", "on the deal")
        assert (notes["acti_n"].deal_id, notes["acti_n"].company_id) == (None, "lead_1")
        assert len(notes) == 2

    def test_edited_and_deleted_notes_come_in_the_increment(self, fake, connect):
        note = {"lead_id": "lead_1", "note": "x", "date_created": iso(NOW - timedelta(days=9))}
        fake.activities["note"] = [{**note, "id": f"acti_{n}"} for n in range(3)]
        cursor = everything(connect(), Kind.NOTE)[-1].cursor
        fake.now += timedelta(hours=1)
        fake.activities["note"][1]["note"] = "y"
        fake.log("activity.note", "updated", "acti_1")
        del fake.activities["note"][2]
        fake.log("activity.note", "deleted", "acti_2")
        pages = everything(connect(), Kind.NOTE, cursor)
        assert [(r.ref.id, r.text) for page in pages for r in page.records] == [("acti_1", "y")]
        assert gone(pages) == {"acti_2": None}


class TestDealValues:
    def deal(self, fake, connect, **values):
        fake.add_deal(1, NOW - timedelta(days=1), **values)
        [page] = everything(connect(), Kind.DEAL)
        assert page.unreadable == []
        return page.records[0]

    def test_the_name_comes_from_the_custom_field_and_else_from_the_lead(self, fake, connect):
        fake.schema = [TEXT_FIELD]
        fake.add_deal(1, NOW, **{"custom.cf_name": "Roof"})
        fake.add_deal(2, NOW)
        [page] = everything(connect(), Kind.DEAL)
        assert [record.name for record in page.records] == ["Roof", "Lead 2"]

    def test_a_name_field_that_does_not_exist_is_a_configuration_error(self, fake, connect):
        with pytest.raises(ConfigError, match="Title"):
            everything(connect(name_field="Title"), Kind.DEAL)

    def test_a_name_field_whose_label_repeats_must_be_named_by_id(self, fake, connect):
        fake.schema = [TEXT_FIELD, {**TEXT_FIELD, "id": "cf_other"}]
        with pytest.raises(ConfigError, match="2 custom fields"):
            everything(connect(name_field="Deal name"), Kind.DEAL)
        fake.add_deal(1, NOW, **{"custom.cf_other": "Roof"})
        [page] = everything(connect(name_field="cf_other"), Kind.DEAL)
        assert page.records[0].name == "Roof"

    def test_cents_become_major_units(self, fake, connect):
        assert self.deal(fake, connect, value=123456).amount == Decimal("1234.56")

    def test_no_value_is_unknown_and_zero_is_zero(self, fake, connect):
        assert self.deal(fake, connect, value=None).amount is None
        assert self.deal(fake, connect, value=0).amount == 0

    @pytest.mark.parametrize(
        ("value", "currency", "formatted", "amount"),
        [
            (500000, "JPY", "¥5,000", "5000"),
            (5000, "JPY", "¥5,000", "5000"),
            (500000, "JPY", None, "5000"),
            (5000, "KWD", "KWD 5.000", "5"),
            (500, "KWD", "KWD 5", "5"),
        ],
    )
    def test_currencies_without_hundredths_follow_what_close_shows(
        self, fake, connect, value, currency, formatted, amount
    ):
        deal = self.deal(fake, connect, value=value, value_currency=currency, value_formatted=formatted)
        assert deal.amount == Decimal(amount)

    def test_the_won_day_is_an_estimate_until_the_deal_is_won(self, fake, connect):
        open_deal = self.deal(fake, connect, date_won="2026-12-31")
        assert (open_deal.expected_close.isoformat(), open_deal.closed_at) == ("2026-12-31", None)
        won = self.deal(fake, connect, date_won="2026-10-31", status_type="won")
        assert (won.outcome, won.closed_at) == (Outcome.WON, datetime(2026, 10, 31, 12, tzinfo=UTC))

    def test_times_without_microseconds_or_offset_are_read(self, fake, connect):
        deal = self.deal(
            fake, connect, date_created="2026-11-01T00:00:00", date_updated="2026-11-02T00:00:00+00:00"
        )
        assert deal.created_at == datetime(2026, 11, 1, tzinfo=UTC)
        assert deal.version == "2026-11-02T00:00:00+00:00"

    def test_custom_values_are_typed_by_the_schema(self, fake, connect):
        fake.schema = [
            KEY_FIELD,
            {"id": "cf_n", "name": "Number", "type": "number"},
            {"id": "cf_d", "name": "Day", "type": "date"},
            {"id": "cf_m", "name": "Many", "type": "choices", "accepts_multiple_values": True},
        ]
        deal = self.deal(
            fake,
            connect,
            **{
                "custom.cf_n": 1.5,
                "custom.cf_d": "2026-01-02",
                "custom.cf_m": ["a", "b"],
                "custom.cf_new": "made since",
                "custom.cf_key": "crmkit:hs:7",
            },
        )
        assert deal.custom["cf_n"] == Decimal("1.5")
        assert deal.custom["cf_d"].isoformat() == "2026-01-02"
        assert deal.custom["cf_m"] == ("a", "b")
        assert deal.custom["cf_new"] == "made since"
        assert deal.key == "hs:7"

    @pytest.mark.parametrize(
        ("field", "value"),
        [("value", "abc"), ("confidence", 250), ("date_won", "31/12/2026"), ("date_updated", "soon")],
    )
    def test_an_impossible_value_sets_only_that_deal_aside(self, fake, connect, field, value):
        fake.add_deal(1, NOW - timedelta(days=2))
        fake.add_deal(2, NOW - timedelta(days=1), **{field: value})
        [page] = everything(connect(), Kind.DEAL)
        assert [record.ref.id for record in page.records] == ["oppo_1"]
        assert [(bad.ref.id, bad.field) for bad in page.unreadable] == [("oppo_2", field)]

    def test_a_stage_of_no_known_pipeline_is_kept(self, fake, connect):
        deal = self.deal(fake, connect, status_id="stat_gone", status_type="lost", date_lost=iso(NOW))
        assert (deal.stage_id, deal.outcome, deal.closed_at) == ("stat_gone", Outcome.LOST, NOW)


class TestSmallReads:
    def test_pipelines_keep_the_order_and_take_outcomes_from_the_type(self, fake, connect):
        statuses = [
            {"id": "s1", "label": "Won it?", "type": "active"},
            {"id": "s2", "label": "Paid", "type": "won"},
            {"id": "s3", "label": "Ghosted", "type": "lost"},
        ]
        fake.answers = [
            (200, {}, json.dumps({"data": [{"id": "pipe_1", "name": "Sales", "statuses": statuses}]}))
        ]
        [page] = everything(connect(), Kind.PIPELINE)
        assert [(stage.id, stage.outcome) for stage in page.records[0].stages] == [
            ("s1", Outcome.OPEN),
            ("s2", Outcome.WON),
            ("s3", Outcome.LOST),
        ]
        assert page.whole

    @pytest.mark.parametrize("odd", [{"data": 5}, {"data": [{"name": "no id"}]}])
    def test_pipelines_of_the_wrong_shape_are_asked_for_again(self, fake, connect, odd):
        good = {"data": [{"id": "pipe_1", "name": "Sales", "statuses": []}]}
        fake.answers = [(200, {}, json.dumps(body)) for body in (odd, good)]
        [page] = everything(connect(), Kind.PIPELINE)
        assert [record.ref.id for record in page.records] == ["pipe_1"]

    def test_owners_include_those_who_left(self, fake, connect):
        fake.users = [
            {
                "id": "user_a",
                "first_name": "A",
                "last_name": "B",
                "email": "a@x.test",
                "organizations": ["orga_1"],
            },
            {"id": "user_b", "first_name": "", "last_name": "", "email": "b@x.test", "organizations": []},
        ]
        fake.organization |= {
            "memberships": [{"user_id": "user_a", "user_full_name": "A B"}],
            "inactive_memberships": [{"user_id": "user_c", "user_full_name": "C", "user_email": "c@x.test"}],
        }
        [page] = everything(connect(), Kind.OWNER)
        assert {record.ref.id: (record.name, record.active) for record in page.records} == {
            "user_a": ("A B", True),
            "user_b": ("b@x.test", False),
            "user_c": ("C", False),
        }

    def test_check_names_organization_currency_and_server_time(self, fake, connect):
        workspace = connect().check()
        assert (workspace.id, workspace.name, workspace.base_currency) == ("orga_1", "Acme", "USD")
        assert workspace.server_time == NOW

    def test_get_leaves_out_what_is_gone_and_follows_merges(self, fake, connect):
        fake.add_lead(2)
        meta = {"merge_source_lead_id": "lead_1", "merge_destination_lead_id": "lead_2"}
        fake.log("lead", "merged", "lead_2", meta=meta)
        refs = [Ref("eu", Kind.COMPANY, native) for native in ("lead_1", "lead_9")]
        assert [record.ref.id for record in connect().get(refs)] == ["lead_2"]

    def test_get_gives_deals_and_names_the_unreadable_one(self, fake, connect):
        fake.add_deal(1, NOW)
        connector = connect()
        refs = [Ref("eu", Kind.DEAL, "oppo_1"), Ref("eu", Kind.DEAL, "oppo_2")]
        assert [record.ref.id for record in connector.get(refs)] == ["oppo_1"]
        fake.add_deal(2, NOW, confidence=101)
        with pytest.raises(UnreadableRecord, match="confidence"):
            connector.get(refs)

    def test_fields_lists_custom_fields_by_id(self, fake, connect):
        fake.schema = [{**TEXT_FIELD, "type": "choices", "choices": ["a"], "accepts_multiple_values": True}]
        [custom] = [field for field in connect().fields(Kind.DEAL) if field.custom]
        assert (custom.id, custom.type, custom.options) == ("cf_name", "choices", {"a": "a"})


class TestErrorsAndLimits:
    def test_the_key_is_the_user_of_basic_authentication(self, fake, connect):
        seen = []
        route = fake.route
        fake.route = lambda path, params, request: (
            seen.append(request.headers["Authorization"]),
            route(path, params, request),
        )[1]
        connect().check()
        assert base64.b64decode(seen[0].removeprefix("Basic ")) == b"k3y-secret:"

    @pytest.mark.parametrize(
        ("status", "body", "error"),
        [
            (401, {"error": "The server could not verify k3y-secret"}, AccessDenied),
            (403, {"error": "no"}, MissingScope),
            (402, {"error": "plan"}, Rejected),
            (400, {"errors": [], "field-errors": {"status": "Not a valid choice."}}, Rejected),
        ],
    )
    def test_refusals_have_their_class_and_no_secret(self, fake, connect, status, body, error):
        fake.answers = [(status, {}, json.dumps(body))]
        with pytest.raises(error) as caught:
            connect().check()
        assert "k3y-secret" not in str(caught.value)
        assert type(caught.value) is error

    def test_a_page_that_is_not_json_is_a_bad_answer(self, fake, connect):
        fake.answers = [(200, {"Content-Type": "text/html"}, "<html>")] * 5
        with pytest.raises(BadAnswer, match="not JSON"):
            connect().check()

    def test_429_waits_for_the_decimal_reset_and_goes_on(self, fake, connect, clock):
        refused = {"RateLimit": "limit=160, remaining=0, reset=0.59", "retry-after": "1"}
        fake.answers = [(429, refused, '{"rate_reset": "99"}')]
        assert connect().check().id == "orga_1"
        assert clock.slept == [pytest.approx(0.64)]

    def test_429_with_only_retry_after_waits_that_long(self, fake, connect, clock):
        fake.answers = [(429, {"retry-after": "3"}, "")]
        connect().check()
        assert sum(clock.slept) == pytest.approx(3.05)

    def test_a_limit_told_as_nearly_used_up_holds_the_next_call_back(self, fake, connect, clock):
        fill(fake, 600)
        fake.headers = {"RateLimit": "limit=100, remaining=10, reset=2.5"}
        everything(connect(in_flight=1), Kind.DEAL)
        assert clock.slept
        assert max(clock.slept) == pytest.approx(2.55)

    def test_5xx_with_an_empty_body_is_tried_again(self, fake, connect, clock):
        fake.answers = [(503, {}, "")]
        assert connect().check().id == "orga_1"


class TestOAuth:
    def oauth(self, make_context, **secrets):
        context = make_context(
            "eu", client_id="id", client_secret="s3cret", **{"refresh_token": "r1", **secrets}
        )
        return CloseConnector(context, CloseConnector.Options(auth="oauth")), context

    def serve_tokens(self, fake, valid: list[str]):
        refreshed = []
        route = fake.route

        def serve(path, params, request):
            if path == "/oauth2/token/":
                form = parse_qs(request.body)
                refreshed.append(form["refresh_token"][0])
                token = f"a{len(refreshed)}"
                valid[:] = [token]
                return 200, {
                    "access_token": token,
                    "refresh_token": f"r{len(refreshed) + 1}",
                    "expires_in": 3600,
                }
            if request.headers["Authorization"] not in [f"Bearer {token}" for token in valid]:
                return 401, {"error": "expired"}
            return route(path, params, request)

        fake.route = serve
        return refreshed

    def test_the_rotated_refresh_token_is_stored_before_use(self, fake, make_context):
        connector, context = self.oauth(make_context)
        self.serve_tokens(fake, [])
        connector.check()
        assert context.secrets.stored[0] == ("refresh_token", "r2")

    def test_threads_that_meet_a_dead_token_renew_it_once(self, fake, make_context):
        connector, _ = self.oauth(make_context)
        valid: list[str] = []
        refreshed = self.serve_tokens(fake, valid)
        fill(fake, 3000)
        pages = []
        for page in connector.read(Kind.DEAL):
            if not pages:
                valid[:] = ["someone-elses"]
            pages.append(page)
        assert len(ids(pages)) == 3000
        assert refreshed == ["r1", "r2"]

    def test_a_refused_refresh_token_asks_for_a_new_login(self, fake, make_context):
        connector, _ = self.oauth(make_context)
        fake.route = lambda *args: (400, {"error": "invalid_grant"})
        with pytest.raises(AccessDenied, match="renew") as caught:
            connector.check()
        assert "crmkit login eu" in caught.value.hint


def test_a_base_url_without_a_path_gets_the_paths_of_the_api(make_context):
    connector = CloseConnector(
        make_context("eu", api_key="k"), CloseConnector.Options(base_url="http://127.0.0.1:9")
    )
    assert connector.http.base_url == "http://127.0.0.1:9/api/v1"


def test_windows_cover_the_time_without_gaps():
    windows = walks.activity_windows(None, NOW)
    starts = {window["a"] for window in windows} - {None}
    assert starts == {window["b"] for window in windows} - {walks.wire(NOW)}
    assert Counter(window["a"] for window in windows)[None] == 1
