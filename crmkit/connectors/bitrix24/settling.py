"""What the answer to a write means: the record, what of it was not taken over, what was refused.

Pure. Bitrix24 drops fields that it does not know, dates that it cannot read and stages of
another pipeline without a word, so the row in the answer is compared with what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crmkit.connectors.bitrix24.bodies import WIRE_NAMES
from crmkit.connectors.bitrix24.encoding import CustomFields
from crmkit.connectors.bitrix24.getting import translator
from crmkit.connectors.bitrix24.holding import held
from crmkit.connectors.bitrix24.multifields import TYPES
from crmkit.connectors.bitrix24.records import Rows
from crmkit.connectors.sending import result_of
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.errors import CrmkitError, NotFound, Rejected
from crmkit.model import AnyRecord, Kind, Ref

KEPT_OTHERWISE = "Bitrix24 took the change and holds another value"
REASON_CHARACTERS = 500
_QUOTED = re.compile(r"[\"'«“„]([^\"'«»“”„]+)[\"'»”“]")
# Only with these is a row the whole record; whether an answer shows phones (`fm`) is not promised.
_WHOLE: Mapping[Kind, tuple[str, ...]] = {
    Kind.DEAL: ("contactIds", "companyId", "closedate", "probability", "sourceId", "updatedTime"),
    Kind.COMPANY: ("fm", "updatedTime"),
    Kind.CONTACT: ("fm", "companyIds", "updatedTime"),
}


def whole(kind: Kind, row: Mapping[str, Any]) -> bool:
    """Whether a row shows everything that is read of its kind."""
    return all(name in row for name in _WHOLE[kind])


def record_of(rows: Rows, kind: Kind, row: Mapping[str, Any]) -> AnyRecord | None:
    """The record that a row shows, or `None` if it cannot be read."""
    found, _ = translator(rows, kind)([row])
    return found[0] if found else None


def not_taken(
    kind: Kind,
    row: Mapping[str, Any],
    record: AnyRecord | None,
    values: Mapping[str, Any],
    customs: CustomFields,
) -> list[str]:
    """Fields of a change that the row shows with another value."""
    if record is None:
        return []
    return [
        name
        for name, value in held(kind, values, customs).items()
        if _shown(kind, name, row, customs) and _actual(record, name) != _comparable(name, value)
    ]


def _shown(kind: Kind, name: str, row: Mapping[str, Any], customs: CustomFields) -> bool:
    if name.startswith("custom."):
        return name.removeprefix("custom.") in row and customs.known
    if name in TYPES:
        return bool(row.get("fm"))  # an empty one may only mean that it is not shown here
    if kind is Kind.CONTACT and name == "name":
        return "name" in row and "lastName" in row
    wire = WIRE_NAMES[kind].get(name)
    return wire is not None and wire in row


def _actual(record: AnyRecord, name: str) -> Any:
    if name.startswith("custom."):
        return getattr(record, "custom", {}).get(name.removeprefix("custom."))
    return _comparable(name, getattr(record, name, None))


def _comparable(name: str, value: Any) -> Any:
    return value.replace(microsecond=0) if name in ("created_at", "closed_at") and value else value


def done(change: Change, ref: Ref, record: AnyRecord | None, *, complete: bool) -> Written:
    """The outcome of a change that was carried out."""
    version = getattr(record, "version", None)
    return Written(change.id, Result.DONE, ref, version, record if complete else None)


def refused(change: Change, error: CrmkitError, fields: Mapping[str, str]) -> Written:
    """The outcome of a change that was not carried out, or may not have been.

    Args:
        change: What was to be done.
        error: Why it was not.
        fields: The model's field by each name that Bitrix24 may call it, in lower case.
    """
    reason = str(error)[:REASON_CHARACTERS]
    if isinstance(error, NotFound) and change.act is not Act.CREATE:
        return Written(change.id, Result.GONE, reason=reason)
    if isinstance(error, Rejected):
        field = named_field(str(error), fields)
        if isinstance(error, NotFound) and change.kind is Kind.NOTE:
            field = "deal_id"  # the one thing that a comment needs to exist
        return Written(change.id, Result.REJECTED, field=field, reason=reason)
    return Written(change.id, result_of(error), reason=reason)


def named_field(text: str, fields: Mapping[str, str]) -> str | None:
    """The model's field that an error's text quotes, by its own name or its title."""
    for quoted in _QUOTED.findall(text):
        if field := fields.get(quoted.strip().lower()):
            return field
    return None


def field_names(kind: Kind, described: Mapping[str, Any]) -> dict[str, str]:
    """The model's field by every name that an error's text may use.

    Errors name a field by its title, in the language of the portal.
    """
    by_wire = {wire: model for model, wire in WIRE_NAMES.get(kind, {}).items()}
    by_wire |= {"contactId": "contacts", "contacts": "contacts", "originId": "key", "originatorId": "key"}
    if kind is not Kind.DEAL:
        by_wire["companyId"] = "companies"
    names = {wire.lower(): model for wire, model in by_wire.items()}
    for wire, one in described.items():
        told = one if isinstance(one, Mapping) else {}
        custom = told.get("isDynamic") in (True, 1, "Y")
        model = f"custom.{wire}" if custom else by_wire.get(wire)
        if model:
            for name in (wire, told.get("upperName"), told.get("title")):
                if name:
                    names.setdefault(str(name).lower(), model)
    return names


def id_of(row: Any) -> str | None:
    """The id of a row, if it is one."""
    native = row.get("id") if isinstance(row, Mapping) else None
    return str(native) if isinstance(native, (int, str)) and str(native).isdecimal() else None


def item_of(value: Any) -> Mapping[str, Any] | None:
    """The row in the answer of `crm.item.add`, `import`, `update` and `get`."""
    row = value.get("item") if isinstance(value, Mapping) and "item" in value else value
    return row if isinstance(row, Mapping) and id_of(row) is not None else None
