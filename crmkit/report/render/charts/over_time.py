"""Columns and lines over time as Vega-Lite."""

from __future__ import annotations

from crmkit.report.render.charts.shapes import Columns, Lines
from crmkit.report.render.charts.sheet import (
    FILL,
    HREF,
    NARROW,
    WORDS,
    Sheet,
    Spec,
    add_axis_texts,
    add_grid,
    add_rules,
    beside_ticks,
    extent,
    room_for,
    text,
)
from crmkit.report.render.charts.tokens import STAND_IN


def columns(shape: Columns, width: int) -> Sheet:
    """Columns over time."""
    narrow = width < NARROW
    low, high = extent((mark for row in shape.rows for mark in row.marks), shape.rules)
    high = max([high, *(at for at, _ in shape.ticks)])
    low = min([low, *(at for at, _ in shape.ticks)])
    count = max(len(shape.rows), 1)
    sheet = Sheet(width, 190 if narrow else 220, (-0.5, count - 0.5), (low, high), beside_ticks(shape.ticks))
    add_grid(sheet, shape.ticks)
    sheet.add(
        {"type": "rect", "cornerRadius": 2},
        (
            {
                "x": place - 0.36,
                "x2": place + 0.36,
                "y": mark.start,
                "y2": mark.end,
                "colour": STAND_IN[mark.colour],
                "href": sheet.link(mark.spoken, mark.target),
            }
            for place, row in enumerate(shape.rows)
            for mark in row.marks
        ),
        x=sheet.across("x"),
        x2={"field": "x2"},
        y=sheet.down("y", upwards=True),
        y2={"field": "y2"},
        color=FILL,
        href=HREF,
    )
    if room_for((row.value for row in shape.rows), 6.4) <= (width - sheet.left) / count:
        tops = (
            {"x": place, "y": max((mark.end for mark in row.marks), default=0), "text": row.value}
            for place, row in enumerate(shape.rows)
            if row.value
        )
        sheet.add(
            text("soft", 10.5, dy=-8),
            tops,
            x=sheet.across("x"),
            y=sheet.down("y", upwards=True),
            text=WORDS,
        )
    add_axis_texts(sheet, [row.label for row in shape.rows])
    add_rules(sheet, shape.rules, upright=False)
    return sheet


def lines(shape: Lines, width: int) -> Sheet:
    """Lines over time with their points."""
    narrow = width < NARROW
    found = [point.value for one in shape.series for point in one.points if point.value is not None]
    low, high = min([0.0, *found]), max([*found, *(at for at, _ in shape.ticks), 0.0]) or 1.0
    last = max(len(shape.labels) - 1, 1)
    sheet = Sheet(width, 190 if narrow else 220, (0, last), (low, high), beside_ticks(shape.ticks), 20)
    add_grid(sheet, shape.ticks)
    up = sheet.down("y", upwards=True)
    for one in shape.series:
        points = [
            {"x": point.place, "y": point.value, "href": sheet.link(point.spoken, point.target)}
            for point in one.points
            if point.value is not None
        ]
        dash: Spec = {"strokeDash": [5, 4]} if one.dashed else {}
        colour = STAND_IN[one.colour]
        sheet.add(
            {"type": "line", "color": colour, "strokeWidth": 2, **dash},
            ({"x": point["x"], "y": point["y"]} for point in points),
            x=sheet.across("x"),
            y=up,
        )
        sheet.add(
            {"type": "circle", "color": colour, "size": 46, "opacity": 1, "stroke": STAND_IN["card"]},
            points,
            x=sheet.across("x"),
            y=up,
            href=HREF,
        )
    add_axis_texts(sheet, shape.labels)
    return sheet
