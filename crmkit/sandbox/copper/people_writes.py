"""A company or a person as a write brings it.

Sources: https://developer.copper.com/companies/create-a-new-company.html ,
https://developer.copper.com/people/create-a-new-person.html
"""

from __future__ import annotations

import re
from typing import Any

from crmkit.sandbox.copper.account import Account
from crmkit.sandbox.copper.answers import Body
from crmkit.sandbox.copper.custom_values import custom_values
from crmkit.sandbox.copper.opportunity_writes import assignee_of
from crmkit.sandbox.copper.validation import Form
from crmkit.sandbox.rows import Company, Contact, Kind

_COMMON = "name address assignee_id contact_type_id details phone_numbers socials tags websites custom_fields"
_COMPANY = frozenset(f"{_COMMON} email_domain primary_contact_id".split())
_COMPANY_READ_ONLY = frozenset("id interaction_count date_created date_modified date_last_contacted".split())
_PARTS = ("prefix", "first_name", "middle_name", "last_name", "suffix")
_PERSON = frozenset((*_COMMON.split(), *_PARTS, "emails", "company_id", "title"))
_PERSON_READ_ONLY = frozenset(
    "id company_name interaction_count date_created date_modified date_last_contacted leads_converted_from"
    " date_lead_created".split()
)
_ADDRESS = ("street", "city", "state", "postal_code", "country")
_PHONES = ("mobile", "work", "home", "other")
_PLACES = ("work", "personal", "other")
_SOCIALS = ("linkedin", "twitter", "facebook", "youtube", "googleplus", "instagram", "quora", "other")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PREFIXES = {"mr", "mrs", "ms", "miss", "dr", "prof"}
_SUFFIXES = {"jr", "sr", "ii", "iii", "iv", "phd", "md", "esq"}


def company_fields(account: Account, before: Company | None, body: Body) -> dict[str, Any]:
    """What the write sets, in the words of a `Company`.

    Raises:
        Invalid: Something is wrong with it.
    """
    form = Form(body, _COMPANY, _COMPANY_READ_ONLY)
    fields, custom = _common(account, "company", before, form)
    if before is None or "name" in form:
        fields["name"] = form.text("name", required=True)
    if before is None or "phone_numbers" in form:
        phones = form.parts("phone_numbers", "number", _PHONES, "work")
        fields["phone"] = phones[0][0] if phones else None
        custom["phones"] = phones
    if "address" in form:
        address = _address(form) or {}
        fields |= {key: address.get(key) for key in ("street", "city", "country")}
        fields["postcode"] = address.get("postal_code")
        custom["state"] = address.get("state")
    if "email_domain" in form:
        domain = (form.text("email_domain") or "").strip().lower() or None
        if domain and account.taken.by_another("company", domain, before.id if before else None):
            form.wrong("email_domain", "has already been taken", "taken")
        fields["domain"] = domain
    if "primary_contact_id" in form:
        contact_id = form.record("primary_contact_id", account.world.contacts)
        if contact_id and (before is None or account.world.contacts[contact_id].company_id != before.id):
            form.wrong("primary_contact_id")
        custom["primary_contact_id"] = contact_id
    form.check()
    return {**fields, "custom": custom}


def person_fields(account: Account, before: Contact | None, body: Body) -> dict[str, Any]:
    """What the write sets, in the words of a `Contact`.

    Raises:
        Invalid: Something is wrong with it.
    """
    form = Form(body, _PERSON, _PERSON_READ_ONLY)
    fields, custom = _common(account, "contact", before, form)
    _read_name(before, form, fields, custom)
    if "emails" in form:
        pairs = form.parts("emails", "email", ("work", "personal", "other"), "work")
        # Case stays as it was written, and does not make another address.
        emails = {email.casefold(): (email, category) for email, category in reversed(pairs)}
        pairs = tuple(reversed(emails.values()))
        for email, _ in pairs:
            if not _EMAIL.fullmatch(email):
                form.wrong("emails")
            elif account.taken.by_another("contact", email, before.id if before else None):
                form.wrong("emails", "has already been taken", "taken")
        fields["emails"] = tuple(email for email, _ in pairs)
        custom["email_categories"] = tuple(category for _, category in pairs)
    if "phone_numbers" in form:
        pairs = form.parts("phone_numbers", "number", _PHONES, "mobile")
        fields["phones"] = tuple(number for number, _ in pairs)
        custom["phone_categories"] = tuple(category for _, category in pairs)
    if "company_id" in form:
        fields["company_id"] = form.record("company_id", account.world.companies)
    if "address" in form:
        custom["address"] = _address(form)
    if "title" in form:
        custom["title"] = form.text("title")
    form.check()
    return {**fields, "custom": custom}


def split_name(name: str) -> dict[str, str | None]:
    """The parts that Copper makes of a name; what makes a prefix or a suffix is inferred."""
    words = name.split()
    parts: dict[str, str | None] = dict.fromkeys(_PARTS)
    if len(words) > 1 and words[0].rstrip(".").lower() in _PREFIXES:
        parts["prefix"] = words.pop(0)
    if len(words) > 1 and words[-1].strip(".,").lower() in _SUFFIXES:
        parts["suffix"] = words.pop()
        words[-1] = words[-1].rstrip(",")
    parts["first_name"] = words[0] if words else None
    parts["middle_name"] = " ".join(words[1:-1]) or None
    parts["last_name"] = words[-1] if len(words) > 1 else None
    return parts


def _read_name(before: Contact | None, form: Form, fields: dict[str, Any], custom: dict[str, Any]) -> None:
    parts: dict[str, str | None] = {}
    if before is None or "name" in form:
        parts = split_name(form.text("name", required=True) or "")
    # The parts can be written on their own and outweigh the name (inferred).
    parts |= {key: (form.text(key) or "").strip() or None for key in _PARTS if key in form}
    for key, value in parts.items():
        if key in {"first_name", "last_name"}:
            fields["first" if key == "first_name" else "last"] = value or ""
        else:
            custom[key] = value
    if before is not None and not any((fields.get("first", before.first), fields.get("last", before.last))):
        form.wrong("name", "can't be blank", "blank")


def _common(account: Account, kind: Kind, before: Any, form: Form) -> tuple[dict[str, Any], dict[str, Any]]:
    fields: dict[str, Any] = {}
    custom = custom_values(form, account.world.fields[kind], account.world.time_zone)
    if "assignee_id" in form:
        fields["owner_id"] = assignee_of(account, before, form)
    if "tags" in form:
        fields["tags"] = form.tags()
    if "details" in form:
        custom["details"] = form.text("details")
    if "contact_type_id" in form or (before is None and kind == "company"):
        types = [str(number) for number in account.records.contact_types.ids.values()]
        # The documentation's new company has none, its new person has the default one.
        custom["contact_type_id"] = int(form.record("contact_type_id", types) or 0)
    for key, categories in (("websites", _PLACES), ("socials", _SOCIALS)):
        if key in form or before is None:
            custom[key] = form.parts(key, "url", categories, "work" if key == "websites" else "other")
    return fields, custom


def _address(form: Form) -> dict[str, str | None] | None:
    said = form.body["address"]
    if said is None:
        return None
    if not isinstance(said, dict) or not all(
        key in _ADDRESS and (value is None or isinstance(value, str)) for key, value in said.items()
    ):
        form.wrong("address")
        return None
    return {key: said.get(key) for key in _ADDRESS}
