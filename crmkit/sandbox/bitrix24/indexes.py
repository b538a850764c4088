"""Look-ups that stay cheap while records are written: from a value to the ids that hold it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from crmkit.sandbox.rows import Change, Kind
from crmkit.sandbox.world import World

_NONE: frozenset[str] = frozenset()


class Index:
    """The ids of one kind by the values that `keys` reads from a row; made once, then follows the world."""

    def __init__(self, world: World, kind: Kind, keys: Callable[[Any], Iterable[Hashable]]) -> None:
        self._kind, self._keys = kind, keys
        self._ids: dict[Hashable, set[str]] = {}
        for row in world.live.tables[kind].values():
            self._add(row)
        world.listeners.append(self._follow)

    def ids(self, key: Hashable) -> set[str] | frozenset[str]:
        """The ids of the rows with this value; not to be changed."""
        return self._ids.get(key, _NONE)

    def _add(self, row: Any) -> None:
        for key in self._keys(row):
            self._ids.setdefault(key, set()).add(row.id)

    def _follow(self, change: Change) -> None:
        if change.kind != self._kind:
            return
        if change.before is not None:
            for key in self._keys(change.before):
                self._ids[key].discard(change.id)
        if change.after is not None:
            self._add(change.after)
