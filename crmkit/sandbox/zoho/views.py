"""Where a module's records come from, in ascending order of what they can be sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from crmkit.sandbox.store import Store
from crmkit.sandbox.zoho.deals import stage_rows
from crmkit.sandbox.zoho.schema import Module

SORTS = {"id": "id", "Created_Time": "created", "Modified_Time": "modified"}


def rows_of(store: Store, module: Module, sort_by: str = "id") -> Sequence[Any]:
    """All records of a module, ascending by `sort_by`, ties by id."""
    order = SORTS[sort_by]
    if module.kind is not None:
        return store.ordered(module.kind, order).rows
    if module.name == "DealHistory":
        return store.memo(("history", order), lambda: _history(store, sort_by))
    return ()


def rows_since(store: Store, module: Module, since: datetime, sort_by: str) -> Sequence[Any]:
    """The records modified at that second or later, ascending by `sort_by`."""

    def collect() -> list[Any]:
        if module.kind is not None:
            view = store.ordered(module.kind, "modified")
            changed = view.rows[view.start(since) :]
        else:
            changed = [row for row in rows_of(store, module) if row.modified >= since]
        return sorted(changed, key=lambda row: sort_key(row, sort_by))

    return store.memo(("since", module.name, since, sort_by), collect)


def find(store: Store, module: Module, record_id: str) -> Any | None:
    """One record, or `None`."""
    if module.kind is not None:
        return store.tables[module.kind].get(record_id)
    return next((row for row in rows_of(store, module) if row.id == record_id), None)


def sort_key(row: Any, sort_by: str) -> tuple[Any, ...]:
    """What a record is sorted by."""
    number = int(row.id)
    return (number,) if sort_by == "id" else (getattr(row, SORTS[sort_by]), number)


def _history(store: Store, sort_by: str) -> list[Any]:
    rows = [row for deal in store.tables["deal"].values() for row in stage_rows(deal)]
    return sorted(rows, key=lambda row: sort_key(row, sort_by))
