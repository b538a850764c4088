"""HubSpot's own properties: what they are called, their types, and where in a row their value comes from."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from crmkit.sandbox.hubspot.portal import NO_STAGE, Facts, StageFacts, close_moment
from crmkit.sandbox.rows import CustomField, Deal, Kind

WireType = Literal["string", "number", "date", "datetime", "bool", "enumeration"]
Value = Callable[[Any, Facts], Any]
_CENT = Decimal("0.01")


class _Field:
    """The value of a property that is a field of the row."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, row: Any, facts: Facts) -> Any:
        return getattr(row, self.name) or None


class _OfStage:
    """The value of a property that the stage alone decides."""

    def __init__(self, read: Callable[[StageFacts], Any]) -> None:
        self.read = read

    def __call__(self, row: Deal, facts: Facts) -> Any:
        return self.read(facts.stages.get((row.pipeline_id, row.stage_id), NO_STAGE))


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an object type.

    Attributes:
        value: A record's value: text, `bool`, whole or decimal number, `date`, `datetime`, or options.
        calculated: HubSpot works it out; it cannot be written, and changing it does not touch the record.
        more: What else its definition says.
        custom: The field of the world behind it, if the workspace added it.
    """

    name: str
    label: str
    type: WireType
    field_type: str
    value: Value
    calculated: bool = False
    more: Mapping[str, Any] | None = None
    custom: CustomField | None = None

    @property
    def attribute(self) -> str | None:
        """The field of a row that the value is, unless it has to be worked out."""
        return self.value.name if isinstance(self.value, _Field) else None

    @property
    def of_stage(self) -> Callable[[StageFacts], Any] | None:
        """How the value follows from the deal's stage, if it does."""
        return self.value.read if isinstance(self.value, _OfStage) else None


def write_number(value: Any) -> str:
    """A number as text, with the digits that it has and never an exponent."""
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def write_options(value: Any) -> str:
    """One option, or several with semicolons between."""
    return value if isinstance(value, str) else ";".join(value)


def note_html(text: str) -> str:
    """A note as HubSpot's editor leaves it: our rows hold plain text, the property holds HTML."""
    return "<p>" + html.escape(text, quote=False).replace("\n", "<br>") + "</p>"


def _nothing(row: Any, facts: Facts) -> None:
    return None


def _nth(field: str, place: int) -> Value:
    def value(row: Any, facts: Facts) -> str | None:
        known: tuple[str, ...] = getattr(row, field)
        return known[place] if len(known) > place else None

    return value


def _home_amount(row: Deal, facts: Facts) -> Decimal | None:
    if row.amount is None or row.currency not in facts.rates:
        return None
    return (row.amount * facts.rates[row.currency]).quantize(_CENT)


def _source(row: Deal, facts: Facts) -> str | None:
    return row.source.upper().replace(" ", "_") if row.source else None


def _text(name: str, label: str, value: Value = _nothing, field_type: str = "text") -> Property:
    return Property(name, label, "string", field_type, value)


def _choice(name: str, label: str, value: Value = _nothing, field_type: str = "select") -> Property:
    return Property(name, label, "enumeration", field_type, value)


def _time(name: str, label: str, value: Value = _nothing, *, calculated: bool = True) -> Property:
    return Property(name, label, "datetime", "date", value, calculated)


def _flag(name: str, label: str, value: Value) -> Property:
    return Property(name, label, "bool", "calculation_equation", value, True)


def _merged_ids(kind: Kind) -> Property:
    def value(row: Any, facts: Facts) -> str | None:
        return facts.merged.get((kind, row.id))

    return Property("hs_merged_object_ids", "Merged record IDs", "enumeration", "checkbox", value, True)


def _owner(label: str, field: str) -> Property:
    more = {"externalOptions": True, "referencedObjectType": "OWNER"}
    return Property("hubspot_owner_id", label, "enumeration", "select", _Field(field), more=more)


_ID = Property("hs_object_id", "Record ID", "number", "number", lambda row, _: int(row.id), True)
_MADE = _time("hs_createdate", "Object create date/time", _Field("created"))
_CREATED = _time("createdate", "Create Date", _Field("created"), calculated=False)
_MODIFIED = _time("hs_lastmodifieddate", "Last Modified Date", _Field("modified"))

