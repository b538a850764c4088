"""Zoho answers that contradict themselves, and orgs that differ from the usual one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from crmkit.connectors.zoho import coql
from crmkit.connectors.zoho.connector import ZohoConnector
from crmkit.errors import BadAnswer, IncompleteRead
from crmkit.model import Deal, Kind, Ref, StageChange
from tests.connectors.test_zoho_reading import (
    START,
    FakeZoho,
    connect,
    field,
    fill,
    history_rows,
    refs,
    small_pages,
    wire,
    zoho,
)

__all__ = ["connect", "small_pages", "zoho"]  # fixtures
Connect = Callable[..., ZohoConnector]


def once(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change of the first answer with several rows only."""
    done = False

    def act(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        if done or len(body["data"]) < 2:
            return body
        done = True
        return change(body)

    return act


def backwards(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "data": body["data"][::-1]}


def without_an_id(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "data": [{**row, "id": None} for row in body["data"]]}


def without_info(body: dict[str, Any]) -> dict[str, Any]:
    return {"data": body["data"]}


def emptied(body: dict[str, Any]) -> dict[str, Any]:
    return {"data": [], "info": {**body["info"], "count": 0, "more_records": True}}


def of_texts(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "data": [row["id"] for row in body["data"]]}


@pytest.mark.parametrize("change", [backwards, without_an_id, without_info, emptied, of_texts])
def test_one_answer_that_cannot_be_right_is_asked_for_again(
    zoho: FakeZoho, connect: Connect, change: Any
) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 70)
    zoho.now = START
    zoho.change_answer = once(change)
    pages = list(connect().read(Kind.DEAL))
    assert set(refs(pages)) == {str(native) for native in zoho.rows["Deals"]}


@pytest.fixture
def changes(zoho: FakeZoho, connect: Connect) -> str:
    """The cursor of a whole read after which 30 deals changed, the ones with low ids last."""
    zoho.now = START - timedelta(hours=1)
    done = list(connect().read(Kind.DEAL))[-1].cursor
    zoho.now = START + timedelta(hours=1)
    for number in range(30):
        zoho.put(1000 + number, at=START + timedelta(minutes=30 - number))
    return done


def test_changes_out_of_order_are_asked_for_again(zoho: FakeZoho, connect: Connect, changes: str) -> None:
    zoho.queries.clear()
    zoho.change_answer = once(backwards)
    assert len(set(refs(list(connect().read(Kind.DEAL, changes))))) == 30
    assert len(zoho.queries) == len(set(zoho.queries)) + 1


def test_changes_in_another_order_are_never_walked(zoho: FakeZoho, connect: Connect, changes: str) -> None:
    zoho.ignores_order = True
    with pytest.raises(BadAnswer, match="order"):
        list(connect().read(Kind.DEAL, changes))


@pytest.mark.parametrize("change", [without_info, emptied])
def test_an_answer_that_hides_its_end_never_ends_a_read(
    zoho: FakeZoho, connect: Connect, change: Any
) -> None:
    fill(zoho, 70)
    zoho.change_answer = lambda body: change(body) if len(body["data"]) > 1 else body
    with pytest.raises(BadAnswer):
        list(connect().read(Kind.DEAL))


def test_an_answer_without_a_date_is_asked_for_again(zoho: FakeZoho, connect: Connect) -> None:
    connector = connect()
    fill(zoho, 3)
    list(connector.read(Kind.PIPELINE))  # fetches the token
    zoho.dateless = 1
    assert len(refs(list(connector.read(Kind.DEAL)))) >= 3


def test_users_said_to_go_on_without_any_are_not_the_end(zoho: FakeZoho, connect: Connect) -> None:
    zoho.refuses["/users"] = (200, {"users": [], "info": {"more_records": True}})
    with pytest.raises(BadAnswer):
        list(connect().read(Kind.OWNER))


def test_a_burst_is_whole_even_if_zoho_keeps_parts_of_a_second(zoho: FakeZoho, connect: Connect) -> None:
    zoho.now = START - timedelta(hours=1)
    done = list(connect().read(Kind.DEAL))[-1].cursor
    zoho.now = START + timedelta(hours=1)
    for number in range(95):
        # Later ids were changed earlier within the one second that answers show.
        zoho.put(1000 + number, hidden_ms=990 - number * 10)
    zoho.now += timedelta(minutes=1)
    assert len(set(refs(list(connect().read(Kind.DEAL, done))))) == 95


