"""Writes comments: the author is the caller and the time is now, whatever the call says.

Source: https://apidocs.bitrix24.com/api-reference/crm/timeline/comments/crm-timeline-comment-add.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal, whole
from crmkit.sandbox.bitrix24.writes import old_fields_of
from crmkit.sandbox.rows import Kind

_OWNERS: Mapping[str, Kind] = {"deal": "deal", "contact": "contact", "company": "company"}


def comment_add(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.timeline.comment.add`: the id."""
    said = old_fields_of(params)
    kind = _OWNERS.get(str(said.get("ENTITY_TYPE") or "").lower())
    owner = str(whole(said.get("ENTITY_ID")))
    if kind is None or owner not in portal.world.live.tables[kind]:
        raise _not_found()
    note = portal.world.create(
        "note",
        by=caller.user_id,
        author_id=caller.user_id,
        text=_text(said),
        **{f"{kind}_id": owner},
    )
    return Answer(int(note.id))


def comment_update(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.timeline.comment.update`: the id again."""
    note_id = _known(portal, params)
    portal.world.edit("note", note_id, by=caller.user_id, text=_text(old_fields_of(params)))
    return Answer(int(note_id))


def comment_delete(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.timeline.comment.delete`: null."""
    portal.world.delete("note", _known(portal, params), by=caller.user_id)
    return Answer(None)


def _known(portal: Portal, params: Mapping[str, Any]) -> str:
    note_id = str(whole(params.get("id")))
    if note_id not in portal.world.notes:
        raise _not_found()
    return note_id


def _text(said: Mapping[str, Any]) -> str:
    text = str(said.get("COMMENT") or "")
    if not text:
        raise Failure("", "Empty comment message")
    return text


def _not_found() -> Failure:
    return Failure("NOT_FOUND", "Not found.")
