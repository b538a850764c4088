"""Tables as an Excel workbook: real numbers and dates, and texts of a CRM that stay texts.

Imported late: XlsxWriter is in the extra `report`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.cells import cell_len

from crmkit.errors import CrmkitError
from crmkit.report.money import minor_digits, rounded, rounded_to
from crmkit.report.render.cells import Cell, Column, Days, Link, Money, Share, Table, safe_url, shown
from crmkit.report.render.csv_files import neutral
from crmkit.report.render.texts import ENGLISH, Texts
from crmkit.report.render.visible import shortened, visible

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

LARGEST_SHEET = 1_048_576
"""Rows of a sheet (Excel specifications and limits)."""
_LONGEST_TEXT = 32_767
_LONGEST_URL = 2_079
_MOST_LINKS = 65_530
_LONGEST_NAME = 31
_WIDEST, _NARROWEST, _LOOKED_AT = 60, 8, 1_000
_UNNAMED = re.compile(r"[\[\]:*?/\\\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CURRENCY = re.compile(r"[A-Z]{3}")


def workbook_bytes(
    title: str,
    tables: Iterable[Table],
    *,
    parameters: Table | None = None,
    at: datetime,
    texts: Texts = ENGLISH,
) -> bytes:
    """A workbook with a sheet for each table that has rows; equal bytes for equal tables.

    Args:
        title: What it is, for its properties.
        tables: The first one goes on the first sheet, with `parameters` below it.
        parameters: How it was counted.
        at: What it says it was made at, instead of the time of writing.
        texts: The language.

    Raises:
        CrmkitError: XlsxWriter is not installed.
    """
    try:
        from xlsxwriter import Workbook  # noqa: PLC0415 - only this output needs it
    except ImportError as error:
        raise CrmkitError(
            "workbooks need the package XlsxWriter", hint="Install it with `pip install 'crmkit[report]'`."
        ) from error
    out = io.BytesIO()
    # Rows go to a scratch file as they are written; what a text looks like never decides what it is.
    book = Workbook(
        out,
        {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    made = at.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    # An empty author and company: no name of a person or machine is in the file.
    book.set_properties({"title": shortened(_text(title), 255), "author": "", "created": made})
    writer = _Writer(book, texts)
    first, *others = tables
    writer.sheet([first] if parameters is None else [first, parameters])
    for table in others:
        if table.rows:
            writer.sheet([table])
    book.close()
    return out.getvalue()


def sheet_name(title: str, taken: Iterable[str]) -> str:
    """A name that Excel takes for a sheet, and that no other sheet has."""
    base = _cut(visible(_UNNAMED.sub(" ", title)).strip(" '"), _LONGEST_NAME).rstrip(" '") or "Sheet"
    # Excel keeps this name for itself.
    base = "History." if base.casefold() == "history" else base
    used = {name.casefold() for name in taken}
    name, number = base, 1
    while name.casefold() in used:
        number += 1
        end = f" {number}"
        name = _cut(base, _LONGEST_NAME - len(end)) + end
    return name


def _cut(text: str, length: int) -> str:
    """The text, cut at so many letters of UTF-16, in which Excel counts."""
    kept = len(text)
    while len(shortened(text, kept).encode("utf-16-le")) > 2 * length:
        kept -= 1
    return shortened(text, kept)


class _Writer:
    def __init__(self, book: Workbook, texts: Texts) -> None:
        self._book = book
        self._texts = texts
        self._names: list[str] = []
        self._formats: dict[tuple[str, bool, bool], Format] = {}
        self._heading = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self._title = book.add_format({"bold": True, "font_size": 14})

    def sheet(self, tables: Sequence[Table]) -> None:
        """A sheet with one table from its first row, or with several below each other under titles."""
        name = sheet_name(tables[0].title, self._names)
        self._names.append(name)
        sheet = self._book.add_worksheet(name)
        alone = len(tables) == 1
        at, links = 0, 0
        for table in tables:
            if not alone:
                sheet.write_string(at, 0, _text(table.title), self._title)
                at += 1
            at, links = self._table(sheet, table, at, links)
            at += 1
        if alone:
            last = len(tables[0].rows[: LARGEST_SHEET - 3])
            sheet.freeze_panes(1, 0)
            sheet.autofilter(0, 0, last, len(tables[0].columns) - 1)
        for place in range(max(len(table.columns) for table in tables)):
            sheet.set_column(place, place, self._width(tables, place))
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)

    def _table(self, sheet: Worksheet, table: Table, at: int, links: int) -> tuple[int, int]:
        units = [_unit(table, place) for place in range(len(table.columns))]
        for place, column in enumerate(table.columns):
            sheet.write_string(at, place, self._headed(column, units[place]), self._heading)
        at += 1
        room = LARGEST_SHEET - 2 - at
        for row in table.rows[:room]:
            for place, cell in enumerate(row):
                links += self._cell(sheet, at, place, cell, units[place], links=links)
            at += 1
        if len(table.rows) > room:
            sheet.write_string(at, 0, self._texts["rows_cut"].format(count=len(table.rows) - room))
            at += 1
        for place, cell in enumerate(table.total or ()):
            self._cell(sheet, at, place, cell, units[place], links=links, bold=True)
        return at + (table.total is not None), links

    def _headed(self, column: Column, unit: str | None) -> str:
        return _text(f"{column.title}, {unit}" if unit else column.title)

    def _cell(
        self,
        sheet: Worksheet,
        at: int,
        place: int,
        cell: Cell,
        unit: str | None,
        *,
        links: int,
        bold: bool = False,
    ) -> int:
        """Write one cell; how many links that took."""
        match cell:
            case None:
                pass
            case Link():
                url = safe_url(cell.url)
                if url is not None and len(url.encode()) <= _LONGEST_URL and links < _MOST_LINKS:
                    link = self._format("link", bold=bold)
                    sheet.write_url(at, place, url, link, string=_text(cell.text))
                    return 1
                self._write_text(sheet, at, place, cell.text, bold=bold)
            case str():
                self._write_text(sheet, at, place, cell, bold=bold)
            case int():
                sheet.write_number(at, place, cell, self._format("#,##0", bold=bold))
            case date():
                # Excel counts days from 1900 on.
                if cell.year >= 1900:
                    sheet.write_datetime(at, place, cell, self._format("yyyy-mm-dd", bold=bold))
                else:
                    self._write_text(sheet, at, place, cell.isoformat(), bold=bold)
            case Money():
                self._write_money(sheet, at, place, cell, unit, bold=bold)
            case Share():
                self._write_number(sheet, at, place, cell.value, 6, "0.0%", bold=bold, low=cell.low_sample)
            case Days():
                self._write_number(sheet, at, place, cell.value, 2, "#,##0.0", bold=bold, low=cell.low_sample)
        return 0

    def _write_text(self, sheet: Worksheet, at: int, place: int, text: str, *, bold: bool) -> None:
        # The quote keeps it a text when a person edits the cell.
        quoted = "quoted" if neutral(text) != text else "text"
        sheet.write_string(at, place, _text(text), self._format(quoted, bold=bold))

    def _write_money(
        self, sheet: Worksheet, at: int, place: int, cell: Money, unit: str | None, *, bold: bool
    ) -> None:
        digits = minor_digits(cell.currency)
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        if cell.currency != unit and cell.currency and _CURRENCY.fullmatch(cell.currency):
            pattern += f"\\ [${cell.currency}]"
        amount = None if cell.amount is None else rounded(cell.amount, cell.currency)
        self._write_number(sheet, at, place, amount, digits, pattern, bold=bold, low=cell.low_sample)

    def _write_number(
        self,
        sheet: Worksheet,
        at: int,
        place: int,
        value: Decimal | None,
        digits: int,
        pattern: str,
        *,
        bold: bool,
        low: bool,
    ) -> None:
        if value is not None:
            number = rounded_to(value, digits)
            sheet.write_number(at, place, number, self._format(pattern, bold=bold, low=low))

    def _format(self, pattern: str, *, bold: bool = False, low: bool = False) -> Format:
        key = (pattern, bold, low)
        if key not in self._formats:
            look: dict[str, object] = {"bold": bold}
            if low:
                look["font_color"] = "#808080"
            if pattern == "link":
                look |= {"font_color": "#0B57D0", "underline": 1, "quote_prefix": True}
            elif pattern == "quoted":
                look["quote_prefix"] = True
            elif pattern != "text":
                look["num_format"] = pattern
            self._formats[key] = self._book.add_format(look)
        return self._formats[key]

    def _width(self, tables: Sequence[Table], place: int) -> int:
        """Letters of the widest cell among the first rows."""
        widest = _NARROWEST
        for table in tables:
            if place >= len(table.columns):
                continue
            cells = [row[place] for row in table.rows[:_LOOKED_AT]]
            if table.total is not None:
                cells.append(table.total[place])
            lengths = [cell_len(shown(cell, self._texts)) for cell in cells]
            title = cell_len(self._headed(table.columns[place], _unit(table, place)))
            widest = max(widest, min(title, 18), *lengths)
        return min(widest + 2, _WIDEST)


def _unit(table: Table, place: int) -> str | None:
    """The currency of a column that holds money in one currency and nothing else."""
    cells = [row[place] for row in table.rows]
    currencies = {cell.currency for cell in cells if isinstance(cell, Money)}
    if len(currencies) != 1 or any(cell is not None and not isinstance(cell, Money) for cell in cells):
        return None
    currency = currencies.pop()
    return currency if currency and _CURRENCY.fullmatch(currency) else None


def _text(text: str) -> str:
    """The text as a cell can hold it: on one line, nothing hidden, nothing that XML refuses."""
    return shortened(_SURROGATE.sub("\ufffd", visible(text)), _LONGEST_TEXT)
