"""Copper against a small stand-in that keeps state and speaks Copper's wire format.

The traps of the contract's summary that concern reading, and the test that each would fail:

 1  three headers         test_the_three_headers_are_sent, test_oauth_sends_the_bearer_alone
 2  total is a bound      test_the_total_header_is_not_trusted
 3  depth of 100,000      test_no_search_reaches_beyond_its_depth
 4  default sort          test_every_search_is_sorted_and_asks_for_page_one
 5  180 a minute          test_a_long_read_keeps_below_the_limit_of_a_minute
 6  status, not stage     test_the_outcome_is_the_status_and_never_the_stage
 7  lists are read only   test_only_pipelines_of_opportunities_count_and_all_stages_are_open
 8  contact may be null   test_a_deal_without_person_or_company_is_read
 9  close_date            test_close_dates_follow_the_accounts_order,
                          test_a_close_date_in_the_other_order_is_set_aside_with_advice
10  dates at midnight     test_dates_are_days_of_the_accounts_zone,
                          test_without_a_zone_the_most_likely_midnight_is_meant
11  options by id         test_values_are_typed_and_options_named
12  key in a tag          test_the_key_comes_from_its_tag
13  concerns writing only
14  deletes are unlisted  test_a_deletion_becomes_known (contract suite: capabilities say ABSENT)
15  primary links only    test_reason_source_and_people_are_read, test_every_deal_comes_in_few_requests
"""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
import responses

from crmkit.connectors.copper import walks
from crmkit.connectors.copper.connector import CopperConnector
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
from crmkit.model import Kind, LostKind, Outcome, Ref

NOW = int(datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC).timestamp())
DAY = 86400
FIELDS = {"created": "date_created", "modified": "date_modified", "activity": "activity_date"}


