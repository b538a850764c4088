"""The state store: opened, checked, brought up to date; transactions that are durable."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import sqlalchemy as sa
import tenacity
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from crmkit.errors import StateError
from crmkit.sync import daily_budget as _daily_budget  # noqa: F401 - adds its table to the metadata
from crmkit.sync import heard as _heard  # noqa: F401 - adds its tables to the metadata
from crmkit.sync import run_usage as _run_usage  # noqa: F401 - adds its table to the metadata
from crmkit.sync import schedules_table as _schedules  # noqa: F401 - adds its table to the metadata
from crmkit.sync import shared_limits as _shared_limits  # noqa: F401 - adds its table to the metadata
from crmkit.sync import tables as _tables  # noqa: F401 - adds the engine's tables to the metadata
from crmkit.sync import told as _told  # noqa: F401 - adds its table to the metadata
from crmkit.sync import upgrade

BUSY_SECONDS = 60
CACHE_KILOBYTES = 8_000
CHECKPOINT_PAGES = 4000


class State:
    """An open state store.

    Args:
        url: A database URL; `sqlite:///path` or `postgresql+psycopg://...`.

    Raises:
        StateError: It cannot be opened or created; the hint says what to do.
        NewerState: A newer crmkit wrote it.

    Attributes:
        upgraded: What was brought forward while it was opened, or `None`.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.path = Path(self.url.database) if self.is_sqlite and self.url.database else None
        if self.path:
            _prepare_folder(self.path)
        try:
            self.engine = _engine(self.url)
        except ImportError as error:
            raise StateError(
                f"the state store {self.url.render_as_string()} needs a driver that is not installed",
                hint="Install it with `pip install 'crmkit[postgres]'`.",
            ) from error
        try:
            self.upgraded = upgrade.bring_up_to_date(self.engine, self.path)
        except SQLAlchemyError as error:
            self.close()
            raise self.explain(error) from error
        except StateError:
            self.close()
            raise

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that is durable once the block ends, or leaves nothing behind."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self.explain(error) from error

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent view of the store."""
        try:
            with self.engine.connect().execution_options(crmkit_reads=True) as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self.explain(error) from error

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def explain(self, error: SQLAlchemyError) -> StateError:
        """What a database error means to a person."""
        reason = (
            str(error.orig).splitlines()[0] if isinstance(error, DBAPIError) and error.orig else str(error)
        )
        where = self.url.render_as_string(hide_password=True)
        text = reason.lower()
        hint = "Check the `state` setting of crmkit.toml."
        if "readonly" in text or "read-only" in text or "unable to open" in text:
            hint = "The folder or file cannot be written: check its permissions, or set `state` elsewhere."
        elif "not a database" in text or "malformed" in text:
            hint = (
                "The file is damaged or not a crmkit state: restore a backup, or move it away and pull again."
            )
        elif "full" in text or "disk i/o" in text:
            hint = "Free some disk space, then run the same command again; nothing was lost."
        elif "locked" in text:
            hint = "Another program holds the file; close it and try again."
        return StateError(f"state store {where}: {reason}", hint=hint)


def _prepare_folder(path: Path) -> None:
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            # Created here, so that it is never readable by others, not even for a moment.
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StateError(
            f"cannot write the state store {path}: {error.strerror}",
            hint="Check the permissions of the folder, or set `state` in crmkit.toml to another place.",
        ) from error


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(
            url,
            pool_pre_ping=True,
            # Every thread of every connection may ask for a permit of a shared limit at once.
            max_overflow=40,
            json_deserializer=msgspec.json.decode,
        )
    engine = sa.create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        json_deserializer=msgspec.json.decode,
    )

    @sa.event.listens_for(engine, "connect")
    def _settings(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # the driver must not begin by itself
        cursor = connection.cursor()  # type: ignore[attr-defined]
        _log_ahead(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        # The index of 100,000 records fits: where ids come in no order, each transaction touches
        # most of it, and would read it again and copy it out of the log every time.
        cursor.execute(f"PRAGMA cache_size=-{CACHE_KILOBYTES}")
        cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer takes its lock at once: a late upgrade could fail after the work is done.
        reads = connection.get_execution_options().get("crmkit_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


@tenacity.retry(
    retry=tenacity.retry_if_exception_message(match="database is locked"),
    stop=tenacity.stop_after_delay(BUSY_SECONDS),
    wait=tenacity.wait_random(0.005, 0.05),
    reraise=True,
)
def _log_ahead(cursor: sqlite3.Cursor) -> None:
    # The first one to open a file changes its journal; SQLite lets nobody wait for that.
    cursor.execute("PRAGMA journal_mode=WAL")
