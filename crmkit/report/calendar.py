"""Months and fiscal quarters as half-open runs of days."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

_NAMED = re.compile(r"(FY)?(?P<year>\d{4})(-Q(?P<quarter>[1-4])|-(?P<month>\d{2}))?")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The days `[start, end)` under a name: `2026-11` or `FY2026-Q4`."""

    start: date
    end: date
    key: str


@lru_cache(maxsize=4096)
def month_of(day: date) -> Span:
    """The calendar month of the day."""
    return Span(day.replace(day=1), _months_on(day, 1), f"{day.year:04d}-{day.month:02d}")


@lru_cache(maxsize=4096)
def quarter_of(day: date, fiscal_start_month: int) -> Span:
    """The fiscal quarter of the day; a fiscal year is named after the year in which it ends."""
    since_start = (day.month - fiscal_start_month) % 12
    start = _months_on(day, -(since_start % 3))
    ends_next_year = fiscal_start_month > 1 and day.month >= fiscal_start_month
    year = day.year + 1 if ends_next_year else day.year
    return Span(start, _months_on(start, 3), f"FY{year:04d}-Q{since_start // 3 + 1}")


def next_spans(first: Span, count: int, fiscal_start_month: int | None = None) -> list[Span]:
    """`count` spans in a row: months, or quarters if a fiscal start is given."""
    spans = [first]
    while len(spans) < count:
        day = spans[-1].end
        spans.append(month_of(day) if fiscal_start_month is None else quarter_of(day, fiscal_start_month))
    return spans


def span_of(text: str, fiscal_start_month: int) -> Span:
    """The month `2026-11`, fiscal quarter `2026-Q4` or fiscal year `2026` that a text names.

    Raises:
        ValueError: It names none of them.
    """
    found = _NAMED.fullmatch(text.strip().upper())
    if found is None or not 1 <= int(found["year"]) <= 9998:
        raise ValueError(f"{text!r} is no period: write 2026-11, 2026-Q4 or 2026")
    year = int(found["year"])
    if found["month"]:
        if not 1 <= int(found["month"]) <= 12:
            raise ValueError(f"{text!r} has no such month")
        return month_of(date(year, int(found["month"]), 1))
    # A fiscal year that does not begin in January ends in the year that names it.
    first = date(year - (fiscal_start_month > 1), fiscal_start_month, 1)
    if found["quarter"]:
        return quarter_of(_months_on(first, 3 * (int(found["quarter"]) - 1)), fiscal_start_month)
    return Span(first, _months_on(first, 12), f"FY{year:04d}")


def _months_on(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    # The month after December 9999 has no date: its end is the last day there is.
    return date(year, month + 1, 1) if year <= 9999 else date.max