class FakeCopper:
    """Answers like Copper; `calls` holds (method, path, body) of each request."""

    def __init__(self) -> None:
        self.now = NOW
        self.rows: dict[str, dict[int, dict]] = {"opportunities": {}, "companies": {}, "people": {}}
        # The search trails behind: it does not show these yet, and those still with these values.
        self.unlisted: set[int] = set()
        self.trailing: dict[int, dict] = {}
        self.activities: list[dict] = []
        self.lists: dict[str, list | dict] = {
            "/custom_field_definitions": [],
            "/loss_reasons": [{"id": 9, "name": "Price"}],
            "/customer_sources": [{"id": 8, "name": "Fair"}],
            "/pipelines": [],
            "/account": {"id": 1, "name": "Acme"},
        }
        self.users: list[dict] = []
        self.reach = 100_000
        self.total_lies = 0
        self.calls: list[tuple[str, str, dict]] = []
        self.sent_headers: list[dict] = []
        self.answers: list[tuple[int, dict, str]] = []
        self.before = lambda path, body: None
        self.lock = threading.Lock()

    def add_deal(self, n: int, created: int, modified: int | None = None, **more) -> dict:
        self.rows["opportunities"][n] = {
            "id": n,
            "name": f"Deal {n:06}",
            "assignee_id": 5,
            "close_date": "1/15/2027",
            "company_id": 70,
            "customer_source_id": None,
            "loss_reason_id": None,
            "pipeline_id": 1,
            "pipeline_stage_id": 11,
            "primary_contact_id": 80,
            "status": "Open",
            "tags": [],
            "monetary_unit": "EUR",
            "monetary_value": 100,
            "win_probability": 40,
            "custom_fields": [],
            "date_created": created,
            "date_modified": created if modified is None else modified,
            **more,
        }
        return self.rows["opportunities"][n]

    def add_activity(
        self, n: int, at: int, *, system: bool = False, parent=("opportunity", 1), **more
    ) -> None:
        kind = {"id": 3, "category": "system"} if system else {"id": 0, "category": "user"}
        about = {"type": parent[0], "id": parent[1]}
        stamps = {"activity_date": at, "date_created": at, "date_modified": at}
        self.activities.append(
            {"id": n, "type": kind, "parent": about, "details": f"note {n}", **stamps, **more}
        )

    def edit(self, n: int, **changes) -> None:
        self.rows["opportunities"][n].update(changes, date_modified=self.now)

    def __call__(self, request):
        path = urlsplit(request.url).path.removeprefix("/developer_api/v1")
        body = json.loads(request.body) if request.body else {}
        date_header = datetime.fromtimestamp(self.now, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        with self.lock:
            self.calls.append((request.method, path, body))
            self.sent_headers.append(dict(request.headers))
            self.before(path, body)
            if self.answers:
                status, headers, text = self.answers.pop(0)
            else:
                status, headers, found = self.route(path, body)
                text = json.dumps(found)
            return status, {"Date": date_header, **headers}, text

    def route(self, path: str, body: dict):
        if path in self.lists:
            return 200, {}, self.lists[path]
        if path == "/users/search":
            return self.paged(self.users, body)
        if path == "/activities/search":
            return self.search_activities(body)
        if path.startswith("/activities/"):
            found = [row for row in self.activities if str(row["id"]) == path.rsplit("/", 1)[1]]
            return (200, {}, found[0]) if found else (404, {}, {"error": "not_found"})
        if re.fullmatch(r"/(opportunities|companies|people)/\d+", path):
            row = self.rows[path.split("/")[1]].get(int(path.rsplit("/", 1)[1]))
            return (200, {}, row) if row else (404, {}, {"error": "not_found"})
        return self.search(self.rows[path.split("/")[1]], body)

    def search(self, rows: dict[int, dict], body: dict):
        shown = {native: row for native, row in rows.items() if native not in self.unlisted}
        found = [{**row, **self.trailing.get(native, {})} for native, row in shown.items()]
        if "ids" in body:
            assert len(body["ids"]) <= 200
            found = [row for row in found if row["id"] in body["ids"]]
        found = self.within(found, body)
        found.sort(
            key=lambda row: row[body.get("sort_by", "name")], reverse=body.get("sort_direction") == "desc"
        )
        return self.paged(found, body)

    def search_activities(self, body: dict):
        found = [row for row in self.activities if row["type"] in body["activity_types"]]
        if "parent" in body:
            found = [row for row in found if row["parent"] == body["parent"]]
        found = sorted(self.within(found, body), key=lambda row: -row["activity_date"])
        return self.paged(found, body)

    def within(self, rows: list[dict], body: dict) -> list[dict]:
        for name, wanted in body.items():
            limit, _, what = name.partition("_")
            field = FIELDS.get(what.removesuffix("_date"))
            if limit == "minimum":
                rows = [row for row in rows if row[field] >= wanted]
            if limit == "maximum":
                rows = [row for row in rows if row[field] <= wanted]
        return rows

    def paged(self, rows: list[dict], body: dict):
        number, size = body.get("page_number", 1), body.get("page_size", 20)
        total = str(len(rows) + self.total_lies)
        page = rows[: self.reach][(number - 1) * size : number * size]
        return 200, {"X-PW-TOTAL": total}, page

    def searches(self, path: str) -> int:
        return sum(called == path for _, called, _ in self.calls)


@pytest.fixture
def fake():
    copper = FakeCopper()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST"):
            mock.add_callback(method, re.compile(r"https://api\.copper\.com/.*"), callback=copper)
        yield copper


@pytest.fixture
def connect(make_context):
    made = []

    def build(**options) -> CopperConnector:
        wanted = {"user_email": "admin@example.com", **options}
        made.append(
            CopperConnector(make_context("us", api_key="k3y-secret"), CopperConnector.Options(**wanted))
        )
        return made[-1]

    yield build
    for connector in made:
        connector.close()


def everything(connector, kind, since=None):
    pages = list(connector.read(kind, since))
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    return pages


def ids(pages) -> set[str]:
    return {record.ref.id for page in pages for record in page.records}


def fill(fake: FakeCopper, count: int, *, days: int = 300) -> None:
    for n in range(count):
        fake.add_deal(n, NOW - days * DAY + (days - 1) * DAY * n // max(1, count))


class TestFullRead:
    def test_every_deal_comes_in_few_requests(self, fake, connect):
        fill(fake, 8000)
        pages = everything(connect(in_flight=8), Kind.DEAL)
        assert len(ids(pages)) == 8000
        assert pages[-1].whole
        assert len(fake.calls) <= 40 + 3 + 10

    def test_every_search_is_sorted_and_asks_for_page_one(self, fake, connect):
        fill(fake, 1000)
        everything(connect(), Kind.DEAL)
        bodies = [body for _, path, body in fake.calls if path.endswith("search")]
        assert {(body["sort_by"], body["page_number"], body["page_size"]) for body in bodies} == {
            ("date_created", 1, 200)
        }

    def test_uneven_times_are_cut_as_they_come(self, fake, connect):
        fake.add_deal(0, NOW - 3000 * DAY)
        for n in range(1, 6000):
            fake.add_deal(n, NOW - 7200 + n)
        assert len(ids(everything(connect(in_flight=8), Kind.DEAL))) == 6000
        assert len(fake.calls) <= 30 + 40

    def test_no_search_reaches_beyond_its_depth(self, fake, connect):
        fake.reach = 400
        fill(fake, 3000)
        assert len(ids(everything(connect(), Kind.DEAL))) == 3000

    @pytest.mark.parametrize("lie", [-10_000, 0, 5000])
    def test_the_total_header_is_not_trusted(self, fake, connect, lie):
        fake.total_lies = max(lie, -300)
        fill(fake, 900)
        assert len(ids(everything(connect(), Kind.DEAL))) == 900

    def test_an_exact_multiple_of_the_page_size_ends(self, fake, connect):
        fill(fake, 400)
        assert len(ids(everything(connect(in_flight=1), Kind.DEAL))) == 400

    def test_an_empty_account_is_one_last_page(self, fake, connect):
        pages = everything(connect(), Kind.DEAL)
        assert (len(pages), pages[0].records, pages[0].whole) == (1, [], True)

    @pytest.mark.parametrize("parallel", [1, 4])
    def test_every_cursor_resumes_without_loss(self, fake, connect, parallel):
        fill(fake, 3000)
        for n in range(3000, 3500):
            fake.add_deal(n, NOW - 400 * DAY)
        seen: set[str] = set()
        cursor, page, steps = None, None, 0
        while page is None or not page.last:
            pages = connect(in_flight=parallel).read(Kind.DEAL, cursor)
            page = next(pages)
            pages.close()
            seen |= {record.ref.id for record in page.records}
            cursor, steps = page.cursor, steps + 1
            assert steps < 100
        assert len(seen) == 3500
        assert page.whole

    def test_an_import_in_one_second_beyond_a_page_comes_whole(self, fake, connect):
        for n in range(900):
            fake.add_deal(n, NOW - 5 * DAY)
        for n in range(900, 1200):
            fake.add_deal(n, NOW - 4 * DAY + n)
        assert len(ids(everything(connect(), Kind.DEAL))) == 1200

    def test_an_import_later_edited_one_by_one_needs_no_depth(self, fake, connect):
        fake.reach = 200
        for n in range(900):
            fake.add_deal(n, NOW - 5 * DAY, NOW - 4 * DAY + n)
        assert len(ids(everything(connect(), Kind.DEAL))) == 900

    def test_more_deals_of_one_second_than_a_search_reaches_is_an_incomplete_read(
        self, fake, connect, monkeypatch
    ):
        monkeypatch.setattr(walks, "REACH", 400)
        fake.reach = 400
        for n in range(900):
            fake.add_deal(n, NOW - 5 * DAY)
        with pytest.raises(IncompleteRead, match="one second"):
            everything(connect(), Kind.DEAL)

    def test_a_deletion_while_paging_inside_a_second_hides_no_neighbour(self, fake, connect):
        for n in range(900):
            fake.add_deal(n, NOW - 5 * DAY)
        rows = fake.rows["opportunities"]

        def delete_one(path, body):
            if body.get("page_number") == 3 and 0 in rows:
                del rows[0]

        fake.before = delete_one
        assert ids(everything(connect(in_flight=1), Kind.DEAL)) >= {str(n) for n in rows}

    def test_a_deletion_while_walking_hides_no_neighbour(self, fake, connect):
        fill(fake, 900)
        rows = fake.rows["opportunities"]

        def delete_one(path, body):
            if len(fake.calls) == 6:
                for n in range(10):
                    del rows[n]

        fake.before = delete_one
        assert ids(everything(connect(in_flight=1), Kind.DEAL)) >= {str(n) for n in rows}

    def test_a_search_that_ignores_the_sort_is_refused(self, fake, connect):
        fill(fake, 300)
        fake.search = lambda rows, body: fake.paged(list(rows.values())[::-1], body)
        with pytest.raises(BadAnswer, match="sorted"):
            everything(connect(), Kind.DEAL)

    def test_a_broken_time_at_the_border_of_a_page_concerns_that_deal_only(self, fake, connect):
        fill(fake, 500)
        paged = fake.paged
        fake.paged = lambda rows, body: paged(
            [row | {"date_created": None} if row["id"] == 199 else row for row in rows], body
        )
        fake.rows["opportunities"][199]["win_probability"] = -1
        pages = everything(connect(in_flight=1), Kind.DEAL)
        assert len(ids(pages)) == 499
        assert {bad.ref.id for page in pages for bad in page.unreadable} == {"199"}

    def test_an_answer_that_is_no_array_is_a_bad_answer(self, fake, connect):
        fake.search = lambda rows, body: (200, {}, {"success": False})
        with pytest.raises(BadAnswer, match="array"):
            everything(connect(), Kind.DEAL)


class TestIncrement:
    def start(self, fake, connect, count=20) -> str:
        fill(fake, count)
        return everything(connect(), Kind.DEAL)[-1].cursor

    def test_nothing_changed_is_one_page_without_records(self, fake, connect):
        cursor = self.start(fake, connect)
        fake.now += 3600
        pages = everything(connect(), Kind.DEAL, cursor)
        assert (len(pages), ids(pages), pages[0].whole) == (1, set(), False)

    def test_edits_and_new_deals_come(self, fake, connect):
        cursor = self.start(fake, connect)
        fake.now += 3600
        fake.edit(3, name="New")
        fake.add_deal(99, fake.now)
        assert ids(everything(connect(), Kind.DEAL, cursor)) == {"3", "99"}

    def test_the_cursor_starts_five_minutes_before_the_servers_start_time(self, fake, connect):
        fill(fake, 300)
        advance = iter([0, 0, 0, 0, 600, 600, 600, 600])
        fake.before = lambda path, body: setattr(fake, "now", NOW + next(advance))
        cursor = everything(connect(), Kind.DEAL)[-1].cursor
        assert json.loads(cursor)["since"] == NOW - 300

    def test_an_edit_during_the_full_read_comes_in_the_increment(self, fake, connect):
        fill(fake, 900)
        edited = []

        def edit_once(path, body):
            if "minimum_created_date" in body and not edited:
                edited.append(fake.edit(0, win_probability=99))

        fake.before = edit_once
        cursor = everything(connect(), Kind.DEAL)[-1].cursor
        assert "0" in ids(everything(connect(), Kind.DEAL, cursor))

    def test_a_bulk_edit_in_one_second_comes_whole(self, fake, connect):
        fake.reach = 200
        cursor = self.start(fake, connect, 900)
        fake.now += 3600
        for n in range(900):
            fake.edit(n)
        assert len(ids(everything(connect(), Kind.DEAL, cursor))) == 900

    def test_a_hundred_changes_are_one_search(self, fake, connect):
        cursor = self.start(fake, connect, 300)
        fake.now += 3600
        for n in range(100):
            fake.edit(n)
        fake.calls.clear()
        everything(connect(), Kind.DEAL, cursor)
        assert fake.searches("/opportunities/search") == 1

    def test_a_cursor_of_another_kind_is_refused(self, fake, connect):
        with pytest.raises(IncompleteRead, match="another kind"):
            next(connect().read(Kind.DEAL, pack({"k": "note", "since": NOW})))


class TestDealValues:
    def read(self, fake, connector):
        [page] = everything(connector, Kind.DEAL)
        return page

    def deal(self, fake, connector, **values):
        fake.add_deal(1, NOW - DAY, **values)
        page = self.read(fake, connector)
        assert page.unreadable == []
        return page.records[0]

    @pytest.mark.parametrize(
        ("status", "outcome", "kind"),
        [
            ("Open", Outcome.OPEN, None),
            ("Won", Outcome.WON, None),
            ("Lost", Outcome.LOST, LostKind.LOST),
            ("Abandoned", Outcome.LOST, LostKind.ABANDONED),
        ],
    )
    def test_the_outcome_is_the_status_and_never_the_stage(self, fake, connect, status, outcome, kind):
        deal = self.deal(fake, connect(), status=status)
        assert (deal.outcome, deal.lost_kind, deal.stage_id) == (outcome, kind, "11")
        assert deal.probability == Decimal("0.4")

    def test_reason_source_and_people_are_read(self, fake, connect):
        deal = self.deal(fake, connect(), loss_reason_id=9, customer_source_id=8)
        assert (deal.lost_reason, deal.source) == ("Price", "Fair")
        assert (deal.companies, deal.contacts[0].id, deal.contacts[0].primary) == (("70",), "80", True)

    def test_a_reason_that_is_not_listed_keeps_its_id(self, fake, connect):
        assert self.deal(fake, connect(), loss_reason_id=77).lost_reason == "77"

    def test_a_deal_without_person_or_company_is_read(self, fake, connect):
        deal = self.deal(fake, connect(), primary_contact_id=None, company_id=None)
        assert (deal.companies, deal.contacts) == ((), ())

    def test_amounts_are_exact_major_units_and_null_is_unknown(self, fake, connect):
        fake.add_deal(1, NOW - DAY, monetary_value=0.1)
        fake.add_deal(2, NOW - DAY, monetary_value=None)
        first, second = self.read(fake, connect()).records
        assert (first.amount, second.amount) == (Decimal("0.1"), None)

    def test_a_deal_without_a_currency_has_the_accounts(self, fake, connect):
        assert self.deal(fake, connect(currency="GBP"), monetary_unit=None).currency == "GBP"
        assert self.deal(fake, connect(), monetary_unit=None).currency is None

    @pytest.mark.parametrize(("day_first", "day"), [(False, date(2027, 3, 4)), (True, date(2027, 4, 3))])
    def test_close_dates_follow_the_accounts_order(self, fake, connect, day_first, day):
        assert self.deal(fake, connect(day_first=day_first), close_date="3/4/2027").expected_close == day

    def test_a_close_date_in_the_other_order_is_set_aside_with_advice(self, fake, connect):
        fake.add_deal(1, NOW - DAY, close_date="25/4/2027")
        fake.add_deal(2, NOW - DAY, close_date="4/25/2027")
        page = self.read(fake, connect())
        assert [record.ref.id for record in page.records] == ["2"]
        assert page.unreadable[0].field == "close_date"
        assert "day_first = true" in page.unreadable[0].reason

    def test_the_key_comes_from_its_tag(self, fake, connect):
        deal = self.deal(fake, connect(), tags=["vip", "crmkit:hs:12"])
        assert (deal.key, deal.tags) == ("hs:12", ("vip",))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("monetary_value", "abc"),
            ("win_probability", 250),
            ("close_date", "2027-01-01"),
            ("close_date", "2/30/2027"),
            ("date_modified", "soon"),
            ("status", "Frozen"),
        ],
    )
    def test_an_impossible_value_sets_only_that_deal_aside(self, fake, connect, field, value):
        fake.add_deal(1, NOW - 2 * DAY)
        fake.add_deal(2, NOW - DAY, **{field: value})
        page = self.read(fake, connect())
        assert [record.ref.id for record in page.records] == ["1"]
        assert [(bad.ref.id, bad.field) for bad in page.unreadable] == [("2", field)]


