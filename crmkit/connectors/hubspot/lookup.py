"""Records by id, in the fewest calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crmkit.connectors.base import Unreadable
from crmkit.connectors.hubspot import rows
from crmkit.connectors.hubspot.calls import BATCH_LIMIT, HISTORY_BATCH_LIMIT, LINKS_LIMIT, Api
from crmkit.connectors.hubspot.schema import Schema
from crmkit.connectors.walk import Segment, walk
from crmkit.errors import UnreadableRecord
from crmkit.model import AnyRecord, Kind, StageChange

FEW = 20


class Lookup:
    """Reads records that a caller names.

    Args:
        api: HubSpot.
        in_flight: How many calls may run at once.
    """

    def __init__(self, api: Api, in_flight: int) -> None:
        self._api = api
        self._in_flight = in_flight

    def records(self, schema: Schema, ids: Sequence[str]) -> list[AnyRecord]:
        """Current records; of a merged one its survivor, of one that is gone nothing.

        Raises:
            UnreadableRecord: A record cannot be translated.
        """
        natives = list(dict.fromkeys(id_.partition(":")[0] for id_ in ids))
        found = self._fetch(schema, natives)
        if schema.wire.kind is Kind.NOTE:
            wanted = set(ids)
            return [record for record in found if record.ref.id in wanted]
        seen = {record.ref.id for record in found}
        missing = self._perhaps_merged(schema, [native for native in natives if native not in seen])
        # Whether a batch finds a record by the id of a merged one is not known; a single
        # read does. What it does not find is gone.
        of, names = schema.wire.of, ["hs_object_id"]
        singles = walk(
            [{"id": native} for native in missing],
            lambda segment: (self._api.one(of, segment["id"], names), ()),
            in_flight=self._in_flight,
        )
        survivors = [str(row["id"]) for row, _ in singles if row is not None]
        return [*found, *self._fetch(schema, [id_ for id_ in survivors if id_ not in seen])]

    def _perhaps_merged(self, schema: Schema, missing: Sequence[str]) -> Sequence[str]:
        """Those that are not simply archived, so that a great clean-up costs no call per record."""
        if len(missing) <= FEW:
            return missing
        archived: set[str] = set()
        for batch, _ in walk(
            _chunks(missing, BATCH_LIMIT),
            lambda segment: (self._api.archived(schema.wire.of, segment["ids"]), ()),
            in_flight=self._in_flight,
        ):
            archived |= batch
        return [native for native in missing if native not in archived]

    def history(self, schema: Schema, ids: Sequence[str]) -> Iterator[Sequence[StageChange]]:
        """Stage changes of deals, oldest first within a deal."""
        for batch, _ in walk(
            _chunks(ids, HISTORY_BATCH_LIMIT),
            lambda segment: (rows.fetch(self._api, schema, segment["ids"]), ()),
            in_flight=self._in_flight,
        ):
            found = rows.translated(schema, batch)
            changes = readable(found.records, found.unreadable)
            yield [change for change in changes if isinstance(change, StageChange)]

    def _fetch(self, schema: Schema, ids: Sequence[str]) -> list[AnyRecord]:
        found: list[AnyRecord] = []
        for batch, _ in walk(
            _chunks(list(dict.fromkeys(ids)), LINKS_LIMIT),
            lambda segment: (rows.fetch(self._api, schema, segment["ids"]), ()),
            in_flight=self._in_flight,
        ):
            read = rows.translated(schema, batch)
            found += readable(read.records, read.unreadable)
        return found


def readable(found: Sequence[AnyRecord], unreadable: Sequence[Unreadable]) -> Sequence[AnyRecord]:
    """The records, if all of them could be translated.

    Raises:
        UnreadableRecord: One could not.
    """
    for one in unreadable:
        raise UnreadableRecord(str(one.ref), one.field, one.reason)
    return found


def _chunks(ids: Sequence[str], size: int) -> list[Segment]:
    return [{"ids": ids[start : start + size]} for start in range(0, len(ids), size)]
