"""Phones, e-mail and web addresses: the multi-field `fm`, whose rows are edited by id.

On a create it is a list of rows; on an update a map from operation to row: `n0`, `n1`
add, a row's id changes it, and an empty value there removes it.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/object-fields.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crmkit.connectors.bitrix24.values import domain

TYPES = {"phones": "PHONE", "emails": "EMAIL", "domain": "WEB"}


def wanted_of(values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The wanted texts by type, for the fields among `values` that live in `fm`."""
    wanted: dict[str, tuple[str, ...]] = {}
    for field, type_id in TYPES.items():
        if field in values:
            value = values[field]
            wanted[type_id] = ((value,) if value else ()) if field == "domain" else tuple(value or ())
    return wanted


def new_rows(wanted: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """The rows of a record that is created."""
    return [_row(type_id, text) for type_id, texts in wanted.items() for text in texts]


def edits(rows: Any, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """What has to happen to the rows of a record so that it holds the wanted texts, in order.

    Args:
        rows: `fm` as the record has it.
        wanted: Texts by type; types that are not named stay as they are.
    """
    found = list(rows.values()) if isinstance(rows, Mapping) else list(rows or [])
    done: dict[str, dict[str, str]] = {}
    added: list[dict[str, str]] = []
    for type_id, texts in wanted.items():
        mine = [row for row in found if row.get("typeId") == type_id]
        changed, new = _web(mine, texts) if type_id == "WEB" else _texts(type_id, mine, texts)
        done |= changed
        added += new
    return done | {f"n{index}": row for index, row in enumerate(added)}


def _texts(
    type_id: str, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]
) -> tuple[dict[str, dict[str, str]], list[dict[str, str]]]:
    kept = [_text(row) for row in rows if _text(row) in texts]
    if list(dict.fromkeys(kept)) == list(texts)[: len(set(kept))]:
        # The wanted order comes about by removing some and adding others behind them.
        gone = {str(row["id"]): _row(type_id, "") for row in rows if _text(row) not in texts}
        return gone, [_row(type_id, text) for text in texts if text not in kept]
    # Rows come in the order of their ids, so another order means other texts in the same rows.
    changed = {
        str(row["id"]): _row(type_id, text, row)
        for row, text in zip(rows, texts, strict=False)
        if _text(row) != text
    }
    gone = {str(row["id"]): _row(type_id, "") for row in rows[len(texts) :]}
    return changed | gone, [_row(type_id, text) for text in texts[len(rows) :]]


def _web(
    rows: Sequence[Mapping[str, Any]], texts: Sequence[str]
) -> tuple[dict[str, dict[str, str]], list[dict[str, str]]]:
    """The first web address that has a host gives the domain; the other ones stay."""
    host_rows = [row for row in rows if domain((_text(row),))]
    wanted = texts[0] if texts else None
    first = domain((_text(host_rows[0]),)) if host_rows else None
    if wanted == first:
        return {}, []
    if wanted is None:
        return {str(row["id"]): _row("WEB", "") for row in host_rows if domain((_text(row),)) == first}, []
    if host_rows:
        return {str(host_rows[0]["id"]): _row("WEB", wanted, host_rows[0])}, []
    return {}, [_row("WEB", wanted)]


def another_domain(rows: Any, wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether a domain that is to be cleared leaves web addresses of other hosts behind."""
    listed = rows.values() if isinstance(rows, Mapping) else rows or ()
    hosts = {domain((_text(row),)) for row in listed if row.get("typeId") == "WEB"} - {None}
    return wanted.get("WEB") == () and len(hosts) > 1


def _text(row: Mapping[str, Any]) -> str:
    return str(row.get("value") or "").strip()


def _row(type_id: str, text: str, like: Mapping[str, Any] | None = None) -> dict[str, str]:
    if not text:
        return {"typeId": type_id, "value": ""}
    kind = str((like or {}).get("valueType") or "WORK")
    return {"typeId": type_id, "valueType": kind, "value": text}


def identifiable(rows: Any) -> bool:
    """Whether every row of `fm` can be named in an edit."""
    listed: Iterable[Any] = rows.values() if isinstance(rows, Mapping) else rows or ()
    return all(isinstance(row, Mapping) and row.get("id") for row in listed)