class TestCustomFields:
    DEFINITIONS = (
        {"id": 1, "name": "Color", "data_type": "Dropdown", "options": [{"id": 10, "name": "Red"}]},
        {"id": 2, "name": "Many", "data_type": "MultiSelect", "options": [{"id": 20, "name": "A"}]},
        {"id": 3, "name": "Day", "data_type": "Date"},
        {"id": 4, "name": "Yes", "data_type": "Checkbox"},
        {"id": 5, "name": "Part", "data_type": "Float"},
        {"id": 6, "name": "Linked", "data_type": "Connect"},
    )

    def custom(self, fake, connector, **values):
        fake.lists["/custom_field_definitions"] = list(self.DEFINITIONS)
        entries = [{"custom_field_definition_id": int(k[1:]), "value": v} for k, v in values.items()]
        fake.add_deal(1, NOW - DAY, custom_fields=entries)
        [page] = everything(connector, Kind.DEAL)
        return page

    def test_values_are_typed_and_options_named(self, fake, connect):
        page = self.custom(fake, connect(), f1=10, f2=[20, 21], f4=False, f5=1.10, f7="made since")
        assert page.records[0].custom == {
            "1": "Red",
            "2": ("A", "21"),
            "4": False,
            "5": Decimal("1.10"),
            "7": "made since",
        }

    def test_unset_values_are_left_out(self, fake, connect):
        assert self.custom(fake, connect(), f1=None, f2=[], f3=None, f6=[]).records[0].custom == {}

    @pytest.mark.parametrize("seconds", [1754031600, 1515744000, 1735603200])
    def test_dates_are_days_of_the_accounts_zone(self, fake, connect, seconds):
        zone = "America/Los_Angeles"
        page = self.custom(fake, connect(time_zone=zone) if seconds != 1735603200 else connect(), f3=seconds)
        expected = {
            1754031600: date(2025, 8, 1),
            1515744000: date(2018, 1, 12),
            1735603200: date(2024, 12, 31),
        }
        assert page.records[0].custom["3"] == expected[seconds]

    @pytest.mark.parametrize(
        ("zone_hours", "day"), [(-10, 12), (-8, 12), (0, 12), (5.5, 12), (12, 12), (13, 12)]
    )
    def test_without_a_zone_the_most_likely_midnight_is_meant(self, fake, connect, zone_hours, day):
        midnight = datetime(2018, 1, day, tzinfo=UTC) - timedelta(hours=zone_hours)
        page = self.custom(fake, connect(), f3=int(midnight.timestamp()))
        assert page.records[0].custom["3"] == date(2018, 1, day)

    def test_a_wrong_zone_is_named(self, fake, connect):
        page = self.custom(fake, connect(time_zone="Asia/Tokyo"), f3=1515744000)
        assert page.records == []
        assert "time_zone" in page.unreadable[0].reason

    def test_fields_lists_only_those_of_the_kind(self, fake, connect):
        fake.lists["/custom_field_definitions"] = [
            {**self.DEFINITIONS[0], "available_on": ["opportunity"]},
            {**self.DEFINITIONS[3], "available_on": ["person"]},
        ]
        [custom] = [field for field in connect().fields(Kind.DEAL) if field.custom]
        assert (custom.id, custom.type, custom.options) == ("1", "choice", {"10": "Red"})


