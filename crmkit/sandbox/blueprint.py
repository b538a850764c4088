"""What a real CRM consists of, ready for a twin of it to be raised in the sandbox.

In neutral words, like `rows`, but with all that a reader outside knows of a record: several
companies of a deal, roles, keys. Every id is the real CRM's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from crmkit.sandbox.rows import Outcome

FieldKind = Literal["deal", "company", "contact"]
Value = str | bool | int | Decimal | datetime | date | tuple[str, ...]
Custom = Mapping[str, Value]


@dataclass(slots=True, frozen=True, kw_only=True)
class Stage:
    """A stage of a pipeline; `probability` is 0 to 1."""

    id: str
    name: str
    order: int
    outcome: Outcome
    probability: Decimal | None = None
    archived: bool = False


@dataclass(slots=True, frozen=True, kw_only=True)
class Pipeline:
    """A pipeline with its stages in order."""

    id: str
    name: str
    order: int
    stages: tuple[Stage, ...]
    archived: bool = False


@dataclass(slots=True, frozen=True, kw_only=True)
class User:
    """Somebody who can own records."""

    id: str
    name: str
    email: str | None = None
    active: bool = True


@dataclass(slots=True, frozen=True, kw_only=True)
class Field:
    """A field that the workspace added.

    Attributes:
        id: Its name on the wire, and the key in a record's `custom`.
        type: text, number, money, boolean, day, time, choice, choices, owner, link or other.
        options: Label by option id.
        max_length: In characters.
    """

    id: str
    label: str
    type: str
    options: Mapping[str, str] = field(default_factory=dict)
    required: bool = False
    unique: bool = False
    read_only: bool = False
    max_length: int | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class Company:
    """A company."""

    id: str
    name: str
    domain: str | None = None
    tax_id: str | None = None
    phones: tuple[str, ...] = ()
    owner_id: str | None = None
    city: str | None = None
    country: str | None = None
    postcode: str | None = None
    key: str | None = None
    custom: Custom = field(default_factory=dict)
    created: datetime | None = None
    modified: datetime | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class Contact:
    """A person; `company_ids` lists the primary one first."""

    id: str
    name: str
    first: str | None = None
    last: str | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    company_ids: tuple[str, ...] = ()
    owner_id: str | None = None
    city: str | None = None
    country: str | None = None
    postcode: str | None = None
    key: str | None = None
    custom: Custom = field(default_factory=dict)
    created: datetime | None = None
    modified: datetime | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class Person:
    """A contact of a deal, and the part that it plays."""

    id: str
    role: str | None = None
    primary: bool = False


@dataclass(slots=True, frozen=True, kw_only=True)
class Deal:
    """A deal; `company_ids` lists the primary one first, `key` ties it to its origin elsewhere."""

    id: str
    name: str
    pipeline_id: str | None = None
    stage_id: str | None = None
    outcome: Outcome = "open"
    abandoned: bool = False
    lost_reason: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    value_period: str = "one_time"
    probability: Decimal | None = None
    forecast_category: str | None = None
    owner_id: str | None = None
    company_ids: tuple[str, ...] = ()
    people: tuple[Person, ...] = ()
    expected_close: date | None = None
    closed_at: datetime | None = None
    created: datetime | None = None
    modified: datetime | None = None
    stage_entered: datetime | None = None
    last_activity: datetime | None = None
    next_activity: datetime | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    key: str | None = None
    custom: Custom = field(default_factory=dict)


@dataclass(slots=True, frozen=True, kw_only=True)
class Note:
    """A note on a deal or a company; `text` may be HTML where the CRM keeps that."""

    id: str
    deal_id: str | None = None
    company_id: str | None = None
    text: str
    author_id: str | None = None
    at: datetime | None = None
    modified: datetime | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class Visit:
    """A deal's step into a stage; `from_stage_id` is `None` at its start."""

    deal_id: str
    from_stage_id: str | None = None
    to_stage_id: str
    at: datetime
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """One CRM.

    Attributes:
        crm: Its name, as in the registry.
        currencies: What deals can be in, with the worth of one unit in the base currency; 1 where no rate
            is known.
        fields: The fields that the workspace added, per kind.
        lists: The options of fields that every such CRM has, by kind and field: label by option.
        visits: The stage history, oldest first within a deal; empty if it was not read.
        name_field: Id or label of the custom field that holds the deals' names, if the connection says so.
        left_out: What the real CRM holds and this does not, in words for a person.
    """

    crm: str
    workspace_id: str
    workspace_name: str
    time_zone: str | None = None
    base_currency: str | None = None
    currencies: Mapping[str, Decimal] = field(default_factory=dict)
    pipelines: tuple[Pipeline, ...] = ()
    users: tuple[User, ...] = ()
    fields: Mapping[FieldKind, tuple[Field, ...]] = field(default_factory=dict)
    lists: Mapping[FieldKind, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    companies: tuple[Company, ...] = ()
    contacts: tuple[Contact, ...] = ()
    deals: tuple[Deal, ...] = ()
    notes: tuple[Note, ...] = ()
    visits: tuple[Visit, ...] = ()
    name_field: str | None = None
    left_out: tuple[str, ...] = ()
