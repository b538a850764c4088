"""Zoho: custom fields are made over HTTP, written and read like any other.

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

from crmkit.connectors.base import Field
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.connectors.zoho.columns import to_field
from crmkit.connectors.zoho.connector import ZohoConnector
from crmkit.connectors.zoho.customs import all_choices, field_body
from crmkit.connectors.zoho.workspace import demanded
from crmkit.errors import AccessDenied, OutcomeUnknown, Rejected, Unsupported
from crmkit.model import Kind, Outcome, Pipeline, Stage
from crmkit.sandbox import rows
from crmkit.sandbox.faults import Fault, FaultPlan, Scripted
from tests.sandbox_bench import SandboxBench, bench

SPECS = Path(__file__).parents[3] / "shared" / "specs" / "zoho"
KINDS = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
ODD = {"1": "🔥 Hot, very", "2": 'The "best"; really', "3": "𝒲arm", "4": "Größe", "5": "热"}
VALUES: dict[str, Any] = {
    "text": "Zeile 1\nZeile 2 — 🚀",
    "number": Decimal("1234.5678"),
    "money": Decimal("999999999.999"),
    "boolean": True,
    "day": date(2019, 2, 28),
    "time": datetime(2019, 3, 31, 1, 30, 15, tzinfo=UTC),
    "choice": ODD["1"],
    "choices": (ODD["3"], ODD["2"]),
}
NAMES = {
    Kind.DEAL: {"name": "A deal"},
    Kind.COMPANY: {"name": "A company"},
    Kind.CONTACT: {"last_name": "Person"},
}


@pytest.fixture
def box() -> Iterator[SandboxBench]:
    with bench("zoho", deals=30) as made:
        yield made


@pytest.fixture
def crm(box: SandboxBench) -> Iterator[ZohoConnector]:
    made = box.connect()
    assert isinstance(made, ZohoConnector)
    yield made
    made.close()


def field(type_: str, label: str = "A field", **more: Any) -> Field:
    options = ODD if type_ in ("choice", "choices") else {}
    return Field("", label, type_, **{"options": options, **more})


def written(crm: ZohoConnector, *changes: Change) -> list[Written]:
    return [one for group in crm.write(changes) for one in group]


def place(crm: ZohoConnector, outcome: Outcome = Outcome.OPEN) -> dict[str, str]:
    [page] = crm.read(Kind.PIPELINE)
    pipeline = page.records[0]
    assert isinstance(pipeline, Pipeline)
    stage = next(one for one in pipeline.stages if one.outcome is outcome)
    return {"pipeline_id": pipeline.ref.id, "stage_id": stage.id}


def created(crm: ZohoConnector, kind: Kind, values: dict[str, Any]) -> Any:
    """A new record as it is read back, and nothing of it unwritten."""
    where = place(crm) if kind is Kind.DEAL and "stage_id" not in values else {}
    [one] = written(crm, Change("1", Act.CREATE, kind, values={**NAMES.get(kind, {}), **where, **values}))
    assert (one.result, one.unwritten) == (Result.DONE, {}), one
    assert one.ref
    [record] = crm.get([one.ref])
    return record


def listed(crm: ZohoConnector, kind: Kind, label: str) -> list[Field]:
    return [one for one in crm.fields(kind) if one.label == label]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("type_", sorted(ZohoConnector.capabilities.creatable_fields[Kind.DEAL]))
def test_field_is_listed_with_its_type_and_holds_values(crm, kind: Kind, type_: str) -> None:
    crm.fields(kind)
    list(crm.read(kind))  # all that is remembered of the org is from before
    made = crm.create_field(kind, field(type_))
    assert listed(crm, kind, "A field") == [made]
    assert (made.type, made.custom, made.read_only) == (type_, True, False)
    assert set(made.options.values()) == (set(ODD.values()) if type_ in ("choice", "choices") else set())
    name, value = f"custom.{made.id}", VALUES[type_]
    assert crm.holds(kind, {name: value}) == {name: value}
    assert created(crm, kind, {name: value}).custom[made.id] == value


def test_value_written_by_an_open_connection_is_in_the_next_whole_read(crm) -> None:
    list(crm.read(Kind.COMPANY))
    made = crm.create_field(Kind.COMPANY, field("number"))
    company = created(crm, Kind.COMPANY, {f"custom.{made.id}": Decimal(5)})
    found = {one.ref: one for page in crm.read(Kind.COMPANY) for one in page.records}
    assert found[company.ref].custom[made.id] == 5


@pytest.mark.parametrize("type_", ["text", "money", "boolean", "choices"])
def test_second_call_finds_the_field_and_writes_nothing(box, crm, type_: str) -> None:
    made = crm.create_field(Kind.DEAL, field(type_))
    before = box.written()
    assert crm.create_field(Kind.DEAL, field(type_, "a  FIELD")) == made
    assert box.written() == before


def test_options_that_are_lacking_are_added_and_the_others_stay(crm) -> None:
    first = crm.create_field(Kind.CONTACT, field("choices", options={"a": "Eins", "b": "🔥"}))
    record = created(crm, Kind.CONTACT, {f"custom.{first.id}": ("🔥",)})
    second = crm.create_field(Kind.CONTACT, field("choices", options={"x": "🔥", "y": "🚀", "z": "Eins"}))
    assert second.id == first.id
    assert list(second.options) == ["Eins", "🔥", "🚀"]
    [again] = crm.get([record.ref])
    assert again.custom == record.custom
    assert created(crm, Kind.CONTACT, {f"custom.{first.id}": ("🚀",)}).custom[first.id] == ("🚀",)


def test_empty_choice_of_zoho_is_not_made_a_second_time() -> None:
    body = field_body(field("choice", options={"1": "-None-", "2": "Yes"}))
    assert [one["actual_value"] for one in body["pick_list_values"]] == ["Yes"]


def test_choices_that_are_there_are_sent_again_with_their_ids() -> None:
    there = {"id": "77", "display_value": "Eins", "actual_value": "1", "sequence_number": 1, "type": "used"}
    made = all_choices({"pick_list_values": [there]}, field("choice", options={"a": "Eins", "b": "Zwei"}))
    assert made == [
        {"id": "77", "display_value": "Eins", "actual_value": "1"},
        {"display_value": "Zwei", "actual_value": "Zwei"},
    ]


def test_lost_answer_is_looked_up_at_once(box, crm) -> None:
    box.lose_answer()
    made = crm.create_field(Kind.DEAL, field("choice"))
    assert listed(crm, Kind.DEAL, "A field") == [made]


def test_lost_answer_to_new_options_is_looked_up(box, crm) -> None:
    crm.create_field(Kind.DEAL, field("choice", options={"a": "Eins"}))
    box.lose_answer()
    made = crm.create_field(Kind.DEAL, field("choice", options={"b": "Zwei"}))
    assert list(made.options) == ["Eins", "Zwei"]


@pytest.mark.parametrize("fault", [Fault.GARBAGE, Fault.COMMIT_LATE])
def test_same_call_after_one_without_an_answer_makes_one_field(box, crm, fault: Fault) -> None:
    box.app.faults = FaultPlan(script=[Scripted(fault, "write")])
    with pytest.raises(OutcomeUnknown):
        crm.create_field(Kind.DEAL, field("choice"))
    made = crm.create_field(Kind.DEAL, field("choice"))
    box.settle()
    assert listed(crm, Kind.DEAL, "A field") == [made]


def test_key_field_whose_answer_is_lost_is_there(box, crm) -> None:
    box.lose_answer()
    crm.prepare([Kind.COMPANY])
    assert not crm.unprepared([Kind.COMPANY])


@pytest.mark.parametrize("label", ["🔥", "热", '2nd: "a", b', "Größe"])
def test_label_without_plain_letters_makes_a_field(crm, label: str) -> None:
    made = crm.create_field(Kind.DEAL, field("day", label))
    assert (made.label, made.type) == (label, "day")
    assert created(crm, Kind.DEAL, {f"custom.{made.id}": date(2020, 1, 2)}).custom[made.id] == date(
        2020, 1, 2
    )


def test_label_of_a_standard_field_is_refused_with_the_reason(crm) -> None:
    with pytest.raises(Rejected, match="another field of the module has this label"):
        crm.create_field(Kind.DEAL, field("text", "Amount"))


def test_label_that_is_too_long_is_refused_with_the_limit(crm) -> None:
    with pytest.raises(Rejected, match="maximum_length=25"):
        crm.create_field(Kind.DEAL, field("text", "A label with more than 25 letters"))


def test_field_of_that_label_and_another_type_is_refused(crm) -> None:
    crm.create_field(Kind.DEAL, field("text"))
    with pytest.raises(Rejected, match="of type text, and a day is wanted"):
        crm.create_field(Kind.DEAL, field("day"))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (field("choice", options={}), "at least one option"),
        (field("choice", options={"1": "-None-"}), "at least one option"),
        (field("choice", options={"1": " "}), "an option is empty"),
        (field("choice", options={"1": "x" * 121}), "longer than 120"),
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


@pytest.mark.parametrize(
    ("longest", "shape"),
    [
        (255, {"data_type": "text", "length": 255}),
        (1, {"data_type": "text", "length": 1}),
        (256, {"data_type": "textarea", "textarea": {"type": "small"}}),
        (2001, {"data_type": "textarea", "textarea": {"type": "large"}}),
        (None, {"data_type": "textarea", "textarea": {"type": "large"}}),
    ],
)
def test_text_is_as_long_as_it_may_be(longest: int | None, shape: dict[str, Any]) -> None:
    assert field_body(field("text", max_length=longest)) == {"field_label": "A field", **shape}


@pytest.mark.parametrize(("longest", "told"), [(80, 80), (500, 2000), (None, 32000)])
def test_length_of_a_text_is_told_and_kept_to(crm, longest: int | None, told: int) -> None:
    made = crm.create_field(Kind.CONTACT, field("text", max_length=longest))
    name = f"custom.{made.id}"
    assert made.max_length == told
    assert created(crm, Kind.CONTACT, {name: "x" * told}).custom[made.id] == "x" * told
    assert crm.cannot_hold(Kind.CONTACT, {name: "x" * (told + 1)}).keys() == {name}


def test_field_that_is_sent_has_the_shape_of_the_official_schema() -> None:
    if not SPECS.exists():
        pytest.skip("needs the official schemas")
    schemas = json.loads((SPECS / "openapi.json").read_text())["components"]["schemas"]
    schema = schemas["fields__FieldRequestBodySchema"]["properties"]["fields"]["items"]
    choice = schema["properties"]["pick_list_values"]["items"]
    for type_ in ZohoConnector.capabilities.creatable_fields[Kind.DEAL]:
        body = field_body(field(type_))
        assert set(schema["required"]) <= body.keys() <= schema["properties"].keys()
        assert body["data_type"] in schema["properties"]["data_type"]["enum"]
        for one in body.get("pick_list_values", ()):
            assert set(choice["required"]) <= one.keys() <= choice["properties"].keys()


def test_company_and_contact_fields_tell_what_zoho_tells(crm) -> None:
    for kind, name in ((Kind.COMPANY, "Account_Name"), (Kind.CONTACT, "Last_Name")):
        crm.prepare([kind])
        found = {one.id: one for one in crm.fields(kind)}
        assert found["Crmkit_Key"].unique
        assert found["Crmkit_Key"].max_length == 100
        assert found["Modified_Time"].read_only
        assert found[name].required


def test_field_that_only_a_layout_demands_is_required() -> None:
    field_of = {"api_name": "Region", "required": True}
    layouts = [
        {"status": "active", "sections": [{"fields": [field_of, {"api_name": "Type", "required": False}]}]},
        {"status": "inactive", "sections": [{"fields": [{"api_name": "Old", "required": True}]}]},
    ]
    assert list(demanded(layouts)) == ["Region"]
    meta = {"api_name": "Region", "field_label": "Region", "data_type": "text"}
    assert to_field(meta, {"Region"}).required
    assert not to_field(meta).required


# pipelines

WANTED: tuple[tuple[str, float, rows.Outcome], ...] = (
    ("Erstkontakt 👋", 0.1, "open"),
    ('Qualified "yes"', 0.25, "open"),
    ("Démo, longue", 0.4, "open"),
    ("Proposal", 0.6, "open"),
    ("Verhandlung <3", 0.9, "open"),
    ("Won 🏆", 1.0, "won"),
    ("Lost to 'them'", 0.0, "lost"),
    ("Abandoned", 0.0, "lost"),
)
STAGES = tuple(
    Stage(
        id=f"s{at}",
        name=name,
        order=at,
        probability=Decimal(str(chance)).quantize(Decimal("0.01")),
        outcome=Outcome(outcome),
    )
    for at, (name, chance, outcome) in enumerate(WANTED)
)


def add_stages(box: SandboxBench) -> None:
    """What an administrator does by hand: no call of Zoho's makes a stage."""
    box.app.org.spare_stages += [  # type: ignore[attr-defined]
        rows.Stage(
            f"73283950000009{at:05}", name, 0, outcome, chance, {"actual_value": name, "place": 500 + at}
        )
        for at, (name, chance, outcome) in enumerate(WANTED)
    ]


