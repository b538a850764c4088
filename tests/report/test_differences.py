"""What counts as a difference between two CRMs."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from crmkit.errors import UsageError
from crmkit.model import Outcome
from crmkit.report.compared import Compared
from crmkit.report.differences import differences
from crmkit.report.inputs import OutcomeClash, Scope, SharedStage, StageCount, StageCoverage
from tests.report.rows import USD, ref, row, settings

LINKED = {ref("1", "one"): "L", ref("2", "two"): "L"}


def pair_of(*rows, links=None, **changes):
    links = LINKED if links is None else links
    (pair,) = differences(rows, links, USD, settings(**changes), ["one", "two"]).pairs
    return pair


def fields_of(left: dict[str, object], right: dict[str, object]) -> list[tuple[str, str | None, str | None]]:
    pair = pair_of(row("1", "one", **left), row("2", "two", **right))
    return [(one.field.value, one.x_value, one.y_value) for one in pair.field_differences]


def test_equal_linked_deals_do_not_differ():
    found = differences([row("1"), row("2", "two")], LINKED, USD, settings(), ["one", "two"])
    assert found.any is False


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ({"outcome": Outcome.WON}, {}, [("status", "won", "open")]),
        ({"common_stage": "proposal"}, {}, [("stage", "Proposal", "Qualification")]),
        ({"amount": "100"}, {"amount": "100.01"}, [("amount", "100", "100.01")]),
        ({"amount": "100"}, {"amount": "100.00"}, []),
        ({"amount": "100.004"}, {"amount": "100.00"}, []),
        ({"amount": None}, {"amount": "0"}, [("amount", None, "0")]),
        ({"currency": "usd"}, {"currency": "USD"}, []),
        ({"currency": None}, {}, [("currency", None, "USD")]),
        ({"expected_close": date(2026, 12, 1)}, {}, [("close_date", "2026-12-01", None)]),
        ({"owner_id": "1"}, {"owner_id": "1"}, [("owner", "1", "1")]),
        ({"owner_name": "Ada  Okafor"}, {"owner_name": "ada okafor"}, []),
        (
            {"owner_name": "Ada", "owner_email": "A@x.com"},
            {"owner_name": "Ada O.", "owner_email": "a@x.com"},
            [],
        ),
        (
            {"owner_name": "Ada", "owner_email": "a@x.com"},
            {"owner_name": "Ada", "owner_email": "b@x.com"},
            [("owner", "Ada", "Ada")],
        ),
        (
            {"company_name": "ACME", "company_key": "c1"},
            {"company_name": "Acme Inc", "company_key": "c1"},
            [],
        ),
        ({"company_name": "ACME"}, {}, [("company", "ACME", None)]),
        ({}, {}, []),
    ],
)
def test_fields_are_compared_by_value(left, right, expected):
    assert fields_of(left, right) == expected


def test_unmapped_stage_is_not_comparable_and_no_disagreement():
    pair = pair_of(row("1", common_stage=None), row("2", "two"))
    stage = next(one for one in pair.field_agreement if one.field is Compared.STAGE)
    assert (stage.not_comparable, stage.differing, stage.agreement.value) == (1, 0, None)


def test_agreement_is_the_share_of_equal_pairs():
    rows = [row(str(n), "one") for n in range(4)] + [
        row(str(n), "two", amount="100" if n else "1") for n in range(4)
    ]
    links = {one.ref: one.ref.id for one in rows}
    pair = pair_of(*rows, links=links)
    amount = next(one for one in pair.field_agreement if one.field is Compared.AMOUNT)
    assert (amount.agreement.value, amount.agreement.denominator) == (Decimal("0.75"), 4)


def test_unlinked_deals_are_missing_on_the_other_side():
    pair = pair_of(row("1"), row("2", "two"), row("3", amount="70", currency="EUR"))
    missing = pair.missing[0]
    assert (missing.present_in, missing.missing_in, missing.count, missing.amount) == ("one", "two", 1, 84)
    assert [deal.ref for deal in missing.deals] == ["one:deal:3"]


def test_deal_linked_to_a_third_crm_is_missing_in_the_second():
    links = {ref("1"): "L", ref("9", "three"): "L"}
    pair = pair_of(row("1"), row("9", "three"), links=links)
    assert pair.missing[0].count == 1


def test_missing_deal_without_a_rate_is_counted_apart():
    missing = pair_of(row("1", currency="CHF"), links={}).missing[0]
    assert (missing.count, missing.amount, missing.fx_missing_count) == (1, 0, 1)


def test_link_rate_has_its_parts():
    pair = pair_of(row("1"), row("2", "two"), row("3"))
    assert [one.rate.value for one in pair.link_rates] == [Decimal("0.5"), 1]


def test_link_rate_of_an_empty_crm_is_none():
    assert pair_of(row("1"), links={}).link_rates[1].rate.value is None


def test_stage_parity_counts_all_deals_in_scope():
    pair = pair_of(
        row("1"), row("2", "two"), row("3", "two", common_stage="won", outcome=Outcome.WON), links={}
    )
    parity = {one.stage: (one.x_count, one.y_count, one.amount_difference) for one in pair.stage_parity}
    assert (parity["qualification"], parity["won"]) == ((1, 1, 0), (0, 1, -100))


def test_amount_parity_is_per_currency_and_converted():
    pair = pair_of(row("1", amount="10", currency="EUR"), row("2", "two", amount="12"))
    parity = [(one.currency, one.converted, one.difference) for one in pair.amount_parity]
    assert parity == [("EUR", False, 10), ("USD", False, -12), ("USD", True, 0)]


def test_two_records_of_one_crm_in_one_link_are_reported():
    links = {**LINKED, ref("3"): "L"}
    found = differences([row("1"), row("2", "two"), row("3")], links, USD, settings(), ["one", "two"])
    assert [(one.connection, one.refs) for one in found.duplicate_links] == [
        ("one", ("one:deal:1", "one:deal:3"))
    ]
    assert found.any is True


def test_partner_out_of_scope_is_not_missing():
    mine = row("1", owner_name="Ada")
    theirs = row("2", "two", owner_name="Bo")
    pair = pair_of(mine, theirs, scope=Scope(owners=frozenset({"Ada"})))
    assert (pair.linked, pair.missing[0].count, pair.missing[1].count) == (1, 0, 0)


def test_three_crms_are_compared_two_by_two():
    found = differences([], {}, USD, settings(), ["one", "two", "three"])
    assert [(one.x, one.y) for one in found.pairs] == [("one", "two"), ("one", "three"), ("two", "three")]


@pytest.mark.parametrize("names", [[], ["one"], ["one", "one"]])
def test_fewer_than_two_crms_are_refused(names):
    with pytest.raises(UsageError, match="two or more different"):
        differences([], {}, USD, settings(), names)


def test_stage_map_coverage_is_passed_on_for_the_compared_crms():
    coverage = StageCoverage(
        connection="one",
        deals=4,
        mapped_deals=3,
        unmapped=(StageCount(pipeline="Sales", stage="Odd", deals=1),),
        many_to_one=(SharedStage(pipeline="Sales", common_stage="proposal", stages=("A", "B")),),
        clashes=(
            OutcomeClash(
                pipeline="Sales",
                stage="Signed",
                outcome=Outcome.WON,
                common_stage="proposal",
                common_outcome=Outcome.OPEN,
            ),
        ),
    )
    other = StageCoverage(connection="elsewhere", deals=1, mapped_deals=1)
    found = differences([], {}, USD, settings(), ["one", "two"], [coverage, other])
    (one,) = found.stage_map_coverage
    assert (one.coverage.value, one.unmapped[0].stage, one.many_to_one[0].stages, one.clashes[0].stage) == (
        Decimal("0.75"),
        "Odd",
        ("A", "B"),
        "Signed",
    )


def test_json_says_whether_anything_differs():
    found = differences([row("1")], {}, USD, settings(), ["one", "two"])
    assert '"any":true' in found.model_dump_json()
