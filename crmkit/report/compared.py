"""The differences between connections as data: every field is a promise to readers of the JSON.

Money is in the report currency unless a currency stands beside it; decimals are
strings of digits in JSON.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Literal

from pydantic import computed_field

from crmkit.model import Outcome
from crmkit.report.figures import Figure
from crmkit.report.money import Number
from crmkit.report.ratios import Ratio


class Compared(StrEnum):
    """The fields that are compared on linked deals."""

    STATUS = "status"
    STAGE = "stage"
    AMOUNT = "amount"
    CURRENCY = "currency"
    CLOSE_DATE = "close_date"
    OWNER = "owner"
    COMPANY = "company"


class MissingDeal(Figure):
    """A deal of one connection without a partner in the other; `amount` in its own currency."""

    ref: str
    name: str
    stage: str | None
    outcome: Outcome
    amount: Number | None
    currency: str | None
    owner: str | None
    company: str | None
    expected_close: date | None
    url: str | None


class Missing(Figure):
    """Deals of `present_in` that `missing_in` lacks: a complete list, largest ref last.

    `amount` is in the report currency, without the `amount_missing_count` deals that
    hold none and the `fx_missing_count` deals that no rate converts.
    """

    present_in: str
    missing_in: str
    count: int
    amount: Number
    amount_missing_count: int
    fx_missing_count: int
    deals: tuple[MissingDeal, ...]


class LinkRate(Figure):
    """How many deals of a connection have a partner in the other."""

    connection: str
    other: str
    rate: Ratio


class FieldAgreement(Figure):
    """Linked pairs equal on a field; pairs that a side cannot express are `not_comparable`."""

    field: Compared
    agreement: Ratio
    differing: int
    not_comparable: int


class FieldDifference(Figure):
    """One field that differs on one linked pair; `None` is no value."""

    field: Compared
    deal: str
    x_ref: str
    y_ref: str
    name: str
    x_value: str | None
    y_value: str | None
    x_url: str | None
    y_url: str | None


class StageParity(Figure):
    """Deals in scope at one common stage on both sides; `stage` is `None` for unmapped ones."""

    stage: str | None
    name: str | None
    x_count: int
    y_count: int
    count_difference: int
    x_amount: Number
    y_amount: Number
    amount_difference: Number


class AmountParity(Figure):
    """Open money on both sides in one currency, or in the report currency if `converted`."""

    currency: str | None
    converted: bool
    x_amount: Number
    y_amount: Number
    difference: Number
    x_fx_missing_count: int
    y_fx_missing_count: int


class PairDifferences(Figure):
    """Everything that differs between the connections `x` and `y`."""

    x: str
    y: str
    linked: int
    link_rates: tuple[LinkRate, LinkRate]
    missing: tuple[Missing, Missing]
    field_agreement: tuple[FieldAgreement, ...]
    field_differences: tuple[FieldDifference, ...]
    stage_parity: tuple[StageParity, ...]
    amount_parity: tuple[AmountParity, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def any(self) -> bool:
        """Whether the two sides differ in anything at all."""
        return bool(
            any(one.count for one in self.missing)
            or self.field_differences
            or any(one.count_difference or one.amount_difference for one in self.stage_parity)
            or any(one.difference for one in self.amount_parity)
        )


class DuplicateLink(Figure):
    """A logical deal with several records in one connection: must not exist."""

    deal: str
    connection: str
    refs: tuple[str, ...]


class UnmappedStageCount(Figure):
    """A native stage without a common stage."""

    pipeline: str
    stage: str
    deals: int


class ManyToOne(Figure):
    """Native stages of one pipeline with one common stage: no way back without a default."""

    pipeline: str
    common_stage: str
    stages: tuple[str, ...]


class CategoryClash(Figure):
    """A native stage whose outcome is not that of its common stage."""

    pipeline: str
    stage: str
    outcome: Outcome
    common_stage: str
    common_outcome: Outcome


class StageMapCoverage(Figure):
    """How far the stage map of a connection reaches."""

    connection: str
    coverage: Ratio
    unmapped: tuple[UnmappedStageCount, ...]
    many_to_one: tuple[ManyToOne, ...]
    clashes: tuple[CategoryClash, ...]


class RateGap(Figure):
    """A deal left out of all converted money: no rate for its currency on its day."""

    ref: str
    name: str
    amount: Number
    currency: str | None
    day: date


class Differences(Figure):
    """The differences between every two of the connections at `as_of`."""

    kind: Literal["differences"] = "differences"
    version: Literal[1] = 1
    as_of: datetime
    as_of_date: date
    time_zone: str
    report_currency: str
    amount_basis: str
    scope: dict[str, tuple[str, ...]]
    connections: tuple[str, ...]
    records: dict[str, int]
    pairs: tuple[PairDifferences, ...]
    duplicate_links: tuple[DuplicateLink, ...]
    stage_map_coverage: tuple[StageMapCoverage, ...]
    fx_missing: tuple[RateGap, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def any(self) -> bool:
        """Whether anything differs; what `diff --exit-code` asks."""
        return bool(self.duplicate_links) or any(pair.any for pair in self.pairs)
