"""A report as JSON: the fields of its model, decimals as strings of digits."""

from __future__ import annotations

from crmkit.report.compared import Differences
from crmkit.report.whole import PipelineReport


def json_text(report: PipelineReport | Differences) -> str:
    """The whole report; fields are added over time, never renamed."""
    return report.model_dump_json(indent=2) + "\n"
