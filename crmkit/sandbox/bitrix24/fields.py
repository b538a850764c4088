"""The fields of deals, companies and contacts under both names, and how to read them from a row.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/object-fields.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from crmkit.sandbox.bitrix24.portal import AHEAD, ENTITY_KINDS, Portal, day_stamp, number, stamp
from crmkit.sandbox.rows import CustomField, Kind
from crmkit.sandbox.seed import KEY_FIELD

Get = Callable[[Any], Any]

SOURCE_IDS: Mapping[str, str] = {
    "Website": "WEB",
    "Referral": "RECOMMENDATION",
    "Trade fair": "TRADE_SHOW",
    "Partner": "PARTNER",
    "Cold call": "CALL",
    "Advertisement": "ADVERTISING",
}
_SEMANTICS = {"open": "P", "won": "S"}
_USER_TYPES = {
    "text": "string",
    "number": "double",
    "date": "date",
    "picklist": "enumeration",
    "multiselect": "enumeration",
    "checkbox": "boolean",
}
# Columns that the seed's worlds know nothing of: present on the wire, and empty.
_BLANK = (
    "leadId:LEAD_ID:crm_lead additionalInfo:ADDITIONAL_INFO:string sourceDescription:SOURCE_DESCRIPTION:text "
    "utmSource:UTM_SOURCE:string utmMedium:UTM_MEDIUM:string utmCampaign:UTM_CAMPAIGN:string "
    "utmContent:UTM_CONTENT:string utmTerm:UTM_TERM:string webformId::integer"
)
_BLANK_DEAL = (
    "quoteId:QUOTE_ID:crm_quote productId::string comments:COMMENTS:text locationId:LOCATION_ID:location "
    "dateCreateShort::datetime dateModifyShort::datetime begindateShort::datetime closedateShort::datetime "
    "eventDate::datetime eventDateShort::datetime eventId::crm_status eventDescription::text "
    "searchContent::text orderStage::string isWork::boolean isWon::boolean isLose::boolean "
    "receivedAmount::string lostAmount::string hasProducts::boolean"
)
_BLANK_PERSON = "comments:COMMENTS:text originVersion:ORIGIN_VERSION:string searchContent::text address::text"
_BLANK_CONTACT = (
    "secondName:SECOND_NAME:string photo:PHOTO:file post:POST:string birthdate:BIRTHDATE:date "
    "honorific:HONORIFIC:crm_status shortName::string login::string"
)
_BLANK_COMPANY = (
    "logo:LOGO:file addressLegal:ADDRESS_LEGAL:text bankingDetails:BANKING_DETAILS:string "
    "industry:INDUSTRY:crm_status revenue:REVENUE:double employees:EMPLOYEES:crm_status "
    "ufLogo::file ufStamp::file"
)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field; `raw` gives what filters compare, `legacy` is empty where only `crm.item.*` has it.

    Attributes:
        multi: Whether a row holds several values.
        dynamic: The workspace's own field behind it, if it is one.
        hidden: Left out of "all fields" (`fm`, legacy multi-fields).
    """

    name: str
    legacy: str
    type: str
    raw: Get
    title: str = ""
    read_only: bool = False
    multi: bool = False
    dynamic: CustomField | None = None
    hidden: bool = False

    def universal(self) -> Get:
        """What writes the field the way `crm.item.*` does."""
        return _writer(self.raw, _UNIVERSAL.get(self.type), self)

    def old(self) -> Get:
        """What writes the field the way `crm.deal.*` does: strings and null."""
        raw = self.raw
        if self.multi and self.type != "crm_multifield":
            # PHP's `false` for a custom list without values.
            return lambda row: [str(value) for value in raw(row) or ()] or (False if self.dynamic else [])
        return _writer(raw, _OLD.get(self.type, _text), self)


def _writer(raw: Get, write: Callable[[Any], Any] | None, described: Field) -> Get:
    if described.multi and described.dynamic:
        return lambda row: [str(value) for value in raw(row) or ()]
    if write is None:
        return raw

    def written(row: Any) -> Any:
        value = raw(row)
        return None if value is None else write(value)

    return written


@lru_cache(maxsize=4096)
def _day(day: date) -> str:
    return day_stamp(day)


def _text(value: Any) -> Any:
    return value if isinstance(value, (str, list)) else str(value)


def _two_places(value: Decimal | int) -> str:
    return f"{value:.2f}"


_UNIVERSAL: Mapping[str, Callable[[Any], Any]] = {
    "datetime": stamp,
    "date": _day,
    "double": number,
    "uf_boolean": lambda value: "Y" if value else "N",
}
_OLD: Mapping[str, Callable[[Any], Any]] = {
    "datetime": stamp,
    "date": _day,
    "double": _two_places,
    "uf_double": str,
    "uf_boolean": lambda value: "1" if value else "0",
    "crm_multifield": lambda value: value,
}


