"""State stores to test with: SQLite in a folder, and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from crmkit.sync.state import State
from tests.postgres import execute


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store; on PostgreSQL a schema, which is made ten times faster than a database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    url = request.getfixturevalue("postgres_url")
    name = f"test_{abs(hash(str(tmp_path)))}"
    execute(url, f"CREATE SCHEMA {name}")
    options = {"options": f"-c search_path={name}"}
    yield sa.make_url(url).update_query_dict(options).render_as_string(hide_password=False)
    execute(url, f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def state(state_url: str) -> Iterator[State]:
    """An open, empty store."""
    store = State(state_url)
    yield store
    store.close()
