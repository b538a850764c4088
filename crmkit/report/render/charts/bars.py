"""Bars as Vega-Lite: stages, funnels, rates, and waterfalls."""

from __future__ import annotations

from crmkit.report.render.charts.shapes import Bars
from crmkit.report.render.charts.sheet import (
    FILL,
    HREF,
    NARROW,
    WORDS,
    Sheet,
    add_rules,
    at,
    extent,
    room_for,
    text,
)
from crmkit.report.render.charts.tokens import STAND_IN


def bars(shape: Bars, width: int) -> Sheet:
    """Rows of bars: labels beside them, or above them where it is narrow."""
    narrow = width < NARROW
    step = 46 if narrow else 34
    head = 22 if shape.rules else 0
    count = len(shape.rows)
    low, high = extent((mark for row in shape.rows for mark in row.marks), shape.rules, shape.top)
    left = 0 if narrow else min(width * 0.32, room_for((row.label for row in shape.rows), 7.4) + 14)
    right = 0 if narrow else sum(_beside(shape)) + 12
    sheet = Sheet(width, count * step + head, (low, high), (-head / step, count), left, right)
    thick = (0.44, 0.80) if narrow else (0.2, 0.8)
    if not shape.steps:
        sheet.add(
            {"type": "rect", "color": STAND_IN["track"], "cornerRadius": 3},
            ({"y": place + thick[0], "y2": place + thick[1]} for place in range(count)),
            y=sheet.down("y"),
            y2={"field": "y2"},
            x=at(left),
            x2=at(width - right),
        )
    sheet.add(
        {"type": "rect", "cornerRadius": 2, "stroke": STAND_IN["card"], "strokeWidth": 1},
        (
            {
                "x": mark.start,
                "x2": mark.end,
                "y": place + thick[0],
                "y2": place + thick[1],
                "colour": STAND_IN[mark.colour],
                "href": sheet.link(mark.spoken, mark.target),
            }
            for place, row in enumerate(shape.rows)
            for mark in row.marks
        ),
        x=sheet.across("x"),
        x2={"field": "x2"},
        y=sheet.down("y"),
        y2={"field": "y2"},
        color=FILL,
        href=HREF,
    )
    if shape.steps:
        _steps(sheet, shape, thick)
    _bar_texts(sheet, shape, narrow=narrow)
    add_rules(sheet, shape.rules, upright=True)
    return sheet


def _steps(sheet: Sheet, shape: Bars, thick: tuple[float, float]) -> None:
    """Thin lines from the end of one bar to the start of the next."""
    sheet.add(
        {"type": "rule", "color": STAND_IN["mute"], "strokeWidth": 1},
        (
            {"x": row.marks[-1].end, "y": place + thick[1], "y2": place + 1 + thick[0]}
            for place, row in enumerate(shape.rows[:-1])
            if row.marks
        ),
        x=sheet.across("x"),
        y=sheet.down("y"),
        y2={"field": "y2"},
    )


def _bar_texts(sheet: Sheet, shape: Bars, *, narrow: bool) -> None:
    width, left = sheet.width, sheet.left
    middle = 0.2 if narrow else 0.5
    rows = list(enumerate(shape.rows))
    labels = [{"y": place + middle, "text": row.label} for place, row in rows]
    values = [{"y": place + middle, "text": row.value} for place, row in rows if row.value]
    notes = [{"y": place + middle, "text": row.note} for place, row in rows if row.note]
    down = sheet.down("y")
    value_room, note_room = _beside(shape)
    room = width - value_room - note_room - 10 if narrow else left - 24
    sheet.add(text(align="left", limit=room), labels, x=at(0), y=down, text=WORDS)
    bold = text(align="right", fontWeight=600, limit=value_room)
    sheet.add(bold, values, x=at(width - note_room), y=down, text=WORDS)
    soft = text("soft", 12, align="right", limit=note_room - 8)
    sheet.add(soft, notes, x=at(width), y=down, text=WORDS)


def _beside(shape: Bars) -> tuple[float, float]:
    """Room for the values and for the notes beside the bars."""
    values, notes = (row.value for row in shape.rows), (row.note for row in shape.rows)
    note_room = min(room_for(notes, 7.2), 130)
    return min(room_for(values, 8.6), 110), note_room + 10 if note_room else 0
