"""Deal fields as they are kept in step: what a CRM holds, and the common value it stands for.

Three forms of one field:

- native: what the CRM holds, as plain JSON (ids of that CRM, money and days as text);
- value: the common value, the same for every CRM (a common stage, an owner's e-mail, the
  id of a company that is known in several CRMs), also plain JSON;
- model values: what `Connector.write` takes.

`decode` goes from native to value, `project` tells what of a value a CRM can express, and
`write_values` gives the model values that express it (sync-semantics 2). Fields that only
make sense together are one field: pipeline and stage; amount, currency and period.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from crmkit.mapping.custom import (
    CustomField,
    Plain,
    Unmapped,
    decoded,
    plain_custom,
    plain_number,
    plain_text,
    restored_custom,
    tidy,
    typed,
    written_custom,
)
from crmkit.mapping.identity import email as email_key
from crmkit.mapping.stages import StageMap, Unwritable
from crmkit.mapping.stages import Unmapped as UnmappedStage
from crmkit.model import DealContact, Kind, Outcome, ValuePeriod

SET_FIELDS = frozenset({"contacts", "tags"})
TEXT_FIELDS = ("name", "lost_reason", "source")


class Directory:
    """Which companies and people of the CRMs are the same: entity ids by record and back.

    Attributes:
        entity_of: (connection, kind, native id) to entity id.
        native_of: (entity id, connection) to native id.
        creatable: Connections in which a missing company or person will be created.
    """

    def __init__(self) -> None:
        self.entity_of: dict[tuple[str, Kind, str], str] = {}
        self.native_of: dict[tuple[str, str], str] = {}
        self.creatable: set[tuple[str, Kind]] = set()

    def add(self, connection: str, kind: Kind, native_id: str, entity: str) -> None:
        """Note that a record is one of an entity's."""
        self.entity_of[connection, kind, native_id] = entity
        self.native_of[entity, connection] = native_id


