"""How the pipelines of two or more connections differ (metrics.md 15)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import combinations

from crmkit.errors import UsageError
from crmkit.model import Outcome
from crmkit.report.agreement import FieldCounter
from crmkit.report.compared import (
    AmountParity,
    CategoryClash,
    Differences,
    DuplicateLink,
    FieldDifference,
    LinkRate,
    ManyToOne,
    Missing,
    MissingDeal,
    PairDifferences,
    RateGap,
    StageMapCoverage,
    StageParity,
    UnmappedStageCount,
)
from crmkit.report.deals import Appraiser, Deal
from crmkit.report.inputs import Links, PipelineRow, Settings, StageCoverage
from crmkit.report.money import ZERO, add, subtract
from crmkit.report.rates import Rates
from crmkit.report.ratios import share


@dataclass(slots=True)
class _Sums:
    count: int = 0
    amount: Decimal = ZERO


@dataclass(slots=True)
class _Side:
    """One connection: its linked deals by logical deal, its unlinked ones, its totals in scope."""

    connection: str
    linked: dict[str, list[Deal]] = field(default_factory=lambda: defaultdict(list))
    alone: list[Deal] = field(default_factory=list)
    records: int = 0
    in_scope: int = 0
    stages: dict[str | None, _Sums] = field(default_factory=lambda: defaultdict(_Sums))
    by_currency: dict[str | None, Decimal] = field(default_factory=dict)
    converted: Decimal = ZERO
    rates_missing_open: int = 0
    # A deal may be missing in several other connections: its line is made once.
    lines: dict[str, MissingDeal] = field(default_factory=dict)

    def add(self, deal: Deal, logical: str | None, *, in_scope: bool) -> None:
        self.records += 1
        if logical is not None:
            self.linked[logical].append(deal)
        elif in_scope:
            self.alone.append(deal)
        if not in_scope:
            return
        self.in_scope += 1
        stage = self.stages[deal.stage]
        stage.count += 1
        stage.amount = add(stage.amount, deal.amount or ZERO)
        if deal.row.outcome is Outcome.OPEN:
            self._add_open(deal)

    def _add_open(self, deal: Deal) -> None:
        if deal.native_amount is not None:
            currency = deal.row.currency.strip().upper() if deal.row.currency else None
            self.by_currency[currency] = add(self.by_currency.get(currency, ZERO), deal.native_amount)
        self.converted = add(self.converted, deal.amount or ZERO)
        self.rates_missing_open += deal.rate_missing


def differences(
    rows: Iterable[PipelineRow],
    links: Links,
    rates: Rates,
    settings: Settings,
    connections: Sequence[str],
    coverage: Sequence[StageCoverage] = (),
) -> Differences:
    """What differs between every two of `connections`, open and closed deals alike.

    A linked pair is in scope if either of its deals is. The partner of a deal is looked
    for among all rows, so that a deal whose partner is out of scope is not missing.

    Args:
        rows: Deals of every connection; those of others than `connections` are passed over.
        links: Which of them are the same deal.
        rates: To `settings.report_currency`.
        settings: The day, the zone, the outline and the scope.
        connections: Two or more, in the order in which they are shown.
        coverage: What the linter of stage maps found, per connection.

    Raises:
        UsageError: Fewer than two connections, or one twice.
    """
    if len(connections) < 2 or len(set(connections)) != len(connections):
        raise UsageError("differences need two or more different connections")
    if rates.report_currency != settings.report_currency.strip().upper():
        raise ValueError(f"rates to {rates.report_currency}, report in {settings.report_currency}")
    appraiser = Appraiser(rates, settings)
    sides = {connection: _Side(connection) for connection in connections}
    gaps: list[RateGap] = []
    for row in rows:
        side = sides.get(row.ref.connection)
        if side is None:
            continue
        deal = appraiser.value(row)
        in_scope = settings.scope.holds(row)
        side.add(deal, links.get(row.ref), in_scope=in_scope)
        if in_scope and deal.rate_missing:
            gaps.append(_gap(deal))
    for side in sides.values():
        for members in side.linked.values():
            members.sort(key=_ref)
        side.alone.sort(key=_ref)
    scope = settings.scope
    return Differences(
        as_of=settings.as_of,
        as_of_date=settings.as_of_date,
        time_zone=settings.time_zone,
        report_currency=rates.report_currency,
        amount_basis=settings.amount_basis.value,
        scope={"pipelines": tuple(sorted(scope.pipelines)), "owners": tuple(sorted(scope.owners))},
        connections=tuple(connections),
        records={connection: side.records for connection, side in sides.items()},
        pairs=tuple(_Pair(sides[x], sides[y], settings).compare() for x, y in combinations(connections, 2)),
        duplicate_links=_duplicates(sides),
        stage_map_coverage=tuple(
            _coverage(one, settings) for one in coverage if one.connection in connections
        ),
        fx_missing=tuple(sorted(gaps, key=lambda gap: gap.ref)),
    )


class _Pair:
    """Compares two sides."""

    def __init__(self, x: _Side, y: _Side, settings: Settings) -> None:
        self._x, self._y = x, y
        self._settings = settings
        self._names = {stage.id: stage.name for stage in settings.stages}

    def compare(self) -> PairDifferences:
        counter = FieldCounter(self._names)
        found: list[FieldDifference] = []
        shared = sorted(self._x.linked.keys() & self._y.linked.keys())
        linked = 0
        for logical in shared:
            # A second record in one connection is a duplicate link, reported as such.
            x, y = self._x.linked[logical][0], self._y.linked[logical][0]
            if self._holds(x) or self._holds(y):
                linked += 1
                found.extend(counter.compare(logical, x, y))
        return PairDifferences(
            x=self._x.connection,
            y=self._y.connection,
            linked=linked,
            link_rates=(self._link_rate(self._x, self._y), self._link_rate(self._y, self._x)),
            missing=(self._missing(self._x, self._y), self._missing(self._y, self._x)),
            field_agreement=counter.agreement(min_sample=self._settings.min_sample),
            field_differences=tuple(found),
            stage_parity=self._stage_parity(),
            amount_parity=self._amount_parity(),
        )

    def _holds(self, deal: Deal) -> bool:
        return self._settings.scope.holds(deal.row)

    def _link_rate(self, side: _Side, other: _Side) -> LinkRate:
        linked = sum(
            self._holds(deal)
            for logical, members in side.linked.items()
            if logical in other.linked
            for deal in members
        )
        rate = share(linked, side.in_scope, sample=side.in_scope, min_sample=self._settings.min_sample)
        return LinkRate(connection=side.connection, other=other.connection, rate=rate)

    def _missing(self, side: _Side, other: _Side) -> Missing:
        """Deals of `side` that `other` lacks."""
        lone = [
            deal
            for logical, members in side.linked.items()
            if logical not in other.linked
            for deal in members
            if self._holds(deal)
        ]
        deals = sorted((*side.alone, *lone), key=_ref)
        amount = ZERO
        for deal in deals:
            amount = add(amount, deal.amount or ZERO)
        return Missing(
            present_in=side.connection,
            missing_in=other.connection,
            count=len(deals),
            amount=amount,
            amount_missing_count=sum(not deal.priced for deal in deals),
            fx_missing_count=sum(deal.rate_missing for deal in deals),
            deals=tuple(self._missing_deal(side, deal) for deal in deals),
        )

    def _missing_deal(self, side: _Side, deal: Deal) -> MissingDeal:
        row = deal.row
        known = side.lines.get(row.ref.id)
        if known is not None:
            return known
        line = MissingDeal(
            ref=str(row.ref),
            name=row.name,
            stage=self._names.get(deal.stage or "", row.stage_name),
            outcome=row.outcome,
            amount=deal.native_amount,
            currency=row.currency,
            owner=row.owner_name or row.owner_email,
            company=row.company_name,
            expected_close=row.expected_close,
            url=row.url,
        )
        side.lines[row.ref.id] = line
        return line

    def _stage_parity(self) -> tuple[StageParity, ...]:
        outline = sorted(self._settings.stages, key=lambda stage: (stage.order, stage.id))
        return (*(self._parity(stage.id, stage.name) for stage in outline), self._parity(None, None))

    def _parity(self, stage: str | None, name: str | None) -> StageParity:
        x, y = self._x.stages.get(stage, _Sums()), self._y.stages.get(stage, _Sums())
        return StageParity(
            stage=stage,
            name=name,
            x_count=x.count,
            y_count=y.count,
            count_difference=x.count - y.count,
            x_amount=x.amount,
            y_amount=y.amount,
            amount_difference=subtract(x.amount, y.amount),
        )

    def _amount_parity(self) -> tuple[AmountParity, ...]:
        currencies = sorted({*self._x.by_currency, *self._y.by_currency}, key=lambda code: code or "~")
        per_currency = (
            self._open_money(
                code,
                self._x.by_currency.get(code, ZERO),
                self._y.by_currency.get(code, ZERO),
                converted=False,
            )
            for code in currencies
        )
        report = self._settings.report_currency.strip().upper()
        return (*per_currency, self._open_money(report, self._x.converted, self._y.converted, converted=True))

    def _open_money(self, currency: str | None, x: Decimal, y: Decimal, *, converted: bool) -> AmountParity:
        return AmountParity(
            currency=currency,
            converted=converted,
            x_amount=x,
            y_amount=y,
            difference=subtract(x, y),
            x_fx_missing_count=self._x.rates_missing_open if converted else 0,
            y_fx_missing_count=self._y.rates_missing_open if converted else 0,
        )


def _ref(deal: Deal) -> str:
    return str(deal.row.ref)


def _gap(deal: Deal) -> RateGap:
    row = deal.row
    return RateGap(
        ref=str(row.ref),
        name=row.name,
        amount=deal.native_amount or ZERO,
        currency=row.currency,
        day=deal.rate_day,
    )


def _duplicates(sides: Mapping[str, _Side]) -> tuple[DuplicateLink, ...]:
    return tuple(
        DuplicateLink(deal=logical, connection=connection, refs=tuple(_ref(deal) for deal in members))
        for connection, side in sides.items()
        for logical, members in sorted(side.linked.items())
        if len(members) > 1
    )


def _coverage(one: StageCoverage, settings: Settings) -> StageMapCoverage:
    return StageMapCoverage(
        connection=one.connection,
        coverage=share(one.mapped_deals, one.deals, sample=one.deals, min_sample=settings.min_sample),
        unmapped=tuple(
            UnmappedStageCount(pipeline=found.pipeline, stage=found.stage, deals=found.deals)
            for found in one.unmapped
        ),
        many_to_one=tuple(
            ManyToOne(pipeline=found.pipeline, common_stage=found.common_stage, stages=found.stages)
            for found in one.many_to_one
        ),
        clashes=tuple(
            CategoryClash(
                pipeline=found.pipeline,
                stage=found.stage,
                outcome=found.outcome,
                common_stage=found.common_stage,
                common_outcome=found.common_outcome,
            )
            for found in one.clashes
        ),
    )
