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

from crmkit.sandbox.bitrix24.channels import KEPT, channels, has_email, old_channel
from crmkit.sandbox.bitrix24.indexes import Index
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
CONTACT_SORTS = f"{KEPT}contactSorts"
COMPANY_IDS = f"{KEPT}companyIds"
ORIGINATOR_ID, ORIGIN_ID = f"{KEPT}originatorId", f"{KEPT}originId"
# Columns that the seed's worlds know nothing of: present on the wire, and empty until somebody writes them.
_BLANK = (
    "leadId:LEAD_ID:crm_lead additionalInfo:ADDITIONAL_INFO:string sourceDescription:SOURCE_DESCRIPTION:text "
    "utmSource:UTM_SOURCE:string utmMedium:UTM_MEDIUM:string utmCampaign:UTM_CAMPAIGN:string "
    "utmContent:UTM_CONTENT:string utmTerm:UTM_TERM:string webformId::integer:-"
)
_BLANK_DEAL = (
    "quoteId:QUOTE_ID:crm_quote productId::string:- comments:COMMENTS:text locationId:LOCATION_ID:location "
    "dateCreateShort::datetime:- dateModifyShort::datetime:- begindateShort::datetime:- "
    "closedateShort::datetime:- eventDate::datetime:- eventDateShort::datetime:- eventId::crm_status:- "
    "eventDescription::text:- searchContent::text:- orderStage::string:- isWork::boolean:- "
    "isWon::boolean:- isLose::boolean:- receivedAmount::string:- lostAmount::string:- hasProducts::boolean:-"
)
_BLANK_PERSON = (
    "comments:COMMENTS:text originVersion:ORIGIN_VERSION:string searchContent::text:- address::text:-"
)
_BLANK_CONTACT = (
    "secondName:SECOND_NAME:string photo:PHOTO:file post:POST:string birthdate:BIRTHDATE:date "
    "honorific:HONORIFIC:crm_status shortName::string:- login::string:-"
)
_BLANK_COMPANY = (
    "logo:LOGO:file addressLegal:ADDRESS_LEGAL:text:- bankingDetails:BANKING_DETAILS:string "
    "industry:INDUSTRY:crm_status revenue:REVENUE:double employees:EMPLOYEES:crm_status "
    "ufLogo::file:- ufStamp::file:-"
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

    @property
    def fixed(self) -> bool:
        """Whether every row reads the same here."""
        return isinstance(self.raw, _Always)

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


class Fields(tuple[Field, ...]):
    """The fields of a kind; equal to itself alone, which makes it a cheap key."""

    __slots__ = ()

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def fields_of(portal: Portal, kind: Kind) -> Fields:
    """The fields of a kind, the workspace's own last."""
    held = portal.world.fields[kind]
    # Compared, not hashed: equal parts are the same ones, and this is asked several times per record.
    signature = [(one.key, one.options, one.type, one.extra.get("revision")) for one in held.values()]
    known: tuple[Any, Fields] | None = portal.memo.get(("fields", kind))
    if known is None or known[0] != signature:
        own = tuple(_own(field) for key, field in held.items() if key != KEY_FIELD)
        known = portal.memo["fields", kind] = (signature, Fields((*_STANDARD[kind](portal), *own)))
        # Former ones stay alive, so that no new one can get the number of a key in use.
        portal.memo.setdefault("former fields", []).append(known[1])
    return known[1]


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
    """Originator and origin id, as written; the seed's rows keep both under `crmkit_key` with a slash."""
    custom = row.custom
    if ORIGIN_ID in custom or ORIGINATOR_ID in custom:
        return custom.get(ORIGINATOR_ID), custom.get(ORIGIN_ID)
    key = custom.get(KEY_FIELD)
    if not key:
        return None, None
    originator, slash, origin_id = str(key).rpartition("/")
    return (originator, origin_id) if slash else ("crmkit", origin_id)


def _own(own: CustomField) -> Field:
    key, kind = own.key, own.extra.get("user_type") or _USER_TYPES[own.type]
    multi = bool(own.extra.get("multiple", own.type == "multiselect"))
    numeric = kind == "enumeration" and not multi

    def raw(row: Any) -> Any:
        value = row.custom.get(key)
        return int(value) if numeric and str(value).isdigit() else value

    type_ = {"boolean": "uf_boolean", "double": "uf_double"}.get(kind, kind)
    return Field(camel(own.id), own.id, type_, raw, own.label, multi=multi, dynamic=own)


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


class _Always:
    """Reads the same from every row."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, row: Any) -> Any:
        return self.value


def _always(value: Any) -> Get:
    return _Always(value)


def _kept(name: str, default: Any = None) -> Get:
    """What was written to a field that our rows have no word for."""
    key = KEPT + name
    return lambda row: row.custom.get(key, default)


def _blank(rows: str) -> list[Field]:
    """Fields from `name:OLD_NAME:type`, read-only with `:-` behind; what nobody can write stays empty."""
    described = (row.split(":") for row in rows.split())
    return [
        Field(
            name,
            legacy,
            type_,
            _always(None) if closed or type_ == "file" else _kept(name),
            read_only=bool(closed),
        )
        for name, legacy, type_, *closed in described
    ]


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
        Field("opened", "OPENED", "boolean", _kept("opened", "Y"), "Available to everyone"),
        Field("sourceId", "SOURCE_ID", "crm_status", _source, "Source"),
        Field("originatorId", "ORIGINATOR_ID", "string", lambda row: origin(row)[0], "External source"),
        Field("originId", "ORIGIN_ID", "string", lambda row: origin(row)[1], "Item ID in data source"),
        *_blank(_BLANK),
    ]


def _source(row: Any) -> str | None:
    written: str | None = row.custom.get(f"{KEPT}sourceId")
    if written is not None:
        return written
    source = getattr(row, "source", None)
    return None if source is None else SOURCE_IDS.get(source, "OTHER")


def _first_visitor(row: Any) -> int:
    return row.custom.get(f"{KEPT}createdBy") or int(
        (row.history[0].by_user_id if row.history else None) or 1
    )


def _last_visitor(row: Any) -> int:
    return int((row.history[-1].by_user_id if row.history else None) or 1)


def _mover(row: Any) -> int:
    # Who an import named is right until the deal moves again.
    return (len(row.history) == 1 and row.custom.get(f"{KEPT}movedBy")) or _last_visitor(row)


def _editor(row: Any) -> int:
    return row.custom.get(f"{KEPT}updatedBy") or _last_visitor(row)


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
        Field(
            "isManualOpportunity",
            "IS_MANUAL_OPPORTUNITY",
            "boolean",
            _kept("isManualOpportunity", "Y"),
            "Manual amount",
        ),
        Field("taxValue", "TAX_VALUE", "double", _kept("taxValue", Decimal(0)), "Tax"),
        Field("currencyId", "CURRENCY_ID", "crm_currency", lambda row: row.currency, "Currency"),
        Field("probability", "PROBABILITY", "integer", _percent, "Probability, %"),
        Field("companyId", "COMPANY_ID", "crm_company", _number_of("company_id"), "Company"),
        Field("contactId", "CONTACT_ID", "crm_contact", _primary_contact, "Contact"),
        Field("contactIds", "", "crm_contact", _contact_ids, "Contacts", multi=True),
        Field("begindate", "BEGINDATE", "date", _begin, "Start date"),
        Field("closedate", "CLOSEDATE", "date", lambda row: row.expected_close, "Expected close date"),
        Field("movedTime", "MOVED_TIME", "datetime", lambda row: row.stage_entered, read_only=True),
        Field("movedBy", "MOVED_BY_ID", "user", _mover, read_only=True),
        Field("createdBy", "CREATED_BY_ID", "user", _first_visitor, "Created by", read_only=True),
        Field("updatedBy", "MODIFY_BY_ID", "user", _editor, "Modified by", read_only=True),
        Field("lastActivityTime", "LAST_ACTIVITY_TIME", "datetime", _last_activity, read_only=True),
        Field("lastActivityBy", "LAST_ACTIVITY_BY", "user", _last_visitor, read_only=True),
        Field("typeId", "TYPE_ID", "crm_status", _kept("typeId", "SALE"), "Type"),
        Field("isRecurring", "IS_RECURRING", "boolean", _kept("isRecurring", "N"), "Recurring deal"),
        *(
            Field(name, legacy, "boolean", _always("N"), read_only=True)
            for name, legacy in (
                ("isNew", "IS_NEW"),
                ("isReturnCustomer", "IS_RETURN_CUSTOMER"),
                ("isRepeatedApproach", "IS_REPEATED_APPROACH"),
            )
        ),
        Field("observers", "", "user", _kept("observers", ()), "Observers", multi=True),
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


def _begin(row: Any) -> date | None:
    key = f"{KEPT}begindate"
    return row.custom[key] or None if key in row.custom else _portal_day(row.created)


def _portal_day(moment: datetime) -> date:
    return (moment + AHEAD).date()


def _person_fields() -> list[Field]:
    return [
        *_common(),
        Field("createdBy", "CREATED_BY_ID", "user", _kept("createdBy", 1), read_only=True),
        Field("updatedBy", "MODIFY_BY_ID", "user", _kept("updatedBy", 1), read_only=True),
        Field("lastActivityBy", "LAST_ACTIVITY_BY", "user", _always(1), read_only=True),
        Field("lastActivityTime", "LAST_ACTIVITY_TIME", "datetime", lambda row: row.modified, read_only=True),
        Field("hasImol", "HAS_IMOL", "boolean", _always("N"), read_only=True),
        Field("observers", "", "user", _kept("observers", ()), "Observers", multi=True),
        Field("categoryId", "", "crm_category", _always(0), read_only=True),
        *_blank(_BLANK_PERSON),
        *(
            Field("", name, "crm_multifield", old_channel(name), name.title(), multi=True, hidden=True)
            for name in ("PHONE", "EMAIL", "WEB", "IM", "LINK")
        ),
        Field("fm", "", "crm_multifield", channels, "Phones and e-mails", multi=True, hidden=True),
    ]


def _contact_fields(portal: Portal) -> list[Field]:
    def company_ids(row: Any) -> list[int]:
        return [int(one) for one in companies_of(row) if one in portal.world.companies]

    return [
        *_person_fields(),
        Field("name", "NAME", "string", lambda row: row.first or None, "First name"),
        Field("lastName", "LAST_NAME", "string", lambda row: row.last or None, "Last name"),
        Field("typeId", "TYPE_ID", "crm_status", _kept("typeId", "CLIENT"), "Contact type"),
        Field("companyId", "COMPANY_ID", "crm_company", _number_of("company_id"), "Company"),
        Field("companyIds", "", "crm_company", company_ids, "Companies", multi=True),
        Field("export", "EXPORT", "boolean", _kept("export", "Y")),
        Field("hasPhone", "HAS_PHONE", "boolean", lambda row: "Y" if row.phones else "N", read_only=True),
        Field("hasEmail", "HAS_EMAIL", "boolean", lambda row: "Y" if row.emails else "N", read_only=True),
        *_blank(_BLANK_CONTACT),
        *_addresses(lambda row, name: row.custom.get(f"{KEPT}{name}")),
    ]


def companies_of(row: Any) -> list[str]:
    """The companies of a contact, the primary one first; our rows have a word for that one alone."""
    first = () if row.company_id is None else (row.company_id,)
    return list(dict.fromkeys((*first, *row.custom.get(COMPANY_IDS, ()))))


def contacts_of(portal: Portal, company_id: str) -> list[str]:
    """The contacts of a company, in order of id, whether or not it is their primary one."""
    more: Index = portal.once(
        "companies of contacts",
        lambda: Index(portal.world, "contact", lambda row: row.custom.get(COMPANY_IDS, ())),
    )
    first = {contact.id for contact in portal.world.live.group("contact", "company_id", company_id)}
    return sorted(first | more.ids(company_id), key=int)


def _company_fields(portal: Portal) -> list[Field]:
    def contact_ids(row: Any) -> list[int]:
        return [int(contact) for contact in contacts_of(portal, row.id)]

    def currency(row: Any) -> str:
        return row.custom.get(f"{KEPT}currencyId") or portal.world.base_currency

    return [
        *_person_fields(),
        Field("title", "TITLE", "string", lambda row: row.name, "Company name"),
        Field("typeId", "COMPANY_TYPE", "crm_status", _kept("typeId", "CUSTOMER"), "Company type"),
        Field("currencyId", "CURRENCY_ID", "crm_currency", currency, "Currency"),
        Field("contactIds", "", "crm_contact", contact_ids, "Contacts", multi=True),
        Field("isMyCompany", "IS_MY_COMPANY", "boolean", _kept("isMyCompany", "N")),
        Field("hasPhone", "HAS_PHONE", "boolean", lambda row: "Y" if row.phone else "N", read_only=True),
        Field("hasEmail", "HAS_EMAIL", "boolean", has_email, read_only=True),
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
    return [*filled, *(Field("", legacy, "string", _kept(legacy)) for legacy in empty)]


_STANDARD: Mapping[str, Callable[[Portal], list[Field]]] = {
    "deal": _deal_fields,
    "contact": _contact_fields,
    "company": _company_fields,
}
ENTITY_NUMBERS: Mapping[str, int] = {kind: number for number, kind in ENTITY_KINDS.items()}
