"""What people said about two records: the same, or not; remembered, and checked before.

A decision never undoes a link that a sync has made: that is `part`, which takes a record out
of its group and remembers that it is another one. Neither changes anything in a CRM.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import combinations

import sqlalchemy as sa

from crmkit.errors import UsageError
from crmkit.model import Kind, Ref
from crmkit.sync import tables
from crmkit.sync.group import digest8
from crmkit.sync.hub import CREATED, OPEN_INTENTS, Hub, Status
from crmkit.sync.link import Decided
from crmkit.sync.rows import TABLES

# Evidence of records that exist because crmkit made them from another one.
_MADE = frozenset({CREATED, "marker", "origin of a marker"})


class Verdict(StrEnum):
    """What a person said about two records."""

    LINK = "link"
    NEVER = "never"


def recorded(db: sa.Connection, kind: Kind) -> Iterator[tuple[Ref, Ref, Verdict]]:
    """Every decision about records of a kind, oldest first."""
    table = tables.decisions
    query = sa.select(table).where(table.c.kind == kind.value)
    for row in db.execute(query.order_by(table.c.at, table.c.one_connection, table.c.one, table.c.other)):
        one, other = Ref(row.one_connection, kind, row.one), Ref(row.other_connection, kind, row.other)
        yield one, other, Verdict(row.verdict)


def linked(db: sa.Connection, kind: Kind, sync: str | None = None) -> list[list[Ref]]:
    """Groups of records that syncs keep linked; of one sync, or of all."""
    columns = tables.links.c
    query = (
        sa.select(columns.sync, columns.entity, columns.connection, columns.native_id)
        .where(columns.kind == kind.value, columns.status == Status.LIVE.value)
        .order_by(columns.sync, columns.entity, columns.connection)
    )
    if sync is not None:
        query = query.where(columns.sync == sync)
    groups: dict[tuple[str, str], list[Ref]] = defaultdict(list)
    for row in db.execution_options(yield_per=5000).execute(query):
        groups[row.sync, row.entity].append(Ref(row.connection, kind, row.native_id))
    return [group for group in groups.values() if len(group) > 1]


def decided(db: sa.Connection, kind: Kind, sync: str | None = None) -> Decided:
    """What is settled before the ladder is climbed: stored links, and what people said."""
    return combined(linked(db, kind, sync), recorded(db, kind))


def combined(groups: Sequence[Sequence[Ref]], said: Iterable[tuple[Ref, Ref, Verdict]]) -> Decided:
    """Stored groups and decisions as the ladder takes them."""
    every = list(said)
    together = [(one, other) for one, other, verdict in every if verdict is Verdict.LINK]
    apart = frozenset(frozenset((one, other)) for one, other, verdict in every if verdict is Verdict.NEVER)
    return Decided([*groups, *together], apart)


class Book:
    """Takes decisions about records of one kind, and refuses what contradicts itself.

    Args:
        db: The open state store, in a transaction that writes.
        kind: Company, contact or deal.
        known: The connections that are configured.
    """

    def __init__(self, db: sa.Connection, kind: Kind, known: Collection[str]) -> None:
        self._db = db
        self._kind = kind
        self._known = known
        self._said: dict[tuple[Ref, Ref], Verdict] = {
            _ordered(one, other): verdict for one, other, verdict in recorded(db, kind)
        }
        self._partners: dict[Ref, set[Ref]] = defaultdict(set)
        for pair, verdict in list(self._said.items()):
            self._note(pair, verdict)
        self._linked: dict[Ref, list[list[Ref]]] = defaultdict(list)
        for group in linked(db, kind):
            for ref in group:
                self._linked[ref].append(group)

    def same(self, one: Ref, other: Ref, at: datetime) -> None:
        """Remember that two records are the same.

        Raises:
            UsageError: They cannot be, by what is known or was said before.
        """
        self._check(one, other)
        pair = _ordered(one, other)
        before = self._note(pair, None)
        try:
            self._check_union(one, other)
        except UsageError:
            self._note(pair, before)
            raise
        self._store(one, other, Verdict.LINK, at)

    def different(self, one: Ref, other: Ref, at: datetime) -> None:
        """Remember that two records are not the same.

        Raises:
            UsageError: A sync keeps them linked, or they were said to be the same as a third.
        """
        self._check(one, other)
        if any(other in group for group in self._linked.get(one, ())):
            raise UsageError(
                f"{one} and {other} are linked by a sync, which keeps them in step",
                hint=f"Part them with `crmkit links part {other}`.",
            )
        pair = _ordered(one, other)
        before = self._note(pair, None)
        if other in self._group(one):
            self._note(pair, before)
            raise UsageError(
                f"{one} and {other} were both said to be the same as a third record",
                hint=f"`crmkit links show {one}` shows it; reject one of those pairs first.",
            )
        self._store(one, other, Verdict.NEVER, at)

    def _note(self, pair: tuple[Ref, Ref], verdict: Verdict | None) -> Verdict | None:
        """Take a decision about a pair into account, or none; gives the one before."""
        before = self._said.pop(pair, None)
        one, other = pair
        if verdict is not None:
            self._said[pair] = verdict
        if verdict is Verdict.LINK:
            self._partners[one].add(other)
            self._partners[other].add(one)
        else:
            self._partners[one].discard(other)
            self._partners[other].discard(one)
        return before

    def _check(self, one: Ref, other: Ref) -> None:
        for ref in (one, other):
            if ref.connection not in self._known:
                raise UsageError(f"{ref}: there is no connection {ref.connection!r}")
            if ref.kind is not self._kind:
                raise UsageError(f"{one} and {other} are of different kinds")
        if one.connection == other.connection:
            raise UsageError(
                f"{one} and {other} are in the same CRM",
                hint="Duplicates inside one CRM are merged there; the next pull notices it.",
            )
        for ref in (one, other):
            if not exists(self._db, ref):
                raise UsageError(
                    f"{ref} is not in the local copy, or is gone",
                    hint=f"Refresh it with `crmkit pull {ref.connection}`.",
                )

    def _check_union(self, one: Ref, other: Ref) -> None:
        left, right = self._group(one), self._group(other)
        for mine in left:
            for theirs in right:
                if mine != theirs and mine.connection == theirs.connection:
                    raise UsageError(
                        f"{one} and {other} cannot be the same: {mine} and {theirs}, which are linked to "
                        "them, are two records of one CRM",
                        hint=f"Part what is wrong with `crmkit links part REF`; `crmkit links show {one}` "
                        "shows what is linked.",
                    )
        for mine, theirs in combinations(sorted(left | right), 2):
            if self._said.get(_ordered(mine, theirs)) is Verdict.NEVER:
                raise UsageError(
                    f"{one} and {other} cannot be the same: {mine} and {theirs} were said to be different",
                    hint=f"If that was wrong: `crmkit links accept {mine} {theirs}`.",
                )

    def _group(self, ref: Ref) -> set[Ref]:
        """Everything that is the same as a record, by stored links and decisions."""
        found, todo = {ref}, [ref]
        while todo:
            at = todo.pop()
            near = [
                *self._partners.get(at, ()),
                *(other for group in self._linked.get(at, ()) for other in group),
            ]
            for other in near:
                if other not in found:
                    found.add(other)
                    todo.append(other)
        return found

    def _store(self, one: Ref, other: Ref, verdict: Verdict, at: datetime) -> None:
        pair = _ordered(one, other)
        self._note(pair, verdict)
        store(self._db, *pair, verdict, at)
        touch(self._db, pair)


def store(db: sa.Connection, one: Ref, other: Ref, verdict: Verdict, at: datetime) -> None:
    """Write a decision down, in place of an earlier one."""
    table = tables.decisions
    one, other = _ordered(one, other)
    address = {
        "kind": one.kind.value,
        "one_connection": one.connection,
        "one": one.id,
        "other_connection": other.connection,
        "other": other.id,
    }
    db.execute(table.delete().where(*(table.c[name] == value for name, value in address.items())))
    db.execute(table.insert().values(**address, verdict=verdict.value, at=at))


def touch(db: sa.Connection, refs: Iterable[Ref]) -> None:
    """Let the next plan look at records, as if a pull had found them changed."""
    rows = [{"connection": ref.connection, "kind": ref.kind.value, "id": ref.id} for ref in refs]
    if rows:
        db.execute(tables.changes.insert(), rows)


def exists(db: sa.Connection, ref: Ref) -> bool:
    """Whether a record is in the local copy and not gone."""
    table = TABLES[ref.kind]
    query = sa.select(table.c.id).where(
        table.c.connection == ref.connection, table.c.id == ref.id, table.c.gone_at.is_(None)
    )
    return db.execute(query).first() is not None


def syncs_of(db: sa.Connection, ref: Ref) -> list[str]:
    """The syncs that hold a link of a record."""
    columns = tables.links.c
    query = sa.select(columns.sync).where(
        columns.connection == ref.connection, columns.kind == ref.kind.value, columns.native_id == ref.id
    )
    return sorted(db.execute(query).scalars())


def part(db: sa.Connection, sync: str, ref: Ref, at: datetime) -> list[Ref]:
    """Take a record out of its group in a sync, and remember that it is another one.

    Changes nothing in a CRM. The next plan treats the record and what is left of the group
    as two: it will show what that creates.

    Args:
        db: The open state store, in a transaction that writes.
        sync: The sync.
        ref: The record.
        at: The time.

    Returns:
        The records that it was linked to.

    Raises:
        UsageError: It is linked to nothing, is a copy that crmkit made, or a write of it is
            under way.
    """
    hub = Hub(sync)
    mine = hub.links_to(db, ref.connection, ref.kind, [ref.id]).get(ref.id)
    if mine is None:
        raise UsageError(f"{ref} is not linked in {sync}")
    every = hub.links_of(db, [mine.entity])[mine.entity]
    others = [link for link in every if link != mine]
    live = [link for link in others if link.status is Status.LIVE]
    if not live:
        raise UsageError(f"{ref} is linked to no other record in {sync}")
    origin = _is_origin(db, sync, ref, mine.entity)
    if mine.evidence in _MADE or (origin and any(link.evidence in _MADE for link in others)):
        raise UsageError(
            f"{ref} and its counterparts are copies that crmkit made of one another, not two records",
            hint="Delete the copy in its CRM instead.",
        )
    if _is_open(db, sync, mine.entity):
        raise UsageError(
            f"a write of {ref} is under way or its outcome is not known yet",
            hint=f"Run `crmkit resume {sync}` first.",
        )
    # The group is named after the record it came from: that one stays, and the others leave.
    leaving = others if origin else [mine]
    columns = tables.links.c
    for link in leaving:
        db.execute(
            tables.links.delete().where(
                columns.sync == sync,
                columns.connection == link.connection,
                columns.kind == link.kind.value,
                columns.native_id == link.native_id,
            )
        )
    partners = [Ref(link.connection, link.kind, link.native_id) for link in live]
    for other in partners:
        store(db, ref, other, Verdict.NEVER, at)
    if origin:
        for one, other in combinations(partners, 2):
            store(db, one, other, Verdict.LINK, at)
    touch(db, [ref, *partners])
    hub.set_pending(db, add=[mine.entity])
    return partners


def _is_origin(db: sa.Connection, sync: str, ref: Ref, entity: str) -> bool:
    """Whether a group is named after a record."""
    spoke, _, native = entity.split(":", 2)
    if native != ref.id:
        return False
    table = tables.groups
    accounts: Mapping[str, Sequence[str]] = (
        db.execute(sa.select(table.c.accounts).where(table.c.sync == sync)).scalar() or {}
    )
    known = accounts.get(ref.connection)
    return known is not None and digest8(":".join(known)) == spoke


def _is_open(db: sa.Connection, sync: str, entity: str) -> bool:
    table = tables.journal
    query = sa.select(table.c.id).where(
        table.c.sync == sync,
        table.c.entity == entity,
        table.c.state.in_([state.value for state in OPEN_INTENTS]),
    )
    return db.execute(query).first() is not None


def _ordered(one: Ref, other: Ref) -> tuple[Ref, Ref]:
    return (one, other) if one <= other else (other, one)
