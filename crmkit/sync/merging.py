"""The fields of one deal, merged: what has to be remembered, and which values have to be written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crmkit.mapping.custom import Plain, Unmapped
from crmkit.model import Kind, Outcome
from crmkit.sync.basis import Basis
from crmkit.sync.hub import Entity, HeldConflict, HubField, Link
from crmkit.sync.plan import FieldChange
from crmkit.sync.reconcile import NOTHING, Base, Due, FieldContext, Merged, Past, Row, Side, merge
from crmkit.sync.rules import Candidate
from crmkit.sync.shown import named_in, names, shown

LiveRow = tuple[Link, Mapping[str, Any]]
"""A link and the stored deal that it leads to."""


@dataclass(slots=True)
class MergedDeal:
    """What the merge of a deal's fields found.

    Attributes:
        entity: The deal with the hub's values now.
        due: Fields to write, per member.
        again: Whether the next plan must look at it although nothing changes until then.
    """

    entity: Entity
    due: dict[str, list[FieldChange]] = field(default_factory=lambda: defaultdict(list))
    again: bool = False


class Merging:
    """Merges deals field by field, into the plan at hand."""

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self._group = basis.group

    def merge(
        self,
        entity: Entity,
        live: Sequence[LiveRow],
        label: str,
        past: Mapping[tuple[str, str], Sequence[Past]],
    ) -> MergedDeal:
        """Merge every field of a record; links and hub values go into the plan."""
        hub = dict(entity.hub)
        found = MergedDeal(entity)
        bases = {link.connection: dict(link.bases) for link, _ in live}
        for name in self._group.fields_of(entity.kind):
            known = hub.get(name, HubField(NOTHING, ""))
            sides = self._sides(name, entity, live, bases)
            if not sides:
                continue
            held = self._basis.conflicts.get((entity.id, name))
            context = self._context(name, entity, held, past)
            if entity.kind is not Kind.DEAL:
                sides = _as_found(known, sides, context)
            merged = merge(known.value, known.origin, sides, context)
            found.again |= self._keep(entity, name, merged, hub, bases, held, label)
            if name == "lost_reason":
                merged.due = [one for one in merged.due if self._is_lost(one.connection, live, found.due)]
            if self._is_told(name, merged):
                merged.unwritable.clear()
            self._collect(entity, name, merged, sides, found.due, label)
            unmapped = any(row is Row.UNMAPPED for row in merged.rows.values())
            found.again |= bool(merged.due) or bool(merged.unwritable) or unmapped
        found.entity = replace(entity, hub=hub)
        self._basis.out.entities[entity.id] = found.entity
        for link, _ in live:
            if bases[link.connection] != dict(link.bases):
                self._basis.out.put_link(replace(link, bases=bases[link.connection]))
        return found

    def _is_lost(
        self, connection: str, live: Sequence[LiveRow], due: Mapping[str, Sequence[FieldChange]]
    ) -> bool:
        """Whether a member's deal is lost, or will be by this plan: only then a CRM keeps why."""
        for change in due.get(connection, ()):
            if change.field == "stage":
                outline = self._group.members[connection].codec.stages.outline
                return outline[change.new[1]].outcome is Outcome.LOST
        row = next(row for link, row in live if link.connection == connection)
        return str(row["outcome"]) == Outcome.LOST.value

    def _is_told(self, name: str, merged: Merged) -> bool:
        """Whether a value that a migration's target cannot hold stands in the note about the deal's past."""
        moving = self._group.moving
        if moving is None or not moving.letters or merged.changed:
            return False
        return self._group.if_missing(name) == "without"

    def _sides(
        self,
        name: str,
        entity: Entity,
        live: Sequence[LiveRow],
        bases: Mapping[str, Mapping[str, Base]],
    ) -> list[Side]:
        sides = []
        for link, row in live:
            member = self._group.members[link.connection]
            codec = member.codec_of(entity.kind)
            if self._group.lacks(link.connection, name, entity.kind):
                continue
            native = codec.native(name, row)
            base = bases[link.connection].get(name)
            entry = self._basis.intents.get((link.connection, entity.id))
            sides.append(
                Side(
                    link.connection,
                    native,
                    codec.decode(name, native),
                    base,
                    codec.decode(name, base.native) if base is not None else None,
                    (entry.sent[name][1],) if entry is not None and name in entry.sent else (),
                    self._group.imports(link.connection, name),
                    member.writable,
                    row["modified_at"],
                    self._group.error_seconds(link.connection),
                )
            )
        return sides

    def _context(
        self,
        name: str,
        entity: Entity,
        held: HeldConflict | None,
        past: Mapping[tuple[str, str], Sequence[Past]],
    ) -> FieldContext:
        rule_name, rule = self._group.rule_of(entity.kind, name)
        if held is not None and held.winner is not None:
            rule_name, rule = f"decided: {held.winner}", _decided(held.winner)
        return FieldContext(
            name,
            rule,
            rule_name,
            self._group.setting,
            lambda connection, value, current: (
                self._group.members[connection].codec_of(entity.kind).project(name, value, current)
            ),
            self._group.is_set(name, entity.kind),
            self._basis.now,
            () if held is not None and held.winner is not None else past.get((entity.id, name), ()),
            held is not None and held.frozen and held.winner is None,
        )

    def _keep(
        self,
        entity: Entity,
        name: str,
        merged: Merged,
        hub: dict[str, HubField],
        bases: Mapping[str, dict[str, Base]],
        held: HeldConflict | None,
        label: str,
    ) -> bool:
        """Note what a field's merge has to be remembered for; whether it must be looked at again."""
        for connection, base in merged.bases.items():
            bases[connection][name] = base
        if merged.changed:
            hub[name] = HubField(merged.hub, merged.origin)
            losers = [[one.connection, one.value] for one in merged.losers]
            self._basis.out.values.append(
                {
                    "entity": entity.id, "field": name, "value": merged.hub, "origin": merged.origin,
                    "rule": merged.rule, "losers": losers, "at": self._basis.now,
                }
            )  # fmt: skip
        if merged.conflict is not None:
            frozen = merged.conflict.frozen or (held is not None and held.frozen)
            self._basis.out.conflicts.append(
                HeldConflict(
                    entity.id,
                    name,
                    held.reason if held is not None and held.frozen else merged.conflict.reason,
                    tuple((one.connection, one.value) for one in merged.conflict.candidates),
                    held.since if held is not None else self._basis.now,
                    None,
                    frozen,
                )
            )
            values = contradiction(
                self._basis, name, [(one.connection, one.value) for one in merged.conflict.candidates]
            )
            self._basis.hold(
                "frozen" if frozen else "conflict", "", entity.id, label, name,
                f"{merged.conflict.reason}: {values}",
            )  # fmt: skip
            return held is not None and held.winner is not None
        if held is not None:
            if held.frozen and held.winner is None:
                self._basis.hold("frozen", "", entity.id, label, name, held.reason)
            else:
                self._basis.out.settled.append((entity.id, name))
        return False

    def _collect(
        self,
        entity: Entity,
        name: str,
        merged: Merged,
        sides: Sequence[Side],
        due: dict[str, list[FieldChange]],
        label: str,
    ) -> None:
        by_connection = {side.connection: side for side in sides}
        for one in merged.due:
            side = by_connection[one.connection]
            due[one.connection].append(self._change(name, one, side, merged))
        for connection, reason in merged.unwritable.items():
            self._basis.hold("unwritable", connection, entity.id, label, name, reason)
        for connection, row in merged.rows.items():
            value = by_connection[connection].value
            if row is Row.UNMAPPED and isinstance(value, Unmapped):
                self._basis.hold("unmapped", connection, entity.id, label, name, value.reason)

    def _change(self, name: str, due: Due, side: Side, merged: Merged) -> FieldChange:
        old = None if isinstance(side.value, Unmapped) else side.value
        rule = merged.rule or "still due"
        return FieldChange(name, due.expected, old, due.value, f"{rule} ({merged.origin})")


