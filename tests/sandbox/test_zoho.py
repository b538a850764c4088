"""The Zoho sandbox answers as the contract says."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from crmkit.sandbox.rows import Stage
from crmkit.sandbox.server import Sandbox
from crmkit.sandbox.zoho import ZohoApp

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LAYOUT = "7328395000000091023"


class Client:
    """A session with a fresh access token."""

    def __init__(self, app: ZohoApp) -> None:
        self.app = app
        self.session = requests.Session()
        self.login()

    def token(self, **changed: str) -> requests.Response:
        said = {"grant_type": "refresh_token", **self.app.credentials, **changed}
        return self.session.post(f"{self.app.origin}/oauth/v2/token", params=said, timeout=5)

    def login(self) -> None:
        token = self.token().json()["access_token"]
        self.session.headers["authorization"] = f"Zoho-oauthtoken {token}"

    def get(self, path: str, headers: dict[str, str] | None = None, **params: Any) -> requests.Response:
        return self.session.get(
            f"{self.app.origin}/crm/v8/{path}", params=params, headers=headers, timeout=10
        )

    def query(self, text: str) -> requests.Response:
        return self.session.post(f"{self.app.origin}/crm/v8/coql", json={"select_query": text}, timeout=10)

    def walk(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Every row of a list, by tokens."""
        rows: list[dict[str, Any]] = []
        while True:
            answer = self.get(path, **params).json()
            rows += answer["data"]
            if not answer["info"]["more_records"]:
                return rows
            params["page_token"] = answer["info"]["next_page_token"]

    @property
    def expected(self) -> dict[str, dict[str, Any]]:
        return {deal["id"]: deal for deal in self.app.expected_deals()}


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    """Starts an organisation whose clock stands still; gives a client of it."""
    with ExitStack() as stack:
        apps: list[ZohoApp] = []

        def start(**options: Any) -> Client:
            chosen: dict[str, Any] = {"deals": 60, "limits": "off", "now": NOW, **options}
            box = stack.enter_context(Sandbox.up(["zoho"], **chosen))
            app = box["zoho"]
            assert isinstance(app, ZohoApp)
            apps.append(app)
            client = Client(app)
            stack.callback(client.session.close)
            return client

        yield start
        assert [app.crashes for app in apps] == [[] for _ in apps]


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    """One organisation for the tests that only read."""
    with Sandbox.up(["zoho"], deals=2_600, limits="off", now=NOW) as box:
        app = box["zoho"]
        assert isinstance(app, ZohoApp)
        client = Client(app)
        yield client
        client.session.close()
        assert app.crashes == []


def code(response: requests.Response) -> tuple[int, str, dict[str, Any]]:
    said = response.json()
    return response.status_code, said["code"], said["details"]


class TestTokens:
    def test_a_token_comes_with_the_api_domain_and_an_hour_to_live(self, up: Callable[..., Client]) -> None:
        client = up()
        said = client.token().json()
        assert (said["api_domain"], said["expires_in"]) == (client.app.origin, 3600)

    def test_parameters_may_stand_in_a_form(self, up: Callable[..., Client]) -> None:
        app = up().app
        form = {"grant_type": "refresh_token", **app.credentials}
        assert "access_token" in requests.post(f"{app.origin}/oauth/v2/token", data=form, timeout=5).json()

    @pytest.mark.parametrize(
        ("wrong", "word"),
        [
            ("client_id", "invalid_client"),
            ("client_secret", "invalid_client_secret"),
            ("refresh_token", "invalid_code"),
        ],
    )
    def test_bad_credentials_are_told_with_status_200(
        self, up: Callable[..., Client], wrong: str, word: str
    ) -> None:
        answer = up().token(**{wrong: "nonsense"})
        assert (answer.status_code, answer.json()) == (200, {"error": word})

    def test_the_eleventh_refresh_in_ten_minutes_is_refused(self, up: Callable[..., Client]) -> None:
        client = up(limits="real")
        statuses = [client.token().status_code for _ in range(10)]
        assert statuses == [200] * 9 + [400]
        client.app.world.clock.advance(601)
        assert client.token().status_code == 200

    def test_a_token_expires_after_an_hour(self, up: Callable[..., Client]) -> None:
        client = up()
        client.app.world.clock.advance(3_600)
        assert code(client.get("org")) == (401, "INVALID_TOKEN", {})

    def test_every_answer_says_when_the_token_ends(self, up: Callable[..., Client]) -> None:
        assert up().get("org").headers["X-ACCESSTOKEN-RESET"] == "2026-06-01T16:00:00+03:00"

    def test_bearer_is_accepted_too(self, up: Callable[..., Client]) -> None:
        client = up()
        token = client.token().json()["access_token"]
        assert client.get("org", headers={"authorization": f"Bearer {token}"}).status_code == 200

    def test_without_a_token_authentication_fails(self, up: Callable[..., Client]) -> None:
        app = up().app
        answer = requests.get(f"{app.origin}/crm/v8/org", timeout=5)
        assert code(answer) == (401, "AUTHENTICATION_FAILURE", {})

    def test_a_missing_scope_is_a_mismatch(self, up: Callable[..., Client]) -> None:
        client = up(extra={"scopes": ["ZohoCRM.modules.deals.READ", "ZohoCRM.settings.ALL"]})
        assert client.get("Deals", fields="id").status_code == 200
        assert client.get("settings/modules").status_code == 200
        assert code(client.get("Accounts", fields="id"))[1] == "OAUTH_SCOPE_MISMATCH"
        assert code(client.query("select id from Deals where id > 0"))[1] == "OAUTH_SCOPE_MISMATCH"


