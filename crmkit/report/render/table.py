"""Tables for a terminal, as rich renderables; texts of a CRM cannot move the cursor or colour anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from crmkit.report.render.bars import bar, both_ways, largest_of
from crmkit.report.render.cells import Cell, Days, Money, Share, Table, shown
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.render.visible import shortened

LONGEST_TEXT = 60
_NARROWEST = 8
_ENOUGH = 14
"""Letters of a text from which on it may be folded."""
_GAP = 2
_SHORTEST_BAR, _LONGEST_BAR = 6, 24

BARS = {
    "by_stage": "amount",
    "by_connection": "amount",
    "by_close_month": "amount",
    "by_close_quarter": "amount",
    "ageing": "amount",
    "results_by_month": "won_amount",
    "lost_reasons": "deals",
    "funnel": "reached",
    "forecast": "amount",
    "hygiene": "deals",
}
"""Table -> the column that a bar beside each row shows."""

BARS_BOTH_WAYS = {"waterfall": "amount", "waterfall_period": "amount"}
"""The same for columns of changes; the first and the last row are levels and have no bar."""

_PLAIN_BOX = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
# Marks of our own that a terminal without Unicode cannot show.
_ASCII = str.maketrans({"–": "-", "−": "-", "…": "~", "·": "-", "×": "x", "→": ">", "≠": "!="})


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


def terminal_table(table: Table, texts: Texts = ENGLISH, *, limit: int = 50) -> TerminalTable:
    """One table; readable without colour, with bars where there is room for them."""
    return TerminalTable(table, texts, limit)


@dataclass(frozen=True, slots=True)
class TerminalTable:
    """A table that fits itself to the terminal it is printed on."""

    table: Table
    texts: Texts
    limit: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it for this terminal."""
        lines = self.table.rows[: self.limit] if self.limit else self.table.rows
        drawing = _Drawing(self.table, lines, self.texts, plain=options.ascii_only)
        yield drawing.fitted(options.max_width).rich()


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A table with the rows that are shown of it, for one kind of terminal.

    `bar_width` is zero without bars; without `widths` the numbers do not all fit.
    """

    table: Table
    rows: tuple[tuple[Cell, ...], ...]
    texts: Texts
    plain: bool
    bar_width: int = 0
    widths: tuple[int, ...] = ()
    columns_left_out: int = 0

    def fitted(self, width: int) -> _Drawing:
        """The drawing that says most within so many letters; numbers are never cut if that can be helped."""
        tidy = self._without(lambda at: not any(row[at] for row in self.table.rows))
        slim = self._without(lambda at: True)
        for shown_columns in (tidy, slim):
            spare = width - shown_columns._needed()
            bars = spare - _GAP if spare >= _GAP + _SHORTEST_BAR else 0
            barred = shown_columns._barred()
            if spare >= 0 and (bars or not barred or shown_columns is slim):
                left_out = len(tidy.table.columns) - len(shown_columns.table.columns)
                bar_width = min(bars, _LONGEST_BAR) if barred else 0
                return replace(
                    shown_columns,
                    bar_width=bar_width,
                    widths=shown_columns._widths(spare - (bar_width + _GAP if bar_width else 0)),
                    columns_left_out=left_out,
                )
        return tidy

    def rich(self) -> RichTable:
        """What rich prints."""
        table = self.table
        drawn = RichTable(
            title=Text(self._letters(table.title), style="bold"),
            title_justify="left",
            box=_PLAIN_BOX if self.plain else box.SIMPLE_HEAD,
            caption=self._caption(),
            caption_justify="left",
            show_footer=table.total is not None,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        total = table.total or (None,) * len(table.columns)
        for at, (column, foot) in enumerate(zip(table.columns, total, strict=True)):
            drawn.add_column(
                Text(self._letters(column.title)),
                footer=self._cell(foot) if foot is not None else Text(),
                justify="right" if column.numeric else "left",
                overflow="fold",
                width=self.widths[at] if self.widths else None,
                min_width=None if self.widths or column.numeric else _NARROWEST,
            )
        bars = self._bars() if self.bar_width else None
        if bars is not None:
            drawn.add_column("", width=self.bar_width, no_wrap=True)
        for number, row in enumerate(self.rows):
            cells = [self._cell(cell) for cell in row]
            for column, cell in zip(table.columns, cells, strict=True):
                if column.numeric:
                    # Headings may fold; a number that does not fit must not look like a smaller one.
                    cell.no_wrap, cell.overflow = True, "ellipsis"
            if bars is not None:
                cells.append(Text(bars[number], style="cyan"))
            drawn.add_row(*cells)
        return drawn

    def _caption(self) -> Text | None:
        rows = len(self.table.rows) - len(self.rows)
        lines = [self.texts["rows_left_out"].format(count=rows)] if rows else []
        if self.columns_left_out:
            lines.append(self.texts["columns_left_out"].format(count=self.columns_left_out))
        return Text("\n".join(lines)) if lines else None

    def _without(self, unwanted: Callable[[int], bool]) -> _Drawing:
        """Without those of the columns of what is missing that are not wanted."""
        kept = [
            at
            for at, column in enumerate(self.table.columns)
            if not (column.key.startswith("no_") and unwanted(at))
        ]
        table = replace(
            self.table,
            columns=tuple(self.table.columns[at] for at in kept),
            rows=tuple(tuple(row[at] for at in kept) for row in self.table.rows),
            total=self.table.total and tuple(self.table.total[at] for at in kept),
        )
        return replace(self, table=table, rows=table.rows[: len(self.rows)])

    def _needed(self) -> int:
        """Letters that the columns need side by side."""
        count = len(self.table.columns)
        return sum(self._width(at) for at in range(count)) + _GAP * (count - 1)

    def _widths(self, spare: int) -> tuple[int, ...]:
        """What each column gets when so many letters are left: those that lack most get most."""
        widths = [self._width(at) for at in range(len(self.table.columns))]
        lacking = [self._widest(at) - width for at, width in enumerate(widths)]
        while spare > 0 and max(lacking, default=0) > 0:
            at = lacking.index(max(lacking))
            widths[at] += 1
            lacking[at] -= 1
            spare -= 1
        return tuple(widths)

    def _width(self, at: int) -> int:
        """Letters that a column needs: a number whole, of a text so much that it can be told from others."""
        column = self.table.columns[at]
        words = max(map(cell_len, self._letters(column.title).split()), default=0)
        whole = column.numeric or all(isinstance(row[at], date | None) for row in self.rows)
        cells = self._widest_cell(at)
        return max(cells if whole else min(cells, _ENOUGH), min(words, _ENOUGH), 1)

    def _widest(self, at: int) -> int:
        """Letters at which nothing in a column is folded."""
        return max(self._widest_cell(at), cell_len(self.table.columns[at].title))

    def _widest_cell(self, at: int) -> int:
        cells = [row[at] for row in self.rows]
        if self.table.total is not None:
            cells.append(self.table.total[at])
        lengths = (cell_len(shown(cell, self.texts)) for cell in cells if cell is not None)
        return min(max(lengths, default=1), LONGEST_TEXT)

    def _barred(self) -> bool:
        return _bar_column(self.table) is not None

    def _bars(self) -> list[str] | None:
        """The bar of each row; `None` if the table has none."""
        place = _bar_column(self.table)
        if place is None:
            return None
        values = [_number(row[place]) for row in self.rows]
        changes = self.table.id in BARS_BOTH_WAYS
        if changes:
            last = len(self.table.rows) - 1
            values = [None if at in {0, last} else value for at, value in enumerate(values)]
        largest = largest_of(values)
        draw = both_ways if changes else bar
        width, plain = self.bar_width, self.plain
        return ["" if value is None else draw(value, largest, width, plain=plain) for value in values]

    def _cell(self, cell: Cell) -> Text:
        low = isinstance(cell, (Money, Share, Days)) and cell.low_sample
        text = shortened(shown(cell, self.texts), LONGEST_TEXT)
        return Text(self._letters(text), style="dim" if low or cell is None else "")

    def _letters(self, text: str) -> str:
        return text.translate(_ASCII) if self.plain else text


def _bar_column(table: Table) -> int | None:
    key = BARS_BOTH_WAYS.get(table.id) or BARS.get(table.id)
    return next((at for at, column in enumerate(table.columns) if column.key == key), None)


def _number(cell: Cell) -> Decimal | None:
    match cell:
        case Money():
            return cell.amount
        case Share() | Days():
            return cell.value
        case int():
            return Decimal(cell)
        case _:
            return None
