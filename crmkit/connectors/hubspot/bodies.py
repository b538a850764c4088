"""Canonical values as HubSpot's wire wants them: the inverse of `records.py`. Pure.

Every value inside `properties` is sent as text, and an empty text clears. Sources:
contracts/hubspot.md, sections 2, 4, 6, 7 and 12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from html import escape
from typing import Any

from crmkit.connectors.hubspot.schema import KEY_PROPERTY, Account
from crmkit.connectors.writing import Change
from crmkit.model import DealContact, Kind, Outcome

Row = dict[str, Any]
Labels = Mapping[str, Row]
"""Label of a link to an `AssociationSpec`, for the portal's own labels."""

DEFINED = "HUBSPOT_DEFINED"
ADDITIONAL_EMAILS = "hs_additional_emails"
NAME_PARTS = ("first_name", "last_name")
DERIVED = frozenset({"outcome", "lost_kind"})
"""Fields that follow from the stage, and need no writing of their own."""

PROPERTIES: Mapping[Kind, Mapping[str, str]] = {
    Kind.DEAL: {
        "name": "dealname",
        "pipeline_id": "pipeline",
        "stage_id": "dealstage",
        "amount": "amount",
        "currency": "deal_currency_code",
        "owner_id": "hubspot_owner_id",
        "lost_reason": "closed_lost_reason",
        "forecast_category": "hs_manual_forecast_category",
        "expected_close": "closedate",
        "closed_at": "closedate",
        "created_at": "createdate",
    },
    Kind.COMPANY: {
        "name": "name",
        "domain": "domain",
        "phones": "phone",
        "city": "city",
        "country": "country",
        "postcode": "zip",
        "owner_id": "hubspot_owner_id",
    },
    Kind.CONTACT: {
        "name": "lastname",
        "first_name": "firstname",
        "last_name": "lastname",
        "emails": "email",
        "phones": "phone",
        "city": "city",
        "country": "country",
        "postcode": "zip",
        "owner_id": "hubspot_owner_id",
    },
    Kind.NOTE: {"text": "hs_note_body", "author_id": "hubspot_owner_id", "at": "hs_timestamp"},
}
PHONES: Mapping[Kind, tuple[str, ...]] = {Kind.COMPANY: ("phone",), Kind.CONTACT: ("phone", "mobilephone")}

# Model field to the linked object type, and the type ids of the primary and the plain link.
# They are directional: these begin at the record that is written.
LINKS: Mapping[Kind, Mapping[str, tuple[str, int | None, int]]] = {
    Kind.DEAL: {"companies": ("companies", 5, 341), "contacts": ("contacts", None, 3)},
    Kind.CONTACT: {"companies": ("companies", 1, 279)},
    Kind.NOTE: {"deal_id": ("deals", None, 214), "company_id": ("companies", None, 190)},
}


def field_of(kind: Kind, name: str) -> str:
    """The model's name of what a property holds."""
    if name == KEY_PROPERTY:
        return "key"
    if name == "mobilephone":
        return "phones"
    if name == ADDITIONAL_EMAILS:
        return "emails"
    fields = [field for field, property_ in PROPERTIES.get(kind, {}).items() if property_ == name]
    # Two fields may share a property: "lastname" is the last name, "closedate" the expected close.
    if "last_name" in fields:
        return "last_name"
    return fields[0] if fields else f"custom.{name}"


def properties(kind: Kind, values: Mapping[str, Any], account: Account, outcome: Outcome | None) -> Row:
    """The properties that carry the given fields, and no others.

    Args:
        kind: What the record is.
        values: Model field to value; links and what HubSpot derives are left out.
        account: Zone and currencies of the portal.
        outcome: Whether the deal is open, won or lost after the write, if that is known.
    """
    found: Row = {}
    for field, value in values.items():
        if field.startswith("custom."):
            found[field.removeprefix("custom.")] = wire_text(value)
        elif field == "phones":
            names = PHONES[kind]
            numbers = [*phones(value)[: len(names)], *[""] * len(names)]
            found.update(zip(names, numbers, strict=False))
        elif field == "emails":
            first, *more = [*emails(value), ""]
            found["email"] = first
            found[ADDITIONAL_EMAILS] = ";".join(part for part in more if part)
        elif field == "domain":
            found["domain"] = lowered(value) or ""
        elif field == "text":
            found["hs_note_body"] = note_body(value)
        elif kind is Kind.CONTACT and field == "name":
            if not any(part in values for part in NAME_PARTS):
                found["firstname"], found["lastname"] = name_parts(value)
        elif field in ("expected_close", "closed_at") or field in DERIVED:
            continue
        elif field == "currency" and account.single_currency and value in (None, account.currency):
            # Without further currencies a portal need not have the property at all.
            continue
        elif field in PROPERTIES.get(kind, {}):
            found[PROPERTIES[kind][field]] = wire_text(value)
    found.update(_closedate(values, account, outcome))
    return found