class TestLists:
    def test_tokens_walk_over_every_deal_once(self, shared: Client) -> None:
        rows = shared.walk("Deals", fields="Deal_Name,Modified_Time")
        assert sorted(row["id"] for row in rows) == sorted(shared.expected)

    @pytest.mark.parametrize("sort_by", ["Created_Time", "Modified_Time"])
    def test_tokens_keep_their_place_among_equal_seconds(self, shared: Client, sort_by: str) -> None:
        rows = shared.walk("Deals", fields=sort_by, sort_by=sort_by, sort_order="asc", per_page=17)
        times = [datetime.fromisoformat(row[sort_by]) for row in rows]
        assert times == sorted(times)
        assert {row["id"] for row in rows} == shared.expected.keys()
        assert len(rows) == len(shared.expected)

    def test_a_row_has_the_asked_fields_and_the_id(self, shared: Client) -> None:
        row = shared.get("Deals", fields="Deal_Name,Stage,No_Such_Field", per_page=1).json()["data"][0]
        assert row.keys() == {"id", "Deal_Name", "Stage"}

    def test_values_are_those_of_the_world(self, shared: Client) -> None:
        names = "Deal_Name,Amount,Currency,Closing_Date,Modified_Time,Owner,Account_Name"
        for row in shared.get("Deals", fields=names).json()["data"]:
            deal = shared.expected[row["id"]]
            assert row["Deal_Name"] == deal["name"]
            assert row["Currency"] == deal["currency"]
            assert (None if row["Amount"] is None else float(deal["amount"])) == row["Amount"]
            assert datetime.fromisoformat(row["Modified_Time"]) == deal["modified"]
            assert row["Modified_Time"].endswith("+03:00")
            assert row["Owner"]["id"] == deal["owner_id"]
            assert (row["Account_Name"] or {"id": None})["id"] == deal["company_id"]

    def test_ids_are_not_in_the_order_of_creation(self, shared: Client) -> None:
        rows = shared.walk("Deals", fields="Created_Time", sort_order="asc")
        times = [datetime.fromisoformat(row["Created_Time"]) for row in rows]
        assert {len(row["id"]) for row in rows} == {19}
        assert times != sorted(times)

    @pytest.mark.parametrize(
        ("params", "answer"),
        [
            ({}, ("REQUIRED_PARAM_MISSING", {"param_name": "fields"})),
            (
                {"fields": ",".join(f"F{number}" for number in range(51))},
                ("LIMIT_EXCEEDED", {"limit": 50, "param_name": "fields"}),
            ),
            ({"fields": "id", "page": 11}, ("DISCRETE_PAGINATION_LIMIT_EXCEEDED", {"limit": 2000})),
            ({"fields": "id", "per_page": 201}, ("INVALID_DATA", {"param_name": "per_page"})),
            ({"fields": "id", "sort_by": "Amount"}, ("INVALID_DATA", {"param_name": "sort_by"})),
            (
                {"fields": "id", "page_token": "nonsense"},
                ("TOKEN_BOUND_DATA_MISMATCH", {"param_name": "page_token"}),
            ),
        ],
    )
    def test_what_cannot_be_listed(
        self, shared: Client, params: dict[str, Any], answer: tuple[str, dict[str, Any]]
    ) -> None:
        assert code(shared.get("Deals", **params)) == (400, *answer)

    def test_page_ten_still_comes(self, shared: Client) -> None:
        assert len(shared.get("Deals", fields="id", page=10).json()["data"]) == 200

    def test_a_token_is_bound_to_every_other_parameter(self, shared: Client) -> None:
        token = shared.get("Deals", fields="id").json()["info"]["next_page_token"]
        changed = shared.get("Deals", fields="id,Stage", page_token=token)
        assert code(changed)[1] == "TOKEN_BOUND_DATA_MISMATCH"

    def test_a_token_and_a_page_are_ambiguous(self, shared: Client) -> None:
        token = shared.get("Deals", fields="id").json()["info"]["next_page_token"]
        both = shared.get("Deals", fields="id", page_token=token, page=2)
        assert code(both)[1] == "AMBIGUITY_DURING_PROCESSING"

    def test_a_token_expires_after_a_day(self, up: Callable[..., Client]) -> None:
        client = up()
        token = client.get("Deals", fields="id", per_page=10).json()["info"]["next_page_token"]
        client.app.world.clock.advance(86_400)
        client.login()
        later = client.get("Deals", fields="id", per_page=10, page_token=token)
        assert code(later) == (400, "EXPIRED_VALUE", {"param_name": "page_token"})

    def test_a_deal_deleted_in_between_hides_no_other(self, up: Callable[..., Client]) -> None:
        client = up()
        first = client.get("Deals", fields="id", per_page=20).json()
        client.app.world.delete_deal(first["data"][0]["id"])
        rest = client.walk("Deals", page_token=first["info"]["next_page_token"], fields="id", per_page=20)
        assert {row["id"] for row in rest} == client.expected.keys() - {row["id"] for row in first["data"]}

    def test_ids_choose_records(self, shared: Client) -> None:
        wanted = list(shared.expected)[:3]
        rows = shared.get("Deals", fields="id", ids=",".join([*wanted, "1"])).json()["data"]
        assert sorted(row["id"] for row in rows) == sorted(wanted)

    def test_a_module_is_spelt_exactly(self, shared: Client) -> None:
        assert code(shared.get("deals", fields="id")) == (400, "INVALID_MODULE", {"resource_path_index": 0})

    def test_an_empty_module_has_no_body(self, shared: Client) -> None:
        answer = shared.get("Leads", fields="Email")
        assert (answer.status_code, answer.content, answer.headers.get("content-type")) == (204, b"", None)

    def test_only_changes_since_a_second_inclusive(self, up: Callable[..., Client]) -> None:
        client = up()
        deal_id = next(iter(client.expected))
        client.app.world.clock.advance(10)
        client.app.world.edit_deal(deal_id, name="Changed")
        stamp = "2026-06-01T12:00:10+00:00"
        answer = client.get("Deals", headers={"If-Modified-Since": stamp}, fields="Deal_Name")
        assert [row["id"] for row in answer.json()["data"]] == [deal_id]

    def test_nothing_new_is_304_without_a_body(self, shared: Client) -> None:
        answer = shared.get("Deals", headers={"If-Modified-Since": "2026-06-01T15:00:01+03:00"}, fields="id")
        assert (answer.status_code, answer.content) == (304, b"")

    def test_older_versions_answer_at_their_own_paths(self, shared: Client) -> None:
        url = f"{shared.app.origin}/crm/v2/Deals"
        row = shared.session.get(url, params={"per_page": 1}, timeout=5).json()["data"][0]
        assert "Stage" in row
        missing = shared.session.get(url.replace("v2", "v9"), timeout=5)
        assert code(missing)[:2] == (404, "INVALID_URL_PATTERN")

    def test_a_walk_ends_at_the_hundred_thousandth_record(
        self, up: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = up()
        monkeypatch.setattr("crmkit.sandbox.zoho.paging.BY_TOKEN_MOST", 40)
        token: dict[str, str] = {}
        for _ in range(2):
            page = client.get("Deals", fields="id", per_page=20, **token).json()
            token = {"page_token": page["info"]["next_page_token"]}
        assert code(client.get("Deals", fields="id", per_page=20, **token))[1] == "PAGINATION_LIMIT_EXCEEDED"

    def test_all_notes_are_for_administrators(self, up: Callable[..., Client]) -> None:
        client = up(extra={"admin": False})
        assert code(client.get("Notes", fields="Note_Content"))[:2] == (403, "NOT_SUPPORTED")


class TestRecords:
    def test_a_deal_shows_every_field_unasked(self, shared: Client) -> None:
        row = shared.get(f"Deals/{next(iter(shared.expected))}").json()["data"][0]
        assert {"Crmkit_Key", "Pipeline", "Currency", "$approval_state", "Locked__s"} <= row.keys()

    def test_an_unknown_id_is_204(self, shared: Client) -> None:
        assert shared.get("Deals/7328395000000000001").status_code == 204

    def test_switched_off_features_leave_no_key(self, up: Callable[..., Client]) -> None:
        client = up(extra={"pipelines": False, "multi_currency": False})
        row = client.get(f"Deals/{next(iter(client.expected))}").json()["data"][0]
        assert not {"Pipeline", "Currency", "Exchange_Rate"} & row.keys()
        assert client.get("settings/pipeline", layout_id=LAYOUT).status_code == 204
        assert client.get("org").json()["org"][0]["mc_status"] is False

    def test_a_stage_shows_its_actual_value(self, up: Callable[..., Client]) -> None:
        client = up()
        world = client.app.world
        pipeline = next(iter(world.pipelines.values()))
        stage = next(stage for stage in pipeline.stages if stage.name == "Identify Decision Makers")
        deal = world.create_deal(name="x", pipeline_id=pipeline.id, stage_id=stage.id)
        row = client.get(f"Deals/{deal.id}", fields="Stage,Probability").json()["data"][0]
        assert (row["Stage"], row["Probability"]) == ("Id. Decision Makers", 60)

    def test_a_stage_nobody_knows_is_shown_as_it_was_stored(self, up: Callable[..., Client]) -> None:
        client = up()
        deal = client.app.world.create_deal(name="x", stage_id="My own words")
        row = client.get(f"Deals/{deal.id}", fields="Stage").json()["data"][0]
        assert row["Stage"] == "My own words"

    def test_stage_history_has_a_row_for_each_stage(self, shared: Client) -> None:
        deal = max(shared.app.world.deals.values(), key=lambda deal: len(deal.history))
        fields = "Stage,Moved_To__s,Stage_Duration_Calendar_Days,Modified_Time"
        rows = shared.get(f"Deals/{deal.id}/Stage_History", fields=fields).json()["data"]
        assert len(rows) == len(deal.history)
        assert (rows[0]["Moved_To__s"], rows[0]["Stage_Duration_Calendar_Days"]) == (None, None)
        assert rows[1]["Moved_To__s"] == rows[0]["Stage"]

    def test_the_history_module_has_the_rows_of_all_deals(self, shared: Client) -> None:
        rows = shared.walk("DealHistory", fields="Stage,Potential_Name")
        counts = sum(len(deal.history) for deal in shared.app.world.deals.values())
        assert len({row["id"] for row in rows}) == counts

    def test_contact_roles_are_the_contacts_of_a_deal(self, shared: Client) -> None:
        deal = max(shared.app.world.deals.values(), key=lambda deal: len(deal.contact_ids))
        rows = shared.get(f"Deals/{deal.id}/Contact_Roles", fields="Email").json()["data"]
        assert {row["id"] for row in rows} == set(deal.contact_ids)
        assert all(row["Contact_Role"]["name"] for row in rows)

    def test_notes_hang_on_their_deal(self, shared: Client) -> None:
        note = next(iter(shared.app.world.notes.values()))
        rows = shared.get(f"Deals/{note.deal_id}/Notes", fields="Note_Content,Parent_Id").json()["data"]
        assert rows[0]["Note_Content"] == note.text
        assert rows[0]["Parent_Id"]["id"] == note.deal_id

    def test_the_deals_of_a_company(self, shared: Client) -> None:
        deal = next(deal for deal in shared.app.world.deals.values() if deal.company_id)
        rows = shared.walk(f"Accounts/{deal.company_id}/Deals", fields="Deal_Name")
        assert deal.id in {row["id"] for row in rows}

    def test_an_unknown_related_list_is_refused(self, shared: Client) -> None:
        answer = shared.get(f"Deals/{next(iter(shared.expected))}/Nonsense", fields="id")
        assert code(answer) == (400, "INVALID_DATA", {"resource_path_index": 2})


class TestDeleted:
    def test_deleted_and_merged_deals_are_told(self, shared: Client) -> None:
        world = shared.app.world
        gone = {row.id for row in world.deleted} | {row.loser for row in world.merged}
        rows: list[dict[str, Any]] = []
        for page in range(1, 20):
            answer = shared.get("Deals/deleted", page=page).json()
            rows += answer["data"]
            if not answer["info"]["more_records"]:
                break
        assert {row["id"] for row in rows} == gone
        assert {row["type"] for row in rows} == {"recycle", "permanent"}

    def test_of_a_purged_deal_only_the_id_is_left(self, shared: Client) -> None:
        row = shared.get("Deals/deleted", type="permanent").json()["data"][0]
        assert (row["display_name"], row["deleted_by"], row["created_by"]) == (None, None, None)

    def test_nothing_deleted_since_is_304(self, shared: Client) -> None:
        answer = shared.get("Deals/deleted", headers={"If-Modified-Since": "2026-06-01T15:00:00+03:00"})
        assert (answer.status_code, answer.content) == (304, b"")


class TestCoql:
    def test_keyset_by_id_reads_every_deal(self, shared: Client) -> None:
        ids: list[str] = []
        for _ in range(5):
            last = ids[-1] if ids else "0"
            answer = shared.query(f"select Stage from Deals where id > {last} order by id asc limit 1000")
            if answer.status_code == 204:
                break
            ids += [row["id"] for row in answer.json()["data"]]
        assert ids == sorted(shared.expected, key=int)

    def test_ranges_of_ids_split_the_work(self, shared: Client) -> None:
        ids = sorted(shared.expected, key=int)
        low, high = ids[500], ids[900]
        answer = shared.query(f"select id from Deals where (id >= '{low}' and id < '{high}') limit 2000")
        assert [row["id"] for row in answer.json()["data"]] == ids[500:900]

    def test_conditions_give_what_python_gives(self, shared: Client) -> None:
        text = "((Stage = 'Closed Won' and Currency in ('EUR', 'GBP')) or Account_Name is null)"
        rows = shared.query(f"select id from Deals where {text} limit 2000").json()["data"]
        app = shared.app
        expected = [
            deal.id
            for deal in app.world.live.deals()
            if (app.org.stage_value(deal.stage_id) == "Closed Won" and deal.currency in {"EUR", "GBP"})
            or deal.company_id is None
        ]
        assert [row["id"] for row in rows] == expected

    def test_changes_by_time_come_in_order(self, shared: Client) -> None:
        since = (NOW - timedelta(days=20)).isoformat()
        text = f"Modified_Time >= '{since}' order by Modified_Time asc, id asc limit 2000"
        rows = shared.query(f"select Modified_Time from Deals where {text}").json()["data"]
        expected = [deal for deal in shared.expected.values() if deal["modified"] >= NOW - timedelta(days=20)]
        expected.sort(key=lambda deal: (deal["modified"], int(deal["id"])))
        assert [row["id"] for row in rows] == [deal["id"] for deal in expected]

    def test_like_finds_parts_of_a_text(self, shared: Client) -> None:
        rows = shared.query("select Deal_Name from Deals where Deal_Name like '%renewal%' limit 2000").json()
        expected = {one for one, deal in shared.expected.items() if "renewal" in deal["name"].casefold()}
        assert {row["id"] for row in rows["data"]} == expected

    def test_offset_goes_on_where_the_limit_ended(self, shared: Client) -> None:
        text = "select id from Deals where Stage != 'Closed Won' order by Deal_Name desc limit {} offset {}"
        whole = shared.query(text.format(300, 0)).json()["data"]
        parts = [
            row for start in (0, 100, 200) for row in shared.query(text.format(100, start)).json()["data"]
        ]
        assert parts == whole

    def test_lookups_carry_name_and_id_and_users_their_last_name(self, shared: Client) -> None:
        row = shared.query(
            "select Owner, Account_Name, Account_Name.Website, Owner.email from Deals"
            " where Account_Name is not null limit 1"
        ).json()["data"][0]
        deal = shared.app.world.deals[row["id"]]
        owner = shared.app.world.users[deal.owner_id or ""]
        company = shared.app.world.companies[deal.company_id or ""]
        assert row["Owner"] == {"name": owner.name.partition(" ")[2], "id": owner.id}
        assert row["Account_Name"] == {"name": company.name, "id": company.id}
        assert row["Owner.email"] == owner.email

    def test_two_lookups_far(self, shared: Client) -> None:
        text = (
            "select Contact_Name.Account_Name.Account_Name from Deals where Contact_Name is not null limit 5"
        )
        for row in shared.query(text).json()["data"]:
            contact = shared.app.world.contacts[shared.app.world.deals[row["id"]].contact_ids[0]]
            company = shared.app.world.companies.get(contact.company_id or "")
            assert row["Contact_Name.Account_Name.Account_Name"] == (company.name if company else None)

    def test_amounts_compare_in_the_home_currency(self, up: Callable[..., Client]) -> None:
        client = up()
        deal = client.app.world.create_deal(name="Yen", amount=1_000_000, currency="JPY")
        low = client.query(f"select id from Deals where (id = {deal.id} and Amount < 10000)")
        assert [row["id"] for row in low.json()["data"]] == [deal.id]

    def test_keys_are_found_without_the_lag_of_the_index(self, up: Callable[..., Client]) -> None:
        client = up()
        deal = client.app.world.create_deal(name="x", custom={"crmkit_key": "hubspot:deal:981"})
        found = client.query("select id, Crmkit_Key from Deals where Crmkit_Key in ('hubspot:deal:981', 'b')")
        assert found.json()["data"] == [{"Crmkit_Key": "hubspot:deal:981", "id": deal.id}]

    def test_aggregates_by_group(self, shared: Client) -> None:
        rows = shared.query("select Stage, COUNT(id) from Deals where id > 0 group by Stage").json()["data"]
        assert sum(row["COUNT(id)"] for row in rows) == len(shared.expected)

    def test_nothing_found_is_204(self, shared: Client) -> None:
        assert shared.query("select id from Deals where Deal_Name = 'no such deal'").status_code == 204

    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("select id from Deals", ("SYNTAX_ERROR", {"clause": "where"})),
            ("select id from Deals where id > 0 limit 2001", ("LIMIT_EXCEEDED", {"limit": 2000})),
            (
                "select id from Deals where id > 0 limit 2000 offset 99000",
                ("LIMIT_EXCEEDED", {"limit": 100_000}),
            ),
            ("select Nope from Deals where id > 0", ("INVALID_QUERY", {"column_name": "Nope"})),
            (
                "select id from Deals where Description = 'x'",
                ("INVALID_QUERY", {"column_name": "Description"}),
            ),
            (
                "select id from Deals where Deal_Name > 'x'",
                (
                    "INVALID_QUERY",
                    {"reason": "invalid operator found", "column_name": "Deal_Name", "operator": ">"},
                ),
            ),
            ("select id from Nope where id > 0", ("INVALID_MODULE", {})),
            (
                "select id from Deals where id > 0 and Stage = 'x' and Type = 'y'",
                ("SYNTAX_ERROR", {"line": 1, "column": 51, "near": "and"}),
            ),
        ],
    )
    def test_what_cannot_be_asked(
        self, shared: Client, text: str, answer: tuple[str, dict[str, Any]]
    ) -> None:
        assert code(shared.query(text)) == (400, *answer)

    def test_an_in_list_has_a_hundred_values_at_most(self, shared: Client) -> None:
        values = ", ".join(f"'{number}'" for number in range(101))
        answer = shared.query(f"select id from Deals where id in ({values})")
        assert code(answer)[1] == "LIMIT_EXCEEDED"

    def test_the_query_must_be_there(self, shared: Client) -> None:
        answer = shared.session.post(f"{shared.app.origin}/crm/v8/coql", json={}, timeout=5)
        assert code(answer) == (400, "MANDATORY_NOT_FOUND", {"api_name": "select_query"})


