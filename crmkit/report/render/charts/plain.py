"""Bars as numbers from 0 to 100: a template draws them as SVG with colours of the page.

Labels and values stay text of the page, so that they keep their size on a telephone
and are read aloud; only the bars are SVG.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from crmkit.report.money import ZERO
from crmkit.report.ratios import divide

_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar: where it starts and how long it is, of 100, and what it says."""

    start: str
    length: str
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its label, its value and what is read aloud."""

    label: str
    value: str
    note: str
    spoken: str
    segments: tuple[Segment, ...]
    low_sample: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars with one scale; `legend` pairs a colour with a name; `ticks` are the scale's marks."""

    bars: tuple[Bar, ...]
    legend: tuple[tuple[str, str], ...] = ()
    ticks: tuple[str, ...] = ()


def share_bar(value: Decimal | None, title: str) -> tuple[Segment, ...]:
    """A bar for one fraction."""
    return _segments([(value or ZERO, "s0", title)], Decimal(1))


def _segments(pieces: Iterable[tuple[Decimal, str, str]], top: Decimal) -> tuple[Segment, ...]:
    found: list[Segment] = []
    start = ZERO
    for amount, colour, title in pieces:
        length = (divide(amount, top) or ZERO) * _HUNDRED if amount > 0 and top > 0 else ZERO
        if length > 0:
            found.append(Segment(_digits(start), _digits(length), colour, title))
            start += length
    return tuple(found)


def _digits(value: Decimal) -> str:
    return str(value.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP))