def test_a_whole_read_with_too_many_deletions_begins_again(zoho: FakeZoho, connect: Connect) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 450, first=1000, step=1)
    zoho.now = START
    walk = connect(in_flight=1).read(Kind.DEAL)
    before = next(walk)
    walk.close()
    # A week passes before somebody goes on with that read.
    zoho.deleted_pages = 1
    zoho.now = START + timedelta(days=7)
    for native in range(1000, 1440):
        zoho.delete(native)
    zoho.now += timedelta(hours=1)
    pages = list(connect().read(Kind.DEAL, before.cursor))
    assert pages[-1].whole
    assert [page.last for page in pages].count(True) == 1
    assert set(refs(pages[-3:])) >= {"1440", "1449"}


def test_deletions_that_outrun_even_a_fresh_read_are_not_kept_quiet(zoho: FakeZoho, connect: Connect) -> None:
    fill(zoho, 450, first=1000, step=1)
    zoho.deleted_pages = 0
    with pytest.raises(IncompleteRead, match="deleted"):
        list(connect().read(Kind.DEAL))


def test_a_rename_is_found_also_after_a_stage_that_never_was_one(zoho: FakeZoho, connect: Connect) -> None:
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 60, first=1000)
    zoho.put(1000, at=START - timedelta(hours=1), Stage="Negotiation")
    zoho.now = START
    walk = connect(in_flight=1).read(Kind.DEAL)
    pages = [next(walk)]
    zoho.pipelines = [FakeZoho.pipeline("201", "Renamed")]
    for row in zoho.rows["Deals"].values():
        row["Pipeline"] = "Renamed"
    pages += walk
    deals = [record for page in pages for record in page.records if isinstance(record, Deal)]
    assert {deal.pipeline_id for deal in deals} == {"201"}
    assert zoho.calls.count("/settings/layouts") == 3


def test_a_field_called_like_a_word_of_sql_is_read(zoho: FakeZoho, connect: Connect) -> None:
    zoho.fields["Deals"].append(field("External", custom_field=True))
    zoho.reserved = {"External"}
    zoho.put(1000, External="yes")
    records = [one for page in connect().read(Kind.DEAL) for one in page.records]
    assert records[0].custom == {"External": "yes"}  # type: ignore[union-attr]


def test_a_field_that_this_user_may_not_see_costs_one_list_call(zoho: FakeZoho, connect: Connect) -> None:
    zoho.fields["Deals"].append(field("Secret_Margin", custom_field=True))
    zoho.unknown_columns = zoho.hidden = {"Secret_Margin"}
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 300)
    zoho.now = START
    pages = list(connect(in_flight=1).read(Kind.DEAL))
    assert len(set(refs(pages))) == 300
    assert zoho.calls.count("/Deals") == 1


def long_history(zoho: FakeZoho, deals: int, *, left: bool = False) -> None:
    for deal in range(1, deals + 1):
        for row in history_rows(
            deal, ("Qualification", deal % 50), ("Closed Won", 60 + deal % 50), left=left
        ):
            zoho.rows["DealHistory"][int(row["id"])] = row


@pytest.fixture
def coql_refuses_history(zoho: FakeZoho) -> None:
    zoho.refuses["/coql"] = (400, {"code": "INVALID_MODULE", "details": {}, "message": "m"})


@pytest.mark.usefixtures("coql_refuses_history")
@pytest.mark.parametrize("sorts", [True, False])
def test_rows_stamped_on_leaving_are_read_so_on_every_page_of_the_list(
    zoho: FakeZoho, connect: Connect, sorts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coql, "ROWS_PER_LIST", 30)
    zoho.history_sorts = sorts
    long_history(zoho, 100, left=True)
    pages = list(connect().read(Kind.STAGE_CHANGE))
    changes = {one.ref.id: one for page in pages for one in page.records if isinstance(one, StageChange)}
    assert {(one.from_stage_id, one.to_stage_id) for one in changes.values()} == {("101", "103")}
    assert len(changes) == 100


@pytest.mark.usefixtures("coql_refuses_history")
def test_a_list_of_stage_changes_that_sorts_gives_increments(zoho: FakeZoho, connect: Connect) -> None:
    long_history(zoho, 100)
    first = list(connect().read(Kind.STAGE_CHANGE))
    zoho.now = START + timedelta(hours=1)
    row = next(history_rows(900, ("Closed Won", 0)))
    zoho.rows["DealHistory"][9000] = {**row, "Modified_Time": wire(START + timedelta(minutes=30))}
    pages = list(connect().read(Kind.STAGE_CHANGE, first[-1].cursor))
    assert refs(pages) == ["9000"]
    assert not pages[-1].whole