class TestSearch:
    def test_equals_on_text_means_contains(self, up: Callable[..., Client]) -> None:
        client = up(lag_seconds=0)
        deal = client.app.world.create_deal(name="Zebra a_b@x project")
        found = client.get("Deals/search", criteria="(Deal_Name:equals:a-b@x)", fields="Deal_Name")
        assert [row["id"] for row in found.json()["data"]] == [deal.id]

    def test_brackets_and_commas_are_escaped(self, up: Callable[..., Client]) -> None:
        client = up(lag_seconds=0)
        deal = client.app.world.create_deal(name="Big (old), deal")
        criteria = r"((Deal_Name:equals:Big \(old\)\, deal)and(Stage:equals:Qualification))"
        found = client.get("Deals/search", criteria=criteria)
        assert [row["id"] for row in found.json()["data"]] == [deal.id]

    def test_a_fresh_deal_is_found_some_seconds_late(self, up: Callable[..., Client]) -> None:
        client = up()
        client.app.world.create_deal(name="Zebra")
        assert client.get("Deals/search", word="Zebra").status_code == 204
        client.app.world.clock.advance(6)
        assert len(client.get("Deals/search", word="Zebra").json()["data"]) == 1

    def test_count_goes_by_the_index(self, up: Callable[..., Client]) -> None:
        client = up()
        client.app.world.create_deal(name="Zebra")
        assert client.get("Deals/actions/count").json() == {"count": 60}

    def test_a_contact_is_found_by_email(self, shared: Client) -> None:
        contact = next(one for one in shared.app.world.contacts.values() if one.emails)
        found = shared.get("Contacts/search", email=contact.emails[0], fields="Email").json()["data"]
        assert contact.id in {row["id"] for row in found}

    def test_no_condition_is_an_error(self, shared: Client) -> None:
        names = {"param_names": ["criteria", "email", "phone", "word"]}
        assert code(shared.get("Deals/search")) == (400, "EXPECTED_PARAM_MISSING", names)

    def test_two_thousand_records_are_the_most(self, shared: Client) -> None:
        criteria = "(Created_Time:greater_than:2001-01-01T00:00:00+00:00)"
        assert len(shared.get("Deals/search", criteria=criteria, page=10).json()["data"]) == 200
        assert code(shared.get("Deals/search", criteria=criteria, page=11))[1] == "LIMIT_REACHED"


