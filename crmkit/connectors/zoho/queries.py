"""COQL texts, and how the id space of a module is cut into ranges. Pure.

Source: https://www.zoho.com/crm/developer/docs/api/v8/COQL-Overview.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

ROWS_PER_QUERY = 2000
# Up to here a query costs one credit instead of three.
ROWS_PER_CHEAP_QUERY = 200
IDS_PER_QUERY = 50
ROWS_PER_LIST = 200
# No part of the id space is planned larger than so many pages: ids come in blocks, so how
# densely they lie tells little about what is far away.
_FARTHEST_PAGES = 16
_FEWEST_PAGES = 2


def highest_id(module: str) -> str:
    """The row with the highest id."""
    return _query(module, ("id",), "id > 0", "id desc", 1)


def id_range(module: str, columns: Sequence[str], after: int, upto: int) -> str:
    """The first rows with an id above `after`, up to and including `upto`."""
    return _query(module, columns, f"(id > {after} and id <= {upto})", "id asc", ROWS_PER_QUERY)


def by_id(module: str, columns: Sequence[str], ids: Sequence[str]) -> str:
    """The rows with these ids, at most 50."""
    return _query(module, columns, f"id in ({_list(ids)})", "id asc", len(ids))


def by_lookup(module: str, columns: Sequence[str], lookup: str, ids: Sequence[str], after: int) -> str:
    """Rows that point at one of these ids, at most 50, from an id of their own on."""
    where = f"({lookup} in ({_list(ids)}) and id > {after})"
    return _query(module, columns, where, "id asc", ROWS_PER_QUERY)


def changed_since(module: str, columns: Sequence[str], moment: datetime, limit: int) -> str:
    """Rows modified at or after a second, the oldest change first."""
    where = f"Modified_Time >= {time_literal(moment)}"
    return _query(module, columns, where, "Modified_Time asc, id asc", limit)


def changed_after(module: str, columns: Sequence[str], moment: datetime) -> str:
    """Rows modified after a second, the oldest change first."""
    where = f"Modified_Time > {time_literal(moment)}"
    return _query(module, columns, where, "Modified_Time asc, id asc", ROWS_PER_QUERY)


def changed_in(module: str, columns: Sequence[str], moment: datetime, after: int) -> str:
    """Rows modified in one second, by id."""
    where = f"(Modified_Time = {time_literal(moment)} and id > {after})"
    return _query(module, columns, where, "id asc", ROWS_PER_QUERY)


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
