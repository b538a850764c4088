"""HubSpot: custom fields are made over HTTP, written and read like any other.

Pipelines and deals of the past, which a migration creates beside them, are here too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from crmkit.connectors.base import Field
from crmkit.connectors.hubspot.connector import HubSpotConnector
from crmkit.connectors.hubspot.customs import property_body, property_name
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import AccessDenied, OutcomeUnknown, Rejected, Unsupported
from crmkit.model import Deal, Kind, Note, Outcome, Pipeline, Ref, Stage
from crmkit.sandbox.faults import Fault, FaultPlan, Scripted
from tests.sandbox_bench import SandboxBench, bench

EXAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "hubspot"
KINDS = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
OF = {Kind.DEAL: "deals", Kind.COMPANY: "companies", Kind.CONTACT: "contacts"}
ODD = {"1": "🔥 Hot, very", "2": 'The "best"; really', "3": "𝒲arm", "4": "Größe", "5": "热"}
VALUES: dict[str, Any] = {
    "text": "Zeile 1\nZeile 2 — 🚀",
    "number": Decimal("1234.5678"),
    "money": Decimal("999999999.99"),
    "boolean": False,
    "day": date(2019, 2, 28),
    "time": datetime(2019, 3, 31, 1, 30, 15, 123000, tzinfo=UTC),
}
NAMES = {
    Kind.DEAL: {"name": "A deal"},
    Kind.COMPANY: {"name": "A company"},
    Kind.CONTACT: {"last_name": "Person"},
}


@pytest.fixture
def box() -> Iterator[SandboxBench]:
    with bench("hubspot", deals=30) as made:
        yield made


@pytest.fixture
def crm(box: SandboxBench) -> Iterator[HubSpotConnector]:
    made = box.connect()
    assert isinstance(made, HubSpotConnector)
    yield made
    made.close()


def field(type_: str, label: str = "A field", **more: Any) -> Field:
    options = ODD if type_ in ("choice", "choices") else {}
    return Field("", label, type_, **{"options": options, **more})


def written(crm: HubSpotConnector, *changes: Change) -> list[Written]:
    return [one for group in crm.write(changes) for one in group]


def place(crm: HubSpotConnector, outcome: Outcome = Outcome.OPEN) -> dict[str, str]:
    [page] = crm.read(Kind.PIPELINE)
    pipeline = page.records[0]
    assert isinstance(pipeline, Pipeline)
    stage = next(one for one in pipeline.stages if one.outcome is outcome)
    return {"pipeline_id": pipeline.ref.id, "stage_id": stage.id}


def created(crm: HubSpotConnector, kind: Kind, values: dict[str, Any]) -> Any:
    """A new record as it is read back, and nothing of it unwritten."""
    where = place(crm) if kind is Kind.DEAL and "stage_id" not in values else {}
    [one] = written(crm, Change("1", Act.CREATE, kind, values={**NAMES.get(kind, {}), **where, **values}))
    assert (one.result, one.unwritten) == (Result.DONE, {}), one
    assert one.ref
    [record] = crm.get([one.ref])
    return record


def listed(crm: HubSpotConnector, kind: Kind, label: str) -> list[Field]:
    return [one for one in crm.fields(kind) if one.label == label]


def picked(made: Field, *labels: str) -> tuple[str, ...]:
    ids = {label: native for native, label in made.options.items()}
    return tuple(ids[label] for label in labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("type_", sorted(HubSpotConnector.capabilities.creatable_fields[Kind.DEAL]))
def test_field_is_listed_with_its_type_and_holds_values(crm, kind: Kind, type_: str) -> None:
    crm.fields(kind)
    list(crm.read(kind))  # all that is remembered of the schema is from before
    made = crm.create_field(kind, field(type_))
    assert listed(crm, kind, "A field") == [made]
    assert (made.type, made.custom, made.read_only) == (type_, True, False)
    assert set(made.options.values()) == (set(ODD.values()) if type_ in ("choice", "choices") else set())
    chosen = (
        picked(made, ODD["1"], ODD["2"]) if type_ == "choices" else made.options and next(iter(made.options))
    )
    value = VALUES.get(type_, chosen)
    name = f"custom.{made.id}"
    assert crm.holds(kind, {name: value}) == {name: value}
    assert created(crm, kind, {name: value}).custom[made.id] == value


def test_value_written_by_an_open_connection_is_in_the_next_whole_read(crm) -> None:
    list(crm.read(Kind.COMPANY))
    made = crm.create_field(Kind.COMPANY, field("number"))
    company = created(crm, Kind.COMPANY, {f"custom.{made.id}": Decimal(5)})
    found = {one.ref: one for page in crm.read(Kind.COMPANY) for one in page.records}
    assert found[company.ref].custom[made.id] == 5


def test_other_connection_made_before_sees_the_field_when_it_reads(box, crm) -> None:
    other = box.connect(name="other")
    list(other.read(Kind.DEAL))
    made = crm.create_field(Kind.DEAL, field("text"))
    deal = created(crm, Kind.DEAL, {f"custom.{made.id}": "x"})
    found = {one.ref.id: one for page in other.read(Kind.DEAL) for one in page.records}
    other.close()
    assert found[deal.ref.id].custom[made.id] == "x"


@pytest.mark.parametrize("type_", ["text", "money", "boolean", "choices"])
def test_second_call_finds_the_field_and_writes_nothing(box, crm, type_: str) -> None:
    made = crm.create_field(Kind.DEAL, field(type_))
    before = box.written()
    assert crm.create_field(Kind.DEAL, field(type_)) == made
    assert box.written() == before


def test_options_that_are_lacking_are_added_and_the_others_stay(crm) -> None:
    first = crm.create_field(Kind.CONTACT, field("choice", options={"a": "Eins", "b": "🔥"}))
    record = created(crm, Kind.CONTACT, {f"custom.{first.id}": picked(first, "🔥")[0]})
    second = crm.create_field(Kind.CONTACT, field("choice", options={"x": "🔥", "y": "🚀", "z": "Eins"}))
    assert second.id == first.id
    assert list(second.options.values()) == ["Eins", "🔥", "🚀"]
    assert dict(list(second.options.items())[:2]) == dict(first.options)
    [again] = crm.get([record.ref])
    assert again.custom == record.custom
    assert created(crm, Kind.CONTACT, {f"custom.{first.id}": picked(second, "🚀")[0]}).custom == {
        first.id: picked(second, "🚀")[0]
    }


def test_lost_answer_is_looked_up_at_once(box, crm) -> None:
    box.lose_answer()
    made = crm.create_field(Kind.DEAL, field("choice"))
    assert listed(crm, Kind.DEAL, "A field") == [made]


@pytest.mark.parametrize("fault", [Fault.GARBAGE, Fault.COMMIT_LATE])
def test_same_call_after_one_without_an_answer_makes_one_field(box, crm, fault: Fault) -> None:
    box.app.faults = FaultPlan(script=[Scripted(fault, "write")])
    with pytest.raises(OutcomeUnknown):
        crm.create_field(Kind.DEAL, field("choice"))
    made = crm.create_field(Kind.DEAL, field("choice"))
    box.settle()
    assert listed(crm, Kind.DEAL, "A field") == [made]


def test_lost_answer_to_new_options_is_looked_up(box, crm) -> None:
    crm.create_field(Kind.DEAL, field("choice", options={"a": "Eins"}))
    box.lose_answer()
    made = crm.create_field(Kind.DEAL, field("choice", options={"b": "Zwei"}))
    assert list(made.options.values()) == ["Eins", "Zwei"]


@pytest.mark.parametrize(
    ("label", "type_"),
    [("Amount", "text"), ("Order ID", "choices"), ("HS score", "number"), ("🔥", "day"), ("2nd", "boolean")],
)
def test_label_that_makes_an_awkward_name_still_makes_a_field_of_its_type(crm, label, type_) -> None:
    made = crm.create_field(Kind.DEAL, field(type_, label))
    assert (made.label, made.type, made.custom) == (label, type_, True)
    assert made in crm.fields(Kind.DEAL)


def test_name_comes_from_the_hint_where_that_is_readable() -> None:
    assert property_name(field("text", "Länge (cm)"), ()) == "lange_cm"
    assert property_name(Field("Lead Score", "x", "number"), ()) == "lead_score"
    assert property_name(Field("5501", "Lead score", "number"), {"lead_score"}) == "lead_score_2"


def test_archived_field_is_not_brought_back(box, crm) -> None:
    old = crm.create_field(Kind.DEAL, field("number"))
    deal = created(crm, Kind.DEAL, {f"custom.{old.id}": Decimal(7)})
    path = f"{box.app.base_url}/crm/v3/properties/deals/{old.id}"
    requests.delete(
        path, headers={"authorization": f"Bearer {box.app.credentials['token']}"}, timeout=5
    ).raise_for_status()
    made = crm.create_field(Kind.DEAL, field("number"))
    [again] = crm.get([deal.ref])
    assert made.id != old.id
    assert made.id not in again.custom


def test_field_of_that_label_and_another_type_is_refused(crm) -> None:
    crm.create_field(Kind.DEAL, field("text"))
    with pytest.raises(Rejected, match="of type text instead of day"):
        crm.create_field(Kind.DEAL, field("day"))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (field("choice", options={}), "at least one option"),
        (field("choice", options={"1": " "}), "an option is empty"),
        (field("choices", options={"1": "a\ud800"}), "half a character"),
        (field("text", "  "), "the label is empty"),
        (field("text", "a\x00b"), "control character"),
    ],
)
def test_label_that_cannot_be_kept_is_refused_before_any_call(box, crm, wanted: Field, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        crm.create_field(Kind.DEAL, wanted)
    assert box.app.requests.total == 0


@pytest.mark.parametrize(
    ("kind", "type_"), [(Kind.DEAL, "owner"), (Kind.DEAL, "link"), (Kind.NOTE, "text"), (Kind.OWNER, "text")]
)
def test_type_or_kind_that_cannot_be_made_is_refused_before_any_call(box, crm, kind, type_) -> None:
    with pytest.raises(Unsupported):
        crm.create_field(kind, field(type_))
    assert box.app.requests.total == 0


def test_reading_run_makes_no_field(box) -> None:
    crm = box.connect(read_only=True)
    with pytest.raises(Unsupported, match="only reads"):
        crm.create_field(Kind.DEAL, field("text"))
    crm.close()


def test_login_without_the_right_is_told_what_to_click() -> None:
    with bench("hubspot", deals=5, extra={"missing_scopes": ["crm.schemas.deals.write"]}) as box:
        crm = box.connect()
        with pytest.raises(AccessDenied) as caught:
            crm.create_field(Kind.DEAL, field("choice"))
        crm.close()
    assert "crm.schemas.deals.write" in caught.value.hint
    assert "A field" in caught.value.hint


def test_text_is_long_unless_it_is_known_to_be_short() -> None:
    lengths = {None: "textarea", 256: "textarea", 255: "text", 1: "text"}
    made = {n: property_body(Kind.DEAL, field("text", max_length=n), ())["fieldType"] for n in lengths}
    assert made == lengths


def test_property_that_is_sent_has_the_shape_of_the_official_schema() -> None:
    if not EXAMPLES.exists():
        pytest.skip("needs the official schemas")
    schema = json.loads((EXAMPLES / "openapi.json").read_text())["components"]["schemas"]["PropertyCreate"]
    option = json.loads((EXAMPLES / "openapi.json").read_text())["components"]["schemas"]["OptionInput"]
    for type_ in HubSpotConnector.capabilities.creatable_fields[Kind.DEAL]:
        body = property_body(Kind.DEAL, field(type_), ())
        assert set(schema["required"]) <= body.keys() <= schema["properties"].keys()
        for name in ("type", "fieldType"):
            assert body[name] in schema["properties"][name]["enum"]
        for one in body.get("options", ()):
            assert set(option["required"]) <= one.keys() <= option["properties"].keys()


def test_company_and_contact_fields_tell_what_hubspot_tells(crm) -> None:
    for kind in (Kind.COMPANY, Kind.CONTACT):
        made = crm.create_field(kind, field("choice"))
        crm.prepare([kind])
        found = {one.id: one for one in crm.fields(kind)}
        assert found["crmkit_uid"].unique
        assert found["crmkit_uid"].max_length == 65_536
        assert found["hs_object_id"].read_only
        assert found[made.id] == made


# pipelines

STAGES = (
    Stage(id="s1", name="Erstkontakt 👋", order=0, probability=Decimal("0.1")),
    Stage(id="s2", name='Qualified "yes"', order=1, probability=Decimal("0.2")),
    Stage(id="s3", name="Démo, longue", order=2, probability=Decimal("0.4")),
    Stage(id="s4", name="Proposal", order=3, probability=Decimal("0.6")),
    Stage(id="s5", name="Verhandlung <3", order=4, probability=Decimal("0.9")),
    Stage(id="s6", name="Won 🏆", order=5, probability=Decimal(1), outcome=Outcome.WON),
    Stage(id="s7", name="Lost to 'them'", order=6, probability=Decimal(0), outcome=Outcome.LOST),
    Stage(id="s8", name="Abandoned", order=7, probability=Decimal(0), outcome=Outcome.LOST),
)


def told(stages: tuple[Stage, ...]) -> list[tuple[Any, ...]]:
    return [(one.name, one.order, one.outcome, one.probability) for one in stages]


def test_pipelines_with_stages_alike_read_back_as_they_were_made(crm) -> None:
    made = {}
    for name in ('Sales "EMEA" 🚀', "Sales, APAC"):
        change = Change(name, Act.CREATE, Kind.PIPELINE, values={"name": name, "stages": STAGES})
        [one] = written(crm, change)
        assert (one.result, one.unwritten) == (Result.DONE, {})
        made[name] = one.ref
    found = {one.ref: one for one in crm.get(list(made.values()))}
    assert {name: told(found[ref].stages) for name, ref in made.items()} == dict.fromkeys(made, told(STAGES))
    assert [found[ref].name for ref in made.values()] == list(made)
    ids = [stage.id for one in found.values() for stage in one.stages]
    assert len(set(ids)) == 16


def test_same_pipeline_again_is_there_already(crm) -> None:
    change = Change("1", Act.CREATE, Kind.PIPELINE, values={"name": "Neu 🚀", "stages": STAGES})
    [first] = written(crm, change)
    [second] = written(crm, change)
    assert (second.result, second.ref) == (Result.EXISTS, first.ref)


def test_deal_can_be_created_in_a_pipeline_made_just_now(crm) -> None:
    list(crm.read(Kind.DEAL))
    values = {"name": "Neu", "stages": STAGES}
    [made] = written(crm, Change("1", Act.CREATE, Kind.PIPELINE, values=values))
    [pipeline] = crm.get([made.ref])
    lost = pipeline.stages[7]
    deal = created(crm, Kind.DEAL, {"pipeline_id": pipeline.ref.id, "stage_id": lost.id})
    assert (deal.stage_id, deal.outcome) == (lost.id, Outcome.LOST)


# the past

LONG_AGO = datetime(2017, 5, 3, 10, 20, 30, 123000, tzinfo=UTC)
CLOSED = datetime(2018, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.mark.parametrize("outcome", [Outcome.WON, Outcome.LOST])
@pytest.mark.parametrize("seen", [False, True])
def test_closed_deal_of_years_ago_keeps_its_dates(crm, outcome: Outcome, seen: bool) -> None:
    if seen:
        list(crm.read(Kind.DEAL))
    values = {**place(crm, outcome), "created_at": LONG_AGO, "closed_at": CLOSED}
    deal = created(crm, Kind.DEAL, values)
    assert isinstance(deal, Deal)
    assert (deal.outcome, deal.created_at, deal.closed_at) == (outcome, LONG_AGO, CLOSED)


def test_note_keeps_its_time_and_author(crm) -> None:
    deal = created(crm, Kind.DEAL, {})
    [owner, *_] = [one for page in crm.read(Kind.OWNER) for one in page.records if one.active]
    values = {"text": "Damals", "deal_id": deal.ref.id, "at": LONG_AGO, "author_id": owner.ref.id}
    note = created(crm, Kind.NOTE, values)
    assert isinstance(note, Note)
    assert (note.at, note.author_id, note.deal_id) == (LONG_AGO, owner.ref.id, deal.ref.id)


def test_ref_of_a_made_pipeline_is_of_this_connection(crm) -> None:
    [one] = written(crm, Change("1", Act.CREATE, Kind.PIPELINE, values={"name": "N", "stages": STAGES}))
    assert one.ref == Ref("hubspot-test", Kind.PIPELINE, one.ref.id if one.ref else "")
