"""The store opens, refuses what it cannot use, and keeps leases apart."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from crmkit.errors import Busy, NewerState, StateError
from crmkit.sync import schema
from crmkit.sync.lease import TIME_TO_LIVE, Lease, hold
from crmkit.sync.state import State

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_a_store_survives_being_opened_again(state_url: str) -> None:
    State(state_url).close()
    State(state_url).close()


def test_a_store_of_a_newer_version_is_refused(state: State, state_url: str) -> None:
    with state.write() as db:
        db.execute(schema.meta.update().values(value=str(schema.VERSION + 1)))
    with pytest.raises(NewerState) as caught:
        State(state_url)
    assert "pgrade crmkit" in caught.value.hint


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("this is a letter, not a database, and it is long enough to look at" * 20)
    with pytest.raises(StateError, match="not a database"):
        State(f"sqlite:///{path}")
    assert path.read_text().startswith("this is a letter")


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with engine.begin() as db:
        db.execute(sa.text("CREATE TABLE recipes (name TEXT)"))
    engine.dispose()
    with pytest.raises(StateError, match="something else"):
        State(f"sqlite:///{tmp_path / 'other.db'}")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError) as caught:
        State(f"sqlite:///{tmp_path / 'file' / 'state.db'}")
    assert "permissions" in caught.value.hint


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    State(f"sqlite:///{tmp_path / 'deep' / 'state.db'}").close()
    assert stat.S_IMODE((tmp_path / "deep" / "state.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700


def test_a_transaction_that_fails_leaves_nothing_behind(state: State) -> None:
    with pytest.raises(StateError):
        _write_twice(state)
    with state.read() as db:
        assert db.execute(sa.select(schema.meta.c.key).where(schema.meta.c.key == "x")).all() == []


def _write_twice(state: State) -> None:
    with state.write() as db:
        db.execute(schema.meta.insert().values(key="x", value="1"))
        db.execute(schema.meta.insert().values(key="x", value="2"))


def test_a_lease_is_free_again_after_its_block(state: State) -> None:
    with hold(state, "pull:a", lambda: NOW) as first:
        pass
    with hold(state, "pull:a", lambda: NOW) as second:
        assert second.epoch == first.epoch + 1


def test_leases_of_other_names_do_not_wait(state: State) -> None:
    with hold(state, "pull:a", lambda: NOW), hold(state, "pull:b", lambda: NOW) as other:
        assert other.epoch == 1


def test_the_second_holder_is_told_who_has_it(state: State) -> None:
    second = hold(state, "pull:a", lambda: NOW)
    with (
        hold(state, "pull:a", lambda: NOW),
        pytest.raises(Busy, match=f"process {os.getpid()} on .* since 2026-11-23"),
    ):
        second.__enter__()


def test_a_late_holder_cannot_commit(state: State) -> None:
    with hold(state, "pull:a", lambda: NOW) as late:
        with state.write() as db:  # another machine took over after the lease had expired
            db.execute(schema.leases.update().values(epoch=late.epoch + 1, owner="other:1"))
        with pytest.raises(Busy, match="taken over"):
            _write_something(state, late)
        with state.read() as db:
            assert db.execute(sa.select(schema.meta.c.key).where(schema.meta.c.key == "late")).all() == []


def _write_something(state: State, lease: Lease) -> None:
    with state.write() as db:
        db.execute(schema.meta.insert().values(key="late", value="1"))
        lease.guard(db)


def test_an_expired_lease_is_taken_over(state: State) -> None:
    with state.write() as db:
        db.execute(
            schema.leases.insert().values(
                name="pull:a", owner="gone:1", epoch=4, since=NOW, expires_at=NOW + TIME_TO_LIVE
            )
        )
    later = NOW + TIME_TO_LIVE + timedelta(seconds=1)
    with hold(state, "pull:a", lambda: later) as lease:
        assert lease.epoch == 5


def test_a_store_of_an_earlier_version_learns_since_when_records_are_known(
    state: State, state_url: str
) -> None:
    pulled, seen = NOW - timedelta(days=9), NOW - timedelta(days=1)
    with state.write() as db:
        db.execute(schema.runs.insert().values(command="pull", connection="old", started_at=pulled))
        for name, outcome in (("old", "open"), ("unpulled", "won")):
            db.execute(
                schema.deals.insert().values(
                    connection=name, id="1", name="A", outcome=outcome, value_period="one_time",
                    companies=[], contacts=[], tags=[], custom={}, archived=False, observed_at=seen,
                )
            )  # fmt: skip
        for table in (kind for kind in schema.metadata.sorted_tables if "first_seen_at" in kind.c):
            db.exec_driver_sql(f'ALTER TABLE "{table.name}" DROP COLUMN first_seen_at')
        db.execute(schema.meta.update().values(value="2"))
    again = State(state_url)
    with again.read() as db:
        found = dict(db.execute(sa.select(schema.deals.c.connection, schema.deals.c.first_seen_at)).all())
    again.close()
    assert found == {"old": pulled, "unpulled": seen}
