"""Take a run back, field by field, and only where nobody edited since.

The writes of the run are planned backwards and go through the same journal. What the hub
says stays: an undone value is accepted as it is from then on, and is written again only
when somebody changes the deal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.writing import Act
from crmkit.errors import UsageError
from crmkit.model import Kind, Ref
from crmkit.sync.group import Group
from crmkit.sync.hub import Entity, Intent, JournalEntry, Link, Status
from crmkit.sync.plan import FieldChange, Op, op_id
from crmkit.sync.said import sayings
from crmkit.sync.since import PARTIES, Since, still_used
from crmkit.sync.state import State


@dataclass(slots=True)
class Undo:
    """How a run can be taken back.

    Attributes:
        ops: Writes that put back what was there.
        entries: Per write, the journal entry that it takes back.
        over: Journal entries of which nothing is left: their record is gone.
        impossible: What cannot be taken back, with the reason.
    """

    ops: list[Op] = field(default_factory=list)
    entries: dict[str, str] = field(default_factory=dict)
    over: list[str] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)


def plan_undo(group: Group, state: State, run: int) -> Undo:
    """The writes that take a run back; deletes of what it created come last.

    Raises:
        UsageError: The sync has no such run, or it wrote nothing.
    """
    with state.read() as db:
        entries = group.hub.intents(db, run=run)
        if not entries:
            raise UsageError(f"run {run} of {group.name} wrote nothing", hint="`crmkit runs` lists the runs.")
        links = _links(group, db, entries)
        entities = group.hub.entities(db, {entry.entity for entry in entries})
        since = Since(group, db, links)
        found = Undo()
        for entry in reversed(entries):
            _take_back(entry, entities.get(entry.entity), links, since, group, found)
        _keep_used(since, found)
    found.ops.sort(key=lambda op: (op.act is Act.DELETE, op.kind is Kind.COMPANY, op.kind is Kind.CONTACT))
    return found


def _links(group: Group, db: sa.Connection, entries: Sequence[JournalEntry]) -> dict[Ref, Link]:
    natives: dict[tuple[str, Kind], set[str]] = defaultdict(set)
    for entry in entries:
        if entry.native_id is not None:
            natives[entry.connection, entry.kind].add(entry.native_id)
    return {
        Ref(connection, kind, native): link
        for (connection, kind), ids in natives.items()
        for native, link in group.hub.links_to(db, connection, kind, ids).items()
    }


def _take_back(
    entry: JournalEntry,
    entity: Entity | None,
    links: Mapping[Ref, Link],
    since: Since,
    group: Group,
    found: Undo,
) -> None:
    where = _where(entry)
    if entry.undone_by is not None:
        return
    if entry.state in (Intent.SENT, Intent.UNKNOWN):
        found.impossible.append(f"{where}: what became of the write is not known yet; run `crmkit resume`")
        return
    if entry.state is not Intent.ACKED or entry.native_id is None:
        return
    if entry.act == Act.DELETE:
        found.impossible.append(f"{where}: was deleted; restore it in the CRM itself")
        return
    ref = Ref(entry.connection, entry.kind, entry.native_id)
    link = links.get(ref)
    if link is not None and link.status is Status.DEAD:
        found.over.append(entry.id)  # nothing is left to take back
        return
    if link is None or link.status is not Status.LIVE:
        found.impossible.append(f"{where}: takes no part any more")
        return
    reason = _why_it_stays(entry, entity, link, since, group) if entry.act == Act.CREATE else ""
    if reason:
        found.impossible.append(f"{where}: {reason}")
        return
    label = _label(entry, since.rows.get(ref))
    if entry.act == Act.CREATE:
        op = _remove(entry, link, label)
    else:
        changed = sorted(
            name for name, (native, _) in entry.sent.items() if not since.holds(ref, name, native)
        )
        if changed:
            found.impossible.append(f"{where}: {', '.join(changed)}: holds something else by now")
        op = _restore(entry, label, changed)
        if not op.fields:
            return
    op = replace(op, id=op_id(f"undo:{entry.id}", op))
    found.ops.append(op)
    found.entries[op.id] = entry.id


def _why_it_stays(entry: JournalEntry, entity: Entity | None, link: Link, since: Since, group: Group) -> str:
    """Why a record that was created must not be removed; empty if nobody touched it since."""
    ref = Ref(entry.connection, entry.kind, link.native_id)
    row = since.rows.get(ref)
    if Act.DELETE not in group.members[entry.connection].writing(entry.kind).acts:
        return "this CRM's API cannot delete it"
    if entry.kind is Kind.NOTE:
        if "text" not in entry.sent:
            return "it is not known what was written"
        same = row is None or set(sayings(row["text"])).intersection(entry.sent["text"][0])
        return "" if same else "text was edited there since"
    if entry.kind is not Kind.DEAL and link.version is None:
        return "the CRM does not tell whether somebody edited it since"
    edited = {name for name, base in link.bases.items() if not since.holds(ref, name, base.native)}
    if entity is not None:
        edited |= {name for name, one in entity.hub.items() if one.origin == entry.connection}
    if edited:
        return f"{', '.join(sorted(edited))} was edited there since"
    if entry.kind is not Kind.DEAL and row is not None and row["version"] != link.version:
        return "it was edited there since"
    return "somebody wrote a note on it" if since.has_foreign_notes(ref) else ""


def _keep_used(since: Since, found: Undo) -> None:
    """Leave companies and people whom something names that stays."""
    ops = {Ref(op.connection, op.kind, op.native_id or ""): op for op in found.ops if op.act is Act.DELETE}
    if not any(ref.kind in PARTIES for ref in ops):
        return
    named_by = since.named_by()
    removing = {ref for ref in ops if ref.kind is not Kind.NOTE}
    kept = still_used(removing, named_by)
    for ref in sorted(kept):
        users = {user.kind for user in named_by[ref] if user in kept or user not in removing}
        who = "other deals name" if Kind.DEAL in users else "other people belong to"
        found.impossible.append(f"{ref.kind} {ref.id} in {ref.connection}: {who} it by now")
        found.ops.remove(ops[ref])
        del found.entries[ops[ref].id]


def _where(entry: JournalEntry) -> str:
    return f"{entry.kind} {entry.native_id or entry.entity} in {entry.connection}"


def _remove(entry: JournalEntry, link: Link, label: str) -> Op:
    """Delete what was created, if it still holds exactly what was sent, and nothing new elsewhere."""
    fields: tuple[FieldChange, ...] = ()
    payload: dict[str, Any] = {}
    if entry.kind is Kind.NOTE:
        payload = {"text": entry.sent["text"][0]}
    else:
        others = {name: (base.native, None) for name, base in link.bases.items()}
        fields = tuple(
            FieldChange(name, native, stood, None, "undo")
            for name, (native, stood) in sorted({**others, **entry.sent}.items())
        )
        # Companies and people have fields that are not kept in step: they are compared by their version.
        payload = {} if entry.kind is Kind.DEAL else {"version": link.version}
    return Op(
        "", entry.connection, entry.kind, Act.DELETE, entry.entity, entry.native_id, None, label, None,
        fields, payload,
    )  # fmt: skip


def _restore(entry: JournalEntry, label: str, changed: Collection[str]) -> Op:
    """Put back what each field held, where it still holds what was sent."""
    fields = tuple(
        FieldChange(name, native, stood, stood, "undo", (entry.before.get(name),))
        for name, (native, stood) in entry.sent.items()
        if name not in changed
    )
    return Op(
        "", entry.connection, entry.kind, Act.UPDATE, entry.entity, entry.native_id, None, label, None, fields
    )


def _label(entry: JournalEntry, row: Mapping[str, Any] | None) -> str:
    name = entry.sent.get("name")
    known = row.get("name") if row is not None else None
    return str(known or (name[1] if name is not None else entry.native_id))
