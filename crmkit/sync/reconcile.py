"""Three-way merge of one record that several CRMs hold: pure, and the heart of the sync.

Members never sync with each other but with the hub, the value the group agreed on last.
Per member and field there is a base: what the CRM held at the last agreement, and the hub
value that this stood for. Content decides whether something changed, never a time
(sync-semantics 3). `Row` names every line of the decision table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from crmkit.mapping.custom import Plain, Unmapped
from crmkit.sync.rules import Candidate, Rule, Setting

OSCILLATION_WINDOW = timedelta(hours=24)
OSCILLATION_MEMORY = 5


class Row(StrEnum):
    """What one member's value means for the hub: the decision table."""

    UNMAPPED = "unmapped"  # no common value for it: reported, neither imported nor written
    UNCHANGED = "unchanged"  # still what the last agreement found
    ECHO = "echo"  # our own write, whose answer never came, has landed
    AGREE = "agree"  # already what the hub says
    AMBIGUOUS = "ambiguous base"  # neither the base nor what was sent: a user's edit, which wins
    REMOTE = "changed here only"
    OWN = "changed here again"  # a newer edit of the member that set the hub's value
    CONFLICT = "changed here and elsewhere"
    UNKNOWN = "base unknown"  # just linked, or rebuilt after the state was lost
    LOCAL = "changed here, stays here"  # a target's own edit
    EMPTY = "empty here"  # a target that was just linked and holds nothing: there is nothing to lose


class _Nothing:
    """No hub value, or no agreement: equal to nothing else."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()
Hub = Plain | _Nothing


@dataclass(frozen=True, slots=True)
class Base:
    """The last agreement of one member about one field.

    Attributes:
        native: What the CRM held.
        stood: What the member can express of the hub's value that this stood for;
            `NOTHING` if the member must be written whatever the hub says.
    """

    native: Plain
    stood: Hub = NOTHING


@dataclass(frozen=True, slots=True)
class Side:
    """One member's view of one field.

    Attributes:
        connection: The member.
        native: What the CRM holds now.
        value: The common value of it.
        base: The last agreement; `None` if unknown.
        base_value: The common value of the base.
        sent: Common values of writes whose outcome is not known.
        imports: Whether its edits go to the hub.
        writes: Whether the hub's value goes to it.
        modified_at: When the CRM modified the record last.
        error_seconds: Uncertainty of that time.
    """

    connection: str
    native: Plain
    value: Plain | Unmapped
    base: Base | None = None
    base_value: Plain | Unmapped = None
    sent: tuple[Plain, ...] = ()
    imports: bool = True
    writes: bool = True
    modified_at: datetime | None = None
    error_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Due:
    """A write that a member needs.

    Attributes:
        connection: Where.
        expected: What the CRM must still hold, natively.
        value: The common value to write.
    """

    connection: str
    expected: Plain
    value: Plain


@dataclass(frozen=True, slots=True)
class Conflict:
    """Values that contradict each other and wait for a person.

    `frozen`: two automations are at it, so that the field stays as it is until then.
    """

    field: str
    candidates: tuple[Candidate, ...]
    reason: str = "changed differently in several CRMs"
    frozen: bool = False


@dataclass(slots=True)
class Merged:
    """The outcome for one field.

    Attributes:
        hub: The hub's value now.
        origin: The member that set it; empty if none did.
        changed: Whether the hub's value is new.
        rule: Why it is what it is, for people.
        rows: What each member's value meant.
        bases: Agreements to store.
        due: Writes that are needed.
        conflict: What is held, if anything.
        unwritable: Members that cannot express the hub's value, with the reason.
        losers: Members whose edit was overruled by a rule.
    """

    hub: Hub
    origin: str
    changed: bool = False
    rule: str = ""
    rows: dict[str, Row] = field(default_factory=dict)
    bases: dict[str, Base] = field(default_factory=dict)
    due: list[Due] = field(default_factory=list)
    conflict: Conflict | None = None
    unwritable: dict[str, str] = field(default_factory=dict)
    losers: list[Candidate] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Past:
    """A value that the hub had before, and when it was set."""

    value: Plain
    at: datetime


@dataclass(frozen=True, slots=True)
class FieldContext:
    """What the merge of one field needs to know besides the sides.

    Attributes:
        name: The field.
        rule: How a conflict is decided.
        rule_name: The rule's name.
        setting: For the rule.
        project: (connection, value, current native) to what that member can express of it.
        is_set: Whether elements are merged one by one.
        now: The time, for the oscillation breaker.
        past: The hub's last values, newest first.
        frozen: Whether the field waits for a person already.
    """

    name: str
    rule: Rule
    rule_name: str
    setting: Setting
    project: Callable[[str, Plain, Plain], Plain | Unmapped]
    is_set: bool
    now: datetime
    past: Sequence[Past] = ()
    frozen: bool = False


def merge(hub: Hub, origin: str, sides: Sequence[Side], context: FieldContext) -> Merged:
    """Merge one field of one record.

    The result does not depend on the order of `sides`.

    Args:
        hub: The hub's value; `NOTHING` if the group never agreed on one.
        origin: The member that set it.
        sides: Every member that holds the record now.
        context: Rules and projections.
    """
    sides = sorted(sides, key=lambda side: side.connection)
    merged = Merged(hub, origin)
    contenders: list[Side] = []
    for side in sides:
        row = _row(side, hub, origin, context)
        merged.rows[side.connection] = row
        if row is Row.ECHO:
            stood = next(sent for sent in side.sent if sent == side.value)
            merged.bases[side.connection] = Base(side.native, stood)
        elif row is Row.AGREE:
            merged.bases[side.connection] = Base(side.native, side.value)
        elif row in _CONTENDING:
            contenders.append(side)
    if context.is_set:
        contenders = _merge_elements(merged, contenders, context)
    if contenders:
        _settle(merged, contenders, sides, context)
    _local_edits(merged, sides, context)
    if context.frozen and merged.conflict is None and merged.changed:
        merged.conflict = Conflict(context.name, _candidates(sides), "waits for a person")
    if merged.conflict is not None:
        return Merged(
            hub, origin, rows=merged.rows, conflict=merged.conflict, bases=_agreements(merged), rule="held"
        )
    if not context.frozen:
        _find_due(merged, sides, context)
    return merged


_CONTENDING = frozenset({Row.AMBIGUOUS, Row.REMOTE, Row.OWN, Row.CONFLICT, Row.UNKNOWN})
# Edits by somebody who saw the hub's value: it does not stand against them, nor for them.
_AFTER_HUB = frozenset({Row.AMBIGUOUS, Row.REMOTE, Row.OWN})


def _row(side: Side, hub: Hub, origin: str, context: FieldContext) -> Row:
    """The line of the decision table that applies to a member's value."""
    if isinstance(side.value, Unmapped):
        return Row.UNMAPPED
    projected = NOTHING if hub is NOTHING else context.project(side.connection, hub, side.native)
    # What a CRM holds it may be unable to write, for example an owner who left.
    agrees = side.value in (hub, projected)
    if side.base is None:
        if agrees or side.imports:
            return Row.AGREE if agrees else Row.UNKNOWN
        return Row.EMPTY if side.value in (None, "", []) else Row.LOCAL
    if side.native == side.base.native or side.value == side.base_value:
        return Row.UNCHANGED
    if side.value in side.sent:
        return Row.ECHO
    if agrees:
        return Row.AGREE
    if not side.imports:
        return Row.LOCAL
    if side.sent:
        return Row.AMBIGUOUS
    if side.base.stood in (hub, projected):
        return Row.REMOTE
    if origin == side.connection:
        return Row.OWN
    return Row.CONFLICT


