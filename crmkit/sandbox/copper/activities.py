"""Notes and stage changes: `POST /activities/search`, newest first.

Source: https://developer.copper.com/activities/list-activities-search.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from crmkit.sandbox.copper.answers import Body, invalid, moment_of, seconds
from crmkit.sandbox.copper.records import ENTITY_TYPES, Records
from crmkit.sandbox.rows import Deal, Kind, Note, Visit

# Ids repeat across the two categories: the key is the pair.
NOTE, STAGE_CHANGED = ("user", 0), ("system", 3)
TYPES: dict[str, list[dict[str, Any]]] = {
    "user": [
        {"id": number, "category": "user", "name": name, "is_disabled": False, "count_as_interaction": counts}
        for number, name, counts in (
            (0, "Note", False),
            (190711, "Phone Call", True),
            (190712, "Meeting", True),
        )
    ],
    "system": [
        {
            "id": number,
            "category": "system",
            "name": name,
            "is_disabled": False,
            "count_as_interaction": False,
        }
        for number, name in ((1, "Property Changed"), (3, "Pipeline Stage Changed"))
    ],
}
_KNOWN = {
    "parent",
    "activity_types",
    "user_ids",
    "minimum_activity_date",
    "maximum_activity_date",
    "full_result",
    "page_number",
    "page_size",
}
_FIRST_CHANGE_ID = 5_000_000_000  # beyond every note's id
_KIND_OF = {entity: kind for kind, entity in ENTITY_TYPES.items()}


@dataclass(slots=True)
class Activity:
    """A note, or one step of a deal's history."""

    at: datetime
    id: int
    type: tuple[str, int]
    parent: tuple[Kind, str]
    user_id: str | None
    source: Note | tuple[Visit, Visit]


class Activities:
    """The activities of one account."""

    def __init__(self, records: Records) -> None:
        self.records, self.world = records, records.world

    def page(self, body: Body, parent: tuple[Kind, str] | None = None) -> list[dict[str, Any]]:
        """One page, newest first."""
        unknown = body.keys() - _KNOWN
        if unknown:
            raise invalid("Base", f"Unknown parameter {min(unknown)}")
        size, number = int(body.get("page_size") or 20), int(body.get("page_number") or 1)
        if not 1 <= size <= 200 or number < 1:
            raise invalid("Page size", "must be between 1 and 200")
        found = self._of(parent or _parent(body.get("parent")))
        types = {(part.get("category"), part.get("id")) for part in body.get("activity_types") or ()}
        users = {str(user_id) for user_id in body.get("user_ids") or ()}
        low, high = (body.get(f"{side}_activity_date") for side in ("minimum", "maximum"))
        if types or users or low is not None or high is not None:
            least = moment_of(low, "minimum_activity_date") if low is not None else None
            most = moment_of(high, "maximum_activity_date") if high is not None else None
            found = [
                activity
                for activity in found
                if (not types or activity.type in types)
                and (not users or activity.user_id in users)
                and (least is None or activity.at >= least)
                and (most is None or activity.at <= most)
            ]
        return [self.show(activity) for activity in found[(number - 1) * size : number * size]]

    def activity(self, activity_id: str) -> dict[str, Any] | None:
        """One activity, or the stub of a deleted one; read past the index, as single records are."""
        note = self.world.notes.get(activity_id)
        if note is not None:
            return self.show(_activity(note))
        if any(gone.kind == "note" and gone.id == activity_id for gone in self.world.deleted):
            return {"id": int(activity_id), "is_deleted": True}
        found = (activity for activity in self._of(None) if str(activity.id) == activity_id)
        return next((self.show(activity) for activity in found), None)

    def show(self, activity: Activity) -> dict[str, Any]:
        """An activity; stage changes hold the stages as id and name (inferred)."""
        kind, parent_id = activity.parent
        note = activity.source if isinstance(activity.source, Note) else None
        before, after = activity.source if not isinstance(activity.source, Note) else (None, None)
        return {
            "id": activity.id,
            "parent": {"id": int(parent_id), "type": ENTITY_TYPES[kind]},
            "type": {"id": activity.type[1], "category": activity.type[0]},
            "user_id": int(activity.user_id) if activity.user_id else None,
            "details": note.text if note else None,
            "activity_date": seconds(activity.at),
            "old_value": self._stage(before),
            "new_value": self._stage(after),
            "date_created": seconds(note.created if note else activity.at),
            "date_modified": seconds(note.modified if note else activity.at),
        }

    def _stage(self, visit: Visit | None) -> dict[str, Any] | None:
        if visit is None:
            return None
        place = self.records.places.get(visit.stage_id)  # a stage may have been deleted since
        return {"id": int(visit.stage_id), "name": place[1].name if place else None}

    def _of(self, parent: tuple[Kind, str] | None) -> Sequence[Activity]:
        """The activities of one record or of all, from the index; a company has those of its people too."""
        live = self.world.search
        if parent is None:
            deals, notes = list(live.tables["deal"].values()), list(live.tables["note"].values())
            return live.memo(("activities",), lambda: _newest_first(deals, notes))
        kind, row_id = parent
        if kind == "deal":
            row = live.tables["deal"].get(row_id)
            return _newest_first([row] if row else [], live.group("note", "deal_id", row_id))
        notes = [note for note in live.group("note", f"{kind}_id", row_id) if not note.deal_id]
        if kind == "company":
            for person in live.group("contact", "company_id", row_id):
                notes += [note for note in live.group("note", "contact_id", person.id) if not note.company_id]
        return _newest_first([], notes)


def _parent(said: Any) -> tuple[Kind, str] | None:
    if not said:
        return None
    if not isinstance(said, dict) or said.get("type") not in _KIND_OF:
        raise invalid("Parent", "is invalid")
    return _KIND_OF[said["type"]], str(said.get("id"))


def _newest_first(deals: Sequence[Deal], notes: Sequence[Note]) -> list[Activity]:
    found = [_activity(note) for note in notes]
    for deal in deals:
        for place in range(1, len(deal.history)):
            visit = deal.history[place]
            activity_id = _FIRST_CHANGE_ID + int(deal.id) * 100 + place
            steps = (deal.history[place - 1], visit)
            found.append(
                Activity(visit.at, activity_id, STAGE_CHANGED, ("deal", deal.id), visit.by_user_id, steps)
            )
    found.sort(key=lambda activity: (activity.at, activity.id), reverse=True)
    return found


def type_of(note: Note) -> tuple[str, int]:
    """Category and id of a note's type: calls and meetings are notes of another type."""
    return NOTE if "type_id" not in note.custom else ("user", note.custom["type_id"])


def _activity(note: Note) -> Activity:
    told = note.custom.get("activity_date")
    at = note.created if told is None else datetime.fromtimestamp(told, UTC)
    return Activity(at, int(note.id), type_of(note), _parent_of(note), note.author_id, note)


def _parent_of(note: Note) -> tuple[Kind, str]:
    if note.deal_id:
        return "deal", note.deal_id
    return ("contact", note.contact_id) if note.contact_id else ("company", note.company_id or "0")
