"""What a chart shows, as values: a section says this, `spec` turns it into Vega-Lite.

Texts may come from a CRM; they must be `visible` already. A target is a fragment of the
page (`#deals?...`) with the deals behind a mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Mark:
    """A piece from `start` to `end` on the chart's scale, and what is read aloud for it.

    `colour` is a name of `tokens`.
    """

    start: float
    end: float
    colour: str
    spoken: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `Bars`: a label, pieces, and the value beside them."""

    label: str
    marks: tuple[Mark, ...]
    value: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across the chart with a name: a quota, a target."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Rows of bars with one scale: stages, funnels, rates, and with `steps` a waterfall."""

    rows: tuple[Row, ...]
    legend: tuple[tuple[str, str], ...] = ()
    rules: tuple[Rule, ...] = ()
    steps: bool = False
    top: float | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns over time with one scale; `ticks` are its marks, each with its text."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    legend: tuple[tuple[str, str], ...] = ()
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class HeatCell:
    """A cell of `Heat`: how strong from 0 to 1, and the text in it."""

    row: int
    column: int
    strength: float
    text: str
    spoken: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Heat:
    """A grid of cells, darker where there is more."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[HeatCell, ...]
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line at a place of the axis; `value` of `None` leaves a gap."""

    place: int
    value: float | None
    spoken: str
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A line over time."""

    name: str
    colour: str
    points: tuple[Point, ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines over time with one scale; `labels` name the places of the axis."""

    labels: tuple[str, ...]
    series: tuple[Series, ...]
    ticks: tuple[tuple[float, str], ...]
    legend: tuple[tuple[str, str], ...] = ()


Shape: TypeAlias = Bars | Columns | Heat | Lines


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart under a stable id, with its title."""

    id: str
    title: str
    shape: Shape
    full: bool = False
