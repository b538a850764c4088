"""What Copper's answers to writes say about each change; pure.

Source: https://developer.copper.com/people/bulk-update-people.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crmkit.connectors.copper.bodies import Ready, marker
from crmkit.connectors.copper.records import MARKER
from crmkit.connectors.copper.values import Row
from crmkit.connectors.writing import Act
from crmkit.errors import BadAnswer
from crmkit.model import Kind

_REASON_LENGTH = 300
_ADDRESSES = re.compile(r"[^\s<>\"'(),:;]+@[^\s<>\"'(),:;]+")
# "Invalid input: Validation errors: Name: can't be blank, Primary contact: is missing"
_LABELS = re.compile(r"(?:Validation errors:|,)\s*([A-Za-z][A-Za-z _]*?):\s")
_MODEL_NAMES = {
    "name": "name",
    "pipeline": "pipeline_id",
    "pipeline_stage": "stage_id",
    "stage": "stage_id",
    "status": "outcome",
    "loss_reason": "lost_reason",
    "customer_source": "source",
    "source": "source",
    "monetary_value": "amount",
    "value": "amount",
    "monetary_unit": "currency",
    "currency": "currency",
    "win_probability": "probability",
    "assignee": "owner_id",
    "owner": "owner_id",
    "company": "companies",
    "primary_contact": "contacts",
    "contact": "contacts",
    "close_date": "expected_close",
    "tags": "tags",
    "email_domain": "domain",
    "emails": "emails",
    "email": "emails",
    "phone_numbers": "phones",
    "custom_fields": "custom",
    "details": "text",
    "parent": "deal_id",
    "activity_date": "at",
}
_NOWHERE = frozenset({"id", "base", "record", ""})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one record was refused: the model's field if it can be told, and Copper's words.

    `gone` says that there is no such record.
    """

    reason: str
    field: str | None = None
    gone: bool = False


def paired(group: Sequence[Ready], items: Sequence[Any]) -> dict[str, Row]:
    """The item of a bulk answer that belongs to each change, by the change's id.

    The documentation promises the order of the request; an item that says by its id or our
    marker that it belongs elsewhere is believed more. What no item can be told for is left out.
    """
    rows = [item if isinstance(item, dict) else {} for item in items]
    found: dict[str, Row] = {}
    if len(rows) == len(group):
        found = {
            one.change.id: row for one, row in zip(group, rows, strict=True) if _may_belong(one, row, group)
        }
    taken = {id(row) for row in found.values()}
    for one in group:
        if one.change.id in found:
            continue
        own = [row for row in rows if id(row) not in taken and _belongs(one, row)]
        if len(own) == 1:
            found[one.change.id] = own[0]
            taken.add(id(own[0]))
    return found


def _may_belong(one: Ready, row: Row, group: Sequence[Ready]) -> bool:
    if not row or not (is_record(row) or row.get("success") is False):
        return False
    if one.change.act is Act.UPDATE:
        return row.get("id") in (None, _own_id(one)) if not is_record(row) else _belongs(one, row)
    return not any(_belongs(other, row) for other in group if other is not one)


def _belongs(one: Ready, row: Row) -> bool:
    if one.change.act is Act.UPDATE:
        return row.get("id") is not None and row.get("id") == _own_id(one)
    key = one.change.key
    if not key:
        return False
    if one.change.kind is Kind.NOTE:
        return in_text(row, key)
    return carries(row, key)


def _own_id(one: Ready) -> int | None:
    return int(one.change.ref.id) if one.change.ref and one.change.ref.id.isdecimal() else None


def carries(row: Row, key: str) -> bool:
    """Whether a record has our tag for this key, whatever case Copper keeps tags in."""
    wanted = marker(key).casefold()
    return any(isinstance(tag, str) and tag.casefold() == wanted for tag in row.get("tags") or ())


def in_text(row: Row, key: str) -> bool:
    """Whether a note has our marker for this key as a word of its text."""
    return not {key, marker(key)}.isdisjoint(str(row.get("details") or "").split())


def has_marker(row: Row) -> bool:
    """Whether a record has any tag of ours."""
    return any(isinstance(tag, str) and tag.startswith(MARKER) for tag in row.get("tags") or ())


def is_record(row: Row) -> bool:
    """Whether an item of an answer is a whole record and not a failure."""
    native = row.get("id")
    return row.get("success") is not False and isinstance(native, int) and not isinstance(native, bool)


def a_record(body: Row, wanted: int | None) -> Row:
    """The record of a single call's answer.

    Raises:
        BadAnswer: It is none, or another one than was asked for.
    """
    if not is_record(body) or (wanted is not None and body["id"] != wanted):
        raise BadAnswer("the answer is not the record that was written")
    return body


def refused_item(item: Mapping[str, Any]) -> Refusal:
    """A failed item of a bulk answer: `{"success": false, "message": {field: [{"error": code}]}}`."""
    said = item.get("message") or item.get("error") or "refused"
    if not isinstance(said, dict):
        return refused_text(str(said))
    parts, names = [], []
    for label, errors in said.items():
        codes = [str(part.get("error") if isinstance(part, dict) else part) for part in _listed(errors)]
        parts.append(f"{label}: {', '.join(codes)}")
        names.append(str(label))
        gone = label in _NOWHERE and any("not_found" in code or "not found" in code for code in codes)
        if gone:
            return Refusal(cut("; ".join(parts)), None, gone=True)
    return Refusal(cut("; ".join(parts)), next((own for own in map(model_name, names) if own), None))


def refused_text(said: str) -> Refusal:
    """A refused single call: its fields are labels inside the text."""
    names = (model_name(label) for label in _LABELS.findall(said))
    return Refusal(cut(said), next((name for name in names if name), None))


def model_name(label: str) -> str | None:
    """The model's name of a field that Copper names or labels."""
    name = "_".join(label.lower().split())
    return _MODEL_NAMES.get(name.removesuffix("_id")) or _MODEL_NAMES.get(name)


def cut(text: str) -> str:
    """Copper's words on one line, short and without addresses of people."""
    return _ADDRESSES.sub("•••", " ".join(text.split()))[:_REASON_LENGTH]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
