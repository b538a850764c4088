"""Deals, companies and contacts: `crm.item.*` and the older `crm.deal.*` and its sisters.

Sources: https://apidocs.bitrix24.com/api-reference/crm/universal/crm-item-list.html,
https://apidocs.bitrix24.com/api-reference/crm/deals/crm-deal-list.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crmkit.sandbox.bitrix24.fields import (
    ENTITY_NUMBERS,
    Field,
    Get,
    by_legacy_name,
    by_name,
    fields_of,
)
from crmkit.sandbox.bitrix24.filters import Condition, Group, read_filter, read_order
from crmkit.sandbox.bitrix24.lists import count_fields, find
from crmkit.sandbox.bitrix24.php import as_list, truth
from crmkit.sandbox.bitrix24.portal import ENTITY_KINDS, Answer, Failure, Portal, need, whole
from crmkit.sandbox.rows import Kind


class Plan:
    """How to write a row: its keys in order, with what is the same for every row filled in, and the rest."""

    __slots__ = ("reads", "template")

    def __init__(self, columns: Sequence[tuple[str, Field, Get]]) -> None:
        self.template = {name: get(None) if field.fixed else None for name, field, get in columns}
        self.reads = [(name, get) for name, field, get in columns if not field.fixed]


def item_list(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.item.list`."""
    kind = kind_of(params)
    expect_arrays(params, ("select", "filter", "order"))
    names = by_name(portal, kind)
    wanted = read_filter(params.get("filter"), names, portal.filter_shift)
    order = read_order(params.get("order"), names)
    found = find(portal, kind, _permitted(portal, kind, wanted), order)
    offset, total, following = count_fields(found, params.get("start"), no_count=None)
    plan = _item_plan(portal, kind, params)
    return Answer({"items": [render(row, plan) for row in found.page(offset)]}, total, following)


def item_get(portal: Portal, params: Mapping[str, Any]) -> Answer:
    """`crm.item.get`."""
    kind = kind_of(params)
    row = permitted_row(portal, kind, need(params, "id"))
    if row is None:
        raise Failure("NOT_FOUND", "Element not found")
    return Answer({"item": whole_item(portal, kind, row, params)})


