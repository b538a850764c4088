"""What became of written records since: edited, named by others, or written about. Reads the local copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from crmkit.mapping.custom import Plain, Unmapped
from crmkit.mapping.fields import Codec
from crmkit.mapping.parties import PartyCodec
from crmkit.model import Kind, Ref
from crmkit.sync import schema, tables
from crmkit.sync.group import Group
from crmkit.sync.hub import Status
from crmkit.sync.stored import stored

PARTIES = (Kind.COMPANY, Kind.CONTACT)


class Since:
    """Records as they are now.

    Args:
        group: The sync group; everybody who is linked gets into its directory.
        db: The open state store.
        refs: The records.
    """

    def __init__(self, group: Group, db: sa.Connection, refs: Iterable[Ref]) -> None:
        self._group = group
        self._db = db
        refs = set(refs)
        self._connections = sorted({ref.connection for ref in refs})
        self.rows = stored(db, refs, live=True)
        self._annotated = self._with_notes_of_others()
        # Without them nobody knows which people a deal names.
        for kind in PARTIES:
            for connection, native, entity, status in group.hub.addresses(db, kind):
                if status is Status.LIVE:
                    group.directory.add(connection, kind, native, entity)

    def holds(self, ref: Ref, name: str, native: Plain) -> bool:
        """Whether a record still holds a value, or what means the same; a record unknown here does."""
        row = self.rows.get(ref)
        if row is None:
            return True
        codec = self._group.members[ref.connection].codec_of(ref.kind)
        now = codec.native(name, row)
        if name in ("company", "contacts"):
            # Also somebody whom no other CRM knows.
            return _ids(now) == _ids(native)
        return bool(now == native) or _same(codec, name, now, native)

    def has_foreign_notes(self, ref: Ref) -> bool:
        """Whether somebody wrote a note on a deal or company."""
        return ref in self._annotated

    def named_by(self) -> dict[Ref, set[Ref]]:
        """For each company and person the live records that name them."""
        found: dict[Ref, set[Ref]] = defaultdict(set)
        for kind, table in ((Kind.DEAL, schema.deals), (Kind.CONTACT, schema.contacts)):
            names = [table.c.id, table.c.connection, table.c.companies]
            names += [table.c.contacts] if kind is Kind.DEAL else []
            query = sa.select(*names).where(
                table.c.connection.in_(self._connections), table.c.gone_at.is_(None)
            )
            for row in self._db.execute(query).mappings():
                user = Ref(row["connection"], kind, row["id"])
                for native in row["companies"]:
                    found[Ref(user.connection, Kind.COMPANY, native)].add(user)
                for one in row.get("contacts") or ():
                    found[Ref(user.connection, Kind.CONTACT, one["id"])].add(user)
        return found

    def _with_notes_of_others(self) -> set[Ref]:
        notes, links = schema.notes.c, tables.links.c
        ours = (
            sa.select(links.native_id)
            .where(
                links.sync == self._group.name,
                links.connection == notes.connection,
                links.kind == Kind.NOTE.value,
                links.native_id == notes.id,
            )
            .exists()
        )
        query = sa.select(notes.connection, notes.deal_id, notes.company_id).where(
            notes.connection.in_(self._connections), notes.gone_at.is_(None), ~ours
        )
        found: set[Ref] = set()
        for connection, deal, company in self._db.execute(query):
            found |= {Ref(connection, Kind.DEAL, deal)} if deal else set()
            found |= {Ref(connection, Kind.COMPANY, company)} if company else set()
        return found


def still_used(removing: Collection[Ref], named_by: Mapping[Ref, Collection[Ref]]) -> set[Ref]:
    """Those of the records to be removed that records which stay name, or that these need in turn."""
    kept: set[Ref] = set()
    while True:
        more = {
            ref
            for ref in removing
            if ref not in kept and any(user in kept or user not in removing for user in named_by.get(ref, ()))
        }
        if not more:
            return kept
        kept |= more


def _same(codec: Codec | PartyCodec, name: str, one: Plain, other: Plain) -> bool:
    value = codec.decode(name, one)
    return not isinstance(value, Unmapped) and bool(value == codec.decode(name, other))


def _ids(natives: Any) -> set[str]:
    return {one if isinstance(one, str) else one[0] for one in natives or ()}
