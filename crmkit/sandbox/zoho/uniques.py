"""Which records hold a value: for unique fields and for the fields that an upsert matches by."""

from __future__ import annotations

from typing import Any

from crmkit.sandbox.rows import Change, Kind
from crmkit.sandbox.world import World
from crmkit.sandbox.zoho.schema import Field, Get


class Uniques:
    """Finds records by value, without the lag of the search index.

    An index is made when a field is first asked for, and then follows every change.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._indexes: dict[tuple[Kind, str], tuple[Get, dict[Any, dict[str, None]]]] = {}
        world.listeners.append(self._follow)

    def find(self, kind: Kind, field: Field, value: Any) -> list[str]:
        """The ids of the records that hold this value, the lowest first."""
        _, holders = self._index(kind, field)
        return sorted(holders.get(_fold(field, value), ()), key=int)

    def _index(self, kind: Kind, field: Field) -> tuple[Get, dict[Any, dict[str, None]]]:
        known = self._indexes.get((kind, field.name))
        if known is None:
            raw = field.raw
            get: Get = lambda row: _fold(field, raw(row))  # noqa: E731
            holders: dict[Any, dict[str, None]] = {}
            for row in self._world.live.tables[kind].values():
                if (value := get(row)) is not None:
                    holders.setdefault(value, {})[row.id] = None
            known = self._indexes[kind, field.name] = (get, holders)
        return known

    def _follow(self, change: Change) -> None:
        for (kind, _), (get, holders) in self._indexes.items():
            if kind != change.kind:
                continue
            before = None if change.before is None else get(change.before)
            after = None if change.after is None else get(change.after)
            if before == after:
                continue
            if before is not None:
                held = holders[before]
                del held[change.id]
                if not held:
                    del holders[before]
            if after is not None:
                holders.setdefault(after, {})[change.id] = None


def _fold(field: Field, value: Any) -> Any:
    """Values as they are compared: with regard to case only in a unique field that says so."""
    sensitive = field.unique and field.custom is not None and field.custom.extra.get("case_sensitive", True)
    return value.casefold() if isinstance(value, str) and not sensitive else value
