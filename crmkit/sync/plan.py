"""A plan: every write that a sync would make, as data that a person can read and save.

A saved plan is looked at, not trusted: `apply` makes the plan again from the same state and
carries out only what is the same in both (sync-semantics 6). So nothing that somebody
writes into the file can change what is sent, or where.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from crmkit.connectors.writing import Act
from crmkit.errors import UsageError
from crmkit.mapping.custom import Plain
from crmkit.model import Kind
from crmkit.sync.hub import encode

SCHEMA = 1
MAX_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a write.

    Attributes:
        field: Its name.
        expected: What the CRM must still hold, natively; a create expects nothing.
        old: The common value of that.
        new: The common value to write.
        rule: Why.
        exact: For an undo, what to write natively, in place of an expression of `new`.
    """

    field: str
    expected: Plain
    old: Plain
    new: Plain
    rule: str
    exact: tuple[Plain] | None = None


@dataclass(frozen=True, slots=True)
class Op:
    """One write to one CRM.

    Attributes:
        id: Hash of everything that decides what is written.
        connection: Where.
        kind: What.
        act: Create, update or delete.
        entity: The entity.
        native_id: The record; `None` for a create.
        marker: What a created record carries in its key field.
        label: What a person knows the record by.
        url: The record in the CRM's own pages, if it exists.
        fields: Fields to write, of a deal.
        payload: Model fields to write, of a company or a person, as plain JSON.
        parents: Entities that must exist in this CRM first.
        whole: Digest of the write before the CRM's refusal of a field took that field out;
            empty if nothing was taken out.
    """

    id: str
    connection: str
    kind: Kind
    act: Act
    entity: str
    native_id: str | None = None
    marker: str | None = None
    label: str = ""
    url: str | None = None
    fields: tuple[FieldChange, ...] = ()
    payload: Mapping[str, Plain] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    whole: str = ""

    @property
    def target(self) -> tuple[str, str]:
        """What at most one unresolved write may be under way for."""
        return (self.connection, self.entity)


def op_id(sync: str, op: Op) -> str:
    """The hash that names an operation: equal content gives equal names."""
    content = [
        sync, op.connection, op.kind, op.act, op.entity, op.native_id, op.marker,
        [[one.field, one.expected, one.new] for one in op.fields],
        op.payload,
    ]  # fmt: skip
    return hashlib.sha256(encode(content).encode()).hexdigest()[:16]


def payload_digest(op: Op) -> str:
    """What a refusal is remembered by: the same values are not tried again."""
    if op.whole:
        return op.whole
    content = [[[one.field, one.new] for one in op.fields], op.payload]
    return hashlib.sha256(encode(content).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Held:
    """Something that is not written, and waits for a person or for another write.

    `kind` is one of conflict, frozen, review, clone, foreign, unwritable, unmapped, required,
    refused, parked, blocked, delete_conflict, merged, left_out, told.
    """

    kind: str
    connection: str
    entity: str
    label: str
    field: str | None
    reason: str


# Held items that go away by themselves with one of the next runs.
PASSING = frozenset({"parked"})
# Told, but nothing waits for a person.
QUIET = frozenset({"foreign", "left_out", "told"})


def waits_for_a_person(kind: str) -> bool:
    """Whether somebody has to act on a held item of this kind."""
    return kind not in PASSING and kind not in QUIET


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedField(_Json):
    """One field of a planned write: common values, as plain JSON and as people read them."""

    field: str
    old: Any = None
    new: Any = None
    old_text: str = ""
    new_text: str = ""
    rule: str = ""


class PlannedWrite(_Json):
    """One planned write."""

    id: str
    connection: str
    kind: str
    act: str
    entity: str
    record: str | None = None
    label: str = ""
    url: str | None = None
    fields: list[PlannedField] = []


class PlannedHold(_Json):
    """Something that is not written."""

    kind: str
    connection: str
    entity: str
    label: str
    field: str | None = None
    reason: str


class PlannedCost(_Json):
    """What a plan costs one CRM; `reads` are those of the requests that come with the writes."""

    connection: str
    creates: int
    updates: int
    deletes: int
    requests: int
    reads: int = 0
    minutes: float
    units: int


class TrippedGuard(_Json):
    """A guard that stops the plan until it is confirmed with `--confirm NAME=COUNT`."""

    name: str
    connection: str
    count: int
    limit: int
    reason: str


class PlanFile(_Json):
    """A saved plan; `crmkit plan SYNC --out FILE` writes it.

    Attributes:
        crmkit_plan: Version of this format.
        sync: The sync's name.
        made_at: When it was made; it is refused after the sync's `plan_minutes`.
        generation: The state it was made from.
        digest: Settings and maps it was made with.
        content: Hash over the ids of all writes.
        writes: In the order in which they are carried out; deletes last.
        held: What is not written, with the reason.
        guards: Guards that stop it.
        costs: Per CRM.
        prepares: Per CRM, key fields that are created first.
    """

    crmkit_plan: Literal[1] = 1
    sync: str
    made_at: AwareDatetime
    generation: str
    digest: str
    content: str
    writes: list[PlannedWrite] = []
    held: list[PlannedHold] = []
    guards: list[TrippedGuard] = []
    costs: list[PlannedCost] = []
    prepares: dict[str, list[str]] = {}


def content_hash(ops: Sequence[Op]) -> str:
    """One hash over all writes of a plan."""
    return hashlib.sha256("\n".join(sorted(op.id for op in ops)).encode()).hexdigest()[:16]


def planned(op: Op, text: Callable[[str, Plain], str]) -> PlannedWrite:
    """An operation as a saved plan shows it; `text` puts a field's value into words."""
    fields = [
        PlannedField(
            field=one.field,
            old=one.old,
            new=one.new,
            old_text=text(one.field, one.old),
            new_text=text(one.field, one.new),
            rule=one.rule,
        )
        for one in op.fields
    ] or [
        PlannedField(
            field=name,
            new=value,
            old_text=text(name, None),
            new_text=text(name, value),
            rule="needed by a deal",
        )
        for name, value in op.payload.items()
    ]
    return PlannedWrite(
        id=op.id,
        connection=op.connection,
        kind=op.kind.value,
        act=op.act.value,
        entity=op.entity,
        record=op.native_id,
        label=op.label,
        url=op.url,
        fields=fields,
    )


def load_plan(path: Path) -> PlanFile:
    """Read a saved plan.

    Raises:
        UsageError: It is not one.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is too large to be a plan")
        return PlanFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path} is not a plan of this version: {where + ': ' if where else ''}{first['msg']}",
            hint="Make a new one with `crmkit plan SYNC --out FILE`.",
        ) from error
