"""Stored records by their address, in as few queries as the database allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from crmkit.model import Kind, Ref
from crmkit.sync.rows import TABLES

IDS_AT_ONCE = 500  # below SQLite's limit of bound parameters


def chunks(ids: Iterable[str], size: int = IDS_AT_ONCE) -> Iterator[list[str]]:
    """Ids in order, at most `size` at a time."""
    ordered = sorted(ids)
    for at in range(0, len(ordered), size):
        yield ordered[at : at + size]


def stored(
    db: sa.Connection, refs: Iterable[Ref], columns: Sequence[str] = (), *, live: bool = False
) -> dict[Ref, dict[str, Any]]:
    """Rows of the local copy; records that are not there are left out.

    Args:
        db: The open state store.
        refs: Which records.
        columns: What to read besides the id; everything if nothing is named.
        live: Whether to leave out records that are gone.
    """
    wanted: dict[tuple[str, Kind], set[str]] = defaultdict(set)
    for ref in refs:
        wanted[ref.connection, ref.kind].add(ref.id)
    found: dict[Ref, dict[str, Any]] = {}
    for (connection, kind), natives in wanted.items():
        table = TABLES[kind]
        chosen = [table.c[name] for name in ("id", *columns)] if columns else [table]
        query = sa.select(*chosen).where(table.c.connection == connection)
        if live:
            query = query.where(table.c.gone_at.is_(None))
        for chunk in chunks(natives):
            for row in db.execute(query.where(table.c.id.in_(chunk))).mappings():
                found[Ref(connection, kind, row["id"])] = dict(row)
    return found
