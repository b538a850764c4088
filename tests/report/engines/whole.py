"""The whole report on Spark against DuckDB; by hand, for it takes minutes."""

from __future__ import annotations

import pytest

from crmkit.report.facts.engine import spark
from crmkit.report.pipeline import pipeline_report
from crmkit.report.whole import PipelineReport
from tests.report.test_engines import SETTINGS, embedded, folder  # noqa: F401 - fixtures

# PySpark leaves the sockets open that results come through.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)

# One small book: what costs time is the number of queries, so nothing runs in parallel.
SMALL = {
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.ui.showConsoleProgress": "false",
}


def test_spark_gives_the_same_report_as_duckdb(folder, embedded):  # noqa: F811 - the fixtures above
    with spark(folder, master="local[1]", options=SMALL) as facts:
        found = pipeline_report(facts, SETTINGS)
    for name in PipelineReport.model_fields:
        assert getattr(found, name) == getattr(embedded[0], name), name