class TestOtherKinds:
    def test_ids_that_repeat_between_kinds_stay_apart(self, fake, connect):
        fake.rows["companies"][1] = {
            "id": 1,
            "name": "Acme",
            "email_domain": "acme.test",
            "address": {"city": "", "country": None},
            "phone_numbers": [{"number": "1", "category": "work"}],
            "tags": ["crmkit:k"],
            "date_created": NOW - DAY,
            "date_modified": NOW,
        }
        fake.rows["people"][1] = {
            "id": 1,
            "name": "Ann Bee",
            "first_name": "Ann",
            "last_name": "Bee",
            "emails": [{"email": "a@acme.test", "category": "work"}],
            "company_id": 1,
            "address": None,
            "date_created": NOW - DAY,
            "date_modified": NOW,
        }
        [companies] = everything(connect(), Kind.COMPANY)
        [people] = everything(connect(), Kind.CONTACT)
        company, person = companies.records[0], people.records[0]
        assert (str(company.ref), company.domain, company.city, company.key) == (
            "us:company:1",
            "acme.test",
            None,
            "k",
        )
        assert (str(person.ref), person.emails, person.companies) == (
            "us:contact:1",
            ("a@acme.test",),
            ("1",),
        )

    def test_only_pipelines_of_opportunities_count_and_all_stages_are_open(self, fake, connect):
        stages = [{"id": 11, "name": "Won", "win_probability": 100}]
        fake.lists["/pipelines"] = [
            {"id": 1, "name": "Sales", "stages": stages, "type": "opportunity"},
            {"id": 2, "name": "Old shape", "stages": []},
            {"id": 3, "name": "Building", "stages": [], "type": "project"},
        ]
        [page] = everything(connect(), Kind.PIPELINE)
        assert [record.ref.id for record in page.records] == ["1", "2"]
        assert (page.records[0].stages[0].outcome, page.records[0].stages[0].probability) == (Outcome.OPEN, 1)

    def test_owners_beyond_a_page_come(self, fake, connect):
        fake.users = [{"id": n, "name": f"U{n}", "email": f"u{n}@x.test"} for n in range(450)]
        [page] = everything(connect(), Kind.OWNER)
        assert len(page.records) == 450
        assert page.whole

    def test_a_list_of_users_that_repeats_its_pages_ends(self, fake, connect):
        fake.users = [{"id": n, "name": f"U{n}", "email": f"u{n}@x.test"} for n in range(450)]
        paged = fake.paged
        fake.paged = lambda rows, body: paged(rows, {**body, "page_number": 1})
        with pytest.raises(IncompleteRead, match="repeats"):
            everything(connect(), Kind.OWNER)

    def test_notes_of_deals_and_companies_come_and_those_of_people_do_not(self, fake, connect):
        fake.add_activity(1, NOW - 50, parent=("opportunity", 7))
        fake.add_activity(2, NOW - 40, parent=("company", 7))
        fake.add_activity(3, NOW - 30, parent=("person", 7))
        fake.add_activity(4, NOW - 20, system=True)
        [page] = everything(connect(), Kind.NOTE)
        found = {record.ref.id: (record.deal_id, record.company_id) for record in page.records}
        assert found == {"1": ("7", None), "2": (None, "7")}

    def test_stubs_of_deleted_activities_are_tombstones(self, fake, connect):
        fake.add_activity(1, NOW - 50, is_deleted=True)
        [page] = everything(connect(), Kind.NOTE)
        assert [stone.ref.id for stone in page.tombstones] == ["1"]

    @pytest.mark.parametrize("spread", [1, 0])
    def test_very_many_notes_come_whole(self, fake, connect, spread):
        for n in range(2500):
            fake.add_activity(n, NOW - 60 * spread * n)
        pages = everything(connect(in_flight=8), Kind.NOTE)
        assert len(ids(pages)) == 2500
        assert len(fake.calls) < 13 + 12

    def test_the_increment_of_notes_is_capped_at_its_start(self, fake, connect):
        fake.add_activity(1, NOW - 50)
        cursor = everything(connect(), Kind.NOTE)[-1].cursor
        fake.now += 3600
        fake.add_activity(2, fake.now - 10)
        fake.calls.clear()
        assert "2" in ids(everything(connect(), Kind.NOTE, cursor))
        [body] = [body for _, path, body in fake.calls if path == "/activities/search"]
        assert (body["minimum_activity_date"], body["maximum_activity_date"]) == (NOW - 300, NOW + 3600)

    def stages(self, fake) -> None:
        fake.lists["/pipelines"] = [
            {"id": 1, "name": "A", "stages": [{"id": 11, "name": "New"}, {"id": 12, "name": "Talk"}]},
            {"id": 2, "name": "B", "stages": [{"id": 21, "name": "Talk"}]},
        ]

    @pytest.mark.parametrize("value", [11, "11", {"id": 11, "name": "New"}, "New"])
    def test_stage_changes_name_their_stages_in_any_known_way(self, fake, connect, value):
        self.stages(fake)
        fake.add_activity(1, NOW - 50, system=True, old_value=None, new_value=value)
        [page] = everything(connect(), Kind.STAGE_CHANGE)
        assert [(c.from_stage_id, c.to_stage_id) for c in page.records] == [(None, "11")]

    def test_a_stage_name_of_two_pipelines_is_set_aside(self, fake, connect):
        self.stages(fake)
        fake.add_activity(1, NOW - 50, system=True, old_value="New", new_value="Talk")
        [page] = everything(connect(), Kind.STAGE_CHANGE)
        assert [(bad.field, bad.reason) for bad in page.unreadable] == [
            ("new_value", "is the name of 2 stages")
        ]

    @pytest.mark.parametrize("bulk_above", [100, 1])
    def test_history_comes_in_order_whichever_way_it_is_read(self, fake, connect, monkeypatch, bulk_above):
        monkeypatch.setattr("crmkit.connectors.copper.connector.BULK_HISTORY_ABOVE", bulk_above)
        self.stages(fake)
        for n in range(9):
            fake.add_activity(n, NOW - 60 * n, system=True, parent=("opportunity", n % 3), new_value=11)
        found = list(connect().history([Ref("us", Kind.DEAL, "1"), Ref("us", Kind.DEAL, "2")]))
        assert [[change.ref.id for change in changes] for changes in found] == [
            ["7", "4", "1"],
            ["8", "5", "2"],
        ]

    @pytest.mark.parametrize("bulk_above", [100, 0])
    def test_history_names_an_unreadable_change_of_a_wanted_deal_only(
        self, fake, connect, monkeypatch, bulk_above
    ):
        monkeypatch.setattr("crmkit.connectors.copper.connector.BULK_HISTORY_ABOVE", bulk_above)
        self.stages(fake)
        fake.add_activity(1, NOW - 60, system=True, parent=("opportunity", 1), new_value="Talk")
        fake.add_activity(2, NOW - 50, system=True, parent=("opportunity", 2), new_value="New")
        [changes] = connect().history([Ref("us", Kind.DEAL, "2")])
        assert [change.ref.id for change in changes] == ["2"]
        with pytest.raises(UnreadableRecord, match="2 stages"):
            list(connect().history([Ref("us", Kind.DEAL, "1")]))


