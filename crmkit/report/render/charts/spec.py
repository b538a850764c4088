"""Charts as Vega-Lite specifications."""

from __future__ import annotations

from crmkit.report.render.charts.bars import bars
from crmkit.report.render.charts.heat import heat
from crmkit.report.render.charts.over_time import columns, lines
from crmkit.report.render.charts.shapes import Bars, Columns, Heat, Lines, Shape
from crmkit.report.render.charts.sheet import Spec


def spec_of(shape: Shape, width: int) -> tuple[Spec, list[tuple[str, str | None]]]:
    """The chart at a width in pixels, and what each numbered mark says and where it leads."""
    match shape:
        case Bars():
            sheet = bars(shape, width)
        case Columns():
            sheet = columns(shape, width)
        case Heat():
            sheet = heat(shape, width)
        case Lines():
            sheet = lines(shape, width)
    return sheet.spec(), sheet.meanings
