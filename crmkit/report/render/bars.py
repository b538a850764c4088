"""Small bars of letters for a terminal: eighths of a letter where it can show them, ASCII where not."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

# From one eighth of a letter to seven, from the left edge.
_EIGHTHS = "▏▎▍▌▋▊▉"
_FULL = "█"
_PLAIN = "#"
_PLAIN_SMALL = "."


def bar(value: Decimal, largest: Decimal, width: int, *, plain: bool = False) -> str:
    """A bar from the left edge, as long as the value is against the largest one.

    Args:
        value: What it shows; below zero it has no length.
        largest: What would fill the whole width; of zero or less, no bar has a length.
        width: Letters.
        plain: Whether only ASCII can be shown.

    Returns:
        At most `width` letters. A value above zero is never without a mark.
    """
    if value <= 0 or largest <= 0 or width <= 0:
        return ""
    share = min(value / largest, Decimal(1))
    if plain:
        return _PLAIN * _whole(share * width) or _PLAIN_SMALL
    eighths = max(_whole(share * width * 8), 1)
    rest = eighths % 8
    return _FULL * (eighths // 8) + (_EIGHTHS[rest - 1] if rest else "")


def both_ways(value: Decimal, largest: Decimal, width: int, *, plain: bool = False) -> str:
    """A bar to the right of a middle line for more, to its left for less; whole letters on the left.

    Args:
        value: What it shows.
        largest: What would fill one side, without its sign.
        width: Letters, the line among them; fewer than three show nothing.
        plain: Whether only ASCII can be shown.

    Returns:
        Exactly as long as the line needs, so that the lines of several rows stand
        below each other.
    """
    side = (width - 1) // 2
    if side < 1:
        return ""
    line = "|" if plain else "│"
    if value >= 0:
        return " " * side + line + bar(value, largest, side, plain=plain)
    full = _PLAIN if plain else _FULL
    # No letters are filled from their right edge, but half ones: the left side counts halves.
    halves = max(_whole(min(-value / largest, Decimal(1)) * side * 2), 1) if largest > 0 else 0
    drawn = full * (halves // 2)
    if halves % 2:
        drawn = (_PLAIN_SMALL if plain else "▐") + drawn
    return drawn.rjust(side) + line


def largest_of(values: Sequence[Decimal | None]) -> Decimal:
    """The largest value without its sign; zero of none."""
    return max((abs(value) for value in values if value is not None), default=Decimal(0))


def _whole(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_HALF_UP))
