"""HubSpot is read whole, resumed anywhere, and kept up to date, against a small stateful fake.

The fake speaks HubSpot's wire format as contracts/hubspot.md describes it: list by record
id, search over an index, batches with 207, archived records apart.

The traps of the contract's summary that concern reading (R: test_hubspot_records, D: _dialect):

 2  one header, tokens of 30 minutes      D test_renewal_happens_once_for_many_threads
                                          D test_expired_access_token_is_renewed_and_the_call_repeated
 3  every value is text or null           test_deal_is_read_with_its_own_fields_typed
                                          R test_empty_texts_are_unset
 4  owner, currency, flags on request     test_owner_currency_and_flags_are_asked_for_in_lists_and_batches
 5  ids as numbers in links               R test_example_primary_company_comes_first
 6  list by id, search ends at 10,000     test_large_portal_is_read_by_ranges_with_few_requests_...
                                          test_burst_of_one_millisecond_beyond_the_depth_limit_is_read_whole
 7  search trails, hides archived ones    test_edit_that_the_index_shows_late_is_not_lost
                                          test_archiving_is_noticed_by_an_increment_and_not_told_for_ever
 8  the contacts' own modified property   test_contacts_are_searched_by_their_own_modified_property
 9  batch sizes, results out of order     the fake asserts the sizes and reverses every batch
10  207, no links as an error entry       R test_example_record_without_links_has_an_empty_list
                                          test_part_of_a_batch_that_failed_otherwise_is_not_taken_for_absent
                                          test_batch_that_keeps_silent_about_a_record_is_asked_for_it_again
11  limits by window, day and search      D test_real_limits_make_a_long_walk_wait_and_not_fail
                                          D test_search_refusal_waits_on_its_own_bucket
                                          D test_end_of_the_days_budget_is_not_waited_for
12  stages by id, won and lost by flags   R test_outcome_comes_from_flags_or_stage_and_never_from_a_label
                                          R test_stage_outcome_comes_from_metadata
13  owners by id, never by user id        test_history_is_told_oldest_first_with_the_stage_before
                                          test_owners_of_both_lists_are_read_and_read_whole_again_after_...

1 and 15 are one version of every path (`calls.py`); 14 is about writing. That link changes
and calculated values move no modified time (8) is what full reads are for.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from crmkit.connectors.base import Connector, Context, Page
from crmkit.connectors.hubspot import walks
from crmkit.connectors.hubspot.connector import HubSpotConnector, HubSpotOptions
from crmkit.connectors.walk import pack
from crmkit.errors import BadAnswer, IncompleteRead, MissingScope, UnreadableRecord, Unsupported, UsageError
from crmkit.model import Deal, Kind, Note, Outcome, Owner, Pipeline, Ref, StageChange

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STAGES = [("new", "0.2", "false"), ("closedwon", "1.0", "true"), ("closedlost", "0.0", "true")]


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


class FakeHubSpot:
    """A portal in dictionaries, and a log of what was asked."""

    def __init__(self) -> None:
        self.now = START
        self.objects: dict[str, dict[int, dict[str, Any]]] = {
            name: {} for name in ("deals", "companies", "contacts", "notes")
        }
        self.archived: dict[str, dict[int, str]] = {name: {} for name in self.objects}
        self.links: dict[tuple[str, str], dict[int, list[tuple[int, list[dict[str, Any]]]]]] = {}
        self.history: dict[int, list[dict[str, Any]]] = {}
        self.merged: dict[int, int] = {}
        self.properties: dict[str, list[dict[str, Any]]] = {name: [] for name in self.objects}
        self.labels: list[dict[str, Any]] = [{"category": "HUBSPOT_DEFINED", "typeId": 3, "label": None}]
        self.owners = [
            {"id": "910", "email": "ann@example.com", "firstName": "Ann", "lastName": "Ash", "userId": 9,
             "userIdIncludingInactive": 9, "archived": False},
            {"id": "911", "email": "old@example.com", "firstName": "", "lastName": "", "userId": None,
             "userIdIncludingInactive": 8, "archived": True},
        ]  # fmt: skip
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []
        self.hooks: list[Callable[[str, str], tuple[int, Any] | None]] = []
        self.headers: dict[str, str] = {}
        self.lag = timedelta(0)
        self.lock = threading.RLock()

    # what tests do

    def deal(self, number: int, at: datetime | None = None, **properties: Any) -> None:
        self.put("deals", number, at, dealname=f"Deal {number}", pipeline="default",
                 **{"dealstage": "new", "amount": "10.50", **properties})  # fmt: skip

    def put(self, of: str, number: int, at: datetime | None = None, **properties: Any) -> None:
        moved = "lastmodifieddate" if of == "contacts" else "hs_lastmodifieddate"
        when = stamp(at or self.now)
        old = self.objects[of].get(number, {"createdate": when})
        self.objects[of][number] = {**old, **properties, moved: when, "hs_object_id": str(number)}

    def archive(self, of: str, number: int) -> None:
        self.objects[of].pop(number)
        self.archived[of][number] = stamp(self.now)

    def link(self, of: str, number: int, to: str, other: int, *types: tuple[int, str | None, str]) -> None:
        kinds = [{"typeId": t, "label": label, "category": category} for t, label, category in types]
        self.links.setdefault((of, to), {}).setdefault(number, []).append((other, kinds))

    def counted(self) -> Counter[str]:
        return Counter(f"{method} {path}" for method, path, _, _ in self.asked)

    # what HubSpot does

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        parts = urlsplit(target)
        query, path = parse_qs(parts.query), parts.path
        with self.lock:
            self.asked.append((method, path, query, body))
            for hook in list(self.hooks):
                said = hook(path, target)
                if said is not None:
                    return said
            return self._route(method, path.strip("/").split("/"), query, body)

    def _route(self, method: str, path: list[str], query: Any, body: Any) -> tuple[int, Any]:
        match [method, *path]:
            case ["GET", "account-info", "v3", "details"]:
                return 200, {"portalId": 77, "timeZone": "Australia/Sydney", "companyCurrency": "USD",
                             "additionalCurrencies": ["EUR"], "uiDomain": "app.hubspot.com"}  # fmt: skip
            case ["GET", "crm", "v3", "properties", of]:
                return 200, {"results": self.properties[of]}
            case ["GET", "crm", "v3", "pipelines", "deals"]:
                stages = [
                    {"id": id_, "label": id_, "displayOrder": at, "archived": False,
                     "metadata": {"isClosed": closed, "probability": probability}}
                    for at, (id_, probability, closed) in enumerate(STAGES)
                ]  # fmt: skip
                return 200, {"results": [{"id": "default", "label": "Sales", "displayOrder": 0,
                                          "archived": False, "stages": stages}]}  # fmt: skip
            case ["GET", "crm", "v3", "owners"]:
                wanted = query["archived"] == ["true"]
                return 200, {"results": [o for o in self.owners if o["archived"] == wanted]}
            case ["GET", "crm", "v4", "associations", "deals", "contacts", "labels"]:
                return 200, {"results": self.labels}
            case ["GET", "crm", "v3", "objects", of]:
                return self._list(of, query)
            case ["GET", "crm", "v3", "objects", of, number]:
                number = self.merged.get(int(number), int(number))
                if number not in self.objects[of]:
                    return 404, {"status": "error", "message": "resource not found"}
                return 200, self._row(of, number, query)
            case ["POST", "crm", "v3", "objects", of, "search"]:
                return self._search(of, body)
            case ["POST", "crm", "v3", "objects", of, "batch", "read"]:
                return self._batch(of, body, archived=query.get("archived") == ["true"])
            case ["POST", "crm", "v4", "associations", of, to, "batch", "read"]:
                return self._batch_links(of, to, body)
        return 404, {"status": "error", "message": f"no {path}"}

    def _row(self, of: str, number: int, query: Any, names: list[str] | None = None) -> dict[str, Any]:
        asked = names if names is not None else query.get("properties", [""])[0].split(",")
        held = self.objects[of].get(number, {})
        row: dict[str, Any] = {
            "id": str(number),
            "properties": {name: held.get(name) for name in [*asked, "hs_object_id"]},
            "createdAt": held.get("createdate"),
            "updatedAt": held.get("hs_lastmodifieddate") or held.get("lastmodifieddate"),
            "archived": number in self.archived[of],
        }
        if number in self.archived[of]:
            row["archivedAt"] = self.archived[of][number]
        if "propertiesWithHistory" in query:
            row["propertiesWithHistory"] = {"dealstage": self.history.get(number, [])}
        for to in query.get("associations", [""])[0].split(","):
            links = self.links.get((of, to), {}).get(number)
            if links:
                results = [{"id": str(other), "type": self._type(of, to, kind["typeId"])}
                           for other, kinds in links for kind in kinds]  # fmt: skip
                block = {"results": results[:100]}
                if len(results) > 100:
                    block["paging"] = {"next": {"after": "x", "link": "https://api.hubapi.com/more"}}
                row.setdefault("associations", {})[to] = block
        return row

    def _type(self, of: str, to: str, number: int) -> str:
        name = f"{of[:-1]}_to_{ {'companies': 'company', 'contacts': 'contact', 'deals': 'deal'}[to] }"
        return name if number in (5, 1, 3) else f"{name}_unlabeled"

    def _list(self, of: str, query: Any) -> tuple[int, Any]:
        limit = int(query["limit"][0])
        assert limit <= (50 if "propertiesWithHistory" in query else 100)
        store = self.archived[of] if query.get("archived") == ["true"] else self.objects[of]
        after = int(query.get("after", ["0"])[0])
        ids = sorted(number for number in store if number >= after)
        answer: dict[str, Any] = {"results": [self._row(of, number, query) for number in ids[:limit]]}
        if len(ids) > limit:
            answer["paging"] = {"next": {"after": str(ids[limit - 1] + 1), "link": "x"}}
        return 200, answer

    def _search(self, of: str, body: Any) -> tuple[int, Any]:
        offset = int(body.get("after", 0))
        if offset + body["limit"] > 10_000 or body["limit"] > 200:
            return 400, {"status": "error", "category": "VALIDATION_ERROR", "message": "paging past 10000"}
        found = []
        for number, held in self.objects[of].items():
            moved = "lastmodifieddate" if of == "contacts" else "hs_lastmodifieddate"
            when = datetime.fromisoformat(held[moved])
            if when > self.now - self.lag:
                continue
            for test in (body.get("filterGroups") or [{"filters": []}])[0]["filters"]:
                value = int(when.timestamp() * 1000) if test["propertyName"] == moved else number
                assert test["propertyName"] in (moved, "hs_object_id")
                if not {"GTE": value >= int(test["value"]), "GT": value > int(test["value"]),
                        "LTE": value <= int(test["value"])}[test["operator"]]:  # fmt: skip
                    break
            else:
                found.append(number)
        found.sort(reverse=body["sorts"][0]["direction"] == "DESCENDING")
        page = found[offset : offset + body["limit"]]
        answer: dict[str, Any] = {"total": len(found), "results": [self._row(of, n, {}, []) for n in page]}
        if len(found) > offset + len(page):
            answer["paging"] = {"next": {"after": str(offset + len(page))}}
        return 200, answer

    def _batch(self, of: str, body: Any, *, archived: bool) -> tuple[int, Any]:
        store: dict[int, Any] = self.archived[of] if archived else self.objects[of]
        assert len(body["inputs"]) <= (50 if "propertiesWithHistory" in body else 100)
        ids = [int(one["id"]) for one in body["inputs"]]
        query = {"propertiesWithHistory": ["x"]} if "propertiesWithHistory" in body else {}
        found = [self._row(of, n, query, body["properties"]) for n in reversed(ids) if n in store]
        missing = [str(n) for n in ids if n not in store]
        if not missing:
            return 200, {"status": "COMPLETE", "results": found}
        error = {"status": "error", "category": "OBJECT_NOT_FOUND", "context": {"ids": missing}}
        return 207, {"status": "COMPLETE", "results": found, "numErrors": 1, "errors": [error]}

    def _batch_links(self, of: str, to: str, body: Any) -> tuple[int, Any]:
        assert len(body["inputs"]) <= 1000
        results, errors = [], []
        for one in body["inputs"]:
            links = self.links.get((of, to), {}).get(int(one["id"]))
            if not links:
                errors.append({"category": "OBJECT_NOT_FOUND",
                               "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
                               "context": {"fromObjectId": [one["id"]]}})  # fmt: skip
                continue
            begin = int(one.get("after", 0))
            result: dict[str, Any] = {
                "from": {"id": one["id"]},
                "to": [{"toObjectId": o, "associationTypes": k} for o, k in links[begin : begin + 500]],
            }
            if len(links) > begin + 500:
                result["paging"] = {"next": {"after": str(begin + 500)}}
            results.append(result)
        if errors:
            return 207, {"status": "COMPLETE", "results": results, "errors": errors, "numErrors": len(errors)}
        return 200, {"status": "COMPLETE", "results": results}


@pytest.fixture
def portal() -> Iterator[FakeHubSpot]:
    fake = FakeHubSpot()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, said = fake.answer(self.command, self.path, body)
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response_only(status)
            self.send_header("Date", format_datetime(fake.now, usegmt=True))
            self.send_header("Content-Type", "application/json;charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            for name, value in fake.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def connect(portal: FakeHubSpot, make_context: Callable[..., Context]) -> Iterator[Callable[..., Connector]]:
    made: list[HubSpotConnector] = []

    def build(**options: Any) -> HubSpotConnector:
        settings = HubSpotOptions(base_url=portal.url, **options)  # type: ignore[attr-defined]
        made.append(HubSpotConnector(make_context("hub", token="pat-na1-secret"), settings))
        return made[-1]

    yield build
    for connector in made:
        connector.close()


def ids(pages: list[Page]) -> list[str]:
    return [record.ref.id for page in pages for record in page.records]


def finished(at: datetime) -> str:
    """A cursor as a complete read leaves it."""
    return pack({"kind": "deal", "walk": "done", "at": int(at.timestamp() * 1000)})


def only(pages: list[Page]) -> Any:
    (record,) = [record for page in pages for record in page.records]
    return record


# full reads


def test_small_portal_needs_no_search_and_ends_with_one_whole_last_page(portal, connect) -> None:
    for number in range(1, 31):
        portal.deal(number)
    pages = list(connect().read(Kind.DEAL))
    assert sorted(ids(pages), key=int) == [str(n) for n in range(1, 31)]
    assert [page.last for page in pages] == [False, True]
    assert pages[-1].whole
    assert portal.counted()["POST /crm/v3/objects/deals/search"] == 0


@pytest.mark.parametrize("gaps", [1, 3, 37])
def test_large_portal_is_read_by_ranges_with_few_requests_and_nothing_lost(portal, connect, gaps) -> None:
    for number in range(5000):
        portal.deal(1_000_000 + number * gaps)
    pages = list(connect(in_flight=8).read(Kind.DEAL))
    assert Counter(ids(pages)) == Counter(str(1_000_000 + n * gaps) for n in range(5000))
    asked = portal.counted()
    assert asked["POST /crm/v3/objects/deals/search"] == 1
    assert asked["GET /crm/v3/objects/deals"] <= 50 + 1 + (4 if gaps == 1 else 16)
    starts = [int(q["after"][0]) for _, p, q, _ in portal.asked if p.endswith("/deals") and "after" in q]
    assert max(starts[:12]) > 1_000_000 + 2500 * gaps  # far ranges were begun early


def test_uneven_id_space_is_read_whole(portal, connect) -> None:
    numbers = [*range(10, 400), *range(9_000_000_000, 9_000_001_500), 51_569_020_844]
    for number in numbers:
        portal.deal(number)
    pages = list(connect().read(Kind.DEAL))
    assert Counter(ids(pages)) == Counter(map(str, numbers))
    assert portal.counted()["GET /crm/v3/objects/deals"] < 19 + 40


def test_record_created_during_the_walk_is_met_at_its_end(portal, connect) -> None:
    for number in range(1, 1501):
        portal.deal(number)
    pages = []
    for page in connect().read(Kind.DEAL):
        if not pages:
            portal.deal(9999)
        pages.append(page)
    assert "9999" in ids(pages)


def test_tokens_that_mean_behind_this_id_lose_nothing_either(portal, connect) -> None:
    portal._list = lambda of, query: _list_behind(portal, of, query)
    for number in range(1, 1501):
        portal.deal(number)
    pages = list(connect().read(Kind.DEAL))
    assert Counter(ids(pages)) == Counter(str(n) for n in range(1, 1501))


def _list_behind(portal: FakeHubSpot, of: str, query: Any) -> tuple[int, Any]:
    store = portal.archived[of] if "archived" in query else portal.objects[of]
    found = sorted(n for n in store if n > int(query.get("after", ["0"])[0]))
    answer: dict[str, Any] = {"results": [portal._row(of, n, query) for n in found[:100]]}
    if len(found) > 100:
        answer["paging"] = {"next": {"after": str(found[99])}}
    return 200, answer


@pytest.mark.parametrize("style", ["offset", "opaque"])
def test_tokens_that_are_no_ids_are_followed_one_after_the_other(portal, connect, style) -> None:
    def listing(of: str, query: Any) -> tuple[int, Any]:
        found = sorted(portal.archived[of] if "archived" in query else portal.objects[of])
        token = query.get("after", ["0"])[0]
        at = int(token.strip("t"))
        answer: dict[str, Any] = {"results": [portal._row(of, n, query) for n in found[at : at + 100]]}
        if at + 100 < len(found):
            answer["paging"] = {"next": {"after": f"t{at + 100}" if style == "opaque" else str(at + 100)}}
        return 200, answer

    portal._list = listing
    # On the first page an offset looks like an id here; behind it there are gaps.
    numbers = [*range(1, 101), *range(200, 30_000, 20)]
    for number in numbers:
        portal.deal(number)
    pages = list(connect().read(Kind.DEAL))
    assert set(ids(pages)) == set(map(str, numbers))
    assert pages[-1].whole


def test_list_that_is_not_ordered_by_id_is_read_serially(portal, connect) -> None:
    def shuffled(of: str, query: Any) -> tuple[int, Any]:
        status, answer = FakeHubSpot._list(portal, of, query)
        if query.get("after", ["0"]) != ["0"]:
            answer["results"].reverse()
        return status, answer

    portal._list = shuffled
    for number in range(1, 1001):
        portal.deal(number)
    pages = list(connect().read(Kind.DEAL))
    assert set(ids(pages)) == {str(n) for n in range(1, 1001)}
    assert [page.last for page in pages].count(True) == 1


def test_token_that_hubspot_refuses_because_it_made_none_like_it_is_not_used(portal, connect) -> None:
    def strict(of: str, query: Any) -> tuple[int, Any]:
        if int(query.get("after", ["1"])[0]) % 100 != 1:
            return 400, {"status": "error", "category": "VALIDATION_ERROR", "message": "unknown token"}
        return FakeHubSpot._list(portal, of, query)

    portal._list = strict
    for number in range(1, 1001):
        portal.deal(number)
    assert set(ids(list(connect().read(Kind.DEAL)))) == {str(n) for n in range(1, 1001)}


def test_archived_highest_deal_does_not_make_the_walk_start_over(portal, connect) -> None:
    for number in [*range(1, 1001), 90_000]:
        portal.deal(number)
    gone: list[str] = []

    def archive_the_highest(path: str, _: str) -> None:
        if gone and 90_000 in portal.objects["deals"]:
            portal.archive("deals", 90_000)
        if path.endswith("/search"):
            gone.append(path)

    portal.hooks.append(archive_the_highest)
    pages = list(connect().read(Kind.DEAL))
    assert Counter(ids(pages)) == Counter(str(n) for n in range(1, 1001))


def test_repeated_page_token_is_an_incomplete_read(portal, connect) -> None:
    for number in range(1, 301):
        portal.deal(number)
    page = {"results": [portal._row("deals", 1, {})], "paging": {"next": {"after": "same"}}}
    portal._list = lambda of, query: (200, page)
    with pytest.raises(IncompleteRead, match="token came twice"):
        list(connect().read(Kind.DEAL))


@pytest.mark.parametrize("stop", range(0, 14, 2))
def test_full_read_goes_on_after_any_page(portal, connect, stop) -> None:
    for number in range(1, 1201):
        portal.deal(number)
    portal.deal(5000)
    portal.archive("deals", 5000)
    first: list[Page] = []
    walk = connect(in_flight=3).read(Kind.DEAL)
    for page in walk:
        first.append(page)
        if len(first) > stop:
            break
    walk.close()
    if first[-1].last:
        pytest.skip("the walk was over before")
    rest = list(connect(in_flight=3).read(Kind.DEAL, first[-1].cursor))
    assert set(ids(first + rest)) == {str(n) for n in range(1, 1201)}
    assert [t.ref.id for page in first + rest for t in page.tombstones] == ["5000"]
    assert [page.last for page in rest].count(True) == 1
    assert rest[-1].last
    assert rest[-1].whole


def test_a_walk_given_up_leaves_the_connection_usable(portal, connect) -> None:
    for number in range(1, 1201):
        portal.deal(number)
    connector = connect()
    walk = connector.read(Kind.DEAL)
    next(walk)
    walk.close()
    assert len(list(connector.read(Kind.PIPELINE))) == 1


def test_archived_deals_become_tombstones(portal, connect) -> None:
    portal.deal(1)
    portal.deal(2)
    portal.archive("deals", 2)
    pages = list(connect().read(Kind.DEAL))
    (tombstone,) = [t for page in pages for t in page.tombstones]
    assert (tombstone.ref, tombstone.at) == (Ref("hub", Kind.DEAL, "2"), START)
    assert ids(pages) == ["1"]


def test_merged_deals_name_their_survivor_also_when_listed_as_archived(portal, connect) -> None:
    portal.deal(1)
    portal.deal(2)
    portal.deal(3, hs_merged_object_ids="1;2")
    portal.archive("deals", 1)
    portal.objects["deals"].pop(2)
    pages = list(connect().read(Kind.DEAL))
    told = {(t.ref.id, t.merged_into) for page in pages for t in page.tombstones}
    assert told == {("1", "3"), ("2", "3")}


# links


def test_primary_company_comes_first_and_each_id_once(portal, connect) -> None:
    portal.deal(1)
    portal.link("deals", 1, "companies", 201, (341, None, "HUBSPOT_DEFINED"))
    portal.link(
        "deals", 1, "companies", 305, (341, None, "HUBSPOT_DEFINED"), (5, "Primary", "HUBSPOT_DEFINED")
    )
    portal.link("deals", 1, "contacts", 401, (3, None, "HUBSPOT_DEFINED"))
    deal = only(list(connect().read(Kind.DEAL)))
    assert deal.companies == ("305", "201")
    assert [contact.id for contact in deal.contacts] == ["401"]


def test_links_beyond_the_hundredth_are_completed(portal, connect) -> None:
    portal.deal(1)
    for other in range(1000, 1650):
        portal.link("deals", 1, "contacts", other, (3, None, "HUBSPOT_DEFINED"))
    deal = only(list(connect().read(Kind.DEAL)))
    assert [contact.id for contact in deal.contacts] == [str(n) for n in range(1000, 1650)]
    # 500 links a page, and the token of the record brings the rest.
    assert portal.counted()["POST /crm/v4/associations/deals/contacts/batch/read"] == 2


def test_labels_of_the_portal_become_roles_with_one_call_a_thousand_deals(portal, connect) -> None:
    portal.labels.append({"category": "USER_DEFINED", "typeId": 30, "label": "Decision maker"})
    for number in range(1, 1001):
        portal.deal(number)
        portal.link(
            "deals",
            number,
            "contacts",
            7,
            (3, None, "HUBSPOT_DEFINED"),
            (30, "Decision maker", "USER_DEFINED"),
        )
    pages = list(connect(in_flight=1).read(Kind.DEAL))
    roles = {contact.role for page in pages for deal in page.records for contact in deal.contacts}
    assert roles == {"Decision maker"}
    assert portal.counted()["POST /crm/v4/associations/deals/contacts/batch/read"] == 1


def test_full_and_incremental_reads_give_the_same_record(portal, connect) -> None:
    portal.deal(1, hubspot_owner_id="910", closedate="2026-12-07T16:50:06.678Z")
    portal.deal(2)
    for other in (30, 4):
        portal.link("deals", 1, "companies", other, (341, None, "HUBSPOT_DEFINED"))
        portal.link("deals", 1, "contacts", other, (3, None, "HUBSPOT_DEFINED"))
    full = list(connect().read(Kind.DEAL))
    again = list(connect().read(Kind.DEAL, full[-1].cursor))
    by_id = {record.ref: record for page in full for record in page.records}
    assert {record.ref: record for page in again for record in page.records} == by_id
    assert not again[-1].whole


# incremental reads


def test_increment_brings_what_changed_and_nothing_older(portal, connect) -> None:
    for number in range(1, 11):
        portal.deal(number, START - timedelta(days=30))
    cursor = list(connect().read(Kind.DEAL))[-1].cursor
    portal.now += timedelta(hours=1)
    portal.deal(4, amount="99")
    pages = list(connect().read(Kind.DEAL, cursor))
    assert only(pages).amount == Decimal(99)


def test_edit_made_during_the_full_walk_is_in_the_next_increment(portal, connect) -> None:
    for number in range(1, 501):
        portal.deal(number, START - timedelta(days=30))
    pages = []
    for page in connect(in_flight=1).read(Kind.DEAL):
        pages.append(page)
        if len(pages) == 3:
            portal.now += timedelta(minutes=50)
            portal.deal(1, amount="77")
    again = list(connect().read(Kind.DEAL, pages[-1].cursor))
    assert only(again).amount == Decimal(77)


@pytest.mark.parametrize(
    ("index_lag", "edited_ago", "options"),
    [
        (100, 5, {"overlap_seconds": 0}),  # within the lag that cursors stay behind
        (600, 500, {}),  # rarely longer: within the overlap
    ],
)
def test_edit_that_the_index_shows_late_is_not_lost(portal, connect, index_lag, edited_ago, options) -> None:
    portal.deal(1, START - timedelta(days=30))
    cursor = list(connect(**options).read(Kind.DEAL))[-1].cursor
    portal.now += timedelta(hours=1)
    portal.lag = timedelta(seconds=index_lag)
    portal.deal(1, portal.now - timedelta(seconds=edited_ago), amount="5")
    early = list(connect(**options).read(Kind.DEAL, cursor))
    assert ids(early) == []
    portal.now += timedelta(minutes=30)
    late = list(connect(**options).read(Kind.DEAL, early[-1].cursor))
    assert ids(late) == ["1"]


def test_server_time_alone_makes_the_cursor(portal, connect, clock) -> None:
    portal.deal(1, START - timedelta(days=30))
    clock._now = START + timedelta(days=400)  # this machine is far ahead
    cursor = list(connect().read(Kind.DEAL))[-1].cursor
    portal.now += timedelta(hours=1)
    portal.deal(1, amount="6")
    assert ids(list(connect().read(Kind.DEAL, cursor))) == ["1"]


def test_burst_of_one_millisecond_beyond_the_depth_limit_is_read_whole(portal, connect) -> None:
    for number in range(1, 10_452):
        portal.deal(number, START - timedelta(days=30))
    cursor = finished(START)
    portal.now += timedelta(hours=1)
    for number in range(1, 10_452):
        portal.deal(number, dealstage="closedwon")
    pages = list(connect().read(Kind.DEAL, cursor))
    assert Counter(ids(pages)) == Counter(str(n) for n in range(1, 10_452))
    asked = portal.counted()
    assert asked["POST /crm/v3/objects/deals/search"] == 53
    assert asked["POST /crm/v3/objects/deals/batch/read"] == 105
    assert asked["POST /crm/v4/associations/deals/companies/batch/read"] == 11


def test_rows_that_leave_the_window_meanwhile_move_no_other_row(portal, connect) -> None:
    for number in range(1, 1001):
        portal.deal(number, START - timedelta(days=30))
    cursor = list(connect().read(Kind.DEAL))[-1].cursor
    portal.now += timedelta(hours=1)
    for number in range(1, 1001):
        portal.deal(number)
    done: list[str] = []

    def archive_some(path: str, _: str) -> None:
        if path.endswith("/search"):
            done.append(path)
            if len(done) == 2:
                for number in range(1, 101):
                    portal.archive("deals", number)

    portal.hooks.append(archive_some)
    pages = list(connect().read(Kind.DEAL, cursor))
    assert {str(n) for n in range(101, 1001)} <= set(ids(pages))
    assert {t.ref.id for page in pages for t in page.tombstones} == {str(n) for n in range(1, 101)}


@pytest.mark.parametrize("stop", range(5))
def test_increment_goes_on_after_any_page(portal, connect, stop) -> None:
    cursor = finished(START)
    portal.now += timedelta(hours=1)
    for number in range(1, 1801):
        portal.deal(number)
    first: list[Page] = []
    walk = connect().read(Kind.DEAL, cursor)
    for page in walk:
        first.append(page)
        if len(first) > stop:
            break
    walk.close()
    rest = [] if first[-1].last else list(connect().read(Kind.DEAL, first[-1].cursor))
    assert set(ids(first + rest)) == {str(n) for n in range(1, 1801)}
    assert (first + rest)[-1].last


def test_archiving_is_noticed_by_an_increment_and_not_told_for_ever(portal, connect) -> None:
    portal.deal(1, START - timedelta(days=30))
    portal.deal(2, START - timedelta(days=30))
    cursor = list(connect().read(Kind.DEAL))[-1].cursor
    portal.now += timedelta(hours=1)
    portal.archive("deals", 2)
    pages = list(connect().read(Kind.DEAL, cursor))
    assert [t.ref.id for page in pages for t in page.tombstones] == ["2"]
    portal.now += timedelta(hours=5)
    within_overlap = list(connect().read(Kind.DEAL, pages[-1].cursor))
    later = list(connect().read(Kind.DEAL, within_overlap[-1].cursor))
    assert [t for page in later for t in page.tombstones] == []


def test_contacts_are_searched_by_their_own_modified_property(portal, connect) -> None:
    portal.put("contacts", 5, START - timedelta(days=9), email="eva@example.com")
    cursor = list(connect().read(Kind.CONTACT))[-1].cursor
    portal.now += timedelta(hours=1)
    portal.put("contacts", 5, firstname="Eva")
    assert only(list(connect().read(Kind.CONTACT, cursor))).first_name == "Eva"


def test_search_that_promises_rows_and_never_gives_one_ends_the_read(portal, connect) -> None:
    portal._search = lambda of, body: (200, {"total": 5, "results": []})
    with pytest.raises(BadAnswer, match="promised, none given"):
        list(connect().read(Kind.DEAL, finished(START)))


def test_cursor_of_another_kind_is_refused(portal, connect) -> None:
    with pytest.raises(UsageError):
        connect().read(Kind.DEAL, '{"kind":"contact","walk":"done","at":1}')


# records


def test_deal_is_read_with_its_own_fields_typed(portal, connect) -> None:
    portal.properties["deals"] = [
        {"name": "amount", "type": "number", "fieldType": "number", "hubspotDefined": True},
        {"name": "seats", "type": "number", "fieldType": "number", "hubspotDefined": False},
        {"name": "erp_id", "type": "number", "fieldType": "number", "hubspotDefined": False},
        {"name": "signed", "type": "bool", "fieldType": "booleancheckbox", "hubspotDefined": False},
        {"name": "renewal", "type": "date", "fieldType": "date", "hubspotDefined": False},
        {"name": "met_at", "type": "datetime", "fieldType": "date", "hubspotDefined": False},
        {"name": "regions", "type": "enumeration", "fieldType": "checkbox", "hubspotDefined": False},
        {"name": "unset", "type": "string", "fieldType": "text", "hubspotDefined": False},
    ]
    portal.deal(
        1, amount="1500.00", deal_currency_code="EUR", hs_deal_stage_probability="0.2",
        hubspot_owner_id="910", closedate="2026-12-07T16:50:06.678Z", hs_is_closed="false",
        crmkit_uid="zoho:42", seats="3.5", erp_id="007", signed="false", renewal="2027-01-31",
        met_at="2026-11-01T08:00:00Z", regions="emea;apac", hs_v2_date_entered_new="2026-11-02T09:00:00Z",
    )  # fmt: skip
    deal = only(list(connect().read(Kind.DEAL)))
    assert (deal.amount, deal.currency) == (Decimal("1500.00"), "EUR")
    assert deal.probability == Decimal("0.2")
    assert (deal.owner_id, deal.key) == ("910", "zoho:42")
    assert deal.expected_close == date(2026, 12, 8)  # still the 7th in UTC, the 8th in Sydney
    assert deal.closed_at is None
    assert deal.stage_entered_at == datetime(2026, 11, 2, 9, tzinfo=UTC)
    assert deal.url == "https://app.hubspot.com/contacts/77/record/0-3/1"
    assert deal.custom == {
        "seats": Decimal("3.5"),
        "erp_id": "007",
        "signed": False,
        "renewal": date(2027, 1, 31),
        "met_at": datetime(2026, 11, 1, 8, tzinfo=UTC),
        "regions": ("emea", "apac"),
    }


def test_deal_without_currency_has_the_portals(portal, connect) -> None:
    portal.deal(1)
    assert only(list(connect().read(Kind.DEAL))).currency == "USD"


def test_unreadable_deal_is_named_and_its_neighbours_are_read(portal, connect) -> None:
    portal.deal(1)
    portal.deal(2, amount="abc")
    portal.deal(3, hs_deal_stage_probability="250")
    portal.deal(4, closedate="soon")
    portal.deal(5)
    pages = list(connect().read(Kind.DEAL))
    assert ids(pages) == ["1", "5"]
    found = {(bad.ref.id, bad.field) for page in pages for bad in page.unreadable}
    assert found == {("2", "amount"), ("3", "hs_deal_stage_probability"), ("4", "closedate")}


def test_deal_in_a_stage_of_no_pipeline_is_read(portal, connect) -> None:
    portal.deal(1, dealstage="gone", hs_is_closed_won="true", hs_is_closed="true")
    portal.deal(2, dealstage="gone")
    deals = {d.ref.id: d for page in connect().read(Kind.DEAL) for d in page.records}
    assert (deals["1"].stage_id, deals["1"].outcome) == ("gone", Outcome.WON)
    assert (deals["2"].stage_id, deals["2"].outcome) == ("gone", Outcome.OPEN)


def test_fields_too_many_for_a_url_are_read_in_batches(portal, connect) -> None:
    names = [f"custom_property_with_a_rather_long_name_{n:04d}" for n in range(400)]
    portal.properties["deals"] = [{"name": n, "type": "string", "hubspotDefined": False} for n in names]
    for number in range(1, 151):
        portal.deal(number, **{names[-1]: f"value {number}"})
    portal.link("deals", 7, "companies", 9, (5, "Primary", "HUBSPOT_DEFINED"))
    pages = list(connect().read(Kind.DEAL))
    deals = {d.ref.id: d for page in pages for d in page.records}
    assert len(deals) == 150
    assert deals["7"].custom == {names[-1]: "value 7"}
    assert deals["7"].companies == ("9",)
    assert portal.counted()["POST /crm/v3/objects/deals/batch/read"] == 2


def test_pipelines_are_read_with_stage_outcomes(portal, connect) -> None:
    pipeline = only(list(connect().read(Kind.PIPELINE)))
    assert isinstance(pipeline, Pipeline)
    assert [(s.id, s.outcome, s.probability) for s in pipeline.stages] == [
        ("new", Outcome.OPEN, Decimal("0.2")),
        ("closedwon", Outcome.WON, Decimal("1.0")),
        ("closedlost", Outcome.LOST, Decimal("0.0")),
    ]


def test_owners_of_both_lists_are_read_and_read_whole_again_after_a_finished_read(portal, connect) -> None:
    pages = list(connect().read(Kind.OWNER))
    owners = {owner.ref.id: owner for page in pages for owner in page.records}
    assert owners["910"] == Owner(ref=Ref("hub", Kind.OWNER, "910"), name="Ann Ash", email="ann@example.com")
    assert (owners["911"].name, owners["911"].active) == ("old@example.com", False)
    again = list(connect().read(Kind.OWNER, pages[-1].cursor))
    assert sorted(ids(again)) == ["910", "911"]
    assert again[-1].whole
    resumed = list(connect().read(Kind.OWNER, pages[0].cursor))
    assert ids(resumed) == ["910"]


def test_notes_are_read_once_per_deal(portal, connect) -> None:
    portal.put(
        "notes", 50, hs_note_body="<p>Call</p>", hs_timestamp="2026-11-12T15:48:22Z", hubspot_owner_id="910"
    )
    for deal in (8, 12):
        portal.link("notes", 50, "deals", deal, (214, None, "HUBSPOT_DEFINED"))
    portal.link("notes", 50, "companies", 3, (190, None, "HUBSPOT_DEFINED"))
    first, second = [n for page in connect().read(Kind.NOTE) for n in page.records]
    assert first == Note(
        ref=Ref("hub", Kind.NOTE, "50"),
        deal_id="8",
        company_id="3",
        text="<p>Call</p>",
        author_id="910",
        at=datetime(2026, 11, 12, 15, 48, 22, tzinfo=UTC),
        modified_at=START,
    )
    assert (second.ref.id, second.deal_id) == ("50:12", "12")


# stage history


@pytest.fixture
def moved(portal: FakeHubSpot) -> FakeHubSpot:
    portal.deal(1)
    portal.history[1] = [
        {"value": "closedwon", "timestamp": "2026-03-01T10:00:00.120Z", "updatedByUserId": 9},
        {"value": "new", "timestamp": "2026-03-01T10:00:00Z", "updatedByUserId": 5},
        {"value": "new", "timestamp": "2026-02-01T10:00:00Z", "sourceType": "IMPORT"},
    ]
    return portal


def test_history_is_told_oldest_first_with_the_stage_before(moved, connect) -> None:
    (changes,) = connect().history([Ref("hub", Kind.DEAL, "1"), Ref("hub", Kind.DEAL, "404")])
    assert [(c.from_stage_id, c.to_stage_id, c.by) for c in changes] == [
        (None, "new", None),
        ("new", "closedwon", "910"),
    ]
    assert changes[1].at == datetime(2026, 3, 1, 10, 0, 0, 120_000, tzinfo=UTC)


def test_history_takes_fifty_deals_a_call(portal, connect) -> None:
    for number in range(1, 121):
        portal.deal(number)
    list(connect().history([Ref("hub", Kind.DEAL, str(n)) for n in range(1, 121)]))
    assert portal.counted()["POST /crm/v3/objects/deals/batch/read"] == 3


def test_stage_changes_are_read_in_bulk_and_by_increment(moved, connect) -> None:
    for number in range(2, 101):
        moved.deal(number, START - timedelta(days=30))
    pages = list(connect().read(Kind.STAGE_CHANGE))
    assert [type(r) for page in pages for r in page.records] == [StageChange, StageChange]
    assert pages[-1].whole
    assert moved.counted()["GET /crm/v3/objects/deals"] == 2  # fifty a page
    moved.now += timedelta(hours=1)
    moved.deal(1)
    again = list(connect().read(Kind.STAGE_CHANGE, pages[-1].cursor))
    assert ids(again) == ids(pages)


# get, fields, check


def test_get_reads_in_batches_and_leaves_out_what_is_gone(portal, connect) -> None:
    for number in range(1, 251):
        portal.deal(number)
    portal.archive("deals", 7)
    found = connect().get([Ref("hub", Kind.DEAL, str(n)) for n in range(1, 251)])
    assert {record.ref.id for record in found} == {str(n) for n in range(1, 251) if n != 7}
    asked = portal.counted()
    assert asked["POST /crm/v3/objects/deals/batch/read"] == 3
    assert asked["POST /crm/v4/associations/deals/contacts/batch/read"] == 1


def test_get_of_a_merged_deal_gives_its_survivor(portal, connect) -> None:
    portal.deal(30, hs_merged_object_ids="10;20")
    portal.merged = {10: 30, 20: 30}
    (found,) = connect().get([Ref("hub", Kind.DEAL, "10"), Ref("hub", Kind.DEAL, "20")])
    assert found.ref.id == "30"


def test_get_of_an_unreadable_deal_raises_naming_it(portal, connect) -> None:
    portal.deal(1, amount="abc")
    with pytest.raises(UnreadableRecord, match=r"hub:deal:1.*amount"):
        connect().get([Ref("hub", Kind.DEAL, "1")])


def test_get_of_owners_and_pipelines(portal, connect) -> None:
    refs = [Ref("hub", Kind.OWNER, "911"), Ref("hub", Kind.PIPELINE, "default"), Ref("hub", Kind.OWNER, "1")]
    assert {str(record.ref) for record in connect().get(refs)} == {"hub:owner:911", "hub:pipeline:default"}


def test_fields_are_described(portal, connect) -> None:
    portal.properties["deals"] = [
        {"name": "amount", "label": "Amount", "type": "number", "fieldType": "number", "hubspotDefined": True,
         "currencyPropertyName": "deal_currency_code"},
        {"name": "hubspot_owner_id", "label": "Owner", "type": "enumeration", "fieldType": "select",
         "hubspotDefined": True, "referencedObjectType": "OWNER", "options": []},
        {"name": "crmkit_uid", "label": "crmkit id", "type": "string", "fieldType": "text",
         "hasUniqueValue": True},
        {"name": "region", "label": "Region", "type": "enumeration", "fieldType": "checkbox",
         "options": [{"value": "emea", "label": "EMEA"}], "modificationMetadata": {"readOnlyValue": True}},
    ]  # fmt: skip
    amount, owner, key, region = connect().fields(Kind.DEAL)
    assert (amount.type, amount.custom) == ("money", False)
    assert owner.type == "owner"
    assert (key.unique, key.custom) == (True, True)
    assert (region.type, region.options, region.read_only) == ("choices", {"emea": "EMEA"}, True)


def test_fields_of_a_kind_without_any_are_unsupported_before_any_call(portal, connect) -> None:
    with pytest.raises(Unsupported):
        connect().fields(Kind.PIPELINE)
    assert portal.asked == []


def test_check_tells_the_workspace_and_its_limits(portal, connect) -> None:
    portal.headers = {"X-HubSpot-RateLimit-Daily": "250000", "X-HubSpot-RateLimit-Max": "190",
                      "X-HubSpot-RateLimit-Interval-Milliseconds": "10000"}  # fmt: skip
    workspace = connect().check()
    assert (workspace.id, workspace.time_zone) == ("77", "Australia/Sydney")
    assert (workspace.base_currency, workspace.currencies) == ("USD", ("USD", "EUR"))
    assert workspace.limits == {"daily": 250_000, "per_10_seconds": 190}
    assert workspace.server_time == START


def test_check_names_every_missing_scope(portal, connect) -> None:
    def refuse(path: str, _: str) -> tuple[int, Any] | None:
        of = path.rsplit("/", 1)[-1]
        if of not in ("contacts", "owners"):
            return None
        scopes = [f"crm.schemas.{of}.read", f"crm.objects.{of}.read"]
        return 403, {"status": "error", "category": "MISSING_SCOPES", "message": "not granted",
                     "errors": [{"context": {"requiredGranularScopes": scopes}}]}  # fmt: skip

    portal.hooks.append(refuse)
    with pytest.raises(MissingScope, match=r"crm\.objects\.contacts\.read, crm\.objects\.owners\.read"):
        connect().check()


# odd answers


@pytest.mark.parametrize("odd", [b"<html>busy</html>", {"results": {}}, {"results": ["x"]}, [], b""])
def test_answer_of_another_shape_is_asked_for_again(portal, connect, odd) -> None:
    portal.deal(1)
    said = iter([odd, odd])
    portal.hooks.append(
        lambda path, _: (
            (200, bad) if path.endswith("/deals") and (bad := next(said, None)) is not None else None
        )
    )
    assert ids(list(connect().read(Kind.DEAL))) == ["1"]


def test_answer_that_stays_odd_ends_the_read(portal, connect) -> None:
    portal.hooks.append(lambda path, _: (200, {"results": None}) if path.endswith("objects/deals") else None)
    with pytest.raises(BadAnswer):
        list(connect().read(Kind.DEAL))


def test_part_of_a_batch_that_failed_otherwise_is_not_taken_for_absent(portal, connect) -> None:
    portal.deal(1)
    broken = {"status": "COMPLETE", "results": [], "errors": [{"category": "INTERNAL_ERROR"}], "numErrors": 1}
    portal.hooks.append(lambda path, _: (207, broken) if path.endswith("batch/read") else None)
    with pytest.raises(BadAnswer, match="INTERNAL_ERROR"):
        connect().get([Ref("hub", Kind.DEAL, "1")])


def test_cut_keeps_the_whole_range() -> None:
    rest = {"from": 201, "to": None, "top": 5000, "after": "201"}
    parts = walks._cut(rest, 4, 100)
    assert parts[0]["from"] == 201
    assert parts[-1]["to"] is None
    assert [part["to"] for part in parts[:-1]] == [part["from"] for part in parts[1:]]


def test_every_deal_of_the_walk_is_a_deal(portal, connect) -> None:
    portal.deal(1)
    assert isinstance(only(list(connect().read(Kind.DEAL))), Deal)


# answers that keep something back


def once(portal: FakeHubSpot, ending: str, change: Callable[[Any], None]) -> list[str]:
    """The first answer to a path is changed; gives the log of what was changed."""
    done: list[str] = []
    route = portal._route

    def odd(method: str, path: list[str], query: Any, body: Any) -> tuple[int, Any]:
        status, said = route(method, path, query, body)
        if not done and "/".join(path).endswith(ending):
            done.append(ending)
            said = json.loads(json.dumps(said))
            change(said)
        return status, said

    portal._route = odd  # type: ignore[method-assign]
    return done


def test_batch_that_keeps_silent_about_a_record_is_asked_for_it_again(portal, connect) -> None:
    for number in range(1, 31):
        portal.deal(number)
    done = once(portal, "deals/batch/read", lambda said: said["results"].pop())
    assert set(ids(list(connect().read(Kind.DEAL, finished(START))))) == {str(n) for n in range(1, 31)}
    assert done


def test_links_that_keep_silent_about_a_record_are_asked_for_again(portal, connect) -> None:
    for number in (1, 2):
        portal.deal(number)
        portal.link("deals", number, "companies", 90 + number, (5, "Primary", "HUBSPOT_DEFINED"))
    done = once(portal, "deals/companies/batch/read", lambda said: said["results"].pop())
    pages = list(connect().read(Kind.DEAL, finished(START)))
    assert {deal.ref.id: deal.companies for page in pages for deal in page.records} == {
        "1": ("91",),
        "2": ("92",),
    }
    assert done


def test_further_links_that_are_promised_and_never_given_end_the_read(portal, connect) -> None:
    portal.deal(1)
    for other in range(1000, 1650):
        portal.link("deals", 1, "contacts", other, (3, None, "HUBSPOT_DEFINED"))

    def silent(of: str, to: str, body: Any) -> tuple[int, Any]:
        if "after" in body["inputs"][0]:
            return 200, {"status": "COMPLETE", "results": []}
        return FakeHubSpot._batch_links(portal, of, to, body)

    portal._batch_links = silent
    with pytest.raises(IncompleteRead, match="promised and not given"):
        list(connect().read(Kind.DEAL))


def test_link_that_cannot_be_read_is_asked_for_again(portal, connect) -> None:
    portal.deal(1)
    portal.link("deals", 1, "companies", 91, (5, "Primary", "HUBSPOT_DEFINED"))
    done = once(
        portal, "deals/companies/batch/read", lambda said: said["results"][0]["to"][0].pop("toObjectId")
    )
    assert only(list(connect().read(Kind.DEAL, finished(START)))).companies == ("91",)
    assert done


def test_link_page_token_that_comes_twice_ends_the_read(portal, connect) -> None:
    portal.deal(1)
    for other in range(1000, 1101):
        portal.link("deals", 1, "contacts", other, (3, None, "HUBSPOT_DEFINED"))
    result = {
        "from": {"id": "1"},
        "to": [{"toObjectId": 5, "associationTypes": []}],
        "paging": {"next": {"after": "same"}},
    }
    portal._batch_links = lambda of, to, body: (200, {"results": [result]})
    with pytest.raises(BadAnswer, match="token of a record came twice"):
        list(connect().read(Kind.DEAL))


def test_search_out_of_order_is_asked_for_again(portal, connect) -> None:
    for number in range(1, 31):
        portal.deal(number)
    done = once(portal, "deals/search", lambda said: said["results"].reverse())
    assert len(ids(list(connect().read(Kind.DEAL, finished(START))))) == 30
    assert done


@pytest.mark.parametrize("last", [300, 900, 1400])
def test_list_that_ends_before_its_last_record_is_an_incomplete_read(portal, connect, last) -> None:
    for number in range(1, 1501):
        portal.deal(number)

    def ending(of: str, query: Any) -> tuple[int, Any]:
        status, said = FakeHubSpot._list(portal, of, query)
        if said["results"] and int(said["results"][-1]["id"]) in range(last, last + 100):
            said.pop("paging", None)
        return status, said

    portal._list = ending
    with pytest.raises(IncompleteRead, match="before the last record"):
        list(connect().read(Kind.DEAL))


def test_owner_list_that_leads_in_a_circle_is_an_incomplete_read(portal, connect) -> None:
    said = {"results": portal.owners, "paging": {"next": {"after": "same"}}}
    portal.hooks.append(lambda path, _: (200, said) if path.endswith("/owners") else None)
    with pytest.raises(IncompleteRead, match="token came twice"):
        list(connect().read(Kind.OWNER))


def test_odd_history_of_one_deal_is_named_and_the_others_are_read(moved, connect) -> None:
    moved.deal(2)
    moved.history[2] = ["closedwon"]  # type: ignore[list-item]
    pages = list(connect().read(Kind.STAGE_CHANGE))
    assert len(ids(pages)) == 2
    assert [bad.ref.id for page in pages for bad in page.unreadable] == ["2"]


def test_odd_links_of_one_note_are_named_and_the_others_are_read(portal, connect) -> None:
    for number in (50, 51):
        portal.put("notes", number, hs_note_body="x", hs_timestamp="2026-11-12T15:48:22Z")
        portal.link("notes", number, "deals", 8, (214, None, "HUBSPOT_DEFINED"))
    once(portal, "objects/notes", lambda said: said["results"][0]["associations"]["deals"].pop("results"))
    pages = list(connect().read(Kind.NOTE))
    assert ids(pages) == ["51"]
    assert [bad.ref.id for page in pages for bad in page.unreadable] == ["50"]


# costs


def test_a_great_clean_up_costs_no_call_per_deal(portal, connect) -> None:
    for number in range(1, 301):
        portal.deal(number)
    for number in range(1, 251):
        portal.archive("deals", number)
    portal.merged = {999: 300}
    wanted = [Ref("hub", Kind.DEAL, str(n)) for n in [*range(1, 301), 999]]
    found = connect().get(wanted)
    assert {record.ref.id for record in found} == {str(n) for n in range(251, 301)}
    asked = portal.counted()
    assert asked["POST /crm/v3/objects/deals/batch/read"] == 4 + 3
    assert [path for path in asked if path.startswith("GET /crm/v3/objects/deals/")] == [
        "GET /crm/v3/objects/deals/999"
    ]


def test_archived_deal_that_a_single_read_still_shows_is_gone(portal, connect) -> None:
    portal.deal(1)
    portal.archive("deals", 1)
    row = {"id": "1", "properties": {"hs_object_id": "1"}, "archived": True}
    portal.hooks.append(lambda path, _: (200, row) if path.endswith("/deals/1") else None)
    assert connect().get([Ref("hub", Kind.DEAL, "1")]) == []


def test_cursor_holds_few_ids_however_many_deals_one_edit_changed(portal, connect) -> None:
    for number in range(1, 5001):
        portal.deal(number)
    pages = list(connect(in_flight=2).read(Kind.DEAL, finished(START)))
    assert len(ids(pages)) == 5000
    assert max(len(page.cursor) for page in pages) < 2 * 1000 * len('"5000",') + 300


def test_one_stage_time_is_asked_for_instead_of_one_per_stage(portal, connect) -> None:
    portal.properties["deals"] = [
        {"name": "hs_v2_date_entered_current_stage", "type": "datetime", "hubspotDefined": True}
    ]
    portal.deal(1, hs_v2_date_entered_current_stage="2026-11-02T09:00:00Z")
    deal = only(list(connect().read(Kind.DEAL)))
    assert deal.stage_entered_at == datetime(2026, 11, 2, 9, tzinfo=UTC)
    asked = [q["properties"][0] for _, path, q, _ in portal.asked if path.endswith("objects/deals")]
    assert asked[0].count("hs_v2_date_entered_") == 1


def test_owner_currency_and_flags_are_asked_for_in_lists_and_batches(portal, connect) -> None:
    portal.deal(1)
    cursor = list(connect().read(Kind.DEAL))[-1].cursor
    list(connect().read(Kind.DEAL, cursor))
    listed = [
        q["properties"][0].split(",") for _, path, q, _ in portal.asked if path.endswith("/deals") and q
    ]
    (batched,) = [
        body["properties"] for _, path, _, body in portal.asked if path.endswith("deals/batch/read")
    ]
    needed = {
        "hubspot_owner_id",
        "deal_currency_code",
        "hs_is_closed",
        "hs_is_closed_won",
        "hs_is_closed_lost",
    }
    assert needed <= set(listed[0]) & set(batched)
