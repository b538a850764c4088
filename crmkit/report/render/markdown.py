"""Tables as GitHub-flavoured Markdown; texts of a CRM cannot format, link or break a row."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crmkit.report.render.cells import Cell, Column, Link, Table, safe_url, shown
from crmkit.report.render.texts import ENGLISH, Texts

# Bare addresses would become links of their own, so they lose their colon and their dot.
_ACTIVE = re.compile(r"://|www\.|[\\`*_{}\[\]|~$#!&<>@]", re.IGNORECASE)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "://": "&#58;//"}


def markdown_text(title: str, tables: Iterable[Table], texts: Texts = ENGLISH) -> str:
    """A document with a heading for each table that has rows."""
    parts = [f"# {escaped(title)}\n"]
    parts.extend(_table(table, texts) for table in tables if table.rows)
    return "\n".join(parts)


def escaped(text: str) -> str:
    """The text with everything that Markdown or HTML would act on escaped."""
    return _ACTIVE.sub(_inert, text)


def _inert(match: re.Match[str]) -> str:
    found = match.group()
    if found.lower() == "www.":
        return f"{found[:3]}&#46;"
    return _ENTITIES.get(found, f"\\{found}")


def _table(table: Table, texts: Texts) -> str:
    lines = [
        f"## {escaped(table.title)}\n",
        _line(escaped(column.title) for column in table.columns),
        _line("---:" if column.numeric else "---" for column in table.columns),
        *(_line(_cell(cell, texts) for cell in row) for row in table.rows),
    ]
    if table.total:
        lines.append(
            _line(
                _total(cell, column, texts) for cell, column in zip(table.total, table.columns, strict=True)
            )
        )
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell, texts: Texts) -> str:
    text = escaped(shown(cell, texts))
    url = safe_url(cell.url) if isinstance(cell, Link) else None
    if url is None:
        return text
    # Angle brackets and bars are the only letters that end such a target.
    target = url.replace("<", "%3C").replace(">", "%3E").replace("|", "%7C").replace("\\", "%5C")
    return f"[{text}](<{target}>)"


def _total(cell: Cell, column: Column, texts: Texts) -> str:
    return f"**{_cell(cell, texts)}**" if cell is not None or column.numeric else ""
