"""Records are written to HubSpot in batches, and each change gets the outcome that is true.

The traps of the contract that concern writing:

 summary 3, section 4   every value is text; "" clears        test_clearing_sends_the_empty_text
 summary 10, 207        errors beside results, any order      test_bad_record_of_a_batch_does_not_fail_...
                        all-or-nothing without trace ids      test_batch_refused_whole_is_bisected_...
 summary 12, section 5  pipeline goes with stage              test_stage_of_another_pipeline_goes_with_...
 section 2              merged ids are left out in silence    test_record_that_the_answer_does_not_mention_...
                        archive of what is gone is 204        test_deleting_what_is_gone_is_done
 section 4              calculated values are refused         test_refused_property_is_named_in_the_...
                        leading ";" appends                   test_hubspot_writes_values
 section 6              e-mail clash names the holder         test_contact_with_a_taken_address_exists
 section 8              423 and 429 are not executed          test_lock_is_waited_for_and_never_unknown
 section 12             plain create, then look the key up    test_key_that_is_taken_gives_the_record_...
                        archived record holds its key         test_key_held_by_an_archived_record_is_told
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import responses

from crmkit.connectors.base import Context
from crmkit.connectors.hubspot.connector import HubSpotConnector
from crmkit.connectors.writing import Act, Change, Lookup, Result
from crmkit.errors import AccessDenied, CredentialsError, Rejected, Unsupported
from crmkit.model import DealContact, Kind, Note, Outcome, Ref
from tests.connectors.hubspot_writing import (
    FakePortal,
    created,
    deleted,
    invalid,
    refusal,
    serve,
    updated,
    written,
)

CREATE = "POST /crm/v3/objects/deals/batch/create"
UPDATE = "POST /crm/v3/objects/deals/batch/update"
READ = "POST /crm/v3/objects/deals/batch/read"


@pytest.fixture
def portal() -> Iterator[FakePortal]:
    fake = FakePortal()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        serve(mock, fake)
        yield fake


@pytest.fixture
def connector(portal: FakePortal, make_context: Callable[..., Context]) -> Iterator[HubSpotConnector]:
    made = HubSpotConnector(make_context("hub", token="pat-na1-secret"))
    yield made
    made.close()


def once(path_end: str, said: tuple[int, Any]) -> Callable[[str, str, Any], tuple[int, Any] | None]:
    """A hook that answers the first call to a path and then steps aside."""
    left = [said]
    return lambda method, path, body: left.pop() if left and path.endswith(path_end) else None


# creates


def test_deal_is_created_with_its_key_and_its_links_in_one_call(portal, connector) -> None:
    one, two, person = (portal.put(of) for of in ("companies", "companies", "contacts"))
    change = created(
        "9001",
        amount=Decimal("1500.50"),
        currency="EUR",
        owner_id="910",
        expected_close=date(2026, 12, 7),
        companies=(two, one),
        contacts=(DealContact(id=person),),
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        **{"custom.segment": ("a", "b")},
    )
    outcome = written(connector, change)["9001"]
    assert outcome.result is Result.DONE
    native = outcome.ref.id
    assert portal.objects["deals"][native] == {
        "dealname": "Deal 9001",
        "pipeline": "default",
        "dealstage": "new",
        "amount": "1500.50",
        "deal_currency_code": "EUR",
        "hubspot_owner_id": "910",
        "closedate": "2026-12-07T06:30:00.000Z",
        "createdate": "2026-01-02T03:04:05.000Z",
        "segment": "a;b",
        "crmkit_uid": "ck1:ab12cd34:ef56ab78:deal:9001",
    }
    assert portal.linked("deals", native, "companies") == {two: [5, 341], one: [341]}
    assert portal.linked("deals", native, "contacts") == {person: [3]}
    assert portal.counted()[CREATE] == 1
    assert not any("/v4/" in path for _, path, _, _ in portal.asked)


def test_results_in_any_order_are_matched_by_key(portal, connector) -> None:
    found = written(connector, *[created(str(n)) for n in range(30)])
    for id_, outcome in found.items():
        assert portal.objects["deals"][outcome.ref.id]["dealname"] == f"Deal {id_}"


def test_results_are_matched_by_trace_id_where_the_answer_has_no_key(portal, connector) -> None:
    def bare(method: str, path: str, body: Any) -> tuple[int, Any] | None:
        if not path.endswith("/batch/create"):
            return None
        rows = [{"id": str(70 + n), "objectWriteTraceId": one["objectWriteTraceId"], "properties": {}}
                for n, one in enumerate(body["inputs"])]  # fmt: skip
        return 201, {"status": "COMPLETE", "results": rows[::-1]}

    portal.hooks.append(bare)
    found = written(connector, created("a"), created("b"))
    assert {id_: one.ref.id for id_, one in found.items()} == {"a": "70", "b": "71"}


def test_version_is_the_modified_time_of_the_answer(portal, connector) -> None:
    assert written(connector, created("1"))["1"].version == "2026-11-23T12:00:00.007Z"


def test_version_of_a_whole_second_is_padded_like_a_read_one(portal, connector) -> None:
    native = portal.put("deals", dealname="A")
    row = {"id": native, "properties": {"hs_lastmodifieddate": "2026-11-23T12:00:00Z"}}
    portal.hooks.append(once("/batch/update", (200, {"status": "COMPLETE", "results": [row]})))
    found = written(connector, updated(native, name="B"))[f"u{native}"]
    assert found.version == "2026-11-23T12:00:00.000Z"


def test_creates_are_never_upserts(portal, connector) -> None:
    written(connector, created("1"), created("c", Kind.COMPANY, name="Acme"))
    assert not any("upsert" in path for _, path, _, _ in portal.asked)


def test_bad_record_of_a_batch_does_not_fail_its_neighbours(portal, connector) -> None:
    changes = [created(str(n)) for n in range(5)]
    changes[2] = created("2", owner_id="BOOM")
    found = written(connector, *changes)
    assert [one.result for one in found.values()].count(Result.DONE) == 4
    assert found["2"].result is Result.REJECTED
    assert found["2"].field == "owner_id"
    assert portal.counted()[CREATE] == 1


@pytest.mark.parametrize("bad", [0, 37, 99])
def test_batch_refused_whole_is_bisected_until_the_bad_one_stands_alone(portal, connector, bad) -> None:
    portal.traces = False
    changes = [created(str(n)) for n in range(100)]
    changes[bad] = created(str(bad), owner_id="BOOM")
    found = written(connector, *changes)
    assert [id_ for id_, one in found.items() if one.result is not Result.DONE] == [str(bad)]
    assert found[str(bad)].result is Result.REJECTED
    assert portal.counted()[CREATE] <= 2 * math.ceil(math.log2(100)) + 1
    assert len(portal.objects["deals"]) == 99


def test_error_that_names_nobody_is_that_of_the_only_record_left(portal, connector) -> None:
    error = refusal("no")
    row = {"id": "5", "properties": {"crmkit_uid": created("a").key}}
    portal.hooks.append(once("/batch/create", (207, {"results": [row], "errors": [error]})))
    found = written(connector, created("a"), created("b"))
    assert (found["a"].result, found["b"].result) == (Result.DONE, Result.REJECTED)


def test_record_that_the_answer_does_not_mention_is_unknown(portal, connector) -> None:
    native, merged = portal.put("deals", dealname="A"), portal.put("deals", dealname="B")
    row = {"id": native, "properties": {}, "updatedAt": "2026-11-23T12:00:00Z"}
    portal.hooks.append(once("/batch/update", (200, {"status": "COMPLETE", "results": [row]})))
    found = written(connector, updated(native, name="A2"), updated(merged, name="B2"))
    assert found[f"u{native}"].result is Result.DONE
    assert found[f"u{merged}"].result is Result.UNKNOWN


def test_fewer_unnamed_errors_than_silent_records_leave_all_of_them_unknown(portal, connector) -> None:
    said = {"results": [], "errors": [refusal("no")]}
    portal.hooks.append(once("/batch/create", (207, said)))
    found = written(connector, created("a"), created("b"))
    assert {one.result for one in found.values()} == {Result.UNKNOWN}


def test_create_without_a_key_is_sent_by_itself(portal, connector) -> None:
    changes = [replace(created(str(n)), key=None) for n in range(3)]
    found = written(connector, *changes)
    assert {one.result for one in found.values()} == {Result.DONE}
    assert portal.counted()[CREATE] == 3


# clashes


def test_key_that_is_taken_gives_the_record_that_has_it(portal, connector) -> None:
    there = portal.put("deals", dealname="Edited since", crmkit_uid=created("1").key)
    found = written(connector, created("1"), created("2"))
    assert (found["1"].result, found["1"].ref.id) == (Result.EXISTS, there)
    assert found["2"].result is Result.DONE
    assert portal.objects["deals"][there]["dealname"] == "Edited since"
    assert portal.counted()[READ] == 1


def test_clash_with_a_body_that_nobody_documented_is_still_found_by_key(portal, connector) -> None:
    there = portal.put("deals", crmkit_uid=created("1").key)
    portal.hooks.append(once("/batch/create", (409, {"status": "error", "message": "whatever"})))
    found = written(connector, created("1"))
    assert (found["1"].result, found["1"].ref.id) == (Result.EXISTS, there)


def test_key_held_by_an_archived_record_is_told(portal, connector) -> None:
    portal.archived["deals"]["66"] = {"crmkit_uid": created("1").key}
    said = {"results": [], "errors": [invalid("crmkit_uid", "CONFLICTING_UNIQUE_VALUE")]}
    portal.hooks.append(once("/batch/create", (207, said)))
    found = written(connector, created("1"))
    assert found["1"].result is Result.REJECTED
    assert found["1"].field == "key"
    assert "archived record (66)" in found["1"].reason


def test_refused_create_whose_key_cannot_be_looked_up_is_not_called_refused(portal, connector) -> None:
    portal.hooks.append(
        lambda method, path, body: (503, {"message": "down"}) if path.endswith("/batch/read") else None
    )
    found = written(connector, created("1", owner_id="BOOM"))
    assert found["1"].result is Result.UNSENT


def test_contact_with_a_taken_address_exists(portal, connector) -> None:
    there = portal.put("contacts", email="ann@example.com")
    found = written(connector, created("1", Kind.CONTACT, emails=("Ann@Example.com",)))
    assert (found["1"].result, found["1"].ref.id) == (Result.EXISTS, there)


def test_unique_clash_that_names_no_record_is_looked_up_by_its_value(portal, connector) -> None:
    there = portal.put("contacts", email="ann@example.com")
    said = {"results": [], "errors": [invalid("email", "CONFLICTING_UNIQUE_VALUE")]}
    portal.hooks.append(once("/batch/create", (207, said)))
    found = written(connector, created("1", Kind.CONTACT, emails=("ann@example.com",)))
    assert (found["1"].result, found["1"].ref.id, found["1"].field) == (Result.EXISTS, there, "emails")


def test_further_addresses_that_are_refused_do_not_lose_the_contact(portal, connector) -> None:
    portal.more_emails = False
    change = created("1", Kind.CONTACT, last_name="Ash", emails=("a@example.com", "b@example.com"))
    found = written(connector, change, created("2", Kind.CONTACT, last_name="Birch"))
    assert {one.result for one in found.values()} == {Result.DONE}
    assert "READ_ONLY_VALUE" in found["1"].unwritten["emails"]
    assert portal.objects["contacts"][found["1"].ref.id]["email"] == "a@example.com"
    assert found["2"].unwritten == {}


# updates and deletes


def test_update_sends_only_the_fields_it_names(portal, connector) -> None:
    native = portal.put("deals", dealname="A", amount="5", hubspot_owner_id="910")
    written(connector, updated(native, amount=Decimal("20.10")))
    (body,) = portal.bodies("/batch/update")
    assert [one["properties"] for one in body["inputs"]] == [{"amount": "20.10"}]


def test_clearing_sends_the_empty_text(portal, connector) -> None:
    native = portal.put("deals", amount="5", closedate="2026-12-07T00:00:00.000Z")
    written(connector, updated(native, amount=None, expected_close=None, owner_id=None))
    assert portal.objects["deals"][native] == {"amount": "", "closedate": "", "hubspot_owner_id": ""}


def test_stage_of_another_pipeline_goes_with_its_pipeline_in_one_input(portal, connector) -> None:
    native = portal.put("deals", pipeline="default", dealstage="new")
    written(connector, updated(native, pipeline_id="p2", stage_id="s9"))
    assert portal.bodies("/batch/update")[0]["inputs"][0]["properties"] == {
        "pipeline": "p2",
        "dealstage": "s9",
    }


def test_outcome_alone_writes_nothing_because_the_stage_tells_it(portal, connector) -> None:
    native = portal.put("deals", dealstage="new")
    found = written(connector, updated(native, outcome=Outcome.WON))
    assert found[f"u{native}"].result is Result.DONE
    assert portal.bodies("/batch/update") == []


def test_update_of_a_record_that_is_gone_says_so(portal, connector) -> None:
    native = portal.put("deals")
    found = written(connector, updated(native, name="A"), updated("99", name="B"))
    assert found["u99"].result is Result.GONE
    assert found[f"u{native}"].result is Result.DONE


def test_update_that_hubspot_answers_with_404_as_a_whole_is_taken_apart(portal, connector) -> None:
    native = portal.put("deals")

    def not_found(method: str, path: str, body: Any) -> tuple[int, Any] | None:
        absent = path.endswith("/batch/update") and any(one["id"] == "99" for one in body["inputs"])
        return (404, {"message": "resource not found"}) if absent else None

    portal.hooks.append(not_found)
    found = written(connector, updated(native, name="A"), updated("99", name="B"))
    assert found["u99"].result is Result.GONE
    assert found[f"u{native}"].result is Result.DONE


def test_deletes_go_to_the_recycle_bin_in_batches(portal, connector) -> None:
    ids = [portal.put("deals") for _ in range(150)]
    found = written(connector, *[deleted(native) for native in ids])
    assert {one.result for one in found.values()} == {Result.DONE}
    assert sorted(portal.archived["deals"]) == sorted(ids)
    assert portal.counted()["POST /crm/v3/objects/deals/batch/archive"] == 2


def test_deleting_what_is_gone_is_done(portal, connector) -> None:
    assert written(connector, deleted("99"))["d99"].result is Result.DONE


def test_companies_and_contacts_are_deleted_too(portal, connector) -> None:
    company, person = portal.put("companies"), portal.put("contacts")
    written(connector, deleted(company, Kind.COMPANY))
    written(connector, deleted(person, Kind.CONTACT))
    assert (list(portal.archived["companies"]), list(portal.archived["contacts"])) == ([company], [person])


def test_contact_gets_its_name_from_one_text(portal, connector) -> None:
    found = written(connector, created("1", Kind.CONTACT, name="Ann  Marie Ash"))
    held = portal.objects["contacts"][found["1"].ref.id]
    assert (held["firstname"], held["lastname"]) == ("Ann Marie", "Ash")


# what cannot be written


def test_field_that_hubspot_cannot_hold_is_reported_and_the_rest_is_written(portal, connector) -> None:
    found = written(connector, created("1", amount=Decimal(5), currency="CHF", tags=("hot",)))
    assert found["1"].result is Result.DONE
    assert sorted(found["1"].unwritten) == ["amount", "currency", "tags"]
    assert "amount" not in portal.objects["deals"][found["1"].ref.id]


def test_update_of_which_nothing_can_be_written_is_refused_without_a_call(portal, connector) -> None:
    found = written(connector, updated("1", tags=("hot",)))
    assert (found["u1"].result, found["u1"].field) == (Result.REJECTED, "tags")
    assert portal.bodies("/batch/update") == []


def test_portal_with_one_currency_is_not_sent_one(portal, connector) -> None:
    portal.currencies = []
    found = written(connector, created("1", amount=Decimal(5), currency="USD"))
    assert "deal_currency_code" not in portal.objects["deals"][found["1"].ref.id]
    assert found["1"].unwritten == {}


def test_refused_property_is_named_in_the_models_words(portal, connector) -> None:
    found = written(connector, created("1", **{"custom.nope": "x"}), created("2", owner_id="BOOM"))
    assert found["1"].field == "custom.nope"
    assert found["1"].reason == "VALIDATION_ERROR: PROPERTY_DOESNT_EXIST (nope)"
    assert found["2"].field == "owner_id"


def test_reason_quotes_neither_values_nor_secrets(portal, connector) -> None:
    said = refusal("Bad name Carla Secretive of carla@example.com, token pat-na1-secret")
    portal.hooks.append(once("/batch/create", (400, said)))
    reason = written(connector, created("1", name="Carla Secretive"))["1"].reason
    assert "Bad name" in reason
    for private in ("Carla", "carla@example.com", "pat-na1-secret"):
        assert private not in reason


def test_link_to_a_record_that_is_gone_names_its_field(portal, connector) -> None:
    found = written(connector, created("1", companies=("404404",)))
    assert (found["1"].result, found["1"].field) == (Result.REJECTED, "companies")


# failures of the wire


@pytest.mark.parametrize("said", [(500, {"message": "oops"}), (201, b'{"status":"COMP'), (201, {"no": 1})])
def test_answer_that_proves_nothing_leaves_a_create_unknown(portal, connector, said) -> None:
    portal.hooks.append(once("/batch/create", said))
    found = written(connector, created("1"))
    assert found["1"].result is Result.UNKNOWN
    assert portal.counted()[CREATE] == 1


def test_lost_connection_leaves_only_its_own_batch_unknown(portal, connector) -> None:
    portal.hooks.append(once("/batch/create", (502, b"<html>")))
    found = written(connector, *[created(str(n)) for n in range(200)])
    results = [one.result for one in found.values()]
    assert (results.count(Result.UNKNOWN), results.count(Result.DONE)) == (100, 100)


def test_half_that_got_no_answer_does_not_make_the_other_half_unknown(portal, connector) -> None:
    portal.traces = False

    def lost(method: str, path: str, body: Any) -> tuple[int, Any] | None:
        mine = path.endswith("/batch/create") and body["inputs"][0]["properties"]["dealname"] == "Deal 2"
        return (503, {"message": "down"}) if mine else None

    portal.hooks.append(lost)
    changes = [created("0", owner_id="BOOM"), created("1"), created("2"), created("3")]
    found = written(connector, *changes)
    assert [found[str(n)].result for n in range(4)] == [
        Result.REJECTED,
        Result.DONE,
        Result.UNKNOWN,
        Result.UNKNOWN,
    ]


@pytest.mark.parametrize(
    "said",
    [(423, {"status": "error", "message": "locked"}),
     (429, {"status": "error", "policyName": "TEN_SECONDLY_ROLLING", "message": "slow down"})],
)  # fmt: skip
def test_lock_is_waited_for_and_never_unknown(portal, connector, clock, said) -> None:
    portal.hooks.append(once("/batch/create", said))
    found = written(connector, created("1"))
    assert found["1"].result is Result.DONE
    assert portal.counted()[CREATE] == 2
    assert clock.slept


def test_end_of_the_days_budget_leaves_the_rest_unsent(portal, connector) -> None:
    daily = {"status": "error", "policyName": "DAILY", "message": "You have reached your daily limit."}
    portal.hooks.append(lambda method, path, body: (429, daily) if path.endswith("/create") else None)
    found = written(connector, *[created(str(n)) for n in range(300)])
    assert {one.result for one in found.values()} == {Result.UNSENT}


def test_missing_scope_is_raised_after_the_outcomes(portal, connector) -> None:
    said = refusal("no scope", "MISSING_SCOPES",
                   errors=[{"context": {"requiredGranularScopes": ["crm.objects.deals.write"]}}])  # fmt: skip
    portal.hooks.append(lambda method, path, body: (403, said) if path.endswith("/create") else None)
    found: list[Any] = []
    groups = connector.write([created("1")])
    found += next(groups)
    with pytest.raises(CredentialsError, match=r"crm\.objects\.deals\.write"):
        next(groups)
    assert [one.result for one in found] == [Result.UNSENT]


def test_run_that_only_reads_sends_nothing(portal, make_context) -> None:
    context = replace(make_context("hub", token="t0ken"), read_only=True)
    connector = HubSpotConnector(context)
    with pytest.raises(Unsupported):
        connector.write([created("1")])
    portal.properties["deals"].pop("crmkit_uid")
    with pytest.raises(Unsupported):
        connector.prepare([Kind.DEAL])
    assert {method for method, _, _, _ in portal.asked} <= {"GET"}
    connector.close()


def test_what_cannot_be_written_is_refused_before_any_call(portal, connector) -> None:
    owner = Change("1", Act.UPDATE, Kind.OWNER, Ref("hub", Kind.OWNER, "1"), {"name": "A"})
    with pytest.raises(Unsupported):
        connector.write([owner])
    assert portal.asked == []


# notes


def note(id_: str, **values: Any) -> Change:
    return Change(id_, Act.CREATE, Kind.NOTE, values=values, key=f"ck1:aa:bb:note:{id_}")


def test_notes_are_created_with_their_links_and_carry_their_marker(portal, connector) -> None:
    deal, company = portal.put("deals"), portal.put("companies")
    at = datetime(2021, 11, 12, 15, 48, 22, tzinfo=UTC)
    change = note("7", text="Spoke & agreed\nTo do: x < y", deal_id=deal, company_id=company, at=at)
    found = written(connector, change, note("8", text="<p>Rich</p>", deal_id=deal, at=at))
    held = portal.objects["notes"][found["7"].ref.id]
    assert held == {
        "hs_note_body": "Spoke &amp; agreed<br>To do: x &lt; y<br>ck1:aa:bb:note:7",
        "hs_timestamp": "2021-11-12T15:48:22.000Z",
    }
    assert portal.objects["notes"][found["8"].ref.id]["hs_note_body"] == "<p>Rich</p><br>ck1:aa:bb:note:8"
    assert portal.linked("notes", found["7"].ref.id, "deals") == {deal: [214]}
    assert portal.linked("notes", found["7"].ref.id, "companies") == {company: [190]}
    assert portal.counted()["POST /crm/v3/objects/notes/batch/create"] == 1


def test_note_whose_text_has_the_marker_already_gets_no_second_one(portal, connector) -> None:
    found = written(connector, note("7", text="Called\nck1:aa:bb:note:7"))
    body = portal.objects["notes"][found["7"].ref.id]["hs_note_body"]
    assert body == "Called<br>ck1:aa:bb:note:7"


def test_note_without_a_time_is_put_at_now_because_hubspot_wants_one(portal, connector) -> None:
    found = written(connector, note("7", text="x"))
    assert portal.objects["notes"][found["7"].ref.id]["hs_timestamp"] == "2026-11-23T12:00:00.000Z"


def test_notes_are_found_by_their_exact_marker_among_those_of_their_deal(portal, connector) -> None:
    deal = portal.put("deals")
    found = written(connector, note("7", text="a", deal_id=deal), note("70", text="b", deal_id=deal))
    parent = Ref("hub", Kind.DEAL, deal)
    lookups = [Lookup(Kind.NOTE, f"ck1:aa:bb:note:{id_}", parent) for id_ in ("7", "70", "700")]
    assert connector.find(lookups) == {
        "ck1:aa:bb:note:7": [found["7"].ref],
        "ck1:aa:bb:note:70": [found["70"].ref],
    }


def test_note_without_a_parent_is_not_called_absent(portal, connector) -> None:
    with pytest.raises(Unsupported):
        connector.find([Lookup(Kind.NOTE, "ck1:aa:bb:note:7")])


# what both sides agree on


def test_keys_that_were_written_are_found_and_read_back_exactly(portal, connector) -> None:
    changes = [created(str(n)) for n in range(250)]
    found = written(connector, *changes)
    portal.asked.clear()
    lookups = [Lookup(Kind.DEAL, change.key) for change in changes]
    told = connector.find([*lookups, Lookup(Kind.DEAL, "ck1:none")])
    assert told == {change.key: [found[change.id].ref] for change in changes}
    assert portal.counted() == {READ: 3}
    some = [found["3"].ref]
    assert [deal.key for deal in connector.get(some)] == [changes[3].key]


def test_note_read_back_has_the_text_that_holds_promises(portal, connector) -> None:
    deal = portal.put("deals")
    portal.properties["notes"]["hs_lastmodifieddate"] = {"name": "hs_lastmodifieddate"}
    found = written(connector, note("7", text="a & b", deal_id=deal))
    (read,) = connector.get([found["7"].ref])
    assert isinstance(read, Note)
    held = connector.holds(Kind.NOTE, {"text": "a & b\nck1:aa:bb:note:7"})
    assert read.text == held["text"]


# the key's property


def test_missing_key_properties_are_named_made_and_then_there(portal, connector) -> None:
    del portal.properties["deals"]["crmkit_uid"], portal.properties["contacts"]["crmkit_uid"]
    kinds = [Kind.DEAL, Kind.COMPANY, Kind.CONTACT, Kind.NOTE]
    missing = connector.unprepared(kinds)
    assert [one.split()[1] for one in missing] == ["deal", "contact"]
    assert connector.prepare(kinds) == missing
    made = portal.properties["deals"]["crmkit_uid"]
    assert (made["hasUniqueValue"], made["type"], made["groupName"]) == (True, "string", "dealinformation")
    assert connector.prepare(kinds) == []
    assert connector.unprepared(kinds) == []


def test_key_property_that_is_not_unique_is_refused(portal, connector) -> None:
    portal.add_key("deals", hasUniqueValue=False)
    with pytest.raises(Rejected, match="does not hold unique texts"):
        connector.prepare([Kind.DEAL])


def test_key_property_that_somebody_else_made_meanwhile_is_used(portal, connector) -> None:
    del portal.properties["deals"]["crmkit_uid"]

    def raced(method: str, path: str, body: Any) -> None:
        if method == "POST" and path.endswith("/properties/deals"):
            portal.add_key("deals")

    portal.hooks.append(raced)
    assert len(connector.prepare([Kind.DEAL])) == 1


def test_login_that_may_not_make_properties_learns_what_to_click(portal, connector) -> None:
    del portal.properties["deals"]["crmkit_uid"]
    said = refusal("no scope", "MISSING_SCOPES")
    portal.hooks.append(lambda method, path, body: (403, said) if method == "POST" else None)
    with pytest.raises(AccessDenied) as caught:
        connector.prepare([Kind.DEAL])
    assert "Require unique values" in caught.value.hint
    assert "crm.schemas.deals.write" in caught.value.hint


def test_without_the_property_nothing_carries_a_key(portal, connector) -> None:
    del portal.properties["deals"]["crmkit_uid"]
    assert connector.find([Lookup(Kind.DEAL, "ck1:x")]) == {}


def test_key_that_a_lookup_keeps_silent_about_is_asked_for_by_itself(portal, connector) -> None:
    there = portal.put("deals", crmkit_uid="ck1:x")
    portal.hooks.append(once("/batch/read", (200, {"status": "COMPLETE", "results": []})))
    assert connector.find([Lookup(Kind.DEAL, "ck1:x")]) == {"ck1:x": [Ref("hub", Kind.DEAL, there)]}


# what it costs


@pytest.mark.parametrize("act", ["create", "update", "delete"])
def test_ten_thousand_records_take_the_hundred_requests_of_the_budget(portal, make_context, act) -> None:
    connector = HubSpotConnector(make_context("hub", token="t"))
    connector.check()
    company = portal.put("companies")
    if act == "create":
        changes = [created(str(n), companies=(company,)) for n in range(10_000)]
    else:
        ids = [portal.put("deals") for _ in range(10_000)]
        changes = [updated(n, name="B") if act == "update" else deleted(n) for n in ids]
    portal.asked.clear()
    before = connector.context.usage.requests
    for at in range(0, len(changes), 1000):
        written(connector, *changes[at : at + 1000])
    assert connector.context.usage.requests - before == len(portal.asked) == 100
    budget = connector.budget(changes)
    assert (budget.requests, budget.units, budget.seconds) == (100, 100, 0.0)
    connector.close()
