"""What a plan costs each CRM before it runs: requests, minutes and the share of the day's quota.

Counted is what carrying a plan out asks for: the look for records that are there already,
the writes, the re-check right before an update or delete, and, if it is still to come, the
pull. Minutes are the floor that a CRM's own limits set; a slow CRM takes longer. Nothing
here is asked of a CRM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from crmkit.connectors.base import Connector
from crmkit.connectors.writing import Act, Budget, Change, Keys, Lookup
from crmkit.model import DealContact, Kind, Ref
from crmkit.sync.group import Group, Member
from crmkit.sync.plan import Op

# What a workspace calls the units that are left for the day, in the order of their worth.
_QUOTAS = ("daily_remaining", "credits_remaining", "daily")
_MODEL_NAMES: Mapping[str, tuple[str, ...]] = {
    "stage": ("pipeline_id", "stage_id"),
    "amount": ("amount", "currency"),
    "owner": ("owner_id",),
}

_PLACES: Mapping[str, Kind] = {"deal_id": Kind.DEAL, "company_id": Kind.COMPANY}


class Part(StrEnum):
    """What requests are made for, in the order in which a run makes them."""

    PULL = "pull"
    LOOK = "look first"
    CHECK = "re-check"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a plan costs one CRM.

    Attributes:
        connection: Which.
        creates: Records to create; likewise `updates` and `deletes`.
        parts: What each part costs; parts that cost nothing are left out.
        quota: What may be drawn from the CRM's daily quota, in its own unit; `None` if it has
            none or does not tell.
    """

    connection: str
    creates: int = 0
    updates: int = 0
    deletes: int = 0
    parts: Mapping[Part, Budget] = field(default_factory=dict)
    quota: int | None = None

    @property
    def requests(self) -> int:
        """All requests."""
        return sum(one.requests for one in self.parts.values())

    @property
    def minutes(self) -> float:
        """The time that the CRM's limits ask for at the least."""
        return round(sum(one.seconds for one in self.parts.values()) / 60, 2)

    @property
    def units(self) -> int:
        """What is drawn from the quota, in the CRM's own unit."""
        return sum(one.units for one in self.parts.values())

    @property
    def reads(self) -> int:
        """The requests that read, which come on top of the writes."""
        return sum(one.requests for part, one in self.parts.items() if part is not Part.WRITE)

    @property
    def share(self) -> float | None:
        """The part of the daily quota that is used up; above 1 it takes more than one day."""
        if self.quota is None:
            return None
        return self.units / self.quota if self.quota > 0 else float(self.units > 0)


def costs(
    group: Group,
    ops: Sequence[Op],
    *,
    young: bool = True,
    existing: Mapping[tuple[str, Kind], int] | None = None,
    pulls: Mapping[str, Mapping[Kind, int]] | None = None,
    limits: Mapping[str, Mapping[str, int]] | None = None,
) -> list[Cost]:
    """What each member of a group has to bear, in the order of the settings.

    Args:
        group: The sync group.
        ops: The plan's writes.
        young: Whether everything is looked for before it is created (a first run, or one
            right after it): see `crmkit.sync.commit.young`.
        existing: How many records a CRM holds, by connection and kind, as far as is known.
        pulls: Per connection, how many records of each kind are still to be read whole.
        limits: Per connection, `Workspace.limits`.
    """
    by_member: dict[str, list[Op]] = {connection: [] for connection in group.members}
    for op in ops:
        by_member[op.connection].append(op)
    return [
        _cost(
            group,
            member,
            by_member[connection],
            young=young,
            existing={kind: count for (name, kind), count in (existing or {}).items() if name == connection},
            pulls=(pulls or {}).get(connection, {}),
            limits=(limits or {}).get(connection, {}),
        )
        for connection, member in group.members.items()
    ]


def pull_cost(
    connector: Connector, counts: Mapping[Kind, int], limits: Mapping[str, int] | None = None
) -> Cost:
    """What reading everything of one CRM costs.

    Args:
        connector: The open connection.
        counts: How many records of each kind there are, as far as is known.
        limits: `Workspace.limits`.
    """
    parts = {Part.PULL: _whole(connector, counts)}
    return Cost(connector.context.connection, parts=_worth(parts), quota=_quota(limits or {}))


def _cost(
    group: Group,
    member: Member,
    ops: Sequence[Op],
    *,
    young: bool,
    existing: Mapping[Kind, int],
    pulls: Mapping[Kind, int],
    limits: Mapping[str, int],
) -> Cost:
    connector = member.connector
    acts = {act: sum(op.act is act for op in ops) for act in Act}
    parts = {
        Part.PULL: _whole(connector, pulls),
        Part.LOOK: _added(_looks(group, member, ops, young=young, existing=existing)),
        Part.CHECK: _added(_checks(member, ops)),
        Part.WRITE: connector.budget([skeleton(op) for op in ops]) if ops else Budget(),
    }
    return Cost(
        member.connection,
        acts[Act.CREATE],
        acts[Act.UPDATE],
        acts[Act.DELETE],
        _worth(parts),
        _quota(limits),
    )


