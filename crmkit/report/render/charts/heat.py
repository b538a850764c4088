"""Grids of cells as Vega-Lite."""

from __future__ import annotations

from crmkit.report.render.charts.shapes import Heat
from crmkit.report.render.charts.sheet import (
    FILL,
    HREF,
    NARROW,
    WORDS,
    Sheet,
    add_axis_texts,
    at,
    text,
)
from crmkit.report.render.charts.tokens import STAND_IN, STRENGTHS


def heat(shape: Heat, width: int) -> Sheet:
    """A grid of cells."""
    narrow = width < NARROW
    step = 36
    rows, columns = len(shape.rows), max(len(shape.columns), 1)
    left = 96.0 if narrow else min(190.0, width * 0.27)
    sheet = Sheet(width, rows * step, (-0.5, columns - 0.5), (0, max(rows, 1)), left)

    def level(strength: float) -> str:
        return f"a{min(int(strength * STRENGTHS), STRENGTHS - 1)}"

    cells = [
        {
            "x": cell.column - 0.48,
            "x2": cell.column + 0.48,
            "middle": cell.column,
            "y": cell.row + 0.05,
            "y2": cell.row + 0.95,
            "down": cell.row + 0.5,
            "colour": STAND_IN[level(cell.strength) if cell.strength > 0 else "track"],
            "ink": STAND_IN[f"{level(cell.strength)}ink" if cell.strength > 0 else "soft"],
            "text": cell.text,
            "href": sheet.link(cell.spoken, cell.target),
        }
        for cell in shape.cells
    ]
    sheet.add(
        {"type": "rect", "cornerRadius": 4},
        cells,
        x=sheet.across("x"),
        x2={"field": "x2"},
        y=sheet.down("y"),
        y2={"field": "y2"},
        color=FILL,
        href=HREF,
    )
    room = (width - left) / columns
    sheet.add(
        {
            key: value
            for key, value in text("ink", 11 if narrow else 12, limit=room - 4).items()
            if key != "color"
        },
        cells,
        x=sheet.across("middle"),
        y=sheet.down("down"),
        text=WORDS,
        color={**FILL, "field": "ink"},
    )
    labels = [{"y": place + 0.5, "text": label} for place, label in enumerate(shape.rows)]
    sheet.add(
        text(size=12 if narrow else 13, align="left", limit=left - 10),
        labels,
        x=at(0),
        y=sheet.down("y"),
        text=WORDS,
    )
    add_axis_texts(sheet, shape.columns, top=True)
    return sheet
