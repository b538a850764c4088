"""What reading and finding will cost in Zoho: requests and credits; pure.

Zoho limits neither by time, so that there is no floor in seconds. Lists of what an org has
are kept for half a minute: they count once for each question.

Source: https://www.zoho.com/crm/developer/docs/api/v8/api-limits.html
"""

from __future__ import annotations

from collections.abc import Sequence

from crmkit.connectors.writing import Budget, Lookup
from crmkit.connectors.zoho import columns, coql
from crmkit.connectors.zoho.shape import Shape
from crmkit.model import Kind

_CREDITS_OF_A_FULL_QUERY = 3
_MODULES = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)


def get(kind: Kind, records: int, shape: Shape) -> Budget:
    """One `get`: 50 records a query, as many queries as the fields need."""
    if kind in (Kind.PIPELINE, Kind.OWNER):
        return whole_read(kind, records, shape) if records else Budget()
    if kind not in _MODULES:
        return _plain(-(-records // coql.IDS_PER_QUERY))
    return _plain(_lists(kind, shape) + -(-records // coql.IDS_PER_QUERY) * _passes(kind, shape))


def whole_read(kind: Kind, records: int, shape: Shape) -> Budget:
    """A whole `read`: 2,000 records a query; then what changed meanwhile, and what was deleted.

    Not counted are the pages of the deleted list after its first, and ranges that end in a
    query that is not full.
    """
    if kind is Kind.PIPELINE:
        return _plain(1 + _layouts(shape) + 1 if records else 0)
    if kind is Kind.OWNER:
        # Users and deleted users.
        return _plain(1 + max(1, -(-records // coql.ROWS_PER_LIST)) if records else 0)
    lists = _lists(kind, shape) if kind in _MODULES else 0
    if not records:
        return _plain(lists)
    if kind is Kind.NOTE:
        return _plain(-(-records // coql.ROWS_PER_LIST))
    passes = _passes(kind, shape)
    pages = -(-records // coql.ROWS_PER_QUERY) * passes
    # The highest id before; after it a query for changes, which asks for a full page too.
    requests = lists + 1 + pages + passes + 1
    return Budget(requests, 0.0, lists + 1 + (pages + passes) * _CREDITS_OF_A_FULL_QUERY + 1)


def find(kind: Kind, lookups: Sequence[Lookup], existing: int) -> Budget:
    """One `find`: 50 keys a query; notes record by record, or all of them."""
    if kind is not Kind.NOTE:
        keys = len({one.key for one in lookups})
        return _plain(1 + -(-keys // coql.IDS_PER_QUERY))
    placed = [one.parent for one in lookups if _has_place(one)]
    everywhere = len(placed) < len(lookups)
    return _plain(len(set(placed)) + (max(1, -(-existing // coql.ROWS_PER_LIST)) if everywhere else 0))


def _has_place(lookup: Lookup) -> bool:
    return lookup.parent is not None and lookup.parent.kind in (Kind.DEAL, Kind.COMPANY)


def _plain(requests: int) -> Budget:
    return Budget(requests, 0.0, requests)


def _lists(kind: Kind, shape: Shape) -> int:
    """The org and the fields; for deals the layouts and the pipelines of each."""
    return 2 + (1 + _layouts(shape) if kind is Kind.DEAL else 0)


def _layouts(shape: Shape) -> int:
    named = {one.layout for one in (shape.pipelines or {}).values() if one.layout is not None}
    return max(1, len(named))


def _passes(kind: Kind, shape: Shape) -> int:
    """Queries that it takes to get all fields of a record; one while the fields are not known."""
    if kind not in _MODULES or shape.fields is None:
        return 1
    return max(1, len(columns.plan(kind, list(shape.fields.values())).passes))
