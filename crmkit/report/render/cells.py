"""Tables as values: what a cell is, and how it reads; every renderer draws from these."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeAlias
from urllib.parse import urlsplit

from crmkit.report.money import minor_digits, plain, rounded, rounded_to
from crmkit.report.ratios import Average, Ratio
from crmkit.report.render.texts import Texts
from crmkit.report.render.visible import visible


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in its currency; `None` reads as not available."""

    amount: Decimal | None
    currency: str | None
    low_sample: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """A fraction, shown in percent."""

    value: Decimal | None
    low_sample: bool = False


@dataclass(frozen=True, slots=True)
class Days:
    """A number of days, shown with one digit after the point."""

    value: Decimal | None
    low_sample: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A text from a CRM with the address of its record."""

    text: str
    url: str | None


Cell: TypeAlias = str | int | date | Money | Share | Days | Link | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key in files, its title for people."""

    key: str
    title: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table under a stable id; `total` is a last row that adds the others up.

    `behind` names for each row the deals that it counts, as a fragment of the page
    (`fragments`), or `None`; empty if no row has any.
    """

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: tuple[Cell, ...] | None = None
    behind: tuple[str | None, ...] = ()


def share_cell(ratio: Ratio) -> Share:
    """The ratio as a cell."""
    return Share(ratio.value, ratio.low_sample)


def days_cell(average: Average) -> Days:
    """The average number of days as a cell."""
    return Days(average.value, average.low_sample)


def money_cell(average: Average, currency: str) -> Money:
    """The average amount as a cell."""
    return Money(average.value, currency, average.low_sample)


def shown(cell: Cell, texts: Texts) -> str:
    """The cell for a reader: one line, nothing hidden, not yet escaped for any format."""
    match cell:
        case None:
            return "–"
        case str():
            return visible(cell)
        case Link():
            return visible(cell.text)
        case int():
            return grouped(str(cell), texts)
        case date():
            return cell.isoformat()
        case Money():
            return money(cell.amount, cell.currency, texts)
        case Share():
            return percent(cell.value, texts)
        case Days():
            return texts["none"] if cell.value is None else fixed(cell.value, 1, texts)


def raw(cell: Cell) -> str:
    """The cell for a machine: plain digits, fractions instead of percent, no units."""
    match cell:
        case None:
            return ""
        case str():
            return cell
        case Link():
            return cell.text
        case int():
            return str(cell)
        case date():
            return cell.isoformat()
        case Money():
            return "" if cell.amount is None else plain(cell.amount)
        case Share() | Days():
            return "" if cell.value is None else plain(rounded_to(cell.value, 6))


def money(amount: Decimal | None, currency: str | None, texts: Texts) -> str:
    """The amount, half-up to the minor unit, with grouped digits and without the currency."""
    if amount is None:
        return texts["none"]
    return grouped(f"{rounded(amount, currency):.{minor_digits(currency)}f}", texts)


def compact(amount: Decimal | None, texts: Texts) -> str:
    """The amount in three digits or so: `12.4M`; for headlines and axes."""
    if amount is None:
        return texts["none"]
    for exponent, letter in ((12, "T"), (9, "B"), (6, "M"), (3, "k")):
        # From 999.5 up the three digits would read 1000 of the smaller unit.
        if abs(amount) >= Decimal("0.9995").scaleb(exponent):
            scaled = amount.scaleb(-exponent)
            size = abs(scaled)
            digits = 2 if size < Decimal("9.995") else 1 if size < Decimal("99.95") else 0
            return fixed(scaled, digits, texts) + letter
    return fixed(amount, 0, texts)


def percent(fraction: Decimal | None, texts: Texts) -> str:
    """The fraction in percent with one digit after the point."""
    return texts["none"] if fraction is None else fixed(fraction.scaleb(2), 1, texts) + "%"


def fixed(value: Decimal, digits: int, texts: Texts) -> str:
    """The number with so many digits after the point, half-up, grouped."""
    return grouped(f"{rounded_to(value, digits):.{digits}f}", texts)


def grouped(digits: str, texts: Texts) -> str:
    """Plain digits with the language's separators and a true minus sign."""
    sign, digits = ("−", digits[1:]) if digits.startswith("-") else ("", digits)
    whole, _, part = digits.partition(".")
    if not (whole + part).strip("0"):
        sign = ""
    whole = f"{int(whole):,}".replace(",", texts["thousands"])
    return sign + whole + (texts["decimal"] + part if part else "")


def safe_url(url: str | None) -> str | None:
    """The address if it is plain http or https to a host, else `None`."""
    if not url or url != url.strip() or any(ord(letter) <= 0x20 for letter in url) or visible(url) != url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.hostname else None
