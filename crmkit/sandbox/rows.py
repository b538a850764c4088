"""What one CRM holds, in words that belong to no vendor.

Records are frozen: an edit replaces the record. Whoever keeps one keeps one
consistent version of it, which is also how the search index trails behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

Kind = Literal["user", "company", "contact", "deal", "note"]
Outcome = Literal["open", "won", "lost"]
FieldType = Literal["text", "number", "date", "picklist", "multiselect", "checkbox"]


class Visit(NamedTuple):
    """One step of a deal's stage history."""

    stage_id: str
    at: datetime
    by_user_id: str | None


@dataclass(slots=True, frozen=True, kw_only=True)
class User:
    """Somebody who can own records."""

    id: str
    name: str
    email: str
    active: bool
    created: datetime


@dataclass(slots=True, frozen=True, kw_only=True)
class Company:
    """A company; `custom` is keyed by `CustomField.key`."""

    id: str
    name: str
    domain: str | None = None
    phone: str | None = None
    street: str | None = None
    city: str | None = None
    country: str | None = None
    postcode: str | None = None
    owner_id: str | None = None
    tags: tuple[str, ...] = ()
    custom: Mapping[str, Any] = field(default_factory=dict)
    created: datetime
    modified: datetime


@dataclass(slots=True, frozen=True, kw_only=True)
class Contact:
    """A person, of at most one company."""

    id: str
    first: str
    last: str
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    company_id: str | None = None
    owner_id: str | None = None
    tags: tuple[str, ...] = ()
    custom: Mapping[str, Any] = field(default_factory=dict)
    created: datetime
    modified: datetime


@dataclass(slots=True, frozen=True, kw_only=True)
class Deal:
    """A deal.

    `status` is open, won, lost or abandoned; in most CRMs it follows the stage.
    `amount` has as many decimals as its currency. `probability` is 0 to 1 and
    `None` where the stage's own holds.
    """

    id: str
    name: str
    amount: Decimal | None = None
    currency: str
    value_period: str = "one_time"
    pipeline_id: str
    stage_id: str
    status: str = "open"
    owner_id: str | None = None
    company_id: str | None = None
    contact_ids: tuple[str, ...] = ()
    expected_close: date | None = None
    closed_at: datetime | None = None
    probability: float | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    custom: Mapping[str, Any] = field(default_factory=dict)
    created: datetime
    modified: datetime
    stage_entered: datetime
    last_activity: datetime | None = None
    lost_reason: str | None = None
    history: tuple[Visit, ...] = ()


@dataclass(slots=True, frozen=True, kw_only=True)
class Note:
    """A note on a deal, a company or a contact."""

    id: str
    deal_id: str | None = None
    company_id: str | None = None
    contact_id: str | None = None
    author_id: str | None = None
    text: str
    custom: Mapping[str, Any] = field(default_factory=dict)
    created: datetime
    modified: datetime


Row = User | Company | Contact | Deal | Note


@dataclass(slots=True)
class Stage:
    """A stage of a pipeline; `extra` holds what only its vendor knows."""

    id: str
    name: str
    order: int
    outcome: Outcome
    probability: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Pipeline:
    """A pipeline with its stages in order."""

    id: str
    name: str
    order: int
    stages: list[Stage]
    archived: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Option:
    """One value of a picklist; `id` is what a record's `custom` holds."""

    id: str
    label: str


@dataclass(slots=True)
class CustomField:
    """A field the workspace added: `key` in our rows, `id` on the wire."""

    id: str
    key: str
    label: str
    type: FieldType
    options: tuple[Option, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Deleted:
    """A record that was deleted, and what it last held."""

    kind: Kind
    id: str
    at: datetime
    row: Any
    by_user_id: str | None = None

    @property
    def name(self) -> str:
        """The record's name, or nothing if its kind has none."""
        return str(getattr(self.row, "name", ""))


@dataclass(slots=True, frozen=True)
class Merged:
    """A record that went up in another one of its kind, and what it last held."""

    kind: Kind
    loser: str
    winner: str
    at: datetime
    row: Any


@dataclass(slots=True, frozen=True)
class Change:
    """What happened to one record: `before` is `None` if created, `after` if deleted or merged away."""

    kind: Kind
    id: str
    at: datetime
    before: Any | None
    after: Any | None
    by_user_id: str | None = None


@dataclass(slots=True, frozen=True)
class SideEffect:
    """An automation that a write started; `what` is `workflow`, `approval`, `robot`, `notification`."""

    kind: Kind
    id: str
    what: str
    by: str | None = None
