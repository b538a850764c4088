"""The pipeline report as tables, the same for every format."""

from __future__ import annotations

from crmkit.report.render.cells import Table
from crmkit.report.render.flow_tables import flow_tables
from crmkit.report.render.tables import further_tables
from crmkit.report.render.tables.listing import ListTables
from crmkit.report.render.tables.parts import PartTables
from crmkit.report.render.tables.results import ResultTables
from crmkit.report.render.tables.standing import OpenTables
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.whole import PipelineReport


def pipeline_tables(report: PipelineReport, texts: Texts = ENGLISH) -> list[Table]:
    """Every table of the report, in the order in which it is read."""
    standing, results = OpenTables(report, texts), ResultTables(report, texts)
    parts, lists = PartTables(report, texts), ListTables(report, texts)
    return [
        standing.summary(),
        standing.by_stage(),
        standing.by_connection(),
        standing.by_close_month(),
        standing.by_close_quarter(),
        standing.ageing(),
        results.results(),
        parts.by_month(),
        results.win_rates(),
        parts.from_stage(),
        results.lost_reasons(),
        results.lost_kinds(),
        results.velocity(),
        standing.by_owner(),
        parts.by_owner(),
        parts.by_team(),
        parts.by_connection(),
        standing.by_native_stage(),
        lists.top_deals(),
        lists.stale_deals(),
        *flow_tables(report, texts),
        *further_tables(report, texts),
        *lists.items(),
    ]
