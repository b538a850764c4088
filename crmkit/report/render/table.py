"""Tables for a terminal, as rich renderables; texts of a CRM cannot move the cursor or colour anything."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from crmkit.report.render.cells import Cell, Days, Money, Share, Table, shown
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.render.visible import shortened

LONGEST_TEXT = 60
_NARROWEST = 8


def terminal_tables(tables: Iterable[Table], texts: Texts = ENGLISH, *, limit: int = 50) -> Group:
    """The tables that have rows, one below the other; long ones end with the number of rows left out.

    Args:
        tables: What to show.
        texts: The language.
        limit: Rows shown of one table; 0 shows all.
    """
    parts: list[RenderableType] = []
    for table in tables:
        if table.rows:
            parts.extend((terminal_table(table, texts, limit=limit), Text()))
    return Group(*parts)


def terminal_table(table: Table, texts: Texts = ENGLISH, *, limit: int = 50) -> RichTable:
    """One table; readable without colour."""
    rows = table.rows[:limit] if limit else table.rows
    left_out = len(table.rows) - len(rows)
    drawn = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        caption=Text(texts["rows_left_out"].format(count=left_out)) if left_out else None,
        caption_justify="left",
        show_footer=table.total is not None,
        pad_edge=False,
    )
    total = table.total or (None,) * len(table.columns)
    for column, foot in zip(table.columns, total, strict=True):
        drawn.add_column(
            Text(column.title),
            footer=_cell(foot, texts) if foot is not None else Text(),
            justify="right" if column.numeric else "left",
            overflow="fold",
            min_width=None if column.numeric else _NARROWEST,
        )
    for row in rows:
        cells = [_cell(cell, texts) for cell in row]
        for column, cell in zip(table.columns, cells, strict=True):
            if column.numeric:
                # Headings may fold; a number that does not fit must not look like a smaller one.
                cell.no_wrap, cell.overflow = True, "ellipsis"
        drawn.add_row(*cells)
    return drawn


def _cell(cell: Cell, texts: Texts) -> Text:
    low = isinstance(cell, (Money, Share, Days)) and cell.low_sample
    return Text(shortened(shown(cell, texts), LONGEST_TEXT), style="dim" if low or cell is None else "")
