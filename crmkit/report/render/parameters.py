"""How a report was counted, as a table: for outputs in which its settings would else be missing."""

from __future__ import annotations

from crmkit.report.render.cells import Cell, Column, Table
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.whole import PipelineReport


def parameters_table(report: PipelineReport, texts: Texts = ENGLISH) -> Table:
    """One line for each setting that the figures depend on."""
    scope = "; ".join(f"{name}: {', '.join(values)}" for name, values in report.scope.items() if values)
    lines: tuple[tuple[str, Cell], ...] = (
        ("as_of", report.as_of.isoformat()),
        ("as_of_date", report.as_of_date),
        ("time_zone", report.time_zone),
        ("report_currency", report.report_currency),
        ("amount_basis", texts[f"setting_{report.amount_basis}"]),
        ("fiscal_start_month", report.fiscal_start_month),
        ("stale_days", report.stale_days),
        ("stale_warning_days", report.stale_warning_days),
        ("record_order", ", ".join(report.record_order) or texts["setting_last_modified"]),
        ("scope", scope or texts["setting_everything"]),
        ("records", report.records),
        ("deals", report.deals),
    )
    columns = (Column("setting", texts["col_setting"]), Column("value", texts["col_value"]))
    rows = tuple((texts[f"setting_{name}"], value) for name, value in lines)
    return Table("parameters", texts["parameters"], columns, rows)
