"""What a connector is asked to write, and what it answers: one outcome per change.

A change names the fields it touches, and nothing else of the record is touched. Values
are the model's own (`crmkit.model`), with ids of the CRM that is written to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from crmkit.model import AnyRecord, Kind, Ref


class Act(StrEnum):
    """What happens to a record."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"  # as gently as the CRM can: archived or in its recycle bin where it has one


@dataclass(frozen=True, slots=True)
class Change:
    """One record to create, update or delete.

    Attributes:
        id: The caller's name for the change, unique in one call; the outcome carries it.
        act: What to do.
        kind: What the record is.
        ref: Which record; `None` for a create.
        values: Model field to its new value: for a deal `name`, `pipeline_id` and
            `stage_id`, `outcome`, `amount`, `currency`, `value_period`, `probability`,
            `owner_id`, `companies` (ids, the primary one first; the whole set),
            `contacts` (`DealContact`s; the whole set), `expected_close`, ... `None`
            clears a field. A custom field is `custom.<the CRM's field id>`.
        key: For a create, the marker to store in the CRM's key field, so that the
            record can be found again.
        version: The version that was read right before, if any.
        read_at: The CRM's own time when that was read: a record that changed later must
            not be overwritten, where the CRM can refuse it.
    """

    id: str
    act: Act
    kind: Kind
    ref: Ref | None = None
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    key: str | None = None
    version: str | None = None
    read_at: datetime | None = None


class Result(StrEnum):
    """What became of a change."""

    DONE = "done"
    EXISTS = "exists"  # a record with this key or unique value is already there: `ref`
    REJECTED = "rejected"  # the CRM refuses these values, and would again
    STALE = "stale"  # the record changed after it was read; nothing was written
    GONE = "gone"  # there is no such record
    UNKNOWN = "unknown"  # sent, and no answer proves what happened
    UNSENT = "unsent"  # not executed for a passing reason: a limit, a lock, an earlier failure


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of one change.

    Attributes:
        id: The change's `id`.
        result: What became of it.
        ref: The record, for `DONE` and `EXISTS`.
        version: Its version after the write, if the CRM answers it.
        record: The record as the write's own answer shows it, if it is complete.
        field: For `REJECTED`, the model's name of the field at fault, if the CRM tells.
        reason: What the CRM says, redacted and without personal data.
        unwritten: Fields that could not be written although the rest was, with the reason.
    """

    id: str
    result: Result
    ref: Ref | None = None
    version: str | None = None
    record: AnyRecord | None = None
    field: str | None = None
    reason: str = ""
    unwritten: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A key to look for.

    Attributes:
        kind: What carries it.
        key: The marker, exactly.
        parent: Where the record hangs, if known: the deal's company or first contact,
            the note's deal. Some CRMs find faster with it, or only with it.
        since: The record cannot be older than this (the CRM's own time).
    """

    kind: Kind
    key: str
    parent: Ref | None = None
    since: datetime | None = None


class Keys(StrEnum):
    """How well a CRM keeps our key."""

    UNIQUE = "unique"  # the CRM itself refuses a second record with the same key
    SEARCHABLE = "searchable"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Writing:
    """What can be written of one kind.

    Attributes:
        acts: What can be done.
        fields: Model fields that create and update can set; `custom` stands for all of them.
        create_fields: Fields that only a create can set.
        required: Fields that a create must name: without them the CRM refuses it, or puts in
            something of its own.
        keys: How a created record is found again.
        update_if_unchanged: Whether the CRM itself refuses an update of a record that
            changed meanwhile.
        answers_record: Whether a write's answer shows the whole record.
        chunk: How many changes one call of `write` should get to be cheapest.
    """

    acts: frozenset[Act] = frozenset()
    fields: frozenset[str] = frozenset()
    create_fields: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    keys: Keys = Keys.NONE
    update_if_unchanged: bool = False
    answers_record: bool = False
    chunk: int = 100


@dataclass(frozen=True, slots=True)
class Budget:
    """What changes will cost against the CRM's limits.

    `seconds` is the floor that the rate limits set; `units` is what is drawn from the
    CRM's daily or rolling quota, in its own unit (requests or credits).
    """

    requests: int = 0
    seconds: float = 0.0
    units: int = 0


def budget_by_batch(changes: Sequence[Change], per_request: int, per_second: float) -> Budget:
    """The cost where changes of one act and kind go in batches of `per_request`."""
    groups: dict[tuple[Act, Kind], int] = {}
    for change in changes:
        groups[change.act, change.kind] = groups.get((change.act, change.kind), 0) + 1
    requests = sum(-(-count // per_request) for count in groups.values())
    return Budget(requests, requests / per_second, requests)
