"""Which e-mail addresses and domains are taken: people are unique by the one, companies by the other.

Source: https://developer.copper.com/people/create-a-new-person.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crmkit.sandbox.rows import Change, Kind
from crmkit.sandbox.world import World


class Taken:
    """Who has an address or a domain; capital letters do not matter."""

    def __init__(self, world: World) -> None:
        self._holders: dict[Kind, dict[str, dict[str, None]]] = {"contact": {}, "company": {}}
        for kind in self._holders:
            for row in world.live.tables[kind].values():
                self._put(kind, row)
        world.listeners.append(self._changed)

    def by(self, kind: Kind, key: str) -> str | None:
        """The record that has this key, or `None`; the oldest if history left several."""
        return next(iter(self._holders[kind].get(key.casefold(), ())), None)

    def by_another(self, kind: Kind, key: str, row_id: str | None) -> bool:
        """Whether a record other than this one has the key."""
        return any(holder != row_id for holder in self._holders[kind].get(key.casefold(), ()))

    def _changed(self, change: Change) -> None:
        if change.kind not in self._holders:
            return
        for key in _keys(change.before):
            self._holders[change.kind].get(key, {}).pop(change.id, None)
        self._put(change.kind, change.after)

    def _put(self, kind: Kind, row: Any) -> None:
        for key in _keys(row):
            self._holders[kind].setdefault(key, {})[row.id] = None


def _keys(row: Any) -> Iterable[str]:
    if row is None:
        return ()
    if hasattr(row, "emails"):
        return [email.casefold() for email in row.emails]
    return [row.domain.casefold()] if row.domain else []
