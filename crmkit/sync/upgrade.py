"""The state store's schema: made where there is none, and brought forward from every earlier version.

Forward only, in one transaction, after a copy of the old store was kept. Steps add tables,
columns that may be unset, and indexes; they take nothing away, so that a run of the older
crmkit that is still under way can finish.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from crmkit.errors import NewerState, StateError
from crmkit.sync import schema

# Any number: PostgreSQL's advisory locks have no names.
_UPGRADING = 0x63726D6B
_COPY_PREFIX = "backup_v"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A store that was brought forward when it was opened.

    Attributes:
        old: Its schema version before.
        new: Its schema version now.
        backup: Where the old store is kept: a file, or how its tables are called now.
    """

    old: int
    new: int
    backup: str


def bring_up_to_date(engine: sa.Engine, path: Path | None) -> Upgrade | None:
    """Make or upgrade the schema of a store; what was upgraded, or `None`.

    Args:
        engine: The store.
        path: Its file, where it is one.

    Raises:
        NewerState: A newer crmkit wrote the store.
        StateError: It is something else than a crmkit state, or no copy of it can be kept.
    """
    with engine.connect().execution_options(crmkit_reads=True) as db:
        old = _version(db, path)
    if old is None:
        _create(engine, path)
        return None
    if old > schema.VERSION:
        raise NewerState(f"the state store is of version {old}; this crmkit knows up to {schema.VERSION}")
    if old == schema.VERSION:
        return None
    backup = _copy_file(path, old) if path is not None else None
    with engine.begin() as db:
        _alone(db)
        if _version(db, path) != old:
            return None  # another process did it meanwhile
        if backup is None:
            backup = _copy_tables(db, old)
        _complete(db, old)
        db.execute(
            schema.meta.update().where(schema.meta.c.key == "version").values(value=str(schema.VERSION))
        )
    return Upgrade(old, schema.VERSION, backup)


def _create(engine: sa.Engine, path: Path | None) -> None:
    with engine.begin() as db:
        _alone(db)
        if _version(db, path) is None:
            schema.metadata.create_all(db)
            db.execute(schema.meta.insert().values(key="version", value=str(schema.VERSION)))


def _alone(db: sa.Connection) -> None:
    """Wait until nobody else makes or upgrades the schema; on SQLite the transaction does that."""
    if db.dialect.name == "postgresql":
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADING)))


def _version(db: sa.Connection, path: Path | None) -> int | None:
    """The schema version of a store, or `None` if it is empty."""
    inspector = sa.inspect(db)
    names = [name for name in inspector.get_table_names() if not name.startswith(_COPY_PREFIX)]
    if not names:
        return None
    if "meta" not in names:
        where = path or db.engine.url.render_as_string()
        raise StateError(
            f"{where} holds something else than a crmkit state",
            hint="Point `state` in crmkit.toml at a file or database of its own.",
        )
    query = sa.select(schema.meta.c.value).where(schema.meta.c.key == "version")
    return int(db.execute(query).scalar_one())


def _copy_file(path: Path, version: int) -> str:
    """Keep the store of an earlier version beside it, readable by its owner only."""
    copy = path.with_name(f"{path.stem}.v{version}{path.suffix}")
    scratch: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{copy.name}.", suffix=".part")  # 0600
        os.close(handle)
        scratch = Path(name)
        source = sqlite3.connect(path, isolation_level=None)
        try:
            source.execute("VACUUM INTO ?", (str(scratch),))
        finally:
            source.close()
        _durable(scratch)
        scratch.replace(copy)
    except (OSError, sqlite3.Error) as error:
        raise StateError(
            f"the state store {path} is of version {version} and must be upgraded, "
            f"but no copy of it can be kept: {error}",
            hint="Make room for a second copy of the file in its folder, then run the same command again.",
        ) from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
    return str(copy)


def _durable(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copy_tables(db: sa.Connection, version: int) -> str:
    """Keep the rows of every table of an earlier version in tables beside them."""
    prefix = f"{_COPY_PREFIX}{version}_"
    quote = db.dialect.identifier_preparer.quote
    for name in sa.inspect(db).get_table_names():
        if name in schema.metadata.tables:
            copy = quote(prefix + name)
            db.exec_driver_sql(f"DROP TABLE IF EXISTS {copy}")
            db.exec_driver_sql(f"CREATE TABLE {copy} AS TABLE {quote(name)}")
    return f"the tables {prefix}*"


def _complete(db: sa.Connection, old: int) -> None:
    """Add what this version has and the store has not, then run the steps of later versions."""
    reflected = sa.inspect(db).get_multi_columns()
    before = {table: {one["name"] for one in found} for (_, table), found in reflected.items()}
    schema.metadata.create_all(db)
    quote = db.dialect.identifier_preparer.quote
    for table in schema.metadata.sorted_tables:
        known = before.get(table.name)
        if known is None:
            continue  # made just now, with its indexes
        for column in table.columns:
            if column.name not in known:
                kind = column.type.compile(db.dialect)
                name = f"{quote(table.name)} ADD COLUMN {quote(column.name)} {kind}"
                db.exec_driver_sql(f"ALTER TABLE {name}")
        for index in table.indexes:
            index.create(db, checkfirst=True)
    for version, step in _STEPS.items():
        if old < version:
            step(db)


def _know_since(db: sa.Connection) -> None:
    """What an older store holds was there since its connection's first pull, as far as it can tell."""
    for table in schema.metadata.sorted_tables:
        if "first_seen_at" in table.c:
            pulled = (
                sa.select(sa.func.min(schema.runs.c.started_at))
                .where(schema.runs.c.command == "pull", schema.runs.c.connection == table.c.connection)
                .scalar_subquery()
            )
            db.execute(table.update().values(first_seen_at=sa.func.coalesce(pulled, table.c.observed_at)))


# By the version that needs it: what adding tables, columns and indexes does not do.
_STEPS: Mapping[int, Callable[[sa.Connection], None]] = {3: _know_since}
