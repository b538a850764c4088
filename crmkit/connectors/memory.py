"""A CRM in a dictionary: the smallest connector, and the one to copy from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from crmkit.connectors.base import (
    Capabilities,
    Connector,
    ConnectorOptions,
    Context,
    Evidence,
    Field,
    Page,
    Support,
)
from crmkit.connectors.walk import pack, unpack
from crmkit.connectors.writing import Act, Budget, Change, Keys, Lookup, Result, Writing, Written
from crmkit.errors import Rejected, Unsupported
from crmkit.model import (
    AnyRecord,
    Company,
    Contact,
    Deal,
    Kind,
    Note,
    Pipeline,
    Ref,
    StageChange,
    Tombstone,
    Workspace,
)

_CLASSES: dict[Kind, type[Any]] = {
    Kind.COMPANY: Company,
    Kind.CONTACT: Contact,
    Kind.DEAL: Deal,
    Kind.NOTE: Note,
    Kind.PIPELINE: Pipeline,
}


class Memory:
    """The records of one workspace and a log of what happened to them, oldest first.

    Attributes:
        unique_keys: Whether a second record with the same key is refused.
        fields: The custom fields by kind and id; values of other fields are kept too.
    """

    def __init__(self, workspace: Workspace | None = None, *, unique_keys: bool = True) -> None:
        self.workspace = workspace or Workspace(id="memory", name="Memory", time_zone="UTC")
        self.log: list[tuple[Ref, AnyRecord | Tombstone]] = []
        self.unique_keys = unique_keys
        self.fields: dict[Kind, dict[str, Field]] = {kind: {} for kind in _FIELDED}
        self._now: dict[Ref, AnyRecord | Tombstone] = {}
        self._created = 0

    def put(self, record: AnyRecord) -> None:
        """Create or replace a record."""
        self._log(record.ref, record)

    def remove(self, ref: Ref, merged_into: str | None = None) -> None:
        """Delete a record, or merge it into another one."""
        self._log(ref, Tombstone(ref=ref, merged_into=merged_into))

    def now(self) -> dict[Ref, AnyRecord | Tombstone]:
        """The latest entry per ref."""
        return dict(self._now)

    def live(self, ref: Ref) -> AnyRecord | None:
        """The record, or the one it was merged into; `None` if it is gone."""
        entry = self._now.get(ref)
        while isinstance(entry, Tombstone) and entry.merged_into:
            entry = self._now.get(replace(ref, id=entry.merged_into))
        return None if isinstance(entry, Tombstone) else entry

    def carrying(self, kind: Kind, key: str) -> list[Ref]:
        """Live records with a key, lowest id first."""
        found = [
            ref
            for ref, entry in self._now.items()
            if ref.kind is kind and not isinstance(entry, Tombstone) and getattr(entry, "key", None) == key
        ]
        return sorted(found, key=lambda ref: (len(ref.id), ref.id))

    def new_ref(self, connection: str, kind: Kind) -> Ref:
        """An address that was never used."""
        self._created += 1
        return Ref(connection, kind, f"m{self._created}")

    def put_field(self, kind: Kind, wanted: Field) -> Field:
        """Create a custom field, or add options to the one with this label.

        Raises:
            ValueError: A field with this label has another type.
        """
        mine = self.fields[kind]
        there = next((one for one in mine.values() if one.label == wanted.label), None)
        if there is not None and there.type != wanted.type:
            raise ValueError(f"the field {wanted.label!r} has the type {there.type}, not {wanted.type}")
        made = there or Field(f"f{len(mine) + 1}", wanted.label, wanted.type, custom=True)
        options = dict(made.options)
        for label in wanted.options.values():
            if label not in options.values():
                options[f"{made.id}.{len(options) + 1}"] = label
        mine[made.id] = replace(made, options=options)
        return mine[made.id]

    def version(self) -> str:
        """The version of the next record to be stored; it sorts."""
        return f"{len(self.log):012d}"

    def _log(self, ref: Ref, entry: AnyRecord | Tombstone) -> None:
        self.log.append((ref, entry))
        self._now[ref] = entry


_PARTY = frozenset({"name", "phones", "owner_id", "city", "country", "postcode", "custom"})
_DEAL = frozenset(
    {
        "name", "pipeline_id", "stage_id", "outcome", "lost_reason", "amount", "currency",
        "value_period", "probability", "owner_id", "companies", "contacts", "expected_close",
        "source", "tags", "custom",
    }
)  # fmt: skip
_EVERY_ACT = frozenset(Act)
_FIELDED = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
_FIELD_TYPES = frozenset({"text", "number", "money", "boolean", "day", "time", "choice", "choices"})


class MemoryConnector(Connector):
    """Keeps a CRM in a dictionary; used by tests and as the example to copy from."""

    name = "memory"
    title = "memory"
    capabilities = Capabilities(
        incremental=frozenset(Kind),
        deletions=dict.fromkeys(Kind, Evidence.LISTED),
        merges=Support.YES,
        stage_history=Support.YES,
        notes=Support.YES,
        side_effects_off=Support.YES,
        creatable_fields=dict.fromkeys(_FIELDED, _FIELD_TYPES),
        writing={
            Kind.DEAL: Writing(
                _EVERY_ACT,
                _DEAL,
                frozenset({"created_at"}),
                frozenset({"name"}),
                Keys.UNIQUE,
                answers_record=True,
            ),
            Kind.COMPANY: Writing(
                _EVERY_ACT,
                _PARTY | {"domain", "tax_id"},
                required=frozenset({"name"}),
                keys=Keys.UNIQUE,
                answers_record=True,
            ),
            Kind.CONTACT: Writing(
                _EVERY_ACT,
                _PARTY | {"first_name", "last_name", "emails", "companies"},
                required=frozenset({"name"}),
                keys=Keys.UNIQUE,
                answers_record=True,
            ),
            Kind.NOTE: Writing(
                frozenset({Act.CREATE, Act.DELETE}),
                frozenset({"text", "deal_id", "company_id", "author_id", "at"}),
            ),
        },
    )
    records_per_page: ClassVar[int] = 2

    def __init__(
        self, context: Context, options: ConnectorOptions | None = None, memory: Memory | None = None
    ) -> None:
        super().__init__(context, options or ConnectorOptions())
        self.memory = memory or Memory()

    def check(self) -> Workspace:
        return self.memory.workspace

    def read(self, kind: Kind, since: str | None = None) -> Iterator[Page]:
        at = unpack(since) if since else {"next": 0, "whole": True}
        while True:
            entries = self.memory.log[at["next"] : at["next"] + self.records_per_page]
            at = {"next": at["next"] + len(entries), "whole": at["whole"]}
            last = at["next"] >= len(self.memory.log)
            whole = last and bool(at["whole"])
            if last:
                at = {**at, "whole": False}
            mine = [entry for ref, entry in entries if ref.kind == kind]
            yield Page(
                records=[entry for entry in mine if not isinstance(entry, Tombstone)],
                tombstones=[entry for entry in mine if isinstance(entry, Tombstone)],
                cursor=pack(at),
                last=last,
                whole=whole,
            )
            if last:
                return

    def get(self, refs: Sequence[Ref]) -> Sequence[AnyRecord]:
        found = (self.memory.live(ref) for ref in refs)
        return [record for record in found if record is not None]

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        wanted = {ref.id for ref in deals}
        now = self.memory.now().values()
        yield [entry for entry in now if isinstance(entry, StageChange) and entry.deal_id in wanted]

    def fields(self, kind: Kind) -> Sequence[Field]:
        if kind not in self.memory.fields:
            return super().fields(kind)
        return list(self.memory.fields[kind].values())

    def create_field(self, kind: Kind, wanted: Field) -> Field:
        if wanted.type not in self.capabilities.creatable_fields.get(kind, ()):
            return super().create_field(kind, wanted)
        if self.context.read_only:
            raise Unsupported(f"{self.context.connection}: this run only reads")
        try:
            return self.memory.put_field(kind, wanted)
        except ValueError as error:
            raise Rejected(f"{self.context.connection}: {error}") from error

    def write(self, changes: Sequence[Change]) -> Iterator[Sequence[Written]]:
        self.refuse_unwritable(changes)
        return ([self._write(change)] for change in changes)

    def _write(self, change: Change) -> Written:
        owner = change.values.get("owner_id")
        if owner is not None and self.memory.live(Ref(self.context.connection, Kind.OWNER, owner)) is None:
            return Written(change.id, Result.REJECTED, field="owner_id", reason="no such user")
        if change.act is Act.CREATE:
            return self._create(change)
        current = self.memory.live(change.ref) if change.ref else None
        if current is None:
            return Written(change.id, Result.GONE)
        if change.act is Act.DELETE:
            self.memory.remove(current.ref)
            return Written(change.id, Result.DONE, current.ref)
        return self._store(change, current.model_copy(update=_updates(current, change.values)))

    def _create(self, change: Change) -> Written:
        if self.memory.unique_keys and change.key:
            there = self.memory.carrying(change.kind, change.key)
            if there:
                return Written(change.id, Result.EXISTS, there[0], reason="the key is taken")
        values = dict(change.values)
        if change.kind is Kind.CONTACT and not values.get("name"):
            names = (values.get("first_name"), values.get("last_name"))
            values["name"] = " ".join(name for name in names if name)
        for name in sorted(self.capabilities.writing[change.kind].required):
            if not values.get(name):
                return Written(change.id, Result.REJECTED, field=name, reason="is required")
        ref = self.memory.new_ref(self.context.connection, change.kind)
        custom = {
            name.removeprefix("custom."): values.pop(name)
            for name in list(values)
            if name.startswith("custom.")
        }
        if change.kind is not Kind.NOTE:
            values |= {"key": change.key, "custom": custom}
        return self._store(change, _CLASSES[change.kind](ref=ref, **values))

    def _store(self, change: Change, record: Any) -> Written:
        if "version" in type(record).model_fields:
            record = record.model_copy(update={"version": self.memory.version()})
        self.memory.put(record)
        return Written(change.id, Result.DONE, record.ref, getattr(record, "version", None), record)

    def find(self, lookups: Sequence[Lookup]) -> Mapping[str, Sequence[Ref]]:
        found = {lookup.key: self.memory.carrying(lookup.kind, lookup.key) for lookup in lookups}
        return {key: refs for key, refs in found.items() if refs}

    def budget(self, changes: Sequence[Change]) -> Budget:
        return Budget()


def _updates(record: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Model fields to replace; custom fields are merged one by one."""
    plain = {name: value for name, value in values.items() if not name.startswith("custom.")}
    custom = {name.removeprefix("custom."): value for name, value in values.items() if name not in plain}
    if custom:
        kept = {**record.custom, **custom}
        plain["custom"] = {name: value for name, value in kept.items() if value is not None}
    return plain