class TestBulkRead:
    def test_a_job_goes_through_its_states_and_gives_every_deal(self, shared: Client) -> None:
        url = f"{shared.app.origin}/crm/bulk/v8/read"
        fields = ["Deal_Name", "Owner", "Account_Name.Account_Name", "Modified_Time"]
        body = {"query": {"module": {"api_name": "Deals"}, "fields": fields}}
        made = shared.session.post(url, json=body, timeout=5)
        job = f"{url}/{made.json()['data'][0]['details']['id']}"
        states = [shared.session.get(job, timeout=5).json()["data"][0]["state"] for _ in range(3)]
        packed = shared.session.get(f"{job}/result", timeout=5).content
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            rows = list(csv.reader(io.StringIO(archive.read(archive.namelist()[0]).decode(), newline="")))
        assert (made.status_code, states) == (201, ["QUEUED", "IN PROGRESS", "COMPLETED"])
        assert rows[0] == ["Id", *fields]
        assert [row[0] for row in rows[1:]] == sorted(shared.expected, key=int)
        assert {row[0]: row[2] for row in rows[1:]} == {
            one: deal["owner_id"] for one, deal in shared.expected.items()
        }

    def test_criteria_choose_records(self, shared: Client) -> None:
        url = f"{shared.app.origin}/crm/bulk/v8/read"
        one = {"field": {"api_name": "Stage"}, "comparator": "equal", "value": "Closed Won"}
        query = {"module": {"api_name": "Deals"}, "fields": ["Stage"], "criteria": one}
        made = shared.session.post(url, json={"query": query}, timeout=5).json()["data"][0]["details"]["id"]
        looks = [shared.session.get(f"{url}/{made}", timeout=5).json()["data"][0] for _ in range(3)]
        org = shared.app.org
        won = [
            deal for deal in shared.app.world.live.deals() if org.stage_value(deal.stage_id) == "Closed Won"
        ]
        assert looks[-1]["result"]["count"] == len(won)


