"""`crm.item.import` and `crm.item.batchImport`: new records without automation, with times of their own.

Sources: https://apidocs.bitrix24.com/api-reference/crm/universal/import/crm-item-batch-import.html,
https://dev.1c-bitrix.ru/rest_help/crm/import/index.php (creation times may not go back behind any record's)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crmkit.sandbox.bitrix24.channels import KEPT
from crmkit.sandbox.bitrix24.drafts import draft_of, named_fields
from crmkit.sandbox.bitrix24.php import as_list, as_map
from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal, need, whole
from crmkit.sandbox.bitrix24.records import expect_arrays, kind_of
from crmkit.sandbox.bitrix24.saving import create
from crmkit.sandbox.bitrix24.values import read_time, refused
from crmkit.sandbox.bitrix24.writes import given_fields, original_names
from crmkit.sandbox.rows import Kind, Visit

MAX_ROWS = 20
_TIMES = ("createdTime", "updatedTime", "movedTime")
_PEOPLE = ("createdBy", "updatedBy", "movedBy")


def item_import(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.item.import`: the new id alone."""
    kind = kind_of(params)
    _check_right(portal)
    return Answer({"item": {"id": _import_one(portal, kind, given_fields(params), params, caller)}})


def item_batch_import(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.item.batchImport`: row by row an id or an error, in the order of `data`."""
    kind = kind_of(params)
    _check_right(portal)
    need(params, "data")
    expect_arrays(params, ("data",))
    rows = as_list(params["data"])
    if len(rows) > MAX_ROWS:
        raise Failure("MAX_IMPORT_BATCH_SIZE_EXCEEDED", f"You cannot import more than {MAX_ROWS} items")
    told: list[dict[str, Any]] = []
    for row in rows:
        try:
            told.append({"item": {"id": _import_one(portal, kind, as_map(row), params, caller)}})
        except Failure as failure:
            told.append(failure.body)
    return Answer({"items": told}, units=max(len(rows), 1))


def _check_right(portal: Portal) -> None:
    if not portal.setting("may_import", True):
        raise Failure("ACCESS_DENIED", "Access denied.")


def _import_one(
    portal: Portal, kind: Kind, said: Mapping[str, Any], params: Mapping[str, Any], caller: Caller
) -> int:
    fields = named_fields(portal, kind, said, original=original_names(params))
    draft = draft_of(portal, kind, None, fields, strict=True)
    asked = [name for name in (*_TIMES, *_PEOPLE) if said.get(name) not in (None, "")]
    if asked and not portal.setting("admin", True):
        raise refused(asked[0])
    for name in _PEOPLE:
        user = whole(said.get(name))
        if name in asked:
            if str(user) not in portal.world.users:
                raise refused(name)
            draft.custom[KEPT + name] = user
    row = create(
        portal,
        kind,
        draft,
        caller,
        strict=True,
        quiet=True,
        stamps=_stamps(portal, kind, said, draft, caller),
    )
    if kind == "deal":
        _set_history(portal, row, caller)
    return int(row.id)


def _stamps(
    portal: Portal, kind: Kind, said: Mapping[str, Any], draft: Any, caller: Caller
) -> dict[str, datetime]:
    """The times of an import.

    Raises:
        Failure: One lies in the future, before its predecessor, or before the newest record's creation.
    """
    now = portal.world.now()
    times = {name: _time(said, name) for name in _TIMES}
    created = times["createdTime"] or now
    updated = times["updatedTime"] or now
    moved = times["movedTime"] or created
    newest = portal.world.live.ordered(kind, "created").rows[-1:]
    if created > now or (times["createdTime"] and newest and created < newest[0].created):
        raise refused("createdTime")
    if not created <= updated <= now:
        raise refused("updatedTime")
    if not created <= moved <= updated:
        raise refused("movedTime")
    stamps = {"created": created, "modified": updated}
    return stamps | ({"stage_entered": moved} if kind == "deal" else {})


def _time(said: Mapping[str, Any], name: str) -> datetime | None:
    if said.get(name) in (None, ""):
        return None
    moment = read_time(said[name])
    if moment is None:
        raise refused(name)
    return moment.replace(microsecond=0)


def _set_history(portal: Portal, deal: Any, caller: Caller) -> None:
    """The stage history cannot be imported: it begins now (inferred); closing took place when it moved."""
    history = (Visit(deal.stage_id, portal.world.now(), caller.user_id),)
    closed = deal.stage_entered if deal.status != "open" else None
    if (deal.history, deal.closed_at) != (history, closed):
        portal.world.edit("deal", deal.id, touch=False, by=caller.user_id, history=history, closed_at=closed)
