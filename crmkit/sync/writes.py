"""The writes of one plan: updates, creates and deletes of deals, and what stands against them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from crmkit.connectors.writing import Act, Keys
from crmkit.mapping.custom import Unmapped
from crmkit.model import Kind, Outcome, Ref
from crmkit.sync.basis import Basis
from crmkit.sync.group import Member
from crmkit.sync.hub import DELETED, UNDONE, Entity, Link, Refusal, Status
from crmkit.sync.merging import LiveRow
from crmkit.sync.model_fields import deal_field
from crmkit.sync.moving import Missing
from crmkit.sync.parties import Parties
from crmkit.sync.plan import FieldChange, Held, Op, op_id, payload_digest
from crmkit.sync.reconcile import NOTHING
from crmkit.sync_settings import Deletes, Role

TRIES = 2
_HELD: Mapping[Missing, str] = {"hold": "required", "without": "unwritable", "leave_out": "left_out"}


class Writes:
    """Plans writes.

    Args:
        basis: What the plan is made from.
    """

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self._group = basis.group
        self._asked: set[tuple[str, str, str]] = set()
        self._parties = Parties(basis.group, basis.db, basis.out, self._party, basis.reviews)

    @property
    def parties(self) -> Parties:
        """The companies and people that the deals name."""
        return self._parties

    def _party(self, op: Op | None, held: Held | None) -> None:
        """What the parties found: a write, or a reason why there is none."""
        if held is not None:
            self._basis.out.held.append(held)
        if op is not None:
            self.add(op)

    def update(
        self,
        entity: Entity,
        live: Sequence[LiveRow],
        due: Mapping[str, Sequence[FieldChange]],
        label: str,
    ) -> None:
        for link, row in live:
            fields = due.get(link.connection)
            if not fields:
                continue
            member = self._group.members[link.connection]
            if Act.UPDATE not in member.writing(entity.kind).acts:
                reason = f"a {entity.kind} of this CRM cannot be updated"
                self._basis.hold("unwritable", link.connection, entity.id, label, None, reason)
                continue
            parents: tuple[str, ...] = ()
            if entity.kind is Kind.DEAL:
                fields = [*fields, *self._kept(entity, link, row, fields)]
                parents = self._needs(link.connection, fields)
            self.add(
                Op(
                    "", link.connection, entity.kind, Act.UPDATE, entity.id, link.native_id, None, label,
                    row["url"], tuple(fields), parents=parents,
                )
            )  # fmt: skip

    def _kept(
        self, entity: Entity, link: Link, row: Mapping[str, Any], fields: Sequence[FieldChange]
    ) -> list[FieldChange]:
        """The close date again, where closing the deal would replace it."""
        name = "expected_close"
        member = self._group.members[link.connection]
        stage = next((one.new for one in fields if one.field == "stage"), None)
        if stage is None or not member.connector.capabilities.closing_sets_close_date:
            return []
        if member.codec.stages.outline[stage[1]].outcome is Outcome.OPEN:
            return []
        native = member.codec.native(name, row)
        if name not in self._group.fields or native is None or any(one.field == name for one in fields):
            return []
        return [FieldChange(name, native, native, native, "kept: closing would replace it", (native,))]

    def create(
        self,
        entity: Entity,
        links: Sequence[Link],
        live: Sequence[LiveRow],
        label: str,
    ) -> bool:
        """Plan the record where it is missing; whether the entity must be looked at again."""
        again = False
        if not live:
            return False
        refs = (Ref(link.connection, Kind.DEAL, link.native_id) for link, _ in live)
        doubtful = any(ref in self._basis.reviews for ref in refs)
        for connection, member in self._group.members.items():
            mine = [link for link in links if link.connection == connection]
            if any(link.status is not Status.DEAD for link in mine) or not member.creates:
                continue
            if any(link.evidence == UNDONE for link in mine):
                continue  # its creation was taken back, and stays so
            ours = all(link.evidence == DELETED for link in mine)
            if not ours and self._group.settings.deletes is not Deletes.RECREATE:
                continue  # it was deleted there, and stays so
            again = True
            if doubtful:
                reason = "may be there already: one of its records waits for a review"
                self._basis.hold("blocked", connection, entity.id, label, None, reason)
                continue
            self._create(entity, connection, member, label, live)
        return again

    def _create(
        self, entity: Entity, connection: str, member: Member, label: str, live: Sequence[LiveRow]
    ) -> None:
        writing = member.writing(Kind.DEAL)
        if Act.CREATE not in writing.acts or writing.keys is Keys.NONE:
            reason = (
                "deals cannot be created here"
                if Act.CREATE not in writing.acts
                else ("this CRM cannot keep our key, so that a lost answer could double the deal")
            )
            self._basis.hold("required", connection, entity.id, label, None, reason)
            return
        fields: list[FieldChange] = []
        for name in self._group.fields:
            if self._group.lacks(member.connection, name):
                continue
            known = entity.hub.get(name)
            if known is None or known.value is NOTHING:
                policy = self._group.if_missing(name)
                if policy != "without":
                    reason = self._why_unknown(name, live)
                    self._basis.hold(_HELD[policy], connection, entity.id, label, name, reason)
                    return
                continue
            projected = member.codec.project(name, known.value)
            if isinstance(projected, Unmapped):
                policy = self._group.if_missing(name)
                told = policy == "without" and self._group.moving is not None and self._group.moving.letters
                kind = "told" if told else _HELD[policy]
                self._basis.hold(kind, connection, entity.id, label, name, projected.reason)
                if policy != "without":
                    return
            elif projected not in (None, []):
                fields.append(FieldChange(name, None, None, projected, f"new ({known.origin})"))
        missing = _missing(writing.required, {one.field for one in fields})
        if missing:
            left_out = self._group.if_missing(missing) == "leave_out"
            self._basis.hold(
                "left_out" if left_out else "required", connection, entity.id, label, missing,
                f"this CRM takes no deal without {'an ' if missing[0] in 'aeiou' else 'a '}{missing}",
            )  # fmt: skip
            return
        self.add(
            Op(
                "", connection, Kind.DEAL, Act.CREATE, entity.id, None, self._group.marker(entity.id),
                label, None, tuple(fields), self._stamps(live), self._needs(connection, fields),
            )
        )  # fmt: skip

    def _why_unknown(self, name: str, live: Sequence[LiveRow]) -> str:
        """Why the members have no common value of a field."""
        for link, row in live:
            codec = self._group.members[link.connection].codec
            value = codec.decode(name, codec.native(name, row))
            if isinstance(value, Unmapped):
                return value.reason
        return "not agreed yet"

    def _stamps(self, live: Sequence[LiveRow]) -> dict[str, Any]:
        """When the deal was made and closed in the CRM that it comes from, where a migration keeps it."""
        moving = self._group.moving
        if moving is None:
            return {}
        row = next((row for link, row in live if link.connection == moving.source), None)
        if row is None:
            return {}
        return {
            where: row[name].isoformat()
            for name, where in sorted(moving.stamps.items())
            if row[name] is not None
        }

    def _needs(self, connection: str, fields: Sequence[FieldChange]) -> tuple[str, ...]:
        """Companies and people that a deal names and that must be created first."""
        wanted: list[tuple[Kind, str]] = []
        for one in fields:
            if one.field == "company" and one.new is not None:
                wanted.append((Kind.COMPANY, one.new))
            elif one.field == "contacts":
                wanted += [(Kind.CONTACT, each) for each in one.new or ()]
        company = next((entity for kind, entity in wanted if kind is Kind.COMPANY), None)
        return tuple(
            entity for kind, entity in wanted if self._parties.need(connection, kind, entity, company)
        )

    def delete(
        self,
        entity: Entity,
        links: Sequence[Link],
        live: Sequence[LiveRow],
        label: str,
    ) -> bool:
        """Plan deletes elsewhere after a delete, where the settings say so; whether the rest must wait."""
        dead = [link for link in links if self._deleted_by_user(link)]
        if self._group.settings.deletes is not Deletes.DELETE or not dead or not live:
            return False
        replaced = {link.connection for link, _ in live} | {
            link.connection for link in links if link.status in (Status.OUT_OF_SCOPE, Status.CLONE)
        }
        if all(link.connection in replaced for link in dead):
            return False
        why = self._unseen(entity, dead, live)
        if why:
            self._basis.hold("delete_conflict", dead[0].connection, entity.id, label, None, why)
            return True
        for link, row in live:
            member = self._group.members[link.connection]
            if not member.writable:
                continue
            if Act.DELETE not in member.writing(Kind.DEAL).acts:
                self._basis.hold(
                    "unwritable", link.connection, entity.id, label, None,
                    f"deleted in {dead[0].connection}; this CRM's deals cannot be deleted",
                )  # fmt: skip
                continue
            expected = tuple(
                FieldChange(name, base.native, None, None, f"deleted in {dead[0].connection}")
                for name, base in sorted(link.bases.items())
            )
            self.add(
                Op(
                    "", link.connection, Kind.DEAL, Act.DELETE, entity.id, link.native_id, None, label,
                    row["url"], expected,
                )
            )  # fmt: skip
        return True

    def _deleted_by_user(self, link: Link) -> bool:
        """Whether somebody deleted a record whose edits count elsewhere; our own deletes say nothing."""
        ours = link.evidence in (DELETED, UNDONE)
        role = self._group.members[link.connection].settings.role
        return link.status is Status.DEAD and not ours and role is not Role.TARGET

    def _unseen(self, entity: Entity, dead: Sequence[Link], live: Sequence[LiveRow]) -> str:
        """Why a delete must not be carried on; empty if the deleter had seen everything."""
        if any(link.rebuilt for link in (*dead, *(link for link, _ in live))):
            return "deleted in one CRM, but its history here was rebuilt after the state was lost"
        if any((entity.id, name) in self._basis.conflicts for name in self._group.fields):
            return "deleted in one CRM while a conflict is held"
        for link in dead:
            codec = self._group.members[link.connection].codec
            for name, known in entity.hub.items():
                if name not in self._group.fields or self._group.lacks(link.connection, name):
                    continue
                base = link.bases.get(name)
                projected = codec.project(name, known.value, base.native if base else None)
                seen = base is not None and (isinstance(projected, Unmapped) or projected == base.stood)
                if not seen:
                    return f"deleted in {link.connection}, which had not seen the last change of {name}"
        for link, row in live:
            codec = self._group.members[link.connection].codec
            for name, base in link.bases.items():
                native = codec.native(name, row)
                if native != base.native and codec.decode(name, native) != codec.decode(name, base.native):
                    return f"deleted in one CRM, but {name} was changed in {link.connection}"
        return ""

    def add(self, op: Op) -> None:
        """Add a write, unless something stands against it."""
        op = replace(op, id=op_id(self._group.name, op))
        self._asked.add((op.connection, op.entity, op.act.value))
        intent = self._basis.intents.get(op.target)
        if intent is not None and intent.id not in self._basis.settling:
            self._basis.hold(
                "parked", op.connection, op.entity, op.label, None,
                "an earlier write's outcome is not known yet; it is looked up first",
            )  # fmt: skip
            return
        refusal = self._basis.refusals.get((op.connection, op.entity, op.act.value))
        if refusal is not None and refusal.digest == payload_digest(op):
            smaller = self._without_refused(op, refusal)
            if smaller is not None:
                self._basis.out.ops.append(smaller)
                return
        if refusal is not None and refusal.tries >= TRIES and refusal.digest == payload_digest(op):
            self._basis.hold("refused", op.connection, op.entity, op.label, refusal.field, refusal.reason)
            return
        self._basis.out.ops.append(op)

    def _without_refused(self, op: Op, refusal: Refusal) -> Op | None:
        """A new record without the fields that the CRM refuses; `None` if it must not go without them.

        One value that a CRM does not take, say an owner who may not own, keeps no record away.
        """
        if op.act is not Act.CREATE or not refusal.field:
            return None
        member = self._group.members[op.connection]
        names, required = set(refusal.field.split(",")), set(member.writing(op.kind).required)
        if op.kind is Kind.DEAL:
            names = {deal_field(name, member.codec.custom) for name in names}
            required = {deal_field(name) for name in required}
        if required & names or "companies" in names:
            return None
        if op.kind is Kind.DEAL and any(self._group.if_missing(name) != "without" for name in names):
            return None
        fields = tuple(one for one in op.fields if one.field not in names)
        payload = {name: value for name, value in op.payload.items() if name not in names}
        if (len(fields), len(payload)) == (len(op.fields), len(op.payload)):
            return None
        for name in sorted(names):
            self._basis.hold("refused", op.connection, op.entity, op.label, name, refusal.reason)
        smaller = replace(op, fields=fields, payload=payload, whole=payload_digest(op))
        return replace(smaller, id=op_id(self._group.name, smaller))

    def forget_refusals(self) -> None:
        """Refused writes of deals that need them no longer are forgotten."""
        self._basis.out.allowed += [
            key
            for key in self._basis.refusals
            if key[1] in self._basis.out.examined and key not in self._asked
        ]


def _missing(required: Collection[str], given: Collection[str]) -> str:
    """The first required field that is not given, by the name a person knows; empty if none is."""
    return next((deal_field(name) for name in sorted(required) if deal_field(name) not in given), "")
