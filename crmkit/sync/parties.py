"""Companies and people of deals: who they are in each CRM, and which must be created first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.writing import Act, Keys
from crmkit.mapping.custom import Plain, Unmapped, converted
from crmkit.model import Kind, Ref
from crmkit.sync.computed import Computed
from crmkit.sync.group import Group, Member
from crmkit.sync.hub import Entity, Link, Status
from crmkit.sync.plan import Held, Op
from crmkit.sync.stored import stored

_COMPANY = ("name", "domain", "tax_id", "phones", "city", "country", "postcode")
_CONTACT = ("name", "first_name", "last_name", "emails", "phones", "city", "country", "postcode")
_PARTIES = (Kind.COMPANY, Kind.CONTACT)


class Parties:
    """The companies and people that one plan meets.

    Args:
        group: The sync group; its directory is filled here.
        db: The open state store.
        out: The plan; new entities and links go there.
        report: Takes each write that is needed, or why there is none.
        reviews: Records that wait for a person before they are linked.
    """

    def __init__(
        self,
        group: Group,
        db: sa.Connection,
        out: Computed,
        report: Callable[[Op | None, Held | None], None],
        reviews: Collection[Ref] = (),
    ) -> None:
        self._group = group
        self._db = db
        self._out = out
        self._report = report
        self._reviews = reviews
        self._wanted: dict[tuple[str, Kind, str], str | None] = {}
        self._known: set[str] = set()
        for link in out.links.values():
            if link.kind in _PARTIES and link.status is Status.LIVE:
                group.directory.add(link.connection, link.kind, link.native_id, link.entity)

    def learn(self, rows: Mapping[tuple[str, str], Mapping[str, Any]], entities: Iterable[Entity]) -> None:
        """Look up everybody whom deals name; who is new gets an entity."""
        natives: dict[tuple[str, Kind], set[str]] = defaultdict(set)
        for (connection, _), row in rows.items():
            natives[connection, Kind.COMPANY].update(row["companies"][:1])
            natives[connection, Kind.CONTACT].update(one["id"] for one in row["contacts"])
        found = self._identify(natives)
        for entity in entities:
            for name in ("company", "contacts"):
                known = entity.hub.get(name)
                value: Any = known.value if known is not None else None
                if isinstance(value, str):
                    found.add(value)
                elif isinstance(value, list):
                    found.update(value)
        self._learn_addresses(found)

    def identify(self, connection: str, kind: Kind, natives: Collection[str]) -> set[str]:
        """The entities of records; who is new gets one. Records that wait for a review are left out."""
        found = self._identify({(connection, kind): set(natives)})
        self._learn_addresses(found)
        return found

    def _identify(self, natives: Mapping[tuple[str, Kind], set[str]]) -> set[str]:
        """The entities of records; a record that nobody knows gets one of its own."""
        directory = self._group.directory
        found: set[str] = set()
        for (connection, kind), ids in sorted(natives.items()):
            missing = {native for native in ids if (connection, kind, native) not in directory.entity_of}
            links = self._group.hub.links_to(self._db, connection, kind, missing)
            held = {ref.id for ref in self._reviews if ref.connection == connection and ref.kind is kind}
            new = [Ref(connection, kind, native) for native in missing - links.keys() - held]
            there = {ref.id for ref in stored(self._db, new, ("name",), live=True)}
            for native in sorted(missing):
                link = links.get(native)
                if link is not None:
                    if link.status is Status.LIVE:
                        directory.add(connection, kind, native, link.entity)
                elif native in there:
                    entity = self._group.entity_id(connection, kind, native)
                    self._out.entities.setdefault(entity, Entity(entity, kind))
                    self._out.put_link(Link(entity, connection, kind, native, evidence="named by a deal"))
                    directory.add(connection, kind, native, entity)
            found |= {
                directory.entity_of[connection, kind, native]
                for native in ids
                if (connection, kind, native) in directory.entity_of
            }
        return found

    def _learn_addresses(self, entities: set[str]) -> None:
        """Where entities are in the other members."""
        new = entities - self._known
        self._known |= new
        for links in self._group.hub.links_of(self._db, new).values():
            for link in links:
                current = self._out.links.get((link.connection, link.kind, link.native_id), link)
                if current.status is Status.LIVE:
                    self._group.directory.add(
                        current.connection, current.kind, current.native_id, current.entity
                    )

    def need(self, connection: str, kind: Kind, entity: str, company: str | None) -> bool:
        """Whether somebody must be created in a CRM before a deal can name them.

        Args:
            connection: Where.
            kind: Company or contact.
            entity: Who.
            company: The deal's company, for a person who has none of their own.
        """
        if (entity, connection) in self._group.directory.native_of:
            return False
        self._wanted.setdefault((connection, kind, entity), company)
        return True

    def finish(self) -> None:
        """Plan everybody who is needed; people may need their company in turn."""
        done: set[tuple[str, Kind, str]] = set()
        while True:
            todo = {key: company for key, company in self._wanted.items() if key not in done}
            if not todo:
                return
            sources = self._sources({entity for _, _, entity in todo})
            for (connection, kind, entity), company in sorted(
                todo.items(), key=lambda one: (one[0][0], one[0][1].value, one[0][2])
            ):
                done.add((connection, kind, entity))
                source = sources.get(entity)
                if source is not None:
                    self._plan(connection, kind, entity, source, company)

    def _sources(self, entities: set[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """For each entity, the record to copy: that of the first member that has it."""
        rank = self._group.setting.rank
        chosen: dict[str, Ref] = {}
        for (entity, connection), native in self._group.directory.native_of.items():
            if entity not in entities:
                continue
            before = chosen.get(entity)
            if before is None or rank(connection) < rank(before.connection):
                chosen[entity] = Ref(connection, Kind(entity.split(":")[1]), native)
        rows = stored(self._db, chosen.values())
        return {entity: (ref.connection, rows[ref]) for entity, ref in chosen.items() if ref in rows}

    def _plan(
        self,
        connection: str,
        kind: Kind,
        entity: str,
        source: tuple[str, Mapping[str, Any]],
        company: str | None,
    ) -> None:
        member = self._group.members[connection]
        origin, row = source
        writing = member.writing(kind)
        label = str(row["name"])
        if Ref(origin, kind, row["id"]) in self._reviews:
            reason = f"the {kind} may be there already; it waits for a review"
            self._report(None, Held("blocked", connection, entity, label, None, reason))
            return
        if Act.CREATE not in writing.acts or writing.keys is Keys.NONE:
            self._report(
                None, Held("required", connection, entity, label, None, f"a {kind} cannot be created here")
            )
            return
        if self._owner_is_open(member, origin, row):
            reason = "nobody of this CRM stands for its owner yet"
            self._report(None, Held("required", connection, entity, label, "owner", reason))
            return
        payload, parents = self._payload(member, kind, origin, row, company)
        # The company is an entity here; its id in this CRM is known only once it is there.
        plain = {name: _model(value) for name, value in payload.items() if name != "companies"}
        refused = member.connector.cannot_hold(kind, plain)
        for name, reason in sorted(refused.items()):
            payload.pop(name, None)
            self._report(None, Held("unwritable", connection, entity, label, name, reason))
        missing = [name for name in sorted(writing.required) if name not in payload]
        if missing:
            reason = f"this CRM takes no {kind} without {missing[0]}"
            self._report(None, Held("required", connection, entity, label, missing[0], reason))
            return
        op = Op(
            "", connection, kind, Act.CREATE, entity, None, self._group.marker(entity), label, None,
            payload=payload, parents=parents,
        )  # fmt: skip
        self._report(op, None)

    def _payload(
        self, member: Member, kind: Kind, origin: str, row: Mapping[str, Any], company: str | None
    ) -> tuple[dict[str, Plain], tuple[str, ...]]:
        writing = member.writing(kind)
        names = _COMPANY if kind is Kind.COMPANY else _CONTACT
        able = writing.fields | writing.create_fields
        payload: dict[str, Plain] = {
            name: list(row[name]) if isinstance(row[name], (list, tuple)) else row[name]
            for name in names
            if name in able and row[name]
        }
        payload |= self._custom(member, kind, origin, row)
        owner = self._group.members[origin].codec.decode("owner", row["owner_id"])
        if "owner_id" in able and owner is not None and not isinstance(owner, Unmapped):
            found = member.codec.write_values("owner", owner)
            if not isinstance(found, Unmapped):
                payload["owner_id"] = found["owner_id"]
        if kind is not Kind.CONTACT or "companies" not in able:
            return payload, ()
        own = self._employer(origin, row) or company
        if own is None:
            return payload, ()
        payload["companies"] = [own]
        return payload, (own,) if self.need(member.connection, Kind.COMPANY, own, None) else ()

    def _owner_is_open(self, member: Member, origin: str, row: Mapping[str, Any]) -> bool:
        """Whether a migration waits for a decision about a record's owner: some CRMs put in their own."""
        if self._group.if_missing("owner") == "without":
            return False
        owner = self._group.members[origin].codec.decode("owner", row["owner_id"])
        if owner is None:
            return False
        return isinstance(owner, Unmapped) or isinstance(member.codec.write_values("owner", owner), Unmapped)

    def _custom(self, member: Member, kind: Kind, origin: str, row: Mapping[str, Any]) -> dict[str, Plain]:
        """Custom fields that come along, in the target's own options."""
        moving = self._group.moving
        if moving is None or member.connection != moving.target or origin != moving.source:
            return {}
        found: dict[str, Plain] = {}
        for one in moving.party_fields.get(kind, ()):
            value = converted(one.source, one.target, row["custom"].get(one.source.id))
            if value is not None and not isinstance(value, Unmapped):
                found[f"custom.{one.target.id}"] = value
        return found

    def _employer(self, origin: str, row: Mapping[str, Any]) -> str | None:
        """The entity of a person's company, if it takes part already."""
        natives = list(row["companies"][:1])
        if not natives:
            return None
        self._learn_addresses(self._identify({(origin, Kind.COMPANY): set(natives)}))
        return self._group.directory.entity_of.get((origin, Kind.COMPANY, natives[0]))


def _model(value: Plain) -> Any:
    return tuple(value) if isinstance(value, list) else value
