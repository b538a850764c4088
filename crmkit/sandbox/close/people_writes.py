"""Leads and contacts as they are created, changed, merged and deleted.

Source: https://developer.close.com/api/resources/leads/create , /update , /merge , /contacts/create
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.close.answers import field_list, missing, only
from crmkit.sandbox.close.bodies import NO_SUCH_OBJECT, REQUIRED, Body
from crmkit.sandbox.close.desk import Call, Desk, filled
from crmkit.sandbox.close.phones import normal_phone
from crmkit.sandbox.close.records import LEAD_STATUSES, domain_of, place_of
from crmkit.sandbox.rows import Company, Contact
from crmkit.sandbox.wire import Refusal, json_reply

_LEAD = frozenset("name url description status status_id addresses".split())
_NEW_LEAD = _LEAD | {"contacts", "date_created"}
_CONTACT = frozenset("name title emails phones urls".split())
_NEW_CONTACT = _CONTACT | {"lead_id", "date_created"}
_ADDRESS = ("address_1", "address_2", "city", "country", "label", "state", "zipcode")
_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]{2,}")


class PeopleWrites:
    """Writes the leads and contacts of one organization."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.records, self.world = desk, desk.records, desk.world

    # Leads

    def create_lead(self, call: Call) -> Any:
        """A new lead with the contacts nested in it; opportunities cannot be."""
        body = Body(call.said, _NEW_LEAD, call.tz)
        fields = self.desk.customs("company", body, self._lead_values(body))
        created = body.moment("date_created")
        contacts = [self._nested(body, row, call) for row in body.rows("contacts", ())]
        body.finish()
        fields["custom"] = filled(fields["custom"])
        stamps = {"created": created} if created else {}
        lead = self.world.create("company", by=call.by, **{"name": "", **fields, **stamps})
        for contact in contacts:
            made = self.world.create("contact", by=call.by, **contact, company_id=lead.id)
            self.desk.started("contact", made.id, call.by)
        self.desk.started("company", lead.id, call.by)
        return self._show_lead(lead, call)

    def update_lead(self, call: Call) -> Any:
        """What was said is changed; the contacts in it cannot be changed here."""
        lead = self._lead(call.path["id"])
        body = Body(call.said, _LEAD, call.tz)
        fields = self.desk.customs("company", body, self._lead_values(body), lead)
        body.finish()
        saved: Company = self.desk.save("company", lead, call.by, fields)
        if saved.custom.get("_status_id") != lead.custom.get("_status_id"):
            self.desk.started("company", lead.id, call.by)
        return self._show_lead(saved, call)

    def delete_lead(self, call: Call) -> Any:
        """Gone, and its contacts, opportunities and activities with it."""
        lead = self._lead(call.path["id"])
        self.world.delete("company", lead.id, by=call.by)
        return {}

    def merge_leads(self, call: Call) -> Any:
        """The source goes up in the destination, which takes over its children and what it lacked."""
        self.desk.need("merge_leads")
        body = Body(call.said, {"source", "destination"})
        source_id = body.text("source", required=True)
        destination_id = body.text("destination", required=True)
        body.finish()
        source = self.world.companies.get(source_id or "")
        destination = self.world.companies.get(destination_id or "")
        if source is None or destination is None:
            lost = source_id if source is None else destination_id
            raise Refusal(json_reply({"errors": [f"Lead {lost} does not exist."]}, 404))
        body.finish(["Cannot merge a lead with itself."] if source is destination else ())
        extra = {key: value for key, value in source.custom.items() if key not in destination.custom}
        merged = self.world.merge("company", source.id, destination.id, by=call.by)
        if extra:
            self.world.edit("company", merged.id, by=call.by, custom=extra)
        return {"status": "ok"}

    def _lead(self, lead_id: str) -> Company:
        lead = self.world.companies.get(lead_id)
        if lead is None:
            raise missing("Lead")
        return lead

    def _show_lead(self, lead: Company, call: Call) -> Any:
        return only(self.records.lead(lead), field_list(call.params))

    def _lead_values(self, body: Body) -> dict[str, Any]:
        fields: dict[str, Any] = {"custom": self._lead_custom(body)}
        if "name" in body:
            fields["name"] = (body.text("name") or "").strip()
        if "url" in body:
            fields["domain"] = domain_of(body.text("url"))
        if "addresses" in body:
            rows = body.rows("addresses", ())
            first = place_of(rows[0]) if rows else (None, None, None, None)
            fields |= dict(zip(("street", "city", "country", "postcode"), first, strict=True))
        return fields

    def _lead_custom(self, body: Body) -> dict[str, Any]:
        custom: dict[str, Any] = {}
        if "url" in body:
            custom["_url"] = body.said["url"] or None
        if "description" in body:
            custom["_description"] = body.text("description") or None
        if "addresses" in body:
            rows = body.rows("addresses", ())
            custom["_addresses"] = tuple(self._address(body, row) for row in rows) or None
        if "status" in body or "status_id" in body:
            custom["_status_id"] = self._lead_status(body)
        return custom

    def _lead_status(self, body: Body) -> str | None:
        if "status" in body and "status_id" in body:
            body.wrong("status", "Send either status or status_id.")
            return None
        said = body.text("status_id", nullable=False) or body.text("status", nullable=False)
        found = next((status_id for status_id, label in LEAD_STATUSES if said in (status_id, label)), None)
        if found is None:
            body.wrong(  # recorded
                "status",
                "Not a valid choice. Please go to Customizations in your organization settings and add "
                f'"{said}" to the list of lead statuses.',
            )
        return found

    def _address(self, body: Body, row: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := row.keys() - set(_ADDRESS):
            body.wrong("addresses", f"{min(unknown)}: Unknown field.")
        if not all(value is None or isinstance(value, str) for value in row.values()):
            body.wrong("addresses", "Expected strings.")
        return {name: row.get(name) for name in _ADDRESS} | {"label": row.get("label") or "business"}

    def _nested(self, body: Body, row: Mapping[str, Any], call: Call) -> dict[str, Any]:
        nested = Body(row, _CONTACT, call.tz)
        fields = self.desk.customs("contact", nested, self._contact_values(nested))
        for name, message in nested.problems.items():
            body.wrong("contacts", f"{name}: {message}")
        fields["custom"] = filled(fields["custom"])
        return {"first": "", "last": "", **fields}

    # Contacts

    def create_contact(self, call: Call) -> Any:
        """A new contact; without a lead one named after it is made."""
        body = Body(call.said, _NEW_CONTACT, call.tz)
        lead_id = body.text("lead_id")
        if lead_id is not None and lead_id not in self.world.companies:
            body.wrong("lead_id", NO_SUCH_OBJECT)
        fields = self.desk.customs("contact", body, self._contact_values(body))
        created = body.moment("date_created")
        body.finish()
        fields = {"first": "", "last": "", **fields, "custom": filled(fields["custom"])}
        if lead_id is None:
            name = f"{fields['first']} {fields['last']}".strip()
            lead_id = self.world.create("company", by=call.by, name=name).id
            self.desk.started("company", lead_id, call.by)
        stamps = {"created": created} if created else {}
        contact = self.world.create("contact", by=call.by, **fields, **stamps, company_id=lead_id)
        self.desk.started("contact", contact.id, call.by)
        return self._show_contact(contact, call)

    def update_contact(self, call: Call) -> Any:
        """What was said is changed; lists of addresses and numbers are replaced as a whole (inferred)."""
        contact = self._contact(call.path["id"])
        body = Body(call.said, _CONTACT, call.tz)
        fields = self.desk.customs("contact", body, self._contact_values(body), contact)
        body.finish()
        return self._show_contact(self.desk.save("contact", contact, call.by, fields), call)

    def delete_contact(self, call: Call) -> Any:
        """Gone from its lead and from its opportunities; the notes about it stay with the lead."""
        contact = self._contact(call.path["id"])
        for note in self.world.live.group("note", "contact_id", contact.id):
            self.world.edit("note", note.id, touch=False, contact_id=None)
        self.world.delete("contact", contact.id, by=call.by)
        return {}

    def _contact(self, contact_id: str) -> Contact:
        contact = self.world.contacts.get(contact_id)
        if contact is None:
            raise missing("Contact")
        return contact

    def _show_contact(self, contact: Contact, call: Call) -> Any:
        return only(self.records.contact(contact), field_list(call.params))

    def _contact_values(self, body: Body) -> dict[str, Any]:
        fields: dict[str, Any] = {"custom": self._contact_custom(body)}
        if "name" in body:
            first, _, last = (body.text("name") or "").strip().partition(" ")
            fields |= {"first": first, "last": last}
        if "emails" in body:
            fields["emails"] = tuple(self._typed(body, "emails", "email"))
        if "phones" in body:
            fields["phones"] = tuple(self._typed(body, "phones", "phone"))
        return fields

    def _contact_custom(self, body: Body) -> dict[str, Any]:
        custom: dict[str, Any] = {}
        if "title" in body:
            custom["_title"] = body.text("title") or None
        if "emails" in body:
            custom["_emails"] = self._typed(body, "emails", "email") or None
        if "phones" in body:
            custom["_phones"] = self._typed(body, "phones", "phone") or None
        if "urls" in body:
            rows = body.rows("urls", ("url",))
            urls = tuple({"type": row.get("type") or "url", "url": row.get("url")} for row in rows)
            custom["_urls"] = urls or None
        return custom

    def _typed(self, body: Body, name: str, key: str) -> dict[str, str]:
        """Addresses or numbers with the type of each; the same one twice is one (inferred)."""
        found: dict[str, str] = {}
        for row in body.rows(name, ()):
            said = row.get(key)
            if not isinstance(said, str) or not said.strip():
                body.wrong(name, f"{key}: {REQUIRED}")
                continue
            value = said.strip() if key == "email" else normal_phone(said)
            if value is None or (key == "email" and not _EMAIL.fullmatch(value)):
                body.wrong(name, f"Invalid {key}: {said}.")
                continue
            found.setdefault(value, str(row.get("type") or "office"))
        return found
