"""The modules Accounts, Contacts, Notes, and those that are empty here: Leads, Tasks, Campaigns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crmkit.sandbox.rows import Company, Contact, Kind, Note
from crmkit.sandbox.zoho.deals import deals_module, history_module, system_fields, tag_list
from crmkit.sandbox.zoho.org import Org, contact_name
from crmkit.sandbox.zoho.schema import Field, FieldMaker, Module
from crmkit.sandbox.zoho.seed import ORG_BASE

MODULE_IDS = {
    "Leads": str(ORG_BASE + 2_175),
    "Accounts": str(ORG_BASE + 2_177),
    "Contacts": str(ORG_BASE + 2_179),
    "Deals": str(ORG_BASE + 2_181),
    "Tasks": str(ORG_BASE + 2_193),
    "Notes": str(ORG_BASE + 2_197),
    "Campaigns": str(ORG_BASE + 2_199),
}
_NOTHING: Callable[[Any], None] = lambda _: None  # noqa: E731


def make_modules(org: Org) -> dict[str, Module]:
    """Every module by its API name, as the organisation has set them up now."""
    made = [
        deals_module(org),
        _accounts(org),
        _contacts(org),
        _leads(org),
        _notes(org),
        _tasks(org),
        _campaigns(org),
        history_module(org),
    ]
    return {module.name: module for module in made}


def _common(maker: FieldMaker, author: str = "owner_id") -> list[Field]:
    make = maker.make
    return [
        make("id", "bigint", "id", read_only=True, key=lambda row: int(row.id)),
        maker.person("Owner", author),
        maker.author("Created_By", author),
        maker.author("Modified_By", author),
        make("Created_Time", "datetime", "created", read_only=True),
        make("Modified_Time", "datetime", "modified", read_only=True),
    ]


def _rest(maker: FieldMaker, kind: Kind, layout: int) -> list[Field]:
    make = maker.make
    return [
        make("Last_Activity_Time", "datetime", _NOTHING, read_only=True),
        maker.kept("Description", "textarea"),
        make("Tag", "text", lambda row: tag_list(row.tags)),
        maker.kept("Locked__s", "boolean", False, label="Locked", read_only=True),
        *(maker.custom(one) for one in maker.org.world.fields[kind].values()),
        *system_fields(maker, str(ORG_BASE + layout)),
    ]


def _by_name(fields: list[Field]) -> Mapping[str, Field]:
    return {field.name: field for field in fields}


def _accounts(org: Org) -> Module:
    maker = FieldMaker(org)
    make = maker.make
    shipping = tuple(f"Shipping_{part}" for part in ("Street", "City", "State", "Code", "Country"))
    plain = ("Fax", "Account_Site", "Ticker_Symbol", "SIC_Code", "Ownership", *shipping)
    fields = [
        *_common(maker),
        make("Account_Name", "text", "name", mandatory=True),
        make("Website", "website", _website),
        make("Phone", "phone", "phone"),
        make("Billing_Street", "text", "street"),
        make("Billing_City", "text", "city"),
        maker.kept("Billing_State", "text"),
        make("Billing_Code", "text", "postcode"),
        make("Billing_Country", "text", "country"),
        maker.kept("Parent_Account", "lookup", lookup="Accounts"),
        maker.kept("Industry", "picklist", picks=("Manufacturing", "Technology")),
        maker.kept("Account_Type", "picklist", picks=("Customer", "Partner", "Prospect")),
        maker.kept("Annual_Revenue", "currency"),
        maker.kept("Employees", "integer"),
        maker.kept("Account_Number", "text", "0"),
        *(maker.kept(name, "text") for name in plain),
        *_rest(maker, "company", 91_029),
    ]
    return Module(
        name="Accounts",
        singular="Account",
        plural="Accounts",
        id=MODULE_IDS["Accounts"],
        kind="company",
        fields=_by_name(fields),
        display=lambda row: row.name,
        related=("Notes", "Deals", "Contacts"),
    )


def _contacts(org: Org) -> Module:
    maker = FieldMaker(org)
    make = maker.make
    fields = [
        *_common(maker),
        make("First_Name", "text", lambda row: row.first or None),
        make("Last_Name", "text", "last", mandatory=True),
        make("Full_Name", "text", _full_name, read_only=True),
        maker.kept("Salutation", "picklist", picks=("Mr.", "Ms.", "Dr.")),
        make("Account_Name", "lookup", "company_id", lookup="Accounts"),
        make("Email", "email", lambda row: _first(row.emails)),
        make("Secondary_Email", "email", lambda row: _second(row.emails)),
        make("Phone", "phone", lambda row: _first(row.phones)),
        make("Mobile", "phone", lambda row: _second(row.phones)),
        maker.kept("Home_Phone", "phone"),
        maker.kept("Other_Phone", "phone"),
        maker.kept("Title", "text"),
        maker.kept("Department", "text"),
        maker.kept("Lead_Source", "picklist", picks=()),
        *(maker.kept(f"Mailing_{part}", "text") for part in ("Street", "City", "State", "Zip", "Country")),
        maker.kept("Email_Opt_Out", "boolean", False),
        *_rest(maker, "contact", 91_033),
    ]
    return Module(
        name="Contacts",
        singular="Contact",
        plural="Contacts",
        id=MODULE_IDS["Contacts"],
        kind="contact",
        fields=_by_name(fields),
        display=contact_name,
        related=("Notes", "Deals"),
    )


def _leads(org: Org) -> Module:
    maker = FieldMaker(org)
    make = maker.make
    fields = [
        *_common(maker),
        make("Company", "text", _NOTHING, mandatory=True),
        make("First_Name", "text", _NOTHING),
        make("Last_Name", "text", _NOTHING, mandatory=True),
        make("Full_Name", "text", _NOTHING, read_only=True),
        make("Email", "email", _NOTHING),
        make("Phone", "phone", _NOTHING),
        make("Lead_Status", "picklist", _NOTHING, picks=("Not Contacted", "Contacted")),
        make("Lead_Source", "picklist", _NOTHING, picks=()),
        make("Converted__s", "boolean", lambda _: False, read_only=True),
    ]
    return _empty("Leads", "Lead", fields, related=("Notes",))


def _notes(org: Org) -> Module:
    maker = FieldMaker(org)
    make = maker.make
    fields = [
        *_common(maker, "author_id"),
        maker.kept("Note_Title", "text", limit=120),
        make("Note_Content", "textarea", lambda row: row.text or None, limit=65_535),
        make("Parent_Id", "lookup", note_parent_id, lookup="Deals", value=lambda row: _parent(org, row)),
        maker.hidden("$attachments", None),
        maker.make("$se_module", "text", note_module, hidden=True),
        maker.hidden("$is_shared_to_client", False),
        maker.hidden("$voice_note", False),
        *[field for field in system_fields(maker, "") if field.name in _NOTE_KEYS],
    ]
    return Module(
        name="Notes",
        singular="Note",
        plural="Notes",
        id=MODULE_IDS["Notes"],
        kind="note",
        fields=_by_name(fields),
    )


def _tasks(org: Org) -> Module:
    maker = FieldMaker(org)
    make = maker.make
    fields = [
        *_common(maker),
        make("Subject", "text", _NOTHING, mandatory=True),
        make("Due_Date", "date", _NOTHING),
        make("Status", "picklist", _NOTHING, picks=("Not Started", "In Progress", "Completed")),
        make("Priority", "picklist", _NOTHING, picks=("High", "Normal", "Low")),
        make("What_Id", "lookup", _NOTHING, lookup="Deals"),
        make("Who_Id", "lookup", _NOTHING, lookup="Contacts"),
        make("Description", "textarea", _NOTHING),
    ]
    return _empty("Tasks", "Task", fields)


def _campaigns(org: Org) -> Module:
    maker = FieldMaker(org)
    name = maker.make("Campaign_Name", "text", _NOTHING, mandatory=True)
    return _empty("Campaigns", "Campaign", [*_common(maker), name])


def _empty(name: str, singular: str, fields: list[Field], **options: Any) -> Module:
    return Module(
        name=name,
        singular=singular,
        plural=name,
        id=MODULE_IDS[name],
        kind=None,
        fields=_by_name(fields),
        **options,
    )


_NOTE_KEYS = {"$field_states", "$editable", "$state"}


def note_module(note: Note) -> str:
    """The module of what a note is about."""
    return "Deals" if note.deal_id else "Accounts" if note.company_id else "Contacts"


def note_parent_id(note: Note) -> str | None:
    """What a note is about: the deal, else the company, else the contact."""
    return note.deal_id or note.company_id or note.contact_id


def _parent(org: Org, note: Note) -> Any:
    """`{module, name, id}`; the official schema has the module, a recorded v2 answer has not."""
    module, parent_id = note_module(note), note_parent_id(note)
    if parent_id is None:
        return None
    tables: Mapping[str, Mapping[str, Any]] = {
        "Deals": org.world.deals,
        "Accounts": org.world.companies,
        "Contacts": org.world.contacts,
    }
    row = tables[module].get(parent_id)
    name = "" if row is None else contact_name(row) if isinstance(row, Contact) else row.name
    return {"module": {"api_name": module, "id": MODULE_IDS[module]}, "name": name, "id": parent_id}


def website_domain(website: str) -> str:
    """The host of a website, as rows keep it."""
    return website.partition("//")[2].partition("/")[0] if "//" in website else website.partition("/")[0]


def _website(company: Company) -> str | None:
    """The website as it was written, as long as the domain is still that of it."""
    written = company.custom.get("$Website")
    if written is not None and website_domain(written) == company.domain:
        return str(written)
    return f"https://{company.domain}" if company.domain else None


def _full_name(contact: Contact) -> str:
    """First and last name as one, or what an organisation shows that puts more into it."""
    return str(contact.custom.get("$Full_Name") or contact_name(contact))


def _first(values: tuple[str, ...]) -> str | None:
    return (values[0] or None) if values else None


def _second(values: tuple[str, ...]) -> str | None:
    return values[1] if len(values) > 1 else None
