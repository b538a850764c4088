"""Fixtures that every test may use, and what makes thousands of small stores and worlds cheap."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa

from crmkit.sync import state
from tests.postgres import postgres_url

__all__ = ["postgres_url"]

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("crmkit", deadline=None)
hypothesis.settings.load_profile("crmkit")

RAM = Path("/dev/shm")
RAM_BYTES = 2 * 2**30  # more than the whole suite holds at once


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary folders in memory where there is room: a store waits for the disk at every commit."""
    roomy = RAM.is_dir() and os.access(RAM, os.W_OK) and shutil.disk_usage(RAM).free > RAM_BYTES
    if roomy and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = tempfile.tempdir = str(RAM)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Modules and collected tests live as long as the process: no garbage is looked for among them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def compiled_by() -> Iterator[dict[str, sa.Engine]]:
    """Per kind of database, an engine whose compiled statements all stores share.

    A process of crmkit's own opens one store and compiles each statement once; SQLAlchemy keeps them per
    engine, and here each test has an engine of its own.
    """
    models = {"sqlite": state._engine(sa.make_url("sqlite://"))}
    with models["sqlite"].connect():  # the dialect learns here what it speaks to
        pass
    made = state._engine

    def engine(url: sa.URL) -> sa.Engine:
        found, model = made(url), models.get(url.get_backend_name())
        if model is not None:
            found.dialect, found._compiled_cache = model.dialect, model._compiled_cache
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "_engine", engine)
        yield models
    for model in models.values():
        model.dispose()