def whole_item(portal: Portal, kind: Kind, row: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of one row, as `crm.item.get`, `.add` and `.update` give it."""
    plan = _item_plan(portal, kind, {**params, "select": ["*"]})
    told = render(row, plan)
    told["entityTypeId"] = ENTITY_NUMBERS[kind]
    return told


def old_list(portal: Portal, kind: Kind, params: Mapping[str, Any]) -> Answer:
    """`crm.deal.list`, `crm.company.list`, `crm.contact.list`; parameter names come in small letters."""
    for name in ("filter", "order", "select"):
        if isinstance(params.get(name), (str, int)) and params[name] != "":
            raise Failure("", f"Parameter '{name}' must be array.")
    names = by_legacy_name(portal, kind)
    wanted = read_filter(_loose_id(params.get("filter")), names, portal.filter_shift, groups=False)
    order = read_order(params.get("order"), names)
    found = find(portal, kind, _permitted(portal, kind, wanted), order)
    offset, total, following = count_fields(found, params.get("start"), no_count=0)
    plan = _old_plan(portal, kind, params.get("select"))
    return Answer([render(row, plan) for row in found.page(offset)], total, following)


def old_get(portal: Portal, kind: Kind, params: Mapping[str, Any]) -> Answer:
    """`crm.deal.get`, `crm.company.get`, `crm.contact.get`."""
    row = permitted_row(portal, kind, params.get("id"))
    if row is None:
        raise Failure("", "Not found")
    plan = _old_plan(portal, kind, ["*", "UF_*", "PHONE", "EMAIL", "WEB", "IM", "LINK"])
    # An empty multi-field is left out here, as in the official example.
    return Answer(
        {
            name: value
            for name, value in render(row, plan).items()
            if value is not None or name not in _CHANNELS
        }
    )


def render(row: Any, plan: Plan) -> dict[str, Any]:
    """One row on the wire."""
    told = plan.template.copy()
    for name, get in plan.reads:
        told[name] = get(row)
    return told


def kind_of(params: Mapping[str, Any]) -> Kind:
    """The kind behind `entityTypeId`."""
    kind = ENTITY_KINDS.get(whole(need(params, "entityTypeId")) or 0)
    if kind is None:
        raise Failure("NOT_FOUND", "Smart process not found")
    return kind  # type: ignore[return-value]


def expect_arrays(params: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse a text or a number where a universal method expects an array."""
    for name in names:
        if isinstance(params.get(name), (str, int)) and params[name] != "":
            raise Failure(
                "100",
                f"Invalid value {{{params[name]}}} to match with parameter {{{name}}}. "
                "Should be value of type array.",
            )


def _item_plan(portal: Portal, kind: Kind, params: Mapping[str, Any]) -> Plan:
    selected = tuple(str(name) for name in as_list(params.get("select") or None))
    original = truth(params.get("useOriginalUfNames", "N"))
    fields = fields_of(portal, kind)

    def compute() -> Plan:
        everything = [field for field in fields if field.name and (not field.hidden or "*" in selected)]
        named = {field.name: field for field in fields if field.name}
        named |= {field.legacy: field for field in fields if field.dynamic}
        chosen = [named[name] for name in dict.fromkeys(selected) if name in named]
        plan = everything if "*" in selected or not chosen else chosen
        return Plan(
            [
                (field.legacy if original and field.dynamic else field.name, field, field.universal())
                for field in plan
            ]
        )

    plan: Plan = portal.once(("item plan", kind, selected, original, fields), compute)
    return plan


def _old_plan(portal: Portal, kind: Kind, select: Any) -> Plan:
    selected = tuple(str(name) for name in as_list(select or None))
    fields = fields_of(portal, kind)

    def compute() -> Plan:
        named = {field.legacy: field for field in fields if field.legacy}
        # `*` and an empty select leave out the workspace's own fields and the multi-fields.
        standard = [field for field in named.values() if not field.dynamic and not field.hidden]
        chosen: list[Field] = []
        for name in selected or ("*",):
            if name == "*":
                chosen += standard
            elif name == "UF_*":
                chosen += [field for field in named.values() if field.dynamic]
            elif name in named:
                chosen.append(named[name])
        # The id is there whether or not somebody asked for it.
        return Plan([(field.legacy, field, field.old()) for field in dict.fromkeys((*chosen, named["ID"]))])

    plan: Plan = portal.once(("old plan", kind, selected, fields), compute)
    return plan


def _loose_id(said: Any) -> Any:
    """A filter whose bounds on `ID` were put through PHP's `intval`, as the old lists do (inferred).

    A `$result` reference behind the last page leaves an array there, which counts as 1: the walk begins
    again. Whoever chains pages must stop at the first short one.
    """
    if not isinstance(said, Mapping):
        return said
    return {
        key: int(bool(value)) if isinstance(value, (list, Mapping)) and key in {">ID", ">=ID"} else value
        for key, value in said.items()
    }


def _permitted(portal: Portal, kind: Kind, wanted: Group) -> Group:
    """The filter, cut down to what the caller may read: lists say nothing about what they leave out."""
    owner = portal.setting("sees_only_owner", None)
    if owner is None:
        return wanted
    assigned = by_name(portal, kind)["assignedById"]
    return Group((Condition(assigned, "=", (int(owner),)), *((wanted,) if wanted.parts else ())))


def permitted_row(portal: Portal, kind: Kind, row_id: Any) -> Any:
    """A row by its id, or nothing.

    Raises:
        Failure: It is there, but not for this caller.
    """
    row = portal.world.live.tables[kind].get(str(whole(row_id)))
    owner = portal.setting("sees_only_owner", None)
    if row is not None and owner is not None and row.owner_id != str(owner):
        raise Failure("ACCESS_DENIED", "Access denied.")
    return row


_CHANNELS = {"PHONE", "EMAIL", "WEB", "IM", "LINK"}