class TestGet:
    def test_each_deal_is_read_once_by_its_own_address(self, fake, connect):
        fill(fake, 30)
        refs = [Ref("us", Kind.DEAL, str(n)) for n in range(33)]
        found = connect().get([*refs, *refs])
        assert [record.ref for record in found] == refs[:30]
        read = [path for _, path, _ in fake.calls if path.startswith("/opportunities")]
        assert sorted(read) == sorted(f"/opportunities/{ref.id}" for ref in refs)

    @pytest.mark.parametrize("kind", [Kind.DEAL, Kind.COMPANY, Kind.CONTACT])
    def test_what_the_search_still_shows_as_it_was_is_read_as_it_is(self, fake, connect, kind):
        fake.add_deal(1, NOW)
        for name in fake.rows:
            fake.rows[name][1] = {**fake.rows["opportunities"][1], "name": "after"}
        fake.trailing[1] = {"name": "before"}
        assert [record.name for record in connect().get([Ref("us", kind, "1")])] == ["after"]

    @pytest.mark.parametrize("kind", [Kind.DEAL, Kind.COMPANY, Kind.CONTACT])
    def test_a_record_that_is_gone_costs_one_request_too(self, fake, connect, kind):
        connector = connect()
        told = connector.reading_budget(kind, 2).requests
        assert connector.get([Ref("us", kind, str(n)) for n in range(2)]) == []
        assert connector.context.usage.requests == told

    def test_another_record_than_was_asked_for_is_not_taken_for_it(self, fake, connect):
        fake.add_deal(1, NOW)["id"] = 2
        with pytest.raises(BadAnswer):
            connect().get([Ref("us", Kind.DEAL, "1")])

    def test_without_fresh_reads_deals_are_read_two_hundred_at_a_time(self, fake, connect):
        fill(fake, 450)
        refs = [Ref("us", Kind.DEAL, str(n)) for n in range(450)]
        connector = connect(fresh_reads=False)
        told = connector.reading_budget(Kind.DEAL, 450).requests
        assert len(connector.get(refs)) == 450
        assert fake.searches("/opportunities/search") == 3
        assert connector.context.usage.requests == told

    def test_without_fresh_reads_what_the_search_does_not_show_is_read_by_its_address(self, fake, connect):
        fill(fake, 3)
        fake.unlisted.add(2)
        refs = [Ref("us", Kind.DEAL, str(n)) for n in range(4)]
        assert [record.ref for record in connect(fresh_reads=False).get(refs)] == refs[:3]
        assert [path for method, path, _ in fake.calls if re.search(r"/opportunities/\d", path)] == [
            "/opportunities/2", "/opportunities/3",
        ]  # fmt: skip

    def test_names_are_looked_up_once_for_several_gets(self, fake, connect):
        fill(fake, 3)
        connector = connect()
        for n in range(3):
            connector.get([Ref("us", Kind.DEAL, str(n))])
        assert fake.searches("/custom_field_definitions") == 1

    def test_an_unreadable_record_is_named(self, fake, connect):
        fake.add_deal(1, NOW, win_probability=-1)
        with pytest.raises(UnreadableRecord, match=r"us:deal:1.*win_probability"):
            connect().get([Ref("us", Kind.DEAL, "1")])

    def test_an_id_that_cannot_be_coppers_is_left_out_without_a_call(self, fake, connect):
        assert connect().get([Ref("us", Kind.DEAL, "oppo_1")]) == []
        assert fake.calls == []

    def test_notes_are_read_one_by_one_and_deleted_ones_left_out(self, fake, connect):
        fake.add_activity(1, NOW)
        fake.add_activity(2, NOW, is_deleted=True)
        refs = [Ref("us", Kind.NOTE, native) for native in ("1", "2", "3")]
        assert [record.ref.id for record in connect().get(refs)] == ["1"]


