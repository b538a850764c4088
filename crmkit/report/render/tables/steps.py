"""How deals go from stage to stage: conversion and duration by pipeline."""

from __future__ import annotations

from crmkit.report.metrics.conversion_figures import Conversion, LineConversion
from crmkit.report.render.cells import Cell, Table, days_cell
from crmkit.report.render.flow_tables import cohort_list, listed
from crmkit.report.render.tables.making import Making


def conversion_table(making: Making, found: Conversion) -> Table:
    """One row for each stage of each pipeline, those of the common stages first."""
    rows = tuple(row for line in (found.common, *found.by_pipeline) for row in _line(making, line))
    columns = (
        *making.words("connection", "pipeline", "stage"),
        *making.numbers("cohort", "converted", "lost", "still_open", "conversion", "conversion_resolved"),
        *making.numbers("duration", "duration_p90", "now", "now_days"),
    )
    behind = tuple(
        listed(cohort_list(line, stage)) if stage and stage.refs else None
        for line in (found.common, *found.by_pipeline)
        for stage in (*line.stages, *(None for _ in line.deleted))
    )
    title = f"{making.texts['conversion']} {found.start.isoformat()}/{found.end.isoformat()}"
    return Table("conversion", title, columns, rows, None, behind)


def _line(making: Making, line: LineConversion) -> list[tuple[Cell, ...]]:
    pipeline = making.texts["common_stages"] if line.connection is None else line.pipeline or line.pipeline_id
    rows: list[tuple[Cell, ...]] = [
        (
            line.connection,
            pipeline,
            one.name,
            one.cohort,
            one.converted,
            one.lost_from,
            one.still_open,
            making.share(one.conversion_raw),
            making.share(one.conversion_resolved),
            days_cell(one.stage_duration_median),
            days_cell(one.stage_duration_p90),
            one.current_count,
            days_cell(one.current_age_median),
        )
        for one in line.stages
    ]
    rows += [
        (
            line.connection,
            pipeline,
            f"{one.name} ({making.texts['deleted_stage']})",
            one.entered,
            *(None,) * 5,
            days_cell(one.stage_duration_median),
            days_cell(one.stage_duration_p90),
            None,
            None,
        )
        for one in line.deleted
    ]
    return rows