PROPERTIES: Mapping[str, tuple[Property, ...]] = {
    "deals": (
        _ID,
        _MADE,
        _CREATED,
        _MODIFIED,
        _merged_ids("deal"),
        _owner("Deal owner", "owner_id"),
        Property(
            "amount",
            "Amount",
            "number",
            "number",
            lambda row, _: row.amount,
            more={"showCurrencySymbol": True, "currencyPropertyName": "deal_currency_code"},
        ),
        Property(
            "amount_in_home_currency",
            "Amount in company currency",
            "number",
            "calculation_equation",
            _home_amount,
            True,
        ),
        _time("closedate", "Close Date", lambda row, facts: close_moment(row, facts.zone), calculated=False),
        _text("closed_lost_reason", "Closed Lost Reason", _Field("lost_reason"), "textarea"),
        _choice("deal_currency_code", "Currency", _Field("currency")),
        _text("dealname", "Deal Name", _Field("name")),
        _choice("dealstage", "Deal Stage", _Field("stage_id"), "radio"),
        _choice("dealtype", "Deal Type", field_type="radio"),
        _text("description", "Deal Description", field_type="textarea"),
        Property("hs_analytics_source", "Original Traffic Source", "enumeration", "select", _source, True),
        Property(
            "hs_deal_stage_probability",
            "Deal probability",
            "number",
            "number",
            _OfStage(lambda stage: stage.probability),
            True,
            more={"numberDisplayHint": "percentage"},
        ),
        _flag("hs_is_closed", "Is Deal Closed?", _OfStage(lambda stage: stage.closed)),
        _flag("hs_is_closed_won", "Is Closed Won", _OfStage(lambda stage: stage.won)),
        _flag("hs_is_closed_lost", "Is closed lost", _OfStage(lambda stage: stage.closed and not stage.won)),
        _time("notes_last_updated", "Last Activity Date", _Field("last_activity")),
        _time("notes_next_activity_date", "Next Activity Date"),
        _choice("pipeline", "Pipeline", _Field("pipeline_id")),
    ),
    "companies": (
        _ID,
        _MADE,
        _CREATED,
        _MODIFIED,
        _merged_ids("company"),
        _owner("Company owner", "owner_id"),
        _text("address", "Street Address", _Field("street")),
        _text("city", "City", _Field("city")),
        _text("country", "Country/Region", _Field("country")),
        _text("description", "Description", field_type="textarea"),
        _text("domain", "Company Domain Name", _Field("domain")),
        _choice("industry", "Industry"),
        _text("name", "Company name", _Field("name")),
        _text("phone", "Phone Number", _Field("phone"), "phonenumber"),
        _text("state", "State/Region"),
        _text("website", "Website URL", _Field("domain")),
        _text("zip", "Postal Code", _Field("postcode")),
    ),
    "contacts": (
        _ID,
        _MADE,
        _CREATED,
        _time("lastmodifieddate", "Last Modified Date", _Field("modified")),
        _merged_ids("contact"),
        _owner("Contact owner", "owner_id"),
        Property("email", "Email", "string", "text", _nth("emails", 0), more={"hasUniqueValue": True}),
        _text("firstname", "First Name", _Field("first")),
        _choice(
            "hs_additional_emails",
            "Additional email addresses",
            lambda row, _: row.emails[1:] or None,
            "checkbox",
        ),
        _text("jobtitle", "Job Title"),
        _text("lastname", "Last Name", _Field("last")),
        _choice("lifecyclestage", "Lifecycle Stage", field_type="radio"),
        _text("mobilephone", "Mobile Phone Number", _nth("phones", 1), "phonenumber"),
        _text("phone", "Phone Number", _nth("phones", 0), "phonenumber"),
    ),
    "notes": (
        _ID,
        _MADE,
        _MODIFIED,
        _owner("Activity assigned to", "author_id"),
        _choice("hs_attachment_ids", "Attached file IDs", field_type="checkbox"),
        _text("hs_note_body", "Note body", lambda row, _: note_html(row.text), "html"),
        _time("hs_timestamp", "Activity date", _Field("created"), calculated=False),
    ),
    "tasks": (
        _ID,
        _MADE,
        _MODIFIED,
        _text("hs_task_body", "Task notes", field_type="html"),
        _choice("hs_task_priority", "Priority"),
        _choice("hs_task_status", "Task status"),
        _text("hs_task_subject", "Task title"),
        _choice("hs_task_type", "Task type"),
        _time("hs_timestamp", "Due date", calculated=False),
    ),
}
