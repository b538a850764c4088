"""What one transaction stores of writes: collected, and written in a few statements at its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from crmkit.model import AnyRecord, Kind, Ref
from crmkit.sync.hub import Entity, Hub, Intent, Link, Status
from crmkit.sync.store import Store


class Sheet:
    """The outcomes of one group of writes of one kind, inside a transaction of the caller.

    Nothing is stored before `flush`; whoever reads these tables in between flushes first.

    Args:
        db: The open transaction.
        hub: The group's memory.
        store: The local copy of the connection's records.
        kind: What was written.
    """

    def __init__(self, db: sa.Connection, hub: Hub, store: Store, kind: Kind) -> None:
        self.db = db
        self._hub = hub
        self._store = store
        self._kind = kind
        self._known: dict[str, Link] = {}
        self._entities: dict[str, Entity] = {}
        self._refused: set[tuple[str, str]] = set()
        self._ends: list[dict[str, Any]] = []
        self._links: dict[str, Link] = {}
        self._records: list[tuple[AnyRecord, datetime]] = []
        self._buried: list[Ref] = []

    def prepare(self, natives: Iterable[str], entities: Sequence[str], filled: Iterable[str]) -> None:
        """Read what storing the outcomes will need.

        Args:
            natives: Records whose links will change.
            entities: Entities that were written.
            filled: Those of them whose hub values will be asked for.
        """
        self._known = self._hub.links_to(self.db, self._store.name, self._kind, {*natives})
        self._entities = self._hub.entities(self.db, {*filled})
        self._refused = self._hub.refused(self.db, self._store.name, entities)

    def entity(self, id: str) -> Entity | None:
        """An entity as it was prepared."""
        return self._entities.get(id)

    def end(
        self,
        entry: str,
        state: Intent,
        at: datetime,
        *,
        native_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Note the outcome of an intent."""
        self._ends.append({"entry": entry, "to": state.value, "at": at, "native": native_id, "why": reason})

    def link(self, link: Link) -> None:
        """Store a new link."""
        self._links[link.native_id] = link

    def change_link(self, native: str, **changes: Any) -> None:
        """Store a link with other values, if the record has one; `bases` are added to those it has."""
        known = self._links.get(native) or self._known.get(native)
        if known is not None:
            bases = {**known.bases, **changes.pop("bases", {})}
            told = {name: value for name, value in changes.items() if value is not None}
            self._links[native] = replace(known, bases=bases, **told)

    def keep(self, record: AnyRecord, now: datetime) -> None:
        """Store a record as a pull would."""
        self._records.append((record, now))

    def bury(self, native: str, evidence: str) -> None:
        """A record is gone, and so is its link."""
        self.change_link(native, status=Status.DEAD, evidence=evidence)
        self._buried.append(Ref(self._store.name, self._kind, native))

    def taken(self, entity: str, act: str) -> None:
        """A write was taken: earlier refusals of it are forgotten."""
        if (entity, act) in self._refused:
            self._hub.drop_refusals(self.db, self._store.name, entity, act)

    def flush(self, now: datetime) -> None:
        """Store everything so far."""
        if self._ends:
            self._hub.journal_end_all(self.db, self._ends)
        self._hub.put_links(self.db, list(self._links.values()))
        if self._records:
            # Observed when the first of them was written at the latest: a list that shows
            # one of them later is newer.
            first = min(at for _, at in self._records)
            self._store.keep(self.db, self._kind, [record for record, _ in self._records], first)
        if self._buried:
            self._store.bury(self.db, self._kind, self._buried, now)
        self._known |= self._links
        self._ends, self._links, self._records, self._buried = [], {}, [], []
