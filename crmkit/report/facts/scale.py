"""Whole numbers for money, rates, shares, instants and days, and the way back.

An amount has four digits after the point, a rate twelve and a probability six, so that an
amount in the report currency (amount times rate) and its weighted amount (times
probability) are exact whole numbers of at most 38 digits, which every engine adds up
without rounding.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal

AMOUNT_DIGITS = 4
RATE_DIGITS = 12
SHARE_DIGITS = 6
MONEY_DIGITS = AMOUNT_DIGITS + RATE_DIGITS
WEIGHTED_DIGITS = MONEY_DIGITS + SHARE_DIGITS

LARGEST_AMOUNT = Decimal(10) ** 13
"""Amounts from here on are refused as misread."""
LARGEST_RATE = Decimal(10) ** 6
"""Rates from here on do not fit."""

WHOLE = "decimal(38, 0)"
"""The type of money in expressions."""
DAY_SECONDS = 86_400
SECOND = 1_000_000
"""Microseconds in a second: instants are microseconds since 1970 in UTC."""
DAY = DAY_SECONDS * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = date(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_WIDE = Context(prec=60, rounding=ROUND_HALF_UP)


def whole(value: Decimal, digits: int) -> int:
    """The number in units of its last digit, half-up: 1.5 with four digits is 15000."""
    return int(value.scaleb(digits, context=_WIDE).to_integral_value(rounding=ROUND_HALF_UP, context=_WIDE))


def number(value: int | Decimal | None, digits: int) -> Decimal:
    """The number that so many units of the last digit are; an empty sum is zero."""
    return Decimal(0) if value is None else _WIDE.scaleb(Decimal(value), -digits).normalize(_WIDE)


def money(value: int | Decimal | None) -> Decimal:
    """An amount in the report currency."""
    return number(value, MONEY_DIGITS)


def weighted(value: int | Decimal | None) -> Decimal:
    """A weighted amount in the report currency."""
    return number(value, WEIGHTED_DIGITS)


def instant(moment: datetime) -> int:
    """Microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int | None) -> datetime | None:
    """The time that an instant is."""
    return None if value is None else _EPOCH + timedelta(microseconds=int(value))


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - _FIRST_DAY).days


def day(value: int | None) -> date | None:
    """The day that a number of days since 1970 is."""
    return None if value is None else _FIRST_DAY + timedelta(days=int(value))
