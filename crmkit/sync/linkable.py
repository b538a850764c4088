"""What tells records of different CRMs apart: companies, people and deals, each in its few telling fields."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol

from crmkit.model import Ref


@dataclass(frozen=True, slots=True)
class LinkableCompany:
    """What tells companies apart."""

    ref: Ref
    name: str
    domain: str | None = None
    tax_id: str | None = None
    phones: tuple[str, ...] = ()
    city: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class LinkableContact:
    """What tells people apart; `company` is the id of the linked company, the same in every CRM."""

    ref: Ref
    name: str
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    key: str | None = None
    company: str | None = None


@dataclass(frozen=True, slots=True)
class LinkableDeal:
    """What tells deals apart; `company` is the id of the linked company, the same in every CRM.

    `company_name` is what this CRM calls the company; deals are often named after it.
    `created` is the day on which the record was made.
    """

    ref: Ref
    name: str
    amount: Decimal | None = None
    currency: str | None = None
    company: str | None = None
    expected_close: date | None = None
    key: str | None = None
    company_name: str = ""
    created: date | None = None


class Linkable(Protocol):
    """A record that can be linked."""

    @property
    def ref(self) -> Ref: ...

    @property
    def key(self) -> str | None: ...
