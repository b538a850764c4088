"""Values to write for a test: made from what a CRM already holds, so that they fit any CRM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from crmkit.connectors.base import Connector, Field
from crmkit.connectors.writing import Writing
from crmkit.errors import Unsupported
from crmkit.model import Contact, Deal, DealContact, Kind, Outcome, Owner, Pipeline, Stage

_DAY = date(2027, 3, 14)
_CLEARABLE = {
    Kind.COMPANY: ("domain", "phones", "city", "owner_id"),
    Kind.CONTACT: ("phones", "owner_id", "city"),
    Kind.DEAL: ("amount", "expected_close", "owner_id"),
}


@dataclass(frozen=True)
class Samples:
    """Values that a CRM can store, told apart by a number.

    Attributes:
        connection: The connection's name.
        writing: What can be written of each kind.
        pipeline_id: A pipeline with at least two open stages.
        stages: Its open stages, in order.
        owners: Ids of active users.
        companies: Ids of companies.
        contacts: Ids of people, of the first company as far as the CRM ties them to one.
        currency: A currency of the CRM's deals.
        custom: Per kind, a custom text field, if there is one.
    """

    connection: str
    writing: Mapping[Kind, Writing]
    pipeline_id: str
    stages: Sequence[str]
    owners: Sequence[str]
    companies: Sequence[str]
    contacts: Sequence[str]
    currency: str | None
    custom: Mapping[Kind, str] = field(default_factory=dict)

    def full(self, kind: Kind, number: int) -> dict[str, Any]:
        """Values for every ordinary field that the CRM takes at a create."""
        writing = self.writing[kind]
        taken = writing.fields | writing.create_fields
        values = {name: one for name, one in self._all(kind, number).items() if name.split(".")[0] in taken}
        if kind is Kind.CONTACT and {"first_name", "last_name"} <= values.keys():
            del values["name"]
        return values

    def least(self, kind: Kind, number: int) -> dict[str, Any]:
        """Values for the required fields alone; something to know the record by where nothing is."""
        required = self.writing[kind].required
        values = {name: one for name, one in self._all(kind, number).items() if name in required}
        name = "last_name" if kind is Kind.CONTACT and "last_name" in self.writing[kind].fields else "name"
        return values or {name: self._all(kind, number)[name]}

    def others(self, kind: Kind, number: int) -> dict[str, Any]:
        """Other values for the fields that can be changed one by one."""
        values = self.full(kind, number)
        if kind is Kind.DEAL:
            values |= {"stage_id": self.stages[1], "owner_id": self.owners[1]}
            for name in ("pipeline_id", "currency", "companies", "contacts", "value_period", "outcome"):
                values.pop(name, None)
        elif "owner_id" in values:
            values["owner_id"] = self.owners[1]
        values.pop("companies", None)
        return values

    def clearable(self, kind: Kind, writing: Writing) -> list[str]:
        """Fields that may be empty."""
        names = [name for name in _CLEARABLE[kind] if name in writing.fields and name not in writing.required]
        if kind in self.custom:
            names.append(f"custom.{self.custom[kind]}")
        return names

    def empty(self, name: str) -> Any:
        """What clears a field."""
        return () if name in ("phones", "emails") else None

    def amount(self, number: int) -> Decimal:
        """Money with cents."""
        return Decimal(f"{1200 + number}.50")

    def _all(self, kind: Kind, number: int) -> dict[str, Any]:
        mine: dict[str, Any] = (
            {f"custom.{self.custom[kind]}": f"Note {number}"} if kind in self.custom else {}
        )
        if kind is Kind.DEAL:
            return mine | {
                "name": f"Grüße & <Söhne> {number}",
                "pipeline_id": self.pipeline_id,
                "stage_id": self.stages[0],
                "amount": self.amount(number),
                "currency": self.currency,
                "owner_id": self.owners[0],
                "companies": tuple(self.companies[:1]),
                "contacts": tuple(DealContact(id=one, primary=True) for one in self.contacts[:1]),
                "expected_close": _DAY + timedelta(days=number % 28),
            }
        party = mine | {
            "phones": (f"+49 30 901820{number:02d}",),
            "owner_id": self.owners[0],
            "city": f"Köln {number}",
            "country": "Germany",
            "postcode": f"{50000 + number}",
        }
        if kind is Kind.COMPANY:
            return party | {"name": f"Öl & Gas {number}", "domain": f"oel{number}.example"}
        return party | {
            "name": f"Ana{number} Núñez",
            "first_name": f"Ana{number}",
            "last_name": "Núñez",
            "emails": (f"ana{number}@oel.example",),
            "companies": tuple(self.companies[:1]),
        }


def gather(connector: Connector) -> Samples:
    """Look round in a CRM for what samples can be made from.

    Raises:
        AssertionError: It holds too little: two open stages in a pipeline, two active
            users, three companies and a deal with a company and a currency are needed.
    """
    pipelines = [one for one in _every(connector, Kind.PIPELINE) if isinstance(one, Pipeline)]
    owners = [one for one in _every(connector, Kind.OWNER) if isinstance(one, Owner) and one.active]
    deals = [one for one in _every(connector, Kind.DEAL) if isinstance(one, Deal)]
    companies = [one.ref.id for one in _every(connector, Kind.COMPANY)]
    people = [one for one in _every(connector, Kind.CONTACT) if isinstance(one, Contact)]
    pipeline, stages = _pipeline(pipelines)
    # People of one company: some CRMs know a deal's person only through its company.
    staff: dict[str, list[str]] = {}
    for one in people:
        for company in one.companies[:1]:
            staff.setdefault(company, []).append(one.ref.id)
    first = max(sorted(staff), key=lambda company: len(staff[company]), default=companies[0])
    assert len(owners) > 1, "the bench holds too few users"
    assert len(companies) > 2, "the bench holds too few companies"
    return Samples(
        connection=connector.context.connection,
        writing=connector.capabilities.writing,
        pipeline_id=pipeline.ref.id,
        stages=[stage.id for stage in stages],
        owners=[one.ref.id for one in owners],
        companies=[first, *(one for one in companies if one != first)],
        contacts=staff.get(first, [one.ref.id for one in people]),
        currency=connector.check().base_currency
        or next((deal.currency for deal in deals if deal.currency), None),
        custom=_custom(connector),
    )


def _every(connector: Connector, kind: Kind) -> list[Any]:
    return [record for page in connector.read(kind) for record in page.records]


def _pipeline(pipelines: Sequence[Pipeline]) -> tuple[Pipeline, Sequence[Stage]]:
    for pipeline in pipelines:
        stages = [stage for stage in pipeline.stages if stage.outcome is Outcome.OPEN and not stage.archived]
        if len(stages) > 1 and not pipeline.archived:
            return pipeline, stages
    raise AssertionError("the bench holds no pipeline with two open stages")


def _custom(connector: Connector) -> dict[Kind, str]:
    found = {}
    for kind in (Kind.COMPANY, Kind.CONTACT, Kind.DEAL):
        writing = connector.capabilities.writing.get(kind, Writing())
        if "custom" not in writing.fields:
            continue
        try:
            fields = connector.fields(kind)
        except Unsupported:
            continue
        texts = [one.id for one in fields if _plain_text(one)]
        # A connector that shows its key field among the others takes no values for it.
        free = [one for one in texts if not connector.cannot_hold(kind, {f"custom.{one}": "Note"})]
        if free:
            found[kind] = free[0]
    return found


def _plain_text(one: Field) -> bool:
    return one.custom and one.type == "text" and not (one.read_only or one.unique or one.required)
