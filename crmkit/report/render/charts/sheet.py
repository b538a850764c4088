"""The sheet that a chart is drawn on as Vega-Lite: plain dictionaries, nothing loaded.

A mark's link is its number (`#m7`): `drawing` puts the real target and description in
afterwards, so that neither ever passes through markup that somebody else writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from crmkit.report.render.charts.shapes import Mark, Rule
from crmkit.report.render.charts.tokens import STAND_IN

FONT = "Liberation Sans, Helvetica, Arial, Noto Sans CJK JP, sans-serif"
NARROW = 480
"""Below this width labels stand above their bars."""
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

# A Vega-Lite specification is an open JSON document: this module is its edge.
Spec = dict[str, Any]

FILL: Spec = {"field": "colour", "type": "nominal", "scale": None}
HREF: Spec = {"field": "href"}
WORDS: Spec = {"field": "text", "type": "nominal"}


@dataclass(slots=True)
class Sheet:
    """Layers of one chart, and what its numbered marks stand for."""

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    left: float = 0
    right: float = 0
    layers: list[Spec] = field(default_factory=list)
    meanings: list[tuple[str, str | None]] = field(default_factory=list)

    def add(self, mark: Spec, values: Iterable[Spec], **encoding: Spec) -> None:
        """Add a layer of marks, if there are any."""
        rows = list(values)
        if rows:
            self.layers.append({"data": {"values": rows}, "mark": mark, "encoding": encoding})

    def link(self, spoken: str, target: str | None) -> str:
        """The number of a mark that says this and leads there, as a link."""
        self.meanings.append((spoken, target))
        return f"#m{len(self.meanings) - 1}"

    def across(self, name: str) -> Spec:
        """A field on the scale from left to right."""
        scale = {"domain": list(self.x), "range": [self.left, self.width - self.right], "nice": False}
        return {"field": name, "type": "quantitative", "axis": None, "scale": {**scale, "zero": False}}

    def down(self, name: str, *, upwards: bool = False) -> Spec:
        """A field on the scale from top to bottom, or from bottom to top."""
        ends = [self.height, 0] if upwards else [0, self.height]
        scale = {"domain": list(self.y), "range": ends, "nice": False, "zero": False}
        return {"field": name, "type": "quantitative", "axis": None, "scale": scale}

    def spec(self) -> Spec:
        """All layers as one specification."""
        return {
            "$schema": _SCHEMA,
            "width": self.width,
            "height": self.height,
            "padding": 2,
            "background": None,
            "layer": self.layers,
            "config": {"view": {"stroke": None}, "font": FONT},
        }


def text(colour: str = "ink", size: float = 13, **more: object) -> Spec:
    """A mark that writes words."""
    return {"type": "text", "color": STAND_IN[colour], "fontSize": size, "baseline": "middle", **more}


def at(pixels: float) -> Spec:
    """A fixed place, in pixels."""
    return {"value": pixels}


def extent(
    marks: Iterable[Mark], rules: Iterable[Rule] = (), top: float | None = None
) -> tuple[float, float]:
    """The scale that holds all marks and rules, and zero."""
    ends = [value for mark in marks for value in (mark.start, mark.end)] + [rule.at for rule in rules]
    return min([0.0, *ends]), max([top or 0.0, *ends]) or 1.0


def room_for(texts: Iterable[str], letter: float) -> float:
    """About how wide the longest text is; kana and Han are as wide as they are high."""
    wide = letter * 1.8
    return max((sum(wide if ord(one) > 0x2E80 else letter for one in text) for text in texts), default=0.0)


def beside_ticks(ticks: Iterable[tuple[float, str]]) -> float:
    """Room for the words of the scale."""
    return min(room_for((text for _, text in ticks), 6.6), 96) + 14


def add_rules(sheet: Sheet, rules: Sequence[Rule], *, upright: bool) -> None:
    """Dashed lines at quotas and targets, with their names."""
    values = [{"at": rule.at, "text": rule.label} for rule in rules]
    line = {"type": "rule", "color": STAND_IN["ink"], "strokeWidth": 1.5, "strokeDash": [5, 3]}
    if upright:
        sheet.add(line, values, x=sheet.across("at"))
        sheet.add(text("soft", 12, dy=0), values, x=sheet.across("at"), y=at(8), text=WORDS)
    else:
        sheet.add(line, values, y=sheet.down("at", upwards=True), x=at(sheet.left), x2=at(sheet.width))
        sheet.add(
            text("soft", 12, align="left", dy=-9),
            values,
            x=at(sheet.left + 4),
            y=sheet.down("at", upwards=True),
            text=WORDS,
        )


def add_grid(sheet: Sheet, ticks: Iterable[tuple[float, str]]) -> None:
    """Thin lines at the marks of the scale, with their words on the left."""
    values = [{"at": at, "text": text} for at, text in ticks]
    up = sheet.down("at", upwards=True)
    line = {"type": "rule", "color": STAND_IN["line"], "strokeWidth": 1}
    sheet.add(line, values, y=up, x=at(sheet.left), x2=at(sheet.width - sheet.right))
    sheet.add(
        text("soft", 11, align="right", limit=sheet.left - 8),
        values,
        x=at(sheet.left - 8),
        y=up,
        text=WORDS,
    )


def add_axis_texts(sheet: Sheet, labels: Sequence[str], *, top: bool = False) -> None:
    """Labels of places across, as many as fit, beneath the chart or above it."""
    room = (sheet.width - sheet.left - sheet.right) / max(len(labels), 1)
    every = max(1, math.ceil(room_for(labels, 6.2) / room))
    last = len(labels) - 1
    # The last place always has its label, and none stands too close to it.
    places = [place for place in range(0, last, every) if last - place >= every] + [last]
    shown = [{"x": place, "text": labels[place]} for place in places if place >= 0]
    sheet.add(
        text("soft", 11, limit=max(room * every - 2, 20)),
        shown,
        x=sheet.across("x"),
        y=at(-12 if top else sheet.height + 14),
        text=WORDS,
    )
