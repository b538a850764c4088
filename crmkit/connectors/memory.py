"""A CRM in a dictionary: the smallest connector, and the one to copy from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from crmkit.connectors.base import (
    Capabilities,
    Connector,
    ConnectorOptions,
    Context,
    Evidence,
    Page,
    Support,
)
from crmkit.connectors.walk import pack, unpack
from crmkit.errors import Unsupported
from crmkit.model import AnyRecord, Kind, Ref, StageChange, Tombstone, Workspace


class Memory:
    """The records of one workspace and a log of what happened to them, oldest first."""

    def __init__(self, workspace: Workspace | None = None) -> None:
        self.workspace = workspace or Workspace(id="memory", name="Memory", time_zone="UTC")
        self.log: list[tuple[Ref, AnyRecord | Tombstone]] = []

    def put(self, record: AnyRecord) -> None:
        """Create or replace a record."""
        self.log.append((record.ref, record))

    def remove(self, ref: Ref, merged_into: str | None = None) -> None:
        """Delete a record, or merge it into another one."""
        self.log.append((ref, Tombstone(ref=ref, merged_into=merged_into)))

    def now(self) -> dict[Ref, AnyRecord | Tombstone]:
        """The latest entry per ref."""
        return dict(self.log)


class MemoryConnector(Connector):
    """Keeps a CRM in a dictionary; used by tests and as the example to copy from."""

    name = "memory"
    capabilities = Capabilities(
        incremental=frozenset(Kind),
        deletions=dict.fromkeys(Kind, Evidence.LISTED),
        merges=Support.YES,
        stage_history=Support.YES,
        notes=Support.YES,
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
        now = self.memory.now()
        found: list[AnyRecord] = []
        for ref in refs:
            entry = now.get(ref)
            while isinstance(entry, Tombstone) and entry.merged_into:
                entry = now.get(Ref(ref.connection, ref.kind, entry.merged_into))
            if entry is not None and not isinstance(entry, Tombstone):
                found.append(entry)
        return found

    def history(self, deals: Sequence[Ref]) -> Iterator[Sequence[StageChange]]:
        wanted = {ref.id for ref in deals}
        now = self.memory.now().values()
        yield [entry for entry in now if isinstance(entry, StageChange) and entry.deal_id in wanted]

    def write(self, changes: Sequence[Any]) -> Sequence[Any]:
        raise Unsupported(f"{self.context.connection}: writing is not built yet")