def fields_of(portal: Portal, kind: Kind) -> tuple[Field, ...]:
    """The fields of a kind, the workspace's own last."""
    own = tuple(field for key, field in portal.world.fields[kind].items() if key != KEY_FIELD)
    signature = tuple((field.id, field.type, field.options) for field in own)
    known: tuple[Field, ...] = portal.once(
        ("fields", kind, signature), lambda: (*_STANDARD[kind](portal), *(_own(field) for field in own))
    )
    return known


def by_name(portal: Portal, kind: Kind) -> Mapping[str, Field]:
    """Fields under the names that filters and orders of `crm.item.*` take.

    Custom fields answer to their original names too, and `ID` is taken as `id`: published clients order
    every list by it.
    """
    fields = fields_of(portal, kind)
    names: Mapping[str, Field] = portal.once(
        ("by name", kind, fields),
        lambda: {
            **{field.legacy: field for field in fields if field.dynamic or field.legacy == "ID"},
            **{field.name: field for field in fields if field.name and field.type != "crm_multifield"},
        },
    )
    return names


def by_legacy_name(portal: Portal, kind: Kind) -> Mapping[str, Field]:
    """Fields under their names in the old methods."""
    fields = fields_of(portal, kind)
    names: Mapping[str, Field] = portal.once(
        ("by legacy name", kind, fields), lambda: {field.legacy: field for field in fields if field.legacy}
    )
    return names


def camel(legacy: str) -> str:
    """`UF_CRM_1700000001` as `ufCrm_1700000001`, `UF_CRM_MY_FIELD` as `ufCrmMyField` (contract 4.4)."""
    first, *rest = legacy.lower().split("_")
    return first + "".join(f"_{part}" if part[:1].isdigit() else part.capitalize() for part in rest)


def origin(row: Any) -> tuple[str | None, str | None]:
    """Originator and origin id: our rows keep both under `crmkit_key`, with a slash between them."""
    key = row.custom.get(KEY_FIELD)
    if not key:
        return None, None
    originator, slash, origin_id = str(key).rpartition("/")
    return (originator, origin_id) if slash else ("crmkit", origin_id)


def _own(own: CustomField) -> Field:
    key, kind = own.key, _USER_TYPES[own.type]
    numeric = own.type in {"picklist", "multiselect"}

    def raw(row: Any) -> Any:
        value = row.custom.get(key)
        return int(value) if numeric and own.type == "picklist" and str(value).isdigit() else value

    type_ = {"boolean": "uf_boolean", "double": "uf_double"}.get(kind, kind)
    return Field(camel(own.id), own.id, type_, raw, own.label, multi=own.type == "multiselect", dynamic=own)


def _number_of(name: str) -> Get:
    """An id as a number, or one of the two ways in which the portal writes "none"."""

    def raw(row: Any) -> int | None:
        value = getattr(row, name)
        if value is not None:
            return int(value)
        return 0 if row.id[-1] in "02468" else None

    return raw


def _user(name: str) -> Get:
    def raw(row: Any) -> int:
        value = getattr(row, name)
        return int(value) if value is not None else 0

    return raw


def _always(value: Any) -> Get:
    return lambda row: value


def _blank(rows: str) -> list[Field]:
    described = (row.split(":") for row in rows.split())
    return [Field(name, legacy, type_, _always(None)) for name, legacy, type_ in described]


def _common() -> list[Field]:
    return [
        Field("id", "ID", "integer", lambda row: int(row.id), "ID", read_only=True),
        Field(
            "createdTime", "DATE_CREATE", "datetime", lambda row: row.created, "Created on", read_only=True
        ),
        Field(
            "updatedTime", "DATE_MODIFY", "datetime", lambda row: row.modified, "Modified on", read_only=True
        ),
        Field("assignedById", "ASSIGNED_BY_ID", "user", _user("owner_id"), "Responsible"),
        Field("opened", "OPENED", "boolean", _always("Y"), "Available to everyone"),
        Field("sourceId", "SOURCE_ID", "crm_status", _source, "Source"),
        Field("originatorId", "ORIGINATOR_ID", "string", lambda row: origin(row)[0], "External source"),
        Field("originId", "ORIGIN_ID", "string", lambda row: origin(row)[1], "Item ID in data source"),
        *_blank(_BLANK),
    ]


def _source(row: Any) -> str | None:
    source = getattr(row, "source", None)
    return None if source is None else SOURCE_IDS.get(source, "OTHER")


