"""Zoho's payloads as canonical records, and the pure parts of its walks."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from crmkit.connectors import translate
from crmkit.connectors.http import _DECODER
from crmkit.connectors.zoho import columns, coql, periods, stages
from crmkit.connectors.zoho.periods import Stamp
from crmkit.connectors.zoho.records import Reading, note_parent, row_id
from crmkit.connectors.zoho.stages import NO_NAMES
from crmkit.connectors.zoho.walks import tombstones
from crmkit.model import (
    Company,
    Contact,
    Deal,
    DealContact,
    Kind,
    Note,
    Outcome,
    Owner,
    Ref,
    StageChange,
    Tombstone,
)

EXAMPLES = Path(__file__).parents[3] / "shared/specs/zoho/examples"


def payload(name: str) -> Any:
    path = EXAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} is not there: the specs lie beside the repository")
    return _DECODER.decode(path.read_bytes())


def stage_field() -> dict[str, Any]:
    return payload("field_stage_200")["fields"][0]


def test_the_recorded_deals_are_read_without_loss() -> None:
    reading = Reading("z", names=stages.names(stage_field(), []), currency="KES", url="https://crm/")
    rows = payload("deals_list_200")["data"]
    (won, fresh, odd), unreadable = translate.records(Deal, "z", Kind.DEAL, rows, reading.deal, row_id)
    assert unreadable == []
    assert (won.name, won.outcome, won.stage_id) == (
        "Mock Conversion Deal",
        Outcome.WON,
        "6172731000000006815",
    )
    assert (won.amount, won.currency, won.probability) == (Decimal(5000), "KES", Decimal(1))
    assert won.companies == ("7328395000000710005",)
    assert won.contacts == (DealContact(id="7328395000000710006", primary=True),)
    assert won.owner_id == "7328395000000605001"
    assert won.expected_close == date(2024, 12, 31)
    assert won.modified_at == datetime(2026, 5, 14, 9, 56, 45, tzinfo=UTC)
    assert won.version == "2026-05-14T09:56:45+00:00"
    assert won.forecast_category == "Closed"
    assert won.url == "https://crm/7328395000000710007"
    assert (fresh.companies, fresh.contacts, fresh.last_activity_at) == ((), (), None)
    # An org without pipelines, and a stage that its picklist does not have.
    assert (odd.stage_id, odd.outcome, odd.expected_close) == ("Negotiation", Outcome.OPEN, None)
    assert {won.pipeline_id, odd.pipeline_id} == {stages.ONLY_PIPELINE}


def test_the_recorded_single_deal_is_read() -> None:
    reading = Reading("z", names=stages.names(stage_field(), []))
    (deal,), unreadable = translate.records(
        Deal, "z", Kind.DEAL, payload("deal_get_200")["data"], reading.deal, row_id
    )
    assert unreadable == []
    assert (deal.amount, deal.probability, deal.source) == (Decimal(10000), Decimal("0.1"), None)


def test_lookups_of_coql_are_read() -> None:
    (row,) = payload("coql_200_lookups")["data"]
    (deal,), _ = translate.records(Deal, "z", Kind.DEAL, [row], Reading("z").deal, row_id)
    assert (deal.owner_id, deal.companies) == ("5725767000000411001", ("5725767000003464060",))


def test_the_recorded_account_is_read() -> None:
    rows = payload("account_get_200")["data"]
    (company,), _ = translate.records(Company, "z", Kind.COMPANY, rows, Reading("z").company, row_id)
    assert (company.name, company.domain, company.phones) == ("Test Account for Get Account Action", None, ())
    assert company.created_at == datetime(2026, 5, 14, 9, 51, 36, tzinfo=UTC)


def test_the_recorded_contacts_are_read() -> None:
    rows = payload("records_list_200_last_page")["data"]
    found, _ = translate.records(Contact, "z", Kind.CONTACT, rows, Reading("z").contact, row_id)
    assert [one.name for one in found] == ["Ryan Dahl2", "Jane Smith"]


def test_a_contact_keeps_all_addresses_and_numbers() -> None:
    row = {
        "id": "1",
        "First_Name": "Ann",
        "Last_Name": "Ō",
        "Email": "a@x.org",
        "Secondary_Email": "b@x.org",
        "Phone": "1",
        "Mobile": "2",
        "Home_Phone": "1",
        "Account_Name": {"id": "7", "name": "x"},
        "Crmkit_Key": "crmkit:close:contact:5",
    }
    fields = Reading("z").contact(row)
    assert (fields["name"], fields["emails"], fields["phones"]) == (
        "Ann Ō",
        ("a@x.org", "b@x.org"),
        ("1", "2"),
    )
    assert (fields["companies"], fields["key"]) == (("7",), "close:contact:5")


def test_the_user_list_is_read() -> None:
    rows = payload("users_list_200")["users"]
    (owner,), _ = translate.records(Owner, "z", Kind.OWNER, rows, Reading("z").owner, row_id)
    assert (owner.name, owner.email, owner.active) == ("Thuvassshhhh test test", "user@example.com", False)


def test_the_recorded_note_is_of_a_lead() -> None:
    (row,) = payload("note_get_200")["data"]
    assert note_parent(row) == "Leads"


def test_a_note_tells_its_parent_in_either_form() -> None:
    row = {"id": "1", "Note_Content": "x", "Parent_Id": {"id": "7", "module": {"api_name": "Accounts"}}}
    (note,), _ = translate.records(Note, "z", Kind.NOTE, [row], Reading("z").note, row_id)
    assert (note.company_id, note.deal_id, note.text) == ("7", None, "x")


def test_the_official_pipelines_are_read() -> None:
    rows = payload("pipelines_get_200")["pipeline"]
    found = stages.pipelines("z", stage_field(), rows)
    assert [one.name for one in found][:2] == ["Standard (JackFer)", "New"]
    first = found[0]
    # These stages are not in the picklist of the other recording: outcome from the map itself.
    assert [stage.order for stage in first.stages] == list(range(1, 12))
    assert first.stages[5].outcome is Outcome.WON
    assert [stage.outcome for stage in first.stages[6:8]] == [Outcome.LOST, Outcome.LOST]
    assert first.stages[2].name == "Identify Decision Makers"


def test_the_recorded_stage_field_gives_the_only_pipeline() -> None:
    (pipeline,) = stages.pipelines("z", stage_field(), [])
    assert [stage.probability for stage in pipeline.stages][:4] == [
        Decimal("0.1"),
        Decimal("0.2"),
        Decimal("0.4"),
        Decimal("0.6"),
    ]
    assert [stage.outcome for stage in pipeline.stages][-3:] == [Outcome.WON, Outcome.LOST, Outcome.LOST]


def test_deals_name_a_stage_by_its_actual_value_and_people_by_another() -> None:
    names = stages.names(stage_field(), [])
    assert names.stage_id("Id. Decision Makers") == names.stage_id("Identify Decision Makers")


def test_the_deleted_list_is_read_with_permanent_rows() -> None:
    found = tombstones("z", Kind.DEAL, payload("deleted_list_200")["data"])
    assert len(found) == 4
    assert found[2] == Tombstone(
        ref=Ref("z", Kind.DEAL, "410888000000680013"), at=datetime(2016, 10, 26, 6, 14, 15, tzinfo=UTC)
    )


def test_a_closed_deal_closed_when_it_entered_its_stage() -> None:
    row = {"id": "1", "Stage": "Closed Won", "Stage_Modified_Time": "2026-05-14T12:56:45+03:00"}
    fields = Reading("z", names=stages.names(stage_field(), [])).deal(row)
    assert fields["closed_at"] == fields["stage_entered_at"] == datetime(2026, 5, 14, 9, 56, 45, tzinfo=UTC)


def test_the_stage_history_example_is_stamped_on_leaving() -> None:
    rows = [{**row, "Potential_Name": {"id": "7"}} for row in payload("stage_history_200")["data"]]
    chains, odd = periods.by_deal(rows)
    assert odd == []
    assert periods.stamp_of(chains.values()) is Stamp.LEFT
    told = [step for step in periods.steps(chains.values()) if periods.is_change(Stamp.LEFT, step[0])]
    (change,), _ = translate.records(
        StageChange,
        "z",
        Kind.STAGE_CHANGE,
        told,
        lambda step: periods.change("z", Stamp.LEFT, NO_NAMES, step),
        lambda step: str(step[0]["id"]),
    )
    assert (change.from_stage_id, change.to_stage_id) == ("Qualification", "Needs Analysis")
    assert (change.at, change.by) == (datetime(2026, 5, 14, 9, 54, 21, tzinfo=UTC), "7328395000000605001")


def test_history_of_deleted_deals_is_left_out_and_odd_rows_are_kept_apart() -> None:
    gone = {"id": "1", "Potential_Name": None, "Modified_Time": "2026-01-01T00:00:00+00:00"}
    broken = {"id": "2", "Potential_Name": {"id": "7"}, "Modified_Time": "yesterday"}
    assert periods.by_deal([gone, broken]) == ({}, [broken])


def test_custom_fields_are_typed_by_the_metadata() -> None:
    cases: list[tuple[str, str, Any, Any]] = [
        ("text", "string", "x", "x"),
        ("picklist", "string", "A", "A"),
        ("integer", "integer", 3, 3),
        ("bigint", "string", "123456789012345678", 123456789012345678),
        ("double", "double", Decimal("1.5"), Decimal("1.5")),
        ("currency", "double", 10, Decimal(10)),
        ("percent", "double", 12, Decimal(12)),
        ("boolean", "boolean", False, False),
        ("date", "string", "2026-01-02", date(2026, 1, 2)),
        ("datetime", "string", "2026-01-02T03:00:00+03:00", datetime(2026, 1, 2, tzinfo=UTC)),
        ("multiselectpicklist", "jsonarray", ["a", "b"], ("a", "b")),
        ("multiselectpicklist", "jsonarray", [], None),
        ("lookup", "jsonobject", {"id": "7", "name": "x"}, "7"),
        ("userlookup", "jsonobject", {"id": "8", "name": "x"}, "8"),
        ("formula", "double", Decimal("2.5"), Decimal("2.5")),
        ("rollup_summary", "integer", 4, Decimal(4)),
        ("something_new", "string", "y", "y"),
    ]
    for data_type, json_type, value, expected in cases:
        read = columns.custom_reader({"api_name": "F", "data_type": data_type, "json_type": json_type})
        result = read(value, "F")
        assert (result, type(result)) == (expected, type(expected)), data_type


@pytest.mark.parametrize(
    ("data_type", "value"), [("boolean", "yes"), ("integer", "1.5"), ("lookup", 7), ("date", "12/31/2026")]
)
def test_a_custom_value_of_another_shape_is_an_error_of_that_field(data_type: str, value: Any) -> None:
    read = columns.custom_reader({"api_name": "F", "data_type": data_type, "json_type": "string"})
    with pytest.raises(translate.FieldError) as caught:
        read(value, "F")
    assert caught.value.field == "F"


def test_columns_are_asked_for_only_where_the_module_has_them() -> None:
    listed = [{"api_name": name, "data_type": "text"} for name in ("Deal_Name", "Stage", "Amount")]
    plan = columns.plan(
        Kind.DEAL, [*listed, {"api_name": "Sub", "data_type": "subform", "custom_field": True}]
    )
    assert plan.passes == (("Deal_Name", "Stage", "Amount", "Modified_Time"),)


def test_no_query_asks_for_more_than_fifty_columns() -> None:
    custom = [{"api_name": f"C{n}", "data_type": "text", "custom_field": True} for n in range(130)]
    plan = columns.plan(Kind.DEAL, custom)
    assert [len(one) for one in plan.passes] == [50, 50, 33]


@given(
    last=some.integers(0, 10**18),
    room=some.integers(1, 10**18),
    width=some.integers(1, 10**15),
    parts=some.integers(-3, 12),
)
def test_a_cut_range_covers_every_id_once(last: int, room: int, width: int, parts: int) -> None:
    ranges = coql.cut(last, last + room, width, parts)
    assert ranges[0][0] == last
    assert ranges[-1][1] == last + room
    assert all(one[1] == following[0] for one, following in pairwise(ranges))
    assert all(after < upto for after, upto in ranges)
    assert len(ranges) <= max(1, parts)


def test_times_in_queries_are_quoted_and_whole_seconds_of_utc() -> None:
    text = coql.changed_since("Deals", datetime(2026, 11, 1, 5, tzinfo=UTC), 200, ("id",))
    assert text == (
        "select id from Deals where Modified_Time >= '2026-11-01T05:00:00+00:00' "
        "order by Modified_Time asc, id asc limit 200"
    )


def test_conditions_are_nested_in_pairs() -> None:
    text = coql.id_range("Deals", 5, 9, ("Stage",))
    assert text == "select Stage from Deals where (id > 5 and id <= 9) order by id asc limit 2000"


def test_a_pipeline_listed_for_two_layouts_is_read_once() -> None:
    row = {"id": "1", "display_value": "P", "actual_value": "P", "maps": []}
    assert len(stages.pipelines("z", {}, [row, json.loads(json.dumps(row))])) == 1
