"""The Copper sandbox answers as the contract says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from crmkit.sandbox.copper import CopperApp
from crmkit.sandbox.rows import Deal
from crmkit.sandbox.server import Sandbox

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "shared/specs/copper/examples"


class Client:
    """A session with the API key on one Copper sandbox."""

    def __init__(self, app: CopperApp, box: Sandbox) -> None:
        self.app, self.box, self.world = app, box, app.world
        self.session = requests.Session()
        self.session.headers.update(
            {
                "X-PW-AccessToken": app.credentials["api_key"],
                "X-PW-Application": "developer_api",
                "X-PW-UserEmail": str(app.connection["user_email"]),
            }
        )

    def ask(self, path: str, **params: object) -> requests.Response:
        return self.session.get(self.app.base_url + path, params=params, timeout=5)

    def get(self, path: str, **params: object) -> Any:
        answer = self.ask(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object = None, **params: object) -> requests.Response:
        return self.session.post(self.app.base_url + path, json=body, params=params, timeout=5)

    def search(self, entity: str = "opportunities", **body: object) -> Any:
        answer = self.post(f"/{entity}/search", {"page_size": 200, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    """Starts a Copper whose clock stands still; gives a client of it."""
    with ExitStack() as stack:

        def start(**options: object) -> Client:
            chosen: dict[str, Any] = {"deals": 60, "limits": "off", "now": NOW, "lag_seconds": 0, **options}
            box = stack.enter_context(Sandbox.up(["copper"], **chosen))
            app = box["copper"]
            assert isinstance(app, CopperApp)
            client = Client(app, box)
            stack.callback(client.session.close)
            stack.callback(lambda: _no_crash(app))
            return client

        yield start


def _no_crash(app: CopperApp) -> None:
    assert app.crashes == []


@pytest.fixture
def copper(up: Callable[..., Client]) -> Client:
    return up()


def example(name: str) -> Any:
    path = EXAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no official examples at {EXAMPLES}")
    return json.loads(path.read_text())


def shape_misses(official: Any, ours: Any, where: str = "") -> list[str]:
    """Keys of the official payload that ours lacks, and values of another JSON type."""
    if official is None or ours is None or where.endswith("custom_fields[].value"):
        return []
    if isinstance(official, dict) and isinstance(ours, dict):
        missing = [f"{where}.{key} is missing" for key in official if key not in ours]
        both = [key for key in official if key in ours]
        return missing + [
            miss for key in both for miss in shape_misses(official[key], ours[key], f"{where}.{key}")
        ]
    if isinstance(official, list) and isinstance(ours, list):
        return shape_misses(official[0], ours[0], f"{where}[]") if official and ours else []
    numbers = (int, float)
    same = type(official) is type(ours) or (isinstance(official, numbers) and isinstance(ours, numbers))
    return [] if same else [f"{where}: {type(ours).__name__}"]


def ids(rows: list[dict[str, Any]]) -> set[str]:
    return {str(row["id"]) for row in rows}


def where(client: Client, test: Callable[[Deal], object]) -> set[str]:
    return {deal.id for deal in client.world.deals.values() if test(deal)}


class TestShapes:
    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/account", "account_get_response_200"),
            ("/pipelines", "pipelines_list_newest_shape_response_200"),
            ("/pipeline_stages", "pipeline_stages_list_response_200"),
            ("/loss_reasons", "loss_reasons_list_response_200"),
            ("/contact_types", "contact_types_list_response_200"),
            ("/custom_field_definitions", "custom_field_definitions_list_response_200"),
            ("/activity_types", "activity_types_list_response_200"),
        ],
    )
    def test_lists_look_like_the_official_payloads(self, copper: Client, path: str, name: str) -> None:
        assert shape_misses(example(name), copper.get(path)) == []

    @pytest.mark.parametrize(
        ("entity", "name"),
        [
            ("opportunities", "opportunity_search_newest_shape_response_200"),
            ("opportunities", "opportunity_search_by_custom_multi_select_dropdown_response_200"),
            ("companies", "companies_search_with_custom_fields_response_200"),
            ("people", "person_update_response_200"),
            ("users", "users_search_response_200"),
            ("activities", "activities_search_response_200"),
        ],
    )
    def test_searches_look_like_the_official_payloads(self, copper: Client, entity: str, name: str) -> None:
        official = example(name)
        rows = copper.search(entity)
        assert shape_misses(official if isinstance(official, list) else [official], rows) == []

    def test_an_opportunity_says_what_its_row_holds(self, copper: Client) -> None:
        deal = next(d for d in copper.world.deals.values() if d.amount and d.contact_ids and d.company_id)
        shown = copper.get(f"/opportunities/{deal.id}")
        assert (shown["name"], shown["monetary_unit"]) == (deal.name, deal.currency)
        assert Decimal(str(shown["monetary_value"])) == deal.amount
        assert shown["status"] == deal.status.capitalize()
        assert (shown["pipeline_id"], shown["pipeline_stage_id"]) == (
            int(deal.pipeline_id),
            int(deal.stage_id),
        )
        assert shown["primary_contact_id"] == int(deal.contact_ids[0])
        assert shown["company_name"] == copper.world.companies[deal.company_id or ""].name
        assert shown["date_created"] == deal.created.timestamp()

    def test_a_close_date_has_the_month_first_and_no_padding(self, copper: Client) -> None:
        deal = next(iter(copper.world.deals.values()))
        copper.world.edit_deal(deal.id, expected_close=date(2026, 3, 9))
        assert copper.get(f"/opportunities/{deal.id}")["close_date"] == "3/9/2026"

    def test_a_lost_deal_keeps_its_stage(self, copper: Client) -> None:
        lost = [row for row in copper.search(status_ids=[2])]  # noqa: C416
        stages = {stage["id"] for stage in copper.get("/pipeline_stages")}
        assert lost
        assert all(row["pipeline_stage_id"] in stages for row in lost)

    def test_every_definition_is_listed_set_or_not(self, copper: Client) -> None:
        definitions = copper.get("/custom_field_definitions")
        wanted = {row["id"] for row in definitions if "opportunity" in row["available_on"]}
        for row in copper.search():
            assert {field["custom_field_definition_id"] for field in row["custom_fields"]} == wanted

    def test_a_custom_date_is_midnight_in_the_account_and_not_in_utc(self, copper: Client) -> None:
        deal = next(d for d in copper.world.deals.values() if "contract_end" in d.custom)
        field = copper.world.fields["deal"]["contract_end"]
        shown = copper.get(f"/opportunities/{deal.id}")["custom_fields"]
        value = next(row["value"] for row in shown if row["custom_field_definition_id"] == int(field.id))
        local = datetime.fromtimestamp(value, ZoneInfo("America/Los_Angeles"))
        assert (local.date(), local.hour) == (deal.custom["contract_end"], 0)

    def test_computed_values_are_the_names_of_options(self, copper: Client) -> None:
        deal = next(d for d in copper.world.deals.values() if "region" in d.custom)
        field = copper.world.fields["deal"]["region"]
        label = next(option.label for option in field.options if option.id == deal.custom["region"])

        def value(**params: object) -> object:
            rows = copper.get(f"/opportunities/{deal.id}", **params)["custom_fields"]
            return next(row["value"] for row in rows if row["custom_field_definition_id"] == int(field.id))

        assert value() == int(deal.custom["region"])
        assert value(custom_field_computed_values="true") == label

    def test_ids_repeat_between_kinds(self, copper: Client) -> None:
        assert set(copper.world.deals) & set(copper.world.companies) & set(copper.world.contacts)


class TestPaging:
    def test_the_default_page_has_twenty_sorted_by_name(self, copper: Client) -> None:
        rows = copper.post("/opportunities/search", {}).json()
        names = [row["name"].casefold() for row in rows]
        assert len(rows) == 20
        assert names == sorted(deal.name.casefold() for deal in copper.world.deals.values())[:20]

    def test_pages_give_every_opportunity_once(self, copper: Client) -> None:
        pages = [
            copper.search(page_size=25, page_number=number, sort_by="date_created") for number in (1, 2, 3, 4)
        ]
        assert [len(page) for page in pages] == [25, 25, 10, 0]
        assert ids([row for page in pages for row in page]) == set(copper.world.deals)

    def test_the_query_string_pages_too(self, copper: Client) -> None:
        rows = copper.post("/opportunities/search", None, page_size=7, page_number=2).json()
        assert rows == copper.search(page_size=7, page_number=2)

    @pytest.mark.parametrize(
        "body", [{"page_size": 201}, {"page_size": 0}, {"page_number": 0}, {"page_size": "x"}]
    )
    def test_pages_out_of_range_are_refused(self, copper: Client, body: dict[str, object]) -> None:
        answer = copper.post("/opportunities/search", body)
        assert answer.status_code == 422
        assert answer.json()["success"] is False

    def test_nothing_lies_beyond_record_100000(self, copper: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("crmkit.sandbox.copper.search.LAST_RECORD", 30)
        assert len(copper.search(page_size=25, page_number=2)) == 5
        assert copper.search(page_size=25, page_number=3) == []

    def test_the_total_still_counts_what_was_deleted(self, copper: Client) -> None:
        answer = copper.post("/opportunities/search", {})
        gone = len(copper.world.deleted) + len(copper.world.merged)
        assert gone > 0
        assert int(answer.headers["X-PW-TOTAL"]) == 60 + gone

    def test_the_total_of_a_search_by_ids_is_exact(self, copper: Client) -> None:
        wanted = [int(deal_id) for deal_id in list(copper.world.deals)[:5]]
        answer = copper.post("/opportunities/search", {"ids": [*wanted, 1]})
        assert answer.headers["X-PW-TOTAL"] == "5"
        assert ids(answer.json()) == {str(deal_id) for deal_id in wanted}

    @pytest.mark.parametrize("direction", ["asc", "desc"])
    @pytest.mark.parametrize(
        "sort_by", ["date_modified", "value", "status", "win_probability", "interaction_count"]
    )
    def test_orders_sort(self, copper: Client, sort_by: str, direction: str) -> None:
        name = {"value": "monetary_value"}.get(sort_by, sort_by)
        rank = ["Open", "Won", "Lost", "Abandoned"]
        rows = copper.search(sort_by=sort_by, sort_direction=direction)
        values = [rank.index(row[name]) if name == "status" else row[name] for row in rows]
        known = [value for value in values if value is not None]
        assert len(rows) == 60
        assert known == sorted(known, reverse=direction == "desc")

    def test_there_is_no_order_by_id(self, copper: Client) -> None:
        assert copper.post("/opportunities/search", {"sort_by": "id"}).status_code == 422

    def test_search_trails_behind_and_a_single_read_does_not(self, up: Callable[..., Client]) -> None:
        client = up(lag_seconds=2)
        deal = next(iter(client.world.deals.values()))
        client.world.edit_deal(deal.id, name="Changed")
        assert client.get(f"/opportunities/{deal.id}")["name"] == "Changed"
        assert client.search(ids=[int(deal.id)])[0]["name"] == deal.name
        client.box.clock.advance(2)
        assert client.search(ids=[int(deal.id)])[0]["name"] == "Changed"


class TestFilters:
    @pytest.mark.parametrize("sort_by", ["date_created", "date_modified", "name"])
    @pytest.mark.parametrize("stem", ["created_date", "modified_date", "stage_change_date"])
    def test_times_are_inclusive_on_both_sides(self, copper: Client, stem: str, sort_by: str) -> None:
        attribute = {"created_date": "created", "modified_date": "modified"}.get(stem, "stage_entered")
        moments = sorted(getattr(deal, attribute) for deal in copper.world.deals.values())
        low, high = moments[10], moments[40]
        rows = copper.search(
            sort_by=sort_by,
            **{f"minimum_{stem}": int(low.timestamp()), f"maximum_{stem}": int(high.timestamp())},
        )
        assert ids(rows) == where(copper, lambda deal: low <= getattr(deal, attribute) <= high)

    def test_filters_add_up(self, copper: Client) -> None:
        deal = next(d for d in copper.world.deals.values() if d.owner_id)
        rows = copper.search(assignee_ids=[int(deal.owner_id or 0)], pipeline_ids=[int(deal.pipeline_id)])
        assert ids(rows) == where(
            copper, lambda d: (d.owner_id, d.pipeline_id) == (deal.owner_id, deal.pipeline_id)
        )

    def test_minus_two_means_none(self, copper: Client) -> None:
        assert ids(copper.search(customer_source_ids=[-2])) == where(copper, lambda deal: not deal.source)

    def test_status_is_filtered_by_number(self, copper: Client) -> None:
        assert ids(copper.search(status_ids=[1, 3])) == where(
            copper, lambda d: d.status in {"won", "abandoned"}
        )

    def test_a_tag_finds_a_deal_by_the_whole_tag(self, copper: Client) -> None:
        deal = next(iter(copper.world.deals.values()))
        copper.world.edit_deal(deal.id, tags=("crmkit:hub:1",))
        assert ids(copper.search(tags=["crmkit:hub:1"])) == {deal.id}
        assert copper.search(tags=["crmkit:hub"]) == []

    def test_a_name_matches_as_a_whole(self, copper: Client) -> None:
        deal = next(iter(copper.world.deals.values()))
        copper.world.edit_deal(deal.id, name="Only this one")
        assert ids(copper.search(name="Only this one")) == {deal.id}
        assert copper.search(name="Only this") == []

    def test_a_number_field_finds_a_deal_and_a_text_field_cannot(self, copper: Client) -> None:
        deal = next(iter(copper.world.deals.values()))
        copper.world.edit_deal(deal.id, custom={**deal.custom, "crmkit_id": 4711})
        fields = copper.world.fields["deal"]
        number = {"custom_field_definition_id": int(fields["crmkit_id"].id), "value": 4711}
        assert ids(copper.search(custom_fields=[number])) == {deal.id}
        text = {"custom_field_definition_id": int(fields["crmkit_key"].id), "value": "x"}
        assert copper.post("/opportunities/search", {"custom_fields": [text]}).status_code == 422

    def test_a_dropdown_is_searched_by_option(self, copper: Client) -> None:
        field = copper.world.fields["deal"]["region"]
        option = field.options[0]
        part = {"custom_field_definition_id": int(field.id), "value": [int(option.id)], "option": "ANY"}
        rows = copper.search(custom_fields=[part])
        assert ids(rows) == where(copper, lambda deal: deal.custom.get("region") == option.id)

    def test_unknown_keys_are_refused(self, copper: Client) -> None:
        answer = copper.post("/opportunities/search", {"modified_since": 1})
        assert answer.status_code == 422
        assert answer.json().keys() == example("error_validation_blank_name_422").keys()
        assert "Base: " in answer.json()["message"]

    def test_newer_keys_are_taken_only_where_they_exist(
        self, up: Callable[..., Client], copper: Client
    ) -> None:
        assert copper.post("/opportunities/search", {"statuses": ["Won"]}).status_code == 422
        newer = up(extra={"copper_newer_filters": True})
        assert ids(newer.search(statuses=["Won"])) == where(newer, lambda deal: deal.status == "won")

    def test_malformed_json_is_refused(self, copper: Client) -> None:
        url = f"{copper.app.base_url}/opportunities/search"
        assert copper.session.post(url, data=b"{", timeout=5).status_code == 400


class TestPeople:
    def test_people_of_a_deal(self, copper: Client) -> None:
        deal = next(d for d in copper.world.deals.values() if len(d.contact_ids) > 1)
        assert ids(copper.search("people", opportunity_ids=[int(deal.id)])) == set(deal.contact_ids)

    def test_companies_by_domain(self, copper: Client) -> None:
        company = next(c for c in copper.world.companies.values() if c.domain)
        assert company.id in ids(copper.search("companies", email_domains=[company.domain]))

    def test_a_person_is_fetched_by_email(self, copper: Client) -> None:
        person = next(p for p in copper.world.contacts.values() if p.emails)
        found = copper.post("/people/fetch_by_email", {"email": person.emails[0].upper()})
        assert str(found.json()["id"]) == person.id
        assert copper.post("/people/fetch_by_email", {"email": "nobody@example.com"}).status_code == 404

    def test_related_records_of_a_deal(self, copper: Client) -> None:
        deal = next(d for d in copper.world.deals.values() if d.company_id and len(d.contact_ids) > 1)
        rows = copper.get(f"/opportunities/{deal.id}/related")
        assert {(row["type"], str(row["id"])) for row in rows} == {
            ("company", deal.company_id),
            *(("person", contact_id) for contact_id in deal.contact_ids),
        }
        assert ids(copper.get(f"/opportunities/{deal.id}/related/people")) == set(deal.contact_ids)

    def test_related_records_go_both_ways(self, copper: Client) -> None:
        deal = next(d for d in copper.world.deals.values() if d.company_id)
        assert deal.id in ids(copper.get(f"/companies/{deal.company_id}/related/opportunities"))

    def test_left_users_can_be_hidden_from_the_list(self, up: Callable[..., Client]) -> None:
        client = up(extra={"copper_hide_left_users": True})
        gone = {user.id for user in client.world.users.values() if not user.active}
        assert not ids(client.search("users")) & gone
        assert all(client.ask(f"/users/{user_id}").status_code == 200 for user_id in gone)

    def test_a_client_may_search_what_there_is_none_of(self, copper: Client) -> None:
        assert copper.search("leads") == []


class TestActivities:
    def test_stage_changes_of_a_deal_tell_its_history(self, copper: Client) -> None:
        deal = next(d for d in copper.world.deals.values() if len(d.history) > 2)
        rows = copper.search(
            "activities",
            parent={"id": int(deal.id), "type": "opportunity"},
            activity_types=[{"category": "system", "id": 3}],
        )
        steps = [(str(row["old_value"]["id"]), str(row["new_value"]["id"])) for row in reversed(rows)]
        assert steps == list(pairwise(visit.stage_id for visit in deal.history))

    def test_notes_of_a_deal(self, copper: Client) -> None:
        note = next(iter(copper.world.notes.values()))
        rows = copper.post(
            f"/opportunities/{note.deal_id}/activities", {"activity_types": [{"id": 0, "category": "user"}]}
        ).json()
        assert note.text in [row["details"] for row in rows]

    def test_they_come_newest_first_in_pages(self, copper: Client) -> None:
        pages = [copper.search("activities", page_size=15, page_number=number) for number in (1, 2)]
        stamps = [row["activity_date"] for page in pages for row in page]
        assert len(stamps) == 30
        assert stamps == sorted(stamps, reverse=True)
        assert len(ids(pages[0]) | ids(pages[1])) == 30

    def test_a_window_of_time(self, copper: Client) -> None:
        middle = sorted(note.created for note in copper.world.notes.values())[3]
        rows = copper.search(
            "activities",
            activity_types=[{"category": "user", "id": 0}],
            minimum_activity_date=int(middle.timestamp()),
        )
        assert len(rows) == len(copper.world.notes) - 3


class TestAccess:
    def test_deleted_records_vanish(self, copper: Client) -> None:
        deal = next(iter(copper.world.deals.values()))
        copper.world.delete_deal(deal.id)
        answer = copper.ask(f"/opportunities/{deal.id}")
        assert (answer.status_code, answer.json()) == (404, example("error_not_found_404"))
        assert copper.search(ids=[int(deal.id)]) == []

    @pytest.mark.parametrize("header", ["X-PW-AccessToken", "X-PW-Application", "X-PW-UserEmail"])
    def test_all_three_headers_are_needed(self, copper: Client, header: str) -> None:
        copper.session.headers[header] = "wrong"
        answer = copper.ask("/account")
        assert answer.status_code == 401
        assert answer.json()["success"] is False

    def test_a_bearer_token_needs_no_other_header(self, copper: Client) -> None:
        headers = {"authorization": f"Bearer {copper.app.credentials['access_token']}"}
        assert requests.get(f"{copper.app.base_url}/account", headers=headers, timeout=5).status_code == 200

    def test_an_entity_can_be_forbidden(self, up: Callable[..., Client]) -> None:
        client = up(extra={"copper_forbidden": ["people"]})
        assert client.post("/people/search", {}).status_code == 403
        assert client.post("/companies/search", {}).status_code == 200

    def test_unknown_addresses_are_not_found(self, copper: Client) -> None:
        assert copper.ask("/nothing").json() == {"error": "not_found"}

    def test_no_webhooks(self, copper: Client) -> None:
        assert copper.get("/webhooks") == []


class TestLimits:
    def test_180_calls_in_any_minute(self, up: Callable[..., Client]) -> None:
        client = up(limits="real")
        assert {client.ask("/account").status_code for _ in range(100)} == {200}
        client.box.clock.advance(30)
        assert {client.ask("/account").status_code for _ in range(80)} == {200}
        refused = client.post("/opportunities/search", {})
        assert (refused.status_code, refused.json()["message"]) == (429, "Too many requests")
        assert "retry-after" not in refused.headers
        client.box.clock.advance(30)
        assert {client.ask("/account").status_code for _ in range(100)} == {200}
        assert client.ask("/account").status_code == 429

    def test_the_wait_can_be_told(self, up: Callable[..., Client]) -> None:
        client = up(limits="real", extra={"copper_retry_after": True})
        for _ in range(180):
            client.ask("/account")
        client.box.clock.advance(20)
        assert client.ask("/account").headers["retry-after"] == "41"