def told(stages: tuple[Stage, ...]) -> list[tuple[Any, ...]]:
    return [(one.name, one.outcome, one.probability) for one in stages]


def test_pipelines_with_stages_alike_read_back_as_they_were_made(box, crm) -> None:
    add_stages(box)
    made = {}
    for name in ('Sales "EMEA" 🚀', "Sales, APAC"):
        change = Change(name, Act.CREATE, Kind.PIPELINE, values={"name": name, "stages": STAGES})
        [one] = written(crm, change)
        assert (one.result, one.unwritten) == (Result.DONE, {}), one
        made[name] = one.ref
    found = {one.ref: one for one in crm.get(list(made.values()))}
    assert {name: told(found[ref].stages) for name, ref in made.items()} == dict.fromkeys(made, told(STAGES))
    assert [found[ref].name for ref in made.values()] == list(made)


def test_pipeline_with_stages_that_zoho_lacks_is_refused_with_their_names(crm) -> None:
    change = Change("1", Act.CREATE, Kind.PIPELINE, values={"name": "Neu", "stages": STAGES})
    [one] = written(crm, change)
    assert (one.result, one.field) == (Result.REJECTED, "stages")
    assert "Verhandlung <3" in one.reason


def test_same_pipeline_again_is_there_already(box, crm) -> None:
    add_stages(box)
    change = Change("1", Act.CREATE, Kind.PIPELINE, values={"name": "Neu 🚀", "stages": STAGES})
    [first] = written(crm, change)
    [second] = written(crm, change)
    assert (second.result, second.ref) == (Result.EXISTS, first.ref)


