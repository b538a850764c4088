"""State stores that a history can lose, keep a copy of, and get back: SQLite in a folder, PostgreSQL."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from crmkit.sync.state import State

_numbers = itertools.count(1)


class StoreFiles(Protocol):
    """Where one history keeps its state store.

    Attributes:
        url: The address of the store.
        shows_the_dead: Whether a killed holder of a lease is known to be gone at once.
    """

    url: str
    shows_the_dead: bool

    def fresh(self) -> None:
        """Put an empty store there; nobody may have it open."""

    def keep(self, state: State) -> None:
        """Keep a copy of the open store, which may be closed for it."""

    def bring_back(self) -> bool:
        """Put the copy there; whether there is one."""

    def remove(self) -> None:
        """Leave nothing behind."""


class SqliteFiles:
    """A store in a folder of its own."""

    shows_the_dead = True

    def __init__(self, folder: Path, template: Path) -> None:
        self._folder, self._template = folder, template
        self._path, self._copy = folder / "state.db", folder / "backup.db"
        self.url = f"sqlite:///{self._path}"

    def fresh(self) -> None:
        self._put(self._template)

    def keep(self, state: State) -> None:
        with state.engine.connect() as db:
            db.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self._path, self._copy)

    def bring_back(self) -> bool:
        if not self._copy.exists():
            return False
        self._put(self._copy)
        return True

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _put(self, source: Path) -> None:
        for old in self._folder.glob("state.db*"):
            old.unlink()
        shutil.copy(source, self._path)


class PostgresDatabases:
    """A store in a database of its own on a running server.

    Args:
        server: Any database of the server, as its owner.
    """

    shows_the_dead = False  # there is no file lock: a lease must run out

    def __init__(self, server: str) -> None:
        self._server = sa.make_url(server)
        self._name = f"history_{next(_numbers)}"
        self._copied = False
        # A test survives no power cut, and need not wait for the disk.
        options = {"options": "-c synchronous_commit=off"}
        self.url = (
            self._server.set(database=self._name)
            .update_query_dict(options)
            .render_as_string(hide_password=False)
        )
        if not self._exists("history_template"):
            self._execute("CREATE DATABASE history_template")
            State(self._server.set(database="history_template").render_as_string(hide_password=False)).close()

    def fresh(self) -> None:
        self._copy("history_template", self._name)

    def keep(self, state: State) -> None:
        state.close()
        self._copy(self._name, f"{self._name}_copy")
        self._copied = True

    def bring_back(self) -> bool:
        if self._copied:
            self._copy(f"{self._name}_copy", self._name)
        return self._copied

    def remove(self) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {self._name}", f"DROP DATABASE IF EXISTS {self._name}_copy")

    def _copy(self, source: str, target: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {target}", f"CREATE DATABASE {target} TEMPLATE {source}")

    def _exists(self, name: str) -> bool:
        engine = sa.create_engine(self._server)
        with engine.connect() as db:
            found = db.execute(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name})
            there = found.first() is not None
        engine.dispose()
        return there

    def _execute(self, *statements: str) -> None:
        engine = sa.create_engine(self._server, isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            for statement in statements:
                db.execute(sa.text(statement))
        engine.dispose()


def template(folder: Path) -> Path:
    """An empty SQLite store to copy."""
    path = folder / "template.db"
    if not path.exists():
        state = State(f"sqlite:///{path}")
        with state.engine.connect() as db:
            db.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        state.close()
    return path
