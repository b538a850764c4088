"""Phones, e-mails and addresses on the web: rows of their own, written by operation.

Source: https://apidocs.bitrix24.com/api-reference/crm/data-types.html (multi-fields)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crmkit.sandbox.bitrix24.channels import FM, channels, projection
from crmkit.sandbox.bitrix24.php import as_list, as_map, truth
from crmkit.sandbox.bitrix24.portal import Portal
from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.rows import Kind

CHANNEL_TYPES = ("PHONE", "EMAIL", "WEB", "IM", "LINK")
_FIRST_NEW_ROW = 50_000_001

Entry = tuple[int, str, str, str]


def held(row: Any) -> list[Entry]:
    """The multi-field rows of a company or contact."""
    return [(one["id"], one["typeId"], one["valueType"], one["value"]) for one in channels(row)]


def written_universal(portal: Portal, entries: Sequence[Entry], said: Any) -> list[Entry]:
    """The rows after `fm` of `crm.item.*`: a list adds; an object changes by row id, or adds as `n0`, `n1`.

    A list upon an update is an object with the keys 0, 1, ...: no row has these ids, so nothing changes
    (inferred).
    """
    rows = {entry[0]: entry for entry in entries}
    fresh = not entries
    for key, one in as_map(said).items():
        asked = as_map(one)
        value, type_ = str(asked.get("value") or "").strip(), str(asked.get("typeId") or "").upper()
        if key.isdigit() and int(key) in rows:
            _, old_type, old_kind, _ = rows[int(key)]
            if value:
                rows[int(key)] = (int(key), old_type, str(asked.get("valueType") or old_kind), value)
            else:
                del rows[int(key)]
        elif (fresh or key.startswith("n")) and value and type_ in CHANNEL_TYPES:
            number = new_row_id(portal)
            rows[number] = (number, type_, str(asked.get("valueType") or "WORK"), value)
    return list(rows.values())


def written_old(portal: Portal, entries: Sequence[Entry], type_: str, said: Any) -> list[Entry]:
    """The rows after `PHONE`, ... of the old calls: an entry without `ID` is added, even if it repeats."""
    rows = {entry[0]: entry for entry in entries}
    for one in as_list(said):
        if not isinstance(one, Mapping):
            continue
        value, number = str(one.get("VALUE") or "").strip(), str(one.get("ID") or "")
        if number.isdigit() and int(number) in rows:
            if truth(one.get("DELETE", "N")) or not value:
                del rows[int(number)]
            else:
                kind = str(one.get("VALUE_TYPE") or rows[int(number)][2])
                rows[int(number)] = (int(number), type_, kind, value)
        elif not number and value:
            fresh = new_row_id(portal)
            rows[fresh] = (fresh, type_, str(one.get("VALUE_TYPE") or "WORK"), value)
    return list(rows.values())


def new_row_id(portal: Portal) -> int:
    """The next id of a multi-field row."""
    return int(portal.once("multi-field ids", lambda: counting_ids(_FIRST_NEW_ROW, step=2))())


def columns_of(kind: Kind, entries: Sequence[Entry]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What to put into a row, and into its `custom`, so that it holds these multi-field rows."""
    return projection(kind, entries), {FM: tuple(entries)}
