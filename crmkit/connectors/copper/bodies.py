"""From canonical values to Copper's JSON, the inverse of `records.py`; no calls, no clock.

Source: https://developer.copper.com/opportunities/create-a-new-opportunity.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeAlias

from crmkit.connectors.copper.choices import (
    Account,
    Unfit,
    available,
    choice_id,
    wire_custom,
    wire_number,
)
from crmkit.connectors.copper.records import ENTITIES, MARKER
from crmkit.connectors.copper.values import Row
from crmkit.connectors.writing import Act, Change
from crmkit.model import DealContact, Kind, LostKind, Outcome, ValuePeriod

Link: TypeAlias = tuple[str, str, int]
"""Model field, Copper's singular type, id."""

PARTY = frozenset({"name", "phones", "owner_id", "city", "country", "postcode", "custom"})
FIELDS: dict[Kind, frozenset[str]] = {
    # `closed_at` is derived from the close date, `forecast_category` does not exist.
    Kind.DEAL: frozenset(
        {
            "name", "pipeline_id", "stage_id", "outcome", "lost_kind", "lost_reason", "amount", "currency",
            "probability", "owner_id", "companies", "contacts", "expected_close", "source", "tags", "custom",
        }
    ),
    Kind.COMPANY: PARTY | {"domain"},
    # Copper splits `name` into first and last name by itself.
    Kind.CONTACT: PARTY | {"emails", "companies"},
    Kind.NOTE: frozenset({"text", "deal_id", "company_id", "at"}),
}  # fmt: skip
# What the model holds and Copper makes by itself: not written, and nothing is lost by it.
DERIVED: dict[Kind, frozenset[str]] = {
    Kind.DEAL: frozenset({"closed_at"}),
    Kind.COMPANY: frozenset(),
    Kind.CONTACT: frozenset({"first_name", "last_name"}),
    Kind.NOTE: frozenset(),
}
# A value that cannot be written must not stop the rest only where the record is right without it.
_OPTIONAL = frozenset({"lost_reason", "source", "tags", "value_period"})
_ADDRESS = {"city": "city", "country": "country", "postcode": "postal_code"}
_READ_FIRST = frozenset({"tags", "phones", "emails", *_ADDRESS})
_NUMBERS = {
    "pipeline_id": "pipeline_id",
    "stage_id": "pipeline_stage_id",
    "owner_id": "assignee_id",
}


@dataclass(frozen=True, slots=True)
class Ready:
    """A change as Copper wants it.

    Attributes:
        change: What was asked.
        body: The JSON of the record.
        refused: Fields without which the change must not be sent, with the reason.
        unwritten: Fields that are left out of it, with the reason.
        links: Further people and companies of a deal, one call each.
    """

    change: Change
    body: Row = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    unwritten: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[Link] = ()


def reads_first(change: Change) -> bool:
    """Whether an update needs the record as it is.

    A PUT replaces lists and the address (inferred), and the model holds only part of them: our
    marker is a tag, phones and e-mails have categories, an address has a street and a state.
    """
    return change.act is Act.UPDATE and not _READ_FIRST.isdisjoint(change.values)


def ready(change: Change, account: Account, current: Row | None = None) -> Ready:
    """The body of a create or an update, and what cannot be in it.

    Args:
        change: What to write.
        account: Lists and settings of the account.
        current: The record as it is, for updates that `reads_first`.
    """
    writer = _Body(change, account, current or {})
    for name, value in change.values.items():
        # A new record has nothing to clear: what is not named gets the account's defaults.
        if change.act is Act.CREATE and (value is None or value == ()):
            continue
        writer.take(name, value)
    writer.finish()
    return Ready(change, writer.body, writer.refused, writer.unwritten, writer.links)


def marker(key: str) -> str:
    """The tag that holds a key; in a note it stands as a line of its own."""
    return MARKER + key


