"""From canonical companies and contacts to the JSON of leads and contacts; pure.

Addresses, e-mails and phones are arrays that an update replaces as a whole.

Source: https://developer.close.com/api/resources/contacts/list
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crmkit.connectors.close import holding
from crmkit.connectors.close.bodies import Body, put_key, put_lead, put_name, put_other
from crmkit.connectors.close.custom import CustomFields, Row

# How a type is called where nobody gave one: the values of Close's own examples.
_EMAIL_TYPE = _PHONE_TYPE = "office"
_ADDRESS_PARTS = {"city": "city", "country": "country", "postcode": "zipcode"}


def company(
    values: Mapping[str, Any], fields: CustomFields, *, addresses: Sequence[Row] = (), key: str | None = None
) -> Body:
    """The body for a lead.

    Args:
        values: Model fields to write.
        fields: The lead's custom fields.
        addresses: For an update, the addresses that the lead has: the array is replaced as
            a whole, so that the street of the first one and all further ones are sent back.
        key: Our key.
    """
    body = Body()
    for name, value in values.items():
        if name == "name":
            put_name(body, value)
        elif name == "domain":
            host = holding.host(value)
            body.put("url", f"https://{host}" if host else None, name)
        elif name not in _ADDRESS_PARTS:
            put_other(body, name, value, fields)
    parts = {_ADDRESS_PARTS[name]: holding.text(values[name]) for name in _ADDRESS_PARTS if name in values}
    if parts:
        first, rest = (dict(addresses[0]), addresses[1:]) if addresses else ({"label": "business"}, ())
        first = {part: value for part, value in {**first, **parts}.items() if value is not None}
        # An emptied first address stays in its place, or the next one would become the first.
        kept = [first] if rest or first.keys() - {"label"} else []
        body.put("addresses", [*kept, *rest], next(name for name in _ADDRESS_PARTS if name in values))
    put_key(body, key, fields)
    return body


def contact(
    values: Mapping[str, Any],
    fields: CustomFields,
    *,
    create: bool,
    before: Row | None = None,
    key: str | None = None,
) -> Body:
    """The body for a contact.

    Args:
        values: Model fields to write.
        fields: The contact's custom fields.
        create: Whether the contact is new; only then its lead can be named.
        before: For an update, the contact as it is: e-mails and phones are replaced as a
            whole, so that those which stay keep their type.
        key: Our key.
    """
    body, before = Body(), before or {}
    for name, value in values.items():
        if name == "name":
            put_name(body, value)
        elif name == "emails":
            rows = _rows("email", holding.emails(value), before.get("emails"), _EMAIL_TYPE)
            body.put("emails", rows, name)
        elif name == "phones":
            rows = _rows("phone", holding.phones(value), before.get("phones"), _PHONE_TYPE)
            body.put("phones", rows, name)
        elif name == "companies":
            put_lead(body, value, "a contact cannot move to another lead", create=create)
        elif name not in ("first_name", "last_name"):
            put_other(body, name, value, fields)
    if "name" not in values and ("first_name" in values or "last_name" in values):
        parts = (values.get("first_name"), values.get("last_name"))
        put_name(body, " ".join(part for part in parts if part))
    put_key(body, key, fields)
    return body


def _rows(part: str, wanted: Sequence[str], before: Any, type_: str) -> list[dict[str, Any]]:
    normal = holding.phone if part == "phone" else holding.email
    types = {normal(row[part]): row.get("type") for row in before or () if row.get(part)}
    return [{part: value, "type": types.get(value) or type_} for value in wanted]
