"""The state store is looked at without changing it, and tells what waits in it."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from crmkit.config import load
from crmkit.connectors import registry
from crmkit.health import gather_contents, gather_store
from crmkit.health.findings import Finding, Severity
from crmkit.session import Session
from crmkit.sync import schema, tables
from crmkit.sync.state import State

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
TOML = """
[connections.one]
crm = "memory"
[connections.two]
crm = "memory"
[syncs.main]
members = ["one", "two"]
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    path = tmp_path / "crmkit.toml"
    path.write_text(TOML)
    return Session(load(path, registry.OptionModels()))


@pytest.fixture
def state(session: Session) -> Iterator[State]:
    with session.state() as opened:
        yield opened


def told(found: list[Finding]) -> dict[str, tuple[str, int]]:
    return {
        f"{one.subject} {one.check}": (one.severity.value, one.exit_code)
        for one in found
        if one.severity is not Severity.OK
    }


def run(state: State, command: str, of: str, outcome: str | None, ago: timedelta = HOUR) -> None:
    with state.write() as db:
        db.execute(
            schema.runs.insert().values(
                command=command, connection=of, started_at=NOW - ago, outcome=outcome,
                ended_at=None if outcome is None else NOW - ago,
            )
        )  # fmt: skip


def lease(state: State, name: str, process: int) -> None:
    with state.write() as db:
        db.execute(
            schema.leases.insert().values(
                name=name,
                owner=f"{socket.gethostname()}:{process}",
                epoch=1,
                since=NOW,
                expires_at=NOW + HOUR,
            )
        )


def test_a_workspace_without_a_store_stays_without(session: Session, tmp_path: Path) -> None:
    found, usable = gather_store.of_store(session)
    assert (told(found), usable) == ({"state file": ("note", 0)}, False)
    assert not (tmp_path / ".crmkit").exists()


def test_a_new_store_is_well(session: Session, state: State) -> None:
    found, usable = gather_store.of_store(session)
    assert (told(found), usable) == ({}, True)


def test_a_damaged_file_is_an_error_and_is_not_read(session: Session, state: State) -> None:
    state.close()
    path = state.path
    assert path is not None
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.write_bytes(b"SQLite format 3\0" + os.urandom(8000))
    found, usable = gather_store.of_store(session)
    assert (told(found), usable) == ({"state integrity": ("error", 1)}, False)


@pytest.mark.parametrize(
    ("version", "ending"), [(schema.VERSION - 1, ("note", 0)), (schema.VERSION + 1, ("error", 1))]
)
def test_another_version_is_told_and_not_touched(
    session: Session, state: State, version: int, ending: tuple[str, int]
) -> None:
    with state.write() as db:
        db.execute(schema.meta.update().values(value=str(version)))
    state.close()
    found, usable = gather_store.of_store(session)
    assert (told(found), usable) == ({"state schema": ending}, False)
    assert state.path is not None
    with closing(sqlite3.connect(state.path)) as db:
        assert db.execute("SELECT value FROM meta").fetchone() == (str(version),)


def test_a_server_that_does_not_answer_is_an_error(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "crmkit.toml"
    path.write_text('state = "postgresql+psycopg://nobody@127.0.0.1:1/x"\n' + TOML)
    found, usable = gather_store.of_store(Session(load(path, registry.OptionModels())))
    assert (told(found), usable) == ({"state server": ("error", 1)}, False)


def test_the_nearest_mount_tells_the_file_system(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    (tmp_path / "a b" / "c").mkdir(parents=True)
    place = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(f"x / ext4 rw 0 0\nserver:/x {place} nfs4 rw 0 0\nx {place}x tmpfs rw 0 0\n")
    assert gather_store.file_system(tmp_path / "a b" / "c", mounts) == "nfs4"
    assert gather_store.file_system(tmp_path, mounts) == "ext4"
    assert gather_store.file_system(tmp_path, tmp_path / "none") == ""


def test_what_waits_is_found_in_the_store(session: Session, state: State) -> None:
    at = {"sync": "main", "entity": "e1"}
    with state.write() as db:
        db.execute(
            schema.quarantine.insert().values(
                connection="one", kind="deal", id="1", field="x", reason="y", observed_at=NOW - HOUR
            )
        )
        db.execute(
            tables.conflicts.insert().values(
                **at, field="name", reason="r", candidates="[]", since=NOW, frozen=False
            )
        )
        db.execute(
            tables.refusals.insert().values(
                **at, connection="two", act="create", digest="d", tries=2, reason="r", since=NOW, last_at=NOW
            )
        )
        db.execute(
            tables.reviews.insert().values(sync="main", connection="one", kind="deal", id="1", reason="r")
        )
        db.execute(
            tables.journal.insert().values(
                id="1", run=1, epoch=1, sync="main", connection="two", kind="deal", act="create", entity="e1",
                sent="{}", before="{}", rules="{}", state="unknown", sent_at=NOW,
            )
        )  # fmt: skip
    run(state, "pull", "one", "held")
    run(state, "pull", "two", "failed")
    run(state, "sync", "main", None)
    assert told(gather_contents.of_contents(session, state, ["one", "two"])) == {
        "one quarantine": ("warning", 4),
        "two pull": ("warning", 0),
        "main last-run": ("warning", 0),
        "main conflicts": ("warning", 4),
        "main links": ("warning", 4),
        "main refused": ("warning", 4),
        "main unknown": ("warning", 0),
    }


def test_only_what_concerns_the_named_connections_is_told(session: Session, state: State) -> None:
    assert {one.subject for one in gather_contents.of_contents(session, state, ["one"])} == {"one", "main"}


def test_open_writes_of_a_migration_name_the_command_that_goes_on(session: Session, state: State) -> None:
    with state.write() as db:
        db.execute(
            tables.journal.insert().values(
                id="1", run=1, epoch=1, sync="one-to-two", connection="two", kind="deal", act="create",
                entity="e1", sent="{}", before="{}", rules="{}", state="sent", sent_at=NOW,
            )
        )  # fmt: skip
    found = gather_contents.of_contents(session, state, ["two"])
    assert [one.command for one in found if one.check == "unknown" and one.command] == [
        "crmkit migrate apply one two"
    ]


def test_a_run_under_way_is_told_from_one_that_was_killed(session: Session, state: State) -> None:
    run(state, "pull", "one", None)
    run(state, "pull", "two", None)
    lease(state, "pull:one", os.getpid())
    lease(state, "pull:two", 2**22 + 1)  # beyond the highest process id of Linux
    found = told(gather_contents.of_contents(session, state, ["one", "two"]))
    assert "one pull" not in found
    assert found["two pull"] == ("warning", 0)
    assert found["state leases"] == ("note", 0)


def test_a_table_that_is_missing_stops_only_its_own_checks(session: Session, state: State) -> None:
    with state.write() as db:
        db.execute(sa.text("DROP TABLE pipelines"))
    found = told(gather_contents.of_contents(session, state, ["one"]))
    assert found["one stages"] == ("error", 1)
    assert found["one pull"] == ("note", 0)