class _Body:
    """One body in the making."""

    def __init__(self, change: Change, account: Account, current: Row) -> None:
        self.kind = change.kind
        self.change = change
        self.account = account
        self.current = current
        self.body: Row = {}
        self.refused: dict[str, str] = {}
        self.unwritten: dict[str, str] = {}
        self.links: list[Link] = []

    def take(self, name: str, value: Any) -> None:
        try:
            if name.startswith("custom."):
                self._custom(name, value)
            elif name == "value_period":
                if value not in (None, ValuePeriod.ONE_TIME):
                    raise Unfit("Copper's deals have one amount, not one a month or a year")
            elif name in DERIVED[self.kind] or name in ("outcome", "lost_kind"):
                return  # Copper makes it by itself, or `finish` writes the two as one word
            elif name not in FIELDS[self.kind] or name == "custom":
                self.unwritten[name] = "crmkit cannot write this field to Copper"
            else:
                self._plain(name, value)
        except Unfit as error:
            optional = name in _OPTIONAL or name.startswith("custom.")
            (self.unwritten if optional else self.refused)[name] = str(error)

    def _plain(self, name: str, value: Any) -> None:
        own = _WRITERS.get(name)
        if own is not None:
            own(self, value)
        elif name in _NUMBERS:
            self.body[_NUMBERS[name]] = number_of(value)
        elif name in _ADDRESS:
            self.body["address"] = {**self._address(), _ADDRESS[name]: value}

    def finish(self) -> None:
        change = self.change
        if change.kind is Kind.NOTE:
            self._finish_note()
        elif change.act is Act.CREATE and change.key:
            self.body["tags"] = [*self.body.get("tags", ()), marker(change.key)]
        if change.kind is Kind.DEAL and not {"outcome", "lost_kind"}.isdisjoint(change.values):
            self._status()

    def _name(self, value: Any) -> None:
        if not isinstance(value, str) or not value.strip():
            raise Unfit("must not be blank")
        self.body["name"] = value

    def _amount(self, value: Any) -> None:
        self.body["monetary_value"] = None if value is None else wire_number(value)

    def _currency(self, value: Any) -> None:
        own = self.account.currency
        if value is not None and self.account.book.one_currency and value != own:
            raise Unfit(
                "the account has one currency for all deals: if it is this one, "
                "set `currency` of this connection"
            )
        # A new deal has the account's currency anyway, and an account with one currency
        # may refuse the field.
        if self.change.act is Act.UPDATE or value != own:
            self.body["monetary_unit"] = value

    def _probability(self, value: Any) -> None:
        self.body["win_probability"] = None if value is None else percent_of(value)

    def _expected_close(self, value: Any) -> None:
        self.body["close_date"] = None if value is None else day_text(value, self.account.day_first)

    def _lost_reason(self, value: Any) -> None:
        self._choice("loss_reason_id", value, self.account.book.loss_reasons, "loss reason")

    def _source(self, value: Any) -> None:
        self._choice("customer_source_id", value, self.account.book.sources, "source")

    def _choice(self, wire: str, value: Any, names: Mapping[int, str] | None, what: str) -> None:
        self.body[wire] = choice_id(names or {}, value, what) if value else None

    def _status(self) -> None:
        status = status_of(self.change.values.get("outcome"), self.change.values.get("lost_kind"))
        if status is not None:
            self.body["status"] = status

    def _companies(self, value: Any) -> None:
        natives = [number_of(native) for native in value or ()]
        self.body["company_id"] = natives[0] if natives else None
        if self.kind is Kind.DEAL:
            self.links += [("companies", "company", native) for native in natives[1:] if native]
        elif len(natives) > 1:
            self.unwritten["companies"] = "a person of Copper belongs to one company: the first was written"

    def _contacts(self, value: Any) -> None:
        first = primary(value or ())
        if first is None:
            raise Unfit("a deal of Copper needs a person")
        self.body["primary_contact_id"] = number_of(first.id)
        rest = [number_of(contact.id) for contact in value if contact.id != first.id]
        self.links += [("contacts", "person", native) for native in dict.fromkeys(rest) if native]

    def _tags(self, value: Any) -> None:
        tags = list(dict.fromkeys(value or ()))
        if any(tag.startswith(MARKER) for tag in tags):
            raise Unfit(f"tags that begin with {MARKER} are crmkit's own")
        kept = [tag for tag in self.current.get("tags") or () if tag.startswith(MARKER)]
        self.body["tags"] = [*tags, *kept]

    def _domain(self, value: Any) -> None:
        self.body["email_domain"] = value

    def _phones(self, value: Any) -> None:
        self.body["phone_numbers"] = self._parts("phone_numbers", "number", value)

    def _emails(self, value: Any) -> None:
        self.body["emails"] = self._parts("emails", "email", value)

    def _parts(self, wire: str, part: str, value: Any) -> list[Row]:
        kept = {entry.get(part): entry.get("category") for entry in self.current.get(wire) or ()}
        return [{part: text, "category": kept.get(text) or "work"} for text in dict.fromkeys(value or ())]

    def _address(self) -> Row:
        return dict(self.body.get("address") or self.current.get("address") or {})

    def _custom(self, name: str, value: Any) -> None:
        native = name.removeprefix("custom.")
        definition = available(self.account.book, ENTITIES[self.kind], native)
        entry = {
            "custom_field_definition_id": definition["id"],
            "value": wire_custom(definition, value, self.account.zone),
        }
        self.body.setdefault("custom_fields", []).append(entry)

    # Notes.

    def _text(self, value: Any) -> None:
        self.body["details"] = value

    def _deal_id(self, value: Any) -> None:
        self.body["parent"] = {"type": "opportunity", "id": number_of(value)}

    def _company_id(self, value: Any) -> None:
        # A note has one place, and the deal is the nearer one.
        if not self.change.values.get("deal_id"):
            self.body["parent"] = {"type": "company", "id": number_of(value)}

    def _at(self, value: Any) -> None:
        self.body["activity_date"] = int(value.timestamp())

    def _finish_note(self) -> None:
        self.body["type"] = {"category": "user", "id": 0}
        text = self.body.get("details") or ""
        if not text.strip():
            self.refused["text"] = "must not be blank"
        if "parent" not in self.body and not self.refused:
            self.refused["deal_id"] = "a note needs a deal or a company"
        key = self.change.key
        if key and {key, marker(key)}.isdisjoint(text.split()):
            self.body["details"] = f"{text}\n\n{key}"


