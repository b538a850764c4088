"""COQL: the texts of queries, and whole and checked rows of one module of one org.

Source: https://www.zoho.com/crm/developer/docs/api/v8/COQL-Overview.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import TypeAlias

from crmkit.connectors.base import Unreadable
from crmkit.connectors.zoho.calls import Calls, Check, Raw, Rows, has_ids
from crmkit.connectors.zoho.columns import COLUMNS_PER_QUERY, STANDARD_NAMES
from crmkit.connectors.zoho.dialect import ZohoRefused
from crmkit.model import AnyRecord

SECOND = timedelta(seconds=1)
ROWS_PER_QUERY = 2000
# Up to here a query costs one credit instead of three.
ROWS_PER_CHEAP_QUERY = 200
IDS_PER_QUERY = 50
ROWS_PER_LIST = 200
# No part of the id space is planned larger than so many pages: ids come in blocks, so how
# densely they lie tells little about what is far away.
_FARTHEST_PAGES = 16
_FEWEST_PAGES = 2

Text: TypeAlias = Callable[[Sequence[str]], str]
"""Gives the query for some columns."""
Translate: TypeAlias = Callable[[Sequence[Raw]], tuple[Sequence[AnyRecord], list[Unreadable]]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows with all their columns, in the order of the query.

    `read` are the rows that the first query brought: one that was deleted before its other
    columns could be read is not among `rows`.
    """

    rows: list[Raw]
    read: list[Raw]
    more: bool
    date: datetime


class Source:
    """One module.

    Args:
        calls: Sends the calls.
        module: Zoho's API name of the module.
        passes: Gives the columns to ask for, in as many lists as there are queries to
            make; called when rows are wanted, because finding out costs a call.
        translate: Gives records for whole rows.
        deleted: Whether the module has a list of deleted records.
    """

    def __init__(
        self,
        calls: Calls,
        module: str,
        *,
        passes: Callable[[], Sequence[Sequence[str]]],
        translate: Translate,
        deleted: bool,
    ) -> None:
        self.calls = calls
        self.module = module
        self.passes = passes
        self.translate = translate
        self.deleted = deleted
        self._lock = threading.Lock()
        self._refused: frozenset[str] = frozenset()
        self._quoted: frozenset[str] = frozenset()
        self._nowhere: frozenset[str] = frozenset()

    def read(self, text: Text, limit: int, *, check: Check, dense: bool) -> Batch:
        """Rows of a query, with the columns that one query cannot hold read after it.

        Args:
            text: Gives the query for some columns.
            limit: The LIMIT it carries.
            check: Raises `BadAnswer` for rows that the query cannot give.
            dense: Whether it gives all rows of an id range, so that their other columns
                can be read by that range.

        Raises:
            BadAnswer: The rows cannot be what was asked for.
        """
        first, *others = self.passes()
        answer = self._query(text, first, check)
        rows = self._whole(answer.rows, others, dense=dense)
        return Batch(rows, answer.rows, answer.more or len(answer.rows) >= limit, answer.date)

    def with_ids(self, ids: Sequence[str]) -> list[Raw]:
        """The rows with these ids, at most 50; missing ones are left out."""
        first, *others = self.passes()
        answer = self._query(partial(by_id, self.module, ids), first, has_ids)
        return self._whole(answer.rows, others, dense=False)

    def _query(self, text: Text, columns: Sequence[str], check: Check) -> Rows:
        while True:
            asked = [
                f"'{name}'" if name in self._quoted else name for name in columns if name not in self._refused
            ]
            try:
                return self.calls.query(text(asked), check)
            except ZohoRefused as error:
                if not self._learned(error, asked):
                    raise

    def _learned(self, error: ZohoRefused, asked: Sequence[str]) -> bool:
        """Whether a refusal tells how to ask better next time."""
        column = str(error.details.get("column_name")).strip("'\"")
        if error.code == "INVALID_QUERY" and column in {name.strip("'") for name in asked}:
            # The metadata does not say which fields COQL refuses; lists may give them.
            with self._lock:
                self._refused |= {column}
            return True
        # An admin may name a field with a word of SQL (External, Order, Group); Zoho wants it
        # quoted and publishes no list of such words.
        words = {name for name in asked if "_" not in name and "'" not in name} - STANDARD_NAMES
        if error.code == "SYNTAX_ERROR" and words:
            with self._lock:
                self._quoted |= words
            return True
        return False

    def _whole(self, rows: list[Raw], others: Sequence[Sequence[str]], *, dense: bool) -> list[Raw]:
        for columns in others:
            if not rows:
                break
            pages = self._in_range(rows, columns) if dense else self._by_id(rows, columns)
            rows = _joined(rows, pages)
        listed = sorted(self._refused - self._nowhere)
        for columns in chunks(listed, COLUMNS_PER_QUERY):
            rows = _joined(rows, self._listed(rows, columns)) if rows else rows
        return rows

    def _in_range(self, rows: list[Raw], columns: Sequence[str]) -> Iterator[list[Raw]]:
        after, upto = int(rows[0]["id"]) - 1, int(rows[-1]["id"])
        while after < upto:
            text = partial(id_range, self.module, after, upto)
            answer = self._query(text, columns, has_ids)
            yield answer.rows
            # More rows than before are possible: ids of new records may lie between old ones.
            if not answer.rows or not (answer.more or len(answer.rows) >= ROWS_PER_QUERY):
                return
            after = int(answer.rows[-1]["id"])

    def _by_id(self, rows: list[Raw], columns: Sequence[str]) -> Iterator[list[Raw]]:
        for some in chunks([row["id"] for row in rows], IDS_PER_QUERY):
            yield self._query(partial(by_id, self.module, some), columns, has_ids).rows

    def _listed(self, rows: list[Raw], columns: Sequence[str]) -> Iterator[list[Raw]]:
        for some in chunks([row["id"] for row in rows], IDS_PER_QUERY):
            wanted = [name for name in columns if name not in self._nowhere]
            if not wanted:
                yield [{"id": native} for native in some]
                continue
            params = {"ids": ",".join(some), "fields": ",".join(wanted)}
            found = self.calls.listing(f"/{self.module}", params, check=has_ids).rows
            if found:
                # An unset value is null: a key that does not come is of a field that this
                # user may not see, and asking 50 records at a time for nothing costs much.
                absent = {name for name in wanted if not any(name in row for row in found)}
                with self._lock:
                    self._nowhere |= absent
            yield found