@dataclass(frozen=True)
class Codec:
    """The fields of one connection's deals.

    Attributes:
        connection: Its name.
        stages: Its stage map.
        owners: Owner id to e-mail address; one person's addresses in several CRMs are one.
        assignable: That address to the id of an active owner.
        directory: Companies and people.
        holds: The connector's `holds` for deals.
        cannot_hold: The connector's `cannot_hold` for deals.
        writable: Model fields that can be written.
        pipelines: Pipeline id to its common name; empty if pipelines are not kept in step.
        new_pipeline: Pipeline id for deals that are created here.
        custom: Custom fields by their common name.
        brought: Custom fields that are only filled when a record is created, by kind and id.
        nobody: Owner ids that stand for nobody, by a person's decision.
    """

    connection: str
    stages: StageMap
    owners: Mapping[str, str | None]
    assignable: Mapping[str, str]
    directory: Directory
    holds: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    cannot_hold: Callable[[Mapping[str, Any]], Mapping[str, str]]
    writable: frozenset[str]
    pipelines: Mapping[str, str] = field(default_factory=dict)
    new_pipeline: str | None = None
    custom: Mapping[str, CustomField] = field(default_factory=dict)
    brought: Mapping[tuple[Kind, str], CustomField] = field(default_factory=dict)
    nobody: frozenset[str] = frozenset()

    def native(self, name: str, row: Mapping[str, Any]) -> Plain:
        """What a stored deal holds of a field.

        Args:
            name: The field.
            row: The deal's model fields, as the model has them or as the state store does.
        """
        if name == "stage":
            return [row["pipeline_id"], row["stage_id"], str(row["outcome"])]
        if name == "amount":
            return [plain_number(row["amount"]), row["currency"], str(row["value_period"])]
        if name == "probability":
            return plain_number(row["probability"])
        if name == "expected_close":
            return plain_text(row["expected_close"])
        if name == "owner":
            return row["owner_id"]
        if name == "company":
            return list(row["companies"])
        if name == "contacts":
            return [_contact(one) for one in row["contacts"]]
        if name == "tags":
            return sorted(row["tags"])
        if name in self.custom:
            return plain_custom(row["custom"].get(self.custom[name].id), self.custom[name].type)
        return row[name]

    def decode(self, name: str, native: Plain) -> Plain | Unmapped:
        """The common value that a native one stands for."""
        if name == "stage":
            return self._decode_stage(native)
        if name == "amount":
            amount, currency, period = native
            if amount is None:
                return None
            return [amount, currency, period] if currency else Unmapped("the amount has no currency")
        if name == "owner":
            return self._decode_owner(native)
        if name == "company":
            if not native:
                return None
            entity = self.directory.entity_of.get((self.connection, Kind.COMPANY, native[0]))
            return entity if entity is not None else Unmapped("the company is not linked")
        if name == "contacts":
            found = (self.directory.entity_of.get((self.connection, Kind.CONTACT, one[0])) for one in native)
            return sorted({entity for entity in found if entity is not None})
        if name in self.custom:
            return decoded(self.custom[name], native)
        if name in TEXT_FIELDS:
            return tidy(native)
        return native

    def project(self, name: str, value: Plain, current: Plain = None) -> Plain | Unmapped:
        """What this CRM can express of a common value.

        Args:
            name: The field.
            value: The common value.
            current: What the record holds now, natively; `None` if it is to be created.
        """
        if name == "contacts":
            reachable = sorted(entity for entity in value or () if self._reachable(Kind.CONTACT, entity))
            kept = self._kept_contacts(reachable, current)
            written = self.write_values(name, kept, current)
            known = isinstance(written, Unmapped) and self._all_here(kept)
            return written if known else kept
        if name == "company":
            if value is None or self._reachable(Kind.COMPANY, value):
                return value
            return Unmapped("the company is not in this CRM")
        written = self.write_values(name, value, current)
        if isinstance(written, Unmapped) or name in ("stage", "owner"):
            return written if isinstance(written, Unmapped) else value
        held = {**written, **self.holds(written)}
        if name == "amount":
            if held["amount"] is None:
                return None
            period = held.get("value_period", ValuePeriod.ONE_TIME)
            return [plain_number(held["amount"]), held.get("currency", value[1]), str(period)]
        if name in self.custom:
            custom = self.custom[name]
            return decoded(custom, plain_custom(held[f"custom.{custom.id}"], custom.type))
        native = self.native(name, held)
        return self.decode(name, native)

    def write_values(self, name: str, value: Plain, current: Plain = None) -> dict[str, Any] | Unmapped:
        """The model values that express a common value here.

        Args:
            name: The field.
            value: The common value.
            current: What the record holds now; what is not known to other CRMs stays
                (further contacts, further companies, the stage that means the same).
        """
        values = self._write_values(name, value, current)
        if isinstance(values, Unmapped):
            return values
        unwritable = [each for each in values if each.split(".")[0] not in self.writable]
        if name == "amount":
            return self._amount_values(values, unwritable)
        if name == "stage":
            # Where the outcome follows the stage, it is not a field of its own.
            values = {each: one for each, one in values.items() if each in self.writable}
            unwritable = [] if "stage_id" in values else ["stage"]
        if unwritable:
            return Unmapped("this CRM has no such field, or it cannot be written")
        refused = self.cannot_hold(values)
        if refused:
            return Unmapped("; ".join(sorted(set(refused.values()))))
        return values

    def left_values(self, name: str, value: Plain, current: Plain = None) -> dict[str, Any]:
        """What a record holds after `write_values` was written: also what follows from it by itself."""
        left = (
            self._write_values(name, value, current)
            if name == "stage"
            else self.write_values(name, value, current)
        )
        return {} if isinstance(left, Unmapped) else left

    def restore_values(self, name: str, native: Plain) -> dict[str, Any]:
        """The model values that put back exactly what this CRM held."""
        if name == "stage":
            values = {"pipeline_id": native[0], "stage_id": native[1], "outcome": Outcome(native[2])}
        elif name == "amount":
            amount = None if native[0] is None else Decimal(native[0])
            values = {"amount": amount, "currency": native[1], "value_period": ValuePeriod(native[2])}
        elif name == "owner":
            values = {"owner_id": native}
        elif name == "company":
            values = {"companies": tuple(native)}
        elif name == "contacts":
            people = (DealContact(id=one[0], role=one[1], primary=bool(one[2])) for one in native)
            values = {"contacts": tuple(people)}
        elif name in self.custom:
            values = restored_custom(self.custom[name], native)
        else:
            return dict(self._write_values(name, native, None))  # type: ignore[arg-type]
        return {each: one for each, one in values.items() if each.split(".")[0] in self.writable}

    def brought_value(self, kind: Kind, field_id: str, plain: Plain) -> Any:
        """The model value of a custom field that is filled when a record is created."""
        kind_of_value = self.brought[kind, field_id].type
        if isinstance(plain, list):
            return tuple(typed(one, kind_of_value) for one in plain)
        return typed(plain, kind_of_value)

    def _amount_values(self, values: dict[str, Any], unwritable: Sequence[str]) -> dict[str, Any] | Unmapped:
        if "amount" in unwritable:
            return Unmapped("amounts cannot be written")
        if "value_period" in unwritable and values["value_period"] is not ValuePeriod.ONE_TIME:
            return Unmapped(f"this CRM has no {values['value_period']} amounts")
        able = {name: one for name, one in values.items() if name not in unwritable}
        refused = self.cannot_hold(able)
        return Unmapped("; ".join(sorted(set(refused.values())))) if refused else able

    def _write_values(self, name: str, value: Plain, current: Plain) -> dict[str, Any] | Unmapped:
        if name == "stage":
            return self._stage_values(value, current)
        if name == "amount":
            if value is None:
                return {"amount": None, "value_period": ValuePeriod.ONE_TIME}
            amount, currency, period = value
            return {"amount": Decimal(amount), "currency": currency, "value_period": ValuePeriod(period)}
        if name == "probability":
            return {"probability": None if value is None else Decimal(value)}
        if name == "expected_close":
            return {"expected_close": None if value is None else date.fromisoformat(value)}
        if name == "owner":
            return self._owner_values(value)
        if name == "company":
            return self._company_values(value, current)
        if name == "contacts":
            return self._contact_values(value, current)
        if name == "tags":
            return {"tags": tuple(value or ())}
        if name in self.custom:
            return written_custom(self.custom[name], value)
        return {name: value if name != "name" else (value or "")}

    def _decode_stage(self, native: Plain) -> Plain | Unmapped:
        pipeline, stage, outcome = native
        common = self.stages.to_common(pipeline, stage, Outcome(outcome))
        if isinstance(common, UnmappedStage):
            return Unmapped(f"stage {stage or 'none'}: {common.reason}")
        if not self.pipelines:
            return [None, common]
        if pipeline not in self.pipelines:
            return Unmapped(f"pipeline {pipeline} is not named in the sync's pipelines")
        return [self.pipelines[pipeline], common]

    def _stage_values(self, value: Plain, current: Plain) -> dict[str, Any] | Unmapped:
        if value is None:
            return Unmapped("no stage is known")
        wanted, common = value
        pipeline = self._pipeline_for(wanted, current)
        if pipeline is None:
            return Unmapped(f"no pipeline of this CRM is named for {wanted or 'new deals'}")
        here = current[1] if current is not None and current[0] == pipeline else None
        stage = self.stages.to_native(common, pipeline, here)
        if isinstance(stage, Unwritable):
            return Unmapped(f"common stage {common}: {stage.reason}")
        outcome = self.stages.outline[common].outcome
        return {"pipeline_id": pipeline, "stage_id": stage, "outcome": outcome}

    def _pipeline_for(self, wanted: str | None, current: Plain) -> str | None:
        if wanted is not None and self.pipelines:
            mine = [pipeline for pipeline, common in self.pipelines.items() if common == wanted]
            if current is not None and current[0] in mine:
                return str(current[0])
            return mine[0] if mine else None
        return current[0] if current is not None and current[0] is not None else self.new_pipeline

    def _decode_owner(self, native: Plain) -> Plain | Unmapped:
        if native is None or native in self.nobody:
            return None
        address = email_key(self.owners.get(native))
        return address if address is not None else Unmapped(f"owner {native} has no e-mail address")

    def _owner_values(self, value: Plain) -> dict[str, Any] | Unmapped:
        if value is None:
            return {"owner_id": None}
        owner = self.assignable.get(value)
        if owner is None:
            return Unmapped(f"no active user with the e-mail address {value}")
        return {"owner_id": owner}

    def _reachable(self, kind: Kind, entity: str) -> bool:
        there = (entity, self.connection) in self.directory.native_of
        return there or (self.connection, kind) in self.directory.creatable

    def _company_values(self, value: Plain, current: Plain) -> dict[str, Any] | Unmapped:
        kept = [] if not current else list(current[1:])
        if value is None:
            return {"companies": ()}
        native = self.directory.native_of.get((value, self.connection))
        if native is None:
            return Unmapped("the company is not in this CRM yet")
        return {"companies": (native, *(one for one in kept if one != native))}

    def _kept_contacts(self, wanted: Sequence[str], current: Plain) -> list[str]:
        """Those of the wanted people that a deal of this CRM can hold: in some it is one.

        Whoever is on the deal already comes first. Were a person wanted that the CRM drops,
        the next read would look as if a user had removed them.
        """
        # People who are still to be created go by the id of their entity.
        entity_of = {self.directory.native_of.get((one, self.connection), one): one for one in wanted}
        people = self._people(list(entity_of), current)
        held = self.holds({"contacts": people}).get("contacts", people)
        return sorted(entity_of[one.id] for one in held if one.id in entity_of)

    def _all_here(self, entities: Sequence[str]) -> bool:
        return all((entity, self.connection) in self.directory.native_of for entity in entities)

    def _contact_values(self, value: Plain, current: Plain) -> dict[str, Any] | Unmapped:
        wanted = [self.directory.native_of.get((entity, self.connection)) for entity in value or ()]
        natives = [native for native in wanted if native is not None]
        if len(natives) < len(wanted):
            return Unmapped("a contact is not in this CRM yet")
        return {"contacts": self._people(natives, current)}

    def _people(self, wanted: Sequence[str], current: Plain) -> tuple[DealContact, ...]:
        """The people of a deal: of those on it the wanted and the unknown ones, then the others."""
        kept = [one for one in current or () if one[0] in wanted or self._unknown_contact(one[0])]
        known = {one[0] for one in kept}
        added = [[native, None, False] for native in wanted if native not in known]
        people = [DealContact(id=one[0], role=one[1], primary=bool(one[2])) for one in [*kept, *added]]
        if people and not any(one.primary for one in people):
            people[0] = people[0].model_copy(update={"primary": True})
        return tuple(people)

    def _unknown_contact(self, native: str) -> bool:
        return (self.connection, Kind.CONTACT, native) not in self.directory.entity_of


def _contact(one: Any) -> list[Any]:
    if isinstance(one, DealContact):
        return [one.id, one.role, one.primary]
    return [one["id"], one.get("role"), bool(one.get("primary"))]