class TestSettings:
    def test_stages_carry_their_probability_in_the_field_alone(self, shared: Client) -> None:
        fields = shared.get("settings/fields", module="Deals").json()["fields"]
        values = next(field for field in fields if field["api_name"] == "Stage")["pick_list_values"]
        known = {value["id"]: value for value in values}
        for pipeline in shared.get("settings/pipeline", layout_id=LAYOUT).json()["pipeline"]:
            for stage in pipeline["maps"]:
                value = known[stage["id"]]
                assert "probability" not in stage
                assert value["forecast_type"] == stage["forecast_type"]
        assert known.keys() > {
            stage.id for pipeline in shared.app.world.pipelines.values() for stage in pipeline.stages
        }

    def test_two_pipelines_share_a_stage(self, shared: Client) -> None:
        pipelines = shared.get("settings/pipeline", layout_id=LAYOUT).json()["pipeline"]
        holders = [one["display_value"] for one in pipelines if "Closed Won" in str(one["maps"])]
        assert len(holders) > 1

    def test_a_layout_nobody_has_is_refused(self, shared: Client) -> None:
        answer = shared.get("settings/pipeline", layout_id="1")
        assert code(answer) == (400, "INVALID_DATA", {"param_name": "layout_id"})

    def test_a_stage_added_later_shows_at_once(self, up: Callable[..., Client]) -> None:
        client = up()
        pipeline = next(iter(client.app.world.pipelines.values()))
        pipeline.stages.append(Stage("7328395000000999999", "Late", 20, "open", 0.5))
        deal = client.app.world.create_deal(name="x", stage_id="7328395000000999999")
        assert client.get(f"Deals/{deal.id}", fields="Stage").json()["data"][0]["Stage"] == "Late"
        shown = client.get("settings/pipeline", layout_id=LAYOUT).json()["pipeline"][0]["maps"]
        assert shown[-1]["display_value"] == "Late"

    def test_deleted_users_are_a_list_of_their_own(self, shared: Client) -> None:
        everyone = shared.get("users", type="AllUsers").json()["users"]
        gone = shared.get("users", type="DeletedUsers").json()["users"]
        assert {user["status"] for user in everyone} == {"active", "disabled"}
        assert {user["status"] for user in gone} == {"deleted"}
        assert len(everyone) + len(gone) == len(shared.app.world.users)

    def test_currencies_give_what_one_home_unit_buys(self, shared: Client) -> None:
        rows = {row["iso_code"]: row for row in shared.get("org/currencies").json()["currencies"]}
        assert rows["USD"]["is_base"]
        assert float(rows["JPY"]["exchange_rate"]) == pytest.approx(1 / 0.0067, rel=1e-6)