@pytest.mark.usefixtures("coql_refuses_history")
def test_a_list_of_stage_changes_that_does_not_sort_is_read_whole_each_time(
    zoho: FakeZoho, connect: Connect
) -> None:
    zoho.history_sorts = False
    long_history(zoho, 100)
    first = list(connect().read(Kind.STAGE_CHANGE))
    again = list(connect().read(Kind.STAGE_CHANGE, first[-1].cursor))
    assert set(refs(first)) == set(refs(again))
    assert again[-1].whole


def test_stage_changes_begun_by_query_go_on_by_list(zoho: FakeZoho, connect: Connect) -> None:
    long_history(zoho, 20)
    begun = next(iter(connect(in_flight=1).read(Kind.STAGE_CHANGE))).cursor
    zoho.refuses["/coql"] = (400, {"code": "INVALID_MODULE", "details": {}, "message": "m"})
    assert len(set(refs(list(connect().read(Kind.STAGE_CHANGE, begun))))) == 40


def test_stage_changes_begun_by_list_go_on_by_query(zoho: FakeZoho, connect: Connect) -> None:
    long_history(zoho, 120)
    zoho.refuses["/coql"] = (400, {"code": "INVALID_MODULE", "details": {}, "message": "m"})
    begun = next(iter(connect().read(Kind.STAGE_CHANGE))).cursor
    del zoho.refuses["/coql"]
    assert len(set(refs(list(connect().read(Kind.STAGE_CHANGE, begun))))) == 240


def test_the_history_of_one_deal_is_read_as_the_org_stamps_it(zoho: FakeZoho, connect: Connect) -> None:
    long_history(zoho, 20, left=True)
    for row in history_rows(77, ("Qualification", 0)):  # has not moved yet: it tells nothing by itself
        zoho.rows["DealHistory"][int(row["id"])] = row
    groups = list(connect().history([Ref("zoho-ke", Kind.DEAL, "77")]))
    assert [one for group in groups for one in group] == []


def test_get_of_many_deals_asks_for_other_columns_fifty_at_a_time(zoho: FakeZoho, connect: Connect) -> None:
    zoho.fields["Deals"] += [field(f"Custom_{number}", custom_field=True) for number in range(60)]
    fill(zoho, 60, first=1000)
    for native in zoho.rows["Deals"]:
        zoho.rows["Deals"][native]["Custom_59"] = "last"
    wanted = [Ref("zoho-ke", Kind.DEAL, str(native)) for native in zoho.rows["Deals"]]
    found = connect().get(wanted)
    assert {one.custom["Custom_59"] for one in found} == {"last"}  # type: ignore[union-attr]
    assert zoho.calls.count("/coql") == 4


@pytest.fixture
def edits_while_reading(zoho: FakeZoho) -> set[int]:
    """Before every query one more deal changes, and one is created with a low id."""
    touched: set[int] = set()

    def edit(query: str) -> None:
        zoho.now += timedelta(seconds=1)
        native = sorted(zoho.rows["Deals"])[len(touched) * 7 % len(zoho.rows["Deals"])]
        zoho.put(native, Deal_Name=f"edited {len(touched)}")
        created = 10 + len(touched)
        zoho.put(created, Deal_Name="created")
        touched.update((native, created))

    zoho.before_query = edit
    return touched


@pytest.mark.parametrize("in_flight", [1, 8])
def test_edits_during_a_whole_read_and_the_increment_after_it_lose_nothing(
    zoho: FakeZoho, connect: Connect, edits_while_reading: set[int], in_flight: int
) -> None:
    calm, zoho.before_query = zoho.before_query, lambda query: None
    zoho.now = START - timedelta(hours=1)
    fill(zoho, 150, first=1000)
    zoho.now, zoho.before_query = START, calm
    pages = list(connect(in_flight=in_flight).read(Kind.DEAL))
    zoho.before_query = lambda query: None
    zoho.now += timedelta(minutes=5)
    pages += connect().read(Kind.DEAL, pages[-1].cursor)
    newest = {record.ref.id: record.name for page in pages for record in page.records}  # type: ignore[union-attr]
    assert edits_while_reading
    assert newest == {row["id"]: row["Deal_Name"] for row in zoho.rows["Deals"].values()}
