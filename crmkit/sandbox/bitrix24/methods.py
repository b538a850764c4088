"""The methods by name, the scope each needs, and the way of one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crmkit.sandbox.bitrix24 import (
    activities,
    currencies,
    directory,
    events,
    imports,
    links,
    merging,
    metadata,
    notes,
    people,
    records,
    structure,
    timeline,
    todos,
    userfields,
    writes,
)
from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal
from crmkit.sandbox.rows import Kind

Method = Callable[[Portal, Mapping[str, Any], Caller], Answer]

# These take their parameters under their exact names; all others under any mixture of capitals (inferred).
_EXACT = ("crm.item.", "crm.category.", "crm.timeline.comment.add")
_UNIVERSAL = ("crm.item.", "crm.category.")
_USER_SCOPES = ("user", "user_basic", "user_brief")


def run(portal: Portal, method: str, params: Mapping[str, Any], caller: Caller) -> Answer:
    """Carry out one call of a method by its small-letter name.

    Raises:
        Failure: The portal refuses.
    """
    if method.startswith("event.") and not caller.oauth:
        raise Failure("WRONG_AUTH_TYPE", "Current authorization type is denied for this method", 403)
    found = METHODS.get(method)
    if found is None:
        raise Failure("ERROR_METHOD_NOT_FOUND", "Method not found!", 404)
    _check_scope(portal, method)
    _check_writing(portal, method)
    if not method.startswith(_EXACT):
        params = {name.lower(): value for name, value in params.items()}
    return found(portal, params, caller)


def _check_scope(portal: Portal, method: str) -> None:
    family = method.partition(".")[0]
    needed = {"crm": ("crm",), "user": _USER_SCOPES}.get(family, ())
    if needed and not any(scope in portal.scopes for scope in needed):
        text = "The request requires higher privileges than provided by the access token"
        raise Failure("insufficient_scope", text, 403)
    if family == "crm" and not portal.setting("crm_access", True):
        raise _denied(method)


def _check_writing(portal: Portal, method: str) -> None:
    if method in WRITES and portal.setting("read_only", False):
        raise _denied(method)
    if method in _ADMINS and not portal.setting("admin", True):
        raise _denied(method)


def _denied(method: str) -> Failure:
    return Failure("ACCESS_DENIED" if method.startswith(_UNIVERSAL) else "", "Access denied.")


def _plain(method: Callable[[Portal, Mapping[str, Any]], Answer]) -> Method:
    return lambda portal, params, caller: method(portal, params)


def _of(kind: Kind, method: Callable[[Portal, Kind, Mapping[str, Any]], Answer]) -> Method:
    return lambda portal, params, caller: method(portal, kind, params)


def _fields(kind: Kind) -> Method:
    return lambda portal, params, caller: metadata.old_fields(portal, kind)


def _writes_of(kind: Kind, method: Callable[[Portal, Kind, Mapping[str, Any], Caller], Answer]) -> Method:
    return lambda portal, params, caller: method(portal, kind, params, caller)


def _links(
    side: links.Side, method: Callable[[Portal, links.Side, Mapping[str, Any], Caller], Answer]
) -> Method:
    return lambda portal, params, caller: method(portal, side, params, caller)


def _scope(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    return Answer(portal.scopes)


def _app_info(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    if not caller.oauth:
        raise Failure("WRONG_AUTH_TYPE", "Application context required", 403)
    return Answer(
        {
            "ID": 1,
            "CODE": "local.6a0b1c2d3e4f50.12345678",
            "VERSION": 1,
            "STATUS": "L",
            "INSTALLED": True,
            "PAYMENT_EXPIRED": "N",
            "DAYS": None,
            "LANGUAGE_ID": "en",
            "LICENSE": "en_pro100",
            "LICENSE_TYPE": "pro100",
            "LICENSE_FAMILY": "pro",
        }
    )


_KINDS: tuple[Kind, ...] = ("deal", "company", "contact")

_STRUCTURE: Mapping[str, Method] = {
    "crm.category.add": structure.category_add,
    "crm.category.update": structure.category_update,
    "crm.category.delete": structure.category_delete,
    "crm.status.add": structure.status_add,
    "crm.status.update": structure.status_update,
    "crm.status.delete": structure.status_delete,
    **{f"crm.{kind}.userfield.add": _writes_of(kind, userfields.field_add) for kind in _KINDS},
    **{f"crm.{kind}.userfield.update": _writes_of(kind, userfields.field_update) for kind in _KINDS},
    **{f"crm.{kind}.userfield.delete": _writes_of(kind, userfields.field_delete) for kind in _KINDS},
    "crm.currency.add": currencies.currency_add,
    "crm.currency.update": currencies.currency_update,
    "crm.currency.delete": currencies.currency_delete,
}
_LINKS: Mapping[str, Method] = {
    f"crm.{side.owner}.{side.other}.{name}": _links(side, method)
    for side in links.SIDES
    for name, method in (
        ("add", links.link_add),
        ("delete", links.link_delete),
        ("items.set", links.links_set),
        ("items.delete", links.links_delete),
    )
}
WRITES: Mapping[str, Method] = {
    "crm.item.add": writes.item_add,
    "crm.item.update": writes.item_update,
    "crm.item.delete": writes.item_delete,
    "crm.item.import": imports.item_import,
    "crm.item.batchimport": imports.item_batch_import,
    **{f"crm.{kind}.add": _writes_of(kind, writes.old_add) for kind in _KINDS},
    **{f"crm.{kind}.update": _writes_of(kind, writes.old_update) for kind in _KINDS},
    **{f"crm.{kind}.delete": _writes_of(kind, writes.old_delete) for kind in _KINDS},
    **_LINKS,
    **_STRUCTURE,
    "crm.timeline.comment.add": notes.comment_add,
    "crm.timeline.comment.update": notes.comment_update,
    "crm.timeline.comment.delete": notes.comment_delete,
    "crm.activity.todo.add": todos.todo_add,
    "crm.activity.todo.update": todos.todo_update,
    "crm.activity.todo.updatedeadline": todos.todo_deadline,
    "crm.activity.todo.updatedescription": todos.todo_description,
    "crm.activity.todo.updateresponsibleuser": todos.todo_responsible,
    "crm.activity.todo.updatecolor": todos.todo_colour,
    "crm.activity.delete": todos.activity_delete,
    "crm.entity.mergebatch": merging.merge_batch,
}
# Stages, pipelines, custom fields and currencies are the administrator's.
_ADMINS = frozenset(_STRUCTURE)

METHODS: Mapping[str, Method] = {
    **WRITES,
    "crm.item.list": _plain(records.item_list),
    "crm.item.get": _plain(records.item_get),
    "crm.item.fields": _plain(metadata.item_fields),
    **{f"crm.{kind}.list": _of(kind, records.old_list) for kind in _KINDS},
    **{f"crm.{kind}.get": _of(kind, records.old_get) for kind in _KINDS},
    **{f"crm.{kind}.fields": _fields(kind) for kind in _KINDS},
    **{f"crm.{kind}.userfield.list": _of(kind, metadata.user_fields) for kind in _KINDS},
    **{f"crm.{kind}.userfield.get": _of(kind, metadata.user_field) for kind in _KINDS},
    "crm.category.list": _plain(directory.category_list),
    "crm.category.get": _plain(directory.category_get),
    "crm.status.list": _plain(directory.status_list),
    "crm.status.get": _plain(directory.status_get),
    "crm.status.entity.types": _plain(directory.status_entity_types),
    "crm.status.entity.items": _plain(directory.status_entity_items),
    "crm.stagehistory.list": _plain(timeline.stage_history),
    "crm.timeline.comment.list": _plain(timeline.comment_list),
    "crm.timeline.comment.get": _plain(timeline.comment_get),
    "crm.activity.list": _plain(activities.activity_list),
    "crm.activity.get": _plain(activities.activity_get),
    "crm.deal.contact.items.get": _plain(timeline.deal_contacts),
    "crm.contact.company.items.get": _plain(timeline.contact_companies),
    "crm.company.contact.items.get": _plain(timeline.company_contacts),
    "crm.duplicate.findbycomm": _plain(people.find_by_comm),
    "crm.currency.list": _plain(directory.currency_list),
    "crm.currency.get": _plain(directory.currency_get),
    "crm.currency.base.get": _plain(directory.currency_base),
    "crm.settings.mode.get": _plain(directory.settings_mode),
    "crm.enum.ownertype": _plain(directory.enum_ownertype),
    "user.get": _plain(people.user_get),
    "user.current": people.user_current,
    "profile": people.profile,
    "scope": _scope,
    "app.info": _app_info,
    "event.bind": events.event_bind,
    "event.unbind": events.event_unbind,
    "event.get": events.event_get,
    "server.time": _plain(directory.server_time),
}