_WRITERS: dict[str, Callable[[_Body, Any], None]] = {
    "name": _Body._name,
    "amount": _Body._amount,
    "currency": _Body._currency,
    "probability": _Body._probability,
    "expected_close": _Body._expected_close,
    "lost_reason": _Body._lost_reason,
    "source": _Body._source,
    "companies": _Body._companies,
    "contacts": _Body._contacts,
    "tags": _Body._tags,
    "domain": _Body._domain,
    "phones": _Body._phones,
    "emails": _Body._emails,
    "text": _Body._text,
    "deal_id": _Body._deal_id,
    "company_id": _Body._company_id,
    "at": _Body._at,
}


def number_of(value: Any) -> int | None:
    """An id as Copper wants it.

    Raises:
        Unfit: It cannot be one of Copper's ids.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not value.isdecimal():
        raise Unfit("is not an id of Copper")
    return int(value)


def percent_of(value: Decimal) -> int:
    """A probability from 0 to 1 in whole percent.

    Raises:
        Unfit: It is outside.
    """
    if not 0 <= value <= 1:
        raise Unfit("is not between 0 and 1")
    return int((value * 100).quantize(Decimal(1), ROUND_HALF_UP))


def day_text(value: date, day_first: bool) -> str:
    """A close date as Copper documents it, with leading zeros, in the account's order.

    Raises:
        Unfit: It is no date.
    """
    if not isinstance(value, date):
        raise Unfit("is not a date")
    if isinstance(value, datetime):
        value = value.date()
    first, second = (value.day, value.month) if day_first else (value.month, value.day)
    return f"{first:02}/{second:02}/{value.year:04}"


def status_of(outcome: Outcome | None, lost_kind: LostKind | None) -> str | None:
    """Copper's word for an outcome; `None` if nothing is said about it.

    A kind of loss without an outcome can only be meant for a lost deal.
    """
    if outcome is None and lost_kind is None:
        return None
    if outcome is Outcome.WON:
        return "Won"
    if outcome is Outcome.OPEN:
        return "Open"
    return "Abandoned" if lost_kind is LostKind.ABANDONED else "Lost"


def primary(contacts: Sequence[DealContact]) -> DealContact | None:
    """The person that a deal is about: the one marked so, or the first."""
    return next((contact for contact in contacts if contact.primary), contacts[0] if contacts else None)