def _as_found(known: HubField, sides: Sequence[Side], context: FieldContext) -> list[Side]:
    """Companies and people that were in the target before stay as they are found there.

    Their spelling is nobody's edit; only what somebody changes from now on is merged. A
    field that is empty there is filled.
    """
    hub = known.value
    if hub is NOTHING:
        hub = next(
            (one.value for one in sides if one.imports and not isinstance(one.value, Unmapped)), NOTHING
        )
    found: list[Side] = []
    for one in sides:
        if one.imports or one.base is not None or hub is NOTHING or one.value in (None, "", []):
            found.append(one)
            continue
        projected = context.project(one.connection, hub, one.native)
        stood = NOTHING if isinstance(projected, Unmapped) else projected
        found.append(replace(one, base=Base(one.native, stood), base_value=one.value))
    return found


def contradiction(basis: Basis, name: str, candidates: Sequence[tuple[str, Plain]]) -> str:
    """Contradicting values in words."""
    named = named_in((name, value) for _, value in candidates)
    spoken = {**basis.group.words, **names(basis.group, basis.db, named)}
    return "; ".join(
        f"{member}: {shown(name, value, lambda entity: spoken.get(entity, entity))}"
        for member, value in candidates
    )


def _decided(winner: str) -> Any:
    """The rule of a person's word: that member's value wins."""

    def chosen(candidates: Sequence[Candidate], _setting: object) -> Candidate | None:
        return next((one for one in candidates if one.connection == winner), None)

    return chosen
