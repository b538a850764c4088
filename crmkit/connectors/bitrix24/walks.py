"""Walks over a whole list: chained keyset pages in batches, several id ranges side by side.

Rows come in order of their id, 50 a page; each page of a batch begins after the last id
of the one before, so rows that appear or vanish meanwhile shift nothing. The first page
with fewer rows ends its range.

Source: https://apidocs.bitrix24.com/settings/performance/huge-data.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

from crmkit.connectors.bitrix24.batch import Portal, Results
from crmkit.connectors.bitrix24.commands import PAGE_ROWS, Command, command, encoded
from crmkit.connectors.walk import Segment, pack, unpack, walk
from crmkit.errors import BadAnswer, CrmkitError, Transient

MAX_RANGES = 4
ROWS_PER_RANGE = 5000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing:
    """A list method that can be walked by id.

    Attributes:
        method: For example `crm.item.list`.
        pairs: Its parameters, without order, start and the bounds on the id.
        select: The fields wanted, the id among them; empty for all.
        id_field: How this method spells the id.
    """

    method: str
    pairs: tuple[tuple[str, object], ...]
    select: tuple[str, ...] = ()
    id_field: str = "id"

    def edge(self, direction: str) -> Command:
        """The first page from one end of the list, ids only."""
        return command(
            self.method,
            *self.pairs,
            (f"order[{self.id_field}]", direction),
            ("start", -1),
            ("select[]", self.id_field),
        )

    def chain(self, after: int, upto: int | None, pages: int) -> dict[str, Command]:
        """Commands `p0`, `p1`, ...: pages of the range, each beginning where the last one ended."""
        head = command(self.method, *self.pairs, (f"order[{self.id_field}]", "ASC")).query
        tail = command(
            self.method,
            *([] if upto is None else [(f"filter[<={self.id_field}]", upto)]),
            ("start", -1),
            *(("select[]", name) for name in self.select),
        ).query
        above = encoded(f"filter[>{self.id_field}]")
        step = f"[items][{PAGE_ROWS - 1}][{self.id_field}]"
        commands = {"p0": Command(self.method, f"{head}&{above}={after}&{tail}")}
        for page in range(1, pages):
            begin = f"$result[p{page - 1}]{step}"
            commands[f"p{page}"] = Command(self.method, f"{head}&{above}={begin}&{tail}")
        return commands

    def id_of(self, row: Any) -> int:
        """A row's id.

        Raises:
            BadAnswer: The row has none, so that no position can be told from it.
        """
        try:
            return int(row[self.id_field])
        except (KeyError, TypeError, ValueError):
            raise BadAnswer(f"{self.method}: a row without {self.id_field}") from None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of a walk: rows in order of id, and the id to go on after (`None` at the end)."""

    rows: list[Any]
    after: int | None


def read_stretch(portal: Portal, listing: Listing, after: int, upto: int | None) -> Stretch:
    """As many pages of a range as one batch holds; at least some progress or its end.

    Raises:
        CrmkitError: The list is refused, its pages do not add up, or limits do not end.
    """
    patience = portal.patience()
    while True:
        stretch, refused = portal.batch(
            listing.chain(after, upto, portal.size),
            halt=True,
            read=lambda results: _collect(portal, listing, results, after, upto),
        )
        if refused is None:
            return stretch
        if not isinstance(refused, Transient):
            raise refused
        patience.after(refused, listing.method)
        # What came before the refused page is good; the next batch goes on there.
        if stretch.rows:
            return stretch


def _collect(
    portal: Portal, listing: Listing, results: Results, after: int, upto: int | None
) -> tuple[Stretch, CrmkitError | None]:
    """The rows of a chain, and why it stopped too early, if it did.

    Pages after a short one are not looked at: their first id has nothing to point to.

    Raises:
        BadAnswer: The pages contradict each other.
    """
    rows: list[Any] = []
    last = after
    for key in results.commands:
        if key not in results.values:
            return Stretch(rows, last), results.errors.get(key) or portal.missing(key)
        found = results.values[key]
        for row in found:
            native = listing.id_of(row)
            if native <= last or (upto is not None and native > upto):
                raise BadAnswer(f"{listing.method}: a row that is out of order or outside of its range")
            last = native
        rows += found
        if len(found) < PAGE_ROWS or last == upto:
            return Stretch(rows, None), None
    return Stretch(rows, last), None


def ranges(first: Sequence[int], last: int, in_flight: int) -> list[Segment]:
    """Where to begin a walk: one range of ids, or a few of about the same number of rows.

    Args:
        first: The ids of the first page.
        last: The highest id there is now; the last range stays open above it.
        in_flight: How many may be read at once.
    """
    if len(first) < PAGE_ROWS:
        return [{"after": 0, "upto": None, "serial": True}]
    begin = first[0] - 1
    # Ids that are sparse at the beginning are taken to be so throughout: a guess, which
    # decides about the number of ranges only.
    rows = (last - begin) * len(first) // (first[-1] - begin)
    count = max(1, min(in_flight, MAX_RANGES, rows // ROWS_PER_RANGE))
    edges: list[int | None] = [begin + (last - begin) * part // count for part in range(count)]
    edges.append(None)
    edges[0] = 0
    return [{"after": after, "upto": upto, "serial": count == 1} for after, upto in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a read is: what a cursor says.

    Attributes:
        mark: Server time before the first request of this read; the next one begins there.
        bound: This read lists only what changed since, if it is not a complete one.
        segments: Ranges still open; none when the read is finished.
        settled: Stage changes only: nothing will ever appear up to this id.
    """

    mark: str
    bound: str | None = None
    segments: Sequence[Segment] = ()
    settled: int = 0

    def text(self) -> str:
        """The cursor."""
        return pack(
            {"mark": self.mark, "bound": self.bound, "open": _merged(self.segments), "settled": self.settled}
        )

    @classmethod
    def parse(cls, cursor: str) -> Position:
        """A position back from its cursor."""
        at = unpack(cursor)
        return cls(at["mark"], at["bound"], at["open"], at["settled"])

    def at(self, segments: Sequence[Segment]) -> Position:
        """This read, further on."""
        return replace(self, segments=segments)


def _merged(segments: Sequence[Segment]) -> list[Segment]:
    """Ranges in order, neighbours made one; what a segment carries besides is read again."""
    merged: list[Segment] = []
    for segment in sorted(segments, key=lambda one: int(one["after"])):
        if merged and merged[-1]["upto"] == segment["after"]:
            merged[-1] = {**merged[-1], "upto": segment["upto"]}
        else:
            merged.append({"after": segment["after"], "upto": segment["upto"]})
    return merged


def walk_ranges(
    portal: Portal,
    listing: Listing,
    segments: Sequence[Segment],
    translate: Callable[[list[Any]], T],
    *,
    in_flight: int,
) -> Iterator[tuple[T, Sequence[Segment]]]:
    """Every row of the given ranges, translated a batch at a time, with what is still open.

    Rows are translated by the caller's thread: batches that wait for it weigh less than
    half of their records.
    """

    def step(segment: Segment) -> tuple[Stretch, Sequence[Segment]]:
        stretch = read_stretch(portal, listing, segment["after"], segment["upto"])
        return stretch, [] if stretch.after is None else [{**segment, "after": stretch.after}]

    for stretch, still_open in walk(segments, step, in_flight=in_flight):
        found = translate(stretch.rows)
        stretch.rows.clear()  # the walk holds on to them until it has the next ones
        yield found, still_open