def highest_id(module: str) -> str:
    """The row with the highest id."""
    return _query(module, ("id",), "id > 0", "id desc", 1)


def id_range(module: str, after: int, upto: int, columns: Sequence[str]) -> str:
    """The first rows with an id above `after`, up to and including `upto`."""
    return _query(module, columns, f"(id > {after} and id <= {upto})", "id asc", ROWS_PER_QUERY)


def by_id(module: str, ids: Sequence[str], columns: Sequence[str]) -> str:
    """The rows with these ids, at most 50."""
    return _query(module, columns, f"id in ({_list(ids)})", "id asc", len(ids))


def by_lookup(module: str, lookup: str, ids: Sequence[str], after: int, columns: Sequence[str]) -> str:
    """Rows that point at one of these ids, at most 50, from an id of their own on."""
    where = f"({lookup} in ({_list(ids)}) and id > {after})"
    return _query(module, columns, where, "id asc", ROWS_PER_QUERY)


def changed_since(module: str, moment: datetime, limit: int, columns: Sequence[str]) -> str:
    """Rows modified at or after a second, the oldest change first."""
    where = f"Modified_Time >= {time_literal(moment)}"
    return _query(module, columns, where, "Modified_Time asc, id asc", limit)


def changed_in(module: str, moment: datetime, after: int, columns: Sequence[str]) -> str:
    """Rows modified in one second, by id; right also if Zoho keeps parts of a second."""
    second = f"(Modified_Time >= {time_literal(moment)} and Modified_Time < {time_literal(moment + SECOND)})"
    return _query(module, columns, f"({second} and id > {after})", "id asc", ROWS_PER_QUERY)


def time_literal(moment: datetime) -> str:
    """A time as COQL wants it; in UTC, so without a minus in the offset."""
    return f"'{moment.isoformat(timespec='seconds')}'"


def cut(last: int, upto: int, page_width: int, parts: int) -> list[tuple[int, int]]:
    """The ids in (last, upto] as up to `parts` ranges that hold about as many rows each.

    Args:
        last: The last id of the page just read.
        upto: Where the range ends.
        page_width: How many ids the page just read spanned.
        parts: How many ranges could be read at once.

    Returns:
        Ranges (after, upto], in order; one if the rest seems too small to be cut.
    """
    pages = (upto - last) / page_width
    parts = min(parts, int(pages / _FEWEST_PAGES))
    if parts < 2:
        return [(last, upto)]
    step = int(min(pages / parts, _FARTHEST_PAGES) * page_width)
    edges = [last + step * part for part in range(parts)] + [upto]
    return list(pairwise(edges))


def _query(module: str, columns: Sequence[str], where: str, order: str, limit: int) -> str:
    parts = ("select", ", ".join(columns), "from", module, "where", where)
    return " ".join((*parts, "order by", order, "limit", str(limit)))


def _list(ids: Sequence[str]) -> str:
    return ", ".join(f"'{native}'" for native in ids)


def _joined(rows: list[Raw], pages: Iterable[list[Raw]]) -> list[Raw]:
    """The rows with the columns of other queries; one that has no other half was deleted."""
    halves = {row["id"]: row for page in pages for row in page}
    return [{**halves[row["id"]], **row} for row in rows if row["id"] in halves]


def chunks(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The values in groups of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
