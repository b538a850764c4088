"""Round marks for the scale of a chart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

_STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))
_MARKS = 4


def ticks(values: Iterable[Decimal], write: Callable[[Decimal], str]) -> tuple[tuple[float, str], ...]:
    """About four round marks from zero, or from below the least value, to above the largest."""
    found = list(values)
    low, high = min([Decimal(0), *found]), max([Decimal(0), *found])
    if low == high:
        return ((0.0, write(Decimal(0))),)
    rough = (high - low) / _MARKS
    unit = Decimal(1).scaleb(rough.adjusted())
    step = next(unit * size for size in _STEPS if unit * size >= rough)
    first = int((low / step).to_integral_value(rounding=ROUND_FLOOR))
    last = int((high / step).to_integral_value(rounding=ROUND_CEILING))
    return tuple((float(step * place), write(step * place)) for place in range(first, last + 1))
