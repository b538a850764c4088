"""What a section of the page is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crmkit.report.ratios import Ratio
from crmkit.report.render.cells import Table
from crmkit.report.render.charts.shapes import Picture
from crmkit.report.render.formats import Formats
from crmkit.report.render.texts import Texts
from crmkit.report.render.visible import visible
from crmkit.report.whole import PipelineReport


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of the page.

    `group` is a chapter of the page, `definition` the key of its texts (`def_...`,
    `formula_...`). Tables stand open, or folded beneath the chart that they spell out.
    """

    id: str
    title: str
    group: str
    definition: str | None = None
    lead: str = ""
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    note: str = ""
    wide: bool = False
    hidden_columns: tuple[str, ...] = ()
    deals: bool = False


@dataclass(frozen=True, slots=True)
class Headline:
    """One figure at the top: what it is, how much, what is behind it, how it moved."""

    id: str
    label: str
    value: str
    note: str
    definition: str
    target: str | None = None
    count: int | None = None
    tone: str = ""
    low_sample: bool = False
    change: str = ""
    trend: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What every section draws from: the figures, their tables and the language.

    `linked` says whether the page carries deals that figures can lead to.
    """

    report: PipelineReport
    formats: Formats
    tables: dict[str, Table]
    linked: bool

    @property
    def texts(self) -> Texts:
        """The texts of the language."""
        return self.formats.texts

    def target(self, fragment: str | None) -> str | None:
        """The fragment, if the page has the deals that it names."""
        return fragment if self.linked else None

    def table(self, name: str) -> Table:
        """A table, whose rows lead to their deals if the page has them."""
        found = self.tables[name]
        return found if self.linked else replace(found, behind=())

    def ratio(self, ratio: Ratio) -> str:
        """`3 of 5`, deals."""
        parts = (self.formats.count(part) for part in (ratio.numerator, ratio.denominator))
        return f" {self.texts['of']} ".join(parts)

    @property
    def window(self) -> str:
        """The trailing window in words."""
        span = self.report.trailing
        return self.texts["last_days"].format(count=self.formats.count((span.end - span.start).days))


def name(text: str | None, instead: str) -> str:
    """A name from a CRM, fit to stand in a chart; `instead` where there is none."""
    return visible(text) if text else instead


def row_count(table: Table, place: int) -> int | None:
    """The number of deals that a row counts, if it says so."""
    for column, cell in zip(table.columns, table.rows[place], strict=True):
        if column.key == "deals" and isinstance(cell, int):
            return cell
    return None
