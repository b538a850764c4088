"""Stage history and comments of deals, and who is linked to what.

Sources: https://apidocs.bitrix24.com/api-reference/crm/crm-stage-history-list.html,
https://apidocs.bitrix24.com/api-reference/crm/timeline/comments/index.html
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from crmkit.sandbox.bitrix24.fields import CONTACT_SORTS, Field, companies_of, contacts_of
from crmkit.sandbox.bitrix24.filters import Condition, Group, read_filter, read_order, sort_value, test_of
from crmkit.sandbox.bitrix24.lists import Found, count_fields
from crmkit.sandbox.bitrix24.php import as_list, as_map
from crmkit.sandbox.bitrix24.portal import Answer, Failure, Portal, stamp, whole
from crmkit.sandbox.rows import Change, Deal, Kind, Note


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the stage history."""

    id: int
    type: int
    deal_id: int
    at: datetime
    category_id: int
    stage_id: str
    semantics: str


class History:
    """The stage history, numbered when it is first asked for and then kept up with the world."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._steps: list[Step] = []
        self._by_deal: dict[int, list[Step]] = {}
        self._following = 35  # numbers are never given twice, not even after a deletion
        deals = portal.world.live.deals().rows
        visits = [
            (visit.at, int(deal.id), place) for deal in deals for place, visit in enumerate(deal.history)
        ]
        visits.sort()
        table = portal.world.deals
        for _, deal_id, place in visits:
            self._add(table[str(deal_id)], place)
        portal.world.listeners.append(self._follow)

    def steps(self, deal_ids: Iterable[int] | None) -> Sequence[Step]:
        """The rows of these deals, or all, in order of id."""
        if deal_ids is None:
            return self._steps
        rows = [step for deal_id in set(deal_ids) for step in self._by_deal.get(deal_id, ())]
        return sorted(rows, key=lambda step: step.id)

    def _add(self, deal: Deal, place: int) -> None:
        visit = deal.history[place]
        category = _category_of(visit.stage_id)
        before = deal.history[place - 1] if place else None
        stage = self._portal.world.stage(str(category), visit.stage_id)
        outcome = stage.outcome if stage else "open"
        if before is None:
            type_ = 1
        elif _category_of(before.stage_id) != category:
            type_ = 5
        else:
            type_ = 2 if outcome == "open" else 3
        number = self._following
        self._following += 1
        semantics = {"open": "P", "won": "S"}.get(outcome, "F")
        step = Step(number, type_, int(deal.id), visit.at, category, visit.stage_id, semantics)
        self._steps.append(step)
        self._by_deal.setdefault(step.deal_id, []).append(step)

    def _follow(self, change: Change) -> None:
        if change.kind != "deal":
            return
        known = len(self._by_deal.get(int(change.id), ()))
        if change.after is None:
            self._by_deal.pop(int(change.id), None)
            self._steps = [step for step in self._steps if step.deal_id != int(change.id)]
        else:
            for place in range(known, len(change.after.history)):
                self._add(change.after, place)


def _category_of(stage_id: str) -> int:
    prefix, colon, _ = stage_id.partition(":")
    return int(prefix[1:]) if colon and prefix[1:].isdigit() else 0


_STEP_FIELDS: Mapping[str, Field] = {
    name: Field(name, name, type_, attrgetter(attribute))
    for name, type_, attribute in (
        ("ID", "integer", "id"),
        ("TYPE_ID", "integer", "type"),
        ("OWNER_ID", "integer", "deal_id"),
        ("CREATED_TIME", "datetime", "at"),
        ("CATEGORY_ID", "integer", "category_id"),
        ("STAGE_SEMANTIC_ID", "string", "semantics"),
        ("STAGE_ID", "string", "stage_id"),
    )
}


def stage_history(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.stagehistory.list`: in capitals like the old lists, but with numbers and under `items`."""
    if whole(params.get("entitytypeid")) != 2:
        raise Failure("ENTITY_TYPE_NOT_SUPPORTED", "Entity type is not supported")
    wanted = read_filter(params.get("filter"), _STEP_FIELDS, portal.filter_shift)
    order = read_order(params.get("order"), _STEP_FIELDS)
    history: History = portal.once("history", lambda: History(portal))
    rows = history.steps(_owners(wanted))
    found = _slice(rows, wanted, order)
    offset, total, following = count_fields(found, params.get("start"), no_count=None)
    names = [name for name in as_list(params.get("select") or None) if name in _STEP_FIELDS] or list(
        _STEP_FIELDS
    )
    writers = [(name, _STEP_FIELDS[name].universal()) for name in names]
    items = [{name: write(step) for name, write in writers} for step in found.page(offset)]
    return Answer({"items": items}, total, following)


