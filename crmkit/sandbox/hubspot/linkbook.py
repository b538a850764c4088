"""The links that no row has room for, and the labels that users of the portal made.

A row knows one company, one deal of a note and so on. HubSpot knows any number of them, of which one company
is the primary one; the rest, and what labels a link carries, stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from crmkit.sandbox.clock import counting_ids
from crmkit.sandbox.rows import Change, Kind
from crmkit.sandbox.world import World

Pair = tuple[str, str]
TypeIds = frozenset[int]
_NONE: Mapping[str, TypeIds] = {}


class LinkType(NamedTuple):
    """One type of link in one direction; `name` is what inline associations call it."""

    type_id: int
    label: str | None
    name: str
    category: str = "HUBSPOT_DEFINED"


class LinkBook:
    """Links by pair of kinds, with the type ids of the direction in which rows keep theirs."""

    def __init__(self, world: World) -> None:
        self._links: dict[Pair, dict[str, dict[str, TypeIds]]] = {}
        self._back: dict[Pair, dict[str, dict[str, TypeIds]]] = {}
        self.labels: dict[Pair, list[LinkType]] = {}
        self.twins: dict[int, int] = {}
        self._next_id: Callable[[], str] = counting_ids(1)
        world.listeners.append(self._follow)

    def from_source(self, pair: Pair, source_id: str) -> Mapping[str, TypeIds]:
        """The types of the links of one record, by the id at the other end."""
        return self._links.get(pair, {}).get(source_id, _NONE)

    def from_target(self, pair: Pair, target_id: str) -> Mapping[str, TypeIds]:
        """The same from the other end, still with the type ids of the pair's direction."""
        return self._back.get(pair, {}).get(target_id, _NONE)

    def put(self, pair: Pair, source_id: str, target_id: str, types: TypeIds) -> None:
        """Set the types of one link; none takes it out."""
        if not types:
            self._links.get(pair, {}).get(source_id, {}).pop(target_id, None)
            self._back.get(pair, {}).get(target_id, {}).pop(source_id, None)
            return
        self._links.setdefault(pair, {}).setdefault(source_id, {})[target_id] = types
        self._back.setdefault(pair, {}).setdefault(target_id, {})[source_id] = types

    def add_label(self, pair: Pair, name: str, label: str, inverse: str | None) -> list[LinkType]:
        """Make a label with its two directions; gives the way back first, as HubSpot answers."""
        there = LinkType(int(self._next_id()), label, name, "USER_DEFINED")
        back = LinkType(int(self._next_id()), inverse or label, name, "USER_DEFINED")
        self.labels.setdefault(pair, []).append(there)
        self.labels.setdefault((pair[1], pair[0]), []).append(back)
        self.twins |= {there.type_id: back.type_id, back.type_id: there.type_id}
        return [back, there]

    def drop_label(self, pair: Pair, type_id: int) -> None:
        """Take a label away, in both directions and from every link."""
        gone = {type_id, self.twins.pop(type_id)}
        for one in (pair, (pair[1], pair[0])):
            self.labels[one] = [label for label in self.labels[one] if label.type_id not in gone]
            for source_id, links in self._links.get(one, {}).items():
                for target_id, types in list(links.items()):
                    self.put(one, source_id, target_id, types - gone)

    def hand_over(self, kind: Kind, loser: str, winner: str) -> None:
        """Give the links of one record to another one, before the first is merged away."""
        for pair, by_source in self._links.items():
            if pair[0] == kind:
                for target_id, types in dict(by_source.get(loser, {})).items():
                    self.put(pair, winner, target_id, types | by_source.get(winner, {}).get(target_id, types))
            if pair[1] == kind:
                for source_id, types in dict(self._back[pair].get(loser, {})).items():
                    self.put(
                        pair, source_id, winner, types | self.from_source(pair, source_id).get(winner, types)
                    )

    def _follow(self, change: Change) -> None:
        if change.after is not None or not self._links:
            return
        for pair in self._links:
            if pair[0] == change.kind:
                for target_id in list(self._links[pair].pop(change.id, {})):
                    self._back[pair].get(target_id, {}).pop(change.id, None)
            if pair[1] == change.kind:
                for source_id in list(self._back[pair].pop(change.id, {})):
                    self._links[pair].get(source_id, {}).pop(change.id, None)
