"""The state store: whether it can be trusted to keep what it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crmkit.health.findings import STORE, Finding, error, note, ok, warning

GIB = 1024**3
FULL_BYTES, TIGHT_BYTES = GIB // 10, GIB
_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "ncpfs", "davfs", "fuse.sshfs",
            "fuse.s3fs", "fuse.rclone", "fuse.glusterfs", "fuse.cephfs", "fuse.gcsfuse")  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A store that is a file.

    Attributes:
        path: Where.
        exists: Whether it is there.
        mode: Its permissions; `None` where they mean nothing.
        folder_mode: Those of its folder.
        file_system: The type of the file system it lies on; empty if unknown.
        size: Its size in bytes.
        free: Free bytes beside it.
        faults: What its own check found; empty if it is whole.
        thorough: Whether indexes were compared too.
    """

    path: Path
    exists: bool
    mode: int | None = None
    folder_mode: int | None = None
    file_system: str = ""
    size: int = 0
    free: int | None = None
    faults: Sequence[str] = ()
    thorough: bool = True


def check_file(store: StoreFile) -> Iterator[Finding]:
    """Whether the file is whole, private, and in a good place."""
    yield from _place(store)
    if not store.exists:
        yield note(STORE, "file", "nothing was pulled yet: there is no local copy", command="crmkit pull")
        return
    yield from _private(store)
    if store.faults:
        yield error(
            STORE, "integrity", f"{store.path} is damaged: {store.faults[0]}",
            hint="Restore a backup; without one move the file away and pull again. Links are found again by "
            "the keys in the CRMs.", command=f"mv {store.path} {store.path}.damaged && crmkit pull",
        )  # fmt: skip
    else:
        how = "integrity_check" if store.thorough else "quick_check"
        yield ok(STORE, "integrity", f"{store.path} is whole ({how}, {size(store.size)})")


def check_version(version: int | None, known: int) -> Finding:
    """Whether this crmkit can work with the schema that it found."""
    if version is None:
        return note(STORE, "schema", "the store is empty: nothing was pulled yet", command="crmkit pull")
    if version > known:
        return error(
            STORE, "schema", f"the store is of version {version}, and this crmkit knows up to {known}",
            hint="A newer crmkit wrote it.", command="pip install --upgrade crmkit",
        )  # fmt: skip
    if version < known:
        return note(
            STORE, "schema",
            f"the store is of version {version}; the next command brings it to {known} and keeps a copy",
            command="crmkit runs",
        )  # fmt: skip
    return ok(STORE, "schema", f"schema version {version}")


def check_server(told: str) -> Finding:
    """A database server that answered."""
    return ok(STORE, "server", f"reached {told}")


def _place(store: StoreFile) -> Iterator[Finding]:
    if store.file_system.startswith(_NETWORK):
        yield warning(
            STORE, "place", f"{store.path} is on a network file system ({store.file_system}), "
            "where its locks and its durability cannot be relied on",
            hint="Set `state` in crmkit.toml to a local disk, or to a PostgreSQL address.",
        )  # fmt: skip
    elif store.file_system:
        yield ok(STORE, "place", f"on a local file system ({store.file_system})")
    if store.free is None:
        return
    if store.free < FULL_BYTES:
        yield error(STORE, "space", f"the disk has only {size(store.free)} left",
                    hint="Free some space before the next pull.")  # fmt: skip
    elif store.free < max(TIGHT_BYTES, store.size):
        yield warning(
            STORE, "space", f"the disk has {size(store.free)} left, and the store takes {size(store.size)}",
            hint="An upgrade keeps a copy of the store, so leave room for one.",
        )  # fmt: skip
    else:
        yield ok(STORE, "space", f"{size(store.free)} free")


def _private(store: StoreFile) -> Iterator[Finding]:
    if store.mode is None:
        return
    open_file = store.mode & 0o077
    if open_file and store.folder_mode is not None and store.folder_mode & 0o077:
        yield warning(
            STORE, "permissions", f"other users of this machine can read {store.path}: customers' data",
            command=f"chmod 600 {store.path} && chmod 700 {store.path.parent}",
        )  # fmt: skip
    else:
        yield ok(STORE, "permissions", "only its owner can read the store")


def size(count: int) -> str:
    """A number of bytes as people say it."""
    number = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
