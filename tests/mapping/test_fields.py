"""The laws of every deal field's codec: what was written is what is read, and reading moves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crmkit.mapping.custom import CustomField, Unmapped
from crmkit.mapping.fields import Codec, Directory
from crmkit.mapping.stages import DEFAULT_OUTLINE, StageMap
from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage, ValuePeriod

STAGES = (
    Stage(id="s1", name="New", order=0),
    Stage(id="s2", name="Fresh", order=1),
    Stage(id="s3", name="Offer", order=2),
    Stage(id="won", name="Won", order=3, outcome=Outcome.WON),
    Stage(id="lost", name="Lost", order=4, outcome=Outcome.LOST),
)
PIPELINES = tuple(
    Pipeline(ref=Ref("crm", Kind.PIPELINE, native), name=native, stages=STAGES) for native in ("p", "q")
)
ENTRIES = {
    (pipeline, stage): common
    for pipeline in ("p", "q")
    for stage, common in {
        "s1": "qualification", "s2": "qualification", "s3": "proposal", "won": "won", "lost": "lost",
    }.items()
}  # fmt: skip
ALL = frozenset(
    {
        "name", "pipeline_id", "stage_id", "outcome", "amount", "currency", "value_period", "probability",
        "expected_close", "owner_id", "companies", "contacts", "lost_reason", "source", "tags", "custom",
    }
)  # fmt: skip
CUSTOM = {
    "segment": CustomField("c1", "choice", {"s": "Small", "b": "Big"}, options_only=True),
    "score": CustomField("c2", "number"),
    "regions": CustomField("c3", "choices", {"n": "North"}),
    "memo": CustomField("c4"),
    "renewal": CustomField("c5", "day"),
    "vip": CustomField("c6", "boolean"),
}


def directory() -> Directory:
    found = Directory()
    for native in ("c1", "c2"):
        found.add("crm", Kind.COMPANY, native, f"company-{native}")
    for native in ("k1", "k2", "k3"):
        found.add("crm", Kind.CONTACT, native, f"contact-{native}")
    found.add("other", Kind.CONTACT, "z9", "contact-far")
    found.add("other", Kind.COMPANY, "y9", "company-far")
    return found


def codec(**changes: Any) -> Codec:
    fields: dict[str, Any] = {
        "connection": "crm",
        "stages": StageMap("crm", DEFAULT_OUTLINE, PIPELINES, ENTRIES),
        "owners": {"1": "Ann@x.test", "2": "bob@x.test", "3": "left@x.test", "4": None},
        "assignable": {"ann@x.test": "1", "bob@x.test": "2"},
        "directory": directory(),
        "holds": lambda values: values,
        "cannot_hold": lambda values: {},
        "writable": ALL,
        "new_pipeline": "p",
        "custom": CUSTOM,
        **changes,
    }
    return Codec(**fields)


EMPTY: dict[str, Any] = {
    "name": "", "pipeline_id": "p", "stage_id": "s1", "outcome": Outcome.OPEN, "amount": None,
    "currency": None, "value_period": ValuePeriod.ONE_TIME, "probability": None, "expected_close": None,
    "owner_id": None, "companies": (), "contacts": (), "lost_reason": None, "source": None, "tags": (),
    "custom": {},
}  # fmt: skip


def stored(row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """A deal after a write."""
    plain = {name: value for name, value in written.items() if not name.startswith("custom.")}
    custom = {name.removeprefix("custom."): value for name, value in written.items() if name not in plain}
    return {**row, **plain, "custom": {**row["custom"], **custom}}


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
MONEY = st.decimals(min_value=-(10**9), max_value=10**12, places=2, allow_nan=False, allow_infinity=False)
NATIVES: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXT,
    "stage": st.sampled_from(
        [[p, s, o] for p in ("p", "q") for s, o in
         (("s1", "open"), ("s2", "open"), ("s3", "open"), ("won", "won"), ("lost", "lost"))]
    ),
    "amount": st.one_of(
        st.just([None, "EUR", "one_time"]),
        st.tuples(MONEY.map(lambda one: format(one.normalize(), "f")), st.sampled_from(["EUR", "USD"]),
                  st.sampled_from(["one_time", "monthly", "annual"])).map(list),
    ),
    "probability": st.sampled_from([None, "0", "0.25", "1"]),
    "expected_close": st.one_of(st.none(), st.dates().map(lambda day: day.isoformat())),
    "owner": st.sampled_from([None, "1", "2"]),
    # Only the first one counts, and it has to be known.
    "company": st.lists(st.sampled_from(["c1", "c2", "c9"]), unique=True).filter(
        lambda one: one[:1] != ["c9"]
    ),
    "contacts": st.lists(
        st.sampled_from(["k1", "k2", "k3", "k9"]).map(lambda one: [one, None, False]),
        unique_by=lambda one: one[0],
    ),
    "lost_reason": st.one_of(st.none(), TEXT),
    "source": st.one_of(st.none(), TEXT),
    "tags": st.lists(st.text(min_size=1, max_size=5), unique=True).map(sorted),
    "segment": st.sampled_from([None, "s", "b"]),
    "score": st.sampled_from([None, "1", "2.5", "-3"]),
    "regions": st.sampled_from([None, ["n"], ["n", "west"]]),
    "memo": st.one_of(st.none(), TEXT),
    "renewal": st.one_of(st.none(), st.dates().map(lambda day: day.isoformat())),
    "vip": st.sampled_from([None, True, False]),
}  # fmt: skip


@given(st.data())
@pytest.mark.parametrize("name", sorted(NATIVES))
def test_writing_back_what_was_read_changes_nothing(name: str, data: st.DataObject):
    one = codec()
    native = data.draw(NATIVES[name])
    row = stored(EMPTY, one.restore_values(name, native))
    read = one.native(name, row)
    value = one.decode(name, read)
    assert not isinstance(value, Unmapped)

    written = one.write_values(name, value, read)

    assert not isinstance(written, Unmapped)
    again = one.native(name, stored(row, written))
    assert one.decode(name, again) == value


@given(st.data())
@pytest.mark.parametrize("name", sorted(NATIVES))
def test_what_was_written_is_what_is_read(name: str, data: st.DataObject):
    one = codec()
    value = one.decode(
        name, one.native(name, stored(EMPTY, one.restore_values(name, data.draw(NATIVES[name]))))
    )
    before = one.native(name, stored(EMPTY, one.restore_values(name, data.draw(NATIVES[name]))))
    assume(name != "stage" or value[1] is not None)

    written = one.write_values(name, value, before)

    assert not isinstance(written, Unmapped)
    assert one.decode(name, one.native(name, stored(EMPTY, written))) == value


@given(st.data())
@pytest.mark.parametrize("name", sorted(NATIVES))
def test_projecting_twice_is_projecting_once(name: str, data: st.DataObject):
    one = codec(holds=lambda values: {**values, **_cut(values)})
    value = one.decode(
        name, one.native(name, stored(EMPTY, one.restore_values(name, data.draw(NATIVES[name]))))
    )

    projected = one.project(name, value)

    assert not isinstance(projected, Unmapped)
    assert one.project(name, projected) == projected


def _cut(values: Mapping[str, Any]) -> dict[str, Any]:
    """A CRM that holds whole amounts and short names."""
    cut: dict[str, Any] = {}
    if values.get("amount") is not None:
        cut["amount"] = values["amount"].quantize(Decimal(1))
    if values.get("name"):
        cut["name"] = values["name"][:5].strip()
    return cut


@given(st.data())
@pytest.mark.parametrize("name", sorted(NATIVES))
def test_restoring_gives_back_exactly_what_was_held(name: str, data: st.DataObject):
    one = codec()
    before = one.native(name, stored(EMPTY, one.restore_values(name, data.draw(NATIVES[name]))))
    other = stored(EMPTY, one.restore_values(name, data.draw(NATIVES[name])))

    restored = stored(other, one.restore_values(name, before))

    assert one.native(name, restored) == before


def test_a_deal_stays_in_the_stage_that_already_means_the_common_one():
    assert codec().write_values("stage", [None, "qualification"], ["q", "s2", "open"]) == {
        "pipeline_id": "q", "stage_id": "s2", "outcome": Outcome.OPEN,
    }  # fmt: skip


def test_moving_between_stages_with_one_meaning_reads_the_same():
    one = codec()

    assert one.decode("stage", ["p", "s1", "open"]) == one.decode("stage", ["p", "s2", "open"])


def test_an_unmapped_stage_is_told_and_not_guessed():
    assert isinstance(codec().decode("stage", ["p", "s99", "open"]), Unmapped)


def test_contacts_that_no_other_crm_knows_stay_on_the_deal():
    current = [["k9", "champion", True], ["k1", None, False]]

    written = codec().write_values("contacts", ["contact-k2"], current)

    assert [(one.id, one.role, one.primary) for one in written["contacts"]] == [
        ("k9", "champion", True), ("k2", None, False),
    ]  # fmt: skip


def test_further_companies_stay_when_the_first_is_replaced():
    written = codec().write_values("company", "company-c2", ["c1", "c9"])

    assert written == {"companies": ("c2", "c9")}


def test_a_contact_that_lives_elsewhere_only_is_not_asked_for():
    one = codec()

    assert one.project("contacts", ["contact-far", "contact-k1"]) == ["contact-k1"]


def test_a_contact_that_will_be_created_is_asked_for():
    one = codec()
    one.directory.creatable.add(("crm", Kind.CONTACT))

    assert one.project("contacts", ["contact-far"]) == ["contact-far"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("owner", "nobody@x.test"),
        ("owner", "left@x.test"),
        ("company", "company-far"),
        ("segment", "Huge"),
        ("score", "many"),
        ("renewal", "tomorrow"),
        ("stage", [None, "negotiation"]),
    ],
)
def test_what_cannot_be_expressed_is_told_and_not_written(name: str, value: Any):
    one = codec()

    assert isinstance(one.project(name, value), Unmapped)
    assert isinstance(one.write_values(name, value), Unmapped)


def test_an_amount_without_a_currency_is_not_merged():
    assert isinstance(codec().decode("amount", ["5", None, "one_time"]), Unmapped)


def test_blanks_and_line_ends_are_no_difference():
    one = codec()

    assert one.decode("name", " Big\r\ndeal ") == one.decode("name", "Big\ndeal")


def test_money_is_the_same_however_many_zeros_it_has():
    one = codec()

    rows = [{**EMPTY, "amount": Decimal(text), "currency": "EUR"} for text in ("1500", "1500.00", "1.5E+3")]

    assert {one.native("amount", row)[0] for row in rows} == {"1500"}


def test_a_field_that_cannot_be_written_is_told():
    one = codec(writable=ALL - {"source"})

    assert isinstance(one.project("source", "web"), Unmapped)


def test_what_the_crm_refuses_to_hold_is_told_with_its_reason():
    one = codec(cannot_hold=lambda values: {"currency": "no such currency"})

    refused = one.project("amount", ["5", "XAU", "one_time"])

    assert isinstance(refused, Unmapped)
    assert refused.reason == "no such currency"
