"""From Zoho's rows to canonical records. No calls, no clock.

Source: https://www.zoho.com/crm/developer/docs/api/v8/field-meta.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from crmkit.connectors.exact import ref_maker
from crmkit.connectors.translate import FieldError, day, moment, number, percent, text, utc_text
from crmkit.connectors.zoho.columns import KEY_FIELD, Reader, lookup_id
from crmkit.connectors.zoho.stages import NO_NAMES, Names
from crmkit.model import Kind, Outcome, Ref

# Zoho stores any text as a stage: an odd org could have as many as it has deals.
_PLACES_KEPT = 1000
_PERCENTS = {whole: Decimal(whole) / 100 for whole in range(101)}


class Reading:
    """Reads the rows of one kind of one org; shared by the threads of a walk.

    Args:
        connection: Name of the connection, for refs.
        custom: Name and reader of each custom field.
        names: What stages and pipelines are called; only deals need it.
        currency: The org's own currency.
        url: Where a record is in Zoho's UI, without its id; `None` if not known.
    """

    def __init__(
        self,
        connection: str,
        *,
        custom: Sequence[tuple[str, Reader]] = (),
        names: Names = NO_NAMES,
        currency: str | None = None,
        url: str | None = None,
    ) -> None:
        self.names = names
        self._connection = connection
        self._deal_ref = ref_maker(connection, Kind.DEAL)
        self._custom_fields = custom
        self._currency = currency
        self._url = url
        # Many deals share a stage of a pipeline and a day: each is worked out once.
        self._places: dict[tuple[str | None, str | None], dict[str, Any]] = {}
        self._days: dict[str, date] = {}

    def deal(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a `Deal`; what is not set is left out, which is what costs least."""
        get = row.get
        native = row["id"]
        try:
            place = self._places[get("Stage"), get("Pipeline")]
        except (KeyError, TypeError):
            place = self._place(row)
        stamp, made = get("Modified_Time"), get("Created_Time")
        modified = moment(stamp, "Modified_Time")
        found: dict[str, Any] = {
            "ref": self._deal_ref(native),
            "name": text(get("Deal_Name"), "Deal_Name") or "",
            # The record's own currency exists only where the org uses several.
            "currency": text(get("Currency"), "Currency") or self._currency,
            "created_at": modified if made == stamp else moment(made, "Created_Time"),
            "modified_at": modified,
            "version": utc_text(modified) if modified else None,
            **place,
        }
        if (value := get("Last_Activity_Time")) is not None:
            found["last_activity_at"] = modified if value == stamp else moment(value, "Last_Activity_Time")
        if (value := get("Amount")) is not None:
            found["amount"] = value if type(value) is Decimal else number(value, "Amount")
        if (value := get("Probability")) is not None:
            known = _PERCENTS.get(value) if type(value) is int else None
            found["probability"] = known if known is not None else percent(value, "Probability")
        if (value := get("Owner")) is not None:
            found["owner_id"] = lookup_id(value, "Owner")
        if (value := get("Account_Name")) is not None and (linked := lookup_id(value, "Account_Name")):
            found["companies"] = (linked,)
        if (value := get("Contact_Name")) is not None and (linked := lookup_id(value, "Contact_Name")):
            found["contacts"] = ({"id": linked, "primary": True},)
        if (value := get("Closing_Date")) is not None:
            found["expected_close"] = self._day(value, "Closing_Date")
        # Newer orgs only, and empty for deals that have not moved since.
        if (value := get("Stage_Modified_Time")) is not None:
            found["stage_entered_at"] = entered = moment(value, "Stage_Modified_Time")
            if place["outcome"] is not Outcome.OPEN:
                found["closed_at"] = entered
        if (value := get("Reason_For_Loss__s")) is not None and place["outcome"] is Outcome.LOST:
            found["lost_reason"] = text(value, "Reason_For_Loss__s")
        if (value := get("Lead_Source")) is not None:
            found["source"] = text(value, "Lead_Source")
        if value := get("Tag"):
            found["tags"] = _tags(value)
        if self._url:
            found["url"] = self._url + native
        if (value := get(KEY_FIELD)) is not None:
            found["key"] = _key(value)
        if self._custom_fields:
            found["custom"] = self._custom(row)
        return found

    def _place(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What a deal's stage and pipeline tell; the same for all deals that stand there."""
        name = text(row.get("Stage"), "Stage")
        pipeline = text(row.get("Pipeline"), "Pipeline")
        stage = self.names.stages.get(name) if name else None
        place: dict[str, Any] = {
            "stage_id": stage.id if stage else name,
            "pipeline_id": self.names.pipeline_id(pipeline, stage),
            "outcome": stage.outcome if stage else Outcome.OPEN,
            "forecast_category": stage.forecast_category if stage else None,
        }
        if len(self._places) < _PLACES_KEPT:
            self._places[row.get("Stage"), row.get("Pipeline")] = place
        return place

    def _day(self, value: Any, field: str) -> date | None:
        known = self._days.get(value) if type(value) is str else None
        if known is not None:
            return known
        found = day(value, field)
        if found is not None:
            self._days[value] = found
        return found

    def company(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a `Company`."""
        get = row.get
        phone = text(get("Phone"), "Phone")
        return {
            "ref": Ref(self._connection, Kind.COMPANY, row["id"]),
            "name": text(get("Account_Name"), "Account_Name") or "",
            "domain": _domain(text(get("Website"), "Website")),
            "phones": (phone,) if phone else (),
            "city": text(get("Billing_City"), "Billing_City"),
            "country": text(get("Billing_Country"), "Billing_Country"),
            "postcode": text(get("Billing_Code"), "Billing_Code"),
            **self._shared(row),
        }

    def contact(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a `Contact`."""
        get = row.get
        first, last = text(get("First_Name"), "First_Name"), text(get("Last_Name"), "Last_Name")
        company = lookup_id(get("Account_Name"), "Account_Name")
        return {
            "ref": Ref(self._connection, Kind.CONTACT, row["id"]),
            "name": text(get("Full_Name"), "Full_Name") or " ".join(part for part in (first, last) if part),
            "first_name": first,
            "last_name": last,
            "emails": _texts(row, "Email", "Secondary_Email"),
            "phones": _texts(row, "Phone", "Mobile", "Home_Phone", "Other_Phone"),
            "companies": (company,) if company else (),
            "city": text(get("Mailing_City"), "Mailing_City"),
            "country": text(get("Mailing_Country"), "Mailing_Country"),
            "postcode": text(get("Mailing_Zip"), "Mailing_Zip"),
            **self._shared(row),
        }

    def _shared(self, row: Mapping[str, Any]) -> dict[str, Any]:
        get = row.get
        modified = moment(get("Modified_Time"), "Modified_Time")
        return {
            "owner_id": lookup_id(get("Owner"), "Owner"),
            "key": _key(get(KEY_FIELD)),
            "custom": self._custom(row),
            "url": self._url and self._url + row["id"],
            "created_at": moment(get("Created_Time"), "Created_Time"),
            "modified_at": modified,
            "version": utc_text(modified) if modified else None,
        }

    def owner(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of an `Owner`."""
        whole = text(row.get("full_name"), "full_name")
        email = text(row.get("email"), "email")
        parts = [text(row.get(part), part) for part in ("first_name", "last_name")]
        return {
            "ref": Ref(self._connection, Kind.OWNER, row["id"]),
            "name": whole or " ".join(part for part in parts if part) or email or row["id"],
            "email": email,
            "active": row.get("status") == "active",
        }

    def note(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a `Note`; the row must be one of a deal or an account (`note_parent`)."""
        module = note_parent(row)
        parent = lookup_id(row.get("Parent_Id"), "Parent_Id")
        # A note may have a title, a text, or both.
        written = [text(row.get(part), part) for part in ("Note_Title", "Note_Content")]
        return {
            "ref": Ref(self._connection, Kind.NOTE, row["id"]),
            "deal_id": parent if module == "Deals" else None,
            "company_id": parent if module == "Accounts" else None,
            "text": "\n".join(part for part in written if part),
            "author_id": lookup_id(row.get("Created_By") or row.get("Owner"), "Owner"),
            "at": moment(row.get("Created_Time"), "Created_Time"),
            "modified_at": moment(row.get("Modified_Time"), "Modified_Time"),
        }

    def _custom(self, row: Mapping[str, Any]) -> dict[str, Any]:
        custom: dict[str, Any] = {}
        for name, read in self._custom_fields:
            value = row.get(name)
            if value is not None:
                value = read(value, name)
                if value is not None:
                    custom[name] = value
        return custom


def note_parent(row: Mapping[str, Any]) -> str:
    """The module of the record that a note is on.

    Raises:
        FieldError: Neither of the two places tells it.
    """
    parent = row.get("Parent_Id")
    module = parent.get("module") if isinstance(parent, dict) else None
    name = module.get("api_name") if isinstance(module, dict) else row.get("$se_module")
    if not isinstance(name, str):
        raise FieldError("$se_module", "does not tell what the note is on")
    return name


def row_id(row: Mapping[str, Any]) -> str:
    """The id of any row."""
    return str(row["id"])


def _texts(row: Mapping[str, Any], *fields: str) -> tuple[str, ...]:
    found = (text(row.get(field), field) for field in fields)
    return tuple(dict.fromkeys(value for value in found if value))


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise FieldError("Tag", "is not a list of tags")
    return tuple(tag["name"] if isinstance(tag, dict) else str(tag) for tag in value)


def _key(value: Any) -> str | None:
    key = text(value, KEY_FIELD)
    return key.removeprefix("crmkit:") if key else None


def _domain(website: str | None) -> str | None:
    if not website:
        return None
    try:
        host = urlsplit(website if "://" in website else f"//{website}").hostname or ""
    except ValueError:  # such as an unclosed bracket: people type anything into this field
        return None
    return host.removeprefix("www.") or None
