"""Asks the state store itself: its file, or its server."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from crmkit.errors import StateError
from crmkit.health import store
from crmkit.health.findings import STORE, Finding
from crmkit.health.gather import guarded
from crmkit.session import Session
from crmkit.sync import schema

THOROUGH_BYTES = 64 * 1024**2
_SERVER_SECONDS = 10
_FAULTS = 5


def of_store(session: Session) -> tuple[list[Finding], bool]:
    """What is wrong with the store itself, and whether what it holds can be looked at."""
    url = make_url(session.config.state_url)
    if url.get_backend_name() == "sqlite":
        found, complete = guarded(STORE, "file", lambda: _of_file(Path(url.database or "")))
    else:
        found, complete = guarded(STORE, "server", lambda: _of_server(session))
    usable = complete and any(one.check == "schema" and one.severity.rank == 0 for one in found)
    return found, usable


def _of_file(path: Path) -> Iterator[Finding]:
    folder = next(one for one in (path.parent, *path.parents) if one.exists())
    there = path.exists()
    faults: Sequence[str] = ()
    version = None
    size = path.stat().st_size if there else 0
    if there:
        faults, version = _looked_at(path, thorough=size <= THOROUGH_BYTES)
    posix = os.name == "posix"
    yield from store.check_file(
        store.StoreFile(
            path=path,
            exists=there,
            mode=path.stat().st_mode if there and posix else None,
            folder_mode=path.parent.stat().st_mode if there and posix else None,
            file_system=file_system(folder),
            size=size,
            free=shutil.disk_usage(folder).free,
            faults=faults,
            thorough=size <= THOROUGH_BYTES,
        )
    )
    if there and not faults:
        yield store.check_version(version, schema.VERSION)


def _looked_at(path: Path, *, thorough: bool) -> tuple[Sequence[str], int | None]:
    """What SQLite finds wrong with a file, and its schema version; changes nothing in it."""
    check = "integrity_check" if thorough else "quick_check"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            faults = [str(row[0]) for row in db.execute(f"PRAGMA {check}({_FAULTS})")]
            if faults != ["ok"]:
                return faults, None
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                return (), None
            row = db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
            return (), int(row[0]) if row else None
    except sqlite3.DatabaseError as problem:
        return [str(problem)], None


def _of_server(session: Session) -> Iterator[Finding]:
    try:
        engine = sa.create_engine(session.state_url(), connect_args={"connect_timeout": _SERVER_SECONDS})
    except ImportError:
        return  # told among the machine's extras
    try:
        with engine.connect() as db:
            told = db.exec_driver_sql("SHOW server_version").scalar_one()
            where = engine.url.set(password=None).render_as_string()
            yield store.check_server(f"PostgreSQL {told} at {where}")
            there = sa.inspect(db).has_table("meta")
            query = sa.select(schema.meta.c.value).where(schema.meta.c.key == "version")
            yield store.check_version(int(db.execute(query).scalar_one()) if there else None, schema.VERSION)
    except sa.exc.SQLAlchemyError as problem:
        reason = str(getattr(problem, "orig", None) or problem).splitlines()[0]
        raise StateError(
            f"the database cannot be used: {reason}",
            hint="Check `state` in crmkit.toml, and that the server runs and lets this machine in.",
        ) from problem
    finally:
        engine.dispose()


def file_system(folder: Path, table: Path = Path("/proc/mounts")) -> str:
    """The type of the file system that a folder lies on; empty where the system does not tell."""
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    where = str(folder.resolve())
    for line in lines:
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split(" ")[1])
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, kind = len(point), line.split(" ")[2]
    return kind
