"""Writes to-dos: those of the seed turn into ones of their own when they are first changed.

Source: https://apidocs.bitrix24.com/api-reference/crm/timeline/activities/todo/crm-activity-todo-add.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.bitrix24.activities import activity_row, own_activities
from crmkit.sandbox.bitrix24.portal import ENTITY_KINDS, Answer, Caller, Failure, Portal, stamp, whole
from crmkit.sandbox.bitrix24.values import read_time
from crmkit.sandbox.clock import counting_ids

_FIRST_NEW = 900_001
_DEFAULT_TITLE = "To-do"


def todo_add(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.activity.todo.add`: `{"id": n}`."""
    type_id, owner = _owner(portal, params)
    deadline = _deadline(params, "deadline")
    numbers = portal.once("to-do ids", lambda: counting_ids(_FIRST_NEW, step=2))
    number, now = numbers(), stamp(portal.world.clock())
    responsible = whole(params.get("responsibleid"))
    own_activities(portal)[number] = activity_row(
        ID=number,
        OWNER_ID=owner,
        OWNER_TYPE_ID=str(type_id),
        SUBJECT=str(params.get("title") or _DEFAULT_TITLE),
        DESCRIPTION=str(params.get("description") or ""),
        CREATED=now,
        LAST_UPDATED=now,
        START_TIME=deadline,
        END_TIME=deadline,
        DEADLINE=deadline,
        RESPONSIBLE_ID=str(responsible or caller.user_id),
        AUTHOR_ID=caller.user_id,
        EDITOR_ID=caller.user_id,
    )
    return Answer({"id": int(number)})


def todo_update(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.activity.todo.update`: everything at once; `deadline` is required."""
    row = _open_todo(portal, params)
    deadline = _deadline(params, "deadline")
    changes = {"DEADLINE": deadline, "START_TIME": deadline, "END_TIME": deadline}
    for name, key in (
        ("title", "SUBJECT"),
        ("description", "DESCRIPTION"),
        ("responsibleid", "RESPONSIBLE_ID"),
    ):
        if params.get(name) not in (None, ""):
            changes[key] = str(params[name])
    return _changed(portal, row, changes, caller)


def todo_deadline(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.activity.todo.updateDeadline`."""
    row = _open_todo(portal, params)
    deadline = _deadline(params, "value")
    return _changed(portal, row, {"DEADLINE": deadline, "START_TIME": deadline, "END_TIME": deadline}, caller)


def todo_description(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.activity.todo.updateDescription`."""
    row = _open_todo(portal, params)
    return _changed(portal, row, {"DESCRIPTION": str(_need(params, "value"))}, caller)


def todo_responsible(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.activity.todo.updateResponsibleUser`."""
    row = _open_todo(portal, params)
    return _changed(portal, row, {"RESPONSIBLE_ID": str(_need(params, "responsibleId"))}, caller)


def todo_colour(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.activity.todo.updateColor`: nothing that a list would show."""
    row = _open_todo(portal, params)
    _need(params, "colorId")
    return _changed(portal, row, {}, caller)


def activity_delete(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.activity.delete`."""
    number = str(whole(params.get("id")))
    if own_activities(portal).get(number) is None:
        raise Failure("", "Access denied.")
    own_activities(portal)[number] = None
    return Answer(True)


def _owner(portal: Portal, params: Mapping[str, Any]) -> tuple[int, str]:
    type_id = whole(_need(params, "ownerTypeId")) or 0
    owner = str(whole(_need(params, "ownerId")))
    kind = ENTITY_KINDS.get(type_id)
    if kind is None or owner not in portal.world.live.tables[kind]:  # type: ignore[index]
        raise Failure("OWNER_NOT_FOUND", "Owner was not found")
    return type_id, owner


def _open_todo(portal: Portal, params: Mapping[str, Any]) -> dict[str, Any]:
    type_id, owner = _owner(portal, params)
    row = own_activities(portal).get(str(whole(_need(params, "id"))))
    if row is None or (row["OWNER_TYPE_ID"], row["OWNER_ID"]) != (str(type_id), owner):
        raise Failure("NOT_FOUND", "Not found.")
    if row["COMPLETED"] == "Y":
        raise Failure("CAN_NOT_UPDATE_COMPLETED_TODO", "Can not update completed to-do")
    return row


def _changed(portal: Portal, row: dict[str, Any], changes: Mapping[str, Any], caller: Caller) -> Answer:
    now = stamp(portal.world.clock())
    own_activities(portal)[row["ID"]] = {**row, **changes, "LAST_UPDATED": now, "EDITOR_ID": caller.user_id}
    return Answer({"id": int(row["ID"])})


def _deadline(params: Mapping[str, Any], name: str) -> str:
    moment = read_time(_need(params, name))
    if moment is None:
        raise Failure("WRONG_DATETIME_FORMAT", "Wrong datetime format")
    return stamp(moment)


def _need(params: Mapping[str, Any], name: str) -> Any:
    """A required parameter; the calls of this family take the names in any capitals."""
    value = params.get(name.lower())
    if value is None or value == "":
        raise Failure("100", f"Could not find value for parameter {{{name}}}")
    return value