def _merge_elements(merged: Merged, contenders: Sequence[Side], context: FieldContext) -> list[Side]:
    """Merge sets by what was added and removed; gives the sides that need a rule after all."""
    known = [side for side in contenders if side.base is not None and merged.hub is not NOTHING]
    if not known:
        return list(contenders)
    before = set() if isinstance(merged.hub, _Nothing) else set(merged.hub or ())
    added: set[str] = set()
    removed: set[str] = set()
    for side in known:
        base = set() if isinstance(side.base_value, Unmapped) else set(side.base_value or ())
        now = set() if isinstance(side.value, Unmapped) else set(side.value or ())
        added |= now - base
        removed |= base - now
    after = sorted((before - removed) | added)
    if after != sorted(before):
        merged.hub, merged.changed, merged.rule = after, True, "elements added and removed"
        merged.origin = min((side.connection for side in known), key=context.setting.rank)
    for side in known:
        projected = context.project(side.connection, after, side.native)
        merged.bases[side.connection] = Base(side.native, side.value if projected == side.value else NOTHING)
    return [side for side in contenders if side not in known]


def _settle(
    merged: Merged,
    contenders: Sequence[Side],
    sides: Sequence[Side],
    context: FieldContext,
) -> None:
    """Decide between the members that want the hub to change."""
    candidates = list(_candidates(contenders))
    superseded = any(merged.rows[side.connection] in _AFTER_HUB for side in contenders)
    if merged.hub is not NOTHING and not superseded:
        candidates.append(_hub_candidate(merged, sides))
    winner = _winner(candidates, context)
    if winner is None:
        merged.conflict = Conflict(context.name, tuple(candidates))
        return
    if winner.value != merged.hub and _oscillates(winner.value, context):
        merged.conflict = Conflict(
            context.name,
            tuple(candidates),
            "the value keeps going back and forth: two automations disagree",
            frozen=True,
        )
        return
    if len(contenders) == len(candidates) == 1:
        merged.rule = merged.rows[contenders[0].connection].value
    elif _agree(candidates):
        merged.rule = "changed alike in several CRMs"
    else:
        merged.rule = f"rule {context.rule_name}"
    if merged.hub is NOTHING or winner.value != merged.hub:
        merged.hub, merged.origin, merged.changed = winner.value, winner.connection, True
    for side in contenders:
        if side.value == winner.value:
            merged.bases[side.connection] = Base(side.native, side.value)
        else:
            # Known now, but overruled: whatever the hub says must be written.
            merged.bases[side.connection] = Base(side.native, NOTHING)
            merged.losers.append(_candidate(side))


