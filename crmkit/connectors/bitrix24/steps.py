"""One change on its way: the requests that carry it out, and those that complete it.

Source: https://apidocs.bitrix24.com/api-reference/crm/universal/index.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crmkit.connectors.bitrix24.bodies import (
    UNCLEARABLE,
    WIRE_NAMES,
    Body,
    body_of,
    import_times,
    legacy_name,
)
from crmkit.connectors.bitrix24.encoding import CustomFields, Unwritable, id_text, key_pair
from crmkit.connectors.bitrix24.getting import ENTITY_TYPES
from crmkit.connectors.bitrix24.keys import lines_of
from crmkit.connectors.bitrix24.sender import PILOT
from crmkit.connectors.bitrix24.wire import Request
from crmkit.connectors.writing import Act, Change, Result, Written
from crmkit.model import Kind, Ref

UPDATE, ADD, IMPORT, DELETE = "crm.item.update", "crm.item.add", "crm.item.import", "crm.item.delete"
COMMENT, UNCOMMENT = "crm.timeline.comment.add", "crm.timeline.comment.delete"
TIMES = {"createdTime": "created_at", "movedTime": "closed_at"}


def method_of(change: Change) -> str:
    """The method that carries out a change of a deal, company, contact or comment."""
    if change.kind is Kind.NOTE:
        return UNCOMMENT if change.act is Act.DELETE else COMMENT
    if change.act is Act.CREATE:
        return IMPORT if change.values.get("created_at") else ADD
    return UPDATE if change.act is Act.UPDATE else DELETE


def slices(changes: Sequence[Change], size: int, *, proven: bool) -> list[Sequence[Change]]:
    """The changes request by request, in order; a small one first if nothing is known yet."""
    first = PILOT if not proven and len(changes) > PILOT else 0
    rest = [changes[begin : begin + size] for begin in range(first, len(changes), size)]
    return [changes[:first], *rest] if first else rest


@dataclass(slots=True)
class Step:
    """One change on its way.

    Attributes:
        change: What is to be done.
        body: What it becomes; of no interest for deletes and comments.
        request: What carries it out; `None` if all of it takes the second round.
        ref: The record, as soon as it is known.
        written: The outcome, as soon as it is known.
        fixes: Requests of the second round, with the model's fields that each completes.
        check: Whether the record has to be read to know what it holds.
    """

    change: Change
    body: Body = field(default_factory=Body)
    request: Request | None = None
    ref: Ref | None = None
    written: Written | None = None
    fixes: list[tuple[Request, tuple[str, ...]]] = field(default_factory=list)
    check: bool = False


def prepare(step: Step, kind: Kind, customs: CustomFields) -> None:
    """Fill in the request of a change, and what the second round has to do.

    Raises:
        Unwritable: A value cannot be stored.
    """
    change = step.change
    if kind is Kind.NOTE and change.act is Act.DELETE:
        step.request = Request(UNCOMMENT, {"id": id_text(change.ref.id if change.ref else "", "ref")})
        return
    if kind is Kind.NOTE:
        step.request = Request(COMMENT, {"fields": comment_of(change)})
        return
    place: dict[str, Any] = {"entityTypeId": ENTITY_TYPES[kind]}
    if change.act is not Act.CREATE:
        place["id"] = id_text(change.ref.id if change.ref else "", "ref")
    if change.act is Act.DELETE:
        step.request = Request(DELETE, place)
        return
    creating = change.act is Act.CREATE
    step.body = body_of(kind, change.values, customs, creating=creating)
    fields = dict(step.body.fields)
    if creating and change.key:
        fields |= key_pair(change.key)
    if not creating:
        step.fixes = [(_emptying(place["id"], one, kind, customs), (one,)) for one in step.body.emptied]
    if fields or creating:
        method = IMPORT if import_times(fields) else ADD if creating else UPDATE
        step.request = Request(method, {**place, "fields": fields})


def _emptying(native: str, name: str, kind: Kind, customs: CustomFields) -> Request:
    if name == "contacts":
        return Request("crm.deal.contact.items.delete", {"id": native})
    if name == "companies":
        return Request("crm.contact.company.items.delete", {"id": native})
    return _clearing(native, [name.removeprefix("custom.")], kind, customs)


def _clearing(native: str, wires: Sequence[str], kind: Kind, customs: CustomFields) -> Request:
    """An update by the older method, which clears what the newer one leaves as it is."""
    legacy = {legacy_name(one, customs) or one: "" for one in wires}
    return Request(f"crm.{kind.value}.update", {"id": native, "fields": legacy})


def repairs(
    step: Step, kept: Sequence[str], kind: Kind, customs: CustomFields
) -> list[tuple[Request, tuple[str, ...]]]:
    """Requests for fields that an update is known to leave as they were."""
    native, values = (step.ref.id if step.ref else ""), step.change.values
    repairs: list[tuple[Request, tuple[str, ...]]] = []
    cleared: dict[str, str] = {}
    for name in kept:
        wire = name.removeprefix("custom.") if name.startswith("custom.") else WIRE_NAMES[kind].get(name)
        if name in ("contacts", "companies") and wire in ("contactIds", "companyIds") and values[name]:
            repairs.append((linking(native, name, step.body.fields[wire]), (name,)))
        elif (
            wire and name not in UNCLEARABLE and values[name] in (None, "", ()) and legacy_name(wire, customs)
        ):
            cleared[name] = wire
    if cleared:
        repairs.append((_clearing(native, list(cleared.values()), kind, customs), tuple(cleared)))
    return repairs


def place_of(kind: Kind, step: Step) -> tuple[tuple[str, object], ...]:
    return ("entityTypeId", ENTITY_TYPES[kind]), ("id", step.ref.id if step.ref else "")


def linking(native: str, name: str, ids: Sequence[str]) -> Request:
    """A call that sets the whole set of links, the primary one first."""
    method, link = {
        "contacts": ("crm.deal.contact.items.set", "CONTACT_ID"),
        "companies": ("crm.contact.company.items.set", "COMPANY_ID"),
    }[name]
    items = [
        {link: one, "SORT": str((index + 1) * 10), "IS_PRIMARY": "N" if index else "Y"}
        for index, one in enumerate(ids)
    ]
    return Request(method, {"id": native, "items": items})


def comment_of(change: Change) -> dict[str, str]:
    """A comment with our key on a line of its own; it has no other place for it."""
    text = change.values.get("text")
    if not isinstance(text, str) or not text.strip():
        raise Unwritable("text", "is empty")
    if change.key and change.key not in lines_of(text):
        text = f"{text}\n{change.key}"
    return {
        "ENTITY_ID": id_text(change.values.get("deal_id") or "", "deal_id"),
        "ENTITY_TYPE": "deal",
        "COMMENT": text,
    }


def multi_names(step: Step) -> list[str]:
    return [name for name in ("phones", "emails", "domain") if name in step.change.values]


def with_unwritten(step: Step, written: Written) -> Written:
    if written.result is not Result.DONE or not step.body.unwritten:
        return written
    return replace(written, unwritten={**step.body.unwritten, **written.unwritten})


def is_done(step: Step) -> bool:
    return step.written is not None and step.written.result is Result.DONE


def refused_create(step: Step) -> bool:
    return (
        step.change.act is Act.CREATE
        and step.request is not None
        and step.change.key is not None
        and step.written is not None
        and step.written.result is Result.REJECTED
    )


def refused_import(step: Step) -> bool:
    return (
        step.request is not None
        and step.request.method == IMPORT
        and step.written is not None
        and step.written.result is Result.REJECTED
    )


def puzzling(change: Change) -> Written:
    return Written(change.id, Result.UNKNOWN, change.ref, reason="the answer does not name the record")
