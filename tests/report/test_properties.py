"""What holds for any rows: parts add up, order is nothing, links count once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from crmkit.model import Outcome
from crmkit.report.differences import differences
from crmkit.report.money import total_of
from tests.report.report_of import report_from
from tests.report.rows import USD, row, settings

AS_OF = settings().as_of

# A report is some dozens of queries.
REPORTS = how(max_examples=8)
RATES = how(max_examples=5)

amounts = st.none() | st.decimals(min_value=-(10**9), max_value=10**12, places=4)
moments = st.none() | st.integers(-900, 40).map(lambda days: AS_OF + timedelta(days=days, hours=3))


@st.composite
def deals(draw):
    count = draw(st.integers(0, 12))
    rows = []
    for number in range(count):
        connection = draw(st.sampled_from(["one", "two", "three"]))
        amount = draw(amounts)
        rows.append(
            row(
                str(number),
                connection,
                amount=None if amount is None else str(amount),
                currency=draw(st.sampled_from(["USD", "EUR", "CHF", None])),
                common_stage=draw(st.sampled_from(["qualification", "proposal", "won", None])),
                stage_id=draw(st.sampled_from(["s1", "s2", None])),
                stage_name=draw(st.sampled_from(["First", "Second", None])),
                outcome=draw(st.sampled_from([Outcome.OPEN, Outcome.OPEN, Outcome.WON, Outcome.LOST])),
                probability=draw(st.none() | st.decimals(0, 1, places=2)),
                owner_id=draw(st.sampled_from(["7", None])),
                owner_name=draw(st.sampled_from(["Ada", "Bo"])),
                expected_close=draw(moments.map(lambda moment: moment.date() if moment else None)),
                created_at=draw(moments),
                closed_at=draw(moments),
                modified_at=draw(moments),
                last_activity_at=draw(moments),
            )
        )
    links = {one.ref: f"L{draw(st.integers(0, 3))}" for one in rows if draw(st.booleans())}
    return rows, links


@REPORTS
@given(deals(), st.randoms(use_true_random=False))
def test_partitions_add_up_linked_deals_count_once_and_order_changes_nothing(case, chance):
    # One test, as a report is what takes the time.
    rows, links = case
    config = settings(top=3)
    report = report_from(rows, links, USD, config)
    apart = (report.overdue, report.no_close_date)
    for parts in (
        report.by_stage,
        report.by_native_stage,
        report.by_connection,
        report.by_owner,
        (*report.by_close_month, *apart),
        (*report.by_close_quarter, *apart),
        report.ageing.age_buckets,
    ):
        assert sum(part.count for part in parts) == report.open.count
        assert total_of(part.amount for part in parts) == report.open.amount
    parts = [part for stage in report.by_stage for part in stage.by_connection]
    assert total_of(part.amount for part in parts) == report.open.amount
    alone = sum(one.ref not in links for one in rows)
    assert (report.records, report.deals) == (len(rows), alone + len(set(links.values())))
    mixed = list(rows)
    chance.shuffle(mixed)
    assert report_from(mixed, links, USD, config) == report


@RATES
@given(deals())
def test_deals_without_a_rate_change_no_money_but_every_count(case):
    rows, _ = case
    report = report_from(rows, {}, USD, settings())
    rated = report_from([one for one in rows if one.currency in {"USD", "EUR"}], {}, USD, settings())
    assert report.open.amount == rated.open.amount
    assert report.open.count == sum(one.outcome is Outcome.OPEN for one in rows)


@given(deals(), st.randoms(use_true_random=False))
def test_differences_do_not_depend_on_the_order_of_the_rows(case, chance):
    rows, links = case
    mixed = list(rows)
    chance.shuffle(mixed)
    names = ["one", "two", "three"]
    assert differences(rows, links, USD, settings(), names) == differences(
        mixed, links, USD, settings(), names
    )


@given(deals())
def test_swapping_the_sides_mirrors_the_differences(case):
    rows, links = case
    (there,) = differences(rows, links, USD, settings(), ["one", "two"]).pairs
    (back,) = differences(rows, links, USD, settings(), ["two", "one"]).pairs
    assert there.missing == back.missing[::-1]
    assert [one.differing for one in there.field_agreement] == [one.differing for one in back.field_agreement]
    assert [one.difference for one in there.amount_parity] == [-one.difference for one in back.amount_parity]


@given(deals())
def test_every_deal_is_linked_or_missing(case):
    rows, links = case
    (pair,) = differences(rows, links, USD, settings(), ["one", "two"]).pairs
    for rate, missing in zip(pair.link_rates, pair.missing, strict=True):
        assert rate.rate.numerator + missing.count == rate.rate.denominator


@given(deals())
def test_a_crm_does_not_differ_from_its_perfect_copy(case):
    rows, _ = case
    ours = [one for one in rows if one.connection == "one"]
    theirs = [row_copy(one) for one in ours]
    links = {one.ref: one.ref.id for one in (*ours, *theirs)}
    assert differences([*ours, *theirs], links, USD, settings(), ["one", "two"]).any is False


def row_copy(one):
    return replace(one, ref=replace(one.ref, connection="two"), owner_id=one.owner_id and "x" + one.owner_id)


def test_sums_do_not_depend_on_the_decimal_context():
    values = [Decimal("0.0001"), Decimal(10) ** 23, Decimal("-0.0001")]
    assert total_of(values) == Decimal(10) ** 23
