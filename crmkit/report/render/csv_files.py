"""Tables as CSV (RFC 4180) that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from crmkit.report.render.cells import Cell, Link, Table, raw

# Leading characters at which a spreadsheet starts to calculate, in all their widths
# (CWE-1236; https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = frozenset("=+-@\t\r\n\0＝＋－＠﹦﹢﹣﹫−")
# Some importers trim these before they look for a formula.
_TRIMMED = " \u00a0\u200b\u2060\ufeff\u3000"


def csv_text(table: Table) -> str:
    """One table with a header of column keys; numbers are plain digits, `None` is empty.

    Every cell is quoted, so that a reader with another separator cannot split a text
    into cells of its own.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([column.key for column in table.columns])
    for row in table.rows:
        writer.writerow([_text(cell) for cell in row])
    return out.getvalue()


def csv_files(tables: Iterable[Table]) -> dict[str, str]:
    """File name -> CSV text, one file for each table."""
    return {f"{table.id}.csv": csv_text(table) for table in tables}


def neutral(text: str) -> str:
    """The text with an apostrophe in front if a spreadsheet would calculate it."""
    start = text.lstrip(_TRIMMED)[:1]
    return f"'{text}" if (start in _FORMULA and start) or (text[:1] in _FORMULA and text) else text


def _text(cell: Cell) -> str:
    return neutral(raw(cell)) if isinstance(cell, (str, Link)) else raw(cell)
