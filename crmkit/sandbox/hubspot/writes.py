"""Records, written one by one: create, update, archive, merge.

Source: https://developers.hubspot.com/docs/api-reference/latest/crm/using-object-apis
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields as fields_of
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crmkit.sandbox.hubspot import linking
from crmkit.sandbox.hubspot.answers import (
    Rejected,
    invalid,
    invalid_properties,
    missing_fields,
    missing_record,
    read_body,
    refuse,
    reply,
    version_of,
)
from crmkit.sandbox.hubspot.drafts import Draft, draft
from crmkit.sandbox.hubspot.kinds import ALL, ObjectType, object_type
from crmkit.sandbox.hubspot.links import FIELDS, TYPES
from crmkit.sandbox.hubspot.portal import Portal
from crmkit.sandbox.hubspot.rendering import Plan
from crmkit.sandbox.hubspot.values import Reader
from crmkit.sandbox.rows import Kind, SideEffect

BY = "api"
_MERGED_MOST = 250
# What a written record's answer shows beyond what was sent, if it is set (the set is not documented).
_SHOWN: Mapping[str, tuple[str, ...]] = {
    "deals": (
        "amount_in_home_currency",
        "deal_currency_code",
        "hs_deal_stage_probability",
        "hs_is_closed",
        "hs_is_closed_won",
        "hubspot_owner_id",
    ),
    "companies": ("hubspot_owner_id", "phone", "website"),
    "contacts": ("hubspot_owner_id", "lifecyclestage", "phone"),
    "notes": ("hs_note_body", "hs_timestamp", "hubspot_owner_id"),
}


class Writes:
    """The calls that write one record."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def routes(self) -> list[Route]:
        """What is served."""
        records = "/crm/v3/objects/{type}"
        return [
            Route(records, self.create, methods=["POST"]),
            Route(f"{records}/merge", self.merge, methods=["POST"]),
            Route(f"{records}/{{id}}", self.update, methods=["PATCH"]),
            Route(f"{records}/{{id}}", self.archive, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        """Make a record, with links to others that exist; its answer does not tell the links."""
        one_type = writable_type(self.portal, request.path_params["type"])
        body = await read_body(request)
        reader = Reader(self.portal, one_type, lenient=version_of(request) == "2026-09")
        made = prepare_new(self.portal, reader, body, {})
        row = commit_new(self.portal, one_type, made)
        record = written(self.portal, one_type, [(row, made)])[0]
        answer = reply(record, 201)
        answer.headers["Location"] = f"{self.portal.origin}{request.url.path.rstrip('/')}/{row.id}"
        return answer

    async def update(self, request: Request) -> Response:
        """Change a record, named by its id, by one that was merged into it, or by a unique property."""
        one_type = writable_type(self.portal, request.path_params["type"])
        record_id, by = request.path_params["id"], request.query_params.get("idProperty")
        body = await read_body(request)
        if by and by != "hs_object_id":
            check_unique(self.portal, one_type, by)
            before = self.portal.find_by(one_type, by, record_id)
        else:
            before = self.portal.find(one_type, record_id)
        if before is None:
            missing_record(record_id)
        if not body.get("properties"):
            invalid("No properties found to update, please provide at least one.")
        reader = Reader(self.portal, one_type, lenient=version_of(request) == "2026-09")
        change = prepare_change(self.portal, reader, body["properties"], before, {})
        row = commit_change(self.portal, one_type, before.id, change)
        return reply(written(self.portal, one_type, [(row, change)])[0])

    async def archive(self, request: Request) -> Response:
        """Archive a record; an id that does not exist is answered alike."""
        one_type = writable_type(self.portal, request.path_params["type"])
        archive_record(self.portal, one_type, request.path_params["id"])
        return Response(status_code=204)

    async def merge(self, request: Request) -> Response:
        """Let one record go up in another.

        Which id remains is told differently: here the primary's, or with the setting `merge_makes_new_id`
        a third one, as the UI does with deals (contract, section 2).
        """
        one_type = writable_type(self.portal, request.path_params["type"])
        body = await read_body(request)
        absent = [name for name in ("objectIdToMerge", "primaryObjectId") if not body.get(name)]
        if absent:
            missing_fields(*absent)
        winner, loser = str(body["primaryObjectId"]), str(body["objectIdToMerge"])
        kind, table = kind_of(one_type), self.portal.table(one_type)
        for record_id in (winner, loser):
            if record_id not in table:
                missing_record(record_id)
        if winner == loser:
            invalid("A record cannot be merged with itself")
        told = self.portal.facts().merged
        if sum(len(told.get((kind, one), "").split(";")) for one in (winner, loser)) > _MERGED_MOST:
            refuse(414, "Too many merged identities", "VALIDATION_ERROR")
        losers = [loser]
        if self.portal.settings.extra.get("merge_makes_new_id"):
            losers, former = [winner, loser], table[winner]
            same = {one.name: getattr(former, one.name) for one in fields_of(former) if one.name != "id"}
            winner = self.portal.world.create(kind, **same).id
        for one in losers:
            self.portal.book.hand_over(kind, one, winner)
            custom = {**table[one].custom, **table[winner].custom}
            self.portal.world.merge(kind, one, winner)
            self.portal.world.edit(kind, winner, custom=custom)
        note_effects(self.portal, kind, winner, None)
        return reply(Plan(self.portal, one_type, None).record(table[winner]))


def writable_type(portal: Portal, name: str) -> ObjectType:
    """The object type that an address names, if its records may be written; tasks are not kept here."""
    found = object_type(name)
    portal.may_write(found)
    if found.kind is None:
        refuse(400, f"Unable to infer object type from: {name}")
    return found


def kind_of(one_type: ObjectType) -> Kind:
    """The kind of row behind an object type that can be written."""
    assert one_type.kind is not None
    return one_type.kind


def check_unique(portal: Portal, one_type: ObjectType, name: str) -> None:
    """End the call with 400 unless records can be told apart by this property."""
    if name not in portal.unique_properties(one_type.kind):
        invalid(
            f"Unable to perform update/upsert by non-unique {one_type.type_id} property {name} "
            f"in portal ID {portal.portal_id}"
        )


Taken = dict[tuple[str, str], str]


def prepare_new(portal: Portal, reader: Reader, said: Mapping[str, Any], taken: Taken) -> Draft:
    """Check one record to be made; `taken` holds the unique values of those before it in the same batch."""
    made = draft(portal, reader, said.get("properties") or {}, None)
    _check_conflicts(portal, reader.one_type, made, None, taken)
    made.links = _read_links(portal, reader.one_type, said.get("associations"))
    _remember(made, None, taken)
    return made


def prepare_change(portal: Portal, reader: Reader, said: Any, before: Any, taken: Taken) -> Draft:
    """Check one record to be changed."""
    change = draft(portal, reader, said, before)
    _check_conflicts(portal, reader.one_type, change, before.id, taken)
    _remember(change, before.id, taken)
    return change


def commit_new(portal: Portal, one_type: ObjectType, made: Draft) -> Any:
    """Make the record and its links; gives the row."""
    kind = kind_of(one_type)
    fields = dict(made.fields)
    links = linking.fold(one_type, fields, made.links)
    row = portal.world.create(kind, **fields)
    for target, target_id, types in links:
        linking.add(portal, linking.in_order(portal, one_type, row.id, target, target_id, types))
    note_effects(portal, kind, row.id, made)
    return portal.table(one_type)[row.id]


def commit_change(portal: Portal, one_type: ObjectType, record_id: str, change: Draft) -> Any:
    """Change the record; gives the row. A write that changes nothing moves the stamp too (not documented)."""
    kind = kind_of(one_type)
    row = portal.world.edit(kind, record_id, **change.fields)
    note_effects(portal, kind, record_id, change)
    return row


def archive_record(portal: Portal, one_type: ObjectType, record_id: str) -> None:
    """Archive the record, if it is there."""
    if record_id in portal.table(one_type):
        portal.world.delete(kind_of(one_type), record_id)
        note_effects(portal, kind_of(one_type), record_id, None)


def note_effects(portal: Portal, kind: Kind, record_id: str, change: Draft | None) -> None:
    """Log what a write starts: workflows enrol by any change, a new owner is notified. There is no switch."""
    log = portal.world.side_effects
    log.append(SideEffect(kind, record_id, "workflow", BY))
    if change is not None and (change.fields.get("owner_id") or change.fields.get("author_id")):
        log.append(SideEffect(kind, record_id, "notification", BY))


def written(portal: Portal, one_type: ObjectType, rows: Iterable[tuple[Any, Draft]]) -> list[dict[str, Any]]:
    """Records as writes answer with them: what was sent, and what else is set."""
    pairs = list(rows)
    names = {name for _, change in pairs for name in change.sent}
    plan = Plan(portal, one_type, names.union(one_type.defaults, _SHOWN[one_type.plural]))
    records = []
    for row, change in pairs:
        record = plan.record(row)
        record["properties"] = {
            name: value
            for name, value in record["properties"].items()
            if value is not None or name in change.sent
        }
        if change.warnings:
            record["warnings"] = change.warnings
        records.append(record)
    return records


def _check_conflicts(
    portal: Portal, one_type: ObjectType, change: Draft, own_id: str | None, taken: Taken
) -> None:
    for name, values in change.unique.items():
        for value in values:
            holder = _holder(portal, one_type, name, value)
            if holder is None or holder == own_id:
                holder = taken.get((name, value))
            if holder is None or (own_id is not None and holder == own_id):
                continue
            if name == "email":
                raise Rejected(409, f"Contact already exists. Existing ID: {holder}", "CONFLICT")
            message = (
                f"Cannot set PropertyValueCoordinates{{portalId={portal.portal_id}, "
                f"objectTypeId={one_type.type_id}, propertyName={name}, value={value}}} on "
                f"{own_id or 'a new record'}. {holder} already has that value."
            )
            # The shape of other bad values: only this one's code and its last words are known.
            invalid_properties({name: ("CONFLICTING_UNIQUE_VALUE", message)}, portal.portal_id)


def _holder(portal: Portal, one_type: ObjectType, name: str, value: str) -> str | None:
    live = portal.find_by(one_type, name, value)
    if live is not None:
        return str(live.id)
    if portal.settings.extra.get("archived_keeps_unique"):  # whether it does is not documented
        key = portal.unique_properties(one_type.kind)[name]
        for gone in portal.archive(one_type):
            held = gone.row.custom.get(key) if key else None
            if value in {str(held).casefold(), *getattr(gone.row, "emails", ())}:
                return gone.id
    return None


def _remember(change: Draft, own_id: str | None, taken: Taken) -> None:
    for name, values in change.unique.items():
        taken.update(
            dict.fromkeys(((name, value) for value in values), own_id or "another input of this batch")
        )


def _read_links(
    portal: Portal, one_type: ObjectType, said: Any
) -> list[tuple[ObjectType, str, frozenset[int]]]:
    """The links that a new record comes with; the type ids say what the other end is."""
    if said is None:
        return []
    if not isinstance(said, list):
        invalid("Invalid input JSON: associations must be a list")
    found = []
    for one in said:
        to = one.get("to") if isinstance(one, dict) else None
        if not isinstance(to, dict) or "id" not in to or not one.get("types"):
            missing_fields("to", "types")
        target = _target_of(portal, one_type, one["types"])
        types = linking.read_types(portal, one_type, target, one["types"])
        portal.may_write(target)
        target_id = str(to["id"])
        if target_id not in portal.table(target):
            # Only records that exist can be linked to; the text is ours.
            invalid(f"Could not associate: no {target.singular.upper()} with id {target_id} exists")
        linking.check_cap(portal, target, target_id, one_type, "")
        found.append((target, target_id, types))
    return found


def _target_of(portal: Portal, one_type: ObjectType, said: Any) -> ObjectType:
    wanted = (
        said[0].get("associationTypeId") if isinstance(said, list) and isinstance(said[0], dict) else None
    )
    for target in ALL:
        pair = (one_type.singular, target.singular)
        if pair not in FIELDS and (pair[1], pair[0]) not in FIELDS:
            continue
        known = {one.type_id for one in (*TYPES[pair], *portal.book.labels.get(pair, ()))}
        if wanted in known or str(wanted) in {str(one) for one in known}:
            return target
    invalid(f"Invalid association type: {wanted} does not begin at {one_type.type_id}")
