"""What one plan is made from, shared by the steps of planning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from crmkit.model import Kind, Ref
from crmkit.sync.computed import Computed
from crmkit.sync.group import Group
from crmkit.sync.hub import HeldConflict, Hub, JournalEntry, Link, Refusal, Status
from crmkit.sync.plan import Held
from crmkit.sync.stored import stored

LinkKey = tuple[str, Kind, str]
"""(connection, kind, native id)."""
StoredRows = Mapping[tuple[str, str], Mapping[str, Any]]
"""Stored deals by (connection, native id)."""


@dataclass(slots=True)
class Basis:
    """The state that a plan is made from, and the plan so far.

    Attributes:
        group: The sync group.
        db: The open state store.
        now: The time.
        settling: Intents whose wait is over: the merge knows about them, and they are over with it.
        out: The plan so far.
        intents: Writes whose outcome is not known, by (connection, entity).
        refusals: Refused writes by (connection, entity, act).
        conflicts: Held conflicts of the deals at hand, by (entity, field).
        reviews: Records that wait for a person before they are linked, with the reason.
    """

    group: Group
    db: sa.Connection
    now: datetime
    settling: set[str]
    out: Computed = field(default_factory=Computed)
    intents: dict[tuple[str, str], JournalEntry] = field(default_factory=dict)
    refusals: Mapping[tuple[str, str, str], Refusal] = field(default_factory=dict)
    conflicts: dict[tuple[str, str], HeldConflict] = field(default_factory=dict)
    reviews: dict[Ref, str] = field(default_factory=dict)
    _overlay: dict[str, list[LinkKey]] = field(default_factory=dict)
    _overlay_of: set[LinkKey] = field(default_factory=set)

    @property
    def hub(self) -> Hub:
        """The group's memory as it is stored."""
        return self.group.hub

    def hold(
        self, kind: str, connection: str, entity: str, label: str, name: str | None, reason: str
    ) -> None:
        """Report something that is not written."""
        self.out.held.append(Held(kind, connection, entity, label, name, reason))

    def links_of(self, ids: Collection[str]) -> dict[str, list[Link]]:
        """Links by entity, as stored and as this plan changes them."""
        found = self.hub.links_of(self.db, ids)
        if not self.out.links:
            return found
        if len(self._overlay_of) != len(self.out.links):
            self._overlay = defaultdict(list)
            for key, link in self.out.links.items():
                self._overlay[link.entity].append(key)
            self._overlay_of = set(self.out.links)
        result: dict[str, list[Link]] = {}
        for id in ids:
            mine = {(link.connection, link.kind, link.native_id): link for link in found[id]}
            mine |= {key: self.out.links[key] for key in self._overlay.get(id, ())}
            current = (self.out.links.get(key, link) for key, link in mine.items())
            result[id] = sorted(
                (link for link in current if link.entity == id),
                key=lambda link: (link.connection, link.native_id),
            )
        return result

    def linked_rows(self, links: Iterable[Link], kind: Kind = Kind.DEAL) -> StoredRows:
        """The stored records of live links of one kind."""
        refs = (
            Ref(link.connection, kind, link.native_id)
            for link in links
            if link.status is Status.LIVE and link.kind is kind
        )
        return {(ref.connection, ref.id): row for ref, row in stored(self.db, refs, live=True).items()}


class PlannedHub(Hub):
    """The group's memory as it will be after this plan, for whoever asks who is linked."""

    def __init__(self, sync: str, links: Mapping[LinkKey, Link]) -> None:
        super().__init__(sync)
        self._planned = links

    def addresses(self, db: sa.Connection, kind: Kind) -> Iterator[tuple[str, str, str, Status]]:
        """(connection, native id, entity, status) of every link of a kind."""
        for connection, native, entity, status in super().addresses(db, kind):
            if (connection, kind, native) not in self._planned:
                yield connection, native, entity, status
        for link in list(self._planned.values()):
            if link.kind is kind:
                yield link.connection, link.native_id, link.entity, link.status


def as_planned(basis: Basis) -> Group:
    """The group with its memory as this plan changes it."""
    return replace(basis.group, hub=PlannedHub(basis.group.name, basis.out.links))
