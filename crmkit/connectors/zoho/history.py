"""Stage changes of an org: in bulk through the module `DealHistory`, or deal by deal.

`DealHistory` is the module behind the related list `Stage_History`. Integrations query it
by COQL and list it as a plain module; Zoho documents neither, so one small query finds out
whether COQL takes it, and the list is the fallback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crmkit.connectors import translate
from crmkit.connectors.base import Context, Page, Unreadable
from crmkit.connectors.walk import Segment, unpack, walk
from crmkit.connectors.zoho import coql
from crmkit.connectors.zoho.calls import BASE, Calls, Raw, Rows, has_ids
from crmkit.connectors.zoho.coql import Source, chunks
from crmkit.connectors.zoho.lists import BY_CHANGE, read_list
from crmkit.connectors.zoho.periods import FIELDS, Stamp, Step, by_deal, change, is_change, stamp_of, steps
from crmkit.connectors.zoho.walks import changed_at, read_module, rising
from crmkit.connectors.zoho.workspace import Metadata
from crmkit.errors import IncompleteRead, Rejected, UnreadableRecord
from crmkit.model import AnyRecord, Kind, StageChange

MODULE = "DealHistory"
# Up to so many deals of a page have the rest of their history read with it.
_DEALS_WITH_ALL_STEPS = 200
_FEW_DEALS = 3
_SAMPLE = (
    "select Potential_Name, Moved_To__s, Modified_Time from DealHistory "
    "where Moved_To__s is not null order by id desc limit 20"
)


@dataclass(frozen=True, slots=True)
class _Ways:
    """What an org allows, and what its rows mean.

    Attributes:
        queried: Whether COQL takes the module.
        sorted: Whether its list can be sorted and filtered by time of change.
        stamp: What `Modified_Time` means.
    """

    queried: bool
    sorted: bool
    stamp: Stamp


class StageHistory:
    """The stage history of one org."""

    def __init__(self, calls: Calls, metadata: Metadata, context: Context, *, in_flight: int) -> None:
        self._calls = calls
        self._metadata = metadata
        self._context = context
        self._in_flight = in_flight
        self._found_out: _Ways | None = None

    def read(self, since: str | None) -> Iterator[Page]:
        """Pages of stage changes; see `Connector.read`."""
        connection, ways = self._context.connection, self._ways()
        if not ways.queried:
            yield from read_list(
                self._calls,
                MODULE,
                connection,
                since,
                fields=FIELDS,
                in_order=ways.sorted,
                translated=self._page,
            )
            return
        if since and unpack(since)["phase"] == "list":
            since = None  # begun while COQL refused: the whole read is begun again
        source = self._source()
        yield from read_module(source, connection, Kind.STAGE_CHANGE, since, in_flight=self._in_flight)

    def of(self, deals: Sequence[str]) -> Iterator[Sequence[StageChange]]:
        """All changes of some deals, oldest first within a deal."""
        together = self._ways().queried and len(deals) > _FEW_DEALS
        size = coql.IDS_PER_QUERY if together else 1
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
        for some in chunks(ids, coql.IDS_PER_QUERY):
            if self._ways().queried:
                rows = self._source().with_ids(some)
            else:
                params = {"ids": ",".join(some), "fields": ",".join(FIELDS)}
                rows = self._calls.listing(f"/{MODULE}", params, check=has_ids).rows
            changes, unreadable = self._translate(rows)
            for odd in unreadable:
                raise UnreadableRecord(str(odd.ref), odd.field, odd.reason)
            found += [one for one in changes if one.ref.id in set(some)]
        return found

    def _source(self) -> Source:
        return Source(self._calls, MODULE, passes=lambda: (FIELDS,), translate=self._translate, deleted=False)

    def _ways(self) -> _Ways:
        if self._found_out is None:
            self._found_out = self._query_sample() or self._list_sample()
        return self._found_out

    def _query_sample(self) -> _Ways | None:
        try:
            moved = by_deal(self._calls.query(_SAMPLE, has_ids).rows)[0]
            stamp = stamp_of(by_deal(self._rows_of(list(moved)))[0].values())
        except Rejected:
            return None
        return _Ways(queried=True, sorted=True, stamp=stamp or Stamp.ENTERED)

    def _list_sample(self) -> _Ways:
        rows = self._list({"per_page": coql.ROWS_PER_LIST}).rows
        moved = list(by_deal(row for row in rows if row.get("Moved_To__s"))[0])
        chains = [chain for deal in moved[:_FEW_DEALS] for chain in by_deal(self._listed(deal))[0].values()]
        return _Ways(queried=False, sorted=self._sorts(), stamp=stamp_of(chains) or Stamp.ENTERED)

    def _sorts(self) -> bool:
        """Whether the list takes an order and a start in time, instead of ignoring them."""
        try:
            oldest = self._list({**BY_CHANGE, "per_page": 1}).rows
            newest = self._list({**BY_CHANGE, "sort_order": "desc", "per_page": 1}).rows
            if not oldest or not newest:
                return False
            first, last = (changed_at(MODULE, rows[0]) for rows in (oldest, newest))
            since = self._list({"per_page": coql.ROWS_PER_LIST}, since=last).rows
        except Rejected:
            return False
        return first < last and all(changed_at(MODULE, row) >= last for row in since)

    def _list(self, params: Mapping[str, Any], *, since: datetime | None = None) -> Rows:
        return self._calls.listing(
            f"/{MODULE}", {"fields": ",".join(FIELDS), **params}, since=since, check=has_ids
        )

    def _rows_of(self, deals: Sequence[str]) -> list[Raw]:
        """All rows of some deals, by COQL."""
        found: list[Raw] = []
        for some in chunks(deals, coql.IDS_PER_QUERY):
            after = 0
            while True:
                text = coql.by_lookup(MODULE, "Potential_Name", some, after, FIELDS)
                answer = self._calls.query(text, rising(MODULE, after))
                found += answer.rows
                if not answer.rows or not (answer.more or len(answer.rows) >= coql.ROWS_PER_QUERY):
                    break
                after = int(answer.rows[-1]["id"])
        return found

    def _listed(self, deal: str) -> list[Raw]:
        """All rows of one deal, from its related list."""
        found: list[Raw] = []
        label = f"GET {BASE}/Deals/Stage_History"
        params: dict[str, Any] = {"fields": ",".join(FIELDS[1:]), "per_page": coql.ROWS_PER_LIST}
        token: str | None = None
        while True:
            here = {**params, "page_token": token} if token else params
            answer = self._calls.listing(f"/Deals/{deal}/Stage_History", here, label=label, check=has_ids)
            # The list is the deal's own, so its rows need not name it.
            found += [{**row, "Potential_Name": {"id": deal}} for row in answer.rows]
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
        ways = self._ways()
        if ways.queried and ways.stamp is Stamp.ENTERED and len(chains) <= _DEALS_WITH_ALL_STEPS:
            whole = self._rows_of(list(chains))
            there = {row["id"] for row in whole}
            whole += [dict(row) for row in odd if row["id"] not in there]
            return self._records(whole, complete=True)
        return self._records(rows, complete=False)

    def _records(self, rows: Sequence[Raw], *, complete: bool) -> tuple[list[StageChange], list[Unreadable]]:
        """Changes, given all rows of the deals they name (`complete`) or just some."""
        chains, odd = by_deal(rows)
        stamp = self._ways().stamp
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
