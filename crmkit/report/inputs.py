"""What the report functions take: slim deal rows, the outline of stages, and the settings.

A loader fills these from the state store; nothing here reads anything by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crmkit.errors import ConfigError
from crmkit.mapping.stages import CommonStage
from crmkit.model import LostKind, Outcome, Ref, ValuePeriod

Links = Mapping[Ref, str]
"""Ref of a linked deal -> id of its logical deal; deals without a link are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRow:
    """One deal of one CRM, with what the metrics need and no more.

    `probability` is the deal's own, else its stage's default, else `None`. `closed_at`
    counts only while the outcome is won or lost. `last_human_change_at` leaves out what
    crmkit itself wrote; where it is unknown, `modified_at` stands in. Equal `owner_key`
    or `company_key` in two CRMs means the same owner or company; without keys the
    e-mail address and the name decide.
    """

    ref: Ref
    name: str
    pipeline_id: str | None = None
    pipeline_name: str | None = None
    stage_id: str | None = None
    stage_name: str | None = None
    common_stage: str | None = None
    outcome: Outcome = Outcome.OPEN
    lost_kind: LostKind | None = None
    lost_reason: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    value_period: ValuePeriod = ValuePeriod.ONE_TIME
    probability: Decimal | None = None
    owner_id: str | None = None
    owner_name: str | None = None
    owner_email: str | None = None
    owner_active: bool = True
    owner_key: str | None = None
    company_id: str | None = None
    company_name: str | None = None
    company_key: str | None = None
    expected_close: date | None = None
    created_at: datetime | None = None
    closed_at: datetime | None = None
    closed_at_estimated: bool = False
    stage_entered_at: datetime | None = None
    last_activity_at: datetime | None = None
    last_human_change_at: datetime | None = None
    modified_at: datetime | None = None
    url: str | None = None

    @property
    def connection(self) -> str:
        """The connection that the deal was read from."""
        return self.ref.connection


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeStage:
    """One stage of one pipeline of one connection; `common_stage` is `None` if unmapped."""

    connection: str
    pipeline_id: str
    pipeline_name: str
    stage_id: str
    stage_name: str
    order: int
    outcome: Outcome = Outcome.OPEN
    common_stage: str | None = None


class AmountBasis(StrEnum):
    """Whether a monthly amount is added as entered, or times twelve (metrics.md 2.4)."""

    AS_ENTERED = "as_entered"
    ANNUALISED = "annualised"


class SkipPolicy(StrEnum):
    """Whether a skipped stage counts as entered (metrics.md 9)."""

    FILL = "fill"
    EXCLUDE = "exclude"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which deals count; an empty set lets every value pass.

    `connections` chooses what is read at all. `pipelines` (ids or names), `owners`
    (ids, e-mail addresses or names) and `teams` are compared, without regard to case,
    with the values that the logical deal ends up with.
    """

    connections: frozenset[str] = frozenset()
    pipelines: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """What passes, in order, by what it is."""
        return {
            "connections": tuple(sorted(self.connections)),
            "pipelines": tuple(sorted(self.pipelines)),
            "owners": tuple(sorted(self.owners)),
            "teams": tuple(sorted(self.teams)),
        }

    def reads(self, row: PipelineRow) -> bool:
        """Whether the row's connection is looked at."""
        return not self.connections or row.ref.connection in self.connections

    def holds(self, row: PipelineRow) -> bool:
        """Whether the deal with these values is in scope."""
        return _passes(self.pipelines, row.pipeline_id, row.pipeline_name) and _passes(
            self.owners, row.owner_id, row.owner_email, row.owner_name
        )


