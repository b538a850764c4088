"""From the rows of one page to canonical records: links completed, merges told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.base import Unreadable
from crmkit.connectors.hubspot import history, records
from crmkit.connectors.hubspot import links as links_
from crmkit.connectors.hubspot.answers import Row
from crmkit.connectors.hubspot.calls import BATCH_LIMIT, HISTORY_BATCH_LIMIT, Api
from crmkit.connectors.hubspot.schema import Schema
from crmkit.connectors.translate import FieldError
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
        chosen = links_.block if to == "contacts" and schema.labelled else links_.cut_short
        short = [row for row in rows if "associations" in row and chosen(row, to)]
        if short:
            _attach(api, schema, short, to)
    return rows


def _attach(api: Api, schema: Schema, rows: Sequence[Row], to: str) -> None:
    found = api.links(schema.wire.of, to, [str(row["id"]) for row in rows])
    primary = schema.wire.primary.get(to)
    for row in rows:
        block = links_.inline(found.get(str(row["id"]), ()), primary)
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
    model, translate_row, spread = _READERS[schema.wire.kind]
    found = Found()
    found.records, found.unreadable = translate.records(
        model,
        schema.connection,
        schema.wire.kind,
        spread(rows) if spread else rows,
        partial(translate_row, schema=schema),
        _id,
    )
    found.tombstones += records.merged_away(rows, schema)
    return found


_Reading = tuple[type[Any], Callable[..., Row], Callable[[Iterable[Row]], Iterator[Row]] | None]
_READERS: Mapping[Kind, _Reading] = {
    Kind.DEAL: (Deal, records.deal, None),
    Kind.COMPANY: (Company, records.company, None),
    Kind.CONTACT: (Contact, records.contact, None),
    Kind.NOTE: (Note, records.note, records.spread_notes),
    Kind.STAGE_CHANGE: (StageChange, history.stage_change, history.spread_history),
}


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
    return str(row["id"] if "id" in row else row["deal"])
