"""A blueprint says what it leaves out, and can always be raised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit.errors import StateError
from crmkit.model import Kind
from crmkit.rehearsal.drawn import blueprint_of
from crmkit.sync import schema
from crmkit.sync.state import State
from tests.rehearsal.real import Copy, pull, raised
from tests.sandbox_bench import NOW, SandboxBench, bench


@pytest.fixture(scope="module")
def production() -> Iterator[SandboxBench]:
    with bench("hubspot", deals=40) as running:
        yield running


@pytest.fixture
def copy(production: SandboxBench, tmp_path: Path) -> Copy:
    return pull(production, tmp_path / "real.db")


def _set(copy: Copy, table: sa.Table, native: str, **values: Any) -> None:
    with copy.state.write() as db:
        db.execute(table.update().where(table.c.id == native).values(**values))


def _some_deal(copy: Copy) -> dict[str, Any]:
    return next(row for row in copy.records(Kind.DEAL).values() if row["companies"] and row["contacts"])


def test_links_to_what_is_gone_are_cut_and_counted(copy: Copy) -> None:
    deal = _some_deal(copy)
    _set(copy, schema.companies, deal["companies"][0], gone_at=NOW)
    blueprint = copy.blueprint()
    found = next(one for one in blueprint.deals if one.id == deal["id"])
    assert found.company_ids == ()
    assert any(said.endswith(" links of deals to companies that are left out") for said in blueprint.left_out)
    assert deal["id"] in raised(blueprint).world.deals


def test_archived_records_are_left_out_and_counted(copy: Copy) -> None:
    deal = _some_deal(copy)
    _set(copy, schema.deals, deal["id"], archived=True)
    blueprint = copy.blueprint()
    assert deal["id"] not in {one.id for one in blueprint.deals}
    assert "1 archived deals" in blueprint.left_out
    assert deal["id"] not in {one.deal_id for one in (*blueprint.notes, *blueprint.visits)}


def test_values_of_a_field_that_is_gone_are_left_out_and_counted(copy: Copy) -> None:
    deal = _some_deal(copy)
    _set(copy, schema.deals, deal["id"], custom={**deal["custom"], "former": "x"})
    blueprint = copy.blueprint()
    assert "1 values of deal field former, which is gone" in blueprint.left_out
    assert "former" not in next(one for one in blueprint.deals if one.id == deal["id"]).custom


def test_records_that_could_not_be_read_are_counted(copy: Copy) -> None:
    with copy.state.write() as db:
        row = {"connection": "real", "kind": "deal", "id": "1", "field": "amount", "reason": "is no number"}
        db.execute(schema.quarantine.insert().values(**row, observed_at=NOW))
    assert copy.blueprint().left_out == ("1 deals that could not be read",)


def test_a_connection_that_was_never_pulled_is_an_error(production: SandboxBench, tmp_path: Path) -> None:
    state = State(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(StateError, match="nothing has been pulled yet"):
        blueprint_of(state, "real", production.connect(name="real"), mask=None)
