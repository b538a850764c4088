"""Notes, and the status changes of another system that are imported.

Source: https://developer.close.com/api/resources/activities/notes/create ,
/activities/opportunity-status-changes/create
"""

from __future__ import annotations

from typing import Any

from crmkit.sandbox.close.activities import Activities, Imported
from crmkit.sandbox.close.answers import missing
from crmkit.sandbox.close.bodies import NO_SUCH_OBJECT, Body
from crmkit.sandbox.close.desk import Call, Desk, filled
from crmkit.sandbox.close.opportunity_writes import note_values
from crmkit.sandbox.rows import Note, Visit

_STEP = frozenset(
    "opportunity_id lead_id old_status_id new_status_id date_created activity_at user_id".split()
)


class ActivityWrites:
    """Writes the activities of one organization."""

    def __init__(self, desk: Desk, activities: Activities) -> None:
        self.desk, self.records, self.world = desk, desk.records, desk.world
        self.activities = activities

    # Notes

    def create_note(self, call: Call) -> Any:
        """A new note on a lead; keys that the schema does not name are dropped, it is not closed."""
        body = Body(call.said, None, call.tz)
        lead_id = body.text("lead_id", required=True)
        if lead_id is not None and lead_id not in self.world.companies:
            body.wrong("lead_id", NO_SUCH_OBJECT)
        contact_id = self._contact(body, lead_id)
        user_id = body.text("user_id")
        if user_id is not None and user_id not in self.world.users:
            body.wrong("user_id", NO_SUCH_OBJECT)
        created = body.moment("date_created")
        fields = self._values(body)
        body.finish()
        stamps = {"created": created} if created else {}
        note = self.world.create(
            "note",
            by=call.by,
            **{"text": "", **fields, **stamps},
            company_id=lead_id,
            contact_id=contact_id,
            author_id=user_id or call.by,
        )
        return self.records.note(note)

    def update_note(self, call: Call) -> Any:
        """What was said is changed."""
        note = self._note(call.path["id"])
        body = Body(call.said, None, call.tz)
        fields = self._values(body, note)
        if "contact_id" in body:
            deal = self.world.deals.get(note.deal_id or "")
            fields["contact_id"] = self._contact(body, deal.company_id if deal else note.company_id)
        body.finish()
        return self.records.note(self.desk.save("note", note, call.by, fields))

    def delete_note(self, call: Call) -> Any:
        """Gone."""
        self.world.delete("note", self._note(call.path["id"]).id, by=call.by)
        return {}

    def _note(self, note_id: str) -> Note:
        note = self.world.notes.get(note_id)
        if note is None:
            raise missing("Activity")
        return note

    def _contact(self, body: Body, lead_id: str | None) -> str | None:
        contact_id = body.text("contact_id")
        contact = self.world.contacts.get(contact_id or "")
        if contact_id is not None and (contact is None or contact.company_id != lead_id):
            body.wrong("contact_id", NO_SUCH_OBJECT)
        return contact_id

    def _values(self, body: Body, note: Note | None = None) -> dict[str, Any]:
        custom: dict[str, Any] = {}
        fields: dict[str, Any] = {}
        words = note_values(body)
        if words:
            fields["text"] = words["note"] or ""
            custom["_note_html"] = words["_note_html"]
        if "title" in body:
            custom["_title"] = body.text("title")
        if "activity_at" in body:
            custom["_activity_at"] = body.moment("activity_at")
        if "attachments" in body:
            custom["_attachments"] = body.attachments() or None
        pinned = body.flag("pinned")
        if pinned is not None:
            since = note.custom.get("_pinned_at") if note else None
            custom["_pinned_at"] = (since or self.world.now()) if pinned else None
        fields["custom"] = custom if note else filled(custom)
        return fields

    # Status changes

    def import_step(self, call: Call) -> Any:
        """A status change of the past; the opportunity stays as it is."""
        body = Body(call.said, _STEP, call.tz)
        deal_id = body.text("opportunity_id", required=True)
        lead_id = body.text("lead_id")
        old_id = body.text("old_status_id", required=True)
        new_id = body.text("new_status_id", required=True)
        deal = self.world.deals.get(deal_id or "")
        if deal is None:
            body.wrong("opportunity_id", NO_SUCH_OBJECT)
        elif lead_id is not None and lead_id != deal.company_id:
            body.wrong("lead_id", "The opportunity does not belong to the lead.")
        for name, status_id in (("old_status_id", old_id), ("new_status_id", new_id)):
            if status_id is not None and status_id not in self.records.places:
                body.wrong(name, NO_SUCH_OBJECT)
        user_id = self.desk.owner(body) or call.by
        at = body.moment("activity_at") or body.moment("date_created") or self.world.now()
        body.finish()
        before, after = Visit(str(old_id), at, user_id), Visit(str(new_id), at, user_id)
        step = Imported(self.world.new_id("note"), str(deal_id), before, after)
        return self.activities.import_step(step)

    def delete_step(self, call: Call) -> Any:
        """It leaves the feed; the opportunity stays as it is."""
        self.activities.remove_step(call.path["id"])
        return {}
