"""HubSpot on the wire: associations made, labelled and taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.sandbox.hubspot_wire import Client, starting

V4, MANY = "/crm/v4/objects", "/crm/v4/associations"
PRIMARY = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5}
PLAIN = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 341}


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    with starting() as start:
        yield start


@pytest.fixture
def client(up: Callable[..., Client]) -> Client:
    return up()


@pytest.fixture
def deal(client: Client) -> str:
    return client.world.create_deal(name="Alone").id


@pytest.fixture
def companies(client: Client) -> list[str]:
    return list(client.world.companies)[:3]


def put(client: Client, path: str, content: Any = None) -> requests.Response:
    return client.session.put(client.app.base_url + path, json=content, timeout=5)


def delete(client: Client, path: str) -> requests.Response:
    return client.session.delete(client.app.base_url + path, timeout=5)


def many(
    client: Client, what: str, inputs: list[dict[str, Any]], pair: str = "deals/companies"
) -> requests.Response:
    return client.post(f"{MANY}/{pair}/batch/{what}", {"inputs": inputs})


def links(client: Client, deal: str, target: str = "companies") -> dict[str, list[int]]:
    told = client.get(f"{V4}/deals/{deal}/associations/{target}").json()["results"]
    return {str(one["toObjectId"]): [kind["typeId"] for kind in one["associationTypes"]] for one in told}


class TestLink:
    def test_a_default_link_answers_for_both_directions(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        answer = put(client, f"{V4}/deals/{deal}/associations/default/companies/{companies[0]}")
        assert answer.status_code == 200
        assert answer.json()["results"] == [
            {
                "from": {"id": deal},
                "to": {"id": companies[0]},
                "associationSpec": {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 341},
            },
            {
                "from": {"id": companies[0]},
                "to": {"id": deal},
                "associationSpec": {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 342},
            },
        ]
        assert links(client, deal) == {companies[0]: [341]}

    def test_the_primary_type_brings_the_unlabelled_one(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        answer = put(client, f"{V4}/deals/{deal}/associations/companies/{companies[0]}", [PRIMARY])
        assert answer.status_code == 201
        assert answer.json() == {
            "fromObjectTypeId": "0-3",
            "fromObjectId": int(deal),
            "toObjectTypeId": "0-2",
            "toObjectId": int(companies[0]),
            "labels": ["Primary"],
        }
        assert links(client, deal) == {companies[0]: [341, 5]}
        assert client.world.deals[deal].company_id == companies[0]

    def test_a_second_primary_leaves_the_first_one_linked(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        for company in companies[:2]:
            put(client, f"{V4}/deals/{deal}/associations/companies/{company}", [PRIMARY])
        assert links(client, deal) == {companies[0]: [341], companies[1]: [341, 5]}

    def test_from_the_other_end_it_is_the_same_link(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        said = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 6}]
        assert put(client, f"{V4}/companies/{companies[0]}/associations/deals/{deal}", said).ok
        assert links(client, deal) == {companies[0]: [341, 5]}

    def test_both_ends_see_a_link_that_no_row_has_room_for(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        many(
            client,
            "create",
            [{"from": {"id": deal}, "to": {"id": one}, "types": [PLAIN]} for one in companies],
        )
        for company in companies:
            told = client.get(f"{V4}/companies/{company}/associations/deals", limit=500).json()["results"]
            kinds = {str(one["toObjectId"]): one["associationTypes"] for one in told}
            assert [one["typeId"] for one in kinds[deal]] == [342]

    def test_links_show_inline_and_in_search(self, client: Client, deal: str, companies: list[str]) -> None:
        put(client, f"{V4}/deals/{deal}/associations/default/companies/{companies[0]}")
        put(client, f"{V4}/deals/{deal}/associations/companies/{companies[1]}", [PRIMARY])
        inline = client.get(f"/crm/v3/objects/deals/{deal}", associations="companies").json()["associations"]
        assert inline["companies"]["results"] == [
            {"id": companies[0], "type": "deal_to_company_unlabeled"},
            {"id": companies[1], "type": "deal_to_company"},
            {"id": companies[1], "type": "deal_to_company_unlabeled"},
        ]
        said = {
            "filters": [{"propertyName": "associations.company", "operator": "EQ", "value": companies[0]}]
        }
        client.world.clock.advance(3)  # until the index knows the deal
        found = client.post("/crm/v3/objects/deals/search", said | {"limit": 200}).json()["results"]
        assert deal in [one["id"] for one in found]

    def test_a_new_deal_comes_with_all_of_its_links(self, client: Client, companies: list[str]) -> None:
        kinds = zip(companies, (PLAIN, PRIMARY, PLAIN), strict=True)
        said = {
            "properties": {"dealname": "x", "dealstage": "closedwon"},
            "associations": [{"to": {"id": one}, "types": [kind]} for one, kind in kinds],
        }
        made = client.post("/crm/v3/objects/deals", said).json()["id"]
        assert links(client, made) == {
            companies[0]: [341],
            companies[1]: [341, 5],
            companies[2]: [341],
        }

    def test_a_link_does_not_move_the_modified_stamp(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        before = client.world.deals[deal].modified
        client.world.clock.advance(60)
        put(client, f"{V4}/deals/{deal}/associations/companies/{companies[0]}", [PRIMARY])
        assert client.world.deals[deal].modified == before

    def test_a_type_of_the_other_direction_is_refused(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        said = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 342}]
        answer = put(client, f"{V4}/deals/{deal}/associations/companies/{companies[0]}", said)
        assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")

    def test_a_record_that_does_not_exist_cannot_be_linked(self, client: Client, deal: str) -> None:
        assert put(client, f"{V4}/deals/{deal}/associations/companies/7", [PRIMARY]).status_code == 404

    def test_a_cap_of_the_portal_holds(self, up: Callable[..., Client]) -> None:
        client = up(extra={"association_limits": {"deal_to_contact": 1}})
        deal = client.world.create_deal(name="Alone").id
        first, second = list(client.world.contacts)[:2]
        path = f"{V4}/deals/{deal}/associations/default/contacts"
        assert [put(client, f"{path}/{one}").status_code for one in (first, first, second)] == [200, 200, 400]

    def test_links_need_the_scopes_of_both_sides(self, up: Callable[..., Client]) -> None:
        client = up(extra={"missing_scopes": ["crm.objects.companies.write"]})
        deal, company = next(iter(client.world.deals)), next(iter(client.world.companies))
        path = f"{V4}/deals/{deal}/associations/default/companies/{company}"
        assert put(client, path).status_code == 403


class TestBatch:
    def test_what_cannot_be_linked_is_told_beside_the_rest(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        answer = many(
            client,
            "create",
            [{"from": {"id": deal}, "to": {"id": one}, "types": [PRIMARY]} for one in (companies[0], "7")],
        )
        assert answer.status_code == 207
        assert [one["toObjectId"] for one in answer.json()["results"]] == [int(companies[0])]
        assert answer.json()["errors"][0]["context"] == {"fromObjectId": [deal], "toObjectId": ["7"]}

    def test_a_default_batch_can_be_repeated(self, client: Client, deal: str, companies: list[str]) -> None:
        said = [{"from": {"id": deal}, "to": {"id": one}} for one in companies]
        answers = [many(client, "associate/default", said) for _ in range(2)]
        assert [len(answer.json()["results"]) for answer in answers] == [6, 6]
        assert links(client, deal) == {one: [341] for one in companies}

    def test_archiving_takes_all_types_of_a_pair(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        for company in companies:
            put(client, f"{V4}/deals/{deal}/associations/companies/{company}", [PRIMARY])
        said = [{"from": {"id": deal}, "to": [{"id": companies[0]}, {"id": companies[2]}]}]
        assert many(client, "archive", said).status_code == 204
        assert links(client, deal) == {companies[1]: [341]}

    def test_the_dated_versions_answer_200(self, client: Client, deal: str, companies: list[str]) -> None:
        said = {"inputs": [{"from": {"id": deal}, "to": [{"id": companies[0]}]}]}
        answer = client.post("/crm/associations/2026-09/deals/companies/batch/archive", said)
        assert (answer.status_code, answer.json()["results"]) == (200, [])

    def test_more_than_two_thousand_are_refused(self, client: Client) -> None:
        said = [{"from": {"id": "1"}, "to": {"id": "2"}}] * 2_001
        assert many(client, "associate/default", said).status_code == 400

    def test_ids_may_be_numbers(self, client: Client, deal: str, companies: list[str]) -> None:
        said = [{"from": {"id": int(deal)}, "to": {"id": int(companies[0])}}]
        assert len(many(client, "associate/default", said).json()["results"]) == 2


class TestUnlink:
    def test_a_link_is_taken_away_and_a_missing_one_is_no_error(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        path = f"{V4}/deals/{deal}/associations/companies/{companies[0]}"
        put(client, path, [PRIMARY])
        assert [delete(client, path).status_code for _ in range(2)] == [204, 204]
        assert links(client, deal) == {}

    def test_without_the_primary_label_the_link_stays(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        put(client, f"{V4}/deals/{deal}/associations/companies/{companies[0]}", [PRIMARY])
        said = [{"from": {"id": deal}, "to": {"id": companies[0]}, "types": [PRIMARY]}]
        assert many(client, "labels/archive", said).status_code == 204
        assert links(client, deal) == {companies[0]: [341]}

    def test_without_the_unlabelled_type_there_is_no_link(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        put(client, f"{V4}/deals/{deal}/associations/companies/{companies[0]}", [PRIMARY])
        many(client, "labels/archive", [{"from": {"id": deal}, "to": {"id": companies[0]}, "types": [PLAIN]}])
        assert links(client, deal) == {}

    def test_an_archived_company_takes_its_links_along(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        many(client, "associate/default", [{"from": {"id": deal}, "to": {"id": one}} for one in companies])
        delete(client, f"/crm/v3/objects/companies/{companies[0]}")
        assert set(links(client, deal)) == set(companies[1:])

    def test_a_merged_deal_hands_its_links_over(
        self, client: Client, deal: str, companies: list[str]
    ) -> None:
        other = client.world.create_deal(name="Other").id
        many(client, "associate/default", [{"from": {"id": deal}, "to": {"id": one}} for one in companies])
        client.post("/crm/v3/objects/deals/merge", {"primaryObjectId": other, "objectIdToMerge": deal})
        assert set(links(client, other)) == set(companies)


class TestLabels:
    @pytest.fixture
    def label(self, client: Client) -> dict[str, Any]:
        said = {"label": "Manager", "inverseLabel": "Employee", "name": "manager_employee"}
        answer = client.post(f"{MANY}/deals/contacts/labels", said)
        assert answer.status_code == 200
        assert [one["label"] for one in answer.json()["results"]] == ["Employee", "Manager"]
        made: dict[str, Any] = answer.json()["results"][1]
        return made

    @pytest.fixture
    def path(self, client: Client, deal: str) -> str:
        return f"{V4}/deals/{deal}/associations/contacts/{next(iter(client.world.contacts))}"

    def test_a_label_stands_beside_the_unlabelled_type(
        self, client: Client, deal: str, label: dict[str, Any], path: str
    ) -> None:
        said = [{"associationCategory": "USER_DEFINED", "associationTypeId": label["typeId"]}]
        assert put(client, path, said).json()["labels"] == ["Manager"]
        assert list(links(client, deal, "contacts").values()) == [[3, label["typeId"]]]
        contact = path.rpartition("/")[2]
        back = client.get(f"{V4}/contacts/{contact}/associations/deals", limit=500).json()["results"]
        told = next(one["associationTypes"] for one in back if str(one["toObjectId"]) == deal)
        assert [(one["category"], one["label"]) for one in told] == [
            ("HUBSPOT_DEFINED", None),
            ("USER_DEFINED", "Employee"),
        ]

    def test_a_put_replaces_the_labels(
        self, client: Client, deal: str, label: dict[str, Any], path: str
    ) -> None:
        put(client, path, [{"associationCategory": "USER_DEFINED", "associationTypeId": label["typeId"]}])
        put(client, path, [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}])
        assert list(links(client, deal, "contacts").values()) == [[3]]

    def test_a_category_that_does_not_fit_is_refused(
        self, client: Client, label: dict[str, Any], path: str
    ) -> None:
        said = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": label["typeId"]}]
        assert put(client, path, said).status_code == 400

    def test_a_label_is_renamed_and_taken_away_with_its_uses(
        self, client: Client, deal: str, label: dict[str, Any], path: str
    ) -> None:
        put(client, path, [{"associationCategory": "USER_DEFINED", "associationTypeId": label["typeId"]}])
        said = {"associationTypeId": label["typeId"], "label": "Boss"}
        assert put(client, f"{MANY}/deals/contacts/labels", said).status_code == 204
        known = client.get(f"{MANY}/deals/contacts/labels").json()["results"]
        assert [one["label"] for one in known] == [None, "Boss"]
        assert delete(client, f"{MANY}/deals/contacts/labels/{label['typeId']}").status_code == 204
        assert list(links(client, deal, "contacts").values()) == [[3]]

    def test_a_label_exists_once(self, client: Client, label: dict[str, Any]) -> None:
        said = {"label": label["label"], "name": "other"}
        assert client.post(f"{MANY}/deals/contacts/labels", said).status_code == 400
