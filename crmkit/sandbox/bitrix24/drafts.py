"""From the fields of a call to what changes of one row: pure, nothing is written here.

Sources: https://apidocs.bitrix24.com/api-reference/crm/universal/crm-item-add.html,
https://apidocs.bitrix24.com/api-reference/crm/universal/crm-item-update.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crmkit.sandbox.bitrix24.channels import KEPT
from crmkit.sandbox.bitrix24.communications import (
    CHANNEL_TYPES,
    Entry,
    columns_of,
    held,
    written_old,
    written_universal,
)
from crmkit.sandbox.bitrix24.fields import (
    COMPANY_IDS,
    ORIGIN_ID,
    ORIGINATOR_ID,
    SOURCE_IDS,
    Field,
    companies_of,
    fields_of,
    origin,
)
from crmkit.sandbox.bitrix24.portal import Failure, Portal, whole
from crmkit.sandbox.bitrix24.values import DROPPED, read_value, refused, required
from crmkit.sandbox.rows import Kind
from crmkit.sandbox.seed import KEY_FIELD

Said = Sequence[tuple[Field, str, Any]]

_COLUMNS: Mapping[str, str] = {
    "title": "name",
    "opportunity": "amount",
    "closedate": "expected_close",
    "name": "first",
    "lastName": "last",
}
_ADDRESS: Mapping[str, str] = {
    "ADDRESS": "street",
    "ADDRESS_CITY": "city",
    "ADDRESS_POSTAL_CODE": "postcode",
    "ADDRESS_COUNTRY": "country",
}
_SOURCE_NAMES = {code: name for name, code in SOURCE_IDS.items()}


@dataclass(slots=True)
class Draft:
    """What a call asks of one row.

    Attributes:
        columns: New values of our row's own fields.
        custom: New values of its `custom`; `None` empties one.
        category, stage: Where a deal shall be, as the call wrote it.
        contact_ids: The contacts a company shall have.
    """

    columns: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, Any] = field(default_factory=dict)
    category: Any = None
    stage: Any = None
    contact_ids: tuple[str, ...] | None = None


def named_fields(portal: Portal, kind: Kind, said: Mapping[str, Any], *, original: bool = False) -> Said:
    """The writable fields that `crm.item.*` was given; names it does not know are dropped in silence."""
    fields = fields_of(portal, kind)
    names: Mapping[str, Field] = portal.once(
        ("writable", kind, original, fields),
        lambda: {
            (one.legacy if original and one.dynamic else one.name): one
            for one in fields
            if one.name and not one.read_only and one.type != "file"
        },
    )
    return [(names[name], name, value) for name, value in said.items() if name in names]


def old_named_fields(portal: Portal, kind: Kind, said: Mapping[str, Any]) -> Said:
    """The writable fields that an old call was given."""
    fields = fields_of(portal, kind)

    def compute() -> Mapping[str, Field]:
        names = {one.legacy: one for one in fields if one.legacy and not one.read_only and one.type != "file"}
        # Written under these names, yet never read back under them.
        lists = {"deal": ("contactIds", "CONTACT_IDS"), "contact": ("companyIds", "COMPANY_IDS")}
        if kind in lists:
            name, old = lists[kind]
            names[old] = next(one for one in fields if one.name == name)
        return names

    names = portal.once(("writable by old name", kind, fields), compute)
    return [(names[name.upper()], name, value) for name, value in said.items() if name.upper() in names]


def draft_of(portal: Portal, kind: Kind, before: Any | None, said: Said, *, strict: bool) -> Draft:
    """What the call changes.

    Args:
        portal: Whose users, currencies and records the values are checked against.
        kind: Of the row.
        before: The row as it is; `None` for a new one.
        said: The fields of the call with their names and values.
        strict: Whether values that cannot be are refused (`crm.item.*`) or passed over (old calls).

    Raises:
        Failure: A value is refused.
    """
    draft = Draft()
    entries: list[Entry] | None = None
    for one, name, value in said:
        key = one.name or one.legacy
        if one.type == "crm_multifield":
            entries = (held(before) if before is not None else []) if entries is None else entries
            if key == "fm":
                entries = written_universal(portal, entries, value)
            elif key in CHANNEL_TYPES:
                entries = written_old(portal, entries, key, value)
        elif kind == "deal" and key == "categoryId":
            draft.category = value
        elif kind == "deal" and key == "stageId":
            draft.stage = value
        elif not (value == [] and before is not None and _ignores_emptied(portal, kind, one, strict=strict)):
            parsed = read_value(one, name, value, strict=strict)
            if parsed is not DROPPED:
                _put(portal, kind, before, draft, one, name, parsed, strict=strict)
    if entries is not None:
        columns, custom = columns_of(kind, entries)
        draft.columns |= columns
        draft.custom |= custom
    return draft


def _ignores_emptied(portal: Portal, kind: Kind, one: Field, *, strict: bool) -> bool:
    """Seen on live portals (b24-rest-docs issues 145 and 269); off unless `ignores_empty_lists` is set."""
    listed = one.dynamic is not None or kind == "company"
    return strict and listed and one.multi and bool(portal.setting("ignores_empty_lists", False))


def _put(
    portal: Portal, kind: Kind, before: Any, draft: Draft, one: Field, name: str, value: Any, *, strict: bool
) -> None:
    key = one.name or one.legacy
    columns, custom = draft.columns, draft.custom
    if one.dynamic is not None:
        if value is None and one.dynamic.extra.get("mandatory"):
            raise required(one.title)
        custom[one.dynamic.key] = value
    elif key == "assignedById":
        _put_owner(portal, columns, name, value, strict=strict)
    elif key == "currencyId":
        if value is not None and value not in portal.world.rates:
            if strict:
                raise refused(name)
        elif value is not None:
            if kind == "deal":
                columns["currency"] = value
            else:
                custom[KEPT + key] = value
    elif key in {"originatorId", "originId"}:
        _put_origin(before, custom, key, value)
    elif key == "sourceId":
        known = kind == "deal" and value in _SOURCE_NAMES
        if kind == "deal":
            columns["source"] = _SOURCE_NAMES[value] if known else None
        custom[KEPT + key] = None if known else value or ""
    elif key in {"companyId", "companyIds", "contactId", "contactIds"}:
        _put_links(portal, kind, before, draft, key, value)
    elif key == "probability":
        columns[key] = None if value is None else value / 100
    elif key == "title" and value is None:
        raise required(one.title) if strict else Failure("", f'The "{one.title}" field is required')
    elif key in _COLUMNS:
        columns[_COLUMNS[key]] = (value or "") if key in {"name", "lastName"} else value
    elif kind == "company" and key in _ADDRESS:
        columns[_ADDRESS[key]] = value
    else:
        custom[KEPT + key] = _emptied(one) if value is None else value


def _emptied(one: Field) -> Any:
    """How an emptied column reads: a text as `""`, whatever is no text as null (inferred)."""
    if one.type in {"string", "text", "crm_status"} or one.name == "begindate":
        return ""
    return Decimal(0) if one.name == "taxValue" else None


def _put_owner(portal: Portal, columns: dict[str, Any], name: str, value: Any, *, strict: bool) -> None:
    """Dismissed users are taken (inferred); an empty one changes nothing (inferred)."""
    if not value:
        return
    if str(value) in portal.world.users:
        columns["owner_id"] = str(value)
    elif strict:
        raise refused(name)


def _put_origin(before: Any, custom: dict[str, Any], key: str, value: Any) -> None:
    if before is not None and ORIGIN_ID not in custom:
        custom[ORIGINATOR_ID], custom[ORIGIN_ID] = origin(before)
    custom[KEPT + key] = value
    originator, origin_id = custom.get(ORIGINATOR_ID), custom.get(ORIGIN_ID)
    custom[KEY_FIELD] = f"{originator}/{origin_id}" if originator and origin_id else None


def _put_links(portal: Portal, kind: Kind, before: Any, draft: Draft, key: str, value: Any) -> None:
    """Links; to records that do not exist they are dropped (inferred)."""
    columns = draft.columns
    if key == "contactIds":
        ids = existing(portal, "contact", value or ())
        if kind == "company":
            draft.contact_ids = ids
            return
        columns["contact_ids"] = ids
    elif key == "contactId":
        rest = columns.get("contact_ids", before.contact_ids if before is not None else ())
        if not value:
            columns["contact_ids"] = rest[1:]
        else:
            columns["contact_ids"] = tuple(dict.fromkeys((*existing(portal, "contact", [value]), *rest)))
    elif key == "companyIds":
        ids = existing(portal, "company", value or ())
        columns["company_id"], draft.custom[COMPANY_IDS] = (ids[0] if ids else None), ids[1:] or None
    elif not value:
        columns["company_id"] = None
        if kind == "contact":
            draft.custom[COMPANY_IDS] = None
    elif found := existing(portal, "company", [value]):
        columns["company_id"] = found[0]
        if kind == "contact":
            others = draft.custom.get(COMPANY_IDS, companies_of(before) if before is not None else ()) or ()
            draft.custom[COMPANY_IDS] = tuple(one for one in others if one != found[0]) or None


def existing(portal: Portal, kind: Kind, ids: Iterable[Any]) -> tuple[str, ...]:
    """Those of the ids that are there, each once, in their order."""
    table = portal.world.live.tables[kind]
    return tuple(dict.fromkeys(str(one) for one in map(whole, ids) if str(one) in table))
