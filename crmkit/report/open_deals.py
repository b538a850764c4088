"""Point-in-time figures over open deals (metrics.md 3), added up deal by deal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypedDict

from crmkit.model import Outcome
from crmkit.report.calendar import Span, month_of, next_spans, quarter_of
from crmkit.report.deals import Deal
from crmkit.report.figures import (
    CloseFigures,
    ConnectionFigures,
    ConnectionPart,
    NativeStageFigures,
    OpenFigures,
    OpenSummary,
    OwnerFigures,
    StageFigures,
)
from crmkit.report.inputs import NativeStage, PipelineRow, Settings
from crmkit.report.money import ZERO, add
from crmkit.report.ratios import mean, median, share

MONTHS_AHEAD = 12
QUARTERS_AHEAD = 4

_StageKey = tuple[str, str, str]


class _Sums(TypedDict):
    count: int
    amount: Decimal
    amount_missing_count: int
    fx_missing_count: int
    weighted_amount: Decimal
    weighted_excluded_count: int
    weighted_excluded_amount: Decimal


@dataclass(slots=True)
class Tally:
    """A running total over open deals."""

    count: int = 0
    amount: Decimal = ZERO
    amount_missing: int = 0
    fx_missing: int = 0
    weighted: Decimal = ZERO
    excluded: int = 0
    excluded_amount: Decimal = ZERO

    def add(self, deal: Deal) -> None:
        """Count the deal in, and its money if there is any that converts."""
        self.count += 1
        self.amount_missing += not deal.priced
        self.fx_missing += deal.rate_missing
        if deal.amount is not None:
            self.amount = add(self.amount, deal.amount)
        if deal.weighted is not None:
            self.weighted = add(self.weighted, deal.weighted)
        else:
            self.excluded += 1
            self.excluded_amount = add(self.excluded_amount, deal.amount or ZERO)

    def sums(self) -> _Sums:
        """The fields of `OpenFigures`."""
        return {
            "count": self.count,
            "amount": self.amount,
            "amount_missing_count": self.amount_missing,
            "fx_missing_count": self.fx_missing,
            "weighted_amount": self.weighted,
            "weighted_excluded_count": self.excluded,
            "weighted_excluded_amount": self.excluded_amount,
        }

    def figures(self) -> OpenFigures:
        """The total so far."""
        return OpenFigures(**self.sums())


@dataclass(slots=True)
class _Named:
    """A total with the name that goes with its key; the first name in order, whatever was read first."""

    name: str | None = None
    active: bool = False
    tally: Tally = field(default_factory=Tally)

    def called(self, name: str | None) -> None:
        if name is not None and (self.name is None or name < self.name):
            self.name = name


class OpenFold:
    """Adds up open deals by everything the report groups them by."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._today = settings.as_of_date
        self.all = Tally()
        self.overdue = Tally()
        self.no_close_date = Tally()
        self._amounts: list[Decimal] = []
        self._stages: defaultdict[str | None, Tally] = defaultdict(Tally)
        self._parts: defaultdict[tuple[str | None, str], Tally] = defaultdict(Tally)
        self._native: defaultdict[_StageKey, Tally] = defaultdict(Tally)
        self._native_rows: dict[_StageKey, NativeStage] = {}
        self._connections: defaultdict[str, Tally] = defaultdict(Tally)
        self._owners: defaultdict[str | None, _Named] = defaultdict(_Named)
        self._months: defaultdict[Span, Tally] = defaultdict(Tally)
        self._quarters: defaultdict[Span, Tally] = defaultdict(Tally)
        self.value_periods: dict[str, int] = {}

    def add(self, deal: Deal) -> None:
        """Count an open deal in."""
        row = deal.row
        if deal.amount is not None:
            self._amounts.append(deal.amount)
        period = row.value_period.value
        self.value_periods[period] = self.value_periods.get(period, 0) + 1
        for tally in (
            self.all,
            self._stages[deal.stage],
            self._parts[(deal.stage, row.ref.connection)],
            self._native[self._native_key(row)],
            self._connections[row.ref.connection],
            self._owner(row),
            *self._close_tallies(row),
        ):
            tally.add(deal)

    def _native_key(self, row: PipelineRow) -> _StageKey:
        key = (row.ref.connection, row.pipeline_id or "", row.stage_id or "")
        known = self._native_rows.get(key)
        found = NativeStage(
            connection=key[0],
            pipeline_id=key[1],
            pipeline_name=row.pipeline_name or "",
            stage_id=key[2],
            stage_name=row.stage_name or "",
            order=0,
            common_stage=row.common_stage,
        )
        if known is None or _names(found) < _names(known):
            self._native_rows[key] = found
        return key

    def _owner(self, row: PipelineRow) -> Tally:
        owner = self._owners[owner_key(row)]
        owner.called(row.owner_name or row.owner_email or row.owner_id)
        owner.active |= row.owner_active
        return owner.tally

    def _close_tallies(self, row: PipelineRow) -> tuple[Tally, ...]:
        day = row.expected_close
        if day is None:
            return (self.no_close_date,)
        if day < self._today:
            return (self.overdue,)
        quarter = quarter_of(day, self._settings.fiscal_start_month)
        return (
            self._months[month_of(day)],
            self._quarters[quarter],
        )

    def summary(self) -> OpenSummary:
        """All open deals, with the spread of their amounts."""
        least = self._settings.min_sample
        positive = self.all.amount > 0
        return OpenSummary(
            **self.all.sums(),
            average_amount=mean(self._amounts, min_sample=least),
            median_amount=median(self._amounts, min_sample=least),
            top_deal_share=share(
                max(self._amounts, default=ZERO),
                self.all.amount,
                sample=len(self._amounts),
                min_sample=least,
                meaningful=positive,
            ),
        )

    def by_stage(self) -> tuple[StageFigures, ...]:
        """Every open common stage in order, then any other that holds open deals, then unmapped."""
        rows = [
            self._stage(stage.id, stage.name, stage.outcome)
            for stage in sorted(self._settings.stages, key=lambda stage: (stage.order, stage.id))
            if stage.outcome is Outcome.OPEN or stage.id in self._stages
        ]
        return (*rows, self._stage(None, None, None))

    def _stage(self, stage: str | None, name: str | None, outcome: Outcome | None) -> StageFigures:
        parts = [
            (connection, self._parts[stage, connection])
            for connection in sorted(self._connections)
            if (stage, connection) in self._parts
        ]
        return StageFigures(
            **self._stages.get(stage, Tally()).sums(),
            stage=stage,
            name=name,
            outcome=outcome,
            by_connection=tuple(
                ConnectionPart(connection=connection, count=tally.count, amount=tally.amount)
                for connection, tally in parts
            ),
        )

    def by_native_stage(self) -> tuple[NativeStageFigures, ...]:
        """Known open stages in pipeline order, zero rows too, then stages seen only on deals."""
        known = {(s.connection, s.pipeline_id, s.stage_id): s for s in self._settings.native_stages}
        listed = [
            stage
            for key, stage in known.items()
            if key in self._native or (stage.outcome is Outcome.OPEN and self._reads(stage.connection))
        ]
        unlisted = [self._native_rows[key] for key in sorted(self._native) if key not in known]
        return tuple(self._native_figures(stage) for stage in (*listed, *unlisted))

    def _reads(self, connection: str) -> bool:
        wanted = self._settings.scope.connections
        return not wanted or connection in wanted

    def _native_figures(self, stage: NativeStage) -> NativeStageFigures:
        key = (stage.connection, stage.pipeline_id, stage.stage_id)
        return NativeStageFigures(
            **self._native.get(key, Tally()).sums(),
            connection=stage.connection,
            pipeline_id=stage.pipeline_id or None,
            pipeline=stage.pipeline_name or None,
            stage_id=stage.stage_id or None,
            stage=stage.stage_name or None,
            common_stage=stage.common_stage,
        )

    def by_connection(self, records: Mapping[str, int]) -> tuple[ConnectionFigures, ...]:
        """Every connection that was read, by name."""
        return tuple(
            ConnectionFigures(
                **self._connections.get(connection, Tally()).sums(),
                connection=connection,
                records=records.get(connection, 0),
            )
            for connection in sorted({*records, *self._connections})
        )

    def by_owner(self) -> tuple[OwnerFigures, ...]:
        """Owners by amount, largest first; deals without one are the last row."""
        ranked = sorted(
            self._owners.items(),
            key=lambda pair: (pair[0] is None, -pair[1].tally.amount, pair[1].name or "", pair[0] or ""),
        )
        return tuple(
            OwnerFigures(**owner.tally.sums(), owner=owner.name if key else None, active=owner.active)
            for key, owner in ranked
        )

    def by_close_month(self) -> tuple[CloseFigures, ...]:
        """The next twelve months, zero rows too, then every later month that holds deals."""
        return _close(self._months, next_spans(month_of(self._today), MONTHS_AHEAD))

    def by_close_quarter(self) -> tuple[CloseFigures, ...]:
        """The next four fiscal quarters, zero rows too, then every later one that holds deals."""
        start = self._settings.fiscal_start_month
        return _close(self._quarters, next_spans(quarter_of(self._today, start), QUARTERS_AHEAD, start))


def owner_key(row: PipelineRow) -> str | None:
    """What makes two owners the same person: a given key, the e-mail address, the CRM's own id."""
    if row.owner_key:
        return f"key:{row.owner_key}"
    if row.owner_email and row.owner_email.strip():
        return f"mail:{row.owner_email.strip().casefold()}"
    return f"id:{row.ref.connection}:{row.owner_id}" if row.owner_id else None


def _names(stage: NativeStage) -> tuple[str, str, str]:
    return stage.pipeline_name, stage.stage_name, stage.common_stage or ""


def _close(tallies: Mapping[Span, Tally], always: Iterable[Span]) -> tuple[CloseFigures, ...]:
    return tuple(
        CloseFigures(**tallies.get(span, Tally()).sums(), key=span.key, start=span.start, end=span.end)
        for span in sorted({*tallies, *always})
    )
