"""Links from a figure to the deals behind it: `#deals?status=open&stage=proposal`.

A page's script reads them. Conditions on one column by `=` are alternatives, all others
must hold together; an empty value means none. Columns are those of `page.embedded`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Literal, TypeAlias
from urllib.parse import quote

from crmkit.report.money import plain
from crmkit.report.render.visible import visible

Value: TypeAlias = str | int | Decimal | date | None
Test: TypeAlias = tuple[str, Literal["=", "!=", ">=", "<=", "<", ">"], Value]

_OPERATOR = {"=": "=", "!=": "!=", ">=": "%3E=", "<=": "%3C=", "<": "%3C", ">": "%3E"}
_SAFE = "-_.~:"


def deals(*tests: Test, **equal: Value) -> str:
    """The fragment for deals that pass all tests."""
    every: list[Test] = [(name, "=", value) for name, value in equal.items()]
    parts = [f"{name}{_OPERATOR[sign]}{_word(value)}" for name, sign, value in (*every, *tests)]
    return "#deals?" + "&".join(parts)


def open_deals(*tests: Test, **equal: Value) -> str:
    """The fragment for open deals that pass all tests."""
    return deals(*tests, status="open", **equal)


def any_of(column: str, values: Iterable[Value]) -> tuple[Test, ...]:
    """Tests for one of several values."""
    return tuple((column, "=", value) for value in values)


def days(column: str, start: date, end: date) -> tuple[Test, Test]:
    """Tests for a day in `[start, end)`."""
    return (column, ">=", start), (column, "<", end)


def _word(value: Value) -> str:
    match value:
        case None:
            return ""
        case str():
            return quote(visible(value), safe=_SAFE)
        case Decimal():
            return plain(value)
        case date():
            return value.isoformat()
        case int():
            return str(value)
