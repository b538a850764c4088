"""Rows of one module of one org, whole and checked, whichever query they come from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from crmkit.connectors.base import Unreadable
from crmkit.connectors.zoho.client import Client, Rows
from crmkit.connectors.zoho.dialect import ZohoRefused
from crmkit.connectors.zoho.queries import IDS_PER_QUERY, ROWS_PER_QUERY, by_id, id_range
from crmkit.errors import BadAnswer
from crmkit.model import AnyRecord

Raw = dict[str, Any]
Translate = Callable[[Sequence[Raw]], tuple[Sequence[AnyRecord], list[Unreadable]]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows with all their columns, in the order of the query.

    `read` counts the rows that the first query brought and `last` is the last of them: a
    row that was deleted before its other columns could be read is not among `rows`.
    """

    rows: list[Raw]
    read: int
    last: Raw | None
    more: bool
    date: datetime


class Source:
    """One module.

    Args:
        client: Sends the calls.
        module: Zoho's API name of the module.
        passes: Gives the columns to ask for, in as many lists as there are queries to
            make; called when rows are wanted, because finding out costs a call.
        translate: Gives records for whole rows.
        deleted: Whether the module has a list of deleted records.
    """

    def __init__(
        self,
        client: Client,
        module: str,
        *,
        passes: Callable[[], Sequence[Sequence[str]]],
        translate: Translate,
        deleted: bool,
    ) -> None:
        self.client = client
        self.module = module
        self.passes = passes
        self.translate = translate
        self.deleted = deleted
        self._refused: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def read(self, text: Callable[[Sequence[str]], str], limit: int, *, dense: bool) -> Batch:
        """Rows of a query, with the columns that one query cannot hold read after it.

        Args:
            text: Gives the query for some columns.
            limit: The LIMIT it carries.
            dense: Whether it gives all rows of an id range, so that their other columns
                can be read by that range.

        Raises:
            BadAnswer: The rows cannot be what was asked for.
        """
        first, *others = self.passes()
        answer = self._query(text, first)
        read, more = len(answer.rows), answer.more or len(answer.rows) >= limit
        rows = self._whole(answer.rows, others, dense=dense)
        return Batch(rows, read, answer.rows[-1] if read else None, more, answer.date)

    def with_ids(self, ids: Sequence[str]) -> list[Raw]:
        """The rows with these ids, at most 50; missing ones are left out."""
        first, *others = self.passes()
        answer = self._query(partial(_ids_text, self.module, ids), first)
        return self._whole(answer.rows, others, dense=False)

    def _query(self, text: Callable[[Sequence[str]], str], columns: Sequence[str]) -> Rows:
        while True:
            asked = [name for name in columns if name not in self._refused]
            try:
                return self.client.query(text(asked))
            except ZohoRefused as error:
                column = error.details.get("column_name")
                if error.code != "INVALID_QUERY" or column not in asked:
                    raise
                # The metadata does not say which fields COQL refuses; lists give them.
                with self._lock:
                    self._refused = tuple(dict.fromkeys((*self._refused, column)))

    def _whole(self, rows: list[Raw], others: Sequence[Sequence[str]], *, dense: bool) -> list[Raw]:
        for columns in others:
            if not rows:
                break
            pages = self._in_range(rows, columns) if dense else self._by_id(rows, columns)
            rows = _joined(rows, pages)
        if self._refused and rows:
            rows = _joined(rows, self._listed(rows, self._refused))
        return rows

    def _in_range(self, rows: list[Raw], columns: Sequence[str]) -> Iterator[list[Raw]]:
        after, upto = int(rows[0]["id"]) - 1, int(rows[-1]["id"])
        while after < upto:
            text = partial(_range_text, self.module, after, upto)
            answer = self._query(text, columns)
            yield answer.rows
            # More rows than before are possible: ids of new records may lie between old ones.
            if not answer.more and len(answer.rows) < ROWS_PER_QUERY:
                return
            after = int(answer.rows[-1]["id"])

    def _by_id(self, rows: list[Raw], columns: Sequence[str]) -> Iterator[list[Raw]]:
        for some in chunks([row["id"] for row in rows], IDS_PER_QUERY):
            yield self._query(partial(_ids_text, self.module, some), columns).rows

    def _listed(self, rows: list[Raw], columns: Sequence[str]) -> Iterator[list[Raw]]:
        for some in chunks([row["id"] for row in rows], IDS_PER_QUERY):
            params = {"ids": ",".join(some), "fields": ",".join(columns)}
            yield self.client.listing(f"/{self.module}", params).rows


def _range_text(module: str, after: int, upto: int, columns: Sequence[str]) -> str:
    return id_range(module, columns, after, upto)


def _ids_text(module: str, ids: Sequence[str], columns: Sequence[str]) -> str:
    return by_id(module, columns, ids)


def _joined(rows: list[Raw], pages: Iterable[list[Raw]]) -> list[Raw]:
    """The rows with the columns of other queries; one that has no other half was deleted."""
    halves = {row["id"]: row for page in pages for row in page}
    return [{**halves[row["id"]], **row} for row in rows if row["id"] in halves]


def ids_of(rows: Sequence[Raw]) -> list[int]:
    """The ids as numbers.

    Raises:
        BadAnswer: A row has none.
    """
    try:
        return [int(row["id"]) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise BadAnswer("a row of Zoho has no usable id") from None


def chunks(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The values in groups of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
