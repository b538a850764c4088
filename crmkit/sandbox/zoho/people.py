"""The modules Accounts, Contacts, Notes, and those that are empty here: Leads, Tasks, Campaigns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crmkit.sandbox.rows import Contact, Kind, Note
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
        maker.person("Created_By", author, read_only=True),
        maker.person("Modified_By", author, read_only=True),
        make("Created_Time", "datetime", "created", read_only=True),
        make("Modified_Time", "datetime", "modified", read_only=True),
    ]


def _rest(maker: FieldMaker, kind: Kind, layout: int) -> list[Field]:
    make = maker.make
    return [
        make("Last_Activity_Time", "datetime", _NOTHING, read_only=True),
        make("Description", "textarea", _NOTHING),
        make("Tag", "text", lambda row: tag_list(row.tags)),
        make("Locked__s", "boolean", lambda _: False, label="Locked", read_only=True),
        *(maker.custom(one) for one in maker.org.world.fields[kind].values()),
        *system_fields(maker, str(ORG_BASE + layout)),
    ]


def _by_name(fields: list[Field]) -> Mapping[str, Field]:
    return {field.name: field for field in fields}


def _accounts(org: Org) -> Module:
    maker = FieldMaker(org)
    make = maker.make
    empty = ("Fax", "Account_Site", "Ticker_Symbol", "SIC_Code", "Shipping_Street", "Shipping_City")
    fields = [
        *_common(maker),
        make("Account_Name", "text", "name", mandatory=True),
        make("Website", "website", lambda row: f"https://{row.domain}" if row.domain else None),
        make("Phone", "phone", "phone"),
        make("Billing_Street", "text", "street"),
        make("Billing_City", "text", "city"),
        make("Billing_State", "text", _NOTHING),
        make("Billing_Code", "text", "postcode"),
        make("Billing_Country", "text", "country"),
        make("Parent_Account", "lookup", _NOTHING, lookup="Accounts"),
        make("Industry", "picklist", _NOTHING, picks=("Manufacturing", "Technology")),
        make("Account_Type", "picklist", _NOTHING, picks=("Customer", "Partner", "Prospect")),
        make("Annual_Revenue", "currency", _NOTHING),
        make("Employees", "integer", _NOTHING),
        make("Account_Number", "text", lambda _: "0"),
        *(make(name, "text", _NOTHING) for name in empty),
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
        make("Full_Name", "text", contact_name, read_only=True),
        make("Salutation", "picklist", _NOTHING, picks=("Mr.", "Ms.", "Dr.")),
        make("Account_Name", "lookup", "company_id", lookup="Accounts"),
        make("Email", "email", lambda row: row.emails[0] if row.emails else None),
        make("Secondary_Email", "email", lambda row: _second(row.emails)),
        make("Phone", "phone", lambda row: row.phones[0] if row.phones else None),
        make("Mobile", "phone", lambda row: _second(row.phones)),
        make("Title", "text", _NOTHING),
        make("Department", "text", _NOTHING),
        make("Lead_Source", "picklist", _NOTHING, picks=()),
        *(
            make(f"Mailing_{part}", "text", _NOTHING)
            for part in ("Street", "City", "State", "Zip", "Country")
        ),
        make("Email_Opt_Out", "boolean", lambda _: False),
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
        make("Note_Title", "text", _NOTHING),
        make("Note_Content", "textarea", "text"),
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


def _second(values: tuple[str, ...]) -> str | None:
    return values[1] if len(values) > 1 else None
