"""Phones, e-mails and web addresses of companies and contacts, as rows with ids of their own.

Source: https://apidocs.bitrix24.com/api-reference/crm/data-types.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from crmkit.sandbox.rows import Kind

# What a row keeps beyond the neutral words stands in its `custom` under the field's name behind this.
KEPT = "b24:"
FM = f"{KEPT}fm"


def channels(row: Any) -> list[dict[str, Any]]:
    """The multi-fields of a company or contact in the universal shape; row ids never change."""
    written = row.custom.get(FM)
    if written is not None and projected(row, written):
        return [
            {"id": number, "typeId": type_, "valueType": value_type, "value": value}
            for number, type_, value_type, value in written
        ]
    if hasattr(row, "emails"):
        values = [("PHONE", phone) for phone in row.phones] + [("EMAIL", email) for email in row.emails]
        base = 1
    else:
        values = [("PHONE", row.phone)] if row.phone else []
        values += [("WEB", f"https://{row.domain}")] if row.domain else []
        base = 11
    return [
        {"id": int(row.id) * 20 + base + place, "typeId": type_, "valueType": "WORK", "value": value}
        for place, (type_, value) in enumerate(values)
    ]


def projection(kind: Kind, rows: Sequence[tuple[int, str, str, str]]) -> dict[str, Any]:
    """What multi-field rows are in the words of our own rows."""
    by_type: dict[str, list[str]] = {}
    for _, type_, _, value in rows:
        by_type.setdefault(type_, []).append(value)
    phones, pages = by_type.get("PHONE", []), by_type.get("WEB", [])
    if kind == "contact":
        return {"phones": tuple(phones), "emails": tuple(by_type.get("EMAIL", []))}
    domain = pages[0].partition("://")[2] or pages[0] if pages else None
    return {"phone": phones[0] if phones else None, "domain": domain and domain.partition("/")[0]}


def projected(row: Any, rows: Sequence[tuple[int, str, str, str]]) -> bool:
    """Whether the written rows still hold; not if somebody changed the neutral words behind them."""
    kind: Kind = "contact" if hasattr(row, "emails") else "company"
    return all(getattr(row, name) == value for name, value in projection(kind, rows).items())


def old_channel(name: str) -> Callable[[Any], Any]:
    """What reads the multi-fields of one type in the shape of the old calls; nothing if there are none."""

    def old(row: Any) -> list[dict[str, str]] | None:
        found = [
            {"ID": str(one["id"]), "VALUE_TYPE": one["valueType"], "VALUE": one["value"], "TYPE_ID": name}
            for one in channels(row)
            if one["typeId"] == name
        ]
        return found or None

    return old


def has_email(row: Any) -> str:
    """Whether a company has an e-mail address: only a written one has."""
    return "Y" if any(one[1] == "EMAIL" for one in row.custom.get(FM, ())) else "N"
