"""HubSpot on the wire: records, pages, merges, the archive, history, associations, errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.sandbox.hubspot_wire import NOW, Client, starting


@pytest.fixture
def up() -> Iterator[Callable[..., Client]]:
    with starting() as start:
        yield start


DEALS = "/crm/v3/objects/deals"


def test_a_page_is_in_order_of_id_and_points_one_past_its_last(up: Callable[..., Client]) -> None:
    client = up()
    answer = client.get(DEALS, limit=40).json()
    ids = [deal["id"] for deal in answer["results"]]
    assert ids == sorted(client.world.deals, key=int)[:40]
    assert answer["paging"]["next"]["after"] == str(int(ids[-1]) + 1)


def test_the_link_of_a_page_leads_to_the_next(up: Callable[..., Client]) -> None:
    client = up()
    link = client.get(DEALS, limit=40, properties="dealname").json()["paging"]["next"]["link"]
    rest = client.session.get(link, timeout=5).json()
    assert [deal["id"] for deal in rest["results"]] == sorted(client.world.deals, key=int)[40:]
    assert "dealname" in rest["results"][0]["properties"]


def test_without_properties_the_default_ones_come(up: Callable[..., Client]) -> None:
    deal = up().get(DEALS, limit=1).json()["results"][0]
    assert list(deal["properties"]) == [
        "amount",
        "closedate",
        "createdate",
        "dealname",
        "dealstage",
        "hs_lastmodifieddate",
        "hs_object_id",
        "pipeline",
    ]


def test_unknown_properties_are_left_out_and_unset_ones_are_null(up: Callable[..., Client]) -> None:
    deal = up().get(DEALS, limit=1, properties="nonesuch,description").json()["results"][0]
    assert set(deal["properties"]) == {"createdate", "description", "hs_lastmodifieddate", "hs_object_id"}
    assert deal["properties"]["description"] is None


def test_every_value_is_text(up: Callable[..., Client]) -> None:
    client = up()
    deal = client.world.create_deal(
        name="Größe", amount=Decimal("1500.00"), custom={"is_strategic": False, "seats": 3, "products": ()}
    )
    names = "amount,is_strategic,seats,products,hs_is_closed,hs_deal_stage_probability"
    read = client.get(f"{DEALS}/{deal.id}", properties=names).json()["properties"]
    assert {name: read[name] for name in names.split(",")} == {
        "amount": "1500.00",
        "is_strategic": "false",
        "seats": "3",
        "products": None,
        "hs_is_closed": "false",
        "hs_deal_stage_probability": "0.2",
    }


def test_times_have_milliseconds_unless_they_are_zero(up: Callable[..., Client]) -> None:
    client = up()
    client.world.clock.advance(0.12)
    deal = client.world.create_deal(name="A")
    whole = client.world.create_deal(name="B", created=NOW, modified=NOW)
    assert client.get(f"{DEALS}/{deal.id}").json()["createdAt"] == "2026-06-01T12:00:00.120Z"
    assert client.get(f"{DEALS}/{whole.id}").json()["createdAt"] == "2026-06-01T12:00:00Z"


def test_a_close_date_is_the_day_in_the_accounts_time_zone(up: Callable[..., Client]) -> None:
    client = up(deals=400)
    zone = ZoneInfo(client.get("/account-info/v3/details").json()["timeZone"])
    read = {
        deal["id"]: None
        if (text := deal["properties"]["closedate"]) is None
        else datetime.fromisoformat(text)
        for deal in client.walk(DEALS, limit=100)
    }
    days = {key: None if at is None else at.astimezone(zone).date() for key, at in read.items()}
    assert days == {line["id"]: line["expected_close"] for line in client.app.expected_deals()}
    assert any(at is not None and at.date() != at.astimezone(zone).date() for at in read.values())


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ({"limit": 101}, "limit"),
        ({"limit": 0}, "limit"),
        ({"limit": 51, "propertiesWithHistory": "dealstage"}, "limit"),
        ({"after": "x"}, "after"),
    ],
)
def test_a_list_beyond_its_limits_is_a_validation_error(
    up: Callable[..., Client], params: dict[str, Any], part: str
) -> None:
    answer = up().get(DEALS, **params)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")
    assert part in answer.json()["message"]


def test_pages_stay_whole_while_records_come_and_go(up: Callable[..., Client]) -> None:
    client = up()
    before = set(client.world.deals)
    first = client.get(DEALS, limit=20).json()
    gone = first["results"][10]["id"]
    client.world.delete_deal(gone)
    made = client.world.create_deal(name="new").id
    rest = client.walk(DEALS, limit=20, after=first["paging"]["next"]["after"])
    ids = [deal["id"] for deal in [*first["results"], *rest]]
    assert len(ids) == len(set(ids))
    assert set(ids) == before | {made}


def test_a_missing_record_is_a_404_without_category(up: Callable[..., Client]) -> None:
    answer = up().get(f"{DEALS}/99")
    assert answer.status_code == 404
    assert set(answer.json()) == {"status", "message", "correlationId"}
    assert answer.json()["message"] == "resource not found"


def test_the_correlation_id_is_in_body_and_header(up: Callable[..., Client]) -> None:
    client = up()
    wrong, good = client.get(f"{DEALS}/99"), client.get(DEALS)
    assert wrong.headers["X-HubSpot-Correlation-Id"] == wrong.json()["correlationId"]
    assert re.fullmatch(r"[0-9a-f-]{36}", good.headers["X-HubSpot-Correlation-Id"])


def test_answers_name_their_charset(up: Callable[..., Client]) -> None:
    assert up().get(DEALS).headers["content-type"] == "application/json;charset=utf-8"


@pytest.mark.parametrize("name", ["deals", "deal", "0-3"])
def test_an_object_type_has_three_names(up: Callable[..., Client], name: str) -> None:
    assert up().get(f"/crm/v3/objects/{name}", limit=1).json()["results"]


@pytest.mark.parametrize(
    ("plain", "dated"),
    [
        (DEALS, "/crm/objects/{}/deals"),
        ("/crm/v3/pipelines/deals", "/crm/pipelines/{}/deals"),
        ("/crm/v3/owners", "/crm/owners/{}"),
        ("/crm/v3/properties/deals", "/crm/properties/{}/deals"),
        ("/crm/v4/associations/deals/companies/labels", "/crm/associations/{}/deals/companies/labels"),
        ("/account-info/v3/details", "/account-info/{}/details"),
    ],
)
def test_dated_addresses_answer_like_the_old_one(up: Callable[..., Client], plain: str, dated: str) -> None:
    client = up(deals=8)
    answers = [client.get(dated.format(version)).json() for version in ("2025-09", "2026-03", "2026-09")]
    assert answers == [client.get(plain).json()] * 3


def test_a_version_that_never_was_is_not_found(up: Callable[..., Client]) -> None:
    assert up(deals=8).get("/crm/objects/2031-01/deals").status_code == 404


def test_a_method_that_is_not_served_is_refused(up: Callable[..., Client]) -> None:
    client = up(deals=8)
    assert client.session.put(client.app.base_url + DEALS, timeout=5).status_code == 405
    assert client.get("/crm/v9/nowhere").status_code == 404


# Archive and merges


def test_archived_deals_are_listed_apart_with_the_time(up: Callable[..., Client]) -> None:
    client = up(deals=300)
    deal_id = next(iter(client.world.deals))
    client.world.delete_deal(deal_id)
    archived = client.walk(DEALS, limit=2, archived="true")
    expected = sorted((gone.id for gone in client.world.deleted if gone.kind == "deal"), key=int)
    assert [deal["id"] for deal in archived] == expected
    assert {deal["id"]: deal["archivedAt"] for deal in archived if deal["archived"]}[
        deal_id
    ] == "2026-06-01T12:00:00Z"


def test_an_archived_deal_is_read_only_when_asked_for(up: Callable[..., Client]) -> None:
    client = up()
    deal_id = client.world.delete_deal(next(iter(client.world.deals))).id
    assert client.get(f"{DEALS}/{deal_id}").status_code == 404
    assert client.get(f"{DEALS}/{deal_id}", archived="true").json()["archived"] is True
    said = {"inputs": [{"id": deal_id}]}
    assert client.post(f"{DEALS}/batch/read?archived=true", said).json()["results"][0]["archivedAt"]


def test_seeded_merges_stand_on_the_winner(up: Callable[..., Client]) -> None:
    client = up(deals=600)
    merged = [row for row in client.world.merged if row.winner in client.world.deals]
    assert merged
    for row in merged:
        winner = client.get(f"{DEALS}/{row.winner}", properties="hs_merged_object_ids").json()
        assert row.loser in winner["properties"]["hs_merged_object_ids"].split(";")
        assert client.get(f"{DEALS}/{row.loser}").json()["id"] == row.winner


def test_a_merge_of_merges_leads_to_the_last_winner(up: Callable[..., Client]) -> None:
    client = up()
    one, two, three = list(client.world.deals)[:3]
    client.world.merge_deals(one, two)
    client.world.merge_deals(two, three)
    read = client.get(f"{DEALS}/{one}", properties="hs_merged_object_ids").json()
    assert (read["id"], read["properties"]["hs_merged_object_ids"]) == (three, f"{two};{one}")


def test_links_of_a_merged_id_are_empty(up: Callable[..., Client]) -> None:
    client = up()
    one, two = list(client.world.deals)[:2]
    client.world.merge_deals(one, two)
    assert client.get(f"/crm/v4/objects/deals/{one}/associations/contacts").json() == {"results": []}
    assert client.get("/crm/v4/objects/deals/99/associations/contacts").status_code == 404


# Batch read


def test_a_batch_tells_all_missing_ids_in_one_error(up: Callable[..., Client]) -> None:
    client = up()
    found = list(client.world.deals)[:3]
    answer = client.post(f"{DEALS}/batch/read", {"inputs": [{"id": one} for one in [*found, "98", "99"]]})
    assert answer.status_code == 207
    assert answer.json()["errors"][0]["context"]["ids"] == ["98", "99"]
    assert {deal["id"] for deal in answer.json()["results"]} == set(found)


def test_a_whole_batch_says_nothing_of_errors_and_keeps_no_order(up: Callable[..., Client]) -> None:
    client = up()
    asked = list(client.world.deals)[:5]
    answer = client.post(f"{DEALS}/batch/read", {"inputs": [{"id": int(one)} for one in asked]})
    assert (answer.status_code, set(answer.json())) == (
        200,
        {"status", "results", "startedAt", "completedAt"},
    )
    ids = [deal["id"] for deal in answer.json()["results"]]
    assert sorted(ids) == sorted(asked)
    assert ids != asked


@pytest.mark.parametrize(("count", "more"), [(101, {}), (51, {"propertiesWithHistory": ["dealstage"]})])
def test_a_batch_has_a_limit(up: Callable[..., Client], count: int, more: dict[str, Any]) -> None:
    said = {"inputs": [{"id": str(number)} for number in range(count)], **more}
    answer = up().post(f"{DEALS}/batch/read", said)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_a_record_is_found_by_its_unique_property(up: Callable[..., Client]) -> None:
    client = up()
    deal = client.world.create_deal(name="A", custom={"crmkit_key": "src:42"})
    assert client.get(f"{DEALS}/src:42", idProperty="crmkit_uid").json()["id"] == deal.id
    said = {"inputs": [{"id": "src:42"}, {"id": "src:43"}], "idProperty": "crmkit_uid"}
    answer = client.post(f"{DEALS}/batch/read", said).json()
    assert [one["id"] for one in answer["results"]] == [deal.id]
    assert answer["errors"][0]["context"]["ids"] == ["src:43"]


def test_a_unique_value_follows_edits(up: Callable[..., Client]) -> None:
    client = up()
    deal = client.world.create_deal(name="A", custom={"crmkit_key": "old"})
    assert client.get(f"{DEALS}/old", idProperty="crmkit_uid").status_code == 200
    client.world.edit_deal(deal.id, custom={"crmkit_key": "new"})
    assert client.get(f"{DEALS}/old", idProperty="crmkit_uid").status_code == 404
    assert client.get(f"{DEALS}/new", idProperty="crmkit_uid").json()["id"] == deal.id


def test_a_property_that_is_not_unique_identifies_nothing(up: Callable[..., Client]) -> None:
    answer = up().get(f"{DEALS}/A", idProperty="dealname")
    assert answer.status_code == 400
    assert "non-unique 0-3 property dealname" in answer.json()["message"]


def test_a_contact_is_found_by_email(up: Callable[..., Client]) -> None:
    client = up()
    contact = next(one for one in client.world.contacts.values() if one.emails)
    read = client.get(f"/crm/v3/objects/contacts/{contact.emails[0]}", idProperty="email").json()
    assert (read["id"], "lastmodifieddate" in read["properties"]) == (contact.id, True)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"inputs": 1}'])
def test_a_body_that_makes_no_sense_is_a_400(up: Callable[..., Client], body: bytes) -> None:
    client = up(deals=8)
    answer = client.session.post(f"{client.app.base_url}{DEALS}/batch/read", data=body, timeout=5)
    assert answer.status_code == 400


# History


def test_stage_history_is_newest_first_and_names_users_not_owners(up: Callable[..., Client]) -> None:
    client = up()
    user = next(one for one in client.world.users.values() if one.active)
    deal = client.world.create_deal(name="A", by=user.id)
    client.world.clock.advance(60)
    client.world.edit_deal(deal.id, stage_id="contractsent", by=user.id)
    read = client.get(f"{DEALS}/{deal.id}", propertiesWithHistory="dealstage").json()
    steps = read["propertiesWithHistory"]["dealstage"]
    assert [step["value"] for step in steps] == ["contractsent", "appointmentscheduled"]
    owner = client.get(f"/crm/v3/owners/{steps[0]['updatedByUserId']}", idProperty="userId").json()
    assert owner["id"] == user.id


def test_entering_and_leaving_a_stage_are_properties(up: Callable[..., Client]) -> None:
    client = up()
    deal = client.world.create_deal(name="A")
    client.world.clock.advance(60)
    client.world.edit_deal(deal.id, stage_id="contractsent")
    names = [
        "hs_v2_date_entered_appointmentscheduled",
        "hs_v2_date_exited_appointmentscheduled",
        "hs_v2_date_entered_contractsent",
        "hs_v2_date_exited_contractsent",
    ]
    read = client.get(f"{DEALS}/{deal.id}", properties=",".join(names)).json()["properties"]
    assert [read[name] for name in names] == [
        "2026-06-01T12:00:00Z",
        "2026-06-01T12:01:00Z",
        "2026-06-01T12:01:00Z",
        None,
    ]


# Associations


def test_inline_links_name_the_primary_company_and_its_unlabelled_twin(up: Callable[..., Client]) -> None:
    client = up()
    deal = next(one for one in client.world.deals.values() if one.company_id and one.contact_ids)
    links = client.get(f"{DEALS}/{deal.id}", associations="companies,contacts").json()["associations"]
    assert links["companies"]["results"] == [
        {"id": deal.company_id, "type": "deal_to_company"},
        {"id": deal.company_id, "type": "deal_to_company_unlabeled"},
    ]
    assert [link["id"] for link in links["contacts"]["results"]] == list(deal.contact_ids)


def test_inline_links_stop_at_a_hundred_and_go_on_elsewhere(up: Callable[..., Client]) -> None:
    client = up()
    company = client.world.create_company(name="Big")
    made = [client.world.create_deal(name=f"D{number}", company_id=company.id).id for number in range(130)]
    read = client.get(f"/crm/v3/objects/companies/{company.id}", associations="deals").json()
    block = read["associations"]["deals"]
    rest = client.session.get(block["paging"]["next"]["link"], timeout=5).json()
    found = {link["id"] for link in [*block["results"], *rest["results"]]}
    assert (len({link["id"] for link in block["results"]}), found) == (100, set(made))


def test_records_without_links_are_errors_beside_the_results(up: Callable[..., Client]) -> None:
    client = up()
    linked = next(one for one in client.world.deals.values() if one.company_id)
    alone = client.world.create_deal(name="alone")
    said = {"inputs": [{"id": linked.id}, {"id": alone.id}, {"id": "99"}]}
    answer = client.post("/crm/v4/associations/deals/companies/batch/read", said)
    assert (answer.status_code, answer.json()["numErrors"]) == (207, 2)
    assert answer.json()["results"][0]["to"][0]["toObjectId"] == int(linked.company_id or 0)
    assert {error["subCategory"] for error in answer.json()["errors"]} == {
        "crm.associations.NO_ASSOCIATIONS_FOUND"
    }
    assert [error["context"]["fromObjectId"] for error in answer.json()["errors"]] == [[alone.id], ["99"]]


def test_links_of_one_record_come_in_pages_that_an_input_continues(up: Callable[..., Client]) -> None:
    client = up(extra={"associations_per_page": 2})
    company = client.world.create_company(name="Big")
    made = [client.world.create_deal(name=f"D{number}", company_id=company.id).id for number in range(5)]
    found: list[str] = []
    said: dict[str, Any] = {"id": company.id}
    pages = 0
    while said:
        path = "/crm/v4/associations/companies/deals/batch/read"
        result = client.post(path, {"inputs": [said]}).json()["results"][0]
        found += [str(link["toObjectId"]) for link in result["to"]]
        pages += 1
        said = {"id": company.id, "after": result["paging"]["next"]["after"]} if "paging" in result else {}
    assert (found, pages) == (made, 3)


def test_an_associations_batch_has_a_limit(up: Callable[..., Client]) -> None:
    said = {"inputs": [{"id": str(number)} for number in range(1001)]}
    assert up().post("/crm/v4/associations/deals/companies/batch/read", said).status_code == 400


def test_notes_hang_on_their_deal_both_ways(up: Callable[..., Client]) -> None:
    client = up()
    deal_id = next(iter(client.world.deals))
    note = client.world.add_note(deal_id=deal_id, text="<b> & co\nnext")
    there = client.get(f"/crm/v4/objects/deals/{deal_id}/associations/notes").json()["results"]
    back = client.get(f"/crm/v4/objects/notes/{note.id}/associations/deals").json()["results"]
    body = client.get(f"/crm/v3/objects/notes/{note.id}", properties="hs_note_body").json()["properties"]
    assert int(note.id) in {link["toObjectId"] for link in there}
    assert [(link["toObjectId"], link["associationTypes"][0]["typeId"]) for link in back] == [
        (int(deal_id), 214)
    ]
    assert body["hs_note_body"] == "<p>&lt;b&gt; &amp; co<br>next</p>"


# Pipelines and owners


def test_pipelines_show_what_closes_a_deal(up: Callable[..., Client]) -> None:
    pipelines = up().get("/crm/v3/pipelines/deals").json()["results"]
    closing = {
        stage["id"]: stage["metadata"] for stage in pipelines[0]["stages"] if stage["id"][:6] == "closed"
    }
    assert closing == {
        "closedwon": {"isClosed": "true", "probability": "1.0"},
        "closedlost": {"isClosed": "true", "probability": "0.0"},
    }
    assert pipelines[0]["createdAt"] == "1970-01-01T00:00:00Z"
    assert len(pipelines) == 4


def test_archived_owners_stand_in_the_other_list(up: Callable[..., Client]) -> None:
    client = up()
    active = client.walk("/crm/v3/owners", limit=3)
    archived = client.walk("/crm/v3/owners", archived="true")
    assert {one["id"] for one in active} == {user.id for user in client.world.users.values() if user.active}
    assert {one["id"] for one in archived} == {
        user.id for user in client.world.users.values() if not user.active
    }
    assert {one["userId"] for one in archived} == {None}


def test_an_owner_is_found_by_email(up: Callable[..., Client]) -> None:
    client = up()
    user = next(one for one in client.world.users.values() if one.active)
    found = client.get("/crm/v3/owners", email=user.email.upper()).json()["results"]
    assert [one["id"] for one in found] == [user.id]