def _first_visitor(row: Any) -> int:
    return int((row.history[0].by_user_id if row.history else None) or 1)


def _last_visitor(row: Any) -> int:
    return int((row.history[-1].by_user_id if row.history else None) or 1)


def _deal_fields(portal: Portal) -> list[Field]:
    del portal
    return [
        *_common(),
        Field("title", "TITLE", "string", lambda row: row.name, "Name"),
        Field("categoryId", "CATEGORY_ID", "crm_category", lambda row: int(row.pipeline_id), "Pipeline"),
        Field("stageId", "STAGE_ID", "crm_status", lambda row: row.stage_id, "Deal stage"),
        Field(
            "stageSemanticId",
            "STAGE_SEMANTIC_ID",
            "string",
            lambda row: _SEMANTICS.get(row.status, "F"),
            "Stage group",
            read_only=True,
        ),
        Field(
            "closed",
            "CLOSED",
            "boolean",
            lambda row: "N" if row.status == "open" else "Y",
            "Closed",
            read_only=True,
        ),
        Field("opportunity", "OPPORTUNITY", "double", lambda row: row.amount, "Amount"),
        Field("isManualOpportunity", "IS_MANUAL_OPPORTUNITY", "boolean", _always("Y"), "Manual amount"),
        Field("taxValue", "TAX_VALUE", "double", _always(Decimal(0)), "Tax"),
        Field("currencyId", "CURRENCY_ID", "crm_currency", lambda row: row.currency, "Currency"),
        Field("probability", "PROBABILITY", "integer", _percent, "Probability, %"),
        Field("companyId", "COMPANY_ID", "crm_company", _number_of("company_id"), "Company"),
        Field("contactId", "CONTACT_ID", "crm_contact", _primary_contact, "Contact"),
        Field("contactIds", "", "crm_contact", _contact_ids, "Contacts", multi=True),
        Field("begindate", "BEGINDATE", "date", lambda row: _portal_day(row.created), "Start date"),
        Field("closedate", "CLOSEDATE", "date", lambda row: row.expected_close, "Expected close date"),
        Field("movedTime", "MOVED_TIME", "datetime", lambda row: row.stage_entered, read_only=True),
        Field("movedBy", "MOVED_BY_ID", "user", _last_visitor, read_only=True),
        Field("createdBy", "CREATED_BY_ID", "user", _first_visitor, "Created by", read_only=True),
        Field("updatedBy", "MODIFY_BY_ID", "user", _last_visitor, "Modified by", read_only=True),
        Field("lastActivityTime", "LAST_ACTIVITY_TIME", "datetime", _last_activity, read_only=True),
        Field("lastActivityBy", "LAST_ACTIVITY_BY", "user", _last_visitor, read_only=True),
        Field("typeId", "TYPE_ID", "crm_status", _always("SALE"), "Type"),
        *(
            Field(name, legacy, "boolean", _always("N"), read_only=True)
            for name, legacy in (
                ("isNew", "IS_NEW"),
                ("isRecurring", "IS_RECURRING"),
                ("isReturnCustomer", "IS_RETURN_CUSTOMER"),
                ("isRepeatedApproach", "IS_REPEATED_APPROACH"),
            )
        ),
        Field("observers", "", "user", _always(()), "Observers", multi=True),
        *_blank(_BLANK_DEAL),
    ]


def _percent(row: Any) -> int | None:
    return None if row.probability is None else round(row.probability * 100)


def _primary_contact(row: Any) -> int | None:
    if row.contact_ids:
        return int(row.contact_ids[0])
    return 0 if row.id[-1] in "02468" else None


def _contact_ids(row: Any) -> list[int]:
    return [int(contact) for contact in row.contact_ids]


def _last_activity(row: Any) -> datetime:
    return row.last_activity or row.created  # type: ignore[no-any-return]


def _portal_day(moment: datetime) -> date:
    return (moment + AHEAD).date()


def _person_fields() -> list[Field]:
    return [
        *_common(),
        Field("createdBy", "CREATED_BY_ID", "user", _always(1), read_only=True),
        Field("updatedBy", "MODIFY_BY_ID", "user", _always(1), read_only=True),
        Field("lastActivityBy", "LAST_ACTIVITY_BY", "user", _always(1), read_only=True),
        Field("lastActivityTime", "LAST_ACTIVITY_TIME", "datetime", lambda row: row.modified, read_only=True),
        Field("hasImol", "HAS_IMOL", "boolean", _always("N"), read_only=True),
        Field("observers", "", "user", _always(()), "Observers", multi=True),
        Field("categoryId", "", "crm_category", _always(0), read_only=True),
        *_blank(_BLANK_PERSON),
        *(
            Field("", name, "crm_multifield", _channel(name), name.title(), multi=True, hidden=True)
            for name in ("PHONE", "EMAIL", "WEB", "IM", "LINK")
        ),
        Field("fm", "", "crm_multifield", channels, "Phones and e-mails", multi=True, hidden=True),
    ]


