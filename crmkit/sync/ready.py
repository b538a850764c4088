"""What is sent for a planned write: looked at again right before, pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crmkit import model
from crmkit.connectors.writing import Change
from crmkit.mapping.custom import Plain, Unmapped
from crmkit.mapping.fields import Codec, Directory
from crmkit.mapping.parties import PartyCodec
from crmkit.model import AnyRecord, Kind, Ref
from crmkit.sync.hub import Intent, JournalEntry
from crmkit.sync.plan import FieldChange, Op
from crmkit.sync.reconcile import Base
from crmkit.sync.results import fresh_row
from crmkit.sync.said import sayings

Sent = Mapping[str, tuple[Plain, Plain]]
"""Per field what is sent, natively, and what it stands for."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A write with everything that is needed to send it and to note its outcome.

    Attributes:
        op: What was planned.
        change: What is sent.
        entry: The intent.
        before: The record as it was read right before.
        agreed: Fields that hold the wanted value already.
        left: What follows from the write by itself, for example the outcome from the stage.
        moved: Whether a part of what was planned is not sent, as the record changed meanwhile.
    """

    op: Op
    change: Change
    entry: JournalEntry
    before: AnyRecord | None
    agreed: Mapping[str, Base]
    left: Mapping[str, Any] = field(default_factory=dict)
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """What all intents of one round share: the run, the round, and who tells the time."""

    number: int
    turn: int
    now: Callable[[], datetime]

    def entry(self, op: Op, sent: Sent, before: Mapping[str, Plain], parent: str | None) -> JournalEntry:
        """The intent of a write."""
        return JournalEntry(
            # A second round may well plan the same write again.
            f"{self.number}.{self.turn}:{op.id}", self.number, op.connection, op.kind, op.act.value,
            op.entity, op.native_id, op.marker, parent, sent, before,
            {one.field: one.rule for one in op.fields}, Intent.SENT, self.now(),
        )  # fmt: skip


_PARENTS = frozenset({"deal_id", "company_id"})
_TIMES = frozenset({"at", "created_at", "closed_at"})
Note = Callable[[str], None]
"""Takes what a person should know about a write."""


def ready_create(codec: Codec, op: Op, run: Run, note: Note) -> Ready:
    """A record to create; companies and people are named by their ids in this CRM."""
    if op.kind is Kind.DEAL:
        values, sent, left = _deal_values(codec, op, note)
    else:
        values, sent, left = _payload_values(codec, op), {}, {}
    if op.kind is Kind.NOTE:
        # What it says is all that tells later whether somebody edited it.
        said = sayings(op.payload["text"])
        sent = {"text": (said, said)}
    change = Change(op.id, op.act, op.kind, None, values, op.marker)
    parent = parent_of(op, codec.directory)
    return Ready(op, change, run.entry(op, sent, {}, str(parent) if parent else None), None, {}, left)


def parent_of(op: Op, directory: Directory) -> Ref | None:
    """Where a new record hangs: a note on its deal or company, anything else on its company."""
    named: tuple[tuple[Kind, Any], ...] = tuple(
        (Kind.COMPANY, one.new) for one in op.fields if one.field == "company"
    )
    named += (
        (Kind.DEAL, op.payload.get("deal_id")),
        (Kind.COMPANY, op.payload.get("company_id")),
        (Kind.COMPANY, next(iter(op.payload.get("companies") or ()), None)),
    )
    for kind, entity in named:
        native = directory.native_of.get((entity, op.connection)) if entity else None
        if native is not None:
            return Ref(op.connection, kind, native)
    return None


def _payload_values(codec: Codec, op: Op) -> dict[str, Any]:
    """Model values of a company, person or note; who else is named goes by their ids in this CRM."""
    natives = codec.directory.native_of
    values: dict[str, Any] = {}
    for name, one in op.payload.items():
        if name == "companies":
            values[name] = tuple(natives[each, op.connection] for each in one)
        elif name in _PARENTS:
            values[name] = natives[one, op.connection]
        elif name in _TIMES:
            values[name] = datetime.fromisoformat(one)
        elif name.startswith("custom."):
            values[name] = codec.brought_value(op.kind, name.removeprefix("custom."), one)
        else:
            values[name] = tuple(one) if isinstance(one, list) else one
    return values


def _deal_values(
    codec: Codec, op: Op, note: Note
) -> tuple[dict[str, Any], dict[str, tuple[Plain, Plain]], dict[str, Any]]:
    """Values of a new deal, what each field is sent as and stands for, and what follows from it."""
    values: dict[str, Any] = {}
    left: dict[str, Any] = {}
    new: dict[str, Plain] = {}
    for one in op.fields:
        written = codec.write_values(one.field, one.new)
        if isinstance(written, Unmapped):
            note(f"{op.label}: {one.field}: {written.reason}")
            continue
        values |= written
        left |= codec.left_values(one.field, one.new)
        new[one.field] = one.new
    row = fresh_row({**values, **left})
    # What is only kept, and not kept in step, for example when a migrated deal was made.
    values |= _payload_values(codec, op)
    return values, {name: (codec.native(name, row), new[name]) for name in new}, left


def ready_update(
    codec: Codec | PartyCodec, op: Op, record: AnyRecord, read_at: datetime, run: Run, note: Note
) -> Ready | None:
    """What is still due of an update; `None` if the record holds nothing that the plan expected."""
    row = vars(record)
    values: dict[str, Any] = {}
    sent: dict[str, tuple[Plain, Plain]] = {}
    before: dict[str, Plain] = {}
    agreed: dict[str, Base] = {}
    left: dict[str, Any] = {}
    for one in op.fields:
        native = codec.native(one.field, row)
        if one.exact is None and codec.decode(one.field, native) == one.new:
            agreed[one.field] = Base(native, one.new)
        elif _as_planned(codec, one, native):
            written = (
                codec.restore_values(one.field, one.exact[0])
                if one.exact is not None
                else codec.write_values(one.field, one.new, native)
            )
            if isinstance(written, Unmapped):
                note(f"{op.label}: {one.field}: {written.reason}")
                continue
            values |= written
            before[one.field] = native
            if one.exact is None:
                left |= codec.left_values(one.field, one.new, native)
            after = codec.native(one.field, {**row, **_merged_custom(row, {**written, **left})})
            sent[one.field] = (after, one.new)
    if not sent and not agreed:
        return None
    moved = len(sent) + len(agreed) < len(op.fields)
    return Ready(
        op, _change(op, record, values, read_at), run.entry(op, sent, before, None), record, agreed, left,
        moved,
    )  # fmt: skip


def ready_delete(
    codec: Codec | PartyCodec, op: Op, record: AnyRecord, read_at: datetime, run: Run
) -> Ready | None:
    """A delete; `None` if the record is not exactly what the plan expected."""
    if isinstance(record, model.Note):
        if not set(sayings(record.text)).intersection(op.payload["text"]):
            return None
    elif op.payload and getattr(record, "version", None) != op.payload["version"]:
        return None
    natives = {one.field: codec.native(one.field, vars(record)) for one in op.fields}
    if not all(_as_planned(codec, one, natives[one.field]) for one in op.fields):
        return None
    return Ready(op, _change(op, record, {}, read_at), run.entry(op, {}, natives, None), record, {})


def _as_planned(codec: Codec | PartyCodec, one: FieldChange, native: Plain) -> bool:
    """Whether a field still holds what the plan expected, or what means the same."""
    value = codec.decode(one.field, native)
    same = value == codec.decode(one.field, one.expected)
    return bool(native == one.expected or (same and not isinstance(value, Unmapped)))


def _change(op: Op, record: AnyRecord, values: Mapping[str, Any], read_at: datetime) -> Change:
    version = getattr(record, "version", None)
    return Change(op.id, op.act, op.kind, Ref(op.connection, op.kind, op.native_id or ""), values, None,
                  version, read_at)  # fmt: skip


def _merged_custom(row: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Model values with custom fields put into the record's own."""
    plain = {name: one for name, one in written.items() if not name.startswith("custom.")}
    custom = {name.removeprefix("custom."): one for name, one in written.items() if name not in plain}
    return {**plain, "custom": {**row["custom"], **custom}} if custom else plain
