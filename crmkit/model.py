"""Canonical records: one shape for the deals, pipelines and people of every CRM.

Times are aware and in UTC, days are `date`, money is `Decimal` with an ISO 4217
currency, probability is a fraction from 0 to 1, ids are strings. `None` means that
the CRM holds no value. Ids point into the same connection, never across.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field


class Kind(StrEnum):
    """The kinds of record a connector reads, in the order in which a pull reads them."""

    PIPELINE = "pipeline"
    OWNER = "owner"
    COMPANY = "company"
    CONTACT = "contact"
    DEAL = "deal"
    STAGE_CHANGE = "stage_change"
    NOTE = "note"


class Outcome(StrEnum):
    """Whether a deal is still running, and how it ended if not."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


class LostKind(StrEnum):
    """Why a lost deal counts as lost (metrics.md 2.3)."""

    LOST = "lost"
    ABANDONED = "abandoned"
    DISQUALIFIED = "disqualified"
    DUPLICATE = "duplicate"


class ValuePeriod(StrEnum):
    """What one amount stands for: once, or every month or year."""

    ONE_TIME = "one_time"
    MONTHLY = "monthly"
    ANNUAL = "annual"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The address of one record: connection, kind, and the CRM's own id."""

    connection: str
    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"{self.connection}:{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read `connection:kind:id` back.

        Raises:
            ValueError: The text has another shape or an unknown kind.
        """
        connection, kind, native = text.split(":", 2)
        return cls(connection, Kind(kind), native)


CustomValue: TypeAlias = Annotated[
    str | bool | int | Decimal | datetime | date | tuple[str, ...] | None,
    # Values are checked strictly, so the first type that fits is the right one; trying all
    # of them costs more than the rest of a deal.
    Field(union_mode="left_to_right"),
]
"""A custom field's typed value; a multi-select is a tuple of option ids or labels."""


class Record(BaseModel):
    """What every canonical record shares: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Stage(Record):
    """One stage of one pipeline, as the CRM holds it."""

    id: str
    name: str
    order: int
    outcome: Outcome = Outcome.OPEN
    probability: Decimal | None = None
    archived: bool = False


class Pipeline(Record):
    """A pipeline and its stages in order."""

    ref: Ref
    name: str
    order: int = 0
    archived: bool = False
    stages: tuple[Stage, ...] = ()


class DealContact(Record):
    """A person on a deal."""

    id: str
    role: str | None = None
    primary: bool = False


class Deal(Record):
    """A deal of one CRM.

    `amount` is in major units of `currency`; `None` is unknown, not zero. `companies`
    and `contacts` list the primary one first. `stage_id` is the CRM's own stage;
    the common stage is found through the stage map. `key` is the value of the field
    that ties this record to its origin in another CRM, if it carries one. `version`
    orders the record's own states; it is compared only within one connection.
    """

    ref: Ref
    name: str
    pipeline_id: str | None = None
    stage_id: str | None = None
    outcome: Outcome = Outcome.OPEN
    lost_kind: LostKind | None = None
    lost_reason: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    value_period: ValuePeriod = ValuePeriod.ONE_TIME
    probability: Decimal | None = None
    forecast_category: str | None = None
    owner_id: str | None = None
    companies: tuple[str, ...] = ()
    contacts: tuple[DealContact, ...] = ()
    expected_close: date | None = None
    closed_at: datetime | None = None
    created_at: datetime | None = None
    modified_at: datetime | None = None
    stage_entered_at: datetime | None = None
    last_activity_at: datetime | None = None
    next_activity_at: datetime | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    custom: dict[str, CustomValue] = {}
    url: str | None = None
    key: str | None = None
    version: str | None = None
    archived: bool = False
    merged_into: str | None = None


class StageChange(Record):
    """One step of a deal from a stage to the next; `from_stage_id` is `None` at its start."""

    ref: Ref
    deal_id: str
    from_stage_id: str | None = None
    to_stage_id: str
    at: datetime
    by: str | None = None


class Owner(Record):
    """A person who can own deals."""

    ref: Ref
    name: str
    email: str | None = None
    active: bool = True


class Party(Record):
    """What companies and people share."""

    ref: Ref
    name: str
    phones: tuple[str, ...] = ()
    owner_id: str | None = None
    city: str | None = None
    country: str | None = None
    postcode: str | None = None
    key: str | None = None
    custom: dict[str, CustomValue] = {}
    url: str | None = None
    created_at: datetime | None = None
    modified_at: datetime | None = None
    version: str | None = None
    archived: bool = False
    merged_into: str | None = None


class Company(Party):
    """A company (HubSpot company, Zoho account, Copper and Bitrix24 company, Close lead)."""

    domain: str | None = None
    tax_id: str | None = None


class Contact(Party):
    """A person at a company; `companies` lists the primary one first."""

    first_name: str | None = None
    last_name: str | None = None
    emails: tuple[str, ...] = ()
    companies: tuple[str, ...] = ()


class Note(Record):
    """A text that somebody wrote on a deal, or on the company of a deal."""

    ref: Ref
    deal_id: str | None = None
    company_id: str | None = None
    text: str
    author_id: str | None = None
    at: datetime | None = None
    modified_at: datetime | None = None


class Tombstone(Record):
    """A record that is gone: deleted, or merged into another one."""

    ref: Ref
    merged_into: str | None = None
    at: datetime | None = None


class Workspace(Record):
    """The tenant that a connection reaches.

    `limits` names what the plan allows, if the CRM tells: for example `{"daily": 250000}`.
    `server_time` is the server's own clock (the `Date` header) when it answered.
    """

    id: str
    name: str
    time_zone: str | None = None
    base_currency: str | None = None
    currencies: tuple[str, ...] = ()
    limits: Mapping[str, int] = {}
    server_time: datetime | None = None
    user: str | None = None


AnyRecord: TypeAlias = Pipeline | Owner | Company | Contact | Deal | StageChange | Note
