"""Snapshots in Parquet: whole or not there, replaced whole, and the same figures on both engines."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from crmkit.errors import CrmkitError, UsageError
from crmkit.report import export
from crmkit.report.facts.engine import duckdb, spark
from crmkit.report.facts.tables import LAYOUTS
from crmkit.report.metrics import open_deals
from tests.report import sample
from tests.report.fact_rows import Book, Change, tables

# PySpark leaves the sockets open that results come through.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)
DAY = date(2026, 11, 24)
NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
SETTINGS = sample.settings()
# One small book: what costs time is the number of queries, so nothing runs in parallel.
SMALL = {
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.ui.showConsoleProgress": "false",
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fact tables of a small book with linked and changed deals."""
    rows, links = sample.sample(60)
    before = sample.AS_OF - timedelta(days=3)
    changes = [Change(row.ref, "stage_id", before, "prospecting", row.stage_id) for row in rows[::4]]
    place = tmp_path_factory.mktemp("facts")
    for name, table in tables(Book(rows, links, changes=changes), sample.rates(), SETTINGS).items():
        pq.write_table(table, place / f"{name}.parquet")
    return place


def written(facts: Path, destination: str) -> export.Exported:
    return export.export(facts, destination, DAY, NOW, ["one", "two"])


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_snapshot_holds_every_row_of_every_table(facts: Path, tmp_path: Path, kind: str) -> None:
    destination = str(tmp_path / "out") if kind == "folder" else f"memory://{tmp_path.name}"
    told = written(facts, destination)
    back = tmp_path / "back"
    back.mkdir()
    export.fetch(destination, DAY, back)
    for layout in LAYOUTS:
        before = pq.read_table(facts / f"{layout.name}.parquet")
        after = pq.read_table(back / layout.name)
        key = [(name, "ascending") for name in before.column_names]
        assert after.select(before.column_names).sort_by(key).equals(before.sort_by(key)), layout.name
        assert told.rows[layout.name] == before.num_rows


def test_a_second_export_of_a_day_replaces_the_first_and_leaves_no_file_behind(
    facts: Path, tmp_path: Path
) -> None:
    written(facts, str(tmp_path))
    first = export.manifest(str(tmp_path), DAY)
    written(facts, str(tmp_path))
    second = export.manifest(str(tmp_path), DAY)
    assert first["files"] != second["files"]
    there = {str(path.relative_to(tmp_path / DAY.isoformat())) for path in tmp_path.rglob("*.parquet")}
    assert there == {name for names in second["files"].values() for name in names}


def test_an_export_that_dies_leaves_the_snapshot_before(
    facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(facts, str(tmp_path))
    before = export.manifest(str(tmp_path), DAY)
    monkeypatch.setattr(export.json, "dumps", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        written(facts, str(tmp_path))
    monkeypatch.undo()
    assert export.manifest(str(tmp_path), DAY) == before
    back = tmp_path / "back"
    back.mkdir()
    export.fetch(str(tmp_path), DAY, back)
    assert pq.read_table(back / "deals").num_rows == before["rows"]["deals"]


def test_what_cannot_be_used_is_told(facts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nosuch://"):
        written(facts, "nosuch://bucket")
    with pytest.raises(UsageError, match="no snapshot"):
        export.fetch(str(tmp_path), DAY, tmp_path)
    place = tmp_path / DAY.isoformat()
    place.mkdir()
    (place / export.MANIFEST).write_text("{")
    with pytest.raises(CrmkitError, match="damaged"):
        written(facts, str(tmp_path))
    (place / export.MANIFEST).write_text(json.dumps({"format": 99}))
    with pytest.raises(CrmkitError, match="another version"):
        written(facts, str(tmp_path))


def test_the_stage_report_is_the_same_on_both_engines(facts: Path, tmp_path: Path) -> None:
    written(facts, str(tmp_path / "out"))
    back = tmp_path / "back"
    back.mkdir()
    export.fetch(str(tmp_path / "out"), DAY, back)
    found = []
    for opened in (duckdb(facts), duckdb(back), spark(back, master="local[1]", options=SMALL)):
        with opened as engine:
            counted = open_deals.records(engine, SETTINGS)
            found.append(
                (
                    open_deals.summary(engine, SETTINGS),
                    open_deals.by_stage(engine, SETTINGS),
                    open_deals.by_connection(engine, SETTINGS, counted),
                )
            )
    embedded, from_export, distributed = found
    assert embedded[0].count > 0
    assert from_export == embedded
    assert distributed == embedded
