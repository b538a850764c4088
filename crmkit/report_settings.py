"""`[report]` of crmkit.toml: how the report counts.

```toml
[report]
currency = "USD"
time_zone = "Europe/Berlin"
rates_file = "rates.csv"               # currency,date,rate
record_order = ["hubspot-us"]          # whose values count for a deal that two CRMs hold
fiscal_start_month = 4
teams = { North = ["ada@example.org"] }
renewal_fields = { hubspot-us = "renewal_date" }
forecast_names = { "Stretch" = "best_case" }   # a CRM's own forecast categories
commit_share = 0.8                     # without a category: commit from this probability on

[[report.quotas]]
period = "2026-Q4"                     # or 2026-11, or 2026
team = "North"                         # or owner = "ada@example.org", or neither: everybody
amount = 250000
```
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from crmkit.notify_settings import NotifySettings

_CURRENCY = Field(pattern=r"^[A-Z]{3}$")
Days = Annotated[int, Field(ge=1)]


@cache  # reads a whole folder of zones
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuotaSettings(_Section):
    """What is to be won in a period, in the report currency: by an owner, a team, or everybody."""

    period: str = Field(pattern=r"^(FY)?\d{4}(-Q[1-4]|-(0[1-9]|1[0-2]))?$")
    amount: Decimal = Field(ge=0)
    owner: str | None = None
    team: str | None = None

    @model_validator(mode="after")
    def _one_or_neither(self) -> QuotaSettings:
        if self.owner is not None and self.team is not None:
            raise ValueError("a quota is an owner's or a team's: leave one of them out")
        return self


class ReportSettings(_Section):
    """How the report counts.

    `record_order` names connections, the one of record first: a deal that is linked
    across CRMs takes its values from the first of them that holds it.
    """

    currency: Annotated[str, _CURRENCY] = "USD"
    time_zone: str = "UTC"
    language: Literal["en", "de", "ja"] = "en"
    rates_file: Path | None = None
    rates: Mapping[Annotated[str, _CURRENCY], Mapping[date, Decimal]] = {}
    record_order: tuple[str, ...] = ()
    amount_basis: Literal["as_entered", "annualised"] = "as_entered"
    fiscal_start_month: int = Field(default=1, ge=1, le=12)
    win_rate_days: Days = 365
    qualified_stage: str | None = None
    top: Days = 20

    teams: Mapping[str, tuple[str, ...]] = {}
    quotas: tuple[QuotaSettings, ...] = ()
    forecast_categories: Mapping[
        str, Literal["omitted", "pipeline", "best_case", "most_likely", "commit"]
    ] = {}
    forecast_names: Mapping[
        Annotated[str, Field(min_length=1)],
        Literal["omitted", "pipeline", "best_case", "most_likely", "commit"],
    ] = {}
    commit_share: Decimal = Field(default=Decimal("0.9"), ge=0, le=1)
    best_case_share: Decimal = Field(default=Decimal("0.5"), ge=0, le=1)
    skipped_stages: Literal["fill", "exclude"] = "fill"

    stale_days: Days = 30
    stale_warning_days: Days = 14
    stale_days_by_stage: Mapping[str, Days] = {}
    stuck_factor: Decimal = Field(default=Decimal("1.5"), gt=0)
    stage_max_days: Days = 60
    stage_max_days_by_stage: Mapping[str, Days] = {}
    amount_required_stage: str | None = None
    outlier_factor: Decimal = Field(default=Decimal(10), gt=0)
    push_limit: Days = 3
    follow_up_days: Days = 7
    renewal_days: Days = 90
    notify: NotifySettings = NotifySettings()
    renewal_fields: Mapping[str, str] = {}
    upsell_fields: Mapping[str, str] = {}

    def stages_named(self) -> Iterator[tuple[str, str]]:
        """The settings that name common stages, and the stages they name."""
        for key in ("qualified_stage", "amount_required_stage"):
            if getattr(self, key) is not None:
                yield key, getattr(self, key)
        for key in ("forecast_categories", "stale_days_by_stage", "stage_max_days_by_stage"):
            for stage in getattr(self, key):
                yield key, stage

    @model_validator(mode="after")
    def _teams_apart(self) -> ReportSettings:
        seen: dict[str, str] = {}
        for team, members in self.teams.items():
            for member in members:
                other = seen.setdefault(member.strip().casefold(), team)
                if other != team:
                    raise ValueError(f"teams: {member!r} is in {other!r} and in {team!r}")
        for quota in self.quotas:
            if quota.team is not None and quota.team not in self.teams:
                raise ValueError(f"quotas: there is no team {quota.team!r}; add it to teams")
        return self

    @model_validator(mode="after")
    def _commit_is_surer(self) -> ReportSettings:
        if self.best_case_share > self.commit_share:
            raise ValueError(
                f"best_case_share ({self.best_case_share}) is above commit_share ({self.commit_share}): "
                "a commit is the surer of the two"
            )
        return self

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in _zones():
            near = difflib.get_close_matches(value, _zones(), 1)
            raise ValueError(
                f"{value!r} is not a time zone" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        return value

    @field_validator("rates")
    @classmethod
    def _positive(cls, value: Mapping[str, Mapping[date, Decimal]]) -> Mapping[str, Mapping[date, Decimal]]:
        for currency, entries in value.items():
            for when, rate in entries.items():
                if rate <= 0:
                    raise ValueError(f"the rate of {currency} on {when} must be above zero")
        return value