def test_deal_can_be_created_in_a_pipeline_made_just_now(box, crm) -> None:
    list(crm.read(Kind.DEAL))
    add_stages(box)
    values = {"name": "Neu", "stages": STAGES}
    [made] = written(crm, Change("1", Act.CREATE, Kind.PIPELINE, values=values))
    [pipeline] = crm.get([made.ref])
    lost = pipeline.stages[7]
    deal = created(crm, Kind.DEAL, {"pipeline_id": pipeline.ref.id, "stage_id": lost.id})
    assert (deal.pipeline_id, deal.stage_id, deal.outcome) == (pipeline.ref.id, lost.id, Outcome.LOST)


# the past


@pytest.mark.parametrize("outcome", [Outcome.WON, Outcome.LOST])
def test_closed_deal_of_years_ago_keeps_the_day_it_was_expected(crm, outcome: Outcome) -> None:
    deal = created(crm, Kind.DEAL, {**place(crm, outcome), "expected_close": date(2018, 1, 2)})
    assert (deal.outcome, deal.expected_close) == (outcome, date(2018, 1, 2))


@pytest.mark.parametrize("name", ["created_at", "closed_at"])
def test_time_that_zoho_cannot_be_given_is_not_promised_and_told(crm, name: str) -> None:
    writing = crm.capabilities.writing[Kind.DEAL]
    assert name not in writing.fields | writing.create_fields
    change = Change(
        "1",
        Act.CREATE,
        Kind.DEAL,
        values={"name": "Old", **place(crm, Outcome.WON), name: datetime(2018, 1, 2, tzinfo=UTC)},
    )
    [one] = written(crm, change)
    assert (one.result, one.unwritten.keys()) == (Result.DONE, {name})


def test_note_of_a_deal_is_written_without_what_zoho_cannot_be_given(crm) -> None:
    writing = crm.capabilities.writing[Kind.NOTE]
    assert not {"at", "author_id"} & (writing.fields | writing.create_fields)
    deal = created(crm, Kind.DEAL, {})
    note = created(crm, Kind.NOTE, {"text": "Damals 🚀", "deal_id": deal.ref.id})
    assert (note.text, note.deal_id) == ("Damals 🚀", deal.ref.id)


def test_login_without_the_right_is_told_what_to_click(box, crm) -> None:
    box.app.settings.extra["scopes"] = ["ZohoCRM.settings.fields.READ"]
    with pytest.raises(AccessDenied) as caught:
        crm.create_field(Kind.DEAL, field("choice"))
    assert "A field" in caught.value.hint
