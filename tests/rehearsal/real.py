"""A seeded sandbox that plays production, and what a pull of any sandbox leaves in the local copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from crmkit.connectors.base import Connector
from crmkit.model import Kind
from crmkit.rehearsal.drawn import blueprint_of
from crmkit.rehearsal.masking import Masking
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.blueprint import Blueprint
from crmkit.sandbox.clock import Clock
from crmkit.sandbox.server import Sandbox
from crmkit.sandbox.twin import twin
from crmkit.sandbox.wire import Settings
from crmkit.sync import schema
from crmkit.sync.pull import KINDS, Pull, PullOutcome
from crmkit.sync.rows import TABLES
from crmkit.sync.state import State
from tests.sandbox_bench import NOW, SandboxBench

NAME = "real"
CRMS = ("hubspot", "zoho", "copper", "bitrix24", "close")
FIELD_KINDS = (Kind.DEAL, Kind.COMPANY, Kind.CONTACT)
# When something was seen says nothing of the record; an address and a version belong to one workspace.
NOT_COMPARED = frozenset({"seen_walk", "observed_at", "first_seen_at", "checked_at", "url", "version"})


class Copy:
    """The local copy of one CRM, and the open connection that filled it."""

    def __init__(self, state: State, connector: Connector) -> None:
        self.state, self.connector = state, connector

    def table(self, table: sa.Table) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The live rows of a table by key, without what is not compared."""
        with self.state.read() as db:
            rows = [dict(row) for row in db.execute(sa.select(table)).mappings()]
        keys = [column.name for column in table.primary_key]
        return {
            tuple(row[key] for key in keys): {
                name: value for name, value in row.items() if name not in NOT_COMPARED
            }
            for row in rows
            if row.get("gone_at") is None
        }

    def records(self, kind: Kind) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The live records of a kind."""
        return self.table(TABLES[kind])

    def stages(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The stages of all pipelines."""
        return self.table(schema.stages)

    def blueprint(self, mask: Masking | None = None) -> Blueprint:
        """What the CRM consists of."""
        return blueprint_of(self.state, NAME, self.connector, mask=mask)


def pull(bench: SandboxBench, path: Path, **options: Any) -> Copy:
    """Everything that a sandbox holds, with notes and stage history."""
    state, connector = State(f"sqlite:///{path}"), bench.connect(name=NAME, **options)
    result = Pull(state, connector, kinds=(*KINDS, Kind.NOTE), history=True).run()
    assert result.error is None
    assert result.outcome is PullOutcome.DONE
    return Copy(state, connector)


@contextmanager
def serving(app: VendorApp) -> Iterator[SandboxBench]:
    """A twin that listens; fails if its server crashed meanwhile."""
    box = Sandbox.of({app.name: app})
    box.start()
    try:
        yield SandboxBench(box, app.name)
    finally:
        box.stop()
    assert app.crashes == []


def raised(blueprint: Blueprint, **extra: Any) -> VendorApp:
    """A twin on a clock that stands still."""
    return twin(blueprint, Settings(limits=False, extra=dict(extra)), Clock(NOW))