def _owners(wanted: Group) -> list[int] | None:
    for part in wanted.parts:
        named = isinstance(part, Condition) and part.field.name == "OWNER_ID" and part.op in {"=", "@"}
        if named and isinstance(part, Condition) and not wanted.either:
            return [value for value in part.values if value is not None]
    return None


def _slice(rows: Sequence[Any], wanted: Group, order: Sequence[tuple[Field, bool]]) -> Found:
    """Rows that come in order of id, filtered and sorted; the walk `>ID` in order of id costs no scan."""
    parts = list(wanted.parts)
    by_id = not order or order[0][0].name == "ID"
    low = 0
    for part in list(parts):
        after = isinstance(part, Condition) and part.field.name == "ID" and part.op == ">"
        if after and isinstance(part, Condition) and not wanted.either:
            low = max(low, bisect_right(rows, part.values[0], key=lambda row: row.id))
            parts.remove(part)
    if parts or not by_id:
        test = test_of(Group(tuple(parts), wanted.either))
        rows = [row for row in rows[low:] if test(row)]
        low = 0
    if not by_id:
        rows = list(rows)
        for field, descending in reversed(order):
            rows.sort(key=sort_value(field), reverse=descending)
        return Found(rows, 0, len(rows))
    return Found(rows, low, len(rows), bool(order) and order[0][1])


def comment_list(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.timeline.comment.list`: the comments of one record."""
    said = as_map(params.get("filter"))
    owner, type_ = whole(said.get("ENTITY_ID")), str(said.get("ENTITY_TYPE") or "").lower()
    if owner is None or type_ not in {"deal", "company", "contact"}:
        raise Failure("", "Access denied.")
    kind: Kind = type_  # type: ignore[assignment]
    notes = portal.world.live.group("note", f"{kind}_id", str(owner))
    rows = [_comment(note) for note in notes if _note_owner(note)[0] == kind]
    direction = str(as_map(params.get("order")).get("ID", "ASC")).upper()
    ids = [row for row in rows if passes_id(row, said)]
    return page_of(ids[::-1] if direction == "DESC" else ids, params)


def comment_get(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.timeline.comment.get`."""
    note = portal.world.notes.get(str(whole(params.get("id"))))
    if note is None:
        raise Failure("", "Not found.")
    return Answer(_comment(note))


def _note_owner(note: Note) -> tuple[Kind, str | None]:
    """A comment belongs to one record: the deal if there is one."""
    if note.deal_id:
        return "deal", note.deal_id
    return ("company", note.company_id) if note.company_id else ("contact", note.contact_id)


def _comment(note: Note) -> dict[str, Any]:
    kind, owner = _note_owner(note)
    return {
        "ID": note.id,
        "ENTITY_ID": owner,
        "ENTITY_TYPE": kind,
        "CREATED": stamp(note.created),
        "COMMENT": note.text,
        "AUTHOR_ID": note.author_id or "1",
    }


def passes_id(row: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether a row has the id that a filter names, or one after its bound."""
    number = int(row["ID"])
    exact = said.get("@ID", said.get("ID"))
    if exact is not None and str(number) not in {str(one) for one in as_list(exact)}:
        return False
    return number > (whole(said.get(">ID")) or 0)


def page_of(rows: Sequence[Any], params: Mapping[str, Any]) -> Answer:
    """The page of rows that an old list asks for."""
    found = Found(rows, 0, len(rows))
    offset, total, following = count_fields(found, params.get("start"), no_count=0)
    return Answer(list(found.page(offset)), total, following)


def deal_contacts(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.deal.contact.items.get`: numbers, the primary contact first."""
    deal = portal.world.deals.get(str(whole(params.get("id"))))
    if deal is None:
        raise Failure("", "Not found.")
    rows = _links("CONTACT_ID", deal.contact_ids)
    sorts: Mapping[str, int] = deal.custom.get(CONTACT_SORTS, {})
    for row in rows:
        row["SORT"] = sorts.get(str(row["CONTACT_ID"]), row["SORT"])
    return Answer(rows)


def contact_companies(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.contact.company.items.get`."""
    contact = portal.world.contacts.get(str(whole(params.get("id"))))
    if contact is None:
        raise Failure("", "The parameter ownerEntityID is invalid or not defined.")
    return Answer(
        _links("COMPANY_ID", [one for one in companies_of(contact) if one in portal.world.companies])
    )


def company_contacts(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.company.contact.items.get`."""
    company = portal.world.companies.get(str(whole(params.get("id"))))
    if company is None:
        raise Failure("", "The parameter ownerEntityID is invalid or not defined.")
    return Answer(_links("CONTACT_ID", contacts_of(portal, company.id)))


def _links(name: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {name: int(one), "SORT": (place + 1) * 10, "ROLE_ID": 0, "IS_PRIMARY": "N" if place else "Y"}
        for place, one in enumerate(ids)
    ]