def _winner(candidates: Sequence[Candidate], context: FieldContext) -> Candidate | None:
    if _agree(candidates):
        return min(candidates, key=lambda one: context.setting.rank(one.connection))
    return context.rule(candidates, context.setting)


def _agree(candidates: Sequence[Candidate]) -> bool:
    return all(one.value == candidates[0].value for one in candidates)


def _local_edits(merged: Merged, sides: Sequence[Side], context: FieldContext) -> None:
    """Edits of a target: they stay, until the hub has something new for the field."""
    if merged.hub is NOTHING or merged.conflict is not None:
        return
    for side in sides:
        if merged.rows[side.connection] is Row.EMPTY and side.writes:
            merged.bases[side.connection] = Base(side.native, NOTHING)
            merged.rule = merged.rule or Row.EMPTY.value
        if merged.rows[side.connection] is not Row.LOCAL or not side.writes:
            continue
        projected = context.project(side.connection, merged.hub, side.native)
        if side.value == projected:
            merged.bases[side.connection] = Base(side.native, projected)
            continue
        if isinstance(projected, Unmapped) or (side.base is not None and side.base.stood == projected):
            continue
        candidates = (_hub_candidate(merged, sides), _candidate(side))
        winner = context.rule(candidates, context.setting)
        if winner is None:
            merged.conflict = Conflict(context.name, candidates, "changed in the target and in the source")
            return
        if winner.connection == side.connection and winner.value == side.value:
            base = side.base.native if side.base is not None else side.native
            merged.bases[side.connection] = Base(base, projected)
        else:
            merged.bases[side.connection] = Base(side.native, NOTHING)
            merged.losers.append(_candidate(side))
            merged.rule = merged.rule or f"rule {context.rule_name}"


def _find_due(merged: Merged, sides: Sequence[Side], context: FieldContext) -> None:
    if merged.hub is NOTHING:
        return
    for side in sides:
        base = merged.bases.get(side.connection, side.base)
        if base is None or isinstance(side.value, Unmapped) or not side.writes:
            continue
        projected = context.project(side.connection, merged.hub, side.native)
        if side.value in (merged.hub, projected) and merged.rows[side.connection] is not Row.LOCAL:
            if base.stood != side.value:
                merged.bases[side.connection] = Base(side.native, side.value)
        elif isinstance(projected, Unmapped):
            merged.unwritable[side.connection] = projected.reason
        elif projected != base.stood:
            merged.due.append(Due(side.connection, base.native, projected))


def _oscillates(value: Plain, context: FieldContext) -> bool:
    """Whether the hub would return to a value that it had twice among its last ones within a day."""
    recent = [
        one
        for one in context.past[:OSCILLATION_MEMORY]
        if context.now - one.at <= OSCILLATION_WINDOW and one.value == value
    ]
    return len(recent) >= 2


def _agreements(merged: Merged) -> dict[str, Base]:
    """The bases that hold although the field is held: members that agree with the old hub, and echoes."""
    return {
        connection: base
        for connection, base in merged.bases.items()
        if merged.rows[connection] in (Row.AGREE, Row.ECHO)
    }


def _candidate(side: Side) -> Candidate:
    return Candidate(side.connection, side.value, side.modified_at, side.error_seconds)


def _hub_candidate(merged: Merged, sides: Sequence[Side]) -> Candidate:
    """The hub's own value; its time is that of the member that set it, if it is there."""
    for side in sides:
        if side.connection == merged.origin:
            return Candidate(merged.origin, merged.hub, side.modified_at, side.error_seconds)
    return Candidate(merged.origin, merged.hub)


def _candidates(sides: Sequence[Side]) -> tuple[Candidate, ...]:
    return tuple(_candidate(side) for side in sides if not isinstance(side.value, Unmapped))
