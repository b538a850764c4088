"""Whatever would fail, be cut or be held is named before the first write."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Mapping
from contextlib import closing
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from benchmarks.writes import CRMS
from crmkit.connectors.base import Context, Field
from crmkit.connectors.memory import MemoryConnector
from crmkit.connectors.writing import Act, Writing
from crmkit.mapping.fields import Codec, Directory
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.migration.findings import Severity
from crmkit.migration.preflight import left_behind, preflight
from crmkit.model import DealContact, Kind
from crmkit.sync.computed import Computed
from crmkit.sync.hub import Entity, HubField
from crmkit.sync.plan import FieldChange, Held, Op, TrippedGuard
from crmkit.sync.run import SyncRun
from tests.connectors.conftest import FakeClock, FakeSecrets
from tests.migration.strangers import Strangers
from tests.sandbox_bench import bench
from tests.sync.engine import Bench


class Picky(MemoryConnector):
    """Rounds money, cuts names, takes one person per deal, and knows no yen."""

    def holds(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
        held = dict(values)
        if held.get("amount") is not None:
            held["amount"] = held["amount"].quantize(Decimal("0.01"), ROUND_HALF_UP)
        if isinstance(held.get("name"), str):
            held["name"] = held["name"][:20]
        for name in ("contacts", "emails"):
            if name in held:
                held[name] = tuple(held[name] or ())[:1]
        return held

    def cannot_hold(self, kind: Kind, values: Mapping[str, Any]) -> Mapping[str, str]:
        return {"amount": "there is no currency JPY"} if values.get("currency") == "JPY" else {}


def _without_signs(_self: Any, _kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
    held = dict(values)
    if "name" in held:
        held["name"] = held["name"].replace("🚀", "-")
    if "phones" in held:
        held["phones"] = tuple(one.replace(" ", "").replace("-", "") for one in held["phones"])
    return held


@pytest.fixture
def crms(tmp_path):
    """A source, and a target that holds less."""
    box = Bench(tmp_path).add("old", "new")
    box["new"].connector = Picky
    box.settings = {
        "order": ["old", "new"],
        "member": {"old": {"role": "source"}, "new": {"role": "target"}},
    }
    return box


@pytest.fixture
def look(crms):
    """Plans, and gives the findings by code."""
    states = []

    def run(fields: Mapping[Kind, list[Field]] | None = None, limits=None, **options):
        state = crms.state()
        states.append(state)
        for name, box in crms.boxes.items():
            for kind, ones in (fields or {}).items():
                if name == "new":
                    box.memory.fields[kind] = {one.id: one for one in ones if one.custom}
        crms.pull(state)
        sync = crms.run(state)
        found, _ = sync.plan()
        target = sync.group.members["new"]
        return {one.code: one for one in preflight(target, found, fields or {}, limits or {}, **options)}

    yield run
    for state in states:
        state.close()


def custom_field(**values: Any) -> Field:
    return Field(**{"id": "po", "label": "PO", "type": "text", "custom": True, **values})


@pytest.fixture
def with_custom(crms):
    """A custom field is moved, too."""
    crms.settings["custom"] = {"po": {"in": {"old": "po", "new": "po"}}}
    crms["old"].memory.fields[Kind.DEAL] = {"po": custom_field()}
    return crms


class TestNothingWrong:
    def test_a_plan_that_fits_has_no_findings(self, crms, look):
        crms["old"].deal("d1")
        assert look() == {}

    def test_findings_are_of_the_target_only(self, crms, look):
        crms["new"].deal("n1", name="A name of more than twenty characters")
        assert look() == {}


class TestLosses:
    def test_rounded_money_is_named_with_an_example(self, crms, look):
        crms["old"].deal("d1", amount=Decimal("10.005"))
        found = look()["changed"]
        assert (found.severity, found.field, found.count) == (Severity.LOSES, "amount", 1)
        assert [(one.label, one.id) for one in found.examples] == [("Deal d1", "d1")]

    def test_signs_that_the_target_leaves_out_are_a_change(self, crms, look, monkeypatch):
        monkeypatch.setattr(Picky, "holds", _without_signs)
        crms["old"].deal("d1", name="Deal 🚀 one")
        assert look()["changed"].field == "name"

    def test_another_spelling_of_a_phone_number_is_no_loss(self, crms, look, monkeypatch):
        monkeypatch.setattr(Picky, "holds", _without_signs)
        crms["old"].contact("p1", "Pat", phones=("+43 1 234-56",))
        crms["old"].deal("d1", contacts=(DealContact(id="p1", primary=True),))
        assert look() == {}

    def test_a_text_that_is_cut_is_named_with_the_longest(self, crms, look):
        for length in (25, 40, 30):
            crms["old"].deal(f"d{length}", name="x" * length)
        found = look()["cut"]
        assert found.count == 3
        assert "40 characters" in found.reason

    def test_people_that_the_target_does_not_take_are_named(self, crms, look):
        for name in ("p1", "p2"):
            crms["old"].contact(name, f"Person {name}")
        people = (DealContact(id="p1", primary=True), DealContact(id="p2"))
        crms["old"].deal("d1", contacts=people)
        assert look()["fewer"].field == "contacts"

    def test_addresses_of_a_person_that_are_left_out_are_named(self, crms, look):
        crms["old"].contact("p1", "Pat", emails=("a@x.test", "b@x.test"))
        crms["old"].deal("d1", contacts=(DealContact(id="p1", primary=True),))
        found = look()["fewer"]
        assert (found.kind, found.field) == (Kind.CONTACT, "emails")

    def test_a_field_that_the_target_lacks_is_named(self, crms, look):
        crms.settings["custom"] = {"po": {"in": {"old": "po"}}}
        crms["old"].memory.fields[Kind.DEAL] = {"po": custom_field()}
        crms["old"].deal("d1", custom={"po": "4711"})
        assert look()["no_field"].field == "po"


class TestRefusals:
    def test_a_required_field_without_a_value_stops(self, crms, look):
        crms["old"].deal("d1")
        found = look({Kind.DEAL: [custom_field(required=True)]})["required"]
        assert (found.severity, found.field) == (Severity.STOPS, "PO")

    def test_a_required_field_with_a_value_is_no_finding(self, with_custom, look):
        with_custom["old"].deal("d1", custom={"po": "4711"})
        assert "required" not in look({Kind.DEAL: [custom_field(required=True)]})

    def test_a_field_that_the_crm_itself_requires_is_known_by_its_name(self, crms, look):
        crms["old"].deal("d1")
        own = [Field("dealname", "Deal Name", "text", required=True)]
        assert look({Kind.DEAL: own}) == {}

    def test_a_required_field_that_nobody_knows_is_a_note(self, crms, look):
        crms["old"].deal("d1")
        own = [Field("risk", "Risk class", "text", required=True)]
        assert look({Kind.DEAL: own})["required_unknown"].severity is Severity.NOTE

    def test_a_text_that_is_too_long_stops_with_the_longest(self, with_custom, look):
        with_custom["old"].deal("d1", custom={"po": "x" * 31})
        with_custom["old"].deal("d2", custom={"po": "x" * 77})
        found = look({Kind.DEAL: [custom_field(max_length=30)]})["too_long"]
        assert (found.count, found.field) == (2, "custom.po")
        assert "77" in found.reason

    def test_an_option_that_the_target_lacks_is_named(self, with_custom, look):
        for number, option in enumerate(("red", "blue", "blue", "green")):
            with_custom["old"].deal(f"d{number}", custom={"po": option})
        field = custom_field(type="choice", options={"1": "red", "green": "Green"})
        found = look({Kind.DEAL: [field]})["option"]
        assert found.count == 2
        assert "blue (2)" in found.reason

    def test_a_field_that_is_locked_stops(self, with_custom, look):
        with_custom["old"].deal("d1", custom={"po": "4711"})
        assert look({Kind.DEAL: [custom_field(read_only=True)]})["read_only"].severity is Severity.STOPS

    def test_the_same_value_twice_in_a_unique_field_stops(self, with_custom, look):
        for number, value in enumerate(("A1", "a1 ", "B2")):
            with_custom["old"].deal(f"d{number}", custom={"po": value})
        assert look({Kind.DEAL: [custom_field(unique=True)]})["twice"].count == 1

    def test_a_value_that_another_record_has_stops(self, with_custom, look):
        with_custom["old"].deal("d1", custom={"po": "A1"})

        def taken(kind: Kind, name: str, value: Any) -> str | None:
            return "n7" if (kind, name, value) == (Kind.DEAL, "custom.po", "A1") else None

        assert look({Kind.DEAL: [custom_field(unique=True)]}, existing=taken)["taken"].count == 1

    def test_a_currency_that_the_target_does_not_know_stops(self, crms, look):
        crms["old"].deal("d1", currency="CHF")
        found = look(currencies=("EUR",))["currency"]
        assert (found.severity, found.field) == (Severity.STOPS, "amount")

    def test_a_currency_that_the_target_cannot_hold_is_told_by_its_code(self, crms, look):
        crms["old"].deal("d1", currency="JPY")
        assert look()["currency"].severity is Severity.LOSES


class TestHeld:
    def test_an_owner_without_counterpart_is_counted_and_not_named(self, crms, look):
        crms["old"].memory.put(
            crms["old"]
            .memory.live(crms["old"].ref("old-ann", Kind.OWNER))
            .model_copy(update={"email": "gone@corp.test"})
        )
        for number in range(4):
            crms["old"].deal(f"d{number}")
        found = look()["owner"]
        assert (found.severity, found.count, len(found.examples)) == (Severity.LOSES, 4, 3)
        assert "gone" not in found.reason

    def test_a_stage_without_counterpart_is_held(self):
        reason = "common stage proposal: no stage of pipeline 7 stands for it"
        found = findings_of(held=[held("required", number, "stage", reason) for number in range(3)])
        assert (found["stage"].severity, found["stage"].count) == (Severity.HELD, 3)
        assert "proposal" in found["stage"].reason

    def test_twenty_thousand_held_deals_are_one_line(self):
        ones = [
            held("required", number, "company", f"deal {number} has no company") for number in range(20_000)
        ]
        found = findings_of(held=ones)
        assert [one.count for one in found.values()] == [20_000]

    def test_reasons_that_are_all_different_do_not_make_a_long_list(self):
        words = ("".join(chr(97 + int(digit)) for digit in str(number)) for number in range(1000))
        ones = [held("blocked", number, None, word) for number, word in enumerate(words)]
        assert len(findings(held=ones)) < 20

    def test_records_that_are_named_in_a_reason_do_not_tell_sorts_apart(self):
        ones = [
            held("review", n, None, f"deal: may be the same as zoho-eu:deal:lead_aB{n}x: names 9{n} % alike")
            for n in range(50)
        ]
        assert [one.count for one in findings(held=ones)] == [50]

    def test_values_of_a_conflict_are_not_told(self):
        found = findings_of(held=[held("conflict", 1, "name", "both changed: old: Jane Doe; new: J. Doe")])
        assert "Doe" not in found["conflict"].reason


def held(kind: str, number: int, field: str | None, reason: str) -> Held:
    return Held(kind, "new", f"spoke:deal:{number}", f"Deal {number}", field, reason)


def findings(*, held=(), guards=(), limits=None, **options):
    found = Computed(held=list(held), guards=list(guards))
    return preflight(FakeTarget(), found, {}, limits or {}, **options)


def findings_of(**options):
    return {one.code: one for one in findings(**options)}


class FakeTarget:
    """A memory CRM with a codec that knows nothing of stages."""

    connection = "new"

    def __init__(self):
        self.connector = Picky(Context("new", FakeSecrets(), clock=FakeClock()))
        deal = self.connector.capabilities.writing[Kind.DEAL]
        self.codec = Codec(
            "new", StageMap("new", DEFAULT_OUTLINE, [], {}), {}, {}, Directory(),
            lambda values: self.connector.holds(Kind.DEAL, values),
            lambda values: self.connector.cannot_hold(Kind.DEAL, values),
            deal.fields | deal.create_fields,
        )  # fmt: skip

    def writing(self, kind: Kind):
        return self.connector.capabilities.writing.get(kind, Writing())


class TestWorkspace:
    def test_a_plan_limit_that_is_too_small_stops(self):
        found = findings_of(limits={"pipelines": 2}, needs={"pipelines": 5})["limit"]
        assert (found.severity, found.count, found.field) == (Severity.STOPS, 3, "pipelines")

    def test_a_plan_limit_that_suffices_is_no_finding(self):
        assert findings_of(limits={"pipelines": 5}, needs={"pipelines": 5, "stages": 900}) == {}

    def test_a_quota_that_is_too_small_takes_days_and_does_not_stop(self):
        found = findings_of(limits={"daily": 100}, needs={"daily": 250})["quota"]
        assert found.severity is Severity.NOTE

    def test_a_lacking_right_stops(self):
        assert findings_of(lacking=["crm.objects.deals.write"])["rights"].severity is Severity.STOPS

    def test_what_will_be_prepared_is_a_note(self):
        assert findings_of(unprepared=["the deal field key"])["prepare"].severity is Severity.NOTE

    def test_a_guard_is_told(self):
        guard = TrippedGuard(name="creates", connection="new", count=70, limit=50, reason="many")
        assert findings_of(guards=[guard])["guard"].count == 70

    def test_the_worst_comes_first(self):
        found = findings(
            lacking=["a right"], unprepared=["a field"], held=[held("review", 1, None, "deal: maybe")]
        )
        order = list(Severity)
        assert [one.severity for one in found] == sorted((one.severity for one in found), key=order.index)

    def test_every_code_has_advice(self):
        found = findings(lacking=["a right"], unprepared=["a field"], held=[held("review", 1, None, "maybe")])
        assert all(one.advice for one in found)


ROW = {
    "id": "d1", "name": "Deal", "companies": ["c1"], "custom": {}, "lost_reason": None, "source": None,
    "tags": [], "probability": None, "expected_close": None, "closed_at": None, "forecast_category": None,
}  # fmt: skip


class TestLeftBehind:
    def test_further_companies_are_named(self):
        found = left_behind([{**ROW, "companies": ["c1", "c2"]}], ())
        assert [one.code for one in found] == ["companies"]

    def test_values_of_fields_that_are_not_moved_are_named(self):
        rows = [{**ROW, "custom": {"po": "1", "x": None}, "source": "fair"}] * 2
        found = left_behind(rows, ())
        assert {(one.field, one.count) for one in found} == {("custom.po", 2), ("source", 2)}

    def test_what_is_moved_does_not_stay_behind(self):
        rows = [{**ROW, "custom": {"po": "1"}, "source": "fair"}]
        assert left_behind(rows, {"custom.po", "source"}) == []


def one_op(kind: Kind, **payload: Any) -> Computed:
    return Computed(ops=[Op("1", "new", kind, Act.CREATE, f"spoke:{kind}:7", label="It", payload=payload)])


def test_a_note_that_fits_is_no_finding():
    found = one_op(Kind.NOTE, text="Called", deal_id="spoke:deal:1", at="2026-01-02T03:04:05+00:00")
    # A memory CRM keeps no key of notes.
    assert [one.code for one in preflight(FakeTarget(), found, {}, {})] == ["rights"]


def test_what_a_new_deal_only_keeps_is_looked_at_too():
    found = one_op(Kind.DEAL, created_at="2026-01-02T03:04:05+00:00")
    result = preflight(
        FakeTarget(), found, {Kind.DEAL: [Field("x", "X", "text", custom=True, required=True)]}, {}
    )
    # Nothing but a time is given: the name is missing, and the custom field.
    assert {one.field for one in result} == {"X", "name"}


def test_a_deal_that_is_left_out_by_the_settings_is_told():
    found = findings_of(
        held=[held("left_out", 1, "owner", "no active user with the e-mail address a@b.test")]
    )
    assert found["owner"].severity is Severity.LOSES


def many_ops(count: int) -> Computed:
    ops, entities = [], {}
    first = date(2027, 1, 1)
    for number in range(count):
        id = f"spoke:deal:{number}"
        name = f"A deal with the number {number}"
        day = (first + timedelta(days=number % 300)).isoformat()
        new = {"name": name[:20], "amount": [f"{number}.5", "EUR", "one_time"], "expected_close": day}
        hub = {**new, "name": name}
        fields = tuple(FieldChange(field, None, None, value, "new") for field, value in new.items())
        ops.append(Op(str(number), "new", Kind.DEAL, Act.CREATE, id, label=name, fields=fields))
        entities[id] = Entity(
            id, Kind.DEAL, hub={field: HubField(value, "old") for field, value in hub.items()}
        )
    return Computed(ops=ops, entities=entities)


@pytest.mark.parametrize("crm", CRMS)
def test_what_a_crm_takes_is_no_finding(crm: str, tmp_path):
    with (
        bench(crm, deals=20, lag_seconds=0) as box,
        closing(Strangers(tmp_path, box.connect, box.clock, 20)) as rehearsal,
    ):
        rehearsal._create()
        rehearsal._pull(rehearsal.source, (Kind.DEAL,))
        workspace = rehearsal.target.check()
        fields = {kind: rehearsal.target.fields(kind) for kind in (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)}
        group = rehearsal.group()
        found, _ = SyncRun(group, rehearsal.state, rehearsal.clock).plan()
        result = preflight(
            group.members[rehearsal.name], found, fields, workspace.limits, currencies=workspace.currencies
        )
        assert {op.kind for op in found.ops} == {Kind.COMPANY, Kind.CONTACT, Kind.DEAL}
        assert [one for one in result if one.code != "guard"] == []


def test_a_hundred_thousand_writes_are_looked_at_in_seconds():
    found = many_ops(10_000)
    started = time.process_time()
    result = preflight(FakeTarget(), found, {}, {})
    assert [(one.code, one.count) for one in result] == [("cut", 10_000)]
    assert time.process_time() - started < 1.5


def test_memory_does_not_grow_with_the_writes():
    target, found = FakeTarget(), many_ops(3_000)
    tracemalloc.start()
    preflight(target, found, {}, {})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000
