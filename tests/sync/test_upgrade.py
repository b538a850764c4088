"""Stores of every earlier schema version come forward whole, and a copy of each is kept."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit.errors import NewerState, StateError
from crmkit.sync import schema, upgrade
from crmkit.sync.state import State

STORES = Path(__file__).parents[1] / "payloads" / "state"
EARLIER = sorted(path.name.removesuffix(".sqlite.sql") for path in STORES.glob("*.sqlite.sql"))


@pytest.fixture
def old_url(state_url: str, request: pytest.FixtureRequest) -> str:
    """A store as an earlier crmkit left it."""
    _run_script(state_url, request.param)
    return state_url


def _run_script(url: str, name: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    kind = engine.dialect.name
    script = (STORES / f"{name}.{kind}.sql").read_text(encoding="utf-8")
    with engine.connect() as db:
        raw: Any = db.connection.cursor()
        if kind == "sqlite":
            raw.executescript(script)
        else:
            raw.execute(script)
    engine.dispose()


def _shape(url: str) -> dict[str, Any]:
    """Tables, columns, keys and indexes, without the copies that an upgrade keeps."""
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    found = {
        name: (
            {
                column["name"]: (str(column["type"]), bool(column["nullable"]))
                for column in inspector.get_columns(name)
            },
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted((one["name"] or "", one["column_names"]) for one in inspector.get_indexes(name)),
        )
        for name in inspector.get_table_names()
        if not name.startswith("backup_")
    }
    engine.dispose()
    return found


@pytest.fixture
def fresh_shape(tmp_path: Path, postgres_url: str, old_url: str) -> Iterator[dict[str, Any]]:
    """The shape of a store that this crmkit makes, on the same kind of database."""
    if old_url.startswith("sqlite"):
        url = f"sqlite:///{tmp_path / 'fresh' / 'state.db'}"
        State(url).close()
        yield _shape(url)
        return
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.execute(sa.text("CREATE SCHEMA IF NOT EXISTS fresh"))
    options = {"options": "-c search_path=fresh"}
    url = sa.make_url(postgres_url).update_query_dict(options).render_as_string(hide_password=False)
    State(url).close()
    yield _shape(url)
    with engine.connect() as db:
        db.execute(sa.text("DROP SCHEMA fresh CASCADE"))
    engine.dispose()


@pytest.mark.parametrize("old_url", EARLIER, indirect=True)
def test_an_earlier_store_gets_the_shape_of_a_new_one(old_url: str, fresh_shape: dict[str, Any]) -> None:
    State(old_url).close()
    assert _shape(old_url) == fresh_shape


@pytest.mark.parametrize("old_url", EARLIER, indirect=True)
def test_an_earlier_store_keeps_every_row_and_value(old_url: str) -> None:
    before = _rows(old_url)
    State(old_url).close()
    after = _rows(old_url)
    assert before.keys() <= after.keys()
    for table, rows in before.items():
        if table == "meta":
            assert after[table] == [{"key": "version", "value": str(schema.VERSION)}]
        else:
            assert [
                {key: row[key] for key in old} for old, row in zip(rows, after[table], strict=True)
            ] == rows


def _rows(url: str) -> dict[str, list[dict[str, Any]]]:
    engine = sa.create_engine(url)
    found = {}
    with engine.connect() as db:
        for name in sa.inspect(db).get_table_names():
            if not name.startswith("backup_"):
                rows = db.execute(sa.text(f'SELECT * FROM "{name}"')).mappings()
                found[name] = [dict(row) for row in rows]
    engine.dispose()
    return found


@pytest.mark.parametrize("old_url", ["v1-7d4c89e", "v3-a717db3"], indirect=True)
def test_a_copy_of_the_earlier_store_is_kept(old_url: str) -> None:
    before = _rows(old_url)
    state = State(old_url)
    told = state.upgraded
    state.close()
    version = int(before["meta"][0]["value"])
    assert told is not None
    assert (told.old, told.new) == (version, schema.VERSION)
    if state.path is not None:
        copy = Path(told.backup)
        assert copy == state.path.with_name(f"state.v{version}.db")
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert _rows(f"sqlite:///{copy}") == before
    else:
        engine = sa.create_engine(old_url)
        with engine.connect() as db:
            for table, rows in before.items():
                kept = db.execute(sa.text(f'SELECT * FROM "backup_v{version}_{table}"')).mappings()
                assert [dict(row) for row in kept] == rows
        engine.dispose()


def test_a_second_opening_upgrades_nothing(state_url: str) -> None:
    _run_script(state_url, EARLIER[0])
    State(state_url).close()
    again = State(state_url)
    assert again.upgraded is None
    again.close()


def test_two_processes_upgrade_once(state_url: str) -> None:
    _run_script(state_url, EARLIER[0])
    told: list[object] = []
    start = threading.Barrier(2)

    def open_it() -> None:
        start.wait()
        state = State(state_url)
        told.append(state.upgraded)
        state.close()

    threads = [threading.Thread(target=open_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 2
    assert sum(one is not None for one in told) == 1


def test_two_processes_make_a_new_store_once(state_url: str) -> None:
    start = threading.Barrier(2)
    failed: list[Exception] = []

    def open_it() -> None:
        start.wait()
        try:
            State(state_url).close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_an_upgrade_that_fails_leaves_the_earlier_store(
    state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_script(state_url, EARLIER[0])
    before = _rows(state_url), _shape(state_url)

    def fail(_: object) -> None:
        raise StateError("out of power")

    monkeypatch.setattr(upgrade, "_STEPS", {schema.VERSION: fail})
    with pytest.raises(StateError, match="out of power"):
        State(state_url)
    assert (_rows(state_url), _shape(state_url)) == before


def test_without_room_for_a_copy_nothing_is_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    _run_script(url, EARLIER[0])

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(upgrade.sqlite3, "connect", full)
    with pytest.raises(StateError, match="no copy of it can be kept") as caught:
        State(url)
    assert "room" in caught.value.hint
    monkeypatch.undo()
    assert _rows(url)["meta"] == [{"key": "version", "value": "1"}]
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_a_newer_store_is_refused_and_not_copied(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    state = State(url)
    with state.write() as db:
        db.execute(schema.meta.update().values(value=str(schema.VERSION + 1)))
    state.close()
    with pytest.raises(NewerState):
        State(url)
    assert not list(tmp_path.glob("state.v*.db"))