class TestErrorsAndLimits:
    def test_the_three_headers_are_sent(self, fake, connect):
        connect().check()
        sent = fake.sent_headers[0]
        assert sent["X-PW-AccessToken"] == "k3y-secret"
        assert sent["X-PW-Application"] == "developer_api"
        assert sent["X-PW-UserEmail"] == "admin@example.com"

    def test_the_key_is_looked_up_once(self, fake, make_context):
        context = make_context("us", api_key="k3y-secret")
        looked_up = []
        get = context.secrets.get
        context.secrets.get = lambda name: (looked_up.append(name), get(name))[1]
        connector = CopperConnector(context, CopperConnector.Options(user_email="a@x.test"))
        everything(connector, Kind.DEAL)
        assert looked_up == ["api_key"]

    def test_oauth_sends_the_bearer_alone(self, fake, make_context):
        options = CopperConnector.Options(auth="oauth")
        CopperConnector(make_context("us", access_token="t0ken"), options).check()
        assert fake.sent_headers[0]["Authorization"] == "Bearer t0ken"
        assert not any(name.startswith("X-PW") for name in fake.sent_headers[0])

    def test_a_key_without_its_owners_address_is_a_configuration_error(self, make_context):
        with pytest.raises(ConfigError, match="user_email"):
            CopperConnector(make_context("us", api_key="k"), CopperConnector.Options())

    def test_an_unknown_zone_is_a_configuration_error(self, connect):
        with pytest.raises(ConfigError, match="Mars"):
            connect(time_zone="Mars/Base")

    @pytest.mark.parametrize(
        ("status", "body", "error"),
        [
            (401, {"success": False, "status": 401, "message": "Invalid k3y-secret"}, AccessDenied),
            (403, {"error": "forbidden"}, AccessDenied),
            (422, {"success": False, "status": 422, "message": "Invalid input: x: y"}, Rejected),
            (400, "?", Rejected),
        ],
    )
    def test_refusals_have_their_class_and_no_secret(self, fake, connect, status, body, error):
        fake.answers = [(status, {}, json.dumps(body))]
        with pytest.raises(error) as caught:
            connect().check()
        assert "k3y-secret" not in str(caught.value)
        assert type(caught.value) is error

    def test_a_missing_right_names_the_call(self, fake, connect):
        fake.answers = [(403, {}, '{"success":false,"status":403,"message":"no"}')]
        with pytest.raises(MissingScope, match="GET /pipelines"):
            everything(connect(), Kind.PIPELINE)

    def test_a_page_that_is_not_json_is_asked_again(self, fake, connect, clock):
        fake.answers = [(200, {}, "<html>")]
        assert connect().check().id == "1"
        assert len(clock.slept) == 1

    @pytest.mark.parametrize(("headers", "seconds"), [({}, 5.0), ({"Retry-After": "7"}, 7.0)])
    def test_429_waits_with_and_without_a_word_of_the_server(self, fake, connect, clock, headers, seconds):
        fake.answers = [(429, headers, '{"success":false,"status":429,"message":"Too many requests"}')]
        assert connect().check().id == "1"
        assert sum(clock.slept) == pytest.approx(seconds)

    def test_a_long_read_keeps_below_the_limit_of_a_minute(self, fake, connect, clock):
        fill(fake, 70_000 // 100)
        connector = connect(in_flight=1)
        for _ in range(40):
            everything(connector, Kind.DEAL)
        assert len(fake.calls) > 180
        assert sum(clock.slept) >= 60

    def test_check_tells_the_servers_time_and_the_limit(self, fake, connect):
        workspace = connect(time_zone="Europe/Vienna", currency="EUR").check()
        assert (workspace.id, workspace.name, workspace.base_currency) == ("1", "Acme", "EUR")
        assert workspace.limits == {"per_minute": 180}
        assert workspace.server_time == datetime.fromtimestamp(NOW, UTC)


def test_a_base_url_without_a_path_gets_the_path_of_the_api(make_context):
    options = CopperConnector.Options(user_email="a@x.test", base_url="http://127.0.0.1:9")
    connector = CopperConnector(make_context("us", api_key="k"), options)
    assert connector.http.base_url == "http://127.0.0.1:9/developer_api/v1"
