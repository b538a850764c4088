"""The records and lists of a Bitrix24 portal, over the wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crmkit.sandbox.bitrix24 import Bitrix24App
from crmkit.sandbox.server import Sandbox
from tests.sandbox.bitrix24_wire import Webhook

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "bitrix24" / "examples"


class Portal(Webhook):
    """The portal, and what these tests ask of it; a call gives the whole body."""

    def call(self, method: str, **params: Any) -> Any:
        return self.answer(method, **params)

    def items(self, **params: Any) -> list[dict[str, Any]]:
        return self.call("crm.item.list", **{"entityTypeId": 2, **params})["result"]["items"]


@pytest.fixture
def up() -> Iterator[Callable[..., Portal]]:
    """Starts a portal whose clock stands still."""
    with ExitStack() as stack:

        def start(**options: Any) -> Portal:
            chosen: dict[str, Any] = {"deals": 230, "limits": "off", "now": NOW, **options}
            app = stack.enter_context(Sandbox.up(["bitrix24"], **chosen))["bitrix24"]
            assert isinstance(app, Bitrix24App)
            portal = Portal(app)
            stack.callback(portal.session.close)
            return portal

        yield start


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    """One portal for all tests that only read."""
    with Sandbox.up(["bitrix24"], deals=230, limits="off", now=NOW) as box:
        app = box["bitrix24"]
        assert isinstance(app, Bitrix24App)
        shared = Portal(app)
        yield shared
        shared.session.close()
        assert app.crashes == []


def example(name: str) -> Any:
    if not EXAMPLES.is_dir():
        pytest.skip("the official example payloads are not at hand")
    return json.loads((EXAMPLES / f"{name}.json").read_text())


def all_ids(portal: Portal) -> list[int]:
    return [int(deal["id"]) for deal in portal.app.expected_deals()]


# Shapes against the official examples


def kinds(value: Any) -> str:
    return (
        "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__
    )


def assert_shape(ours: dict[str, Any], theirs: dict[str, Any], *, but: tuple[str, ...] = ()) -> None:
    """Every key of the example is there, with the same type unless one of both is null."""
    missing = [
        key
        for key in theirs
        if key not in ours and key not in but and not key.lower().startswith(("uf", "parent"))
    ]
    assert missing == []
    for key in theirs.keys() & ours.keys():
        if None not in (ours[key], theirs[key]):
            assert (key, kinds(ours[key])) == (key, kinds(theirs[key]))


def test_a_universal_deal_has_the_fields_of_the_example(portal: Portal) -> None:
    item = portal.call("crm.item.get", entityTypeId=2, id=all_ids(portal)[0])["result"]["item"]
    assert_shape(item, example("crm.item.add.response")["result"]["item"])


def test_an_old_deal_has_the_fields_of_the_example(portal: Portal) -> None:
    deal = portal.call("crm.deal.get", id=all_ids(portal)[0])["result"]
    assert_shape(deal, example("crm.deal.get.response")["result"])
    scalars = [value for name, value in deal.items() if not name.startswith("UF_")]
    assert {type(value) for value in scalars} <= {str, type(None)}


def test_an_old_contact_has_the_fields_of_the_example(portal: Portal) -> None:
    person = next(row for row in portal.app.world.live.contacts() if row.emails and row.phones)
    contact = portal.call("crm.contact.get", id=person.id)["result"]
    theirs = example("crm.contact.get.response")["result"]
    assert_shape(contact, theirs, but=("FACE_ID",))
    assert contact["EMAIL"][0].keys() == theirs["EMAIL"][0].keys()


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("crm.status.list", {"filter": {"ENTITY_ID": "DEAL_STAGE"}}, "crm.status.list.response"),
        ("crm.status.entity.items", {"entityId": "DEAL_STAGE"}, "crm.status.entity.items.response"),
        ("user.get", {"FILTER": {"ID": "1"}}, "user.get.response"),
        ("crm.currency.get", {"id": "USD"}, "crm.currency.get.response"),
        ("crm.stagehistory.list", {"entityTypeId": 2, "filter": {}}, "crm.stagehistory.list.response"),
        ("crm.category.list", {"entityTypeId": 2}, "crm.category.list.response.2"),
        ("crm.activity.list", {}, "crm.activity.get.response"),
        ("crm.settings.mode.get", {}, "crm.settings.mode.get.response"),
    ],
)
def test_answers_have_the_shape_of_the_examples(
    portal: Portal, method: str, params: dict[str, Any], name: str
) -> None:
    ours, theirs = portal.call(method, **params)["result"], example(name)["result"]
    rows = [first_row(ours), first_row(theirs)]
    if isinstance(rows[0], dict):
        assert_shape(rows[0], rows[1], but=("LANG",))
    else:
        assert kinds(rows[0]) == kinds(rows[1])


def first_row(result: Any) -> Any:
    while isinstance(result, list) or (isinstance(result, dict) and len(result) == 1):
        result = result[0] if isinstance(result, list) else next(iter(result.values()))
    return result


def test_the_default_pipeline_is_the_documented_one(portal: Portal) -> None:
    rows = portal.call("crm.status.list", filter={"ENTITY_ID": "DEAL_STAGE"}, order={"SORT": "ASC"})["result"]
    theirs = example("crm.status.list.response")["result"]
    keys = ("STATUS_ID", "NAME", "SORT", "SEMANTICS", "SYSTEM", "CATEGORY_ID", "EXTRA")
    told = [[row[key] for key in keys if key != "EXTRA"] for row in rows]
    assert told == [[row[key] for key in keys if key != "EXTRA"] for row in theirs]
    assert [row["EXTRA"]["SEMANTICS"] for row in rows] == [row["EXTRA"]["SEMANTICS"] for row in theirs]


def test_field_lists_describe_every_field_they_return(portal: Portal) -> None:
    deal = all_ids(portal)[0]
    universal = portal.call("crm.item.fields", entityTypeId=2)["result"]["fields"]
    old = portal.call("crm.deal.fields")["result"]
    item = portal.call("crm.item.get", entityTypeId=2, id=deal)["result"]["item"]
    assert set(item) - {"entityTypeId"} <= set(universal)
    assert set(portal.call("crm.deal.get", id=deal)["result"]) <= set(old)
    # A pipeline and its fields carry the example's keys.
    theirs = example("crm.item.fields.response")["result"]["fields"]
    assert theirs["stageId"].keys() <= universal["stageId"].keys()
    own = universal["ufCrm_1700000001"]
    assert (own["isDynamic"], own["upperName"], own["type"]) == (True, "UF_CRM_1700000001", "enumeration")
    assert {"ID", "VALUE"} == own["items"][0].keys()


# Values


def test_both_dialects_tell_the_same_deal(portal: Portal) -> None:
    expected = next(deal for deal in portal.app.expected_deals() if deal["amount"] and deal["contact_ids"])
    [item] = portal.items(filter={"id": expected["id"]})
    old = portal.call("crm.deal.get", id=expected["id"])["result"]
    assert (str(item["id"]), item["title"], item["stageId"]) == (
        expected["id"],
        expected["name"],
        expected["stage_id"],
    )
    assert (old["ID"], old["TITLE"], old["STAGE_ID"]) == (
        expected["id"],
        expected["name"],
        expected["stage_id"],
    )
    assert float(old["OPPORTUNITY"]) == float(expected["amount"]) == float(item["opportunity"])
    assert old["OPPORTUNITY"].rpartition(".")[2].isdigit()
    assert item["contactIds"] == [int(contact) for contact in expected["contact_ids"]]
    assert old["CONTACT_ID"] == expected["contact_ids"][0]
    assert "CONTACT_IDS" not in old
    assert datetime.fromisoformat(item["updatedTime"]) == expected["modified"]
    assert item["createdTime"] == old["DATE_CREATE"]
    assert item["createdTime"].endswith("+03:00")


def test_dates_come_back_as_midnight_utc_with_the_portals_offset(portal: Portal) -> None:
    expected = next(deal for deal in portal.app.expected_deals() if deal["expected_close"])
    [item] = portal.items(filter={"=id": expected["id"]}, select=["closedate"])
    assert item == {"closedate": f"{expected['expected_close']}T03:00:00+03:00"}


def test_no_company_is_zero_or_null(up: Callable[..., Portal]) -> None:
    portal = up(deals=5)
    world = portal.app.world
    for deal in list(world.live.deals())[:2]:
        world.edit_deal(deal.id, company_id=None, touch=False)
    told = [item["companyId"] for item in portal.items(select=["companyId"])[:2]]
    assert sorted(told, key=str) == [0, None]


def test_custom_fields_have_two_names(portal: Portal) -> None:
    deal = next(row for row in portal.app.world.live.deals() if row.custom.get("products"))
    wanted = ["ufCrm_1700000007", "ufCrmPoNumber"]
    [item] = portal.items(filter={"id": deal.id}, select=wanted)
    assert list(item) == wanted
    assert item["ufCrm_1700000007"] == list(deal.custom["products"])
    [original] = portal.items(filter={"id": deal.id}, select=wanted, useOriginalUfNames="Y")
    assert list(original) == ["UF_CRM_1700000007", "UF_CRM_PO_NUMBER"]
    found = portal.items(filter={"ufCrm_1700000001": deal.custom["region"]}, select=["id"])
    assert int(deal.id) in [row["id"] for row in found]


@pytest.mark.parametrize(
    ("key", "origin"),
    [("ck-0000001", ("crmkit", "ck-0000001")), ("crmkit:close/oppo_1", ("crmkit:close", "oppo_1"))],
)
def test_a_deal_that_carries_a_key_has_an_origin(
    up: Callable[..., Portal], key: str, origin: tuple[str, str]
) -> None:
    portal = up(deals=5)
    deal = portal.app.world.create_deal(name="Carried over", custom={"crmkit_key": key})
    [item] = portal.items(filter={"=originatorId": origin[0], "@originId": [origin[1], "x"]})
    assert (item["id"], item["originatorId"], item["originId"]) == (int(deal.id), *origin)


def test_phones_and_e_mails_come_only_when_asked_for(portal: Portal) -> None:
    person = next(row for row in portal.app.world.live.contacts() if row.emails)
    by_id = {"entityTypeId": 3, "filter": {"=id": person.id}}
    assert "fm" not in portal.items(**by_id)[0]
    [item] = portal.items(**by_id, select=["*"])
    [old] = portal.call("crm.contact.list", filter={"ID": person.id}, select=["EMAIL"])["result"]
    mail = next(one for one in item["fm"] if one["typeId"] == "EMAIL")
    assert mail["value"] == person.emails[0] == old["EMAIL"][0]["VALUE"]
    assert (str(mail["id"]), old["ID"]) == (old["EMAIL"][0]["ID"], person.id)
    assert "EMAIL" not in portal.call("crm.contact.list", filter={"ID": person.id})["result"][0]
    found = portal.call(
        "crm.duplicate.findbycomm", type="EMAIL", values=[person.emails[0]], entity_type="CONTACT"
    )
    assert int(person.id) in found["result"]["CONTACT"]
    assert portal.call("crm.duplicate.findbycomm", type="PHONE", values=["000"])["result"] == []


def test_contacts_of_a_deal_come_with_the_primary_first(portal: Portal) -> None:
    deal = next(row for row in portal.app.world.live.deals() if len(row.contact_ids) > 1)
    rows = portal.call("crm.deal.contact.items.get", id=deal.id)["result"]
    assert [str(row["CONTACT_ID"]) for row in rows] == list(deal.contact_ids)
    assert [row["IS_PRIMARY"] for row in rows] == ["Y"] + ["N"] * (len(rows) - 1)


# Lists


def test_offset_pages_give_every_deal(portal: Portal) -> None:
    seen, start = [], 0
    while start is not None:
        answer = portal.call("crm.item.list", entityTypeId=2, select=["id"], order={"id": "ASC"}, start=start)
        seen += [item["id"] for item in answer["result"]["items"]]
        assert answer["total"] == 230
        start = answer.get("next")
    assert seen == all_ids(portal)


def test_minus_one_turns_counting_off(portal: Portal) -> None:
    universal = portal.call("crm.item.list", entityTypeId=2, start=-1)
    assert (universal["total"], universal["next"], len(universal["result"]["items"])) == (None, None, 50)
    old = portal.call("crm.deal.list", start=-1)
    assert (old["total"], "next" in old, len(old["result"])) == (0, False, 50)


def test_a_keyset_walk_survives_deletes_and_merges(up: Callable[..., Portal]) -> None:
    portal = up()
    world, seen = portal.app.world, []
    victims = all_ids(portal)[100:102]
    while page := portal.items(filter={">id": seen[-1] if seen else 0}, select=["id"], start=-1):
        seen += [item["id"] for item in page]
        if len(seen) == 50:
            world.delete_deal(str(victims[0]))
            world.merge_deals(str(victims[1]), str(seen[0]))
    assert seen == all_ids(portal)
    assert portal.refused("crm.item.get", entityTypeId=2, id=victims[1]) == (
        400,
        "NOT_FOUND",
        "Element not found",
    )
    assert portal.refused("crm.deal.get", id=victims[0]) == (400, "", "Not found")


def test_changed_deals_come_in_order_of_change(portal: Portal) -> None:
    expected = portal.app.expected_deals()
    since = sorted(deal["modified"] for deal in expected)[150]
    order = {"updatedTime": "ASC", "id": "ASC"}
    rows = portal.items(
        filter={">=updatedTime": since.isoformat()}, order=order, select=["id", "updatedTime"]
    )
    wanted = sorted((deal["modified"], int(deal["id"])) for deal in expected if deal["modified"] >= since)
    assert [row["id"] for row in rows] == [deal_id for _, deal_id in wanted][:50]
    by_id = portal.items(filter={">=updatedTime": since.isoformat()}, select=["id"], order={"id": "ASC"})
    assert [row["id"] for row in by_id] == sorted(deal_id for _, deal_id in wanted)[:50]


def test_bounds_on_times_can_be_shifted_by_the_users_zone(up: Callable[..., Portal]) -> None:
    portal = up(extra={"filter_shift_hours": 2})
    deal = portal.app.world.live.deals("modified").rows[-1]
    late = deal.modified.timestamp() + 3600
    bound = datetime.fromtimestamp(late, tz=UTC).isoformat()
    assert deal.id in [str(row["id"]) for row in portal.items(filter={">=updatedTime": bound})]
    assert portal.call("profile")["result"]["TIME_ZONE"] == "Etc/GMT-5"


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ({"stageId": "NEW"}, lambda deal: deal["stage_id"] == "NEW"),
        ({"!stageId": "NEW"}, lambda deal: deal["stage_id"] != "NEW"),
        ({"@stageId": ["NEW", "WON"]}, lambda deal: deal["stage_id"] in {"NEW", "WON"}),
        ({"stageId": ["NEW", "WON"]}, lambda deal: deal["stage_id"] in {"NEW", "WON"}),
        ({"!@stageId": ["NEW", "WON"]}, lambda deal: deal["stage_id"] not in {"NEW", "WON"}),
        ({">=opportunity": 20000}, lambda deal: deal["amount"] and float(deal["amount"]) >= 20000),
        ({"%title": "PLAN"}, lambda deal: "plan" in deal["name"].lower()),
        ({"=%title": "s%"}, lambda deal: deal["name"].lower().startswith("s")),
        ({"!%title": "plan"}, lambda deal: "plan" not in deal["name"].lower()),
        ({"closed": "Y"}, lambda deal: deal["status"] != "open"),
        ({"=opportunity": ""}, lambda deal: deal["amount"] is None),
        (
            {"0": {"logic": "OR", "0": {"stageId": "WON"}, "1": {"categoryId": 7}}},
            lambda deal: deal["stage_id"] == "WON" or deal["pipeline_id"] == "7",
        ),
    ],
)
def test_filters_let_pass_what_they_say(
    portal: Portal, said: dict[str, Any], passes: Callable[[Any], bool]
) -> None:
    wanted = [int(deal["id"]) for deal in portal.app.expected_deals() if passes(deal)]
    answer = portal.call("crm.item.list", entityTypeId=2, filter=said, select=["id"])
    assert [row["id"] for row in answer["result"]["items"]] == wanted[:50]
    assert answer["total"] == len(wanted) > 0


def test_a_descending_order_and_one_by_several_keys(portal: Portal) -> None:
    assert [row["id"] for row in portal.items(order={"id": "DESC"})] == all_ids(portal)[:-51:-1]
    rows = portal.items(order={"stageId": "ASC", "id": "DESC"}, select=["id", "stageId"])
    assert rows == sorted(rows, key=lambda row: (row["stageId"].casefold(), -row["id"]))


def test_unknown_select_names_are_dropped(portal: Portal) -> None:
    assert list(portal.items(select=["title", "colour"])[0]) == ["title"]
    assert set(portal.call("crm.deal.list", select=["TITLE", "COLOUR"])["result"][0]) == {"TITLE", "ID"}


@pytest.mark.parametrize("method", ["crm.item.list", "crm.deal.list", "crm.stagehistory.list"])
def test_unknown_filter_and_order_names_are_refused(portal: Portal, method: str) -> None:
    status, code, text = portal.refused(method, entityTypeId=2, filter={">colour": 1})
    assert (status, code) == (400, "INVALID_ARG_VALUE")
    assert text.startswith("Invalid filter: field 'colour'")
    status, code, text = portal.refused(method, entityTypeId=2, order={"colour": "ASC"})
    assert (status, code) == (400, "INVALID_ARG_VALUE")
    assert text == "Invalid order: field 'colour' is not allowed in order"


@pytest.mark.parametrize(
    ("method", "params", "refusal"),
    [
        ("crm.item.list", {"entityTypeId": 99}, (400, "NOT_FOUND", "Smart process not found")),
        ("crm.item.list", {}, (400, "100", "Could not find value for parameter {entityTypeId}")),
        (
            "crm.item.list",
            {"entityTypeId": 2, "filter": {">=updatedTime": "soon"}},
            (400, "INVALID_ARG_VALUE", "Invalid filter: field 'updatedTime' has invalid value"),
        ),
        ("crm.deal.list", {"filter": "all"}, (400, "", "Parameter 'filter' must be array.")),
        ("crm.currency.get", {"id": "XXX"}, (400, "", "Not found")),
        ("crm.deal.contact.items.get", {"id": 1}, (400, "", "Not found.")),
        ("crm.status.get", {"id": 1}, (400, "", "Status is not found.")),
        ("crm.stagehistory.list", {"entityTypeId": 4}, (400, "ENTITY_TYPE_NOT_SUPPORTED", None)),
        ("crm.deal.upsert", {}, (404, "ERROR_METHOD_NOT_FOUND", "Method not found!")),
        ("event.get", {}, (403, "WRONG_AUTH_TYPE", None)),
    ],
)
def test_refusals_have_the_vendors_words(
    portal: Portal, method: str, params: dict[str, Any], refusal: tuple[int, str, str | None]
) -> None:
    told = portal.refused(method, **params)
    assert told[: 2 if refusal[2] is None else 3] == refusal[: 2 if refusal[2] is None else 3]


# Directories, history, comments


def test_stage_directories_are_named_by_pipeline(portal: Portal) -> None:
    def stages(directory: str) -> list[str]:
        rows = portal.call("crm.status.list", filter={"ENTITY_ID": directory})["result"]
        return [row["STATUS_ID"] for row in rows]

    assert stages("DEAL_STAGE_0") == []
    assert stages("DEAL_STAGE_10")[2] == "C10:PREPAYMENT_INVOIC"
    assert all(stage.startswith("C7:") for stage in stages("DEAL_STAGE_7"))
    assert portal.post("crm.status.list", filter={"ENTITY_ID": ["DEAL_STAGE"]}).status_code == 400
    categories = portal.call("crm.category.list", entityTypeId=2)["result"]["categories"]
    assert {row["id"] for row in categories} == {0, 7, 10, 12}
    default = next(row for row in categories if row["id"] == 0)
    assert (default["isDefault"], "originId" in default) == ("Y", False)


def test_stage_history_grows_with_moves_and_ends_with_deletion(up: Callable[..., Portal]) -> None:
    portal = up(deals=30)
    world = portal.app.world

    def steps(**said: Any) -> list[dict[str, Any]]:
        return portal.call("crm.stagehistory.list", entityTypeId=2, **said)["result"]["items"]

    walked: list[int] = []
    while page := steps(filter={">ID": walked[-1] if walked else 0}, order={"ID": "ASC"}, start=-1):
        walked += [step["ID"] for step in page]
    assert len(walked) == sum(len(deal.history) for deal in world.live.deals())
    deal = world.create_deal(name="New", pipeline_id="0", stage_id="NEW")
    world.edit_deal(deal.id, stage_id="EXECUTING")
    world.edit_deal(deal.id, pipeline_id="7", stage_id="C7:NEW")
    world.edit_deal(deal.id, stage_id="C7:WON")
    told = steps(filter={"@OWNER_ID": [int(deal.id)]}, order={"ID": "ASC"})
    assert [(step["TYPE_ID"], step["STAGE_ID"], step["STAGE_SEMANTIC_ID"]) for step in told] == [
        (1, "NEW", "P"),
        (2, "EXECUTING", "P"),
        (5, "C7:NEW", "P"),
        (3, "C7:WON", "S"),
    ]
    assert told[0]["ID"] > walked[-1]
    world.delete_deal(deal.id)
    assert steps(filter={"OWNER_ID": int(deal.id)}) == []
    assert portal.app.crashes == []


def test_comments_are_listed_by_record(portal: Portal) -> None:
    note = next(iter(portal.app.world.live.notes()))
    said = {"ENTITY_ID": note.deal_id, "ENTITY_TYPE": "deal"}
    rows = portal.call("crm.timeline.comment.list", filter=said)["result"]
    told = next(row for row in rows if row["ID"] == note.id)
    assert (told["COMMENT"], told["ENTITY_ID"], told["AUTHOR_ID"]) == (
        note.text,
        note.deal_id,
        note.author_id,
    )
    assert portal.refused("crm.timeline.comment.list")[:2] == (400, "")


def test_activities_of_several_deals_come_at_once(portal: Portal) -> None:
    wanted = [deal for deal in portal.app.world.live.deals() if deal.last_activity][:3]
    said = {"OWNER_TYPE_ID": 2, "@OWNER_ID": [deal.id for deal in wanted]}
    rows = portal.call("crm.activity.list", filter=said, order={"ID": "ASC"})["result"]
    assert [row["OWNER_ID"] for row in rows] == [deal.id for deal in wanted]


def test_users_include_the_dismissed(portal: Portal) -> None:
    users = portal.call("user.get")["result"]
    assert {user["ACTIVE"] for user in users} == {True, False}
    left = portal.call("user.get", FILTER={"ACTIVE": False})["result"]
    assert [user["ID"] for user in left] == [user["ID"] for user in users if not user["ACTIVE"]]
    some = portal.call("user.get", FILTER={"@ID": [1, 5]})["result"]
    assert [user["ID"] for user in some] == ["1", "5"]


def test_custom_fields_show_labels_only_in_a_named_language(portal: Portal) -> None:
    plain = portal.call("crm.deal.userfield.list")["result"]
    labelled = portal.call("crm.deal.userfield.list", filter={"LANG": "en"})["result"]
    assert "EDIT_FORM_LABEL" not in plain[0]
    assert labelled[0]["EDIT_FORM_LABEL"] == "Region"
    assert portal.app.world.fields["deal"]["crmkit_key"].id not in [row["FIELD_NAME"] for row in plain]