def _contact_fields(portal: Portal) -> list[Field]:
    del portal
    return [
        *_person_fields(),
        Field("name", "NAME", "string", lambda row: row.first or None, "First name"),
        Field("lastName", "LAST_NAME", "string", lambda row: row.last or None, "Last name"),
        Field("typeId", "TYPE_ID", "crm_status", _always("CLIENT"), "Contact type"),
        Field("companyId", "COMPANY_ID", "crm_company", _number_of("company_id"), "Company"),
        Field("companyIds", "", "crm_company", _company_ids, "Companies", multi=True),
        Field("export", "EXPORT", "boolean", _always("Y")),
        Field("hasPhone", "HAS_PHONE", "boolean", lambda row: "Y" if row.phones else "N", read_only=True),
        Field("hasEmail", "HAS_EMAIL", "boolean", lambda row: "Y" if row.emails else "N", read_only=True),
        *_blank(_BLANK_CONTACT),
        *_addresses(lambda row, name: None),
    ]


def _company_ids(row: Any) -> list[int]:
    return [] if row.company_id is None else [int(row.company_id)]


def _company_fields(portal: Portal) -> list[Field]:
    def contact_ids(row: Any) -> list[int]:
        return [int(contact.id) for contact in portal.world.live.group("contact", "company_id", row.id)]

    return [
        *_person_fields(),
        Field("title", "TITLE", "string", lambda row: row.name, "Company name"),
        Field("typeId", "COMPANY_TYPE", "crm_status", _always("CUSTOMER"), "Company type"),
        Field("currencyId", "CURRENCY_ID", "crm_currency", _always(portal.world.base_currency), "Currency"),
        Field("contactIds", "", "crm_contact", contact_ids, "Contacts", multi=True),
        Field("isMyCompany", "IS_MY_COMPANY", "boolean", _always("N")),
        Field("hasPhone", "HAS_PHONE", "boolean", lambda row: "Y" if row.phone else "N", read_only=True),
        Field("hasEmail", "HAS_EMAIL", "boolean", _always("N"), read_only=True),
        *_blank(_BLANK_COMPANY),
        *_addresses(getattr),
    ]


def _addresses(read: Callable[[Any, str], Any]) -> list[Field]:
    """The address columns, which only the old methods have."""
    pairs = (
        ("ADDRESS", "street"),
        ("ADDRESS_CITY", "city"),
        ("ADDRESS_POSTAL_CODE", "postcode"),
        ("ADDRESS_COUNTRY", "country"),
    )

    def reader(name: str) -> Get:
        return lambda row: read(row, name)

    filled = [Field("", legacy, "string", reader(name)) for legacy, name in pairs]
    empty = ("ADDRESS_2", "ADDRESS_REGION", "ADDRESS_PROVINCE", "ADDRESS_COUNTRY_CODE", "ADDRESS_LOC_ADDR_ID")
    return [*filled, *(Field("", legacy, "string", _always(None)) for legacy in empty)]


def channels(row: Any) -> list[dict[str, Any]]:
    """The multi-fields of a company or contact in the universal shape; row ids never change."""
    if hasattr(row, "emails"):
        values = [("PHONE", phone) for phone in row.phones] + [("EMAIL", email) for email in row.emails]
        base = 1
    else:
        values = [("PHONE", row.phone)] if row.phone else []
        values += [("WEB", f"https://{row.domain}")] if row.domain else []
        base = 11
    return [
        {"id": int(row.id) * 20 + base + place, "typeId": type_, "valueType": "WORK", "value": value}
        for place, (type_, value) in enumerate(values)
    ]


def _channel(name: str) -> Get:
    def old(row: Any) -> list[dict[str, str]] | None:
        found = [
            {"ID": str(one["id"]), "VALUE_TYPE": "WORK", "VALUE": one["value"], "TYPE_ID": name}
            for one in channels(row)
            if one["typeId"] == name
        ]
        return found or None

    return old


_STANDARD: Mapping[str, Callable[[Portal], list[Field]]] = {
    "deal": _deal_fields,
    "contact": _contact_fields,
    "company": _company_fields,
}
ENTITY_NUMBERS: Mapping[str, int] = {kind: number for number, kind in ENTITY_KINDS.items()}
