"""Notes and calls as writes bring them.

Sources: https://developer.copper.com/activities/create-a-new-activity.html ,
https://developer.copper.com/activities/bulk-create-activities.html
"""

from __future__ import annotations

from typing import Any

from crmkit.sandbox.copper.account import Account
from crmkit.sandbox.copper.activities import TYPES, Activities, type_of
from crmkit.sandbox.copper.answers import Body, not_found
from crmkit.sandbox.copper.records import ENTITY_TYPES
from crmkit.sandbox.copper.validation import Form, decimal_of, id_of, invalid
from crmkit.sandbox.rows import Kind, Note
from crmkit.sandbox.wire import Refusal

# Somebody else cannot be made the author: `user_id` is passed over (inferred).
_READ_ONLY = frozenset("id user_id old_value new_value date_created date_modified".split())
_WRITABLE = frozenset("parent type details activity_date".split())
_KIND_OF = {entity: kind for kind, entity in ENTITY_TYPES.items()}
_FIELD: dict[Kind, str] = {"deal": "deal_id", "company": "company_id", "contact": "contact_id"}
_USER_TYPES = {kind["id"]: kind for kind in TYPES["user"]}
_LAST_SECOND = 253_402_300_799  # of the year 9999


class NoteWrites:
    """Creates, changes and deletes activities of the category `user`; the others are history."""

    def __init__(self, account: Account, activities: Activities) -> None:
        self.account, self.world, self.activities = account, account.world, activities

    def create(self, body: Body) -> dict[str, Any]:
        """A new activity, its author the owner of the key."""
        form = Form(body, _WRITABLE, _READ_ONLY)
        parent = self._parent(form)
        custom = self._custom(form, None)
        details = form.text("details", required=True)
        form.check()
        assert parent is not None  # or else there was a problem
        kind, row_id = parent
        note = self.world.add_note(
            text=details,
            author_id=self.account.user.id,
            custom={name: value for name, value in custom.items() if value is not None},
            **{_FIELD[kind]: row_id},
        )
        self._contacted(kind, row_id, note)
        self.account.set_off("note", note.id, "new")
        return self._shown(note.id)

    def update(self, activity_id: str, body: Body) -> dict[str, Any]:
        """Other details, time or type; the parent stays (inferred)."""
        note = self._note(activity_id)
        form = Form(body, _WRITABLE, _READ_ONLY)
        fields: dict[str, Any] = {"custom": self._custom(form, note)}
        if "details" in form:
            fields["text"] = form.text("details", required=True)
        form.check()
        self.world.edit("note", note.id, by=self.account.user.id, **fields)
        self.account.set_off("note", note.id, "update")
        return self._shown(note.id)

    def delete(self, activity_id: str) -> dict[str, Any]:
        """Gone, but for a stub that can still be fetched."""
        note = self._note(activity_id)
        self.world.delete("note", note.id, by=self.account.user.id)
        self.account.set_off("note", note.id, "delete")
        return {"id": int(note.id), "is_deleted": True}

    def _note(self, activity_id: str) -> Note:
        note = self.world.notes.get(activity_id)
        if note is not None:
            return note
        if (self.activities.activity(activity_id) or {}).get("type", {}).get("category") == "system":
            raise invalid("type", "must be of category user")
        raise Refusal(not_found())

    def _parent(self, form: Form) -> tuple[Kind, str] | None:
        said = form.body.get("parent")
        kind = _KIND_OF.get(str(said.get("type"))) if isinstance(said, dict) else None
        row_id = id_of(said.get("id")) if isinstance(said, dict) else None
        if said is None:
            form.wrong("parent", "can't be blank", "blank")
        elif kind is None or row_id is None or row_id not in self.world.live.tables[kind]:
            form.wrong("parent")
        else:
            return kind, row_id
        return None

    def _custom(self, form: Form, before: Note | None) -> dict[str, Any]:
        custom: dict[str, Any] = {}
        if before is None or "type" in form:
            said = form.body.get("type")
            type_id = said.get("id") if isinstance(said, dict) else None
            if said is None:
                form.wrong("type", "can't be blank", "blank")
            elif not isinstance(said, dict) or said.get("category") != "user" or type_id not in _USER_TYPES:
                form.wrong("type")
            custom["type_id"] = type_id or None
        if form.body.get("activity_date") is not None:
            moment = decimal_of(form.body["activity_date"])
            if moment is None or not 0 <= moment <= _LAST_SECOND:
                form.wrong("activity_date", "is not a valid timestamp")
            else:
                custom["activity_date"] = int(moment)
        return custom

    def _contacted(self, kind: Kind, row_id: str, note: Note) -> None:
        _, type_id = type_of(note)
        if kind == "deal" and _USER_TYPES[type_id]["count_as_interaction"]:
            self.world.edit("deal", row_id, touch=False, last_activity=note.created)

    def _shown(self, note_id: str) -> dict[str, Any]:
        shown = self.activities.activity(note_id)
        assert shown is not None  # it was written just now
        return shown
