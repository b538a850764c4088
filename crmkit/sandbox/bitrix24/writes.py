"""Creates, changes and deletes deals, companies and contacts in both dialects.

Sources: https://apidocs.bitrix24.com/api-reference/crm/universal/index.html,
https://apidocs.bitrix24.com/api-reference/crm/deals/crm-deal-add.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.bitrix24.drafts import draft_of, named_fields, old_named_fields
from crmkit.sandbox.bitrix24.php import as_map, truth
from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal, need
from crmkit.sandbox.bitrix24.records import expect_arrays, kind_of, permitted_row, whole_item
from crmkit.sandbox.bitrix24.saving import create, remove, update
from crmkit.sandbox.rows import Kind, SideEffect


def item_add(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.item.add`: gives the whole new item, before any robot touched it."""
    kind = kind_of(params)
    said = given_fields(params)
    fields = named_fields(portal, kind, said, original=original_names(params))
    row = create(portal, kind, draft_of(portal, kind, None, fields, strict=True), caller, strict=True)
    return Answer({"item": whole_item(portal, kind, row, params)})


def item_update(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.item.update`: the fields that are named, and nothing if they are all equal."""
    kind = kind_of(params)
    before = _known_item(portal, kind, params)
    said = given_fields(params)
    fields = named_fields(portal, kind, said, original=original_names(params))
    draft = draft_of(portal, kind, before, fields, strict=True)
    row = update(portal, kind, before, draft, caller, strict=True)
    return Answer({"item": whole_item(portal, kind, row, params)})


def item_delete(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.item.delete`: an empty list."""
    kind = kind_of(params)
    remove(portal, kind, _known_item(portal, kind, params), caller)
    return Answer([])


def given_fields(params: Mapping[str, Any], name: str = "fields") -> dict[str, Any]:
    """A required parameter of a universal method that is an object; from a query, an empty one is `""`."""
    if name not in params or params[name] is None:
        need(params, name)
    expect_arrays(params, (name,))
    return as_map(params[name])


def original_names(params: Mapping[str, Any]) -> bool:
    """Whether custom fields go by `UF_CRM_...` in this call."""
    return truth(params.get("useOriginalUfNames", "N"))


def _known_item(portal: Portal, kind: Kind, params: Mapping[str, Any]) -> Any:
    row = permitted_row(portal, kind, need(params, "id"))
    if row is None:
        raise Failure("NOT_FOUND", "Element not found")
    return row


def old_add(portal: Portal, kind: Kind, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.add` and its sisters: the new id."""
    fields = old_named_fields(portal, kind, old_fields_of(params))
    row = create(portal, kind, draft_of(portal, kind, None, fields, strict=False), caller, strict=False)
    _tell_feed(portal, kind, row.id, params, caller)
    return Answer(int(row.id))


def old_update(portal: Portal, kind: Kind, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.update` and its sisters: true, whatever of it was passed over."""
    before = _known_row(portal, kind, params)
    fields = old_named_fields(portal, kind, old_fields_of(params))
    after = update(
        portal, kind, before, draft_of(portal, kind, before, fields, strict=False), caller, strict=False
    )
    if after is not before:
        _tell_feed(portal, kind, before.id, params, caller)
    return Answer(True)


def old_delete(portal: Portal, kind: Kind, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.deal.delete` and its sisters."""
    remove(portal, kind, _known_row(portal, kind, params), caller)
    return Answer(True)


def old_fields_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The `fields` of an old call."""
    if not isinstance(params.get("fields"), (dict, list)):
        raise Failure("", "Parameter 'fields' must be array.")
    return as_map(params["fields"])


def _known_row(portal: Portal, kind: Kind, params: Mapping[str, Any]) -> Any:
    row = permitted_row(portal, kind, params.get("id"))
    if row is None:
        raise Failure("", "Not found")
    return row


def _tell_feed(portal: Portal, kind: Kind, row_id: str, params: Mapping[str, Any], caller: Caller) -> None:
    asked = {str(name).upper(): value for name, value in as_map(params.get("params")).items()}
    if truth(asked.get("REGISTER_SONET_EVENT", "N")):
        portal.world.side_effects.append(SideEffect(kind, row_id, "feed", caller.user_id))
