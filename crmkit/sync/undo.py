"""Take a run back, field by field, and only where nobody edited since.

The writes of the run are planned backwards and go through the same journal. What the hub
says stays: an undone value is accepted as it is from then on, and is written again only
when somebody changes the deal.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from crmkit.connectors.writing import Act
from crmkit.errors import UsageError
from crmkit.model import Kind
from crmkit.sync import schema
from crmkit.sync.group import Group
from crmkit.sync.hub import Entity, Intent, JournalEntry, Link, Status, encode
from crmkit.sync.plan import FieldChange, Op, op_id
from crmkit.sync.state import State


@dataclass(slots=True)
class Undo:
    """How a run can be taken back.

    Attributes:
        ops: Writes that put back what was there.
        entries: Per write, the journal entry that it takes back.
        impossible: What cannot be taken back, with the reason.
    """

    ops: list[Op] = field(default_factory=list)
    entries: dict[str, str] = field(default_factory=dict)
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
        links: dict[tuple[str, Kind, str], Link] = {}
        for entry in entries:
            if entry.native_id is not None:
                for native, link in group.hub.links_to(
                    db, entry.connection, entry.kind, [entry.native_id]
                ).items():
                    links[entry.connection, entry.kind, native] = link
        entities = group.hub.entities(db, {entry.entity for entry in entries})
        found = Undo()
        gone = {entry.native_id for entry in entries if entry.act == Act.CREATE}
        for entry in reversed(entries):
            used = entry.kind is not Kind.DEAL and entry.native_id and _used(db, entry, gone)
            if used:
                found.impossible.append(
                    f"{entry.kind} {entry.native_id} in {entry.connection}: other deals name it by now"
                )
            else:
                _take_back(entry, entities.get(entry.entity), links, found)
    found.ops.sort(key=lambda op: (op.act is Act.DELETE, op.kind is Kind.COMPANY, op.kind is Kind.CONTACT))
    return found


def _used(db: sa.Connection, entry: JournalEntry, gone: set[str | None]) -> bool:
    """Whether deals that this run did not create name a company or person."""
    deals = schema.deals.c
    column = deals.companies if entry.kind is Kind.COMPANY else deals.contacts
    query = sa.select(deals.id).where(
        deals.connection == entry.connection,
        deals.gone_at.is_(None),
        sa.cast(column, sa.Text).contains(encode(entry.native_id), autoescape=True),
    )
    return any(native not in gone for native in db.execute(query).scalars())


def _take_back(
    entry: JournalEntry, entity: Entity | None, links: dict[tuple[str, Kind, str], Link], found: Undo
) -> None:
    where = f"{entry.kind} {entry.native_id or entry.entity} in {entry.connection}"
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
    link = links.get((entry.connection, entry.kind, entry.native_id))
    if link is None or link.status is not Status.LIVE:
        found.impossible.append(f"{where}: is gone already")
        return
    if entry.act == Act.CREATE and entry.kind is not Kind.DEAL and link.version is None:
        found.impossible.append(f"{where}: the CRM does not tell whether somebody edited it since")
        return
    if entry.act == Act.CREATE and entity is not None:
        edited = sorted(name for name, one in entity.hub.items() if one.origin == entry.connection)
        if edited:
            found.impossible.append(f"{where}: {', '.join(edited)} was edited there since")
            return
    op = _remove(entry, link) if entry.act == Act.CREATE else _restore(entry)
    op = replace(op, id=op_id(f"undo:{entry.id}", op))
    found.ops.append(op)
    found.entries[op.id] = entry.id


def _remove(entry: JournalEntry, link: Link) -> Op:
    """Delete what was created, if it still holds exactly what was sent, and nothing new elsewhere."""
    others = {name: (base.native, None) for name, base in link.bases.items()}
    fields = tuple(
        FieldChange(name, native, stood, None, "undo")
        for name, (native, stood) in sorted({**others, **entry.sent}.items())
    )
    # Companies and people are compared by their version: their fields are not kept in step.
    payload = {} if entry.kind is Kind.DEAL else {"version": link.version}
    return Op(
        "", entry.connection, entry.kind, Act.DELETE, entry.entity, entry.native_id, None,
        _label(entry), None, fields, payload,
    )  # fmt: skip


def _restore(entry: JournalEntry) -> Op:
    """Put back what each field held, where it still holds what was sent."""
    fields = tuple(
        FieldChange(name, native, stood, stood, "undo", (entry.before.get(name),))
        for name, (native, stood) in entry.sent.items()
    )
    return Op(
        "", entry.connection, entry.kind, Act.UPDATE, entry.entity, entry.native_id, None, _label(entry),
        None, fields,
    )  # fmt: skip


def _label(entry: JournalEntry) -> str:
    name = entry.sent.get("name")
    return str(name[1]) if name is not None else str(entry.native_id)
