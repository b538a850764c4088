"""Exact sums of money, and rounding for display only."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Annotated

from pydantic import PlainSerializer

ZERO = Decimal(0)

LARGEST_EXPONENT = 24
"""Amounts at or above 10**24, or with digits below 10**-24, are refused as misread."""

# Wide enough for any sum of products of sane amounts and rates; an inexact result raises.
EXACT = Context(prec=250, traps=[Inexact, InvalidOperation, Overflow])
_WIDE = Context(prec=250, rounding=ROUND_HALF_UP)

# ISO 4217, table A.1: the currencies whose minor unit is not the hundredth.
_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX"), 0),
    **dict.fromkeys(("UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


# The methods themselves, because they run several times for every deal.
add = EXACT.add
"""The exact sum, whatever the caller's decimal context is."""
subtract = EXACT.subtract
"""The exact difference."""
multiply = EXACT.multiply
"""The exact product."""


def total_of(values: Iterable[Decimal]) -> Decimal:
    """The exact sum of all values."""
    result = ZERO
    for value in values:
        result = add(result, value)
    return result


def is_sane(value: Decimal) -> bool:
    """Whether the number is finite and of a size at which sums stay exact."""
    if not value.is_finite():
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -LARGEST_EXPONENT and value.adjusted() < LARGEST_EXPONENT


def minor_digits(currency: str | None) -> int:
    """Digits after the point in the currency's minor unit; 2 where unknown."""
    return _MINOR_DIGITS.get((currency or "").upper(), 2)


def rounded(value: Decimal, currency: str | None) -> Decimal:
    """The amount, half-up to the currency's minor unit: for display and for comparing."""
    return rounded_to(value, minor_digits(currency))


def rounded_to(value: Decimal, digits: int) -> Decimal:
    """The number, half-up to so many digits after the point."""
    return value.quantize(Decimal(1).scaleb(-digits), context=_WIDE)


def plain(value: Decimal) -> str:
    """The number in digits, without an exponent, trailing zeros or a negative zero."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


Number = Annotated[Decimal, PlainSerializer(plain, return_type=str, when_used="json")]
"""A decimal that JSON shows as a string of plain digits, never as a float."""
