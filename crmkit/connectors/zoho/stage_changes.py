"""Stage changes of an org: in bulk through the module `DealHistory`, or deal by deal.

`DealHistory` is the module behind the related list `Stage_History`. Integrations query it
by COQL and list it as a plain module; Zoho documents neither, so one small query finds out
whether COQL takes it, and the list is the fallback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.base import Context, Page, Unreadable
from crmkit.connectors.walk import Segment, unpack, walk
from crmkit.connectors.zoho import queries
from crmkit.connectors.zoho.client import BASE, Client
from crmkit.connectors.zoho.columns import lookup_id
from crmkit.connectors.zoho.history import FIELDS, Stamp, Step, by_deal, change, is_change, stamp_of, steps
from crmkit.connectors.zoho.lists import read_list
from crmkit.connectors.zoho.metadata import Metadata
from crmkit.connectors.zoho.source import Raw, Source, chunks, ids_of
from crmkit.connectors.zoho.walks import read_module
from crmkit.errors import IncompleteRead, Rejected, UnreadableRecord
from crmkit.model import AnyRecord, Kind, StageChange

MODULE = "DealHistory"
# Up to so many deals of a page have the rest of their history read with it.
_DEALS_WITH_ALL_STEPS = 200
_FEW_DEALS = 3
_SAMPLE = (
    "select Potential_Name, Moved_To__s from DealHistory "
    "where Moved_To__s is not null order by id desc limit 20"
)


class StageHistory:
    """The stage history of one org."""

    def __init__(self, client: Client, metadata: Metadata, context: Context, *, in_flight: int) -> None:
        self._client = client
        self._metadata = metadata
        self._context = context
        self._in_flight = in_flight
        self._stamp: Stamp | None = None
        self._queried: bool | None = None

    def read(self, since: str | None) -> Iterator[Page]:
        """Pages of stage changes; see `Connector.read`."""
        phase = unpack(since)["phase"] if since else None
        if phase == "list" or not self._can_query():
            yield from read_list(
                self._client,
                MODULE,
                self._context.connection,
                since,
                fields=FIELDS,
                in_order=False,
                translate=self._page,
            )
            return
        yield from read_module(
            self._source(),
            self._context.connection,
            Kind.STAGE_CHANGE,
            since,
            in_flight=self._in_flight,
        )

    def of(self, deals: Sequence[str]) -> Iterator[Sequence[StageChange]]:
        """All changes of some deals, oldest first within a deal."""
        together = len(deals) > _FEW_DEALS and self._can_query()
        size = queries.IDS_PER_QUERY if together else 1
        segments = [{"deals": list(some)} for some in chunks(deals, size)]

        def step(segment: Segment) -> tuple[Sequence[StageChange], Sequence[Segment]]:
            wanted = segment["deals"]
            rows = self._rows_of(wanted) if together else self._listed(wanted[0])
            found, unreadable = self._records(rows, complete=True)
            for odd in unreadable:
                raise UnreadableRecord(str(odd.ref), odd.field, odd.reason)
            return found, ()

        for found, _ in walk(segments, step, in_flight=self._in_flight):
            yield found

    def get(self, ids: Sequence[str]) -> list[AnyRecord]:
        """The changes with these ids."""
        found: list[AnyRecord] = []
        for some in chunks(ids, queries.IDS_PER_QUERY):
            if self._can_query():
                rows = self._source().with_ids(some)
            else:
                params = {"ids": ",".join(some), "fields": ",".join(FIELDS)}
                rows = self._client.listing(f"/{MODULE}", params).rows
            changes, unreadable = self._translate(rows)
            for odd in unreadable:
                raise UnreadableRecord(str(odd.ref), odd.field, odd.reason)
            found += [one for one in changes if one.ref.id in set(some)]
        return found

    def _source(self) -> Source:
        return Source(
            self._client, MODULE, passes=lambda: (FIELDS,), translate=self._translate, deleted=False
        )

    def _can_query(self) -> bool:
        if self._queried is None:
            try:
                rows = self._client.query(_SAMPLE).rows
                deals = [lookup_id(row.get("Potential_Name"), "Potential_Name") for row in rows]
                sample = list(dict.fromkeys(deal for deal in deals if deal))
                self._learn(by_deal(self._rows_of(sample))[0].values() if sample else ())
                self._queried = True
            except (Rejected, translate.FieldError):
                self._queried = False
        return self._queried

    def _learn(self, chains: Iterable[Sequence[Mapping[str, Any]]]) -> Stamp:
        if self._stamp is None:
            self._stamp = stamp_of(chains)
        return self._stamp or Stamp.ENTERED

    def _rows_of(self, deals: Sequence[str]) -> list[Raw]:
        """All rows of some deals, by COQL."""
        found: list[Raw] = []
        for some in chunks(deals, queries.IDS_PER_QUERY):
            after = 0
            while True:
                text = queries.by_lookup(MODULE, FIELDS, "Potential_Name", some, after)
                answer = self._client.query(text)
                found += answer.rows
                if not answer.rows or not (answer.more or len(answer.rows) >= queries.ROWS_PER_QUERY):
                    break
                after = ids_of(answer.rows)[-1]
        return found

    def _listed(self, deal: str) -> list[Raw]:
        """All rows of one deal, from its related list."""
        found: list[Raw] = []
        label = f"GET {BASE}/Deals/Stage_History"
        params: dict[str, Any] = {"fields": ",".join(FIELDS[1:]), "per_page": 200}
        token: str | None = None
        while True:
            here = {**params, "page_token": token} if token else params
            answer = self._client.listing(f"/Deals/{deal}/Stage_History", here, label=label)
            # The list is the deal's own, so its rows need not name it.
            found += [{"Potential_Name": {"id": deal}, **row} for row in answer.rows]
            if not answer.more:
                return found
            if answer.token is None or answer.token == token:
                raise IncompleteRead(f"{self._context.connection}: a stage history has no next page")
            token = answer.token

    def _page(self, rows: Sequence[Raw]) -> Page:
        found, unreadable = self._records(rows, complete=False)
        return Page(records=found, unreadable=unreadable)

    def _translate(self, rows: Sequence[Raw]) -> tuple[Sequence[AnyRecord], list[Unreadable]]:
        """Changes of a page; of few deals with all their steps, so that each names the one before."""
        chains, odd = by_deal(rows)
        if self._queried and self._learn(()) is Stamp.ENTERED and len(chains) <= _DEALS_WITH_ALL_STEPS:
            whole = self._rows_of(list(chains))
            there = {row["id"] for row in whole}
            whole += [dict(row) for row in odd if row["id"] not in there]
            return self._records(whole, complete=True)
        return self._records(rows, complete=False)

    def _records(self, rows: Sequence[Raw], *, complete: bool) -> tuple[list[StageChange], list[Unreadable]]:
        """Changes, given all rows of the deals they name (`complete`) or just some."""
        chains, odd = by_deal(rows)
        stamp = self._learn(chains.values())
        known: Iterable[Step]
        if complete:
            known = steps(chains.values())
        else:
            known = ((row, None) for chain in chains.values() for row in chain)
        told = [step for step in known if is_change(stamp, step[0])] + [(row, None) for row in odd]
        if not told:
            return [], []
        names = self._metadata.names()
        connection = self._context.connection
        return translate.records(
            StageChange,
            connection,
            Kind.STAGE_CHANGE,
            told,
            lambda step: change(connection, stamp, names, step),
            lambda step: str(step[0]["id"]),
        )