def _closedate(values: Mapping[str, Any], account: Account, outcome: Outcome | None) -> Row:
    """Of both dates of a deal HubSpot holds one: expected while it is open, real when it is over."""
    if "closed_at" in values and values["closed_at"] is not None and outcome is not Outcome.OPEN:
        return {"closedate": wire_text(values["closed_at"])}
    if "expected_close" not in values:
        return {}  # that an open deal was not closed yet follows from its stage
    day = values["expected_close"]
    return {"closedate": wire_text(None if day is None else instant_of(day, account))}


def instant_of(day: date, account: Account) -> datetime:
    """An instant that is this day in the portal's zone and in UTC too, so that all readers agree.

    It is the middle of what the two days have in common.
    """
    begins = datetime.combine(day, time.min, account.zone).astimezone(UTC)
    ends = datetime.combine(day + timedelta(days=1), time.min, account.zone).astimezone(UTC)
    begins_utc = datetime.combine(day, time.min, UTC)
    first, last = max(begins, begins_utc), min(ends, begins_utc + timedelta(days=1))
    return first + (last - first) / 2


def wire_text(value: Any) -> str:
    """A value as the text of a property; `None` is the empty text, which clears.

    A list of options never begins with ";": that would add to what is there instead of
    replacing it.
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case datetime():
            at = value.astimezone(UTC)
            return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case tuple() | list():
            return ";".join(dict.fromkeys(str(option) for option in value if option))
    return str(value)


def emails(value: Sequence[str] | None) -> tuple[str, ...]:
    """Addresses as HubSpot keeps them: in lower case, each once, the primary one first."""
    return tuple(dict.fromkeys(address for one in value or () if (address := lowered(one))))


def phones(value: Sequence[str] | None) -> tuple[str, ...]:
    """Numbers, each once."""
    return tuple(dict.fromkeys(number for number in value or () if number))


def lowered(value: str | None) -> str | None:
    """An e-mail address or domain, trimmed and in lower case; `None` if nothing is left."""
    return (value or "").strip().lower() or None


def name_parts(name: str | None) -> tuple[str, str]:
    """First and last name of a full name; of a single word it is the last name."""
    first, _, last = " ".join((name or "").split()).rpartition(" ")
    return first, last


_HTML = re.compile(r"<[a-zA-Z/!][^>]*>|&(?:#\d+|#x[0-9a-fA-F]+|[a-zA-Z]+);")


def note_body(text: str | None) -> str:
    """The HTML of a note; text that is none is escaped, and its lines are kept."""
    text = text or ""
    if _HTML.search(text):
        return text
    return "<br>".join(escape(text, quote=False).splitlines())


def marked(body: str, key: str | None) -> str:
    """A note's HTML with its marker on a line of its own, unless it carries it already."""
    if not key or carries(body, key):
        return body
    return f"{body}<br>{key}" if body else key


def carries(text: str, key: str) -> bool:
    """Whether a text holds exactly this key, not a longer one that begins like it."""
    return re.search(rf"(?<![\w:.-]){re.escape(key)}(?![\w:.-])", text) is not None


def links(kind: Kind, values: Mapping[str, Any], labels: Labels) -> Iterator[tuple[str, str, list[Row]]]:
    """For each linked record: object type, id and the kinds of link, the primary company first."""
    for field, (to, primary, plain) in LINKS.get(kind, {}).items():
        value = values.get(field)
        if not value:
            continue
        if to == "contacts":
            for person in people(value):
                known, _ = split_role(person.role, labels)
                yield to, person.id, [{"associationCategory": DEFINED, "associationTypeId": plain}, *known]
        else:
            ids = [value] if isinstance(value, str) else dict.fromkeys(value)
            for at, native in enumerate(ids):
                # The primary kind brings the plain one with it.
                number = primary if at == 0 and primary else plain
                yield to, native, [{"associationCategory": DEFINED, "associationTypeId": number}]


def people(value: Sequence[DealContact]) -> list[DealContact]:
    """The people of a deal, each once."""
    return list({person.id: person for person in reversed(value)}.values())[::-1]


def split_role(role: str | None, labels: Labels) -> tuple[list[Row], list[str]]:
    """The kinds of link that a role stands for, and the labels that the portal does not have."""
    names = [name for name in (role or "").split("; ") if name]
    if role in labels:
        names = [role or ""]
    known = [
        {"associationCategory": labels[n]["category"], "associationTypeId": labels[n]["typeId"]}
        for n in names
        if n in labels
    ]
    return known, [name for name in names if name not in labels]


def associations(kind: Kind, values: Mapping[str, Any], labels: Labels) -> list[Row]:
    """The links of a new record, to be created with it."""
    return [{"to": {"id": native}, "types": types} for _, native, types in links(kind, values, labels)]


def texts_sent(change: Change) -> Iterator[str]:
    """The texts of a change's values, so that a message that quotes them can be masked."""
    for value in change.values.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, str):
                yield one
            elif isinstance(one, Decimal | date):
                yield wire_text(one)