def _passes(wanted: frozenset[str], *values: str | None) -> bool:
    if not wanted:
        return True
    folded = {word.casefold() for word in wanted}
    return any(value is not None and value.casefold() in folded for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What is to be won in `[start, end)`, local days, in the report currency.

    By an owner (key, e-mail address or name), by a team, or by everybody if neither is named.
    """

    start: date
    end: date
    amount: Decimal
    owner: str | None = None
    team: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How figures are made: the day, the zone, the currency, the outline and the thresholds.

    `period` is half-open, in local days; without one it is the fiscal quarter of
    `as_of`. The trailing window is the `trailing_days` local days that end with the
    day of `as_of`. `since` is the start of the weekly review and of the changes beside the
    summary; without it seven days before `as_of`. `record_order` names the connections
    whose values win for a linked deal, best first; without it the most recently modified
    member wins. `top` is the length of the lists of biggest and of stale deals. `teams`
    lists the members of each (e-mail addresses or names). `forecast_categories` gives a common
    stage its category,
    `forecast_names` what a CRM's own category names stand for; without either a deal is a commit
    from the probability `commit_share` on and best case from `best_case_share` on.
    `month_end_close` names the connections whose CRM presets the close date of a new deal
    to the last day of its month.
    The others are the thresholds of metrics.md 9, 13 and 14 by the names used there.

    Raises:
        ConfigError: A setting cannot be used.
    """

    report_currency: str
    time_zone: str
    as_of: datetime
    stages: tuple[CommonStage, ...]
    native_stages: tuple[NativeStage, ...] = ()
    fiscal_start_month: int = 1
    period: tuple[date, date] | None = None
    trailing_days: int = 365
    stale_days: int = 30
    stale_warning_days: int = 14
    stale_days_by_stage: Mapping[str, int] = field(default_factory=dict)
    amount_basis: AmountBasis = AmountBasis.AS_ENTERED
    min_sample: int = 5
    qualified_stage: str | None = None
    scope: Scope = field(default_factory=Scope)
    record_order: tuple[str, ...] = ()
    top: int = 20
    since: datetime | None = None
    teams: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    quotas: tuple[Quota, ...] = ()
    forecast_categories: Mapping[str, str] = field(default_factory=dict)
    forecast_names: Mapping[str, str] = field(default_factory=dict)
    commit_share: Decimal = Decimal("0.9")
    best_case_share: Decimal = Decimal("0.5")
    skip_policy: SkipPolicy = SkipPolicy.FILL
    immature_share: Decimal = Decimal("0.3")
    stuck_factor: Decimal = Decimal("1.5")
    stuck_samples: int = 20
    stage_max_days: int = 60
    stage_max_days_by_stage: Mapping[str, int] = field(default_factory=dict)
    amount_required_stage: str | None = None
    outlier_factor: Decimal = Decimal(10)
    push_limit: int = 3
    far_days: int = 365
    month_end_close: frozenset[str] = frozenset()
    follow_up_days: int = 7
    renewal_days: int = 90

    def __post_init__(self) -> None:
        if self.as_of.tzinfo is None:
            raise ConfigError("as_of needs a time zone")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigError(f"{self.time_zone!r} is not the IANA name of a time zone") from error
        if not 1 <= self.fiscal_start_month <= 12:
            raise ConfigError("the fiscal year starts in a month from 1 to 12")
        if self.period is not None and self.period[0] >= self.period[1]:
            raise ConfigError("the period ends before it starts")
        ids = [stage.id for stage in self.stages]
        if len(set(ids)) != len(ids):
            raise ConfigError("two common stages have the same id")
        if self.qualified_stage is not None and self.qualified_stage not in ids:
            raise ConfigError(f"the qualified stage {self.qualified_stage!r} is not a common stage")

    @property
    def zone(self) -> ZoneInfo:
        """The report's time zone."""
        return ZoneInfo(self.time_zone)

    @property
    def as_of_date(self) -> date:
        """The local day of `as_of`."""
        return self.as_of.astimezone(self.zone).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCount:
    """A native stage and the deals in it."""

    pipeline: str
    stage: str
    deals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStage:
    """Native stages of one pipeline that share a common stage: not written back without a default."""

    pipeline: str
    common_stage: str
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeClash:
    """A native stage mapped to a common stage of another outcome."""

    pipeline: str
    stage: str
    outcome: Outcome
    common_stage: str
    common_outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCoverage:
    """What the linter of stage maps found for one connection."""

    connection: str
    deals: int
    mapped_deals: int
    unmapped: tuple[StageCount, ...] = ()
    many_to_one: tuple[SharedStage, ...] = ()
    clashes: tuple[OutcomeClash, ...] = ()
