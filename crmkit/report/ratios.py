"""Ratios, means, medians and percentiles, by the rules of metrics.md 2.7."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal

from pydantic import BaseModel, ConfigDict

from crmkit.report.money import Number, add, multiply, subtract

_DIVISION = Context(prec=28, rounding=ROUND_HALF_UP)


class Ratio(BaseModel):
    """A share with its parts; `value` is `None` where it has no meaning.

    `sample` is the number of deals behind the denominator; below the configured
    minimum `low_sample` is set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Number | None
    numerator: Number
    denominator: Number
    sample: int
    low_sample: bool


class Average(BaseModel):
    """A mean, median or percentile over `sample` values; `None` over nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Number | None
    sample: int
    low_sample: bool


def divide(numerator: Decimal, denominator: Decimal | None) -> Decimal | None:
    """The quotient to 28 digits, or `None` if the denominator is zero or `None`."""
    if denominator is None or denominator == 0:
        return None
    return _DIVISION.divide(numerator, denominator)


def share(
    numerator: Decimal | int,
    denominator: Decimal | int,
    *,
    sample: int,
    min_sample: int,
    meaningful: bool = True,
) -> Ratio:
    """The ratio with its parts; `meaningful=False` keeps the parts and drops the value."""
    top, bottom = Decimal(numerator), Decimal(denominator)
    return Ratio(
        value=divide(top, bottom) if meaningful else None,
        numerator=top,
        denominator=bottom,
        sample=sample,
        low_sample=sample < min_sample,
    )


def median(values: Sequence[Decimal], *, min_sample: int) -> Average:
    """The middle value; of an even count, the mean of the two middle ones."""
    return percentile(values, Decimal("0.5"), min_sample=min_sample)


def percentile(values: Sequence[Decimal], fraction: Decimal, *, min_sample: int) -> Average:
    """The percentile by linear interpolation between the closest ranks.

    Args:
        values: In any order.
        fraction: From 0 (smallest) to 1 (largest).
        min_sample: Below this many values the result is marked `low_sample`.
    """
    if not values:
        return _average(None, values, min_sample)
    ordered = sorted(values)
    rank = multiply(Decimal(len(ordered) - 1), fraction)
    below = int(rank.to_integral_value(rounding=ROUND_FLOOR))
    above = min(below + 1, len(ordered) - 1)
    step = multiply(subtract(ordered[above], ordered[below]), subtract(rank, Decimal(below)))
    return _average(add(ordered[below], step), values, min_sample)


def _average(value: Decimal | None, values: Sequence[Decimal], min_sample: int) -> Average:
    return Average(value=value, sample=len(values), low_sample=len(values) < min_sample)
