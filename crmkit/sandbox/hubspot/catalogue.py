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
KEPT = "hubspot."  # begins the keys in `custom` of what no row has a field for
_LIFECYCLE = (
    "subscriber",
    "lead",
    "marketingqualifiedlead",
    "salesqualifiedlead",
    "opportunity",
    "customer",
    "evangelist",
    "other",
)
_INDUSTRIES = ("COMPUTER_SOFTWARE", "CONSTRUCTION", "FINANCIAL_SERVICES", "INTERNET", "MACHINERY", "RETAIL")


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
        options: What can be chosen, where that is the same in every portal.
    """

    name: str
    label: str
    type: WireType
    field_type: str
    value: Value
    calculated: bool = False
    more: Mapping[str, Any] | None = None
    custom: CustomField | None = None
    options: tuple[str, ...] = ()

    @property
    def multiple(self) -> bool:
        """Whether it holds several options."""
        return self.field_type == "checkbox"

    @property
    def of_owners(self) -> bool:
        """Whether its options are the owners."""
        return (self.more or {}).get("referencedObjectType") == "OWNER"

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


class _Kept:
    """The value of a property that no row has a field for: kept in `custom`, under a name of its own."""

    def __init__(self, name: str, otherwise: Value | None = None) -> None:
        self.key, self.otherwise = KEPT + name, otherwise

    def __call__(self, row: Any, facts: Facts) -> Any:
        known = row.custom.get(self.key)
        return self.otherwise(row, facts) if known is None and self.otherwise else known


def _nth(field: str, place: int) -> Value:
    def value(row: Any, facts: Facts) -> str | None:
        known: tuple[str, ...] = getattr(row, field)
        return known[place] or None if len(known) > place else None

    return value


def _home_amount(row: Deal, facts: Facts) -> Decimal | None:
    if row.amount is None or row.currency not in facts.rates:
        return None
    return (row.amount * facts.rates[row.currency]).quantize(_CENT)


def _source(row: Deal, facts: Facts) -> str | None:
    return row.source.upper().replace(" ", "_") if row.source else None


def _text(name: str, label: str, value: Value | None = None, field_type: str = "text") -> Property:
    return Property(name, label, "string", field_type, value or _Kept(name))


def _choice(
    name: str, label: str, value: Value | None = None, field_type: str = "select", *options: str
) -> Property:
    """An enumeration; without options of its own it takes any text."""
    return Property(name, label, "enumeration", field_type, value or _Kept(name), options=options)


def _time(name: str, label: str, value: Value | None = None, *, calculated: bool = True) -> Property:
    return Property(name, label, "datetime", "date", value or _Kept(name), calculated)


def _note_body(row: Any, facts: Facts) -> str:
    # Written as HTML, it is read as written; the row's text is the same without the tags.
    kept = row.custom.get(KEPT + "hs_note_body")
    return kept[1] if kept and kept[0] == row.text else note_html(row.text)


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
_MADE = _time("hs_createdate", "Object create date/time", _Kept("hs_createdate", _Field("created")))
# Writable for deals alone (contract, section 13); then `hs_createdate` keeps the truth.
_DEAL_CREATED = _time("createdate", "Create Date", _Field("created"), calculated=False)
_CREATED = _time("createdate", "Create Date", _Field("created"))
_MODIFIED = _time("hs_lastmodifieddate", "Last Modified Date", _Field("modified"))

PROPERTIES: Mapping[str, tuple[Property, ...]] = {
    "deals": (
        _ID,
        _MADE,
        _DEAL_CREATED,
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
        _choice("dealtype", "Deal Type", None, "radio", "newbusiness", "existingbusiness"),
        _text("description", "Deal Description", field_type="textarea"),
        Property(
            "hs_all_collaborator_owner_ids",
            "Deal collaborator",
            "enumeration",
            "checkbox",
            _Kept("hs_all_collaborator_owner_ids"),
            more={"externalOptions": True, "referencedObjectType": "OWNER"},
        ),
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
        _choice("hs_manual_forecast_category", "Forecast category"),
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
        _choice("industry", "Industry", None, "select", *_INDUSTRIES),
        _choice("lifecyclestage", "Lifecycle Stage", None, "radio", *_LIFECYCLE),
        _text("name", "Company name", _Field("name")),
        _text("phone", "Phone Number", _Field("phone"), "phonenumber"),
        _text("state", "State/Region"),
        _text("website", "Website URL", _Kept("website", _Field("domain"))),
        _text("zip", "Postal Code", _Field("postcode")),
    ),
    "contacts": (
        _ID,
        _MADE,
        _CREATED,
        _time("lastmodifieddate", "Last Modified Date", _Field("modified")),
        _merged_ids("contact"),
        _owner("Contact owner", "owner_id"),
        _text("address", "Street Address"),
        _text("city", "City"),
        _text("company", "Company Name"),
        _text("country", "Country/Region"),
        Property("email", "Email", "string", "text", _nth("emails", 0), more={"hasUniqueValue": True}),
        _text("firstname", "First Name", _Field("first")),
        _choice(
            "hs_buying_role", "Buying Role", None, "checkbox", "BUDGET_HOLDER", "DECISION_MAKER", "END_USER"
        ),
        _choice(
            "hs_additional_emails",
            "Additional email addresses",
            lambda row, _: row.emails[1:] or None,
            "checkbox",
        ),
        _text("jobtitle", "Job Title"),
        _text("lastname", "Last Name", _Field("last")),
        _choice("lifecyclestage", "Lifecycle Stage", None, "radio", *_LIFECYCLE),
        _text("mobilephone", "Mobile Phone Number", _nth("phones", 1), "phonenumber"),
        _text("phone", "Phone Number", _nth("phones", 0), "phonenumber"),
        _text("state", "State/Region"),
        _text("website", "Website URL"),
        _text("zip", "Postal Code"),
    ),
    "notes": (
        _ID,
        _MADE,
        _MODIFIED,
        _owner("Activity assigned to", "author_id"),
        _choice("hs_attachment_ids", "Attached file IDs", None, "checkbox"),
        _text("hs_note_body", "Note body", _note_body, "html"),
        _time("hs_timestamp", "Activity date", _Kept("hs_timestamp", _Field("created")), calculated=False),
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
