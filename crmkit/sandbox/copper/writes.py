"""Creates, changes and deletes opportunities, companies and people, alone and up to ten at a time.

Sources: https://developer.copper.com/opportunities/create-a-new-opportunity.html ,
https://developer.copper.com/people/bulk-update-people.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from crmkit.sandbox.copper.account import Account
from crmkit.sandbox.copper.answers import Body, not_found
from crmkit.sandbox.copper.opportunity_writes import opportunity_fields
from crmkit.sandbox.copper.people_writes import company_fields, person_fields
from crmkit.sandbox.copper.records import primary_of
from crmkit.sandbox.copper.validation import Invalid, id_of, invalid
from crmkit.sandbox.rows import Kind
from crmkit.sandbox.wire import Refusal, json_reply

MOST_PER_BULK = 10
_FIELDS: dict[Kind, Callable[[Account, Any, Body], dict[str, Any]]] = {
    "deal": opportunity_fields,
    "company": company_fields,
    "contact": person_fields,
}


def create(account: Account, kind: Kind, body: Body) -> Any:
    """The new row.

    Raises:
        Invalid: Something is wrong with the body.
    """
    fields = _FIELDS[kind](account, None, body)
    fields["custom"] = {key: value for key, value in fields["custom"].items() if value is not None}
    row = account.world.create(kind, by=account.user.id, **fields)
    account.set_off(kind, row.id, "new", assigned=row.owner_id)
    return row


def update(account: Account, kind: Kind, row_id: str, body: Body) -> Any:
    """The row with what was sent; nothing happens if it was all so before (inferred).

    Raises:
        Invalid: Something is wrong with the body.
    """
    before = account.world.live.tables[kind][row_id]
    fields = _FIELDS[kind](account, before, body)
    custom = {
        key: value for key, value in fields.pop("custom").items() if not _same(before.custom.get(key), value)
    }
    changes = {key: value for key, value in fields.items() if getattr(before, key) != value}
    if custom:
        changes["custom"] = custom
    if not changes:
        return before
    row = account.world.edit(kind, row_id, by=account.user.id, **changes)
    account.set_off(kind, row_id, "update", assigned=changes.get("owner_id"))
    return row


def delete(account: Account, kind: Kind, row_id: str) -> dict[str, Any]:
    """For good; deals that had the person as primary contact have none then (inferred)."""
    world = account.world
    for note in world.live.group("note", f"{kind}_id", row_id) if kind != "deal" else ():
        if note.deal_id:  # its parent is the deal, and stays
            world.edit("note", note.id, touch=False, **{f"{kind}_id": None})
    for deal in world.live.group("deal", "contact_ids", row_id) if kind == "contact" else ():
        if primary_of(deal) == row_id and len(deal.contact_ids) > 1:
            world.edit("deal", deal.id, touch=False, custom={"no_primary": True})
    world.delete(kind, row_id, by=account.user.id)
    account.set_off(kind, row_id, "delete")
    return {"id": int(row_id), "is_deleted": True}


def bulk(body: Body, key: str, write: Callable[[Body], Any]) -> Response:
    """Each part written on its own, in order; those that fail say so in their place."""
    parts = body.get(key)
    if not isinstance(parts, list):
        raise invalid("base", f"{key} must be an array")
    if len(parts) > MOST_PER_BULK:
        text = f"Too many {key}: at most {MOST_PER_BULK} can be sent in one request"
        raise Refusal(json_reply({"error": text}, 422))
    return json_reply([_answer(part, write) for part in parts])


def bulk_update_of(account: Account, kind: Kind, show: Callable[[Any], Any]) -> Callable[[Body], Any]:
    """What updates one part of a bulk: an id, and the fields to change."""

    def write(part: Body) -> Any:
        row_id = id_of(part.get("id"))
        if row_id is None or row_id not in account.world.live.tables[kind]:
            raise invalid("base", "not found", "not_found")
        return show(update(account, kind, row_id, part))

    return write


def known_row(account: Account, kind: Kind | None, row_id: str) -> Kind:
    """The kind, if it has such a row.

    Raises:
        Refusal: 404; it has not.
    """
    if kind is None or row_id not in account.world.live.tables[kind]:
        raise Refusal(not_found())
    return kind


def _same(before: Any, after: Any) -> bool:
    return before == after or (_blank(before) and _blank(after))


def _blank(value: Any) -> bool:
    """Whether a custom value reads as not set: zero does not."""
    return value is None or value is False or value == ()


def _answer(part: Any, write: Callable[[Body], Any]) -> Any:
    try:
        if not isinstance(part, dict):
            raise invalid("base")
        return write(part)
    except Invalid as problem:
        return problem.item(part.get("id") if isinstance(part, dict) else None)
