"""The tables with details, after those that a page shows with its charts."""

from __future__ import annotations

from crmkit.report.render.cells import Table
from crmkit.report.render.tables.care import follow_up_tables, hygiene_tables, renewal_tables, stuck_tables
from crmkit.report.render.tables.flow import moved_deals, movement_tables, slip_table
from crmkit.report.render.tables.making import Making
from crmkit.report.render.tables.outlook import forecast_tables
from crmkit.report.render.tables.steps import conversion_table
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.whole import PipelineReport


def further_tables(report: PipelineReport, texts: Texts = ENGLISH) -> list[Table]:
    """What moved, what is to come, how deals go from stage to stage, and what to look after."""
    names = {row.stage: row.name or row.stage for row in report.by_stage if row.stage is not None}
    names |= {one.stage: one.name for one in report.funnel.stages}
    names |= {one.stage: one.name for one in report.renewals.after_sale}
    making = Making(texts, report.report_currency, names)
    return [
        moved_deals(making, report.waterfalls.all_open),
        slip_table(making, report.slips),
        *movement_tables(making, report.movement),
        *forecast_tables(making, report.forecast),
        conversion_table(making, report.conversion),
        *follow_up_tables(making, report.follow_ups),
        *stuck_tables(making, report.stuck),
        *hygiene_tables(making, report.hygiene),
        *renewal_tables(making, report.renewals),
    ]