class TestLimits:
    def test_credits_follow_the_limit_of_a_query(self, up: Callable[..., Client]) -> None:
        client = up(limits="real")
        for limit in (200, 1000, 2000):
            client.query(f"select id from Deals where id > 0 limit {limit}")
        assert client.app.credits.used == 1 + 2 + 3

    def test_credits_are_told_from_half_of_them_on(self, up: Callable[..., Client]) -> None:
        client = up(limits="real", extra={"credits": 4})
        headers = [client.get("org").headers.get("X-API-CREDITS-REMAINING") for _ in range(3)]
        assert headers == [None, "2", "1"]

    def test_spent_credits_are_429_until_a_day_later(self, up: Callable[..., Client]) -> None:
        client = up(limits="real", extra={"credits": 1})
        client.get("org")
        refused = client.get("org")
        assert code(refused) == (429, "TOO_MANY_REQUESTS", {})
        assert refused.headers["X-API-CREDITS-REMAINING"] == "0"
        client.app.world.clock.advance(86_500)
        client.login()
        assert client.get("org").status_code == 200

    def test_more_calls_at_a_time_than_the_edition_has_are_429(self, up: Callable[..., Client]) -> None:
        client = up(limits="real", extra={"edition": "free"})
        client.app.running.running = 5
        assert code(client.get("org"))[:2] == (429, "TOO_MANY_REQUESTS")

    def test_queries_share_a_pool_of_ten(self, up: Callable[..., Client]) -> None:
        client = up(limits="real")
        client.app.pool.running = 10
        assert client.query("select id from Deals where id > 0").status_code == 429
        assert client.get("Deals", fields="id").status_code == 200


def test_an_unknown_address_is_404(shared: Client) -> None:
    assert code(shared.get("a/b/c/d"))[:2] == (404, "INVALID_URL_PATTERN")


def test_a_method_that_an_address_lacks_is_405(shared: Client) -> None:
    answer = shared.session.put(f"{shared.app.origin}/crm/v8/coql", json={}, timeout=5)
    assert answer.status_code == 405
