"""Records that are built without pydantic are those that pydantic would have made."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from crmkit.connectors.exact import builder, ref_maker
from crmkit.connectors.translate import records, utc_text
from crmkit.model import (
    Company,
    Contact,
    Deal,
    DealContact,
    Kind,
    Note,
    Outcome,
    Owner,
    Pipeline,
    Record,
    Ref,
)
from crmkit.model import StageChange as Change

REF = Ref("a", Kind.DEAL, "1")
MOMENT = datetime(2026, 11, 23, 8, 0, 5, 120000, tzinfo=UTC)
WHOLE: dict[str, Any] = {
    "ref": REF,
    "name": "Solabrook",
    "outcome": Outcome.WON,
    "amount": Decimal("16595.41"),
    "companies": ("7",),
    "contacts": ({"id": "9", "primary": True}, DealContact(id="10")),
    "expected_close": date(2026, 12, 1),
    "modified_at": MOMENT,
    "custom": {"seats": 4, "strategic": False, "rate": Decimal("1.5"), "regions": ("EMEA", "LATAM")},
}


@pytest.mark.parametrize("model", [Deal, Company, Contact, Owner, Note, Pipeline, Change])
def test_every_canonical_record_can_be_built(model: type[Record]) -> None:
    assert builder(model) is not None


@pytest.mark.parametrize("row", [WHOLE, {"ref": REF, "name": ""}])
def test_what_is_built_looks_like_what_pydantic_makes(row: dict[str, Any]) -> None:
    built = _build(row)

    checked = Deal.model_validate(row)
    assert built == checked
    assert repr(built) == repr(checked)
    assert built is not None
    assert built.model_dump_json() == checked.model_dump_json()


@pytest.mark.parametrize(
    "odd",
    [
        {"name": None},
        {"amount": Decimal("NaN")},
        {"amount": 1.5},
        {"probability": 1},
        {"archived": 1},
        {"expected_close": MOMENT},
        {"companies": ["7"]},
        {"companies": (7,)},
        {"contacts": ({"id": 9},)},
        {"contacts": ({"id": "9", "age": 40},)},
        {"custom": {"rate": Decimal("Infinity")}},
        {"custom": {"rate": 1.5}},
        {"custom": {"regions": ("EMEA", 1)}},
        {"custom": {1: "one"}},
        {"colour": "red"},
    ],
)
def test_what_does_not_fit_is_left_to_pydantic(odd: dict[str, Any]) -> None:
    assert _build({**WHOLE, **odd}) is None


def test_a_record_without_a_required_field_is_not_built() -> None:
    assert _build({"ref": REF}) is None


def test_an_odd_row_after_a_good_one_of_the_same_shape_is_not_built() -> None:
    _build(WHOLE)

    assert _build({**WHOLE, "amount": Decimal("sNaN")}) is None


def test_records_without_custom_fields_do_not_share_a_dictionary() -> None:
    one, other = _build({"ref": REF, "name": "a"}), _build({"ref": REF, "name": "b"})

    assert one is not None
    assert other is not None
    assert one.custom is not other.custom


def test_a_copy_of_a_built_record_leaves_the_names_of_the_others_alone() -> None:
    built = _build(WHOLE)
    assert built is not None

    copy = built.model_copy(update={"name": "new"})

    assert copy.model_fields_set is not built.model_fields_set


def test_a_page_names_the_record_that_does_not_fit_and_keeps_its_neighbours() -> None:
    rows = [WHOLE, {**WHOLE, "amount": Decimal("NaN")}, WHOLE]

    found, unreadable = records(Deal, "a", Kind.DEAL, rows, dict, lambda row: "1")

    assert len(found) == 2
    assert [one.field for one in unreadable] == ["amount"]


def test_a_made_ref_is_a_ref() -> None:
    made = ref_maker("a", Kind.DEAL)("1")

    assert made == REF
    assert hash(made) == hash(REF)


@pytest.mark.parametrize("time", [MOMENT, MOMENT.replace(microsecond=0), datetime(1, 1, 1, tzinfo=UTC)])
def test_the_text_of_a_time_is_that_of_isoformat(time: datetime) -> None:
    assert utc_text(time) == time.isoformat()


def _build(row: dict[str, Any]) -> Deal | None:
    known = builder(Deal)
    assert known is not None
    return known.build(row)
