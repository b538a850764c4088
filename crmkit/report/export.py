"""Snapshots of the fact tables as Parquet, in a folder or wherever fsspec reaches.

`DEST/2026-11-24/deals/hubspot-us-<export>.parquet`: one file for each day, table and connection,
the day's `manifest.json` last. The manifest is the commit: readers take the files that it names, so
that a snapshot is there whole or not at all, on stores that cannot rename too.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crmkit.errors import CrmkitError, UsageError
from crmkit.report.facts.tables import LAYOUTS

FORMAT = 1
MANIFEST = "manifest.json"
_SHARED = "all"


@dataclass(frozen=True, slots=True)
class Exported:
    """A snapshot that was written: where, and how many rows each table has."""

    place: str
    rows: dict[str, int]
    files: int


def export(facts: Path, destination: str, day: date, made_at: datetime, connections: list[str]) -> Exported:
    """Write the snapshot of a day; one that is there already is replaced.

    Args:
        facts: The folder with the fact tables, one Parquet file each.
        destination: A folder, or an address that fsspec knows.
        day: Which day it is of.
        made_at: When its facts were read.
        connections: Whose they are.

    Raises:
        UsageError: The destination cannot be used.
    """
    store, root = _store(destination)
    place = f"{root.rstrip('/')}/{day.isoformat()}"
    mark = secrets.token_hex(6)
    rows: dict[str, int] = {}
    files: dict[str, list[str]] = {}
    try:
        before = _manifest(store, place)
        for layout in LAYOUTS:
            table = pq.read_table(facts / f"{layout.name}.parquet")
            rows[layout.name] = table.num_rows
            files[layout.name] = []
            for connection, part in _parts(table):
                name = f"{layout.name}/{connection}-{mark}.parquet"
                store.makedirs(f"{place}/{layout.name}", exist_ok=True)
                with store.open(f"{place}/{name}", "wb") as stream:
                    pq.write_table(part, stream, compression="zstd")
                files[layout.name].append(name)
        document = {
            "format": FORMAT,
            "day": day.isoformat(),
            "made_at": made_at.isoformat(),
            "connections": sorted(connections),
            "rows": rows,
            "files": files,
        }
        content = json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"
        scratch = f"{place}/{mark}.part"
        store.pipe_file(scratch, content)
        store.mv(scratch, f"{place}/{MANIFEST}")
        kept = {name for names in files.values() for name in names}
        for name in {one for names in before.get("files", {}).values() for one in names} - kept:
            store.rm_file(f"{place}/{name}")
    except OSError as error:
        raise UsageError(
            f"cannot write to {destination}: {error.strerror or error}", hint="Name another place."
        ) from error
    return Exported(place, rows, sum(map(len, files.values())))


def manifest(destination: str, day: date) -> dict[str, Any]:
    """The manifest of a day; empty if there is no snapshot of it.

    Raises:
        UsageError: The place cannot be read.
    """
    store, root = _store(destination)
    return _manifest(store, f"{root.rstrip('/')}/{day.isoformat()}")


def fetch(destination: str, day: date, folder: Path) -> None:
    """Bring the tables of a snapshot into a folder, as the engines read them.

    Raises:
        UsageError: There is none of that day.
    """
    store, root = _store(destination)
    place = f"{root.rstrip('/')}/{day.isoformat()}"
    found = _manifest(store, place)
    if not found:
        raise UsageError(f"there is no snapshot of {day} in {destination}", hint="`crmkit export` makes one.")
    for layout in LAYOUTS:
        (folder / layout.name).mkdir()
        names = found["files"].get(layout.name, [])
        for name in names:
            (folder / name).write_bytes(store.cat_file(f"{place}/{name}"))
        if not names:
            pq.write_table(layout.arrow().empty_table(), folder / layout.name / "none.parquet")


def _parts(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """A table by connection; one that is not of connections as a whole."""
    if "connection" not in table.column_names:
        yield _SHARED, table
        return
    for connection in sorted(pc.unique(table["connection"]).to_pylist()):
        yield connection, table.filter(pc.equal(table["connection"], connection))


def _manifest(store: Any, place: str) -> dict[str, Any]:
    try:
        found = json.loads(store.cat_file(f"{place}/{MANIFEST}"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CrmkitError(f"{place}/{MANIFEST} is damaged", hint="Remove it, and export again.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise CrmkitError(f"{place}/{MANIFEST} was written by another version of crmkit")
    return found


def _store(destination: str) -> tuple[Any, str]:
    try:
        import fsspec  # noqa: PLC0415 - only exports need it
    except ImportError as error:
        raise UsageError(
            "exports need a package that is not installed", hint="Install it: pip install 'crmkit[export]'"
        ) from error
    try:
        store, root = fsspec.core.url_to_fs(destination)
    except (ImportError, ValueError) as error:
        scheme = destination.partition("://")[0]
        raise UsageError(
            f"addresses that begin with {scheme}:// cannot be used here: {error}",
            hint="Install fsspec's package for it, for example `pip install s3fs` for s3://.",
        ) from error
    return store, root
