"""Saves drafts: where a deal stands, what a new record is born with, and what a write sets off.

Sources: https://apidocs.bitrix24.com/api-reference/crm/universal/crm-item-add.html,
https://apidocs.bitrix24.com/api-reference/crm/universal/crm-item-update.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from crmkit.sandbox.bitrix24.channels import KEPT
from crmkit.sandbox.bitrix24.drafts import Draft
from crmkit.sandbox.bitrix24.fields import COMPANY_IDS, by_name, companies_of, contacts_of, fields_of
from crmkit.sandbox.bitrix24.portal import AHEAD, Caller, Failure, Portal
from crmkit.sandbox.bitrix24.values import refused, required
from crmkit.sandbox.rows import Kind, SideEffect

_CLOSES_AFTER = timedelta(days=7)


def create(
    portal: Portal,
    kind: Kind,
    draft: Draft,
    caller: Caller,
    *,
    strict: bool,
    quiet: bool = False,
    stamps: Mapping[str, Any] | None = None,
) -> Any:
    """Add the record and give it.

    Args:
        portal: Where.
        kind: What.
        draft: What the call said; the rest are the portal's defaults.
        caller: Who is responsible unless the call says otherwise.
        strict: Whether a stage or pipeline that does not exist is refused.
        quiet: No automation, as for imports.
        stamps: Times that an import sets.

    Raises:
        Failure: A field is missing, or the place is wrong.
    """
    world = portal.world
    columns = {"owner_id": caller.user_id, **draft.columns}
    custom = {
        f"{KEPT}createdBy": int(caller.user_id),
        f"{KEPT}updatedBy": int(caller.user_id),
        **draft.custom,
    }
    _check_required(portal, kind, columns, custom, strict=strict)
    if kind == "deal":
        columns |= _placed(portal, None, draft, strict=strict)
        columns.setdefault("amount", None)
        columns.setdefault("expected_close", (world.clock() + AHEAD).date() + _CLOSES_AFTER)
        columns.setdefault("source", None if f"{KEPT}sourceId" in custom else "Website")
        custom = {f"{KEPT}isManualOpportunity": "N", **custom}
        _recalculate(portal, columns, custom)
        _check_stage_fields(portal, columns, custom)
    elif kind == "contact":
        columns = {"first": "", "last": "", **columns}
        custom.setdefault(f"{KEPT}sourceId", "WEB")
    else:
        custom.setdefault(f"{KEPT}sourceId", "WEB")
    row_id = world.new_id(kind)
    if kind == "deal" and "name" not in columns:
        columns["name"] = f"Deal #{row_id}"
    kept = {key: value for key, value in custom.items() if value is not None}
    row = world.create(kind, id=row_id, by=caller.user_id, custom=kept, **columns, **(stamps or {}))
    if draft.contact_ids is not None:
        set_company_contacts(portal, row.id, draft.contact_ids, caller)
    if not quiet:
        _set_off(portal, kind, None, row, caller)
    return world.live.tables[kind][row.id]


def update(portal: Portal, kind: Kind, before: Any, draft: Draft, caller: Caller, *, strict: bool) -> Any:
    """Save what differs and give the record; where nothing does, nothing is saved and nothing set off.

    Raises:
        Failure: The place is wrong, or a field that the stage needs is empty.
    """
    world = portal.world
    columns, custom = dict(draft.columns), dict(draft.custom)
    if kind == "deal":
        columns |= _placed(portal, before, draft, strict=strict)
        _recalculate(portal, columns, custom, before)
    columns = {key: value for key, value in columns.items() if getattr(before, key) != value}
    custom = {key: value for key, value in custom.items() if not _same(portal, kind, before, key, value)}
    if "stage_id" in columns:
        _check_stage_fields(portal, columns, {**before.custom, **custom}, before)
    if draft.contact_ids is not None:
        set_company_contacts(portal, before.id, draft.contact_ids, caller)
    if not columns and not custom:
        return before
    custom[f"{KEPT}updatedBy"] = int(caller.user_id)
    after = world.edit(kind, before.id, by=caller.user_id, custom=custom, **columns)
    _set_off(portal, kind, before, after, caller)
    return world.live.tables[kind][before.id]


def remove(portal: Portal, kind: Kind, row: Any, caller: Caller) -> None:
    """Put a record into the recycle bin, together with its comments and to-dos."""
    if kind == "company":
        # A contact's next company becomes its primary one (inferred).
        for contact_id in contacts_of(portal, row.id):
            contact = portal.world.contacts[contact_id]
            left = [one for one in companies_of(contact) if one != row.id]
            _set_companies(portal, contact, left, caller, touch=False)
    portal.world.delete(kind, row.id, by=caller.user_id)


def set_contact_companies(portal: Portal, contact_id: str, ids: tuple[str, ...], caller: Caller) -> None:
    """Link a contact to exactly these companies, the first of them the primary one."""
    _set_companies(portal, portal.world.contacts[contact_id], list(ids), caller)


def set_company_contacts(portal: Portal, company_id: str, ids: tuple[str, ...], caller: Caller) -> None:
    """Link a company to exactly these contacts; other companies of theirs stay."""
    for contact_id in dict.fromkeys((*contacts_of(portal, company_id), *ids)):
        contact = portal.world.contacts[contact_id]
        companies = companies_of(contact)
        if contact_id in ids and company_id not in companies:
            _set_companies(portal, contact, [*companies, company_id], caller)
        elif contact_id not in ids:
            _set_companies(portal, contact, [one for one in companies if one != company_id], caller)


def _set_companies(
    portal: Portal, contact: Any, ids: list[str], caller: Caller, *, touch: bool = True
) -> None:
    if companies_of(contact) != ids:
        columns = {"company_id": ids[0] if ids else None, "custom": {COMPANY_IDS: tuple(ids[1:]) or None}}
        portal.world.edit("contact", contact.id, by=caller.user_id, touch=touch, **columns)


def _placed(portal: Portal, before: Any | None, draft: Draft, *, strict: bool) -> dict[str, Any]:
    """The pipeline and stage a deal goes to.

    `crm.item.*` refuses a stage of another pipeline. The old update passes over it and never changes the
    pipeline; the old add begins in the first stage instead (inferred). A new pipeline without a stage means
    its first one (inferred).
    """
    world = portal.world
    old = before.pipeline_id if before is not None else None
    pipeline_id = old or "0"
    if draft.category is not None and (strict or before is None):
        asked = str(draft.category).strip()
        if asked in world.pipelines and not world.pipelines[asked].archived:
            pipeline_id = asked
        elif strict:
            raise refused("categoryId")
    if draft.stage not in (None, "") and world.stage(pipeline_id, str(draft.stage)) is not None:
        stage_id = str(draft.stage)
    elif draft.stage not in (None, "") and strict:
        raise refused("stageId")
    elif before is not None and old == pipeline_id:
        return {}
    else:
        stage_id = world.pipelines[pipeline_id].stages[0].id
    moved = before is not None and stage_id != before.stage_id
    if moved and not portal.setting("stage_rights", True):
        raise Failure("", "Insufficient permissions to change the stage")
    return {"pipeline_id": pipeline_id, "stage_id": stage_id}


def _check_required(
    portal: Portal, kind: Kind, columns: Mapping[str, Any], custom: Mapping[str, Any], *, strict: bool
) -> None:
    fields = fields_of(portal, kind)
    mandatory: list[tuple[str, str]] = portal.once(
        ("mandatory", kind, fields),
        lambda: [
            (field.dynamic.key, field.title)
            for field in fields
            if field.dynamic is not None and field.dynamic.extra.get("mandatory")
        ],
    )
    missing = [title for key, title in mandatory if custom.get(key) is None]
    if kind == "company" and not columns.get("name"):
        missing.insert(0, by_name(portal, kind)["title"].title)
    if missing:
        raise required(missing[0]) if strict else Failure("", required(missing[0]).text)


def _check_stage_fields(
    portal: Portal, columns: Mapping[str, Any], custom: Mapping[str, Any], before: Any = None
) -> None:
    """Fields that the portal demands from a stage on: `extra["required_from_stage"]`, names by stage id."""
    for name in portal.setting("required_from_stage", {}).get(columns["stage_id"], ()):
        field = by_name(portal, "deal")[name]
        key = field.dynamic.key if field.dynamic else KEPT + name
        column = {"opportunity": "amount", "companyId": "company_id", "closedate": "expected_close"}.get(name)
        held = getattr(before, column or "", None)
        value = custom.get(key) if column is None else columns.get(column, held)
        if value in (None, ""):
            raise required(field.title)


def _recalculate(
    portal: Portal, columns: dict[str, Any], custom: Mapping[str, Any], before: Any = None
) -> None:
    """With `recalculates_amounts`: an amount that is not manual is that of the product rows, so 0."""
    if "amount" not in columns or not portal.setting("recalculates_amounts", False):
        return
    held = before.custom.get(f"{KEPT}isManualOpportunity", "Y") if before is not None else "N"
    if custom.get(f"{KEPT}isManualOpportunity", held) == "N":
        columns["amount"] = 0 * (columns["amount"] or 0)


def _same(portal: Portal, kind: Kind, before: Any, key: str, value: Any) -> bool:
    held = before.custom.get(key)
    if held is None and key.startswith(KEPT):
        # A column that nobody wrote yet reads as its default.
        field = by_name(portal, kind).get(key.removeprefix(KEPT))
        held = field.raw(before) if field is not None else None
    return bool(held == value) or (_is_empty(held) and _is_empty(value))


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", (), [])


def _set_off(portal: Portal, kind: Kind, before: Any, after: Any, caller: Caller) -> None:
    """Log, and where the settings name any carry out, what the portal's automation does upon a write."""
    effects = portal.world.side_effects
    by = caller.user_id
    effects.append(SideEffect(kind, after.id, "workflow", by))
    if after.owner_id != by and (before is None or before.owner_id != after.owner_id):
        effects.append(SideEffect(kind, after.id, "notification", by))
    if kind == "deal" and (before is None or before.stage_id != after.stage_id):
        effects.append(SideEffect(kind, after.id, "robot", by))
        robot = portal.setting("robots", {}).get(after.stage_id)
        if robot is not None:
            portal.world.edit(kind, after.id, **robot)
