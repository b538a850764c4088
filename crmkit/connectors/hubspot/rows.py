"""From the rows of one page to canonical records: links completed, merges told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.base import Unreadable
from crmkit.connectors.hubspot import records
from crmkit.connectors.hubspot.calls import BATCH_LIMIT, HISTORY_BATCH_LIMIT, Api, Row
from crmkit.connectors.hubspot.schema import Schema
from crmkit.connectors.translate import FieldError
from crmkit.errors import BadAnswer
from crmkit.model import AnyRecord, Company, Contact, Deal, Kind, Note, Ref, StageChange, Tombstone


@dataclass(slots=True)
class Found:
    """What one step of a walk brought."""

    records: Sequence[AnyRecord] = ()
    tombstones: list[Tombstone] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)


def fetch(api: Api, schema: Schema, ids: Sequence[str]) -> list[Row]:
    """Fresh rows of the given ids with all their links, in batches."""
    wire = schema.wire
    size = HISTORY_BATCH_LIMIT if wire.history else BATCH_LIMIT
    rows: list[Row] = []
    for start in range(0, len(ids), size):
        rows += api.batch(wire.of, ids[start : start + size], schema.names, wire.history)
    for to in wire.links:
        _attach(api, schema, rows, to)
    return rows


def complete(api: Api, schema: Schema, rows: list[Row]) -> list[Row]:
    """Listed rows with what a list leaves out.

    That is links beyond the hundredth, labels of links, and properties that did not fit
    into the URL.
    """
    if schema.oversize and not schema.wire.history:
        rows = _with_properties(api, schema, rows)
    for to in schema.wire.links:
        if to == "contacts" and schema.labelled:
            short = [row for row in rows if (row.get("associations") or {}).get(to)]
        else:
            short = [row for row in rows if "associations" in row and records.cut_short(row, to)]
        if short:
            _attach(api, schema, short, to)
    return rows


def _attach(api: Api, schema: Schema, rows: Sequence[Row], to: str) -> None:
    links = api.links(schema.wire.of, to, [str(row["id"]) for row in rows])
    primary = schema.wire.primary.get(to)
    for row in rows:
        try:
            block = records.inline(links.get(str(row["id"]), ()), primary)
        except (KeyError, TypeError, AttributeError) as error:
            raise BadAnswer(f"{schema.connection}: a link to {to} cannot be read") from error
        row["associations"] = {**(row.get("associations") or {}), to: block}


def _with_properties(api: Api, schema: Schema, rows: list[Row]) -> list[Row]:
    whole: dict[str, Row] = {}
    for start in range(0, len(rows), BATCH_LIMIT):
        batch = [row["id"] for row in rows[start : start + BATCH_LIMIT]]
        whole.update((row["id"], row) for row in api.batch(schema.wire.of, batch, schema.names))
    # One that is gone by now was archived or merged meanwhile: the next read tells.
    return [
        {**whole[row["id"]], "associations": row.get("associations")} for row in rows if row["id"] in whole
    ]


def translated(schema: Schema, rows: list[Row]) -> Found:
    """The records of complete rows."""
    connection, kind = schema.connection, schema.wire.kind
    found = Found()
    if kind is Kind.DEAL:
        found.records, found.unreadable = translate.records(
            Deal, connection, kind, rows, lambda row: records.deal(row, schema), _id
        )
    elif kind is Kind.COMPANY:
        found.records, found.unreadable = translate.records(
            Company, connection, kind, rows, lambda row: records.company(row, schema), _id
        )
    elif kind is Kind.CONTACT:
        found.records, found.unreadable = translate.records(
            Contact, connection, kind, rows, lambda row: records.contact(row, schema), _id
        )
    elif kind is Kind.NOTE:
        found.records, found.unreadable = translate.records(
            Note, connection, kind, records.spread_notes(rows), lambda row: records.note(row, schema), _id
        )
    else:
        changes = records.spread_history(rows)
        found.records, found.unreadable = translate.records(
            StageChange,
            connection,
            kind,
            changes,
            lambda row: records.stage_change(row, schema),
            lambda row: f"{row['deal']}:{row['to']}",
        )
    for row in rows:
        found.tombstones += records.merged_away(row, schema)
    return found


def archived(schema: Schema, rows: Sequence[Row], since: datetime | None) -> Found:
    """Tombstones for archived rows, and no older ones than `since`.

    HubSpot cannot filter or sort by the time of archiving, so all are listed each time.
    """
    found = Found()
    for row in rows:
        ref = Ref(schema.connection, schema.wire.kind, str(row["id"]))
        try:
            at = translate.instant(row.get("archivedAt"), "archivedAt")
        except FieldError:
            at = None  # that it is gone is sure, only not since when
        if since is None or at is None or at >= since:
            found.tombstones.append(Tombstone(ref=ref, at=at))
    return found


def _id(row: Any) -> str:
    return str(row["id"])
