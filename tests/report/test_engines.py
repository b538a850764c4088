"""Every query of the report can be said in the dialects of warehouses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlglot

from crmkit.report.facts.engine import Facts, Value, bound, duckdb
from crmkit.report.inputs import Quota
from crmkit.report.pipeline import pipeline_report
from crmkit.report.whole import PipelineReport
from tests.report import sample
from tests.report.fact_rows import Book, Change, tables

SETTINGS = sample.settings(
    teams={"north": ("ada@example.com", "lars@example.com")},
    quotas=(Quota(start=date(2026, 10, 1), end=date(2027, 1, 1), amount=Decimal(400_000)),),
)


class _Noted(Facts):
    """Facts that note what they are asked."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts._engine)
        self.asked: list[tuple[str, dict[str, Value]]] = []

    def rows(self, query: str, **values: Value) -> list[dict[str, Any]]:
        self.asked.append((query, values))
        return super().rows(query, **values)

    def keep(self, name: str, query: str, **values: Value) -> str:
        self.asked.append((query, values))
        return super().keep(name, query, **values)

    def view(self, name: str, query: str) -> str:
        self.asked.append((query, {}))
        return super().view(name, query)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fact tables of a small book with linked, moved, closed and odd deals."""
    rows, links = sample.sample(60)
    changes = [
        change
        for row in rows[::4]
        for change in (
            Change(row.ref, "amount", sample.AS_OF - timedelta(days=3), Decimal(900), row.amount),
            Change(
                row.ref, "close_day", sample.AS_OF - timedelta(days=2), date(2026, 11, 20), row.expected_close
            ),
            Change(row.ref, "stage_id", sample.AS_OF - timedelta(days=1), "prospecting", row.stage_id),
        )
    ]
    place = tmp_path_factory.mktemp("facts")
    for name, table in tables(Book(rows, links, changes=changes), sample.rates(), SETTINGS).items():
        pq.write_table(table, place / f"{name}.parquet")
    return place


@pytest.fixture(scope="module")
def embedded(folder: Path) -> tuple[PipelineReport, list[tuple[str, dict[str, Value]]]]:
    """The report from DuckDB, and the queries it took."""
    with duckdb(folder) as facts:
        noted = _Noted(facts)
        return pipeline_report(noted, SETTINGS), noted.asked


def test_every_query_of_the_report_can_be_said_to_warehouses(embedded):
    queries: Mapping[str, dict[str, Value]] = dict(embedded[1])
    assert len(queries) > 20
    for query, values in queries.items():
        tree = bound(query, values)
        for dialect in ("bigquery", "snowflake"):
            # BigQuery has no NULLS LAST within an aggregate: said without, as sqlglot would warn.
            assert tree.sql(dialect=dialect, unsupported_level=sqlglot.ErrorLevel.IGNORE)
