"""The Close sandbox answers as the contract says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from crmkit.sandbox.close import CloseApp
from crmkit.sandbox.rows import Deal
from crmkit.sandbox.server import Sandbox

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "shared/specs/close/examples"


class Client:
    """A session with the API key on one Close sandbox."""

    def __init__(self, app: CloseApp, box: Sandbox) -> None:
        self.app, self.box, self.world = app, box, app.world
        self.session = requests.Session()
        self.session.auth = (app.credentials["api_key"], "")

    def ask(self, path: str, **params: object) -> requests.Response:
        return self.session.get(self.app.base_url + path, params=params, timeout=5)

    def get(self, path: str, **params: object) -> Any:
        answer = self.ask(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, content: object, **headers: str) -> requests.Response:
        return self.session.post(self.app.base_url + path, json=content, headers=headers, timeout=5)

    def search(self, query: list[dict[str, Any]], **more: Any) -> Any:
        answer = self.post("/data/search/", {"query": {"type": "and", "queries": query}, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    """Starts a Close whose clock stands still; gives a client of it."""
    with ExitStack() as stack:

        def start(**options: object) -> Client:
            chosen: dict[str, Any] = {"deals": 60, "limits": "off", "now": NOW, "lag_seconds": 0, **options}
            box = stack.enter_context(Sandbox.up(["close"], **chosen))
            app = box["close"]
            assert isinstance(app, CloseApp)
            client = Client(app, box)
            stack.callback(client.session.close)
            stack.callback(lambda: _no_crash(app))
            return client

        yield start


def _no_crash(app: CloseApp) -> None:
    assert app.crashes == []


@pytest.fixture
def close(up: Callable[..., Client]) -> Client:
    return up()


def example(name: str) -> Any:
    path = EXAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no official examples at {EXAMPLES}")
    return json.loads(path.read_text())


def shape_misses(official: Any, ours: Any, where: str = "") -> list[str]:
    """Keys of the official payload that ours lacks, and values of another JSON type."""
    if official is None or ours is None:
        return []
    if isinstance(official, dict) and isinstance(ours, dict):
        misses = []
        for key, value in official.items():
            if key.startswith("custom."):
                continue
            if key in ours:
                misses += shape_misses(value, ours[key], f"{where}.{key}")
            else:
                misses.append(f"{where}.{key} is missing")
        return misses
    if isinstance(official, list) and isinstance(ours, list):
        return shape_misses(official[0], ours[0], f"{where}[]") if official and ours else []
    return [] if type(official) is type(ours) else [f"{where}: {type(ours).__name__}"]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def some_deal(client: Client, **wanted: Any) -> Deal:
    return next(
        deal
        for deal in client.world.deals.values()
        if all(getattr(deal, name) == value for name, value in wanted.items())
    )


class TestShapes:
    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/opportunity/", "opportunity_list_200"),
            ("/pipeline/", "pipeline_list_200"),
            ("/status/opportunity/", "status_opportunity_list_200"),
            ("/contact/", "contact_list_200"),
            ("/user/", "user_list_200"),
            ("/activity/note/", "note_list_200"),
            ("/activity/status_change/opportunity/", "opportunity_status_change_list_200"),
            ("/custom_field/opportunity/", "custom_field_opportunity_list_200"),
        ],
    )
    def test_lists_look_like_the_official_payloads(self, close: Client, path: str, name: str) -> None:
        assert shape_misses(example(name), close.get(path)) == []

    def test_leads_look_like_the_official_payload(self, close: Client) -> None:
        lead_id = some_deal(close).company_id
        assert shape_misses(example("lead_list_200")["data"][0], close.get(f"/lead/{lead_id}/")) == []

    def test_the_organization_looks_like_the_official_payload(self, close: Client) -> None:
        official = example("organization_get_200")
        official["memberships"] = [
            {key: value for key, value in official["memberships"][0].items() if key in _MEMBERSHIP}
        ]
        ours = close.get(f"/organization/{close.world.workspace_id}/")
        assert shape_misses(official, ours) == []

    def test_an_opportunity_says_what_its_row_holds(self, close: Client) -> None:
        deal = next(deal for deal in close.world.deals.values() if deal.amount and deal.contact_ids)
        stage = close.world.stage(deal.pipeline_id, deal.stage_id)
        assert stage is not None
        shown = close.get(f"/opportunity/{deal.id}/")
        assert (shown["value"], shown["value_period"]) == (int((deal.amount or 0) * 100), deal.value_period)
        assert (shown["lead_id"], shown["user_id"]) == (deal.company_id, deal.owner_id)
        assert (shown["status_id"], shown["status_label"]) == (stage.id, stage.name)
        assert shown["contact_id"] == deal.contact_ids[0]
        assert datetime.fromisoformat(shown["date_updated"]) == deal.modified

    def test_the_name_is_in_a_custom_field_and_nowhere_else(self, close: Client) -> None:
        deal = some_deal(close)
        field = next(
            row for row in close.get("/custom_field/opportunity/")["data"] if row["name"] == "Deal name"
        )
        shown = close.get(f"/opportunity/{deal.id}/")
        assert shown[f"custom.{field['id']}"] == deal.name
        assert "name" not in shown

    def test_the_key_field_is_called_crmkit_id(self, close: Client) -> None:
        names = [row["name"] for row in close.get("/custom_field_schema/opportunity/")["fields"]]
        assert "crmkit_id" in names

    def test_statuses_say_active_where_the_pipeline_is_open(self, close: Client) -> None:
        pipeline = close.get("/pipeline/")["data"][0]
        assert [(row["label"], row["type"]) for row in pipeline["statuses"]] == [
            ("Active", "active"),
            ("Won", "won"),
            ("Lost", "lost"),
        ]

    def test_former_members_share_no_organization(self, close: Client) -> None:
        gone = {user.id for user in close.world.users.values() if not user.active}
        assert {row["id"] for row in close.get("/user/")["data"] if not row["organizations"]} == gone

    def test_me_names_the_organization(self, close: Client) -> None:
        me = close.get("/me/")
        assert me["organizations"][0]["id"] == me["organization_id"] == close.world.workspace_id


_MEMBERSHIP = {"id", "permissions_granted", "role_id", "user_email", "user_full_name", "user_id"}


class TestPaging:
    def test_unsorted_opportunities_come_newest_first(self, close: Client) -> None:
        stamps = [row["date_created"] for row in close.get("/opportunity/")["data"]]
        moments = [datetime.fromisoformat(text) for text in stamps]
        assert moments == sorted(moments, reverse=True)
        assert len(moments) == 60

    def test_pages_give_every_opportunity_once(self, close: Client) -> None:
        pages = [close.get("/opportunity/", _limit=25, _skip=skip) for skip in (0, 25, 50)]
        assert sorted(row["id"] for page in pages for row in page["data"]) == sorted(close.world.deals)
        assert [page["has_more"] for page in pages] == [True, True, False]

    def test_a_skip_beyond_the_maximum_is_refused(self, up: Callable[..., Client]) -> None:
        client = up(extra={"close_max_skip": 40})
        assert client.ask("/opportunity/", _skip=40).status_code == 200
        refused = client.ask("/opportunity/", _skip=41)
        assert refused.status_code == 400
        official = example("error_skip_too_large_400")["error"].replace("250000", "40")
        assert refused.json() == {"error": official}

    @pytest.mark.parametrize(
        ("path", "most"), [("/opportunity/", 250), ("/lead/", 200), ("/contact/", 100), ("/event/", 50)]
    )
    def test_a_limit_beyond_the_maximum_is_refused(self, close: Client, path: str, most: int) -> None:
        assert close.ask(path, _limit=most).status_code == 200
        assert close.ask(path, _limit=most + 1).status_code == 400

    def test_the_keyset_walk_over_updates_finds_every_opportunity(self, close: Client) -> None:
        seen, since, skip = set(), "2000-01-01T00:00:00+00:00", 0
        while True:
            page = close.get(
                "/opportunity/", _order_by="date_updated", date_updated__gte=since, _limit=7, _skip=skip
            )
            seen.update(ids(page["data"]))
            if not page["has_more"]:
                break
            last = page["data"][-1]["date_updated"]
            since, skip = (last, 0) if last != since else (since, skip + len(page["data"]))
        assert seen == set(close.world.deals)

    def test_fields_cut_the_answer(self, close: Client) -> None:
        rows = close.get("/opportunity/", _fields="id,custom")["data"]
        names = {name.partition(".")[0] for row in rows for name in row}
        assert names == {"id", "custom"}

    def test_very_long_filters_go_into_the_body(self, close: Client) -> None:
        wanted = sorted({deal.owner_id for deal in close.world.deals.values() if deal.owner_id})[:3]
        body = {"_params": {"user_id__in": wanted, "_limit": 250}}
        answer = close.post("/opportunity/", body, **{"x-http-method-override": "GET"})
        assert {row["user_id"] for row in answer.json()["data"]} == set(wanted)

    def test_a_list_that_cannot_be_written_refuses_the_method(self, close: Client) -> None:
        assert close.post("/user/", {}).status_code == 405


class TestFilters:
    @pytest.mark.parametrize("name", ["date_created", "date_updated"])
    @pytest.mark.parametrize("operator", ["gt", "gte", "lt", "lte"])
    def test_dates_compare_to_the_microsecond(self, close: Client, name: str, operator: str) -> None:
        attribute = {"date_created": "created", "date_updated": "modified"}[name]
        middle = sorted(getattr(deal, attribute) for deal in close.world.deals.values())[30]
        holds = {
            "gt": lambda at: at > middle,
            "gte": lambda at: at >= middle,
            "lt": lambda at: at < middle,
            "lte": lambda at: at <= middle,
        }[operator]
        expected = {deal.id for deal in close.world.deals.values() if holds(getattr(deal, attribute))}
        page = close.get("/opportunity/", **{f"{name}__{operator}": middle.isoformat(), "_limit": 250})
        assert set(ids(page["data"])) == expected
        assert page["total_results"] == len(expected)

    def test_date_won_filters_days_and_leaves_out_the_undated(self, close: Client) -> None:
        days = sorted(deal.expected_close for deal in close.world.deals.values() if deal.expected_close)
        last = days[len(days) // 2]
        page = close.get("/opportunity/", date_won__lte=last.isoformat(), _limit=250)
        expected = {
            deal.id
            for deal in close.world.deals.values()
            if deal.expected_close and deal.expected_close <= last
        }
        assert set(ids(page["data"])) == expected

    def test_filters_add_up(self, close: Client) -> None:
        deal = some_deal(close, status="won")
        page = close.get(
            "/opportunity/",
            status_type="won",
            lead_id=deal.company_id,
            value_period__in=f"{deal.value_period},x",
        )
        expected = {
            other.id
            for other in close.world.deals.values()
            if (other.status, other.company_id, other.value_period)
            == ("won", deal.company_id, deal.value_period)
        }
        assert set(ids(page["data"])) == expected

    @pytest.mark.parametrize("order", ["value", "-confidence", "user_name", "-date_won", "annualized_value"])
    def test_orders_sort(self, close: Client, order: str) -> None:
        rows = close.get("/opportunity/", _order_by=order, _limit=250)["data"]
        name = order.removeprefix("-")
        values = [row[name] or ("" if name in {"user_name", "date_won"} else 0) for row in rows]
        assert values == sorted(values, reverse=order.startswith("-"))

    def test_there_is_no_order_by_id(self, close: Client) -> None:
        assert close.ask("/opportunity/", _order_by="id").status_code == 400

    def test_an_unreadable_date_is_refused(self, close: Client) -> None:
        assert close.ask("/opportunity/", date_updated__gte="soon").status_code == 400

    @pytest.mark.parametrize("filters", [{}, {"status_type": "active"}, {"date_created__gte": "2025-06-01"}])
    def test_sums_cover_all_matches_and_not_the_page(self, close: Client, filters: dict[str, str]) -> None:
        rows = close.get("/opportunity/", _limit=250, **filters)["data"]
        page = close.get("/opportunity/", _limit=1, **filters)

        def total(field: str, period: str) -> int:
            return sum(row[field] or 0 for row in rows if row["value_period"] == period)

        for period in ("one_time", "monthly", "annual"):
            assert page[f"total_value_{period}"] == total("value", period)
            assert page[f"expected_value_{period}"] == total("expected_value", period)
        assert sum(page["count_by_value_period"].values()) == len(rows)
        assert page["total_value_annualized"] == sum(row["annualized_value"] or 0 for row in rows)

    def test_sums_follow_an_edit(self, close: Client) -> None:
        before = close.get("/opportunity/")["total_value_one_time"]
        deal = next(d for d in close.world.deals.values() if d.value_period == "one_time" and d.amount)
        close.world.edit_deal(deal.id, amount=(deal.amount or Decimal(0)) + 1)
        assert close.get("/opportunity/")["total_value_one_time"] == before + 100


class TestFreshness:
    def test_an_edit_shows_at_once(self, close: Client) -> None:
        deal = some_deal(close)
        close.get("/opportunity/")
        close.world.edit_deal(deal.id, amount=Decimal("12.34"))
        row = next(row for row in close.get("/opportunity/")["data"] if row["id"] == deal.id)
        assert row["value"] == 1234

    def test_a_renamed_lead_shows_in_its_opportunities(self, close: Client) -> None:
        deal = some_deal(close)
        close.get("/opportunity/")
        close.world.edit_company(deal.company_id or "", name="Renamed Inc.")
        row = next(row for row in close.get("/opportunity/")["data"] if row["id"] == deal.id)
        assert row["lead_name"] == "Renamed Inc."

    def test_a_renamed_status_shows_in_its_opportunities(self, close: Client) -> None:
        deal = some_deal(close)
        close.get("/opportunity/")
        stage = close.world.stage(deal.pipeline_id, deal.stage_id)
        assert stage is not None
        stage.name = "Renamed"
        row = next(row for row in close.get("/opportunity/")["data"] if row["id"] == deal.id)
        assert row["status_label"] == "Renamed"

    def test_winning_a_deal_without_a_date_dates_it_today_and_reopening_leaves_that(
        self, close: Client
    ) -> None:
        open_deal = some_deal(close, status="open")
        close.world.edit_deal(open_deal.id, expected_close=None)
        stages = {stage.outcome: stage.id for stage in close.world.pipelines[open_deal.pipeline_id].stages}
        close.world.edit_deal(open_deal.id, stage_id=stages["won"])
        assert close.get(f"/opportunity/{open_deal.id}/")["date_won"] == "2026-06-01"
        close.world.edit_deal(open_deal.id, stage_id=stages["open"])
        assert close.get(f"/opportunity/{open_deal.id}/")["date_won"] == "2026-06-01"

    def test_a_deal_made_without_a_lead_gets_an_untitled_one(self, close: Client) -> None:
        deal = close.world.create_deal(amount=Decimal(5))
        shown = close.get(f"/opportunity/{deal.id}/")
        assert close.get(f"/lead/{shown['lead_id']}/")["display_name"] == shown["lead_name"] == "Untitled"

    def test_search_trails_behind_and_the_list_does_not(self, up: Callable[..., Client]) -> None:
        client = up(lag_seconds=2)
        deal = some_deal(client)
        wanted = [{"type": "object_type", "object_type": "opportunity"}, {"type": "id", "value": deal.id}]
        client.world.delete_deal(deal.id)
        assert ids(client.search(wanted)["data"]) == [deal.id]
        assert client.ask(f"/opportunity/{deal.id}/").status_code == 404
        client.box.clock.advance(2)
        assert client.search(wanted)["data"] == []


class TestPeople:
    def test_every_contact_belongs_to_a_lead(self, close: Client) -> None:
        rows = close.get("/contact/", _limit=100)["data"]
        assert all(row["lead_id"] in close.world.companies for row in rows)

    def test_contacts_of_one_lead(self, close: Client) -> None:
        contact = next(iter(close.world.contacts.values()))
        rows = close.get("/contact/", lead_id=contact.company_id)["data"]
        assert contact.id in ids(rows)
        assert {row["lead_id"] for row in rows} == {contact.company_id}

    def test_leads_carry_all_opportunities(self, close: Client) -> None:
        rows = close.get("/lead/", _limit=200)["data"]
        assert sorted(ids([deal for row in rows for deal in row["opportunities"]])) == sorted(
            close.world.deals
        )

    def test_left_users_are_inactive_memberships(self, close: Client) -> None:
        shown = close.get(f"/organization/{close.world.workspace_id}/", _fields="inactive_memberships")
        assert list(shown) == ["inactive_memberships"]
        gone = {user.id for user in close.world.users.values() if not user.active}
        assert {row["user_id"] for row in shown["inactive_memberships"]} == gone


class TestActivities:
    def test_status_changes_of_one_opportunity_tell_its_history(self, close: Client) -> None:
        deal = next(deal for deal in close.world.deals.values() if len(deal.history) > 2)
        rows = close.get("/activity/status_change/opportunity/", opportunity_id=deal.id)["data"]
        steps = [(row["old_status_id"], row["new_status_id"]) for row in reversed(rows)]
        visits = [visit.stage_id for visit in deal.history]
        assert steps == list(pairwise(visits))

    def test_all_status_changes_come_newest_first(self, close: Client) -> None:
        rows = close.get("/activity/status_change/opportunity/", _limit=100)["data"]
        moments = [row["date_created"] for row in rows]
        assert len(moments) > 10
        assert sorted(moments, key=datetime.fromisoformat, reverse=True) == moments

    def test_notes_hang_on_the_lead(self, close: Client) -> None:
        note = next(iter(close.world.notes.values()))
        rows = close.get("/activity/note/", lead_id=note.company_id)["data"]
        assert note.text in [row["note"] for row in rows]

    def test_notes_can_be_asked_for_by_time(self, close: Client) -> None:
        middle = sorted(note.created for note in close.world.notes.values())[2]
        rows = close.get("/activity/note/", date_created__gte=middle.isoformat(), _limit=100)["data"]
        assert len(rows) == len(close.world.notes) - 2

    @pytest.mark.parametrize("params", [{"_type": "Note"}, {"user_id": "x"}, {"_order_by": "-activity_at"}])
    def test_narrow_filters_need_a_lead(self, close: Client, params: dict[str, str]) -> None:
        assert close.ask("/activity/", **params).status_code == 400
        assert close.ask("/activity/", lead_id="lead_x", **params).status_code == 200


class TestEvents:
    def deleted(self, client: Client, **params: object) -> Any:
        return client.get("/event/", object_type="opportunity", action="deleted", **params)

    def test_seeded_deletions_are_in_the_log(self, close: Client) -> None:
        gone = {row.id for row in close.world.deleted} | {row.loser for row in close.world.merged}
        assert {row["object_id"] for row in self.deleted(close)["data"]} == gone

    def test_a_deletion_holds_the_whole_object(self, close: Client) -> None:
        deal = some_deal(close)
        close.world.delete_deal(deal.id)
        event = self.deleted(close)["data"][0]
        assert (event["object_id"], event["previous_data"]["id"], event["data"]) == (deal.id, deal.id, {})

    def test_times_do_not_say_that_they_are_utc(self, close: Client) -> None:
        close.world.delete_deal(some_deal(close).id)
        assert self.deleted(close)["data"][0]["date_created"] == "2026-06-01T12:00:00.000000"

    def test_an_update_tells_what_changed(self, close: Client) -> None:
        deal = some_deal(close)
        close.world.edit_deal(deal.id, amount=Decimal(77), value_period="one_time")
        event = close.get("/event/", object_type="opportunity", object_id=deal.id)["data"][0]
        assert {"value", "date_updated"} <= set(event["changed_fields"]) == set(event["previous_data"])
        assert event["data"]["value"] == 7700

    def test_events_are_forgotten_after_thirty_days(self, close: Client) -> None:
        close.world.delete_deal(some_deal(close).id)
        close.box.clock.advance(timedelta(days=31).total_seconds())
        assert self.deleted(close)["data"] == []

    def test_cursors_lead_back_to_the_oldest_and_forth_again(self, up: Callable[..., Client]) -> None:
        close = up(deals=900)
        first = close.get("/event/", _limit=3)
        second = close.get("/event/", _limit=3, _cursor=first["cursor_next"])
        back = close.get("/event/", _limit=3, _cursor=second["cursor_previous"])
        assert first["cursor_previous"] is None
        assert not set(ids(first["data"])) & set(ids(second["data"]))
        assert ids(back["data"]) == ids(first["data"])
        seen, cursor = set(ids(first["data"])), first["cursor_next"]
        while cursor:
            page = close.get("/event/", _limit=3, _cursor=cursor)
            seen |= set(ids(page["data"]))
            cursor = page["cursor_next"]
        assert len(seen) == len(close.app.events.events)

    def test_an_event_during_the_walk_does_not_shift_it(self, up: Callable[..., Client]) -> None:
        close = up(deals=900)
        first = close.get("/event/", _limit=2)
        expected = ids(close.get("/event/", _limit=2, _cursor=first["cursor_next"])["data"])
        close.world.delete_deal(some_deal(close).id)
        assert ids(close.get("/event/", _limit=2, _cursor=first["cursor_next"])["data"]) == expected

    @pytest.mark.parametrize(
        "params", [{"object_type": "opportunity"}, {"action": "deleted"}, {"lead_id": "x", "action": "y"}]
    )
    def test_other_sets_of_filters_are_refused(self, close: Client, params: dict[str, str]) -> None:
        assert close.ask("/event/", **params).status_code == 400

    def test_merging_leads_moves_their_deals_and_is_told(self, close: Client) -> None:
        deal = some_deal(close)
        loser = deal.company_id or ""
        winner = next(lead for lead in close.world.companies if lead != loser)
        close.world.merge("company", loser, winner)
        event = close.get("/event/", object_type="lead", action="merged")["data"][0]
        assert event["meta"]["merge_source_lead_id"] == loser
        assert event["meta"]["merge_destination_lead_id"] == winner
        assert close.get(f"/opportunity/{deal.id}/")["lead_id"] == winner
        moved = close.get("/event/", object_type="opportunity", object_id=deal.id)["data"][0]
        assert (moved["action"], moved["previous_data"]["lead_id"]) == ("updated", loser)

    def test_deleting_a_lead_takes_its_deals_along(self, close: Client) -> None:
        deal = some_deal(close)
        close.world.delete("company", deal.company_id or "")
        assert close.ask(f"/opportunity/{deal.id}/").status_code == 404
        assert deal.id in {row["object_id"] for row in self.deleted(close)["data"]}


class TestSearch:
    deals: ClassVar[dict[str, Any]] = {"type": "object_type", "object_type": "opportunity"}

    def test_only_ids_come_back_unless_fields_are_asked_for(self, close: Client) -> None:
        row = close.search([self.deals], _limit=1)["data"][0]
        assert set(row) == {"__object_type", "id"}
        row = close.search([self.deals], _limit=1, _fields={"opportunity": ["id", "value"]})["data"][0]
        assert set(row) == {"__object_type", "id", "value"}

    def test_a_cursor_goes_on_and_dies_after_thirty_seconds(self, close: Client) -> None:
        first = close.search([self.deals], _limit=40)
        second = close.search([self.deals], _limit=40, cursor=first["cursor"])
        assert sorted(ids(first["data"] + second["data"])) == sorted(close.world.deals)
        assert second["cursor"] is None
        close.box.clock.advance(31)
        body = {"query": {"type": "and", "queries": [self.deals]}, "cursor": first["cursor"]}
        assert close.post("/data/search/", body).status_code == 400

    def test_updated_since_has_the_granularity_of_a_day(self, close: Client) -> None:
        query = example("data_search_request_opportunities_updated_since")
        query["query"]["queries"][1]["condition"]["on_or_after"]["value"] = "2026-01-15"
        found = close.post("/data/search/", query).json()["data"]
        expected = {d.id for d in close.world.deals.values() if d.modified.date() >= date(2026, 1, 15)}
        assert set(ids(found)) == expected

    def test_a_custom_field_finds_the_deal(self, close: Client) -> None:
        deal = some_deal(close)
        close.world.edit_deal(deal.id, custom={**deal.custom, "crmkit_key": "hub:1"})
        field = close.world.fields["deal"]["crmkit_key"]
        condition = {
            "type": "field_condition",
            "field": {"type": "custom_field", "custom_field_id": field.id},
            "condition": {"type": "term", "values": ["hub:1"]},
        }
        assert ids(close.search([self.deals, condition])["data"]) == [deal.id]

    def test_related_contacts_of_a_lead(self, close: Client) -> None:
        contact = next(iter(close.world.contacts.values()))
        query = [
            {"type": "object_type", "object_type": "lead"},
            {
                "type": "has_related",
                "this_object_type": "lead",
                "related_object_type": "contact",
                "related_query": {"type": "id", "value": contact.id},
            },
        ]
        assert ids(close.search(query)["data"]) == [contact.company_id]


class TestExport:
    def test_the_file_holds_every_match_and_its_link_dies_after_a_minute(self, close: Client) -> None:
        job = close.post("/export/opportunity/", {"format": "json", "params": {"status_type": "won"}}).json()
        assert job.keys() == example("export_opportunity_create_response_200").keys()
        states = [job["status"]]
        while states[-1] != "done":
            job = close.get(f"/export/opportunity/{job['id']}/")
            states.append(job["status"])
        content = requests.get(job["download_url"], timeout=5, headers={"accept-encoding": "gzip"})
        expected = {deal.id for deal in close.world.deals.values() if deal.status == "won"}
        assert set(ids(content.json())) == expected
        assert job["n_docs"] == len(expected)
        close.box.clock.advance(61)
        assert requests.get(job["download_url"], timeout=5).status_code == 403
        assert requests.get(close.get(f"/export/{job['id']}/")["download_url"], timeout=5).status_code == 200

    def test_the_file_is_gzip_on_the_wire(self, close: Client) -> None:
        job = close.post("/export/opportunity/", {"format": "csv"}).json()
        for _ in range(2):
            job = close.get(f"/export/{job['id']}/")
        with requests.get(job["download_url"], timeout=5, stream=True) as answer:
            raw = answer.raw.read()
        assert gzip.decompress(raw).startswith(b"confidence,contact_id")


class TestAccess:
    def refresh(self, client: Client, token: str, **other: str) -> requests.Response:
        secrets = client.app.credentials
        form = {"client_id": secrets["client_id"], "client_secret": secrets["client_secret"]}
        form |= {"grant_type": "refresh_token", "refresh_token": token, **other}
        return requests.post(f"{client.app.origin}/oauth2/token/", data=form, timeout=5)

    def test_a_wrong_key_gets_the_official_401(self, close: Client) -> None:
        answer = requests.get(f"{close.app.base_url}/me/", auth=("api_wrong", ""), timeout=5)
        assert (answer.status_code, answer.json()) == (401, example("error_invalid_api_key_401"))

    def test_each_refresh_revokes_the_refresh_token_before(self, close: Client) -> None:
        token = close.app.credentials["refresh_token"]
        granted = self.refresh(close, token).json()
        assert granted.keys() == example("oauth_token_response_200").keys()
        assert self.refresh(close, token).status_code == 400
        assert self.refresh(close, granted["refresh_token"]).status_code == 200

    def test_an_access_token_ends_after_an_hour(self, close: Client) -> None:
        token = self.refresh(close, close.app.credentials["refresh_token"]).json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}
        assert requests.get(f"{close.app.base_url}/me/", headers=headers, timeout=5).status_code == 200
        close.box.clock.advance(3600)
        assert requests.get(f"{close.app.base_url}/me/", headers=headers, timeout=5).status_code == 401

    def test_a_wrong_client_secret_is_refused(self, close: Client) -> None:
        answer = self.refresh(close, close.app.credentials["refresh_token"], client_secret="no")
        assert answer.status_code == 401

    def test_a_role_without_export_may_not_export(self, up: Callable[..., Client]) -> None:
        client = up(extra={"close_forbidden": ["export"]})
        assert client.post("/export/opportunity/", {"format": "json"}).status_code == 403
        assert client.ask("/opportunity/").status_code == 200

    def test_unknown_addresses_and_ids_are_told_apart(self, close: Client) -> None:
        assert close.ask("/nothing/").json() == example("error_url_unknown_404")
        assert close.ask("/opportunity").status_code == 404
        assert close.ask("/lead/lead_none/").json() == example("error_lead_unknown_404")


class TestLimits:
    def test_the_key_has_160_calls_in_8_seconds_per_group(self, up: Callable[..., Client]) -> None:
        client = up(limits="real")
        answers = [client.ask("/pipeline/") for _ in range(160)]
        assert {answer.status_code for answer in answers} == {200}
        assert answers[0].headers["ratelimit"] == "limit=160, remaining=159, reset=8"
        client.box.clock.advance(2.25)
        refused = client.ask("/pipeline/")
        assert refused.status_code == 429
        assert refused.headers["ratelimit"] == "limit=160, remaining=0, reset=5.75"
        assert refused.headers["retry-after"] == "6"
        assert client.ask("/me/").status_code == 200
        client.box.clock.advance(5.75)
        assert client.ask("/pipeline/").status_code == 200