def _whole(connector: Connector, counts: Mapping[Kind, int]) -> Budget:
    return _added(connector.reading_budget(kind, count, whole=True) for kind, count in counts.items())


def _looks(
    group: Group, member: Member, ops: Sequence[Op], *, young: bool, existing: Mapping[Kind, int]
) -> Iterator[Budget]:
    """A look per chunk of creates, unless the CRM itself refuses a second record with one key."""
    made = {op.entity for op in ops if op.act is Act.CREATE}
    for kind, found in _by_kind(op for op in ops if op.act is Act.CREATE):
        writing = member.writing(kind)
        if not young and writing.keys is Keys.UNIQUE:
            continue
        lookups = [
            Lookup(kind, op.marker or "", _parent(group, op))
            for op in found
            # A record that was made a moment ago has no notes yet.
            if kind is not Kind.NOTE or not made.issuperset(op.parents)
        ]
        connector, there = member.connector, existing.get(kind, 0)
        first = connector.finding_budget(kind, ())
        size = max(1, writing.chunk)
        # What was created before is there too.
        chunks = (
            connector.finding_budget(kind, lookups[at : at + size], existing=there + at)
            for at in range(0, len(lookups), size)
        )
        together = connector.finding_budget(kind, lookups, existing=there)
        yield _in_turn(first, chunks, together)


def _checks(member: Member, ops: Sequence[Op]) -> Iterator[Budget]:
    """Records are read again right before they are updated or deleted, chunk by chunk."""
    connector = member.connector
    for kind, found in _by_kind(op for op in ops if op.act is not Act.CREATE):
        size = connector.changes_at_once(kind)
        sizes = [
            min(size, left - at)
            for left in (sum(op.act is act for op in found) for act in (Act.UPDATE, Act.DELETE))
            for at in range(0, left, size)
        ]
        chunks = (connector.reading_budget(kind, one) for one in sizes)
        yield _in_turn(connector.reading_budget(kind, 0), chunks, connector.reading_budget(kind, sum(sizes)))


def skeleton(op: Op) -> Change:
    """A change with the right fields and no real values: enough to count requests."""
    ref = Ref(op.connection, op.kind, op.native_id) if op.native_id else None
    values: dict[str, object] = {name: one if name in _PLACES else "x" for name, one in op.payload.items()}
    for one in op.fields:
        if one.field == "company":
            values["companies"] = ("x",) if one.new else ()
        elif one.field == "contacts":
            values["contacts"] = tuple(DealContact(id=str(at)) for at, _ in enumerate(one.new or ()))
        else:
            values |= dict.fromkeys(_MODEL_NAMES.get(one.field, (one.field,)), "x")
    if op.kind is Kind.CONTACT and "companies" in op.payload:
        values["companies"] = ("x",)
    return Change(op.id, op.act, op.kind, ref, values, op.marker)


def _parent(group: Group, op: Op) -> Ref | None:
    """Where a new record will hang, as `crmkit.sync.ready.parent_of` will find it.

    What is still to be created itself goes by its entity.
    """
    named: list[tuple[Kind, Any]] = [(Kind.COMPANY, one.new) for one in op.fields if one.field == "company"]
    named += [(kind, op.payload.get(name)) for name, kind in _PLACES.items()]
    named.append((Kind.COMPANY, next(iter(op.payload.get("companies") or ()), None)))
    for kind, entity in named:
        if entity:
            native = group.directory.native_of.get((entity, op.connection), entity)
            return Ref(op.connection, kind, native)
    return None


def _by_kind(ops: Iterable[Op]) -> Iterator[tuple[Kind, list[Op]]]:
    found: dict[Kind, list[Op]] = {}
    for op in ops:
        found.setdefault(op.kind, []).append(op)
    yield from found.items()


def _quota(limits: Mapping[str, int]) -> int | None:
    return next((limits[name] for name in _QUOTAS if name in limits), None)


def _worth(parts: Mapping[Part, Budget]) -> dict[Part, Budget]:
    return {part: one for part, one in parts.items() if one != Budget()}


def _added(budgets: Iterable[Budget]) -> Budget:
    requests, seconds, units = 0, 0.0, 0
    for one in budgets:
        requests, seconds, units = requests + one.requests, seconds + one.seconds, units + one.units
    return Budget(requests, seconds, units)


def _in_turn(first: Budget, chunks: Iterable[Budget], together: Budget) -> Budget:
    """Calls one after the other; what is read once before counts once.

    Args:
        first: What is read once before; each chunk contains it.
        chunks: Each call by itself.
        together: All of them in one call. A limit that leaves the first burst free does so
            once, and not for each call: so the time is no less than that of this one.
    """
    requests, seconds, units = first.requests, first.seconds, first.units
    for one in chunks:
        requests += max(0, one.requests - first.requests)
        seconds += max(0.0, one.seconds - first.seconds)
        units += max(0, one.units - first.units)
    return Budget(requests, max(seconds, together.seconds), units)
